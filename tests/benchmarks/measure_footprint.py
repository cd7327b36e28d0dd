"""How large an environment is, ours and one with PyTorch: `python -m tests.benchmarks.measure_footprint --write`.

Each set of packages is installed by pip into a fresh virtual environment, this package from a clean copy of the last
commit. What is added up is what pip put there: the sizes of all files of `site-packages` that were not there before,
bytecode included, in bytes of content. With `--base FOLDER`, a root file system without any of it (such as
`debootstrap --variant=minbase` and Python make), images are added up too: the base's files plus the packages'.
Writes docs/footprint.json; README and docs/container.md are checked against it.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path
from stat import S_ISREG
from typing import Any

ROOT = Path(__file__).parents[2]
TARGET = ROOT / "docs" / "footprint.json"
SETS = {"aimv2_np": ["SOURCE"], "Transformers": ["torch==2.13.0", "transformers==5.23.0", "pillow"]}


def clean_copy(folder: Path) -> Path:
    """The files of the last commit, as a fresh clone has them, without its history."""
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder


def size_of(folder: Path) -> tuple[int, int]:
    """Bytes in the files below `folder`, and how many files; links are not followed, hard links count once."""
    found = (path.lstat() for path in folder.rglob("*"))
    files = {(it.st_dev, it.st_ino): it.st_size for it in found if S_ISREG(it.st_mode)}
    return sum(files.values()), len(files)


def installed(packages: list[str], folder: Path) -> dict[str, Any]:
    """Size and contents of a fresh environment with `packages`, less what `python -m venv` puts there."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    before = size_of(site)
    subprocess.run([folder / "bin/pip", "install", "--quiet", "--no-cache-dir", *packages], check=True)
    after = size_of(site)
    found = {it.name: it.version for it in distributions(path=[str(site)]) if it.name not in ("pip", "setuptools")}
    return {"bytes": after[0] - before[0], "files": after[1] - before[1], "packages": dict(sorted(found.items()))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="a root file system to which the packages would be added")
    parser.add_argument("--base-name", default="", help="what it is, for the page")
    parser.add_argument("--write", action="store_true", help=f"into {TARGET.relative_to(ROOT)}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        source = str(clean_copy(Path(work, "source")))
        sets = {
            name: installed([source if it == "SOURCE" else it for it in packages], Path(work, name))
            for name, packages in SETS.items()
        }
    result = {
        "python": platform.python_version(),
        "architecture": platform.machine(),
        "environments": sets,
        "base": {"name": arguments.base_name, "bytes": size_of(arguments.base)[0]} if arguments.base else None,
    }
    text = json.dumps(result, indent=2) + "\n"
    if arguments.write:
        TARGET.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
