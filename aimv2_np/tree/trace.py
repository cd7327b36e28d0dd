"""Recording what every module computes, under the module's dotted path.

    with trace(model) as activations:
        model(pixel_values)
    activations["encoder.layers.3.ffn"]             # a module's output
    activations["encoder.layers.3.attention.probs"] # an inner activation

    with trace(model, gradients=True) as activations:
        model(pixel_values)
    activations["gradient:encoder.layers.3.ffn"]    # ∂loss/∂ that output

Nothing is recorded, and nothing is slower, outside such a block.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Protocol

from aimv2_np.backends.context import having
from aimv2_np.backends.operation import looking_inside, textbook
from aimv2_np.shapes import Array
from aimv2_np.tree.module import Module
from aimv2_np.tree.recorder import RECORDERS, Recorder, identity, join

IN_TEXTBOOK_ONLY = ("scores", "probs")  # faster bodies of attention never hold all of these at once
GRADIENT = "gradient:"  # in front of the path of what a gradient is by

# What was recorded, by path → the number that is differentiated.
Loss = Callable[[Mapping[str, Any]], Any]


class Tape(Protocol):
    """What `trace(gradients=True)` needs of `gradients`, which stands above this room."""

    def begin(self, model: Module, recorder: Recorder) -> Recorder:
        """A recorder like `recorder` that remembers how all was computed of the model's weights."""

    def finish(self, recorder: Any, loss: Loss | None) -> None:
        """Differentiate the number `loss` of what was recorded, and store the gradients that are wanted."""


_find_tape: Callable[[], Tape] | None = None


def provide_tape(find: Callable[[], Tape]) -> None:
    """Have `trace(gradients=True)` use what `find()` gives, called when it is first needed."""
    global _find_tape
    _find_tape = find


@contextmanager
def trace(
    model: Module,
    include: str | Iterable[str] = "*",
    *,
    inner: bool = True,
    store: Callable[[str, Array], None] | None = None,
    gradients: bool = False,
    loss: Loss | None = None,
) -> Iterator[dict[str, Array]]:
    """Record the output of every module of `model` that is called inside the `with` block (in this thread or task).

    Args:
        model: the module tree whose dotted paths name the activations.
        include: one glob or several; only matching paths are kept (`"encoder.layers.*.ffn"`).
        inner: run operations as written where `include` asks for what only their textbook bodies hold: inside
            attention, beside `q`, `k`, `v` (B, H, N, d), also `scores` (B, H, N, N; scaled, before the mask) and
            `probs` (B, H, N, N; after the softmax).
        store: called with each path and array as it is computed; nothing is then kept in memory here.
        gradients: at the end of the block also ∂loss/∂activation as `gradient:<path>`, from the loss to the pixels,
            whose own is `gradient:pixel_values`, and ∂loss/∂weight as `gradient:<path of the weight>`; zeros for what
            takes no part. `include` may ask for these
            alone (`"gradient:*.ffn.*"`). What the model returns in the block then are variables of
            `aimv2_np.gradients`: `output.pooler_output.value` is the array.
        loss: with `gradients`, what is differentiated: given everything that was recorded, by path, it returns an array
            of shape () computed from that, `lambda a: a["pooler_output"][:, 7].sum()`. None: the contrastive loss of
            `logits_per_text`, where as many texts as images were compared; else the sum of all numbers of the first
            of these that there is: `logits_per_text`, `text_embeds`, `image_embeds`, `pooler_output`,
            `last_hidden_state`.

    Yields:
        A dictionary from dotted path to array, filled as the model runs, in order of execution. A module called twice
        keeps its latest output. The outermost model's outputs are named by their fields (`last_hidden_state`, …).

    Raises:
        TypeError: at the end of the block, if `loss` returns something that was not computed from the model's weights.
        ValueError: at the end of the block, if modules ran but `include` matched nothing; if the loss is no finite
            number, or there is nothing to sum up. At its beginning, for a loss without `gradients`, or a model with
            weights that are no arrays of floats.
    """
    if loss is not None and not gradients:
        raise ValueError("loss is given without gradients; expected gradients=True, whose gradients are of the loss")
    patterns = (include,) if isinstance(include, str) else tuple(include)
    activations: dict[str, Array] = {}
    paths = {identity(module): path for path, module in model.named_modules()}
    recorder = Recorder(paths, patterns, store or activations.__setitem__)
    tape = _tape() if gradients else None
    recorder = recorder if tape is None else tape.begin(model, recorder)
    whole = inner and any(recorder.wants(join(path, name)) for path in paths.values() for name in IN_TEXTBOOK_ONLY)
    with having(RECORDERS, (*RECORDERS.get(), recorder)), textbook() if whole else looking_inside():
        yield activations
    if tape is not None and recorder.offered:
        tape.finish(recorder, loss)
    if recorder.offered and not recorder.stored:
        close = get_close_matches(patterns[0] if patterns else "", sorted(recorder.offered), n=3, cutoff=0)
        raise ValueError(f"include={include!r} matches no activation; there are {', '.join(close)}, …")


def _tape() -> Tape:
    if _find_tape is None:
        raise ImportError("gradients is True, which needs aimv2_np.gradients; it is not installed")
    return _find_tape()
