"""`aimv2-np knn`: what a picture is, by the pictures most like it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aimv2_np.cli import options, output
from aimv2_np.cli.confusion import confusion_table, pictures_of

if TYPE_CHECKING:
    from aimv2_np.tasks import KnnResult, Labelled


@click.command("knn")
@click.argument("train", metavar="TRAIN")
@click.argument("test", metavar="TEST")
@click.option("-k", "k", type=click.IntRange(1), help="Neighbours.  [default: 20, or all of fewer]")
@click.option(
    "--weights", type=click.Choice(["softmax", "distance", "uniform"]), default="softmax", show_default=True,
    help="How neighbours count: e^(cosine/0.07), 1/distance, or all alike.",
)  # fmt: skip
@options.vision_model
@click.option(
    "--features", type=click.Choice(["projected", "pooled", "cls", "mean"]),
    help="Which features.  [default: the first of projected, pooled and mean that the model has]",
)  # fmt: skip
@click.option("--save", metavar="FOLDER", help="Keep the features here; an interrupted run continues from them.")
@click.option("--plot", metavar="FILE", help="Draw the confusion matrix (PNG; needs the extra viz).")
@click.option("--force", is_flag=True, help="Overwrite a plot that is there.")
@options.max_patches
@options.orient
@options.loading
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.debug
def knn_command(
    train: str,
    test: str,
    model: str | None,
    plot: str | None,
    force: bool,
    where: dict[str, Any],
    as_json: bool,
    **settings: Any,
) -> None:
    """Classify the pictures in TEST by their nearest neighbours in TRAIN.

    Both are folders with a folder for each class, or files of features that `embed` has written of such. Nothing is
    trained: the accuracy measures the features.

    \b
    aimv2-np knn photos/train photos/test --save features \\
        --model apple/aimv2-large-patch14-224
    """
    from aimv2_np.tasks import knn_folders

    options.check_free(plot, force)
    if Path(train).is_dir() or Path(test).is_dir():
        options.or_embedded(model)  # for its note
    with output.progress("embedding") as advance:
        result, known, asked = knn_folders(train, test, model=model, **where, progress=advance, **settings)
    for name, reason in (*known.broken, *asked.broken):
        output.left_out(name, reason)
    if plot:
        from aimv2_np.viz import draw_confusion, save_png

        save_png(draw_confusion(result.classes, result.confusion), plot, overwrite=force)
    if as_json:
        output.print_json(_as_json(result, known, asked))
    else:
        _print(result, known, asked, settings["weights"])


def _as_json(result: "KnnResult", known: "Labelled", asked: "Labelled") -> dict[str, Any]:
    return {
        "accuracy": result.accuracy, "k": result.k, "train": len(known.names), "test": len(asked.names),
        "features": known.facts[0], "classes": list(result.classes), "confusion": result.confusion.tolist(),
        "pictures": pictures_of(result, asked),
    }  # fmt: skip


def _print(result: "KnnResult", known: "Labelled", asked: "Labelled", weights: str) -> None:
    screen = output.console()
    right = int(result.confusion.trace())
    facts = f"{right:,} of {len(asked.names):,} right, {known.facts[0]} features"
    screen.print(f"accuracy {output.percent(result.accuracy)}: {facts}", style="bold")
    screen.print(confusion_table(result))
    asked_of = f"{result.k} nearest of {output.plural(len(known.names), 'picture')}, weights {weights}"
    screen.print(asked_of, style="dim")
