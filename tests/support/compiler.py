"""A program that says that it is a C compiler, and compiles nothing."""

from pathlib import Path

import pytest

SCRIPT = """#!/bin/sh
case "$*" in
  *-dM*) printf '#define __STDC__ 1\\n#define __x86_64__ 1\\n#define __VERSION__ "9.9"\\n' ;;
  *'{refuses}'*) echo 'error: too old' >&2; exit 1 ;;
  *) while [ $# -gt 0 ]; do if [ "$1" = -o ]; then : > "$2"; fi; shift; done ;;
esac
"""


def fake_compiler(folder: Path, monkeypatch: pytest.MonkeyPatch, refuses: str = "nothing at all") -> None:
    """Make it $CC: for x86-64, it fails where `refuses` is among its arguments, and else leaves empty files."""
    path = folder / "cc"
    path.write_text(SCRIPT.format(refuses=refuses))
    path.chmod(0o755)
    monkeypatch.setenv("CC", str(path))
