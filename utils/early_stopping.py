"""Early stopping, and keeping the best checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..autograd import FUNCTIONS
from ..autograd.serialization import replacing

__all__ = ["BestCheckpoint", "EarlyStopping"]


class _Best:
    """The best value so far; `mode` "min" (losses) or "max" (accuracies)."""

    def __init__(self, mode: str, min_delta: float) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max', not {mode!r}")
        self.mode, self.min_delta = mode, abs(min_delta)
        self.best = math.inf if mode == "min" else -math.inf

    def improves(self, value: Any) -> bool:
        value = float(value)
        gain = self.best - value if self.mode == "min" else value - self.best
        if math.isnan(value) or not gain > self.min_delta:
            return False
        self.best = value
        return True


class EarlyStopping:
    """Says when a validation value has not improved for `patience` epochs.

        stop = EarlyStopping(patience=5)
        for epoch in range(100):
            ...
            if stop.step(validation_loss, model):
                break
        stop.restore(model)

    mode: "min" or "max". min_delta: what counts as an improvement. A model given to `step` is copied (its state_dict)
    when it is the best, and `restore` puts that back. NaN is no improvement.

    Source: L. Prechelt, "Early stopping - but when?", 1998.
    """

    def __init__(self, patience: int = 10, min_delta: float = 0.0, mode: str = "min") -> None:
        if patience < 1:
            raise ValueError(f"patience must be 1 or more, not {patience}")
        self.patience, self._best = patience, _Best(mode, min_delta)
        self.epoch, self.best_epoch, self.stopped = -1, -1, False
        self._weights: dict[str, Any] | None = None

    @property
    def best(self) -> float:
        """The best value so far."""
        return self._best.best

    @property
    def waited(self) -> int:
        """How many epochs ago it was."""
        return self.epoch - self.best_epoch

    def step(self, value: Any, model: Any = None) -> bool:
        """Take an epoch's value; True when it is time to stop."""
        self.epoch += 1
        if self._best.improves(value):
            self.best_epoch = self.epoch
            if model is not None:
                self._weights = {
                    k: v.detach().clone() if hasattr(v, "detach") else v for k, v in model.state_dict().items()
                }
        self.stopped = self.waited >= self.patience
        return self.stopped

    def restore(self, model: Any) -> None:
        """Put the best weights back. RuntimeError where `step` never got a model."""
        if self._weights is None:
            raise RuntimeError("there are no weights to restore: give the model to step(value, model)")
        model.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, the weights included."""
        return {"best": self.best, "epoch": self.epoch, "best_epoch": self.best_epoch, "weights": self._weights}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self._best.best = state_dict["best"]
        self.epoch, self.best_epoch = state_dict["epoch"], state_dict["best_epoch"]
        self._weights = state_dict["weights"]
        self.stopped = self.waited >= self.patience

    def __str__(self) -> str:
        return f"best {self.best:.6g} in epoch {self.best_epoch}, {self.waited} epochs ago" + (
            "; stopped" if self.stopped else ""
        )


class BestCheckpoint:
    """Writes a checkpoint whenever the value is the best so far: `keeper(value, {"model": model.state_dict()})`.

    The file is written beside its place and then renamed, so a crash leaves the old one or the new one, never half.

    mode and min_delta as of `EarlyStopping`; `load` reads the best state back.
    """

    def __init__(self, path: Any, mode: str = "min", min_delta: float = 0.0) -> None:
        self.path, self._best = Path(path), _Best(mode, min_delta)

    @property
    def best(self) -> float:
        """The best value so far."""
        return self._best.best

    def __call__(self, value: Any, state: Any) -> bool:
        """Save `state` where `value` is the best; True where it was."""
        before = self._best.best
        if not self._best.improves(value):
            return False
        try:
            self._write(state)
        except BaseException:
            self._best.best = before
            raise
        return True

    def _write(self, state: Any) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as file:
            FUNCTIONS["save"](state, file)

    def load(self) -> Any:
        """The best state."""
        return FUNCTIONS["load"](self.path)
