"""Gradients of two recordings: where activations agree, the first module whose derivative is wrong, and why.

Every module is judged by its own derivative: the reference's, of the gradient that the other side has by its output. So
an error is not blamed on what lies further back. How much rounding may change is measured: the same once more, with
every number changed by a unit in the last place.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from aimv2_np.backends.dtypes import EPS
from aimv2_np.comparison.comparison import Comparison, Diagnosis, Difference
from aimv2_np.comparison.diagnosis.backward.advice import change
from aimv2_np.comparison.diagnosis.backward.chain import chain_of
from aimv2_np.comparison.diagnosis.backward.looks import Look
from aimv2_np.comparison.diagnosis.backward.search import Search
from aimv2_np.comparison.diagnosis.backward.walk import IMAGES, TEXTS, Chain, Walked
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.matching import Mappings
from aimv2_np.comparison.measure import ROW_FACTOR, Measures, measure_arrays
from aimv2_np.comparison.naming import Naming
from aimv2_np.comparison.order import in_execution_order
from aimv2_np.comparison.pairing import Pairing
from aimv2_np.comparison.tolerances import coarsest
from aimv2_np.gradients.tape import PIXELS
from aimv2_np.recording.recording import LOSS, Recording
from aimv2_np.shapes import NDArray
from aimv2_np.tree.trace import GRADIENT

# So many times what changes by a unit in the last place changes is rounding: other sums round otherwise.
ROUNDINGS = 16.0
# Without the model, gradients are judged by all that went wrong before, which grows from the loss on.
INHERITED = 16.0
FLOOR = 1e-3  # of the largest gradient: what is smaller is a difference of larger numbers, as that by a bias of k_proj
DOUBTFUL = 0.01  # of the loss' gradient: from here on it is told
KERNELS = ("kernel", "scale", "gamma", "embedding")  # what others call `weight`
NOISE = 2**17  # random numbers, of which longer arrays take each several times
ONE_SIDE = "gradients of one side alone were not compared"
OF_OTHERS = "the gradients were not compared, as the activations that they are of differ"


@dataclass
class Judged:
    """Gradients on what the other side gave the modules that give them.

    Attributes:
        chain: the reference's backward pass.
        walked: of each of its stages.
        rounding: path → how much rounding changes there, absolute: a root mean square.
        tolerance: path → the relative error that counts as rounding where nothing amplifies it.
        dtype: the coarsest of both sides.
    """

    chain: Chain
    walked: list[Walked | None]
    rounding: dict[str, float]
    tolerance: Callable[[str], float]
    dtype: str

    @classmethod
    def of(cls, chain: Chain, tolerance: Callable[[str], float], dtype: str) -> "Judged":
        """The backward pass of a chain, and what rounding changes in it."""
        rng, eps = np.random.default_rng(0), EPS[dtype]
        noise = 1 + eps * rng.standard_normal(NOISE)

        def jitter(array: NDArray) -> NDArray:
            return array * np.resize(noise[rng.integers(NOISE // 2) :], array.shape)

        walked, changed = chain.walk() or [], chain.walk(jitter=jitter) or []
        rounding = {}
        for one, other in zip(walked, changed, strict=True):
            after = {look.path: look.expected for look in other.looks} if other else {}
            for look in one.looks if one else ():
                apart = _measured(look.expected, after[look.path], dtype)
                most, size = max(apart.relative, (apart.worst_row or 0.0) / ROW_FACTOR), _size(look.expected)
                rounding[look.path] = most * size if np.isfinite(most) else _size(after[look.path])
        if chain.contrastive and walked and walked[-1]:
            for look in walked[-1].looks:
                rounding[look.path] = max(rounding[look.path], _of_probabilities(look.expected, dtype))
        return cls(chain, walked, rounding, tolerance, dtype)

    @property
    def looks(self) -> list[Look]:
        """All gradients, from the loss to the input."""
        return [look for each in reversed(self.walked) if each for look in each.looks]

    def judge(self, look: Look) -> tuple[Measures, float]:
        """How far a gradient is from the expected one, and the relative error that is rounding."""
        size, rounding = _size(look.expected), ROUNDINGS * self.rounding[look.path]
        # Zero, where rounding gives so much, is what the other side has.
        expected = look.expected if size or _size(look.found) > rounding else look.found
        most = max(self.tolerance(look.path), rounding / size if size else 0.0)
        return _measured(expected, look.found, self.dtype), most

    def error(self, look: Look) -> tuple[float, bool]:
        """The relative error, and whether it is rounding."""
        measures, most = self.judge(look)
        return measures.relative, measures.within(most)


def _size(array: NDArray) -> float:
    return float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) if array.size else 0.0


def _of_probabilities(gradient: NDArray, dtype: str) -> float:
    """How much of the contrastive loss' gradient by logits is rounding, absolute: it is (p - y) / n, with p rounded.

    Where the model is sure, p is nearly y, and rounding may be all that is left.
    """
    return EPS[dtype] * _size(gradient + np.eye(len(gradient)) / len(gradient))


def _measured(a: NDArray, b: NDArray, dtype: str) -> Measures:
    """`measure_arrays`, the worst row being relative to the whole array.

    A token that hardly anything depends on has a gradient that is a difference of larger numbers.
    """
    measures = measure_arrays(a, b, dtype)
    if measures.worst_row is None or not np.isfinite(measures.worst_row) or not a.ndim or not a.size:
        return measures
    row, size = np.sqrt(np.mean(np.square(b - a, dtype=np.float64), axis=-1)).max(), _size(a)
    return replace(measures, worst_row=float(row / size) if size else measures.worst_row)


def with_gradients(
    result: Comparison,
    remark: str,
    context: Context,
    forward: Pairing,
    gradients: tuple[Recording, Recording],
    mapping: Mappings,
    progress: Callable[[str], None],
) -> tuple[Comparison, str]:
    """A comparison of activations, and what is said of it, with that of the gradients of both sides.

    They are compared where the activations agree.
    """
    ours, theirs = gradients
    if not ours.order or not theirs.order:
        return replace(result, notes=(*result.notes, ONE_SIDE)), remark
    if not result.equal or forward.tolerances.quantised:
        return replace(result, notes=(*result.notes, OF_OTHERS)), remark
    progress("comparing gradients")
    names = match_gradients(ours, theirs, context.names, mapping)
    pairing = Pairing(replace(ours, inputs={}), theirs, forward.tolerances, names)
    ran = {difference.path: difference for difference in pairing.run() if difference.path != IMAGES}
    plain = {path: ran[path] for path in _in_backward_order(ours.order, forward.a.order) if path in ran}
    judged = _judged(context, forward, pairing)
    plainly = _plainly(plain, pairing)
    diagnosis, said = None, ""
    differences = plainly if judged is None else _by_themselves(plainly, judged)
    first = next((difference for difference in differences if not difference.equal), None)
    if judged and first and first.by_own:
        diagnosis, said = Search(judged.chain, judged.error, EPS[judged.dtype], progress).diagnose(judged.walked, {})
    elif first:
        diagnosis = _held_constant(first, ours, theirs, names)
    notes = _notes(ours, theirs, _doubt(pairing))
    missing = tuple(GRADIENT + path for path in ours.order if path not in names and path != IMAGES)
    used = {*names.values()}
    extra = tuple(GRADIENT + name for name in theirs.order if name not in used and not name.endswith(IMAGES))
    result = replace(
        result,
        differences=(*result.differences, *(_named(difference) for difference in differences)),
        missing=(*result.missing, *missing),
        extra=(*result.extra, *extra),
        diagnosis=diagnosis,
        notes=(*result.notes, *notes),
    )
    return result, f"{remark} {said}".strip()


def match_gradients(ours: Recording, theirs: Recording, names: Mapping[str, str], mapping: Mappings) -> dict[str, str]:
    """Path of a gradient of ours → the other side's name of it.

    Those by activations have the names of these, `names`; those by weights those of their modules.
    """
    owners = {their: our for our, their in names.items()}
    naming = Naming(ours.order, mapping, theirs.order if mapping is None else ())
    found = {}
    for name in theirs.order:
        module, _, last = name.rpartition(".")
        guesses = [owners.get(name, ""), name]
        if module in owners:
            guesses += [f"{owners[module]}.{each}" for each in (last, *(["weight"] if last in KERNELS else []))]
        path = next((guess for guess in guesses if guess in ours.shapes), None) or naming(name)
        if path is not None and (path not in found or name in names.values()):
            found[path] = name
    return {path: found[path] for path in ours.order if path in found}


def _in_backward_order(paths: Iterable[str], forward: Iterable[str]) -> list[str]:
    """Paths from the loss to the input: those of `forward` in reverse, weights behind their modules' outputs."""
    places = {path: i for i, path in enumerate(in_execution_order(forward))} | {PIXELS: -1}

    def place(path: str) -> tuple[int, bool]:
        owner = path
        while owner and owner not in places:
            owner = owner.rpartition(".")[0]
        return -places.get(owner, len(places)), path not in places

    return sorted(paths, key=place)


def _judged(context: Context, forward: Pairing, pairing: Pairing) -> Judged | None:
    """Gradients judged each by itself; None where that cannot be: there is no model, or its loss is of other things."""
    theirs = context.on_their_inputs()
    if theirs is None or theirs.model is None:
        return None
    sides = (forward.a, forward.b, pairing.a, pairing.b)
    dtype = coarsest([*(each for side in sides for each in side.dtypes.values()), pairing.tolerances.dtype or ""])
    inner = any(path.endswith((".scores", ".probs")) for path in pairing.names)

    def tolerance(path: str) -> float:
        return pairing.tolerances(GRADIENT + path, dtype, 1)

    def taken(path: str, expected: NDArray) -> NDArray | None:
        found = pairing.taken(path, expected)
        other = pairing.taken(IMAGES, expected.T) if path == TEXTS else None
        if found is None or other is None or not other.any():
            return found
        # One of the two is made of the other, or both of the same: then their gradients add up.
        return min((found, other.T, found + other.T), key=lambda array: _size(array - expected))

    kept = dtype if dtype == "float64" else "float32"
    chain = chain_of(theirs, pairing.a, forward.taken, taken, inner=inner, dtype=kept)
    if chain is None:
        return None
    if pairing.a.metadata.get(LOSS, "given") == "given":
        # The loss may be of anything: then the reference's own gradients are not what its network gives.
        own = Pairing(pairing.a, pairing.a, pairing.tolerances, {path: path for path in pairing.a.order})
        itself = Judged.of(replace(chain, taken=own.taken), tolerance, dtype)
        if not all(itself.error(look)[1] for look in itself.looks if look.path != TEXTS):
            return None
    return Judged.of(chain, tolerance, dtype)


def _by_themselves(plain: Iterable[Difference], judged: Judged) -> list[Difference]:
    """The differences, each judged by what arises in the module that gives it; as they are where that is not known."""
    known, found = {difference.path: difference for difference in plain}, []
    for look in judged.looks:
        measures, most = judged.judge(look)
        difference = known.pop(look.path)
        found.append(replace(difference, alone=measures, own_tolerance=most, by_own=True, giver=look.giver))
    return [*found, *known.values()]


def _plainly(plain: Mapping[str, Difference], pairing: Pairing) -> list[Difference]:
    """The differences with tolerances that grow from the loss to the input."""
    depth = 1 + max((difference.depth for difference in plain.values()), default=0)
    arrays, statistics = pairing.a.activations, pairing.a.statistics
    doubt = _doubt(pairing)
    sizes = {path: _size(arrays[path]) if path in arrays else statistics[path].rms for path in plain}
    least = FLOOR * max(sizes.values(), default=0.0)
    found = []
    for path, difference in plain.items():
        most = INHERITED * pairing.tolerances(GRADIENT + path, difference.dtype, 2 * depth - difference.depth)
        if pairing.tolerances.rtol is None and 0 < sizes[path] < least:
            most *= least / sizes[path]
        most += doubt
        found.append(replace(difference, tolerance=most))
    return found


def _doubt(pairing: Pairing) -> float:
    """The share of the gradient that all others are made of that may be rounding: of the contrastive loss by logits."""
    first = pairing.a.array(TEXTS)
    if first is None or pairing.a.metadata.get(LOSS) != "contrastive" or not first.any():
        return 0.0
    return ROUNDINGS * _of_probabilities(first, coarsest([*pairing.a.dtypes.values()])) / _size(first)


def _held_constant(first: Difference, ours: Recording, theirs: Recording, names: Mapping[str, str]) -> Diagnosis | None:
    """The one cause that arrays alone show: a gradient where the reference has none."""
    a, b = ours.array(first.path), theirs.array(names[first.path])
    if a is None or b is None or a.any() or not b.any():
        return None
    sentence = f"there is a gradient by {first.path}, and the reference has none: what gives it is held constant there"
    return Diagnosis("stop_gradient_missing", sentence, 0.0, 1.0, change("stop_gradient_missing"))


def _notes(ours: Recording, theirs: Recording, doubt: float) -> list[str]:
    found, losses = [], [side.metadata.get(LOSS, "given") for side in (ours, theirs)]
    if "given" not in losses and losses[0] != losses[1]:
        found.append(f"the loss is {losses[0]} in the one, and {losses[1]} in the other")
    if doubt > DOUBTFUL:
        found.append(
            f"the model is so sure of these captions that rounding may be {min(doubt, 1):.0%} of the loss' gradient; "
            "record pictures and captions that are harder to tell apart"
        )
    return found


def _named(difference: Difference) -> Difference:
    """The difference under the path of a gradient."""
    return replace(difference, path=GRADIENT + difference.path, theirs=GRADIENT + difference.theirs)
