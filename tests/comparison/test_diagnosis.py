"""Every fault, planted in an independent implementation, is named; and none where there is none, or more than one."""

from pathlib import Path

import numpy as np
import pytest

from aimv2_np import trace
from aimv2_np.comparison import compare
from aimv2_np.comparison.diagnosis import trials
from aimv2_np.comparison.diagnosis.advice import CHANGES
from aimv2_np.recording import Recording
from aimv2_np.recording.statistics import summarize
from tests.support import faults, preprocessing
from tests.support.models import both_model, pixels, text_model, tokens, vision_model
from tests.support.planted import PLANTED
from tests.support.port import Port, recorded


def inputs(*, padding=None, height=12, width=12):
    found = {"pixel_values": pixels(height=height, width=width), "input_ids": tokens()}
    if padding == "left":
        found["attention_mask"] = np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    if padding == "right":
        found["attention_mask"] = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    return found


def gelu_model():
    return both_model(vision_config=vision_model(hidden_act="gelu").config)


def loud_model(path, factor):
    """One matrix so large that what it makes does not fit float16."""
    model = both_model()
    return model.map(lambda name, array: array * np.float32(factor) if name == path else array)


CASES = {
    "transposed_weight": (faults.TransposedWeight, both_model, inputs()),
    "transposed_weight, not square": (faults.ReshapedWeight, both_model, inputs()),
    "qkv_order": (faults.QkvOrder, both_model, inputs()),
    "qkv_order, rotated": (faults.QkvRotated, both_model, inputs()),
    "gate_up_swapped": (faults.GateUpSwapped, both_model, inputs()),
    "wrong_eps": (faults.WrongEps, both_model, inputs()),
    "mean_centred_norm": (faults.LayerNorm, both_model, inputs()),
    "wrong_norm_gain": (faults.NoGain, both_model, inputs()),
    "missing_bias": (faults.NoPatchBias, both_model, inputs()),
    "missing_bias, head": (faults.NoHeadBias, both_model, inputs()),
    "gelu_approximation": (faults.TanhGelu, gelu_model, inputs()),
    "wrong_activation": (faults.Relu, both_model, inputs()),
    "positions_before_norm": (faults.PositionsBeforeNorm, both_model, inputs()),
    "missing_positions": (faults.NoPositions, both_model, inputs()),
    "text_not_causal": (faults.NotCausal, both_model, inputs()),
    "text_not_causal, padded": (faults.NotCausal, both_model, inputs(padding="right")),
    "padding_ignored, left": (faults.PaddingIgnored, both_model, inputs(padding="left")),
    "padding_ignored, right": (faults.PaddingIgnored, both_model, inputs(padding="right")),
    "missing_scale": (faults.NoScale, both_model, inputs()),
    "wrong_scale": (faults.ScaleOfHidden, both_model, inputs()),
    "softmax_axis": (faults.SoftmaxOverQueries, both_model, inputs()),
    "patches_column_order": (faults.ColumnOrder, both_model, inputs()),
    "bgr": (faults.Bgr, both_model, inputs()),
    "missing_normalisation": (faults.NotNormalised, both_model, inputs()),
    "wrong_normalisation": (faults.ImageNet, both_model, inputs()),
    "positions_h_first": (
        faults.HeightFirst,
        lambda: vision_model(is_native=True, use_head=False),
        {"pixel_values": pixels(height=12, width=20)},
    ),
    "float16_overflow": (
        faults.Float16Norm, lambda: loud_model("vision_model.encoder.layers.0.ffn.down_proj.weight", 300), inputs()
    ),
    "float16_overflow, output": (
        faults.Float16Output, lambda: loud_model("vision_model.encoder.layers.1.ffn.down_proj.weight", 1e5), inputs()
    ),
}  # fmt: skip


@pytest.mark.usefixtures("no_pairs")
@pytest.mark.parametrize("case", CASES)
def test_a_planted_fault_is_named(case):
    port, make, given = CASES[case]
    model = make()
    reference, other = recorded(model, given), port(model).run(**given)
    tolerances = {"*": 5e-3} if port is faults.Float16Output else None  # half precision is not the fault that is meant
    result = compare(reference, other, model=model, tolerances=tolerances)
    assert not result.equal
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == case.partition(",")[0], result.explanation
    assert result.first.path in result.explanation


@pytest.mark.usefixtures("no_pairs")
@pytest.mark.parametrize("case", [name for name in CASES if "float16" not in name])
def test_a_planted_fault_is_named_from_blocks_alone(case):
    """The other side recorded what its blocks give, and nothing within them."""
    port, make, given = CASES[case]
    model = make()
    reference = recorded(model, given)
    everything = port(model).run(**given)
    coarse = [path for path in everything if path[-1].isdecimal() and "norm" not in path]
    coarse += [path for path in everything if "head" in path or path.endswith("embeddings")]
    result = compare(reference, {path: everything[path] for path in coarse}, model=model)
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == case.partition(",")[0], result.explanation


@pytest.mark.usefixtures("no_pairs")
@pytest.mark.parametrize("case", [name for name in CASES if "float16" not in name and "padding" not in name])
def test_a_planted_fault_is_named_from_statistics(case):
    port, make, given = CASES[case]
    model = make()
    reference, other = recorded(model, given), port(model).run(**given)
    sides = []
    for arrays in (reference, other):
        side = Recording.from_arrays({path: array for path, array in arrays.items() if "/" not in path}, given)
        sides.append(side)
        side.statistics = {path: summarize(path, array) for path, array in side.activations.items()}
        side.activations = {}
    result = compare(*sides, model=model)
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == case.partition(",")[0], result.explanation
    assert result.first.from_statistics


# Tested in files of their own.
ELSEWHERE = {
    "int8_activations", "vision_causal", "reduced_precision", "left_padding", "tokens_reversed", "picture_shifted",
    "tf32_products",
}  # fmt: skip


def test_every_cause_has_a_case():
    named = {case.partition(",")[0] for case in CASES} | {fault.identifier for fault in PLANTED.values()}
    named |= {identifier for identifier, _, _ in preprocessing.FAULTS.values()}
    assert set(CHANGES) - named - ELSEWHERE == set()


def test_the_page_has_every_cause():
    page = (Path(__file__).parents[2] / "docs" / "compare.md").read_text("utf-8")
    assert [identifier for identifier in CHANGES if f"`{identifier}`" not in page] == []


def test_the_readme_counts_them():
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    assert f"{len(CHANGES)} faults known by name" in readme


@pytest.mark.parametrize("padding", [None, "left", "right"])
def test_a_clean_pair_has_no_diagnosis(padding):
    model, given = both_model(), inputs(padding=padding)
    result = compare(recorded(model, given), Port(model).run(**given), model=model)
    assert result.equal, result.explanation
    assert result.diagnosis is None


def test_a_causal_vision_tower():
    model, given = vision_model(), {"pixel_values": pixels()}

    class Causal(Port):
        def attend(self, q, k, v, heads, allowed):
            tokens = q.shape[1]
            earlier = np.tril(np.ones((1, tokens, k.shape[1]), bool)) if tokens > 1 else None
            return super().attend(q, k, v, heads, earlier)

    result = compare(recorded(model, given), Causal(model).run(**given), model=model)
    assert result.diagnosis.identifier == "vision_causal"


def test_two_faults_in_one_module_are_named_together(monkeypatch):
    monkeypatch.setattr(trials, "PAIRS", 600.0)  # the neighbours may be busy
    model, given = both_model(), inputs()
    result = compare(recorded(model, given), faults.TwoFaults(model).run(**given), model=model)
    assert result.diagnosis.identifier == "missing_scale + softmax_axis"
    assert "no single cause explains it" in result.explanation


@pytest.mark.parametrize("port", [faults.Unknown, faults.Noise])
def test_an_unknown_fault_has_no_name(port):
    model, given = both_model(), inputs()
    result = compare(recorded(model, given), port(model).run(**given), model=model)
    assert not result.equal
    assert result.diagnosis is None
    assert result.to_dict()["diagnosis"] is None
    assert "None of the" in result.explanation


def test_the_first_of_two_faults_in_different_modules_is_named():
    class Both(faults.GateUpSwapped, faults.NoHeadBias):
        pass

    model, given = both_model(), inputs()
    result = compare(recorded(model, given), Both(model).run(**given), model=model)
    assert result.diagnosis.identifier == "gate_up_swapped"


def test_without_the_model_the_arrays_tell_some_faults():
    model, given = both_model(), inputs()
    reference = recorded(model, given)
    named = {
        "qkv_order": faults.QkvOrder, "gate_up_swapped": faults.GateUpSwapped,
        "patches_column_order": faults.ColumnOrder,
    }  # fmt: skip
    for name, port in named.items():
        result = compare(reference, port(model).run(**given))
        assert result.diagnosis.identifier == name
    result = compare(reference, faults.LayerNorm(model).run(**given))
    assert result.diagnosis is None
    assert "--model" in result.explanation


def test_pixels_that_went_in_tell_of_themselves():
    model, given = vision_model(), {"pixel_values": pixels()}
    raw = given["pixel_values"] * faults.STD + faults.MEAN
    for changed, name in ((given["pixel_values"][:, ::-1], "bgr"), (raw, "missing_normalisation")):
        other = {"pixel_values": changed.astype(np.float32)}
        result = compare(recorded(model, given), Port(model).run(**other), model=model)
        assert result.first.path == "inputs/pixel_values"
        assert result.diagnosis.identifier == name


def test_another_checkpoint_is_said_to_be_one():
    model, given = text_model(), {"input_ids": tokens()}
    result = compare(recorded(model, given), faults.NotCausal(model).run(**given), model=text_model(seed=1))
    assert result.diagnosis is None
    assert "same checkpoint" in result.explanation


@pytest.mark.usefixtures("no_pairs")
def test_half_precision_is_said_to_be_that():
    class Half(Port):
        def keep(self, path, value):
            bits = np.ascontiguousarray(value, np.float32).view(np.uint32)
            return super().keep(path, ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32))

    model, given = vision_model(), {"pixel_values": pixels()}
    result = compare(recorded(model, given), Half(model).run(**given), model=model)
    assert result.diagnosis.identifier == "reduced_precision"
    assert "bfloat16" in result.explanation


@pytest.mark.parametrize("wrong", [vision_model(hidden_size=32), text_model(), vision_model(num_hidden_layers=1)])
def test_a_model_that_does_not_fit_the_recording(wrong):
    model, given = vision_model(), {"pixel_values": pixels()}
    other = faults.NoScale(model).run(**given)
    del other["encoder.layers.0"]
    result = compare(recorded(model, given), {"encoder.layers.1": other["encoder.layers.1"]}, model=wrong)
    assert result.diagnosis is None
    assert "No cause could be tested" in result.explanation
    with pytest.raises(TypeError, match="expected one of our models"):
        compare(recorded(model, given), other, model={})


@pytest.mark.parametrize(("port", "name"), [(faults.NoScale, "missing_scale"), (faults.NotCausal, "text_not_causal")])
def test_a_recording_of_one_tower_without_its_inputs(port, name):
    both, given = both_model(), {"input_ids": tokens()}
    reference = {path: array for path, array in recorded(both.text_model, given).items() if "/" not in path}
    result = compare(reference, port(both.text_model).run(**given), model=both)
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == name


@pytest.mark.parametrize(
    ("port", "first"),
    [(faults.NoScale, "scores"), (faults.SoftmaxOverQueries, "probs"), (faults.NotCausal, "probs")],
)
def test_scores_and_probabilities_are_diagnosed_too(port, first):
    model, given = text_model(), {"input_ids": tokens()}

    class Inner(port):
        """Keeps what lies inside of attention, head by head as it computes it."""

        inner = ()

        def softmax(self, scores):
            probs = super().softmax(scores)
            self.inner = (*self.inner, (scores, probs))
            return probs

        def attention(self, path, config, x, allowed):
            self.inner = ()
            result = super().attention(path, config, x, allowed)
            if port is faults.NoScale:  # before the mask
                q, k = (self.out[f"{path}.{name}"].reshape(2, 6, 3, 4).swapaxes(1, 2) for name in ("q_proj", "k_proj"))
                self.keep(f"{path}.scores", q @ k.swapaxes(-1, -2))
            self.keep(f"{path}.probs", np.stack([probs for _, probs in self.inner], axis=1))
            return self.keep(path, result)

    with trace(model) as activations:
        model(**given)
    reference = {f"inputs/{name}": value for name, value in given.items()} | activations
    result = compare(reference, Inner(model).run(**given), model=model)
    assert result.first.path == f"encoder.layers.0.attention.{first}"
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == {"NoScale": "missing_scale", "NotCausal": "text_not_causal"}.get(
        port.__name__, "softmax_axis"
    )


def test_inputs_that_the_reference_left_out_are_the_other_sides():
    model, given = vision_model(), {"pixel_values": pixels()}
    reference = recorded(model, given)
    brief = Recording.from_arrays({path: array for path, array in reference.items() if "/" not in path})
    brief.statistics = {path: summarize(path, array) for path, array in brief.activations.items()}
    brief.activations = {}
    result = compare(brief, faults.NoScale(model).run(**given), model=model)
    assert result.diagnosis.identifier == "missing_scale"
    result = compare(brief, Port(model).run(pixel_values=pixels(seed=1)), model=model)
    assert result.diagnosis is None
    assert "inputs differ" in result.explanation
    lost = {path: array for path, array in faults.NoScale(model).run(**given).items() if "/" not in path}
    assert "whole=['inputs/*']" in compare(brief, lost, model=model).explanation
