"""Progressive networks: Rusu et al., "Progressive neural networks", 2016.

One column of layers per task. A new column sees the layers of the old ones, which are frozen: nothing is forgotten, and
what the old columns know can be used. h_i = relu(W_i h_{i-1} + U_i relu(V_i [α_j h_{i-1}^{(j)}]_{j<k})): equation 2.
"""

from collections.abc import Sequence
from itertools import pairwise

from .. import nn
from ..autograd import Tensor
from ..autograd.creation import ones
from ..autograd.ops.joining import concat
from ..nn import functional as F


class Column(nn.Module):
    """The layers of one task and, if there are columns before it, adapters of what these have in the layer below."""

    def __init__(self, sizes: Sequence[int], earlier: Sequence[Sequence[int]], adapter: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(sizes))
        self.scales, self.squeeze, self.lateral = nn.ParameterList(), nn.ModuleList(), nn.ModuleList()
        if earlier:
            for level in range(1, len(self.layers)):
                self.scales.append(nn.Parameter(0.1 * ones(len(earlier))))  # α
                self.squeeze.append(nn.Linear(sum(s[level] for s in earlier), adapter))  # V
                self.lateral.append(nn.Linear(adapter, sizes[level + 1], bias=False))  # U

    def forward(self, x: Tensor, earlier: Sequence[Sequence[Tensor]]) -> list[Tensor]:
        """The activations of all levels, the input first and the scores last."""
        h = [x]
        for level, layer in enumerate(self.layers):
            y = layer(h[-1])
            if earlier and level > 0:
                scales = self.scales[level - 1]
                below = concat(*[scales[j] * column[level] for j, column in enumerate(earlier)], dim=-1)
                y = y + self.lateral[level - 1](F.relu(self.squeeze[level - 1](below)))
            h.append(y if level == len(self.layers) - 1 else F.relu(y))
        return h


class ProgressiveNet(nn.Module):
    """Inputs (N, in_features) and the number of a task → its scores; without a number, of the last task.

    `add_task(out_features)` freezes what there is and adds a column. All columns have hidden layers of the same
    sizes.

        net = ProgressiveNet(4, (16, 16))
        net.add_task(3)
        ...                                   # train net.parameters()
        net.add_task(5)                       # the first column is frozen now
        optimizer = optim.Adam(net.trainable())

    adapter: units between the old columns and a layer of the new one, equation 2's V.

    Source: A. Rusu et al., "Progressive neural networks", 2016.
    """

    def __init__(self, in_features: int, hidden: Sequence[int], adapter: int = 8) -> None:
        super().__init__()
        self.base, self.adapter = (in_features, *hidden), adapter
        self.columns = nn.ModuleList()
        self.sizes: list[tuple[int, ...]] = []

    def add_task(self, out_features: int) -> Column:
        """A new column; those before it take part no more in training."""
        self.columns.requires_grad_(False)
        sizes = (*self.base, out_features)
        column = Column(sizes, self.sizes, self.adapter)
        self.columns.append(column)
        self.sizes.append(sizes)
        return column

    def trainable(self) -> list[nn.Parameter]:
        """The parameters of the last column."""
        return [p for p in self.parameters() if p.requires_grad]

    def forward(self, x: Tensor, task: int = -1) -> Tensor:
        if not len(self.columns):
            raise ValueError("ProgressiveNet has no task yet: call add_task(out_features)")
        count = range(len(self.columns))[task] + 1
        seen: list[list[Tensor]] = []
        for column in self.columns[:count]:
            seen.append(column(x, seen))
        return seen[-1][-1]
