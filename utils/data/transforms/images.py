"""Images in their forms, the arithmetic of resampling them, and random draws for augmentation.

An image is a Pillow image, a NumPy array of shape (H, W) or (H, W, C), or a Tensor of shape (..., C, H, W); a transform
gives back what it got. Inside all of them are arrays of shape (..., C, H, W). Pillow itself is never imported here: who
has such an image has it imported.

Random draws come from chainrule's default generator, so `manual_seed` repeats them, and each worker of a DataLoader
has others.
"""

from __future__ import annotations

import enum
import math
import sys
from collections.abc import Callable
from typing import Any

from .... import backends
from ....autograd import Tensor
from ....autograd.device import device_of, move
from ....autograd.random import current_generator
from ....autograd.tensor import wrap
from ....backends import np

__all__ = ["InterpolationMode", "is_pil", "opened", "sample", "scaling"]


class InterpolationMode(enum.Enum):
    """How values between pixels are found."""

    NEAREST = "nearest"
    NEAREST_EXACT = "nearest-exact"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    BOX = "box"
    HAMMING = "hamming"
    LANCZOS = "lanczos"


#: names of modes -> Pillow's numbers for them
PILLOWS_NUMBERS = {"nearest-exact": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
_NAMES = {number: name for name, number in PILLOWS_NUMBERS.items()} | {0: "nearest"}


def mode_name(interpolation: Any) -> str:
    """The name of an InterpolationMode, of Pillow's number for one, or of a name."""
    if isinstance(interpolation, InterpolationMode):
        return str(interpolation.value)
    name = _NAMES.get(interpolation, interpolation)
    return str(InterpolationMode(name).value)


def is_pil(img: Any) -> bool:
    """True for a Pillow image."""
    pillow = sys.modules.get("PIL.Image")
    return pillow is not None and isinstance(img, pillow.Image)


def _to_pil(array: Any, mode: str) -> Any:
    from PIL import Image

    if mode == "1":
        return Image.fromarray(array[0] > 0)
    channels = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
    made = Image.fromarray(np.ascontiguousarray(channels))
    return made if made.mode == mode or len(array) not in (3, 4) else Image.frombytes(mode, made.size, made.tobytes())


def opened(img: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The pixels as an array of shape (..., C, H, W), and the function that makes an image like `img` of such."""
    if is_pil(img):
        array = np.asarray(img.convert("L") if img.mode == "1" else img)
        mode = img.mode
        array = array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0)
        return array, lambda a: _to_pil(a, mode if len(a) == len(array) else {1: "L", 3: "RGB", 4: "RGBA"}[len(a)])
    if isinstance(img, Tensor):
        if img.ndim < 2:
            raise TypeError(f"Tensor is not a torch image: it has shape {tuple(img.shape)}, not (..., H, W)")
        if img.requires_grad:
            raise NotImplementedError(
                "this transform computes on arrays and gives no gradients: use nn.functional.interpolate or grid_sample"
            )
        place, array = device_of(img.array), np.asarray(backends.of(img.array).to_host(img.array))
        if array.ndim == 2:
            return array[None], lambda a: wrap(move(np.ascontiguousarray(a[0]), place), None)
        return array, lambda a: wrap(move(np.ascontiguousarray(a), place), None)
    if isinstance(img, np.ndarray):
        if img.ndim == 2:
            return img[None], lambda a: a[0] if len(a) == 1 else np.moveaxis(a, 0, -1)
        if img.ndim == 3:
            return np.moveaxis(img, -1, 0), lambda a: np.ascontiguousarray(np.moveaxis(a, 0, -1))
        raise ValueError(f"pic should be 2/3 dimensional. Got {img.ndim} dimensions.")
    raise TypeError(f"an image is a PIL image, a NumPy array or a Tensor, not {type(img).__name__}")


def size_of(img: Any) -> tuple[int, int, int]:
    """(channels, height, width)."""
    if is_pil(img):
        return len(img.getbands()), img.height, img.width
    shape = tuple(img.shape)
    if isinstance(img, Tensor):
        return (1 if len(shape) == 2 else shape[-3]), shape[-2], shape[-1]
    return (1 if len(shape) == 2 else shape[2]), shape[0], shape[1]


def bound_of(array: Any) -> float:
    """The value of white: 1 for floats, the largest number for integers."""
    return 1.0 if array.dtype.kind == "f" else float(np.iinfo(array.dtype).max) if array.dtype.kind in "iu" else 1.0


def floats(array: Any) -> Any:
    """The array in float32, or as it is where it holds floats."""
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def back(result: Any, like: Any) -> Any:
    """Floats in the dtype of `like`; integers are rounded and clipped to its range."""
    if like.dtype.kind in "iu":
        limits = np.iinfo(like.dtype)
        return np.clip(np.rint(result), limits.min, limits.max).astype(like.dtype)
    return result.astype(like.dtype, copy=False)


# -- resampling -------------------------------------------------------------------------------------------------------


def _cubic(x: Any, a: float) -> Any:
    """The convolution kernel of Keys (1981)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(x: Any) -> Any:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


def _hamming(x: Any) -> Any:
    return np.where(np.abs(x) < 1, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0.0)


_FILTERS: dict[str, tuple[Callable[[Any], Any], float]] = {
    "bilinear": (lambda x: np.clip(1 - np.abs(x), 0, None), 1.0),
    "bicubic": (lambda x: _cubic(x, -0.5), 2.0),
    "box": (lambda x: ((x > -0.5) & (x <= 0.5)).astype(float), 0.5),
    "hamming": (_hamming, 1.0),
    "lanczos": (_lanczos, 3.0),
}


def scaling(n: int, m: int, mode: str, antialias: bool) -> Any:
    """The (m, n) matrix that takes n pixels in a row to m: the weights of each output pixel, which sum to 1.

    With antialias a filter is as wide as the step between output pixels, where that is more than one pixel.
    """
    scale = n / m
    if mode in ("nearest", "nearest-exact"):
        at = np.arange(m) * scale if mode == "nearest" else (np.arange(m) + 0.5) * scale
        return np.minimum(at.astype(int), n - 1)
    centres, inputs = (np.arange(m) + 0.5) * scale, np.arange(n) + 0.5
    if mode == "bicubic" and not antialias:  # pixels beyond the border repeat those on it
        weights = np.zeros((m, n))
        first = np.floor(centres - 0.5).astype(int)
        for tap in range(-1, 3):
            at = first + tap
            np.add.at(weights, (np.arange(m), np.clip(at, 0, n - 1)), _cubic(at + 0.5 - centres, -0.75))
        return weights
    kernel, support = _FILTERS[mode]
    wide = max(scale, 1.0) if antialias else 1.0
    weights = kernel((inputs - centres[:, None]) / wide)
    # Pillow takes whole pixels between the rounded ends of the support
    low, high = np.floor(centres - support * wide + 0.5), np.floor(centres + support * wide + 0.5)
    weights *= (np.arange(n) >= low[:, None]) & (np.arange(n) < high[:, None])
    return weights / weights.sum(1, keepdims=True)


def resized(array: Any, height: int, width: int, mode: str, antialias: bool) -> Any:
    """An array of shape (..., height, width)."""
    rows, columns = (
        scaling(array.shape[-2], height, mode, antialias),
        scaling(array.shape[-1], width, mode, antialias),
    )
    if rows.ndim == 1:
        return array[..., rows[:, None], columns]
    values = floats(array)
    return back(rows.astype(values.dtype) @ values @ columns.astype(values.dtype).T, array)


def _fills(fill: Any, channels: int) -> Any:
    values = np.asarray(0 if fill is None else fill, float).reshape(-1)
    if len(values) not in (1, channels):
        raise ValueError(
            f"The number of elements in 'fill' cannot broadcast to match the number of channels of the image "
            f"({len(values)} != {channels})"
        )
    return values[:, None, None]


def sample(array: Any, y: Any, x: Any, mode: str, fill: Any) -> Any:
    """The image at points (y, x), pixel centres at whole numbers; beyond its border it has the value `fill`."""
    h, w = array.shape[-2:]
    beyond = _fills(fill, array.shape[-3])

    def at(rows: Any, columns: Any) -> Any:
        inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
        values = array[..., np.clip(rows, 0, h - 1).astype(int), np.clip(columns, 0, w - 1).astype(int)]
        return np.where(inside, values, beyond.astype(values.dtype))

    if mode.startswith("nearest"):
        return at(np.rint(y), np.rint(x))
    if mode != "bilinear":
        raise ValueError(f"{mode} interpolation is not there for this transform: use nearest or bilinear")
    top, left = np.floor(y), np.floor(x)
    v, u = (y - top).astype(np.float32), (x - left).astype(np.float32)
    source, array = array, floats(array)
    mixed = (1 - v) * ((1 - u) * at(top, left) + u * at(top, left + 1))
    mixed += v * ((1 - u) * at(top + 1, left) + u * at(top + 1, left + 1))
    return back(mixed, source)


def blurred(array: Any, kernel_y: Any, kernel_x: Any) -> Any:
    """Convolution with a product of two kernels of odd lengths; the image is reflected at its border."""
    values = floats(array)
    for axis, kernel in ((-1, kernel_x), (-2, kernel_y)):
        half = len(kernel) // 2
        n = values.shape[axis]
        if half >= n:
            raise ValueError(f"a kernel of {len(kernel)} pixels is too wide for an image of {n}")
        around = [(0, 0)] * values.ndim
        around[axis] = (half, half)
        wide = np.moveaxis(np.pad(values, around, "reflect"), axis, 0)
        values = np.moveaxis(sum(wide[i : i + n] * values.dtype.type(k) for i, k in enumerate(kernel)), 0, axis)
    return back(values, array)


def gaussian(size: int, sigma: float) -> Any:
    """`size` weights of a normal curve about the middle, which sum to 1."""
    x = np.arange(size) - (size - 1) / 2
    weights = np.exp(-0.5 * (x / sigma) ** 2)
    return weights / weights.sum()


# -- draws ------------------------------------------------------------------------------------------------------------


def uniform(low: float = 0.0, high: float = 1.0) -> float:
    """A number in [low, high)."""
    return float(low + (high - low) * float(current_generator().source.random((), "float64")))


def integer(n: int) -> int:
    """One of 0 to n - 1."""
    return int(current_generator().source.integers(0, n, ()))


def log_uniform(low: float, high: float) -> float:
    """A number between two positive ones, as likely to be below their geometric mean as above."""
    return math.exp(uniform(math.log(low), math.log(high)))


def normals(shape: Any) -> Any:
    """Normal numbers of mean 0 and standard deviation 1, in float32."""
    return current_generator().source.standard_normal(shape, "float32")


def uniforms(shape: Any) -> Any:
    """Numbers in [0, 1), in float32."""
    return current_generator().source.random(shape, "float32")


def permutation(n: int) -> list[int]:
    """0 to n - 1 in random order."""
    return [int(i) for i in current_generator().source.permutation(n)]
