"""A CLIP-style byte-level BPE tokenizer for the captions of the small world."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from aimv2_np.data.grammar import forget, paraphrase
from aimv2_np.data.world import SEEN, random_scene

START, END = "<|startoftext|>", "<|endoftext|>"
POSITIONS = 24  # the longest caption of the grammar takes 20

# CLIP's own: what transformers' CLIPTokenizer builds.
SPLIT = Regex(r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")


def _clip(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(SPLIT, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train_tokenizer(seed: int = 0, captions: int = 20_000) -> Tokenizer:
    """Merges learned from captions, enough that every word of the grammar is one token.

    The vocabulary is laid out as CLIP's: 256 bytes, 256 bytes that end a word, the merges, start, end. With all bytes
    in it any text has tokens.
    """
    rng = np.random.default_rng(seed)
    words: Counter[str] = Counter()
    for i in range(captions):
        scene = random_scene(rng, SEEN, count=1 + i % 2)
        words.update(paraphrase(forget(scene, rng, 0.2), rng).split())
    # One caption of equal weight per word: rare words earn their merges too.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    ends = [byte + "</w>" for byte in alphabet]
    # Merges as frequent as each other come in the order of their tokens' numbers; ends would get theirs by chance.
    trainer = trainers.BpeTrainer(
        vocab_size=4096, end_of_word_suffix="</w>", show_progress=False, special_tokens=[*alphabet, *ends]
    )
    learner = _clip(models.BPE(end_of_word_suffix="</w>"))
    learner.train_from_iterator([" ".join(sorted(words))] * 4, trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    tokens = [*alphabet, *ends, *("".join(merge) for merge in merges), START, END]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = _clip(models.BPE(vocab, merges, end_of_word_suffix="</w>", unk_token=END))
    tokenizer.add_special_tokens([START, END])
    tokenizer.post_processor = processors.RobertaProcessing(
        (END, vocab[END]), (START, vocab[START]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """`tokenizer.json` and `tokenizer_config.json`, as transformers' AutoTokenizer reads them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": POSITIONS,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
