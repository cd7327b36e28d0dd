"""The tiny model's pre-training: how its vision tower begins, and pictures of which some show no colours.

Next to the mean colour of a patch its edges are faint, and edges are all there is to a shape. So the patch embedding
begins as the whitened principal components of patches, x → (Λ + ε)^(-1/2) Vᵀ (x - mean) with the covariance V Λ Vᵀ, and
the learned positions begin as sines and cosines. ε is above the noise of the pictures, which would else be all that the
faint components show.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from aimv2_np import Aimv2ImageProcessor, Aimv2VisionConfig
from aimv2_np.data.drawing import draw
from aimv2_np.data.grammar import paraphrase
from aimv2_np.data.world import SEEN, random_scene
from aimv2_np.network.patches import cut
from aimv2_np.network.positions import sincos_positions
from aimv2_np.network.pretraining import Pretraining
from aimv2_np.shapes import NDArray
from aimv2_np.training import Pretrain
from aimv2_np.training.world import World
from tests.tools.tiny_pictures import colourless, without_colour

SEEN_BEFORE = 500  # pictures that the components are taken of
NOISE = 0.05  # ε, in squares of normalised pixels


def begun(network: Pretraining, vision: Aimv2VisionConfig, processor: Aimv2ImageProcessor, seed: int) -> Pretraining:
    """The network whose patch embedding and positions begin as told above."""
    rng = np.random.default_rng([seed, 5])
    pictures = [draw(random_scene(rng, SEEN), rng) for _ in range(SEEN_BEFORE)]
    ph, pw = vision.patch_shape
    weight, bias = whitening(cut(processor(pictures)["pixel_values"], ph, pw), vision.hidden_size)
    embeddings = "vision_model.embeddings."
    first = {
        f"{embeddings}patch_embed.weight": weight.reshape(-1, vision.num_channels, ph, pw),
        f"{embeddings}patch_embed.bias": bias,
        f"{embeddings}position_embedding.weight": sincos_positions(np, *vision.grid, vision.hidden_size),
    }
    return network.map(lambda path, array: first[path].astype(np.float32) if path in first else array)


def whitening(patches: NDArray, size: int, noise: float = NOISE) -> tuple[NDArray, NDArray]:
    """(B, N, P) -> the map (size, P) and its bias (size,): the largest components, none much larger than one."""
    rows = patches.reshape(-1, patches.shape[-1]).astype(np.float64)
    mean = rows.mean(axis=0)
    variances, components = np.linalg.eigh(np.cov((rows - mean).T))
    weight = (components / np.sqrt(variances + noise)).T[::-1][:size]
    return weight, -weight @ mean


@dataclass(frozen=True)
class GreyWorld(World):
    """The world, of whose pictures some are grey, with captions that leave colours out.

    A shape is then learned from pictures in which its colour says nothing.

    Attributes:
        grey: the share of those.
    """

    grey: float = 0.3

    def __getitem__(self, number: int) -> tuple[Image.Image, str]:
        scene, rng = self.scene(number)
        if rng.random() >= self.grey:
            return draw(scene, rng), paraphrase(scene, rng)
        return Image.fromarray(colourless(np.asarray(draw(scene, rng)))), paraphrase(without_colour(scene), rng)


@dataclass(frozen=True)
class TinyPretrain(Pretrain):
    """AIMv2's pre-training that begins with whitened patches."""

    @cached_property
    def network(self) -> Pretraining:
        """The network before the first step."""
        first = Pretrain(self.vision, self.decoder, self.pictures, self.processor, seed=self.seed).network
        return begun(first, self.vision, self.pairs.image_processor, self.seed)
