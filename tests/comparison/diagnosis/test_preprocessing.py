"""Mistakes between a picture's file and pixel_values: each is named from the original pictures, and nothing else is."""

import io
from functools import cache

import numpy as np
import pytest
from PIL import Image

from aimv2_np import load
from aimv2_np.comparison import compare
from aimv2_np.comparison.diagnosis.advice import CHANGES
from aimv2_np.processing import Aimv2ImageProcessor
from tests.support.faults import GateUpSwapped
from tests.support.models import text_model, tokens, vision_model
from tests.support.pictures import photo, photo_array, sideways_jpeg
from tests.support.port import recorded
from tests.support.preprocessing import FAULTS, Preprocessing, preprocessing

# Name → our processor's settings, the port's, and the height and width that the model sees.
PROCESSORS = {
    "crop": ({"size": 28, "crop_size": 28}, {"short": 28, "crop": 28}, (28, 28)),
    "larger": ({"size": 35, "crop_size": 28}, {"short": 35, "crop": 28}, (28, 28)),
    "exact": ({"size": [28, 28], "do_center_crop": False}, {"exact": (28, 28)}, (28, 28)),
    "wide": ({"size": [28, 36], "do_center_crop": False}, {"exact": (28, 36)}, (28, 36)),
}
# Height and width; no two sizes are in a ratio that another step would leave as it is.
PICTURES = {"landscape": [(47, 79)], "portrait": [(83, 45)], "both": [(83, 45), (47, 79)]}
PATH = "embeddings.patch_embed"


def opened(height, width, seed):
    return Image.open(io.BytesIO(sideways_jpeg(height, width, seed=seed)))


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Name of a processor → a model of a folder that has it."""

    @cache
    def of(name):
        settings, _, size = PROCESSORS[name]
        folder = tmp_path_factory.mktemp(name)
        vision_model(image_size=size, num_hidden_layers=1).save_pretrained(folder)
        Aimv2ImageProcessor(**settings).save_pretrained(folder)
        return load(folder)

    return of


def ours(name, images, **changes):
    return Aimv2ImageProcessor(**PROCESSORS[name][0], **changes)(images)["pixel_values"]


def side(model, pixels, keep_pixels=True):
    arrays = {PATH: model.embeddings.patch_embed(pixels)}
    return arrays | {"inputs/pixel_values": pixels} if keep_pixels else arrays


def compared(model, right, theirs, images):
    return compare(side(model, right), side(model, theirs), model=model, pictures=images)


CASES = [
    (fault, processor, kind)
    for fault, (_, processors, _) in FAULTS.items()
    for processor in processors.split()
    for kind in PICTURES
]


@pytest.mark.parametrize(("fault", "processor", "kind"), CASES)
def test_every_fault_is_named(models, fault, processor, kind):
    images = [opened(*size, seed=seed) for seed, size in enumerate(PICTURES[kind])]
    port = preprocessing(fault)(**PROCESSORS[processor][1])
    theirs = [port(image) for image in images]
    if len({array.shape for array in theirs}) > 1:
        pytest.skip("pictures of several sizes are no batch")
    result = compared(models(processor), ours(processor, images), np.stack(theirs), images)
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == FAULTS[fault][0], result.explanation
    assert result.diagnosis.explained > 0.7
    assert CHANGES[result.diagnosis.identifier] in result.explanation
    assert result.notes == ()


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("kind", PICTURES)
def test_a_faithful_port(models, processor, kind):
    images = [opened(*size, seed=seed) for seed, size in enumerate(PICTURES[kind])]
    port = Preprocessing(**PROCESSORS[processor][1])
    result = compared(models(processor), ours(processor, images), np.stack([port(image) for image in images]), images)
    assert result.equal
    assert result.diagnosis is None
    assert result.notes == ()


@pytest.mark.parametrize("kind", PICTURES)
def test_a_byte_more_or_less_is_rounding(models, kind):
    images = [opened(*size, seed=seed) for seed, size in enumerate(PICTURES[kind])]
    right = ours("crop", images)
    level = (1 / 255 / np.reshape(Aimv2ImageProcessor().image_std, (3, 1, 1))).astype(np.float32)
    signs = np.random.default_rng(0).choice([-1, 0, 0, 0, 1], right.shape).astype(np.float32)
    result = compared(models("crop"), right, right + level * signs, images)
    assert not result.equal
    assert result.diagnosis is None
    assert "within two grey levels" in result.explanation
    beyond = compared(models("crop"), right, right + 3 * level * signs, images)
    assert beyond.diagnosis is None
    assert "within two grey levels" not in beyond.explanation


def test_a_fault_behind_pixels_that_are_rounded_otherwise(models):
    images, model = [photo(47, 79)], models("crop")
    right = ours("crop", images)
    theirs = right.copy()
    theirs[0, 0, 3, 4:9] += np.float32(1 / 255 / Aimv2ImageProcessor().image_std[0])
    other = GateUpSwapped(model).run(pixel_values=theirs)
    result = compare(recorded(model, {"pixel_values": right}), other, model=model, pictures=images)
    assert result.first.path == "inputs/pixel_values"
    assert result.diagnosis.identifier == "gate_up_swapped", result.explanation
    assert result.diagnosis.sentence.startswith("besides pixels that are rounded otherwise, encoder.layers.0.ffn")
    assert "within two grey levels" in result.explanation


def test_a_fault_behind_another_filter(models):
    images, model = [photo(47, 79)], models("crop")
    theirs = preprocessing("bilinear")(28, 28)(images[0])[None]
    other = GateUpSwapped(model).run(pixel_values=theirs)
    result = compare(recorded(model, {"pixel_values": ours("crop", images)}), other, model=model, pictures=images)
    assert result.diagnosis.identifier == "wrong_resample"
    assert "Apart from that, encoder.layers.0.ffn" in result.explanation
    assert "the next cause: encoder.layers.0.ffn exchanges gate and up" in result.explanation


@pytest.mark.parametrize(
    ("reference", "words"), [(False, "takes them as they are stored"), (True, "turns them upright")]
)
def test_the_reference_shows_whether_pictures_are_turned(models, reference, words):
    images = [opened(47, 79, seed=0)]
    right, theirs = (ours("crop", images, exif_transpose=turned) for turned in (reference, not reference))
    assert compared(models("crop"), right, right, images).notes == ()
    result = compared(models("crop"), right, theirs, images)
    assert result.diagnosis.identifier == "exif_orientation"
    assert f"the reference {words}" in result.diagnosis.sentence


@pytest.mark.parametrize(
    "fault", ["bilinear", "bilinear, no antialias", "squashed", "letterbox", "upper left corner", "not rounded"]
)
def test_without_the_ports_pixels(models, fault):
    """From the patch embedding alone, where the port rounds as Pillow does, or not at all."""
    images, model = [photo(47, 79)], models("crop")
    theirs = preprocessing(fault)(**PROCESSORS["crop"][1])(images[0])[None]
    result = compare(
        side(model, ours("crop", images)), side(model, theirs, keep_pixels=False), model=model, pictures=images
    )
    assert result.first.path == PATH
    assert result.diagnosis is not None, result.explanation
    assert result.diagnosis.identifier == FAULTS[fault][0], result.explanation


@pytest.mark.usefixtures("no_pairs")
@pytest.mark.parametrize("given", [True, False])
def test_what_to_record_is_said(models, given):
    images, model = [photo(47, 79)], models("crop")
    right = ours("crop", images)
    noise = np.random.default_rng(0).standard_normal(right.shape, np.float32)
    result = compare(
        side(model, right), side(model, noise, keep_pixels=False), model=model, pictures=images if given else None
    )
    assert result.diagnosis is None
    assert "recorded no pixel_values: record them as inputs/pixel_values" in result.explanation


@pytest.mark.parametrize("change", [lambda p: p * np.float32(1.3), lambda p: p[..., :24]])
def test_that_pictures_would_tell_more_is_said(models, change):
    images, model = [photo(47, 79)], models("crop")
    right = ours("crop", images)
    other = side(model, right) | {"inputs/pixel_values": change(right)}
    advice = "With the original pictures (pictures=, --pictures) more can be tested"
    assert advice in compare(side(model, right), other, model=model).explanation
    assert advice not in compare(side(model, right), other, model=model, pictures=images).explanation


def test_pixels_that_are_not_finite_are_not_blamed_on_weights(models):
    images, model = [photo(47, 79)], models("crop")
    right = ours("crop", images)
    theirs = right.copy()
    theirs[0, 0, 0, 0] = np.nan
    result = compare(side(model, right), side(model, right) | {"inputs/pixel_values": theirs}, pictures=images)
    assert "one number is infinite or NaN" in result.explanation
    assert "weights" not in result.explanation


def test_pictures_that_do_not_tell_two_faults_apart(models):
    """Where the crop leaves out two pixels, the corner is one pixel off."""
    images = [photo(40, 43)]
    theirs = preprocessing("upper left corner")(**PROCESSORS["crop"][1])(images[0])[None]
    result = compared(models("crop"), ours("crop", images), theirs, images)
    assert result.diagnosis.identifier == "crop_off_by_one or crop_from_corner"
    assert "too far left; or the pictures are cropped from the upper left corner" in result.diagnosis.sentence
    assert "do not tell them apart" in result.diagnosis.sentence
    assert result.diagnosis.change == CHANGES["crop_from_corner"]  # one line, though there are two names


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("letterbox", "resized to fit in whole and padded with black on both sides"),
        ("letterbox of the mean", "resized to fit in whole and padded with the mean on both sides"),
        ("padded at the end", "resized to fit in whole and padded with white at the end"),
        ("padded, then resized", "padded to a square, then resized, with the mean on both sides"),
        ("OpenCV's bicubic", "resized bicubic (a = -3/4) without antialiasing"),
        ("not rounded, cut off", "not rounded to bytes"),
        ("one down and to the right", "cropped one pixel too far down and right"),
    ],
)
def test_the_sentence_says_how(models, fault, words):
    images = [photo(48, 79)]
    processor = FAULTS[fault][1].split()[0]
    theirs = preprocessing(fault)(**PROCESSORS[processor][1])(images[0])[None]
    result = compared(models(processor), ours(processor, images), theirs, images)
    assert result.diagnosis.sentence.endswith(f" are {words}")


def test_a_square_is_squashed_by_nobody(models):
    images = [photo(60, 60)]
    theirs = preprocessing("squashed")(**PROCESSORS["crop"][1])(images[0])[None]
    assert compared(models("crop"), ours("crop", images), theirs, images).equal


def test_what_arrays_alone_tell_is_told_with_pictures_too(models):
    images = [photo(47, 79), photo(83, 45)]
    right = ours("crop", images)
    for change, identifier in ((lambda p: p[:, ::-1], "bgr"), (lambda p: p[::-1], None)):
        result = compared(models("crop"), right, change(right), images)
        assert (result.diagnosis and result.diagnosis.identifier) == identifier, result.explanation


def test_where_the_reference_is_wrong_a_note_says_so(models):
    images = [photo(47, 79)]
    right, squashed = ours("crop", images), preprocessing("squashed")(28, 28)(images[0])[None]
    both = compared(models("crop"), squashed, squashed, images)
    assert both.equal
    (note,) = both.notes
    assert note.startswith("the reference's pixel_values are not what its image processor makes of the pictures: ")
    assert "squashed" in note
    (note,) = compared(models("crop"), squashed, right, images).notes
    assert "; the other side's are: the pictures are squashed" in note


def test_other_pictures_than_the_references(models):
    result = compared(
        models("crop"), ours("crop", [photo(47, 79)]), ours("crop", [photo(47, 79, seed=1)]), [photo(50, 61)]
    )
    assert result.diagnosis is None
    assert "are these the pictures, in their order?" in result.notes[0]


def test_a_reference_without_pixels_gets_the_processors(models):
    images, model = [photo(47, 79)], models("crop")
    right, theirs = ours("crop", images), preprocessing("bilinear")(28, 28)(images[0])[None]
    result = compare(side(model, right, keep_pixels=False), side(model, theirs), model=model, pictures=images)
    assert result.first.path == "inputs/pixel_values"
    assert result.diagnosis.identifier == "wrong_resample"


def test_without_a_checkpoint_its_clips_processor_of_the_references_size():
    images = [photo(47, 79)]
    model, right = vision_model(image_size=28), ours("crop", images)
    theirs = preprocessing("bilinear")(28, 28)(images[0])[None]
    assert compared(model, right, theirs, images).diagnosis.identifier == "wrong_resample"


def test_one_picture_needs_no_list_and_may_be_a_path(models, tmp_path):
    photo(47, 79).save(tmp_path / "a.png")
    right = ours("crop", [tmp_path / "a.png"])
    assert compared(models("crop"), right, right, tmp_path / "a.png").notes == ()


def test_what_is_not_the_references_batch(models, tmp_path):
    model, right = models("crop"), ours("crop", [photo(47, 79)])
    for images in ([], [photo(47, 79)] * 2):
        with pytest.raises(ValueError, match=f"pictures holds {len(images)}; expected 1, one for each item"):
            compared(model, right, right, images)
    with pytest.raises(FileNotFoundError, match=r"image 0 .*b\.png"):
        compared(model, right, right, [tmp_path / "b.png"])
    words = recorded(text_model(), {"input_ids": tokens()})
    with pytest.raises(ValueError, match="holds neither pixel_values nor patch embeddings"):
        compare(words, words, pictures=[photo(47, 79)])
    wide = ours("wide", [photo(47, 79)])
    with pytest.raises(ValueError, match="pass that folder as model"):
        compared(vision_model(image_size=(28, 36)), wide, wide, [photo(47, 79)])


MOVES = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1)]


@pytest.mark.parametrize("by", MOVES)
@pytest.mark.parametrize("way", ["cropped", "rolled", "zeros", "repeated"])
def test_a_shift_by_one_pixel_is_named_without_pictures(by, way):
    model = vision_model(image_size=(16, 24), num_hidden_layers=1)
    large = (photo_array(18, 26).transpose(2, 0, 1)[None] / 128 - 1).astype(np.float32)
    right = large[:, :, 1:-1, 1:-1]
    around = {"rolled": "wrap", "zeros": "constant", "repeated": "edge"}
    if way in around:
        large = np.pad(right, ((0, 0), (0, 0), (1, 1), (1, 1)), mode=around[way])
    theirs = large[:, :, 1 + by[0] : 17 + by[0], 1 + by[1] : 25 + by[1]]
    result = compare(side(model, right), side(model, theirs), model=model)
    assert result.diagnosis.identifier == "picture_shifted", result.explanation
    up, left = {-1: "up", 1: "down", 0: ""}[by[0]], {-1: "left", 1: "right", 0: ""}[by[1]]
    assert f"one pixel too far {' and '.join(filter(None, (up, left)))}" in result.diagnosis.sentence


@pytest.mark.parametrize(
    ("change", "identifier"),
    [
        (lambda p: p[..., ::-1], "flipped"),
        (lambda p: p[:, :, ::-1], "flipped"),
        (lambda p: p.swapaxes(2, 3), None),  # which is read as another layout of the same
        (lambda p: np.rot90(p, 1, (2, 3)), "rows_for_columns"),
        (lambda p: p.transpose(0, 2, 3, 1)[:, :, ::-1], "flipped"),
        (lambda p: p[..., :8], None),
    ],
)
def test_pictures_that_are_no_squares_turned_and_mirrored(change, identifier):
    model = vision_model(is_native=True, use_head=False, num_hidden_layers=1)
    right = ours("crop", [photo(60, 60)])[:, :, :16, :24]
    other = side(model, right) | {"inputs/pixel_values": np.ascontiguousarray(change(right))}
    result = compare(side(model, right), other, model=model)
    assert (result.diagnosis and result.diagnosis.identifier) == identifier, result.explanation


def test_pixels_recorded_in_half_precision_blame_no_module(models):
    images, model = [photo(47, 79)], models("crop")
    theirs = preprocessing("bilinear")(28, 28)(images[0])[None]
    other = side(model, theirs) | {"inputs/pixel_values": theirs.astype(np.float16)}
    result = compare(side(model, ours("crop", images)), other, model=model, pictures=images)
    assert result.diagnosis.identifier == "wrong_resample"
    assert result.wrong == ()


def test_another_edge_alone_is_no_shift():
    model = vision_model(image_size=(16, 24), num_hidden_layers=1)
    right = np.broadcast_to(
        np.float32(photo_array(1, 24).transpose(2, 0, 1)[None]) / 128, (1, 3, 16, 24)
    )  # upright stripes
    theirs = right.copy()
    theirs[:, :, 0] = 0
    assert compare(side(model, right), side(model, theirs), model=model).diagnosis is None
