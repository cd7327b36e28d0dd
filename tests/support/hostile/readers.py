"""What the watched process can be asked to read, and the exceptions that the documentation promises for it.

A reader takes the case's folder and returns plain values that the test compares with what somebody else's reader makes
of the same bytes.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import aimv2_np
from aimv2_np import Aimv2Config, Aimv2ImageProcessor, Aimv2TextConfig, Aimv2Tokenizer, Aimv2VisionConfig, compare
from aimv2_np.backends.dtypes import FLOATS
from aimv2_np.config import config_from_pretrained
from aimv2_np.config.base import Config
from aimv2_np.errors import CheckpointError
from aimv2_np.network.linear import linear
from aimv2_np.processing.loading import load_pixels
from aimv2_np.recording import Recording
from aimv2_np.storage import SafetensorsFile, open_checkpoint, open_source
from aimv2_np.storage.formats.messagepack import MessagePackFile
from aimv2_np.tasks import load_probe

CAPTIONS = ("A photo of a cat", "", "  two\n\n½ ﬁ\u0301 <|endoftext|> 🙂 12345", "a" * 200)
PICTURE = np.arange(12 * 9 * 3, dtype=np.uint8).reshape(12, 9, 3)
MAX_OUTPUT = 2**20  # pixels that a folder's settings may ask for before they are tried

Arrays = dict[str, tuple[str, tuple[int, ...], bytes]]


def _stored(file: Any, shapes: Any, dtypes: Any) -> Arrays:
    """Name → dtype, shape and bytes as stored; float32 too must be readable or refused."""
    result = {}
    for name, dtype in dtypes.items():
        if dtype in FLOATS.values():
            result[name] = (dtype, shapes[name], file.stored(name).tobytes())
            try:
                values = file.read(name, "float32")
            except CheckpointError:
                continue
            assert values.shape == shapes[name]
    return result


def read_safetensors(folder: Path) -> tuple[dict[str, tuple[str, tuple[int, ...]]], dict[str, str], Arrays]:
    file = SafetensorsFile(folder / "model.safetensors")
    places = {name: (entry.dtype, entry.shape) for name, entry in file.entries.items()}
    shapes = {name: entry.shape for name, entry in file.entries.items()}
    return places, dict(file.metadata), _stored(file, shapes, {name: dtype for name, (dtype, _) in places.items()})


def read_messagepack(folder: Path) -> tuple[dict[str, tuple[str, tuple[int, ...]]], Arrays]:
    file = MessagePackFile(folder / "flax_model.msgpack")
    places = {name: (entry.dtype, entry.shape) for name, entry in file.entries.items()}
    shapes = {name: entry.shape for name, entry in file.entries.items()}
    return places, _stored(file, shapes, {name: dtype for name, (dtype, _) in places.items()})


def read_checkpoint(folder: Path) -> Arrays:
    checkpoint = open_checkpoint(folder)
    repr(checkpoint)
    return _stored(checkpoint, checkpoint.shapes, checkpoint.dtypes)


def read_source(folder: Path) -> dict[str, tuple[int, ...]]:
    source = open_source(folder)
    repr(source)
    return source.tensors.shapes


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    model = aimv2_np.load(folder)
    return model.config.to_dict(), {name: np.asarray(array).tobytes() for name, array in model.state_dict().items()}


def _config_reader(kind: type[Config] | None) -> Callable[[Path], dict[str, Any]]:
    def read(folder: Path) -> dict[str, Any]:
        config = config_from_pretrained(folder) if kind is None else kind.from_pretrained(folder)
        repr(config)
        return config.to_dict()

    return read


def read_image_settings(folder: Path) -> tuple[dict[str, Any], tuple[tuple[int, ...], bool] | None]:
    """The settings, and the shape of a small picture processed with them, if it stays small, and whether it is finite.

    A picture that cannot be processed with them is a ValueError, which stands for no result.
    """
    processor = Aimv2ImageProcessor.from_pretrained(folder)
    repr(processor)
    sizes = (processor.size if processor.do_resize else {}) | (processor.crop_size if processor.do_center_crop else {})
    if max(sizes.values(), default=0) > 512:
        return processor.to_dict(), None
    try:
        pixels = processor(PICTURE)["pixel_values"]
    except ValueError:
        return processor.to_dict(), None
    return processor.to_dict(), (pixels.shape, bool(np.isfinite(pixels).all()))


def read_tokenizer(folder: Path) -> tuple[dict[str, Any], list[list[int]] | None]:
    """The settings, and the ids of some captions; no ids where the tokenizer turns out not to work on them."""
    tokenizer = Aimv2Tokenizer.from_pretrained(folder)
    repr(tokenizer)
    try:
        ids = [tokenizer.encode(caption) for caption in CAPTIONS]
        tokenizer.batch_decode(ids)
    except CheckpointError:
        return tokenizer.to_dict(), None
    return tokenizer.to_dict(), ids


def read_picture(folder: Path) -> tuple[tuple[int, ...], bytes, tuple[int, ...]]:
    """The picture's pixels, read by path and as bytes, and the shape that CLIP's processor makes of them."""
    path = folder / "picture"
    pixels = load_pixels(path)
    again = load_pixels(path.read_bytes(), exif_transpose=True)
    assert again.size == pixels.size
    return pixels.shape, pixels.tobytes(), Aimv2ImageProcessor()(path)["pixel_values"].shape


def read_recording(folder: Path) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]], Arrays]:
    """A recording, all of whose parts are used."""
    recording = Recording.load(folder / "b.safetensors")
    repr(recording)
    recording.config  # noqa: B018
    arrays = {path: (str(array.dtype), array.shape, array.tobytes()) for path, array in recording.activations.items()}
    for path, array in recording.inputs.items():
        arrays["inputs/" + path] = (str(array.dtype), array.shape, array.tobytes())
    for path in recording.statistics:
        recording.statistics[path]
    return recording.order, recording.shapes, arrays


def read_comparison(folder: Path) -> tuple[bool, list[tuple[str, bool]]]:
    """Two recordings compared, the second the damaged one, and the other way round."""
    result = compare(folder / "a.safetensors", folder / "b.safetensors")
    back = compare(folder / "b.safetensors", folder / "a.safetensors")
    for one in (result, back):
        str(one), one.explanation
    return result.equal, [(difference.path, difference.equal) for difference in result.differences]


def read_probe(folder: Path) -> tuple[tuple[str, ...], list[float]]:
    """A probe, and its logits of some features."""
    probe = load_probe(folder / "probe.safetensors")
    features = np.ones((2, probe.width) if probe.kind == "linear" else (2, 3, probe.width), np.float32)
    return probe.classes, probe.logits(features).ravel().tolist()


def _misbehave(folder: Path) -> None:
    """What the file `how` says: faults of every kind, by which the watching itself is tested."""
    how = (folder / "how").read_text()
    if how == "hang":
        while True:
            pass
    elif how == "crash":
        os.abort()
    elif how == "remember":
        bytearray(300 * 10**6)
    elif how == "reserve":
        bytearray(8 * 2**30)
    elif how == "read outside":
        (folder.parent / "secret").read_bytes()
    elif how == "write":
        (folder / "new").write_bytes(b"")
    elif how == "run":
        subprocess.run(["true"], check=True)
    elif how == "undocumented":
        "\ud800".encode()
    elif how == "long":
        raise CheckpointError("x" * 5000)
    elif how == "escape":
        raise CheckpointError("\x1b[2J")


READERS: dict[str, Callable[[Path], Any]] = {
    "safetensors": read_safetensors,
    "messagepack": read_messagepack,
    "checkpoint": read_checkpoint,
    "source": read_source,
    "model": read_model,
    "config": _config_reader(None),
    "config of two towers": _config_reader(Aimv2Config),
    "config of a vision tower": _config_reader(Aimv2VisionConfig),
    "config of a text tower": _config_reader(Aimv2TextConfig),
    "image settings": read_image_settings,
    "tokenizer": read_tokenizer,
    "picture": read_picture,
    "recording": read_recording,
    "comparison": read_comparison,
    "probe": read_probe,
    "misbehaviour": _misbehave,
}
_FILES = (FileNotFoundError, CheckpointError)
# Exactly these types: a UnicodeEncodeError is a ValueError, and nobody has promised one.
DOCUMENTED: dict[str, tuple[type[BaseException], ...]] = {
    **dict.fromkeys(READERS, _FILES),
    "picture": (FileNotFoundError, ValueError),
    "comparison": (*_FILES, ValueError),
}


def warm_up() -> None:
    """Import what is imported late, so that no case is charged for it."""
    import tokenizers  # noqa: F401

    Image.init()
    folder = Path(aimv2_np.__file__).parent / "data" / "aimv2-tiny-shapes"
    Aimv2Tokenizer.from_pretrained(folder).encode("warm")
    aimv2_np.load(folder)
    Aimv2ImageProcessor()(PICTURE)
    linear(np.ones((2, 3), np.float32), np.ones((4, 3), np.float32))  # loads what is compiled
