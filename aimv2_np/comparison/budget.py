"""Which layers of a quantised engine to keep in float, so that its vectors reach a cosine.

Every module's own error (forcing.py) is a difference of arrays. Added again to what the reference's modules compute,
all of them give the engine's vectors; left out of some layers, those of an engine that has these layers in float.
"""

import re
from collections.abc import Callable, Collection

from aimv2_np.comparison.comparison import Budget, Step
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.forced import Taken
from aimv2_np.comparison.diagnosis.stages import towers_of
from aimv2_np.comparison.forcing import force
from aimv2_np.comparison.measure import smallest_cosine
from aimv2_np.shapes import NDArray

NAMED = 5  # of the layers that cost most
UNIT = re.compile(r"^((?:(?:vision|text)_model\.)?(?:encoder\.layers\.\d+|\w+))")


def find_budget(context: Context, taken: Taken, target: float) -> Budget | None:
    """The fewest of the worst layers that have to be in float; None without the reference's model and inputs.

    Runs the model once for each layer, and a few times more.
    """
    errors: dict[str, NDArray] = {}

    def keep(step: Step) -> None:
        if step.path in modules and not step.again:
            errors[step.path] = step.found - step.expected

    modules = context.modules
    force(context, taken, keep)
    if not errors:
        return None
    exact = _vectors(context, {})
    layers = list(dict.fromkeys(unit_of(path) for path in errors))

    def cosine(wrong: Collection[str]) -> float:
        vectors = _vectors(context, {path: error for path, error in errors.items() if unit_of(path) in wrong})
        return min(smallest_cosine(exact[path], vectors[path]) for path in exact)

    alone = sorted(((layer, cosine([layer])) for layer in layers), key=lambda item: item[1])
    ranked = [layer for layer, _ in alone]
    few, many = -1, len(ranked)  # so many in float are too few, and enough
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if cosine(ranked[middle:]) >= target else (middle, many)
    return Budget(target, cosine(ranked), tuple(alone), tuple(ranked[:many]), cosine(ranked[many:]))


def unit_of(path: str) -> str:
    """The layer that a module belongs to: `encoder.layers.3`, or the part of its tower, such as `embeddings`."""
    match = UNIT.match(path)
    return match[1] if match else path


def _vectors(context: Context, errors: dict[str, NDArray]) -> dict[str, NDArray]:
    """What each tower gives at last, where modules err by `errors`."""
    wanted = {stages[-1].path for stages in towers_of(context).values()}
    found: dict[str, NDArray] = {}

    def err(path: str, expected: NDArray) -> NDArray | None:
        output = expected + errors[path] if path in errors else expected
        if path in wanted:
            found[path] = output
        return output

    ignore: Callable[[Step], None] = lambda step: None  # noqa: E731
    force(context, err, ignore)
    return found


def budget_in_words(budget: Budget) -> str:
    """What to keep in float, in a sentence or two."""
    worst = ", ".join(f"{layer} ({cosine:.6f})" for layer, cosine in budget.alone[:NAMED])
    said = f"Their vectors have a cosine of {budget.now:.6f}. The layers that cost most, each alone: {worst}."
    if not budget.keep:
        return f"{said} All can stay as they are for {budget.target:g}."
    return (
        f"{said} For {budget.target:g}, keep {len(budget.keep)} of {len(budget.alone)} in float: "
        f"{', '.join(budget.keep)}; that gives {budget.then:.6f}."
    )
