"""The drawing of the network names modules, letters and equations that there are, and is on the pages."""

import json
import re
from fnmatch import fnmatch
from xml.etree import ElementTree

import pytest

from docs.extensions.boxes import SIZE
from docs.extensions.network_drawing import DOCS, FOLDER, PARTS, panels, small_model, small_shapes
from tests.docs.test_letters import LETTERS
from tests.support.notebooks import PATHS, source
from tests.tools.draw_network import drawings

PAGE = (DOCS / "equations.md").read_text(encoding="utf-8")
SHOWN = re.compile(r"!\[[^\]]*\]\((?:\.\./docs/)?network/(\w+)\.svg\)")
SVG = "{http://www.w3.org/2000/svg}"
MODULES = dict(small_model().named_modules())
DRAWN = [box for panel in panels() for box in panel.boxes]
BOXES = sorted({(path, number) for path, numbers in DRAWN for number in numbers})
NAMES = sorted({path for path, _ in DRAWN})
# Equations of operations inside of modules, which have no parameters and so name no key.
OPERATIONS = {("scores", 9), ("probs", 8), ("probs", 9), ("ffn", 12), ("0", 16), ("position_embedding", 4)}


def paragraph(number):
    """What stands below an equation."""
    _, _, rest = PAGE.partition(f"\\tag{{{number}}}")
    return rest.split("$$", 1)[1].strip().split("\n\n")[0] if rest else ""


def patterns(text):
    """Of the keys that a paragraph names: `ffn.{gate,up}_proj` is two, and a number of a block any number."""
    for word in re.findall(r"`([^`]+)`", text):
        start, braces, end = re.fullmatch(r"([^{]*)(?:\{(.*)\})?(.*)", word.replace("layers.0", "layers.*")).groups()
        yield from (f"{start}{it}{end}" for it in (braces or "").split(","))


@pytest.mark.parametrize("name", sorted({f"{part}.svg" for part in PARTS} | {path.name for path in FOLDER.iterdir()}))
def test_what_is_stored_is_what_would_be_drawn(name):
    now, path = drawings().get(name), FOLDER / name
    stored = path.read_text(encoding="utf-8") if path.exists() else None
    assert stored == now, f"docs/network/{name} is out of date: python -m tests.tools.draw_network"
    assert len(now) < 60_000


@pytest.mark.parametrize("path", NAMES)
def test_a_box_is_a_module_a_key_or_what_the_model_computes(path):
    assert path in {*MODULES, *small_shapes().held, *small_shapes().computed}


@pytest.mark.parametrize(("path", "number"), BOXES)
def test_the_equation_of_a_box_names_it(path, number):
    """Its class or its key."""
    text = paragraph(number)
    assert text, f"docs/equations.md has no equation ({number})"
    kind = type(MODULES[path]).__name__ if path in MODULES else None
    keys = [it for it in patterns(text) if fnmatch(path, f"*.{it}") or fnmatch(path, it) or path.endswith(f".{it}")]
    operation = (path.rpartition(".")[2], number) in OPERATIONS
    assert keys or kind in re.findall(r"`(\w+)`", text) or operation, text


def test_every_kind_of_module_is_drawn():
    """A layer that is new in the network has no box yet."""
    drawn = {type(MODULES[path]) for path in NAMES if path in MODULES}
    kinds = {type(module) for path, module in MODULES.items() if path} - {type(MODULES["vision_model.encoder"])}
    assert kinds == drawn


def test_every_weight_of_the_vision_tower_and_outside_the_blocks_of_the_other_has_a_box():
    held = {re.sub(r"\.(weight|bias)$", "", key) for key in small_shapes().held}
    assert {it for it in held if not it.startswith("text_model.encoder.")} <= set(NAMES)


@pytest.mark.parametrize("part", [part for part in PARTS if part != "whole"])
def test_what_is_lit_is_there_and_something_is_pale(part):
    for path in PARTS[part]:
        assert any(name == path or name.startswith(f"{path}.") or path.startswith(f"{name}.") for name in NAMES), path
    text = "".join(drawn for panel in panels(part) for drawn in panel.parts)
    assert 'class="b lit"' in text
    assert ' pale"' in text


def test_letters_are_those_of_the_table():
    words = [it.text for it in ElementTree.fromstring(drawings()["whole.svg"]).iter(f"{SVG}text")]
    shapes = [shape for it in words for shape in re.findall(r"\(([^()]*)\)", it) if not shape.isdigit()]
    assert len(shapes) > 40
    assert {letter for shape in shapes for letter in re.findall(r"\b[A-Z]\b", shape)} <= set(LETTERS)


def test_text_is_nine_points_and_fits_its_box():
    """Letters of a monospaced font are 0.6 of its size wide; of the others 0.53 on average."""
    assert SIZE * 72 / 96 >= 9
    for group in ElementTree.fromstring(drawings()["whole.svg"]).iter(f"{SVG}g"):
        if group.get("class") in ("b", "s"):
            width = float(group.findall(f"{SVG}rect")[-1].get("width"))
            texts = group.findall(f"{SVG}text")
            name = sum(len(it.text) for it in texts if it.get("class") == "n")
            note = sum(len(it.text) for it in texts if it.get("class") != "n")
            assert 6 + 0.6 * SIZE * name <= width, texts[0].text
            assert 12 + 0.53 * SIZE * note <= width, texts[0].text


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_notebook_opens_with_it_and_a_part_is_lit(path):
    first = source(json.loads(path.read_text(encoding="utf-8"))["cells"][0])
    (part,) = SHOWN.findall(first)
    assert part in set(PARTS) - {"whole"}


def test_the_page_of_equations_shows_it_whole_and_at_each_of_its_sections_with_that_lit():
    before, *sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    assert SHOWN.findall(before) == ["whole"]
    assert {section.splitlines()[0]: SHOWN.findall(section) for section in sections} == {
        "Symbols": [],
        "The vision tower": ["vision"],
        "The text tower": ["text"],
        "Pictures and texts together": ["together"],
        "Derivatives": [],
        "Pre-training": [],
        "One step of training": [],
        "Probes": [],
        "How many parameters": [],
    }
