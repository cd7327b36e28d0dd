"""What a download has left in the hub's cache."""

from pathlib import Path
from typing import Any

from aimv2_np import load

NAME, OTHER = "org/model", "org/other"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
NOBODY = "http://127.0.0.1:9"  # the port of "discard", which nobody serves


def half_files(cache: Path) -> list[Path]:
    """What a download that did not end would leave."""
    return [path for path in cache.rglob("*") if path.name.endswith((".incomplete", ".tmp"))]


def in_snapshot(cache: Path, name: str = NAME) -> list[str]:
    """The names of the files that a library would find."""
    snapshots = cache / f"models--{name.replace('/', '--')}" / "snapshots"
    return sorted(path.name for path in snapshots.glob("*/*"))


def assert_loads(cache: Path, whole: dict[str, bytes], **options: Any) -> Any:
    """That a download works now, and brings the right bytes."""
    model = load(NAME, cache_dir=cache, **options)
    (path,) = cache.glob(f"models--org--model/snapshots/*/{WEIGHTS}")
    assert path.read_bytes() == whole[WEIGHTS]
    assert half_files(cache) == []
    return model
