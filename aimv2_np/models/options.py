"""The options by which a model is loaded: the hub's, which model of a checkpoint it is, and how it computes."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from aimv2_np.files.hub import HubOptions

Progress = Callable[[int, int], None]


class WhichModel(TypedDict, total=False):
    """Which model of a checkpoint is meant.

    Attributes:
        prefix: what the model's names begin with, where the checkpoint holds several AIMv2; None: it is found.
        final_norm: False to leave out the vision tower's last norm.
    """

    prefix: str | None
    final_norm: bool


class CheckpointOptions(HubOptions, WhichModel, total=False):
    """Where a checkpoint is, and which of its models is meant."""


class Placement(TypedDict, total=False):
    """Where a model's arrays live, and what it computes in.

    Attributes:
        backend: "numpy" or "cupy".
        dtype: "float32", "float64", "float16" or, with CuPy, "bfloat16".
        device: with CuPy the number of a GPU; None: the current one.
    """

    backend: str
    dtype: str
    device: int | None


class ModelOptions(CheckpointOptions, Placement, total=False):
    """Everything that `from_pretrained` and `load` take beside the checkpoint.

    Attributes:
        progress: called with how many bytes of weights are in place, and of how many.
    """

    progress: Progress | None


NOT_THE_HUBS = ModelOptions.__annotations__.keys() - HubOptions.__annotations__.keys()


def fetching(options: Mapping[str, Any]) -> dict[str, Any]:
    """A model's options without those that mean nothing to the processors in the same folder."""
    return {name: value for name, value in options.items() if name not in NOT_THE_HUBS}
