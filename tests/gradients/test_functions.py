"""Every function that the network uses between operations: its derivative is its slope, whatever was repeated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.backends.arrays import namespace
from aimv2_np.gradients import Variable
from tests.support.gradients import check, gradients


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


PAIRS = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (3 + b * b),
    "maximum": lambda a, b: namespace(a).maximum(a, b),
    "where": lambda a, b: namespace(a).where(CONDITION, a, b),
    "logaddexp": lambda a, b: namespace(a).logaddexp(a, b),
    "copysign": lambda a, b: namespace(a).copysign(a, b),
}
CONDITION = np.arange(4) % 2 == 0
SHAPES = [((3, 4), (3, 4)), ((3, 4), (4,)), ((4,), (2, 3, 4)), ((3, 1), (1, 4)), ((), (2, 4)), ((2, 1, 4), (3, 1))]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("name", PAIRS)
def test_of_two_arrays(name, shapes):
    check(PAIRS[name], normal(*shapes[0]), normal(*shapes[1], seed=3))


@pytest.mark.parametrize(
    "shapes",
    [((3, 4), (4, 2)), ((5, 3, 4), (4, 2)), ((3, 4), (5, 4, 2)), ((4,), (4, 2)), ((3, 4), (4,)), ((4,), (4,)),
     ((5, 3, 4), (4,)), ((4,), (5, 4, 2))],
    ids=str,
)  # fmt: skip
def test_products_of_matrices_of_stacks_of_them_and_of_vectors(shapes):
    check(lambda a, b: a @ b, normal(*shapes[0]), normal(*shapes[1], seed=3))


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide"])
def test_with_what_is_no_variable(name):
    for constant in (2.5, normal(3, 4, seed=5), np.float64(0.5)):
        check(lambda a, constant=constant: PAIRS[name](a, constant), normal(3, 4))
        check(lambda a, constant=constant: PAIRS[name](constant, a), normal(3, 4))


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [("ij,jk->ik", ((3, 4), (4, 2))), ("Rr,rcd->Rcd", ((3, 2), (2, 4, 5))), ("Cc,Rcd->RCd", ((3, 4), (2, 4, 5))),
     ("ij,ij->", ((3, 4), (3, 4))), ("bhn, bhnd -> bhd", ((2, 3, 4), (2, 3, 4, 5)))],
)  # fmt: skip
def test_einsum(subscripts, shapes):
    check(lambda a, b: namespace(a).einsum(subscripts, a, b), normal(*shapes[0]), normal(*shapes[1], seed=3))


@pytest.mark.parametrize("subscripts", ["ij,jk", "ii,ij->j", "ij,kl->ik", "i...,i...->...", "ij->j"])
def test_einsum_without_a_derivative_here(subscripts):
    a = Variable(normal(3, 3))
    with pytest.raises(TypeError, match="has no derivative here; expected two arrays"):
        namespace(a).einsum(subscripts, a, a)


def test_einsum_of_sizes_that_are_repeated():
    with pytest.raises(TypeError, match=r"shapes \(1, 4\) and \(3, 4\); expected one size of each letter"):
        np.einsum("ij,ij->j", Variable(normal(1, 4)), Variable(normal(3, 4)))


@pytest.mark.parametrize("function", [np.linalg.norm, np.fft.fft], ids=["norm", "fft"])
def test_functions_of_parts_of_numpy_are_refused_by_name(function):
    with pytest.raises(TypeError, match=r"numpy\.(linalg|fft)\.\w+ has no derivative here"):
        function(Variable(normal(3)))


ONE = {
    "reversed": lambda a: np.transpose(a) * normal(4, 3, 2),
    "neg": lambda a: -a,
    "exp": lambda a: namespace(a).exp(a),
    "log": lambda a: namespace(a).log(2 + a * a),
    "sqrt": lambda a: namespace(a).sqrt(1 + a * a),
    "abs": abs,
    "tanh": lambda a: namespace(a).tanh(a),
    "stack": lambda a: namespace(a).stack([a[0], a[1] ** 2, a[0]], axis=-1) * np.arange(3),
    "a table's rows": lambda a: a.reshape(6, 4)[np.array([[1, 0, -1], [1, 5, 1]])],
    "clip": lambda a: namespace(a).clip(a, -0.5, 0.7),
    "power": lambda a: a**3,
    "sum": lambda a: a.sum(),
    "sum of an axis": lambda a: a.sum(axis=1),
    "sum of two axes": lambda a: a.sum(axis=(0, -1), keepdims=True),
    "mean": lambda a: a.mean(axis=-1, keepdims=True),
    "mean of all": lambda a: a.mean(),
    "max": lambda a: a.max(axis=-1),
    "reshape": lambda a: a.reshape(2, -1) * np.arange(12),
    "transpose": lambda a: a.transpose(2, 0, 1)[1:],
    "swapaxes": lambda a: a.swapaxes(0, -1) * 2,
    "T": lambda a: a[0].T @ a[1],
    "broadcast_to": lambda a: namespace(a).broadcast_to(a[:1], (5, 3, 4)) * normal(5, 3, 4),
    "a row": lambda a: a[1],
    "a slice": lambda a: a[:, 1:, ::2],
    "rows, one of them twice": lambda a: a[np.array([1, 0, 1])],
    "a row of each": lambda a: a[np.arange(2), np.array([2, 0])],
    "diagonal": lambda a: namespace(a).diagonal(a[0, :, :3]),
    "take_along_axis": lambda a: namespace(a).take_along_axis(a, np.array([[[0, 3, 0]], [[1, 1, 2]]]), axis=-1),
    "concatenate": lambda a: namespace(a).concatenate([a[:, :1], 2 * a], axis=1),
    "asarray": lambda a: namespace(a).asarray(a, dtype=np.float64) * a,
    "astype": lambda a: a.astype(np.float64, copy=False) * a,
}


@pytest.mark.parametrize("name", ONE)
def test_of_one_array(name):
    check(ONE[name], normal(2, 3, 4))


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_products(rows, inner, columns, stacked):
    a, b = normal(*((2,) if stacked else ()), rows, inner), normal(inner, columns, seed=1)
    check(lambda x, y: x @ y, a, b)
    check(lambda y: a @ y, b)


def test_what_is_equal_shares_the_gradient():
    (found,), _ = gradients(lambda a: a.max(axis=-1).sum(), np.array([[2.0, 2.0, 1.0]]))
    assert found[0, 0] == found[0, 1] != 0
    assert found[0, 2] == 0


def test_a_function_without_a_derivative_is_refused():
    with pytest.raises(TypeError, match=r"numpy.median has no derivative here; use one of .*exp"):
        namespace(Variable(normal(3))).median(Variable(normal(3)))


def test_what_has_none_gives_arrays():
    xp = namespace(Variable(normal(3)))
    assert isinstance(xp.isfinite(Variable(normal(3))), np.ndarray)
    assert isinstance(xp.exp(normal(3)), np.ndarray)
    assert xp.arange(3).tolist() == [0, 1, 2]
    assert xp.finfo(np.float32).eps > 0


def test_functions_of_numpy_take_the_same_rules():
    a, array = normal(3, 4), normal(3, 4, seed=1)
    for function in (
        np.exp,
        np.tanh,
        np.abs,
        lambda x: array @ x.T,
        lambda x: array + x,
        lambda x: array / (3 + x * x),
    ):
        check(function, a)
    assert (array < Variable(a)).tolist() == (array < a).tolist()
    with pytest.raises(TypeError, match=r"numpy.arcsin has no derivative here"):
        np.arcsin(Variable(a))
    with pytest.raises(TypeError, match=r"numpy.add is called with a Variable as reduce; expected a plain call"):
        np.add.reduce(Variable(a))


def test_the_largest_of_nan_is_nan_without_a_warning():
    """A loss that is NaN is to be told as an error of its own, which a warning on the way forward would come before."""
    assert np.isnan(Variable(np.full((2, 3), np.nan)).max(axis=-1).value).all()
