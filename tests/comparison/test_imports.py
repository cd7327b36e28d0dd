"""Who imports whom in recording/ and comparison/: downward only, imports for type checking included."""

import ast
from pathlib import Path

import pytest

import aimv2_np

PACKAGE = Path(aimv2_np.__file__).parent
# From the top down; names of one line know nothing of each other.
FLOORS = (
    ("comparison.loss", "comparison.verify", "comparison.pytest_plugin", "comparison.published"),
    ("comparison.sets", "comparison.html"),
    ("comparison", "comparison.compare", "comparison.capsule"),
    ("comparison.backward",),
    ("comparison.budget", "comparison.pairing"),
    ("comparison.forcing",),
    ("comparison.matching",),
    ("comparison.report", "comparison.sides", "comparison.padding", "comparison.diagnosis"),
    ("comparison.fused",),
    ("comparison.batch",),
    ("comparison.alignment",),
    ("comparison.comparison", "comparison.naming", "comparison.order", "comparison.tolerances"),
    ("comparison.operators", "comparison.rules"),
    ("comparison.measure", "comparison.coverage"),
    ("recording.adapters", "recording.inputs"),
    ("recording", "recording.record"),
    ("recording.writer",),
    ("recording.recording",),
    ("recording.statistics", "recording.slices"),
)
DIAGNOSIS = (
    ("diagnosis.diagnose", "diagnosis.backward.search"),
    ("diagnosis.backward.products", "diagnosis.backward.chain"),
    ("diagnosis.backward.paths", "diagnosis.backward.walk"),
    (
        "diagnosis.backward.norms", "diagnosis.backward.attentions", "diagnosis.backward.gates",
        "diagnosis.backward.sums", "diagnosis.backward.tables", "diagnosis.backward.ends", "diagnosis.backward.advice",
    ),
    ("diagnosis.backward.tools", "diagnosis.backward.looks"),
    ("diagnosis.trials",),
    ("diagnosis.seen",),
    ("diagnosis.search", "diagnosis.arrays", "diagnosis.behind"),
    ("diagnosis.place",),
    ("diagnosis.preprocessing",),
    ("diagnosis.resampling", "diagnosis.framing"),
    ("diagnosis.extent", "diagnosis.half", "diagnosis.blocks"),
    ("diagnosis.stages",),
    ("diagnosis.masks", "diagnosis.positions", "diagnosis.ends"),
    ("diagnosis.waves",),
    (
        "diagnosis.norms", "diagnosis.projections", "diagnosis.attentions", "diagnosis.layers", "diagnosis.pictures",
        "diagnosis.precision", "diagnosis.texts", "diagnosis.stretched", "diagnosis.advice",
    ),
    ("diagnosis.heads", "diagnosis.stacked", "diagnosis.scaled", "diagnosis.kernels", "diagnosis.logits",
        "diagnosis.damages"),
    ("diagnosis.fault",),
    ("diagnosis.context",),
    ("diagnosis.weights", "diagnosis.forced", "diagnosis.known", "diagnosis.originals"),
)  # fmt: skip


def imported(path):
    """The modules that a file names in its imports, wherever they stand in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of(name, floors, prefix):
    """The number of the floor that a module stands on, by the longest of the names that it begins with."""
    names = {f"aimv2_np.{prefix}{one}": i for i, floor in enumerate(floors) for one in floor}
    known = [one for one in names if name == one or (name.startswith(one + ".") and one.count(".") > 1)]
    return names[max(known, key=len)] if known else None


@pytest.mark.parametrize(
    ("rooms", "floors", "prefix"),
    [(("recording", "comparison"), FLOORS, ""), (("comparison/diagnosis",), DIAGNOSIS, "comparison.")],
)
def test_imports_run_downward(rooms, floors, prefix):
    back = []
    for file in (file for room in rooms for file in (PACKAGE / room).rglob("*.py")):
        name = ".".join(("aimv2_np", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        own = floor_of(name, floors, prefix)
        assert own is not None or file.name == "__init__.py", f"{name} stands on no floor"
        for other in imported(file):
            floor = floor_of(other, floors, prefix)
            if None not in (floor, own) and floor < own:
                back.append(f"{name} imports {other}")
    assert back == []
