"""A PyTorch module, recorded by a forward hook on each of its modules: Transformers', Apple's, timm's, your own."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Unpack

import numpy as np

from aimv2_np.recording.recording import LOSS, Recording
from aimv2_np.recording.writer import RecordingWriter, WriterOptions
from aimv2_np.tree.trace import GRADIENT

# Brings a module's output into the form that it has here; it is linear, and so its gradient's.
Form = Callable[[Any], Any]

FUSED = "qkv"
OUTPUT = "output"  # the path of what the outermost module returns, where that has no names itself


def record_torch(
    module: Any,
    inputs: Mapping[str, Any],
    path: str | os.PathLike[str],
    include: str | Iterable[str] = "*",
    *,
    call: Callable[..., Any] | None = None,
    gradients: bool = False,
    loss: Callable[[Any], Any] | None = None,
    **options: Unpack[WriterOptions],
) -> Recording:
    """Run a `torch.nn.Module` and write what each of its modules computed to `path`, and gradients, where asked for.

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
        gradients: also ∂loss/∂ each of these outputs, in the same form, as `gradient:<path>`, by each input of floats
            (`gradient:pixel_values`), and by each parameter under its name (of a fused `qkv.weight` as its thirds);
            zeros for what takes no part. They are autograd's, and nobody's `.grad` changes. Outputs that are changed in
            place afterwards have the gradient of what they become.
        loss: what is differentiated: given what the module returned, it returns a tensor of one number. None: that of
            `aimv2_np.trace`, the contrastive loss or the sum of what comes out last; of a tensor its sum, of a tuple
            that of its first one.
        options: statistics, whole, slices, overwrite and metadata of `RecordingWriter`.

    Raises:
        ImportError: PyTorch is not installed.
        ValueError: no module that ran matches `include`; a loss without `gradients`, or nothing to sum up.
        FileExistsError: `path` is there and `overwrite` is not set.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"recording a PyTorch module needs PyTorch, which is not here: {error}") from error
    if loss is not None and not gradients:
        raise ValueError("loss is given without gradients; expected gradients=True, whose gradients are of the loss")
    with ExitStack() as stack:
        writer = stack.enter_context(RecordingWriter(path, source="torch", include=include, **options))
        writer.metadata = _describe(torch, module) | writer.metadata
        tensors = {name: _tensor(torch, value, module) for name, value in inputs.items()}
        for name, tensor in tensors.items():
            writer.add_input(name, tensor)
        kept: dict[str, tuple[Any, Form]] = {}
        for name, submodule in module.named_modules():

            def keep(submodule: Any, _: Any, output: Any, name: str = name) -> None:
                for part, tensor, form in _parts(torch, name, submodule, output):
                    writer.add(part, form(tensor))
                    if gradients and tensor.is_floating_point():
                        kept[part] = tensor, form

            stack.callback(submodule.register_forward_hook(keep).remove)
        if gradients:
            tensors = {name: _leaf(tensor) for name, tensor in tensors.items()}
        with torch.set_grad_enabled(gradients):
            output = (call or module)(**tensors)
        if gradients:
            given = [(name, (tensor, _as_it_is)) for name, tensor in tensors.items() if tensor.is_floating_point()]
            number, writer.metadata[LOSS] = default_loss(torch, output) if loss is None else (loss(output), "given")
            for part, gradient in _gradients(torch, number, [*kept.items(), *given, *_parameters(torch, module)]):
                writer.add(GRADIENT + part, gradient)
    return Recording.load(path)


def default_loss(torch: Any, output: Any) -> tuple[Any, str]:
    """What is differentiated where no loss is given, of what a module returned, and what it is in words."""
    from aimv2_np.gradients.tape import is_contrastive, summed_in

    if isinstance(output, torch.Tensor):
        return output.sum(), "sum"
    if isinstance(output, tuple | list):
        return output[0].sum(), "sum of the first"
    named = {name: value for name, value in output.items() if isinstance(value, torch.Tensor)}
    name = summed_in(named)
    value = named[name]
    if not is_contrastive(name, value.shape):
        return value.sum(), f"sum of {name}"
    entropy, diagonal = torch.nn.functional.cross_entropy, torch.arange(len(value), device=value.device)
    return (entropy(value, diagonal) + entropy(value.T, diagonal)) / 2, "contrastive"


def _gradients(torch: Any, loss: Any, named: Sequence[tuple[str, tuple[Any, Form]]]) -> Iterator[tuple[str, Any]]:
    """(path, ∂loss/∂ the tensor there, in our form); the last computed first."""
    part = [(name, tensor, form) for name, (tensor, form) in named if tensor.requires_grad]
    found = torch.autograd.grad(loss, [tensor for _, tensor, _ in part], allow_unused=True)
    known = {name: gradient for (name, _, _), gradient in zip(part, found, strict=True) if gradient is not None}
    for name, (tensor, form) in reversed(named):
        yield name, form(known.get(name, torch.zeros_like(tensor)))


def _parameters(torch: Any, module: Any) -> Iterator[tuple[str, tuple[Any, Form]]]:
    """Every parameter under its name; of a fused projection its thirds."""
    for name, parameter in module.named_parameters():
        owner, _, kind = name.rpartition(".")
        if _is_fused(torch, owner, module.get_submodule(owner)):
            for i, letter in enumerate("qkv"):
                third = f"{owner.removesuffix(FUSED)}{letter}_proj.{kind}"
                yield third, (parameter, _third(i, dim=0))
        else:
            yield name, (parameter, _as_it_is)


def _tensor(torch: Any, value: Any, module: Any) -> Any:
    tensor = value if isinstance(value, torch.Tensor) else torch.from_numpy(np.array(value, order="C"))
    like = next(module.parameters(), torch.zeros(()))
    return tensor.to(like.device, like.dtype) if tensor.is_floating_point() else tensor.to(like.device)


def _leaf(tensor: Any) -> Any:
    """An input to differentiate by, apart from whose tensor it was; whole numbers as they are."""
    return tensor.detach().clone().requires_grad_() if tensor.is_floating_point() else tensor


def _parts(torch: Any, path: str, module: Any, output: Any) -> Iterator[tuple[str, Any, Form]]:
    """(path, tensor, what brings it, and its gradient, into our form) of every tensor that a module returned."""
    if isinstance(output, torch.Tensor) and _is_fused(torch, path, module):
        for i, letter in enumerate("qkv"):
            yield f"{path.removesuffix(FUSED)}{letter}_proj", output, _third(i, dim=-1)
    elif isinstance(output, torch.Tensor):
        yield path or OUTPUT, output, _our_form(torch, path, module, output)
    elif hasattr(output, "items"):
        tensors = {key: value for key, value in output.items() if isinstance(value, torch.Tensor)}
        if path.rpartition(".")[2] == "encoder" and "last_hidden_state" in tensors:
            yield path, tensors.pop("last_hidden_state"), _as_it_is  # ours returns the array itself
        yield from ((f"{path}.{key}".lstrip("."), value, _as_it_is) for key, value in tensors.items())
        several = {key: value for key, value in output.items() if isinstance(value, tuple | list)}
        for key, values in several.items():  # hidden_states, attentions
            for i, value in enumerate(values):
                if isinstance(value, torch.Tensor):
                    yield f"{path}.{key}.{i}".lstrip("."), value, _as_it_is
    elif isinstance(output, tuple | list):
        for i, value in enumerate(output):
            if isinstance(value, torch.Tensor):
                yield (path if path and i == 0 else f"{path or OUTPUT}.{i}"), value, _as_it_is


def _is_fused(torch: Any, path: str, module: Any) -> bool:
    """Whether this is Apple's and timm's projection to queries, keys and values, one third each."""
    return path.rpartition(".")[2] == FUSED and isinstance(module, torch.nn.Linear) and module.out_features % 3 == 0


def _our_form(torch: Any, path: str, module: Any, output: Any) -> Form:
    if isinstance(module, torch.nn.Conv2d) and output.ndim == 4:
        return lambda tensor: tensor.flatten(2).transpose(1, 2)  # (B, D, h, w) -> (B, h·w, D)
    if path.endswith("position_embedding") and output.ndim == 3 and output.shape[0] == 1:
        return lambda tensor: tensor[0]  # (1, N, D) -> (N, D)
    return _as_it_is


def _third(i: int, dim: int) -> Form:
    return lambda tensor: tensor.chunk(3, dim=dim)[i]


def _as_it_is(tensor: Any) -> Any:
    return tensor


def _describe(torch: Any, module: Any) -> dict[str, str]:
    parameter = next(module.parameters(), None)
    facts = {"backend": "torch", "versions": json.dumps({"torch": torch.__version__})}
    if parameter is not None:
        facts["dtype"] = str(parameter.dtype).removeprefix("torch.")
    if hasattr(getattr(module, "config", None), "to_json_string"):  # Transformers'
        facts["config"] = module.config.to_json_string()
    return facts
