"""The picture of the live page that README shows: `python -m tests.tools.draw_live SITE`, of a site that was built."""

import argparse
from io import BytesIO

from PIL import Image

from tests.support.live import Visit, opened_browser, serving
from tests.support.paths import ROOT


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", help="the folder that sphinx-build wrote")
    with serving(parser.parse_args().site) as address, opened_browser() as browser:
        visit = Visit(browser, f"{address}/live.html", width=1240)
        visit.part("samples").locator("button").nth(5).click()
        visit.settle()
        visit.choose("gate")
        image = visit.page.locator("#live section").first.screenshot()
    Image.open(BytesIO(image)).convert("RGB").save(ROOT / "docs" / "live.png", optimize=True)


if __name__ == "__main__":
    main()
