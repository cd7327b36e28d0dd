"""`aimv2-np train`: pre-training, contrastive training and locked-image tuning."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from aimv2_np.cli import options, output

if TYPE_CHECKING:
    from aimv2_np.training import Recipe

OBJECTIVES = ("pretrain", "contrastive", "lit")
NO_LOSSES = ("step", "rate", "norm", "scale", "skipped", "seconds")


@click.command("train")
@click.argument("objective", type=click.Choice(OBJECTIVES))
@click.argument("data", metavar="DATA")
@click.argument("folder", metavar="FOLDER")
@click.option(
    "--like",
    metavar="FOLDER|ID",
    help="Sizes, image processor and tokenizer are this checkpoint's; not its weights.  [default: the embedded model]",
)
@click.option("--trunk", metavar="FOLDER|ID", help="A vision model to begin with; for lit the one that stays as it is.")
@click.option("--steps", type=click.IntRange(1), default=1000, show_default=True, help="How many steps.")
@click.option("--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Pictures in a step.")
@click.option(
    "--accumulate",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="In how many parts they go through, to save memory.",
)
@click.option("--rate", type=float, default=1e-3, show_default=True, help="The highest learning rate.")
@click.option("--warmup", type=click.IntRange(0), help="Steps in which it rises.  [default: a hundredth of all]")
@click.option("--decay", type=float, help="How much weights shrink.  [default: 1e-4; contrastive and lit 0.2]")
@click.option("--clip", type=float, default=1.0, show_default=True, help="The longest gradient; 0 for any length.")
@click.option(
    "--average",
    type=float,
    default=0.0,
    show_default=True,
    help="Keep a running mean of the weights that keeps so much each step, and save that.",
)
@click.option(
    "--recompute",
    type=click.IntRange(1),
    metavar="N",
    help="Keep what goes into every Nth layer alone, and compute the rest twice: less memory.",
)
@click.option(
    "--precision",
    type=click.Choice(["float16", "bfloat16"]),
    help="Compute with weights rounded to this; they themselves and sums stay in float32.  [default: float32]",
)
@click.option("--pixel-weight", type=float, help="pretrain: the weight of the pixels' loss.  [default: 0.4]")
@click.option("--no-prefix", is_flag=True, help="pretrain: let all patches see all; from captions alone.")
@click.option(
    "--augment/--no-augment",
    default=None,
    help="Show parts of pictures, and mirror them.  [default: of all but the world]",
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of everything that is drawn at random."
)
@click.option(
    "--save-every",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Steps after which everything is written.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.running_on
@options.debug
def train_command(
    objective: str,
    data: str,
    folder: str,
    trunk: str | None,
    pixel_weight: float | None,
    no_prefix: bool,
    augment: bool | None,
    as_json: bool,
    like: str | None,
    seed: int,
    save_every: int,
    where: dict[str, Any],
    **settings: Any,
) -> None:
    """Train on pictures with captions; a run that was cut off goes on with the same command, to the same bits.

    DATA is a folder of pictures with a text beside each (a.jpg, a.txt, or a.json with a field caption), a table (CSV,
    TSV or Parquet, which may hold the pictures) with the columns image and caption, a tar archive, a pattern of several
    tables or archives, or "world": coloured shapes. FOLDER keeps the training (training.safetensors, log.jsonl,
    curves.png) and, at its end, the model.

    \b
    aimv2-np train pretrain world run/pretrain --steps 2000
    aimv2-np train lit world run/lit --trunk run/pretrain/model
    aimv2-np classify star.png --labels "a star,a ring" --model run/lit/model
    """
    from aimv2_np import training

    _check_usage(objective, trunk, pixel_weight, no_prefix)
    recipe = _recipe(objective, **settings)
    given: dict[str, Any] = {"like": like, "recipe": recipe, "seed": seed, "save_every": save_every, **where}
    if augment is not None:
        given["augmentation"] = training.Augmentation() if augment else None
    if objective == "pretrain":
        given["prefix"] = not no_prefix
        given["pixel_weight"] = pixel_weight if pixel_weight is not None else 0.0 if no_prefix else 0.4
    else:
        given |= {"trunk": trunk, "locked": objective == "lit"}
    last: dict[str, float] = {}
    with output.telling("training") as show:
        run = training.run_pretraining if objective == "pretrain" else training.run_contrastive
        model = run(data, folder, progress=_talk(show, recipe.schedule.steps, last), **given)
    place = Path(folder) / training.MODEL
    if as_json:
        output.print_json({"model": str(place), "parameters": model.num_parameters(), **last})
    else:
        losses = ", ".join(f"{name} {number:.4g}" for name, number in _losses(last).items()) or "it had ended before"
        output.console().print(f"{recipe.schedule.steps:,} steps: {losses}", style="bold", highlight=False)
        output.console().print(f"the model is in {output.printable(str(place))}", highlight=False)


def _check_usage(objective: str, trunk: str | None, pixel_weight: float | None, no_prefix: bool) -> None:
    if objective == "lit" and trunk is None:
        raise click.UsageError("lit needs --trunk, the vision model that stays as it is")
    if objective == "pretrain" and trunk is not None:
        raise click.UsageError("--trunk is for contrastive and lit; pretrain begins with new weights")
    if objective != "pretrain" and (pixel_weight is not None or no_prefix):
        raise click.UsageError(f"--pixel-weight and --no-prefix are for pretrain, and not for {objective}")


def _recipe(
    objective: str,
    steps: int,
    batch_size: int,
    accumulate: int,
    rate: float,
    warmup: int | None,
    decay: float | None,
    clip: float,
    average: float,
    recompute: int | None,
    precision: str | None,
) -> "Recipe":
    from aimv2_np.training import default_recipe

    recipe = default_recipe(objective, steps)
    schedule = replace(recipe.schedule, peak=rate, **({} if warmup is None else {"warmup": warmup}))
    optimizer = recipe.optimizer if decay is None else replace(recipe.optimizer, weight_decay=decay)
    return replace(
        recipe, schedule=schedule, optimizer=optimizer, batch_size=batch_size, accumulate=accumulate, clip=clip or None,
        average=average, recompute=recompute, precision=precision,
    )  # fmt: skip


def _losses(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: number for name, number in numbers.items() if name not in NO_LOSSES}


def _talk(
    show: Callable[[str], None], steps: int, last: dict[str, float], clock: Callable[[], float] = monotonic
) -> Callable[[Mapping[str, float]], None]:
    """A function that shows the numbers of a step, and how long the rest will take; `last` gets the last step's."""
    began, first = clock(), 0

    def tell(numbers: Mapping[str, float]) -> None:
        nonlocal first
        last.clear()
        last.update(numbers)
        step = int(numbers["step"])
        first = first or step
        pace = (clock() - began) / (step - first + 1)
        losses = "  ".join(f"{name} {number:.4g}" for name, number in _losses(numbers).items())
        left = output.duration(pace * (steps - step))
        show(f"step {step:,} of {steps:,}  {losses}  rate {numbers['rate']:.2g}  {pace:.2g} s a step, {left} left")

    return tell
