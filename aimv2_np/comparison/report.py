"""What a comparison found, in sentences."""

from math import isfinite

from aimv2_np.comparison.comparison import Comparison, Difference
from aimv2_np.tree.trace import GRADIENT


def summarise(result: Comparison, remark: str) -> str:
    """What was compared, where the sides first differ, and why; `remark` is what the search for the cause found."""
    first, compared = result.first, len(result.differences)
    if first is None:
        worst = result.worst[0]
        size = worst.own if worst.by_own else worst.relative
        return (
            f"The {counted(result)} that both sides have differ by no more than rounding; "
            f"the largest {kind(worst)} for its place is {two_digits(size)} in {worst.path}."
        )
    apart = sum(not difference.equal for difference in result.differences)
    if first.path.startswith(GRADIENT):
        sentences = [f"All activations agree. {_wrong_gradients(result, first)}"]
    else:
        many = f"{apart} of {compared} activations differ by more than rounding"
        sentences = [f"{many}, {first.path} first: {in_words(first)}."]
    index = result.differences.index(first)
    if index:
        sentences.append(f"All before it agree, the last of them {result.differences[index - 1].path}.")
    if result.diagnosis:
        sentences.append(f"The cause: {result.diagnosis.sentence}.")
        left, share = two_digits(result.diagnosis.relative), f"{100 * result.diagnosis.explained:.4g} %"
        sentences.append(f"With this fault planted, an error of {left} is left. It explains {share} of the difference.")
        if result.diagnosis.change:
            sentences.append(f"What to change: {result.diagnosis.change}.")
    return " ".join((*sentences, remark)).rstrip()


def counted(result: Comparison) -> str:
    """How many activations and gradients were compared, in words."""
    gradients = sum(difference.path.startswith(GRADIENT) for difference in result.differences)
    activations = len(result.differences) - gradients
    several = f"{activations:,} activation{'s' if activations != 1 else ''}"
    return several + (f" and {gradients:,} gradient{'s' if gradients != 1 else ''}" if gradients else "")


def _wrong_gradients(result: Comparison, first: Difference) -> str:
    """How many gradients are wrong, and which is the first from the loss to the input."""
    gradients = [difference for difference in result.differences if difference.path.startswith(GRADIENT)]
    wrong = sum(not difference.equal for difference in gradients)
    several = "1 is wrong" if wrong == 1 else f"{wrong} are wrong"
    alone = ", each module being given the other side's gradient by its output" if first.by_own else ""
    path = first.path.removeprefix(GRADIENT)
    giver = f", which the derivative of {first.giver} gives" if first.giver else ""
    return (
        f"Of {len(gradients)} gradients, {several}{alone}; the first from the loss on is that by {path}{giver}: "
        f"{in_words(first)}."
    )


def kind(difference: Difference) -> str:
    """What the errors are by which an activation is judged."""
    return "own error" if difference.by_own else "relative error"


def in_words(difference: Difference) -> str:
    """The errors of one activation that differs, in a few words."""
    facts, tolerance = difference.judged
    if facts is None:
        return difference.note
    if facts.nonfinite:
        several = "one number is" if facts.nonfinite == 1 else f"{facts.nonfinite:,} numbers are"
        count = "some numbers are" if difference.from_statistics else several
        return f"{count} infinite or NaN on one side only{position(difference)}"
    text = f"{kind(difference)} {two_digits(facts.relative)}, where {two_digits(tolerance)} would be rounding"
    largest = f"; the largest, {two_digits(facts.max_abs)}, lies{position(difference)}" if facts.where else ""
    return text + largest + (f" ({difference.note})" if difference.note else "")


def position(difference: Difference) -> str:
    """Where the largest error is, " at batch 0, token 3, channel 17"; "" if that is not known."""
    if not difference.where:
        return ""
    return " at " + ", ".join(f"{axis} {index}" for axis, index in difference.where.items())


def two_digits(value: float | None) -> str:
    """Two digits: 1.2e-07, 0.034, 12; a dash for what is not known."""
    if value is None:
        return "-"
    if not isfinite(value):
        return "inf" if value > 0 else str(value)
    return f"{value:.2g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"


def unmatched(result: Comparison, most: int) -> list[str]:
    """One text for the activations that one side lacks, with `most` of their names, for each side that lacks some."""
    return [
        f"{what} ({len(names)}): {', '.join(names[:most])}{', ...' if len(names) > most else ''}"
        for what, names in (("missing in the other", result.missing), ("not in the reference", result.extra))
        if names
    ]
