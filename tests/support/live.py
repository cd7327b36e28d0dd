"""A visit to the live page: a server of files, a browser, and the page in a window of its own."""

import functools
import http.server
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tests.support.explained import BROWSER

OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
OPTIONS += ["--disable-component-update", "--disable-sync"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextmanager
def serving(folder) -> Iterator[str]:
    """The address at which a folder is served within the block, as any server of files does it."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def opened_browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=OPTIONS)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """The page in a window of its own, loaded and then cut off from any network; what went wrong, what was loaded."""

    def __init__(self, browser, address, width=1280, scheme="light"):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page, self.wrong, self.loaded = self.context.new_page(), [], {}
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda it: self.wrong.append(it.text) if it.type in ("error", "warning") else None)
        self.page.on("response", lambda it: self.loaded.__setitem__(it.url, int(it.headers["content-length"])))
        self.page.goto(address)
        self.settle()
        self.page.wait_for_load_state("networkidle")
        self.context.set_offline(True)

    def settle(self):
        """Wait until what was asked for has been computed and is shown."""
        self.page.wait_for_selector("#live[aria-busy=false]", timeout=60_000)

    def part(self, name):
        return self.page.locator(f"#live [data-part={name}]")

    def ask(self, body):
        """What a function body gives that sees `state` and `found` of the page's own module."""
        script = "async () => { const {state, found} = await import(new URL('_static/live/main.js', location)); %s }"
        return self.page.evaluate(script % body)

    def choose(self, broken):
        self.part("breaks").locator(f"input[value='{broken}']").check()
        self.settle()

    def values(self):
        """(pixels, texts' ids, mask, path → array) of what the page computed last."""
        found = self.ask("""
          const text = array => {
            const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
            return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
          };
          const values = [...found.values].map(([path, {dims, data}]) => [path, dims, text(data)]);
          const {ids, mask, long} = found.texts;
          return {pixels: text(found.pixels), ids, mask, long, values};
        """)
        pixels = np.frombuffer(b64decode(found["pixels"]), np.uint8).reshape(64, 64, 3)
        ids, mask = (np.array(found[name]).reshape(-1, found["long"]) for name in ("ids", "mask"))
        arrays = {p: np.frombuffer(b64decode(data), np.float32).reshape(dims) for p, dims, data in found["values"]}
        return pixels, ids, mask, arrays
