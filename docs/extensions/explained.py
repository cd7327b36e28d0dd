"""A Sphinx extension: the page that `aimv2-np explain` writes, of the embedded model, beside the site's static files.

docs/explain.md shows it in a frame, in the place of a comment, since a repository's web page shows frames as text. It
is made when the site is built, so that it is the page of this version.
"""

from pathlib import Path

from aimv2_np import Aimv2Model, Aimv2Processor
from aimv2_np.data import sample_pictures, tiny_model_path
from aimv2_np.viz import explanation_page

PLACE = Path("_static", "explanation.html")
MARK = "<!-- on the site a page of the embedded model stands here -->"
FRAME = """<iframe class="page" loading="lazy" title="The page of explain: a drawing of a cyan square and a blue star"
 src="_static/explanation.html#row=1&column=5&layer=2&head=1&held=1&keyrow=2&keycolumn=2"></iframe>
<p><a href="_static/explanation.html">This page by itself</a></p>"""
CAPTIONS = ("a large blue star right of a large cyan square", "a large red circle", "a blue star")


def example():
    """The page of the sixth sample picture."""
    model, processor = (kind.from_pretrained(tiny_model_path()) for kind in (Aimv2Model, Aimv2Processor))
    made_by = "aimv2-tiny-shapes, the embedded model"
    return explanation_page(
        model, processor, sample_pictures()[5].picture, CAPTIONS, title="shapes.png", made_by=made_by
    )


def show(app, docname, source):
    source[0] = source[0].replace(MARK, FRAME)


def write(app, exception):
    if exception is None and app.builder.format == "html":
        (Path(app.outdir) / PLACE).write_text(example(), encoding="utf-8")


def setup(app):
    app.connect("source-read", show)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
