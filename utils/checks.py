"""Checks before and during training, each a call that returns a report whose `str` is a table.

What they check, and the numbers to expect: an untrained classifier of K classes has the loss ln K; a few samples can be
learned by heart; an update is about 1e-3 of the weights; few ReLU units are dead; gradients equal differences.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import nn, optim
from ..autograd import Tensor, enable_grad, float64, grad, no_grad
from ..backends import np
from .measures import HEALTHY, RECTIFIERS, active_units, dense, norm, read, trained
from .reports import generator, host, table

__all__ = [
    "ChanceReport",
    "DeadUnitsReport",
    "GradientCheckReport",
    "NormsReport",
    "OverfitReport",
    "RatiosReport",
    "check_gradients",
    "dead_units",
    "gradient_norms",
    "loss_at_chance",
    "overfit",
    "update_ratios",
]

Loss = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class ChanceReport:
    """The `loss` of an untrained network beside that of guessing, `expected`; they agree to `tolerance`, relatively."""

    loss: float
    expected: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether they agree to the tolerance, relatively."""
        return abs(self.loss - self.expected) <= self.tolerance * self.expected

    def __str__(self) -> str:
        rows = [(self.loss, self.expected, "yes" if self.ok else "no: look at the initialisation")]
        return table(("loss", "at chance", "agrees"), rows)


def loss_at_chance(
    model: Any,
    inputs: Any,
    targets: Any,
    num_classes: int | None = None,
    loss: Loss | None = None,
    tolerance: float = 0.25,
) -> ChanceReport:
    """The loss of the untrained model (mean cross-entropy by default) beside ln(num_classes), that of guessing.

    num_classes: by default the length of the scores' dimension 1; one score stands for two classes.

    inputs and targets: one batch; `loss(scores, targets)`. Source of these checks: A. Karpathy, "A recipe for
    training neural networks", 2019. tolerance: how much they may differ, relatively, to be `ok`.
    """
    with no_grad():
        scores = model(inputs)
        value = (loss or nn.functional.cross_entropy)(scores, targets).item()
    if num_classes is None:
        num_classes = max(scores.shape[1] if scores.dim() > 1 else 1, 2)
    return ChanceReport(value, math.log(num_classes), tolerance)


@dataclass(frozen=True)
class OverfitReport:
    """Whether a few samples were learned by heart: the losses of the steps, and the loss to reach."""

    losses: tuple[float, ...]
    target: float
    samples: int

    @property
    def ok(self) -> bool:
        """Whether the last loss is below the target."""
        return self.losses[-1] <= self.target

    def __str__(self) -> str:
        answer = "yes" if self.ok else "no: the model or its gradients are at fault"
        rows = [(self.samples, len(self.losses) - 1, self.losses[0], self.losses[-1], answer)]
        return table(("samples", "steps", "first loss", "last loss", "learned"), rows)


def overfit(
    model: Any,
    inputs: Any,
    targets: Any,
    loss: Loss | None = None,
    samples: int = 10,
    steps: int = 300,
    target: float = 1e-2,
    optimizer: Callable[[Any], Any] | None = None,
) -> OverfitReport:
    """Train a copy of the model on the first `samples` (5 to 20) until the loss is below `target`; the model is kept.

    optimizer: makes one of the copy's parameters; Adam with a rate of 1e-2 by default. A model that cannot do that has
    a fault. Source: A. Karpathy, "A recipe for training neural networks", 2019.
    """
    learner = copy.deepcopy(model)
    criterion = loss or nn.functional.cross_entropy
    stepper = (optimizer or (lambda parameters: optim.Adam(parameters, lr=1e-2)))(learner.parameters())
    x, y, losses = inputs[:samples], targets[:samples], []
    with enable_grad():
        for step in range(steps + 1):
            value = criterion(learner(x), y)
            losses.append(value.item())
            if losses[-1] <= target or step == steps:
                break
            stepper.zero_grad()
            value.backward()
            stepper.step()
    return OverfitReport(tuple(losses), target, len(x))


@dataclass(frozen=True)
class RatiosReport:
    """`ratios`: ‖update‖ / ‖weights‖ of each parameter by name; from `low` to `high` (1e-4, 1e-2) is healthy."""

    ratios: dict[str, float]
    low: float = HEALTHY[0]
    high: float = HEALTHY[1]

    @property
    def ok(self) -> bool:
        """Whether all lie between low and high."""
        return all(self.low <= r <= self.high for r in self.ratios.values())

    def __str__(self) -> str:
        def word(r: float) -> str:
            return "small" if r < self.low else "large" if r > self.high else ""

        return table(("parameter", "update / weight", ""), [(n, r, word(r)) for n, r in self.ratios.items()])


def update_ratios(model: Any, step: Callable[[], Any], biases: bool = False) -> RatiosReport:
    """Call `step` (an optimizer's) and report ‖Δw‖ / ‖w‖ of each parameter; vectors (biases) only where asked for.

    Parameters that were 0 before have no ratio and are left out.
    """
    held = trained(model, biases)
    before = {n: p.detach().clone() for n, p in held.items()}
    step()
    with no_grad():
        norms = [x for n, p in held.items() for x in (norm(before[n]), norm(p - before[n]))]
    numbers = [float(v[0]) for v in read(norms)]
    sizes = zip(held, numbers[::2], numbers[1::2], strict=True)
    return RatiosReport({name: update / weight for name, weight, update in sizes if weight})


@dataclass(frozen=True)
class DeadUnitsReport:
    """`counts`: of each ReLU by name, (units that gave 0 for every sample, all units)."""

    counts: dict[str, tuple[int, int]]

    @property
    def dead(self) -> int:
        """All dead units."""
        return sum(dead for dead, _ in self.counts.values())

    def __str__(self) -> str:
        rows = [(name, dead, units, f"{dead / units:.1%}") for name, (dead, units) in self.counts.items()]
        return table(("layer", "dead", "units", "share"), rows)


def dead_units(model: Any, inputs: Any) -> DeadUnitsReport:
    """Which units of the model's ReLU modules give 0 for all of `inputs`: their gradients are 0, and they stay so.

    A unit is a feature (dimension 1), over all samples and places. ValueError where the model has no nn.ReLU.

    Source: L. Lu, Y. Shin, Y. Su, G. Karniadakis, "Dying ReLU and initialization: theory and numerical examples",
    2020.
    """
    alive: dict[str, Any] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(module: Any, arguments: Any, output: Any) -> None:
            active = active_units(output)
            alive[name] = active | alive[name] if name in alive else active

        return hook

    layers = {n: m for n, m in model.named_modules() if isinstance(m, RECTIFIERS)}
    if not layers:
        raise ValueError("the model has no nn.ReLU module to look at (a call of functional.relu cannot be seen)")
    handles = [module.register_forward_hook(watch(name)) for name, module in layers.items()]
    try:
        with no_grad():
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    dead = read([(~a).sum() for a in alive.values()])
    return DeadUnitsReport({n: (int(d[0]), a.numel()) for (n, a), d in zip(alive.items(), dead, strict=True)})


@dataclass(frozen=True)
class NormsReport:
    """`gradients`, `weights`: the norm of each parameter's gradient and of its weights, by name."""

    gradients: dict[str, float]
    weights: dict[str, float]

    @property
    def total(self) -> float:
        """The norm of all gradients as one vector."""
        return math.sqrt(sum(g * g for g in self.gradients.values()))

    def __str__(self) -> str:
        rows = [(name, g, self.weights[name]) for name, g in self.gradients.items()]
        return table(("parameter", "|gradient|", "|weight|"), [*rows, ("all", self.total, "")])


def gradient_norms(model: Any) -> NormsReport:
    """After `backward`: ‖gradient‖ and ‖weight‖ per parameter, in order. They show vanishing and exploding gradients.

    Parameters without a gradient are left out. RuntimeError where none has one. Source: R. Pascanu, T. Mikolov, Y.
    Bengio, "On the difficulty of training recurrent neural networks", 2013.
    """
    held = {n: p for n, p in model.named_parameters() if p.grad is not None}
    if not held:
        raise RuntimeError("no parameter has a gradient: call backward() first")
    with no_grad():
        sizes = [norm(x) for p in held.values() for x in (dense(p.grad), p.detach())]
    numbers = [float(v[0]) for v in read(sizes)]
    return NormsReport(dict(zip(held, numbers[::2], strict=True)), dict(zip(held, numbers[1::2], strict=True)))


@dataclass(frozen=True)
class GradientCheckReport:
    """`errors`: of each parameter by name, (how many elements were compared, the largest relative error).

    h: the step of the differences. tolerance: the largest error that is `ok`.
    """

    errors: dict[str, tuple[int, float]]
    h: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether all errors are below the tolerance."""
        return all(error <= self.tolerance for _, error in self.errors.values())

    def __str__(self) -> str:
        rows = [(n, k, e, "" if e <= self.tolerance else "differs") for n, (k, e) in self.errors.items()]
        return table(("parameter", "elements", "relative error", ""), rows, f"centred differences, h = {self.h:g}")


def check_gradients(
    model: Any,
    inputs: Any,
    targets: Any,
    loss: Loss | None = None,
    elements: int = 20,
    h: float = 1e-5,
    tolerance: float = 1e-4,
    seed: int | None = 0,
) -> GradientCheckReport:
    """Gradients of a model's parameters beside centred differences, on a copy in double precision and in eval mode.

    The relative error is |a - n| / max(|a|, |n|), over up to `elements` random elements of each parameter, the loss
    rescaled where all its gradients are below 1e-9. Elements where both are lost in rounding count as equal. At a
    kink of the loss the two differ rightly; a smaller h finds out. h: the step of the differences. tolerance: of
    the relative error. seed: of the choice of elements.
    """
    checked = copy.deepcopy(model).to(float64).eval()
    criterion, source = loss or nn.functional.cross_entropy, generator(seed)
    x, y = (t.to(float64) if isinstance(t, Tensor) and t.is_floating_point() else t for t in (inputs, targets))
    held = {n: p for n, p in checked.named_parameters() if p.requires_grad}
    with enable_grad():
        found = grad(criterion(checked(x), y), list(held.values()), allow_unused=True)
    analytic = [np.zeros(p.shape) if g is None else host(g) for g, p in zip(found, held.values(), strict=True)]
    largest = max((float(np.abs(a).max()) for a in analytic if a.size), default=0.0)
    scale = 1 / largest if 0 < largest < 1e-9 else 1.0

    def value() -> float:
        return scale * criterion(checked(x), y).item()

    errors: dict[str, tuple[int, float]] = {}
    with no_grad():
        rounding = 1e-15 * max(1.0, abs(value())) / h * 10
        for (name, p), a in zip(held.items(), analytic, strict=True):
            flat = p.detach().reshape(-1).clone()
            picked = source.permutation(flat.numel())[:elements]
            worst = 0.0
            for i in picked.tolist():
                middle = flat[i].item()
                sides = []
                for move in (h, -h):
                    flat[i] = middle + move
                    p.copy_(flat.reshape(p.shape))
                    sides.append(value())
                flat[i] = middle
                p.copy_(flat.reshape(p.shape))
                numeric, exact = (sides[0] - sides[1]) / (2 * h), scale * float(a.reshape(-1)[i])
                gap = abs(numeric - exact)
                if gap > rounding:
                    worst = max(worst, gap / max(abs(numeric), abs(exact)))
            errors[name] = len(picked), worst
    return GradientCheckReport(errors, h, tolerance)
