"""Recursive networks: the same layer at each node of a tree.

Goller, Küchler, "Learning task-dependent distributed representations by backpropagation through structure", 1996: p =
tanh(W [a; b] + c) for the children a and b. Socher et al., "Recursive deep models for semantic compositionality over a
sentiment treebank", 2013: the tensor form adds [a; b]ᵀ V [a; b], one matrix per element of p.
"""

from typing import Any

from .. import nn
from ..autograd import Tensor
from ..autograd.creation import empty, tensor
from ..autograd.ops.joining import concat, stack


class RecursiveNet(nn.Module):
    """A binary tree → the scores of all its nodes, (nodes, num_classes), children before parents and the root last.

    A tree is a word's index or a pair of trees: (0, (1, 2)).

    Args:
        vocabulary: number of words.
        num_classes: of each node.
        size: d, the numbers per node.
        composition: "matrix" (2 d² + d weights), or "tensor" with 4 d³ more.

    Sources: C. Goller, A. Küchler, "Learning task-dependent distributed representations by backpropagation through
    structure", 1996; R. Socher et al., "Recursive deep models for semantic compositionality over a sentiment
    treebank", 2013.
    """

    def __init__(self, vocabulary: int, num_classes: int, size: int = 16, composition: str = "matrix") -> None:
        super().__init__()
        if composition not in ("matrix", "tensor"):
            raise ValueError(f'composition is "matrix" or "tensor", not {composition!r}')
        self.words = nn.Embedding(vocabulary, size)
        nn.init.normal_(self.words.weight, 0, 0.3)  # small, or tanh is saturated from the start
        self.compose = nn.Linear(2 * size, size)
        self.tensor = None
        if composition == "tensor":
            self.tensor = nn.Parameter(nn.init.normal_(empty(size, 2 * size, 2 * size), 0, 0.05 / size))
        self.classify = nn.Linear(size, num_classes)

    def parent(self, left: Tensor, right: Tensor) -> Tensor:
        """p of two children, (d,) each."""
        both = concat(left, right, dim=-1)
        p = self.compose(both)
        if self.tensor is not None:
            p = p + (self.tensor @ both) @ both
        return p.tanh()

    def vectors(self, tree: Any) -> list[Tensor]:
        """The vectors of all nodes, children before parents."""
        if isinstance(tree, int):
            return [self.words(tensor(tree, device=self.words.weight.device))]
        left, right = (self.vectors(child) for child in tree)
        return [*left, *right, self.parent(left[-1], right[-1])]

    def forward(self, tree: Any) -> Tensor:
        return self.classify(stack(*self.vectors(tree)))
