import numpy as np
import pytest

from aimv2_np.training import Augmentation
from aimv2_np.training.pairs import PairMaker
from tests.support.training import Squares, processor


def maker(**changes):
    whole = processor()
    settings = {
        "pictures": Squares(), "image_processor": whole.image_processor, "tokenizer": whole.tokenizer,
        "size": (12, 12), "tokens": 9, "start": False, "augmentation": None, "seed": 0,
    }  # fmt: skip
    return PairMaker(**{**settings, **changes})


def test_captions_without_the_start_token_end_with_their_end():
    """The decoder has a start of its own."""
    made, tokenizer = maker(), processor().tokenizer
    ids, keys = made.captions(["red", "a small red star"])
    expected = [tokenizer.encode(text)[1:] for text in ("red", "a small red star")]
    assert [row[key].tolist() for row, key in zip(ids, keys, strict=True)] == expected
    assert (ids[0][~keys[0]] == tokenizer.pad_token_id).all()
    assert ids[1, -1] == tokenizer.eos_token_id


def test_with_it_they_are_what_the_tokenizer_gives():
    made, tokenizer = maker(start=True), processor().tokenizer
    ids, keys = made.captions(["red", "a small red star"])
    theirs = tokenizer(["red", "a small red star"], padding=True)
    np.testing.assert_array_equal(ids, theirs["input_ids"])
    np.testing.assert_array_equal(keys, theirs["attention_mask"])


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("tokens", [3, 5])
def test_long_captions_are_cut_and_keep_their_end(start, tokens):
    ids, keys = maker(start=start, tokens=tokens).captions(["a small red star above a large blue circle"])
    assert ids.shape == (1, tokens)
    assert keys.all()
    assert ids[0, -1] == processor().tokenizer.eos_token_id


def test_the_same_places_give_the_same_numbers_whatever_else_is_asked_for():
    made = maker(augmentation=Augmentation())
    whole, part = made(range(8)), made(range(4, 8))
    np.testing.assert_array_equal(whole.pixels[4:], part.pixels)
    np.testing.assert_array_equal(whole.ids[4:, : part.ids.shape[1]], part.ids)


def test_augmented_pictures_differ_from_epoch_to_epoch():
    made = maker(augmentation=Augmentation(), pictures=Squares(1))
    assert not np.array_equal(made(range(1)).pixels, made(range(1, 2)).pixels)
    whole = maker(pictures=Squares(1))
    np.testing.assert_array_equal(whole(range(1)).pixels, whole(range(1, 2)).pixels)


def test_a_processor_of_another_size_is_told():
    with pytest.raises(
        ValueError, match=r"makes pictures of .*\(12, 12\).*; expected \(16, 16\), the network's image_size"
    ):
        maker(size=(16, 16))(range(2))


class Damaged(Squares):
    """The pictures with these numbers cannot be read."""

    def __init__(self, numbers):
        super().__init__(5)
        self.numbers = numbers

    def __getitem__(self, number):
        if number in self.numbers:
            raise ValueError("it is damaged")
        return super().__getitem__(number)


def test_in_the_place_of_a_damaged_picture_comes_the_next():
    """Always the same one, and a warning names the first."""
    made = maker(pictures=Damaged({1, 2}))
    with pytest.warns(UserWarning, match=r"square [12] is left out: it is damaged"):
        found = made(range(5))
    assert found.pixels.shape == (5, 3, 12, 12)
    np.testing.assert_array_equal(made(range(5)).pixels, found.pixels)  # and is not warned of again


def test_where_none_can_be_read_it_ends():
    with pytest.warns(UserWarning, match="left out"), pytest.raises(ValueError, match=r"none of 5 .* can be read"):
        maker(pictures=Damaged(set(range(5))))(range(1))
