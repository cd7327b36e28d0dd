"""What the models return: dataclasses that are also read like Transformers' outputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from aimv2_np.shapes import Array, Float


class ModelOutput(Mapping[str, Any]):
    """Fields by name (`out.loss`, `out["loss"]`), by position among those that are there (`out[0]`), or as a tuple.

    As in Transformers, fields that are None are absent from keys, positions and tuples, and iterating gives the keys.
    So are fields that Transformers' outputs do not have (`attribute_only`): those are attributes alone.
    """

    def __getitem__(self, key: str | int | slice) -> Any:
        if isinstance(key, str):
            return {name: getattr(self, name) for name in self}[key]
        return self.to_tuple()[key]

    def __iter__(self) -> Iterator[str]:
        listed = (f.name for f in fields(self) if not f.metadata.get("attribute_only"))  # type: ignore[arg-type]
        return (name for name in listed if getattr(self, name) is not None)

    def __contains__(self, key: object) -> bool:
        return key in tuple(self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def to_tuple(self) -> tuple[Any, ...]:
        """The values that are there, in order; outputs inside this one become tuples as well."""
        return tuple(v.to_tuple() if isinstance(v, ModelOutput) else v for v in self.values())

    __eq__ = object.__eq__
    __hash__ = object.__hash__


def attribute_only() -> Any:
    """A field that is an attribute, and no part of keys, positions and tuples."""
    return field(default=None, kw_only=True, metadata={"attribute_only": True})


@dataclass(eq=False)
class BaseModelOutputWithPooling(ModelOutput):
    """What one tower returns.

    Attributes:
        last_hidden_state: (B, N, D), after the final norm.
        pooler_output: (B, D); vision: the pooling head's vector, None without a head; text: the state at the first
            end-of-text token.
        hidden_states: on request, K + 1 arrays (B, N, D): the embeddings, then each layer's output, before the final
            norm.
        attentions: on request, K arrays (B, H, N, N): the softmax's probabilities.
        grid: of images, rows and columns of patches; N is their product.
    """

    last_hidden_state: Array
    pooler_output: Array | None = None
    hidden_states: tuple[Array, ...] | None = None
    attentions: tuple[Array, ...] | None = None
    grid: tuple[int, int] | None = attribute_only()

    def to_feature_map(self) -> Array:
        """`last_hidden_state` as (B, D, rows, columns), the shape of a convolution's output; a view.

        Raises ValueError for a text tower's output, whose tokens lie on no grid.
        """
        if self.grid is None:
            raise ValueError("the output has no grid: its tokens are those of texts; expected a vision tower's output")
        return feature_map(self.last_hidden_state, self.grid)


@dataclass(eq=False)
class PackedOutput(ModelOutput):
    """What the vision tower returns for images of many sizes, each by itself.

    Attributes:
        last_hidden_state: B arrays (N, D), after the final norm; N differs.
        pooler_output: (B, D), the pooling head's vectors; None without a head.
        grid: of each image, rows and columns of patches; N is their product.
    """

    last_hidden_state: list[Array]
    pooler_output: Array | None = None
    grid: tuple[tuple[int, int], ...] = attribute_only()

    def to_feature_map(self) -> list[Array]:
        """`last_hidden_state` as arrays (D, rows, columns); views."""
        return [feature_map(x, grid) for x, grid in zip(self.last_hidden_state, self.grid, strict=True)]


def feature_map(tokens: Float[Array, "*batch N D"], grid: tuple[int, int]) -> Float[Array, "*batch D rows columns"]:
    """Tokens, row by row, as an image of D channels."""
    return tokens.swapaxes(-1, -2).reshape(*tokens.shape[:-2], tokens.shape[-1], *grid)


@dataclass(eq=False)
class Aimv2Output(ModelOutput):
    """What the two-tower model returns; what needs a tower that was not given an input is None.

    Attributes:
        loss: (), the contrastive loss, with `return_loss=True`.
        logits_per_image: (B_image, B_text), cosines times the temperature; a softmax over the last axis gives each
            image's probabilities over the texts.
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
    vision_model_output: BaseModelOutputWithPooling | PackedOutput | None = None
