"""Execute notebooks and write their outputs back: python -m tests.tools.run_notebooks [NAMES]

NAMES are numbers of notebooks, or beginnings of their file names (`3`, `3-attention`); without any, all of them.
Needs the extra `notebooks`. What is written depends on the machine in nothing but the pixels of figures and cells
tagged `machine`.
"""

import sys
import time

import nbformat

from tests.support.notebooks import METADATA, PATHS, execute


def clean(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Fixed metadata, cells numbered in order."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number:02}"
        for key in set(cell.metadata) - {"tags", "mystnb"}:
            del cell.metadata[key]
    return notebook


def main(names: list[str]) -> None:
    beginnings = tuple(name if "-" in name else f"{name}-" for name in names)
    chosen = [path for path in PATHS if not names or path.name.startswith(beginnings)]
    if not chosen:
        sys.exit(f"no notebook begins with {' or '.join(names)}; there are {', '.join(path.name for path in PATHS)}")
    for path in chosen:
        notebook = nbformat.read(path, as_version=4)
        start = time.perf_counter()
        left = execute(notebook)
        seconds = time.perf_counter() - start
        if left:
            sys.exit(f"{path.name} left files behind: {', '.join(left)}")
        nbformat.write(clean(notebook), path)
        print(f"{path.name}  {seconds:.1f} s, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
