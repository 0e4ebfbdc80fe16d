"""Recurrent layers and cells: Elman's network, LSTM, GRU. The ops are in autograd/ops/recurrent.py."""

from __future__ import annotations

import math
import warnings
from typing import Any

from ..autograd import Tensor
from ..autograd.creation import empty
from ..autograd.modes import MODES
from ..autograd.ops import recurrent
from . import init
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

_GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


class RNNBase(Module):
    """Base of `RNN`, `LSTM` and `GRU`: `num_layers` layers, each in one direction or both (bidirectional), dropout
    between.

    Parameters of layer k: weight_ih_lk (gates * H, features), weight_hh_lk (gates * H, P), bias_ih_lk and bias_hh_lk
    (gates * H), of an LSTM with `proj_size` P also weight_hr_lk (P, H); those backwards end in `_reverse`. input_size
    is the first layer's features, hidden_size H. All start uniform in ±1/√H. `mode`: "LSTM", "GRU", "RNN_TANH" or
    "RNN_RELU". Inputs are (T, B, input_size), with batch_first (B, T, input_size).
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.mode, self.input_size, self.hidden_size, self.num_layers = mode, input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        if isinstance(dropout, bool) or not 0 <= self.dropout <= 1:
            raise ValueError(
                "dropout should be a number in range [0, 1] representing the probability of an element being zeroed"
            )
        if self.dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects "
                f"num_layers greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3,
            )
        for name, kind in (("bias", bool), ("hidden_size", int)):
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} should be of type {kind.__name__}, got: {type(getattr(self, name)).__name__}")
        for name in ("hidden_size", "num_layers"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be greater than zero")
        if proj_size < 0:
            raise ValueError("proj_size should be a positive integer or zero to disable projections")
        if proj_size >= hidden_size:
            raise ValueError("proj_size has to be smaller than hidden_size")
        if mode not in _GATES:
            raise ValueError(f"Unrecognized RNN mode: {mode}")

        rows, outputs = _GATES[mode] * hidden_size, proj_size or hidden_size
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            features = input_size if layer == 0 else outputs * (1 + bidirectional)
            for direction in ("", "_reverse")[: 1 + bidirectional]:
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, features), "weight_hh": (rows, outputs)}
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = []
                for stem, shape in shapes.items():
                    names.append(f"{stem}_l{layer}{direction}")
                    setattr(self, names[-1], Parameter(empty(shape, device=device, dtype=dtype)))
                self._all_weights.append(names)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor]) -> None:
        for name, weight in zip(self._flat_weights_names, weights, strict=True):
            if weight is not getattr(self, name, None):
                setattr(self, name, weight)

    def flatten_parameters(self) -> None:
        """Nothing to do: on a GPU the weights are copied into the one block that cuDNN wants at each call."""

    def extra_repr(self) -> str:
        shown = f"{self.input_size}, {self.hidden_size}"
        for name, usual in (
            ("proj_size", 0),
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0),
            ("bidirectional", False),
        ):
            if getattr(self, name) != usual:
                shown += f", {name}={getattr(self, name)}"
        return shown

    # -- checks ---------------------------------------------------------------------------------------------------

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raise for an input of another dtype than the weights', or another number of dimensions or features."""
        have, want = input.dtype, self._flat_weights[0].dtype
        if have != want and MODES.get().autocast is None:
            raise ValueError(
                f"RNN input dtype ({have}) does not match weight dtype ({want}). Convert input: input.to({want}), or "
                f"convert model: model.to({have})"
            )
        dims = 3 if batch_sizes is None else 2
        if input.dim() != dims:
            raise RuntimeError(f"input must have {dims} dimensions, got {input.dim()}")
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                f"input.size(-1) must be equal to input_size. Expected {self.input_size}, got {input.size(-1)}"
            )

    def get_expected_hidden_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """The shape of h_0 for this input."""
        if batch_sizes is not None:
            batch = int(batch_sizes[0])
        else:
            batch = input.size(0) if self.batch_first else input.size(1)
        return self.num_layers * (1 + self.bidirectional), batch, self.proj_size or self.hidden_size

    def check_hidden_size(
        self, hx: Tensor, expected_hidden_size: Any, msg: str = "Expected hidden size {}, got {}"
    ) -> None:
        """Raise for a state of another shape."""
        if tuple(hx.size()) != tuple(expected_hidden_size):
            raise RuntimeError(msg.format(tuple(expected_hidden_size), list(hx.size())))

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raise for an input or a state that does not fit."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """The state with its sequences in another order."""
        return hx if permutation is None else hx.index_select(1, permutation)

    def _cr_check_state_dims(self, hx: Any, batched: bool) -> None:
        if hx.dim() != 2 + batched:
            kind = "batched 3-D" if batched else "unbatched 2-D"
            raise RuntimeError(f"For {kind} input, hx should also be {2 + batched}-D but got {hx.dim()}-D tensor")

    # -- computing ------------------------------------------------------------------------------------------------

    def _cr_states(self, hx: Any) -> tuple[Any, ...]:
        return (hx,)

    def _cr_hidden(self, states: Any) -> Any:
        return states[0]

    def _cr_run(self, input: Any, hx: Any) -> tuple[Any, Any]:
        settings = self._flat_weights, self.bias, self.num_layers, self.dropout, self.training, self.bidirectional
        if isinstance(input, PackedSequence):
            data, sizes, order, inverse = input
            hx = hx if hx is None else self.permute_hidden(hx, order)
            self._cr_check(data, hx, sizes)
            rows, *states = recurrent.stacked(self.mode, data, tuple(sizes.tolist()), self._cr_absent_or(hx), *settings)
            return PackedSequence(rows, sizes, order, inverse), self.permute_hidden(self._cr_hidden(states), inverse)
        name = self._get_name()
        if input.dim() not in (2, 3):
            shown = "1D tensor" if name == "RNN" and input.dim() == 1 else f"{input.dim()}D"
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {shown} instead")
        batched, along = input.dim() == 3, 0 if self.batch_first else 1
        if hx is not None:
            self._cr_check_state_dims(hx, batched)
        if not batched:
            input = input.unsqueeze(along)
            hx = hx if hx is None else self._cr_hidden([s.unsqueeze(1) for s in self._cr_states(hx)])
        self._cr_check(input, hx, None)
        output, *states = recurrent.padded(self.mode, input, self._cr_absent_or(hx), *settings, self.batch_first)
        if not batched:
            output, states = output.squeeze(along), [s.squeeze(1) for s in states]
        return output, self._cr_hidden(states)

    def _cr_absent_or(self, hx: Any) -> tuple[Any, ...]:
        return (None,) * (2 if self.mode == "LSTM" else 1) if hx is None else self._cr_states(hx)

    def _cr_check(self, input: Tensor, hx: Any, batch_sizes: Tensor | None) -> None:
        if hx is None:
            self.check_input(input, batch_sizes)
        else:
            self.check_forward_args(input, hx, batch_sizes)


class RNN(RNNBase):
    """Elman's network: h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh), or relu.

    RNN(input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
    bidirectional=False, device=None, dtype=None). Called with input (T, B, C), (B, T, C) with `batch_first`, (T, C) or
    a PackedSequence, and h_0 (layers * D, B, H) or None for zeros; returns (output (T, B, D * H), h_n like h_0), D = 2
    if bidirectional. Dropout is after all layers but the last.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if len(args) > 3:
            nonlinearity, args = args[3], (*args[:3], *args[4:])
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        self.nonlinearity = nonlinearity
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        return self._cr_run(input, hx)


class LSTM(RNNBase):
    """Long short-term memory: c ← f c + i g, h ← o tanh c, where i, f, o = σ(·) and g = tanh(·) of x, h and biases.

    LSTM(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
    proj_size=0, device=None, dtype=None). Called with input (T, B, C), (B, T, C) with `batch_first`, (T, C) or a
    PackedSequence, and (h_0 (layers * D, B, P), c_0 (layers * D, B, H)) or None for zeros; returns
    (output (T, B, D * P), (h_n, c_n)), D = 2 if bidirectional. With `proj_size` P, h ← W_hr h; else P = H. Dropout is
    after all layers but the last.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """The shape of c_0 for this input."""
        return (*self.get_expected_hidden_size(input, batch_sizes)[:2], self.hidden_size)

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        self.check_input(input, batch_sizes)
        expected = self.get_expected_hidden_size(input, batch_sizes), self.get_expected_cell_size(input, batch_sizes)
        for k in range(2):
            self.check_hidden_size(hidden[k], expected[k], f"Expected hidden[{k}] size {{}}, got {{}}")

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        if permutation is None:
            return hx
        return hx[0].index_select(1, permutation), hx[1].index_select(1, permutation)

    def _cr_check_state_dims(self, hx: Any, batched: bool) -> None:
        if hx[0].dim() != 2 + batched or hx[1].dim() != 2 + batched:
            kind = "batched 3-D" if batched else "unbatched 2-D"
            raise RuntimeError(
                f"For {kind} input, hx and cx should also be {2 + batched}-D but got ({hx[0].dim()}-D, "
                f"{hx[1].dim()}-D) tensors"
            )

    def _cr_states(self, hx: Any) -> tuple[Any, ...]:
        return tuple(hx)

    def _cr_hidden(self, states: Any) -> Any:
        return tuple(states)

    def forward(self, input: Any, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Any, tuple[Tensor, Tensor]]:
        return self._cr_run(input, hx)


class GRU(RNNBase):
    """Gated recurrent unit: r, z = σ(·), n = tanh(W_in x + b_in + r (W_hn h + b_hn)), h ← (1 - z) n + z h.

    GRU(input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False,
    device=None, dtype=None). Shapes and call are those of `RNN`. Source: K. Cho et al., "Learning phrase
    representations using RNN encoder-decoder", 2014, who apply r before W_hn, and call 1 - z what is z here.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        return self._cr_run(input, hx)


# -- cells ------------------------------------------------------------------------------------------------------------


class RNNCellBase(Module):
    """Base of the cells, which compute one step: weight_ih (chunks * H, C), weight_hh (chunks * H, H), biases.

    C = input_size, H = hidden_size, chunks = num_chunks: one, or as many as there are gates. All start uniform in
    ±1/√H.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = num_chunks * hidden_size
        self.weight_ih = Parameter(empty(rows, input_size, device=device, dtype=dtype))
        self.weight_hh = Parameter(empty(rows, hidden_size, device=device, dtype=dtype))
        for name in ("bias_ih", "bias_hh"):
            self.register_parameter(name, Parameter(empty(rows, device=device, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        shown = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            shown += f", bias={self.bias}"
        nonlinearity = getattr(self, "nonlinearity", "tanh")
        return shown if nonlinearity == "tanh" else f"{shown}, nonlinearity={nonlinearity}"

    def _cr_step(self, function: Any, input: Tensor, states: tuple[Any, ...]) -> tuple[Tensor, ...]:
        """The new states; a state that is None is zeros. Input (C) is a batch of one."""
        alone = input.dim() == 1
        if input.dim() not in (1, 2):
            raise ValueError(f"{self._get_name()}: Expected input to be 1D or 2D, got {input.dim()}D instead")
        x, given = input.unsqueeze(0) if alone else input, []
        batch, features = x.shape
        if features != self.input_size:
            raise RuntimeError(f"input has inconsistent input_size: got {features} expected {self.input_size}")
        for k, s in enumerate(states):
            if s is None:
                s = x.new_zeros(batch, self.hidden_size)
            elif s.dim() not in (1, 2):
                what = f"hx[{k}]" if len(states) > 1 else "hidden"
                raise ValueError(f"{self._get_name()}: Expected {what} to be 1D or 2D, got {s.dim()}D instead")
            elif alone:
                s = s.unsqueeze(0)
            rows, *width = s.shape
            if rows != batch or not width:
                raise RuntimeError(f"Input batch size {batch} doesn't match hidden{k} batch size {rows}")
            if width[0] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{k} has inconsistent hidden_size: got {width[0]}, expected {self.hidden_size}"
                )
            given.append(s)
        new = function(
            x, tuple(given) if len(given) > 1 else given[0], self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        )
        new = new if isinstance(new, tuple) else (new,)
        return tuple([s.squeeze(0) for s in new]) if alone else new


class RNNCell(RNNCellBase):
    """One step of `RNN`: h' = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu (`nonlinearity`); input (B, C), h (B, H).

    C = input_size, H = hidden_size; (C) and (H) without a batch. h: zeros if not given.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        cell = recurrent.rnn_tanh_cell if self.nonlinearity == "tanh" else recurrent.rnn_relu_cell
        return self._cr_step(cell, input, (hx,))[0]


class LSTMCell(RNNCellBase):
    """One step of `LSTM`: (h', c') of input (B, C) or (C) and (h, c), each (B, H) or (H), zeros if not given.

    C = input_size, H = hidden_size.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        if isinstance(hx, Tensor):
            raise TypeError("lstm_cell(): argument 'hx' (position 2) must be tuple of Tensors, not Tensor")
        h, c = self._cr_step(recurrent.lstm_cell, input, (None, None) if hx is None else tuple(hx))
        return h, c


class GRUCell(RNNCellBase):
    """One step of `GRU`: h' of input (B, C) or (C) and h (B, H) or (H), zeros if not given.

    C = input_size, H = hidden_size.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._cr_step(recurrent.gru_cell, input, (hx,))[0]
