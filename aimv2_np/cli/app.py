"""The command itself: its subcommands, and how anything that goes wrong in them is told."""

import contextlib
import os
import sys
import warnings
from typing import Any, NoReturn

import click

import aimv2_np
from aimv2_np.cli import options
from aimv2_np.cli.bench import bench_command
from aimv2_np.cli.classify import classify_command
from aimv2_np.cli.compare import compare_command
from aimv2_np.cli.convert import convert_command
from aimv2_np.cli.demo import demo_command
from aimv2_np.cli.duplicates import duplicates_command
from aimv2_np.cli.embed import embed_command
from aimv2_np.cli.explain import explain_command
from aimv2_np.cli.export import export_command
from aimv2_np.cli.info import info_command
from aimv2_np.cli.knn import knn_command
from aimv2_np.cli.models import models_command
from aimv2_np.cli.output import discard, one_line, say
from aimv2_np.cli.probe import probe_command
from aimv2_np.cli.record import record_command
from aimv2_np.cli.search import search_command
from aimv2_np.cli.train import train_command
from aimv2_np.cli.verify import verify_command

INTERRUPTED, BROKEN_PIPE = 130, 141  # 128 + the number of the signal, as shells have it


class App(click.Group):
    """A group of subcommands whose errors are one line on stderr."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; exit with 130 after Ctrl-C, 141 when nobody reads the output, and see `_fail`."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                result = super().invoke(ctx)
            sys.stdout.flush()
        except (click.exceptions.Exit, click.ClickException, click.Abort):
            raise
        except KeyboardInterrupt as interrupt:
            if kept := getattr(interrupt, "__notes__", None):
                say(one_line("; ".join(["interrupted", *kept])))
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            discard(sys.stdout)
            ctx.exit(BROKEN_PIPE)
        except Exception as error:
            _fail(ctx, error)
        return result


def _fail(ctx: click.Context, error: Exception) -> NoReturn:
    """One line on stderr, and the exit code of failure; with --debug Python shows the traceback."""
    settings = ctx.ensure_object(dict)
    if settings.get("debug"):
        raise error
    say(f"error: {one_line(error)}")
    ctx.exit(settings.get("failure", 1))


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"warning: {one_line(message)}")


def _open_standard_streams() -> None:
    """What was closed (`>&-`) leads nowhere: else the next file that is opened would get its descriptor.

    Standard input stays None, so that whoever wants to read it can say that it is closed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.fstat(number)  # taken by another file since
                continue
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free, which is this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 (open until the process ends)


@click.group(cls=App, context_settings={"help_option_names": ["-h", "--help"]})
@options.debug
@click.version_option(aimv2_np.__version__, prog_name="aimv2-np", message="%(prog)s %(version)s")
def app() -> None:
    """AIMv2, Apple's vision and vision-language encoders, in NumPy.

    \b
    For example:
    aimv2-np demo
    aimv2-np classify cat.jpg --labels "a cat,a dog" \\
        --model apple/aimv2-large-patch14-224-lit
    aimv2-np info apple/aimv2-large-patch14-224
    """


COMMANDS = (
    demo_command, classify_command, embed_command, search_command, duplicates_command, knn_command, probe_command,
    explain_command, info_command, models_command, train_command, convert_command, export_command, record_command,
    compare_command, verify_command, bench_command,
)  # fmt: skip
for command in COMMANDS:
    app.add_command(command)


def main() -> None:
    """The console script."""
    _open_standard_streams()
    # A terminal or a pipe that cannot take a character gets a question mark, not a traceback.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # Its warnings, of every attempt that failed, would stand before the one line that says what is wrong.
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    try:
        app(prog_name="aimv2-np")
    except OSError as error:  # `--help` onto a full disk: click writes it before there is a command that could fail
        if "--debug" in sys.argv:
            raise
        discard(sys.stdout)
        say(f"error: {one_line(error)}")
        sys.exit(1)
