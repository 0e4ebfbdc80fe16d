"""The engine: tensors, ops, the tape, modes."""

from . import attributes, creation, hooks, operators, ops  # attach Tensor's methods
from .dtypes import (
    dtype,
    finfo,
    float16,
    float32,
    float64,
    get_default_dtype,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    promote_types,
    result_type,
    set_default_dtype,
    uint8,
)
from .modes import (
    detect_anomaly,
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_detect_anomaly,
    set_grad_enabled,
)
from .op import GRAPH, OPS, Composite, Op, composite, op
from .public import FUNCTIONS
from .tape import backward, grad
from .tensor import METHODS, Node, Tensor
