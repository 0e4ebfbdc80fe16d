"""GPT-2: A. Radford et al., "Language models are unsupervised multitask learners", 2019.

Names of parameters are those of the published checkpoints (`transformer.h.0.attn.c_attn.weight`), so they load:
`GPT.from_gpt2(state)`. Nucleus sampling: A. Holtzman et al., "The curious case of neural text degeneration", 2020.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from .. import nn
from ..autograd import FUNCTIONS, Tensor, no_grad
from ..autograd.creation import arange
from ..autograd.ops.joining import cat
from ..nn import functional as F
from ..nn.feed_forward import feed_forward
from ..nn.normalization import add_norm


@dataclasses.dataclass
class GPTConfig:
    """Sizes of a GPT; the defaults are the smallest GPT-2's, of 124 million parameters.

    vocab_size V, block_size: the most tokens that are looked at, n_layer blocks of n_head heads, n_embd the width
    of the vectors, dropout's probability, bias: whether linear layers and norms have one.
    """

    vocab_size: int = 50257
    block_size: int = 1024
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768
    dropout: float = 0.1
    bias: bool = True


class CausalSelfAttention(nn.Module):
    """Each position attends to itself and those before it: (B, T, C) → (B, T, C). The block applies `resid_dropout`."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        if config.n_embd % config.n_head:
            raise ValueError(f"n_embd={config.n_embd} is no multiple of n_head={config.n_head}")
        self.n_head, self.dropout = config.n_head, config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)
        self.resid_dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c = x.shape
        q, k, v = (y.view(b, t, self.n_head, c // self.n_head).transpose(1, 2) for y in self.c_attn(x).split(c, 2))
        p = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(b, t, c))


class MLP(nn.Module):
    """c_proj(gelu(c_fc(x))), four times as wide inside. The block applies `dropout`."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        y = feed_forward(x, self.c_fc, self.c_proj, "gelu_tanh")
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh")) if y is None else y


class Block(nn.Module):
    """x + attn(ln_1(x)), then x + mlp(ln_2(x)), with dropout of what is added."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        normal, x = add_norm(self.ln_2, x, self.attn(self.ln_1(x)), self.attn.resid_dropout)
        return F.dropout_add(self.mlp(normal), x, self.mlp.dropout.p, self.training)


class GPT(nn.Module):
    """Tokens (B, T) → logits (B, T, V), and with targets (B, T) the cross entropy (targets of -1 do not count).

    The table of words also scores the output (weight tying). Weights start normal with σ = 0.02, those that end a
    residual branch with 0.02 / √(2 n_layer), biases zero. config: a `GPTConfig`.

    Source: A. Radford et al., "Language models are unsupervised multitask learners", 2019.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(config.vocab_size, config.n_embd),
                "wpe": nn.Embedding(config.block_size, config.n_embd),
                "drop": nn.Dropout(config.dropout),
                "h": nn.ModuleList([Block(config) for _ in range(config.n_layer)]),
                "ln_f": nn.LayerNorm(config.n_embd, bias=config.bias),
            }
        )
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.lm_head.weight = self.transformer.wte.weight
        for name, p in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(p)
            elif p.ndim == 2:
                last = name.endswith("c_proj.weight")
                nn.init.normal_(p, 0.0, 0.02 / math.sqrt(2 * config.n_layer) if last else 0.02)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        if idx.dim() != 2:
            raise ValueError(f"tokens are (batch, time), got shape {tuple(idx.shape)}; for one sequence: idx[None]")
        length = idx.shape[1]
        if length > self.config.block_size:
            raise ValueError(f"a sequence of {length} is longer than block_size={self.config.block_size}")
        parts = self.transformer
        x = parts.drop(parts.wte(idx) + parts.wpe(arange(length, device=idx.device)))
        for block in parts.h:
            x = block(x)
        logits = self.lm_head(parts.ln_f(x))
        if targets is None:
            return logits, None
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)

    @no_grad()
    def generate(
        self,
        idx: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: Any = None,
    ) -> Tensor:
        """`idx` (B, T) continued by tokens drawn one after the other; only the last block_size are looked at.

        temperature divides the logits; 0 takes the likeliest. top_k: of the k likeliest alone; top_p: of the fewest
        likeliest that hold this much probability together.
        """
        for _ in range(max_new_tokens):
            logits = self(idx[:, -self.config.block_size :])[0][:, -1]
            if temperature == 0:
                token = logits.argmax(1, keepdim=True)
            else:
                p = F.softmax(narrowed(logits / temperature, top_k, top_p), 1)
                token = FUNCTIONS["multinomial"](p, 1, generator=generator)
            idx = cat([idx, token], 1)
        return idx

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """For AdamW: matrices and tables decay, biases and norms do not."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        return [
            {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]

    @classmethod
    def from_gpt2(cls, state: Mapping[str, Tensor], n_head: int | None = None) -> "GPT":
        """A GPT with the weights of a GPT-2 checkpoint, whose sizes it has; by default a head is 64 wide.

        The checkpoint keeps the matrices of its projections as (in, out), and masks, which are not needed.
        """
        state = {k if k.startswith("transformer.") else f"transformer.{k}": v for k, v in state.items()}
        words, positions = state["transformer.wte.weight"], state["transformer.wpe.weight"]
        layers = len({k.split(".")[2] for k in state if k.startswith("transformer.h.")})
        width = words.shape[1]
        model = cls(GPTConfig(words.shape[0], positions.shape[0], layers, n_head or width // 64, width))
        found = {}
        for name, p in model.state_dict().items():
            if name != "lm_head.weight":
                turned = name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight"))
                found[name] = state[name].t() if turned else state[name]
                if tuple(found[name].shape) != tuple(p.shape):
                    raise ValueError(f"{name} has shape {tuple(found[name].shape)}, expected {tuple(p.shape)}")
        model.load_state_dict({**found, "lm_head.weight": words})
        return model


def narrowed(logits: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Logits (B, V) with -inf for all but the `top_k` likeliest, and for all beyond the nucleus of mass `top_p`."""
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[1]), 1)[0][:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if top_p is not None:
        values, order = logits.sort(1, descending=True)
        p = F.softmax(values, 1)
        outside = p.cumsum(1) - p >= top_p  # what is likelier holds enough already
        logits = logits.masked_fill(outside.gather(1, order.argsort(1)), -math.inf)
    return logits
