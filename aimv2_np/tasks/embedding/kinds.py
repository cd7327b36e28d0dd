"""The kinds of features that AIMv2 has of a picture: a table of what each is, which models have it, and its equation.

The trunk has no class token of its own (unlike CLIP's or DINO's): its output is one vector per patch. A model with a
pooling head has a learned class token there, whose attention over the patches makes one vector of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.models.aimv2 import Aimv2Model, vision_tower_of
from aimv2_np.models.pretrained import AnyModel
from aimv2_np.shapes import Array


@dataclass(frozen=True)
class Kind:
    """One kind of features.

    Attributes:
        what: its description, for people.
        needs: the part of a model that it is made with: "projection", "head" or nothing.
        compute: model, pixel_values (B, 3, H, W) → (B, D), or (B, N, D) of "tokens". From a list of pictures (3, h, w)
            of different sizes it makes the same, but of "tokens" a list of (N, D).
    """

    what: str
    needs: str
    compute: Callable[[Any, Any], Array]


def _encode(model: AnyModel, pixels: Any) -> Any:
    vision = vision_tower_of(model)
    # Who embeds many pictures says once which of them the model was not trained for.
    return vision.encode_images(pixels, warn=False) if isinstance(pixels, list) else vision(pixels)


def _of_each(gather: Callable[[Any, Array], Array]) -> Callable[[Any, Any], Array]:
    """What `gather` makes of a model and tokens (B, N, D); of a list of (N, D), of each by itself: (B, D)."""

    def compute(model: Any, pixels: Any) -> Array:
        tokens = _encode(model, pixels).last_hidden_state
        if not isinstance(tokens, list):
            return gather(model, tokens)
        return namespace(tokens[0]).concatenate([gather(model, of_picture[None]) for of_picture in tokens])

    return compute


KINDS = {
    "projected": Kind(
        "the pooled vector in the space that pictures share with texts: what search with text needs",
        "projection",
        lambda model, pixels: model.project(_encode(model, pixels).pooler_output),
    ),
    "pooled": Kind("the pooling head's output", "head", lambda model, pixels: _encode(model, pixels).pooler_output),
    "cls": Kind(
        "what the pooling head's class token gathers from the patches, before the head's output projection",
        "head",
        _of_each(lambda model, tokens: vision_tower_of(model).head.gather(tokens)),  # type: ignore[union-attr]
    ),
    "mean": Kind("the mean of the patches' vectors", "", _of_each(lambda model, tokens: widen(tokens).mean(1))),
    "tokens": Kind(
        "one vector per patch, in rows from top left to bottom right",
        "",
        lambda model, pixels: _encode(model, pixels).last_hidden_state,
    ),
}


NEEDS = {
    "projection": "need a two-tower model, such as 'apple/aimv2-large-patch14-224-lit'; this one has a vision tower "
    "alone, and no space that pictures share with texts",
    "head": "come from a pooling head, which this checkpoint does not have (use_head is false; the trunk itself has no "
    "class token)",
}


def check_name(name: str) -> None:
    """ValueError unless there are features of that name."""
    if name not in KINDS:
        raise ValueError(f"features is {name!r:.80}; expected one of {', '.join(KINDS)}")


def chosen_kind(name: str | None, model: AnyModel) -> str:
    """`name`, if the model has such features; for None projected ones, else pooled ones, else the mean of the patches.

    Raises ValueError, with the reason, for features that the model does not have, and for a text tower.
    """
    missing = {"projection": not isinstance(model, Aimv2Model), "head": vision_tower_of(model).head is None, "": False}
    available = [kind for kind in KINDS if not missing[KINDS[kind].needs]]
    if name is None:
        return available[0]
    check_name(name)
    if name not in available:
        raise ValueError(f"{name!r} features {NEEDS[KINDS[name].needs]}: choose one of {', '.join(available)}")
    return name
