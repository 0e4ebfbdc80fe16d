"""Which ops autocast casts, by type of device: PyTorch's lists, by the names of our ops, composites and functions.

Sources: PyTorch's documentation, "Automatic Mixed Precision", op-specific behavior for CUDA and for CPU; where it
leaves out what the library does, the names that PyTorch 2.13 registers for autocast (upsampling, logsumexp, rms_norm,
huber loss, vecdot, einsum, attention). tests/autocast_table.py holds both beside calls of each op.

`mm`, `bmm`, `addmm`, ... multiply by `matmul`, all convolutions are `conv` and `conv_input`, and so on: what only calls
a listed op needs no entry. PyTorch's compositions do their parts one by one; ours are one op, so some are listed here
by what their parts amount to (square by pow; gaussian_nll_loss by log; local_response_norm by avg_pool3d or pow).
"""

from __future__ import annotations

__all__ = ["ALONE", "FIRST", "LISTS", "NARROW", "REFUSED", "WIDE", "WIDEST"]

#: computed in the dtype of autocast; in float32; in float32 where one of several inputs has it; each as it is
NARROW, WIDE, WIDEST, ALONE = "narrow", "wide", "widest", "alone"
#: in the dtype of the first input; an error
FIRST, REFUSED = "first", "refused"

_PRODUCTS = """matmul addbmm linear feed_forward conv conv_input contract scaled_dot_product_attention prelu lstm rnn
    vecdot"""
_LOSSES = """binary_cross_entropy_with_logits cosine_embedding_loss cross_entropy hinge_embedding_loss huber_loss kl_div
    l1_loss margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss nll_loss poisson_nll_loss
    smooth_l1_loss soft_margin_loss triplet_margin_loss"""

_TABLE: dict[str, dict[str, str]] = {
    "cpu": {
        NARROW: _PRODUCTS,
        WIDE: f"""{_LOSSES} binary_cross_entropy ctc_nll local_response_norm
            cdist cholesky cholesky_inverse cholesky_solve cond eigh grid_sample householder_product inv lstsq lu_factor
            lu_solve matrix_rank nanquantile pinv prod qr quantile solve svd tensorinv tensorsolve trace
            triangular_solve
            adaptive_avg_pool3d adaptive_max_pool3d avg_pool3d fractional_max_pool2d fractional_max_pool3d max_pool3d
            max_unpool1d max_unpool2d max_unpool3d reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d
            replication_pad3d""",
        WIDEST: "concat stack index_copy",
        # on the CPU PyTorch has no entry for these, and no product within them that has one
        ALONE: "dot vdot mv addmv",
        FIRST: "gru lstm_cell gru_cell",
    },
    "cuda": {
        NARROW: f"{_PRODUCTS} addr attention_by_seed gru recurrent",
        WIDE: f"""{_LOSSES} multilabel_soft_margin_loss gaussian_nll_loss
            acos asin cdist cosh cosine_similarity cumprod cumsum dist erfinv exp expm1 group_norm layer_norm
            local_response_norm log log10 log1p log2 log_softmax logsumexp matrix_norm normalize pairwise_distance
            pdist pow prod reciprocal renorm rms_norm rsqrt sinh softmax softmin softplus square sum tan upsample
            vector_norm""",
        REFUSED: "binary_cross_entropy",
        WIDEST: "addcdiv addcmul atan2 bilinear cross dot grid_sample put_at scatter_add tensordot vdot",
    },
}

#: type of device -> name -> policy
LISTS: dict[str, dict[str, str]] = {
    place: {name: policy for policy, names in table.items() for name in names.split()}
    for place, table in _TABLE.items()
}
