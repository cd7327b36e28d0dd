"""An activation has several places; where it is missing in one of them, the failing test names it and what to do."""

import inspect
import re

import pytest

from aimv2_np.comparison.capsule import ACTS
from aimv2_np.comparison.diagnosis.projections import FAMILIES
from aimv2_np.config.fields import activation
from aimv2_np.gradients.activations import DERIVATIVES
from aimv2_np.kernels.native import structures
from aimv2_np.network import activations
from aimv2_np.network.activations import ACTIVATIONS
from tests.network.test_activations import FORMULAS
from tests.support.paths import ROOT

KERNELS = ROOT / "aimv2_np" / "kernels"
# No kernel in C computes these: no released checkpoint names one of them, and NumPy's equation serves.
BY_NUMPY = {
    "gelu", "gelu_10", "gelu_fast", "gelu_python", "hardswish", "laplace", "leaky_relu", "linear", "mish", "relu2",
    "relu6", "sigmoid", "tanh",
}  # fmt: skip


def same_as(name):
    """All names of the equation that `name` names."""
    return {other for other, function in ACTIVATIONS.items() if function is ACTIVATIONS[name]}


def test_every_equation_has_a_name_in_the_table():
    functions = inspect.getmembers(activations, inspect.isfunction)
    own = [it for _, it in functions if it.__module__ == activations.__name__ and not it.__name__.startswith("_")]
    missing = [it.__name__ for it in own if it not in ACTIVATIONS.values()]
    assert not missing, f"{missing}: give it its name in ACTIVATIONS of aimv2_np/network/activations.py"


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_it_is_in_all_of_its_places(name):
    assert activation(name) == name, f"aimv2_np/config/fields.py refuses hidden_act {name!r}: let `activation` take it"
    assert ACTIVATIONS[name] in DERIVATIVES, (
        f"{name}: derive it in aimv2_np/gradients/activations.py, and list it in DERIVATIVES"
    )
    assert name in FORMULAS, f"{name}: write its formula into FORMULAS of tests/network/test_activations.py"
    kind = ACTIVATIONS[name].__name__.title().replace("_", "")
    structs = re.findall(r"^struct (\w+) ", (KERNELS / "cuda" / "activations.cuh").read_text(), re.MULTILINE)
    assert kind in structs, f"write `struct {kind}` for {name} into aimv2_np/kernels/cuda/activations.cuh"
    assert (name in structures.ACTIVATIONS) != (name in BY_NUMPY), (
        f"{name}: write it in C (`enum activation` in aimv2_np/kernels/native/kernels.h, `activate` in product.c, "
        f"`activate_back` in backward.c, ACTIVATIONS in structures.py), "
        f"or, if NumPy's equation is to serve, list it in BY_NUMPY here; not both"
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(
    ("place", "groups"),
    [
        ("ACTIVATIONS of aimv2_np/kernels/native/structures.py", [set(structures.ACTIVATIONS)]),
        ("ACTS of aimv2_np/comparison/capsule.py", [set(ACTS)]),
        ("FAMILIES of aimv2_np/comparison/diagnosis/projections.py", [set(family) for family in FAMILIES]),
    ],
)
def test_a_place_that_has_one_name_of_an_equation_has_all(name, place, groups):
    for group in groups:
        missing = same_as(name) - group
        assert not (name in group and missing), f"{place} has {name}; add {sorted(missing)}, the same equation"


def test_the_kernels_number_activations_as_python_does():
    (words,) = re.findall(r"enum activation \{(.+?)\}", (KERNELS / "native" / "kernels.h").read_text())
    numbers = {name.strip().lower(): number for number, name in enumerate(words.split(","))}
    functions = {ACTIVATIONS[name].__name__: number for name, number in structures.ACTIVATIONS.items()}
    assert functions == numbers, "kernels/native: `enum activation` in kernels.h and ACTIVATIONS in structures.py"
