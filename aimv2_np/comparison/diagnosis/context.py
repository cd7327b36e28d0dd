"""What a diagnosis knows: the two recordings, what was found to differ, and the model that made the reference."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from aimv2_np.comparison.comparison import Comparison
from aimv2_np.comparison.diagnosis.forced import Taken
from aimv2_np.comparison.diagnosis.originals import Pictures
from aimv2_np.comparison.diagnosis.weights import recorded_model
from aimv2_np.comparison.naming import TOWERS
from aimv2_np.models.pretrained import AnyModel
from aimv2_np.recording.recording import Recording
from aimv2_np.shapes import NDArray
from aimv2_np.tree.module import Module

# (path, array) → the relative error of what the other side recorded there against the array; whether that is rounding.
Judge = Callable[[str, NDArray], tuple[float, bool]]
# The norms of a layer → the only module that takes what they give.
FED_BY = {"rms_norm1": "attention", "rms_norm2": "ffn"}
INPUT_NAMES = ("pixel_values", "input_ids")


@dataclass(eq=False)
class Context:
    """Everything from which causes are looked for. Paths are the reference's.

    Attributes:
        reference, other: the recordings.
        names: path → the name under which the other side recorded it.
        result: all differences between the two.
        judge: tells how far the other side is from an array.
        given: the model that the caller passed, or None.
        base: path → module in whose place the model has it: faults that were found before, behind which more are
            looked for.
        taken: where every module is judged by its own error: what the other side recorded, which modules take for
            their inputs. The reference then holds what they compute of it.
        pictures: what the reference's pixel_values were made of, where the caller passed it.
    """

    reference: Recording
    other: Recording
    names: Mapping[str, str]
    result: Comparison
    judge: Judge
    given: AnyModel | None = None
    base: Mapping[str, Module] = field(default_factory=dict)
    taken: Taken | None = None
    pictures: Pictures | None = None

    @cached_property
    def good(self) -> set[str]:
        """The paths at which both sides agree."""
        return {difference.path for difference in self.result.differences if difference.equal}

    @cached_property
    def innocent(self) -> set[str]:
        """The paths of modules that have no fault, as both sides agree there.

        Of what the other side gave it, a module computes what it should if only something within it is wrong.
        """
        return self._right_throughout if self.taken else self.good

    @cached_property
    def _right_throughout(self) -> set[str]:
        """The paths at which, and within which, nothing differs."""
        bad = [difference.path for difference in self.result.differences if not difference.equal]
        return {path for path in self.good if not any(other.startswith(path + ".") for other in bad)}

    def acquits(self, path: str) -> bool:
        """Whether a module has no fault: it agrees, or it lies within one that does, or is the norm that feeds one."""
        around = [path[:i] for i, letter in enumerate(path) if letter == "."]
        before, _, name = path.rpartition(".")
        if name in FED_BY and path not in self.names:
            around.append(f"{before}.{FED_BY[name]}")
        return path in self.innocent or any(outer in self._right_throughout for outer in around)

    @cached_property
    def model(self) -> Any:
        """The model that was given or that the reference was made with, on NumPy, at least in float32; None if neither.

        Where the reference holds the activations of one tower, that tower of it.
        """
        model: Any = recorded_model(self.reference) if self.given is None else self.given
        if model is None:
            return None
        if hasattr(model, "vision_model") and not any(path.startswith(TOWERS) for path in self.reference.order):
            model = model.text_model if self.is_text("") else model.vision_model
        return model.to("numpy", "float32" if model.dtype in ("float16", "bfloat16") else model.dtype)

    @cached_property
    def modules(self) -> dict[str, Module]:
        """Path → module of the model; none without one."""
        return dict(self.model.named_modules()) if self.model is not None else {}

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
        patches = any(other.endswith("embeddings.patch_embed") for other in self.reference.order)
        return not patches and self.input("pixel_values") is None

    def theirs(self, path: str) -> NDArray | None:
        """The array that the other side recorded at `path`, where it is recorded, and whole."""
        return self.other.array(self.names.get(path, ""))

    def input(self, name: str) -> NDArray | None:
        """The reference's input of that name; the other side's where the reference's recording left it out."""
        ours = self.reference.inputs.get(name)
        return self.other.inputs.get(name) if ours is None and not name.endswith("mask") else ours

    def on_their_inputs(self, *names: str) -> "Context | None":
        """The same, as if the reference had run on the inputs that the other side recorded; None if one is unlike it.

        All of them, or those of these names; the rest, and those that the other side did not record, are the
        reference's.
        """
        ours = dict(self.reference.inputs)
        theirs = {name: self.other.inputs[name] for name in names or ours if name in self.other.inputs and name in ours}
        if not all(self._can_run_on(name, array, ours[name]) for name, array in theirs.items()):
            return None
        theirs = {name: array.astype(ours[name].dtype, copy=False) for name, array in theirs.items()}
        return replace(self, reference=replace(self.reference, inputs=ours | theirs), given=self.model)

    def _can_run_on(self, name: str, array: NDArray, like: NDArray) -> bool:
        """Whether the reference can take that input: its shape, real numbers, token ids that are in its table."""
        if array.shape != like.shape or array.dtype.kind not in "fiub":
            return False
        if name != "input_ids" or not array.size:
            return True
        tables: list[Any] = [m for path, m in self.modules.items() if path.endswith("token_embedding")]
        whole = bool(np.isfinite(array).all() and (array == np.floor(array)).all())
        return whole and array.min() >= 0 and all(array.max() < len(m.weight) for m in tables)

    @property
    def borrowed(self) -> bool:
        """Whether an input of the reference is not known, and the other side's stands for it."""
        return any(self.input(name) is not None and name not in self.reference.inputs for name in INPUT_NAMES)
