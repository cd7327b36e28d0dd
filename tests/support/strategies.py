"""Hypothesis strategies for small models: configurations, weights and inputs, ordinary and awkward.

Sizes, switches and scales are drawn by Hypothesis, which shrinks them; the numbers inside an array come from a seeded
generator, since no single one of them is worth shrinking.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any

import numpy as np
from hypothesis import strategies as st

from aimv2_np import Aimv2Config, Aimv2Model, Aimv2TextConfig, Aimv2TextModel, Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.network.activations import ACTIVATIONS

NDArray = np.ndarray[Any, np.dtype[Any]]
Draw = Callable[[st.SearchStrategy[Any]], Any]

MODELS = {Aimv2VisionConfig: Aimv2VisionModel, Aimv2TextConfig: Aimv2TextModel, Aimv2Config: Aimv2Model}

# Standard deviation of a matrix times the square root of its fan-in: what initialisation gives at these widths, what
# keeps the size of activations, and what saturates some of the softmaxes.
MATRIX_SCALES = (0.1, 1.0, 2.0)
BIAS_SCALES = (0.0, 0.1, 1.0)
TABLE_SCALES = (0.02, 1.0, 30.0)
GAINS = {
    "ones": lambda rng, shape: np.ones(shape),
    "near one": lambda rng, shape: 1 + 0.1 * rng.standard_normal(shape),
    "of both signs": lambda rng, shape: rng.uniform(-2, 2, shape),
    # Every second at least is not zero: Transformers divides a vector of zeros by its length, and gets NaN.
    "partly zero": lambda rng, shape: rng.uniform(0.5, 3, shape) * (rng.integers(0, 2, shape) | np.arange(*shape) % 2),
}
PIXELS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "flat": lambda rng, shape: np.broadcast_to(rng.standard_normal((*shape[:2], 1, 1)), shape),
    "black and white": lambda rng, shape: rng.choice([-1.8, 2.1], shape),
    "faint": lambda rng, shape: 1e-3 * rng.standard_normal(shape),
    "glaring": lambda rng, shape: 50 * rng.standard_normal(shape),
}


@dataclass
class Case:
    """A configuration, what its weights are made with (`make_weights`), and the keyword arguments of one call."""

    config: Any
    weight_settings: dict[str, Any]
    inputs: dict[str, NDArray]

    def model(self) -> Any:
        """Our model with these weights, in float32."""
        weights = make_weights(self.config, **self.weight_settings)
        return MODELS[type(self.config)].skeleton(self.config).map(lambda path, _: weights[path])


activations = st.sampled_from(sorted(ACTIVATIONS))
seeds = st.integers(0, 2**32 - 1)
either = st.booleans()


def _trunk(draw: Draw, head_dims: st.SearchStrategy[int]) -> dict[str, Any]:
    heads, head_dim = draw(st.integers(1, 4)), draw(head_dims)
    return {
        # Below four numbers a row, RMSNorm is close to a sign and turns rounding at zero into errors of any size.
        "hidden_size": heads * (head_dim if heads * head_dim >= 4 else 4),
        "num_attention_heads": heads,
        "intermediate_size": draw(st.integers(1, 48)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "hidden_act": draw(activations),
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-5, 1e-3])),
        "qkv_bias": draw(st.booleans()),
        "mlp_bias": draw(st.booleans()),
    }


@st.composite
def vision_configs(
    draw: Draw,
    *,
    native: st.SearchStrategy[bool] = either,
    head: st.SearchStrategy[bool] = either,
    rectangular: bool = False,
) -> Aimv2VisionConfig:
    """Configurations of the vision tower; pictures and patches are square unless `rectangular`."""
    is_native = draw(native)
    # Sine-cosine positions need a hidden size divisible by four.
    head_dims = st.sampled_from([4, 8, 12]) if is_native else st.integers(1, 12)
    rows, ph, rest = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(0, 2))
    image, patch = rows * ph + min(rest, ph - 1), ph
    if rectangular:
        columns, pw = draw(st.integers(1, 4)), draw(st.integers(1, 5))
        image, patch = (image, columns * pw + min(rest, pw - 1)), (ph, pw)
    return Aimv2VisionConfig(
        **_trunk(draw, head_dims),
        num_channels=draw(st.sampled_from([3, 3, 1, 4])),
        image_size=image,
        patch_size=patch,
        use_head=draw(head),
        is_native=is_native,
    )


@st.composite
def text_configs(draw: Draw) -> Aimv2TextConfig:
    """Configurations of the text tower, with a vocabulary of a few dozen tokens."""
    vocabulary = draw(st.integers(3, 40))
    return Aimv2TextConfig(
        **_trunk(draw, st.integers(1, 12)),
        vocab_size=vocabulary,
        max_position_embeddings=draw(st.integers(1, 10)),
        eos_token_id=draw(st.integers(0, vocabulary - 1)),
    )


@st.composite
def two_tower_configs(draw: Draw) -> Aimv2Config:
    """Configurations of both towers together."""
    return Aimv2Config(
        vision_config=draw(vision_configs(head=st.just(True))),
        text_config=draw(text_configs()),
        projection_dim=draw(st.integers(2, 24)),
        max_logit_scale=draw(st.sampled_from([100.0, 7.5])),
    )


# Only the settings: building a model inside a strategy would draw random numbers there (the shape checker does).
weight_settings = st.fixed_dictionaries(
    {
        "seed": seeds,
        "matrix": st.sampled_from(MATRIX_SCALES),
        "bias": st.sampled_from(BIAS_SCALES),
        "table": st.sampled_from(TABLE_SCALES),
        "gain": st.sampled_from(sorted(GAINS)),
        "logit_scale": st.sampled_from([2.6592, -1.0, 0.5, 9.0]),
    }
)


def make_weights(
    config: Any, *, seed: int, matrix: float, bias: float, table: float, gain: str, logit_scale: float
) -> dict[str, NDArray]:
    """Weights by path from a seed: matrices, biases and tables normal on the given scales, gains of the given kind."""
    rng = np.random.default_rng(seed)
    skeleton = MODELS[type(config)].skeleton(config)
    weights = {}
    for path, parameter in skeleton.state_dict().items():
        shape = parameter.shape
        if path.endswith("logit_scale"):
            values = np.asarray(logit_scale)
        elif "rms_norm" in path:
            values = GAINS[gain](rng, shape)
        elif path.endswith(".bias"):
            values = bias * rng.standard_normal(shape)
        elif "embedding.weight" in path or path.endswith("cls_token"):
            values = table * rng.standard_normal(shape)
        else:
            values = matrix / sqrt(prod(shape[1:])) * rng.standard_normal(shape)
        weights[path] = np.asarray(values, dtype=np.float32)
    return weights


@st.composite
def pixel_values_for(draw: Draw, config: Aimv2VisionConfig) -> NDArray:
    """Pictures that fit: for native any grid, for learned positions the model's; some pixels beyond the patches."""
    (ph, pw), (rows, columns) = config.patch_shape, config.grid
    if config.is_native:
        rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    height, width = (n * p + draw(st.integers(0, p - 1)) for n, p in ((rows, ph), (columns, pw)))
    kind, rng = draw(st.sampled_from(sorted(PIXELS))), np.random.default_rng(draw(seeds))
    shape = (draw(st.integers(1, 3)), config.num_channels, height, width)
    return np.ascontiguousarray(PIXELS[kind](rng, shape), dtype=np.float32)


@st.composite
def input_ids_for(draw: Draw, config: Aimv2TextConfig) -> NDArray:
    """Token ids; the end-of-text token somewhere, several times, or nowhere, row by row."""
    batch, tokens = draw(st.integers(1, 3)), draw(st.integers(1, config.max_position_embeddings))
    others = [i for i in range(config.vocab_size) if i != config.eos_token_id]
    rng = np.random.default_rng(draw(seeds))
    ids = rng.choice(others, (batch, tokens))
    for row in ids:
        ends = draw(st.lists(st.integers(0, tokens - 1), max_size=3))
        row[ends] = config.eos_token_id
    return ids.astype(np.int64)


MASKS = ("none", "ones", "right", "left", "holes")


@st.composite
def masks_for(draw: Draw, shape: tuple[int, int], kinds: tuple[str, ...] = MASKS) -> NDArray | None:
    """Attention masks (B, T): absent, all ones, padding on the right or the left, or zeros anywhere but not only."""
    kind = draw(st.sampled_from(kinds))
    if kind == "none":
        return None
    mask = np.ones(shape, dtype=np.int64)
    if kind == "holes":
        rng = np.random.default_rng(draw(seeds))
        mask = rng.integers(0, 2, shape)
        mask[:, rng.integers(shape[1])] = 1
    elif kind != "ones":
        for row in mask:
            length = draw(st.integers(1, shape[1]))
            if kind == "right":
                row[length:] = 0
            else:
                row[: shape[1] - length] = 0
    return mask


@st.composite
def vision_cases(draw: Draw, **options: Any) -> Case:
    """A vision tower with pictures; options as for `vision_configs`."""
    config = draw(vision_configs(**options))
    return Case(config, draw(weight_settings), {"pixel_values": draw(pixel_values_for(config))})


@st.composite
def text_cases(draw: Draw, masks: tuple[str, ...] = MASKS) -> Case:
    """A text tower with token ids and a mask."""
    config = draw(text_configs())
    ids = draw(input_ids_for(config))
    mask = draw(masks_for(ids.shape, masks))
    return Case(config, draw(weight_settings), {"input_ids": ids} | ({} if mask is None else {"attention_mask": mask}))


@st.composite
def two_tower_cases(draw: Draw, masks: tuple[str, ...] = ("none", "ones", "right")) -> Case:
    """Both towers with pictures and texts; padding on the right, where every row means something."""
    config = draw(two_tower_configs())
    ids = draw(input_ids_for(config.text_config))
    mask = draw(masks_for(ids.shape, masks))
    inputs = {"pixel_values": draw(pixel_values_for(config.vision_config)), "input_ids": ids}
    return Case(config, draw(weight_settings), inputs | ({} if mask is None else {"attention_mask": mask}))
