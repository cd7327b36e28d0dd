"""Values of ONNX graphs: which one ends its module."""

import pytest

from aimv2_np.comparison.operators import inner, rank, without_operator


def test_of_several_operators_the_last_one_of_the_module_counts():
    norm = [f"/rms_norm/{op}_output_0" for op in ("Mul_1", "Mul")]
    linear = [f"/q_proj/{op}_output_0" for op in ("Add", "MatMul")]
    assert max(norm, key=rank) == norm[0]
    assert max(linear, key=rank) == linear[0]
    assert rank("q_proj") == (0, 0)
    assert rank("/q_proj/Softmax") == (0, 0)
    assert rank("/q_proj/Mul_" + "1" * 5000) == (0, 0)  # more digits than Python makes a number of


def test_values_that_do_not_end_their_module():
    graph = [
        "/layers.0/rms_norm1/Mul_output_0", "/layers.0/rms_norm1/Mul_1_output_0", "/rms_norm/Mul_output_0",
        "/layers.0/q_proj/MatMul", "/layers.0/q_proj/Add", "/layers.1/q_proj/MatMul", "/layers.1/k_proj/MatMul",
        "/layers.0/Add", "/layers.0/Add_1", "/layers.1/Add", "x",
    ]  # fmt: skip
    assert inner(graph) == {
        "/layers.0/rms_norm1/Mul_output_0", "/rms_norm/Mul_output_0", "/layers.0/q_proj/MatMul",
        "/layers.1/q_proj/MatMul", "/layers.0/Add", "/layers.1/Add",
    }  # fmt: skip
    # numbers that count through the graph are no reason to leave out all modules but one
    assert inner(["/a/q_proj/MatMul_1", "/b/q_proj/MatMul_7"]) == set()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("/layers.0/q_proj/MatMul_output_0", ["layers", "0", "q_proj"]),
        ("/layers.0/attn/qkv/Add_output_0", ["layers", "0", "attn", "qkv"]),
        ("/layers.0/attention/MatMul_1_output_0", []),
        ("/layers.0/rms_norm1/Add_output_0", []),
        ("/layers.0/ffn", ["layers", "0", "ffn"]),
        ("/", []),
    ],
)
def test_the_path_of_a_module_that_a_value_can_end(name, parts):
    assert without_operator(name) == parts
