"""One pre-training and what its encoder knows afterwards: probes of its frozen features, losses of unseen pictures."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from aimv2_np.data.drawing import draw
from aimv2_np.data.world import SEEN, Scene, random_scene
from aimv2_np.network.pretraining import Pretraining
from aimv2_np.network.vision import VisionTower
from aimv2_np.shapes import NDArray
from aimv2_np.training import Recipe, Schedule, train
from aimv2_np.training.probes import train_attentive_probe, train_linear_probe
from tests.tools.ablations.variants import Variant, pictures, processor, task

STEPS, BATCH, RATE, WARMUP = 300, 24, 6e-3, 30
EXAMINED = 1000  # pictures a probe is trained on, and as many others that it is judged by
UNSEEN = 384  # pictures that losses are taken of
RATES, DECAYS, EPOCHS = (2e-3,), (0.05,), 30  # of Table A2's grid the highest rate: few steps
QUESTIONS = ("colour", "shape", "place")


@dataclass(frozen=True)
class Exam:
    """Pictures with answers, for training a probe or for judging it."""

    pixels: NDArray
    answers: tuple[str, ...]


def answer(question: str, scene: Scene) -> str:
    """The colour or the shape of a single thing; where the red thing lies, seen from the other one."""
    first = scene.things[0]
    return str({"colour": first.color, "shape": first.shape, "place": scene.relation}[question])


def asked(question: str, rng: np.random.Generator) -> Scene:
    """A scene that the question can be asked of: of places, a red thing and one that is not."""
    while True:
        scene = random_scene(rng, SEEN, 2 if question == "place" else 1)
        red = [thing.color == "red" for thing in scene.things]
        if question != "place" or sum(red) == 1:
            return scene.turned if red == [False, True] else scene


@cache
def exam(question: str, seed: int, count: int = EXAMINED) -> Exam:
    """Pictures that no pre-training has seen."""
    rng = np.random.default_rng([seed, 77, QUESTIONS.index(question)])
    scenes = [asked(question, rng) for _ in range(count)]
    pixels = processor().image_processor([draw(scene, rng) for scene in scenes])["pixel_values"]
    return Exam(pixels, tuple(answer(question, scene) for scene in scenes))


def probed(encoder: VisionTower, question: str, count: int = EXAMINED) -> dict[str, float]:
    """Accuracies of a linear probe on the mean token and of an attentive probe; every patch sees all, as in use."""
    learnt, judged = exam(question, 1, count), exam(question, 2, count)
    known, new = (encoder(some.pixels).last_hidden_state for some in (learnt, judged))
    linear = train_linear_probe(known.mean(axis=1), learnt.answers)
    attentive = train_attentive_probe(known, learnt.answers, rates=RATES, decays=DECAYS, epochs=EPOCHS)
    logits = {"linear": linear.network(new.mean(axis=1)), "attentive": attentive.network(new)}
    right = np.array([linear.classes.index(it) for it in judged.answers])
    return {f"{question}, {kind}": float((z.argmax(axis=1) == right).mean()) for kind, z in logits.items()}


def losses(variant: Variant, network: Pretraining, seed: int) -> dict[str, float]:
    """Of unseen pictures: of captions with every patch seeing all, of pixels beyond prefixes; those trained for."""
    pairs, prefixes = task(replace(variant, prefix=True), seed, pictures(1)).batch(range(UNSEEN))
    found = {}
    if variant.text_weight:
        found["caption loss"] = float(network(pairs.pixels, pairs.ids, pairs.keys, None).text)
    if variant.pixel_weight:
        found["pixel loss"] = float(network(pairs.pixels, pairs.ids, pairs.keys, prefixes).pixels)
    return found


def run(variant: Variant, seed: int, folder: Path, steps: int = STEPS, count: int = EXAMINED) -> Mapping[str, Any]:
    """All numbers of one variant and seed; the training is kept in a folder, and goes on from there."""
    started = time.perf_counter()
    own = task(variant, seed)
    network = own.network
    if variant.trained:
        recipe = Recipe(Schedule(steps, RATE, min(WARMUP, steps)), batch_size=BATCH)
        network = train(own, recipe, folder, save_every=steps)
    trained = time.perf_counter()
    found = losses(variant, network, seed) if variant.trained else {}
    for question in QUESTIONS:
        found |= probed(network.vision_model, question, count)
    return {**found, "training seconds": trained - started, "seconds": time.perf_counter() - started}
