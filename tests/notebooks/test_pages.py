"""Every notebook is a page to read: it says what for, shows its assertions, and ends with exercises."""

import json
import re
from fnmatch import fnmatch

import pytest

from tests.support.notebooks import FOLDER, METADATA, OPEN_EXERCISE, PATHS, SOLUTION, number, outputs, solutions, source
from tests.support.paths import ROOT

NOTEBOOKS = {path.name: json.loads(path.read_text(encoding="utf-8")) for path in PATHS}
LABELLED = re.compile(r"(set_x|supx|[(, ]x)label\b")
EXERCISE = re.compile(r"^\*\*Exercise (\d+)\.?\*\*", re.MULTILINE)

pytestmark = pytest.mark.parametrize("name", NOTEBOOKS)


def cells(name, kind):
    return [cell for cell in NOTEBOOKS[name]["cells"] if cell["cell_type"] == kind]


def prose(name):
    return "\n\n".join(source(cell) for cell in cells(name, "markdown"))


def test_opens_with_what_the_reader_will_be_able_to_do(name):
    first = NOTEBOOKS[name]["cells"][0]
    assert first["cell_type"] == "markdown"
    assert re.match(rf"# {number(name)}\. \S", source(first))
    assert "you will be able to" in " ".join(source(first).split())


def test_ends_with_three_to_five_exercises_each_with_a_folded_solution(name):
    numbers = EXERCISE.findall(prose(name))
    assert numbers == [str(i + 1) for i in range(len(numbers))]
    assert 3 <= len(numbers) <= 5
    assert len(solutions(NOTEBOOKS[name])) == len(numbers)
    heading = prose(name).index("\n## Exercises")
    assert all(match.start() > heading for match in EXERCISE.finditer(prose(name)))
    assert NOTEBOOKS[name]["cells"][-1]["cell_type"] == "markdown"


def test_one_exercise_is_open_and_says_the_number_that_comes_out(name):
    last = source(NOTEBOOKS[name]["cells"][-1])
    (found,) = OPEN_EXERCISE.finditer(last)
    assert re.match(r"\d", found.group(1))
    assert last.rindex("**Exercise ") < found.start() < last.index("<details>")


def test_solutions_are_folded_away_and_check_themselves(name):
    for folded in SOLUTION.findall(prose(name)):
        # The empty line lets Markdown inside the HTML be read as such.
        assert re.match(r"\s*<summary>[^<]+</summary>\n\n", folded)
    for code in solutions(NOTEBOOKS[name]):
        assert "assert" in code


def test_checks_what_it_claims(name):
    code = [source(cell) for cell in cells(name, "code")]
    assert sum("assert" in text for text in code) >= 4


def test_figures_have_labelled_axes_and_a_text_in_their_place(name):
    code = cells(name, "code")
    figures = [cell for cell in code if any("image/png" in kind for kind, _ in outputs(cell))]
    assert figures
    helpers = [
        word for cell in code if LABELLED.search(source(cell)) for word in re.findall(r"^def (\w+)", source(cell))
    ]
    for cell in figures:
        drawn_by = [word for word in helpers if f"{word}(" in source(cell)]
        assert LABELLED.search(source(cell)) or drawn_by, source(cell)
        assert len(cell["metadata"]["mystnb"]["image"]["alt"]) > 20, source(cell)


def test_text_in_figures_is_nine_points_or_more_as_it_is_shown(name):
    """A browser shows a pixel of the figure as one of its own, of which there are 96 to an inch."""
    code = "\n".join(source(cell) for cell in cells(name, "code"))
    (dpi,) = re.findall(r'"figure\.dpi": (\d+)', code)
    sizes = re.findall(r'(?:fontsize=|"font\.size": |titlesize": |labelsize=)([\d.]+)', code)
    assert "font.size" in code
    assert min(map(float, sizes)) * float(dpi) / 96 >= 9


def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)]+)\)", prose(name)):
        assert re.match("https?:", target) or (FOLDER / target.partition("#")[0]).exists(), target


def test_files_that_are_named_exist(name):
    for path in re.findall(r"`((?:tests|aimv2_np|docs|notebooks)/[\w./-]*)`", prose(name)):
        assert (ROOT / path).exists(), path


def test_holds_nothing_of_the_machine_that_ran_it(name):
    notebook = NOTEBOOKS[name]
    assert notebook["metadata"] == METADATA
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"tags", "mystnb"}
    texts = [text for cell in cells(name, "code") for _, text in outputs(cell)]
    assert not re.search(r"(^|[\s'\"(])(/(tmp|home|root|usr|work|Users)/|[A-Z]:\\)", "\n".join(texts))


def test_is_small(name):
    """A repository's web page shows no larger ones."""
    assert (FOLDER / name).stat().st_size < 500_000


def test_is_listed_on_the_same_track_everywhere(name):
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    (track,) = [part for part in re.split("^## ", listed, flags=re.MULTILINE) if f"]({name})" in part]
    who = re.match(r"An? (\w+)'s track", track).group(1)
    menus = re.findall(
        r":caption: Notebooks for (\w+)s\n(.*?)```", (ROOT / "docs" / "index.md").read_text(encoding="utf-8"), re.DOTALL
    )
    (shown,) = [caption for caption, lines in menus if any(fnmatch(f"notebooks/{name}", it) for it in lines.split())]
    assert shown == who
