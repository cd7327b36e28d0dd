"""Record outputs of Transformers for small models into tests/goldens: python -m tests.tools.record_goldens

Each file holds one model and one call: `weights/…` by our paths (in the dtype they are stored in), `inputs/…` by
argument name, `outputs/…` of every module by dotted path, as Transformers' eager attention computes them in float32.
Its metadata holds the configuration, the versions, and `rounding`: Transformers' own largest error in that run against
float64, relative to the root mean square of each output. Needs the `oracle` extra; `tests/test_goldens.py`, which reads
the files, does not.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch
    import transformers
    from safetensors.torch import save_file

from aimv2_np import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig
from tests.support.comparison import Meaning, errors
from tests.support.oracle import their_activations, their_model, unrounded
from tests.support.strategies import Case

FOLDER = Path(__file__).parents[1] / "goldens"

WEIGHTS = {"matrix": 1.0, "bias": 0.1, "table": 1.0, "gain": "near one", "logit_scale": 2.6592}
VISION = {
    "hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 12,
    "patch_size": 4,
}  # fmt: skip
TEXT = {
    "hidden_size": 12, "intermediate_size": 14, "num_hidden_layers": 2, "num_attention_heads": 3, "vocab_size": 20,
    "max_position_embeddings": 7, "eos_token_id": 19,
}  # fmt: skip


def pixels(*shape: int) -> dict[str, Any]:
    return {"pixel_values": np.random.default_rng(7).standard_normal(shape, dtype=np.float32)}


IDS = np.array([[1, 5, 2, 9, 19, 19], [0, 19, 7, 7, 3, 4], [3, 8, 11, 12, 13, 6]])
RIGHT = np.array([[1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
SQUARE = pixels(2, 3, 12, 12)
ALL = {"qkv_bias": True, "mlp_bias": True}


def vision(**changes: Any) -> Aimv2VisionConfig:
    return Aimv2VisionConfig(**(VISION | changes))


def text(**changes: Any) -> Aimv2TextConfig:
    return Aimv2TextConfig(**(TEXT | changes))


def both(vision_changes: Any = (), text_changes: Any = (), **changes: Any) -> Aimv2Config:
    towers = {"vision_config": vision(**dict(vision_changes)), "text_config": text(**dict(text_changes))}
    return Aimv2Config(**towers, projection_dim=8, **changes)


# name -> configuration, inputs, changes to WEIGHTS, dtype that the weights are stored in
CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any], str]] = {
    "vision": (vision(), SQUARE, {}, "float32"),
    "vision-as-initialised": (vision(), SQUARE, {"matrix": 0.1, "bias": 0.0, "table": 0.02, "gain": "ones"}, "float32"),
    "vision-no-head": (vision(use_head=False), SQUARE, {}, "float32"),
    "vision-biases": (vision(**ALL), SQUARE, {"bias": 1.0}, "float32"),
    "vision-qkv-bias-gelu": (vision(qkv_bias=True, hidden_act="gelu"), SQUARE, {}, "float32"),
    "vision-mlp-bias-quick-gelu": (vision(mlp_bias=True, hidden_act="quick_gelu"), SQUARE, {}, "float32"),
    "vision-gains-of-both-signs": (vision(rms_norm_eps=1e-3), SQUARE, {"gain": "of both signs"}, "float32"),
    "vision-leftover-pixels": (vision(image_size=14), pixels(1, 3, 15, 13), {}, "float32"),
    "vision-grey-one-patch": (vision(num_channels=1, image_size=4), pixels(2, 1, 4, 4), {}, "float32"),
    "vision-rectangular": (vision(image_size=(8, 15), patch_size=(2, 5)), pixels(1, 3, 8, 15), {}, "float32"),
    "vision-float16": (vision(hidden_act="gelu_pytorch_tanh"), SQUARE, {}, "float16"),
    "vision-bfloat16": (vision(hidden_act="relu2"), SQUARE, {}, "bfloat16"),
    "native": (vision(is_native=True, use_head=False), pixels(1, 3, 12, 20), {}, "float32"),
    "native-tall-head-biases": (vision(is_native=True, **ALL), pixels(1, 3, 29, 9), {}, "float32"),
    "text": (text(), {"input_ids": IDS}, {}, "float32"),
    "text-right-padding": (text(**ALL), {"input_ids": IDS, "attention_mask": RIGHT}, {}, "float32"),
    "text-left-padding": (text(), {"input_ids": IDS, "attention_mask": RIGHT[:, ::-1].copy()}, {}, "float32"),
    "text-laplace": (text(hidden_act="laplace"), {"input_ids": IDS[:, :1]}, {}, "float32"),
    "both": (both(), SQUARE | {"input_ids": IDS}, {}, "float32"),
    "both-native-padding": (
        both({"is_native": True, "hidden_act": "mish"}, ALL, max_logit_scale=7.5),
        pixels(3, 3, 8, 16) | {"input_ids": IDS, "attention_mask": RIGHT},
        {},
        "float32",
    ),
    "both-bfloat16": (both(ALL, {"hidden_act": "gelu_new"}), SQUARE | {"input_ids": IDS}, {}, "bfloat16"),
}


def record(name: str) -> None:
    config, inputs, changes, stored = CASES[name]
    case = Case(config, WEIGHTS | {"seed": list(CASES).index(name)} | changes, inputs)
    as_stored = {k: torch.from_numpy(v.copy()).to(getattr(torch, stored)) for k, v in case.model().state_dict().items()}
    model = case.model().map(lambda path, _: as_stored[path].float().numpy())
    outputs = their_activations(their_model(model), inputs)
    with unrounded():
        exact = their_activations(their_model(model.to(dtype="float64")), inputs)
    rounding = max(errors(outputs, exact, Meaning.of(config, inputs)).values())
    tensors = {f"weights/{k}": v for k, v in as_stored.items()}
    tensors |= {f"inputs/{k}": torch.from_numpy(v).contiguous() for k, v in inputs.items()}
    tensors |= {f"outputs/{k}": torch.from_numpy(v).contiguous() for k, v in outputs.items()}
    metadata = {
        "config": json.dumps(config.to_dict()),
        "rounding": f"{rounding:.3g}",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    save_file(tensors, FOLDER / f"{name}.safetensors", metadata)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in CASES:
        record(name)
    total = sum(path.stat().st_size for path in FOLDER.glob("*.safetensors"))
    print(f"{len(CASES)} goldens, {total:,} bytes")
