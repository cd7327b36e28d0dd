"""Who wants to know what modules compute, and telling them. `trace` in trace.py begins a recording.

A recorder knows paths by the identity of what is called, and nothing about modules. Outside a recording nothing is
kept, and a module's call goes straight through.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from aimv2_np.backends.arrays import is_array
from aimv2_np.backends.context import having
from aimv2_np.shapes import Array

STANDS_FOR = "_stands_for"  # attribute of a module with other arrays in the place of another one's: that one's id


def join(prefix: str, name: str) -> str:
    """`encoder.layers` and `3` make `encoder.layers.3`; an empty part adds nothing."""
    return f"{prefix}.{name}" if prefix and name else prefix or name


@dataclass
class Recorder:
    """One recording: which paths are wanted, and where their arrays go.

    Attributes:
        paths: identity of a module -> its dotted path.
        include: globs; a path that matches one of them is wanted.
        store: called with the path and the array as soon as it is computed.
    """

    paths: dict[int, str]
    include: tuple[str, ...]
    store: Callable[[str, Array], None]
    running: list[str] = field(default_factory=list)  # paths of the modules being called, outermost first
    offered: set[str] = field(default_factory=set)
    stored: bool = False

    def around(self, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """What the module at `path` returns: what `function` does, which is its own call, or another recorder's."""
        output = self.within(path, function, *args, **kwargs)
        self.keep(path, output)
        return output

    def within(self, path: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """`function(*args, **kwargs)`, while the module at `path` is running."""
        self.running.append(path)
        try:
            return function(*args, **kwargs)
        finally:
            self.running.pop()

    def wants(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self.include)

    def keep(self, path: str, value: Any) -> None:
        """Store an array, or the arrays of a named tuple or output, each under its field's name, if they are wanted."""
        if is_array(value):
            self.offered.add(path)
            if self.wants(path):
                self.stored = True
                self.store(with_number(path), value)
        elif hasattr(value, "_asdict") or isinstance(value, Mapping):
            for name, part in (value if isinstance(value, Mapping) else value._asdict()).items():
                if is_array(part):
                    self.keep(join(path, name), part)


_number: ContextVar[str] = ContextVar("number", default="")
RECORDERS: ContextVar[tuple[Recorder, ...]] = ContextVar("recorders", default=())


def recording() -> bool:
    """Whether somebody is recording in this thread or task."""
    return bool(RECORDERS.get())


def observe(name: str, value: Array) -> None:
    """Offer an inner activation of the module that is running to whoever is recording."""
    for recorder in RECORDERS.get():
        if recorder.running:
            recorder.keep(join(recorder.running[-1], name), value)


def numbered(i: int) -> AbstractContextManager[None]:
    """What is recorded inside the block belongs to image i of a pack: `embeddings` becomes `embeddings.0`, …"""
    return having(_number, f".{i}")


def with_number(path: str) -> str:
    """`path`, behind it the number of the image that is being computed, where there is one."""
    return path + _number.get()


def identity(module: object) -> int:
    """By which recorders know a module: its id, or that of the module that it stands for."""
    return int(getattr(module, STANDS_FOR, id(module)))


def recorded(module: object, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """`function(*args, **kwargs)` as what `module` computes: its result is offered under the module's path."""
    known = identity(module)
    for recorder in RECORDERS.get():
        if known in recorder.paths:
            function = partial(recorder.around, recorder.paths[known], function)
    return function(*args, **kwargs)
