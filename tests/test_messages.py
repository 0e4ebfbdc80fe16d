"""Mistakes that everybody makes, and what the error says: its type is PyTorch's, and it names what does not fit."""

import re
import warnings

import pytest

import chainrule as torch
from chainrule import nn, optim
from chainrule.nn import functional as F

zeros, tensor = torch.zeros, torch.tensor


def leaf():
    return torch.ones(3, requires_grad=True)


def twice():
    y = leaf().square().sum()
    y.backward()
    y.backward()


def wrong_state():
    net = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    state = net.state_dict()
    del state["0.weight"]
    state["extra"], state["1.bias"] = zeros(1), zeros(7)
    net.load_state_dict(state)


# mistake -> error, and words of the message in their order
MISTAKES = {
    "linear": (
        lambda: nn.Linear(10, 5)(zeros(4, 7)),
        RuntimeError,
        "shapes cannot be multiplied (4x7 and 10x5).*7 features .* takes 10 .*[4, 7] and [5, 10]",
    ),
    "data[0] of a number": (lambda: leaf().sum().data[0], IndexError, "invalid index of a 0-dim tensor. Use .*item"),
    "a slice of a number": (lambda: zeros(())[:], IndexError, "slice() cannot be applied to a 0-dim tensor."),
    "linear without dimensions": (lambda: nn.Linear(1, 5)(zeros(())), RuntimeError, "at least one dimension"),
    "linear of float64": (
        lambda: nn.Linear(3, 2)(zeros(2, 3).double()),
        RuntimeError,
        "mat1 and mat2 must have the same dtype, but got Double and Float.*float64.*.to(dtype)",
    ),
    "linear of a list": (lambda: nn.Linear(3, 2)([1.0, 2.0, 3.0]), TypeError, "must be Tensor, not list"),
    "channels": (lambda: nn.Conv2d(3, 6, 3)(zeros(1, 1, 8, 8)), RuntimeError, "expected input.* 3 channels, but got 1"),
    "image without channels": (lambda: nn.Conv2d(3, 6, 3)(zeros(8, 8)), RuntimeError, "3D .* or 4D .*[8, 8]"),
    "small image": (lambda: nn.Conv2d(3, 6, 5)(zeros(1, 3, 3, 3)), RuntimeError, "Kernel size can't be greater"),
    "features of a norm": (lambda: nn.BatchNorm2d(4)(zeros(2, 3, 5, 5)), RuntimeError, "contain 3 elements.*[4]"),
    "image of float64": (
        lambda: nn.Conv2d(3, 6, 3)(zeros(1, 3, 8, 8).double()),
        RuntimeError,
        "Input type (double) and bias type (float) should be the same.*float64.*.to()",
    ),
    "matmul": (
        lambda: zeros(2, 3) @ zeros(4, 5),
        RuntimeError,
        "matmul.*[2, 3].*[4, 5].*mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5).*3 .* != 4",
    ),
    "a stack by a matrix": (lambda: zeros(2, 3, 4) @ zeros(5, 6), RuntimeError, "be multiplied (6x4 and 5x6)"),
    "a matrix by a vector": (lambda: zeros(2, 3) @ zeros(4), RuntimeError, "got input (2), mat (2x3), vec (4)"),
    "vectors": (lambda: zeros(3) @ zeros(4), RuntimeError, "expected tensor [3] and src [4]"),
    "a number by a vector": (lambda: zeros(()) @ zeros(4), RuntimeError, "matmul need to be at least 1D"),
    "stacks": (lambda: zeros(2, 3, 4) @ zeros(2, 3, 4), RuntimeError, "batch2 tensor to be: [2, 4] but got: [2, 3]"),
    "batches of matmul": (
        lambda: zeros(2, 3, 4) @ zeros(3, 4, 5),
        RuntimeError,
        "tensor a (2) must match the size of tensor b (3) .*before the last two.*broadcast",
    ),
    "attention": (
        lambda: F.scaled_dot_product_attention(zeros(1, 2, 3), zeros(1, 2, 4), zeros(1, 2, 4)),
        RuntimeError,
        "[1, 2, 3], [1, 2, 4]",
    ),
    "add": (
        lambda: zeros(2, 3) + zeros(4),
        RuntimeError,
        "add.*[2, 3].*[4].*size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 1",
    ),
    "cat": (
        lambda: torch.cat([zeros(2, 3), zeros(3, 4)]),
        RuntimeError,
        "except in dimension 0. Expected size 3 but got size 4 for tensor number 1",
    ),
    "cat of dimensions": (
        lambda: torch.cat([zeros(2, 3), zeros(3)]),
        RuntimeError,
        "Tensors must have same number of dimensions: got 2 and 1",
    ),
    "target that is a number": (
        lambda: F.cross_entropy(zeros(4, 3), 3),
        TypeError,
        "'target' (position 2) must be Tensor, not int",
    ),
    "words that are no tensor": (
        lambda: nn.Embedding(3, 2)([1, 2]),
        TypeError,
        "'indices' (position 2) must be Tensor, not list",
    ),
    "two unknown sizes": (lambda: zeros(2, 3).view(-1, -1), RuntimeError, "only one dimension can be inferred"),
    "cat without a list": (lambda: torch.cat(zeros(3), zeros(3)), TypeError, "one list or tuple, cat([a, b]"),
    "stack without a list": (lambda: torch.stack(zeros(3), zeros(3)), TypeError, "one list or tuple, stack([a, b]"),
    "target of floats": (
        lambda: F.cross_entropy(zeros(4, 3), zeros(4)),
        RuntimeError,
        "class indices.*integers.*.long()",
    ),
    "length of a target": (
        lambda: F.cross_entropy(zeros(4, 3), zeros(5).long()),
        ValueError,
        "[4, 3] wants class indices of shape [4], got [5]",
    ),
    "class": (lambda: F.cross_entropy(zeros(2, 3), tensor([0, 3])), IndexError, "Target 3 is out of bounds"),
    "probability": (lambda: F.binary_cross_entropy(tensor([2.0]), tensor([1.0])), RuntimeError, "between 0 and 1"),
    "word": (lambda: nn.Embedding(5, 2)(tensor([1, 5])), IndexError, "out of range.*[0, 5).*"),
    "dim": (lambda: zeros(2, 3).sum(dim=2), IndexError, "sum.*out of range .*[-2, 1], but got 2"),
    "dim of transpose": (lambda: zeros(2).transpose(0, 1), IndexError, "transpose.*out of range .*[-1, 0], but got 1"),
    "index": (lambda: zeros(2, 3)[5], IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    "gather": (lambda: zeros(2, 3).gather(1, tensor([[3], [0]])), RuntimeError, "index 3 .* dimension 1 with size 3"),
    "keyword": (lambda: zeros(2, 3).sum(dims=1), TypeError, "sum.*'dims'.*dim, keepdim"),
    "size": (lambda: zeros(2, 3).reshape(-1, 4), RuntimeError, "shape '[-1, 4]' is invalid for input of size 6"),
    "backward twice": (twice, RuntimeError, "second time.*retain_graph=True"),
    "backward of a vector": (lambda: leaf().exp().backward(), RuntimeError, "only for scalar outputs.*[3]"),
    "backward of a constant": (lambda: zeros(2).sum().backward(), RuntimeError, "does not require grad.*no_grad()"),
    "write to a leaf": (lambda: leaf().add_(1), RuntimeError, "add_.*leaf.*in-place.*no_grad()"),
    "numpy": (lambda: leaf().numpy(), RuntimeError, "requires grad. Use tensor.detach().numpy()"),
    "truth": (lambda: bool(zeros(3) == 0), RuntimeError, "ambiguous.*any() or all()"),
    "item": (lambda: zeros(3).item(), RuntimeError, "3 elements"),
    "integer parameter": (lambda: tensor([1, 2]).requires_grad_(), RuntimeError, "floating point.*int64"),
    "mean of integers": (lambda: torch.arange(3).mean(), RuntimeError, "floating-point.*int64.*.float()"),
    "state": (
        wrong_state,
        RuntimeError,
        'Missing .*"0.weight".*Unexpected .*"extra".*size mismatch for 1.bias.*[7].*[2]',
    ),
    "parameters": (lambda: optim.Adam([leaf() * 2]), ValueError, "non-leaf"),
    "plain tensor as parameter": (
        lambda: setattr(nn.Linear(2, 2), "weight", zeros(2, 2)),
        TypeError,
        "cannot assign 'Tensor' as parameter 'weight'",
    ),
    "list in Sequential": (lambda: nn.Sequential([nn.Linear(2, 2)]), TypeError, "list is not a Module"),
}


def pattern(words):
    """A regular expression in which only .* and a space beside it are special."""
    return ".*".join(re.escape(part) for part in words.split(".*"))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_message(mistake):
    call, kind, words = MISTAKES[mistake]
    with pytest.raises(kind) as caught:
        call()
    text = "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert re.search(pattern(words), text, re.S), text


def test_a_loss_does_not_broadcast_silently():
    with pytest.warns(UserWarning, match=re.escape("target size ([4]) that is different to the input size ([4, 1])")):
        F.mse_loss(zeros(4, 1), zeros(4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        F.mse_loss(zeros(4, 1), zeros(4, 1))


def test_an_error_names_the_module():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(5, 2))

        def forward(self, x):
            return self.body(x)

    with pytest.raises(RuntimeError) as caught:
        Net()(zeros(3, 8))
    assert "in Net, at body.2 (Linear)" in caught.value.__notes__
