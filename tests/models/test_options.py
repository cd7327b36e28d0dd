import pytest

from aimv2_np import Aimv2Model
from aimv2_np.files.hub import HubOptions
from aimv2_np.models.options import ModelOptions, fetching


@pytest.mark.parametrize("name", ModelOptions.__annotations__)
def test_help_tells_of_every_option(name):
    text = Aimv2Model.from_pretrained.__doc__ or ""
    assert any(name in line.partition(":")[0].split(", ") for line in map(str.strip, text.splitlines()))


def test_processors_are_fetched_by_the_options_of_the_hub():
    assert fetching(dict.fromkeys(ModelOptions.__annotations__)) == dict.fromkeys(HubOptions.__annotations__)
    assert fetching({"torch_dtype": "x", "typo": 1}) == {"torch_dtype": "x", "typo": 1}  # refused by whom they are for
