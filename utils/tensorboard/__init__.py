"""TensorBoard's event files: `SummaryWriter` with the names and arguments of torch.utils.tensorboard.

Needs the extra `tensorboard` (`pip install chainrule[tensorboard]`), from the first SummaryWriter on.
"""

from .writer import FileWriter, SummaryWriter

__all__ = ["FileWriter", "SummaryWriter"]
