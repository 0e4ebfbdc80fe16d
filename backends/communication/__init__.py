"""How processes talk to one another: stores to meet at, groups over TCP, MPI and NCCL. Arrays in, arrays out."""

from .base import (
    DistBackendError,
    DistError,
    DistNetworkError,
    DistStoreError,
    Group,
    PeerError,
    ReduceOp,
    Work,
)
from .store import FileStore, HashStore, PrefixStore, Store, TCPStore, seconds
from .world import Alone, World, current, fail, join_alone, join_mpi, join_tcp, leave

__all__ = [
    "Alone",
    "DistBackendError",
    "DistError",
    "DistNetworkError",
    "DistStoreError",
    "FileStore",
    "Group",
    "HashStore",
    "PeerError",
    "PrefixStore",
    "ReduceOp",
    "Store",
    "TCPStore",
    "Work",
    "World",
    "current",
    "fail",
    "join_alone",
    "join_mpi",
    "join_tcp",
    "leave",
    "seconds",
]
