"""What a recorded training shows, in plain words: what is wrong, what is odd, and what is as it should be.

The limits are the lectures' rules of thumb: updates of about 1e-3 of the weights, few dead units, gradients of one size
in all layers, outputs of one size in all layers.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..backends import np
from .history import Curves, History, Series

__all__ = ["HEALTHY", "Verdict", "layer_name", "training_loss", "verdicts"]

#: ‖update‖ / ‖weight‖ between which a layer learns well
HEALTHY = (1e-4, 1e-2)
#: what the lectures expect; a layer that learns so quickly is not slow, however quick others are
USUAL = 1e-3
#: how far outside of that a layer may be before a word is said about it
LEEWAY = 3.0
#: from this factor between two layers on, one is said to be slow
SLOW = 30.0


class Verdict(NamedTuple):
    """kind: "bad", "note" or "good"; text: one sentence or two."""

    kind: str
    text: str

    @property
    def sign(self) -> str:
        """The kind as one character."""
        return {"bad": "✕", "note": "!", "good": "✓"}[self.kind]

    def __str__(self) -> str:
        return f"{self.sign} {self.text}"


def layer_name(name: str) -> str:
    """The layer of a parameter in words: "fc1" of fc1.weight, "layer 0" of 0.weight."""
    layer = name.removesuffix(".weight") or name
    return f"layer {layer}" if layer.replace(".", "").isdigit() else layer


def training_loss(history: History) -> str | None:
    """The name of the loss that is trained: "loss", or the first name with "loss" in it that is no validation's."""
    names = [n for n in history.values if "loss" in n.lower() and not n.lower().startswith(("val", "test", "eval"))]
    return "loss" if "loss" in names else names[0] if names else None


def verdicts(history: History) -> list[Verdict]:
    """What the history shows, the worst first."""
    slow, dead = _speed(history), _dead(history)
    explained = bool(slow) or any(v.kind == "bad" for v in dead)
    found = [*_loss(history), *_faults(history), *_validation(history), *slow]
    found += [*_band(history, also_small=not explained), *dead, *_spread(history), *_left_out(history)]
    if not any(v.kind == "bad" for v in found) and history.ratios:
        middle = np.median(list(_medians(history.ratios).values()))
        if HEALTHY[0] <= middle <= HEALTHY[1] and not any(v.kind == "note" for v in found):
            found.append(Verdict("good", f"Every layer learns: updates are about {middle:.1g} of the weights."))
    return sorted(found, key=lambda v: ("bad", "note", "good").index(v.kind))


def _medians(curves: Curves) -> dict[str, float]:
    """The median of each series over what is finite and not 0."""
    found = {}
    for name, series in curves.items():
        used = series.values[np.isfinite(series.values) & (series.values > 0)]
        if used.size:
            found[name] = float(np.median(used))
    return found


def _first_fault(history: History) -> tuple[str, int] | None:
    """What was not finite first, and at which step; of one step what came first in it."""
    first = [(what, int(series.steps[0])) for what, series in history.faults.items()]
    return min(first, key=lambda pair: pair[1]) if first else None


def _place(what: str) -> str:
    """The name of a fault, with the layer in words."""
    kind, _, name = what.partition(" of ")
    return f"{kind} of {layer_name(name)}" if kind == "output" else what


def _unfinite(series: Series) -> int | None:
    """The step of the first value that is NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(series.values))
    return int(series.steps[bad[0]]) if bad.size else None


def _loss(history: History) -> list[Verdict]:
    name = training_loss(history)
    if name is None:
        return []
    series = history[name]
    step = _unfinite(series)
    if step is not None:
        value = series.values[series.steps == step][0]
        said = f"{name} became {'NaN' if math.isnan(value) else 'infinite'} at step {step}"
        fault = _first_fault(history)
        if fault is None:
            return [Verdict("bad", f"{said}. All outputs and gradients that were looked at are finite.")]
        what, at = fault
        if at <= step:
            return [Verdict("bad", f"{said}, first in the {_place(what)}{'' if at == step else f', step {at}'}.")]
        looked = f"At step {at}, the next that was looked at, the first such place is the {_place(what)}"
        return [Verdict("bad", f"{said}. {looked}; record with every=1 to see where it begins.")]
    if len(series.values) < 10:
        return []
    part = max(len(series.values) // 20, 3)
    start, end, top = float(series.values[0]), float(np.median(series.values[-part:])), int(np.argmax(series.values))
    said, scale = f"from {start:.3g} to {end:.3g} in {history.steps} steps", max(abs(start), 1e-12)
    jump = f"{name} jumped to {series.values[top]:.3g} at step {int(series.steps[top])}"
    found = [Verdict("bad", f"{jump}: the learning rate may be too high.")] * bool(series.values[top] > 5 * scale)
    if end > start + 0.05 * scale:
        return found or [Verdict("bad", f"{name} rose {said}: the learning rate may be too high.")]
    if end > start - 0.02 * scale:
        return [*found, Verdict("bad", f"{name} hardly moved, {said}.")]
    parts = np.array_split(series.values, len(series.values) // part)
    arrived = next((i for i, p in enumerate(parts) if np.median(p) <= end + 0.02 * scale), len(parts)) + 1
    if end > 0.5 * start and arrived <= len(parts) / 4:
        of = int(series.steps[sum(map(len, parts[:arrived]))])
        said = f"from {start:.3g} to {end:.3g} in the first {of} of {history.steps} steps"
        return [*found, Verdict("note", f"{name} fell {said}, and has stood still since.")]
    return [*found, Verdict("good", f"{name} fell {said}.")]


def _faults(history: History) -> list[Verdict]:
    """Numbers that were not finite while the loss was."""
    name, fault = training_loss(history), _first_fault(history)
    if fault is None or (name is not None and _unfinite(history[name]) is not None):
        return []
    what, step = fault
    count = len({int(s) for series in history.faults.values() for s in series.steps})
    more = "" if count == 1 else f", and in {count} of the steps looked at"
    normal = "With a GradScaler a few such steps are normal: it leaves them out."
    return [Verdict("bad", f"The {_place(what)} was not finite at step {step}{more}. {normal}")]


def _validation(history: History) -> list[Verdict]:
    name = next((n for n in history.values if "loss" in n.lower() and n.lower().startswith("val")), None)
    if name is None or len(history[name].values) < 5:
        return []
    steps, values = history[name]
    best = int(np.argmin(np.where(np.isfinite(values), values, np.inf)))
    if best < 0.8 * (len(values) - 1) and values[-1] > 1.1 * values[best]:
        said = f"{name} was lowest at step {int(steps[best])} ({values[best]:.3g}) and rose to {values[-1]:.3g}"
        return [Verdict("note", f"{said}: from there on the network learns its training data by heart.")]
    return []


def _speed(history: History) -> list[Verdict]:
    """One layer that learns much slower than another; where steps do not tell, gradients of different sizes."""
    pair = _far_apart(history.ratios, history, SLOW)
    if pair is not None and _medians(history.ratios)[pair[0]] < USUAL:
        slow, fast, times, numbers = pair
        text = f"{layer_name(slow)} learns {times} times slower than {layer_name(fast)} (update / weight {numbers})."
        return [Verdict("bad", _capital(text) + _vanishing(history, slow, fast))]
    pair = _far_apart(history.gradients, history, 100.0)
    if pair is not None:
        slow, fast, times, numbers = pair
        text = f"The gradient of {slow} is {times} times smaller than that of {fast} ({numbers})."
        return [Verdict("bad", text + _vanishing(history, slow, fast))]
    return []


def _far_apart(curves: Curves, history: History, factor: float) -> tuple[str, str, str, str] | None:
    """The weights with the least and the largest median, how many times it is, and both medians; None if it is less."""
    medians = {n: m for n, m in _medians(curves).items() if n in history.ratios}
    if not medians:
        return None
    least, most = min(medians, key=medians.__getitem__), max(medians, key=medians.__getitem__)
    times = medians[most] / medians[least]
    if times < factor:
        return None
    return least, most, f"{float(f'{times:.2g}'):,.0f}", f"{medians[least]:.1g} beside {medians[most]:.1g}"


def _vanishing(history: History, slow: str, fast: str) -> str:
    """A word on gradients that fade from layer to layer, where it is they that make a layer slow."""
    names, norms = list(history.ratios), _medians(history.gradients)
    if slow not in norms or norms.get(fast, 0.0) < 10 * norms[slow] or names.index(slow) > names.index(fast):
        return ""
    return (
        " Gradients vanish on their way to the input: other activation functions or initial weights, normalisation and "
        "residual branches help."
    )


def _band(history: History, also_small: bool) -> list[Verdict]:
    """Updates out of the healthy band; not those that are small where a slow layer or dead units are the reason."""
    medians, found = _medians(history.ratios), []
    low, high = HEALTHY[0] / LEEWAY, HEALTHY[1] * LEEWAY
    for word, advice, names in (
        ("large", "a lower rate may do better", [n for n, m in medians.items() if m > high]),
        ("small", "a higher rate may do better", [n for n, m in medians.items() if m < low and also_small]),
    ):
        if names:
            middle = float(np.median([medians[n] for n in names]))
            band = f"{HEALTHY[0]:.4f} to {HEALTHY[1]:g} is healthy"
            said = f"Updates are {word}, {middle:.1g} of the weights, in {_some(names)} ({band}): {advice}."
            found.append(Verdict("bad" if middle > 0.1 else "note", said))
    return found


def _dead(history: History) -> list[Verdict]:
    found = []
    for name, series in history.dead.items():
        units, step = int(history.units[name].values[-1]), int(series.steps[-1])
        dead = int(series.values[-1])
        if dead >= 0.1 * units:
            said = f"{dead} of {units} units of {layer_name(name)} gave 0 for all samples of step {step}"
            bad = dead >= 0.5 * units
            found.append(Verdict("bad" if bad else "note", _capital(f"{said}{': they learn nothing' * bad}.")))
    return found


def _spread(history: History) -> list[Verdict]:
    """Outputs that shrink or grow from layer to layer at the first look."""
    names = [n for n in history.deviations if f"{n}.weight" in history.ratios]
    first = [(n, float(history.deviations[n].values[0])) for n in names]
    first = [(n, d) for n, d in first if math.isfinite(d) and d > 0]
    if len(first) < 3:
        return []
    (start, before), (end, after) = first[0], first[-1]
    if SLOW > after / before > 1 / SLOW:
        return []
    word = "shrink" if after < before else "grow"
    said = f"Outputs {word} from layer to layer at the start: their deviation is {before:.1g} in {layer_name(start)}"
    return [Verdict("note", f"{said} and {after:.1g} in {layer_name(end)}. Look at the initialisation.")]


def _left_out(history: History) -> list[Verdict]:
    """Steps that changed nothing."""
    still: dict[int, bool] = {}
    for series in history.ratios.values():
        for step, value in zip(series.steps.tolist(), series.values.tolist(), strict=True):
            still[step] = still.get(step, True) and value == 0
    count = sum(still.values())
    if not count:
        return []
    weights = [history.gradients[name] for name in history.ratios if name in history.gradients]
    slopes = [v for series in weights for step, v in zip(*series, strict=True) if still.get(int(step))]
    why = "a GradScaler left them out, the rate was 0, or gradients were being accumulated"
    if slopes and not any(slopes):
        why = "their gradients were 0"
    return [Verdict("note", f"{count} of {len(still)} steps looked at changed no weight: {why}.")]


def _some(names: list[str]) -> str:
    shown = ", ".join(map(layer_name, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _capital(text: str) -> str:
    """A sentence that begins with words begins with a capital; the name of a layer stays as it is."""
    return text[:1].upper() + text[1:] if text.startswith("layer ") else text
