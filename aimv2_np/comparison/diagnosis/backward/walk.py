"""The backward pass, stage by stage from the loss to the input, on what the other side gave each module.

Whenever the gradient by an activation is known, the one that the other side recorded there takes its place. So whatever
comes next is computed from the other side's gradients, and the distance between the two is what arises in the module
between them, whatever went wrong before it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.context import having
from aimv2_np.backends.operation import looking_inside, textbook
from aimv2_np.comparison.diagnosis.backward.ends import Loss
from aimv2_np.comparison.diagnosis.backward.looks import Look, weights_behind_their_modules
from aimv2_np.comparison.diagnosis.ends import Embeds
from aimv2_np.comparison.diagnosis.fault import Fault
from aimv2_np.comparison.diagnosis.forced import Taken
from aimv2_np.comparison.diagnosis.stages import Stage, plant
from aimv2_np.gradients.variable import Variable, walk_back
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import RECORDERS, Recorder, with_number

TEXTS, IMAGES = "logits_per_text", "logits_per_image"


@dataclass(frozen=True)
class Link:
    """A stage, and what goes into it.

    Attributes:
        stage: it.
        x: its input: an array, or two.
        names: of each array of its input that has a gradient, the paths under which it is recorded.
    """

    stage: Stage
    x: Any
    names: tuple[tuple[str, ...], ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The paths of what it gives."""
        return (self.stage.path, *self.stage.aliases)


@dataclass
class Walked:
    """The backward pass of a stage.

    Attributes:
        given: the gradient by its output; None for the loss.
        looks: from its output to its input, weights behind the outputs of their modules.
        incoming: path of an array of its input → the gradient by it to go on with, and whether the other side's.
        faults: path of a module → the faults that it had.
    """

    given: NDArray | None
    faults: Mapping[str, Sequence[Fault]] = field(default_factory=dict)
    looks: list[Look] = field(default_factory=list)
    incoming: dict[str, tuple[NDArray, bool]] = field(default_factory=dict)


@dataclass
class Clue:
    """What is known of the first gradient that is wrong: how many times the right one it is, by least squares."""

    factor: float | None = None


@dataclass
class _Watching(Recorder):
    """A recorder that keeps the variables, and which module takes each of them first."""

    kept: dict[str, Variable] = field(default_factory=dict)
    takers: dict[int, str] = field(default_factory=dict)

    def around(self, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        for variable in _variables(args):
            self.takers.setdefault(variable.number, path)
        return super().around(path, function, *args, **kwargs)

    def keep(self, path: str, value: Any) -> None:
        if isinstance(value, Variable):
            self.kept[with_number(path)] = value
        elif hasattr(value, "_asdict"):
            super().keep(path, value)


def _variables(args: Any) -> Iterator[Variable]:
    for arg in args if isinstance(args, tuple) else ():
        yield from [arg] if isinstance(arg, Variable) else _variables(arg)


@dataclass
class Chain:
    """The stages of a model that take part in a loss, in order of execution.

    Attributes:
        links: they, the loss the last.
        weights: the paths of the model's weights.
        taken: (path, a gradient) → the other side's, in that shape; None where it recorded none.
        inner: whether gradients by scores and probabilities of attention are compared: operations then run as written.
        dtype: what gradients are kept in; computed they are in float64.
    """

    links: Sequence[Link]
    weights: frozenset[str]
    taken: Taken
    inner: bool = False
    dtype: str = "float64"

    @property
    def contrastive(self) -> bool:
        """Whether the loss is the contrastive one."""
        end = self.links[-1].stage.module
        return isinstance(end, Loss) and end.weights is None

    @cached_property
    def modules(self) -> list[dict[str, Module]]:
        """Of each link path → module."""
        return [dict(link.stage.module.named_modules(link.stage.path)) for link in self.links]

    @cached_property
    def twins(self) -> dict[str, Module]:
        """Path → module with variables in the place of its weights, for who asks whether it can have a fault."""

        def variable(path: str, array: Any) -> Any:
            return Variable(np.asarray(array)) if path in self.weights else array

        stages = (link.stage for link in self.links)
        return {
            path: module
            for stage in stages
            for path, module in stage.module.map(variable, stage.path).named_modules(stage.path)
        }

    def walk(
        self,
        planted: Mapping[str, Sequence[Fault]] | None = None,
        known: Sequence[Walked | None] = (),
        clue: Clue | None = None,
        jitter: Callable[[NDArray], NDArray] | None = None,
    ) -> list[Walked | None] | None:
        """The backward pass of each link, None for one that takes no part; None where a fault cannot be had.

        Args:
            planted: path of a module → the faults that it has.
            known: another pass: what it has in common with this one is taken from there.
            clue: for faults that look at what is to be explained.
            jitter: changes every gradient, weight and input by rounding; operations then run as written, so that it
                changes what lies within them, too.
        """
        planted, result = planted or {}, list[Walked | None]([None] * len(self.links))
        gradients: dict[str, tuple[NDArray, bool]] = {}  # by paths of inputs of links; whether it is as in `known`
        for i in reversed(range(len(self.links))):
            link = self.links[i]
            given, same = next((gradients[name] for name in link.outputs if name in gradients), (None, True))
            if given is None and not isinstance(link.stage.module, Loss):
                continue
            faults = {path: planted[path] for path in self.modules[i] if path in planted}
            before = known[i] if known else None
            walked = before if same else None
            if walked is None or walked.faults != faults:
                walked = self._walked(link, given, faults, clue, jitter)
            if walked is None:
                return None
            result[i] = walked
            for name, (gradient, is_taken) in walked.incoming.items():
                gradients[name] = gradient, is_taken or walked is before
        return result

    def _walked(
        self,
        link: Link,
        given: NDArray | None,
        faults: Mapping[str, Sequence[Fault]],
        clue: Clue | None,
        jitter: Callable[[NDArray], NDArray] | None,
    ) -> Walked | None:
        changed = jitter or (lambda array: array)
        computed = self._computed(link, given, faults, clue or Clue(), changed, written=jitter is not None)
        if computed is None:
            return None
        total, x, leaves, recorder = computed
        walked = Walked(given, faults)
        names: dict[int, list[str]] = {}
        inputs = {name: part for part, several in zip(x, link.names, strict=False) for name in several}
        known = {path: kept for path, kept in recorder.kept.items() if path not in (*link.outputs, IMAGES)}
        everything = {**known, **inputs, **leaves}
        for name, variable in everything.items():
            names.setdefault(variable.number, []).append(name)

        def met(variable: Variable, gradient: NDArray) -> NDArray:
            going, is_taken = gradient, False
            several = sorted(names.pop(variable.number, ()), key=len)  # a module's output is that of its last one, too
            around = several[0].rpartition(".")[0] if several else ""
            giver = recorder.takers.get(variable.number, around)
            for name in several:
                expected = gradient.astype(self.dtype, copy=False)
                found = self.taken(name, expected)
                if found is not None:
                    walked.looks.append(Look(name, expected, found, giver or link.stage.path))
                    going, is_taken = found.astype(np.float64, copy=False), True
                if name in inputs:
                    walked.incoming[name] = going, is_taken
            return changed(going) if variable.back else going

        with own_arithmetic(), np.errstate(all="ignore"):
            if isinstance(total, Variable):
                walk_back(total, (), met=met)
            for variable in everything.values():
                if variable.number in names:  # it takes no part
                    met(variable, np.zeros_like(variable.value))
        walked.incoming = {several[0]: _of_any(walked.incoming, several) for several in link.names}
        walked.looks = weights_behind_their_modules(walked.looks, self.weights)
        return walked

    def _computed(
        self,
        link: Link,
        given: NDArray | None,
        faults: Mapping[str, Sequence[Fault]],
        clue: Clue,
        changed: Callable[[NDArray], NDArray],
        *,
        written: bool,
    ) -> tuple[Any, list[Any], dict[str, Variable], _Watching] | None:
        """The number to walk back from, what went into the stage, its weights, and what was seen on the way.

        None where a fault has no place in it.
        """
        leaves: dict[str, Variable] = {}

        def leaf(path: str, array: Any) -> Any:
            if path not in self.weights:
                return array
            leaves[path] = Variable(changed(np.asarray(array, np.float64)))
            return leaves[path]

        stage, module = link.stage, link.stage.module.map(leaf, link.stage.path)
        replaced = _replaced(dict(module.named_modules(stage.path)), faults, clue)
        if replaced is None:
            return None
        module = plant(module, replaced, stage.path)
        x = [Variable(changed(part)) if link.names else part for part in _parts(link.x)]
        recorder = _Watching({id(each): path for path, each in module.named_modules(stage.path)}, (), lambda *_: None)
        with having(RECORDERS, (*RECORDERS.get(), recorder)), self._mode(written), own_arithmetic():
            given_to: Any = Embeds(*x) if isinstance(link.x, Embeds) else x[0]
            output: Any = stage.call(module, given_to)
            output = output[0] if isinstance(output, tuple) else output
            total = output if given is None else (output * given).sum()
        return total, x, leaves, recorder

    def _mode(self, written: bool) -> Any:
        return textbook() if self.inner or written else looking_inside()


def _replaced(
    modules: Mapping[str, Module], faults: Mapping[str, Sequence[Fault]], clue: Clue
) -> dict[str, Module] | None:
    """Path → module with its faults; None where one cannot have one."""
    found = {}
    for path, several in faults.items():
        module: Module | None = modules[path]
        for fault in several:
            module = None if module is None else fault.plant(module, path, clue)  # type: ignore[arg-type]
        if module is None:
            return None
        found[path] = module
    return found


def _of_any(incoming: Mapping[str, tuple[NDArray, bool]], several: Iterable[str]) -> tuple[NDArray, bool]:
    """Of an array of several names the gradient that the other side recorded under any of them."""
    return max((incoming[name] for name in several), key=lambda pair: pair[1])


def wide(x: NDArray) -> NDArray:
    """In float64; whole numbers as they are."""
    return x.astype(np.float64) if x.dtype.kind == "f" else x


def _parts(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, Embeds) else (x,)
