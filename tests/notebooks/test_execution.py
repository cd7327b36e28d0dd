"""Every notebook runs from top to bottom in a fresh kernel, offline, and shows what is committed."""

import pytest

from tests.support.notebooks import MACHINE, NEEDED, PATHS, execute, open_exercise, outputs, solutions, source

pytestmark = NEEDED


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_shows_what_is_committed_and_its_solutions_hold(path):
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    committed = [(cell.execution_count, outputs(cell)) for cell in notebook.cells if cell.cell_type == "code"]
    work = [*solutions(notebook), open_exercise(path, notebook)]
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in work]

    assert execute(notebook) == [], "files were left behind"

    executed = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for (count, before), cell in zip(committed, executed, strict=False):
        shown = outputs(cell)
        assert not [text for name, text in shown if name == "stderr"], source(cell)
        assert count == cell.execution_count
        if MACHINE not in cell.metadata.get("tags", []):
            assert shown == before, source(cell)
