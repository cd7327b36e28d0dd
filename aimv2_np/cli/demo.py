"""`aimv2-np demo`: the main job on what the package carries with it."""

import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aimv2_np.cli import options, output

if TYPE_CHECKING:
    from rich.console import Console

    from aimv2_np.data import Sample
    from aimv2_np.tasks import Classification

PICTURE = "demo-attention.png"
MAKER = "aimv2-np demo"  # by this the demo knows its own pictures, and replaces them without asking
BAR, SHOWN = 10, 2  # width of a bar; captions shown per picture
OTHER_SEEDS = range(1, 4)  # of the sample pictures whose captions are the wrong answers


@click.command("demo")
@click.argument("images", metavar="[IMAGE...]", nargs=-1)
@click.option("--output", "path", metavar="FILE", help=f"Where the attention picture goes.  [default: {PICTURE}]")
@click.option("--force", is_flag=True, help="Overwrite a file that is no picture of this demo.")
@options.orient
@options.placement
@options.debug
def demo_command(
    images: tuple[str, ...], path: str | None, force: bool, exif_transpose: bool, where: dict[str, Any]
) -> None:
    """Classify drawn pictures with the embedded model. Offline, in seconds.

    The model knows drawings of one or two coloured shapes; IMAGEs of your own should be such drawings too.
    """
    from aimv2_np.data import sample_pictures, tiny_model_path
    from aimv2_np.tasks import classify, load_classifier

    place = Path(path or PICTURE)
    free = force or not place.exists() or _is_ours(place)
    if path and not free:
        raise FileExistsError(f"{path} is there and no picture of this demo; name another, or overwrite with --force")
    samples = [] if images else sample_pictures()
    pictures, titles, captions = _own(images) if images else _with_others(samples)
    began = time.perf_counter()
    model, processor = load_classifier(tiny_model_path(), **where)
    processor = processor.upright(exif_transpose)
    loaded = time.perf_counter()
    result = classify(pictures, captions, model=model, processor=processor)
    done = time.perf_counter()

    screen = output.console()
    found = output.plural(len(pictures), "picture" if images else "drawn picture")
    screen.print(f"{found}, {len(captions)} captions: which fits best?", style="bold")
    screen.print()
    _print(screen, result, titles, known=not images)
    screen.print()
    screen.print(_verdict(result, samples) if samples else "The model knows coloured shapes; all else it must guess.")
    facts = output.facts()
    facts.add_row("model", f"aimv2-tiny-shapes, {model.num_parameters():,} parameters, {model.dtype}")
    times = f"loaded in {1e3 * (loaded - began):.0f} ms, classified in {1e3 * (done - loaded):.0f} ms"
    facts.add_row("backend", f"{output.place_of(model)}: {times}")
    if model.backend == "numpy" and model.dtype == "float32":
        from aimv2_np.kernels.native.library import describe_native

        facts.add_row("computed", describe_native()["reason"])
    facts.add_row("versions", _versions(model.backend))
    facts.add_row("attention", _draw(model, processor, pictures, result.top, place, free, path is not None))
    screen.print(facts)


def _with_others(samples: "list[Sample]") -> tuple[list[Any], list[str], list[str]]:
    """Pictures, the caption that is true of each, and all captions to choose from."""
    from aimv2_np.data import sample_pictures

    titles = [sample.caption for sample in samples]
    others = [sample.caption for seed in OTHER_SEEDS for sample in sample_pictures(seed)]
    return [sample.picture for sample in samples], titles, list(dict.fromkeys(titles + others))


def _own(images: tuple[str, ...]) -> tuple[list[Any], list[str], list[str]]:
    """Files, their names, and the captions of all single shapes."""
    from aimv2_np.data.world import ALL_PAIRS, Scene, Thing, caption

    return list(images), list(images), [caption(Scene((Thing(shape, color),))) for color, shape in ALL_PAIRS]


def _print(screen: "Console", result: "Classification", titles: list[str], known: bool) -> None:
    table = output.table()
    table.add_column(justify="right", no_wrap=True, style="cyan")
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=1)
    table.add_column(width=BAR, no_wrap=True, style="green")
    table.add_column(justify="right", no_wrap=True)
    right, wrong = ("✓", "✗") if screen.encoding.startswith("utf") else ("+", "x")
    for i, row in enumerate(result.probabilities):
        if not known:
            table.add_row(str(i + 1), "", output.printable(titles[i]), "", "", style="cyan")
        order = (-row).argsort(kind="stable").tolist()
        truth = result.labels.index(titles[i]) if known else None
        shown = order[:SHOWN] + ([truth] if truth is not None and truth not in order[:SHOWN] else [])
        for rank, index in enumerate(shown):
            mark = right if index == truth else wrong if known and rank == 0 else ""
            share = float(row[index])
            line = (mark, result.labels[index], output.bar(share, BAR, screen.encoding), output.percent(share))
            table.add_row(str(i + 1) if known and rank == 0 else "", *line, style="bold" if rank == 0 else "dim")
    screen.print(table)


def _verdict(result: "Classification", samples: "list[Sample]") -> str:
    from aimv2_np.data.world import Scene, Thing, caption

    hits = sum(top == sample.caption for top, sample in zip(result.top, samples, strict=True))
    unseen = [(i, sample.caption.split()) for i, sample in enumerate(samples, 1) if not sample.seen]
    new = " or ".join(f"{caption(Scene((Thing(words[-1], words[-2]),)))} ({i})" for i, words in unseen)
    return f"{hits} of {len(samples)} right. Training never showed it {new}."


def _versions(backend: str) -> str:
    from importlib import import_module

    import aimv2_np

    library = f"{'NumPy' if backend == 'numpy' else 'CuPy'} {import_module(backend).__version__}"
    return f"aimv2-np {aimv2_np.__version__}, {library}, Python {platform.python_version()}"


def _draw(
    model: Any, processor: Any, pictures: list[Any], tops: tuple[str, ...], place: Path, free: bool, asked: bool
) -> str:
    """Write the attention picture and say where it is; or say why there is none, unless it was asked for."""
    from aimv2_np.viz import draw_pooling_attention, save_png

    if not free:
        return f"not drawn: {place} is there and no picture of this demo (--output names another)"
    try:
        save_png(draw_pooling_attention(model, processor, pictures, list(tops)), place, overwrite=True, software=MAKER)
    except OSError as error:
        problem = f"{place} cannot be written: {(error.strerror or str(error)).lower()}"
        if asked:
            raise OSError(problem) from error
        return f"not drawn: {problem}"
    except ImportError as error:
        if asked:
            raise
        return f"not drawn: {error}"
    return f"where the pooling head looked: see {place}"


def _is_ours(path: Path) -> bool:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.info.get("Software") == MAKER
    except Exception:  # whatever else is there is not ours
        return False
