"""Transforms of images as functions, deterministic, with the names and arguments of torchvision.transforms.functional.

Sources: torchvision's documentation; the luminance weights are those of ITU-R BT.601.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ....autograd import Tensor
from ....autograd.dtypes import default_dtype, float32, to_numpy_dtype
from ....autograd.tensor import wrap
from ....backends import np
from .images import (
    PILLOWS_NUMBERS,
    InterpolationMode,
    back,
    blurred,
    bound_of,
    floats,
    gaussian,
    is_pil,
    mode_name,
    opened,
    resized,
    sample,
    size_of,
)

__all__ = [
    "InterpolationMode",
    "add_noise",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_gamma",
    "adjust_hue",
    "adjust_saturation",
    "adjust_sharpness",
    "affine",
    "autocontrast",
    "center_crop",
    "convert_image_dtype",
    "crop",
    "elastic_transform",
    "equalize",
    "erase",
    "five_crop",
    "gaussian_blur",
    "get_dimensions",
    "get_image_num_channels",
    "get_image_size",
    "hflip",
    "invert",
    "normalize",
    "pad",
    "perspective",
    "pil_to_tensor",
    "posterize",
    "resize",
    "resized_crop",
    "rgb_to_grayscale",
    "rotate",
    "solarize",
    "ten_crop",
    "to_grayscale",
    "to_pil_image",
    "to_tensor",
    "vflip",
]


def get_dimensions(img: Any) -> list[int]:
    """[channels, height, width] of an image, ints."""
    return list(size_of(img))


def get_image_size(img: Any) -> list[int]:
    """[width, height] of an image."""
    return list(size_of(img)[:0:-1])


def get_image_num_channels(img: Any) -> int:
    """How many channels an image has."""
    return size_of(img)[0]


def _pair(value: Any, name: str = "size") -> tuple[int, int]:
    """(height, width) of a number or a sequence of one or two."""
    if isinstance(value, (int, float)):
        return int(value), int(value)
    if len(value) not in (1, 2):
        raise ValueError(f"{name} should be a number or a sequence of one or two, not of {len(value)}")
    return int(value[0]), int(value[-1])


# -- conversion -------------------------------------------------------------------------------------------------------


def to_tensor(pic: Any) -> Tensor:
    """A PIL image or array (H, W[, C]) as a tensor (C, H, W): uint8 becomes floats in [0, 1], other dtypes stay.

    Floats in the default dtype: value / 255. TypeError for tensors and what is no image.
    """
    if isinstance(pic, Tensor) or not (is_pil(pic) or isinstance(pic, np.ndarray)):
        raise TypeError(f"pic should be PIL Image or ndarray. Got {type(pic)}")
    array = opened(pic)[0]
    if is_pil(pic) and pic.mode == "1":
        array = (array > 0).astype(np.uint8) * np.uint8(255)
    if array.dtype == np.uint8:
        kind = default_dtype()
        return wrap(np.divide(array, kind.type(255), dtype=kind, order="C"), None)
    return wrap(np.array(array, order="C"), None)


def pil_to_tensor(pic: Any) -> Tensor:
    """A PIL image (or array) as a tensor (C, H, W) of the same dtype.

    TypeError for tensors and what is no image.
    """
    if isinstance(pic, Tensor) or not (is_pil(pic) or isinstance(pic, np.ndarray)):
        raise TypeError(f"pic should be PIL Image. Got {type(pic)}")
    return wrap(np.array(opened(pic)[0], order="C"), None)


def to_pil_image(pic: Any, mode: str | None = None) -> Any:
    """A tensor (C, H, W) or array (H, W[, C]) as a Pillow image; floats are taken to be in [0, 1].

    mode: Pillow's name of the form, by default from the channels (1 to 4; ValueError for more). Needs Pillow (extra
    `images`).
    """
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("Pillow images need the package pillow: pip install chainrule[images]") from None
    if isinstance(pic, Tensor):
        if pic.ndim not in (2, 3):
            raise ValueError(f"pic should be 2/3 dimensional. Got {pic.ndim} dimensions.")
        array = opened(pic.detach())[0]
        if array.dtype.kind == "f":
            array = (array * array.dtype.type(255)).astype(np.uint8)
        array = np.moveaxis(array, 0, -1)
    elif isinstance(pic, np.ndarray):
        array = np.moveaxis(opened(pic)[0], 0, -1)
    else:
        raise TypeError(f"pic should be Tensor or ndarray. Got {type(pic)}.")
    channels = array.shape[2]
    if channels > 4:
        raise ValueError(f"pic should not have > 4 channels. Got {channels} channels.")
    array = np.ascontiguousarray(array[:, :, 0] if channels == 1 else array)
    if channels == 2:
        return Image.merge(mode or "LA", [Image.fromarray(np.ascontiguousarray(array[:, :, i])) for i in (0, 1)])
    made = Image.fromarray(array)
    if mode is None or mode == made.mode:
        return made
    if channels > 1:  # another reading of the same channels
        return Image.frombytes(mode, made.size, array.tobytes())
    return made.convert(mode)


def convert_image_dtype(image: Tensor, dtype: Any = float32) -> Tensor:
    """A tensor in another dtype with its values scaled: [0, 1] for floats, the whole range for integers.

    Between integers the range is scaled by shifts, from floats x to ints ⌊x (max + 1 - 10⁻³)⌋. RuntimeError where
    float32 is too coarse for the integers wanted; TypeError for what is no tensor.
    """
    if not isinstance(image, Tensor):
        raise TypeError("Input img should be Tensor Image")
    array, kind = np.asarray(image.array), to_numpy_dtype(dtype)
    if array.dtype == kind:
        return image
    if array.dtype.kind == "f":
        if kind.kind == "f":
            return wrap(array.astype(kind), None)
        if (array.dtype == np.float32 and kind.itemsize > 2 and kind.kind == "i") or (
            array.dtype == np.float64 and kind == np.int64
        ):
            raise RuntimeError(f"The cast from {array.dtype} to {kind} cannot be performed safely.")
        return wrap((array * (np.iinfo(kind).max + 1.0 - 1e-3)).astype(kind), None)
    most = np.iinfo(array.dtype).max
    if kind.kind == "f":
        return wrap(array.astype(kind) / kind.type(most), None)
    target = np.iinfo(kind).max
    if most > target:
        return wrap((array // ((most + 1) // (target + 1))).astype(kind), None)
    return wrap(array.astype(kind) * kind.type((target + 1) // (most + 1)), None)


def normalize(tensor: Any, mean: Sequence[float], std: Sequence[float], inplace: bool = False) -> Any:
    """(image - mean) / std, channel by channel. Tensors keep their gradients; arrays are (H, W[, C]).

    mean, std: one per channel. TypeError for tensors of integers, ValueError for a std of 0. inplace: for tensors.
    """
    if isinstance(tensor, Tensor):
        if not tensor.is_floating_point():
            raise TypeError(f"Input tensor should be a float tensor. Got {tensor.dtype}.")
        if tensor.ndim < 3:
            raise ValueError(
                f"Expected tensor to be a tensor image of size (..., C, H, W). Got tensor.size() = {tensor.size()}"
            )
        kind = np.asarray(tensor.array).dtype if tensor.device.type == "cpu" else np.dtype("float32")
    else:
        kind = floats(opened(tensor)[0]).dtype
    m, s = (np.asarray(v, kind).reshape(-1) for v in (mean, std))
    if not s.all():
        raise ValueError(f"std evaluated to zero after conversion to {kind}, leading to division by zero.")
    if not isinstance(tensor, Tensor):
        return (floats(tensor) - (m if tensor.ndim == 3 else m[0])) / (s if tensor.ndim == 3 else s[0])
    m, s = m[:, None, None], s[:, None, None]
    if inplace:
        return tensor.sub_(wrap(m, None).to(tensor.device)).div_(wrap(s, None).to(tensor.device))
    if tensor.requires_grad or type(tensor.array) is not np.ndarray:
        return (tensor - wrap(m, None).to(tensor.device)) / wrap(s, None).to(tensor.device)
    result = tensor.array - m
    result /= s
    return wrap(result, None)


# -- geometry ---------------------------------------------------------------------------------------------------------


def crop(img: Any, top: int, left: int, height: int, width: int) -> Any:
    """The part of `height` x `width` pixels from (top, left) on; what lies beyond the border is 0."""
    _, h, w = size_of(img)
    if isinstance(img, Tensor) and top >= 0 and left >= 0 and top + height <= h and left + width <= w:
        return img[..., top : top + height, left : left + width]
    if is_pil(img):
        return img.crop((left, top, left + width, top + height))
    array, close = opened(img)
    part = array[..., max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
    before = min(max(-top, 0), height), min(max(-left, 0), width)
    around = [(b, n - part.shape[i - 2] - b) for i, (b, n) in enumerate(zip(before, (height, width)))]
    return close(np.pad(part, [(0, 0)] * (array.ndim - 2) + around) if any(map(any, around)) else part)


def center_crop(img: Any, output_size: Any) -> Any:
    """The middle of the image in that size; a smaller image is surrounded by 0."""
    height, width = _pair(output_size)
    _, h, w = size_of(img)
    if h < height or w < width:
        over, across = max(height - h, 0), max(width - w, 0)
        img = pad(img, [across // 2, over // 2, (across + 1) // 2, (over + 1) // 2])
        _, h, w = size_of(img)
    return crop(img, round((h - height) / 2.0), round((w - width) / 2.0), height, width)


def pad(img: Any, padding: Any, fill: Any = 0, padding_mode: str = "constant") -> Any:
    """Pixels around the image: `padding` on each side, (left and right, top and bottom) or (left, top, right, bottom).

    padding_mode: constant (`fill`), edge, reflect (without the border itself) or symmetric.

    A negative number cuts off. fill: one number, or one per channel. ValueError for another mode or count of sides.
    """
    if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
        raise ValueError("Padding mode should be either constant, edge, reflect or symmetric")
    sides = [padding] if isinstance(padding, int) else list(padding)
    if len(sides) not in (1, 2, 4):
        raise ValueError(f"Padding must be an int or a 1, 2, or 4 element tuple, not a {len(sides)} element tuple")
    left, top, right, bottom = sides * (4 // len(sides))
    array, close = opened(img)
    if min(left, top, right, bottom) < 0:  # a negative number cuts off
        h, w = array.shape[-2:]
        array = array[..., max(-top, 0) : h - max(-bottom, 0), max(-left, 0) : w - max(-right, 0)]
        left, top, right, bottom = (max(n, 0) for n in (left, top, right, bottom))
    around = [(0, 0)] * (array.ndim - 2) + [(top, bottom), (left, right)]
    if padding_mode != "constant":
        mode: Any = padding_mode
        return close(np.pad(array, around, mode))
    values = np.asarray(fill).reshape(-1)
    made = np.empty((*array.shape[:-2], array.shape[-2] + top + bottom, array.shape[-1] + left + right), array.dtype)
    made[...] = values.astype(array.dtype)[:, None, None]
    made[..., top : top + array.shape[-2], left : left + array.shape[-1]] = array
    return close(made)


def hflip(img: Any) -> Any:
    """The image mirrored left to right."""
    if isinstance(img, Tensor):
        return img.flip(-1)
    if is_pil(img):
        return img.transpose(0)
    array, close = opened(img)
    return close(array[..., ::-1])


def vflip(img: Any) -> Any:
    """The image mirrored top to bottom."""
    if isinstance(img, Tensor):
        return img.flip(-2)
    if is_pil(img):
        return img.transpose(1)
    array, close = opened(img)
    return close(array[..., ::-1, :])


def _target(h: int, w: int, size: Any, max_size: int | None) -> tuple[int, int]:
    """(height, width) of what `resize` makes."""
    wanted = [size] if isinstance(size, int) else list(size) if size is not None else None
    if wanted is not None and len(wanted) == 2:
        if max_size is not None:
            raise ValueError("max_size should only be passed if size specifies the length of the smaller edge")
        return int(wanted[0]), int(wanted[1])
    short, long = min(h, w), max(h, w)
    if wanted is None:
        if max_size is None:
            raise ValueError("max_size must be an integer when size is None")
        new_short, new_long = int(max_size * short / long), max_size
    else:
        new_short, new_long = int(wanted[0]), int(wanted[0] * long / short)
        if max_size is not None:
            if max_size <= wanted[0]:
                raise ValueError(f"max_size = {max_size} must be strictly greater than the requested size = {size}")
            if new_long > max_size:
                new_short, new_long = int(max_size * new_short / new_long), max_size
    return (new_short, new_long) if h <= w else (new_long, new_short)


def resize(
    img: Any,
    size: Any,
    interpolation: Any = InterpolationMode.BILINEAR,
    max_size: int | None = None,
    antialias: bool | None = True,
) -> Any:
    """The image in `size` (height, width), or with its shorter side that long.

    antialias: filter before scaling down; images that are no tensors always get that, as with Pillow. Pillow's own
    are resized by Pillow, which computes with 8 bits: a value may differ by 1 from that of an array.

    size: an int is the shorter side's; max_size bounds the longer one then. interpolation: an `InterpolationMode`.
    float images stay floats, integers are rounded and clipped. ValueError where size and max_size contradict each
    other.
    """
    mode = mode_name(interpolation)
    tensor = isinstance(img, Tensor)
    if mode == "nearest" and not tensor:
        mode = "nearest-exact"  # Pillow's
    _, h, w = size_of(img)
    height, width = _target(h, w, size, max_size)
    if (height, width) == (h, w):
        return img
    if is_pil(img):
        return img.resize((width, height), PILLOWS_NUMBERS[mode])
    array, close = opened(img)
    return close(resized(array, height, width, mode, bool(antialias) or not tensor))


def resized_crop(
    img: Any,
    top: int,
    left: int,
    height: int,
    width: int,
    size: Any,
    interpolation: Any = InterpolationMode.BILINEAR,
    antialias: bool | None = True,
) -> Any:
    """`resize(crop(img, top, left, height, width), size)`: GoogLeNet's augmentation for a given part.

    interpolation, antialias: as of `resize`. Source: C. Szegedy et al., "Going deeper with convolutions", 2015.
    """
    return resize(crop(img, top, left, height, width), size, interpolation, None, antialias)


def five_crop(img: Any, size: Any) -> tuple[Any, ...]:
    """The corners (top left, top right, bottom left, bottom right) and the middle, in that size.

    ValueError where that size is larger than the image.
    """
    height, width = _pair(size)
    _, h, w = size_of(img)
    if height > h or width > w:
        raise ValueError(f"Requested crop size {(height, width)} is bigger than input size {(h, w)}")
    corners = [crop(img, y, x, height, width) for y in (0, h - height) for x in (0, w - width)]
    return (*corners, center_crop(img, (height, width)))


def ten_crop(img: Any, size: Any, vertical_flip: bool = False) -> tuple[Any, ...]:
    """`five_crop` of the image and of its mirror image: ten images.

    Mirrored left to right, or with `vertical_flip` top to bottom.
    """
    return five_crop(img, size) + five_crop(vflip(img) if vertical_flip else hflip(img), size)


def _affine_matrix(center: Any, angle: float, translate: Any, scale: float, shear: Any) -> Any:
    """From output to input coordinates: the inverse of shear, rotation and scaling about `center`, then translation.

    Rotation R(a) and shears: x by tan(sx), y by tan(sy), as torchvision composes them: R(a) Y(sy) X(sx).
    """
    a, sx, sy = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    turn = np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    shears = np.array([[1, 0], [-math.tan(sy), 1]]) @ np.array([[1, -math.tan(sx)], [0, 1]])
    inverse = np.linalg.inv(scale * turn @ shears)
    offset = np.asarray(center, float) - inverse @ (np.asarray(center, float) + np.asarray(translate, float))
    return np.concatenate([inverse, offset[:, None]], 1)


def _warped(img: Any, matrix: Any, interpolation: Any, fill: Any, size: tuple[int, int] | None = None) -> Any:
    """The image at the places to which a 2 x 3 matrix takes the output's pixels; both have their middle at 0."""
    array, close = opened(img)
    h, w = array.shape[-2:]
    height, width = size or (h, w)
    y, x = np.meshgrid(np.arange(height) + 0.5 - height / 2, np.arange(width) + 0.5 - width / 2, indexing="ij")
    (a, b, c), (d, e, f) = matrix
    return close(
        sample(array, d * x + e * y + f + (h - 1) / 2, a * x + b * y + c + (w - 1) / 2, mode_name(interpolation), fill)
    )


def _from_middle(img: Any, center: Any) -> tuple[float, float]:
    _, h, w = size_of(img)
    return (0.0, 0.0) if center is None else (center[0] - w * 0.5, center[1] - h * 0.5)


def affine(
    img: Any,
    angle: float,
    translate: Sequence[float],
    scale: float,
    shear: Any,
    interpolation: Any = InterpolationMode.NEAREST,
    fill: Any = None,
    center: Sequence[float] | None = None,
) -> Any:
    """Rotation (degrees, clockwise), scaling and shear (degrees) about `center` (x, y), then translation (x, y).

    Shears are by the tangents of their angles, (x, y) or x alone; center: by default the middle; translate: in pixels.
    fill: where nothing comes from (0). ValueError for a scale that is not positive. interpolation: nearest or bilinear.
    """
    if scale <= 0:
        raise ValueError("Argument scale should be positive")
    shear = [float(shear), 0.0] if isinstance(shear, (int, float)) else [float(s) for s in [*shear, *shear][:2]]
    return _warped(img, _affine_matrix(_from_middle(img, center), angle, translate, scale, shear), interpolation, fill)


def rotate(
    img: Any,
    angle: float,
    interpolation: Any = InterpolationMode.NEAREST,
    expand: bool = False,
    center: Sequence[float] | None = None,
    fill: Any = None,
) -> Any:
    """The image turned by `angle` degrees, counter-clockwise; `expand`: large enough to hold all of it.

    center: (x, y) from the top left, by default the middle; without effect under `expand`. interpolation and fill as of
    `affine`.
    """
    matrix, size = _affine_matrix(_from_middle(img, None if expand else center), -angle, (0, 0), 1.0, (0, 0)), None
    if expand:
        _, h, w = size_of(img)
        corners = np.array([[x, y] for x in (-w / 2, w / 2) for y in (-h / 2, h / 2)]) @ matrix[:, :2].T
        corners += np.array([w / 2, h / 2])
        across, down = np.ceil(corners.max(0) - 1e-4) - np.floor(corners.min(0) + 1e-4)
        size = int(down), int(across)
    return _warped(img, matrix, interpolation, fill, size)


def perspective(
    img: Any,
    startpoints: Sequence[Sequence[int]],
    endpoints: Sequence[Sequence[int]],
    interpolation: Any = InterpolationMode.BILINEAR,
    fill: Any = None,
) -> Any:
    """The projective map that takes four points (x, y) of the image to four others.

    Its eight numbers are a least-squares solution of the eight equations that the points give. fill: where nothing
    comes from (0). interpolation: nearest or bilinear.
    """
    rows, values = [], []
    for (i, j), (u, v) in zip(endpoints, startpoints):
        rows += [[i, j, 1, 0, 0, 0, -u * i, -u * j], [0, 0, 0, i, j, 1, -v * i, -v * j]]
        values += [u, v]
    a, b, c, d, e, f, g, k = np.linalg.lstsq(np.array(rows, float), np.array(values, float), rcond=None)[0]
    array, close = opened(img)
    y, x = np.meshgrid(np.arange(array.shape[-2]) + 0.5, np.arange(array.shape[-1]) + 0.5, indexing="ij")
    depth = g * x + k * y + 1
    return close(
        sample(
            array,
            (d * x + e * y + f) / depth - 0.5,
            (a * x + b * y + c) / depth - 0.5,
            mode_name(interpolation),
            fill,
        )
    )


def elastic_transform(
    img: Any, displacement: Any, interpolation: Any = InterpolationMode.BILINEAR, fill: Any = None
) -> Any:
    """Each pixel from (x, y) + displacement[0, y, x], in units of half the image's width and height (-1 to 1).

    displacement: (1, H, W, 2), a tensor or array (ValueError for other shapes). interpolation and fill as of `affine`.
    Source: P. Simard, D. Steinkraus, J. Platt, "Best practices for convolutional neural networks applied to visual
    document analysis", 2003.
    """
    array, close = opened(img)
    h, w = array.shape[-2:]
    moves = np.asarray(displacement.numpy() if isinstance(displacement, Tensor) else displacement)
    if moves.shape != (1, h, w, 2):
        raise ValueError(f"Argument displacement shape should be {(1, h, w, 2)}, but given {moves.shape}")
    y, x = np.meshgrid(np.arange(h), np.arange(w), indexing="ij")
    return close(
        sample(array, y + moves[0, ..., 1] * h / 2, x + moves[0, ..., 0] * w / 2, mode_name(interpolation), fill)
    )


# -- values -----------------------------------------------------------------------------------------------------------


def _gray(array: Any) -> Any:
    """The luminance (..., 1, H, W) in floats."""
    if array.shape[-3] == 1:
        return floats(array)
    if array.shape[-3] != 3:
        raise TypeError(f"Input image tensor permitted channel values are 1 or 3, but found {array.shape[-3]}")
    r, g, b = (floats(array[..., i : i + 1, :, :]) for i in range(3))
    return 0.2989 * r + 0.587 * g + 0.114 * b


def _truncated(values: Any, like: Any) -> Any:
    """Values between 0 and white, in the dtype of `like`: without rounding, as Pillow has it."""
    return np.clip(values, 0, bound_of(like)).astype(like.dtype)


def _mixed(array: Any, other: Any, share: float) -> Any:
    return _truncated(np.float32(share) * floats(array) + np.float32(1 - share) * floats(other), array)


def _check_factor(name: str, factor: float) -> None:
    if factor < 0:
        raise ValueError(f"{name} ({factor}) is not non-negative.")


def rgb_to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """0.2989 R + 0.587 G + 0.114 B, in one channel or in three equal ones.

    TypeError for images of other than 1 or 3 channels. num_output_channels: 1 or 3. Source: ITU-R BT.601.
    """
    if num_output_channels not in (1, 3):
        raise ValueError("num_output_channels should be either 1 or 3")
    array, close = opened(img)
    gray = _gray(array).astype(array.dtype)
    return close(np.repeat(gray, num_output_channels, axis=-3))


def to_grayscale(img: Any, num_output_channels: int = 1) -> Any:
    """`rgb_to_grayscale` under its older name."""
    return rgb_to_grayscale(img, num_output_channels)


def adjust_brightness(img: Any, brightness_factor: float) -> Any:
    """factor × image: 0 is black, 1 the image.

    Clipped to black and white. ValueError for a negative factor.
    """
    _check_factor("brightness_factor", brightness_factor)
    array, close = opened(img)
    return close(_mixed(array, np.zeros_like(array), brightness_factor))


def adjust_contrast(img: Any, contrast_factor: float) -> Any:
    """factor × image + (1 - factor) × its mean luminance: 0 is gray, 1 the image.

    Clipped to black and white. ValueError for a negative factor.
    """
    _check_factor("contrast_factor", contrast_factor)
    array, close = opened(img)
    gray = floats(_gray(array).astype(array.dtype))
    return close(_mixed(array, gray.mean((-3, -2, -1), keepdims=True), contrast_factor))


def adjust_saturation(img: Any, saturation_factor: float) -> Any:
    """factor × image + (1 - factor) × luminance: 0 is black and white, 1 the image.

    Clipped to black and white. ValueError for a negative factor. Images of one channel stay.
    """
    _check_factor("saturation_factor", saturation_factor)
    array, close = opened(img)
    if array.shape[-3] == 1:
        return img
    return close(_mixed(array, _gray(array).astype(array.dtype), saturation_factor))


def adjust_hue(img: Any, hue_factor: float) -> Any:
    """Colours turned by `hue_factor` of the colour wheel, -0.5 to 0.5.

    In hue, saturation and value, of which the last two stay. Images of one channel stay. ValueError for other
    factors. Source: A. Smith, "Color gamut transform pairs", 1978.
    """
    if not -0.5 <= hue_factor <= 0.5:
        raise ValueError(f"hue_factor ({hue_factor}) is not in [-0.5, 0.5].")
    array, close = opened(img)
    if array.shape[-3] == 1:
        return img
    white = bound_of(array)
    rgb = np.moveaxis(floats(array), -3, 0) / np.float32(white)
    r, g, b = rgb
    value, least = rgb.max(0), rgb.min(0)
    chroma = value - least
    some = np.where(chroma == 0, np.float32(1), chroma)
    sector = np.where(
        value == r,
        (g - b) / some,
        np.where(value == g, 2 + (b - r) / some, 4 + (r - g) / some),
    )
    sector = np.where(chroma == 0, 0, sector + np.float32(6 * hue_factor))
    turned = [value - chroma * np.clip(np.minimum(k, 4 - k), 0, 1) for n in (5, 3, 1) for k in [(n + sector) % 6]]
    scaled = np.moveaxis(np.stack(turned), 0, -3) * np.float32(white)
    return close(back(scaled, array) if array.dtype.kind in "iu" else scaled.astype(array.dtype))


def adjust_gamma(img: Any, gamma: float, gain: float = 1) -> Any:
    """gain × image^gamma, with the values in [0, 1].

    ValueError for a negative gamma.
    """
    if gamma < 0:
        raise ValueError("Gamma should be a non-negative real number")
    array, close = opened(img)
    white = bound_of(array)
    values = gain * (floats(array) / np.float32(white)) ** np.float32(gamma) * white
    if array.dtype.kind in "iu":
        values = np.clip(values, 0, white) * ((white + 1 - 1e-3) / white)
    return close(_truncated(values, array))


def adjust_sharpness(img: Any, sharpness_factor: float) -> Any:
    """factor × image + (1 - factor) × the smoothed image; its border is left alone.

    Smoothed by 3x3 weights of 1/13, 5/13 in the middle (Pillow's). Images of 2 pixels a side or fewer stay.
    ValueError for a negative factor.
    """
    _check_factor("sharpness_factor", sharpness_factor)
    array, close = opened(img)
    h, w = array.shape[-2:]
    if h <= 2 or w <= 2:
        return img
    values = floats(array)
    smooth = sum(values[..., i : h - 2 + i, j : w - 2 + j] for i in range(3) for j in range(3))
    smooth = back((smooth + 4 * values[..., 1:-1, 1:-1]) / 13, array)
    soft = array.copy()
    soft[..., 1:-1, 1:-1] = smooth
    return close(_mixed(array, soft, sharpness_factor))


def invert(img: Any) -> Any:
    """White minus the image; white is 1 for floats, the largest number for integers."""
    array, close = opened(img)
    return close((array.dtype.type(bound_of(array)) - array).astype(array.dtype))


def posterize(img: Any, bits: int) -> Any:
    """The upper `bits` (0 to 8) of each uint8, the lower ones 0; TypeError for other dtypes."""
    array, close = opened(img)
    if array.dtype != np.uint8:
        raise TypeError(f"Only torch.uint8 image tensors are supported, but found {array.dtype}")
    return close(array & np.uint8(256 - 2 ** (8 - bits)))


def solarize(img: Any, threshold: float) -> Any:
    """Pixels from `threshold` on inverted (white minus the pixel); the threshold is in units of the image."""
    array, close = opened(img)
    return close(np.where(array >= threshold, (array.dtype.type(bound_of(array)) - array), array).astype(array.dtype))


def autocontrast(img: Any) -> Any:
    """Each channel stretched from black to white: (x - min) white / (max - min); a constant channel stays."""
    array, close = opened(img)
    values = floats(array)
    low, high = values.min((-2, -1), keepdims=True), values.max((-2, -1), keepdims=True)
    span = np.where(high > low, high - low, 1)
    stretched = (values - low) * np.float32(bound_of(array)) / span
    return close(np.where(high > low, _truncated(stretched, array), array))


def equalize(img: Any) -> Any:
    """Each channel of uint8 with its values spread as evenly as its histogram lets them be; TypeError for other dtypes.

    A value becomes about 255 times the share of pixels below it. Source: R. Gonzalez, R. Woods, "Digital image
    processing", 2018, section 3.3, in Pillow's whole numbers.
    """
    array, close = opened(img)
    if array.dtype != np.uint8:
        raise TypeError(f"Only torch.uint8 image tensors are supported, but found {array.dtype}")
    made = array.copy()
    for i in np.ndindex(array.shape[:-2]):
        counts = np.bincount(array[i].ravel(), minlength=256)
        step = (array[i].size - counts[np.flatnonzero(counts)[-1]]) // 255
        if step:
            table = (np.concatenate([[0], np.cumsum(counts)[:-1]]) + step // 2) // step
            made[i] = np.clip(table, 0, 255).astype(np.uint8)[array[i]]
    return close(made)


def gaussian_blur(img: Any, kernel_size: Any, sigma: Any = None) -> Any:
    """Convolution with a normal curve of `kernel_size` (x, y) pixels; sigma: 0.15 × size + 0.35 unless given.

    The image is reflected at its border.

    ValueError for sizes that are not odd and positive, or widths that are not positive.
    """
    sizes = [kernel_size] * 2 if isinstance(kernel_size, int) else list(kernel_size)
    if len(sizes) != 2 or any(n % 2 == 0 or n < 1 for n in sizes):
        raise ValueError(f"kernel_size should have odd and positive integers. Got {kernel_size}")
    if sigma is None:
        widths = [n * 0.15 + 0.35 for n in sizes]
    else:
        widths = [float(sigma)] * 2 if isinstance(sigma, (int, float)) else [float(s) for s in [*sigma, *sigma][:2]]
    if min(widths) <= 0:
        raise ValueError(f"sigma should have positive values. Got {sigma}")
    array, close = opened(img)
    return close(blurred(array, gaussian(sizes[1], widths[1]), gaussian(sizes[0], widths[0])))


def add_noise(img: Any, noise: Any, clip: bool = True) -> Any:
    """The image plus noise of its shape (..., C, H, W), in units of white; clipped to black and white.

    noise: a tensor's numbers or an array; clip=False leaves floats beyond.
    """
    array, close = opened(img)
    white = bound_of(array)
    values = floats(array) + noise * np.float32(white)
    return close(back(np.clip(values, 0, white) if clip else values, array))


def erase(img: Any, i: int, j: int, h: int, w: int, v: Any, inplace: bool = False) -> Any:
    """`v` in the place of the rectangle of h x w pixels from (i, j) on.

    v: a number, or a tensor (C, h, w) or one that broadcasts to it. inplace: the tensor itself is written into.
    """
    if isinstance(img, Tensor):
        made = img if inplace else img.clone()
        made[..., i : i + h, j : j + w] = v
        return made
    array, close = opened(img)
    made = array.copy()
    made[..., i : i + h, j : j + w] = v.numpy() if isinstance(v, Tensor) else v
    return close(made)
