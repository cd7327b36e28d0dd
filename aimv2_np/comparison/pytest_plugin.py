"""A pytest plugin: test your own AIMv2 against golden activations.

    def test_first_block(assert_matches_golden):
        assert_matches_golden("vision_model.encoder.layers.0", my_output)

The golden is a recording (`aimv2-np record`), named by the option `aimv2_golden` in pytest's ini file or by `--golden`;
without either it is the one that aimv2_np carries for its embedded model. `--golden-update` writes what passing tests
hand over instead of checking it.
"""

from collections.abc import Callable, Generator, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aimv2_np.recording import Recording

__all__ = ["GoldenFile", "aimv2_golden", "assert_matches_golden"]

PASSED = pytest.StashKey[bool]()  # of a test: whether what it calls itself, without fixtures, has passed


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("aimv2", "golden activations of AIMv2")
    group.addoption("--golden", metavar="FILE", help="recording to compare with (aimv2_golden in the ini file)")
    group.addoption(
        "--golden-update",
        action="store_true",
        help="write what passing tests hand over to it, check nothing",
    )
    parser.addini("aimv2_golden", "recording that assert_matches_golden compares with, relative to the ini file")


def pytest_configure(config: pytest.Config) -> None:
    """UsageError, before any test runs, for a golden that cannot be read or written as the command line asks."""
    golden = _golden_file(config)
    if golden.update:
        _check_update(config, golden)
    elif config.getoption("--golden") and golden.path is not None and not golden.path.is_file():
        raise pytest.UsageError(_missing(golden.path))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


def _golden_file(config: pytest.Config) -> "GoldenFile":
    path = None
    if named := config.getoption("--golden"):
        path = Path(config.invocation_params.dir, named)
    elif ini := config.getini("aimv2_golden"):
        path = Path(config.rootpath, ini)
    return GoldenFile(path, update=bool(config.getoption("--golden-update")))


def _missing(path: Path) -> str:
    return (
        f"there is no golden at {path}; make one with `aimv2-np record MODEL --images FILE -o {path.name}`, or of what "
        "your tests compute with --golden-update"
    )


class GoldenFile:
    """The golden of a test run: what is in it, and what is to be written to it."""

    def __init__(self, path: Path | None, *, update: bool) -> None:
        self.path, self.update = path, update
        self.updated: dict[str, Any] = {}  # path -> array, dtype
        self._recording: Recording | None = None

    @property
    def recording(self) -> "Recording":
        """The recording in the file; of nothing, where it is to be written and is not there yet."""
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
                    writer.add(path, *self.updated[path])
                else:
                    writer.add(path, old.activations[path], old.dtypes[path])


@pytest.fixture(scope="session")
def _aimv2_golden_file(pytestconfig: pytest.Config) -> Iterator[GoldenFile]:
    file = _golden_file(pytestconfig)
    try:
        file.recording  # noqa: B018 - read now, so that a file that is no good fails with one sentence
    except FileNotFoundError:
        pytest.fail(_missing(Path(str(file.path))), pytrace=False)
    except ValueError as error:
        pytest.fail(str(error), pytrace=False)
    yield file
    if file.update:
        file.save()


def _check_update(config: pytest.Config, golden: GoldenFile) -> None:
    """UsageError unless the golden's file can be written in this run."""
    if golden.path is None:
        raise pytest.UsageError("--golden-update has no file to write; name one with --golden or aimv2_golden")
    if hasattr(config, "workerinput") or getattr(config.option, "tx", None) or config.getoption("numprocesses", None):
        raise pytest.UsageError("--golden-update writes one file; expected one process; pass -n 0")
    try:
        recording = golden.recording
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    if not recording.whole or recording.slices:
        raise pytest.UsageError(
            f"{golden.path} holds statistics or parts of arrays; expected whole ones to update; record it again"
        )


@pytest.fixture
def aimv2_golden(_aimv2_golden_file: GoldenFile) -> "Recording":
    """The golden recording: `.inputs["pixel_values"]`, `.activations[path]`, `.order`, `.config`."""
    return _aimv2_golden_file.recording


@pytest.fixture
def assert_matches_golden(
    _aimv2_golden_file: GoldenFile, request: pytest.FixtureRequest
) -> Iterator[Callable[..., None]]:
    """`assert_matches_golden(path, array, rtol=None)`: the array is the golden activation at `path`, but for rounding.

    `path` is a dotted path of the golden, or a name that `compare` understands, such as Apple's, timm's or ONNX'.
    `array` is an array of NumPy or CuPy, a PyTorch tensor, or nested lists of numbers. Without `rtol`, a relative error
    (Frobenius), the tolerance is that of `aimv2_np.compare` for the dtype and depth.
    """
    golden, handed = _aimv2_golden_file, dict[str, Any]()

    def check(path: str, array: Any, rtol: float | None = None) -> None:
        from aimv2_np.comparison.naming import Naming
        from aimv2_np.recording.recording import as_numpy

        __tracebackhide__ = True
        if golden.update:
            handed[Naming(golden.recording.order)(path) or path] = as_numpy(array)
        elif message := _difference(golden.recording, path, array, rtol):
            raise AssertionError(message)

    yield check
    if request.node.stash.get(PASSED, False):
        golden.updated |= handed


def _difference(golden: "Recording", path: str, array: Any, rtol: float | None) -> str:
    """What is wrong with an array, or an empty text."""
    from aimv2_np.comparison.compare import compare
    from aimv2_np.comparison.matching import NothingInCommonError
    from aimv2_np.recording.recording import INPUTS

    __tracebackhide__ = True
    try:
        # With the golden's inputs: then pictures in another order are no other order of the inputs, but wrong.
        inputs = {INPUTS + name: values for name, values in golden.inputs.items()}
        first = compare(golden, inputs | {path: array}, tolerances=rtol).first
    except NothingInCommonError:
        near = ", ".join(get_close_matches(path, golden.order, 3, 0.5)) or f"{', '.join(golden.order[:3])}, ..."
        raise pytest.fail.Exception(
            f"the golden has no activation {path!r}; did you mean {near}? --golden-update adds new ones", pytrace=False
        ) from None
    if first is None:
        return ""
    named = path if first.path == path else f"{path} ({first.path})"
    if first.measures is None:
        return f"{named} has another shape: {first.note}; the golden one has {golden.shapes[first.path]}"
    where = f", the largest error at {first.where}" if first.where else ""
    return (
        f"{named} differs from the golden: relative error {first.relative:.3g}, more than the {first.tolerance:.3g} "
        f"that rounding explains; max abs {first.measures.max_abs:.3g}{where}"
    )
