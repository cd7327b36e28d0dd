"""Attention by cuDNN, through the package nvidia-cudnn-frontend: where it is asked for, on sm_90 and later.

cuDNN takes a graph of operations, here one, and plans how to run it on a device. A plan is for one shape, memory
layout, type and scale; it takes long to make, and is kept. Whatever cuDNN cannot do is left to our own kernel; if it
fails, that is said once.

While a CUDA graph is recorded, cuDNN is not used: that its plans may be recorded has not been seen on a device yet.
Nothing here imports CuPy, and cuDNN only when it is asked for.
"""

import warnings
from collections import OrderedDict
from contextlib import AbstractContextManager
from contextvars import ContextVar
from threading import Lock
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from aimv2_np.backends.arrays import namespace
from aimv2_np.backends.context import having
from aimv2_np.backends.parallel import when_forked
from aimv2_np.errors import CudnnWarning
from aimv2_np.shapes import Array, Float

SINCE = 90  # the first architecture on which cuDNN is used
KEPT = 64  # plans, of those used last
INSTALL = "pip install 'aimv2-np[cudnn12]', or [cudnn13] for CUDA 13"

_wanted: ContextVar[bool] = ContextVar("cudnn_attention", default=False)


def cudnn_attention() -> AbstractContextManager[None]:
    """Let cuDNN compute attention inside the `with` block (in this thread or task), where it can.

    It can for float16 and bfloat16 without a mask, heads of at most 128, on devices from sm_90, when
    nvidia-cudnn-frontend is installed (the extra `cudnn12` or `cudnn13`). What it cannot is computed as outside of the
    block; where cuDNN is missing or fails, a CudnnWarning says so once.
    """
    return having(_wanted, True)


class ReadyGraph(NamedTuple):
    """A graph that is ready to run on one device."""

    graph: Any
    tensors: tuple[Any, ...]  # q, k, v and the result, as the graph calls them
    workspace: int  # bytes


class Plans:
    """The plans of all threads, and a cuDNN handle for each device. One thread at a time uses them, to launch."""

    def __init__(self) -> None:
        self.unlock()
        self._handles: dict[int, Any] = {}
        self._plans: OrderedDict[Any, ReadyGraph | None] = OrderedDict()  # None where cuDNN has none
        self._said: set[str] = set()

    def unlock(self) -> None:
        """A new lock: in a forked process nobody is left to release the one that was held."""
        self._lock = Lock()

    def run(self, out: Array, q: Array, k: Array, v: Array, scale: float) -> bool:
        """Launch `out = softmax(scale · q kᵀ) v` on the current stream; False, and `out` left open, if it fails."""
        xp, arrays = namespace(q), (q, k, v, out)
        key = (*((x.shape, x.strides) for x in arrays), q.dtype.name, scale, q.device.id)
        with self._lock:
            try:
                import cudnn

                if q.device.id not in self._handles:
                    self._handles[q.device.id] = cudnn.create_handle()  # for the current device, which is this
                handle = self._handles[q.device.id]
                plan = self._plan(cudnn, handle, key, arrays, scale)
                if plan is None:
                    return False
                workspace = xp.empty(max(plan.workspace, 1), np.uint8)  # CuPy reuses it behind this on the same stream
                cudnn.set_stream(handle=handle, stream=xp.cuda.get_current_stream().ptr)
                pointers = {tensor: x.data.ptr for tensor, x in zip(plan.tensors, arrays, strict=True)}
                plan.graph.execute(pointers, workspace.data.ptr, handle=handle)
            except MemoryError:  # for whoever frees memory and tries again
                raise
            except ImportError as error:
                self._say(f"nvidia-cudnn-frontend cannot be imported ({error}): {INSTALL}")
                return False
            except Exception as error:  # of several types, none of which the package promises
                self._keep(key, None)
                self._say(f"it says: {error}")
                return False
        return True

    def _plan(
        self, cudnn: ModuleType, handle: Any, key: Any, arrays: tuple[Array, ...], scale: float
    ) -> ReadyGraph | None:
        if key in self._plans:
            self._plans.move_to_end(key)
            return self._plans[key]
        graph, tensors = attention_graph(cudnn, arrays, scale, handle)
        graph.build_operation_graph()
        graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
        graph.check_support()
        graph.build_plans()
        return self._keep(key, ReadyGraph(graph, tensors, graph.get_workspace_size()))

    def _keep(self, key: Any, plan: ReadyGraph | None) -> ReadyGraph | None:
        self._plans[key] = plan
        self._plans.move_to_end(key)
        while len(self._plans) > KEPT:
            self._plans.popitem(last=False)
        return plan

    def _say(self, reason: str) -> None:
        """A reason once: another shape may fail for another one."""
        if reason not in self._said:
            self._said.add(reason)
            text = f"cuDNN does not compute attention here, our own kernel does; {reason}"
            warnings.warn(text, CudnnWarning, stacklevel=2)


def attention_graph(cudnn: ModuleType, arrays: tuple[Array, ...], scale: float, handle: Any = None) -> tuple[Any, Any]:
    """The graph of attention for q, k, v and the result, (B, H, N, d) with any strides but the last; and its tensors.

    Without a handle it can be looked at, not planned; cuDNN checks the shapes in both cases.
    """
    kind = {"float16": cudnn.data_type.HALF, "bfloat16": cudnn.data_type.BFLOAT16}[arrays[0].dtype.name]
    wide = cudnn.data_type.FLOAT
    graph = cudnn.pygraph(io_data_type=kind, intermediate_data_type=wide, compute_data_type=wide, handle=handle)
    sizes = [(list(x.shape), [stride // x.itemsize for stride in x.strides]) for x in arrays]
    q, k, v = (
        graph.tensor(name=name, dim=shape, stride=strides, data_type=kind)
        for name, (shape, strides) in zip("qkv", sizes[:3], strict=True)
    )
    out, _ = graph.sdpa(name="attention", q=q, k=k, v=v, generate_stats=False, attn_scale=scale)
    out.set_output(True).set_dim(sizes[3][0]).set_stride(sizes[3][1]).set_data_type(kind)
    graph.validate()
    return graph, (q, k, v, out)


def attend(
    out: Float[Array, "B H N d"], q: Float[Array, "B H N d"], k: Float[Array, "B H M d"], v: Array, scale: float
) -> bool:
    """Whether cuDNN has computed `out = softmax(scale · q kᵀ) v`, for arrays that the kernel for tensor cores takes."""
    if not _wanted.get() or int(q.device.compute_capability) < SINCE or scale <= 0:
        return False
    if not all(stride for x in (q, k, v) for stride, count in zip(x.strides, x.shape, strict=True) if count > 1):
        return False  # numbers that several places share: cuDNN asks for strides that are not 0
    stream = namespace(q).cuda.get_current_stream()
    if stream.ptr and stream.is_capturing():
        return False
    return PLANS.run(out, q, k, v, scale)


PLANS = Plans()
when_forked(PLANS.unlock)
