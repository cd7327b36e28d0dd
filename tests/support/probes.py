"""Labelled features without pictures, and probes of them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aimv2_np.network.linear import Linear
from aimv2_np.network.probe import AttentiveProbe, BatchNorm
from aimv2_np.tasks import Probe
from aimv2_np.tasks.embedding import feature_file

CLASSES = ("cat", "dog", "fox")


def clusters(count: int = 30, size: int = 6, seed: int = 0, apart: float = 2.0) -> tuple[NDArray, list[str]]:
    """(count, size) float32 vectors around a mean for each class, and their classes in turn."""
    rng = np.random.default_rng(seed)
    means = apart * np.random.default_rng(1).standard_normal((len(CLASSES), size))
    own = np.arange(count) % len(CLASSES)
    return (means[own] + rng.standard_normal((count, size))).astype(np.float32), [CLASSES[i] for i in own]


def tokens(count: int = 30, number: int = 5, size: int = 8, seed: int = 0) -> tuple[NDArray, list[str]]:
    """(count, number, size) tokens, of which one says the class, and their classes."""
    rng = np.random.default_rng(seed)
    vectors, labels = clusters(count, size, seed)
    x = rng.standard_normal((count, number, size)).astype(np.float32)
    x[np.arange(count), rng.integers(0, number, count)] = vectors
    return x, labels


def linear_probe(size: int = 6, **facts: str) -> Probe:
    rng = np.random.default_rng(0)
    network = Linear(*(rng.standard_normal(shape).astype(np.float32) for shape in ((3, size), (3,))))
    return Probe(CLASSES, network, {"features": "pooled", "model": "a model", **facts})


def attentive_probe(size: int = 8, heads: int = 2) -> Probe:
    rng = np.random.default_rng(0)
    k, v, last = (
        Linear(rng.standard_normal((rows, size)).astype(np.float32), None) for rows in (size, size, len(CLASSES))
    )
    norm = BatchNorm(np.zeros(size, np.float32), np.ones(size, np.float32), 1e-6)
    query = rng.standard_normal((1, 1, size)).astype(np.float32)
    return Probe(CLASSES, AttentiveProbe(norm, k, v, query, last, heads), {"features": "tokens"})


def write_labelled(path: Path, features: NDArray, labels: list[str], kind: str = "pooled", **metadata: str) -> Path:
    """A file of features of pictures in folders by class, as `embed` writes it."""
    names = [f"{label}/{row}.png" for row, label in enumerate(labels)]
    facts = {"format": feature_file.FORMAT, "features": kind, "normalized": "false", "weights_hash": "x", **metadata}
    arrays = {"features": np.asarray(features, np.float32)}
    if kind == "tokens":
        arrays["grid"] = np.tile(np.array([1, features.shape[1]], np.int32), (len(features), 1))
    with path.open("wb") as file:
        feature_file.write_features(file, path.suffix, arrays, names, [], facts)
    return path
