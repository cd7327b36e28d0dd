"""Operations: functions whose body is the textbook equation, and whose speed is somebody else's business.

`@operation` turns a function into an `Operation`, `@composite` one whose body calls modules. A backend registers a
faster body for its own array type; the call picks it by the type of the first argument. Bodies for a library that may
not be installed, or takes long to import, are registered when the first of its arrays comes (`provide`). `textbook()`
switches all faster bodies off. All run in the arithmetic of arithmetic.py. `watching()` lets somebody look at every
call, whatever the thread, to time it.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

from aimv2_np.backends.arithmetic import own_arithmetic, this_thread
from aimv2_np.backends.context import having

P = ParamSpec("P")
R = TypeVar("R")

# Runs in the place of a call: (operation, body, args, kwargs) -> what body(*args, **kwargs) returns.
Watcher = Callable[["Operation[..., Any]", Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

# Types whose bodies run wherever one of the arguments is of them; looked for inside `looking_inside` alone.
_takers: set[type] = set()
# Library -> what registers its bodies, called with the type of the first of its arrays that an operation meets.
_providers: dict[str, Callable[[type], object]] = {}
_provided: set[type] = set()

_FASTEST, _COMPOSITES_AS_WRITTEN, _ALL_AS_WRITTEN = range(3)
_mode: ContextVar[int] = ContextVar("mode", default=_FASTEST)
_watcher: Watcher | None = None
_NOTHING = nullcontext()  # for a call inside another one, whose arithmetic is the operations' own already


class Operation(Generic[P, R]):
    """A function with one textbook body and, per array type, at most one faster body for the same equation.

    Attributes:
        bodies: array type -> faster body.
        skipped: array type -> dtypes for which its faster body is no use, and the textbook runs.
        composite: whether the textbook calls modules. It then runs as written while somebody traces, so that each of
            them is seen.
        hiding: array types whose faster body calls no other operations. While somebody watches, the textbook runs.
    """

    def __init__(self, body: Callable[P, R], *, composite: bool = False) -> None:
        update_wrapper(self, body)
        self.textbook = body
        self.bodies: dict[type, Callable[P, R]] = {}
        self.skipped: dict[type, tuple[str, ...]] = {}
        self.hiding: set[type] = set()
        self.composite = composite

    def register(
        self, array_type: type, *, skip: tuple[str, ...] = (), hides: bool = False
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Use the decorated function whenever the first argument is exactly of `array_type`, dtypes `skip` excepted.

        `hides`: of a composite's body that calls no other operations.
        """

        def add(body: Callable[P, R]) -> Callable[P, R]:
            self.bodies[array_type], self.skipped[array_type] = body, skip
            if hides:
                self.hiding.add(array_type)
            return body

        return add

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        mode = _mode.get()
        body: Callable[..., Any] = self.textbook
        if args and mode != _ALL_AS_WRITTEN:
            first = args[0] if mode == _FASTEST else _deciding(args, kwargs)
            if not (mode == _COMPOSITES_AS_WRITTEN and self.composite) or type(first) in _takers:
                body = self._fastest(first)
        with _NOTHING if this_thread.inside else own_arithmetic():
            if _watcher is not None:
                return _watcher(self, body, args, kwargs)  # type: ignore[no-any-return]
            return body(*args, **kwargs)  # type: ignore[no-any-return]

    def _fastest(self, first: Any) -> Callable[..., Any]:
        """The body for the type and dtype of the first argument."""
        kind = type(first)
        if kind not in self.bodies and kind not in _provided:
            provider = _providers.get(kind.__module__.partition(".")[0])
            if provider is not None:
                provider(kind)
            _provided.add(kind)
        skipped = self.skipped.get(kind)
        if (skipped and first.dtype.name in skipped) or (_watcher is not None and kind in self.hiding):
            return self.textbook
        return self.bodies.get(kind, self.textbook)

    def __repr__(self) -> str:
        fast = ", ".join(sorted(f"{t.__module__}.{t.__qualname__}" for t in self.bodies)) or "none"
        return f"<operation {self.textbook.__qualname__}; faster bodies: {fast}>"


def _deciding(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The argument whose type decides: the first of a type that takes over, else the first."""
    return next((arg for arg in (*args, *kwargs.values()) if type(arg) in _takers), args[0])


def operation(body: Callable[P, R]) -> Operation[P, R]:
    """Decorator: make the textbook function `body` an operation that backends can register faster bodies on."""
    return Operation(body)


def composite(body: Callable[P, R]) -> Operation[P, R]:
    """Decorator: an operation whose textbook calls modules, and which a backend may compute in one go."""
    return Operation(body, composite=True)


def provide(library: str, register: Callable[[type], object]) -> None:
    """Call `register(type)` when an operation first meets an array of `library`, so that nothing is imported before."""
    _providers[library] = register


def introduce(room: str, array_type: type) -> None:
    """Have what was provided for a room of this package register now, as the room's own operations are there."""
    if room in _providers:
        _providers[room](array_type)


def take_over(array_type: type) -> None:
    """Inside `looking_inside`, run the bodies for `array_type`, composites' too, wherever an argument is of it.

    Elsewhere the first argument alone decides, and calls are not slower.
    """
    _takers.add(array_type)


def textbook() -> AbstractContextManager[None]:
    """Run every operation's own body, the equation as written, inside the `with` block (in this thread or task)."""
    return having(_mode, _ALL_AS_WRITTEN)


def looking_inside() -> AbstractContextManager[None]:
    """Run composite operations as written inside the block (in this thread or task), so that all modules are called."""
    return having(_mode, max(_COMPOSITES_AS_WRITTEN, _mode.get()))


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Hand every operation that is called inside the `with` block, in any thread, to `watcher`, which is to run it."""
    global _watcher
    before, _watcher = _watcher, watcher
    try:
        yield
    finally:
        _watcher = before
