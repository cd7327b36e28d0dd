"""The two-tower model: images and texts are checked, go through both towers of `network`, and come out compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aimv2_np.config import Aimv2Config
from aimv2_np.errors import a_type
from aimv2_np.models import skeleton
from aimv2_np.models.outputs import Aimv2Output, BaseModelOutputWithPooling, PackedOutput
from aimv2_np.models.packing import MAX_TOKENS
from aimv2_np.models.pretrained import NetworkPart, PretrainedModel, TowerPart
from aimv2_np.models.running import check_finite, running
from aimv2_np.models.text import Aimv2TextModel
from aimv2_np.models.vision import Aimv2VisionModel
from aimv2_np.network.aimv2 import Aimv2
from aimv2_np.network.contrastive import contrastive_loss
from aimv2_np.network.linear import Linear
from aimv2_np.shapes import Array, Float, Int
from aimv2_np.tree.recorder import recorded


@dataclass(init=False, repr=False, eq=False)
class Aimv2Model(PretrainedModel[Aimv2Config, Aimv2, Aimv2Output]):
    """AIMv2's vision and text towers with a projection each and a temperature."""

    config_class = Aimv2Config
    vision_model = TowerPart(Aimv2VisionModel, "vision_config")
    text_model = TowerPart(Aimv2TextModel, "text_config")
    visual_projection = NetworkPart[Linear]()
    text_projection = NetworkPart[Linear]()
    logit_scale = NetworkPart[Float[Array, ""]]()

    @classmethod
    def _skeleton(cls, config: Aimv2Config) -> Aimv2:
        return skeleton.aimv2(config)

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
    ) -> Aimv2Output:
        """Compare every image with every text. With only one of the two given, only its tower runs.

        Args:
            input_ids, attention_mask, causal: as for `Aimv2TextModel`.
            pixel_values, interpolate_pos_encoding: as for `Aimv2VisionModel`.
            pixel_attention_mask: `attention_mask` of the images.
            return_loss: also the contrastive loss, for which text i belongs to image i.
            output_hidden_states, output_attentions: of both towers.

        Raises:
            ValueError: neither input is given, one does not fit, or a loss is asked for unequal numbers of both.
        """
        if input_ids is None and pixel_values is None:
            raise ValueError("input_ids and pixel_values are None; expected at least one of them")
        if input_ids is None and attention_mask is not None:
            raise ValueError("attention_mask is given without input_ids; expected both or neither")
        if pixel_values is None and pixel_attention_mask is not None:
            raise ValueError("pixel_attention_mask is given without pixel_values; expected both or neither")
        both: dict[str, Any] = {"output_hidden_states": output_hidden_states, "output_attentions": output_attentions}
        vision = text = None
        if pixel_values is not None:
            how: dict[str, Any] = {"interpolate_pos_encoding": interpolate_pos_encoding, **both}
            vision = self.vision_model(pixel_values, attention_mask=pixel_attention_mask, **how)
        if input_ids is not None:
            text = self.text_model(input_ids, attention_mask, causal=causal, **both)
        output = self._compare(text, vision)
        if return_loss:
            output.loss = self._loss(output.logits_per_text)
        return output

    def _compare(
        self, text: BaseModelOutputWithPooling | None, vision: BaseModelOutputWithPooling | PackedOutput | None
    ) -> Aimv2Output:
        """Embeddings and logits from the outputs of both towers; from one tower's alone, its embeddings."""
        if vision is not None and vision.pooler_output is None:
            raise ValueError("vision_model has no head; expected one, whose vectors are compared with texts")
        pooled = (None if output is None else output.pooler_output for output in (text, vision))
        found = recorded(self.network, self.network.compare, *pooled)
        check_finite(self, *(array for array in found if array is not None), self.logit_scale)
        return Aimv2Output(**found._asdict(), text_model_output=text, vision_model_output=vision)

    @running
    def encode_images(
        self,
        images: Sequence[Float[Array, "C _ _"]] | Float[Array, "B C height width"],
        *,
        max_tokens: int | None = MAX_TOKENS,
        interpolate_pos_encoding: bool = False,
        warn: bool = True,
    ) -> Aimv2Output:
        """`image_embeds` and `vision_model_output` of images of any mix of sizes; see `Aimv2VisionModel`."""
        vision = self.vision_model.encode_images(
            images, max_tokens=max_tokens, interpolate_pos_encoding=interpolate_pos_encoding, warn=warn
        )
        return self._compare(None, vision)

    @running
    def logits(self, text_embeds: Float[Array, "L E"], image_embeds: Float[Array, "B E"]) -> Float[Array, "L B"]:
        """`logits_per_text` of embeddings of length one: their cosines times the temperature."""
        return check_finite(self, self.network.logits(text_embeds, image_embeds), self.logit_scale)

    def _loss(self, logits_per_text: Float[Array, "L B"] | None) -> Float[Array, ""]:
        if logits_per_text is None or logits_per_text.shape[0] != logits_per_text.shape[1] or not logits_per_text.size:
            found = "one without the other" if logits_per_text is None else "{} and {}".format(*logits_per_text.shape)
            raise ValueError(f"texts and images are {found}; expected as many of both for return_loss, in pairs")
        return contrastive_loss(logits_per_text)

    @running
    def get_image_features(
        self, pixel_values: Float[Array, "B C height width"], *, interpolate_pos_encoding: bool = False
    ) -> Float[Array, "B E"]:
        """Projected features of images, not yet of length one; arguments and errors as for `Aimv2VisionModel`."""
        output = self.vision_model(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
        return self.project(output.pooler_output)

    def project(self, pooler_output: Float[Array, "B D"]) -> Float[Array, "B E"]:
        """The vision tower's pooled vectors, projected into the space shared with texts; not yet of length one."""
        return check_finite(self, self.visual_projection(pooler_output))

    @running
    def get_text_features(
        self, input_ids: Int[Array, "L T"], attention_mask: Int[Array, "L T"] | None = None, *, causal: bool = True
    ) -> Float[Array, "L E"]:
        """Projected features of texts, not yet of length one; arguments and errors as for `Aimv2TextModel`.

        Padding at the end costs no time, as `Aimv2TextModel.features` explains.
        """
        pooled = self.text_model.features(input_ids, attention_mask, causal=causal)
        return check_finite(self, self.text_projection(pooled))


def vision_tower_of(model: object) -> Aimv2VisionModel:
    """The vision tower of a model, or the model when it is one; ValueError when there is none."""
    tower = model.vision_model if isinstance(model, Aimv2Model) else model
    if not isinstance(tower, Aimv2VisionModel):
        raise ValueError(
            f"model is {a_type(model)}; expected one with a vision tower, such as 'apple/aimv2-large-patch14-224'"
        )
    return tower
