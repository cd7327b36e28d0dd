"""aimv2_np/kernels/native/build.py: from C sources to a library, or to a sentence that says why there is none."""

import ctypes
import re
import subprocess
import sys

import pytest

from aimv2_np.kernels.native import build, library
from aimv2_np.kernels.native.build import (
    LIBRARY,
    SETS,
    SOURCES,
    BuildError,
    Compiler,
    compile_kernels,
    find_compiler,
    platform_tag,
)
from tests.support.compiler import fake_compiler


@pytest.fixture
def compiler():
    try:
        return find_compiler()
    except BuildError as error:
        pytest.skip(str(error))


def test_the_library_has_the_kernels_of_its_processor(tmp_path, compiler):
    path = compile_kernels(tmp_path, compiler)
    assert path.name == library.path().name
    assert [it.name for it in tmp_path.iterdir()] == [LIBRARY]
    loaded = ctypes.CDLL(str(path))
    loaded.aimv2_kernels.restype = ctypes.POINTER(library.Kernels)
    last = list(compiler.sets)[-1]  # for which every processor of that kind will do
    found = [it.contents.name for it in (loaded.aimv2_kernels(i) for i in range(len(compiler.sets))) if it]
    assert found[-1] == last
    assert set(found) <= set(compiler.sets)
    if compiler.processor == "x86_64":  # tiles 0 to 2, sums of products of 3 with 4 to 6; then all are released
        code = path.read_bytes()
        for instruction in ("c4e25a5cc3", "c4e2525ccb", "c4e24a5cd3", "c4e27849c0"):
            assert bytes.fromhex(instruction) in code


def test_what_is_compiled_is_what_is_asked_for():
    """choose.c declares the sets that build.py compiles, and asks the processor for each feature that they use."""
    text = (SOURCES / "choose.c").read_text(encoding="utf-8")
    options = [option for sets in SETS.values() for options in sets.values() for option in options]
    features = {option.removeprefix("-m") for option in options if option.startswith("-m") and "=" not in option}
    by_bit = {name.lower() for name in re.findall(r"\bAMX-\w+", text)}  # no name of which old compilers know
    assert features == set(re.findall(r'__builtin_cpu_supports\("(\w+)"\)', text)) | by_bit
    assert {name for sets in SETS.values() for name in sets} == set(re.findall(r"&kernels_(\w+)", text))


def test_the_command_compiles_beside_the_sources(tmp_path, monkeypatch, capsys):
    fake_compiler(tmp_path, monkeypatch)
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    build.main()
    assert (tmp_path / LIBRARY).exists()
    assert "libaimv2" in (line := capsys.readouterr().out)
    assert line.endswith("avx512, avx2, plain, by " + str(tmp_path / "cc") + " 9.9\n")


@pytest.mark.parametrize("command", ["/nonesuch/cc", "false", "true -O2"])
def test_a_compiler_that_is_none(command, monkeypatch):
    monkeypatch.setenv("CC", command)
    with pytest.raises(
        BuildError, match=f"CC is '{command}', which is none that runs; expected .*; install one, or set"
    ):
        find_compiler()


def test_no_compiler(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BuildError, match="and there is none; expected CC, cc, gcc or clang; install one, or set"):
        find_compiler()


def test_the_command_without_a_compiler():
    result = subprocess.run(
        [sys.executable, str(SOURCES / "build.py")], env={"CC": "false"}, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: the kernels need a C compiler, and CC is 'false', ")


def test_on_windows(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(BuildError, match="not built on Windows; NumPy computes there"):
        find_compiler()


@pytest.mark.parametrize("stage", ["set.c", "-shared"])
def test_what_was_there_stays_until_the_new_one_is_whole(stage, tmp_path, monkeypatch):
    fake_compiler(tmp_path, monkeypatch, refuses=stage)
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / LIBRARY).write_text("the old one")
    with pytest.raises(BuildError, match=r"cc 9\.9 does not compile .*: error: too old; expected GCC 11, Clang 14 or"):
        compile_kernels(folder)
    assert [it.read_text() for it in folder.iterdir()] == ["the old one"]


@pytest.mark.parametrize(
    ("system", "target", "processor", "tag"),
    [
        ("darwin", None, "aarch64", "macosx_11_0_arm64"),
        ("darwin", "10.15", "x86_64", "macosx_10_15_x86_64"),
        ("darwin", "13.3", "x86_64", "macosx_13_0_x86_64"),
        ("darwin", "12", "aarch64", "macosx_12_0_arm64"),
        ("linux", None, "x86_64", "linux_x86_64"),
    ],
)
def test_the_platform_of_a_wheel(system, target, processor, tag, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr("sysconfig.get_platform", lambda: "linux-x86_64")
    monkeypatch.delenv("MACOSX_DEPLOYMENT_TARGET", raising=False)
    if target:
        monkeypatch.setenv("MACOSX_DEPLOYMENT_TARGET", target)
    assert platform_tag(Compiler(("cc",), "9.9", processor)) == tag
