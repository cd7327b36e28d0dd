"""A pytest plugin: test your own AIMv2 against golden activations.

    def test_first_block(assert_matches_golden):
        assert_matches_golden("vision_model.encoder.layers.0", my_output)

The golden is a recording (`aimv2-np record`), named by the option `aimv2_golden` in pytest's ini file or by `--golden`;
without either it is the one that aimv2_np carries for its embedded model. `--golden-update` writes what the tests
pass instead of checking it.
"""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aimv2_np.recording import Recording

__all__ = ["GoldenFile", "aimv2_golden", "assert_matches_golden"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("aimv2", "golden activations of AIMv2")
    group.addoption("--golden", metavar="FILE", help="recording to compare with (aimv2_golden in the ini file)")
    group.addoption(
        "--golden-update", action="store_true", help="write what tests pass to the recording, check nothing"
    )
    parser.addini("aimv2_golden", "recording that assert_matches_golden compares with, relative to the ini file")


class GoldenFile:
    """The golden of a test run: its recording, and the activations that are to be written to it."""

    def __init__(self, path: Path | None, *, update: bool) -> None:
        self.path, self.update = path, update
        self.updated: dict[str, Any] = {}
        self._recording: Recording | None = None

    @property
    def recording(self) -> "Recording":
        """The recording in the file; an empty one, where the file is to be written and is not there yet."""
        from aimv2_np.data import tiny_golden_path
        from aimv2_np.recording import Recording

        if self._recording is None:
            missing = self.update and self.path is not None and not self.path.exists()
            self._recording = Recording.from_arrays({}) if missing else Recording.load(self.path or tiny_golden_path())
        return self._recording

    def save(self) -> None:
        """Write what has been updated, and keep the rest of the recording as it is."""
        from aimv2_np.recording import RecordingWriter

        old = self.recording
        if not self.updated or self.path is None:
            return
        kept = {key: value for key, value in old.metadata.items() if key not in ("order", "shapes", "dtypes")}
        with RecordingWriter(self.path, overwrite=True, metadata=kept) as writer:
            for name, array in old.inputs.items():
                writer.add_input(name, array)
            for path in dict.fromkeys((*old.order, *self.updated)):
                if path in self.updated:
                    writer.add(path, self.updated[path])
                else:
                    writer.add(path, old.activations[path], old.dtypes[path])


@pytest.fixture(scope="session")
def _aimv2_golden_file(pytestconfig: pytest.Config) -> Iterator[GoldenFile]:
    path = None
    if named := pytestconfig.getoption("--golden"):
        path = Path(pytestconfig.invocation_params.dir, named)
    elif ini := pytestconfig.getini("aimv2_golden"):
        path = Path(pytestconfig.rootpath, ini)
    file = GoldenFile(path, update=bool(pytestconfig.getoption("--golden-update")))
    if file.update:
        _check_update(pytestconfig, file)
    yield file
    if file.update:
        file.save()


def _check_update(config: pytest.Config, golden: GoldenFile) -> None:
    """UsageError unless the golden's file can be written in this run."""
    if golden.path is None:
        raise pytest.UsageError("--golden-update has no file to write; name one with --golden or aimv2_golden")
    if hasattr(config, "workerinput"):
        raise pytest.UsageError("--golden-update writes one file; expected one process; pass -n 0")
    if not golden.recording.whole or golden.recording.slices:
        raise pytest.UsageError(
            f"{golden.path} holds statistics or parts of arrays; expected whole ones to update; record it again"
        )


@pytest.fixture
def aimv2_golden(_aimv2_golden_file: GoldenFile) -> "Recording":
    """The golden recording: `.inputs["pixel_values"]`, `.activations[path]`, `.order`, `.config`."""
    return _aimv2_golden_file.recording


@pytest.fixture
def assert_matches_golden(_aimv2_golden_file: GoldenFile) -> Callable[..., None]:
    """`assert_matches_golden(path, array, rtol=None)`: the array is the golden activation at `path`, but for rounding.

    `path` is a dotted path of the golden. `array` is an array of NumPy or CuPy, or a PyTorch tensor. Without `rtol`, a
    relative error (Frobenius), the tolerance is that of `aimv2_np.compare` for the dtype and depth.
    """

    def check(path: str, array: Any, rtol: float | None = None) -> None:
        from aimv2_np.recording.recording import as_numpy

        __tracebackhide__ = True
        values, golden = as_numpy(array)[0], _aimv2_golden_file.recording
        if _aimv2_golden_file.update:
            _aimv2_golden_file.updated[path] = values
            return
        if path not in golden.shapes:
            near = ", ".join(get_close_matches(path, golden.order, 3, 0.5)) or f"{', '.join(golden.order[:3])}, ..."
            raise pytest.fail.Exception(
                f"the golden has no activation {path!r}; did you mean {near}? --golden-update adds new ones",
                pytrace=False,
            )
        if message := _difference(golden, path, values, rtol):
            raise AssertionError(message)

    return check


def _difference(golden: "Recording", path: str, values: Any, rtol: float | None) -> str:
    """What is wrong with `values`, or an empty text."""
    from aimv2_np.comparison.compare import compare

    first = compare(golden, {path: values}, tolerances=rtol).first
    if first is None:
        return ""
    if first.measures is None:
        return f"{path} has the shape {values.shape}; the golden one has {golden.shapes[path]}"
    where = f", the largest error at {first.where}" if first.where else ""
    return (
        f"{path} differs from the golden: relative error {first.relative:.3g}, more than the {first.tolerance:.3g} "
        f"that rounding explains; max abs {first.measures.max_abs:.3g}{where}"
    )
