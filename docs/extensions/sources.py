"""A Sphinx extension: links from a page to a line of code, `[…](../tests/test_x.py#L12)`, work on the site too.

On a repository's web page such a link shows the file at that line. Here the file becomes a page of the site, whose
lines can be linked to; docs/equations.md, (7), in a docstring becomes a link to that equation.
"""

import re
from html import escape
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[([^\[\]]*)\]\((?:\.\./)+((?:aimv2_np|tests)/[\w/]+)\.py(?:#L(\d+))?\)")
EQUATION = re.compile(r"docs/equations\.md, \((\w+)\)")


def link_to_pages_of_code(app, docname, source):
    up = "../" * docname.count("/")
    quote = '\\"' if app.env.doc2path(docname).suffix == ".ipynb" else '"'  # a notebook is read as JSON

    def link(match):
        text, path, line = match.groups()
        return f"<a href={quote}{up}code/{path}.html{f'#L-{line}' if line else ''}{quote}>{text}</a>"

    source[0] = LINK.sub(link, source[0])


def link_to_equations(app, what, name, obj, options, lines):
    """In the pages of docs/reference."""
    lines[:] = [EQUATION.sub(r"`equation (\1) <../equations.html#equation-\1>`__", line) for line in lines]


def pages_of_code(app):
    """One page for each file that some page links to."""
    texts = [app.env.doc2path(name).read_text(encoding="utf-8") for name in sorted(app.env.found_docs)]
    for path in sorted({match[2] for text in texts for match in LINK.finditer(text)}):
        code = (ROOT / f"{path}.py").read_text(encoding="utf-8")
        shown = highlight(code, PythonLexer(), HtmlFormatter(linespans="L", linenos="inline", wrapcode=True))
        title = escape(f"{path}.py")
        yield f"code/{path}", {"title": title, "body": f"<h1>{title}</h1>\n{shown}"}, "page.html"


def setup(app):
    app.connect("source-read", link_to_pages_of_code)
    app.connect("autodoc-process-docstring", link_to_equations, priority=300)
    app.connect("html-collect-pages", pages_of_code)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
