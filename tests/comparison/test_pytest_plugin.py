"""The pytest plugin, in test runs of its own: in this process, but where the process is what is tested."""

from pathlib import Path

import numpy as np
import pytest

from aimv2_np import trace
from aimv2_np.recording import Recording, record
from tests.support.models import pixels, vision_model

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
PATH = "encoder.layers.1.ffn"
TEST = f"""
    import numpy as np

    def test_block(aimv2_golden, assert_matches_golden):
        x = np.load("mine.npy")
        assert aimv2_golden.inputs["pixel_values"].shape == (2, 3, 12, 12)
        assert_matches_golden({PATH!r}, x)
"""


@pytest.fixture
def project(pytester, monkeypatch):
    """A folder with a golden, an array that agrees with it, and a test of it."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    model, inputs = vision_model(), {"pixel_values": pixels()}
    record(model, inputs, pytester.path / "golden.safetensors")
    with trace(model) as activations:
        model(**inputs)
    np.save(pytester.path / "mine.npy", activations[PATH])
    pytester.makeini("[pytest]\naimv2_golden = golden.safetensors\n")
    pytester.makepyfile(TEST)
    return pytester


# By module, whether or not the package's entry point is installed here, and once.
PLUGINS = ("-p", "no:aimv2_np", "-p", "aimv2_np.comparison.pytest_plugin", "-p", "no:cacheprovider")


def run(project, *arguments):
    return project.runpytest_inprocess(*PLUGINS, *arguments)


def run_apart(project, *arguments):
    """In a new process, which loads the plugin and all that it needs by itself."""
    return project.runpytest_subprocess(*PLUGINS, *arguments)


def change(project, function):
    path = project.path / "mine.npy"
    np.save(path, function(np.load(path)))


def test_what_agrees_passes(project):
    run_apart(project).assert_outcomes(passed=1)
    change(project, lambda x: x * np.float32(1 + 1e-7))  # rounding
    run(project).assert_outcomes(passed=1)


def test_items_in_another_order_are_not_those_of_the_golden(project):
    change(project, lambda x: x[::-1])
    run(project).assert_outcomes(failed=1)


def test_what_differs_fails_and_says_where(project):
    def spoil(x):
        x[1, 4, 7] += 0.5
        return x

    change(project, spoil)
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{PATH} differs from the golden: relative error *'token': 4, 'channel': 7*"])


def test_another_shape_or_path(project):
    change(project, lambda x: x[:, :5])
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*{PATH}*shape*(2, 5, 16)*"])
    project.makepyfile(TEST.replace(PATH, "encoder.layers.1.fnn"))
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no activation 'encoder.layers.1.fnn'; did you mean encoder.layers.1*"])


def test_update_writes_what_tests_pass_and_keeps_the_rest(project):
    before = Recording.load(project.path / "golden.safetensors")
    change(project, lambda x: x + 1)
    run(project).assert_outcomes(failed=1)
    run(project, "--golden-update").assert_outcomes(passed=1)
    run(project).assert_outcomes(passed=1)
    after = Recording.load(project.path / "golden.safetensors")
    assert after.order == before.order
    assert after.metadata["weights_hash"] == before.metadata["weights_hash"]
    np.testing.assert_array_equal(after.activations[PATH], np.load(project.path / "mine.npy"))
    for path in set(before.order) - {PATH}:
        np.testing.assert_array_equal(after.activations[path], before.activations[path])


def test_update_makes_a_new_file(project):
    project.makepyfile(TEST.replace("assert aimv2_golden", "# assert aimv2_golden"))
    run(project, "--golden", "new.safetensors", "--golden-update").assert_outcomes(passed=1)
    assert Recording.load(project.path / "new.safetensors").order == (PATH,)
    run(project, "--golden", "new.safetensors").assert_outcomes(passed=1)


def test_update_refuses_what_it_cannot_write(project):
    inputs = {"pixel_values": pixels()}
    record(vision_model(), inputs, project.path / "golden.safetensors", statistics=True, overwrite=True)
    result = run(project, "--golden-update")
    result.stderr.fnmatch_lines(["*holds statistics or parts of arrays*"])
    project.makeini("[pytest]\n")
    result = run(project, "--golden-update")
    result.stderr.fnmatch_lines(["*has no file to write*"])


def test_tensors_of_pytorch_are_taken_without_importing_it(project):
    project.makepyfile(
        TEST.replace("x = np.load", "x = Tensor(np.load").replace('.npy")', '.npy"))')
        + """
    class Tensor:
        dtype = "torch.float32"
        def __init__(self, array): self.array = array
        def detach(self): return self
        def cpu(self): return self
        def __array__(self, dtype=None, copy=None): return self.array
    """
    )
    run(project).assert_outcomes(passed=1)


def test_statistics_are_compared_too(project):
    model, inputs = vision_model(), {"pixel_values": pixels()}
    path = project.path / "golden.safetensors"
    record(model, inputs, path, statistics=True, overwrite=True)
    project.makepyfile(TEST.replace("assert aimv2_golden", "# assert aimv2_golden"))
    run(project).assert_outcomes(passed=1)
    change(project, lambda x: x[..., ::-1])  # the same moments, other numbers
    run(project).assert_outcomes(failed=1)


def test_update_stores_nothing_of_a_test_that_fails(project):
    before = Recording.load(project.path / "golden.safetensors")
    change(project, lambda x: x + 1)
    project.makepyfile(TEST + "        assert False\n")
    run(project, "--golden-update").assert_outcomes(failed=1)
    after = Recording.load(project.path / "golden.safetensors")
    np.testing.assert_array_equal(after.activations[PATH], before.activations[PATH])


def test_update_in_several_processes_stops_at_once(project):
    pytest.importorskip("xdist")
    result = run(project, "-n", "2", "--golden-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.lines == ["ERROR: --golden-update writes one file; expected one process; pass -n 0", ""]
    run(project, "-n", "0", "--golden-update").assert_outcomes(passed=1)
    run(project, "-n", "1").assert_outcomes(passed=1)


def test_a_golden_that_is_not_there_is_one_sentence(project):
    result = run(project, "--golden", "none.safetensors")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert len([line for line in result.stderr.lines if line]) == 1
    result.stderr.fnmatch_lines(["ERROR: there is no golden at *none.safetensors; make one with `aimv2-np record*"])
    (project.path / "golden.safetensors").unlink()
    result = run(project)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["there is no golden at *golden.safetensors; make one with `aimv2-np record*"])
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py:*")


def test_a_golden_that_is_none_is_one_sentence(project):
    (project.path / "golden.safetensors").write_text("no tensors")
    result = run(project)
    result.assert_outcomes(errors=1)
    result.stdout.no_fnmatch_line("*pytest_plugin.py:*")
    result = run(project, "--golden-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert len([line for line in result.stderr.lines if line]) == 1


def test_names_of_others_are_known(project):
    project.makepyfile(TEST.replace(repr(PATH), "'trunk.blocks.1.mlp'"))
    run(project).assert_outcomes(passed=1)
    change(project, lambda x: x + 1)
    result = run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"*trunk.blocks.1.mlp ({PATH}) differs from the golden*"])
    run(project, "--golden-update").assert_outcomes(passed=1)
    run(project).assert_outcomes(passed=1)
    assert PATH in Recording.load(project.path / "golden.safetensors").order
    assert "trunk.blocks.1.mlp" not in Recording.load(project.path / "golden.safetensors").order
