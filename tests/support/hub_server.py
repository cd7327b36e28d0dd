"""A small hub on 127.0.0.1: enough of the Hugging Face hub's protocol for huggingface_hub to download from it."""

import os
import re
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants, file_download

from tests.support.hub_repository import COMMIT, Answer, Fault, Hub, Repository

__all__ = ["COMMIT", "Fault", "Hub", "Repository", "redirect", "serve"]


@contextmanager
def serve(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[Hub]:
    """A running hub whose repositories have these files; it stops when the block ends."""
    hub = Hub({name: Repository(files) for name, files in repositories.items()})
    with ExitStack() as servers:
        hub.url = servers.enter_context(_running(hub))
        hub.cdn = servers.enter_context(_running(hub))
        yield hub


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


@contextmanager
def _running(hub: Hub) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the name is http.server's
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def log_message(self, *args: object) -> None:
            pass

        def _answer(self, *, body: bool) -> None:
            path = urlsplit(self.path).path
            if path.startswith("/api/") and not path.startswith("/api/models/"):
                # No question about a repository: huggingface_hub asks such once per process, whichever test is first.
                self._send(Answer(404), body, Fault())
                return
            cdn = path.startswith("/cdn/")
            hub.requests.append(f"{self.command} {unquote(path)}")
            tokens = hub.cdn_tokens if cdn else hub.tokens
            tokens.add(self.headers.get("Authorization", "").removeprefix("Bearer "))
            answer = hub.cdn_answer(path) if cdn else hub.answer(path)
            # What goes wrong with a large file goes wrong where it lies.
            fault = _take(hub, answer.file, body) if answer.status == 200 else None
            if fault and fault.status:
                answer = Answer(fault.status, {"X-Error-Code": fault.code} if fault.code else {})
            elif body and answer.status == 200:
                answer = self._part(answer)
            self._send(answer, body, fault or Fault())

        def _part(self, whole: Answer) -> Answer:
            """The part that a Range header asks for, from some byte on."""
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if match is None:
                return whole
            hub.ranges.append((whole.file, match[0]))
            start, size = int(match[1]), len(whole.content)
            if start >= size:
                return Answer(416, {"Content-Range": f"bytes */{size}"})
            span = {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
            return Answer(206, {**whole.headers, **span}, whole.content[start:], whole.file)

        def _send(self, answer: Answer, body: bool, fault: Fault) -> None:
            content = answer.content if fault.content is None else fault.content
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            announced = fault.announce if fault.announce is not None and not body else len(content)
            self.send_header("Content-Length", str(announced))
            self.end_headers()
            if not body:
                return
            self.wfile.write(content[: fault.drop_after])
            if fault.drop_after is not None:
                self.close_connection = True
                if fault.reset:
                    _reset(self.connection)

    return Handler


def _take(hub: Hub, file: str, body: bool) -> Fault | None:
    """The fault that a file has now: one that has happened as often as it should is over."""
    fault = hub.faults.get(file)
    if fault is None or fault.times == 0 or not (body or fault.status or fault.announce is not None):
        return None
    if fault.times is not None:
        fault.times -= 1
    return fault


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())
