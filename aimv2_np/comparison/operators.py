"""Names of the values in an ONNX graph, `/encoder/layers.0/ffn/up_proj/MatMul_output_0`: which one ends its module.

Exporters name a value after the module and the operator that made it. Only the last operator of a module gives the
module's output, and names alone do not tell which that is: a graph's outputs have names of their own, so the product
before the gain may be the last one under the name of the final norm. What the other modules of its kind end with tells.
"""

import re
from collections.abc import Iterable

_OPERATOR = re.compile(r"(?:Add|MatMul|Gemm|Mul|Conv|Gather|Transpose)(?:_[0-9]{1,9})?(?:_output_[0-9]{1,9})?")
LAST_KINDS = ("Conv", "Gather", "MatMul", "Gemm", "Mul", "Transpose", "Add")  # a bias is added after the product
# The last component of a module's path → the operators that can end it.
ENDS = {
    r"(?:\w+_proj|\w+_projection|\w*qkv)": ("MatMul", "Gemm", "Add"),
    r"rms_norm[12]?|norm[12]?|norm_[12]|\w+_norm": ("Mul",),
    r"patch_embed|proj": ("Conv", "Transpose"),
    r"token_embedding|position_embedding": ("Gather",),
    r"embeddings|\d+": ("Add",),
}
_ALIKE = re.compile(r"rms_norm|norm")  # which kinds of modules are alike whatever their names


def without_operator(name: str) -> list[str]:
    """The components of a value's name without its operator; empty where that operator cannot end its module."""
    parts = [part for part in re.split(r"[./]", name) if part]
    if len(parts) > 1 and _OPERATOR.fullmatch(parts[-1]):
        kind = parts.pop().split("_")[0]
        if _ends(parts[-1], kind) is None:
            return []
    return parts


def rank(name: str) -> tuple[int, int]:
    """Which of several operators of one module ends it: the one of the highest rank, (0, 0) for plain names.

    Names in a file may be in any order, and `Mul_1` comes before `Mul` in the alphabet.
    """
    operator = name.rpartition("/")[2]
    if not name.startswith("/") or not _OPERATOR.fullmatch(operator):
        return (0, 0)
    kind, *numbers = operator.partition("_output_")[0].split("_")
    return (LAST_KINDS.index(kind), int(numbers[0]) if numbers else 0)


def inner(names: Iterable[str]) -> set[str]:
    """The values that do not end their module, by what ends the other modules of its kind.

    Where the norms of a graph have two products each and one has a single one, the second of that one has another name.
    Numbers may count through a whole graph: it is how many operators a module has that is compared.
    """
    modules: dict[tuple[str, str], list[str]] = {}  # (module, row of ENDS) -> its values
    for name in names:
        path, _, operator = name.rpartition("/")
        if rank(name) != (0, 0) and (row := _ends(re.split(r"[./]", path)[-1], operator.split("_")[0])):
            modules.setdefault((path, row), []).append(name)
    last = {module: max(values, key=rank) for module, values in modules.items()}
    most: dict[str, tuple[int, int]] = {}
    weights = {}
    for module, name in last.items():
        kind = rank(name)[0]
        weights[module] = (kind, sum(rank(value)[0] == kind for value in modules[module]))
        most[_kind(*module)] = max(most.get(_kind(*module), (0, 0)), weights[module])
    return {
        name for module, values in modules.items() for name in values
        if name != last[module] or weights[module] < most[_kind(*module)]
    }  # fmt: skip


def _ends(component: str, kind: str) -> str | None:
    """The row of `ENDS` by which an operator of this kind can end a module of this name."""
    return next((row for row, kinds in ENDS.items() if kind in kinds and re.fullmatch(row, component)), None)


def _kind(path: str, row: str) -> str:
    """What a module is compared with: all norms, else the modules of the same name (any layer)."""
    component = re.split(r"[./]", path)[-1]
    return row if _ALIKE.search(component) or component.isdigit() else component
