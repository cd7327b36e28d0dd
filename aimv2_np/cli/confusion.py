"""How commands that know what pictures are show what was made of them: nearest neighbours and probes."""

from typing import TYPE_CHECKING, Any

from aimv2_np.cli import output

if TYPE_CHECKING:
    from rich.table import Table

    from aimv2_np.tasks import Judged, Labelled

SHOWN = 12  # classes up to which the whole matrix is printed; above, the pairs that are confused most


def confusion_table(result: "Judged") -> "Table":
    """Who was taken for whom: the whole matrix of a few classes, of many the pairs that are confused most."""
    return _matrix(result) if len(result.classes) <= SHOWN else _pairs(result)


def pictures_of(result: "Judged", asked: "Labelled", share: str = "share") -> list[dict[str, Any]]:
    """Of each picture its name, what it is, what it was taken for, and how much spoke for that; for JSON."""
    return [
        {"image": name, "class": actual, "predicted": predicted, share: float(shares.max())}
        for name, actual, predicted, shares in zip(asked.names, asked.labels, result.labels, result.shares, strict=True)
    ]


def _matrix(result: "Judged") -> "Table":
    table = output.table(header=True)
    table.add_column("is \\ taken for", overflow="fold")
    for name in result.classes:
        table.add_column(output.printable(name), justify="right", overflow="fold")
    for i, (name, row) in enumerate(zip(result.classes, result.confusion, strict=True)):
        cells = [f"[{count}]" if i == j and count else str(count or "·") for j, count in enumerate(row)]
        table.add_row(output.printable(name), *cells)
    return table


def _pairs(result: "Judged") -> "Table":
    """The classes that are confused most."""
    table = output.table(header=True)
    for title in ("pictures", "is", "taken for"):
        table.add_column(title, justify="right" if title == "pictures" else "left", overflow="fold")
    wrong = result.confusion.copy()
    wrong[range(len(wrong)), range(len(wrong))] = 0
    for place in (-wrong).ravel().argsort(kind="stable")[:SHOWN]:
        row, column = divmod(int(place), len(wrong))
        if wrong[row, column]:
            names = (result.classes[row], result.classes[column])
            table.add_row(str(wrong[row, column]), *map(output.printable, names))
    return table
