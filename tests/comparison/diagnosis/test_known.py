"""What a trial need not compute anew, and that it finds the same without."""

import numpy as np
import pytest

from aimv2_np.comparison.diagnosis import known, stages
from aimv2_np.comparison.diagnosis.known import known_of, listening
from aimv2_np.network.linear import Linear
from aimv2_np.tree.trace import trace
from tests.comparison.diagnosis.test_planted import check, found
from tests.support.models import vision_model
from tests.support.planted import PLANTED

SOME = list(PLANTED)[::15]


@pytest.fixture
def layer():
    return vision_model().encoder.layers[0]


@pytest.fixture
def calls(monkeypatch):
    """The linear maps that are computed."""
    computed = []
    forward = Linear.forward
    monkeypatch.setattr(Linear, "forward", lambda self, x: computed.append(self) or forward(self, x))
    return computed


def test_what_is_called_with_the_same_array_is_not_computed_again(layer, calls):
    recorder, x = known_of(layer.named_modules("layer")), np.ones((1, 9, 16), np.float32)
    with listening(recorder):
        first = layer.attention(x)
        assert len(calls) == 4
        with trace(layer) as traced:
            second = layer.attention(x)
        assert len(calls) == 5
        assert calls[4] is layer.attention.out_proj  # what it is given is a new array, though an equal one
        assert {"attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.out_proj"} <= traced.keys()
        layer.attention(x.copy())
        assert len(calls) == 9
    np.testing.assert_allclose(first, second, rtol=1e-5)
    layer.attention(x)
    assert len(calls) == 13


def test_another_module_is_computed(layer, calls):
    recorder, x = known_of(layer.named_modules("layer")), np.ones((1, 9, 16), np.float32)
    other = Linear(2 * layer.attention.q_proj.weight, None)
    with listening(recorder):
        y = layer.attention.q_proj(x)
        np.testing.assert_allclose(other(x), 2 * y, rtol=1e-6)
    assert calls == [layer.attention.q_proj, other]


def test_what_is_kept_is_not_changed_by_who_takes_it(layer):
    with listening(known_of(layer.named_modules("layer"))):
        y = layer.rms_norm1(np.ones((1, 9, 16), np.float32))
    with pytest.raises(ValueError, match="read-only"):
        y += 1


def test_there_is_room_for_so_much(layer, calls):
    recorder, x = known_of(layer.named_modules("layer")), np.ones((1, 9, 16), np.float32)
    recorder.room = x.nbytes
    with listening(recorder):
        layer.attention.q_proj(x)
        layer.attention.k_proj(x)  # for which there is no room any more
        layer.attention.q_proj(x)
        layer.attention.k_proj(x)
    assert calls == [layer.attention.q_proj, *2 * [layer.attention.k_proj]]


@pytest.mark.parametrize("name", SOME)
def test_faults_are_found_where_nothing_is_known(name, monkeypatch):
    monkeypatch.setattr(known, "KEPT", ())
    check(name, found(name, PLANTED[name].towers.split()[0]))


@pytest.mark.parametrize("name", SOME)
def test_faults_are_found_by_faster_bodies(name, monkeypatch):
    """As in models that are larger than those of tests."""
    monkeypatch.setattr(stages, "SMALL", 0)
    check(name, found(name, PLANTED[name].towers.split()[0]))
