"""The faults that are planted: what a module computes stays, what comes back does not; and they are worded."""

import numpy as np
import pytest

from aimv2_np.backends.operation import looking_inside
from aimv2_np.comparison import compare
from aimv2_np.comparison.diagnosis.backward.chain import chain_of
from aimv2_np.comparison.diagnosis.backward.search import FAULTS
from aimv2_np.comparison.diagnosis.backward.walk import Clue
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.ends import Embeds
from aimv2_np.comparison.diagnosis.stages import plant
from aimv2_np.gradients.variable import Variable, value_of

NOTHING = 4e-6  # relative to the largest number: 32 ε of float32, through a layer


@pytest.fixture(scope="module")
def chain(model, reference):
    forward = reference.forward
    context = Context(forward, forward, {path: path for path in forward.order}, compare(forward, forward), None, model)
    return chain_of(
        context,
        reference.backward,
        lambda path, _: None,
        lambda path, _: reference.backward.array(path),
        inner=False,
        dtype="float64",
    )


def outputs(link, module):
    x = [Variable(part) if link.names else part for part in (link.x if isinstance(link.x, Embeds) else (link.x,))]
    with looking_inside():
        output = link.stage.call(module, Embeds(*x) if isinstance(link.x, Embeds) else x[0])
    return value_of(output[0] if isinstance(output, tuple) else output)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.identifier}: {fault.sentence[:50]}")
def test_outputs_stay_and_gradients_change(fault, chain):
    planted = 0
    for link, modules in zip(chain.links, chain.modules, strict=True):
        right = None
        for path, module in modules.items():
            faulty = fault.plant(chain.twins[path], path, Clue(3.0)) if type(module) in fault.plants else None
            if faulty is None:
                continue
            planted += 1
            if right is None:
                stage = link.stage.module.map(lambda p, a: Variable(a) if p in chain.weights else a, link.stage.path)
                right = outputs(link, stage)
            found = outputs(link, plant(stage, {path: faulty}, link.stage.path))
            np.testing.assert_allclose(found, right, rtol=0, atol=NOTHING * max(1.0, np.abs(right).max()))
            words = fault.sentence_for({path: module}, {path: faulty})
            assert "{" not in words, words
    assert planted or fault.sentence == "{path} takes the derivative of silu for that of {m.hidden_act}"  # which it has


def test_without_faults_the_walk_gives_the_gradients_of_the_tape(chain, reference):
    looks = {look.path: look for each in chain.walk() if each for look in each.looks}
    assert set(looks) == set(reference.backward.order) - {"logits_per_image"}
    for look in looks.values():
        size = np.sqrt(np.mean(np.square(look.found)))
        if not look.path.endswith("k_proj.bias"):  # zero but for rounding
            np.testing.assert_allclose(look.expected, look.found, rtol=0, atol=1e-4 * size, err_msg=look.path)


def test_what_two_passes_have_in_common_is_taken_from_the_first(chain):
    first = chain.walk()
    fault = next(fault for fault in FAULTS if fault.identifier == "norm_term_missing")
    second = chain.walk({"vision_model.encoder.layers.1.rms_norm1": [fault]}, first)
    anew = [i for i, (one, other) in enumerate(zip(first, second, strict=True)) if one is not other]
    assert [chain.links[i].stage.path for i in anew] == ["vision_model.encoder.layers.1"]
    third = chain.walk({"vision_model.encoder.layers.1.rms_norm1": [fault]}, second)
    assert all(one is other for one, other in zip(second, third, strict=True))
