"""Time and memory of loading a checkpoint of the large vision model, 1.2 GB of float32, that lies in the page cache.

    python tests/tools/measure_loading.py [FOLDER]

Writes the checkpoint into FOLDER (or a temporary folder), then opens it in fresh processes, with this library and with
the safetensors library's NumPy reader. Memory is read from /proc/self/smaps_rollup (Linux): "anonymous" is what belongs
to the process alone and cannot be given back; "private" adds the pages of the file that no other process has mapped
too, which the kernel may drop at any time.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

MEASURE = """
import sys, time
from pathlib import Path
import numpy as np

def memory():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return kib["Anonymous"] / 1024, (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024

def report(label, since):
    now = memory()
    print(f"{label:<34}{time.perf_counter() - start:8.3f} s {now[0] - since[0]:8.1f} MiB {now[1] - since[1]:8.1f} MiB")
"""

OURS = """
from aimv2_np import Aimv2VisionModel
from aimv2_np import storage
before, start = memory(), time.perf_counter()
checkpoint = storage.open_checkpoint(sys.argv[1])
arrays = {name: checkpoint.read(name) for name in checkpoint.shapes}
report("open, every tensor as an array", before)
before, start = memory(), time.perf_counter()
model = Aimv2VisionModel.from_pretrained(sys.argv[1])
report("Aimv2VisionModel.from_pretrained", before)
before, start = memory(), time.perf_counter()
assert all(np.isfinite(array).all() for array in arrays.values())
report("then every number read once", before)
"""

LIBRARY = """
from safetensors.numpy import load_file
before, start = memory(), time.perf_counter()
arrays = load_file(sys.argv[1] + "/model.safetensors")
report("safetensors.numpy.load_file", before)
"""


def write_checkpoint(folder: Path) -> None:
    """Large's tensors, each filled with the same small pattern, and its config.json."""
    from aimv2_np import Aimv2VisionConfig, Aimv2VisionModel
    from aimv2_np.storage import save_checkpoint

    config = Aimv2VisionConfig(use_head=False)
    shapes = {name: item.shape for name, item in Aimv2VisionModel.skeleton(config).state_dict().items()}
    pattern = np.random.default_rng(0).standard_normal(4096, dtype=np.float32) * np.float32(0.02)
    state = {name: np.resize(pattern, shape) for name, shape in shapes.items()}
    save_checkpoint(folder, state)
    config.save_pretrained(folder)


def main(folder: Path) -> None:
    if not (folder / "model.safetensors").exists():
        write_checkpoint(folder)
    size = (folder / "model.safetensors").stat().st_size
    print(f"{size / 1e9:.2f} GB of float32{'time':>29}{'anonymous':>15}{'private':>13}")
    for code in (LIBRARY, OURS):
        (folder / "model.safetensors").read_bytes()  # into the page cache
        subprocess.run([sys.executable, "-c", MEASURE + code, str(folder)], check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
