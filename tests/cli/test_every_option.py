"""Every option of every command is given in a test: an option that nobody tries can stop working unseen."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from aimv2_np.cli import app

TESTS = Path(__file__).parents[1]


def options(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    """The long options of a command and of those below it, each with the command: `("aimv2-np knn", "--model")`."""
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            yield from ((path, name) for name in parameter.opts + parameter.secondary_opts if name.startswith("--"))
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from options(child, f"{path} {name}")


def test_every_option_is_given_in_a_test():
    """It stands in a test file, as it is typed; the positive half of `--loss/--no-loss` too."""
    files = [path for path in sorted(TESTS.rglob("test_*.py")) if path != Path(__file__)]
    given = set(re.findall(r"--[a-z][\w-]*", "\n".join(path.read_text(encoding="utf-8") for path in files)))
    found = list(options(app.app, "aimv2-np"))
    assert len(found) > 30
    missing = [f"{path} {name}" for path, name in found if name not in given]
    assert not missing, f"no test gives {', '.join(missing)}; write one in tests/cli, of the file of that command"
