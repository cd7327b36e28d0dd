"""What a file of features is searched for: texts and pictures as vectors of its kind, and sums and differences of them.

q = u / ‖u‖,    u = Σ a_i / ‖a_i‖ - Σ b_j / ‖b_j‖
"""

import os
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arrays import to_numpy
from aimv2_np.data import tiny_model_path
from aimv2_np.errors import CheckpointError
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.options import fetching
from aimv2_np.processing import Aimv2Processor
from aimv2_np.processing.loading import naming_image
from aimv2_np.tasks.classify import embed_prompts
from aimv2_np.tasks.embedding.embedder import EmbedderOptions, ImageEmbedder
from aimv2_np.tasks.embedding.feature_file import FeatureFile
from aimv2_np.tasks.embedding.kinds import KINDS
from aimv2_np.tasks.embedding.sources import is_picture
from aimv2_np.tasks.knn import unit_rows

Query = str | os.PathLike[str] | bytes
NOTHING: Final = 1e-6  # a sum of unit vectors that is shorter is what rounding has left


def embed_query(
    features: FeatureFile,
    query: Query,
    *,
    text: bool | None = None,
    model: str | os.PathLike[str] | None = None,
    **options: Unpack[EmbedderOptions],
) -> NDArray[np.float32]:
    """The vector (D,) of a text or a picture, made as those in the file were.

    Args:
        features: the file that will be searched.
        query: a text, or the path or the bytes of a picture.
        text: whether `query` is a text; None: unless it is bytes, or a file is there under that name.
        model: where the model is now; None: where it was when the file was written.
        options: backend, dtype, device, revision, … as for `ImageEmbedder`.

    Raises:
        ValueError: a text for features that texts have no part in, or one that is blank or too long; a damaged picture.
        FileNotFoundError: what looks like a path of a picture, and is none; no model.
        CheckpointError: another model than the one that the file is of.
    """
    vector: NDArray[np.float32] = embed_queries(features, [query], text=text, model=model, **options)[0]
    return vector


def embed_queries(
    features: FeatureFile,
    queries: Sequence[Query],
    *,
    text: bool | None = None,
    model: str | os.PathLike[str] | None = None,
    **options: Unpack[EmbedderOptions],
) -> NDArray[np.float32]:
    """The vectors (Q, D) of texts and pictures, by a model that is opened once; see `embed_query`, also for errors."""
    if not queries or isinstance(queries, str | bytes):
        raise ValueError(f"queries is {queries!r:.80}; expected a list of texts and pictures, of one at least")
    texts = [_is_text(query) if text is None else text for query in queries]
    for query, is_text in zip(queries, texts, strict=True):
        if is_text:
            _check_text(features, query)
    embedder = _embedder(features, model, options)
    processor = None
    if any(texts):
        folder, where = embedder.source
        processor = Aimv2Processor.from_pretrained(folder, **fetching(where))
    return np.stack([
        _of_text(embedder, processor, str(query)) if is_text else _of_picture(embedder, query)
        for query, is_text in zip(queries, texts, strict=True)
    ])  # fmt: skip


def combine_queries(plus: Sequence[Any], minus: Sequence[Any] = ()) -> NDArray[np.float32]:
    """The vector (D,) of length one that is near to all of `plus` and far from all of `minus`.

    Each counts as much as any other, whatever its length: they are scaled to length one, added, subtracted, and the
    result is scaled to length one.

    Args:
        plus, minus: vectors (D,), as from `embed_query`.

    Raises:
        ValueError: no vector, vectors of several sizes, or such that cancel one another out; what `search` says of one.
    """
    vectors = [check_query(vector) for vector in (*plus, *minus)]
    if not vectors or len({len(vector) for vector in vectors}) > 1:
        sizes = ", ".join(str(len(vector)) for vector in vectors) or "none"
        raise ValueError(f"the vectors to combine have the sizes {sizes}; expected one size, and a vector at least")
    signs = np.array([1.0] * len(plus) + [-1.0] * len(minus))
    total = signs @ np.stack(vectors)
    length = float(np.linalg.norm(total))
    if length < NOTHING:
        raise ValueError("what is added and what is taken away cancel one another out; search for something else")
    result: NDArray[np.float32] = (total / length).astype(np.float32)
    return result


def check_query(query: Any) -> NDArray[np.float64]:
    """A vector (D,) at length one, in float64; ValueError for what has no direction."""
    vector = np.asarray(query, np.float64)
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all() or not vector.any():
        raise ValueError(
            f"query has the shape {vector.shape}; expected one vector (D,) of finite numbers, not all zero"
        )
    unit: NDArray[np.float64] = unit_rows(vector[None])[0]
    return unit


def _check_text(features: FeatureFile, query: Query) -> None:
    if not isinstance(query, str) or not query.strip():
        raise ValueError(f"the text is {query!r:.80}; expected words")
    features.check_one_per_picture()
    if features.kind != "projected":
        raise ValueError(
            f"{features.path} holds {features.kind!r} features, {KINDS[features.kind].what}; texts are compared with "
            "'projected' ones, of a two-tower model such as 'apple/aimv2-large-patch14-224-lit': embed with that, or "
            "search with a picture"
            if features.kind in KINDS
            else f"{features.path} does not say which features it holds; search with a vector"
        )


def _embedder(features: FeatureFile, model: str | os.PathLike[str] | None, options: EmbedderOptions) -> ImageEmbedder:
    """What embeds as the file's vectors were made; CheckpointError for other weights than theirs."""
    name = features.metadata.get("model", "") if model is None else os.fspath(model)
    place = None if name == tiny_model_path().name and not Path(name).is_dir() else name
    if model is None:
        if "revision" in features.metadata:
            options.setdefault("revision", features.metadata["revision"])
        if "prefix" in features.metadata:
            options.setdefault("prefix", features.metadata["prefix"])
        if features.metadata.get("final_norm") == "false":
            options.setdefault("final_norm", False)
    if (bound := features.metadata.get("max_patches", "")).isdecimal():
        options.setdefault("max_patches", int(bound))
    options.setdefault("exif_transpose", features.metadata.get("exif_transpose") == "true")
    embedder = ImageEmbedder(place, features.kind, **options)
    if features.metadata.get("weights_hash") != embedder.weights_hash(features.metadata.get("dtype", "float32")):
        raise CheckpointError(
            f"{features.path} was made with other weights than those of {name}, and vectors of two models cannot be "
            "compared; pass the model that it was made with, or embed the pictures again"
        )
    return embedder


def _of_picture(embedder: ImageEmbedder, picture: Query) -> NDArray[np.float32]:
    with nullcontext() if isinstance(picture, bytes) else naming_image(os.fspath(picture)):
        return embedder.compute([embedder.prepare(picture)])[0]


def _of_text(embedder: ImageEmbedder, processor: Any, text: str) -> NDArray[np.float32]:
    network = embedder.opened.model
    assert isinstance(network, Aimv2Model)
    vector = to_numpy(embed_prompts([text], network, processor))[0]
    result: NDArray[np.float32] = vector.astype(np.float32, copy=False)
    return result


def _is_text(query: object) -> bool:
    if not isinstance(query, str):
        return False
    if is_picture(query) and not Path(query).exists():
        raise FileNotFoundError(
            f"there is no picture {query!r:.300}; check the path (or say that it is a text: --text, text=True)"
        )
    there = plain_file = False
    with suppress(OSError, ValueError):  # a long text is no possible name of a file
        there, plain_file = Path(query).exists(), Path(query).is_file()
    if there and not plain_file and query:  # of no text at all `Path` makes the folder that one is in
        raise ValueError(
            f"{query!r:.300} is a folder or a special file; expected a picture (or say that it is a text: --text, "
            "text=True)"
        )
    return not plain_file
