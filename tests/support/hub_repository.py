"""What the small hub of the tests holds: repositories with commits, branches and tags, and faults to order."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote

COMMIT = hashlib.sha1(b"commit 0").hexdigest()  # the first one of every repository
LARGE = (".safetensors", ".msgpack", ".bin")  # as on the real hub, these are answered with a redirect


@dataclass
class Fault:
    """Something that goes wrong with a file, or with the listing (under the name "api").

    Attributes:
        drop_after: close the connection after so many bytes of the content.
        reset: close it as a crash does (RST) and not as a program does that ends (FIN).
        announce: how many bytes the file is said to have.
        status, code: answer with this status instead, and this X-Error-Code.
        content: send these bytes instead, of the announced size or not.
        times: how often it happens; None: always.
    """

    drop_after: int | None = None
    reset: bool = False
    announce: int | None = None
    status: int | None = None
    code: str = ""
    content: bytes | None = None
    times: int | None = None


@dataclass
class Repository:
    """Files of the first commit by name; `commit` adds others. Branches and tags are `refs`."""

    files: Mapping[str, bytes]
    commits: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.commits[COMMIT] = self.files
        self.refs["main"] = COMMIT

    def commit(self, files: Mapping[str, bytes], *refs: str) -> str:
        """Add a commit with all of `files` and let `refs` (branches, tags) point to it; its hash."""
        sha = hashlib.sha1(b"commit %d" % len(self.commits)).hexdigest()
        self.commits[sha] = files
        self.refs.update(dict.fromkeys(refs, sha))
        return sha

    def find(self, revision: str) -> str | None:
        """The commit that a branch, a tag or a commit names."""
        return self.refs.get(revision, revision if revision in self.commits else None)


@dataclass(frozen=True)
class Answer:
    """Status, headers and content of a response; the file that it is about, if any."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    file: str = ""


@dataclass
class Hub:
    """Repositories by id; gated and private ones answer 401. Notes what was asked of it.

    Attributes:
        hidden: repositories whose files, and not whose listing, are gated, as the real hub has it.
        faults: file name → what goes wrong with it.
        requests: "GET /path" of each request.
        ranges: (file, Range header) of each request for a part of a file.
        tokens, cdn_tokens: that the hub, and the place where large files lie, were sent.
        url, cdn: where they are: two origins, so that a client may not send its token to the second.
    """

    repositories: dict[str, Repository]
    gated: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    ranges: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    cdn_tokens: set[str] = field(default_factory=set)
    url: str = ""
    cdn: str = ""

    def fetched(self) -> list[str]:
        """The names of the files whose content was asked for, sorted, each as often as it was."""
        contents = (
            path for method, _, path in (request.partition(" ") for request in self.requests) if method == "GET"
        )
        return sorted(path.rpartition("/")[2] for path in contents if path.startswith("/cdn/") or "/resolve/" in path)

    def answer(self, path: str) -> Answer:
        """What the hub answers to a path; it is quoted still, since a branch may have a / in its name."""
        api = path.startswith("/api/models/")
        parts = [unquote(part) for part in path.removeprefix("/api/models/").strip("/").split("/")]
        name, rest = "/".join(parts[:2]), parts[2:]
        repository = self.repositories.get(name)
        if name in self.gated or (name in self.hidden and not api):
            return Answer(401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to it is restricted"})
        if repository is None:
            return Answer(404, {"X-Error-Code": "RepoNotFound"})
        if name in self.private:
            return Answer(401, {"X-Error-Message": "Invalid username or password."})
        sha = repository.find(rest[1] if len(rest) > 1 else "main")
        if sha is None:
            return Answer(404, {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {rest[1]}"})
        files = repository.commits[sha]
        if not api:
            return self._file("/".join(rest[2:]), files, sha)
        listing = _tree(files) if rest[:1] == ["tree"] else _info(name, sha, files)
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(listing).encode(), "api")

    def cdn_answer(self, path: str) -> Answer:
        """Where large files lie, by their hash: /cdn/<sha256>/<name>."""
        _, _, digest, file = path.split("/", 3)
        every = (files for repository in self.repositories.values() for files in repository.commits.values())
        data = next(files[file] for files in every if file in files and _sha256(files[file]) == digest)
        return Answer(200, {"ETag": f'"{digest}"'}, data, file)

    def _file(self, file: str, files: Mapping[str, bytes], sha: str) -> Answer:
        data = files.get(file)
        if data is None:
            return Answer(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
        if not file.endswith(LARGE):
            return Answer(200, {"X-Repo-Commit": sha, "ETag": f'"{_sha1(data)}"'}, data, file)
        digest = _sha256(data)
        fault = self.faults.get(file, Fault())
        size = len(data) if fault.announce is None else fault.announce
        headers = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(size), "X-Repo-Commit": sha}
        return Answer(302, {**headers, "Location": f"{self.cdn}/cdn/{digest}/{file}"}, file=file)


def _tree(files: Mapping[str, bytes]) -> list[dict[str, object]]:
    tree = []
    for name, data in files.items():
        entry: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": _sha1(data)}
        if name.endswith(LARGE):
            entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
        tree.append(entry)
    return tree


def _info(name: str, sha: str, files: Mapping[str, bytes]) -> dict[str, object]:
    return {"id": name, "sha": sha, "siblings": [{"rfilename": file} for file in files]}


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
