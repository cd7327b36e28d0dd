"""What is measured: the released architectures with random weights, or any checkpoint.

How long a forward pass takes should depend on the shapes of the weights and not on their values. That is measured, too:
trained weights make what random ones do not, peaked attention and outliers in the residual stream (`peaked`).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aimv2_np.config import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig, AnyConfig, config_from_dict
from aimv2_np.config.base import naming_file
from aimv2_np.data import tiny_model_path
from aimv2_np.files.locate import HUB_ID
from aimv2_np.models.auto import MODELS
from aimv2_np.models.pretrained import initial, without_final_norm
from aimv2_np.processing import Aimv2ImageProcessor
from aimv2_np.shapes import NDArray
from aimv2_np.storage import fetch, save_checkpoint
from aimv2_np.storage.formats.lazy import Lazy
from aimv2_np.storage.released import RELEASED
from aimv2_np.storage.source import open_source
from aimv2_np.tree.module import Parameter

TINY = "tiny"
PEAKED = "-peaked"  # behind the name of an architecture
OUTLIER = 3000.0  # of one feature of the residual stream, where trained towers have 10³ to 10⁴
SHARPER = 8.0  # queries and keys: scores of standard deviation 26, instead of 0.4
PICTURE = "picture.png"
PICTURE_SHAPE = (480, 640, 3)  # of what cold processes look at, unless the model takes pictures as they are
FLOAT32 = 4  # bytes


# By short names: apple/aimv2-large-patch14-224-lit is large-224-lit. The distilled ones are of the same architectures.
ARCHITECTURES = {
    one.id.removeprefix("apple/aimv2-").replace("patch14-", ""): one
    for one in RELEASED
    if not one.id.endswith("-distilled")
}


@dataclass(frozen=True)
class Specimen:
    """A checkpoint to measure.

    Attributes:
        name: what the user calls it.
        folder: where it is.
        config: its configuration.
        random: whether its weights are random numbers.
        which: what `load` is told of which model in the folder it is: `prefix` and `final_norm`.
    """

    name: str
    folder: Path
    config: AnyConfig
    random: bool
    which: dict[str, Any] = field(default_factory=dict)

    @property
    def files(self) -> list[Path]:
        """Its weights."""
        return sorted(path for path in self.folder.iterdir() if path.suffix in (".safetensors", ".msgpack"))

    @property
    def parameters(self) -> int:
        """How many numbers its weights are."""
        return MODELS[type(self.config)].skeleton(self.config).num_parameters()


def vision_of(config: AnyConfig) -> Aimv2VisionConfig | None:
    """The configuration of the vision tower, if there is one."""
    tower = getattr(config, "vision_config", config)
    return tower if isinstance(tower, Aimv2VisionConfig) else None


def text_of(config: AnyConfig) -> Aimv2TextConfig | None:
    """The configuration of the text tower, if there is one."""
    tower = getattr(config, "text_config", config)
    return tower if isinstance(tower, Aimv2TextConfig) else None


@contextmanager
def specimen(name: str, layers: int | None = None, **which: Any) -> Iterator[Specimen]:
    """The checkpoint that `name` means, for the length of the `with` block.

    Args:
        name: "tiny", the embedded model; one of `ARCHITECTURES`, with random weights in a temporary folder, `PEAKED`
            behind it or not; else a folder or a hub id.
        layers: of an architecture only so many layers (per tower).
        which: `prefix`, of a checkpoint the model whose names begin with it; `final_norm`, whether the vision tower
            ends with its norm.

    Raises:
        ValueError: `layers` for a checkpoint, which has the layers it has; `prefix` for an architecture; a name that
            means nothing.
        OSError: no room for the weights.
        FileNotFoundError, CheckpointError, …: what `from_pretrained` raises.
    """
    config = configuration(name, layers, **which)
    if name.removesuffix(PEAKED) in ARCHITECTURES:
        with tempfile.TemporaryDirectory(prefix="aimv2-np-bench-") as folder:
            write_random(Path(folder), config, peak=name.endswith(PEAKED))
            yield Specimen(name, Path(folder), config, random=True)
    else:
        place = tiny_model_path() if name == TINY else fetch(name, extra=("preprocessor_config.json",))
        yield Specimen(name, place, config, False, which)


def configuration(
    name: str, layers: int | None = None, *, prefix: str | None = None, final_norm: bool = True
) -> AnyConfig:
    """The configuration of the checkpoint that `name` means; arguments and errors as for `specimen`."""
    if (architecture := ARCHITECTURES.get(name.removesuffix(PEAKED))) is not None:
        if prefix is not None:
            raise ValueError(f"prefix is {prefix!r:.80}, but {name} has random weights of its own; drop --prefix")
        config = shortened(architecture.config(), layers)
    elif name != TINY and not Path(name).is_dir() and not HUB_ID.fullmatch(name):
        raise ValueError(
            f"model is {name!r}; expected {TINY}, one of {', '.join(ARCHITECTURES)} (random weights; with {PEAKED} "
            "behind it such as trained ones are), a folder, or a hub id"
        )
    elif layers is not None:
        raise ValueError(f"layers is {layers}, but {name} is a checkpoint: it has the layers it has. Drop --layers")
    else:
        source = open_source(tiny_model_path() if name == TINY else fetch(name), prefix)
        with naming_file(source.folder):
            config = config_from_dict(source.values)
    return config if final_norm else without_final_norm(config)


def shortened(config: AnyConfig, layers: int | None) -> AnyConfig:
    """The configuration with only so many layers in each tower."""
    if layers is None:
        return config
    if isinstance(config, Aimv2Config):
        vision = replace(config.vision_config, num_hidden_layers=layers)
        return replace(config, vision_config=vision, text_config=replace(config.text_config, num_hidden_layers=layers))
    return replace(config, num_hidden_layers=layers)


def peaked(path: str, parameter: Parameter, seed: int) -> NDArray:
    """`initial`, changed so that attention is peaked and the first feature of the residual stream an outlier.

    Gains make up for what the outlier adds to the norm's mean: √D / OUTLIER of it remains for the others.
    """
    array: NDArray = initial(path, parameter, seed)
    if path.endswith(("q_proj.weight", "k_proj.weight")) and "attention" in path:
        array *= SHARPER
    elif path.endswith("embeddings.position_embedding.weight"):
        array[:, 0] = OUTLIER
    elif path.endswith(("rms_norm1.weight", "rms_norm2.weight")):
        array *= OUTLIER / len(array) ** 0.5
        array[0] = 1 / len(array) ** 0.5
    return array


def write_random(folder: Path, config: AnyConfig, seed: int = 0, *, peak: bool = False) -> None:
    """A checkpoint with the weights that `Model(config, seed)` has, or `peaked` ones, written tensor by tensor.

    Raises OSError when there is no room for it.
    """
    skeleton = MODELS[type(config)].skeleton(config)
    needed, free = FLOAT32 * skeleton.num_parameters(), shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f"the weights take {needed / 1e9:.1f} GB and {folder} has {free / 1e9:.1f} GB free: set TMPDIR to a folder "
            "on a larger disk, or measure a smaller model"
        )
    make = peaked if peak else initial
    state = {
        path: Lazy("F32", parameter.shape, partial(make, path, parameter, seed))
        for path, parameter in skeleton.state_dict().items()
    }
    save_checkpoint(folder, state)
    config.save_pretrained(folder)
    if (vision := vision_of(config)) is not None:
        _processor(vision).save_pretrained(folder)


def draw_picture(path: Path, config: Aimv2VisionConfig) -> None:
    """A photograph-sized picture of noise; of the model's own size for native models, which resize nothing."""
    height, width, channels = (*config.image_shape, 3) if config.is_native else PICTURE_SHAPE
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, channels), dtype=np.uint8)
    Image.fromarray(noise).resize((width, height)).save(path)


def warm_up(specimen: Specimen) -> None:
    """Read the files once, so that the system has them in its cache."""
    for path in specimen.files:
        with path.open("rb") as file:
            while file.read(1 << 24):
                pass


def _processor(config: Aimv2VisionConfig) -> Aimv2ImageProcessor:
    if config.is_native:
        return Aimv2ImageProcessor(do_resize=False, do_center_crop=False)
    height, width = config.image_shape
    return Aimv2ImageProcessor(size={"shortest_edge": min(height, width)}, crop_size={"height": height, "width": width})
