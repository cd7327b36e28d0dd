"""Recording the other side: a PyTorch module, an ONNX graph, or arrays that are there already.

Each imports its framework when it is called, and not before; none of them is installed with this package.
"""

from aimv2_np.recording.adapters.arrays import record_arrays
from aimv2_np.recording.adapters.onnx import record_onnx
from aimv2_np.recording.adapters.torch import record_torch

__all__ = ["record_arrays", "record_onnx", "record_torch"]
