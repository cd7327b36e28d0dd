import numpy as np
import pytest

from aimv2_np.comparison.tolerances import Tolerances, coarsest, depths


def test_they_grow_with_the_root_of_the_depth_and_with_the_dtype():
    rounding = Tolerances()
    assert rounding("x", "float32", 0) == 24 * np.finfo(np.float32).eps
    assert rounding("x", "float32", 24) == 5 * rounding("x", "float32", 0)
    assert rounding("x", "float16", 3) == 2 * 4 * np.finfo(np.float16).eps
    assert rounding("x", "bfloat16", 0) == 4 * 2.0**-7
    assert rounding("encoder.layers.0.attention.probs", "float32", 0) == 4 * rounding("x", "float32", 0)
    assert rounding("logits_per_image", "float32", 0) == 8 * rounding("x", "float32", 0)


def test_they_can_be_overridden():
    assert Tolerances.of(1e-3)("x", "float64", 9) == 1e-3
    rules = Tolerances.of({"*.ffn": 1e-2, "*": 1e-4, "special": 0.0})
    assert rules("a.ffn", "float32", 1) == 1e-4  # the last rule that matches
    assert rules("special", "float32", 1) == 0
    assert Tolerances.of(rules) is rules
    assert Tolerances.of(None) == Tolerances()


@pytest.mark.parametrize("wrong", [-1.0, float("nan"), float("inf"), {"*": -1.0}, {"*": "x"}, "x", True])
def test_wrong_ones(wrong):
    with pytest.raises(ValueError, match="expected a relative error"):
        Tolerances.of(wrong)


def test_a_wrong_dtype():
    with pytest.raises(ValueError, match="expected one of float64, float32, float16, bfloat16"):
        Tolerances(dtype="int8")


def test_the_coarsest_dtype_counts():
    assert coarsest(["float32", "bfloat16", "float16"]) == "bfloat16"
    assert coarsest(["float64", "float32"]) == "float32"
    assert coarsest(["int64", ""]) == "float32"


def test_depths_are_counted_in_each_tower():
    order = [
        "vision_model.embeddings", "vision_model.encoder.layers.0.ffn", "vision_model.encoder.layers.1",
        "vision_model.rms_norm", "visual_projection", "text_model.embeddings", "text_model.encoder.layers.0",
        "text_model.rms_norm", "logits_per_image",
    ]  # fmt: skip
    assert list(depths(order).values()) == [0, 1, 2, 2, 2, 0, 1, 1, 2]
    assert list(depths(["embeddings", "encoder.layers.0", "rms_norm"]).values()) == [0, 1, 1]


def test_texts_become_a_tolerance_and_rules():
    found = Tolerances.parse(("1e-4", "*.ffn=1e-3"), "float16")
    assert found == Tolerances(1e-4, {"*.ffn": 1e-3}, "float16")
    assert Tolerances.parse(()) == Tolerances()
    with pytest.raises(ValueError, match=r"rtol is '\*=much'; expected NUMBER or GLOB=NUMBER"):
        Tolerances.parse(["*=much"])


def test_quantised_engines():
    alone, everything = Tolerances(quantised="int8"), Tolerances(quantised="int8-static")
    for rounded in (False, True):
        assert everything("rms_norm", "float32", 1, rounded=rounded) == 0.05
    assert alone("ffn", "float32", 1, rounded=True) == 0.05
    assert alone("rms_norm", "float32", 1, rounded=False) < 1e-5
    with pytest.raises(ValueError, match=r"quantised is 'int8-'; expected one of int8, .*, int4-static"):
        Tolerances(quantised="int8-")
