"""The kinds of features that AIMv2 has of a picture: a table of what each is, which models have it, and its equation.

The trunk has no class token of its own (unlike CLIP's or DINO's): its output is one vector per patch. A model with a
pooling head has a learned class token there, whose attention over the patches makes one vector of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aimv2_np.arrays import widen
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.shapes import Array


@dataclass(frozen=True)
class Kind:
    """One kind of features.

    Attributes:
        what: its description, for people.
        needs: the part of a model that it is made with: "projection", "head" or nothing.
        compute: model, pixel_values (B, 3, H, W) → (B, D), or (B, N, D) of "tokens".
    """

    what: str
    needs: str | None
    compute: Callable[[Any, Any], Array]


def vision_of(model: Any) -> Aimv2VisionModel:
    """The vision tower of a model; ValueError for a text tower."""
    vision = model.vision_model if isinstance(model, Aimv2Model) else model
    if not isinstance(vision, Aimv2VisionModel):
        raise ValueError(
            f"the model is an {type(model).__name__}, which sees no pictures; expected a checkpoint with a vision "
            "tower, such as 'apple/aimv2-large-patch14-224'"
        )
    return vision


def _tokens(model: Any, pixels: Any) -> Array:
    return vision_of(model)(pixels).last_hidden_state


def _cls(model: Any, pixels: Any) -> Array:
    vision = vision_of(model)
    assert vision.head is not None
    return vision.head.gather(vision(pixels).last_hidden_state)


KINDS = {
    "projected": Kind(
        "the pooled vector in the space that pictures share with texts: what search with text needs",
        "projection",
        lambda model, pixels: model.get_image_features(pixels),
    ),
    "pooled": Kind("the pooling head's output", "head", lambda model, pixels: vision_of(model)(pixels).pooler_output),
    "cls": Kind(
        "what the pooling head's class token gathers from the patches, before the head's output projection",
        "head",
        _cls,
    ),
    "mean": Kind("the mean of the patches' vectors", None, lambda model, pixels: widen(_tokens(model, pixels)).mean(1)),
    "tokens": Kind("one vector per patch, in rows from top left to bottom right", None, _tokens),
}


def default_kind(model: Any) -> str:
    """Projected features of a two-tower model, pooled ones of a model with a head, else the mean of the patches."""
    if isinstance(model, Aimv2Model):
        return "projected"
    return "mean" if vision_of(model).head is None else "pooled"


def check_name(name: str) -> None:
    """ValueError unless there are features of that name."""
    if name not in KINDS:
        raise ValueError(f"features is {name!r:.80}; expected one of {', '.join(KINDS)}")


def check_kind(name: str, model: Any) -> None:
    """ValueError, with the reason, unless `model` has features of that kind."""
    check_name(name)
    vision = vision_of(model)
    have = "mean and tokens" if vision.head is None else "pooled, cls, mean and tokens"
    if KINDS[name].needs == "projection" and not isinstance(model, Aimv2Model):
        raise ValueError(
            f"{name!r} features need a two-tower model, such as 'apple/aimv2-large-patch14-224-lit'; this one has a "
            f"vision tower alone, and no space that pictures share with texts: choose {have}"
        )
    if KINDS[name].needs == "head" and vision.head is None:
        raise ValueError(
            f"{name!r} features come from a pooling head, which this checkpoint does not have (use_head is false; the "
            f"trunk itself has no class token): choose {have}"
        )
