"""Every fault that ports have, everywhere or in one layer, is found and named, and nothing untrue is said."""

from importlib import import_module

import numpy as np
import pytest

from aimv2_np.comparison import compare
from tests.support.planted import PLANTED, all_towers, outside, port, towers
from tests.support.port import Port

LAYERED = [name for name, fault in PLANTED.items() if fault.layered]
# From what layers give: zeros within do what other rows of zeros would, and ε is not in the table.
WITHIN = ("zero", "negative", "eps 0.0123", "eps 0.0321")


def found(name, tower, layer=None, keep=lambda path: True):
    model, given, reference = all_towers()[tower]
    other = port(PLANTED[name], layer)(model).run(**given)
    return compare(reference, {path: array for path, array in other.items() if "/" in path or keep(path)}, model=model)


def check(name, result):
    assert not result.equal
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == PLANTED[name].identifier, result.explanation
    assert "Something else" not in result.explanation
    assert result.diagnosis.explained > 0.9
    assert result.diagnosis.change in result.explanation


@pytest.mark.parametrize("tower", towers())
def test_a_faithful_port(tower):
    model, given, reference = all_towers()[tower]
    result = compare(reference, Port(model).run(**given), model=model)
    assert result.equal, result.explanation
    assert result.diagnosis is None


@pytest.mark.parametrize("name", PLANTED)
def test_everywhere(name):
    check(name, found(name, PLANTED[name].towers.split()[0]))


@pytest.mark.parametrize("name", LAYERED)
def test_in_one_layer(name):
    tower = PLANTED[name].towers.split()[-1]
    result = found(name, tower, layer=1)
    check(name, result)
    assert result.first.path.startswith("encoder.layers.1")


@pytest.mark.parametrize("name", [name for name in PLANTED if not name.startswith(WITHIN)])
def test_from_what_layers_give(name):
    check(name, found(name, PLANTED[name].towers.split()[0], keep=outside))


def test_a_port_without_the_last_norm_is_not_said_to_have_a_wrong_head():
    result = found("no final norm, learned", "learned", keep=lambda path: path != "rms_norm")
    assert result.first.path == "head.k_proj"
    assert "rms_norm is left out" in result.diagnosis.sentence


@pytest.mark.parametrize(
    ("name", "change", "identifier"),
    [
        ("input_ids", lambda ids: np.roll(ids, 2, 1), "left_padding"),
        ("input_ids", lambda ids: ids[:, ::-1], "tokens_reversed"),
        ("input_ids", lambda ids: ids[::-1], "wrong_batch"),
        ("attention_mask", lambda mask: 1 - mask, "padding_inverted"),
        ("attention_mask", np.ones_like, "padding_ignored"),
    ],
)
def test_other_inputs(name, change, identifier):
    model, given, reference = all_towers()["padded"]
    result = compare(reference, Port(model).run(**{**given, name: change(given[name])}), model=model)
    assert result.first.path == f"inputs/{name}"
    assert result.diagnosis.identifier == identifier


def test_a_token_more_is_a_cls_token():
    class Cls(Port):
        def embed(self, prefix, patches, positions, eps):
            x = super().embed(prefix, patches, positions, eps)
            return np.concatenate([x[:, :1] * 0, x], axis=1)

    model, given, reference = all_towers()["native"]
    result = compare(reference, Cls(model).run(**given), model=model)
    assert result.diagnosis.identifier == "cls_token_assumed"
    assert "one more" in result.diagnosis.sentence


def test_who_waits_is_told_what_is_tested():
    model, given, reference = all_towers()["learned"]
    said = []
    compare(reference, port(PLANTED["no scale, learned"])(model).run(**given), model=model, progress=said.append)
    assert any("is it missing_scale?" in what for what in said)
    assert said[-1] == "looking where errors arise"


def test_a_search_that_takes_too_long_is_ended_and_says_so(monkeypatch):
    module = import_module("aimv2_np.comparison.diagnosis.trials")
    monkeypatch.setattr(module, "SECONDS", 0.0)
    model, given, reference = all_towers()["learned"]
    result = compare(reference, port(PLANTED["no activation, learned"])(model).run(**given), model=model)
    assert result.diagnosis is None
    assert "The search was ended: it took too long." in result.explanation


def halves(path):
    """Of layers what attention and the MLP give, and not their sum."""
    return "layers" not in path or path.endswith((".attention", ".ffn"))


@pytest.mark.parametrize("layer", [None, 2])
def test_what_lies_in_a_module_that_agrees_is_not_named(layer):
    class Subtracted(Port):
        def block(self, path, config, x, allowed):
            y = self.norm(f"{path}.rms_norm1", x, config.rms_norm_eps)
            y = x + self.attention(f"{path}.attention", config, y, allowed)
            here = layer is None or path.endswith(f".{layer}")
            z = self.ffn(f"{path}.ffn", config, self.norm(f"{path}.rms_norm2", y, config.rms_norm_eps))
            return y - z if here else y + z

    model, given, reference = all_towers()["learned"]
    other = Subtracted(model).run(**given)
    kept = {path: array for path, array in other.items() if "/" in path or halves(path)}
    result = compare(reference, kept, model=model)
    assert result.diagnosis is None or result.diagnosis.identifier == "half_scaled", result.explanation
    assert "up_proj" not in result.explanation
