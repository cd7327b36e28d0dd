"""`aimv2-np record`: every module's output into one file."""

from pathlib import Path
from typing import Any

import click

from aimv2_np.cli import options, output


@click.command("record", cls=options.Several)
@click.argument("model", metavar="FOLDER|ID")
@click.option("--images", metavar="FILE...", multiple=True, help="Pictures.")
@click.option("--texts", metavar="TEXT...", multiple=True, help="Texts.")
@options.max_patches
@options.orient
@click.option("--output", "-o", "path", metavar="FILE", required=True, help="The safetensors file to write.")
@click.option(
    "--include", metavar="GLOB...", multiple=True, help='Only these modules: "*.layers.*.ffn".  [default: all]'
)
@click.option("--inner", is_flag=True, help="Also q, k, v, scores and probs inside attention.")
@click.option(
    "--gradients", is_flag=True,
    help="Also the gradient by each of these, pixels and weights: of the contrastive loss, or of the output's sum.",
)  # fmt: skip
@click.option("--statistics", is_flag=True, help="Moments and a random projection instead of arrays: a small file.")
@click.option("--slice", "slices", metavar="GLOB=PART...", multiple=True, help='Parts of arrays: "*.ffn=0, :16".')
@click.option("--not-causal", is_flag=True, help="Let texts look ahead, as Transformers' sdpa attention does.")
@options.loading
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
@options.debug
def record_command(
    model: str,
    images: tuple[str, ...],
    texts: tuple[str, ...],
    max_patches: int | None,
    exif_transpose: bool,
    path: str,
    include: tuple[str, ...],
    slices: tuple[str, ...],
    not_causal: bool,
    where: dict[str, Any],
    force: bool,
    **settings: Any,
) -> None:
    """Run a model and record what every module of it computes.

    Pictures of several sizes go through a native model as one pack. The file is read by `aimv2-np compare`. For
    example:

    \b
    aimv2-np record apple/aimv2-large-patch14-224 \\
        --images cat.jpg dog.jpg -o run.safetensors --statistics
    """
    from aimv2_np.recording import record
    from aimv2_np.recording.inputs import load_with_inputs
    from aimv2_np.recording.slices import parse_slices
    from aimv2_np.recording.writer import check_place

    if not_causal and not texts:
        raise click.UsageError("--not-causal is about texts, and there are none; add --texts or drop it")
    parts = parse_slices(slices)
    with options.advising_force(path):
        check_place(path, force)  # before a model is fetched
    with output.progress(f"loading {model}", loads=model) as progress:
        network, inputs = load_with_inputs(
            model, images, texts, **where, max_patches=max_patches, exif_transpose=exif_transpose, progress=progress
        )
    if not_causal:
        settings["causal"] = False
    with output.waiting(f"running {model}"):
        recording = record(network, inputs, path, include or "*", slices=parts, overwrite=force, **settings)
    what = "statistics of " if settings["statistics"] else ""
    size = output.bytes_of(Path(path).stat().st_size)
    gradients = len(recording.backward.order)
    several = output.plural(len(recording.order) - gradients, "activation")
    also = f" and {output.plural(gradients, 'gradient')}" if gradients else ""
    click.echo(f"{output.printable(path)}: {what}{several}{also}, {size}")
