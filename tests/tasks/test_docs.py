"""docs/embedding.md says what is true."""

import re

import click
import pytest

from aimv2_np.cli.app import app
from aimv2_np.tasks import embed
from aimv2_np.tasks.embedding.feature_file import ARRAYS
from aimv2_np.tasks.embedding.kinds import KINDS
from aimv2_np.tasks.embedding.stored import STORES
from tests.support.paths import ROOT
from tests.support.shapes import draw_shapes

PAGE = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    draw_shapes(tmp_path / "shapes", 2)
    embed(["shapes"], "features.safetensors")
    exec(compile(PYTHON[0], "docs/embedding.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("(16, 64) shapes/")
    assert len(lines) == 4


def test_the_sketches_are_python():
    for block in PYTHON:
        compile(block, "docs/embedding.md", "exec")


COMMANDS = ["embed", "search", "duplicates"]


@pytest.mark.parametrize("command", COMMANDS)
def test_options_exist(command):
    known = {option for p in app.get_command(click.Context(app), command).params for option in p.opts}
    for line in re.findall(rf"^aimv2-np {command}(.*)$", PAGE, re.MULTILINE):
        assert set(re.findall(r"(?<!\S)--?[a-z-]+", line)) <= known


def test_every_option_of_the_page_is_one_of_these_commands():
    commands = [app.get_command(click.Context(app), name) for name in COMMANDS]
    known = {option for command in commands for p in command.params for option in p.opts}
    assert set(re.findall(r"`(--[a-z-]+)", PAGE)) <= known


def test_the_tables_are_complete():
    assert set(KINDS) <= set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert set(STORES) <= set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert set(ARRAYS) <= set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
