"""The two-tower model: pictures and texts as unit vectors in one space, where their dot product says how well they fit.

    image_embeds = normalise(W_v · head(vision(pixels))),    text_embeds = normalise(W_t · pool(text(ids)))
    logits_per_text = exp(clip(logit_scale, 0, ln max_logit_scale)) · text_embeds image_embedsᵀ

Locked-image tuning, Zhai et al. 2021 (arXiv:2111.07991): the text tower is trained against the frozen vision tower.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aimv2_np.config import Aimv2Config
from aimv2_np.models.outputs import Aimv2Output
from aimv2_np.models.packing import MAX_TOKENS
from aimv2_np.models.pretrained import PretrainedModel
from aimv2_np.models.running import check_finite, running
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.contrastive import contrastive_logits, contrastive_loss, l2_normalize
from aimv2_np.network.linear import Linear
from aimv2_np.shapes import Array, Float, Int
from aimv2_np.tree.module import Parameter
from aimv2_np.tree.tracing import call


@dataclass(init=False, repr=False, eq=False)
class Aimv2Model(PretrainedModel):
    """AIMv2's vision and text towers with a projection each and a temperature."""

    vision_model: Aimv2VisionModel
    text_model: Aimv2TextModel
    visual_projection: Linear
    text_projection: Linear
    logit_scale: Float[Array, ""]

    config_class = Aimv2Config

    def _build(self) -> None:
        config: Aimv2Config = self.config
        vision, text = config.vision_config, config.text_config
        if not vision.use_head:
            raise ValueError(
                "vision_config.use_head is False, but the two-tower model compares the pooling head's vectors; "
                "set it to True, or use Aimv2VisionModel"
            )
        self.vision_model = Aimv2VisionModel.skeleton(vision)
        self.text_model = Aimv2TextModel.skeleton(text)
        self.visual_projection = Linear.skeleton(
            vision.hidden_size, config.projection_dim, bias=False, std=vision.initializer_range
        )
        self.text_projection = Linear.skeleton(
            text.hidden_size, config.projection_dim, bias=False, std=text.initializer_range
        )
        self.logit_scale = Parameter((), fill=config.logit_scale_init_value)

    def forward(
        self,
        input_ids: Int[Array, "L T"] | None = None,
        pixel_values: Float[Array, "B C height width"] | list[Float[Array, "C _ _"]] | None = None,
        attention_mask: Int[Array, "L T"] | None = None,
        *,
        pixel_attention_mask: Int[Array, "B N"] | None = None,
        return_loss: bool = False,
        interpolate_pos_encoding: bool = False,
        causal: bool = True,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        return_dict: bool = True,
    ) -> Aimv2Output | tuple[Any, ...]:
        """Compare every picture with every text. With only one of the two given, only its tower runs.

        Args:
            input_ids, attention_mask, causal: as for `Aimv2TextModel`.
            pixel_values, interpolate_pos_encoding: as for `Aimv2VisionModel`.
            pixel_attention_mask: `attention_mask` of the pictures.
            return_loss: also the contrastive loss, for which text i belongs to picture i.
            output_hidden_states, output_attentions: of both towers.
            return_dict: False for nested tuples.

        Raises:
            ValueError: neither input is given, one does not fit, or a loss is asked for unequal numbers of both.
        """
        if input_ids is None and pixel_values is None:
            raise ValueError("neither input_ids nor pixel_values was given; pass at least one of them")
        if input_ids is None and attention_mask is not None:
            raise ValueError("attention_mask was given without input_ids, which it belongs to; pass both or neither")
        if pixel_values is None and pixel_attention_mask is not None:
            raise ValueError("pixel_attention_mask was given without pixel_values; pass both or neither")
        extras = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        output = Aimv2Output()
        if pixel_values is not None:
            vision = self.vision_model(
                pixel_values,
                attention_mask=pixel_attention_mask,
                interpolate_pos_encoding=interpolate_pos_encoding,
                **extras,
            )
            output.vision_model_output = vision
            output.image_embeds = l2_normalize(self.project(vision.pooler_output))
        if input_ids is not None:
            text = self.text_model(input_ids, attention_mask, causal=causal, **extras)
            output.text_model_output = text
            output.text_embeds = l2_normalize(self._project(self.text_projection, text.pooler_output))
        if output.image_embeds is not None and output.text_embeds is not None:
            output.logits_per_text = self.logits(output.text_embeds, output.image_embeds)
            output.logits_per_image = output.logits_per_text.T
        if return_loss:
            output.loss = self._loss(output.logits_per_text)
        return output if return_dict else output.to_tuple()

    @running
    def encode_images(
        self,
        images: Sequence[Float[Array, "C _ _"]] | Float[Array, "B C height width"],
        *,
        max_tokens: int | None = MAX_TOKENS,
        interpolate_pos_encoding: bool = False,
        warn: bool = True,
    ) -> Aimv2Output:
        """`image_embeds` and `vision_model_output` of pictures of any mix of sizes; see `Aimv2VisionModel`."""
        options = {"max_tokens": max_tokens, "interpolate_pos_encoding": interpolate_pos_encoding, "warn": warn}
        return call(self, (images,), options, self._encode)  # type: ignore[no-any-return]

    def _encode(self, images: Any, **options: Any) -> Aimv2Output:
        vision = self.vision_model.encode_images(images, **options)
        embeds = l2_normalize(self.project(vision.pooler_output))
        return Aimv2Output(image_embeds=embeds, vision_model_output=vision)

    @running
    def logits(self, text_embeds: Float[Array, "L E"], image_embeds: Float[Array, "B E"]) -> Float[Array, "L B"]:
        """`logits_per_text` of embeddings of length one: their cosines times the temperature."""
        return check_finite(
            self, contrastive_logits(text_embeds, image_embeds, self.logit_scale, self.config.max_logit_scale)
        )

    def _loss(self, logits_per_text: Float[Array, "L B"] | None) -> Float[Array, ""]:
        if logits_per_text is None or logits_per_text.shape[0] != logits_per_text.shape[1] or not logits_per_text.size:
            found = "only one of the two" if logits_per_text is None else "{} and {}".format(*logits_per_text.shape)
            raise ValueError(f"return_loss needs as many texts as pictures, text i describing picture i; got {found}")
        return contrastive_loss(logits_per_text)

    def _project(self, projection: Linear, pooled: Float[Array, "B D"]) -> Float[Array, "B E"]:
        return check_finite(self, projection(pooled))

    @running
    def get_image_features(
        self, pixel_values: Float[Array, "B C height width"], *, interpolate_pos_encoding: bool = False
    ) -> Float[Array, "B E"]:
        """Projected features of pictures, before they are normalised; arguments as for `Aimv2VisionModel`."""
        output = self.vision_model(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
        return self.project(output.pooler_output)

    def project(self, pooler_output: Float[Array, "B D"]) -> Float[Array, "B E"]:
        """Pooled vectors of pictures in the space that they share with texts, before they are normalised."""
        return self._project(self.visual_projection, pooler_output)

    @running
    def get_text_features(
        self, input_ids: Int[Array, "L T"], attention_mask: Int[Array, "L T"] | None = None, *, causal: bool = True
    ) -> Float[Array, "L E"]:
        """Projected features of texts, before they are normalised; arguments as for `Aimv2TextModel`.

        Padding at the end costs no time, as `Aimv2TextModel.features` explains.
        """
        return self._project(self.text_projection, self.text_model.features(input_ids, attention_mask, causal=causal))
