"""Apple's MLX layout, of `aim.v2.mlx`: the PyTorch names, with the channels of the convolution last."""

from aimv2_np.storage.layouts import apple
from aimv2_np.storage.layouts.table import PATCHES, Form, Layout, Row

# (D, C, P, P) → (D, P, P, C)
CONVOLUTION = Form((0, 2, 3, 1))

LAYOUT = Layout(
    name="mlx",
    title="Apple MLX",
    file="mlx_model.safetensors",
    metadata={"format": "mlx"},
    vision=tuple(Row(row.theirs, row.ours, CONVOLUTION) if row.ours == PATCHES else row for row in apple.VISION),
    text=apple.TEXT,
    both=apple.BOTH,
    prefixes=apple.PREFIXES,
)
