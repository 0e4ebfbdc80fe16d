"""LSTM, GRU and Elman's network by cuDNN: all layers and both directions in one call, forward and backward.

The frontend has no recurrent layers, so these are calls of the library's own interface through ctypes (its v8 form,
cudnn_adv.h). The rows of all steps lie one after another as the op has them, which is cuDNN's packed layout, and its
plain one where all sequences have one length. cuDNN wants all weights in one block; where each of them lies in it,
`cudnnGetRNNWeightParams` says, and that gates stand in PyTorch's order. They are copied into it at each call, and
gradients are handed out as parts of such a block. Kept are input, output, the block, and what cuDNN reserves; of that,
backward takes a copy, because it writes into it, and a graph may be walked twice.

Without dropout: between layers the op has its own, the same on every backend, and then a call has one layer. float32
uses the tensor cores where `allow_tf32`; 16-bit floats are added up in float32. It has not run on a GPU yet.
"""

from __future__ import annotations

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

from .. import cudnn as settings
from .layouts import dense
from .plans import direct

__all__ = ["PROTOTYPES", "RECURRENT", "Calls", "Spec"]

#: cudnnDataType_t, and what is computed in
DTYPES = {"float32": 0, "float64": 1, "float16": 2, "bfloat16": 9}
#: cudnnRNNMode_t, and the number of gates
MODES = {"RNN_RELU": (0, 1), "RNN_TANH": (1, 1), "LSTM": (2, 4), "GRU": (3, 3)}
NO_BIAS, DOUBLE_BIAS = 0, 2
TENSOR_OPS, DEFAULT_MATH, FMA_MATH = 1, 0, 3
UNPACKED, PACKED = 0, 1
TRAINING, ADD = 1, 0
PROJECTION = 8

#: arguments of the library's functions: p pointer or handle, i int, u unsigned, z size_t
PROTOTYPES = {
    "cudnnCreate": "p",
    "cudnnSetStream": "pp",
    "cudnnCreateTensorDescriptor": "p",
    "cudnnDestroyTensorDescriptor": "p",
    "cudnnSetTensorNdDescriptor": "piipp",
    "cudnnCreateRNNDescriptor": "p",
    "cudnnSetRNNDescriptor_v8": "p" + "i" * 12 + "pu",
    "cudnnCreateRNNDataDescriptor": "p",
    "cudnnDestroyRNNDataDescriptor": "p",
    "cudnnSetRNNDataDescriptor": "piiiiipp",
    "cudnnGetRNNWeightSpaceSize": "ppp",
    "cudnnGetRNNWeightParams": "ppizpipppp",
    "cudnnGetRNNTempSpaceSizes": "ppippp",
    "cudnnRNNForward": "ppippppp" + "ppp" * 2 + "zp" * 3,
    "cudnnRNNBackwardData_v8": "pppppppp" + "pppp" * 2 + "zp" * 3,
    "cudnnRNNBackwardWeights_v8": "ppippppppp" + "zp" * 3,
}
_TYPES = {"p": ctypes.c_void_p, "i": ctypes.c_int, "u": ctypes.c_uint, "z": ctypes.c_size_t}


class Refused(Exception):
    """The library did not take what it was asked for."""


class Calls:
    """The library's functions, which raise `Refused` with the library's words where they fail."""

    def __init__(self, dll: Any) -> None:
        self._dll = dll
        dll.cudnnGetErrorString.restype = ctypes.c_char_p
        for name, arguments in PROTOTYPES.items():
            function = getattr(dll, name)
            function.argtypes, function.restype = [_TYPES[a] for a in arguments], ctypes.c_int
            setattr(self, name, self._checked(name, function))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def _checked(self, name: str, function: Callable[..., int]) -> Callable[..., None]:
        def call(*arguments: Any) -> None:
            status = function(*arguments)
            if status:
                raise Refused(f"{name}: {self._dll.cudnnGetErrorString(status).decode()}")

        return call

    def made(self, kind: str) -> ctypes.c_void_p:
        """A new descriptor, or a handle for the kind ''."""
        found = ctypes.c_void_p()
        getattr(self, f"cudnnCreate{kind}")(ctypes.byref(found))
        return found


class Spec(NamedTuple):
    """What decides a network's descriptor. `projection`: the size of outputs, that of the state without one."""

    kind: str
    dtype: str
    features: int
    hidden: int
    projection: int
    layers: int
    bidirectional: bool
    biases: bool

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 1 + self.bidirectional

    @property
    def gates(self) -> int:
        """Matrices stacked in one weight."""
        return MODES[self.kind][1]

    def pieces(self, depth: int) -> list[tuple[str, tuple[int, ...], int, int]]:
        """(m or b for matrix or bias, shape, number of the first gate's piece, pieces) of each parameter of a layer."""
        features = self.features if depth == 0 else self.projection * self.directions
        rows, n = self.gates * self.hidden, self.gates
        found: list[tuple[str, tuple[int, ...], int, int]] = [
            ("m", (rows, features), 0, n),
            ("m", (rows, self.projection), n, n),
        ]
        if self.biases:
            found += [("b", (rows,), 0, n), ("b", (rows,), n, n)]
        if self.projection != self.hidden:
            found.append(("m", (self.projection, self.hidden), PROJECTION, 1))
        return found


def describe(calls: Calls, spec: Spec, tf32: bool, packed: bool) -> ctypes.c_void_p:
    """The library's descriptor of the network, for rows that are `packed` or have all sequences of one length."""
    mode, dtype = MODES[spec.kind][0], DTYPES[spec.dtype]
    narrow = spec.dtype in ("float16", "bfloat16")
    math = TENSOR_OPS if narrow else FMA_MATH if spec.dtype == "float32" and not tf32 else DEFAULT_MATH
    found = calls.made("RNNDescriptor")
    calls.cudnnSetRNNDescriptor_v8(
        found,
        0,  # the standard algorithm
        mode,
        DOUBLE_BIAS if spec.biases else NO_BIAS,
        int(spec.bidirectional),
        0,  # inputs are multiplied
        dtype,
        DTYPES["float64" if spec.dtype == "float64" else "float32"],
        math,
        spec.features,
        spec.hidden,
        spec.projection,
        spec.layers,
        None,  # no dropout
        int(not packed),  # padding may be between rows
    )
    return found


class _Batch:
    """Descriptors of a batch: its rows, its states, and what it wants as workspace and reserve."""

    def __init__(self, network: _Network, batch_sizes: tuple[int, ...]) -> None:
        calls, spec, self.calls = network.calls, network.spec, network.calls
        dtype, steps, batch = DTYPES[spec.dtype], len(batch_sizes), batch_sizes[0]
        ends = [sum(n > b for n in batch_sizes) for b in range(batch)] if network.packed else [steps] * batch
        lengths = (ctypes.c_int * batch)(*ends)
        layout = PACKED if network.packed else UNPACKED
        self.rows = []
        for width in (spec.features, spec.projection * spec.directions):
            made = calls.made("RNNDataDescriptor")
            fill = ctypes.c_double(0.0)  # zero in every dtype
            calls.cudnnSetRNNDataDescriptor(made, dtype, layout, steps, batch, width, lengths, ctypes.addressof(fill))
            self.rows.append(made)
        self.states = []
        for width in (spec.projection, spec.hidden):
            made = calls.made("TensorDescriptor")
            shape = (spec.layers * spec.directions, batch, width)
            dims, strides = (ctypes.c_int * 3)(*shape), (ctypes.c_int * 3)(batch * width, width, 1)
            calls.cudnnSetTensorNdDescriptor(made, dtype, 3, dims, strides)
            self.states.append(made)
        work, reserve = ctypes.c_size_t(), ctypes.c_size_t()
        calls.cudnnGetRNNTempSpaceSizes(
            network.handle(), network.descriptor, TRAINING, self.rows[0], ctypes.byref(work), ctypes.byref(reserve)
        )
        self.work, self.reserve = work.value, reserve.value

    def destroy(self) -> None:
        """Give the descriptors back."""
        for made in self.rows:
            self.calls.cudnnDestroyRNNDataDescriptor(made)
        for made in self.states:
            self.calls.cudnnDestroyTensorDescriptor(made)


class _Network:
    """A network's descriptor, and where its weights lie in their block."""

    def __init__(self, owner: _Owner, spec: Spec, tf32: bool, packed: bool) -> None:
        self.calls, self.handle, self.arrays = owner.calls, owner.handle, owner.arrays
        self.spec, self.packed = spec, packed
        self.descriptor = describe(self.calls, spec, tf32, packed)
        size = ctypes.c_size_t()
        self.calls.cudnnGetRNNWeightSpaceSize(self.handle(), self.descriptor, ctypes.byref(size))
        self.size = size.value
        self.batches: OrderedDict[tuple[int, ...], _Batch] = OrderedDict()
        self.places: list[tuple[tuple[int, ...], tuple[tuple[int, int], ...]]] | None = None

    def batch(self, batch_sizes: tuple[int, ...]) -> _Batch:
        """The descriptors of a batch; the last 64 kinds are kept."""
        found = self.batches.get(batch_sizes)
        if found is None:
            found = self.batches[batch_sizes] = _Batch(self, batch_sizes)
            if len(self.batches) > 64:
                self.batches.popitem(last=False)[1].destroy()
        return found

    def _placed(self, block: Any) -> list[tuple[tuple[int, ...], tuple[tuple[int, int], ...]]]:
        """(shape, (start, stop) of each piece) of the parameters, counted in elements of the block."""
        calls, base, itemsize = self.calls, self.arrays.pointer(block), block.itemsize
        matrix, bias = calls.made("TensorDescriptor"), calls.made("TensorDescriptor")
        places = []
        for depth in range(self.spec.layers):
            for direction in range(self.spec.directions):
                layer = depth * self.spec.directions + direction
                for kind, shape, first, count in self.spec.pieces(depth):
                    pieces: list[tuple[int, int]] = []
                    for number in range(first, first + count):
                        at = {"m": ctypes.c_void_p(), "b": ctypes.c_void_p()}
                        calls.cudnnGetRNNWeightParams(
                            *(self.handle(), self.descriptor, layer, self.size, base, number),
                            *(matrix, ctypes.byref(at["m"]), bias, ctypes.byref(at["b"])),
                        )
                        start = ((at[kind].value or 0) - base) // itemsize
                        length = prod(shape) // count
                        if not 0 <= start <= block.size - length:
                            raise Refused(f"a weight of layer {layer} lies outside the block of all weights")
                        if pieces and pieces[-1][1] == start:  # gates that follow one another are one piece
                            pieces[-1] = (pieces[-1][0], start + length)
                        else:
                            pieces.append((start, start + length))
                    places.append((shape, tuple(pieces)))
        for made in (matrix, bias):
            calls.cudnnDestroyTensorDescriptor(made)
        return places

    def block(self, params: Any) -> Any:
        """The block of all weights."""
        xp, first = self.arrays.xp, params[0]
        block = xp.empty(-(-self.size // first.itemsize), first.dtype)
        if self.places is None:
            self.places = self._placed(block)
        for (_, pieces), value in zip(self.places, params, strict=True):
            flat, done = value.reshape(-1), 0
            for start, stop in pieces:
                block[start:stop] = flat[done : done + stop - start]
                done += stop - start
        return block

    def parts(self, block: Any) -> list[Any]:
        """The parts of a block that are the parameters' (or their gradients)."""
        found = []
        assert self.places is not None
        for shape, pieces in self.places:
            each = [block[start:stop] for start, stop in pieces]
            whole = each[0] if len(each) == 1 else self.arrays.xp.concatenate(each)
            found.append(whole.reshape(shape))
        return found


class _Owner:
    """The networks on one array library."""

    def __init__(self, dll: Any, arrays: Any) -> None:
        self.calls, self.arrays = Calls(dll), arrays
        self._local = threading.local()
        self._networks: dict[Any, _Network | None] = {}

    def handle(self) -> ctypes.c_void_p:
        """This thread's handle for the current device, on the current stream."""
        handles = self._local.__dict__.setdefault("handles", {})
        device, stream = self.arrays.device(), self.arrays.stream()
        if device not in handles:
            handles[device] = [self.calls.made(""), None]
        kept = handles[device]
        if kept[1] != stream:
            self.calls.cudnnSetStream(kept[0], stream)
            kept[1] = stream
        return kept[0]  # type: ignore[no-any-return]

    def network(self, spec: Spec, packed: bool) -> _Network | None:
        """The network of `spec` under the settings; None where cuDNN refuses it."""
        key = (spec, packed, settings.allow_tf32, self.arrays.device())
        if key not in self._networks:
            try:
                self._networks[key] = _Network(self, spec, settings.allow_tf32, packed)
            except Refused:
                self._networks[key] = None
        return self._networks[key]


_OWNERS: dict[int, _Owner | None] = {}


def _owner() -> _Owner | None:
    """What computes; None where cuDNN is not to be had, or is switched off."""
    dll, arrays = direct()
    if dll is None:
        return None
    found = _OWNERS.get(id(arrays))
    if found is None or found.arrays is not arrays:
        found = _OWNERS[id(arrays)] = _Owner(dll, arrays)
    return found


# -- the composite ----------------------------------------------------------------------------------------------------


def _spec(tensors: Any, kind: str, states: int, has_biases: bool, num_layers: int, bidirectional: bool) -> Spec | None:
    """What the tensors of a call are a network of; None where cuDNN has none like it."""
    input, params = tensors[0], tensors[1 + states :]
    dtype = input.dtype
    if dtype.name not in DTYPES or not input.size or any(x is not None and x.dtype != dtype for x in tensors):
        return None
    gates = MODES[kind][1]
    hidden, projection = params[0].shape[0] // gates, params[1].shape[1]
    return Spec(kind, dtype.name, input.shape[1], hidden, projection, num_layers, bidirectional, has_biases)


def recurrent(
    *tensors: Any,
    kind: str,
    batch_sizes: tuple[int, ...],
    has_biases: bool = True,
    num_layers: int = 1,
    bidirectional: bool = False,
) -> Any:
    """The composite `recurrent`: (output, *final states), and what backward needs."""
    owner = _owner()
    count = 2 if kind == "LSTM" else 1
    spec = None if owner is None else _spec(tensors, kind, count, has_biases, num_layers, bidirectional)
    packed = batch_sizes[-1] != batch_sizes[0]
    network = None if owner is None or spec is None else owner.network(spec, packed)
    if owner is None or network is None:
        return NotImplemented
    arrays, calls = owner.arrays, owner.calls
    xp, pointer = arrays.xp, arrays.pointer
    x = dense(arrays, tensors[0])
    given = [None if s is None else dense(arrays, s) for s in tensors[1 : 1 + count]]
    try:
        block, batch = network.block(tensors[1 + count :]), network.batch(batch_sizes)
    except Refused:
        return NotImplemented
    width, rows = network.spec.projection * network.spec.directions, len(x)
    y = xp.empty((rows, width), x.dtype)
    sizes = (network.spec.projection, network.spec.hidden)
    lead = (network.spec.layers * network.spec.directions, batch_sizes[0])
    finals = [xp.empty((*lead, size), x.dtype) for size in sizes[:count]]
    work, reserve = xp.empty(max(batch.work, 1), "uint8"), xp.empty(max(batch.reserve, 1), "uint8")

    def at(array: Any) -> Any:
        return None if array is None else pointer(array)

    states: list[Any] = []
    for i in range(2):
        states.append(batch.states[i])
        states += [at(given[i]), at(finals[i])] if i < count else [None, None]
    calls.cudnnRNNForward(
        *(owner.handle(), network.descriptor, TRAINING, None),
        *(batch.rows[0], at(x), batch.rows[1], at(y)),
        *states,
        *(network.size, at(block)),
        *(batch.work, at(work)),
        *(batch.reserve, at(reserve)),
    )
    return (y, *finals), (network, batch_sizes, x, y, given, block, reserve, count)


def recurrent_grad(g: Any, residual: Any, needs: Any) -> Any:
    """Gradients of input, initial states and all parameters."""
    network, batch_sizes, x, y, given, block, reserve, count = residual
    owner = _owner()
    if owner is None:
        return NotImplemented
    arrays, calls = owner.arrays, owner.calls
    xp, pointer, batch = arrays.xp, arrays.pointer, network.batch(batch_sizes)
    dy, *dfinals = (dense(arrays, part) for part in g)
    dx = xp.empty(x.shape, x.dtype)
    dgiven = [xp.empty(d.shape, d.dtype) for d in dfinals]
    work, reserve = xp.empty(max(batch.work, 1), "uint8"), reserve.copy()

    def at(array: Any) -> Any:
        return None if array is None else pointer(array)

    states: list[Any] = []
    for i in range(2):
        states.append(batch.states[i])
        states += [at(given[i]), at(dfinals[i]), at(dgiven[i])] if i < count else [None] * 3
    calls.cudnnRNNBackwardData_v8(
        *(owner.handle(), network.descriptor, None),
        *(batch.rows[1], at(y), at(dy), batch.rows[0], at(dx)),
        *states,
        *(network.size, at(block)),
        *(batch.work, at(work)),
        *(batch.reserve, at(reserve)),
    )
    parameters: list[Any] = [None] * (len(needs) - 1 - count)
    if any(needs[1 + count :]):
        dblock = xp.zeros(block.shape, block.dtype)  # the library adds
        calls.cudnnRNNBackwardWeights_v8(
            *(owner.handle(), network.descriptor, ADD, None),
            *(batch.rows[0], at(x), batch.states[0], at(given[0]), batch.rows[1], at(y)),
            *(network.size, at(dblock)),
            *(batch.work, at(work)),
            *(batch.reserve, at(reserve)),
        )
        parameters = network.parts(dblock)
    found = [dx, *dgiven, *parameters]
    return [d if need else None for d, need in zip(found, needs, strict=True)]


RECURRENT: dict[str, Callable[..., Any]] = {"recurrent": recurrent, "recurrent.grad": recurrent_grad}
