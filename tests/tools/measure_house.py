"""How large the house is, and how far it is through it: lines by room, files and functions on the way of a picture.

    python tests/tools/measure_house.py [ROOT]

ROOT is another checkout, to compare with: the package is imported from there. What is counted:

    lines       of the package's Python, by room; those in network/ that are machinery (`MACHINERY`)
    forward     of a vision tower with 4 layers, every operation as written (`textbook()`): the files whose code runs,
                the functions, and the moves from file to file in the order of calls
    frames      of a call `q_proj(x)` on the fast path, from the module's `__call__` to the function of the package that
                asks NumPy, or our C kernels, for the product, both counted, and the product as one more
"""

import ast
import dis
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

LAYERS = 4
CONFIG = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip

# What a layer may not know of (docs/design.md): packing lists, checks, caches, graphs, threads, warnings, recorders. A
# function with such a name counts whole, of the others the lines that say such a word. view.py is not searched: who
# sees whom is an equation there.
MACHINERY_NAMES = re.compile(r"packed_\w+|\w+_packed|runs|run_tower|at|compute_both_ways")
MACHINERY = re.compile(
    r"\b(lengths|runs|packs?|packed|packed_\w+|\w+_packed|numbered|raise|warn\w*|isinstance|\w*cache\w*|Threads?|Locks?|"
    r"watch\w*|tracing|run_tower|compute_both_ways|Callable|Iterator|TYPE_CHECKING)\b"
)
PRODUCTS = ("matmul", "dot", "einsum", "inner", "tensordot")  # NumPy's functions that multiply matrices


def lines_by_room(package: Path) -> Counter[str]:
    """Lines of Python in each folder of the package, and in `.`, its top."""
    found: Counter[str] = Counter()
    for path in package.rglob("*.py"):
        room, *rest = path.relative_to(package).parts
        found[room if rest else "."] += len(path.read_text(encoding="utf-8").splitlines())
    return found


def machinery(text: str) -> set[int]:
    """The numbers of the lines of a Python file that are machinery."""
    found = {i for i, line in enumerate(text.splitlines(), 1) if MACHINERY.search(line)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and MACHINERY_NAMES.fullmatch(node.name):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            found |= set(range(first, node.end_lineno + 1))
    return found


def machinery_of_the_network(package: Path) -> tuple[int, int]:
    """Lines of machinery in network/ (once layers/), and all its lines."""
    folder = next(package / name for name in ("network", "layers") if (package / name).is_dir())
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py") if path.name != "view.py"]
    return sum(len(machinery(text)) for text in texts), lines_by_room(package)[folder.name]


def walk(package: Path, call: Callable[[], object]) -> list[tuple[str, str]]:
    """(file, function) of every call in the package while `call` runs, in order; to resume a generator counts."""
    calls: list[tuple[str, str]] = []

    def look(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(f"{package}/"):
            calls.append((frame.f_code.co_filename, frame.f_code.co_qualname))

    sys.setprofile(look)
    try:
        call()
    finally:
        sys.setprofile(None)
    return calls


def moves(calls: list[tuple[str, str]]) -> int:
    """How often the next function to be called is in another file than the one before; to enter the first is one."""
    files = [file for file, _ in calls]
    return sum(here != before for here, before in zip(files, [None, *files], strict=False))


@contextmanager
def watching_products(see: Callable[[FrameType], None]) -> Iterator[None]:
    """Show `see` the frame of each function that asks NumPy or our C kernels for a matrix product, by name or `@`."""
    originals = {name: getattr(np, name) for name in PRODUCTS}
    kernels = None
    if find_spec("aimv2_np.kernels.native"):  # older checkouts have none
        kernels = import_module("aimv2_np.kernels.native.library").Kernels
        in_c = kernels.linear
        kernels.linear = property(lambda self: stand_in(in_c.__get__(self)))
    operators: dict[CodeType, set[int]] = {}

    def stand_in(original: Callable[..., Any]) -> Callable[..., Any]:
        def product(*args: Any, **kwargs: Any) -> Any:
            see(sys._getframe(1))
            return original(*args, **kwargs)

        return product

    def step(frame: FrameType, event: str, _: Any) -> Any:
        frame.f_trace_opcodes = True
        if frame.f_code not in operators:
            found = dis.get_instructions(frame.f_code)
            operators[frame.f_code] = {
                step.offset for step in found if step.opname == "BINARY_OP" and step.argrepr in ("@", "@=")
            }
        if event == "opcode" and frame.f_lasti in operators[frame.f_code]:
            see(frame)
        return step

    for name, original in originals.items():
        setattr(np, name, stand_in(original))
    sys.settrace(step)
    try:
        yield
    finally:
        sys.settrace(None)
        for name, original in originals.items():
            setattr(np, name, original)
        if kernels is not None:
            kernels.linear = in_c


def frames_to_product(package: Path, module: Callable[..., Any], x: Any) -> list[str]:
    """The functions between `module(x)` and the product that it computes, the module's `__call__` first."""
    stacks: list[list[str]] = []

    def see(frame: FrameType | None) -> None:
        stack = []
        while frame is not None and frame.f_code is not frames_to_product.__code__:
            if frame.f_code.co_filename.startswith(f"{package}/"):
                stack.append(f"{Path(frame.f_code.co_filename).relative_to(package)}:{frame.f_code.co_qualname}")
            frame = frame.f_back
        stacks.append(stack[::-1])

    module(x)  # whatever is done once has been done
    with watching_products(see):
        module(x)
    if not stacks:
        raise LookupError(
            f"{type(module).__name__} asks NumPy for no product; expected one of {', '.join(PRODUCTS)} or @"
        )
    return stacks[-1]


def report(root: Path) -> str:
    """All figures, for the checkout whose package can be imported."""
    package = root / "aimv2_np"
    from aimv2_np import Aimv2VisionConfig, Aimv2VisionModel, textbook

    model = Aimv2VisionModel(Aimv2VisionConfig(**CONFIG))
    pixels = np.zeros((1, 3, 28, 28), np.float32)

    with textbook():
        model(pixels)  # whatever is imported or made once has been
        calls = walk(package, lambda: model(pixels))
    frames = frames_to_product(package, model.encoder.layers[0].attention.q_proj, np.zeros((1, 4, 16), np.float32))
    rooms = lines_by_room(package)
    counted, all_lines = machinery_of_the_network(package)
    return "\n".join([
        *(f"{room:12} {lines:6,}" for room, lines in sorted(rooms.items())),
        f"{'in all':12} {rooms.total():6,}",
        f"network: {counted} of {all_lines} lines are machinery",
        f"forward, {LAYERS} layers, textbook: "
        f"{len({file for file, _ in calls})} files, {len(set(calls))} functions, {moves(calls)} moves",
        f"q_proj(x): {len(frames) + 1} frames to the product",
        *(f"    {frame}" for frame in frames),
    ])  # fmt: skip


if __name__ == "__main__":
    chosen = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2]).resolve()
    sys.path.insert(0, str(chosen))
    print(report(chosen))
