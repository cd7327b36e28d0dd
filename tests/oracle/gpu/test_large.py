"""The real architecture on a GPU: is every dtype there as accurate as in PyTorch on the same GPU?

Both are measured against float64 on that GPU, which the small models pin to Transformers'. TF32 is off on both sides.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Aimv2VisionModel as TheirVisionModel

from aimv2_np import Aimv2VisionConfig, Aimv2VisionModel, textbook, to_numpy
from tests.support.oracle import their_config

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def model() -> Aimv2VisionModel:
    return Aimv2VisionModel(Aimv2VisionConfig(), seed=1).to("cupy")


@pytest.fixture(scope="module")
def pixels() -> np.ndarray[Any, Any]:
    return np.random.default_rng(2).standard_normal((2, 3, 224, 224), dtype=np.float32)


@pytest.fixture(scope="module")
def exact(model: Aimv2VisionModel, pixels: np.ndarray[Any, Any]) -> Any:
    return model.to(dtype="float64")(pixels)


@pytest.fixture(autouse=True)
def without_tf32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def theirs_on_device(model: Aimv2VisionModel, attention: str, dtype: str) -> TheirVisionModel:
    config = their_config(model.config)
    config._attn_implementation = attention
    theirs = TheirVisionModel(config).eval()
    theirs.load_state_dict({path: torch.from_numpy(to_numpy(array)) for path, array in model.state_dict().items()})
    return theirs.to("cuda", getattr(torch, dtype))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_as_accurate_as_pytorch(
    model: Aimv2VisionModel,
    pixels: np.ndarray[Any, Any],
    exact: Any,
    dtype: str,
    attention: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The weights are rounded to the dtype on both sides alike, so that is in both errors."""
    narrow = model.to(dtype=dtype)
    outputs = {"fast": narrow(pixels)}
    with textbook():
        outputs["as written"] = narrow(pixels)
    with torch.no_grad():
        given = torch.from_numpy(pixels).to("cuda", getattr(torch, dtype))
        theirs = theirs_on_device(model, attention, dtype)(given)
    for name in ("last_hidden_state", "pooler_output"):
        reference = to_numpy(getattr(exact, name))

        def error(values: np.ndarray[Any, Any], reference: np.ndarray[Any, Any] = reference) -> float:
            return float(np.linalg.norm(values - reference) / np.linalg.norm(reference))

        expected = error(getattr(theirs, name).double().cpu().numpy())
        for how, output in outputs.items():
            ours = error(to_numpy(getattr(output, name)).astype(np.float64))
            with capsys.disabled():
                print(f"\nlarge, {dtype}, {name}: {how} {ours:.3g}, PyTorch {attention} {expected:.3g}")
            assert ours <= 1.1 * expected
