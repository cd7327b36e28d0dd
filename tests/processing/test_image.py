import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from aimv2_np.errors import CheckpointError
from aimv2_np.processing import Aimv2ImageProcessor
from tests.support.paths import FIXTURES
from tests.support.pictures import MODES, as_bytes, photo, photo_array, sideways_jpeg

RECORDED = FIXTURES / "processing" / "pixel_values.safetensors"
SMALL = {"size": 32, "crop_size": 32}


def recorded_cases() -> list[dict]:
    with safe_open(RECORDED, "numpy") as file:
        return json.loads(file.metadata()["recorded"])["cases"]


@pytest.mark.parametrize("case", recorded_cases(), ids=lambda case: case["name"])
def test_transformers_recorded_numbers(case):
    with safe_open(RECORDED, "numpy") as file:
        data, expected = file.get_tensor(f"{case['name']}.file"), file.get_tensor(f"{case['name']}.pixel_values")
    result = Aimv2ImageProcessor.from_dict(case["settings"])(data.tobytes())["pixel_values"]
    assert result.dtype == np.float32
    # The same operations in the same order: one float32 rounding apart at most, at magnitude 2.7.
    np.testing.assert_allclose(result, expected, rtol=0, atol=5e-7)


@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from(MODES), st.integers(0, 99))
def test_any_picture_gives_finite_numbers_of_one_shape(height, width, mode, seed):
    processor = Aimv2ImageProcessor(**SMALL)
    result = processor(photo(height, width, mode, seed))["pixel_values"]
    assert result.shape == (1, 3, 32, 32)
    assert result.dtype == np.float32
    low, high = (-np.array(processor.image_mean)), (1 - np.array(processor.image_mean))
    bounds = np.stack([low, high]) / processor.image_std
    assert (result.min((0, 2, 3)) >= bounds[0] - 1e-6).all()
    assert (result.max((0, 2, 3)) <= bounds[1] + 1e-6).all()


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_a_plain_picture_stays_plain(red, green, blue):
    picture = np.broadcast_to(np.array([red, green, blue], dtype=np.uint8), (40, 50, 3))
    processor = Aimv2ImageProcessor(**SMALL)
    expected = (np.array([red, green, blue]) / 255 - processor.image_mean) / processor.image_std
    result = processor(picture)["pixel_values"]
    np.testing.assert_allclose(result, np.broadcast_to(expected[:, None, None], (1, 3, 32, 32)), atol=5e-7)


def test_lists_and_batches_are_their_pictures_one_by_one():
    processor = Aimv2ImageProcessor(**SMALL)
    pictures = [photo_array(40, 50, seed) for seed in range(3)]
    expected = np.concatenate([processor(picture)["pixel_values"] for picture in pictures])
    for batch in (pictures, tuple(pictures), np.stack(pictures), [photo(40, 50, seed=seed) for seed in range(3)]):
        np.testing.assert_array_equal(processor(batch)["pixel_values"], expected)


def test_native_resolution_keeps_sizes():
    native = Aimv2ImageProcessor(do_resize=False, do_center_crop=False)
    same = native([photo(20, 30), photo(20, 30, seed=1)])["pixel_values"]
    assert isinstance(same, np.ndarray)
    assert same.shape == (2, 3, 20, 30)
    mixed = native([photo(20, 30), photo(31, 7)])["pixel_values"]
    assert [one.shape for one in mixed] == [(3, 20, 30), (3, 31, 7)]
    assert all(one.dtype == np.float32 for one in mixed)


def test_settings_of_one_call_do_not_stay():
    processor = Aimv2ImageProcessor(**SMALL)
    picture = photo(40, 50)
    before = processor(picture)["pixel_values"]
    raw = processor(picture, do_resize=False, do_center_crop=False, do_rescale=False, do_normalize=False, size=None)
    np.testing.assert_array_equal(raw["pixel_values"][0], np.asarray(picture).transpose(2, 0, 1))
    assert processor(picture, crop_size=20, return_tensors="np")["pixel_values"].shape == (1, 3, 20, 20)
    np.testing.assert_array_equal(processor(picture)["pixel_values"], before)


def test_orientation_on_request():
    processor = Aimv2ImageProcessor(do_resize=False, do_center_crop=False)
    data = sideways_jpeg(20, 30)
    assert processor(data)["pixel_values"].shape == (1, 3, 20, 30)
    assert processor(data, exif_transpose=True)["pixel_values"].shape == (1, 3, 30, 20)


def test_fractions_are_rescaled_again_with_a_warning():
    processor = Aimv2ImageProcessor(**SMALL)
    picture = photo_array(40, 50)
    with pytest.warns(UserWarning, match="pass do_rescale=False"):
        dark = processor(picture / 256)["pixel_values"]
    assert dark.max() < 0  # next to black, as in Transformers
    bright = processor(picture / 255, do_rescale=False)["pixel_values"]
    # Fractions are cut down to 8 bits, not rounded, before they are resized: one to two grey levels.
    np.testing.assert_allclose(bright, processor(picture)["pixel_values"], atol=2 / 255 / 0.26 + 1e-6)


@pytest.mark.parametrize(
    ("pictures", "error", "message"),
    [
        ([], ValueError, "list of images is empty"),
        (np.zeros((0, 3, 8, 8)), ValueError, "at least one image"),
        ([photo(4, 4), b"nonsense"], ValueError, r"^image 1: the content is not an image"),
        ([photo(4, 4), "nowhere/cat.png"], FileNotFoundError, r"^image 1 \(nowhere/cat.png\): there is no such file"),
        ([photo(4, 4), None], TypeError, "^image 1: the image is a NoneType"),
        ([[photo(4, 4)]], TypeError, "^image 0: the image is a list"),
        (None, TypeError, "^image 0: the image is a NoneType"),
        (np.full((8, 8, 3), np.nan), ValueError, "^image 0: a pixel is NaN"),
        (np.full((8, 8, 3), 300), ValueError, "^image 0: the array holds 300 to 300"),
        (np.full((8, 8, 3), -0.5), ValueError, "^image 0: the array holds -0.5"),
    ],
)
def test_what_is_no_picture_is_named(pictures, error, message):
    with pytest.raises(error, match=message):
        Aimv2ImageProcessor()(pictures, input_data_format=None)


@pytest.mark.parametrize("options", [{"do_center_crop": False}, {"resample": 0}])
def test_long_pictures_are_bounded_where_they_are_resized_whole(options):
    with pytest.raises(ValueError, match="once resized, is 2016000000 x 224"):
        Aimv2ImageProcessor(**options)(np.zeros((3, 1, 9_000_000), dtype=np.uint8), input_data_format="channels_first")


def test_unknown_keywords():
    with pytest.raises(TypeError, match=r"unknown image settings \['do_resise'\]"):
        Aimv2ImageProcessor()(photo(4, 4), do_resise=False)
    with pytest.raises(ValueError, match="return_tensors is 'pt'"):
        Aimv2ImageProcessor()(photo(4, 4), return_tensors="pt")


FORMS = [
    ({}, {}),
    ({"image_processor_type": "CLIPImageProcessorFast", "size": 336}, {"size": {"shortest_edge": 336}}),
    ({"feature_extractor_type": "CLIPFeatureExtractor", "crop_size": 64}, {"crop_size": {"height": 64, "width": 64}}),
    ({"size": 64, "default_to_square": True}, {"size": {"height": 64, "width": 64}}),
    ({"size": [30, 40]}, {"size": {"height": 30, "width": 40}}),
    ({"size": {"shortest_edge": 20, "longest_edge": 40}}, {"size": {"shortest_edge": 20, "longest_edge": 40}}),
    ({"size": {"shortest_edge": 20, "longest_edge": None}}, {"size": {"shortest_edge": 20}}),
    ({"size": {"max_height": 20, "max_width": 40}}, {"size": {"max_height": 20, "max_width": 40}}),
    ({"resample": None, "image_mean": None, "do_resize": None}, {}),
    ({"resample": 2, "image_mean": 0.5}, {"resample": 2, "image_mean": (0.5,) * 3}),
]  # fmt: skip


@pytest.mark.parametrize(("content", "settings"), FORMS)
@pytest.mark.parametrize("nested", [False, True])
def test_the_forms_of_the_file(tmp_path, content, settings, nested):
    if nested:
        file, content = "processor_config.json", {"image_processor": content, "processor_class": "CLIPProcessor"}
        (tmp_path / "preprocessor_config.json").write_text('{"size": 7}')  # the nested content goes first
    else:
        file = "preprocessor_config.json"
        (tmp_path / "processor_config.json").write_text('{"processor_class": "CLIPProcessor"}')
    (tmp_path / file).write_text(json.dumps(content))
    assert Aimv2ImageProcessor.from_pretrained(tmp_path) == Aimv2ImageProcessor(**settings)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"image_processor_type": "ViTImageProcessor"}, "the image processor is 'ViTImageProcessor'"),
        ({"do_pad": True}, "do_pad"),
        ({"size": "big"}, "size is 'big'"),
        ({"size": {"shortest_edge": 10**30}}, "shortest_edge"),
        ({"resample": 17}, "resample is 17"),
        ({"do_resize": "yes"}, "do_resize is 'yes'"),
        ({"image_std": [0, 1, 1]}, "image_std"),
        ({"rescale_factor": "x"}, "rescale_factor is 'x'"),
    ],
)
def test_files_that_do_not_fit(tmp_path, content, message):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=message):
        Aimv2ImageProcessor.from_pretrained(tmp_path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = ["do_resize", "size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std", "do_pad",
        "image_processor_type", "feature_extractor_type", "default_to_square", "do_normalize", "anything"]  # fmt: skip


@given(st.dictionaries(st.sampled_from(KEYS), JSON, max_size=3))
def test_any_content_gives_a_processor_or_a_checkpoint_error(content):
    try:
        processor = Aimv2ImageProcessor.from_dict(content)
    except CheckpointError:
        return
    if max(processor.crop_size.values()) < 500 and set(processor.size) == {"shortest_edge"}:
        result = processor(photo(9, 9), do_resize=processor.size["shortest_edge"] < 500)["pixel_values"]
        assert np.isfinite(result).all()


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no preprocessor_config.json"):
        Aimv2ImageProcessor.from_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        Aimv2ImageProcessor.from_pretrained(tmp_path)
    (tmp_path / "processor_config.json").write_text('{"image_processor": 3}')
    with pytest.raises(CheckpointError, match=r"image_processor in processor_config\.json is 3"):
        Aimv2ImageProcessor.from_pretrained(tmp_path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "preprocessor_config.json").symlink_to(tmp_path / "secret.json")
    with pytest.raises(CheckpointError, match="link"):
        Aimv2ImageProcessor.from_pretrained(folder)


@given(
    st.builds(
        Aimv2ImageProcessor,
        do_resize=st.booleans(),
        do_normalize=st.booleans(),
        size=st.one_of(st.integers(1, 999), st.tuples(st.integers(1, 99), st.integers(1, 99))),
        crop_size=st.integers(1, 999),
        resample=st.integers(0, 5),
        rescale_factor=st.floats(1e-6, 10),
        image_mean=st.tuples(*[st.floats(-1, 1)] * 3),
        extra=st.dictionaries(st.sampled_from(["processor_note", "data_format", "_auto_class"]), st.integers()),
    )
)
def test_what_is_saved_is_what_is_loaded(tmp_path_factory, processor):
    folder = tmp_path_factory.mktemp("processor")
    processor.save_pretrained(folder)
    again = Aimv2ImageProcessor.from_pretrained(folder)
    assert again == processor
    assert again.extra == processor.extra


def test_nothing_is_overwritten_unasked(tmp_path):
    Aimv2ImageProcessor().save_pretrained(tmp_path / "new")
    with pytest.raises(FileExistsError):
        Aimv2ImageProcessor().save_pretrained(tmp_path / "new")
    Aimv2ImageProcessor(size=7).save_pretrained(tmp_path / "new", overwrite=True)
    assert Aimv2ImageProcessor.from_pretrained(tmp_path / "new").size == {"shortest_edge": 7}


def test_nested_settings_do_not_hide_saved_ones(tmp_path):
    (tmp_path / "processor_config.json").write_text('{"image_processor": {"size": 5}, "other": 1}')
    with pytest.raises(FileExistsError, match="already holds image settings"):
        Aimv2ImageProcessor(size=7).save_pretrained(tmp_path)
    assert not (tmp_path / "preprocessor_config.json").exists()
    Aimv2ImageProcessor(size=7).save_pretrained(tmp_path, overwrite=True)
    assert Aimv2ImageProcessor.from_pretrained(tmp_path).size == {"shortest_edge": 7}
    assert json.loads((tmp_path / "processor_config.json").read_text())["other"] == 1


def test_a_file_is_the_picture_in_it(tmp_path):
    picture = photo(40, 50)
    path = tmp_path / "a.png"
    path.write_bytes(as_bytes(picture))
    processor = Aimv2ImageProcessor()
    np.testing.assert_array_equal(processor([path, str(path)])["pixel_values"][1:], processor(picture)["pixel_values"])


@pytest.mark.parametrize("channels", [3, 4])
def test_whole_numbers_beyond_8_bits_are_refused_not_made_white(channels):
    wide = np.full((8, 8, channels), 60_000, np.uint16)
    with pytest.raises(ValueError, match=r"image 0: the array h.*60000.*uint8"):
        Aimv2ImageProcessor(do_resize=False, do_center_crop=False)(wide)


def test_a_rescale_factor_for_16_bits():
    wide = np.full((8, 8, 3), 65_535, np.uint16)
    processor = Aimv2ImageProcessor(do_resize=False, do_center_crop=False, do_normalize=False)
    pixels = processor(wide, rescale_factor=1 / 65_535)["pixel_values"]
    np.testing.assert_array_equal(pixels, np.ones((1, 3, 8, 8), np.float32))


def test_numpy_numbers_are_settings_too():
    processor = Aimv2ImageProcessor(size=np.int64(32), image_mean=np.float32(0.5), image_std=np.array([0.5, 0.5, 0.5]))
    assert processor == Aimv2ImageProcessor(size=32, image_mean=0.5, image_std=0.5)


def test_any_size_is_a_list_of_pictures_as_they_are():
    pictures = [photo_array(40, 50), photo_array(40, 50, 1), photo_array(33, 70, 2)]
    result = Aimv2ImageProcessor(**SMALL)(pictures, any_size=True)["pixel_values"]
    native = Aimv2ImageProcessor(do_resize=False, do_center_crop=False)
    for one, picture in zip(result, pictures, strict=True):
        np.testing.assert_array_equal(one, native(picture)["pixel_values"][0])
    assert isinstance(Aimv2ImageProcessor(**SMALL)(pictures[:2], any_size=True)["pixel_values"], list)
    assert isinstance(native(pictures)["pixel_values"], list)
    assert native(pictures[:2])["pixel_values"].shape == (2, 3, 40, 50)


def test_pictures_of_many_patches_are_scaled_down():
    picture = photo_array(140, 280)  # 10 x 20 patches of 14
    native = Aimv2ImageProcessor(do_resize=False, do_center_crop=False)
    shape = native(picture, max_patches=50)["pixel_values"].shape
    assert shape == (1, 3, 70, 140)
    assert native(picture, max_patches=200)["pixel_values"].shape == (1, 3, 140, 280)
    assert native(picture, max_patches=50, patch_size=(7, 28))["pixel_values"].shape == (1, 3, 70, 140)
    resized = native(picture, do_resize=True, size={"height": 70, "width": 140})["pixel_values"]
    np.testing.assert_array_equal(native(picture, max_patches=50)["pixel_values"], resized)
    assert Aimv2ImageProcessor(size=280, do_center_crop=False)(picture, max_patches=98)["pixel_values"].shape == (
        1, 3, 98, 196,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_patches": 0, "any_size": True}, "max_patches is 0; expected a whole number"),
        ({"max_patches": 2.5, "any_size": True}, r"max_patches is 2\.5"),
        ({"max_patches": 9}, "crop every image to 32 x 32 pixels; pass any_size=True"),
        ({"max_patches": 9, "any_size": True, "patch_size": "14"}, "patch_size is '14'"),
        ({"max_patches": 9, "any_size": True, "patch_size": (14, 0)}, "patch_size is 0"),
    ],
)
def test_bounds_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        Aimv2ImageProcessor(**SMALL)(photo_array(40, 50), **options)


def test_one_image_is_what_several_are_made_of():
    processor, image = Aimv2ImageProcessor(do_resize=False, do_center_crop=False), photo_array(140, 280)
    for most in (None, 50):
        one = processor.prepare(image, processor.bound(most, (14, 14)))
        np.testing.assert_array_equal(one, processor([image], max_patches=most)["pixel_values"][0])
    with pytest.raises(ValueError, match=r"^the content is empty"):
        processor.prepare(b"")
    with pytest.raises(ValueError, match=r"^image 1: the content is empty"):
        processor([image, b""])
