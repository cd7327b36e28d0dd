"""A person who types a question into the search box is shown the page that answers it."""

import json
import re
import shutil
import subprocess
from urllib.parse import quote

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
