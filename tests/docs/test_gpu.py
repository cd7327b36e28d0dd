"""The predictions on the GPU page are what its formulas give; none of them was measured."""

from aimv2_np.kernels.cuda.graphs import TOKENS as LIMIT
from tests.support.paths import ROOT

BANDWIDTH, RATE = 4.8e12, 790e12  # of an H200: bytes and dense bfloat16 operations per second, by its data sheet
BATCH, TOKENS, SIZE, INNER, HEADS, LAYERS = 64, 256, 1024, 2816, 8, 24  # large at 224 pixels
NORMS = 2 * LAYERS + 2
ROWS = BATCH * TOKENS
STREAM, GATED, SCORES = ROWS * SIZE, ROWS * INNER, BATCH * HEADS * TOKENS**2  # numbers in each

# what is fused, how often, numbers, bytes for each without and with
FUSED = (
    ("RMSNorm in one pass", NORMS, STREAM, 36, 4),
    ("attention without the N×N matrix", LAYERS, SCORES, 16, 0),
    ("SwiGLU's activation and product in one pass", LAYERS, GATED, 10, 6),
    ("residual add inside the product", 2 * LAYERS, STREAM, 8, 4),
    ("q, k, v as one product", LAYERS, STREAM, 6, 2),
    ("gate and up as one product", LAYERS, STREAM, 4, 2),
)


def rows() -> list[str]:
    """The lines of the table."""
    found = []
    for what, times, numbers, before, after in FUSED:
        saved = times * numbers * (before - after)
        found.append(
            f"| {what} | {times} | {before} → {after} | {saved / 1e9:.1f} GB | {1e3 * saved / BANDWIDTH:.2f} ms |"
        )
    return found


def test_predictions() -> None:
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    for row in rows():
        assert row in text
    for number in (
        f"{1e3 * 165e9 * BATCH / RATE:.1f} ms",
        f"{1e3 * 165e9 / RATE:.2f} ms",
        f"{1e3 * 618e6 / BANDWIDTH:.2f} ms",
    ):
        assert number in text


def test_the_limit_of_graphs() -> None:
    """Where the products of large alone take the GPU longer than the slowest estimate of what launching takes."""
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    calls = {"kernels": 4 * LAYERS, "products": 4 * LAYERS}  # q k v, out, gate and up, down
    assert f"{sum(calls.values())} calls, {calls['kernels']} kernels and {calls['products']} products" in text
    full = 165e9 * BATCH / RATE  # seconds of the products of `ROWS` tokens
    assert f"products of {LIMIT:,}" in text.replace("\n", " ")
    assert f"take {1e3 * full * LIMIT / ROWS / 0.6:.1f} ms" in text.replace("\n", " ")
    assert full * LIMIT / ROWS / 0.6 > 10e-3
    memory = 2 * LIMIT * (3 * INNER + 4 * SIZE) + (32 << 20)
    assert f"some {memory / 1e9:.1f} GB a graph" in text.replace("\n", " ")
