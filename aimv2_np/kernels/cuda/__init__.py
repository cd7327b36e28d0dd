"""CUDA kernels, and bodies for the layers' operations that launch them. `bodies` says which serves which."""
