"""Computed tomography as a network: filter, back-projection, ReLU, each differentiable.

Würfl, Ghesu, Christlein, Maier, "Deep learning computed tomography", 2016: filtered back-projection is a network of
three layers whose weights are known, and which can be trained further from there.
Parallel beams. The filter starts as Ram-Lak's: h[0] = 1/4, h[n] = -1/(π n)² for odd n and 0 for even n (Kak, Slaney,
"Principles of computerized tomographic imaging", 1988, eq. 3.61, at distance 1).
"""

from math import ceil, cos, pi, sin

from .. import nn
from ..autograd import Tensor, grad, no_grad
from ..autograd.creation import arange, tensor, zeros
from ..autograd.ops.joining import stack
from ..nn import functional as F


class BackProjection(nn.Module):
    """Sinograms (N, angles, detectors) → images (N, size, size).

    image(x, y) = π / angles · Σ_θ p_θ(x cos θ + y sin θ), with p_θ interpolated linearly, and 0 beyond the detector.

    Source: A. Kak, M. Slaney, "Principles of computerized tomographic imaging", 1988, section 3.3.
    """

    def __init__(self, size: int, angles: int, detectors: int | None = None) -> None:
        super().__init__()
        self.size, self.angles = size, angles
        self.detectors = detectors or ceil(size * 2**0.5) | 1
        line = arange(size, dtype="float64") - (size - 1) / 2
        y, x = -line.view(-1, 1), line.view(1, -1)
        index, weight = [], []
        for a in range(angles):
            place = x * cos(pi * a / angles) + y * sin(pi * a / angles) + (self.detectors - 1) / 2
            below = place.floor()
            for offset in (0, 1):
                at = below + offset
                inside = (at >= 0) & (at < self.detectors)
                index.append((at.clamp(0, self.detectors - 1) + a * self.detectors).flatten().long())
                weight.append(((1 - (place - at).abs()) * inside * (pi / angles)).flatten())
        # (2·angles, size²): which numbers of a sinogram make a pixel
        self.register_buffer("index", stack(*index), persistent=False)
        self.register_buffer("weight", stack(*weight).float(), persistent=False)

    def forward(self, sinogram: Tensor) -> Tensor:
        flat = sinogram.flatten(1)
        image = flat.new_zeros(flat.shape[0], self.size * self.size)
        for index, weight in zip(self.index, self.weight, strict=True):
            image = image + flat[:, index] * weight.to(flat.dtype)
        return image.view(-1, self.size, self.size)

    def project(self, image: Tensor) -> Tensor:
        """The forward projection, (N, size, size) → (N, angles, detectors): the adjoint, up to the factor π/angles.

        Back-projection is linear, so its gradient with respect to a sinogram is its adjoint applied to the image.
        """
        sinogram = zeros(image.shape[0], self.angles, self.detectors, dtype=image.dtype, requires_grad=True)
        (adjoint,) = grad(self(sinogram), sinogram, image, create_graph=image.requires_grad)
        return adjoint * (self.angles / pi)


class FilteredBackProjection(nn.Module):
    """Sinograms (N, angles, detectors) → images (N, size, size): relu(back-projection(filter * sinogram)).

    Args:
        size: side of the images.
        angles: projections, evenly over 180°.
        detectors: numbers per projection; by default enough for the diagonal.

    Source: T. Würfl, F. Ghesu, V. Christlein, A. Maier, "Deep learning computed tomography", 2016.
    """

    def __init__(self, size: int, angles: int, detectors: int | None = None) -> None:
        super().__init__()
        self.backproject = BackProjection(size, angles, detectors)
        reach = self.backproject.detectors - 1
        ramp = [0.25 if n == 0 else -1 / (pi * n) ** 2 if n % 2 else 0.0 for n in range(-reach, reach + 1)]
        self.filter = nn.Conv1d(1, 1, 2 * reach + 1, padding=reach, bias=False)
        with no_grad():
            self.filter.weight.copy_(tensor(ramp).view(1, 1, -1))

    def forward(self, sinogram: Tensor) -> Tensor:
        count, angles, detectors = sinogram.shape
        filtered = self.filter(sinogram.reshape(count * angles, 1, detectors)).view(count, angles, detectors)
        return F.relu(self.backproject(filtered))
