"""Which tensor of a graph is the output of which module. Nodes are what onnx has, as far as it is asked for."""

from types import SimpleNamespace

import pytest

from aimv2_np.recording.adapters.onnx_graph import SCOPES, module_outputs, scope


def node(name, inputs, outputs, scopes=None, op_type=""):
    entries = [] if scopes is None else [SimpleNamespace(key=SCOPES, value=scopes)]
    return SimpleNamespace(name=name, input=inputs, output=outputs, metadata_props=entries, op_type=op_type)


NODES = [
    node("/norm/Cast", ["x"], ["copy"]),
    node("/norm/Mul", ["copy"], ["before"]),
    node("/norm/Mul_1", ["before"], ["normed"]),
    node("/layers.0/ffn/up/MatMul", ["normed"], ["up"]),
    node("/layers.0/ffn/down/MatMul", ["up"], ["down"]),
    node("/layers.0/Add", ["copy", "down"], ["sum"]),
]


def test_the_last_value_that_leaves_a_module_is_its_output():
    found = module_outputs(NODES, ["sum"], {"copy", "before", "normed", "up", "down", "sum"})
    assert found == {
        "norm": "normed",  # the copy of its input leaves it too, before
        "layers.0.ffn.up": "up",
        **dict.fromkeys(("layers.0.ffn.down", "layers.0.ffn"), "down"),
        **dict.fromkeys(("layers.0", "layers"), "sum"),
    }


def test_values_of_no_interest_are_no_outputs():
    assert module_outputs(NODES, ["sum"], {"up"}) == {"layers.0.ffn.up": "up"}


def test_what_a_quantiser_puts_between_modules_belongs_to_none():
    between = node("/norm/x_QuantizeLinear", ["normed"], ["q", "scale", "zero"], op_type="DynamicQuantizeLinear")
    product = node("/up/MatMulInteger", ["q", "scale"], ["up"])
    found = module_outputs([node("/norm/Mul", ["x"], ["normed"]), between, product], ["up"], {"normed", "scale", "up"})
    assert found == {"norm": "normed", "up": "up"}


def test_what_a_quantiser_took_the_module_from_leaves_nothing_to_be_said():
    within = "['', 'attention', 'matmul']"
    nodes = [
        node("node_1", ["v"], ["attended"], within),
        node("attended_QuantizeLinear", ["attended"], ["q"], op_type="DynamicQuantizeLinear"),
        node("node_linear_quant", ["q"], ["projected"]),
        node("node_2", ["projected"], ["sum"], "['', 'layer', 'add']"),
    ]
    assert module_outputs(nodes, ["sum"], {"attended", "projected", "sum"}) == {"layer": "sum"}


@pytest.mark.parametrize(
    ("name", "scopes", "path"),
    [
        ("/encoder/layers.0/ffn/MatMul_1", None, "encoder.layers.0.ffn"),
        ("/MatMul", None, ""),
        ("MatMul_7", None, ""),
        ("node_3", "['', 'encoder', 'encoder.layers.0', 'linear_3']", "encoder.layers.0"),
        ("/a/b", "['', 'linear_3']", ""),
        ("node_3", "['linear_3']", ""),
        ("node_3", "no list", ""),
        ("node_3", "[1, 2, 3]", ""),
        ("node_3", "(" * 5000, ""),
        ("node_3", "__import__('os')", ""),
    ],
)
def test_the_module_that_a_node_lies_in(name, scopes, path):
    assert scope(node(name, [], [], scopes)) == path
