"""Apple's MLX layout, of `aim.v2.mlx`: the PyTorch names, with the channels of the convolution last."""

from aimv2_np.storage.layouts import apple
from aimv2_np.storage.layouts.table import Form, Layout, Row, with_rows

# (D, C, P, P) → (D, P, P, C)
CONVOLUTION = Form((0, 2, 3, 1))

LAYOUT = Layout(
    name="mlx",
    title="Apple MLX",
    file="mlx_model.safetensors",
    metadata={"format": "mlx"},
    vision=with_rows(
        apple.VISION, Row("preprocessor.patchifier.proj.weight", "embeddings.patch_embed.weight", CONVOLUTION)
    ),
    text=apple.TEXT,
    both=apple.BOTH,
    prefixes=apple.PREFIXES,
)
