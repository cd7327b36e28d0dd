"""All that a training is at one moment, and the file that it is kept in.

The file holds the weights, both means of the optimizer, the running average if there is one, and how many steps were
taken; in float16 also the factor of the loss. Nothing in it says where it was computed: what a GPU began, a CPU may go
on with. Nothing else is needed to go on: the rate, the order of the pictures, how they are cropped and what else is
drawn at random are functions of the seed and of the number of the step.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import move, settle, to_host
from aimv2_np.errors import CheckpointError, a_type
from aimv2_np.shapes import Array, NDArray
from aimv2_np.storage import save_safetensors
from aimv2_np.storage.formats.safetensors_file import SafetensorsFile
from aimv2_np.training.precision import LossScale

Arrays = dict[str, Array]
FILE = "training.safetensors"
KEY = "aimv2_np.training"  # in the metadata
PARTS = ("weights", "first", "second", "average")


@dataclass
class State:
    """A training after `step` steps; arrays by the paths of the weights.

    Attributes:
        weights: of the whole model, those that are not trained too.
        first, second: means of the gradients and of their squares; of the weights that are trained.
        average: a running mean of the weights that are trained; empty where none is kept.
        scale: of the loss, in float16; None without.
    """

    step: int
    weights: Arrays
    first: Arrays
    second: Arrays
    average: Arrays
    scale: LossScale | None = None

    @classmethod
    def new(
        cls, weights: Mapping[str, NDArray], trained: list[str], averaged: bool, precision: str | None = None
    ) -> "State":
        """Before the first step; the weights are copied."""
        own = {path: np.array(array) for path, array in weights.items()}
        first, second = ({path: np.zeros_like(own[path]) for path in trained} for _ in range(2))
        average = {path: own[path].copy() for path in trained} if averaged else {}
        return cls(0, own, first, second, average, LossScale() if precision == "float16" else None)

    def to(self, backend: str, device: int | None = None) -> "State":
        """The same with its arrays on another backend."""
        weights, first, second, average = (
            {path: move(array, backend, device) for path, array in getattr(self, part).items()} for part in PARTS
        )
        settle(backend)
        return State(self.step, weights, first, second, average, self.scale)

    def save(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """Write it, with what else there is to know of the training, in the place of an earlier one or not at all."""
        tensors = {f"{part}.{path}": to_host(array) for part in PARTS for path, array in getattr(self, part).items()}
        scale = {"scale": asdict(self.scale)} if self.scale else {}
        told = json.dumps({"step": self.step, **scale, **facts})
        save_safetensors(folder / FILE, tensors, {KEY: told}, overwrite=True)

    def check(self, folder: Path, weights: Mapping[str, NDArray], trained: list[str], averaged: bool) -> None:
        """Raise CheckpointError unless what was loaded from the folder has an array for each of the weights."""
        paths = {"weights": list(weights), "first": trained, "second": trained, "average": trained if averaged else []}
        asked = {part: {path: _kind(weights[path]) for path in paths[part]} for part in PARTS}
        found = {part: {path: _kind(array) for path, array in getattr(self, part).items()} for part in PARTS}
        for name, known, expected in differences(found, asked):
            raise CheckpointError(f"{folder / FILE}: {name} is {known}; expected {expected}; remove it to begin anew")

    @classmethod
    def load(cls, folder: Path) -> tuple["State", dict[str, Any]] | None:
        """The training that is kept in a folder, and what is said of it; None where there is none.

        Raises CheckpointError for a file that is damaged, or none of a training.
        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            file = SafetensorsFile(path)
        except CheckpointError as error:
            raise CheckpointError(
                f"{path} is damaged ({str(error).partition(';')[0]}); remove it to begin anew, or train in another "
                "folder"
            ) from None
        facts = _facts(file.metadata.get(KEY), path)
        parts: dict[str, Arrays] = {part: {} for part in PARTS}
        for name in file.entries:
            part, _, own = name.partition(".")
            if part not in parts:
                raise CheckpointError(f"{path} holds {name!r:.200}; expected names that begin with {', '.join(PARTS)}")
            parts[part][own] = np.array(file.plain(name))
        try:
            scale = LossScale(**facts.pop("scale")) if "scale" in facts else None
        except (TypeError, ValueError):
            raise CheckpointError(f"{path} has no scale that train wrote; remove it to begin anew") from None
        return cls(facts.pop("step"), **parts, scale=scale), facts


def _kind(array: NDArray) -> str:
    return f"of {array.dtype}, shape {tuple(array.shape)}"


def _facts(told: str | None, path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(told or "")
        if isinstance(facts, dict) and isinstance(facts.get("step"), int) and facts["step"] > 0:
            return facts
    except ValueError:
        pass
    raise CheckpointError(
        f"{path} does not say how far its training is; expected a file that train wrote: remove it to begin anew, or "
        "train in another folder"
    )


def remove_unfinished(folder: Path) -> None:
    """Remove what a process that was killed was writing; nobody else may be training in the folder."""
    for path in folder.glob(f".*.{'[0-9a-f]' * 12}.tmp"):
        path.unlink()


def as_json(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as a file will have them, NumPy's numbers as JSON's. TypeError for what JSON does not have."""
    told: dict[str, Any] = json.loads(json.dumps(facts, default=_number))
    return told


def _number(value: object) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(
        f"the task's facts or its recipe hold {a_type(value)}; expected what JSON has: numbers, texts, lists"
    )


def differences(known: Any, asked: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(name, known, asked) of all that is not the same in two values of JSON."""
    if isinstance(known, dict) and isinstance(asked, dict):
        for key in dict.fromkeys((*known, *asked)):
            yield from differences(known.get(key), asked.get(key), f"{name}.{key}".lstrip("."))
    elif known != asked:
        yield name, known, asked
