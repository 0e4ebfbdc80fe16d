"""The autocast table: calls of each op that autocast casts, and what it does on each type of device.

Policies: "narrow" (computed in the dtype of autocast), "wide" (in float32), "widest" (in float32 where one of several
inputs has it), "-" (not listed), "error". Sources: PyTorch's documentation, "Automatic Mixed Precision", op-specific
behavior for CPU and CUDA; for ops that the documentation leaves out, the names that PyTorch 2.13 registers
(torch._C._dispatch_get_registrations_for_dispatch_key), in the group of the documentation that they behave as.

Inputs, in small letters of one dtype and in capitals of another: a, A (4, 4); v, V (4,); b, B (2, 4, 4); s, S
(2, 4, 8); x, X (2, 4, 8, 8); z, Z (1, 2, 4, 4, 4); e (4, 4), positive definite; labels l and i (4,); t, F and n are
torch or chainrule, its nn.functional and its nn.
"""

from typing import NamedTuple

__all__ = ["NOT_HERE", "OTHERS", "TABLE", "Entry", "inputs"]


class Entry(NamedTuple):
    """PyTorch's names of ops, the policies, and calls."""

    ops: tuple[str, ...]
    cpu: str
    cuda: str
    calls: tuple[str, ...]


_TEXT = """
# CPU narrow, CUDA narrow
matmul mm: a @ A; t.matmul(b, B); t.mm(a, A)
bmm baddbmm addmm addbmm: t.bmm(b, B); t.baddbmm(b, B, b); t.addmm(a, A, a); t.addbmm(a, B, b)
_addmm_activation linear: F.linear(a, A); F.linear(a, A, V); n.Linear(4, 2)(a)
linalg_vecdot: t.linalg.vecdot(a, A)
conv1d conv_tbc: F.conv1d(s, B[:, :, :3]); n.Conv1d(4, 2, 3)(s)
conv2d: F.conv2d(x, X[:, :, :3, :3], V[:2]); n.Conv2d(4, 2, 3)(x)
conv3d _convolution convolution cudnn_convolution: F.conv3d(z, Z[:, :, :2, :2, :2])
conv_transpose1d: F.conv_transpose1d(s, S[:, :, :3].transpose(0, 1))
conv_transpose2d cudnn_convolution_transpose: F.conv_transpose2d(x, X[:, :, :3, :3].transpose(0, 1))
conv_transpose2d: n.ConvTranspose2d(4, 2, 3)(x)
conv_transpose3d: F.conv_transpose3d(z, Z[:, :, :2, :2, :2].transpose(0, 1))
prelu: F.prelu(a, V); n.PReLU()(a)
scaled_dot_product_attention _scaled_dot_product_flash_attention: F.scaled_dot_product_attention(b, b, b)
_native_multi_head_attention: n.MultiheadAttention(4, 2)(b, b, b)[0]
mkldnn_rnn_layer _thnn_fused_lstm_cell: n.LSTM(4, 3)(b)[0]
rnn_tanh_cell: n.RNN(4, 3)(b)[0]
# CPU -, CUDA narrow
einsum: t.einsum('ij,jk->ik', a, A)
linalg_multi_dot chain_matmul: t.linalg.multi_dot([a, A, a]); t.chain_matmul(a, A, a)
mv addmv: t.mv(a, V); t.addmv(v, A, v)
addr: t.addr(a, V, v)
lstm_cell: n.LSTMCell(4, 3)(a)[0]
gru_cell _thnn_fused_gru_cell: n.GRUCell(4, 3)(a); n.GRU(4, 3)(b)[0]
rnn_tanh_cell rnn_relu_cell: n.RNNCell(4, 3)(a); n.RNNCell(4, 3, nonlinearity='relu')(a)
# CPU -, CUDA wide
acos asin cosh erfinv: a.acos(); t.asin(a); a.cosh(); a.erfinv()
exp expm1 log log10 log2 log1p: a.exp(); a.expm1(); t.log(a); a.log10(); a.log2(); a.log1p()
reciprocal rsqrt sinh tan: a.reciprocal(); 1 / a; t.rsqrt(a); a.sinh(); a.tan()
pow: a.pow(2); a ** 0.5; 2 ** a; a ** A; t.pow(a, 3); a.square()
softplus: F.softplus(a)
layer_norm native_layer_norm: F.layer_norm(a, (4,)); F.layer_norm(a, (4,), V, V); n.LayerNorm(4)(a)
rms_norm: F.rms_norm(a, (4,)); F.rms_norm(a, (4,), v); n.RMSNorm(4)(a)
group_norm: F.group_norm(x, 2); F.group_norm(x, 2, v, v); n.GroupNorm(2, 4)(x)
norm frobenius_norm linalg_vector_norm: a.norm(); t.norm(a, dim=1); t.linalg.vector_norm(a); t.linalg.norm(a)
linalg_matrix_norm nuclear_norm: t.linalg.matrix_norm(a)
cosine_similarity: F.cosine_similarity(a, A); F.normalize(a)
dist pdist renorm: t.dist(a, A); F.pdist(a); t.renorm(a, 2, 0, 1.0); F.pairwise_distance(a, A)
logsumexp: a.logsumexp(0)
softmax log_softmax: a.softmax(-1); F.softmax(a, -1); F.log_softmax(a, -1); F.softmin(a, -1)
sum cumsum cumprod: a.sum(); t.sum(a, 1); a.cumsum(0); a.cumprod(1)
upsample_nearest1d upsample_linear1d: F.interpolate(s, scale_factor=2); F.interpolate(s, scale_factor=2, mode='linear')
upsample_nearest2d upsample_bilinear2d: F.interpolate(x, scale_factor=2, mode='bilinear')
upsample_nearest3d upsample_trilinear3d: F.interpolate(z, scale_factor=2, mode='trilinear')
upsample_bicubic2d _upsample_bilinear2d_aa _upsample_bicubic2d_aa: F.interpolate(x, scale_factor=2, mode='bicubic')
_upsample_nearest_exact1d _upsample_nearest_exact2d: F.interpolate(s, scale_factor=2, mode='nearest-exact')
_upsample_nearest_exact3d: F.interpolate(z, scale_factor=2, mode='nearest-exact')
huber_loss: F.gaussian_nll_loss(a, A, a.abs())
# CPU wide, CUDA wide
cdist: t.cdist(a, A)
prod: a.prod(); a.prod(1)
l1_loss smooth_l1_loss: F.l1_loss(a, A); F.smooth_l1_loss(a, A)
huber_loss mse_loss: F.huber_loss(a, A); F.mse_loss(a, A)
nll_loss nll_loss2d: F.nll_loss(a, l); F.nll_loss(b, l[:2, None].expand(2, 4))
nll_loss cross_entropy_loss: F.cross_entropy(a, l); F.cross_entropy(a, l, label_smoothing=0.1)
poisson_nll_loss cosine_embedding_loss: F.poisson_nll_loss(a, A); F.cosine_embedding_loss(a, A, i)
hinge_embedding_loss kl_div: F.hinge_embedding_loss(a, A); F.kl_div(a, A, reduction='sum')
margin_ranking_loss soft_margin_loss: F.margin_ranking_loss(v, V, v); F.soft_margin_loss(a, A)
triplet_margin_loss multi_margin_loss: F.triplet_margin_loss(a, A, a); F.multi_margin_loss(a, l)
multilabel_margin_loss multilabel_margin_loss_forward: F.multilabel_margin_loss(a, l.expand(4, 4))
binary_cross_entropy_with_logits: F.binary_cross_entropy_with_logits(a, A)
# CPU wide, CUDA -
ctc_loss: F.ctc_loss(b.transpose(0, 1).log_softmax(-1), l[:2, None] % 3 + 1, (4, 4), (1, 1))
trace: a.trace()
quantile nanquantile: a.quantile(0.5); t.nanquantile(a, 0.5)
inverse linalg_inv linalg_inv_ex pinverse: a.inverse(); t.linalg.inv(a); t.linalg.inv_ex(a)[0]; a.pinverse()
cholesky linalg_cholesky linalg_cholesky_ex: t.linalg.cholesky(e); t.cholesky(e); t.linalg.cholesky_ex(e)[0]
cholesky_inverse cholesky_solve: t.cholesky_inverse(e); t.cholesky_solve(a, e)
linalg_solve lu_solve _lu_with_info: t.linalg.solve(e, A); t.linalg.solve(e, v); t.linalg.lu_factor(a)[0]
linalg_svd svd linalg_svdvals: t.linalg.svd(a)[1]; t.svd(a)[1]; t.linalg.svdvals(a)
linalg_qr qr linalg_householder_product: t.linalg.qr(a)[0]; t.qr(a)[0]; t.linalg.householder_product(a, v)
linalg_eigh linalg_eigvalsh: t.linalg.eigh(e)[0]; t.linalg.eigvalsh(e)
linalg_cond: t.linalg.cond(e)
linalg_tensorinv linalg_tensorsolve: t.linalg.tensorinv(e, ind=1); t.linalg.tensorsolve(e, v)
linalg_lstsq triangular_solve: t.linalg.lstsq(e, a)[0]; t.triangular_solve(a, e)[0]
avg_pool3d adaptive_avg_pool3d: F.avg_pool3d(z, 2); F.adaptive_avg_pool3d(z, 2)
max_pool3d adaptive_max_pool3d: F.max_pool3d(z, 2); F.adaptive_max_pool3d(z, 2)
max_unpool2d: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2)
max_unpool3d: F.max_unpool3d(*F.max_pool3d(z, 2, return_indices=True), 2)
fractional_max_pool2d fractional_max_pool3d: F.fractional_max_pool2d(x, 2, 3); F.fractional_max_pool3d(z, 2, 2)
reflection_pad1d reflection_pad2d: F.pad(s, (1, 1), 'reflect'); F.pad(x, (1, 1, 1, 1), 'reflect')
replication_pad1d replication_pad2d: F.pad(s, (1, 1), 'replicate'); F.pad(x, (1, 1, 1, 1), 'replicate')
replication_pad3d: F.pad(z, (1, 1, 1, 1, 1, 1), 'replicate')
# CPU wide, CUDA widest
grid_sampler grid_sampler_2d _grid_sampler_2d_cpu_fallback: F.grid_sample(x, X[:, :2, :2, :2])
grid_sampler grid_sampler_3d: F.grid_sample(z, Z[:, 0, :, :, :3][:, None])
# CPU wide, CUDA error
binary_cross_entropy: F.binary_cross_entropy(a, A)
# CPU -, CUDA widest
addcdiv addcmul: t.addcdiv(a, A, a); t.addcmul(a, A, a)
atan2 bilinear: t.atan2(a, A); F.bilinear(a, A, b)
cross: t.linalg.cross(a[:, :3], A[:, :3])
dot vdot: t.dot(v, V); t.vdot(v, V)
tensordot: t.tensordot(a, A, 1)
index_put scatter_add: t.index_put(a, (l,), A); a.scatter_add(0, l[:, None].expand(4, 4), A)
# CPU widest, CUDA -
cat stack index_copy: t.cat([a, A]); t.stack([a, A]); a.index_copy(0, l, A)
# CPU -, CUDA -
: a + A; a * A; a.tanh(); a.sqrt(); a.sigmoid(); F.gelu(a); F.silu(a); a.mean(); a.var(); t.where(a > 0, a, A); a.sin()
: F.max_pool2d(x, 2); F.avg_pool2d(x, 2); F.batch_norm(x, V, V, V, V, True); F.pad(s, (1, 1)); F.dropout(a); F.relu(a)
: a.double() @ A.double(); a.double().exp(); a.sum(dtype=t.float64); a.prod(dtype=a.dtype); a.softmax(-1, dtype=a.dtype)
: a.clone().exp_(); a.clone().mul_(A); t.exp(a, out=a.clone()); a.clone().pow_(2); F.embedding(l, a); a.topk(2)[0]
"""

#: what PyTorch lists and chainrule has not, or (transforms) what computes 16 bits in 32 wherever it is called
NOT_HERE = {
    *(f"fft_{i}{kind}fft{n}" for i in ("", "i") for kind in ("", "r", "h") for n in ("", "2", "n")),
    *("fake_quantize_per_tensor_affine", "geqrf", "linalg_eig", "linalg_eigvals", "orgqr", "ormqr", "polar", "stft"),
    "view_as_complex",
} - {"fft_hfft2", "fft_hfftn", "fft_ihfft2", "fft_ihfftn"}
#: what gives an integer
OTHERS = {"linalg_matrix_rank"}


def _entries():
    for line in _TEXT.strip().splitlines():
        if line.startswith("#"):
            cpu, cuda = [part.split()[1] for part in line[1:].split(",")]
            continue
        ops, _, calls = line.partition(":")
        yield Entry(tuple(ops.split()), cpu, cuda, tuple(c.strip() for c in calls.split(";")))


TABLE = list(_entries())

_SHAPES = {"a": (4, 4), "v": (4,), "b": (2, 4, 4), "s": (2, 4, 8), "x": (2, 4, 8, 8), "z": (1, 2, 4, 4, 4)}


def inputs(t, one, two):
    """The names that calls use, in library `t`, with dtypes `one` and `two`."""
    t.manual_seed(0)
    found = {"t": t, "F": t.nn.functional, "n": t.nn, "l": t.arange(4), "i": t.ones(4)}
    for name, shape in _SHAPES.items():
        value = t.rand(*shape) * 0.8 + 0.1
        found[name], found[name.upper()] = value.to(one), value.to(two)
    found["e"] = (t.eye(4) * 2 + 0.1).to(one)
    return found
