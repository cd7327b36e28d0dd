"""Without what the tests need one sentence says what to install, in place of a traceback."""

import os
import subprocess
import sys
import tomllib

import pytest

from tests.conftest import NEEDED
from tests.support.paths import ROOT

# None in sys.modules is how Python blocks an import.
WITHOUT = "import sys; sys.modules.update(dict.fromkeys(sys.argv[1:])); import pytest; pytest.main(['tests/cli'])"


@pytest.mark.parametrize("names", [*([name] for name in NEEDED), list(NEEDED)], ids=" ".join)
def test_one_sentence_says_what_to_install(names):
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # some of them bring plugins for pytest
    command = [sys.executable, "-c", WITHOUT, *names]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"error: {', '.join(names)} not installed; the tests need them: pip install -e '.[test]'\n"
    assert not done.stdout


def test_what_is_needed_is_the_extra():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {line.split(">=")[0] for line in project["optional-dependencies"]["test"]}
    assert {name for name in names if not name.startswith("pytest")} == set(NEEDED)
