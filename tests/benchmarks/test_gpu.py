"""The comparison on a GPU, without one: options, peers, what is kept, and the page."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.benchmarks import compare_gpu, gpu_peer, gpu_report, gpu_results
from tests.benchmarks.gpu_peer import OURS, PEERS
from tests.benchmarks.measure import Case

COMPILED = "torch.compile, reduce-overhead"


def timed(milliseconds: float, memory: float = 2e9) -> dict[str, Any]:
    return {"error": 0.0, "opening": 1.0, "memory": memory, "seconds": {"median": milliseconds / 1e3}}


def case(name: str, batch: int, dtype: str = "bfloat16", **peers: Any) -> dict[str, Any]:
    names = {"ours": OURS, "eager": "Transformers, sdpa", "compiled": COMPILED}
    return {
        "name": name, "dtype": dtype, "batch": batch, "flops": 8e12, "gemm_tflops": 500.0, "input": {},
        "layers": None, "seconds": 5.0,
        "peers": {names[peer]: value for peer, value in peers.items()},
    }  # fmt: skip


def data(*cases: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "date": "2026-01-01", "driver": "12.9", "runtime": "12.9",
        "device": {"name": "Made up", "memory": 80e9, "free": 80e9, "compute_capability": "9.0"},
        "machine": {"processor": "none"}, "versions": {"numpy": "2"}, "copy_gb_per_second": 3000.0,
        "cases": list(cases), "cold": None, **changes,
    }  # fmt: skip


def test_every_case_of_the_issue_is_there() -> None:
    names = {it.name for it in compare_gpu.CASES}
    assert {"large-224, batch 1", "3B-448, batch 256", "huge-224, batch 8", "1B-448, batch 64"} <= names
    assert "large-native, 4096 tokens, batch 8" in names
    assert len(names) == len(compare_gpu.CASES) == 36
    for it in compare_gpu.CASES:
        assert it.config().num_hidden_layers == 24


def test_peers() -> None:
    assert next(iter(PEERS)) == OURS
    assert set(gpu_peer.MODES) | {"Transformers, sdpa", "timm"} == set(PEERS) - {OURS}
    assert set(gpu_peer.MODES.values()) == {"default", "reduce-overhead", "max-autotune"}


def test_options(capsys: pytest.CaptureFixture[str]) -> None:
    args, cases = compare_gpu.parse(["--cases", "3B-224*", "--dtypes", "float16", "--peers", "timm"])
    assert args.peers == [OURS, "timm"]
    assert [it.batch for it in cases] == [1, 8, 64, 256]
    for wrong in (["--cases", "4B*"], ["--seconds", "-1"], ["--dtypes", "int8"], ["--peers", "JAX"]):
        with pytest.raises(SystemExit):
            compare_gpu.parse(wrong)
    assert "no case matches 4B*" in capsys.readouterr().err


def test_the_file_of_a_report() -> None:
    assert gpu_results.file_of("NVIDIA H200") == "nvidia-h200.json"


def test_what_was_measured_before_is_kept() -> None:
    old = data(
        case("large-224, batch 1", 1, ours=timed(9)), case("large-224, batch 8", 8, ours=timed(9)), cold={"a": 1}
    )
    new = data(case("large-224, batch 8", 8, ours=timed(5)))
    both = gpu_results.joined(old, new)
    assert [it["peers"][OURS]["seconds"]["median"] for it in both["cases"]] == [9e-3, 5e-3]
    assert both["cold"] == {"a": 1}
    assert gpu_results.joined(old | {"versions": {}}, new) == new
    short = data(case("large-224, batch 8", 8, ours=timed(1)) | {"layers": 4})
    assert [it["layers"] for it in gpu_results.joined(old, short)["cases"]] == [None, 4, None]
    assert gpu_results.joined(None, new) == new


def test_the_page() -> None:
    page = gpu_report.render(data(
        case("large-224, batch 64", 64, ours=timed(20), eager=timed(30), compiled=timed(22)),
        case("3B-224, batch 64", 64, ours=timed(40), eager=timed(44), compiled=timed(36)),
        case("large-224, batch 1", 1, ours=timed(2), eager=timed(6), compiled={"failed": "no compiler"}),
        cold={OURS: {"seconds": {"median": 2.0}, "stages": {"load": 1.0}}, "timm": {"failed": "not installed"}},
    ))  # fmt: skip
    assert page.startswith("---\norphan: true\n---\n\n# Made up\n")
    # 8 TFLOP in 20 ms are 400 TFLOP/s, of 500; 30 ms are 1.5 times 20 ms.
    assert "| large-224, batch 64 | 20 | 400 | 80 % | 2.00 GB | 30 (1.50×; 2.00 GB) | 22 (1.10×; 2.00 GB) |" in page
    assert "| large-224, batch 1 | 2 | 4000 | 800 % | 2.00 GB | 6 (3.00×; 2.00 GB) | – |" in page
    assert "- torch.compile, reduce-overhead: no compiler (large-224, batch 1, bfloat16)" in page
    assert "≥ 1.0 × the best torch.compile: missed by 3B-224, batch 64, bfloat16 (0.90) (2 cases)" in page
    assert "≥ 1.3 × Transformers, sdpa: missed by 3B-224, batch 64, bfloat16 (1.10) (2 cases)" in page
    assert "large: ≥ 65 % of the GEMM rate: met (1 cases)" in page
    assert "3B: ≥ 75 % of the GEMM rate: missed by 3B-224, batch 64, bfloat16 (0.40) (1 cases)" in page
    assert "latency ≤ 1.0 × reduce-overhead: not measured" in page
    assert "latency ≤ 0.4 × Transformers, sdpa: met (1 cases)" in page
    assert "device memory ≤ PyTorch's: met (3 cases)" in page
    assert "| timm | – | not installed |" in page


def test_a_part_of_a_model_is_called_one() -> None:
    whole, part = case("large-224, batch 1", 1, ours=timed(2)), case("large-224, batch 1", 1, ours=timed(1))
    page = gpu_report.render(data(whole, part | {"layers": 4}))
    assert "only so many of the model's ran" in page
    assert "| large-224, batch 1 | 2 |" in page
    assert "| large-224, batch 1, 4 blocks | 1 |" in page


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "made-up.json").read_text())
    return found


def names(results: dict[str, Any]) -> list[str]:
    return [it["name"] for it in results["cases"]]


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docs/benchmarks, as it were."""
    monkeypatch.setattr(gpu_results, "RESULTS", tmp_path / "published")
    return tmp_path / "published"


@pytest.mark.usefixtures("published")
def test_a_second_run_adds_to_the_first(tmp_path: Path) -> None:
    first = gpu_results.Results(tmp_path)
    first.keep(data(case("large-224, batch 1", 1, ours=timed(3))))
    first.keep(data(case("large-224, batch 1", 1, ours=timed(3)), case("large-224, batch 8", 8, ours=timed(4))))
    assert names(read(tmp_path)) == ["large-224, batch 1", "large-224, batch 8"]
    gpu_results.Results(tmp_path).keep(data(case("large-224, batch 64", 64, ours=timed(5))))
    assert names(read(tmp_path)) == ["large-224, batch 1", "large-224, batch 8", "large-224, batch 64"]
    assert "| large-224, batch 64 | 5 |" in (tmp_path / "made-up.md").read_text()
    assert sorted(it.name for it in tmp_path.iterdir()) == ["made-up.json", "made-up.md"]


def test_an_empty_folder_begins_with_what_is_published(tmp_path: Path, published: Path) -> None:
    gpu_results.Results(published).keep(data(case("large-224, batch 1", 1, ours=timed(3))))
    gpu_results.Results(tmp_path / "new").keep(data(case("large-224, batch 8", 8, ours=timed(4))))
    assert names(read(tmp_path / "new")) == ["large-224, batch 1", "large-224, batch 8"]
    assert names(read(published)) == ["large-224, batch 1"]


@pytest.mark.usefixtures("published")
def test_results_of_other_versions_are_put_aside(tmp_path: Path) -> None:
    gpu_results.Results(tmp_path).keep(data(case("large-224, batch 1", 1, ours=timed(3)), versions={"numpy": "1"}))
    gpu_results.Results(tmp_path).keep(data(case("large-224, batch 8", 8, ours=timed(4))))
    assert names(read(tmp_path)) == ["large-224, batch 8"]
    assert names(json.loads((tmp_path / "made-up-2026-01-01.json").read_text())) == ["large-224, batch 1"]


@pytest.mark.usefixtures("published")
def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results, one = gpu_results.Results(tmp_path), case("large-224, batch 1", 1, ours=timed(3))
    results.keep(data(one))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        results.keep(data(one, case("large-224, batch 8", 8, ours=timed(4))))
    assert names(read(tmp_path)) == ["large-224, batch 1"]


class StubWorker:
    """A peer that needs neither a GPU nor PyTorch: right, wrong, or without the memory for two."""

    opened: dict[str, int] = {}  # noqa: RUF012

    def __init__(self, command: list[str]) -> None:
        self.name = command[3]

    def __enter__(self) -> "StubWorker":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ask(self, request: str, **arguments: Any) -> Any:
        if request == "run":
            return 0.01
        attempt = self.opened[self.name] = self.opened.get(self.name, 0) + 1
        if self.name == "torch.compile" and attempt == 1:
            raise RuntimeError("CUDA out of memory")
        if self.name == "timm":
            raise RuntimeError("No module named 'timm'")
        features = np.ones((2, 3), np.float32) * (2 if self.name == COMPILED else 1)
        np.save(arguments["features"], features)
        return {"seconds": 1.0, "taken": 5 << 30}


def test_comparing(cupy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_gpu, "Worker", StubWorker)
    monkeypatch.setattr(compare_gpu, "gemm_rate", lambda *_: 1e12)
    monkeypatch.setattr(StubWorker, "opened", {})
    args, cases = compare_gpu.parse(["--cases", "large-224, batch 1", "--seconds", "0", "--layers", "1"])
    found = compare_gpu.compare(cases[0], "bfloat16", tmp_path, args, lambda _: None)["peers"]
    assert found[OURS]["per_second"] == pytest.approx(100)
    assert found["timm"]["failed"] == "No module named 'timm'"
    assert "computes something else" in found[COMPILED]["failed"]
    assert found["torch.compile"]["alone"]
    assert found["torch.compile"]["seconds"]["median"] == 0.01


@pytest.mark.usefixtures("published")
def test_every_case_is_kept_when_it_is_done(cupy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before something ended the run is there."""

    def compare(it: Case, dtype: str, *_: object) -> dict[str, Any]:
        if it.batch == 8:
            raise KeyboardInterrupt
        return case(it.name, it.batch, dtype, ours=timed(1))

    monkeypatch.setattr(compare_gpu, "compare", compare)
    monkeypatch.setattr(compare_gpu, "prepare", lambda *_: None)
    monkeypatch.setattr(compare_gpu, "copy_bandwidth", lambda _: 1e12)
    args, cases = compare_gpu.parse(["--cases", "large-224*", "--dtypes", "float16", "float32", "--cold", "0"])
    with pytest.raises(KeyboardInterrupt):
        compare_gpu.measure(args, cases, lambda _: None, gpu_results.Results(tmp_path).keep)
    (written,) = tmp_path.glob("*.json")
    found = json.loads(written.read_text())["cases"]
    assert [(it["name"], it["dtype"]) for it in found] == [
        ("large-224, batch 1", "float32"), ("large-224, batch 1", "float16"),
    ]  # fmt: skip


def test_a_peer_that_dies_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying(StubWorker):
        def ask(self, request: str, **arguments: Any) -> Any:
            if request == "run" and self.name == "torch.compile":
                raise RuntimeError("a measuring process was ended by SIGKILL")
            return super().ask(request, **arguments)

    monkeypatch.setattr(compare_gpu, "Worker", Dying)
    monkeypatch.setattr(compare_gpu, "_taken", lambda: 0)
    monkeypatch.setattr(StubWorker, "opened", {"torch.compile": 1})
    found = compare_gpu._together([OURS, "torch.compile", "timm"], "bfloat16", tmp_path, 0, 1.0)
    assert "SIGKILL" in found[OURS]["failed"]
    assert "SIGKILL" in found["torch.compile"]["failed"]
    assert found["timm"]["failed"] == "No module named 'timm'"


def test_the_rate_of_products(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aimv2_np.bench.gpu.CACHE_BYTES", 1000)
    monkeypatch.setattr("aimv2_np.bench.gpu.BUSY_BYTES", 1000)
    from aimv2_np.bench.flops import Product

    assert compare_gpu.gemm_rate([Product("a", 4, 8, 3), Product("b", 4, 3, 8, 2)], "float16") > 0
