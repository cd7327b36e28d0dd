import json

from click.testing import CliRunner, Result

from aimv2_np import load
from aimv2_np.cli.app import app
from tests.support.paths import FIXTURES


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


def test_convert(tmp_path):
    result = run(FIXTURES / "apple-lit", tmp_path / "out", "--layout", "transformers")
    assert result.exit_code == 0
    assert result.stdout == f"{tmp_path / 'out'}: 52 tensors in the layout transformers (was apple), float32, 158 kB\n"
    assert load(tmp_path / "out").num_parameters() == load(FIXTURES / "apple-lit").num_parameters()


def test_json_and_dtype(tmp_path):
    result = run(FIXTURES / "timm", tmp_path / "out", "--layout", "flax", "--dtype", "bfloat16", "--json")
    value = json.loads(result.stdout)
    assert value["before"] == "timm"
    assert value["after"] == "flax"
    assert value["dtype"] == "bfloat16"
    assert value["tensors"] == 21
    assert value["folder"] == str(tmp_path / "out")


def test_overwriting_has_to_be_asked_for(tmp_path):
    arguments = (FIXTURES / "timm", tmp_path / "out", "--layout", "apple")
    assert run(*arguments).exit_code == 0
    result = run(*arguments)
    assert result.exit_code == 1
    assert "exists already" in result.stderr
    assert run(*arguments, "--force").exit_code == 0
    assert run(*arguments, "--overwrite").exit_code == 0


def test_errors_are_one_line(tmp_path):
    result = run(FIXTURES / "apple-native", tmp_path / "out", "--layout", "timm")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: timm's layout has no text tower")
    assert result.stderr.count("\n") == 1
    assert run(FIXTURES / "timm", tmp_path / "out").exit_code == 2
    assert run(FIXTURES / "timm", tmp_path / "out", "--layout", "keras").exit_code == 2
