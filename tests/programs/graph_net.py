"""A graph network with attention over edges: edge lists, scatter, masks, einsum, early stopping."""

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F


def two_communities(n=40, seed=0):
    """Edges inside communities are likely, across rare; features say little."""
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 2
    same = label[:, None] == label[None, :]
    adjacency = np.triu(rng.random((n, n)) < np.where(same, 0.3, 0.03), 1)
    adjacency = adjacency | adjacency.T
    features = rng.standard_normal((n, 6)) + 0.3 * label[:, None]
    return (
        torch.tensor(features, dtype=torch.get_default_dtype()),
        torch.tensor(adjacency),
        torch.tensor(label, dtype=torch.long),
    )


class GraphAttention(nn.Module):
    def __init__(self, in_features, out_features, heads):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, in_features, out_features))
        self.attention = nn.Parameter(torch.empty(heads, 2 * out_features))
        self.bias = nn.Parameter(torch.zeros(heads * out_features))
        nn.init.xavier_uniform_(self.weight)
        nn.init.xavier_uniform_(self.attention)

    def forward(self, x, edges):
        n = x.shape[0]
        source, target = edges
        h = torch.einsum("ni,hio->nho", x, self.weight)
        pair = torch.cat([h[source], h.index_select(0, target)], dim=-1)
        score = F.leaky_relu(torch.einsum("eho,ho->eh", pair, self.attention), negative_slope=0.2)
        # softmax over the edges that end in one node
        top = torch.full((n, score.shape[1]), -torch.inf).scatter_reduce(
            0, target[:, None].expand_as(score), score.detach(), reduce="amax", include_self=True
        )
        weight = torch.exp(score - top[target])
        total = torch.zeros(n, score.shape[1]).index_add(0, target, weight)
        weight = weight / (total[target] + 1e-12)
        out = torch.zeros_like(h).scatter_add(
            0, target[:, None, None].expand(-1, *h.shape[1:]), weight.unsqueeze(-1) * h[source]
        )
        return out.flatten(start_dim=1) + self.bias


class GraphConv(nn.Module):
    """Kipf and Welling's layer with a dense, symmetrically normalised matrix."""

    def __init__(self, in_features, out_features, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.FloatTensor(in_features, out_features))
        if bias:
            self.bias = nn.Parameter(torch.FloatTensor(out_features))
        else:
            self.register_parameter("bias", None)
        stdv = 1.0 / self.weight.size(1) ** 0.5
        self.weight.data.uniform_(-stdv, stdv)

    def forward(self, input, adj):
        support = torch.mm(input, self.weight)
        output = torch.matmul(adj, support)
        return output if self.bias is None else output + self.bias


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.gat = GraphAttention(6, 5, heads=2)
        self.gcn = GraphConv(10, 2, bias=False)
        self.to(torch.get_default_dtype())

    def forward(self, x, edges, adj):
        x = F.elu(self.gat(x, edges))
        return F.log_softmax(self.gcn(x, adj), dim=1)


def prepare():
    x, adjacency, label = two_communities()
    n = len(label)
    adjacency = adjacency | torch.eye(n, dtype=torch.bool)
    edges = adjacency.nonzero(as_tuple=False).t()
    degree = adjacency.sum(1).to(x.dtype)
    inv = degree.pow(-0.5)
    inv[torch.isinf(inv)] = 0.0
    adj = inv[:, None] * adjacency * inv
    train_mask = torch.zeros(n, dtype=torch.bool)
    train_mask[:8] = True
    return x, edges, adj, label, train_mask


def build():
    return Net()


def train(net, steps=60):
    x, edges, adj, label, train_mask = prepare()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02, weight_decay=5e-4)
    history, best, patience = [], float("inf"), 0
    for _ in range(steps):
        net.train()
        optimizer.zero_grad()
        output = net(x, edges, adj)
        loss = F.nll_loss(output[train_mask], label[train_mask])
        loss.backward()
        optimizer.step()
        history.append(loss.item())
        net.eval()
        with torch.no_grad():
            held_out = F.nll_loss(net(x, edges, adj)[~train_mask], label[~train_mask])
        if held_out < best:
            best, patience, kept = held_out.item(), 0, {k: v.clone() for k, v in net.state_dict().items()}
        else:
            patience += 1
        if patience > 15:
            break
    net.load_state_dict(kept)
    return history


def evaluate(net):
    """Accuracy on the nodes without a label."""
    x, edges, adj, label, train_mask = prepare()
    with torch.no_grad():
        predicted = net(x, edges, adj).max(1)[1].type_as(label)
    correct = predicted.eq(label)[~train_mask].double()
    return (correct.sum() / len(correct)).item()
