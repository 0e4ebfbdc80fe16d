"""CUDA graphs by PyTorch's names: what a block gives the GPU is captured once, and replayed on the same memory.

`chainrule.capture` records and replays a whole step by itself; these are its parts, for programs that hold their
static tensors themselves. Numbers drawn within a graph are others at each replay, as in PyTorch.

    g = chainrule.cuda.CUDAGraph()
    with chainrule.cuda.graph(g):
        static_output = model(static_input)
    static_input.copy_(batch)
    g.replay()
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ...autograd import Tensor, grad
from ...autograd.function import Function
from ...autograd.tracking import Tensors, properties
from .devices import CUDA, need, synchronize
from .memory import empty_cache
from .streams import Stream, StreamContext, current_stream

__all__ = ["CUDAGraph", "graph", "graph_pool_handle", "make_graphed_callables"]

_MODES = ("global", "thread_local", "relaxed")


def graph_pool_handle() -> Any:
    """Memory for graphs to share, which are then replayed in the order of their captures: for `graph(pool=...)`."""
    need()
    return CUDA.backend.streams.pool()


class CUDAGraph:
    """A captured piece of a GPU's work, which `replay` does again on the memory that it was captured with.

    Tensors that it reads or leaves must be kept, and changed in place. A tensor of the CPU may not be used within.
    keep_graph: PyTorch's, without effect.
    """

    def __init__(self, keep_graph: bool = False) -> None:
        self._recorder: Any = None
        self._session: Any = None

    def capture_begin(self, pool: Any = None, capture_error_mode: str = "global") -> None:
        """Capture what the current stream, which may not be the default one, is given from now on.

        capture_error_mode: taken for PyTorch's sake. Nothing that other threads do disturbs a capture, or is refused:
        memory is taken while it goes on.
        """
        if self._recorder is not None or self._session is not None:
            raise RuntimeError(
                "This CUDAGraph instance already owns a captured graph. To capture a new graph, create a new instance."
            )
        if capture_error_mode not in _MODES:
            raise RuntimeError(
                f"Unknown capture error mode. Expected one of {', '.join(_MODES)}, got {capture_error_mode}"
            )
        stream = current_stream()
        if not stream.cuda_stream:
            raise RuntimeError(
                "CUDA graphs must be captured on a non-default stream. (However, after capture, it's ok to replay them "
                "on the default stream.)"
            )
        self._session = self._capturing(pool, stream.handle)
        self._session.__enter__()

    @contextlib.contextmanager
    def _capturing(self, pool: Any, stream: Any) -> Iterator[None]:
        recorder = CUDA.backend.recorder(pool)
        tensors = recorder.tensors = Tensors(recorder)
        with properties():
            try:
                with recorder.session(stream):
                    yield
                    tensors.write_back()
            except BaseException:
                tensors.restore()
                raise
            tensors.settle()
        self._recorder = recorder

    def capture_end(self) -> None:
        """End the capture."""
        self._end(None, None, None)

    def _end(self, *error: Any) -> bool:
        if self._session is None:
            raise RuntimeError("capture_end() without capture_begin()")
        session, self._session = self._session, None
        return bool(session.__exit__(*error))

    def instantiate(self) -> None:
        """Nothing: `capture_end` has done it."""
        self._captured()

    def _captured(self) -> Any:
        if self._recorder is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        return self._recorder

    def replay(self) -> None:
        """Do the captured work again, on the current stream."""
        self._captured().replay(())

    def reset(self) -> None:
        """Forget what was captured."""
        if self._recorder is not None:
            self._recorder.graph.reset()
            self._recorder = None

    def pool(self) -> Any:
        """The memory of this graph, for another one to share: `graph(pool=...)`."""
        return self._captured().graph.pool

    def enable_debug_mode(self) -> None:
        """Nothing: `debug_dump` can always be called."""

    def debug_dump(self, debug_path: str) -> None:
        """Write the nodes of the graph to a file, in the language of Graphviz."""
        with open(debug_path, "w", encoding="utf-8") as file:
            file.write(self._captured().graph.dot())


class graph:
    """`with cuda.graph(g):` the block's work becomes the graph `g`, and is not carried out.

    cuda_graph: `g`, a `CUDAGraph`. stream: the one to capture; by default a stream for captures alone. pool: memory
    that graphs share, from `graph_pool_handle()` or `CUDAGraph.pool()`. capture_error_mode: see
    `CUDAGraph.capture_begin`.
    """

    default_capture_stream: Any = None

    def __init__(
        self, cuda_graph: CUDAGraph, pool: Any = None, stream: Any = None, capture_error_mode: str = "global"
    ) -> None:
        if stream is None:
            if type(self).default_capture_stream is None:
                type(self).default_capture_stream = Stream()
            stream = type(self).default_capture_stream
        self.cuda_graph, self.pool, self.capture_stream = cuda_graph, pool, stream
        self.capture_error_mode = capture_error_mode
        self._context = StreamContext(stream)

    def __enter__(self) -> None:
        synchronize()
        empty_cache()
        self._context.__enter__()
        try:
            self.cuda_graph.capture_begin(self.pool, self.capture_error_mode)
        except BaseException:
            self._context.__exit__()
            raise

    def __exit__(self, *error: Any) -> bool:
        try:
            return self.cuda_graph._end(*error)
        finally:
            self._context.__exit__()


# -- callables --------------------------------------------------------------------------------------------------------


def make_graphed_callables(
    callables: Any,
    sample_args: Any,
    num_warmup_iters: int = 3,
    allow_unused_input: bool = False,
    pool: Any = None,
) -> Any:
    """Functions or modules whose forward and backward are a CUDA graph each, for use in an otherwise eager step.

    sample_args: for each callable its arguments, tensors on the GPU with the shapes, dtypes and `requires_grad` of
    the later ones. Several callables share memory: their calls come in the order given, and backward in the reverse
    one. Results are overwritten by the next call. A module is changed: its `forward` replays in the mode (training
    or not) that it is in now, and is the former one in the other. num_warmup_iters: calls before the capture.
    allow_unused_input: arguments whose gradient is None are no error. pool: as of `graph`.
    """
    single = not isinstance(callables, tuple)
    if single:
        callables, sample_args = (callables,), (sample_args,)
    for one, args in zip(callables, sample_args, strict=True):
        if not all(isinstance(x, Tensor) for x in args):
            raise TypeError("In the beta API, sample_args for each callable must be a tuple of tensors")
        if hasattr(one, "_backward_hooks") and (one._backward_hooks or one._forward_hooks or one._forward_pre_hooks):
            raise RuntimeError("Modules must not have hooks registered at the time they are passed.")
    pool = graph_pool_handle() if pool is None else pool
    made = [_Callable(one, args) for one, args in zip(callables, sample_args, strict=True)]
    with StreamContext(Stream()):
        for one in made:
            for _ in range(num_warmup_iters):
                one.run(allow_unused_input)
    synchronize()
    for one in made:
        one.capture_forward(pool)
    for one in reversed(made):
        one.capture_backward(pool, allow_unused_input)
    found = tuple([one.result() for one in made])
    return found[0] if single else found


class _Callable:
    """A function or module with the graphs of its forward and backward, and the tensors that these work on."""

    def __init__(self, function: Any, args: Any) -> None:
        self.function = function
        parameters = list(function.parameters()) if hasattr(function, "parameters") else []
        self.inputs = [x.detach().clone().requires_grad_(x.requires_grad) for x in args]
        self.all = [*self.inputs, *parameters]
        self.wanted = [x for x in self.all if x.requires_grad]
        self.single = False

    def outputs_of(self) -> list[Any]:
        out = self.function(*self.inputs)
        self.single = isinstance(out, Tensor)
        return [out] if self.single else list(out)

    def run(self, allow_unused: bool) -> None:
        outputs = [o for o in self.outputs_of() if o.requires_grad]
        if outputs and self.wanted:
            grad(outputs, self.wanted, [o.detach() * 0 + 1 for o in outputs], allow_unused=allow_unused)

    def capture_forward(self, pool: Any) -> None:
        self.forward, self.outputs = _captured(pool, self.outputs_of)

    def capture_backward(self, pool: Any, allow_unused: bool) -> None:
        """The graph of the outputs, recorded while the forward was captured, is walked once, and then done with."""
        self.live = [i for i, o in enumerate(self.outputs) if o.requires_grad]
        self.given = [self.outputs[i].detach().clone() for i in self.live]
        self.backward: Any = None
        self.grads: list[Any] = [None] * len(self.all)
        if self.live and self.wanted:
            outputs = [self.outputs[i] for i in self.live]
            self.backward, found = _captured(
                pool, lambda: list(grad(outputs, self.wanted, self.given, allow_unused=allow_unused))
            )
            each = iter(found)
            self.grads = [next(each) if x.requires_grad else None for x in self.all]
        self.outputs = [o.detach() for o in self.outputs]

    def result(self) -> Any:
        """What is called in place of the function."""
        graphed = self._graphed()
        module = self.function
        if not hasattr(module, "parameters"):
            return graphed
        eager, training = module.forward, module.training

        def forward(*args: Any) -> Any:
            return graphed(*args) if module.training == training else eager(*args)

        module.forward = forward
        return module

    def _graphed(self) -> Callable[..., Any]:
        this = self

        class Graphed(Function):
            """A replay of the forward, and one of the backward."""

            @staticmethod
            def forward(ctx: Any, *args: Any) -> Any:
                for static, x in zip(this.inputs, args):
                    if static.data_ptr() != x.data_ptr():
                        static.detach().copy_(x.detach())
                this.forward.replay(())
                outputs = [o.detach() for o in this.outputs]
                dead = [o for i, o in enumerate(outputs) if i not in this.live]
                ctx.mark_non_differentiable(*dead)
                return outputs[0] if this.single else tuple(outputs)

            @staticmethod
            def backward(ctx: Any, *grads: Any) -> Any:
                for static, i in zip(this.given, this.live):
                    if grads[i] is None:
                        static.zero_()
                    else:
                        static.copy_(grads[i])
                if this.backward is not None:
                    this.backward.replay(())
                return tuple([None if g is None else g.detach() for g in this.grads])

        def call(*args: Any) -> Any:
            return Graphed.apply(*args, *this.all[len(this.inputs) :])

        return call


def _captured(pool: Any, work: Callable[[], Any]) -> tuple[Any, Any]:
    """(a recorder that replays `work`, its result): tensors keep their graph, unlike those of `CUDAGraph`."""
    recorder = CUDA.backend.recorder(pool)
    recorder.tensors = Tensors(recorder)
    recorder.tensors.since = 0  # the backward walks into the graph that was recorded while the forward was captured
    with recorder.session():
        result = work()
    return recorder, result
