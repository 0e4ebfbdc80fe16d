"""Inside the DataLoader: collating, fetching, worker processes."""

from . import collate, fetch, pin_memory, worker
from .worker import ExceptionWrapper

__all__ = ["ExceptionWrapper", "collate", "fetch", "pin_memory", "worker"]
