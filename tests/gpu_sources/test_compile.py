"""Every CUDA source compiles for every architecture without a warning, and without spilling registers.

Needs no GPU: CuPy and the wheels nvidia-cuda-nvrtc-cu12 and nvidia-cuda-runtime-cu12.
"""

import re

import pytest

from aimv2_np.kernels.cuda.launch import FOLDER, OPTIONS, source
from tests.support import nvrtc
from tests.support.kernel_instances import ARCHITECTURES, SINCE, kernels

SOURCES = sorted(path.stem for path in FOLDER.glob("*.cu"))


@pytest.mark.parametrize("name", SOURCES)
def test_sources_open_with_equation_bytes_and_operations(name):
    text = (FOLDER / f"{name}.cu").read_text(encoding="utf-8")
    opening = re.match(r"(//.*\n)+", text)[0]
    assert re.search(r"^//     \S", opening, re.MULTILINE), "no equation"
    for word in ("Bytes", "Operations"):
        assert re.search(rf"\b{word}\b", opening), f"no count: {word}"


@pytest.mark.parametrize("name", SOURCES)
def test_a_kernel_bears_the_name_of_its_file(name):
    assert re.search(rf"__global__ void [^{{;]*?\b{name}\(", source(name))
    assert kernels(name)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", SOURCES)
def test_it_compiles(name, architecture, tmp_path, record_property):
    if reason := nvrtc.missing():
        pytest.skip(reason)
    if architecture < SINCE.get(name, 0):
        pytest.skip(f"{name} is launched from sm_{SINCE[name]} on")
    assert len(nvrtc.compile_kernels(source(name), kernels(name), architecture)) > 0
    uses = nvrtc.resources(source(name), kernels(name), architecture, tmp_path)
    for use in uses:
        record_property(use.kernel, f"{use.registers} registers")
    assert [use for use in uses if use.spilled] == []
    assert all(use.registers <= 255 for use in uses)


@pytest.mark.parametrize("name", SOURCES)
def test_no_index_is_divided_in_64_bits(name):
    """GPUs divide by programs, which of 64 bits are several times as long as of 32."""
    if reason := nvrtc.missing():
        pytest.skip(reason)
    ptx, _ = nvrtc.compile_ptx(source(name), kernels(name), 90)
    assert re.findall(r"\b(?:div|rem)\.[su]64\b", ptx) == []


def test_the_options_are_those_that_cupy_passes(monkeypatch):
    if reason := nvrtc.missing():
        pytest.skip(reason)
    from cupy.cuda import compiler

    passed = []

    def compile_(program, options=(), log_stream=None):
        passed.append(options)
        raise InterruptedError

    monkeypatch.setattr(compiler._NVRTCProgram, "compile", compile_)
    monkeypatch.setattr(compiler, "_preprocess", lambda *_: "")
    monkeypatch.setattr(compiler, "_get_arch_for_options_for_nvrtc", lambda arch=None: (f"-arch=sm_{arch}", "cubin"))
    with pytest.raises(InterruptedError):
        compiler._compile_module_with_cache("", OPTIONS, arch="90")
    (options,) = passed
    assert sorted(options) == sorted((*OPTIONS, *nvrtc.OF_CUPY, "-arch=sm_90"))


def test_a_warning_is_an_error():
    if reason := nvrtc.missing():
        pytest.skip(reason)
    code = "template <class T> __global__ void kernel(T* y) { int unused; *y = 1; }"
    with pytest.raises(RuntimeError, match="never referenced"):
        nvrtc.compile_kernels(code, ["kernel<float>"], 80)


def test_an_error_names_its_line():
    if reason := nvrtc.missing():
        pytest.skip(reason)
    with pytest.raises(RuntimeError, match=r"kernels\.cu\(1\): error"):
        nvrtc.compile_kernels("template <class T> __global__ void kernel(T* y) { x; }", ["kernel<float>"], 80)
