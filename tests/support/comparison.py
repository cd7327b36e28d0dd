"""How two runs of a model are compared: activations by path, relative to their size, where they mean anything.

Needs neither PyTorch nor Transformers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from aimv2_np import to_numpy, trace
from aimv2_np.tree.module import Module

NDArray = np.ndarray[Any, np.dtype[Any]]

# What trace() records inside attention and the pooling head; scores and probs only when operations run as written.
INNER = ("q", "k", "v")
INNER_TEXTBOOK = ("q", "k", "v", "scores", "probs")

# Models and their networks, which share their paths: of these the fields of what they return are recorded.
VISION_TOWERS, TEXT_TOWERS = ("Aimv2VisionModel", "VisionTower"), ("Aimv2TextModel", "TextTower")
BOTH_TOWERS = ("Aimv2Model", "Aimv2")


def our_activations(model: Module, inputs: dict[str, NDArray], *, inner: bool) -> dict[str, NDArray]:
    """What trace() records: with `inner`, every operation as written; without, the fast bodies."""
    with trace(model, inner=inner) as activations:
        model(**inputs)
    return {path: to_numpy(array) for path, array in activations.items()}


def expected_paths(model: Module, *, inner: bool) -> set[str]:
    """The paths that a trace of `model` must hold, from its tree alone."""
    paths = set()
    for path, module in model.named_modules():
        kind = type(module).__name__
        if kind in ("Attention", "AttentionPoolingHead"):
            paths |= {f"{path}.{name}" for name in (INNER_TEXTBOOK if inner else INNER)}
        if kind in VISION_TOWERS + TEXT_TOWERS:
            pooled = kind in TEXT_TOWERS or module.head is not None
            names = ("last_hidden_state", "pooler_output") if pooled else ("last_hidden_state",)
            paths |= {f"{path}.{name}".lstrip(".") for name in names}
        elif kind in BOTH_TOWERS:
            paths |= {"logits_per_image", "logits_per_text", "text_embeds", "image_embeds"}
        else:
            paths.add(path)
        if kind == "VisionEmbeddings":
            paths.add(f"{path}.position_embedding")
    return paths


def rms(x: NDArray) -> float:
    """The root mean square of all elements, in float64."""
    return float(np.sqrt(np.mean(np.square(x, dtype=np.float64)))) if x.size else 0.0


def relative_error(value: NDArray, reference: NDArray, scale: float = 0.0) -> float:
    """The largest difference, relative to the root mean square of the reference or to `scale`, whichever is more."""
    assert value.shape == reference.shape, f"shape {value.shape}, expected {reference.shape}"
    assert np.isfinite(value).all(), "not finite"
    if value.size == 0:
        return 0.0
    difference = float(np.abs(value.astype(np.float64) - reference).max())
    return difference / max(scale, rms(reference)) if difference else 0.0


@dataclass
class Meaning:
    """Which rows of the text tower's arrays mean something (S2): that may look at a key, or were pooled from such."""

    rows: NDArray  # (B, T)
    pooled: NDArray  # (B,)

    @classmethod
    def of(cls, config: Any, inputs: dict[str, NDArray]) -> "Meaning | None":
        if "input_ids" not in inputs:
            return None
        ids, text = inputs["input_ids"], getattr(config, "text_config", config)
        mask = inputs.get("attention_mask", np.ones_like(ids))
        rows = np.cumsum(mask, axis=1) > 0
        end = (ids == text.eos_token_id).argmax(axis=1)
        return cls(rows, rows[np.arange(len(ids)), end])

    def part(self, path: str, array: NDArray) -> NDArray:
        """The meaningful part of an activation of the text tower."""
        name = path.rpartition(".")[2]
        if name == "position_embedding":
            return array
        if name == "pooler_output":
            return array[self.pooled]
        if name in ("q", "k", "v"):
            return array.swapaxes(1, 2)[self.rows]
        if name in ("scores", "probs"):
            return array.transpose(0, 2, 3, 1)[self.rows[:, :, None] & self.rows[:, None, :]]
        return array[self.rows]


def errors(
    ours: dict[str, NDArray],
    theirs: dict[str, NDArray],
    meaning: Meaning | None = None,
    scale: dict[str, float] | None = None,
) -> dict[str, float]:
    """Relative error of each path of `ours`; a path of ours that `theirs` lacks is a KeyError."""
    result, scale = {}, scale or {}
    for path, value in ours.items():
        in_text = meaning is not None and ("text_model." in path or "text_embeds" not in theirs)
        part = (lambda p, a: meaning.part(p, a)) if in_text and meaning else (lambda _, a: a)
        result[path] = relative_error(part(path, value), part(path, theirs[path]), scale.get(path, 0.0))
    return result


def widest_sum(model: Any) -> int:
    """The most numbers that any product of the model sums up."""
    return max(int(np.prod(a.shape[1:])) for a in model.state_dict().values() if a.ndim > 1)


def assert_below(found: dict[str, float], bound: float) -> None:
    """Every path's error is at most `bound`; otherwise all that are not, in order of execution."""
    above = {path: error for path, error in found.items() if not error <= bound}
    assert not above, f"relative error above {bound:.2g}: {above}"
