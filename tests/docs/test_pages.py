"""What the pages say of this repository is so: paths, links, numbers and commands."""

import re

import pytest

from aimv2_np import Aimv2TextConfig, Aimv2TextModel, Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.bench.flops import products, total_flops
from aimv2_np.bench.models import configuration
from tests.support.paths import ROOT
from tests.tools.write_command_line import PAGE, page

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
FENCE = re.compile(r"^(```+|~~~+).*?^\1", re.MULTILINE | re.DOTALL)


def prose(name):
    """The page without its code blocks."""
    return FENCE.sub("", (ROOT / name).read_text(encoding="utf-8"))


def anchors(text):
    """Of the headings, as GitHub and MyST make them."""
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
            assert anchor in anchors(there.read_text(encoding="utf-8")), target


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
    assert PAGE.read_text(encoding="utf-8") == page()


def test_every_page_is_in_the_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = {
        f"docs/{it}.md" for block in re.findall(r"```{toctree}(.*?)```", index, re.DOTALL) for it in block.split()
    }
    pages = {name for name in NAMES if name.startswith("docs/") and not name.startswith("docs/benchmarks/")}
    assert pages - {"docs/index.md"} <= listed  # those are of whatever GPU somebody has, and say that they are orphans


def test_parameters_and_operations_of_the_released_sizes():
    text = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
    for size in ("large", "huge", "1B", "3B"):
        config = configuration(f"{size}-224")
        number = Aimv2VisionModel.skeleton(config).num_parameters()
        gflop = total_flops(products(config, {"kind": "pictures", "height": 224, "width": 224}, 1)) / 1e9
        shape = (config.num_hidden_layers, config.hidden_size, config.intermediate_size, config.num_attention_heads)
        cells = [size, *map(str, shape), f"{number:,}", f"{gflop:,.0f}"]
        assert f"| {' | '.join(cells)} |" in text


def test_parameters_of_the_head_and_of_the_text_tower():
    small = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1, "num_attention_heads": 2}
    with_head, without = (
        Aimv2VisionModel.skeleton(Aimv2VisionConfig(**small, use_head=head)).num_parameters() for head in (True, False)
    )
    assert with_head - without == 3 * 64**2 + 2 * 64
    text = Aimv2TextModel.skeleton(Aimv2TextConfig())
    assert round(text.num_parameters() / 1e6) == 123
    assert round(49408 * 768 / 1e6) == 38
