import re
from pathlib import Path

import numpy as np
import pytest

from aimv2_np import Aimv2ImageProcessor, Aimv2VisionModel
from aimv2_np.viz import caption_similarity, explanation_page, patch_similarity, pooling_attention
from aimv2_np.viz import page as module
from aimv2_np.viz.page import MOST_BYTES
from tests.support.explained import CAPTIONS, data_of, needs_browser, numbers, visit
from tests.support.pictures import photo
from tests.support.two_towers import vision_config


@pytest.fixture(scope="module")
def page(loaded):
    return explanation_page(
        *loaded, photo(20, 30), CAPTIONS, title="</title>{{data}}", made_by="<b>me", patch=(0, 1), layer=0
    )


def test_it_loads_nothing(page):
    assert "default-src 'none'; img-src data:;" in page
    assert not re.search(r"https?:|@import|url\(|<link|src=[\"'](?!data:)", page)


def test_names_and_captions_cannot_break_out_of_it(page):
    assert "&lt;/title&gt;{{data}}" in page
    assert "&lt;b&gt;me" in page
    assert page.count("</script>") == 2
    assert "<b>" not in re.sub("<li[^>]*><b>", "", page)
    assert [it["text"] for it in data_of(page)["captions"]] == CAPTIONS


def test_its_numbers_are_the_model_s(page, loaded):
    model, processor = loaded
    data = data_of(page)
    inputs = processor(images=photo(20, 30), text=CAPTIONS, padding=True)
    fits = caption_similarity(model, **inputs)[0].reshape(2, 6)
    for it, expected in zip(data["captions"], fits, strict=True):
        np.testing.assert_allclose(numbers(it["similarity"], "<f4"), expected, atol=1e-6)
    stored = numbers(data["features"]["data"], np.int8).reshape(6, -1) * data["features"]["scales"]
    expected = [patch_similarity(model, inputs["pixel_values"], (r, c)).ravel() for r in range(2) for c in range(3)]
    error = abs(stored @ stored.T - np.array(expected)).max()
    assert error <= data["features"]["error"] + 1e-6  # as the page says; the cosines are float32
    assert data["features"]["error"] < 16 / 127  # 16 numbers that are off by half a step of 1/127 each, on both sides
    assert (data["rows"], data["columns"], data["layers"], data["heads"]) == (2, 3, 2, 2)
    assert data["start"] == {"layer": 0, "head": -1, "row": 0, "column": 1}


def test_places_that_are_not_there(loaded):
    for wrong, message in (({"head": 2}, "head is 2"), ({"layer": 5}, "layer is 5"), ({"patch": (3, 0)}, "patch is 3")):
        with pytest.raises(ValueError, match=message):
            explanation_page(*loaded, photo(24, 50), **wrong)


def test_too_many_captions_for_a_page(loaded):
    with pytest.raises(ValueError, match="too many for a page"):
        explanation_page(*loaded, photo(20, 30), [f"a cat {i}" for i in range(20_000)])


@pytest.fixture(scope="module")
def large():
    """1024 patches of a picture that does not compress, 24 layers of 8 heads."""
    sizes = {"hidden_size": 128, "patch_size": 14}
    config = vision_config(is_native=True, num_hidden_layers=24, num_attention_heads=8, **sizes)
    picture = np.random.default_rng(0).integers(0, 256, (448, 448, 3), dtype=np.uint8)
    return explanation_page(
        Aimv2VisionModel(config), Aimv2ImageProcessor(do_resize=False, do_center_crop=False), picture
    )


def test_a_page_of_1024_patches_is_under_5_megabytes(large):
    assert 4_500_000 < len(large.encode()) <= MOST_BYTES < 5_000_000
    data = data_of(large)
    assert data["maps"]["layers"] == list(range(24))
    assert len(data["maps"]["withHeads"]) >= 3


@needs_browser
def test_a_visit(page, tmp_path):
    body = """
    seen.first = said();
    point("pointermove", 1, 2); seen.hovered = said(); seen.color = color(0, 0);
    slide("layer", 1); seen.layer = said(); seen.other = color(0, 0);
    seen.valuetext = $("layer").getAttribute("aria-valuetext");
    slide("head", 1); seen.head = said();
    point("click", 1, 2); seen.held = said(); point("pointermove", 0, 0); seen.stays = said();
    $("pin").click(); point("pointermove", 0, 0); seen.free = said();
    press("ArrowRight"); press("ArrowDown"); press("ArrowDown"); seen.keys = said(); press("Home"); seen.home = said();
    press("Enter"); seen.pressed = $("pin").getAttribute("aria-pressed");
    press("Escape"); seen.released = $("pin").textContent;
    point("pointerdown", 0, 2, "touch"); point("click", 0, 2, "touch"); seen.touched = said();
    for (const name of Object.keys(VIEWS)) seen["view-" + name] = view(name);
    seen.disabled = [$("layer").disabled, $("head").disabled, $("caption-box").hidden];
    $("caption").value = "1"; $("caption").dispatchEvent(new Event("change")); seen.caption = said();
    seen.labels = [...document.querySelectorAll("input, select")].every(it => it.labels.length === 1);
    seen.live = $("facts").getAttribute("aria-live");
    seen.image = $("image").naturalWidth; seen.stored = $("stored").textContent;
    """
    seen = visit(page, body, tmp_path)
    assert seen["first"].startswith("Patch row 0, column 1.\nIn layer 0, all heads on average look most at row ")
    assert seen["hovered"].startswith("Patch row 1, column 2.\n")
    assert seen["layer"].startswith("Patch row 1, column 2.\nIn layer 1, all heads")
    assert seen["color"] != seen["other"]
    assert seen["valuetext"] == "layer 1"
    assert "In layer 1, head 1 looks most at" in seen["head"]
    assert seen["held"].startswith("Patch row 1, column 2, held.")
    assert seen["stays"] == seen["held"]
    assert seen["free"].startswith("Patch row 0, column 0.")
    assert seen["keys"].startswith("Patch row 1, column 1.")
    assert seen["home"].startswith("Patch row 1, column 0.")
    assert (seen["pressed"], seen["released"]) == ("true", "Hold this patch")
    assert seen["touched"].startswith("Patch row 0, column 2.")
    assert "draws most at" in seen["view-rollout"]
    assert "Its head 1 looks most at" in seen["view-pooling"]
    assert "Most like it: row" in seen["view-neighbours"]
    assert "cosine with “a cat” is" in seen["view-similarity"]
    assert "of the picture with “a cat”" in seen["view-parts"]
    assert seen["disabled"] == [True, True, False]
    assert "/script>b>{{data}}&" in seen["caption"]  # as it is, but for the <, which the test takes out
    assert seen["labels"] is True
    assert (seen["live"], seen["image"]) == ("polite", 24)
    assert "of each patch all 6 patches" in seen["stored"]


@needs_browser
def test_what_the_browser_shows_is_the_model_s_attention(page, loaded, tmp_path):
    model, processor = loaded
    body = "point('pointermove', 1, 0); seen.list = [...VIEWS.attention.show().list]; seen.like = [...cosines()];"
    seen = visit(page, body, tmp_path)
    pixels = processor(images=photo(20, 30))["pixel_values"]
    expected = model.vision_model(pixels, output_attentions=True).attentions[0][0].mean(axis=0)[3]
    np.testing.assert_allclose(seen["list"], expected, atol=0.51 * expected.max() / 255)
    np.testing.assert_allclose(
        seen["like"], patch_similarity(model, pixels, (1, 0)).ravel(), atol=data_of(page)["features"]["error"] + 1e-6
    )


@needs_browser
def test_colours_mean_the_same_wherever_one_points(page, tmp_path):
    body = """
    seen.scales = [[0, 0], [1, 1], [1, 2]].map(([r, c]) => { point("pointermove", r, c); return [
      VIEWS.attention.show().high, VIEWS.rollout.show().high, VIEWS.neighbours.show().low]; });
    const all = [...Array(N).keys()].map(n => { set({patch: n}); return Math.max(...VIEWS.attention.show().list); });
    seen.most = Math.max(...all);
    """
    seen = visit(page, body, tmp_path)
    assert seen["scales"][0] == seen["scales"][1] == seen["scales"][2]
    assert seen["scales"][0][0] == pytest.approx(seen["most"], rel=1e-6)


@needs_browser
def test_all_layers_and_heads_at_once_and_one_after_the_other(page, tmp_path):
    body = """
    point("pointermove", 1, 2); drawAll();
    const cell = (i, j) => [...sheet.getImageData(j * wide, i * tall, columns, rows).data].join();
    seen.size = [heads.length, maps.layers.length]; seen.average = cell(1, 0); seen.second = cell(1, 2);
    set({layer: 1, head: 1}); seen.shown = (() => { const it = VIEWS.attention.show(); return [...it.list].map(
      x => colorOf("viridis", Math.sqrt(x / it.high)).join() + ",255").join(); })();
    const box = atlas.getBoundingClientRect();
    atlas.dispatchEvent(new MouseEvent("click", {bubbles: true, clientX: box.left + 1, clientY: box.top + 1}));
    seen.chosen = said(); seen.slider = [$("layer").value, $("head").value];
    const later = []; window.setInterval = f => { later.push(f); return 7; };
    $("play").click(); later[0](); seen.played = $("layer").value; later[0](); seen.again = $("layer").value;
    seen.pressed = $("play").getAttribute("aria-pressed"); $("play").click(); seen.stopped = $("play").textContent;
    """
    seen = visit(page, body, tmp_path)
    assert seen["size"] == [3, 2]  # the average and two heads, two layers
    assert seen["second"] == seen["shown"]
    assert seen["average"] != seen["second"]
    assert "In layer 0, all heads on average" in seen["chosen"]
    assert seen["slider"] == ["0", "-1"]
    assert (seen["played"], seen["again"]) == ("1", "0")
    assert (seen["pressed"], seen["stopped"]) == ("true", "Play through the layers")


@needs_browser
def test_probabilities_are_in_sight_and_a_temperature_changes_them(page, loaded, tmp_path):
    model, processor = loaded
    body = """
    const read = () => [...$("fits").querySelectorAll("b")].map(it => it.textContent);
    seen.own = read(); slide("warmth", 10); seen.warm = read(); seen.temperature = $("warmth-is").textContent;
    seen.logits = captions.map(it => it.logit);
    $("fits").querySelectorAll("button")[1].click(); seen.caption = $("caption").value;
    """
    seen = visit(page, body, tmp_path)
    inputs = processor(images=photo(20, 30), text=CAPTIONS, padding=True)
    logits = model(**inputs).logits_per_image[0]
    np.testing.assert_allclose(seen["logits"], logits, rtol=1e-5)
    for shown, temperature in ((seen["own"], 1), (seen["warm"], 10)):
        parts = np.exp((logits - logits.max()) / temperature)
        found = [float(text.removesuffix(" %")) / 100 for text in shown]
        np.testing.assert_allclose(found, parts / parts.sum(), atol=0.006)
    assert seen["temperature"] == "10.00"
    assert seen["caption"] == "1"


@needs_browser
def test_the_address_holds_what_is_shown(page, tmp_path):
    body = """
    const later = []; window.setTimeout = f => later.push(f);
    point("pointermove", 1, 2); slide("layer", 1); slide("head", 1); view("rollout"); seen.before = location.hash;
    later.at(-1)(); seen.address = location.hash;
    location.hash = "#row=0&column=0&layer=1&head=0&view=neighbours&held=1"; fromAddress(); draw();
    seen.said = said(); seen.view = document.querySelector("input[name=view]:checked").value;
    location.hash = "#row=99&column=x&layer=7&head=5&view=__proto__&caption=-1";
    fromAddress(); draw(); seen.wrong_is_passed_over = said();
    """
    seen = visit(page, body, tmp_path)
    assert seen["before"] == ""  # not at every move of a pointer
    assert seen["address"] == "#row=1&column=2&layer=1&head=1&view=rollout&caption=0&warmth=0&held=0"
    assert seen["said"].startswith("Patch row 0, column 0, held.")
    assert seen["view"] == "neighbours"
    assert seen["wrong_is_passed_over"] == seen["said"]


def test_it_opens_where_the_pooling_head_looks_most(loaded):
    model, processor = loaded
    start = data_of(explanation_page(model, processor, photo(20, 30)))["start"]
    weights = pooling_attention(model, processor(images=photo(20, 30))["pixel_values"])[0]
    assert (start["row"], start["column"]) == np.unravel_index(weights.argmax(), weights.shape)


@needs_browser
def test_a_visit_to_a_large_page(large, tmp_path):
    body = """
    point("pointermove", 31, 30); seen.facts = said(); seen.list = [...VIEWS.attention.show().list];
    const without = maps.layers.findIndex(layer => !maps.withHeads.includes(layer));
    slide("layer", without); slide("head", 3); seen.note = $("note").textContent; seen.hidden = $("note").hidden;
    slide("layer", maps.layers.indexOf(maps.withHeads[0])); seen.head = said(); seen.stored = $("stored").textContent;
    view("rollout"); view("neighbours"); view("pooling"); view("colors"); seen.captions = view("parts");
    """
    seen = visit(large, body, tmp_path)
    assert seen["facts"].startswith("Patch row 31, column 30.")
    assert "highest hold" in seen["facts"]
    assert sum(seen["list"]) == pytest.approx(1, abs=1e-3)  # the rest at its average
    assert "This head is here of layers" in seen["note"]
    assert seen["hidden"] is False
    assert "head 3 looks most at" in seen["head"]
    assert seen["captions"] == "absent"
    assert "compressed (JPEG)" in seen["stored"]


@needs_browser
def test_a_single_patch(native, tmp_path):
    body = """
    point("pointermove", 0, 0); seen.facts = said(); press("ArrowDown");
    seen.like = view("neighbours"); seen.head = view("pooling");
    """
    seen = visit(explanation_page(*native, photo(9, 9)), body, tmp_path)
    assert "look most at row 0, column 0 (100 %)" in seen["facts"]
    assert "There is no other patch." in seen["like"]
    assert seen["head"] == "absent"


def test_its_scripts_are_small_and_all_of_them_are_in_it(page):
    scripts = {it.stem: it.read_text(encoding="utf-8") for it in Path(module.__file__).with_name("web").glob("*.js")}
    assert set(scripts) == set(module.SCRIPTS)
    for name, text in scripts.items():
        shared = name in module.SHARED
        assert bool(re.search(r"^(export|import) ", text, re.MULTILINE)) == shared
        assert (re.sub(r"^export ", "", text, flags=re.MULTILINE) if shared else text).strip() in page
        assert len(text.splitlines()) < 300
