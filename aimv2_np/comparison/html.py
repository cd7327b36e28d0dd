"""A comparison as one page: the errors over the depth, on a logarithmic axis. It needs no network and loads nothing.

Every module is a point that shows its numbers under the pointer or with the keyboard's focus; a table has them all.
"""

from html import escape
from importlib.resources import files
from math import ceil, floor, isfinite, log10

from aimv2_np.comparison.comparison import Comparison, Difference
from aimv2_np.comparison.report import number, place

WIDTH, HEIGHT = 1000, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 50
MOST_POINTS = 5000  # beyond that a browser becomes slow; the first divergence and the worst are always drawn


def page(result: Comparison, reference: str, other: str) -> str:
    """The page's HTML for a comparison of two files of these names."""
    parts = {
        "title": escape(f"{reference} and {other}"),
        "verdict": "the same" if result.equal else "different",
        "class": "same" if result.equal else "different",
        "compared": f"{len(result.differences):,}",
        "explanation": escape(result.explanation),
        "diagnosis": escape(result.diagnosis.identifier) if result.diagnosis else "none",
        "chart": _chart(result),
        "rows": "\n".join(_row(i, it) for i, it in enumerate(result.differences)),
        "remarks": "".join(f"<li>{escape(text)}</li>" for text in _remarks(result)),
    }
    text = files("aimv2_np.comparison").joinpath("page.html").read_text("utf-8")
    # One pass: what is put in is never searched for places again.
    pieces = text.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))


def _remarks(result: Comparison) -> list[str]:
    remarks = list(result.notes)
    for what, names in (("missing in the other", result.missing), ("not in the reference", result.extra)):
        if names:
            remarks.append(f"{what}: {', '.join(names[:50])}" + (f" and {len(names) - 50} more" * (len(names) > 50)))
    return remarks


def _chart(result: Comparison) -> str:
    shown = _shown(result)
    positive = [it.relative for it in shown if isfinite(it.relative) and it.relative > 0]
    limits = [it.tolerance for it in shown if it.tolerance > 0]
    low = floor(log10(max(min(positive + limits, default=1e-8), 1e-20))) - 1
    high = max(ceil(log10(max(positive + limits, default=1.0))) + 1, low + 2)
    scale = (HEIGHT - TOP - BOTTOM) / (high - low)

    def y(value: float) -> float:
        exponent = log10(value) if isfinite(value) and value > 0 else (low if value == 0 else high)
        return TOP + (high - min(max(exponent, low), high)) * scale

    def x(index: int) -> float:
        return LEFT + (index + 0.5) * (WIDTH - LEFT - RIGHT) / max(1, len(shown))

    lines = [*_axis_y(low, high, y), *_axis_x(shown, x)]
    limit = " ".join(f"{x(i):.1f},{y(it.tolerance):.1f}" for i, it in enumerate(shown) if it.tolerance > 0)
    lines.append(f'<polyline class="limit" points="{limit}"/>')
    numbers = {id(it): i for i, it in enumerate(result.differences)}
    first = result.first
    for i, it in enumerate(shown):
        kind = "first" if it is first else ("good" if it.equal else "bad")
        point = f'cx="{x(i):.1f}" cy="{y(it.relative):.1f}" r="{7 if it is first else 4 if it.equal else 5}"'
        focus = "0" if it is (first or shown[0]) else "-1"  # one stop for Tab; arrow keys go on from there
        lines.append(
            f'<circle class="{kind}" {point} tabindex="{focus}" role="img" data-row="{numbers[id(it)]}" '
            f'aria-label="{escape(_told(it))}"/>'
        )
    return "\n".join(lines)


def _shown(result: Comparison) -> list[Difference]:
    several = result.differences
    step = ceil(len(several) / MOST_POINTS)
    kept = {id(it) for it in several[:: max(1, step)]} | {id(it) for it in (*result.worst, result.first) if it}
    return [it for it in several if id(it) in kept]


def _axis_y(low: int, high: int, y: "object") -> list[str]:
    step = max(1, ceil((high - low) / 10))
    lines = []
    for exponent in range(low, high + 1, step):
        at = y(10.0**exponent)  # type: ignore[operator]
        lines.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        lines.append(f'<text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">1e{exponent}</text>')
    return lines


def _axis_x(shown: list[Difference], x: "object") -> list[str]:
    """A tick where the depth changes, labelled unless labels would run into each other."""
    lines, last_label = [], -100.0
    for i, it in enumerate(shown):
        if i == 0 or it.depth != shown[i - 1].depth:
            at = x(i)  # type: ignore[operator]
            lines.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
            if at - last_label > 24:
                lines.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{it.depth}</text>')
                last_label = at
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">depth (blocks), modules in order</text>')
    return lines


def _told(it: Difference) -> str:
    facts = it.measures
    if facts is None:
        return f"{it.path}: {it.note}"
    parts = [
        it.path,
        f"relative error {number(facts.relative)}",
        f"tolerance {number(it.tolerance)}",
        f"largest {number(facts.max_abs)}{place(it)}",
        f"{number(facts.ulps)} ulps of {it.dtype}",
        f"cosine {facts.cosine:.7f}",
        it.note,
    ]
    return "; ".join(part for part in parts if part)


def _row(index: int, it: Difference) -> str:
    facts = it.measures
    numbers = [facts.max_abs, facts.relative, facts.ulps, facts.cosine] if facts else [None] * 4
    cells = [f"<th scope=row>{escape(it.path)}</th>", f"<td>{'x'.join(map(str, it.shape))}</td>"]
    cells += [f"<td>{number(value)}</td>" for value in (*numbers, it.tolerance)]
    cells.append(f"<td>{'rounding' if it.equal else 'differs'}</td>")
    return f'<tr id="row-{index}" class="{"good" if it.equal else "bad"}">{"".join(cells)}</tr>'
