import pytest

from aimv2_np.training import Recipe, Schedule


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected a whole number"),
        ({"accumulate": True}, "accumulate is True; expected"),
        ({"batch_size": 10, "accumulate": 3}, "batch_size is 10; expected a multiple of accumulate, 3"),
        ({"clip": 0}, "clip is 0; expected a length above 0, or None"),
        ({"average": 1.0}, "average is 1.0; expected a share"),
    ],
)
def test_what_is_no_recipe_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        Recipe(Schedule(3), **fields)
