"""Pages at the width of a phone, 390 px, in a real browser; notebooks as a reader gets them."""

import json
import re
import subprocess
from urllib.parse import unquote

import pytest

from tests.site.test_search import BROWSER, BROWSERS

MEASURE = """<pre id="out"></pre><script>
window.onload = () => {
  const wide = {};
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, formulas = [...page.querySelectorAll(".formula")];
    const over = formulas.filter((it) => it.scrollWidth > it.clientWidth + 1);
    wide[frame.id] = [formulas.length, over.map((it) => it.textContent), page.documentElement.scrollWidth];
  }
  document.getElementById("out").textContent = encodeURIComponent(JSON.stringify(wide));
};
</script>"""


@pytest.fixture(scope="session")
def measured(site, pages, tmp_path_factory):
    """Page -> how many equations it has, those that are wider than their place, the width of the page."""
    if BROWSER is None:
        pytest.skip(f"there is no browser here: none of {', '.join(BROWSERS)}")
    names = [it for it in pages if pages[it].all("math") or it in ("index.html", "questions.html", "pretraining.html")]
    frames = [f'<iframe id="{it}" src="{it}" style="width: 390px; height: 844px; border: 0"></iframe>' for it in names]
    page = site / "phone-test.html"
    page.write_text("".join(frames) + MEASURE, encoding="utf-8")
    profile = tmp_path_factory.mktemp("profile")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    page.unlink()
    return json.loads(unquote(re.search(r'id="out">([^<]+)', done.stdout)[1]))


def test_no_equation_scrolls_sideways(measured):
    assert measured["equations.html"][0] > 20
    assert not {name: over for name, (_, over, _) in measured.items() if over}


def test_the_first_screen_of_the_index_says_what_one_can_do(site):
    text = (site / "index.html").read_text(encoding="utf-8").split("<article", 1)[1]
    assert text.index("I want to") < text.index("<img")


def test_notebooks_can_be_downloaded(site):
    paths = sorted((site / "notebooks").glob("*.html"))
    assert paths
    for path in paths:
        text = path.read_text(encoding="utf-8")
        link = re.search(r'<a href="([^"]+)" download="([^"]+[.]ipynb)">', text)
        assert json.loads((path.parent / link[1]).read_text(encoding="utf-8"))["cells"]


FRAME = """<iframe src="explain.html" style="width: 390px; height: 844px; border: 0"></iframe>
<pre id="out"></pre><script>
window.onload = async () => {
  const site = document.querySelector("iframe").contentDocument, frame = site.querySelector("iframe.page"), seen = {};
  frame.loading = "eager";
  while (frame.contentDocument.readyState !== "complete" || !frame.contentDocument.getElementById("facts"))
    await new Promise(requestAnimationFrame);
  const page = frame.contentDocument, width = page.documentElement;
  seen.wide = [width.scrollWidth <= width.clientWidth, site.documentElement.scrollWidth <= 390];
  seen.says = page.getElementById("facts").textContent; seen.open = !page.getElementById("computation").hidden;
  seen.words = page.querySelectorAll("#tokens span").length;
  for (const theme of ["dark", "light"]) {
    site.body.dataset.theme = theme;
    await new Promise(requestAnimationFrame);
    seen[theme] = frame.contentWindow.getComputedStyle(page.body).backgroundColor;
  }
  document.getElementById("out").textContent = encodeURIComponent(JSON.stringify(seen));
};
</script>"""


def test_a_page_of_explain_stands_in_the_page_about_it(site, tmp_path):
    """Of the embedded model, opened at a computation, on a phone; light or dark as the site is."""
    if BROWSER is None:
        pytest.skip(f"there is no browser here: none of {', '.join(BROWSERS)}")
    assert (site / "_static" / "explanation.html").stat().st_size < 5_000_000
    page = site / "frame-test.html"
    page.write_text(FRAME, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    page.unlink()
    seen = json.loads(unquote(re.search(r'id="out">([^<]+)', done.stdout)[1]))
    assert seen["wide"] == [True, True]
    assert seen["says"].startswith("Patch row 1, column 5, held.")
    assert (seen["open"], seen["words"]) == (True, 12)
    assert (seen["dark"], seen["light"]) == ("rgb(13, 17, 23)", "rgb(255, 255, 255)")


def test_the_code_of_figures_is_folded_and_no_other(site):
    folded = []
    for path in (site / "_sources" / "notebooks").glob("*.txt"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            code = "".join(cell["source"])
            if "hide-input" in cell["metadata"].get("tags", []):
                folded.append(path.name)
                assert not re.search(r"^\s*(assert|import|from|def|class) ", code, re.MULTILINE)
                assert any(it.get("data") for it in cell["outputs"]), code  # there is a figure to see
    assert len(set(folded)) > 5
