"""preprocessor_config.json, and processor_config.json, which may nest it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.files.json import MAX_JSON_BYTES
from tests.support.hostile.mutations import Raw, cases, emit, few, json_files
from tests.support.hostile.samples import TINY
from tests.support.hostile.watch import Link, read

DOCUMENT = json.loads((TINY / "preprocessor_config.json").read_text())
OTHERS = (
    {**DOCUMENT, "size": 8, "crop_size": [4, 6], "default_to_square": True, "do_pad": False},
    {**DOCUMENT, "size": {"height": 7, "width": 9}, "image_mean": 0.5, "do_center_crop": False},
    {**DOCUMENT, "size": {"max_height": 7, "max_width": 9}, "image_std": [1, 2, 3], "do_rescale": False},
    {**DOCUMENT, "size": {"shortest_edge": 3, "longest_edge": 5}, "resample": 0},
)
PLAIN = ("do_resize", "resample", "do_center_crop", "do_rescale", "rescale_factor", "do_normalize", "do_convert_rgb")


def check(files, settings):
    """Settings are those of the file; a picture comes out in a sensible shape, of finite numbers."""
    outcome = read("image settings", files)
    if outcome.error is not None:
        return
    ours, picture = outcome.value
    theirs = settings(files)
    assert all(ours[key] == theirs[key] for key in PLAIN if theirs.get(key) is not None)
    if picture is not None:
        shape, finite = picture
        assert finite
        assert shape[:2] == (1, 3)
        if ours["do_center_crop"]:
            assert shape[2:] == (ours["crop_size"]["height"], ours["crop_size"]["width"])


@cases(120)
@given(st.sampled_from([DOCUMENT, *OTHERS]).flatmap(json_files))
def test_damaged_settings(content):
    check({"preprocessor_config.json": content}, lambda files: json.loads(content))


@cases(40)
@given(json_files({"processor_class": "CLIPProcessor", "image_processor": DOCUMENT}))
def test_damaged_nested_settings(content):
    def settings(files):
        nested = json.loads(content).get("image_processor")
        return DOCUMENT if nested is None else nested

    check({"processor_config.json": content, "preprocessor_config.json": json.dumps(DOCUMENT).encode()}, settings)


LARGE = {
    "lists": Raw("[" + "[]," * (MAX_JSON_BYTES // 3 - 500) + "1]"),
    "numbers": Raw("[" + "1," * (MAX_JSON_BYTES // 2 - 800) + "1]"),
    "text": "x" * (MAX_JSON_BYTES - 2000),
}


@few(6)
@given(st.sampled_from(sorted(LARGE)), st.sampled_from(["more", *DOCUMENT]))
def test_files_as_large_as_they_may_be(which, key):
    content = emit({**DOCUMENT, key: LARGE[which]}).encode()
    check({"preprocessor_config.json": content}, lambda files: json.loads(content))


@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "/dev/zero", ".."])
def test_links_out_of_the_folder(name, target):
    outside = {"secret": json.dumps({**DOCUMENT, "image_processor": DOCUMENT}).encode()}
    assert read("image settings", {name: Link(target)}, outside=outside).error is not None
