"""A Sphinx extension: notebooks with the code of figures folded, and a link to download each."""

import json
from html import escape

DRAWING = ("plt.", ".imshow(", ".plot(", ".savefig(")


def only_draws(cell):
    """Whether a cell is there for its figure: it calls matplotlib; it neither imports, asserts nor defines anything."""
    lines = "".join(cell["source"]).splitlines()
    teaches = any(line.lstrip().startswith(("assert ", "import ", "from ", "def ", "class ")) for line in lines)
    return cell["cell_type"] == "code" and not teaches and any(it in line for it in DRAWING for line in lines)


def folded(text):
    """A notebook as JSON, in which such cells have the tag by which MyST-NB folds their code."""
    notebook = json.loads(text)
    for cell in filter(only_draws, notebook["cells"]):
        tags = cell["metadata"].setdefault("tags", [])
        tags += [tag for tag in ("hide-input",) if tag not in tags]
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def offer_download(app, pagename, templatename, context, doctree):
    if pagename.startswith("notebooks/"):
        name = escape(pagename.removeprefix("notebooks/"))
        link = f'<a href="../_sources/notebooks/{name}.ipynb.txt" download="{name}.ipynb">Download this notebook</a>'
        context["body"] = f'<p class="download">{link}</p>\n{context["body"]}'


def setup(app):
    app.connect("html-page-context", offer_download)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
