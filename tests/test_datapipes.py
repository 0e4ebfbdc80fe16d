"""utils.data.datapipes: pipes by their methods, and in a DataLoader."""

import copy
import pickle

import pytest

import chainrule
from chainrule.utils.data import DataLoader, IterDataPipe, functional_datapipe
from chainrule.utils.data.datapipes.iter import Filter, IterableWrapper, Mapper, Shuffler, Zipper
from chainrule.utils.data.datapipes.iter.combinatorics import ShufflerIterDataPipe


def double(x):
    return 2 * x


def test_chains():
    pipe = IterableWrapper(range(7))
    assert list(pipe.map(double).batch(3)) == [[0, 2, 4], [6, 8, 10], [12]]
    assert len(pipe.batch(3)) == 3
    assert list(pipe.batch(3, drop_last=True)) == [[0, 1, 2], [3, 4, 5]]
    assert len(pipe.batch(3, drop_last=True)) == 2
    assert list(pipe.batch(2).batch(2).unbatch(unbatch_level=2)) == list(range(7))
    assert list(pipe.filter(lambda x: x % 2 == 1)) == [1, 3, 5]
    with pytest.raises(TypeError, match="valid length"):
        len(Filter(pipe, bool))
    assert list(pipe.concat(IterableWrapper([9]))) == [*range(7), 9]
    assert len(pipe.concat(IterableWrapper([9]))) == 8
    assert list(Zipper(pipe, IterableWrapper("abc"))) == [(0, "a"), (1, "b"), (2, "c")]
    assert len(Zipper(pipe, IterableWrapper("abc"))) == 3
    (batch,) = pipe.batch(7).collate()
    assert batch.tolist() == list(range(7))
    assert repr(pipe) == "IterableWrapperIterDataPipe"
    with pytest.raises(AttributeError, match="no attribute 'fly'"):
        pipe.fly()
    with pytest.raises(AssertionError, match="batch_size"):
        pipe.batch(0)


def test_columns():
    pairs = IterableWrapper([(1, 2), (3, 4)])
    assert list(pairs.map(double, input_col=0)) == [(2, 2), (6, 4)]
    assert list(pairs.map(lambda a, b: a + b, input_col=[0, 1])) == [(3,), (7,)]
    assert list(pairs.map(double, input_col=0, output_col=-1)) == [(1, 2, 2), (3, 4, 6)]
    assert list(IterableWrapper([{"a": 1}]).map(double, input_col="a", output_col="b")) == [{"a": 1, "b": 2}]
    with pytest.raises(ValueError, match="input_col"):
        Mapper(pairs, double, output_col=0)


def test_orders():
    chainrule.manual_seed(0)
    pipe = IterableWrapper(range(50)).shuffle(buffer_size=10)
    assert isinstance(pipe, ShufflerIterDataPipe)
    first, second = list(pipe), list(pipe)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert all(x <= i + 9 for i, x in enumerate(first))
    assert list(pipe.set_seed(3)) == list(pipe.set_seed(3))
    assert list(pipe.set_shuffle(False)) == list(range(50))
    assert sorted(IterableWrapper([[1, 2], [3]]).shuffle(unbatch_level=1)) == [1, 2, 3]
    with pytest.raises(AssertionError, match="buffer_size"):
        Shuffler(pipe, buffer_size=0)


@functional_datapipe("repeated")
class Repeated(IterDataPipe):
    """A program's own pipe."""

    def __init__(self, source, times):
        self.source, self.times = source, times

    def __iter__(self):
        for x in self.source:
            yield from [x] * self.times


@pytest.mark.parametrize("num_workers", [0, 1])
def test_in_a_loader(num_workers):
    pipe = IterableWrapper(range(4)).map(double).repeated(2)
    batches = [b.tolist() for b in DataLoader(pipe, 3, num_workers=num_workers)]
    assert batches == [[0, 0, 2], [2, 4, 4], [6, 6]]


def test_copies():
    pipe = IterableWrapper(range(4)).map(double).batch(2)
    for again in (copy.deepcopy(pipe), pickle.loads(pickle.dumps(pipe))):
        assert list(again) == [[0, 2], [4, 6]]


def test_each_pass_sees_the_elements_as_they_were_given():
    pipe = IterableWrapper(iter([[1], [2]]))
    next(iter(pipe)).append(9)
    assert list(pipe) == list(pipe) == [[1], [2]]
    assert list(IterableWrapper(x for x in (1, 2))) == [1, 2]
    once = IterableWrapper(iter([1]), deepcopy=False)
    assert (list(once), list(once)) == ([1], [])
