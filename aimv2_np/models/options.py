"""The options by which a model is loaded; `PretrainedModel.from_pretrained` explains them all."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from aimv2_np.files.hub import HubOptions

Progress = Callable[[int, int], None]  # called with how many bytes are in place, and of how many


class WhichModel(TypedDict, total=False):
    """Which model of a checkpoint is meant."""

    prefix: str | None
    final_norm: bool


class CheckpointOptions(HubOptions, WhichModel, total=False):
    """Where a checkpoint is, and which of its models is meant."""


class Placement(TypedDict, total=False):
    """Where a model's arrays live, and what it computes in."""

    backend: str
    dtype: str
    device: int | None


class ModelOptions(CheckpointOptions, Placement, total=False):
    """Everything that `from_pretrained` and `load` take besides the checkpoint."""

    progress: Progress | None


NOT_THE_HUBS = ModelOptions.__annotations__.keys() - HubOptions.__annotations__.keys()


def fetching(options: Mapping[str, Any]) -> dict[str, Any]:
    """A model's options without those that mean nothing to the processors in the same folder."""
    return {name: value for name, value in options.items() if name not in NOT_THE_HUBS}
