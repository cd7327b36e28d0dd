"""How far rounding alone drives a model from itself, by dtype and depth: the figures of docs/compare.md.

    python tests/tools/measure_tolerances.py [hidden size] [tokens per side]

Runs Transformers' vision tower (eager) with random weights in float32, float16 and bfloat16 against the same network
in float64, all modules recorded, for two scales of weights, and prints the errors in units of each dtype's epsilon.
"""

import sys
from typing import Any

import numpy as np
import torch
from transformers import Aimv2VisionConfig, Aimv2VisionModel

from aimv2_np.comparison.measure import measure_arrays

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
LAYERS = 24


def build(size: int, side: int, spread: float) -> Any:
    """A tower in float64 whose matrices have the standard deviation spread/√inputs, gains vary by 0.2."""
    config = Aimv2VisionConfig(
        hidden_size=size, intermediate_size=2 * size, num_hidden_layers=LAYERS, num_attention_heads=max(2, size // 128),
        image_size=14 * side, patch_size=14, attn_implementation="eager",
    )  # fmt: skip
    torch.manual_seed(0)
    model = Aimv2VisionModel(config).double().eval()
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.data = 1 + 0.2 * torch.randn_like(weight)
        elif weight.ndim > 1 and "position" not in name:
            weight.data = torch.randn_like(weight) * spread / weight[0].numel() ** 0.5
    return model


def run(model: Any, pixels: torch.Tensor) -> dict[str, np.ndarray]:
    """Every module's output by name, in order, as float64."""
    found: dict[str, np.ndarray] = {}

    def keep(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            value = output[0] if isinstance(output, tuple) else output
            if isinstance(value, torch.Tensor):
                found[name] = value.detach().double().numpy()

        return hook

    hooks = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    with torch.no_grad():
        model(pixels)
    for hook in hooks:
        hook.remove()
    return found


def kind(path: str) -> str:
    """The path with a star for the layer."""
    return ".".join("*" if part.isdecimal() else part for part in path.split("."))


def main() -> None:
    size, side = (int(value) for value in (*sys.argv[1:], *("256", "8")[len(sys.argv) - 1 :]))
    pixels = torch.randn(1, 3, 14 * side, 14 * side, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for spread in (0.6, 1.0, 2.0):
        model = build(size, side, spread)
        exact = run(model, pixels)
        for dtype, torch_dtype in DTYPES.items():
            rough = run(model.to(torch_dtype), pixels.to(torch_dtype))
            model = build(size, side, spread)
            eps = float(torch.finfo(torch_dtype).eps)
            errors: dict[str, dict[int, tuple[float, float]]] = {}
            for path, array in exact.items():
                facts = measure_arrays(array, rough[path], dtype)
                layer = next((int(part) + 1 for part in path.split(".") if part.isdecimal()), 0)
                errors.setdefault(kind(path), {})[layer] = (facts.relative / eps, facts.worst_row / eps)
            print(f"\n{dtype}, weights {spread}/√inputs: relative error (of the worst row) in ε after layer")
            for name, layers in errors.items():
                shown = [layer for layer in (0, 1, 2, 4, 8, 12, 16, 20, 24) if layer in layers]
                print(f"{name:38}", *(f"{n}: {layers[n][0]:.2f} ({layers[n][1]:.2f})" for n in shown))


if __name__ == "__main__":
    main()
