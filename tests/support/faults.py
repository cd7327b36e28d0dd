"""Ports of AIMv2 with one fault each, and what is to be named."""

import numpy as np

from tests.support.port import Port

MEAN = np.array([0.48145466, 0.4578275, 0.40821073]).reshape(3, 1, 1)
STD = np.array([0.26862954, 0.26130258, 0.27577711]).reshape(3, 1, 1)


class TransposedWeight(Port):
    def weight(self, path):
        weight = super().weight(path)
        return weight.T if path.endswith("layers.1.attention.k_proj") else weight


class ReshapedWeight(Port):
    def weight(self, path):
        weight = super().weight(path)
        return weight.ravel().reshape(weight.shape[::-1]).T if path.endswith("layers.0.ffn.down_proj") else weight


class QkvOrder(Port):
    def roles(self, path):
        return ("k_proj", "q_proj", "v_proj")


class QkvRotated(Port):
    def roles(self, path):
        return ("v_proj", "q_proj", "k_proj")


class GateUpSwapped(Port):
    def gate_and_up(self, path):
        return ("up_proj", "gate_proj")


class WrongEps(Port):
    def normalise(self, path, x, eps):
        return super().normalise(path, x, 1e-3)


class LayerNorm(Port):
    def normalise(self, path, x, eps):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + np.float32(eps))


class NoGain(Port):
    def weight(self, path):
        weight = super().weight(path)
        return np.ones_like(weight) if "norm" in path else weight


class NoPatchBias(Port):
    def bias(self, path):
        return None if path.endswith("patch_embed") else super().bias(path)


class NoHeadBias(Port):
    def bias(self, path):
        return None if path.endswith("output_proj") else super().bias(path)


class TanhGelu(Port):
    def activation(self, name, x):
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi).astype(x.dtype) * (x + 0.044715 * x**3)))


class Relu(Port):
    def activation(self, name, x):
        return np.maximum(x, 0)


class HeightFirst(Port):
    def positions(self, rows, columns, size):
        table = super().positions(columns, rows, size).reshape(columns, rows, size)
        return table.swapaxes(0, 1).reshape(rows * columns, size)


class PositionsBeforeNorm(Port):
    def embed(self, prefix, patches, positions, eps):
        return self.norm(f"{prefix}embeddings.rms_norm", patches + positions, eps)


class NoPositions(Port):
    def embed(self, prefix, patches, positions, eps):
        return self.norm(f"{prefix}embeddings.rms_norm", patches, eps)


class NotCausal(Port):
    def may_look(self, tokens, padding):
        allowed = np.ones((1, tokens, tokens), bool)
        return allowed if padding is None else allowed & (padding[:, None, :] != 0)


class PaddingIgnored(Port):
    def may_look(self, tokens, padding):
        return super().may_look(tokens, None)


class NoScale(Port):
    def scale(self, size):
        return 1.0


class ScaleOfHidden(Port):
    def scale(self, size):
        return (2 * size) ** -0.5


class SoftmaxOverQueries(Port):
    def softmax(self, scores):
        e = np.exp(scores - scores.max(-2, keepdims=True))
        return e / e.sum(-2, keepdims=True)


class ColumnOrder(Port):
    def patch_order(self, rows, columns):
        return [(r, c) for c in range(columns) for r in range(rows)]


class Bgr(Port):
    def pixels(self, pixels):
        return ((pixels * STD + MEAN)[:, [2, 1, 0]] - MEAN) / STD


class NotNormalised(Port):
    def pixels(self, pixels):
        return 255 * (pixels * STD + MEAN)


class ImageNet(Port):
    def pixels(self, pixels):
        mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        return (pixels * STD + MEAN - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)


class Float16Norm(Port):
    def normalise(self, path, x, eps):
        squares = np.square(x.astype(np.float16))
        overflows = ~np.isfinite(squares.sum(-1, keepdims=True, dtype=np.float16))
        return np.where(overflows, 0, super().normalise(path, x, eps))  # x / sqrt(inf)


class Float16Output(Port):
    def linear(self, path, x):
        return self.keep(path, super().linear(path, x).astype(np.float16).astype(np.float32))


class TwoFaults(NoScale):
    def softmax(self, scores):
        e = np.exp(scores - scores.max(-2, keepdims=True))
        return e / e.sum(-2, keepdims=True)


class Unknown(Port):
    def activation(self, name, x):
        return np.sin(x)


class Noise(Port):
    def softmax(self, scores):
        return super().softmax(scores) ** np.float32(1.01)
