"""Properties of every layer in the module table, and PyTorch beside them."""

import collections
import copy
import inspect
import pickle
import warnings

import module_table
import numpy as np
import pytest
from module_table import LAYERS, OURS, RECORDS, TABLE

import chainrule as cr
from chainrule import nn
from chainrule.testing import gradcheck

pytestmark = [
    pytest.mark.filterwarnings("ignore:reduction:UserWarning"),  # kl_div says that "mean" is not its mean
    pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning"),  # a Transformer with its own defaults
    pytest.mark.filterwarnings("ignore:size_average and reduce args:UserWarning"),
    pytest.mark.filterwarnings("ignore:`NLLLoss2d` has been deprecated:FutureWarning"),
]

EACH = pytest.mark.parametrize("record", RECORDS, ids=str)
PLAIN = [r for r in RECORDS if not r.name.startswith("Lazy")]


def on_tensors(record, dtype, requires_grad=False):
    """The record's inputs as new tensors; floats in `dtype`."""
    return [
        cr.tensor(x, dtype=dtype, requires_grad=requires_grad) if x.dtype == np.float64 else cr.tensor(x)
        for x in record.inputs
    ]


def made(record, dtype=cr.float64):
    cr.manual_seed(0)
    module = record.make(nn, cr.tensor).to(dtype)
    return sized(module, record, dtype)


def sized(module, record, dtype=cr.float64):
    """A lazy layer after its first call, others as they are."""
    if hasattr(module, "has_uninitialized_params"):
        with cr.no_grad():
            module(*on_tensors(record, dtype))
        if hasattr(module, "reset_running_stats"):
            module.reset_running_stats()
    return module


def call(module, inputs):
    """The module's results in one tuple, on inputs that it may change in place."""

    def flat(result):
        return tuple([x for part in result for x in flat(part)]) if isinstance(result, tuple) else (result,)

    return flat(module(*[x * 1 if x.requires_grad else x for x in inputs]))


def same(one, two):
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_table_lists_every_layer():
    assert set(TABLE) == LAYERS


# Arguments of embeddings that change the table, or its gradient.
ON_PURPOSE = {"max_norm", "scale_grad_by_freq", "padding_idx"}


@EACH
def test_gradients(record):
    module = made(record).eval()
    inputs = on_tensors(record, cr.float64, requires_grad=True)
    names, parameters = zip(*module.named_parameters(), strict=True) if list(module.parameters()) else ((), ())
    live = [x for x in (*inputs, *parameters) if x.requires_grad]
    if record.name.startswith("Embedding") and ON_PURPOSE & set(record.kwargs):
        live = []

    def function(*values):
        values = iter(values)
        xs = [next(values) * 1 if x.requires_grad else x for x in inputs]
        weights = dict(zip(names, values, strict=True))
        out = cr.func.functional_call(module, weights, tuple(xs))
        return out[0] if isinstance(out, tuple) else out

    if live:
        assert gradcheck(function, live)


@EACH
def test_dtype_is_kept(record):
    module = made(record, cr.float32)
    out = call(module, on_tensors(record, cr.float32, requires_grad=True))[0]
    assert out.dtype == cr.float32
    if out.requires_grad:
        out.sum().backward()
    assert {p.grad.dtype for p in module.parameters() if p.grad is not None} <= {cr.float32}
    assert call(module.double(), on_tensors(record, cr.float64))[0].dtype == cr.float64


@EACH
def test_copies_and_state(record):
    module = made(record)
    inputs = on_tensors(record, cr.float64)
    for _ in range(2):
        call(module, inputs)  # running statistics move
    module.eval()
    fresh = sized(record.make(nn, cr.tensor).to(cr.float64), record)
    report = fresh.load_state_dict(module.state_dict())
    assert (report.missing_keys, report.unexpected_keys) == ([], [])
    expected = call(module, inputs)
    same(call(fresh.eval(), inputs), expected)
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        same(call(other, inputs), expected)
        assert repr(other) == repr(module)
        assert not {id(t) for t in other.state_dict(keep_vars=True).values()} & {
            id(t) for t in module.state_dict(keep_vars=True).values()
        }


@EACH
def test_random_layers_are_reproducible(record):
    inputs = on_tensors(record, cr.float64)
    module = made(record).train()
    results = []
    for _ in range(2):
        cr.manual_seed(3)
        results.append(call(copy.deepcopy(module), inputs))
    same(*results)


# -- PyTorch as the second oracle -------------------------------------------------------------------------------------


def to_torch(torch):
    return lambda x: torch.tensor(np.asarray(x))


def pair(record, torch):
    """The layer here and in PyTorch, with PyTorch's weights in both."""
    theirs = record.make(torch.nn, to_torch(torch)).to(torch.float64)
    if record.name.startswith("Lazy"):
        with torch.no_grad():
            theirs(*[torch.tensor(x) for x in record.inputs])
        if hasattr(theirs, "reset_running_stats"):
            theirs.reset_running_stats()
    ours = made(record)
    state = {k: cr.tensor(v.numpy()) for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    return ours, theirs


def close(a, b, tolerance=1e-9):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=1e-3 * tolerance)


@pytest.mark.torch
@EACH
@pytest.mark.parametrize("training", [True, False])
def test_like_torch(record, training, torch):
    if (record.random and training) or record.differs or record.name in OURS:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own
        ours, theirs = pair(record, torch)
        ours.train(training)
        theirs.train(training)
        xs = on_tensors(record, cr.float64, requires_grad=True)
        ys = [torch.tensor(x, requires_grad=x.dtype == np.float64) for x in record.inputs]
        for i in record.frozen:
            xs[i].requires_grad, ys[i].requires_grad = False, False
        for _ in range(2):
            got, expected = call(ours, xs), call(theirs, ys)
            for a, b in zip(got, expected, strict=True):
                close(a, b, record.tolerance)
            if got[0].requires_grad:
                (got[0] * got[0]).sum().backward()
                (expected[0] * expected[0]).sum().backward()
    for x, y in zip(xs, ys, strict=True):
        assert (x.grad is None) == (y.grad is None)
        if x.grad is not None:
            close(x.grad, y.grad, record.tolerance)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for key, value in state.items():
        close(value, expected[key])
    for (name, p), (other, q) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        assert name == other
        if p.grad is not None:
            close(p.grad, q.grad)
    assert repr(ours) == repr(theirs)
    theirs.load_state_dict({k: torch.tensor(v.numpy()) for k, v in state.items()})  # and back


@pytest.mark.torch
def test_layers_of_ours_are_not_torchs(torch):
    assert {name for name in LAYERS | module_table.CONTAINERS if not hasattr(torch.nn, name)} == OURS


@pytest.mark.torch
@pytest.mark.parametrize("name", sorted((LAYERS | module_table.CONTAINERS) - OURS))
def test_signatures_are_torchs(name, torch):
    def parameters(cls):
        found = inspect.signature(cls.__init__).parameters.values()
        plain = [p for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        return [(p.name, p.kind, getattr(p.default, "__name__", p.default)) for p in plain]

    ours, theirs = parameters(getattr(nn, name)), parameters(getattr(torch.nn, name))
    if name.startswith("Lazy"):  # theirs repeat the plain layer's arguments; ours pass them on
        ours, theirs = [p[0] for p in ours], [p[0] for p in theirs]
        assert ours == theirs[: len(ours)]
    elif name not in ("Module", "Sequential"):
        assert ours == theirs


def plain(value):
    """An attribute's value, comparable between the two: shapes of tensors, names of functions and modules."""
    if type(value).__name__.startswith("Uninitialized"):
        return "lazy"
    if type(value).__name__ == "Size" or isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "requires_grad"):
        return tuple(value.shape)
    if hasattr(value, "named_modules"):
        return type(value).__name__
    if callable(value):
        return getattr(value, "__name__", "")
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value).rpartition(".")[2]


@pytest.mark.torch
@pytest.mark.parametrize("record", [r for r in RECORDS if r.name not in OURS], ids=str)
def test_attributes_are_torchs(record, torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own
        ours, theirs = record.make(nn, cr.tensor), record.make(torch.nn, to_torch(torch))
    every = {*vars(theirs), *theirs._parameters, *theirs._buffers, *theirs._modules}
    every |= set(dir(type(theirs))) - set(dir(torch.nn.Module))
    for name in sorted(n for n in every if not n.startswith("_") and n != "merge_masks"):
        a, b = plain(getattr(ours, name)), plain(getattr(theirs, name))
        assert (a, isinstance(a, tuple)) == (b, isinstance(b, tuple)), name


def test_parameter_dicts_of_plain_dicts_are_in_alphabetical_order():
    def one():
        return nn.Parameter(cr.ones(2, 2))

    found = nn.ParameterDict({"b": one(), "a": one()})
    assert list(found) == ["a", "b"]
    assert [name for name, _ in found.named_parameters()] == ["a", "b"]
    found.update({"z": one(), "c": one()})
    assert list(found) == ["a", "b", "c", "z"]
    for kept in ([("b", one()), ("a", one())], collections.OrderedDict(b=one(), a=one())):
        assert list(nn.ParameterDict(kept)) == ["b", "a"]
        assert list(nn.ParameterDict(nn.ParameterDict(kept))) == ["b", "a"]
        assert list(nn.ParameterDict(kept).copy()) == ["b", "a"]
        assert list(nn.ParameterDict(kept) | nn.ParameterDict([("z", one()), ("c", one())])) == ["b", "a", "z", "c"]
    assert list(nn.ParameterDict().fromkeys(["q", "p"], one())) == ["q", "p"]


def test_parameter_dicts_hold_other_values_too():
    found = nn.ParameterDict({"k": nn.Parameter(cr.ones(2, 2)), "n": 3, "s": "text"})
    found["s"] = "another"
    assert [found[key] for key in ("n", "s")] == [3, "another"]
    assert list(found.state_dict()) == ["k"]
    assert str(found).splitlines()[1:4] == [
        "    (k): Parameter containing: [chainrule.FloatTensor of size 2x2]",
        "    (n): Object of type: int",
        "    (s): Object of type: str",
    ]
    with pytest.raises(KeyError, match="already exists"):
        found["values"] = nn.Parameter(cr.ones(1))
