"""A CuPy on NumPy's arrays, so that backends/cupy itself runs, and the whole suite with it, where there is no GPU.

`install()` puts the modules `cupy` and `cupyx` into sys.modules; `pytest --backend=fake` does that. Arrays live on one
of two devices. What CuPy does otherwise than NumPy is done here as CuPy 14 does it, as far as chainrule meets it:

* NumPy's arrays are refused, NumPy's scalars are taken as numbers of their dtype; every result is an array.
* An index out of range wraps around, and of several values written to one element the *first* stays (CuPy leaves it
  open; NumPy keeps the last).
* `add.at` and kin know few dtypes. Products of stacks of 16-bit matrices raise, as they are slow or wrong there.
* New arrays are made on the current device, and a computation on arrays of another one is refused.
* Functions, keywords and methods that CuPy lacks are lacking (the lists of backends/strict.py).

Matrix products go to the interpreter of tests/cublaslt_simulation.py. CUDA C kernels run in the simulation of
tests/cuda_simulation; without g++, and with CHAINRULE_SIMULATE=0, they are as if they served no call, and the generic
forms run.
"""

import contextlib
import ctypes
import functools
import importlib
import importlib.machinery
import os
import sys
import types

import numpy as np
from cuda_simulation import simulation

from chainrule import backends
from chainrule.backends import strict

DEVICES = 2
#: dtypes (characters of NumPy's) that `add.at` and kin take
_SCATTERED = "ilqefdILQ"


class _Current:
    device = 0


def _root(a):
    while isinstance(a.base, np.ndarray):
        a = a.base
    return a


# -- memory -----------------------------------------------------------------------------------------------------------


class MemoryHook:
    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass


class UnownedMemory:
    def __init__(self, ptr, size, owner, device_id=-1):
        self.ptr, self.size, self.owner = ptr, size, owner
        self.device_id = device_id
        self.device = Device(max(device_id, 0))


class MemoryPointer:
    def __init__(self, mem, offset):
        self.mem, self.ptr, self.device_id = mem, mem.ptr + offset, mem.device_id
        self.device = mem.device


def _pointer(a, device):
    root = _root(a)
    low, high = np.lib.array_utils.byte_bounds(root) if root.size else (root.ctypes.data, root.ctypes.data)
    return MemoryPointer(UnownedMemory(low, high - low, root, device), a.ctypes.data - low)


class PinnedMemoryPointer:
    """What is under an array of `empty_pinned`; here a buffer like any other."""

    def __init__(self, size):
        self._buffer = np.zeros(max(size, 1), np.uint8)
        self.__array_interface__ = self._buffer.__array_interface__


class MemoryPool:
    def __init__(self, allocator=None):
        self._limit = 0

    def malloc(self, size):
        memory = np.empty(size, np.uint8)
        return MemoryPointer(UnownedMemory(memory.ctypes.data, size, memory, _Current.device), 0)

    def used_bytes(self):
        return 0

    total_bytes = free_bytes = n_free_blocks = used_bytes

    def free_all_blocks(self, stream=None):
        pass

    def set_limit(self, size=None, fraction=None):
        self._limit = size

    def get_limit(self):
        return self._limit


# -- devices, streams, events -----------------------------------------------------------------------------------------


class Device:
    def __init__(self, device=None):
        self.id = _Current.device if device is None else int(device)
        self._before = []

    def use(self):
        if not 0 <= self.id < DEVICES:
            raise CUDARuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        _Current.device = self.id

    def __enter__(self):
        self._before.append(_Current.device)
        self.use()
        return self

    def __exit__(self, *exc):
        _Current.device = self._before.pop()

    def synchronize(self):
        pass

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return self.id

    @property
    def mem_info(self):
        return 1 << 30, 2 << 30

    compute_capability = "90"
    attributes = {"MultiProcessorCount": 4, "MaxSharedMemoryPerBlockOptin": 232448}


class CUDARuntimeError(RuntimeError):
    pass


class Stream:
    null = None

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=0):
        self.ptr, self.device_id = 0 if null else id(self), _Current.device
        self._before = []

    def use(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def synchronize(self):
        pass

    done = True

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        pass

    def is_capturing(self):
        return False

    def begin_capture(self, mode=None):
        raise NotImplementedError("nothing is captured here")


Stream.null = Stream(null=True)


class Event:
    done = True

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.ptr = id(self)

    def record(self, stream=None):
        pass

    def synchronize(self):
        pass


# -- arrays -----------------------------------------------------------------------------------------------------------


def _wrap(x, sources=()):
    """NumPy's result as an array of the current device; a view of one of `sources` where it is one."""
    if isinstance(x, (tuple, list)):
        return (
            type(x)([_wrap(v, sources) for v in x]) if type(x) in (tuple, list) else tuple(_wrap(v, sources) for v in x)
        )
    if not isinstance(x, (np.ndarray, np.generic)):
        return x
    a = np.asarray(x)
    root = _root(a)
    for source in sources:
        if a is source._a:
            return source
        if root is _root(source._a):
            return ndarray._of(a, source._device, source if source.base is None else source.base)
    return ndarray._of(a, _Current.device, None)


def _arrays(x):
    if isinstance(x, ndarray):
        yield x
    elif isinstance(x, (tuple, list)):
        for y in x:
            yield from _arrays(y)


def _unwrap(x, name):
    if isinstance(x, ndarray):
        if x._device != _Current.device:
            raise ValueError(
                f"{name}: Array device must be same as the current device: array device = {x._device} while current = "
                f"{_Current.device}"
            )
        return x._a
    if isinstance(x, np.ndarray):
        raise TypeError(f"{name}: Unsupported type <class 'numpy.ndarray'>")
    if isinstance(x, (tuple, list)):
        return (
            type(x)([_unwrap(v, name) for v in x]) if type(x) in (tuple, list) else tuple(_unwrap(v, name) for v in x)
        )
    if isinstance(x, slice):
        return slice(*[b.__index__() if b is not None else None for b in (x.start, x.stop, x.step)])
    return x


def _call(function, name, args, kwargs):
    raw, options = _unwrap(args, name), {k: _unwrap(v, name) for k, v in kwargs.items()}
    with np.errstate(all="ignore"):
        out = function(*raw, **options)
    return _wrap(out, [*_arrays(args), *_arrays(list(kwargs.values()))])


class _Flags:
    def __init__(self, flags, own):
        self.c_contiguous, self.f_contiguous, self.owndata = flags.c_contiguous, flags.f_contiguous, own
        self.forc, self.fnc = flags.forc, flags.fnc


def _turned(index, shape):
    """An index whose integer arrays are wrapped into range, as CuPy's kernels do it."""
    items, found, dim = index if isinstance(index, tuple) else (index,), [], 0
    taken = sum(i.ndim if _is_mask(i) else 0 if i is None or i is Ellipsis else 1 for i in items)
    for i in items:
        if i is Ellipsis:
            dim += len(shape) - taken
        elif _is_mask(i):
            dim += i.ndim
        elif isinstance(i, np.ndarray):
            i = i % shape[dim] if shape[dim] else i
            dim += 1
        elif i is not None:
            dim += 1
        found.append(i)
    return tuple(found)


def _is_mask(i):
    return isinstance(i, np.ndarray) and i.dtype.kind == "b"


class ndarray:
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.base, self._memptr, self._device = None, memptr, _Current.device
        if memptr is None:
            self._a = np.empty(shape, dtype, order)
            self._a.fill(np.asarray(float("nan")).astype(dtype) if np.dtype(dtype).kind == "f" else 77)
            return
        self._device = max(memptr.mem.device_id, 0)
        kind = np.dtype(dtype)
        room = memptr.mem.size - (memptr.ptr - memptr.mem.ptr)
        if not np.prod(shape, dtype=int) or memptr.mem.owner is None:
            self._a = np.empty(shape, kind)
            return
        steps = strides or np.empty(shape, np.dtype([("", np.void, kind.itemsize)])).strides
        buffer = (ctypes.c_char * memptr.mem.size).from_address(memptr.mem.ptr)
        offset = memptr.mem.size - room
        self._a = np.ndarray(shape, kind, buffer, offset, steps)

    @classmethod
    def _of(cls, a, device, base):
        self = object.__new__(ndarray)
        self._a, self._device, self.base, self._memptr = a, device, base, None
        return self

    @property
    def data(self):
        if self._memptr is None:
            root = self.base if self.base is not None else self
            if root._memptr is not None:  # a view of an array that was given its memory
                return MemoryPointer(root._memptr.mem, self._a.ctypes.data - root._memptr.mem.ptr)
            self._memptr = _pointer(self._a, self._device)
        return self._memptr

    @property
    def device(self):
        return Device(self._device)

    @property
    def flags(self):
        return _Flags(self._a.flags, self.base is None)

    @property
    def __cuda_array_interface__(self):
        found = dict(self._a.__array_interface__)
        return {**found, "stream": 1, "version": 3}

    @property
    def T(self):
        return self.transpose()

    shape = property(lambda self: self._a.shape)
    strides = property(lambda self: self._a.strides)
    dtype = property(lambda self: self._a.dtype)
    ndim = property(lambda self: self._a.ndim)
    size = property(lambda self: self._a.size)
    itemsize = property(lambda self: self._a.itemsize)
    nbytes = property(lambda self: self._a.nbytes)

    def __getattr__(self, name):
        if name in strict.LACKS_METHODS or name.startswith("_"):
            raise AttributeError(f"CuPy's arrays have no {name}")
        found = getattr(self._a, name)
        if not callable(found):
            return _wrap(found, [self])

        def method(*args, **kwargs):
            strict._check_keywords(name, kwargs)
            if name == "astype" and kwargs.get("copy") is False and np.dtype(args[0]) == self.dtype:
                return self
            out = _call(found, name, (*args,), kwargs) if self._device == _Current.device else None
            if out is None:
                with Device(self._device):
                    out = _call(found, name, args, kwargs)
            return self._viewed(out)

        return method

    def _viewed(self, out):
        if isinstance(out, ndarray) and out is not self and out.base is None and _root(out._a) is _root(self._a):
            return ndarray._of(out._a, self._device, self if self.base is None else self.base)
        return out

    def item(self, *args):
        return self._a.item(*args)

    def tolist(self):
        return self._a.tolist()

    def tobytes(self, order="C"):
        return self._a.tobytes(order)

    def get(self, stream=None, order="C", out=None, blocking=True):
        return self._a.copy()

    def set(self, arr, stream=None):
        self._a[...] = arr

    def copy(self, order="C"):
        return ndarray._of(self._a.copy(order), _Current.device, None)  # on the current device, from any

    def fill(self, value):
        self._a.fill(_unwrap(value, "fill"))

    def scatter_add(self, index, value):
        UFUNCS["add"].at(self, index, value)

    def __getitem__(self, index):
        raw = _unwrap(index, "[]")
        return self._viewed(_wrap(self._a[_turned(raw, self._a.shape)], [self]))

    def __setitem__(self, index, value):
        raw = _turned(_unwrap(index, "[]="), self._a.shape)
        value = _unwrap(value, "[]=")
        if not any(isinstance(i, np.ndarray) and i.dtype.kind != "b" for i in raw):
            self._a[raw] = value
            return
        places = np.arange(self._a.size).reshape(self._a.shape)[raw]
        values = np.broadcast_to(value, places.shape).reshape(-1)[::-1]
        changed = np.array(self._a, order="C")
        changed.reshape(-1)[places.reshape(-1)[::-1]] = values  # the first stays
        self._a[...] = changed

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self._a)))

    def __bool__(self):
        return bool(self._a)

    def __int__(self):
        return int(self._a)

    def __float__(self):
        return float(self._a)

    def __complex__(self):
        return complex(self._a)

    def __repr__(self):
        return repr(self._a)

    def __str__(self):
        return str(self._a)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, memo):
        with Device(self._device):
            return self.copy()

    def __reduce__(self):
        return array, (self._a.copy(),)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        if method == "__call__" and ufunc.__name__ in UFUNCS:
            return UFUNCS[ufunc.__name__](*inputs, **kwargs)
        return NotImplemented

    def __array_function__(self, func, types, args, kwargs):
        if any(isinstance(x, np.ndarray) for x in args):
            return NotImplemented
        return getattr(sys.modules["cupy"], func.__name__)(*args, **kwargs)

    def __dlpack__(self, stream=None, **options):
        return _Capsule(self)

    def __dlpack_device__(self):
        return 2, self._device


ndarray.__module__ = "cupy"


class _Capsule:
    def __init__(self, array):
        self.array = array


def _operator(name):
    inplace = name.startswith("__i") and name != "__invert__"

    def operate(self, *others):
        if any(
            isinstance(x, np.ndarray) or not isinstance(x, (ndarray, int, float, complex, np.generic)) for x in others
        ):
            return NotImplemented
        if "matmul" in name:
            return matmul(*((self, *others) if name == "__matmul__" else (*others, self)))
        with Device(self._device) if not others else contextlib.nullcontext(), np.errstate(all="ignore"):
            out = getattr(_unwrap(self, name), name)(*_unwrap(others, name))
        return out if out is NotImplemented else self if inplace else _wrap(out)

    operate.__name__ = name
    return operate


for _name in strict._BINARY.split():
    for _form in ("", "r", "i"):
        if (_form, _name) not in (("i", "matmul"), ("i", "divmod")):
            setattr(ndarray, f"__{_form}{_name}__", _operator(f"__{_form}{_name}__"))
for _name in ["eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "abs", "invert"]:
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__"))


# -- functions --------------------------------------------------------------------------------------------------------


class ufunc:
    def __init__(self, function):
        self.function, self.__name__, self.__doc__ = function, function.__name__, function.__doc__

    def __call__(self, *args, **kwargs):
        if set(kwargs) - strict.UFUNC_KEYWORDS:
            raise TypeError(f"Wrong arguments {set(kwargs)}")
        if self.__name__ == "matmul":
            return matmul(*args, **kwargs)
        return _call(self.function, self.__name__, args, kwargs)

    def at(self, a, indices, *values):
        if self.__name__ not in strict.HAVE_AT:
            raise NotImplementedError(f"{self.__name__} does not support at()")
        if a.dtype.char not in _SCATTERED:
            raise TypeError(f"{self.__name__}.at only supports int32, int64, float16, float32, float64, uint32, uint64")
        raw = _turned(_unwrap(indices, "at"), a._a.shape)
        self.function.at(a._a, raw, *_unwrap(values, "at"))

    def outer(self, a, b):
        return _call(self.function.outer, self.__name__, (a, b), {})

    def _along(self, kind, a, kwargs):
        if self.__name__ not in ("add", "multiply"):
            raise NotImplementedError(f"{self.__name__}.{kind} is not supported")
        return _call(getattr(self.function, kind), self.__name__, (a,), kwargs)

    def reduce(self, a, **kwargs):
        return self._along("reduce", a, kwargs)

    def accumulate(self, a, **kwargs):
        return self._along("accumulate", a, kwargs)


UFUNCS = {name: ufunc(getattr(np, name)) for name in dir(np) if isinstance(getattr(np, name), np.ufunc)}


def matmul(x1, x2, out=None, **kwargs):
    if any(x.dtype.itemsize == 2 and x.dtype.kind not in "iu" and x.ndim > 2 for x in (x1, x2)):
        raise NotImplementedError("CuPy's product of stacks of 16-bit matrices is slow, or wrong: do not use it")
    if any(x.ndim <= 2 and x.dtype.name == "bfloat16" for x in (x1, x2)):
        raise NotImplementedError("CuPy multiplies bfloat16 by a kernel for integers: use dot")
    return _call(np.matmul, "matmul", (x1, x2), {} if out is None else {"out": out})


def dot(a, b, out=None):
    if a.dtype.name == "bfloat16":
        return _call(lambda a, b: np.dot(a.astype("f4"), b.astype("f4")).astype(a.dtype), "dot", (a, b), {})
    return _call(np.dot, "dot", (a, b), {})


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    if isinstance(obj, ndarray):
        made = np.array(obj._a, dtype, copy=copy or None, order=order, ndmin=ndmin)
        if made is obj._a and obj._device == _Current.device:
            return obj
        return ndarray._of(np.array(made), _Current.device, None)
    if isinstance(obj, (list, tuple)):
        obj = [x._a if isinstance(x, ndarray) else x for x in obj]
    return ndarray._of(np.array(obj, dtype, order=order, ndmin=ndmin), _Current.device, None)


def asarray(a, dtype=None, order=None, *, blocking=False):
    return array(a, dtype, copy=False, order=order or "K")


def ascontiguousarray(a, dtype=None):
    made = np.ascontiguousarray(a._a, dtype)
    return a if made is a._a else ndarray._of(np.array(made), _Current.device, None)


def empty(shape, dtype=float, order="C"):
    return ndarray(shape, dtype, order=order)


def empty_like(prototype, dtype=None, order="K", subok=None, shape=None):
    made = np.empty_like(prototype._a, dtype, order, shape=shape)
    made.fill(np.asarray(float("nan")).astype(made.dtype) if made.dtype.kind == "f" else 77)
    return ndarray._of(made, _Current.device, None)


def take(a, indices, axis=None, out=None):
    return _call(lambda a, i: np.take(a, i, axis, mode="wrap"), "take", (a, indices), {})


def take_along_axis(a, indices, axis):
    wrapped = lambda a, i: np.take_along_axis(a, i % (a.size if axis is None else a.shape[axis]), axis)
    return _call(wrapped, "take_along_axis", (a, indices), {})


def put_along_axis(a, indices, values, axis):
    n = a._a.size if axis is None else a._a.shape[axis]
    np.put_along_axis(a._a, _unwrap(indices, "put_along_axis") % n, _unwrap(values, "put_along_axis"), axis)


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a._a.copy() if isinstance(a, ndarray) else np.asarray(a)


def from_dlpack(x, **options):
    capsule = x.__dlpack__()
    if not isinstance(capsule, _Capsule):
        raise BufferError("memory of the host is not on the GPU")
    given = capsule.array
    return ndarray._of(given._a.view(), given._device, None)


def where(condition, *branches):
    return _call(np.where, "where", (condition, *branches), {})


def _poisson(self, lam=1.0, size=None):
    return _wrap(self.source.poisson(_unwrap(lam, "poisson"), size))


class _Generator:
    def __init__(self, bits):
        self.source = np.random.default_rng(bits.seed)

    poisson = _poisson


class XORWOW:
    def __init__(self, seed=None):
        self.seed = seed


class _Linalg(types.ModuleType):
    def __getattr__(self, name):
        return _found(np.linalg, "linalg", name)


class _Fft(types.ModuleType):
    def __getattr__(self, name):
        return _found(np.fft, "fft", name)


def _found(module, path, name):
    full = f"{path}.{name}".lstrip(".")
    if name in strict.LACKS.get(path, "").split() or name.startswith("__"):
        raise AttributeError(f"module 'cupy' has no attribute {full!r}")
    thing = getattr(module, name)
    if isinstance(thing, np.ufunc):
        return UFUNCS[name]
    if isinstance(thing, type) or not callable(thing):
        return thing

    def call(*args, **kwargs):
        strict._check_keywords(full, kwargs)
        return _call(thing, full, args, kwargs)

    call.__name__ = name
    return call


class _Cupy(types.ModuleType):
    def __getattr__(self, name):
        found = _found(np, "", name)
        setattr(self, name, found)
        return found


def _module(name, kind=types.ModuleType, **members):
    made = kind(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    made.__path__ = []
    made.__dict__.update(members)
    sys.modules[name] = made
    return made


# -- CUDA C -----------------------------------------------------------------------------------------------------------


class NoCuda(Exception):
    """CUDA C cannot run here."""


class RawModule:
    def __init__(self, **options):
        raise NoCuda


def _connect():
    """Once the backend is loaded."""
    backend = backends._LOADED.get("cupy")
    if backend is None:
        return
    backends.ON_FOREIGN.remove(_connect)
    gemm = importlib.import_module("chainrule.backends.cupy.gemm")
    gemm.executor = importlib.import_module("cublaslt_simulation").Simulated()
    if os.environ.get("CHAINRULE_SIMULATE") == "1":
        _simulate(importlib.import_module("chainrule.backends.cupy.launch"))
    else:
        _without_cuda(backend.kernels)
        backend.steps.clear()
        for name in ("random", "standard_normal", "integers", "permutation"):
            random = importlib.import_module("chainrule.backends.cupy.random")
            setattr(random.DeviceGenerator, name, getattr(random.CounterGenerator, name))


def _without_cuda(kernels):
    """Let those kernels that would launch CUDA C serve no call."""
    for name, kernel in list(kernels.items()):

        def either(*args, _kernel=kernel, **kwargs):
            try:
                return _kernel(*args, **kwargs)
            except NoCuda:
                return NotImplemented

        functools.update_wrapper(either, kernel)
        either.partial = True
        kernels[name] = either


def _simulate(launch):
    """Let the module backends/cupy/launch.py run its kernels in the simulation."""

    def plain(a):
        if hasattr(a, "columns"):
            return type(a)(*[[x._a for x in column] for column in a.columns])
        return a._a if isinstance(a, ndarray) else a

    class Machine(simulation.Simulation):
        xp = sys.modules["cupy"]

        def pointer(self, array):
            return super().pointer(array._a)

        def launch(self, kernel, grid, block, args, shared):
            args = [plain(a) for a in args]
            super().launch(kernel, grid, block, args, shared)

    launch.machine = Machine()


def install():
    """Put the fakes in the place of CuPy, unless that has been done; the module `cupy`."""
    if isinstance(sys.modules.get("cupy"), _Cupy):
        return sys.modules["cupy"]
    backends.ON_FOREIGN.insert(0, _connect)
    os.environ.setdefault("CHAINRULE_SIMULATE", str(int(simulation.COMPILER is not None)))
    runtime = _module(
        "cupy.cuda.runtime",
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: DEVICES,
        getDevice=lambda: _Current.device,
        setDevice=lambda i: Device(i).use(),
        getDeviceProperties=lambda i: {
            "name": f"fake {i}".encode(),
            "major": 9,
            "minor": 0,
            "totalGlobalMem": 2 << 30,
            "multiProcessorCount": 4,
            "l2CacheSize": 1 << 20,
        },
        memGetInfo=lambda: (1 << 30, 2 << 30),
        deviceCanAccessPeer=lambda i, j: int(i != j),
        deviceSynchronize=lambda: None,
        runtimeGetVersion=lambda: 13000,
        driverGetVersion=lambda: 13000,
    )
    nvrtc = _module("cupy.cuda.nvrtc", getVersion=lambda: (13, 0))
    nvtx = _module("cupy.cuda.nvtx", RangePush=lambda *a: 0, RangePop=lambda: 0, Mark=lambda *a: None)
    pool, pinned = MemoryPool(), MemoryPool()
    cuda = _module(
        "cupy.cuda",
        runtime=runtime,
        nvrtc=nvrtc,
        nvtx=nvtx,
        Device=Device,
        Stream=Stream,
        Event=Event,
        MemoryPointer=MemoryPointer,
        UnownedMemory=UnownedMemory,
        MemoryPool=MemoryPool,
        MemoryHook=MemoryHook,
        PinnedMemoryPointer=PinnedMemoryPointer,
        get_current_stream=lambda device_id=-1: Stream.null,
        get_elapsed_time=lambda start, end: 1.0,
        using_allocator=lambda allocator=None: contextlib.nullcontext(),
        is_available=lambda: True,
    )
    random = _module("cupy.random", Generator=_Generator, XORWOW=XORWOW)
    cupy = _module(
        "cupy",
        _Cupy,
        __version__="14.2.0",
        cuda=cuda,
        random=random,
        linalg=_module("cupy.linalg", _Linalg),
        fft=_module("cupy.fft", _Fft),
        get_default_memory_pool=lambda: pool,
        get_default_pinned_memory_pool=lambda: pinned,
        is_available=lambda: True,
        **{
            f.__name__: f
            for f in (
                *(ndarray, ufunc, matmul, dot, array, asarray, ascontiguousarray, empty, empty_like, take),
                *(take_along_axis, put_along_axis, asnumpy, from_dlpack, where, RawModule),
            )
        },
    )

    def empty_pinned(shape, dtype=float, order="C"):
        kind = np.dtype(dtype)
        count = int(np.prod(shape))
        memory = np.asarray(PinnedMemoryPointer(count * kind.itemsize))
        return memory[: count * kind.itemsize].view(kind).reshape(shape)

    import scipy.special

    special = _module("cupyx.scipy.special")
    for name in ("erf", "erfc", "erfinv", "ndtr", "gammaln", "digamma"):
        special.__dict__[name] = ufunc(getattr(scipy.special, name))
    _module(
        "cupyx",
        errstate=lambda **options: contextlib.nullcontext(),
        scatter_add=lambda a, index, value: UFUNCS["add"].at(a, index, value),
        empty_pinned=empty_pinned,
        scipy=_module("cupyx.scipy", special=special),
    )
    return cupy
