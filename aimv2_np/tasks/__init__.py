"""What people do with models and checkpoints."""

from aimv2_np.tasks.classify import Classification, classify, load_classifier, make_prompts
from aimv2_np.tasks.convert import Conversion, convert
from aimv2_np.tasks.describe import Description, describe

__all__ = [
    "Classification",
    "Conversion",
    "Description",
    "classify",
    "convert",
    "describe",
    "load_classifier",
    "make_prompts",
]
