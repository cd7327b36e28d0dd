"""From what a user calls a model, a folder or a repository on the hub, to a folder of files on this machine."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Unpack

from aimv2_np.errors import CheckpointError, is_of_the_system
from aimv2_np.files.habits import known_options
from aimv2_np.files.hub import HubOptions, download
from aimv2_np.files.json import MAX_JSON_BYTES, read_json

CONFIG_FILE = "config.json"
CONFIG_FILES = (CONFIG_FILE, "open_clip_config.json")  # the first that is there
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "model-*-of-*.safetensors")
MODEL_FILES = (*CONFIG_FILES, *WEIGHT_FILES)
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
IMAGE_PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
PROCESSOR_FILES = (CONFIG_FILE, *IMAGE_PROCESSOR_FILES, *TOKENIZER_FILES)

SHARED_BLOB = re.compile(r"[0-9a-f]{64}")
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+")
HUB_ADDRESS = re.compile(r"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://|hf[-_]hub:)([^/?#\s]+/[^/?#\s]+)")


def resolve(
    path_or_hub_id: str | os.PathLike[str], *, files: Sequence[str] = MODEL_FILES, **options: Unpack[HubOptions]
) -> Path:
    """The folder that `path_or_hub_id` names: an existing folder, or the local copy of a hub repository "org/name".

    Of a repository only the files that match `files` (shell patterns) are downloaded. An existing folder wins over a
    repository of the same name; its content is not checked here. Raises FileNotFoundError for a path where nothing is,
    NotADirectoryError for a file, TypeError for an option that is none of `HubOptions`, and what `hub.download` raises
    when a download fails.
    """
    known = known_options(options, HubOptions)
    if not isinstance(path_or_hub_id, str | os.PathLike):
        raise TypeError(
            f"the place is {path_or_hub_id!r:.80}; expected the path of a folder, or a hub repository's name"
        )
    path = Path(os.path.expanduser(path_or_hub_id))  # noqa: PTH111 (Path.expanduser raises for "~nobody")
    if path_or_hub_id != "" and path.is_dir():
        return path
    if path.is_file():
        raise NotADirectoryError(f"{path} is a file; expected a folder: pass the folder that holds it, {path.parent}")
    if address := HUB_ADDRESS.match(os.fspath(path_or_hub_id)):
        raise FileNotFoundError(
            f"{path_or_hub_id} is an address; expected a folder, or the name of a repository: pass {address[1]!r}"
        )
    name = path_or_hub_id if isinstance(path_or_hub_id, str) else None
    if name is None or not HUB_ID.fullmatch(name):
        raise FileNotFoundError(
            f"there is no folder {str(path_or_hub_id)!r}; expected an existing folder, or a hub repository like "
            "'apple/aimv2-large-patch14-224'"
        )
    return download(name, files, **known)


def check_link(path: Path, folder: Path) -> None:
    """CheckpointError when `path`, in `folder`, is a link that leads out of it.

    A checkpoint that somebody sent must not make us read files of its choice elsewhere on this machine. Links inside
    the folder do no harm. The hub's cache is the one exception, because it consists of links: its folders are
    <cache>/models--<org>--<name>/snapshots/<commit>/ and every file in them leads to models--<org>--<name>/blobs/. In
    huggingface_hub 2 that may be a link too, to <cache>/blobs/<two digits>/<64 digits>, which repositories share. So a
    link may also end in these two places, seen from a folder with such names above it; the whole chain of links is
    followed first, so a blob that is itself a link to elsewhere is refused.
    """
    try:
        target, home = path.resolve(), folder.resolve()
    except (OSError, RuntimeError) as error:
        if is_of_the_system(error):
            raise
        raise CheckpointError(
            f"{path} is a link that leads nowhere; expected a file of the checkpoint itself"
        ) from None
    if target.is_relative_to(home):
        return
    repository = home.parent.parent
    in_hub_cache = home.parent.name == "snapshots" and repository.name.startswith("models--")
    shared = SHARED_BLOB.fullmatch(target.name) and target.parent == repository.parent / "blobs" / target.name[:2]
    if in_hub_cache and (shared or target.parent == repository / "blobs"):
        return
    raise CheckpointError(
        f"{path} is a link that leads out of its folder, to {target}; expected a file of the checkpoint itself: "
        "copy the file into the folder if you trust it"
    )


def read_json_in(folder: Path, name: str, limit: int = MAX_JSON_BYTES) -> dict[str, Any] | None:
    """The object in the JSON file `name` of a folder; None where there is no such file.

    Raises CheckpointError for a link that leads out of the folder, and for what `read_json` raises it.
    """
    path = folder / name
    check_link(path, folder)
    return read_json(path, limit) if path.exists() else None
