"""Which operations CUDA computes, for which type of array, and that a full device lets graphs go."""

from aimv2_np.backends import devices
from aimv2_np.kernels.cuda.bodies import BODIES, register
from aimv2_np.kernels.cuda.graphs import GRAPHS
from aimv2_np.network.encoder import run_layers
from aimv2_np.network.linear import linear


class Elsewhere:
    """An array of another library."""


def test_every_operation_has_its_body_and_composites_hide_theirs():
    try:
        register(Elsewhere)
        assert all(operation.bodies[Elsewhere] is body for operation, body in BODIES.items())
        assert Elsewhere in run_layers.hiding
        assert Elsewhere not in linear.hiding
        assert GRAPHS.clear in devices.reserves
    finally:
        for operation in BODIES:
            operation.bodies.pop(Elsewhere, None)
            operation.skipped.pop(Elsewhere, None)
            operation.hiding.discard(Elsewhere)
