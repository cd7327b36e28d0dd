"""A comparison as one page: the errors over the depth, on a logarithmic axis. It needs no network and loads nothing.

Every module is a point that shows its numbers under the pointer or with the keyboard's focus; a table has them all.
"""

import re
from collections.abc import Callable, Sequence
from html import escape
from importlib.resources import files
from math import ceil, floor, inf, log10

from aimv2_np.comparison.comparison import Comparison, Diagnosis, Difference
from aimv2_np.comparison.report import counted, in_words, position, two_digits, unmatched

WIDTH, HEIGHT = 1000, 400
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 20, 40  # below the chart's lines; names of axes may stand farther out
WRONG, NAMED = 5, 500  # of the modules that are wrong by themselves, and that one side lacks
MOST_POINTS = 5000  # beyond that a browser becomes slow; the first divergence and the worst are always drawn


def page(result: Comparison, reference: str, other: str) -> str:
    """The page's HTML for a comparison of two files of these names."""
    parts = {
        "title": escape(f"{reference} and {other}"),
        "verdict": "the same" if result.equal else "different",
        "class": "same" if result.equal else "different",
        "summary": _summary(result),
        "explanation": escape(result.explanation),
        "open": "" if result.diagnosis else " open",
        "chart": _chart(result),
        "rows": "\n".join(_row(i, difference) for i, difference in enumerate(result.differences)),
        "remarks": _remarks(result),
    }
    text = files("aimv2_np.comparison").joinpath("page.html").read_text("utf-8")
    # One pass: what is put in is never searched for places again.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], text)


def _summary(result: Comparison) -> str:
    """What was compared, the first divergence, its cause and what to change, a row each."""
    coverage, first, found = result.coverage, result.first, result.diagnosis
    bar = f'<meter min="0" max="1" value="{coverage.share:.4f}"></meter>'
    rows = [("compared", f"{bar} {escape(str(coverage))}, {counted(result)}")]
    if first:
        rows.append(("first", f"<strong>{escape(first.path)}</strong>: {escape(in_words(first))}"))
        rows.append(("cause", "none found" if found is None else _cause(found)))
    if found and found.change:
        rows.append(("change", escape(found.change)))
    if result.wrong:
        worst = ", ".join(f"{escape(each.path)} ({two_digits(each.own)})" for each in result.wrong[:WRONG])
        more = f" and {len(result.wrong) - WRONG} more" if len(result.wrong) > WRONG else ""
        rows.append(("wrong by themselves", worst + more))
    return "\n".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in rows)


def _cause(found: Diagnosis) -> str:
    share = f"{100 * found.explained:.4g} %"
    return f"<strong>{escape(found.identifier)}</strong>: {escape(found.sentence)}; explains {share} of the difference"


def _remarks(result: Comparison) -> str:
    """Notes, and the activations that one side lacks, folded."""
    notes = "".join(f"<li>{escape(note)}</li>" for note in result.notes)
    folded = (text.partition(": ") for text in unmatched(result, NAMED))
    return (f"<ul>{notes}</ul>" if notes else "") + "".join(
        f"<details><summary>{escape(what)}</summary><p>{escape(names)}</p></details>" for what, _, names in folded
    )


def _chart(result: Comparison) -> str:
    shown = _shown(result)
    values = [
        value for point in shown for value in (point.relative, point.judged[1], point.own or 0) if 0 < value < inf
    ]
    low = floor(log10(max(min(values, default=1e-8), 1e-20))) - 1
    high = max(ceil(log10(max(values, default=1.0))) + 1, low + 2)
    scale = (HEIGHT - TOP - BOTTOM) / (high - low)

    def y(value: float) -> float:
        exponent = log10(value) if 0 < value < inf else (low if value == 0 else high)
        return TOP + (high - min(max(exponent, low), high)) * scale

    def x(index: int) -> float:
        return LEFT + (index + 0.5) * (WIDTH - LEFT - RIGHT) / max(1, len(shown))

    lines = [*_axis_y(low, high, y), *_axis_x(shown, x)]
    limit = " ".join(f"{x(i):.1f},{y(point.judged[1]):.1f}" for i, point in enumerate(shown) if point.judged[1] > 0)
    lines.append(f'<polyline class="limit" points="{limit}"/>')
    rows = {difference.path: row for row, difference in enumerate(result.differences)}
    first = result.first
    for i, point in enumerate(shown):
        kind, radius = ("first", 7) if point is first else ("good", 4) if point.equal else ("bad", 5)
        if point.own is not None:
            kind_of_own = "own wrong" if point.wrong else "own"
            lines.append(
                f'<rect class="{kind_of_own}" x="{x(i) - 3:.1f}" y="{y(point.own) - 3:.1f}" width="6" height="6"/>'
            )
        focus = 0 if point is (first or shown[0]) else -1  # one stop for Tab; arrow keys go on from there
        lines.append(
            f'<circle class="{kind}" cx="{x(i):.1f}" cy="{y(point.relative):.1f}" r="{radius}" tabindex="{focus}" '
            f'role="img" data-row="{rows[point.path]}" aria-label="{escape(_told(point))}"/>'
        )
    return "\n".join(lines)


def _shown(result: Comparison) -> list[Difference]:
    """The differences that get a point: all, or every so many and the largest."""
    several = result.differences
    thinned = several[:: max(1, ceil(len(several) / MOST_POINTS))]
    kept = {difference.path for difference in (*thinned, *result.worst, result.first) if difference}
    return [difference for difference in several if difference.path in kept]


def _axis_y(low: int, high: int, y: Callable[[float], float]) -> list[str]:
    lines = []
    for i, exponent in enumerate(range(low, high + 1, max(1, ceil((high - low) / 10)))):
        at, kind = y(10.0**exponent), ' class="dense"' if i % 2 else ""
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        lines.append(f'<text{kind} x="{LEFT - 8}" y="{at:.1f}" dy=".35em" text-anchor="end">1e{exponent}</text>')
    return lines


def _axis_x(shown: Sequence[Difference], x: Callable[[int], float]) -> list[str]:
    """A tick where the depth changes, labelled unless labels would run into each other."""
    lines, last_label, last_wide, depth = [], -100.0, -100.0, -1
    for i, point in enumerate(shown):
        if point.depth != depth:
            depth, at = point.depth, x(i)
            lines.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
            if at - last_label > 24:
                kind = "" if at - last_wide > 70 else ' class="dense"'  # left out on phones
                place = f'x="{at:.1f}" y="{HEIGHT - BOTTOM}" dy="1.6em"'
                lines.append(f'<text{kind} {place} text-anchor="middle">{depth}</text>')
                last_label, last_wide = at, last_wide if kind else at
    middle = (LEFT + WIDTH - RIGHT) / 2
    place = f'x="{middle}" y="{HEIGHT - BOTTOM}" dy="3em"'
    lines.append(f'<text {place} text-anchor="middle">depth (layers), modules in order</text>')
    return lines


def _told(difference: Difference) -> str:
    facts = difference.measures
    if facts is None:
        return f"{difference.path}: {difference.note}"
    parts = [
        difference.path,
        f"relative error {two_digits(facts.relative)}",
        "" if difference.by_own else f"tolerance {two_digits(difference.tolerance)}",
        "" if difference.own is None else f"own error {two_digits(difference.own)}",
        f"tolerance {two_digits(difference.own_tolerance)}" if difference.by_own else "",
        f"largest {two_digits(facts.max_abs)}{position(difference)}",
        f"{two_digits(facts.ulps)} ulps of {difference.dtype}",
        f"cosine {facts.cosine:.7f}",
        difference.note,
    ]
    return "; ".join(filter(None, parts))


def _row(index: int, difference: Difference) -> str:
    facts, path = difference.measures, escape(difference.path)
    numbers = [facts.max_abs, facts.relative, facts.ulps, facts.cosine] if facts else [None] * 4
    cells = [f"<th scope=row>{path}</th>", f"<td>{'x'.join(map(str, difference.shape))}</td>"]
    cells += [f"<td>{two_digits(value)}</td>" for value in (*numbers, difference.judged[1], difference.own)]
    cells.append(f"<td>{'rounding' if difference.equal else 'differs'}</td>")
    return f'<tr id="row-{index}" class="{"good" if difference.equal else "bad"}">{"".join(cells)}</tr>'
