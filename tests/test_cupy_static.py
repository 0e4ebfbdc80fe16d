"""What forwards ask of an array namespace exists in the real CuPy, keywords included. Needs the package, but no GPU.

Every `xp.name(...)` in the engine is looked up in the CuPy backend's namespace and its arguments are bound to the
signature; every array method that a forward calls is looked up in cupy.ndarray. A GPU run is still the better test.
"""

import ast
import contextlib
import importlib
import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import chainrule
from chainrule.autograd import OPS
from chainrule.autograd.tensor import wrap
from chainrule.backends import by_name

cupy = pytest.importorskip("cupy", reason="CuPy is not installed; `make test-gpu-static` runs this")
cupyx = pytest.importorskip("cupyx")

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted([*ROOT.glob("autograd/**/*.py"), *ROOT.glob("backends/*.py"), *ROOT.glob("backends/cudnn/*.py")])
BACKEND = by_name("cupy")
kernels, namespace = (importlib.import_module(f"chainrule.backends.cupy.{name}") for name in ("kernels", "namespace"))
ANY = object()


# -- signatures -------------------------------------------------------------------------------------------------------


def signature(function):
    """The signature of a function of CuPy's; compiled ones have it in the first line of their docstring."""
    if isinstance(getattr(function, "ufunc", None), cupy.ufunc):
        function = function.ufunc
    try:
        return inspect.signature(function)
    except ValueError:
        first = function.__doc__.strip().splitlines()[0]
    parameters = re.match(r"[\w.]+\((.*?)\)( ->.*)?$", first.replace("\\*", "*")).group(1)
    # a ufunc of two results: its outputs may stand alone or as a tuple
    parameters = parameters.replace("[, out1, out2]", "").replace("[, out=(None, None)]", "out=None")
    names = []
    for parameter in parameters.split(", "):
        name, equals, default = parameter.partition("=")
        names.append(name.split()[-1] + equals + default)  # without the C type before it
    names = [name for name in names if name != "self"]
    scope = {}
    exec(f"def stub({', '.join(names)}): pass", scope)
    return inspect.signature(scope["stub"])


def mismatch(function, call):
    """Why a call does not fit the function; empty where it does."""
    given = [ANY for a in call.args if not isinstance(a, ast.Starred)]
    keywords = {k.arg: ANY for k in call.keywords if k.arg is not None}
    open_ended = len(given) < len(call.args) or len(keywords) < len(call.keywords)
    try:
        bound = signature(function)
        (bound.bind_partial if open_ended else bound.bind)(*given, **keywords)
    except TypeError as error:
        return str(error)
    return ""


# -- the checker ------------------------------------------------------------------------------------------------------


def chain(node):
    """The names after `xp` in `xp.linalg.inv`; None for what does not start at a namespace."""
    names = []
    while isinstance(node, ast.Attribute):
        if node.attr == "xp":
            return names
        names.insert(0, node.attr)
        node = node.value
    return names if isinstance(node, ast.Name) and node.id == "xp" else None


def resolve(names):
    found = BACKEND.xp
    for name in names:
        found = getattr(found, name)
    return found


def first_parameter(node):
    arguments = node.args.posonlyargs + node.args.args if isinstance(node, (ast.FunctionDef, ast.Lambda)) else []
    return arguments[0].arg if arguments else ""


def array_faults(node, calls):
    """Faults of `x.method(...)` and `x.attribute` in a forward, as far as NumPy's arrays have the name."""
    if isinstance(node.value, ast.Attribute) and node.value.attr == "flags":
        if not hasattr(cupy.ndarray.flags, "__get__") or node.attr not in FLAGS:
            yield f"CuPy's flags have no {node.attr}"
        return
    if not hasattr(np.ndarray, node.attr):
        return
    method = getattr(cupy.ndarray, node.attr, None)
    if method is None:
        yield f"cupy.ndarray has no {node.attr}"
    elif node in calls and callable(method) and not hasattr(list, node.attr) and (why := mismatch(method, calls[node])):
        yield f"ndarray.{node.attr}: {why}"


def faults(source, name="source"):
    """`name:line: what CuPy lacks` for each fault of a module."""
    tree = ast.parse(source)
    calls = {node.func: node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {alias.asname or alias.name for node in ast.walk(tree) for alias in getattr(node, "names", [])
                if isinstance(alias, ast.alias)}  # fmt: skip
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node not in inner and (names := chain(node)):
            try:
                target = resolve(names)
            except AttributeError:
                found.append((node.lineno, f"CuPy has no {'.'.join(names)}"))
                continue
            if node in calls and not isinstance(target, type) and (why := mismatch(target, calls[node])):
                found.append((node.lineno, f"{'.'.join(names)}: {why}"))
    for function in ast.walk(tree):
        first = first_parameter(function)
        if first not in ("xp", "F"):
            continue
        for node in ast.walk(function):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
                found.append((node.lineno, f"@ is slow or wrong for stacks of 16-bit matrices: {first}.matmul"))
            if first == "xp" and isinstance(node, ast.Attribute) and chain(node) is None:
                root = node
                while isinstance(root, ast.Attribute):
                    root = root.value
                if not (isinstance(root, ast.Name) and root.id in imported):
                    found += [(node.lineno, text) for text in array_faults(node, calls)]
    return [f"{name}:{line}: {text}" for line, text in sorted(set(found))]


def fake(shape=(4, 6), dtype="float32", address=4096):
    """An array on memory that is never touched: shapes, strides and views work without a GPU."""
    memory = cupy.cuda.UnownedMemory(address, 1 << 20, None, 0)
    return cupy.ndarray(shape, dtype, memptr=cupy.cuda.MemoryPointer(memory, 0))


FLAGS = [name for name in dir(fake().flags) if not name.startswith("_")]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_what_cupy_has(path):
    assert faults(path.read_text(), path.name) == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("xp.max(x, axis=0, keepdims=True)", ""),
        ("xp.max(x, initial=0)", "initial"),
        ("xp.sum(x, where=x > 0)", "where"),
        ("xp.clip(x, 0, None)", ""),
        ("xp.clip(x, min=0)", "min"),
        ("xp.unstack(x)", "unstack"),
        ("backend.xp.linalg.vector_norm(x)", "linalg.vector_norm"),
        ("xp.linalg.svd(x, full_matrices=False)", ""),
        ("xp.take(x, y, 0, mode='clip')", "mode"),
        ("xp.var(x, correction=1)", "correction"),
        ("xp.zeros((2,), device='cpu')", "device"),
        ("xp.exp(x, where=y)", "where"),
        ("xp.exp(x, out=y)", ""),
        ("xp.exp(x, y, x)", "too many"),
        ("xp.add.at(x, (y,), x)", ""),
        ("xp.add.at(x)", "indices"),
        ("xp.add.nothing(x, y)", "add.nothing"),
        ("xp.sum(*xs)", ""),
        ("xp.concatenate(xs, axis=0, **options)", ""),
        ("x.astype(y.dtype, copy=False)", ""),
        ("x.astype(y.dtype, device='cpu')", "device"),
        ("x.sum(where=y)", "where"),
        ("x.reshape(2, -1).transpose(1, 0)", ""),
        ("x.setflags(write=False)", "setflags"),
        ("x.flags.c_contiguous", ""),
        ("x.flags.writeable", "writeable"),
        ("x @ y", "matmul"),
    ],
)
def test_the_checker(body, expected):
    found = faults(f"def forward(xp, x, y):\n    return {body}\n")
    if expected:
        assert len(found) == 1, found
        assert expected in found[0]
        assert found[0].startswith("source:2: ")
    else:
        assert found == []


def test_the_checker_reads_modules_and_rules():
    assert faults("import math\ndef f(xp, x):\n    return math.prod(x.shape)\n") == []
    assert len(faults("def rule(F, g, x):\n    return g @ x\n")) == 1
    assert faults("def public(x, y):\n    return x @ y.sum(dim=1)\n") == []


# -- CuPy by its own name: backends/cupy and whatever else imports it -------------------------------------------------

DIRECT = sorted(
    path
    for path in (*ROOT.glob("backends/**/*.py"), *ROOT.glob("runtime/**/*.py"), *ROOT.glob("autograd/**/*.py"))
    if re.search(r"^\s*(import|from) cupy", path.read_text(), re.M)
)


def member(module, name):
    """What `from module import name` gives; None where that needs a library that is not here (NCCL)."""
    if hasattr(module, name):
        return getattr(module, name)
    try:
        return importlib.import_module(f"{module.__name__}.{name}")
    except (ImportError, UserWarning) as error:
        if "cannot open shared object file" in str(error):
            return None
        raise


def imported(tree):
    """Name in the file -> the module of CuPy's, or the thing in one, that an import binds it to."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in ("cupy", "cupyx"):
                    module = importlib.import_module(alias.name)
                    found[alias.asname or alias.name.split(".")[0]] = (
                        module if alias.asname else importlib.import_module(alias.name.split(".")[0])
                    )
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in ("cupy", "cupyx"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                if (thing := member(module, alias.name)) is not None:
                    found[alias.asname or alias.name] = thing
    return found


def dotted(node):
    """(root name, attributes after it) of `a.b.c`; None for other expressions."""
    names = []
    while isinstance(node, ast.Attribute):
        names.insert(0, node.attr)
        node = node.value
    return (node.id, names) if isinstance(node, ast.Name) else None


def resolved(node, roots):
    """(the thing of CuPy's that an expression names, its name); None where it names none."""
    found = dotted(node)
    if found is None or found[0] not in roots:
        return None
    thing = roots[found[0]]
    for name in found[1]:
        thing = getattr(thing, name)
    return thing, ".".join((found[0], *found[1]))


def unfit(thing, call):
    """Why a call does not fit a function or a class; empty where it does, or where nothing is known."""
    if isinstance(thing, type) and issubclass(thing, BaseException):
        return ""
    try:
        parameters = list(signature(thing).parameters)
        if parameters[:1] == ["self"]:
            call = ast.Call(call.func, [ast.Constant(None), *call.args], call.keywords)
        return mismatch(thing, call)
    except (
        AttributeError,
        IndexError,
        ValueError,
    ):  # a compiled class or method without a signature: its docstring names keywords
        text = f"{thing.__doc__ or ''} {getattr(thing, '__init__', thing).__doc__ or ''}"
        lacking = [k.arg for k in call.keywords if k.arg and not re.search(rf"\b{k.arg}\b", text)]
        return f"unexpected keyword {', '.join(lacking)}" if lacking and text.strip() else ""


def direct_faults(source, name="source"):
    """As `faults`, for `cupy.name(...)` and for methods of what was made by a class of CuPy's in the same file."""
    tree, found = ast.parse(source), []
    roots = imported(tree)
    calls = {node.func: node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    inner = {node.value for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    made = {}  # "self.stream" -> the class of what is assigned to it
    for node in ast.walk(tree):
        value, targets = getattr(node, "value", None), getattr(node, "targets", [getattr(node, "target", None)])
        if isinstance(node, ast.withitem):
            value, targets = node.context_expr, [node.optional_vars]
        if isinstance(value, ast.Call):
            with contextlib.suppress(AttributeError):
                thing = resolved(value.func, roots)
                if thing is not None and isinstance(thing[0], type):
                    for target in targets:
                        if target is not None and dotted(target):
                            made[ast.unparse(target)] = thing[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node not in inner:
            try:
                thing = resolved(node, roots)
                if thing is None and node in calls and (owner := made.get(ast.unparse(node.value))):
                    thing = getattr(owner, node.attr), f"{owner.__name__}.{node.attr}"
            except AttributeError as error:
                found.append((node.lineno, str(error)))
                continue
            if thing is not None and node in calls and (why := unfit(thing[0], calls[node])):
                found.append((node.lineno, f"{thing[1]}: {why}"))
        elif isinstance(node, ast.Name) and node in calls and callable(roots.get(node.id)):
            why = unfit(roots[node.id], calls[node])
            found += [(node.lineno, f"{node.id}: {why}")] if why else []
    return [f"{name}:{line}: {text}" for line, text in sorted(set(found))]


@pytest.mark.parametrize("path", DIRECT, ids=lambda path: str(path.relative_to(ROOT)))
def test_cupy_by_its_own_name(path):
    assert direct_faults(path.read_text(), path.name) == []


def test_the_files_that_name_cupy_are_found():
    names = {path.name for path in DIRECT if path.parent.name == "cupy"}
    assert names >= {"__init__.py", "kernels.py", "namespace.py", "random.py", "launch.py", "graphs.py", "streams.py"}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("cupy.cuda.Device(0).use()", ""),
        ("cupy.cuda.Devices(0)", "Devices"),
        ("cupy.cuda.Stream(non_blocking=True)", ""),
        ("cupy.cuda.Stream(nonblocking=True)", "nonblocking"),
        ("cupy.cuda.Event(disable_timing=True)", ""),
        ("cupy.cuda.Event(timing=True)", "timing"),
        ("cupy.asarray(x, blocking=True)", ""),
        ("cupy.asarray(x, device=0)", "device"),
        ("cupy.empty(3, 'float32', strides=(4,))", "strides"),
        ("cupy.take(x, y, 0, mode='wrap')", "mode"),
        ("cupyx.empty_pinned((2,), 'float32')", ""),
        ("cupyx.empty_pinned((2,), device=0)", "device"),
        ("cupyx.pinned((2,))", "pinned"),
        ("cupy.RawModule(code='', options=())", ""),
        ("cupy.RawModule(source='')", "source"),
        ("cupy.cuda.runtime.memcpyAsync(1, 2, 3, 4, 5)", ""),
        ("cupy.cuda.runtime.memcpyAsync(1, 2, 3)", "missing"),
        ("cupy.cuda.runtime.getDeviceCounts()", "getDeviceCounts"),
        ("Stream(priority=1)", ""),
        ("Stream(level=1)", "level"),
    ],
)
def test_the_checker_of_names(body, expected):
    found = direct_faults(f"import cupy\nimport cupyx\nfrom cupy.cuda import Stream\ndef f(x, y):\n    return {body}\n")
    if expected:
        assert len(found) == 1, found
        assert expected in found[0]
        assert found[0].startswith("source:5: ")
    else:
        assert found == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("s = cupy.cuda.Stream(); s.synchronize()", ""),
        ("s = cupy.cuda.Stream(); s.wait()", "wait"),
        ("s = cupy.cuda.Stream(); s.begin_capture(mode=2)", ""),
        ("s = cupy.cuda.Stream(); s.begin_capture(kind=2)", "kind"),
        ("self.pool = cupy.cuda.MemoryPool(); self.pool.malloc(3, 4)", "too many"),
        ("pool: Any = cupy.cuda.MemoryPool(); pool.free_all()", "free_all"),
        ("e = cupy.cuda.Event(); e.record(); e.done", ""),
        ("e = cupy.cuda.Event(); e.finished()", "finished"),
    ],
)
def test_the_checker_of_methods(body, expected):
    found = direct_faults(f"import cupy\ndef f(self):\n    {body}\n")
    if expected:
        assert len(found) == 1, found
        assert expected in found[0]
    else:
        assert found == []


# -- the backend, as far as it goes without a GPU ---------------------------------------------------------------------


def test_kernels_have_their_ops_arguments():
    for name, kernel in BACKEND.kernels.items():
        op = OPS[name.partition(".grad")[0]]
        if ".grad" not in name and "args" not in (names := tuple(inspect.signature(kernel).parameters)):
            assert names == op.names, name


def test_memory_of_views():
    x, other = fake(), fake(address=8192)
    tricks = BACKEND.xp.lib.stride_tricks
    diagonal = tricks.as_strided(x[1:].T, (3,), (28,))
    windows = tricks.sliding_window_view(x, (2, 3))
    views = [x, x[1:], x.T[2:], x.reshape(-1), cupy.broadcast_to(x, (2, 4, 6)), diagonal, diagonal[1:], windows]
    assert all(BACKEND.owner(view) is x for view in views)
    assert BACKEND.owner(other[1:]) is other
    assert BACKEND.pointer(diagonal) == 4096 + 24
    like = np.lib.stride_tricks.sliding_window_view(np.zeros((4, 6), "float32"), (2, 3))
    assert (windows.shape, windows.strides) == (like.shape, like.strides)
    along = tricks.sliding_window_view(x, 2, -1)
    assert along.shape == np.lib.stride_tricks.sliding_window_view(np.zeros((4, 6)), 2, -1).shape
    with pytest.raises(ValueError, match="size 5"):
        tricks.sliding_window_view(x, 5, 0)


def test_writable():
    x = fake()
    for view in (x, x[::2, 1:], x.T, x[::-1], x[:, :0], fake(()), fake((1, 1)), x.reshape(2, 2, 6).transpose(1, 2, 0)):
        assert BACKEND.writable(view)
    for view in (cupy.broadcast_to(x, (2, 4, 6)), BACKEND.xp.lib.stride_tricks.sliding_window_view(x, (2, 2))):
        assert not BACKEND.writable(view)


def test_devices():
    assert BACKEND.device_of(fake()) == ("cuda", 0)
    t = wrap(fake(), None)
    assert str(t.device) == "cuda:0"
    with pytest.raises(RuntimeError, match=r"mul\(float32\[4, 6\] on cuda:0, float32\[4, 6\]\).*cuda:0 and cpu"):
        t * chainrule.ones(4, 6)


@pytest.mark.skipif(BACKEND.device_count() > 0, reason="this machine has a GPU")
def test_no_device():
    for make in (
        lambda: chainrule.zeros(2, device="cuda"),
        lambda: chainrule.ones(2).to("cuda:1"),
        lambda: chainrule.ones(2).cuda(),
        lambda: BACKEND.asarray([1.0]),
        lambda: BACKEND.generator(0),
    ):
        with pytest.raises(RuntimeError, match=r"no CUDA device can be used: the driver .*chainrule\[cuda12\]"):
            make()


def test_several_devices(monkeypatch):
    used = []
    monkeypatch.setitem(BACKEND.__dict__, "_devices", (2, ""))
    monkeypatch.setattr(cupy.cuda, "Device", lambda index: SimpleNamespace(use=lambda: used.append(index)))
    kernel = BACKEND.guarded(lambda *arrays, dim=0: "done")
    second = cupy.ndarray((2,), "float32", cupy.cuda.MemoryPointer(cupy.cuda.UnownedMemory(64, 8, None, 1), 0))
    assert kernel(second, 2.0, dim=1) == "done"
    assert used == [1]
    with pytest.raises(TypeError, match="cuda:0, cuda:1"):
        kernel(second, fake())
    with pytest.raises(TypeError, match="an array of the CPU"):
        kernel(fake(), np.float32(2))
    with pytest.raises(RuntimeError, match=r"cuda:2.*cuda:1"):
        BACKEND.set_device(2)


@pytest.mark.parametrize(
    ("indices", "ok"),
    [((slice(None), slice(None)), True), ((fake((3, 3), bool),), True), (slice(None), True)],
)
def test_masks_and_slices_need_no_check(indices, ok):
    namespace.check_indices((3, 3), indices)
    assert namespace.only_masks(indices if isinstance(indices, tuple) else (indices,)) is ok


@pytest.fixture
def on_numpy(monkeypatch):
    """The backend's own functions, computing with NumPy: their arithmetic without a GPU."""
    for module in (kernels, namespace):
        monkeypatch.setattr(module, "cupy", np)
    monkeypatch.setattr(namespace.gemm, "matmul", lambda x1, x2: NotImplemented)  # as without cuBLASLt


def test_written_twice_the_last_one_stays(on_numpy):
    random = np.random.default_rng(0)
    x, index = random.random((4, 3)), random.integers(-4, 4, (7,))
    values = random.random((7, 3))
    expected = x.copy()
    for i, row in zip(index, values):
        expected[i] = row
    np.testing.assert_array_equal(kernels.index_put(x, values, (slice(None),), (index,)), expected)
    where, src = random.integers(-4, 4, (5, 2)), random.random((6, 2))
    expected = x.copy()
    for i in range(5):
        for j in range(2):
            expected[where[i, j], j] = src[i, j]
    np.testing.assert_array_equal(kernels.scatter(x, 0, where, src), expected)
    np.testing.assert_array_equal(kernels.scatter(x.T, -1, where.T, src.T), expected.T)


def test_indices_are_checked(on_numpy):
    xp, x = namespace.Namespace(), np.arange(12.0).reshape(4, 3)
    good, bad = np.array([[0, -3, 2]]), np.array([[0, 1, 3]])
    assert xp.take(x, good, 1).shape == (4, 1, 3)
    for call in (
        lambda i: xp.take(x, i, 1),
        lambda i: xp.take(x[0], i),
        lambda i: xp.take_along_axis(x[:1], i, 1),
        lambda i: xp.put_along_axis(x[:1].copy(), i, 1.0, 1),
        lambda i: xp.add.at(np.zeros(3, "float16"), i, 1.0),
        lambda i: kernels.index(x, (slice(None), i)),
        lambda i: kernels.index(x, (np.ones(4, bool), i)),
        lambda i: kernels.gather(x, 1, i),
        lambda i: kernels.scatter(x, 1, i, 2.0),
        lambda i: kernels.embedding(i, x.T),
        lambda i: kernels.index_put(x, 1.0, (slice(1, None),), (slice(None), i)),
    ):
        call(good)
        with pytest.raises(IndexError, match="size 3, and the indices go from 0 to 3"):
            call(bad)


def test_products_and_sums_of_16_bits(on_numpy):
    xp, random = namespace.Namespace(), np.random.default_rng(1)
    for left, right in (
        ((2, 3), (3, 4)),
        ((5, 2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((3,), (3, 4)),
        ((0, 2, 3), (3, 1)),
    ):
        a, b = random.random(left), random.random(right)
        half = xp.matmul(a.astype("float16"), b.astype("float16"))
        assert half.dtype == np.float16
        np.testing.assert_allclose(half, a @ b, rtol=5e-3)
    assert xp.einsum("ij,jk->ik", np.ones((2, 3), "float16"), np.ones((3, 2), "float16")).dtype == np.float16
    total = np.zeros(2, "float16")
    xp.add.at(total, np.zeros(4096, int), np.full(4096, 0.5, "float16"))
    assert total[0] == 2048  # in float16, 1024 + 0.5 is 1024


def test_integers_to_negative_powers(on_numpy):
    for exponent in (-1, np.array([1, -2])):
        with pytest.raises(ValueError, match="negative integer powers"):
            kernels.power(np.array([2, 3]), exponent)
    for base, exponent in ((np.array([2.0]), -1), (np.array([2]), -1.0), (np.array([2]), 3), (2, np.array([1, 0]))):
        assert kernels.power(base, exponent) is NotImplemented


# -- graphs and products: what fake_graphs.py stands in for -----------------------------------------------------------


def test_names_of_graphs():
    cuda, runtime = cupy.cuda, cupy.cuda.runtime
    assert (runtime.streamCaptureModeRelaxed, runtime.memcpyHostToDevice) == (2, 1)
    for function, names in (
        (cuda.Stream.begin_capture, ["mode"]),
        (cuda.Stream.end_capture, []),
        (cuda.Stream.is_capturing, []),
        (cuda.Stream.wait_event, ["event"]),
        (cuda.Graph.launch, ["stream"]),
        (cuda.Graph.upload, ["stream"]),
        (cuda.Graph.debug_dot_str, ["flags"]),
        (cuda.MemoryPool.malloc, ["size"]),
        (cuda.MemoryPool.set_limit, ["size", "fraction"]),
        (cuda.Stream.use, []),
        (cuda.Stream.record, ["event"]),
        (cuda.Event.record, ["stream"]),
        (runtime.memcpyAsync, ["dst", "src", "size", "kind", "stream"]),
    ):
        text = function.__doc__.strip().splitlines()[0]
        given = [p.partition("=")[0].split()[-1] for p in re.search(r"\((.*?)\)", text)[1].split(", ") if p]
        assert [name for name in given if name != "self"] == names
    assert list(signature(cupyx.empty_pinned).parameters)[:2] == ["shape", "dtype"]
    for name in ("get_allocator", "using_allocator", "get_current_stream", "alloc", "Event", "get_elapsed_time"):
        assert callable(getattr(cuda, name))
    streams = importlib.import_module("chainrule.backends.cupy.streams")
    hook = streams.Peak()
    for name in ("malloc_postprocess", "free_postprocess"):
        documented = getattr(cuda.MemoryHook, name).__doc__
        assert all(f"{word}" in documented for word in ("device_id", "mem_size"))
        assert callable(getattr(hook, name))
    assert hook.name != cuda.MemoryHook.name
    assert callable(cuda.Stream.from_external)
    assert "non_blocking (bool)" in cuda.Stream.__doc__
    assert "priority" in cuda.Stream.__doc__
    assert "disable_timing (bool)" in cuda.Event.__doc__
