"""The house is as docs/design.md says: screens that one can read, few frames, rooms that say what belongs in them."""

import ast
import re

import numpy as np
import pytest

from aimv2_np import Aimv2VisionConfig, Aimv2VisionModel
from aimv2_np.kernels.native.library import kernels
from tests.support.paths import ROOT
from tests.tools.measure_house import CONFIG, frames_to_product

PACKAGE = ROOT / "aimv2_np"
SCREEN, FRAMES = 60, 7
TOP = {"__init__.py", "__main__.py", "errors.py", "shapes.py", "py.typed"}
ROOMS = {
    "backends", "bench", "cli", "comparison", "config", "data", "export", "files", "gradients", "kernels", "models",
    "network", "processing", "recording", "storage", "tasks", "training", "tree", "viz",
}  # fmt: skip


def code_lines(text):
    """Lines that are neither blank nor imports."""
    imported = {
        number
        for node in ast.parse(text).body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for number in range(node.lineno, node.end_lineno + 1)
    }
    return [line for number, line in enumerate(text.splitlines(), 1) if line.strip() and number not in imported]


def test_code_lines():
    assert code_lines("import os\nfrom a import (\n    b,\n)\n\n\nx = 1\n") == ["x = 1"]


@pytest.mark.parametrize("tower", ["vision", "text", "aimv2"])
def test_a_tower_is_one_screen(tower):
    """Its classes, docstrings and composites together, from pixels or ids to outputs."""
    assert len(code_lines((PACKAGE / f"network/{tower}.py").read_text(encoding="utf-8"))) <= SCREEN


def test_few_frames_between_a_module_and_the_array_library():
    model = Aimv2VisionModel(Aimv2VisionConfig(**CONFIG))
    x = np.zeros((1, 4, 16), np.float32)
    frames = frames_to_product(PACKAGE, model.encoder.layers[0].attention.q_proj, x)
    assert frames[0] == "tree/module.py:Module.__call__"
    through_numpy = 0 if kernels() else 1  # where C is not compiled, what would have called it calls NumPy's body
    assert len(frames) <= FRAMES + through_numpy, frames


@pytest.mark.parametrize("room", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_a_room_says_what_belongs_there(room):
    """In two sentences or more."""
    said = ast.get_docstring(ast.parse(room.read_text(encoding="utf-8"))) or ""
    assert len(re.findall(r"\.(?=\s|$)", said)) >= 2, said


def test_nothing_else_stands_at_the_top():
    there = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert there == TOP | ROOMS
