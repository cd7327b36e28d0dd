"""Faster bodies for the network's operations, for NumPy and CUDA. Importing this package registers them.

Each computes what the textbook computes, and is tested against it. What is an equation of its own belongs to `network`;
without this room everything runs, slower.
"""

from aimv2_np.backends.operation import provide
from aimv2_np.backends.stacking import keep_together
from aimv2_np.kernels.numpy import cpu

from aimv2_np.kernels.native import bodies, dots  # isort: skip  (take what they can from kernels/numpy)

__all__ = ["bodies", "cpu", "dots"]


def _register_cuda(array_type: type) -> None:
    from aimv2_np.kernels.cuda.bodies import register

    register(array_type)


def _register_derivatives(_: type) -> None:
    from aimv2_np.kernels.native import backward  # noqa: F401  # registers


provide("cupy", _register_cuda)
provide("aimv2_np.gradients", _register_derivatives)
for end in ("weight", "bias"):  # one product each serves these
    keep_together(*(f"{name}.{end}" for name in ("q_proj", "k_proj", "v_proj")))
    keep_together(*(f"{name}.{end}" for name in ("gate_proj", "up_proj")))
