"""The cases of the comparison on a GPU."""

from tests.benchmarks.measure import Case, pictures

DTYPES = ("float32", "float16", "bfloat16")
BATCHES = (1, 8, 64, 256)
MODELS = [f"{size}-{pixels}" for size in ("large", "huge", "1B", "3B") for pixels in (224, 448)]


def _cases() -> tuple[Case, ...]:
    found = [
        pictures(f"{model}, batch {batch}", model, int(model.rpartition("-")[2]), batch)
        for model in MODELS
        for batch in BATCHES
    ]
    return (*found, *(pictures(f"large-native, 4096 tokens, batch {it}", "large-native", 896, it) for it in BATCHES))


CASES = _cases()
