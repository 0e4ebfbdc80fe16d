"""Show, attend and tell: K. Xu et al., 2015. A network looks at an image and writes a caption, word by word.

A convolutional encoder gives annotations a_i, one per place of the image. For each word the decoder, an LSTM, looks at
the places with weights α_i = softmax_i f(a_i, h). Soft attention takes the expected annotation Σ α_i a_i; hard
attention draws one place from α, and learns where to look by REINFORCE (R. Williams, 1992), with the caption's
log-likelihood as reward.
"""

from typing import Any, NamedTuple

from .. import nn
from ..autograd import FUNCTIONS, Tensor, no_grad
from ..autograd.creation import full
from ..autograd.ops.joining import cat, stack
from ..nn import functional as F


class Told(NamedTuple):
    """Logits (B, T, V), weights (B, T, L), and for hard attention the places drawn (B, T)."""

    logits: Tensor
    weights: Tensor
    places: Tensor | None


class Captioner(nn.Module):
    """Images (B, C, H, W) and word inputs (B, T) → `Told`.

    The inputs are the words one place later, after a start sign: teacher forcing.

    Args:
        vocabulary: V.
        encoder: a module from images to (B, annotation, h, w); by default three small convolutions with pooling.
        annotation: length of the annotations.
        attention: "soft" or "hard".
        pad: the word that fills up short captions; it costs nothing.
        doubly: λ of the paper's doubly stochastic attention, which asks Σ_t α_ti ≈ 1 (soft attention).
        entropy: λ_e, the weight of the entropy of α, which keeps hard attention looking around.

    embedding, hidden: sizes of the words' vectors and of the decoder. channels: C, for the default encoder.

    Source: K. Xu et al., "Show, attend and tell: neural image caption generation with visual attention", 2015.
    """

    def __init__(
        self,
        vocabulary: int,
        encoder: nn.Module | None = None,
        annotation: int = 32,
        embedding: int = 32,
        hidden: int = 64,
        attention: str = "soft",
        channels: int = 1,
        pad: int = 0,
        doubly: float = 1.0,
        entropy: float = 0.002,
    ) -> None:
        super().__init__()
        if attention not in ("soft", "hard"):
            raise ValueError(f"attention is soft or hard, not {attention!r}")
        self.attention, self.pad, self.doubly, self.entropy = attention, pad, doubly, entropy
        self.encoder = _small_encoder(channels, annotation) if encoder is None else encoder
        self.words = nn.Embedding(vocabulary, embedding)
        self.start_h, self.start_c = nn.Linear(annotation, hidden), nn.Linear(annotation, hidden)
        self.look_a, self.look_h = nn.Linear(annotation, hidden), nn.Linear(hidden, hidden, bias=False)
        self.look = nn.Linear(hidden, 1, bias=False)
        self.gate = nn.Linear(hidden, 1)
        self.lstm = nn.LSTMCell(embedding + annotation, hidden)
        self.out_h, self.out_z = nn.Linear(hidden, embedding), nn.Linear(annotation, embedding, bias=False)
        self.out = nn.Linear(embedding, vocabulary)
        self.register_buffer("baseline", full((), 0.0))

    def annotations(self, images: Tensor) -> Tensor:
        """(B, L, annotation)."""
        return self.encoder(images).flatten(2).transpose(1, 2)

    def begin(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """The LSTM's first state, from the mean annotation."""
        mean = a.mean(1)
        return self.start_h(mean).tanh(), self.start_c(mean).tanh()

    def step(self, word: Tensor, state: tuple[Tensor, Tensor], a: Tensor) -> tuple[Tensor, Any, Tensor, Any]:
        """One word (B,) on: logits (B, V), state, weights (B, L), places (B,) or None."""
        h, c = state
        scores = self.look((self.look_a(a) + self.look_h(h).unsqueeze(1)).tanh()).squeeze(2)
        weights, place = F.softmax(scores, 1), None
        if self.attention == "soft":
            z = (weights.unsqueeze(1) @ a).squeeze(1)
            z = z * self.gate(h).sigmoid()
        else:
            p = weights.detach()
            place = FUNCTIONS["multinomial"](p, 1).squeeze(1) if self.training else p.argmax(1)
            z = a[FUNCTIONS["arange"](a.shape[0], device=a.device), place]
        vector = self.words(word)
        h, c = self.lstm(cat([vector, z], 1), (h, c))
        return self.out((vector + self.out_h(h) + self.out_z(z)).tanh()), (h, c), weights, place

    def forward(self, images: Tensor, words: Tensor) -> Told:
        a = self.annotations(images)
        state = self.begin(a)
        logits, looked, places = [], [], []
        for word in words.unbind(1):
            found, state, weights, place = self.step(word, state, a)
            logits.append(found)
            looked.append(weights)
            places.append(place)
        drawn = stack(*places, dim=1) if self.attention == "hard" else None
        return Told(stack(*logits, dim=1), stack(*looked, dim=1), drawn)

    def loss(self, images: Tensor, captions: Tensor) -> Tensor:
        """The loss whose gradient trains, for captions (B, T) that begin with the start sign.

        Soft: cross entropy + λ mean Σ_i (1 - Σ_t α_ti)². Hard: cross entropy at the places drawn, minus
        (log p(caption) - b) Σ_t log α_t[place] and λ_e times the entropy of α; b is a moving average of log p.
        """
        told, target = self(images, captions[:, :-1]), captions[:, 1:]
        counts = (target != self.pad).to(told.logits.dtype)
        log_p = -F.cross_entropy(told.logits.flatten(0, 1), target.flatten(), reduction="none").reshape(target.shape)
        log_p = (log_p * counts).sum(1)
        entropy_loss = -log_p.sum() / counts.sum()
        if told.places is None:
            looked = (told.weights * counts.unsqueeze(2)).sum(1)
            return entropy_loss + self.doubly * ((1 - looked) ** 2).sum(1).mean()
        log_weights = told.weights.clamp(min=1e-12).log()
        chosen = log_weights.gather(2, told.places.unsqueeze(2)).squeeze(2)
        reward = log_p.detach()
        advantage = reward - self.baseline
        if self.training:
            with no_grad():
                self.baseline.mul_(0.9).add_(0.1 * reward.mean())
        where = advantage * (chosen * counts).sum(1)
        spread = -(told.weights * log_weights).sum(2) * counts
        return entropy_loss - where.sum() / counts.sum() - self.entropy * spread.sum() / counts.sum()

    @no_grad()
    def caption(self, images: Tensor, start: int, length: int, end: int | None = None) -> tuple[Tensor, Tensor]:
        """The likeliest next word, `length` times or until all captions ended: words (B, T), weights (B, T, L)."""
        a = self.annotations(images)
        state, word = self.begin(a), full((images.shape[0],), start, device=images.device)
        words, looked, ended = [], [], word != word
        for _ in range(length):
            logits, state, weights, _ = self.step(word, state, a)
            word = logits.argmax(1)
            words.append(word)
            looked.append(weights)
            ended = ended | (word == end) if end is not None else ended
            if ended.all():
                break
        return stack(*words, dim=1), stack(*looked, dim=1)


def _small_encoder(channels: int, annotation: int) -> nn.Sequential:
    return nn.Sequential(
        *(nn.Conv2d(channels, annotation, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(annotation, annotation, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(annotation, annotation, 3, padding=1), nn.ReLU()),
    )
