"""The same numbers in another layout are the same, and it is said; what is wrong stays wrong."""

import numpy as np
import pytest

from aimv2_np.comparison import compare
from aimv2_np.comparison.alignment import UnlikeError, in_shape
from tests.support.faults import GateUpSwapped
from tests.support.models import both_model, pixels, tokens, vision_model
from tests.support.port import Port, recorded

B, H, N, S = 2, 2, 9, 8  # D = H · S = 16, as in the model below
X = np.random.default_rng(0).standard_normal((B, N, H * S)).astype(np.float32)
HEADS = X.reshape(B, N, H, S).swapaxes(1, 2)  # (B, H, N, S)


@pytest.fixture(scope="module")
def reference():
    return recorded(vision_model(), {"pixel_values": pixels()})


@pytest.mark.parametrize(
    ("theirs", "remark"),
    [
        (X, ""),
        (X.reshape(-1, H * S), "theirs is (18, 16)"),
        (X.ravel(), "theirs is (288,)"),
        (X.reshape(B, N, H, S), "theirs is (2, 9, 2, 8)"),
        (X.swapaxes(0, 1), "theirs is (9, 2, 16), axes in the order tokens, batch, channels"),
        (X.swapaxes(0, 1).reshape(-1, H * S), "theirs is (18, 16), axes in the order tokens, batch, channels"),
        (X.swapaxes(1, 2), "theirs is (2, 16, 9), axes in the order batch, channels, tokens"),
        (X.swapaxes(1, 2).reshape(B, -1, 3, 3), "theirs is (2, 16, 3, 3), axes in the order batch, channels, tokens"),
        (HEADS, "theirs is (2, 2, 9, 8), axes in the order batch, heads, tokens, channels"),
        (HEADS.reshape(B * H, N, S), "theirs is (4, 9, 8), axes in the order batch, heads, tokens, channels"),
    ],
)
def test_tokens_of_channels(theirs, remark):
    found, said = in_shape(np.ascontiguousarray(theirs), X)
    np.testing.assert_array_equal(found, X)
    assert said == remark


@pytest.mark.parametrize("theirs", [X, X.reshape(B, N, H, S), HEADS.reshape(B * H, N, S), HEADS.swapaxes(2, 3)])
def test_heads(theirs):
    found, said = in_shape(np.ascontiguousarray(theirs), HEADS)
    np.testing.assert_array_equal(found, HEADS)
    assert said.startswith("theirs is ")


def test_another_number_of_elements():
    with pytest.raises(UnlikeError, match=r"theirs has the shape \(2, 9, 15\)"):
        in_shape(X[..., :-1], X)


def test_axes_of_one_length_are_exchanged_on_request_only():
    square = X[:, :, :N]
    np.testing.assert_array_equal(in_shape(square.swapaxes(1, 2), square)[0], square.swapaxes(1, 2))
    np.testing.assert_array_equal(in_shape(square.swapaxes(1, 2), square, exchanged=True)[0], square)


def test_a_port_that_keeps_its_tokens_first(reference):
    """A fault in it is still found where it is, and named."""
    for port, equal in ((Port, True), (GateUpSwapped, False)):
        found = port(vision_model()).run(pixel_values=pixels())
        other = {path: x.swapaxes(0, 1) if x.ndim == 3 else x for path, x in found.items()}
        result = compare(reference, other, model=vision_model())
        assert result.equal is equal
        assert any("axes in the order tokens, batch, channels" in note for note in result.notes)
    assert result.first.path == "encoder.layers.0.ffn.gate_proj"
    assert result.diagnosis.identifier == "gate_up_swapped"


def test_pictures_with_their_channels_last(reference):
    port = Port(vision_model()).run(pixel_values=pixels())
    pictures = port["inputs/pixel_values"].transpose(0, 2, 3, 1)
    result = compare(reference, port | {"inputs/pixel_values": pictures})
    assert result.equal, result.explanation
    assert result.differences[0].note == "theirs is (2, 12, 12, 3), axes in the order pictures, rows, columns, channels"
    reversed_ = compare(reference, GateUpSwapped(vision_model()).run(pixel_values=pixels()[::-1]) | {
        "inputs/pixel_values": pictures[::-1]
    }, model=vision_model())  # fmt: skip
    assert reversed_.diagnosis.identifier == "gate_up_swapped"


@pytest.mark.usefixtures("no_pairs")
def test_causes_that_arrays_alone_tell_are_told_in_any_layout(reference):
    """A port in half precision that keeps its tokens first."""
    half = recorded(vision_model().to(dtype="float16"), {"pixel_values": pixels()})
    other = {path: x.astype(np.float32) for path, x in half.items()}
    first = {path: x.swapaxes(0, 1) if x.ndim == 3 else x for path, x in other.items()}
    found = [compare(reference, side, model=vision_model()).diagnosis for side in (other, first)]
    assert [diagnosis.identifier for diagnosis in found] == ["reduced_precision"] * 2


def test_square_arrays_are_transposed_only_if_all_agrees_then():
    model = vision_model(image_size=16)  # 16 tokens of 16 channels
    reference = recorded(model, {"pixel_values": pixels(2, 16, 16)})
    port = {path: x for path, x in Port(model).run(pixel_values=pixels(2, 16, 16)).items() if x.ndim == 3}
    transposed = {path: x.swapaxes(1, 2) if x.shape[1:] == (16, 16) else x for path, x in port.items()}
    result = compare(reference, transposed)
    assert result.equal
    assert any("axes in the order batch, channels, tokens" in note for note in result.notes)
    assert not compare(
        reference, port | {"encoder.layers.0": transposed["encoder.layers.0"], "rms_norm": -port["rms_norm"]}
    )


def test_pictures_in_another_order(reference):
    shuffled = Port(vision_model()).run(pixel_values=pixels()[::-1])
    result = compare(reference, shuffled)
    assert result.equal, result.explanation
    assert result.notes == (
        "the other side has its items in another order, which was undone: pictures 1, 0 of it are ours from 0 on",
    )
    # without the inputs only what agrees in everything is taken for another order
    outputs = {path: x for path, x in shuffled.items() if "/" not in path}
    assert compare(reference, outputs).equal
    assert not compare(reference, outputs | {"encoder.layers.1": 2 * outputs["encoder.layers.1"]})


def test_pictures_that_a_port_exchanges_are_a_fault(reference):
    shuffled = Port(vision_model()).run(pixel_values=pixels()[::-1])
    assert not compare(reference, shuffled | {"inputs/pixel_values": pixels()})
    half = Port(vision_model()).run(pixel_values=pixels())
    half["encoder.layers.1"] = half["encoder.layers.1"][::-1]
    assert compare(reference, half).first.path == "encoder.layers.1"


def test_a_fault_behind_another_order_is_found(reference):
    result = compare(reference, GateUpSwapped(vision_model()).run(pixel_values=pixels()[::-1]), model=vision_model())
    assert result.first.path == "encoder.layers.0.ffn.gate_proj"
    assert result.diagnosis.identifier == "gate_up_swapped"


def test_two_towers_in_orders_of_their_own():
    model, ids = both_model(), np.concatenate([tokens(), tokens(seed=1)[:1]])
    reference = recorded(model, {"pixel_values": pixels(), "input_ids": ids})
    other = recorded(model, {"pixel_values": pixels()[::-1], "input_ids": ids[[2, 0, 1]]})
    result = compare(reference, other)
    assert result.equal, result.explanation
    assert "pictures 1, 0 and texts 1, 2, 0 of it" in result.notes[0]
