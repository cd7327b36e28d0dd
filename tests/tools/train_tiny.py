"""Train `aimv2-tiny-shapes` contrastively, with Transformers' Aimv2Model and PyTorch on a CPU.

    python -m tests.tools.train_tiny --work FOLDER [--steps N] [--out aimv2_np/data/aimv2-tiny-shapes]

The recipe and its results are described in docs/tiny-model.md.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor
from transformers import Aimv2Config, Aimv2Model

from aimv2_np.data.drawing import draw
from aimv2_np.data.world import ALL_PAIRS, HELD_OUT, SEEN, Scene, Thing, caption, random_scene
from tests.support.tiny_world import fact, forget, pair, paraphrase
from tests.tools.tiny_pictures import (
    ABSENT,
    COLOURLESS,
    colourless,
    comparable,
    encode,
    render,
    truth,
    without_colour,
)
from tests.tools.tiny_tokenizer import END, POSITIONS, START, save_tokenizer, train_tokenizer

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


def configuration(tokenizer: Tokenizer) -> Aimv2Config:
    return Aimv2Config(
        vision_config={
            "image_size": 64, "patch_size": 8, "hidden_size": 128, "intermediate_size": 352,
            "num_hidden_layers": 4, "num_attention_heads": 4, "use_head": True,
        },
        text_config={
            "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 96, "intermediate_size": 256,
            "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": POSITIONS,
            "eos_token_id": tokenizer.token_to_id(END), "bos_token_id": tokenizer.token_to_id(START),
            "pad_token_id": tokenizer.token_to_id(END),
        },
        projection_dim=64,
    )  # fmt: skip


def grid_waves(side: int, width: int) -> Tensor:
    """Sines and cosines of row and column of a side x side grid, wavelengths 3 to 30 patches: (side * side, width)."""
    turns = 2 * torch.logspace(0, -1, width // 4)
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    phases = [place.reshape(-1, 1) * turns for place in (column, row)]
    return torch.cat([wave for phase in phases for wave in (phase.sin(), phase.cos())], 1)


@torch.no_grad()
def whiten_patches(model: Aimv2Model, pictures: np.ndarray) -> None:
    """Let the patch embedding start as the whitened principal components of patches.

    Next to a patch's mean colour its edges are faint, and edges are all there is to a shape. Whitening evens them out.
    """
    embed = model.vision_model.embeddings.patch_embed
    patches = F.unfold(pixels(pictures), embed.kernel_size, stride=embed.stride).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(patches.T.cov().double())
    rows = (vectors / (values + 0.02).sqrt()).T.flip(0)[: embed.out_channels].float()
    embed.weight.copy_(rows.view_as(embed.weight))
    embed.bias.copy_(-rows @ patches.mean(0))


def build(config: Aimv2Config) -> Aimv2Model:
    """Transformers' model with its text causal (eager attention, given a mask) and sensible initial weights.

    Transformers initialises the projections with standard deviation 1; matrices here start at 1/sqrt(inputs), and
    those that end a residual branch smaller still. Picture positions start as waves: beside patches, which the
    embedding's norm brings to 1 per channel, a table that starts near zero is not heard for a thousand steps.
    """
    config._attn_implementation = "eager"
    model = Aimv2Model(config)
    depth = {"vision_model": 4, "text_model": 3}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("embedding.weight") or "cls_token" in name:
                parameter.normal_(0, 0.05 if "position" in name else 0.1)
            elif parameter.ndim >= 2:
                std = parameter[0].numel() ** -0.5
                if "out_proj" in name or "down_proj" in name:
                    std /= math.sqrt(2 * depth[name.split(".")[0]])
                parameter.normal_(0, std)
        model.vision_model.embeddings.position_embedding.weight.copy_(0.5 * grid_waves(8, 128))
        model.logit_scale.fill_(math.log(1 / 0.07))
    return model


def pixels(pictures: np.ndarray) -> Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) as CLIP's image processor gives it."""
    x = torch.from_numpy(np.array(pictures)).float().div_(255)
    return ((x - MEAN) / STD).permute(0, 3, 1, 2).contiguous()


def tokens(tokenizer: Tokenizer, captions: list[str]) -> dict[str, Tensor]:
    encoded = tokenizer.encode_batch(captions)
    return {
        "input_ids": torch.tensor([e.ids for e in encoded]),
        "attention_mask": torch.tensor([e.attention_mask for e in encoded]),
    }


def embed_images(model: Aimv2Model, x: Tensor) -> Tensor:
    return F.normalize(model.visual_projection(model.vision_model(x).pooler_output).float(), dim=-1)


def embed_texts(model: Aimv2Model, inputs: dict[str, Tensor]) -> Tensor:
    return F.normalize(model.text_projection(model.text_model(**inputs).pooler_output).float(), dim=-1)


def contrastive_loss(logits: Tensor, true: Tensor, rival: Tensor) -> Tensor:
    """CLIP's loss for captions that may be true of several pictures: (B, M) logits and two (B, M) bool.

    Each true (picture, caption) competes with the `rival` captions of its picture, and with the pictures its caption is
    a rival of; never with other truths. The true pictures of one caption share its weight.
    """
    false = logits.masked_fill(~rival, -1e4)
    rivals = F.softplus(false.logsumexp(1, keepdim=True) - logits) + F.softplus(false.logsumexp(0) - logits)
    return (rivals * true / true.sum(0)).sum() / (2 * true.shape[1])


@torch.no_grad()
def evaluate(model: Aimv2Model, tokenizer: Tokenizer, seed: int, n: int = 600) -> dict[str, float]:
    """The three numbers that count, on fresh pictures."""
    model.eval()
    rng = np.random.default_rng([seed, 77])

    def images(scenes: list[Scene]) -> Tensor:
        drawn = np.stack([np.asarray(draw(scene, rng)) for scene in scenes])
        return torch.cat([embed_images(model, pixels(drawn[i : i + 250])) for i in range(0, len(drawn), 250)])

    def texts(captions: list[str]) -> Tensor:
        return embed_texts(model, tokens(tokenizer, captions))

    labels = texts([caption(Scene((Thing(shape, color),))) for color, shape in ALL_PAIRS])
    result = {}
    for name, pairs in (("unseen", HELD_OUT), ("seen", SEEN)):
        scenes = [random_scene(rng, pairs) for _ in range(n)]
        best = (images(scenes) @ labels.T).argmax(1)
        right = [ALL_PAIRS[b] == pair(s.things[0]) for b, s in zip(best.tolist(), scenes, strict=True)]
        result[name] = float(np.mean(right))
        for k, what in enumerate(("color", "shape")):
            hits = [ALL_PAIRS[b][k] == pair(s.things[0])[k] for b, s in zip(best.tolist(), scenes, strict=True)]
            result[f"{name}_{what}"] = float(np.mean(hits))
    hits = []
    for _ in range(n // 100):
        scenes = list({fact(s): s for s in (random_scene(rng, ALL_PAIRS, 2) for _ in range(120))}.values())[:100]
        similarity = images(scenes) @ texts([caption(s) for s in scenes]).T
        hits.append((similarity.argmax(1) == torch.arange(100)).float().mean().item())
    result["retrieval"] = float(np.mean(hits))
    return result


def export(model: Aimv2Model, average: dict[str, Tensor], tokenizer: Tokenizer, folder: Path) -> None:
    """The averaged weights as Transformers saves them, with tokenizer and preprocessor."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder, state_dict=dict(average))  # it empties the dictionary it is given
    save_tokenizer(tokenizer, folder)
    preprocessor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True, "do_resize": True, "size": {"shortest_edge": 64}, "resample": 3,
        "do_center_crop": True, "crop_size": {"height": 64, "width": 64},
        "do_rescale": True, "rescale_factor": 1 / 255,
        "do_normalize": True, "image_mean": MEAN.double().numpy().round(8).tolist(),
        "image_std": STD.double().numpy().round(8).tolist(),
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2) + "\n")


def train(args: argparse.Namespace) -> None:
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    tokenizer = train_tokenizer(args.seed)
    tokenizer.enable_padding(pad_id=tokenizer.token_to_id(END), pad_token=END)
    scenes, pictures = render(args.work, args.pictures, args.seed, args.threads)
    facts = encode(scenes)

    model = build(configuration(tokenizer))
    whiten_patches(model, pictures[:2000])
    size = sum(p.numel() for p in model.parameters())
    print(f"{size} parameters, vocabulary {tokenizer.get_vocab_size()}", flush=True)
    matrices = [p for n, p in model.named_parameters() if p.ndim >= 2 and "embedding" not in n]
    others = [p for n, p in model.named_parameters() if not (p.ndim >= 2 and "embedding" not in n)]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": args.decay}, {"params": others, "weight_decay": 0.0}],
        lr=args.lr, betas=(0.9, 0.98), fused=True,
    )  # fmt: skip

    def rate(step: int) -> float:
        return min(1.0, (step + 1) / 100) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / args.steps)))

    weights = model.state_dict()
    average = {k: v.clone() for k, v in weights.items()}
    single = np.flatnonzero([len(scene.things) == 1 for scene in scenes[::2]])
    order = rng.permutation(single)  # single things first: shapes are learned sooner where nothing distracts
    state = args.work / f"state-{args.seed}-{args.batch}.pt"
    first = 0
    if args.resume:
        saved = torch.load(state, weights_only=False)
        first, average, order, rng = saved["step"], saved["average"], saved["order"], saved["rng"]
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
    began, running = time.time(), []
    for step in range(first, args.stop or args.steps):
        if len(order) < args.batch // 2:
            every = np.arange(len(scenes) // 2)
            order = np.concatenate([order, rng.permutation(np.concatenate([every, single, single]))])
        pairs, order = order[: args.batch // 2], order[args.batch // 2 :]
        rows = (2 * pairs[:, None] + [0, 1]).ravel()
        shown, seen, drawn = [scenes[i] for i in rows], facts[rows], pictures[rows]
        for i in np.flatnonzero(rng.random(len(rows)) < args.grey):
            shown[i], drawn[i] = without_colour(shown[i]), colourless(drawn[i])
            seen[i, [1, 4]] = torch.where(seen[i, [1, 4]] == ABSENT, ABSENT, COLOURLESS).to(seen.dtype)
        said = shown + [forget(scene, rng, rng.uniform(0, 0.7)) for scene in shown]
        statements = encode(said)
        true = truth(seen, statements)
        rival = ~true & comparable(seen, statements)
        inputs = tokens(tokenizer, [paraphrase(s, rng) for s in said])

        model.train()
        for group in optimizer.param_groups:
            group["lr"] = args.lr * rate(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            images, texts = embed_images(model, pixels(drawn)), embed_texts(model, inputs)
        scale = model.logit_scale.clamp(0, math.log(100)).exp()
        loss = contrastive_loss(scale * images @ texts.T, true, rival)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            weight = 1 - min(0.998, (step + 1) / (step + 10))
            torch._foreach_lerp_(list(average.values()), [weights[k] for k in average], weight)
        running.append(loss.item())

        if (step + 1) % 50 == 0:
            speed = (time.time() - began) / (step + 1 - first)
            print(f"step {step + 1} loss {np.mean(running[-50:]):.4f} scale {scale:.1f} {speed:.3f} s/step", flush=True)
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            live = {k: v.clone() for k, v in weights.items()}
            model.load_state_dict(average)
            print(f"step {step + 1}", evaluate(model, tokenizer, args.seed), flush=True)
            export(model, average, tokenizer, args.out)
            model.load_state_dict(live)
            kept = {"step": step + 1, "model": live, "average": average, "optimizer": optimizer.state_dict()}
            torch.save({**kept, "order": order, "rng": rng}, state)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the drawn pictures")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoint")
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--stop", type=int, help="end early, at this step of the schedule")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=160_000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.1)
    parser.add_argument("--every", type=int, default=250, help="steps between evaluations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grey", type=float, default=0.0, help="share of pictures shown without colours")
    parser.add_argument("--resume", action="store_true", help="go on from the last evaluation")
    parser.add_argument("--bf16", action="store_true")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
