"""The process in which a model is measured: asked in turns, it answers with numbers that fit each other."""

import pytest

from aimv2_np.bench import worker
from aimv2_np.bench.flops import products, total_flops
from tests.support.models import both_model, text_model, vision_model

PICTURES, TEXTS = {"kind": "pictures", "height": 12, "width": 12}, {"kind": "texts", "tokens": 5}


@pytest.fixture(params=["vision", "text", "both, pictures", "both, texts"])
def subject(request, tmp_path):
    """A folder with a checkpoint, its configuration, and what it is given."""
    kind, _, side = request.param.partition(", ")
    model = {"vision": vision_model, "text": text_model, "both": both_model}[kind]()
    model.save_pretrained(tmp_path)
    return str(tmp_path), model.config, TEXTS if "text" in (side[:4], kind) else PICTURES


def test_what_is_measured(subject):
    folder, config, given = subject
    found = worker.measure(folder, given, 3, threads=1, seconds=0.0, profile=True)
    assert found["flops"] == total_flops(products(config, given, 3))
    assert found["per_second"] == pytest.approx(3 / found["seconds"]["median"])
    assert found["gflops"] == pytest.approx(found["flops"] / found["seconds"]["median"] / 1e9)
    assert found["profile"]["flops"] == found["flops"]
    assert found["memory"]["resident"] is None or found["memory"]["resident"] > 0


def test_a_picture_of_another_size_than_the_models(tmp_path):
    vision_model().save_pretrained(tmp_path)
    found = worker.measure(str(tmp_path), {**PICTURES, "width": 20}, 1, threads=1, seconds=0.0, profile=False)
    assert found["profile"] is None
    assert found["flops"] > 0


def test_products_in_turns():
    assert "library" in worker.prepare_products([[4, 5, 6], [7, 8, 9]], threads=1)
    assert worker.multiply() > 0


def test_everything_that_can_be_asked_is_a_function_of_that_name():
    for name, function in worker.FUNCTIONS.items():
        assert function.__name__ == name
