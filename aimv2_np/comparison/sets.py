"""Many recordings at once: how large the errors of each module are over a set of inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf, log10
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from aimv2_np.comparison.compare import compare
from aimv2_np.comparison.comparison import Comparison
from aimv2_np.comparison.sides import as_recording
from aimv2_np.shapes import NDArray

QUANTILES = (0.5, 0.9, 1.0)
LOGITS, TOP = ("logits_per_image", "logits_per_text"), 5
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Spread:
    """The errors of one module over all recordings.

    Attributes:
        path: of the module.
        count: in how many recordings it was compared.
        relative: (median, 90 %, largest) relative error.
        own: the same of the errors that arise in it; None where they are not known.
        snr: (median, 10 %, smallest) ratio of signal to noise in decibels, -20 log10(relative).
        psnr: the same of the largest number to the noise; None from statistics.
        equal: in how many recordings its error is rounding.
    """

    path: str
    count: int
    relative: tuple[float, ...]
    own: tuple[float, ...] | None
    snr: tuple[float, ...]
    psnr: tuple[float, ...] | None
    equal: int


@dataclass(frozen=True)
class SetComparison:
    """What `compare_sets` found.

    Attributes:
        comparisons: name of a pair → its comparison.
        modules: the errors of each module, in order of execution.
        agreement: "logits_per_image top 1" → the share of rows in which both sides rank the same first; "… top 5": the
            share of the first five that both have in common.
    """

    comparisons: Mapping[str, Comparison]
    modules: tuple[Spread, ...]
    agreement: Mapping[str, float]

    @property
    def equal(self) -> bool:
        """Whether all differences in all pairs are rounding."""
        return all(each.equal for each in self.comparisons.values())

    @property
    def worst(self) -> tuple[Spread, ...]:
        """By median own error, or by median relative error where those are not known."""
        return tuple(sorted(self.modules, key=lambda each: -(each.own or each.relative)[0]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them; what is infinite is None."""
        pairs = {name: {"equal": each.equal, "first": each.first and each.first.path} for name, each in self.pairs}
        modules = [{key: _plain(value) for key, value in asdict(module).items()} for module in self.modules]
        return {"equal": self.equal, "pairs": pairs, "modules": modules, "agreement": dict(self.agreement)}

    @property
    def pairs(self) -> list[tuple[str, Comparison]]:
        """The comparisons by name."""
        return sorted(self.comparisons.items())


def pairs_in(reference: str | PathLike[str], other: str | PathLike[str]) -> dict[str, tuple[Path, Path]]:
    """Name → the two recordings of that name in two folders; ValueError where no name is in both."""
    folders = Path(reference), Path(other)
    names = [{path.name for path in folder.glob(f"*{SUFFIX}")} for folder in folders]
    if not (both := sorted(names[0] & names[1])):
        raise ValueError(
            f"{reference} and {other} have no recording of one name in common, but {len(names[0])} and {len(names[1])} "
            f"files {SUFFIX}; name the recordings of one input alike"
        )
    return {name.removesuffix(SUFFIX): (folders[0] / name, folders[1] / name) for name in both}


def compare_sets(pairs: Mapping[str, tuple[Any, Any]], **options: Any) -> SetComparison:
    """Compare each pair of recordings, and tell how the errors of each module are spread over them.

    Args:
        pairs: name → (reference, other), as `compare` takes them; of two folders, `pairs_in` makes them.
        options: those of `compare`.

    Raises:
        ValueError: there are no pairs; and what `compare` raises.
    """
    if not pairs:
        raise ValueError("pairs is empty; expected at least one reference and other")
    found: dict[str, Comparison] = {}
    peaks: dict[str, list[float]] = {}
    ranks: dict[str, list[float]] = {}
    for name, (a, b) in pairs.items():
        a, b = as_recording(a, "reference"), as_recording(b, "other")
        found[name] = result = compare(a, b, **options)
        for each in result.differences:
            if (array := a.array(each.path)) is not None and each.measures is not None and array.size:
                noise = each.relative * float(np.sqrt(np.mean(np.square(array, dtype=np.float64))))
                peaks.setdefault(each.path, []).append(_decibels(noise, float(np.abs(array).max())))
            if each.path in LOGITS and (theirs := b.array(each.theirs)) is not None and array is not None:
                for label, share in _agreement(each.path, array, theirs).items():
                    ranks.setdefault(label, []).append(share)
    paths = dict.fromkeys(each.path for result in found.values() for each in result.differences)
    modules = tuple(_spread(path, list(found.values()), peaks.get(path, [])) for path in paths)
    return SetComparison(found, modules, {label: float(np.mean(shares)) for label, shares in ranks.items()})


def _spread(path: str, results: Sequence[Comparison], peaks: list[float]) -> Spread:
    several = [each for result in results for each in result.differences if each.path == path]
    relative = [each.relative for each in several]
    own = [each.own for each in several if each.own is not None]
    return Spread(
        path, len(several), _quantiles(relative), _quantiles(own) if own else None,
        _quantiles([_decibels(error, 1.0) for error in relative], smallest=True),
        _quantiles(peaks, smallest=True) if peaks else None, sum(each.equal for each in several),
    )  # fmt: skip


def _quantiles(values: Sequence[float], *, smallest: bool = False) -> tuple[float, ...]:
    """Median, 90 % and largest; or median, 10 % and smallest: values that occurred, as some may be infinite."""
    ranked = sorted(values, reverse=smallest)
    return tuple(float(ranked[min(len(ranked) - 1, int(q * len(ranked)))]) for q in QUANTILES)


def _decibels(noise: float, signal: float) -> float:
    return 20 * log10(signal / noise) if noise and signal and noise < inf else (-inf if noise else inf)


def _agreement(name: str, ours: NDArray, theirs: NDArray) -> dict[str, float]:
    if ours.ndim != 2 or theirs.shape != ours.shape or not ours.size:
        return {}
    ranks = [np.argsort(-side, axis=1, kind="stable") for side in (ours, theirs)]
    top = min(TOP, ours.shape[1])
    common = [len({*a[:top]} & {*b[:top]}) / top for a, b in zip(*ranks, strict=True)]
    shares = {f"{name} top 1": float(np.mean(ranks[0][:, 0] == ranks[1][:, 0]))}
    return shares | ({f"{name} top {top}": float(np.mean(common))} if top > 1 else {})


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [each if np.isfinite(each) else None for each in value]
    return value
