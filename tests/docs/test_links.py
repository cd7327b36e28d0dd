"""Links from the pages to code name a file and a symbol, never a line: whoever inserts a line breaks none of them."""

import re

import pytest

from docs.extensions import sources
from tests.docs.test_pages import NAMES
from tests.support.paths import ROOT


@pytest.mark.parametrize("name", NAMES)
def test_every_symbol_that_a_page_links_to_is_defined_there(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for symbol, path in sources.symbols(text):
        line = (ROOT / path).read_text(encoding="utf-8").splitlines()[sources.line_of(symbol, path) - 1]
        assert re.match(rf"\s*(def|class) {symbol.rpartition('.')[2]}\b", line)


@pytest.mark.parametrize("name", NAMES)
def test_no_page_names_a_line(name):
    assert not re.findall(r"\]\([^)]+\.py#[^)]*\)", (ROOT / name).read_text(encoding="utf-8"))


def test_the_pages_do_link_to_symbols():
    """Else the tests above would pass on pages that they do not understand."""
    found = sources.symbols((ROOT / "docs" / "equations.md").read_text(encoding="utf-8"))
    assert len(found) > 40
    assert any("." in symbol for symbol, _ in found), "no method among them"


def test_a_link_to_what_is_not_there_is_an_error():
    with pytest.raises(LookupError, match="no_such_thing"):
        sources.line_of("no_such_thing", "aimv2_np/network/linear.py")


def test_an_inserted_line_moves_the_link(tmp_path):
    path, code = tmp_path / "module.py", "@decorated\ndef f(): ...\n\n\nclass A:\n    def g(self): ...\n"
    path.write_text(code, encoding="utf-8")
    assert sources.definitions(path) == {"f": 2, "A": 5, "A.g": 6}
    path.write_text("x = 1\n" + code, encoding="utf-8")
    assert sources.definitions(path) == {"f": 3, "A": 6, "A.g": 7}


def test_which_links_are_to_symbols():
    text = "[`A.g`](../aimv2_np/a.py), [words](../tests/b.py), [`x`](page.md), [`f`](../../tests/c/d.py), "
    text += "[`e`](tests/e.py)"
    assert sources.symbols(text) == [("A.g", "aimv2_np/a.py"), ("f", "tests/c/d.py"), ("e", "tests/e.py")]
