"""Faults planted in the CUDA sources: each is caught by the test that the table names for it.

Some are planted in every run; all of them with --hypothesis-profile=long.
"""

from itertools import pairwise
from shutil import copytree

import pytest
from hypothesis import settings

from aimv2_np.kernels.cuda import launch
from tests.cuda_emulator.faults import FAULTS, Fault
from tests.support.cuda_emulator.emulator import EmulatorError
from tests.support.gpu import emulated_cupy, release
from tests.support.kernel_instances import INSTANCES

WHOLE = settings.get_current_profile_name() == "long"
TRIED = [fault for fault in FAULTS if WHOLE or fault.quick]


def name(fault: Fault) -> str:
    return f"{fault.file}: {' '.join(fault.old.split())} -> {' '.join(fault.new.split())}"


@pytest.mark.parametrize("fault", FAULTS, ids=name)
def test_the_table_fits_the_sources(fault):
    """A source that has changed must not leave a fault behind that is planted nowhere, or in two places."""
    assert (launch.FOLDER / fault.file).read_text(encoding="utf-8").count(fault.old) == 1
    assert fault.old != fault.new


@pytest.mark.parametrize("fault", FAULTS, ids=name)
def test_the_test_that_catches_it_is_one_that_runs(fault):
    """Its arguments are among its parametrisation."""
    given = dict(fault.case)
    for mark in getattr(fault.test, "pytestmark", []):
        names = mark.args[0] if isinstance(mark.args[0], tuple) else (mark.args[0],)
        chosen = tuple(given.pop(name) for name in names)
        assert chosen in [it if isinstance(mark.args[0], tuple) else (it,) for it in mark.args[1]]
    assert given == {}


def test_every_kernel_has_faults_and_some_run_always():
    files = {fault.file.partition(".")[0] for fault in FAULTS}
    assert set(INSTANCES) <= files
    assert len(FAULTS) >= 20
    assert sum(fault.quick for fault in FAULTS) >= 5
    planted = sorted((f.file, f.old, f.new, f.test.__name__, str(dict(f.case))) for f in FAULTS)
    assert all(one != other for one, other in pairwise(planted))


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """A function that plants a fault in a copy of the sources, from which kernels are compiled until the test ends."""

    def forget():
        launch.source.cache_clear()
        launch._kernel.cache_clear()

    def plant_(fault):
        folder = copytree(
            launch.FOLDER, tmp_path / "sources", ignore=lambda _, names: [it for it in names if ".cu" not in it]
        )
        file = folder / fault.file
        file.write_text(file.read_text(encoding="utf-8").replace(fault.old, fault.new), encoding="utf-8")
        monkeypatch.setattr(launch, "FOLDER", folder)
        forget()

    yield plant_
    monkeypatch.undo()
    forget()


@pytest.mark.parametrize("fault", TRIED, ids=name)
def test_it_is_caught(fault, plant):
    plant(fault)
    with emulated_cupy() as cupy:
        with pytest.raises((AssertionError, EmulatorError)) as caught:
            fault.test(cupy, **fault.case)
        assert "does not take" not in str(caught.value), "the fault does not compile"
        release(cupy)
