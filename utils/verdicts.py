"""What a recorded training shows, in plain words: what is wrong, what is odd, and what is as it should be.

Limits are rules of thumb, wide enough that a training without a fault gets no warning; each says where it comes from.
What noise could have made, or what too few numbers show, is not said.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from ..backends import np
from .history import Curves, History, Series
from .measures import HEALTHY

__all__ = ["UNSEEN", "Verdict", "layer_name", "training_losses", "verdicts", "words"]

#: how far outside of the healthy band updates may be before a word is said: half a decade
LEEWAY = 3.0
#: updates of more than this share of the weights at each step replace what was learned
WILD = 0.1
#: a slow layer's factor; in the lectures' example of vanishing gradients, four layers of sigmoids, it is about 100
SLOW = 30.0
#: the same of gradients, whose norms differ between layers of different sizes in a healthy network, too
FADED = 100.0
#: outputs' standard deviations that differ by this factor between first and last layer; they should be alike
#: (X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010). By default
#: weights and ReLU a linear layer's are 1/√6 of those of the one before, and yet networks of five layers train well
SPREAD = 100.0
#: shares of units that never answer. Small healthy ReLU networks have up to a quarter from the start; at rates that are
#: too high it may be 40 % and more (CS231n, "Convolutional Neural Networks for Visual Recognition", Stanford, notes)
SILENT, DEAD = 0.3, 0.5
#: a unit is taken for dead where it gave 0 in so many looks, one after the other: one batch may just not wake it
LOOKS = 5
#: fewer numbers than the first say nothing of a loss; fewer than the second not that it stands still
FEW, ENOUGH = 10, 20

#: words in the names of numbers that were measured on data that is not trained on
UNSEEN = frozenset(("val", "valid", "validation", "test", "eval", "dev"))


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


def words(name: str) -> list[str]:
    """The words of a number's name, in small letters: ["val", "loss"] of val_loss, val/loss and valLoss."""
    return [w for w in re.split(r"[^a-z0-9]+|(?=loss)|(?=acc)", name.lower()) if w]


def layer_name(name: str) -> str:
    """The layer of a parameter in words: "fc1" of fc1.weight, "layer 0" of 0.weight."""
    layer = name.removesuffix(".weight") or name
    return f"layer {layer}" if layer.replace(".", "").isdigit() else layer


def training_losses(history: History) -> list[str]:
    """The names of losses that are trained: "loss", or else all with that word which are no validation's."""
    names = [n for n in _losses(history) if UNSEEN.isdisjoint(words(n))]
    return ["loss"] if "loss" in names else names


def verdicts(history: History) -> list[Verdict]:
    """What the history shows, the worst first; an empty list where there is nothing to say.

    bad: a loss that became NaN or infinite, rose, jumped or hardly moved (by 2 %), beyond what noise explains; outputs
    and gradients that are not finite; layers whose ‖update‖ / ‖weight‖ is below 1e-4 and 30 times less than another's;
    updates above a tenth of the weights; half of a rectifier's units dead. note: updates 3 times beyond the healthy
    band, 1e-4 to 1e-2, 30 % of dead units, outputs 100 times wider or narrower in the last layer than in the first, a
    validation loss that rises while the training loss falls, weights that never change. Of several losses (those of a
    GAN, of an actor and a critic) it says only whether they are finite: none need fall.

    Sources: CS231n, "Convolutional Neural Networks for Visual Recognition", Stanford, notes (updates, dead units); X.
    Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010 (outputs).
    """
    dead = _dead(history)
    idle = _idle(history)
    speed = _speed(history, [name for name in history.ratios if name not in idle])
    explained = any(v.kind == "bad" for v in (*speed, *dead))
    found = [*_loss(history), *_faults(history), *_validation(history), *speed, *_band(history, explained), *dead]
    found += [*_spread(history), *_unused(history, idle), *_left_out(history)]
    if (
        history.steps
        and history.info.get("model")
        and history.info.get("every")
        and not (history.weights or history.means)
    ):
        found.append(Verdict("note", "The model was never looked at: train inside of the recorder's `with` block."))
    medians = _medians(history.ratios)
    if medians and not any(v.kind in ("bad", "note") for v in found):
        middle = float(np.median(list(medians.values())))
        if HEALTHY[0] <= middle <= HEALTHY[1]:
            found.append(Verdict("good", f"Every layer learns: updates are about {middle:.1g} of the weights."))
    return sorted(found, key=lambda v: ("bad", "note", "good").index(v.kind))


def _losses(history: History) -> list[str]:
    return [n for n in history.values if any(word.startswith("loss") for word in words(n))]


def _medians(curves: Curves) -> dict[str, float]:
    """The median of each series over what is finite and not 0."""
    found = {}
    for name, series in curves.items():
        used = series.values[np.isfinite(series.values) & (series.values > 0)]
        if used.size:
            found[name] = float(np.median(used))
    return found


# -- what is not finite -----------------------------------------------------------------------------------------------


def _first_fault(history: History) -> tuple[str, int] | None:
    """What was not finite first, and at which step; of one step what came first in it."""
    first = [(what, int(series.steps[0])) for what, series in history.faults.items()]
    return min(first, key=lambda pair: pair[1]) if first else None


def _place(what: str) -> str:
    """The name of a fault, with the layer in words."""
    kind, _, name = what.partition(" of ")
    return f"{kind} of {layer_name(name)}" if kind == "output" else what


def _broken(history: History) -> tuple[int, str] | None:
    """The first step at which a training loss was NaN or infinite, and that loss."""
    series = {name: history[name] for name in training_losses(history)}
    bad = [(int(s.steps[~np.isfinite(s.values)][0]), n) for n, s in series.items() if not np.isfinite(s.values).all()]
    return min(bad) if bad else None


def _faults(history: History) -> list[Verdict]:
    """Numbers that were not finite while the loss was."""
    fault = _first_fault(history)
    if fault is None or _broken(history):
        return []
    what, step = fault
    count = len({int(s) for series in history.faults.values() for s in series.steps})
    more = "" if count == 1 else f", and in {count} of the steps looked at"
    normal = "With a GradScaler a few such steps are normal: it leaves them out."
    return [Verdict("bad", f"The {_place(what)} was not finite at step {step}{more}. {normal}")]


def _unfinite(history: History, step: int, name: str) -> Verdict:
    """Of a loss that became NaN or infinite: where that began."""
    series = history[name]
    value = series.values[series.steps == step][0]
    said = f"{name} became {'NaN' if math.isnan(value) else 'infinite'} at step {step}"
    fault = _first_fault(history)
    if fault is None:
        return Verdict("bad", f"{said}. All outputs and gradients that were looked at are finite.")
    what, at = fault
    if at <= step:
        return Verdict("bad", f"{said}, first in the {_place(what)}{'' if at == step else f', step {at}'}.")
    looked = f"At step {at}, the next that was looked at, the first such place is the {_place(what)}"
    return Verdict("bad", f"{said}. {looked}; record with every=1 to see where it begins.")


# -- losses -----------------------------------------------------------------------------------------------------------


def _loss(history: History) -> list[Verdict]:
    broken, names = _broken(history), training_losses(history)
    if broken:
        return [_unfinite(history, *broken)]
    return _progress(names[0], history[names[0]], history.steps) if len(names) == 1 else []


def _progress(name: str, series: Series, count: int) -> list[Verdict]:
    """Whether a finite loss fell. Compared are medians over twentieths of the run, beyond what noise explains.

    The noise σ of one value is the median of |l_t - l_(t-1)| (1.05 times that for normal noise). The median of k values
    has the standard error 1.25 σ / √k, a difference of two such medians √2 times that; twice as much must be there.
    """
    steps, values = series
    few = Verdict("note", f"{name} was recorded {len(values)} times: too few to say whether it falls.")
    if len(values) < FEW:
        return [few]
    size = max(len(values) // 20, 3)
    parts = np.array_split(np.arange(len(values)), len(values) // size)
    middles = np.array([np.median(values[part]) for part in parts])
    noise = float(np.median(np.abs(np.diff(values))))
    error = 2 * math.sqrt(2) * 1.25 * noise / math.sqrt(size)
    first, begin, end, best = float(values[0]), float(middles[0]), float(middles[-1]), int(middles.argmin())
    start = first if abs(first - begin) > 3 * noise else begin  # what is no noise counts within the first part, too
    scale, advice = max(abs(start), 1e-12), "the learning rate may be too high"
    top, jump = int(values.argmax()), []
    if values[top] - start > max(4 * scale, 10 * noise):
        jump = [Verdict("bad", f"{name} jumped to {values[top]:.3g} at step {int(steps[top])}: {advice}.")]
        start = first  # a jump's end is no fall
    if end - start > max(0.05 * scale, error):
        said = f"from {min(first, start):.3g} to {end:.3g} in {count} steps"
        return jump or [Verdict("bad", f"{name} rose {said}: {advice}.")]
    high, fall, low = max(first, start), start - end, float(middles[best])
    said = f"from {high:.3g} to {end:.3g} in {count} steps"
    arrived = int(np.argmax(middles <= end + 0.02 * scale)) + 1
    found = Verdict("good", f"{name} fell {said}.")
    if start - low > max(0.05 * scale, error) and end - low > max(0.5 * (start - low), error):
        there = f"from {high:.3g} to {low:.3g} (about step {int(steps[parts[best][0]])})"
        found = Verdict("bad", f"{name} fell {there} and rose again to {end:.3g}: {advice}.")
    elif fall <= max(0.02 * scale, error) and len(values) < ENOUGH:
        found = few
    elif fall <= 0.02 * scale:
        found = Verdict("bad", f"{name} hardly moved, {said}.")
    elif fall <= error:
        found = Verdict("note", f"{name} went {said}; its noise hides whether that is a fall.")
    elif end > 0.5 * start and arrived <= len(parts) / 4:
        early = f"from {high:.3g} to {end:.3g} in the first {int(steps[parts[arrived][0]])} of {count} steps"
        found = Verdict("note", f"{name} fell {early}, and has stood still since.")
    return [*jump, found]


def _validation(history: History) -> list[Verdict]:
    """A validation loss that rose while the training loss fell: by a tenth of its best value, and beyond noise."""
    name = next((n for n in _losses(history) if not UNSEEN.isdisjoint(words(n))), None)
    if name is None or len(history[name].values) < 5 or not np.isfinite(history[name].values).all():
        return []
    steps, values = history[name]
    smooth = np.median([values[:-2], values[1:-1], values[2:]], axis=0)
    best = int(smooth.argmin()) + 1  # its place in `values`
    low, end = float(smooth[best - 1]), min(float(smooth[-1]), float(values[-1]))
    limit = max(0.1 * abs(low), 0.1 * (values[0] - low), 2 * np.median(np.abs(np.diff(values))))
    trained = [history[loss] for loss in training_losses(history)]
    if best >= 0.8 * (len(values) - 1) or end - low <= limit or not all(_fell_on(s, steps[best]) for s in trained):
        return []
    said = f"{name} was lowest at step {int(steps[best])} ({values[best]:.3g}) and rose to {values[-1]:.3g}"
    advice = "Keep the weights of that step (early stopping), or use more data, augmentation or regularisation."
    return [Verdict("note", f"{said}: from there on the network overfits. {advice}")]


def _fell_on(series: Series, step: int) -> bool:
    """Whether a loss is lower in the end than about a step."""
    before, after = series.values[series.steps <= step], series.values[series.steps > step]
    size = max(len(series.values) // 10, 1)
    return not (before.size and after.size) or bool(np.median(after[-size:]) < np.median(before[-size:]))


# -- layers -----------------------------------------------------------------------------------------------------------


def _speed(history: History, names: list[str]) -> list[Verdict]:
    """A layer that learns much slower than another, or whose gradient is much smaller, among weights that move."""
    pair = _far_apart(history.ratios, names, SLOW)
    if pair is not None and _medians(history.ratios)[pair[0]] < HEALTHY[0]:
        slow, fast, times, numbers = pair
        text = f"{layer_name(slow)} learns {times} times slower than {layer_name(fast)} (update / weight {numbers})."
        return [Verdict("bad", _capital(text) + _vanishing(history, slow, fast))]
    pair = _far_apart(history.gradients, names, FADED)
    if pair is None:
        return []
    slow, fast, times, numbers = pair
    text = f"The gradient of {slow} is {times} times smaller than that of {fast} ({numbers})."
    if _medians(history.ratios).get(slow, 0.0) >= HEALTHY[0]:  # Adam, say, divides by the gradient's size
        return [Verdict("note", f"{text} The optimizer makes up for it: the updates of both are large enough.")]
    return [Verdict("bad", text + _vanishing(history, slow, fast))]


def _far_apart(curves: Curves, names: list[str], factor: float) -> tuple[str, str, str, str] | None:
    """The weights with the least and the largest median, how many times it is, and both medians; None if it is less."""
    medians = {n: m for n, m in _medians(curves).items() if n in names}
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


def _band(history: History, explained: bool) -> list[Verdict]:
    """Updates out of the healthy band; where a slow layer or dead units are the reason only wildly large ones."""
    medians, found = _medians(history.ratios), []
    low, high = HEALTHY[0] / LEEWAY, HEALTHY[1] * LEEWAY
    for word, advice, names in (
        ("large", "a lower rate may do better", [n for n, m in medians.items() if m > high]),
        ("small", "a higher rate may do better", [n for n, m in medians.items() if m < low]),
    ):
        middle = float(np.median([medians[n] for n in names])) if names else 0.0
        if middle > WILD or (names and not explained):
            band = f"{HEALTHY[0]:.4f} to {HEALTHY[1]:g} is healthy"
            said = f"Updates are {word}, {middle:.1g} of the weights, in {_some(names)} ({band}): {advice}."
            found.append(Verdict("bad" if middle > WILD else "note", said))
    return found


def _dead(history: History) -> list[Verdict]:
    """Units that did not answer in the last looks; as many as in the look in which the fewest did not."""
    found, broken = [], _broken(history)
    quick = any((s.values[np.isfinite(s.values)] > HEALTHY[1]).any() for s in history.ratios.values())
    for name, series in history.dead.items():
        if broken:  # what follows is its consequence
            series = Series(*[column[series.steps < broken[0]] for column in series])
        if not len(series.steps):
            continue
        units, step = int(history.units[name].values[-1]), int(series.steps[-1])
        first, now, dead = (int(v) for v in (series.values[0], series.values[-1], series.values[-LOOKS:].min()))
        if dead >= SILENT * units:
            said = f"{now} of {units} units of {layer_name(name)} gave 0 for all samples of step {step}"
            if len(series.values) > 1:
                said += f": they learn nothing (at step {int(series.steps[0])}: {first})"
            why = "; a learning rate that is too high kills units" if quick and dead - first >= 0.1 * units else ""
            verdict = Verdict("bad" if dead >= DEAD * units else "note", _capital(f"{said}{why}."))
            found.append((dead / units, name, verdict))
    found.sort(key=lambda entry: -entry[0])
    told, more = [verdict for *_, verdict in found[:3]], [name for _, name, _ in found[3:]]
    return told + [Verdict("note", f"Dead units are many in {_some(more)}, too.")] * bool(more)


def _spread(history: History) -> list[Verdict]:
    """Outputs that shrink or grow from layer to layer at the first look."""
    names = [n for n in history.deviations if f"{n}.weight" in history.ratios]
    first = [(n, float(history.deviations[n].values[0])) for n in names]
    first = [(n, d) for n, d in first if math.isfinite(d) and d > 0]
    if len(first) < 3:
        return []
    (start, before), (end, after) = first[0], first[-1]
    if SPREAD > after / before > 1 / SPREAD:
        return []
    word = "shrink" if after < before else "grow"
    said = f"Outputs {word} from layer to layer at the start: their standard deviation is {before:.1g} in "
    return [
        Verdict("note", f"{said}{layer_name(start)} and {after:.1g} in {layer_name(end)}. Look at the initialisation.")
    ]


# -- what did not change ----------------------------------------------------------------------------------------------


def _idle(history: History) -> list[str]:
    """Weights that never changed, while others did."""
    idle = [name for name, series in history.ratios.items() if not series.values.any()]
    return idle if len(idle) < len(history.ratios) else []


def _unused(history: History, idle: list[str]) -> list[Verdict]:
    """Weights that want a gradient and stay as they are: a mistake, or a layer frozen in another way."""
    without = [n for n in idle if n not in history.gradients]
    zero = [n for n in idle if n in history.gradients and not history.gradients[n].values.any()]
    rest = [n for n in idle if n not in without and n not in zero]
    reasons = (
        (without, "no gradient arrives. Unused, or detached?"),
        (zero, "gradients of 0."),
        (rest, "not among the optimizer's parameters? What is to stay takes requires_grad_(False)."),
    )
    return [Verdict("note", _capital(f"{_some(names)} never changed: {why}")) for names, why in reasons if names]


def _left_out(history: History) -> list[Verdict]:
    """Steps that changed nothing, and why."""
    weights = [history.gradients[name] for name in history.ratios if name in history.gradients]
    looked = {int(step) for series in history.ratios.values() for step in series.steps}
    still = looked - _steps_of_some(history.ratios.values())
    unfinite = still & _steps_of_some(history.faults.values())
    stopped = still - _steps_of_some(history.rates.values()) - unfinite if history.rates else set()
    flat = still & {int(step) for series in weights for step in series.steps} - _steps_of_some(weights) - stopped
    reasons = (
        (unfinite, "gradients were not finite, and a GradScaler left the step out."),
        (stopped, "the learning rate was 0."),
        (flat, "their gradients were 0."),
        (
            still - unfinite - stopped - flat,
            "the optimizer made no step. The recorder's step() is called once for each update, not for each batch.",
        ),
    )
    return [
        Verdict("note", f"{len(steps)} of {len(looked)} steps looked at changed no weight: {why}")
        for steps, why in reasons
        if steps
    ]


def _steps_of_some(curves: Iterable[Series]) -> set[int]:
    """The steps at which any of the curves is not 0."""
    return {int(step) for steps, values in curves for step in steps[values != 0]}


def _some(names: list[str]) -> str:
    shown = ", ".join(map(layer_name, names[:3]))
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"


def _capital(text: str) -> str:
    """A sentence that begins with words begins with a capital; the name of a layer stays as it is."""
    return text[:1].upper() + text[1:] if text.startswith("layer ") else text
