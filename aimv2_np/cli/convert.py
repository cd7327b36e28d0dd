"""`aimv2-np convert`: a checkpoint in another layout."""

from typing import Any

import click

from aimv2_np.cli import options, output


@click.command("convert")
@click.argument("source", metavar="FOLDER|ID")
@click.argument("target", metavar="TARGET", type=click.Path())
@click.option(
    "--layout", type=click.Choice(["transformers", "apple", "mlx", "flax", "timm"]), required=True,
    help="Whose names and shapes to write.",
)  # fmt: skip
@click.option(
    "--dtype", type=click.Choice(["same", "float32", "float16", "bfloat16", "int8"]), default="same", show_default=True,
    help="What to store; same: every tensor keeps its bytes; int8: matrices only.",
)  # fmt: skip
@options.revision
@options.prefix
@options.final_norm
@click.option("--force", "--overwrite", "overwrite", is_flag=True, help="Replace a checkpoint that is in TARGET.")
@click.option(
    "--loss/--no-loss", "with_loss", default=True, show_default=True,
    help="With another --dtype: run both models on sample inputs, and print how far they are apart.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.debug
def convert_command(
    source: str, target: str, layout: str, overwrite: bool, with_loss: bool, as_json: bool, **settings: Any
) -> None:
    """Write a checkpoint into the folder TARGET in another layout.

    The layout that it has now is told from its tensors. Tensors are converted one at a time, so a checkpoint may be
    larger than memory. What a larger model or a fine-tune has beside the AIMv2 is left out.
    """
    from aimv2_np.tasks import convert

    with output.waiting(f"converting {source}", loads=source):
        done = convert(source, target, layout, overwrite=overwrite, **settings)
    loss = None
    if with_loss and settings["dtype"] != "same":
        from aimv2_np.comparison.loss import measure_loss

        with output.waiting("computing with both", loads=source):
            loss = measure_loss(source, target, **{name: value for name, value in settings.items() if name != "dtype"})
    if as_json:
        output.print_json({
            "source": str(done.source), "folder": str(done.folder), "before": done.before, "after": done.after,
            "dtype": done.dtype, "tensors": done.tensors, "bytes": done.nbytes,
            "loss": loss and loss.to_dict(),
        })  # fmt: skip
        return
    click.echo(
        f"{output.printable(str(done.folder))}: {output.plural(done.tensors, 'tensor')} in the layout {done.after} "
        f"(was {done.before}), {done.dtype}, {output.bytes_of(done.nbytes)}"
    )
    if loss is not None:
        click.echo(output.printable(output.loss_of(loss)))
