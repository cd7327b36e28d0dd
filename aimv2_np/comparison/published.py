"""The numbers that Transformers' own integration tests publish for three released checkpoints, and whether we get them.

All are for one photograph, COCO val2017 000000039769: 640×480, two cats on a couch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import PureWindowsPath
from typing import Any, Unpack

import numpy as np

from aimv2_np.backends.arrays import to_numpy
from aimv2_np.models.options import ModelOptions
from aimv2_np.models.outputs import ModelOutput
from aimv2_np.processing.loading import load_pixels
from aimv2_np.recording.inputs import load_with_inputs

PICTURE = "COCO val2017 000000039769 (640x480, two cats)"
PICTURE_SIZE = (640, 480)
TOLERANCE = 1e-3  # absolute; the tests' own, for numbers that are written with four decimals


@dataclass(frozen=True)
class Published:
    """Numbers of one checkpoint: the upper left corner of an output, or of its first picture's part."""

    output: str
    shape: tuple[int, ...]
    corner: list[list[float]]
    texts: tuple[str, ...] = ()


PUBLISHED: Mapping[str, Published] = {
    "apple/aimv2-large-patch14-224-lit": Published(
        "logits_per_image", (1, 2), [[33.3550, 26.4255]], ("a photo of a cat", "a photo of a dog")
    ),
    "apple/aimv2-large-patch14-224": Published(
        "last_hidden_state",
        (1, 256, 1024),
        [
            [0.0510, 0.0806, -0.0990, -0.0154],
            [2.7850, -2.5143, -0.3320, 2.4196],
            [2.8179, -2.4089, -0.2770, 2.3218],
            [2.7641, -2.4114, -0.3684, 2.2998],
            [2.7972, -2.3180, -0.4490, 2.2302],
            [2.8584, -2.5322, -0.2302, 2.4936],
            [-2.7849, 2.4121, 1.3670, -1.5514],
        ],
    ),
    "apple/aimv2-large-patch14-native": Published(
        "last_hidden_state",
        (1, 1530, 1024),
        [
            [-1.3342, 0.3720, 0.0963, 0.4159],
            [-1.5328, 0.4677, 0.0936, 0.4321],
            [-0.3775, -0.2758, -0.0803, -0.5367],
            [-1.3877, 0.5561, -1.9064, -1.1766],
            [-0.5148, 0.0108, -0.4515, -0.6402],
            [-0.3400, -0.1711, -0.1855, -0.4219],
            [-1.2877, -0.0585, -0.1646, 0.7420],
        ],
    ),
}


@dataclass(frozen=True)
class Attempt:
    """One way to compute the published numbers: how, what came out, and the largest difference."""

    attention: str
    found: list[list[float]]
    max_abs: float

    @property
    def equal(self) -> bool:
        """Whether these are the published numbers, to 0.001."""
        return self.max_abs <= TOLERANCE


@dataclass(frozen=True)
class PublishedResult:
    """Whether a checkpoint gives its published numbers, and with which attention of the text tower."""

    name: str
    expected: Published
    attempts: tuple[Attempt, ...]
    note: str = ""

    @property
    def equal(self) -> bool:
        """Whether one of the attempts gives them."""
        return any(attempt.equal for attempt in self.attempts)

    @property
    def explanation(self) -> str:
        """Whether the numbers are the published ones, in a sentence."""
        attempts = sorted(self.attempts, key=lambda attempt: attempt.max_abs)
        best, worst = attempts[0], attempts[-1]
        if not best.equal:
            return f"{self.name} does not give the published numbers: off by {best.max_abs:.3g}{self.note}"
        if len(self.attempts) == 1:
            return f"{self.name} gives the published numbers, off by {best.max_abs:.1g} at most"
        if worst.equal:
            return f"{self.name} gives the published numbers with either attention of the text tower"
        return (
            f"{self.name} gives the published numbers with {best.attention} attention in the text tower; "
            f"with {worst.attention} attention it is off by {worst.max_abs:.3g}"
        )


def verify_published(
    model: str | PathLike[str],
    image: Any,
    *,
    name: str | None = None,
    exif_transpose: bool = False,
    table: Mapping[str, Published] | None = None,
    **options: Unpack[ModelOptions],
) -> PublishedResult:
    """Run a released checkpoint on the photograph of two cats and compare with the published numbers.

    AIMv2's text tower was trained with causal attention. Transformers' default attention drops causality together with
    a mask of all ones, and the two captions of the published logits are equally long: so both kinds are tried.

    Args:
        model: a hub id, or a folder with the same checkpoint.
        image: the picture, a path or what `Aimv2ImageProcessor` takes.
        name: the hub id whose numbers to expect, for a folder whose name does not end like one.
        exif_transpose: turn the picture upright by its EXIF orientation.
        table: hub id → numbers; None for `PUBLISHED`.
        options: those of `load`; the numbers are known for float32 alone.

    Raises:
        ValueError: no numbers are published for this checkpoint, or its outputs have another shape.
    """
    table = PUBLISHED if table is None else table
    key = _key(str(name or model), table)
    expected = table[key]
    network, inputs = load_with_inputs(model, [image], expected.texts, exif_transpose=exif_transpose, **options)
    ways: dict[str, dict[str, Any]] = {"full": {}}
    if expected.texts:
        ways = {"causal": {"causal": True}, "non-causal": {"causal": False}}
    attempts = tuple(_attempt(way, network(**inputs, **kind), expected) for way, kind in ways.items())
    return PublishedResult(key, expected, attempts, _note(image))


def _attempt(attention: str, outputs: ModelOutput, expected: Published) -> Attempt:
    array, corner = to_numpy(outputs[expected.output]), np.asarray(expected.corner)
    if array.shape != expected.shape:
        raise ValueError(
            f"{expected.output} is of shape {array.shape}; expected the published {expected.shape}; this is another "
            f"checkpoint, or another picture than {PICTURE}"
        )
    rows, columns = corner.shape
    found = array.reshape(-1, array.shape[-1])[:rows, :columns].astype(np.float64)
    return Attempt(attention, found.tolist(), float(np.abs(found - corner).max()))


def _key(name: str, table: Mapping[str, Published]) -> str:
    last = PureWindowsPath(name).name  # knows both kinds of slashes
    for key in table:
        if name == key or last == key.rpartition("/")[2]:
            return key
    raise ValueError(
        f"model is {name}, for which no numbers are published; expected one of "
        f"{', '.join(table)}; for a folder of another name, say which one it is with --as"
    )


def _note(image: Any) -> str:
    height, width = load_pixels(image).shape[:2]
    if (width, height) == PICTURE_SIZE:
        return ""
    return f". The picture is {width}x{height}; the published numbers are for {PICTURE}"
