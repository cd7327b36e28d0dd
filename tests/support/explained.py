"""The page of `explain` in a browser: what goes wrong in it, and what a visitor sees."""

import base64
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason=f"there is no browser here: none of {', '.join(BROWSERS)}")
CAPTIONS = ["a cat", "</script><b>{{data}}&"]

# What goes wrong in the page, from its first line on; then what a visitor would do, and what came of it.
WATCH = """<script>
const wrong = [];
addEventListener("error", event => wrong.push(event.message));
addEventListener("securitypolicyviolation", event => wrong.push(event.violatedDirective));
for (const kind of ["error", "warn"]) console[kind] = text => wrong.push(text);
</script>"""
VISIT = """<script>
const seen = {}, surface = $("picture"), said = () => $("facts").textContent;
const point = (kind, row, column, type = "mouse") => {
  const box = surface.getBoundingClientRect();
  const clientX = box.left + (column + 0.5) / columns * box.width, clientY = box.top + (row + 0.5) / rows * box.height;
  surface.dispatchEvent(new PointerEvent(kind, {bubbles: true, pointerType: type, clientX, clientY}));
};
const press = key => surface.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const slide = (id, value) => { $(id).value = value; $(id).dispatchEvent(new Event("input")); };
const view = name => {
  const it = document.querySelector(`input[value=${name}]`);
  if (it) it.click();
  return it ? said() : "absent";
};
const color = (row, column) => [...paint.getImageData(column, row, 1, 1).data].join();
const BODY;
seen.wrong = wrong;
document.title = "SEEN" + JSON.stringify(seen).replace(/</g, "") + "NEES";
</script>"""


def visit(text, body, tmp_path, *, dark=False):
    """The page after `body`, which fills `seen`, has run in a browser, in light colours or dark ones."""
    file = tmp_path / "page.html"
    text = text.replace("<style>", WATCH + "<style>", 1)
    file.write_text(text.replace("</body>", VISIT.replace("const BODY;", body) + "</body>"), encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = subprocess.run(
        [*command, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    seen = re.search(r"<title>SEEN(.*?)NEES</title>", done.stdout, re.DOTALL)
    assert seen, done.stdout[-2000:]
    found = json.loads(seen[1].replace("&nbsp;", " ").replace("&amp;", "&").replace("&gt;", ">"))
    assert found.pop("wrong") == []
    return found


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def numbers(text, dtype):
    return np.frombuffer(base64.b64decode(text), dtype)


def visit_phone(text, body, tmp_path, address=""):
    """What `body` fills `seen` with, run around a frame of 390 px that holds the page as `page`, its document.

    A window of a browser is wider than a phone at least, a frame need not be.
    """
    (tmp_path / "framed.html").write_text(text, encoding="utf-8")
    frame = f'<iframe src="framed.html{address}" style="width: 390px; height: 844px; border: 0"></iframe>'
    script = f"""<script>onload = () => {{
      const seen = {{}}, page = document.querySelector("iframe").contentDocument;
      {body}
      document.title = "SEEN" + JSON.stringify(seen) + "NEES";
    }};</script>"""
    file = tmp_path / "phone.html"
    file.write_text(frame + script, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(re.search(r"<title>SEEN(.*?)NEES</title>", done.stdout, re.DOTALL)[1])
