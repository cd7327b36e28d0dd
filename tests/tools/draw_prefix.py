"""Draws docs/prefix.svg: who sees whom while AIMv2 was trained, and what was predicted.

python -m tests.tools.draw_prefix
"""

import numpy as np

from aimv2_np.network.view import Prefix
from tests.support.paths import ROOT

PATH = ROOT / "docs" / "prefix.svg"
PATCHES, PREFIX, WORDS, CELL = 9, 4, ("start", "a", "red", "star"), 26
STYLE = """
  .ground { fill: #ffffff } text { fill: #222222; font: 13px sans-serif } .cell { stroke: #888888; stroke-width: 1 }
  .none { fill: none } .prefix { fill: #f4b860 } .causal { fill: #6fa8dc } .word { fill: #9bc53d }
  .arrow { stroke: #555555; stroke-width: 1.2; fill: none }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #131416 } text { fill: #dddddd } .cell { stroke: #777777 } .prefix { fill: #b97a1d }
    .causal { fill: #2f6ea5 } .word { fill: #5c7f17 } .arrow { stroke: #aaaaaa }
  }
"""


def text(x, y, words, anchor="start"):
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>'


def cell(x, y, kind, width=CELL):
    return f'<rect class="cell {kind}" x="{x}" y="{y}" width="{width}" height="{CELL}"/>'


def mask(x, y):
    """Row: a patch that looks; column: one that is looked at. Which are coloured, the library's own view says."""
    allowed = Prefix(np.array([PREFIX])).allowed(np, PATCHES, PATCHES)[0, 0]
    yield text(x, y - 10, "The encoder: each row may look at the coloured columns")
    for i, j in np.ndindex(PATCHES, PATCHES):
        kind = "none" if not allowed[i, j] else "prefix" if j < PREFIX else "causal"
        yield cell(x + j * CELL, y + i * CELL, kind)
    beside = x + PATCHES * CELL + 12
    yield text(beside, y + CELL * 1.2, f"orange: the prefix (M = {PREFIX}: 0 to {PREFIX - 1}),")
    yield text(beside, y + CELL * 1.9, "seen by every patch")
    yield text(beside, y + CELL * 3.2, "blue: a patch beyond it,")
    yield text(beside, y + CELL * 3.9, "seen by itself and later ones")


def row(x, y):
    """What goes into the decoder, and above it what each output predicts: the element after it."""
    width = 38
    yield text(x, y - 62, "The decoder: each output is a prediction of what comes next")
    kinds = ["prefix"] * PREFIX + ["causal"] * (PATCHES - PREFIX) + ["word"] * len(WORDS)
    names = [*map(str, range(PATCHES)), *WORDS]
    for i, (kind, name) in enumerate(zip(kinds, names, strict=True)):
        left = x + i * width
        yield cell(left, y, kind, width)
        yield text(left + width / 2, y + 18, name, "middle")
        predicted = i + 1 < len(names) and (PREFIX <= i + 1 < PATCHES or i + 1 > PATCHES)
        if predicted:
            yield f'<path class="arrow" d="M{left + width / 2} {y} v-12 m-3 4 l3 -4 l3 4"/>'
            yield cell(left, y - 42, kinds[i + 1], width)
            yield text(left + width / 2, y - 24, names[i + 1], "middle")
    yield text(x, y + 46, "patches 0 to 8, then the words of the caption; the start token is learned")


def drawing():
    body = "\n".join([*mask(20, 40), *row(20, 370)])
    title = "<title>Which patches see which in training, and what each output predicts</title>"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 540 430" width="540" height="430">{title}\n'
        f'<style>{STYLE}</style>\n<rect class="ground" width="540" height="430"/>\n{body}\n</svg>\n'
    )


if __name__ == "__main__":
    PATH.write_text(drawing(), encoding="utf-8")
