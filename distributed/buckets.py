"""Gradients in flat buckets, averaged over processes while backward still computes others.

A bucket is one flat array for some parameters of one dtype and device, in the order in which their gradients are
expected to come: at first the parameters from the last to the first, after the first step the order that was seen.
`.grad` is a view of it. When the gradients of a bucket are complete, and those of the buckets before it, its sum over
all processes begins; backward() returns when all of them are done.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

from .. import backends
from ..autograd import Tensor
from ..autograd.attributes import strided
from ..autograd.collective import Call
from ..autograd.storage import mark_written
from ..autograd.tape import when_done
from ..autograd.tensor import Node, wrap
from ..backends import np
from ..backends.communication import ReduceOp
from ..backends.recorder import recording, refused
from ..nn import Module

__all__ = ["GradBucket", "Reducer"]


class GradBucket:
    """What a communication hook gets: `buffer()` is the flat gradient of `parameters()`.

    DistributedDataParallel makes them: of a bucket, its index, and whether it is the last in this backward.
    """

    def __init__(self, bucket: _Bucket, index: int, last: bool) -> None:
        self._bucket, self._index, self._last = bucket, index, last
        self._buffer = bucket.tensor

    def index(self) -> int:
        """The place of the bucket in the order of buckets; 0 is the first to be complete."""
        return self._index

    def buffer(self) -> Tensor:
        """The gradients, one after another, as one flat tensor."""
        return self._buffer

    def set_buffer(self, buffer: Tensor) -> None:
        """Let `buffer()` be another tensor."""
        self._buffer = buffer

    def gradients(self) -> list[Tensor]:
        """The gradients as views in the shapes of the parameters."""
        return list(self._bucket.views)

    def parameters(self) -> list[Tensor]:
        """The parameters."""
        return list(self._bucket.params)

    def is_last(self) -> bool:
        """Whether no bucket follows in this backward."""
        return self._last


class _Bucket:
    def __init__(self, params: list[Tensor]) -> None:
        self.params = params
        first = params[0].array
        sizes = [p.array.size for p in params]
        self.tensor = wrap(backends.of(first).xp.zeros(sum(sizes), first.dtype), None)
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        flat = self.tensor.array
        self.views = [wrap(_view(flat[end - n : end], p.array), None) for end, n, p in zip(ends, sizes, params)]
        self.missing = set(range(len(params)))
        self.pending: Any = None


def _nothing() -> None:
    """What is left to wait for where all is done."""


def _view(flat: Any, like: Any) -> Any:
    """A flat array in the shape of a parameter, and in the order in which its elements lie in memory."""
    order = sorted(range(like.ndim), key=lambda d: -like.strides[d])
    inverse = sorted(range(like.ndim), key=lambda d: order[d])
    return flat.reshape([like.shape[d] for d in order]).transpose(inverse)


def cut(params: list[Tensor], limits: Sequence[int]) -> list[list[Tensor]]:
    """Parameters, in the order in which their gradients come, cut into buckets of about so many bytes.

    limits: of the first bucket (small, so that talking begins early), the second and so on; the last holds for others.
    """
    found: list[list[Tensor]] = []
    open_: dict[Any, tuple[list[Tensor], int]] = {}
    for p in params:
        key = (str(p.device), p.dtype)
        members, size = open_.get(key, ([], 0))
        if not members:
            found.append(members)
        members.append(p)
        size += p.array.nbytes
        open_[key] = (members, size) if size < limits[min(len(found), len(limits)) - 1] else ([], 0)
    return found


class Reducer:
    """Averages the gradients of some parameters over the processes of a group.

    names: of the parameters, for messages. `hook(state, bucket)` may take the place of the average.
    """

    def __init__(
        self,
        params: list[Tensor],
        names: list[str],
        group: Any,
        limits: Sequence[int],
        find_unused: bool,
        static: bool,
    ) -> None:
        self.params, self.names, self.group, self.limits = params, names, group, limits
        self.find_unused, self.static = find_unused or static, static
        #: with a static graph: which parameters are used by any process, known from the first step on
        self.used: Any = None
        self.index = {p: i for i, p in enumerate(params)}
        self.hook: tuple[Any, Callable[..., Any]] | None = None
        self.join: Any = None
        #: True from a forward whose gradients are to be averaged to the end of its backward
        self.armed = False
        self.rebuilt = False
        #: in what order the gradients came in the first step
        self.order: list[int] = []
        self.arrived: list[int] = []
        self.unused: list[int] = []
        self._build(params[::-1])
        me = weakref.ref(self)

        def complete(p: Tensor) -> None:
            reducer = me()
            if reducer is not None:
                reducer.take(p)

        handles = [p.register_post_accumulate_grad_hook(complete) for p in params]
        weakref.finalize(self, lambda: [handle.remove() for handle in handles])

    def _build(self, order: list[Tensor]) -> None:
        """Make the buckets for an order of the parameters; gradients that are there move into them."""
        old = {id(view) for bucket in getattr(self, "buckets", ()) for view in bucket.views}
        self.buckets = [_Bucket(params) for params in cut(order, self.limits)]
        self.place = {p: (b, i) for b in self.buckets for i, p in enumerate(b.params)}
        self.next = 0
        for bucket in self.buckets:
            for p, view in zip(bucket.params, bucket.views):
                if p._grad is not None and id(p._grad) in old:
                    view.array[...] = p._grad.array
                    p._grad = view

    # -- a step -----------------------------------------------------------------------------------------------------

    def prepare_for_backward(self, outputs: Any) -> None:
        """Average the gradients of the next backward, from `outputs` (an empty list: of all), whatever forward said."""
        self.prepare()
        used = reached(outputs) if self.find_unused and outputs else set(self.params)
        self.arm([i for i, p in enumerate(self.params) if p not in used])

    def prepare(self) -> None:
        """Before a forward: RuntimeError where the last backward left gradients out."""
        if self.armed and self.arrived:
            missing = [i for i in range(len(self.params)) if i not in set(self.arrived) | set(self.unused)]
            self.reset()
            raise RuntimeError(
                "Expected to have finished reduction in the prior iteration before starting a new one. Parameters that "
                f"got no gradient on rank {self.group.me}: {', '.join(f'{self.names[i]} (index {i})' for i in missing)}"
                ". They were not used in producing the loss, or what forward returned was not: use them, or pass "
                "find_unused_parameters=True to DistributedDataParallel"
            )
        if self.order and not self.rebuilt and not self.find_unused and self.join is None:
            self._reorder()

    def _reorder(self) -> None:
        """Put the buckets into the order in which the gradients came on the first process."""
        order = np.array(self.order, np.int64)
        self.group.broadcast(order, 0)
        self._build([self.params[i] for i in order.tolist()])
        self.rebuilt = True

    def reset(self) -> None:
        """Forget a backward that did not come to its end."""
        for bucket in self.buckets:
            if bucket.pending is not None:
                bucket.pending()
            bucket.missing, bucket.pending = set(range(len(bucket.params))), None
        self.next, self.armed, self.arrived, self.unused = 0, False, [], []

    def arm(self, unused: list[int]) -> None:
        """After a forward: gradients that come now are averaged; of `unused` parameters none will come."""
        self.reset()
        self.armed, self.unused = True, unused
        for i in unused:
            p = self.params[i]
            bucket, slot = self.place[p]
            if p._grad is not bucket.views[slot]:
                bucket.views[slot].array[...] = 0 if p._grad is None else p._grad.array
            bucket.missing.discard(slot)
        self._launch()
        if self.next == len(self.buckets):
            self.finish()

    def take(self, p: Tensor) -> None:
        """The gradient of `p` is complete: into its bucket with it."""
        bucket, slot = self.place[p]
        view, g = bucket.views[slot], p._grad
        if g is not view:
            if g.requires_grad:
                raise RuntimeError(
                    "DistributedDataParallel averages gradients of first order: backward(create_graph=True) goes "
                    "through the module itself, or under no_sync()"
                )
            if g.layout is not strided:
                raise RuntimeError(f"DistributedDataParallel takes no sparse gradient: {self.names[self.index[p]]}")
            view.array[...] = g.array
            p._grad = view
        if not self.armed:
            return
        i = self.index[p]
        if slot not in bucket.missing:
            raise RuntimeError(
                f"Expected to mark a variable ready only once: the gradient of {self.names[i]} came twice after one "
                "forward"
                + (", or the walk from forward's results did not find it and backward did" if i in self.unused else "")
            )
        self.arrived.append(i)
        bucket.missing.discard(slot)
        if not bucket.missing:
            self._launch()
            if self.next == len(self.buckets):
                when_done(self.finish)

    def _launch(self) -> None:
        """Begin with the buckets that are complete, in their order: that is the same on all processes."""
        while self.next < len(self.buckets) and not self.buckets[self.next].missing:
            self._begin(self.next)
            self.next += 1

    def _begin(self, index: int) -> None:
        bucket = self.buckets[index]
        if self.hook is not None:
            state, hook = self.hook
            given = GradBucket(bucket, index, index == len(self.buckets) - 1)
            future = hook(state, given)

            def result() -> None:
                found = future.wait()
                found = found[0] if isinstance(found, (list, tuple)) else found
                if found is not bucket.tensor:
                    bucket.tensor.array[...] = found.array.reshape(-1)

            bucket.pending = result
            return
        op = ReduceOp.AVG if self.join is None else ReduceOp.SUM
        call = Call(self.group, bucket.tensor)
        # behind the last bucket there is next to nothing left to compute: the caller's own thread is the quickest
        behind = call.on_gpu or index < len(self.buckets) - 1
        work = call.run("all_reduce", behind, call.array(bucket.tensor, True), op)
        bucket.pending = _nothing if work is None else work.wait

    def finish(self) -> None:
        """At the end of backward: all sums are there, and gradients are views of them."""
        used = self.used
        if self.find_unused and used is None:
            used = self._used_anywhere()
            if self.static:
                self.used = used
        for bucket in self.buckets:
            pending, bucket.pending = bucket.pending, None
            pending()
            if self.join is not None and self.hook is None:
                bucket.tensor.array /= self.join.divisor
            mark_written(bucket.tensor.array)
        for i in self.unused:
            if used is None or used[i]:
                p = self.params[i]
                bucket, slot = self.place[p]
                p._grad = bucket.views[slot]
        if not self.order and not self.unused:
            self.order = self.arrived
        self.reset()

    def _used_anywhere(self) -> Any:
        if recording() is not None:
            raise refused("find_unused_parameters")
        used = np.ones(len(self.params), np.int32)
        used[self.unused] = 0
        self.group.all_reduce(used)
        return used

    def shadow(self) -> None:
        """Take part in the backward of the others, with gradients of zero."""
        self.reset()
        for bucket in self.buckets:
            bucket.tensor.array[...] = 0
            bucket.missing = set()
        self._launch()
        if self.find_unused and self.used is None:
            self.group.all_reduce(np.zeros(len(self.params), np.int32))
        self.reset()


def reached(outputs: Any) -> set[Tensor]:
    """The leaves on which tensors in a tree of tuples, lists, dictionaries and objects with attributes depend."""
    found: set[Tensor] = set()
    seen: set[Any] = set()
    stack: list[Any] = [outputs]
    while stack:
        x = stack.pop()
        key = x if type(x) is Node else id(x)
        if key in seen:
            continue
        seen.add(key)
        if type(x) is Node:
            stack.extend(x.parents)
        elif isinstance(x, Tensor):
            if x.node is not None:
                stack.append(x.node)
            elif x.leaf:
                found.add(x)
        elif isinstance(x, dict):
            stack.extend(x.values())
        elif isinstance(x, (tuple, list)):
            stack.extend(x)
        elif hasattr(x, "__dict__") and not isinstance(x, (Module, type)):
            stack.extend(vars(x).values())
    return found
