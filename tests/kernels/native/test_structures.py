"""What of an array or a view the kernels in C are told, and what they are not given."""

import numpy as np
import pytest

from aimv2_np.kernels.native.structures import is_dense, matrix_of, rows_of, sequences_of
from aimv2_np.network.view import CAUSAL, EVERYONE, Mask, Packed, Padded, Prefix

WEIGHT = np.ones((6, 4), np.float32)


def test_a_matrix_is_told_by_its_place_shape_and_stride():
    wide = np.ones((6, 9), np.float32)
    address = wide.__array_interface__["data"][0]
    assert matrix_of(wide[:, :4], None, (4,)) == (address, 0, 0, 6, 4, 9, 0)


@pytest.mark.parametrize(
    ("weight", "bias", "inputs", "outputs"),
    [
        (WEIGHT.astype(np.float64), None, (4,), None),
        (WEIGHT, None, (5,), None),
        (WEIGHT, None, (4,), (5,)),
        (WEIGHT, np.ones(5, np.float32), (4,), None),
        (WEIGHT, np.ones(12, np.float32)[::2], (4,), None),
        (np.ones((6, 8), np.float32)[:, ::2], None, (4,), None),
        (np.ones((6, 4, 1), np.float32), None, (4,), None),
    ],
)
def test_what_the_kernels_cannot_read_is_none(weight, bias, inputs, outputs):
    assert matrix_of(weight, bias, inputs, outputs) is None


def test_views_as_sequences():
    """A prefix of all keys is everyone, of none causal."""
    prefixes = {view: sequences_of(view, 2, 5, 5)[0]["prefix"].tolist() for view in (EVERYONE, CAUSAL)}
    assert prefixes == {EVERYONE: [5, 5], CAUSAL: [0, 0]}
    assert sequences_of(Prefix(np.array([1, 3])), 2, 5, 5)[0]["prefix"].tolist() == [1, 3]
    pack = sequences_of(Packed((2, 3)), 1, 5, 5)[0]
    assert pack["query"].tolist() == pack["key"].tolist() == [0, 2]
    assert sequences_of(Packed((2, 3)), 1, 5, 6) == (None, None)


def test_a_mask_is_pointed_to_and_kept():
    sequences, mask = sequences_of(Padded(np.array([[1, 1, 0], [1, 0, 0]])), 2, 4, 3)
    assert mask.tolist() == [[[[True, True, False]]], [[[True, False, False]]]]
    assert (sequences["mask"][1] - sequences["mask"][0], sequences["mask_stride"][0]) == (3, 0)
    assert sequences_of(Mask(np.ones((3, 1, 4, 3), bool)), 2, 4, 3) == (None, None)


def test_rows_are_copied_only_where_their_numbers_do_not_follow_one_another():
    x = np.zeros((2, 3, 8), np.float32)
    assert np.shares_memory(rows_of(x), x)
    assert rows_of(x[..., ::2]).flags.c_contiguous
    assert not is_dense(x[..., ::2])
