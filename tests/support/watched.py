"""An `ImageEmbedder` that writes down in which processes it computes, at least two, and may kill one of them."""

import json
import os
import signal
import time
from pathlib import Path

from aimv2_np.tasks.embedding.embedder import ImageEmbedder

FOLDER = "AIMV2_NP_WATCHED"  # names a folder, for the processes of a cluster: a file for each process
DEATHS = "AIMV2_NP_DEATHS"  # how many processes die


class Watched(ImageEmbedder):
    """The same, watched."""

    def compute(self, pixels):
        result = super().compute(pixels)
        folder = Path(os.environ[FOLDER])
        mine = folder / f"{os.getpid()}.json"
        if mine.exists():  # not its first batch
            for death in range(int(os.environ.get(DEATHS, 0))):
                if _is_first(folder / f"death-{death}"):
                    os.kill(os.getpid(), signal.SIGKILL)
        else:
            mine.write_text("{}")
            _meet(folder)  # now the weights are mapped twice
            mine.write_text(json.dumps(mapped("model.safetensors")))
        return result


def _meet(folder, seconds=30):
    """Wait until there is another process: the second executor of a cluster may start when all work would be done."""
    until = time.monotonic() + seconds
    while len(list(folder.glob("*.json"))) < 2 and time.monotonic() < until:
        time.sleep(0.01)


def _is_first(path):
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def mapped(name, process="self"):
    """Bytes of the mappings of a file: how much of it a process has touched, and its share of that memory."""
    found, inside = {"Rss": 0, "Pss": 0}, False
    for line in Path(f"/proc/{process}/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        key, *rest = line.split()
        if not key.endswith(":"):
            inside = line.endswith(name)
        elif inside and key[:-1] in found:
            found[key[:-1]] += 1024 * int(rest[0])
    return found


def reports(folder):
    """What each process has written, by its number."""
    return {int(path.stem): json.loads(path.read_text()) for path in Path(folder).glob("*.json")}
