"""`python -m tests.tools.write_faithfulness` writes the measured table of docs/faithfulness.md from its JSON.

`tests/support/tally.py` says how the JSON is made.
"""

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[2] / "docs"
PAGE, DATA = DOCS / "faithfulness.md", DOCS / "faithfulness.json"
BLOCK = re.compile(r"(<!-- measured: begin -->\n).*?(<!-- measured: end -->)", re.DOTALL)

# Subject of `compared` -> what was compared, against what, the file of the test. In this order on the page.
SUBJECTS = {
    "modules, float64": (
        "every module of both towers, by path, in float64",
        "Transformers ¹",
        "oracle/models/test_vision.py",
    ),
    "modules, float32": ("… in float32", "Transformers in float64 ¹", "oracle/models/test_text.py"),
    "modules, float16": ("… in float16", "Transformers in float64 ¹", "oracle/models/test_aimv2.py"),
    "module alone": (
        "each projection, norm, table, given the same input ²",
        "Transformers",
        "oracle/models/test_modules.py",
    ),
    "outputs": (
        "all outputs, hidden states, attentions, as tuples too",
        "Transformers ¹",
        "oracle/models/test_aimv2.py",
    ),
    "large": ("large, 24 blocks of 1024, in float32", "our float64", "oracle/test_large.py"),
    "large, Transformers' own error": ("… Transformers, on the same", "our float64", "oracle/test_large.py"),
    "activations": ("21 activations, from -10⁴ to 10⁴ ²", "Transformers", "oracle/network/test_activations.py"),
    "native positions": ("native positions of any grid, float64", "Transformers", "oracle/network/test_positions.py"),
    "interpolated positions": (
        "interpolated positions, float64",
        "PyTorch's `interpolate`",
        "oracle/network/test_positions.py",
    ),
    "masks": ("causal masks with padding", "Transformers", "oracle/network/test_view.py"),
    "checkpoints": ("saved there, loaded here, and back", "Transformers", "oracle/test_roundtrip.py"),
    "pictures": (
        "pictures of all modes, sizes and settings",
        "Transformers, Pillow",
        "oracle/processing/test_image.py",
    ),
    "texts": ("token ids of strings", "Transformers' `CLIPTokenizer`", "oracle/processing/test_tokenizer.py"),
    "goldens": ("21 recorded models, every module", "Transformers, recorded", "test_goldens.py"),
    "Apple's code": ("blocks and outputs, from all of Apple's files", "Apple's code, recorded", "test_apple.py"),
    "timm": ("outputs, from timm's file", "timm, recorded", "test_apple.py"),
    "faster bodies": ("faster bodies of the operations ²", "the equations as written", "kernels/numpy/test_cpu.py"),
}
SHARES = {"module alone", "activations", "faster bodies"}  # whose error is a share of a bound, element by element


def row(subject: str, found: dict[str, Any]) -> str:
    what, against, place = SUBJECTS[subject]
    error = "equal" if not found["largest"] else f"{found['largest']:.1e}"
    if subject in SHARES:
        error = f"{found['largest']:.2f} of the bound"
    used = f"{found['of_allowed']:.0%}" if found["largest"] and "own error" not in subject else ""
    cells = [f"[{what}](../tests/{place})", against, f"{found['cases']:,}", f"{found['arrays']:,}", error, used]
    return f"| {' | '.join(cells)} |\n".replace("|  |", "| |")


def table(data: dict[str, Any]) -> str:
    """What stands between the markers."""
    unknown = set(data["compared"]) ^ set(SUBJECTS)
    if unknown:
        raise LookupError(f"in one of {DATA.name} and {Path(__file__).name} only: {sorted(unknown)}")
    versions = ", ".join(f"{name} {version}" for name, version in data["versions"].items())
    arrays = sum(it["arrays"] for it in data["compared"].values())
    head = (
        f"One run, {arrays:,} arrays compared ({versions}; {data['architecture']}):\n\n"
        "| what, and its test | against | cases | arrays | largest error | of what is allowed |\n"
        "|---|---|---:|---:|---:|---:|\n"
    )
    return head + "".join(row(subject, data["compared"][subject]) for subject in SUBJECTS)


def page(text: str, data: dict[str, Any]) -> str:
    """The page with the table of `data`."""
    return BLOCK.sub(lambda match: f"{match[1]}{table(data)}{match[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), json.loads(DATA.read_text(encoding="utf-8"))), "utf-8")
