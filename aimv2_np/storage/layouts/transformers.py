"""Transformers' layout, which is ours: what is stored under which of our names.

A checkpoint of two towers holds the names of either tower behind a prefix, so one tower can be taken out of it. A
checkpoint of one tower has no prefix.
"""

from collections.abc import Mapping

from aimv2_np.errors import CheckpointError
from aimv2_np.storage.checkpoint import Tensors, first_ten
from aimv2_np.storage.layouts import apple
from aimv2_np.storage.layouts.table import PATCHES, TEXT, TOKENS, VISION, Layout, Row

# What a two-tower checkpoint consists of; the parts that a single tower leaves alone.
PARTS = (VISION, TEXT, "visual_projection.", "text_projection.", "logit_scale")
FIRST_NORM, LAST_NORM = "encoder.layers.0.rms_norm1.weight", "rms_norm.weight"
Shape = tuple[int, ...]


def _same(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Our names of a table, each stored under itself; q, k and v apart."""
    return tuple(Row(part, part) for row in rows for part in row.names)


LAYOUT = Layout(
    name="transformers",
    title="Transformers",
    vision=_same(apple.VISION),
    text=_same(apple.TEXT),
    both=_same(apple.BOTH),
    prefixes={"": "", VISION: VISION, TEXT: TEXT},
)


def match(expected: Mapping[str, Shape], checkpoint: Tensors) -> dict[str, str]:
    """The stored name of each tensor of a model, whose names and shapes are `expected`.

    Computed from the headers alone. Raises one CheckpointError that lists the tensors that are missing, not expected,
    or of another shape.
    """
    shapes = checkpoint.shapes
    # A tower that is taken out of two has its prefix before its names.
    signs = ((PATCHES, VISION), (TOKENS, TEXT))
    prefix = next((front for sign, front in signs if sign in expected and front + sign in shapes), "")
    names = {name: prefix + name for name in expected}
    spare = {prefix + LAST_NORM} if FIRST_NORM in expected else set()  # a tower without its last norm leaves that alone
    others = sorted(shapes.keys() - set(names.values()) - spare)
    problems = {
        "missing": [stored for stored in names.values() if stored not in shapes],
        "unexpected": [
            name for name in others
            if not LAYOUT.ignores(name) and (name.startswith(prefix) or not name.startswith(PARTS))
        ],
        "of another shape": [
            f"{stored} is {shapes[stored]}, expected {expected[name]}"
            for name, stored in names.items() if shapes.get(stored, expected[name]) != expected[name]
        ],
    }  # fmt: skip
    if any(problems.values()):
        listed = "; ".join(f"{len(found)} {what} ({first_ten(found)})" for what, found in problems.items() if found)
        raise CheckpointError(
            f"the tensors in {checkpoint.folder} are not those of the model that config.json describes: {listed}. Use "
            "the config.json that was saved with these weights, and the model class that it names"
        )
    return names
