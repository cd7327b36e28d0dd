"""What surrounds a call of a model: its GPU is the current one, and its inputs and outputs are checked at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import reduce, wraps
from operator import and_
from typing import Concatenate, ParamSpec, TypeVar

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import backend_of, beside, is_array, namespace
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

M = TypeVar("M", bound=Module)
P = ParamSpec("P")
R = TypeVar("R")

Checks = list[tuple[Array, Callable[[], ValueError]]]  # what is to hold, () on a GPU; what to raise where it does not

_unchecked: ContextVar[Checks | None] = ContextVar("unchecked", default=None)


def running(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Decorator of a model's method that computes: it runs where the model is, whichever GPU is the current one."""

    @wraps(method)
    def run(self: M, *args: P.args, **kwargs: P.kwargs) -> R:
        with own_arithmetic(), beside(self.some_array()), _checked_at_the_end():
            return method(self, *args, **kwargs)

    return run  # type: ignore[return-value]


def check(holds: Array, problem: Callable[[], ValueError]) -> None:
    """Raise `problem()` unless `holds`, (), is true.

    Looking at a number on a GPU means waiting for it; inside a running model that is done once, when all has been
    started, for all its checks together.
    """
    unchecked = _unchecked.get()
    if unchecked is not None and is_array(holds) and backend_of(holds) != "numpy":
        unchecked.append((holds, problem))
    elif not holds:
        raise problem()


@contextmanager
def naming(what: str) -> Iterator[None]:
    """Errors of what is checked inside the block begin with `what`, whenever they come."""
    unchecked = _unchecked.get()
    before = len(unchecked or ())
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    if unchecked is not None:
        unchecked[before:] = [(holds, _named(what, problem)) for holds, problem in unchecked[before:]]


def _named(what: str, problem: Callable[[], ValueError]) -> Callable[[], ValueError]:
    return lambda: ValueError(f"{what}: {problem()}")


def check_finite(model: Module, output: Array, *more: Array | None) -> Array:
    """`output`, unless it or one of `more` holds NaN or infinity: a ValueError says which weight or dtype it was."""
    for array in (output, *more):
        if array is not None:
            finite = namespace(array).isfinite(array).all()
            check(finite, lambda: ValueError(_cause(model, str(output.dtype))))
    return output


@contextmanager
def _checked_at_the_end() -> Iterator[None]:
    if _unchecked.get() is not None:  # inside another model, which will see to it
        yield
        return
    checks: Checks = []
    token = _unchecked.set(checks)
    try:
        yield
    finally:
        _unchecked.reset(token)
    if checks and not reduce(and_, (holds for holds, _ in checks)):
        raise next(problem for holds, problem in checks if not holds)()


def _cause(model: Module, dtype: str) -> str:
    for path, array in model.state_dict().items():
        if not namespace(array).isfinite(array).all():
            return (
                f"{type(model).__name__}: the weight {path} holds NaN or infinity; "
                "the checkpoint is damaged, get it again"
            )
    advice = _WIDER.get(dtype, "its weights cannot be those of a trained network")
    return f"the network overflowed {dtype} on this input; {advice}"


_BEYOND_REASON = "its weights are beyond all reason, or use a wider dtype: model.to(dtype='float64')"
_WIDER = {
    "float16": "use a wider dtype: model.to(dtype='float32')",
    "bfloat16": _BEYOND_REASON,
    "float32": _BEYOND_REASON,
}
