"""What a graph computes, as plain data, and how it is built with the frontend's calls.

A `Description` names the kind of graph, its tensors (sizes, steps in elements, dtype) and its options. It is the key
under which a plan is kept, and all that a builder reads. A tensor's number in the description, from 1 on, is its uid in
the graph, so a plan that was loaded from disk is called like one that was just built.

Sizes are always logical, (N, C, ...); the layout is in the strides alone. Numbers (epsilon, momentum) are handed over
as addresses of float32 values on the host, so that one plan serves all. It has not run on a GPU yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["BUILDERS", "Description", "Slot", "build", "number"]

Ints = tuple[int, ...]

#: dtype -> the frontend's name for it
DTYPES = {
    "float16": "HALF",
    "bfloat16": "BFLOAT16",
    "float32": "FLOAT",
    "float64": "DOUBLE",
    "bool": "BOOLEAN",
    "int64": "INT64",
}


class Slot(NamedTuple):
    """A tensor of a graph. `host`: a single number, handed over as the address of a float32 on the host."""

    dim: Ints
    stride: Ints
    dtype: str
    host: bool = False


class Description(NamedTuple):
    """A graph: its kind, its tensors by name (inputs, then results), and whatever else decides what it computes."""

    kind: str
    slots: tuple[tuple[str, Slot], ...]
    options: tuple[tuple[str, Any], ...] = ()

    def option(self, name: str) -> Any:
        """The option called `name`; None where there is none."""
        return dict(self.options).get(name)


def number(rank: int) -> Slot:
    """The slot of a number on the host, of as many dimensions as the tensors that it meets."""
    return Slot((1,) * rank, (1,) * rank, "float32", host=True)


class _Maker:
    """Makes the tensors of a graph as the description has them."""

    def __init__(self, cudnn: Any, graph: Any, description: Description) -> None:
        self.cudnn, self.graph, self.description = cudnn, graph, description
        self.uids = {name: i + 1 for i, (name, _) in enumerate(description.slots)}
        self.slots = dict(description.slots)
        self.option = description.option

    def __contains__(self, name: str) -> bool:
        return name in self.slots

    def dtype(self, name: str) -> Any:
        return getattr(self.cudnn.data_type, DTYPES[self.slots[name].dtype])

    def given(self, name: str) -> Any:
        """The input called `name`, a tensor of the graph."""
        slot = self.slots[name]
        return self.graph.tensor(
            name=name,
            dim=list(slot.dim),
            stride=list(slot.stride),
            data_type=self.dtype(name),
            is_pass_by_value=slot.host,
            uid=self.uids[name],
        )

    def result(self, name: str, tensor: Any) -> Any:
        """`tensor` becomes the result called `name`. An inferred stride is channels-last always, so it is set."""
        slot = self.slots[name]
        tensor.set_output(True).set_uid(self.uids[name]).set_data_type(self.dtype(name))
        tensor.set_dim(list(slot.dim)).set_stride(list(slot.stride))
        return tensor


# -- convolution ------------------------------------------------------------------------------------------------------


def _geometry(m: _Maker) -> dict[str, Any]:
    pairs = m.option("padding")
    return {
        "pre_padding": [before for before, _ in pairs],
        "post_padding": [after for _, after in pairs],
        "stride": list(m.option("stride")),
        "dilation": list(m.option("dilation")),
    }


def _conv(m: _Maker) -> None:
    """y = conv(x, w) [+ b]."""
    y = m.graph.conv_fprop(image=m.given("x"), weight=m.given("w"), **_geometry(m))
    if "b" in m:
        y = m.graph.bias(input=y, bias=m.given("b"))
    m.result("y", y)


def _conv_input(m: _Maker) -> None:
    """x, of which conv(x, w) is to have the gradient y."""
    m.result("x", m.graph.conv_dgrad(loss=m.given("y"), filter=m.given("w"), **_geometry(m)))


def _conv_weight(m: _Maker) -> None:
    m.result("w", m.graph.conv_wgrad(image=m.given("x"), loss=m.given("y"), **_geometry(m)))


# -- normalisation ----------------------------------------------------------------------------------------------------


def _batch_norm(m: _Maker) -> None:
    """y [+ other], [ReLU], mean, inverse deviation, and the running statistics after a step of `momentum`."""
    y, mean, inverse, next_mean, next_variance = m.graph.batchnorm(
        input=m.given("x"),
        scale=m.given("scale"),
        bias=m.given("bias"),
        in_running_mean=m.given("running_mean"),
        in_running_var=m.given("running_variance"),
        epsilon=m.given("eps"),
        momentum=m.given("momentum"),
    )
    if "other" in m:
        y = m.graph.add(a=y, b=m.given("other"))
    if m.option("relu"):
        y = m.graph.relu(input=y)
    m.result("y", y)
    m.result("mean", mean)
    m.result("inverse", inverse)
    m.result("next_mean", next_mean)
    m.result("next_variance", next_variance)


def _batch_norm_grad(m: _Maker) -> None:
    """dx, dscale, dbias; with a ReLU after it, whose result is `y`, the gradient passes where y > 0 ([as dother])."""
    g = m.given("g")
    if "y" in m:
        passed = m.graph.cmp_gt(input=m.given("y"), comparison=m.given("zero"))
        passed.set_data_type(m.cudnn.data_type.BOOLEAN)
        g = m.graph.scale(input=g, scale=passed).set_data_type(m.dtype("g"))
        if "dother" in m:
            m.result("dother", g)
    dx, dscale, dbias = m.graph.batchnorm_backward(
        grad=g, input=m.given("x"), scale=m.given("scale"), mean=m.given("mean"), inv_variance=m.given("inverse")
    )
    m.result("dx", dx)
    m.result("dscale", dscale)
    m.result("dbias", dbias)


def _layer_norm(m: _Maker) -> None:
    y, mean, inverse = m.graph.layernorm(
        norm_forward_phase=m.cudnn.norm_forward_phase.TRAINING,
        input=m.given("x"),
        scale=m.given("scale"),
        bias=m.given("bias"),
        epsilon=m.given("eps"),
    )
    m.result("y", y)
    m.result("mean", mean)
    m.result("inverse", inverse)


def _layer_norm_grad(m: _Maker) -> None:
    dx, dscale, dbias = m.graph.layernorm_backward(
        grad=m.given("g"),
        input=m.given("x"),
        scale=m.given("scale"),
        mean=m.given("mean"),
        inv_variance=m.given("inverse"),
    )
    m.result("dx", dx)
    m.result("dscale", dscale)
    m.result("dbias", dbias)


def _rms_norm(m: _Maker) -> None:
    y, inverse = m.graph.rmsnorm(
        norm_forward_phase=m.cudnn.norm_forward_phase.TRAINING,
        input=m.given("x"),
        scale=m.given("scale"),
        epsilon=m.given("eps"),
    )
    m.result("y", y)
    m.result("inverse", inverse)


def _rms_norm_grad(m: _Maker) -> None:
    dx, dscale, _ = m.graph.rmsnorm_backward(
        grad=m.given("g"), input=m.given("x"), scale=m.given("scale"), inv_variance=m.given("inverse"), has_dbias=False
    )
    m.result("dx", dx)
    m.result("dscale", dscale)


# -- attention --------------------------------------------------------------------------------------------------------


def _attending(m: _Maker) -> dict[str, Any]:
    """What forward and backward are told alike."""
    told: dict[str, Any] = {"attn_scale": m.option("scale")}
    if m.option("causal"):
        told |= {"diagonal_alignment": m.cudnn.diagonal_alignment.TOP_LEFT, "diagonal_band_right_bound": 0}
    if "bias" in m:
        told["bias"] = m.given("bias")
    if "seed" in m:
        told["dropout"] = (m.option("dropout"), m.given("seed"), m.given("offset"))
    elif "kept" in m:
        scales = [m.given(name) for name in ("keep_scale", "keep_inverse") if name in m]
        told["dropout"] = (m.given("kept"), *scales)
    return told


def _attention(m: _Maker) -> None:
    """o = dropout(softmax(q kᵀ scale [+ bias])) v, and the logarithms of the sums."""
    told = _attending(m)
    o, sums = m.graph.sdpa(q=m.given("q"), k=m.given("k"), v=m.given("v"), generate_stats=True, **told)
    m.result("o", o)
    m.result("sums", sums)


def _attention_grad(m: _Maker) -> None:
    told = _attending(m)
    if "dbias" in m:
        slot = m.slots["dbias"]
        told["dBias"] = m.graph.tensor(
            name="dbias",
            dim=list(slot.dim),
            stride=list(slot.stride),
            data_type=m.dtype("dbias"),
            uid=m.uids["dbias"],
        )
    if m.option("deterministic"):
        told["use_deterministic_algorithm"] = True
    dq, dk, dv = m.graph.sdpa_backward(
        q=m.given("q"),
        k=m.given("k"),
        v=m.given("v"),
        o=m.given("o"),
        dO=m.given("do"),
        stats=m.given("sums"),
        **told,
    )
    m.result("dq", dq)
    m.result("dk", dk)
    m.result("dv", dv)


BUILDERS: dict[str, Callable[[_Maker], None]] = {
    "attention": _attention,
    "attention.grad": _attention_grad,
    "batch_norm": _batch_norm,
    "batch_norm.grad": _batch_norm_grad,
    "conv": _conv,
    "conv_input": _conv_input,
    "conv_weight": _conv_weight,
    "layer_norm": _layer_norm,
    "layer_norm.grad": _layer_norm_grad,
    "rms_norm": _rms_norm,
    "rms_norm.grad": _rms_norm_grad,
}


def build(cudnn: Any, description: Description, **where: Any) -> Any:
    """The frontend's graph of `description`, without plans. `where`: a handle, or the properties of a device."""
    kinds = cudnn.data_type
    wide = "DOUBLE" if any(slot.dtype == "float64" for _, slot in description.slots) else "FLOAT"
    graph = cudnn.pygraph(
        io_data_type=getattr(kinds, DTYPES[description.slots[0][1].dtype]),
        intermediate_data_type=getattr(kinds, wide),
        compute_data_type=getattr(kinds, wide),
        **where,
    )
    BUILDERS[description.kind](_Maker(cudnn, graph, description))
    return graph
