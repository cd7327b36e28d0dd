"""Probes: damaged bytes, headers and metadata; what is taken for a probe computes finite logits of its classes."""

import json
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.support.hostile.mutations import cases, damaged_bytes, damaged_documents, emit
from tests.support.hostile.samples import put_together, taken_apart
from tests.support.hostile.watch import read
from tests.support.probes import attentive_probe, linear_probe

extra = st.sampled_from(
    ["tokens", "mean", "0", "-1", "1e400", "nan", "9" * 5000, "\u0663", ["a", "b"], [["a"], "b"], "a"]
)


@cache
def sound() -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as place:
        paths = [Path(place, name) for name in ("linear", "attentive")]
        for path, probe in zip(paths, (linear_probe(), attentive_probe()), strict=True):
            probe.save(path)
        first, second = (path.read_bytes() for path in paths)
    return first, second


FILES = sound()  # here: making them inside a strategy would draw random numbers there


@st.composite
def damaged_probes(draw):
    content = draw(st.sampled_from(FILES))
    header, data = taken_apart(content)
    kind = draw(st.sampled_from(("metadata", "metadata", "header", "bytes")))
    if kind == "bytes":
        return draw(damaged_bytes(content))
    if kind == "header":
        return put_together(draw(damaged_documents(header, extra)), data)
    metadata = header["__metadata__"]
    damaged = draw(damaged_documents({**metadata, "classes": json.loads(metadata["classes"])}, extra))
    if isinstance(damaged, dict):
        damaged = {key: value if isinstance(value, str) else emit(value) for key, value in damaged.items()}
    return put_together({**header, "__metadata__": damaged}, data)


@cases(120)
@given(damaged_probes())
def test_damaged_probes(content):
    outcome = read("probe", {"probe.safetensors": content})
    if outcome.error is None:
        classes, logits = outcome.value
        assert len(set(classes)) == len(classes) >= 2
        assert len(logits) == 2 * len(classes)
        assert not np.isnan(logits).any()


def test_sound_ones_are_read():
    for content in FILES:
        assert read("probe", {"probe.safetensors": content}).error is None
