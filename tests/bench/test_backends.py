"""What can compute here: NumPy always, CuPy with its devices or with the reason why not."""

import json
import platform

import numpy as np
import pytest

from aimv2_np.backends import devices
from aimv2_np.bench.backends import describe_backends
from aimv2_np.kernels.native.library import describe_native


def test_numpy_is_always_there():
    found = describe_backends()
    assert found["python"] == platform.python_version()
    assert found["numpy"]["version"] == np.__version__
    assert {"float32", "float64"} <= set(found["numpy"]["dtypes"])
    assert json.loads(json.dumps(found)) == found
    assert found["native"] == describe_native()


def test_without_cupy_the_reason_is_told(monkeypatch):
    def missing():
        raise ImportError("CuPy is not installed: pip install 'aimv2-np[cuda12]'")

    monkeypatch.setattr(devices, "find_cupy", missing)
    cupy = describe_backends()["cupy"]
    assert not cupy["usable"]
    assert "pip install" in cupy["problem"]
    assert cupy["devices"] == []


def test_devices(cupy):
    assert cupy is not None
    found = describe_backends()["cupy"]
    assert found["usable"]
    assert found["problem"] is None
    assert len(found["devices"]) == cupy.cuda.runtime.getDeviceCount()
    for device in found["devices"]:
        assert min(device["free"], device["memory"]) > 0
        assert device["compute_capability"].count(".") == 1


@pytest.mark.parametrize("key", ["driver", "runtime", "version", "dtypes"])
def test_what_is_said_of_cupy_in_any_case(key):
    assert key in describe_backends()["cupy"]
