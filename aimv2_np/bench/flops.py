"""The arithmetic of a forward pass, by formula: which matrix products it consists of.

    layer:       4 · (R, D)·(D, D)    q, k, v, out          3 · (R, D)·(D, F)    gate, up, down        R = B·N rows
                 B·H · (N, d)·(d, N)  scores                B·H · (N, N)·(N, d)  the values' sums      d = D / H
    picture:     (R, C·P·P)·(C·P·P, D)                      the patches
    head:        2 · (R, D)·(D, D), B·H · (1, d)·(d, N), B·H · (1, N)·(N, d), (B, D)·(D, D)
    two towers:  (B, D)·(D, E)                              the projection of the tower; of texts the last layer is
                 2 · (R, D)·(D, D)    k, v                  2 · (B, D)·(D, D), 3 · (B, D)·(D, F)    the rest, of ends
                 B·H · (1, d)·(d, N)  scores                B·H · (1, N)·(N, d)

(m, k)·(k, n) is 2·m·k·n floating-point operations. What is element by element (norms, softmax, SiLU, sums) is not
counted: it is 1 % of the operations, and a matter of memory and not of arithmetic. Causal attention counts in full.
AIMv2-large at 224 pixels: 24 · (2.15 + 4.43 + 0.27) + 0.31 = 165 GFLOP per picture.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig


@dataclass(frozen=True)
class Product:
    """`times` products of an (m, k) matrix with a (k, n) matrix.

    `per_head` tells the many small products inside attention from those with a weight.
    """

    name: str
    m: int
    k: int
    n: int
    times: int = 1
    per_head: bool = False

    @property
    def flops(self) -> int:
        """Floating-point operations of all of them."""
        return 2 * self.m * self.k * self.n * self.times


def total_flops(products: Iterable[Product]) -> int:
    """Floating-point operations of all products."""
    return sum(product.flops for product in products)


def products(config: Any, given: Mapping[str, Any], batch: int) -> tuple[Product, ...]:
    """What a model multiplies for {"kind": "pictures", "height", "width"} or {"kind": "texts", "tokens"}."""
    if given["kind"] == "texts":
        return text_products(config, batch, given["tokens"])
    return picture_products(config, batch, given["height"], given["width"])


def picture_products(
    config: Aimv2VisionConfig | Aimv2Config, batch: int, height: int, width: int
) -> tuple[Product, ...]:
    """What `Aimv2VisionModel(pixels)` multiplies, or `Aimv2Model.get_image_features(pixels)`.

    Args:
        config: of the vision tower, or of both.
        batch: pictures.
        height, width: pixels.
    """
    vision = config.vision_config if isinstance(config, Aimv2Config) else config
    (ph, pw), size = vision.patch_shape, vision.hidden_size
    tokens = (height // ph) * (width // pw)
    rows = batch * tokens
    found = [Product("patch_embed", rows, vision.num_channels * ph * pw, size)]
    found += _layers(vision, batch, tokens, vision.num_hidden_layers)
    if vision.use_head:
        found += [*_one_query("head.", vision, batch, tokens), Product("head.output_proj", batch, size, size)]
    if isinstance(config, Aimv2Config):
        found.append(Product("visual_projection", batch, size, config.projection_dim))
    return tuple(found)


def text_products(config: Aimv2TextConfig | Aimv2Config, batch: int, tokens: int) -> tuple[Product, ...]:
    """What `Aimv2TextModel(input_ids)` multiplies, or `Aimv2Model.get_text_features(input_ids)`.

    Args:
        config: of the text tower, or of both.
        batch: texts.
        tokens: of each text.
    """
    text = config.text_config if isinstance(config, Aimv2Config) else config
    if not isinstance(config, Aimv2Config):
        return tuple(_layers(text, batch, tokens, text.num_hidden_layers))
    return (
        *_layers(text, batch, tokens, text.num_hidden_layers - 1),
        *_layer_of_ends(text, batch, tokens),
        Product("text_projection", batch, text.hidden_size, config.projection_dim),
    )


def _layers(config: Aimv2VisionConfig | Aimv2TextConfig, batch: int, tokens: int, layers: int) -> list[Product]:
    rows, size, inner = batch * tokens, config.hidden_size, config.intermediate_size
    heads, d = config.num_attention_heads, config.head_dim
    return [
        Product("q_proj, k_proj, v_proj, out_proj", rows, size, size, 4 * layers),
        Product("scores", tokens, d, tokens, batch * heads * layers, per_head=True),
        Product("values", tokens, tokens, d, batch * heads * layers, per_head=True),
        Product("gate_proj, up_proj", rows, size, inner, 2 * layers),
        Product("down_proj", rows, inner, size, layers),
    ]


def _layer_of_ends(config: Aimv2TextConfig, batch: int, tokens: int) -> list[Product]:
    """A layer that computes one token of each text, to which the others are keys and values."""
    size, inner = config.hidden_size, config.intermediate_size
    return [
        *_one_query("last ", config, batch, tokens),
        Product("last q_proj, out_proj", batch, size, size, 2),
        Product("last gate_proj, up_proj", batch, size, inner, 2),
        Product("last down_proj", batch, inner, size),
    ]


def _one_query(prefix: str, config: Aimv2VisionConfig | Aimv2TextConfig, batch: int, tokens: int) -> list[Product]:
    """Attention of one query per head to all tokens, whose keys and values are computed."""
    size, heads, d = config.hidden_size, config.num_attention_heads, config.head_dim
    return [
        Product(f"{prefix}k_proj, v_proj", batch * tokens, size, size, 2),
        Product(f"{prefix}scores", 1, d, tokens, batch * heads, per_head=True),
        Product(f"{prefix}values", 1, tokens, d, batch * heads, per_head=True),
    ]
