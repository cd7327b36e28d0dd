"""Pictures of many sizes at once: each comes out as it would alone, whatever stands beside it."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimv2_np import UntrainedSizeWarning, textbook, trace
from aimv2_np.models.packing import MAX_TOKENS, packs
from aimv2_np.network.view import Packed
from tests.support.models import assert_close, both_config, both_model, pixels, tokens, vision_config, vision_model

pytestmark = pytest.mark.filterwarnings("ignore::aimv2_np.UntrainedSizeWarning")
SIZES = st.lists(st.tuples(st.integers(4, 26), st.integers(4, 26)), min_size=1, max_size=6)
# The same network in other batches: sums in another order, some hundred roundings through norms that may enlarge them.
ULPS = 200


def pictures(sizes, channels=3):
    return [pixels(1, *size, seed=i, channels=channels)[0] for i, size in enumerate(sizes)]


def check_each_as_alone(model, images, output, **options):
    for i, image in enumerate(images):
        alone = model(image[None], **options)
        assert output.grid[i] == alone.grid
        assert_close(output.last_hidden_state[i], alone.last_hidden_state[0], ulps=ULPS)
        if alone.pooler_output is not None:
            assert_close(output.pooler_output[i], alone.pooler_output[0], ulps=ULPS)


@settings(max_examples=60)
@given(sizes=SIZES, dtype=st.sampled_from(["float16", "float32", "float64"]), as_written=st.booleans(),
       max_tokens=st.sampled_from([1, 20, MAX_TOKENS, None]))  # fmt: skip
def test_native_pictures(sizes, dtype, as_written, max_tokens):
    model, images = vision_model(is_native=True).to(dtype=dtype), pictures(sizes)
    if as_written:
        with textbook():
            output = model.encode_images(images, max_tokens=max_tokens)
    else:
        output = model.encode_images(images, max_tokens=max_tokens)
    assert len(output.last_hidden_state) == len(sizes)
    assert output.pooler_output.shape == (len(sizes), 16)
    check_each_as_alone(model, images, output)


@settings(max_examples=30)
@given(sizes=SIZES)
def test_learned_positions_are_interpolated_for_each_grid(sizes):
    model, images = vision_model(qkv_bias=True, mlp_bias=True), pictures(sizes)
    output = model.encode_images(images, interpolate_pos_encoding=True)
    check_each_as_alone(model, images, output, interpolate_pos_encoding=True)


def test_learned_positions_of_another_grid_need_a_word():
    with pytest.raises(ValueError, match=r"image 1: pixel_values of 8x20.*interpolate_pos_encoding=True"):
        vision_model().encode_images(pictures([(12, 12), (8, 20)]))


def test_no_head_and_other_channels():
    model = vision_model(is_native=True, use_head=False, num_channels=1)
    images = pictures([(8, 12), (20, 4)], channels=1)
    output = model.encode_images(images)
    assert output.pooler_output is None
    assert len(output.to_tuple()) == 1
    check_each_as_alone(model, images, output)


def test_what_lies_beside_a_picture_does_not_matter():
    """Not to the bit: BLAS sums other numbers of rows in another order."""
    model, images = vision_model(is_native=True), pictures([(8, 12), (16, 16), (4, 24)])
    before = model.encode_images(images).last_hidden_state
    images[1] = images[1] + 100
    after = model.encode_images(images).last_hidden_state
    for i in (0, 2):
        assert_close(after[i], before[i], ulps=ULPS)
    assert np.abs(after[1] - before[1]).max() > 0.1


def test_two_towers():
    config = both_config(vision_config=vision_config(is_native=True))
    model, images = both_model(vision_config=config.vision_config), pictures([(8, 12), (16, 16), (4, 24)])
    output = model.encode_images(images)
    through_forward = model(tokens(2, 5), images)
    for i, image in enumerate(images):
        alone = model(tokens(2, 5), image[None])
        assert_close(output.image_embeds[i], alone.image_embeds[0], ulps=ULPS)
        assert_close(through_forward.logits_per_image[i], alone.logits_per_image[0], ulps=ULPS)
        assert_close(model.get_image_features(images)[i], model.get_image_features(image[None])[0], ulps=ULPS)
    assert output.vision_model_output.grid == ((2, 3), (4, 4), (1, 6))
    assert [len(x) for x in through_forward.to_tuple()[-1][0]] == [6, 16, 6]


def test_a_list_of_pictures_is_a_pack_for_forward_too():
    model, images = vision_model(is_native=True), pictures([(8, 12), (16, 16)])
    packed, output = model.encode_images(images), model(images)
    for got, wanted in zip(output.last_hidden_state, packed.last_hidden_state, strict=True):
        np.testing.assert_array_equal(got, wanted)
    states, pooled = model(images, return_dict=False)
    assert [x.shape for x in states] == [(6, 16), (16, 16)]
    np.testing.assert_array_equal(pooled, packed.pooler_output)
    same = pictures([(8, 12), (8, 12)])
    np.testing.assert_array_equal(model(same).last_hidden_state, model(np.stack(same)).last_hidden_state)
    for option in ({"attention_mask": np.ones((2, 16))}, {"output_hidden_states": True}, {"output_attentions": True}):
        with pytest.raises(ValueError, match="are of images of one size"):
            model(images, **option)


def test_a_batch_may_be_encoded_as_a_list():
    model = vision_model()
    output, batch = model.encode_images(pixels(3)), model(pixels(3))
    for i in range(3):
        assert_close(output.last_hidden_state[i], batch.last_hidden_state[i], ulps=ULPS)


def test_feature_maps_have_the_patches_in_their_places():
    model, images = vision_model(is_native=True), pictures([(8, 12), (16, 16)])
    output = model.encode_images(images)
    maps = output.to_feature_map()
    assert [m.shape for m in maps] == [(16, 2, 3), (16, 4, 4)]
    np.testing.assert_array_equal(maps[0][:, 1, 2], output.last_hidden_state[0][5])
    alone = model(images[0][None])
    np.testing.assert_array_equal(alone.to_feature_map()[0][:, 1, 0], alone.last_hidden_state[0, 3])


def test_the_grid_is_no_part_of_what_transformers_would_return():
    output = vision_model()(pixels())
    assert output.grid == (3, 3)
    assert list(output) == ["last_hidden_state", "pooler_output"]
    assert "grid" not in output
    assert len(output.to_tuple()) == len(output) == 2
    text = both_model()(tokens(2, 5)).text_model_output
    with pytest.raises(ValueError, match="no grid"):
        text.to_feature_map()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "images is empty"),
        (3, "images is an int; expected a list"),
        (np.zeros((3, 8, 8), np.float32), r"images is an array of shape \(3, 8, 8\)"),
        ([np.zeros((3, 8, 8), np.float32), "cat.jpg"], "image 1 is a str"),
        ([np.zeros((8, 8), np.float32)], r"image 0 has shape \(8, 8\)"),
        ([np.zeros((3, 8, 8), np.float32), np.zeros((4, 8, 9), np.float32)], r"image 1: .*\(1, 4, 8, 9\)"),
        ([np.zeros((3, 8, 8), np.uint8)], "image 0: .*uint8"),
        ([np.zeros((3, 8, 3), np.float32)], "image 0: .*smaller than one 4x4 patch"),
        ([np.full((3, 8, 8), np.nan, np.float32)], "image 0: .*NaN"),
    ],
)  # fmt: skip
def test_bad_pictures_are_named(images, message):
    with pytest.raises(ValueError, match=message):
        vision_model(is_native=True).encode_images(images)


@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=20), limit=st.integers(1, 60))
def test_packs_hold_all_pictures_in_order_and_no_more_than_allowed(lengths, limit):
    found = list(packs(lengths, limit))
    assert [i for pack in found for i in range(pack.start, pack.stop)] == list(range(len(lengths)))
    for pack, following in zip(found, [*found[1:], None], strict=True):
        assert sum(lengths[pack]) <= limit or pack.stop - pack.start == 1
        if following is not None:  # nor fewer
            assert sum(lengths[pack]) + lengths[following.start] > limit
    assert list(packs(lengths, None)) == [slice(0, len(lengths))]


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "many"])
def test_a_limit_is_a_whole_number(limit):
    with pytest.raises(ValueError, match="max_tokens"):
        vision_model(is_native=True).encode_images(pictures([(8, 8)]), max_tokens=limit)


@pytest.mark.filterwarnings("error")
def test_sizes_beyond_training_are_named_in_one_warning():
    small = {"is_native": True, "num_hidden_layers": 1, "patch_size": 1}
    images = pictures([(11, 10), (8, 14), (64, 64), (64, 65)])  # 110, 112, 4096 and 4160 patches
    model = vision_model(**small)
    with pytest.warns(UntrainedSizeWarning, match=r"^image 0 \(110\), image 3 \(4,160\): .*112 to 4,096") as caught:
        model.encode_images(images)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.encode_images(images, warn=False)
        model.encode_images(images[1:3])
        vision_model(**{**small, "is_native": False}).encode_images(images[:1], interpolate_pos_encoding=True)
    with pytest.warns(UntrainedSizeWarning, match="image 4.* and 3 more: "):
        model.encode_images(images[:1] * 8)


def test_a_trace_of_a_pack():
    model, images = vision_model(is_native=True), pictures([(8, 12), (16, 16)])
    with trace(model) as activations:
        output = model.encode_images(images, max_tokens=1)
    for i, image in enumerate(images):
        with trace(model) as alone:
            model(image[None])
        run = [slice(0, 6), slice(6, 22)][i]
        assert_close(activations[f"embeddings.{i}"], alone["embeddings"], ulps=ULPS)
        for path in ("encoder.layers.1.ffn", "rms_norm"):
            assert activations[path].shape == (1, 22, 16)
            assert_close(activations[path][:, run], alone[path], ulps=ULPS)
        for path in ("encoder.layers.0.attention.probs", "head.probs"):
            assert_close(activations[f"{path}.{i}"], alone[path], ulps=ULPS)
    np.testing.assert_array_equal(activations["head"], output.pooler_output)
    with trace(model, "*.attention.probs") as activations:
        model(images)
    assert list(activations) == [f"encoder.layers.{layer}.attention.probs.{i}" for layer in (0, 1) for i in (0, 1)]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_pack_never_scores_one_picture_with_another(dtype, monkeypatch):
    """Neither as written, which float16 always is, nor by the faster bodies: memory is that of the largest picture."""
    model, images = vision_model(is_native=True).to(dtype=dtype), pictures([(8, 12), (16, 16), (4, 8)])
    monkeypatch.setattr(Packed, "allowed", lambda *_: pytest.fail("a mask of the whole pack"))
    expected = [model(image[None]).last_hidden_state[0] for image in images]
    for context in (nullcontext(), textbook()):
        with context:
            for x, alone in zip(model.encode_images(images).last_hidden_state, expected, strict=True):
                np.testing.assert_allclose(x, alone, atol=2e-2 if dtype == "float16" else 1e-5)


def test_pictures_of_one_size_are_a_batch():
    model, images = vision_model(), pictures([(12, 12)] * 3)
    output = model.encode_images(images)
    np.testing.assert_array_equal(np.stack(output.last_hidden_state), model(np.stack(images)).last_hidden_state)


@settings(max_examples=40)
@given(sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=4))
def test_padded_native_pictures_equal_those_alone(sizes):
    """A picture in the top left corner of a larger canvas, whose other patches are masked."""
    model = vision_model(is_native=True)
    rows, columns = (max(size[axis] for size in sizes) for axis in (0, 1))
    canvas = pixels(len(sizes), 4 * rows, 4 * columns, seed=9)  # noise where there is padding
    mask = np.zeros((len(sizes), rows, columns), int)
    for i, (r, c) in enumerate(sizes):
        mask[i, :r, :c] = 1
    output = model(canvas, attention_mask=mask.reshape(len(sizes), -1))
    assert np.isfinite(output.last_hidden_state).all()
    for i, (r, c) in enumerate(sizes):
        alone = model(canvas[i : i + 1, :, : 4 * r, : 4 * c])
        assert_close(output.last_hidden_state[i][mask[i].ravel() == 1], alone.last_hidden_state[0], ulps=ULPS)
        assert_close(output.pooler_output[i], alone.pooler_output[0], ulps=ULPS)


@pytest.mark.parametrize("as_written", [False, True])
def test_masked_patches_influence_nothing(as_written):
    model, x = vision_model(), pixels(2)
    mask = np.ones((2, 9), int)
    mask[0, [0, 4]] = mask[1, 8] = 0

    def run():
        with textbook() if as_written else warnings.catch_warnings():
            return model(x, attention_mask=mask, output_attentions=True)

    before = run()
    x[0, :, :4, :4] = x[0, :, 4:8, 4:8] = 7
    x[1, :, 8:, 8:] = -7
    after = run()
    np.testing.assert_array_equal(after.last_hidden_state[mask == 1], before.last_hidden_state[mask == 1])
    np.testing.assert_array_equal(after.pooler_output, before.pooler_output)
    assert not np.allclose(after.last_hidden_state[mask == 0], before.last_hidden_state[mask == 0])
    assert all((probs[0, :, :, [0, 4]] == 0).all() for probs in after.attentions)


def test_a_mask_of_ones_is_no_mask():
    model = vision_model()
    output = model(pixels(), attention_mask=np.ones((2, 9)))
    assert_close(output.last_hidden_state, model(pixels()).last_hidden_state, ulps=ULPS)


def test_a_mask_for_the_pictures_of_two_towers():
    model, mask = both_model(), np.array([[1] * 8 + [0]] * 2)
    output = model(tokens(), pixels(), np.ones((2, 6)), pixel_attention_mask=mask)
    alone = model.vision_model(pixels(), attention_mask=mask)
    np.testing.assert_array_equal(output.vision_model_output.pooler_output, alone.pooler_output)
    assert not np.allclose(alone.pooler_output, model.vision_model(pixels()).pooler_output)
    with pytest.raises(ValueError, match="pixel_attention_mask is given without pixel_values"):
        model(tokens(), pixel_attention_mask=mask)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((2, 8)), r"shape \(2, 8\); expected \(2, 9\): one number for each patch"),
        (np.full((2, 9), 2), "other than 0 and 1"),
        (np.array([[1] * 9, [0] * 9]), "hides all patches"),
    ],
)
def test_masks_that_make_no_sense(mask, message):
    with pytest.raises(ValueError, match=message):
        vision_model()(pixels(), attention_mask=mask)
