"""Other people's formats for running a model: ONNX.

The network is called with values of a graph in the place of arrays, and its files do not know; what each operation
writes into the graph stands in bodies.py.
"""

from aimv2_np.export.onnx import to_onnx

__all__ = ["to_onnx"]
