"""AIMv2, Apple's vision and vision-language encoders, in plain NumPy and CuPy.

What people import stands here; where it lives is in docs/design.md. At the top of the package there is nothing else but
`errors` and the annotations of `shapes`, which every room may use.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from aimv2_np.backends.arrays import to_numpy
from aimv2_np.backends.operation import textbook
from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.errors import (
    CheckpointError,
    ConfigWarning,
    CudnnWarning,
    MissingEndWarning,
    NoGraphWarning,
    UntrainedSizeWarning,
)
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.auto import load
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.processing import Aimv2ImageProcessor, Aimv2Processor, Aimv2Tokenizer
from aimv2_np.tree.trace import provide_tape, trace

if TYPE_CHECKING:
    from aimv2_np.comparison import compare
    from aimv2_np.gradients import gradient_of, value_and_grad
    from aimv2_np.kernels.cuda.cudnn import cudnn_attention
    from aimv2_np.kernels.cuda.gemm import tf32

if find_spec("aimv2_np.kernels"):  # the faster bodies can be deleted: the equations stand on their own
    import aimv2_np.kernels  # noqa: F401
if find_spec("aimv2_np.gradients"):  # and so can the derivatives
    provide_tape(lambda: import_module("aimv2_np.gradients.tape"))

__version__ = "0.2.0"

_LATER = {
    "compare": "aimv2_np.comparison",
    "cudnn_attention": "aimv2_np.kernels.cuda.cudnn",
    "gradient_of": "aimv2_np.gradients",
    "tf32": "aimv2_np.kernels.cuda.gemm",
    "value_and_grad": "aimv2_np.gradients",
}

__all__ = [
    "Aimv2Config",
    "Aimv2ImageProcessor",
    "Aimv2Model",
    "Aimv2Processor",
    "Aimv2TextConfig",
    "Aimv2TextModel",
    "Aimv2Tokenizer",
    "Aimv2VisionConfig",
    "Aimv2VisionModel",
    "CheckpointError",
    "ConfigWarning",
    "CudnnWarning",
    "MissingEndWarning",
    "NoGraphWarning",
    "UntrainedSizeWarning",
    "compare",
    "cudnn_attention",
    "gradient_of",
    "load",
    "textbook",
    "tf32",
    "to_numpy",
    "trace",
    "value_and_grad",
]


def __getattr__(name: str) -> Any:
    """What is imported when it is asked for: running a model needs nothing of it."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)
