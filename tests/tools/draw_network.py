"""Draw the network anew: `python -m tests.tools.draw_network` writes docs/network/, a file for each part."""

from docs.extensions.network_drawing import FOLDER, PARTS, drawing


def drawings() -> dict[str, str]:
    """Name of the file -> SVG."""
    return {f"{part}.svg": drawing(part) for part in PARTS}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.glob("*.svg"):
        path.unlink()
    for name, svg in drawings().items():
        (FOLDER / name).write_text(svg, encoding="utf-8")
