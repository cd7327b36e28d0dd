"""A folder of weights: one safetensors file, several with an index, or one MessagePack file."""

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from aimv2_np.backends.dtypes import FLOATS
from aimv2_np.backends.narrow import Narrow
from aimv2_np.errors import CheckpointError, plain, quoted
from aimv2_np.files.json import telling_cache
from aimv2_np.files.locate import check_link, read_json_in
from aimv2_np.shapes import NDArray
from aimv2_np.storage.formats.casting import as_dtype, misfit
from aimv2_np.storage.formats.header import TensorEntry
from aimv2_np.storage.formats.mapped import MappedFile
from aimv2_np.storage.formats.messagepack import MessagePackFile
from aimv2_np.storage.formats.safetensors_file import SafetensorsFile

SCALE = "_scale"  # behind the name of an int8 matrix: the factors of its rows, as compressed-tensors calls them
SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
# Where Apple's other releases, and OpenCLIP, keep weights; looked for when there is neither of the two above.
OTHERS: dict[str, type[MappedFile]] = {
    "mlx_model.safetensors": SafetensorsFile,
    "flax_model.msgpack": MessagePackFile,
    "open_clip_model.safetensors": SafetensorsFile,
}
PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}
# A plain file name on every operating system: no separator, no drive, no way up, nothing hidden.
SHARD_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\.safetensors")


class Tensors(ABC):
    """The weights in a folder by name, in whichever layout they are stored; read when they are asked for.

    Attributes:
        folder: where they are.
        shapes, dtypes: of each tensor; dtypes as the safetensors format names them ("F32", ...).
        metadata: what their files say of themselves.
    """

    folder: Path
    shapes: dict[str, tuple[int, ...]]
    dtypes: dict[str, str]
    metadata: dict[str, str]

    def read(self, name: str, dtype: str = "float32") -> NDArray:
        """Tensor `name` as a read-only array of `dtype` ("float32", "float64", "float16"), in C order.

        Stored in that dtype, in one piece, it is a view of the mapped file: nothing is copied or even read yet.
        Otherwise it is a copy, converted where need be (bfloat16 and float16 to float32 exactly), and CheckpointError
        is raised for values that are not finite or too large for `dtype`, as it is for a tensor that holds no
        floating-point numbers. KeyError for a name that is not there.
        """
        if self.dtypes.get(name) == "I8":
            return as_dtype(self.narrow(name).widened(), "F32", dtype, self.label(name))
        return as_dtype(self.stored(name), self.dtypes[name], dtype, self.label(name))

    def narrow(self, name: str, rounds: bool = False) -> Narrow:
        """Matrix `name` of bfloat16 or int8 numbers: a view of the mapped file where they lie there in C order.

        `rounds` is Narrow's. CheckpointError for int8 numbers whose factors are not finite.
        """
        numbers = self.stored(name)
        return Narrow(np.require(numbers, numbers.dtype.newbyteorder("="), ["C", "A"]), self.scale(name), rounds)

    @abstractmethod
    def stored(self, name: str) -> NDArray:
        """Tensor `name` as it is stored, bfloat16 as its bits: a view of the mapped file (see `MappedFile.stored`)."""

    @abstractmethod
    def scale(self, name: str) -> NDArray | None:
        """The factor of each row of an int8 matrix, float32; None for all other tensors."""

    @abstractmethod
    def label(self, name: str) -> str:
        """What messages call a tensor: its file, and the name that it has there."""

    @abstractmethod
    def origin(self, name: str) -> str:
        """The name that the tensor, or the one that it is a part of, has in its file."""

    @abstractmethod
    def release(self) -> None:
        """Give back the memory that reading has taken; the system reads the pages again when they are used."""


class Checkpoint(Tensors):
    """The tensors of a folder, by name. Headers have been read and checked, tensors are read when asked for."""

    def __init__(self, folder: Path, files: Mapping[str, MappedFile]) -> None:
        self.folder = folder
        self._files = dict(files)
        entries = {name: file.entries[name] for name, file in self._files.items()}
        self._scales = {name: name + SCALE for name in entries if self._has_scale(name, entries)}
        own = {name: entry for name, entry in entries.items() if name not in self._scales.values()}
        self.shapes = {name: entry.shape for name, entry in own.items()}
        self.dtypes = {name: entry.dtype for name, entry in own.items()}
        self.metadata = {}
        for file in dict.fromkeys(self._files.values()):
            self.metadata.update(file.metadata)
        self.nbytes: int = sum(entry.stop - entry.start for entry in entries.values())

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.folder)!r}: {len(self.shapes)} tensors, {self.nbytes} bytes)"

    def _has_scale(self, name: str, entries: Mapping[str, TensorEntry]) -> bool:
        """Whether the rows of an int8 matrix have their factors beside it; CheckpointError where these do not fit."""
        entry, scale = entries[name], entries.get(name + SCALE)
        if entry.dtype != "I8" or scale is None:
            return False
        rows = entry.shape[:1]
        if len(entry.shape) != 2 or scale.shape not in (rows, (*rows, 1)) or scale.dtype not in FLOATS.values():
            raise CheckpointError(
                f"{self.label(name + SCALE)} is {scale.shape} of {scale.dtype}; expected a number for each row of "
                f"{quoted(name)}, which is {entry.shape} of I8: other quantised checkpoints are not read, use the "
                "original one"
            )
        return True

    def stored(self, name: str) -> NDArray:
        file = self._file(name)
        return file.plain(name) if name in self._scales else file.stored(name)

    def scale(self, name: str) -> NDArray | None:
        if name not in self._scales:
            return None
        scale = self._file(name + SCALE).read(name + SCALE).reshape(-1)
        if not np.isfinite(scale).all():
            raise misfit(self.label(name + SCALE), float("inf"), "float32")
        return scale

    def plain(self, name: str) -> NDArray:
        """Tensor `name` as it is stored, integers and bools too (see `MappedFile.plain`)."""
        return self._file(name).plain(name)

    def label(self, name: str) -> str:
        return self._file(name).label(name)

    def origin(self, name: str) -> str:
        return name

    def release(self) -> None:
        for file in dict.fromkeys(self._files.values()):
            file.release()

    def _file(self, name: str) -> MappedFile:
        if name not in self._files:
            raise KeyError(f"{self.folder} has no tensor {name!r}")
        return self._files[name]


def open_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint in `folder`, its tensors under the names that they are stored by.

    That is `model.safetensors`, or else the files that `model.safetensors.index.json` names, or else one of `OTHERS`.

    Raises FileNotFoundError when there are no weights or a file of the index is missing, and CheckpointError for files
    that are damaged, do not agree with the index, lie outside the folder, or are pickles, which are never opened.
    """
    folder = Path(folder)
    if not folder.is_dir():
        problem = "is a file" if folder.exists() else "does not exist"
        raise FileNotFoundError(f"{folder} {problem}; expected a folder with {SINGLE}")
    for name in (SINGLE, INDEX, *OTHERS):
        if not os.path.lexists(folder / name):
            continue
        if name == INDEX:
            return Checkpoint(folder, _open_shards(folder))
        file = _open(folder, name)
        return Checkpoint(folder, dict.fromkeys(file.entries, file))
    raise _no_weights(folder)


def _open(folder: Path, name: str) -> MappedFile:
    path = folder / name
    check_link(path, folder)
    if not path.exists():  # a link whose target is gone: a hub cache that was copied or pruned in part
        raise FileNotFoundError(f"{path} is a link to a file that is not there; fetch the checkpoint again")
    with telling_cache(path):
        return OTHERS.get(name, SafetensorsFile)(path)


def shard_names(folder: Path) -> list[str]:
    """The plain names of the files that the index of `folder` names; CheckpointError when it makes no sense."""
    return sorted(set(_read_index(folder).values()))


def _open_shards(folder: Path) -> dict[str, MappedFile]:
    listed = _read_index(folder)
    names = sorted(set(listed.values()))
    missing = [name for name in names if not os.path.lexists(folder / name)]
    if missing:
        raise FileNotFoundError(
            f"{folder / INDEX} names {len(missing)} files that are not there: {first_ten(missing)}; fetch them too"
        )
    files = {name: _open(folder, name) for name in names}
    held = [(tensor, name) for name, file in files.items() for tensor in sorted(file.entries)]
    problems = []
    if absent := [tensor for tensor, name in listed.items() if tensor not in files[name].entries]:
        problems.append(f"{len(absent)} tensors are not in the file it names for them: {first_ten(absent)}")
    if unlisted := [f"{tensor} in {name}" for tensor, name in held if listed.get(tensor) != name]:
        problems.append(f"{len(unlisted)} tensors are in files it does not name for them: {first_ten(unlisted)}")
    if problems:
        raise CheckpointError(
            f"{folder / INDEX} does not describe the files beside it: {'; '.join(problems)}. They come from different "
            "checkpoints, or from a save that was interrupted; fetch or save them again"
        )
    return {tensor: files[name] for tensor, name in listed.items()}


def _read_index(folder: Path) -> dict[str, str]:
    """The name of the file of every tensor."""
    path = folder / INDEX
    weight_map = (read_json_in(folder, INDEX) or {}).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{path}: weight_map is {weight_map!r:.80}; expected an object, tensor name to file name")
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or not SHARD_NAME.fullmatch(name):
            raise CheckpointError(
                f"{path} places tensor {tensor!r:.200} in {name!r:.200}; expected the plain name of a .safetensors "
                "file in the same folder"
            )
    return weight_map


def _no_weights(folder: Path) -> Exception:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    pickles = [name for name in names if Path(name).suffix in PICKLES]
    if pickles:
        return CheckpointError(
            f"{folder} has its weights in pickles only ({first_ten(pickles)}), which can run any code when they are "
            f"opened and are never read here; expected {SINGLE}. Convert them where you trust them, with Transformers: "
            "AutoModel.from_pretrained(folder).save_pretrained(new_folder), or with safetensors.torch.save_file"
        )
    return FileNotFoundError(
        f"{folder} holds no weights (it has {first_ten(names) or 'nothing'}); expected {SINGLE}, {INDEX}, "
        f"{' or '.join(OTHERS)}"
    )


def first_ten(names: Collection[str]) -> str:
    """The first ten of some names, each cut to 100 characters, separated by commas, with a mark when there are more."""
    return ", ".join(map(plain, list(names)[:10])) + (", ..." if len(names) > 10 else "")
