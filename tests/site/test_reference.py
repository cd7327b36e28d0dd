"""The reference shows the shapes of arrays, and no entry that only repeats what a base class says."""

import re
from html import unescape
from importlib import import_module
from pkgutil import iter_modules

import pytest

from aimv2_np import network


@pytest.fixture(scope="session")
def signatures(site):
    """Entry -> its signature as a reader sees it, of the pages of the network and the models."""
    found = {}
    for name in ("layers", "models"):
        text = (site / "reference" / f"{name}.html").read_text(encoding="utf-8")
        for entry, shown in re.findall(r'<dt class="sig[^"]*" id="([^"]+)">(.*?)</dt>', text, re.DOTALL):
            found[entry] = unescape(re.sub(r"<[^>]+>|\n", "", shown)).split("[source]")[0]
    return found


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        (
            "aimv2_np.network.attention.attention",
            "attention(q: (B, H, N, d), k: (B, H, M, d), v: (B, H, M, d), scale, view=Everyone()) → (B, H, N, d)",
        ),
        ("aimv2_np.network.linear.linear", "linear(x: (..., I), weight: (O, I), bias: (O) | None = None) → (..., O)"),
        ("aimv2_np.network.embedding.Embedding", "Embedding(weight: (V, D))"),
    ],
)
def test_signatures_have_shapes(signatures, entry, shown):
    assert signatures[entry].endswith(shown)


def test_no_annotation_is_left_as_it_was_written(signatures):
    assert not [shown for shown in signatures.values() if re.search("ShapeOf|Annotated|Float|jaxtyping", shown)]


def test_every_function_method_and_property_leads_to_its_source(site):
    found = 0
    for path in (site / "reference").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        for kind, entry, shown in re.findall(
            r'<dl class="py (\w+)">\s*<dt class="sig[^"]*" id="([^"]+)">(.*?)</dt>', text, re.DOTALL
        ):
            if kind in ("function", "class", "method", "property", "exception"):
                link = re.search(r'href="([^"#]+)#([^"]+)"><span class="viewcode-link">', shown)
                assert link, (path.name, kind, entry)
                assert f'id="{link[2]}"' in (path.parent / link[1]).read_text(encoding="utf-8"), (entry, link[0])
                found += 1
    assert found > 200


FORWARDS = sorted(
    f"{module.__name__}.{name}.forward"
    for module in (import_module(f"aimv2_np.network.{it.name}") for it in iter_modules(network.__path__))
    for name, it in vars(module).items()
    if isinstance(it, type) and it.__module__ == module.__name__ and "forward" in vars(it)
)


@pytest.mark.parametrize("entry", FORWARDS)
def test_a_module_shows_the_shapes_of_what_it_takes_and_gives(signatures, entry):
    takes, gives = signatures[entry].removeprefix("forward").split(" → ")
    assert re.match(r"\(\w+: \([^()]+\)", takes), takes
    if not gives.startswith("("):
        (several,) = (shown for name, shown in signatures.items() if name.endswith(f".{gives}"))
        assert several.count(": (") >= 2


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ("attention.Attention", "forward(x: (B, N, D), view=Everyone()) → (B, N, D)"),
        ("patches.PatchEmbed", "forward(pixels: (B, C, height, width)) → (B, N, D)"),
        ("pooling.AttentionPoolingHead", "forward(x: (_, N, D), view=Everyone()) → (B, D)"),
    ],
)
def test_forward(signatures, entry, shown):
    assert signatures[f"aimv2_np.network.{entry}.forward"] == shown


def test_what_a_base_class_says_is_said_once(signatures):
    assert "aimv2_np.tree.module.Module.forward" in signatures
    assert "aimv2_np.network.linear.Linear.named_modules" not in signatures
