"""`assert_close` and `make_tensor`, as in torch.testing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..autograd import FUNCTIONS, Tensor, complex64, complex128, finfo, float16, float32, float64, iinfo
from ..autograd import bfloat16 as _bfloat16
from ..autograd.device import move, place_of
from ..autograd.dtypes import from_numpy_dtype
from ..backends import np

__all__ = ["assert_allclose", "assert_close", "make_tensor"]

#: dtype -> (rtol, atol): PyTorch's table; others are compared exactly
_TOLERANCES = {
    float16: (1e-3, 1e-5),
    _bfloat16: (1.6e-2, 1e-5),
    float32: (1.3e-6, 1e-5),
    float64: (1e-7, 1e-7),
    complex64: (1.3e-6, 1e-5),
    complex128: (1e-7, 1e-7),
}
#: those of `assert_allclose`
_OLD_TOLERANCES = {float16: (1e-3, 1e-3), float32: (1e-4, 1e-5), float64: (1e-5, 1e-8)}


class _Failure(AssertionError):
    pass


def assert_close(
    actual: Any,
    expected: Any,
    *,
    allow_subclasses: bool = True,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = False,
    check_device: bool = True,
    check_dtype: bool = True,
    check_layout: bool = True,
    check_stride: bool = False,
    msg: str | Callable[[str], str] | None = None,
) -> None:
    """AssertionError unless |actual - expected| <= atol + rtol·|expected|, elementwise, and shape and dtype agree.

    Takes tensors, numbers, NumPy arrays, None, and sequences and mappings of these, each compared with its like.
    The tolerances go by dtype unless both are given: float64 and Python's floats 1e-7 and 1e-7, float32 1.3e-6 and
    1e-5, float16 1e-3 and 1e-5, bfloat16 1.6e-2 and 1e-5 (relative and absolute), complex numbers those of their
    parts, and 0 for the rest; those of the
    two tensors' dtypes whichever is larger. msg: the text of the error, or a function of the text. equal_nan: NaN
    equals NaN. check_device, check_dtype, check_layout, check_stride: whether these must agree. allow_subclasses:
    PyTorch's, without effect.
    """
    if (rtol is None) != (atol is None):
        missing = "rtol" if rtol is None else "atol"
        raise ValueError(f"Both 'rtol' and 'atol' must be either specified or omitted, but got no {missing}.")
    checks = {"device": check_device, "dtype": check_dtype, "layout": check_layout, "stride()": check_stride}
    try:
        _compare(actual, expected, (), rtol, atol, equal_nan, checks)
    except _Failure as failure:
        text = str(failure)
        raise AssertionError(text if msg is None else msg(text) if callable(msg) else msg) from None


def assert_allclose(
    actual: Any,
    expected: Any,
    rtol: float | None = None,
    atol: float | None = None,
    equal_nan: bool = True,
    msg: str = "",
) -> None:
    """`assert_close` before there was one: tensors, or what makes tensors, of any dtype; deprecated, as in PyTorch.

    The tolerances are (relative, absolute) 1e-3 and 1e-3 for float16, 1e-4 and 1e-5 for float32, 1e-5 and 1e-8 for
    float64, of two dtypes the larger ones, unless one is given; 0 for the rest.
    """
    warnings.warn("testing.assert_allclose() is deprecated: use testing.assert_close()", FutureWarning, stacklevel=2)
    first = actual if isinstance(actual, Tensor) else FUNCTIONS["tensor"](actual)
    second = expected if isinstance(expected, Tensor) else FUNCTIONS["tensor"](expected, dtype=first.dtype)
    if rtol is None and atol is None:
        usual = [_OLD_TOLERANCES.get(t.dtype, (0.0, 0.0)) for t in (first, second)]
        rtol, atol = map(max, zip(*usual, strict=True))
    assert_close(first, second, rtol=rtol, atol=atol, equal_nan=equal_nan, check_dtype=False, msg=msg or None)


def _fail(text: str, path: tuple[Any, ...]) -> None:
    if path:
        text += f"\n\nThe failure occurred for item {''.join([f'[{k!r}]' for k in path])}"
    raise _Failure(text)


def _compare(a: Any, b: Any, path: tuple[Any, ...], *options: Any) -> None:
    rtol, atol, equal_nan, checks = options
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _tensors(a, b, path, *options)
    if isinstance(a, (np.ndarray, np.generic)) and isinstance(b, (np.ndarray, np.generic)):
        return _tensors(FUNCTIONS["tensor"](a), FUNCTIONS["tensor"](b), path, *options)
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        missing, extra = [k for k in b if k not in a], [k for k in a if k not in b]
        if missing or extra:
            text = "The keys of the mappings do not match:"
            text += f"\nMissing keys in the actual mapping: {sorted(missing)}" if missing else ""
            text += f"\nAdditional keys in the actual mapping: {sorted(extra)}" if extra else ""
            _fail(text, path)
        for key in a:
            _compare(a[key], b[key], (*path, key), *options)
        return None
    if a is None and b is None:
        return None
    if a is None or b is None:
        return _fail(f"None mismatch: {a} is not {b}", path)
    if isinstance(a, bool) and isinstance(b, bool):
        return None if a is b else _fail(f"Booleans mismatch: {a} is not {b}", path)
    if isinstance(a, (int, float, complex)) and isinstance(b, (int, float, complex)):
        return _numbers(a, b, path, rtol, atol, equal_nan, checks["dtype"])
    texts = isinstance(a, str) or isinstance(b, str)
    if isinstance(a, Sequence) and isinstance(b, Sequence) and not texts:
        if len(a) != len(b):
            _fail(f"The length of the sequences mismatch: {len(a)} != {len(b)}", path)
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            _compare(x, y, (*path, i), *options)
        return None
    raise TypeError(f"No comparison pair was able to handle inputs of type {type(a)} and {type(b)}.")


def _numbers(a: Any, b: Any, path: Any, rtol: Any, atol: Any, equal_nan: bool, check_dtype: bool) -> None:
    if check_dtype and type(a) is not type(b):
        _fail(f"The (d)types do not match: {type(a)} != {type(b)}", path)
    if rtol is None:
        rtol, atol = (1e-7, 1e-7) if any(isinstance(x, (float, complex)) for x in (a, b)) else (0, 0)
    difference = abs(a - b)
    if a == b or difference <= atol + rtol * abs(b) < float("inf") or (equal_nan and a != a and b != b):
        return
    relative = difference / abs(b) if b else float("inf")
    _fail(_number_text(a, b, difference, relative, rtol, atol), path)


def _number_text(a: Any, b: Any, difference: Any, relative: Any, rtol: float, atol: float) -> str:
    exact = rtol == atol == 0
    ends = ("", "") if exact else (f" (up to {atol} allowed)", f" (up to {rtol} allowed)")
    return (
        f"Scalars are not {'equal' if exact else 'close'}!\n\nExpected {b} but got {a}.\n"
        f"Absolute difference: {difference}{ends[0]}\nRelative difference: {relative}{ends[1]}"
    )


def _tensors(a: Tensor, b: Tensor, path: Any, rtol: Any, atol: Any, equal_nan: bool, checks: dict[str, bool]) -> None:
    for name, check in {"shape": True, **checks}.items():
        one, two = (t.stride() if name == "stride()" else getattr(t, name) for t in (a, b))
        if check and one != two:
            _fail(f"The values for attribute '{name}' do not match: {one} != {two}.", path)
    if rtol is None:
        pairs = [_TOLERANCES.get(t.dtype, (0.0, 0.0)) for t in (a, b)]
        rtol, atol = max(p[0] for p in pairs), max(p[1] for p in pairs)
    if a.layout is not FUNCTIONS["empty"](0).layout or b.layout is not a.layout:
        a, b = a.to_dense(), b.to_dense()
    x, y = (move(t.detach().array, place_of("cpu")) for t in (a, b))
    kind = from_numpy_dtype(np.result_type(x.dtype, y.dtype)).dtype if x.dtype != y.dtype else x.dtype
    wide: Any = np.float64 if kind.kind == "f" or kind.kind == "V" or kind.name == "bfloat16" else np.int64
    wide = np.complex128 if kind.kind == "c" else wide
    x, y = np.asarray(x).astype(wide), np.asarray(y).astype(wide)
    with np.errstate(all="ignore"):
        difference = np.abs(x - y)
        close = (x == y) | (np.isfinite(difference) & (difference <= atol + rtol * np.abs(y)))
        if equal_nan:
            close |= (x != x) & (y != y)
        if close.all():
            return None
        relative = np.where(close, 0, difference / np.abs(y))
    difference = np.where(close, 0, difference)
    if not x.ndim:
        return _fail(_number_text(x.item(), y.item(), difference.item(), relative.item(), rtol, atol), path)
    exact = rtol == atol == 0
    bad = int((~close).sum())
    text = f"Tensor-likes are not {'equal' if exact else 'close'}!\n\n"
    text += f"Mismatched elements: {bad} / {x.size} ({bad / x.size:.1%})"
    for what, values, allowed in (("absolute", difference, atol), ("relative", relative, rtol)):
        at = np.unravel_index(int(values.argmax()), values.shape)
        where = tuple([int(i) for i in at])
        text += f"\nGreatest {what} difference: {values[at].item()} at index {where}"
        text += "" if exact else f" (up to {allowed} allowed)"
    return _fail(text, path)


def make_tensor(
    *shape: Any,
    dtype: Any,
    device: Any = None,
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """A tensor of uniform random numbers in [low, high): by default [-9, 9), [-9, 10) for integers, [0, 10) unsigned.

    exclude_zero: zeros become the smallest positive number. noncontiguous: with gaps in memory.
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    stored = (*sizes[:-1], 2 * sizes[-1]) if noncontiguous and sizes else sizes
    kind = FUNCTIONS["empty"](0, dtype=dtype).dtype
    if kind.is_floating_point:
        limit = finfo(kind).max
        least, most = max(-9.0 if low is None else low, -limit), min(9.0 if high is None else high, limit)
        t = FUNCTIONS["rand"](stored, dtype=float64, device=device).mul(most - least).add(least).to(kind)
    else:
        unsigned = str(kind).endswith(("uint8", "bool"))
        limits = (0, 2) if str(kind).endswith("bool") else (iinfo(kind).min, iinfo(kind).max + 1)
        usual = limits if str(kind).endswith("bool") else (0, 10) if unsigned else (-9, 10)
        least = max(usual[0] if low is None else int(low), limits[0])
        most = min(usual[1] if high is None else int(high), limits[1])
        t = FUNCTIONS["randint"](least, most, stored, device=device).to(kind)
    if noncontiguous and sizes:
        t = t[..., ::2]
    if exclude_zero:
        t = FUNCTIONS["where"](t == 0, finfo(kind).tiny if kind.is_floating_point else 1, t).to(kind)
    if memory_format is not None:
        t = t.contiguous(memory_format=memory_format)
    return t.detach().requires_grad_(requires_grad)
