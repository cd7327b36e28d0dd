"""Test files stand where the modules stand: aimv2_np/tasks/knn.py is tested by tests/tasks/test_knn.py.

A module that has many tests may have a folder of them instead, tests/files/hub; one that does nothing without PyTorch
or ONNX has them under tests/oracle.
"""

import ast

import pytest

from tests.support.paths import ROOT

# Folders whose files are being moved; a module without a test file is allowed there. Empty the set when that is done.
MOVING = {"kernels/numpy"}

# Folder → the test of all that have none of their own in it: every cause in the tables of faults is planted there.
TOGETHER = {
    "comparison/diagnosis": "comparison/diagnosis/test_planted.py",
    "comparison/diagnosis/backward": "comparison/backward/test_planted.py",
}

PACKAGE = ROOT / "aimv2_np"
MODULES = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py")) if not path.stem.startswith("__")]


@pytest.mark.parametrize("module", [path for path in MODULES if path.parent.as_posix() not in MOVING], ids=str)
def test_a_module_has_a_test_file(module):
    places = [ROOT / "tests" / module.parent, ROOT / "tests" / "oracle" / module.parent]
    twins = [
        path for place in places for path in (place / f"test_{module.name}", *place.glob(f"{module.stem}/test_*.py"))
    ]
    if (together := TOGETHER.get(module.parent.as_posix())) is not None:
        twins.append(ROOT / "tests" / together)
    found = [path for path in twins if path.exists()]
    assert found, f"aimv2_np/{module} has no test file; expected {twins[0].relative_to(ROOT)}; write it"
    nodes = [node for path in found for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    assert any(isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for node in nodes)
