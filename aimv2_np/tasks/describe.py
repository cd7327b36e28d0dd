"""What a checkpoint is, from its configuration and the headers of its weights; the weights themselves stay unread."""

import os
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Unpack

from aimv2_np.backends.narrow import can_stay, may_be_narrow
from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig, Config, config_from_dict, read_config
from aimv2_np.config.base import naming_file
from aimv2_np.errors import CheckpointError
from aimv2_np.files.hub import HubOptions
from aimv2_np.files.locate import CONFIG_FILES, WEIGHT_FILES
from aimv2_np.models.auto import MODELS
from aimv2_np.storage import Checkpoint, match, open_checkpoint, resolve
from aimv2_np.storage.checkpoint import OTHERS, Tensors
from aimv2_np.storage.source import expected_config, find_model, source_of
from aimv2_np.tree.module import Module

FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class ModuleSize:
    """One line of the parameter table: `count` equal modules with `parameters` numbers in all of them together."""

    path: str
    count: int
    parameters: int


@dataclass(frozen=True)
class Description:
    """What a checkpoint is.

    Attributes:
        folder: where its files are on this machine.
        model: the class that `aimv2_np.load` makes of it.
        config: its configuration.
        parts, parameters: numbers by module, and in all.
        positions: how each tower knows where things are.
        files: weight file → bytes; empty where only the configuration is on this machine.
        dtypes: stored dtype → numbers stored in it.
        layout: what the layout of the weights is called, or None without weights.
        tensors: our name → (our shape, stored dtype); the dtype is None without weights.
        unaligned: how many of the numbers stored in float32 begin between two multiples of four bytes, where the
            header of a safetensors file has not been padded: those are copied.
        left_aside: module → how many tensors of it the files hold beside the model.
        problem: why the weights do not fit the configuration, or None.
        memory: (mapped, private) bytes of its weights where it computes in float32 on this CPU: what is used where it
            lies in the files, and what is converted.
    """

    folder: Path
    model: str
    config: Aimv2Config | Aimv2VisionConfig | Aimv2TextConfig
    parts: tuple[ModuleSize, ...]
    parameters: int
    positions: dict[str, str]
    tensors: dict[str, tuple[tuple[int, ...], str | None]]
    files: dict[str, int] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)
    layout: str | None = None
    unaligned: int = 0
    left_aside: dict[str, int] = field(default_factory=dict)
    problem: str | None = None
    memory: tuple[int, int] = (0, 0)


def describe(
    path_or_hub_id: str | os.PathLike[str], prefix: str | None = None, **options: Unpack[HubOptions]
) -> Description:
    """Describe the checkpoint in a folder or of a hub id, of which only the configuration is fetched.

    `prefix` chooses where it holds several AIMv2, as for `load`.

    Raises FileNotFoundError without a configuration, CheckpointError for one that makes no sense or for damaged weight
    files, and the hub's errors. Weights that do not fit the configuration are a `problem`, not an error.
    """
    folder = resolve(path_or_hub_id, files=CONFIG_FILES, **options)
    checkpoint = _weights(folder)
    found = find_model(checkpoint, prefix) if checkpoint else None
    source = source_of(read_config(folder), checkpoint, *found) if checkpoint and found else None
    with naming_file(path_or_hub_id):
        known = None if source else expected_config(folder)
        config = known or config_from_dict(source.values if source else read_config(folder))
        skeleton = MODELS[type(config)].skeleton(config)
    shapes = {name: tuple(p.shape) for name, p in skeleton.state_dict().items()}
    description = Description(
        folder=folder,
        model=type(skeleton).__name__,
        config=config,
        parts=_parts(skeleton),
        parameters=skeleton.num_parameters(),
        memory=(0, FLOAT32 * skeleton.num_parameters()),
        positions=_positions(config),
        tensors={name: (shape, None) for name, shape in shapes.items()},
    )
    if source is None:
        return description
    tensors = source.tensors
    return replace(
        description,
        tensors={name: (shape, tensors.dtypes[name]) for name, shape in tensors.shapes.items()},
        files=_files(folder),
        dtypes=_numbers_by_dtype(tensors),
        layout=source.layout.name,
        unaligned=_unaligned(tensors),
        left_aside=source.left_aside(tensors.shapes).parts(),
        problem=_problem(shapes, tensors),
        memory=_memory(tensors),
    )


def _weights(folder: Path) -> Checkpoint | None:
    """None where there are no weights at all, as in the cache of a repository of which only config.json was fetched."""
    try:
        return open_checkpoint(folder)
    except FileNotFoundError:
        if _files(folder):
            raise
        return None


def _files(folder: Path) -> dict[str, int]:
    for patterns in (WEIGHT_FILES, *((name,) for name in OTHERS)):
        if paths := {path for pattern in patterns for path in folder.glob(pattern)}:
            return {path.name: path.stat().st_size if path.exists() else 0 for path in sorted(paths)}
    return {}


def _problem(shapes: dict[str, tuple[int, ...]], checkpoint: Tensors) -> str | None:
    try:
        match(shapes, checkpoint)
    except CheckpointError as error:
        return str(error)
    return None


def _numbers_by_dtype(checkpoint: Tensors) -> dict[str, int]:
    numbers: Counter[str] = Counter()
    for name, shape in checkpoint.shapes.items():
        numbers[checkpoint.dtypes[name]] += prod(shape)
    return dict(numbers.most_common())


def _memory(tensors: Tensors) -> tuple[int, int]:
    """(mapped, private) bytes of a float32 model: what it can compute with where it lies, and what is converted."""
    mapped = private = 0
    for name, shape in tensors.shapes.items():
        code = tensors.dtypes[name]
        as_it_is = code == "F32" or (code in ("BF16", "I8") and may_be_narrow(shape) and can_stay())
        stored = tensors.stored(name) if as_it_is else None
        if stored is not None and stored.flags.aligned and stored.flags.c_contiguous:
            mapped += stored.nbytes
        else:
            private += FLOAT32 * prod(shape)
    return mapped, private


def _unaligned(checkpoint: Tensors) -> int:
    single = [name for name, dtype in checkpoint.dtypes.items() if dtype == "F32"]
    return sum(prod(checkpoint.shapes[name]) for name in single if not checkpoint.stored(name).flags.aligned)


def _parts(skeleton: Module) -> tuple[ModuleSize, ...]:
    """Numbers per module: the towers one level deep, all layers of an encoder in one line."""
    numbers: Counter[str] = Counter()
    layers: dict[str, set[str]] = {}
    for name, parameter in skeleton.state_dict().items():
        part = re.match(r"(?:(?:vision|text)_model\.)?(?:encoder\.layers|\w+)", name)
        path = part[0] if part else name
        numbers[path] += prod(parameter.shape)
        if path.endswith(".layers"):
            layers.setdefault(path, set()).add(name.removeprefix(path).split(".")[1])
    return tuple(ModuleSize(path, len(layers.get(path, "1")), total) for path, total in numbers.items())


def _positions(config: Config) -> dict[str, str]:
    if isinstance(config, Aimv2Config):
        return _positions(config.vision_config) | _positions(config.text_config)
    if isinstance(config, Aimv2TextConfig):
        return {"text": f"learned, up to {config.max_position_embeddings} tokens"}
    assert isinstance(config, Aimv2VisionConfig)
    (height, width), (patch_height, patch_width) = config.image_shape, config.patch_shape
    if config.is_native:
        return {"vision": f"native: sine-cosine, for any grid of {patch_height}x{patch_width} patches"}
    rows, columns = config.grid
    return {"vision": f"learned, {rows}x{columns} patches of {patch_height}x{patch_width} in {height}x{width} pixels"}
