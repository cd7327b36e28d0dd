"""`aimv2-np classify`: pictures against labels of your choice."""

import time
from typing import TYPE_CHECKING, Any

import click

from aimv2_np.cli import options, output

if TYPE_CHECKING:
    from aimv2_np.tasks import Classification

BAR, SHOWN = 24, 10  # width of a bar; most labels per picture in the table


@click.command("classify")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--labels", metavar="A,B,...", multiple=True, help='Labels, separated by commas: "a cat,a dog".')
@click.option("--label", metavar="TEXT", multiple=True, help="One label, which may hold commas; repeat for more.")
@click.option("--model", metavar="FOLDER|ID", help="A two-tower checkpoint.  [default: the embedded tiny model]")
@click.option(
    "--template", "templates", multiple=True,
    help='Text around each label: "a photo of a {}"; repeat to take the mean of several.  [default: {}]',
)  # fmt: skip
@click.option("--top", type=click.IntRange(1), metavar="K", help="Only the K most probable labels of each picture.")
@click.option(
    "--probe", metavar="FILE", help="Classes that `probe --save` has learned, of the same model, in place of labels."
)
@options.max_patches
@options.orient
@options.placement
@options.revision
@options.prefix
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of {image, probabilities: {label: p}, top}.")
@options.debug
def classify_command(
    images: tuple[str, ...],
    labels: tuple[str, ...],
    label: tuple[str, ...],
    model: str | None,
    templates: tuple[str, ...],
    top: int | None,
    probe: str | None,
    max_patches: int | None,
    exif_transpose: bool,
    where: dict[str, Any],
    as_json: bool,
    **which: Any,
) -> None:
    """Say which label fits each IMAGE best.

    The labels, or the classes of a probe, share a probability of 1, also when none of them fits.
    """
    began = time.perf_counter()
    if probe is not None:
        if labels or label or templates:
            raise click.UsageError("--probe has its own classes; leave out --labels, --label and --template")
        # None lets the probe say: as its features were made.
        given = {"max_patches": max_patches, "exif_transpose": exif_transpose or None}
        chosen_here = {name: value for name, value in (given | which).items() if value is not None}
        name, result = _by_probe(images, probe, model, where | chosen_here)
        ran = f"{name}, {where['backend']}, {where['dtype']}: ran in {1e3 * (time.perf_counter() - began):.0f} ms"
        _tell(images, result, top, ran, as_json)
        return
    from aimv2_np.tasks import check_templates, classify, load_classifier, make_prompts

    wanted = [part.strip() for several in labels for part in several.split(",") if part.strip()] + list(label)
    chosen = check_templates(templates=templates or ("{}",))
    for template in chosen:
        make_prompts(wanted, template)  # complains before anything is loaded or fetched
    name, place = options.or_embedded(model)
    with output.progress(f"loading {name}", loads=place) as progress:
        network, processor = load_classifier(place, **where, **which, progress=progress)
    processor = processor.upright(exif_transpose)
    loaded = time.perf_counter()
    with output.progress("classifying") as advance:
        result = classify(
            list(images), wanted, model=network, processor=processor, templates=chosen, max_patches=max_patches,
            progress=lambda done: advance(done, len(images)),
        )  # fmt: skip
    done = time.perf_counter()
    times = f"loaded in {1e3 * (loaded - began):.0f} ms, ran in {1e3 * (done - loaded):.0f} ms"
    _tell(images, result, top, f"{name}, {output.place_of(network)}, {network.dtype}: {times}", as_json)


def _by_probe(
    images: tuple[str, ...], path: str, model: str | None, settings: dict[str, Any]
) -> tuple[str, "Classification"]:
    """What the model is called, and what a probe on its features makes of the pictures."""
    from aimv2_np.tasks import classify_by_probe, load_probe

    probe = load_probe(path)
    name, _ = options.or_embedded(model)
    with output.progress("classifying") as advance:
        return name, classify_by_probe(
            list(images), probe, model=model, progress=lambda done: advance(done, len(images)), **settings
        )


def _tell(images: tuple[str, ...], result: "Classification", top: int | None, ran: str, as_json: bool) -> None:
    if as_json:
        output.print_json(_as_json(images, result, top or len(result.labels)))
    else:
        _print(images, result, top, ran)


def _as_json(images: tuple[str, ...], result: "Classification", top: int) -> list[dict[str, Any]]:
    """The probabilities of all labels in their order, or those of the best, best first."""
    every = [tuple(zip(result.labels, map(float, row), strict=True)) for row in result.probabilities]
    chosen = result.top_k(top) if top < len(result.labels) else every
    return [
        {"image": image, "probabilities": dict(pairs), "top": best}
        for image, pairs, best in zip(images, chosen, result.top, strict=True)
    ]


def _print(images: tuple[str, ...], result: "Classification", top: int | None, ran: str) -> None:
    screen = output.console()
    for image, pairs in zip(images, result.top_k(top or SHOWN), strict=True):
        table = output.table()
        table.add_column(overflow="fold", ratio=1)
        table.add_column(width=BAR, no_wrap=True, style="green")
        table.add_column(justify="right", no_wrap=True)
        for i, (label, share) in enumerate(pairs):
            line = f"  {output.printable(label)}", output.bar(share, BAR, screen.encoding), output.percent(share)
            table.add_row(*line, style="bold" if i == 0 else None)
        screen.print(output.printable(image), style="cyan", soft_wrap=True)
        screen.print(table)
        if top is None and len(result.labels) > SHOWN:
            screen.print(f"  and {len(result.labels) - SHOWN} more labels (--json prints all)", style="dim")
    screen.print(output.printable(ran), style="dim", soft_wrap=True)
