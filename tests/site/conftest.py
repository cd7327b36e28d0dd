"""The built site, for tests that look at what a reader gets; needs the extra `docs`."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.paths import ROOT


class Page(HTMLParser):
    """The tags of a page with their attributes, and the anchors that it has."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.tags = path, []
        self.feed(path.read_text(encoding="utf-8"))
        self.anchors = {values[key] for _, values in self.tags for key in ("id", "name") if values.get(key)}

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """`sphinx-build -W`: a warning fails every test here."""
    pytest.importorskip("sphinx", reason="the site is built with the extra docs: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def pages(site) -> dict[str, Page]:
    """Name -> page, of all that the site has."""
    paths = sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)
    return {str(path.relative_to(site)): Page(path) for path in paths}
