"""Ready parametrisations: weight norm, spectral norm, orthogonal matrices."""

from __future__ import annotations

from typing import Any

from ...autograd import FUNCTIONS, Tensor, finfo, linalg, no_grad
from .. import functional as F
from ..module import Module
from ..parameter import is_lazy
from . import parametrize
from .spectral_norm import as_matrix, output_dim, unit_like
from .weight_norm import norm_except_dim

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]


# -- weight norm ------------------------------------------------------------------------------------------------------


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        return weight_v * (weight_g / norm_except_dim(weight_v, self.dim))

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return norm_except_dim(weight, self.dim), weight


class _FormerKeys:
    """Before loading: `weight_g` and `weight_v` of the older form under the names of this one."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        old = [f"{prefix}{self.name}_{part}" for part in "gv"]
        if all(key in state_dict for key in old):
            for i, key in enumerate(old):
                state_dict[f"{prefix}parametrizations.{self.name}.original{i}"] = state_dict.pop(key)


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Any:
    """Weight normalisation as a parametrisation: w = g v / ‖v‖, the norm over all dimensions but `dim`.

    g and v are `parametrizations.<name>.original0` and `.original1`; checkpoints of the older form (`weight_g`,
    `weight_v`) load too. Returns the module.
    Source: T. Salimans, D. P. Kingma, "Weight normalization", 2016.
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)
    module._register_load_state_dict_pre_hook(_FormerKeys(name))
    return module


# -- spectral norm ----------------------------------------------------------------------------------------------------


class _SpectralNorm(Module):
    def __init__(self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise IndexError(
                f"Dimension out of range (expected to be in range of [-{weight.ndim}, {weight.ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim, self.eps, self.n_power_iterations = dim % weight.ndim, eps, n_power_iterations
        if weight.ndim > 1:  # a vector's largest singular value is its norm
            with no_grad():
                matrix = as_matrix(weight, self.dim)
                self.register_buffer("_u", unit_like(weight, matrix.shape[0], eps))
                self.register_buffer("_v", unit_like(weight, matrix.shape[1], eps))
                self._iterate(matrix, 15)

    def _iterate(self, matrix: Tensor, steps: int) -> None:
        """Steps of u = Wv / ‖Wv‖, v = Wᵀu / ‖Wᵀu‖ in the buffers."""
        for _ in range(steps):
            self._u.copy_(F.normalize(matrix.mv(self._v), dim=0, eps=self.eps))
            self._v.copy_(F.normalize(matrix.t().mv(self._u), dim=0, eps=self.eps))

    def forward(self, weight: Tensor) -> Tensor:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            with no_grad():
                self._iterate(matrix, self.n_power_iterations)
        u, v = self._u.clone(), self._v.clone()  # the next forward moves the buffers
        return weight / u.dot(matrix.mv(v))

    def right_inverse(self, value: Tensor) -> Tensor:
        return value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Any:
    """Spectral normalisation as a parametrisation: w = W / σ(W), σ the largest singular value of W.

    W is a matrix with `dim` as its rows (default: 0, and 1 for transposed convolutions). Each reading of the weight in
    training does `n_power_iterations` steps of the power iteration. Returns the module. name: of the parameter. eps:
    added to norms. Source: T. Miyato et al., "Spectral normalization for generative adversarial networks", 2018.
    """
    weight = _tensor(module, name)
    dim = output_dim(module) if dim is None else dim
    return parametrize.register_parametrization(module, name, _SpectralNorm(weight, n_power_iterations, dim, eps))


def _tensor(module: Module, name: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    if is_lazy(weight):
        raise ValueError(f"the parameter '{name}' has no size yet: call the module once before it is parametrised")
    return weight


# -- orthogonal -------------------------------------------------------------------------------------------------------


def _is_orthogonal(q: Tensor) -> bool:
    n, k = q.shape[-2:]
    eye = FUNCTIONS["eye"](k, dtype=q.dtype, device=q.device)
    bound = 10 * n * finfo(q.dtype).eps
    return bool(((q.mT @ q - eye).abs() < bound).all().item())


def _orthonormal(a: Tensor) -> Tensor:
    """The Q of the QR decomposition whose R has a positive diagonal."""
    q, r = linalg.qr(a)
    return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)


def _reflections(q: Tensor) -> Tensor:
    """Householder vectors below the diagonal, and signs on it, out of which `_householder` makes `q` again."""
    rest, columns = q.clone(), []
    for j in range(q.shape[-1]):
        x = rest[..., j:, j]
        length = x.norm(dim=-1, keepdim=True)
        head = x[..., :1] + FUNCTIONS["where"](x[..., :1] >= 0, length, -length)
        v = FUNCTIONS["cat"]([FUNCTIONS["ones_like"](head), x[..., 1:] / head], -1)
        scale = 2 / (v * v).sum(-1, keepdim=True)
        part = rest[..., j:, :]
        rest[..., j:, :] = part - (scale * v).unsqueeze(-1) * (v.unsqueeze(-2) @ part)
        zeros = q.new_zeros((*q.shape[:-2], j))
        columns.append(FUNCTIONS["cat"]([zeros, rest[..., j : j + 1, j].sign(), v[..., 1:]], -1))
    return FUNCTIONS["stack"](columns, -1)


def _householder(x: Tensor) -> Tensor:
    """H_1 H_2 ... H_k [I; 0] diag(s), where H_j reflects along (0, ..., 1, column j below the diagonal)."""
    n, k = x.shape[-2:]
    # Signs and not the numbers themselves: weight decay may have made them smaller than 1.
    signs = x.diagonal(dim1=-2, dim2=-1).detach().sign()
    lower = x.tril(-1)
    eye = FUNCTIONS["eye"](n, k, dtype=x.dtype, device=x.device)
    vectors = lower + eye
    scales = 2 / (1 + (lower * lower).sum(-2))
    q = eye.expand(*x.shape[:-2], n, k)
    for j in reversed(range(k)):
        v = vectors[..., :, j : j + 1]
        q = q - scales[..., j : j + 1].unsqueeze(-1) * v @ (v.mT @ q)
    return q * signs.unsqueeze(-2)


class _Orthogonal(Module):
    base: Tensor

    def __init__(self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool = True) -> None:
        super().__init__()
        self.shape, self.orthogonal_map = weight.shape, orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        rows, columns = X.shape[-2:]
        wide = rows < columns
        x = X.mT if wide else X
        n, k = max(rows, columns), min(rows, columns)
        if self.orthogonal_map == "householder":
            q = _householder(x)
        else:
            a = x.tril()
            if n != k:
                a = FUNCTIONS["cat"]([a, a.new_zeros((*a.shape[:-2], n, n - k))], -1)
            a = a - a.mT
            if self.orthogonal_map == "matrix_exp":
                q = linalg.matrix_exp(a)
            else:
                eye = FUNCTIONS["eye"](n, dtype=a.dtype, device=a.device)
                q = linalg.solve(eye - a / 2, eye + a / 2)
            if n != k:
                q = q[..., :k]
        base = vars(self).get("base")
        if base is not None:
            q = base @ q
        return q.mT if wide else q

    def right_inverse(self, Q: Tensor) -> Tensor:
        if Q.shape != self.shape:
            raise ValueError(f"Expected a matrix or batch of matrices of shape {self.shape}. Got {Q.shape}.")
        wide = Q.shape[-2] < Q.shape[-1]
        q = Q.mT if wide else Q
        n, k = q.shape[-2:]
        if "base" not in vars(self):
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                    "use_trivialization=False."
                )
            x = _reflections(_orthonormal(q))
            return x.mT if wide else x
        # A base B and a matrix that the map takes to the identity: B · I is the value.
        if n != k:
            more = q.new_empty((*q.shape[:-2], n, n - k)).normal_()
            q = FUNCTIONS["cat"]([q, more], -1)
            q = _orthonormal(q)
        else:
            q = q.clone() if _is_orthogonal(q) else _orthonormal(q)
        self.base = q
        minus = FUNCTIONS["zeros_like"](Q)
        minus.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
        return minus


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Any:
    """Let a matrix be orthogonal: QᵀQ = I (QQᵀ = I where it is wide). Returns the module.

    orthogonal_map: "matrix_exp", exp(A) of a skew-symmetric A; "cayley", (I - A/2)⁻¹(I + A/2); "householder", a product
    of reflections. Default: matrix_exp for square matrices, householder for others. use_trivialization: the result is
    multiplied by a fixed base, the value at the start or at the last assignment. name: of the parameter. Source: M.
    Lezcano-Casado, "Trivializations for gradient-based optimization on manifolds", 2019.
    """
    weight = _tensor(module, name)
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in ("matrix_exp", "cayley", "householder"):
        raise ValueError(
            f'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: {orthogonal_map}'
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return parametrize.register_parametrization(module, name, made, unsafe=True)
