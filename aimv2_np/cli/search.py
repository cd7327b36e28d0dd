"""`aimv2-np search`: the pictures that fit a text or a picture best."""

from typing import Any

import click

from aimv2_np.cli import options, output


@click.command("search")
@click.argument("features", metavar="FEATURES")
@click.argument("query", metavar="TEXT|IMAGE")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="How many pictures.")
@click.option("--sheet", metavar="FILE", help="Draw what is found, a contact sheet (PNG).")
@click.option("--root", metavar="FOLDER", default=".", help="With --sheet: what relative names are relative to.")
@click.option("--text", is_flag=True, help="Take the query as a text, whatever files there are.")
@click.option("--model", metavar="FOLDER|ID", help="Where the model is.  [default: where it was for embed]")
@click.option("--force", is_flag=True, help="Overwrite a sheet that is there.")
@options.orient
@options.placement
@options.prefix
@options.final_norm
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of {row, name, score}.")
@options.debug
def search_command(
    features: str,
    query: str,
    top: int,
    sheet: str | None,
    root: str,
    text: bool,
    model: str | None,
    force: bool,
    exif_transpose: bool,
    where: dict[str, Any],
    as_json: bool,
    prefix: str | None,
    final_norm: bool,
) -> None:
    """Find the pictures in FEATURES, which `embed` wrote, that are nearest to a text or a picture.

    The scores are cosines. All pictures are compared. Texts need projected features, of a two-tower model.
    """
    from aimv2_np.tasks import draw_sheet, embed_query, open_features, save_sheet, search

    options.check_free(sheet, force)
    if exif_transpose:  # what is not given is as in the file
        where["exif_transpose"] = True
    if prefix is not None:
        where["prefix"] = prefix
    if not final_norm:
        where["final_norm"] = False
    file = open_features(features)
    with output.waiting("searching"):
        vector = embed_query(file, query, text=text or None, model=model, **where)
        hits = search(file, vector, top)
        if sheet:
            save_sheet(draw_sheet(hits, query, root), sheet, overwrite=force)
    if as_json:
        output.print_json([{"row": hit.row, "name": hit.name, "score": hit.score} for hit in hits])
        return
    screen = output.console()
    table = output.table()
    table.add_column(justify="right", no_wrap=True, style="cyan")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    for place, hit in enumerate(hits, 1):
        table.add_row(str(place), f"{hit.score:.3f}", output.printable(hit.name))
    screen.print(table)
    if sheet:
        screen.print(output.printable(f"contact sheet: {sheet}"), soft_wrap=True)
