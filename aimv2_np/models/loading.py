"""From a mapped checkpoint to a model's arrays, one tensor after the other: the host never holds two copies of them."""

from collections.abc import Mapping
from contextlib import nullcontext
from math import prod
from typing import TypeVar

import numpy as np

from aimv2_np.backends import devices
from aimv2_np.backends.arrays import dtype_of, namespace, settle, upload, widen
from aimv2_np.backends.dtypes import BITS, FLOATS
from aimv2_np.backends.narrow import Narrow, can_stay, may_be_narrow, widen_bits
from aimv2_np.backends.stacking import Stacker
from aimv2_np.models.options import Progress
from aimv2_np.shapes import Array, NDArray
from aimv2_np.storage.checkpoint import Tensors
from aimv2_np.storage.formats.casting import misfit, recast
from aimv2_np.tree.module import Module, Parameter

M = TypeVar("M", bound=Module)

RELEASE_BYTES = 64 << 20  # of the mapped file that stay in memory after they have been copied


def fill(
    skeleton: M,
    tensors: Tensors,
    stored: Mapping[str, str],
    backend: str,
    dtype: str,
    device: int | None,
    progress: Progress | None = None,
) -> M:
    """`skeleton` with its arrays, each read from `tensors` under the name that `stored` has for its path.

    On the CPU weights stay in the mapped file where they have the right dtype and begin at a multiple of its size; for
    float32, and where the kernels in C compute, matrices in bfloat16 or int8 stay as they are too. Others are copied,
    which NumPy would do in every product. To a GPU they go as they are stored, and are converted there.
    For "bfloat16" on the CPU matrices are in bfloat16, and all else in float32.

    Raises CheckpointError for numbers that are not finite or too large for the dtype, where they are converted;
    MemoryError when a GPU has no room.
    """
    itemsize = BITS[FLOATS[dtype]] // 8
    total, done, copied = skeleton.num_parameters() * itemsize, 0, 0
    on_gpu = backend != "numpy"
    stack = Stacker({path: parameter.shape for path, parameter in skeleton.state_dict().items()} if on_gpu else {})

    def read(path: str, parameter: Parameter) -> Array:
        nonlocal done, copied
        name = stored[path]
        source = tensors.stored(name)
        array = stack(path, _sent(tensors, name, dtype)) if on_gpu else _kept(tensors, name, dtype)
        if on_gpu or not np.may_share_memory(array.numbers if isinstance(array, Narrow) else array, source):
            copied += source.nbytes
        if copied > RELEASE_BYTES:
            tensors.release()
            copied = 0
        done += prod(parameter.shape) * itemsize
        if progress is not None:
            progress(done, total)
        return array

    if on_gpu:
        devices.check_room(total, device)
        device = devices.current() if device is None else device
    with devices.on_device(device) if device is not None else nullcontext():
        model = skeleton.map(read)
        settle(backend)
        return model


def _kept(tensors: Tensors, name: str, dtype: str) -> NDArray | Narrow:
    """A tensor for the CPU: narrow where it may be and is read so, or is to be in bfloat16."""
    code = tensors.dtypes[name] if may_be_narrow(tensors.shapes[name]) else ""
    if (code == "BF16" and dtype == "bfloat16") or (code in ("BF16", "I8") and dtype == "float32" and can_stay()):
        return tensors.narrow(name, rounds=dtype == "bfloat16")
    if dtype != "bfloat16" or not code:
        return tensors.read(name, "float32" if dtype == "bfloat16" else dtype)
    return Narrow(recast(tensors.read(name), "F32", "BF16", tensors.label(name)), rounds=True)


def _sent(tensors: Tensors, name: str, dtype: str) -> Array:
    """A tensor on the current device in `dtype`; its values are checked only where they are converted."""
    values, target = tensors.stored(name), dtype_of(dtype)
    if tensors.dtypes[name] == "I8":
        array = upload(tensors.narrow(name).widened())
    elif tensors.dtypes[name] != "BF16":
        array = upload(values.astype(values.dtype.newbyteorder("="), copy=False))
    elif dtype == "bfloat16":
        array = upload(values.view(target))
    else:
        array = widen_bits(upload(values))
    if array.dtype == target:
        return array
    result = array.astype(target)
    if not namespace(result).isfinite(result).all():
        raise misfit(tensors.label(name), float(abs(widen(array)).max()), dtype)
    return result
