"""The reference shows the shapes of arrays, and no entry that only repeats what a base class says."""

import re
from html import unescape

import pytest


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


def test_what_a_base_class_says_is_said_once(signatures):
    forwards = [entry for entry in signatures if entry.startswith("aimv2_np.network.") and entry.endswith(".forward")]
    assert not forwards
    assert "aimv2_np.tree.module.Module.forward" in signatures
