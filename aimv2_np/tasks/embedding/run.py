"""Features of very many pictures into one file, by a run that may be killed at any moment and continued."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Unpack

from aimv2_np.files.atomic import ADVICE, refuse_existing, require_folder
from aimv2_np.models.packing import warn_untrained
from aimv2_np.processing.settings import as_count
from aimv2_np.tasks.embedding.complaints import once_a_kind
from aimv2_np.tasks.embedding.compute import Computed, computed
from aimv2_np.tasks.embedding.embedder import EmbedderOptions, ImageEmbedder
from aimv2_np.tasks.embedding.engines import check_engine, opened
from aimv2_np.tasks.embedding.feature_file import FORMAT, check_output, open_features, write_features
from aimv2_np.tasks.embedding.identity import begun, identity, settings
from aimv2_np.tasks.embedding.ledger import complete_file, mark_of, read_ledger, record, run_of
from aimv2_np.tasks.embedding.parts import Parts, differences, digest_states, remove_finished, remove_parts
from aimv2_np.tasks.embedding.plan import Plan, plan
from aimv2_np.tasks.embedding.sources import find_pictures
from aimv2_np.tasks.embedding.stored import FULL, check_store, encode

SAVE_EVERY: Final = 4096  # pictures
Broken = tuple[tuple[str, str], ...]  # name and reason of each


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
        kept, changed, absent, dropped: of the pictures that were in the complete file how many are as they were; were
            computed again; are kept although they were not given; are left out. See `Plan`.
        loss: 1 - the cosine of a vector in the file with what was computed, the largest of those that were computed
            now; None of float32, which loses nothing.
    """

    output: Path
    kind: str
    size: int
    count: int
    broken: Broken
    duplicates: int
    continued: int
    passed_over: Mapping[str, int] = field(default_factory=dict)
    kept: int = 0
    changed: int = 0
    absent: int = 0
    dropped: int = 0
    loss: float | None = None


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
    append: bool = True,
    sync: bool = False,
    checksum: bool = False,
    column: str | None = None,
    engine: str | None = None,
    address: str | None = None,
    threads: int | None = None,
    save_every: int = SAVE_EVERY,
    progress: Callable[[int, int], None] | None = None,
    on_broken: Callable[[str, str], None] | None = None,
    **options: Unpack[EmbedderOptions],
) -> Embedding:
    """Write the features of all pictures that `paths` name into the file `output`, in their order.

    What is computed is saved beside the output now and then. When the process ends before its time, however it ends,
    the same call again continues from there: no picture is lost and none is done twice, and the file becomes the same.
    Called once more when the file is complete, it changes nothing; with more pictures, it adds them behind those that
    are there. The complete file stays as it is until the new one takes its place.

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
        append: add to a complete file; otherwise only that of these very pictures is taken for complete.
        sync: compute pictures again that have changed, in their places, and leave out those that are not given.
        checksum: tell a changed picture by its contents, where the file has recorded them, and record them; otherwise
            by its size and its time of modification.
        column: of tables, the one with the pictures; see `find_pictures`.
        engine: "ray" or "dask", whose processes compute the features; None for this one. The file is the same, and
            an interrupted run may be continued with another.
        address: of its cluster; None for the one that this process is connected to already, or one on this machine.
        threads: how many threads decode; None for one per core, or one in each process of an engine.
        save_every: save after so many pictures at the latest; also after 20 seconds, or 64 MiB of features.
        progress: called with how many pictures are done, and of how many.
        on_broken: called with the name of a picture that cannot be read, and the reason.

    Raises:
        FileExistsError: `output` is there, is not of this model with these settings, and `overwrite` is False.
        ValueError: options that make no sense, or are not those of the interrupted run; pictures in `output` that have
            changed, without `sync`; another `store` than that of `output`; no picture, or none that can be read; with
            `strict` the first that cannot; features that the model does not have.
        BlockingIOError: another process is writing `output`.
        ConnectionError, ImportError, RuntimeError: no cluster at `address`; the engine is not installed; its processes
            die again and again.
        OSError, MemoryError: what is wrong with the machine: too many open files, no memory, a full disk. What is done
            is kept; a note of the exception says how much.
    """
    output = Path(output)
    _check_options(output, store, engine, address, {"save_every": save_every, "threads": threads})
    mark, earlier = mark_of(output), complete_file(output)
    if earlier is None:
        refuse_existing(output, overwrite)
    embedder = ImageEmbedder(model, features, normalize, **options)
    found = find_pictures(paths, column)
    before = {} if earlier is None or overwrite else run_of(earlier)
    wanted = settings(embedder)
    fits = wanted.items() <= before.items()
    if fits and (there := before.get("stored", FULL)) != store:
        raise ValueError(f"store is {store!r}, and {output} holds {there}; pass --store {there}, or write another file")
    ledger = read_ledger(earlier) if earlier and append and fits else None
    todo = plan(found, ledger, output, sync=sync, checksum=checksum)
    pictures = todo.pictures
    run = identity(wanted, pictures)
    complete = {**run, **({} if store == FULL else {"stored": store}), "contents": todo.digest}
    first = {**complete, "contents": digest_states(todo.states)}  # as 0.1.0 has written it, and no ledger
    if todo.is_done or (ledger is None and before in (complete, first)):
        remove_finished(output, run)
        broken = open_features(output).broken
        _check_strict(strict, broken)
        return _result(output, embedder, todo, len(pictures.names), broken)
    if before and not fits:
        raise _other_settings(output, before, wanted, complete)
    refuse_existing(output, overwrite or ledger is not None)
    todo = todo.in_batches(embedder.batch_size, embedder)
    more = begun(embedder, store if ledger else FULL, checksum=checksum)
    parts = Parts(output, run | more, len(pictures.names), todo.states, restart=restart)
    try:
        if mark_of(output) != mark:
            raise BlockingIOError(f"{output} was written by another process in this moment; the same command goes on")
        continued = int((todo.taken[: parts.done] < 0).sum())
        needed = engine if (todo.rows[parts.done :] < 0).any() else None
        with opened(needed, address if needed else None, gpu=embedder.backend != "numpy") as there, once_a_kind():
            results = computed(todo, parts.done, embedder, wanted, threads, there)
            _save(parts, todo, embedder, results, save_every, strict, progress, on_broken)
        _check_strict(strict, [(pictures.names[number], reason) for number, reason in parts.broken.items()])
        broken, loss = _assemble(parts, output, todo, embedder, complete, store)
        if mark_of(output) != mark:
            refuse_existing(output, overwrite)
        todo = replace(todo, ledger=None)
        del earlier, ledger  # Windows does not replace a file that is mapped
        parts.finish(output)
    except BaseException as error:
        if not isinstance(error, ValueError):
            error.add_note(parts.kept)
        raise
    finally:
        parts.close()
        if parts.done == 0:
            remove_parts(parts.folder)  # nothing to continue from
    return _result(output, embedder, todo, continued, broken, loss)


def _check_options(
    output: Path, store: str, engine: str | None, address: str | None, counts: Mapping[str, int | None]
) -> None:
    """Raise what stands against a run before anything is looked for."""
    check_output(output)
    check_store(store)
    check_engine(engine, address)
    for name, value in counts.items():
        as_count(1 if value is None else value, name)
    require_folder(output)


def _other_settings(
    output: Path, before: Mapping[str, Any], wanted: Mapping[str, Any], complete: Mapping[str, Any]
) -> FileExistsError:
    then = {name: value for name, value in before.items() if name in wanted or name not in complete}
    different = differences(then, wanted)
    return FileExistsError(f"{output} exists already, and was made with other settings: {different}; {ADVICE}")


def _check_strict(strict: bool, broken: Sequence[tuple[str, str]]) -> None:
    if strict and broken:
        raise ValueError(f"{broken[0][0]}: {broken[0][1]}")


def _save(
    parts: Parts,
    todo: Plan,
    embedder: ImageEmbedder,
    results: Generator[Computed, None, None],
    save_every: int,
    strict: bool,
    progress: Callable[[int, int], None] | None,
    on_broken: Callable[[str, str], None] | None,
) -> None:
    progress, on_broken = progress or (lambda done, total: None), on_broken or (lambda name, reason: None)
    untrained = False  # whether pictures that the model was not trained for have been told: those of the first batch
    names = todo.pictures.names
    progress(parts.done, parts.total)
    try:
        with contextlib.closing(results):
            for some in results:
                for number, reason in some.newly_broken.items():
                    _check_strict(strict, [(names[number], reason)])
                    on_broken(names[number], reason)
                parts.add(some.stop, some.arrays, some.broken)
                if some.counts and not untrained:
                    who = [names[number] for number in some.counts]
                    untrained = warn_untrained(list(some.counts.values()), embedder.opened.vision.config, who)
                if parts.is_due(save_every):
                    parts.save()
                progress(some.stop, parts.total)
    except BaseException:  # Ctrl-C too: what is computed is not lost
        with contextlib.suppress(OSError, MemoryError):
            parts.save()
        raise
    parts.save()


def _assemble(
    parts: Parts, output: Path, todo: Plan, embedder: ImageEmbedder, complete: dict[str, Any], store: str
) -> tuple[Broken, float | None]:
    """Put the file together beside the parts; returns what is broken, (name, reason), and the loss.

    What is mapped for it is let go of before the parts are removed, which Windows asks for.
    """
    names, suffix = todo.pictures.names, output.suffix.lower()
    broken = tuple((names[number], reason) for number, reason in parts.broken.items())
    if len(broken) == len(names):
        parts.remove()
        raise ValueError(
            f"none of {len(broken)} pictures can be read, and nothing is written; the first, {broken[0][0]}: "
            f"{broken[0][1]}"
        )
    sound = [name for number, name in enumerate(names) if number not in parts.broken]
    more, facts = record(suffix, todo.record["states"], todo.record["checksums"], list(parts.broken))
    arrays, loss = encode(parts.arrays(), store, parts.folder)
    metadata = _metadata(embedder, complete, len(names), len(broken)) | facts
    metadata |= {} if store == FULL else {"stored": store}
    with parts.assembled(output) as file:
        write_features(file, suffix, arrays | more, sound, broken, metadata)
    return broken, loss


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


def _result(
    output: Path, embedder: ImageEmbedder, todo: Plan, continued: int, broken: Broken, loss: float | None = None
) -> Embedding:
    pictures = todo.pictures
    facts = pictures.duplicates, continued, pictures.passed_over, todo.kept, todo.changed, todo.absent, todo.dropped
    count = len(pictures.names) - len(broken)
    return Embedding(output, embedder.opened.kind, embedder.size, count, broken, *facts, loss)
