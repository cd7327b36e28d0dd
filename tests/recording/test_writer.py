import errno
import json
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

from aimv2_np.recording.recording import Recording
from aimv2_np.recording.writer import RecordingWriter

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a.safetensors"
    with RecordingWriter(path, source="torch", metadata={"dtype": "float32"}) as writer:
        writer.add_input("input_ids", np.array([[1, 2]]))
        writer.add("late", X[:, 0].astype(np.float16))
        writer.add("early", X.swapaxes(0, 1))  # not contiguous
        writer.add("scalar", np.float64(2.5))
        writer.add("brain", X, dtype="bfloat16")
    found = Recording.load(path)
    assert found.order == ("late", "early", "scalar", "brain")
    assert found.dtypes == {"late": "float16", "early": "float32", "scalar": "float64", "brain": "bfloat16"}
    assert found.shapes == {"late": (2, 4), "early": (3, 2, 4), "scalar": (), "brain": (2, 3, 4)}
    np.testing.assert_array_equal(found.activations["early"], X.swapaxes(0, 1))
    np.testing.assert_array_equal(found.activations["late"], X[:, 0])
    np.testing.assert_array_equal(found.inputs["input_ids"], [[1, 2]])
    assert (found.source, found.metadata["dtype"], found.slices) == ("torch", "float32", {})


def test_other_readers_can_read_it(tmp_path):
    path = tmp_path / "a.safetensors"
    with RecordingWriter(path) as writer:
        writer.add_input("pixel_values", X)
        writer.add("ffn", X)
    found = load_file(path)
    assert set(found) == {"inputs/pixel_values", "activations/ffn"}
    np.testing.assert_array_equal(found["activations/ffn"], X)


def test_a_path_that_comes_again_replaces_the_first(tmp_path):
    path = tmp_path / "a.safetensors"
    with RecordingWriter(path) as writer:
        writer.add("a", X)
        writer.add("b", X)
        writer.add("a", X[0] + 1)
    found = Recording.load(path)
    assert found.order == ("b", "a")
    np.testing.assert_array_equal(found.activations["a"], X[0] + 1)
    assert path.stat().st_size < 2 * X.nbytes + 1000  # the first one is gone


def test_slices(tmp_path):
    path = tmp_path / "a.safetensors"
    with RecordingWriter(path, slices={"*.ffn": "0, :2", "*": ":"}) as writer:
        writer.add("layers.0.ffn", X)
        writer.add("other", X)
    found = Recording.load(path)
    assert found.slices == {"layers.0.ffn": "0, :2", "other": ":"}
    assert found.shapes["layers.0.ffn"] == X.shape
    np.testing.assert_array_equal(found.activations["layers.0.ffn"], X[0, :2])
    assert list(found.statistics) == []  # statistics are of whole arrays


def test_a_slice_that_does_not_fit_names_the_module(tmp_path):
    with (
        pytest.raises(ValueError, match=r"the slice of ffn is '0, 9'; expected one that fits its shape \(2, 3, 4\)"),
        RecordingWriter(tmp_path / "a.safetensors", slices={"*": "0, 9"}) as writer,
    ):
        writer.add("ffn", X)
    assert list(tmp_path.iterdir()) == []


def test_statistics_instead_of_arrays(tmp_path):
    whole, brief = tmp_path / "whole.safetensors", tmp_path / "brief.safetensors"
    for path, statistics in ((whole, False), (brief, True)):
        with RecordingWriter(path, statistics=statistics) as writer:
            writer.add_input("pixel_values", np.zeros((1, 3, 64, 64), np.float32))  # 48 KiB
            writer.add_input("input_ids", np.array([[1, 2]]))
            writer.add("a", X)
            writer.add("b", X[0, 0])
    found, expected = Recording.load(brief), Recording.load(whole)
    assert not found.whole
    assert expected.whole
    assert list(found.inputs) == ["input_ids"]
    assert list(found.activations) == []
    for path in ("a", "b"):
        one, other = found.statistics[path], expected.statistics[path]
        assert (one.shape, one.mean, one.std, one.min, one.max, one.rms) == (
            other.shape, other.mean, other.std, other.min, other.max, other.rms,
        )  # fmt: skip
        np.testing.assert_array_equal(one.first, other.first)
        np.testing.assert_array_equal(one.projection, other.projection)


def test_statistics_of_all_and_a_few_whole(tmp_path):
    path, big = tmp_path / "a.safetensors", np.zeros((1, 3, 64, 64), np.float32)
    with RecordingWriter(path, statistics=True, whole=["*embeds", "inputs/*"]) as writer:
        writer.add_input("pixel_values", big)
        writer.add("ffn", X)
        writer.add("image_embeds", X)
    found = Recording.load(path)
    assert not found.whole
    assert list(found.activations) == ["image_embeds"]
    assert list(found.statistics) == ["ffn", "image_embeds"]
    assert found.inputs["pixel_values"].shape == big.shape


def test_nothing_is_left_after_an_error(tmp_path):
    def interrupted():
        with RecordingWriter(tmp_path / "a.safetensors") as writer:
            writer.add("a", X)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_kept(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        RecordingWriter(path)
    with RecordingWriter(path, overwrite=True) as writer:
        writer.add("a", X)
    assert Recording.load(path).order == ("a",)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*none to write a.safetensors to; make it first"):
        RecordingWriter(tmp_path / "none" / "a.safetensors")


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected one of them"):
        RecordingWriter(tmp_path / "a", statistics=True, slices={"*": "0"})
    with pytest.raises(ValueError, match="dtype complex64"), RecordingWriter(tmp_path / "a") as writer:
        writer.add("a", X.astype(np.complex64))


def test_metadata_is_text(tmp_path):
    path = tmp_path / "a.safetensors"
    with RecordingWriter(path, metadata={"config": '{"hidden_size": 3}'}) as writer:
        writer.add("a", X)
    found = Recording.load(path)
    assert found.config == {"hidden_size": 3}
    assert json.loads(found.metadata["shapes"]) == [[2, 3, 4]]


def test_only_paths_that_are_asked_for_are_recorded(tmp_path):
    path = tmp_path / "a.safetensors"
    with RecordingWriter(path, include=["*.ffn", "norm"]) as writer:
        for name in ("layers.0.ffn", "layers.0.attention", "norm", "norms"):
            writer.add(name, X)
        assert writer.wants("norm")
        assert not writer.wants("head")
    assert Recording.load(path).order == ("layers.0.ffn", "norm")


def test_nothing_that_is_asked_for_is_an_error(tmp_path):
    wanted = "include is 'head, tail'; expected globs that match an activation"
    with pytest.raises(ValueError, match=wanted), RecordingWriter(tmp_path / "a", include=["head", "tail"]) as writer:
        writer.add("norm", X)
    assert list(tmp_path.iterdir()) == []


def test_big_endian_and_empty_arrays(tmp_path):
    path = tmp_path / "a.safetensors"
    with RecordingWriter(path) as writer:
        writer.add("big", X.astype(">f4"))
        writer.add("flags", X > 3)
        writer.add("none", X[:, :0])
    found = Recording.load(path)
    np.testing.assert_array_equal(found.activations["big"], X)
    np.testing.assert_array_equal(found.activations["flags"], X > 3)
    assert found.activations["none"].shape == (2, 0, 4)


def test_a_limit_of_file_sizes_names_the_file(tmp_path):
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with (
            pytest.raises(OSError, match=r"r\.safetensors") as raised,
            RecordingWriter(tmp_path / "r.safetensors") as writer,
        ):
            writer.add("module", np.zeros(100_000, np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)
    assert raised.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())
