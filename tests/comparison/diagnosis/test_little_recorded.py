"""Causes in one layer, where the other side recorded little of it: what is between is told apart by what follows."""

import pytest

from aimv2_np.comparison import compare
from aimv2_np.comparison.diagnosis import trials
from tests.support.planted import PLANTED, all_towers, port

KEPT = {
    "halves": lambda path: "layers" not in path or path.endswith((".attention", ".ffn")),
    "last products": lambda path: "layers" not in path or path.endswith((".out_proj", ".down_proj")),
    "products": lambda path: path.endswith("_proj"),
    "ends": lambda path: "layers" not in path and "embed" not in path,
}
# What is recorded, the fault, its tower, and the layer that has it; None: all.
PLACES = [
    ("halves", "no MLP residual, learned", "learned", 2),
    ("halves", "residual twice, learned", "learned", 2),
    ("halves", "half of the MLP, learned", "text", 1),
    ("halves", "half of both, learned", "text", 1),
    ("halves", "half of both, learned", "text", None),
    ("halves", "no norm, learned", "text", 1),
    ("halves", "negative, learned", "text", 1),
    ("halves", "doubled, learned", "text", None),
    ("last products", "doubled, learned", "learned", None),
    ("last products", "exchanged, far, learned", "text", None),
    ("last products", "weights of one before, learned", "learned", None),
    ("last products", "residual of norms, learned", "text", None),
    ("products", "exchanged, learned", "learned", None),
    ("ends", "parallel, learned", "native", 1),
    ("ends", "exchanged, far, learned", "text", None),
    ("ends", "weights of the first, learned", "text", None),
]


@pytest.mark.parametrize(("kept", "name", "tower", "layer"), PLACES)
def test_named_from(kept, name, tower, layer, monkeypatch):
    for limit in ("SECONDS", "ALONE"):  # the neighbours may be busy
        monkeypatch.setattr(trials, limit, 600.0)
    model, given, reference = all_towers()[tower]
    other = port(PLANTED[name], layer)(model).run(**given)
    other = {path: array for path, array in other.items() if "/" in path or KEPT[kept](path)}
    result = compare(reference, other, model=model)
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == PLANTED[name].identifier, result.explanation
    assert "Something else" not in result.explanation
    assert "more like it" not in result.explanation


def explained(name, tower, layer=None, keep=lambda path: True):
    model, given, reference = all_towers()[tower]
    other = port(PLANTED[name], layer)(model).run(**given)
    other = {path: array for path, array in other.items() if "/" in path or keep(path)}
    return compare(reference, other, model=model).explanation


def test_what_the_other_tower_has_too_is_no_second_cause():
    text = explained("no final norm, learned", "both")
    assert "The other tower has the same fault: text_model.rms_norm is left out" in text
    assert "Apart from that" not in text


def test_what_is_made_of_another_shape_is_not_said_to_be_wrong():
    text = explained("no projection, both", "both")
    assert "alone is wrong" not in text
    assert "no module is wrong by itself" not in text


def test_two_causes_that_give_the_same_numbers_are_both_told():
    text = explained("half of both, learned", "native", 3, lambda path: path.endswith(("attention", "rms_norm")))
    assert "adds its input twice to what attention gives" in text
    assert "does not tell it from this: encoder.layers.3 adds half of what both give" in text
