"""No two causes are the same function: where they are, neither could be named."""

from itertools import combinations

import numpy as np
import pytest

from aimv2_np.comparison.comparison import Comparison
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.ends import Embeds
from aimv2_np.comparison.diagnosis.search import FAULTS
from aimv2_np.comparison.diagnosis.stages import EMBEDS, LOGITS, towers_of
from aimv2_np.recording.recording import Recording
from tests.support.planted import all_towers

# A bias that counts twice and pixels that count half are one function where a norm follows and nothing lies between.
KNOWN = {("missing_bias", "wrong_normalisation")}
SEEN, SAME = 1e-5, 5e-6  # relative differences: from what is right, and of two causes


def context_of(tower):
    model, given, reference = all_towers()[tower]
    arrays = {path: array for path, array in reference.items() if not path.startswith("inputs/")}
    recording = Recording.from_arrays(arrays, given)
    return Context(recording, recording, {}, Comparison((), (), ()), lambda path, array: (0.0, True), model)


def outputs(stage, x, context):
    """Cause and path → what the stage gives with the cause planted there, where it is another output."""
    name = stage.path or LOGITS[1]
    right = stage.run(x, {}, inner=False)[name]
    found = {}
    for fault in FAULTS:
        for path, module in stage.module.named_modules(stage.path):
            faulty = fault.plant(module, path, context) if type(module) in fault.plants else None
            if faulty is not None:
                try:
                    y = stage.run(x, {path: faulty}, inner=False)[name]
                except ValueError:  # other shapes than the next module takes
                    continue
                if y.shape == right.shape and np.linalg.norm(y - right) > SEEN * np.linalg.norm(right):
                    found[fault.identifier, fault.sentence, path] = y
    return found, right


@pytest.mark.parametrize("tower", ["learned", "native", "stretched", "text", "padded", "both"])
def test_no_two_causes_are_the_same_function(tower):
    context, ties = context_of(tower), set()
    with np.errstate(all="ignore"):
        for name, chain in towers_of(context).items():
            embeds = (context.reference.array("text_embeds"), context.reference.array("image_embeds"))
            x = Embeds(*embeds) if name == EMBEDS else context.input(name)
            for stage in (*chain[:2], *chain[5:]):  # of the layers the first
                found, right = outputs(stage, x, context)
                ties |= {
                    (one[0], other[0])
                    for (one, y), (other, z) in combinations(found.items(), 2)
                    if one[0] != other[0] and one[2] == other[2]
                    if np.linalg.norm(y - z) < SAME * np.linalg.norm(y)
                }
                x = right
    assert ties <= KNOWN
