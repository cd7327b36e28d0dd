"""aimv2_np/files/hub.py: errors that a hub on this machine does not cause; test_hub_faults.py has others."""

import errno

import huggingface_hub
import pytest

from aimv2_np.files.hub import download

NAME = "org/model"


class ChunkedEncodingError(OSError):
    """As requests throws it below huggingface_hub 1.0."""

    __module__ = "requests.exceptions"


@pytest.fixture
def failing(monkeypatch, tmp_path):
    def run(error):
        def snapshot_download(*_, **__):
            raise error

        monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
        download(NAME, ["config.json"], cache_dir=tmp_path)

    return run


@pytest.mark.parametrize(
    "error",
    [
        ChunkedEncodingError("Connection broken"),
        RuntimeError("Data processing error: CAS service error"),  # hf_xet's
        TimeoutError("timed out"),
        ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    ],
)
def test_whatever_carries_the_bytes_breaks_with_a_connection_error(failing, error):
    with pytest.raises(
        ConnectionError, match=f"^{NAME} could not be fetched: the connection broke; try again"
    ) as found:
        failing(error)
    assert type(found.value) is ConnectionError
    assert found.value.__cause__ is error
    assert str(error) in str(found.value)


def test_a_full_disk_keeps_its_type_its_number_and_its_place(failing):
    with pytest.raises(
        OSError, match="No space left on device; make room for the hub's cache, or pass cache_dir"
    ) as it:
        failing(OSError(errno.ENOSPC, "No space left on device", "/cache/blob"))
    assert (it.value.errno, it.value.filename) == (errno.ENOSPC, "/cache/blob")


def test_any_other_trouble_gets_general_advice(failing):
    with pytest.raises(OSError, match=rf"^{NAME} could not be fetched: try again, or pass the path .* \[odd\]$"):
        failing(OSError("odd"))


@pytest.mark.parametrize("error", [MemoryError(), AssertionError("a mistake"), KeyboardInterrupt()])
def test_what_no_advice_helps_against_is_left_alone(failing, error):
    with pytest.raises(type(error)) as found:
        failing(error)
    assert found.value is error
