"""Other people's names for the same activations, translated by the tables of all layouts, and by the caller's rules.

A name is changed by the caller's own rules first. Then it is tried as it is, by `RULES`, with and without a tower's
prefix, and without what wrappers put before it, which is found from all of the other side's names.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from aimv2_np.comparison.operators import without_operator
from aimv2_np.comparison.rules import applied, check_rules, compiled, parse_mapping
from aimv2_np.storage import LAYOUTS
from aimv2_np.storage.inside import RENAMED, WRAPPERS
from aimv2_np.storage.layouts import llamacpp

# What the tables of weights do not tell: a module whose output is that of the module that it calls last, and what
# Transformers' eager attention returns besides its output.
OUTPUTS = (
    ("preprocessor.patchifier", "embeddings.rms_norm"),
    ("patch_embed", "embeddings.rms_norm"),
    ("attention.1", "attention.probs"),
)

TOWERS = ("vision_model.", "text_model.")
MOST_PREFIXES, DEEPEST = 4, 12  # how many are looked for, and in how many components: names may be hostile
# Which tower is meant by a prefix of other people's, where its modules could be those of either.
_TEXT_WORDS = re.compile(r"te?xt|lang|caption", re.IGNORECASE)
_PICTURE_WORDS = re.compile(r"vis|im(?:age|g)|pict", re.IGNORECASE)
# Transformers' `hidden_states`: what goes into the first layer, then what each layer gives.
_HIDDEN = re.compile(r"(|.*\.)hidden_states\.(\d{1,6})")


def _rules() -> list[tuple[str, str]]:
    """Theirs → ours, from the tables of all layouts: stretches of whole components, the longest first.

    `*` stands for the number of a layer. A row gives the name of its module, in two stretches where the name passes the
    number of a block, and the names of the modules that these are in.
    """
    rules = dict(OUTPUTS) | {theirs.strip("."): ours.strip(".") for theirs, ours in RENAMED.items()}
    for layout in (*LAYOUTS.values(), llamacpp.LAYOUT):
        rules |= {_module(theirs): _module(ours) for ours, theirs in layout.prefixes.items()}
        rows = [row for row in (*layout.vision, *layout.text, *layout.both) if len(row.names) == 1]
        pairs = [pair for row in rows for pair in zip(_stretches(row.theirs), _stretches(row.ours), strict=True)]
        outer = [tuple(re.sub(r"\.?[^.*]+$", "", name) for name in pair) for pair in pairs]
        for theirs, ours in (*pairs, *outer):
            rules.setdefault(theirs, ours)
    useful = [(theirs, ours) for theirs, ours in rules.items() if theirs and ours and theirs != ours]
    return sorted(useful, key=lambda rule: -rule[0].count("."))


def _stretches(tensor: str) -> list[str]:
    """The dotted name of a tensor's module, cut behind the number of a layer."""
    return re.split(r"(?<=\*)\.", _module(tensor))


def _module(tensor: str) -> str:
    """The dotted name of the module that a tensor belongs to; the tensor's own where it stands for a module."""
    name = tensor.replace("layers_", "layers.").replace("/", ".").removeprefix("params.").replace("{i}", "*")
    return re.sub(r"\.(weight|bias|kernel|scale|embedding)?$", "", name)


RULES = _rules()
_COMPILED = compiled(RULES, r"([^.]+)")
_ANY_RULE = re.compile("(?<![^.])(?:" + "|".join(pattern.pattern for pattern, _ in _COMPILED) + ")(?![^.])")


class Naming:
    """Translates the other side's names into the reference's.

    Args:
        ours: the reference's paths.
        mapping: theirs → ours, with as many `*` on the right as on the left at most: each stands for any text, and
            is carried over. `("blocks.*.mlp", "encoder.layers.*.ffn")`.
        theirs: all names of the other side: from these its prefixes are found, and rules that are of no use.

    Raises ValueError for rules that are no such pairs, that fit none of `theirs`, or lead to none of `ours`.
    """

    def __init__(
        self,
        ours: Collection[str],
        mapping: Mapping[str, str] | Iterable[str] | None = None,
        theirs: Collection[str] = (),
    ) -> None:
        self.ours = frozenset(ours)
        self._known: dict[str, str | None] = {}  # what has been translated without a prefix
        # Of one tower, which: the names of the other tower on the other side mean nothing here.
        single = not any(path.startswith(TOWERS) for path in self.ours)
        signs = {"embeddings.patch_embed": TOWERS[0], "embeddings.token_embedding": TOWERS[1]}
        self.alone = next((tower for sign, tower in signs.items() if single and sign in self.ours), "")
        rules = parse_mapping(mapping)
        self.rules = compiled(rules, "(.*)")
        layers = [int(number) for path in self.ours for number in re.findall(r"encoder\.layers\.(\d{1,6})", path)]
        states = [int(match[2]) for name in theirs if (match := _HIDDEN.fullmatch(_dotted(self._ruled(name))))]
        # Compilers number their temporary values likewise, and those are more.
        self.states = not layers or not states or max(states) <= max(layers) + 1
        self.prefixes: dict[str, str] = {}
        self._find_prefixes([self._ruled(name) for name in theirs])
        if theirs:
            check_rules(rules, ours, theirs, self)

    def __call__(self, theirs: str) -> str | None:
        """Our path for their name, or None when no rule leads to one."""
        name = self._ruled(theirs)
        direct = self._direct(name)
        if direct is not None or not self.prefixes:
            return direct
        plain = _dotted(name)
        found = (
            self._below(plain.removeprefix(prefix), tower)
            for prefix, tower in self.prefixes.items() if plain.startswith(prefix)
        )  # fmt: skip
        return next((path for path in found if path is not None), None)

    def plain(self, theirs: str) -> str:
        """Their name by the caller's rules, with dots, without wrappers and operators."""
        return _dotted(self._ruled(theirs))

    def _ruled(self, theirs: str) -> str:
        ruled = applied(self.rules, theirs)
        return theirs if ruled is None else ruled

    def _direct(self, name: str) -> str | None:
        if name not in self._known:
            self._known[name] = next((path for path in self._candidates(name) if path in self.ours), None)
        return self._known[name]

    def _candidates(self, theirs: str) -> Iterable[str]:
        plain = _dotted(theirs)
        translated = rename(plain) if plain else ""
        states = (_hidden(plain), _hidden(translated)) if self.states else ()
        for name in (theirs, plain, translated, *states):
            if name:
                yield name
                yield self._without_tower(name)
                yield from (tower + name for tower in TOWERS)

    def _without_tower(self, name: str) -> str:
        tower = next((tower for tower in TOWERS if name.startswith(tower)), "")
        return name.removeprefix(tower) if self.alone in ("", tower) else name

    def _below(self, name: str, tower: str) -> str | None:
        """Our path for a dotted name without their prefix, in the tower that the prefix stands for."""
        translated = rename(name)
        for path in (name, translated, _hidden(translated) if self.states else ""):
            if path and tower + path in self.ours:
                return tower + path
            if path and not tower and self._without_tower(path) in self.ours:
                return self._without_tower(path)
        return None

    def _find_prefixes(self, theirs: Iterable[str]) -> None:
        """What stands before our names in theirs: the prefix that makes most of them ours, then of those that are left.

        One component alone, such as `norm`, is no sign of a prefix, as anything may end in it; `layers.0.ffn` is.
        """
        direct = {name: self._direct(name) for name in theirs}
        taken = {path for path in direct.values() if path is not None}
        # What ends as none of ours does is not one of them whatever stands before it.
        ends = {path.rpartition(".")[2] for path in self.ours}
        left = dict.fromkeys(plain for name, path in direct.items() if path is None and (plain := _dotted(name)))
        left = dict.fromkeys(
            name for name in left if rename(name).rpartition(".")[2] in ends or _HIDDEN.fullmatch(name)
        )
        while left and len(self.prefixes) < MOST_PREFIXES:
            signs: dict[tuple[str, str], set[str]] = {}
            for name in left:
                parts = name.split(".", DEEPEST)
                for cut in range(1, len(parts) - 1):
                    prefix, rest = ".".join(parts[:cut]) + ".", ".".join(parts[cut:])
                    for tower in ("", *TOWERS) if self._likely(prefix, "") else ():
                        path = self._below(rest, tower)
                        if path is not None and path not in taken:
                            signs.setdefault((prefix, tower), set()).add(path)
            if not signs:
                return
            best = max(signs, key=lambda sign: (len(signs[sign]), self._likely(*sign), -len(sign[0])))
            self.prefixes[best[0]] = best[1]
            taken |= signs[best]
            left = dict.fromkeys(name for name in left if not name.startswith(best[0]))

    def _likely(self, prefix: str, tower: str) -> int:
        """How well the words of a prefix go with a tower; best where the names behind it say the tower themselves."""
        meant = tower or self.alone
        if not meant:
            return 2
        text, picture = _TEXT_WORDS.search(prefix), _PICTURE_WORDS.search(prefix)
        return int(bool(text if meant == TOWERS[1] else not text or picture) or not (text or picture))


def rename(name: str) -> str:
    """A dotted name by `RULES`, stretch by stretch of whole components from the left."""
    return _ANY_RULE.sub(lambda stretch: applied(_COMPILED, stretch[0]) or stretch[0], name)


def _hidden(name: str) -> str:
    """`hidden_states.3` as the layer that made it; "" for other names."""
    if match := _HIDDEN.fullmatch(name):
        number = int(match[2])
        return match[1] + (f"encoder.layers.{number - 1}" if number else "embeddings")
    return ""


def _dotted(name: str) -> str:
    """Dots for slashes, `layers.3` for `layers_3`, without wrappers or an ONNX operator; "" if that is inside."""
    parts = without_operator(name) if name.startswith("/") else re.split(r"[./]", name)
    dotted = ".".join(re.sub(r"^(layers|blocks|hidden_states)[_\-](\d+)$", r"\1.\2", part) for part in parts if part)
    return WRAPPERS.sub("", dotted)
