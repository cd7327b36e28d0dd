import json
import sys

import pytest

from aimv2_np import Aimv2Model, CheckpointError
from aimv2_np.comparison.verify import paths_of, verify_against_transformers, verify_embedded
from aimv2_np.data import sample_pictures, tiny_golden_path, tiny_model_path
from aimv2_np.network.view import EVERYONE
from aimv2_np.recording import Recording, record
from aimv2_np.recording.inputs import load_with_inputs
from aimv2_np.storage.digest import hash_weights
from tests.support.comparison import expected_paths
from tests.support.two_towers import save_two_towers

TEXTS = ["a cat", "a small dog"]


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory):
    """A checkpoint, and a golden of it."""
    folder = tmp_path_factory.mktemp("stand-in")
    model, inputs = load_with_inputs(save_two_towers(folder / "model"), [sample_pictures()[0].picture], TEXTS)
    record(model, inputs, folder / "golden.safetensors", statistics=True, whole=["inputs/*", "*_embeds"])
    return folder


def test_the_embedded_golden_holds_on_this_machine():
    result = verify_embedded()
    assert result.comparison.equal, result.comparison.explanation
    paths = {difference.path for difference in result.comparison.differences}
    expected = {
        path
        for path in expected_paths(Aimv2Model.from_pretrained(tiny_model_path()), inner=False)
        if path.rpartition(".")[2] not in ("q", "k", "v")
    }
    assert {path for path in paths if not path.startswith("inputs/")} == expected
    assert result.there["transformers"] == "5.23.0"
    assert "numpy" in result.here


def test_the_embedded_golden_is_small_and_by_transformers():
    recording = Recording.load(tiny_golden_path())
    assert recording.source == "torch"
    assert tiny_golden_path().stat().st_size < 200_000
    model = Aimv2Model.from_pretrained(tiny_model_path())
    assert recording.metadata["weights_hash"] == hash_weights(model.state_dict())


def test_a_stand_in(stand_in):
    result = verify_embedded(model=stand_in / "model", golden=stand_in / "golden.safetensors")
    assert result.comparison.equal


def test_a_fault_of_this_machine_is_found(stand_in, tmp_path):
    """Equal weights, another ε: the hash agrees, and the first norm does not."""
    copy = tmp_path / "model"
    copy.mkdir()
    for path in (stand_in / "model").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    config = json.loads((copy / "config.json").read_text())
    config["vision_config"]["rms_norm_eps"] = 0.1
    (copy / "config.json").write_text(json.dumps(config))
    comparison = verify_embedded(model=copy, golden=stand_in / "golden.safetensors").comparison
    assert not comparison.equal
    assert comparison.first.path == "vision_model.embeddings.rms_norm"


def _not_causal(monkeypatch):
    monkeypatch.setattr("aimv2_np.models.text.CAUSAL", EVERYONE)


def _padding_seen(monkeypatch):
    monkeypatch.setattr("aimv2_np.models.text.check_attention_mask", lambda *_: None)


def _up_before_gate(monkeypatch):
    monkeypatch.setattr("aimv2_np.network.swiglu.SwiGLU.forward", lambda self, x: _swapped(self, x))


def _swapped(self, x):
    from aimv2_np.network.swiglu import gated

    return self.down_proj(gated(self.up_proj(x), self.gate_proj(x), self.hidden_act))


@pytest.mark.parametrize(
    ("fault", "where"),
    [
        (_not_causal, "text_model.encoder.layers.0.attention"),
        (_padding_seen, "text_model.encoder.layers.0.attention"),
        (_up_before_gate, "vision_model.encoder.layers.0.ffn"),
    ],
)
def test_the_embedded_golden_finds_faults(fault, where, monkeypatch):
    fault(monkeypatch)
    comparison = verify_embedded().comparison
    assert not comparison.equal
    assert comparison.first.path.startswith(where)


def test_a_golden_of_other_weights(stand_in):
    with pytest.raises(CheckpointError, match="golden is recorded with other weights"):
        verify_embedded(golden=stand_in / "golden.safetensors")


def test_without_transformers_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'aimv2-np\[oracle\]'"):
        verify_against_transformers()


def test_paths_are_those_of_a_trace():
    from fnmatch import fnmatchcase

    model = Aimv2Model.from_pretrained(tiny_model_path())
    globs = paths_of(model)
    wanted = {p for p in expected_paths(model, inner=False) if p.rpartition(".")[2] not in ("q", "k", "v")}
    assert {path for path in wanted if not any(fnmatchcase(path, glob) for glob in globs)} == set()
