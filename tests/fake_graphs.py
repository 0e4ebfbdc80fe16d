"""CUDA graphs for the fake CuPy (fake_cupy.py): streams that can be captured, graphs that do again what was captured.

While a stream is captured, each operation of the fake is carried out on trial (results have shapes and dtypes) and
noted; at the end of the capture all memory from before holds what it held, as nothing is to have happened. A launch
carries the notes out again, into the arrays of the trial. What CUDA and CuPy refuse meanwhile is refused: to read on
the host, to copy from it, results whose shape depends on the data.

`CALLS` notes what was asked of streams, events and graphs, in order.
"""

import contextlib
import ctypes
import functools
import sys

import fake_cupy as fake
import numpy as np

__name__ = "cupy.fake_graphs"  # its frames in tracebacks are CuPy's

CALLS = []
_DATA_SHAPED = {"nonzero", "flatnonzero", "argwhere", "unique", "compress", "extract", "bincount"}


class _Current:
    streams = {}
    allocator = None
    busy = False


def current_stream(device_id=-1):
    return _Current.streams.get(fake._Current.device, Stream.null)


def _capture():
    """The capture that the current stream is in; None within an operation that is being noted."""
    return None if _Current.busy else current_stream().capture


def _error(text):
    error = fake.CUDARuntimeError(text)
    error.status = 900
    return error


class Capture:
    def __init__(self, mode):
        self.mode, self.log, self.before, self.made = mode, [], [], {}
        self.invalid = False

    def snapshot(self, roots):
        for root in roots:
            if id(root) not in self.made and not any(root is r for r, _ in self.before):
                self.before.append((root, root.copy()))

    def do(self, function, args, kwargs):
        roots = [fake._root(a._a) for a in (*_arrays(args), *_arrays(kwargs))]
        bound = getattr(args[0], "__self__", None) if args else None
        if isinstance(bound, np.ndarray):  # a method of an array
            roots.append(fake._root(bound))
        self.snapshot(roots)
        _Current.busy = True
        try:
            out = function(*args, **kwargs)
        finally:
            _Current.busy = False
        new = [a if not any(fake._root(a._a) is r for r in roots) else None for a in _arrays(out)]
        for a in new:
            if a is not None:
                self.made[id(fake._root(a._a))] = a
        self.log.append((function, args, kwargs, new))
        return out

    def restore(self):
        for root, values in reversed(self.before):
            root[...] = values


def _arrays(x):
    if isinstance(x, fake.ndarray):
        yield x
        return
    if isinstance(x, dict):
        x = list(x.values())
    x = getattr(x, "columns", x)  # addresses of many arrays, as one argument
    for y in x if isinstance(x, (tuple, list)) else ():
        yield from _arrays(y)


class Graph:
    def __init__(self, capture):
        self.log = capture.log

    def upload(self, stream=None):
        CALLS.append("upload")

    def launch(self, stream=None):
        CALLS.append("launch")
        stream = current_stream() if stream is None else stream
        assert stream.capture is None
        for function, args, kwargs, new in self.log:
            for old, value in zip(new, list(_arrays(function(*args, **kwargs))), strict=True):
                if old is not None:
                    old._a[...] = value._a

    def debug_dot_str(self, flags=0):
        return f"digraph {{ {'; '.join(f'n{i}' for i in range(len(self.log)))} }}"


class Stream:
    null = None
    made = 0

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=0):
        Stream.made += not null
        self.ptr, self.device_id = 0 if null else Stream.made, fake._Current.device
        self.non_blocking, self.capture, self._before, self.done = non_blocking, None, [], True

    @classmethod
    def from_external(cls, obj):
        version, made = obj.__cuda_stream__()[0], cls()
        assert version == 0
        made.ptr = obj.__cuda_stream__()[1]
        return made

    def use(self):
        _Current.streams[fake._Current.device] = self
        return self

    def __enter__(self):
        self._before.append(current_stream())
        return self.use()

    def __exit__(self, *exc):
        self._before.pop().use()

    def synchronize(self):
        if self.capture is not None:
            raise _error("cudaErrorStreamCaptureUnsupported: not permitted when stream is capturing")

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def wait_event(self, event):
        CALLS.append(f"{self.ptr} waits for {event.stream}")

    def is_capturing(self):
        return self.capture is not None

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise _error("cudaErrorStreamCaptureUnsupported: the null stream cannot be captured")
        CALLS.append(f"begin {mode}")
        self.capture = Capture(mode)

    def end_capture(self):
        CALLS.append("end")
        capture, self.capture = self.capture, None
        if capture is None:
            raise _error("cudaErrorIllegalState: the stream is not capturing")
        capture.restore()
        if capture.invalid:
            raise _error("cudaErrorStreamCaptureInvalidated: operation failed due to a previous error")
        return Graph(capture)


class Event:
    done = True
    synchronized = 0

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.ptr, self.stream = id(self), None

    def record(self, stream=None):
        self.stream = (current_stream() if stream is None else stream).ptr

    def synchronize(self):
        CALLS.append("event waited for")


class MemoryPool(fake.MemoryPool):
    pass


@contextlib.contextmanager
def using_allocator(allocator=None):
    before, _Current.allocator = _Current.allocator, allocator
    try:
        yield
    finally:
        _Current.allocator = before


def memcpy_async(target, source, size, kind, stream):
    if current_stream().capture is not None:
        raise RuntimeError("the current stream is capturing, so synchronous API calls are disallowed")
    CALLS.append(f"copy {size}")
    ctypes.memmove(target, source, size)


def _noted(function):
    @functools.wraps(function)
    def either(*args, **kwargs):
        capture = _capture()
        return function(*args, **kwargs) if capture is None else capture.do(function, args, kwargs)

    return either


def _refused(function, when=lambda *args, **kwargs: True):
    @functools.wraps(function)
    def either(*args, **kwargs):
        if _capture() is not None and when(*args, **kwargs):
            raise RuntimeError("the current stream is capturing, so synchronous API calls are disallowed")
        return function(*args, **kwargs)

    return either


def _from_host(obj, *args, **kwargs):
    return not (isinstance(obj, fake.ndarray) or (isinstance(obj, (list, tuple)) and list(fake._arrays(obj))))


def _has_mask(self, index, *value):
    items = index if isinstance(index, tuple) else (index,)
    return any(isinstance(i, fake.ndarray) and i.dtype.kind == "b" for i in items)


def install():
    """Give the fake that is installed what graphs need."""
    cupy = sys.modules["cupy"]
    if cupy.cuda.Stream is Stream:
        return
    Stream.null = Stream(null=True)
    vars(fake)["__name__"] = "cupy.fake"  # its frames, too
    fake._call = _refused(_noted(fake._call), lambda function, name, args, kwargs: name in _DATA_SHAPED)
    array = fake.ndarray
    for name in ("item", "tolist", "tobytes", "get", "set", "__bool__", "__int__", "__float__", "__complex__"):
        setattr(array, name, _refused(getattr(array, name)))
    for name in ("copy", "fill", "__getitem__", "__setitem__"):
        setattr(array, name, _noted(getattr(array, name)))
    for name in ("__getitem__", "__setitem__"):
        setattr(array, name, _refused(getattr(array, name), _has_mask))
    for name in [n for n in vars(array) if n.strip("_") in _operators()]:
        setattr(array, name, _noted(getattr(array, name)))
    fake.ufunc.at = _noted(fake.ufunc.at)
    for name in ("array", "asarray"):
        setattr(fake, name, _refused(_noted(getattr(fake, name)), _from_host))
    for name in ("ascontiguousarray", "empty", "empty_like", "put_along_axis"):
        setattr(fake, name, _noted(getattr(fake, name)))
    fake.asnumpy = _refused(fake.asnumpy)
    for name in ("array", "asarray", "ascontiguousarray", "empty", "empty_like", "put_along_axis", "asnumpy"):
        setattr(cupy, name, getattr(fake, name))
    members = {"Stream": Stream, "Event": Event, "Graph": Graph, "MemoryPool": MemoryPool,
               "get_current_stream": current_stream, "using_allocator": using_allocator,
               "get_allocator": lambda: _Current.allocator}  # fmt: skip
    for name, value in members.items():
        setattr(cupy.cuda, name, value)
    vars(cupy.cuda.runtime).update(memcpyAsync=memcpy_async, memcpyHostToDevice=1, streamCaptureModeRelaxed=2)


def note(owner, name):
    """Let a function that takes addresses be noted."""
    setattr(owner, name, _noted(getattr(owner, name)))


def _operators():
    from chainrule.backends import strict

    binary = [f"{form}{name}" for name in strict._BINARY.split() for form in ("", "r", "i")]
    return {*binary, *["eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "abs", "invert"]}
