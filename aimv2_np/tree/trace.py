"""Recording what every module computes, under the module's dotted path.

    with trace(model) as activations:
        model(pixel_values)
    activations["encoder.layers.3.ffn"]             # a module's output
    activations["encoder.layers.3.attention.probs"] # an inner activation

Nothing is recorded, and nothing is slower, outside such a block.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches

from aimv2_np.backends.context import having
from aimv2_np.backends.operation import looking_inside, textbook
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import RECORDERS, Recorder, join

IN_TEXTBOOK_ONLY = ("scores", "probs")  # faster bodies of attention never hold all of these at once


@contextmanager
def trace(
    model: Module,
    include: str | Iterable[str] = "*",
    *,
    inner: bool = True,
    store: Callable[[str, Array], None] | None = None,
) -> Iterator[dict[str, Array]]:
    """Record the output of every module of `model` that is called inside the `with` block (in this thread or task).

    Args:
        model: the module tree whose dotted paths name the activations.
        include: one glob or several; only matching paths are kept (`"encoder.layers.*.ffn"`).
        inner: run operations as written where `include` asks for what only their textbook bodies hold: inside
            attention, beside `q`, `k`, `v` (B, H, N, d), also `scores` (B, H, N, N; scaled, before the mask) and
            `probs` (B, H, N, N; after the softmax).
        store: called with each path and array as it is computed; nothing is then kept in memory here.

    Yields:
        A dictionary from dotted path to array, filled as the model runs, in order of execution. A module called twice
        keeps its latest output. The outermost model's outputs are named by their fields (`last_hidden_state`, …).

    Raises:
        ValueError: at the end of the block, if modules ran but `include` matched nothing.
    """
    patterns = (include,) if isinstance(include, str) else tuple(include)
    activations: dict[str, Array] = {}
    paths = {id(module): path for path, module in model.named_modules()}
    recorder = Recorder(paths, patterns, store or activations.__setitem__)
    whole = inner and any(recorder.wants(join(path, name)) for path in paths.values() for name in IN_TEXTBOOK_ONLY)
    with having(RECORDERS, (*RECORDERS.get(), recorder)), textbook() if whole else looking_inside():
        yield activations
    if recorder.offered and not recorder.stored:
        close = get_close_matches(patterns[0] if patterns else "", sorted(recorder.offered), n=3, cutoff=0)
        raise ValueError(f"include={include!r} matches no activation; there are {', '.join(close)}, …")
