"""The real architecture, large at 224 pixels with random weights: is float32 here as accurate as in Transformers?

Both are measured against our float64, which the small models pin to Transformers' to 1e-12. Needs 6 GB of memory.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from transformers import Aimv2VisionModel as TheirVisionModel

from aimv2_np import Aimv2VisionConfig, Aimv2VisionModel, textbook
from tests.support.oracle import their_config
from tests.support.tally import compared


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def theirs_sharing_weights(model: Aimv2VisionModel) -> TheirVisionModel:
    """Transformers' model on the memory of ours."""
    with torch.device("meta"):
        theirs = TheirVisionModel(their_config(model.config)).eval()
    state = {path: torch.from_numpy(array) for path, array in model.state_dict().items()}
    theirs.load_state_dict(state, strict=True, assign=True)
    theirs.embeddings.position_ids = torch.arange(np.prod(model.config.grid))[None]  # in no checkpoint
    return theirs


@pytest.mark.usefixtures("two_threads")
def test_float32_is_as_accurate_as_transformers(capsys: pytest.CaptureFixture[str]) -> None:
    model = Aimv2VisionModel(Aimv2VisionConfig(), seed=1)
    pixels = np.random.default_rng(2).standard_normal((1, 3, 224, 224), dtype=np.float32)
    with torch.no_grad():
        theirs = theirs_sharing_weights(model)(torch.from_numpy(pixels))
    fast = model(pixels)
    with textbook():
        written = model(pixels)
    exact = model.to(dtype="float64")(pixels)

    def error(output: object, name: str) -> float:
        reference = getattr(exact, name)
        return float(np.linalg.norm(np.asarray(getattr(output, name)) - reference) / np.linalg.norm(reference))

    for name in ("last_hidden_state", "pooler_output"):
        ours, ours_written, expected = (error(output, name) for output in (fast, written, theirs))
        with capsys.disabled():
            print(
                f"\nlarge, {name}, relative error against float64: "
                f"fast {ours:.3g}, as written {ours_written:.3g}, Transformers {expected:.3g}"
            )
        assert ours <= 1.1 * expected
        assert ours_written <= 1.1 * expected
        compared("large", {"fast": ours, "as written": ours_written}, 1.1 * expected)
        compared("large, Transformers' own error", expected, expected)
