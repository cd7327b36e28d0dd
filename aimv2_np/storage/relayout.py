"""From one layout to another, a tensor at a time: each is read, rearranged and written before the next."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from functools import partial
from math import prod
from typing import Any

import numpy as np

from aimv2_np.backends.dtypes import FLOATS, NAMES
from aimv2_np.backends.narrow import Narrow, to_int8
from aimv2_np.config import CONFIG_FILE, AnyConfig
from aimv2_np.files.atomic import make_folder, refuse_existing
from aimv2_np.files.json import write_json
from aimv2_np.shapes import NDArray
from aimv2_np.storage.checkpoint import INDEX, OTHERS, SCALE, SINGLE, Tensors
from aimv2_np.storage.dialects import write_apple, write_timm, write_transformers
from aimv2_np.storage.formats.casting import misfit, recast
from aimv2_np.storage.formats.lazy import Lazy
from aimv2_np.storage.formats.messagepack_writer import save_messagepack
from aimv2_np.storage.formats.safetensors_writer import save_safetensors
from aimv2_np.storage.layouts import flax, transformers
from aimv2_np.storage.layouts.detect import LAYOUTS
from aimv2_np.storage.layouts.table import Form, Layout
from aimv2_np.storage.save import SHARD, save_checkpoint

SAME = "same"
KEEPING = (SAME, "int8")  # with which tensors, or all but matrices, keep their bytes
DTYPES = ("float32", "float16", "bfloat16", "int8", SAME)
# (configuration, dtype, our model class) → config.json
DIALECTS: dict[str, Callable[[AnyConfig, str, str], dict[str, Any]]] = {
    "transformers": write_transformers,
    "apple": write_apple,
    "mlx": write_apple,
    "flax": write_apple,
    "timm": write_timm,
}
# Only Transformers looks for shards; the others' loaders want one file, whatever its size.
SHARD_SIZES: dict[str, int | str] = {"transformers": "5GB"}
ONE_FILE = 2**62


def check_choice(layout: str, dtype: str) -> Layout:
    """The layout of that name; ValueError when there is none, or no such dtype."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; expected one of {', '.join(LAYOUTS)}")
    if dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; expected one of {', '.join(DTYPES)}")
    return LAYOUTS[layout]


def arranged(
    tensors: Tensors, names: Mapping[str, str], layout: Layout, dtype: str, matrices: Collection[str] = ()
) -> dict[str, Lazy]:
    """A model's tensors as `layout` stores them, in `dtype` ("same": as they are stored now), none of them read yet.

    `names` are the model's, each with the one that `tensors` has for it. In int8 are those among the `matrices`; the
    others stay as they are. Raises ValueError when the layout has no place for one of them, or for int8, or when
    tensors of different dtypes would have to be stacked.
    """
    state: dict[str, Lazy] = {}
    for theirs, (form, ours) in layout.arrange(names).items():
        parts = [names[name] for name in ours]
        dtypes = sorted({tensors.dtypes[part] for part in parts})
        if dtype in KEEPING and len(dtypes) > 1:
            raise ValueError(f"{' and '.join(dtypes)} would be stacked in {theirs}; choose one dtype for all tensors")
        if (dtype == "int8" and ours[0] in matrices) or (dtype in KEEPING and dtypes == ["I8"]):
            state.update(_int8(tensors, parts[0], theirs, layout))
            continue
        stored_as = dtypes[0] if dtype in KEEPING else FLOATS[dtype]
        shape = form.shape([tensors.shapes[part] for part in parts])
        state[theirs] = Lazy(stored_as, shape, partial(_make, tensors, parts, form, stored_as))
    if layout is flax.LAYOUT:
        state.update({name: Lazy("F64", (), partial(np.array, value)) for name, value in flax.STATISTICS.items()})
    return state


def _make(tensors: Tensors, parts: list[str], form: Form, target: str) -> NDArray:
    tensors.release()  # of what the tensors before this one took
    return form.stored([recast(*_floats(tensors, part), target, tensors.label(part)) for part in parts])


def _floats(tensors: Tensors, name: str) -> tuple[NDArray, str]:
    """The numbers of a tensor, and the code of their dtype: as they are stored, int8 as float32."""
    code = tensors.dtypes[name]
    return (tensors.read(name), "F32") if code == "I8" else (tensors.stored(name), code)


def _int8(tensors: Tensors, part: str, theirs: str, layout: Layout) -> dict[str, Lazy]:
    """A matrix in int8, and the factors of its rows beside it; ValueError for a layout that has no place for them."""
    if layout is not transformers.LAYOUT:
        raise ValueError(
            f"{part} is in int8, for which the {layout.title} layout has no place; choose transformers or another dtype"
        )

    def make() -> Narrow:
        tensors.release()
        if tensors.dtypes[part] == "I8":
            return tensors.narrow(part)
        matrix = tensors.read(part)
        if not np.isfinite(matrix).all():
            raise misfit(tensors.label(part), float("inf"), "int8")
        return to_int8(matrix)

    rows, columns = tensors.shapes[part]
    return {
        theirs: Lazy("I8", (rows, columns), lambda: make().numbers),
        theirs + SCALE: Lazy("F32", (rows, 1), lambda: np.asarray(make().scale)[:, None]),
    }


def common_dtype(tensors: Tensors, names: Mapping[str, str], dtype: str) -> str:
    """What config.json calls the dtype of a converted checkpoint: of most floats, where each tensor keeps its own."""
    if dtype not in KEEPING:
        return dtype
    numbers: Counter[str] = Counter()
    for name in names.values():
        numbers[tensors.dtypes[name]] += prod(tensors.shapes[name])
    numbers.pop("I8", None)
    (code, _), *_ = numbers.most_common(1)
    return NAMES.get(code, "float32")


def write_layout(
    folder: str | os.PathLike[str],
    state: Mapping[str, Lazy],
    layout: Layout,
    config: Mapping[str, Any],
    overwrite: bool = False,
) -> None:
    """Write tensors, arranged as `layout` has them, and a config.json into `folder`, which is made where missing.

    With `overwrite` an older checkpoint there is replaced, whatever its layout, and its files are removed when the new
    one is complete; without, FileExistsError is raised before anything is written.
    """
    folder = make_folder(folder)
    old = sorted(
        path for path in folder.iterdir() if path.name in (SINGLE, INDEX, *OTHERS) or SHARD.fullmatch(path.name)
    )
    for path in (*old, folder / CONFIG_FILE):
        refuse_existing(path, overwrite)
    if layout.file == SINGLE:
        save_checkpoint(folder, state, SHARD_SIZES.get(layout.name, ONE_FILE), overwrite)
        old = [path for path in old if path.name in OTHERS]
    elif layout is flax.LAYOUT:
        save_messagepack(folder / layout.file, state, overwrite)
    else:
        save_safetensors(folder / layout.file, state, layout.metadata, overwrite)
    # A reader takes model.safetensors where there is one: the new checkpoint is the one that is read from here on.
    for path in old:
        if path.name != layout.file:
            path.unlink(missing_ok=True)
    write_json(folder / CONFIG_FILE, config, overwrite)
