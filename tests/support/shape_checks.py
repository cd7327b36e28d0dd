"""Shape annotations of the network are checked at every call of every test, the same shapes of a function once.

What jaxtyping says of a call depends on the types, shapes and dtypes of what goes in and comes out, and on nothing
else: of a combination that has passed it would say the same again. The tests of `compare` alone make a million calls.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import update_wrapper, wraps
from typing import Any

import jaxtyping

Decorator = Callable[[Any], Any]


def kind(value: Any) -> Any:
    """Of an array its type, shape and dtype; of a list or tuple its items' kinds; of anything else its type."""
    if isinstance(value, (list, tuple)):
        return (type(value), *map(kind, value))
    shape = getattr(value, "shape", None)
    return type(value) if shape is None else (type(value), shape, value.dtype)


def of_a_graph(value: Any) -> bool:
    """Whether it stands for an array, a size or NumPy while a graph is written: its sizes may be no numbers."""
    if isinstance(value, (list, tuple)):
        return any(map(of_a_graph, value))
    return type(value).__module__.startswith("aimv2_np.export")


def checked_once(checking: Decorator, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose calls are checked by a decorator, unless the same kinds of arguments and result have passed."""
    passed: dict[Any, set[Any]] = {}  # kinds of arguments -> kinds of results
    full = checking(function)

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if of_a_graph(args):
            return function(*args, **kwargs)
        given = (*map(kind, args), *((name, kind(value)) for name, value in kwargs.items()))
        results = passed.get(given)
        if results is None:
            result = full(*args, **kwargs)
            passed[given] = {kind(result)}
            return result
        result = function(*args, **kwargs)
        if kind(result) not in results:  # of the same arguments: by other weights, or a mistake
            checking(update_wrapper(lambda *_, **__: result, function))(*args, **kwargs)
            results.add(kind(result))
        return result

    return call


@contextmanager
def checked(module: str) -> Iterator[None]:
    """Within it a package is imported with its shapes checked."""
    each_time = jaxtyping.jaxtyped

    def jaxtyped(*args: Any, **kwargs: Any) -> Decorator:
        checking = each_time(*args, **kwargs)
        return lambda it: checked_once(checking, it) if inspect.isfunction(it) else checking(it)

    with jaxtyping.install_import_hook([module], "beartype.beartype"):
        jaxtyping.jaxtyped = jaxtyped
        try:
            yield
        finally:
            jaxtyping.jaxtyped = each_time
