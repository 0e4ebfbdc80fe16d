"""`chainrule.distributed`: a group of one process. Collective calls are what they are in a world of one.

`init_process_group` takes PyTorch's arguments and environment; a world of more processes is refused with an error that
says so. Turned down: names that only fail, because single-process runs of distributed programs are common.
"""

from __future__ import annotations

import datetime
import enum
import os
from typing import Any

from ..autograd import Tensor

__all__ = [
    "Backend",
    "ReduceOp",
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "default_pg_timeout",
    "destroy_process_group",
    "gather",
    "gather_object",
    "get_backend",
    "get_global_rank",
    "get_process_group_ranks",
    "get_rank",
    "get_world_size",
    "group",
    "init_process_group",
    "irecv",
    "is_available",
    "is_gloo_available",
    "is_initialized",
    "is_mpi_available",
    "is_nccl_available",
    "is_torchelastic_launched",
    "isend",
    "monitored_barrier",
    "new_group",
    "recv",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter",
    "scatter_object_list",
    "send",
]

default_pg_timeout = datetime.timedelta(minutes=30)


class ReduceOp(enum.Enum):
    """How the tensors of a group are combined; all the same in a world of one."""

    SUM = "sum"
    AVG = "avg"
    PRODUCT = "product"
    MIN = "min"
    MAX = "max"
    BAND = "band"
    BOR = "bor"
    BXOR = "bxor"


class Backend(str):
    """The name of a way to talk to other processes, in lower case."""

    GLOO, NCCL, MPI, UNDEFINED = "gloo", "nccl", "mpi", "undefined"

    def __new__(cls, name: str) -> Backend:
        return super().__new__(cls, name.lower())


class ProcessGroup:
    """The group of this process."""

    def __init__(self, backend: str) -> None:
        self.backend = backend

    def rank(self) -> int:
        """0."""
        return 0

    def size(self) -> int:
        """1."""
        return 1


class group:
    """`group.WORLD`: the group of all processes."""

    WORLD: ProcessGroup | None = None


class _Work:
    """What `async_op=True` returns: work that is done."""

    def wait(self, timeout: Any = None) -> bool:
        """True."""
        return True

    def is_completed(self) -> bool:
        """True."""
        return True


def is_available() -> bool:
    """True: groups of one process can be made."""
    return True


def is_initialized() -> bool:
    """True between `init_process_group` and `destroy_process_group`."""
    return group.WORLD is not None


def is_nccl_available() -> bool:
    """False."""
    return False


def is_gloo_available() -> bool:
    """False: there is no way to talk to other processes."""
    return False


def is_mpi_available() -> bool:
    """False."""
    return False


def is_torchelastic_launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: Any = None,
    world_size: int = -1,
    rank: int = -1,
    store: Any = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """Make the group of this one process. Any backend's name is taken.

    Rank and world size are the arguments', or else of the environment's RANK and WORLD_SIZE, or else 0 and 1.
    NotImplementedError for a world of more processes, ValueError for a second call.
    """
    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    size = int(os.environ.get("WORLD_SIZE", 1)) if world_size < 0 else world_size
    place = int(os.environ.get("RANK", 0)) if rank < 0 else rank
    if size != 1:
        raise NotImplementedError(
            f"chainrule trains in one process: a world of {size} cannot be made; start the program with WORLD_SIZE=1"
        )
    if place != 0:
        raise ValueError(f"rank {place} is not in a world of one process")
    group.WORLD = ProcessGroup(Backend(backend or "undefined"))


def destroy_process_group(group: Any = None) -> None:
    """End the group; ValueError where there is none."""
    _joined()
    globals()["group"].WORLD = None


def _joined() -> ProcessGroup:
    if group.WORLD is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    return group.WORLD


def _only(rank: int | None) -> None:
    _joined()
    if rank not in (0, None):
        raise ValueError(f"rank {rank} is not in a world of one process")


def get_rank(group: Any = None) -> int:
    """0."""
    _joined()
    return 0


def get_world_size(group: Any = None) -> int:
    """1."""
    _joined()
    return 1


def get_backend(group: Any = None) -> str:
    """The backend that was named."""
    return _joined().backend


def get_global_rank(group: Any, group_rank: int) -> int:
    """0, of rank 0."""
    _only(group_rank)
    return 0


def get_process_group_ranks(group: Any = None) -> list[int]:
    """[0]."""
    _joined()
    return [0]


def new_group(ranks: Any = None, timeout: Any = None, backend: Any = None, **options: Any) -> ProcessGroup:
    """Another group of this process."""
    for rank in ranks or [0]:
        _only(rank)
    return ProcessGroup(backend or _joined().backend)


def barrier(group: Any = None, async_op: bool = False, device_ids: Any = None) -> Any:
    """Wait for all: they are here."""
    _joined()
    return _Work() if async_op else None


def monitored_barrier(group: Any = None, timeout: Any = None, wait_all_ranks: bool = False) -> None:
    """`barrier`."""
    _joined()


def _done(async_op: bool) -> Any:
    _joined()
    return _Work() if async_op else None


def all_reduce(tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False) -> Any:
    """Combine the tensors of all processes, in place: of one process, it stays as it is."""
    return _done(async_op)


def reduce(
    tensor: Tensor,
    dst: int | None = None,
    op: Any = ReduceOp.SUM,
    group: Any = None,
    async_op: bool = False,
    group_dst: int | None = None,
) -> Any:
    """Combine the tensors of all processes in that of rank `dst`: it stays as it is."""
    _only(dst)
    return _done(async_op)


def broadcast(
    tensor: Tensor, src: int | None = None, group: Any = None, async_op: bool = False, group_src: int | None = None
) -> Any:
    """Copy the tensor of rank `src` to all processes: they have it."""
    _only(src)
    return _done(async_op)


def _write(target: Tensor, source: Tensor) -> None:
    target.detach().copy_(source.detach())


def all_gather(tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False) -> Any:
    """Write the tensors of all processes into a list of tensors: one."""
    _one(tensor_list)
    _write(tensor_list[0], tensor)
    return _done(async_op)


def _one(things: Any) -> None:
    _joined()
    if len(things) != 1:
        raise ValueError(f"a world of one process has one of each, not {len(things)}")


def all_gather_into_tensor(output: Tensor, input: Tensor, group: Any = None, async_op: bool = False) -> Any:
    """Write the tensors of all processes into one."""
    _write(output, input.reshape(output.shape))
    return _done(async_op)


def gather(
    tensor: Tensor, gather_list: Any = None, dst: int | None = None, group: Any = None, async_op: bool = False
) -> Any:
    """Write the tensors of all processes into a list of rank `dst`."""
    _only(dst)
    return all_gather(gather_list, tensor, group, async_op)


def scatter(
    tensor: Tensor, scatter_list: Any = None, src: int | None = None, group: Any = None, async_op: bool = False
) -> Any:
    """Take this process's tensor from a list of rank `src`."""
    _only(src)
    _one(scatter_list)
    _write(tensor, scatter_list[0])
    return _done(async_op)


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Combine lists of tensors, and take this process's."""
    _one(input_list)
    _write(output, input_list[0])
    return _done(async_op)


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Combine tensors, and take this process's part."""
    return all_gather_into_tensor(output, input, group, async_op)


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Any = None, async_op: bool = False
) -> Any:
    """Send a tensor to each process, and receive one from each."""
    _one(output_tensor_list)
    return reduce_scatter(output_tensor_list[0], input_tensor_list, group=group, async_op=async_op)


def all_to_all_single(
    output: Tensor,
    input: Tensor,
    output_split_sizes: Any = None,
    input_split_sizes: Any = None,
    group: Any = None,
    async_op: bool = False,
) -> Any:
    """Send a part of a tensor to each process."""
    return all_gather_into_tensor(output, input, group, async_op)


def all_gather_object(object_list: list[Any], obj: Any, group: Any = None) -> None:
    """Write the objects of all processes into a list: one."""
    _one(object_list)
    object_list[0] = obj


def gather_object(obj: Any, object_gather_list: Any = None, dst: int | None = None, group: Any = None) -> None:
    """Write the objects of all processes into a list of rank `dst`."""
    _only(dst)
    all_gather_object(object_gather_list, obj)


def broadcast_object_list(
    object_list: list[Any], src: int | None = None, group: Any = None, device: Any = None
) -> None:
    """Copy the objects of rank `src` to all processes: they have them."""
    _only(src)


def scatter_object_list(output: list[Any], input_list: Any = None, src: int | None = None, group: Any = None) -> None:
    """Take this process's object from a list of rank `src`."""
    _only(src)
    _one(input_list)
    output[0] = input_list[0]


def send(tensor: Tensor, dst: int | None = None, group: Any = None, tag: int = 0) -> None:
    """ValueError: there is no other process."""
    _joined()
    raise ValueError("a world of one process has nobody to send to or to receive from")


recv = isend = irecv = send
