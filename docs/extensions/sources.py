"""A Sphinx extension: links from a page to code, [`rms_norm`](../aimv2_np/network/rms_norm.py), work on the site too.

On a repository's web page such a link shows the file. Here the file becomes a page of the site, and a link whose text
is a name in backquotes leads to the line that defines it: a function, a class or a `Class.method`, looked up whenever
the site is built. A name that the file does not define is an error. docs/equations.md, (7), in a docstring becomes a
link to that equation.

In the reference inherited methods and properties have a link to their source, too, which viewcode gives to functions,
classes and methods of the class itself.
"""

import ast
import importlib
import re
from html import escape
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[(?P<text>[^\[\]]*)\]\((?:\.\./)*(?P<path>(?:aimv2_np|tests)/[\w/]+\.py)\)")
SYMBOL = re.compile(r"`([\w.]+)`")
EQUATION = re.compile(r"docs/equations\.md, \((\w+)\)")


def definitions(path):
    """Where a Python file defines what: dotted name -> number of its first line, decorators not counted."""
    found = {}

    def walk(node, prefix):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                found[prefix + child.name] = child.lineno
                walk(child, f"{prefix}{child.name}.")

    walk(ast.parse(path.read_text(encoding="utf-8")), "")
    return found


def symbols(text):
    """The links of a page to symbols: (name, file relative to the repository)."""
    links = [(SYMBOL.fullmatch(match["text"]), match["path"]) for match in LINK.finditer(text)]
    return [(symbol[1], path) for symbol, path in links if symbol]


def line_of(name, path):
    """The line of a file of the repository that defines a name.

    Raises:
        LookupError: the file does not define it.
    """
    where = definitions(ROOT / path)
    if name not in where:
        raise LookupError(f"the link [`{name}`] is to {path}; expected a file that defines {name}; correct its path")
    return where[name]


def link_to_pages_of_code(app, docname, source):
    up = "../" * docname.count("/")
    quote = '\\"' if app.env.doc2path(docname).suffix == ".ipynb" else '"'  # a notebook is read as JSON

    def link(match):
        text, path = match["text"], match["path"]
        app.env.note_dependency(str(ROOT / path))  # when the file changes, the page is made again
        symbol = SYMBOL.fullmatch(text)
        anchor = f"#L-{line_of(symbol[1], path)}" if symbol else ""
        return f"<a href={quote}{up}code/{path.removesuffix('.py')}.html{anchor}{quote}>{text}</a>"

    source[0] = LINK.sub(link, source[0])


def link_to_equations(app, what, name, obj, options, lines):
    """In the pages of docs/reference."""
    lines[:] = [EQUATION.sub(r"`equation (\1) <../equations.html#equation-\1>`__", line) for line in lines]


def defined_in(module, name):
    """Where the code of an entry is, maybe in a base class: (module, dotted name); None for what is no code."""
    value = importlib.import_module(module)
    *outer, last = name.split(".")
    for it in outer:
        value = getattr(value, it, None)
    places = getattr(value, "__mro__", (value,))
    found = next((vars(it)[last] for it in places if last in getattr(it, "__dict__", ())), None)
    for wrapped in ("fget", "func", "__func__"):  # a property, a cached property, a class method
        found = getattr(found, wrapped, found)
    where = getattr(found, "__module__", None), getattr(found, "__qualname__", None)
    return where if all(where) else None


def name_where_defined(app, doctree):
    """Entries get the name that they have in their file, by which viewcode finds it; links back lead to that name."""
    from sphinx import addnodes  # the tests of the repository's links need this file, and no Sphinx

    ids = {it for entry in doctree.findall(addnodes.desc_signature) for it in entry["ids"]}
    for entry in doctree.findall(addnodes.desc_signature):
        module, name = entry.get("module"), entry.get("fullname", "")
        if module and (found := defined_in(module, name)):
            entry["module"], entry["fullname"] = found
            entry["ids"] += {".".join(found)} - ids
            ids.update(entry["ids"])


def pages_of_code(app):
    """One page for each file that some page links to."""
    texts = [app.env.doc2path(name).read_text(encoding="utf-8") for name in sorted(app.env.found_docs)]
    for path in sorted({match["path"] for text in texts for match in LINK.finditer(text)}):
        code = (ROOT / path).read_text(encoding="utf-8")
        shown = highlight(code, PythonLexer(), HtmlFormatter(linespans="L", linenos="inline", wrapcode=True))
        name, title = path.removesuffix(".py"), escape(path)
        yield f"code/{name}", {"title": title, "body": f"<h1>{title}</h1>\n{shown}"}, "page.html"


def setup(app):
    app.connect("source-read", link_to_pages_of_code)
    app.connect("autodoc-process-docstring", link_to_equations, priority=300)
    app.connect("html-collect-pages", pages_of_code)
    app.setup_extension("sphinx.ext.viewcode")
    app.connect("doctree-read", name_where_defined, priority=400)  # before viewcode
    app.connect("viewcode-follow-imported", lambda app, module, name: module if defined_in(module, name) else None)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
