"""Files and strings to arrays: images to `pixel_values`, captions to `input_ids`, and both together.

What Transformers' processors of AIMv2 do belongs here, with the files that set them up. What a model does with the
arrays belongs to `models`.
"""

from aimv2_np.processing.image import Aimv2ImageProcessor
from aimv2_np.processing.processor import Aimv2Processor
from aimv2_np.processing.tokenizer import Aimv2Tokenizer

__all__ = ["Aimv2ImageProcessor", "Aimv2Processor", "Aimv2Tokenizer"]
