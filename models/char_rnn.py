"""Character-level language model, and ways to write with it: Karpathy, "The unreasonable effectiveness of recurrent
neural networks", 2015; truncated backpropagation through time as Sutskever, "Training recurrent neural networks", 2013.

p(c_1 ... c_T) = Π_t p(c_t | c_1 ... c_{t-1}), each factor softmax(W h_t + b) of a recurrent network's state. Writing
with temperature τ draws from p^{1/τ} / Σ p^{1/τ}; beam search keeps the k most probable texts.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.creation import tensor
from ..autograd.ops.joining import cat
from ..autograd.random import multinomial
from ..nn import functional as F


def detached(state: Any) -> Any:
    """A state without its history: gradients end here."""
    return state.detach() if isinstance(state, Tensor) else tuple([s.detach() for s in state])


class CharRNN(nn.Module):
    """Characters (B, T) as numbers, and a state or None → logits of the next ones (B, T, V), state.

    Args:
        vocabulary: the characters.
        hidden: units per layer.
        layers: how many.
        cell: "LSTM", "GRU" or "RNN".
        embedding: size of the characters' vectors; None: one-hot vectors of size V.
        dropout: between the layers.

    Source: A. Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        hidden: int = 128,
        layers: int = 1,
        cell: str = "LSTM",
        embedding: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if cell not in ("LSTM", "GRU", "RNN"):
            raise ValueError(f"cell is 'LSTM', 'GRU' or 'RNN', not {cell!r}")
        self.vocabulary = list(vocabulary)
        self.numbers = {character: number for number, character in enumerate(self.vocabulary)}
        size = len(self.vocabulary)
        self.embedding = None if embedding is None else nn.Embedding(size, embedding)
        self.rnn = getattr(nn, cell)(embedding or size, hidden, layers, batch_first=True, dropout=dropout)
        self.output = nn.Linear(hidden, size)

    def encode(self, text: Sequence[str]) -> Tensor:
        """The numbers (T,) of a text's characters; KeyError for one that is not in the vocabulary."""
        missing = sorted(set(text) - self.numbers.keys())
        if missing:
            raise KeyError(f"not in the vocabulary: {', '.join(map(repr, missing))}")
        return tensor([self.numbers[c] for c in text], dtype="int64", device=self.output.weight.device)

    def decode(self, numbers: Any) -> str:
        """The text of numbers (T,)."""
        return "".join([self.vocabulary[int(n)] for n in numbers])

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        if self.embedding is None:
            vectors = F.one_hot(x, len(self.vocabulary)).to(self.output.weight.dtype)
        else:
            vectors = self.embedding(x)
        h, state = self.rnn(vectors, state)
        return self.output(h), state

    # -- writing --------------------------------------------------------------------------------------------------

    def greedy(self, start: str, length: int) -> str:
        """`start` and `length` characters more, each the most probable one."""
        return self._write(start, length, lambda logits: logits.argmax(-1))

    def sample(self, start: str, length: int, temperature: float = 1.0, generator: Any = None) -> str:
        """`start` and `length` characters more, drawn at random: τ < 1 is bolder, τ > 1 more varied, τ = 0 greedy."""
        if temperature < 0:
            raise ValueError(f"a temperature is not negative, as {temperature} is")
        if temperature == 0:
            return self.greedy(start, length)

        def draw(logits: Tensor) -> Tensor:
            return multinomial(F.softmax(logits / temperature, -1), 1, generator=generator)[:, 0]

        return self._write(start, length, draw)

    @no_grad()
    def _write(self, start: str, length: int, choose: Any) -> str:
        x, state, text = self._started(start), None, start
        for _ in range(length):
            logits, state = self(x, state)
            number = choose(logits[:, -1])
            text += self.decode(number)
            x = number[:, None]
        return text

    def _started(self, start: str) -> Tensor:
        if not start:
            raise ValueError("writing starts from one character or more; start is empty")
        return self.encode(start)[None]

    @no_grad()
    def beam(self, start: str, length: int, width: int = 2) -> list[tuple[str, float]]:
        """The `width` best texts that the search finds, each with its log-probability given `start`; best first."""
        if width < 1:
            raise ValueError(f"a beam is at least 1 wide, not {width}")
        logits, state = self(self._started(start))
        scores, texts = F.log_softmax(logits[:, -1], -1), [start]
        for step in range(length):
            best = scores.flatten().topk(min(width, scores.numel()))
            size = scores.shape[1]
            parents, numbers = best.indices // size, best.indices % size
            texts = [texts[p] + self.vocabulary[n] for p, n in zip(parents.tolist(), numbers.tolist(), strict=True)]
            if step < length - 1:
                kept = [s.index_select(1, parents) for s in ([state] if isinstance(state, Tensor) else state)]
                logits, state = self(numbers[:, None], kept[0] if isinstance(state, Tensor) else tuple(kept))
                scores = best.values[:, None] + F.log_softmax(logits[:, -1], -1)
        return list(zip(texts, best.values.tolist(), strict=True)) if length else [(start, 0.0)]


def truncated_bptt(
    model: nn.Module, inputs: Tensor, targets: Tensor, k1: int, k2: int | None = None, state: Any = None
) -> Iterator[tuple[Tensor, Any]]:
    """Losses of `inputs` (B, T) for `targets` (B, T), one for every `k1` steps, with a history of `k2` ≥ k1 steps.

    Each is the mean cross-entropy of the newest k1 steps; its gradient reaches back k2 steps, to a state without
    history. Step the optimizer inside the loop: with k2 > k1 the older steps are computed again, with the weights as
    they are. k2: default k1, the usual chunks with the state carried on. Yields (loss, state after these steps).

        for loss, _ in truncated_bptt(model, x, y, k1=5, k2=10):
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    Source: I. Sutskever, "Training recurrent neural networks", 2013 (BPTT(k1, k2)).
    """
    k2 = k1 if k2 is None else k2
    if not 0 < k1 <= k2:
        raise ValueError(f"truncated_bptt needs 0 < k1 <= k2, got k1={k1}, k2={k2}")
    steps, first = inputs.shape[1], 0
    for begin in range(0, steps, k1):
        end = min(begin + k1, steps)
        following = max(end + k1 - k2, first)  # where the next history starts
        logits = []
        if following > first:
            found, state = model(inputs[:, first:following], state)
            logits.append(found)
        kept, after = state, state
        if end > following:
            found, after = model(inputs[:, following:end], state)
            logits.append(found)
        newest = cat(logits, 1)[:, begin - first :]
        yield F.cross_entropy(newest.flatten(0, 1), targets[:, begin:end].flatten()), detached(after)
        first, state = following, None if kept is None else detached(kept)
