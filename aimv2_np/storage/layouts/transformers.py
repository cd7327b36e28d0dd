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
    file="model.safetensors",
    metadata={"format": "pt"},
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
    prefix = _prefix(expected, checkpoint)
    names = {name: prefix + name for name in expected}
    shapes = checkpoint.shapes
    missing = [stored for stored in names.values() if stored not in shapes]
    spare = {prefix + LAST_NORM} if FIRST_NORM in expected else set()  # a tower without its last norm leaves that alone
    others = shapes.keys() - set(names.values()) - spare
    unexpected = sorted(name for name in others if not _left_alone(name, prefix))
    reshaped = [
        f"{stored} is {shapes[stored]}, expected {expected[name]}"
        for name, stored in names.items()
        if stored in shapes and shapes[stored] != expected[name]
    ]
    problems = [
        _list(len(missing), "missing", missing),
        _list(len(unexpected), "unexpected", unexpected),
        _list(len(reshaped), "of another shape", reshaped),
    ]
    if any(problems):
        raise CheckpointError(
            f"the tensors in {checkpoint.folder} are not those of the model that config.json describes: "
            f"{'; '.join(filter(None, problems))}. Use the config.json that was saved with these weights, and the "
            "model class that it names"
        )
    return names


def _prefix(expected: Mapping[str, Shape], checkpoint: Tensors) -> str:
    """What stands in front of the model's names: a tower's prefix when it is taken out of two, else nothing."""
    for signature, prefix in ((PATCHES, VISION), (TOKENS, TEXT)):
        if signature in expected and prefix + signature in checkpoint.shapes:
            return prefix
    return ""


def _left_alone(name: str, prefix: str) -> bool:
    # Older releases stored the constant 0, 1, 2, ... that positions are looked up with.
    if name.endswith(".position_ids"):
        return True
    return not name.startswith(prefix) and name.startswith(PARTS)


def _list(count: int, what: str, names: list[str]) -> str:
    return f"{count} {what} ({first_ten(names)})" if count else ""
