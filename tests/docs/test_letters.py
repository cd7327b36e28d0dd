"""Each capital letter has one use: on the page of equations, in the notebooks, and in the shapes of arrays."""

import ast
import json
import re

import pytest

from tests.support.notebooks import PATHS, solutions, source
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## Symbols")[2].partition("\n## ")[0]
ROWS = re.findall(r"^\| (.+?) \|(.+?)\|[^|\n]*\|[^|\n]*\|$", TABLE, re.MULTILINE)
LETTERS = {letter: meaning for symbols, meaning in ROWS for letter in re.findall(r"(?<![\w\\])([A-Z])\b", symbols)}
# The settings of a configuration that a letter stands for: `D` is hidden_size, and nothing else is.
SETTINGS = {
    name: re.findall(r"\$([A-Z])\$", symbols)[0]
    for symbols, name in re.findall(r"^\| (\$[A-Z]\$) .*\| `(\w+)` \|$", PAGE, re.MULTILINE)
}
NOTEBOOKS = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in PATHS}
WORDS = r"\\(?:math\w+|text\w*|operatorname)\{[^}]*\}|\\[a-zA-Z]+"  # what stands in formulas and is no letter


def markdown(notebook):
    texts = [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    return re.sub(r"```.*?```", "", "\n\n".join(texts), flags=re.DOTALL)


def code(notebook):
    return [source(cell) for cell in notebook["cells"] if cell["cell_type"] == "code"] + solutions(notebook)


def formulas(text):
    return re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+(?:\n[^$\n]+)?)\$", text, re.DOTALL)


def letters_of(text):
    """The capital letters that stand alone, in formulas also side by side: of 4ND², N and D."""
    bare = re.sub(WORDS, " ", text)
    return {letter for run in re.findall(r"(?<![a-z_{])[A-Z]+(?![a-z])", bare) for letter in run}


def test_the_table_has_one_row_for_each_letter():
    named = [letter for symbols, _ in ROWS for letter in re.findall(r"(?<![\w\\])([A-Z])\b", symbols)]
    assert sorted(named) == sorted(set(named))
    assert {"B", "D", "E", "F", "H", "K", "L", "N", "P", "T"} <= set(named)
    assert {"hidden_size": "D", "num_attention_heads": "H", "num_hidden_layers": "K"}.items() <= SETTINGS.items()


def test_the_page_of_equations_uses_the_letters_of_its_table():
    used = set().union(*(letters_of(display or inline) for display, inline in formulas(PAGE)))
    assert used <= set(LETTERS), used - set(LETTERS)


def test_the_shapes_of_arrays_use_these_letters():
    unknown = {}
    for path in (ROOT / "aimv2_np").rglob("*.py"):
        for shape in re.findall(r'\b(?:Float|Int|Bool)\[\w+, "([^"]*)"\]', path.read_text(encoding="utf-8")):
            for letter in re.findall(r"\b[A-Z]\b", shape):
                if letter not in LETTERS:
                    unknown[letter] = path.name
    assert unknown == {}


def test_the_module_of_shapes_lists_letters_of_the_table():
    text = ast.get_docstring(ast.parse((ROOT / "aimv2_np" / "shapes.py").read_text(encoding="utf-8")))
    listed = re.findall(r"(?:^    |   )([A-Z]) ", text, re.MULTILINE)
    assert {"B", "N", "D", "H"} <= set(listed) <= set(LETTERS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_formulas_of_a_notebook_use_these_letters(name):
    used = set().union(*(letters_of(one or other) for one, other in formulas(markdown(NOTEBOOKS[name]))), set())
    assert used <= set(LETTERS), used - set(LETTERS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_variables_of_a_notebook_are_these_letters(name):
    for text in code(NOTEBOOKS[name]):
        names = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
        stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
        assert {it for it in stored if re.fullmatch("[A-Z]", it)} <= set(LETTERS), text
        shapes = [
            shape for comment in re.findall(r"#.*", text) for shape in re.findall(r"\(([^()]*,[^()]*)\)", comment)
        ]
        assert {it for shape in shapes for it in re.findall(r"\b[A-Z]\b", shape)} <= set(LETTERS), shapes


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_letter_that_is_taken_from_a_configuration_is_that_settings_letter(name):
    for text in code(NOTEBOOKS[name]):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Assign):
                for letter, setting in pairs(node.targets[0], node.value):
                    assert SETTINGS.get(setting, letter) == letter, ast.unparse(node)
        for letter, setting in re.findall(r"\b([A-Z]) \{[\w.]*\.(\w+)\}", text):  # in a printed line
            assert SETTINGS[setting] == letter


def pairs(target, value):
    """(letter, setting) of `D, P = config.hidden_size, config.patch_size`, and of a single one."""
    several = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
    for name, it in zip(target.elts, value.elts, strict=True) if several else [(target, value)]:
        if isinstance(name, ast.Name) and re.fullmatch("[A-Z]", name.id) and isinstance(it, ast.Attribute):
            yield name.id, it.attr


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_what_a_notebook_counts_with_a_letter_is_what_the_table_says(name):
    """ "$H = 4$ heads", "$K$ blocks", "$B$ pictures": the word is in the letter's row."""
    words = ("blocks", "heads", "pictures", "texts", "colours", "patches", "tokens", "captions")
    for letter, word in re.findall(r"\$([A-Z])(?: = [^$]*)?\$ (\w+)", markdown(NOTEBOOKS[name])):
        if word in words:
            assert word in LETTERS[letter], f"${letter}$ {word}; the table has {LETTERS[letter]}"
