"""Parts of arrays, written as text: "0, :16" is what NumPy's array[0, :16] gives."""

import re
from collections.abc import Iterable

# start:stop:step with any of them missing, or one index; bounded, so that hostile numbers cost nothing
_PART = re.compile(r"\s*(-?\d{1,12})?\s*(?:(:)\s*(-?\d{1,12})?\s*(?::\s*(-?\d{1,12})?\s*)?)?", re.ASCII)
MAX_PARTS = 32


def parse_slice(text: str) -> tuple[int | slice, ...]:
    """The index that `text` writes: integers and start:stop:step, separated by commas; ValueError otherwise."""
    parts = text.split(",", MAX_PARTS)
    matches = [_PART.fullmatch(part) for part in parts]
    if len(parts) > MAX_PARTS or any(m is None or (m[1] is None and m[2] is None) or m[4] == "0" for m in matches):
        raise ValueError(f"{text!r:.80} is no slice; expected indices and ranges such as '0, :16' or ':, ::4'")
    return tuple(slice(*(m[i] and int(m[i]) for i in (1, 3, 4))) if m[2] else int(m[1]) for m in matches if m)


def parse_slices(texts: Iterable[str]) -> dict[str, str]:
    """{"*.ffn": "0, :16"} from ["*.ffn=0, :16"]; ValueError for a text that is not of this form."""
    slices: dict[str, str] = {}
    for text in texts:
        glob, equals, part = text.partition("=")
        if not glob or not equals:
            raise ValueError(f"{text!r:.80} names no modules; expected GLOB=PART, such as '*.ffn=0, :16'")
        parse_slice(part)
        slices[glob] = part
    return slices
