"""`ImageEmbedder`: takes a batch of pictures and returns it with a column of features, in this process or in many."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arrays import beside, check_backend, to_numpy
from aimv2_np.data import tiny_model_path
from aimv2_np.errors import a_type
from aimv2_np.models.aimv2 import Aimv2Model, vision_tower_of
from aimv2_np.models.auto import LoadedModel, load
from aimv2_np.models.options import CheckpointOptions, Placement, fetching
from aimv2_np.models.packing import warn_untrained
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.processing import Aimv2ImageProcessor
from aimv2_np.processing.image import Bound
from aimv2_np.processing.loading import IMAGE_ERRORS, in_one_line, naming_image
from aimv2_np.processing.settings import as_count
from aimv2_np.storage.digest import hash_weights
from aimv2_np.tasks.embedding.columns import ERROR, GRID, pictures_of, with_columns, with_holes
from aimv2_np.tasks.embedding.kinds import KINDS, check_name, chosen_kind

BATCH = 16  # pictures that go through the model at a time: bounds the memory, gains little beyond
# Columns that hold pictures; of several, the first is taken. Only the first is what `prepare` returns.
COLUMNS = ("pixel_values", "pixels", "image", "bytes", "path")
ERRORS = ("raise", "skip", "column")


class EmbedderOptions(CheckpointOptions, Placement, total=False):
    """What other functions hand on to `ImageEmbedder`, which says what it means."""

    batch_size: int
    max_patches: int | None
    exif_transpose: bool


@dataclass(frozen=True)
class Opened:
    """A model and its vision tower, what prepares pictures for it, of at most `bound`, and the kind of features."""

    model: LoadedModel
    vision: Aimv2VisionModel
    processor: Aimv2ImageProcessor
    bound: Bound | None
    kind: str


class ImageEmbedder:
    """Turns a batch of pictures into the same batch with their features.

    A batch is a mapping of columns of equal length, a pandas DataFrame, as Dask's `map_partitions` and Spark's
    `mapInPandas` pass it, or a table or a record batch of Arrow, as Ray Data's `map_batches(…, batch_format="pyarrow")`
    and Spark's `mapInArrow` do. One of its columns holds the pictures:

        "bytes"         contents of files
        "path"          paths
        "pixels"        arrays (H, W, 3) uint8, or Pillow images; "image" is taken for the same
        "pixel_values"  what `prepare` returns: arrays (3, h, w) float32

    The result has a column `column` more: float32, (B, D), of "tokens" (B, N, D), and then also "grid", int32 (B, 2),
    the rows and columns of patches. Where pictures of a native model have different numbers of patches, a list of
    arrays (N, D). In a DataFrame each row holds its array (of "tokens" one that pandas does not write to Parquet: pass
    Arrow there), in Arrow a list. With `errors="column"` each row is an
    object: an array, or None where the picture cannot be read; the column "error" says why, and is None elsewhere.

    It is pickled as its settings, a few hundred bytes: each process opens the model on first use, and maps its weights
    into memory that all processes of a machine share.

    Args:
        model: a folder or a hub id; None for the embedded tiny model.
        features: "projected", "pooled", "cls", "mean" or "tokens" (see `KINDS`); None for the first of "projected",
            "pooled" and "mean" that the model has.
        normalize: scale every vector to length one.
        errors: what happens to a picture that cannot be read: "raise" stops with an error that names it; "skip" leaves
            its row out of the result, with a warning that names it; "column" keeps the row, without features, and
            says in the column "error" what is wrong. No features are ever made up.
        column: the name of the column that is added.
        batch_size: how many pictures go through the model at a time, however large the batch is.
        max_patches: scale pictures of more patches down, in proportion; for native models, which were trained for up
            to 4096. A warning names the pictures of a batch that have fewer or more patches than they were trained for.
        exif_transpose: turn pictures upright by their EXIF orientation.
        backend, dtype, device: as for `Aimv2Model.from_pretrained`.
        options: revision, cache_dir, token, local_files_only, prefix and final_norm, as there too.

    Raises:
        ValueError: settings that do not exist; on first use, features that the model does not have.
        FileNotFoundError, CheckpointError: on first use, what `from_pretrained` raises.
    """

    def __init__(
        self,
        model: str | PathLike[str] | None = None,
        features: str | None = None,
        normalize: bool = False,
        *,
        errors: str = "raise",
        column: str = "features",
        batch_size: int = BATCH,
        max_patches: int | None = None,
        exif_transpose: bool = False,
        backend: str = "numpy",
        dtype: str = "float32",
        device: int | None = None,
        **options: Unpack[CheckpointOptions],
    ) -> None:
        if not isinstance(model, str | PathLike | None):
            raise TypeError(
                f"model is {a_type(model)}; expected a folder or a hub id, which other processes can open too"
            )
        if features is not None:
            check_name(features)
        if errors not in ERRORS:
            raise ValueError(f"errors is {errors!r:.80}; expected one of {', '.join(ERRORS)}")
        if not column or column in (GRID, ERROR, *COLUMNS):
            raise ValueError(f"column is {column!r}, which is another column's name; choose one of your own")
        as_count(batch_size, "batch_size")
        if max_patches is not None:
            as_count(max_patches, "max_patches")
        check_backend(backend, dtype, device)
        self.name = tiny_model_path().name if model is None else fspath(model)
        # Other processes may run in other folders.
        self.model = str(Path(self.name).absolute()) if model is not None and Path(model).is_dir() else model
        if cache_dir := options.get("cache_dir"):
            options["cache_dir"] = Path(cache_dir).absolute()
        self.features, self.normalize, self.errors = features, bool(normalize), errors
        self.column, self.batch_size, self.max_patches = column, batch_size, max_patches
        self.exif_transpose = bool(exif_transpose)
        self.backend, self.dtype, self.device, self.options = backend, dtype, device, options
        self._opened: Opened | None = None

    def __repr__(self) -> str:
        return f"ImageEmbedder({self.name!r}, features={self.features!r}, normalize={self.normalize})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_opened": None}

    @property
    def source(self) -> tuple[str | PathLike[str], CheckpointOptions]:
        """The folder or hub id of the model, and how to open it."""
        return tiny_model_path() if self.model is None else self.model, self.options

    @property
    def opened(self) -> Opened:
        """The model, its image processor and the kind of features; opened when first asked for.

        Threads that ask at the same moment may open it twice, which does no harm: nothing is copied. (Python 3.11's
        `cached_property` would hold a lock meanwhile, which a process that is forked then would wait for.)
        """
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def _open(self) -> Opened:
        place, options = self.source
        model = load(place, backend=self.backend, dtype=self.dtype, device=self.device, **options)
        kind = chosen_kind(self.features, model)
        processor = Aimv2ImageProcessor.from_pretrained(place, **fetching(options)).upright(self.exif_transpose)
        vision = vision_tower_of(model)
        return Opened(model, vision, processor, processor.bound(self.max_patches, vision.config.patch_shape), kind)

    def prepare(self, picture: Any) -> NDArray[np.float32]:
        """One picture, in any form that `Aimv2ImageProcessor` takes, as (3, h, w): decoded, resized, normalised.

        May be called from many threads at once. Raises FileNotFoundError, ValueError or TypeError for what is no sound
        picture, or is smaller than a patch.
        """
        opened = self.opened
        height, width = opened.vision.config.patch_shape
        pixels = opened.processor.prepare(picture, opened.bound)
        if pixels.shape[1] < height or pixels.shape[2] < width:
            raise ValueError(
                f"the picture is {pixels.shape[2]} x {pixels.shape[1]} pixels, smaller than one patch of "
                f"{width} x {height}; expected a larger one"
            )
        return pixels

    def __call__(self, batch: Any) -> Any:
        """The batch with the features of its pictures; see the class.

        Raises:
            ValueError, FileNotFoundError, TypeError: no column of pictures; a picture that cannot be read, unless
                `errors` says otherwise.
        """
        column, pictures, names = pictures_of(batch, COLUMNS)
        vision = self.opened.vision  # what is wrong with the model is no picture's fault
        kept: list[int] = []
        features: list[NDArray[np.float32]] = []
        grids: list[tuple[int, int]] = []
        reasons: dict[int, str] = {}
        for start in range(0, len(pictures), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(pictures)))
            prepared = {row: self._prepare_row(column, pictures[row], names[row]) for row in rows}
            sound = {row: pixels for row, pixels in prepared.items() if not isinstance(pixels, str)}
            reasons |= {row: reason for row, reason in prepared.items() if isinstance(reason, str)}
            kept += sound
            features += self.compute(list(sound.values()))
            grids += map(self.grid, sound.values())
        counts = [rows * columns for rows, columns in grids]
        warn_untrained(counts, vision.config, [f"row {row}" for row in kept])
        alike = len({vectors.shape for vectors in features}) == 1
        added: dict[str, Any] = {self.column: np.stack(features) if alike else features}
        if not features:
            added = {self.column: np.empty((0, self.size), np.float32)}
        if self.opened.kind == "tokens":
            added[GRID] = np.array(grids, np.int32).reshape(-1, 2)
        if self.errors == "column":
            return with_holes(batch, kept, added, reasons)
        return with_columns(batch, kept, len(pictures), added)

    def compute(self, pixels: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """The features of prepared pictures (3, h, w), in their order: for each (D,), or of "tokens" (N, D), float32.

        They go through a native model as one pack, through another those of one size together.
        """
        opened = self.opened
        compute, model = KINDS[opened.kind].compute, opened.model
        of_size: dict[tuple[int, ...], list[int]] = {}
        for row, picture in enumerate(pixels):
            of_size.setdefault(picture.shape, []).append(row)
        result: dict[int, NDArray[np.float32]] = {}
        with beside(model.some_array()):
            if opened.vision.config.is_native and len(of_size) > 1:
                return [self._finished(vector) for vector in compute(model, list(pixels))]
            for rows in of_size.values():
                vectors = self._finished(compute(model, np.stack([pixels[row] for row in rows])))
                result |= zip(rows, vectors, strict=True)
        return [result[row] for row in range(len(pixels))]

    def _finished(self, values: Any) -> NDArray[np.float32]:
        if self.normalize:
            values = l2_normalize(values.reshape(-1, values.shape[-1])).reshape(values.shape)
        return to_numpy(values).astype(np.float32, copy=False)

    def weights_hash(self, dtype: str) -> str:
        """The hash of the model's weights, as they are when it computes in `dtype`."""
        place, options = self.source
        mapped = load(place, dtype="float64" if dtype == "float64" else "float32", **options)
        return hash_weights(mapped.state_dict(), dtype)

    @property
    def size(self) -> int:
        """D, the length of a vector."""
        opened = self.opened
        if opened.kind == "projected":
            assert isinstance(opened.model, Aimv2Model)
            return opened.model.config.projection_dim
        return opened.vision.config.hidden_size

    def _prepare_row(self, column: str, picture: Any, name: str) -> NDArray[np.float32] | str:
        """The picture, prepared; or, unless that is an error, what is wrong with it."""
        try:
            return _checked(picture) if column == "pixel_values" else self.prepare(picture)
        except IMAGE_ERRORS as error:
            if self.errors == "raise":
                with naming_image(name):
                    raise
            if self.errors == "skip":
                warnings.warn(f"left out: {name}: {error}", stacklevel=3)
            return in_one_line(error)

    def grid(self, pixels: NDArray[np.float32]) -> tuple[int, int]:
        """Rows and columns of patches of a prepared picture."""
        height, width = self.opened.vision.config.patch_shape
        return pixels.shape[1] // height, pixels.shape[2] // width


def _checked(pixels: Any) -> NDArray[np.float32]:
    array = np.asarray(pixels)
    if array.ndim != 3 or array.shape[0] != 3 or array.dtype.kind != "f":
        raise ValueError(f"pixel_values is {array.dtype} of shape {array.shape}; expected floats (3, height, width)")
    return array.astype(np.float32, copy=False)
