"""Which tensor of an ONNX graph is the output of which module of the network that it was exported from."""

import ast
from collections.abc import Collection, Iterable
from typing import Any

SCOPES = "pkg.torch.onnx.name_scopes"  # where PyTorch's newer exporter writes the modules that a node lies in
# What quantisers put between modules, and name after the first: it belongs to neither.
BETWEEN = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
MOST = 100_000  # characters of that: it is a list of a dozen names


def module_outputs(nodes: Iterable[Any], final: Iterable[str], values: Collection[str]) -> dict[str, str]:
    """Module's dotted path → the last of `values` that leaves it: made by a node inside, read by one that is not.

    `nodes` are onnx.NodeProto in order of execution. The graph's outputs, `final`, leave all modules.
    """
    nodes = list(nodes)
    readers: dict[str, list[str]] = {name: [""] for name in final}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(scope(node))
    outputs: dict[str, str] = {}
    for node in nodes:
        for name in node.output:
            path = scope(node)
            while name in values and path:
                if any(not _within(reader, path) for reader in readers.get(name, ())):
                    outputs[path] = name
                path = path.rpartition(".")[0]
    return outputs


def scope(node: Any) -> str:
    """The dotted path of the module that a node lies in; "" for one that lies in none, or where nothing tells.

    The newer exporter lists the modules in the node's metadata; the older one writes them into its name.
    """
    if node.op_type in BETWEEN:
        return ""
    for entry in getattr(node, "metadata_props", ()):
        if entry.key == SCOPES:
            try:
                listed = ast.literal_eval(entry.value[:MOST])
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return ""
            named = isinstance(listed, list) and len(listed) > 1 and isinstance(listed[-2], str)
            return listed[-2] if named else ""  # the last is the node's own name
    if not node.name.startswith("/"):
        return ""
    return ".".join(part for part in node.name.split("/")[:-1] if part)


def _within(reader: str, path: str) -> bool:
    return reader == path or reader.startswith(path + ".")
