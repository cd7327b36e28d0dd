import pytest
from click.testing import CliRunner

onnx = pytest.importorskip("onnx", reason="pip install onnx onnxruntime")

from aimv2_np.cli.app import app  # noqa: E402
from aimv2_np.data import tiny_model_path  # noqa: E402
from tests.support.models import vision_model  # noqa: E402


def run(*arguments):
    result = CliRunner().invoke(app, ["export", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return result


def names(path):
    graph = onnx.load(str(path)).graph
    return [value.name for value in graph.input], [value.name for value in graph.output]


def shape(path):
    return [d.dim_param or d.dim_value for d in onnx.load(str(path)).graph.input[0].type.tensor_type.shape.dim]


def test_both_towers(tmp_path):
    path = tmp_path / "m.onnx"
    result = run(tiny_model_path(), "-o", path)
    assert result.stdout == f"{path}: 5.28 MB\n"
    assert names(path) == (
        ["pixel_values", "input_ids", "attention_mask"],
        ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"],
    )
    assert "--force" in CliRunner().invoke(app, ["export", str(tiny_model_path()), "-o", str(path)]).stderr
    run(tiny_model_path(), "-o", path, "--force", "--tower", "text")
    assert names(path)[0] == ["input_ids", "attention_mask"]


def test_options(tmp_path):
    path = tmp_path / "m.onnx"
    run(tiny_model_path(), "--output", path, "--tower", "vision", "--preprocess", "--outputs", "*.layers.3")
    assert names(path) == (
        ["images"], ["image_embeds", "last_hidden_state", "pooler_output", "vision_model.encoder.layers.3"]
    )  # fmt: skip
    run(tiny_model_path(), "-o", path, "--tower", "vision", "--size", "80x64", "--dtype", "float16", "--overwrite")
    assert shape(path) == ["batch", 3, 80, 64]
    vision_model(is_native=True).save_pretrained(tmp_path / "native")
    run(tmp_path / "native", "-o", path, "--dynamic", "--force", "--no-final-norm")
    assert shape(path) == ["batch", 3, "height", "width"]


def test_int8(tmp_path):
    path = tmp_path / "m.onnx"
    written, loss = run(tiny_model_path(), "-o", path, "--int8", "--tower", "vision").stdout.splitlines()
    assert written.startswith(f"{path}: 1.")
    assert loss.startswith("cosine 0.999")
    assert "(image_embeds); worst layers vision_model.encoder.layers." in loss
    result = run(tiny_model_path(), "-o", path, "--force", "--int8", "--no-loss", "--tower", "text")
    assert len(result.stdout.splitlines()) == 1
    wrong = ["export", str(tiny_model_path()), "-o", str(path), "--force", "--int8", "--dtype", "float16"]
    assert "dtype is 'float16' with int8; expected float32" in CliRunner().invoke(app, wrong).stderr
