import json
import shutil

import numpy as np
import pytest

from aimv2_np.comparison.published import PUBLISHED, Published, verify_published
from aimv2_np.recording.inputs import load_with_inputs
from tests.support.pictures import photo
from tests.support.two_towers import save_two_towers, save_vision_tower

TEXTS = ("a photo of a cat", "a photo of a dog")


@pytest.fixture(scope="module")
def lit(tmp_path_factory):
    return save_two_towers(tmp_path_factory.mktemp("published") / "made-up-lit")


@pytest.fixture(scope="module")
def cats():
    return photo(480, 640)


def looks_ahead(folder):
    """The same checkpoint, whose captions' last tokens do not end them: then causality shows in the pooled row."""
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 320  # "a": its first one, which must not see what follows
    (folder / "config.json").write_text(json.dumps(config))


def table(folder, cats, **options):
    """Made-up publications: what the checkpoint computes under these options, to four decimals."""
    model, inputs = load_with_inputs(folder, [cats], TEXTS)
    logits = model(**inputs, **options).logits_per_image
    return {"apple/made-up-lit": Published("logits_per_image", (1, 2), np.round(logits, 4).tolist(), TEXTS)}


@pytest.mark.parametrize(("causal", "way", "other"), [(True, "causal", "non-causal"), (False, "non-causal", "causal")])
def test_it_says_which_attention_gives_the_logits(tmp_path, cats, causal, way, other):
    folder = save_two_towers(tmp_path / "made-up-lit")
    looks_ahead(folder)
    result = verify_published(folder, cats, table=table(folder, cats, causal=causal))
    assert result.equal
    assert [attempt.attention for attempt in result.attempts if attempt.equal] == [way]
    assert f"with {way} attention" in result.explanation
    assert f"with {other} attention it is off by" in result.explanation


def test_other_numbers(lit, cats):
    wrong = {"apple/made-up-lit": Published("logits_per_image", (1, 2), [[33.3550, 26.4255]], TEXTS)}
    result = verify_published(lit, cats, table=wrong)
    assert not result.equal
    assert result.explanation.startswith("apple/made-up-lit does not give the published numbers: off by ")
    assert "The picture is" not in result.explanation
    assert "The picture is 60x40" in verify_published(lit, photo(40, 60), table=wrong).explanation


def test_a_vision_tower(tmp_path, cats):
    folder = save_vision_tower(tmp_path / "made-up", use_head=False)
    model, inputs = load_with_inputs(folder, [cats])
    states = model(**inputs).last_hidden_state
    corner = np.round(states[0, :3, :4], 4).tolist()
    published = {"apple/made-up": Published("last_hidden_state", states.shape, corner)}
    shutil.copytree(folder, tmp_path / "elsewhere")
    for place, name in ((folder, None), (tmp_path / "elsewhere", "apple/made-up")):
        result = verify_published(place, cats, name=name, table=published)
        assert result.equal
        assert len(result.attempts) == 1
        # float32's own digits beyond the four published ones
        assert result.attempts[0].max_abs <= 0.5001e-4
        assert "gives the published numbers" in result.explanation
    corner[2][3] += 0.0015
    assert not verify_published(tmp_path / "elsewhere", cats, name="made-up", table=published).equal


def test_another_shape_and_an_unknown_checkpoint(lit, cats):
    wrong = {"apple/made-up-lit": Published("logits_per_image", (1, 3), [[0, 0, 0]], TEXTS)}
    with pytest.raises(ValueError, match=r"is of shape \(1, 2\); expected the published \(1, 3\)"):
        verify_published(lit, cats, table=wrong)
    with pytest.raises(ValueError, match="model is apple/aimv2-huge-patch14-224, for which no numbers are published"):
        verify_published("apple/aimv2-huge-patch14-224", cats)


def test_the_table_is_consistent():
    for name, published in PUBLISHED.items():
        assert name.startswith("apple/aimv2-large-patch14-")
        corner = np.asarray(published.corner)
        assert corner.shape == ((1, 2) if published.texts else (7, 4))
        assert published.shape[-1] >= corner.shape[1]
