"""Operations: functions whose body is the textbook equation, and whose speed is somebody else's business.

`@operation` turns a function into an `Operation`. A backend registers a faster body for its own array type; the call
picks it by the type of the first argument. Bodies for a library that may not be installed, or takes long to import, are
registered when the first of its arrays comes (`provide`). `textbook()` switches all faster bodies off. `watching()`
lets somebody look at every call, whatever the thread, to time it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

# Runs in the place of a call: (operation, body, args, kwargs) -> what body(*args, **kwargs) returns.
Watcher = Callable[["Operation[..., Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

# Library -> what registers its bodies, called with the type of the first of its arrays that an operation meets.
_providers: dict[str, Callable[[type], object]] = {}
_provided: set[type] = set()

_as_written: ContextVar[bool] = ContextVar("textbook", default=False)
_watcher: Watcher | None = None


class Operation(Generic[P, R]):
    """A function with one textbook body and, per array type, at most one faster body for the same equation."""

    def __init__(self, body: Callable[P, R]) -> None:
        update_wrapper(self, body)
        self.textbook = body
        self.bodies: dict[type, Callable[P, R]] = {}

    def register(self, array_type: type) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Use the decorated function whenever the first argument is exactly of `array_type`."""

        def add(body: Callable[P, R]) -> Callable[P, R]:
            self.bodies[array_type] = body
            return body

        return add

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        body: Callable[..., Any] = self.textbook
        if not _as_written.get() and args:
            body = self.bodies.get(type(args[0])) or self._body_for(type(args[0]))
        if _watcher is not None:
            return _watcher(self, body, args, kwargs)  # type: ignore[no-any-return]
        return body(*args, **kwargs)  # type: ignore[no-any-return]

    def _body_for(self, array_type: type) -> Callable[..., Any]:
        """The body for a type that is not registered here, once its library's provider has had its say."""
        if array_type not in _provided:
            provider = _providers.get(array_type.__module__.partition(".")[0])
            if provider is not None:
                provider(array_type)
            _provided.add(array_type)
        return self.bodies.get(array_type, self.textbook)

    def __repr__(self) -> str:
        fast = ", ".join(sorted(f"{t.__module__}.{t.__qualname__}" for t in self.bodies)) or "none"
        return f"<operation {self.textbook.__qualname__}; faster bodies: {fast}>"


def operation(body: Callable[P, R]) -> Operation[P, R]:
    """Decorator: make the textbook function `body` an operation that backends can register faster bodies on."""
    return Operation(body)


def watched() -> bool:
    """Whether somebody watches operations: a body that does the work of several then leaves it to them."""
    return _watcher is not None


def provide(library: str, register: Callable[[type], object]) -> None:
    """Call `register(type)` when an operation first meets an array of `library`, so that nothing is imported before."""
    _providers[library] = register


@contextmanager
def textbook() -> Iterator[None]:
    """Run every operation's own body, the equation as written, inside the `with` block (in this thread or task)."""
    token = _as_written.set(True)
    try:
        yield
    finally:
        _as_written.reset(token)


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Hand every operation that is called inside the `with` block, in any thread, to `watcher`, which is to run it."""
    global _watcher
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before
