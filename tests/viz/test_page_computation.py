"""The computation behind a cell and the words of captions, in a browser: numbers, keys, phone, dark mode, address."""

import numpy as np
import pytest

from aimv2_np import Aimv2ImageProcessor, Aimv2VisionModel, trace
from aimv2_np.viz import explanation_page, text_attention
from aimv2_np.viz import page as module
from aimv2_np.viz.page import MOST_BYTES
from tests.support.explained import data_of, needs_browser, visit, visit_phone
from tests.support.pictures import photo
from tests.support.two_towers import vision_config

CAPTIONS = ["a photo of a cat", "two dogs"]
OPEN = (
    "#row=1&column=0&layer=1&head=1&view=attention&held=1&keyrow=1&keycolumn=2&wordheld=1&word=3&wordkey=1&texthead=0"
)
# What is computed of one cell, and the text of a panel.
READ = """
const of = (source, layer, head, i, j, temperature) => {
  const it = compute(source, layer, head, i, j, temperature);
  for (const name of ["q", "k", "v", "terms", "brings", "output"]) it[name] = [...it[name]];
  return it;
};
const shown = id => $(id).hidden ? null : $(id).innerText;
const type = key => $("tokens").dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
const touch = (kind, n) =>
  $("tokens").children[n].dispatchEvent(new PointerEvent(kind, {bubbles: true, pointerType: "mouse"}));
"""
# Text that is smaller than 9 pt, or that has little contrast with what is behind it.
HARD_TO_READ = """
  const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => { const f = x => (x /= 255) <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
  const style_of = it => page.defaultView.getComputedStyle(it);
  seen.small = []; seen.pale = [];
  for (const it of page.querySelectorAll("body *")) {
    const words = [...it.childNodes].filter(node => node.nodeType === 3).map(node => node.textContent.trim()).join("");
    if (!words || !it.getClientRects().length || it.closest(".off, script")) continue;
    const style = style_of(it);
    let behind = it;
    while (behind && rgb(style_of(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const [a, b] = [style.color, style_of(behind || page.body).backgroundColor].map(rgb).map(light);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (parseFloat(style.fontSize) < 12) seen.small.push(words + ": " + style.fontSize);
    if (contrast < 4.5 && it.tagName !== "OPTION") seen.pale.push(words + ": " + contrast.toFixed(1));
  }
"""


@pytest.fixture(scope="module")
def page(loaded):
    return explanation_page(*loaded, photo(20, 30), CAPTIONS)


@pytest.fixture(scope="module")
def traced(loaded):
    """q, k, v, scores and probs of every layer of the vision tower, for the picture of the page."""
    model, processor = loaded
    with trace(model.vision_model, "encoder.layers.*.attention.*") as activations:
        model.vision_model(processor(images=photo(20, 30))["pixel_values"])
    return activations


def same(seen, arrays, i, j, size):
    """What the browser computed of query i and key j is what `arrays` say: of 16 bits, up to steps of 1/32767."""
    q, k, v, scores = (arrays[name] for name in ("q", "k", "v", "scores"))
    probs = arrays["probs"]
    close = {"rtol": 1e-3, "atol": 1e-3 * max(1, abs(scores).max())}
    for name, expected in (("q", q[i]), ("k", k[j]), ("v", v[j]), ("terms", q[i] * k[j])):
        np.testing.assert_allclose(seen[name], expected, atol=2e-4 * max(1, abs(expected).max()))
    assert seen["d"] == size
    np.testing.assert_allclose(seen["score"], scores[i, j], **close)
    np.testing.assert_allclose(seen["scores"], scores[i, : len(seen["scores"])], **close)
    np.testing.assert_allclose(seen["probability"], probs[i, j], **close)
    output = probs[i] @ v
    np.testing.assert_allclose(seen["output"], output, **close)
    np.testing.assert_allclose(seen["brings"], probs[i, j] * v[j], **close)
    np.testing.assert_allclose(seen["long"], np.linalg.norm(probs[i, j] * v[j]), **close)
    np.testing.assert_allclose(seen["length"], np.linalg.norm(output), **close)
    np.testing.assert_allclose(seen["along"], probs[i, j] * v[j] @ output / (output @ output), rtol=2e-3, atol=2e-3)
    assert seen["rank"] == 1 + (scores[i, : len(seen["scores"])] > scores[i, j]).sum()


@needs_browser
def test_a_cell_is_computed_as_the_model_does(page, traced, tmp_path):
    seen = visit(
        page, READ + "seen.cell = of(ofPatches, 1, 1, 3, 5); seen.other = of(ofPatches, 0, 0, 0, 0);", tmp_path
    )
    for name, layer, head, i, j in (("cell", 1, 1, 3, 5), ("other", 0, 0, 0, 0)):
        names = ("q", "k", "v", "scores", "probs")
        arrays = {it: traced[f"encoder.layers.{layer}.attention.{it}"][0, head] for it in names}
        same(seen[name], arrays, i, j, 8)
    error = data_of(page)["computations"]["error"]
    expected = traced["encoder.layers.1.attention.scores"][0, 1, 3]
    assert abs(np.array(seen["cell"]["scores"]) - expected).max() <= error + 1e-5  # the model computes in float32


@needs_browser
def test_words_are_computed_as_the_model_does(page, loaded, tmp_path):
    model, processor = loaded
    body = """
    const {source, words} = captions[1];
    seen.cell = of(source, 0, 1, 2, 1); seen.row = [...wordRow(words, 0, 1, 2)];
    seen.mean = [...wordRow(words, 0, MEAN, 3)];
    """
    seen = visit(page, READ + body, tmp_path)
    ids = processor(text=[CAPTIONS[1]])["input_ids"]
    with trace(model.text_model, "encoder.layers.*.attention.*") as activations:
        model.text_model(ids)
    names = ("q", "k", "v", "scores", "probs")
    same(seen["cell"], {it: activations[f"encoder.layers.0.attention.{it}"][0, 1] for it in names}, 2, 1, 6)
    weights = text_attention(model, ids)[0]
    np.testing.assert_allclose(seen["row"], weights[1, 2], atol=0.51 / 255)
    np.testing.assert_allclose(seen["mean"], weights.mean(axis=0)[3], atol=0.51 / 255)


@needs_browser
def test_a_temperature_divides_the_scores(page, traced, tmp_path):
    seen = visit(page, READ + "seen.cell = of(ofPatches, 1, 1, 3, 5, 10);", tmp_path)
    scores = traced["encoder.layers.1.attention.scores"][0, 1, 3].astype(np.float64) / 10
    parts = np.exp(scores - scores.max())
    assert seen["cell"]["probability"] == pytest.approx(parts[5] / parts.sum(), abs=1e-3)


@needs_browser
def test_a_visit_to_the_computation(page, tmp_path):
    body = """
    slide("layer", 1); slide("head", 1); seen.closed = shown("computation");
    point("pointermove", 1, 0); point("click", 1, 0); point("pointermove", 1, 2); seen.cell = $("cell").textContent;
    seen.mark = $("key-mark").hidden; point("click", 1, 2); seen.open = shown("computation"); seen.held = said();
    seen.bars = ["q", "k", "terms", "v", "output"].map(it => 
      $("computation").querySelectorAll(`[data-part=${it}] rect`).length);
    seen.ticks = $("computation").querySelectorAll("[data-part=scores] line").length;
    const slider = $("computation").querySelector("input"); slider.value = 10; slider.dispatchEvent(new Event("input"));
    seen.warm = shown("computation"); seen.labels = slider.labels.length;
    slide("head", 0); seen.head = shown("computation"); slide("head", -1); seen.mean = shown("computation");
    $("computation").querySelectorAll("[data-part=choices] button")[1].click(); seen.chosen = $("head").value;
    point("click", 1, 2); seen.again = shown("computation"); point("click", 0, 1); seen.another = shown("computation");
    view("rollout"); seen.rollout = shown("computation"); view("attention");
    $("computation").querySelector("[data-part=close]").click(); seen.shut = shown("computation");
    $("pin").click(); seen.free = $("key-mark").hidden;
    point("pointerdown", 0, 0, "touch"); point("click", 0, 0, "touch"); $("pin").click();
    point("pointerdown", 1, 1, "touch"); point("click", 1, 1, "touch"); seen.touched = shown("computation");
    """
    seen = visit(page, READ + body, tmp_path)
    assert seen["closed"] is None
    assert seen["cell"].startswith("It gives row 1, column 2 ")
    assert seen["mark"] is False
    assert "How row 1, column 0 comes to look at row 1, column 2 in layer 1, head 1" in seen["open"]
    assert "/ √8 = " in seen["open"]
    assert " of 6 scores; the highest is " in seen["open"]
    assert "numbers of 16 bits; scores are off by at most 0.00" in seen["open"]
    assert seen["held"].startswith("Patch row 1, column 0, held.")
    assert (seen["bars"], seen["ticks"]) == ([8] * 5, 7)  # six scores, and this one once more
    assert ") / 10) = " in seen["warm"]
    assert seen["labels"] == 1
    assert "in layer 1, head 0" in seen["head"]
    assert "Each head computes attention of its own. Choose one:" in seen["mean"]
    assert seen["chosen"] == "1"
    assert seen["again"] is None
    assert "comes to look at row 0, column 1" in seen["another"]
    assert seen["rollout"] is None
    assert (seen["shut"], seen["free"]) == (None, True)
    assert "How row 0, column 0 comes to look at row 1, column 1" in seen["touched"]


@needs_browser
def test_the_computation_by_keys(page, tmp_path):
    body = """
    slide("head", 1); point("pointermove", 0, 0);
    press("Enter"); press("ArrowRight"); seen.moved = $("cell").textContent; seen.closed = shown("computation");
    press("Enter"); seen.open = shown("computation"); press("ArrowDown"); seen.follows = shown("computation");
    press("Escape"); seen.shut = [shown("computation"), state.held]; press("Escape"); seen.free = state.held;
    type("Home"); type("ArrowRight"); type("ArrowRight"); seen.word = $("word-facts").textContent;
    type("Enter"); type("ArrowLeft"); type("Enter"); seen.mean = shown("word-computation");
    slide("text-head", 0); seen.words = shown("word-computation");
    type("End"); seen.later = [$("word-cell").textContent, shown("word-computation")];
    type("Escape"); type("Escape"); seen.let_go = $("word-pin").textContent;
    seen.reach = [$("picture").tabIndex, $("tokens").tabIndex];
    """
    seen = visit(page, READ + body, tmp_path)
    assert seen["moved"].startswith("It gives row 0, column 1 ")
    assert seen["closed"] is None
    assert "How row 0, column 0 comes to look at row 0, column 1" in seen["open"]
    assert "comes to look at row 1, column 1" in seen["follows"]
    assert seen["shut"] == [None, True]
    assert seen["free"] is False
    assert seen["word"].startswith("Word “photo”. In layer 0 of the text tower, all heads on average look most at “")
    assert "Choose one:" in seen["mean"]
    assert "How “photo” comes to look at “a” in layer 0, head 0" in seen["words"]
    assert " of 3 scores" in seen["words"]  # what comes later is not among them
    assert seen["later"] == ["“|endoftext|>” comes later: it is not seen.", None]
    assert seen["let_go"] == "Hold this word"
    assert seen["reach"] == [0, 0]


@needs_browser
def test_a_visit_to_the_words(page, loaded, tmp_path):
    model, processor = loaded
    body = """
    const read = () => [...$("tokens").children].map(it => it.lastChild.textContent);
    seen.tokens = [...$("tokens").children].map(it => it.firstChild.textContent); seen.first = read();
    touch("pointermove", 2); seen.hovered = read(); slide("text-head", 1); seen.head = read();
    seen.colors = [...$("tokens").children].map(it => it.style.background);
    touch("click", 2); touch("pointermove", 4); seen.held = read(); touch("pointermove", 1);
    seen.cell = $("word-cell").textContent;
    touch("click", 1); seen.open = shown("word-computation");
    $("fits").querySelectorAll("button")[1].click();
    seen.second = [...$("tokens").children].map(it => it.firstChild.textContent);
    const box = triangles.getBoundingClientRect();
    triangles.dispatchEvent(new MouseEvent("click", {bubbles: true, clientX: box.right - 1, clientY: box.top + 1}));
    seen.chosen = [$("text-layer").value, $("text-head").value]; seen.size = [triangles.width, triangles.height];
    const T = captions[1].words.count, cell = pen.getImageData(0, 0, T, T).data;
    seen.alpha = [...Array(T * T).keys()].map(n => cell[4 * n + 3]);
    const later = []; window.setInterval = f => { later.push(f); return 7; };
    $("text-play").click(); later[0](); seen.played = $("text-layer").value; seen.says = $("text-play").textContent;
    """
    seen = visit(page, READ + body, tmp_path)
    weights = text_attention(model, processor(text=[CAPTIONS[0]])["input_ids"])[0]
    assert seen["tokens"] == ["|startoftext|>", "a", "photo", "of", "a", "cat", "|endoftext|>"]  # the test takes < out

    def shares(row, i):
        return [("not yet" if j > i else pytest.approx(row[j], abs=0.011)) for j in range(7)]

    def numbers(texts):
        return [text if text == "not yet" else float(text.removesuffix(" %")) / 100 for text in texts]

    assert numbers(seen["first"]) == shares(weights.mean(axis=0)[6], 6)  # the end's, which stands for the caption
    assert numbers(seen["hovered"]) == shares(weights.mean(axis=0)[2], 2)
    assert numbers(seen["head"]) == shares(weights[1, 2], 2)
    assert [bool(it) for it in seen["colors"]] == [True] * 3 + [False] * 4
    assert seen["held"] == seen["head"]
    assert seen["cell"].startswith("It gives “a” ")
    assert "How “photo” comes to look at “a” in layer 0, head 1" in seen["open"]
    assert seen["second"] == ["|startoftext|>", "two", "dogs", "|endoftext|>"]
    assert seen["chosen"] == ["0", "1"]
    assert seen["size"] == [3 * 5, 5]
    assert seen["alpha"] == [255 if j <= i else 0 for i in range(4) for j in range(4)]
    assert (seen["played"], seen["says"]) == ("0", "Stop")


@needs_browser
def test_the_address_opens_computations(page, tmp_path):
    body = f"""
    seen.closed = [shown("computation"), shown("word-computation")];
    location.hash = "{OPEN}"; fromAddress(); draw(); seen.open = [shown("computation"), shown("word-computation")];
    const later = []; window.setTimeout = f => later.push(f); set({{softness: 3}}); later.at(-1)();
    seen.address = location.hash;
    location.hash = "#held=1&keyrow=9&keycolumn=0&wordkey=99&word=-2&texthead=2&textlayer=1&softness=11";
    fromAddress(); draw();
    seen.same = [state.key, state.wordKey, state.word, state.textHead, state.textLayer, state.softness];
    """
    seen = visit(page, READ + body, tmp_path)
    assert seen["closed"] == [None, None]
    assert "How row 1, column 0 comes to look at row 1, column 2" in seen["open"][0]
    assert "How “of” comes to look at “a” in layer 0, head 0" in seen["open"][1]
    expected = dict(it.split("=") for it in OPEN[1:].split("&")) | {"softness": "3", "caption": "0", "warmth": "0"}
    assert dict(it.split("=") for it in seen["address"][1:].split("&")) == expected
    assert seen["same"] == [5, 1, 3, 0, 0, 3]  # what makes no sense is passed over


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_it_can_be_read_in_both_modes(page, dark, tmp_path):
    body = f"location.hash = '{OPEN}'; fromAddress(); draw(); const page = document;" + HARD_TO_READ
    seen = visit(
        page, body + "seen.ground = light(rgb(getComputedStyle(document.body).backgroundColor));", tmp_path, dark=dark
    )
    assert (seen["small"], seen["pale"]) == ([], [])
    assert seen["ground"] < 0.02 if dark else seen["ground"] > 0.9


@needs_browser
def test_on_a_phone_nothing_scrolls_sideways(page, tmp_path):
    body = (
        """
    seen.wide = page.documentElement.scrollWidth;
    const box = it => it.getBoundingClientRect(), top = id => box(page.getElementById(id)).top;
    seen.over = [...page.querySelectorAll("body *")].filter(it => box(it).right > 391).map(it => it.id || it.tagName);
    seen.below = top("computation") < top("views");
    const buttons = [...page.querySelectorAll("#tokens span, button")].filter(it => it.getClientRects().length);
    seen.tall = Math.min(...buttons.map(it => box(it).height));
    """
        + HARD_TO_READ
    )
    seen = visit_phone(page, body, tmp_path, OPEN)
    assert (seen["wide"] <= 390, seen["over"]) == (True, [])
    assert seen["below"] is True  # right below the picture, before the controls
    assert seen["tall"] >= 24  # a finger's, WCAG 2.2's least
    assert (seen["small"], seen["pale"]) == ([], [])


@needs_browser
def test_what_is_not_kept_is_said(tmp_path):
    """24 layers of 8 heads with 16 numbers each, 576 patches: some layers fit."""
    config = vision_config(is_native=True, num_hidden_layers=24, num_attention_heads=8, hidden_size=128, use_head=False)
    model, processor = Aimv2VisionModel(config), Aimv2ImageProcessor(do_resize=False, do_center_crop=False)
    text = explanation_page(model, processor, photo(192, 192), layer=3, computation=[3, 7])
    assert len(text.encode()) <= MOST_BYTES
    kept = data_of(text)["computations"]
    assert (kept["layers"], kept["heads"]) == ([3, 7], list(range(8)))
    body = """
    point("pointermove", 5, 5); point("click", 5, 5); point("click", 2, 2); slide("layer", 9);
    seen.missing = shown("computation");
    $("computation").querySelectorAll("[data-part=choices] button")[1].click(); seen.layer = $("layer").value;
    slide("head", 2); seen.open = shown("computation"); seen.facts = said();
    seen.row = [...VIEWS.attention.show().list]; seen.cell = $("cell").textContent;
    seen.most = highestComputed(7, 2); seen.said = percent(compute(ofPatches, 7, 2, 125, 50).probability);
    seen.words = $("words").hidden;
    seen.stored = $("stored").textContent;
    """
    seen = visit(text, READ + body, tmp_path)
    assert "This page keeps queries, keys and values of layers 3, 7; others do not fit" in seen["missing"]
    assert seen["layer"] == "7"
    assert "in layer 7, head 2" in seen["open"]
    with trace(model, "encoder.layers.7.attention.[qk]") as activations:
        model(processor(images=photo(192, 192))["pixel_values"])
    q, k = (activations[f"encoder.layers.7.attention.{name}"][0, 2] for name in "qk")
    weights = np.exp(q @ k.T / 4)
    weights /= weights.sum(axis=1, keepdims=True)
    # From queries and keys. A score that is off by ε at most changes a probability by 2 ε of it at most.
    np.testing.assert_allclose(seen["row"], weights[5 * 24 + 5], rtol=2.1 * kept["error"])
    assert seen["most"] == pytest.approx(weights.max(), rel=2.1 * kept["error"])
    assert f" = {seen['said']}." in seen["open"]
    assert seen["cell"] == f"It gives row 2, column 2 {seen['said']}."
    assert "drawn at their average" not in seen["facts"]
    assert seen["words"] is True
    assert "Queries, keys and values: of layers 3, 7, heads 0, 1, 2" in seen["stored"]


@needs_browser
def test_a_caption_whose_words_do_not_fit(loaded, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "WORDS_BYTES", 330)  # those of the first, and no queries, keys and values
    text = explanation_page(*loaded, photo(20, 30), CAPTIONS)
    body = """
    type("End"); type("Enter"); type("Enter");
    seen.none = shown("word-computation"); seen.first = shown("words-missing");
    $("fits").querySelectorAll("button")[1].click();
    seen.second = [shown("words-missing"), shown("words-there"), shown("word-computation")];
    seen.stored = $("stored").textContent;
    """
    seen = visit(text, READ + body, tmp_path)
    assert "This page keeps queries, keys and values of no layer; others do not fit into it." in seen["none"]
    assert seen["first"] is None
    assert seen["second"][0] == "The words of this caption do not fit into this page; those of the first captions do."
    assert seen["second"][1:] == [None, None]
    assert "heads for the first 1 of 2 captions; queries, keys and values: none, they do not fit" in seen["stored"]


def test_the_layer_that_is_shown_first_is_kept_first(loaded):
    model, processor = loaded
    for wrong in ([2], [0, -3]):
        with pytest.raises(ValueError, match="layer is"):
            explanation_page(model, processor, photo(20, 30), computation=wrong)
    kept = data_of(explanation_page(model, processor, photo(20, 30), computation=[-1]))["computations"]
    assert kept["layers"] == [1]
