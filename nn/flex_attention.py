"""`nn.attention.flex_attention`: attention whose scores a function changes, and whose pairs a function picks.

PyTorch compiles the functions into one kernel, which skips blocks that hold no pair. Here they are called once, with
index tensors that broadcast to all pairs at once, and all scores are stored: the values are PyTorch's, the memory that
of plain attention. Source: J. Dong et al., "Flex Attention: a programming model for generating optimized attention
kernels", 2024.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from ..autograd import FUNCTIONS, Tensor
from ..autograd.op import OPS

__all__ = [
    "AuxOutput",
    "AuxRequest",
    "BlockMask",
    "and_masks",
    "create_block_mask",
    "create_mask",
    "flex_attention",
    "noop_mask",
    "or_masks",
]

Mod = Callable[..., Any]


class AuxRequest(NamedTuple):
    """What `flex_attention` returns besides: lse, the logarithm of each query's sum of exponentials; max_scores."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What was requested of lse and max_scores, (B, Hq, L) each, and None for the rest."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """The mask function that keeps every pair: True (0-d), whatever the indices batch, head, token_q and token_kv."""
    return FUNCTIONS["tensor"](True, device=token_q.device)


def and_masks(*mask_mods: Mod) -> Mod:
    """The mask function that keeps the pairs which all of `mask_mods` keep."""
    return _joined("and_masks", mask_mods, lambda a, b: a & b)


def or_masks(*mask_mods: Mod) -> Mod:
    """The mask function that keeps the pairs which any of `mask_mods` keeps."""
    return _joined("or_masks", mask_mods, lambda a, b: a | b)


def _joined(name: str, mask_mods: tuple[Mod, ...], join: Callable[[Any, Any], Any]) -> Mod:
    for mod in mask_mods:
        if not callable(mod):
            raise RuntimeError(f"{name}: all inputs should be callable mask_mods, not {type(mod).__name__}")

    def joined(b: Tensor, h: Tensor, q_idx: Tensor, kv_idx: Tensor) -> Any:
        kept = q_idx.new_full((), name == "and_masks", dtype=FUNCTIONS["tensor"](True).dtype)
        for mod in mask_mods:
            kept = join(kept, mod(b, h, q_idx, kv_idx))
        return kept

    return joined


def _indices(sizes: tuple[int, ...], device: Any) -> list[Tensor]:
    """(B, 1, 1, 1), (1, H, 1, 1), (1, 1, L, 1) and (1, 1, 1, S): the indices of batch, head, query and key."""
    found = []
    for place, size in enumerate(sizes):
        shape = [1, 1, 1, 1]
        shape[place] = size
        found.append(FUNCTIONS["arange"](size, device=device).reshape(shape))
    return found


def create_mask(mod_fn: Mod, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None) -> Tensor:
    """The mask (B, H, Q_LEN, KV_LEN), bool, of a mask function (b, h, q_idx, kv_idx), True where a pair is kept.

    Of a score function (score, b, h, q_idx, kv_idx): where it gives a score of 0 anything but -inf. B, H: None for 1.
    `mod_fn` gets index tensors that broadcast against each other, all pairs at once.
    """
    import inspect

    sizes = (1 if B is None else B, 1 if H is None else H, Q_LEN, KV_LEN)
    places = _indices(sizes, device)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    taken = [p for p in inspect.signature(mod_fn).parameters.values() if p.kind in kinds and p.default is p.empty]
    if len(taken) == 5:
        scores = _tensor(mod_fn(FUNCTIONS["zeros"](sizes, device=device), *places), "score_mod")
        return (scores != -math.inf).expand(sizes)
    return _kept(mod_fn, places, sizes)


def _kept(mask_mod: Mod, places: list[Tensor], sizes: tuple[int, ...]) -> Tensor:
    return _tensor(mask_mod(*places), "mask_mod").bool().expand(sizes)


def _tensor(given: Any, name: str) -> Tensor:
    if not isinstance(given, Tensor):
        raise TypeError(f"flex_attention: a {name} must return a tensor, not {type(given).__name__}")
    return given


class BlockMask:
    """Which pairs of queries and keys attention is over: a mask function, and the blocks in which it keeps any.

    Made by `create_block_mask`. Blocks kept in part and in full are listed apart, by rows: kv_num_blocks (B, H, rows)
    says how many blocks of a row are kept in part, and kv_indices (B, H, rows, columns) begins with their columns;
    full_kv_num_blocks and full_kv_indices those kept in full. q_num_blocks, q_indices, full_q_num_blocks and
    full_q_indices say the same by columns. All are int32. seq_lengths: (queries, keys); BLOCK_SIZE: the same of one
    block. Attention here asks mask_mod alone: blocks save a compiled kernel work, and change no value.
    """

    def __init__(
        self,
        seq_lengths: tuple[int, int],
        kv_num_blocks: Tensor,
        kv_indices: Tensor,
        full_kv_num_blocks: Tensor | None,
        full_kv_indices: Tensor | None,
        q_num_blocks: Tensor | None,
        q_indices: Tensor | None,
        full_q_num_blocks: Tensor | None,
        full_q_indices: Tensor | None,
        BLOCK_SIZE: tuple[int, int] = (128, 128),
        mask_mod: Mod = noop_mask,
    ) -> None:
        if kv_indices.ndim < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        self.seq_lengths, self.BLOCK_SIZE, self.mask_mod = seq_lengths, BLOCK_SIZE, mask_mod
        self.kv_num_blocks, self.kv_indices = kv_num_blocks, kv_indices
        self.full_kv_num_blocks, self.full_kv_indices = full_kv_num_blocks, full_kv_indices
        self.q_num_blocks, self.q_indices = q_num_blocks, q_indices
        self.full_q_num_blocks, self.full_q_indices = full_q_num_blocks, full_q_indices

    @classmethod
    def from_kv_blocks(
        cls,
        kv_num_blocks: Tensor,
        kv_indices: Tensor,
        full_kv_num_blocks: Tensor | None = None,
        full_kv_indices: Tensor | None = None,
        BLOCK_SIZE: int | tuple[int, int] = 128,
        mask_mod: Mod | None = None,
        seq_lengths: tuple[int, int] | None = None,
        compute_q_blocks: bool = True,
    ) -> BlockMask:
        """The mask with these blocks by rows; those by columns are worked out, with `compute_q_blocks`.

        seq_lengths: by default as many whole blocks as there are. mask_mod: by default `noop_mask`.
        """
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise AssertionError("full_kv_num_blocks and full_kv_indices must be both provided or omitted")
        size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
        if seq_lengths is None:
            seq_lengths = (kv_indices.shape[-2] * size[0], kv_indices.shape[-1] * size[1])
        q, at, full_q, full_at = None, None, None, None
        if compute_q_blocks:
            q, at = _listed(_dense(kv_num_blocks, kv_indices).mT)
            if full_kv_num_blocks is not None and full_kv_indices is not None:
                full_q, full_at = _listed(_dense(full_kv_num_blocks, full_kv_indices).mT)
        rows = (kv_num_blocks, kv_indices, full_kv_num_blocks, full_kv_indices)
        return cls(seq_lengths, *rows, q, at, full_q, full_at, size, mask_mod or noop_mask)

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, queries, keys)."""
        return (*self.kv_indices.shape[:-2], *self.seq_lengths)

    def numel(self) -> int:
        """How many pairs there are."""
        return math.prod(self.shape)

    def sparsity(self) -> float:
        """The part of the pairs, in percent, that lies in blocks of which none is kept."""
        blocks = int(self.kv_num_blocks.sum())
        if self.full_kv_num_blocks is not None:
            blocks += int(self.full_kv_num_blocks.sum())
        return 100 * (1 - blocks * self.BLOCK_SIZE[0] * self.BLOCK_SIZE[1] / self.numel())

    def to_dense(self) -> Tensor:
        """(B, H, rows, columns), int32: 1 for each block that is kept, in part or in full."""
        dense = _dense(self.kv_num_blocks, self.kv_indices)
        if self.full_kv_num_blocks is not None and self.full_kv_indices is not None:
            dense = dense | _dense(self.full_kv_num_blocks, self.full_kv_indices)
        return dense.int()

    def _adjust(self, new_q_len: int, new_kv_len: int) -> BlockMask:
        """The upper left corner, for that many queries and keys."""
        lengths = (new_q_len, new_kv_len)
        rows, columns = (math.ceil(n / size) for n, size in zip(lengths, self.BLOCK_SIZE, strict=True))
        some = _listed(_dense(self.kv_num_blocks, self.kv_indices)[..., :rows, :columns])
        full: tuple[Any, Any] = (None, None)
        if self.full_kv_num_blocks is not None and self.full_kv_indices is not None:
            full = _listed(_dense(self.full_kv_num_blocks, self.full_kv_indices)[..., :rows, :columns])
        return BlockMask.from_kv_blocks(*some, *full, self.BLOCK_SIZE, self.mask_mod, lengths)

    def __getitem__(self, index: Any) -> BlockMask:
        """The blocks of some batches, heads and rows. What comes out has no mask function: set its `mask_mod`."""
        places = index if isinstance(index, tuple) else (index,)
        whole = tuple([slice(i, i + 1 or None) if isinstance(i, int) else i for i in places])
        kept: list[Any] = [None if t is None else t[whole] for t in self._by_row()]
        some, at, full, full_at = kept
        return BlockMask.from_kv_blocks(
            some, at, full, full_at, self.BLOCK_SIZE, None, self.seq_lengths, self.q_indices is not None
        )

    def _by_row(self) -> tuple[Any, Any, Any, Any]:
        return self.kv_num_blocks, self.kv_indices, self.full_kv_num_blocks, self.full_kv_indices

    def _by_column(self) -> tuple[Any, Any, Any, Any]:
        return self.q_num_blocks, self.q_indices, self.full_q_num_blocks, self.full_q_indices

    def to(self, device: Any) -> BlockMask:
        """The mask with its tensors on `device`; what the mask function holds stays where it is."""
        moved: list[Any] = [None if t is None else t.to(device) for t in (*self._by_row(), *self._by_column())]
        a, b, c, d, e, f, g, h = moved
        return BlockMask(self.seq_lengths, a, b, c, d, e, f, g, h, self.BLOCK_SIZE, self.mask_mod)

    def __repr__(self) -> str:
        kinds = ("kv", "full_kv", "q", "full_q")
        names = [f"{kind}_{what}" for kind in kinds for what in ("num_blocks", "indices")]
        lines = [f"{n}={None if getattr(self, n) is None else getattr(self, n).shape}" for n in names]
        lines += [f"BLOCK_SIZE={self.BLOCK_SIZE}", f"shape={self.shape}", f"sparsity={self.sparsity():.2f}%"]
        lines.append(f"mask_mod={getattr(self.mask_mod, '__name__', self.mask_mod)}")
        return "BlockMask(\n    " + ",\n    ".join(lines) + "\n)"


def _listed(dense: Tensor) -> tuple[Tensor, Tensor]:
    """(how many of each row are set, their columns before those of the rest), int32."""
    order = FUNCTIONS["argsort"](dense.int(), dim=-1, descending=True, stable=True)
    return dense.int().sum(dim=-1).int(), order.int()


def _dense(number: Tensor, indices: Tensor) -> Tensor:
    """The inverse of `_listed`, bool."""
    listed = FUNCTIONS["arange"](indices.shape[-1], device=indices.device) < number[..., None]
    return FUNCTIONS["zeros_like"](listed).scatter(-1, indices.long(), listed)


def create_block_mask(
    mask_mod: Mod,
    B: int | None,
    H: int | None,
    Q_LEN: int,
    KV_LEN: int,
    device: Any = None,
    BLOCK_SIZE: int | tuple[int, int] = 128,
    _compile: bool = False,
    separate_full_blocks: bool = True,
) -> BlockMask:
    """The BlockMask of a mask function (b, h, q_idx, kv_idx), True where a query may attend to a key.

    B, H: None where the function does not look at b or h. BLOCK_SIZE: of one block, in queries and in keys.
    separate_full_blocks: whether blocks kept in full are listed apart. _compile: PyTorch's, without effect. The
    function gets index tensors that broadcast against each other, all pairs at once.
    """
    size = (BLOCK_SIZE, BLOCK_SIZE) if isinstance(BLOCK_SIZE, int) else BLOCK_SIZE
    mask = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device)
    rows, columns = math.ceil(Q_LEN / size[0]), math.ceil(KV_LEN / size[1])
    padded = FUNCTIONS["zeros"](
        (*mask.shape[:2], rows * size[0], columns * size[1]), dtype=mask.dtype, device=mask.device
    )
    padded[..., :Q_LEN, :KV_LEN] = mask
    blocks = padded.reshape(*mask.shape[:2], rows, size[0], columns, size[1]).int().sum(dim=(-3, -1))
    full = blocks == size[0] * size[1]
    if not separate_full_blocks:
        return BlockMask.from_kv_blocks(*_listed(blocks > 0), None, None, size, mask_mod, (Q_LEN, KV_LEN))
    some = _listed((blocks > 0) & ~full)
    return BlockMask.from_kv_blocks(*some, *_listed(full), size, mask_mod, (Q_LEN, KV_LEN))


def _check(query: Tensor, key: Tensor, value: Tensor, block_mask: BlockMask | None, enable_gqa: bool) -> None:
    if not query.ndim == key.ndim == value.ndim == 4:
        raise NotImplementedError("flex_attention: query, key, and value must be 4D tensors")
    if not query.dtype == key.dtype == value.dtype:
        kinds = f"{query.dtype}, {key.dtype} and {value.dtype}"
        raise ValueError(f"flex_attention: Expected query, key, and value to have the same dtype, got {kinds}")
    if query.shape[-1] != key.shape[-1]:
        raise ValueError(
            "Expect query and key/value to have the same embedding dimension but got "
            f"E={query.shape[-1]} and E={key.shape[-1]}."
        )
    heads, held = query.shape[1], key.shape[1]
    if not enable_gqa and heads != held:
        raise ValueError(
            f"Expect query and key/value to have the same number of heads but got Hq={heads} and Hkv={held}. "
            "Try setting enable_gqa=True for GQA."
        )
    if enable_gqa and heads % held:
        raise ValueError(f"Expect number of query heads to be a multiple of kv heads for GQA but got {heads}, {held}.")
    lengths = (query.shape[-2], key.shape[-2])
    if block_mask is not None and block_mask.seq_lengths != lengths:
        raise ValueError(
            f"block_mask was created for block_mask.shape={block_mask.shape} but got q_len={lengths[0]} and "
            f"kv_len={lengths[1]}: create a new one, or take its upper left corner by block_mask._adjust(q_len, kv_len)"
        )


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    score_mod: Mod | None = None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    kernel_options: Any = None,
    *,
    return_aux: AuxRequest | None = None,
) -> Any:
    """softmax(score_mod(scale · query keyᵀ)) value over the pairs that `block_mask` keeps; rows without any give 0.

    query: (B, Hq, L, E); key: (B or 1, Hkv, S, E); value: (B or 1, Hkv, S, Ev); returns (B, Hq, L, Ev). score_mod:
    function (score, b, h, q_idx, kv_idx), which gets all scores (B, Hq, L, S) and index tensors that broadcast against
    them. scale: default 1/√E. enable_gqa: Hq may be a multiple of Hkv, and neighbours share a key. return_lse, or
    return_aux=AuxRequest(lse=True, max_scores=True): also log Σ exp(scores), or an AuxOutput. Scores of float16 and
    bfloat16, and what is made of them, are float32; the result has query's dtype. kernel_options: PyTorch's, without
    effect. ValueError for unlike heads, sizes E or dtypes, a mask of other lengths, or both return_lse and return_aux.
    """
    _check(query, key, value, block_mask, enable_gqa)
    if return_lse and return_aux is not None:
        raise ValueError("flex_attention: Cannot specify both return_lse and return_aux: return_lse is the older one")
    kind = query.dtype
    if kind.itemsize < 4:
        query, key, value = query.float(), key.float(), value.float()
    if enable_gqa and key.shape[1] != query.shape[1]:
        times = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)
    scores = (query @ key.mT) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    sizes = tuple(scores.shape)
    places = _indices(sizes, query.device)
    if score_mod is not None:
        scores = _tensor(score_mod(scores, *places), "score_mod").expand(sizes)
    if block_mask is not None:
        scores = FUNCTIONS["where"](_kept(block_mask.mask_mod, places, sizes), scores, -math.inf)
    out = (OPS["masked_softmax"](scores, dim=-1).to(value.dtype) @ value).to(kind)
    if not return_lse and return_aux is None:
        return out
    wanted = AuxRequest(lse=True) if return_aux is None else return_aux
    aux = AuxOutput(
        FUNCTIONS["logsumexp"](scores, dim=-1) if wanted.lse else None,
        FUNCTIONS["amax"](scores, dim=-1) if wanted.max_scores else None,
    )
    return (out, aux.lse) if return_aux is None else (out, aux)
