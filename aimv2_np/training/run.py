"""From pictures with captions to a saved model in one call: pre-training, contrastive training, locked-image tuning."""

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from aimv2_np.config import Aimv2Config
from aimv2_np.data import tiny_model_path
from aimv2_np.errors import a_type
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.processing import Aimv2Processor
from aimv2_np.training.augment import Augmentation
from aimv2_np.training.batches import Captioned
from aimv2_np.training.captioned import WORLD, open_captioned
from aimv2_np.training.contrastive import Contrastive
from aimv2_np.training.curves import save_curves
from aimv2_np.training.loop import train
from aimv2_np.training.optimizer import AdamW
from aimv2_np.training.pretraining import Pretrain
from aimv2_np.training.recipe import Recipe
from aimv2_np.training.schedule import Schedule
from aimv2_np.training.world import World

MODEL = "model"  # folder of the model in that of the training
STEPS = 1000
WARMUP = 0.01  # of the steps, as in AIMv2's pre-training
# Of locked-image tuning and contrastive training; AIMv2's own is unpublished, this is apple/ml-l3m's for CLIP. Times
# the rate, as PyTorch has it: a fifth of a weight in each step would leave none.
CONTRASTIVE_DECAY = 0.2


class RunOptions(TypedDict, total=False):
    """What the three functions share.

    Attributes:
        like: the folder or hub id of a checkpoint of both towers whose configuration, image processor and tokenizer are
            taken, and not its weights; the embedded model's, for pictures of 64 pixels, if it is not given.
        recipe: steps, rates and all else; `default_recipe`'s if it is not given.
        augmentation: of pictures; "auto": AIMv2's for pictures of the user's, none for the world, whose captions say
            what is left and how large it is.
        seed: of everything that is drawn at random.
        save_every: steps after which all of it is written.
        progress: called after each step with its numbers.
        backend, device: where it is computed, as for `train`.
    """

    like: str | os.PathLike[str] | None
    recipe: Recipe | None
    augmentation: Augmentation | Literal["auto"] | None
    seed: int
    save_every: int
    progress: Callable[[Mapping[str, float]], None] | None
    backend: str
    device: int | None


def default_recipe(objective: str, steps: int = STEPS) -> Recipe:
    """AIMv2's for "pretrain"; for "contrastive" and "lit" the nearest that Apple published."""
    schedule = Schedule(steps, peak=1e-3, warmup=round(WARMUP * steps))
    if objective == "pretrain":
        return Recipe(schedule, AdamW())
    return Recipe(schedule, AdamW(weight_decay=CONTRASTIVE_DECAY, fully_decoupled=False))


def run_pretraining(
    data: str | os.PathLike[str] | Captioned,
    folder: str | os.PathLike[str],
    *,
    prefix: bool = True,
    pixel_weight: float = 0.4,
    **options: Unpack[RunOptions],
) -> Aimv2VisionModel:
    """Pre-train a vision tower on pictures with captions; the text tower's configuration describes the decoder.

    Args:
        data: what `open_captioned` takes, or any pictures with captions.
        folder: where the training is kept, to go on from after an interruption; the model is saved in `model` in it.
        prefix, pixel_weight: as for `Pretrain`.
        options: see `RunOptions`.

    Raises what `train` and `open_captioned` raise.
    """
    recipe = options.get("recipe") or default_recipe("pretrain")
    config, processor, pictures, augmentation, seed = _begin(data, options)
    task = Pretrain(
        config.vision_config, config.text_config, pictures, processor, augmentation, prefix,
        pixel_weight=pixel_weight, seed=seed,
    )  # fmt: skip
    model = task.model(train(task, recipe, folder, **_how(options)))
    _save(model, Aimv2Processor(processor.image_processor), Path(folder))
    return model


def run_contrastive(
    data: str | os.PathLike[str] | Captioned,
    folder: str | os.PathLike[str],
    *,
    trunk: str | os.PathLike[str] | Aimv2VisionModel | None = None,
    locked: bool = False,
    **options: Unpack[RunOptions],
) -> Aimv2Model:
    """Train both towers to agree on pictures with captions.

    Args:
        data, folder: as for `run_pretraining`.
        trunk: a vision model, or the folder or hub id of one, whose trunk the training begins with.
        locked: keep that trunk as it is.
        options: see `RunOptions`.

    Raises what `train` and `open_captioned` raise.
    """
    recipe = options.get("recipe") or default_recipe("contrastive")
    config, processor, pictures, augmentation, seed = _begin(data, options)
    if trunk is not None and not isinstance(trunk, Aimv2VisionModel):
        trunk = Aimv2VisionModel.from_pretrained(trunk)
    if trunk is not None:
        config = replace(config, vision_config=replace(trunk.config, use_head=True))
    task = Contrastive(config, pictures, processor, augmentation, trunk, locked, seed)
    model = task.model(train(task, recipe, folder, **_how(options)))
    _save(model, processor, Path(folder))
    return model


def run_lit(
    data: str | os.PathLike[str] | Captioned,
    folder: str | os.PathLike[str],
    trunk: str | os.PathLike[str] | Aimv2VisionModel,
    **options: Unpack[RunOptions],
) -> Aimv2Model:
    """Locked-image tuning: train a text tower, a pooling head and projections on a vision trunk that stays as it is."""
    return run_contrastive(data, folder, trunk=trunk, locked=True, **options)


def _begin(
    data: str | os.PathLike[str] | Captioned, options: RunOptions
) -> tuple[Aimv2Config, Aimv2Processor, Captioned, Augmentation | None, int]:
    """Configuration, processor, pictures, augmentation and seed; TypeError for what is none, or for another option."""
    if unknown := options.keys() - RunOptions.__annotations__.keys():
        known = ", ".join(RunOptions.__annotations__)
        raise TypeError(f"there is no option {min(unknown)!r}; expected {known}; how many steps, the recipe says")
    like = options.get("like") or tiny_model_path()
    config, processor = Aimv2Config.from_pretrained(like), Aimv2Processor.from_pretrained(like)
    pictures = open_captioned(data) if isinstance(data, str | os.PathLike) else data
    if missing := [name for name in ("__len__", "__getitem__", "facts", "name") if not hasattr(pictures, name)]:
        raise TypeError(
            f"data is {a_type(data)}, without {', '.join(missing)}; expected a path, {WORLD!r}, or pictures with "
            "captions by number: len(data), data[0] of a picture and its caption, data.facts, data.name(0)"
        )
    if not isinstance(options.get("recipe"), Recipe | None):
        raise TypeError(f"recipe is {a_type(options['recipe'])}; expected a Recipe, or None")
    augmentation = options.get("augmentation", "auto")
    if isinstance(augmentation, str):
        augmentation = None if isinstance(pictures, World) else Augmentation()
    return config, processor, pictures, augmentation, options.get("seed", 0)


def _how(options: RunOptions) -> dict[str, Any]:
    return {name: options[name] for name in ("save_every", "progress", "backend", "device") if name in options}


def _save(model: Aimv2VisionModel | Aimv2Model, processor: Aimv2Processor, folder: Path) -> None:
    """The model with its processor, and the curves where matplotlib is installed."""
    model.save_pretrained(folder / MODEL, overwrite=True)
    processor.save_pretrained(folder / MODEL, overwrite=True)
    if find_spec("matplotlib"):
        save_curves(folder)
