"""How many CUDA graphs were recorded and replayed: that there is one, not that somebody tried."""

from collections.abc import Iterator
from contextlib import contextmanager

from aimv2_np.kernels.cuda.graphs import GRAPHS


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Of what happens inside the block, filled in at its end: "recorded", "replayed", "failed"."""
    found: dict[str, int] = {}
    before = GRAPHS.counts()
    yield found
    after = GRAPHS.counts()
    found.update({name: after[name] - before[name] for name in ("recorded", "replayed", "failed")})
