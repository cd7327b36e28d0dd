"""Captions in files beside their pictures: a text, or JSON with a field `caption`, of the same name.

In an archive also of the same key, which is webdataset's rule: the key of a file is its name up to the first dot behind
its folder, so that `17.txt` tells of `17.left.jpg` and of `17.right.jpg`, unless `17.left.txt` does.
"""

import codecs
import json
import posixpath
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path, PurePosixPath

from aimv2_np.errors import plain
from aimv2_np.tasks.embedding.sources import Pictures
from aimv2_np.tasks.embedding.tables import not_utf8
from aimv2_np.tasks.embedding.tar import CompressedArchives, Member, contents, read_member

TEXT, JSON = ".txt", ".json"
SUFFIXES = (TEXT, TEXT.upper(), JSON)  # a text before JSON: img2dataset writes both
MAX_CAPTION = 1 << 16  # bytes that are read of a text
EXPECTED = "expected a text or JSON with a field 'caption' beside each, of the same name: a.jpg and a.txt or a.json"
Place = str | Member


def pictures_with_captions(name: str, found: Pictures) -> list[tuple[Place, str]]:
    """Where each picture that has a caption lies, and the caption; warnings tell of the others.

    Args:
        name: what was searched, for messages.
        found: the pictures in it.

    Raises:
        ValueError: none has a caption, or a caption is no UTF-8.
    """
    places = {it: where if isinstance(where, Member) else it for it, where in found.places.items()
              if not isinstance(where, str)}  # fmt: skip
    for it in found.places.keys() - places.keys():
        warnings.warn(f"{it}: {found.places[it]}", stacklevel=3)  # of an archive, what lies before the damage is taken
    captions = _in_folders([place for place in places.values() if isinstance(place, str)])
    for archive in dict.fromkeys(place.file for place in places.values() if isinstance(place, Member)):
        inside = [place for place in places.values() if isinstance(place, Member) and place.file == archive]
        captions.update(_in_archive(archive, inside))
    without = [it for it, place in places.items() if place not in captions]
    if not captions:
        raise ValueError(f"{name} holds {len(places)} pictures and no captions; {EXPECTED}")
    if without:
        warnings.warn(
            f"{len(without):,} of {len(places):,} pictures of {name} have no caption and are left out, the first "
            f"{plain(without[0], 200)}; {EXPECTED}",
            stacklevel=3,
        )
    return [(place, captions[place]) for place in places.values() if place in captions]


def _in_folders(pictures: Sequence[str]) -> dict[Place, str]:
    found: dict[Place, str] = {}
    for picture in pictures:
        paths = (Path(picture).with_suffix(suffix) for suffix in SUFFIXES)
        text = _first((str(path), path.read_bytes()) for path in paths if path.is_file())
        if text is not None:
            found[picture] = text
    return found


def _in_archive(archive: str, pictures: Sequence[Member]) -> dict[Place, str]:
    """The captions in an archive; a warning tells of texts whose picture is missing."""
    texts = {posixpath.normpath(it.name): it for it in contents(archive).members if it.name.lower().endswith(SUFFIXES)}
    by_key = {f"{_key(name)}{_suffix(name)}": it for name, it in texts.items()}
    wanted = {picture: _named_like(picture.name, texts, by_key) for picture in pictures}
    with closing(CompressedArchives()) as archives:
        read = archives.read if any(text.compressed for text in texts.values()) else read_member
        # a compressed archive is read in its order, once
        data = {text: read(text) for text in sorted({*chain(*wanted.values())}, key=lambda text: text.offset)}
    captions = {
        picture: _first((f"{archive}/{text.name}", data[text]) for text in named) for picture, named in wanted.items()
    }
    alone = [name for name, text in texts.items() if text not in data and name.lower().endswith(TEXT)]
    if alone:
        warnings.warn(
            f"{len(alone):,} texts in {archive} have no picture and are passed over, the first {plain(alone[0], 200)}; "
            "expected a picture of the same name, a.jpg and a.txt",
            stacklevel=4,
        )
    return {picture: text for picture, text in captions.items() if text is not None}


def _named_like(name: str, texts: Mapping[str, Member], by_key: Mapping[str, Member]) -> list[Member]:
    """What may hold a picture's caption, the likeliest first: of its whole name before what has its key alone."""
    name = posixpath.normpath(name)
    own = [texts.get(str(PurePosixPath(name).with_suffix(suffix))) for suffix in SUFFIXES]
    return [text for text in (*own, *(by_key.get(f"{_key(name)}{suffix}") for suffix in (TEXT, JSON))) if text]


def _key(name: str) -> str:
    folder, base = posixpath.split(name)
    return posixpath.join(folder, base.partition(".")[0])


def _suffix(name: str) -> str:
    """All of a name that is no key, in lower case."""
    return name[len(_key(name)) :].lower()


def _first(files: Iterable[tuple[str, bytes]]) -> str | None:
    """The caption in the first of some files, by name, that holds one."""
    for where, data in files:
        caption = of_json(data, where) if where.lower().endswith(JSON) else of_text(data, where)
        if caption is not None:
            return caption
    return None


def of_text(data: bytes, where: str) -> str:
    """A text file's caption: its first 64 KB. ValueError unless that is UTF-8."""
    try:
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        text = decoder.decode(data[:MAX_CAPTION], final=len(data) <= MAX_CAPTION).strip()
    except UnicodeDecodeError as error:
        raise not_utf8(where, error) from None
    if "\0" in text:
        raise ValueError(f"{where} holds bytes of 0; expected a caption in UTF-8: save it as UTF-8")
    return text


def of_json(data: bytes, where: str) -> str | None:
    """What JSON has as its `caption`; None where it has none. ValueError for what is no JSON."""
    try:
        told = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise not_utf8(where, error) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is no JSON ({error}); expected a field 'caption' in it, or a text, .txt") from None
    caption = told.get("caption") if isinstance(told, dict) else None
    return caption.strip() if isinstance(caption, str) else None
