"""Recurrent layers: packed sequences, states, checks; sequences padded and packed."""

import copy
import pickle
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.nn.utils import rnn
from chainrule.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence, pad_sequence
from chainrule.testing import gradcheck, gradgradcheck

LAYERS = {
    "RNN": lambda lib, **o: lib.RNN(3, 4, **o),
    "relu": lambda lib, **o: lib.RNN(3, 4, nonlinearity="relu", **o),
    "GRU": lambda lib, **o: lib.GRU(3, 4, **o),
    "LSTM": lambda lib, **o: lib.LSTM(3, 4, **o),
    "projected": lambda lib, **o: lib.LSTM(3, 4, proj_size=2, **o),
}
EACH = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
LENGTHS = [3, 5, 1, 5]


def close(a, b, tolerance=1e-9):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=1e-3 * tolerance)


def flat(result):
    return [x for part in result for x in flat(part)] if isinstance(result, (tuple, list)) else [result]


def layer(make, **options):
    cr.manual_seed(0)
    return make(nn, **options).double()


def batch(*shape):
    return cr.randn(*shape, generator=cr.Generator().manual_seed(1), dtype=cr.float64)


# -- layers -----------------------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_is_each_sequence_alone(make, bidirectional):
    model = layer(make, num_layers=2, bidirectional=bidirectional)
    x = batch(5, 4, 3)
    packed = pack_padded_sequence(x, LENGTHS, enforce_sorted=False)
    output, states = model(packed)
    padded, lengths = pad_packed_sequence(output)
    assert lengths.tolist() == LENGTHS
    for b, n in enumerate(LENGTHS):
        alone, final = model(x[:n, b])
        close(padded[:n, b], alone)
        assert (padded[n:, b] == 0).all()
        for s, f in zip(flat(states), flat(final), strict=True):
            close(s[:, b], f)


@EACH
def test_packed_gradients_of_both_orders(make):
    model = layer(make, bidirectional=True)
    states = flat(model(batch(2, 3, 3))[1])
    names, weights = zip(*model.named_parameters(), strict=True)
    sizes = [3, 2, 1]

    def run(x, *values):
        given, parameters = values[: len(states)], dict(zip(names, values[len(states) :], strict=True))
        packed = pack_padded_sequence(x, sizes)
        hx = given if len(given) > 1 else given[0]
        output, final = cr.func.functional_call(model, parameters, (packed, hx))
        return (output.data, *flat(final))

    inputs = [batch(3, 3, 3), *[s.detach() for s in states], *[w.detach() for w in weights]]
    for x in inputs:
        x.requires_grad_()
    assert gradcheck(run, inputs)
    model, names, weights = nn.GRU(1, 1).double(), [], []
    assert gradgradcheck(lambda x: model(x)[0], [batch(2, 1, 1).requires_grad_()])


@EACH
def test_one_step_at_a_time(make):
    """The state carried on gives what the whole sequence gives."""
    model = layer(make, num_layers=2)
    x = batch(5, 2, 3)
    whole, final = model(x)
    state, outputs = None, []
    for row in x.split(1):
        output, state = model(row, state)
        outputs.append(output)
    close(cr.cat(outputs), whole)
    for a, b in zip(flat(state), flat(final), strict=True):
        close(a, b)


def test_cells_are_steps_of_layers():
    x = batch(4, 2, 3)
    for name in ("RNN", "GRU", "LSTM"):
        model, cell = getattr(nn, name)(3, 4).double(), getattr(nn, f"{name}Cell")(3, 4).double()
        cell.load_state_dict({k.removesuffix("_l0"): v for k, v in model.state_dict().items()})
        state, outputs = None, []
        for row in x:
            state = cell(row, state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        close(cr.stack(outputs), model(x)[0])


def test_a_layer_and_direction_is_one_node():
    model = nn.LSTM(3, 4)
    output, _ = model(cr.zeros(7, 2, 3))
    names, stack = [], [output.grad_fn]
    while stack:
        node = stack.pop()
        names.append(node.name())
        stack += [n for n, _ in node.next_functions if n is not None]
    assert sum("Lstm" in n for n in names) == 1
    assert len(names) < 12, names  # the node, a few views, and the leaves


def test_unasked_outputs_and_states():
    """Gradients of the final states alone, and of the output alone, add up to those of both."""
    model, x = layer(LAYERS["LSTM"]), batch(4, 2, 3).requires_grad_()
    output, (h, c) = model(x)
    parts = [cr.autograd.grad(t.sum(), x, retain_graph=True)[0] for t in (output, h, c)]
    (both,) = cr.autograd.grad(output.sum() + h.sum() + c.sum(), x)
    close(parts[0] + parts[1] + parts[2], both)


def test_memory_shared_with_numpy_may_change():
    """The kernel keeps a copy of the input whose memory others can write into."""
    model, array = layer(LAYERS["GRU"]), batch(4, 2, 3).numpy().copy()
    (expected,) = cr.autograd.grad(model(cr.tensor(array))[0].sum(), model.weight_ih_l0)
    output, _ = model(cr.from_numpy(array))
    array[...] = 7
    close(cr.autograd.grad(output.sum(), model.weight_ih_l0)[0], expected)


def test_anomaly_mode_looks_into_the_sequence():
    model, x = layer(LAYERS["LSTM"], bidirectional=True), batch(4, 2, 3).requires_grad_()
    (expected,) = cr.autograd.grad(model(x)[0].sum(), x)
    with cr.autograd.detect_anomaly():
        (found,) = cr.autograd.grad(model(x)[0].sum(), x)
    close(found, expected)
    with cr.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="returned nan values"):
        (model(x)[1][1].sum() * 0).sqrt().backward()


def test_weights_from_elsewhere():
    """As programs drop weights: the layer computes with whatever stands under the parameter's name."""
    model = layer(LAYERS["LSTM"])
    raw = model.weight_hh_l0
    del model.weight_hh_l0
    model.register_parameter("weight_hh_l0_raw", raw)
    model.weight_hh_l0 = raw * 0.5
    model(batch(4, 2, 3))[0].sum().backward()
    assert raw.grad is not None
    plain = layer(LAYERS["LSTM"])
    plain._flat_weights = [w if w is not plain.weight_hh_l0 else nn.Parameter(w * 0.5) for w in plain._flat_weights]
    close(plain(batch(4, 2, 3))[0], model(batch(4, 2, 3))[0])


def test_final_states_have_their_own_memory():
    model = layer(LAYERS["LSTM"])
    with cr.no_grad():
        output, (h, c) = model(batch(3, 2, 3))
        before = output.clone()
        h.zero_()
        c.zero_()
    assert (output == before).all()


def test_dropout_between_layers_only():
    cr.manual_seed(0)
    one = nn.GRU(3, 200, 2, dropout=1.0)
    x = cr.randn(2, 1, 3)
    with cr.no_grad():
        one.weight_ih_l1.fill_(1e6)
    assert one(x)[0].abs().max() < 1  # nothing of the first layer arrives
    assert one.eval()(x)[0].abs().max() == 1
    with pytest.warns(UserWarning, match="num_layers greater than 1, but got dropout=0.5 and num_layers=1"):
        nn.GRU(2, 3, dropout=0.5)


def test_module_surface():
    model = nn.LSTM(2, 5, num_layers=2, bidirectional=True, proj_size=3, device="cpu", dtype=cr.float64)
    assert [n for n, _ in model.named_parameters()][:5] == [
        *("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0")
    ]
    assert model.weight_ih_l1_reverse.shape == (20, 6)
    assert model.weight_hh_l1_reverse.shape == (20, 3)
    assert [len(w) for w in model.all_weights] == [5] * 4
    assert all(w.dtype == cr.float64 and w.abs().max() <= 5**-0.5 for w in model.parameters())
    assert model.flatten_parameters() is None
    assert repr(model) == "LSTM(2, 5, proj_size=3, num_layers=2, bidirectional=True)"
    assert nn.RNN(2, 3, 1, "relu").mode == "RNN_RELU"
    other = pickle.loads(pickle.dumps(copy.deepcopy(model)))
    x = batch(3, 2, 2)
    close(other(x)[0], model(x)[0])
    assert nn.GRU(3, 4)(cr.zeros(2, 0, 3))[0].shape == (2, 0, 4)  # no sequences


def calls(lib, torch):
    """Wrong calls, each as a function."""
    m, g, r, z = lib.LSTM(2, 3, 2), lib.GRU(2, 3), lib.RNN(2, 3), torch.zeros
    yield from [
        lambda: lib.LSTM(2, 3, dropout=2),
        lambda: lib.LSTM(2, 3, dropout=True),
        lambda: lib.LSTM(2, 0),
        lambda: lib.LSTM(2, 3.0),
        lambda: lib.LSTM(2, 3, bias=0),
        lambda: lib.LSTM(2, 3, num_layers=0),
        lambda: lib.LSTM(2, 3, proj_size=3),
        lambda: lib.LSTM(2, 3, proj_size=-1),
        lambda: lib.GRU(2, 3, proj_size=1),
        lambda: lib.RNN(2, 3, proj_size=1),
        lambda: lib.RNN(2, 3, nonlinearity="x"),
        lambda: lib.RNN(2, 3, 1, True),
        lambda: lib.RNNBase("LS", 2, 3),
        lambda: lib.RNNCell(2, 3, nonlinearity="x")(z(2, 2)),
        lambda: m(z(2, 3, 2), (z(2, 3, 3), z(2, 3, 4))),
        lambda: m(z(2, 3, 2), (z(2, 3, 4), z(2, 3, 4))),
        lambda: m(z(2, 2), (z(2, 1, 3), z(2, 1, 3))),
        lambda: m(z(2, 3, 2), (z(2, 3), z(2, 3))),
        lambda: m(z(2, 3, 4)),
        lambda: m(z(2)),
        lambda: m(z(2, 2, 2, 2)),
        lambda: m(z(0, 3, 2)),
        lambda: g(z(2, 3, 2), z(1, 2, 3)),
        lambda: g(z(2, 2), z(1, 1, 3)),
        lambda: g(z(2, 3, 2), z(1, 3)),
        lambda: g(z(2)),
        lambda: r(z(2)),
        lambda: lib.LSTMCell(2, 3)(z(3, 3)),
        lambda: lib.LSTMCell(2, 3)(z(2, 2), z(2, 3)),
        lambda: lib.LSTMCell(2, 3)(z(2, 2), (z(3), z(3))),
        lambda: lib.GRUCell(2, 3)(z(3, 2), z(2, 3)),
        lambda: lib.GRUCell(2, 3)(z(3, 2), z(3, 4)),
        lambda: lib.GRUCell(2, 3)(z(2, 2), z(1, 2, 3)),
        lambda: lib.RNNCell(2, 3)(z(2, 2, 2)),
        lambda: lib.RNNCell(2, 3)(z(2), z(1, 3)),
    ]
    u, x = lib.utils.rnn, z(4, 3, 2)
    yield from [
        lambda: u.pack_padded_sequence(x, [4, 3]),
        lambda: u.pack_padded_sequence(x, [4, 3, 0]),
        lambda: u.pack_padded_sequence(x, [1, 3, 2]),
        lambda: u.pack_padded_sequence(x[:0], [4, 3, 2]),
        lambda: u.pad_packed_sequence(u.pack_padded_sequence(x, [4, 3, 1]), total_length=2),
        lambda: u.pad_sequence([]),
        lambda: u.pad_sequence([x[0], x[0, :2]], padding_side="up"),
        lambda: u.pad_sequence([x[0], 3]),
        lambda: u.pack_sequence([x[:2, 0], x[:, 1]]),
        lambda: u.PackedSequence(x),
    ]


def errors(lib, torch):
    for number, call in enumerate(calls(lib, torch)):
        try:
            call()
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            yield error
        else:
            pytest.fail(f"call {number} passed")


def test_wrong_calls_raise():
    kinds = [type(error) for error in errors(nn, cr)]
    assert len(kinds) == 45
    with pytest.raises(ValueError, match="does not match weight dtype"):
        nn.LSTM(2, 3)(cr.zeros(2, 1, 2, dtype=cr.float64))
    with pytest.raises(RuntimeError, match="a length of 5 is longer"):
        pack_padded_sequence(cr.zeros(4, 1, 2), [5])


@pytest.mark.torch
def test_wrong_calls_raise_like_torchs(torch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for ours, theirs in zip(errors(nn, cr), errors(torch.nn, torch), strict=True):
            assert isinstance(ours, type(theirs))
            assert str(ours) == str(theirs)


@pytest.mark.torch
@EACH
@pytest.mark.parametrize("bidirectional", [False, True])
def test_packed_like_torch(make, bidirectional, torch):
    theirs = make(torch.nn, num_layers=2, bidirectional=bidirectional).double()
    ours = make(nn, num_layers=2, bidirectional=bidirectional).double()
    ours.load_state_dict({k: cr.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    x = batch(5, 4, 3)
    y = torch.tensor(x.numpy(), requires_grad=True)
    x.requires_grad_()
    a, b = [cr.randn_like(s) for s in flat(ours(x)[1])], []
    for s in a:
        b.append(torch.tensor(s.numpy(), requires_grad=True))
        s.requires_grad_()
    found = []
    for lib, model, z, states in ((cr, ours, x, a), (torch, theirs, y, b)):
        packed = lib.nn.utils.rnn.pack_padded_sequence(z, LENGTHS, enforce_sorted=False)
        output, final = model(packed, tuple(states) if len(states) > 1 else states[0])
        results = [output.data, *flat(final)]
        sum((k + 1) * (r * r).sum() for k, r in enumerate(results)).backward()
        found.append([*results, z.grad, *[s.grad for s in states], *[p.grad for p in model.parameters()]])
    for one, two in zip(*found, strict=True):
        close(one, two)


@pytest.mark.torch
def test_functions_like_torch(torch):
    for name, states in {"lstm": 2, "gru": 1, "rnn_tanh": 1, "rnn_relu": 1}.items():
        model = LAYERS["relu" if name == "rnn_relu" else name[:3].upper() if states == 1 else "LSTM"](torch.nn).double()
        x, hx = torch.tensor(batch(5, 4, 3).numpy()), [torch.ones(1, 4, 4, dtype=torch.float64)] * states
        weights, results = list(model.parameters()), []
        for lib in (torch, cr):

            def on(t, lib=lib):
                return t if lib is torch else cr.tensor(t.detach().numpy())

            h = [on(s) for s in hx]
            h = h if states == 2 else h[0]
            w = [on(p) for p in weights]
            packed = lib.nn.utils.rnn.pack_padded_sequence(on(x), [5, 4, 2, 2])
            rest = (True, 1, 0.0, False, False)
            results.append(
                [
                    *getattr(lib, name)(on(x), h, w, *rest, False),
                    *getattr(lib, name)(packed.data, packed.batch_sizes, h, w, *rest),
                    *flat([getattr(lib, f"{name}_cell")(on(x)[0], [s[0] for s in h] if states == 2 else h[0], *w)]),
                ]
            )
        for one, two in zip(*results, strict=True):
            close(one, two)


# -- padding and packing ----------------------------------------------------------------------------------------------


def test_pack_and_pad():
    x = cr.arange(12.0).reshape(4, 3).requires_grad_()
    packed = pack_padded_sequence(x, cr.tensor([2, 4, 1]), enforce_sorted=False)
    assert packed.data.tolist() == [1, 0, 2, 4, 3, 7, 10]
    assert packed.batch_sizes.tolist() == [3, 2, 1, 1]
    assert packed.sorted_indices.tolist() == [1, 0, 2]
    padded, lengths = pad_packed_sequence(packed, padding_value=-1.0, total_length=5)
    assert padded.T.tolist() == [[0, 3, -1, -1, -1], [1, 4, 7, 10, -1], [2, -1, -1, -1, -1]]
    assert lengths.tolist() == [2, 4, 1]
    padded.sum().backward()
    assert x.grad.tolist() == [[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 1, 0]]
    first = pack_padded_sequence(x.T, [4, 2, 2], batch_first=True)
    assert first.data.tolist() == [0, 1, 2, 3, 4, 5, 6, 9]
    assert first.sorted_indices is None
    assert pad_packed_sequence(first, batch_first=True)[0].shape == (3, 4)


def test_pad_sequence_and_back():
    parts = [cr.ones(2, 3), cr.ones(4, 3) * 2, cr.ones(1, 3) * 3]
    assert pad_sequence(parts).shape == (4, 3, 3)
    left = pad_sequence(parts, batch_first=True, padding_value=9, padding_side="left")
    assert left[:, :, 0].tolist() == [[9, 9, 1, 1], [2, 2, 2, 2], [9, 9, 9, 3]]
    assert pad_sequence(cr.eye(2)).tolist() == [[1, 0], [0, 1]]
    for found in (
        rnn.unpad_sequence(pad_sequence(parts), cr.tensor([2, 4, 1])),
        rnn.unpack_sequence(rnn.pack_sequence(parts, enforce_sorted=False)),
    ):
        assert [f.tolist() for f in found] == [p.tolist() for p in parts]
    labels = pad_sequence([cr.tensor([1, 2]), cr.tensor([3])], padding_value=-100)
    assert labels.dtype == cr.int64
    assert labels.tolist() == [[1, 3], [2, -100]]


def test_packed_sequence_is_a_named_tuple():
    packed = rnn.pack_sequence([cr.ones(2), cr.zeros(1)])
    data, sizes, order, inverse = packed
    assert isinstance(packed, tuple)
    assert (order, inverse) == (None, None)
    assert PackedSequence(data, sizes).batch_sizes is sizes
    assert PackedSequence((data, sizes)).data is data
    assert PackedSequence(data, sizes, cr.tensor([1, 0])).unsorted_indices.tolist() == [1, 0]
    assert rnn.invert_permutation(cr.tensor([2, 0, 1])).tolist() == [1, 2, 0]
    assert rnn.invert_permutation(None) is None
    assert packed.to("cpu") is packed
    assert packed.cpu() is packed
    assert packed.float() is packed
    assert packed.to(cr.float64).data.dtype == cr.float64
    kinds = {"double": cr.float64, "half": cr.float16, "long": cr.int64, "int": cr.int32}
    kinds |= {"short": cr.int16, "char": cr.int8, "byte": cr.uint8}
    for name, dtype in kinds.items():
        assert getattr(packed, name)().data.dtype == dtype
    assert not packed.is_cuda
    assert not packed.is_pinned()
    assert repr(packed).startswith("PackedSequence(data=tensor([1., 0., 1.]), batch_sizes=tensor([2, 1])")
    other = pickle.loads(pickle.dumps(packed))
    assert type(other) is PackedSequence
    assert other.data.tolist() == data.tolist()
