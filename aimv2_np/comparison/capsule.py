"""The first module that is wrong by itself, alone in a folder: to be sent to whoever can mend it.

`capsule.npz` holds what the other side gave the module (`x`), the module's weights, what it should compute of them
(`expected`) and what the other side recorded (`found`). `reproduce.py` is the module's equation in plain NumPy: it
computes the output anew and says how far either is from it.
"""

from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np

from aimv2_np.comparison.comparison import Step
from aimv2_np.comparison.diagnosis.ends import Embeds, EndOfText, Logits, Scored, Unit
from aimv2_np.files.atomic import atomic_write, make_folder, refuse_existing
from aimv2_np.network.attention import Attention
from aimv2_np.network.embedding import Embedding
from aimv2_np.network.encoder import EncoderLayer
from aimv2_np.network.linear import Linear
from aimv2_np.network.patches import PatchEmbed
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.rms_norm import Identity, RMSNorm
from aimv2_np.network.swiglu import SwiGLU
from aimv2_np.network.text import TextEmbeddings
from aimv2_np.network.view import View
from aimv2_np.network.vision import VisionEmbeddings
from aimv2_np.shapes import NDArray

ARRAYS, SCRIPT = "capsule.npz", "reproduce.py"

LINEAR = """
def linear(x, name):
    y = x @ a[name + "weight"].T
    return y + a[name + "bias"] if name + "bias" in a else y
"""
RMS_NORM = """
def rms_norm(x, name, eps):
    return a[name + "weight"] * x / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
"""
SWIGLU = """
def swiglu(x, name):
    gate, up = linear(x, name + "gate_proj."), linear(x, name + "up_proj.")
    return linear({act} * up, name + "down_proj.")
"""
ATTEND = """
def attend(q, k, v, heads, seen=True):
    q, k, v = (y.reshape(*y.shape[:2], heads, -1).swapaxes(1, 2) for y in (q, k, v))
    scores = np.where(seen, q @ k.swapaxes(2, 3) / np.sqrt(q.shape[-1]), np.finfo(q.dtype).min)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    y = e / e.sum(-1, keepdims=True) @ v
    return y.swapaxes(1, 2).reshape(len(y), y.shape[2], -1)
"""
ATTENTION = """
def attention(x, name, heads):
    q, k, v = (linear(x, f"{name}{letter}_proj.") for letter in "qkv")
    return linear(attend(q, k, v, heads, a["seen"]), name + "out_proj.")
"""
PATCH_EMBED = """
def patch_embed(x, name):
    w = a[name + "weight"]
    (b, c, h, width), (p, q) = x.shape, w.shape[2:]
    x = x[:, :, : h // p * p, : width // q * q].reshape(b, c, h // p, p, width // q, q)
    x = x.transpose(0, 2, 4, 1, 3, 5).reshape(b, -1, c * p * q)
    return x @ w.reshape(len(w), -1).T + a[name + "bias"]
"""
# hidden_act → its expression of `gate`; those that have none here are NumPy functions of our own package.
ACTS = {
    "silu": "gate / (1 + np.exp(-gate))",
    "swish": "gate / (1 + np.exp(-gate))",
    "quick_gelu": "gate / (1 + np.exp(-1.702 * gate))",
    "relu": "np.maximum(gate, 0)",
    "gelu": "gate * 0.5 * (1 + np.vectorize(__import__('math').erf)(gate / 2**0.5))",
}
ACTS["gelu_python"] = ACTS["gelu"]
for _name in ("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate"):
    ACTS[_name] = "0.5 * gate * (1 + np.tanh((2 / np.pi) ** 0.5 * (gate + 0.044715 * gate**3)))"


def write_capsule(step: Step, folder: str | PathLike[str], overwrite: bool = False) -> None:
    """Write `capsule.npz` and `reproduce.py` of a step into a folder, which is made where missing.

    FileExistsError where they are there and `overwrite` is False.
    """
    folder = make_folder(folder)
    for name in (ARRAYS, SCRIPT):
        refuse_existing(folder / name, overwrite)
    arrays, source = _contents(step)
    with atomic_write(folder / ARRAYS, overwrite) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    with atomic_write(folder / SCRIPT, overwrite) as file:
        file.write(source.encode())


def _contents(step: Step) -> tuple[dict[str, NDArray], str]:
    """The arrays and the script."""
    if step.module is None:
        raise ValueError(f"{step.path} lies within a module; expected the output of one")
    given = step.arguments[0]
    x = np.asarray(given.text if isinstance(given, Embeds) else given)
    # The step's own expectation rests on what the other side recorded inside the module.
    expected = step.module(*step.arguments)
    expected = getattr(expected, step.path) if isinstance(expected, Scored) else expected
    arrays = {"x": x, "expected": expected, "found": step.found}
    arrays |= {name: np.asarray(array) for name, array in step.module.state_dict().items()}
    view = next((argument for argument in step.arguments if isinstance(argument, View)), None)
    if view is not None:
        allowed = view.allowed(np, x.shape[1], x.shape[1])
        arrays["seen"] = np.ones((1, 1, 1, 1), bool) if allowed is None else allowed
    functions, lines = SCRIPTS[type(step.module)](step, arrays)
    about = f'"""{step.path}, a {type(step.module).__name__}, on what the other side gave it."""\n\n'
    head = 'import numpy as np\n\nwith np.load("capsule.npz") as file:\n    a = dict(file)\nx = a["x"]\n'
    tail = """
for name in ("expected", "found"):
    print(name, np.linalg.norm(a[name] - y) / np.linalg.norm(y))
"""
    return arrays, about + head + "\n".join((*functions, "\n".join(lines))) + tail


Script = tuple[list[str], list[str]]  # functions, and the lines that compute y of x


def _embedding(step: Step, arrays: dict[str, NDArray]) -> Script:
    _only_used_rows(arrays, "weight")
    return [], ['y = a["weight"][x]']


def _only_used_rows(arrays: dict[str, NDArray], table: str) -> None:
    """A table of which only the rows that are looked up are kept, and numbers of these rows."""
    used, places = np.unique(arrays["x"], return_inverse=True)
    arrays[table], arrays["x"] = arrays[table][used], places.reshape(arrays["x"].shape)


def _text(step: Step, arrays: dict[str, NDArray]) -> Script:
    _only_used_rows(arrays, "token_embedding.weight")
    return [], ['y = a["token_embedding.weight"][x] + a["position_embedding.weight"][: x.shape[1]]']


def _vision(step: Step, arrays: dict[str, NDArray]) -> Script:
    module: Any = step.module
    arrays["positions"] = module.positions(module.grid_of(arrays["x"])).astype(np.float32)
    lines = [f'y = rms_norm(patch_embed(x, "patch_embed."), "rms_norm.", {module.rms_norm.eps!r}) + a["positions"]']
    return [RMS_NORM, PATCH_EMBED], lines


def _swiglu(module: SwiGLU) -> list[str]:
    act = ACTS.get(module.hidden_act)
    if act is None:
        act = f'__import__("aimv2_np.network.activations", fromlist=["_"]).ACTIVATIONS["{module.hidden_act}"](gate)'
    return [LINEAR, SWIGLU.replace("{act}", act)]


def _layer(step: Step, arrays: dict[str, NDArray]) -> Script:
    module: Any = step.module
    functions, heads = [RMS_NORM, *_swiglu(module.ffn), ATTEND, ATTENTION], module.attention.heads
    return functions, [
        f'x = x + attention(rms_norm(x, "rms_norm1.", {module.rms_norm1.eps!r}), "attention.", {heads})',
        f'y = x + swiglu(rms_norm(x, "rms_norm2.", {module.rms_norm2.eps!r}), "ffn.")',
    ]


def _head(step: Step, arrays: dict[str, NDArray]) -> Script:
    module: Any = step.module
    arrays.setdefault("seen", np.ones((1, 1, 1, 1), bool))
    return [LINEAR, ATTEND], [
        'q = np.broadcast_to(a["cls_token"], (len(x), 1, x.shape[2]))',
        f'y = attend(q, linear(x, "k_proj."), linear(x, "v_proj."), {module.heads}, a["seen"])',
        'y = linear(y, "output_proj.").reshape(len(x), -1)',
    ]


def _logits(step: Step, arrays: dict[str, NDArray]) -> Script:
    module: Any = step.module
    arrays["images"] = step.arguments[0].image
    turned = ".T" if step.path == "logits_per_image" else ""
    return [], [f'y = np.exp(np.clip(a["logit_scale"], 0, np.log({module.most!r}))) * (x @ a["images"].T){turned}']


SCRIPTS: dict[type, Callable[[Any, dict[str, NDArray]], Script]] = {
    Linear: lambda step, arrays: ([LINEAR], ['y = linear(x, "")']),
    RMSNorm: lambda step, arrays: ([RMS_NORM], [f'y = rms_norm(x, "", {step.module.eps!r})']),
    Identity: lambda step, arrays: ([], ["y = x"]),
    SwiGLU: lambda step, arrays: (_swiglu(step.module), ['y = swiglu(x, "")']),
    Attention: lambda step, arrays: (
        [LINEAR, ATTEND, ATTENTION], [f'y = attention(x, "", {step.module.heads})'],
    ),
    PatchEmbed: lambda step, arrays: ([PATCH_EMBED], ['y = patch_embed(x, "")']),
    Embedding: _embedding,
    VisionEmbeddings: _vision,
    TextEmbeddings: _text,
    EncoderLayer: _layer,
    AttentionPoolingHead: _head,
    EndOfText: lambda step, arrays: ([], ['y = x[np.arange(len(x)), a["ends"]]']),
    Logits: _logits,
    Unit: lambda step, arrays: ([], ["y = x / np.sqrt((x * x).sum(-1, keepdims=True))"]),
}  # fmt: skip
