"""aimv2_np/kernels/native/choose.c: AMX is taken where the processor, the system and a first product allow it."""

import shutil
import sys
from pathlib import Path

import pytest

from aimv2_np.kernels.native.library import available, describe_native, kernels
from tests.support.amx import NAME, processor_with

OTHERS = ["avx512_bf16", "avx512", "avx2", "plain"]


@pytest.fixture
def another(modelled, tmp_path):
    """The library at a place of its own, from where it is loaded, and chooses, anew."""
    return Path(shutil.copytree(modelled.parent, tmp_path / "another"), modelled.name)


def test_it_is_the_first(another):
    with processor_with(another):
        assert list(available()) == [NAME, *OTHERS]
        assert describe_native()["used"] == NAME
        assert describe_native()["reason"] == f"in C for {NAME}; {', '.join(OTHERS)} would run too"


def test_it_can_be_asked_for(another):
    with processor_with(another, asked=NAME):
        assert kernels().name == NAME
    with processor_with(another, asked="avx512"):
        assert kernels().name == "avx512"


@pytest.mark.parametrize("lacks", ["tile", "bf16", "state", "permission"])
def test_what_the_processor_and_the_system_must_have(another, lacks):
    """Without a word the next one is taken; who asks for it by name is told what is here."""
    with processor_with(another, lacks):
        assert list(available()) == OTHERS
        assert describe_native()["reason"] == "in C for avx512_bf16; avx512, avx2, plain would run too"
    with (
        processor_with(another, lacks, asked=NAME),
        pytest.raises(
            ValueError, match=f"AIMV2_NP_NATIVE is '{NAME}'; expected .* what is here: avx512_bf16, .*plain$"
        ),
    ):
        kernels()


def test_one_that_computes_wrongly_is_left_and_named(another):
    """One number of one tile is wrong: the next one computes, and whoever asks is told."""
    told = f"not {NAME}, which computed wrongly when it was tried"
    with processor_with(another, "sums"):
        assert list(available()) == OTHERS
        assert describe_native()["used"] == "avx512_bf16"
        assert describe_native()["reason"] == f"in C for avx512_bf16; avx512, avx2, plain would run too; {told}"
    with processor_with(another, "sums", asked=NAME), pytest.raises(ValueError, match=f"avx2, plain; {told}"):
        kernels()


@pytest.mark.skipif(sys.platform != "linux", reason="no /proc/cpuinfo")
def test_this_processor():
    """It is not taken where there are no such instructions."""
    features = Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    assert NAME not in available() or {"amx_tile", "amx_bf16"} <= set(features)
