"""Encoder and decoder with attention reverse padded sequences: masks, positions, label smoothing, Noam's rate."""

import copy
import math

import torch
import torch.nn as nn
from torch.nn.functional import log_softmax

PAD, BOS, VOCAB = 0, 1, 9


def clones(module, N):
    return nn.ModuleList([copy.deepcopy(module) for _ in range(N)])


def subsequent_mask(size):
    return torch.triu(torch.ones((1, size, size)), diagonal=1).type(torch.uint8) == 0


def attention(query, key, value, mask=None, dropout=None):
    d_k = query.size(-1)
    scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(d_k)
    if mask is not None:
        scores = scores.masked_fill(mask == 0, -1e9)
    p_attn = scores.softmax(dim=-1)
    if dropout is not None:
        p_attn = dropout(p_attn)
    return torch.matmul(p_attn, value), p_attn


class MultiHeadedAttention(nn.Module):
    def __init__(self, h, d_model, dropout=0.0):
        super().__init__()
        self.d_k, self.h = d_model // h, h
        self.linears = clones(nn.Linear(d_model, d_model), 4)
        self.attn = None
        self.dropout = nn.Dropout(p=dropout)

    def forward(self, query, key, value, mask=None):
        if mask is not None:
            mask = mask.unsqueeze(1)
        nbatches = query.size(0)
        query, key, value = [
            lin(x).view(nbatches, -1, self.h, self.d_k).transpose(1, 2)
            for lin, x in zip(self.linears, (query, key, value))
        ]
        x, self.attn = attention(query, key, value, mask=mask, dropout=self.dropout)
        x = x.transpose(1, 2).contiguous().view(nbatches, -1, self.h * self.d_k)
        return self.linears[-1](x)


class LayerNorm(nn.Module):
    def __init__(self, features, eps=1e-6):
        super().__init__()
        self.a_2 = nn.Parameter(torch.ones(features))
        self.b_2 = nn.Parameter(torch.zeros(features))
        self.eps = eps

    def forward(self, x):
        mean = x.mean(-1, keepdim=True)
        std = x.std(-1, keepdim=True)
        return self.a_2 * (x - mean) / (std + self.eps) + self.b_2


class PositionalEncoding(nn.Module):
    def __init__(self, d_model, max_len=50):
        super().__init__()
        pe = torch.zeros(max_len, d_model)
        position = torch.arange(0, max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * -(math.log(10000.0) / d_model))
        pe[:, 0::2] = torch.sin(position * div_term)
        pe[:, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe.unsqueeze(0), persistent=False)

    def forward(self, x):
        return x + self.pe[:, : x.size(1)].requires_grad_(False)


class Layer(nn.Module):
    def __init__(self, d, cross):
        super().__init__()
        self.attentions = clones(MultiHeadedAttention(2, d), 2 if cross else 1)
        self.feed = nn.Sequential(nn.Linear(d, 2 * d), nn.ReLU(), nn.Dropout(0.0), nn.Linear(2 * d, d))
        self.norms = clones(LayerNorm(d), 3 if cross else 2)

    def forward(self, x, mask, memory=None, memory_mask=None):
        y = self.norms[0](x)
        x = x + self.attentions[0](y, y, y, mask)
        if memory is not None:
            x = x + self.attentions[1](self.norms[1](x), memory, memory, memory_mask)
        return x + self.feed(self.norms[-1](x))


class EncoderDecoder(nn.Module):
    def __init__(self, d=24):
        super().__init__()
        self.d = d
        self.embed = nn.Embedding(VOCAB, d, padding_idx=PAD)
        self.position = PositionalEncoding(d)
        self.encoder, self.decoder = Layer(d, cross=False), Layer(d, cross=True)
        self.norm = LayerNorm(d)
        self.generator = nn.Linear(d, VOCAB)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def lookup(self, x):
        return self.position(self.embed(x) * math.sqrt(self.d))

    def encode(self, src, src_mask):
        return self.encoder(self.lookup(src), src_mask)

    def decode(self, memory, src_mask, tgt, tgt_mask):
        x = self.norm(self.decoder(self.lookup(tgt), tgt_mask, memory, src_mask))
        return log_softmax(self.generator(x), dim=-1)


class LabelSmoothing(nn.Module):
    def __init__(self, size, padding_idx, smoothing=0.0):
        super().__init__()
        self.criterion = nn.KLDivLoss(reduction="sum")
        self.padding_idx, self.confidence, self.smoothing, self.size = padding_idx, 1.0 - smoothing, smoothing, size

    def forward(self, x, target):
        assert x.size(1) == self.size
        true_dist = x.data.clone()
        true_dist.fill_(self.smoothing / (self.size - 2))
        true_dist.scatter_(1, target.data.unsqueeze(1), self.confidence)
        true_dist[:, self.padding_idx] = 0
        mask = torch.nonzero(target.data == self.padding_idx)
        if mask.dim() > 0:
            true_dist.index_fill_(0, mask.squeeze(1), 0.0)
        return self.criterion(x, true_dist.clone().detach())


def batch(n, longest=5):
    lengths = torch.randint(2, longest + 1, (n,))
    src = torch.randint(2, VOCAB, (n, longest))
    place = torch.arange(longest)
    src = src.masked_fill(place >= lengths[:, None], PAD)
    back = (lengths[:, None] - 1 - place).clamp(min=0)
    tgt = torch.where(place < lengths[:, None], src.gather(1, back), PAD)
    tgt = torch.cat([torch.full((n, 1), BOS), tgt], dim=1)
    src_mask = (src != PAD).unsqueeze(-2)
    tgt_mask = (tgt[:, :-1] != PAD).unsqueeze(-2) & subsequent_mask(longest).type_as(src_mask)
    return src, src_mask, tgt[:, :-1], tgt[:, 1:], tgt_mask


def rate(step, model_size, factor, warmup):
    step = max(step, 1)
    return factor * (model_size ** (-0.5) * min(step ** (-0.5), step * warmup ** (-1.5)))


def build():
    return EncoderDecoder()


def train(model, steps=120):
    criterion = LabelSmoothing(VOCAB, PAD, 0.05)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5, betas=(0.9, 0.98), eps=1e-9)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=lambda s: rate(s, model.d, 1.0, warmup=40))
    losses = []
    for _ in range(steps):
        src, src_mask, tgt, tgt_y, tgt_mask = batch(32)
        out = model.decode(model.encode(src, src_mask), src_mask, tgt, tgt_mask)
        ntokens = (tgt_y != PAD).data.sum()
        loss = criterion(out.contiguous().view(-1, out.size(-1)), tgt_y.contiguous().view(-1)) / ntokens
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        scheduler.step()
        losses.append(loss.item())
    assert model.embed.weight[PAD].abs().sum() > 0  # xavier wrote over the padding's row; no gradient reached it since
    return losses


def evaluate(model):
    """The share of symbols that greedy decoding gets right."""
    model.eval()
    src, src_mask, _, tgt_y, _ = batch(32)
    with torch.no_grad():
        memory = model.encode(src, src_mask)
        ys = torch.full((32, 1), BOS).type_as(src.data)
        for _ in range(tgt_y.size(1)):
            prob = model.decode(memory, src_mask, ys, subsequent_mask(ys.size(1)).type_as(src.data))[:, -1]
            ys = torch.cat([ys, prob.argmax(dim=1, keepdim=True)], dim=1)
    known = tgt_y != PAD
    return (ys[:, 1:][known] == tgt_y[known]).float().mean().item()
