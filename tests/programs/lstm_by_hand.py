"""An LSTM cell from linear layers learns to recall a symbol: truncated backpropagation, orthogonal weights."""

import torch
import torch.nn as nn

VOCAB, HIDDEN = 5, 24


class LSTMCell(nn.Module):
    def __init__(self, input_size, hidden_size, bias=True):
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.xh = nn.Linear(input_size, hidden_size * 4, bias=bias)
        self.hh = nn.Linear(hidden_size, hidden_size * 4, bias=bias)
        self.reset_parameters()

    def reset_parameters(self):
        nn.init.xavier_uniform_(self.xh.weight, gain=nn.init.calculate_gain("sigmoid"))
        for block in self.hh.weight.data.chunk(4, dim=0):
            nn.init.orthogonal_(block)
        self.hh.bias.data.zero_()
        self.xh.bias.data.zero_()
        self.xh.bias.data[self.hidden_size : 2 * self.hidden_size] = 1.0

    def forward(self, input, hx=None):
        if hx is None:
            zeros = input.new_zeros(input.size(0), self.hidden_size)
            hx = (zeros, zeros)
        hx, cx = hx
        gates = self.xh(input) + self.hh(hx)
        i_gate, f_gate, g_gate, o_gate = torch.chunk(gates, 4, 1)
        cy = cx * torch.sigmoid(f_gate) + torch.sigmoid(i_gate) * g_gate.tanh()
        hy = o_gate.sigmoid() * torch.tanh(cy)
        return hy, cy


class RNNModel(nn.Module):
    def __init__(self, ntoken, ninp, nhid, nlayers):
        super().__init__()
        self.drop = nn.Dropout(0.0)
        self.encoder = nn.Embedding(ntoken, ninp)
        self.cells = nn.ModuleList([LSTMCell(ninp if i == 0 else nhid, nhid) for i in range(nlayers)])
        self.decoder = nn.Linear(nhid, ntoken)
        self.init_weights()

    def init_weights(self):
        initrange = 0.1
        self.encoder.weight.data.uniform_(-initrange, initrange)
        self.decoder.bias.data.zero_()
        self.decoder.weight.data.uniform_(-initrange, initrange)

    def forward(self, input, hidden):
        """input (T, B) -> logits (T, B, ntoken), hidden."""
        outs = []
        for x in self.drop(self.encoder(input)):
            for layer, cell in enumerate(self.cells):
                hidden[layer] = cell(x, hidden[layer])
                x = hidden[layer][0]
            outs.append(x)
        output = self.drop(torch.stack(outs, dim=0))
        decoded = self.decoder(output.view(output.size(0) * output.size(1), output.size(2)))
        return decoded.view(output.size(0), output.size(1), decoded.size(1)), hidden

    def init_hidden(self, bsz):
        weight = next(self.parameters())
        return [(weight.new_zeros(bsz, HIDDEN), weight.new_zeros(bsz, HIDDEN)) for _ in self.cells]


def repackage_hidden(h):
    """Wraps hidden states in new Tensors, to detach them from their history."""
    if isinstance(h, torch.Tensor):
        return h.detach()
    return type(h)(repackage_hidden(v) for v in h)


def batchify(n_steps, bsz):
    """Symbols of which each equals the one two steps before, plus one: (n_steps, bsz)."""
    rows = [torch.randint(VOCAB, (bsz,)), torch.randint(VOCAB, (bsz,))]
    for t in range(2, n_steps):
        rows.append((rows[t - 2] + 1) % VOCAB)
    return torch.stack(rows).contiguous()


def build():
    return RNNModel(VOCAB, 12, HIDDEN, 2)


def train(model, steps=120, bptt=6):
    data = batchify(bptt * 20 + 1, 12)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2, weight_decay=1e-6)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, mode="min", factor=0.5, patience=3)
    losses = []
    while len(losses) < steps:
        hidden, total = model.init_hidden(data.size(1)), 0.0
        for i in range(0, data.size(0) - 1, bptt):
            seq, target = data[i : i + bptt], data[i + 1 : i + 1 + bptt]
            hidden = repackage_hidden(hidden)
            optimizer.zero_grad()
            output, hidden = model(seq, hidden)
            loss = criterion(output.reshape(-1, VOCAB), target.reshape(-1))
            loss.backward()
            nn.utils.clip_grad_value_(model.parameters(), 0.5)
            optimizer.step()
            losses.append(loss.item())
            total += loss.data
            if len(losses) == steps:
                break
        scheduler.step(total)
    return losses


def evaluate(model):
    """Accuracy where the next symbol can be known."""
    model.eval()
    data = batchify(30, 8)
    with torch.no_grad():
        logits, _ = model(data[:-1], model.init_hidden(8))
    _, predicted = torch.max(logits.data, 2)
    correct = predicted[3:].eq(data[4:]).cpu().sum().item()
    return correct / data[4:].numel()
