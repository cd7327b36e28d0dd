import numpy as np

from aimv2_np.network.embedding import Embedding


def test_looks_up_rows():
    table = np.arange(12.0).reshape(4, 3)
    ids = np.array([[3, 0], [0, 1]])
    np.testing.assert_array_equal(Embedding(table)(ids), [[[9, 10, 11], [0, 1, 2]], [[0, 1, 2], [3, 4, 5]]])


def test_the_result_is_not_the_table():
    """Writing into an embedding must not change the weights."""
    table = np.zeros((4, 3))
    Embedding(table)(np.array([1, 2]))[:] = 1
    assert not table.any()
