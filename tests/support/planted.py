"""Faults for ports, a row each: what it is called, where it can be, and the methods of `Port` that it overrides.

`port(fault)` has it everywhere, `port(fault, layer=0)` in that layer alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tests.support import planted_attention, planted_ends, planted_pictures, planted_positions
from tests.support.faults import MEAN, STD
from tests.support.faulty import (
    again,
    at,
    embedded,
    end_of,
    keys_of_linear,
    look,
    no_final_norm,
    of_mask,
    of_pixels,
    of_positions,
    of_stretch,
    of_waves,
    pooled,
    raw,
    renamed,
    shifted,
    softmax,
    vector,
    waves,
)
from tests.support.models import both_model, pixels, text_config, text_model, tokens, vision_config, vision_model
from tests.support.planted_in_layers import ALL_WEIGHTS, ATTENTIONS, BLOCKS, MERGED, MLPS, NORMS, ORDERS, WEIGHTS
from tests.support.port import Port, recorded

LAYERED = "learned native text"  # towers whose layers can have it, one alone or all
VISION = "learned native"


@dataclass(frozen=True)
class Planted:
    """One fault.

    Attributes:
        identifier: what it is to be called.
        towers: where it can be, names of `towers`.
        methods: what it overrides.
        layered: whether it can be in one layer alone.
    """

    identifier: str
    towers: str
    methods: Mapping[str, Callable[..., Any]]
    layered: bool = False


def port(fault: Planted, layer: int | None = None) -> type[Port]:
    """A port with the fault, everywhere or in one layer alone."""

    def method(name: str, changed: Callable[..., Any]) -> Callable[..., Any]:
        right = getattr(Port, name)

        def called(self: Port, *args: Any) -> Any:
            path = args[0] if args and isinstance(args[0], str) and "layers." in args[0] else self.path
            here = layer is None or f"layers.{layer}." in path + "."
            return changed(self, *args) if here else right(self, *args)

        return called

    return type("Faulty", (Port,), {name: method(name, changed) for name, changed in fault.methods.items()})


# fmt: off
PICTURES = {
    "bgr": ("bgr", of_pixels(lambda p: again(raw(p)[:, ::-1]))),
    "one pixel off": ("picture_shifted", of_pixels(lambda p: np.roll(p, 1, 3))),
    "one pixel off, edge": ("picture_shifted", of_pixels(
        lambda p: np.pad(p, [(0, 0), (0, 0), (0, 1), (0, 0)], "edge")[:, :, 1:]
    )),
    "gbr": ("channel_order", of_pixels(lambda p: again(raw(p)[:, [1, 2, 0]]))),
    "0 to 1": ("missing_normalisation", of_pixels(raw)),
    "no deviation": ("missing_normalisation", of_pixels(lambda p: raw(p) - MEAN)),
    "no mean": ("missing_normalisation", of_pixels(lambda p: raw(p) / STD)),
    "normalised twice": ("normalised_twice", of_pixels(again)),
    "rescaled twice": ("normalised_twice", of_pixels(lambda p: again(raw(p) / 255))),
    "channels last": ("channels_last", of_pixels(lambda p: p.transpose(0, 2, 3, 1).reshape(p.shape))),
    "mirrored": ("flipped", of_pixels(lambda p: p[..., ::-1])),
    "upside down": ("flipped", of_pixels(lambda p: p[:, :, ::-1])),
    "first for all": ("wrong_batch", of_pixels(lambda p: np.repeat(p[:1], len(p), 0))),
    "reversed batch": ("wrong_batch", of_pixels(lambda p: p[::-1])),
    "column order": ("patches_column_order", {
        "patch_order": lambda self, rows, columns: [(r, c) for c in range(columns) for r in range(rows)]
    }),
    "reversed patches": ("patches_reversed", {
        "patch_order": lambda self, rows, columns: [(r, c) for r in range(rows)[::-1] for c in range(columns)[::-1]]
    }),
    "not transposed": ("patches_not_transposed", {
        "flatten": lambda self, patches: patches.swapaxes(1, 2).reshape(patches.shape)
    }),
    "reversed positions": ("positions_reversed", embedded(lambda x, positions: x + positions[::-1])),
    "first token dropped": ("cls_token_assumed", embedded(lambda x, positions: (x + positions)[:, 1:])),
    "last token dropped": ("token_missing", embedded(lambda x, positions: (x + positions)[:, :-1])),
    "no positions": ("missing_positions", embedded(lambda x, positions: x)),
    "no patch norm": ("missing_norm", {
        "norm": lambda self, p, x, e: self.keep(p, x) if "embeddings" in p else Port.norm(self, p, x, e)
    }),
    "no patch bias": ("missing_bias", {
        "bias": lambda self, path: None if path.endswith("patch_embed") else Port.bias(self, path)
    }),
    "positions before norm": ("positions_before_norm", {
        "embed": lambda self, prefix, x, positions, eps: self.norm(f"{prefix}embeddings.rms_norm", x + positions, eps)
    }),
    "positions added twice": ("positions_scaled", embedded(lambda x, positions: x + 2 * positions)),
    "positions one late": ("positions_cls_row", embedded(lambda x, positions: x + np.roll(positions, 1, 0))),
}
FINAL = {"no final norm": ("missing_norm", {"norm": no_final_norm})}
STRETCHES = {
    "bilinear": ("wrong_interpolation", of_stretch(lambda s: max(0, 1 - abs(s)))),
    "a = -1/2": ("wrong_interpolation", of_stretch(lambda s: Port.cubic(s, -0.5))),
    "nearest": ("wrong_interpolation", {
        "stretch": lambda self, *args: keys_of_linear(*args, nearest=True)
    }),
    "align_corners": ("wrong_interpolation", {
        "stretch": lambda self, *args: keys_of_linear(*args, corners=True)
    }),
    "grid exchanged": ("positions_transposed", {
        "stretch": lambda self, table, grid, r, c: Port.stretch(self, table, grid, c, r)
    }),
}
SLICES = {
    "corner": ("positions_sliced", {
        "stretch": lambda self, table, grid, r, c: table.reshape(*grid, -1)[:r, :c].reshape(r * c, -1)
    }),
    "first rows": ("positions_sliced", {"stretch": lambda self, table, grid, r, c: table[: r * c]}),
}
WAVES = {
    "row first": ("positions_h_first", of_positions(
        lambda rows, columns, size: np.roll(waves(rows, columns, size), size // 2, 1)
    )),
    "one-based": ("positions_one_based", of_waves(first=1.0)),
    "in turns": ("positions_interleaved", of_waves(order="turns")),
    "cosine first": ("positions_cosine_first", of_waves(order="cs")),
    "base 1000": ("positions_base", of_waves(base=1000.0)),
    "base 7777, step 1.5": ("positions_waves", of_waves(base=7777.0, step=1.5)),
    "step 2": ("positions_step", of_waves(step=2.0)),
    "0 to 1": ("positions_unit", of_waves(unit=lambda n: n)),
    "0 to 1, corners": ("positions_unit", of_waves(unit=lambda n: n - 1)),
}
TURNED = {
    "rows for columns": ("rows_for_columns", of_pixels(lambda p: p.swapaxes(2, 3))),
}
ONE_LAYER = {
    "gate of the one before": ("wrong_layer", {
        "weight": lambda self, path: self.w[
            f"{path.replace('layers.1', 'layers.0') if path.endswith('gate_proj') else path}.weight"
        ]
    }),
}
POOLS = {
    "mean": ("wrong_pooling", pooled(lambda self, prefix, x: x.mean(1))),
    "first token": ("wrong_pooling", pooled(lambda self, prefix, x: x[:, 0])),
    "mean, projected": ("wrong_pooling", pooled(lambda self, at, x: self.linear(f"{at}head.output_proj", x.mean(1)))),
    "query normalised": ("wrong_query", {"query": lambda self, token: token / np.linalg.norm(token)}),
    "k and v": ("qkv_order", renamed({"head.k_proj": "head.v_proj", "head.v_proj": "head.k_proj"})),
    "no bias": ("missing_bias", {
        "bias": lambda self, path: None if path.endswith("output_proj") else Port.bias(self, path)
    }),
}
TEXTS = {
    "not causal": ("text_not_causal", look(lambda i, j: i == i + 0 * j)),
    "not itself": ("causal_off_by_one", look(lambda i, j: j < i)),
    "next one": ("causal_off_by_one", look(lambda i, j: j <= i + 1)),
    "transposed": ("causal_transposed", look(lambda i, j: j >= i)),
}
MASKS = {
    "-10": ("wrong_mask_value", of_mask(lambda scores, allowed: np.where(allowed, scores, np.float32(-10)))),
    "-10 added": ("wrong_mask_value", of_mask(lambda s, allowed: s + np.where(allowed, 0, -10).astype(s.dtype))),
    "0": ("wrong_mask_value", of_mask(lambda scores, allowed: np.where(allowed, scores, np.float32(0)))),
}
TEXT_ENDS = {
    "tokens by √D": ("tokens_scaled", {"tokens": lambda self, table, ids: table[ids] * table.shape[1] ** 0.5}),
    "next tokens": ("tokens_shifted", {"tokens": lambda self, table, ids: table[np.minimum(ids + 1, 39)]}),
    "last token": ("text_end", at(lambda ids, eos: ids.shape[1] - 1)),
    "last end": ("text_end", at(lambda ids, eos: ids.shape[1] - 1 - (ids == eos)[:, ::-1].argmax(1))),
    "before the end": ("text_end", at(lambda ids, eos: end_of(ids, eos) - 1)),
    "first token": ("text_end", at(lambda ids, eos: 0)),
    "mean": ("text_end", vector(lambda x, ids, eos: x.mean(1))),
    "one-based": ("positions_shifted", shifted(1)),
    "two-based": ("positions_shifted", shifted(2)),
}
PADDED = {
    "ignored": ("padding_ignored", {"may_look": lambda self, tokens, padding: Port.may_look(self, tokens, None)}),
    "inverted": ("padding_inverted", {
        "may_look": lambda self, tokens, padding: Port.may_look(self, tokens, 1 - padding)
    }),
}
BOTH = {
    "no projection": ("missing_projection", {"project": lambda self, path, x: x}),
    "no L2": ("missing_l2", {"unit": lambda self, x: x}),
    "L2 before": ("wrong_l2", {
        "project": lambda self, path, x: self.linear(path, x / np.linalg.norm(x, axis=-1, keepdims=True))
    }),
    "projections exchanged": ("projections_exchanged", renamed({
        "visual_projection": "text_projection", "text_projection": "visual_projection"
    })),
    "L1": ("wrong_l2", {"unit": lambda self, x: x / np.abs(x).sum(-1, keepdims=True)}),
    "logits transposed": ("logits_transposed", {"logits": lambda self, i, t, s: np.exp(s) * t @ i.T}),
    "softmax of logits": ("logits_normalised", {"logits": lambda self, i, t, s: softmax(np.exp(s) * i @ t.T)}),
    "scale itself": ("logit_scale", {"logits": lambda self, image, text, scale: scale * image @ text.T}),
    "scale left out": ("logit_scale", {"logits": lambda self, image, text, scale: image @ text.T}),
    "scale inverted": ("logit_scale", {"logits": lambda self, image, text, scale: image @ text.T / np.exp(scale)}),
    "scale clipped": ("logit_scale", {"logits": lambda self, image, text, scale: np.exp(1) * image @ text.T}),
}
TABLES = (
    (NORMS, LAYERED, True), (BLOCKS, LAYERED, True), (ORDERS, LAYERED, False), (ATTENTIONS, LAYERED, True),
    (MERGED, LAYERED, True), (MLPS, LAYERED, True), (WEIGHTS, LAYERED, True), (ALL_WEIGHTS, LAYERED, False),
    (PICTURES, "learned native", False), (FINAL, "learned native text both", False), (STRETCHES, "stretched", False),
    (SLICES, "shrunk", False), (WAVES, "native", False), (TURNED, "learned", False), (ONE_LAYER, LAYERED, False),
    (POOLS, "learned", False), (TEXTS, "text", False),
    (planted_attention.ATTENTIONS, LAYERED, True), (planted_attention.WINDOWS, VISION, True),
    (planted_attention.LOOKS, "text", True), (planted_attention.RAISED, "text", True),
    (planted_attention.PADDINGS, "padded", True),
    (planted_positions.EITHER, "learned native", False), (planted_positions.EITHER, "native", False),
    (planted_positions.LEARNED, "learned", False), (planted_positions.NATIVE, "native", False),
    (planted_positions.STRETCHES, "stretched", False), (planted_positions.TEXTS, "text", False),
    (planted_pictures.PIXELS, "learned", False), (planted_pictures.KERNELS, "learned native", False),
    (planted_pictures.WEIGHTS, LAYERED, True),
    (planted_ends.HEAD, "learned", False), (planted_ends.TEXTS, "text", False), (planted_ends.BOTH, "both", False),
    (planted_ends.PRODUCTS, LAYERED, True),
    (MASKS, "text", True), (TEXT_ENDS, "text", False), (PADDED, "padded", False), (BOTH, "both", False),
)  # fmt: skip
PLANTED: dict[str, Planted] = {
    f"{name}, {towers.split()[0]}": Planted(identifier, towers, methods, layered)
    for table, towers, layered in TABLES
    for name, (identifier, methods) in table.items()
}
# fmt: on


def towers():
    """Name → model and inputs, of which no two tokens, rows, columns, texts or pictures are alike."""
    deep = {"num_hidden_layers": 4}
    ids = tokens(3, 6)
    ids[0, 3] = ids[1, 2] = ids[2, 4] = ids[0, 5] = 39  # ends of texts; the last token is one, too, in padded ones
    whole = ids.copy()
    whole[1:, -1] = 7
    mask = np.array([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]])
    text = {**deep, "hidden_size": 16, "num_attention_heads": 2}
    both = both_model(vision_config=vision_config(**deep), text_config=text_config(**text))
    native = vision_model(**deep, is_native=True, use_head=False)
    return {
        "learned": (vision_model(**deep), {"pixel_values": pixels(3)}),
        "native": (native, {"pixel_values": pixels(3, 12, 20)}),
        "stretched": (vision_model(**deep), {"pixel_values": pixels(3, 16, 20)}),
        "shrunk": (vision_model(**deep, image_size=(20, 24)), {"pixel_values": pixels(3, 12, 16)}),
        "text": (text_model(**deep), {"input_ids": whole}),
        "padded": (text_model(**deep), {"input_ids": ids, "attention_mask": mask}),
        "both": (both, {"pixel_values": pixels(3), "input_ids": ids}),
    }


OPTIONS = {"stretched": {"interpolate_pos_encoding": True}, "shrunk": {"interpolate_pos_encoding": True}}


@cache
def all_towers():
    """Name → model, inputs, and what the reference recorded of them."""
    return {
        name: (model, given, recorded(model, given, **OPTIONS.get(name, {})))
        for name, (model, given) in towers().items()
    }


def outside(path):
    """Whether a path lies outside of layers, or is what one gives."""
    return "layers" not in path or (path[-1].isdecimal() and "norm" not in path)
