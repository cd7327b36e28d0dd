"""A setting holds inside its block, in the thread that entered it, and is undone by an error too."""

from contextvars import ContextVar
from threading import Thread

import pytest

from aimv2_np.backends.context import having

SIZE: ContextVar[int] = ContextVar("size", default=1)


def test_it_holds_inside_the_block_even_when_that_fails():
    with having(SIZE, 2):
        with pytest.raises(ValueError, match="3"), having(SIZE, 3):
            raise ValueError(SIZE.get())
        assert SIZE.get() == 2
    assert SIZE.get() == 1


def test_other_threads_do_not_see_it():
    seen = []
    with having(SIZE, 2):
        thread = Thread(target=lambda: seen.append(SIZE.get()))
        thread.start()
        thread.join()
    assert seen == [1]
