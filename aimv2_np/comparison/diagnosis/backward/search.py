"""The search for the cause of a wrong gradient: known faults are planted where the first one arises."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from time import monotonic

import numpy as np

from aimv2_np.comparison.comparison import Diagnosis
from aimv2_np.comparison.diagnosis.backward import attentions, ends, gates, norms, paths, products, sums, tables
from aimv2_np.comparison.diagnosis.backward.advice import change
from aimv2_np.comparison.diagnosis.backward.walk import Chain, Clue, Look, Walked
from aimv2_np.comparison.diagnosis.fault import Fault, faults_of
from aimv2_np.comparison.naming import TOWERS
from aimv2_np.tree.module import Module

FAULTS = faults_of((each.FAULTS for each in (ends, norms, attentions, gates, sums, paths, products, tables)), {})
SECONDS = 30.0
MOST = 4  # causes, one behind the other
EXPLAINED, CLEARLY = 0.25, 4.0  # as for activations: what the cause may leave, and others must leave so many times more
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
        progress: told what is tested.
    """

    chain: Chain
    judge: Judge
    progress: Callable[[str], None]

    def __post_init__(self) -> None:
        self.end = monotonic() + SECONDS
        self.tested = 0

    def diagnose(self, known: Sequence[Walked | None], base: Faults, depth: int = 0) -> tuple[Diagnosis | None, str]:
        """The fault behind the first wrong gradient of a backward pass with the faults `base`; how far it reaches."""
        first, error = next(self._wrong(known))
        found = sorted(self._fitting(known, base, first, error), key=lambda each: (each.wrong, each.left))
        if not found:
            late = " The search was ended: it took too long." if monotonic() > self.end else ""
            return None, f"None of the {self.tested} causes tested explains it.{late}"
        rivals = [each for each in found if each.wrong == found[0].wrong and each.left <= CLEARLY * max(found[0].left, 1e-9)]
        reached = [(each, *self._extent(each, known, base)) for each in _one_of_each(rivals)]
        least = min(left for _, _, left in reached)
        best = [(each, planted) for each, planted, left in reached if left == least]
        several = {each.fault.identifier for each, _ in best}
        if len(several) > 1 and "detached" not in several:
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
        self, known: Sequence[Walked | None], base: Faults, first: Look, error: float
    ) -> Iterator[Candidate]:
        """Faults in one module that explain the first wrong gradient, and make nothing wrong that is right."""
        wrong = {look.path for look, _ in self._wrong(known)}
        clue = self._clue(known)
        for fault, path in self._near(known, first):
            if monotonic() > self.end:
                return
            self.progress(f"looking for the cause: is it {fault.identifier}?")
            self.tested += 1
            planted = {**base, path: (*base.get(path, ()), fault)}
            with np.errstate(all="ignore"):
                walked = self.chain.walk(planted, known, clue)
            if walked is None:
                continue
            there = {look.path: self.judge(look) for look in _looks(walked)}
            left, right = there.get(first.path, (inf, False))
            still = {name for name, (_, fits) in there.items() if not fits}
            if right and left <= EXPLAINED * error and still <= wrong:
                yield Candidate(fault, path, left, len(still), planted)

    def _near(self, known: Sequence[Walked | None], first: Look) -> Iterator[tuple[Fault, str]]:
        """(fault, path of a module that may have it), where the first wrong gradient may arise."""
        for modules in self._section(known, first):
            for path, module in modules.items():
                yield from ((fault, path) for fault in FAULTS if type(module) in fault.plants)

    def _section(self, known: Sequence[Walked | None], first: Look) -> Iterator[dict[str, Module]]:
        """The modules of the stage in which it was found, and of those behind it whose gradients were not recorded."""
        i = next(i for i, walked in enumerate(known) if walked and any(look.path == first.path for look in walked.looks))
        yield self.chain.modules[i]
        outputs = self.chain.links[i].outputs
        for j in range(i + 1, len(known)):
            walked = known[j]
            taken = [walked.incoming[name] for name in outputs if walked and name in walked.incoming] if walked else []
            if taken and not taken[0][1]:
                yield self.chain.modules[j]
                outputs = self.chain.links[j].outputs

    def _extent(
        self, found: Candidate, known: Sequence[Walked | None], base: Faults
    ) -> tuple[Faults, int]:
        """In which modules the fault explains most: in one, in those like it in the tower, or in all; what stays wrong."""
        everywhere = {
            path: (*base.get(path, ()), found.fault)
            for each in self.chain.modules
            for path, module in each.items()
            if type(module) in found.fault.plants and self._planted(path, found.fault, Clue(2.0)) is not None
        }
        tower = next((tower for tower in TOWERS if found.path.startswith(tower)), "")
        name, kind = found.path.rpartition(".")[2], type(self._module(found.path))
        named = {path: several for path, several in everywhere.items() if path.rpartition(".")[2] == name}
        alike = {path: several for path, several in everywhere.items() if type(self._module(path)) is kind}
        ways: list[dict[str, Sequence[Fault]]] = [dict(found.planted)]
        for group in (named, alike, everywhere):
            ways += [{p: s for p, s in group.items() if p.startswith(tower)}, group]
        best: tuple[Faults, int] = found.planted, found.wrong
        for planted in ways:
            if best[1] == 0 or monotonic() > self.end:
                break
            walked = self.chain.walk({**base, **planted}, known, self._clue(known))
            left = inf if walked is None else sum(1 for _ in self._wrong(walked))
            if left < best[1]:
                best = {**base, **planted}, int(left)
        return best

    def _planted(self, path: str, fault: Fault, clue: Clue) -> Module | None:
        """A module with the fault; None where it cannot have it, as it has not the arrays that it is about."""
        twin = self.chain.twins.get(path)
        return None if twin is None else fault.plant(twin, path, clue)  # type: ignore[arg-type]

    def _module(self, path: str) -> Module | None:
        return next((modules[path] for modules in self.chain.modules if path in modules), None)

    def _clue(self, known: Sequence[Walked | None]) -> Clue:
        look = next(self._wrong(known), None)
        if look is None:
            return Clue()
        a, b = look[0].expected.reshape(-1), look[0].found.reshape(-1)
        return Clue(float(a @ b / (a @ a)) if a.any() else None)

    def _wrong(self, walked: Sequence[Walked | None]) -> Iterator[tuple[Look, float]]:
        """(look, error) of gradients that are wrong, from the loss to the input."""
        for look in _looks(walked):
            error, right = self.judge(look)
            if not right:
                yield look, error


def _looks(walked: Sequence[Walked | None]) -> Iterator[Look]:
    for each in reversed(walked):
        yield from each.looks if each else ()


def _one_of_each(rivals: Sequence[Candidate]) -> list[Candidate]:
    """The best of each identifier."""
    return list({each.fault.identifier: each for each in reversed(rivals)}.values())


def _share(left: float, error: float) -> float:
    return 1.0 if not np.isfinite(error) or not error else max(0.0, 1 - left / error)
