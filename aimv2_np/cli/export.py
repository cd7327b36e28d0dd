"""`aimv2-np export`: a model as an ONNX graph."""

from typing import Any

import click

from aimv2_np.cli import options, output


def _size(_: click.Context, option: click.Parameter, value: str | None) -> int | tuple[int, int] | None:
    if value is None:
        return None
    sides = value.lower().split("x")
    if not all(side.isdecimal() and int(side) for side in sides) or len(sides) > 2:
        raise click.BadParameter(f"{value!r}; expected pixels, 224, or height and width, 224x448")
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


@click.command("export")
@click.argument("model", metavar="FOLDER|ID")
@click.option(
    "-o", "--output", "path", metavar="FILE", type=click.Path(), required=True, help="The .onnx file to write."
)
@click.option(
    "--tower", type=click.Choice(["vision", "text", "both"]), help="Of a model with two.  [default: all it has]"
)
@click.option(
    "--size", metavar="N|HxW", callback=_size,
    help="Pixels of the images; learned positions are stretched.  [default: the configuration's]",
)  # fmt: skip
@click.option("--dynamic", is_flag=True, help="Images of any size, of a native model.")
@click.option(
    "--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), default="float32", show_default=True,
    help="Weights and pixels.",
)  # fmt: skip
@click.option("--int8", is_flag=True, help="Products with weights in int8, by ONNX Runtime's quantiser.")
@click.option(
    "--loss/--no-loss", "with_loss", default=True, show_default=True,
    help="With --int8: run the model and the graph on sample inputs, and print how far they are apart.",
)  # fmt: skip
@click.option("--outputs", metavar="GLOB", multiple=True, help="Modules whose outputs are outputs of the graph too.")
@click.option(
    "--preprocess", is_flag=True,
    help="Images of whole numbers in, (batch, rows, columns, 3) uint8; the graph resizes, crops and normalises them.",
)  # fmt: skip
@options.revision
@options.prefix
@options.final_norm
@click.option("--force", "--overwrite", "overwrite", is_flag=True, help="Replace FILE.")
@options.debug
def export_command(
    model: str, path: str, overwrite: bool, revision: str | None, prefix: str | None, final_norm: bool,
    preprocess: bool, with_loss: bool, **how: Any,
) -> None:  # fmt: skip
    """Write a model as an ONNX graph, for ONNX Runtime, OpenVINO and others; without PyTorch.

    Every module's output is a value of the graph under the module's path, so that what another program computes is
    compared without a table: docs/export.md.
    """
    import aimv2_np
    from aimv2_np.export import to_onnx

    options.check_free(path, overwrite)
    with output.waiting(f"exporting {model}", loads=model):
        loaded = aimv2_np.load(model, revision=revision, prefix=prefix, final_norm=final_norm)
        processor = aimv2_np.Aimv2ImageProcessor.from_pretrained(model, revision=revision) if preprocess else None
        written = to_onnx(loaded, path, preprocess=processor, overwrite=overwrite, **how)
    beside = written.with_name(f"{written.name}.data")
    nbytes = written.stat().st_size + (beside.stat().st_size if beside.exists() else 0)
    click.echo(f"{output.printable(str(written))}: {output.bytes_of(nbytes)}")
    if how["int8"] and with_loss:
        from aimv2_np.comparison.loss import measure_graph_loss

        with output.waiting("computing with both", loads=model):
            loss = measure_graph_loss(loaded, written)
        click.echo(output.printable(output.loss_of(loss)))
