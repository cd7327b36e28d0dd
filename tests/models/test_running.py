"""What surrounds a call: numbers that overflow are told by the module, texts without an end by their row."""

import warnings
from contextlib import nullcontext

import numpy as np
import pytest

from aimv2_np import MissingEndWarning, textbook, trace
from tests.support.models import both_model, pixels, text_model, tokens, vision_model

LARGE = 1e25  # of a residual stream: its squares overflow float32, itself does not


def swollen(model, path, factor=LARGE):
    """`model` with one weight of the residual stream's inputs much larger."""
    return model.map(lambda name, a: a * a.dtype.type(factor) if name == path else a)


@pytest.mark.parametrize("as_written", [False, True])
@pytest.mark.parametrize(("path", "first"), [
    ("embeddings.position_embedding.weight", "encoder.layers.0.rms_norm1"),
    ("encoder.layers.0.attention.out_proj.weight", "encoder.layers.0.rms_norm2"),
    ("encoder.layers.1.ffn.down_proj.weight", "rms_norm"),
    ("embeddings.patch_embed.weight", "embeddings.rms_norm"),
])  # fmt: skip
@pytest.mark.parametrize("batch", [1, 3])
def test_squares_that_overflow_name_the_norm(path, first, as_written, batch):
    model = swollen(vision_model(), path)
    said = rf"overflowed float32 on this input, first in {first}, where the squares"
    with textbook() if as_written else nullcontext(), pytest.raises(ValueError, match=said):
        model(pixels(batch))


@pytest.mark.parametrize("call", ["extract_features", "encode_images", "forward of two towers"])
def test_however_the_model_is_called(call):
    path = "encoder.layers.0.attention.out_proj.weight"
    if call == "forward of two towers":
        model = swollen(both_model(), f"vision_model.{path}")
        with pytest.raises(ValueError, match=r"first in vision_model\.encoder\.layers\.0\.rms_norm2"):
            model(tokens(), pixels())
    else:
        with pytest.raises(ValueError, match=r"first in encoder\.layers\.0\.rms_norm2"):
            getattr(swollen(vision_model(), path), call)(pixels())


def test_an_overflow_elsewhere_and_of_texts():
    model = swollen(text_model(), "encoder.layers.1.ffn.up_proj.weight", 3e38)
    with pytest.raises(ValueError, match=r"first in encoder\.layers\.1\.ffn"):
        model(tokens())


def test_the_search_records_nothing_twice():
    model, found = swollen(vision_model(), "encoder.layers.1.ffn.down_proj.weight"), []
    with pytest.raises(ValueError, match="first in rms_norm"), trace(model, store=lambda path, _: found.append(path)):
        model(pixels())
    assert len(found) == len(set(found))


@pytest.mark.parametrize("as_written", [False, True])
def test_whatever_numpy_is_told_to_raise(as_written):
    model = both_model()
    for layer in (*model.vision_model.encoder.layers, *model.text_model.encoder.layers):
        layer.attention.q_proj.weight = layer.attention.q_proj.weight * np.float32(1e4)  # scores that underflow
        layer.ffn.gate_proj.weight = layer.ffn.gate_proj.weight * np.float32(1e4)
    images = [pixels()[0], pixels()[0]]
    with np.errstate(all="raise"), textbook() if as_written else warnings.catch_warnings(action="error"):
        model(tokens(), pixels(3))
        model.get_text_features(tokens())
        model.get_image_features(pixels())
        model.encode_images(images)
        model.vision_model.extract_features(pixels(), [0, -1], features="mean")
        with pytest.raises(FloatingPointError):
            np.exp(np.float32([-100]))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_temperature_that_is_no_number(value):
    model = both_model()
    model.logit_scale = np.array(value, np.float32)
    embeds = np.eye(2, model.config.projection_dim, dtype=np.float32)
    for call in (lambda: model(tokens(), pixels()), lambda: model.logits(embeds, embeds)):
        with pytest.raises(ValueError, match="the weight logit_scale holds NaN or infinity"):
            call()


def test_texts_without_an_end_are_named():
    model, ids = both_model(), tokens(8, 5)
    ids[[1, 3], -1] = 1
    for call in (lambda: model(ids), lambda: model.get_text_features(ids), lambda: model.text_model(ids)):
        with pytest.warns(MissingEndWarning, match=r"no end-of-text token \(39\) in row 1, 3;") as said:
            call()
        assert [w.filename for w in said] == [__file__]
    ids[:, -1] = 1
    with pytest.warns(MissingEndWarning, match="in row 0, 1, 2, 3, 4 and 3 more;"):
        model(ids)


def test_an_end_in_padding_counts_where_it_has_seen_the_text():
    """Padding often is the end-of-text token: on the right it sees the text, on the left it stands before it."""
    model, end = text_model(), 39
    with warnings.catch_warnings(action="error"):
        model(np.array([[1, 2, end, end]]), np.array([[1, 1, 0, 0]]))
        model(np.array([[end, end, 1, end]]), np.array([[0, 0, 1, 1]]))
        model(np.array([[1, 2, end, end]]), np.zeros((1, 4), int))  # no text
    with pytest.warns(MissingEndWarning, match="in row 0"):
        model(np.array([[end, end, 1, 2]]), np.array([[0, 0, 1, 1]]))
