"""Train `aimv2-tiny-shapes` from nothing, with this library alone: tokenizer, pre-training, both towers.

    python -m tests.tools.train_tiny WORK [--out aimv2_np/data/aimv2-tiny-shapes]

WORK keeps everything; killed, the same command goes on. The recipe and its results are described in docs/tiny-model.md.
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

from aimv2_np import Aimv2Config, Aimv2ImageProcessor, Aimv2Processor, Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.training import AdamW, Recipe, Schedule, train
from tests.tools.tiny_pretrain import GreyWorld, TinyPretrain
from tests.tools.tiny_task import TinyTask
from tests.tools.tiny_tokenizer import END, POSITIONS, START, save_tokenizer, train_tokenizer

VISION = Aimv2VisionConfig(
    image_size=64, patch_size=8, hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
    use_head=True,
)  # fmt: skip
PICTURES = 1_000_000
PRETRAIN, STEPS, FEW, ORDERED, GREY = 2000, 6000, 400, 1000, 1500  # steps
OPTIMIZER = AdamW(betas=(0.9, 0.98), weight_decay=1e-4)


def prepared(work: Path, seed: int) -> Aimv2Processor:
    """The processor, its tokenizer learned from captions, in a folder of its own."""
    folder = work / "processor"
    if not folder.is_dir():
        unfinished = work / "processor.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        save_tokenizer(train_tokenizer(seed), unfinished)
        Aimv2ImageProcessor(size={"shortest_edge": 64}, crop_size=64).save_pretrained(unfinished)
        unfinished.rename(folder)
    return Aimv2Processor.from_pretrained(folder)


def text_config(processor: Aimv2Processor) -> Aimv2TextConfig:
    """The text tower."""
    vocabulary = json.loads(processor.tokenizer.backend.to_str())["model"]["vocab"]
    return Aimv2TextConfig(
        vocab_size=len(processor.tokenizer), hidden_size=96, intermediate_size=256, num_hidden_layers=3,
        num_attention_heads=4, max_position_embeddings=POSITIONS, eos_token_id=vocabulary[END],
        extra={"bos_token_id": vocabulary[START], "pad_token_id": vocabulary[END]},
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--out", type=Path, help="folder for the checkpoint  [default: WORK/model]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pretrain", type=int, default=PRETRAIN, help="steps of pre-training; 0: none")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of both towers together")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--locked", action="store_true", help="keep the pre-trained trunk as it is")
    parser.add_argument("--few", type=int, default=FEW, help="steps on few colours and shapes at first")
    parser.add_argument(
        "--ordered", type=int, default=ORDERED, help="steps in which who lies above or left is named first"
    )
    parser.add_argument("--grey", type=int, default=GREY, help="steps in which half of the pictures are grey, at last")
    parser.add_argument("--every", type=int, default=50, help="steps between what is printed")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    processor = prepared(args.work, args.seed)
    text = text_config(processor)

    def say(numbers: dict[str, float]) -> None:
        if numbers["step"] % args.every == 0:
            print({name: round(number, 4) for name, number in numbers.items()}, flush=True)

    trunk = None
    if args.pretrain:
        decoder = replace(text, hidden_size=128, intermediate_size=352, extra={})
        pretraining = TinyPretrain(VISION, decoder, GreyWorld(PICTURES, seed=args.seed), processor, seed=args.seed)
        recipe = Recipe(Schedule(args.pretrain, args.rate, args.pretrain // 20), OPTIMIZER, args.batch)
        trunk = pretraining.model(train(pretraining, recipe, args.work / "pretraining", progress=say))
        trunk.save_pretrained(args.work / "pretrained", overwrite=True)
    config = Aimv2Config(vision_config=VISION, text_config=text, projection_dim=64)
    until = (args.few * args.batch, args.ordered * args.batch)
    task = TinyTask(config, processor, trunk, args.locked, args.seed, *until)
    recipe = Recipe(Schedule(args.steps, args.rate, min(100, args.steps)), OPTIMIZER, args.batch, average=0.998)
    model = task.model(train(task, recipe, args.work / "both", progress=say))
    if args.grey:
        task = TinyTask(config, processor, seed=args.seed + 1, two=0.4, grey=0.5, begun=model)
        recipe = replace(recipe, schedule=Schedule(args.grey, args.rate / 2, min(100, args.grey)))
        model = task.model(train(task, recipe, args.work / "grey", progress=say))
    out = args.out or args.work / "model"
    model.save_pretrained(out, overwrite=True)
    processor.save_pretrained(out, overwrite=True)


if __name__ == "__main__":
    main()
