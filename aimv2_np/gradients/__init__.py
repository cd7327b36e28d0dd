"""The derivative of each operation of the network, one file beside each equation, and the variables that chain them.

Here belongs what is derived from an equation of `network`, and registers on its operation. What uses gradients, such as
optimizers and losses of their own, belongs elsewhere; without this room everything runs, and nothing can be trained.
"""

from aimv2_np.backends.operation import introduce
from aimv2_np.gradients import (  # noqa: F401  # they register
    attention,
    cross_entropy,
    functions,
    linear,
    positions,
    recompute,
    rms_norm,
    swiglu,
)
from aimv2_np.gradients.differentiate import gradient_of, value_and_grad
from aimv2_np.gradients.variable import Variable

introduce("aimv2_np.gradients", Variable)  # to who has faster bodies of the derivatives
__all__ = ["Variable", "gradient_of", "value_and_grad"]
