"""Comparing two recordings: the first module in order of execution whose outputs differ by more than rounding, and why.

result = compare("reference.safetensors", "other.safetensors", model=model)
result.equal, result.first.path, result.diagnosis, result.explanation
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod
from os import PathLike
from typing import Any

import numpy as np

from aimv2_np.comparison.comparison import Comparison, Difference
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.diagnose import diagnose
from aimv2_np.comparison.measure import measure_arrays, measure_statistics
from aimv2_np.comparison.naming import Naming, rank
from aimv2_np.comparison.order import in_execution_order
from aimv2_np.comparison.padding import Padding
from aimv2_np.comparison.report import summarise
from aimv2_np.comparison.sides import UnlikeError, as_recording, pair
from aimv2_np.comparison.tolerances import Tolerances, coarsest, depths
from aimv2_np.errors import a_type
from aimv2_np.models.auto import load
from aimv2_np.models.pretrained import AnyModel, PretrainedModel
from aimv2_np.recording.recording import INPUTS, Recording
from aimv2_np.recording.statistics import summarize
from aimv2_np.shapes import NDArray

Side = str | PathLike[str] | Recording | Mapping[str, Any]

# Statistics tell a relative error to a fifth or so (√(2/64)); twice the tolerance is five of these beyond it.
ESTIMATE_FACTOR = 2.0


@np.errstate(all="ignore")  # what is compared may hold anything; what overflows shows in the result
def compare(
    reference: Side,
    other: Side,
    *,
    tolerances: Tolerances | Mapping[str, float] | float | None = None,
    mapping: Mapping[str, str] | Iterable[str] | None = None,
    model: AnyModel | str | PathLike[str] | None = None,
) -> Comparison:
    """Compare what two implementations computed, module by module, and say where they part and why.

    Args:
        reference, other: each a recording (its path, or a `Recording`), a safetensors file of arrays, or a dict of
            arrays by dotted path. Recordings of statistics do: then errors are estimates.
        tolerances: None for those of docs/compare.md; a number: the relative error that counts as rounding; glob →
            number; or `Tolerances`.
        mapping: the other side's names → the reference's, `{"blocks.*.mlp": "encoder.layers.*.ffn"}` or texts
            `"theirs=ours"`. Apple's, timm's and ONNX' names are known without.
        model: the reference's model, or its folder: most causes can be tested with the weights only.

    Raises:
        FileNotFoundError, CheckpointError: a file that is not there, or is no recording.
        ValueError: the sides have no activation in common, or a tolerance or mapping makes no sense.
    """
    a, b = as_recording(reference, "reference"), as_recording(other, "other")
    if isinstance(model, str | PathLike):
        model = load(model)
    if model is not None and not isinstance(model, PretrainedModel):
        raise TypeError(f"model is {a_type(model)}; expected one of our models, or the folder of one")
    matcher = _Matcher(a, b, Tolerances.of(tolerances), mapping)
    differences = matcher.run()
    result = Comparison(differences, matcher.missing, matcher.extra, notes=matcher.notes())
    outcome = diagnose(Context(a, b, matcher.names, result, matcher.judge, model))
    result = replace(result, diagnosis=outcome.diagnosis)
    return replace(result, explanation=summarise(result, outcome.remark))


class _Matcher:
    """Pairs the activations of two recordings and judges each pair."""

    def __init__(
        self, a: Recording, b: Recording, tolerances: Tolerances, mapping: Mapping[str, str] | Iterable[str] | None
    ) -> None:
        self.a, self.b, self.tolerances = a, b, tolerances
        naming = Naming(a.order, mapping)
        found = [(naming(theirs), theirs) for theirs in b.order]
        # Several names may lead to one path, such as the operators of an ONNX graph: a name that is ours already
        # counts, else the one that ends the module.
        self.names = {ours: theirs for ours, theirs in sorted(found, key=lambda pair: rank(pair[1])) if ours}
        self.names |= {name: name for name in b.order if name in a.shapes}
        self.missing = tuple(path for path in a.order if path not in self.names)
        self.extra = tuple(theirs for ours, theirs in found if ours is None)
        self.depths = depths(a.order)
        self.padding = Padding.of(a)
        if not self.names:
            raise ValueError(
                f"reference and other have no activation in common, but {_some(a.order)} and {_some(b.order)}; "
                "expected common names: say which is which with a mapping, 'theirs=ours' (--map)"
            )

    def run(self) -> tuple[Difference, ...]:
        """One difference per input and activation that both sides have, in the reference's order."""
        inputs = [self._input(name) for name in self.a.inputs if name in self.b.inputs]
        order = in_execution_order(self.a.order)
        return (*inputs, *(self._activation(path, self.a) for path in order if path in self.names))

    def notes(self) -> tuple[str, ...]:
        """Where the metadata of the recordings disagree, a sentence for each."""
        what = {"config_hash": "configurations", "weights_hash": "weights"}
        a, b = self.a.metadata, self.b.metadata
        differ = [name for key, name in what.items() if key in a and key in b and a[key] != b[key]]
        return tuple(f"the {name} of the two recordings differ" for name in differ)

    def judge(self, path: str, expected: NDArray) -> tuple[float, bool]:
        """The relative error of what the other side recorded for `path` against `expected`; whether it is rounding."""
        if path.startswith(INPUTS):
            dtype = self._dtype(path)
            measures = measure_arrays(expected, self.b.inputs[path.removeprefix(INPUTS)], dtype)
            return measures.relative, measures.within(self.tolerances(path, dtype, 0))
        difference = self._activation(path, Recording.from_arrays({path: expected}))
        return difference.relative, difference.equal

    def _dtype(self, path: str) -> str:
        theirs = self.names.get(path, path)
        return coarsest([self.a.dtypes.get(path, ""), self.b.dtypes.get(theirs, ""), self.tolerances.dtype or ""])

    def _input(self, name: str) -> Difference:
        a, b, path = self.a.inputs[name], self.b.inputs[name], INPUTS + name
        # A model in half precision rounds what it is given.
        models = [side.metadata.get("dtype", "") for side in (self.a, self.b)]
        dtype = coarsest([str(a.dtype), str(b.dtype), *models, self.tolerances.dtype or ""])
        tolerance = self.tolerances(path, dtype, 0) if a.dtype.kind == "f" else 0.0
        difference = Difference(path, path, a.shape, dtype, 0, tolerance)
        if a.shape != b.shape:
            return replace(difference, note=f"theirs has the shape {b.shape}")
        return replace(difference, measures=measure_arrays(a, b, dtype))

    def _activation(self, path: str, reference: Recording) -> Difference:
        """The difference at `path` between the other side and `reference`: the first side, or a prediction from it."""
        theirs, dtype, depth = self.names[path], self._dtype(path), self.depths[path]
        tolerance = self.tolerances(path, dtype, depth)
        difference = Difference(path, theirs, reference.shapes[path], dtype, depth, tolerance)
        try:
            arrays = pair(reference, self.b, path, theirs)
        except UnlikeError as error:
            return replace(difference, note=str(error))
        if arrays is None:
            return self._estimated(difference, reference)
        a, b, note = arrays
        difference = replace(difference, measures=measure_arrays(a, self.padding.without(path, a, b), dtype), note=note)
        tokens = self.padding.without(path, a, b, strictly=True)
        if not difference.equal and tokens is not b and measure_arrays(a, tokens, dtype).within(tolerance):
            note = f"{note}; only rows of padding differ, on which no result depends".removeprefix("; ")
        return replace(difference, note=note)

    def _estimated(self, difference: Difference, reference: Recording) -> Difference:
        """`difference` with errors estimated from the statistics of both sides."""
        path, theirs = difference.path, difference.theirs
        difference = replace(difference, tolerance=ESTIMATE_FACTOR * difference.tolerance, from_statistics=True)
        a, b = reference.statistics.get(path), self.b.statistics.get(theirs)
        if a is None or b is None:
            return replace(difference, note="one side has a part, the other statistics")
        if prod(a.shape) != prod(b.shape):
            return replace(difference, note=f"theirs has the shape {b.shape}")
        # The projection is seeded by the name under which its side recorded it: the whole array can take the other's.
        same = path == theirs
        if not same and (array := reference.array(path)) is not None:
            a, same = summarize(theirs, array), True
        elif not same and (array := self.b.array(theirs)) is not None:
            b, same = summarize(path, array), True
        return replace(difference, measures=measure_statistics(a, b, same_projection=same))


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(f"{name:.60}" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
