"""An ONNX file of a graph: written whole or not at all, large weights beside it, one array in memory at a time.

A file holds at most 2 GB, as protocol buffers do.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from aimv2_np.export.graph import Graph, Node
from aimv2_np.export.symbol import Symbol
from aimv2_np.files.atomic import atomic_write
from aimv2_np.shapes import NDArray

OPSET, IR = 18, 8
LARGEST = 2**31 - 2**24  # bytes of weights in the file itself; the graph needs some room too
SMALL = 1024  # bytes of what stays in the file: shapes and axes, which whoever checks a graph has to know
ALIGNMENT = 4096  # where arrays begin in the second file, so that they can be mapped


def write(
    path: Path,
    graph: Graph,
    inputs: Sequence[Symbol],
    outputs: Mapping[str, Symbol],
    about: Mapping[str, str],
    overwrite: bool,
) -> None:
    """Write the graph to `path`, its weights too, or into `<path>.data` where they are too many.

    Args:
        path: the file.
        graph: its operators and constants.
        inputs: in order.
        outputs: by name, in order; the names are those of the symbols.
        about: what the file says of itself.
        overwrite: replace files that are there.
    """
    import onnx

    constants = graph.constants()
    beside = sum(_bytes(constant) for constant in constants) > LARGEST
    data = path.with_name(f"{path.name}.data")
    with ExitStack() as files:
        file = files.enter_context(atomic_write(path, overwrite))
        if beside:
            large = files.enter_context(atomic_write(data, overwrite))
            tensors = [
                _external(constant, large, data.name) if _bytes(constant) > SMALL
                else _inline(constant) for constant in constants
            ]  # fmt: skip
        else:
            tensors = [_inline(constant) for constant in constants]
        proto = onnx.helper.make_model(
            onnx.helper.make_graph(
                [_node(node) for node in graph.nodes], "aimv2", [_info(value) for value in inputs],
                [_info(value) for value in outputs.values()], tensors,
                value_info=[
                    _info(node.output) for node in graph.nodes
                    if node.output.named and node.output.name not in outputs
                ],
            ),
            opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="aimv2_np",
        )  # fmt: skip
        onnx.helper.set_model_props(proto, dict(about))
        file.write(proto.SerializeToString(deterministic=True))


def _bytes(value: Symbol) -> int:
    return prod(value.shape) * int(value.dtype.itemsize)


def _kind(dtype: np.dtype[Any]) -> int:
    """ONNX's number of a dtype."""
    import onnx

    if dtype.name == "bfloat16":
        return int(onnx.TensorProto.BFLOAT16)
    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype))


def _info(value: Symbol) -> Any:
    import onnx

    dims = [n if isinstance(n, int) else n.name for n in value.shape]
    return onnx.helper.make_tensor_value_info(value.name, _kind(value.dtype), dims)


def _node(node: Node) -> Any:
    """An operator, whose name tells the module that it lies in as PyTorch's exporter does: /encoder.layers.0/MatMul."""
    import onnx

    attributes = {name: _kind(value) if name == "to" else value for name, value in node.attributes.items()}
    name = f"/{node.path}/{node.output.name}" if node.path else f"/{node.output.name}"
    return onnx.helper.make_node(
        node.kind, [value.name for value in node.inputs], [node.output.name], name, **attributes
    )


def _raw(value: Symbol) -> NDArray:
    """The numbers as they lie in a file."""
    return np.ascontiguousarray(value.value.astype(value.dtype, copy=False))


def _inline(value: Symbol) -> Any:
    import onnx

    tensor = onnx.TensorProto(name=value.name, data_type=_kind(value.dtype), dims=value.shape)
    tensor.raw_data = _raw(value).tobytes()
    return tensor


def _external(value: Symbol, file: BinaryIO, name: str) -> Any:
    """A tensor whose numbers are appended to a second file."""
    import onnx

    file.write(bytes(-file.tell() % ALIGNMENT))
    start = file.tell()
    file.write(_raw(value).data)
    tensor = onnx.TensorProto(name=value.name, data_type=_kind(value.dtype), dims=value.shape)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, said in (("location", name), ("offset", start), ("length", file.tell() - start)):
        tensor.external_data.add(key=key, value=str(said))
    return tensor
