"""Boxes, frames and arrows of a drawing as SVG: a small vocabulary, with which `network_drawing` says what there is.

Whatever is drawn belongs to a dotted path. A drawing is made with some paths lit: what belongs to them is drawn as it
is, all else pale. Colours are CSS variables, which the page or, in a file, the drawing's own style sets.
"""

from dataclasses import dataclass, field
from html import escape

WIDTH = 360  # of a panel, in pixels: a phone's; two of them side by side fill a page
SIZE = 12  # of all text, in pixels of which 96 are an inch: nine points
STYLE = """
.network text{font:SIZEpx system-ui,"Segoe UI",Roboto,"DejaVu Sans",Arial,sans-serif;fill:var(--ink)}
.network text.n{font-family:ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.network text.e{fill:var(--link);text-anchor:end}
.network rect{fill:var(--box);stroke:var(--ink);rx:4px}
.network .f>rect{fill:none;stroke:var(--rule)}
.network .s rect{stroke-dasharray:3 2}
.network path,.network circle{fill:none;stroke:var(--ink)}
.network path.h{fill:var(--ink);stroke:none}
.network .lit rect{fill:var(--lit);stroke:var(--link);stroke-width:2px}
.network .f.lit>rect{fill:none;stroke:var(--link);stroke-width:1px}
.network .pale{opacity:.45}
.network a{text-decoration:none}
.network a:hover rect,.network a:focus rect{stroke:var(--link);stroke-width:2px}
""".replace("\n", "").replace("SIZE", str(SIZE))
# In a file of its own a drawing follows the reader's system.
LIGHT = "--ground:#fff;--ink:#1f2328;--box:#fff;--lit:#fff2c2;--rule:#8b949e;--link:#0a4fc4"
DARK = "--ground:#14171c;--ink:#d5d9de;--box:#1c2026;--lit:#4a3d10;--rule:#6e7681;--link:#8ab8ff"


@dataclass
class Panel:
    """One column of a drawing.

    Args:
        lit: the dotted paths that are lit, with all that is below them; none: nothing is pale.
        page: where the equations are, relative to the page that shows the drawing; None: nothing is a link.
    """

    lit: tuple[str, ...] = ()
    page: str | None = None
    height: int = 0
    parts: list[str] = field(default_factory=list)
    boxes: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)  # name of each box, and its equations

    def shine(self, path: str, *, holds: bool = False) -> str:
        """The class of what belongs to a path; what `holds` others is lit with any of them."""
        if not self.lit:
            return ""
        below = any(path == it or path.startswith(f"{it}.") for it in self.lit)
        above = holds and any(it.startswith(f"{path}.") for it in self.lit)
        return "lit" if below or above else "pale"

    def is_lit(self) -> bool:
        return not self.lit or any('class="b lit"' in part or 'class="s lit"' in part for part in self.parts)

    def text(
        self, x: float, y: float, words: str, path: str, kind: str = "", *, holds: bool = False,
        always: bool = False,
    ) -> None:  # fmt: skip
        """Words that are pale unless their path is lit, or `always` as they are."""
        kinds = f"{kind} {'pale' if not always and self.shine(path, holds=holds) == 'pale' else ''}".strip()
        mark = f' class="{kinds}"' if kinds else ""
        self.parts.append(f'<text x="{x:g}" y="{y:g}"{mark}>{escape(words)}</text>')
        self.height = max(self.height, int(y) + 6)

    def linked(self, inside: str, number: int, path: str) -> str:
        """What leads to an equation when it is clicked."""
        if self.page is None:
            return inside
        return f'<a href="{self.page}#equation-{number}" aria-label="{path}: equation {number}">{inside}</a>'

    def box(
        self, x: float, y: float, width: float, path: str, name: str, note: str, numbers: tuple[int, ...],
        *, kind: str = "b", holds: bool = False, deep: bool = False,
    ) -> float:  # fmt: skip
        """A box of two lines, its name, a note and the numbers of its equations; returns where it ends below.

        Args:
            path: what the box stands for; the tooltip.
            kind: "b", or "s" for a step that has no weights.
            holds: it stands for all that is below its path too.
            deep: there are several, one behind the other.
        """
        front = width - 6 * deep
        shapes = "".join(f'<rect x="{x + i}" y="{y - i}" width="{front}" height="36"/>' for i in (6, 3) if deep)
        shapes += f'<rect x="{x}" y="{y}" width="{front}" height="36"/>'
        words = f'<text class="n" x="{x + 6}" y="{y + 15}">{escape(name)}</text>'
        words += f'<text x="{x + 6}" y="{y + 30}">{escape(note)}</text>' if note else ""
        inside = self.linked(f"<title>{path}</title>{shapes}{words}", numbers[0], path)
        where = f"{kind} {self.shine(path, holds=holds)}".strip()
        self.parts.append(f'<g class="{where}">{inside}{self.numbers(x + front - 5, y + 30, numbers, path)}</g>')
        self.boxes.append((path, numbers))
        self.height = max(self.height, int(y) + 38)
        return y + 36

    def numbers(self, right: float, y: float, numbers: tuple[int, ...], path: str) -> str:
        """The numbers of equations, the last one at the right, each a link."""
        shown = ""
        for number in reversed(numbers):
            words = f'<text class="e" x="{right:g}" y="{y:g}">({number})</text>'
            shown = self.linked(words, number, path) + shown
            right -= 7 * len(str(number)) + 15
        return shown

    def frame(
        self, x: float, y: float, width: float, bottom: float, path: str, name: str, numbers: tuple[int, ...] = (),
        *, indent: int = 6,
    ) -> None:  # fmt: skip
        """A frame around the boxes below a path, its name and number at the top."""
        inside = f'<title>{path}</title><rect x="{x}" y="{y}" width="{width}" height="{bottom - y}"/>'
        words = f'<text class="n" x="{x + indent}" y="{y + 15}">{escape(name)}</text>'
        words += self.numbers(x + width - 5, y + 15, numbers, path)
        self.parts.append(f'<g class="{f"f {self.shine(path, holds=True)}".strip()}">{inside}{words}</g>')
        self.boxes.append((path, numbers))
        self.height = max(self.height, int(bottom) + 2)

    def arrow(self, x: float, y: float, end: float, path: str, shape: str = "") -> None:
        """Downward, with the shape of what flows beside it."""
        self.line(f"M{x:g} {y:g}V{end - 5:g}", path, (x, end, "down"))
        if shape:
            self.text(x + 7, (y + end) / 2 + 4, shape, path, holds=True)

    def line(self, way: str, path: str, head: tuple[float, float, str] | None = None) -> None:
        """Along an SVG path; `head` is where an arrow's tip is, and its direction: "down", "left" or "right"."""
        pale = ' class="pale"' if self.shine(path, holds=True) == "pale" else ""
        tip = ""
        if head:
            x, y, direction = head
            self.height = max(self.height, int(y) + 2)
            sides = {"down": "l-4 -7h8z", "right": "l-7 -4v8z", "left": "l7 -4v8z"}[direction]
            tip = f'<path class="h" d="M{x:g} {y:g}{sides}"/>'
        self.parts.append(f'<g{pale}><path d="{way}"/>{tip}</g>')

    def plus(self, x: float, y: float, path: str) -> None:
        """Where two streams are added."""
        pale = ' class="pale"' if self.shine(path, holds=True) == "pale" else ""
        self.parts.append(f'<g{pale}><circle cx="{x}" cy="{y}" r="8"/><path d="M{x - 4} {y}h8M{x} {y - 4}v8"/></g>')
