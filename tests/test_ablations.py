"""The page of the ablations says of each claim what its numbers say, and a killed run goes on with what is there."""

import json

import pytest

from tests.tools import ablate_pretraining
from tests.tools.ablations.page import CLAIMS, LOSS, PROBE, Claim, learned, page, verdict
from tests.tools.ablations.variants import VARIANTS, names

BETTER, EQUAL = Claim("a", "b", "", better=True), Claim("a", "b", "", better=False)
APART, NEAR = ([0.7, 0.8, 0.9], [0.4, 0.5, 0.6]), ([0.7, 0.5, 0.9], [0.4, 0.8, 0.6])


@pytest.mark.parametrize(("claim", "found", "measure", "said"), [
    (BETTER, APART, PROBE, "reproduces: better in every seed"),
    (BETTER, APART, LOSS, "**the other way round here"),
    (BETTER, APART[::-1], PROBE, "**the other way round here"),
    (BETTER, NEAR, PROBE, "undecided here"),
    (EQUAL, NEAR, LOSS, "no difference here"),
    (EQUAL, APART, PROBE, "**not nearly equal here: the first is better"),
    (EQUAL, APART, LOSS, "**not nearly equal here: the second is better"),
])  # fmt: skip
def test_a_verdict_is_of_the_numbers(claim, found, measure, said):
    runs = dict(zip("ab", ([{measure: number} for number in some] for some in found), strict=True))
    assert verdict(claim, runs, measure).startswith(said)


def numbers(level):
    measures = [f"{what}, {kind}" for what in ("colour", "shape", "place") for kind in ("linear", "attentive")]
    return {**dict.fromkeys(measures, level), "caption loss": 1 - level, "seconds": 1.0}


def test_what_is_learned_is_above_what_an_untrained_encoder_knows():
    runs = {"untrained": [numbers(0.3)], "x": [numbers(0.35)], "y": [numbers(0.31) | {"shape, attentive": 0.5}]}
    colour, shape, place = learned(runs).splitlines()
    assert "hardly learned" in colour
    assert "): learned; the best, y, is +20.0 points" in shape
    assert "the best, x, is +5.0 points" in place


def test_every_claim_is_of_variants_that_are_run():
    assert {name for claim in CLAIMS for name in (claim.first, claim.second)} <= set(VARIANTS)
    text = page({name: [numbers(0.5)] * 3 for name in VARIANTS})
    assert all(f"| {name} | 50.0 (50.0–50.0)" in text for name in VARIANTS)
    with pytest.raises(ValueError, match="untrainde"):
        names(["untrainde"])


def test_what_was_measured_is_not_measured_again(tmp_path, monkeypatch):
    def run(variant, seed, folder):
        folder.mkdir()
        if len(list(tmp_path.glob("*.json"))) == 1:
            raise KeyboardInterrupt
        return numbers(0.5)

    monkeypatch.setattr(ablate_pretraining, "run", run)
    first, second = list(VARIANTS)[:2]
    ablate_pretraining.measured(tmp_path, first, 0)
    with pytest.raises(KeyboardInterrupt):
        ablate_pretraining.measured(tmp_path, second, 0)
    assert [json.loads(path.read_text())["variant"] for path in tmp_path.glob("*.json")] == [first]
    monkeypatch.setattr(ablate_pretraining, "run", None)
    assert ablate_pretraining.measured(tmp_path, first, 0)["caption loss"] == 0.5
