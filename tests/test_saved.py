"""autograd.graph: hooks on what nodes keep, edges, hooks on several tensors."""

import subprocess
import sys

import numpy as np
import pytest

import chainrule
from chainrule import nn
from chainrule.autograd import graph
from chainrule.testing import samples


def network():
    chainrule.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3), nn.LogSoftmax(1))


def gradients(net, **options):
    x = chainrule.tensor(samples.floats((6, 4)).astype("float32"), requires_grad=True)
    loss = -net(x)[:, 0].mean()
    return chainrule.autograd.grad(loss, [x, *net.parameters()], **options)


def test_hooks_see_what_is_kept_and_give_it_back():
    net, seen = network(), []
    expected = gradients(net)

    def pack(t):
        seen.append(t.shape)
        return t.numpy().copy()

    with graph.saved_tensors_hooks(pack, lambda packed: chainrule.from_numpy(packed)):
        x = chainrule.tensor(samples.floats((6, 4)).astype("float32"), requires_grad=True)
        loss = -net(x)[:, 0].mean()
    found = chainrule.autograd.grad(loss, [x, *net.parameters()])
    assert (6, 4) in seen
    assert (6, 5) in seen  # what layer_norm keeps, which is otherwise one node
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-7)


def test_what_unpack_returns_is_used():
    x = chainrule.tensor([1.0, 2.0], requires_grad=True)
    with chainrule.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t * 10):
        y = x * x
    y.sum().backward()
    assert x.grad.tolist() == [20.0, 40.0]


def test_higher_orders_and_nesting():
    x = chainrule.tensor(3.0, requires_grad=True)
    inner, outer = [], []
    with graph.saved_tensors_hooks(lambda t: outer.append(1) or t, lambda t: t):
        with graph.saved_tensors_hooks(lambda t: inner.append(1) or t, lambda t: t):
            y = x**3
        assert inner
        assert not outer
        z = y.exp() * 0 + y
    assert outer
    (g,) = chainrule.autograd.grad(z, x, create_graph=True)
    assert chainrule.autograd.grad(g, x)[0].item() == pytest.approx(18.0)


def test_save_on_cpu_survives_changes():
    net = network()
    expected = gradients(net)
    with graph.save_on_cpu(pin_memory=True):
        found = gradients(net)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("where", ["around", "inside", "both"])
def test_with_checkpointing(where):
    """What a recomputed region keeps goes through the hooks that were there when it was kept."""
    net, seen = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), []
    expected = gradients(net)

    def region(function):
        def hooked(x):
            if where == "around":
                return function(x)
            with graph.saved_tensors_hooks(lambda t: seen.append(1) or t * 1, lambda t: t):
                return function(x)

        return lambda x: chainrule.utils.checkpoint.checkpoint(hooked, x, use_reentrant=False)

    net[1].forward = region(net[1].forward)
    if where == "inside":
        found = gradients(net)
    else:
        with graph.saved_tensors_hooks(lambda t: seen.append(1) or t * 1, lambda t: t):
            found = gradients(net)
            x = chainrule.tensor([0.5], requires_grad=True)
            out = net[1](x)
        (slope,) = chainrule.autograd.grad(out, x)  # outside of the hooks, which serve none the less
        assert slope.item() == pytest.approx(1 - np.tanh(0.5) ** 2)
    assert seen
    for got, wanted in zip(found, expected, strict=True):
        assert chainrule.equal(got, wanted)


def test_disabled():
    hooks = graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    with graph.disable_saved_tensors_hooks("not here"), pytest.raises(RuntimeError, match="not here"), hooks:
        pass
    x = chainrule.tensor(2.0, requires_grad=True)
    with graph.saved_tensors_hooks(lambda t: t, lambda t: 5):
        y = x * x
    with pytest.raises(TypeError, match="unpack_hook"):
        y.backward()


def test_edges():
    x = chainrule.tensor(2.0, requires_grad=True)
    y = x * 2
    assert graph.get_gradient_edge(y) == (y.grad_fn, 0)
    assert graph.get_gradient_edge(x).node.variable is x
    with pytest.raises(RuntimeError, match="gradient edge"):
        graph.get_gradient_edge(x.detach())
    assert isinstance(y.grad_fn, graph.Node)


def test_hooks_on_several():
    a, b = (chainrule.tensor(v, requires_grad=True) for v in (2.0, 3.0))
    calls = []
    handle = graph.register_multi_grad_hook([a, b], calls.append)
    (a * b).backward()
    assert [g.item() for g in calls[0]] == [3.0, 2.0]
    handle.remove()
    (a * b).backward()
    assert len(calls) == 1


def test_increment_version():
    x = chainrule.ones(2, requires_grad=True)
    w = chainrule.ones(2)
    y = (x * w).sum()
    graph.increment_version(w)
    with pytest.raises(RuntimeError, match="inplace"):
        y.backward()


def test_hooks_get_the_inputs_themselves():
    """Programs leave parameters where they are: what a pack hook gets for a leaf is the leaf."""
    w, x = chainrule.nn.Parameter(chainrule.ones(2)), chainrule.ones(2, requires_grad=True)
    seen = []
    with graph.saved_tensors_hooks(lambda t: seen.append(t) or t, lambda t: t):
        y = (x * w).exp() * w
    assert sum(t is w for t in seen) == 2
    assert sum(t is x for t in seen) == 1
    assert [t.grad_fn.name() for t in seen if not t.is_leaf] == ["ExpBackward0"]
    y.sum().backward()
    np.testing.assert_allclose(w.grad.numpy(), 2 * np.e)


def test_what_a_node_keeps_is_seen_by_name():
    a, b = chainrule.ones(3, requires_grad=True), chainrule.full((3,), 2.0, requires_grad=True)
    y = a * b
    assert y.grad_fn._saved_self is a
    assert y.grad_fn._saved_other is b
    assert [n for n in dir(y.grad_fn) if n.startswith("_saved")] == ["_saved_other", "_saved_self"]
    z = y.exp()
    assert z.grad_fn._saved_result.equal(z)
    assert (a * 2.0).grad_fn._saved_self is None  # for a factor that wants no gradient
    with pytest.raises(AttributeError, match="keeps nothing under"):
        _ = z.grad_fn._saved_weight
    z.sum().backward()
    with pytest.raises(RuntimeError, match="already been freed"):
        _ = y.grad_fn._saved_self
    with graph.saved_tensors_hooks(lambda t: t.tolist(), chainrule.tensor):
        y = a**2
    assert y.grad_fn._saved_self.tolist() == [1, 1, 1]
    assert a.unbind()[1].grad_fn.name() == "UnbindBackward0"


def test_views_keep_what_programs_that_walk_the_graph_read():
    x = chainrule.ones(2, 6, 4, requires_grad=True)
    assert x.reshape(2, 24).grad_fn._saved_self_sym_sizes == (2, 6, 4)
    part = x.split((2, 4), 1)[1].grad_fn
    assert (part._saved_dim, part._saved_split_sizes, part._saved_self_sym_sizes) == (1, (2, 4), (2, 6, 4))
    assert x.chunk(3, 1)[0].grad_fn._saved_split_size == 2
    piece = x[:, 1:5:2].grad_fn
    assert [getattr(piece, f"_saved_{n}") for n in ("dim", "start", "end", "step")] == [1, 1, 5, 2]
    assert x[0, :, 1:].grad_fn._saved_end == 2**63 - 1
    row = x[:, :, 3].grad_fn
    assert (row._saved_dim, row._saved_index, row._saved_self_sym_sizes) == (2, 3, (2, 6, 4))
    plain = (x + x).grad_fn
    assert not [n for n in dir(plain) if n.startswith("_saved")]
    assert not hasattr(plain, "_saved_dim")
    assert not hasattr(plain, "variable")


def test_nodes_say_what_they_are():
    a = chainrule.ones(2, requires_grad=True)
    node = (a + 1).grad_fn
    assert node.__class__.__name__ == "AddBackward0"
    assert repr(node).startswith("<AddBackward0 object at 0x")
    assert isinstance(node, graph.Node)
    end, number = node.next_functions[0]
    assert (end.variable, number, end.name()) == (a, 0, "torch::autograd::AccumulateGrad")
    assert end == (a * 3).grad_fn.next_functions[0][0]
    assert len({end, (a * 3).grad_fn.next_functions[0][0]}) == 1
    node.metadata["note"] = "here"
    assert node.metadata == {"note": "here"}
    assert node.requires_grad

    class Twice(chainrule.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.factor = 2
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * ctx.factor

    y = Twice.apply(a)
    assert y.grad_fn.factor == 2
    assert y.grad_fn.saved_tensors[0] is a
    parts = a.unbind()
    assert parts[0].grad_fn.next_functions[0][0] == end
    assert [(p * 1).grad_fn.next_functions[0][1] for p in parts] == [0, 1]


def test_hooks_on_nodes():
    a, b = chainrule.tensor([1.0, 2.0], requires_grad=True), chainrule.tensor([3.0, 4.0], requires_grad=True)

    def run(hook, kind="register_hook", **options):
        c = a * b
        handle = getattr(c.grad_fn, kind)(hook)
        gs = chainrule.autograd.grad(c.sum(), [a, b], retain_graph=True, **options)
        handle.remove()
        assert [g.tolist() for g in chainrule.autograd.grad(c.sum(), [a, b])] == [[3, 4], [1, 2]]
        return [g.tolist() for g in gs]

    seen = []
    for options in ({}, {"create_graph": True}):
        assert run(lambda *gs: seen.append([[t.tolist() for t in g] for g in gs]), **options) == [[3, 4], [1, 2]]
        assert seen.pop() == [[[3, 4], [1, 2]], [[1, 1]]]
        assert run(lambda gi, go: (gi[0] * 10, gi[1]), **options) == [[30, 40], [1, 2]]
        assert run(lambda go: (go[0] * 10,), "register_prehook", **options) == [[30, 40], [10, 20]]
        assert run(lambda go: None, "register_prehook", **options) == [[3, 4], [1, 2]]
    with pytest.raises(RuntimeError, match="returned 1 gradients"):
        run(lambda gi, go: (gi[0],))
    # sums to the shape of an input come before the hook
    shapes = []
    c = chainrule.ones(3, 2) * a
    c.grad_fn.register_hook(lambda gi, go: shapes.append([None if g is None else tuple(g.shape) for g in (*gi, *go)]))
    c.sum().backward()
    assert shapes == [[None, (2,), (3, 2)]]
    # several outputs: those without a gradient are None
    first, _ = chainrule.unbind(chainrule.stack([a, b]))
    first.grad_fn.register_hook(lambda gi, go: seen.append([g is None for g in go]))
    first.grad_fn.register_prehook(lambda go: tuple(None if g is None else g * 5 for g in go))
    assert chainrule.autograd.grad(first.sum(), a)[0].tolist() == [5, 5]
    assert seen == [[False, True]]


def test_hooks_at_the_end_of_a_path():
    """Data-parallel wrappers reach the accumulation of a parameter through a view of it."""
    w, events = chainrule.nn.Parameter(chainrule.ones(2)), []
    end = w.expand_as(w).grad_fn.next_functions[0][0]
    end.register_hook(lambda gi, go: events.append((gi, go[0].tolist(), w.grad.tolist())))
    before = end.register_prehook(lambda go: events.append(go[0].tolist()))
    (w * 3).sum().backward()
    before.remove()
    (w * 3).sum().backward()
    assert events == [[3, 3], ((), [3, 3], [3, 3]), ((), [3, 3], [6, 6])]


def test_vertices_have_pytorchs_names():
    x, v = chainrule.ones(3, 4, requires_grad=True), chainrule.ones(4, requires_grad=True)
    w, target = chainrule.ones(4, 2, requires_grad=True), chainrule.tensor([0, 1, 1])
    image = chainrule.ones(1, 2, 4, 4, requires_grad=True)
    F = nn.functional
    named = {
        "Addmm": nn.Linear(4, 2)(x),
        "Mm": x @ w,
        "Mv": x @ v,
        "Dot": v @ v,
        "Cat": chainrule.cat([x, x]),
        "View": x.reshape(-1),
        "Select": x[:, 0],
        "Slice": x[1:],
        "Unsqueeze": x[:, None],
        "ToCopy": x.double(),
        "Convolution": nn.Conv2d(2, 1, 3)(image),
        "AvgPool2D": F.avg_pool2d(image, 2),
        "MaxPool2DWithIndices": F.max_pool2d(image, 2),
        "NativeBatchNorm": nn.BatchNorm1d(4)(x),
        "NativeLayerNorm": nn.LayerNorm(4)(x),
        "NllLoss": F.cross_entropy(x @ w, target),
        "BinaryCrossEntropyWithLogits": F.binary_cross_entropy_with_logits(v, chainrule.zeros(4)),
        "SmoothL1Loss": F.smooth_l1_loss(v, chainrule.zeros(4)),
        "Log1P": x.log1p(),
    }
    assert {name: y.grad_fn.name() for name, y in named.items()} == {name: f"{name}Backward0" for name in named}
    assert F.nll_loss((x @ w).log_softmax(1), target).grad_fn.name() == "NllLossBackward0"
    assert [y.grad_fn.name() for y in (x.sum(), x.sum(0), x.max(), x.clamp(0, 1))] == [
        "SumBackward0",
        "SumBackward1",
        "MaxBackward1",
        "ClampBackward1",
    ]
    y = x[0]
    (y * y).sum().backward()
    assert "grad_fn=<SelectBackward0>" in repr(y)


def test_a_program_that_looks_at_no_node_pays_for_none_of_this():
    """Python finds the attributes of a class with `__getattr__` more slowly."""
    program = (
        "import chainrule as cr; from chainrule.autograd.tensor import Node\n"
        "x = cr.ones(2, requires_grad=True); y = x * x; print(y); y.sum().backward(); cr.nn.Linear(2, 2)(x)\n"
        "print('__getattr__' in vars(Node)); y.grad_fn; print('__getattr__' in vars(Node))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[1:3] == ["False", "True"]


def test_edges_stand_for_the_tensors_there():
    x = chainrule.ones(2, requires_grad=True)
    h = x * 2
    at_h, at_x, y = graph.get_gradient_edge(h), graph.get_gradient_edge(x), (h**2).sum()
    grad = chainrule.autograd.grad
    assert [g.tolist() for g in grad(y, at_h, retain_graph=True)] == [[4, 4]]
    assert [g.tolist() for g in grad(y, [at_x, h], retain_graph=True)] == [[8, 8], [4, 4]]
    assert grad(graph.get_gradient_edge(y), x, retain_graph=True)[0].tolist() == [8, 8]
    at_y = graph.GradientEdge(y.grad_fn, 0)
    assert grad([at_y], [x], [chainrule.tensor(0.5)], retain_graph=True)[0].tolist() == [4, 4]
    chainrule.autograd.backward(at_y, chainrule.tensor(2.0), inputs=[at_x])
    assert x.grad.tolist() == [16, 16]
    first, second = (x * 3).unbind()
    edge = graph.get_gradient_edge(second)
    assert edge.output_nr == 1
    assert grad(first + 5 * second, edge)[0].item() == 5
    with pytest.raises(RuntimeError, match="several outputs"):
        grad(first, graph.GradientEdge((second * 1).grad_fn.next_functions[0][0], 1))


def test_what_is_kept_may_be_written_into():
    x = chainrule.ones(2, requires_grad=True)
    with graph.allow_mutation_on_saved_tensors():
        y = x * 1
        z = y.exp() * y
        y.mul_(5)
    z.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.e * np.ones(2), rtol=1e-6)
