"""The site: `sphinx-build -W docs OUT`, with the extra `docs`."""

import importlib
import pkgutil
import sys
from pathlib import Path

from aimv2_np import __version__, gradients, network  # noqa: F401  # which registers, before operations are replaced
from aimv2_np.backends.operation import Operation

project = "aimv2_np"
author = copyright = "the aimv2_np authors"
release = __version__

sys.path[:0] = [str(Path(__file__).parent / "extensions"), str(Path(__file__).parents[1])]
folded = importlib.import_module("folding").folded
extensions = [
    "myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode", "sphinx_copybutton",
    "drawings", "explained", "folding", "live", "mathml", "readme", "shapes", "sources",
]  # fmt: skip
html_math_renderer = "mathml"  # MathJax would be fetched from a network
html_theme = "furo"
html_static_path = ["static"]
html_favicon = "static/icon.svg"
html_css_files = ["site.css"]
html_js_files = ["search.js"]  # search in a newcomer's words
html_title = f"aimv2_np {release}"
exclude_patterns = ["**/.ipynb_checkpoints"]

myst_enable_extensions = ["attrs_block", "deflist", "dollarmath"]
myst_heading_anchors = 3
default_role = "code"  # in docstrings single backquotes are code, as in Markdown
nb_execution_mode = "off"  # committed outputs are shown; the tests execute the notebooks
copybutton_exclude = ".linenos, .gp, .go"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # of types; the shapes of arrays are shown (extensions/shapes.py)
autodoc_inherit_docstrings = False  # what a base class says of its method is said there, once
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def _equations_as_written(app, what, name, obj, options, lines):
    """Indented blocks in docstrings are equations and code: their lines stay as they are."""
    for i in range(len(lines) - 1, 0, -1):
        begins = lines[i].startswith(" ") and not lines[i - 1].strip()
        if begins and not next((line for line in reversed(lines[:i]) if line.strip()), " ").startswith(" "):
            lines[i:i] = ["::", ""]


def _copy_notebooks(app):
    """They lie in the repository's `notebooks/`, beside docs/; a copy goes where Sphinx looks, links adapted."""
    copies = Path(app.srcdir) / "notebooks"
    copies.mkdir(exist_ok=True)
    texts = {
        path.name: folded(path.read_text(encoding="utf-8").replace("](../docs/", "](../"))
        for path in (Path(app.srcdir).parent / "notebooks").glob("*.ipynb")
    }
    for path in copies.glob("*.ipynb"):
        if texts.get(path.name) == path.read_text(encoding="utf-8"):
            del texts[path.name]  # written anew, it would be rendered anew
        else:
            path.unlink()
    for name, text in texts.items():
        (copies / name).write_text(text, encoding="utf-8")


def setup(app):
    app.connect("builder-inited", _copy_notebooks)
    # Before napoleon, which indents what it makes of "Args:".
    app.connect("autodoc-process-docstring", _equations_as_written, priority=400)
    for _, name, _ in pkgutil.iter_modules(network.__path__, f"{network.__name__}."):
        module = importlib.import_module(name)
        for key, value in list(vars(module).items()):
            if isinstance(value, Operation):  # is shown as the function that its equation is
                setattr(module, key, value.textbook)
