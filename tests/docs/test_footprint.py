"""What the pages say of sizes is what was measured, and the Dockerfile copies files that are there."""

import json
import re

import pytest

from aimv2_np.cli.output import bytes_of
from tests.support.paths import ROOT
from tests.tools.run_dockerfile import INSTRUCTIONS, instructions

FOUND = json.loads((ROOT / "docs" / "footprint.json").read_text(encoding="utf-8"))
OURS, THEIRS = (FOUND["environments"][name]["bytes"] for name in ("aimv2_np", "Transformers"))
BASE = FOUND["base"]["bytes"]
SIZES = {
    "README.md": [f"| {bytes_of(OURS)} |", f"| {bytes_of(THEIRS)} |"],
    "docs/start.md": [bytes_of(OURS)],
    "docs/index.md": [bytes_of(OURS)],
    "docs/container.md": [f"| {bytes_of(it)} | {bytes_of(BASE + it)} |" for it in (OURS, THEIRS)]
    + [FOUND["base"]["name"]],
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_those_that_were_measured(name):
    """`python -m tests.benchmarks.measure_footprint --write` measures them."""
    text = (ROOT / name).read_text(encoding="utf-8")
    for size in SIZES[name]:
        assert size in text, f"{name} lacks {size!r}: python -m tests.benchmarks.measure_footprint --write"


def test_what_was_measured_is_what_the_pages_say_it_is():
    ours, theirs = (set(FOUND["environments"][name]["packages"]) for name in ("aimv2_np", "Transformers"))
    assert {"torch", "transformers"} <= theirs
    assert not {"torch", "transformers"} & ours
    assert "+cpu" in FOUND["environments"]["Transformers"]["packages"]["torch"]


def test_the_dockerfile():
    """`python -m tests.tools.run_dockerfile` runs it; here, what can be told without installing anything."""
    steps = instructions()
    assert {word for word, _ in steps} <= set(INSTRUCTIONS)
    for word, arguments in steps:
        if word == "COPY":
            assert all((ROOT / source).exists() for source in arguments.split()[:-1])
    copied = {source for word, arguments in steps if word == "COPY" for source in arguments.split()[:-1]}
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = re.findall(r'^(?:readme = |license-files = \[|packages = \[)"([^"]+)"', project, re.MULTILINE)
    assert {"pyproject.toml", *needed} <= copied
