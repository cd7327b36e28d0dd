"""What fewer bytes for each weight cost: a checkpoint beside the one that it was made of, on the same inputs."""

from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

import numpy as np

from aimv2_np.comparison.measure import measure_arrays, smallest_cosine
from aimv2_np.config import Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.data import sample_pictures
from aimv2_np.models.auto import load
from aimv2_np.processing import Aimv2ImageProcessor
from aimv2_np.shapes import NDArray
from aimv2_np.tree.trace import trace

VECTORS = ("image_embeds", "text_embeds", "pooler_output", "last_hidden_state")  # the first of a model count
PICTURES, TEXTS, TOKENS = 2, 4, 16
NATIVE = (224, 224)  # pixels, where a model takes any


@dataclass(frozen=True)
class Loss:
    """How far two models are apart.

    Attributes:
        cosines: output → the smallest cosine between their vectors, over all inputs.
        layers: (path, relative error of its output) of every encoder layer, the worst first.
    """

    cosines: dict[str, float]
    layers: tuple[tuple[str, float], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `--json` prints them."""
        return asdict(self)


def measure_loss(
    original: str | PathLike[str], converted: str | PathLike[str], prefix: str | None = None, **options: Any
) -> Loss:
    """Run both models over two sample pictures and four texts of random tokens, in float32, and compare.

    Args:
        original: a folder or hub id, `prefix` and `options` being as for `load`.
        converted: the folder of the same model, stored in another dtype.

    Raises:
        ValueError: the two are not the same network.
    """
    models = load(original, prefix=prefix, **options), load(converted)
    shapes = [{name: array.shape for name, array in model.state_dict().items()} for model in models]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{converted} is another network than {original}; expected the same one in another dtype")
    inputs = sample_inputs(models[0].config)
    before, after = (_outputs(model, inputs) for model in models)
    names = [name for name in VECTORS if name in before]
    wanted = [name for name in names if name.endswith("_embeds")] or names[:1]
    cosines = {name: smallest_cosine(before[name], after[name]) for name in wanted}
    errors = {
        path: measure_arrays(before[path], after[path], "float32").relative for path in before if ".layers." in path
    }
    return Loss(cosines, tuple(sorted(errors.items(), key=lambda item: -item[1])))


def sample_inputs(config: Any) -> dict[str, NDArray]:
    """pixel_values and input_ids, whichever a model of this configuration takes; the same ones every time."""
    rng = np.random.default_rng(0)
    vision = config if isinstance(config, Aimv2VisionConfig) else getattr(config, "vision_config", None)
    text = config if isinstance(config, Aimv2TextConfig) else getattr(config, "text_config", None)
    inputs: dict[str, NDArray] = {}
    if text is not None:
        inputs["input_ids"] = rng.integers(0, text.vocab_size, (TEXTS, min(TOKENS, text.max_position_embeddings)))
        inputs["input_ids"][:, -1] = text.eos_token_id
    if vision is not None:
        height, width = NATIVE if vision.is_native else vision.image_shape
        if vision.num_channels == 3:
            resized = Aimv2ImageProcessor(size={"height": height, "width": width}, do_center_crop=False)
            pictures = [sample.picture for sample in sample_pictures()[-PICTURES:]]
            inputs["pixel_values"] = resized(pictures)["pixel_values"]
        else:
            inputs["pixel_values"] = rng.standard_normal((PICTURES, vision.num_channels, height, width), np.float32)
    return inputs


def _outputs(model: Any, inputs: dict[str, NDArray]) -> dict[str, NDArray]:
    """What every encoder layer gives, by path, and what comes out at last, by name."""
    layers = [path for path, _ in model.named_modules() if path.rpartition(".")[0].endswith("encoder.layers")]
    with trace(model, layers, inner=False) as activations:
        output = model(**inputs)
    return activations | {name: output[name] for name in VECTORS if name in output}
