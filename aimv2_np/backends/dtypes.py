"""Every fact about a dtype, once: its name, its code in files, its width, its precision, and who computes in it.

Arrays, files, tolerances and command lines all ask this table. bfloat16 is the upper half of a float32, and NumPy has
no such dtype: files are read and written with its bits as unsigned integers, ml_dtypes adds the dtype for CuPy.
"""

import numpy as np

# Name → code in the header of a safetensors file. Floats from fine to coarse.
FLOATS = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
CODES = FLOATS | {
    "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
NAMES = {code: name for name, code in CODES.items()}
# Code → the dtype of NumPy that holds the numbers of a file: little-endian, bfloat16 as its bits.
HELD = {code: np.dtype("u2" if code == "BF16" else name).newbyteorder("<") for code, name in NAMES.items()}
# Code → bits per element, for every dtype of the format; those that only quantised checkpoints have bear no name here.
BITS = {code: 8 * held.itemsize for code, held in HELD.items()} | {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "C64": 64,
}  # fmt: skip

BACKENDS = ("numpy", "cupy")
# What models compute in on either. NumPy's arrays are then of that dtype, but for bfloat16: those hold float32.
COMPUTED = ("float32", "float64", "float16", "bfloat16")

# Distance from 1 to the next number, the smallest normal number, the largest number.
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
TINY = {"float64": 2.0**-1022, "float32": 2.0**-126, "float16": 2.0**-14, "bfloat16": 2.0**-126}
LARGEST = {name: (2 - EPS[name]) * (2 / TINY[name]) for name in FLOATS}
