"""The page of a run of `compare_gpu`: its numbers as tables, and what the targets make of them."""

from collections.abc import Mapping
from typing import Any

from tests.benchmarks.gpu_peer import MODES, OURS

EAGER, SHORTEST = "Transformers, sdpa", "torch.compile, reduce-overhead"
HALF = ("float16", "bfloat16")


def render(data: Mapping[str, Any]) -> str:
    """Markdown."""
    # Not every machine has made such a page, so that no page can list them all.
    lines = ["---", "orphan: true", "---", "", f"# {data['device']['name']}", "", _machine(data), ""]
    if any(case["layers"] for case in data["cases"]):
        lines += ["**Where a number of blocks is named, only so many of the model's ran.**", ""]
    for dtype in dict.fromkeys(case["dtype"] for case in data["cases"]):
        cases = [case for case in data["cases"] if case["dtype"] == dtype]
        lines += [f"## {dtype}", "", *_table(cases), ""]
    if failures := _failures(data):
        lines += ["## What could not be timed", "", *failures, ""]
    lines += ["## Against the targets", "", *_targets(data), ""]
    if data["cold"]:
        lines += ["## Cold start", "", *_cold(data["cold"]), ""]
    return "\n".join(lines)


def _machine(data: Mapping[str, Any]) -> str:
    device = data["device"]
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    return (
        f"{data['date']}. {device['memory'] / 1e9:.0f} GB, compute capability {device['compute_capability']}, driver "
        f"for CUDA {data['driver']}, copies {data['copy_gb_per_second']:.0f} GB/s; {data['machine']['processor']}; "
        f"{versions}. Random weights, inputs on the device, TF32 off. Medians by the device's clock, in turns; "
        "ratios above 1: aimv2_np is faster."
    )


def _table(cases: list[dict[str, Any]]) -> list[str]:
    peers = list(dict.fromkeys(name for case in cases for name in case["peers"]))
    others = [name for name in peers if name != OURS]
    head = ["case", "ms", "TFLOP/s", "of GEMM", "memory", *(f"{name}: ms (ratio; memory)" for name in others)]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    for case in cases:
        ours = case["peers"].get(OURS, {})
        row = [_name(case), *(_ours(case, ours) if "seconds" in ours else ["–"] * 4)]
        row += [_other(case["peers"].get(name, {}), ours) for name in others]
        lines.append(f"| {' | '.join(row)} |")
    return lines


def _ours(case: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    rate = case["flops"] / ours["seconds"]["median"] / 1e12
    share = f"{100 * rate / case['gemm_tflops']:.0f} %"
    return [f"{1e3 * ours['seconds']['median']:.3g}", f"{rate:.0f}", share, f"{ours['memory'] / 1e9:.2f} GB"]


def _other(peer: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    if "seconds" not in peer:
        return "–"
    ratio = f"{ratio_of(peer, ours):.2f}×; " if "seconds" in ours else ""
    return f"{1e3 * peer['seconds']['median']:.3g} ({ratio}{peer['memory'] / 1e9:.2f} GB)"


def ratio_of(peer: Mapping[str, Any], ours: Mapping[str, Any]) -> float:
    """How many times as long the peer takes."""
    return float(peer["seconds"]["median"] / ours["seconds"]["median"])


def _failures(data: Mapping[str, Any]) -> list[str]:
    found: dict[str, list[str]] = {}
    for case in data["cases"]:
        for name, peer in case["peers"].items():
            if "failed" in peer:
                found.setdefault(f"{name}: {peer['failed']}", []).append(_of(case))
    return [f"- {what} ({'; '.join(where)})" for what, where in found.items()]


def _targets(data: Mapping[str, Any]) -> list[str]:
    """A line for each target that something was measured for: met, or where it was missed."""
    lines = []
    for title, judge in TARGETS.items():
        verdicts = [it for case in data["cases"] if (it := judge(case)) is not None]
        if not verdicts:
            lines.append(f"- {title}: not measured")
            continue
        missed = [f"{where} ({value:.2f})" for where, value, met in verdicts if not met]
        lines.append(f"- {title}: {'missed by ' + ', '.join(missed) if missed else 'met'} ({len(verdicts)} cases)")
    if data["cold"] and "seconds" in data["cold"].get(OURS, {}) and "seconds" in data["cold"].get(EAGER, {}):
        share = 1 / ratio_of(data["cold"][EAGER], data["cold"][OURS])
        lines.append(f"- cold start ≤ 0.5 × {EAGER}: {'met' if share <= 0.5 else 'missed'} ({share:.2f})")
    return lines


Verdict = tuple[str, float, bool]


def _of(case: Mapping[str, Any]) -> str:
    return f"{_name(case)}, {case['dtype']}"


def _name(case: Mapping[str, Any]) -> str:
    return f"{case['name']}, {case['layers']} blocks" if case["layers"] else str(case["name"])


def _large_batch(case: Mapping[str, Any]) -> bool:
    return case["batch"] >= 32 and case["dtype"] in HALF and "seconds" in case["peers"].get(OURS, {})


def _one(case: Mapping[str, Any]) -> bool:
    return case["batch"] == 1 and "seconds" in case["peers"].get(OURS, {})


def _against(peers: tuple[str, ...], least: float, applies: Any) -> Any:
    """Ours against the fastest of some peers."""

    def judge(case: Mapping[str, Any]) -> Verdict | None:
        timed = [case["peers"][name] for name in peers if "seconds" in case["peers"].get(name, {})]
        if not applies(case) or not timed:
            return None
        ratio = min(ratio_of(peer, case["peers"][OURS]) for peer in timed)
        return _of(case), ratio, ratio >= least

    return judge


def _gemm(model: str, least: float) -> Any:
    def judge(case: Mapping[str, Any]) -> Verdict | None:
        if not case["name"].startswith(model) or not _large_batch(case):
            return None
        share = case["flops"] / case["peers"][OURS]["seconds"]["median"] / 1e12 / case["gemm_tflops"]
        return _of(case), share, share >= least

    return judge


def _memory(case: Mapping[str, Any]) -> Verdict | None:
    ours, theirs = (case["peers"].get(name, {}) for name in (OURS, EAGER))
    if "memory" not in ours or "memory" not in theirs:
        return None
    ratio = ours["memory"] / theirs["memory"]
    return _of(case), ratio, ratio <= 1


TARGETS: dict[str, Any] = {
    "half precision, batch ≥ 32: ≥ 1.0 × the best torch.compile": _against(tuple(MODES), 1.0, _large_batch),
    "half precision, batch ≥ 32: ≥ 1.3 × Transformers, sdpa": _against((EAGER,), 1.3, _large_batch),
    "half precision, batch ≥ 32, large: ≥ 65 % of the GEMM rate": _gemm("large-224", 0.65),
    "half precision, batch ≥ 32, 3B: ≥ 75 % of the GEMM rate": _gemm("3B", 0.75),
    "batch 1: latency ≤ 1.0 × reduce-overhead": _against((SHORTEST,), 1.0, _one),
    "batch 1: latency ≤ 0.4 × Transformers, sdpa": _against((EAGER,), 2.5, _one),
    "device memory ≤ PyTorch's": _memory,
}


def _cold(cold: Mapping[str, Any]) -> list[str]:
    lines = ["| | seconds | of which |", "|---|---:|---|"]
    for name, it in cold.items():
        if "failed" in it:
            lines.append(f"| {name} | – | {it['failed']} |")
            continue
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in it["stages"].items())
        lines.append(f"| {name} | {it['seconds']['median']:.2f} | {stages} |")
    return lines
