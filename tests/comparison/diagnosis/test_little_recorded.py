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
    ("ends", "scale 1/d, learned", "native", 1),
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
