"""Several processes: collective calls, groups, data parallelism, under PyTorch's names.

    python -m chainrule.distributed.run --nproc-per-node 2 train.py

starts a program in several processes, each of which calls `init_process_group()`.
"""

from ..backends.communication import (
    DistBackendError,
    DistError,
    DistNetworkError,
    DistStoreError,
    FileStore,
    HashStore,
    PrefixStore,
    Store,
    TCPStore,
)
from . import collectives as _collectives
from . import groups as _groups
from .collectives import *
from .groups import *

__all__ = [
    "DistBackendError",
    "DistError",
    "DistNetworkError",
    "DistStoreError",
    "FileStore",
    "HashStore",
    "PrefixStore",
    "Store",
    "TCPStore",
    *_collectives.__all__,
    *_groups.__all__,
]
