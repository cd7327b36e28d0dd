"""Checkpoints that are not AIMv2's but are taken for it, by names that give them away."""

import re
from collections.abc import Iterable

# What it is → a regular expression for a name that only it has. The first that is found is named.
TELLTALES = {
    "a LoRA adapter: it holds changes to another model's weights; merge it into that model first":
        r"\.lora_(A|B|a|b|up|down|embedding_A)\b|lora_magnitude_vector|\.ia3_l\b|\.base_layer\.(weight|bias)$",
    "the state of an optimizer: it holds averages of gradients, no weights; use the model's own file":
        r"(^|[./])(exp_avg|exp_avg_sq|momentum_buffer)$|^(opt_state|optimizer)[./]",
    "quantised weights; use the original checkpoint":
        r"\.(qweight|qzeros|weight\.absmax|weight\.quant_map|weight_scale|weight_scale_inv|SCB|biases)$",
    "a SigLIP model (Transformers' names)":
        r"^(vision_model\.)*head\.(probe|attention\.in_proj_weight)$|^logit_bias$",
    "an OpenAI CLIP model (Transformers' names)":
        r"^(vision_model\.)*(embeddings\.class_embedding|pre_layrnorm\.weight|post_layernorm\.weight)$"
        r"|^(text_model\.)*(encoder\.layers\.\d+\.self_attn\.|final_layer_norm\.)",
    "an OpenAI CLIP model (the names of OpenAI and OpenCLIP)":
        r"^(visual\.(class_embedding|ln_pre\.weight|transformer\.resblocks\.|trunk\.)|transformer\.resblocks\.\d+\.)",
    "a DINOv2 model (Transformers' names)":
        r"^(dinov2\.)?(encoder\.layer\.\d+\.layer_scale1\.|embeddings\.mask_token$|embeddings\.register_tokens$)",
    "a DINOv2 model (Meta's or timm's names)":
        r"^(blocks\.(\d+\.)?\d+\.ls1\.gamma$|mask_token$|register_tokens$|reg_token$)",
    "the first AIM, with LayerNorm and a plain MLP":
        r"(^|\.)trunk\.blocks\.\d+\.norm_1\.bias$|^trunk/layers_\d+/norm_1/bias$",
    "a plain vision transformer, with a class token and LayerNorm":
        r"^cls_token$|^blocks\.\d+\.norm1\.bias$|^(vit\.)?embeddings\.cls_token$",
    "a language model":
        r"^(language_model\.)?model\.(layers\.\d+\.|embed_tokens\.)",
}  # fmt: skip
# Files by whose mere presence a folder without weights of a model is recognised as the first of these.
ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
# What is refused wherever it stands in a checkpoint; the others only among the names of the AIMv2 that is in it.
ANYWHERE = tuple(TELLTALES)[:2]


def looks_like(names: Iterable[str], among: Iterable[str] = TELLTALES) -> str | None:
    """What tensors of these names are, when they are known not to be an AIMv2's; only the kinds `among` are tried."""
    names = list(names)
    for what in among:
        telltale = re.compile(TELLTALES[what])
        found = next((name for name in names if telltale.search(name)), None)
        if found is not None:
            return f"{what} (it has {found[:100]!r})"
    return None
