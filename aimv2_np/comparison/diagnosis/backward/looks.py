"""What the other side recorded of gradients, beside what was expected of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from aimv2_np.shapes import NDArray


@dataclass(frozen=True, eq=False)
class Look:
    """The gradient by one activation or weight.

    Attributes:
        path: of that.
        expected: what comes back there, of what the other side gave the modules behind it.
        found: what the other side recorded.
        giver: the module whose derivative gives it.
    """

    path: str
    expected: NDArray
    found: NDArray
    giver: str


def weights_behind_their_modules(looks: Iterable[Look], weights: frozenset[str]) -> list[Look]:
    """The looks, each weight's behind that of its module's output; first those of which there is no such."""
    looks = list(looks)
    result = [look for look in looks if look.path not in weights]
    places = {look.path for look in result}
    for look in reversed([look for look in looks if look.path in weights]):
        owner = look.path.rpartition(".")[0]
        while owner and owner not in places:
            owner = owner.rpartition(".")[0]
        at = next((i + 1 for i, each in enumerate(result) if each.path == owner), 0)
        result.insert(at, look)
    return result
