"""What a training is of, whatever it is."""

from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

from aimv2_np.tree.module import Module

N = TypeVar("N", bound=Module)


class Task(Protocol[N]):
    """What is trained on what: `Pretrain` and `Contrastive`, or your own.

    Everything about it has to be a function of its arguments, and `batch` of the places alone.
    """

    @property
    def network(self) -> N:
        """With its first weights."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """JSON that says which task it is: a training goes on only where it is the same."""

    def trained(self, path: str) -> bool:
        """Whether a weight is trained; the others stay as they are."""

    def batch(self, places: range) -> Any:
        """The examples that the training sees at these places of all that it sees; where arrays of NumPy are in
        tuples, lists or dictionaries, `losses` gets them on the device that is computed on."""

    def losses(self, network: N, batch: Any) -> Mapping[str, Any]:
        """Numbers by name; `loss` is the one that is made smaller."""
