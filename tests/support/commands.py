"""Commands in processes of their own that need not load the package anew: each is forked from one that has it."""

import os
import sys
from multiprocessing import get_context
from typing import Any

LOADED = ("aimv2_np.cli.app", "aimv2_np.cli.embed", "aimv2_np.tasks", "tests.support.commands")


def command(*arguments: object) -> Any:
    """The process, started, of `aimv2-np` with these arguments; it says nothing."""
    context = get_context("forkserver")
    context.set_forkserver_preload(list(LOADED))
    process = context.Process(target=_main, args=tuple(map(str, arguments)))
    process.start()
    return process


def _main(*arguments: str) -> None:
    from aimv2_np.cli import main

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    sys.argv = ["aimv2-np", *arguments]
    main()
