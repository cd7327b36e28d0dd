"""Every instance of a CUDA kernel that the package launches, and the architectures it is compiled for."""

from itertools import product

from aimv2_np.kernels.cuda.gated import ACTIVATIONS

ARCHITECTURES = [75, 80, 90, 100]
SINCE = {"attention_tensor_cores": 80}  # the first architecture that a source is for

TYPES, HALVES = ("float", "__half", "__nv_bfloat16"), ("__half", "__nv_bfloat16")
VECTORS = {"float": (1, 4), "__half": (1, 8), "__nv_bfloat16": (1, 8)}
EACH = [(t, width) for t in TYPES for width in VECTORS[t]]

# What the package launches: source -> the arguments of its template.
INSTANCES = {
    "attention_back_keys": [(64,), (128,)],
    "attention_back_queries": [(64,), (128,)],
    "attention_one_query": [*product(TYPES, (1, 4))],
    "attention_tensor_cores": [*product(HALVES, (64, 128), (64, 128))],
    "attention_tiles": [(t, dim, width) for t, width in EACH for dim in (32, 64, 128)],
    "embedding_back": [("float",), ("double",)],
    "gated": [(t, width, name) for t, width in EACH for name in sorted(set(ACTIVATIONS.values()))],
    "gated_back": [(name,) for name in sorted(set(ACTIVATIONS.values()))],
    "patches": [(t,) for t in TYPES],
    "rms_norm": [(t, width, add) for t, width in EACH for add in ("true", "false")],
    "rms_norm_back": [(t,) for t in TYPES],
    "softmax": [(t,) for t in TYPES],
}


def kernels(name: str) -> list[str]:
    """The instances of a source, as NVRTC names them."""
    return [f"{name}<{', '.join(map(str, arguments))}>" for arguments in INSTANCES[name]]
