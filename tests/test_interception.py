"""What tests/interception.py undoes: nothing is left of it."""

import interception

from chainrule.autograd import overrides
from chainrule.autograd.op import OPS
from chainrule.autograd.tensor import Tensor

FIELDS = ("__code__", "__defaults__", "__kwdefaults__", "__dict__", "fget", "fset", "fdel", "__self__")


def state():
    public = [f for namespace in overrides.public_functions().values() for f in namespace.values()]
    functions = [*public, *vars(Tensor).values(), *[op.function for op in OPS.values()]]
    shown = [[getattr(f, name, None) for name in FIELDS] for f in functions if f is not vars(Tensor)["__dict__"]]
    return [[dict(x) if isinstance(x, dict) else x for x in row] for row in shown]


def test_functions_are_as_before():
    assert not overrides._active  # by a class in another module of tests
    overrides.public_functions()  # imports what is late
    before = state()
    overrides.activate()
    assert state() != before
    interception.undo()
    assert state() == before
    assert not overrides.PUBLIC
    assert "_parts" not in str(Tensor.sum.__kwdefaults__)
