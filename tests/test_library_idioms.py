"""What libraries built on PyTorch ask of it beside layers and losses: their idioms, in programs of our own."""

import itertools
import threading
import typing

import numpy as np
import pytest

import chainrule
from chainrule import nn

# -- lists of tensors -------------------------------------------------------------------------------------------------


def lists(seed=0):
    rng = np.random.default_rng(seed)
    shapes = [(2, 3), (4,), ()]
    return [np.asarray(rng.uniform(0.5, 2.0, shape)) for shape in shapes]


FOREACH = [
    ("add", (lists(1),), {"alpha": 2}, lambda x, y, n: x + 2 * y),
    ("add", (3,), {}, lambda x, y, n: x + 3),
    ("sub", (lists(1),), {}, lambda x, y, n: x - y),
    ("mul", ([1.0, 2.0, 3.0],), {}, lambda x, y, n: x * (n + 1)),
    ("div", (lists(1),), {}, lambda x, y, n: x / y),
    ("pow", (), {"exponent": 3}, lambda x, y, n: x**3),
    ("maximum", (1.0,), {}, lambda x, y, n: np.maximum(x, 1)),
    ("maximum", (lists(1),), {}, lambda x, y, n: np.maximum(x, y)),
    ("clamp_max", (1.0,), {}, lambda x, y, n: np.minimum(x, 1)),
    ("addcmul", (lists(1), lists(2)), {"value": -0.5}, lambda x, y, n: x - 0.5 * y * lists(2)[n]),
    ("addcdiv", (lists(1), lists(2), [1.0, 2.0, 3.0]), {}, lambda x, y, n: x + (n + 1) * y / lists(2)[n]),
    ("lerp", (lists(1),), {"weight": 0.25}, lambda x, y, n: x + 0.25 * (y - x)),
    ("neg", (), {}, lambda x, y, n: -x),
    ("sqrt", (), {}, lambda x, y, n: np.sqrt(x)),
    ("sign", (), {}, lambda x, y, n: np.sign(x)),
]


def as_tensors(x):
    many = isinstance(x, list) and isinstance(x[0], np.ndarray)
    return [chainrule.tensor(y) for y in x] if many else x


@pytest.mark.parametrize(
    ("name", "others", "options", "expected"), FOREACH, ids=[f"{r[0]}{n}" for n, r in enumerate(FOREACH)]
)
def test_foreach(name, others, options, expected):
    first = as_tensors(lists())
    others = [as_tensors(x) for x in others]
    want = [expected(x, y, n) for n, (x, y) in enumerate(zip(lists(), lists(1), strict=True))]
    results = getattr(chainrule, f"_foreach_{name}")(first, *others, **options)
    assert isinstance(results, tuple)
    for got, value in zip(results, want, strict=True):
        np.testing.assert_allclose(got.numpy(), value, rtol=1e-15)
    for t, before in zip(first, lists(), strict=True):
        np.testing.assert_array_equal(t.numpy(), before)
    assert getattr(chainrule, f"_foreach_{name}_")(first, *others, **options) is None
    for t, value in zip(first, want, strict=True):
        np.testing.assert_allclose(t.numpy(), value, rtol=1e-15)


def test_foreach_powsum_max_mm():
    ours = [chainrule.tensor([[1.0, -2.0], [0.5, -1.0]])]
    assert chainrule._foreach_powsum(ours, 3)[0].item() == 1 + 8 + 0.125 + 1
    assert chainrule._foreach_powsum(ours, ord=1, dtype=chainrule.float64)[0].dtype is chainrule.float64
    assert chainrule._foreach_max(ours)[0].item() == 1
    assert chainrule._foreach_mm(ours, ours)[0].tolist() == [[0, 0], [0, 0]]


def test_foreach_norm_copy_zero():
    ours, theirs = as_tensors(lists()), as_tensors(lists(1))
    for got, x in zip(chainrule._foreach_norm(ours), lists(), strict=True):
        assert got.shape == ()
        assert got.item() == pytest.approx(np.sqrt((x**2).sum()))
    for got, x in zip(chainrule._foreach_norm(ours, float("inf")), lists(), strict=True):
        assert got.item() == np.abs(x).max()
    chainrule._foreach_copy_(ours, theirs)
    for t, x in zip(ours, lists(1), strict=True):
        np.testing.assert_array_equal(t.numpy(), x)
    chainrule._foreach_zero_(ours)
    assert all((t == 0).all() for t in ours)


def test_foreach_of_lists_that_do_not_fit():
    with pytest.raises(RuntimeError, match="must have the same number of tensors, got 1 and 2"):
        chainrule._foreach_add([chainrule.ones(1)], [chainrule.ones(1)] * 2)
    with pytest.raises(RuntimeError, match="must have at least one tensor"):
        chainrule._foreach_mul_([], 2)


def test_foreach_is_recorded():
    x = chainrule.tensor([1.0, 2.0], requires_grad=True)
    (y,) = chainrule._foreach_mul([x], 3)
    y.sum().backward()
    assert x.grad.tolist() == [3, 3]


# -- states of generators, kept by programs that recompute by themselves ----------------------------------------------


def test_device_states_around_a_recomputation():
    x = chainrule.ones(64, requires_grad=True)
    drop = nn.Dropout(0.5)
    cpu = chainrule.get_rng_state()
    devices, states = chainrule.utils.checkpoint.get_device_states(x, 3)
    first = drop(x)
    chainrule.set_rng_state(cpu)
    chainrule.utils.checkpoint.set_device_states(devices, states)
    assert chainrule.equal(drop(x), first)
    assert chainrule.cuda._initialized == chainrule.cuda.is_available()
    assert len(devices) == len(states) == (0 if x.device.type == "cpu" else 1)


def test_detach_variable():
    x = chainrule.ones(2, requires_grad=True)
    detached, plain, number = chainrule.utils.checkpoint.detach_variable((x * 2, x.detach(), 3))
    assert (detached.is_leaf, detached.requires_grad, plain.requires_grad, number) == (True, True, False, 3)
    with pytest.raises(RuntimeError, match="Only tuple of tensors"):
        chainrule.utils.checkpoint.detach_variable([x])


# -- sizes that might be a tracer's -----------------------------------------------------------------------------------


def test_symbolic_numbers_are_python_s():
    assert not isinstance(3, chainrule.SymInt)
    assert not isinstance(chainrule.ones(2, 3).shape[0], (chainrule.SymInt, chainrule.SymFloat, chainrule.SymBool))
    assert (chainrule.sym_int(-1.5), chainrule.sym_int(2.5), chainrule.sym_float(2)) == (-1, 2, 2.0)
    assert type(chainrule.sym_max(1, 2.0)) is type(chainrule.sym_min(3, 2.0)) is float
    assert (chainrule.sym_max(1, 2), chainrule.sym_min(1, 2), chainrule.sym_sum([1, 2, 3])) == (2, 1, 6)
    assert (chainrule.sym_not(False), chainrule.sym_ite(True, "a", "b")) == (True, "a")


def test_gradients_of_softmax_from_its_output():
    x = chainrule.tensor([[0.5, -1.0, 2.0]], dtype=chainrule.float64, requires_grad=True)
    g = chainrule.tensor([[1.0, 2.0, -3.0]], dtype=chainrule.float64)
    for function, gradient in (
        (chainrule.softmax, chainrule._softmax_backward_data),
        (chainrule.log_softmax, chainrule._log_softmax_backward_data),
    ):
        y = function(x, -1)
        (expected,) = chainrule.autograd.grad(y, x, g)
        assert chainrule.allclose(gradient(g, y.detach(), -1, chainrule.float64), expected)


# -- results that come later ------------------------------------------------------------------------------------------


def test_future():
    future = chainrule.futures.Future()
    seen = []
    future.add_done_callback(lambda f: seen.append(f.value()))
    after = future.then(lambda f: f.wait() + 1)
    with pytest.raises(RuntimeError, match="not done"):
        future.value()
    threading.Thread(target=future.set_result, args=(4,)).start()
    assert (future.wait(), after.wait(), seen) == (4, 5, [4])
    with pytest.raises(RuntimeError, match="completed once"):
        future.set_result(3)
    failed = chainrule.futures.Future[int]()
    failed.set_exception(KeyError("a"))
    with pytest.raises(KeyError):
        failed.then(lambda f: f.value()).wait()
    assert chainrule.futures.wait_all([future, after]) == [4, 5]
    assert [f.value() for f in chainrule.futures.collect_all([future, after]).wait()] == [4, 5]
    assert chainrule.Future is chainrule.futures.Future


# -- operators of a program's own -------------------------------------------------------------------------------------


def test_custom_op():
    @chainrule.library.custom_op("idioms::cube", mutates_args=())
    def cube(x: chainrule.Tensor, scale: float) -> chainrule.Tensor:
        return scale * x * x * x

    x = chainrule.tensor([1.0, 2.0], requires_grad=True)
    assert not cube(x, 2.0).requires_grad  # as in PyTorch: no gradient before one is registered

    @cube.register_fake
    def _(x, scale):
        return chainrule.empty_like(x)

    def keep(ctx, inputs, output):
        ctx.save_for_backward(inputs[0])
        ctx.scale = inputs[1]

    cube.register_autograd(lambda ctx, g: (3 * ctx.scale * g * ctx.saved_tensors[0] ** 2, None), setup_context=keep)
    chainrule.ops.idioms.cube(x, 2.0).sum().backward()
    assert x.grad.tolist() == [6, 24]
    x.grad = None
    cube(scale=2.0, x=x).sum().backward()  # what is named has its place all the same
    assert x.grad.tolist() == [6, 24]
    assert not hasattr(chainrule.ops.idioms, "square")
    with pytest.raises(RuntimeError, match="no operator idioms::square"):
        chainrule.library.register_fake("idioms::square", lambda x: x)


def test_library_defines_and_implements():
    library = chainrule.library.Library("shapes", "DEF")
    assert library.define("twice(Tensor x) -> Tensor") == "twice"
    with pytest.raises(NotImplementedError, match="shapes::twice"):
        chainrule.ops.shapes.twice(chainrule.ones(2))
    library.impl("twice", lambda x: 2 * x, "CompositeImplicitAutograd")
    library.impl("twice", lambda x: chainrule.empty_like(x), "Meta")
    assert chainrule.ops.shapes.twice(chainrule.ones(2)).tolist() == [2, 2]
    with pytest.raises(ValueError, match="Unsupported library kind"):
        chainrule.library.Library("shapes", "OTHER")


def test_programs_are_not_exported():
    with pytest.raises(NotImplementedError, match="state_dict"):
        chainrule.export.export(nn.Linear(2, 2), (chainrule.ones(1, 2),))
    assert not isinstance(nn.Linear(2, 2), chainrule.export.ExportedProgram)


# -- files ------------------------------------------------------------------------------------------------------------


def test_names_of_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert chainrule.hub._get_torch_home() == str(tmp_path)
    assert chainrule.hub.HASH_REGEX.search("resnet18-5c106cde.pth").group(1) == "5c106cde"


# -- names of what has no tensors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu"])
def test_floats_of_eight_bits_are_names(form):
    kind = getattr(chainrule, f"float8_{form}")
    assert (kind.itemsize, kind.is_floating_point, repr(kind)) == (1, True, f"chainrule.float8_{form}")
    assert chainrule.ones(2).dtype not in (kind,)
    with pytest.raises(TypeError, match="not supported: take float16"):
        chainrule.ones(2).to(kind)


@pytest.mark.parametrize("name", ["uint16", "uint32", "uint64"])
def test_wide_unsigned_types_are_names(name):
    kind = getattr(chainrule, name)
    table = {kind: 1, chainrule.int32: 2}  # what libraries do with them
    assert (table[kind], kind.itemsize, kind.is_signed, kind.is_floating_point) == (1, int(name[4:]) // 8, False, False)
    assert chainrule.ones(2).dtype != kind
    with pytest.raises(TypeError, match=f"{name} are not supported: take int"):
        chainrule.zeros(2, dtype=kind)
    with pytest.raises(TypeError, match=f"NumPy dtype {name}"):
        chainrule.from_numpy(np.ones(2, name))


# -- one process, one device ------------------------------------------------------------------------------------------


def test_collective_calls_with_gradients(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    import chainrule.distributed as dist
    from chainrule.distributed import nn as dist_nn

    x = chainrule.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match="not been initialized"):
        dist_nn.all_reduce(x)
    dist.init_process_group("gloo")
    try:
        for call in (
            lambda y: dist_nn.all_reduce(y),
            lambda y: dist_nn.broadcast(y, 0),
            lambda y: dist_nn.reduce(y, 0),
            lambda y: chainrule.cat(dist_nn.all_gather(y)),
            lambda y: chainrule.cat(dist_nn.gather(y)),
            lambda y: dist_nn.scatter([y]),
            lambda y: dist_nn.reduce_scatter(chainrule.empty(3), [y]),
            lambda y: dist_nn.all_to_all([chainrule.empty(3)], [y])[0],
            lambda y: dist_nn.functional.all_to_all_single(chainrule.empty(3), y),
        ):
            (grad,) = chainrule.autograd.grad((2 * call(3 * x)).sum(), x)
            assert grad.tolist() == [6, 6, 6]
    finally:
        dist.destroy_process_group()


def test_scatter_and_gather_of_one_device():
    from chainrule.nn.parallel.scatter_gather import gather, scatter

    x = chainrule.arange(4.0)
    ((part,),) = scatter((x,), ["cpu"])
    assert gather([part], "cpu").tolist() == [0, 1, 2, 3]
    with pytest.raises(NotImplementedError, match="give one, not 2"):
        scatter((x,), [0, 1])
    with pytest.raises(NotImplementedError, match="results of 2"):
        gather([x, x], 0)


def test_compiled_operators_are_not_loaded():
    with pytest.raises(OSError, match=r"Could not load this library: ops\.so"):
        chainrule.ops.load_library("ops.so")


# -- calls as older programs have them --------------------------------------------------------------------------------


def test_numbers_before_tensors():
    x, a, b = (chainrule.tensor(v, dtype=chainrule.float64) for v in ([1.0, 2.0], [3.0, 5.0], [7.0, 4.0]))
    with pytest.warns(UserWarning, match="overload of add is deprecated"):
        assert x.add(0.5, a).tolist() == [2.5, 4.5]
    for call, expected in (
        (lambda t: chainrule.add(t, 0.5, a), [2.5, 4.5]),
        (lambda t: t.clone().add_(-2, a), [-5.0, -8.0]),
        (lambda t: t.clone().sub_(2, a), [-5.0, -8.0]),
        (lambda t: t.addcmul(0.5, a, b), [11.5, 12.0]),
        (lambda t: t.clone().addcmul_(0.5, a, b), [11.5, 12.0]),
        (lambda t: chainrule.addcdiv(t, 14, a, b), [7.0, 19.5]),
        (lambda t: t.clone().addcdiv_(14, a, b), [7.0, 19.5]),
    ):
        with pytest.warns(UserWarning, match="deprecated"):
            assert call(x).tolist() == expected


def test_numbers_before_matrices():
    m, v = chainrule.tensor([[1.0, 2.0], [3.0, 4.0]]), chainrule.tensor([1.0, -1.0])
    one = chainrule.ones(2, 2)
    for call, expected in (
        (lambda: chainrule.addmm(2, one, 3, m, m), 2 * one + 3 * m @ m),
        (lambda: one.addmm(2, m, m), 2 * one + m @ m),
        (lambda: one.clone().addmm_(0.0, 3.0, m, m), 3 * m @ m),
        (lambda: v.addmv(2, 3, m, v), 2 * v + 3 * m @ v),
        (lambda: one.addr(2, v, v), 2 * one + v[:, None] * v),
        (lambda: one[None].baddbmm(2, 3, m[None], m[None]), (2 * one + 3 * m @ m)[None]),
        (lambda: chainrule.addbmm(2, one, 3, m[None], m[None]), 2 * one + 3 * m @ m),
    ):
        with pytest.warns(UserWarning, match="deprecated"):
            assert chainrule.equal(call(), expected)


def test_numbers_and_tensors_that_fit_no_form():
    x = chainrule.ones(2)
    for call in (
        lambda: x.add(1, 2, x),
        lambda: x.add(x, x),
        lambda: x.addcmul(x, x, 2),
        lambda: chainrule.addmm(x, x, x, x),
    ):
        with pytest.raises(TypeError):
            call()


def test_randint_like_with_one_bound():
    x = chainrule.zeros(50)
    for draw in (chainrule.randint_like(x, 3), chainrule.randint_like(x, high=3), chainrule.randint_like(x, 0, 3)):
        assert draw.dtype == x.dtype
        assert set(draw.tolist()) == {0, 1, 2}


# -- trees ------------------------------------------------------------------------------------------------------------


class Pair:
    def __init__(self, first, second, name):
        self.first, self.second, self.name = first, second, name


def test_a_class_becomes_a_node_of_trees():
    from chainrule.utils import _pytree as trees

    assert trees.tree_leaves([Pair(1, 2, "a")])[0].name == "a"  # a leaf until it is registered
    trees.register_pytree_node(
        Pair, lambda p: ([p.first, p.second], p.name), lambda c, name: Pair(*c, name), serialized_type_name="Pair"
    )
    try:
        doubled = trees.tree_map(lambda x: 2 * x, {"p": Pair(1, (2, 3), "a")})["p"]
        assert (doubled.first, doubled.second, doubled.name) == (2, (4, 6), "a")
        with pytest.raises(ValueError, match="already registered"):
            trees.register_pytree_node(Pair, None, None)
    finally:
        del trees.SUPPORTED_NODES[Pair]
    table = {"b": 1, "a": 2}
    assert trees._dict_unflatten(*trees._dict_flatten(table)) == table
    assert trees._dict_flatten_with_keys(table) == ([("b", 1), ("a", 2)], ["b", "a"])


# -- memory that is filled slot by slot -------------------------------------------------------------------------------


class Filled(chainrule.autograd.Function):
    """Memory whose slots up to `count` are filled, the last of them by `value`."""

    @staticmethod
    def forward(ctx, memory, value, count):
        ctx.count = count
        return memory[..., :count]

    @staticmethod
    def backward(ctx, grad):
        return None, grad[..., ctx.count - 1], None


@pytest.mark.parametrize("through_data", [True, False])
def test_slots_written_after_what_was_kept(through_data):
    x = chainrule.tensor([0.5, -1.0], dtype=chainrule.float64, requires_grad=True)
    memory = chainrule.zeros(2, 4, dtype=chainrule.float64)
    value, total = x, 0.0
    for n in range(4):
        with chainrule.no_grad():
            if through_data:
                memory.data[:, n] = value.detach()
            else:
                memory[:, n] = value
        row = Filled.apply(memory, value, n + 1)
        total = total + (row * row).sum()
        value = value * 2
    total.backward()
    # slot n holds 2^n x, and gives a gradient in the step that filled it alone
    assert chainrule.allclose(x.grad, 2 * x.detach() * sum(4**n for n in range(4)))


def test_slots_that_were_kept_are_guarded():
    x = chainrule.tensor([0.5, -1.0, 2.0], requires_grad=True)
    memory = chainrule.ones(4, 3)
    y = (x * memory[1:3]).sum()
    memory[0] = 5.0
    memory[3:] = 7.0
    y.backward(retain_graph=True)
    assert x.grad.tolist() == [2, 2, 2]
    memory[2, 1] = 3.0
    memory[0] = 6.0
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_interleaved_slots():
    x = chainrule.ones(3, requires_grad=True)
    memory = chainrule.ones(3, 6)
    y = (x * memory[:, ::2].sum(1) * memory[:, 2]).sum()
    memory[:, 1::2] = 4.0
    memory[:, 5].zero_()
    y.backward(retain_graph=True)
    assert x.grad.tolist() == [3, 3, 3]
    memory[::2, 2] += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_many_writes_count_as_one_to_all():
    x = chainrule.ones(2, requires_grad=True)
    memory = chainrule.ones(2, 300)
    y = (x * memory[:, 0]).sum()
    for n in range(1, 300):
        memory[:, n] = n
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


# -- marks for a compiler ---------------------------------------------------------------------------------------------


def test_marks_for_a_compiler_change_nothing():
    import chainrule._dynamo as dynamo

    x = chainrule.ones(2)
    assert dynamo.mark_static_address(x) is dynamo.mark_static(x, 0) is dynamo.mark_dynamic(x, 0) is None
    assert dynamo.assume_constant_result(len)([1, 2]) == 2
    from chainrule._dynamo.utils import is_compile_supported  # as torchvision's roi_align asks

    assert not is_compile_supported("cpu")
    from chainrule._subclasses.fake_tensor import FakeTensor, FakeTensorMode, is_fake
    from chainrule.fx.experimental.proxy_tensor import get_proxy_mode

    assert not is_fake(x)
    assert get_proxy_mode() is None
    assert not isinstance(x, FakeTensor)
    for make in (FakeTensor, FakeTensorMode):
        with pytest.raises(RuntimeError, match="every tensor has its data"):
            make()


# -- buffers of one row -----------------------------------------------------------------------------------------------


def test_an_expanded_view_that_repeats_nothing_can_be_written():
    row = chainrule.arange(4.0)
    for made in (row.expand(1, -1), row.expand((1, 4)), row.broadcast_to((1, 1, 4)), row.view(1, 4).expand(1, 4)):
        row.copy_(chainrule.arange(4.0))
        made.copy_(chainrule.tensor([4.0, 3.0, 2.0, 1.0]))
        made += 1
        made[..., 0] = 9.0
        assert row.tolist() == [9, 4, 3, 2]
    with pytest.raises(RuntimeError, match="expanded"):
        row.expand(2, 4).zero_()
    x = chainrule.ones(3, requires_grad=True)
    y = (2 * x).expand(1, 3)
    y *= 3
    y.sum().backward()
    assert x.grad.tolist() == [6, 6, 6]


# -- lists as indices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("listed", "meant"),
    [
        ([[0, 2], [1, 3]], ([0, 2], [1, 3])),
        ([[0, 2]], ([0, 2],)),
        ([None, [0, 2]], (None, [0, 2])),
        ([slice(1, 3), 0], (slice(1, 3), 0)),
        ([..., [0, 2]], (..., [0, 2])),
        ([[0, 1], 2], ([0, 1], 2)),
    ],
)
def test_a_list_that_holds_more_than_numbers_is_a_tuple(listed, meant):
    x = chainrule.arange(24.0).reshape(4, 6)
    with pytest.warns(UserWarning, match="non-tuple sequence"):
        found = x[listed]
    assert chainrule.equal(found, x[meant])
    written = x.clone()
    with pytest.warns(UserWarning, match="non-tuple sequence"):
        written[listed] = 0.0
    assert (written[meant] == 0).all()
    assert (written != x).sum() <= found.numel()


def test_lists_of_tensors_and_of_numbers():
    x = chainrule.arange(24.0).reshape(4, 6)
    i, j = chainrule.tensor([0, 2]), chainrule.tensor([1, 3])
    with pytest.warns(UserWarning, match="non-tuple sequence"):
        assert x[[i, j]].tolist() == [1, 15]
    assert x[[0, 2]].shape == (2, 6)
    assert x[[True, False, True, False]].shape == (2, 6)
    assert x[[[0, 1]] * 32].shape == (32, 2, 6)


def test_names_of_small_complex_numbers():
    assert chainrule.complex32.is_complex
    assert chainrule.chalf is chainrule.complex32
    assert chainrule._C._are_functorch_transforms_active() is False


# -- what a module is not ---------------------------------------------------------------------------------------------


def test_modules_are_no_scripted_modules():
    layer = nn.Linear(2, 3)
    assert not isinstance(layer, chainrule.jit.ScriptModule)
    assert not isinstance(chainrule.jit.script(layer), chainrule.jit.ScriptModule)

    class Twice(chainrule.jit.ScriptModule):
        @chainrule.jit.script_method
        def forward(self, x):
            return 2 * x

    assert isinstance(Twice(), nn.Module)
    assert Twice().original_name == "Twice"
    assert Twice()(chainrule.ones(2)).tolist() == [2, 2]


def test_children_can_be_taken_from_the_last_to_the_first():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    last = [name for name, child in reversed(model._modules.items()) if isinstance(child, nn.Linear)]
    assert last == ["2", "0"]
    assert list(reversed(model._modules)) == list(reversed(model._modules.keys())) == ["2", "1", "0"]
    assert next(reversed(model[0]._parameters.values())) is model[0].bias
    kept = model._modules.copy()
    model.append(nn.Tanh())
    assert (len(kept), len(model._modules)) == (3, 4)


# -- frameworks for training ------------------------------------------------------------------------------------------


def test_names_of_the_memory():
    from chainrule.serialization import DEFAULT_PROTOCOL
    from chainrule.storage import TypedStorage, UntypedStorage

    t = chainrule.ones(3)
    assert (chainrule.UntypedStorage, chainrule.TypedStorage) == (UntypedStorage, TypedStorage)
    assert isinstance(t.untyped_storage(), UntypedStorage)
    assert t.untyped_storage().device == t.device
    assert isinstance(t.storage(), TypedStorage)
    assert [chainrule.is_storage(x) for x in (t, t.storage(), t.untyped_storage())] == [False, True, True]
    assert DEFAULT_PROTOCOL == 2


@pytest.mark.parametrize("module", [nn.CrossEntropyLoss(), nn.Linear(1, 1), nn.BatchNorm1d(1)], ids=repr)
def test_annotations_are_evaluated_among_names_of_others(module):
    assert isinstance(typing.get_type_hints(module, {}, {}), dict)


def test_no_tensor_is_spread_over_devices():
    from chainrule.distributed._tensor import DTensor

    assert not isinstance(nn.Parameter(chainrule.ones(1)), DTensor)
    with pytest.raises(NotImplementedError, match="mesh"):
        DTensor(chainrule.ones(1))
    from chainrule.distributed._tensor.experimental import implicit_replication

    with implicit_replication():
        assert chainrule.ones(1) + 1 == 2


def test_no_module_is_sharded():
    from chainrule.distributed import fsdp
    from chainrule.distributed._composable.fsdp import FSDPModule
    from chainrule.distributed.fsdp.fully_sharded_data_parallel import FullyShardedDataParallel

    net = nn.Linear(1, 1)
    assert not isinstance(net, (FullyShardedDataParallel, FSDPModule))
    for make in (FullyShardedDataParallel, FSDPModule, fsdp.fully_shard):
        with pytest.raises(NotImplementedError, match="ZeroRedundancyOptimizer"):
            make(net)
    assert fsdp.MixedPrecisionPolicy(chainrule.bfloat16).cast_forward_inputs
    assert fsdp.StateDictType.FULL_STATE_DICT is not fsdp.StateDictType.SHARDED_STATE_DICT


def test_types_of_settings():
    from chainrule.amp.grad_scaler import OptState
    from chainrule.distributed import ReduceOp

    assert [state.name for state in OptState] == ["READY", "UNSCALED", "STEPPED"]
    assert isinstance(ReduceOp.SUM, ReduceOp.RedOpType)
    assert chainrule.ScriptModule is chainrule.jit.ScriptModule


def test_flat_lists_of_tensors():
    from chainrule._utils import _element_size, _flatten_dense_tensors, _take_tensors, _unflatten_dense_tensors
    from chainrule.distributed.constants import default_pg_timeout

    tensors = [chainrule.tensor(x) for x in lists()]
    flat = _flatten_dense_tensors(tensors)
    np.testing.assert_array_equal(flat.numpy(), np.concatenate([x.ravel() for x in lists()]))
    parts = _unflatten_dense_tensors(flat, tensors)
    assert [p.shape for p in parts] == [t.shape for t in tensors]
    flat.zero_()
    assert not parts[0].any()
    taken = _take_tensors([*tensors, chainrule.ones(1), chainrule.ones(9)], 80)
    assert [[t.numel() for t in part] for part in taken] == [[6, 4], [1], [1, 9]]
    assert _element_size(chainrule.float16) == 2
    assert default_pg_timeout.total_seconds() == 1800


def test_records_of_a_file(tmp_path):
    chainrule.save({"w": chainrule.tensor([1.0, 2.0])}, tmp_path / "net.pt")
    reader = chainrule.PyTorchFileReader(str(tmp_path / "net.pt"))
    assert reader.get_record("data/0") == np.array([1, 2], np.float32).tobytes()
    assert reader.has_record("data.pkl")
    assert not reader.has_record("archive/data.pkl")
    assert {"data.pkl", "data/0", "version"} <= set(reader.get_all_records())
    with pytest.raises(RuntimeError, match="data/1"):
        reader.get_record("data/1")
    (tmp_path / "no.pt").write_bytes(b"no")
    with pytest.raises(RuntimeError, match="zip archive"):
        chainrule.PyTorchFileReader(str(tmp_path / "no.pt"))


def test_swapped_tensors_change_places():
    layer = nn.Linear(2, 2)
    w, other, hooked = layer.weight, chainrule.zeros(3), []
    handle = w.register_post_accumulate_grad_hook(lambda p: hooked.append(p.shape))
    optimizer = chainrule.optim.SGD(layer.parameters(), lr=0.1)
    before = w.detach().clone()
    chainrule.utils.swap_tensors(w, other)
    assert type(other) is nn.Parameter
    assert type(layer.weight) is chainrule.Tensor
    assert optimizer.param_groups[0]["params"][0].tolist() == [0, 0, 0]
    assert chainrule.equal(other, before)
    other.sum().backward()
    assert hooked == [(2, 2)]
    handle.remove()
    chainrule.utils.swap_tensors(w, other)
    assert layer.weight.grad.tolist() == [[1, 1], [1, 1]]
    assert chainrule.equal(layer.weight, before)
    with pytest.raises(TypeError, match="two Tensors"):
        chainrule.utils.swap_tensors(w, [1])


def test_switches_of_conversion():
    import chainrule.__future__ as future

    layer = nn.Linear(2, 2)
    for name in ("swap", "overwrite"):
        set_it, get_it = (getattr(future, f"{verb}_{name}_module_params_on_conversion") for verb in ("set", "get"))
        assert not get_it()
        set_it(True)
        weight = layer.weight
        assert layer.double().weight is weight
        assert get_it()
        set_it(False)


def test_names_in_annotations_and_filters():
    from chainrule.autograd.profiler import EventList, emit_nvtx, record_function
    from chainrule.distributed.distributed_c10d import _get_default_group, _rank_not_in_group
    from chainrule.serialization import FILE_LIKE, MAP_LOCATION
    from chainrule.utils.data.dataloader import _collate_fn_t, _worker_init_fn_t

    assert all([FILE_LIKE, MAP_LOCATION, _collate_fn_t, _worker_init_fn_t])
    assert issubclass(chainrule.jit.TracerWarning, Warning)
    assert chainrule._tensor.Tensor is chainrule.Tensor
    assert _rank_not_in_group(chainrule.distributed.GroupMember.NON_GROUP_MEMBER)
    assert not _rank_not_in_group(None)
    with pytest.raises(ValueError, match="init_process_group"):
        _get_default_group()
    assert chainrule.profiler.kineto_available()
    with chainrule.profiler.profile() as prof, record_function("a"), emit_nvtx():
        assert chainrule.autograd._profiler_enabled()
        chainrule.autograd._disable_profiler()
    assert not chainrule.autograd._profiler_enabled()
    assert isinstance(prof.key_averages(), EventList)


def test_arguments_of_to():
    parse = chainrule._C._nn._parse_to
    cpu = chainrule.device("cpu")
    assert parse("cpu") == (cpu, None, False, None)
    assert parse(chainrule.float16, True) == (None, chainrule.float16, True, None)
    assert parse(chainrule.ones(1).double()) == (cpu, chainrule.float64, False, None)
    form = chainrule.channels_last
    assert parse(device="cpu", dtype=chainrule.int64, memory_format=form) == (cpu, chainrule.int64, False, form)
    with pytest.raises(RuntimeError, match="copy"):
        parse("cpu", copy=True)
    assert chainrule._C._nn.gelu(chainrule.zeros(1)) == 0


def test_compiled_modules_are_told_by_their_class():
    compiled = chainrule.compile(nn.Linear(1, 1))
    assert isinstance(compiled, chainrule._dynamo.eval_frame.OptimizedModule)


class Batches:
    """What a library gives to PyTorch's iterators in a DataLoader's place: it makes batches itself."""

    _IterableDataset_len_called, _auto_collation, drop_last, in_order = None, False, False, True
    generator, prefetch_factor, pin_memory, timeout, persistent_workers = None, 2, False, 0, False
    _dataset_kind = chainrule.utils.data._DatasetKind.Iterable
    worker_init_fn = multiprocessing_context = None

    def __init__(self, num_workers):
        self.dataset, self.num_workers = self, num_workers

    def collate_fn(self, x):
        return x

    def __iter__(self):
        worker = chainrule.utils.data.get_worker_info()
        return iter([chainrule.ones(2), chainrule.zeros(3)] if worker is None else [chainrule.ones(worker.id + 1)])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_iterator_over_what_a_library_has_in_a_loaders_place(num_workers):
    from chainrule.utils.data.dataloader import _MultiProcessingDataLoaderIter, _SingleProcessDataLoaderIter

    loader = Batches(num_workers)
    loader._index_sampler = itertools.count()
    kind = _MultiProcessingDataLoaderIter if num_workers else _SingleProcessDataLoaderIter
    assert [len(batch) for batch in kind(loader)] == ([1, 2] if num_workers else [2, 3])


def test_opcheck_finds_what_an_operator_does_not_declare():
    lib = chainrule.library
    tensor = chainrule.Tensor

    @lib.custom_op("checked::scale", mutates_args=())
    def scale(x: tensor, k: float) -> tensor:
        return x * k

    scale.register_fake(lambda x, k: chainrule.empty_like(x))
    scale.register_autograd(
        lambda ctx, g: (g * ctx.k, None), setup_context=lambda ctx, inputs, output: setattr(ctx, "k", inputs[1])
    )
    x = chainrule.ones(3, requires_grad=True)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")
    assert lib.opcheck(scale, (x, 2.0)) == dict.fromkeys(tests, "SUCCESS")
    assert x.grad is None
    assert scale(chainrule.empty(2, 5, device="meta"), 2.0).shape == (2, 5)

    def failing(name, function, *args, test, mutates=(), fake=None):
        op = lib.custom_op(f"checked::{name}", function, mutates_args=mutates)
        if fake is not None:
            lib.register_fake(f"checked::{name}", fake)
        with pytest.raises(Exception, match=test) as raised:
            lib.opcheck(op, args)
        assert type(raised.value).__name__ == "OpCheckError"
        found = lib.opcheck(op, args, raise_exception=False)
        return [name for name, said in found.items() if said != "SUCCESS"]

    one = chainrule.ones(2)
    like = chainrule.empty_like
    assert failing("writes", lambda x: x.add_(1).clone(), one, test="x is not defined as mutable", fake=like) == [
        "test_schema"
    ]
    assert failing("alias", lambda x: x, one, test="may not alias", fake=like) == ["test_schema"]
    assert failing("unfaked", lambda x: x + 1, one, test="no fake impl")[0] == "test_faketensor"
    wrong = failing("larger", lambda x: x + 1, one, test="the fake impl tells", fake=lambda x: x.new_empty(3))
    assert wrong[0] == "test_faketensor"
    random = failing("random", lambda x: chainrule.rand(2), one, test="test_aot_dispatch_dynamic", fake=like)
    assert random == ["test_aot_dispatch_dynamic"]

    @lib.custom_op("checked::into", mutates_args={"out"})
    def into(x: tensor, out: tensor) -> None:
        out.copy_(x.sin())

    assert lib.opcheck(into, (one, chainrule.zeros(2)), test_utils="test_schema") == {"test_schema": "SUCCESS"}
    assert set(lib.opcheck(into, (one, chainrule.zeros(2))).values()) == {"SUCCESS"}
    with pytest.raises(ValueError, match="no test"):
        lib.opcheck(into, (one, one), test_utils="test_nothing")
    lib.register_kernel(into, "cpu", lambda x, out: out.copy_(x))
    into(one, out := chainrule.zeros(2))
    assert out.tolist() == [1, 1]
