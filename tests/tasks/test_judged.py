import numpy as np
import pytest

from aimv2_np.tasks.judged import Judged, checked_labels, class_numbers

SHARES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])


def test_what_is_said_of_pictures_whose_classes_are_known():
    it = Judged(("cat", "dog"), SHARES.argmax(axis=1), SHARES, np.array([0, 0, 0]))
    assert it.labels == ("cat", "dog", "cat")
    assert it.accuracy == pytest.approx(2 / 3)
    assert it.confusion.tolist() == [[2, 1], [0, 0]]
    assert it.calibration.counts.sum() == 3


def test_without_classes_nothing_is_right_or_wrong():
    it = Judged(("cat", "dog"), SHARES.argmax(axis=1), SHARES, None)
    for name in ("accuracy", "confusion", "calibration"):
        with pytest.raises(ValueError, match="own classes were not given"):
            getattr(it, name)


def test_numbers_of_classes():
    assert class_numbers(["b", "a", "b"], ["a", "b"]).tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match=r"no picture of 'c', 'd', which test has; expected the classes a, b"):
        class_numbers(["d", "c"], ["a", "b"])


@pytest.mark.parametrize("labels", ["ab", [1, 2], ["a"]])
def test_labels_that_are_none(labels):
    with pytest.raises(ValueError, match=r"^labels "):
        checked_labels(labels, 2, "labels")
