"""Whole towers on the device: one graph for each kind of input and of view."""

import numpy as np
import pytest

from aimv2_np.kernels.cuda import tower as module
from aimv2_np.network.text import text_vectors
from aimv2_np.network.view import CAUSAL, EVERYONE, Both, Mask, Packed, Padded, Prefix
from tests.kernels.cuda.arrays import DTYPES, eps, exact, on_device
from tests.support.graphs import counted
from tests.support.models import pixels, text_model, tokens, vision_config, vision_model

NONE = {"recorded": 0, "replayed": 0, "failed": 0}
ONCE = {"recorded": 1, "replayed": 3, "failed": 0}  # of four calls
PATCHES = np.array([[1] * 9, [1] * 4 + [0] * 5])
RIGHT, LEFT = (np.array([[1] * 7, padded, [1] * 7]) for padded in ([1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1]))


class Case:
    """A tower on the host in float64, of weights rounded to `dtype`, and on the device, with an input for both."""

    def __init__(self, cupy, kind, dtype="float32", **changes):
        model = (vision_model if kind == "vision" else text_model)(**changes).network
        self.cupy, self.dtype = cupy, dtype
        self.device = on_device(cupy, model, dtype)
        self.host = model.map(lambda _, array: array.astype(DTYPES[dtype]).astype(np.float64))
        self.x = pixels(2).astype(DTYPES[dtype]) if kind == "vision" else tokens(3, 7)
        self.there = cupy.asarray(self.x)
        self.exact = exact(self.x) if kind == "vision" else self.x

    def view(self, view):
        """With its arrays on the device."""
        if isinstance(view, Both):
            return self.view(view.first) & self.view(view.second)
        arrays = {name: self.cupy.asarray(it) for name, it in vars(view).items() if isinstance(it, np.ndarray)}
        return type(view)(**arrays) if arrays else view

    def check(self, view, compute=lambda tower, x, view: tower(x, view)):
        """One call is what the textbook computes, of what is no padding; the result."""
        results = compute(self.device, self.there, self.view(view))
        expected = compute(self.host, self.exact, view)
        pairs = zip(results, expected, strict=True) if isinstance(expected, tuple) else [(results, expected)]
        for found, right in pairs:
            if right is None:
                assert found is None
                continue
            assert found.dtype == DTYPES[self.dtype]
            off = np.linalg.norm(exact(found) - right, axis=-1) / np.linalg.norm(right, axis=-1)
            if view.padding is not None and right.ndim == 3:
                off = off[view.padding != 0]
            assert off.max() < 40 * eps(self.dtype)
        return results


VISION_VIEWS = {
    "everyone": EVERYONE, "padded": Padded(PATCHES), "causal": CAUSAL, "prefix": Prefix(np.array([3, 5])),
    "mask": Mask(np.tri(9, dtype=bool)[None, None]), "prefix, padded": Prefix(np.array([3, 5])) & Padded(PATCHES),
}  # fmt: skip
TEXT_VIEWS = {
    "causal": CAUSAL, "padded on the right": CAUSAL & Padded(RIGHT), "padded on the left": CAUSAL & Padded(LEFT),
    "everyone": EVERYONE, "everyone, padded": Padded(RIGHT),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", VISION_VIEWS)
def test_a_vision_tower_is_one_graph(cupy, dtype, view):
    """Patches, positions, layers, norm and head; recorded when it comes again, and replayed."""
    case = Case(cupy, "vision", dtype)
    with counted() as graphs:
        for _ in range(4):
            case.check(VISION_VIEWS[view])
    assert graphs == ONCE


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", TEXT_VIEWS)
def test_a_text_tower_is_one_graph(cupy, dtype, view):
    """Embeddings, layers, norm, and the row of each end."""
    case = Case(cupy, "text", dtype)
    with counted() as graphs:
        for _ in range(4):
            case.check(TEXT_VIEWS[view])
    assert graphs == ONCE


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("view", TEXT_VIEWS)
def test_vectors_of_texts_are_one_graph(cupy, dtype, view):
    case = Case(cupy, "text", dtype)
    with counted() as graphs:
        for _ in range(4):
            case.check(TEXT_VIEWS[view], lambda tower, ids, view: text_vectors(ids, tower, view))
    assert graphs == ONCE


@pytest.mark.parametrize("changes", [
    {"use_head": False}, {"is_native": True}, {"qkv_bias": True, "mlp_bias": True}, {"final_norm": False},
    {"final_norm": False, "use_head": False},
])  # fmt: skip
def test_other_vision_towers(cupy, changes):
    case = Case(cupy, "vision", **changes)
    with counted() as graphs:
        for _ in range(4):
            case.check(EVERYONE)
    assert graphs == ONCE


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_replay_is_what_was_computed_without_a_graph(cupy, dtype):
    """To a rounding: a recorded product may be summed in another order."""
    for kind, view in (("vision", Padded(PATCHES)), ("text", CAUSAL & Padded(RIGHT))):
        case = Case(cupy, kind, dtype)
        eager, *replayed = ([exact(it) for it in case.check(view)] for _ in range(3))
        for result in replayed:
            for found, expected in zip(result, eager, strict=True):
                assert np.linalg.norm(found - expected) <= eps(dtype) * np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("kind", "views"),
    [
        ("vision", [Padded(PATCHES), Padded(PATCHES[::-1].copy()), Padded(np.ones_like(PATCHES))]),
        ("vision", [Prefix(np.array([3, 5])), Prefix(np.array([9, 0])), Prefix(np.array([1, 1]))]),
        ("vision", [Mask(np.tri(9, k=k, dtype=bool)[None, None]) for k in (0, 2, 8)]),
        ("text", [CAUSAL & Padded(RIGHT), CAUSAL & Padded(LEFT), CAUSAL & Padded(np.ones_like(RIGHT))]),
    ],
)
def test_other_numbers_in_a_view_replay_the_same_graph(cupy, kind, views):
    """And are those that count: each result is the textbook's, and unlike the others."""
    case = Case(cupy, kind)
    with counted() as graphs:
        case.check(views[0])
        results = [exact(case.check(view)[1]) for view in views]
    assert graphs == ONCE
    for i, one in enumerate(results):
        assert all(np.abs(one - other).max() > 1e-3 for other in results[:i])


def test_another_kind_of_view_is_another_graph(cupy):
    """The same rows, and arrays of the same shape: who sees whom is not."""
    case = Case(cupy, "text")
    views = [CAUSAL, EVERYONE, CAUSAL & Padded(RIGHT), Padded(RIGHT)]
    with counted() as graphs:
        for view in views * 4:
            case.check(view)
    assert graphs == {"recorded": len(views), "replayed": 3 * len(views), "failed": 0}


def test_the_tower_and_its_vectors_are_two_graphs(cupy):
    case = Case(cupy, "text")
    with counted() as graphs:
        for _ in range(4):
            case.check(CAUSAL)
            case.check(CAUSAL, lambda tower, ids, view: text_vectors(ids, tower, view))
    assert graphs == {"recorded": 2, "replayed": 6, "failed": 0}


@pytest.mark.parametrize("view", [Packed((9,)), Packed((4, 5)), Packed((4, 5)) & CAUSAL, CAUSAL & Packed((9,))])
def test_a_pack_is_no_tower_to_record(cupy, monkeypatch, view):
    """Its layers alone are recorded, where a mask says who sees whom, which is an input of their graph."""
    case, asked = Case(cupy, "vision"), []
    case.there, case.exact = case.there[:1], case.exact[:1]
    run = module.GRAPHS.run
    monkeypatch.setattr(module.GRAPHS, "run", lambda function, *rest: asked.append(function) or run(function, *rest))
    for _ in range(3):
        case.check(view, lambda tower, x, view: tower(x, view).last_hidden_state)
    assert not any(isinstance(function, module._Call) for function in asked)
    assert (asked == []) == isinstance(view, Packed)


@pytest.mark.parametrize("kind", ["vision", "text"])
def test_float64_is_not_recorded(cupy, kind):
    """Nor pixels of another type than the weights: neither has kernels."""
    case = Case(cupy, kind)
    wide = case.host.map(lambda _, array: cupy.asarray(array))
    x = cupy.asarray(case.exact)
    with counted() as graphs:
        for _ in range(3):
            found = wide(x, EVERYONE)[1]
    assert graphs == NONE
    np.testing.assert_allclose(found.get(), case.host(case.exact, EVERYONE)[1], rtol=1e-12)


def test_pixels_of_another_type_are_not_recorded(cupy):
    case = Case(cupy, "vision")
    with counted() as graphs:
        for _ in range(3):
            found = case.device(cupy.asarray(case.exact))
    assert graphs["failed"] == 0
    expected = case.host(case.exact)
    assert np.linalg.norm(exact(found[1]) - expected[1]) < 40 * eps("float32") * np.linalg.norm(expected[1])


def test_many_tokens_are_not_recorded(cupy, monkeypatch):
    case, text = Case(cupy, "vision"), Case(cupy, "text")
    for name in ("tower", "encoder"):
        monkeypatch.setattr(f"aimv2_np.kernels.cuda.{name}.TOKENS", 17)
    with counted() as graphs:
        for _ in range(3):
            case.check(EVERYONE)  # 18
            text.check(CAUSAL)  # 21
    assert graphs == NONE
    monkeypatch.setattr(module, "TOKENS", 18)
    with counted() as graphs:
        for _ in range(4):
            case.check(EVERYONE)
            text.check(CAUSAL)
    assert graphs == ONCE


def test_an_empty_batch(cupy):
    case = Case(cupy, "text")
    with counted() as graphs:
        for _ in range(3):
            x, pooled = case.device(case.there[:0])
    assert graphs == NONE
    assert (x.shape, pooled.shape) == ((0, 7, 12), (0, 12))


def test_a_config_of_a_head_is_what_is_tested():
    assert vision_config().use_head
