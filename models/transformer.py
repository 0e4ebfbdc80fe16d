"""The Transformer for translation: A. Vaswani et al., "Attention is all you need", 2017.

Words and positions are embedded, encoder and decoder attend (`nn.Transformer`, normalised after each branch, as in the
paper), and the table of words, shared by source, target and output, scores the next word.
"""

import math

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.creation import arange, full
from ..autograd.ops.joining import cat, stack
from ..nn import functional as F


class PositionalEncoding(nn.Module):
    """x + PE for x (B, T, d): PE[t, 2i] = sin(t / 10000^(2i/d)), PE[t, 2i+1] the cosine of the same; then dropout.

    d_model: d. max_len: the largest T, ValueError beyond it.

    Source: A. Vaswani et al., "Attention is all you need", 2017, section 3.5.
    """

    def __init__(self, d_model: int, dropout: float = 0.1, max_len: int = 5000) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        steps = arange((d_model + 1) // 2).float() * (-2 * math.log(10000.0) / d_model)
        angles = arange(max_len).float().unsqueeze(1) * steps.exp()
        waves = stack(angles.sin(), angles.cos(), dim=2).reshape(max_len, -1)
        self.register_buffer("pe", waves[:, :d_model].unsqueeze(0).clone())

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] > self.pe.shape[1]:
            raise ValueError(f"a sequence of {x.shape[1]} is longer than max_len={self.pe.shape[1]}")
        return self.dropout(x + self.pe[:, : x.shape[1]])


class TranslationTransformer(nn.Module):
    """Source (B, S) and target inputs (B, T), both word numbers → logits (B, T, V).

    The target's inputs are its words one place later, with a start sign before them: teacher forcing. Words equal
    to `pad` are never looked at and cost nothing. The defaults are the paper's base model.

    Args:
        vocabulary: V, of both languages together.
        pad: the number of the word that fills up short sentences.
        max_len: the longest sentence.
        smoothing: of the labels in `loss`.

    d_model: size of the words' vectors; heads, layers, feed_forward, dropout: of `nn.Transformer`.

    Source: A. Vaswani et al., "Attention is all you need", 2017.
    """

    def __init__(
        self,
        vocabulary: int,
        d_model: int = 512,
        heads: int = 8,
        layers: int = 6,
        feed_forward: int = 2048,
        dropout: float = 0.1,
        pad: int = 0,
        max_len: int = 5000,
        smoothing: float = 0.1,
    ) -> None:
        super().__init__()
        self.pad, self.smoothing, self.scale = pad, smoothing, math.sqrt(d_model)
        self.words = nn.Embedding(vocabulary, d_model, padding_idx=pad)
        self.positions = PositionalEncoding(d_model, dropout, max_len)
        encoder = nn.TransformerEncoderLayer(d_model, heads, feed_forward, dropout, batch_first=True)
        decoder = nn.TransformerDecoderLayer(d_model, heads, feed_forward, dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(encoder, layers, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, layers)
        for p in (*self.encoder.parameters(), *self.decoder.parameters()):
            if p.ndim > 1:
                nn.init.xavier_uniform_(p)
        nn.init.normal_(self.words.weight, 0.0, d_model**-0.5)
        with no_grad():
            self.words.weight[pad].fill_(0.0)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder looks at, (B, S, d_model), and where it must not, (B, S)."""
        hidden = source == self.pad
        return self.encoder(self.positions(self.words(source) * self.scale), src_key_padding_mask=hidden), hidden

    def decode(self, target: Tensor, memory: Tensor, hidden: Tensor) -> Tensor:
        """Logits (B, T, V) of the words after each of target's."""
        later = arange(target.shape[1], device=target.device)
        h = self.decoder(
            self.positions(self.words(target) * self.scale),
            memory,
            tgt_mask=later > later.unsqueeze(1),
            tgt_key_padding_mask=target == self.pad,
            memory_key_padding_mask=hidden,
            tgt_is_causal=False,  # the padding needs the mask itself
        )
        return F.linear(h, self.words.weight)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.decode(target, *self.encode(source))

    def loss(self, source: Tensor, target: Tensor) -> Tensor:
        """Cross entropy of each word of target (B, T), given those before it; the first one is the start sign."""
        logits = self(source, target[:, :-1])
        return F.cross_entropy(
            logits.flatten(0, 1),
            target[:, 1:].flatten(),
            ignore_index=self.pad,
            label_smoothing=self.smoothing if self.training else 0.0,
        )

    @no_grad()
    def translate(self, source: Tensor, start: int, length: int, end: int | None = None) -> Tensor:
        """The most probable next word, `length` times or until all sentences ended: (B, T)."""
        memory, hidden = self.encode(source)
        words = full((source.shape[0], 1), start, device=source.device)
        ended = words[:, 0] != words[:, 0]
        for _ in range(length):
            word = self.decode(words, memory, hidden)[:, -1].argmax(1)
            if end is not None:
                word = word.masked_fill(ended, self.pad)
                ended = ended | (word == end)
            words = cat([words, word.unsqueeze(1)], 1)
            if ended.all():
                break
        return words[:, 1:]


def noam(step: int, d_model: int = 512, warmup: int = 4000, factor: float = 1.0) -> float:
    """The paper's learning rate: factor d_model^-½ min(step^-½, step warmup^-³ᐟ²), for steps from 1 on.

    With LambdaLR over an optimizer of rate 1: `LambdaLR(optimizer, lambda s: noam(s + 1))`.

    Source: A. Vaswani et al., "Attention is all you need", 2017, equation 3.
    """
    if step < 1:
        raise ValueError(f"steps count from 1, not {step}")
    return factor * d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
