"""What a diagnosis knows: the two recordings, the differences found, and the model that made the reference."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from aimv2_np.comparison.comparison import Difference
from aimv2_np.comparison.diagnosis.weights import find_model
from aimv2_np.comparison.measure import measure
from aimv2_np.comparison.naming import TOWERS
from aimv2_np.recording.recording import Recording

INPUT_NAMES = ("pixel_values", "input_ids")

NDArray = np.ndarray[Any, np.dtype[Any]]


class Context:
    """Attributes:
    reference, other: the recordings.
    names: path → the other side's name of it.
    differences: all of them, in order of execution.
    given: the model that the caller passed, or None.
    """

    def __init__(
        self,
        reference: Recording,
        other: Recording,
        names: Mapping[str, str],
        differences: Sequence[Difference],
        given: Any = None,
    ) -> None:
        self.reference, self.other, self.names = reference, other, names
        self.differences, self.given = differences, given
        self.good = {difference.path for difference in differences if difference.equal}

    @property
    def first(self) -> Difference | None:
        """The first divergence."""
        return next((difference for difference in self.differences if not difference.equal), None)

    @cached_property
    def model(self) -> Any:
        """The model that was given, or the one that the reference was made with, on NumPy, at least in float32."""
        model = self.given if self.given is not None else find_model(self.reference)
        if model is None:
            return None
        if hasattr(model, "vision_model") and not any(path.startswith(TOWERS) for path in self.reference.order):
            # A recording of one tower, and both are given.
            model = model.text_model if self.is_text("") else model.vision_model
        return model.to("numpy", "float32" if model.dtype in ("float16", "bfloat16") else model.dtype)

    @cached_property
    def inner(self) -> bool:
        """Whether the other side recorded scores or probabilities of any attention."""
        return any(path.endswith((".scores", ".probs")) for path in self.names)

    @property
    def causal(self) -> bool:
        """Whether the reference's text tower ran causally."""
        try:
            options = json.loads(self.reference.metadata.get("options", "{}"))
        except ValueError:
            return True
        return not isinstance(options, dict) or options.get("causal", True) is not False

    def is_text(self, path: str) -> bool:
        """Whether `path` lies in the text tower."""
        if path.startswith(TOWERS):
            return path.startswith("text_model.")
        return not any(other.endswith("embeddings.patch_embed") for other in self.reference.order) and (
            self.input("pixel_values") is None
        )

    def ours(self, path: str) -> NDArray | None:
        """The reference's whole array of `path`, if it is recorded."""
        if path in self.reference.slices or path not in self.reference.activations:
            return None
        return self.reference.activations[path]

    def apart(self, path: str, ours: NDArray, computed: NDArray) -> bool:
        """Whether the model misses what the reference recorded by more than half of the difference found."""
        first = self.first
        assert first is not None
        relative = measure(ours, computed, first.dtype).relative
        return relative > max(first.tolerance, 0.0) and relative > 0.5 * first.relative

    def theirs(self, path: str) -> NDArray | None:
        """The other side's whole array of `path`, if it is recorded."""
        name = self.names.get(path)
        if name is None or name in self.other.slices or name not in self.other.activations:
            return None
        return self.other.activations[name]

    def has(self, path: str) -> bool:
        """Whether the other side recorded `path`."""
        return path in self.names

    def input(self, name: str) -> NDArray | None:
        """The reference's input of that name; the other side's where the reference's recording left it out."""
        ours = self.reference.inputs.get(name)
        return self.other.inputs.get(name) if ours is None and not name.endswith("mask") else ours

    @property
    def borrowed(self) -> bool:
        """Whether the input of the reference is not known, and the other side's stands for it."""
        return any(self.input(name) is not None and name not in self.reference.inputs for name in INPUT_NAMES)
