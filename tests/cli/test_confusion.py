import numpy as np
from click.testing import CliRunner

from aimv2_np.cli import output
from aimv2_np.cli.confusion import confusion_table
from aimv2_np.tasks import knn


def test_many_classes_are_the_pairs_that_are_confused():
    classes = [f"class {i:02}" for i in range(20)]
    train = np.eye(20)
    test = np.concatenate([np.eye(20), np.eye(20)[[3, 3, 5]]])
    result = knn(train, classes, test, [*classes, "class 07", "class 07", "class 01"], k=1)
    runner = CliRunner()
    with runner.isolation() as (out, *_):
        output.console().print(confusion_table(result))
        lines = out.getvalue().decode().splitlines()
    assert [line.split() for line in lines] == [
        ["pictures", "is", "taken", "for"], ["2", "class", "07", "class", "03"], ["1", "class", "01", "class", "05"],
    ]  # fmt: skip
