import sys

import pytest

from aimv2_np.backends.parallel import usable_cores
from aimv2_np.bench.flops import products, total_flops
from aimv2_np.bench.models import write_random
from aimv2_np.bench.run import SCHEMA, Plan, benchmark, label, products_of, summarise_cold
from tests.support.models import text_config, vision_config

LINUX = sys.platform == "linux"
BYTES = (int, type(None)) if not LINUX else (int,)
NUMBER, TEXT, MAYBE_TEXT = (int, float), (str,), (str, type(None))

TIMES = {"median": NUMBER, "best": NUMBER, "spread": NUMBER, "rounds": (int,)}
CASE = {
    "input": (dict,), "batch": (int,), "threads": (int,), "seconds": TIMES, "per_second": NUMBER, "flops": (int,),
    "gflops": NUMBER, "sgemm_gflops": NUMBER, "sgemm_fraction": NUMBER,
    "sgemm_shapes": [{"m": (int,), "k": (int,), "n": (int,), "gflops": NUMBER}],
    "body": TEXT, "peak_gflops": (*NUMBER, type(None)), "peak_fraction": (*NUMBER, type(None)),
    "loading_seconds": NUMBER, "first_seconds": NUMBER,
    "memory": dict.fromkeys(
        ("peak_resident", "resident", "proportional", "private", "anonymous", "started", "working"), BYTES
    ),
    "profile": {
        "passes": (int,), "seconds": NUMBER, "threads": (int,), "flops": (int,), "copy_gb_per_second": NUMBER,
        "operations": [{
            "operation": TEXT, "calls": (int, type(None)), "seconds": NUMBER, "share": NUMBER, "unit": MAYBE_TEXT,
            "achieved": (*NUMBER, type(None)), "ceiling": (*NUMBER, type(None)),
        }],
    },
}  # fmt: skip
MODEL = {
    "name": TEXT, "random": (bool,), "layers": (int, type(None)), "parameters": (int,), "weight_bytes": (int,),
    "cases": [CASE],
    "cold": {
        "seconds": TIMES, "stages": dict.fromkeys(("start", "load", "prepare", "run"), NUMBER), "threads": (int,),
        "memory": dict.fromkeys(("resident", "proportional", "private", "anonymous", "file", "peak"), BYTES),
    },
    "sharing": {"processes": (int,), "proportional": BYTES, "anonymous": [BYTES]},
}  # fmt: skip
RESULT = {
    "schema": (int,), "date": TEXT, "versions": (dict,),
    "machine": {
        "processor": TEXT, "architecture": TEXT, "cores": (int,), "memory": (int, type(None)), "system": TEXT,
        "load": (float, type(None)),
    },
    "blas": {
        "library": MAYBE_TEXT, "version": MAYBE_TEXT, "kernel": MAYBE_TEXT, "threads": (int, type(None)),
        "threading": MAYBE_TEXT, "built_as": MAYBE_TEXT, "forced": MAYBE_TEXT, "note": MAYBE_TEXT,
    },
    "native": {"used": MAYBE_TEXT, "available": (list,), "reason": TEXT},
    "models": [MODEL],
}  # fmt: skip


def assert_fits(value, schema, path="result"):
    """Same keys all the way down, and values of the types that the schema names."""
    if isinstance(schema, dict):
        assert set(value) == set(schema), path
        for key, part in schema.items():
            assert_fits(value[key], part, f"{path}.{key}")
    elif isinstance(schema, list):
        assert isinstance(value, list), path
        assert value, path
        for item in value:
            assert_fits(item, schema[0], f"{path}[]")
    else:
        assert isinstance(value, schema), f"{path}: {value!r}"


@pytest.fixture(scope="module")
def result():
    told = []
    plan = Plan(["tiny"], batches=[1, 2], threads=[1], seconds=0, profile=True, cold=1, processes=2)
    return benchmark(plan, told.append) | {"told": told}


def test_the_schema(result):
    assert_fits({key: value for key, value in result.items() if key != "told"}, RESULT)
    assert result["schema"] == SCHEMA


def test_what_was_measured(result):
    (model,) = result["models"]
    assert (model["name"], model["random"], model["parameters"]) == ("tiny", False, 1_296_641)
    first, second = model["cases"]
    assert (first["batch"], second["batch"], first["threads"]) == (1, 2, 1)
    assert first["input"] == {"kind": "pictures", "height": 64, "width": 64}
    assert second["flops"] == 2 * first["flops"] == 2 * first["profile"]["flops"]
    assert second["per_second"] == pytest.approx(2 / second["seconds"]["median"])
    assert first["gflops"] == pytest.approx(first["flops"] / first["seconds"]["median"] / 1e9)
    assert first["sgemm_fraction"] == pytest.approx(first["gflops"] / first["sgemm_gflops"])
    assert first["seconds"]["rounds"] >= 3
    assert first["body"] == (result["native"]["used"] or "NumPy")
    if first["peak_gflops"] is not None:
        assert first["peak_fraction"] == pytest.approx(first["gflops"] / first["peak_gflops"])
    assert sum(it["share"] for it in first["profile"]["operations"]) == pytest.approx(1, abs=0.01)
    assert sum(model["cold"]["stages"].values()) == pytest.approx(model["cold"]["seconds"]["median"])
    assert any("cold process" in it for it in result["told"])


@pytest.mark.skipif(not LINUX, reason="memory is read from Linux's /proc")
def test_what_memory_was_found(result):
    (model,) = result["models"]
    memory = model["cases"][0]["memory"]
    assert memory["anonymous"] >= memory["started"] > 0
    assert memory["peak_resident"] > model["weight_bytes"]
    sharing = model["sharing"]
    assert sharing["processes"] == len(sharing["anonymous"]) == 2
    assert sharing["proportional"] > sum(sharing["anonymous"])


def test_texts_and_other_sizes(tmp_path):
    write_random(tmp_path, text_config())
    found = benchmark(Plan([str(tmp_path)], batches=[3], text_tokens=[4], seconds=0, cold=1))
    (case,) = found["models"][0]["cases"]
    assert case["flops"] == total_flops(products(text_config(), {"kind": "texts", "tokens": 4}, 3))
    assert found["models"][0]["cold"]["stages"]["run"] > 0
    assert label(case["input"]) == "texts of 4"
    (pictures,) = benchmark(Plan(["tiny"], sizes=[(32, 40)], seconds=0, cold=0))["models"]
    assert label(pictures["cases"][0]["input"]) == "32x40"
    assert pictures["cold"] is None
    assert pictures["sharing"] is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threads": [10**6]}, "threads is 1000000; expected 1 to"),
        ({"batches": [0]}, "batch is 0"),
        ({"sizes": [(0, 5)]}, "size is 0"),
        ({"models": []}, "models is empty"),
        ({"sizes": [(64, 64)], "text_tokens": [4]}, "measure one after the other"),
        ({"sizes": [(64, 4)]}, "size is 64x4; expected at least one patch of tiny, 8x8 pixels"),
        ({"text_tokens": [25]}, "text_tokens is 25; tiny has 24 positions"),
        ({"models": ["large-224"], "text_tokens": [4]}, "large-224 has no text tower"),
    ],
)
def test_plans_that_make_no_sense(changes, message):
    plan = Plan(**{"models": ["tiny"], "seconds": 0, "cold": 0, **changes})
    with pytest.raises(ValueError, match=message):
        products_of(plan)


def test_pictures_for_a_text_tower(tmp_path):
    write_random(tmp_path, text_config())
    with pytest.raises(ValueError, match="has no vision tower"):
        benchmark(Plan([str(tmp_path)], sizes=[(64, 64)]))


def test_kernels_are_compared_at_the_shapes_that_matter():
    shapes, threads = products_of(Plan(["large-224"], threads=[1]))
    assert {(it.m, it.k, it.n) for it in shapes} == {(256, 1024, 1024), (256, 1024, 2816), (256, 2816, 1024)}
    assert threads == 1
    assert {it.m for it in products_of(Plan(["large-224-lit"], batches=[4], text_tokens=[16]))[0]} == {64}
    assert products_of(Plan(["large-224"]))[1] == usable_cores()


def test_a_checkpoint_that_is_broken_is_told_in_one_sentence(tmp_path):
    write_random(tmp_path, vision_config())
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        benchmark(Plan([str(tmp_path)]))


def test_cold_runs_in_brief():
    runs = [
        {"seconds": seconds, "stages": {"load": 1.0, "prepare": 0.5, "run": 0.25}, "memory": {"peak": seconds}}
        for seconds in (5.0, 2.0, 3.0)
    ]
    found = summarise_cold(runs)
    assert found["seconds"]["median"] == 3
    assert found["stages"] == {"start": 1.25, "load": 1.0, "prepare": 0.5, "run": 0.25}
    assert found["memory"] == {"peak": 3}
