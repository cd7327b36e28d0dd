"""A Sphinx extension: the reference shows shapes. `q: Float[Array, "B H N d"]` is shown as `q: (B, H, N, d)`.

What a module of the network computes is its `forward`, which needs no words beside its class's: its signature is shown.
"""

import inspect
import re
import typing

from docutils import nodes
from sphinx import addnodes

SHAPE = "ShapeOf"  # on the way through Sphinx, which shows (B, N) without its parentheses


def shape(annotation):
    """(B, H, N, d) of an array's annotation, also of "that or None"; None where it is of no array."""
    dimensions = getattr(annotation, "__metadata__", None) or ()
    if len(dimensions) == 1 and isinstance(dimensions[0], str):
        names = [re.sub(r"^\*.*|^\.\.\.$", "...", name) for name in dimensions[0].split()]
        plain = all(re.fullmatch(r"[\w.*+/-]+", name) for name in names)
        return (f"{SHAPE}[{', '.join(names)}]" if names else "()") if plain else None
    parts = [it for it in typing.get_args(annotation) if it is not type(None)]
    found = [shape(it) for it in parts] if typing.get_origin(annotation) not in (None, list, tuple, dict) else []
    if len(found) == 1 and found[0] and type(None) in typing.get_args(annotation):
        return f"{found[0]} | None"
    return None


def show(app, what, name, obj, options, signature, returns):
    if signature is None:
        return None
    try:
        found = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    for parameter in found.parameters.values():
        if of := shape(parameter.annotation):
            pattern = rf"(?<=[(\s]){parameter.name}(?=[,)=])"
            signature = re.sub(pattern, f"{parameter.name}: {of}", signature, count=1)
    return signature, (None if what == "class" else returned(found.return_annotation))


def returned(annotation):
    """The shape of an array, or the name of several together, whose entry has their shapes."""
    together = isinstance(annotation, type) and hasattr(annotation, "_fields")
    return annotation.__name__ if together else shape(annotation)


def keep(app, what, name, obj, skip, options):
    """A `forward` is left out by autodoc where it has no docstring; of the network it is shown."""
    return False if name == "forward" and getattr(obj, "__module__", "").startswith("aimv2_np.network.") else None


def parenthesise(app, doctree):
    """ShapeOf[B, N] -> (B, N)"""
    for signature in doctree.findall(addnodes.desc_signature):
        for name in [it for it in signature.findall(addnodes.pending_xref) if it.astext() == SHAPE]:
            after = name.parent.children[name.parent.index(name) + 1 :]
            brackets = [it for it in after if it.astext() in ("[", "]")]
            for bracket, shown in zip(brackets[:2], "()", strict=True):
                bracket[0] = nodes.Text(shown)
            name.parent.remove(name)


def setup(app):
    app.connect("doctree-read", parenthesise)
    app.connect("autodoc-process-signature", show)
    app.connect("autodoc-skip-member", keep)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
