"""What executing a notebook promises: a fresh kernel, an empty folder, no network."""

import pytest

from tests.support.notebooks import NEEDED, execute, outputs

pytestmark = NEEDED


def notebook(*code):
    import nbformat

    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in code])


def test_text_figures_and_counts_are_kept():
    import nbformat

    it = notebook("print(1)\nprint(2)", "import matplotlib.pyplot as plt\nplt.plot([1])\nplt.show()", "6 * 7")
    assert execute(it) == []
    nbformat.validate(it)
    (text,), (*_, figure), (value,) = (outputs(cell) for cell in it.cells)
    assert text == ("stdout", "1\n2\n")
    assert figure[0] == "image/png text/plain"
    assert value == ("text/plain", "42")
    assert [cell.execution_count for cell in it.cells] == [1, 2, 3]


def test_files_left_behind_are_named():
    code = "from pathlib import Path\nassert not list(Path().iterdir())\nPath('a').mkdir()\nPath('a/b').touch()"
    assert execute(notebook(code)) == ["a", "a/b"]


@pytest.mark.parametrize("ask", ["getaddrinfo('localhost', 80)", "create_connection(('127.0.0.1', 80))"])
def test_there_is_no_network(ask):
    it = notebook(f"import socket\ntry:\n    socket.{ask}\nexcept OSError as error:\n    print(error)")
    execute(it)
    assert outputs(it.cells[0]) == [("stdout", "there is no network\n")]


def test_a_failing_cell_is_an_error():
    from nbclient.exceptions import CellExecutionError

    with pytest.raises(CellExecutionError, match="1 / 0"):
        execute(notebook("1 / 0"))
