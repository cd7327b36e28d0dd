"""Where two sides part: the stage of its tower that computes the first divergence, and what goes into it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.ends import Embeds
from aimv2_np.comparison.diagnosis.known import calls_around, known_of
from aimv2_np.comparison.diagnosis.stages import EMBEDS, Span, Stage, towers_of
from aimv2_np.comparison.measure import measure_arrays
from aimv2_np.recording.recording import INPUTS
from aimv2_np.shapes import NDArray

# Recorded by stages, but no sign that the stage's input was right.
NO_SIGN = ("position_embedding",)


class UnableError(Exception):
    """Why faults cannot be planted, and what would help."""


@dataclass(frozen=True)
class Place:
    """Where two sides part, and from where on a fault may be behind it.

    Attributes:
        path: the first divergence.
        chain: the stages of its tower.
        start, index: the first stage that may hold the fault, and the one that computes `path`.
        rest: the stages from the first one on.
        order: what is computed up to `path` and in its stage, in order of execution.
        calls: path → arguments, of the modules in which `path` lies.
        outputs: stage's path → what the next one takes, of the span's stages, where that is what they compute.
    """

    path: str
    chain: Sequence[Stage]
    start: int
    index: int
    rest: Span
    order: Sequence[str]
    calls: Mapping[str, tuple[Any, ...]]
    outputs: Mapping[str, NDArray]

    @property
    def span(self) -> Span:
        """The stages that may hold the fault."""
        return replace(self.rest, stages=self.chain[self.start : self.index + 1])

    def span_from(self, replaced: Iterable[str]) -> Span:
        """The same from the first stage on that has one of some modules: what comes before is known."""
        stages, x = list(self.span.stages), self.rest.x
        while len(stages) > 1 and stages[0].path in self.outputs and not any(map(stages[0].holds, replaced)):
            x = self.outputs[stages.pop(0).path]
        return replace(self.rest, stages=stages, x=x)


def place_of(context: Context, path: str) -> Place:
    """Where a first divergence at `path` lies.

    Raises UnableError when the model or its input is not known or does not fit.
    """
    if path.startswith(INPUTS):
        raise UnableError("")
    if "packed" in context.reference.metadata:
        raise UnableError("The recording is of pictures of several sizes; causes are looked for in one of one size.")
    if context.model is None:
        raise UnableError("More causes can be tested with the model's weights (model=, --model).")
    name, chain, index = _find(context, path)
    start = _start(chain, index, context)
    try:
        x, stages = _input(name, chain, start, context), chain[start : index + 1]
        modules = [pair for stage in stages for pair in stage.module.named_modules(stage.path)]
        rest = Span(chain[start:], x, context.inner, context.taken, known_of(modules))
        span = replace(rest, stages=stages)
        with calls_around(path, modules) as calls:
            right = span.run()
    except UnableError:
        raise
    except Exception as error:  # weights of other shapes, a recording that contradicts itself
        raise UnableError("The model given does not fit the recording; is it the same checkpoint?") from error
    _check_model(context, path, right)
    outputs = {stage.path: right[stage.path] for stage in span.stages if stage.path in right and not context.taken}
    return Place(path, chain, start, index, rest, list(right), calls, outputs)


def _find(context: Context, path: str) -> tuple[str, list[Stage], int]:
    """The tower that computes `path`: the name of its input, its stages, and the number of the stage that does."""
    for name, chain in towers_of(context).items():
        for index, stage in enumerate(chain):
            if stage.holds(path):
                return name, chain, index
    raise UnableError(f"Faults at {path} are not known.")


def _start(chain: Sequence[Stage], index: int, context: Context) -> int:
    """The first stage that may hold the fault: something in it, or all that it takes, was right on the other side."""
    # Where modules take the other side's outputs, what lies within a stage may be right though it was given the wrong.
    good = {path for path in context.good if not path.endswith(NO_SIGN)} if not context.taken else set()
    known = context.names.keys() if context.taken else good
    start = index
    while start > 0 and known.isdisjoint((chain[start - 1].path, *chain[start - 1].aliases)):
        if any(path.startswith(chain[start].path + ".") for path in good):
            break
        start -= 1
    return start


def _input(name: str, chain: Sequence[Stage], start: int, context: Context) -> Any:
    """The reference's recorded input of a stage, or what the model computes for it from the recorded inputs."""
    dtype = context.model.dtype
    if name == EMBEDS:
        return _embeds(context)
    before = chain[start - 1] if start else None
    for path in (before.path, *before.aliases) if before else ():
        if (array := given(context, path)) is not None:
            return array.astype(dtype, copy=False)
    x = context.input(name)
    if x is None:
        advice = "(with statistics, record(..., whole=['inputs/*']) keeps them)"
        raise UnableError(f"More causes can be tested when the recording holds the model's inputs {advice}.")
    x = x.astype(dtype, copy=False) if x.dtype.kind == "f" else x
    return Span(chain[:start], x).run()[before.path] if before else x


def given(context: Context, path: str) -> NDArray | None:
    """What comes out of a module, for the next: the reference's output, or the other side's where those are taken."""
    ours = context.reference.array(path)
    theirs = context.taken(path, ours) if context.taken and ours is not None else None
    return ours if theirs is None else theirs


def _embeds(context: Context) -> Any:
    """The unit vectors that logits are made of, as the reference recorded them, or computed anew."""
    towers = towers_of(context)
    both = []
    for name, path in (("input_ids", "text_embeds"), ("pixel_values", "image_embeds")):
        array = given(context, path)
        if array is None:
            array = Span(towers[name], _input(name, towers[name], 0, context)).run()[path]
        both.append(array.astype(context.model.dtype, copy=False))
    return Embeds(*both)


def _check_model(context: Context, path: str, right: dict[str, NDArray]) -> None:
    """UnableError unless the model computes what the reference recorded, and not what the other side did."""
    ours, first = context.reference.array(path), context.result.first
    if path not in right or first is None:
        raise UnableError(f"Faults at {path} are not known.")
    wrong = f"The model given does not compute what the reference recorded at {path}; is it the same checkpoint?"
    if ours is not None and ours.shape != right[path].shape:
        raise UnableError(wrong)
    if context.judge(path, right[path])[1]:
        if context.borrowed:
            raise UnableError("From the other side's input the model computes what the other side did: inputs differ.")
        raise UnableError(f"{wrong} It computes what the other side recorded there.")
    most = max(first.tolerance, first.relative / 2)  # half of the difference that was found
    if ours is not None and measure_arrays(ours, right[path], first.dtype).relative > most:
        raise UnableError(wrong)
