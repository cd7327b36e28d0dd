"""`python -m tests.tools.write_links` brings the links from the docs to lines of code up to date.

A link whose text is a name, [`rms_norm`](../aimv2_np/network/rms_norm.py#L20), leads to the line that defines it;
`Class.method` works too. A name that is not there is an error.
"""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[`([\w.]+)`\]\(([\w./-]+\.py)(?:#L\d+)?\)")


@cache
def lines(path: Path) -> dict[str, int]:
    """Where a file defines what: dotted name -> line."""
    found = {}

    def walk(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                found[prefix + child.name] = child.lineno
                walk(child, f"{prefix}{child.name}.")

    walk(ast.parse(path.read_text(encoding="utf-8")), "")
    return found


def linked(page: Path, text: str) -> str:
    """The text of a page with its links at the right lines."""

    def link(match: re.Match[str]) -> str:
        name, target = match.groups()
        where = lines((page.parent / target).resolve())
        if name not in where:
            raise LookupError(f"{page.name} links to {name} in {target}, which does not define it")
        return f"[`{name}`]({target}#L{where[name]})"

    return LINK.sub(link, text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(linked(page, page.read_text(encoding="utf-8")), encoding="utf-8")
