"""Scaled dot-product attention that never holds the matrix of all scores (Dao et al. 2022, "FlashAttention").

A block of queries meets all keys that it may attend to: its scores stay in the second cache from the product with the
keys to that with the values. Kept are the inputs, the result and the logarithm of each query's sum; the gradient
computes the scores again, block by block. A head is one thread's. Causal attention leaves out the keys behind a block,
half of the work. float32, head sizes of any length, rows contiguous and at any distance, so heads need no copies.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..numpy.memory import empty, empty_like
from . import Kept
from .build import inlined, kernel
from .gemm import PANEL, ROWS, panels, scratch, transposed_panels
from .intrinsics import address, get, microkernel, put, vector_width
from .listed import contiguous, keep, made
from .mathematics import exp
from .pool import run, threads

__all__ = ["SERVES"]

f4 = np.float32
_FLOAT32, _BOOL = np.dtype(np.float32), np.dtype(bool)
_WIDTH = vector_width()
_tile = microkernel(ROWS, PANEL // _WIDTH)
#: queries in a block
BLOCK = 4 * ROWS
_INFINITY = f4(np.inf)
_ZERO = np.zeros(1, np.int64)


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


@inlined
def _up_panel(n):
    return (n + PANEL - 1) // PANEL * PANEL


@inlined
def _rows(source, step, rows, columns, target, to, scale):
    """Rows of `columns` floats times `scale`, `to` floats apart."""
    for i in range(rows):
        b = target[i * to : i * to + columns]
        for j in range(columns):
            b[j] = get(source + 4 * (i * step + j)) * scale


@inlined
def _multiply(a, rs, cs, packed, panel, c, ldc, rows, depth, columns, beta, zero):
    """C (+)= A B: B in panels of `panel` rows; A and C have room for whole tiles."""
    for p in range((columns + PANEL - 1) // PANEL):
        for i in range(0, rows, ROWS):
            target = address(c) + 4 * (i * ldc + p * PANEL)
            b = address(packed) + 4 * p * panel * PANEL
            _tile(a + 4 * i * rs, b, target, zero, 1, depth, rs, cs, PANEL, 0, ldc, beta)


@inlined
def _mask(scores, ld, rows, limit, i0, causal, mask, mask_row, mask_column):
    """What may not be attended to becomes -inf; a mask of floats (`mask` is its address, or 0) is added."""
    for i in range(rows):
        s = scores[i * ld : i * ld + limit]
        if causal:
            for j in range(i0 + i + 1, limit):
                s[j] = -_INFINITY
        if mask:
            at = mask + 4 * (i0 + i) * mask_row
            for j in range(limit):
                s[j] += get(at + 4 * j * mask_column)


# The table holds, for each head, the addresses of its query, key, value, result, and mask (0: none), and in the
# gradient of the result's gradient, and of the gradients of query, key and value. `steps`: floats from row to row of
# each of these, and of the mask from column to column at the end. sizes: queries, keys, head size, value size.


@kernel("i8[:,:] i8[:] i8[:] f4[:,:] u1[:,:,:] f4[:] i8[:] f4 f4 i8 i8 i8", fast=True)
def _forward(table, steps, sizes, logsums, kept, memory, zero, scale, keep_scale, causal, start, stop):
    L, S, E, V = sizes[0], sizes[1], sizes[2], sizes[3]
    wide, ld, to, tv = _up_panel(S), _up_panel(S) + 2 * PANEL, _up_panel(E) + 16, _up_panel(V)
    keys = memory[: wide * E]
    values = memory[wide * E : wide * E + S * tv]
    rest = memory[wide * E + S * tv :]
    queries, rest = rest[: BLOCK * to], rest[BLOCK * to :]
    scores, results = rest[: BLOCK * ld], rest[BLOCK * ld :]
    for h in range(start, stop):
        at = table[h]
        transposed_panels(at[1], steps[1], S, E, keys)
        panels(at[2], steps[2], S, V, values)
        for i0 in range(0, L, BLOCK):
            rows = min(BLOCK, L - i0)
            limit = min(S, i0 + rows) if causal else S
            _rows(at[0] + 4 * i0 * steps[0], steps[0], rows, E, queries, to, scale)
            _multiply(address(queries), to, 1, keys, E, scores, ld, rows, E, limit, 0, address(zero))
            _mask(scores, ld, rows, limit, i0, causal, at[4], steps[4], steps[9])
            for i in range(rows):
                s = scores[i * ld : i * ld + limit]
                top = -_INFINITY
                for j in range(limit):
                    top = max(top, s[j])
                if top == -_INFINITY:  # nothing to attend to: zeros, not NaN
                    for j in range(limit):
                        s[j] = 0
                    logsums[h, i0 + i] = _INFINITY
                    continue
                total = f4(0)
                for j in range(limit):
                    e = exp(s[j] - top)
                    s[j] = e
                    total += e
                logsums[h, i0 + i] = top + np.log(total)
                share = f4(1) / total
                if kept.size:
                    k = kept[h, i0 + i]
                    for j in range(limit):
                        s[j] = s[j] * share * keep_scale if k[j] else f4(0)
                else:
                    for j in range(limit):
                        s[j] *= share
            _multiply(address(scores), ld, 1, values, S, results, tv, rows, limit, V, 0, address(zero))
            for i in range(rows):
                out = at[3] + 4 * (i0 + i) * steps[3]
                for j in range(V):
                    put(out + 4 * j, results[i * tv + j])


@kernel("i8[:,:] i8[:] i8[:] f4[:,:] u1[:,:,:] f4[:] i8[:] f4 f4 i8 i8 i8", fast=True)
def _backward(table, steps, sizes, logsums, kept, memory, zero, scale, keep_scale, causal, start, stop):
    L, S, E, V = sizes[0], sizes[1], sizes[2], sizes[3]
    wide, ld = _up_panel(S), _up_panel(S) + 2 * PANEL
    te, tv, qe, qv = _up_panel(E), _up_panel(V), _up_panel(E) + 16, _up_panel(V) + 16
    tall = S + ROWS
    at0 = 0
    keys_t, at0 = memory[at0 : at0 + wide * E], at0 + wide * E
    values_t, at0 = memory[at0 : at0 + wide * V], at0 + wide * V
    keys, at0 = memory[at0 : at0 + S * te], at0 + S * te
    dk, at0 = memory[at0 : at0 + tall * te], at0 + tall * te
    dv, at0 = memory[at0 : at0 + tall * tv], at0 + tall * tv
    queries, at0 = memory[at0 : at0 + BLOCK * qe], at0 + BLOCK * qe
    grads, at0 = memory[at0 : at0 + BLOCK * qv], at0 + BLOCK * qv
    packed_q, at0 = memory[at0 : at0 + BLOCK * te], at0 + BLOCK * te
    packed_g, at0 = memory[at0 : at0 + BLOCK * tv], at0 + BLOCK * tv
    p, at0 = memory[at0 : at0 + BLOCK * ld], at0 + BLOCK * ld
    ds, at0 = memory[at0 : at0 + BLOCK * ld], at0 + BLOCK * ld
    dq = memory[at0 : at0 + BLOCK * te]
    for h in range(start, stop):
        at = table[h]
        transposed_panels(at[1], steps[1], S, E, keys_t)
        transposed_panels(at[2], steps[2], S, V, values_t)
        panels(at[1], steps[1], S, E, keys)
        dk[:] = 0
        dv[:] = 0
        for i0 in range(0, L, BLOCK):
            rows = min(BLOCK, L - i0)
            limit = min(S, i0 + rows) if causal else S
            _rows(at[0] + 4 * i0 * steps[0], steps[0], rows, E, queries, qe, scale)
            _rows(at[5] + 4 * i0 * steps[5], steps[5], rows, V, grads, qv, f4(1))
            _multiply(address(queries), qe, 1, keys_t, E, p, ld, rows, E, limit, 0, address(zero))
            _mask(p, ld, rows, limit, i0, causal, at[4], steps[4], steps[9])
            _multiply(address(grads), qv, 1, values_t, V, ds, ld, rows, V, limit, 0, address(zero))
            for i in range(rows):
                a, b = p[i * ld : i * ld + limit], ds[i * ld : i * ld + limit]
                out, g = at[3] + 4 * (i0 + i) * steps[3], grads[i * qv : i * qv + V]
                inner = f4(0)
                for j in range(V):
                    inner += g[j] * get(out + 4 * j)
                logsum = logsums[h, i0 + i]
                if kept.size:
                    k = kept[h, i0 + i]
                    for j in range(limit):
                        e = exp(a[j] - logsum)
                        b[j] = e * ((b[j] * keep_scale if k[j] else f4(0)) - inner)
                        a[j] = e * keep_scale if k[j] else f4(0)
                else:
                    for j in range(limit):
                        e = exp(a[j] - logsum)
                        a[j] = e
                        b[j] = e * (b[j] - inner)
                for j in range(limit, min(ld, limit + PANEL + ROWS)):  # whole tiles of their transposes are read
                    p[i * ld + j] = 0
                    ds[i * ld + j] = 0
            panels(address(grads), qv, rows, V, packed_g)
            panels(address(queries), qe, rows, E, packed_q)
            _multiply(address(p), 1, ld, packed_g, rows, dv, tv, limit, rows, V, 1, address(zero))
            _multiply(address(ds), 1, ld, packed_q, rows, dk, te, limit, rows, E, 1, address(zero))
            _multiply(address(ds), ld, 1, keys, S, dq, te, rows, limit, E, 0, address(zero))
            for i in range(rows):
                to = at[6] + 4 * (i0 + i) * steps[6]
                for j in range(E):
                    put(to + 4 * j, dq[i * te + j] * scale)
        for i in range(S):
            to = at[7] + 4 * i * steps[7]
            for j in range(E):
                put(to + 4 * j, dk[i * te + j])
            to = at[8] + 4 * i * steps[8]
            for j in range(V):
                put(to + 4 * j, dv[i * tv + j])


def _sizes(L: int, S: int, E: int, V: int) -> tuple[int, int]:
    """Floats of scratch memory that the forward and the gradient take for each thread."""
    wide, tall, ld, te, tv = _up(S, PANEL), S + ROWS, _up(S, PANEL) + 2 * PANEL, _up(E, PANEL), _up(V, PANEL)
    forward = wide * E + S * tv + BLOCK * (te + 16 + ld + tv)
    backward = wide * (E + V) + S * te + tall * (te + tv) + BLOCK * (3 * te + 2 * tv + 32 + 2 * ld)
    return forward, backward


def _heads(x: Any) -> tuple[Any, int]:
    """Addresses of the matrices of a stack, and floats from row to row."""
    # __array_interface__ is five times as quick as ctypes.data
    offsets = np.asarray(x.__array_interface__["data"][0], np.int64)
    for n, step in zip(x.shape[:-2], x.strides[:-2]):
        offsets = offsets[..., None] + np.arange(n) * step
    return offsets.reshape(-1), x.strides[-2] // 4


def _row_major(x: Any) -> Any:
    """`x`, copied unless the elements of a row lie side by side."""
    if x.shape[-1] == 1 or x.strides[-1] == 4:
        return x
    return contiguous(x)


def _like(x: Any) -> Any:
    """An empty array of x's shape and order of memory: gradients go back through the views that heads come from."""
    return empty_like(x)


def attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    kept: Any = None,
    keep_scale: float = 1.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    lead, (L, E), S, V = query.shape[:-2], query.shape[-2:], key.shape[-2], value.shape[-1]
    if (
        any(x.dtype != _FLOAT32 for x in (query, key, value))
        or key.shape[:-2] != lead
        or value.shape[:-2] != lead
        or not (query.size and key.size and value.size)
        or (kept is not None and kept.shape != (*lead, L, S))
        or (attn_mask is not None and not _fits(attn_mask, (*lead, L, S)))
    ):
        return NotImplemented
    query, key, value = _row_major(query), _row_major(key), _row_major(value)
    if attn_mask is not None:
        if attn_mask.dtype == _BOOL:
            mask = made(np.where, attn_mask, f4(0), f4(-np.inf))
        else:
            mask = np.asarray(attn_mask)
        mask = np.broadcast_to(mask, (*lead, L, S))
    else:
        mask = None
    out = _like(query) if E == V else np.empty((*lead, L, V), np.float32)
    if out.strides[-1] != 4 and V > 1:
        out = empty((*lead, L, V), _FLOAT32)
    logsums = np.empty((query.size // (L * E), L), np.float32)
    kept = None if kept is None else contiguous(kept).reshape(-1, L, S).view(np.uint8)
    scale = 1 / math.sqrt(E) if scale is None else scale
    call = (scale, keep_scale, is_causal)
    _run(_forward, 0, (query, key, value, out, mask), logsums, kept, *call)
    return out, Kept((query, key, value, out, mask, logsums, kept, call, attn_mask))


def _fits(mask: Any, shape: tuple[int, ...]) -> bool:
    if mask.dtype != _FLOAT32 and mask.dtype != _BOOL:
        return False
    return mask.ndim <= len(shape) and all(m in (1, n) for m, n in zip(mask.shape[::-1], shape[::-1]))


def _run(kernel: Any, way: int, arrays: Any, logsums: Any, kept: Any, scale: Any, keep_scale: Any, causal: Any) -> None:
    query, key, value, _, mask, *_ = arrays
    count = len(logsums)
    table, steps = np.zeros((count, 9), np.int64), np.zeros(10, np.int64)
    for i, x in enumerate(arrays):
        if x is not None:
            table[:, i], steps[i] = _heads(x)
    if mask is not None:
        steps[9] = mask.strides[-1] // 4
    sizes = query.shape[-2], key.shape[-2], query.shape[-1], value.shape[-1]
    floats, numbers = _sizes(*sizes)[way], np.array(sizes, np.int64)
    kept = np.empty((0, 0, 0), np.uint8) if kept is None else kept

    def piece(start: int, stop: int) -> None:
        kernel(
            table, steps, numbers, logsums, kept, scratch(floats), _ZERO, scale, keep_scale, int(causal), start, stop
        )

    n = min(threads(), count) if count * sizes[0] * sizes[1] * sizes[2] > 1 << 19 else 1
    step = -(-count // n)
    run(piece, [(i, min(i + step, count)) for i in range(0, count, step)])
    keep(*arrays)


def attention_grad(g: Any, residual: Any, needs: Any) -> Any:
    if type(residual) is not Kept:
        return NotImplemented
    query, key, value, out, mask, logsums, kept, call, attn_mask = residual
    g = _row_major(g)
    grads = [_like(x) for x in (query, key, value)]
    _run(_backward, 1, (query, key, value, out, mask, g, *grads), logsums, kept, *call)
    g_mask = None
    if needs[3]:
        g_mask = made(_mask_gradient, g, query, key, value, attn_mask, kept, call)
    return *grads, g_mask, None


def _mask_gradient(g: Any, query: Any, key: Any, value: Any, attn_mask: Any, kept: Any, call: Any) -> Any:
    """That of a mask of floats, by NumPy's kernels: it has the size of the scores."""
    from ..numpy.attention import attention as plain
    from ..numpy.attention import attention_grad as plain_grad

    scale, keep_scale, causal = call
    if kept is not None:
        kept = kept.view(np.bool_).reshape(*query.shape[:-1], key.shape[-2])
    _, residual = plain(query, key, value, attn_mask, kept, keep_scale, causal, scale)
    return plain_grad(g, residual, (False, False, False, True, False))[3]


SERVES: dict[str, Callable[..., Any]] = {
    "scaled_dot_product_attention": attention,
    "scaled_dot_product_attention.grad": attention_grad,
}
