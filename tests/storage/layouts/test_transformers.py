"""aimv2_np/storage/layouts/transformers.py, and reading a model's state by it."""

import numpy as np
import pytest

from aimv2_np.errors import CheckpointError
from aimv2_np.storage import match, open_checkpoint, save_checkpoint
from tests.support.state import read_state

VISION = {"embeddings.patch_embed.weight": (4, 3, 2, 2), "embeddings.patch_embed.bias": (4,), "rms_norm.weight": (4,)}
TEXT = {"embeddings.token_embedding.weight": (9, 4), "rms_norm.weight": (4,)}
BOTH = {
    **{f"vision_model.{name}": shape for name, shape in VISION.items()},
    **{f"text_model.{name}": shape for name, shape in TEXT.items()},
    "visual_projection.weight": (5, 4),
    "text_projection.weight": (5, 4),
    "logit_scale": (),
}


@pytest.fixture
def checkpoint(tmp_path):
    def write(shapes):
        state = {name: np.full(shape, number, "f4") for number, (name, shape) in enumerate(shapes.items())}
        save_checkpoint(tmp_path, state, overwrite=True)
        return open_checkpoint(tmp_path)

    return write


@pytest.mark.parametrize("shapes", [VISION, TEXT, BOTH])
def test_our_names_are_the_stored_ones(checkpoint, shapes):
    assert match(shapes, checkpoint(shapes)) == {name: name for name in shapes}


@pytest.mark.parametrize(("prefix", "shapes"), [("vision_model.", VISION), ("text_model.", TEXT)])
def test_one_tower_is_taken_out_of_two(checkpoint, prefix, shapes):
    both = checkpoint(BOTH)
    assert match(shapes, both) == {name: prefix + name for name in shapes}
    state = read_state(both, shapes, "float64")
    for name, array in state.items():
        assert array.shape == shapes[name]
        assert (array == list(BOTH).index(prefix + name)).all()


def test_buffers_of_older_releases_are_left_alone(checkpoint):
    stored = {**BOTH, "text_model.embeddings.position_ids": (1, 77), "vision_model.embeddings.position_ids": (1, 4)}
    file = checkpoint(stored)
    for shapes in (VISION, TEXT, BOTH):
        assert len(match(shapes, file)) == len(shapes)


def test_all_problems_are_listed_in_one_error(checkpoint):
    stored = {**VISION, "rms_norm.weight": (5,), "head.cls_token": (1, 1, 4)}
    del stored["embeddings.patch_embed.bias"]
    with pytest.raises(CheckpointError) as raised:
        match(VISION, checkpoint(stored))
    message = str(raised.value)
    assert "1 missing (embeddings.patch_embed.bias)" in message
    assert "1 unexpected (head.cls_token)" in message
    assert "1 of another shape (rms_norm.weight is (5,), expected (4,))" in message
    assert "config.json" in message


def test_the_first_ten_and_a_count(checkpoint):
    expected = {**VISION, **{f"encoder.layers.{number:02d}.x": (1,) for number in range(40)}}
    with pytest.raises(CheckpointError, match=r"40 missing \(.*encoder\.layers\.09\.x, \.\.\.\)") as raised:
        match(expected, checkpoint(VISION))
    assert "layers.10" not in str(raised.value)


def test_a_tower_of_two_is_named_by_its_stored_names(checkpoint):
    stored = dict(BOTH)
    del stored["text_model.rms_norm.weight"]
    with pytest.raises(CheckpointError, match=r"1 missing \(text_model\.rms_norm\.weight\)"):
        match(TEXT, checkpoint(stored))


def test_what_belongs_to_neither_tower_is_unexpected_even_beside_one(checkpoint):
    with pytest.raises(CheckpointError, match=r"1 unexpected \(decoder\.weight\)"):
        match(VISION, checkpoint({**BOTH, "decoder.weight": (1,)}))
    with pytest.raises(CheckpointError, match=r"1 unexpected \(vision_model\.head\.weight\)"):
        match(VISION, checkpoint({**BOTH, "vision_model.head.weight": (1,)}))


def test_both_towers_are_not_found_in_one(checkpoint):
    with pytest.raises(CheckpointError, match=r"missing .* unexpected"):
        match(BOTH, checkpoint(VISION))


def test_nothing_is_read_before_everything_matches(checkpoint, tmp_path):
    file = checkpoint({**VISION, "more": (1,)})
    file.read = lambda *_: pytest.fail("read before the names were matched")
    with pytest.raises(CheckpointError, match="1 unexpected"):
        read_state(file, VISION)


def test_scalars_and_vectors_are_told_apart(checkpoint):
    with pytest.raises(CheckpointError, match=r"logit_scale is \(1,\), expected \(\)"):
        match(BOTH, checkpoint({**BOTH, "logit_scale": (1,)}))


def test_a_folder_is_left_as_it_is_by_reading(checkpoint, tmp_path):
    file = checkpoint(VISION)
    before = sorted(tmp_path.iterdir())
    read_state(file, VISION)
    assert sorted(tmp_path.iterdir()) == before
