"""Models of other kinds, as Transformers saves them, are called by their names."""

import pytest
import transformers as t

from aimv2_np import CheckpointError, load

SIZES = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
PICTURE = {**SIZES, "image_size": 8, "patch_size": 4}
WORDS = {**SIZES, "vocab_size": 9, "max_position_embeddings": 4}
MODELS = {
    "OpenAI CLIP": [
        lambda: t.CLIPModel(t.CLIPConfig(text_config=WORDS, vision_config=PICTURE)),
        lambda: t.CLIPVisionModel(t.CLIPVisionConfig(**PICTURE)),
        lambda: t.CLIPTextModel(t.CLIPTextConfig(**WORDS)),
    ],
    "SigLIP": [
        lambda: t.SiglipModel(t.SiglipConfig(text_config=WORDS, vision_config=PICTURE)),
        lambda: t.SiglipVisionModel(t.SiglipVisionConfig(**PICTURE)),
    ],
    "DINOv2": [
        lambda: t.Dinov2Model(t.Dinov2Config(**PICTURE)),
        lambda: t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**PICTURE)),
        lambda: t.Dinov2ForImageClassification(t.Dinov2Config(**PICTURE)),
    ],
    "plain vision transformer": [lambda: t.ViTModel(t.ViTConfig(**PICTURE))],
    "language model": [lambda: t.LlamaForCausalLM(t.LlamaConfig(**WORDS))],
}
CASES = [(what, make) for what, several in MODELS.items() for make in several]


@pytest.mark.parametrize(("what", "make"), CASES)
def test_strangers_are_named(tmp_path, what, make):
    make().save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=f"is no AIMv2: it looks like .*{what}"):
        load(tmp_path)
