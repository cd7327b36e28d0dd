"""The network's operations in few passes of NumPy, for what the kernels in C do not take or where there are none.

What computes float32 fast belongs to kernels/native, what a GPU computes to kernels/cuda.
"""
