"""aimv2_np/backends/memory.py: what was freed is used again. In processes of their own, as it is for good."""

import platform
import subprocess
import sys

import pytest

GLIBC = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"


def told(lines):
    """What a new process prints that has asked for it."""
    begin = "import numpy as np\nfrom aimv2_np.backends.memory import keep_freed_memory\nkept = keep_freed_memory()\n"
    return subprocess.run(
        [sys.executable, "-c", begin + lines], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_it_is_glibc_that_can():
    assert told("print(kept)") == str(GLIBC)


@pytest.mark.skipif(not GLIBC, reason="this C library gives freed memory back as it pleases")
def test_the_next_array_needs_no_new_pages():
    pages = told("""
import resource

def pages_of_an_array():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 23)  # 64 MB: 16384 pages of 4 kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages_of_an_array()
print(pages_of_an_array())""")
    assert int(pages) < 100
