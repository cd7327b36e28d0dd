"""The predictions on the GPU page are what its formulas give; none of them was measured."""

from fractions import Fraction

from aimv2_np.kernels.cuda.graphs import TOKENS as LIMIT
from tests.support.paths import ROOT

BANDWIDTH, RATE = 4.8e12, 790e12  # of an H200: bytes and dense bfloat16 operations per second
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


# case, tokens, hidden size, inner size, TFLOP/s of FlashAttention-2 on an H100
CASES = (
    ("large at 224 pixels", 256, 1024, 2816, 309),
    ("large at 448 pixels", 1024, 1024, 2816, 350),
    ("large, native", 4096, 1024, 2816, 368),
    ("3B at 448 pixels", 1024, 3072, 8192, 350),
)
NARROW = 240  # TFLOP/s with 16 rows a warp
MULTIPROCESSORS, SHARED_BYTES, MULTIPLICATIONS = 132, 128, 2048  # of sm_90: the latter two in a clock
HEAD, KEYS = 128, 64  # of a head, of a tile


def comparison(tokens: int, size: int, inner: int, published: float) -> list[str]:
    """The cells of a case behind its name, of which all but the first and the last two are milliseconds."""
    pixels = 3 * 14 * 14
    products = 2 * tokens * (LAYERS * (4 * size**2 + 3 * size * inner) + pixels * size)
    attention = 4 * tokens**2 * size * LAYERS
    ours = tokens * LAYERS * (2 * 8 * size + 6 * inner)
    theirs = ours + tokens * LAYERS * (4 + 2) * size
    flash, narrow = (1e3 * attention / (rate * 1e12) for rate in (published, NARROW))
    products, theirs, ours = 1e3 * products / RATE, 1e3 * theirs / BANDWIDTH, 1e3 * ours / BANDWIDTH
    total = products + flash + theirs
    ratios = [total / (products + own + ours) for own in (narrow, flash)]
    times = [f"{products:.2f}", f"{theirs:.2f}; {ours:.2f}", f"{flash:.2f}; {narrow:.2f}"]
    return [str(tokens), *times, *(f"{ratio:.2f} ×" for ratio in ratios)]


def read_per_multiplication(rows: int, queries_in_shared_memory: bool) -> float:
    """Bytes of shared memory per multiply-add of a warp of `rows` rows; keys, values and queries are of 16 bits."""
    products = KEYS * HEAD * rows
    bytes_of_keys_and_values = 2 * (KEYS * HEAD + KEYS * HEAD)
    return (bytes_of_keys_and_values + 2 * HEAD * rows * queries_in_shared_memory) / (2 * products)


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


def test_predictions_against_torch_compile() -> None:
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    for case, *numbers in CASES:
        assert f"| {' | '.join([case, *comparison(*numbers)])} |" in text
    narrow, wide = read_per_multiplication(16, False), read_per_multiplication(32, True)
    assert wide / narrow == 5 / 8
    assert f"({309 * wide / narrow:.0f} to {368 * wide / narrow:.0f})" in text


def test_predictions_of_attention() -> None:
    text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    for start, rows_of_warp, shared, together in (
        ("| 64; 16 | 1/8 byte | in registers", 16, False, "1/8"),
        ("| 128; 32 | 1/16 byte | 1/32, for the product with the keys", 32, True, "5/64"),
    ):
        read = read_per_multiplication(rows_of_warp, shared)
        assert read == float(Fraction(together))
        clocks = read * 2 * KEYS * HEAD * 4 * rows_of_warp / SHARED_BYTES  # of 4 warps
        share = SHARED_BYTES / read / MULTIPLICATIONS
        assert f"{start} | {together} | {share:.0%} | {clocks:.0f} |".replace("%", " %") in text
    softmax = 128 * KEYS * (1 / 16 + 8 / 128)
    assert f"then {softmax:.0f} for its softmax ({128 * KEYS / 16:.0f} at 16 exponentials" in text
    pictures = next(n for n in range(1, BATCH) if n * HEADS * TOKENS // 128 >= MULTIPROCESSORS) - 1
    assert f"({MULTIPROCESSORS} of an H200: up to {pictures} pictures of large at 224 pixels)" in text
