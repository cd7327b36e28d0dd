"""What the grammar says of scenes is read again by a reader that was written apart from it."""

import re

import numpy as np
from hypothesis import given

from aimv2_np.data.grammar import fact, forget, paraphrase
from aimv2_np.data.world import COLORS, RELATIONS, SHAPES, SIZES, Scene, Thing, holds
from tests.support.scenes import scenes, seeds

MEANING = {"little": "small", "big": "large", "over": "above", "on top of": "above", "under": "below"}
MEANING |= {"beneath": "below", "left": "left of", "right": "right of"}
NOUN = (
    rf"(?:an?|something)(?: (?P<size>{'|'.join([*SIZES, 'little', 'big'])}))?"
    rf"(?: (?P<color>{'|'.join(COLORS)}))?(?: (?P<shape>{'|'.join([*SHAPES, 'thing'])}))?"
)
JOINT = (
    r" (?:that is )?(?:(?:to|on) the )?"
    r"(above|over|on top of|below|under|beneath|left|right|and|with|next to)(?: of)? "
)


def read(text: str) -> Scene:
    """The scene a caption describes; fails where the grammar is not obeyed."""
    text = re.sub(r"^a (picture|drawing|photo) of ", "", text)
    parts = re.split(JOINT, text)

    def thing(words: str) -> Thing:
        match = re.fullmatch(NOUN, words)
        assert match, words
        said = match.groupdict()
        shape = None if said["shape"] == "thing" else said["shape"]
        return Thing(shape, said["color"], MEANING.get(said["size"], said["size"]))

    if len(parts) == 1:
        return Scene((thing(parts[0]),))
    left, joint, right = parts
    relation = MEANING.get(joint, joint)
    return Scene((thing(left), thing(right)), relation if relation in RELATIONS else None)


@given(scenes, seeds)
def test_a_paraphrase_says_the_same(scene, seed):
    assert fact(read(paraphrase(scene, np.random.default_rng(seed)))) == fact(scene)


@given(scenes, seeds)
def test_a_caption_with_parts_left_out_stays_true(scene, seed):
    rng = np.random.default_rng(seed)
    partial = forget(scene, rng)
    assert holds(partial, scene)
    assert holds(read(paraphrase(partial, rng)), scene)
