"""Our image processor against Transformers' Pillow back end: the same operations in the same order, the same bits."""

import json
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import ImageOps
from transformers import AutoImageProcessor, CLIPImageProcessor
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from aimv2_np.processing import Aimv2ImageProcessor
from tests.support.oracle import counted
from tests.support.pictures import MODES, as_bytes, photo, photo_array, sideways_jpeg
from tests.support.tally import compared

SEED = st.integers(0, 10_000)
EDGE = st.one_of(st.integers(1, 40), st.integers(41, 500))
TARGET = st.integers(1, 160)


def ordered(pair):
    return {"shortest_edge": min(pair), "longest_edge": max(pair)}


SIZES = st.one_of(
    TARGET,
    TARGET.map(lambda n: {"shortest_edge": n}),
    st.tuples(TARGET, TARGET).map(lambda s: {"height": s[0], "width": s[1]}),
    st.tuples(TARGET, TARGET).map(ordered),
    st.tuples(TARGET, TARGET).map(lambda s: {"max_height": s[0], "max_width": s[1]}),
)
CHANNELS = st.tuples(*[st.floats(0.01, 1)] * 3).map(list)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "do_resize": st.booleans(),
        "size": SIZES,
        "resample": st.integers(0, 5),
        "do_center_crop": st.booleans(),
        "crop_size": st.one_of(TARGET, st.tuples(TARGET, TARGET).map(list)),
        "do_rescale": st.booleans(),
        "rescale_factor": st.sampled_from([1 / 255, 1 / 127.5, 1.0]),
        "do_normalize": st.booleans(),
        "image_mean": CHANNELS,
        "image_std": CHANNELS,
    },
)


def theirs(picture, options, **call):
    return np.stack(CLIPImageProcessorPil(**options)(picture, **call)["pixel_values"])


def unless_empty(run):
    """Skip the examples where theirs fails because an edge is rounded down to no pixels; ours keeps one there."""
    try:
        return run()
    except ValueError as error:
        assume("must be > 0" not in str(error))
        raise


def assert_same(ours, expected):
    assert ours.dtype == np.float32
    assert ours.shape == expected.shape
    np.testing.assert_array_equal(ours, expected.astype(np.float32))
    compared("pictures", 0.0)


@settings(max_examples=150)
@given(EDGE, EDGE, st.sampled_from(MODES), SEED)
@counted
def test_every_size_and_mode(height, width, mode, seed):
    if max(height, width) / min(height, width) * 224 > 20_000:
        width = height = min(height, width)  # both would spend their time on one enormous strip
    picture = photo(height, width, mode, seed)
    assert_same(Aimv2ImageProcessor()(picture)["pixel_values"], theirs(picture, {}))


@settings(max_examples=150)
@given(st.integers(1, 120), st.integers(1, 120), st.sampled_from(MODES), SEED, SETTINGS)
@counted
def test_every_setting(height, width, mode, seed, options):
    picture = photo(height, width, mode, seed)
    expected = unless_empty(lambda: theirs(picture, options))
    assert_same(Aimv2ImageProcessor(**options)(picture)["pixel_values"], expected)


@settings(max_examples=30)
@given(st.integers(1, 120), st.integers(1, 120), SEED, SETTINGS)
@counted
def test_settings_given_with_the_call(height, width, seed, options):
    picture = photo(height, width, seed=seed)
    expected = unless_empty(lambda: theirs(picture, {}, **options))
    assert_same(Aimv2ImageProcessor()(picture, **options)["pixel_values"], expected)


@pytest.mark.parametrize(
    ("height", "width"), [(480, 640), (641, 427), (1, 100), (100, 1), (1, 1), (1003, 701), (2, 224)]
)
def test_photographs(height, width):
    picture = photo(height, width, seed=height)
    for options in ({}, {"size": 336, "crop_size": 336}, {"do_resize": False, "do_center_crop": False}):
        assert_same(Aimv2ImageProcessor(**options)(picture)["pixel_values"], theirs(picture, options))


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(5, 300), st.booleans(), SEED, st.integers(1, 5), st.integers(8, 120))
@counted
def test_long_pictures_of_which_the_crop_keeps_little(short, long, tall, seed, resample, edge):
    picture = photo(*((long, short) if tall else (short, long)), seed=seed)
    options = {"size": edge, "crop_size": edge, "resample": resample}
    assert_same(Aimv2ImageProcessor(**options)(picture)["pixel_values"], theirs(picture, options))


ARRAYS = {
    "uint8": lambda a: a,
    "int64": lambda a: a.astype(np.int64),
    "float32, whole numbers": lambda a: a.astype(np.float32),
    "float64, whole numbers": lambda a: a.astype(np.float64),
    "float32, nearly whole": lambda a: a.astype(np.float32) * np.float32(0.999999),
    "float32, fractions": lambda a: (a / 255).astype(np.float32),
    "float64, fractions": lambda a: a / 255,
    "float16, fractions": lambda a: (a / 255).astype(np.float16),
}


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.integers(5, 90), st.integers(5, 90), SEED, st.sampled_from(list(ARRAYS)), st.booleans(), st.booleans(), SETTINGS,
    st.sampled_from([1, 3, 4]),
)  # fmt: skip
@counted
def test_arrays(height, width, seed, kind, first, rescale, options, channels):
    pixels = photo_array(height, width, seed)
    pixels = {1: pixels[..., :1], 3: pixels, 4: np.concatenate([pixels, pixels[..., :1]], axis=-1)}[channels]
    array = ARRAYS[kind](pixels)
    array = array.transpose(2, 0, 1) if first else array
    options = options | {"do_rescale": rescale}
    processor = Aimv2ImageProcessor(**options)
    try:
        expected = unless_empty(lambda: theirs(array, options))
    except ValueError:  # what they refuse, ours refuses
        with pytest.raises(ValueError, match="expected"):
            processor(array)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fractions rescaled again
        ours = processor(array)["pixel_values"]
    if expected.dtype == np.float32:
        assert_same(ours, expected)
        return
    # Without rescaling and resizing they normalise in the array's own precision; ours is float32 throughout. So they
    # differ by the rounding of x and mean, up to 1, divided by a std of 0.01 or more: 2·2⁻²⁵/0.01 and 2·2⁻¹²/0.01.
    rtol, atol = (2e-3, 0.1) if expected.dtype == np.float16 else (1e-6, 1e-5)
    np.testing.assert_allclose(ours, expected, rtol=rtol, atol=atol)


def test_batches():
    pictures = [photo(40, 50, seed=seed) for seed in range(3)]
    options = {"size": 30, "crop_size": 28}
    assert_same(Aimv2ImageProcessor(**options)(pictures)["pixel_values"], theirs(pictures, options))
    batch = np.stack([np.asarray(picture) for picture in pictures])
    assert_same(Aimv2ImageProcessor(**options)(batch)["pixel_values"], theirs(batch, options))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation, tmp_path):
    from PIL import Image

    path = tmp_path / "photo.jpg"
    path.write_bytes(sideways_jpeg(60, 80, orientation))
    ours = Aimv2ImageProcessor()
    with Image.open(path) as opened:
        left, turned = theirs(opened, {}), theirs(ImageOps.exif_transpose(opened), {})
    assert_same(ours(path)["pixel_values"], left)
    assert_same(ours(path, exif_transpose=True)["pixel_values"], turned)
    # A path given to Transformers is turned; ours treats it like the image opened from it.
    assert_same(turned, theirs(str(path), {}))


def test_the_ambiguous_array_is_channels_first():
    array = photo_array(3, 50)
    with pytest.warns(UserWarning, match="channels first or last"):
        ours = Aimv2ImageProcessor()(array)["pixel_values"]
    assert_same(ours, theirs(array, {}))
    said = Aimv2ImageProcessor()(array, input_data_format="channels_last")["pixel_values"]
    assert_same(said, theirs(array, {}, input_data_format="channels_last"))


def test_files_are_the_pictures_in_them():
    picture = photo(70, 50)
    for kind in ("PNG", "TIFF", "BMP"):
        assert_same(Aimv2ImageProcessor()(as_bytes(picture, kind))["pixel_values"], theirs(picture, {}))


@settings(max_examples=60)
@given(options=SETTINGS)
@counted
def test_they_read_what_we_write_and_we_read_what_they_write(tmp_path_factory, options):
    ours, folder = Aimv2ImageProcessor(**options), tmp_path_factory.mktemp("ours")
    ours.save_pretrained(folder)
    read = CLIPImageProcessorPil.from_pretrained(folder)
    assert read.to_dict() == CLIPImageProcessorPil(**options).to_dict()
    again = tmp_path_factory.mktemp("theirs")
    read.save_pretrained(again)
    assert Aimv2ImageProcessor.from_pretrained(again) == ours
    assert json.loads((again / "preprocessor_config.json").read_text()) == ours.to_dict()


def test_their_automatic_class_reads_ours(tmp_path):
    Aimv2ImageProcessor(size=336, crop_size=336).save_pretrained(tmp_path)
    read = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    assert isinstance(read, CLIPImageProcessorPil | CLIPImageProcessor)
    assert dict(read.size) == {"shortest_edge": 336}
