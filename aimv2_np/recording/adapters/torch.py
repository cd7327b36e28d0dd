"""A PyTorch module, recorded by a forward hook on each of its modules: Transformers', Apple's, timm's, your own."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Unpack

import numpy as np

from aimv2_np.recording.recording import Recording
from aimv2_np.recording.writer import RecordingWriter, WriterOptions

FUSED = "qkv"
OUTPUT = "output"  # the path of what the outermost module returns, where that has no names itself


def record_torch(
    module: Any,
    inputs: Mapping[str, Any],
    path: str | os.PathLike[str],
    include: str | Iterable[str] = "*",
    *,
    call: Callable[..., Any] | None = None,
    **options: Unpack[WriterOptions],
) -> Recording:
    """Run a `torch.nn.Module` without gradients and write what each of its modules computed to `path`.

    Paths are the module's own (`named_modules`). Some outputs are brought into the form that they have here: images
    of channels (B, D, h, w) that a convolution makes become tokens (B, h·w, D); tables (1, N, D) of positions lose
    their first axis; a fused projection `qkv` is recorded as its thirds `q_proj`, `k_proj`, `v_proj`. Output classes
    are recorded field by field (`hidden_states.0`, …); of a tuple the first tensor is the module's output, and the
    others are `<path>.1`, ….
    bfloat16 is stored as float32, exactly.

    Args:
        module: any module; it runs as it is, so call `.eval()` first. The attention of Transformers matters for texts:
            load with attn_implementation="eager" and pass an attention_mask, or its attention is not causal.
        inputs: arguments by name, arrays or tensors; floats are brought to the module's dtype, all to its device.
        path: the safetensors file to write.
        include: a glob or several; only matching paths are recorded.
        call: called with the arguments instead of the module, for code with another way in:
            `lambda pixel_values: model.forward_features(pixel_values)`.
        options: statistics, whole, slices, overwrite and metadata of `RecordingWriter`.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: no module that ran matches `include`.
        FileExistsError: `path` is there and `overwrite` is not set.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"recording a PyTorch module needs PyTorch, which is not here: {error}") from error
    with ExitStack() as stack:
        writer = stack.enter_context(RecordingWriter(path, source="torch", include=include, **options))
        writer.metadata = _describe(torch, module) | writer.metadata
        tensors = {name: _tensor(torch, value, module) for name, value in inputs.items()}
        for name, tensor in tensors.items():
            writer.add_input(name, tensor)
        for name, submodule in module.named_modules():

            def keep(submodule: Any, _: Any, output: Any, name: str = name) -> None:
                for part, tensor in _parts(torch, name, submodule, output):
                    writer.add(part, tensor)

            stack.callback(submodule.register_forward_hook(keep).remove)
        with torch.no_grad():
            (call or module)(**tensors)
    return Recording.load(path)


def _tensor(torch: Any, value: Any, module: Any) -> Any:
    tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value, order="C"))
    like = next(module.parameters(), torch.zeros(()))
    return tensor.to(like.device, like.dtype) if tensor.is_floating_point() else tensor.to(like.device)


def _parts(torch: Any, path: str, module: Any, output: Any) -> Iterator[tuple[str, Any]]:
    """(path, tensor) of every tensor that a module returned."""
    if isinstance(output, torch.Tensor) and _is_fused(torch, path, module):
        for letter, third in zip("qkv", output.chunk(3, dim=-1), strict=True):
            yield f"{path.removesuffix(FUSED)}{letter}_proj", third
    elif isinstance(output, torch.Tensor):
        yield path or OUTPUT, _in_our_form(torch, path, module, output)
    elif hasattr(output, "items"):
        tensors = {key: value for key, value in output.items() if isinstance(value, torch.Tensor)}
        if path.rpartition(".")[2] == "encoder" and "last_hidden_state" in tensors:
            yield path, tensors.pop("last_hidden_state")  # ours returns the array itself
        yield from ((f"{path}.{key}".lstrip("."), value) for key, value in tensors.items())
        several = {key: value for key, value in output.items() if isinstance(value, tuple | list)}
        for key, values in several.items():  # hidden_states, attentions
            for i, value in enumerate(values):
                if isinstance(value, torch.Tensor):
                    yield f"{path}.{key}.{i}".lstrip("."), value
    elif isinstance(output, tuple | list):
        for i, value in enumerate(output):
            if isinstance(value, torch.Tensor):
                yield (path if path and i == 0 else f"{path or OUTPUT}.{i}"), value


def _is_fused(torch: Any, path: str, module: Any) -> bool:
    """Whether this is Apple's and timm's projection to queries, keys and values, one third each."""
    return path.rpartition(".")[2] == FUSED and isinstance(module, torch.nn.Linear) and module.out_features % 3 == 0


def _in_our_form(torch: Any, path: str, module: Any, output: Any) -> Any:
    if isinstance(module, torch.nn.Conv2d) and output.ndim == 4:
        return output.flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, h·w, D)
    if path.endswith("position_embedding") and output.ndim == 3 and output.shape[0] == 1:
        return output[0]  # (1, N, D) -> (N, D)
    return output


def _describe(torch: Any, module: Any) -> dict[str, str]:
    parameter = next(module.parameters(), None)
    facts = {"backend": "torch", "versions": json.dumps({"torch": torch.__version__})}
    if parameter is not None:
        facts["dtype"] = str(parameter.dtype).removeprefix("torch.")
    if hasattr(getattr(module, "config", None), "to_json_string"):  # Transformers'
        facts["config"] = module.config.to_json_string()
    return facts
