"""The chain of stages that a backward pass goes through: those of the reference's model that its loss depends on."""

from typing import Any

import numpy as np

from aimv2_np.comparison.diagnosis.backward.ends import Loss
from aimv2_np.comparison.diagnosis.backward.walk import TEXTS, Chain, Link, wide
from aimv2_np.comparison.diagnosis.context import Context
from aimv2_np.comparison.diagnosis.ends import Embeds
from aimv2_np.comparison.diagnosis.forced import Taken
from aimv2_np.comparison.diagnosis.stages import EMBEDS, Stage, towers_of
from aimv2_np.gradients.tape import PIXELS, SUMMED
from aimv2_np.recording.recording import LOSS, Recording
from aimv2_np.shapes import NDArray


def chain_of(
    context: Context, gradients: Recording, forward: Taken, taken: Taken, *, inner: bool, dtype: str
) -> Chain | None:
    """The stages that take part in the reference's loss; None without its model, inputs, or the gradient of its end.

    Args:
        context: of the activations, which agree.
        gradients: the reference's.
        forward: (path, an activation) → the other side's: derivatives are taken there.
        taken: the same of gradients.
        inner, dtype: as for `Chain`.
    """
    if context.model is None:
        return None
    ending, loss = _loss(context.reference.metadata.get(LOSS, ""), gradients)
    if loss is None:
        return None
    links, ends = list[Link](), dict[str, Any]()
    towers = towers_of(context)
    for name, stages in towers.items():
        x: Any = context.input(name)
        names: tuple[tuple[str, ...], ...] = ((PIXELS,),) if name == PIXELS else ()
        if name == EMBEDS:
            x = Embeds(ends["input_ids"], ends["pixel_values"]) if len(ends) == 2 else None
            names = ("text_embeds",), ("image_embeds",)
        if x is None:
            continue
        x = x if name == EMBEDS else wide(x)
        for stage in stages:
            links.append(Link(stage, x, names))
            outputs = (stage.path, *stage.aliases)
            x = _output(context, stage, x, forward)
            names = ((TEXTS,) if name == EMBEDS else outputs,)
            if ending in outputs:
                links.append(Link(Stage("loss", loss), x, names))
                return Chain(links, frozenset(context.model.state_dict()), taken, inner, dtype)
        ends[name] = x
    return None


def _output(context: Context, stage: Stage, x: Any, forward: Taken) -> NDArray:
    """What a stage gives, the other side's where it is recorded, else the reference's, else computed."""
    outputs = (TEXTS,) if isinstance(x, Embeds) else (stage.path, *stage.aliases)
    ours = next((found for name in outputs if (found := context.reference.array(name)) is not None), None)
    if ours is None:
        module = stage.module.map(lambda _, array: wide(np.asarray(array)), stage.path)
        with np.errstate(all="ignore"):
            output = stage.call(module, x)
        ours = output[0] if isinstance(output, tuple) else output
    theirs = next((found for name in outputs if (found := forward(name, ours)) is not None), ours)
    return wide(theirs)


def _loss(kind: str, gradients: Recording) -> tuple[str, Loss | None]:
    """The path of what the loss is of, and the loss; where that is another, one with the reference's gradient there."""
    if kind == "contrastive":
        return TEXTS, Loss(None)
    if kind.startswith("sum of "):
        return kind.removeprefix("sum of "), Loss(np.ones(()))
    for name in SUMMED:
        array = gradients.array(name)
        if array is not None and array.any():
            return name, Loss(wide(array))
    return "", None
