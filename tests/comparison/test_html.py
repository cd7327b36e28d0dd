import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser

import numpy as np
import pytest

from aimv2_np import trace
from aimv2_np.comparison import compare
from aimv2_np.comparison.html import MOST_POINTS, page
from tests.comparison.test_forcing import INPUTS
from tests.support.planted import PLANTED, port

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

# What a visitor would do, at the end of which the page says what came of it.
VISIT = """
<script>
const dots = [...document.querySelectorAll("circle")], panel = document.getElementById("facts"), seen = [];
const first = document.querySelector("circle.first");
first.dispatchEvent(new Event("pointerenter")); seen.push(panel.textContent);
first.focus(); first.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true}));
seen.push(panel.textContent, String(document.activeElement === dots[dots.indexOf(first) + 1]));
document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key: "End", bubbles: true}));
seen.push(panel.textContent, document.querySelector("tr.now th").textContent);
seen.push(String(dots.filter(dot => dot.tabIndex === 0).length));
document.title = seen.join("|");
</script>
"""


class Parts(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def visited(text, script, tmp_path):
    """What a script leaves in the title of a page, the parts between bars."""
    file = tmp_path / "page.html"
    file.write_text(text.replace("</body>", script + "</body>"))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return re.search(r"<title>(.*?)</title>", done.stdout)[1].split("|")


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    reference = {f"encoder.layers.{i}.ffn": rng.standard_normal((1, 4, 8)).astype(np.float32) for i in range(6)}
    other = {path: array * np.float32(1 + 1e-7) for path, array in reference.items()}
    other["encoder.layers.3.ffn"] = other["encoder.layers.3.ffn"] + np.float32(0.1)
    other["encoder.layers.5.ffn"] = other["encoder.layers.5.ffn"][:, :2]
    return compare(reference, other)


def test_it_has_a_point_and_a_row_for_every_module(result):
    parts = Parts(page(result, "a", "b"))
    points = [attributes for tag, attributes in parts.tags if tag == "circle"]
    rows = [attributes["id"] for tag, attributes in parts.tags if tag == "tr" and "id" in attributes]
    assert str(result.coverage) in page(result, "a", "b")
    assert len(points) == len(rows) == 6
    assert [point["class"] for point in points] == ["good"] * 3 + ["first", "good", "bad"]
    assert [f"row-{point['data-row']}" for point in points] == rows
    assert all("encoder.layers." in point["aria-label"] for point in points)
    heights = [float(point["cy"]) for point in points]
    assert heights[3] < heights[0]  # larger errors stand higher
    assert heights[5] == min(heights)


def test_it_loads_nothing(result):
    text = page(result, "a", "b")
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|src=|@import|url\(|<link", text)


def test_names_cannot_break_out_of_it():
    name = '<script>alert("x")</script>{{rows}}&'
    text = page(compare({name: np.ones(3)}, {name: np.zeros(3)}), name, name)
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;{{rows}}&amp;") >= 3


def test_equal_sides_and_single_numbers():
    text = page(compare({"x": np.ones(())}, {"x": np.ones(())}), "a", "b")
    assert "the same" in text
    assert text.count("<circle") == 1


def test_many_modules_are_thinned_out_but_for_the_worst():
    count = 2 * MOST_POINTS
    reference = {f"m{i}": np.ones(1) for i in range(count)}
    other = reference | {f"m{count - 1}": np.zeros(1)}
    text = page(compare(reference, other), "a", "b")
    assert text.count("<circle") <= MOST_POINTS + 6
    assert text.count('class="first"') == 1
    assert text.count('<tr id="row-') == count


def test_what_matters_stands_at_the_top():
    model, given = INPUTS["vision"][0](), INPUTS["vision"][1]
    with trace(model, inner=False) as activations:
        model(**given)
    reference = {"inputs/pixel_values": given["pixel_values"]} | activations
    text = page(compare(reference, port(PLANTED["no scale, learned"], 1)(model).run(**given), model=model), "a", "b")
    top = text.partition("<svg")[0]
    assert re.findall(r"<dt>(.*?)</dt>", top) == ["compared", "first", "cause", "change", "wrong by themselves"]
    assert "<strong>encoder.layers.1.attention.out_proj</strong>: relative error" in top
    assert "<strong>missing_scale</strong>: encoder.layers.1.attention leaves out the scale" in top
    assert "explains 100 % of the difference" in top
    assert 'value="0.' in top
    assert "<details><summary>in sentences" in text
    assert "<details open><summary>in sentences" in page(
        compare(reference, {"rms_norm": np.ones((2, 9, 16))}), "a", "b"
    )


WIDTHS = """
<script>
const root = document.documentElement;  // `chart` is the page's own
const shown = [...chart.querySelectorAll("text")].filter(text => getComputedStyle(text).display !== "none");
const boxes = shown.map(text => text.getBoundingClientRect()), below = document.querySelector(".legend");
const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const over = shown.filter((_, i) => boxes.some((box, j) => j !== i && meet(box, boxes[i])) ||
  boxes[i].left < 0 || boxes[i].right > innerWidth || boxes[i].bottom > below.getBoundingClientRect().top);
const sizes = shown.map(text => parseFloat(getComputedStyle(text).fontSize) * chart.clientWidth / 1000);
parent.document.title = [innerWidth, root.scrollWidth, Math.min(...sizes), Math.max(...sizes), shown.length,
  over.map(text => text.textContent)].join("|");
</script>
"""


@pytest.fixture
def deep():
    """Of 24 layers, with errors from 1e-12 to 10: labels everywhere."""
    reference = {f"encoder.layers.{i}.{part}": np.ones(3) for i in range(24) for part in ("attention", "ffn")}
    errors = np.logspace(-12, 1, len(reference))
    return compare(reference, {path: 1 + error * np.arange(3) for path, error in zip(reference, errors, strict=True)})


@pytest.mark.skipif(BROWSER is None, reason=f"there is no browser here: none of {', '.join(BROWSERS)}")
@pytest.mark.parametrize("width", [320, 390, 720, 1280])
def test_it_fits_its_window_and_can_be_read(deep, tmp_path, width):
    """Text of the chart has nine points, which are twelve pixels, and none stands on another."""
    inner = escape(page(deep, "a" * 80, "b" * 80).replace("</body>", WIDTHS + "</body>"))
    frame = f'<body><iframe srcdoc="{inner}" style="border: 0; width: {width}px; height: 900px"></iframe></body>'
    found = visited(f"<title></title>{frame}", "", tmp_path)  # no window is so narrow
    assert found[0] == str(width)
    assert int(found[1]) <= width
    assert 12 <= float(found[2]) <= float(found[3]) < 14
    assert int(found[4]) > 12
    assert found[5] == ""


@pytest.mark.skipif(BROWSER is None, reason=f"there is no browser here: none of {', '.join(BROWSERS)}")
def test_in_a_browser(result, tmp_path):
    hovered, moved, focused, last, row, stops = visited(page(result, "a", "b"), VISIT, tmp_path)
    assert hovered.startswith("encoder.layers.3.ffn; relative error 0.1")
    assert moved.startswith("encoder.layers.4.ffn")
    assert focused == "true"
    assert last.startswith("encoder.layers.5.ffn: theirs has the shape")
    assert row == "encoder.layers.5.ffn"
    assert stops == "1"
