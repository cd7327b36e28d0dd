"""The `aimv2-np` command.

One file per subcommand: its options, the call of the function that does the work, and the tables that it prints.
`options` holds what several subcommands accept, `output` how all of them print and show progress, `app` how errors
become one line and an exit code. What computes something belongs into the room that it is about, not here.
"""

from aimv2_np.cli.app import main

__all__ = ["main"]
