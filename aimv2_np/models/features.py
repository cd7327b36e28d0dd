"""Features for detection, segmentation and retrieval: of one layer or several, of patches or of images.

    state_i = what the first i layers have made of the embeddings,    i as in `hidden_states`: 0 … K, or from the end
    tokens  = rms_norm(state_i),    mean = the tokens' mean,    head = head(tokens)

The residual stream grows from layer to layer; the tower's last norm brings every layer to one scale, and makes layer -1
what `last_hidden_state` is. `norm=False` leaves it out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from aimv2_np.backends.arrays import namespace, widen
from aimv2_np.models.outputs import feature_map
from aimv2_np.models.packing import count, embed_packed, packs
from aimv2_np.models.running import check_finite
from aimv2_np.network.encoder import run_layers
from aimv2_np.network.view import Packed, View
from aimv2_np.network.vision import VisionTower
from aimv2_np.shapes import Array, Float

FEATURES: Final = ("tokens", "mean", "head")


@dataclass(frozen=True, eq=False)
class Features:
    """Features of some layers.

    Attributes:
        values: for each layer that was asked for, in that order: of "tokens" (B, N, D), of "mean" and "head" (B, D).
            Of a list of images "tokens" is a list of arrays (N, D).
        layers: which layers, counted from 0, the embeddings, to K.
        grid: rows and columns of patches; of a list of images, of each.
    """

    values: tuple[Any, ...]
    layers: tuple[int, ...]
    grid: Any

    def to_feature_map(self) -> tuple[Any, ...]:
        """For each layer (B, D, rows, columns), of a list of images a list of (D, rows, columns); of tokens only."""
        first = self.values[0][0] if isinstance(self.values[0], list) else self.values[0]
        if first.ndim != (2 if isinstance(self.values[0], list) else 3):
            raise ValueError("features hold no vector per patch; expected those of features='tokens'")
        if isinstance(self.values[0], list):
            return tuple([feature_map(x, g) for x, g in zip(each, self.grid, strict=True)] for each in self.values)
        return tuple(feature_map(each, self.grid) for each in self.values)


def features_of_batch(
    tower: VisionTower,
    pixels: Float[Array, "B C height width"],
    view: View,
    wanted: tuple[int, ...],
    features: str,
    norm: bool,
) -> Features:
    """Features of images of one size, which have been checked."""
    states = _states(tower, tower.embeddings(pixels), wanted, norm, view)
    values = tuple(_pooled(tower, states[i], features, view) for i in wanted)
    return Features(values, wanted, tower.embeddings.grid_of(pixels))


def check_layers(layers: Sequence[int], count: int) -> tuple[int, ...]:
    """Numbers of `hidden_states`, counted from 0; a ValueError for one that is not there."""
    if isinstance(layers, int) or not layers:
        raise ValueError(f"layers is {layers!r:.80}; expected a list of numbers such as [-4, -1]")
    for layer in layers:
        if isinstance(layer, bool) or not isinstance(layer, int) or not -count - 1 <= layer <= count:
            raise ValueError(
                f"layers holds {layer!r:.80}; expected whole numbers from {-count - 1} to {count}: "
                f"0 are the embeddings, {count} or -1 the last layer's output"
            )
    return tuple(layer % (count + 1) for layer in layers)


def check_features(features: str, tower: VisionTower, norm: bool) -> None:
    """ValueError for an unknown name of features, and for features that this tower does not have."""
    if features not in FEATURES:
        raise ValueError(f"features is {features!r:.80}; expected one of {', '.join(FEATURES)}")
    if features == "head" and tower.head is None:
        raise ValueError("features is 'head', but the model has no pooling head; expected 'tokens' or 'mean'")
    if features == "head" and not norm:
        raise ValueError("norm is False; expected True, as the pooling head was trained on normalised tokens")


def _states(
    tower: VisionTower, x: Float[Array, "_ N D"], wanted: tuple[int, ...], norm: bool, view: View
) -> dict[int, Float[Array, "_ N D"]]:
    """Layer → state. Only those that are wanted are kept, and layers behind the last of them do not run."""
    states, done = {}, 0
    for layer in sorted(set(wanted)):
        if layer > done:
            x = run_layers(x, tower.encoder.layers[done:layer], view)
        done = layer
        states[layer] = check_finite(tower, tower.rms_norm(x) if norm else x)
    return states


def _pooled(tower: VisionTower, x: Float[Array, "_ N D"], features: str, view: View) -> Array:
    """Of a batch (B, N, D): the tokens themselves, or one vector per image, (B, D); of a pack likewise."""
    if features == "head":
        assert tower.head is not None
        return check_finite(tower, tower.head(x, view))
    if isinstance(view, Packed):
        tokens = [x[0, keys] for _, keys in view.slices()]
        return tokens if features == "tokens" else namespace(x).stack([_mean(each, None) for each in tokens])
    return x if features == "tokens" else _mean(x, view.padding)


def _mean(x: Float[Array, "*batch N D"], padding: Array | None) -> Float[Array, "*batch D"]:
    """The mean of the tokens that are not padding."""
    if padding is None:
        return widen(x).mean(axis=-2).astype(x.dtype, copy=False)
    kept = padding[:, :, None] != 0  # (B, N, 1)
    return (namespace(x).where(kept, widen(x), 0).sum(axis=1) / kept.sum(axis=1)).astype(x.dtype, copy=False)


def features_of_list(
    tower: VisionTower,
    images: list[Float[Array, "C _ _"]],
    wanted: tuple[int, ...],
    features: str,
    norm: bool,
    max_tokens: int | None,
) -> Features:
    """Features of images of any sizes, in packs of at most `max_tokens` patches."""
    found: dict[int, list[Array]] = {layer: [] for layer in wanted}
    for pack in packs([count(tower, image) for image in images], max_tokens):
        x, view = embed_packed(tower, images[pack])
        for layer, state in _states(tower, x, wanted, norm, view).items():
            found[layer].extend(_pooled(tower, state, features, view))
    grids = tuple(tower.embeddings.grid_of(image) for image in images)
    values = (found[layer] for layer in wanted)
    if features != "tokens":
        return Features(tuple(namespace(each[0]).stack(each) for each in values), wanted, grids)
    return Features(tuple(values), wanted, grids)
