import pytest

from aimv2_np.comparison.verify import verify_against_transformers, verify_embedded
from aimv2_np.recording import Recording
from tests.support.hub_server import redirect, serve
from tests.support.two_towers import behind, save_image_processor, save_two_towers, save_vision_tower
from tests.tools.record_embedded_golden import make


def test_the_tool_that_records_the_golden(tmp_path):
    from aimv2_np.data import tiny_golden_path, tiny_model_path

    recording = make(tiny_model_path(), tmp_path / "golden.safetensors")
    assert recording.order == Recording.load(tiny_golden_path()).order
    assert set(recording.inputs) == {"pixel_values", "input_ids", "attention_mask"}
    assert verify_embedded(golden=tmp_path / "golden.safetensors").comparison.equal


@pytest.mark.parametrize("kind", ["both", "vision", "native"])
def test_live_against_transformers(tmp_path, kind):
    changes = {"image_size": 16, "patch_size": 8}
    if kind == "both":
        save_two_towers(tmp_path / "model", **changes)
    else:
        save_vision_tower(tmp_path / "model", **changes, is_native=kind == "native", use_head=kind == "vision")
    (tmp_path / "model" / "preprocessor_config.json").unlink()
    save_square_processor(tmp_path / "model", native=kind == "native")
    result = verify_against_transformers(tmp_path / "model")
    assert result.comparison.equal, result.comparison.explanation
    missing = {path.rpartition(".")[2] for path in result.comparison.missing}
    assert missing <= {"position_embedding"}  # native positions are a function there
    assert {"torch", "transformers"} <= set(result.there)


@pytest.mark.parametrize(("kind", "prefixes"), [("both", ("student", "teacher")), ("vision", ("model.tower",))])
def test_what_transformers_does_not_read_is_written_for_it(tmp_path, kind, prefixes):
    save = save_two_towers if kind == "both" else save_vision_tower
    folder = save(tmp_path / "model", image_size=16, patch_size=8)
    (folder / "preprocessor_config.json").unlink()
    save_square_processor(folder, native=False)
    behind(folder, *prefixes)
    result = verify_against_transformers(folder, prefix=prefixes[-1])
    assert result.comparison.equal, result.comparison.explanation
    assert len(result.comparison.differences) > 20


def test_live_against_transformers_from_the_hub(tmp_path, monkeypatch):
    folder = save_two_towers(tmp_path / "model", image_size=16, patch_size=8)
    (folder / "preprocessor_config.json").unlink()
    save_square_processor(folder, native=False)
    with serve({"org/model": {path.name: path.read_bytes() for path in folder.iterdir()}}) as hub:
        redirect(hub, monkeypatch)
        assert verify_against_transformers("org/model", cache_dir=tmp_path / "cache").comparison.equal


def save_square_processor(folder, *, native):
    from aimv2_np import Aimv2ImageProcessor

    if native:
        save_image_processor(folder, native=True)
    else:
        size = {"height": 16, "width": 16}
        Aimv2ImageProcessor(size=size, crop_size=size).save_pretrained(folder)


def test_live_on_the_command_line():
    import json

    import transformers
    from click.testing import CliRunner

    from aimv2_np.cli.app import app

    result = CliRunner().invoke(app, ["verify", "--against", "transformers", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["equal"] is True
    assert found["there"]["transformers"] == transformers.__version__
