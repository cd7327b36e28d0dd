"""The one exception and the warnings of our own, and how messages quote what a file holds."""

import errno
import os
import re
from typing import TYPE_CHECKING, Any, Final

# What is wrong with a path itself. Any other error of the system (no descriptors, no memory, a disk that does not
# answer) says nothing about a file: the same file may be sound a minute later.
_OF_A_PATH: Final = {
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG,
    errno.EINVAL, errno.EILSEQ, errno.ENXIO, errno.ENODEV, errno.EOVERFLOW,
}  # fmt: skip


class CheckpointError(ValueError):
    """A file exists but does not fit: corrupt, of another layout, or with tensors the configuration does not expect."""


class ConfigWarning(UserWarning):
    """A `config.json` has keys that AIMv2 does not know: the model is computed without them."""


class UntrainedSizeWarning(UserWarning):
    """A picture has fewer or more patches than the native model was trained for."""


class MissingEndWarning(UserWarning):
    """A text has no end-of-text token, and another token's vector, often the first one's, stands for it."""


class NoGraphWarning(UserWarning):
    """A GPU computes as it should, but kernel by kernel where a CUDA graph was expected, which takes longer."""


class CudnnWarning(UserWarning):
    """cuDNN's attention was asked for, and our own kernel computed it."""


def is_of_the_system(error: BaseException) -> bool:
    """Whether an error is the machine's at this moment, and not of the file that was being read."""
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in _OF_A_PATH
    return isinstance(error, MemoryError)


def told_by_rust(error: BaseException) -> OSError | None:
    """The machine's error that a library written in Rust tells in words: "Too many open files (os error 24)"."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    told = OSError(int(found[1]), os.strerror(int(found[1]))) if found else None
    return told if told is not None and is_of_the_system(told) else None


def quoted(value: object, limit: int = 60) -> str:
    """`repr(value)` in at most `limit` characters: a message does not repeat a megabyte that somebody sent."""
    try:
        text = repr(value[: limit + 1] if isinstance(value, str) else value)
    except ValueError:  # an integer of more digits than Python agrees to print
        text = f"an integer of {value.bit_length() if isinstance(value, int) else 'many'} bits"
    return text if len(text) <= limit else text[: limit - 3] + "..."


def mismatch(value: object, expected: str) -> str:
    """How messages put it, behind the name of what is wrong: `is <value>; expected <expected>`."""
    return f"is {quoted(value, 80)}; expected {expected}"


def plain(text: object, limit: int = 100) -> str:
    """A text without quotes in at most `limit` characters, what a terminal would act on written as escapes."""
    short = str(text)[: limit + 1]
    short = short if short.isprintable() else repr(short)[1:-1]
    return short if len(short) <= limit else short[: limit - 3] + "..."


def a_type(value: object) -> str:
    """What a value is, for the middle of a sentence: "an int", "a dict"."""
    name = type(value).__name__
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


# What is called elsewhere, in Transformers, timm and PyTorch → what to do here.
ATTRIBUTES: Final = {
    "eval": "models here only compute; leave the call out",
    "train": "models here only compute; leave the call out",
    "requires_grad_": "models here only compute; leave the call out",
    "no_grad": "models here only compute; leave it out",
    "half": "call to(dtype='float16')",
    "float": "call to(dtype='float32')",
    "double": "call to(dtype='float64')",
    "bfloat16": "call to(dtype='bfloat16')",
    "cuda": "call to('cupy')",
    "cpu": "call to('numpy')",
    "parameters": "call state_dict().values()",
    "named_parameters": "call state_dict().items()",
    "modules": "call named_modules()",
    "load_state_dict": "write a folder with aimv2_np.storage.save_checkpoint, and load that",
    "children": "call named_modules()",
    "register_forward_hook": "use aimv2_np.trace",
    "compile": "models here only compute; leave the call out",
    "encode_image": "call get_image_features(pixel_values)",
    "encode_text": "call get_text_features(input_ids)",
    "push_to_hub": "call save_pretrained(folder), then upload it: hf upload",
    "forward_features": "call the model; its result has last_hidden_state",
    "to_json_string": "call json.dumps(config.to_dict())",
    "to_json_file": "call save_pretrained(folder)",
    "to_diff_dict": "call to_dict()",
    "preprocess": "call the processor itself, processor(images)",
    "feature_extractor": "it is image_processor",
    "batch_encode_plus": "call the tokenizer itself, tokenizer(texts, padding=True)",
    "encode_plus": "call the tokenizer itself, tokenizer(text)",
}


class Advising:
    """Base of what people know under other names: an attribute that is missing says what to type instead."""

    if not TYPE_CHECKING:  # a type checker would take every attribute for one that is there

        def __getattr__(self, name: str) -> Any:
            advice = f"; {ATTRIBUTES[name]}" if name in ATTRIBUTES else ""
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}{advice}", name=name, obj=self)
