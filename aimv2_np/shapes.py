"""Shape annotations: `Float[Array, "B N D"]` says what an array is, letter by letter.

    B pictures   L texts   C colours   N tokens (patches)   T tokens of a text   D hidden size   F intermediate size
    H heads   d features of a head   M tokens that are looked at   E features of the space of both   V tokens there are

as in docs/equations.md.

At run time they are plain `typing.Annotated`. When jaxtyping has been imported first, as the tests do, the same
annotations are jaxtyping's and every call of a layer is checked against them.
"""

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or "jaxtyping" not in sys.modules:
    from typing import Annotated as Bool
    from typing import Annotated as Float
    from typing import Annotated as Int
else:
    from jaxtyping import Bool, Float, Int

Array = Any  # numpy.ndarray, cupy.ndarray, or a Parameter that stands for one
NDArray = np.ndarray[Any, np.dtype[Any]]  # in host memory, of any dtype and shape

__all__ = ["Array", "Bool", "Float", "Int", "NDArray"]
