"""Images."""

import numpy as np

from chainrule.testing import OpRecord, Sample
from chainrule.testing.samples import empty, floats


def _bounded(x, n, mode, align):
    if mode == "zeros":
        return x
    if mode == "reflection":
        low, high = (0, n - 1) if align else (-0.5, n - 0.5)
        period = 2 * (high - low)
        x = 0.0 if not period else low + (period / 2 - abs((x - low) % period - period / 2))
    return min(max(x, 0), n - 1)


def _taps(x, n, mode, padding, align):
    """(coordinate, weight) of the elements that a sample at x uses along one dimension."""
    if mode == "bicubic":
        first, a = np.floor(x), -0.75
        found = []
        for k in range(-1, 3):
            d = abs(x - (first + k))
            near = (a + 2) * d**3 - (a + 3) * d**2 + 1
            found.append((first + k, near if d <= 1 else a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a))
        return [(int(_bounded(i, n, padding, align)), w) for i, w in found]
    x = _bounded(x, n, padding, align)
    if mode == "nearest":
        return [(round(x), 1.0)]
    low = int(np.floor(x))
    return [(low, 1 - (x - low)), (low + 1, x - low)]


def _grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=None):
    size, count = x.shape[2:], grid.shape[1:-1]
    out = np.zeros((*x.shape[:2], *count))
    for at in np.ndindex(len(x), *count):
        taps = [((), 1.0)]
        for axis, n in enumerate(size):
            u = grid[at][len(size) - 1 - axis]
            u = (u + 1) / 2 * (n - 1) if align_corners else ((u + 1) * n - 1) / 2
            along = _taps(u, n, mode, padding_mode, align_corners)
            taps = [((*j, i), w * v) for j, w in taps for i, v in along if 0 <= i < n]
        for j, w in taps:
            out[(at[0], slice(None), *at[1:])] += w * x[(at[0], slice(None), *j)]
    return out


def _affine_grid(theta, size, align_corners=None):
    lines = [np.array([0.0]) if n == 1 else np.linspace(-1, 1, n) for n in size[2:]]
    if not align_corners:
        lines = [(2 * np.arange(n) + 1) / n - 1 for n in size[2:]]
    points = np.meshgrid(*lines, indexing="ij")[::-1]
    return np.einsum("nij,...j->n...i", theta, np.stack([*points, np.ones(size[2:])], -1))


def _affine_grid_adjoint(g, size, align_corners=None):
    n = len(size) - 2
    unit = np.eye(n * (n + 1)).reshape(-1, n, n + 1)
    grids = _affine_grid(unit, (len(unit), *size[1:]), align_corners)
    return (g.reshape(len(g), -1) @ grids.reshape(len(unit), -1).T).reshape(len(g), n, n + 1)


def _shuffle(x, r):
    *b, c, h, w = x.shape
    out = np.empty((*b, c // r**2, h * r, w * r))
    for i in range(r):
        for j in range(r):
            out[..., i::r, j::r] = x[..., i * r + j :: r * r, :, :]
    return out


def _unshuffle(x, r):
    *b, c, h, w = x.shape
    out = np.empty((*b, c * r**2, h // r, w // r))
    for i in range(r):
        for j in range(r):
            out[..., i * r + j :: r * r, :, :] = x[..., i::r, j::r]
    return out


def _channels(x, groups):
    n = x.shape[1] // groups
    return x[:, [j * n + i for i in range(n) for j in range(groups)]]


# points inside the image, outside, and beyond a reflection; none on an element, where the gradient has a kink
GRID = np.array([[[[-0.61, 0.13], [0.31, -0.77]], [[1.43, -0.28], [-2.71, 1.19]]]])
IMAGE = floats((1, 2, 3, 4))
SOLID = np.array([[[[[-0.61, 0.13, 0.4], [1.31, -0.77, -1.6]]]]])

RECORDS = [
    OpRecord(
        "grid_sample",
        samples=lambda: [
            *[
                Sample(IMAGE, GRID, mode=mode, padding_mode=padding, align_corners=align)
                for mode in ("bilinear", "bicubic")
                for padding in ("zeros", "border", "reflection")
                for align in (False, True)
            ],
            Sample(IMAGE, GRID),
            Sample(floats((1, 1, 2, 3, 2)), SOLID, padding_mode="reflection"),
            Sample(floats((1, 1, 1, 3)), GRID, align_corners=True, padding_mode="reflection"),
            Sample(empty((0, 1, 2, 2)), empty((0, 1, 1, 2))),
        ],
        reference=_grid_sample,
        torch="nn.functional.grid_sample",
        torch_order=1,
        float32_tolerance=1e-3,
    ),
    OpRecord(
        "affine_grid",
        samples=lambda: [
            Sample(floats((1, 2, 3)), size=(1, 1, 2, 3)),
            Sample(floats((2, 2, 3)), size=(2, 3, 1, 2), align_corners=True),
            Sample(floats((1, 3, 4)), size=(1, 1, 2, 1, 3), align_corners=False),
        ],
        reference=_affine_grid,
        torch="nn.functional.affine_grid",
    ),
    OpRecord(
        "affine_grid_adjoint",
        samples=lambda: [
            Sample(floats((1, 2, 3, 2)), size=(1, 1, 2, 3)),
            Sample(floats((2, 1, 2, 2)), size=(2, 3, 1, 2), align_corners=True),
            Sample(floats((1, 2, 1, 3, 3)), size=(1, 1, 2, 1, 3)),
        ],
        reference=_affine_grid_adjoint,
    ),
    OpRecord(
        "pixel_shuffle",
        samples=lambda: [Sample(floats((1, 4, 2, 3)), 2), Sample(floats((9, 1, 2)), 3)],
        reference=_shuffle,
        torch="pixel_shuffle",
    ),
    OpRecord(
        "pixel_unshuffle",
        samples=lambda: [Sample(floats((1, 1, 4, 6)), 2), Sample(floats((1, 3, 6)), 3)],
        reference=_unshuffle,
        torch="pixel_unshuffle",
    ),
    OpRecord(
        "channel_shuffle",
        samples=lambda: [Sample(floats((2, 6, 2)), 3), Sample(floats((1, 4, 2, 2)), 2), Sample(empty((0, 4, 1)), 2)],
        reference=_channels,
        torch="channel_shuffle",
    ),
]
