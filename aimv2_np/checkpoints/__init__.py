"""Weights in and out: safetensors files, layouts of names, and folders or repositories that hold them."""

from aimv2_np.checkpoints.checkpoint import Checkpoint, open_checkpoint
from aimv2_np.checkpoints.layouts.detect import LAYOUTS, detect
from aimv2_np.checkpoints.layouts.transformers import match
from aimv2_np.checkpoints.safetensors_file import SafetensorsFile
from aimv2_np.checkpoints.save import save_checkpoint, save_safetensors
from aimv2_np.checkpoints.source import Source, fetch, open_source, source_of
from aimv2_np.locate import resolve

__all__ = [
    "LAYOUTS",
    "Checkpoint",
    "SafetensorsFile",
    "Source",
    "detect",
    "fetch",
    "match",
    "open_checkpoint",
    "open_source",
    "resolve",
    "save_checkpoint",
    "save_safetensors",
    "source_of",
]
