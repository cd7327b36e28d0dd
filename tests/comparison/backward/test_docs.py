"""docs/compare.md says of gradients what is true."""

import re
from pathlib import Path

from aimv2_np.comparison.diagnosis.backward.advice import CHANGES

PAGE = (Path(__file__).parents[3] / "docs" / "compare.md").read_text("utf-8")
SECTION = PAGE.partition("## Gradients\n")[2].partition("\n## ")[0]


def test_the_example_prints_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, written = (re.search(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)[1] for language in ("python", "text"))
    exec(compile(code, "docs/compare.md", "exec"), {})
    assert capsys.readouterr().out == written


def test_every_cause_is_listed():
    listed = set(re.findall(r"`(\w+)`", "".join(line for line in SECTION.splitlines() if line.startswith("| `"))))
    assert set(CHANGES) <= listed
