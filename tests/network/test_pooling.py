import math

import numpy as np

from aimv2_np.models import skeleton
from aimv2_np.network.linear import Linear
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.view import Packed, Padded
from tests.support.models import vision_config


def head(heads=2, size=4, bias=True, seed=0):
    rng = np.random.default_rng(seed)
    weights, biases = rng.standard_normal((3, size, size)), rng.standard_normal((3, size))
    linears = [Linear(weights[i], biases[i] if bias or i == 2 else None) for i in range(3)]
    return AttentionPoolingHead(linears[0], linears[1], rng.standard_normal((1, 1, size)), linears[2], heads)


def by_hand(module, x):
    """One picture, one head, one token at a time. The query is `cls_token` itself."""
    out = np.zeros((x.shape[0], x.shape[2]))
    d = x.shape[2] // module.heads
    for b in range(len(x)):
        pooled = []
        for h in range(module.heads):
            part = slice(h * d, (h + 1) * d)
            q = module.cls_token[0, 0, part]
            keys, values = [], []
            for token in x[b]:
                k, v = module.k_proj.weight @ token, module.v_proj.weight @ token
                if module.k_proj.bias is not None:
                    k, v = k + module.k_proj.bias, v + module.v_proj.bias
                keys.append(k[part])
                values.append(v[part])
            weights = [math.exp(sum(q * k) / math.sqrt(d)) for k in keys]
            pooled += list(sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights))
        out[b] = module.output_proj.weight @ pooled + module.output_proj.bias
    return out


def test_equals_the_equation_by_hand():
    x = np.random.default_rng(1).standard_normal((3, 5, 4))
    for heads in (1, 2, 4):
        for bias in (True, False):
            module = head(heads, bias=bias)
            np.testing.assert_allclose(module(x), by_hand(module, x), atol=1e-12)


def test_the_order_of_tokens_does_not_matter():
    x = np.random.default_rng(1).standard_normal((2, 7, 4))
    np.testing.assert_allclose(head()(x[:, ::-1]), head()(x), atol=1e-13)


def test_one_token_is_projected_whatever_the_query():
    x = np.random.default_rng(1).standard_normal((2, 1, 4))
    module = head()
    expected = module.output_proj(module.v_proj(x[:, 0]))
    np.testing.assert_allclose(module(x), expected, atol=1e-13)


def test_parameters():
    """`output_proj` has a bias whatever `qkv_bias` says of the other two."""
    names = ["k_proj.weight", "v_proj.weight", "cls_token", "output_proj.weight", "output_proj.bias"]
    head = skeleton.pooling_head(vision_config(qkv_bias=False))
    assert list(head.state_dict()) == names
    assert head.cls_token.shape == (1, 1, 16)
    assert head.heads == 2
    assert len(skeleton.pooling_head(vision_config(qkv_bias=True)).state_dict()) == 7


def test_a_pack_is_pooled_picture_by_picture():
    rng, module = np.random.default_rng(2), head()
    pictures = [rng.standard_normal((1, n, 4)) for n in (3, 1, 5)]
    packed = module(np.concatenate(pictures, axis=1), Packed((3, 1, 5)))
    np.testing.assert_allclose(packed, np.concatenate([by_hand(module, x) for x in pictures]), atol=1e-12)


def test_masked_tokens_are_not_looked_at():
    x, module = np.random.default_rng(3).standard_normal((2, 5, 4)), head()
    keys = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]])
    seen = np.concatenate([by_hand(module, x[b : b + 1, keys[b] == 1]) for b in range(2)])
    np.testing.assert_allclose(module(x, Padded(keys)), seen, atol=1e-12)
