import threading

import numpy as np
import pytest

from aimv2_np import Aimv2TextModel, Aimv2VisionModel
from aimv2_np.backends.operation import operation
from aimv2_np.bench.ceilings import Shape
from aimv2_np.bench.flops import picture_products, text_products, total_flops
from aimv2_np.bench.profile import Entry, Profile, profiling
from aimv2_np.network.linear import linear
from aimv2_np.network.patches import patch_embed
from tests.support.models import pixels, text_config, tokens, vision_config


def test_all_products_of_a_model_are_seen():
    config = vision_config()
    with profiling() as seen:
        Aimv2VisionModel(config)(pixels())
    assert sum(entry.flops for entry in seen.entries.values()) == total_flops(picture_products(config, 2, 12, 12))
    # 9 tokens, two pictures: 18 rows; q, k, v, out of 2 blocks, k and v of the head, and its output of 2 rows
    entry = seen.entries["linear 16->16"]
    assert entry.calls == 2 * 4 + 3
    assert entry.shapes == {Shape(18, 16, 16): 10 * 2 * 18 * 16**2, Shape(2, 16, 16): 2 * 2 * 16**2}
    assert seen.entries["linear 16->20"].calls == 2 * 2
    assert seen.entries["rms_norm"].calls == 1 + 2 * 2 + 1
    assert seen.entries["rms_norm"].flops == seen.entries["gated"].flops == 0
    assert 0 <= seen.elsewhere < seen.seconds


def test_texts_too():
    config = text_config()
    with profiling() as seen:
        Aimv2TextModel(config)(tokens(3, 5))
    assert sum(entry.flops for entry in seen.entries.values()) == total_flops(text_products(config, 3, 5))


def test_an_operation_inside_another_is_counted_once():
    x, weight = np.ones((1, 3, 8, 8)), np.ones((5, 3, 4, 4))  # of float64, for which no kernel does both at once
    with profiling() as seen:
        patch_embed(x, weight, np.zeros(5))
    assert set(seen.entries) == {"patch_embed", "linear 48->5"}
    assert seen.entries["patch_embed"].flops == 0
    assert seen.entries["linear 48->5"].flops == 2 * 4 * 48 * 5
    assert sum(entry.seconds for entry in seen.entries.values()) <= seen.seconds


def test_an_operation_that_nobody_knows_counts_its_weights():
    @operation
    def mlp(x, up_weight, down_weight, residual):
        return residual + x @ up_weight.T @ down_weight.T

    x = np.ones((2, 3, 4), np.float32)
    with profiling() as seen:
        mlp(x, np.ones((6, 4), np.float32), np.ones((4, 6), np.float32), residual=x)
    (label,) = seen.entries
    assert label == "mlp 4->6 6->4"
    assert seen.entries[label].flops == 2 * 6 * (4 * 6 + 6 * 4)
    assert seen.entries[label].moved == 4 * (3 * 24 + 2 * 24)


def test_operations_of_all_threads():
    x, weight = np.ones((3, 4), np.float32), np.ones((2, 4), np.float32)
    with profiling() as seen:
        threads = [threading.Thread(target=linear, args=(x, weight)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert seen.entries["linear 4->2"].calls == 2


def test_an_error_passes_through():
    with profiling() as seen, pytest.raises(ValueError, match="matmul"):
        linear(np.ones((3, 4), np.float32), np.ones((2, 5), np.float32))
    assert seen.entries == {}
    assert linear(np.ones((1, 1), np.float32), np.ones((1, 1), np.float32)) == 1


def test_lines():
    shape = Shape(10, 10, 10)
    entries = {
        "linear": Entry(2, 2.0, flops=4_000_000_000, shapes={shape: 4_000_000_000}),
        "attention": Entry(1, 1.0, flops=1_000_000_000),
        "norm": Entry(1, 0.5, moved=2_000_000_000),
    }
    lines = Profile(entries, seconds=4.0).lines({shape: 4e9}, 2e9, 8e9)
    assert [line["operation"] for line in lines] == ["linear", "attention", "norm", "between operations"]
    assert [line["share"] for line in lines] == [0.5, 0.25, 0.125, 0.125]
    assert [(line["achieved"], line["ceiling"], line["unit"]) for line in lines[:3]] == [
        (2, 4, "GFLOP/s"), (1, 2, "GFLOP/s"), (4, 8, "GB/s"),
    ]  # fmt: skip
    assert lines[3]["seconds"] == 0.5


def test_seconds_of_threads_at_once_share_the_clock():
    profile = Profile({"linear": Entry(2, 6.0, flops=6_000_000_000)}, seconds=4.0, threads=2)
    busy, idle = profile.lines({}, 4e9, 1e9)
    assert (busy["seconds"], busy["share"], busy["achieved"]) == (3, 0.75, 2)
    assert (idle["seconds"], idle["share"]) == (1, 0.25)
