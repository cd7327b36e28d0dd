"""The order in which activations are computed, where a recording has them in another: outputs come by their fields."""

from collections.abc import Iterable

LOGITS = ("logits_per_image", "logits_per_text", "loss")
LAST = "last_hidden_state"


def in_execution_order(paths: Iterable[str]) -> list[str]:
    """`paths` with each `last_hidden_state` behind the norm that it is of, and logits behind what they are made of."""
    paths = list(paths)
    result = sorted((path for path in paths if not _is(path, LAST)), key=lambda path: _is(path, *LOGITS))
    for path in (path for path in paths if _is(path, LAST)):
        prefix = path.removesuffix(LAST)
        before = [i + 1 for i, other in enumerate(result) if other == f"{prefix}rms_norm"]
        later = [i for i, other in enumerate(result) if other.startswith((f"{prefix}head", f"{prefix}pooler_output"))]
        result.insert((before or later or [len(result)])[0], path)
    return result


def _is(path: str, *names: str) -> bool:
    return path.rpartition(".")[2] in names
