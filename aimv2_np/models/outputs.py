"""What the models return: dataclasses that are also read like Transformers' outputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from aimv2_np.shapes import Array


class ModelOutput(Mapping[str, Any]):
    """Fields by name (`out.loss`, `out["loss"]`), by position among those that are there (`out[0]`), or as a tuple.

    As in Transformers, fields that are None are absent from keys, positions and tuples, and iterating gives the keys.
    """

    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            return {name: getattr(self, name) for name in self}[key]
        return self.to_tuple()[key]

    def __iter__(self) -> Iterator[str]:
        return (f.name for f in fields(self) if getattr(self, f.name) is not None)  # type: ignore[arg-type]

    def __contains__(self, key: object) -> bool:
        return key in tuple(self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def to_tuple(self) -> tuple[Any, ...]:
        """The values that are there, in order; outputs inside this one become tuples as well."""
        return tuple(v.to_tuple() if isinstance(v, ModelOutput) else v for v in self.values())

    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(eq=False)
class BaseModelOutputWithPooling(ModelOutput):
    """What one tower returns.

    Attributes:
        last_hidden_state: (B, N, D), after the final norm.
        pooler_output: (B, D); vision: the pooling head's vector, None without a head; text: the state at the first
            end-of-text token.
        hidden_states: on request, L + 1 arrays (B, N, D): the embeddings, then each block's output, before the final
            norm.
        attentions: on request, L arrays (B, H, N, N): the softmax's probabilities.
    """

    last_hidden_state: Array
    pooler_output: Array | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None


@dataclass(eq=False)
class Aimv2Output(ModelOutput):
    """What the two-tower model returns; what needs a tower that was not given an input is None.

    Attributes:
        loss: (), the contrastive loss, with `return_loss=True`.
        logits_per_image: (B_image, B_text), cosines times the temperature; a softmax over the last axis gives each
            picture's probabilities over the texts.
        logits_per_text: (B_text, B_image), its transpose.
        text_embeds: (B_text, E), of length one.
        image_embeds: (B_image, E), of length one.
        text_model_output, vision_model_output: what the towers returned.
    """

    loss: Array | None = None
    logits_per_image: Array | None = None
    logits_per_text: Array | None = None
    text_embeds: Array | None = None
    image_embeds: Array | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None
