"""The DataLoader: batches from a data set, made here or by worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import wait
from typing import Any, TypeAlias

from ... import backends
from . import _utils
from ._utils.collate import default_collate, default_convert
from ._utils.fetch import fetcher
from ._utils.worker import End, ExceptionWrapper, WorkerInfo, get_worker_info
from .dataset import Dataset, IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler, draw_seed

__all__ = ["DataLoader", "WorkerInfo", "default_collate", "default_convert", "get_worker_info"]

_GRACE = 2.0  # seconds that workers have to finish before they are terminated


#: types of what a program passes, by PyTorch's names
_collate_fn_t: TypeAlias = Callable[[list[Any]], Any]
_worker_init_fn_t: TypeAlias = Callable[[int], None]

_FIXED = ("batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers")


class _DatasetKind:
    """Whether samples are indexed or iterated."""

    Map = 0
    Iterable = 1


class _InfiniteConstantSampler(Sampler[Any]):
    """None, again and again: an iterable data set says itself when it ends."""

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield None


class DataLoader(Iterable[Any]):
    """Batches of the samples of `dataset`: an iterator over them at each `iter`.

    batch_size: samples per batch; None: samples as they are. shuffle: a new random order in each pass; sampler,
    batch_sampler: another order, or whole lists of indices. drop_last leaves a shorter last batch out.
    collate_fn: from a list of samples to a batch (default: `default_collate`).

    num_workers: processes that fetch and collate `prefetch_factor` (2) batches each ahead of time; batches come in the
    sampler's order unless `in_order=False`. An error in one is raised here with its traceback. persistent_workers
    keeps them from pass to pass. timeout: seconds to wait for a batch. worker_init_fn(worker_id) is called first in
    each. multiprocessing_context: "fork", "spawn", "forkserver" or a context. Seeds: see `_utils/worker.py`;
    generator is what the order and the workers' seeds are drawn from. pin_memory: batches in pinned memory, for a GPU.

    The constructor's errors and warnings are PyTorch's.
    pin_memory_device is too, without effect.
    """

    dataset: Any
    batch_size: int | None
    num_workers: int
    pin_memory: bool
    drop_last: bool
    timeout: float
    sampler: Any
    pin_memory_device: str
    prefetch_factor: int | None
    _iterator: Any = None
    __initialized = False  # PyTorch's name, which loaders derived from it switch off to exchange a sampler

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler[Any] | Iterable[Any] | None = None,
        batch_sampler: Sampler[list[Any]] | Iterable[list[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], Any] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        if num_workers < 0:
            raise ValueError("num_workers option should be non-negative; use num_workers=0 to disable multiprocessing.")
        if timeout < 0:
            raise ValueError("timeout option should be non-negative")
        if num_workers == 0 and prefetch_factor is not None:
            raise ValueError(
                "prefetch_factor option could only be specified in multiprocessing.let num_workers > 0 to enable "
                "multiprocessing, otherwise set prefetch_factor to None."
            )
        if prefetch_factor is not None and prefetch_factor < 1:
            raise ValueError("prefetch_factor option should be non-negative, and at least 1")
        if persistent_workers and num_workers == 0:
            raise ValueError("persistent_workers option needs num_workers > 0")
        self.dataset = dataset
        self.num_workers = num_workers
        self.prefetch_factor = 2 if prefetch_factor is None and num_workers else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.in_order = in_order
        self.generator = generator
        self.persistent_workers = persistent_workers
        self._IterableDataset_len_called: int | None = None
        iterable = isinstance(dataset, IterableDataset)
        self._dataset_kind = _DatasetKind.Iterable if iterable else _DatasetKind.Map
        if iterable:
            for name, value, wrong in (
                ("shuffle", shuffle, shuffle not in (False, None)),
                ("sampler", sampler, sampler is not None),
                ("batch_sampler", batch_sampler, batch_sampler is not None),
            ):
                if wrong:
                    raise ValueError(
                        f"DataLoader with IterableDataset: expected unspecified {name} option, but got {name}={value}"
                    )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError("batch_size=None option disables auto-batching and is mutually exclusive with drop_last")
        if sampler is None:
            if iterable:
                sampler = _InfiniteConstantSampler()
            elif shuffle:
                sampler = RandomSampler(dataset, generator=generator)  # type: ignore[arg-type]
            else:
                sampler = SequentialSampler(dataset)  # type: ignore[arg-type]
        if batch_size is not None and batch_sampler is None:
            batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        if collate_fn is None:
            collate_fn = default_collate if self._auto_collation else default_convert
        self.collate_fn = collate_fn
        self.__initialized = True
        self.check_worker_number_rationality()

    @property
    def multiprocessing_context(self) -> Any:
        """The context that makes worker processes; None: multiprocessing's default one."""
        return self._context

    @multiprocessing_context.setter
    def multiprocessing_context(self, context: Any) -> None:
        if context is not None:
            if self.num_workers == 0:
                raise ValueError(
                    "multiprocessing_context can only be used with multi-process loading (num_workers > 0), but got "
                    f"num_workers={self.num_workers}"
                )
            if isinstance(context, str):
                methods = multiprocessing.get_all_start_methods()
                if context not in methods:
                    raise ValueError(
                        f"multiprocessing_context option should specify a valid start method in {methods!r}, but got "
                        f"multiprocessing_context={context!r}"
                    )
                context = multiprocessing.get_context(context)
            if not isinstance(context, multiprocessing.context.BaseContext):
                raise TypeError(
                    "multiprocessing_context option should be a valid context object or a string specifying the start "
                    f"method, but got multiprocessing_context={context}"
                )
        self._context = context

    def __setattr__(self, name: str, value: Any) -> None:
        if self.__initialized and name in _FIXED:
            raise ValueError(f"{name} attribute should not be set after {type(self).__name__} is initialized")
        super().__setattr__(name, value)

    @property
    def _auto_collation(self) -> bool:
        return self.batch_sampler is not None

    @property
    def _index_sampler(self) -> Any:
        return self.batch_sampler if self._auto_collation else self.sampler

    def _get_iterator(self) -> Any:
        if self.num_workers == 0:
            return _SingleProcessDataLoaderIter(self)
        self.check_worker_number_rationality()
        return _MultiProcessingDataLoaderIter(self)

    def __iter__(self) -> Any:
        if not self.persistent_workers:
            return self._get_iterator()
        if self._iterator is None or self._iterator._over:
            self._iterator = self._get_iterator()
        else:
            self._iterator._reset(self)
        return self._iterator

    def __len__(self) -> int:
        if self._dataset_kind == _DatasetKind.Map:
            return len(self._index_sampler)
        n = self._IterableDataset_len_called = len(self.dataset)
        if self.batch_size is None:
            return n
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_iterator": None}

    def check_worker_number_rationality(self) -> None:
        """Warn where there are more workers than processors that this process may use."""
        if not self.num_workers:
            return
        try:
            most = len(os.sched_getaffinity(0))
        except AttributeError:
            most = os.cpu_count() or self.num_workers
        if self.num_workers > most:
            warnings.warn(
                f"This DataLoader will create {self.num_workers} worker processes in total. Our suggested max number "
                f"of worker in current system is {most}, which is smaller than what this DataLoader is going to "
                "create. Please be aware that excessive worker creation might get DataLoader running slow or even "
                "freeze, lower the worker number to avoid potential slowness/freeze if necessary.",
                stacklevel=2,
            )


# -- iterators --------------------------------------------------------------------------------------------------------


def _has_gpu() -> bool:
    try:
        backends.by_device("cuda")
    except (ImportError, RuntimeError):
        return False
    return True


def _fetcher_args(loader: Any) -> tuple[Any, ...]:
    iterates = loader._dataset_kind == _DatasetKind.Iterable
    return loader.dataset, loader._auto_collation, loader.collate_fn, loader.drop_last, iterates


class _BaseDataLoaderIter:
    """One pass over a loader's batches; `loader` may be what a library has in a DataLoader's place."""

    def __init__(self, loader: DataLoader) -> None:
        self._loader_dataset = loader.dataset
        self._kind = loader._dataset_kind
        self._num_workers = loader.num_workers
        self._pin = loader.pin_memory and _has_gpu()
        if loader.pin_memory and not self._pin:
            warnings.warn(
                "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be "
                "used.",
                stacklevel=5,
            )
        self._base_seed = draw_seed(loader.generator)
        self._start(loader)

    def _start(self, loader: DataLoader) -> None:
        self._index_sampler = loader._index_sampler
        self._sampler_iter = iter(self._index_sampler)
        self._reported_length = loader._IterableDataset_len_called  # PyTorch's name, also in loaders of libraries
        self._num_yielded = 0

    def __iter__(self) -> Any:
        return self

    def _next_data(self) -> Any:
        raise NotImplementedError

    def __next__(self) -> Any:
        data = self._next_data()
        self._num_yielded += 1
        if self._pin:
            data = _utils.pin_memory.pin_memory(data)
        if self._reported_length is not None and self._num_yielded > self._reported_length:
            more = (
                "For multiprocessing data-loading, this could be caused by not properly configuring the "
                "IterableDataset replica at each worker. Give each its part, by get_worker_info()."
                if self._num_workers
                else ""
            )
            warnings.warn(
                f"Length of IterableDataset {self._loader_dataset} was reported to be {self._reported_length} (when "
                f"accessing len(dataloader)), but {self._num_yielded} samples have been fetched. {more}",
                stacklevel=2,
            )
        return data

    def __len__(self) -> int:
        return len(self._index_sampler)


class _SingleProcessDataLoaderIter(_BaseDataLoaderIter):
    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        self._fetch = fetcher(*_fetcher_args(loader))

    def _next_data(self) -> Any:
        return self._fetch(next(self._sampler_iter))


class _MultiProcessingDataLoaderIter(_BaseDataLoaderIter):
    """Tasks are numbered in the sampler's order and dealt to the workers in turn; results wait until it is theirs.

    A worker has at most `prefetch_factor` tasks, each with one of as many slots of memory. Which worker makes which
    batch depends on nothing but numbers, so random augmentation repeats (but for in_order=False, which gives the next
    task to the worker with the fewest).
    """

    _over = False

    def __init__(self, loader: DataLoader) -> None:
        super().__init__(loader)
        self._in_order = loader.in_order
        self._persistent = loader.persistent_workers
        self._timeout = loader.timeout
        assert loader.prefetch_factor is not None
        self._prefetch = loader.prefetch_factor
        self._workers: list[Any] = []
        self._receivers: list[_utils.worker.Receiver] = []
        connections: list[Any] = []
        self._stop = weakref.finalize(self, _utils.worker.stop, os.getpid(), self._workers, connections, _GRACE)
        try:
            for i in range(self._num_workers):
                self._start_worker(loader, i, connections)
        except BaseException:
            self._shutdown_workers()
            raise
        self._free = [list(range(self._prefetch)) for _ in self._workers]
        self._begin()

    def _start_worker(self, loader: DataLoader, i: int, connections: list[Any]) -> None:
        context = loader.multiprocessing_context or multiprocessing.get_context()
        forks = context.get_start_method() == "fork"
        mine, its = context.Pipe(duplex=True)
        connections.append(mine)
        process = context.Process(
            target=_utils.worker.run,
            name=f"DataLoader worker {i}",
            args=(
                *(fetcher, _fetcher_args(loader), i, self._num_workers, self._base_seed, loader.worker_init_fn, its),
                *(os.getpid(), list(connections) if forks else []),
            ),
            daemon=True,
        )
        # Ctrl-C waits until the worker has said what it does with it: a mask is inherited.
        if not forks and os.name == "posix":
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()  # its start would lift the mask
        masks = hasattr(signal, "pthread_sigmask") and threading.current_thread() is threading.main_thread()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if masks else None
        try:
            if sys.version_info < (3, 12):
                process.start()  # catch_warnings would have every warning of the program shown anew
            else:
                with warnings.catch_warnings():
                    # It warns of forks while there are threads (a BLAS has some); a worker starts none of theirs.
                    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
                    process.start()
        finally:
            if before is not None:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
            its.close()
        self._workers.append(process)
        self._receivers.append(_utils.worker.Receiver(mine))

    def _begin(self) -> None:
        self._sent = self._next = 0  # numbers of the task to send next, and of the result to hand out next
        self._pending: dict[int, int] = {}  # number of a task -> its worker
        self._results: dict[int, tuple[int, Any]] = {}  # number of a task -> its worker, what came of it
        self._active = [True] * self._num_workers  # False: its iterable data set is at an end
        self._turn = 0
        for _ in range(self._prefetch * self._num_workers):
            self._send_task()

    def _reset(self, loader: DataLoader) -> None:
        """Start another pass with the same workers."""
        while self._pending:
            self._receive()
        self._start(loader)
        for receiver in self._receivers:
            self._tell(receiver, "again")
        self._begin()

    def _tell(self, receiver: Any, message: Any) -> None:
        try:
            receiver.connection.send(message)
        except OSError:
            pass  # it has gone, which the next wait reports

    def _chosen(self) -> int | None:
        """The worker for the next task; None where all have as many as they may, or have come to an end."""
        turns = [(self._turn + i) % self._num_workers for i in range(self._num_workers)]
        able = [w for w in turns if self._active[w] and self._free[w]]
        if not able:
            return None
        return able[0] if self._in_order else max(able, key=lambda w: len(self._free[w]))

    def _send_task(self) -> None:
        worker = self._chosen()
        if worker is None:
            return
        try:
            indices = next(self._sampler_iter)
        except StopIteration:
            return
        self._turn = (worker + 1) % self._num_workers
        self._pending[self._sent] = worker
        self._tell(self._receivers[worker], (self._sent, self._free[worker].pop(), indices))
        self._sent += 1

    def _receive(self) -> None:
        """Wait for at least one result and keep it. RuntimeError where a worker died, or time is over."""
        expected = {self._receivers[w].connection: w for w in self._pending.values()}
        sentinels = {p.sentinel: w for w, p in enumerate(self._workers)}
        try:
            ready: list[Any] = wait([*expected, *sentinels], self._timeout or None)
            if not ready:
                raise RuntimeError(f"DataLoader timed out after {self._timeout} seconds")
            came = [expected[c] for c in ready if c in expected]
            if not came:
                self._raise_dead()
            for w in came:
                try:
                    number, slot, result = self._receivers[w].receive()
                except (EOFError, OSError):
                    self._raise_dead()
                self._free[w].append(slot)
                self._results[number] = self._pending.pop(number), result
        except BaseException:
            self._shutdown_workers()
            raise

    def _raise_dead(self) -> None:
        ended = wait([p.sentinel for p in self._workers], 1.0)
        for p in self._workers:
            if p.sentinel in ended:
                p.join(1.0)  # its files are closed a moment before its exit code is there
        dead = [p for p in self._workers if not p.is_alive()]
        signals = sorted({signal.Signals(-p.exitcode).name for p in dead if p.exitcode and p.exitcode < 0})
        how = f" (killed by {', '.join(signals)})" if signals else ""
        raise RuntimeError(f"DataLoader worker (pid(s) {', '.join(str(p.pid) for p in dead)}) exited unexpectedly{how}")

    def _next_data(self) -> Any:
        while True:
            if self._over:
                raise StopIteration
            number = self._next if self._in_order else next(iter(self._results), -1)
            if number not in self._results:
                if self._pending:
                    self._receive()
                    continue
                if not self._persistent:
                    self._shutdown_workers()
                raise StopIteration
            worker, result = self._results.pop(number)
            self._next = number + 1
            if isinstance(result, End):
                self._active[worker] = False
            self._send_task()
            if isinstance(result, ExceptionWrapper):
                result.reraise()
            if not isinstance(result, End):
                return result

    def _shutdown_workers(self) -> None:
        self._over = True
        self._stop()
        self._receivers.clear()
