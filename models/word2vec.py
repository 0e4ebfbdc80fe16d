"""Skip-gram with negative sampling: T. Mikolov et al., "Distributed representations of words and phrases and their
compositionality", 2013.

For a word c and a word o of its neighbourhood: -ln σ(u_o · v_c) - Σ_k ln σ(-u_k · v_c), over words k drawn from
p(k) ∝ count(k)^¾. Analogies: the word nearest to v_b - v_a + v_c, as in uncle - man + woman ≈ aunt.
"""

from collections import Counter
from collections.abc import Sequence

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.creation import tensor
from ..autograd.random import multinomial
from ..nn import functional as F


class SkipGram(nn.Module):
    """Word numbers: centres (N,), neighbours (N,) → the loss, a number; draws the other words itself.

    Args:
        text: the words; the vocabulary are those that occur at least `least` times, the most frequent first.
        size: of the vectors.
        negatives: words drawn for each pair.

    Source: T. Mikolov et al., "Distributed representations of words and phrases and their compositionality", 2013.
    """

    noise: Tensor

    def __init__(self, text: Sequence[str], size: int = 100, negatives: int = 5, least: int = 1) -> None:
        super().__init__()
        counts = [(word, n) for word, n in Counter(text).most_common() if n >= least]
        self.words = [word for word, _ in counts]
        self.numbers = {word: i for i, word in enumerate(self.words)}
        self.negatives = negatives
        self.centre = nn.Embedding(len(counts), size)
        self.context = nn.Embedding(len(counts), size)
        nn.init.uniform_(self.centre.weight, -0.5 / size, 0.5 / size)
        nn.init.zeros_(self.context.weight)
        self.register_buffer("noise", tensor([float(n) for _, n in counts]) ** 0.75)

    def pairs(self, text: Sequence[str], window: int = 2) -> tuple[Tensor, Tensor]:
        """The centres and neighbours (N,) of a text, each word with those at most `window` away."""
        known = [self.numbers[word] for word in text if word in self.numbers]
        found = [
            (known[i], known[j])
            for i in range(len(known))
            for j in range(max(0, i - window), min(len(known), i + window + 1))
            if i != j
        ]
        return tensor([c for c, _ in found]), tensor([o for _, o in found])

    def forward(self, centres: Tensor, neighbours: Tensor) -> Tensor:
        v = self.centre(centres)
        others = multinomial(self.noise, centres.shape[0] * self.negatives, replacement=True)
        u = self.context(others.view(centres.shape[0], self.negatives))
        near = F.logsigmoid((self.context(neighbours) * v).sum(-1))
        far = F.logsigmoid(-(u @ v.unsqueeze(-1)).squeeze(-1)).sum(-1)
        return -(near + far).mean()

    @no_grad()
    def nearest(self, vector: Tensor, n: int = 1, without: Sequence[str] = ()) -> list[str]:
        """The n words whose vectors have the greatest cosine with `vector`."""
        cosines = F.cosine_similarity(self.centre.weight, vector.unsqueeze(0))
        order = [self.words[i] for i in cosines.argsort(descending=True).tolist()]
        return [word for word in order if word not in without][:n]

    @no_grad()
    def analogy(self, a: str, b: str, c: str, n: int = 1) -> list[str]:
        """What is to c as b is to a: the words nearest to b - a + c, the three left out."""
        unit = F.normalize(self.centre.weight)
        x, y, z = (unit[self.numbers[word]] for word in (a, b, c))
        return self.nearest(y - x + z, n, (a, b, c))
