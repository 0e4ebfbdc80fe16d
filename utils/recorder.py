"""A recorder of a training: what the lectures tell one to look at while a network learns, in three added lines.

    recorder = Recorder(model, optimizer, every=10)
    with recorder:
        for x, y in loader:
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)

The model is looked at in every tenth step. Then hooks hang in its layers and in the optimizer, copies of the parameters
are kept, and the numbers of the whole step are read in one go from the device. In the steps between there is no hook
and nothing is read: the numbers given to `step` wait on the device. Turned down: hooks that are always there and ask
whether they are wanted, which a step pays for in each layer.
"""

from __future__ import annotations

import contextlib
import math
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..autograd import Tensor, is_grad_enabled, no_grad
from ..autograd.tracking import recording
from ..backends import np
from .history import Curves, HistogramCurves, History
from .measures import RECTIFIERS, active_units, dense, histogram, norm, read, trained, unfinite

__all__ = ["Recorder"]

#: what is done with numbers that have been read
Note = Callable[..., None]


class Recorder:
    """Records losses, metrics, rates, gradients, updates, activations and dead units of a training, by layer.

    model: a Module, or None to record numbers alone. optimizer: one, a list or a dict of several, or None.

    every: the model is looked at in steps 0, every, 2·every, ...; 0: never. histograms: True for each step looked at,
    a number of steps (a multiple of `every`), or False. activations: whether layers' outputs are looked at.
    layers: names of the layers whose outputs are looked at; by default all modules that have none inside them. bins: of
    a histogram; of a tensor of more than `sample` elements, every k-th counts in it. writer: a SummaryWriter that gets
    the numbers while the training runs.

    A step ends where `step` is called: once for each update. Gradients are those that `optimizer.step` finds
    (accumulated, clipped, divided by a GradScaler's scale); without an optimizer, or where it makes no step, those that
    are there in `step`. Gradients and weights are recorded as norms √Σx², ratios are ‖w' - w‖ / ‖w‖ of the parameters w
    at the step's beginning and w' at its end, those of two dimensions or more. Outputs are those of calls that record
    gradients, so an evaluation under `no_grad` is not looked at: of the first call in the step the histogram, mean,
    deviation and share of zeros; dead units and elements that are not finite of all calls. A unit is a feature
    (dimension 1), dead where a ReLU module gives 0 for all samples of the step; of a module that is used in several
    places unit i counts as dead where it is so in all of them.

    Costs on one core: 10 µs a step between looks. A look takes 1.3 ms for a network of three small layers, as long as
    eight of its steps, and 25 ms for ResNet-18, half a step of four images of 32 x 32 pixels.

    With `chainrule.capture`, call `step` outside of the captured function. A replay runs no hooks, so there are
    gradients, ratios, weights and rates of captured steps, and outputs only of those before. Outside of its `with`
    block a recorder keeps the numbers that it is given, and nothing else.
    """

    def __init__(
        self,
        model: Any = None,
        optimizer: Any = None,
        *,
        every: int = 10,
        histograms: bool | int = True,
        activations: bool = True,
        layers: Iterable[str] | None = None,
        bins: int = 50,
        sample: int = 20_000,
        writer: Any = None,
    ) -> None:
        if every < 0 or bins < 1 or sample < 1:
            raise ValueError(f"every is 0 or more, bins and sample are 1 or more, not {every}, {bins}, {sample}")
        self.model, self.every, self.bins, self.sample = model, every, bins, sample
        self.histograms = int(histograms) if histograms is not True else every
        if self.histograms < 0 or (self.histograms and every and self.histograms % every):
            raise ValueError(f"histograms every {self.histograms} steps, but the model is looked at every {every}")
        self.optimizers: dict[str, Any] = _named(optimizer)
        self.layers = _leaves(model, layers) if model is not None and activations else {}
        self.writer = writer
        settings = {"every": every, "bins": bins, "sample": sample}
        kinds = {name: type(module).__name__ for name, module in self.layers.items()}
        self._history = History(info={**_described(model, self.optimizers), **settings, "layers": kinds})
        #: numbers on the device, and what to do with them once they are read
        self._waiting: list[tuple[list[Tensor], Note]] = []
        self._written: dict[tuple[str, str], int] = {}
        self._watchers: list[Any] = []
        #: the number of the last step in which the model was looked at; -1: none yet
        self.looked_at = -1
        self._inside = False
        self._look: _Look | None = None
        self._started: float | None = None
        #: a replay runs no hooks; hooks would make `capture` record once more
        self._captured = False

    # -- while it runs ------------------------------------------------------------------------------------------------

    def __enter__(self) -> Recorder:
        if self._inside:
            raise RuntimeError("this recorder is recording already")
        self._inside = True
        try:
            self._begin()
        except BaseException:
            self._inside = False
            raise
        return self

    def __exit__(self, *error: Any) -> None:
        self._inside = False
        if self._look is not None:
            self._look.close()
            self._look = None
        if error[0] is None:
            self._read()
        for watcher in self._watchers:
            watcher.close()

    def _begin(self) -> None:
        """Start the next step, with a look at the model where one is due."""
        if self._inside and self.model is not None and self.every and self.steps % self.every == 0:
            self._look = _Look(self, bool(self.histograms) and self.steps % self.histograms == 0)
        self._started = time.perf_counter() if self._inside else None

    @property
    def steps(self) -> int:
        """How many steps there were; the number of the one under way."""
        return self._history.steps

    def step(self, **values: Any) -> None:
        """End a step, with its loss and metrics: numbers, or tensors of one element, which are read later."""
        number = self.steps
        if recording() is not None:
            raise RuntimeError("call the recorder's step() outside of the captured function: a replay runs no Python")
        if self._started is not None:
            self._history.costs.add("seconds", number, time.perf_counter() - self._started)
        self._keep(number, values)
        look, self._look = self._look, None
        if look is not None:
            self._waiting += look.finish(number)
            self.looked_at = number
        self._history.steps += 1
        if look is not None or len(self._waiting) > 1000:
            self._read()
        for watcher in self._watchers:
            watcher(self)
        self._begin()

    def log(self, **values: Any) -> None:
        """Add numbers to the last step that ended: a validation loss, say."""
        self._keep(max(self.steps - 1, 0), values)

    def _keep(self, number: int, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            note = _curve(self._history.values, name, number)
            if isinstance(value, Tensor):
                if value.numel() != 1:
                    shape = tuple(value.shape)
                    raise ValueError(f"{name} is a number or a tensor of one element, not of shape {shape}")
                # a copy: a captured step writes its next result over this one
                self._waiting.append(([value.detach().clone()], note))
            elif self._waiting:  # everything in the order in which it came
                self._waiting.append(([], partial(note, [float(value)])))
            else:
                note([float(value)])

    def _read(self) -> None:
        """Read what waits on the device, and write it down."""
        waiting, self._waiting = self._waiting, []
        found = iter(read([t for tensors, _ in waiting for t in tensors]))
        for tensors, note in waiting:
            note(*[next(found) for _ in tensors])
        if self.writer is not None:
            self._history.to_tensorboard(self.writer, self._written)

    # -- what there is ------------------------------------------------------------------------------------------------

    @property
    def known(self) -> History:
        """What was recorded and read; waits for nothing."""
        return self._history

    def latest(self) -> dict[str, float]:
        """The last value of each number that was logged, as far as they are known; waits for nothing."""
        values = self._history.values
        return {name: values.rows(name, -1)[0][1] for name in values}

    @property
    def history(self) -> History:
        """What was recorded; waits for numbers that are still on the device."""
        if self._waiting:
            self._read()
        return self._history

    def save(self, path: Any) -> None:
        """Write the history to an .npz file, whole or not at all."""
        self.history.save(path)

    def load(self, path: Any, steps: int | None = None) -> None:
        """Go on where a saved history ends, or at its step number `steps`, forgetting what came later."""
        history = History.load(path)
        if history.info.get("bins", self.bins) != self.bins:
            raise ValueError(f"{path} has histograms of {history.info['bins']} bins, this recorder of {self.bins}")
        if steps is not None:
            history.cut(steps)
        if self._inside:
            raise RuntimeError("load a history before the `with` block")
        self._history, self._waiting = history, []

    def to_tensorboard(self, writer: Any) -> None:
        """Write the whole history to a SummaryWriter or a folder; see `History.to_tensorboard`."""
        self.history.to_tensorboard(writer)

    def report(
        self, path: Any, title: str = "Training", *, summary: str | None = None, config: Mapping[str, Any] | None = None
    ) -> Path:
        """Write the history as one HTML page, which needs no network; see `run_report.write_report`.

        summary: a text about the model, such as `str(explain.summary(model, x))`; by default its `repr`. config:
        settings of the run, shown as a table.
        """
        from .run_report import write_report

        text = repr(self.model) if summary is None and self.model is not None else summary
        return write_report(self.history, path, title, summary=text, config=config)

    def live(self, total: int | None = None) -> Recorder:
        """Show the training while it runs; returns the recorder itself.

        In a notebook one figure that is drawn anew at each look (matplotlib); on a terminal tqdm's bar; elsewhere, in a
        log say, a line of text now and then. total: how many steps there will be.
        """
        from .progress import watcher

        self._watchers.append(watcher(total))
        return self


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without recording, and without NumPy's warnings of Inf and NaN, which are written down instead."""
    with no_grad(), np.errstate(all="ignore"):
        yield


def _curve(curves: Curves, name: str, step: int) -> Note:
    """Writes one number that was read into a curve."""
    return lambda value: curves.add(name, step, float(value[0]))


def _named(optimizer: Any) -> dict[str, Any]:
    if optimizer is None:
        return {}
    if isinstance(optimizer, Mapping):
        return {f"{name}.": o for name, o in optimizer.items()}
    if isinstance(optimizer, (list, tuple)):
        return {f"{i}." if len(optimizer) > 1 else "": o for i, o in enumerate(optimizer)}
    return {"": optimizer}


def _described(model: Any, optimizers: Mapping[str, Any]) -> dict[str, Any]:
    """What the history says of the model, its optimizers and the machine."""
    said: dict[str, Any] = {}
    if model is not None:
        parameters = list(model.parameters())
        said |= {"model": type(model).__name__, "parameters": sum(p.numel() for p in parameters)}
        said |= {"device": ", ".join(sorted({str(p.device) for p in parameters}))}
    said |= {f"{name}optimizer": " ".join(repr(o).split()) for name, o in optimizers.items()}
    package = __name__.partition(".")[0]
    said |= {package: sys.modules[package].__version__, "Python": platform.python_version(), "NumPy": np.__version__}
    return said | {"machine": f"{platform.system()} {platform.machine()}"}


def _leaves(model: Any, names: Iterable[str] | None) -> dict[str, Any]:
    """The layers to look at, by name."""
    modules = dict(model.named_modules())
    if names is None:
        return {n: m for n, m in modules.items() if not any(True for _ in m.children())}
    names = list(names)
    unknown = [n for n in names if n not in modules]
    if unknown:
        raise ValueError(f"the model has no layer {unknown[0]!r}; it has {', '.join(filter(None, modules))}")
    return {n: modules[n] for n in names}


class _Hook:
    """A hook for as long as a look lasts. A copy of the model, deep or pickled, has one that does nothing."""

    def __init__(self, function: Callable[..., None] | None = None) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> None:
        if self.function is not None:
            self.function(*arguments)

    def __reduce__(self) -> Any:
        return _Hook, ()


class _Look:
    """One step in which the model is looked at: its hooks, and what they found, on the device."""

    def __init__(self, recorder: Recorder, histograms: bool) -> None:
        self.recorder, self.histograms = recorder, histograms
        self.parameters = trained(recorder.model)
        self.before = {n: p.detach().clone() for n, p in self.parameters.items()}
        self.rates: dict[str, Any] = {}
        #: of each parameter: the norm of its gradient, how many elements are not finite, counts and edges
        self.gradients: dict[str, list[Tensor]] = {}
        #: of each layer: mean, deviation and share of zeros, counts and edges
        self.outputs: dict[str, list[Tensor]] = {}
        self.unfinite: dict[str, Tensor] = {}
        self.alive: dict[str, Tensor] = {}
        self._note_rates(recorder.optimizers)
        with contextlib.ExitStack() as stack:  # half of the hooks are none
            if not recorder._captured:
                for name, module in recorder.layers.items():
                    stack.callback(module.register_forward_hook(_Hook(self._seen(name))).remove)
                for prefix, optimizer in recorder.optimizers.items():
                    stack.callback(optimizer.register_step_pre_hook(_Hook(self._stepping(prefix))).remove)
            self.hooks = stack.pop_all()

    def close(self) -> None:
        """Take the hooks out."""
        self.hooks.close()

    def _note_rates(self, optimizers: Mapping[str, Any]) -> None:
        for prefix, optimizer in optimizers.items():
            groups = optimizer.param_groups
            for i, group in enumerate(groups):
                rate = group["lr"]
                name = f"{prefix}lr.{i}" if len(groups) > 1 else f"{prefix}lr"
                self.rates[name] = rate.detach().clone() if isinstance(rate, Tensor) else float(rate)

    # -- hooks --------------------------------------------------------------------------------------------------------

    def _seen(self, name: str) -> Callable[[Any, Any, Any], None]:
        def hook(module: Any, arguments: Any, output: Any) -> None:
            if recording() is not None:
                self.recorder._captured = True
                return
            output = output[0] if isinstance(output, tuple) and output else output
            if not isinstance(output, Tensor) or not output.is_floating_point() or not output.numel():
                return
            if not is_grad_enabled():
                return
            with _quietly():
                self._look_at(name, module, output.detach())

        return hook

    def _look_at(self, name: str, module: Any, output: Tensor) -> None:
        bad = unfinite(output)
        self.unfinite[name] = self.unfinite[name] + bad if name in self.unfinite else bad
        if isinstance(module, RECTIFIERS):
            active = active_units(output)
            former = self.alive.get(name, active)
            self.alive[name] = active | former if former.shape == active.shape else former
        if name not in self.outputs:
            wide = output.float() if output.element_size() < 4 else output
            mean, count = wide.mean(), output.numel()
            found = [mean, norm(wide - mean) / math.sqrt(count), (output == 0).sum() / count]
            self.outputs[name] = found + self._histogram(output)

    def _histogram(self, x: Tensor) -> list[Tensor]:
        if not self.histograms:
            return []
        flat = x.reshape(-1)
        # odd, so that it does not fall into step with dimensions that are powers of two
        stride = -(-flat.numel() // self.recorder.sample) | 1
        return list(histogram(flat[::stride] if flat.numel() > self.recorder.sample else flat, self.recorder.bins))

    def _stepping(self, prefix: str) -> Callable[[Any, Any, Any], None]:
        def hook(optimizer: Any, arguments: Any, options: Any) -> None:
            if recording() is not None:
                self.recorder._captured = True
                return
            self._note_rates({prefix: optimizer})
            own = {id(p) for group in optimizer.param_groups for p in group["params"]}
            self._note_gradients(own, getattr(optimizer, "grad_scale", None))

        return hook

    def _note_gradients(self, which: set[int], scale: Tensor | None = None) -> None:
        """Measure the gradients of the parameters whose `id` is in `which`, divided by a scale."""
        with _quietly():
            for name, p in self.parameters.items():
                if id(p) not in which or p.grad is None:
                    continue
                g = dense(p.grad)
                if scale is not None:
                    g = g.float() / scale
                self.gradients[name] = [norm(g), unfinite(g), *(self._histogram(g) if p.ndim > 1 else [])]

    # -- the end of the step ------------------------------------------------------------------------------------------

    def finish(self, step: int) -> list[tuple[list[Tensor], Note]]:
        """Take the hooks out; what the step showed, still on the device, and how it is to be written down."""
        self.close()
        self._note_gradients({id(p) for n, p in self.parameters.items() if n not in self.gradients})
        history = self.recorder._history
        found: list[tuple[list[Tensor], Note]] = []
        for name, rate in self.rates.items():
            if isinstance(rate, Tensor):
                found.append(([rate], _curve(history.rates, name, step)))
            else:
                history.rates.add(name, step, rate)
        memory = _memory(next(iter(self.parameters.values()), None))
        if memory is not None:
            history.costs.add("memory", step, memory)
        for name, tensors in self.outputs.items():
            found.append((tensors, _output(history, name, step)))
        for name, alive in self.alive.items():
            found.append(([(~alive).sum()], _dead(history, name, step, alive.numel())))
        for name, (size, _, *bars) in self.gradients.items():
            found.append(([size, *bars], _gradient(history, name, step)))
        # in the order in which they arise: the backward pass begins with the last layer
        bad = [(f"output of {name}", count) for name, count in self.unfinite.items()]
        bad += [(f"gradient of {name}", self.gradients[name][1]) for name in reversed(self.gradients)]
        found += [([count], _fault(history, what, step)) for what, count in bad]
        with _quietly():
            for name, before in self.before.items():
                p = self.parameters[name].detach()
                tensors = [norm(before), norm(p - before)] if p.ndim > 1 else [norm(before)]
                found.append((tensors, _weight(history, name, step)))
        return found


def _output(history: History, name: str, step: int) -> Note:
    def note(mean: Any, deviation: Any, zeros: Any, *bars: Any) -> None:
        for curves, value in ((history.means, mean), (history.deviations, deviation), (history.zeros, zeros)):
            curves.add(name, step, float(value[0]))
        _bars(history.activations, name, step, bars)

    return note


def _gradient(history: History, name: str, step: int) -> Note:
    def note(size: Any, *bars: Any) -> None:
        history.gradients.add(name, step, float(size[0]))
        _bars(history.gradient_histograms, name, step, bars)

    return note


def _bars(curves: HistogramCurves, name: str, step: int, bars: tuple[Any, ...]) -> None:
    """Counts and edges, where there are any."""
    if bars:
        curves.add(name, step, *bars)


def _fault(history: History, what: str, step: int) -> Note:
    def note(count: Any) -> None:
        if count[0]:
            history.faults.add(what, step, float(count[0]))

    return note


def _dead(history: History, name: str, step: int, units: int) -> Note:
    def note(dead: Any) -> None:
        history.dead.add(name, step, float(dead[0]))
        history.units.add(name, step, units)

    return note


def _weight(history: History, name: str, step: int) -> Note:
    def note(weight: Any, *update: Any) -> None:
        history.weights.add(name, step, float(weight[0]))
        if update and weight[0]:  # what was 0 has no ratio
            history.ratios.add(name, step, float(update[0][0] / weight[0]))

    return note


def _memory(parameter: Tensor | None) -> float | None:
    """Bytes: what is allocated on the parameters' GPU; on the CPU what the process has, where Linux says it."""
    if parameter is not None and parameter.device.type == "cuda":
        from ..runtime import cuda

        return float(cuda.memory_allocated(parameter.device))
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return None
    import resource

    return float(pages) * resource.getpagesize()
