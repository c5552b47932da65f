"""Topological sort: right, linear, deterministic, and clear about cycles, in both its forms."""

import copy
import os
import random
import subprocess
import sys

import pytest

import fastgraph as fg


class Edges(tuple):
    """The inputs of a node, counting how often an edge is looked at."""

    looked = 0

    def __iter__(self):
        for item in super().__iter__():
            Edges.looked += 1
            yield item


class Joint(fg.Node):
    """A node with any number of inputs; only the sort looks at it."""

    def __init__(self, *inputs, name=None):
        super().__init__(*inputs, name=name)
        self.inputs = Edges(self.inputs)


@pytest.fixture(autouse=True)
def _count_anew():
    Edges.looked = 0


def assert_sorted(order, nodes):
    assert len(order) == nodes
    assert len(set(order)) == nodes
    place = {node: i for i, node in enumerate(order)}
    for node in order:
        assert all(place[item] < place[node] for item in node.inputs)


def diamonds(count):
    """``count`` diamonds in a chain: 1 + 3 · count nodes, 2 ** count paths."""
    node = Joint()
    for _ in range(count):
        node = Joint(Joint(node), Joint(node))
    return node


# --- nodes --------------------------------------------------------------------------------------


def test_a_chain_of_100_000_nodes():
    node = Joint()
    for _ in range(99_999):
        node = Joint(node)
    assert_sorted(fg.topological_sort(node), 100_000)


def test_the_work_is_linear_in_the_edges():
    a, b = Joint(), Joint()
    for _ in range(10_000):  # each layer reads both nodes of the one before
        a, b = Joint(a, b), Joint(a, b)
    order = fg.topological_sort([a, b])
    assert Edges.looked <= 40_000
    assert_sorted(order, 20_002)


def test_twelve_diamonds_in_a_chain_are_37_nodes():
    order = fg.topological_sort(diamonds(12))
    assert Edges.looked <= 48
    assert_sorted(order, 37)


def test_10_000_diamonds_in_a_chain():
    assert_sorted(fg.topological_sort(diamonds(10_000)), 30_001)


def test_a_node_read_twice_by_one_node():
    x = fg.Input("x")
    square = x * x
    assert fg.topological_sort(square) == [x, square]


def test_nodes_keep_the_order_of_inputs():
    x, W, b, y = fg.Input("x"), fg.Parameter(1.0), fg.Parameter(0.0), fg.Input("y")
    line = fg.Linear(x, W, b)
    loss = fg.MSE(y, line)
    assert fg.topological_sort(loss) == [y, x, W, b, line, loss]


def test_several_outputs_share_their_nodes():
    x = fg.Input("x")
    shared = fg.Exp(x)
    first, second = shared + 1.0, shared * x
    order = fg.topological_sort([first, second])
    assert_sorted(order, 5)
    assert order.index(first) < order.index(second)
    assert fg.topological_sort([second, second]) == fg.topological_sort(second)


def test_no_output_is_no_node():
    assert fg.topological_sort([]) == []


def test_an_output_may_be_an_input_of_another():
    x = fg.Input("x")
    node = fg.Exp(x)
    assert fg.topological_sort([node, x]) == [x, node]


def test_the_sort_changes_no_node():
    top = diamonds(3)
    before = {node: (dict(vars(node)), tuple(node.inputs)) for node in fg.topological_sort(top)}
    outputs = [top]
    assert fg.topological_sort(outputs) == list(before)
    assert outputs == [top]
    for node, (attributes, inputs) in before.items():
        assert vars(node) == attributes
        assert node.inputs == inputs


def test_a_cycle_of_nodes_is_named():
    a = fg.Exp(fg.Input("x"), name="a")
    b = fg.Exp(a, name="b")
    c = fg.Exp(b, name="c")
    a.inputs = (c,)
    top = fg.Sum(c, name="top")
    with pytest.raises(fg.CycleError, match="the graph has a cycle") as caught:
        fg.topological_sort(top)
    cycle = caught.value.cycle
    assert set(cycle) == {a, b, c}
    for before, after in zip([cycle[-1], *cycle], cycle, strict=False):
        assert before in after.inputs, "each is fed by the one before, the first by the last"
    for name in ("Exp 'a'", "Exp 'b'", "Exp 'c'"):
        assert name in str(caught.value)
    assert "top" not in str(caught.value)


def test_a_node_that_reads_itself_is_a_cycle():
    node = fg.Exp(fg.Input("x"), name="self")
    node.inputs = (node,)
    with pytest.raises(fg.CycleError, match="Exp 'self' → Exp 'self'") as caught:
        fg.topological_sort(node)
    assert caught.value.cycle == [node]


def test_a_graph_with_a_cycle_is_refused():
    a = fg.Exp(fg.Input("x"))
    b = fg.Exp(a)
    a.inputs = (b,)
    with pytest.raises(fg.CycleError):
        fg.Graph(b)


def test_a_cycle_at_the_end_of_a_long_chain():
    first = node = fg.Exp(0.5)
    for _ in range(20_000):
        node = fg.Exp(node)
    first.inputs = (node,)
    with pytest.raises(fg.CycleError) as caught:
        fg.topological_sort(fg.Sum(node))
    assert len(caught.value.cycle) == 20_001


# --- mappings -----------------------------------------------------------------------------------


def test_the_lesson_sorts_its_net():
    net = {"x": ["linear"], "k": ["linear"], "b": ["linear"], "linear": ["mse"], "y": ["mse"]}
    order = fg.topological_sort(net)
    assert sorted(order) == ["b", "k", "linear", "mse", "x", "y"]
    assert all(order.index(a) < order.index(b) for a in net for b in net[a])


def test_names_that_are_only_fed_are_in_the_order():
    assert fg.topological_sort({"a": ["b"]}) == ["a", "b"]
    assert fg.topological_sort({}) == []
    assert fg.topological_sort({"alone": []}) == ["alone"]


def test_any_hashable_is_a_name():
    assert fg.topological_sort({1: [(2, 3)], (2, 3): [None]}) == [1, (2, 3), None]


def test_an_edge_written_twice():
    assert fg.topological_sort({"x": ["square", "square"]}) == ["x", "square"]


def test_a_long_mapping_in_any_order():
    names = list(range(100_000))
    shuffled = names.copy()
    random.Random(0).shuffle(shuffled)
    mapping = {name: [name + 1] for name in shuffled if name < 99_999}
    assert fg.topological_sort(mapping) == names


def test_every_edge_of_a_random_mapping_points_forward():
    draw = random.Random(1)
    for _ in range(50):
        n = draw.randrange(1, 40)
        label = list(range(n))
        draw.shuffle(label)
        edges = {
            label[i]: [label[j] for j in range(i + 1, n) if draw.random() < 0.2] for i in range(n)
        }
        names = list(edges)
        draw.shuffle(names)
        edges = {name: edges[name] for name in names}
        order = fg.topological_sort(edges)
        assert sorted(order) == sorted(label)
        assert all(order.index(a) < order.index(b) for a in edges for b in edges[a])


def test_the_mapping_is_not_changed():
    mapping = {"a": ["c", "b"], "b": ["d"], "c": ["d"]}
    kept = copy.deepcopy(mapping)
    fg.topological_sort(mapping)
    assert mapping == kept
    assert list(mapping) == list(kept)


def test_a_cycle_of_names_is_named():
    mapping = {"x": ["a"], "a": ["b"], "b": ["c"], "c": ["a", "out"], "y": ["out"]}
    with pytest.raises(fg.CycleError) as caught:
        fg.topological_sort(mapping)
    cycle = caught.value.cycle
    assert sorted(cycle) == ["a", "b", "c"]
    for before, after in zip([cycle[-1], *cycle], cycle, strict=False):
        assert after in mapping[before]
    assert " → ".join([*cycle, cycle[0]]) in str(caught.value)


@pytest.mark.parametrize("mapping", [{"a": ["a"]}, {"a": ["b"], "b": ["a"]}])
def test_short_cycles_of_names(mapping):
    with pytest.raises(fg.CycleError) as caught:
        fg.topological_sort(mapping)
    assert sorted(caught.value.cycle) == sorted(mapping)


def test_names_without_feeders_come_first_in_the_order_of_the_mapping():
    mapping = {"b": ["sum"], "sum": ["loss"], "a": ["sum"], "y": ["loss"]}
    assert fg.topological_sort(mapping) == ["b", "a", "y", "sum", "loss"]


# --- both ---------------------------------------------------------------------------------------


def test_the_order_is_the_same_in_every_process():
    code = (
        "import fastgraph as fg\n"
        "x = fg.Input('x'); layers = [fg.Exp(x, name=f'e{i}') for i in range(9)]\n"
        "top = layers[0]\n"
        "for layer in layers[1:]: top = top + layer * x\n"
        "print([str(n) for n in fg.topological_sort(top)])\n"
        "print(fg.topological_sort({c: ['end', c + c] for c in 'qwertyuiop'}))\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed, "FASTGRAPH_ENGINE": "numpy"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("wrong", [5, None, "abc", b"abc"])
def test_what_is_no_graph_is_refused(wrong):
    with pytest.raises(fg.GraphError, match="takes output nodes or a mapping"):
        fg.topological_sort(wrong)


def test_what_is_no_node_is_refused():
    with pytest.raises(fg.GraphError, match="expected nodes, got str"):
        fg.topological_sort([fg.Input("x"), "y"])


@pytest.mark.parametrize("targets", ["b", 5])
def test_a_name_where_a_list_belongs_is_refused(targets):
    with pytest.raises(fg.GraphError, match="expected a list of names"):
        fg.topological_sort({"a": targets})
