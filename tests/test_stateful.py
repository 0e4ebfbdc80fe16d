"""A machine of states: tensors are made, viewed, written into (recorded or not), dropped and differentiated at will.

NumPy's arrays tell the values and the aliasing at every moment; what is dropped is freed at once.
"""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from programs_machine import CHANGES, UNARY, VIEWS, NumpyMachine, TensorMachine, fits

import chainrule as cr

NUMBER = st.integers(0, 11)


class GraphMachine(RuleBasedStateMachine):
    """Each entry of the bundle is a key; `ours` and `numpys` hold what it stands for in the two libraries."""

    tensors = Bundle("tensors")

    def __init__(self):
        super().__init__()
        self.ours, self.numpys, self.count = {}, {}, 0
        self.engine, self.model = TensorMachine(cr), NumpyMachine()
        gc.disable()

    def teardown(self):
        self.ours.clear()
        gc.enable()

    def put(self, ours, numpys):
        self.count += 1
        self.ours[self.count], self.numpys[self.count] = ours, numpys
        return self.count

    @initialize()
    def start(self):
        self.values = np.array([[0.3, -0.7], [1.1, 0.9]])
        self.leaf = self.engine.leaf(self.values)

    @rule(target=tensors)
    def copy_of_the_leaf(self):
        return self.put(self.leaf * 1, self.values * 1)

    @rule(target=tensors)
    def constant(self):
        c = np.array([0.5, -1.0])
        return self.put(self.engine.constant(c), c.copy())

    @rule(target=tensors, key=tensors, name=st.sampled_from(UNARY))
    def compute(self, key, name):
        return self.put(self.engine.apply(name, self.ours[key]), self.model.apply(name, self.numpys[key]))

    @rule(target=tensors, a=tensors, b=tensors, name=st.sampled_from(["add", "sub", "mul"]))
    def combine(self, a, b, name):
        x, y = self.numpys[a], self.numpys[b]
        try:
            np.broadcast_shapes(x.shape, y.shape)
        except ValueError:
            with pytest.raises(RuntimeError, match="broadcast"):
                self.engine.binary(name, self.ours[a], self.ours[b])
            return multiple()
        return self.put(self.engine.binary(name, self.ours[a], self.ours[b]), self.model.binary(name, x, y))

    @rule(target=tensors, key=tensors, name=st.sampled_from(VIEWS), k=NUMBER)
    def view(self, key, name, k):
        shape = self.numpys[key].shape
        if not shape or shape[0] == 0 or len(shape) > 2 or (name == "diagonal" and len(shape) != 2):
            return multiple()
        return self.put(self.engine.view(name, self.ours[key], k), self.model.view(name, self.numpys[key], k))

    @rule(target=tensors, key=tensors)
    def detach(self, key):
        return self.put(self.ours[key].detach(), self.numpys[key][...])

    @rule(key=tensors, source=tensors, name=st.sampled_from(CHANGES), k=NUMBER, recording=st.booleans())
    def write(self, key, source, name, k, recording):
        t, shape = self.ours[key], self.numpys[key].shape
        if not shape or shape[0] == 0 or (name == "setlist" and shape[0] < 2):
            return
        into = {"setitem": shape[1:], "setmask": ((shape[0] + 1) // 2, *shape[1:]), "setlist": (2, *shape[1:])}
        if not fits(self.numpys[source].shape, into.get(name, shape)):
            return
        value = np.copy(self.numpys[source])
        try:
            with cr.set_grad_enabled(recording):
                self.engine.change(name, t, self.ours[source].clone(), k)
        except RuntimeError as error:  # refused, before anything was changed: the invariant sees that
            if "detached alias" not in str(error):
                raise
            return
        self.model.change(name, self.numpys[key], value, k)

    @rule(key=tensors)
    def hand_out(self, key):
        """From now on NumPy could write into that memory."""
        np.testing.assert_allclose(self.ours[key].detach().numpy(), self.numpys[key], rtol=1e-9, atol=1e-9)

    @rule(key=consumes(tensors))
    def drop(self, key):
        """What nobody else holds is gone at once, without the garbage collector."""
        self.numpys.pop(key)
        t = self.ours.pop(key)
        gone = weakref.ref(t)
        del t
        assert gone() is None

    @rule(key=tensors)
    def differentiate(self, key):
        """Twice the same, and the same through the graph of the gradient; or refused for a value written over."""
        y = self.ours[key]
        if not y.requires_grad:
            return
        found = []
        for create_graph in (False, True):
            try:
                (g,) = cr.grad(y.sum(), self.leaf, retain_graph=True, create_graph=create_graph, materialize_grads=True)
            except RuntimeError as error:
                if not any(
                    text in str(error) for text in ("modified by an inplace operation", "handed out by numpy()")
                ):
                    raise
                return
            found.append(g.array)
        np.testing.assert_allclose(*found, rtol=1e-12, atol=1e-12)

    @invariant()
    def values_are_numpys(self):
        for key, t in self.ours.items():
            with np.errstate(all="ignore"):
                np.testing.assert_allclose(t.array, self.numpys[key], rtol=1e-9, atol=1e-9)


GraphMachine.TestCase.__doc__ = "Run by Hypothesis."
TestGraph = GraphMachine.TestCase
