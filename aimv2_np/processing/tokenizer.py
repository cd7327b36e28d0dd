"""The tokenizer: captions to `input_ids` and `attention_mask`.

    "A photo of a cat." → lower case → words → bytes → merges → <|startoftext|> a photo of a cat . <|endoftext|>

Byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909) over bytes, with CLIP's vocabulary of 49408 tokens in the
released checkpoints. The work is done by the `tokenizers` library; each text is cut and padded by itself, which leaves
the shared tokenizer as it is, so that one may serve many threads.
"""

import os
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

import numpy as np

from aimv2_np.errors import Advising, CheckpointError, a_type, mismatch, quoted
from aimv2_np.files.atomic import atomic_write, make_folder, refuse_existing
from aimv2_np.files.hub import HubOptions
from aimv2_np.files.json import write_json
from aimv2_np.files.locate import TOKENIZER_FILES, resolve
from aimv2_np.processing.inputs import Inputs
from aimv2_np.processing.tokenizer_files import (
    CLIP_TOKENS,
    guarded,
    read_tokenizer,
    special_tokens,
)
from aimv2_np.shapes import NDArray

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

SAVED_FILES: Final = ("tokenizer.json", "tokenizer_config.json")
_NO_LIMIT: Final = 2**20  # Transformers writes 1e30 for "none"
_PADDING: Final = {True: "longest", False: None, "longest": "longest", "max_length": "max_length", "do_not_pad": None}
_TRUNCATION: Final = {True: True, False: False, "longest_first": True, "only_first": True, "do_not_truncate": False}
_NOT_SAVED: Final = {"auto_map", "name_or_path", "special_tokens_map_file", "tokenizer_file", "added_tokens_decoder"}


class Aimv2Tokenizer(Advising):
    """Captions to token ids.

    Attributes: `bos_token`, `eos_token`, `pad_token`, `unk_token` and their `…_token_id`; `model_max_length` (positions
    of the text tower, None if the files do not say); `padding_side`, `truncation_side` ("right" or "left"); `backend`,
    the `tokenizers.Tokenizer`, which is never changed after construction.
    """

    def __init__(self, backend: "Tokenizer", settings: Mapping[str, Any] | None = None) -> None:
        """From a `tokenizers.Tokenizer` (without padding and truncation) and the content of `tokenizer_config.json`.

        Raises:
            CheckpointError: settings that make no sense.
        """
        self.backend = backend
        self.settings = dict(settings or {})
        for name, token in special_tokens(backend, self.settings).items():
            setattr(self, name, token)
            setattr(self, f"{name}_id", None if token is None else backend.token_to_id(token))
        self.model_max_length = _positions(self.settings.get("model_max_length"))
        self.padding_side = _side(self.settings, "padding_side")
        self.truncation_side = _side(self.settings, "truncation_side")

    bos_token: str | None
    eos_token: str | None
    unk_token: str | None
    pad_token: str | None
    bos_token_id: int | None
    eos_token_id: int | None
    unk_token_id: int | None
    pad_token_id: int | None

    def __call__(
        self,
        text: str | Iterable[str],
        *,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        add_special_tokens: bool = True,
        return_tensors: str | None = None,
    ) -> dict[str, NDArray]:
        """Captions to {"input_ids", "attention_mask"}, both (B, T) int64; a single string is a batch of one.

        Args:
            padding: True or "longest": to the longest caption; "max_length": to `max_length` or `model_max_length`.
                The mask is 1 for tokens, 0 for padding.
            truncation: cut captions to `max_length` or `model_max_length`. The end token stays.
            add_special_tokens: put the start and end tokens around each caption.
            return_tensors: None or "np"; there for code written for Transformers.

        A caption of more than `model_max_length` tokens that is not truncated comes back whole, with a warning, as in
        Transformers; a text tower refuses it.

        Raises:
            ValueError: captions of different lengths without padding; nothing to pad with, or no length to pad or cut
                to; an empty list; text that is not valid Unicode.
            TypeError: what is not a string or a list of strings.
        """
        if return_tensors not in (None, "np"):
            raise ValueError("return_tensors " + mismatch(return_tensors, "'np': the results are NumPy arrays"))
        to = _choice(_PADDING, padding, "padding")
        encodings = self._encode(_text_list(text), add_special_tokens, truncation, max_length)
        lengths = [len(encoding) for encoding in encodings]
        longest, most = max(lengths), self.model_max_length
        if not _TRUNCATION[truncation] and most is not None and longest > most:
            warnings.warn(
                f"text {lengths.index(longest)} has {longest} tokens, more than the {most} that the model takes; pass "
                "truncation=True to cut it",
                stacklevel=2,
            )
        length = self._limit(max_length, "padding") if to == "max_length" else longest if to == "longest" else 0
        return self._arrays(encodings, length)

    def encode(
        self,
        text: str,
        *,
        truncation: bool | str = False,
        max_length: int | None = None,
        add_special_tokens: bool = True,
    ) -> list[int]:
        """The ids of one caption."""
        if not isinstance(text, str):
            raise TypeError(f"text is {a_type(text)}; expected one string: call the tokenizer for a list")
        ids: list[int] = self._encode([text], add_special_tokens, truncation, max_length)[0].ids
        return ids

    def decode(self, ids: int | Iterable[int] | NDArray, skip_special_tokens: bool = False) -> str:
        """The text of one row of ids. Ids outside of the vocabulary are left out."""
        numbers = np.atleast_1d(np.asarray(ids if isinstance(ids, int | np.ndarray) else list(ids)))
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "ui"):
            raise ValueError(
                f"ids has the shape {numbers.shape} and the dtype {numbers.dtype}; expected one row of integers: "
                "batch_decode takes several rows"
            )
        if numbers.size and not 0 <= numbers.min() <= numbers.max() < 2**32:
            raise ValueError(f"ids has numbers from {numbers.min()} to {numbers.max()}; expected token ids, 0 or more")
        with guarded("decoding"):
            text: str = self.backend.decode(numbers.astype(np.int64).tolist(), skip_special_tokens=skip_special_tokens)
        # The byte decoder does not know the mark that CLIP's merges put at the end of a word.
        suffix = getattr(self.backend.model, "end_of_word_suffix", None)
        return text.replace(suffix, " ").strip() if suffix else text

    def batch_decode(self, ids: Iterable[Any] | NDArray, skip_special_tokens: bool = False) -> list[str]:
        """The text of each row of ids."""
        return [self.decode(row, skip_special_tokens) for row in ids]

    def __len__(self) -> int:
        """Tokens in all, the added ones included."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    @property
    def vocab_size(self) -> int:
        """Tokens of the vocabulary itself, without those added later."""
        return int(self.backend.get_vocab_size(with_added_tokens=False))

    def __repr__(self) -> str:
        limit, pad = self.model_max_length, quoted(self.pad_token)
        return f"Aimv2Tokenizer({len(self)} tokens, model_max_length={limit}, pad={pad})"

    @classmethod
    def from_pretrained(cls, path_or_hub_id: str | os.PathLike[str], **options: Unpack[HubOptions]) -> Self:
        """From a folder or a hub id: `tokenizer.json`, or `vocab.json` with `merges.txt`.

        Raises:
            FileNotFoundError: the files are not there.
            CheckpointError: they are damaged or make no sense.
        """
        folder = resolve(path_or_hub_id, files=TOKENIZER_FILES, **options)
        return cls(*read_tokenizer(folder))

    def save_pretrained(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`, which Transformers reads to the same ids.

        Raises:
            FileExistsError: one of them is there and `overwrite` is False; nothing is written then.
        """
        folder = make_folder(folder)
        whole, config = (folder / name for name in SAVED_FILES)
        for path in (whole, config):
            refuse_existing(path, overwrite)
        with atomic_write(whole, overwrite) as file:
            file.write(self.backend.to_str(pretty=True).encode())
        write_json(config, self.to_dict(), overwrite)

    def to_dict(self) -> dict[str, Any]:
        """The content of `tokenizer_config.json`."""
        kept = {key: value for key, value in self.settings.items() if key not in _NOT_SAVED}
        kept.setdefault("tokenizer_class", "PreTrainedTokenizerFast")  # "as tokenizer.json says", to Transformers
        names = {name: getattr(self, name) for name in CLIP_TOKENS if getattr(self, name) is not None}
        sides = {"padding_side": self.padding_side, "truncation_side": self.truncation_side}
        limit = {} if self.model_max_length is None else {"model_max_length": self.model_max_length}
        return kept | names | sides | limit

    def _encode(
        self, texts: list[str], add_special_tokens: bool, truncation: bool | str, max_length: int | None
    ) -> list["Encoding"]:
        limit = self._limit(max_length, "truncation") if _choice(_TRUNCATION, truncation, "truncation") else None
        for index, text in enumerate(texts):
            if any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError(f"text {index} holds half a surrogate pair; expected valid Unicode: decode it again")
        specials = self.backend.num_special_tokens_to_add(False) if add_special_tokens else 0
        if limit is not None and limit < specials:
            raise ValueError(f"max_length is {limit}; expected room for the {specials} special tokens")
        with guarded("encoding"):
            encodings = self.backend.encode_batch(texts, add_special_tokens=False)
            if limit is not None:
                for encoding in encodings:
                    encoding.truncate(limit - specials, direction=self.truncation_side)
            return [self.backend.post_process(encoding, None, add_special_tokens) for encoding in encodings]

    def _limit(self, max_length: int | None, what: str) -> int:
        limit = self.model_max_length if max_length is None else max_length
        if limit is None:
            raise ValueError(f"{what} needs a length and the tokenizer's files name none; pass max_length")
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit < _NO_LIMIT:
            raise ValueError("max_length " + mismatch(limit, f"a whole number of tokens, 1 to {_NO_LIMIT - 1}"))
        return limit

    def _arrays(self, encodings: list["Encoding"], length: int) -> dict[str, NDArray]:
        """Both arrays, every row padded to `length`; ValueError where rows are longer and not of one length."""
        lengths = [max(len(encoding), length) for encoding in encodings]
        if min(lengths) != max(lengths):
            raise ValueError(
                f"the texts have {min(lengths)} to {max(lengths)} tokens; expected one length for one array: "
                f"pass {'truncation=True' if length else 'padding=True'}"
            )
        if self.pad_token_id is None and any(len(encoding) < length for encoding in encodings):
            raise ValueError("pad_token is not in the tokenizer's files; expected one to pad with: pass padding=False")
        ids, masks = [], []
        for encoding in encodings:
            encoding.pad(length, direction=self.padding_side, pad_id=self.pad_token_id or 0)
            ids.append(encoding.ids)
            masks.append(encoding.attention_mask)
        return Inputs(input_ids=np.array(ids, np.int64), attention_mask=np.array(masks, np.int64))


def _text_list(text: str | Iterable[str]) -> list[str]:
    if not isinstance(text, Iterable) or isinstance(text, bytes | Mapping):
        raise TypeError(f"text is {a_type(text)}; expected a string or a list of strings")
    texts = [text] if isinstance(text, str) else list(text)
    for index, one in enumerate(texts):
        if not isinstance(one, str):
            raise TypeError(f"text {index} is {a_type(one)}; expected a string")
    if not texts:
        raise ValueError("the list of texts is empty; expected at least one")
    return texts


def _choice(table: Mapping[Any, Any], value: Any, name: str) -> Any:
    if not isinstance(value, bool | str) or value not in table:
        raise ValueError(f"{name} {mismatch(value, f'one of {list(table)}')}")
    return table[value]


def _positions(value: Any) -> int | None:
    if value is None or (isinstance(value, int | float) and value >= _NO_LIMIT):
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise CheckpointError(f"model_max_length in tokenizer_config.json {mismatch(value, '1 or more')}")
    return value


def _side(settings: Mapping[str, Any], name: str) -> str:
    side = settings.get(name) or "right"
    if side not in ("right", "left"):
        raise CheckpointError(f"{name} in tokenizer_config.json " + mismatch(side, "'right' or 'left'"))
    return str(side)
