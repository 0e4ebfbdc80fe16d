"""A stand-in for the module `cudnn`, by which kernels run on NumPy arrays: it computes what a graph describes.

It takes the calls that the frontend takes (names of arguments included), records them, and at `execute` reads and
writes raw memory by the addresses it is given, as the graph's sizes, strides and dtypes say. So a swapped argument, a
wrong stride or a tensor too small shows in the numbers. What it computes with is float64 and formulas of its own.
"""

import ctypes
import itertools
import pickle
from types import SimpleNamespace

import ml_dtypes
import numpy as np

NUMPY = {
    "HALF": np.float16,
    "BFLOAT16": ml_dtypes.bfloat16,
    "FLOAT": np.float32,
    "DOUBLE": np.float64,
    "BOOLEAN": np.bool_,
    "INT64": np.int64,
}


class NotSupported(Exception):
    pass


class Tensor:
    def __init__(self, dim=(), stride=(), data_type=None, is_pass_by_value=False, uid=None, name=""):
        self.dim, self.stride, self.data_type = list(dim), list(stride), data_type
        self.by_value, self.uid, self.name, self.output = is_pass_by_value, uid, name, False

    def set_output(self, value):
        self.output = value
        return self

    def set_uid(self, uid):
        self.uid = uid
        return self

    def set_dim(self, dim):
        self.dim = dim
        return self

    def set_stride(self, stride):
        self.stride = stride
        return self

    def set_data_type(self, data_type):
        self.data_type = data_type
        return self

    def at(self, address):
        """The memory that the tensor describes, at `address`."""
        kind = np.dtype(NUMPY[self.data_type])
        assert len(self.dim) == len(self.stride), self.name
        count = 1 + sum((n - 1) * s for n, s in zip(self.dim, self.stride))
        memory = (ctypes.c_byte * (count * kind.itemsize)).from_address(address)
        return np.ndarray(self.dim, kind, memory, 0, [s * kind.itemsize for s in self.stride])


# -- what the nodes compute -------------------------------------------------------------------------------------------


GEOMETRY = ("pre_padding", "post_padding", "stride", "dilation")


def _taps(image, kernel, out, pre, post, stride, dilation):
    padded = np.pad(image, ((0, 0), (0, 0), *zip(pre, post)))
    expected = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(padded.shape[2:], kernel, stride, dilation)]
    assert list(out) == expected, (out, expected)
    for tap in itertools.product(*map(range, kernel)):
        window = [slice(i * d, i * d + (p - 1) * s + 1, s) for i, d, p, s in zip(tap, dilation, out, stride)]
        yield tap, (slice(None), slice(None), *window), padded


def _trilinear(letter, image, weight, loss, sizes, *, pre_padding, post_padding, stride, dilation):
    """Two of the three given, the third: all pairs of a group's channels, tap by tap."""
    (n, c, *size), (o, depth, *kernel), (_, _, *out) = sizes
    groups = c // depth
    geometry = (kernel, out, pre_padding, post_padding, stride, dilation)
    frame = np.zeros((n, c, *size)) if image is None else image
    found = {"w": np.zeros((o, depth, *kernel)), "y": np.zeros((n, o, *out)), "x": None}[letter]
    for tap, window, padded in _taps(frame, *geometry):
        found = padded if letter == "x" and found is None else found
        at = (slice(None), slice(None), *tap)
        for group in range(groups):
            cs, os = slice(group * depth, (group + 1) * depth), slice(group * o // groups, (group + 1) * o // groups)
            piece = (found if letter == "x" else padded)[window][:, cs]
            if letter == "y":
                found[:, os] += np.einsum("nc...,oc->no...", piece, weight[at][os])
            elif letter == "w":
                rows = [a.reshape(*a.shape[:2], -1) for a in (piece, loss[:, os])]
                found[(os, *at[1:])] += np.einsum("ncp,nop->oc", *rows)
            else:
                piece += np.einsum("no...,oc->nc...", loss[:, os], weight[at][os])
    if letter != "x":
        return found
    return found[(slice(None), slice(None), *[slice(b, b + k) for b, k in zip(pre_padding, size)])]


def conv_fprop(results, image, weight, **geometry):
    if not results[0]:  # no result of the graph's, so the library infers its size
        each = zip(image.shape[2:], weight.shape[2:], *[geometry[name] for name in GEOMETRY])
        results[0] = [*image.shape[:1], *weight.shape[:1]]
        results[0] += [(n + b + a - d * (k - 1) - 1) // s + 1 for n, k, b, a, s, d in each]
    return [_trilinear("y", image, weight, None, (image.shape, weight.shape, results[0]), **geometry)]


def conv_dgrad(results, loss, filter, **geometry):
    return [_trilinear("x", None, filter, loss, (results[0], filter.shape, loss.shape), **geometry)]


def conv_wgrad(results, image, loss, **geometry):
    return [_trilinear("w", image, None, loss, (image.shape, results[0], loss.shape), **geometry)]


def _over(x):
    return (0, *range(2, x.ndim))


def batchnorm(results, input, scale, bias, in_running_mean, in_running_var, epsilon, momentum):
    count = input.size // input.shape[1]
    mean = input.mean(_over(input), keepdims=True)
    var = input.var(_over(input), keepdims=True)
    inverse = 1 / np.sqrt(var + epsilon)
    new = [
        (1 - momentum) * old + momentum * now
        for old, now in ((in_running_mean, mean), (in_running_var, var * count / (count - 1)))
    ]
    return [(input - mean) * inverse * scale + bias, mean, inverse, *new]


def _normalised_grad(grad, input, scale, mean, inverse, dims, rest):
    standard = (input - mean) * inverse
    inner = grad * scale
    dx = inner - inner.mean(dims, keepdims=True) - standard * (inner * standard).mean(dims, keepdims=True)
    return [dx * inverse, (grad * standard).sum(rest, keepdims=True), grad.sum(rest, keepdims=True)]


def batchnorm_backward(results, grad, input, scale, mean, inv_variance):
    return _normalised_grad(grad, input, scale, mean, inv_variance, _over(input), _over(input))


def layernorm(results, input, scale, bias, epsilon):
    mean, var = input.mean(1, keepdims=True), input.var(1, keepdims=True)
    inverse = 1 / np.sqrt(var + epsilon)
    return [(input - mean) * inverse * scale + bias, mean, inverse]


def layernorm_backward(results, grad, input, scale, mean, inv_variance):
    return _normalised_grad(grad, input, scale, mean, inv_variance, 1, 0)


def rmsnorm(results, input, scale, epsilon):
    inverse = 1 / np.sqrt((input * input).mean(1, keepdims=True) + epsilon)
    return [input * inverse * scale, inverse]


def rmsnorm_backward(results, grad, input, scale, inv_variance, has_dbias):
    standard, inner = input * inv_variance, grad * scale
    dx = (inner - standard * (inner * standard).mean(1, keepdims=True)) * inv_variance
    return [dx, (grad * standard).sum(0, keepdims=True), None]


def _probabilities(q, k, bias, attn_scale, diagonal_band_right_bound):
    k = np.repeat(k, q.shape[1] // k.shape[1], 1)
    scores = np.einsum("bhle,bhse->bhls", q, k) * attn_scale
    if bias is not None:
        scores = scores + bias
    if diagonal_band_right_bound is not None:
        rows, columns = np.indices(scores.shape[2:])
        scores = np.where(columns > rows + diagonal_band_right_bound, -np.inf, scores)
    top = scores.max(-1, keepdims=True)
    sums = top + np.log(np.exp(scores - top).sum(-1, keepdims=True))
    return np.exp(scores - sums), sums


def by_seed(shape, p, seed):
    """Which probabilities are kept: any function of the seed will do."""
    return np.random.default_rng(int(seed) % 2**32).random(shape) >= p


def _kept(shape, *dropout):
    if isinstance(dropout[0], float):
        p, seed, offset = dropout
        assert offset.item() == 0
        return by_seed(shape, p, seed.item()) / (1 - p)
    return dropout[0] * dropout[1]


def sdpa(
    results,
    q,
    k,
    v,
    generate_stats,
    attn_scale,
    bias=None,
    dropout=None,
    diagonal_alignment=None,
    diagonal_band_right_bound=None,
):
    assert generate_stats
    p, sums = _probabilities(q, k, bias, attn_scale, diagonal_band_right_bound)
    if dropout is not None:
        p = p * _kept(p.shape, *dropout[:3])
    return [np.einsum("bhls,bhse->bhle", p, np.repeat(v, q.shape[1] // v.shape[1], 1)), sums]


def sdpa_backward(
    results,
    q,
    k,
    v,
    o,
    dO,
    stats,
    attn_scale,
    bias=None,
    dBias=None,
    dropout=None,
    diagonal_alignment=None,
    diagonal_band_right_bound=None,
    use_deterministic_algorithm=False,
):
    p, sums = _probabilities(q, k, bias, attn_scale, diagonal_band_right_bound)
    np.testing.assert_allclose(stats, sums, 1e-3, 1e-3)
    times = q.shape[1] // k.shape[1]
    kept = 1.0
    if dropout is not None:
        kept = _kept(p.shape, *dropout)
        if not isinstance(dropout[0], float):
            np.testing.assert_allclose(dropout[1] * dropout[2], 1, 1e-6)
    dp = np.einsum("bhle,bhse->bhls", dO, np.repeat(v, times, 1)) * kept
    ds = p * (dp - (dO * o).sum(-1, keepdims=True))

    def grouped(x):
        return x.reshape(x.shape[0], -1, times, *x.shape[2:]).sum(2)

    dq = np.einsum("bhls,bhse->bhle", ds, np.repeat(k, times, 1)) * attn_scale
    dk = grouped(np.einsum("bhls,bhle->bhse", ds, q)) * attn_scale
    dv = grouped(np.einsum("bhls,bhle->bhse", p * kept, dO))
    if dBias is not None:
        shape = dBias
        ds = ds.sum(tuple(d for d in range(4) if shape[d] == 1 and ds.shape[d] > 1), keepdims=True)
    return [dq, dk, dv, ds]


def bias(results, input, bias):
    return [input + bias]


def add(results, a, b):
    return [a + b]


def relu(results, input):
    return [np.maximum(input, 0)]


def cmp_gt(results, input, comparison):
    return [input > comparison]


def scale(results, input, scale):
    return [input * scale]


NODES = {
    **{f.__name__: (f, 1) for f in (conv_fprop, conv_dgrad, conv_wgrad, bias, add, relu, cmp_gt, scale)},
    **{f.__name__: (f, n) for f, n in ((batchnorm, 5), (batchnorm_backward, 3), (layernorm, 3), (sdpa, 2))},
    **{f.__name__: (f, n) for f, n in ((layernorm_backward, 3), (rmsnorm, 2), (rmsnorm_backward, 3))},
    "sdpa_backward": (sdpa_backward, 3),
}


# -- the graph --------------------------------------------------------------------------------------------------------


class Graph:
    """`refuses`: kinds of nodes for which there is no engine. `workspace`: bytes that plans want."""

    refuses = set()
    workspace = 64
    built = 0

    def __init__(self, io_data_type=None, intermediate_data_type=None, compute_data_type=None, handle=None, **where):
        self.nodes, self.inputs, self.filters = [], [], []
        self.stage = []

    def tensor(self, name, dim, stride, data_type, is_pass_by_value=False, uid=None):
        found = Tensor(dim, stride, data_type, is_pass_by_value, uid, name)
        self.inputs.append(found)
        return found

    def __getattr__(self, name):
        if name not in NODES:
            raise AttributeError(name)
        return lambda **given: self._node(name, given)

    def _node(self, name, given):
        given.pop("norm_forward_phase", None)
        results = [Tensor() for _ in range(NODES[name][1])]
        self.nodes.append((name, given, results))
        return results[0] if len(results) == 1 else results

    def validate(self):
        self.stage.append("validate")

    def build_operation_graph(self):
        self.stage.append("graph")

    def create_execution_plans(self, modes):
        self.stage.append("plans")
        refused = self.refuses & {name for name, _, _ in self.nodes}
        if refused:
            raise NotSupported(refused)

    def deselect_numeric_notes(self, notes):
        self.filters += notes

    def deselect_workspace_greater_than(self, size):
        self.filters.append(size)

    def check_support(self):
        self.stage.append("support")

    def build_plans(self, policy):
        type(self).built += 1
        self.stage.append(policy)

    def build_plan_at_index(self, index):
        self.stage.append(("built", index))

    def get_workspace_size(self):
        return self.workspace

    def get_execution_plan_count(self):
        return 3

    def get_workspace_size_plan_at_index(self, index):
        return self.workspace

    def execute_plan_at_index(self, pack, workspace, index, handle):
        if index == 0:
            raise RuntimeError("this plan does not run")
        self.execute(pack, workspace, handle)

    def serialize(self):
        return list(pickle.dumps((self.inputs, self.nodes)))

    def deserialize(self, handle, blob):
        self.inputs, self.nodes = pickle.loads(bytes(blob))

    def execute(self, pack, workspace, handle):
        assert handle.stream is not None
        assert bool(workspace) == bool(self.workspace)
        values = {}
        for t in self.inputs:
            if t.by_value:
                values[id(t)] = float((ctypes.c_float).from_address(pack[t.uid]).value)
            else:
                values[id(t)] = t.at(pack[t.uid]).astype(np.float64)

        def value(x):
            if isinstance(x, tuple):
                return tuple(map(value, x))
            return values[id(x)] if isinstance(x, Tensor) else x

        for name, given, results in self.nodes:
            into = given.get("dBias")
            arguments = {key: value(x) for key, x in given.items() if key != "dBias"}
            if into is not None:
                arguments["dBias"] = into.dim
            found = NODES[name][0]([t.dim for t in results], **arguments)
            for t, x in zip([*results, into], found, strict=False):
                if t is None or x is None:
                    continue
                values[id(t)] = x
                if t.output or t is into:
                    target = t.at(pack[t.uid])
                    assert target.shape == x.shape, (name, target.shape, x.shape)
                    target[...] = x
        assert set(pack) == {t.uid for t in self.inputs} | {t.uid for _, _, rs in self.nodes for t in rs if t.output}


def module():
    """What `import cudnn` would give."""

    def set_stream(handle, stream):
        handle.stream = stream

    names = SimpleNamespace
    kinds = names(**{name: name for name in NUMPY})
    return names(
        pygraph=type("FreshGraph", (Graph,), {"refuses": set()}),
        data_type=kinds,
        heur_mode=names(A="A", FALLBACK="FALLBACK"),
        build_plan_policy=names(HEURISTICS_CHOICE="first", ALL="all"),
        numerical_note=names(TENSOR_CORE="tensor core", DOWN_CONVERT_INPUTS="down", NONDETERMINISTIC="random"),
        norm_forward_phase=names(TRAINING="training"),
        diagonal_alignment=names(TOP_LEFT="top left"),
        create_handle=lambda: names(stream=None),
        set_stream=set_stream,
        backend_version=lambda: 91900,
        cudnnGraphNotSupportedError=NotSupported,
        __version__="1.28.0",
    )


class HostArrays:
    """NumPy, as plans.Runtime wants to know an array library."""

    xp = np
    captured = False
    times = 0

    def pointer(self, array):
        return array.ctypes.data

    def empty(self, shape, dtype, last=False):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        if not last:
            return np.full(shape, 77).astype(dtype)
        return np.moveaxis(np.full((shape[0], *shape[2:], shape[1]), 77).astype(dtype), -1, 1)

    def device(self):
        return "stand-in 9.0 x132#0"

    def stream(self):
        return 7

    def capturing(self):
        return self.captured

    def timed(self, call):
        call()
        self.times += 1
        return 10.0 - self.times  # later plans are quicker
