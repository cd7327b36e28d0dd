"""A model and an input: what is run, and rates that fit the seconds which the clocks tell."""

import numpy as np
import pytest

from aimv2_np.bench.flops import products, total_flops
from aimv2_np.bench.subject import Subject
from tests.support.models import both_model, vision_config, vision_model

PICTURES, TEXTS = {"kind": "pictures", "height": 12, "width": 20}, {"kind": "texts", "tokens": 5}


@pytest.mark.parametrize("given", [PICTURES, TEXTS])
def test_of_two_towers_the_one_that_is_asked_for_runs(tmp_path, given):
    both_model().save_pretrained(tmp_path)
    subject = Subject(str(tmp_path), given, 2)
    ran = []
    for name in ("get_image_features", "get_text_features"):
        setattr(subject.model, name, lambda inputs, name=name, **options: ran.append((name, inputs.shape)))
    subject.run()
    assert ran == [("get_image_features", (2, 3, 12, 20)) if given is PICTURES else ("get_text_features", (2, 5))]


def test_the_input_is_in_the_models_dtype(tmp_path):
    vision_model().save_pretrained(tmp_path)
    subject = Subject(str(tmp_path), PICTURES, 1, dtype="float16")
    assert subject._inputs.dtype == np.float16
    subject.run()


def test_rates_are_of_the_seconds_that_the_clocks_tell(tmp_path):
    vision_model().save_pretrained(tmp_path)
    subject = Subject(str(tmp_path), PICTURES, 3)
    found, rates, rate = subject.speed(lambda: 2.0, lambda shape: lambda: 0.5, 0.0, "gemm", "tflops")
    done = total_flops(products(vision_config(), PICTURES, 3))
    assert found["flops"] == done
    assert found["per_second"] == 3 / 2
    assert found["tflops"] == done / 2 / 1e12
    assert {shape: shape.flops / 0.5 for shape in rates} == rates
    assert min(rates.values()) <= rate <= max(rates.values())
    assert found["gemm_fraction"] == pytest.approx(found["tflops"] / found["gemm_tflops"])
    assert [line["tflops"] for line in found["gemm_shapes"]] == [rate / 1e12 for rate in rates.values()]
