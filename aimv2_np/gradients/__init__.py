"""The derivative of each operation of the network, and the variables that chain them."""

from aimv2_np.gradients import attention, functions, linear, positions, rms_norm, swiglu  # noqa: F401  # they register
from aimv2_np.gradients.differentiate import gradient_of, value_and_grad
from aimv2_np.gradients.variable import Variable

__all__ = ["Variable", "gradient_of", "value_and_grad"]
