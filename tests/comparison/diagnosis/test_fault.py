"""A module with a fault is a copy: what it was made of computes as before."""

import numpy as np

from aimv2_np import trace
from aimv2_np.comparison.diagnosis.advice import CHANGES, change
from aimv2_np.comparison.diagnosis.ends import EndOfText, Logits, Unit
from aimv2_np.comparison.diagnosis.fault import Fault, computing, holding, with_fields, with_forward
from aimv2_np.comparison.diagnosis.search import FAULTS
from aimv2_np.network.rms_norm import RMSNorm
from tests.support.models import both_model, pixels, vision_model
from tests.support.paths import ROOT

MODEL = both_model()
IDS = np.array([[1, 39]])
ENDS = {
    "text_model.pooler_output": EndOfText(IDS, None, np.array([1]), 39),
    "text_embeds": Unit(),
    "logits_per_text": Logits(np.float32(1), 100.0),
}
MODULES = {**dict(MODEL.named_modules()), **ENDS}


def test_every_sentence_can_be_said_of_a_module_of_its_kinds():
    for fault in FAULTS:
        for kind in fault.plants:
            path, module = next((path, module) for path, module in MODULES.items() if type(module) is kind)
            shown = with_fields(module, rows="3", factor=0.3, width=3, waves={"base": 1.0, "first": 0.0, "step": 1.0})
            alone = fault.sentence_for({path: module}, {path: shown})
            several = fault.sentence_for({path: module, "other": module}, {path: shown, "other": shown})
            assert "{" not in alone, alone
            assert several == f"{alone} (and so does 1 more like it)"


def test_every_cause_says_what_to_change():
    assert {fault.identifier for fault in FAULTS} <= set(CHANGES)
    assert change("wrong_eps + missing_bias") == f"{CHANGES['wrong_eps']}; {CHANGES['missing_bias']}"


def test_all_causes_are_listed_and_counted():
    assert f"{len(CHANGES)} faults known by name" in (ROOT / "README.md").read_text("utf-8")
    page = (ROOT / "docs" / "compare.md").read_text("utf-8")
    assert [name for name in CHANGES if f"`{name}`" not in page] == []


def test_a_fault_is_not_planted_twice():
    norm = MODULES["vision_model.rms_norm"]
    fault = Fault("x", "{path}", {RMSNorm: holding(eps=lambda m: m.eps + 1)})
    assert fault.plant(fault.plant(norm, "", None), "", None) is None


def test_a_fault_is_planted_in_a_copy():
    norm = MODULES["vision_model.rms_norm"]
    x = pixels()[..., :16].reshape(-1, norm.weight.shape[0])
    right = norm(x)
    fault = Fault("x", "{path}", {RMSNorm: holding(eps=lambda m: m.eps + 1)})
    assert fault.plant(norm, "rms_norm", None).eps == norm.eps + 1
    zero = computing(lambda m, x: 0 * x)(norm, "rms_norm", None)
    assert not zero(x).any()
    assert (norm(x) == right).all()


def test_other_values_in_some_fields():
    ffn = vision_model().encoder.layers[0].ffn
    gate = ffn.gate_proj
    changed = with_fields(ffn, gate_proj=ffn.up_proj, up_proj=gate)
    assert (changed.gate_proj, changed.up_proj) == (ffn.up_proj, gate)
    assert ffn.gate_proj is gate
    assert type(changed) is type(ffn)


def test_another_forward_under_the_same_path():
    model = vision_model()
    norm = model.encoder.layers[0].rms_norm1
    model.encoder.layers[0].rms_norm1 = with_forward(norm, lambda m, x: x * m.eps)
    with trace(model) as activations:
        model(pixels())
    before = activations["embeddings"]
    np.testing.assert_array_equal(activations["encoder.layers.0.rms_norm1"], before * norm.eps)
    assert not np.array_equal(norm(before), before * norm.eps)
