"""docs/equations.md and the docstrings name each other, and its numbers are those of the models."""

import ast
import re

import pytest

from aimv2_np import Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.backends.operation import Operation
from aimv2_np.storage.released import RELEASED
from docs.extensions import sources
from tests.support.paths import ROOT
from tests.tools import write_parameters

PAGE = ROOT / "docs" / "equations.md"
TEXT = PAGE.read_text(encoding="utf-8")
NAMED = re.compile(r"docs/equations\.md, \((\d+)\)")


def equations():
    """Number -> {(file, name)} that the paragraph below the equation links to."""
    parts = re.split(r"\\tag\{(\d+)\}", TEXT)
    found = {}
    for number, rest in zip(parts[1::2], parts[2::2], strict=True):
        below = rest.split("$$", 1)[1].strip().split("\n\n")[0]
        found[int(number)] = {(path, name) for name, path in sources.symbols(below)}
    return found


def docstrings():
    """(file, dotted name) -> docstring of all that the package defines."""
    found = {}
    for path in sorted((ROOT / "aimv2_np").rglob("*.py")):
        nodes = [("", ast.parse(path.read_text(encoding="utf-8")))]
        while nodes:
            prefix, node = nodes.pop()
            for child in ast.iter_child_nodes(node):
                if isinstance(child, ast.FunctionDef | ast.ClassDef):
                    found[str(path.relative_to(ROOT)), prefix + child.name] = ast.get_docstring(child) or ""
                    nodes.append((f"{prefix}{child.name}.", child))
    return found


EQUATIONS, DOCSTRINGS = equations(), docstrings()


def test_equations_are_numbered_from_one():
    assert list(EQUATIONS) == list(range(1, len(EQUATIONS) + 1))


@pytest.mark.parametrize("number", EQUATIONS)
def test_an_equation_names_its_code_and_its_test(number):
    assert any(file.startswith("aimv2_np/") for file, _ in EQUATIONS[number])
    assert any(file.startswith("tests/") and name.startswith("test_") for file, name in EQUATIONS[number])


@pytest.mark.parametrize("number", EQUATIONS)
def test_the_code_of_an_equation_names_it(number):
    for file, name in EQUATIONS[number]:
        if file.startswith("aimv2_np/"):
            found = [int(it) for it in NAMED.findall(DOCSTRINGS[file, name])]
            assert number in found, f"the docstring of {name} in {file} should say: See docs/equations.md, ({number})."


def test_the_equation_that_a_docstring_names_names_it():
    for place, text in DOCSTRINGS.items():
        for number in NAMED.findall(text):
            assert place in EQUATIONS[int(number)], f"{place} names equation ({number}), which does not link to it"


def test_every_operation_of_the_layers_has_an_equation():
    """A body that kernels may replace is an equation; a new one says which in its docstring."""
    from importlib import import_module

    for path in sorted((ROOT / "aimv2_np" / "network").glob("*.py")):
        module = import_module(f"aimv2_np.network.{path.stem}")
        for name, value in vars(module).items():
            if isinstance(value, Operation) and value.textbook.__module__ == module.__name__:
                assert NAMED.search(value.textbook.__doc__ or ""), f"{path.stem}.{name} names no equation"


def test_the_symbols_have_the_values_of_the_released_checkpoint():
    """The column "large" is of the checkpoint that has all of it: a picture tower, a text tower, a space of both."""
    config = next(checkpoint for checkpoint in RELEASED if checkpoint.two_towers).config()
    rows = re.findall(r"^\|[^|\n]*\|[^|\n]*\|([^|\n]+)\| `(\w+)` \|$", TEXT, re.MULTILINE)
    said = {name: value.strip() for value, name in rows if value.strip()}
    assert {"hidden_size", "num_hidden_layers", "projection_dim", "vocab_size"} <= set(said)
    for name, value in said.items():
        owner = next(it for it in (config.vision_config, config.text_config, config) if hasattr(it, name))
        number = 10.0 ** int(value.strip("$").removeprefix("10^{").rstrip("}")) if "^" in value else float(value)
        assert getattr(owner, name) == pytest.approx(number), name


def test_the_table_of_parameters():
    """`python -m tests.tools.write_parameters` writes it."""
    assert write_parameters.page(TEXT) == TEXT, "out of date: python -m tests.tools.write_parameters"
    assert write_parameters.table() in TEXT


def test_the_formula_of_the_parameters():
    small = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 2}
    number, with_head = (
        Aimv2VisionModel.skeleton(Aimv2VisionConfig(**small, image_size=28, use_head=head)).num_parameters()
        for head in (False, True)
    )
    p, n, d, f, k = 14, 4, 64, 96, 2
    assert number == 3 * p**2 * d + d + d + n * d + k * (4 * d**2 + 3 * d * f + 2 * d) + d
    assert with_head - number == 3 * d**2 + 2 * d
