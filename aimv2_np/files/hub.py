"""Downloads from the Hugging Face hub, and what to do when one fails.

The types of huggingface_hub's own errors are kept. What the libraries below it throw, which are others in each of its
releases, becomes ConnectionError.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TypedDict, Unpack

# They carry the bytes: requests before huggingface_hub 1.0, httpx or httpx2 since. (hf_xet raises RuntimeError.)
CARRIERS = {"requests", "urllib3", "httpx", "httpx2", "httpcore"}

ELSEWHERE = "or pass the path of a folder that holds the files"
NOT_CACHED = "is not in the cache and could not be fetched"
LOG_IN = "log in (hf auth login)"
NO_HUB = f"could not be fetched: what answers is no hub; check HF_ENDPOINT and the proxy, {ELSEWHERE}"
UNREACHABLE = f"{NOT_CACHED}: the hub cannot be reached; check the connection, HF_ENDPOINT and the proxy, {ELSEWHERE}"
BROKEN = f"could not be fetched: the connection broke; try again (complete files are kept), {ELSEWHERE}"
WRONG_SIZE = "came with a file of the wrong size: try again, and if that does not help, delete {cache} first"
OTHER_ADVICE = f"could not be fetched: try again, {ELSEWHERE}"
# What to do about an error of the hub: the first class, by name, that the error is an instance of.
ADVICE = {
    "GatedRepoError": f"asks for consent to its terms: give it on its page, then pass token= or {LOG_IN}",
    "RevisionNotFoundError": "has no such revision: check revision={revision!r}, a branch, a tag or a commit",
    "RepositoryNotFoundError": "was not found on the hub, nor is there a folder of that name here: check the spelling; "
    "a private one needs token= or a login (hf auth login)",
    "LocalEntryNotFoundError": f"{NOT_CACHED}: go online once (without local_files_only and HF_HUB_OFFLINE), "
    f"{ELSEWHERE}",
    "EntryNotFoundError": "lists a file that it does not have: try again, or choose another revision",
    "OfflineModeIsEnabled": "cannot be fetched offline: unset HF_HUB_OFFLINE once, or pass the path of a folder",
    "HFValidationError": "is not a name that the hub permits: expected 'organisation/name', or the path of a folder",
    "LocalTokenNotFoundError": f"needs the token of a login for token=True, and there is none: {LOG_IN}, or pass it",
    "FileMetadataError": NO_HUB,
}
# By the status of its answer, where the class says less.
STATUS_ADVICE = {
    401: f"is not open to this user: pass a valid token=, or {LOG_IN}",
    403: f"is not open to this user: pass a valid token=, or {LOG_IN}",
    404: ADVICE["EntryNotFoundError"],
    429: f"could not be fetched: the hub wants fewer requests; wait some minutes, or {LOG_IN}",
    **dict.fromkeys(range(500, 600), f"could not be fetched: the hub is in trouble; try again later, {ELSEWHERE}"),
}


class HubOptions(TypedDict, total=False):
    """What everything takes that can fetch from the hub, as huggingface_hub means it."""

    revision: str | None  # a branch, a tag or a commit; None: the repository's main branch
    cache_dir: str | os.PathLike[str] | None  # where downloads are kept; None: where Hugging Face's libraries do
    token: str | bool | None  # of a login, for private repositories; True: that of the last `hf auth login`
    local_files_only: bool  # take what is in the cache, and fetch nothing


def download(name: str, files: Sequence[str], **options: Unpack[HubOptions]) -> Path:
    """The folder, in the cache, with those files of the repository `name` that match `files` (shell patterns).

    Raises FileNotFoundError when there are none, and, each with advice in front, huggingface_hub's errors,
    ConnectionError when a connection breaks or leads to what is no hub, and OSError for a file of another size than was
    announced, or for a cache that cannot be written to.
    """
    # Imported here: it takes longer than everything else together, and local folders do without.
    from huggingface_hub import constants, snapshot_download

    revision, cache_dir = options.get("revision"), options.get("cache_dir")
    if not isinstance(revision, str | None):
        raise TypeError(f"revision is {revision!r:.80}; expected the name of a branch, a tag or a commit")
    cache = Path(constants.HF_HUB_CACHE if cache_dir is None else cache_dir)
    try:
        found = snapshot_download(
            name,
            revision=revision,
            cache_dir=cache,
            token=options.get("token"),
            local_files_only=options.get("local_files_only", False),
            allow_patterns=list(files),
        )
    except Exception as error:
        _raise_with_advice(error, name, revision=revision, cache=cache / f"models--{name.replace('/', '--')}")
    folder = Path(found)
    if not folder.is_dir():
        at = f" at revision {revision}" if revision else ""
        raise FileNotFoundError(f"{name}{at} has none of {', '.join(files)}; expected the repository of an AIMv2")
    return folder


def _raise_with_advice(error: Exception, name: str, **facts: object) -> NoReturn:
    detail = " ".join(str(error).split())

    def advised(advice: str) -> str:
        return f"{name} {advice.format(**facts)}. [{detail}]"

    if _package(error) == "huggingface_hub":
        error.args = (advised(_hub_advice(error)),)
    elif _package(error) in CARRIERS or isinstance(error, RuntimeError | ConnectionError | TimeoutError):
        raise ConnectionError(advised(BROKEN)) from error
    elif isinstance(error, OSError) and error.errno is not None:
        error.strerror = f"{error.strerror}; make room for the hub's cache, or pass cache_dir= or set HF_HOME"
    elif isinstance(error, OSError):
        detail, wrong, _ = detail.partition(". This is usually")  # what follows advises what is no option here
        error.args = (advised(WRONG_SIZE if wrong else OTHER_ADVICE),)
    elif isinstance(error, ValueError | TypeError | LookupError | AttributeError):  # at reading the answer
        raise ConnectionError(advised(NO_HUB)) from error
    raise error


def _hub_advice(error: BaseException) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    cause = error.__cause__
    if "LocalEntryNotFoundError" in kinds and cause and type(cause).__name__ != "OfflineModeIsEnabled":
        return _hub_advice(cause) if _package(cause) == "huggingface_hub" else UNREACHABLE
    by_kind = (advice for kind, advice in ADVICE.items() if kind in kinds)
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return next(by_kind, STATUS_ADVICE.get(status, OTHER_ADVICE))


def _package(error: BaseException) -> str:
    return type(error).__module__.partition(".")[0]
