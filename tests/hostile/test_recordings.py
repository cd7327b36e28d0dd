"""Golden recordings: damaged files, damaged metadata, damaged statistics, alone and in a comparison."""

import json

import numpy as np
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hostile.mutations import INTEGERS, cases, damaged_bytes, damaged_documents, emit
from tests.support.hostile.samples import put_together, recordings, taken_apart
from tests.support.hostile.watch import read
from tests.support.safetensors_bytes import entry

RECORDINGS = recordings()  # here: making them inside a strategy would draw random numbers there
JSON_KEYS = ("order", "shapes", "dtypes", "slices", "config")
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8"}
whole_numbers = st.sampled_from([n for n in INTEGERS if n < 2**64])
extra = st.one_of(
    st.lists(whole_numbers | st.integers(0, 5), max_size=4),
    st.just([2**63 - 1] * 5000),
    st.sampled_from(
        [":", "0, :2", "::0", "-1", "99999999999999", "...", ",".join(":" * 40), "bfloat16", "float8", "object"]
    ),
    st.sampled_from(
        ["/Mul_" + "1" * 5000, "/x/Add_1_output_0", "layers.999999.x", "a" * 5000, ".".join("ab" * 500), "*", "x\ud800"]
    ),
)


@st.composite
def damaged_recordings(draw):
    """A recording with its metadata, its header or its bytes damaged; a name may be damaged in both alike."""
    sound = draw(st.sampled_from(RECORDINGS))
    header, data = taken_apart(sound)
    kind = draw(st.sampled_from(("metadata", "metadata", "header", "bytes", "numbers", "name")))
    if kind == "bytes":
        return draw(damaged_bytes(sound[:4000])) + sound[4000:]
    if kind == "numbers":
        special = draw(st.sampled_from([np.nan, np.inf, -np.inf, 3e38, 1e-45, 0.0]))
        at = 4 * draw(st.integers(0, len(data) // 4 - 1))
        count = draw(st.sampled_from((1, 5, 64)))
        return put_together(
            header, (data[:at] + np.full(count, special, "<f4").tobytes() + data[at + 4 * count :])[: len(data)]
        )
    metadata = dict(header["__metadata__"])
    if kind == "name":
        old = draw(st.sampled_from(json.loads(metadata["order"])))
        new = draw(
            st.sampled_from(
                ["/Mul_" + "1" * 5000, "x\ud800", "\x1b[2J", "", "a" * 9999, "layers.\u0663.x", "é", "*", "b/../c"]
            )
        )
        renamed = {key.replace(f"activations/{old}", f"activations/{new}"): value for key, value in header.items()}
        metadata["order"] = json.dumps([new if path == old else path for path in json.loads(metadata["order"])])
        return put_together({**renamed, "__metadata__": metadata}, data)
    if kind == "metadata":
        parsed = {key: json.loads(value) if key in JSON_KEYS else value for key, value in metadata.items()}
        damaged = draw(damaged_documents(parsed, extra))
        if isinstance(damaged, dict):
            texts = {key: emit(value) if key in JSON_KEYS else value for key, value in damaged.items()}
            return put_together({**header, "__metadata__": texts}, data)
    return put_together(draw(damaged_documents(header, extra)), data)


def stored(content):
    """The arrays of a safetensors file, those that NumPy can hold, by the format's own library."""
    return {
        name: np.frombuffer(bytes(it["data"]), DTYPES[it["dtype"]]).reshape(it["shape"])
        for name, it in safetensors.deserialize(content)
        if it["dtype"] in DTYPES
    }


@cases(160)
@given(damaged_recordings())
def test_damaged_recordings(content):
    outcome = read("recording", {"b.safetensors": content})
    if outcome.error is not None:
        return
    order, shapes, arrays = outcome.value
    assert set(order) == set(shapes)
    for name, theirs in stored(content).items():
        path = name.removeprefix("activations/")
        if path in arrays:
            assert arrays[path] == (str(theirs.dtype), theirs.shape, theirs.tobytes())


@cases(160)
@given(damaged_recordings(), st.integers(0, 2))
def test_comparisons_with_damaged_recordings(content, which):
    files = {"a.safetensors": RECORDINGS[which], "b.safetensors": content}
    outcome = read("comparison", files, kind="comparison of recordings")
    if outcome.error is not None:
        return
    equal, differences = outcome.value
    assert equal <= all(same for _, same in differences)
    ours, theirs = stored(files["a.safetensors"]), stored(content)
    for path, same in differences:
        name = path if path.startswith("inputs/") else f"activations/{path}"
        if same and name in ours and name in theirs and ours[name].shape == theirs[name].shape and "mask" not in name:
            a, b = (array[name].astype(np.float64) for array in (ours, theirs))
            assert np.isfinite(b).all()
            assert np.linalg.norm(a - b) <= 1e-3 * np.linalg.norm(a) or "text_model" in name


@cases(40)
@given(st.data())
def test_damaged_comparisons_of_plain_arrays(data):
    header = {"x": entry("F32", [2, 3], 0), "y": entry("F16", [4], 24), "inputs/z": entry("I64", [1], 32)}
    content = put_together(header, bytes(range(40)))
    damaged = put_together(data.draw(damaged_documents(header, extra)), bytes(range(40)))
    damaged = data.draw(st.just(damaged) | damaged_bytes(content))
    read("comparison", {"a.safetensors": content, "b.safetensors": damaged}, kind="comparison of recordings")
