from unittest.mock import patch

from click.testing import CliRunner, Result

from aimv2_np.cli.app import app
from aimv2_np.data import tiny_model_path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["export", *map(str, arguments)])


def test_without_onnx_one_sentence_says_what_to_install(tmp_path):
    with patch("aimv2_np.export.onnx.find_spec", lambda name: None):
        result = run(tiny_model_path(), "-o", tmp_path / "m.onnx")
    assert result.exit_code == 1
    assert result.stderr.endswith("error: exporting needs onnx, which is not installed: pip install 'aimv2-np[onnx]'\n")
    assert not list(tmp_path.iterdir())


def test_wrong_sizes_and_places(tmp_path):
    for size in ("big", "0", "10x", "1x2x3"):
        result = run(tiny_model_path(), "-o", tmp_path / "m.onnx", "--size", size)
        assert result.exit_code == 2
        assert f"{size!r}; expected pixels, 224, or height and width, 224x448" in result.stderr
    result = run(tiny_model_path(), "-o", tmp_path / "nowhere" / "m.onnx")
    assert result.exit_code == 1
    assert "there is no folder" in result.stderr
