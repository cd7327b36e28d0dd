"""The `aimv2-np` command: one file per subcommand, no logic of its own."""

from aimv2_np.cli.app import main

__all__ = ["main"]
