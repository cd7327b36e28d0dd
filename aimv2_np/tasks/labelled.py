"""Labelled pictures: folders with a folder for each class, or files of features whose names say where they lay."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimv2_np.tasks.embedding import FeatureFile, embed, open_features
from aimv2_np.tasks.embedding.feature_file import FORMATS
from aimv2_np.tasks.knn import KnnResult, knn


@dataclass(frozen=True, eq=False)
class Labelled:
    """Features of pictures with their classes.

    Attributes:
        names, labels: of each picture.
        features: (N, D); of "tokens" a sequence of (T, D) of each.
        facts: the kind of features and the model's hash, which two sets must share.
        broken: (name, reason) of pictures that have none.
        metadata: all that the file of features says of itself.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    features: Any
    facts: tuple[str, str]
    broken: tuple[tuple[str, str], ...]
    metadata: Mapping[str, str] = field(default_factory=dict)


class Tokens(Sequence[NDArray[np.float32]]):
    """The tokens (T, D) of each picture of a file, read when they are asked for."""

    def __init__(self, file: FeatureFile) -> None:
        self._file = file

    def __len__(self) -> int:
        return len(self._file)

    def __getitem__(self, row: Any) -> Any:
        return self._file.tokens(row)


def knn_folders(
    train: str | os.PathLike[str],
    test: str | os.PathLike[str],
    *,
    k: int | None = None,
    weights: str = "softmax",
    save: str | os.PathLike[str] | None = None,
    **options: Any,
) -> tuple[KnnResult, Labelled, Labelled]:
    """`knn` over two folders of pictures, or two files that `embed` has written.

    Args:
        train, test: a folder that has a folder for each class, or a file of features: the class of a picture is then
            the name of the folder that it lay in.
        k, weights: see `knn`.
        save: a folder for the features (`train.safetensors`, `test.safetensors`). An interrupted run continues from
            what is there, and one that is complete is not repeated; None: nothing is kept.
        options: see `embed`: model, features, batch_size, max_patches, backend, dtype, …

    Returns:
        The result, and the two sets.

    Raises:
        ValueError: pictures outside the folders of the classes; features of two kinds or models; what `knn` raises.
        FileNotFoundError: no such folder or file.
        FileExistsError: `save` holds other features.
    """
    with labelled_pair(train, test, save, **options) as (known, asked):
        result = knn(known.features, known.labels, asked.features, asked.labels, k=k, weights=weights)
        if save is None:  # the files go
            known, asked = (replace(some, features=np.array(some.features)) for some in (known, asked))
    return result, known, asked


@contextmanager
def labelled_pair(
    train: str | os.PathLike[str], test: str | os.PathLike[str], save: str | os.PathLike[str] | None, **options: Any
) -> Iterator[tuple[Labelled, Labelled]]:
    """Both sets, with features of one kind and model, kept in the folder `save` or until the block ends.

    See `knn_folders` for the arguments and for what is raised.
    """
    with TemporaryDirectory() if save is None else nullcontext(save) as folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        known = load_labelled(train, Path(folder) / "train.safetensors", **options)
        asked = load_labelled(test, Path(folder) / "test.safetensors", **options)
        if known.facts != asked.facts:
            raise ValueError(
                f"the features of {train} are {known.facts[0]!r} and those of {test} {asked.facts[0]!r}, or of two "
                "models; embed both with the same model and --features"
            )
        yield known, asked


def load_labelled(place: str | os.PathLike[str], output: Path, **options: Any) -> Labelled:
    """The features of a folder, written to the file `output`, or those in a file of features.

    Of patches only where `features` asks for them: "tokens".
    """
    tokens = options.get("features") == "tokens"
    path = Path(place)
    if path.is_dir():
        try:
            embed([path], output, append=False, **options)
        except FileExistsError as error:
            raise FileExistsError(
                f"{output} holds other features: of another model or kind, of other pictures, or of pictures that have "
                "changed since; remove it, or save in another folder"
            ) from error
        return _labelled(open_features(output), lambda name: _class_below(name, path), tokens)
    if path.suffix.lower() not in FORMATS:
        if not path.exists():
            raise FileNotFoundError(f"there is no {path}; expected a folder of classes, or a file of features")
        raise ValueError(f"{path} is no folder, and no file of features ({', '.join(FORMATS)})")
    return _labelled(open_features(path), _class_above, tokens)


def _labelled(file: FeatureFile, class_of: Callable[[str], str], tokens: bool) -> Labelled:
    if not tokens:
        file.check_one_per_picture()
    elif file.kind != "tokens":
        raise ValueError(f"{file.path} holds {file.kind!r} features; expected vectors of patches: embed 'tokens'")
    names, facts = tuple(file.names), (file.kind, file.metadata.get("weights_hash", ""))
    features = Tokens(file) if tokens else file.features
    return Labelled(names, tuple(map(class_of, names)), features, facts, file.broken, file.metadata)


def _class_below(name: str, folder: Path) -> str:
    inside = PurePath(name).relative_to(os.path.normpath(folder)).parts
    if len(inside) < 2:
        raise ValueError(f"{name} lies in {folder} itself; expected a folder for each class, with its pictures in it")
    return inside[0]


def _class_above(name: str) -> str:
    folder = PurePath(name).parent.name
    if not folder:
        raise ValueError(f"{name!r:.200} names no folder, which would be its class; embed a folder of classes")
    return folder
