"""Features of very many pictures into one file, by a run that may be killed at any moment and continued."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np
from numpy.typing import NDArray

from aimv2_np.errors import is_of_the_system
from aimv2_np.files.atomic import refuse_existing, require_folder
from aimv2_np.models.packing import warn_untrained
from aimv2_np.processing.settings import as_count
from aimv2_np.storage.digest import hash_weights
from aimv2_np.tasks.embedding.complaints import once_a_kind
from aimv2_np.tasks.embedding.embedder import EmbedderOptions, ImageEmbedder
from aimv2_np.tasks.embedding.feature_file import FORMAT, check_output, open_features, write_features
from aimv2_np.tasks.embedding.parts import Parts, digest_states, parts_folder, remove_parts
from aimv2_np.tasks.embedding.pipeline import Batch, prepared_batches
from aimv2_np.tasks.embedding.sources import Pictures, find_pictures
from aimv2_np.tasks.embedding.stored import FULL, Loss, check_store, encode, loss_of

SAVE_EVERY: Final = 4096  # pictures


@dataclass(frozen=True)
class Embedding:
    """What `embed` did.

    Attributes:
        output: the file.
        kind: which features.
        size: the length of a vector.
        count: how many pictures have features.
        broken: (name, reason) of the others, in order.
        duplicates: how many were named more than once and are left out.
        continued: how many pictures an earlier, interrupted run had done already.
        passed_over: see `Pictures`.
        loss: what the vectors have lost by being stored in fewer bytes; None of float32.
    """

    output: Path
    kind: str
    size: int
    count: int
    broken: tuple[tuple[str, str], ...]
    duplicates: int
    continued: int
    passed_over: Mapping[str, int] = field(default_factory=dict)
    loss: Loss | None = None


def embed(
    paths: Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str] | None = None,
    features: str | None = None,
    normalize: bool = False,
    store: str = FULL,
    strict: bool = False,
    overwrite: bool = False,
    restart: bool = False,
    threads: int | None = None,
    save_every: int = SAVE_EVERY,
    progress: Callable[[int, int], None] | None = None,
    on_broken: Callable[[str, str], None] | None = None,
    **options: Unpack[EmbedderOptions],
) -> Embedding:
    """Write the features of all pictures that `paths` name into the file `output`, in their order.

    What is computed is saved beside the output now and then. When the process ends before its time, however it ends,
    the same call again continues from there: no picture is lost and none is done twice, and the file becomes the same.
    Called once more when the file is complete, it changes nothing.

    Args:
        paths: see `find_pictures`. A picture that is named twice is taken once.
        output: a file that ends in .safetensors, .npz or .parquet; see `feature_file` for what is in it.
        model, features, normalize: see `ImageEmbedder`.
        options: batch_size, max_patches, backend, dtype, device, revision, …; see `ImageEmbedder`.
        store: what a vector is in the file: "float32", "float16", or "int8" with a scale; see `stored`. An interrupted
            run keeps float32, and may be continued with another.
        strict: stop at the first picture that cannot be read; otherwise such pictures have no row, and are listed.
        overwrite: replace a file that is there.
        restart: begin anew, whatever an interrupted run has left.
        threads: how many threads decode; None for one per core.
        save_every: save after so many pictures at the latest; also after 20 seconds, or 64 MiB of features.
        progress: called with how many pictures are done, and of how many.
        on_broken: called with the name of a picture that cannot be read, and the reason.

    Raises:
        FileExistsError: `output` is there, is not of this very run, and `overwrite` is False.
        ValueError: options that make no sense, or are not those of the interrupted run; no picture, or none that can be
            read; with `strict` the first that cannot; features that the model does not have.
        BlockingIOError: another process is writing `output`.
        OSError, MemoryError: what is wrong with the machine: too many open files, no memory, a full disk. What is done
            is kept; a note of the exception says how much.
    """
    output = Path(output)
    check_output(output)
    check_store(store)
    for name, value in (("save_every", save_every), ("threads", 1 if threads is None else threads)):
        as_count(value, name)
    require_folder(output)
    earlier = _earlier(output)
    if earlier is None:
        refuse_existing(output, overwrite)
    embedder = ImageEmbedder(model, features, normalize, **options)
    pictures = find_pictures(paths)
    run, states = _identity(embedder, pictures), pictures.states()
    complete = {**run, **({} if store == FULL else {"stored": store}), "contents": digest_states(states)}
    if earlier == json.dumps(complete) and not overwrite and not restart:
        remove_parts(parts_folder(output))  # the process was killed between its last two steps
        return _result(output, embedder, pictures, len(pictures.names), open_features(output).broken)
    refuse_existing(output, overwrite)
    parts = Parts(output, run, len(pictures.names), states, restart=restart)
    try:
        continued = parts.done

        def tell(name: str, reason: str) -> None:
            if strict:
                raise ValueError(f"{name}: {reason}")
            if on_broken:
                on_broken(name, reason)

        _compute(parts, pictures, embedder, threads, save_every, progress or (lambda done, total: None), tell)
        broken = tuple((pictures.names[number], reason) for number, reason in parts.broken.items())
        if len(broken) == len(pictures.names):
            parts.remove()
            raise ValueError(
                f"none of {len(broken)} pictures can be read, and nothing is written; the first, {broken[0][0]}: "
                f"{broken[0][1]}"
            )
        sound = [name for number, name in enumerate(pictures.names) if number not in parts.broken]
        metadata = _metadata(embedder, complete, len(pictures.names), len(broken))
        _assemble(parts, output, store, sound, broken, metadata)
        refuse_existing(output, overwrite)
        parts.finish(output)
    except BaseException as error:
        if not isinstance(error, ValueError):
            error.add_note(parts.kept)
        raise
    finally:
        parts.close()
        if parts.done == 0:
            remove_parts(parts.folder)  # nothing to continue from
    return _result(output, embedder, pictures, continued, broken)


def _compute(
    parts: Parts,
    pictures: Pictures,
    embedder: ImageEmbedder,
    threads: int | None,
    save_every: int,
    progress: Callable[[int, int], None],
    on_broken: Callable[[str, str], None],
) -> None:
    untrained = False  # whether a batch has been told of pictures that the model was not trained for: the first is
    progress(parts.done, parts.total)
    batches = prepared_batches(pictures, parts.done, embedder.batch_size, embedder, threads)
    try:
        with once_a_kind(), contextlib.closing(batches):
            for batch in batches:
                for number, reason in batch.broken.items():
                    on_broken(pictures.names[number], reason)
                grids = [embedder.grid(pixels) for pixels in batch.pixels.values()]
                parts.add(batch.stop, _features(embedder, batch, grids) if grids else {}, batch.broken)
                if parts.is_due(save_every):
                    parts.save()
                if grids and not untrained:
                    names = [pictures.names[number] for number in batch.pixels]
                    counts = [rows * columns for rows, columns in grids]
                    untrained = warn_untrained(counts, embedder.opened.vision.config, names)
                progress(batch.stop, parts.total)
    except BaseException:  # Ctrl-C too: what is computed is not lost
        with contextlib.suppress(OSError, MemoryError):
            parts.save()
        raise
    parts.save()


def _assemble(
    parts: Parts,
    output: Path,
    store: str,
    names: list[str],
    broken: tuple[tuple[str, str], ...],
    metadata: Mapping[str, str],
) -> None:
    """Put the output together beside the parts; what was mapped for it is let go of before the parts are removed."""
    arrays, stored = encode(parts.arrays(), store, parts.folder)
    with parts.assembled(output) as file:
        write_features(file, output.suffix.lower(), arrays, names, broken, {**metadata, **stored})


def _features(embedder: ImageEmbedder, batch: Batch, grids: list[tuple[int, int]]) -> dict[str, NDArray[Any]]:
    """The arrays of a file of features, of the sound pictures of a batch."""
    vectors = embedder.compute(list(batch.pixels.values()))
    if embedder.opened.kind != "tokens":
        return {"features": np.stack(vectors)}
    grid = np.array(grids, np.int32)
    if not embedder.opened.vision.config.is_native:
        return {"features": np.stack(vectors), "grid": grid}
    return {"features": np.concatenate(vectors), "counts": grid.prod(axis=1, dtype=np.int64), "grid": grid}


def _identity(embedder: ImageEmbedder, pictures: Pictures) -> dict[str, Any]:
    """What two runs have in common when one may continue the other."""
    opened = embedder.opened
    processor = json.dumps(opened.processor.to_dict(), sort_keys=True, default=str)
    return {
        "features": opened.kind,
        "normalize": embedder.normalize,
        "dtype": embedder.dtype,
        "backend": embedder.backend,
        "weights": hash_weights(opened.model.state_dict()),
        "image processor": sha256(processor.encode()).hexdigest(),
        "number of pictures": len(pictures.names),
        "pictures": pictures.digest(),
        "batch size": embedder.batch_size,  # by which rows are rounded differently
        **({} if embedder.max_patches is None else {"max patches": embedder.max_patches}),
        **({"turned upright": True} if embedder.exif_transpose else {}),
    }


def _metadata(embedder: ImageEmbedder, run: dict[str, Any], total: int, broken: int) -> dict[str, str]:
    return {
        "format": FORMAT,
        "features": run["features"],
        "normalized": json.dumps(embedder.normalize),
        "model": embedder.name,
        **{name: embedder.options[name] for name in ("revision", "prefix") if embedder.options.get(name)},
        **({} if embedder.options.get("final_norm", True) else {"final_norm": "false"}),
        "weights_hash": run["weights"],
        **({} if embedder.max_patches is None else {"max_patches": str(embedder.max_patches)}),
        **({"exif_transpose": "true"} if embedder.exif_transpose else {}),
        "dtype": embedder.dtype,
        "backend": embedder.backend,
        "aimv2_np": sys.modules["aimv2_np"].__version__,  # the package itself stands above this room
        "count": str(total - broken),
        "broken": str(broken),
        "run": json.dumps(run),
    }


def _earlier(output: Path) -> str | None:
    """The identity of the run that has written `output`; None where there is none, or no such file."""
    try:
        return open_features(output).metadata.get("run")
    except (OSError, ValueError, ImportError) as error:
        if is_of_the_system(error):
            raise
        return None


def _result(
    output: Path, embedder: ImageEmbedder, pictures: Pictures, continued: int, broken: tuple[tuple[str, str], ...]
) -> Embedding:
    count = len(pictures.names) - len(broken)
    return Embedding(
        output, embedder.opened.kind, embedder.size, count, broken, pictures.duplicates, continued,
        pictures.passed_over, loss_of(open_features(output).metadata),
    )  # fmt: skip
