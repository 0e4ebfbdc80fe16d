"""Joining a world of processes, and groups of some of them."""

from __future__ import annotations

import datetime
import os
import socket
import urllib.parse
from collections.abc import Sequence
from typing import Any

from ..backends import communication
from ..backends.communication import FileStore, PrefixStore, Store, TCPStore, seconds

__all__ = [
    "Backend",
    "GroupMember",
    "ProcessGroup",
    "default_pg_timeout",
    "destroy_process_group",
    "get_backend",
    "get_global_rank",
    "get_group_rank",
    "get_node_local_rank",
    "get_process_group_ranks",
    "get_rank",
    "get_world_size",
    "group",
    "init_process_group",
    "is_available",
    "is_backend_available",
    "is_gloo_available",
    "is_initialized",
    "is_mpi_available",
    "is_nccl_available",
    "is_torchelastic_launched",
    "new_group",
    "new_subgroups",
    "new_subgroups_by_enumeration",
]

default_pg_timeout = datetime.timedelta(minutes=30)

ProcessGroup = communication.Group

#: what mpiexec of MPICH, Open MPI and others puts into the environment of the processes that it starts
_MPI_SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "PMIX_SIZE")


class Backend(str):
    """The name of a way to talk to other processes, in lower case."""

    GLOO, NCCL, MPI, UNDEFINED = "gloo", "nccl", "mpi", "undefined"

    def __new__(cls, name: str) -> Backend:
        return super().__new__(cls, name.lower())


class GroupMember:
    """What `new_group` gives to processes that are not in the group."""

    WORLD: Any = None
    NON_GROUP_MEMBER = -100


class group:
    """`group.WORLD`: the group of all processes."""

    WORLD: Any = None


def is_available() -> bool:
    """True: processes can always be joined."""
    return True


def is_initialized() -> bool:
    """True between `init_process_group` and `destroy_process_group`."""
    return communication.current() is not None


def _there(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def is_nccl_available() -> bool:
    """Whether NCCL can be had: whether CuPy is installed and finds it."""
    if not _there("cupy"):
        return False
    from ..backends.communication.nccl import available

    return available()


def is_gloo_available() -> bool:
    """True: "gloo" is our own way over TCP connections, for tensors on the CPU."""
    return True


def is_mpi_available() -> bool:
    """Whether mpi4py is installed."""
    return _there("mpi4py")


def is_backend_available(backend: str) -> bool:
    """Whether the backend of that name can be used here."""
    checks = {"gloo": is_gloo_available, "mpi": is_mpi_available, "nccl": is_nccl_available}
    return backend.lower() in checks and checks[backend.lower()]()


def is_torchelastic_launched() -> bool:
    """Whether torchrun, or `python -m chainrule.distributed.run`, started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def get_node_local_rank(fallback_rank: int | None = None) -> int:
    """The number of this process on its machine, which the launcher or mpiexec has put into the environment.

    fallback_rank: what is returned without one; RuntimeError where it is None too.
    """
    for name in ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK"):
        if name in os.environ:
            return int(os.environ[name])
    if fallback_rank is None:
        raise RuntimeError("LOCAL_RANK is not in the environment. Consider passing fallback_rank")
    return fallback_rank


# -- joining ----------------------------------------------------------------------------------------------------------


#: how many worlds this process has joined: each meets under a prefix of its own
_joined = [0]


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    timeout: Any = None,
    world_size: int = -1,
    rank: int = -1,
    store: Store | None = None,
    group_name: str = "",
    pg_options: Any = None,
    device_id: Any = None,
) -> None:
    """Join the world: all its processes call this, and it returns when they have met.

    backend: "gloo" over TCP connections; "mpi" over MPI, for programs that mpiexec starts; "nccl": tensors on GPUs go
    over NCCL, others over one of the two. None: "mpi" under mpiexec, otherwise "gloo". "cpu:gloo,cuda:nccl" works too.
    init_method: where the processes meet: "env://" (the default: MASTER_ADDR, MASTER_PORT, RANK, WORLD_SIZE of the
    environment), "tcp://host:port", "file:///path"; or a `store`, with rank and world_size. MPI needs none of it.
    timeout: of each operation, seconds or timedelta (default 30 minutes). A world of one, which is also what a program
    gets that says nothing of others, needs nothing. ValueError for a second call.
    group_name, pg_options, device_id: PyTorch's, without effect.
    """
    if is_initialized():
        raise ValueError("trying to initialize the default process group twice!")
    if store is not None and init_method is not None:
        raise ValueError("Cannot specify both init_method and store.")
    name = Backend(backend or "undefined")
    parts = dict(part.split(":", 1) for part in name.split(",")) if ":" in name else {}
    unknown = set(parts.values() or [str(name)]) - {"gloo", "mpi", "nccl", "undefined", "cpu:gloo,cuda:nccl"}
    if unknown:
        raise ValueError(f"Unknown backend type {unknown.pop()!r}; there are gloo, mpi and nccl")
    limit = seconds(default_pg_timeout if timeout is None else timeout)
    if limit <= 0:
        raise ValueError(f"timeout is more than 0, not {timeout}")
    host = parts.get("cpu", "" if name in ("nccl", "undefined") else str(name))
    if not host:  # who asks for nothing gets what the launcher offers
        told = init_method or store or "RANK" in os.environ or rank >= 0
        host = "mpi" if not told and _under_mpiexec() else "gloo"
    if host == "mpi":
        world = _join_mpi(limit, world_size, rank)
    else:
        world = _join_tcp(init_method, limit, world_size, rank, store)
    world.default.shown = Backend(host) if name == "undefined" else name
    world.default.nccl = name == "nccl" or parts.get("cuda") == "nccl" or (name == "undefined" and is_nccl_available())
    group.WORLD = GroupMember.WORLD = world.default


def _under_mpiexec() -> bool:
    return any(int(os.environ.get(name, 1)) > 1 for name in _MPI_SIZES)


def _join_mpi(limit: float, size: int, rank: int) -> Any:
    if not is_mpi_available() and not any(key in os.environ for key in _MPI_SIZES) and size in (-1, 1):
        return communication.join_alone(limit)
    world = communication.join_mpi(limit)
    if size not in (-1, world.size) or rank not in (-1, world.rank):
        communication.leave()
        raise ValueError(
            f"mpiexec made this process rank {world.rank} of {world.size}, and not {rank} of {size}; with the backend "
            "'mpi' leave rank and world_size out"
        )
    return world


def _join_tcp(method: str | None, limit: float, size: int, rank: int, store: Store | None) -> Any:
    query: dict[str, str] = {}
    where = urllib.parse.urlparse(method or "env://")
    if where.query:
        query = dict(urllib.parse.parse_qsl(where.query))
    by_env = where.scheme == "env" and store is None
    size = int(query.get("world_size", os.environ.get("WORLD_SIZE", -1) if by_env else -1)) if size < 0 else size
    rank = int(query.get("rank", os.environ.get("RANK", -1) if by_env else -1)) if rank < 0 else rank
    if by_env and size < 0 and rank < 0:
        if _under_mpiexec():  # each of its processes would train by itself
            raise ValueError(
                "mpiexec started this process with others, and 'gloo' knows nothing of them: take the backend 'mpi', "
                "or set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT"
            )
        size, rank = 1, 0  # a program that says nothing of others is alone
    if size == 1 and rank < 0:
        rank = 0
    if size < 0 or rank < 0:
        missing = "WORLD_SIZE and world_size" if size < 0 else "RANK and rank"
        raise ValueError(f"Error initializing a process group: neither of {missing} is given")
    if rank >= size:
        raise ValueError(f"rank {rank} is not in a world of {_many(size)}")
    if size == 1:
        return communication.join_alone(limit)
    _joined[0] += 1
    prefix = f"world {_joined[0]}.{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    made: TCPStore | None = None
    host, agent = "127.0.0.1", by_env and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if store is None and where.scheme == "file":
        store, host = FileStore(where.netloc + where.path, size), socket.gethostname()  # others may be elsewhere
    elif store is None:
        if where.scheme == "tcp":
            host, port = where.hostname or "", where.port or 0
        elif where.scheme == "env":
            host, port = _from_environment("MASTER_ADDR"), int(_from_environment("MASTER_PORT"))
            if agent and "CHAINRULE_STORE" not in os.environ:
                port, agent = port + 1, False  # torchrun's own store listens at the port, and speaks another language
        else:
            raise ValueError(f"No rendezvous handler for {where.scheme}://; there are env, tcp and file")
        store = made = TCPStore(host, port, size, rank == 0 and not agent, limit, wait_for_workers=False)
    else:
        base = store
        while isinstance(base, PrefixStore):
            base = base.underlying_store
        host = getattr(base, "host", host)
    store.set_timeout(limit)
    try:
        return communication.join_tcp(store, rank, size, limit, host, prefix)
    finally:
        if made is not None:
            made.close()


def _from_environment(name: str) -> str:
    if name not in os.environ:
        raise ValueError(
            "Error initializing chainrule.distributed using env:// rendezvous: environment variable "
            f"{name} expected, but not set"
        )
    return os.environ[name]


def _many(size: int) -> str:
    return "one process" if size == 1 else f"{size} processes"


def destroy_process_group(group: Any = None) -> None:
    """End a group, or with None or the group of all processes the world; ValueError where there is none."""
    joined(group).close()
    if group is None or group is globals()["group"].WORLD:
        communication.leave()
        globals()["group"].WORLD = GroupMember.WORLD = None


# -- asking -----------------------------------------------------------------------------------------------------------


def joined(group: Any = None) -> Any:
    """The group, or that of all processes; ValueError where no world was joined."""
    world = communication.current()
    if world is None:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")
    if group is None:
        return world.default
    if group is GroupMember.NON_GROUP_MEMBER:
        return None
    if not isinstance(group, communication.Group):
        raise TypeError(f"a process group is what new_group() returns, not {type(group).__name__}")
    return group


def member(group: Any) -> Any:
    """`joined`, and ValueError for a group that this process is not in."""
    found = joined(group)
    if found is None:
        raise ValueError("this process is not in the group")
    return found


def _get_default_group() -> Any:
    """The group of all processes; ValueError where no world was joined."""
    return joined()


def _rank_not_in_group(group: Any) -> bool:
    """Whether `group` is what `new_group` gives to a process outside of it."""
    return group is GroupMember.NON_GROUP_MEMBER


def get_rank(group: Any = None) -> int:
    """The place of this process in the group; -1 where it is not in it."""
    found = joined(group)
    return -1 if found is None else found.me


def get_world_size(group: Any = None) -> int:
    """How many processes are in the group; -1 where this one is not."""
    found = joined(group)
    return -1 if found is None else len(found.ranks)


def get_backend(group: Any = None) -> str:
    """The name of the backend that was asked for."""
    return str(member(group).shown)


def get_process_group_ranks(group: Any = None) -> list[int]:
    """The ranks, in the world, of a group's processes."""
    return list(member(group).ranks)


def get_global_rank(group: Any, group_rank: int) -> int:
    """The rank in the world of number `group_rank` of the group."""
    ranks = member(group).ranks
    if not 0 <= group_rank < len(ranks):
        raise ValueError(f"rank {group_rank} is not in a {_kind(ranks)} of {_many(len(ranks))}")
    return int(ranks[group_rank])


def get_group_rank(group: Any, global_rank: int) -> int:
    """The place in the group of rank `global_rank` of the world."""
    ranks = member(group).ranks
    if global_rank not in ranks:
        raise ValueError(f"Global rank {global_rank} is not part of group {list(ranks)}")
    return int(ranks.index(global_rank))


def _kind(ranks: Sequence[int]) -> str:
    world = communication.current()
    return "world" if world is not None and len(ranks) == world.size else "group"


def place(group: Any, rank: int | None, group_rank: int | None, default: int | None = 0) -> int | None:
    """The place in a group of a rank of the world, or the place itself; ValueError for one that is not in it."""
    if rank is not None and group_rank is not None:
        raise ValueError("a rank of the world and a rank of the group are given; give one of them")
    if group_rank is not None:
        if not 0 <= group_rank < len(group.ranks):
            raise ValueError(f"rank {group_rank} is not in a group of {_many(len(group.ranks))}")
        return group_rank
    if rank is None:
        return default
    if rank not in group.ranks:
        raise ValueError(f"rank {rank} is not in a {_kind(group.ranks)} of {_many(len(group.ranks))}")
    return int(group.ranks.index(rank))


# -- making -----------------------------------------------------------------------------------------------------------


def new_group(
    ranks: Any = None,
    timeout: Any = None,
    backend: Any = None,
    pg_options: Any = None,
    use_local_synchronization: bool = False,
    group_desc: str | None = None,
    device_id: Any = None,
    sort_ranks: bool = True,
) -> Any:
    """A group of some ranks (None: all). Every process of the world calls it, also those that are not to be in it.

    Those get GroupMember.NON_GROUP_MEMBER. The backend is that of the world.

    ValueError for ranks that are not in the world or come twice. sort_ranks: places in the group go by rank.
    timeout: of its operations, by default the world's; group_desc: its name in messages; pg_options,
    use_local_synchronization, device_id: PyTorch's, without effect.
    """
    default = joined()
    world = communication.current()
    assert world is not None
    chosen = list(range(world.size) if ranks is None else ranks)
    for rank in chosen:
        if not 0 <= rank < world.size:
            raise ValueError(f"rank {rank} is not in a world of {_many(world.size)}")
    if len(set(chosen)) != len(chosen):
        raise ValueError(f"a rank is in the group twice: {chosen}")
    if sort_ranks:
        chosen.sort()
    made = world.group(chosen, world.timeout if timeout is None else seconds(timeout), group_desc or "")
    if made is None:
        return GroupMember.NON_GROUP_MEMBER
    made.shown = Backend(backend) if backend else default.shown
    made.nccl = default.nccl if backend is None else "nccl" in str(backend).lower()
    return made


def new_subgroups(
    group_size: int | None = None,
    group: Any = None,
    timeout: Any = None,
    backend: Any = None,
    pg_options: Any = None,
    group_desc: str | None = None,
) -> tuple[Any, list[Any]]:
    """(the group of this process, all groups): the world cut into groups of `group_size` neighbours.

    Default: LOCAL_WORLD_SIZE of the environment, the processes of one machine. ValueError unless it divides the
    world. Options as of `new_group`.
    """
    size = get_world_size(group)
    if group_size is None:
        group_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    if group_size <= 0:
        raise ValueError(f"The arg 'group_size' ({group_size}) must be positive")
    if size < group_size or size % group_size:
        raise ValueError(f"The world size ({size}) must be divisible by 'group_size={group_size}'")
    ranks = get_process_group_ranks(group)
    cut = [ranks[i : i + group_size] for i in range(0, size, group_size)]
    return new_subgroups_by_enumeration(cut, timeout, backend, pg_options, group_desc)


def new_subgroups_by_enumeration(
    ranks_per_subgroup_list: Sequence[Sequence[int]],
    timeout: Any = None,
    backend: Any = None,
    pg_options: Any = None,
    group_desc: str | None = None,
) -> tuple[Any, list[Any]]:
    """(the group of this process, all groups), of the ranks that the lists name; options as of `new_group`.

    None where this process is in no list; ValueError without lists.
    """
    if not ranks_per_subgroup_list:
        raise ValueError("The arg 'ranks_per_subgroup_list' cannot be empty")
    mine, me, made = None, get_rank(), []
    for ranks in ranks_per_subgroup_list:
        made.append(new_group(list(ranks), timeout, backend, pg_options, group_desc=group_desc))
        if me in ranks:
            mine = made[-1]
    return mine, made
