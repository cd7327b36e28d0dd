"""`python -m tests.tools.write_command_line` writes docs/reference/command-line.md: every command's own --help."""

from pathlib import Path

import click

from aimv2_np.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "command-line.md"
WIDTH = 100
HEAD = """# The command line

What `aimv2-np COMMAND --help` says. Exit codes: 0 when all went well, 1 after an error (one line on stderr; `--debug`
shows the traceback), 2 for wrong usage; of `compare` and `verify` 0 for the same, 1 for different, 2 when it cannot be
told.
"""


def page() -> str:
    """The page as it should be."""
    parent = click.Context(app, info_name="aimv2-np", max_content_width=WIDTH, terminal_width=WIDTH)
    parts = [HEAD]
    for name in app.list_commands(parent):
        command = app.get_command(parent, name)
        assert command is not None
        context = click.Context(
            command, info_name=name, parent=parent, max_content_width=WIDTH, terminal_width=WIDTH,
            help_option_names=["-h", "--help"],
        )  # fmt: skip
        parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
