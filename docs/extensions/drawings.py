"""A Sphinx extension: a picture of docs/network/ becomes the drawing itself, in which a box leads to its equation.

Its colours are the site's, light or dark, and on a phone its two panels stand below each other.
"""

from pathlib import Path

from docutils import nodes

from docs.extensions.network_drawing import FOLDER, PARTS, figure


class drawing(nodes.General, nodes.Element):  # noqa: N801 -- as docutils names its nodes
    """A drawing in a page; the search does not read it."""


def put_drawings(app, doctree, docname):
    """In the place of pictures of docs/network/."""
    if app.builder.format != "html":
        return
    for image in list(doctree.findall(nodes.image)):
        path = Path(image["uri"])
        if path.parent.name == FOLDER.name and path.stem in PARTS and path.suffix == ".svg":
            page = "" if docname == "equations" else app.builder.get_relative_uri(docname, "equations")
            alone = isinstance(image.parent, nodes.paragraph) and len(image.parent) == 1
            place = image.parent if alone else image  # a paragraph holds no figure
            place.replace_self(drawing("", html=figure(path.stem, page, image["alt"])))


def visit(self, node):
    self.body.append(node["html"])
    raise nodes.SkipNode


def setup(app):
    app.add_node(drawing, html=(visit, None))
    app.connect("doctree-resolved", put_drawings)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
