"""AIMv2's pre-training in PyTorch, out of Transformers' layers: an oracle for decoder, losses and gradients."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, unfold
from transformers.models.aimv2 import modeling_aimv2 as modeling

from aimv2_np.network.pretraining import Pretraining
from tests.support.oracle import THEIRS, their_config


class ReferencePretraining(nn.Module):
    """The vision tower with prefix attention, and the decoder; the names of parameters are ours."""

    def __init__(self, vision: Any, text: Any) -> None:
        super().__init__()
        theirs, trunk = their_config(vision), their_config(text)
        theirs.use_head = False
        self.vision_model = THEIRS[type(vision)][1](theirs)
        size, patch = trunk.hidden_size, theirs.num_channels * theirs.patch_size**2
        self.decoder = nn.ModuleDict({
            "connector": nn.Linear(theirs.hidden_size, size),
            "embeddings": nn.ModuleDict({
                "token_embedding": nn.Embedding(trunk.vocab_size, size),
                "position_embedding": nn.Embedding(trunk.max_position_embeddings + 1, size),
            }),
            "layers": nn.ModuleList(modeling.Aimv2EncoderLayer(trunk) for _ in range(trunk.num_hidden_layers)),
            "rms_norm": modeling.Aimv2RMSNorm(size, trunk.rms_norm_eps),
            "pixel_head": nn.Linear(size, patch, bias=False),
            "text_head": nn.Linear(size, trunk.vocab_size, bias=False),
        })  # fmt: skip
        self.decoder["embeddings"].start_token = nn.Parameter(torch.zeros(1, 1, size))
        self.patch_size = theirs.patch_size

    def forward(self, pixels: Tensor, ids: Tensor, keys: Tensor, prefix: Tensor | None) -> tuple[Tensor, Tensor]:
        """The losses of tokens and of pixels."""
        vision, decoder = self.vision_model, self.decoder
        x = vision.embeddings(pixels)
        n = x.shape[1]
        seen = torch.ones(n, n, dtype=torch.bool)
        if prefix is not None:
            seen = seen.tril() | (torch.arange(n) < prefix[:, None, None])
        for layer in vision.encoder.layers:
            x = layer(x, attention_mask=_mask(seen, x))
        start = decoder["embeddings"].start_token.expand(len(x), -1, -1)
        words = torch.cat([start, decoder["embeddings"]["token_embedding"](ids)], 1)
        words = words + decoder["embeddings"]["position_embedding"](torch.arange(words.shape[1]))
        y = torch.cat([decoder["connector"](vision.rms_norm(x)), words], 1)
        for layer in decoder["layers"]:
            y = layer(y, attention_mask=_mask(torch.ones(y.shape[1], y.shape[1], dtype=torch.bool).tril(), y))
        y = decoder["rms_norm"](y)

        logits = decoder["text_head"](y[:, n:-1])
        text = cross_entropy(logits.transpose(1, 2), ids.masked_fill(~keys, -100))
        patches = unfold(pixels, self.patch_size, stride=self.patch_size).transpose(1, 2)  # by channel, row, column
        patches = patches.unflatten(2, (pixels.shape[1], -1)).transpose(2, 3).flatten(2)
        targets = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
        first = torch.ones(len(x)) if prefix is None else prefix
        beyond = torch.arange(1, n) >= first[:, None]
        return text, mse_loss(decoder["pixel_head"](y[:, : n - 1])[beyond], targets[:, 1:][beyond])


def _mask(seen: Tensor, like: Tensor) -> Tensor:
    """(N, N) or (B, N, N) bool -> what Transformers adds to scores."""
    added = torch.zeros(seen.shape, dtype=like.dtype).masked_fill(~seen, torch.finfo(like.dtype).min)
    return added[None, None] if added.ndim == 2 else added[:, None]


def reference(model: Pretraining, vision: Any, text: Any) -> ReferencePretraining:
    """The reference with the weights of ours, in float64."""
    theirs = ReferencePretraining(vision, text).to(torch.float64)
    theirs.load_state_dict({path: torch.from_numpy(array) for path, array in model.state_dict().items()}, strict=True)
    return theirs
