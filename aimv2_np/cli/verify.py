"""`aimv2-np verify`: does it compute the right thing here?"""

import platform
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from aimv2_np.cli import options, output

if TYPE_CHECKING:
    from aimv2_np.comparison.loss import Loss
    from aimv2_np.comparison.published import PublishedResult
    from aimv2_np.comparison.verify import Verified


@click.command("verify", cls=options.Several)
@click.option("--model", metavar="FOLDER|ID", help="A released checkpoint.  [default: the embedded tiny model]")
@click.option("--image", "--images", "images", metavar="FILE...", multiple=True, help="With --model: pictures.")
@click.option("--texts", metavar="TEXT...", multiple=True, help="With --against: texts.")
@click.option("--as", "name", metavar="ID", help="The hub ID of what is in the folder.")
@click.option("--against", type=click.Choice(["transformers"]), help="Run the other side here, module by module.")
@click.option("--original", metavar="FOLDER|ID", help="With --model: what it was made of, in another dtype.")
@click.option(
    "--at-least", type=options.FloatRange(0, 1), default=0.99, show_default=True,
    help="With --original: the cosine that the vectors of both must have.",
)  # fmt: skip
@options.prefix
@options.orient
@options.placement
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@options.debug
@click.pass_context
def verify_command(
    ctx: click.Context,
    model: str | None,
    images: tuple[str, ...],
    texts: tuple[str, ...],
    name: str | None,
    against: str | None,
    original: str | None,
    at_least: float,
    prefix: str | None,
    exif_transpose: bool,
    where: dict[str, Any],
    as_json: bool,
) -> None:
    """Check that this machine computes the right thing.

    \b
    aimv2-np verify
        the embedded model, every module, against what
        Transformers computed; offline, in a second
    aimv2-np verify --model apple/aimv2-large-patch14-224-lit \\
            --image cats.jpg
        against the published numbers for two cats
        (COCO val2017 000000039769)
    aimv2-np verify --against transformers --model FOLDER
        live, if PyTorch and Transformers are installed
    aimv2-np verify --model FOLDER --original FOLDER
        what was lost in bfloat16 or int8

    Exits with 0 when it does, 1 when it does not, 2 when that cannot be told.
    """
    if against is None and model is None and (images or texts or name):
        raise click.UsageError("--image, --texts and --as belong to a --model; pass one")
    if original is not None and (model is None or against or images or texts or name):
        raise click.UsageError("--original goes with --model, and with none of --image, --texts, --as and --against")
    if against is None and original is None and model is not None and (len(images) != 1 or texts):
        raise click.UsageError("--model needs the one --image of the published numbers; or pass --against transformers")
    if model is None and prefix is not None:
        raise click.UsageError("--prefix is about a --model; pass one")
    options.comparing(ctx)
    from aimv2_np.comparison.published import verify_published
    from aimv2_np.comparison.verify import verify_against_transformers, verify_embedded

    if model and original:
        from aimv2_np.comparison.loss import measure_loss

        with output.waiting("computing with both", loads=model):
            loss = measure_loss(original, model, prefix)
        _tell_loss(loss, model, original, as_json)
        ctx.exit(options.SAME if min(loss.cosines.values()) >= at_least else options.DIFFERENT)
    if model and not against:
        with output.waiting("verifying", loads=model):
            published = verify_published(
                model, images[0], name=name, prefix=prefix, exif_transpose=exif_transpose, **where
            )
        _tell_published(published, as_json)
        ctx.exit(options.SAME if published.equal else options.DIFFERENT)
    with output.waiting("verifying", loads=model):
        live = (
            verify_against_transformers(model, images, texts, prefix=prefix, exif_transpose=exif_transpose, **where)
            if against
            else verify_embedded(**where)
        )
    _tell(live, model or "the embedded model", as_json)
    ctx.exit(options.SAME if live.comparison.equal else options.DIFFERENT)


def _tell(result: "Verified", what: str, as_json: bool) -> None:
    comparison = result.comparison
    if as_json:
        machine = {"machine": platform.machine(), "system": platform.system()}
        output.print_json(comparison.to_dict() | {"here": result.here | machine, "there": result.there})
        return
    screen = output.console()
    worst = comparison.worst[0] if comparison.worst else None
    what = output.printable(what)
    if comparison.equal:
        activations = sum(not difference.path.startswith("inputs/") for difference in comparison.differences)
        number = output.plural(activations, "activation")
        screen.print(f"OK: {what} computes what Transformers computes, {number}", style="bold green")
    else:
        screen.print(f"DIFFERENT: {what} does not compute what Transformers computes", style="bold red")
        screen.print(output.printable(comparison.explanation), soft_wrap=True)
    facts = output.facts()
    if worst is not None:
        bound = f"{worst.relative:.1e} relative at {worst.path}; rounding explains {worst.tolerance:.1e}"
        facts.add_row("largest error", output.printable(bound))
    facts.add_row("here", ", ".join(f"{library} {version}" for library, version in result.here.items()))
    facts.add_row("there", ", ".join(f"{library} {version}" for library, version in result.there.items()))
    screen.print(facts)


def _tell_loss(loss: "Loss", model: str, original: str, as_json: bool) -> None:
    if as_json:
        output.print_json(loss.to_dict())
        return
    click.echo(output.printable(f"{model} beside {original}: {output.loss_of(loss)}"))


def _tell_published(result: "PublishedResult", as_json: bool) -> None:
    if as_json:
        output.print_json({
            "equal": result.equal, "model": result.name, "output": result.expected.output,
            "expected": result.expected.corner, "explanation": result.explanation,
            "attempts": [asdict(attempt) | {"equal": attempt.equal} for attempt in result.attempts],
        })  # fmt: skip
        return
    color = "bold green" if result.equal else "bold red"
    output.console().print(output.printable(result.explanation), style=color, soft_wrap=True)
