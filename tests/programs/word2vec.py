"""Skip-gram with negative sampling on sentences of two topics: embeddings, bmm, sampling by frequency, neighbours."""

import random
from collections import Counter

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.optim.lr_scheduler import _LRScheduler

TOPICS = [
    ["bread", "butter", "jam", "toast", "breakfast", "honey"],
    ["wheel", "brake", "saddle", "pedal", "chain", "tyre"],
]
COMMON = ["the", "and", "with"]


def corpus(n=150, seed=3):
    rnd = random.Random(seed)
    return [[rnd.choice(COMMON if rnd.random() < 0.2 else TOPICS[i % 2]) for _ in range(6)] for i in range(n)]


class Vocabulary:
    def __init__(self, sentences):
        self.freqs = Counter(w for s in sentences for w in s)
        self.itos = [w for w, _ in self.freqs.most_common()]
        self.stoi = {w: i for i, w in enumerate(self.itos)}

    def __len__(self):
        return len(self.itos)


def pairs(sentences, vocab, window=2):
    found = []
    for s in sentences:
        ids = [vocab.stoi[w] for w in s]
        for i, centre in enumerate(ids):
            for j in range(max(0, i - window), min(len(ids), i + window + 1)):
                if i == j:
                    continue
                found.append((centre, ids[j]))
    return torch.LongTensor(found)


class SkipGram(nn.Module):
    def __init__(self, vocab_size, embedding_dim):
        super().__init__()
        self.in_embed = nn.Embedding(vocab_size, embedding_dim)
        self.out_embed = nn.Embedding(vocab_size, embedding_dim)
        self.in_embed.weight.data.uniform_(-0.5 / embedding_dim, 0.5 / embedding_dim)
        self.out_embed.weight.data.zero_()

    def forward(self, centre, context, negatives):
        v = self.in_embed(centre)
        u = self.out_embed(context)
        n = self.out_embed(negatives)
        positive = F.logsigmoid(torch.sum(v * u, dim=1))
        noise = F.logsigmoid(-torch.bmm(n, v.unsqueeze(2)).squeeze(2)).sum(1)
        return -(positive + noise).mean()


class LinearDecay(_LRScheduler):
    """From the base rate down to a tenth of it."""

    def __init__(self, optimizer, total, last_epoch=-1):
        self.total = total
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * (1 - 0.9 * min(self.last_epoch / self.total, 1)) for base in self.base_lrs]


def build():
    return SkipGram(len(Vocabulary(corpus())), 10)


def train(model, steps=150, batch=64, k=4):
    sentences = corpus()
    vocab = Vocabulary(sentences)
    data = pairs(sentences, vocab)
    counts = torch.bincount(data[:, 1], minlength=len(vocab))
    noise = counts.to(torch.get_default_dtype()) ** 0.75
    noise /= noise.sum()
    # frequent words are dropped at random from the centres
    keep_prob = torch.clamp(torch.sqrt(0.05 / (counts / counts.sum())), max=1.0)
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    scheduler = LinearDecay(optimizer, 150)
    losses = []
    for _ in range(steps):
        idx = torch.randint(0, len(data), (batch,))
        rows = data[idx]
        rows = rows[torch.rand(len(rows)) < keep_prob[rows[:, 0]]]
        centre, context = rows.t()
        negatives = torch.multinomial(noise, len(rows) * k, replacement=True).view(len(rows), k)
        loss = model(centre, context, negatives)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return losses


def evaluate(model):
    """The share of words whose nearest neighbour is of their topic."""
    vocab = Vocabulary(corpus())
    vectors = F.normalize(model.in_embed.weight.detach(), dim=1)
    similarity = vectors @ vectors.t()
    similarity.fill_diagonal_(-1)
    scores, nearest = similarity.topk(k=1, dim=1)
    good = total = 0
    for topic in TOPICS:
        for word in topic:
            index = torch.tensor([vocab.stoi[w] for w in topic if w != word])
            others = torch.tensor([vocab.stoi[w] for t in TOPICS if t is not topic for w in t])
            mine = F.cosine_similarity(vectors[vocab.stoi[word]].unsqueeze(0), vectors[index])
            good += bool(mine.mean() > similarity[vocab.stoi[word], others].mean())
            total += 1
    assert scores.shape == nearest.shape == (len(vocab), 1)
    return good / total
