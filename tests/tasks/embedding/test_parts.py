"""What a run has computed so far: it is there again whatever ended the run, and it is never another run's."""

import os
import subprocess
import sys

import numpy as np
import pytest

from aimv2_np.errors import CheckpointError
from aimv2_np.tasks.embedding.parts import MANIFEST, Parts, parts_folder, remove_finished, remove_parts
from tests.support.paths import ROOT

RUN = {"model": "m", "kind": "pooled"}
FIRST = np.arange(6, dtype=np.float32).reshape(3, 2)
HOLD = "import sys, pathlib; from aimv2_np.tasks.embedding.parts import Parts; "
HOLD += "parts = Parts(pathlib.Path(sys.argv[1]), {}, 1); print('held', flush=True); sys.stdin.read()"


@pytest.fixture
def output(tmp_path):
    """Of a run over ten pictures, of which the first four are done, number 2 being broken."""
    output = tmp_path / "features.safetensors"
    parts = Parts(output, RUN, 10)
    parts.add(4, {"features": FIRST}, {2: "cut short"})
    parts.save()
    parts.close()
    return output


def file_of(output):
    return parts_folder(output) / "features.bin"


def test_it_goes_on_where_it_ended(output):
    parts = Parts(output, RUN, 10)
    assert parts.done == 4
    parts.add(9, {"features": np.full((5, 2), 7, np.float32)}, {})
    parts.save()
    parts.add(10, {}, {9: "empty"})
    parts.save()
    np.testing.assert_array_equal(parts.arrays()["features"], [*FIRST, *[[7, 7]] * 5])
    assert parts.broken == {2: "cut short", 9: "empty"}
    parts.close()


def test_arrays_that_pictures_have_different_numbers_of_rows_in(tmp_path):
    parts = Parts(tmp_path / "f.npz", RUN, 3)
    parts.add(2, {"features": FIRST, "counts": np.array([1, 2]), "grid": np.array([[1, 1], [1, 2]])}, {})
    parts.save()
    parts.add(3, {"features": FIRST[:2], "counts": np.array([2]), "grid": np.array([[2, 1]])}, {})
    parts.save()
    parts.close()
    parts = Parts(tmp_path / "f.npz", RUN, 3)
    found = parts.arrays()
    assert {name: array.dtype.name for name, array in found.items()} == {
        "counts": "int64", "features": "float32", "grid": "int32",
    }  # fmt: skip
    np.testing.assert_array_equal(found["counts"], [1, 2, 2])
    np.testing.assert_array_equal(found["features"], [*FIRST, *FIRST[:2]])
    np.testing.assert_array_equal(found["grid"], [[1, 1], [1, 2], [2, 1]])
    parts.close()


def test_what_was_not_written_to_its_end_is_as_if_it_had_not_been_begun(output):
    manifest = parts_folder(output) / MANIFEST
    whole = manifest.read_bytes()
    manifest.write_bytes(whole + whole.splitlines()[-1][:-5])
    file_of(output).write_bytes(file_of(output).read_bytes() + b"half of the next")
    parts = Parts(output, RUN, 10)
    assert parts.done == 4
    parts.add(5, {"features": np.ones((1, 2), np.float32)}, {})
    parts.save()
    np.testing.assert_array_equal(parts.arrays()["features"], [*FIRST, [1, 1]])
    parts.close()
    Parts(output, RUN, 10).close()


@pytest.mark.parametrize("changes", [{"model": "other"}, {"kind": "mean"}])
def test_another_run_does_not_go_on_with_it(output, changes):
    with pytest.raises(ValueError, match="--restart"):
        Parts(output, {**RUN, **changes}, 10)
    parts = Parts(output, {**RUN, **changes}, 10, restart=True)
    assert parts.done == 0
    parts.add(1, {"features": np.ones((1, 3), np.float32)}, {})
    parts.save()
    np.testing.assert_array_equal(parts.arrays()["features"], [[1, 1, 1]])
    assert file_of(output).stat().st_size == 12
    parts.close()


def test_changed_pictures_are_not_gone_on_with(tmp_path):
    parts = Parts(tmp_path / "f.npz", RUN, 2, ["1", "2"])
    parts.add(1, {}, {0: "empty"})
    parts.save()
    parts.close()
    with pytest.raises(ValueError, match="of its first 1 pictures some have changed"):
        Parts(tmp_path / "f.npz", RUN, 2, ["3", "2"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nothing\n", "not valid JSON"),
        (b"[]\n", "TypeError"),
        (b'{"start":4,"stop":5,"broken":[],"shapes":{"x":[4,2]},"contents":""}\n', "KeyError: 'x'"),
    ],
)
def test_lines_that_say_nothing(output, line, message):
    with (parts_folder(output) / MANIFEST).open("ab") as file:
        file.write(line)
    with pytest.raises(CheckpointError, match=message):
        Parts(output, RUN, 10)


def test_numbers_that_are_gone_are_damage(output):
    file_of(output).write_bytes(file_of(output).read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="it has 23 bytes; expected 24"):
        Parts(output, RUN, 10)
    file_of(output).unlink()
    with pytest.raises(CheckpointError, match="it has 0 bytes"):
        Parts(output, RUN, 10)


def test_a_count_that_does_not_add_up_is_damage(output):
    manifest = parts_folder(output) / MANIFEST
    manifest.write_bytes(manifest.read_bytes().replace(b"[3,2]", b"[2,2]"))
    with pytest.raises(CheckpointError, match="2 pictures have features and 1 are broken, of 4"):
        Parts(output, RUN, 10)


def test_two_at_once(output):
    parts = Parts(output, RUN, 10)
    with pytest.raises(BlockingIOError, match=output.name):
        Parts(output, RUN, 10)
    parts.close()
    Parts(output, RUN, 10).close()


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_process_that_is_killed_lets_go(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path / "f.npz")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(BlockingIOError):
            Parts(tmp_path / "f.npz", {}, 1)
        process.kill()
        process.wait()
    Parts(tmp_path / "f.npz", {}, 1).close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system that does not fork")
def test_a_forked_process_does_not_hold_it(output):
    held = Parts(output, RUN, 10)
    (begun, begin), (ended, end) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(end)
        os.write(begin, b"x")
        os.read(ended, 1)  # until the parent closes its end
        os._exit(0)
    os.read(begun, 1)
    held.close()
    try:
        Parts(output, RUN, 10).close()
    finally:
        os.close(end)
        os.waitpid(child, 0)


def test_the_output_is_there_when_it_is_finished(output):
    parts = Parts(output, RUN, 10)
    with parts.assembled(output) as file:
        file.write(b"all of it")
    assert not output.exists()
    parts.finish(output)
    assert output.read_bytes() == b"all of it"
    assert not parts_folder(output).exists()


def test_nothing_is_left_when_it_is_removed(output):
    remove_parts(parts_folder(output))
    assert not parts_folder(output).exists()


@pytest.mark.parametrize("header", ['{"run": 3}', '{"format": 1}', "[]", "7", "{", '{"run": {"model": "other"}}'])
def test_what_is_not_known_to_be_finished_is_left_alone(output, header):
    manifest = parts_folder(output) / MANIFEST
    manifest.write_text(f"{header}\n{{}}\n")
    remove_finished(output, RUN)
    assert manifest.exists()


def test_what_a_run_has_left_is_removed_though_it_says_more(output):
    manifest = parts_folder(output) / MANIFEST
    manifest.write_text('{"run": {"model": "m", "kind": "pooled", "checksum": true}}\n{}\n')
    remove_finished(output, RUN)
    assert not parts_folder(output).exists()
