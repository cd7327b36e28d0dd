"""`aimv2-np duplicates`: pictures that are there twice, or nearly."""

from typing import TYPE_CHECKING

import click

from aimv2_np.cli import options, output

if TYPE_CHECKING:
    from aimv2_np.tasks import Hit


@click.command("duplicates")
@click.argument("features", metavar="FEATURES")
@click.option(
    "--least", type=options.FloatRange(0, 1, min_open=True), default=0.95, show_default=True,
    help="The cosine from which on two pictures are alike.",
)  # fmt: skip
@click.option("--sheet", metavar="FILE", help="Draw the groups, a contact sheet (PNG).")
@click.option("--root", metavar="FOLDER", default=".", help="With --sheet: what relative names are relative to.")
@click.option("--force", is_flag=True, help="Overwrite a sheet that is there.")
@click.option("--threads", type=click.IntRange(1), help="Threads that compare.  [default: one per core]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of lists of {row, name, score}.")
@options.debug
def duplicates_command(
    features: str, least: float, sheet: str | None, root: str, force: bool, threads: int | None, as_json: bool
) -> None:
    """Find groups of pictures in FEATURES, which `embed` wrote, that are alike.

    Pictures whose cosine is --least or more are in one group, and so are those that a chain of such pairs connects. All
    pairs are compared. The scores are cosines with the first picture of the group.

    \b
    aimv2-np duplicates features.safetensors --least 0.98
    """
    from aimv2_np.tasks import draw_groups, near_duplicates, open_features, save_sheet

    options.check_sheet(sheet, force)
    file = open_features(features)
    with output.progress("comparing") as advance:
        groups = near_duplicates(file, least, threads=threads, progress=advance)
    if sheet and groups:
        named = [(f"group {number}", hits) for number, hits in enumerate(groups, 1)]
        save_sheet(draw_groups(named, f"alike by {least} or more", root), sheet, overwrite=force)
    if as_json:
        output.print_json([[{"row": hit.row, "name": hit.name, "score": hit.score} for hit in each] for each in groups])
        return
    _print(groups, len(file), least)
    if sheet and groups:
        output.console().print(output.printable(f"contact sheet: {sheet}"), soft_wrap=True)


def _print(groups: "list[list[Hit]]", total: int, least: float) -> None:
    screen, alike = output.console(), sum(map(len, groups))
    facts = f"{alike - len(groups):,} of {output.plural(total, 'picture')} are like an earlier one"
    screen.print(f"{output.plural(len(groups), 'group')}, cosines of {least} or more: {facts}", style="bold")
    if not groups:
        return
    table = output.hits()
    for number, hits in enumerate(groups, 1):
        for place, hit in enumerate(hits):
            table.add_row("" if place else str(number), f"{hit.score:.3f}", output.printable(hit.name))
    screen.print(table)
