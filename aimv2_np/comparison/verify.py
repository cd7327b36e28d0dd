"""Whether this machine computes what Transformers computes.

`verify_embedded` needs nothing but this package: it carries a small model and, recorded from Transformers, what every
module of it computes. `verify_against_transformers` runs Transformers beside it. `published.py` has the third way.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Unpack

from aimv2_np import storage
from aimv2_np.comparison.compare import compare
from aimv2_np.comparison.comparison import Comparison
from aimv2_np.config import read_config
from aimv2_np.data import sample_pictures, tiny_golden_path, tiny_model_path
from aimv2_np.errors import CheckpointError
from aimv2_np.files.hub import HubOptions
from aimv2_np.files.locate import PROCESSOR_FILES
from aimv2_np.models.auto import load
from aimv2_np.models.pretrained import AnyModel
from aimv2_np.recording.adapters import record_torch
from aimv2_np.recording.inputs import load_with_inputs
from aimv2_np.recording.record import library_versions, record
from aimv2_np.recording.recording import Recording
from aimv2_np.storage.digest import hash_weights

# Windows removes no file that is still mapped: hence ignore_cleanup_errors below.
PICTURES = 2  # of the sample pictures, with their captions


@dataclass(frozen=True)
class Verified:
    """A comparison, and the versions of the libraries that computed its two sides.

    Attributes:
        comparison: what `compare` found.
        here, there: library → version.
    """

    comparison: Comparison
    here: dict[str, str]
    there: dict[str, str]


def verify_embedded(
    *,
    backend: str = "numpy",
    dtype: str = "float32",
    device: int | None = None,
    model: str | PathLike[str] | None = None,
    golden: str | PathLike[str] | None = None,
) -> Verified:
    """Run the embedded model on this machine and compare every module with what Transformers computed.

    Args:
        backend, dtype, device: where and in what to compute it, as for `from_pretrained`.
        model, golden: another checkpoint and a recording of it from Transformers, in place of the embedded ones.

    Raises:
        CheckpointError: the golden was recorded with other weights.
        FileNotFoundError: there is no such model or golden.
    """
    network = load(model or tiny_model_path())
    reference = Recording.load(golden or tiny_golden_path())
    if reference.metadata.get("weights_hash") not in (None, hash_weights(network.state_dict())):
        raise CheckpointError(
            f"golden is recorded with other weights than those of {model or tiny_model_path()}; expected the same: "
            "record it anew, with python -m tests.tools.record_embedded_golden"
        )
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        ours = record(network.to(backend, dtype, device), reference.inputs, Path(folder) / "ours.safetensors")
        there = json.loads(reference.metadata.get("versions", "{}"))
        return Verified(compare(reference, ours), library_versions(backend), there)


def verify_against_transformers(
    model: str | PathLike[str] | None = None,
    images: Sequence[Any] = (),
    texts: Sequence[str] = (),
    *,
    exif_transpose: bool = False,
    backend: str = "numpy",
    dtype: str = "float32",
    device: int | None = None,
    prefix: str | None = None,
    **hub: Unpack[HubOptions],
) -> Verified:
    """Run a checkpoint here and in Transformers (eager attention, float32) and compare module by module.

    Args:
        model: a folder or a hub id; None for the embedded model.
        images, texts: the inputs; by default two of the sample pictures and their captions.
        exif_transpose: turn pictures upright by their EXIF orientation.
        backend, dtype, device: where and in what to compute it here, as for `from_pretrained`.
        prefix: of several models in the checkpoint the one whose names begin with it. What Transformers does not read,
            another layout or a model inside a larger one, is written in its layout for it.

    Raises:
        ImportError: PyTorch or Transformers is not installed.
        ValueError, FileNotFoundError, CheckpointError: a checkpoint or inputs that do not fit.
    """
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise ImportError(
            f"comparing with Transformers needs PyTorch and Transformers: pip install 'aimv2-np[oracle]' ({error})"
        ) from error
    place = storage.fetch(model or tiny_model_path(), extra=PROCESSOR_FILES, **hub)
    if not images and not texts:
        kind = type(load(place, prefix=prefix)).__name__
        samples = sample_pictures()[-PICTURES:]
        images = [] if kind == "Aimv2TextModel" else [sample.picture for sample in samples]
        texts = [] if kind == "Aimv2VisionModel" else [sample.caption for sample in samples]
    network, inputs = load_with_inputs(place, images, texts, prefix=prefix, exif_transpose=exif_transpose)
    if isinstance(inputs.get("pixel_values"), list):
        raise ValueError(
            "images are of several sizes; expected one size, which is all that Transformers takes at a time"
        )
    theirs = getattr(transformers, type(network).__name__)
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if not _transformers_reads(place, prefix, network.config.model_type):
            place = Path(folder) / "model"
            network.save_pretrained(place)
        module = theirs.from_pretrained(place, attn_implementation="eager", dtype="float32").eval()
        other = record_torch(module, inputs, Path(folder) / "theirs.safetensors", paths_of(network))
        there = json.loads(other.metadata["versions"]) | {"transformers": transformers.__version__}
        ours = record(network.to(backend, dtype, device), inputs, Path(folder) / "ours.safetensors")
        return Verified(compare(ours, other, model=network), library_versions(backend), there)


def _transformers_reads(place: Path, prefix: str | None, kind: str) -> bool:
    """Whether the names and the configuration in the folder are those that Transformers expects of such a model."""
    tensors = storage.open_source(place, prefix).tensors
    plain = all(tensors.origin(name) == name and code != "I8" for name, code in tensors.dtypes.items())
    return plain and read_config(place).get("model_type") == kind


def paths_of(network: AnyModel) -> list[str]:
    """Globs of the paths that both Transformers' modules and ours compute."""
    outputs = ("last_hidden_state", "pooler_output", "logits_per_*", "*_embeds")
    towers = ("", "vision_model.", "text_model.")
    named = [path + name for path in towers for name in outputs]
    tables = [f"{path}.position_embedding" for path, _ in network.named_modules() if path.endswith("embeddings")]
    return [*(path for path, _ in network.named_modules() if path), *named, *tables]
