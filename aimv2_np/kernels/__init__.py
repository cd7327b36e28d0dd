"""Faster bodies for the layers' operations. Importing this package registers them."""

from aimv2_np.kernels import cpu

__all__ = ["cpu"]
