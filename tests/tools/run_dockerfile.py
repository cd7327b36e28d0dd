"""Run the Dockerfile of docs/container.md without a container engine: `python -m tests.tools.run_dockerfile`.

A fresh virtual environment stands for the base image, a temporary folder for its root: `/src` and `/data` lie there.
Files are copied from a clean copy of the last commit, each RUN goes through `sh -e`, and the container is started once
with its CMD, then with `embed` and `search`. Needs a package index, which `pip install` asks for the dependencies.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.measure_footprint import clean_copy

PAGE = Path(__file__).parents[2] / "docs" / "container.md"
BLOCK = re.compile(r"^```dockerfile\n(.*?)^```", re.MULTILINE | re.DOTALL)


def instructions(page: Path = PAGE) -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile on a page."""
    (text,) = BLOCK.findall(page.read_text(encoding="utf-8"))
    lines = text.replace("\\\n", " ").splitlines()
    return [(word, rest.strip()) for line in lines if line.strip() for word, _, rest in [line.partition(" ")]]


@dataclass
class Image:
    """What the instructions have made so far: files below `root`, packages in the environment beside it."""

    context: Path
    root: Path
    workdir: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        return kept | {"PATH": f"{self.root}/env/bin:{os.environ['PATH']}"}

    def here(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def apply(self, instruction: str, arguments: str) -> None:
        INSTRUCTIONS[instruction](self, arguments)

    def start(self, *arguments: str) -> None:
        """What `docker run IMAGE ARGUMENTS` would."""
        words = [*self.entrypoint, *(arguments or self.command)]
        subprocess.run(words, cwd=self.here(self.workdir), env=self.environment, check=True)

    def base(self, name: str) -> None:
        assert re.fullmatch(r"python:3\.\d+-slim", name), f"{name}: a virtual environment stands for Python only"
        subprocess.run([sys.executable, "-m", "venv", self.root / "env"], check=True)

    def copy(self, arguments: str) -> None:
        *sources, target = arguments.split()
        for source in sources:
            if (self.context / source).is_dir():  # as Docker: what is in the folder, into the target
                shutil.copytree(self.context / source, self.here(target))
            else:
                assert target.endswith("/"), "several files go into a folder"
                self.here(target).mkdir(parents=True, exist_ok=True)
                shutil.copy(self.context / source, self.here(target))

    def run(self, command: str) -> None:
        placed = command.replace("/src", str(self.here("/src")))
        subprocess.run(["sh", "-ec", placed], cwd=self.here(self.workdir), env=self.environment, check=True)

    def change_to(self, folder: str) -> None:
        self.workdir = folder
        self.here(folder).mkdir(parents=True, exist_ok=True)


INSTRUCTIONS = {
    "FROM": Image.base,
    "COPY": Image.copy,
    "RUN": Image.run,
    "WORKDIR": Image.change_to,
    "ENTRYPOINT": lambda image, words: setattr(image, "entrypoint", json.loads(words)),
    "CMD": lambda image, words: setattr(image, "command", json.loads(words)),
}


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        image = Image(clean_copy(Path(work, "context")), Path(work, "root"))
        image.root.mkdir()
        for instruction, arguments in instructions():
            print(f"{instruction} {arguments}", flush=True)
            image.apply(instruction, arguments)
        image.start()
        shutil.copytree(image.context / "docs", image.here("/data/photos"), ignore=shutil.ignore_patterns("*.md"))
        image.start("embed", "photos", "-o", "features.safetensors")
        image.start("search", "features.safetensors", "a red circle", "--top", "1")


if __name__ == "__main__":
    main()
