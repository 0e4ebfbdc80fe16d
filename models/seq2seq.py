"""Encoder and decoder with attention: Bahdanau, Cho, Bengio, "Neural machine translation by jointly learning to align
and translate", 2015; scores also of Luong, Pham, Manning, 2015 (dot, general), Vaswani et al., 2017 (scaled dot), and
Graves, Wayne, Danihelka, 2014 (cosine).

The encoder reads the source in both directions, h_j = [→h_j, ←h_j]. For each word of the target the decoder, in state
s, looks at the source with weights α_j = softmax_j score(s, h_j), and takes the context c = Σ_j α_j h_j as input.
"""

import math
from typing import Any

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.creation import arange, full
from ..autograd.ops.joining import cat, stack
from ..nn import functional as F
from ..nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class Attention(nn.Module):
    """Queries (B, T, Q), keys (B, S, K), and where there is padding a mask (B, S), True for keys → context (B, T, K),
    weights (B, T, S).

    Args:
        score: of query s and key h: "additive" vᵀ tanh(W s + U h), "general" sᵀ W h, "dot" sᵀ h,
            "scaled_dot" sᵀ h / √K, "cosine" sᵀ h / (‖s‖ ‖h‖).
        query_size: Q; equal to K but for additive and general.
        key_size: K.
        hidden: size of v; K by default.

    Sources: D. Bahdanau, K. Cho, Y. Bengio, "Neural machine translation by jointly learning to align and
    translate", 2015 (additive); M. Luong, H. Pham, C. Manning, "Effective approaches to attention-based neural
    machine translation", 2015; A. Vaswani et al., 2017 (scaled dot); A. Graves, G. Wayne, I. Danihelka, 2014
    (cosine).
    """

    SCORES = ("additive", "general", "dot", "scaled_dot", "cosine")

    def __init__(self, score: str, query_size: int, key_size: int, hidden: int | None = None) -> None:
        super().__init__()
        if score not in self.SCORES:
            raise ValueError(f"score is one of {', '.join(self.SCORES)}, not {score!r}")
        if score in ("dot", "scaled_dot", "cosine") and query_size != key_size:
            raise ValueError(f"score {score!r} needs queries as long as keys, got {query_size} and {key_size}")
        self.score = score
        if score == "additive":
            hidden = hidden or key_size
            self.query, self.key = nn.Linear(query_size, hidden), nn.Linear(key_size, hidden, bias=False)
            self.v = nn.Linear(hidden, 1, bias=False)
        elif score == "general":
            self.key = nn.Linear(key_size, query_size, bias=False)

    def scores(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Every query with every key, (B, T, S)."""
        if self.score == "additive":
            return self.v((self.query(queries).unsqueeze(2) + self.key(keys).unsqueeze(1)).tanh()).squeeze(3)
        if self.score == "general":
            keys = self.key(keys)
        elif self.score == "scaled_dot":
            queries = queries / math.sqrt(keys.shape[2])
        elif self.score == "cosine":
            queries, keys = F.normalize(queries, dim=2), F.normalize(keys, dim=2)
        return queries @ keys.mT

    def forward(self, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        scores = self.scores(queries, keys)
        if mask is not None:
            scores = scores.masked_fill(~mask.unsqueeze(1), -math.inf)
        weights = F.softmax(scores, 2)
        return weights @ keys, weights


class Seq2Seq(nn.Module):
    """Source (B, S), target inputs (B, T), and the source's lengths (B,) where it is padded → logits (B, T, V), weights
    (B, T, S).

    The target's inputs are its words one place later, with a start sign before them: teacher forcing.

    Args:
        source_size, target_size: sizes of the vocabularies.
        embedding: size of the words' vectors.
        hidden: units of the decoder, and of the encoder's two directions together.
        score: see `Attention`.
        dropout: of the words' vectors.

    Source: D. Bahdanau, K. Cho, Y. Bengio, "Neural machine translation by jointly learning to align and translate",
    2015.
    """

    def __init__(
        self,
        source_size: int,
        target_size: int,
        embedding: int = 32,
        hidden: int = 64,
        score: str = "additive",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if hidden % 2:
            raise ValueError(f"hidden is shared by two directions, so it is even, not {hidden}")
        self.source = nn.Embedding(source_size, embedding)
        self.target = nn.Embedding(target_size, embedding)
        self.dropout = nn.Dropout(dropout)
        self.encoder = nn.GRU(embedding, hidden // 2, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(hidden // 2, hidden)
        self.attention = Attention(score, hidden, hidden)
        self.decoder = nn.GRUCell(embedding + hidden, hidden)
        self.output = nn.Linear(embedding + 2 * hidden, target_size)

    def encode(self, source: Tensor, lengths: Any = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """h (B, S, hidden), the decoder's first state (B, hidden), mask (B, S) or None."""
        words, mask = self.dropout(self.source(source)), None
        if lengths is None:
            h, final = self.encoder(words)
        else:
            packed = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
            h, final = self.encoder(packed)
            h, sizes = pad_packed_sequence(h, batch_first=True, total_length=source.shape[1])
            mask = arange(source.shape[1], device=source.device) < sizes.to(source.device).unsqueeze(1)
        return h, self.bridge(final[1]).tanh(), mask  # the backward direction has just read the first word

    def step(self, word: Tensor, s: Tensor, h: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """One word (B,) on: logits (B, V), state, weights (B, S)."""
        vector = self.dropout(self.target(word))
        context, weights = self.attention(s.unsqueeze(1), h, mask)
        context = context.squeeze(1)
        s = self.decoder(cat([vector, context], 1), s)
        return self.output(cat([vector, context, s], 1)), s, weights.squeeze(1)

    def forward(self, source: Tensor, target: Tensor, lengths: Any = None) -> tuple[Tensor, Tensor]:
        h, s, mask = self.encode(source, lengths)
        logits, looked = [], []
        for word in target.unbind(1):
            found, s, weights = self.step(word, s, h, mask)
            logits.append(found)
            looked.append(weights)
        return stack(*logits, dim=1), stack(*looked, dim=1)

    @no_grad()
    def translate(
        self, source: Tensor, start: int, length: int, end: int | None = None, lengths: Any = None
    ) -> tuple[Tensor, Tensor]:
        """The most probable next word, `length` times or until all sentences ended: words (B, T), weights (B, T, S)."""
        h, s, mask = self.encode(source, lengths)
        word = full((source.shape[0],), start, device=source.device)
        words, looked, ended = [], [], word != word
        for _ in range(length):
            logits, s, weights = self.step(word, s, h, mask)
            word = logits.argmax(1)
            words.append(word)
            looked.append(weights)
            ended = ended | (word == end) if end is not None else ended
            if ended.all():
                break
        return stack(*words, dim=1), stack(*looked, dim=1)
