"""Checkpoints in and out: the weights of a model and its config.json, in a folder or a repository, in any layout.

`formats` knows what bytes mean, `layouts` what each codebase calls our tensors; here the two are put together, and the
configurations of other codebases are translated. Building a model of the tensors, and placing them on a device, belongs
to `models`; what any file has in common belongs to `files`.
"""

from aimv2_np.files.locate import resolve
from aimv2_np.storage.checkpoint import Checkpoint, open_checkpoint
from aimv2_np.storage.formats.safetensors_file import SafetensorsFile
from aimv2_np.storage.formats.safetensors_writer import save_safetensors
from aimv2_np.storage.inside import LeftAside
from aimv2_np.storage.layouts.detect import LAYOUTS, detect
from aimv2_np.storage.layouts.transformers import match
from aimv2_np.storage.save import save_checkpoint
from aimv2_np.storage.source import Source, expected_config, fetch, open_source

__all__ = [
    "LAYOUTS",
    "Checkpoint",
    "LeftAside",
    "SafetensorsFile",
    "Source",
    "detect",
    "expected_config",
    "fetch",
    "match",
    "open_checkpoint",
    "open_source",
    "resolve",
    "save_checkpoint",
    "save_safetensors",
]
