"""Summaries as TensorBoard's event files hold them, for programs that write them by `FileWriter.add_summary`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from ...autograd import Tensor
from ...backends import np
from ..images import host
from .library import library

__all__ = ["hparams", "number"]

_KINDS = {bool: ("bool_value", "BOOL"), str: ("string_value", "STRING"), float: ("number_value", "FLOAT64")}


def number(x: Any) -> float:
    """A number, or a tensor or array of one element, as a float.

    ValueError for more elements, NotImplementedError for what is neither, such as a list.
    """
    if not isinstance(x, (Tensor, np.ndarray)) and not np.isscalar(x):
        raise NotImplementedError(f"Got {type(x)}, but a number, NumPy array or tensor is expected.")
    array = host(x)
    if array.size != 1:
        raise ValueError(f"scalar should be a number or have one element, not shape {tuple(array.shape)}")
    return float(array.reshape(()))


def hparams(
    hparam_dict: Mapping[str, Any],
    metric_dict: Mapping[str, Any],
    hparam_domain_discrete: Mapping[str, Sequence[Any]] | None = None,
) -> tuple[Any, Any, Any]:
    """What opens a table of hyper-parameters: three Summaries, of the experiment, its start and its end.

    hparam_dict: name -> number, string, truth value, or None, which is left out. metric_dict: its names are the
    metrics; the values are written apart, by `add_scalar`. hparam_domain_discrete: name -> the values to choose from.
    TypeError where the first two are no dicts, ValueError for a value of another type.
    """
    if not isinstance(hparam_dict, dict) or not isinstance(metric_dict, dict):
        raise TypeError("hparam_dict and metric_dict should be dictionary.")
    domains = hparam_domain_discrete or {}
    api, plugin = library("plugins.hparams.api_pb2"), library("plugins.hparams.plugin_data_pb2")
    names, protos = library("plugins.hparams.metadata"), library("compat.proto.summary_pb2")
    struct = importlib.import_module("google.protobuf.struct_pb2")
    start, infos = plugin.SessionStartInfo(), []
    for name, value in hparam_dict.items():
        if value is None:
            continue
        if isinstance(value, (Tensor, int, float, np.number)) and not isinstance(value, bool):
            value = number(value)
        if type(value) not in _KINDS:
            raise ValueError("value should be one of int, float, str, bool, or torch.Tensor")
        field, kind = _KINDS[type(value)]
        setattr(start.hparams[name], field, value)
        info = api.HParamInfo(name=name, type=api.DataType.Value(f"DATA_TYPE_{kind}"))
        if name in domains:
            values = [struct.Value(**{field: type(value)(v)}) for v in domains[name]]
            info.domain_discrete.CopyFrom(struct.ListValue(values=values))
        infos.append(info)
    measured = [api.MetricInfo(name=api.MetricName(tag=tag)) for tag in metric_dict]
    end = plugin.SessionEndInfo(status=api.Status.Value("STATUS_SUCCESS"))

    def summary(tag: str, **part: Any) -> Any:
        content = plugin.HParamsPluginData(version=names.PLUGIN_DATA_VERSION, **part).SerializeToString()
        kind = protos.SummaryMetadata
        metadata = kind(plugin_data=kind.PluginData(plugin_name=names.PLUGIN_NAME, content=content))
        return protos.Summary(value=[protos.Summary.Value(tag=tag, metadata=metadata)])

    return (
        summary(names.EXPERIMENT_TAG, experiment=api.Experiment(hparam_infos=infos, metric_infos=measured)),
        summary(names.SESSION_START_INFO_TAG, session_start_info=start),
        summary(names.SESSION_END_INFO_TAG, session_end_info=end),
    )
