"""The files of a tokenizer: read with suspicion, turned into a `tokenizers.Tokenizer`.

Two forms are understood: `tokenizer.json`, which holds everything, and CLIP's older pair `vocab.json` + `merges.txt`,
for which CLIP's pipeline is built here. Names and limits stand in `tokenizer_config.json` and, in older folders, in
`special_tokens_map.json`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aimv2_np.errors import CheckpointError, is_of_the_system, mismatch, plain, quoted, told_by_rust
from aimv2_np.files.json import telling_cache
from aimv2_np.files.locate import check_link, read_json_in
from aimv2_np.processing.quiet import without_panics

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

# Half as much again as CLIP's have, at least; read, they take thirty times their size in memory, the pair sixty.
MAX_BYTES: Final = {"tokenizer.json": 6 * 2**20, "vocab.json": 3 * 2**19, "merges.txt": 3 * 2**19}
CLIP_TOKENS: Final = {
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}
# Radford et al. 2021, as in OpenAI's tokenizer: contractions, words, single digits, runs of anything else.
_CLIP_WORDS: Final = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def read_settings(folder: Path) -> dict[str, Any]:
    """The content of `tokenizer_config.json`, with the names of `special_tokens_map.json` over it unless the former
    lists its tokens itself (Transformers' order); empty if there is neither.

    Raises:
        CheckpointError: a file that is not a JSON object.
    """
    settings = read_json_in(folder, "tokenizer_config.json") or {}
    if "added_tokens_decoder" not in settings:
        settings |= read_json_in(folder, "special_tokens_map.json") or {}
    return settings


def read_tokenizer(folder: Path) -> tuple["Tokenizer", dict[str, Any]]:
    """The tokenizer of a folder, tried once, and its settings.

    Padding and truncation that `tokenizer.json` switches on are switched off; what they say about the pad token and the
    sides becomes settings, where the other files do not say it.

    Raises:
        FileNotFoundError: neither `tokenizer.json` nor `vocab.json` with `merges.txt`.
        CheckpointError: damaged, contradictory or oversized files.
    """
    whole, vocab, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
    for path in (whole, vocab, merges):
        check_link(path, folder)
    if not whole.is_file() and not (vocab.is_file() and merges.is_file()):
        raise FileNotFoundError(
            f"{folder} has no {whole.name}, and not both of {vocab.name} and {merges.name}; "
            "fetch them, or copy them from the checkpoint's page"
        )
    settings = read_settings(folder)
    if not whole.is_file():
        settings.setdefault("tokenizer_class", "CLIPTokenizer")
    with telling_cache(whole if whole.is_file() else vocab), guarded(folder), without_panics():
        tokenizer = _from_json(whole) if whole.is_file() else _from_vocabulary(vocab, merges, settings)
        settings = _switched_on(tokenizer) | {key: value for key, value in settings.items() if value is not None}
        _add_missing(tokenizer, settings)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        ids = tokenizer.encode("A try: does it work?").ids  # broken pipelines show only when they run
        unknown = [token for token in ids if tokenizer.id_to_token(token) is None]
    if unknown:
        raise CheckpointError(
            f"{folder}: the tokenizer produces the ids {unknown[:5]}, which its vocabulary does not have; "
            "fetch the files again"
        )
    return tokenizer, settings


@contextmanager
def guarded(what: Path | str) -> Iterator[None]:
    """Turn whatever the `tokenizers` library throws at bad files into one CheckpointError.

    It is written in Rust; a panic there arrives as a PanicException, which is no Exception.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, CheckpointError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if is_of_the_system(error):
            raise
        if (told := told_by_rust(error)) is not None:
            raise told from None
        raise CheckpointError(
            f"{what}: the tokenizer's files do not work ({plain(error, 200)}); expected a sound tokenizer.json, or "
            "vocab.json and merges.txt; fetch them again"
        ) from None


def special_tokens(tokenizer: "Tokenizer", settings: Mapping[str, Any]) -> dict[str, str | None]:
    """The text of each special token; where the files do not say it CLIP's, if the vocabulary has that, else None."""
    return {
        name: special_token(settings, name) or (None if tokenizer.token_to_id(clip) is None else clip)
        for name, clip in CLIP_TOKENS.items()
    }


def special_token(settings: Mapping[str, Any], name: str) -> str | None:
    """A token's text, which the files give plainly or as an object with its text under "content"."""
    value = settings.get(name)
    text = value.get("content") if isinstance(value, Mapping) else value
    if text is not None and (not isinstance(text, str) or not text):
        raise CheckpointError(f"{name} in the tokenizer's files {mismatch(value, 'the text of a token')}")
    return text


def _from_json(path: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    _check_bytes(path)
    return Tokenizer.from_str(path.read_text(encoding="utf-8"))


def _from_vocabulary(vocab: Path, merges: Path, settings: Mapping[str, Any]) -> "Tokenizer":
    """CLIP's tokenizer: NFC, single spaces, lower case; words; bytes; merges; <start> … <end>."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    for path in (vocab, merges):
        _check_bytes(path)
    bos, eos, unk = (special_token(settings, name) or CLIP_TOKENS[name] for name in tuple(CLIP_TOKENS)[:3])
    ids, pairs = models.BPE.read_file(str(vocab), str(merges))
    missing = [token for token in (bos, eos) if token not in ids]
    if missing:
        raise CheckpointError(f"{vocab} lacks the special tokens {quoted(missing)}; expected CLIP's vocabulary")
    tokenizer = Tokenizer(models.BPE(ids, pairs, unk_token=unk, end_of_word_suffix="</w>", fuse_unk=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    words = pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(
        (eos, ids[eos]), (bos, ids[bos]), trim_offsets=False, add_prefix_space=False
    )
    return tokenizer


def _switched_on(tokenizer: "Tokenizer") -> dict[str, Any]:
    padding, truncation = tokenizer.padding or {}, tokenizer.truncation or {}
    said = {
        "pad_token": padding.get("pad_token"),
        "padding_side": padding.get("direction"),
        "truncation_side": truncation.get("direction"),
    }
    return {key: value for key, value in said.items() if value is not None}


def _add_missing(tokenizer: "Tokenizer", settings: Mapping[str, Any]) -> None:
    """Make the tokens that the settings list, and the four special ones, tokens that are never split.

    CLIP's own names are assumed only where the vocabulary has them. What `tokenizer.json` says about a token stands.
    """
    listed = settings.get("added_tokens_decoder") or {}
    if not isinstance(listed, Mapping) or not all(isinstance(token, Mapping) for token in listed.values()):
        raise CheckpointError("added_tokens_decoder in tokenizer_config.json " + mismatch(listed, "a table of tokens"))
    wanted = [listed[key] for key in sorted(listed, key=int)]
    for name, text in special_tokens(tokenizer, settings).items():
        if text is not None:
            value = settings.get(name)
            wanted.append({**(value if isinstance(value, Mapping) else {}), "content": text, "special": True})
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for token in wanted:
        if token.get("content") not in known:
            tokenizer.add_tokens([_added_token(token)])
            known.add(token["content"])


def _added_token(token: Mapping[str, Any]) -> "AddedToken":
    from tokenizers import AddedToken

    # Whether a token is looked for before or after the text is normalised follows from `special` where it is not said.
    names = ("special", "single_word", "lstrip", "rstrip", "normalized")
    return AddedToken(token["content"], **{name: bool(token[name]) for name in names if name in token})


def _check_bytes(path: Path) -> None:
    size, most = path.stat().st_size, MAX_BYTES[path.name]
    if size > most:
        raise CheckpointError(f"{path} has {size:,} bytes; expected at most {most:,}: this is no tokenizer of CLIP's")
