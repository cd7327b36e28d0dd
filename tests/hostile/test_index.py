"""Index files: paths that lead elsewhere, shards that are not what the index says, links."""

import json

import safetensors
from hypothesis import given
from hypothesis import strategies as st

from aimv2_np.files.json import MAX_JSON_BYTES
from tests.support.hostile.mutations import TEXTS, cases, damaged_bytes, few, json_files
from tests.support.hostile.samples import sharded
from tests.support.hostile.watch import Link, read

INDEX = "model.safetensors.index.json"
SHARDS = sorted(name for name in sharded() if name.endswith(".safetensors"))
DOCUMENT = json.loads(sharded()[INDEX])
SMALL = {**DOCUMENT, "weight_map": dict(list(DOCUMENT["weight_map"].items())[:4])}
NAMES = (
    *SHARDS,
    "../secret.safetensors",
    "../folder/" + SHARDS[0],
    "./" + SHARDS[0],
    "sub/x.safetensors",
    "out.safetensors",
    "in.safetensors",
    "loop.safetensors",
    "sub",
    "sub.safetensors",
    "/etc/passwd",
    "/proc/self/mem",
    "config.json",
    "\\\\host\\x.safetensors",
    "C:x.safetensors",
    ".safetensors",
    "x.safetensors\x00",
    "model.safetensors\n",
    "x" * 300 + ".safetensors",
    "é.safetensors",
)
LINKS = {
    "out.safetensors": Link("../secret.safetensors"),
    "in.safetensors": Link(SHARDS[0]),
    "loop.safetensors": Link("loop.safetensors"),
    "sub/x.safetensors": sharded()[SHARDS[0]],
    "sub.safetensors/y": b"",
}
OUTSIDE = {"secret.safetensors": sharded()[SHARDS[0]], INDEX: sharded()[INDEX]}
names = st.sampled_from(NAMES)


def check(index, **others):
    """What is read is what the format's own library reads from the files of the index, which lie in the folder."""
    files = {**sharded(), **LINKS, INDEX: index, **others}
    outcome = read("checkpoint", files, outside=OUTSIDE, kind="index")
    if outcome.error is not None:
        return
    weight_map = json.loads(index)["weight_map"]
    assert set(weight_map) == set(outcome.value)
    assert set(weight_map.values()) <= {*SHARDS, "in.safetensors"}
    for name, (_, _, data) in outcome.value.items():
        shard = files[weight_map[name]]
        content = files[shard.target] if isinstance(shard, Link) else shard
        assert bytes(dict(safetensors.deserialize(content))[name]["data"]) == data


@cases(100)
@given(json_files(DOCUMENT, names))
def test_damaged_indexes(index):
    check(index)


@cases(60)
@given(st.dictionaries(st.sampled_from([*DOCUMENT["weight_map"], *TEXTS]), names, max_size=4))
def test_names_of_all_kinds(weight_map):
    check(json.dumps({**SMALL, "weight_map": {**SMALL["weight_map"], **weight_map}}).encode())


@cases(40)
@given(st.sampled_from(SHARDS).flatmap(lambda name: st.tuples(st.just(name), damaged_bytes(sharded()[name][:6000]))))
def test_damaged_shards(shard):
    name, content = shard
    check(sharded()[INDEX], **{name: content})


@cases(20)
@given(
    st.sampled_from([INDEX, *SHARDS]),
    st.sampled_from(
        [
            "..",
            "../secret.safetensors",
            "/etc/passwd",
            "/dev/zero",
            "x",
            "../" + INDEX,
            ".",
            "sub",
            "/proc/self/environ",
        ]
    ),
)
def test_links_in_place_of_files(name, target):
    files = {**sharded(), **LINKS, name: Link(target)}
    assert read("checkpoint", files, outside=OUTSIDE, kind="index").error is not None


LARGE = {
    "names": {f"{number:08d}": SHARDS[0] for number in range(MAX_JSON_BYTES // 48)},
    "files": {f"{number:08d}": f"{number:08d}.safetensors" for number in range(MAX_JSON_BYTES // 40)},
    "lists": {"a": [[]] * (MAX_JSON_BYTES // 5)},
}


@few(3)
@given(st.sampled_from(sorted(LARGE)))
def test_indexes_as_large_as_they_may_be(which):
    check(json.dumps({"weight_map": LARGE[which]}).encode())
