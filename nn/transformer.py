"""The Transformer: encoder and decoder layers of attention and feed-forward nets, stacks of them, and both together.

Source: A. Vaswani et al., "Attention is all you need", 2017; norm_first: R. Xiong et al., "On layer normalization in
the Transformer architecture", 2020.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from ..autograd import FUNCTIONS, Tensor
from ..autograd.errors import warn
from ..autograd.modes import is_grad_enabled
from ..autograd.ops.multihead import additive_mask
from . import functional as F
from . import init
from .activation import GELU, ReLU
from .container import ModuleList
from .dropout import Dropout
from .feed_forward import feed_forward
from .linear import Linear
from .module import Module
from .multihead import MultiheadAttention
from .normalization import LayerNorm, add_norm

__all__ = [
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
]

Activation = str | Callable[[Tensor], Tensor]


def _get_activation_fn(activation: Activation) -> Any:
    if not isinstance(activation, str):
        return activation
    if activation not in ("relu", "gelu"):
        raise RuntimeError(f"activation should be relu/gelu, not {activation}")
    return F.relu if activation == "relu" else F.gelu


def _generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
    """(sz, sz): -inf above the diagonal, 0 elsewhere."""
    return FUNCTIONS["full"]((sz, sz), -math.inf, device=device, dtype=dtype).triu(1)


def _is_causal(mask: Tensor | None, told: bool | None, size: int) -> bool:
    """Whether a mask is the causal one: what the caller says, or where nothing is said what the mask holds."""
    if told is not None:
        return told
    if mask is None or tuple(mask.shape) != (size, size):
        return False
    return bool((mask == _generate_square_subsequent_mask(size, mask.device, mask.dtype)).all())


def _get_clones(module: Module, N: int) -> ModuleList:
    return ModuleList([copy.deepcopy(module) for _ in range(N)])


class _Layer(Module):
    """What the layers of encoder and decoder share: where the norms stand, and attention without its weights."""

    def _cr_residual(self, x: Tensor, norm: Module, block: Callable[..., Tensor], *masks: Any) -> Tensor:
        return x + block(norm(x), *masks) if self.norm_first else add_norm(norm, x, block(x, *masks))[0]

    def _sa_block(
        self, x: Tensor, attn_mask: Tensor | None, key_padding_mask: Tensor | None, is_causal: bool = False
    ) -> Tensor:
        masks = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask, "is_causal": is_causal}
        return self.dropout1(self.self_attn(x, x, x, need_weights=False, **masks)[0])


def _mapped(layer: Any, x: Tensor) -> Tensor:
    """linear2(dropout(activation(linear1(x)))) of a layer."""
    drops, between = layer.dropout, layer.activation
    plain = type(drops) is Dropout and drops._cr_hooks is None and not (drops.training and drops.p)
    if plain and (between is F.relu or (type(between) is ReLU and between._cr_hooks is None)):
        found = feed_forward(x, layer.linear1, layer.linear2, "relu")
        if found is not None:
            return found
    return layer.linear2(drops(between(layer.linear1(x))))


class TransformerEncoderLayer(_Layer):
    """x = norm1(x + attention(x)), then norm2(x + linear2(activation(linear1(x)))), with dropout in each branch.

    norm_first: x + attention(norm1(x)) and so on. Shapes: src (S, N, d_model), (N, S, d_model) with `batch_first`, or
    (S, d_model). nhead: heads of the attention; dim_feedforward: units of linear1; layer_norm_eps: of both norms. Masks
    as in MultiheadAttention. activation: "relu", "gelu" or a function.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias=bias, batch_first=batch_first, **place)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.activation = _get_activation_fn(activation)

    @property
    def activation_relu_or_gelu(self) -> int:
        """1 for relu, 2 for gelu, 0 for another activation."""
        activation = self.activation
        if activation is F.relu or isinstance(activation, ReLU):
            return 1
        return 2 if activation is F.gelu or isinstance(activation, GELU) else 0

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """src after attention and feed-forward net."""
        src_key_padding_mask = additive_mask(src_key_padding_mask, "src_key_padding_mask", src, src_mask, "src_mask")
        src_mask = additive_mask(src_mask, "src_mask", src)
        x = self._cr_residual(src, self.norm1, self._sa_block, src_mask, src_key_padding_mask, is_causal)
        return self._cr_residual(x, self.norm2, self._ff_block)

    def _ff_block(self, x: Tensor) -> Tensor:
        return self.dropout2(_mapped(self, x))


class TransformerDecoderLayer(_Layer):
    """Attention within tgt, attention from tgt to memory, a feed-forward net: each with dropout, residual and norm.

    Shapes: tgt (T, N, d_model), memory (S, N, d_model), with `batch_first` N first, or both without N. nhead: heads;
    dim_feedforward, activation, layer_norm_eps, norm_first: see `TransformerEncoderLayer`. Masks as in
    MultiheadAttention: tgt_mask (T, T), memory_mask (T, S), and one of padding for each.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        attention = {"dropout": dropout, "batch_first": batch_first, "bias": bias, **place}
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, **attention)
        self.multihead_attn = MultiheadAttention(d_model, nhead, **attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, **place)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, **place)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, bias=bias, **place)
        self.dropout1, self.dropout2, self.dropout3 = Dropout(dropout), Dropout(dropout), Dropout(dropout)
        self.activation = _get_activation_fn(activation)

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """tgt after both attentions and the feed-forward net."""
        own = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        other = (memory, memory_mask, memory_key_padding_mask, memory_is_causal)
        x = self._cr_residual(tgt, self.norm1, self._sa_block, *own)
        x = self._cr_residual(x, self.norm2, self._mha_block, *other)
        return self._cr_residual(x, self.norm3, self._ff_block)

    def _mha_block(
        self,
        x: Tensor,
        mem: Tensor,
        attn_mask: Tensor | None,
        key_padding_mask: Tensor | None,
        is_causal: bool = False,
    ) -> Tensor:
        masks = {"attn_mask": attn_mask, "key_padding_mask": key_padding_mask, "is_causal": is_causal}
        return self.dropout2(self.multihead_attn(x, mem, mem, need_weights=False, **masks)[0])

    def _ff_block(self, x: Tensor) -> Tensor:
        return self.dropout3(_mapped(self, x))


class TransformerEncoder(Module):
    """`num_layers` copies of encoder_layer (with equal weights to begin with), and a norm after them.

    Shapes: those of `TransformerEncoderLayer`. enable_nested_tensor, mask_check: PyTorch then leaves padded positions
    out when it evaluates without gradients; in those cases they are zeros here too.
    """

    def __init__(
        self,
        encoder_layer: TransformerEncoderLayer,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        self.layers = _get_clones(encoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check
        why = _why_not_nested(encoder_layer)
        self.use_nested_tensor = enable_nested_tensor and not why
        if enable_nested_tensor and why:
            warn(f"enable_nested_tensor is True, but self.use_nested_tensor is False because {why}")

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """src through all layers; is_causal: whether `mask` is the causal one (None: it is looked at)."""
        padded = src_key_padding_mask
        src_key_padding_mask = additive_mask(padded, "src_key_padding_mask", src, mask, "mask")
        mask = additive_mask(mask, "mask", src)
        batch_first = getattr(getattr(self.layers[0], "self_attn", None), "batch_first", False)
        causal = _is_causal(mask, is_causal, src.shape[1 if batch_first and src.ndim == 3 else 0])
        output = src
        for layer in self.layers:
            output = layer(output, src_mask=mask, is_causal=causal, src_key_padding_mask=src_key_padding_mask)
        if padded is not None and mask is None and self._leaves_out(src, padded):
            hidden = padded if str(padded.dtype).endswith("bool") else padded == -math.inf
            output = output.masked_fill(hidden.unsqueeze(-1), 0.0)
        return output if self.norm is None else self.norm(output)

    def _leaves_out(self, src: Tensor, padded: Tensor) -> bool:
        """Whether PyTorch would compute without the padded positions, which are zeros afterwards."""
        if not self.use_nested_tensor or self.training or src.ndim != 3 or self.layers[0].training:
            return False
        if is_grad_enabled() and any(t.requires_grad for t in (src, *self.layers[0].parameters())):
            return False
        hidden = padded if str(padded.dtype).endswith("bool") else padded == -math.inf
        # the padding must stand at the end of each row
        return not self.mask_check or bool((hidden[:, 1:] >= hidden[:, :-1]).all())


def _why_not_nested(layer: Any) -> str:
    """Why PyTorch cannot leave padded positions out of what this layer computes; "" where it can."""
    name = "encoder_layer"
    if not isinstance(layer, TransformerEncoderLayer):
        return f"{name} was not TransformerEncoderLayer"
    attention = layer.self_attn
    found = {
        f"{name}.norm_first was True": layer.norm_first,
        f"{name}.self_attn.batch_first was not True(use batch_first for better inference performance)": (
            not attention.batch_first
        ),
        f"{name}.self_attn._qkv_same_embed_dim was not True": not attention._qkv_same_embed_dim,
        f"{name}.self_attn was passed bias=False": attention.in_proj_bias is None,
        f"{name}.activation_relu_or_gelu was not True": not layer.activation_relu_or_gelu,
        f"{name}.norm1.eps was not equal to {name}.norm2.eps": layer.norm1.eps != layer.norm2.eps,
        f"{name}.self_attn.num_heads is odd": attention.num_heads % 2 == 1,
    }
    return next((why for why, holds in found.items() if holds), "")


class TransformerDecoder(Module):
    """`num_layers` copies of decoder_layer (with equal weights to begin with), and a norm after them.

    Shapes: those of `TransformerDecoderLayer`.
    """

    def __init__(self, decoder_layer: TransformerDecoderLayer, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = _get_clones(decoder_layer, num_layers)
        self.num_layers = num_layers
        self.norm = norm

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """tgt through all layers, each of which looks at memory."""
        batch_first = getattr(getattr(self.layers[0], "self_attn", None), "batch_first", False)
        causal = _is_causal(tgt_mask, tgt_is_causal, tgt.shape[1 if batch_first and tgt.ndim == 3 else 0])
        output = tgt
        for layer in self.layers:
            output = layer(
                *(output, memory),
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=causal,
                memory_is_causal=memory_is_causal,
            )
        return output if self.norm is None else self.norm(output)


class Transformer(Module):
    """Encoder and decoder: `transformer(src, tgt)` is decoder(tgt, encoder(src)). Weights start xavier_uniform_.

    Shapes: src (S, N, d_model), tgt (T, N, d_model), result as tgt; with `batch_first` N first, or both without N.
    num_encoder_layers, num_decoder_layers: of `TransformerEncoderLayer` and `TransformerDecoderLayer`, whose arguments
    are the others. custom_encoder, custom_decoder: modules to take in place of the stacks. Source: A. Vaswani et al.,
    "Attention is all you need", 2017.
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Any | None = None,
        custom_decoder: Any | None = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        place: dict[str, Any] = {"device": device, "dtype": dtype}
        layer = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first, bias)

        def norm() -> LayerNorm:
            return LayerNorm(d_model, layer_norm_eps, bias=bias, **place)

        if custom_encoder is not None:
            self.encoder = custom_encoder
        else:
            self.encoder = TransformerEncoder(TransformerEncoderLayer(*layer, **place), num_encoder_layers, norm())
        if custom_decoder is not None:
            self.decoder = custom_decoder
        else:
            self.decoder = TransformerDecoder(TransformerDecoderLayer(*layer, **place), num_decoder_layers, norm())
        self._reset_parameters()
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first

    def _reset_parameters(self) -> None:
        for p in self.parameters():
            if p.ndim > 1:
                init.xavier_uniform_(p)

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """The decoder's output for tgt, which looks at the encoded src."""
        batch = 0 if self.batch_first else 1
        if src.ndim == 3 and src.shape[batch] != tgt.shape[batch]:
            raise RuntimeError("the batch number of src and tgt must be equal")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise RuntimeError("the feature number of src and tgt must be equal to d_model")
        memory = self.encoder(src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal)
        return self.decoder(
            *(tgt, memory),
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Tensor:
        """The causal mask (sz, sz): -inf above the diagonal, 0 elsewhere."""
        return _generate_square_subsequent_mask(sz, device, dtype)
