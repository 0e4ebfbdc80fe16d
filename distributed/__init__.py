"""Several processes: collective calls, groups, data parallelism, under PyTorch's names.

    python -m chainrule.distributed.run --nproc-per-node 2 train.py

starts a program in several processes, each of which calls `init_process_group()`.

The collective calls are those of the MPI Forum, "MPI: a message-passing interface standard", 2021, chapter 6. All
processes of a group make the same calls in the same order, with tensors of one shape and dtype. P is the number of the
group's processes, tᵢ the tensor of number i. group: None for all processes. async_op: return a Work at once, whose
`wait()` ends the call; otherwise None is returned when it is done. Ranks (src, dst) are those of the world, group_src
and group_dst places in the group. A process outside of the group gets None and does nothing. ValueError for shapes,
dtypes or ranks that do not fit and where no group was joined; DistBackendError where a process was lost, or none
answered within the group's timeout.
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
from .groups import _get_default_group, _rank_not_in_group

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
