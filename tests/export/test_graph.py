import numpy as np

from aimv2_np.export.functions import Functions
from aimv2_np.export.graph import Graph


def test_operators_are_in_order_and_lie_in_the_module_that_runs():
    running = ["layers.0"]
    graph = Graph(Functions, lambda: running[-1])
    x = graph.input("x", ("batch", 3), np.float32)
    y = x + 1
    running.append("layers.1")
    z = y * y
    assert [(node.kind, node.path) for node in graph.nodes] == [("Add", "layers.0"), ("Mul", "layers.1")]
    assert (y.name, z.name) == ("layers.0.Add", "layers.1.Mul")
    assert graph.nodes[1].inputs == (y, y)


def test_what_has_been_computed_is_not_computed_again():
    graph = Graph(Functions)
    x = graph.input("x", (2, 3), np.float32)
    assert (x + 1) is (x + 1)
    assert (x + 1) is not (x + 2)
    assert x.transpose(0, 1) is not x.transpose(1, 0)
    assert len(graph.nodes) == 4


def test_a_value_keeps_its_first_name_and_others_are_of_copies():
    graph = Graph(Functions)
    x = graph.input("x", (2,), np.float32)
    first = graph.call(x + 1, "ffn")
    second, third = graph.call(first, "layer"), graph.call(first, "output")
    assert [value.name for value in (first, second, third)] == ["ffn", "layer", "output"]
    assert [node.kind for node in graph.nodes] == ["Add", "Identity", "Identity"]
    assert graph.call(first, "ffn") is first


def test_constants_that_are_taken_are_part_of_the_graph_once():
    graph = Graph(Functions)
    x = graph.input("x", (100,), np.float32)
    large, unused = graph.constant(np.arange(100, dtype=np.float32)), graph.constant(np.ones(70, np.float32))
    assert unused.known
    x + large
    x - large
    x * 2
    x / np.float32(2)
    assert [(value.name, value.shape) for value in graph.constants()] == [("constant", (100,)), ("constant_1", ())]
