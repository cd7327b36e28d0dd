"""Features for detection, segmentation and retrieval: of one layer or several, of patches or of pictures.

    state_i = what the first i blocks have made of the embeddings,    i as in `hidden_states`: 0 … L, or from the end
    tokens  = rms_norm(state_i),    mean = the tokens' mean,    head = head(tokens)

The residual stream grows from block to block; the tower's last norm brings every layer to one scale, and makes layer -1
what `last_hidden_state` is. `norm=False` leaves it out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.models.inputs import check_patch_mask, check_pixel_values
from aimv2_np.models.outputs import feature_map
from aimv2_np.models.packing import check_pictures, packs, warn_untrained
from aimv2_np.models.running import check_finite
from aimv2_np.network.attention import runs
from aimv2_np.network.encoder import run_layers
from aimv2_np.network.masks import make_mask
from aimv2_np.shapes import Array, Bool, Float

if TYPE_CHECKING:
    from aimv2_np.models.vision import Aimv2VisionModel

FEATURES: Final = ("tokens", "mean", "head")


@dataclass(frozen=True, eq=False)
class Features:
    """Features of some layers.

    Attributes:
        values: for each layer that was asked for, in that order: of "tokens" (B, N, D), of "mean" and "head" (B, D).
            Of a list of pictures "tokens" is a list of arrays (N, D).
        layers: which layers, counted from 0, the embeddings, to L.
        grid: rows and columns of patches; of a list of pictures, of each.
    """

    values: tuple[Any, ...]
    layers: tuple[int, ...]
    grid: Any

    def to_feature_map(self) -> tuple[Any, ...]:
        """For each layer (B, D, rows, columns), of a list of pictures a list of (D, rows, columns); of tokens only."""
        first = self.values[0][0] if isinstance(self.values[0], list) else self.values[0]
        if first.ndim != (2 if isinstance(self.values[0], list) else 3):
            raise ValueError("a feature map is made of one vector per patch; ask for features='tokens'")
        if isinstance(self.values[0], list):
            return tuple([feature_map(x, g) for x, g in zip(it, self.grid, strict=True)] for it in self.values)
        return tuple(feature_map(it, self.grid) for it in self.values)


def extract_features(
    model: "Aimv2VisionModel",
    pixel_values: Any,
    layers: Sequence[int],
    features: str,
    norm: bool,
    attention_mask: Any,
    interpolate: bool,
    max_tokens: int | None,
) -> Features:
    """See `Aimv2VisionModel.extract_features`."""
    wanted = check_layers(layers, len(model.encoder.layers))
    check_features(features, model, norm)
    like, config = model.rms_norm.weight, model.config
    if isinstance(pixel_values, list | tuple):
        if attention_mask is not None:
            raise ValueError("attention_mask belongs to a batch of one size, and pixel_values is a list of pictures")
        pictures = check_pictures(pixel_values, config, like, interpolate=interpolate)
        return _of_a_list(model, pictures, wanted, features, norm, max_tokens)
    pixels = check_pixel_values(pixel_values, config, like, interpolate=interpolate)
    grid = model.embeddings.grid_of(pixels)
    padding = check_patch_mask(attention_mask, len(pixels), grid, like)
    mask = make_mask(namespace(like), grid[0] * grid[1], padding, causal=False)
    states = _states(model, model.embeddings(pixels), wanted, norm, mask, None)
    return Features(tuple(_pooled(model, states[i], features, mask) for i in wanted), wanted, grid)


def check_layers(layers: Sequence[int], count: int) -> tuple[int, ...]:
    """Numbers of `hidden_states`, counted from 0; a ValueError for one that is not there."""
    if isinstance(layers, int) or not layers:
        raise ValueError(f"layers is {layers!r:.80}; expected a list of numbers such as [-4, -1]")
    for layer in layers:
        if isinstance(layer, bool) or not isinstance(layer, int) or not -count - 1 <= layer <= count:
            raise ValueError(
                f"layers holds {layer!r:.80}; expected whole numbers from {-count - 1} to {count}: "
                f"0 are the embeddings, {count} or -1 the last block's output"
            )
    return tuple(layer % (count + 1) for layer in layers)


def check_features(features: str, model: "Aimv2VisionModel", norm: bool) -> None:
    """A ValueError for features that there are not, or that this model does not have."""
    if features not in FEATURES:
        raise ValueError(f"features is {features!r:.80}; expected one of {', '.join(FEATURES)}")
    if features == "head" and model.head is None:
        raise ValueError("'head' features come from a pooling head, which this model does not have: choose mean")
    if features == "head" and not norm:
        raise ValueError("the pooling head was trained on normalised tokens; leave norm on")


def _states(
    model: "Aimv2VisionModel",
    x: Float[Array, "_ N D"],
    wanted: tuple[int, ...],
    norm: bool,
    mask: Bool[Array, "#B 1 1 N"] | None,
    lengths: tuple[int, ...] | None,
) -> dict[int, Float[Array, "_ N D"]]:
    """Layer → state. Only those that are wanted are kept, and blocks behind the last of them do not run."""
    states, done = {}, 0
    for layer in sorted(set(wanted)):
        if layer > done:
            x = run_layers(x, model.encoder.layers[done:layer], mask, lengths)
        done = layer
        states[layer] = check_finite(model, model.rms_norm(x) if norm else x)
    return states


def _pooled(
    model: "Aimv2VisionModel", x: Float[Array, "B N D"], features: str, mask: Bool[Array, "#B 1 1 N"] | None
) -> Array:
    if features == "tokens":
        return x
    if features == "head":
        assert model.head is not None
        return check_finite(model, model.head(x, mask))
    if mask is None:
        return widen(x).mean(axis=1).astype(x.dtype, copy=False)
    kept = mask[:, 0, 0, :, None]  # (B, N, 1)
    return (namespace(x).where(kept, widen(x), 0).sum(axis=1) / kept.sum(axis=1)).astype(x.dtype, copy=False)


def _of_a_list(
    model: "Aimv2VisionModel",
    pictures: list[Float[Array, "C _ _"]],
    wanted: tuple[int, ...],
    features: str,
    norm: bool,
    max_tokens: int | None,
) -> Features:
    grids = tuple(model.embeddings.grid_of(picture) for picture in pictures)
    lengths = tuple(rows * columns for rows, columns in grids)
    warn_untrained(lengths, model.config, stacklevel=6)
    found: dict[int, list[Array]] = {layer: [] for layer in wanted}
    for pack in packs(lengths, max_tokens):
        states = _states(model, model.embeddings(pictures[pack]), wanted, norm, None, lengths[pack])
        for layer, x in states.items():
            found[layer] += [_pooled(model, x[:, run], features, None)[0] for run in runs(lengths[pack])]
    values = (found[layer] for layer in wanted)
    if features != "tokens":
        return Features(tuple(namespace(it[0]).stack(it) for it in values), wanted, grids)
    return Features(tuple(values), wanted, grids)
