"""Keys of a `config.json` that no field has: of another network, harmless, or unknown.

A fork of AIMv2 keeps its tensors' names and changes what is computed; only its configuration tells. A key that belongs
to such a change is refused unless its value switches the change off; a key that means nothing to the network is let
through; any other is warned of by name when a model is loaded.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from aimv2_np.config import int8
from aimv2_np.errors import ConfigWarning, plain, quoted

# What computes something else → a pattern for its keys.
CHANGES = {
    "rotary positions": r"(^|_|\dd)m?rope|rotary",
    "attention in windows": r"window|full_?att\w*_(block_)?index|global_attn_index|local_attention|(^|_)swin",
    "other positions": r"preserve_original_pe|interpolate_pe_method|relative_pos|rel_pos|alibi|position_embedding_type"
        r"|pos_embed_type|use_abs(olute)?_pos|(^|_)rpe(_|$)",
    "norms of queries and keys": r"(^|_)(qk|q|k|query|key)_?(layer)?_?norm",
    "registers or class tokens": r"regist|reg_tokens?|(cls|class|prefix|mask)_tokens?(?!\w)",
    "scaled residuals": r"layer_?scale|init_values|residual_(scale|multiplier)|parallel_residual",
    "quantised weights": r"quanti[sz]|torchao|gptq|awq|load_in_[48]bit|bits_and_bytes|compression_config|bnb_4bit",
    "other attention": r"softcap|attn_bias|scale_attn|attention_(scale|multiplier)|is_causal|^causal"
        r"|num_key_value_heads|kv_heads|head_dim|attn_logit",
    "experts": r"num_(local_)?experts|^moe|_moe|router",
    "patches in time or merged": r"temporal_patch_size|tubelet|spatial_merge_size|token_merg|tome_",
}  # fmt: skip
# Values of any key that nobody knows, such as "pos_emb_type": "rope2d", which mean the same.
ROTARY = re.compile(r"(^|_|\d|d)rope|rotary|alibi", re.IGNORECASE)
PATTERNS = {what: re.compile(pattern, re.IGNORECASE) for what, pattern in CHANGES.items()}
SWITCH = re.compile(r"^(use|enable|with|apply)_", re.IGNORECASE)
REVERSED = re.compile(r"^(disable|no|without|skip)_", re.IGNORECASE)  # true means "off"
# Values by which a change is off, beside 0, false, null and what is empty.
OFF_WORDS = {"", "none", "off", "no", "false", "null", "disabled"}
PLAIN: dict[str, tuple[object, ...]] = {
    "position_embedding_type": ("absolute", "learned"),
    "pos_embed_type": ("absolute", "learned", "learn"),
    "use_abs_pos": (True,),
    "use_absolute_pos": (True,),
    "temporal_patch_size": (1,),
    "spatial_merge_size": (1,),
    "residual_scale": (1, 1.0),
    "residual_multiplier": (1, 1.0),
    "num_experts": (1,),
    "num_local_experts": (1,),
}
# Of Transformers' base class, the hub's tools, Apple's and timm's code, training and heads: the tower ignores them.
_HARMLESS = """
    architectures auto_map torch_dtype dtype transformers_version library_name attn_implementation license tags
    name_or_path commit_hash tokenizer_class model_name model_type base_config_key projection_dropout
    projection_size use_bias initializer_factor initializer_std init_std init_merger_std pad_token_id bos_token_id
    sep_token_id decoder_start_token_id unk_token_id output_hidden_states output_attentions return_dict
    use_return_dict use_cache gradient_checkpointing chunk_size_feed_forward is_decoder is_encoder_decoder
    add_cross_attention cross_attention_hidden_size tie_encoder_decoder tie_word_embeddings cross_attention_freq
    prefix task_specific_params torchscript use_bfloat16 tf_legacy_loss pruned_heads remove_invalid_values id2label
    label2id num_labels problem_type finetuning_task return_unused_kwargs classifier_dropout max_length min_length
    do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p typical_p
    repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids
    num_return_sequences output_scores return_dict_in_generate forced_bos_token_id forced_eos_token_id
    exponential_decay_length_penalty suppress_tokens begin_suppress_tokens hidden_dropout hidden_dropout_prob
    hidden_dropout_rate dropout drop_rate drop_path drop_path_rate proj_drop_rate attn_drop_rate patch_drop_rate
    pos_drop_rate attention_probs_dropout_prob layerdrop architecture pretrained_cfg num_classes num_features
    global_pool model_args label_names do_pooling features_only class_token_id cls_token_id mask_token_id mlp_ratio
    dynamic_img_size dynamic_img_pad strict_img_size fc_norm norm_layer mlp_layer embed_norm_layer pre_norm
    hidden_stride num_visual_indicator_tokens tokenize_function flash_attn
"""
HARMLESS = frozenset(_HARMLESS.split())


def refuse_changes(values: Mapping[str, Any], path: str = "") -> None:
    """ValueError that begins with the first key whose value makes another network of AIMv2."""
    for what, pattern in PATTERNS.items():
        keys = [key for key in values if pattern.search(key)]
        if any(_switches_off(key, values[key]) for key in keys):
            keys = [key for key in keys if SWITCH.match(key)]  # what is switched off has its other settings for nothing
        for key in keys:
            if not _is_off(key, values):
                raise ValueError(_refusal(path, key, values[key], what))

    for key, value in values.items():
        if isinstance(value, str) and ROTARY.search(value) and _is_unknown(key):
            raise ValueError(_refusal(path, key, value, "other positions"))


def _refusal(path: str, key: str, value: object, what: str) -> str:
    return (
        f"{path}{plain(key)} is {quoted(value)}, which means {what}; expected plain AIMv2, which has none: this is a "
        "fork with the same names, and computes something else"
    )


def _is_unknown(key: str) -> bool:
    known = key in HARMLESS or key.startswith("_")
    return not known and not any(pattern.search(key) for pattern in PATTERNS.values())


def warn_unknown(extra: Iterable[str], where: object) -> None:
    """One warning that names the keys, of those that no field has, of which nobody knows what they mean."""
    unknown = [plain(key) for key in dict.fromkeys(extra) if _is_unknown(key)]
    if unknown:
        names = ", ".join(unknown[:10]) + (", ..." if len(unknown) > 10 else "")
        warnings.warn(
            f"config.json of {where} has keys that AIMv2 does not know, and which are ignored: {names}; "
            "if they change what is computed, this is another network",
            ConfigWarning,
            stacklevel=2,
        )


def _switches_off(key: str, value: object) -> bool:
    if REVERSED.match(key):
        return value is True
    return bool(SWITCH.match(key)) and value is False


def _is_off(key: str, values: Mapping[str, Any]) -> bool:
    value = values[key]
    if REVERSED.match(key):
        return value is True
    if key == int8.KEY and int8.is_int8(value):
        return True
    if key in PLAIN and any(value == each and type(value) is type(each) for each in PLAIN[key]):
        return True
    heads, size = values.get("num_attention_heads"), values.get("hidden_size")
    if key in ("num_key_value_heads", "num_kv_heads") and value == heads:
        return True
    if key == "head_dim" and isinstance(heads, int) and isinstance(size, int) and value == size / (heads or 1):
        return True
    if key in ("is_causal", "causal"):
        return value is None or value is ("vocab_size" in values)  # as the text tower is, and the vision tower is not
    if "window" in key and value == -1:
        return True
    if isinstance(value, str):
        return value.lower() in OFF_WORDS
    return value is None or value == 0 or value == [] or value == {}
