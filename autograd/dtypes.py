"""Data types, and the one promotion table of every backend.

Promotion has PyTorch's categories (bool < integer < floating < complex): a tensor with dimensions outranks a 0-d
tensor of the same category, and both outrank a Python number, which is weak and never becomes an array first. NumPy's
own promotion differs (int64 with float32 is float64 there), so the engine casts before it calls a kernel.

What a complex number does to a real one of the same rank keeps the precision: float64 with complex64 is complex128.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from ..backends import np
from .errors import OpError

__all__ = [
    "BFLOAT16",
    "COMPLEX",
    "SELDOM",
    "bfloat16",
    "bool_",
    "can_cast",
    "check_castable",
    "complex64",
    "complex128",
    "complex_of",
    "default_dtype",
    "differentiable",
    "dtype",
    "finfo",
    "float16",
    "float32",
    "float64",
    "from_numpy_dtype",
    "get_default_dtype",
    "iinfo",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_floating",
    "promote_types",
    "real_of",
    "result_type",
    "set_default_dtype",
    "to_numpy_dtype",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]


class dtype:
    """An element type: `chainrule.float32` and its fellows.

    Equal to NumPy's dtype of the same name, and usable where NumPy takes one: `np.zeros(3, chainrule.float32)`.
    Attributes: name, short, itemsize (bytes), is_floating_point, is_signed, is_complex.
    """

    __slots__ = ("_dtype", "is_complex", "is_floating_point", "is_signed", "itemsize", "name", "short")

    def __init__(self, name: str, short: str, is_floating_point: bool, is_signed: bool, itemsize: int) -> None:
        self.name, self.short, self.itemsize = name, short, itemsize
        self.is_complex = name.startswith("complex")
        self.is_floating_point, self.is_signed = is_floating_point, is_signed
        self._dtype: Any = None

    @property
    def dtype(self) -> Any:
        """The NumPy dtype (NumPy looks for this attribute); bfloat16's comes from the extra package ml_dtypes."""
        if self._dtype is None:
            if self.name in _INSTEAD or (self.itemsize == 1 and self.is_floating_point):
                raise TypeError(f"tensors of {self.name} are not supported: take {_INSTEAD.get(self.name, 'float16')}")
            if self.name == "bfloat16":
                try:
                    import ml_dtypes
                except ImportError:
                    raise ImportError("bfloat16 needs ml_dtypes: pip install chainrule[bfloat16]") from None
                self._dtype = np.dtype(ml_dtypes.bfloat16)
                _seldom(BFLOAT16, self._dtype)
            else:
                self._dtype = np.dtype(self.name)
                if self.is_complex:
                    _seldom(COMPLEX, self._dtype)
            _FROM_NUMPY[self._dtype] = self
        return self._dtype

    def to_complex(self) -> Any:
        """The complex dtype of numbers with such parts; RuntimeError for integers and bools."""
        if not (self.is_floating_point or self.is_complex):
            raise RuntimeError(f"Unknown Complex ScalarType for {self.name}")
        return from_numpy_dtype(complex_of(self.dtype))

    def to_real(self) -> Any:
        """The dtype of the parts of complex numbers; any other is its own."""
        return from_numpy_dtype(real_of(self.dtype)) if self.is_complex else self

    def __repr__(self) -> str:
        return f"chainrule.{self.name}"

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, dtype) or other is None:
            return False
        try:
            return bool(np.dtype(other) == self.dtype)  # type: ignore[call-overload]
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> Any:
        return _by_name, (self.name,)


float16 = half = dtype("float16", "Half", True, True, 2)
bfloat16 = dtype("bfloat16", "BFloat16", True, True, 2)
float32 = float_ = dtype("float32", "Float", True, True, 4)
float64 = double = dtype("float64", "Double", True, True, 8)
uint8 = dtype("uint8", "Byte", False, False, 1)
int8 = dtype("int8", "Char", False, True, 1)
int16 = short = dtype("int16", "Short", False, True, 2)
int32 = int_ = dtype("int32", "Int", False, True, 4)
int64 = long = dtype("int64", "Long", False, True, 8)
bool_ = dtype("bool", "Bool", False, False, 1)
complex64 = cfloat = dtype("complex64", "ComplexFloat", False, True, 8)
complex128 = cdouble = dtype("complex128", "ComplexDouble", False, True, 16)
complex32 = chalf = dtype("complex32", "ComplexHalf", False, True, 4)
uint16 = dtype("uint16", "UInt16", False, False, 2)
uint32 = dtype("uint32", "UInt32", False, False, 4)
uint64 = dtype("uint64", "UInt64", False, False, 8)

float8_e4m3fn, float8_e4m3fnuz, float8_e5m2, float8_e5m2fnuz, float8_e8m0fnu = (
    dtype(f"float8_{form}", f"Float8_{form}", True, form != "e8m0fnu", 1)
    for form in ("e4m3fn", "e4m3fnuz", "e5m2", "e5m2fnuz", "e8m0fnu")
)

#: types with a name alone, as PyTorch has few ops for them -> what holds their numbers
_INSTEAD = {
    "uint16": "int32",
    "uint32": "int64",
    "uint64": "int64 for numbers below 2**63",
    "complex32": "complex64",
}

_ALL = {
    d.name: d
    for d in (float16, bfloat16, float32, float64, uint8, int8, int16, int32, int64, bool_, complex64, complex128)
}
_FROM_NUMPY: dict[Any, dtype] = {np.dtype(n): d for n, d in _ALL.items() if n != "bfloat16" and not d.is_complex}
_PYTHON = {float: float64, int: int64, bool: bool_, complex: complex128}

FLOAT32 = np.dtype("float32")
#: NumPy's dtype for bfloat16, once a program has asked for it; until then nobody need look for it
BFLOAT16: set[Any] = set()
#: NumPy's complex dtypes of which a program has made use
COMPLEX: set[Any] = set()
#: both: what the unrolled call paths leave to the general one
SELDOM: set[Any] = set()
_COMPLEX_OF = {2: "complex64", 4: "complex64", 8: "complex128"}
_REAL_OF = {"complex64": "float32", "complex128": "float64"}
_default: ContextVar[Any] = ContextVar("chainrule_default_dtype", default=FLOAT32)


def _seldom(kinds: set[Any], kind: Any) -> None:
    kinds.add(kind)
    SELDOM.add(kind)


def _by_name(name: str) -> dtype:
    return globals()[f"{name}_" if name == "bool" else name]


def from_numpy_dtype(kind: Any) -> dtype:
    """chainrule's dtype for a NumPy dtype; TypeError for one that the engine has not."""
    try:
        return _FROM_NUMPY[kind]
    except KeyError:
        pass
    kind = np.dtype(kind)
    if kind.name == "bfloat16":
        _seldom(BFLOAT16, kind)
        return _FROM_NUMPY.setdefault(kind, bfloat16)
    if kind.isnative and kind in _FROM_NUMPY:
        return _FROM_NUMPY[kind]
    if kind.isnative and kind.name in _REAL_OF:
        _seldom(COMPLEX, kind)
        return _FROM_NUMPY.setdefault(kind, _ALL[kind.name])
    known = ", ".join(_ALL)
    raise TypeError(f"can't make a tensor of NumPy dtype {kind}; the supported dtypes are {known}")


def to_numpy_dtype(kind: Any) -> Any:
    """The NumPy dtype for a chainrule dtype, a NumPy dtype, a name, or Python's float (float64), int and bool."""
    if type(kind) is dtype:
        return kind._dtype or kind.dtype
    if isinstance(kind, type) and kind in _PYTHON:
        return _PYTHON[kind].dtype
    if isinstance(kind, str):
        kind = kind.removeprefix("torch.").removeprefix("chainrule.")
        if kind in _ALL:
            return _ALL[kind].dtype
    elif kind is None:
        raise TypeError("a dtype is needed, not None")
    return from_numpy_dtype(np.dtype(kind)).dtype


def get_default_dtype() -> dtype:
    """The dtype of tensors made from Python floats (float32 unless set)."""
    return from_numpy_dtype(_default.get())


def default_dtype() -> Any:
    """The default dtype, as a NumPy dtype."""
    return _default.get()


def set_default_dtype(d: Any) -> None:
    """Set the dtype of tensors made from Python floats, in this context. TypeError unless it is floating."""
    kind = to_numpy_dtype(d)
    if not is_floating(kind):
        raise TypeError(f"only floating-point types are supported as the default type, not {d}")
    _default.set(kind)


def is_floating(kind: Any) -> bool:
    """True for NumPy dtypes of real numbers."""
    return kind.kind == "f" or kind.name == "bfloat16"


def differentiable(kind: Any) -> bool:
    """True for NumPy dtypes that can carry a gradient: floating and complex ones."""
    return kind.kind in "fc" or kind.name == "bfloat16"


def complex_of(kind: Any) -> Any:
    """The complex NumPy dtype of numbers whose parts are `kind`: complex64 of float32 and shorter."""
    return kind if kind.kind == "c" else to_numpy_dtype(_COMPLEX_OF[kind.itemsize if is_floating(kind) else 4])


def real_of(kind: Any) -> Any:
    """The NumPy dtype of the parts of numbers of `kind`: float32 of complex64; others are their own."""
    return np.dtype(_REAL_OF[kind.name]) if kind.kind == "c" else kind


def _category(kind: Any) -> int:
    return 3 if kind.kind == "c" else 0 if kind.kind == "b" else 2 if is_floating(kind) else 1


def promote_numpy(a: Any, b: Any) -> Any:
    """The smallest dtype that holds both categories as PyTorch has it (NumPy dtypes in, NumPy dtype out)."""
    if a == b:
        return a
    ca, cb = _category(a), _category(b)
    if ca != cb:
        higher, lower = (a, b) if ca > cb else (b, a)
        return max(higher, complex_of(lower), key=lambda kind: kind.itemsize) if {ca, cb} == {2, 3} else higher
    if ca == 3:
        return to_numpy_dtype(np.promote_types(a, b).name)
    if ca == 2:
        if a.itemsize == b.itemsize == 2:  # float16 with bfloat16
            return FLOAT32
        return a if a.itemsize >= b.itemsize else b
    return np.promote_types(a, b)


def promote_types(type1: Any, type2: Any) -> dtype:
    """The dtype to which two tensors with dimensions promote, e.g. int64 and float32 to float32."""
    return from_numpy_dtype(promote_numpy(to_numpy_dtype(type1), to_numpy_dtype(type2)))


def can_cast(from_: Any, to: Any) -> bool:
    """True where promotion never goes the other way: no cast from floating to integer, nor from a number to bool."""
    return _category(to_numpy_dtype(from_)) <= _category(to_numpy_dtype(to))


def check_castable(name: str, have: Any, want: Any) -> None:
    """RuntimeError where what `name` computes would lose its category in the tensor that is to hold it."""
    if _category(have) > _category(want):
        raise OpError(
            f"{name}: result type {from_numpy_dtype(have).short} can't be cast to the desired output type "
            f"{from_numpy_dtype(want).short}; convert the tensor first, or let the result be a new one"
        )


def common_dtype(operands: Any) -> Any:
    """The NumPy dtype to which operands (arrays and Python numbers) promote, by PyTorch's three ranks."""
    ranks: list[Any] = [None, None, None]  # with dimensions, 0-d, Python numbers
    for x in operands:
        kind = getattr(x, "dtype", None)
        if kind is None:
            rank, kind = (
                2,
                default_dtype()
                if isinstance(x, float)
                else complex_of(default_dtype())
                if isinstance(x, complex)
                else _PYTHON[bool if x is True or x is False else int].dtype,
            )
        else:
            rank = 0 if x.ndim else 1
        ranks[rank] = kind if ranks[rank] is None else promote_numpy(ranks[rank], kind)
    result = None
    for kind in ranks:
        if kind is not None and (result is None or _category(kind) > _category(result)):
            # a lower rank only lifts the category, and a Python number then brings the default dtype
            result = complex_of(result) if kind.kind == "c" and result is not None and is_floating(result) else kind
    return result


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype of an arithmetic result of two operands (tensors or Python numbers)."""
    return from_numpy_dtype(common_dtype([getattr(x, "array", x) for x in (tensor1, tensor2)]))


#: what NumPy has no type for -> eps, max, smallest normal number, resolution (the formats of OCP's FP8 and MX
#: specifications and their "fnuz" variants, which give infinities and the negative zero up for one more exponent)
_LIMITS = {
    "bfloat16": (2.0**-7, (2 - 2.0**-7) * 2.0**127, 2.0**-126, 0.01),
    "float8_e4m3fn": (2.0**-3, 448.0, 2.0**-6, 1.0),
    "float8_e4m3fnuz": (2.0**-3, 240.0, 2.0**-7, 1.0),
    "float8_e5m2": (2.0**-2, 57344.0, 2.0**-14, 1.0),
    "float8_e5m2fnuz": (2.0**-3, 57344.0, 2.0**-15, 1.0),
    "float8_e8m0fnu": (1.0, 2.0**127, 2.0**-127, 1.0),
}


class _Limits:
    """What finfo and iinfo share: comparison by value, no hash, as in PyTorch."""

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]


class finfo(_Limits):
    """Limits of a floating dtype, or of a complex one's parts; also of those that are a name alone (float8).

    `bits eps max min tiny smallest_normal resolution dtype`. type: the dtype, by default the default one.
    """

    def __init__(self, type: Any = None) -> None:
        if type == complex32:
            type = float16
        elif not (isinstance(type, dtype) and type.name in _LIMITS):
            type = from_numpy_dtype(real_of(default_dtype() if type is None else to_numpy_dtype(type)))
        if not type.is_floating_point:
            raise TypeError(f"finfo() takes a floating dtype, not {type}; iinfo() is for integers")
        self.bits, self.dtype = type.itemsize * 8, type.name
        if type.name in _LIMITS:
            self.eps, self.max, self.smallest_normal, self.resolution = _LIMITS[type.name]
        else:
            info = np.finfo(type.dtype)
            self.eps, self.max, self.smallest_normal = float(info.eps), float(info.max), float(info.smallest_normal)
            self.resolution = 10.0**-info.precision
        self.min, self.tiny = -self.max if type.is_signed else self.smallest_normal, self.smallest_normal

    def __repr__(self) -> str:
        fields = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")
        return f"finfo({', '.join(f'{k}={getattr(self, k):g}' for k in fields)}, dtype={self.dtype})"


class iinfo(_Limits):
    """Limits of an integer dtype: `bits max min dtype`. type: the dtype."""

    def __init__(self, type: Any) -> None:
        if not (isinstance(type, dtype) and type.name in _INSTEAD):
            type = from_numpy_dtype(to_numpy_dtype(type))
        if type.is_floating_point or type.is_complex or type.name == "bool":
            raise TypeError(f"iinfo() takes an integer dtype, not {type}; finfo() is for floating ones")
        info = np.iinfo(type.name)
        self.bits, self.max, self.min, self.dtype = info.bits, int(info.max), int(info.min), type.name

    def __repr__(self) -> str:
        return f"iinfo(min={self.min:g}, max={self.max:g}, dtype={self.dtype})"
