"""The pairs of activations of two recordings, and how far the two of each pair are apart."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import inf, prod

from aimv2_np.comparison.alignment import PICTURES, UnlikeError, in_shape
from aimv2_np.comparison.comparison import Difference
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.forcing import OwnErrors, own_errors
from aimv2_np.comparison.measure import measure_arrays, measure_statistics, rounding
from aimv2_np.comparison.order import in_execution_order
from aimv2_np.comparison.padding import Padding
from aimv2_np.comparison.sides import pair
from aimv2_np.comparison.tolerances import Tolerances, coarsest, depths
from aimv2_np.recording.recording import INPUTS, OnDemand, Recording
from aimv2_np.recording.statistics import summarize
from aimv2_np.shapes import NDArray
from aimv2_np.tree.trace import GRADIENT

# Statistics tell a relative error to a fifth or so (√(2/64)); twice the tolerance is five of these beyond it.
ESTIMATE_FACTOR = 2.0


@dataclass
class Pairing:
    """Two recordings, a and the other side b.

    Attributes:
        tolerances: what counts as rounding.
        names: path in a → name in b, of what both have.
        exchanged: whether axes of one length lie exchanged in b.
        own: what arises in each module by itself, where tolerances are those of that.
    """

    a: Recording
    b: Recording
    tolerances: Tolerances
    names: Mapping[str, str]
    exchanged: bool = False
    own: OwnErrors | None = None

    def __post_init__(self) -> None:
        self.depths = depths(self.a.order)
        self.padding = Padding.of(self.a)
        self.before = self._halves_before()
        self.limits: dict[str, float] = {}  # path → the relative error that counts as rounding, once asked for

    def in_our_layout(self) -> Recording:
        """The other side with its arrays as ours lie, for who takes them from there."""
        owners = {theirs: ours for ours, theirs in self.names.items()}

        def array(theirs: str) -> NDArray:
            ours = owners.get(theirs, "")
            if ours in self.a.shapes and ours not in self.a.slices and theirs not in self.b.slices:
                try:
                    arrays = pair(self.a, self.b, ours, theirs, exchanged=self.exchanged)
                except UnlikeError:
                    arrays = None
                if arrays is not None:
                    return arrays[1]
            return self.b.activations[theirs]

        def given(name: str) -> NDArray:
            try:
                return self._their_input(name, self.a.inputs[name])[0] if name in self.a.inputs else self.b.inputs[name]
            except UnlikeError:
                return self.b.inputs[name]

        return replace(self.b, activations=OnDemand(self.b.activations, array), inputs=OnDemand(self.b.inputs, given))

    def run(self) -> tuple[Difference, ...]:
        """One difference per input and activation that both sides have, in the reference's order."""
        inputs = [self._input(name) for name in self.a.inputs if name in self.b.inputs]
        order = in_execution_order(self.a.order)
        return (*inputs, *(self._activation(path, self.a) for path in order if path in self.names))

    def notes(self) -> tuple[str, ...]:
        """Where the metadata of the recordings disagree, and tolerances that are of no use, a sentence for each."""
        what = {"config_hash": "configurations", "weights_hash": "weights"}
        a, b = self.a.metadata, self.b.metadata
        differ = [name for key, name in what.items() if key in a and key in b and a[key] != b[key]]
        rules = (glob for glob in self.tolerances.rules if not glob.startswith(GRADIENT))
        idle = [glob for glob in rules if not any(fnmatchcase(path, glob) for path in self.names)]
        return (
            *(f"the {name} of the two recordings differ" for name in differ),
            *(f"the tolerance of {glob!r:.100} is for nothing that was compared" for glob in idle),
        )

    def judge(self, path: str, expected: NDArray) -> tuple[float, bool]:
        """The relative error of what the other side recorded for `path` against `expected`; whether it is rounding."""
        if path.startswith(INPUTS):
            dtype, stored = self._dtype(path), self.b.inputs[path.removeprefix(INPUTS)].shape
            if len(stored) == 4 and 3 in (stored[1], stored[3]):  # then rows and columns are known, too
                sizes = stored[2:] if stored[1] == 3 else stored[1:3]
                if sizes != expected.shape[2:]:
                    return inf, False
            try:
                theirs, _ = self._their_input(path.removeprefix(INPUTS), expected)
            except UnlikeError:
                return inf, False
            measures = measure_arrays(expected, theirs, dtype)
            return measures.relative, measures.within(self.tolerances(path, dtype, 0))
        recorded = self.b.array(self.names[path])
        if recorded is None:
            difference = self._activation(path, Recording.from_arrays({path: expected}))
            return difference.relative, difference.equal
        try:
            theirs, _ = in_shape(recorded, expected, exchanged=self.exchanged)
        except UnlikeError:
            return inf, False
        if path not in self.limits:
            self.limits[path] = self._limit(path)
        return rounding(expected, self.padding.without(path, expected, theirs), self.limits[path])

    def own_errors(self, context: Context, *, keep: bool = False) -> OwnErrors:
        """What goes wrong in each module by itself; `keep` as for `forcing.own_errors`."""
        dtypes = {path: self._dtype(path) for path in self.names}
        both = "pixel_values" in self.a.inputs and "pixel_values" in self.b.inputs
        # What is made of pixels that were recorded in fewer digits than it has no more of them itself.
        pixels = [self._input("pixel_values").dtype] if both else []

        def tolerance(path: str, rounded: bool) -> float:
            dtype = coarsest([dtypes[path], *pixels]) if "embeddings" in path else dtypes[path]
            return self.tolerances(path, dtype, 1, rounded=rounded)

        return own_errors(context, self.taken, self.padding, dtypes, tolerance, keep=keep)

    def taken(self, path: str, expected: NDArray) -> NDArray | None:
        """What the other side recorded at `path`, as an array like `expected`; None where it recorded less."""
        if path not in self.names:
            return None
        try:
            ours = Recording.from_arrays({path: expected})
            arrays = pair(ours, self.b, path, self.names[path], exchanged=self.exchanged)
        except UnlikeError:
            return None
        found = None if arrays is None else arrays[1]
        return None if found is None or found.shape != expected.shape else found.astype(expected.dtype, copy=False)

    def _halves_before(self) -> dict[str, str]:
        """Path → the coarsest dtype in which the other side recorded something before: what follows inherits it."""
        coarse: dict[str, str] = {}
        found = {}
        for path in in_execution_order(self.a.order):
            first = path.partition(".")[0]
            tower = first if first.endswith("_model") else ""
            earlier = [coarse.get(tower, "")] if tower else list(coarse.values())
            found[path] = coarse[tower] = coarsest([*earlier, self.b.dtypes.get(self.names.get(path, ""), "")])
        return found

    def _dtype(self, path: str) -> str:
        theirs = self.names.get(path, path)
        both = self.a.dtypes.get(path, ""), self.b.dtypes.get(theirs, "")
        return coarsest([*both, self.tolerances.dtype or "", self.before.get(path, "")])

    def _limit(self, path: str) -> float:
        """The relative error at `path` that counts as rounding."""
        if self.own and path in self.own.measures:
            return self.own.measures[path][1]
        return self.tolerances(path, self._dtype(path), self.depths.get(path, 0))

    def _input(self, name: str) -> Difference:
        a, path = self.a.inputs[name], INPUTS + name
        # A model in half precision rounds what it is given.
        models = [side.metadata.get("dtype", "") for side in (self.a, self.b)]
        dtype = coarsest([str(a.dtype), str(self.b.inputs[name].dtype), *models, self.tolerances.dtype or ""])
        tolerance = self.tolerances(path, dtype, 0) if a.dtype.kind == "f" else 0.0
        difference = Difference(path, path, a.shape, dtype, 0, tolerance)
        try:
            b, note = self._their_input(name, a)
        except UnlikeError as error:
            return replace(difference, note=str(error))
        return replace(difference, measures=measure_arrays(a, b, dtype), note=note)

    def _their_input(self, name: str, like: NDArray) -> tuple[NDArray, str]:
        """The other side's input as `like` lies, and a remark if it lay otherwise."""
        return in_shape(self.b.inputs[name], like, axes=PICTURES if like.ndim == 4 else ())

    def _activation(self, path: str, reference: Recording) -> Difference:
        """The difference at `path` between the other side and `reference`: the first side, or a prediction from it."""
        theirs, dtype, depth = self.names[path], self._dtype(path), self.depths.get(path, 0)
        tolerance = self._limit(path)
        difference = Difference(path, theirs, reference.shapes[path], dtype, depth, tolerance)
        try:
            arrays = pair(reference, self.b, path, theirs, exchanged=self.exchanged)
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
