"""FractalNet: Larsson, Maire, Shakhnarovich, "FractalNet: ultra-deep neural networks without residuals", 2017.

f_1(x) = layer(x); f_{C+1}(x) = join((f_C ∘ f_C)(x), layer(x)): a block of C columns is 2^(C-1) layers deep on its
longest way and one on its shortest. A join is the mean of its inputs. Drop-path trains the columns to do without each
other: `locally` each input of a join is dropped, but one always stays; `globally` one column alone is left.
"""

from collections.abc import Sequence

from .. import nn
from ..autograd import Tensor
from ..autograd.ops.joining import stack
from ..autograd.random import rand, randint


class FractalBlock(nn.Module):
    """Images (N, in_channels, H, W) → (N, out_channels, H, W); column c has a layer at every 2^c-th of the steps.

    `kept` is which column each example keeps, (N,): -1 for all.
    """

    def __init__(self, in_channels: int, out_channels: int, columns: int = 3, drop_prob: float = 0.15) -> None:
        super().__init__()
        self.drop_prob = drop_prob
        self.steps = 2 ** (columns - 1)
        self.columns = nn.ModuleList(
            nn.ModuleList(
                _layer(in_channels if i == 0 else out_channels, out_channels) for i in range(self.steps // 2**c)
            )
            for c in range(columns)
        )

    def forward(self, x: Tensor, kept: Tensor | None = None) -> Tensor:
        at = [x] * len(self.columns)
        for step in range(1, self.steps + 1):
            ending = [c for c in range(len(at)) if step % 2**c == 0]
            x = self._join([self.columns[c][step // 2**c - 1](at[c]) for c in ending], kept)
            for c in ending:
                at[c] = x
        return x

    def _join(self, inputs: list[Tensor], kept: Tensor | None) -> Tensor:
        joined = stack(*inputs)
        if kept is None:
            return joined.mean(0)
        chance = rand(*joined.shape[:2], device=joined.device)
        alive = (chance >= self.drop_prob) | (chance == chance.amax(0))
        for c in range(len(inputs)):
            alive[c] = alive[c].where(kept < 0, kept == c)
        # Where the one column that is kept does not end here, what is joined reaches no output, but statistics.
        share = (alive | ~alive.any(0)).to(joined.dtype)
        share = share / share.sum(0)
        return (joined * share[..., None, None, None]).sum(0)


def _layer(in_channels: int, out_channels: int) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class FractalNet(nn.Module):
    """Images (N, in_channels, H, W) → scores (N, num_classes); H and W are halved after each block.

    The paper's network for 32 x 32 images has five blocks of three columns, 20 layers; half of the examples of a batch
    meet local drop-path, half global.

    Args:
        num_classes: the classes.
        in_channels: channels of the images.
        widths: channels of the blocks.
        columns: of each block.
        drop_prob: with which an input of a join is dropped; 0 turns drop-path off.
        global_share: the share of examples for which one column alone is kept.

    Source: G. Larsson, M. Maire, G. Shakhnarovich, "FractalNet: ultra-deep neural networks without residuals",
    2017.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        columns: int = 3,
        drop_prob: float = 0.15,
        global_share: float = 0.5,
    ) -> None:
        super().__init__()
        self.drop_prob, self.global_share, self.width = drop_prob, global_share, columns
        before = (in_channels, *widths[:-1])
        self.blocks = nn.ModuleList(FractalBlock(i, o, columns, drop_prob) for i, o in zip(before, widths, strict=True))
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.classifier = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor, column: int | None = None) -> Tensor:
        """With `column` that one alone is used, in evaluation too: a plain network, cut out of the trained one."""
        count, kept = x.shape[0], None
        if column is not None:
            kept = x.new_full((count,), column, dtype="int64")
        elif self.training and self.drop_prob > 0:
            kept = randint(0, self.width, (count,), device=x.device)
            kept = kept.masked_fill(rand(count, device=x.device) >= self.global_share, -1)
        for block in self.blocks:
            x = self.pool(block(x, kept))
        return self.classifier(x.mean((2, 3)))
