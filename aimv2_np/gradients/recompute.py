"""Layers that are computed twice, so that what is inside them need not be kept until the walk back.

    keep x_0, x_k, x_2k, …      on the way back: x_k → layers k … 2k - 1 again, with everything kept, and through them

Of L layers, each of which keeps some fifteen times what goes into it, L/k inputs and k layers are held at a time. Chen
et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv:1604.06174), section 4.
"""

from contextlib import AbstractContextManager
from contextvars import ContextVar
from numbers import Integral

from aimv2_np.backends.context import having
from aimv2_np.backends.operation import looking_inside
from aimv2_np.gradients.variable import Variable, computed, value_of, walk_back
from aimv2_np.network.encoder import EncoderLayer, run_layers
from aimv2_np.network.view import EVERYONE, View
from aimv2_np.shapes import Array

_at_a_time: ContextVar[int | None] = ContextVar("at_a_time", default=None)


def recomputing(layers: int | None) -> AbstractContextManager[None]:
    """Inside the block, keep what goes into every `layers`-th layer alone; None: everything.

    Raises TypeError unless it is a whole number, and ValueError for one below 1.
    """
    if layers is not None and (isinstance(layers, bool) or not isinstance(layers, Integral)):
        raise TypeError(f"recompute is {layers!r:.60}; expected a number of layers, or None to keep everything")
    if layers is not None and layers < 1:
        raise ValueError(f"recompute is {layers}; expected at least 1 layer at a time, or None to keep everything")
    return having(_at_a_time, layers)


@run_layers.register(Variable)
def run_layers_with_derivative(x: Variable, layers: list[EncoderLayer], view: View = EVERYONE) -> Variable:
    """`run_layers` of variables."""
    number = _at_a_time.get()
    if number is None:
        return _as_written(x, layers, view)
    for first in range(0, len(layers), number):
        x = _computed_again(x, layers[first : first + number], view)
    return x


def _computed_again(x: Variable, layers: list[EncoderLayer], view: View) -> Variable:
    """What the layers make of x; the variable that it becomes keeps x, and computes the rest on the way back."""
    weights = [array for layer in layers for array in layer.state_dict().values() if isinstance(array, Variable)]

    def back(g: Array) -> list[Array]:
        leaves = [Variable(variable.value) for variable in (x, *weights)]
        fresh = iter(leaves[1:])
        again = [layer.map(lambda _, array: next(fresh) if isinstance(array, Variable) else array) for layer in layers]
        with looking_inside():
            output = _as_written(leaves[0], again, view)
        return walk_back(output, leaves, g)

    plain = [layer.map(lambda _, array: value_of(array)) for layer in layers]
    return computed(run_layers(x.value, plain, view), (x, *weights), back)


def _as_written(x: Variable, layers: list[EncoderLayer], view: View) -> Variable:
    output: Variable = run_layers.textbook(x, layers, view)
    return output
