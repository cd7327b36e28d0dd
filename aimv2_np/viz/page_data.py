"""What a page about one picture holds, as an object for JSON; arrays are base64 of little-endian numbers."""

import json
from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.shapes import Float
from aimv2_np.viz.atlas import Atlas
from aimv2_np.viz.computation import Computations
from aimv2_np.viz.explanation import Explanation
from aimv2_np.viz.features import patch_colors
from aimv2_np.viz.words import Words

PICTURE_BYTES = 400_000  # of the picture, as a file
RANK = 256  # bytes per patch from which the page computes cosines


def picture_data(
    found: Explanation, words: Sequence[Words], relevance: Float[NDArray[Any], "L N"] | None = None
) -> dict[str, Any]:
    """The picture, its patches' features, the pooling head, and captions, the first of them with their words."""
    (colors,) = patch_colors([found.tokens])
    captions = [
        {
            "text": text,
            "cosine": float(found.cosines[i]),
            "logit": float(found.logits[i]),
            "probability": float(found.probabilities[i]),
            "similarity": base64(found.similarity[i].astype("<f4")),
            "parts": base64(found.contributions[i].astype("<f4")),
            "relevance": None if relevance is None else base64(relevance[i].astype("<f4")),
            "words": words_data(words[i]) if i < len(words) else None,
        }
        for i, text in enumerate(found.captions)
    ]
    return {
        "rows": found.grid[0],
        "columns": found.grid[1],
        "picture": picture_url(found.colors),
        "width": found.colors.shape[1],
        "height": found.colors.shape[0],
        "features": features_data(found),
        "colors": base64(np.rint(255 * colors).astype(np.uint8)),
        "pooling": None if found.pooling is None else base64(found.pooling.astype("<f4")),
        "heads": 0 if found.pooling is None else len(found.pooling),
        "captions": captions,
    }


def maps_data(atlas: Atlas) -> dict[str, Any]:
    """All maps of the vision tower's attention, and which they are."""
    atlas.finish()
    assert atlas.plan is not None
    places, tops, values = map(np.stack, zip(*atlas.packed, strict=True))
    return {
        "names": atlas.names,
        "layers": atlas.plan.layers,
        "withHeads": atlas.plan.with_heads,
        "kept": atlas.plan.kept,
        "placeBytes": places.itemsize,
        "tops": base64(tops.astype("<f4")),
        "places": base64(places),
        "values": base64(values),
    }


def computations_data(kept: Computations) -> dict[str, Any]:
    """Queries, keys and values, and of which layers and heads they are."""
    scales, values = kept.arrays()
    return {
        "layers": kept.choice.layers,
        "heads": kept.choice.heads,
        "width": kept.choice.width,
        "size": kept.size,
        "error": kept.error,
        "scales": base64(scales.astype("<f4")),
        "values": base64(values),
    }


def words_data(words: Words) -> dict[str, Any]:
    """One caption's tokens, and where they look."""
    return {
        "tokens": words.tokens,
        "tops": base64(words.tops.astype("<f4")),
        "values": base64(words.values),
        "computations": computations_data(words.computations),
    }


def features_data(found: Explanation) -> dict[str, Any]:
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
    return {"scales": scales.tolist(), "error": error, "low": low, "data": base64(stored)}


def picture_url(colors: NDArray[np.uint8]) -> str:
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


def as_json(value: Any) -> str:
    """JSON that can stand within a script, which "</script>" and "<!--" would end or swallow in any quotes."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e")


def base64(array: NDArray[Any]) -> str:
    return b64encode(np.ascontiguousarray(array).tobytes()).decode()
