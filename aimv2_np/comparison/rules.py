"""The caller's rules for names: theirs → ours, where `*` stands for any text and is carried over."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches

from aimv2_np.errors import a_type

Compiled = list[tuple[re.Pattern[str], str]]


def parse_mapping(mapping: Mapping[str, str] | Iterable[str] | None) -> list[tuple[str, str]]:
    """Pairs (theirs, ours) of a mapping, or of texts `theirs=ours`; ValueError where that cannot be."""
    if isinstance(mapping, Mapping):
        pairs = list(mapping.items())
    elif mapping is not None and not isinstance(mapping, Iterable):
        raise TypeError(f"mapping is {a_type(mapping)}; expected a dict of their names → ours, or texts 'theirs=ours'")
    else:
        rules = [mapping] if isinstance(mapping, str) else mapping or ()
        pairs = [(theirs, ours) for theirs, _, ours in (str(rule).partition("=") for rule in rules)]
    for theirs, ours in pairs:
        texts = isinstance(theirs, str) and isinstance(ours, str)
        if not texts or not theirs or not ours or ours.count("*") > theirs.count("*"):
            raise ValueError(
                f"mapping is {theirs!r:.100} = {ours!r:.100}; expected 'theirs=ours', with no more stars on the right "
                "than on the left, such as 'blocks.*.mlp=encoder.layers.*.ffn'"
            )
    return pairs


def compiled(rules: Iterable[tuple[str, str]], star: str) -> Compiled:
    """Rules whose left side is a regular expression, with `star` for its stars."""
    return [(re.compile(star.join(map(re.escape, theirs.split("*"))), re.DOTALL), ours) for theirs, ours in rules]


def applied(rules: Iterable[tuple[re.Pattern[str], str]], name: str) -> str | None:
    """What the first rule that fits the whole name makes of it; None where none does."""
    for pattern, target in rules:
        if match := pattern.fullmatch(name):
            first, *rest = target.split("*")
            return first + "".join(text + piece for text, piece in zip(match.groups(), rest, strict=False))
    return None


def check_rules(
    rules: Iterable[tuple[str, str]],
    ours: Collection[str],
    theirs: Collection[str],
    naming: Callable[[str], str | None],
) -> None:
    """ValueError for a rule that fits none of their names, or after which none of those that it fits is one of ours."""
    rules = list(rules)
    for rule, one in zip(rules, compiled(rules, "(.*)"), strict=True):
        fitting = [name for name in theirs if one[0].fullmatch(name)]
        if not fitting:
            raise ValueError(
                f"the mapping {'='.join(rule)!r:.200} fits no name of the other side; did you mean "
                f"{_near(rule[0], theirs)}?"
            )
        # Another rule may be the first that fits: then this one is of no use, but leads nowhere wrong.
        if all(naming(name) is None for name in fitting):
            target = applied([one], fitting[0])
            raise ValueError(
                f"the mapping {'='.join(rule)!r:.200} makes {target!r:.100} of {fitting[0]!r:.100}, which the "
                f"reference does not have; did you mean {_near(str(target), ours)}?"
            )


def _near(name: str, names: Collection[str]) -> str:
    """The three names that are most like `name`, or the first three."""
    some = list(names)[:5000]  # each costs time: hostile files may have more
    return ", ".join(f"{near:.100}" for near in get_close_matches(name, some, 3, 0.5) or some[:3])
