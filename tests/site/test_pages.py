"""Every link of the built site leads somewhere, and reading it needs no network."""

import importlib
import re
from urllib.parse import unquote, urlsplit

import pytest

from docs.extensions.network_drawing import PARTS
from tests.support.notebooks import PATHS as NOTEBOOKS


def broken(page, pages, site):
    """The links of a page, with the reason, that lead nowhere on this site."""
    for link in [it["href"] for it in page.all("a") if it.get("href")]:
        parts = urlsplit(link)
        if parts.scheme:
            continue
        target = (page.path.parent / unquote(parts.path)).resolve() if parts.path else page.path
        if not target.is_file():
            yield f"{link}: no such file"
        elif parts.fragment and target.suffix == ".html":
            name = str(target.relative_to(site.resolve()))
            if unquote(parts.fragment) not in pages[name].anchors:
                yield f"{link}: no such anchor"


def test_links_lead_somewhere(pages, site):
    found = {name: list(broken(page, pages, site)) for name, page in pages.items()}
    assert not {name: links for name, links in found.items() if links}


def test_nothing_comes_from_a_network(pages):
    for name, page in pages.items():
        loaded = [it.get("src") or "" for tag in ("script", "img", "iframe", "source") for it in page.all(tag)]
        loaded += [it["href"] for it in page.all("link") if it.get("rel") in ("stylesheet", "preload", "icon")]
        assert not [url for url in loaded if urlsplit(url).netloc], name


def test_what_is_loaded_is_there(pages):
    for name, page in pages.items():
        for tag, key in (("img", "src"), ("script", "src"), ("link", "href"), ("iframe", "src")):
            for url in filter(None, (it.get(key) for it in page.all(tag))):
                if not urlsplit(url).scheme:
                    assert (page.path.parent / unquote(urlsplit(url).path)).exists(), (name, url)


def test_pictures_have_a_text_in_their_place(pages):
    for name, page in pages.items():
        for picture in page.all("img"):
            if picture.get("class") == "toggler":  # Sphinx's own, in its list of modules: "-"
                continue
            assert len(picture.get("alt", "")) > 10, (name, picture)


def test_equations_are_drawn_by_the_browser_itself(pages):
    page = pages["equations.html"]
    assert len(page.all("math")) > 60
    assert {f"equation-{i}" for i in range(1, 21)} <= page.anchors
    text = page.path.read_text(encoding="utf-8")
    assert "$" not in text.split("<article", 1)[1].split("</article>", 1)[0]


def test_no_equation_has_a_command_that_was_not_understood(pages):
    for name, page in pages.items():
        for formula in re.findall(r"<math.*?</math>", page.path.read_text(encoding="utf-8"), re.DOTALL):
            assert not re.search(r"\\|<mi>&(amp;)?</mi>", formula), (name, formula)


def test_no_markup_is_left_over(pages):
    """What Sphinx did not understand it shows as it stands."""
    for name, page in pages.items():
        if not name.startswith(("code/", "_modules/")):
            text = page.path.read_text(encoding="utf-8").split("<article", 1)[-1].split("</article>", 1)[0]
            words = re.sub(r"<pre>.*?</pre>|<code.*?</code>|<[^>]+>", " ", text, flags=re.DOTALL)
            assert not re.findall(r":::|```|\*\*\w|\]\(|\{(?:doc|ref|py|glossary)\W|\\\w+\{", words), name


@pytest.mark.parametrize("name", ["equations.html", *(f"notebooks/{path.stem}.html" for path in NOTEBOOKS)])
def test_the_network_is_drawn_and_each_box_leads_to_its_equation(name, pages, site):
    page = pages[name]
    drawings = [it for it in page.all("svg") if "network" in (it.get("class") or "").split()]
    assert len(drawings) >= 2
    boxes = [it for it in page.all("a") if re.search(r": equation \d+$", it.get("aria-label") or "")]
    assert len(boxes) > 30
    for box in boxes:
        path, _, anchor = box["href"].partition("#")
        target = (page.path.parent / path).resolve() if path else page.path.resolve()
        assert target == (site / "equations.html").resolve()
        assert anchor == f"equation-{box['aria-label'].rpartition(' ')[2]}"
        assert anchor in pages["equations.html"].anchors
    assert any("lit" in (it.get("class") or "").split() for it in page.all("g"))
    pictures = [it for it in site.glob("_images/*.svg") if it.stem in PARTS]
    assert not pictures, "pictures of the drawing, in place of the drawing"


def test_a_docstring_leads_to_its_equation(pages):
    assert any(it.get("href") == "../equations.html#equation-3" for it in pages["reference/layers.html"].all("a"))


@pytest.mark.parametrize("name", ["equations.html", "faithfulness.html"])
def test_a_link_to_a_symbol_leads_to_the_line_that_defines_it(name, pages):
    text = pages[name].path.read_text(encoding="utf-8")
    links = re.findall(r'<a href="(code/[\w/]+\.html)#(L-\d+)"[^>]*>(.*?)</a>', text)
    assert len(links) > 15
    for target, anchor, shown in links:
        symbol = re.sub(r"<[^>]+>", "", shown).rpartition(".")[2]
        code = pages[target].path.read_text(encoding="utf-8")
        line = re.sub(r"<[^>]+>", "", code.split(f'id="{anchor}"', 1)[1].split("\n", 1)[0])
        assert re.search(rf"(def|class) {symbol}\b", line), (target, anchor, symbol)


def test_every_public_name_is_in_the_reference(site):
    from sphinx.util.inventory import InventoryFile

    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    described = {name.rpartition(".")[2] for kind in inventory.data.values() for name in kind}
    for name in (
        "aimv2_np",
        *(f"aimv2_np.{room}" for room in ("comparison", "recording.adapters", "processing", "tasks", "viz")),
    ):
        assert set(importlib.import_module(name).__all__) - {"__version__"} <= described, name
