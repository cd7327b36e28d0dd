"""A Sphinx extension: equations as MathML, which browsers draw by themselves. No script, no font and no network.

A display equation that ends in `\\tag{7}` gets its number at the right and the anchor `equation-7`.
"""

import re

from docutils import nodes
from latex2mathml.converter import convert

TAG = re.compile(r"\\tag\{(\w+)\}")


def source(node):
    """The LaTeX of a formula in words that latex2mathml knows."""
    return node.astext().replace("{aligned}", "{split}").strip()  # the same, by another name


def visit_inline(self, node):
    self.body.append(convert(source(node)))
    raise nodes.SkipNode


def visit_block(self, node):
    latex = source(node)
    number = TAG.search(latex)
    anchor = f' id="equation-{number[1]}"' if number else ""
    shown = f'<a class="number" href="#equation-{number[1]}">({number[1]})</a>' if number else ""
    formula = convert(TAG.sub("", latex), display="block")
    self.body.append(f'<div class="equation"{anchor}><div class="formula">{formula}</div>{shown}</div>\n')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", inline_renderers=(visit_inline, None), block_renderers=(visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
