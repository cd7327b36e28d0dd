"""Around a call of a model: its GPU is made the current one, and all checks are evaluated at its end."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial, reduce, wraps
from operator import and_
from typing import Concatenate, ParamSpec, TypeVar

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import backend_of, beside, is_array, namespace
from aimv2_np.backends.context import having
from aimv2_np.network.rms_norm import RMSNorm
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import RECORDERS
from aimv2_np.tree.trace import trace

M = TypeVar("M", bound=Module)
P = ParamSpec("P")
R = TypeVar("R")

# What is to hold, () on a GPU, and what to raise, or to warn of, where it does not.
Checks = list[tuple[Array, Callable[[], Exception]]]


@dataclass
class _Call:
    """A call of a model that is running, those of its parts included.

    Attributes:
        model: whose method was called.
        again: makes the same call once more; None while it is made.
        checks: those to evaluate at the end.
    """

    model: Module
    again: Callable[[], object] | None
    checks: Checks = field(default_factory=list)

    def look(self) -> list[Warning]:
        """Evaluate the checks: raise the first error, return all warnings."""
        if not self.checks or reduce(and_, (holds for holds, _ in self.checks)):
            return []
        said = [problem() for holds, problem in self.checks if not holds]
        for problem in said:
            if not isinstance(problem, Warning):
                raise problem
        return said  # type: ignore[return-value]


_call: ContextVar[_Call | None] = ContextVar("call", default=None)


def running(method: Callable[Concatenate[M, P], R]) -> Callable[Concatenate[M, P], R]:
    """Decorator of a model's method that computes: it runs where the model is, whichever GPU is the current one."""

    @wraps(method)
    def run(self: M, *args: P.args, **kwargs: P.kwargs) -> R:
        with own_arithmetic(), beside(self.some_array()):
            if _call.get() is not None:  # of another model, which will see to the checks
                return method(self, *args, **kwargs)
            call = _Call(self, partial(method, self, *args, **kwargs))
            try:
                with having(_call, call):
                    result = method(self, *args, **kwargs)
                    said = call.look()
            finally:
                call.checks.clear()  # whose arrays an error's traceback would keep
        for warning in said:
            warnings.warn(warning, stacklevel=2)
        return result

    return run  # type: ignore[return-value]


def check(holds: Array, problem: Callable[[], Exception]) -> None:
    """Raise `problem()` unless `holds`, (), is true; if it is a Warning, the running model warns in the end.

    Looking at a number on a GPU means waiting for it; inside a running model that is done once, when all has been
    started, for all its checks together.
    """
    call = _call.get()
    if call is not None and is_array(holds) and backend_of(holds) != "numpy":
        call.checks.append((holds, problem))
    elif not holds:
        found = problem()
        if not isinstance(found, Warning):
            raise found
        if call is not None:
            call.checks.append((holds, lambda: found))


@contextmanager
def naming_argument(what: str) -> Iterator[None]:
    """Errors of what is checked inside the block begin with `what`, whenever they come."""
    checks = call.checks if (call := _call.get()) is not None else []
    before = len(checks)
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    checks[before:] = [(holds, _named(what, problem)) for holds, problem in checks[before:]]


def _named(what: str, problem: Callable[[], Exception]) -> Callable[[], Exception]:
    def named() -> Exception:
        found = problem()
        return type(found)(f"{what}: {found}")

    return named


def check_finite(model: Module, output: Array, *more: Array | None) -> Array:
    """`output`, unless it or one of `more` holds NaN or infinity: a ValueError says which weight or dtype it was."""
    for array in (output, *more):
        if array is not None:
            finite = namespace(array).isfinite(array).all()
            check(finite, lambda: ValueError(_cause(model, str(output.dtype))))
    return output


def _cause(model: Module, dtype: str) -> str:
    for path, array in model.state_dict().items():
        if not namespace(array).isfinite(array).all():
            return (
                f"{type(model).__name__}: the weight {path} holds NaN or infinity; "
                "the checkpoint is damaged, get it again"
            )
    advice = _WIDER.get(dtype, "its weights cannot be those of a trained network")
    return f"the network overflowed {dtype} on this input{_place()}; {advice}"


class _FoundError(Exception):
    """The path of the first module whose output is not finite."""


def _place() -> str:
    """Where the running call overflowed, for a message: the call is repeated, and each module's output checked."""
    call = _call.get()
    if call is None or call.again is None:
        return ""

    def look(path: str, output: Array) -> None:
        if not namespace(output).isfinite(output).all():
            raise _FoundError(path)

    again, call.again = call.again, None
    try:  # whoever records has it already
        with having(RECORDERS, ()), trace(call.model, inner=False, store=look):
            again()
    except _FoundError as found:
        path = str(found)
        norm = isinstance(dict(call.model.named_modules()).get(path), RMSNorm)
        return f", first in {path}" + (", where the squares of what it is given are summed" if norm else "")
    except ValueError:  # what has brought us here
        pass
    return ""


_BEYOND_REASON = "its weights are beyond all reason, or use a wider dtype: model.to(dtype='float64')"
_WIDER = {
    "float16": "use a wider dtype: model.to(dtype='float32')",
    "bfloat16": _BEYOND_REASON,
    "float32": _BEYOND_REASON,
}
