"""The gradient of a number by a model's weights, or by an array.

value, gradients = value_and_grad(lambda m: m(**inputs, return_loss=True).loss, model)
saliency = gradient_of(lambda pixels: model(pixels).pooler_output.sum(), pixel_values)
"""

from collections.abc import Callable
from typing import Any, TypeVar

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import beside, is_array, is_float, namespace
from aimv2_np.backends.narrow import Wrapped
from aimv2_np.backends.operation import looking_inside
from aimv2_np.errors import a_type
from aimv2_np.gradients.recompute import recomputing
from aimv2_np.gradients.variable import Variable, walk_back
from aimv2_np.shapes import Array, Float
from aimv2_np.tree.module import Module

M = TypeVar("M", bound=Module)


def value_and_grad(
    function: Callable[[M], Any],
    model: M,
    *,
    weights: Callable[[str], bool] | None = None,
    recompute: int | None = None,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """What `function(model)` gives, and its derivative by every weight of the model.

    Args:
        function: takes a model like `model`, whose arrays remember what is computed of them, and gives a number: an
            array of shape () that was computed from its weights.
        model: a model or any part of one, in float32, float64 or float16. It is not changed.
        weights: takes a weight's dotted path, and says whether it has a gradient; None: all have. What is computed of
            the others alone costs no more than a forward pass.
        recompute: how many layers of a trunk are walked back at a time. Of the others only what goes into them is
            kept, and they are computed a second time on the way back: 1 takes the least memory, and a third more time.
            None: everything is kept.

    Returns:
        The number, and dotted path → gradient, of the weight's shape: float32 for weights in half precision, zeros for
        weights that take no part.

    Raises:
        TypeError: the model is none, `weights` no function, or `function` gives something that was not computed from
            the model's weights, or from those of a `value_and_grad` around this one; `recompute` is no whole number.
        ValueError: the model holds weights that are no arrays of floats (int8, bfloat16 kept narrow), or the number is
            none: it has another shape than (), or is NaN or infinite; no weight is wanted, or `recompute` is below 1.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model is {a_type(model)}; expected a model of aimv2_np, or a module of one")
    if weights is not None and not callable(weights):
        raise TypeError(f"weights is {a_type(weights)}; expected a function that takes a weight's path, or None")
    arrays = {path: array for path, array in model.state_dict().items() if weights is None or weights(path)}
    if not arrays:
        raise ValueError("weights wants none of the model's weights; expected at least one path for which it is true")
    leaves = {path: leaf_of(f"the weight {path}", array) for path, array in arrays.items()}
    with recomputing(recompute):
        value, gradients = _differentiated(
            lambda: function(model.map(lambda path, array: leaves.get(path, array))), list(leaves.values())
        )
    return value, dict(zip(leaves, gradients, strict=True))


def gradient_of(
    function: Callable[[Any], Any], array: Float[Array, "*shape"], *, recompute: int | None = None
) -> Float[Array, "*shape"]:
    """The derivative of the number `function(array)` by `array`: which pixels move it, and which way.

    Args:
        function: takes an array like `array` that remembers what is computed of it, as a model does in the place of
            `pixel_values`, and gives an array of shape ().
        array: of floats.
        recompute: as for `value_and_grad`.

    Raises:
        TypeError, ValueError: as `value_and_grad`.
    """
    leaf = leaf_of("array", array)
    with recomputing(recompute):
        return _differentiated(lambda: function(leaf), [leaf])[1][0]


def leaf_of(what: str, array: Any) -> Variable:
    """A variable to differentiate by, from an array that is called `what` in errors; TypeError or ValueError."""
    if not is_array(array):
        raise TypeError(f"{what} is {a_type(array)}; expected an array of NumPy or CuPy")
    if isinstance(array, Variable):
        raise ValueError(
            f"{what} is differentiated by already; expected numbers: there are no second derivatives here, compute the "
            "derivative inside beforehand"
        )
    if isinstance(array, Wrapped) or not is_float(array):
        raise ValueError(
            f"{what} is an array of {getattr(array, 'stored', array.dtype)}; expected floats: a model in int8 or "
            "bfloat16 becomes one of floats with model.to(dtype='float32')"
        )
    return Variable(array)


def _differentiated(function: Callable[[], Any], leaves: list[Variable]) -> tuple[Array, list[Array]]:
    with looking_inside():  # composites as written: what is inside has the derivatives
        output = a_number(function())
    first = min(leaf.number for leaf in leaves)

    def met(variable: Variable, gradient: Array) -> Array:
        if variable.number < first:
            raise TypeError(
                "the function uses a Variable from outside, of a derivative around this one; expected its own argument "
                "alone: there are no second derivatives here; pass the .value of what is constant"
            )
        return gradient

    with own_arithmetic(), beside(output.value):
        return output.value, walk_back(output, leaves, met=met)


def a_number(output: Any) -> Variable:
    """What a function that is differentiated gives; TypeError or ValueError unless it is a finite number."""
    if not isinstance(output, Variable):
        raise TypeError(
            f"the function gives {a_type(output)}; expected an array of shape () computed from what it was given"
        )
    if output.shape != ():
        raise ValueError(f"the function gives an array of shape {output.shape}; expected a number, of shape ()")
    if not namespace(output.value).isfinite(output.value):
        raise ValueError(f"the function gives {output.value}; expected a finite number")
    return output
