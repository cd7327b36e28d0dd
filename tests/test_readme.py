"""The README keeps its promises: its Python runs and says what it says, its commands and links exist."""

import json
import re

import pytest
from click.testing import CliRunner

from aimv2_np.cli.app import app
from tests.benchmarks.readme import filled
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_example_runs_and_prints_what_its_comments_say(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    said = re.findall(r"^print\(.*\)  # (.*)$", code, re.MULTILINE)
    assert capsys.readouterr().out.splitlines() == said
    assert len(said) == 2


@pytest.mark.parametrize("line", re.findall(r"^(?:.*/)?aimv2-np (\w.*)$", README, re.MULTILINE))
def test_commands_are_there(line):
    result = CliRunner().invoke(app, [line.split()[0], "--help"])
    assert result.exit_code == 0
    assert set(re.findall(r"--\w[\w-]*", line.split("#")[0])) <= set(re.findall(r"--\w[\w-]*", result.output))


@pytest.mark.parametrize(
    "path", re.findall(r"\]\((?!https?:)([^)#]+)\)", README) + re.findall(r"`(tests/[\w/.]+)`", README)
)
def test_what_is_linked_is_there(path):
    assert (ROOT / path).exists()


def test_it_fits_two_screens():
    """Some sixty lines each, at the width and size that a repository's web page has."""
    assert len(README.splitlines()) <= 120


def test_the_figures_are_those_that_were_measured():
    """README's lines about speed against docs/performance.json, from which compare_peers writes them."""
    runs = json.loads((ROOT / "docs" / "performance.json").read_text(encoding="utf-8"))["runs"]
    assert filled(README, runs) == README
