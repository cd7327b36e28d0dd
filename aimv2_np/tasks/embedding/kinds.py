"""The kinds of features that AIMv2 has of a picture: a table of what each is, which models have it, and its equation.

The trunk has no class token of its own (unlike CLIP's or DINO's): its output is one vector per patch. A model with a
pooling head has a learned class token there, whose attention over the patches makes one vector of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.errors import a_type
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.vision import Aimv2VisionModel
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
    needs: str | None
    compute: Callable[[Any, Any], Array]


def vision_of(model: Any) -> Aimv2VisionModel:
    """The vision tower of a model; ValueError for a text tower."""
    vision = model.vision_model if isinstance(model, Aimv2Model) else model
    if not isinstance(vision, Aimv2VisionModel):
        raise ValueError(
            f"the model is {a_type(model)}, which sees no pictures; expected a checkpoint with a vision "
            "tower, such as 'apple/aimv2-large-patch14-224'"
        )
    return vision


def _tokens(model: Any, pixels: Any) -> Array:
    return _encode(model, pixels).last_hidden_state


def _cls(model: Any, pixels: Any) -> Array:
    vision = vision_of(model)
    assert vision.head is not None
    tokens = _tokens(model, pixels)
    if not isinstance(tokens, list):
        return vision.head.gather(tokens)
    return namespace(tokens[0]).concatenate([vision.head.gather(of_picture[None]) for of_picture in tokens])


def _mean(model: Any, pixels: Any) -> Array:
    tokens = _tokens(model, pixels)
    if not isinstance(tokens, list):
        return widen(tokens).mean(1)
    return namespace(tokens[0]).stack([widen(of_picture).mean(0) for of_picture in tokens])


def _encode(model: Any, pixels: Any) -> Any:
    vision = vision_of(model)
    # Who embeds many pictures says once which of them the model was not trained for.
    return vision.encode_images(pixels, warn=False) if isinstance(pixels, list) else vision(pixels)


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
        _cls,
    ),
    "mean": Kind("the mean of the patches' vectors", None, _mean),
    "tokens": Kind("one vector per patch, in rows from top left to bottom right", None, _tokens),
}


NEEDS = {
    "projection": "need a two-tower model, such as 'apple/aimv2-large-patch14-224-lit'; this one has a vision tower "
    "alone, and no space that pictures share with texts",
    "head": "come from a pooling head, which this checkpoint does not have (use_head is false; the trunk itself has no "
    "class token)",
}


def _available(model: Any) -> list[str]:
    """The kinds of features that a model has, the most useful first; ValueError for a text tower."""
    missing = {"projection": not isinstance(model, Aimv2Model), "head": vision_of(model).head is None, None: False}
    return [name for name, kind in KINDS.items() if not missing[kind.needs]]


def default_kind(model: Any) -> str:
    """Projected features of a two-tower model, pooled ones of a model with a head, else the mean of the patches."""
    return _available(model)[0]


def check_name(name: str) -> None:
    """ValueError unless there are features of that name."""
    if name not in KINDS:
        raise ValueError(f"features is {name!r:.80}; expected one of {', '.join(KINDS)}")


def check_kind(name: str, model: Any) -> None:
    """ValueError, with the reason, unless `model` has features of that kind."""
    check_name(name)
    needs, available = KINDS[name].needs, _available(model)
    if needs is not None and name not in available:
        raise ValueError(f"{name!r} features {NEEDS[needs]}: choose one of {', '.join(available)}")
