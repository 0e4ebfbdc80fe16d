"""Graphs of modules: tracing, changing, running."""

import copy
import operator

import pytest

import chainrule
import chainrule.nn.functional as F
from chainrule import fx, nn


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.scale = nn.Linear(4, 4), nn.Parameter(chainrule.full((4,), 2.0))
        self.register_buffer("shift", chainrule.ones(4))

    def forward(self, x, gain=2.0):
        a, b = x.chunk(2, 0)
        y = chainrule.cat([a, b]).view(x.size(0), -1)
        y = F.relu(self.linear(y)) * self.scale + self.shift
        return {"out": (1 - y).sum(dim=-1, keepdim=True) * gain, "rows": y.shape[0]}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.block = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), Block()

    def forward(self, x):
        return self.block(self.first(x) + x[:, :1].tanh(), gain=3.0)["out"]


@pytest.fixture
def net():
    chainrule.manual_seed(0)
    return Net()


x = chainrule.linspace(-1, 1, 16).reshape(4, 4)


def test_a_module_as_a_graph(net):
    traced = fx.symbolic_trace(net)
    assert chainrule.equal(traced(x), net(x))
    assert isinstance(traced, nn.Module)
    assert isinstance(traced, fx.GraphModule)
    assert [(n.op, n.name) for n in traced.graph.nodes][:6] == [
        ("placeholder", "x"),
        ("call_module", "first_0"),
        ("call_module", "first_1"),
        ("call_function", "getitem"),
        ("call_method", "tanh"),
        ("call_function", "add"),
    ]
    assert [n.target for n in traced.graph.nodes if n.op == "get_attr"] == ["block.scale", "block.shift"]
    assert traced.state_dict().keys() == net.state_dict().keys()
    traced(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())  # they are the module's own
    traced.graph.lint()


def test_code_and_text(net, capsys):
    traced = fx.symbolic_trace(lambda x, y=2: chainrule.add(x, y) * chainrule.relu(-x)[0])
    assert traced.code == (
        "def forward(self, x, y = 2):\n"
        "    add = chainrule.add(x, y);  y = None\n"
        "    neg = -x;  x = None\n"
        "    relu = chainrule.relu(neg);  neg = None\n"
        "    getitem = relu[0];  relu = None\n"
        "    mul = add * getitem;  add = getitem = None\n"
        "    return mul\n"
    )
    assert str(traced.graph).splitlines()[3] == (
        "    %add : [num_users=1] = call_function[target=chainrule.add](args = (%x, %y), kwargs = {})"
    )
    traced.graph.print_tabular()
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["opcode", "name", "target", "args", "kwargs"]
    assert table[4].split()[:3] == ["call_function", "add", "chainrule.add"]
    assert "linear" in str(fx.symbolic_trace(net))
    assert traced.print_readable(False).startswith("class <lambda>(Module):")


def test_a_graph_is_changed(net):
    traced = fx.symbolic_trace(net)
    graph = traced.graph
    (relu,) = graph.find_nodes(op="call_function", target=F.relu)
    with graph.inserting_after(relu):
        gelu = graph.call_function(F.gelu, relu.args)
    with pytest.raises(RuntimeError, match="users"):
        graph.erase_node(relu)
    assert relu.replace_all_uses_with(gelu)[0].target is operator.mul
    graph.erase_node(relu)
    traced.recompile()
    assert "chainrule.nn.functional.gelu" in traced.code
    assert not chainrule.equal(traced(x), net(x))
    with graph.inserting_before(gelu):
        graph.call_method("sin", (gelu.args[0],))
    assert graph.eliminate_dead_code()
    assert traced.add_submodule("more.act", nn.Tanh())
    with graph.inserting_before(graph.output_node()):
        graph.output_node().args = (graph.call_module("more.act", graph.output_node().args),)
    before = traced(x)
    traced.recompile()
    assert chainrule.equal(traced(x), before.tanh())
    assert traced.delete_submodule("more")
    with pytest.raises(RuntimeError, match="nonexistent"):
        graph.lint()
    copied = copy.deepcopy(fx.symbolic_trace(net))
    assert chainrule.equal(copied(x), net(x))
    assert copied.block.scale is not net.block.scale


def test_a_graph_by_hand():
    graph = fx.Graph()
    a, b = graph.placeholder("input"), graph.get_attr("weight")
    graph.output((graph.call_function(chainrule.sigmoid, (a,)), {"b": graph.call_method("mul", (a, b))}))
    module = fx.GraphModule({"weight": chainrule.full((1,), 3.0)}, graph)
    first, second = module(chainrule.zeros(1) + 1)
    assert second["b"].item() == 3
    assert first.item() == pytest.approx(0.7310586)
    assert (a.name, a.next, b.prev) == ("input_1", b, a)
    other = fx.Graph()
    other.output(other.graph_copy(graph, {}))
    assert str(other) == str(graph)


def test_interpreters(net):
    traced, seen = fx.symbolic_trace(net), []

    class Watch(fx.Interpreter):
        def run_node(self, n):
            result = super().run_node(n)
            seen.append(n.op)
            n.meta["shape"] = getattr(result, "shape", None)
            return result

    assert chainrule.equal(Watch(traced).run(x), net(x))
    assert len(seen) == len(traced.graph.nodes)
    assert traced.graph.find_nodes(op="call_function", target=F.relu)[0].meta["shape"] == (4, 4)
    with pytest.raises(RuntimeError, match="parameter x"):
        fx.Interpreter(traced).run()

    class Swap(fx.Transformer):
        def call_function(self, target, args, kwargs):
            return super().call_function(F.silu if target is F.relu else target, args, kwargs)

    assert "silu" in Swap(traced).transform().code


def helper(t):
    return t if t.sum() > 0 else -t


def other_helper(t):
    return helper(t) + 1


fx.wrap("helper")


def test_what_is_looked_into(net):
    class Whole(fx.Tracer):
        def is_leaf_module(self, m, module_qualified_name):
            return isinstance(m, Block) or super().is_leaf_module(m, module_qualified_name)

    graph = Whole().trace(net)
    assert graph.find_nodes(op="call_module", target="block")
    assert chainrule.equal(fx.GraphModule(net, graph)(x), net(x))
    traced = fx.symbolic_trace(lambda t: helper(t) + 1)
    assert traced.graph.find_nodes(op="call_function", target=helper)
    assert chainrule.equal(traced(-chainrule.ones(2)), chainrule.full((2,), 2.0))
    graph = fx.Tracer(autowrap_functions=(other_helper,)).trace(lambda t: other_helper(t))
    assert graph.find_nodes(op="call_function", target=other_helper)
    with pytest.raises(fx.TraceError, match="control flow"):
        fx.symbolic_trace(lambda t: t if t.sum() > 0 else -t)
    with pytest.raises(fx.TraceError, match="iterated"):
        fx.symbolic_trace(lambda t: [v for v in t])  # noqa: C416
    with pytest.raises(RuntimeError, match="len"):
        fx.symbolic_trace(lambda t: len(t))
    traced = fx.symbolic_trace(lambda t, up: t + 1 if up else t - 1, concrete_args={"up": True})
    assert traced(chainrule.ones(1)).item() == 2
    constant = chainrule.full((1,), 5.0)
    assert fx.symbolic_trace(lambda t: constant * t)(chainrule.ones(1)).item() == 5
    assert nn.Linear(2, 2)(chainrule.ones(2)).shape == (2,)  # modules are called as before
    with pytest.raises(RuntimeError, match="callable or string"):
        fx.wrap(3)
