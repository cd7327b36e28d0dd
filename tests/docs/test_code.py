"""The Python in README and docs runs, one namespace per page, in an empty folder and without a network."""

import re
from contextlib import nullcontext
from importlib.util import find_spec

import numpy as np
import pytest

import aimv2_np
from aimv2_np.data import sample_pictures, tiny_model_path
from aimv2_np.recording import record
from aimv2_np.tasks import embed
from tests.docs.test_pages import NAMES, ROOT
from tests.support.gpu import emulated_cupy

BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(name):
    return BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))


def tiny():
    model = aimv2_np.Aimv2Model.from_pretrained(tiny_model_path())
    processor = aimv2_np.Aimv2Processor.from_pretrained(tiny_model_path())
    return model, dict(processor(text=["a red star"], images=sample_pictures()[0].picture, padding=True))


def for_compare():
    """A recording, and the outputs of a port in which the first MLP went wrong."""
    model, inputs = tiny()
    record(model, inputs, "reference.safetensors", include=["*.ffn"])
    with aimv2_np.trace(model) as activations:
        model(**inputs)
    outputs = {path: np.array(array) for path, array in activations.items() if path.endswith(".ffn")}
    outputs["vision_model.encoder.layers.0.ffn"] *= 2
    return {"model": model, "outputs": outputs}


def for_embedding():
    """Features of the sample pictures."""
    for i, sample in enumerate(sample_pictures()):
        sample.picture.save(f"{i}.png")
    embed(["."], "features.safetensors")
    if find_spec("pyarrow"):
        embed(["."], "features.parquet")
    return {}


PREPARED = {"docs/compare.md": for_compare, "docs/embedding.md": for_embedding}
# Pages whose code runs on a GPU, or here on its stand-in.
ON_A_GPU = ("docs/gpu.md",)
# Blocks with a line that needs what a test has not: weights from the hub, PyTorch, the reader's own model,
# cuDNN, matplotlib (tests/viz/test_docs.py runs these).
ELSEWHERE = ("cudnn_attention(", "torch_module", "timm/aimv2_large", "my_model(", "import draw_")


# Packages that only the blocks that import them need; such a block runs where they are installed.
PACKAGES = ("duckdb", "faiss", "lancedb", "pandas", "polars", "pyarrow")
# Pages of other runtimes and of clusters; tests/oracle/recording/test_runtimes.py, tests/oracle/export/test_docs.py and
# tests/clusters/test_pages.py run these.
RUNTIMES = ("docs/runtimes.md", "docs/export.md", "docs/clusters.md")


def missing_packages(block):
    """Those of `PACKAGES` that a block needs and that are not installed."""
    imported = set(re.findall(r"\w+", " ".join(re.findall(r"^import (.+)$", block, re.MULTILINE))))
    needed = imported | ({"pyarrow"} if ".parquet" in block else set())
    return [name for name in PACKAGES if name in needed and not find_spec(name)]


def test_packages_are_asked_for_on_a_page():
    everything = "\n".join(block for name in NAMES for block in blocks(name))
    assert not [name for name in PACKAGES if not re.search(rf"^import .*\b{name}\b", everything, re.MULTILINE)]
    assert missing_packages("import json, nothing_of_this_kind\n") == []


@pytest.mark.parametrize("name", [name for name in NAMES if blocks(name)])
def test_python_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names = PREPARED.get(name, dict)()
    with emulated_cupy() if name in ON_A_GPU else nullcontext():
        for block in blocks(name):
            code = compile(block, name, "exec")
            if missing_packages(block):
                continue
            if name not in RUNTIMES and not any(words in block for words in ELSEWHERE):
                exec(code, names)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_run_here_names_things_that_exist(name):
    for block in blocks(name):
        for line in re.findall(r"^from aimv2_np.* import .*$", block, re.MULTILINE):
            exec(line, {})
