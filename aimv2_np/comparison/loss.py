"""What fewer bytes for each weight cost: a checkpoint, or a graph, beside what it was made of, on the same inputs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from aimv2_np.comparison.measure import measure_arrays, smallest_cosine
from aimv2_np.config import Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.data import sample_pictures
from aimv2_np.models.auto import load
from aimv2_np.processing import Aimv2ImageProcessor
from aimv2_np.recording.adapters import record_onnx
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
    return _loss(*(_outputs(model, inputs) for model in models))


def measure_graph_loss(model: Any, path: str | PathLike[str]) -> Loss:
    """Run a model and the ONNX graph that `to_onnx` made of it over the same samples, the graph in ONNX Runtime.

    Args:
        model: in float32.
        path: the graph, of any towers and sizes of the model.

    Raises:
        ImportError: onnx or onnxruntime is not installed.
    """
    inputs = _graph_inputs(model.config, path)
    names = [*_layers(model), *VECTORS, "pixel_values"]
    with TemporaryDirectory() as folder:
        recording = record_onnx(path, inputs, Path(folder, "graph.safetensors"), include=names)
        after = {name: recording.activations[name] for name in recording.order}
    if "images" in inputs:  # the graph makes pixels of them
        inputs["pixel_values"] = after["pixel_values"]
        del inputs["images"]
    how = {"interpolate_pos_encoding": True} if "pixel_values" in inputs else {}
    return _loss(_outputs(model, inputs, **how), after)


def _graph_inputs(config: Any, path: str | PathLike[str]) -> dict[str, NDArray]:
    """Samples of what a graph takes, in its sizes."""
    from onnx import load_model

    graph = load_model(path, load_external_data=False).graph
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.input}
    height, width = shapes.get("pixel_values", [0, 0])[-2:]  # 0 where it is open
    inputs = sample_inputs(config, (height, width) if height and width else None)
    if "input_ids" in inputs:
        inputs["attention_mask"] = np.ones_like(inputs["input_ids"])
    if "images" in shapes:
        inputs["images"] = np.stack([np.asarray(sample.picture) for sample in sample_pictures()[-PICTURES:]])
    return {name: inputs[name] for name in shapes}


def _loss(before: Mapping[str, NDArray], after: Mapping[str, NDArray]) -> Loss:
    """Of what two models gave, where both gave it."""
    before = {name: array for name, array in before.items() if name in after}
    names = [name for name in VECTORS if name in before]
    wanted = [name for name in names if name.endswith("_embeds")] or names[:1]
    cosines = {name: smallest_cosine(before[name], after[name]) for name in wanted}
    errors = {
        path: measure_arrays(before[path], after[path], "float32").relative for path in before if ".layers." in path
    }
    return Loss(cosines, tuple(sorted(errors.items(), key=lambda item: -item[1])))


def sample_inputs(config: Any, image_shape: tuple[int, int] | None = None) -> dict[str, NDArray]:
    """pixel_values and input_ids, whichever a model of this configuration takes; the same ones every time."""
    rng = np.random.default_rng(0)
    vision = config if isinstance(config, Aimv2VisionConfig) else getattr(config, "vision_config", None)
    text = config if isinstance(config, Aimv2TextConfig) else getattr(config, "text_config", None)
    inputs: dict[str, NDArray] = {}
    if text is not None:
        inputs["input_ids"] = rng.integers(0, text.vocab_size, (TEXTS, min(TOKENS, text.max_position_embeddings)))
        inputs["input_ids"][:, -1] = text.eos_token_id
    if vision is not None:
        height, width = image_shape or (NATIVE if vision.is_native else vision.image_shape)
        if vision.num_channels == 3:
            resized = Aimv2ImageProcessor(size={"height": height, "width": width}, do_center_crop=False)
            pictures = [sample.picture for sample in sample_pictures()[-PICTURES:]]
            inputs["pixel_values"] = resized(pictures)["pixel_values"]
        else:
            inputs["pixel_values"] = rng.standard_normal((PICTURES, vision.num_channels, height, width), np.float32)
    return inputs


def _layers(model: Any) -> list[str]:
    return [path for path, _ in model.named_modules() if path.rpartition(".")[0].endswith("encoder.layers")]


def _outputs(model: Any, inputs: Mapping[str, NDArray], **how: Any) -> dict[str, NDArray]:
    """What every encoder layer gives, by path, and what comes out at last, by name."""
    with trace(model, _layers(model), inner=False) as activations:
        output = model(**inputs, **how)
    return activations | {name: output[name] for name in VECTORS if name in output}
