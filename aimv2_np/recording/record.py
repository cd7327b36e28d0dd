"""Running the reference and recording what every module computes."""

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib import import_module
from typing import Any

import numpy as np

from aimv2_np.backends.arrays import is_array
from aimv2_np.models.packing import is_pack
from aimv2_np.models.pretrained import AnyModel
from aimv2_np.recording.recording import LOSS, Recording
from aimv2_np.recording.writer import RecordingWriter
from aimv2_np.shapes import Array
from aimv2_np.storage.digest import hash_weights
from aimv2_np.tree.trace import Loss, trace

HEADS = {"q", "k", "v"}  # a trace sees them anyway: their projections' outputs once more, split into heads


def record(
    model: AnyModel,
    inputs: Mapping[str, Any],
    path: str | os.PathLike[str],
    include: str | Iterable[str] = "*",
    *,
    inner: bool = False,
    statistics: bool = False,
    whole: Iterable[str] = (),
    slices: Mapping[str, str] | None = None,
    overwrite: bool = False,
    gradients: bool = False,
    loss: Loss | None = None,
    **options: Any,
) -> Recording:
    """Run `model(**inputs)` and write what it computed to `path`; docs/golden.md describes the file.

    Activations go to disk as they are computed: memory stays bounded however many there are.

    Args:
        model: an Aimv2Model, Aimv2VisionModel or Aimv2TextModel.
        inputs: its arguments by name: pixel_values (B, C, H, W), input_ids (B, T), attention_mask (B, T). Images of
            several sizes, a list of (C, h, w), go through the layers and are recorded as one pack (1, ΣN, D).
        path: the safetensors file to write.
        include: a glob or several; only matching paths are recorded ("vision_model.encoder.layers.*.ffn").
        inner: also what lies inside attention, as in `aimv2_np.trace`; operations then run as written.
        statistics: shape, moments, first numbers and a random projection of each activation instead of itself.
        whole: globs; with `statistics`, what matches is kept whole as well ("*_embeds", "inputs/*").
        slices: glob → part of the activations to keep, as NumPy writes it ("0, :16").
        overwrite: replace a file that is there.
        gradients, loss: also ∂loss/∂ each activation, the pixels and each weight, under its path with `gradient:` in
            front, as in `aimv2_np.trace`. The recording says what the loss was.
        options: further arguments of the model that are no arrays, such as causal=False; the recording holds them.

    Raises:
        FileExistsError: `path` is there and `overwrite` is False.
        ValueError: inputs that do not fit the model, a slice that does not fit, or globs that match no activation.
    """
    arrays: dict[str, Any] = {
        name: value if is_array(value) or is_pack(value) else np.asarray(value) for name, value in inputs.items()
    }
    facts = model_facts(model) | ({"options": json.dumps(options)} if options else {})
    images = arrays.get("pixel_values")
    if isinstance(images, list | tuple):
        facts["packed"] = str(len(images))
    with RecordingWriter(
        path, source="aimv2_np", statistics=statistics, whole=whole, slices=slices, overwrite=overwrite, metadata=facts
    ) as writer:
        for name, value in arrays.items():
            if isinstance(value, list | tuple):
                for i, image in enumerate(value):
                    writer.add_input(f"{name}.{i}", image)
            else:
                writer.add_input(name, value)

        def store(name: str, array: Array) -> None:
            if inner or name.rpartition(".")[2] not in HEADS:
                writer.add(name, array, None if array.dtype.name != "float32" else model.dtype)

        said = _saying(loss, writer.metadata) if gradients else loss
        with trace(model, include, inner=inner, store=store, gradients=gradients, loss=said):
            model(**arrays, **options)
        if not writer.order:
            raise ValueError(
                f"include is {include!r:.200}; expected more than q, k or v, which need inner=True (--inner)"
            )
    return Recording.load(path)


def _saying(loss: Loss | None, metadata: dict[str, str]) -> Loss:
    """The loss, or the one that stands for None; when it is called, `metadata` are told which it is."""
    from aimv2_np.gradients.tape import default_loss, is_contrastive, summed_in

    def number(activations: Mapping[str, Any]) -> Any:
        if loss is not None:
            metadata[LOSS] = "given"
            return loss(activations)
        name = summed_in(activations)
        metadata[LOSS] = "contrastive" if is_contrastive(name, activations[name].shape) else f"sum of {name}"
        return default_loss(activations)

    return number


def model_facts(model: AnyModel) -> dict[str, str]:
    """A recording's metadata about the model that made it: texts by name."""
    config = json.dumps(model.config.to_dict(), sort_keys=True)
    return {
        "config": config,
        "config_hash": sha256(config.encode()).hexdigest(),
        "weights_hash": hash_weights(model.state_dict()),
        "versions": json.dumps(library_versions(model.backend)),
        "dtype": model.dtype,
        "backend": model.backend,
        "seed": "crc32(path)",  # what the random projection of each activation is drawn from
        **({"model": json.dumps(model.origin)} if model.origin else {}),  # where `compare` finds its weights
    }


def library_versions(backend: str = "numpy") -> dict[str, str]:
    """The versions of this package, Python, NumPy, its BLAS, and CuPy if that is the backend."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    result = {
        "aimv2_np": sys.modules["aimv2_np"].__version__,  # the package itself stands above this room
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
    }
    if backend != "numpy":
        result[backend] = str(import_module(backend).__version__)
    return result
