"""Files and strings to arrays: pictures, captions, and both together."""

from aimv2_np.processing.image import Aimv2ImageProcessor
from aimv2_np.processing.processor import Aimv2Processor
from aimv2_np.processing.tokenizer import Aimv2Tokenizer

__all__ = ["Aimv2ImageProcessor", "Aimv2Processor", "Aimv2Tokenizer"]
