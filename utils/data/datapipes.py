"""Data pipes: iterable data sets that are chained by methods, `IterableWrapper(xs).shuffle().map(f).batch(8)`.

PyTorch's torch.utils.data.datapipes.iter, as far as its pipes need no files. datapipe, datapipes, iterable: where the
elements come from.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .dataloader import default_collate
from .dataset import IterableDataset
from .sampler import draw_seed

__all__ = [
    "Batcher",
    "BatcherIterDataPipe",
    "Collator",
    "CollatorIterDataPipe",
    "Concater",
    "ConcaterIterDataPipe",
    "DataChunk",
    "Filter",
    "FilterIterDataPipe",
    "IterDataPipe",
    "IterableWrapper",
    "IterableWrapperIterDataPipe",
    "Mapper",
    "MapperIterDataPipe",
    "Shuffler",
    "ShufflerIterDataPipe",
    "UnBatcher",
    "UnBatcherIterDataPipe",
    "Zipper",
    "ZipperIterDataPipe",
    "functional_datapipe",
]


class IterDataPipe(IterableDataset[Any]):
    """An iterable data set with a method for each pipe that `functional_datapipe` has named."""

    functions: dict[str, Callable[..., Any]] = {}

    def __getattr__(self, name: str) -> Any:
        if name in IterDataPipe.functions:
            return functools.partial(IterDataPipe.functions[name], self)
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    @classmethod
    def register_function(cls, function_name: str, function: Callable[..., Any]) -> None:
        """Make `function(pipe, ...)` a method of all pipes."""
        cls.functions[function_name] = function

    def __repr__(self) -> str:
        return type(self).__qualname__


class functional_datapipe:
    """Decorator of a class of pipes: `pipe.name(...)` is `cls(pipe, ...)`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, cls: Any) -> Any:
        IterDataPipe.register_function(self.name, cls)
        return cls


class DataChunk(list[Any]):
    """A batch of a pipe: a list."""

    def raw_iterator(self) -> Iterator[Any]:
        """The elements as they are."""
        yield from self


class IterableWrapperIterDataPipe(IterDataPipe):
    """The elements of `iterable`, again in each pass: of a copy of it, unless it has none or deepcopy=False."""

    def __init__(self, iterable: Iterable[Any], deepcopy: bool = True) -> None:
        self.iterable, self.deepcopy = iterable, deepcopy

    def __iter__(self) -> Iterator[Any]:
        source = self.iterable
        if self.deepcopy:
            with contextlib.suppress(TypeError):  # of a generator, which is over after one pass
                source = copy.deepcopy(source)
        yield from source

    def __len__(self) -> int:
        return len(self.iterable)  # type: ignore[arg-type]


class _Onto(IterDataPipe):
    """A pipe on another one, of the same length."""

    def __init__(self, datapipe: Iterable[Any]) -> None:
        self.datapipe = datapipe

    def __len__(self) -> int:
        return len(self.datapipe)  # type: ignore[arg-type]


@functional_datapipe("map")
class MapperIterDataPipe(_Onto):
    """fn of each element; of the entry `input_col` of it, whose place, or that of output_col, the result takes.

    Of several entries the result takes the place of the first, and the others go. output_col=-1: at the end.
    """

    def __init__(
        self, datapipe: Iterable[Any], fn: Callable[..., Any], input_col: Any = None, output_col: Any = None
    ) -> None:
        super().__init__(datapipe)
        if input_col is None and output_col is not None:
            raise ValueError("`output_col` must be None when `input_col` is None.")
        self.fn, self.input_col, self.output_col = fn, input_col, output_col

    def _applied(self, x: Any) -> Any:
        if self.input_col is None:
            return self.fn(x)
        many = isinstance(self.input_col, (list, tuple))
        result = self.fn(*[x[c] for c in self.input_col]) if many else self.fn(x[self.input_col])
        place = self.output_col if self.output_col is not None else self.input_col[0] if many else self.input_col
        kind, x = type(x), dict(x) if isinstance(x, dict) else list(x)
        if place == -1 and isinstance(x, list):
            x.append(result)
        else:
            x[place] = result
            if many and self.output_col is None:
                for c in sorted(self.input_col[1:], reverse=True):
                    del x[c]
        return tuple(x) if kind is tuple else x

    def __iter__(self) -> Iterator[Any]:
        return map(self._applied, self.datapipe)


@functional_datapipe("collate")
class CollatorIterDataPipe(MapperIterDataPipe):
    """A batch of each list of samples, by `collate_fn`."""

    def __init__(self, datapipe: Iterable[Any], collate_fn: Callable[[Any], Any] = default_collate) -> None:
        super().__init__(datapipe, collate_fn)


@functional_datapipe("filter")
class FilterIterDataPipe(_Onto):
    """The elements for which `filter_fn` is true. TypeError for its length, which nobody knows."""

    def __init__(self, datapipe: Iterable[Any], filter_fn: Callable[[Any], bool]) -> None:
        super().__init__(datapipe)
        self.filter_fn = filter_fn

    def __iter__(self) -> Iterator[Any]:
        return filter(self.filter_fn, self.datapipe)

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} instance doesn't have valid length")


@functional_datapipe("batch")
class BatcherIterDataPipe(_Onto):
    """Lists of `batch_size` elements; the last one may be shorter, or with drop_last is left out.

    wrapper_class: makes a batch of a list. AssertionError for a batch_size below 1.
    """

    def __init__(
        self, datapipe: Iterable[Any], batch_size: int, drop_last: bool = False, wrapper_class: Any = DataChunk
    ) -> None:
        if batch_size < 1:
            raise AssertionError(f"batch_size is at least 1, not {batch_size}")
        super().__init__(datapipe)
        self.batch_size, self.drop_last, self.wrapper_class = batch_size, drop_last, wrapper_class

    def __iter__(self) -> Iterator[Any]:
        batch = []
        for x in self.datapipe:
            batch.append(x)
            if len(batch) == self.batch_size:
                yield self.wrapper_class(batch)
                batch = []
        if batch and not self.drop_last:
            yield self.wrapper_class(batch)

    def __len__(self) -> int:
        n = super().__len__()
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)


@functional_datapipe("unbatch")
class UnBatcherIterDataPipe(FilterIterDataPipe):
    """The elements of lists, `unbatch_level` lists deep."""

    def __init__(self, datapipe: Iterable[Any], unbatch_level: int = 1) -> None:
        super().__init__(datapipe, bool)
        self.unbatch_level = unbatch_level

    def __iter__(self) -> Iterator[Any]:
        def below(x: Any, level: int) -> Iterator[Any]:
            if level == 0:
                yield x
            else:
                for part in x:
                    yield from below(part, level - 1)

        for x in self.datapipe:
            yield from below(x, self.unbatch_level)


@functional_datapipe("shuffle")
class ShufflerIterDataPipe(_Onto):
    """The elements in a random order: each is drawn from the next `buffer_size` that wait.

    `set_seed(n)` fixes the order of the next pass, `set_shuffle(False)` keeps that of the source. unbatch_level: of
    lists, so many deep, the elements.
    """

    def __init__(self, datapipe: Iterable[Any], *, buffer_size: int = 10000, unbatch_level: int = 0) -> None:
        if buffer_size < 1:
            raise AssertionError(f"buffer_size is at least 1, not {buffer_size}")
        super().__init__(UnBatcherIterDataPipe(datapipe, unbatch_level) if unbatch_level else datapipe)
        self.buffer_size, self._shuffle_enabled = buffer_size, True
        self._seed: int | None = None

    def set_shuffle(self, shuffle: bool = True) -> ShufflerIterDataPipe:
        """Whether the order is random."""
        self._shuffle_enabled = shuffle
        return self

    def set_seed(self, seed: int) -> ShufflerIterDataPipe:
        """Fix the order of the next pass."""
        self._seed = seed
        return self

    def __iter__(self) -> Iterator[Any]:
        if not self._shuffle_enabled:
            yield from self.datapipe
            return
        rng, self._seed = random.Random(draw_seed() if self._seed is None else self._seed), None
        waiting: list[Any] = []
        for x in self.datapipe:
            if len(waiting) < self.buffer_size:
                waiting.append(x)
            else:
                i = rng.randrange(len(waiting))
                waiting[i], x = x, waiting[i]
                yield x
        rng.shuffle(waiting)
        yield from waiting


@functional_datapipe("concat")
class ConcaterIterDataPipe(IterDataPipe):
    """The elements of several pipes, one pipe after another."""

    def __init__(self, *datapipes: Any) -> None:
        self.datapipes = datapipes

    def __iter__(self) -> Iterator[Any]:
        for pipe in self.datapipes:
            yield from pipe

    def __len__(self) -> int:
        return sum([len(pipe) for pipe in self.datapipes])


@functional_datapipe("zip")
class ZipperIterDataPipe(ConcaterIterDataPipe):
    """Tuples of one element of each pipe, as many as the shortest has."""

    def __iter__(self) -> Iterator[Any]:
        yield from zip(*self.datapipes, strict=False)

    def __len__(self) -> int:
        return min([len(pipe) for pipe in self.datapipes])


Batcher, Collator, Concater, Filter = (
    BatcherIterDataPipe,
    CollatorIterDataPipe,
    ConcaterIterDataPipe,
    FilterIterDataPipe,
)
IterableWrapper, Mapper, Shuffler = IterableWrapperIterDataPipe, MapperIterDataPipe, ShufflerIterDataPipe
UnBatcher, Zipper = UnBatcherIterDataPipe, ZipperIterDataPipe
