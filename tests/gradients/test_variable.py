"""Variables: what remembers how it was computed, and how the derivative finds its way back."""

import numpy as np
import pytest

from aimv2_np.backends.arrays import backend_of, is_array, move
from aimv2_np.gradients import Variable
from aimv2_np.gradients.variable import walk_back


def test_what_was_used_twice_has_the_sum_of_both():
    a = Variable(np.array([1.0, 2.0]))
    b = a * a
    (found,) = walk_back((b + b * a).sum(), [a])
    np.testing.assert_allclose(found, 2 * a.value + 3 * a.value**2)


def test_a_leaf_that_takes_no_part_has_zeros():
    a, b = Variable(np.ones(3)), Variable(np.ones((2, 2), np.float32))
    found = walk_back((2 * a).sum(), [a, b])
    assert found[0].tolist() == [2.0, 2.0, 2.0]
    assert not found[1].any()
    assert found[1].dtype == np.float32


def test_what_was_walked_is_forgotten():
    a = Variable(np.ones(3))
    b = a * 2
    walk_back(b.sum(), [a])
    assert b.parents == ()
    assert b.back is None


def test_a_long_chain_is_no_deeper_than_a_short_one():
    a = x = Variable(np.ones(1))
    for _ in range(5000):
        x = x + 1e-3 * a
    assert walk_back(x.sum(), [a])[0] == pytest.approx(6.0)


def test_gradients_of_half_precision_are_float32():
    a = Variable(np.ones(4, np.float16))
    (found,) = walk_back((a * a).astype(np.float32).sum(), [a])
    assert found.dtype == np.float32


def test_a_variable_is_an_array_of_its_library_to_the_network():
    a = Variable(np.ones((2, 3), np.float32))
    assert is_array(a)
    assert backend_of(a) == "numpy"
    assert move(a, "numpy") is a
    assert (a.shape, a.ndim, a.size, len(a), a.dtype) == ((2, 3), 2, 6, 2, np.float32)
    assert "Variable(array" in repr(a)


def test_comparisons_are_of_the_numbers():
    a = Variable(np.array([1.0, 2.0]))
    assert (a > 1).tolist() == [False, True]
    assert (a >= a).all()
    assert (a == 1).tolist() == [True, False]
    assert (a != 1).tolist() == [False, True]
    assert (a < 2).tolist() == [True, False]
    assert (a <= Variable(np.array([1.0, 1.0]))).tolist() == [True, False]


def test_functions_of_numpy_take_variables_beside_arrays():
    a, b = np.ones((2, 3)), Variable(np.zeros((1, 3)))
    assert np.concatenate([a, b]).shape == (3, 3)
    assert isinstance(np.broadcast_to(b, (2, 3)), Variable)
    with pytest.raises(TypeError, match=r"numpy.median has no derivative"):
        np.median(b)


def test_nobody_takes_it_for_an_array_by_mistake():
    with pytest.raises(TypeError, match="a Variable is no array"):
        np.asarray(Variable(np.ones(2)))


def test_what_has_no_derivative_gives_numbers():
    a = Variable(np.array([[1.5, -2.0]]))
    assert a.argmax() == np.argmin(-a) == 0
    assert np.shape(a) == (1, 2)
    assert np.floor(a).tolist() == (a // 1).tolist() == [[1.0, -2.0]]
    assert (7 // a).tolist() == [[4.0, -4.0]]
    assert a.any()
    assert (a[0, 0].item(), int(a[0, 0]), float(a[0, 1]), a.tolist()) == (1.5, 1, -2.0, [[1.5, -2.0]])
    assert a.astype(np.int64).tolist() == [[1, -2]]
    assert isinstance(a.astype(np.int64), np.ndarray)


def test_a_number_is_true_unless_it_is_0():
    assert Variable(np.array(2.0))
    assert not Variable(np.array([0.0]))
    with pytest.raises(ValueError, match="ambiguous"):
        bool(Variable(np.ones(2)))


def test_what_it_cannot_is_told():
    a = Variable(np.ones((2, 2)))
    with pytest.raises(AttributeError, match=r"has no 'backward'; use its methods .* or its value"):
        a.backward()
    with pytest.raises(TypeError, match=r"numpy.cumprod has no derivative here; use one of .*cumsum.*var"):
        a.cumprod()
    with pytest.raises(TypeError, match="not changed in place; use where"):
        a[0] = 1
    with pytest.raises(TypeError, match=r"as __call__, out; expected a plain call: a = a . b"):
        np.ones((2, 2)).__iadd__(a)
    with pytest.raises(ValueError, match=r"a mean is taken of no numbers, shape \(0, 2\); .* is the batch empty"):
        a[:0].mean()
