"""An AIMv2 inside a larger checkpoint: where its names begin, and its tensors without what stands before and beside.

A vision-language model keeps it behind `visual_tokenizer.backbone.`, a training run behind `module.`, a fine-tune puts
a `classifier` beside it. The place is found from the names: a tower is where the gain of its embeddings' norm (vision)
or its token table (text) stands together with the first norm of its first layer, under the names of any layout.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from aimv2_np.backends.dtypes import FLOATS
from aimv2_np.errors import CheckpointError, plain
from aimv2_np.shapes import NDArray
from aimv2_np.storage.checkpoint import Checkpoint, Tensors, first_ten
from aimv2_np.storage.layouts import apple, flax, timm, transformers
from aimv2_np.storage.layouts.table import TEXT, TOKENS, VISION, Layout, Part
from aimv2_np.storage.translated import Renamed

# MLX's names are Apple's.
LAYOUTS: tuple[Layout, ...] = (transformers.LAYOUT, apple.LAYOUT, flax.LAYOUT, timm.LAYOUT)
SIGNS = {VISION: "embeddings.rms_norm.weight", TEXT: TOKENS}
FIRST_NORM = "encoder.layers.{i}.rms_norm1.weight"
# What torch.compile, FSDP and activation checkpointing put into names, anywhere.
WRAPPERS = re.compile(r"(?<![^./])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# Transformers' Ovis2 has one name of its own.
RENAMED = {"embeddings.patch_embedding.": "embeddings.patch_embed."}
# Beside the tower, without a prefix before it: what a fine-tune adds. AIMv2's own head, projections and Apple's
# projectors have none of these names.
HEADS = re.compile(
    r"^(?!(head|image_projector|text_projector)[./])"
    r"(\w*(head|classif|projector|prob(e|ing)|predict|decoder|loss)\w*|score|fc|attn_pool)[./]"
    r"|^head[./](weight|bias|kernel|fc[./].*|\d+[./].*)$"
)


class Place(NamedTuple):
    """Where an AIMv2 is: its names begin with `prefix`, in the place of which its layout has `lead`.

    Names that begin with one of `others` are those of another AIMv2, for which `prefix` is no more than a part.
    """

    prefix: str
    lead: str
    two_towers: bool
    others: tuple[str, ...] = ()


def places(names: Iterable[str]) -> dict[str, Place]:
    """Prefix → place of every AIMv2 in a checkpoint of these names; two towers side by side are one."""
    names = {WRAPPERS.sub("", name) for name in names}
    found: dict[str, Place] = {}
    for layout in LAYOUTS:
        for kind, rows in ((VISION, layout.vision), (TEXT, layout.text)):
            theirs = {row.ours: row.theirs for row in rows}
            if SIGNS[kind] in theirs:
                sign, norm = theirs[SIGNS[kind]], theirs[FIRST_NORM].replace("{i}", "0")
                starts = (name.removesuffix(sign) for name in sorted(names) if name.endswith(sign))
                for start in starts:
                    if start + norm in names and start[-1:] in ("", ".", "/"):
                        place = _place(start, kind, layout, names)
                        found.setdefault(place.prefix, place)
    return found


def _place(start: str, kind: str, layout: Layout, names: set[str]) -> Place:
    own, alone = layout.prefixes.get(kind), layout.prefixes[""]
    if own and start.endswith(own):
        base = start.removesuffix(own)
        beside = [prefix for ours, prefix in layout.prefixes.items() if ours not in ("", kind)]
        beside += [row.theirs for row in layout.both]
        if any(name.startswith(tuple(base + each for each in beside)) for name in names):
            return Place(base, "", True)
    if alone and start.endswith(alone):
        return Place(start.removesuffix(alone), "", False)
    return Place(start, alone, False)


def choose_place(checkpoint: Tensors, prefix: str | None) -> Place | None:
    """The place of the one AIMv2 in a checkpoint, or of the one that begins with `prefix`; None where none is found.

    Raises CheckpointError where there are several and none is chosen, ValueError where there is none of that prefix.
    """
    found = places(checkpoint.shapes)
    for one in found.values():
        others = (each for each in found if each != one.prefix and each.startswith(one.prefix))
        found[one.prefix] = one._replace(others=tuple(others))
    listed = ", ".join(repr(plain(each)) for each in list(found)[:10])
    if prefix is not None:
        for spelled in (prefix, f"{prefix}.", f"{prefix}/"):
            if spelled in found:
                return found[spelled]
        raise ValueError(
            f"prefix is {prefix!r:.80}; expected one of {listed or 'those of an AIMv2, and none is there'}"
        )
    if len(found) > 1:
        raise CheckpointError(
            f"{checkpoint.folder} holds {len(found)} AIMv2, with names that begin with {listed}; choose one: "
            "prefix=... (--prefix)"
        )
    return next(iter(found.values()), None)


def inside(checkpoint: Tensors, place: Place) -> Tensors:
    """The tensors of an AIMv2 in a larger checkpoint, under the names that its layout has for them.

    What does not begin with the prefix, and the head of a fine-tune, is left aside. Raises CheckpointError when two
    tensors come to have one name.
    """
    result = Renamed(checkpoint)
    for stored in checkpoint.shapes:
        name = WRAPPERS.sub("", stored)
        rest = name.removeprefix(place.prefix)
        if not name.startswith(place.prefix) or name.startswith(place.others) or HEADS.match(rest):
            continue
        name = place.lead + rest
        for theirs, ours in RENAMED.items():
            name = ours + name.removeprefix(theirs) if name.startswith(theirs) else name
        result.put(name, Part(stored))
    return result


class LeftAside(Mapping[str, NDArray]):
    """Name → array of what a checkpoint holds beside the model that was taken out of it: heads, a language model.

    Names are the checkpoint's own. An array is read when it is asked for: floats in float32, as `Tensors.read` does,
    and what else there may be, such as counters, as it is stored.
    """

    def __init__(self, tensors: Checkpoint | None = None, used: Iterable[str] = ()) -> None:
        self._tensors, self._used = tensors, frozenset(used)
        self._names = [name for name in tensors.shapes if name not in self._used] if tensors else []

    def __getitem__(self, name: str) -> NDArray:
        if self._tensors is None or name not in self._names:
            raise KeyError(f"{name!r:.200} was not left aside; what was: {first_ten(self._names) or 'nothing'}")
        is_float = self._tensors.dtypes[name] in FLOATS.values() or self._tensors.scale(name) is not None
        return self._tensors.read(name) if is_float else self._tensors.plain(name)

    def __reduce__(self) -> tuple[type["LeftAside"], tuple[()]]:
        """A copy, or what goes to another process with a model, holds nothing: the files stay where they are."""
        return LeftAside, ()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"LeftAside({', '.join(f'{part} ({count})' for part, count in self.parts().items())})"

    def parts(self) -> dict[str, int]:
        """Module → how many tensors of it were left aside; a module is named as far down as the model is beside it."""
        taken = {prefix for name in self._used for prefix in _ancestors(name)}
        counts: dict[str, int] = {}
        for name in self._names:
            part = next((prefix for prefix in _ancestors(name) if prefix not in taken), name)
            counts[part] = counts.get(part, 0) + 1
        return counts


def _ancestors(name: str) -> list[str]:
    """The modules that a tensor is in, the outermost first, and the tensor itself."""
    return [name[: end.start()] for end in re.finditer(r"[./]|$", name)]
