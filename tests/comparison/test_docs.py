"""docs/golden.md and docs/verify.md say what is true."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / name).read_text(), re.DOTALL)


def test_the_example_prints_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(compile(blocks("golden.md", "python")[0], "docs/golden.md", "exec"), {})
    printed, written = capsys.readouterr().out.split(), blocks("golden.md", "text")[0].split()
    assert len(printed) == len(written)
    for one, other in zip(printed, written, strict=True):
        if "." in other and other.replace(".", "").isdigit():
            # Pictures are drawn with Pillow, whose versions may differ by a grey level.
            assert float(one) == pytest.approx(float(other), rel=1e-2)
        else:
            assert one == other


def test_the_adapters_are_those_of_the_page():
    from aimv2_np.recording import adapters

    code = blocks("golden.md", "python")[1]
    compile(code, "docs/golden.md", "exec")
    assert set(re.findall(r"record_\w+", code)) == set(adapters.__all__)


def test_the_example_workflow_fits_the_action():
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load(blocks("verify.md", "yaml")[0])
    action = yaml.safe_load((DOCS.parent / ".github" / "actions" / "verify" / "action.yml").read_text())
    steps = [step for step in workflow["jobs"]["golden"]["steps"] if "actions/verify" in step.get("uses", "")]
    assert len(steps) == 1
    assert set(steps[0]["with"]) <= set(action["inputs"])


@pytest.mark.parametrize("name", ["golden.md", "verify.md"])
def test_options_of_the_command_line_exist(name):
    import click

    from aimv2_np.cli.app import app

    context = click.Context(app)
    for command in re.findall(r"^aimv2-np (\w+)(.*)$", "\n".join(blocks(name, "sh")), re.MULTILINE):
        known = {option for p in app.get_command(context, command[0]).params for option in p.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z-]+", command[1])) <= known
