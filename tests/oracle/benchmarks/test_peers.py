"""Every peer on a small model: each is built, agrees with us, is timed, and starts from cold."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from aimv2_np.bench.models import draw_picture, write_random
from aimv2_np.bench.talk import Worker
from aimv2_np.kernels.native.library import available
from aimv2_np.processing import Aimv2ImageProcessor
from tests.benchmarks import compare_peers, measure
from tests.benchmarks.measure import Case, compare, compare_cold, compare_sharing, make_inputs, prepare, relative_error
from tests.benchmarks.peer import OURS, PEERS, PLAIN, POOLED, STREAMS, read_picture
from tests.benchmarks.report import draw_chart, render
from tests.support.models import text_config, vision_config

# Compiling takes half a minute and a C++ compiler: that peer is started in the comparison itself, and may fail there.
NAMES = [name for name in PEERS if name not in (PLAIN, "torch.compile")]
GIVEN = {"kind": "pictures", "height": 12, "width": 12}


class Small(Case):
    """A case of the small models of the tests."""

    def config(self, layers=None):
        return text_config() if self.model == "text" else vision_config(use_head=False)


PICTURES = Small("pictures", "large-224", GIVEN, 3)
TEXTS = Small("texts", "text", {"kind": "texts", "tokens": 5}, 3)
POOLED_TEXTS = replace(TEXTS, name="pooled", output=POOLED)


def silent(_):
    pass


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    found = {}
    for case in (PICTURES, TEXTS):
        found[case.name] = tmp_path_factory.mktemp(case.name)
        prepare(found[case.name], case.config(), make_inputs(case.config(), case.given, 2))
    return found


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(measure, "PAUSE", 0.0)


def test_all_agree_on_pictures(folders):
    found = compare(PICTURES, folders["pictures"], NAMES, 1, 0.0, None, silent)
    assert list(found["peers"]) == NAMES
    for name, peer in found["peers"].items():
        assert "failed" not in peer, f"{name}: {peer}"
        assert peer["error"] <= PICTURES.agreement
        assert peer["per_second"] == pytest.approx(3 / peer["seconds"]["median"])
        assert peer["memory"].keys() >= {"anonymous", "peak"}


@pytest.mark.parametrize("case", [TEXTS, POOLED_TEXTS], ids=lambda case: case.output)
def test_who_computes_something_else_is_not_timed(folders, case):
    """Transformers' sdpa attention drops the causality of texts of one length."""
    peers = compare(case, folders["texts"], NAMES, 1, 0.0, None, silent)["peers"]
    assert {name for name, peer in peers.items() if "failed" in peer} == {"Transformers, sdpa"}
    assert "computes something else" in peers["Transformers, sdpa"]["failed"]
    assert "seconds" not in peers["Transformers, sdpa"]


def test_a_peer_that_cannot_start_says_why(tmp_path):
    write_random(tmp_path, PICTURES.config())  # and no graph
    found = compare(PICTURES, tmp_path, [OURS, "ONNX Runtime"], 1, 0.0, None, silent)["peers"]
    assert "model.onnx" in found["ONNX Runtime"]["failed"]
    assert found[OURS]["per_second"] > 0


def test_the_order_and_the_page(folders, tmp_path, monkeypatch):
    """From the command line's options to the page, on small models."""
    monkeypatch.setattr(measure, "CASES", (PICTURES, TEXTS))
    monkeypatch.setattr(compare_peers, "CASES", (PICTURES, TEXTS))
    monkeypatch.setattr(compare_peers, "PROFILED", PICTURES)
    options = ["--peers", "ONNX Runtime", "--seconds", "0", "--cold", "1", "--processes", "2", "--threads", "1"]
    args, cases = compare_peers.parse(options)
    runs = [json.loads(json.dumps(run)) for run in compare_peers.measure(args, cases, silent)]
    assert [len(run["cases"]) for run in runs] == [1, 2]  # what there is after each case
    page = render(runs[-1:])
    for line in ("| pictures |", "| texts |", "| 2 × ONNX Runtime |", "| linear 16->20 |"):
        assert line in page
    assert ("| share of the peak, " in page) == bool(available())
    draw_chart(runs[-1:], tmp_path / "chart.png")
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("options", [["--cases", "nothing"], ["--threads", "0"], ["--cold", "0"], ["--peers", "JAX"]])
def test_wrong_options(options, capsys):
    with pytest.raises(SystemExit) as error:
        compare_peers.parse(options)
    assert error.value.code == 2
    assert "expected" in capsys.readouterr().err.replace("there are", "expected").replace("choose from", "expected")


def test_cold_starts(folders):
    found = compare_cold(folders["pictures"], PICTURES.config(), [OURS, PLAIN, "OpenVINO", STREAMS], 1, 2, silent)
    assert list(found) == [OURS, "OpenVINO"]  # streams are for batches
    for it in found.values():
        assert it["seconds"]["rounds"] == 2
        assert set(it["stages"]) == {"start", "load", "prepare", "run"}


def test_sharing(folders):
    with np.load(folders["pictures"] / "example.npz") as inputs:
        np.savez(folders["pictures"] / "inputs.npz", **inputs)
    found = compare_sharing(folders["pictures"], [OURS, "ONNX Runtime"], 1, 2, silent)
    assert [it["processes"] for it in found.values()] == [2, 2]


@pytest.mark.parametrize("native", [False, True])
def test_pictures_are_prepared_as_our_processor_does(tmp_path, native):
    config = vision_config(is_native=native, image_size=(12, 16) if native else 20)
    write_random(tmp_path, config)
    draw_picture(tmp_path / "picture.png", config)
    expected = Aimv2ImageProcessor.from_pretrained(tmp_path)(tmp_path / "picture.png")["pixel_values"]
    found = read_picture(tmp_path / "picture.png", None if native else 20)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32


def test_errors_are_relative():
    ones = np.ones(4, np.float32)
    assert relative_error(1.5 * ones, ones) == 0.5
    assert relative_error(ones[:2], ones) == float("inf")


def test_a_peer_imports_nothing_of_ours(folders):
    """The package's own start is no part of a peer's."""
    code = (
        "import sys; from tests.benchmarks.peer import alone, PEERS; alone('talk'); alone('memory');"
        "from pathlib import Path; PEERS['ONNX Runtime'](Path(sys.argv[1]), 1, 'last_hidden_state', 'float32');"
        "bad = sorted(it for it in sys.modules if it.startswith(('aimv2_np', 'torch')));"
        "alone('talk').speak(bad)"
    )
    with Worker([sys.executable, "-c", code, str(folders["pictures"])]) as worker:
        assert worker.answer() == []
