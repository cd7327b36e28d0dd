"""What a run has computed so far: shards beside the output, and a manifest that only ever grows.

    features.safetensors.parts/
        manifest.jsonl                  line 1: which run this is; then a line for each shard that is complete
        000000000-000004096.safetensors the features of the sound pictures among those numbers

A shard is written under a temporary name, renamed, and then entered in the manifest. So whenever the process is killed,
every line that is whole stands for a shard that is whole; what is not in the manifest is computed again. Shards cover
the list of pictures without gaps, in order.
"""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from errno import ENOSPC
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from aimv2_np.errors import CheckpointError
from aimv2_np.files.atomic import make_folder, naming
from aimv2_np.shapes import NDArray
from aimv2_np.storage import SafetensorsFile, save_safetensors
from aimv2_np.tasks.embedding.lock import lock

FORMAT: Final = "aimv2_np.embed/1"
MANIFEST: Final = "manifest.jsonl"
ASSEMBLED: Final = "assembled.tmp"  # the output while it is put together
RESTART: Final = "begin anew with --restart (restart=True), or by removing that folder"


@dataclass(frozen=True)
class Shard:
    """The pictures from `start` up to `stop`: `rows` of them have features in `path`; `broken` are the others."""

    start: int
    stop: int
    rows: int
    broken: dict[int, str]
    path: Path | None  # None where all are broken

    def open(self) -> SafetensorsFile | None:
        """Its arrays, memory-mapped."""
        return None if self.path is None else SafetensorsFile(self.path)


def parts_folder(output: Path) -> Path:
    """Where the shards of `output` are while it is not complete."""
    return output.with_name(output.name + ".parts")


class ShardStore:
    """The shards of one run: those that an interrupted one has left, and those that are added.

    Args:
        output: the file that will be made of them.
        run: what makes two runs the same, as JSON: name → value.
        total: how many pictures there are.
        states: of each of them, what is another one when its contents are; see `Pictures.states`.
        restart: throw away what an interrupted run has left.

    Raises:
        ValueError: what is left belongs to another run.
        CheckpointError: what is left is damaged.
        BlockingIOError: another process is writing the same output.
    """

    def __init__(
        self, output: Path, run: Mapping[str, Any], total: int, states: Sequence[str] = (), *, restart: bool = False
    ) -> None:
        self.folder, self.run, self.total, self.states = parts_folder(output), dict(run), total, states
        make_folder(self.folder)
        self._lock = lock(self.folder / "lock", f"{output} is being written by another process; wait for it to end")
        try:
            _remove_stale(self.folder, everything=restart)
            manifest = self.folder / MANIFEST
            self.shards = _read(manifest, self.run, total, states) if manifest.exists() else []
            self._manifest = manifest.open("ab", buffering=0)
            if manifest.stat().st_size == 0:
                self._append({"format": FORMAT, "run": self.run, "total": total})
        except BaseException:
            self._lock.close()
            raise
        self.done = self.shards[-1].stop if self.shards else 0

    @property
    def broken(self) -> dict[int, str]:
        """The numbers of the pictures that cannot be read, in order, with the reasons."""
        return dict(sorted(item for shard in self.shards for item in shard.broken.items()))

    @property
    def kept(self) -> str:
        """What is saved, for whoever has to stop here."""
        if not self.done:
            return "nothing is saved yet; the same command begins again"
        return f"{self.done:,} of {self.total:,} pictures are kept in {self.folder}; the same command continues"

    def add(self, stop: int, arrays: Mapping[str, NDArray] | None, broken: Mapping[int, str]) -> None:
        """Append the shard from `done` up to `stop`; it is on the disk, whatever happens, when this returns."""
        name, rows = None, 0
        if arrays:
            name = f"{self.done:09d}-{stop:09d}.safetensors"
            rows = stop - self.done - len(broken)
            save_safetensors(self.folder / name, arrays, {}, overwrite=True)
            _sync_folder(self.folder)
        line: dict[str, Any] = {
            "start": self.done,
            "stop": stop,
            "rows": rows,
            "file": name,
            "broken": sorted(broken.items()),
        }
        line["contents"] = digest_states(self.states[self.done : stop])
        self._append(line)
        self.shards.append(Shard(self.done, stop, rows, dict(broken), self.folder / name if name else None))
        self.done = stop

    def _append(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        number = self._manifest.fileno()
        before = os.fstat(number).st_size
        try:
            with naming(self.folder / MANIFEST):
                if self._manifest.write(data) != len(data):
                    raise OSError(ENOSPC, os.strerror(ENOSPC))
                os.fsync(number)
        except OSError:
            os.ftruncate(number, before)  # else the next line would be joined to half of this one
            raise

    def finish(self, output: Path) -> None:
        """Let the assembled file become `output`, and remove the shards."""
        (self.folder / ASSEMBLED).replace(output)
        _sync_folder(output.parent)
        self.remove()

    def remove(self) -> None:
        """Remove all that the run has left."""
        self.close()
        remove_parts(self.folder)

    def close(self) -> None:
        """Close the manifest and let others go on with the run."""
        self._manifest.close()
        self._lock.close()


def remove_parts(folder: Path) -> None:
    """Remove a folder of shards; if the process is killed meanwhile, what is left is no run to continue."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def digest_states(states: Sequence[str]) -> str:
    """SHA-256 of the pictures' states, in order."""
    return sha256("\n".join(states).encode()).hexdigest()


def _read(path: Path, run: Mapping[str, Any], total: int, states: Sequence[str]) -> list[Shard]:
    header, *lines = list(_whole_lines(path)) or [None]
    if not lines:  # nothing was computed yet: this run may take the place
        os.truncate(path, 0)
        return []
    _check_run(path, header, run)
    shards: list[Shard] = []
    for line in lines:
        shard = _shard(path, line)
        if shard.start != (shards[-1].stop if shards else 0) or not shard.start < shard.stop <= total:
            raise _damaged(path, f"a shard from {shard.start} to {shard.stop} of {total} is out of place")
        if line.get("contents") != digest_states(states[shard.start : shard.stop]):
            raise ValueError(
                f"{path.parent} holds an interrupted run, and of its first {shard.stop:,} pictures some have changed "
                f"since (another size or time of modification); {RESTART}"
            )
        shards.append(shard)
    return shards


def _whole_lines(path: Path) -> Iterator[Any]:
    """The lines that were written to their end; a torn one, which can only be the last, is cut off."""
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
    for number, line in enumerate(data[:whole].split(b"\n")[:-1], 1):
        try:
            yield json.loads(line)
        except ValueError:
            raise _damaged(path, f"line {number} is not valid JSON") from None


def _check_run(path: Path, header: Any, run: Mapping[str, Any]) -> None:
    if not isinstance(header, dict) or header.get("format") != FORMAT or not isinstance(header.get("run"), dict):
        raise _damaged(path, f"its first line is not that of {FORMAT}")
    found = header["run"]
    different = [name for name in {**found, **run} if found.get(name) != run.get(name)]
    if different:
        said = "; ".join(
            f"{name} was {_brief(found.get(name))} and is now {_brief(run.get(name))}" for name in different
        )
        raise ValueError(
            f"{path.parent} holds an interrupted run of another kind: {said}. Give the options that it was begun with, "
            f"name another output, or {RESTART}"
        )


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else text[:16] + "…" + text[-1]


def _shard(path: Path, line: Any) -> Shard:
    try:
        start, stop, rows, name = line["start"], line["stop"], line["rows"], line["file"]
        broken = {int(number): str(reason) for number, reason in line["broken"]}
        file = path.parent / name if name else None
        shard = Shard(int(start), int(stop), int(rows), broken, file)
        opened = shard.open()
    except (KeyError, TypeError, ValueError, FileNotFoundError) as error:
        raise _damaged(path, f"{error}") from None
    held = 0 if opened is None else next(iter(opened.entries.values())).shape[0]
    if opened is not None and "counts" in opened.entries:
        held = opened.entries["counts"].shape[0]
    if held != rows or rows + len(broken) != stop - start:
        raise _damaged(path, f"the shard {name} holds {held} pictures and {len(broken)} are broken, of {stop - start}")
    return shard


def _damaged(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(f"{path} cannot be continued from: {problem}; {RESTART}")


def _remove_stale(folder: Path, *, everything: bool) -> None:
    """What a killed process has left half done; with `everything` all but the lock."""
    if everything:
        (folder / MANIFEST).unlink(missing_ok=True)  # first: shards without it are nothing
    for path in folder.iterdir():
        if path.suffix == ".tmp" or (everything and path.suffix == ".safetensors"):
            path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """After a loss of power too, a file that was renamed before is there."""
    with contextlib.suppress(OSError, PermissionError):  # Windows cannot open folders
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def arrays_of(shards: Sequence[Shard], name: str) -> Iterator[NDArray]:
    """The array of that name in each shard, in order, mapped."""
    for shard in shards:
        file = shard.open()
        if file is not None:
            yield file.plain(name)
