"""From a mapped checkpoint to a model's arrays, one tensor after the other: the host never holds two copies of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeVar

import numpy as np

from aimv2_np.backends import devices
from aimv2_np.backends.arrays import dtype_of, is_float, largest, namespace, settle, upload, widen
from aimv2_np.backends.stacking import Stacker
from aimv2_np.errors import CheckpointError
from aimv2_np.shapes import Array
from aimv2_np.storage.checkpoint import Tensors
from aimv2_np.tree.module import Module, Parameter

Progress = Callable[[int, int], None]
M = TypeVar("M", bound=Module)

RELEASE_BYTES = 64 << 20  # of the mapped file that stay in memory after they have been copied


@dataclass(frozen=True)
class Place:
    """Where a model's arrays are to live, and what it computes in."""

    backend: str
    dtype: str
    device: int | None


def fill(skeleton: M, tensors: Tensors, stored: Mapping[str, str], place: Place, progress: Progress | None = None) -> M:
    """`skeleton` with its arrays, each read from `tensors` under the name that `stored` has for its path.

    On the CPU weights stay in the mapped file where they have the right dtype and begin at a multiple of its size.
    Others are copied, which NumPy would do in every product. To a GPU they go as they are stored, and are converted
    there.

    Raises CheckpointError for numbers that are not finite or too large for the dtype, where they are converted;
    MemoryError when a GPU has no room.
    """
    total = skeleton.num_parameters() * dtype_of(place.dtype).itemsize
    done = 0

    def tell(parameter: Parameter) -> None:
        nonlocal done
        done += prod(parameter.shape) * dtype_of(place.dtype).itemsize
        if progress is not None:
            progress(done, total)

    if place.backend == "numpy":
        copied = 0

        def read(path: str, parameter: Parameter) -> Array:
            nonlocal copied
            array = tensors.read(stored[path], place.dtype)
            if not np.may_share_memory(array, tensors.stored(stored[path])):
                copied += array.nbytes
                if copied > RELEASE_BYTES:
                    tensors.release()
                    copied = 0
            tell(parameter)
            return array

        return skeleton.map(read)

    devices.check_room(total, place.device)
    send = _Sender(tensors, place.dtype)
    stack = Stacker({path: parameter.shape for path, parameter in skeleton.state_dict().items()})

    def sent(path: str, parameter: Parameter) -> Array:
        array = stack(path, send(stored[path]))
        tell(parameter)
        return array

    with devices.on_device(devices.current() if place.device is None else place.device):
        model = skeleton.map(sent)
        settle(place.backend)
        return model


class _Sender:
    """Sends tensors to the current device."""

    def __init__(self, tensors: Tensors, dtype: str) -> None:
        self.tensors, self.dtype = tensors, dtype
        self._kept = 0

    def __call__(self, name: str) -> Array:
        values = self.tensors.stored(name)
        if self.tensors.dtypes[name] == "BF16":
            return self._converted(name, self._send_bfloat16(values))
        return self._converted(name, self._sent(values.astype(values.dtype.newbyteorder("="), copy=False)))

    def _send_bfloat16(self, bits: np.ndarray[Any, Any]) -> Array:
        if self.dtype == "bfloat16":
            return self._sent(bits.view(dtype_of("bfloat16")))
        sent = self._sent(bits)  # as in storage/formats/dtypes.py: the upper half of a float32
        return (sent.astype(np.uint32) << np.uint32(16)).view(np.float32)

    def _sent(self, values: np.ndarray[Any, Any]) -> Array:
        array = upload(values)
        self._kept += values.nbytes
        if self._kept > RELEASE_BYTES:
            self.tensors.release()
            self._kept = 0
        return array

    def _converted(self, name: str, array: Array) -> Array:
        """In the model's dtype, if every number has one there; what needs no conversion is not looked at."""
        if array.dtype == dtype_of(self.dtype):
            return array
        assert is_float(array)
        result = array.astype(dtype_of(self.dtype))
        if not namespace(result).isfinite(result).all():
            raise CheckpointError(self._complaint(name, array))
        return result

    def _complaint(self, name: str, array: Array) -> str:
        what = f"{self.tensors.folder}: tensor {name!r:.200}"
        size = float(abs(widen(array)).max())
        if not np.isfinite(size):
            return f"{what} holds numbers that are not finite (inf or NaN); fetch it again"
        return (
            f"{what} holds {size:g}, more than {self.dtype} can ({largest(self.dtype):g}); load it as "
            f"{'float32' if self.dtype in ('float16', 'bfloat16') else 'float64'}"
        )
