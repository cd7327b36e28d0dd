"""`aimv2-np probe`: a classifier of your own pictures on a model that stays as it is."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aimv2_np.cli import options, output
from aimv2_np.cli.confusion import confusion_table, pictures_of

if TYPE_CHECKING:
    from rich.table import Table

    from aimv2_np.tasks import Calibration
    from aimv2_np.training.probes import ProbeRun


@click.command("probe")
@click.argument("train", metavar="TRAIN")
@click.argument("test", metavar="TEST")
@click.option(
    "--kind", type=click.Choice(["linear", "attentive"]), default="linear", show_default=True,
    help="Of one vector per picture, or of its patches, by attention that is learned.",
)  # fmt: skip
@options.vision_model
@click.option(
    "--features", type=click.Choice(["projected", "pooled", "cls", "mean"]),
    help="linear: which features.  [default: the first of projected, pooled and mean that the model has]",
)  # fmt: skip
@click.option(
    "--strength", type=float, metavar="NUMBER",
    help="linear: how strongly weights are held small.  [default: what does best on pictures held out of TRAIN]",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), help="attentive: how often each picture is seen.  [default: 100]")
@click.option(
    "--batch-size", type=click.IntRange(1), metavar="N",
    help="attentive: pictures in a step.  [default: an eighth of all, 16 to 1024]",
)  # fmt: skip
@click.option(
    "--heads", type=click.IntRange(1), metavar="N",
    help="attentive: learned queries.  [default: one for every 128 numbers of a patch, at least 4]",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is held out, the order, first weights.")
@click.option("--save", metavar="FILE", help="Write the probe here (.safetensors), for `classify --probe`.")
@click.option("--keep", metavar="FOLDER", help="Keep the features here; an interrupted run continues from them.")
@click.option("--plot", metavar="FILE", help="Draw the confusion matrix (PNG; needs the extra viz).")
@click.option("--force", is_flag=True, help="Overwrite a probe or a plot that is there.")
@options.max_patches
@options.orient
@options.loading
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.debug
def probe_command(
    train: str,
    test: str,
    kind: str,
    model: str | None,
    strength: float | None,
    epochs: int | None,
    batch_size: int | None,
    heads: int | None,
    seed: int,
    save: str | None,
    plot: str | None,
    force: bool,
    where: dict[str, Any],
    as_json: bool,
    **settings: Any,
) -> None:
    """Train a classifier on the features of TRAIN, and say how well it does on TEST.

    Both are folders with a folder for each class, or files of features that `embed` has written of such. The model
    stays as it is; settings are chosen by a fifth of TRAIN, never by TEST.

    \b
    aimv2-np probe photos/train photos/test --save pets.safetensors \\
        --model apple/aimv2-large-patch14-224
    aimv2-np classify new.jpg --probe pets.safetensors \\
        --model apple/aimv2-large-patch14-224
    """
    from aimv2_np.training.probes import probe_folders

    of_kind: dict[str, dict[str, Any]] = {
        "linear": {"strength": strength},
        "attentive": {"epochs": epochs, "batch_size": batch_size, "heads": heads},
    }
    _check_usage(kind, settings["features"], of_kind)
    training = {name: value for name, value in of_kind[kind].items() if value is not None}
    options.check_free(save, force)
    options.check_free(plot, force)
    if Path(train).is_dir() or Path(test).is_dir():
        options.or_embedded(model)  # for its note
    with output.progress("embedding and training") as advance:
        run = probe_folders(
            train, test, kind=kind, training={**training, "seed": seed}, on_training=advance, model=model, **where,
            progress=advance, **settings,
        )  # fmt: skip
    for name, reason in (*run.train.broken, *run.test.broken):
        output.left_out(name, reason)
    if save:
        with options.advising_force(save):
            run.probe.save(save, overwrite=force)
    if plot:
        from aimv2_np.viz import draw_confusion, save_png

        save_png(draw_confusion(run.result.classes, run.result.confusion), plot, overwrite=force)
    if as_json:
        output.print_json(_as_json(run))
    else:
        _print(run, save)


def _check_usage(kind: str, features: str | None, of_kind: dict[str, dict[str, Any]]) -> None:
    if kind == "attentive" and features is not None:
        raise click.UsageError("--features is for linear; an attentive probe is of all patches")
    for other, given in of_kind.items():
        for name, value in given.items():
            if other != kind and value is not None:
                raise click.UsageError(f"--{name.replace('_', '-')} is for {other}, and not for {kind}")


def _as_json(run: "ProbeRun") -> dict[str, Any]:
    result, table = run.result, run.result.calibration
    return {
        "accuracy": result.accuracy, "kind": run.probe.kind, "settings": run.settings,
        "train": len(run.train.names), "test": len(run.test.names), "features": run.train.facts[0],
        "classes": list(result.classes), "confusion": result.confusion.tolist(),
        "calibration": {
            "error": table.error, "edges": table.edges.tolist(), "counts": table.counts.tolist(),
            "confidence": table.confidence.tolist(), "right": table.right.tolist(),
        },
        "tried": [{**it.settings, "accuracy": it.accuracy, "loss": it.loss} for it in run.tried],
        "pictures": pictures_of(result, run.test, "probability"),
    }  # fmt: skip


def _print(run: "ProbeRun", save: str | None) -> None:
    screen = output.console()
    result, table = run.result, run.result.calibration
    right = int(result.confusion.trace())
    facts = f"{right:,} of {len(run.test.names):,} right, {run.probe.kind} probe of {run.train.facts[0]} features"
    screen.print(f"accuracy {output.percent(result.accuracy)}: {facts}", style="bold")
    screen.print(confusion_table(result))
    screen.print(f"expected calibration error {output.percent(table.error)}", style="bold")
    screen.print(_reliability(table))
    chosen = ", ".join(f"{name} {value:g}" for name, value in run.settings.items())
    how = f"chosen of {len(run.tried)} by pictures held out" if run.tried else "as given"
    trained = f"{output.plural(len(run.train.names), 'picture')} trained on; {chosen}, {how}"
    screen.print(trained, style="dim", soft_wrap=True)
    if save:
        screen.print(f"the probe is in {output.printable(save)}", style="dim", soft_wrap=True)


def _reliability(table: "Calibration") -> "Table":
    """Of pictures that are so sure: how many, how sure in the mean, and how many of them are right."""
    rows = output.figures("probability", "pictures", "mean", "right")
    for i, count in enumerate(table.counts):
        if count:
            between = f"{100 * table.edges[i]:.1f} to {output.percent(table.edges[i + 1])}"
            shares = (output.percent(table.confidence[i]), output.percent(table.right[i]))
            rows.add_row(between, f"{count:,}", *shares)
    return rows
