"""Communication hooks for DistributedDataParallel: how the gradients of a bucket are averaged.

`model.register_comm_hook(state, hook)`; state is a process group, or None for that of all processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..autograd import Tensor, bfloat16, float16
from ..backends.communication.futures import Future
from . import collectives
from .buckets import GradBucket
from .groups import member

__all__ = [
    "allreduce_hook",
    "bf16_compress_hook",
    "bf16_compress_wrapper",
    "fp16_compress_hook",
    "fp16_compress_wrapper",
    "noop_hook",
]


def _average(process_group: Any, tensor: Tensor) -> Future[Tensor]:
    group = member(process_group)
    tensor.div_(len(group.ranks))
    work: Any = collectives.all_reduce(tensor, group=group, async_op=True)
    return work.get_future().then(lambda done: done.value()[0])


def allreduce_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    """The average, as without a hook.

    Σ gradients / P, in the gradients' dtype.
    """
    return _average(process_group, bucket.buffer())


def _compressed(process_group: Any, bucket: GradBucket, dtype: Any) -> Future[Tensor]:
    buffer = bucket.buffer()
    narrow = buffer.to(dtype)
    return _average(process_group, narrow).then(lambda done: buffer.copy_(done.value()))


def fp16_compress_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    """The average of gradients rounded to float16: half the bytes. Gradients beyond 65504 become infinite."""
    return _compressed(process_group, bucket, float16)


def bf16_compress_hook(process_group: Any, bucket: GradBucket) -> Future[Tensor]:
    """The average of gradients rounded to bfloat16 (8 bits of precision): half the bytes, in float32's range."""
    return _compressed(process_group, bucket, bfloat16)


def _wrapped(hook: Callable[..., Any], dtype: Any) -> Callable[..., Any]:
    def wrapper(state: Any, bucket: GradBucket) -> Any:
        buffer = bucket.buffer()
        bucket.set_buffer(buffer.to(dtype))

        def widen(done: Any) -> Tensor:
            found = done.value()
            return buffer.copy_(found[0] if isinstance(found, (list, tuple)) else found)

        return hook(state, bucket).then(widen)

    return wrapper


def fp16_compress_wrapper(hook: Callable[..., Any]) -> Callable[..., Any]:
    """`hook`, on gradients rounded to float16."""
    return _wrapped(hook, float16)


def bf16_compress_wrapper(hook: Callable[..., Any]) -> Callable[..., Any]:
    """`hook`, on gradients rounded to bfloat16."""
    return _wrapped(hook, bfloat16)


def noop_hook(_: Any, bucket: GradBucket) -> Future[Tensor]:
    """No average: each process keeps its own gradients. For measuring what the averaging costs."""
    future: Future[Tensor] = Future()
    future.set_result(bucket.buffer())
    return future
