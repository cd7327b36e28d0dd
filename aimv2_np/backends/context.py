"""Settings that hold inside a `with` block, in the thread or task that entered it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def having(variable: ContextVar[T], value: T) -> Iterator[None]:
    """`variable` is `value` inside the block, and afterwards what it was before."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)
