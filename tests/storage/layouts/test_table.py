"""aimv2_np/storage/layouts/table.py: forms forwards and backwards, names there and back, for every layout."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np import Aimv2Config, Aimv2Model, Aimv2TextConfig, Aimv2TextModel, Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.errors import CheckpointError
from aimv2_np.storage import LAYOUTS
from aimv2_np.storage.layouts.table import LEAD, NUMBER, SAME, Form, Part, our_shape

VISION = Aimv2VisionConfig(num_hidden_layers=12, hidden_size=8, num_attention_heads=2, intermediate_size=6,
                           image_size=4, patch_size=2, qkv_bias=True, mlp_bias=True, use_head=True)  # fmt: skip
TEXT = Aimv2TextConfig(num_hidden_layers=2, hidden_size=8, num_attention_heads=2, intermediate_size=6, vocab_size=9,
                       eos_token_id=8, qkv_bias=True, mlp_bias=True)  # fmt: skip
MODELS = {
    "both": Aimv2Model.skeleton(Aimv2Config(vision_config=VISION, text_config=TEXT, projection_dim=4)),
    "vision": Aimv2VisionModel.skeleton(VISION),
    "text": Aimv2TextModel.skeleton(TEXT),
}
FORMS = st.one_of(
    st.sampled_from([SAME, LEAD]),
    st.integers(1, 4).flatmap(lambda n: st.permutations(range(n))).map(lambda axes: Form(tuple(axes))),
)


@given(form=FORMS, count=st.sampled_from([1, 3]), data=st.data())
def test_a_form_backwards_is_what_it_was(form, count, data):
    sizes = st.tuples(*[st.integers(1, 4)] * len(form.axes or (0, 1)))
    shape = data.draw(sizes)
    ours = [np.random.default_rng(part).random(shape) for part in range(count)]
    stored = form.stored(ours)
    assert stored.shape == form.shape([shape] * count)
    back = form.ours(stored, count)
    assert len(back) == count
    for part, array in enumerate(back):
        np.testing.assert_array_equal(array, ours[part])
        assert np.shares_memory(array, stored)
        place = Part("x", form, part, count)
        assert our_shape(place, stored.shape, "here") == shape
        np.testing.assert_array_equal(place.of(stored), ours[part])


@pytest.mark.parametrize(
    ("form", "count", "shape"),
    [
        (LEAD, 1, (2, 4)), (LEAD, 1, ()), (Form((1, 0)), 1, (2,)), (Form((0, 2, 3, 1)), 1, (2, 2)),
        (SAME, 3, (4, 4)), (SAME, 3, ()), (Form((1, 0)), 3, (6, 4)),
        (SAME, 1, (2**40, 2**40)),  # more than an array can have, which half a byte per number makes possible
    ],
)  # fmt: skip
def test_a_shape_that_cannot_hold_ours_is_refused(form, count, shape):
    with pytest.raises(CheckpointError, match=r"here: tensor 'theirs' has the shape"):
        our_shape(Part("theirs", form, 0, count), shape, "here")


def test_a_shape_of_any_size_takes_no_memory():
    assert our_shape(Part("x", Form((1, 0)), 1, 3), (2**20, 3 * 2**40), "here") == (2**40, 2**20)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_the_number_of_a_layer_is_seen(layout):
    for row in (*layout.vision, *layout.text, *layout.both):
        name = row.theirs.replace("{i}", "3")
        assert name == row.theirs or NUMBER.search(name), f"{name}: NUMBER of aimv2_np/storage/layouts/table.py"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_names_there_and_back(layout, model):
    ours = list(MODELS[model].state_dict())
    if not layout.both:  # of the vision tower alone, without its pooling head
        if model != "vision":
            with pytest.raises(ValueError, match=f"the {layout.name} layout has no place for"):
                layout.arrange(ours)
            return
        ours = [name for name in ours if not name.startswith("head.")]
    arranged = layout.arrange(ours)
    assert sorted(name for _, parts in arranged.values() for name in parts) == sorted(ours)
    for theirs, (form, parts) in arranged.items():
        assert layout.parts(theirs) == {name: Part(theirs, form, part, len(parts)) for part, name in enumerate(parts)}
    assert layout.score(arranged) == len(arranged)


def test_names_that_mean_nothing_have_no_place():
    for layout in LAYOUTS.values():
        for name in ("", "x", "trunk.blocks.x.norm_1.weight", "encoder.layers.{i}.rms_norm1.weight!", "blocks.1"):
            assert layout.parts(name) == {}


def test_the_number_of_a_norm_is_not_the_number_of_a_block():
    place = LAYOUTS["apple"].parts("trunk.blocks.11.norm_2.weight")
    assert list(place) == ["encoder.layers.11.rms_norm2.weight"]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_name_of_a_table_is_there_once(layout):
    for rows in ((*layout.vision, *layout.both), (*layout.text, *layout.both)):
        theirs, ours = [row.theirs for row in rows], [part for row in rows for part in row.names]
        assert len(set(theirs)) == len(theirs)
        assert len(set(ours)) == len(ours)


@pytest.mark.parametrize("layout", ["apple", "flax", "timm"])
def test_the_documentation_has_every_row(layout):
    text = (Path(__file__).parents[3] / "docs" / "layouts.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    it = LAYOUTS[layout]
    for row in (*it.vision, *it.text, *it.both):
        assert any(f"| `{row.ours}` |" in line and f"| `{row.theirs}`" in line for line in lines), row
