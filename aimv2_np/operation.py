"""Operations: functions whose body is the textbook equation, and whose speed is somebody else's business.

`@operation` turns a function into an `Operation`. A backend registers a faster body for its own array type; the call
picks it by the type of the first argument. `textbook()` switches all faster bodies off.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_as_written: ContextVar[bool] = ContextVar("textbook", default=False)


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
            body = self.bodies.get(type(args[0]), self.textbook)
        return body(*args, **kwargs)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        fast = ", ".join(sorted(f"{t.__module__}.{t.__qualname__}" for t in self.bodies)) or "none"
        return f"<operation {self.textbook.__qualname__}; faster bodies: {fast}>"


def operation(body: Callable[P, R]) -> Operation[P, R]:
    """Decorator: make the textbook function `body` an operation that backends can register faster bodies on."""
    return Operation(body)


@contextmanager
def textbook() -> Iterator[None]:
    """Run every operation's own body, the equation as written, inside the `with` block (in this thread or task)."""
    token = _as_written.set(True)
    try:
        yield
    finally:
        _as_written.reset(token)
