import pytest

from aimv2_np.comparison.diagnosis.fault import Fault, computing, holding
from aimv2_np.comparison.diagnosis.search import FAULTS
from aimv2_np.network.rms_norm import RMSNorm
from tests.support.models import both_model, pixels

MODULES = dict(both_model().named_modules())


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.identifier}: {fault.sentence[:40]}")
def test_every_sentence_can_be_said_of_a_module_of_its_kind(fault):
    path, module = next((path, module) for path, module in MODULES.items() if type(module) is fault.kind)
    alone, several = fault.told({path: module}), fault.told({path: module, "other": module})
    assert path in alone
    assert "{" not in alone
    assert several == f"{alone} (and so do 1 more like it)"


def test_a_fault_is_planted_in_a_copy():
    norm = MODULES["vision_model.rms_norm"]
    x = pixels()[..., :16].reshape(-1, norm.weight.shape[0])
    right = norm(x)
    fault = Fault("x", RMSNorm, "{path}", holding(eps=lambda m: m.eps + 1))
    assert fault.plant(norm, "rms_norm", None).eps == norm.eps + 1
    zero = computing(lambda m, x: 0 * x)(norm, "rms_norm", None)
    assert not zero(x).any()
    assert (norm(x) == right).all()
