"""Without PyTorch the tests of tests/oracle are skipped with a reason; with --require-oracle that is an error."""

import subprocess
import sys

import pytest

from tests.support.paths import ROOT

WITHOUT_PYTORCH = "import sys; sys.modules['torch'] = None; import pytest; sys.exit(pytest.main(sys.argv[1:]))"


@pytest.mark.parametrize(
    ("options", "code", "end"),
    [([], pytest.ExitCode.NO_TESTS_COLLECTED, "1 skipped"), (["--require-oracle"], 2, "1 error")],
)
def test_without_pytorch(options, code, end):
    command = [sys.executable, "-c", WITHOUT_PYTORCH, "-q", "-rs", "-p", "no:cacheprovider", *options]
    done = subprocess.run(
        [*command, "tests/oracle/test_roundtrip.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "pip install -e '.[oracle,test]'" in done.stdout
    assert end in done.stdout.splitlines()[-1]
