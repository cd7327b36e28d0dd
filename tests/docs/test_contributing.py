"""The commands that docs/contributing.md and the gate give people are there, and call what is there."""

import re
import shlex
import subprocess
import tomllib
from importlib.util import find_spec

import pytest

from aimv2_np import __version__
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ENVIRONMENTS = PROJECT["tool"]["hatch"]["envs"]
PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
GATE = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def scripts(name):
    """Script -> its commands, other scripts' names put in place of theirs."""
    found = {key: [it] if isinstance(it, str) else it for key, it in ENVIRONMENTS[name]["scripts"].items()}
    return {key: [line for it in lines for line in found.get(it, [it])] for key, lines in found.items()}


def test_commands_of_the_page_are_scripts():
    named = re.findall(r"hatch run (?:(\w+):)?([\w-]+)", PAGE)
    assert len(named) > 10
    assert {(environment or "default", script) for environment, script in named} == {
        (name, script) for name in ENVIRONMENTS for script in scripts(name)
    }


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_what_scripts_call_is_there(name):
    for line in (line for lines in scripts(name).values() for line in lines):
        words = shlex.split(line.replace("{args}", ""))
        modules = [words[i + 1] for i, word in enumerate(words) if word in ("-m", "-p") and "." in words[i + 1]]
        assert all(find_spec(module) for module in modules), line
        paths = [word for word in words if word.startswith(("tests/", "docs/"))]
        assert all((ROOT / path).exists() for path in paths), line


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environments_ask_for_extras_that_are_there(name):
    assert set(ENVIRONMENTS[name]["features"]) <= set(PROJECT["project"]["optional-dependencies"])


def test_each_environment_has_a_folder_of_its_own():
    """hatch lets an environment inherit what it does not say, the folder too; git ignores `.venv*`."""
    paths = [environment["path"] for environment in ENVIRONMENTS.values()]
    assert len(set(paths)) == len(paths)
    assert all(path.startswith(".venv") for path in paths)


def test_everything_that_a_tool_writes_is_refreshed():
    """A new `write_` or `record_` tool has to be called by one of the scripts."""
    called = " ".join(line for name in ENVIRONMENTS for lines in scripts(name).values() for line in lines)
    tools = [path.stem for path in (ROOT / "tests" / "tools").glob("*.py")]
    generators = [it for it in tools if it.startswith(("write_", "record_", "draw_"))]
    assert len(generators) > 5
    assert not [it for it in generators if f"tests.tools.{it}" not in called]


def test_the_page_for_the_repositorys_host_leads_to_this_one():
    text = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((.+?)\)", text)
    assert "../docs/contributing.md" in targets
    assert all((ROOT / ".github" / target).exists() for target in targets)


def test_the_gate_finds_readmes_commands():
    for words in re.findall(r"readme_command '(.+?)'", GATE):
        lines = [line for line in README.splitlines() if words in line]
        assert lines
        assert lines[0].startswith("python3 -m venv .venv && ")


def test_the_gates_scripts_and_steps_are_there():
    for name, script in re.findall(r"^  run (\w+) ([\w-]+)$", GATE, re.MULTILINE):
        assert script in scripts(name)
    done = subprocess.run([ROOT / ".ci" / "run", "nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    steps = done.stderr.partition("expected one of: ")[2].split()
    assert steps[0] == "lint"
    assert all(f"\n{step}() {{\n" in GATE for step in steps)
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    run = re.findall(r"\.ci/run (\w+)$|steps: ([\w ]+)\}", workflow, re.MULTILINE)
    assert {step for words in run for step in " ".join(words).split()} == set(steps)
    assert sum("oracle" in " ".join(words) for words in run) == 1


def test_one_version_everywhere():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.MULTILINE)[1] == __version__
    assert f"version {__version__}." in README
