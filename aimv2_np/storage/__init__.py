"""Weights in and out: safetensors files, layouts of names, and folders or repositories that hold them."""

from aimv2_np.files.locate import resolve
from aimv2_np.storage.checkpoint import Checkpoint, open_checkpoint
from aimv2_np.storage.formats.safetensors_file import SafetensorsFile
from aimv2_np.storage.layouts.detect import LAYOUTS, detect
from aimv2_np.storage.layouts.transformers import match
from aimv2_np.storage.save import save_checkpoint, save_safetensors
from aimv2_np.storage.source import Source, fetch, open_source, source_of

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
