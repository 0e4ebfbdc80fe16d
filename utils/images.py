"""Pictures of batches: a grid of images, and files of them, with the names and arguments of torchvision.utils.

PNG files are written here, without Pillow. Format: W3C, "Portable Network Graphics Specification".
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any

from .. import backends
from ..autograd import FUNCTIONS, Tensor
from ..autograd.tensor import wrap
from ..backends import np

__all__ = ["make_grid", "png", "save_image"]


def host(x: Any) -> Any:
    """The NumPy array of a tensor, array or list of numbers."""
    if isinstance(x, Tensor):
        return np.asarray(backends.of(x.array).to_host(x.detach().array))
    return np.asarray(x)


def make_grid(
    tensor: Any,
    nrow: int = 8,
    padding: int = 2,
    normalize: bool = False,
    value_range: tuple[float, float] | None = None,
    scale_each: bool = False,
    pad_value: float = 0.0,
) -> Tensor:
    """Images (N, C, H, W), or a list of (C, H, W), side by side in rows of `nrow`, as one image (3, H', W').

    normalize: shifted and scaled to [0, 1] from `value_range` (default: their own least and largest value; with
    scale_each each image by its own). Images of one channel get three equal ones.

    padding: pixels of pad_value around each image.
    """
    if isinstance(tensor, (list, tuple)):
        if not all(isinstance(t, Tensor) for t in tensor):
            raise TypeError("tensor or list of tensors expected")
        tensor = FUNCTIONS["stack"](list(tensor), 0)
    elif not isinstance(tensor, Tensor):
        raise TypeError(f"tensor or list of tensors expected, got {type(tensor)}")
    if value_range is not None and not isinstance(value_range, tuple):
        raise TypeError("value_range has to be a tuple (min, max) if specified. min and max are numbers")
    x = host(tensor)
    x = x[None, None] if x.ndim == 2 else x[None] if x.ndim == 3 else x
    if x.shape[1] == 1:
        x = np.repeat(x, 3, 1)
    if normalize:
        axes = (1, 2, 3) if scale_each else None
        low, high = value_range or (x.min(axes, keepdims=True), x.max(axes, keepdims=True))
        x = (np.clip(x, low, high) - low) / np.maximum(high - low, 1e-5)
        x = x.astype(np.float32) if x.dtype == np.float64 and host(tensor).dtype == np.float32 else x
    n, channels, h, w = x.shape
    if isinstance(tensor, Tensor) and n == 1:
        return wrap(np.ascontiguousarray(x[0]), None)
    columns = min(nrow, n)
    rows, h, w = math.ceil(n / columns), h + padding, w + padding
    grid = np.full((channels, rows * h + padding, columns * w + padding), pad_value, x.dtype)
    for i, image in enumerate(x):
        top, left = i // columns * h + padding, i % columns * w + padding
        grid[:, top : top + h - padding, left : left + w - padding] = image
    return wrap(grid, None)


def png(array: Any) -> bytes:
    """The bytes of a PNG file with an array of uint8: (H, W), or (H, W, C) with 1 to 4 channels."""
    array = array[:, :, None] if array.ndim == 2 else array
    h, w, channels = array.shape
    if array.dtype != np.uint8 or not 1 <= channels <= 4 or not h or not w:
        raise ValueError(f"a PNG file holds uint8 of shape (H, W, 1 to 4), not {array.dtype} of shape {array.shape}")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = np.zeros((h, 1 + w * channels), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = array.reshape(h, -1)
    header = struct.pack(">IIBBBBB", w, h, 8, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(rows.tobytes(), 6))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + chunk(b"IEND", b"")


def save_image(tensor: Any, fp: Any, format: str | None = None, **kwargs: Any) -> None:
    """Write an image (C, H, W) with values in [0, 1], or the grid of several (`make_grid` takes the other arguments).

    fp: a path or an open file. PNG needs nothing else; other formats (by `format` or the path's ending) need Pillow.
    """
    grid = host(make_grid(tensor, **kwargs))
    pixels = np.clip(grid * 255 + 0.5, 0, 255).astype(np.uint8).transpose(1, 2, 0)
    kind = (format or (Path(fp).suffix[1:] if isinstance(fp, (str, Path)) else "png")).lower()
    if kind == "png":
        if isinstance(fp, (str, Path)):
            Path(fp).write_bytes(png(pixels))
        else:
            fp.write(png(pixels))
        return
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(f"files of kind {kind!r} need the package pillow: pip install chainrule[images]") from None
    Image.fromarray(pixels).save(fp, format=format)
