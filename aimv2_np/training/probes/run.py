"""From labelled pictures, or files of their features, to a probe and how well it does."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from aimv2_np.tasks.judged import Judged, class_numbers
from aimv2_np.tasks.labelled import Labelled, labelled_pair
from aimv2_np.tasks.probe import FACTS, Probe
from aimv2_np.training.probes.attentive import train_attentive_probe
from aimv2_np.training.probes.held_out import Tried, checked_classes
from aimv2_np.training.probes.linear import train_linear_probe

LINEAR, ATTENTIVE = "linear", "attentive"
KINDS: Final = (LINEAR, ATTENTIVE)


@dataclass(frozen=True, eq=False)
class ProbeRun:
    """A probe that was trained, and what it makes of the test pictures.

    Attributes:
        probe: trained on `train`.
        result: of `test`.
        tried: settings that were tried on training pictures that were held out.
        settings: those that were chosen, or given.
        train, test: the two sets, without their features.
    """

    probe: Probe
    result: Judged
    tried: tuple[Tried, ...]
    settings: dict[str, float]
    train: Labelled
    test: Labelled


def probe_folders(
    train: str | os.PathLike[str],
    test: str | os.PathLike[str],
    *,
    kind: str = LINEAR,
    features: str | None = None,
    training: dict[str, Any] | None = None,
    keep: str | os.PathLike[str] | None = None,
    on_training: Callable[[int, int], None] | None = None,
    **options: Any,
) -> ProbeRun:
    """Train a probe on two folders of pictures, or two files that `embed` has written.

    Args:
        train, test: as for `aimv2_np.tasks.knn_folders`. What is trained and chosen depends on `train` alone.
        kind: "linear" on one vector per picture, or "attentive" on its tokens.
        features: which vectors a linear probe is of; see `embed`.
        training: see `train_linear_probe` and `train_attentive_probe`: strength, seed, epochs, …
        keep: a folder for the features, as `save` of `knn_folders`.
        on_training: called with how much of the training is done, and of how much.
        options: see `embed`: model, batch_size, max_patches, backend, dtype, progress, …

    Raises what `knn_folders` and these raise, and ValueError for a class in `test` that `train` lacks.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r:.80}; expected one of {', '.join(KINDS)}")
    if kind == ATTENTIVE:
        if features not in (None, "tokens"):
            raise ValueError(f"features is {features!r:.80}; an attentive probe is of 'tokens': leave it out")
        features = "tokens"
    elif features == "tokens":
        raise ValueError("features is 'tokens'; a linear probe is of one vector per picture: expected another kind")
    with labelled_pair(train, test, keep, features=features, **options) as (known, asked):
        if known.metadata.get("normalized") != asked.metadata.get("normalized"):
            raise ValueError(f"of {train} and {test} one has vectors of length one; embed both with or without that")
        class_numbers(
            asked.labels, checked_classes(known.labels, len(known.labels))
        )  # before the training, which takes long
        facts = {name: known.metadata[name] for name in FACTS if name in known.metadata}
        how = {**(training or {}), "progress": on_training}
        if kind == LINEAR:
            linear = train_linear_probe(known.features, known.labels, **how)
            probe, tried = Probe(linear.classes, linear.network, facts), linear.tried
            settings = {"strength": linear.strength}
        else:
            fit = train_attentive_probe(known.features, known.labels, **how)
            probe, tried = Probe(fit.classes, fit.network, facts), fit.tried
            settings = dict(fit.tried[fit.chosen].settings)
        result = probe.judge(asked.features, asked.labels)
        sets = (replace(some, features=None) for some in (known, asked))  # the files may go
        return ProbeRun(probe, result, tried, settings, *sets)
