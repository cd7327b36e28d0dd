"""How results look: consoles, bars of probability, sizes, progress. rich is imported when something is printed."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from threading import Timer
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.status import Status
    from rich.table import Table

    from aimv2_np.comparison.loss import Loss
    from aimv2_np.models.pretrained import AnyModel

PATIENCE = 0.5  # seconds of work before a progress bar appears
LINES_EVERY = 30.0  # seconds between lines of progress where there is no terminal


def console(*, stderr: bool = False) -> "Console":
    """Where to print: 80 columns and no colours when it is not a terminal; NO_COLOR is honoured."""
    from rich.console import Console

    class Pipe(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich calls this while it handles the error; its own answer is to exit with 1

    return Pipe(stderr=stderr, highlight=False, emoji=False, markup=False)


def table(*, header: bool = False) -> "Table":
    """An empty table without lines."""
    from rich.table import Table

    return Table(box=None, show_header=header, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))


def facts() -> "Table":
    """An empty table of facts: of each its name, and what there is to say."""
    result = table()
    result.add_column(style="cyan", no_wrap=True)
    result.add_column(overflow="fold")
    return result


def hits() -> "Table":
    """An empty table of pictures: of each a number, its score and its name."""
    result = table()
    result.add_column(justify="right", no_wrap=True, style="cyan")
    result.add_column(justify="right", no_wrap=True)
    result.add_column(overflow="fold", ratio=1)
    return result


def figures(first: str, *titles: str) -> "Table":
    """An empty table of numbers: titles of the column that names the rows, and of the numbers' columns."""
    result = table(header=True)
    result.add_column(first, style="cyan", overflow="fold")
    for title in titles:
        result.add_column(title, justify="right", no_wrap=True)
    return result


def bar(share: float, width: int, encoding: str = "utf-8") -> str:
    """`share` (0 to 1) of `width` characters, in eighths of a character where the encoding has them."""
    if not encoding.lower().startswith("utf"):
        return "#" * round(share * width)
    whole, eighths = divmod(round(share * width * 8), 8)
    return "█" * whole + ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")[eighths]


def percent(share: float) -> str:
    """97.3 %"""
    return f"{100 * share:.1f} %"


def plural(number: int, noun: str) -> str:
    """1 picture, 2 pictures"""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """4 s, 3 min, 1 h 20 min"""
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def bytes_of(number: int) -> str:
    """1.24 GB"""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} bytes"


def loss_of(loss: "Loss") -> str:
    """cosine 0.999988 (image_embeds), 0.999981 (text_embeds); worst layers encoder.layers.3 (1.2e-02), …"""
    cosines = ", ".join(f"{cosine:.6f} ({name})" for name, cosine in loss.cosines.items())
    layers = ", ".join(f"{path} ({error:.1e})" for path, error in loss.layers[:3])
    return f"cosine {cosines}; worst layers {layers}"


def place_of(model: "AnyModel") -> str:
    """numpy, or cupy with the number of the GPU"""
    return str(model.backend) if model.device is None else f"{model.backend}, device {model.device}"


def one_line(message: object) -> str:
    """What an error says, on one line, with its notes; its class too where the message alone would be a riddle."""
    return "; ".join([_said(message), *(printable(note) for note in getattr(message, "__notes__", ()))])


def _said(message: object) -> str:
    text = printable(" ".join(str(message).split()))
    if isinstance(message, OSError) and message.strerror:
        place = f"{message.filename}: " if message.filename else ""
        return printable(f"{place}{message.strerror[:1].lower()}{message.strerror[1:]}")
    if isinstance(message, MemoryError) and not text:
        return "out of memory"
    expected = (ValueError, TypeError, OSError, ImportError, RuntimeError, MemoryError, Warning, str)
    if isinstance(message, expected) and text:
        return text
    return f"{type(message).__name__}{': ' if text else ''}{text} (unexpected: --debug shows where)"


def printable(text: str) -> str:
    """Without characters that steer a terminal: names in files that somebody sent may hold such."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def print_json(value: Any) -> None:
    """JSON on stdout, and nothing else."""
    click.echo(json.dumps(value, indent=2))


def discard(stream: TextIO) -> None:
    """Let what is written to a standard stream go nowhere; Python writes what is left once more when it ends."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def say(text: str) -> None:
    """A line on stderr. That nobody reads it any more, or its disk is full, is no reason to stop."""
    try:
        click.echo(text, err=True)
    except OSError:
        discard(sys.stderr)


def note(text: str) -> None:
    """A remark on stderr."""
    say(f"note: {text}")


def left_out(name: str, reason: str) -> None:
    """A picture that cannot be read, on stderr."""
    say(f"left out: {one_line(f'{name}: {reason}')}")


@contextmanager
def waiting(what: str, *, loads: str | PathLike[str] | None = None) -> Iterator[Callable[[str], None]]:
    """Show on a terminal that something is being done, when it takes long; a function to call when it is another thing.

    Not when it loads a model from the hub, which shows its own progress in the same place.
    """
    screen = console(stderr=True)
    if not screen.is_terminal or (loads is not None and not Path(loads).is_dir()):
        yield lambda what: None
        return
    status = screen.status(printable(what))
    with _patiently(status) as begin:
        begin()
        yield lambda what: status.update(printable(what))


@contextmanager
def progress(
    what: str, *, loads: str | PathLike[str] | None = None, clock: Callable[[], float] = monotonic
) -> Iterator[Callable[[int, int], None]]:
    """A function to call with how much is done, and of how much; a bar on a terminal when it takes long.

    Elsewhere a line on stderr every 30 seconds.

    The first call says how much was done before, which takes no part in the rate. Another total begins another part.

    Args:
        what: what is being done, in front of the bar.
        loads: the folder or hub id that a model is loaded from; what is counted are then bytes. The bar of a folder
            waits for no call, that of a hub id does: the hub shows its own in the same place.
        clock: seconds.
    """
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _lines(what, bytes_of if loads is not None else "{:,}".format, clock)
        return
    from rich import progress as bars

    class Rate(bars.ProgressColumn):
        def render(self, task: bars.Task) -> str:
            return f"{task.speed:,.1f}/s" if task.speed else ""

    amount = (bars.MofNCompleteColumn(), Rate()) if loads is None else (bars.DownloadColumn(),)
    columns = (
        bars.TextColumn("{task.description}", markup=False), bars.BarColumn(), *amount, bars.TimeRemainingColumn(),
    )  # fmt: skip
    display = bars.Progress(*columns, console=screen, transient=True, speed_estimate_period=300)
    task = display.add_task(printable(what), total=None)
    with _patiently(display) as begin:
        if loads is not None and Path(loads).is_dir():
            begin()

        def advance(done: int, total: int) -> None:
            display.update(task, completed=done, total=total)
            begin()

        yield advance


@contextmanager
def telling(what: str, *, clock: Callable[[], float] = monotonic) -> Iterator[Callable[[str], None]]:
    """A function to call with how it stands: on a terminal it takes the place of what it said before.

    Elsewhere it is a line on stderr every 30 seconds.
    """
    if console(stderr=True).is_terminal:
        with waiting(what) as show:
            yield show
        return
    told = clock()

    def tell(line: str) -> None:
        nonlocal told
        if clock() - told >= LINES_EVERY:
            told = clock()
            say(printable(line))

    yield tell


def _lines(what: str, form: Callable[[int], str], clock: Callable[[], float]) -> Callable[[int, int], None]:
    """A function that writes how much is done, when 30 seconds have gone by since the line before."""
    began = told = clock()
    first: int | None = None

    def advance(done: int, total: int) -> None:
        nonlocal first, told
        first, now = done if first is None else first, clock()
        if now - told >= LINES_EVERY:
            told = now
            rate = form(round((done - first) / (now - began) * 60))
            say(f"{printable(what)}: {form(done)} of {form(total)}, {rate} a minute")

    return advance


@contextmanager
def _patiently(display: "Progress | Status") -> Iterator[Callable[[], None]]:
    """A function whose first call lets `display` appear some time later, unless the block has ended by then."""
    timer = Timer(PATIENCE, display.start)
    timer.daemon = True

    def begin() -> None:
        if timer.ident is None:
            timer.start()

    try:
        yield begin
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
            display.stop()
