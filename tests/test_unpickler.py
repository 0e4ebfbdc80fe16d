"""Files written by hand to run code or to change the program that loads them: each is refused before it does."""

import enum
import io
import pickle
import types
import zipfile

import numpy as np
import pytest

import chainrule

CALLED = []


def called(*args):
    """A function of the program: files may hold it, and never call it."""
    CALLED.append(args)


class Shade(enum.Enum):
    DARK = 1


# what a pickle consists of: pieces that leave one object on the stack, by the opcodes of pickletools


def name(path, module=__name__):
    """An object by its name; protocol 4 walks along the dots."""
    return b"\x8c%c%b\x8c%c%b\x93" % (len(module), module.encode(), len(path), path.encode())


def value(obj):
    return pickle.dumps(obj, 2)[2:-1]


def row(*parts):
    return b"(" + b"".join(parts) + b"t"


def table(**parts):
    return b"}(" + b"".join([value(k) + v for k, v in parts.items()]) + b"u"


def call(f, *args):
    return f + row(*args) + b"R"


def fresh(kind):
    return kind + b")\x81"


def build(obj, state):
    return obj + state + b"b"


def getattr_(obj, attribute):
    return call(name("getattr", "builtins"), obj, value(attribute))


CANARY, LINEAR, NS = name("called"), name("Linear", "chainrule.nn.linear"), name("SimpleNamespace", "types")
PARTIAL = call(name("partial", "functools"), CANARY)
MODEL = fresh(LINEAR)


def holder(**attributes):
    return build(fresh(NS), table(**attributes))


def patch(obj, **attributes):
    return build(obj, row(value(None), table(**attributes)))


CALLS = {
    "a function": call(CANARY),
    "a partial": call(PARTIAL),
    "a method of a module": call(getattr_(MODEL, "add_module"), value("x"), MODEL),
    "an op": call(name("tanh", "chainrule.autograd.ops.elementwise"), value(1.0)),
    "a function of nn": call(name("one_hot", "chainrule.nn.functional"), value(1)),
    "inst": b"(" + value(1) + b"i%b\ncalled\n" % __name__.encode(),
    "obj": b"(" + CANARY + value(1) + b"o",
    "__new__": fresh(holder(__new__=CANARY)),
    "__new__ with names": holder(__new__=CANARY) + b")}\x92",
    "append": holder(append=CANARY) + value(1) + b"a",
    "extend": holder(extend=CANARY) + b"(" + value(1) + b"e",
    "add": holder(add=CANARY) + b"(" + value(1) + b"\x90",
    "__setstate__": build(build(MODEL, table(__setstate__=CANARY)), table()),
}
CHANGES = {
    "a class": patch(LINEAR, forward=CANARY),
    "a function": patch(CANARY, __defaults__=row()),
    "an op": build(name("tanh", "chainrule.autograd.ops.activation"), table(forward=CANARY)),
    "a member of an enumeration": build(getattr_(name("Shade"), "DARK"), table(_value_=value(2))),
    "a dtype": build(name("float32", "torch"), table(name=value("float64"))),
    "a class that every file may name": patch(name("Size", "torch"), numel=CANARY),
    "a class of Python's": patch(name("Counter", "collections"), update=CANARY),
}
ARRAY, DTYPE = name("ndarray", "numpy"), name("dtype", "numpy")
POINTER = row(row(value(1)), call(DTYPE, value("O")), value(b"\x41" * 8))
PARTS = {
    "an array of objects on bytes": ARRAY + POINTER + b"R",
    "one by its class": ARRAY + POINTER + b"\x81",
    "objects within a dtype": build(
        call(DTYPE, value("V8"), value(False), value(True)),
        row(
            *map(value, (3, "|", None, ("f",))), table(f=row(call(DTYPE, value("O")), value(0))), *map(value, (8, 1, 0))
        ),
    ),
    "a part that lies outside": build(
        call(DTYPE, value("V8"), value(False), value(True)),
        row(
            *map(value, (3, "|", None, ("f",))),
            table(f=row(call(DTYPE, value("f8")), value(8))),
            *map(value, (8, 1, 0)),
        ),
    ),
}
NAMES = {
    "what a module of ours imports": name("operator.attrgetter", "chainrule.nn.container"),
    "its functions": name("operator.getitem", "chainrule.nn.container"),
    "a function's builtins": name("Module.__init__.__builtins__.get", "chainrule.nn.module"),
    "a function's globals": name("Module.__call__.__globals__.get", "chainrule.nn.module"),
    "a private function": name("_found", "chainrule.nn.module"),
    "the class of a class": name("Module.__class__", "chainrule.nn.module"),
    "what the program imports": name("pickle.loads", __name__),
    "a class that runs source text": name("GraphModule", "chainrule.runtime.fx_module"),
    "a class that starts processes": name("DataLoader", "chainrule.utils.data.dataloader"),
    "a module": name("pickle", __name__),
}
REACHES = {
    "a string's method": getattr_(value("x"), "format"),
    "a class": getattr_(MODEL, "__class__"),
    "a class's method": getattr_(LINEAR, "forward"),
    "an instance's attribute": getattr_(build(MODEL, table(run=CANARY)), "run"),
    "a member of an enumeration's own": getattr_(getattr_(name("Shade"), "DARK"), "name"),
    "an enumeration's own": getattr_(name("Shade"), "__members__"),
    "a function's globals": getattr_(CANARY, "__globals__"),
}
ATTACKS = {
    f"{kind} {what}": code
    for kind, group in (
        ("calls", CALLS),
        ("changes", CHANGES),
        ("names", NAMES),
        ("reaches", REACHES),
        ("makes", PARTS),
    )
    for what, code in group.items()
}


def read(code, weights_only=False):
    import chainrule.runtime.fx_module
    import chainrule.utils.data.dataloader

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x04" + code + b".")
    file.seek(0)
    return chainrule.load(file, weights_only=weights_only)


@pytest.mark.parametrize("weights_only", [False, True])
@pytest.mark.parametrize("what", ATTACKS)
def test_refused(what, weights_only):
    CALLED.clear()
    with pytest.raises(pickle.UnpicklingError, match=r"the file (holds|calls|makes|changes|appends|adds|sets)"):
        read(ATTACKS[what], weights_only)
    assert not CALLED
    assert chainrule.nn.Linear.forward is not called
    assert chainrule.float32.name == "float32"
    assert Shade.DARK.value == 1
    assert chainrule.Size([2, 3]).numel() == 6
    assert called.__defaults__ is None


def test_the_same_pieces_build_what_files_hold():
    """So what is refused above is not refused for a piece that is wrong."""
    assert read(CANARY) is called
    assert read(PARTIAL).func is called
    assert read(holder(append=CANARY)) == types.SimpleNamespace(append=called)
    assert read(getattr_(name("Shade"), "DARK")) is Shade.DARK
    assert type(read(MODEL)) is chainrule.nn.Linear
    assert read(getattr_(MODEL, "forward")).__func__ is chainrule.nn.Linear.forward
    assert read(name("one_hot", "chainrule.nn.functional")) is chainrule.nn.functional.one_hot
    assert read(value([1]) + value(2) + b"a") == [1, 2]
    assert read(build(MODEL, table(bias=value(None)))).bias is None
    assert not CALLED


def test_functions_that_the_program_admits_are_called():
    CALLED.clear()
    with chainrule.serialization.safe_globals([called]):
        assert read(call(CANARY, value(1)), weights_only=True) is None
    assert CALLED == [(1,)]


def test_wrappers_and_data_sets_are_read():
    net = chainrule.nn.DataParallel(chainrule.nn.Linear(2, 1))
    data = chainrule.utils.data.TensorDataset(chainrule.arange(3.0))
    table = np.array([(1, [2.0, 3.0])], dtype=[("a", "i4"), ("b", "f8", (2,))])
    file = io.BytesIO()
    chainrule.save({"net": net, "data": data, "table": table}, file)
    file.seek(0)
    back = chainrule.load(file, weights_only=False)
    assert chainrule.equal(back["net"].module.weight, net.module.weight)
    assert [x.item() for (x,) in back["data"]] == [0, 1, 2]
    assert (back["table"].dtype, str(back["table"])) == (table.dtype, str(table))
