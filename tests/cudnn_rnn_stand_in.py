"""A stand-in for libcudnn's recurrent layers: functions of its names, which read and write memory by addresses.

Weights lie in their block in an order of its own, with gaps, and in the odd layers not even gate after gate. What it
reserves in the forward pass (the number of the call), the first half of the backward pass uses up. It computes by the
composition, in float64.
"""

import ctypes
import itertools

import numpy as np

import chainrule
from chainrule.autograd import OPS
from chainrule.backends.cudnn import recurrent

KINDS = {0: "float32", 1: "float64", 2: "float16"}
NAMES = {number: name for name, (number, _) in recurrent.MODES.items()}
BAD = 2000


def memory(address, shape, dtype):
    address = address if isinstance(address, int) else address.value
    n = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ndarray(shape, dtype, (ctypes.c_byte * max(n, 1)).from_address(address))


class Function:
    """Takes what ctypes would take for its argtypes, and nothing else."""

    def __init__(self, call):
        self.call, self.argtypes, self.restype = call, None, ctypes.c_int

    def __call__(self, *arguments):
        if self.argtypes is not None:
            assert len(arguments) == len(self.argtypes), self.call.__name__
            for kind, argument in zip(self.argtypes, arguments):
                kind.from_param(argument)
        return self.call(*arguments) or 0


class Library:
    def __init__(self):
        self.kept, self.numbers, self.log, self.runs = {}, itertools.count(1), [], {}
        self.refuses = set()
        for name in dir(self):
            if name.startswith("_cudnn"):
                setattr(self, name[1:], Function(getattr(self, name)))
        self.cudnnGetErrorString = Function(lambda status: b"refused")
        for kind in ("", "TensorDescriptor", "RNNDescriptor", "RNNDataDescriptor"):
            setattr(self, f"cudnnCreate{kind}", Function(self._create))
        for kind in ("TensorDescriptor", "RNNDataDescriptor"):
            setattr(self, f"cudnnDestroy{kind}", Function(self._destroy))

    def _create(self, target):
        target._obj.value = next(self.numbers)
        self.kept[target._obj.value] = {}

    def _destroy(self, it):
        del self.kept[it.value]

    def _of(self, it):
        return self.kept[it.value]

    def _cudnnSetStream(self, handle, stream):
        self._of(handle)["stream"] = stream

    def _cudnnSetTensorNdDescriptor(self, it, dtype, count, dims, strides):
        self._of(it).update(dtype=KINDS[dtype], shape=tuple(dims), strides=tuple(strides))
        assert count == len(dims)
        assert strides[:] == [dims[1] * dims[2], dims[2], 1]

    def _cudnnSetRNNDescriptor_v8(self, it, *given):
        names = (
            "algorithm mode bias direction input dtype precision math features hidden projection layers dropout flags"
        )
        self._of(it).update(zip(names.split(), given, strict=True))
        if NAMES[given[1]] in self.refuses:
            return BAD
        assert given[12] is None
        assert given[6] == (1 if given[5] == 1 else 0)
        return 0

    def _cudnnSetRNNDataDescriptor(self, it, dtype, layout, steps, batch, width, lengths, fill):
        assert len(lengths) == batch
        assert layout == (recurrent.UNPACKED if len(set(lengths)) == 1 else recurrent.PACKED)
        assert memory(fill, (), "float64") == 0
        sizes = tuple(sum(n > t for n in lengths) for t in range(steps))
        self._of(it).update(dtype=KINDS[dtype], sizes=sizes, width=width)

    # -- weights --------------------------------------------------------------------------------------------------

    def _spec(self, network):
        d = self._of(network)
        kind = NAMES[d["mode"]]
        return recurrent.Spec(
            *(kind, KINDS[d["dtype"]], d["features"], d["hidden"], d["projection"], d["layers"]),
            *(bool(d["direction"]), d["bias"] == recurrent.DOUBLE_BIAS),
        )

    def _layout(self, spec):
        """{(layer, m or b, number): (start, shape)} in elements, and their number."""
        found, at = {}, 3
        for kind in "mb":
            for depth in reversed(range(spec.layers)):
                for direction in range(spec.directions):
                    for which, shape, first, count in reversed(spec.pieces(depth)):
                        if which != kind:
                            continue
                        for number in range(first, first + count):
                            one = (shape[0] // count, *shape[1:])
                            found[depth * spec.directions + direction, kind, number] = at, one
                            at += int(np.prod(one)) + (depth % 2) * 2
                        at += 1
        return found, at

    def _cudnnGetRNNWeightSpaceSize(self, handle, network, size):
        spec = self._spec(network)
        size._obj.value = self._layout(spec)[1] * np.dtype(spec.dtype).itemsize

    def _cudnnGetRNNWeightParams(self, handle, network, layer, size, block, number, m, m_at, b, b_at):
        spec = self._spec(network)
        found = self._layout(spec)[0]
        for kind, target in (("m", m_at), ("b", b_at)):
            place = found.get((layer, kind, number))
            itemsize = np.dtype(spec.dtype).itemsize
            target._obj.value = None if place is None else block + place[0] * itemsize

    def _parameters(self, spec, block):
        """The parameters in the op's order, and where each lies."""
        places, total = self._layout(spec)
        whole = memory(block, (total,), spec.dtype)
        values = []
        for depth in range(spec.layers):
            for direction in range(spec.directions):
                for kind, _, first, count in spec.pieces(depth):
                    rows = []
                    for number in range(first, first + count):
                        start, shape = places[depth * spec.directions + direction, kind, number]
                        rows.append(whole[start : start + int(np.prod(shape))].reshape(shape))
                    values.append(rows)
        return values

    # -- computing ------------------------------------------------------------------------------------------------

    def _cudnnGetRNNTempSpaceSizes(self, handle, network, mode, data, work, reserve):
        assert mode == recurrent.TRAINING
        assert self._of(network)["flags"] == (len(set(self._of(data)["sizes"])) == 1)
        work._obj.value, reserve._obj.value = 10, 16

    def _compute(self, network, x_data, x, h, hx, c, cx, block):
        """(leaves, results) of the composition."""
        spec, data = self._spec(network), self._of(x_data)
        assert data["width"] == spec.features
        rows = memory(x, (sum(data["sizes"]), spec.features), spec.dtype)
        given = [rows]
        for place, address in ((h, hx), (c, cx))[: 2 if spec.kind == "LSTM" else 1]:
            given.append(None if address is None else memory(address, self._of(place)["shape"], spec.dtype))
        given += [np.concatenate(rows) for rows in self._parameters(spec, block)]
        options = {
            "kind": spec.kind,
            "batch_sizes": data["sizes"],
            "has_biases": spec.biases,
            "num_layers": spec.layers,
            "bidirectional": spec.bidirectional,
        }
        with chainrule.enable_grad():
            leaves = [None if v is None else chainrule.tensor(v.astype(float)).requires_grad_() for v in given]
            return leaves, OPS["recurrent"].compose(leaves, options)

    def _cudnnRNNForward(self, handle, network, mode, lengths, *rest):
        x_data, x, y_data, y, h, hx, hy, c, cx, cy, _size, block, work_size, work, reserve_size, reserve = rest
        assert mode == recurrent.TRAINING
        assert lengths is None
        assert work_size == 10
        assert reserve_size == 16
        assert work
        assert self._of(handle)["stream"] is not None
        spec = self._spec(network)
        _, results = self._compute(network, x_data, x, h, hx, c, cx, block)
        for result, address in zip(results, (y, hy, cy)):
            memory(address, result.shape, spec.dtype)[...] = result.detach().numpy()
        assert self._of(y_data)["width"] == results[0].shape[1]
        run = next(self.numbers)
        self.runs[run] = {"x": x, "states": (h, hx, c, cx), "block": block}
        memory(reserve, (2,), "int64")[...] = run, 1
        self.log.append("forward")

    def _cudnnRNNBackwardData_v8(self, handle, network, lengths, *rest):
        _, y, dy, x_data, dx, h, hx, dhy, dhx, c, cx, dcy, dcx, _, block, _, _, _, reserve = rest
        spec = self._spec(network)
        marks = memory(reserve, (2,), "int64")
        assert marks[1] == 1, "the reserve was used before"
        marks[1], run = 2, self.runs[int(marks[0])]
        assert run["states"] == (h, hx, c, cx)
        sizes = self._of(x_data)["sizes"]
        leaves, results = self._compute(network, x_data, run["x"], h, hx, c, cx, block)
        np.testing.assert_allclose(memory(y, results[0].shape, spec.dtype), results[0].detach().numpy(), 1e-2, 1e-2)
        given = [memory(at, r.shape, spec.dtype) for at, r in zip((dy, dhy, dcy), results)]
        wanted = [leaf for leaf in leaves[: len(results)] if leaf is not None]
        found = iter(chainrule.autograd.grad(results, wanted, [chainrule.tensor(g.astype(float)) for g in given]))
        for leaf, at, shape in zip(
            leaves, (dx, dhx, dcx), ((sum(sizes), spec.features), *[r.shape for r in results[1:]])
        ):
            memory(at, shape, spec.dtype)[...] = 5 if leaf is None else next(found).numpy()
        run["gradients"] = [g.copy() for g in given]
        self.log.append("data")

    def _cudnnRNNBackwardWeights_v8(self, handle, network, add, lengths, *rest):
        x_data, x, *_, dblock, _, _, _, reserve = rest
        assert add == recurrent.ADD
        number, mark = memory(reserve, (2,), "int64")
        run = self.runs[int(number)]
        assert mark == 2
        assert run["x"] == x
        spec = self._spec(network)
        leaves, results = self._compute(network, x_data, x, *run["states"], run["block"])
        given = [chainrule.tensor(g.astype(float)) for g in run["gradients"]]
        found = chainrule.autograd.grad(results, leaves[len(results) :], given)
        for rows, g in zip(self._parameters(spec, dblock), found, strict=True):
            for row, part in zip(rows, np.split(g.numpy(), len(rows))):
                row += part.astype(spec.dtype)
        self.log.append("weights")
