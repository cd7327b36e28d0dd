"""The live page in a real browser: its numbers are Python's, and it is what a reader may expect of a page."""

import itertools
import json
import unicodedata
from urllib.parse import urlsplit

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimv2_np import Aimv2Model, Aimv2Processor, trace
from aimv2_np.data import tiny_model_path
from aimv2_np.data.grammar import JOINTS, OPENINGS, SIZE_WORDS, paraphrase
from aimv2_np.data.world import COLORS, HELD_OUT, SEEN, SHAPES, random_scene
from aimv2_np.viz.features import patch_colors
from tests.support.explained import needs_browser
from tests.support.live import Visit, opened_browser, serving

pytest.importorskip("playwright", reason="the page is visited with playwright: pip install playwright")
pytestmark = needs_browser
MOST_BYTES = 12_000_000
CLOSE = 1e-4
BREAKS = ("norm", "positions", "residual", "softmax", "scale", "gate", "causal")


@pytest.fixture(scope="module")
def address(site):
    """Where the site is served, as any server of files does it."""
    with serving(site) as address:
        yield f"{address}/live.html"


@pytest.fixture(scope="module")
def browser():
    with opened_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def visit(browser, address):
    return Visit(browser, address)


@pytest.fixture(autouse=True)
def nothing_goes_wrong(request):
    yield
    if "visit" in request.fixturenames:
        assert request.getfixturevalue("visit").wrong == []


@pytest.fixture(scope="module")
def loaded():
    return tuple(kind.from_pretrained(tiny_model_path()) for kind in (Aimv2Model, Aimv2Processor))


def expected(model, processor, pixels, ids, mask):
    """What Python computes of the same: path → array."""
    with trace(model) as values:
        output = model(ids, processor(images=[pixels])["pixel_values"], mask)
    return {**values, "logits_per_image": output.logits_per_image}


def assert_close(got, wanted):
    """To 1e-4 of a value's largest number; a softmax turns what scores are rounded by into so much of a probability."""
    score = max(float(abs(array).max()) for path, array in got.items() if path.endswith("scores"))
    for path, array in got.items():
        other = np.broadcast_to(wanted[path], array.shape)
        most = max(1, abs(other).max())
        assert abs(array - other).max() <= most * max(CLOSE, 8 * np.finfo(np.float32).eps * score), path
    return score


def draw_something(visit):
    """A ring, a heart by hand of the keys, and a line."""
    page, box = visit.page, visit.part("picture").bounding_box()
    visit.part("empty").click()
    visit.part("tool").select_option("ring")
    page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"])
    visit.part("tool").select_option("line")
    visit.part("color").select_option("green")
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.8 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 0.7 * box["height"], steps=4)
    page.mouse.up()
    visit.settle()


@pytest.mark.parametrize("picture", [1, 6, None])
def test_every_value_is_python_s(picture, visit, loaded):
    visit.choose("")
    if picture:
        visit.part("samples").locator("button").nth(picture).click()
        visit.settle()
    else:
        draw_something(visit)
    pixels, ids, mask, got = visit.values()
    assert len(got) > 140
    assert assert_close(got, expected(*loaded, pixels, ids, mask)) < 100  # no score that would allow for more than 1e-4


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_equation_gives_what_python_computes_with_it(name, visit, loaded):
    from docs.extensions.broken import BREAKS as KNOWN
    from docs.extensions.broken import broken

    assert [it.name for it in KNOWN] == list(BREAKS)
    model, processor = loaded
    forwards = next(it.forwards for it in KNOWN if it.name == name)
    changed = Aimv2Model.around(model.config, broken(model.network, forwards))
    visit.choose(name)
    pixels, ids, mask, got = visit.values()
    visit.choose("")
    if name == "norm":  # without it numbers grow from block to block, and what they are rounded by grows with them
        got = {path: array for path, array in got.items() if "layers.0" in path}
    assert len(got) > 30
    assert_close(got, expected(changed, processor, pixels, ids, mask))


def test_colours_of_features_are_those_of_patch_colors(visit):
    arrays = visit.values()[3]
    for layer in range(4):
        stream = arrays[f"vision_model.encoder.layers.{layer}"][0]
        got = visit.ask(f"""
          const {{colorsOf}} = await import(new URL("_static/live/components.js", location));
          return [...colorsOf(found.values.get("vision_model.encoder.layers.{layer}").data, 64)];
        """)
        assert abs(np.array(got).reshape(64, 3) - 255 * patch_colors([stream])[0]).max() <= 0.51


def texts_of_the_grammar():
    """All that is said of one thing, in every wording; each pair of neighbours of two things; and whole captions."""
    sizes = ["", *itertools.chain(*SIZE_WORDS.values())]
    adjectives = [" ".join(filter(None, pair)) for pair in itertools.product(sizes, ["", *COLORS])]
    nouns = [" ".join(filter(None, pair)) for pair in itertools.product(adjectives, [*SHAPES, "thing"])]
    nouns = [f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}" for noun in nouns]
    nouns += [f"something {it}".strip() for it in adjectives]
    single = [opening + noun for opening in sorted(set(OPENINGS)) for noun in nouns]
    joints = sorted(set(itertools.chain(*JOINTS.values())))
    double = [f"{noun} {joint} {nouns[-1 - i]}" for i, noun in enumerate(nouns) for joint in joints]
    rng = np.random.default_rng(0)
    whole = [paraphrase(random_scene(rng, pairs, 2), rng) for pairs in (SEEN, HELD_OUT) for _ in range(500)]
    return single + double + whole


def ids_of(visit, texts):
    """The ids that the page's tokenizer gives."""
    file = (tiny_model_path() / "tokenizer.json").read_text(encoding="utf-8")
    return visit.ask(f"""
      const {{tokenizerOf}} = await import(new URL("_static/live/tokenizer.js", location));
      const tokenizer = tokenizerOf({file});
      return {json.dumps(texts)}.map(text => tokenizer.encode(text).tokens.map(it => it.id));
    """)


def test_the_tokenizer_is_ours_on_what_the_grammar_says(visit, loaded):
    texts = texts_of_the_grammar()
    assert len(texts) > 5000
    expected = [it.ids for it in loaded[1].tokenizer.backend.encode_batch(texts)]
    assert [text for text, ids, own in zip(texts, ids_of(visit, texts), expected, strict=True) if ids != own] == []


# Letters that every version of Unicode since 3.2 knows: newer ones one side may know and the other not.
LETTERS = st.characters(codec="utf-8").filter(lambda it: unicodedata.ucd_3_2_0.category(it) != "Cn")
ODD = ("red", "'s", "'RE", "<|endoftext|>", "<|STARTOFTEXT|>", "ΟΔΟΣ", "İ", "e\u0301", "\u2003", "\ufeff", "\x85")
TEXTS = st.lists(LETTERS | st.sampled_from(ODD), max_size=12).map("".join)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS, min_size=20, max_size=60))
def test_the_tokenizer_is_ours_on_any_text(visit, loaded, texts):
    assert ids_of(visit, texts) == [it.ids for it in loaded[1].tokenizer.backend.encode_batch(texts)]


def test_every_box_and_every_value_has_an_equation_with_code_and_test(visit):
    page, panel = visit.page, visit.part("panel")
    boxes = visit.part("drawing").locator("a")
    for i in range(boxes.count()):
        boxes.nth(i).dispatch_event("click")
        assert panel.locator("math").count() > 0
        assert panel.locator("a[href*='code/']").count() > 0, boxes.nth(i).get_attribute("aria-label")
    paths = visit.ask("return [...found.values.keys()];")
    seen = page.evaluate(
        """paths => paths.map(path => {
      const part = name => document.querySelector(`#live [data-part=${name}]`);
      part("value").value = path;
      part("value").dispatchEvent(new Event("change"));
      return [part("path").textContent, part("equations").querySelectorAll("math").length > 0,
        [...part("equations").querySelectorAll("a[href*='code/']")].some(it => it.href.includes("#L-")),
        !part("there").hidden];
    })""",
        paths,
    )
    assert seen == [[path, True, True, True] for path in paths]


def test_the_number_that_is_shown_is_the_value_s(visit):
    path = "vision_model.encoder.layers.1.ffn.up_proj"
    visit.part("value").select_option(path)
    visit.part("cells").focus()
    for key in ("Home", "PageUp", "ArrowDown", "ArrowDown", "ArrowRight"):
        visit.page.keyboard.press(key)
    said = visit.part("cell").inner_text()
    value = visit.values()[3][path]
    assert said.startswith("Row 2, column 1: ")
    assert np.float32(said.split(": ")[1].rstrip(".")) == value[0, 2, 1]
    assert visit.part("shape").inner_text() == "(B, N, F) = (1, 64, 352)"
    assert f'values["{path}"][0, 2]' in visit.part("python").inner_text()


def test_breaking_an_equation_marks_what_it_changes_and_nothing_before(visit):
    marked = "#live g.wrong > a[aria-label^='{}:']"
    visit.choose("causal")
    assert visit.page.locator(marked.format("text_model.embeddings.token_embedding")).count() == 0
    assert visit.page.locator(marked.format("vision_model.head.k_proj")).count() == 0
    assert visit.page.locator(marked.format("text_projection")).count() > 0
    assert " → " in visit.part("captions").inner_text()
    assert "(16)" in visit.part("instead").inner_text()
    visit.choose("")
    assert visit.page.locator("#live g.wrong").count() == 0
    assert " → " not in visit.part("captions").inner_text()


def test_it_can_be_used_with_keys_alone(visit):
    page = visit.page
    before = visit.values()[0]
    visit.part("picture").focus()
    for key in ("ArrowLeft", "ArrowUp", "Shift+ArrowUp", "Enter"):
        page.keyboard.press(key)
    visit.settle()
    assert (visit.values()[0] != before).any()
    visit.part("undo").focus()
    page.keyboard.press("Enter")
    visit.settle()
    assert (visit.values()[0] == before).all()
    caption = visit.part("captions").locator("input").first
    caption.fill("")
    caption.type("a green ring")
    visit.settle()
    tokens = visit.ask("return found.texts.rows[0].tokens.map(it => it.token);")
    assert tokens[1:-1] == ["a</w>", "green</w>", "ring</w>"]
    visit.part("field").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert "column 1" in visit.part("facts").inner_text()
    box = visit.part("drawing").locator("a[aria-label$='ffn.gate_proj: equation 1']").first
    for key in ("Enter", " "):
        visit.part("value").select_option("logits_per_text")
        box.focus()
        page.keyboard.press(key)
        assert visit.part("path").inner_text().endswith("ffn.gate_proj")
        assert visit.ask("return document.activeElement.dataset.part;") == "panel"
    visit.part("layer").focus()
    page.keyboard.press("Home")
    assert ".layers.0." in visit.part("path").inner_text()
    # All that can be used is reached by the Tab key, and says what it is.
    unnamed = page.evaluate("""() => [...document.querySelectorAll("#live :is(button, input, select, [tabindex])")]
      .filter(it => !(it.getAttribute("aria-label") || it.labels?.length || it.textContent.trim()))
      .map(it => it.outerHTML)""")
    assert unnamed == []


def test_nothing_came_from_elsewhere_and_it_is_small(visit, address):
    assert {urlsplit(url).netloc for url in visit.loaded} == {urlsplit(address).netloc}
    assert len(visit.loaded) > 20
    assert sum(visit.loaded.values()) <= MOST_BYTES


def test_what_is_asked_for_comes_into_sight(visit):
    visit.page.evaluate("scrollTo(0, 0)")
    visit.part("drawing").locator("a").first.click()
    seen = "document.querySelector('#live [data-part=panel]').getBoundingClientRect().top"
    visit.page.wait_for_function(f"{seen} >= 0 && {seen} < 0.8 * innerHeight")  # the site scrolls smoothly


def test_texts_that_are_no_captions(visit):
    first = visit.part("captions").locator("li").first
    for text in ("", "  ", "🙂🙂", "<b>red</b>", "\x00", "ＲＥＤ", "a" * 1000):
        first.locator("input").fill(text)
        visit.settle()
        assert "%" in first.inner_text()
        assert "NaN" not in first.inner_text()


def test_many_captions_and_one_that_is_too_long(visit):
    visit.part("add").click()
    last = visit.part("captions").locator("li").last
    last.locator("input").fill("red " * 30)
    visit.settle()
    assert "It has 32 tokens" in last.inner_text()
    last.locator("button").click()
    visit.settle()
    assert visit.part("captions").locator("li").count() == 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(scheme, browser, address):
    visit = Visit(browser, address, 390, scheme)
    wide, back, text = visit.page.evaluate("""() => {
      const [back, text] = [document.body, document.getElementById("live")].map(it => getComputedStyle(it));
      return [document.documentElement.scrollWidth, back.backgroundColor, text.color];
    }""")
    assert wide <= 390
    light = [sum(map(int, it.strip("rgb()").split(","))) > 384 for it in (back, text)]
    assert light == ([True, False] if scheme == "light" else [False, True])
    visit.part("samples").locator("button").nth(3).click()
    visit.settle()
    assert visit.wrong == []
    visit.context.close()
