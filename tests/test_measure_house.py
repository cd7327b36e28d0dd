"""The tool that counts lines, files and frames (docs/design.md) counts what it says."""

import subprocess
import sys

from tests.support.paths import ROOT
from tests.tools.measure_house import lines_by_room, machinery, moves


def test_it_measures_this_house():
    command = [sys.executable, "tests/tools/measure_house.py"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    total = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "aimv2_np").rglob("*.py"))
    assert f"in all       {total:6,}\n" in said
    forward, frames = said.split("forward, 4 layers, textbook: ")[1].split("\nq_proj(x): ")
    files, functions, steps = (int(word) for word in forward.replace(",", "").split() if word.isdigit())
    assert 5 < files < functions < steps
    count, names = int(frames.split()[0]), frames.splitlines()[1:]
    assert count == len(names) + 1  # the product is the last
    assert names[0].endswith("Module.__call__")
    assert any("Linear.forward" in name for name in names)


def test_lines_by_room(tmp_path):
    for name, lines in {"a.py": 2, "room/b.py": 3, "room/deeper/c.py": 4, "room/d.txt": 5}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n" * lines)
    assert lines_by_room(tmp_path) == {".": 2, "room": 7}


def test_moves():
    assert moves([("a", "f"), ("a", "g"), ("b", "h"), ("a", "f")]) == 3
    assert moves([]) == 0


def test_machinery_is_whole_functions_by_name_and_lines_by_word():
    code = "@operation\ndef packed_attention(x):\n    return x\n\ndef norm(x, lengths):\n    return x  # unpacked\n"
    assert machinery(code) == {1, 2, 3, 5}
