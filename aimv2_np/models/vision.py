"""The vision model: images are checked, go through the vision tower of `network`, and come out as outputs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aimv2_np.config import Aimv2VisionConfig
from aimv2_np.models import skeleton
from aimv2_np.models.features import Features, check_features, check_layers, features_of_batch, features_of_list
from aimv2_np.models.inputs import check_attention_mask, check_pixel_values
from aimv2_np.models.outputs import BaseModelOutputWithPooling, PackedOutput
from aimv2_np.models.packing import MAX_TOKENS, check_images, count, encode, is_pack, warn_untrained
from aimv2_np.models.pretrained import NetworkPart, PretrainedModel, collecting
from aimv2_np.models.running import check_finite, running
from aimv2_np.models.windows import extract_windows
from aimv2_np.network.encoder import Encoder
from aimv2_np.network.pooling import AttentionPoolingHead
from aimv2_np.network.rms_norm import Identity, RMSNorm
from aimv2_np.network.view import EVERYONE, Padded, View
from aimv2_np.network.vision import VisionEmbeddings, VisionTower
from aimv2_np.shapes import Array, Float, Int
from aimv2_np.tree.recorder import recorded


@dataclass(init=False, repr=False, eq=False)
class Aimv2VisionModel(PretrainedModel[Aimv2VisionConfig, VisionTower, BaseModelOutputWithPooling | PackedOutput]):
    """AIMv2's vision tower."""

    config_class = Aimv2VisionConfig
    embeddings = NetworkPart[VisionEmbeddings]()
    encoder = NetworkPart[Encoder]()
    rms_norm = NetworkPart[RMSNorm | Identity]()
    head = NetworkPart[AttentionPoolingHead | None]()

    @classmethod
    def _skeleton(cls, config: Aimv2VisionConfig) -> VisionTower:
        return skeleton.vision_tower(config)

    def forward(
        self,
        pixel_values: Float[Array, "B C height width"] | list[Float[Array, "C _ _"]],
        *,
        attention_mask: Int[Array, "B N"] | None = None,
        interpolate_pos_encoding: bool = False,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
    ) -> BaseModelOutputWithPooling | PackedOutput:
        """Encode images.

        Args:
            pixel_values: (B, C, height, width), normalised floats. Pixels beyond the last whole patch are not seen.
                Or a list of images (C, height, width) of different sizes, which `encode_images` then takes.
            attention_mask: (B, N), 1 for a patch and 0 for padding, which no patch and no pooling head looks at; what
                stands in the rows of padding means nothing.
            interpolate_pos_encoding: stretch learned positions to another grid than they were trained for. Native
                models take any grid anyway.
            output_hidden_states, output_attentions: also return these arrays of every layer.

        Raises:
            ValueError: images of another rank, channel count, dtype or grid, or with NaN.
        """
        if is_pack(pixel_values):
            if attention_mask is not None or output_hidden_states or output_attentions:
                raise ValueError(
                    "attention_mask, output_hidden_states and output_attentions are of images of one size, and "
                    "pixel_values holds several; pass them one at a time, or pad them to one size"
                )
            return self.encode_images(pixel_values, interpolate_pos_encoding=interpolate_pos_encoding)
        pixels, view = self.check(pixel_values, attention_mask, interpolate_pos_encoding)
        with collecting(self.network, output_hidden_states, output_attentions) as collected:
            x, pooled = self.network(pixels, view)
        check_finite(self, x, pooled)
        return BaseModelOutputWithPooling(x, pooled, **collected, grid=self.embeddings.grid_of(pixels))

    def check(
        self, pixel_values: Any, attention_mask: Any, interpolate: bool
    ) -> tuple[Float[Array, "B C height width"], View]:
        """The images as an array on the model's device, and the view; ValueError if images or mask do not fit."""
        like = self.embeddings.rms_norm.weight
        pixels = check_pixel_values(pixel_values, self.config, like, interpolate=interpolate)
        shape = len(pixels), count(self.network, pixels)
        mask = check_attention_mask(attention_mask, shape, like, "patch")
        return pixels, EVERYONE if mask is None else Padded(mask)

    @running
    def encode_images(
        self,
        images: Sequence[Float[Array, "C _ _"]] | Float[Array, "B C height width"],
        *,
        max_tokens: int | None = MAX_TOKENS,
        interpolate_pos_encoding: bool = False,
        warn: bool = True,
    ) -> PackedOutput:
        """Encode images of any mix of sizes, without padding: the patches of many go through the layers as one
        row, and each image attends to itself. Each comes out as it would alone, to rounding.

        Args:
            images: B arrays (C, height, width), normalised floats, as `Aimv2ImageProcessor` makes them.
            max_tokens: how many patches go through together, which bounds the memory; an image that has more goes
                alone. None: all of them.
            interpolate_pos_encoding: as for `forward`.
            warn: name images with fewer or more patches than a native model was trained for (112 to 4096) in a warning.

        Raises:
            ValueError: no image; one of another channel count, dtype or grid, or with NaN: it is named by its number.
        """
        like = self.embeddings.rms_norm.weight
        images = check_images(images, self.config, like, interpolate=interpolate_pos_encoding)
        if warn:
            warn_untrained([count(self.network, image) for image in images], self.config, stacklevel=4)
        output = recorded(self.network, encode, self.network, images, max_tokens)
        for array in (*output.last_hidden_state, output.pooler_output):
            check_finite(self, array)
        return output  # type: ignore[no-any-return]

    @running
    def extract_features(
        self,
        pixel_values: Float[Array, "B C height width"] | list[Float[Array, "C _ _"]],
        layers: Sequence[int] = (-1,),
        *,
        features: str = "tokens",
        norm: bool = True,
        attention_mask: Int[Array, "B N"] | None = None,
        interpolate_pos_encoding: bool = False,
        max_tokens: int | None = MAX_TOKENS,
    ) -> Features:
        """Features of one layer or several; no other layer's states are kept.

        Args:
            pixel_values: as for `forward`; a list of images of any sizes goes through packed.
            layers: numbers as in `hidden_states`: 0 are the embeddings, -1 is the last layer's output.
            features: "tokens", one vector per patch; "mean", their mean; "head", the pooling head's vector, which was
                trained for the last layer alone.
            norm: apply the tower's last norm to every layer; layer -1 is then `last_hidden_state`. Without it they are
                what `hidden_states` holds.
            attention_mask, interpolate_pos_encoding: as for `forward`; "mean" leaves padding out.
            max_tokens: as for `encode_images`.

        Raises:
            ValueError: no such layer, or features that the model does not have; and as `forward`.
        """
        wanted = check_layers(layers, len(self.encoder.layers))
        check_features(features, self.network, norm)
        if not isinstance(pixel_values, list | tuple):
            pixels, view = self.check(pixel_values, attention_mask, interpolate_pos_encoding)
            return features_of_batch(self.network, pixels, view, wanted, features, norm)
        if attention_mask is not None:
            raise ValueError("attention_mask is given for a list of images; expected None, or a batch of one size")
        like = self.embeddings.rms_norm.weight
        images = check_images(pixel_values, self.config, like, interpolate=interpolate_pos_encoding)
        warn_untrained([count(self.network, image) for image in images], self.config, stacklevel=4)
        return features_of_list(self.network, images, wanted, features, norm, max_tokens)

    @running
    def extract_windows(
        self,
        pixel_values: Float[Array, "B C height width"],
        layers: Sequence[int] = (-1,),
        *,
        window: int | tuple[int, int] | None = None,
        stride: int | tuple[int, int] | None = None,
        norm: bool = True,
        max_tokens: int | None = MAX_TOKENS,
    ) -> Features:
        """Features of the patches of images larger than the model's grid, through windows of its size.

        Every patch's vector is the mean over all windows that it lies in; where one window holds the image, the
        result is `extract_features`'s.

        Args:
            pixel_values: (B, C, height, width), at least as large as a window.
            layers, norm: as for `extract_features`.
            window: rows and columns of patches, or one number for both; None: the grid of the configuration's
                `image_size`. A model with learned positions takes no other; a native one cuts windows to the image.
            stride: patches from one window to the next; None: half a window.
            max_tokens: of windows that go through together.

        Raises:
            ValueError: a window or stride that does not fit, images smaller than it; and as `forward`.
        """
        return extract_windows(self.network, self.config, pixel_values, layers, window, stride, norm, max_tokens)
