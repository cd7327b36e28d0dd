"""One picture's explanation as a page to point at. It needs no network and loads nothing.

The page's data is a JSON object within it; arrays are base64 of little-endian numbers.
"""

import json
import re
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.viz.atlas import Atlas
from aimv2_np.viz.explanation import Explanation, explain
from aimv2_np.viz.features import patch_colors
from aimv2_np.viz.towers import VisionModel, VisionProcessor, check_layer, check_number, check_patch, vision_tower_of

MOST_BYTES = 4_900_000  # of the page
PICTURE_BYTES = 400_000  # of the picture in it, as a file
RANK = 256  # bytes per patch from which the page computes cosines
FIXED = 60_000  # bytes for the page's own text, and names


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
) -> str:
    """The HTML of a page about one picture, at most 5 MB.

    Args:
        image, captions: as for `explain`.
        title: the picture's name.
        made_by: which model, in words.
        patch: what it shows first; by default the patch at which the pooling head looks most, or the one in the middle.
        layer, head: the same, as for `draw_patch_attention`.

    Raises:
        ValueError: what `explain` raises; a picture of so many patches, or so many captions, that a page cannot hold
            them.
    """
    tower = vision_tower_of(model)
    start = {"layer": check_layer(tower, layer), "head": -1}
    if head is not None:
        start["head"] = check_number(head, tower.config.num_attention_heads, "head")
    packed: list[Atlas] = []

    def take(i: int, q: Any, k: Any) -> None:
        if not packed:
            room = _room(q.shape[2], q.shape[1], min(RANK, tower.config.hidden_size), captions)
            packed.append(Atlas(len(tower.encoder.layers), room))
        packed[0].add(i, q, k)

    found = explain(model, processor, image, captions, take)
    if patch is None and found.pooling is not None:
        row, column = divmod(int(found.pooling.mean(axis=0).argmax()), found.grid[1])
        patch = row, column
    start["row"], start["column"] = check_patch(found.grid, patch)
    data = {"start": start, "rows": found.grid[0], "columns": found.grid[1], "layers": len(tower.encoder.layers)}
    data |= {"maps": _maps(packed[0]), "features": _features(found), **_picture_data(found)}
    return _fill(title, made_by, found, data)


def _room(tokens: int, heads: int, rank: int, captions: Sequence[str]) -> int:
    """Bytes left for attention, before they become four thirds of that in base64."""
    others = tokens * (rank + 3 + 4 * heads + 8 * len(captions)) + PICTURE_BYTES
    text = sum(len(_json(caption)) + 200 for caption in captions)
    room = (MOST_BYTES - FIXED - text) * 3 // 4 - others
    if room <= 0:
        raise ValueError(
            f"image has {tokens} patches, and captions {len(captions)} texts, too many for a page; expected fewer"
        )
    return room


def _picture_data(found: Explanation) -> dict[str, Any]:
    (colors,) = patch_colors([found.tokens])
    return {
        "picture": _picture(found.colors),
        "width": found.colors.shape[1],
        "height": found.colors.shape[0],
        "colors": _base64(np.rint(255 * colors).astype(np.uint8)),
        "pooling": None if found.pooling is None else _base64(found.pooling.astype("<f4")),
        "heads": 0 if found.pooling is None else len(found.pooling),
        "captions": [
            {
                "text": text,
                "cosine": float(cosine),
                "logit": float(logit),
                "probability": float(probability),
                "similarity": _base64(similarity.astype("<f4")),
                "parts": _base64(parts.astype("<f4")),
            }
            for text, cosine, logit, probability, similarity, parts in zip(
                found.captions,
                found.cosines,
                found.logits,
                found.probabilities,
                found.similarity,
                found.contributions,
                strict=True,
            )
        ],
    }


def _maps(atlas: Atlas) -> dict[str, Any]:
    atlas.finish()
    assert atlas.plan is not None
    places, tops, values = map(np.stack, zip(*atlas.packed, strict=True))
    return {
        "names": atlas.names,
        "layers": atlas.plan.layers,
        "withHeads": atlas.plan.with_heads,
        "kept": atlas.plan.kept,
        "placeBytes": places.itemsize,
        "tops": _base64(tops.astype("<f4")),
        "places": _base64(places),
        "values": _base64(values),
    }


def _features(found: Explanation) -> dict[str, Any]:
    """Unit features along their `RANK` strongest directions in 8 bits, and how far cosines of these are off at most."""
    unit = l2_normalize(found.tokens.astype(np.float64))  # (N, D)
    _, axes = np.linalg.eigh(unit.T @ unit)
    coordinates = unit @ axes[:, ::-1][:, :RANK]
    scales = np.maximum(abs(coordinates).max(axis=0) / 127, 1e-12)  # (RANK,)
    stored = np.rint(coordinates / scales).astype(np.int8)
    again = stored * scales
    pieces = range(0, len(unit), 256)
    error = max(float(abs(unit[i : i + 256] @ unit.T - again[i : i + 256] @ again.T).max()) for i in pieces)
    low = min(float((unit[i : i + 256] @ unit.T).min()) for i in pieces)
    return {"scales": scales.tolist(), "error": error, "low": low, "data": _base64(stored)}


def _picture(colors: NDArray[np.uint8]) -> str:
    """A data URL: PNG, or JPEG of lower and lower quality where that is too large."""
    from PIL import Image

    image = Image.fromarray(colors)
    attempts: list[tuple[str, dict[str, Any]]] = [("png", {"optimize": True})]
    attempts += [("jpeg", {"quality": quality}) for quality in (92, 85, 75, 60, 40, 20)]
    for kind, options in attempts:
        file = BytesIO()
        image.save(file, kind, **options)
        if len(file.getvalue()) <= PICTURE_BYTES:
            break
    return f"data:image/{kind};base64,{b64encode(file.getvalue()).decode()}"


def _json(value: Any) -> str:
    """JSON that can stand within a script, which "</script>" and "<!--" would end or swallow in any quotes."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def _base64(array: NDArray[Any]) -> str:
    return b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _fill(title: str, made_by: str, found: Explanation, data: dict[str, Any]) -> str:
    rows, columns = found.grid
    room = files("aimv2_np.viz")
    parts = {
        "title": escape(title),
        "model": escape(made_by),
        "grid": f"{rows} × {columns} patches" if rows * columns > 1 else "one patch",
        "data": _json(data),
        "script": room.joinpath("page.js").read_text("utf-8"),
    }
    # One pass: what is put in is never searched for places again.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], room.joinpath("page.html").read_text("utf-8"))
