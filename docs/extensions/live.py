"""A Sphinx extension: docs/live.md gets the embedded model, which runs in the reader's browser.

What the page loads is made when the site is built, and lies beside it: our ONNX graphs, sound and with one equation
broken, which share one file of weights; the tokenizer's file; the world that the model knows; the scripts of
docs/live/ with those of `explain`'s page that both use; and onnxruntime-web, as the npm registry has it, of one version
whose checksum stands here.
"""

import copy
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import tarfile
import tempfile
from base64 import b64encode
from pathlib import Path

import numpy as np
from sphinx.util import logging

from aimv2_np import Aimv2Model, Aimv2Processor, viz
from aimv2_np.data import sample_pictures, tiny_model_path
from aimv2_np.data.drawing import OUTLINES, RADII, RGB, SIDE
from aimv2_np.export import to_onnx
from docs.extensions.broken import BREAKS, broken
from docs.extensions.network_drawing import figure, panels, small_shapes

PACKAGE = "onnxruntime-web@1.30.0"
CHECKSUM = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
SHARED = ("colors.js", "figures.js", "grid.js", "parts.css")  # with the page of `explain`
PLACE = Path("_static", "live")
PARTS = Path(__file__).parents[1] / "live"
MARK = "<!-- on the site the model runs here -->"
PICTURE = re.compile(r"!\[[^\]]*\]\(live\.png\)\s+" + MARK)  # which a repository's web page shows in its place
SMALL = 1024  # bytes of what stays in a graph: shapes and axes
# Boxes of weights, and the value that is shown in their place.
OTHERS = {"vision_model.head.cls_token": "vision_model.head.q", "logit_scale": "logits_per_text"}
# The equations of values that no box stands for, by the ends of their names.
EQUATIONS = {
    "q": 10, "k": 10, "v": 10, "scores": 9, "encoder": 7, "last_hidden_state": 13, "pooler_output": 14,
    "logits_per_image": 19, "logits_per_text": 19, "text_embeds": 18, "image_embeds": 18,
}  # fmt: skip
log = logging.getLogger(__name__)


def write_graphs(folder):
    """One graph for the network as it is, `sound.onnx.gz`, and one for each break; returns the names of all values."""
    import onnx

    model, processor = (kind.from_pretrained(tiny_model_path()) for kind in (Aimv2Model, Aimv2Processor))
    weights, places, names = bytearray(), {}, []
    for name, forwards in (("sound", {}), *((it.name, it.forwards) for it in BREAKS)):
        changed = copy.copy(model)
        changed.network = broken(model.network, forwards)
        path = to_onnx(changed, folder / f"{name}.onnx", outputs="*", preprocess=processor.image_processor)
        graph = onnx.load(path)
        for tensor in graph.graph.initializer:
            data = tensor.raw_data
            if len(data) > SMALL:
                if data not in places:
                    places[data] = len(weights)
                    weights += data
                tensor.ClearField("raw_data")
                tensor.data_location = onnx.TensorProto.EXTERNAL
                for key, said in (("location", "weights.bin"), ("offset", places[data]), ("length", len(data))):
                    tensor.external_data.add(key=key, value=str(said))
        path.unlink()
        (folder / f"{name}.onnx.gz").write_bytes(gzip.compress(graph.SerializeToString(deterministic=True), mtime=0))
        names = names or [output.name for output in graph.graph.output]
    (folder / "weights.bin").write_bytes(weights)
    return names


def about_values(names):
    """Value's name → the numbers of its equations, and its shape in letters where the drawing knows it."""
    shapes, boxes = small_shapes(), {}
    for panel in panels():
        boxes |= {OTHERS.get(path, path): numbers for path, numbers in panel.boxes}
    about = {}
    for name in names:
        alike = [re.sub(r"layers\.\d+", "layers.0", name)]
        alike.append(alike[0].replace("text_model", "vision_model"))  # of both towers' blocks one is drawn
        found = next((boxes[it] for it in alike if it in boxes), None) or (EQUATIONS[name.rpartition(".")[2]],)
        drawn = next((it for it in alike if it in shapes.computed), None)
        about[name] = {"equations": found, "letters": shapes.of(drawn) if drawn else ""}
    return about


def world():
    """What the page has to know of the model, and of the pictures and captions that it was trained on."""
    model = Aimv2Model.from_pretrained(tiny_model_path())
    vision, text = model.config.vision_config, model.config.text_config
    samples = [
        {"caption": it.caption, "pixels": b64encode(np.asarray(it.picture).tobytes()).decode()}
        for it in sample_pictures()
    ]
    return {
        "side": SIDE,
        "grid": SIDE // vision.patch_shape[0],
        "layers": vision.num_hidden_layers,
        "heads": vision.num_attention_heads,
        "text": {"layers": text.num_hidden_layers, "heads": text.num_attention_heads},
        "most": text.max_position_embeddings,
        "outlines": {name: [points.tolist() for points in found] for name, found in OUTLINES.items()},
        "colors": RGB,
        "radii": {name: sum(ends) / 2 for name, ends in RADII.items()},
        "samples": samples,
        "breaks": [{key: getattr(it, key) for key in ("name", "equation", "words", "instead")} for it in BREAKS],
    }


def write_runtime(folder):
    """onnxruntime-web, its WebAssembly compressed: not every server does that, and a browser can undo it by itself.

    Raises:
        OSError, subprocess.CalledProcessError: there is no npm, or it fails.
        ValueError: it brings something else.
    """
    with tempfile.TemporaryDirectory() as temporary:
        subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=temporary, check=True, capture_output=True)
        (archive,) = Path(temporary).glob("*.tgz")
        found = "sha512-" + b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != CHECKSUM:
            raise ValueError(f"{PACKAGE} has the checksum {found}; expected {CHECKSUM}")
        with tarfile.open(archive) as members:
            script, binary = (members.extractfile(f"package/dist/{name}").read() for name in RUNTIME)
    (folder / RUNTIME[0]).write_bytes(script)
    (folder / f"{RUNTIME[1]}.gz").write_bytes(gzip.compress(binary, mtime=0))


def write(app, exception):
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir) / PLACE
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (*PARTS.glob("*.js"), *PARTS.glob("*.css"), *(Path(viz.__file__).parent / "web" / it for it in SHARED)):
        shutil.copy(path, folder)
    shutil.copy(tiny_model_path() / "tokenizer.json", folder)
    values = about_values(write_graphs(folder))
    (folder / "world.json").write_text(json.dumps({**world(), "values": values, "others": OTHERS}), encoding="utf-8")
    try:
        write_runtime(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        why = f"the live page is without {PACKAGE}, which npm (of Node.js) fetches: {error}"
        log.warning(f"{why}; -D suppress_warnings=live builds the site without it", type="live")


def show(app, docname, source):
    if MARK in source[0]:
        parts = (PARTS / "page.html").read_text(encoding="utf-8")
        drawn = figure("whole", "equations.html", "The network: each box shows what it computes")
        source[0] = PICTURE.sub(lambda _: parts.replace("{{drawing}}", drawn), source[0])


def setup(app):
    app.connect("source-read", show)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
