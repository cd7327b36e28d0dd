"""Warnings about pictures that threads decode: each names its picture, and of each kind the first one is told.

libtiff writes its complaints to descriptor 2 by itself. While a picture is read they become warnings like all others.
"""

import ctypes
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from typing import Any, Final

_picture: ContextVar[str | None] = ContextVar("picture", default=None)
_kept: Final[list[Any]] = []  # libtiff calls them as long as the process lives
_HANDLER: Final = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)  # module, format, va_list
_LINE: Final = 500  # bytes of a line of libtiff's


@contextmanager
def about(name: str) -> Iterator[None]:
    """Within the block, warnings of this thread are about the picture of that name; see `once_a_kind`."""
    token = _picture.set(name)
    try:
        yield
    finally:
        _picture.reset(token)


@contextmanager
def once_a_kind() -> Iterator[None]:
    """Within the block a warning about a picture names it; later ones from the same line of code are left out."""
    _listen_to_libtiff()
    told: set[Any] = set()

    def show(message: Any, category: type[Warning], filename: str, lineno: int, *others: Any) -> None:
        name, kind = _picture.get(), (category, filename, lineno)
        if name is None:
            before(message, category, filename, lineno, *others)
        elif kind not in told:
            told.add(kind)
            before(f"{name}: {message}", category, filename, lineno, *others)

    with warnings.catch_warnings():
        before, warnings.showwarning = warnings.showwarning, show  # type: ignore[assignment]
        yield


@cache
def _listen_to_libtiff() -> None:
    """Where Pillow's libtiff lets itself be found; elsewhere its lines go to descriptor 2 as before."""
    from PIL import Image

    with suppress(OSError, AttributeError, TypeError, KeyError):
        library = ctypes.CDLL(vars(Image)["core"].__file__)
        write = ctypes.CDLL(None).vsnprintf
        write.argtypes = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            replace = getattr(library, name)
            replace.restype, replace.argtypes = ctypes.c_void_p, (_HANDLER,)
            _kept.append(_handler(write, before := []))
            before.append(replace(_kept[-1]))


def _handler(write: Any, before: list[int | None]) -> Any:
    """A handler that makes warnings, or leaves what is no picture of ours to the one that there was `before`."""

    def handle(module: bytes | None, form: bytes, values: int) -> None:
        if _picture.get() is not None:
            line = ctypes.create_string_buffer(_LINE)
            write(line, _LINE, form, values)
            # Not `warn`: an exception cannot leave a function that C has called.
            text = f"libtiff says: {line.value.decode(errors='replace')}"
            warnings.showwarning(text, RuntimeWarning, f"libtiff: {form!r}", 0)
        elif before and before[0]:
            _HANDLER(before[0])(module, form, values)

    return _HANDLER(handle)
