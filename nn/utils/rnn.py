"""Sequences of different lengths: padded to one length, or packed, the rows of each step one after another.

A packed batch holds no padding. Its sequences are sorted from long to short, so `batch_sizes[t]`, the number of
sequences that are longer than t, says which of them step t has: the first ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from ...autograd import FUNCTIONS, Tensor
from ...autograd.creation import arange, full, tensor

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


class _Packed(NamedTuple):
    data: Any
    batch_sizes: Any
    sorted_indices: Any
    unsorted_indices: Any


_Packed.__name__ = "PackedSequence"


class PackedSequence(_Packed):
    """A packed batch, made by `pack_padded_sequence` or `pack_sequence`.

    data (sum of lengths, *): the sequences' first elements, then their second ones, ...; batch_sizes (longest length,):
    how many there are of each, on the CPU; sorted_indices (B,): the number of the sequence that stands at each place,
    and unsorted_indices the place of each sequence; both None where the batch was sorted.
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        if batch_sizes is None:
            if not isinstance(data, (list, tuple)) or len(data) != 2:
                raise AssertionError("Expected data to be a list or tuple of length 2")
            data, batch_sizes = data
        if batch_sizes.device.type != "cpu":  # type: ignore[union-attr]
            raise ValueError(
                "batch_sizes should always be on CPU. Instances of PackedSequence should never be created manually. "
                "They should be instantiated by functions like pack_sequence and pack_padded_sequence"
            )
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With data in another dtype, or all but batch_sizes on another device; itself where nothing changes."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        indices = [None if i is None else i.to(data.device) for i in (self.sorted_indices, self.unsorted_indices)]
        return type(self)(data, self.batch_sizes, *indices)

    def cuda(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """On the GPU."""
        return self if self.is_cuda else self.to(kwargs.get("device") or (args[0] if args else "cuda"))

    def cpu(self) -> PackedSequence:
        """On the CPU."""
        return self.to("cpu")

    @property
    def is_cuda(self) -> bool:
        """True where the data are on a GPU."""
        return self.data.is_cuda  # type: ignore[no-any-return]

    def is_pinned(self) -> bool:
        """True where the data are in pinned memory."""
        return self.data.is_pinned()  # type: ignore[no-any-return]

    def pin_memory(self) -> PackedSequence:
        """With data and indices in pinned memory."""
        pinned = [None if x is None else x.pin_memory() for x in self]
        return type(self)(*pinned)

    def double(self) -> PackedSequence:
        """With data in float64."""
        return self._as(self.data.double())

    def float(self) -> PackedSequence:
        """With data in float32."""
        return self._as(self.data.float())

    def half(self) -> PackedSequence:
        """With data in float16."""
        return self._as(self.data.half())

    def long(self) -> PackedSequence:
        """With data in int64."""
        return self._as(self.data.long())

    def int(self) -> PackedSequence:
        """With data in int32."""
        return self._as(self.data.int())

    def short(self) -> PackedSequence:
        """With data in int16."""
        return self._as(self.data.short())

    def char(self) -> PackedSequence:
        """With data in int8."""
        return self._as(self.data.char())

    def byte(self) -> PackedSequence:
        """With data in uint8."""
        return self._as(self.data.byte())

    def _as(self, data: Tensor) -> PackedSequence:
        return self if data is self.data else type(self)(data, *self[1:])


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes `permutation`; None for None."""
    return None if permutation is None else FUNCTIONS["argsort"](permutation)


def _mask(lengths: Sequence[int], steps: int, device: Any) -> Tensor:
    """(steps, B): True where a sequence has an element."""
    return arange(steps, device=device).unsqueeze(1) < tensor(lengths, device=device)


def pack_padded_sequence(
    input: Tensor, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch (T, B, *), or (B, T, *) with `batch_first`; the elements beyond `lengths` are left out.

    lengths (B,): at least 1, from long to short unless `enforce_sorted=False`, which sorts the sequences.
    """
    sizes = [int(n) for n in (lengths.tolist() if isinstance(lengths, Tensor) else lengths)]
    x = input.transpose(0, 1) if batch_first else input
    steps, batch = x.shape[:2]
    if not x.numel():
        raise RuntimeError("Cannot pack empty tensors.")
    if len(sizes) != batch:
        raise RuntimeError(
            f"Expected `len(lengths)` to be equal to batch_size, but got {len(sizes)} (batch_size={batch})"
        )
    order = None
    if not enforce_sorted:
        places = sorted(range(batch), key=lambda b: -sizes[b])
        order, sizes = tensor(places, device=input.device), [sizes[b] for b in places]
        x = x.index_select(1, order)
    if min(sizes) <= 0:
        raise RuntimeError(
            "Length of all samples has to be greater than 0, but found an element in 'lengths' that is <= 0"
        )
    if max(sizes) > steps:
        raise RuntimeError(f"a length of {max(sizes)} is longer than the padded sequences, which have {steps} steps")
    if any(a < b for a, b in pairwise(sizes)):
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. You can pass "
            "`enforce_sorted=False` to pack_padded_sequence and/or pack_sequence to sidestep this requirement if you "
            "do not need ONNX exportability."
        )
    running = [sum(n > t for n in sizes) for t in range(sizes[0])]
    return PackedSequence(x[_mask(sizes, steps, input.device)], tensor(running, device="cpu"), order)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """(padded batch (T, B, *) or (B, T, *), lengths (B,) on the CPU), in the order before sorting.

    total_length: T, where it is to be more than the longest length; ValueError where it is less. batch_first: B first.
    padding_value: behind the ends.
    """
    data, running = sequence.data, sequence.batch_sizes.tolist()
    steps, batch = len(running), running[0]
    if total_length is not None:
        if total_length < steps:
            raise ValueError(
                "Expected total_length to be at least the length of the longest sequence in input, but got "
                f"total_length={total_length} and max sequence length being {steps}"
            )
        steps = total_length
    sizes = [sum(n > b for n in running) for b in range(batch)]
    padding = full((steps, batch, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)
    padded, lengths = padding.index_put((_mask(sizes, steps, data.device),), data), tensor(sizes, device="cpu")
    if sequence.unsorted_indices is not None:
        padded = padded.index_select(1, sequence.unsorted_indices)
        lengths = lengths[sequence.unsorted_indices.cpu()]
    return padded.transpose(0, 1) if batch_first else padded, lengths


def pad_sequence(
    sequences: Any, batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Stack sequences (L, *) of different lengths to (longest L, B, *), or (B, longest L, *), padded on one side.

    batch_first: B first. padding_side: "right" or "left"; padding_value: what stands there.
    """
    if isinstance(sequences, Tensor):
        sequences = sequences.unbind(0)
    elif not hasattr(sequences, "__iter__"):
        raise RuntimeError(
            f"pad_sequence: Expected iterable for input sequences, but got arg of type: {type(sequences)}"
        )
    sequences = list(sequences)
    if not sequences:
        raise RuntimeError("received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    for i, s in enumerate(sequences):
        if not isinstance(s, Tensor):
            raise TypeError(f"expected Tensor as element {i} in argument 0, but got {type(s).__name__}")
    longest, padded = max(s.shape[0] for s in sequences), []
    for s in sequences:
        missing = longest - s.shape[0]
        if missing:
            padding = full((missing, *s.shape[1:]), padding_value, dtype=s.dtype, device=s.device)
            s = FUNCTIONS["cat"]([s, padding] if padding_side == "right" else [padding, s])
        padded.append(s)
    return FUNCTIONS["stack"](padded, 0 if batch_first else 1)  # type: ignore[no-any-return]


def unpad_sequence(padded_sequences: Tensor, lengths: Tensor, batch_first: bool = False) -> list[Tensor]:
    """The sequences (L, *) of a padded batch: what `pad_sequence` undoes. batch_first: B is its first dimension."""
    x = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [x[b, :n] for b, n in enumerate(lengths.tolist())]


def pack_sequence(sequences: Any, enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences (L, *), from long to short unless `enforce_sorted=False`."""
    lengths = [s.shape[0] for s in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences (L, *) of a packed batch, in the order before sorting."""
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
