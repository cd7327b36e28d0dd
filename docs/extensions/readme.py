"""A Sphinx extension: README's table "Use it for, use something else for" on the site, from README itself."""

from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
MARK = "<!-- from README.md: on the site the table of this heading stands here -->"
HEADING = "## Use it for, use something else for\n"
LINKS = {
    "](docs/": "](",
    "](notebooks/README.md)": "](notebooks/1-from-pixels-to-tokens.ipynb)",
    "](aimv2_np/network)": "](reference/layers.md)",
}


def table():
    """The first table below the heading, its links as docs/ needs them."""
    below = README.read_text(encoding="utf-8").split(HEADING, 1)[1]
    found = below.strip().split("\n\n", 1)[0]
    for link, here in LINKS.items():
        found = found.replace(link, here)
    return found


def insert(app, docname, source):
    if MARK in source[0]:
        app.env.note_dependency(str(README))
        source[0] = source[0].replace(MARK, table())


def setup(app):
    app.connect("source-read", insert)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
