"""A person who types a question into the search box is shown the page that answers it."""

import json
import re
import shutil
import subprocess
from urllib.parse import quote, unquote

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

QUESTIONS = {
    "kill -9": "embedding",
    "embed a folder": "embedding",
    "search pictures": "embedding",
    "no network": "offline",
    "offline": "offline",
    "docker": "container",
    "container": "container",
    "install": "start",
    "causal": "faithfulness",
    "padding": "faithfulness",
    "convert": "layouts",
    "timm": "layouts",
    "github actions": "verify",
    "pytest": "verify",
    "compare port": "compare",
    "record activations": "golden",
    "rmsnorm": "equations",
    "swiglu": "equations",
    "parameters": "equations",
    "residual stream": "glossary",
    "add backend": "add-a-backend",
    "own kernels": "add-a-backend",
    "memory": "performance",
    "bfloat16": "gpu",
    "out of memory": "gpu",
    "attention rollout": "explain",
    "several templates": "classify",
    "nearest neighbours": "classify",
    "sliding window": "any-size",
    "many sizes": "any-size",
    "malicious file": "reliability",
    "security": "reliability",
    "get_image_features": "reference/models",
    "cite": "index",
    "contribute": "contributing",
}


@pytest.fixture(scope="session")
def index(site):
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    return json.loads(text.removeprefix("Search.setIndex(").removesuffix(")"))


def hits(index, question):
    """The pages that have every word of a question, in their text or titles, as the search box matches them."""
    from sphinx.search.en import SearchEnglish

    search, found = SearchEnglish({}), None
    words = re.findall(r"\w+", question.lower())
    for word in (search.stem(it) for it in words if it not in search.stopwords and not it.isdigit()):
        these = set()
        for terms in (index["terms"], index["titleterms"]):
            for term, documents in terms.items():
                if term == word or (len(word) > 2 and word in term):
                    these |= set(documents if isinstance(documents, list) else [documents])
        found = these if found is None else found & these
    return {index["docnames"][i] for i in found or ()}


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_index_has_the_page(index, question):
    assert QUESTIONS[question] in hits(index, question)


@pytest.mark.skipif(BROWSER is None, reason=f"there is no browser here: none of {', '.join(BROWSERS)}")
@pytest.mark.parametrize("question", QUESTIONS)
def test_the_search_box_shows_it_among_the_first(site, tmp_path, question):
    address = f"{(site / 'search.html').as_uri()}?q={quote(question)}"
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    results = done.stdout.split('id="search-results"', 1)[1]
    shown = [re.sub(r"\.html.*", "", link) for link in re.findall(r'<li[^>]*><a href="([^"]+)"', results)]
    assert QUESTIONS[question] in list(dict.fromkeys(shown))[:4]


# In a newcomer's words: (question, the page that comes first). The second half is what public issues ask.
NEWCOMERS = {
    "how do I get embeddings of my photos": "embedding",
    "fine-tune": "questions",
    "quantize": "precision",
    "fp16 cpu slow": "precision",
    "license": "questions",
    "cls token": "embedding",
    "image retrieval": "embedding",
    "pretraining objective": "pretraining",
    "train": "questions",
    "how to extract features from images": "embedding",
    "image similarity": "embedding",
    "find duplicates in a folder of images": "embedding",
    "pooler_output": "embedding",
    "build a faiss index": "embedding",
    "lora fine-tuning": "questions",
    "finetuning code": "questions",
    "is commercial use allowed": "questions",
    "compute gradients": "questions",
    "linear probe": "questions",
    "image captioning": "questions",
    "training code release": "questions",
    "prefix attention during pretraining": "pretraining",
    "where is the decoder": "pretraining",
    "pixel reconstruction loss": "pretraining",
    "zero-shot classification prompt": "classify",
    "zero shot imagenet": "classify",
    "interpolate positional embeddings": "any-size",
    "different image resolution": "any-size",
    "non-square aspect ratio": "any-size",
    "dense features for segmentation": "any-size",
    "patch features": "any-size",
    "visualize attention": "explain",
    "attention heatmap": "explain",
    "load in 8bit": "precision",
    "int8 quantization": "precision",
    "half precision on cpu": "precision",
    "cuda out of memory": "gpu",
    "run on nvidia gpu": "gpu",
    "convert checkpoint from timm": "layouts",
    "huggingface state_dict keys": "layouts",
    "export to onnx": "runtimes",
    "coreml export": "runtimes",
    "inference is slow, benchmark": "performance",
    "how many images per second": "performance",
    "results differ from my port": "compare",
    "use without internet, behind a proxy": "offline",
    "docker image": "container",
    "how do I install it with pip": "start",
    "register hooks for intermediate outputs": "golden",
    "rotated photos exif": "pictures",
}
ASK = """<script>
const asking = setInterval(() => {
  if (!Search._index) return;
  clearInterval(asking);
  const ask = (it) => Search._performSearch(...Search._parseQuery(it)).reverse().map((found) => found[0]);
  const answer = Object.fromEntries(QUESTIONS.map((it) => [it, [...new Set(ask(it))].slice(0, 3)]));
  document.body.innerHTML = `<pre id="answers">${encodeURIComponent(JSON.stringify(answer))}</pre>`;
}, 20);
</script></body>"""


@pytest.fixture(scope="session")
def first_pages(site, tmp_path_factory):
    """Question -> the pages that the search box would show, the first three; asked in one visit."""
    if BROWSER is None:
        pytest.skip(f"there is no browser here: none of {', '.join(BROWSERS)}")
    page = site / "search-test.html"
    text = (site / "search.html").read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", ASK.replace("QUESTIONS", json.dumps(list(NEWCOMERS)))), encoding="utf-8")
    profile = tmp_path_factory.mktemp("profile")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    command += ["--virtual-time-budget=20000", "--dump-dom", f"{page.as_uri()}?q=embed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    page.unlink()
    return json.loads(unquote(re.search(r'id="answers">([^<]+)', done.stdout)[1]))


@pytest.mark.parametrize("question", NEWCOMERS)
def test_a_newcomers_words_find_the_page_first(first_pages, question):
    assert first_pages[question][:1] == [NEWCOMERS[question]], first_pages[question]


def test_use_it_for_use_something_else_for_is_on_the_site(site):
    text = (site / "questions.html").read_text(encoding="utf-8")
    assert "train on several GPUs" in text.split('id="use-it-for-use-something-else-for"', 1)[1]


def test_the_words_of_the_table_are_of_pages_that_exist(site):
    text = (site / "_static" / "search.js").read_text(encoding="utf-8").split("};", 1)[0]
    pages = re.findall(r'^  "([\w/-]+)":', text, re.MULTILINE)
    assert len(pages) > 15
    assert all((site / f"{page}.html").is_file() for page in pages)
