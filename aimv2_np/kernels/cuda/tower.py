"""A whole tower on the device: a CUDA graph for small inputs, where launching takes longer than computing."""

from collections.abc import Callable

from aimv2_np.kernels.cuda.graphs import GRAPHS, TOKENS
from aimv2_np.kernels.cuda.launch import computes
from aimv2_np.layers.tower import Outputs
from aimv2_np.operation import watched
from aimv2_np.shapes import Array
from aimv2_np.tracing import tracing


def run_tower_as_graph(x: Array, compute: Callable[..., Outputs], tokens: int, *more: Array | None) -> Outputs:
    """Recorded when the same kind of input comes for the second time; while somebody traces or watches, as written.

    In float64, which has no kernels, the equations are computed as written, by products that CuPy does not let record.
    """
    owner = getattr(compute, "__self__", None)
    if tracing() or watched() or owner is None or not x.size or tokens > TOKENS or not computes(owner.some_array()):
        return compute(x, *more)
    return GRAPHS.run(compute.__func__, owner, (x, *more))  # type: ignore[attr-defined]
