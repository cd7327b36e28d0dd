import threading

import numpy as np
import pytest

from aimv2_np import textbook, trace
from aimv2_np.network.attention import attention
from tests.support.models import both_model, pixels, text_model, tokens, vision_model

INNER = ("q", "k", "v", "scores", "probs")
BLOCK = [
    "rms_norm1", *(f"attention.{p}_proj" for p in "qkv"), *(f"attention.{name}" for name in INNER),
    "attention.out_proj", "attention", "rms_norm2", "ffn.gate_proj", "ffn.up_proj", "ffn.down_proj", "ffn",
]  # fmt: skip


def run(model, x, *arguments, **keywords):
    with trace(model, *arguments, **keywords) as activations:
        model(x)
    return activations


def test_every_module_under_its_path():
    model = vision_model()
    activations = run(model, pixels())
    called = {path for path, module in model.named_modules() if path}
    # The table of positions is read, not called, and shows what was read.
    assert called <= set(activations)
    for i in range(2):
        for name in BLOCK:
            assert f"encoder.layers.{i}.{name}" in activations
    assert {"last_hidden_state", "pooler_output", *(f"head.{name}" for name in INNER)} <= set(activations)
    assert all(isinstance(array, np.ndarray) for array in activations.values())


def test_order_of_execution():
    names = list(run(vision_model(), pixels()))
    block = [name for name in names if name.startswith("encoder.layers.1.")]
    assert [name.removeprefix("encoder.layers.1.") for name in block] == BLOCK
    order = ["embeddings.patch_embed", "embeddings.rms_norm", "embeddings", "encoder.layers.0", "encoder.layers.1"]
    order += ["encoder", "rms_norm", "head.output_proj", "head", "last_hidden_state"]
    assert [name for name in names if name in order] == order


def test_values_are_the_modules_outputs():
    model, x = vision_model(), pixels()
    activations = run(model, x)
    with textbook():
        embedded = model.embeddings(x)
        first = model.encoder.layers[0]
        attended = first.attention(first.rms_norm1(embedded))
        after = first(embedded)
        output = model(x)
    np.testing.assert_array_equal(activations["embeddings"], embedded)
    np.testing.assert_array_equal(activations["encoder.layers.0.attention"], attended)
    np.testing.assert_array_equal(activations["encoder.layers.0"], after)
    np.testing.assert_array_equal(activations["last_hidden_state"], output.last_hidden_state)
    np.testing.assert_array_equal(activations["head"], output.pooler_output)


def test_shapes_and_meaning_of_inner_activations():
    model = vision_model()
    activations = {name: run(model, pixels())[f"encoder.layers.1.attention.{name}"] for name in INNER}
    batch, heads, n, size = 2, 2, 9, 8
    for name in "qkv":
        assert activations[name].shape == (batch, heads, n, size)
    q, k = activations["q"].astype("float64"), activations["k"].astype("float64")
    scores = np.einsum("bhnd,bhmd->bhnm", q, k) / np.sqrt(size)
    np.testing.assert_allclose(activations["scores"], scores, atol=1e-5)
    probs = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    np.testing.assert_allclose(activations["probs"], probs, atol=1e-6)


def test_positions_are_recorded_as_they_are_added():
    """A table for the trained grid, the stretched one for another, sines and cosines for native models."""
    model = vision_model()
    table = model.embeddings.position_embedding.weight
    np.testing.assert_array_equal(run(model, pixels())["embeddings.position_embedding"], table)
    with trace(model) as activations:
        model(pixels(1, 16, 8), interpolate_pos_encoding=True)
    added = activations["embeddings"] - activations["embeddings.rms_norm"]
    np.testing.assert_allclose(activations["embeddings.position_embedding"], added[0], atol=2e-6)
    native = run(vision_model(is_native=True), pixels(1, 8, 12))["embeddings.position_embedding"]
    np.testing.assert_allclose(native[1, :4], np.sin(10000.0 ** -(np.arange(4) / 4)), rtol=1e-6)
    text = text_model()
    positions = run(text, tokens(length=5))["embeddings.position_embedding"]
    np.testing.assert_array_equal(positions, text.embeddings.position_embedding.weight[:5])


def test_head_activations_have_one_query():
    activations = run(vision_model(), pixels())
    assert activations["head.q"].shape == (2, 2, 1, 8)
    assert activations["head.scores"].shape == activations["head.probs"].shape == (2, 2, 1, 9)


def test_scores_are_before_the_mask_and_probs_after():
    activations = run(text_model(), tokens(length=4))
    scores, probs = (activations[f"encoder.layers.0.attention.{name}"] for name in ("scores", "probs"))
    later = np.triu_indices(4, 1)
    assert np.abs(scores[..., *later]).max() < 1e3
    assert np.abs(scores[..., *later]).min() > 0
    np.testing.assert_array_equal(probs[..., *later], 0)


def test_both_towers_and_their_outputs():
    model = both_model()
    with trace(model) as activations:
        output = model(tokens(), pixels())
    for path in ("vision_model.encoder.layers.1.ffn", "text_model.encoder.layers.0", "visual_projection"):
        assert path in activations
    np.testing.assert_array_equal(activations["logits_per_image"], output.logits_per_image)
    np.testing.assert_array_equal(
        activations["vision_model.last_hidden_state"], output.vision_model_output.last_hidden_state
    )
    np.testing.assert_array_equal(activations["text_model.pooler_output"], output.text_model_output.pooler_output)


@pytest.mark.parametrize(("include", "expected"), [
    ("encoder.layers.?", ["encoder.layers.0", "encoder.layers.1"]),
    ("encoder.layers.*.ffn", ["encoder.layers.0.ffn", "encoder.layers.1.ffn"]),
    (["encoder.layers.1.attention.probs", "head"], ["encoder.layers.1.attention.probs", "head"]),
    ("encoder.layers.[1].rms_norm?", ["encoder.layers.1.rms_norm1", "encoder.layers.1.rms_norm2"]),
])  # fmt: skip
def test_include_takes_globs(include, expected):
    assert list(run(vision_model(), pixels(), include)) == expected


def test_include_takes_a_generator():
    names = (f"encoder.layers.{i}" for i in range(2))
    assert list(run(vision_model(), pixels(), names)) == ["encoder.layers.0", "encoder.layers.1"]


def test_without_inner_activations():
    activations = run(vision_model(), pixels(), inner=False)
    assert "encoder.layers.1.attention" in activations
    assert not [name for name in activations if name.endswith(("scores", "probs"))]


def test_a_trace_does_not_change_results():
    model, x = vision_model(), pixels()
    plain = model(x)
    with trace(model, inner=False):
        outer = model(x)
    # Block by block, and with the equations as written, sums have another order: some ε of numbers of size three.
    np.testing.assert_allclose(outer.last_hidden_state, plain.last_hidden_state, atol=1e-5)
    with trace(model):
        inner = model(x)
    np.testing.assert_allclose(inner.last_hidden_state, plain.last_hidden_state, atol=1e-5)
    wide = model.to(dtype="float64")
    with trace(wide):
        inner = wide(x)
    np.testing.assert_allclose(inner.last_hidden_state, wide(x).last_hidden_state, atol=1e-13)


def test_nothing_is_recorded_outside():
    model = vision_model()
    with trace(model) as activations:
        pass
    model(pixels())
    assert activations == {}
    activations = run(model, pixels())
    before = dict(activations)
    model(pixels(seed=1))
    assert activations.keys() == before.keys()
    assert all(activations[name] is before[name] for name in before)


def test_the_latest_call_is_kept():
    model = vision_model()
    with trace(model) as activations:
        model(pixels(seed=0))
        model(pixels(seed=1))
    np.testing.assert_array_equal(activations["embeddings"], run(model, pixels(seed=1))["embeddings"])


def test_other_models_are_not_recorded():
    model, other = vision_model(), vision_model(seed=1)
    with trace(model) as activations:
        other(pixels())
    assert activations == {}


def test_part_of_a_model_has_paths_of_its_own():
    model = vision_model()
    with trace(model.encoder.layers[1]) as activations:
        model(pixels())
    assert [name for name in activations if name] == BLOCK
    with trace(model.encoder) as activations:
        model(pixels())
    assert [name for name in activations if name.startswith("layers.1.")] == [f"layers.1.{name}" for name in BLOCK]
    assert not [name for name in activations if "embeddings" in name]


def test_traces_nest():
    model, x = vision_model(), pixels()
    with trace(model) as outer:
        with trace(model, "head") as inner:
            model(x)
        model(x + 1)
    assert list(inner) == ["head"]
    assert len(outer) > len(inner)
    np.testing.assert_array_equal(inner["head"], run(model, x)["head"])
    np.testing.assert_array_equal(outer["head"], run(model, x + 1)["head"])


def test_hidden_states_inside_a_trace():
    """The model itself traces to collect its hidden states; the two must not disturb each other."""
    model, x = vision_model(), pixels()
    with trace(model) as activations:
        output = model(x, output_hidden_states=True, output_attentions=True)
    assert set(run(model, x)) <= set(activations)
    np.testing.assert_array_equal(output.hidden_states[1], activations["encoder.layers.0"])
    np.testing.assert_array_equal(output.attentions[1], activations["encoder.layers.1.attention.probs"])


def test_an_error_ends_the_trace():
    model = vision_model()
    with pytest.raises(ValueError, match="pixel_values"), trace(model) as activations:
        model(pixels()[0])
    kept = dict(activations)
    model(pixels())
    assert activations == kept


def test_an_error_inside_a_module_keeps_paths_right():
    """After a failed call the next one is recorded under the right names."""
    model, x = vision_model(), pixels()
    with trace(model) as activations:
        with pytest.raises(ValueError, match="pixel_values"):
            model(x[0])
        bad = model.encoder.layers[1].ffn
        bad.hidden_act = "no such thing"
        with pytest.raises(KeyError):
            model(x)
        bad.hidden_act = "silu"
        activations.clear()
        model(x)
    expected = run(model, x)
    assert list(activations) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(activations[name], array)


def test_threads_are_independent():
    model = vision_model()
    expected = [run(model, pixels(seed=i)) for i in range(4)]
    found = [None] * 4
    barrier = threading.Barrier(4)

    def work(i):
        with trace(model) as activations:
            barrier.wait(10)
            for _ in range(5):
                model(pixels(seed=i))
        found[i] = activations

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for got, wanted in zip(found, expected, strict=True):
        assert list(got) == list(wanted)
        for name in wanted:
            np.testing.assert_array_equal(got[name], wanted[name])


def test_a_thread_started_inside_is_not_recorded():
    model = vision_model()
    with trace(model) as activations:
        thread = threading.Thread(target=model, args=(pixels(),))
        thread.start()
        thread.join(30)
    assert activations == {}


def test_arrays_can_go_elsewhere():
    model, seen = vision_model(), []
    kept = run(model, pixels(), "*.ffn", store=lambda path, array: seen.append((path, array.shape)))
    assert kept == {}
    assert seen == [(f"encoder.layers.{i}.ffn", (2, 9, 16)) for i in range(2)]


@pytest.mark.parametrize(("include", "as_written"), [("encoder.layers.0.ffn", False), ("*.probs", True), ("*", True)])
def test_only_scores_and_probs_need_the_textbook_bodies(include, as_written, monkeypatch):
    ran = []
    monkeypatch.setitem(attention.bodies, np.ndarray, lambda *args: ran.append("fast") or attention.textbook(*args))
    assert run(vision_model(), pixels(), include)
    assert (ran == []) is as_written


@pytest.mark.parametrize("include", [("nothing", "like this"), [], "ENCODER"])
def test_nothing_recorded_is_an_error(include):
    with pytest.raises(ValueError, match="matches no activation"):
        run(vision_model(), pixels(), include)


def test_a_pattern_that_matches_nothing_is_an_error_with_close_names():
    close = r"encoder\.layer\.0\.ffn.*encoder\.layers\.0\.ffn"
    with pytest.raises(ValueError, match=close):
        run(vision_model(), pixels(), "encoder.layer.0.ffn")
    with trace(vision_model(), "encoder.layer.0.ffn") as activations:
        pass  # nothing ran: nothing to complain of
    assert activations == {}
