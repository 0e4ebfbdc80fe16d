"""`__torch_function__`: subclasses of Tensor, other classes and modes that take over functions."""

import copy
import inspect
import pickle
import subprocess
import sys

import pytest

import chainrule
import chainrule.nn.functional as F
from chainrule import nn, overrides


def in_a_new_process(code):
    """Interception begins once for a process: this one may have begun."""
    subprocess.run([sys.executable, "-c", code], check=True)


class Named(chainrule.Tensor):
    pass


class Finer(Named):
    pass


class Other(chainrule.Tensor):
    pass


class Logged(chainrule.Tensor):
    seen = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen.append(func)
        return super().__torch_function__(func, types, args, kwargs)


class Tagged(chainrule.Tensor):
    tag = None

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs)
        if isinstance(result, cls):
            result.tag = next((x.tag for x in args if isinstance(x, cls)), None)
        return result


def named(*shape, cls=Named):
    return chainrule.ones(*shape).as_subclass(cls)


def test_results_are_of_the_subclass():
    x, t = named(2, 3), chainrule.ones(2, 3)
    results = [
        *(x + 1, 1 + x, x + t, t + x, t / x, -x, x @ t.T, x == t, t < x, x[0], x.T, x.data, x.sum(), x.view(-1)),
        *(chainrule.relu(x), chainrule.cat([t, x]), chainrule.stack((x, x)), F.relu(x), F.linear(t, x)),
        *(F.softmax(x, -1), x.clone(), x.detach(), x.double(), x.new_zeros(2), chainrule.zeros_like(x)),
        *(chainrule.where(x > 0, t, t), t.expand_as(x), x.max(0).values, *x.split(1), *x, *chainrule.topk(x, 1)),
        *(F.cross_entropy(x, chainrule.tensor([0, 1])), chainrule.linalg.norm(x), chainrule.special.expit(x)),
        *(chainrule.fft.fft(x), chainrule.einsum("ij,ij->i", x, t), nn.Linear(3, 2)(x), nn.BatchNorm1d(3)(x)),
        *(nn.GRU(3, 2)(x)[0], nn.LSTM(3, 2)(x)[1][0], nn.Parameter(t) * x, x.clone().add_(t), copy.deepcopy(x)),
        pickle.loads(pickle.dumps(x)),
    ]
    assert {type(r) for r in results} == {Named}
    plain = [x.grad, x.shape, x.dtype, x.tolist(), x.size(), x.dim(), x.numpy(), len(x), chainrule.equal(x, t)]
    assert not any(isinstance(r, chainrule.Tensor) for r in plain)
    assert type(x.as_subclass(chainrule.Tensor) + 1) is chainrule.Tensor
    assert repr(named(2)) == "Named([1., 1.])"
    with pytest.raises(TypeError, match="format"):  # as in PyTorch
        f"{named(1).sum():.2f}"


def test_one_subclass_among_others():
    assert type(named(2) + named(2, cls=Finer)) is Finer
    assert type(named(2, cls=Finer) + named(2)) is Finer
    with pytest.raises(TypeError, match=r"all __torch_function__ handlers returned NotImplemented.*Named, Other"):
        chainrule.add(named(2), named(2, cls=Other))
    with pytest.raises(TypeError):
        named(2) + named(2, cls=Other)


def test_what_a_subclass_carries_is_handed_on():
    x = named(3, cls=Tagged)
    x.tag = "a"
    assert ((x * 2)[:2].sum().tag, chainrule.cat([x, x]).tag) == ("a", None)
    assert copy.deepcopy(x).tag == "a"


@pytest.mark.parametrize(
    ("call", "func"),
    [
        (lambda x: x + 1, chainrule.Tensor.add),
        (lambda x: 1 + x, chainrule.Tensor.add),
        (lambda x: 1 - x, chainrule.Tensor.__rsub__),
        (lambda x: x / 2, chainrule.Tensor.div),
        (lambda x: x % 2, chainrule.Tensor.remainder),
        (lambda x: -x, chainrule.Tensor.neg),
        (lambda x: chainrule.ones(2) > x, chainrule.Tensor.lt),
        (lambda x: x == 1, chainrule.Tensor.__eq__),
        (lambda x: x[0], chainrule.Tensor.__getitem__),
        (lambda x: x.__iadd__(1), chainrule.Tensor.add_),
        (lambda x: x.add(1), chainrule.Tensor.add),
        (lambda x: chainrule.add(x, 1), chainrule.add),
        (lambda x: chainrule.sum(x), chainrule.sum),
        (lambda x: x.sum(), chainrule.Tensor.sum),
        (lambda x: chainrule.relu(x), chainrule.relu),
        (lambda x: F.gelu(x), F.gelu),
        (lambda x: chainrule.cat([chainrule.ones(2), x]), chainrule.cat),
        (lambda x: chainrule.ones(2).copy_(x), chainrule.Tensor.copy_),
        (lambda x: chainrule.add(chainrule.ones(2), other=x), chainrule.add),
        (lambda x: chainrule.linalg.norm(x), chainrule.linalg.norm),
        (lambda x: len(x), chainrule.Tensor.__len__),
        (lambda x: repr(x), chainrule.Tensor.__repr__),
    ],
)
def test_the_function_that_is_handed_over(call, func):
    x = named(2, cls=Logged)
    Logged.seen.clear()
    call(x)
    assert Logged.seen == [func]
    assert overrides.resolve_name(func).endswith(func.__name__)


def test_properties_and_names():
    x = named(2, cls=Logged)
    Logged.seen.clear()
    assert x.shape == (2,)
    x.requires_grad = True
    assert [f.__name__ for f in Logged.seen] == ["__get__", "__set__"]
    assert Logged.seen[0] == chainrule.Tensor.shape.__get__
    assert chainrule.div.__name__ == chainrule.Tensor.div.__name__ == "div"
    assert chainrule.split.__name__ == "split"
    assert overrides.resolve_name(chainrule.Tensor.add) == "chainrule.Tensor.add"
    assert overrides.resolve_name(chainrule.add) == "chainrule.add"
    assert overrides.resolve_name(chainrule.Tensor.shape.__get__) == "chainrule.Tensor.shape.__get__"
    assert overrides.resolve_name(F.gelu) == "chainrule.nn.functional.gelu"
    assert overrides.resolve_name(print) is None
    assert overrides.is_tensor_method_or_property(chainrule.Tensor.add)
    assert not overrides.is_tensor_method_or_property(chainrule.add)
    assert chainrule.add in overrides.get_overridable_functions()[chainrule]
    assert F.gelu in overrides.get_overridable_functions()[F]
    assert chainrule.zeros in overrides.get_ignored_functions()
    assert chainrule.add not in overrides.get_ignored_functions()
    assert chainrule.Tensor.grad.__get__ in overrides.get_default_nowrap_functions()
    assert "memory_format" in inspect.signature(chainrule.zeros_like).parameters
    assert next(iter(inspect.signature(chainrule.sum).parameters)) == "input"


def test_gradients_and_memory():
    w = chainrule.ones(2, requires_grad=True)
    x = w.as_subclass(Named)
    assert not x.is_leaf
    (x * 3).sum().backward()
    assert w.grad.tolist() == [3.0, 3.0]
    assert type(w.grad) is chainrule.Tensor
    base = chainrule.zeros(2)
    view = base.as_subclass(Named)
    base.add_(1)
    assert view.tolist() == [1.0, 1.0]
    view.copy_(w * 5)
    assert base.tolist() == [5.0, 5.0]
    base.sum().backward()
    assert w.grad.tolist() == [8.0, 8.0]
    made = chainrule.Tensor._make_subclass(Named, base.detach(), True)
    assert (type(made), made.is_leaf, made.requires_grad) == (Named, True, True)
    with pytest.raises(TypeError, match="subclass of Tensor"):
        base.as_subclass(int)
    with pytest.raises(RuntimeError, match="floating point"):
        chainrule.Tensor._make_subclass(Named, chainrule.arange(2), True)


def test_a_subclass_may_opt_out():
    class Plain(chainrule.Tensor):
        __torch_function__ = chainrule._C._disabled_torch_function_impl

    x = named(2, cls=Plain)
    assert type(x + 1) is chainrule.Tensor
    assert not overrides.has_torch_function((x, chainrule.ones(1), nn.Parameter(x), 3))
    assert overrides.has_torch_function((named(1),))
    assert overrides.has_torch_function_unary(named(1))
    assert overrides.has_torch_function_variadic(1, named(1))
    assert overrides.is_tensor_like(x)
    assert not overrides.is_tensor_like(3)


def test_switched_off():
    x = named(2)
    with chainrule._C.DisableTorchFunctionSubclass():
        assert type(x + 1) is chainrule.Tensor
        assert not chainrule._C._is_torch_function_enabled()
        assert not overrides.has_torch_function((x,))
    assert type(x + 1) is Named
    with Counting() as mode, chainrule._C.DisableTorchFunction():
        assert type(x + 1) is chainrule.Tensor
    assert mode.names == []


class Counting(overrides.TorchFunctionMode):
    def __init__(self):
        self.names = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.names.append(func.__name__)
        return func(*args, **(kwargs or {}))


class Twice(overrides.TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        return result * 2 if func is chainrule.add else result


def test_modes():
    with Counting() as mode:
        x = chainrule.zeros(3)
        (x + 1).sum()
        F.relu(chainrule.relu(x))
        chainrule.manual_seed(0)
        chainrule.is_tensor(x)
        assert overrides._get_current_function_mode() is mode
        assert overrides._get_current_function_mode_stack() == [mode]
        assert overrides.has_torch_function(())
    assert mode.names == ["zeros", "add", "sum", "relu", "relu"]
    assert overrides._get_current_function_mode() is None
    one = chainrule.ones(1)
    with Twice():
        assert chainrule.add(one, 1).item() == 4
        with Twice():
            assert chainrule.add(one, 1).item() == 8
        with overrides.BaseTorchFunctionMode():
            assert chainrule.add(one, 1).item() == 4
    assert chainrule.add(one, 1).item() == 2
    with Counting() as mode:
        nn.Linear(2, 2)
    assert set(mode.names) <= {"empty", "uniform_", "size", "dim", "__get__"}


class Scalar:
    """A class of its own that takes over some functions."""

    handled = {}

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return cls.handled.get(func, lambda *args, **kwargs: NotImplemented)(*args, **(kwargs or {}))


Scalar.handled[chainrule.mean] = lambda x, dim=None: ("mean", dim)
Scalar.handled[chainrule.cat] = lambda tensors, dim=0: ("cat", len(tensors), dim)
Scalar.handled[chainrule.Tensor.mul] = lambda a, b: "mul"
Scalar.handled[F.linear] = lambda *args, **kwargs: "linear"


def test_objects_that_are_no_tensors():
    d, t = Scalar(), chainrule.ones(2)
    assert chainrule.mean(d) == ("mean", None)
    assert chainrule.mean(d, dim=1) == ("mean", 1)
    assert chainrule.cat([t, d], 1) == ("cat", 2, 1)
    assert t * d == "mul"
    assert F.linear(t, d) == F.linear(d, t) == "linear"
    for refused in (lambda: chainrule.relu(d), lambda: t + d, lambda: d + t, lambda: F.relu(d)):
        with pytest.raises(TypeError):
            refused()
    assert (t == d) is False


@pytest.mark.parametrize(
    "call",
    [
        "mean(d)",
        "mean(d, 1)",
        "add(t, d)",
        "matmul(t, d)",
        "cumsum(d, 0)",
        "sort(d, dim=0)",
        "nn.functional.linear(t, d)",
    ],
)
def test_the_first_such_object_finds_nothing_intercepted(call):
    code = (
        "import sys, chainrule\n"
        "t = chainrule.ones(2)\n"
        "class D:\n"
        "    @classmethod\n"
        "    def __torch_function__(cls, func, types, args=(), kwargs=None):\n"
        "        return func, len(args) + len(kwargs or ()) > 0\n"
        "d = D()\n"
        "assert 'chainrule.autograd.overrides' not in sys.modules\n"
        f"assert chainrule.{call} == (chainrule.{call.partition('(')[0]}, True), chainrule.{call}\n"
    )
    in_a_new_process(code)


def test_an_object_that_is_found_to_be_like_a_tensor_is_asked():
    code = (
        "import chainrule\n"
        "from chainrule import overrides\n"
        "class D:\n"
        "    __torch_function__ = classmethod(lambda cls, func, types, args=(), kwargs=None: func)\n"
        "assert overrides.is_tensor_like(D())\n"
        "assert chainrule.numel(D()) is chainrule.numel\n"
    )
    in_a_new_process(code)


def test_who_imports_overrides_intercepts_nothing():
    code = (
        "import chainrule\n"
        "from chainrule import overrides\n"
        "code, shape = chainrule.Tensor.sum.__code__, chainrule.Tensor.shape\n"
        "assert not overrides.has_torch_function((chainrule.ones(1), 2))\n"
        "assert chainrule.Tensor.sum.__code__ is code\n"
        "getters = {shape.__get__: 'shape'}\n"
        "class Named(chainrule.Tensor): pass\n"
        "assert chainrule.Tensor.sum.__code__ is not code\n"
        "assert chainrule.Tensor.shape is shape and getters[chainrule.Tensor.shape.__get__] == 'shape'\n"
    )
    in_a_new_process(code)


@pytest.mark.parametrize("first", ["overrides.resolve_name(f)", "overrides.get_overridable_functions()"])
def test_the_first_question_for_functions_finds_them(first):
    code = (
        "import chainrule\n"
        "from chainrule import overrides\n"
        "f = chainrule.Tensor.add\n"
        f"{first}\n"
        "assert overrides.is_tensor_method_or_property(f)\n"
        "assert overrides.resolve_name(f) == 'chainrule.Tensor.add'\n"
    )
    in_a_new_process(code)


def test_signatures_stay_what_they_are():
    code = (
        "import inspect, chainrule\n"
        "functions = [*(f for f in chainrule.__dict__.values() if inspect.isfunction(f)),\n"
        "    *(f for f in vars(chainrule.Tensor).values() if inspect.isfunction(f))]\n"
        "def signatures(): return [str(inspect.signature(f, follow_wrapped=True)) for f in functions]\n"
        "SECOND\n"
        "from chainrule.autograd.overrides import activate\n"
        "activate()\n"
        "print(*signatures(), sep='\\n')\n"
    )
    shown = [
        subprocess.run([sys.executable, "-c", code.replace("SECOND", when)], check=True, capture_output=True).stdout
        for when in ("", "print(*signatures(), sep='\\n'); raise SystemExit")
    ]
    assert len(shown[0].splitlines()) > 900
    assert shown[0] == shown[1]


@pytest.mark.parametrize("name", ["zeros_like", "rand_like", "randn_like", "randint_like", "full_like"])
def test_signatures_of_functions_that_are_made(name):
    keywords = ["dtype", "layout", "device", "requires_grad", "memory_format", "pin_memory"]
    found = list(inspect.signature(getattr(chainrule, name)).parameters)
    assert (found[0], found[-6:]) == ("input", keywords)


def test_plain_arguments_are_looked_at_no_further():
    """Parameters, dtypes and devices are of classes that the package knows; a mode sees them, an own class is asked."""
    w = nn.Parameter(chainrule.ones(2))
    w.to(chainrule.float64), chainrule.ones(2).to(device=w.device)
    with Counting() as mode:
        w.sum()
        chainrule.ones(2).to(chainrule.float64)
    assert mode.names == ["sum", "ones", "to"]

    class Own(nn.Parameter):
        __torch_function__ = classmethod(lambda cls, func, types, args=(), kwargs=None: func.__name__)

    assert chainrule.add(w, Own(w)) == "add"


def test_functions_of_programs():
    def double(x):
        if overrides.has_torch_function_unary(x):
            return overrides.handle_torch_function(double, (x,), x)
        return x * 2

    @overrides.wrap_torch_function(lambda x: (x,))
    def triple(x):
        return x * 3

    assert type(double(named(2))) is type(triple(named(2))) is Named
    assert triple(chainrule.ones(1)).item() == 3.0
    with pytest.raises(TypeError, match="NotImplemented"):
        triple(Scalar())


def test_a_subclass_in_a_captured_or_transformed_function():
    x = named(3)
    slope = chainrule.func.grad(lambda v: (v * v).sum())(x)
    assert slope.tolist() == [2.0, 2.0, 2.0]
    rows = chainrule.func.vmap(lambda v: v.sum())(named(2, 3))
    assert rows.tolist() == [3.0, 3.0]


def test_another_librarys_functions_do_not_take_ours_for_theirs():
    assert chainrule.Tensor.__torch_function__(print, (chainrule.Tensor,), ()) is NotImplemented
    assert nn.Parameter.__torch_function__(print, (nn.Parameter,), ()) is NotImplemented
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError):
        torch.add(torch.ones(2), chainrule.ones(2))
    with pytest.raises(TypeError):
        torch.ones(2) + nn.Parameter(chainrule.ones(2))


PATCHED = """
import chainrule

chainrule.Tensor.plain = chainrule.Tensor.as_subclass  # a library keeps what it puts its own in the place of
chainrule.as_subclass = chainrule.Tensor.plain
chainrule.Tensor.as_subclass = lambda self, cls: chainrule.as_subclass(self, cls)
chainrule.Tensor.doubled = lambda self: 2 * self
calls = []


class Marked(chainrule.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        calls.append(func.__name__)
        return super().__torch_function__(func, types, args, kwargs or {})


t = chainrule.ones(2).as_subclass(Marked)
assert type(t.doubled()) is Marked
assert calls in (["mul"], ["__rmul__"]), calls
assert type(t.as_subclass(chainrule.Tensor)) is chainrule.Tensor
assert len(calls) == 1
"""


def test_methods_that_a_program_put_into_tensor_are_its_own():
    in_a_new_process(PATCHED)
