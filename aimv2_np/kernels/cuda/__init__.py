"""CUDA kernels, and the bodies of the network's operations that launch them; `bodies` says which serves which.

Here belong the sources (`.cu`), compiling and launching them, products by cuBLAS, attention by cuDNN, and CUDA graphs.
Nothing here imports CuPy before an operation meets its first array. Finding CuPy and its devices belongs to `backends`.
"""
