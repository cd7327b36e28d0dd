"""Zero-shot classification: which of some labels, none of which the model was trained on, fits a picture best.

    p_bl = softmax_l(logits_per_image_bl),    logits_per_image_bl = scale · <image_b, text_l>

where text l is the template with label l in it, or the mean over several templates. The scale is the one that the model
was trained with, e^logit_scale, and is in the scores once. Radford et al. 2021 (arXiv:2103.00020), section 3.1.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from aimv2_np.backends.arithmetic import own_arithmetic
from aimv2_np.backends.arrays import beside, namespace, to_numpy, widen
from aimv2_np.backends.parallel import pieces
from aimv2_np.config import Aimv2Config
from aimv2_np.errors import a_type
from aimv2_np.models.aimv2 import Aimv2Model
from aimv2_np.models.options import ModelOptions, fetching
from aimv2_np.models.packing import warn_untrained
from aimv2_np.network.attention import softmax
from aimv2_np.network.contrastive import l2_normalize
from aimv2_np.processing import Aimv2Processor
from aimv2_np.processing.loading import naming_image, numbered_image
from aimv2_np.processing.settings import as_count
from aimv2_np.shapes import Array, Float
from aimv2_np.storage import expected_config

PICTURES, PROMPTS = 8, 64  # how many go through a tower at a time: bounds the memory, gains little beyond
HOLE = "{}"  # where the label goes in a template


@dataclass(frozen=True, eq=False)
class Classification:
    """How well each label fits each picture.

    Attributes:
        labels: L labels, as given.
        scores: (B, L), `logits_per_image`.
        probabilities: (B, L), each row a softmax over the scores: the labels share 1, also where none of them fits.
    """

    labels: tuple[str, ...]
    scores: NDArray[np.floating[Any]]
    probabilities: NDArray[np.floating[Any]]

    @property
    def top(self) -> tuple[str, ...]:
        """The most probable label of each picture."""
        return tuple(self.labels[best] for best in self.probabilities.argmax(axis=1))

    def top_k(self, k: int) -> tuple[tuple[tuple[str, float], ...], ...]:
        """The `k` most probable labels of each picture with their probabilities, best first; ties in their order."""
        orders = (-self.probabilities).argsort(axis=1, kind="stable")[:, : as_count(k, "k")]
        return tuple(
            tuple((self.labels[i], float(row[i])) for i in order)
            for row, order in zip(self.probabilities, orders, strict=True)
        )


def load_classifier(
    path_or_hub_id: str | PathLike[str], **options: Unpack[ModelOptions]
) -> tuple[Aimv2Model, Aimv2Processor]:
    """The model and the processor in a folder or of a hub id; options as for `Aimv2Model.from_pretrained`.

    Raises ValueError for a checkpoint without a text tower, before its weights are fetched, and what
    `from_pretrained` raises.
    """
    config = expected_config(path_or_hub_id, options.get("prefix"), **fetching(options))
    if config and not isinstance(config, Aimv2Config):
        raise ValueError(f"{path_or_hub_id} is a checkpoint with one tower ({config.model_type}); {_TWO_TOWERS}")
    model = Aimv2Model.from_pretrained(path_or_hub_id, **options)
    return model, Aimv2Processor.from_pretrained(path_or_hub_id, **fetching(options))


def make_prompts(labels: Sequence[str], template: str = HOLE) -> list[str]:
    """`template` with each label in the place of its `{}`. Other braces mean nothing.

    Raises:
        ValueError: a template without `{}`; fewer than two labels; a blank one, or one that is there twice.
        TypeError: labels that are not strings.
    """
    _check_texts("label", labels, "share its probability")
    if not isinstance(template, str) or HOLE not in template:
        raise ValueError(f"template is {template!r:.80}; expected text with {{}} where the label goes")
    if len(labels) < 2:
        raise ValueError(f"labels is {list(labels)!r:.80}; expected at least two, which are compared with each other")
    blank = next((i for i, label in enumerate(labels, 1) if not label.strip()), None)
    if blank is not None:
        raise ValueError(f"label {blank} is blank; expected a word or a phrase")
    return [template.replace(HOLE, label) for label in labels]


@own_arithmetic()
def classify(
    images: Any,
    labels: Sequence[str],
    *,
    model: Aimv2Model,
    processor: Aimv2Processor,
    template: str = HOLE,
    templates: Sequence[str] | None = None,
    max_patches: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Classification:
    """Compare every picture with every label.

    Args:
        images: a picture or a list of B pictures, in the forms that `Aimv2ImageProcessor` takes.
        labels: L different labels, at least two.
        model, processor: as from `load_classifier`.
        template: the text around each label, `"a photo of a {}"`.
        templates: several of them, in the place of one: each label is then the mean of what they make of it.
        max_patches: scale pictures of more patches down, in proportion; for native models.
        progress: called with the number of pictures that are done, now and then.

    Raises:
        ValueError: labels or a template that make no sense (see `make_prompts`), too long for the text tower, or that
            the tokenizer cannot tell apart; no pictures, or damaged ones; a model without a text tower.
        FileNotFoundError: a picture that is not there.
    """
    if not isinstance(model, Aimv2Model):
        raise ValueError(f"model is {a_type(model)}; {_TWO_TOWERS}")
    pictures = list(images) if isinstance(images, list | tuple) else [images]
    if not pictures:
        raise ValueError("images is empty; expected at least one picture")
    height, width = model.config.vision_config.patch_shape
    image_processor = processor.image_processor
    if image_processor is None:
        raise ValueError("processor has no image processor; expected that of a two-tower checkpoint")
    bound = image_processor.bound(max_patches, (height, width))
    scores: list[Array] = []
    counts: list[int] = []
    with beside(model.some_array()):
        texts = embed_labels(labels, check_templates(template, templates), model=model, processor=processor)
        for some in pieces(len(pictures), PICTURES):
            batch = []
            for number, picture in enumerate(pictures[some], some.start):
                with naming_image(numbered_image(number, picture)):
                    batch.append(image_processor.prepare(picture, bound))
            same = len({pixels.shape for pixels in batch}) == 1
            output = model(pixel_values=np.stack(batch)) if same else model.encode_images(batch, warn=False)
            scores.append(to_numpy(widen(model.logits(texts, output.image_embeds).T)))  # (b, L)
            counts += [(pixels.shape[1] // height) * (pixels.shape[2] // width) for pixels in batch]
            if progress is not None:
                progress(len(counts))
    warn_untrained(counts, model.config.vision_config)
    together = np.concatenate(scores)
    return Classification(tuple(labels), together, softmax(together))


def check_templates(template: str = HOLE, templates: Sequence[str] | None = None) -> tuple[str, ...]:
    """One template or several, as several; ValueError or TypeError for both, none, or one that is there twice."""
    if templates is None:
        return (template,)
    if template != HOLE:
        raise ValueError("template and templates are both given; expected one of them")
    _check_texts("template", templates, "count twice")
    if not templates:
        raise ValueError("templates is empty; expected at least one, such as 'a photo of a {}'")
    return tuple(templates)


def _check_texts(what: str, texts: Sequence[str], consequence: str) -> None:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{what}s is {texts!r:.80}; expected a list of strings")
    for text, times in Counter(texts).items():
        if times > 1:
            raise ValueError(f"the {what} {text!r:.80} is there twice and would {consequence}; leave one out")


@own_arithmetic()
def embed_labels(
    labels: Sequence[str], templates: Sequence[str], *, model: Aimv2Model, processor: Aimv2Processor
) -> Float[Array, "L E"]:
    """A vector of length one for each label, which all pictures may be compared with.

        t_l = normalise(mean_k normalise(text(template_k with label_l)))

    The mean over templates is that of Radford et al. 2021, section 3.1.4. Raises what `classify` raises.
    """
    vectors = [embed_prompts(make_prompts(labels, template), model, processor) for template in templates]
    if len(vectors) == 1:
        return vectors[0]
    return l2_normalize(sum(vectors[1:], vectors[0]) / len(vectors))


_TWO_TOWERS = (
    "zero-shot classification compares pictures with texts and needs a checkpoint with both towers, such as "
    "'apple/aimv2-large-patch14-224-lit'"
)


def _check_tokens(prompts: Sequence[str], model: Aimv2Model, processor: Aimv2Processor) -> None:
    """ValueError for prompts that are too long, lack the end token, or have the same ids (as case is ignored, say)."""
    if processor.tokenizer is None:
        return  # the processor says what is missing when it is called
    limit = model.config.text_config.max_position_embeddings
    end = model.config.text_config.eos_token_id
    seen: dict[tuple[int, ...], str] = {}
    for prompt in prompts:
        ids = tuple(processor.tokenizer.encode(prompt))
        if len(ids) > limit:
            raise ValueError(
                f"{prompt!r:.80} is {len(ids)} tokens long; the text tower takes at most {limit}: shorten it"
            )
        if end not in ids:
            raise ValueError(
                f"{prompt!r:.80} becomes tokens that end in {ids[-1]}, but the model looks for its end-of-text token, "
                f"{end}; use the tokenizer that belongs to this checkpoint"
            )
        if ids in seen:
            raise ValueError(
                f"{seen[ids]!r:.80} and {prompt!r:.80} are the same to the tokenizer and would share their "
                "probability; leave one out"
            )
        seen[ids] = prompt


def embed_prompts(prompts: list[str], model: Aimv2Model, processor: Aimv2Processor) -> Float[Array, "L E"]:
    """A vector of length one for each text; ValueError for what `_check_tokens` refuses."""
    _check_tokens(prompts, model, processor)
    with beside(model.some_array()):
        parts = [
            l2_normalize(model.get_text_features(**processor(text=prompts[some], padding=True)))
            for some in pieces(len(prompts), PROMPTS)
        ]
        return namespace(parts[0]).concatenate(parts)
