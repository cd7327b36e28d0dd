"""A contact sheet: what was found, as one picture of small ones with their scores and names."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aimv2_np.errors import is_of_the_system
from aimv2_np.files.atomic import atomic_write
from aimv2_np.processing.loading import load_pixels
from aimv2_np.tasks.embedding.tar import find_member, read_any
from aimv2_np.tasks.embedding.zip import find_in_zip
from aimv2_np.tasks.search import Hit

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE, GAP, LINE, TITLE, HEADING, COLUMNS = 176, 12, 17, 34, 22, 5  # pixels; pictures side by side
PAPER, INK, GREY, BLANK = (255, 255, 255), (20, 20, 20), (110, 110, 110), (232, 232, 232)
MAX_PICTURES: Final = 1000


def draw_sheet(hits: Sequence[Hit], title: str, root: str | os.PathLike[str] = ".") -> "Image":
    """The pictures of `hits` in their order, each with its place, its cosine and its name.

    A picture that is not there any more, or cannot be read, has an empty grey place that says so.

    Args:
        hits: as from `search`, up to 1000.
        title: what was searched for.
        root: the folder that relative names are relative to; of pictures in archives, that of the archive's name.
    """
    if not 0 < len(hits) <= MAX_PICTURES:
        raise ValueError(f"hits is {len(hits)} pictures; expected 1 to {MAX_PICTURES} for a sheet")
    return _draw([("", hits)], title, root)


def draw_groups(groups: Sequence[tuple[str, Sequence[Hit]]], title: str, root: str | os.PathLike[str] = ".") -> "Image":
    """The pictures of several groups, each group in rows of its own under its name; see `draw_sheet`.

    Args:
        groups: (name, hits), as from `near_duplicates` or `search_many`; of more than 1000 pictures the first 1000.
    """
    drawn: list[tuple[str, Sequence[Hit]]] = []
    left = MAX_PICTURES
    for name, hits in groups:
        if some := hits[:left]:
            drawn.append((name, some))
            left -= len(some)
    if not drawn:
        raise ValueError("groups have no pictures; expected one at least for a sheet")
    total = sum(len(hits) for _, hits in groups)
    return _draw(drawn, title if total <= MAX_PICTURES else f"{title} (first {MAX_PICTURES} of {total})", root)


def _draw(groups: Sequence[tuple[str, Sequence[Hit]]], title: str, root: str | os.PathLike[str]) -> "Image":
    from PIL import Image, ImageDraw, ImageFont

    columns = min(COLUMNS, max(len(hits) for _, hits in groups))
    tall = SIDE + 2 * LINE + GAP
    heights = [math.ceil(len(hits) / columns) * tall + (HEADING if name else 0) for name, hits in groups]
    sheet = Image.new("RGB", (max(columns, 3) * (SIDE + GAP) + GAP, TITLE + sum(heights) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(16), ImageFont.load_default(12)
    draw.text((GAP, GAP), _fitted(draw, title, large, sheet.width - 2 * GAP), INK, large)
    top = TITLE + GAP
    for (name, hits), height in zip(groups, heights, strict=True):
        if name:
            draw.text((GAP, top), _fitted(draw, name, small, sheet.width - 2 * GAP), INK, small)
        first = top + (HEADING if name else 0)
        for i, hit in enumerate(hits):
            corner = GAP + i % columns * (SIDE + GAP), first + i // columns * tall
            _place(sheet, draw, small, corner, f"{i + 1}   {hit.score:.3f}", hit, Path(root))
        top += height
    return sheet


def _place(sheet: "Image", draw: Any, small: Any, corner: tuple[int, int], line: str, hit: Hit, root: Path) -> None:
    """One picture, and under it `line` and its name."""
    left, top = corner
    try:
        picture = _thumbnail(hit.name, root)
        sheet.paste(picture, (left + (SIDE - picture.width) // 2, top + (SIDE - picture.height) // 2))
    except (OSError, ValueError, TypeError) as error:
        if is_of_the_system(error):
            raise
        draw.rectangle((left, top, left + SIDE - 1, top + SIDE - 1), BLANK)
        problem = "not there" if isinstance(error, FileNotFoundError) else "cannot be read"
        draw.text((left + SIDE / 2, top + SIDE / 2), problem, GREY, small, anchor="mm")
    draw.text((left, top + SIDE + 2), line, INK, small)
    name = _fitted(draw, hit.name, small, SIDE, keep_end=True)
    draw.text((left, top + SIDE + 2 + LINE), name, GREY, small)


def save_sheet(sheet: "Image", path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write a sheet as PNG; ValueError for a name of another format, FileExistsError unless `overwrite`."""
    check_sheet(path)
    with atomic_write(path, overwrite) as file:
        sheet.save(file, "PNG")


def check_sheet(path: str | os.PathLike[str]) -> None:
    """ValueError for a name that says another format than a sheet is written in."""
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{path} ends in {Path(path).suffix!r}; expected .png, which contact sheets are written as")


def _thumbnail(name: str, root: Path) -> "Image":
    from PIL import Image

    path = root / name
    picture: Any = path
    if not path.exists() and (member := find_member(str(path))) is not None:
        picture = read_any(member)
    elif not path.exists() and (packed := find_in_zip(str(path))) is not None:
        picture = packed.read()
    image = Image.fromarray(load_pixels(picture, exif_transpose=True))
    image.thumbnail((SIDE, SIDE))
    return image


def _fitted(draw: Any, text: str, font: Any, width: int, *, keep_end: bool = False) -> str:
    """`text` cut to `width` pixels; with `keep_end` at its start, for of a path the end tells most."""
    text = "".join(letter if letter.isprintable() else "?" for letter in text[-400:] if letter)
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(f"…{text}", font) > width:
        text = text[1:] if keep_end else text[:-1]
    return f"…{text}" if keep_end else f"{text}…"
