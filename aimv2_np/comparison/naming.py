"""Other people's names for the same activations, translated by tables: Apple's, timm's, Flax', ONNX graphs'.

A name is tried as it is, then by the caller's own rules, then by `RULES`, then with and without a tower's prefix.
"""

import re
from collections.abc import Collection, Iterable, Mapping

# theirs → ours, piece by piece from the left; the first that fits a stretch of whole components replaces it.
# `*` stands for one component and is carried over.
RULES = (
    # towers (Apple)
    ("image_encoder", "vision_model"),
    ("text_encoder", "text_model"),
    ("image_projector", "visual_projection"),
    ("text_projector", "text_projection"),
    # embeddings (Apple, timm)
    ("preprocessor.patchifier.proj", "embeddings.patch_embed"),
    ("preprocessor.patchifier.norm", "embeddings.rms_norm"),
    ("preprocessor.patchifier", "embeddings.rms_norm"),
    ("preprocessor.text_embedding", "embeddings.token_embedding"),
    ("preprocessor", "embeddings"),
    ("patch_embed.proj", "embeddings.patch_embed"),
    ("patch_embed.norm", "embeddings.rms_norm"),
    # blocks (Apple, timm)
    ("trunk.post_trunk_norm", "rms_norm"),
    ("trunk.blocks.*", "encoder.layers.*"),
    ("trunk.layers.*", "encoder.layers.*"),
    ("blocks.*", "encoder.layers.*"),
    ("norm_1", "rms_norm1"),
    ("norm_2", "rms_norm2"),
    ("norm1", "rms_norm1"),
    ("norm2", "rms_norm2"),
    ("norm", "rms_norm"),
    ("attn.proj", "attention.out_proj"),
    ("attn", "attention"),
    ("mlp.fc1_g", "ffn.gate_proj"),
    ("mlp.fc1_x", "ffn.up_proj"),
    ("mlp.fc1", "ffn.gate_proj"),
    ("mlp.fc3", "ffn.up_proj"),
    ("mlp.fc2", "ffn.down_proj"),
    ("mlp", "ffn"),
    # what Transformers' eager attention returns besides its output
    ("attention.1", "attention.probs"),
    # pooling head (Apple)
    ("head.k", "head.k_proj"),
    ("head.v", "head.v_proj"),
    ("head.linear", "head.output_proj"),
)

TOWERS = ("vision_model.", "text_model.")

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

    def __init__(self, ours: Collection[str], mapping: "Mapping[str, str] | Iterable[str] | None" = None) -> None:
        self.ours = frozenset(ours)
        self.rules = [_compiled(*rule) for rule in parse_mapping(mapping)]

    def __call__(self, theirs: str) -> str | None:
        """Our path for their name, or None when no rule leads to one."""
        for pattern, target in self.rules:
            if match := pattern.fullmatch(theirs):
                ours = _filled(target, match.groups())
                return ours if ours in self.ours else None
        return next((name for name in self._candidates(theirs) if name in self.ours), None)

    def _candidates(self, theirs: str) -> Iterable[str]:
        plain = _plain(theirs)
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


def parse_mapping(mapping: "Mapping[str, str] | Iterable[str] | None") -> list[tuple[str, str]]:
    """Pairs (theirs, ours) of a mapping, or of texts `theirs=ours`; ValueError where that cannot be."""
    if mapping is None:
        return []
    if isinstance(mapping, Mapping):
        pairs = list(mapping.items())
    else:
        texts = [mapping] if isinstance(mapping, str) else list(mapping)
        pairs = [(text.partition("=")[0], text.partition("=")[2]) for text in texts]
    for theirs, ours in pairs:
        if not theirs or not ours or ours.count("*") > theirs.count("*"):
            raise ValueError(
                f"the mapping {theirs!r:.100} = {ours!r:.100} cannot be used; expected 'theirs=ours', with no more "
                "stars on the right than on the left, such as 'blocks.*.mlp=encoder.layers.*.ffn'"
            )
    return pairs


def rename(name: str) -> str:
    """A dotted name by `RULES`, component by component from the left."""
    parts, result = name.split("."), list[str]()
    while parts:
        for theirs, ours in RULES:
            pattern = theirs.split(".")
            if len(pattern) <= len(parts) and all(p in ("*", part) for p, part in zip(pattern, parts, strict=False)):
                stars = [part for p, part in zip(pattern, parts, strict=False) if p == "*"]
                result += [stars.pop(0) if part == "*" else part for part in ours.split(".")]
                parts = parts[len(pattern) :]
                break
        else:
            result.append(parts.pop(0))
    return ".".join(result)


def _plain(name: str) -> str:
    """Dots for slashes, `layers.3` for `layers_3`, without the operator that ends an ONNX name; "" if it ends none."""
    parts = [part for part in name.replace("/", ".").split(".") if part]
    if name.startswith("/") and len(parts) > 1 and _OPERATOR.fullmatch(parts[-1]):
        kind = parts.pop().split("_")[0]
        if not any(re.fullmatch(where, parts[-1]) and kind in kinds for where, kinds in _ENDS.items()):
            return ""
    return ".".join(re.sub(r"^(layers|blocks)_(\d+)$", r"\1.\2", part) for part in parts)


def _filled(target: str, captured: tuple[str, ...]) -> str:
    pieces = target.split("*")
    return pieces[0] + "".join(text + piece for text, piece in zip(captured, pieces[1:], strict=False))


def _compiled(theirs: str, ours: str) -> tuple[re.Pattern[str], str]:
    return re.compile("(.*)".join(re.escape(piece) for piece in theirs.split("*")), re.DOTALL), ours
