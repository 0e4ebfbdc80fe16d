"""A table of a model: its layers as they are called, with shapes, parameters, multiply-adds and memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import nn
from ..autograd import Tensor, no_grad
from ..autograd.errors import note
from ..autograd.random import fork_rng
from ..utils.flop_counter import FlopCounterMode
from ..utils.recorded import relative, tensors
from .inputs import Arguments, call_of, of_shapes
from .scope import looking

__all__ = ["Row", "Summary", "summary"]


@dataclass
class Row:
    """A layer in the table, with all that is inside it; calls of one layer from one place are added up.

    name: of the module inside the one that calls it; depth: 0 for the model. input_shapes and output_shapes: of the
    last call, one for each tensor. parameters: elements of all parameters inside, each once; shared: how many of them
    stand in a row above already. trainable: elements that want gradients. mult_adds and activations (bytes of the
    results of the layers inside) are sums over all calls. inner: the rows one level down.
    """

    name: str
    kind: str
    depth: int
    module: nn.Module = field(repr=False)
    calls: int = 0
    input_shapes: tuple[tuple[int, ...], ...] = ()
    output_shapes: tuple[tuple[int, ...], ...] = ()
    parameters: int = 0
    shared: int = 0
    trainable: int = 0
    mult_adds: int = 0
    activations: int = 0
    inner: list[Row] = field(default_factory=list, repr=False)

    def all(self) -> Iterator[Row]:
        """This row and those beneath it, from top to bottom."""
        yield self
        for row in self.inner:
            yield from row.all()


#: columns by torchinfo's names: what stands above, and a row's text
_COLUMNS = {
    "input_size": ("input shape", lambda row, whole: _shapes(row.input_shapes)),
    "output_size": ("output shape", lambda row, whole: _shapes(row.output_shapes) if row.calls else "not called"),
    "num_params": ("parameters", lambda row, whole: _parameters(row)),
    "params_percent": ("% of parameters", lambda row, whole: _percent(row.parameters - row.shared, whole.total_params)),
    "kernel_size": ("kernel", lambda row, whole: _kernel(row.module)),
    "groups": ("groups", lambda row, whole: str(getattr(row.module, "groups", ""))),
    "mult_adds": ("multiply-adds", lambda row, whole: f"{row.mult_adds:,}" if row.mult_adds else ""),
    "trainable": ("trainable", lambda row, whole: _trainable(row)),
}
_RIGHT = ("num_params", "params_percent", "groups", "mult_adds")
_DEFAULT = ("output_size", "num_params", "mult_adds", "trainable")


@dataclass(frozen=True)
class Summary:
    """What `summary` found; `str` is the table, which notebooks and prompts show by themselves.

    rows: the layers from top to bottom, the model itself first. memory: in bytes, {"input", "parameters", "buffers",
    "activations", "total"}. depth, col_names: which rows and columns the table has.
    """

    rows: tuple[Row, ...]
    memory: dict[str, int]
    depth: int | None = 3
    col_names: tuple[str, ...] = _DEFAULT

    @property
    def total_params(self) -> int:
        """Elements of all parameters, shared ones once."""
        return self.rows[0].parameters

    @property
    def trainable_params(self) -> int:
        """Elements of the parameters that want gradients."""
        return self.rows[0].trainable

    @property
    def mult_adds(self) -> int:
        """Multiply-adds of the products and convolutions in one forward pass of this input."""
        return self.rows[0].mult_adds

    @property
    def total_mult_adds(self) -> int:
        """The same as `mult_adds`, by torchinfo's name."""
        return self.mult_adds

    @property
    def untrainable_params(self) -> int:
        """Elements of parameters that want no gradients."""
        return self.total_params - self.trainable_params

    def row(self, name: str) -> Row:
        """The row of the layer with this path in the model, e.g. "layer1.0.conv1"; KeyError where there is none."""
        wanted = self.rows[0].module.get_submodule(name) if name else self.rows[0].module
        for row in self.rows:
            if row.module is wanted:
                return row
        raise KeyError(f"{name} has no row of its own: it is not called, and the row above says so")

    def __str__(self) -> str:
        lines = list(_drawn(self.rows[0], self.depth))
        ran = self.rows[0].calls
        columns = [c for c in self.col_names if ran or c not in ("input_size", "output_size", "mult_adds")]
        heads = ["layer", *[_COLUMNS[c][0] for c in columns]]
        cells = [[name, *[_COLUMNS[c][1](row, self) for c in columns]] for name, row in lines]
        widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
        right = [False, *[c in _RIGHT for c in columns]]
        text = [
            "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
            for row in (heads, *cells)
        ]
        rule = "─" * max(map(len, text))
        return "\n".join([text[0], rule, *text[1:], rule, *self._totals()])

    __repr__ = __str__

    def _totals(self) -> list[str]:
        kinds = [f"{self.trainable_params:,} trainable"]
        if self.untrainable_params:
            kinds.append(f"{self.untrainable_params:,} not")
        lines = [f"parameters     {self.total_params:,} ({', '.join(kinds)})"]
        ran = self.rows[0].calls
        if ran:
            lines.append(f"multiply-adds  {self.mult_adds:,}")
        shown = ("input", "parameters", "buffers", "activations") if ran else ("parameters", "buffers")
        parts = [f"{name} {_bytes(self.memory[name])}" for name in shown]
        return [*lines, f"memory         {', '.join(parts)}; together {_bytes(self.memory['total'])}"]


def summary(
    model: nn.Module,
    input: Any = None,
    batch_size: int | None = None,
    *,
    input_size: Any = None,
    input_data: Any = None,
    depth: int | None = 3,
    col_names: Sequence[str] = _DEFAULT,
    dtypes: Sequence[Any] | None = None,
    device: Any = None,
    batch_dim: int | None = None,
    mode: str = "eval",
    verbose: int = 0,
    **kwargs: Any,
) -> Summary:
    """The layers of a model as they are called, with output shapes, parameters, multiply-adds, and the memory needed.

    input (torchinfo: input_data): a tensor, a tuple of several, or a dict of keyword arguments; or a shape with the
    batch (torchinfo: input_size), a sequence of shapes, or a dict of them. Numbers of these shapes are drawn, of
    `dtypes`. A shape that the model does not take, or one given with batch_size or batch_dim, is without the batch, as
    in torchsummary. Without any input the table has parameters alone. `kwargs` are for the model.

    Multiply-adds are counted in the products and convolutions that really ran, whatever called them
    (`utils.flop_counter`): those of attention and of functional layers, too. Activations are the results of layers
    without layers inside, but for those in their input's memory (in place, views).

    The table is returned and not written, so that `print(summary(model, x))` shows it once. torchinfo and torchsummary
    write it by themselves, also where nothing takes the result: so does verbose=1.

    mode: "eval", "train", or "same" (as the modules are). The model, its buffers and the random numbers are afterwards
    as before. device: where the numbers are drawn, by default that of the model's first parameter, or to which given
    tensors are taken; the model stays where it is (torchinfo would move it). depth: of the rows shown, None for all.
    col_names: of input_size, output_size, num_params, params_percent, kernel_size, groups, mult_adds, trainable.
    TypeError for a model that is no Module, ValueError for other modes and columns.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"summary() takes a Module, not {type(model).__name__}")
    if mode not in ("eval", "train", "same"):
        raise ValueError(f'summary: mode is "eval", "train" or "same", not {mode!r}')
    unknown = [name for name in col_names if name not in _COLUMNS]
    if unknown:
        raise ValueError(f"summary: col_names are of {', '.join(_COLUMNS)}, not {', '.join(unknown)}")
    for name in ("cache_forward_pass", "col_width", "row_settings"):  # how torchinfo's tables look
        kwargs.pop(name, None)
    given = next((v for v in (input, input_data, input_size) if v is not None), None)
    batch = 1 if batch_size == -1 or (batch_size is None and batch_dim is not None) else batch_size

    def run(batch: int | None) -> tuple[Row, int]:
        call = call_of(model, given, batch=batch, batch_dim=batch_dim or 0, dtypes=dtypes, device=device)
        return _called(model, call, mode, kwargs), sum(t.nbytes for t in [*tensors(call[0]), *tensors(call[1])])

    with fork_rng():
        if given is None:
            top, size = _not_called(model), 0
        else:
            try:
                top, size = run(batch)
            except Exception as error:
                if of_shapes(given) and dtypes is None:
                    note(error, "of shapes alone floats are drawn: for other inputs give dtypes=[...], or tensors")
                if batch is not None or not of_shapes(given):
                    raise
                try:  # torchsummary's shapes are without the batch
                    top, size = run(1)
                except Exception:
                    raise error from None
    _count_parameters(top, set())
    memory = {
        "input": size,
        "parameters": sum(p.nbytes for p in model.parameters()),
        "buffers": sum(b.nbytes for b in model.buffers()),
        "activations": top.activations,
    }
    memory["total"] = sum(memory.values())
    found = Summary(tuple(top.all()), memory, depth, tuple(col_names))
    if verbose:
        sys.stdout.write(f"{found}\n")
    return found


def _not_called(model: nn.Module) -> Row:
    top = Row("", type(model).__name__, 0, model)
    _add_uncalled(top, set())
    return top


def _called(model: nn.Module, call: Arguments, mode: str, kwargs: dict[str, Any]) -> Row:
    """The row of the model and those beneath it, after a call."""
    top = Row("", type(model).__name__, 0, model)
    names = {module: name for name, module in model.named_modules()}
    stack: list[Row] = []
    begun: list[int] = []

    def enter(module: nn.Module, args: Any) -> None:
        row = top if not stack else next((r for r in stack[-1].inner if r.module is module), None)
        if row is None:
            row = Row(relative(names[module], names[stack[-1].module]), type(module).__name__, len(stack), module)
            stack[-1].inner.append(row)
        row.input_shapes = tuple([tuple(t.shape) for t in tensors(args)])
        stack.append(row)
        begun.append(counter.get_total_flops())

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        row = stack.pop()
        row.calls += 1
        row.mult_adds += (counter.get_total_flops() - begun.pop()) // 2
        results = tensors(output)
        row.output_shapes = tuple([tuple(t.shape) for t in results])
        if not row.inner:
            held = {_memory(t) for t in tensors(args)}
            new = sum(t.nbytes for t in results if _memory(t) not in held)
            for each in (*stack, row):
                each.activations += new

    modes = {module: module.training for module in names}
    try:
        with looking(model, training=mode != "eval") as look, FlopCounterMode(display=False) as counter, no_grad():
            if mode == "train":
                model.train()
            for module in names:
                look.pre_hook(module, enter)
                look.hook(module, leave)
            model(*call[0], **call[1], **kwargs)
    finally:
        for module, training in modes.items():
            module.training = training
    _add_uncalled(top, {row.module for row in top.all()})
    return top


def _memory(t: Tensor) -> Any:
    return t.untyped_storage().data_ptr()


def _add_uncalled(top: Row, called: set[nn.Module]) -> None:
    """Rows for the modules that were not called: the outermost ones, or all where none was."""
    seen: set[nn.Module] = set()

    def look_into(row: Row, module: nn.Module, prefix: str) -> None:
        if module in seen:
            return
        seen.add(module)
        for name, child in module.named_children():
            if child in called:
                continue
            if called and any(m in called for m in child.modules()):  # a list of layers, say
                look_into(row, child, f"{prefix}{name}.")
                continue
            found = Row(f"{prefix}{name}", type(child).__name__, row.depth + 1, child)
            row.inner.append(found)
            if not called:
                look_into(found, child, "")

    for row in list(top.all()):
        look_into(row, row.module, "")


def _count_parameters(row: Row, counted: set[nn.Parameter]) -> None:
    """Fill in the parameters of a row and those beneath; `counted`: those of rows that ended above."""
    inside = list(row.module.parameters())
    row.parameters = sum(p.numel() for p in inside)
    row.trainable = sum(p.numel() for p in inside if p.requires_grad)
    row.shared = sum(p.numel() for p in inside if p in counted)
    for row_inside in row.inner:
        _count_parameters(row_inside, counted)
    counted.update(inside)


# -- text -------------------------------------------------------------------------------------------------------------


def _drawn(row: Row, depth: int | None, before: str = "", mark: str = "", after: str = "") -> Iterator[tuple[str, Row]]:
    """(text of the first column, row) for the rows down to `depth`, as a tree."""
    times = f" ×{row.calls}" if row.calls > 1 else ""
    yield f"{before}{mark}{row.name}: {row.kind}{times}".replace(": ", "", not row.name), row
    if depth is None or row.depth < depth:
        for number, inner in enumerate(row.inner):
            last = number == len(row.inner) - 1
            yield from _drawn(inner, depth, before + after, "└─ " if last else "├─ ", "   " if last else "│  ")


def _shapes(shapes: tuple[tuple[int, ...], ...]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)


def _parameters(row: Row) -> str:
    if not row.shared:
        return f"{row.parameters:,}" if row.parameters else ""
    return f"{row.parameters - row.shared:,} + {row.shared:,} shared"


def _percent(n: int, total: int) -> str:
    return f"{100 * n / total:.2f}%" if n else ""


def _kernel(module: nn.Module) -> str:
    kernel = getattr(module, "kernel_size", None)
    return "" if kernel is None else str(list(kernel) if isinstance(kernel, tuple) else kernel)


def _trainable(row: Row) -> str:
    if not row.parameters:
        return ""
    return "yes" if row.trainable == row.parameters else "partly" if row.trainable else "no"


def _bytes(n: int) -> str:
    """With three digits and a unit; 1 kB = 1000 bytes."""
    value = float(n)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            break
        value /= 1000
    return f"{n} B" if unit == "B" else f"{value:.3g} {unit}"
