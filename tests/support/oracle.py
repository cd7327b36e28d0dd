"""The oracle: our model and Transformers' with the same weights, run side by side and compared path by path.

Ours is traced, theirs has a forward hook on every module, and the dotted paths of both are the same. What has no
counterpart stands in `EXCEPTIONS` with its reason; anything else that is missing on either side is an error.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Aimv2Config as TheirConfig
from transformers import Aimv2Model as TheirModel
from transformers import Aimv2TextConfig as TheirTextConfig
from transformers import Aimv2TextModel as TheirTextModel
from transformers import Aimv2VisionConfig as TheirVisionConfig
from transformers import Aimv2VisionModel as TheirVisionModel
from transformers.models.aimv2 import modeling_aimv2 as modeling

from aimv2_np import Aimv2Config, Aimv2TextConfig, Aimv2VisionConfig
from aimv2_np.tree.module import Module
from tests.support.comparison import Meaning, assert_below, errors, expected_paths, our_activations, rms, widest_sum
from tests.support.tally import compared

NDArray = np.ndarray[Any, np.dtype[Any]]

THEIRS: dict[type, tuple[type, type]] = {
    Aimv2VisionConfig: (TheirVisionConfig, TheirVisionModel),
    Aimv2TextConfig: (TheirTextConfig, TheirTextModel),
    Aimv2Config: (TheirConfig, TheirModel),
}

# Modules that only Transformers has, by the end of their path, and why. Ours has none that theirs lacks, but for the
# native positions: a function there, recorded under the name of the learned table here.
EXCEPTIONS = {
    "ffn.act_fn": "part of the operation `gated` here; seen in `ffn`; each is compared alone in test_activations",
}

# float16 has no faster bodies on the CPU, float64 none on a GPU.
TEXTBOOK_ONLY = {("numpy", "float16"), ("cupy", "float64")}

# float64: the two sides take their sums in different orders, each a few units of 2.2e-16; 1e-12 leaves a factor of
# some thousand for how strongly a small network with awkward weights amplifies them.
FLOAT64_TOLERANCE = 1e-12

examples_run = 0


def counted(test: Callable[..., None]) -> Callable[..., None]:
    """Count each example that passes, for the report at the end of the run; goes below `@given`."""

    @wraps(test)
    def count(*args: Any, **kwargs: Any) -> None:
        global examples_run
        test(*args, **kwargs)
        examples_run += 1

    return count


def their_config(config: Any) -> Any:
    """Transformers' configuration for ours, with eager attention; rectangular sizes (S5) are made square here."""
    values = json.loads(json.dumps(config.to_dict()))
    for part in (values, values.get("vision_config", {})):
        for key in ("image_size", "patch_size"):
            if isinstance(part.get(key), list):
                part[key] = min(part[key])
    values.pop("model_type")
    return THEIRS[type(config)][0](**values, attn_implementation="eager")


def their_model(model: Any, *, native_grid: tuple[int, int] | None = None) -> nn.Module:
    """Transformers' model with the weights of ours, loaded strictly by our names; eager attention, no dropout.

    Transformers builds no rectangular patches or grids (S5), its modules compute them all the same: for such a vision
    tower the convolution and the position table are replaced by rectangular ones. Native positions of rectangular
    patches go, computed by Transformers' own function for `native_grid`, into a table.
    """
    config = model.config
    state = {path: torch.from_numpy(np.array(array)) for path, array in model.state_dict().items()}
    theirs = THEIRS[type(config)][1](their_config(config)).eval()
    if isinstance(config, Aimv2VisionConfig) and config.patch_shape + config.grid != _square(theirs.config):
        embeddings, rows_columns = theirs.embeddings, config.grid
        embeddings.patch_embed = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_shape, stride=config.patch_shape
        )
        if config.is_native:
            assert native_grid is not None, "native positions of rectangular patches need the grid"
            rows_columns, embeddings.config.is_native = native_grid, False
            state["embeddings.position_embedding.weight"] = _native_table(native_grid, config.hidden_size)
        tokens = rows_columns[0] * rows_columns[1]
        embeddings.position_embedding = nn.Embedding(tokens, config.hidden_size)
        embeddings.position_ids = torch.arange(tokens)[None]
    theirs.to(getattr(torch, model.dtype)).load_state_dict(state, strict=True)
    return theirs


def _square(config: Any) -> tuple[int, int, int, int]:
    side = config.image_size // config.patch_size
    return config.patch_size, config.patch_size, side, side


def _native_table(grid: tuple[int, int], size: int) -> torch.Tensor:
    table = modeling.build_2d_sinusoidal_position_embedding(*grid, size, dtype=torch.float64)
    return torch.cat([table[:, size // 2 :], table[:, : size // 2]], dim=1)  # width first, as their forward does


@contextmanager
def unrounded() -> Iterator[None]:
    """Transformers without its two casts to float32 (RMSNorm, eager softmax), so that float64 stays float64."""

    def rms_norm(self: Any, x: torch.Tensor) -> torch.Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    def attention(
        module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float, **_: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scores = torch.matmul(query, key.transpose(-1, -2)) * scaling
        probs = nn.functional.softmax(scores if attention_mask is None else scores + attention_mask, dim=-1)
        return torch.matmul(probs, value).transpose(1, 2).contiguous(), probs

    originals = modeling.Aimv2RMSNorm.forward, modeling.eager_attention_forward
    modeling.Aimv2RMSNorm.forward, modeling.eager_attention_forward = rms_norm, attention
    try:
        yield
    finally:
        modeling.Aimv2RMSNorm.forward, modeling.eager_attention_forward = originals


def their_inputs(inputs: dict[str, NDArray], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The same arguments as tensors; token ids without a mask get one of ones, without which S1 strikes."""
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    if "pixel_values" in tensors:
        tensors["pixel_values"] = tensors["pixel_values"].to(dtype)
    if "input_ids" in tensors:
        tensors.setdefault("attention_mask", torch.ones_like(tensors["input_ids"]))
    return tensors


def their_activations(theirs: nn.Module, inputs: dict[str, NDArray]) -> dict[str, NDArray]:
    """Path -> output of every module that runs, in the shape that ours has, and what lies inside attention."""
    with torch.no_grad():
        return _named(theirs, {path: output for path, (_, output) in hooked(theirs, inputs).items()})


def hooked(theirs: nn.Module, inputs: dict[str, NDArray]) -> dict[str, tuple[tuple[Any, ...], Any]]:
    """Path -> (positional arguments, output) of every module of theirs that runs."""
    seen: dict[str, Any] = {}
    hooks = [
        module.register_forward_hook(lambda _m, args, output, path=path: seen.update({path: (args, output)}))
        for path, module in theirs.named_modules()
    ]
    try:
        with torch.no_grad():
            theirs(**their_inputs(inputs, next(theirs.parameters()).dtype))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _named(theirs: nn.Module, seen: dict[str, Any]) -> dict[str, NDArray]:
    activations: dict[str, torch.Tensor] = {}
    for path, output in seen.items():
        activations.update(_by_our_paths(path, output))
    for path, module in theirs.named_modules():
        if isinstance(module, modeling.Aimv2VisionEmbeddings) and module.config.is_native:
            table = _native_table(seen[f"{path}.patch_embed"].shape[2:], module.config.hidden_size)
            activations[f"{path}.position_embedding"] = table.to(activations[path].dtype)
        if isinstance(module, modeling.Aimv2Attention | modeling.Aimv2AttentionPoolingHead) and path in activations:
            activations.update({f"{path}.{k}": v for k, v in _inside(module, path, activations, seen[path]).items()})
    return {path: value.clone().numpy() for path, value in activations.items()}


def _by_our_paths(path: str, output: Any) -> dict[str, torch.Tensor]:
    """A module's output under the paths that ours has: fields of output classes, patches in a row, no tuples."""
    if path.endswith("patch_embed"):
        return {path: output.flatten(2).transpose(1, 2)}  # (B, D, h, w) -> (B, N, D)
    if path.endswith("encoder"):
        return {path: output.last_hidden_state}
    if path.endswith("position_embedding"):
        return {path: output[0]}  # (1, N, D) -> (N, D)
    if isinstance(output, tuple) and not hasattr(output, "items"):
        return {path: output[0]}  # attention: (output, probabilities)
    if isinstance(output, torch.Tensor):
        return {path: output}
    fields = {f"{path}.{name}".lstrip("."): value for name, value in output.items()}
    return {name: value for name, value in fields.items() if isinstance(value, torch.Tensor)}


def _inside(module: Any, path: str, activations: dict[str, torch.Tensor], output: Any) -> dict[str, torch.Tensor]:
    """q, k, v, scores, probs from their projections' outputs; the blocks' probs are the ones that they return."""
    heads = module.num_heads

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)

    k, v = split(activations[f"{path}.k_proj"]), split(activations[f"{path}.v_proj"])
    pooling = isinstance(module, modeling.Aimv2AttentionPoolingHead)
    q = split(module.cls_token.detach().expand(len(k), -1, -1) if pooling else activations[f"{path}.q_proj"])
    scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
    probs = scores.softmax(-1) if pooling else output[1]
    assert probs is not None, "eager attention returns its probabilities"
    return {"q": q, "k": k, "v": v, "scores": scores, "probs": probs}


def scales(theirs: nn.Module, inputs: dict[str, NDArray], reference: dict[str, NDArray]) -> dict[str, float]:
    """What linear maps are rounded relative to: the size of the terms of their sums, |x| |W|ᵀ + |b|.

    The sum itself can be far smaller than its terms, and is known to ε of the terms only. Likewise inside |x|:
    attention is a weighted sum of values, probs · |v|; and an activation near zero is a difference of larger numbers,
    such as x/2 · (1 + erf(x/√2)), known to ε (1 + |x|), so the down projection's |x| is (1 + |gate|) |up|.
    """
    result: dict[str, float] = {}
    for path, (args, _) in hooked(theirs, inputs).items():
        module, (parent, _, name) = theirs.get_submodule(path), path.rpartition(".")
        if not isinstance(module, nn.Linear):
            continue
        x = args[0].abs().numpy()
        if name == "down_proj":
            x = (1 + np.abs(reference[f"{parent}.gate_proj"])) * np.abs(reference[f"{parent}.up_proj"])
        elif name in ("out_proj", "output_proj"):
            weighted = reference[f"{parent}.probs"] @ np.abs(reference[f"{parent}.v"])  # (B, H, N, d)
            x = weighted.swapaxes(1, 2).reshape(*weighted.shape[::2], -1)  # -> (B, N, D)
        terms = x @ module.weight.abs().numpy().T + (0 if module.bias is None else module.bias.abs().numpy())
        result[path] = rms(terms)
        if name in ("out_proj", "output_proj", "down_proj"):
            result[parent] = result[path]
        if name == "output_proj":
            result[f"{parent.rpartition('head')[0]}pooler_output"] = result[path]
        if name in ("q_proj", "k_proj", "v_proj"):
            result[f"{parent}.{name[0]}"] = result[path]
    return result


def assert_all_paths_compared(model: Module, ours: dict[str, NDArray], theirs: dict[str, NDArray], inner: bool) -> None:
    """Nothing was silently dropped: ours has all of its modules, and theirs none that ours lacks without a reason."""
    least, most = expected_paths(model, inner=False), expected_paths(model, inner=True)
    if inner or (model.backend, model.dtype) in TEXTBOOK_ONLY:
        least = most
    elif model.backend == "numpy":
        most = least  # on a device it depends on sizes, too, whether a faster body runs
    unexpected = (least - set(ours)) | (set(ours) - most)
    assert not unexpected, f"missing from the trace, or unknown in it: {sorted(unexpected)}"
    inside = {path for path in theirs if path.rpartition(".")[2] in ("scores", "probs")} - set(ours)
    left = {path for path in set(theirs) - set(ours) - inside if not path.endswith(tuple(EXCEPTIONS))}
    assert not left, f"not compared: {sorted(left)}"


def assert_same(case: Any, *, dtype: str = "float32", backend: str = "numpy") -> None:
    """Every module of `case` agrees with Transformers', with the fast bodies and with the operations as written.

    Both are run in float64, where they must agree to 1e-12 of the size of each output, and in `dtype`, where both are
    measured against float64. How strongly a network amplifies rounding differs by orders of magnitude with its weights.
    It is measured: by Transformers' own largest error in the same run, and by what three changes of all weights and
    inputs by ε do to it in float64. Ours may be 8 times the largest of these plus 4 ε √n, what one product of length n
    costs by itself: all are draws of a random quantity, often of few elements, and a factor of 4 between two draws
    comes up once in some thousand networks.
    """
    model, inputs = case.model(), case.inputs
    wide, narrow = model.to(dtype="float64"), model.to(dtype=dtype)
    meaning, grid, eps = Meaning.of(case.config, inputs), _grid(case), float(np.finfo(dtype).eps)
    theirs_wide, theirs_narrow = their_model(wide, native_grid=grid), their_model(narrow, native_grid=grid)
    with unrounded(), torch.no_grad():
        reference = their_activations(theirs_wide, inputs)
        scale = scales(theirs_wide, inputs, reference)
        changed = [their_activations(*_changed(theirs_wide, inputs, eps, seed)) for seed in range(3)]
    rounded = their_activations(theirs_narrow, inputs)
    rounding = max(max(errors(other, reference, meaning, scale).values()) for other in (rounded, *changed))
    bound = 8 * rounding + 4 * eps * sqrt(widest_sum(model))
    wide, narrow = wide.to(backend), narrow.to(backend)
    for inner in (False, True):
        ours = our_activations(wide, inputs, inner=inner)
        assert_all_paths_compared(wide, ours, reference, inner)
        _assert_within("modules, float64", errors(ours, reference, meaning, scale), FLOAT64_TOLERANCE)
        ours = our_activations(narrow, inputs, inner=inner)
        assert_all_paths_compared(narrow, ours, rounded, inner)
        _assert_within(f"modules, {dtype}", errors(ours, reference, meaning, scale), bound)


def _assert_within(subject: str, found: dict[str, float], bound: float) -> None:
    assert_below(found, bound)
    compared(subject, found, bound)


def _changed(
    theirs: nn.Module, inputs: dict[str, NDArray], eps: float, seed: int
) -> tuple[nn.Module, dict[str, NDArray]]:
    """`theirs`, changed in place, and its inputs, every number by a random part of the order of `eps`."""
    rng = np.random.default_rng(seed)
    for parameter in theirs.parameters():
        parameter *= 1 + eps * torch.from_numpy(rng.standard_normal(tuple(parameter.shape)))
    noisy = {k: v * (1 + eps * rng.standard_normal(v.shape)) if v.dtype.kind == "f" else v for k, v in inputs.items()}
    return theirs, noisy


def _grid(case: Any) -> tuple[int, int] | None:
    if "pixel_values" not in case.inputs:
        return None
    vision = getattr(case.config, "vision_config", case.config)
    (height, width), (ph, pw) = case.inputs["pixel_values"].shape[2:], vision.patch_shape
    return height // ph, width // pw
