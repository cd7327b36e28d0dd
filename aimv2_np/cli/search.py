"""`aimv2-np search`: the pictures that fit a text or a picture best."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from aimv2_np.cli import options, output

if TYPE_CHECKING:
    from aimv2_np.tasks import FeatureFile, Hit


@click.command("search")
@click.argument("features", metavar="FEATURES")
@click.argument("queries", metavar="TEXT|IMAGE...", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="How many pictures.")
@click.option("--plus", metavar="TEXT|IMAGE", multiple=True, help="Near this as well; more than once for several.")
@click.option("--minus", metavar="TEXT|IMAGE", multiple=True, help="And far from this.")
@click.option("--name", "names", metavar="PATTERN", multiple=True, help="Only pictures of such names: 'holiday/*'.")
@click.option("--least", type=options.FloatRange(-1, 1), default=-1.0, help="Only pictures with this score or more.")
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
    queries: tuple[str, ...],
    top: int,
    plus: tuple[str, ...],
    minus: tuple[str, ...],
    names: tuple[str, ...],
    least: float,
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

    The scores are cosines. All pictures are compared. Texts need projected features, of a two-tower model. Of several
    queries each has its own answer; --plus and --minus count for all of them.

    \b
    aimv2-np search features.safetensors "a red car" --minus snow
    """
    from aimv2_np.tasks import open_features, search_many

    options.check_sheet(sheet, force)
    if exif_transpose:  # what is not given is as in the file
        where["exif_transpose"] = True
    if prefix is not None:
        where["prefix"] = prefix
    if not final_norm:
        where["final_norm"] = False
    file = open_features(features)
    with output.waiting("searching"):
        vectors = _vectors(file, queries, plus, minus, text=text or None, model=model, **where)
        found = search_many(file, vectors, top, least=least, names=names)
        if sheet and any(found):
            _draw(queries, found, sheet, root, force)
    if as_json:
        output.print_json(_as_json(queries, found))
        return
    for query, hits in zip(queries, found, strict=True):
        _print(query if len(queries) > 1 else "", hits)
    if sheet and any(found):
        output.console().print(output.printable(f"contact sheet: {sheet}"), soft_wrap=True)


def _vectors(
    file: "FeatureFile", queries: Sequence[str], plus: Sequence[str], minus: Sequence[str], **how: Any
) -> list[Any]:
    from aimv2_np.tasks import combine_queries, embed_queries

    vectors = list(embed_queries(file, [*queries, *plus, *minus], **how))
    own, others = vectors[: len(queries)], vectors[len(queries) :]
    if not others:
        return own
    return [combine_queries([vector, *others[: len(plus)]], others[len(plus) :]) for vector in own]


def _draw(queries: Sequence[str], found: "list[list[Hit]]", sheet: str, root: str, force: bool) -> None:
    from aimv2_np.tasks import draw_groups, draw_sheet, save_sheet

    if len(queries) == 1:
        drawn = draw_sheet(found[0], queries[0], root)
    else:
        drawn = draw_groups(list(zip(queries, found, strict=True)), f"{len(queries)} queries", root)
    save_sheet(drawn, sheet, overwrite=force)


def _as_json(queries: Sequence[str], found: "list[list[Hit]]") -> Any:
    hits = [[{"row": hit.row, "name": hit.name, "score": hit.score} for hit in each] for each in found]
    if len(queries) == 1:
        return hits[0]
    return [{"query": query, "hits": each} for query, each in zip(queries, hits, strict=True)]


def _print(heading: str, hits: "list[Hit]") -> None:
    screen = output.console()
    if heading:
        screen.print(output.printable(heading), style="bold", soft_wrap=True)
    if not hits:
        screen.print("no picture has such a score", style="dim")
        return
    table = output.hits()
    for place, hit in enumerate(hits, 1):
        table.add_row(str(place), f"{hit.score:.3f}", output.printable(hit.name))
    screen.print(table)
