"""The network's equations in C, for float32 on a CPU: one file an operation, compiled for several instruction sets.

Here belong C, what compiles it and what hands NumPy's arrays to it. Without a compiled library, or with
AIMV2_NP_NATIVE=0, kernels/numpy computes everything.
"""
