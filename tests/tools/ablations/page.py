"""docs/ablations.md: what the ablations gave, beside what the paper found, with the verdicts made from the numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.tools.ablations.one_run import BATCH, EXAMINED, QUESTIONS, STEPS
from tests.tools.ablations.variants import BASE, DEPTH, LAYERS, PATCH, PICTURES, PIXELS, TWO, WIDTH

Runs = Mapping[str, Sequence[Mapping[str, float]]]
# What variants are compared by: the paper's kind of probe, on what is learned at all; and what training is about.
PROBE, LOSS = "colour, attentive", "caption loss"
CHANCE = {"colour": 1 / 8, "shape": 1 / 8, "place": 1 / 4}
LEARNED = 0.1  # above the encoder before training


@dataclass(frozen=True)
class Claim:
    """What the paper says of two variants: the first does better, or both are nearly equal."""

    first: str
    second: str
    paper: str
    better: bool


CLAIMS = (
    Claim("captions only", "pixels only", "85.4 against 72.0", True),
    Claim(BASE, "captions only", "85.6 against 85.4", True),
    Claim("captions only", "captions only, no prefix", "85.4 against 85.1", True),
    Claim(BASE, "α = 0.1", "0.2, 0.4 and 0.6 nearly equal", False),
    Claim(BASE, "α = 1", "0.2, 0.4 and 0.6 nearly equal", False),
    Claim(BASE, "decoder of 1 block", "12 blocks 85.6, 8 blocks 85.5", False),
    Claim(BASE, "decoder of 4 blocks", "12 blocks 85.6, 16 blocks 85.6", False),
    Claim(BASE, "decoder half as wide", "1024 wide 85.6, 512 wide 85.3", True),
    Claim(BASE, "decoder twice as wide", "1024 wide 85.6, 1536 wide 85.1", True),
)


def values(runs: Sequence[Mapping[str, float]], name: str) -> list[float]:
    """One number of all seeds; empty where the variant has none."""
    return [run[name] for run in runs if name in run]


def cell(found: Sequence[float], percent: bool) -> str:
    """Mean, and from the lowest to the highest."""
    if not found:
        return "–"
    digits, scale = (1, 100) if percent else (3, 1)
    mean, low, high = (f"{scale * it:.{digits}f}" for it in (sum(found) / len(found), min(found), max(found)))
    return f"{mean} ({low}–{high})"


def told(first: Sequence[float], second: Sequence[float]) -> int:
    """1 where every seed of the first is above every one of the second, -1 the other way round, 0: undecided."""
    return (min(first) > max(second)) - (max(first) < min(second))


def verdict(claim: Claim, runs: Runs, measure: str) -> str:
    """Whether a claim reproduces, in a sentence."""
    first, second = (values(runs[name], measure) for name in (claim.first, claim.second))
    found = told(second, first) if measure == LOSS else told(first, second)
    if not found and claim.better:
        return "undecided here: the difference is smaller than the spread of the seeds"
    if not found:
        return "no difference here beyond the spread of the seeds"
    if not claim.better:
        return f"**not nearly equal here: {'the first' if found > 0 else 'the second'} is better in every seed**"
    return "reproduces: better in every seed" if found > 0 else "**the other way round here, in every seed**"


def compared(runs: Runs, measure: str) -> str:
    """The claims about variants that both have a measure, and whether they reproduce."""
    return "\n".join(
        f"| {claim.first} against {claim.second} | {claim.paper} | {cell(first, measure == PROBE)} against "
        f"{cell(second, measure == PROBE)} | {verdict(claim, runs, measure)} |"
        for claim in CLAIMS
        if (first := values(runs[claim.first], measure)) and (second := values(runs[claim.second], measure))
    )


def table(runs: Runs) -> str:
    """All variants by all measures."""
    measures = [f"{question}, {kind}" for question in QUESTIONS for kind in ("linear", "attentive")]
    others = ["caption loss", "pixel loss", "seconds"]
    lines = [f"| pre-trained with | {' | '.join(measures + others)} |", "|---|" + "---:|" * len(measures + others)]
    for name, some in runs.items():
        cells = [cell(values(some, it), True) for it in measures] + [cell(values(some, it), False) for it in others[:2]]
        seconds = values(some, "seconds")
        lines.append(f"| {name} | {' | '.join(cells)} | {sum(seconds) / len(seconds):.0f} |")
    return "\n".join(lines)


def learned(runs: Runs) -> str:
    """Which questions a training has made easier at all, and which not."""
    lines = []
    for question in QUESTIONS:
        name = f"{question}, attentive"
        before = values(runs["untrained"], name)
        means = {it: sum(values(some, name)) / len(some) for it, some in runs.items() if it != "untrained"}
        most = max(means, key=lambda it: means[it])
        gain = means[most] - sum(before) / len(before)
        said = "learned" if gain > LEARNED else "**hardly learned by any variant at this scale**"
        lines.append(
            f"- *{question}* (guessing: {100 * CHANCE[question]:.1f} %): {said}; the best, {most}, is "
            f"{100 * gain:+.1f} points from the encoder before training"
        )
    return "\n".join(lines)


def page(runs: Runs) -> str:
    """The whole page, of every variant with as many seeds as there are."""
    seeds = min(len(some) for some in runs.values())
    return f"""\
# Ablations of the pre-training, in miniature

What the paper's Table 9 compares, small enough for dozens of runs in an hour: an encoder of {LAYERS} blocks of
{WIDTH}, a decoder of {DEPTH}, pictures of the [package's world](tiny-model.md) at {PIXELS}×{PIXELS} pixels in patches
of {PATCH}×{PATCH}, {STEPS} steps of {BATCH} out of {PICTURES:,} pictures, {100 * TWO:.0f} % of which show two things.
All else is the [recipe of pre-training](pretraining.md), with a higher rate. The paper's numbers are ImageNet-1k
accuracies of a model thousands of times as large that saw a million times as many pictures: **what differs here differs
at this scale.**

## What reproduces

By the attentive probe's accuracy of *colours*, in percent: mean (lowest–highest) of {seeds} seeds. One variant is
called better where each of its seeds is above each of the other's.

| | the paper | here | |
|---|---|---|---|
{compared(runs, PROBE)}

By the loss of *captions* of unseen pictures, in nats a token, where both learn from captions; less is better:

| | the paper, by the probe | here, by the loss | |
|---|---|---|---|
{compared(runs, LOSS)}

What the encoders learned at all in {STEPS} steps:

{learned(runs)}

## All numbers

Probes are trained on the frozen features of {EXAMINED} pictures of the same world that the pre-training never saw, and
judged by {EXAMINED} others: *linear* on the mean token, *attentive* on all tokens, every patch seeing every other.
*Colour* and *shape* are of single things; *place* is where a red thing lies, seen from another that is not. Losses
are of unseen pictures: of captions in nats a token, every patch seeing every other; of pixels beyond prefixes.

{table(runs)}

Accuracies are in percent. Seconds are of a whole run, training and probes, on 2 cores that others used too. All of it
again, to the same numbers on the same machine: `python -m tests.tools.ablate_pretraining WORK --write`
([variants](../tests/tools/ablations/variants.py), [a run](../tests/tools/ablations/one_run.py)).
"""
