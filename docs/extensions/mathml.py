"""A Sphinx extension: equations as MathML, which browsers draw by themselves. No script, no font and no network.

A display equation is cut into parts that stand on one line where there is room, and below each other on a phone. One
that ends in `\\tag{7}` gets its number at the right and the anchor `equation-7`.
"""

import re

from docutils import nodes
from latex2mathml.converter import convert

TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|.", re.DOTALL)
OPENS, CLOSES = {"{", r"\left", r"\begin"}, {"}", r"\right", r"\end"}
BREAKS = {"=", "+", "-", r"\quad", r"\qquad", r"\big"}  # a line may end before one of these,
BINDS = {"^", "_", "(", "["}  # but not after one of these: W^+, (-x)
TAG = re.compile(r"\\tag\{(\w+)\}")


def source(node):
    """The LaTeX of a formula in words that latex2mathml knows."""
    return node.astext().replace("{aligned}", "{split}").strip()  # the same, by another name


def parts(latex):
    """An equation cut where a line may end: before = and +, and where its shapes begin, outside of all brackets."""
    found, depth, last = [""], 0, ""
    for token in TOKEN.findall(latex):
        if token in BREAKS and depth == 0 and found[-1].strip() and last not in BINDS:
            found.append("")
        depth += (token in OPENS) - (token in CLOSES)
        found[-1] += token
        last = token if token.strip() else last
    return found


def drawn(part):
    r"""What follows `\qquad`, the shapes, has a line of its own on a phone. A sign at the beginning has room."""
    part = part.strip()
    formula = re.sub(r"^\\q?quad\b", "", part)
    formula = convert(f"{{}}{formula}" if formula[:1] in ("+", "-") else formula, display="block")
    return f'<div class="apart">{formula}</div>' if part.startswith(r"\qquad") else f"<div>{formula}</div>"


def visit_inline(self, node):
    self.body.append(convert(source(node)))
    raise nodes.SkipNode


def visit_block(self, node):
    latex = source(node)
    number = TAG.search(latex)
    anchor = f' id="equation-{number[1]}"' if number else ""
    shown = f'<a class="number" href="#equation-{number[1]}">({number[1]})</a>' if number else ""
    formula = "".join(drawn(it) for it in parts(TAG.sub("", latex)))
    self.body.append(f'<div class="equation"{anchor}><div class="formula">{formula}</div>{shown}</div>\n')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
