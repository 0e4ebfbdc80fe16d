"""Modules: layers, containers, losses.

`functional` without state, `init` for starting values, `utils` for gradients.
"""

from . import (
    activation,
    adaptive,
    attention,
    common_types,
    container,
    conv,
    dense,
    dropout,
    fractional,
    functional,
    generalised_pooling,
    grad,
    init,
    lazy,
    linear,
    loss,
    multihead,
    normalization,
    padding,
    parameter,
    pooling,
    recurrent,
    shape,
    sparse,
    transformer,
    utils,
)
from .activation import *
from .adaptive import *
from .container import *
from .conv import *
from .dense import *
from .dropout import *
from .fractional import *
from .generalised_pooling import *
from .lazy import *
from .linear import *
from .loss import *
from .module import Module
from .multihead import *
from .normalization import *
from .padding import *
from .parameter import Buffer, Parameter, UninitializedBuffer, UninitializedParameter
from .pooling import *
from .recurrent import *
from .shape import *
from .sparse import *
from .transformer import *

__all__ = [
    *("Buffer", "Module", "Parameter", "UninitializedBuffer", "UninitializedParameter"),
    *("functional", "init", "parameter", "utils"),
    *activation.__all__,
    *adaptive.__all__,
    *container.__all__,
    *conv.__all__,
    *dense.__all__,
    *dropout.__all__,
    *fractional.__all__,
    *generalised_pooling.__all__,
    *lazy.__all__,
    *linear.__all__,
    *loss.__all__,
    *multihead.__all__,
    *normalization.__all__,
    *padding.__all__,
    *pooling.__all__,
    *recurrent.__all__,
    *shape.__all__,
    *sparse.__all__,
    *transformer.__all__,
]
