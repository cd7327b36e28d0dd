"""Captions and images together: everything a two-tower model takes, in one call."""

import os
from dataclasses import dataclass, replace
from typing import Any, Final, Self, Unpack

from aimv2_np.errors import Advising
from aimv2_np.files.atomic import make_folder, refuse_existing
from aimv2_np.files.hub import HubOptions
from aimv2_np.files.json import write_json
from aimv2_np.files.locate import PROCESSOR_FILES, resolve
from aimv2_np.processing.image import IMAGE_FILES, Aimv2ImageProcessor
from aimv2_np.processing.inputs import Inputs
from aimv2_np.processing.tokenizer import SAVED_FILES, Aimv2Tokenizer

PROCESSOR_CLASS: Final = "CLIPProcessor"  # what Transformers uses for AIMv2


@dataclass(frozen=True)
class Aimv2Processor(Advising):
    """An image processor and a tokenizer. One of them is None for a checkpoint that has one tower only."""

    image_processor: Aimv2ImageProcessor | None = None
    tokenizer: Aimv2Tokenizer | None = None

    def __call__(
        self,
        images: Any = None,
        text: str | list[str] | None = None,
        *,
        padding: bool | str = False,
        truncation: bool | str = False,
        max_length: int | None = None,
        add_special_tokens: bool = True,
        return_tensors: str | None = None,
        **image_options: Any,
    ) -> Inputs:
        """`processor(text=["a cat", "a dog"], images=image, padding=True)` to one dictionary for the model.

        Args:
            images: see `Aimv2ImageProcessor`.
            text: see `Aimv2Tokenizer`, also for `padding`, `truncation`, `max_length`, `add_special_tokens`.
            **image_options: settings of the image processor for this call, `exif_transpose`, `input_data_format`,
                `any_size`, `max_patches`, `patch_size`.

        Returns:
            "input_ids" and "attention_mask" (B, T) int64 if there is text, "pixel_values" (B, 3, H, W) float32 if there
            are images; of images of several sizes (native checkpoints, `any_size`) a list, which the models take too.

        Raises:
            ValueError: neither text nor images, or one that this checkpoint has no processor for; and whatever the
                tokenizer and the image processor raise.
        """
        if images is None and text is None:
            raise ValueError("there are neither text nor images; expected at least one of them")
        result = Inputs()
        if text is not None:
            result |= self._tokenizer()(
                text,
                padding=padding,
                truncation=truncation,
                max_length=max_length,
                add_special_tokens=add_special_tokens,
                return_tensors=return_tensors,
            )
        if images is not None:
            if self.image_processor is None:
                raise ValueError(
                    "this processor has no image processor, as its checkpoint has none; expected text alone"
                )
            result |= self.image_processor(images, return_tensors=return_tensors, **image_options)
        elif image_options:
            raise TypeError(f"there are {sorted(image_options)} without images; expected arguments of Aimv2Tokenizer")
        return result

    def upright(self, on: bool = True) -> Self:
        """This processor with its image processor's `exif_transpose` on, or off."""
        return self if self.image_processor is None else replace(self, image_processor=self.image_processor.upright(on))

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str:
        """The text of one row of ids."""
        return self._tokenizer().decode(ids, skip_special_tokens)

    def batch_decode(self, ids: Any, skip_special_tokens: bool = False) -> list[str]:
        """The text of each row of ids, (B, T) or a list of rows."""
        return self._tokenizer().batch_decode(ids, skip_special_tokens)

    @classmethod
    def from_pretrained(cls, path_or_hub_id: str | os.PathLike[str], **options: Unpack[HubOptions]) -> Self:
        """From a folder or a hub id. A part whose files are not there at all is None.

        Raises:
            FileNotFoundError: the files of neither part are there.
            CheckpointError: a file that is there is damaged or makes no sense.
        """
        folder = resolve(path_or_hub_id, files=PROCESSOR_FILES, **options)
        parts: list[Any] = []
        for part in (Aimv2ImageProcessor, Aimv2Tokenizer):
            try:
                parts.append(part.from_pretrained(folder))
            except FileNotFoundError as error:
                parts.append(error)
        if all(isinstance(part, FileNotFoundError) for part in parts):
            raise FileNotFoundError(f"{folder} has the files of neither part. {parts[0]}. {parts[1]}")
        return cls(*(None if isinstance(part, FileNotFoundError) else part for part in parts))

    def save_pretrained(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        """Write `preprocessor_config.json`, `tokenizer.json`, `tokenizer_config.json` and `processor_config.json`,
        which Transformers' `AutoProcessor` and `CLIPProcessor` read.

        Raises:
            FileExistsError: one of them is there and `overwrite` is False; nothing is written then.
        """
        if self.image_processor is None and self.tokenizer is None:
            raise ValueError("this processor has no parts, there is nothing to save")
        folder = make_folder(folder)
        files = [] if self.image_processor is None else [IMAGE_FILES[1]]
        files += [] if self.tokenizer is None else [*SAVED_FILES, *([IMAGE_FILES[0]] if files else [])]
        for name in files:
            refuse_existing(folder / name, overwrite)
        # First, so that no image settings of an older file hide the ones written next.
        if IMAGE_FILES[0] in files:
            write_json(folder / IMAGE_FILES[0], {"processor_class": PROCESSOR_CLASS}, overwrite)
        if self.image_processor is not None:
            self.image_processor.save_pretrained(folder, overwrite=overwrite)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder, overwrite=overwrite)

    def _tokenizer(self) -> Aimv2Tokenizer:
        if self.tokenizer is None:
            raise ValueError(
                "this processor has no tokenizer, because its folder has none (checkpoints with a vision tower only do "
                "not); pass images alone, or load a two-tower checkpoint"
            )
        return self.tokenizer
