"""The whole network as one drawing, from the model itself: names, shapes and the numbers of its equations.

`python -m tests.tools.draw_network` writes it to docs/network/, once whole and once for each part with that part lit,
for pages that are read in the repository. On the site the extension `drawings` puts the drawing itself in its place.

Nothing here says what shape an array has: a small model is run, in which no two letters of docs/equations.md have the
same size, and its trace is read.
"""

import re
from functools import cache
from html import escape
from pathlib import Path

import numpy as np

from aimv2_np import Aimv2Config, Aimv2Model, Aimv2TextConfig, Aimv2VisionConfig, trace
from docs.extensions.boxes import DARK, LIGHT, STYLE, WIDTH, Panel

DOCS = Path(__file__).parents[1]
FOLDER = DOCS / "network"
LAYER, HEAD = "vision_model.encoder.layers.0", "vision_model.head"
# What is lit: dotted paths, with all that is below them. The first is the whole, with nothing pale.
PARTS: dict[str, tuple[str, ...]] = {
    "whole": (),
    "vision": ("vision_model",),
    "text": ("text_model",),
    "together": ("visual_projection", "text_projection", "logit_scale", "loss"),
    "patches": ("vision_model.embeddings.patch_embed", "vision_model.embeddings.rms_norm"),
    "positions": ("vision_model.embeddings.position_embedding",),
    "attention": (f"{LAYER}.rms_norm1", f"{LAYER}.attention", "text_model.encoder.layers.0.attention"),
    "swiglu": (f"{LAYER}.rms_norm2", f"{LAYER}.ffn", "vision_model.rms_norm"),
    "layer": (LAYER,),
    "pooling": (HEAD, "visual_projection", "text_projection", "logit_scale"),
}
VISION = {"B": 2, "C": 3, "height": 28, "P": 7, "N": 16, "D": 40, "H": 4, "d": 10, "F": 72, "E": 11}
TEXT = {"L": 5, "V": 101, "T": 9, "D": 24, "H": 3, "d": 8, "F": 44, "E": 11}
# The modules of `embeddings` with their equations, and its own.
EMBEDDINGS = {
    "vision_model": ((("patch_embed", 2), ("rms_norm", 3), ("position_embedding", 4, 5)), 6),
    "text_model": ((("token_embedding", 15), ("position_embedding", 15)), 15),
}


def small_model() -> Aimv2Model:
    """Both towers, of one block each, with the sizes above."""
    names = {"hidden_size": "D", "intermediate_size": "F", "num_attention_heads": "H"}
    vision, text = ({name: sizes[letter] for name, letter in names.items()} for sizes in (VISION, TEXT))
    picture = {"image_size": VISION["height"], "patch_size": VISION["P"], "num_channels": VISION["C"]}
    words = {"vocab_size": TEXT["V"], "max_position_embeddings": TEXT["T"], "eos_token_id": TEXT["V"] - 1}
    config = Aimv2Config(
        vision_config=Aimv2VisionConfig(**vision, **picture, num_hidden_layers=1, use_head=True),
        text_config=Aimv2TextConfig(**text, **words, num_hidden_layers=1),
        projection_dim=VISION["E"],
    )
    return Aimv2Model(config)


PARTS["weights"] = tuple(dict.fromkeys(re.sub(r"\.(weight|bias)$", "", key) for key in small_model().state_dict()))


def sizes_of(path: str) -> dict[str, int]:
    return TEXT if path.startswith("text") else VISION


class Shapes:
    """Shapes in letters, of what a model computes and of what it holds."""

    def __init__(self, model: Aimv2Model) -> None:
        pixels = np.zeros((VISION["B"], VISION["C"], VISION["height"], VISION["height"]), np.float32)
        ids = np.full((TEXT["L"], TEXT["T"]), TEXT["V"] - 1)
        with trace(model) as arrays:
            model(ids, pixels)
        self.computed = {path: array.shape for path, array in arrays.items()}
        pairs = model(ids[: VISION["B"]], pixels, return_loss=True)  # each text with the picture of its number
        self.computed["loss"] = pairs.loss.shape
        self.held = {key: array.shape for key, array in model.state_dict().items()}

    def letters(self, path: str, shape: tuple[int, ...]) -> str:
        letter = {size: name for name, size in sizes_of(path).items()}
        if path.startswith("logits"):
            letter |= {TEXT["L"]: "L"}
        return f"({', '.join('1' if size == 1 else letter[size] for size in shape)})"

    def of(self, path: str) -> str:
        """Of what a module computes: (B, N, D)."""
        return self.letters(path, self.computed[path])

    def weight(self, path: str) -> str:
        """Of what it holds, its matrix or gain."""
        key = path if path in self.held else f"{path}.weight"
        return self.letters(path, self.held[key])


@cache
def small_shapes() -> Shapes:
    return Shapes(small_model())


def draw_embeddings(it: Panel, shapes: Shapes, x: int, top: int, tower: str) -> int:
    """The boxes of a tower's `embeddings`, one below the other in a frame; returns where it ends."""
    names, own = EMBEDDINGS[tower]
    path, y = f"{tower}.embeddings", top + 22
    for i, (name, *numbers) in enumerate(names):
        full = f"{path}.{name}"
        sign = "+ " if name.startswith("position") else ""
        ends = it.box(x + 12, y, 150, full, name, sign + shapes.weight(full), tuple(numbers))
        if i < len(names) - 1:
            it.arrow(x + 60, ends, ends + 24, full, shapes.of(full))
        y = int(ends) + 24
    bottom = y - 16
    it.frame(x + 6, top, 162, bottom, path, "embeddings", (own,))
    return bottom


def draw_tower(it: Panel, shapes: Shapes, x: int, tower: str) -> int:
    """From what goes in to the one vector, a column of the first panel; returns where it ends."""
    vision, mid, top = tower == "vision_model", x + 60, 60
    inputs = ("pixel_values", "(B, C, height, width)") if vision else ("input_ids", "(L, T)")
    it.text(x + 6, 14, inputs[0], f"{tower}.embeddings", "n", holds=True)
    it.text(x + 6, 30, inputs[1], f"{tower}.embeddings", holds=True)
    it.arrow(mid, 36, top, f"{tower}.embeddings")
    y = draw_embeddings(it, shapes, x, top + 22, tower)
    start = 298  # both towers' blocks side by side
    it.arrow(mid, y, start - 6, f"{tower}.embeddings", shapes.of(f"{tower}.embeddings"))
    block = f"{tower}.encoder.layers.0"
    note = "K of these" if vision else "K, causal"
    y = it.box(x + 6, start, 162, block, "encoder.layers.0", note, (7,) if vision else (7, 16), holds=True, deep=True)
    it.arrow(mid, y, y + 24, block, shapes.of(block))
    norm = f"{tower}.rms_norm"
    y = it.box(x + 6, y + 24, 162, norm, "rms_norm", shapes.weight(norm), (13,))
    it.arrow(mid, y, y + 24, norm, shapes.of(f"{tower}.last_hidden_state"))
    if vision:
        y = it.box(x + 6, y + 24, 162, HEAD, "head", "one query looks", (14,), holds=True)
    else:
        y = it.box(x + 6, y + 24, 162, f"{tower}.pooler_output", "pooler_output", "row of the end", (17,), kind="s")
    it.frame(x, top, 174, y + 8, tower, tower)
    it.arrow(mid, y + 8, y + 36, f"{tower}.pooler_output" if not vision else HEAD, shapes.of(f"{tower}.pooler_output"))
    name = "visual_projection" if vision else "text_projection"
    weight = shapes.letters(tower, shapes.held[f"{name}.weight"])
    y = it.box(x + 6, y + 36, 162, name, name, weight, (18,))
    it.arrow(mid, y, y + 28, name, shapes.letters(tower, shapes.computed[name]))
    return int(y) + 28


def draw_attend(it: Panel, shapes: Shapes, path: str, top: int, query: str, out: str, own: int) -> int:
    """Queries, keys and values in a frame, and what becomes of them; returns where the frame ends."""
    y, opened = top + 22, query == "q_proj"
    for x, name, short in zip((40, 142, 244), (query, "k_proj", "v_proj"), "qkv", strict=True):
        full = f"{path}.{name}"
        ends = int(it.box(x, y, 97, full, name, shapes.weight(full), (1,) if name != "cls_token" else (own,)))
        it.arrow(x + 14, ends, ends + (24 if short != "v" or not opened else 84), full)
        it.text(x + 21, ends + 15, shapes.of(f"{path}.{short}"), full)
    y = ends + 24
    if opened:
        full = f"{path}.scores"
        y = int(it.box(40, y, 199, full, "scores", f"q kᵀ / √d  {shapes.of(full)}", (9,), kind="s")) + 24
        it.arrow(54, y - 24, y, full)
    full = f"{path}.probs"
    y = int(it.box(40, y, 301, full, "probs", f"softmax {shapes.of(full)}, then times v", (8, 9), kind="s")) + 24
    # Of the head only what its projection made of it is recorded; what goes in has the same shape.
    it.arrow(54, y - 24, y, full, f"{shapes.of(path)}, the heads side by side")
    y = int(it.box(40, y, 301, f"{path}.{out}", out, shapes.weight(f"{path}.{out}"), (1,)))
    it.frame(34, top, 313, y + 6, path, path.removeprefix(f"{LAYER}."), (own,))
    return y + 6


def draw_ffn(it: Panel, shapes: Shapes, top: int) -> int:
    path, y = f"{LAYER}.ffn", top + 22
    for x, name in ((40, "gate_proj"), (194, "up_proj")):
        full = f"{path}.{name}"
        ends = int(it.box(x, y, 147, full, name, shapes.weight(full), (1,)))
        it.arrow(x + 14, ends, ends + 24, full, shapes.of(full))
    y = int(it.box(40, ends + 24, 301, path, "silu(gate) ⊙ up", shapes.of(f"{path}.up_proj"), (11, 12), kind="s")) + 24
    it.arrow(54, y - 24, y, path, shapes.of(f"{path}.up_proj"))
    y = int(it.box(40, y, 301, f"{path}.down_proj", "down_proj", shapes.weight(f"{path}.down_proj"), (1,)))
    it.frame(34, top, 313, y + 6, path, "ffn", (11,))
    return y + 6


def draw_layer(it: Panel, shapes: Shapes, top: int) -> int:
    """A block, opened: the stream at the left, and what two modules add to it; returns where the frame ends."""
    it.text(26, top - 10, shapes.of("vision_model.embeddings"), LAYER, holds=True)
    y, stream = top + 30, 16
    for norm, part in (("rms_norm1", "attention"), ("rms_norm2", "ffn")):
        start, full = y, f"{LAYER}.{norm}"
        it.line(f"M{stream} {start + 18}H28", full, (34, start + 18, "right"))
        y = int(it.box(34, start, 313, full, norm, shapes.weight(full), (3,)))
        it.arrow(54, y, y + 20, full)
        path = f"{LAYER}.{part}"
        if part == "attention":
            y = draw_attend(it, shapes, path, y + 20, "q_proj", "out_proj", 10)
        else:
            y = draw_ffn(it, shapes, y + 20)
        it.line(f"M54 {y}V{y + 16}H{stream + 14}", path, (stream + 8, y + 16, "left"))
        it.text(62, y + 20, shapes.of(path), path)
        it.plus(stream, y + 16, path)
        it.line(f"M{stream} {top - 26 if part == 'attention' else start - 6}V{y + 8}", path)
        y += 30
    it.frame(2, top, 352, y + 4, LAYER, LAYER, (7,), indent=24)
    it.arrow(stream, y - 6, y + 26, LAYER)
    it.text(26, y + 20, shapes.of(LAYER), LAYER, holds=True)
    return y + 4


def legend() -> list[tuple[str, str]]:
    """The capital letters of the drawing and what they mean, from the page's table."""
    text = (DOCS / "equations.md").read_text(encoding="utf-8").partition("## Symbols")[2].partition("\n## ")[0]
    found = []
    for symbols, meaning in re.findall(r"^\| (.+?) \| (.+?) \|", text, re.MULTILINE):
        letters = re.findall(r"\$([A-Z])\$", symbols)
        if letters and set(letters) <= {*VISION, *TEXT, "K"}:
            found.append((", ".join(letters), re.split(r",(?! each)|[:;]", meaning)[0].replace("$", "")))
    return found


def panels(lit: str = "whole", page: str | None = None) -> list[Panel]:
    """The two panels of the drawing: both towers; a block and the head, opened."""
    shapes, (towers, opened) = small_shapes(), (Panel(PARTS[lit], page) for _ in range(2))
    y = max(draw_tower(towers, shapes, x, tower) for x, tower in ((2, "vision_model"), (184, "text_model")))
    y = int(towers.box(2, y, 356, "logit_scale", "logit_scale", "times text · picture, each with each", (19,)))
    towers.arrow(62, y, y + 26, "logit_scale", f"{shapes.of('logits_per_text')} logits_per_text")
    y = int(towers.box(2, y + 26, 356, "loss", "loss", "in training: text i belongs to picture i", (20,), kind="s"))
    towers.arrow(62, y, y + 26, "loss", f"{shapes.of('loss')} one number")
    y += 52
    for i, (letters, words) in enumerate(legend()):
        towers.text(6, y + 17 * i, letters, "", "n", always=True)
        towers.text(58, y + 17 * i, words, "", always=True)
    y = draw_layer(opened, shapes, 30) + 50
    opened.arrow(156, y - 26, y, HEAD, shapes.of("vision_model.rms_norm"))
    y = draw_attend(opened, shapes, HEAD, y, "cls_token", "output_proj", 14)
    opened.arrow(54, y, y + 24, HEAD, shapes.of(HEAD))
    return [towers, opened]


def drawing(lit: str = "whole") -> str:
    """A file of its own: both panels side by side, in the colours of the reader's system."""
    both = panels(lit)
    width, height, apart = 2 * WIDTH, max(it.height for it in both), WIDTH + 6
    parts = ("\n".join(it.parts) for it in both)
    inside = "\n".join(f'<g transform="translate({i * apart})">\n{part}\n</g>' for i, part in enumerate(parts))
    dark = f"@media (prefers-color-scheme:dark){{.network{{{DARK}}}}}"
    style = f".network{{{LIGHT};background:var(--ground)}}{dark}{STYLE}"
    size = f'width="{width + 10}" height="{height + 10}" viewBox="-5 -5 {width + 10} {height + 10}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" class="network" {size}><style>{style}</style>\n{inside}\n</svg>\n'


def figure(lit: str, page: str, words: str) -> str:
    """For a page of the site: panels that stand side by side where there is room, each box a link."""
    shown = ""
    for it in panels(lit, page):
        dim = "" if it.is_lit() else " dim"
        shown += f'<svg class="network{dim}" viewBox="0 0 {WIDTH} {it.height}">{"".join(it.parts)}</svg>'
    return f'<figure class="whole" role="group" aria-label="{escape(words)}"><style>{STYLE}</style>{shown}</figure>'
