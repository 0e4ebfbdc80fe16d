"""Plans: graphs made ready for one device. They are looked up in memory, then on disk, and else built.

Building asks the library's heuristics, and compiles at run time what it fuses (up to seconds); loading a plan from disk
takes milliseconds. A file holds the whole key besides the plan, and the hash of both, so that neither a collision nor
half a file is ever taken for a plan; another version of cuDNN or another device is another key. What is not supported
is remembered for the life of the process.

Where `benchmark` is set, a new plan is found by running several and taking the quickest, which is kept like any other.
The workspace of plans grows and is never given back, one for each device and stream. Within a capture it is an array of
the capture's memory instead: what a CUDA graph uses must not be freed when a later plan needs more.

It has not run on a GPU yet.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

from .. import cudnn as settings
from .graphs import Description, build

__all__ = ["Plan", "Runtime", "direct", "folder", "runtime", "serve"]

#: of what a plan may take as workspace, in bytes
LIMIT = 4 << 30
#: changes where the same description would make another graph
FORM = 1


class Plan:
    """A graph that can be run: the frontend's object, its workspace in bytes, and the uids of its tensors."""

    __slots__ = ("graph", "uids", "workspace")

    def __init__(self, graph: Any, workspace: int, count: int) -> None:
        self.graph, self.workspace, self.uids = graph, workspace, tuple(range(1, count + 1))


class Runtime:
    """cuDNN on the arrays of one array library.

    cudnn: the frontend. arrays: what is to be known of the array library, with
        xp                              its namespace
        pointer(array) -> int           the address of the first element
        empty(shape, dtype, last)       a new array, channels last in memory where `last`
        device() -> str                 name and number of the current device
        stream() -> int                 the current stream
        capturing() -> bool             whether the stream is being captured
        timed(call) -> float            how long the device takes for what the call starts
    """

    def __init__(self, cudnn: Any, arrays: Any) -> None:
        self.cudnn, self.arrays = cudnn, arrays
        self.xp, self.pointer, self.empty = arrays.xp, arrays.pointer, arrays.empty
        self.plans: dict[Hashable, Any] = {}
        self._local = threading.local()
        self._lock = threading.RLock()
        self._numbers: dict[float, Any] = {}
        self._constants: dict[Any, Any] = {}
        self._workspaces: dict[Any, Any] = {}

    # -- running --------------------------------------------------------------------------------------------------

    def handle(self) -> Any:
        """This thread's handle for the current device, on the current stream."""
        handles = self._local.__dict__.setdefault("handles", {})
        device = self.arrays.device()
        if device not in handles:
            handles[device] = self.cudnn.create_handle()
        handle = handles[device]
        self.cudnn.set_stream(handle=handle, stream=self.arrays.stream())
        return handle

    def run(self, plan: Plan, *operands: Any) -> None:
        """Run `plan` on arrays, and floats for numbers on the host, in the order of its description's tensors."""
        scratch = self.workspace(plan.workspace)
        address = None if scratch is None else self.pointer(scratch)
        plan.graph.execute(self._pack(plan, operands), address, handle=self.handle())

    def _pack(self, plan: Plan, operands: Any) -> dict[int, int]:
        return {
            uid: self.number(x) if type(x) is float else self.pointer(x)
            for uid, x in zip(plan.uids, operands, strict=True)
        }

    def number(self, value: float) -> int:
        """The address of a float32 on the host, which stays there."""
        kept = self._numbers.get(value)
        if kept is None:
            kept = self._numbers[value] = ctypes.c_float(value)
        return ctypes.addressof(kept)

    def constant(self, value: float, shape: Any, dtype: Any = "float32") -> Any:
        """An array on the device filled with `value`, which is not to be changed. Not one for each call."""
        key = (self.arrays.device(), value, shape, dtype)
        kept = self._constants.get(key)
        if kept is None:
            kept = self.xp.full(shape, value, dtype)
            if not self.arrays.capturing():  # the memory of a capture is the captured graph's
                self._constants[key] = kept
        return kept

    def workspace(self, size: int) -> Any:
        """`size` bytes for the kernels started next on this stream; None for none."""
        if not size:
            return None
        if self.arrays.capturing():
            return self.xp.empty(size, "uint8")
        key = (self.arrays.device(), self.arrays.stream())
        kept = self._workspaces.get(key)
        if kept is None or kept.nbytes < size:
            kept = self._workspaces[key] = self.xp.empty(size, "uint8")
        return kept

    # -- finding --------------------------------------------------------------------------------------------------

    def plan(self, key: Hashable, describe: Callable[[], Description], *operands: Any) -> Plan | None:
        """The plan kept under `key` and the settings, or that of `describe()`; None where cuDNN does not support it.

        operands: what it will be run with first, for the settings that try plans out.
        """
        key = (key, settings.allow_tf32, settings.deterministic, settings.benchmark, self.arrays.device())
        try:
            return self.plans[key]
        except KeyError:
            pass
        with self._lock:
            if key not in self.plans:
                self.plans[key] = self._find(describe(), operands)
            return self.plans[key]

    def _find(self, description: Description, operands: Any) -> Plan | None:
        count = len(description.slots)
        tuning = settings.benchmark and bool(operands) and not self.arrays.capturing()
        text = self._text(description)
        kept = _read(text)
        if kept is not None:
            workspace, blob = kept
            with contextlib.suppress(Exception):  # whatever is wrong with a kept plan, it can be built anew
                return Plan(self._loaded(blob), workspace, count)
        try:
            if tuning:
                graph = self._quickest(description, operands)
            else:
                graph = planned(self.cudnn, description, **self.where())
            plan = Plan(graph, graph.get_workspace_size(), count)
        except self.cudnn.cudnnGraphNotSupportedError:
            return None
        if tuning or not settings.benchmark:
            _write(text, plan.workspace, bytes(plan.graph.serialize()))
        return plan

    def _text(self, description: Description) -> str:
        """Everything that decides what a plan is, as the key of its file."""
        flags = (settings.allow_tf32, settings.deterministic, settings.benchmark and settings.benchmark_limit)
        versions = (FORM, self.cudnn.__version__, self.cudnn.backend_version())
        return repr((versions, self.arrays.device().partition("#")[0], flags, tuple(description)))

    def where(self) -> dict[str, Any]:
        """What plans are built for, as the frontend wants it."""
        return {"handle": self.handle()}

    def _loaded(self, blob: bytes) -> Any:
        graph = self.cudnn.pygraph(**self.where())
        graph.deserialize(self.handle(), list(blob))
        return graph

    def _quickest(self, description: Description, operands: Any) -> Any:
        """A graph of that plan, of the first `benchmark_limit` that run, which takes the least time for `operands`."""
        graph, handle = ranked(self.cudnn, description, **self.where()), self.handle()
        pack = self._pack(Plan(graph, 0, len(operands)), operands)
        times: list[tuple[float, int]] = []
        for i in range(graph.get_execution_plan_count()):
            if settings.benchmark_limit and len(times) == settings.benchmark_limit:
                break
            with contextlib.suppress(Exception):  # a plan that cannot be built, or does not run, is no candidate
                graph.build_plan_at_index(i)
                scratch = self.workspace(graph.get_workspace_size_plan_at_index(i))
                address = None if scratch is None else self.pointer(scratch)

                def once(i: int = i, address: int | None = address) -> None:
                    graph.execute_plan_at_index(pack, address, index=i, handle=handle)

                once()
                times.append((min(self.arrays.timed(once) for _ in range(3)), i))
        if not times:
            return planned(self.cudnn, description, **self.where())
        graph.build_plan_at_index(min(times)[1])  # which selects it, to run and to serialise
        return graph


def ranked(cudnn: Any, description: Description, **where: Any) -> Any:
    """The graph of `description` with a list of plans, none of them built; `where` as for `graphs.build`.

    cudnnGraphNotSupportedError where there is none that the settings allow.
    """
    graph = build(cudnn, description, **where)
    graph.validate()
    graph.build_operation_graph()
    graph.create_execution_plans([cudnn.heur_mode.A, cudnn.heur_mode.FALLBACK])
    notes = cudnn.numerical_note
    barred = [notes.DOWN_CONVERT_INPUTS]  # float32 stays wider than 16 bits
    if not settings.allow_tf32 and not any(s.dtype in ("float16", "bfloat16") for _, s in description.slots):
        barred.append(notes.TENSOR_CORE)
    if settings.deterministic:
        barred.append(notes.NONDETERMINISTIC)
    graph.deselect_numeric_notes(barred)
    graph.deselect_workspace_greater_than(LIMIT)
    graph.check_support()
    return graph


def planned(cudnn: Any, description: Description, **where: Any) -> Any:
    """The graph of `description` with the plan that the heuristics take for the best; otherwise as `ranked`."""
    graph = ranked(cudnn, description, **where)
    graph.build_plans(cudnn.build_plan_policy.HEURISTICS_CHOICE)
    if getattr(graph, "selected_engine", None) is not None:
        raise cudnn.cudnnGraphNotSupportedError("served by an engine written in Python alone")
    return graph


# -- the one in use ---------------------------------------------------------------------------------------------------

_PROVIDERS: list[tuple[Callable[[], Runtime | None], Callable[[], tuple[Any, Any]]]] = []


def serve(provider: Callable[[], Runtime | None], interface: Callable[[], tuple[Any, Any]]) -> None:
    """Let kernels compute by what these give from now on; they are asked at each call.

    provider: what graphs are planned and run by. interface: the library itself (None: there is none) and the array
    library, as `Runtime` wants it.
    """
    _PROVIDERS[:] = [(provider, interface)]


def runtime() -> Runtime | None:
    """What graphs are computed by; None where cuDNN is not to be had, or is switched off."""
    return _PROVIDERS[0][0]() if _PROVIDERS and settings.enabled else None


def direct() -> tuple[Any, Any]:
    """The library itself and the array library; (None, None) where cuDNN is not to be had, or is switched off."""
    return _PROVIDERS[0][1]() if _PROVIDERS and settings.enabled else (None, None)


# -- on disk ----------------------------------------------------------------------------------------------------------


def folder() -> Path | None:
    """Where plans are kept: beside compiled kernels; None where no folder of the user's own can be written."""
    from ..compiled.build import cache_folder

    found = cache_folder()
    return None if found is None else found / "cudnn"


def _file(text: str) -> Path | None:
    found = folder()
    return None if found is None else found / f"{hashlib.sha256(text.encode()).hexdigest()[:40]}.plan"


def _read(text: str) -> tuple[int, bytes] | None:
    """(workspace, plan) of the file of this key; None where there is none that is whole."""
    file = _file(text)
    if file is None:
        return None
    try:
        content = file.read_bytes()
    except OSError:
        return None
    head = text.encode() + b"\n"
    digest, body = content[:32], content[32:]
    if hashlib.sha256(body).digest() != digest or not body.startswith(head):
        return None
    rest = body[len(head) :]
    return int.from_bytes(rest[:8], "little"), rest[8:]


def _write(text: str, workspace: int, blob: bytes) -> None:
    """Keep a plan; another process sees all of the file or nothing. A full or read-only disk does no harm."""
    file = _file(text)
    if file is None:
        return
    body = text.encode() + b"\n" + workspace.to_bytes(8, "little") + blob
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, suffix=".new")
        try:
            with os.fdopen(handle, "wb") as target:
                target.write(hashlib.sha256(body).digest() + body)
            os.replace(name, file)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
