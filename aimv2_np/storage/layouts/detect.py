"""Which layout a checkpoint has, from the names and shapes of its tensors alone."""

from aimv2_np.errors import CheckpointError
from aimv2_np.storage.checkpoint import Tensors
from aimv2_np.storage.layouts import apple, flax, mlx, timm, transformers
from aimv2_np.storage.layouts.table import PATCHES, VISION, Layout

LAYOUTS: dict[str, Layout] = {module.LAYOUT.name: module.LAYOUT for module in (transformers, apple, mlx, flax, timm)}


def detect(checkpoint: Tensors, channels: int = 3) -> Layout:
    """The layout that knows most of the names, at least half; Transformers', which is ours, where none does.

    Apple's PyTorch and MLX files have the same names. There the shape of the convolution decides, of which one axis has
    `channels` and two are equal; where that leaves both possible, the metadata of the file, and CheckpointError when it
    says nothing.
    """
    names = [name for name in checkpoint.shapes if not any(layout.ignores(name) for layout in LAYOUTS.values())]
    scores = {name: layout.score(names) for name, layout in LAYOUTS.items()}
    best = max(scores, key=lambda name: scores[name])
    if 2 * scores[best] < len(names) or not names:
        return transformers.LAYOUT
    if best == "apple":
        return _apple_or_mlx(checkpoint, channels)
    return LAYOUTS[best]


def _apple_or_mlx(checkpoint: Tensors, channels: int) -> Layout:
    convolutions = (
        shape for name, shape in checkpoint.shapes.items()
        if len(shape) == 4 and any(ours in (PATCHES, VISION + PATCHES) for ours in apple.LAYOUT.parts(name))
    )  # fmt: skip
    if (shape := next(convolutions, None)) is None:  # a text tower, or none that anyone could read: both give the same
        return apple.LAYOUT
    _, second, third, last = shape  # PyTorch's (D, C, P, P), MLX's (D, P, P, C)
    format_ = checkpoint.metadata.get("format")
    for pytorch, mlx_ in (
        (second == channels, last == channels), (third == last, second == third), (format_ == "pt", format_ == "mlx")
    ):  # fmt: skip
        if pytorch != mlx_:
            return apple.LAYOUT if pytorch else mlx.LAYOUT
    raise CheckpointError(
        f"{checkpoint.folder}: a convolution of shape {shape} is PyTorch's or MLX's, its channels second or last; "
        'expected metadata {"format": "pt"} or {"format": "mlx"} in the file where the shape does not tell'
    )
