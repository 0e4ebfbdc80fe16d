"""End-to-end memory network: Sukhbaatar, Szlam, Weston, Fergus, 2015.

Sentences x_i are kept as m_i = Σ_j l_j A x_ij + T_A(i) and c_i = Σ_j l_j C x_ij + T_C(i), a question as u = Σ_j l_j B
q_j. A hop looks with p = softmax(uᵀ m_i) and goes on with u + Σ p_i c_i; the answer is softmax(W u). Adjacent tying:
the C of a hop is the A of the next one, B is the first A, W the last C. Positions: l_j = (1 - j/J) - (k/d)(1 - 2j/J),
for word j of J and number k of d.
"""

from itertools import pairwise

from .. import nn
from ..autograd import Tensor
from ..autograd.creation import arange
from ..autograd.ops.joining import stack
from ..nn import functional as F


class MemoryNetwork(nn.Module):
    """Sentences (B, S, J) and questions (B, J'), as word numbers with 0 for padding → logits of the answer (B, V),
    weights of the hops (B, hops, S).

    Args:
        vocabulary: V.
        sentences: the most sentences that a story has; the newest comes last.
        size: d, of the words' vectors.
        hops: how often the memory is read.

    Source: S. Sukhbaatar, A. Szlam, J. Weston, R. Fergus, "End-to-end memory networks", 2015.
    """

    def __init__(self, vocabulary: int, sentences: int, size: int = 20, hops: int = 3) -> None:
        super().__init__()
        self.embeddings = nn.ModuleList([nn.Embedding(vocabulary, size, padding_idx=0) for _ in range(hops + 1)])
        self.times = nn.ModuleList([nn.Embedding(sentences, size) for _ in range(hops + 1)])
        for table in [*self.embeddings, *self.times]:
            nn.init.normal_(table.weight, std=0.1)
        for table in self.embeddings:
            table.weight.data[0] = 0

    @staticmethod
    def positions(words: int, size: int) -> Tensor:
        """l (J, d)."""
        j = arange(1, words + 1).unsqueeze(1) / words
        k = arange(1, size + 1) / size
        return 1 - j - k * (1 - 2 * j)

    def sentence(self, table: nn.Module, words: Tensor) -> Tensor:
        """Σ_j l_j x_j of words (..., J): (..., d)."""
        vectors = table(words)
        return (vectors * self.positions(*vectors.shape[-2:]).to(vectors)).sum(-2)

    def forward(self, story: Tensor, question: Tensor) -> tuple[Tensor, Tensor]:
        count = story.shape[1]
        if count > self.times[0].num_embeddings:
            raise ValueError(
                f"a story of {count} sentences is longer than the {self.times[0].num_embeddings} there are"
            )
        age = arange(count - 1, -1, -1, device=story.device)
        kept = [self.sentence(e, story) + t(age) for e, t in zip(self.embeddings, self.times, strict=True)]
        u, looked = self.sentence(self.embeddings[0], question), []
        for m, c in pairwise(kept):
            p = F.softmax((m @ u.unsqueeze(2)).squeeze(2), 1)
            looked.append(p)
            u = u + (p.unsqueeze(1) @ c).squeeze(1)
        return F.linear(u, self.embeddings[-1].weight), stack(*looked, dim=1)
