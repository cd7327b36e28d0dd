"""What `compare_gpu` has measured, as it is kept in files: case by case, beside what was there before."""

import json
import re
from pathlib import Path
from typing import Any

from aimv2_np.files.atomic import atomic_write
from aimv2_np.files.json import write_json
from tests.benchmarks.gpu_cases import CASES, DTYPES
from tests.benchmarks.gpu_report import render
from tests.support.paths import ROOT

RESULTS = ROOT / "docs" / "benchmarks"


def joined(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """What was measured now, and of `old`, where it may stand beside it, what was not."""
    kept = old if old is not None and comparable(old, new) else {"cases": [], "cold": None}
    found = {_key(case): case for case in [*kept["cases"], *new["cases"]]}
    return new | {"cases": sorted(found.values(), key=_place), "cold": new["cold"] or kept["cold"]}


def comparable(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether both are of one device and the same versions."""
    return old["device"]["name"] == new["device"]["name"] and all(old[it] == new[it] for it in ("versions", "driver"))


def _key(case: dict[str, Any]) -> tuple[Any, ...]:
    return case["name"], case["dtype"], case["layers"]


def _place(case: dict[str, Any]) -> tuple[int, ...]:
    names = [it.name for it in CASES]
    return names.index(case["name"]), DTYPES.index(case["dtype"]), case["layers"] or 1000


class Results:
    """`<device>.json` and the page of it in a folder. Begins with what is there, else with what docs/benchmarks has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before: dict[str, Any] | None = None
        self._begun = False

    def keep(self, data: dict[str, Any]) -> None:
        """Write what was measured before and now: all of it or, when that is interrupted, what was there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / file_of(data["device"]["name"])
        if not self._begun:
            self._before, self._begun = self._read(path, data), True
        both = joined(self._before, data)
        write_json(path, both, overwrite=True)
        with atomic_write(path.with_suffix(".md"), overwrite=True) as file:
            file.write(render(both).encode())

    def _read(self, path: Path, data: dict[str, Any]) -> dict[str, Any] | None:
        source = path if path.exists() else RESULTS / path.name
        if not source.exists():
            return None
        old: dict[str, Any] = json.loads(source.read_text(encoding="utf-8"))
        if source == path and not comparable(old, data):
            path.rename(path.with_stem(f"{path.stem}-{old['date']}"))
        return old


def file_of(device: str) -> str:
    """nvidia-h200.json"""
    return re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-") + ".json"
