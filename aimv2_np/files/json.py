"""JSON files: sizes checked before reading, values before writing."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aimv2_np.errors import CheckpointError
from aimv2_np.files.atomic import atomic_write

# Ten times what the largest real ones have; read, JSON takes up to forty times its size in memory.
MAX_JSON_BYTES = 2**20
MAX_JSON_DEPTH = 64
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_json(path: str | os.PathLike[str], limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The object in a JSON file.

    Raises FileNotFoundError when there is no such file, and CheckpointError, which names the file, when it is not a
    regular file, larger than `limit` bytes, not UTF-8, not JSON, nested deeper than 64 levels, or not an object.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if not path.is_file():
        raise CheckpointError(f"{path} is not a regular file; expected a JSON file")
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CheckpointError(f"{path} is larger than {limit} bytes, the most that such a JSON file may have")
    with telling_cache(path):
        return parse_json(data, str(path))


@contextmanager
def telling_cache(path: Path) -> Iterator[None]:
    """Add to a CheckpointError about a file in the hub's cache what to delete: the cache never checks what it has."""
    try:
        yield
    except CheckpointError as error:
        if path.parent.parent.name != "snapshots":
            raise
        raise CheckpointError(
            f"{error} (it is in the cache of the hub, and is fetched again only after you delete {path.resolve()})"
        ) from None


def parse_json(data: bytes, what: str, *, unique: bool = False) -> dict[str, Any]:
    """The JSON object in `data`; CheckpointError beginning with `what` otherwise, with `unique` for double keys too."""
    try:
        value = strict_json(data.decode("utf-8"), unique=unique)
        too_deep = _depth(value) > MAX_JSON_DEPTH
    except RecursionError:
        too_deep = True
    except ValueError as error:  # JSONDecodeError, UnicodeDecodeError, numbers of too many digits, double keys
        raise CheckpointError(f"{what} is not valid JSON ({error}); it may be damaged, fetch it again") from None
    if too_deep:
        raise CheckpointError(f"{what} is nested too deeply; at most {MAX_JSON_DEPTH} levels are read")
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} is a JSON {type(value).__name__}; expected an object, {{...}}")
    return value


def strict_json(text: str, *, unique: bool = False) -> Any:
    """The value of a JSON text; ValueError for NaN, half surrogate pairs and, with `unique`, double keys.

    RecursionError when it is nested too deeply for Python's reader.
    """
    pairs_hook = _unique_keys if unique else None
    value = json.loads(text, object_pairs_hook=pairs_hook, parse_constant=_refuse_constant)
    if _SURROGATE.search(text):  # Python's reader would take a half, which no file name, hash or terminal can
        json.dumps(value, ensure_ascii=False).encode()
    return value


def write_json(path: str | os.PathLike[str], obj: Mapping[str, Any], overwrite: bool = False) -> None:
    """Write `obj` as indented JSON, atomically; ValueError when JSON cannot hold it (NaN, arrays, ...)."""
    data = json_bytes(obj, str(path))
    with atomic_write(path, overwrite) as file:
        file.write(data)


def json_bytes(obj: Mapping[str, Any], what: str) -> bytes:
    """`obj` as indented JSON; ValueError beginning with `what` when JSON cannot hold it (NaN, arrays, ...)."""
    try:
        return json.dumps(dict(obj), indent=2, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{what} cannot be written as JSON: {error}") from None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")  # Python's reader would take NaN and Infinity


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key!r:.200} occurs twice")
        result[key] = value
    return result


def _depth(value: Any) -> int:
    """How many lists and objects are nested in each other; counted level by level, as deep ones end Python's stack."""
    level, depth = [value], 0
    while level := [item for item in level if isinstance(item, dict | list)]:
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
        depth += 1
    return depth
