"""docs/faithfulness.md shows what was measured, and every difference on it has a proof and code that runs."""

import json
import re

import pytest

from docs.extensions.sources import symbols
from tests.support.paths import ROOT
from tests.support.tally import Tally, compared
from tests.tools.write_faithfulness import DATA, PAGE, SUBJECTS, page, table

TEXT = PAGE.read_text(encoding="utf-8")
DIFFERENCES = re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]


def test_the_page_is_what_was_measured():
    """`python -m tests.tools.write_faithfulness` writes it."""
    data = json.loads(DATA.read_text(encoding="utf-8"))
    assert page(TEXT, data) == TEXT, "out of date: python -m tests.tools.write_faithfulness"
    assert table(data) in TEXT


def test_every_subject_of_a_test_is_on_the_page():
    subjects = re.compile(r"compared\(f?\"([^\"]+)\"")
    files = [path for path in (ROOT / "tests").rglob("*.py") if path.parent.name != "docs"]
    named = {it for path in files for it in subjects.findall(path.read_text(encoding="utf-8")) if "{" not in it}
    assert {"goldens", "pictures"} <= named <= set(SUBJECTS)


@pytest.mark.parametrize("text", DIFFERENCES, ids=lambda text: text.partition("\n")[0])
def test_every_difference_has_a_proof(text):
    proofs = symbols(text)
    assert proofs
    assert all(path.startswith("tests/") and name.startswith("test_") for name, path in proofs)


def test_the_table_of_differences_links_to_each():
    headings = {re.sub(r"[^\w\- ]", "", it.partition("\n")[0].lower()).replace(" ", "-") for it in DIFFERENCES}
    assert set(re.findall(r"^\| \[[^\]]+\]\(#([\w-]+)\)", TEXT, re.MULTILINE)) == headings


def test_tallies_add_up(monkeypatch):
    monkeypatch.setattr("tests.support.tally.TALLIES", found := {})
    compared("a", {"x": 1e-6, "y": 3e-6}, 1e-5)
    compared("a", 2e-6, 4e-6)
    compared("b", 0.0)
    assert found == {"a": Tally(2, 3, 3e-6, 0.5), "b": Tally(1, 1, 0.0, 0.0)}


def test_what_should_not_have_passed_does_not_count():
    with pytest.raises(AssertionError, match="should not have passed"):
        compared("a", 2e-5, 1e-5)
