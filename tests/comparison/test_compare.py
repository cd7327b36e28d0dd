import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import aimv2_np
from aimv2_np import CheckpointError
from aimv2_np.comparison import Tolerances, compare
from aimv2_np.recording import Recording, record
from aimv2_np.storage import save_safetensors
from tests.support.models import both_model, pixels, text_model, tokens, vision_model
from tests.support.port import Port, recorded

PATH = "encoder.layers.1.rms_norm2"


@pytest.fixture(scope="module")
def reference():
    return recorded(vision_model(), {"pixel_values": pixels()})


def changed(arrays, path, index, value):
    array = arrays[path].copy()
    array[index] += np.float32(value)
    return arrays | {path: array}


def test_it_is_exported_at_the_top():
    assert aimv2_np.compare is compare


def test_the_same_is_equal(reference):
    result = compare(reference, dict(reference))
    assert result.equal
    assert result
    assert result.first is None
    assert result.diagnosis is None
    assert len(result.differences) == len(reference)
    assert all(difference.relative == 0 for difference in result.differences)
    assert "no more than rounding" in result.explanation


def test_the_first_divergence_and_where_it_is(reference):
    result = compare(reference, changed(changed(reference, PATH, (1, 4, 7), 0.5), "rms_norm", (0, 0, 0), 100))
    assert not result
    assert result.first.path == PATH
    assert result.first.where == {"batch": 1, "token": 4, "channel": 7}
    assert result.first.shape == (2, 9, 16)
    assert result.first.depth == 2
    assert result.first.measures.max_abs == pytest.approx(0.5, rel=1e-6)
    assert [difference.path for difference in result.worst] == ["rms_norm", PATH]
    assert "encoder.layers.1.attention" in result.explanation  # the last one that agrees


def test_the_order_is_the_references_and_not_the_others(reference):
    other = changed(changed(reference, PATH, (0, 0, 0), 1), "embeddings", (0, 0, 0), 1)
    result = compare(reference, dict(reversed(other.items())))
    assert result.first.path == "embeddings"


def test_logits_come_after_what_they_are_made_of():
    result = compare(
        recorded(both_model(), {"pixel_values": pixels(), "input_ids": tokens()}),
        recorded(both_model(), {"pixel_values": pixels(), "input_ids": tokens()}),
    )
    order = [difference.path for difference in result.differences]
    assert order.index("image_embeds") < order.index("logits_per_image")


def test_the_dictionary_is_json(reference):
    other = changed(reference, PATH, (1, 4, 7), np.nan)
    found = compare(reference, other).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["equal"] is False
    assert found["first"]["path"] == PATH
    assert found["first"]["relative"] is None  # infinite
    assert found["first"]["nonfinite"] == 1
    assert found["first"]["where"] == {"batch": 1, "token": 4, "channel": 7}
    assert {"path", "max_abs", "relative", "ulps", "cosine", "shape"} <= found["worst"][0].keys()
    assert found["diagnosis"] is None
    assert "NaN" in found["explanation"]


def test_tolerances_can_be_overridden(reference):
    other = changed(reference, PATH, (1, 4, 7), 0.01)
    assert not compare(reference, other)
    assert compare(reference, other, tolerances=1e-2)
    assert compare(reference, other, tolerances={"*.rms_norm2": 1e-2})
    assert not compare(reference, other, tolerances={"*.rms_norm1": 1e-2})
    assert compare(reference, other, tolerances=Tolerances(dtype="float16"))


@pytest.mark.parametrize("wrong", ["x", -0.1, 2, float("nan"), True + 1])
def test_a_budget_that_is_no_cosine(reference, wrong):
    with pytest.raises(ValueError, match=r"budget is .*; expected a cosine, 0 to 1"):
        compare(reference, reference, budget=wrong)


def test_rules_that_are_of_no_use_are_noted(reference):
    result = compare(reference, reference, tolerances={"*.fnf": 1e-3, "*ffn": 1e-3})
    assert result.notes == ("the tolerance of '*.fnf' is for nothing that was compared",)
    first, second = list(reference)[-2:]
    theirs = {"x.0": reference[first], "x.1": reference[second]}
    (note,) = compare(reference, theirs, mapping={"x.*": first}).notes
    assert note.startswith(f"the mapping makes {first} of x.0, x.1; x.")


def test_missing_and_extra_names(reference):
    other = {"mine": np.zeros(3), **reference}
    del other[PATH]
    result = compare(reference, other)
    assert result.equal
    assert result.missing == (PATH,)
    assert result.extra == ("mine",)


def test_what_is_not_compared_may_hold_anything(reference):
    assert compare(reference, {"labels": np.array(["a cat"]), **reference}).extra == ("labels",)


def test_other_names_are_mapped(reference):
    other = {f"net.{path.replace('layers.', 'stage')}": array for path, array in reference.items() if "/" not in path}
    mapping = ["net.encoder.stage*=encoder.layers.*", "net.*=*"]
    result = compare(reference, other, mapping=mapping)
    assert result.equal
    assert result.extra == ()
    broken = changed(other, f"net.{PATH.replace('layers.', 'stage')}", (0, 0, 0), 1)
    assert compare(reference, broken, mapping=mapping).first.path == PATH
    assert compare(reference, broken, mapping=mapping).first.theirs == "net.encoder.stage1.rms_norm2"


def test_nothing_in_common(reference):
    with pytest.raises(ValueError, match=r"no activation in common: .*, the other x; expected common names: say"):
        compare(reference, {"x": np.zeros(3)})


@pytest.mark.parametrize("wrong", [3, ["x"], {"x": ["a"]}, {1: np.zeros(1)}, None])
def test_sides_that_are_none(reference, wrong):
    with pytest.raises(TypeError, match="expected a"):
        compare(reference, wrong)


def test_arrays_of_other_things_than_numbers(reference):
    with pytest.raises(CheckpointError, match="expected real numbers"):
        compare(reference, {PATH: np.array(["a"])})


def test_another_shape_is_a_divergence(reference):
    result = compare(reference, reference | {PATH: reference[PATH][:, :4]})
    assert result.first.path == PATH
    assert result.first.measures is None
    assert "(2, 4, 16)" in result.explanation
    assert result.to_dict()["first"]["max_abs"] is None


def test_shapes_that_only_look_different(reference):
    convolution = reference["embeddings.patch_embed"].swapaxes(1, 2).reshape(2, 16, 3, 3)
    heads = {"encoder.layers.0.attention.q": reference["encoder.layers.0.attention.q_proj"]}
    mine = heads["encoder.layers.0.attention.q"].reshape(2, 9, 2, 8)
    table = {"embeddings.position_embedding": reference["embeddings.position_embedding"][None]}
    other = reference | {"embeddings.patch_embed": convolution} | table
    assert compare(reference, other).equal
    assert compare(reference | {"encoder.layers.0.attention.q": mine.swapaxes(1, 2)}, other | heads).equal
    assert compare(
        reference | {"encoder.layers.0.attention.q": mine.swapaxes(1, 2)}, {"encoder.layers.0.attention.q": mine}
    ).equal


def test_files_of_every_kind(tmp_path):
    model, inputs = vision_model(), {"pixel_values": pixels()}
    whole, brief, part, plain = (tmp_path / f"{name}.safetensors" for name in ("whole", "brief", "part", "plain"))
    record(model, inputs, whole)
    record(model, inputs, brief, statistics=True)
    record(model, inputs, part, slices={"*": "0"})
    save_safetensors(plain, {f"activations/{path}": array for path, array in Recording.load(whole).activations.items()})
    sides = [whole, brief, part, str(plain), Recording.load(whole)]
    other = Port(model).run(**inputs)
    for one in sides:
        assert compare(one, other).equal, one
        assert compare(other, one).equal, one
    assert compare(brief, plain).equal
    broken = {path: array for path, array in other.items() if path != PATH} | {PATH: other[PATH] + np.float32(0.01)}
    for one in sides:
        assert compare(one, broken).first.path == PATH
    assert compare(brief, broken).first.from_statistics
    with pytest.raises(FileNotFoundError):
        compare(whole, tmp_path / "none")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(CheckpointError):
        compare(whole, tmp_path / "text")


def test_statistics_against_parts_cannot_be_told(tmp_path):
    model, inputs = vision_model(), {"pixel_values": pixels()}
    record(model, inputs, tmp_path / "brief", statistics=True)
    record(model, inputs, tmp_path / "part", slices={"*": "0"})
    result = compare(tmp_path / "brief", tmp_path / "part")
    assert not result.equal
    assert "a part, the other statistics" in result.explanation


def test_statistics_under_other_names(tmp_path):
    model, inputs = vision_model(), {"pixel_values": pixels()}
    record(model, inputs, tmp_path / "brief", statistics=True)
    other = {f"my.{path}": array for path, array in Port(model).run(**inputs).items() if "/" not in path}
    assert compare(tmp_path / "brief", other, mapping=["my.*=*"]).equal
    assert compare(other, tmp_path / "brief", mapping=["*=my.*"]).equal
    other[f"my.{PATH}"] = other[f"my.{PATH}"][:, ::-1]  # the same moments
    assert compare(tmp_path / "brief", other, mapping=["my.*=*"]).first.path == PATH


def test_half_precision_is_judged_as_such():
    model, inputs = vision_model(), {"pixel_values": pixels()}
    single = recorded(model, inputs)
    half = recorded(model.to(dtype="float16"), inputs)
    result = compare(single, half)
    assert result.equal, result.explanation
    assert {difference.dtype for difference in result.differences if "/" not in difference.path} == {"float16"}
    assert not compare(single, {path: array.astype(np.float32) for path, array in half.items()}).equal


def test_what_stands_in_padding_on_the_left_is_not_compared():
    model, mask = text_model(), np.array([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    reference = recorded(model, {"input_ids": tokens(), "attention_mask": mask})
    other = {path: array.copy() for path, array in reference.items()}
    for path, array in other.items():
        if path.startswith("encoder") and array.ndim == 3:
            array[0, :2] = np.nan
    assert compare(reference, other).equal
    other["encoder.layers.0.ffn"][0, 2] += 1
    assert compare(reference, other).first.where["token"] == 2


def test_padding_on_the_right_that_differs_is_said_to_be_that():
    model, mask = text_model(), np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
    reference = recorded(model, {"input_ids": tokens(), "attention_mask": mask})
    result = compare(reference, changed(reference, "encoder.layers.0.ffn", (0, 5), 1))
    assert "only rows of padding differ" in result.first.note
    assert "only rows of padding differ" in result.explanation


def test_other_inputs_are_the_first_divergence(reference):
    result = compare(reference, recorded(vision_model(), {"pixel_values": pixels(seed=1)}))
    assert result.first.path == "inputs/pixel_values"
    text = recorded(text_model(), {"input_ids": tokens()})
    result = compare(text, recorded(text_model(), {"input_ids": tokens(seed=1)}))
    assert result.first.path == "inputs/input_ids"
    assert result.diagnosis is None


def test_the_notes_say_that_weights_differ(tmp_path):
    for seed in (0, 1):
        record(vision_model(seed), {"pixel_values": pixels()}, tmp_path / str(seed))
    assert compare(tmp_path / "0", tmp_path / "1").notes == ("the weights of the two recordings differ",)


@settings(max_examples=25)
@given(
    layers=st.integers(1, 4), heads=st.sampled_from([1, 2, 4]), native=st.booleans(), seed=st.integers(0, 1000),
    statistics=st.booleans(),
)  # fmt: skip
def test_two_implementations_of_one_network_are_equal(layers, heads, native, seed, statistics):
    sizes = {"num_hidden_layers": layers, "num_attention_heads": heads, "is_native": native}
    model, inputs = vision_model(seed, **sizes), {"pixel_values": pixels(seed=seed)}
    arrays = recorded(model, inputs)
    side = Recording.from_arrays({path: array for path, array in arrays.items() if "/" not in path}, inputs)
    if statistics:
        side.statistics = {path: side.statistics[path] for path in side.order}
        side.activations = {}
    result = compare(side, Port(model).run(**inputs), model=model)
    assert result.equal, result.explanation


@pytest.mark.usefixtures("no_pairs")
@pytest.mark.parametrize(
    "odd", [np.array([0x7C01, 1, 0x7BFF], "u2").view("f2"), np.array([0x7F800001, 1, 0x7F7FFFFF], "u4").view("f4")]
)
def test_numbers_of_no_use_are_no_reason_to_warn(odd):
    """NaNs that signal, subnormal and largest numbers, where pictures, norms and errors are computed from them."""
    model = vision_model()
    ours = {name: array.astype(odd.dtype) for name, array in recorded(model, {"pixel_values": pixels(1)}).items()}
    pictures = ours["inputs/pixel_values"]
    pictures.reshape(-1)[:3] = odd
    for path in ours:
        theirs = {name: array.copy() for name, array in ours.items()}
        theirs[path].reshape(-1)[-3:] = odd
        assert not compare(ours, theirs, model=model).equal
        assert not compare(theirs, ours, model=model).equal
