"""How much of a network was compared."""

import pytest

from aimv2_np.comparison import Coverage


def test_modules_count_and_what_lies_inside_of_attention_does_not():
    found = Coverage.of(
        ["inputs/pixel_values", "embeddings", "layers.0.attention.q"], ["layers.0", "layers.0.attention.probs", "norm"]
    )
    assert found == Coverage(("embeddings",), ("layers.0", "norm"))
    assert (found.modules, found.share, found.enough) == (3, 1 / 3, False)
    assert str(found) == "1 of 3 modules (33%)"


@pytest.mark.parametrize(("compared", "missing", "enough"), [("ab", "cd", True), ("a", "bc", False), ("", "", True)])
def test_half_is_enough(compared, missing, enough):
    assert Coverage.of(compared, missing).enough is enough


def test_what_is_required_and_missing():
    found = Coverage.of(["layers.0.ffn", "norm"], ["layers.1.ffn", "layers.1"])
    assert found.lacking(["norm"]) == ()
    assert found.lacking(["norm", "*.ffn"]) == ("layers.1.ffn",)
    assert found.lacking(["*"]) == ("layers.1.ffn", "layers.1")
    with pytest.raises(ValueError, match=r"required is 'layers\.2', which no module of the reference matches; did you"):
        found.lacking(["layers.2"])
