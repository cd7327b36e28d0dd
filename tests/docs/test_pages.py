"""What the pages say of this repository is so: paths, links, numbers and commands."""

import re

import pytest

from tests.support.paths import ROOT
from tests.tools import draw_prefix
from tests.tools.write_command_line import PAGE, page

PAGES = sorted([ROOT / "README.md", ROOT / "notebooks" / "README.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
FENCE = re.compile(r"^(```+|~~~+).*?^\1", re.MULTILINE | re.DOTALL)


def prose(name):
    """The page without its code blocks."""
    return FENCE.sub("", (ROOT / name).read_text(encoding="utf-8"))


def anchors(path):
    """Of the headings, as GitHub and MyST make them, and of the lines of code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return {f"L{i}" for i, _ in enumerate(text.splitlines(), start=1)}
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)]+)\)", prose(name)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (ROOT / name).parent / path if path else ROOT / name
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), target


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_named_exist(name):
    """`tests/…`, `aimv2_np/…` and `docs/…` in backquotes."""
    for path in re.findall(r"`((?:tests|aimv2_np|docs|notebooks|\.ci|\.github)/[\w./-]*)`", prose(name)):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("name", NAMES)
def test_pictures_have_a_text_in_their_place(name):
    for text, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", prose(name)):
        assert len(text) > 10, target


def test_the_command_line_page_is_what_help_says():
    """`python -m tests.tools.write_command_line` writes it."""
    now = page()
    assert PAGE.read_text(encoding="utf-8") == now, "out of date: python -m tests.tools.write_command_line"


def test_every_page_is_in_the_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = {
        f"docs/{it}.md" for block in re.findall(r"```{toctree}(.*?)```", index, re.DOTALL) for it in block.split()
    }
    pages = {name for name in NAMES if name.startswith("docs/") and not name.startswith("docs/benchmarks/")}
    assert pages - {"docs/index.md"} <= listed  # those are of whatever GPU somebody has, and say that they are orphans


def test_the_drawing_of_the_prefix_is_what_the_view_computes():
    """`python -m tests.tools.draw_prefix` draws it."""
    drawn = draw_prefix.PATH.read_text(encoding="utf-8")
    assert drawn == draw_prefix.drawing()
    cells = re.findall(r'class="cell (\w+)" x="[\d.]+" y="[\d.]+" width="26"', drawn)
    patches, prefix = draw_prefix.PATCHES, draw_prefix.PREFIX
    for n, kind in enumerate(cells):
        i, j = divmod(n, patches)
        assert kind == ("prefix" if j < prefix else "causal" if j <= i else "none")
