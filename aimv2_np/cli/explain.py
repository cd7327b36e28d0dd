"""`aimv2-np explain`: what the model makes of one picture, as a drawing or as a page to point at."""

from pathlib import Path
from typing import Any

import click

from aimv2_np.cli import output
from aimv2_np.cli.options import Several, debug_option, place_options, revision_option


def _patch(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    try:
        row, column = (int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no patch; write its row and column: 3,5") from None
    return row, column


@click.command("explain", cls=Several)
@click.argument("image", metavar="IMAGE")
@click.option(
    "--output", "-o", "path", metavar="FILE", required=True, help=".png: one sheet; .html: a page to explore."
)
@click.option("--text", "texts", metavar="TEXT", multiple=True, help="Captions to compare with; one or several.")
@click.option("--patch", metavar="ROW,COLUMN", callback=_patch, help="Which patch, from 0,0.  [default: the middle]")
@click.option("--layer", type=int, default=-1, show_default=True, help="Which layer, from 0; -1 is the last.")
@click.option("--head", type=int, help="Which attention head, from 0.  [default: the mean of all]")
@click.option("--model", metavar="FOLDER|ID", help="A checkpoint with a vision tower.  [default: the embedded model]")
@revision_option
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@place_options
@debug_option
def explain_command(
    image: str,
    path: str,
    texts: tuple[str, ...],
    patch: tuple[int, int] | None,
    layer: int,
    head: int | None,
    model: str | None,
    revision: str | None,
    force: bool,
    where: dict[str, Any],
) -> None:
    """Show what the model makes of IMAGE: where patches look, what is alike, what fits a caption.

    \b
    aimv2-np explain cat.jpg --text "a cat" "a dog" -o cat.html \\
        --model apple/aimv2-large-patch14-224-lit
    """
    from aimv2_np.files.atomic import refuse_existing

    place = Path(path)
    if place.suffix.lower() not in WRITERS:
        raise ValueError(f"{path} ends in none of {', '.join(WRITERS)}; name a .png for a sheet, a .html for a page")
    try:
        refuse_existing(place, force)  # before anything is computed
    except FileExistsError as error:
        raise FileExistsError(f"{path} exists already; name another, or overwrite it with --force") from error
    name, folder = (model, model) if model else _embedded()
    with output.loading(f"loading {name}", loads=folder) as progress:
        network, processor = _load(folder, texts, revision, **where, progress=progress)
    with output.waiting("looking"):
        write = WRITERS[place.suffix.lower()]
        write(place, force, name, network, processor, image, texts, patch=patch, layer=layer, head=head)
    click.echo(output.printable(f"{path}: {output.bytes_of(place.stat().st_size)}"))


def _embedded() -> tuple[str, Any]:
    from aimv2_np.data import tiny_model_path

    path = tiny_model_path()
    output.note("the embedded model knows coloured shapes only; for photos, pass --model")
    return path.name, path


def _load(folder: Any, texts: tuple[str, ...], revision: str | None, **where: Any) -> tuple[Any, Any]:
    from aimv2_np import Aimv2Processor, load
    from aimv2_np.config import config_from_pretrained
    from aimv2_np.viz.towers import check_kind

    hub: dict[str, Any] = {"revision": revision} if revision else {}
    check_kind(config_from_pretrained(folder, **hub), folder, captions=bool(texts))  # before weights are fetched
    return load(folder, **where, **hub), Aimv2Processor.from_pretrained(folder, **hub)


def _write_png(
    place: Path, force: bool, name: str, model: Any, processor: Any, image: str, texts: Any, **at: Any
) -> None:
    from aimv2_np.viz import draw_explanation, save_png

    save_png(draw_explanation(model, processor, image, texts, **at), place, overwrite=force)


def _write_html(
    place: Path, force: bool, name: str, model: Any, processor: Any, image: str, texts: Any, **at: Any
) -> None:
    from aimv2_np.files.atomic import atomic_write
    from aimv2_np.viz import explanation_page

    made_by = f"{name}, {output.place_of(model)}, {model.dtype}"
    page = explanation_page(model, processor, image, texts, title=Path(image).name, made_by=made_by, **at)
    with atomic_write(place, force) as file:
        file.write(page.encode())


WRITERS = {".png": _write_png, ".html": _write_html, ".htm": _write_html}
