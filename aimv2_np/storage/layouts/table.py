"""What a layout is: a table of names and forms, and the small engine that reads any such table in both directions.

A row says under which name, and in which form, a codebase stores one or several of our tensors:

    stored = [leading axis of length one] permute(concatenate(ours..., axis 0), axes)

which covers all there is: q, k and v stacked, kernels transposed, the channels of a convolution moved, a batch axis.
Backwards each of ours is a slice of a view, so nothing is copied unless the result has to be made contiguous.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from aimv2_np.errors import CheckpointError
from aimv2_np.shapes import NDArray

Shape = tuple[int, ...]

# The number of a layer, wherever a layout writes it: `blocks.3.`, `layers.3.`, `layers_3/`.
NUMBER = re.compile(r"(blocks\.|layers\.|layers_)([0-9]{1,6})(?=[./])")
VISION, TEXT = "vision_model.", "text_model."
# What every tower of either kind has, whatever its configuration.
PATCHES, TOKENS = "embeddings.patch_embed.weight", "embeddings.token_embedding.weight"


@dataclass(frozen=True)
class Form:
    """How a stored tensor holds ours: its axes in terms of ours, behind an axis of length one where `lead`."""

    axes: tuple[int, ...] | None = None
    lead: bool = False

    def ours(self, stored: NDArray, count: int) -> list[NDArray]:
        """The `count` tensors of ours in a stored one, as views of it; ValueError when it cannot hold them."""
        if self.lead:
            if stored.ndim == 0 or stored.shape[0] != 1:
                raise ValueError("expected a leading axis of length one")
            stored = stored[0]
        if self.axes is not None:
            if stored.ndim != len(self.axes):
                raise ValueError(f"expected {len(self.axes)} axes")
            stored = stored.transpose(np.argsort(self.axes))
        if count == 1:
            return [stored]
        if stored.ndim == 0 or stored.shape[0] % count:
            raise ValueError(f"expected {count} tensors stacked")
        return np.split(stored, count)

    def stored(self, ours: Sequence[NDArray]) -> NDArray:
        """The stored tensor that holds these of ours; a copy only where several are stacked."""
        whole = ours[0] if len(ours) == 1 else np.concatenate(ours)
        whole = whole if self.axes is None else whole.transpose(self.axes)
        return whole[None] if self.lead else whole

    def shape(self, ours: Sequence[Shape]) -> Shape:
        """The shape of what `stored` returns."""
        whole = ours[0] if len(ours) == 1 else (sum(shape[0] for shape in ours), *ours[0][1:])
        whole = whole if self.axes is None else tuple(whole[axis] for axis in self.axes)
        return (1, *whole) if self.lead else whole


SAME = Form()
LEAD = Form(lead=True)


@dataclass(frozen=True)
class Row:
    """Their name and ours, with {i} for the number of a layer, and {qkv} for three of ours, stacked in that order."""

    theirs: str
    ours: str
    form: Form = SAME

    @property
    def names(self) -> tuple[str, ...]:
        """Our names, one or three."""
        return tuple(self.ours.replace("{qkv}", letter) for letter in ("qkv" if "{qkv}" in self.ours else " "))


def weight_and_bias(theirs: str, ours: str) -> tuple[Row, Row]:
    """The rows of a linear layer: weight and bias."""
    return Row(f"{theirs}.weight", f"{ours}.weight"), Row(f"{theirs}.bias", f"{ours}.bias")


@dataclass(frozen=True)
class Part:
    """Where one of our tensors is stored: the stored name, its form, and which of the `count` tensors in it."""

    name: str
    form: Form = SAME
    index: int = 0
    count: int = 1

    def of(self, stored: NDArray) -> NDArray:
        """Our tensor in a stored one, as a view; ValueError when it cannot hold ours."""
        return self.form.ours(stored, self.count)[self.index]


@dataclass(frozen=True)
class Layout:
    """One codebase's names.

    Attributes:
        name: what the command line calls it.
        title: what messages call it.
        vision, text: rows inside a tower.
        both: rows beside the two towers, whole names.
        prefixes: what stands before the rows of a tower: ours ("" for a tower alone) → theirs.
        file: the file of its weights.
        metadata: what is written into its files.
        ignored: beginnings of names that are left alone, as they mean nothing to the network.
    """

    name: str
    title: str
    vision: tuple[Row, ...]
    text: tuple[Row, ...]
    both: tuple[Row, ...]
    prefixes: Mapping[str, str]
    file: str = "model.safetensors"
    metadata: Mapping[str, str] = field(default_factory=lambda: {"format": "pt"})
    ignored: tuple[str, ...] = ()

    @cached_property
    def _rows(self) -> dict[str, tuple[str, Row]]:
        """Their whole name, with {i}, → (our prefix, row)."""
        rows = {row.theirs: ("", row) for row in self.both}
        towers = {"": (*self.vision, *self.text), VISION: self.vision, TEXT: self.text}
        for prefix, theirs in self.prefixes.items():
            rows.update({theirs + row.theirs: (prefix, row) for row in towers[prefix]})
        return rows

    def parts(self, name: str) -> dict[str, Part]:
        """Our names for what is stored under `name`, each with its part of it; empty for a name that is not known."""
        key, i = _numbered(name)
        if key not in self._rows:
            return {}
        prefix, row = self._rows[key]
        names = [prefix + ours.replace("{i}", i) for ours in row.names]
        return {ours: Part(name, row.form, index, len(names)) for index, ours in enumerate(names)}

    def score(self, names: Iterable[str]) -> int:
        """How many of these names the layout knows."""
        return sum(1 for name in names if self.parts(name))

    def ignores(self, name: str) -> bool:
        """Whether a stored name is none of the network's."""
        return name.startswith(self.ignored) or name.endswith(".position_ids")

    def arrange(self, ours: Iterable[str]) -> dict[str, tuple[Form, tuple[str, ...]]]:
        """Their name → (form, our names) for a model of these names. ValueError for what the layout has no place for.

        Their names come in the order in which ours are given.
        """
        names = list(ours)
        rows = self._inverse(TEXT if TOKENS in names else VISION)
        arranged: dict[str, tuple[Form, tuple[str, ...]]] = {}
        homeless = []
        for name in names:
            key, i = _numbered(name)
            if key not in rows:
                homeless.append(name)
                continue
            prefix, theirs, row = rows[key]
            whole = tuple(prefix + part.replace("{i}", i) for part in row.names)
            arranged[theirs + row.theirs.replace("{i}", i)] = (row.form, whole)
        if homeless:
            raise ValueError(
                f"the {self.title} layout has no place for {len(homeless)} tensors of this model "
                f"({', '.join(homeless[:3])}{', ...' if len(homeless) > 3 else ''}); choose another layout"
            )
        return arranged

    def _inverse(self, alone: str) -> dict[str, tuple[str, str, Row]]:
        """Our whole name, with {i}, → (our prefix, theirs, row), where a tower alone is the one called `alone`."""
        rows = {part: ("", "", row) for row in self.both for part in row.names}
        towers = {VISION: self.vision, TEXT: self.text}
        for prefix, theirs in self.prefixes.items():
            tower = towers[prefix or alone]
            rows.update({prefix + part: (prefix, theirs, row) for row in tower for part in row.names})
        return rows


def _numbered(name: str) -> tuple[str, str]:
    """A name with {i} for the number of its layer, and that number, or the name and nothing."""
    number = NUMBER.search(name)
    return (f"{name[: number.start(2)]}{{i}}{name[number.end() :]}", number[2]) if number else (name, "")


def our_shape(part: Part, stored: Shape, where: str) -> Shape:
    """The shape of our tensor in a stored one of this shape; CheckpointError, naming `where`, when it has none."""
    try:
        ours: Shape = part.of(np.broadcast_to(np.uint8(0), stored)).shape  # of no memory, whatever its shape says
    except ValueError as error:
        raise CheckpointError(f"{where}: tensor {part.name!r:.200} has the shape {stored}; {error}") from None
    return ours
