"""The search for the cause of a wrong gradient: known faults are planted where the first one arises."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from weakref import WeakKeyDictionary

import numpy as np

from aimv2_np.comparison.comparison import Diagnosis
from aimv2_np.comparison.diagnosis.backward import attentions, ends, gates, norms, paths, products, sums, tables
from aimv2_np.comparison.diagnosis.backward.advice import change
from aimv2_np.comparison.diagnosis.backward.looks import Look
from aimv2_np.comparison.diagnosis.backward.walk import Chain, Clue, Walked
from aimv2_np.comparison.diagnosis.fault import Fault, faults_of
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.tree.module import Module

FAULTS = faults_of((each.FAULTS for each in (ends, norms, attentions, gates, sums, paths, products, tables)), {})
SECONDS = 30.0
MOST = 4  # causes, one behind the other
EXPLAINED, CLEARLY = 0.25, 4.0  # as for activations: what the cause may leave, and others must leave so many times more
# What changes gradients by weights, and no other: identifier and class of modules.
OF_WEIGHTS = {
    *((name, kind) for kind in (Linear, PatchEmbed, RMSNorm, Embedding) for name in (
        "broadcast_not_summed", "mean_for_sum", "weights_accumulated_twice", "weights_detached", "rows_overwritten",
        "transposed_weight_gradient", "gradient_of_output", "gain_without_x",
    )),
}  # fmt: skip
Faults = Mapping[str, Sequence[Fault]]
# How far a gradient is from the expected one, and whether that is more than rounding.
Judge = Callable[[Look], tuple[float, bool]]


@dataclass(frozen=True)
class Candidate:
    """A fault in one module.

    Attributes:
        fault, path: it, and where.
        left: the relative error of the first wrong gradient that it leaves.
        wrong: how many gradients stay wrong with it there.
        planted: path → faults, with it alone.
    """

    fault: Fault
    path: str
    left: float
    wrong: int
    planted: Faults = field(repr=False)


@dataclass
class Search:
    """A search in one chain.

    Attributes:
        chain: the reference's backward pass, on what the other side gave.
        judge: tells how far a gradient is from the expected one, and whether that is rounding.
        rounding: a relative error below which causes are not told apart.
        progress: told what is tested.
    """

    chain: Chain
    judge: Judge
    rounding: float
    progress: Callable[[str], None]

    def __post_init__(self) -> None:
        self.end = monotonic() + SECONDS
        self.tested = 0
        self._said = WeakKeyDictionary[Look, tuple[float, bool]]()

    def diagnose(self, known: Sequence[Walked | None], base: Faults, depth: int = 0) -> tuple[Diagnosis | None, str]:
        """The fault behind the first wrong gradient of a backward pass with the faults `base`; how far it reaches."""
        first, error = next(self._wrong(known))
        found: list[Candidate] = []
        for modules in (self._near(known, first), self._around(known, first)):
            fitting = self._fitting(self._pairs(modules, first), known, base, first, error)
            found = found or sorted(fitting, key=lambda each: (each.wrong, each.left))
        if not found:
            late = " The search was ended: it took too long." if monotonic() > self.end else ""
            return None, f"None of the {self.tested} causes tested explains it.{late}"
        most = CLEARLY * max(found[0].left, self.rounding)
        rivals = [each for each in found if each.wrong == found[0].wrong and each.left <= most]
        reached = [(each, *self._extent(each, known, base)) for each in _one_of_each(rivals)]
        least = min(left for _, _, left in reached)
        best = [(each, planted) for each, planted, left in reached if left == least]
        several = {each.fault.identifier for each, _ in best}
        if len(several) > 1:
            names = " and ".join(sorted(several))
            return None, f"{names} explain it equally well; other inputs would tell them apart."
        winner, planted = best[0]
        return self._told(winner, planted, error, known, base, depth)

    def _told(
        self, winner: Candidate, planted: Faults, error: float, known: Sequence[Walked | None], base: Faults, depth: int
    ) -> tuple[Diagnosis, str]:
        modules = {path: module for each in self.chain.modules for path, module in each.items() if path in planted}
        modules = {path: modules[path] for path in planted if path not in base or planted[path] != base[path]}
        modules = {winner.path: modules.pop(winner.path), **modules}
        faulty = {path: self._planted(path, winner.fault, self._clue(known)) for path in modules}
        sentence = winner.fault.sentence_for(modules, faulty)
        name = winner.fault.identifier
        diagnosis = Diagnosis(name, sentence, winner.left, _share(winner.left, error), change(name))
        walked = self.chain.walk(planted, known, self._clue(known)) or known
        rest = next(self._wrong(walked), None)
        if rest is None:
            return diagnosis, "It explains all gradients."
        if depth >= MOST:
            return diagnosis, f"It leaves the gradient by {rest[0].path} unexplained."
        following, remark = self.diagnose(walked, planted, depth + 1)
        if following is None:
            return diagnosis, f"It leaves the gradient by {rest[0].path} unexplained. {remark}"
        return diagnosis, f"With this fault planted, the next cause: {following.sentence}. {remark}"

    def _fitting(
        self,
        pairs: Iterable[tuple[Fault, Sequence[str]]],
        known: Sequence[Walked | None],
        base: Faults,
        first: Look,
        error: float,
    ) -> Iterator[Candidate]:
        """Faults that explain the first wrong gradient, and make nothing wrong that is right."""
        wrong = {look.path for look, _ in self._wrong(known)}
        clue = self._clue(known)
        for fault, several in pairs:
            if monotonic() > self.end:
                return
            self.progress(f"looking for the cause: is it {fault.identifier}?")
            self.tested += 1
            planted = {**base, **{path: (*base.get(path, ()), fault) for path in several}}
            with np.errstate(all="ignore"):
                walked = self.chain.walk(planted, known, clue)
            if walked is None:
                continue
            look = next((look for look in _looks(walked) if look.path == first.path), None)
            left, right = (inf, False) if look is None else self._error(look)
            if not right or left > EXPLAINED * error:
                continue
            still = {look.path for look, _ in self._wrong(walked)}
            if still <= wrong:
                yield Candidate(fault, several[0], left, len(still), planted)

    def _pairs(self, modules: Mapping[str, Module], first: Look) -> Iterator[tuple[Fault, Sequence[str]]]:
        """(fault, paths of those of the modules that have it): each alone, then all of a class."""
        weight = first.path in self.chain.weights
        kinds: dict[type[Module], list[str]] = {}
        for path, module in modules.items():
            kinds.setdefault(type(module), []).append(path)
        for kind, alike in kinds.items():
            for fault in FAULTS:
                if kind in fault.plants and (weight or (fault.identifier, kind) not in OF_WEIGHTS):
                    able = [path for path in alike if self._planted(path, fault, Clue(2.0)) is not None]
                    yield from ((fault, several) for several in _one_by_one_and_together(able))

    def _near(self, known: Sequence[Walked | None], first: Look) -> dict[str, Module]:
        """The modules that may give a gradient: the one that does, those around it and, but for a weight, within it."""
        weight = first.path in self.chain.weights
        return {
            path: module
            for path, module in self.chain.modules[_link_of(known, first)].items()
            if _is_within(first.giver, path) or (not weight and _is_within(path, first.giver))
        }

    def _around(self, known: Sequence[Walked | None], first: Look) -> dict[str, Module]:
        """All modules of its stage, and of those behind which no gradient was recorded: what is unseen may be wrong."""
        i = _link_of(known, first)
        found, outputs = dict(self.chain.modules[i]), self.chain.links[i].outputs
        for j in range(i + 1, len(known)):
            taken = [each.incoming[name] for name in outputs if (each := known[j]) and name in each.incoming]
            if taken and not taken[0][1]:
                found |= self.chain.modules[j]
                outputs = self.chain.links[j].outputs
        return found

    def _extent(self, found: Candidate, known: Sequence[Walked | None], base: Faults) -> tuple[Faults, int]:
        """In which modules the fault makes wrong gradients right; and how many stay wrong."""
        planted, walked = dict(found.planted), self.chain.walk(found.planted, known, self._clue(known)) or known
        wrong = {look.path for look, _ in self._wrong(walked)}
        for modules, each in zip(reversed(self.chain.modules), list(reversed(walked)), strict=True):
            if each is None or wrong.isdisjoint(look.path for look in each.looks):
                continue
            alike = [
                path for path, module in modules.items() if type(module) in found.fault.plants and path not in planted
            ]
            for several in _one_by_one_and_together(alike):
                more = {**planted, **{path: (*base.get(path, ()), found.fault) for path in several}}
                tried = self.chain.walk(more, walked, self._clue(known)) if monotonic() < self.end else None
                still = wrong if tried is None else {look.path for look, _ in self._wrong(tried)}
                if tried is not None and still < wrong:
                    planted, walked, wrong = more, tried, still
        return planted, len(wrong)

    def _planted(self, path: str, fault: Fault, clue: Clue) -> Module | None:
        """A module with the fault; None where it cannot have it, as it has not the arrays that it is about."""
        twin = self.chain.twins.get(path)
        return None if twin is None else fault.plant(twin, path, clue)  # type: ignore[arg-type]

    def _clue(self, known: Sequence[Walked | None]) -> Clue:
        look = next(self._wrong(known), None)
        if look is None:
            return Clue()
        a, b = look[0].expected.reshape(-1), look[0].found.reshape(-1)
        return Clue(float(a @ b / (a @ a)) if a.any() else None)

    def _wrong(self, walked: Sequence[Walked | None]) -> Iterator[tuple[Look, float]]:
        """(look, error) of gradients that are wrong, from the loss to the input."""
        for look in _looks(walked):
            error, right = self._error(look)
            if not right:
                yield look, error

    def _error(self, look: Look) -> tuple[float, bool]:
        """What `judge` says, which is asked once: most gradients are those of a pass without the fault."""
        if look not in self._said:
            self._said[look] = self.judge(look)
        return self._said[look]


def _looks(walked: Sequence[Walked | None]) -> Iterator[Look]:
    for each in reversed(walked):
        yield from each.looks if each else ()


def _link_of(known: Sequence[Walked | None], look: Look) -> int:
    """In which stage a gradient was found."""
    return next(i for i, each in enumerate(known) if each and any(one.path == look.path for one in each.looks))


def _is_within(path: str, outer: str) -> bool:
    return path == outer or path.startswith(f"{outer}.") or not outer


def _one_by_one_and_together(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from ([path] for path in paths)
    if len(paths) > 1:
        yield paths


def _one_of_each(rivals: Sequence[Candidate]) -> list[Candidate]:
    """Of each identifier the first of the table: a number that was fitted to what was recorded stands behind others."""
    first: dict[str, Candidate] = {}
    for each in sorted(rivals, key=lambda each: FAULTS.index(each.fault)):
        first.setdefault(each.fault.identifier, each)
    return list(first.values())


def _share(left: float, error: float) -> float:
    return 1.0 if not np.isfinite(error) or not error else max(0.0, 1 - left / error)
