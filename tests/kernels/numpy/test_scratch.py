"""aimv2_np/kernels/numpy/scratch.py: memory is used again, and never while somebody holds it."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.kernels.numpy import scratch as module
from aimv2_np.kernels.numpy.scratch import Scratch, _current, empty, empty_like, scratch

F4 = np.dtype(np.float32)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=40))
def test_no_array_in_use_is_overwritten(steps):
    """Arrays come and go, some held by a view of a view only; each keeps what was written into it."""
    pool, held = Scratch(), {}
    for i, (size, action) in enumerate(steps):
        array = pool.empty((size, 2), F4)
        array[...] = i
        held[i] = array if action == 0 else array.T[:, : size // 2 + 1].reshape(-1)[1:] if action == 1 else None
        if action == 3:
            held.pop(next(iter(held)))
        for number, one in held.items():
            assert one is None or (one == number).all()


def test_what_nobody_holds_is_used_again():
    pool = Scratch()
    for _ in range(10):
        one, other = pool.empty((3, 4), F4), pool.empty((12,), F4)
        assert not np.may_share_memory(one, other)
        view = one.T
        del one
        assert not np.may_share_memory(view, pool.empty((3, 4), F4))
        del view, other
    assert len(pool.blocks) == 3


def test_threads_do_not_share():
    def work(seed):
        with scratch():
            held = []
            for i in range(50):
                held = [*held[-3:], empty((20,), F4)]
                held[-1][...] = seed * 100 + i
                assert all((one == seed * 100 + i - k).all() for k, one in enumerate(reversed(held)))
            return _current.get()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert _current.get() is None


def test_the_next_call_finds_the_memory_of_the_last(monkeypatch):
    monkeypatch.setattr(module, "_kept", [])
    with scratch():
        first = empty((100,), F4).ctypes.data
    with scratch():
        assert empty((100,), F4).ctypes.data == first
        with scratch():  # that is in use
            assert empty((100,), F4).ctypes.data != first
    assert len(module._kept) == 2


def test_what_an_exception_holds_is_not_given_to_the_next_call(monkeypatch):
    monkeypatch.setattr(module, "_kept", [])

    def fail():
        with scratch():
            raise ValueError(empty((100,), F4))

    with pytest.raises(ValueError, match=r"\[") as caught:
        fail()
    with scratch():
        assert not np.may_share_memory(caught.value.args[0], empty((100,), F4))


@given(sizes=st.lists(st.integers(0, 60), max_size=8))
def test_what_is_kept_is_bounded(sizes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_kept", [])
        patch.setattr(module, "KEPT_BYTES", 400)
        for depth in range(len(sizes)):
            with ExitStack() as stack:
                for size in sizes[: depth + 1]:
                    stack.enter_context(scratch())
                    empty((size,), F4)
            assert sum(one.size for one in module._kept) <= 400


@given(shape=st.lists(st.integers(1, 4), min_size=1, max_size=4), data=st.data())
def test_the_layout_is_kept(shape, data):
    axes = data.draw(st.permutations(range(len(shape))))
    x = np.empty([shape[axis] for axis in axes], F4).transpose(np.argsort(axes))
    y = empty_like(x)
    assert y.shape == x.shape
    ravelled = [array.ravel("K") for array in (x, y)]
    assert all(np.may_share_memory(flat, array) for flat, array in zip(ravelled, (x, y), strict=True))
    longest = [4 * n for n in shape]
    assert empty_like(x, longest).shape == tuple(longest)
