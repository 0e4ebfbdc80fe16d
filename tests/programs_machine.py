"""Random programs that mix views, reuse, indexing and writes in place, for any array library.

A program is a list of instructions on a growing pool of tensors. Operands are chosen modulo the size of the pool, and
an instruction that does not fit (shapes, leaves) does nothing, so every list of numbers is a program. NumPy has the
aliasing of PyTorch: it is the oracle of values, and its differences are the oracle of gradients.
"""

import dataclasses

import numpy as np
from hypothesis import strategies as st

UNARY = ("tanh", "sin", "scale", "square", "clone")
BINARY = ("add", "sub", "mul")
VIEWS = ("row", "tail", "transpose", "unsqueeze", "strided", "half", "diagonal")
CHANGES = ("add_", "mul_", "tanh_", "fill_", "copy_", "setitem", "setmask", "setlist")
CUTS = ("detach", "quietly")


@dataclasses.dataclass(frozen=True)
class Step:
    """One instruction: its name and the numbers that choose its operands."""

    name: str
    a: int
    b: int
    k: int


def programs(cuts=False):
    """Strategy: programs of up to 14 instructions; with `cuts`, also detach and writes under no_grad."""
    names = UNARY + BINARY + VIEWS + VIEWS + CHANGES + CHANGES + (CUTS if cuts else ())
    number = st.integers(0, 11)
    return st.lists(st.builds(Step, st.sampled_from(names), number, number, number), min_size=3, max_size=14)


class NumpyMachine:
    """The meaning of the instructions, on NumPy arrays."""

    def leaf(self, array):
        return array.copy()

    def constant(self, array):
        return array.copy()

    def apply(self, name, t):
        return {"tanh": np.tanh, "sin": np.sin, "scale": lambda x: x * 0.5, "square": np.square, "clone": np.copy}[
            name
        ](t)

    def binary(self, name, a, b):
        return {"add": np.add, "sub": np.subtract, "mul": np.multiply}[name](a, b)

    def view(self, name, t, k):
        n = t.shape[0]
        if name == "row":
            return t[k % n, ...]  # with the dots an element is a view, too
        if name == "tail":
            return t[min(1, n - 1) :]
        if name == "transpose":
            return t.T
        if name == "unsqueeze":
            return t[None]
        if name == "strided":
            return t[::2]
        if name == "half":
            return np.split(t, [n // 2])[1]
        return np.einsum("ii->i", t[: min(t.shape), : min(t.shape)])

    def change(self, name, t, other, k):
        n = t.shape[0]
        if name == "add_":
            t += other
        elif name == "mul_":
            t *= other
        elif name == "tanh_":
            np.tanh(t, out=t)
        elif name == "fill_":
            t[...] = 0.25 * k
        elif name == "copy_":
            t[...] = other
        elif name == "setitem":
            t[k % n] = other
        elif name == "setmask":
            t[np.arange(n) % 2 == 0] = other
        else:
            t[[0, n - 1]] = other

    def cut(self, name, t, k):
        raise NotImplementedError

    def shape(self, t):
        return t.shape

    def total(self, tensors):
        return sum((np.sin(t) * (i + 1)).sum() for i, t in enumerate(tensors))


class TensorMachine(NumpyMachine):
    """The same for a library with PyTorch's API."""

    def __init__(self, lib):
        self.lib = lib

    def leaf(self, array):
        return self.lib.tensor(array, dtype=self.lib.float64, requires_grad=True)

    def constant(self, array):
        return self.lib.tensor(array, dtype=self.lib.float64)

    def apply(self, name, t):
        return t * 0.5 if name == "scale" else getattr(t, name)()

    def binary(self, name, a, b):
        return getattr(self.lib, name)(a, b)

    def view(self, name, t, k):
        n = t.shape[0]
        if name == "row":
            return t[k % n]
        if name == "tail":
            return t[min(1, n - 1) :]
        if name == "transpose":
            return t.permute(*range(t.dim() - 1, -1, -1))
        if name == "unsqueeze":
            return t.unsqueeze(0)
        if name == "strided":
            return t[::2]
        if name == "half":
            if self.lib.__name__ == "torch":  # it refuses writes to what split returned
                return t.narrow(0, n // 2, n - n // 2)
            return self.lib.split(t, [n // 2, n - n // 2])[1]
        return self.lib.diagonal(t[: min(t.shape), : min(t.shape)])

    def change(self, name, t, other, k):
        n = t.shape[0]
        if name in ("add_", "mul_", "copy_"):
            getattr(t, name)(other)
        elif name == "tanh_":
            t.tanh_()
        elif name == "fill_":
            t.fill_(0.25 * k)
        elif name == "setitem":
            t[k % n] = other
        elif name == "setmask":
            t[self.lib.arange(n) % 2 == 0] = other
        else:
            t[[0, n - 1]] = other

    def cut(self, name, t, k):
        if name == "detach":
            return t.detach()
        with self.lib.no_grad():
            t.mul_(0.5 + k)
        return None

    def shape(self, t):
        return tuple(t.shape)

    def total(self, tensors):
        total = 0.0
        for i, t in enumerate(tensors):
            total = total + (t.sin() * (i + 1)).sum()
        return total


def fits(source, target):
    """Whether an array of shape `source` can be written into one of shape `target`."""
    try:
        return np.broadcast_shapes(source, target) == target
    except ValueError:
        return False


def run(program, machine, first, second):
    """(leaves, pool) after running `program` on two leaves and a constant; the pool starts with copies of them."""
    leaves = machine.leaf(first), machine.leaf(second)
    pool = [machine.apply("clone", x) for x in leaves] + [machine.constant(np.array([0.5, -1.0, 2.0]))]
    for step in program:
        t, other = pool[step.a % len(pool)], pool[step.b % len(pool)]
        shape, shape2 = machine.shape(t), machine.shape(other)
        if step.name in UNARY:
            pool.append(machine.apply(step.name, t))
        elif step.name in BINARY:
            try:
                wide = np.broadcast_shapes(shape, shape2)
            except ValueError:
                continue
            if len(wide) <= 3:
                pool.append(machine.binary(step.name, t, other))
        elif step.name in VIEWS:
            if not shape or shape[0] == 0 or (step.name == "diagonal" and len(shape) != 2) or len(shape) > 2:
                continue
            pool.append(machine.view(step.name, t, step.k))
        elif step.name in CUTS:
            found = machine.cut(step.name, t, step.k)
            if found is not None:
                pool.append(found)
        else:
            if not shape or shape[0] == 0:
                continue
            target = {"setitem": shape[1:], "setmask": ((shape[0] + 1) // 2, *shape[1:]), "setlist": (2, *shape[1:])}
            into = target.get(step.name, shape)
            if step.name == "setlist" and shape[0] < 2:
                continue
            if not fits(shape2, into):
                continue
            machine.change(
                step.name, t, machine.apply("clone", other), step.k
            )  # a copy: NumPy and PyTorch differ on overlap
    return leaves, pool
