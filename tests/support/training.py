"""A task so small that a step takes milliseconds: pre-training on pictures of 12 × 12 pixels, captions of a word."""

from typing import Any

import numpy as np
from PIL import Image

from aimv2_np import Aimv2Processor
from aimv2_np.data import tiny_model_path
from aimv2_np.training import Pretrain, Recipe, Schedule
from aimv2_np.training.state import State
from tests.support.models import text_config, vision_config

WORDS = ("red", "green", "blue", "a star")


class Squares:
    """Pictures in one colour with its name."""

    def __init__(self, number: int = 10, side: int = 12) -> None:
        self.number, self.side = number, side

    def __len__(self) -> int:
        return self.number

    @property
    def facts(self) -> dict[str, Any]:
        return {"squares": self.number}

    def name(self, number: int) -> str:
        return f"square {number}"

    def __getitem__(self, number: int) -> tuple[Image.Image, str]:
        rng = np.random.default_rng(number)
        noise = rng.integers(0, 200, (self.side, self.side, 3), dtype=np.uint8)
        noise[:, :, number % 3] = 255
        return Image.fromarray(noise), WORDS[number % 3]


def processor(side: int = 12) -> Aimv2Processor:
    """The embedded model's, for pictures of another size."""
    whole = Aimv2Processor.from_pretrained(tiny_model_path())
    images = whole.image_processor._with(
        {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    )
    return Aimv2Processor(images, whole.tokenizer)


def task(**changes: Any) -> Pretrain:
    """The task."""
    tokenizer = processor().tokenizer
    text = text_config(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    return Pretrain(vision_config(), text, changes.pop("pictures", Squares()), processor(), **changes)


def recipe(steps: int = 6, **changes: Any) -> Recipe:
    """A few steps of four pictures."""
    return Recipe(**{"schedule": Schedule(steps, 1e-2, min(2, steps)), "batch_size": 4, **changes})


def begun(made: Any, averaged: bool = False, poison: str | None = None) -> tuple[State, Any]:
    """A task before its first step, and its network; of the weight `poison` the first number is NaN."""
    weights = made.network.state_dict()
    state = State.new(weights, [path for path in weights if made.trained(path)], averaged)
    if poison:
        state.weights[poison].flat[0] = np.nan
    return state, made.network.map(lambda path, _: state.weights[path])
