"""AIMv2 once more, as somebody would port it: plain functions over a dictionary of weights, looping over heads.

The port shares no code with the package; each fault is a subclass that overrides one small method.
"""

from typing import Any

import numpy as np

from aimv2_np import trace

NDArray = np.ndarray[Any, np.dtype[Any]]


class Port:
    """`Port(model).run(pixel_values=..., input_ids=...)` gives the inputs and every module's output by dotted path."""

    def __init__(self, model: Any) -> None:
        self.config = model.config
        self.w = {name: np.asarray(array) for name, array in model.state_dict().items()}
        self.out: dict[str, NDArray] = {}
        self.path = ""  # of the module that runs

    # what a fault may override

    def weight(self, path: str) -> NDArray:
        return self.w[f"{path}.weight"]

    def product(self, x: NDArray, weight: NDArray) -> NDArray:
        return np.einsum("...i,oi->...o", x, weight)

    def bias(self, path: str) -> NDArray | None:
        return self.w.get(f"{path}.bias")

    def pixels(self, pixels: NDArray) -> NDArray:
        return pixels

    def normalise(self, path: str, x: NDArray, eps: float) -> NDArray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + x.dtype.type(eps))

    def activation(self, name: str, x: NDArray) -> NDArray:
        if name == "gelu":
            from math import erf

            return x * (0.5 + 0.5 * np.vectorize(erf)(x / np.sqrt(2))).astype(x.dtype)
        return x / (1 + np.exp(-x))

    def roles(self, path: str) -> tuple[str, str, str]:
        return ("q_proj", "k_proj", "v_proj")

    def gate_and_up(self, path: str) -> tuple[str, str]:
        return ("gate_proj", "up_proj")

    def scale(self, size: int) -> float:
        return size**-0.5

    def scores(self, query: NDArray, key: NDArray) -> NDArray:
        return np.einsum("bqd,bkd->bqk", query, key)

    def softmax(self, scores: NDArray) -> NDArray:
        e = np.exp(scores - scores.max(-1, keepdims=True))
        return e / e.sum(-1, keepdims=True)

    def patch_order(self, rows: int, columns: int) -> list[tuple[int, int]]:
        return [(r, c) for r in range(rows) for c in range(columns)]

    def flatten(self, patches: NDArray) -> NDArray:
        return patches

    def positions(self, rows: int, columns: int, size: int) -> NDArray:
        omega = 10000.0 ** (-np.arange(size // 4) / (size // 4))
        return np.array([
            np.concatenate([np.sin(c * omega), np.cos(c * omega), np.sin(r * omega), np.cos(r * omega)])
            for r in range(rows) for c in range(columns)
        ])  # fmt: skip

    def embed(self, prefix: str, patches: NDArray, positions: NDArray, eps: float) -> NDArray:
        return self.norm(f"{prefix}embeddings.rms_norm", patches, eps) + positions

    def may_look(self, tokens: int, padding: NDArray | None) -> NDArray:
        allowed = np.tril(np.ones((tokens, tokens), bool))[None]
        return allowed if padding is None else allowed & (padding[:, None, :] != 0)

    def stretch(self, table: NDArray, grid: tuple[int, int], rows: int, columns: int) -> NDArray:
        """Learned positions of another grid: bicubic, a = -3/4, each new sample summed by itself."""
        return self.resampled(table, grid, rows, columns, lambda s: self.cubic(s, -0.75))

    def token_positions(self, table: NDArray, ids: NDArray, padding: NDArray | None) -> NDArray:
        return table[: ids.shape[1]]

    def tokens(self, table: NDArray, ids: NDArray) -> NDArray:
        return table[ids]

    def layers(self, count: int) -> list[int]:
        return list(range(count))

    def heads(self, count: int) -> int:
        return count

    def split(self, x: NDArray, heads: int) -> list[NDArray]:
        size = x.shape[-1] // heads
        return [x[..., h * size : (h + 1) * size] for h in range(heads)]

    def merge(self, parts: list[NDArray]) -> NDArray:
        return np.concatenate(parts, axis=-1)

    def mask(self, scores: NDArray, allowed: NDArray) -> NDArray:
        return np.where(allowed, scores, np.finfo(scores.dtype).min)

    def hidden(self, act: str, gate: NDArray, up: NDArray) -> NDArray:
        return self.activation(act, gate) * up

    def block(self, path: str, config: Any, x: NDArray, allowed: NDArray | None) -> NDArray:
        y = self.norm(f"{path}.rms_norm1", x, config.rms_norm_eps)
        x = x + self.attention(f"{path}.attention", config, y, allowed)
        return x + self.ffn(f"{path}.ffn", config, self.norm(f"{path}.rms_norm2", x, config.rms_norm_eps))

    def query(self, token: NDArray) -> NDArray:
        return token

    def pool(self, prefix: str, config: Any, x: NDArray) -> NDArray:
        query = np.broadcast_to(self.query(self.w[f"{prefix}head.cls_token"]), (len(x), 1, x.shape[2]))
        keys, values = self.linear(f"{prefix}head.k_proj", x), self.linear(f"{prefix}head.v_proj", x)
        self.path = f"{prefix}head"
        return self.linear(f"{prefix}head.output_proj", self.attend(query, keys, values, config, None)[:, 0])

    def text_vector(self, x: NDArray, ids: NDArray, padding: NDArray | None, eos: int) -> NDArray:
        end = (ids == eos).argmax(1)
        return np.stack([row[i] for row, i in zip(x, end, strict=True)])

    def project(self, path: str, x: NDArray) -> NDArray:
        return self.linear(path, x)

    def unit(self, x: NDArray) -> NDArray:
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    def logits(self, image: NDArray, text: NDArray, scale: NDArray) -> NDArray:
        return np.exp(scale) * image @ text.T

    # the network

    @staticmethod
    def cubic(s: float, a: float) -> float:
        s = abs(s)
        if s < 1:
            return (a + 2) * s**3 - (a + 3) * s**2 + 1
        return a * s**3 - 5 * a * s**2 + 8 * a * s - 4 * a if s < 2 else 0.0

    def resampled(self, table: NDArray, grid: tuple[int, int], rows: int, columns: int, kernel: Any) -> NDArray:
        cube = table.reshape(*grid, -1)
        result = np.zeros((rows, columns, cube.shape[2]), table.dtype)
        for r in range(rows):
            for c in range(columns):
                y, x = (r + 0.5) * grid[0] / rows - 0.5, (c + 0.5) * grid[1] / columns - 0.5
                for i in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
                    for j in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
                        value = cube[min(max(i, 0), grid[0] - 1), min(max(j, 0), grid[1] - 1)]
                        result[r, c] += kernel(y - i) * kernel(x - j) * value
        return result.reshape(rows * columns, -1)

    def run(self, **inputs: NDArray) -> dict[str, NDArray]:
        with np.errstate(all="ignore"):
            self.out = {}
            both = hasattr(self.config, "vision_config")
            vision = text = None
            if "pixel_values" in inputs:
                vision = self.vision("vision_model." if both else "", inputs["pixel_values"])
            if "input_ids" in inputs:
                text = self.text("text_model." if both else "", inputs["input_ids"], inputs.get("attention_mask"))
            if both and vision is not None and text is not None:
                image = self.project("visual_projection", vision)
                words = self.project("text_projection", text)
                self.out["text_embeds"], self.out["image_embeds"] = self.unit(words), self.unit(image)
                logits = self.logits(self.out["image_embeds"], self.out["text_embeds"], self.w["logit_scale"])
                self.out["logits_per_image"] = logits
        return {f"inputs/{name}": value for name, value in inputs.items()} | self.out

    def keep(self, path: str, value: NDArray) -> NDArray:
        self.out[path] = value
        return value

    def linear(self, path: str, x: NDArray) -> NDArray:
        self.path = path
        y = self.product(x, self.weight(path))
        bias = self.bias(path)
        return self.keep(path, y if bias is None else y + bias)

    def norm(self, path: str, x: NDArray, eps: float) -> NDArray:
        self.path = path
        return self.keep(path, self.normalise(path, x, eps) * self.weight(path))

    def vision(self, prefix: str, pixels: NDArray) -> NDArray:
        config = getattr(self.config, "vision_config", self.config)
        pixels = self.pixels(pixels).astype(np.float32)
        weight = self.weight(f"{prefix}embeddings.patch_embed")
        p = weight.shape[2]
        rows, columns = pixels.shape[2] // p, pixels.shape[3] // p
        cut = [pixels[:, :, r * p : r * p + p, c * p : c * p + p] for r, c in self.patch_order(rows, columns)]
        patches = np.stack([np.einsum("bcij,dcij->bd", patch, weight) for patch in cut], axis=1)
        bias = self.bias(f"{prefix}embeddings.patch_embed")
        patches = self.flatten(patches if bias is None else patches + bias)
        self.keep(f"{prefix}embeddings.patch_embed", patches)
        if config.is_native:
            positions = self.positions(rows, columns, patches.shape[2]).astype(patches.dtype)
        else:
            positions = self.w[f"{prefix}embeddings.position_embedding.weight"]
            size = config.image_size
            grid = tuple(n // p for n in (size if isinstance(size, (tuple, list)) else (size, size)))
            if grid != (rows, columns):
                positions = self.stretch(positions, grid, rows, columns)
        x = self.keep(f"{prefix}embeddings", self.embed(prefix, patches, positions, config.rms_norm_eps))
        x = self.keep(f"{prefix}rms_norm", self.blocks(prefix, config, x, None))
        if not config.use_head:
            return x
        return self.keep(f"{prefix}head", self.pool(prefix, config, x))

    def text(self, prefix: str, ids: NDArray, padding: NDArray | None) -> NDArray:
        config = getattr(self.config, "text_config", self.config)
        x = self.tokens(self.w[f"{prefix}embeddings.token_embedding.weight"], ids)
        x = x + self.token_positions(self.w[f"{prefix}embeddings.position_embedding.weight"], ids, padding)
        x = self.blocks(prefix, config, self.keep(f"{prefix}embeddings", x), self.may_look(ids.shape[1], padding))
        x = self.keep(f"{prefix}rms_norm", x)
        vector = self.text_vector(x, ids, padding, config.eos_token_id)
        return self.keep(f"{prefix}pooler_output", vector)

    def blocks(self, prefix: str, config: Any, x: NDArray, allowed: NDArray | None) -> NDArray:
        for i in self.layers(config.num_hidden_layers):
            self.path = f"{prefix}encoder.layers.{i}"
            x = self.keep(f"{prefix}encoder.layers.{i}", self.block(self.path, config, x, allowed))
        return self.norm(f"{prefix}rms_norm", x, config.rms_norm_eps)

    def attention(self, path: str, config: Any, x: NDArray, allowed: NDArray | None) -> NDArray:
        self.path = path
        named = dict(zip(("q_proj", "k_proj", "v_proj"), self.roles(path), strict=True))
        parts = {}
        for name, source in named.items():
            bias = self.bias(f"{path}.{source}")
            y = self.product(x, self.weight(f"{path}.{source}"))
            parts[name] = self.keep(f"{path}.{name}", y if bias is None else y + bias)
        self.path = path
        mixed = self.attend(*parts.values(), config, allowed)
        return self.keep(path, self.linear(f"{path}.out_proj", mixed))

    def attend(self, q: NDArray, k: NDArray, v: NDArray, config: Any, allowed: NDArray | None) -> NDArray:
        heads = self.heads(config.num_attention_heads)
        mixed = []
        for query, key, value in zip(*(self.split(part, heads) for part in (q, k, v)), strict=True):
            scale = q.dtype.type(self.scale(query.shape[-1]))
            scores = self.scores(query, key) * scale
            if allowed is not None:
                scores = self.mask(scores, allowed)
            mixed.append(np.einsum("bqk,bkd->bqd", self.softmax(scores), value))
        return self.merge(mixed)

    def ffn(self, path: str, config: Any, x: NDArray) -> NDArray:
        gate, up = self.gate_and_up(path)
        gate_weight, up_weight = self.weight(f"{path}.{gate}"), self.weight(f"{path}.{up}")
        opened = self.keep(f"{path}.gate_proj", self.product(x, gate_weight))
        raised = self.keep(f"{path}.up_proj", self.product(x, up_weight))
        self.path = path
        hidden = self.hidden(config.hidden_act, opened, raised)
        return self.keep(path, self.linear(f"{path}.down_proj", hidden))


def recorded(model: Any, given: dict[str, NDArray], **options: Any) -> dict[str, NDArray]:
    """The same of our own model: its inputs and what `trace` records of its modules."""
    with trace(model, inner=False) as activations:
        model(**given, **options)
    return {f"inputs/{name}": value for name, value in given.items()} | activations
