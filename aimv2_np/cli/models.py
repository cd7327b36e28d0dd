"""`aimv2-np models`: the checkpoints that Apple has released."""

from dataclasses import asdict

import click

from aimv2_np.cli import options, output


@click.command("models")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with timm's ids and the revisions.")
@options.debug
def models_command(as_json: bool) -> None:
    """List the released checkpoints.

    Each id can be given to the other subcommands. --json adds what does not fit into a line: timm's id of the same
    weights and the revision of the original layouts.
    """
    from aimv2_np.storage.released import LICENCE, RELEASED

    if as_json:
        output.print_json([{**asdict(released), "two_towers": released.two_towers} for released in RELEASED])
        return
    table = output.figures("id", "pixels", "parameters", "float32", "top-1")
    for released in RELEASED:
        numbers = released.parameters
        size = (str(released.image_size or "any"), f"{numbers / 1e6:,.0f} M", output.bytes_of(4 * numbers))
        top1 = "" if released.top1 is None else f"{released.top1:.1f}" + ("*" if released.two_towers else " ")
        table.add_row(released.id, *size, top1)
    screen = output.console()
    screen.print(table)
    screen.print()
    screen.print(
        f"Licence of the weights: {LICENCE}. top-1: percent on ImageNet-1k, as Apple gives it, with the trunk frozen "
        "(* zero-shot, with its text tower)."
    )
