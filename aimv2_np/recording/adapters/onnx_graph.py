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
    readers = _readers(nodes, final)
    outputs: dict[str, str] = {}
    for node in nodes:
        for name in node.output:
            path, leads = scope(node), readers.get(name, set())
            while name in values and path and None not in leads:
                if any(not _within(str(reader), path) for reader in leads):
                    outputs[path] = name
                path = path.rpartition(".")[0]
    return outputs


def _readers(nodes: list[Any], final: Iterable[str]) -> dict[str, set[str | None]]:
    """Value → the modules that read it, "" for what lies in none; None for one that nobody knows.

    That is where the newer exporter's graph has a node without a module: a quantiser made it of one that had one.
    """
    unknown = None if any(entry.key == SCOPES for node in nodes for entry in _entries(node)) else ""
    readers: dict[str, set[str | None]] = {name: {""} for name in final}
    for node in reversed(nodes):
        if node.op_type in BETWEEN:
            where = set[str | None]().union(*(readers.get(name, ()) for name in node.output))
        else:
            where = {scope(node) or unknown}
        for name in node.input:
            readers.setdefault(name, set()).update(where)
    return readers


def scope(node: Any) -> str:
    """The dotted path of the module that a node lies in; "" for one that lies in none, or where nothing tells.

    The newer exporter lists the modules in the node's metadata; the older one writes them into its name.
    """
    if node.op_type in BETWEEN:
        return ""
    for entry in _entries(node):
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


def _entries(node: Any) -> Iterable[Any]:
    return getattr(node, "metadata_props", ())


def _within(reader: str, path: str) -> bool:
    return reader == path or reader.startswith(path + ".")
