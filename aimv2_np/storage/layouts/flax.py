"""Apple's Flax layout, of `aim.v2.jax`: a MessagePack tree, its paths joined by slashes, with transposed kernels."""

from aimv2_np.storage.layouts import apple
from aimv2_np.storage.layouts.table import Form, Layout, Row

# Apple's files have the running statistics of a norm that no released network uses, and its loader asks for them.
STATISTICS = {"batch_stats/head/bn/mean": 0.0, "batch_stats/head/bn/var": 1.0}

KERNEL = Form((1, 0))  # (out, in) → (in, out); q, k and v are stacked along the output
CONVOLUTION = Form((2, 3, 1, 0))  # (D, C, P, P) → (P, P, C, D)


def _flax(rows: tuple[Row, ...], prefix: str = "") -> tuple[Row, ...]:
    """Apple's PyTorch rows as Flax stores them: Flax has its own names for weights, which tell how they lie.

    The gain of a norm is a `scale`, a table of vectors an `embedding`, everything else that is called a weight a
    `kernel`: of a linear layer, or of the one convolution.
    """
    result = []
    for row in rows:
        *path, last = row.theirs.replace("trunk.blocks.{i}", "trunk.layers_{i}").split(".")
        form = row.form
        if last == "weight":
            last = "scale" if "norm" in path[-1] else "embedding" if "embedding" in path[-1] else "kernel"
        if last == "kernel":
            form = CONVOLUTION if "patchifier" in path else KERNEL
        result.append(Row(prefix + "/".join((*path, last)), row.ours, form))
    return tuple(result)


LAYOUT = Layout(
    name="flax",
    title="Apple Flax",
    file="flax_model.msgpack",
    metadata={},
    vision=_flax(apple.VISION),
    text=_flax(apple.TEXT),
    both=_flax(apple.BOTH, "params/"),
    prefixes={"": "params/", "vision_model.": "params/image_encoder/", "text_model.": "params/text_encoder/"},
    ignored=("batch_stats/",),
)
