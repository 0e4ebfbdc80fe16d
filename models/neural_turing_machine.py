"""Neural Turing machine: Graves, Wayne, Danihelka, 2014.

A controller reads from and writes to a memory M (N rows of W numbers) through weights w over its rows. A head makes
them from key k, strength β, gate g, shift s and sharpness γ: by content, w_c = softmax(β cos(k, M_i)); mixed with those
of the last step, w_g = g w_c + (1 - g) w; shifted, w̃ = w_g ∗ s (circular); sharpened, w = w̃^γ / Σ w̃^γ. Reading gives
Σ w_i M_i; writing makes M_i (1 - w_i e) + w_i a.
"""

from typing import NamedTuple

from .. import nn
from ..autograd import Tensor
from ..autograd.ops.joining import cat, stack
from ..nn import functional as F


class State(NamedTuple):
    """Memory (B, N, W), weights of the reading and the writing head (B, N), what was read (B, W), the controller's (h,
    c).
    """

    memory: Tensor
    reading: Tensor
    writing: Tensor
    read: Tensor
    controller: tuple[Tensor, Tensor]


class Head(nn.Module):
    """Controller output (B, H), last weights (B, N), memory (B, N, W) → weights (B, N), and for a writing head what to
    erase and to add (B, W).
    """

    def __init__(self, hidden: int, width: int, shifts: int = 1, writes: bool = False) -> None:
        super().__init__()
        self.width, self.shifts = width, shifts
        self.sizes = [width, 1, 1, 2 * shifts + 1, 1] + [width, width] * writes
        self.params = nn.Linear(hidden, sum(self.sizes))

    def forward(self, h: Tensor, last: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        key, strength, gate, shift, sharpness, *change = self.params(h).split(self.sizes, 1)
        w = self.address(
            memory,
            last,
            key.tanh(),
            F.softplus(strength),
            gate.sigmoid(),
            F.softmax(shift, 1),
            1 + F.softplus(sharpness),
        )
        return (w, change[0].sigmoid(), change[1].tanh()) if change else (w,)

    @staticmethod
    def address(
        memory: Tensor, last: Tensor, key: Tensor, strength: Tensor, gate: Tensor, shift: Tensor, sharpness: Tensor
    ) -> Tensor:
        """The weights w (B, N); key (B, W), shift (B, 2 n + 1) for shifts of -n ... n rows, the others (B, 1)."""
        content = F.softmax(strength * F.cosine_similarity(key.unsqueeze(1), memory, dim=2), 1)
        mixed = gate * content + (1 - gate) * last
        n = shift.shape[1] // 2
        shifted = stack(*[mixed.roll(k, 1) for k in range(-n, n + 1)], dim=2) @ shift.unsqueeze(2)
        sharp = (shifted.squeeze(2) + 1e-12) ** sharpness
        return sharp / sharp.sum(1, keepdim=True)


class NeuralTuringMachine(nn.Module):
    """Inputs (T, B, I), and a state or None → outputs (T, B, O), state.

    Args:
        input_size, output_size: I and O.
        hidden: units of the controller, an LSTM.
        rows, width: N and W of the memory.
        shifts: a head moves by at most this many rows in a step.

    Source: A. Graves, G. Wayne, I. Danihelka, "Neural Turing machines", 2014.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden: int = 100,
        rows: int = 128,
        width: int = 20,
        shifts: int = 1,
    ) -> None:
        super().__init__()
        self.rows, self.width = rows, width
        self.controller = nn.LSTMCell(input_size + width, hidden)
        self.reader, self.writer = Head(hidden, width, shifts), Head(hidden, width, shifts, writes=True)
        self.output = nn.Linear(hidden + width, output_size)

    def start(self, batch: int) -> State:
        """Memory of small equal numbers, both heads at its first row."""
        weight = self.output.weight
        memory = weight.new_full((batch, self.rows, self.width), 1e-6)
        first = weight.new_zeros(batch, self.rows)
        first[:, 0] = 1
        h = weight.new_zeros(batch, self.controller.hidden_size)
        return State(memory, first, first, weight.new_zeros(batch, self.width), (h, h))

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One step: x (B, I) → output (B, O), state."""
        h, c = self.controller(cat([x, state.read], 1), state.controller)
        writing, erase, add = self.writer(h, state.writing, state.memory)
        w = writing.unsqueeze(2)
        memory = state.memory * (1 - w * erase.unsqueeze(1)) + w * add.unsqueeze(1)
        (reading,) = self.reader(h, state.reading, memory)
        read = (reading.unsqueeze(1) @ memory).squeeze(1)
        return self.output(cat([h, read], 1)), State(memory, reading, writing, read, (h, c))

    def forward(self, inputs: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        state = state or self.start(inputs.shape[1])
        outputs = []
        for x in inputs.unbind(0):
            y, state = self.step(x, state)
            outputs.append(y)
        return stack(*outputs, dim=0), state
