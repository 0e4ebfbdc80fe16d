"""Data sets, samplers and the DataLoader, as in torch.utils.data; `datasets` and `transforms` as in torchvision."""

import importlib as _importlib

from .dataloader import DataLoader, WorkerInfo, _DatasetKind, default_collate, default_convert, get_worker_info
from .dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    random_split,
)
from .distributed import DistributedSampler
from .sampler import (
    BatchSampler,
    ClassBalancedSampler,
    OverSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
    UnderSampler,
    WeightedRandomSampler,
)

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ClassBalancedSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "IterableDataset",
    "OverSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "UnderSampler",
    "WeightedRandomSampler",
    "WorkerInfo",
    "default_collate",
    "default_convert",
    "get_worker_info",
    "random_split",
]


def __getattr__(name: str) -> object:
    """The readers, the augmentation and the pipes, imported when a program names them."""
    if name in ("datapipes", "datasets", "transforms"):
        return _importlib.import_module(f".{name}", __name__)
    if name in ("DataChunk", "IterDataPipe", "functional_datapipe"):
        return getattr(_importlib.import_module(".datapipes", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
