"""`aimv2-np explain`: what the model makes of one picture, as a drawing or as a page to point at."""

from pathlib import Path
from typing import Any

import click

from aimv2_np.cli import options, output

SUFFIXES = (".png", ".html", ".htm")


def _patch(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    try:
        row, column = (int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no patch; expected its row and column, like 3,5") from None
    return row, column


@click.command("explain", cls=options.Several)
@click.argument("image", metavar="IMAGE")
@click.option(
    "--output", "-o", "path", metavar="FILE", required=True, help=".png: one sheet; .html: a page to explore."
)
@click.option("--text", "captions", metavar="TEXT", multiple=True, help="Captions to compare with; one or several.")
@click.option("--patch", metavar="ROW,COLUMN", callback=_patch, help="Which patch, from 0,0.  [default: the middle]")
@click.option("--layer", type=int, default=-1, show_default=True, help="Which layer, from 0; -1 is the last.")
@click.option("--head", type=int, help="Which attention head, from 0.  [default: the mean of all]")
@click.option(
    "--computation", metavar="LAYER", type=int, multiple=True,
    help="Of the page: layers to show the computation behind attention of, most wanted first.  [default: what fits]",
)  # fmt: skip
@click.option("--model", metavar="FOLDER|ID", help="A checkpoint with a vision tower.  [default: the embedded model]")
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@options.orient
@options.loading
@options.debug
def explain_command(
    image: str,
    path: str,
    model: str | None,
    force: bool,
    exif_transpose: bool,
    computation: tuple[int, ...],
    where: dict[str, Any],
    **arguments: Any,
) -> None:
    """Show what the model makes of IMAGE: where patches look, what is alike, what fits a caption.

    \b
    aimv2-np explain cat.jpg --text "a cat" "a dog" -o cat.html \\
        --model apple/aimv2-large-patch14-224-lit
    """
    from aimv2_np.files.atomic import atomic_write
    from aimv2_np.viz import draw_explanation, explanation_page, save_png
    from aimv2_np.viz.towers import load_explained

    place = Path(path)
    if place.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} ends in none of {', '.join(SUFFIXES)}; name a .png for a sheet, a .html for a page")
    if computation and place.suffix.lower() == ".png":
        raise click.UsageError("--computation is about the page; name a .html, or leave it out")
    options.check_free(path, force)
    name, folder = options.or_embedded(model)
    with output.progress(f"loading {name}", loads=folder) as progress:
        network, processor = load_explained(folder, captions=bool(arguments["captions"]), **where, progress=progress)
    processor = processor.upright(exif_transpose)
    with output.waiting("looking"):
        if place.suffix.lower() == ".png":
            save_png(draw_explanation(network, processor, image, **arguments), place, overwrite=force)
        else:
            made_by = f"{name}, {output.place_of(network)}, {network.dtype}"
            arguments |= {"title": Path(image).name, "made_by": made_by, "computation": computation or None}
            page = explanation_page(network, processor, image, **arguments)
            with atomic_write(place, force) as file:
                file.write(page.encode())
    click.echo(output.printable(f"{path}: {output.bytes_of(place.stat().st_size)}"))
