"""Which of the other side's activations stands for which of the reference's."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aimv2_np.comparison.alignment import UnlikeError, in_shape
from aimv2_np.comparison.fused import fused, take_apart
from aimv2_np.comparison.measure import measure_arrays
from aimv2_np.comparison.naming import Naming
from aimv2_np.comparison.operators import inner, rank
from aimv2_np.comparison.rules import applied
from aimv2_np.recording.recording import Recording

# The output of a vision tower is that of its last module, in which ONNX graphs give it the output's name.
OUTPUTS = {"rms_norm": "last_hidden_state", "head.output_proj": "pooler_output", "head": "pooler_output"}

_LAYER = re.compile(r"(|vision_model\.|text_model\.)encoder\.layers\.(\d{1,6})")

Mappings = Mapping[str, str] | Iterable[str] | None


class NothingInCommonError(ValueError):
    """The two sides have no activation in common."""


@dataclass(frozen=True)
class Matching:
    """The reference's paths and the other side's names for them.

    Attributes:
        recording: the other side, with the parts of fused projections as activations of their own.
        names: path → the other side's name.
        missing: paths of the reference that the other side lacks.
        extra: names of the other side that no path of the reference answers to.
        notes: what was taken apart, and how.
    """

    recording: Recording
    names: dict[str, str]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    notes: tuple[str, ...]


def match(a: Recording, b: Recording, mapping: Mappings) -> Matching:
    """Which activations of `b` are which of the reference `a`; ValueError when there are none, or a rule is wrong."""
    said = _modules(b)
    naming = Naming(a.order, mapping, (*b.order, *said))
    found = {theirs: naming(theirs) for theirs in b.order}
    # Several names may lead to one path. That of a module counts more than that of an operator, the last operator of a
    # module more than others, what the recording itself says of a module more than that, and our own path most.
    within = inner(b.order)
    names = {
        ours: theirs for theirs, ours in sorted(found.items(), key=lambda pair: rank(pair[0]))
        if ours and rank(theirs) != (0, 0) and theirs not in within
    }  # fmt: skip
    operators = set(names)
    names |= {ours: theirs for theirs, ours in found.items() if ours and rank(theirs) == (0, 0)}
    modules = [(naming(module), theirs) for module, theirs in said.items()]
    names |= {ours: theirs for ours, theirs in modules if ours}
    names |= {path: path for path in b.order if path in a.shapes}
    if operators:
        names |= _by_outputs(a, names)
    names |= _last_hidden_states(a, b, naming, names)
    left = [theirs for theirs in b.order if found[theirs] is None and theirs not in within]
    together = [one for one in fused(naming, b, left) if names.keys().isdisjoint(one.ours)]
    recording, parts, notes = take_apart(a, b, together, names) if together else (b, {}, [])
    names |= parts
    if not names:
        raise NothingInCommonError(
            f"reference and other have no activation in common: the one has {_some(a.order)}, the other "
            f"{_some(b.order)}; expected common names: say which is which with a mapping, 'theirs=ours' (--map)"
        )
    used = {theirs for theirs, ours in found.items() if ours} | set(names.values()) | {one.theirs for one in together}
    return Matching(
        recording=recording,
        names=names,
        missing=tuple(path for path in a.order if path not in names),
        extra=tuple(theirs for theirs in b.order if theirs not in used),
        notes=(*notes, *_crowded(naming, found, names)),
    )


def _crowded(naming: Naming, found: Mapping[str, str | None], names: Mapping[str, str]) -> list[str]:
    """A note for each path to which the caller's rules lead several names: one alone is compared."""
    mapped: dict[str, list[str]] = {}
    for theirs, ours in found.items():
        if ours and rank(theirs) == (0, 0) and applied(naming.rules, theirs) is not None:
            mapped.setdefault(ours, []).append(theirs)
    return [
        f"the mapping makes {ours} of {_some(several)}; {names[ours]:.60} was compared"
        for ours, several in mapped.items() if len(several) > 1
    ]  # fmt: skip


def _last_hidden_states(a: Recording, b: Recording, naming: Naming, names: dict[str, str]) -> dict[str, str]:
    """The tower's output by the last of `hidden_states`, where that is what it holds.

    Transformers gives the last layer's output there, and since its version 5 what the final norm makes of it. The name
    leaves that open, the numbers do not. What is not the last layer's is taken out of `names`.
    """
    found: dict[str, str] = {}
    for ours, theirs in list(names.items()):
        if not re.search(r"hidden_states[._\-]\d+$", theirs) or not (match := _LAYER.fullmatch(ours)):
            continue
        tower, output = match[1], match[1] + "last_hidden_state"
        following = f"{tower}encoder.layers.{int(match[2]) + 1}"
        arrays = [a.array(ours), a.array(output), b.array(theirs)]
        if following in a.shapes or output not in a.shapes or any(array is None for array in arrays):
            continue
        if _distance(arrays[1], arrays[2]) < _distance(arrays[0], arrays[2]):
            del names[ours]
            found |= {} if output in names else {output: theirs}
    return found


def _distance(ours: Any, theirs: Any) -> float:
    try:
        return measure_arrays(ours, in_shape(theirs, ours)[0], "float32").relative
    except UnlikeError:
        return float("inf")


def _modules(recording: Recording) -> dict[str, str]:
    """Module → the name of the value that it gives, where a recording of a graph says so."""
    try:
        modules = json.loads(recording.metadata.get("modules", "{}"))
    except (ValueError, RecursionError):
        return {}
    known = set(recording.order)
    pairs = modules.items() if isinstance(modules, dict) else ()
    return {module: value for module, value in pairs if isinstance(value, str) and value in known}


def _by_outputs(a: Recording, names: Mapping[str, str]) -> dict[str, str]:
    """The last modules of the vision tower by the names of its outputs, where they have no names of their own."""
    found = {}
    for tower in ("", "vision_model."):
        for module, output in OUTPUTS.items():
            theirs, path = names.get(tower + output), tower + module
            own = names.get(path)
            if theirs and path in a.shapes and (own is None or rank(own) != (0, 0)):
                found[path] = theirs
    return found


def _some(names: Iterable[str]) -> str:
    names = list(names)
    if not names:
        return "none"
    return ", ".join(f"{name:.60}" for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
