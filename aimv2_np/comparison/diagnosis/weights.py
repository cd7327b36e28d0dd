"""The model that a recording was made with, if it is on this machine: faults are planted in it.

A recording says where its model came from, and the hash of its weights: no other model is ever taken for it.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from aimv2_np.config import kind_of
from aimv2_np.data import tiny_model_path
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.auto import MODELS, load
from aimv2_np.models.options import WhichModel
from aimv2_np.models.pretrained import AnyModel
from aimv2_np.recording.recording import Recording
from aimv2_np.storage.digest import hash_weights

# Drawing so many random weights, to see whether they are the recording's, takes a blink.
FEW, SEEDS = 2_000_000, range(4)


def recorded_model(recording: Recording) -> AnyModel | None:
    """The recording's model from the folder or id it was loaded from, the embedded one, or a new one; or None."""
    wanted, computed = recording.metadata.get("weights_hash"), recording.metadata.get("dtype", "float32")
    dtype = "float32" if computed == "bfloat16" else computed  # which NumPy lacks
    if wanted is None:
        return None
    for make in (_origin, _embedded, _new):
        try:
            for model in make(recording, dtype):
                if hash_weights(model.state_dict(), computed) == wanted:
                    return model
        except (OSError, ValueError, TypeError, ImportError):  # not there (any more), or nothing of ours
            continue
    return None


def _origin(recording: Recording, dtype: str) -> Iterator[AnyModel]:
    place, revision, *which = json.loads(recording.metadata.get("model", '["", null]'))
    if isinstance(place, str) and place:
        # A recording that somebody sent makes nothing be fetched.
        hub = {} if Path(place).is_dir() else {"revision": revision, "local_files_only": True}
        chosen = {name: options[name] for options in which for name in WhichModel.__annotations__ if name in options}
        yield load(place, dtype=dtype, **hub, **chosen)


def _embedded(_: Recording, dtype: str) -> Iterator[AnyModel]:
    model = Aimv2Model.from_pretrained(tiny_model_path(), dtype=dtype)
    yield from (model, model.vision_model, model.text_model)


def _new(recording: Recording, dtype: str) -> Iterator[AnyModel]:
    """A model as it is made of a configuration alone."""
    if recording.config is not None:
        config = kind_of(recording.config).from_dict(recording.config)
        if MODELS[type(config)].skeleton(config).num_parameters() <= FEW:
            yield from (MODELS[type(config)](config, seed).to(dtype=dtype) for seed in SEEDS)
