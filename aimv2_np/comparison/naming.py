"""Other people's names for the same activations, translated by tables: Apple's, timm's, Flax', ONNX graphs'.

A name is tried as it is, then by the caller's own rules, then by `RULES`, then with and without a tower's prefix.
"""

import re
from collections.abc import Collection, Iterable, Mapping

from aimv2_np.storage import LAYOUTS

# What the tables of weights do not tell: a module whose output is that of the module that it calls last, and what
# Transformers' eager attention returns besides its output.
OUTPUTS = (
    ("preprocessor.patchifier", "embeddings.rms_norm"),
    ("patch_embed", "embeddings.rms_norm"),
    ("attention.1", "attention.probs"),
)

TOWERS = ("vision_model.", "text_model.")


def _rules() -> list[tuple[str, str]]:
    """Theirs → ours, from the tables of all layouts: stretches of whole components, the longest first.

    `*` stands for the number of a layer. A row gives the name of its module, in two stretches where the name passes the
    number of a block, and the names of the modules that these are in.
    """
    rules = dict(OUTPUTS)
    for layout in LAYOUTS.values():
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

# The last component of an ONNX value: the operator that made it. Only where an operator ends a module is it that
# module's output; the last one of a graph counts.
_OPERATOR = re.compile(r"(?:Add|MatMul|Gemm|Mul|Conv|Gather|Transpose)(?:_[0-9]{1,9})?(?:_output_[0-9]{1,9})?")
LAST_KINDS = ("Conv", "Gather", "MatMul", "Gemm", "Mul", "Transpose", "Add")  # a bias is added after the product
_ENDS = {
    r"(?:\w+_proj|\w+_projection)": ("MatMul", "Gemm", "Add"),
    r"rms_norm[12]?|norm[12]?|norm_[12]": ("Mul",),
    r"patch_embed|proj": ("Conv", "Transpose"),
    r"token_embedding|position_embedding": ("Gather",),
    r"embeddings|\d+": ("Add",),
}


class Naming:
    """Translates the other side's names into the reference's.

    Args:
        ours: the reference's paths.
        mapping: theirs → ours, with as many `*` on the right as on the left at most: each stands for any text, and
            is carried over. `("blocks.*.mlp", "encoder.layers.*.ffn")`.

    Raises ValueError for rules that are no such pairs.
    """

    def __init__(self, ours: Collection[str], mapping: Mapping[str, str] | Iterable[str] | None = None) -> None:
        self.ours = frozenset(ours)
        self.rules = _compiled(parse_mapping(mapping), "(.*)")

    def __call__(self, theirs: str) -> str | None:
        """Our path for their name, or None when no rule leads to one."""
        ruled = _applied(self.rules, theirs)
        if ruled is not None:
            return ruled if ruled in self.ours else None
        return next((name for name in self._candidates(theirs) if name in self.ours), None)

    def _candidates(self, theirs: str) -> Iterable[str]:
        plain = _dotted(theirs)
        translated = rename(plain) if plain else ""
        for name in (theirs, plain, translated):
            if name:
                yield name
                yield from (name.removeprefix(tower) for tower in TOWERS if name.startswith(tower))
                yield from (tower + name for tower in TOWERS)


def rank(theirs: str) -> tuple[int, int]:
    """Which of several operators of one module ends it: the one of the highest rank, (0, 0) for plain names.

    Names in a file may be in any order, and `Mul_1` comes before `Mul` in the alphabet.
    """
    operator = theirs.rpartition("/")[2]
    if not theirs.startswith("/") or not _OPERATOR.fullmatch(operator):
        return (0, 0)
    kind, *numbers = operator.partition("_output_")[0].split("_")
    return (LAST_KINDS.index(kind), int(numbers[0]) if numbers else 0)


def parse_mapping(mapping: Mapping[str, str] | Iterable[str] | None) -> list[tuple[str, str]]:
    """Pairs (theirs, ours) of a mapping, or of texts `theirs=ours`; ValueError where that cannot be."""
    if isinstance(mapping, Mapping):
        pairs = list(mapping.items())
    else:
        texts = [mapping] if isinstance(mapping, str) else mapping or ()
        pairs = [(theirs, ours) for theirs, _, ours in (text.partition("=") for text in texts)]
    for theirs, ours in pairs:
        if not theirs or not ours or ours.count("*") > theirs.count("*"):
            raise ValueError(
                f"mapping is {theirs!r:.100} = {ours!r:.100}; expected 'theirs=ours', with no more stars on the right "
                "than on the left, such as 'blocks.*.mlp=encoder.layers.*.ffn'"
            )
    return pairs


def rename(name: str) -> str:
    """A dotted name by `RULES`, stretch by stretch of whole components from the left."""
    return _ANY_RULE.sub(lambda stretch: _applied(_COMPILED, stretch[0]) or stretch[0], name)


def _compiled(rules: Iterable[tuple[str, str]], star: str) -> list[tuple[re.Pattern[str], str]]:
    """Rules whose left side is a regular expression, with `star` for its stars."""
    return [(re.compile(star.join(map(re.escape, theirs.split("*"))), re.DOTALL), ours) for theirs, ours in rules]


def _applied(rules: Iterable[tuple[re.Pattern[str], str]], name: str) -> str | None:
    """What the first rule that fits the whole name makes of it; None where none does."""
    for pattern, target in rules:
        if match := pattern.fullmatch(name):
            first, *rest = target.split("*")
            return first + "".join(text + piece for text, piece in zip(match.groups(), rest, strict=False))
    return None


_COMPILED = _compiled(RULES, r"([^.]+)")
_ANY_RULE = re.compile("(?<![^.])(?:" + "|".join(pattern.pattern for pattern, _ in _COMPILED) + ")(?![^.])")


def _dotted(name: str) -> str:
    """Dots for slashes, `layers.3` for `layers_3`, without the operator that ends an ONNX name; "" if it ends none."""
    parts = [part for part in name.replace("/", ".").split(".") if part]
    if name.startswith("/") and len(parts) > 1 and _OPERATOR.fullmatch(parts[-1]):
        kind = parts.pop().split("_")[0]
        if not any(re.fullmatch(where, parts[-1]) and kind in kinds for where, kinds in _ENDS.items()):
            return ""
    return ".".join(re.sub(r"^(layers|blocks)_(\d+)$", r"\1.\2", part) for part in parts)
