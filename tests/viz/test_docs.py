import re

from aimv2_np.viz import __all__ as public
from tests.docs.test_code import blocks
from tests.docs.test_pages import prose

PAGE = "docs/explain.md"


def test_the_blocks_that_draw_run(tmp_path, monkeypatch, matplotlib):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks(PAGE):
        exec(compile(block, PAGE, "exec"), names)
    assert (tmp_path / "attention.png").is_file()


def test_every_drawing_is_told_of():
    told = {word for page in (PAGE, "docs/classify.md") for word in re.findall(r"\w+", prose(page))}
    assert {name for name in public if name.startswith("draw_")} <= told
