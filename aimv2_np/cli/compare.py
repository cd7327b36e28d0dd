"""`aimv2-np compare`: where another implementation parts from the reference, and why."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from aimv2_np.backends.dtypes import FLOATS
from aimv2_np.cli import options, output

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from aimv2_np.comparison import Comparison, Coverage, Difference, Tolerances
    from aimv2_np.comparison.sets import SetComparison

LISTED = 5  # names of missing or extra activations that are shown
WORST = 10  # modules of a set that are shown
WIDE = 100  # characters, from which on the table has all its columns


@click.command("compare", cls=options.Several, of=("--pictures",))
@click.argument("reference", metavar="REFERENCE")
@click.argument("other", metavar="OTHER")
@click.option("--model", metavar="FOLDER|ID", help="The reference's model: more causes can be tested with its weights.")
@options.prefix
@options.final_norm
@click.option(
    "--pictures", metavar="FILE...", multiple=True,
    help="The pictures behind REFERENCE's pixel_values: what OTHER does otherwise to them is named.",
)  # fmt: skip
@click.option("--map", "mapping", metavar="THEIRS=OURS", multiple=True, help="Their name is ours; * is any text.")
@click.option(
    "--rtol", metavar="X|GLOB=X", multiple=True, help="Relative error that is rounding, for all or for some modules."
)
@click.option(
    "--dtype",
    type=click.Choice(list(FLOATS)),
    help="What OTHER computed in, where its arrays do not show it.",
)
@click.option(
    "--quantised", metavar="int8|float8|int4[-static]",
    help="What OTHER rounds its matrices to (-static: and all else): modules are judged by what arises in each.",
)  # fmt: skip
@click.option(
    "--require", metavar="GLOB", multiple=True, help="Modules that have to be compared, or the exit code is 2"
)
@click.option("--require-all", is_flag=True, help="All modules of the reference have to be compared.")
@click.option("--partial", is_flag=True, help="Less than half of the modules is enough to be called the same.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: equal, first, worst, diagnosis, explanation, ...")
@click.option("--html", metavar="FILE", help="Also write a page with a chart of the errors.")
@click.option(
    "--capsule", metavar="FOLDER",
    help="Also write the first module that is wrong by itself: its input, weights, outputs, and a script in NumPy.",
)  # fmt: skip
@click.option(
    "--budget", metavar="COSINE", type=options.FloatRange(0, 1),
    help="Of a quantised engine: which layers to keep in float for vectors of that cosine.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite the page and the capsule if they are there.")
@options.debug
@click.pass_context
def compare_command(
    ctx: click.Context,
    reference: str,
    other: str,
    model: str | None,
    prefix: str | None,
    final_norm: bool,
    pictures: tuple[str, ...],
    mapping: tuple[str, ...],
    rtol: tuple[str, ...],
    dtype: str | None,
    quantised: str | None,
    require: tuple[str, ...],
    require_all: bool,
    partial: bool,
    as_json: bool,
    html: str | None,
    capsule: str | None,
    budget: float | None,
    force: bool,
) -> None:
    """Find the first module whose outputs differ by more than rounding, and why.

    Where none does, and both sides hold gradients, the first whose derivative is wrong.

    REFERENCE and OTHER are recordings (see `aimv2-np record`), or safetensors files of arrays named by module; or two
    folders of such: then those of one name are compared, and the errors of each module over all of them are shown.
    The exit code is 0 when both are the same, 1 when they differ, 2 when that cannot be told: when they cannot be
    compared, or agree where less than half of the reference's modules, or not all of the required ones, were compared.

    \b
    aimv2-np compare reference.safetensors other.safetensors \\
        --model apple/aimv2-large-patch14-224 \\
        --map "blocks.*.mlp=encoder.layers.*.ffn" --html report.html
    """
    from aimv2_np import load
    from aimv2_np.comparison import compare
    from aimv2_np.comparison.sets import compare_sets, pairs_in

    options.comparing(ctx)
    if model is None and (prefix is not None or not final_norm):
        raise click.UsageError("--prefix and --no-final-norm are about a --model; pass one")
    tolerances = _tolerances(rtol, dtype, quantised)
    options.check_free(html, force)
    of_one_pair = bool(html or capsule or pictures or budget is not None)
    folders = _are_folders(reference, other, of_one_pair=of_one_pair)
    globs = ("*",) if require_all else require
    with output.waiting("comparing", loads=model) as say:
        network = load(model, prefix=prefix, final_norm=final_norm) if model else None
        if folders:
            pairs = pairs_in(reference, other)
            several = compare_sets(pairs, tolerances=tolerances, mapping=mapping, model=network, progress=say)
        else:
            result = compare(
                reference, other, tolerances=tolerances, mapping=mapping, model=network, budget=budget,
                pictures=pictures or None, progress=say,
            )  # fmt: skip
    if folders:
        _print_several(several, as_json)
        for name, each in several.pairs:
            if several.equal and not _suffices(each.coverage, globs, partial):
                raise ValueError(f"{name}: {_insufficient(each.coverage, each.coverage.lacking(globs))}")
        ctx.exit(options.SAME if several.equal else options.DIFFERENT)
    lacking, enough = result.coverage.lacking(globs), _suffices(result.coverage, globs, partial)
    written = _write(result, (reference, other), html, capsule, force)
    if as_json:
        output.print_json(result.to_dict() | {"required_missing": list(lacking)})
    else:
        _print(output.console(), result, enough, budget=budget is not None)
        for what, told in written.items():
            click.echo(f"\n{what}: {output.printable(told)}")
    if result.equal and not enough:
        raise ValueError(_insufficient(result.coverage, lacking))
    ctx.exit(options.SAME if result.equal else options.DIFFERENT)


def _tolerances(rtol: tuple[str, ...], dtype: str | None, quantised: str | None) -> "Tolerances":
    from aimv2_np.comparison import Tolerances

    try:
        return Tolerances.parse(rtol, dtype, quantised)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _are_folders(reference: str, other: str, *, of_one_pair: bool) -> bool:
    """Whether the sides are folders of recordings; a usage error where one is, or for options `of_one_pair`."""
    folders = [Path(side).is_dir() for side in (reference, other)]
    for side in (reference, other):
        if (Path(side) / "config.json").is_file():
            raise click.UsageError(f"{side} is a model; expected a recording: make one with aimv2-np record")
    if any(folders) and not all(folders):
        raise click.UsageError(
            "one of REFERENCE and OTHER is a folder; expected two recordings, or two folders of such"
        )
    if all(folders) and of_one_pair:
        raise click.UsageError(
            "--html, --capsule, --pictures and --budget are of one pair; REFERENCE is a folder of several"
        )
    return all(folders)


def _write(
    result: "Comparison", sides: tuple[str, str], html: str | None, capsule: str | None, force: bool
) -> dict[str, str]:
    """Write the page and the capsule that are asked for; what → where it lies, or why there is none."""
    from aimv2_np.comparison.capsule import write_capsule
    from aimv2_np.comparison.html import page
    from aimv2_np.files.atomic import atomic_write

    written = {}
    if html:
        with atomic_write(html, overwrite=force) as file:
            file.write(page(result, *sides).encode())
        written["chart"] = html
    if capsule and result.step:
        with options.advising_force(capsule):
            write_capsule(result.step, capsule, overwrite=force)
        written["capsule"] = capsule
    elif capsule:
        why = "both are the same" if result.equal else "it is not known that a module is wrong by itself"
        written["capsule"] = f"none, as {why}"
    return written


def _suffices(coverage: "Coverage", globs: tuple[str, ...], partial: bool) -> bool:
    """Whether enough was compared to call the two the same: what is required, or half of all modules."""
    return not coverage.lacking(globs) and (coverage.enough or partial or bool(globs))


def _insufficient(coverage: "Coverage", lacking: tuple[str, ...]) -> str:
    """Why what was compared does not suffice to call the two the same, and what to do."""
    if lacking:
        required = output.plural(len(lacking), "required module")
        names = ", ".join(lacking[:LISTED]) + (", ..." if len(lacking) > LISTED else "")
        return (
            f"what was compared is the same, but the other side lacks {required}: {names}; record more, or say with "
            "--map what is called otherwise"
        )
    return (
        f"what was compared is the same, but it is {coverage}; expected half of them or more; record more, say with "
        "--map what is called otherwise, or call it enough with --partial or --require GLOB"
    )


def _print(screen: "Console", result: "Comparison", enough: bool, *, budget: bool) -> None:
    from rich.text import Text

    from aimv2_np.comparison.budget import budget_in_words
    from aimv2_np.comparison.report import counted, unmatched

    agree = ("the same", "green") if enough else ("the same, as far as compared", "yellow")
    verdict = agree if result.equal else ("different", "red")
    screen.print(Text.assemble(verdict, f": {counted(result)} compared, {result.coverage}"), style="bold")
    screen.print()
    if result.first:
        facts = _facts(result.first)
        facts.add_row("diagnosis", result.diagnosis.identifier if result.diagnosis else "none", style="bold")
        screen.print(facts)
        screen.print()
    screen.print("the largest errors:" if result.equal else "the worst:")
    screen.print(_worst(result, wide=screen.width >= WIDE))
    screen.print()
    screen.print(output.printable(result.explanation))
    if result.budget:
        screen.print(output.printable(budget_in_words(result.budget)))
    elif budget:
        why = "both are the same" if result.equal else "it needs the reference's weights and inputs, and whole arrays"
        screen.print(f"budget: none, as {why}")
    for remark in (*unmatched(result, LISTED), *(f"note: {note}" for note in result.notes)):
        screen.print(output.printable(remark), style="dim")


def _print_several(result: "SetComparison", as_json: bool) -> None:
    from rich.text import Text

    from aimv2_np.comparison.report import two_digits

    if as_json:
        output.print_json(result.to_dict())
        return
    screen, pairs = output.console(), output.plural(len(result.comparisons), "pair")
    wrong = sum(not each.equal for each in result.comparisons.values())
    verdict = ("the same", "green") if result.equal else ("different", "red")
    screen.print(Text.assemble(verdict, f": {pairs}" if result.equal else f": {wrong} of {pairs}"), style="bold")
    screen.print()
    table = output.figures("module", "median", "90 %", "largest", "SNR", "own")
    table.columns[0].ratio = 1
    for each in result.worst[:WORST]:
        own = each.own[0] if each.own else None
        row = [*(two_digits(value) for value in each.relative), f"{each.snr[0]:.1f} dB", two_digits(own)]
        table.add_row(output.printable(each.path), *row)
    screen.print(table)
    for label, share in result.agreement.items():
        screen.print(f"{label}: {share:.1%} agree")


def _facts(first: "Difference") -> "Table":
    from aimv2_np.comparison.report import kind, position, two_digits

    table = output.facts()
    table.add_row("first", output.printable(first.path), style="bold")
    if first.theirs != first.path:
        table.add_row("theirs", output.printable(first.theirs))
    if first.giver:
        table.add_row("given by", output.printable(f"the derivative of {first.giver}"))
    table.add_row("shape", f"{'x'.join(map(str, first.shape)) or 'scalar'}, compared as {first.dtype}")
    facts, tolerance = first.judged
    if facts:
        note = " (estimated from statistics)" if first.from_statistics else ""
        table.add_row(kind(first), f"{two_digits(facts.relative)}{note}, tolerance {two_digits(tolerance)}")
        table.add_row("largest error", f"{two_digits(facts.max_abs)}{position(first)}")
        if facts.ulps is not None:
            table.add_row("in ulps", f"{two_digits(facts.ulps)} of {first.dtype}")
        table.add_row("cosine", f"{facts.cosine:.7f}")
    if first.note:
        table.add_row("note", output.printable(first.note))
    return table


def _worst(result: "Comparison", wide: bool) -> "Table":
    from aimv2_np.comparison.report import two_digits

    table = output.figures("module", "max abs", "relative", *(("ulps", "cosine") if wide else ()), "tolerances", "own")
    table.columns[0].ratio = 1
    for difference in result.worst:
        facts = difference.measures
        if facts is None:
            row = ["-", "shape", *(("-", "-") if wide else ()), "-"]
        else:
            more = (two_digits(facts.ulps), f"{facts.cosine:.4f}") if wide else ()
            row = [two_digits(facts.max_abs), two_digits(facts.relative), *more, two_digits(difference.excess)]
        table.add_row(output.printable(difference.path), *row, two_digits(difference.own))
    return table
