"""Matrices that are kept in two bytes a number, or one, and computed with as float32.

bfloat16 is the upper half of a float32: the same sign and exponent, 7 of the 23 bits of the fraction. So shifting its
bits up by 16 gives the float32 of exactly that value, and NumPy needs no bfloat16 of its own. int8 numbers are whole
ones from -127 to 127, each row times a factor of its own.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from aimv2_np.shapes import Array, NDArray

_readers: list[Callable[[], bool]] = []


def read_by(reader: Callable[[], bool]) -> None:
    """Have `reader` asked, when a model is loaded, whether there are kernels that read narrow matrices as they are."""
    _readers.append(reader)


def can_stay() -> bool:
    """Whether matrices had better stay narrow; where nothing reads them, they would be widened in every product."""
    return any(reader() for reader in _readers)


def may_be_narrow(shape: tuple[int, ...]) -> bool:
    """Whether an array of a model may be narrow: matrices and tables, and the patch embedding's, which is one too."""
    return len(shape) in (2, 4)


def widen_bits(bits: Array) -> Array:
    """The bits of bfloat16 numbers, uint16, as float32; of NumPy or CuPy."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def round_bits(array: NDArray) -> NDArray:
    """float32 numbers as the bits of bfloat16, rounded to nearest, ties to even; NaN stays NaN."""
    bits = array.view(np.uint32)
    # Half of what is cut off, less one where the last bit that stays is even: then a tie is not carried over.
    rounded = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(array), np.uint16(0x7FC0), rounded.astype(np.uint16))


def to_int8(matrix: NDArray) -> "Narrow":
    """The finite float32 matrix (O, I) rounded to int8; the largest number of a row in size is 127 times its factor."""
    scale = np.abs(matrix).max(axis=1, initial=0) / np.float32(127)
    scale = np.where(scale >= np.finfo(np.float32).tiny, scale, np.float32(1))  # a row of nothing is zeros
    return Narrow(np.rint(matrix / scale[:, None]).clip(-127, 127).astype(np.int8), scale)


class Wrapped:
    """What stands for an array of a library: narrow matrices, and the variables of `gradients`.

    Attributes:
        library: `numpy`, `cupy`, or what stands for that: the functions that take such arrays.
    """

    __slots__ = ()
    library: Any


class Narrow(NDArrayOperatorsMixin, Wrapped):
    """A float32 matrix, or patch embedding, that is kept in narrower numbers, most often where a mapped file has them.

    To NumPy, and to who asks for its dtype, it is the float32 array of the same values, which is made anew whenever one
    is needed. Kernels that know it widen a piece at a time, and never hold it all.

    Args:
        numbers: (O, …), the bits of bfloat16 as uint16, or int8.
        scale: (O,) float32, the factor of each row of int8 numbers; None for bfloat16.
        rounds: whether a product with it takes the other factor in bfloat16 too, and sums up in float32, which some
            processors do faster: the arithmetic of a model whose dtype is "bfloat16".
    """

    dtype = np.dtype(np.float32)
    library = np

    def __init__(self, numbers: NDArray, scale: NDArray | None = None, rounds: bool = False) -> None:
        self.numbers, self.scale, self.rounds = numbers, scale, rounds

    @property
    def stored(self) -> str:
        """The dtype that it is kept in: "bfloat16" or "int8"."""
        return "bfloat16" if self.scale is None else "int8"

    @property
    def computes(self) -> str:
        """The dtype that products with it are of: "float32" or "bfloat16"."""
        return "bfloat16" if self.rounds else "float32"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.numbers.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes as it is kept."""
        return self.numbers.nbytes + (0 if self.scale is None else self.scale.nbytes)

    def widened(self) -> NDArray:
        """A float32 array of its values, (O, …)."""
        wide: NDArray = widen_bits(self.numbers) if self.scale is None else self.numbers * self._factors(self.scale)
        return wide

    def _factors(self, scale: NDArray) -> NDArray:
        """(O, 1, …): the factor of each row's numbers."""
        return scale.reshape(-1, *[1] * (self.numbers.ndim - 1))

    def reshape(self, *shape: Any) -> Any:
        """As NumPy's; of bfloat16, and of int8 whose rows stay rows, it is narrow again."""
        numbers = self.numbers.reshape(*shape)
        if self.scale is None or numbers.shape[:1] == self.scale.shape:
            return Narrow(numbers, self.scale, self.rounds)
        return self.widened().reshape(*shape)

    def __getattr__(self, name: str) -> Any:
        """What else an array has (T, ndim, max, astype, …): that of the float32 array."""
        if name.startswith("_") or name in ("numbers", "scale"):  # while it is copied, before it has them
            raise AttributeError(name)
        return getattr(self.widened(), name)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        if self.scale is None:
            return widen_bits(self.numbers[index])
        if isinstance(index, tuple):
            return self.widened()[index]
        return self.numbers[index] * self._factors(self.scale)[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        if copy is False:
            raise ValueError("a matrix that is kept narrow has no float32 numbers to share; ask for a copy")
        wide: NDArray = self.widened().astype(self.dtype if dtype is None else dtype, copy=False)
        return wide

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        wide = [x.widened() if isinstance(x, Narrow) else x for x in inputs]
        return getattr(ufunc, method)(*wide, **options)

    def __repr__(self) -> str:
        return f"Narrow({self.shape}, {self.stored}, {self.computes} products)"


def for_bfloat16(array: NDArray) -> Any:
    """A float32 array as one of a model that computes in bfloat16 on a CPU: narrow where it may be, else as it is."""
    return Narrow(round_bits(array), rounds=True) if may_be_narrow(array.shape) else array
