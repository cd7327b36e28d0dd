"""Recording what every module computes, under the module's dotted path.

    with trace(model) as activations:
        model(pixel_values)
    activations["encoder.layers.3.ffn"]             # a module's output
    activations["encoder.layers.3.attention.probs"] # an inner activation

Nothing is recorded, and nothing is slower, outside such a block.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from aimv2_np.backends.arrays import is_array
from aimv2_np.backends.operation import textbook
from aimv2_np.shapes import Array

if TYPE_CHECKING:
    from aimv2_np.tree.module import Module


IN_TEXTBOOK_ONLY = ("scores", "probs")  # faster bodies of attention never hold all of these at once


@dataclass
class _Recorder:
    paths: dict[int, str]  # id(module) -> dotted path
    include: tuple[str, ...]
    store: Callable[[str, Array], None]
    running: list[str] = field(default_factory=list)  # paths of the modules being called, outermost first
    offered: set[str] = field(default_factory=set)
    stored: bool = False

    def wants(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self.include)

    def needs_textbook(self) -> bool:
        return any(self.wants(_join(path, name)) for path in self.paths.values() for name in IN_TEXTBOOK_ONLY)

    def keep(self, path: str, value: Any, number: str = "") -> None:
        if is_array(value):
            self.offered.add(path)
            if self.wants(path):
                self.stored = True
                self.store(path + number, value)
        elif hasattr(value, "items"):  # an output dataclass: its arrays, each under its field's name
            for name, part in value.items():
                if is_array(part):
                    self.keep(_join(path, name), part)


_number: ContextVar[str] = ContextVar("number", default="")
_recorders: ContextVar[tuple[_Recorder, ...]] = ContextVar("recorders", default=())


@contextmanager
def trace(
    model: "Module",
    include: str | Iterable[str] = "*",
    *,
    inner: bool = True,
    store: Callable[[str, Array], None] | None = None,
) -> Iterator[dict[str, Array]]:
    """Record the output of every module of `model` that is called inside the `with` block (in this thread or task).

    Args:
        model: the module tree whose dotted paths name the activations.
        include: one glob or several; only matching paths are kept (`"encoder.layers.*.ffn"`).
        inner: run operations as written where `include` asks for what only their textbook bodies hold: inside
            attention, beside `q`, `k`, `v` (B, H, N, d), also `scores` (B, H, N, N; scaled, before the mask) and
            `probs` (B, H, N, N; after the softmax).
        store: called with each path and array as it is computed; nothing is then kept in memory here.

    Yields:
        A dictionary from dotted path to array, filled as the model runs, in order of execution. A module called twice
        keeps its latest output. The outermost model's outputs are named by their fields (`last_hidden_state`, …).

    Raises:
        ValueError: at the end of the block, if modules ran but `include` matched nothing.
    """
    patterns = (include,) if isinstance(include, str) else tuple(include)
    activations: dict[str, Array] = {}
    paths = {id(module): path for path, module in model.named_modules()}
    recorder = _Recorder(paths, patterns, store or activations.__setitem__)
    token = _recorders.set((*_recorders.get(), recorder))
    try:
        with textbook() if inner and recorder.needs_textbook() else nullcontext():
            yield activations
    finally:
        _recorders.reset(token)
    if recorder.offered and not recorder.stored:
        close = get_close_matches(patterns[0] if patterns else "", sorted(recorder.offered), n=3, cutoff=0)
        raise ValueError(f"include={include!r} matches no activation; there are {', '.join(close)}, …")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def tracing() -> bool:
    """Whether somebody is recording in this thread or task."""
    return bool(_recorders.get())


def record(name: str, value: Array) -> None:
    """Offer an inner activation of the module that is running to whoever is recording."""
    for recorder in _recorders.get():
        if recorder.running:
            recorder.keep(_join(recorder.running[-1], name), value, _number.get())


@contextmanager
def numbered(i: int) -> Iterator[None]:
    """What is recorded inside the block belongs to picture i of a pack: `probs` becomes `probs.0`, `probs.1`, …"""
    token = _number.set(f".{i}")
    try:
        yield
    finally:
        _number.reset(token)


def call(
    module: "Module", args: tuple[Any, ...], kwargs: dict[str, Any], forward: Callable[..., Any] | None = None
) -> Any:
    """`module.forward(*args, **kwargs)`, or what another method computes in its place, recorded."""
    forward = forward or module.forward
    recorders = [r for r in _recorders.get() if id(module) in r.paths]
    if not recorders:
        return forward(*args, **kwargs)
    for recorder in recorders:
        recorder.running.append(recorder.paths[id(module)])
    try:
        output = forward(*args, **kwargs)
    finally:
        for recorder in recorders:
            recorder.running.pop()
    for recorder in recorders:
        recorder.keep(recorder.paths[id(module)], output)
    return output
