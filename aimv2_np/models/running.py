"""What surrounds a call of a model: its GPU is the current one, and what came out is checked once, at the end."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from aimv2_np.backends.arrays import backend_of, beside, namespace
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module

M = TypeVar("M", bound=Module)
P = ParamSpec("P")
R = TypeVar("R")

Outputs = list[tuple[Module, Array]]

_unchecked: ContextVar[Outputs | None] = ContextVar("unchecked", default=None)


def running(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Decorator of a model's method that computes: it runs where the model is, whichever GPU is the current one."""

    @wraps(method)
    def run(self: M, *args: P.args, **kwargs: P.kwargs) -> R:
        with beside(self.some_array()), _checked_at_the_end():
            return method(self, *args, **kwargs)

    return run  # type: ignore[return-value]


def check_finite(model: Module, output: Array, *more: Array | None) -> Array:
    """`output`, unless it or one of `more` holds NaN or infinity: a ValueError then says which weight or dtype did it.

    Looking at an array of a GPU means waiting for it; inside a running model that is done once, when all has been
    started.
    """
    outputs = [(model, array) for array in (output, *more) if array is not None]
    unchecked = _unchecked.get()
    if unchecked is None or backend_of(output) == "numpy":
        _check(outputs)
    else:
        unchecked.extend(outputs)
    return output


@contextmanager
def _checked_at_the_end() -> Iterator[None]:
    if _unchecked.get() is not None:  # inside another model, which will see to it
        yield
        return
    outputs: Outputs = []
    token = _unchecked.set(outputs)
    try:
        yield
    finally:
        _unchecked.reset(token)
    _check(outputs)


def _check(outputs: Outputs) -> None:
    finite: Any = True
    for _, output in outputs:
        finite = namespace(output).isfinite(output).all() & finite
    if not finite:
        for model, output in outputs:
            if not namespace(output).isfinite(output).all():
                raise ValueError(_cause(model, str(output.dtype)))


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
