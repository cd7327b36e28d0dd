"""A whole tower as one operation: from what the door has checked to the last layer.

    outputs = compute(x, …)

Written down, that is a call. A backend may do it in one go: on a GPU all launches of a small picture are recorded the
first times it is seen, and played back.
"""

from collections.abc import Callable

from aimv2_np.backends.operation import operation
from aimv2_np.shapes import Array

Outputs = tuple[Array | None, ...]


@operation
def run_tower(x: Array, compute: Callable[..., Outputs], tokens: int, *more: Array | None) -> Outputs:
    """`compute(x, *more)`. See docs/equations.md, (13).

    Args:
        x, more: the inputs.
        compute: a method of a module, which reads no arrays but these and the module's, and changes none.
        tokens: how many go through the blocks, of all pictures or texts together.
    """
    return compute(x, *more)
