"""Small checkpoints with random weights, complete with CLIP's real tokenizer."""

import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from aimv2_np import (
    Aimv2Config,
    Aimv2ImageProcessor,
    Aimv2Model,
    Aimv2TextConfig,
    Aimv2TextModel,
    Aimv2VisionConfig,
    Aimv2VisionModel,
)

TOKENIZER = Path(__file__).parents[1] / "fixtures" / "clip-tokenizer"
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


def vision_config(**changes: object) -> Aimv2VisionConfig:
    """16 x 24 pixels in patches of 8: a grid of 2 x 3."""
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    return Aimv2VisionConfig(**(sizes | {"image_size": (16, 24), "patch_size": 8, "initializer_range": 0.3} | changes))


def text_config() -> Aimv2TextConfig:
    """CLIP's vocabulary and 16 positions."""
    sizes = {"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 1, "num_attention_heads": 2}
    return Aimv2TextConfig(**sizes, max_position_embeddings=16, initializer_range=0.3)


def save_two_towers(folder: Path, **changes: object) -> Path:
    """A two-tower checkpoint; `changes` are to its vision tower."""
    config = Aimv2Config(vision_config=vision_config(**changes), text_config=text_config(), projection_dim=8)
    Aimv2Model(config).save_pretrained(folder)
    save_image_processor(folder, native=config.vision_config.is_native)
    for name in TOKENIZER_FILES:
        shutil.copy(TOKENIZER / name, folder)
    return folder


def save_vision_tower(folder: Path, **changes: object) -> Path:
    """A checkpoint with a vision tower alone."""
    config = vision_config(**changes)
    Aimv2VisionModel(config).save_pretrained(folder)
    save_image_processor(folder, native=config.is_native)
    return folder


def save_text_tower(folder: Path) -> Path:
    """A checkpoint with a text tower alone."""
    Aimv2TextModel(text_config()).save_pretrained(folder)
    return folder


def save_image_processor(folder: Path, *, native: bool) -> None:
    """To 16 x 24 pixels, or none at all."""
    size = {"height": 16, "width": 24}
    settings = {"do_resize": False, "do_center_crop": False} if native else {"size": size, "crop_size": size}
    Aimv2ImageProcessor(**settings).save_pretrained(folder)


def behind(folder: Path, *prefixes: str) -> Path:
    """The checkpoint in `folder`, behind each of the prefixes; weights differ but for those of the last."""
    state = load_file(folder / "model.safetensors")
    copies = {
        f"{prefix}.{name}": np.asarray(array if prefix == prefixes[-1] else array * np.float32(0.5))
        for prefix in prefixes for name, array in state.items()
    }  # fmt: skip
    save_file({**copies, "llm.lm_head.weight": np.ones(3, "f4")}, folder / "model.safetensors")
    return folder
