"""Ray and Dask: what runs a function in many processes, of this machine or of many."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from importlib import import_module
from threading import Thread
from typing import Any, Final, Protocol, TypeVar

from aimv2_np.backends.parallel import usable_cores
from aimv2_np.errors import plain

R = TypeVar("R")
SECONDS: Final = 60  # that a cluster is waited for


class Result(Protocol):
    """What a function returns in another process, later."""

    def result(self) -> Any:
        """What it has returned, or raises what it has raised; waits for it."""

    def cancel(self) -> Any:
        """It is not wanted any more."""


class Engine(Protocol):
    """A cluster. A task whose process dies is given to another one."""

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Result:
        """Call a function of a module in another process."""

    def processes(self) -> int:
        """How many tasks it does at a time, as far as is known at this moment; at least 1."""


class _RayResult:
    def __init__(self, reference: Any, bound_by: str) -> None:
        self._reference, self._bound_by = reference, bound_by

    def result(self) -> Any:
        import ray

        while True:
            try:
                return ray.get(self._reference, timeout=SECONDS)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None  # its own text is the other process's traceback
            except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
                raise _lost(error) from error
            except ray.exceptions.GetTimeoutError:
                if not ray.cluster_resources().get(self._bound_by):
                    raise _empty() from None
            except ray.exceptions.RayError as error:
                raise _gone(error) from error

    def cancel(self) -> None:
        import ray

        with suppress(ray.exceptions.RayError):
            ray.cancel(self._reference, force=True)


class _Ray:
    def __init__(self, *, gpu: bool) -> None:
        import ray

        self._bound_by = "GPU" if gpu else "CPU"
        # Without any, Ray hides all GPUs from a task. A function is sent to the cluster once.
        self._remote = cache(ray.remote(num_cpus=1, num_gpus=int(gpu), max_retries=3))

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Result:
        return _RayResult(self._remote(function).remote(argument), self._bound_by)

    def processes(self) -> int:
        import ray

        return max(1, int(ray.cluster_resources().get(self._bound_by, 1)))


@contextmanager
def _ray(address: str | None, *, gpu: bool) -> Iterator[Engine]:
    """Ray where it is started already, at an address, or at RAY_ADDRESS; otherwise on this machine, for a while."""
    import ray

    if ray.is_initialized() and address is None:
        yield _Ray(gpu=gpu)
        return
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        if address is None:
            started = ray.init(logging_level="error")
        else:
            _check_listening(address)
            started = _within(SECONDS, lambda: ray.init(address, logging_level="error"))
    except (OSError, RuntimeError, ValueError, SystemExit) as error:
        raise _unreached(address, error) from error
    with started:
        yield _Ray(gpu=gpu)


class _DaskResult:
    def __init__(self, future: Any) -> None:
        self._future = future

    def result(self) -> Any:
        from distributed import KilledWorker

        while True:
            try:
                return self._future.result(SECONDS)
            except KilledWorker as error:
                raise _lost(error) from error
            except CancelledError as error:
                raise _gone(error) from error
            except TimeoutError:
                if self._future.done():  # it is the task's own
                    raise
                if not self._future.client.nthreads():
                    raise _empty() from None

    def cancel(self) -> None:
        with suppress(Exception):  # of a cluster that is gone, by which it is told differs from version to version
            self._future.cancel()


class _Dask:
    def __init__(self, client: Any) -> None:
        self._client = client

    def submit(self, function: Callable[[Any], Any], argument: Any) -> Result:
        return _DaskResult(self._client.submit(function, argument, pure=False))

    def processes(self) -> int:
        try:
            return max(1, sum(int(count) for count in self._client.nthreads().values()))
        except (OSError, AttributeError):  # a client that is closed has no scheduler: results will say so
            return 1


@contextmanager
def _dask(address: str | None, *, gpu: bool) -> Iterator[Engine]:
    """Dask at an address, the client that there is, or what its settings name; otherwise on this machine, for a while.

    A worker is what has a GPU there, and not a task (see dask-cuda).
    """
    import dask

    with ExitStack() as stack:  # pictures from a compressed archive are sent as they are
        stack.enter_context(dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 GiB"}))
        yield _Dask(_client(address, stack))


def _client(address: str | None, stack: ExitStack) -> Any:
    from dask import config
    from distributed import Client, LocalCluster, get_client

    if address is None:
        with suppress(ValueError):  # by which it says that there is none
            return get_client()
        address = config.get("scheduler-address", None)
    if address is not None:
        try:
            _check_listening(address)
            client = stack.enter_context(_within(SECONDS, lambda: Client(address, timeout=SECONDS)))
            client.wait_for_workers(1, timeout=SECONDS)
        except (OSError, ValueError) as error:
            raise _unreached(address, error) from error
        return client
    local = LocalCluster(n_workers=usable_cores(), threads_per_worker=1, dashboard_address=":0")  # of any port
    return stack.enter_context(Client(stack.enter_context(local)))


# Name → the library that must be there, and what opens a cluster at an address.
ENGINES: Final[dict[str, tuple[str, Callable[..., AbstractContextManager[Engine]]]]] = {
    "ray": ("ray", _ray),
    "dask": ("distributed", _dask),
}


def check_engine(engine: str | None, address: str | None) -> None:
    """Raises ValueError for an engine that does not exist, or an address of none; ImportError where it is missing."""
    if engine is None:
        if address is not None:
            raise ValueError(f"address is {address!r:.80} without an engine; pass --engine (engine=…) too, or neither")
        return
    if address is not None and not address.strip():
        raise ValueError("address is empty; expected one such as 10.0.0.1:6379 (Ray) or tcp://10.0.0.1:8786 (Dask)")
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r:.80}; expected one of {', '.join(ENGINES)}")
    try:
        import_module(ENGINES[engine][0])
    except ImportError as error:
        raise ImportError(f"--engine {engine} needs a library: pip install 'aimv2-np[{engine}]'") from error


@contextmanager
def opened(engine: str | None, address: str | None, *, gpu: bool = False) -> Iterator[Engine | None]:
    """The engine of that name, at an address or on this machine; None where this process does it all.

    With `gpu` each task needs a GPU of its own.

    Raises what `check_engine` raises, and ConnectionError where nobody answers at the address.
    """
    check_engine(engine, address)
    if engine is None:
        yield None
        return
    with ENGINES[engine][1](address, gpu=gpu) as found:
        yield found


def _check_listening(address: str) -> None:
    """OSError where nothing listens at all, which the libraries themselves find out in minutes."""
    if place := re.fullmatch(r"(?:\w+://)?(.+):(\d+)", address):
        socket.create_connection((place[1].strip("[]"), int(place[2])), SECONDS).close()  # IPv6 stands in brackets


def _within(seconds: float, function: Callable[[], R]) -> R:
    """What a function returns; TimeoutError where it takes longer, as both do where another program listens."""
    found: list[R] = []
    failed: list[BaseException] = []

    def call() -> None:
        try:
            found.append(function())
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=call, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0]
    if not found:
        raise TimeoutError(f"no answer within {seconds} s")
    return found[0]


def _empty() -> ConnectionError:
    return ConnectionError(
        f"the cluster has had no process to compute in for {SECONDS} s; look into their logs: each needs the aimv2-np "
        "of this one, enough memory, and a GPU for --backend cupy"
    )


def _gone(error: Exception) -> ConnectionError:
    return ConnectionError(f"the cluster is gone ({type(error).__name__}: {plain(error, 200)})")


def _lost(error: Exception) -> RuntimeError:
    return RuntimeError(
        f"processes of the engine died again and again at one task ({type(error).__name__}: {plain(error, 200)}); look "
        "into their logs: most often it is memory"
    )


def _unreached(address: str | None, error: BaseException) -> ConnectionError:
    told = f"({type(error).__name__}: {plain(error, 200)})"
    if address is None:
        return ConnectionError(f"a cluster on this machine cannot be started {told}")
    return ConnectionError(f"address is {address}, and nobody answers there as expected {told}")
