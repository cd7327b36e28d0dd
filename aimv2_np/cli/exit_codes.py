"""Exit codes of commands that compare: 0 the same, 1 different, 2 could not compare."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from aimv2_np.cli.output import fail

SAME, DIFFERENT, CANNOT_COMPARE = 0, 1, 2


@contextmanager
def comparing(ctx: click.Context) -> Iterator[None]:
    """Exit with 2, and one line on stderr, when what is done inside the block fails."""
    try:
        yield
    except (click.exceptions.Exit, click.ClickException, click.Abort, BrokenPipeError):
        raise
    except Exception as error:
        fail(ctx, error, CANNOT_COMPARE)
