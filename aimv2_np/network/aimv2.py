"""Both towers: images and texts as unit vectors in one space, where their dot product says how well they fit.

    image_embeds = normalise(W_v · head(vision(pixels))),    text_embeds = normalise(W_t · pool(text(ids)))
    logits_per_text = exp(clip(logit_scale, 0, ln max_logit_scale)) · text_embeds image_embedsᵀ

Locked-image tuning, Zhai et al. 2021 (arXiv:2111.07991): the text tower is trained against the frozen vision tower.
"""

from dataclasses import dataclass
from typing import NamedTuple

from aimv2_np.network.contrastive import contrastive_logits, l2_normalize
from aimv2_np.network.linear import Linear
from aimv2_np.network.text import TextTower
from aimv2_np.network.view import CAUSAL, EVERYONE, View
from aimv2_np.network.vision import VisionTower
from aimv2_np.shapes import Array, Float, Int
from aimv2_np.tree.module import Module


class Compared(NamedTuple):
    """Logits, and the unit vectors that they compare; None for what needs an input that was not given."""

    logits_per_image: Float[Array, "B L"] | None
    logits_per_text: Float[Array, "L B"] | None
    text_embeds: Float[Array, "L E"] | None
    image_embeds: Float[Array, "B E"] | None


@dataclass(repr=False, eq=False)
class Aimv2(Module):
    """AIMv2's vision and text towers with a projection each and a temperature."""

    vision_model: VisionTower
    text_model: TextTower
    visual_projection: Linear
    text_projection: Linear
    logit_scale: Float[Array, ""]
    max_logit_scale: float

    def forward(
        self,
        ids: Int[Array, "L T"],
        pixels: Float[Array, "B C height width"],
        text_view: View = CAUSAL,
        image_view: View = EVERYONE,
    ) -> Compared:
        text, vision = self.text_model(ids, text_view), self.vision_model(pixels, image_view)
        return self.compare(text.pooler_output, vision.pooler_output)

    def compare(self, text: Float[Array, "L _"] | None, image: Float[Array, "B _"] | None) -> Compared:
        """What is made of the towers' `pooler_output`; of one of them alone, its unit vectors."""
        text_embeds = None if text is None else l2_normalize(self.text_projection(text))
        image_embeds = None if image is None else l2_normalize(self.visual_projection(image))
        if text is None or image is None:
            return Compared(None, None, text_embeds, image_embeds)
        logits = self.logits(text_embeds, image_embeds)
        return Compared(logits.T, logits, text_embeds, image_embeds)

    def logits(self, text_embeds: Float[Array, "L E"], image_embeds: Float[Array, "B E"]) -> Float[Array, "L B"]:
        """`logits_per_text` of unit vectors."""
        return contrastive_logits(text_embeds, image_embeds, self.logit_scale, self.max_logit_scale)
