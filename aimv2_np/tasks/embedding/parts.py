"""What a run has computed so far: files beside the output that only grow, and a manifest that says what is in them.

    features.safetensors.parts/
        manifest.jsonl  line 1: which run this is; then a line each time that something was saved
        features.bin    the numbers of the array "features" of all pictures that are done; other arrays likewise
        lock            held by the process that is at it; the system releases it, however that ends

Numbers are on the disk before the line that counts them is. So whenever the process is killed, every line that is
whole stands for numbers that are there; what lies behind them is written over. The lines cover the list of pictures
without gaps, in order.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from filelock import FileLock, Timeout

from aimv2_np.errors import CheckpointError
from aimv2_np.files.atomic import make_folder, naming_path
from aimv2_np.shapes import NDArray

FORMAT: Final = "aimv2_np.embed/2"
MANIFEST: Final = "manifest.jsonl"
ASSEMBLED: Final = "assembled.tmp"  # the output while it is put together
SAVE_SECONDS: Final = 20.0  # of work that may be lost, about
SAVE_BYTES: Final = 2**26  # of features that are kept in memory
RESTART: Final = "begin anew with --restart (restart=True), or by removing that folder"
DTYPES: Final = {name: np.dtype(code) for name, code in {"features": "<f4", "counts": "<i8", "grid": "<i4"}.items()}


def parts_folder(output: Path) -> Path:
    """Where the parts of `output` are while it is not complete."""
    return output.with_name(output.name + ".parts")


class Parts:
    """What one run has computed: what an interrupted one has left, and what is added.

    Attributes:
        done: how many pictures are saved, counted from the first.
        broken: the numbers of those of them that cannot be read, in order, with the reasons.

    Args:
        output: the file that will be made of them.
        run: the settings by which a run is told from another: name → a value that JSON can hold.
        total: how many pictures there are.
        states: a text for each of them, which changes when its contents do; see `Pictures.states`.
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
        self.done = self._size = 0
        self.broken: dict[int, str] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._added: list[Mapping[str, NDArray]] = []  # and not yet saved, as are the next three
        self._broken: dict[int, str] = {}
        self._stop, self._since = 0, time.monotonic()
        self._manifest = make_folder(self.folder) / MANIFEST
        self._lock = FileLock(self.folder / "lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise BlockingIOError(f"{output} is being written by another process; wait for it to end") from None
        try:
            if restart:
                self._manifest.unlink(missing_ok=True)
            self._read()
        except BaseException:
            self.close()
            raise

    @property
    def kept(self) -> str:
        """A sentence for people whose run has stopped: how much is saved, and how to go on."""
        if not self.done:
            return "nothing is saved yet; the same command begins again"
        return f"{self.done:,} of {self.total:,} pictures are kept in {self.folder}; the same command continues"

    def arrays(self) -> dict[str, NDArray]:
        """The arrays of all pictures that are done and not broken, in order, mapped."""
        return {
            name: np.memmap(self._file(name), DTYPES[name], "r", shape=shape).view(np.ndarray)
            for name, shape in sorted(self._shapes.items())
        }

    @contextlib.contextmanager
    def assembled(self, output: Path) -> Iterator[BinaryIO]:
        """A file beside the parts, to put the output together in; `finish` then makes it the output."""
        with naming_path(output), (self.folder / ASSEMBLED).open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())

    def add(self, stop: int, arrays: Mapping[str, NDArray], broken: Mapping[int, str]) -> None:
        """Take up the next pictures, those up to number `stop`, which `save` will write.

        Args:
            stop: the number of the first picture that is not among them.
            arrays: of the sound ones, joined along the first axis; their names are those of `DTYPES`.
            broken: the numbers of the others, with the reasons.
        """
        self._stop = stop
        self._added.append(arrays)
        self._broken |= broken

    def is_due(self, save_every: int) -> bool:
        """Whether it is time to save: after so many pictures, or what is lost or kept in memory becomes much."""
        nbytes = sum(array.nbytes for arrays in self._added for array in arrays.values())
        late = time.monotonic() - self._since > SAVE_SECONDS
        return self._stop - self.done >= save_every or nbytes >= SAVE_BYTES or late

    def save(self) -> None:
        """Append what was added; it is on the disk, whatever happens, when this returns."""
        if self._stop > self.done:
            self._append()
        self._added, self._broken, self._since = [], {}, time.monotonic()

    def _append(self) -> None:
        shapes = dict(self._shapes)
        for name in {name: None for arrays in self._added for name in arrays}:
            data = np.concatenate([arrays[name] for arrays in self._added if name in arrays], dtype=DTYPES[name])
            rows = shapes[name][0] if name in shapes else 0
            _write(self._file(name), data.data, rows * prod(data.shape[1:]) * data.itemsize)
            shapes[name] = (rows + len(data), *data.shape[1:])
        _sync_folder(self.folder)
        broken = sorted(self._broken.items())
        contents = digest_states(self.states[self.done : self._stop])
        self._tell({"start": self.done, "stop": self._stop, "broken": broken, "shapes": shapes, "contents": contents})
        self._shapes, self.done = shapes, self._stop
        self.broken |= dict(broken)

    def finish(self, output: Path) -> None:
        """Let the assembled file become `output`, and remove the parts."""
        (self.folder / ASSEMBLED).replace(output)
        _sync_folder(output.parent)
        self.remove()

    def remove(self) -> None:
        """Remove all that the run has left, and let others go on."""
        self.close()
        remove_parts(self.folder)

    def close(self) -> None:
        """Let others go on with the run."""
        self._lock.release()

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.bin"

    def _tell(self, line: Mapping[str, Any]) -> None:
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        _write(self._manifest, data, self._size)
        self._size += len(data)

    def _read(self) -> None:
        data = self._manifest.read_bytes() if self._manifest.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]  # a torn line, which can only be the last, is written over
        try:
            header, *lines = [json.loads(line) for line in whole.splitlines()] or [None]
        except ValueError as error:
            raise self._damaged(f"a line is not valid JSON ({error})") from None
        if not lines:  # nothing was computed yet: this run may take the place
            self._tell({"format": FORMAT, "run": self.run, "total": self.total})
            return
        self._size = len(whole)
        self._check_run(header)
        for line in lines:
            self._take(line)
        for name, shape in self._shapes.items():
            path, expected = self._file(name), prod(shape) * DTYPES[name].itemsize
            size = path.stat().st_size if path.exists() else 0
            if size < expected:
                raise self._damaged(f"{name}.bin is truncated: it has {size:,} bytes; expected {expected:,}")

    def _check_run(self, header: Any) -> None:
        if not isinstance(header, dict) or header.get("format") != FORMAT or not isinstance(header.get("run"), dict):
            raise self._damaged(f"its first line is not that of {FORMAT}")
        if different := differences(header["run"], self.run):
            raise ValueError(
                f"{self.folder} holds an interrupted run of another kind: {different}. Give the options that it was "
                f"begun with, name another output, or {RESTART}"
            )

    def _take(self, line: Any) -> None:
        """Take up what one line of the manifest says."""
        try:
            start, stop, contents = int(line["start"]), int(line["stop"]), line["contents"]
            broken = {int(number): str(reason) for number, reason in line["broken"]}
            shapes = {name: tuple(map(int, shape)) for name, shape in line["shapes"].items() if DTYPES[name]}
            sound = shapes.get("counts", shapes.get("features", (0,)))[0]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._damaged(f"{type(error).__name__}: {error}") from None
        if start != self.done or not start < stop <= self.total:
            raise self._damaged(f"a part from {start} to {stop} of {self.total} is out of place")
        if contents != digest_states(self.states[start:stop]):
            raise ValueError(
                f"{self.folder} holds an interrupted run, and of its first {stop:,} pictures some have changed since "
                f"(another size or time of modification); {RESTART}"
            )
        self.done, self._shapes = stop, shapes
        self.broken |= broken
        if sound + len(self.broken) != stop:
            raise self._damaged(f"{sound} pictures have features and {len(self.broken)} are broken, of {stop}")

    def _damaged(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self._manifest} cannot be continued from: {problem}; {RESTART}")


def remove_finished(output: Path, run: Mapping[str, Any]) -> None:
    """Remove what `run` has left, killed between its last two steps; nothing that another one may go on with.

    What it has left may say more of how it was begun than the file that it has made.
    """
    folder = parts_folder(output)
    if not folder.is_dir():
        return
    lock = FileLock(folder / "lock")
    damage = ValueError, LookupError, TypeError, AttributeError
    with contextlib.suppress(Timeout, OSError, *damage), lock.acquire(blocking=False):
        lines = (folder / MANIFEST).read_bytes().splitlines() if (folder / MANIFEST).exists() else []
        if len(lines) < 2 or run.items() <= json.loads(lines[0])["run"].items():
            remove_parts(folder)


def remove_parts(folder: Path) -> None:
    """Remove a folder of parts; if the process is killed meanwhile, what is left is no run to continue."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is another setting now than it was then, as a text for people; empty where nothing is."""
    return "; ".join(
        f"{name} was {_brief(then.get(name))} and is now {_brief(now.get(name))}"
        for name in {**then, **now}
        if then.get(name) != now.get(name)
    )


def digest_states(states: Sequence[str]) -> str:
    """SHA-256 of the pictures' states, in order."""
    return sha256("\n".join(states).encode()).hexdigest()


def _write(path: Path, data: bytes | memoryview, size: int) -> None:
    """Write `data` behind the first `size` bytes of a file, in the place of what an interrupted write has left."""
    with naming_path(path), path.open("ab") as file:
        file.truncate(size)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 24 else text[:16] + "…" + text[-1]


def _sync_folder(folder: Path) -> None:
    """Wait until the names of the files in a folder are on the disk, too; their contents are not enough."""
    with contextlib.suppress(OSError):  # Windows cannot open folders
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
