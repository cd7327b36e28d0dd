"""config.json: types, NaN, huge numbers, deep nesting, long texts, alone and beside sound weights."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.config.base import MAX_BYTES
from tests.support.hostile.mutations import Pairs, Raw, cases, damaged_documents, emit, few, json_files
from tests.support.hostile.samples import FIXTURES, TINY, checkpoint
from tests.support.hostile.watch import Link, read

READERS = ("config", "config of two towers", "config of a vision tower", "config of a text tower")
BOTH = json.loads((TINY / "config.json").read_text())
DOCUMENTS = (
    BOTH,
    BOTH["vision_config"],
    BOTH["text_config"],
    json.loads((FIXTURES / "apple-lit" / "config.json").read_text()),
    json.loads((FIXTURES / "apple-native" / "config.json").read_text()),
    json.loads((FIXTURES / "timm" / "config.json").read_text()),
)
LAYOUTS = {
    "apple-lit": ("model.safetensors", "mlx_model.safetensors", "flax_model.msgpack"),
    "apple-native": ("model.safetensors", "mlx_model.safetensors", "flax_model.msgpack"),
    "timm": ("model.safetensors",),
}


def agrees(ours, theirs):
    """Whether every key that the file has is kept, with its value, a number in whichever of its forms."""
    for key, value in theirs.items():
        if key == "model_type":
            continue
        mine = ours.get("mlp_bias" if key == "use_bias" and key not in ours else key)
        if isinstance(value, dict) and isinstance(mine, dict):
            assert agrees(mine, value)
        elif key in ("image_size", "patch_size") and isinstance(value, list):
            assert mine in (value, value[0])
        elif not (value is None and key in ("vision_config", "text_config")):
            assert mine == value, key
    return True


@cases(120)
@given(st.sampled_from(READERS), st.sampled_from(DOCUMENTS).flatmap(json_files))
def test_damaged_configurations(reader, content):
    outcome = read(reader, {"config.json": content}, kind="config")
    if outcome.error is None:
        theirs = json.loads(content)
        key = {READERS[2]: "vision_config", READERS[3]: "text_config"}.get(reader)
        both = "vision_config" in theirs or "text_config" in theirs
        agrees(outcome.value, (theirs.get(key) or {}) if key and both else theirs)


@cases(80)
@given(json_files(json.loads(checkpoint()["config.json"])))
def test_damaged_configurations_beside_sound_weights(content):
    outcome = read("model", {**checkpoint(), "config.json": content}, kind="config beside weights")
    if outcome.error is None:
        agrees(outcome.value[0], json.loads(content))


@cases(80)
@given(st.data())
def test_damaged_configurations_beside_weights_of_other_layouts(data):
    folder = FIXTURES / data.draw(st.sampled_from(sorted(LAYOUTS)))
    weights = data.draw(st.sampled_from(LAYOUTS[folder.name]))
    content = data.draw(json_files(json.loads((folder / "config.json").read_text())))
    files = {weights: (folder / weights).read_bytes(), "config.json": content}
    read("model", files, kind="config beside weights")


SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
         "vocab_size", "max_position_embeddings", "num_channels", "projection_dim")  # fmt: skip
sizes = st.sampled_from([1, 2, 4, 8, 16, 2**10, 2**12, 2**20, 2**24])


@cases(40)
@given(
    st.dictionaries(st.sampled_from(SIZES), sizes, max_size=6), st.sampled_from(["vision_config", "text_config", None])
)
def test_enormous_networks_beside_small_weights(changes, key):
    document = json.loads(checkpoint()["config.json"])
    part = document[key] if key else document
    part.update(changes)
    read("model", {**checkpoint(), "config.json": json.dumps(document).encode()}, kind="config beside weights")


LARGE = {
    "lists": Raw("[" + "[]," * (MAX_BYTES // 3 - 1000) + "1]"),
    "objects": Raw("[" + "{}," * (MAX_BYTES // 3 - 1000) + "1]"),
    "numbers": Raw("[" + "1," * (MAX_BYTES // 2 - 1500) + "1]"),
    "text": "x" * (MAX_BYTES - 4000),
    "wide text": Raw('"' + "\U0001f642" * (MAX_BYTES // 4 - 1000) + '"'),
    "members": Raw("{" + ",".join(f'"{number:06d}":1' for number in range(MAX_BYTES // 11 - 300)) + "}"),
}


@few(10)
@given(
    st.sampled_from(sorted(LARGE)), st.sampled_from(["more", "hidden_size", "model_type", "vision_config", "more.text"])
)
def test_files_as_large_as_they_may_be(which, key):
    document = json.loads(checkpoint()["config.json"])
    if key == "more.text":
        document["text_config"]["more"] = LARGE[which]
    else:
        document[key] = LARGE[which]
    content = emit(document).encode()
    for reader in ("config", "model"):
        read(reader, {**checkpoint(), "config.json": content}, kind="config")


@cases(20)
@given(
    damaged_documents(BOTH).map(lambda value: Pairs([*value.items(), *value.items()]) if type(value) is dict else value)
)
def test_every_key_twice(document):
    read("config", {"config.json": emit(document).encode("utf-8", "surrogatepass")})


@pytest.mark.parametrize(
    "target", ["../secret", "/etc/passwd", "/dev/zero", "config.json", "..", "/proc/self/environ", "x"]
)
@pytest.mark.parametrize("reader", [*READERS, "model"])
def test_links_out_of_the_folder(reader, target):
    files = {**checkpoint(), "config.json": Link(target)}
    outcome = read(reader, files, outside={"secret": checkpoint()["config.json"]}, kind="config")
    assert outcome.error is not None
