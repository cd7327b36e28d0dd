"""`aimv2-np embed`: features of many pictures into one file."""

import time
from typing import TYPE_CHECKING, Any

import click

from aimv2_np.cli import options, output

if TYPE_CHECKING:
    from aimv2_np.tasks import Embedding

SHOWN = 10  # broken pictures that are named as they are met


@click.command("embed")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--output", "-o", "path", metavar="FILE", required=True, help=".safetensors, .npz or .parquet.")
@options.vision_model
@click.option(
    "--features", type=click.Choice(["projected", "pooled", "cls", "mean", "tokens"]),
    help="Which features.  [default: the first of projected, pooled and mean that the model has]",
)  # fmt: skip
@click.option("--normalize", is_flag=True, help="Scale every vector to length one.")
@click.option(
    "--store", type=click.Choice(["float32", "float16", "int8"]), default="float32", show_default=True,
    help="What a vector is in the file: int8 has a scale for each.",
)  # fmt: skip
@click.option("--strict", is_flag=True, help="Stop at the first picture that cannot be read.")
@click.option("--force", "overwrite", is_flag=True, help="Overwrite a file that is there.")
@click.option("--restart", is_flag=True, help="Begin anew, whatever an interrupted run has left.")
@click.option("--sync", is_flag=True, help="Embed pictures again that have changed, and drop those that are not given.")
@click.option("--checksum", is_flag=True, help="Tell a changed picture by its contents, not by its size and time.")
@click.option("--column", metavar="NAME", help="Of tables, the one with the pictures.  [default: path, file, image, …]")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Pictures at a time.")
@options.max_patches
@options.orient
@click.option("--engine", type=click.Choice(["ray", "dask"]), help="Compute in the processes of a cluster.")
@click.option("--address", metavar="ADDRESS", help="Of the cluster.  [default: one on this machine, for this run]")
@click.option(
    "--threads", type=click.IntRange(1), help="Threads that decode.  [default: one per core; of an engine, per process]"
)
@click.option(
    "--save-every", type=click.IntRange(1), default=4096, show_default=True,
    help="Save after so many pictures; after 20 seconds anyway.",
)  # fmt: skip
@options.loading
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.debug
def embed_command(
    paths: tuple[str, ...], path: str, model: str | None, where: dict[str, Any], as_json: bool, **settings: Any
) -> None:
    """Compute features of all pictures that PATHs name, into one FILE.

    A PATH is a picture, a folder, a glob, a text file of paths (.txt, - for standard input), a tar or zip archive, a
    table (.csv, .tsv, .parquet), or an address (https://, s3://). Pictures that cannot be read are named and left out.

    When the command is interrupted, even by kill -9, the same command again continues. When FILE is complete, pictures
    that it does not have are added.

    \b
    aimv2-np embed photos/ -o features.safetensors \\
        --model apple/aimv2-large-patch14-224-lit
    aimv2-np search features.safetensors "a red car"
    """
    from aimv2_np.tasks import embed

    options.or_embedded(model)  # for its note
    broken = 0

    def tell(name: str, reason: str) -> None:
        nonlocal broken
        broken += 1
        if broken <= SHOWN:
            output.left_out(name, reason)

    began = time.perf_counter()
    with output.progress("embedding") as advance, options.advising_force(path):
        done = embed(paths, path, model=model, **where, progress=advance, on_broken=tell, **settings)
    if broken > SHOWN:
        output.say(f"left out: {broken - SHOWN} more (--json names all)")
    seconds = time.perf_counter() - began
    if as_json:
        output.print_json({
            "output": str(done.output), "features": done.kind, "size": done.size, "count": done.count,
            "broken": [{"name": name, "reason": reason} for name, reason in done.broken],
            "duplicates": done.duplicates, "continued": done.continued, "kept": done.kept,
            "changed": done.changed, "absent": done.absent, "dropped": done.dropped,
            "passed_over": dict(done.passed_over), "seconds": round(seconds, 3),
            **({"loss": done.loss} if done.loss else {}),
        })  # fmt: skip
    else:
        _print(done, seconds)


def _print(done: "Embedding", seconds: float) -> None:
    from aimv2_np.tasks.embedding.sources import passed_over

    new = max(0, done.count + len(done.broken) - done.continued - done.kept - done.absent)
    nothing = "nothing to compute" if done.dropped else "complete already"
    rate = f"{output.plural(new, 'picture')} in {seconds:.1f} s, {new / seconds:.1f}/s" if new else nothing
    facts = [f"{done.kind} features of {output.plural(done.count, 'picture')}, {done.size} numbers each", rate]
    facts += [f"{done.continued:,} done before"] if done.continued and new else []
    facts += [f"{done.kept:,} kept"] if done.kept and (new or done.dropped) else []
    facts += [f"{done.changed:,} changed and embedded again"] if done.changed else []
    facts += [f"{done.absent:,} not given any more and kept (--sync drops them)"] if done.absent else []
    facts += [f"{done.dropped:,} not given any more and dropped"] if done.dropped else []
    facts += [f"{len(done.broken):,} broken"] if done.broken else []
    facts += [f"{output.plural(done.duplicates, 'duplicate')} left out"] if done.duplicates else []
    facts += [output.printable(passed_over(done.passed_over))] if done.passed_over else []
    if done.loss:
        facts += [f"cosines with the float32 vectors {1 - done.loss:.6f} or more"]
    click.echo(f"{output.printable(str(done.output))}: {'; '.join(facts)}")
