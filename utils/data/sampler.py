"""Samplers: in which order, and how often, samples are taken.

Random samplers draw from the generator that they are given. Without one, RandomSampler draws a number from the default
generator at the start of each pass and seeds a generator of its own with it, as PyTorch's does: how far a pass gets
does not change what the program draws elsewhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

from ...autograd import FUNCTIONS, Generator, Tensor
from ...backends import np

__all__ = [
    "BatchSampler",
    "ClassBalancedSampler",
    "OverSampler",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "SubsetRandomSampler",
    "UnderSampler",
    "WeightedRandomSampler",
]

T_co = TypeVar("T_co", covariant=True)


def drawn(name: str, *args: Any, generator: Generator | None) -> Tensor:
    """What chainrule's function of that name draws, on the generator's device (None: the CPU's default one)."""
    return FUNCTIONS[name](*args, generator=generator, device="cpu" if generator is None else generator.device)


def draw_seed(generator: Generator | None = None) -> int:
    """A number below 2**63 from a generator (None: the default one), to seed others with."""
    return int(drawn("randint", 0, 2**63 - 1, (), generator=generator).item())


def _own(generator: Generator | None) -> Generator:
    """The generator given, or a new one whose seed comes from the default one."""
    return Generator().manual_seed(draw_seed()) if generator is None else generator


class Sampler(Generic[T_co]):
    """An order of samples: a subclass defines `__iter__` over indices (or lists of them), and may define `__len__`."""

    def __iter__(self) -> Iterator[T_co]:
        raise NotImplementedError


class SequentialSampler(Sampler[int]):
    """0, 1, ..., n - 1, n being the length of `data_source`."""

    data_source: Sized

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler[int]):
    """`num_samples` indices of `data_source` (default: all) in random order; with `replacement` each is drawn from all.

    ValueError for num_samples that are not positive. Without replacement more than all are several orders one after
    another.
    """

    data_source: Sized
    replacement: bool

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got replacement={replacement}")
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={self.num_samples}")

    @property
    def num_samples(self) -> int:
        """How many indices a pass has; follows the data source where none was given."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, generator = len(self.data_source), _own(self.generator)
        if self.replacement:
            for start in range(0, self.num_samples, 1024):
                size = min(1024, self.num_samples - start)
                yield from drawn("randint", n, (size,), generator=generator).tolist()
            return
        left = self.num_samples if n else 0
        while left > 0:
            yield from drawn("randperm", n, generator=generator).tolist()[:left]
            left -= n

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler[int]):
    """Given indices in random order."""

    indices: Sequence[int]

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in drawn("randperm", len(self.indices), generator=self.generator).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler[int]):
    """`num_samples` indices, index i with probability weights[i] / Σ weights, with or without replacement.

    weights: a sequence or vector, not negative, of any sum. With replacement rare classes can be drawn as often as
    others.
    """

    weights: Tensor
    num_samples: int
    replacement: bool

    def __init__(
        self, weights: Any, num_samples: int, replacement: bool = True, generator: Generator | None = None
    ) -> None:
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got replacement={replacement}")
        place = "cpu" if generator is None else generator.device
        table = FUNCTIONS["as_tensor"](weights, dtype=np.float64, device=place)
        if table.ndim != 1:
            raise ValueError(f"weights should be a 1d sequence but given weights have shape {tuple(table.shape)}")
        self.weights = table
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        draw = FUNCTIONS["multinomial"]
        yield from draw(self.weights, self.num_samples, self.replacement, generator=self.generator).tolist()

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler[list[int]]):
    """Lists of `batch_size` indices of another sampler; `drop_last` leaves a shorter last one out.

    ValueError for a batch_size that is no positive int.
    """

    def __init__(self, sampler: Sampler[int] | Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(f"batch_size should be a positive integer value, but got batch_size={batch_size}")
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        source = iter(self.sampler)
        while batch := list(itertools.islice(source, self.batch_size)):
            if len(batch) < self.batch_size and self.drop_last:
                return
            yield batch

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else (n + self.batch_size - 1) // self.batch_size


# -- classes of unequal size ------------------------------------------------------------------------------------------


def _classes(labels: Any) -> list[Any]:
    """For each class, in the order of their labels, the indices of its samples."""
    table = np.asarray(labels)
    if table.ndim != 1 or not table.size:
        raise ValueError(f"labels should be a sequence of one label per sample, not of shape {table.shape}")
    order = np.argsort(table, kind="stable")
    ordered = table[order]
    return np.split(order, np.flatnonzero(ordered[1:] != ordered[:-1]) + 1)


class ClassBalancedSampler(Sampler[int]):
    """Indices of which each class has the same number, in random order.

    labels: one label per sample (`dataset.targets`). num_samples: per class; a class with more samples gives that many
    of them, drawn without replacement; one with fewer gives all of them as often as whole times fit, and a random rest.
    So each pass sees samples of a class equally often, give or take one. Default: the mean size of a class.

    >>> from collections import Counter
    >>> labels = [0] * 90 + [1] * 10
    >>> Counter(labels[i] for i in ClassBalancedSampler(labels, 20)) == {0: 20, 1: 20}
    True

    See H. He, E. Garcia, "Learning from imbalanced data", 2009.
    """

    def __init__(self, labels: Any, num_samples: int | None = None, generator: Generator | None = None) -> None:
        self._members = _classes(labels)
        if num_samples is None:
            num_samples = self._size([len(m) for m in self._members])
        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(f"num_samples should be a positive integer value, but got num_samples={num_samples}")
        self.samples_per_class = num_samples
        self.generator = generator

    def _size(self, sizes: list[int]) -> int:
        return round(sum(sizes) / len(sizes))

    def __iter__(self) -> Iterator[int]:
        generator, n, taken = _own(self.generator), self.samples_per_class, []
        for members in self._members:
            whole, rest = divmod(n, len(members))
            some = drawn("randperm", len(members), generator=generator).tolist()[:rest]
            taken += [*[members] * whole, members[some]]
        indices = np.concatenate(taken)
        yield from indices[drawn("randperm", len(indices), generator=generator).tolist()].tolist()

    def __len__(self) -> int:
        return self.samples_per_class * len(self._members)


class OverSampler(ClassBalancedSampler):
    """Each class as often as the largest: samples of the smaller ones are repeated, none is left out.

    labels: the class of each sample (N,). See H. He, E. Garcia, "Learning from imbalanced data", 2009.
    """

    def __init__(self, labels: Any, generator: Generator | None = None) -> None:
        super().__init__(labels, None, generator)

    def _size(self, sizes: list[int]) -> int:
        return max(sizes)


class UnderSampler(ClassBalancedSampler):
    """Each class as often as the smallest: of the larger ones each pass takes another random part.

    labels: the class of each sample (N,). See H. He, E. Garcia, "Learning from imbalanced data", 2009.
    """

    def __init__(self, labels: Any, generator: Generator | None = None) -> None:
        super().__init__(labels, None, generator)

    def _size(self, sizes: list[int]) -> int:
        return min(sizes)
