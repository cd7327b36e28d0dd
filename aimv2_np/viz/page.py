"""One picture's explanation as a page to point at. It needs no network and loads nothing.

Its parts are in `web/`: the page, its style, and scripts that share their names and run in the order of `SCRIPTS`.
Those of `SHARED` are modules, which other pages import; in this page, which loads nothing, they are scripts, too.
"""

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.processing import Aimv2Processor
from aimv2_np.shapes import Array
from aimv2_np.viz.atlas import FEWER, HEADS_OF, Atlas, map_bytes
from aimv2_np.viz.computation import Computations, choose
from aimv2_np.viz.explanation import explain
from aimv2_np.viz.page_data import PICTURE_BYTES, RANK, as_json, computations_data, maps_data, picture_data
from aimv2_np.viz.relevance import MAX_PATCHES, caption_relevance
from aimv2_np.viz.seen import see
from aimv2_np.viz.towers import VisionModel, VisionProcessor, check_layer, check_number, check_patch, vision_tower_of
from aimv2_np.viz.words import words_of

MOST_BYTES = 4_900_000  # of the page
FIXED = 80_000  # bytes for the page's own text, and names
WORDS_BYTES = 500_000  # for attention between words, at most, and at most a sixth of the room
SHARED = ("colors", "figures", "grid")
SCRIPTS = (*SHARED, "data", "address", "maps", "views", "computation", "picture", "sheet", "words", "main")


def explanation_page(
    model: VisionModel,
    processor: VisionProcessor,
    image: Any,
    captions: Sequence[str] = (),
    *,
    title: str = "a picture",
    made_by: str = "",
    patch: tuple[int, int] | None = None,
    layer: int = -1,
    head: int | None = None,
    computation: Sequence[int] | None = None,
) -> str:
    """The HTML of a page about one picture, at most 5 MB.

    Args:
        image, captions: as for `explain`.
        title: the picture's name.
        made_by: which model, in words.
        patch: what it shows first; by default the patch at which the pooling head looks most, or the one in the middle.
        layer, head: the same, as for `draw_patch_attention`.
        computation: the layers of which the page shows how each attention came about, the most wanted first, as many
            of them as fit; by default `layer` and then others, from the last.

    Raises:
        ValueError: what `explain` raises; a picture of so many patches, or so many captions, that a page cannot hold
            them.
    """
    tower = vision_tower_of(model)
    start = {"layer": check_layer(tower, layer), "head": -1}
    if head is not None:
        start["head"] = check_number(head, tower.config.num_attention_heads, "head")
    asked = None if computation is None else [check_layer(tower, it) for it in computation]
    kept: list[tuple[Atlas, Computations]] = []

    def take(i: int, q: Array, k: Array) -> None:
        if not kept:
            kept.append(_keep(tower, q, captions, start, asked))
        for it in kept[0]:
            it.add(i, q, k)

    found = explain(model, processor, image, captions, take, lambda i, v: kept[0][1].add_values(i, v))
    if patch is None and found.pooling is not None:
        row, column = divmod(int(found.pooling.mean(axis=0).argmax()), found.grid[1])
        patch = row, column
    start["row"], start["column"] = check_patch(found.grid, patch)
    words, relevance = [], None
    if isinstance(model, Aimv2Model) and isinstance(processor, Aimv2Processor):
        room = _room(len(found.tokens), tower, captions)
        words = words_of(model, processor, captions, _words_room(room, captions))
        if captions and len(found.tokens) <= MAX_PATCHES:
            pixels, texts = see(tower, processor, [image])[0].pixel_values, processor(text=list(captions), padding=True)
            relevance = caption_relevance(model, pixels, **texts)[0].reshape(len(captions), -1)
    data = {"start": start, "layers": len(tower.encoder.layers), "maps": maps_data(kept[0][0])}
    data |= {"computations": computations_data(kept[0][1]), **picture_data(found, words, relevance)}
    text = model.config.text_config if words and isinstance(model, Aimv2Model) else None
    data["text"] = {"layers": text.num_hidden_layers, "heads": text.num_attention_heads} if text else None
    return _fill(title, made_by, found.grid, data)


def _keep(
    tower: Aimv2VisionModel, q: Array, captions: Sequence[str], start: dict[str, int], asked: Sequence[int] | None
) -> tuple[Atlas, Computations]:
    """Share the room of a page among maps of attention and the vectors behind them."""
    heads, tokens, size = q.shape[1:]
    layers = len(tower.encoder.layers)
    room = _room(tokens, tower, captions)
    room -= _words_room(room, captions)
    order = asked if asked is not None else [start["layer"], *range(layers)[::-1]]
    heads_first = [start["head"], *range(heads)] if start["head"] >= 0 else list(range(heads))
    fewest = layers + 1 + heads * min(HEADS_OF, layers) if asked is None else 2  # maps that have to fit beside them
    most = min(room // 3 if asked is None else 2 * room // 3, room - fewest * map_bytes(tokens, min(tokens, FEWER[-1])))
    choice = choose(tokens, size, list(dict.fromkeys(order)), list(dict.fromkeys(heads_first)), most)
    computations = Computations(choice)
    return Atlas(layers, room - computations.bytes_of(tokens, size)), computations


def _room(tokens: int, tower: Aimv2VisionModel, captions: Sequence[str]) -> int:
    """Bytes left for attention, before they become four thirds of that in base64."""
    rank, heads = min(RANK, tower.config.hidden_size), tower.config.num_attention_heads
    others = tokens * (rank + 3 + 4 * heads + 12 * len(captions)) + PICTURE_BYTES
    text = sum(len(as_json(caption)) + 200 for caption in captions)
    room = (MOST_BYTES - FIXED - text) * 3 // 4 - others
    if room <= 0:
        raise ValueError(
            f"image has {tokens} patches, and captions {len(captions)} texts, too many for a page; expected fewer"
        )
    return room


def _words_room(room: int, captions: Sequence[str]) -> int:
    return min(WORDS_BYTES, room // 6) if captions else 0


def _fill(title: str, made_by: str, grid: tuple[int, int], data: dict[str, Any]) -> str:
    rows, columns = grid
    room = files("aimv2_np.viz") / "web"
    scripts = [room.joinpath(f"{name}.js").read_text("utf-8") for name in SCRIPTS]
    parts = {
        "title": escape(title),
        "model": escape(made_by),
        "grid": f"{rows} × {columns} patches" if rows * columns > 1 else "one patch",
        "data": as_json(data),
        "style": "".join(room.joinpath(f"{name}.css").read_text("utf-8") for name in ("parts", "style")),
        "script": '"use strict";\n' + re.sub(r"^export ", "", "\n".join(scripts), flags=re.MULTILINE),
    }
    # One pass: what is put in is never searched for places again.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], room.joinpath("page.html").read_text("utf-8"))
