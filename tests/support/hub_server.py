"""A small hub on 127.0.0.1: enough of the Hugging Face hub's protocol for huggingface_hub to download from it."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants, file_download

COMMIT = hashlib.sha1(b"the only commit").hexdigest()


@dataclass
class Hub:
    """Repositories by id, each with its files by name; gated and private ones answer 401. Notes requests and tokens."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    private: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    url: str = ""


@contextmanager
def serve(repositories: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    """A running hub; it stops when the block ends."""
    hub = Hub(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def redirect(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make huggingface_hub ask this hub, and no other, until the test ends."""
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    # Older releases have a copy of it there.
    monkeypatch.setattr(file_download, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the name is http.server's
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, *args: object) -> None:
            pass

        def _answer(self, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            hub.tokens.add(self.headers.get("Authorization", "").removeprefix("Bearer "))
            status, headers, content = respond(hub, path)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

    return Handler


def respond(hub: Hub, path: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and content for a path of the hub."""
    api = path.startswith("/api/models/")
    parts = path.removeprefix("/api/models/").strip("/").split("/")
    repository, rest = "/".join(parts[:2]), parts[2:]
    files = hub.repositories.get(repository)
    if repository in hub.gated:
        return 401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to it is restricted"}, b""
    if files is None:
        return 404, {"X-Error-Code": "RepoNotFound"}, b""
    if repository in hub.private:
        return 401, {"X-Error-Message": "Invalid username or password."}, b""
    revision = rest[1] if len(rest) > 1 else "main"
    if revision not in ("main", COMMIT):
        return 404, {"X-Error-Code": "RevisionNotFound"}, b""
    if api and rest[:1] == ["tree"]:
        tree = [{"type": "file", "path": name, "size": len(data), "oid": _etag(data)} for name, data in files.items()]
        return 200, {"Content-Type": "application/json"}, json.dumps(tree).encode()
    if api:
        info = {"id": repository, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files]}
        return 200, {"Content-Type": "application/json"}, json.dumps(info).encode()
    data = files.get("/".join(rest[2:]))
    if data is None:
        return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, b""
    return 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(data)}"'}, data


def _etag(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()
