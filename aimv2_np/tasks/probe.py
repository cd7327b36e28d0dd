"""A probe: what was learned on a frozen model's features, in one small file, and its use on pictures.

In safetensors, all float32; the names of an attentive probe are those of Apple's code:

    linear       weight (C, D), bias (C,)
    attentive    k.weight, v.weight (D, D), cls_token (1, 1, D), bn.running_mean, bn.running_var (D,),
                 linear.weight (C, D)

The metadata are strings: format, kind, classes (a JSON list), heads and eps of an attentive one; and of the features
that it was trained on: features, normalized, weights_hash, model, dtype, …, as `embed` writes them. How probes are
trained stands in `aimv2_np.training.probes`.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Unpack

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.parallel import pieces
from aimv2_np.errors import CheckpointError, quoted
from aimv2_np.models.packing import warn_untrained
from aimv2_np.network.attention import softmax
from aimv2_np.network.linear import Linear
from aimv2_np.network.probe import AttentiveProbe, BatchNorm
from aimv2_np.processing.loading import naming_image, numbered_image
from aimv2_np.storage import SafetensorsFile, save_safetensors
from aimv2_np.tasks.classify import Classification
from aimv2_np.tasks.embedding import KINDS as FEATURES
from aimv2_np.tasks.embedding import ImageEmbedder
from aimv2_np.tasks.embedding.embedder import EmbedderOptions
from aimv2_np.tasks.judged import Judged, checked_labels, class_numbers

FORMAT: Final = "aimv2_np.probe/1"
EPS: Final = 1e-6
NUMBERS: Final = 2**22  # of tokens that are classified at a time
# What a file of features says of itself that pictures have to have in common with it.
FACTS: Final = ("features", "normalized", "weights_hash", "model", "revision", "prefix", "final_norm", "max_patches",
                "exif_transpose", "dtype")  # fmt: skip


@dataclass(frozen=True, eq=False)
class Probe:
    """A classifier of features.

    Attributes:
        classes: its C classes, in the order of the logits.
        network: a linear map of vectors (B, D), or an attentive probe of tokens (B, N, D).
        facts: what is known of the features that it was trained on; see `FACTS`.
    """

    classes: tuple[str, ...]
    network: Linear | AttentiveProbe
    facts: Mapping[str, str]

    @property
    def kind(self) -> str:
        """ "linear" or "attentive"."""
        return "linear" if isinstance(self.network, Linear) else "attentive"

    @property
    def width(self) -> int:
        """D, how many numbers a vector has."""
        return int((self.network if isinstance(self.network, Linear) else self.network.linear).weight.shape[1])

    @own_arithmetic()
    def logits(self, features: Any) -> NDArray[np.float64]:
        """(M, C) of M vectors (M, D), or of the tokens of M pictures, (M, N, D) or (N, D) of each.

        Raises ValueError for features of another width, and for such that are not finite.
        """
        if not len(features):
            raise ValueError("features is empty; expected those of at least one picture")
        found = []
        for some in _bounded(features):
            batch = [self._checked(features[row], row) for row in range(some.start, some.stop)]
            if isinstance(self.network, Linear):
                found.append(self.network(np.stack(batch)))
            else:
                found.append(self.network(*padded(batch)))
        return np.concatenate(found).astype(np.float64)

    def judge(self, features: Any, labels: Sequence[str] | None = None) -> Judged:
        """What it makes of M pictures by their features, beside what they are, if that is given.

        Raises ValueError for what `logits` refuses, and for labels that are none of its classes.
        """
        shares = softmax(self.logits(features))
        known = None if labels is None else class_numbers(checked_labels(labels, len(shares), "labels"), self.classes)
        return Judged(self.classes, shares.argmax(axis=1), shares, known)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write it to a file; FileExistsError for one that is there, unless `overwrite`."""
        own = {} if isinstance(self.network, Linear) else {
            "heads": str(self.network.heads), "eps": repr(self.network.bn.eps)
        }  # fmt: skip
        metadata = {"format": FORMAT, "kind": self.kind, "classes": json.dumps(self.classes), **own, **self.facts}
        save_safetensors(path, self.network.state_dict(), metadata, overwrite)

    def _checked(self, vectors: Any, row: int) -> NDArray[np.float32]:
        array = np.asarray(vectors, np.float32)
        dimensions = 1 if isinstance(self.network, Linear) else 2
        if array.ndim != dimensions or not array.size or array.shape[-1] != self.width:
            raise ValueError(
                f"features of picture {row} are of shape {array.shape}; expected "
                f"{'a vector' if dimensions == 1 else 'tokens'} of {self.width} numbers, as this {self.kind} probe "
                f"was trained on ({self.facts.get('features') or 'features'} of "
                f"{quoted(self.facts.get('model', 'its model'))})"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"features of picture {row} hold NaN or infinity; embed the pictures again")
        return array


def _bounded(features: Any) -> list[slice]:
    """All pictures, as many at a time as have a bounded number of numbers, if all are of one size."""
    return pieces(len(features), max(1, NUMBERS // max(1, np.asarray(features[0]).size)))


def padded(tokens: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
    """Tokens (N, D) of each picture as one array (B, N, D), and where in (B, N) there are some; None: everywhere."""
    counts = np.array([len(some) for some in tokens])
    if (counts == counts[0]).all():
        return np.stack(tokens), None
    batch = np.zeros((len(tokens), counts.max(), tokens[0].shape[1]), np.float32)
    for row, some in zip(batch, tokens, strict=True):
        row[: len(some)] = some
    return batch, np.arange(counts.max()) < counts[:, None]


def load_probe(path: str | os.PathLike[str]) -> Probe:
    """The probe in a file that `Probe.save` has written.

    Raises FileNotFoundError when there is none, CheckpointError for one that is damaged, or no probe.
    """
    file = SafetensorsFile(path)
    facts = dict(file.metadata)
    if facts.pop("format", None) != FORMAT:
        raise CheckpointError(f"{file.path} is no probe; expected a file that `aimv2-np probe --save` has written")
    kind, classes = facts.pop("kind", ""), _classes(file.path, facts.pop("classes", ""))
    heads, eps = facts.pop("heads", ""), facts.pop("eps", "")
    last = {"linear": "weight", "attentive": "linear.weight"}.get(kind)
    if last is None or last not in file.entries or len(file.entries[last].shape) != 2:
        raise CheckpointError(f"{file.path}: kind is {quoted(kind)}; expected linear or attentive, and its weights")
    arrays = _arrays(file, _shapes(kind, len(classes), file.entries[last].shape[1]))
    if (facts.get("features") == "tokens") != (kind == "attentive") or facts.get("features", "") not in FEATURES:
        raise CheckpointError(
            f"{file.path}: features is {quoted(facts.get('features', ''))}; expected tokens of an attentive probe, and "
            "of a linear one another kind"
        )
    if kind == "linear":
        return Probe(classes, Linear(arrays["weight"], arrays["bias"]), facts)
    size = arrays["cls_token"].shape[-1]
    try:
        parts, smallest = int(heads), float(eps)
    except ValueError:
        parts, smallest = 0, 0.0
    if parts < 1 or size % parts or not 0 < smallest < 1 or (arrays["bn.running_var"] < 0).any():
        raise CheckpointError(
            f"{file.path}: heads is {quoted(heads)} and eps {quoted(eps)}; expected heads that divide {size}, an eps "
            "from 0 to 1 and variances that are not negative"
        )
    norm = BatchNorm(arrays["bn.running_mean"], arrays["bn.running_var"], smallest)
    maps = (Linear(arrays[f"{name}.weight"], None) for name in ("k", "v", "linear"))
    keys, values, linear = maps
    return Probe(classes, AttentiveProbe(norm, keys, values, arrays["cls_token"], linear, parts), facts)


def _classes(path: Path, told: str) -> tuple[str, ...]:
    try:
        classes = json.loads(told)
    except (ValueError, RecursionError):
        classes = None
    if (
        not isinstance(classes, list)
        or not all(isinstance(name, str) and name for name in classes)
        or not len(set(classes)) == len(classes) >= 2
    ):
        raise CheckpointError(f"{path}: classes is {quoted(told)}; expected a list of at least two different names")
    return tuple(classes)


def _shapes(kind: str, classes: int, size: int) -> dict[str, tuple[int, ...]]:
    if kind == "linear":
        return {"weight": (classes, size), "bias": (classes,)}
    return {
        "k.weight": (size, size), "v.weight": (size, size), "cls_token": (1, 1, size), "bn.running_mean": (size,),
        "bn.running_var": (size,), "linear.weight": (classes, size),
    }  # fmt: skip


def _arrays(file: SafetensorsFile, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.float32]]:
    """The tensors of a probe's file; CheckpointError unless they are these, and finite."""
    for name in dict.fromkeys((*shapes, *file.entries)):
        found = file.entries[name].shape if name in file.entries else None
        if found is None or found != shapes.get(name):
            raise CheckpointError(
                f"{file.path}: tensor {quoted(name)} is {(found and list(found)) or 'missing'}; expected "
                f"{list(shapes[name]) if name in shapes else 'none of that name'}"
            )
    arrays = {name: file.read(name) for name in shapes}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"{file.path}: tensor {quoted(name)} holds NaN or infinity; train the probe again")
    return arrays


def classify_by_probe(
    images: Any,
    probe: Probe,
    *,
    model: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
    **options: Unpack[EmbedderOptions],
) -> Classification:
    """Say which of a probe's classes each picture is of.

    Args:
        images: a picture or a list of B pictures, in the forms that `Aimv2ImageProcessor` takes.
        probe: as from `load_probe`.
        model: the folder or hub id of the model that the probe was trained on; None for the embedded tiny model.
        progress: called with the number of pictures that are done, now and then.
        options: batch_size, max_patches, backend, dtype, device, revision, …; see `ImageEmbedder`.

    Raises:
        ValueError: no pictures, or damaged ones; a model of another width, or with other weights.
        FileNotFoundError: a picture that is not there.
    """
    pictures = list(images) if isinstance(images, list | tuple) else [images]
    if not pictures:
        raise ValueError("images is empty; expected at least one picture")
    if (bound := probe.facts.get("max_patches", "")).isdecimal():
        options.setdefault("max_patches", int(bound))
    options.setdefault("exif_transpose", probe.facts.get("exif_transpose") == "true")
    options.setdefault("final_norm", probe.facts.get("final_norm") != "false")
    embedder = ImageEmbedder(model, probe.facts["features"], probe.facts.get("normalized") == "true", **options)
    check_same_model(probe, embedder)
    found, counts = [], []
    for some in pieces(len(pictures), embedder.batch_size):
        batch = []
        for number, picture in enumerate(pictures[some], some.start):
            with naming_image(numbered_image(number, picture)):
                batch.append(embedder.prepare(picture))
        counts += [rows * columns for rows, columns in map(embedder.grid, batch)]
        found.append(probe.logits(embedder.compute(batch)))
        if progress is not None:
            progress(min(some.stop, len(pictures)))
    warn_untrained(counts, embedder.opened.vision.config)
    scores = np.concatenate(found)
    return Classification(probe.classes, scores, softmax(scores))


def check_same_model(probe: Probe, embedder: ImageEmbedder) -> None:
    """ValueError unless the embedder's model is the one that the probe was trained on."""
    trained_on = quoted(probe.facts.get("model", "another model"))
    if embedder.size != probe.width:
        raise ValueError(
            f"{embedder.name} makes {probe.facts['features']} features of {embedder.size} numbers, and the probe is of "
            f"{probe.width}; pass the model that it was trained on, {trained_on}"
        )
    dtype = probe.facts.get("dtype", "float32")
    if probe.facts.get("weights_hash") != embedder.weights_hash(dtype):
        raise ValueError(
            f"the probe was trained on {trained_on}, and {embedder.name} has other weights; pass that model, or train "
            "a probe on this one"
        )
