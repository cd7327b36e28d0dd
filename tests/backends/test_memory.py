"""aimv2_np/backends/memory.py: what was freed is used again."""

import platform
import sys

import numpy as np
import pytest

from aimv2_np.backends.memory import keep_freed_memory


def test_the_next_array_needs_no_new_pages():
    if not keep_freed_memory():
        pytest.skip("this C library gives freed memory back as it pleases")
    import resource

    def pages_of_an_array():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        np.ones(1 << 23)  # 64 MB: 16384 pages of 4 kB
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    pages_of_an_array()
    assert pages_of_an_array() < 100


def test_it_is_glibc_that_can():
    assert keep_freed_memory() == (sys.platform == "linux" and platform.libc_ver()[0] == "glibc")
