"""Which layout a checkpoint has, from the names and shapes of its tensors alone."""

from collections.abc import Mapping

from aimv2_np.errors import CheckpointError
from aimv2_np.storage.checkpoint import Tensors
from aimv2_np.storage.layouts import apple, flax, mlx, timm, transformers
from aimv2_np.storage.layouts.table import VISION, Layout, Shape

LAYOUTS: dict[str, Layout] = {module.LAYOUT.name: module.LAYOUT for module in (transformers, apple, mlx, flax, timm)}
PATCHES = "embeddings.patch_embed.weight"


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
    candidates = (apple.LAYOUT, mlx.LAYOUT)
    patches = {layout.name: _patches(layout, checkpoint.shapes) for layout in candidates}
    if None in patches.values():  # a text tower, or none that anyone could read: both tables give the same
        return apple.LAYOUT
    fits = {name: (shape[1] == channels, shape[2] == shape[3]) for name, shape in patches.items() if shape}
    for test in (0, 1):
        fitting = [layout for layout in candidates if fits[layout.name][test]]
        if len(fitting) == 1:
            return fitting[0]
    for layout in candidates:
        if checkpoint.metadata.get("format") == layout.metadata["format"]:
            return layout
    raise CheckpointError(
        f"{checkpoint.folder}: a convolution of shape {patches['apple']} is PyTorch's or MLX's, its channels second or "
        'last; expected metadata {"format": "pt"} or {"format": "mlx"} in the file where the shape does not tell'
    )


def _patches(layout: Layout, shapes: Mapping[str, Shape]) -> Shape | None:
    """The shape of the convolution as ours, (D, C, P, P), if it is what this layout says; None when there is none."""
    for name, shape in shapes.items():
        parts = layout.parts(name)
        for ours in (PATCHES, VISION + PATCHES):
            if ours in parts and len(shape) == 4:
                axes = parts[ours].form.axes or (0, 1, 2, 3)
                return tuple(shape[axes.index(axis)] for axis in range(4))
    return None
