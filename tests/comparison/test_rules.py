"""The caller's rules for names: what they are, what they make of a name, and when they are of no use."""

import pytest

from aimv2_np.comparison.rules import applied, check_rules, compiled, parse_mapping


@pytest.mark.parametrize(
    "wrong", [["no equals sign"], ["=ours"], ["theirs="], ["a=b.*"], {"a.*": "b.*.*"}, {"a": 3}, [3]]
)
def test_rules_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match=r"mapping is .*; expected 'theirs=ours'"):
        parse_mapping(wrong)


def test_what_is_no_mapping():
    with pytest.raises(TypeError, match="mapping is an int; expected a dict"):
        parse_mapping(3)


def test_the_first_rule_that_fits_the_whole_name_counts():
    rules = compiled(parse_mapping(["a.*.b=x.*", "a.*=y"]), "(.*)")
    assert applied(rules, "a.1.2.b") == "x.1.2"
    assert applied(rules, "a.1") == "y"
    assert applied(rules, "za.1") is None


def test_a_rule_has_to_fit_a_name_and_to_lead_to_a_path():
    known = {"x.1": "layers.1"}.get
    check_rules([("x.*", "layers.*")], ["layers.1"], ["x.1", "x.2"], known)  # not all that it fits need be there
    with pytest.raises(ValueError, match=r"'z\.\*=layers\.\*' fits no name of the other side; did you mean x\.1"):
        check_rules([("z.*", "layers.*")], ["layers.1"], ["x.1"], known)
    with pytest.raises(ValueError, match=r"makes 'layer\.2' of 'x\.2', .* does not have; did you mean layers\.1\?"):
        check_rules([("x.*", "layer.*")], ["layers.1"], ["x.2"], known)
