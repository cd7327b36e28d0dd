"""How results look: consoles, bars of probability, sizes, progress. rich is imported when something is printed."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PATIENCE = 0.5  # seconds of work before a progress bar appears


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


def bytes_of(number: int) -> str:
    """1.24 GB"""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number} bytes"


def place_of(model: Any) -> str:
    """numpy, or cupy with the number of the GPU"""
    return str(model.backend) if model.device is None else f"{model.backend}, device {model.device}"


def one_line(message: object) -> str:
    """What an error says, on one line; its class too where the message alone would be a riddle."""
    text = printable(" ".join(str(message).split()))
    if isinstance(message, OSError) and message.strerror:
        place = f"{message.filename}: " if message.filename else ""
        return printable(f"{place}{message.strerror[:1].lower()}{message.strerror[1:]}")
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


def note(text: str) -> None:
    """A remark on stderr."""
    click.echo(f"note: {text}", err=True)


@contextmanager
def waiting(what: str, *, loads: str | PathLike[str] | None = None) -> Iterator[None]:
    """Shows a spinner on a terminal when what is done inside the block takes long.

    Not when it loads a model from the hub, which shows its own progress in the same place.
    """
    screen = console(stderr=True)
    if not screen.is_terminal or (loads is not None and not Path(loads).is_dir()):
        yield
        return
    status = screen.status(what)
    timer = Timer(PATIENCE, status.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


@contextmanager
def loading(what: str, *, loads: str | PathLike[str]) -> Iterator[Callable[[int, int], None]]:
    """A function to call with how many bytes are in place, and of how many; a bar on a terminal when it takes long.

    The bar shows at once that something is done, but not while the hub shows its own.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    display = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
    task = display.add_task(printable(what), total=None)
    timer = Timer(PATIENCE, display.start)
    timer.daemon = True
    if Path(loads).is_dir():
        timer.start()

    def advance(done: int, total: int) -> None:
        if not timer.is_alive() and not timer.finished.is_set():  # a hub id, whose files are here by now
            timer.start()
        display.update(task, completed=done, total=total)

    try:
        yield advance
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
        display.stop()


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A function to call with how many of `total` are done; shows a bar on a terminal when it takes long."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    display = Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
    task = display.add_task(what, total=total)
    began, running = time.monotonic(), False

    def advance(done: int) -> None:
        nonlocal running
        if not running and time.monotonic() - began > PATIENCE:
            display.start()
            running = True
        display.update(task, completed=done)

    try:
        yield advance
    finally:
        if running:
            display.stop()


@contextmanager
def progress_with_rate(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function to call with how many are done, and of how many; on a terminal a bar with the rate and the time left.

    The first call says how many were done before; they take no part in the rate. Another total begins another part.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            return Text(f"{task.speed:,.1f}/s" if task.speed else "")

    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    display = Progress(
        *columns, console=screen, transient=True, disable=not screen.is_terminal, speed_estimate_period=300
    )
    task = None

    def advance(done: int, total: int) -> None:
        nonlocal task
        if task is None:
            task = display.add_task(what, total=total, completed=done)
            display.start()
        display.update(task, completed=done, total=total)

    try:
        yield advance
    finally:
        display.stop()
