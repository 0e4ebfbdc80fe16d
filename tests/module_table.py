"""The module table: records for each layer of chainrule.nn; test_modules.py asserts that none is missing."""

from dataclasses import dataclass, field

import numpy as np

from chainrule import nn
from chainrule.testing import samples

floats, integers, positive = samples.floats, samples.integers, samples.positive


@dataclass(frozen=True)
class ModuleRecord:
    """A layer: the arguments of its constructor, and those of its forward as NumPy arrays (floats in float64)."""

    name: str
    args: tuple = ()
    kwargs: dict = field(default_factory=dict)
    inputs: tuple = ()
    #: what forward does is random in training: outputs are compared in evaluation mode alone
    random: bool = False
    #: numbers of the inputs that PyTorch does not differentiate
    frozen: tuple = ()
    #: relative tolerance of the comparison with PyTorch
    tolerance: float = 1e-9
    #: why PyTorch's result is another one, where it is
    differs: str = ""
    #: constructor arguments that are tensors in chainrule and in PyTorch, as arrays
    tensors: dict = field(default_factory=dict)

    def __str__(self):
        shown = [repr(a) for a in self.args] + [f"{k}={v!r}" for k, v in self.kwargs.items()]
        return f"{self.name}({', '.join(shown)})"

    def make(self, lib, tensor):
        options = {k: tensor(v) for k, v in self.tensors.items()}
        return getattr(lib, self.name)(*self.args, **self.kwargs, **options)


RECORDS: list[ModuleRecord] = []


def add(name, *args, inputs=(), tensors=None, **kwargs):
    options = {k: kwargs.pop(k) for k in ("random", "frozen", "tolerance", "differs") if k in kwargs}
    RECORDS.append(ModuleRecord(name, args, kwargs, inputs, tensors=tensors or {}, **options))


# What the containers hold is theirs to test: they are in test_module.py.
CONTAINERS = {"Module", "ModuleDict", "ModuleList", "ParameterDict", "ParameterList", "Sequential"}
CONTAINERS |= {"TransformerDecoder", "TransformerEncoder"}  # and these in test_attention.py

# Layers that PyTorch does not have; each family adds its own. Their values are tested beside their sources' formulas.
OURS: set[str] = set()

line, image, volume = floats((2, 4, 7)), floats((2, 4, 6, 5)), floats((2, 4, 4, 5, 3))
vector = floats((3, 4))

# -- linear -----------------------------------------------------------------------------------------------------------
add("Identity", 1, unused=2, inputs=(vector,))
add("Linear", 4, 3, inputs=(vector,))
add("Linear", 4, 3, bias=False, inputs=(floats((2, 3, 4)),))
add("LazyLinear", 3, inputs=(vector,))
add("Bilinear", 4, 2, 3, inputs=(vector, floats((3, 2), seed=1)))

# -- convolutions -----------------------------------------------------------------------------------------------------
add("Conv1d", 4, 6, 3, inputs=(line,))
add("Conv1d", 4, 6, 3, padding="same", dilation=2, groups=2, inputs=(line,))
add("Conv2d", 4, 6, 3, inputs=(image,))
add("Conv2d", 4, 6, (3, 2), stride=(2, 1), padding=(1, 0), bias=False, inputs=(image,))
add("Conv2d", 4, 6, 3, padding=1, padding_mode="reflect", inputs=(image,))
add("Conv2d", 4, 6, 3, padding="same", padding_mode="circular", inputs=(image,))
add("Conv2d", 4, 6, 3, padding="valid", padding_mode="replicate", inputs=(image[0],))
add("Conv3d", 4, 2, 2, padding=1, inputs=(volume,))
add("ConvTranspose1d", 4, 6, 3, stride=2, inputs=(line,))
add("ConvTranspose2d", 4, 6, 3, stride=2, padding=1, output_padding=1, groups=2, inputs=(image,))
add("ConvTranspose3d", 4, 2, 2, dilation=2, bias=False, inputs=(volume,))
for n, x in ((1, line), (2, image), (3, volume)):
    add(f"LazyConv{n}d", 6, 3, padding=1, inputs=(x,))
    add(f"LazyConvTranspose{n}d", 6, 3, groups=2, inputs=(x,))

# -- pooling ----------------------------------------------------------------------------------------------------------
for n, x in ((1, line), (2, image), (3, volume)):
    add(f"MaxPool{n}d", 2, inputs=(x,))
    add(f"MaxPool{n}d", 3, 2, 1, 1, True, True, inputs=(x,))
    add(f"AvgPool{n}d", 2, inputs=(x,))
    add(f"AvgPool{n}d", 3, 1, 1, True, False, inputs=(x,))
    add(f"LPPool{n}d", 2, 2, inputs=(positive(x.shape),))
    add(f"AdaptiveAvgPool{n}d", 2, inputs=(x,))
    add(f"AdaptiveMaxPool{n}d", 2, inputs=(x,))
add("AvgPool2d", 2, divisor_override=3, inputs=(image,))
add("AdaptiveAvgPool2d", (None, 2), inputs=(image,))
add("MaxUnpool1d", 2, inputs=(floats((1, 1, 2)), np.array([[[0, 3]]])))
add("MaxUnpool2d", 2, inputs=(floats((1, 1, 1, 2)), np.array([[[[1, 6]]]])))
add("MaxUnpool3d", 2, inputs=(floats((1, 1, 1, 1, 1)), np.array([[[[[5]]]]])))

# -- normalisation ----------------------------------------------------------------------------------------------------
for n, x in ((1, line), (2, image), (3, volume)):
    add(f"BatchNorm{n}d", 4, inputs=(x,))
    add(f"BatchNorm{n}d", 4, momentum=None, affine=False, inputs=(x,))
    add(f"BatchNorm{n}d", 4, track_running_stats=False, inputs=(x,))
    add(f"InstanceNorm{n}d", 4, inputs=(x,))
    add(f"InstanceNorm{n}d", 4, affine=True, track_running_stats=True, inputs=(x,))
    add(f"LazyBatchNorm{n}d", inputs=(x,))
    add(f"LazyInstanceNorm{n}d", affine=True, inputs=(x,))
add("BatchNorm1d", 4, inputs=(vector,))
add("BatchNorm2d", 4, bias=False, inputs=(image,))
add("InstanceNorm2d", 4, inputs=(image[0],))
add("LayerNorm", 4, inputs=(vector,))
add("LayerNorm", (6, 5), elementwise_affine=False, inputs=(image,))
add("LayerNorm", 4, bias=False, inputs=(vector,))
add("RMSNorm", 4, inputs=(vector,))
add("RMSNorm", (6, 5), eps=1e-3, elementwise_affine=False, inputs=(image,))
add("GroupNorm", 2, 4, inputs=(image,))
add("GroupNorm", 2, 4, affine=False, inputs=(vector,))
add("LocalResponseNorm", 3, inputs=(image,))
add("CrossMapLRN2d", 3, inputs=(image,), differs="it never takes the first square out of the sum")

# -- activations ------------------------------------------------------------------------------------------------------
kinks = floats((3, 4), avoid=(-1, -0.5, 0, 0.5, 1))
for name in ("ReLU", "ReLU6", "Hardsigmoid", "SiLU", "Mish", "Hardswish", "SELU"):
    tolerance = 1e-7 if name == "Hardsigmoid" else 1e-9  # PyTorch's 1/6 is a float32
    add(name, inputs=(kinks,), tolerance=tolerance)
    add(name, inplace=True, inputs=(kinks,), tolerance=tolerance)
for name in ("Sigmoid", "Tanh", "LogSigmoid", "Softsign", "Tanhshrink", "GELU", "Hardshrink", "Softshrink", "PReLU"):
    add(name, inputs=(kinks,))
for name in ("Hardtanh", "ELU", "CELU", "LeakyReLU", "Softplus", "GLU", "RReLU"):
    add(name, inputs=(kinks,), random=name == "RReLU")
add("Threshold", 0.1, 5.0, inputs=(floats((3, 4), avoid=(0.1,)),))
add("Hardtanh", -0.5, 0.6, inplace=True, inputs=(floats((3, 4), avoid=(-0.5, 0.6)),))
add("ELU", 0.7, inputs=(kinks,))
add("CELU", 0.7, True, inputs=(kinks,), tolerance=1e-7)  # PyTorch's 1 / alpha is a float32
add("LeakyReLU", 0.2, True, inputs=(kinks,))
add("GELU", "tanh", inputs=(kinks,))
add("Softplus", 2.0, 3.0, inputs=(kinks,))
add("PReLU", 4, 0.1, inputs=(kinks,))
add("GLU", 0, inputs=(floats((4, 3)),))
for name in ("Softmax", "Softmin", "LogSoftmax"):
    add(name, 1, inputs=(vector,))
add("Softmax2d", inputs=(image,))

# -- dropout ----------------------------------------------------------------------------------------------------------
for name, x in {"Dropout": vector, "Dropout1d": line, "Dropout2d": image, "Dropout3d": volume}.items():
    add(name, 0.3, inputs=(x,), random=True)
add("Dropout", 0.3, True, inputs=(vector,), random=True)
add("AlphaDropout", 0.3, inputs=(vector,), random=True)
add("FeatureAlphaDropout", 0.3, inputs=(image,), random=True)

# -- lookup and rearrangement -----------------------------------------------------------------------------------------
indices = np.array([[0, 2, 1], [4, 2, 2]])
add("Embedding", 5, 3, inputs=(indices,))
add("Embedding", 5, 3, padding_idx=-3, scale_grad_by_freq=True, inputs=(indices,))
add("Embedding", 5, 3, max_norm=0.8, norm_type=1.0, inputs=(indices,))
add("Flatten", inputs=(image,))
add("Flatten", 0, 2, inputs=(image,))
add("Unflatten", 1, (2, 2), inputs=(image,))
add("Fold", (4, 5), 2, inputs=(floats((1, 8, 12)),))
add("Unfold", 2, padding=1, stride=2, inputs=(image,))
add("PixelShuffle", 2, inputs=(image,))
add("PixelUnshuffle", 2, inputs=(floats((1, 2, 4, 6)),))
add("ChannelShuffle", 2, inputs=(image,))
add("Upsample", scale_factor=2, inputs=(image,))
add("Upsample", (7, 8), mode="bilinear", align_corners=True, inputs=(image,))
add("Upsample", scale_factor=(1.5, 2), mode="bicubic", inputs=(image,))
add("UpsamplingNearest2d", 9, inputs=(image,))
add("UpsamplingBilinear2d", scale_factor=2, inputs=(image,))
add("CosineSimilarity", inputs=(vector, floats((3, 4), seed=1)))
add("PairwiseDistance", inputs=(vector, floats((3, 4), seed=1)))
add("PairwiseDistance", 1.0, keepdim=True, inputs=(vector, floats((3, 4), seed=1)))
for n, x in ((1, line), (2, image), (3, volume)):
    both = tuple(range(1, 2 * n + 1))
    add(f"ZeroPad{n}d", 1, inputs=(x,))
    add(f"ConstantPad{n}d", both, 0.5, inputs=(x,))
    for kind in ("Reflection", "Replication", "Circular"):
        add(f"{kind}Pad{n}d", 1, inputs=(x,))
        add(f"{kind}Pad{n}d", (1, 2) * n, inputs=(x,))

# -- losses -----------------------------------------------------------------------------------------------------------
other, signs = floats((3, 4), seed=1), np.array([1.0, -1.0, 1.0])
classes, weights = np.array([1, 0, 3]), positive((4,))
inside = floats((3, 4), 0.05, 0.95)
for reduction in ("mean", "sum", "none"):
    for name in ("L1Loss", "MSELoss", "SmoothL1Loss", "HuberLoss"):
        add(name, reduction=reduction, inputs=(vector, other))
    add("CrossEntropyLoss", reduction=reduction, inputs=(vector, classes))
    add("NLLLoss", reduction=reduction, inputs=(vector, classes), tensors={"weight": weights})
    add("KLDivLoss", reduction=reduction, inputs=(vector, inside))
    add("BCELoss", reduction=reduction, inputs=(inside, floats((3, 4), 0.1, 0.9, seed=2)))
    add("BCEWithLogitsLoss", reduction=reduction, inputs=(vector, inside))
add("L1Loss", size_average=False, inputs=(vector, other))
add("MSELoss", reduce=False, inputs=(vector, other))
add("SmoothL1Loss", beta=0.5, inputs=(vector, other))
add("HuberLoss", delta=0.5, inputs=(vector, other))
add("CrossEntropyLoss", label_smoothing=0.1, inputs=(vector, classes), tensors={"weight": weights})
add("CrossEntropyLoss", ignore_index=0, inputs=(floats((2, 4, 3)), integers((2, 3), 0, 4)))
add("CrossEntropyLoss", inputs=(vector, inside))
add("NLLLoss2d", inputs=(floats((2, 4, 3, 2)), integers((2, 3, 2), 0, 4)))
add("KLDivLoss", reduction="batchmean", log_target=True, inputs=(vector, other))
add("BCELoss", inputs=(inside, floats((3, 4), 0.1, 0.9, seed=2)), tensors={"weight": weights})
add("BCEWithLogitsLoss", inputs=(vector, inside), tensors={"pos_weight": weights, "weight": positive((4,), seed=1)})
add("PoissonNLLLoss", full=True, inputs=(vector, positive((3, 4))))
add("PoissonNLLLoss", log_input=False, inputs=(positive((3, 4)), positive((3, 4), seed=1)))
add("GaussianNLLLoss", full=True, inputs=(vector, other, positive((3, 4))))
add("HingeEmbeddingLoss", 0.7, inputs=(floats((3,)), signs))
add("MultiLabelMarginLoss", inputs=(vector, np.array([[1, 0, -1, 2], [3, -1, 0, 0], [0, 1, 2, 3]])))
add("SoftMarginLoss", inputs=(floats((3,)), signs), frozen=(1,))
add("MultiLabelSoftMarginLoss", inputs=(vector, (inside > 0.5).astype(float)), tensors={"weight": weights})
add("CosineEmbeddingLoss", 0.2, inputs=(vector, other, signs))
add("MarginRankingLoss", 0.3, inputs=(floats((3,)), floats((3,), seed=1), signs))
add("MultiMarginLoss", inputs=(vector, classes))
add("MultiMarginLoss", 2, 0.8, inputs=(vector, classes), tensors={"weight": weights})
add("TripletMarginLoss", inputs=(vector, other, floats((3, 4), seed=3)))
add("TripletMarginLoss", 0.5, 1.0, swap=True, reduction="none", inputs=(vector, other, floats((3, 4), seed=3)))
add("TripletMarginWithDistanceLoss", inputs=(vector, other, floats((3, 4), seed=3)))

log_p = np.log(positive((5, 2, 3)) / positive((5, 2, 3)).sum(-1, keepdims=True))
add(
    "CTCLoss",
    inputs=(log_p, np.array([[1, 2], [2, 2]]), np.array([5, 4]), np.array([2, 1])),
    differs="PyTorch gives the gradient of the logits of a log_softmax before it: compared so in test_losses.py",
)
add("CTCLoss", 2, "sum", True, inputs=(log_p[:, 0], np.array([1, 1]), np.array(5), np.array(2)), differs="as above")
add("LinearCrossEntropyLoss", 4, 5, bias=True, label_smoothing=0.1, inputs=(vector, classes))
add("LinearCrossEntropyLoss", 4, 3, out_features=(2,), bias=True, inputs=(vector, integers((3, 2), 0, 3)))
add("LinearCrossEntropyLoss", 4, 3, reduction="none", inputs=(vector, inside[:, :3]))
add("AdaptiveLogSoftmaxWithLoss", 4, 9, [2, 5], 2.0, inputs=(vector, np.array([8, 0, 4])))
add("AdaptiveLogSoftmaxWithLoss", 4, 9, [3], 1.5, True, inputs=(vector[0], np.array(1)))
for reduction in ("mean", "sum", "none"):
    for name in ("HingeLoss", "SquaredHingeLoss"):
        add(name, 0.8, reduction, inputs=(floats((3,), avoid=(0.8, -0.8)), signs))
    add("PerceptronLoss", reduction, inputs=(floats((3,), avoid=(0,)), signs))
    add("MulticlassHingeLoss", reduction=reduction, inputs=(vector, classes))
    add("DiceLoss", reduction=reduction, inputs=(inside, (inside > 0.5).astype(float)))
    add("FocalLoss", reduction=reduction, inputs=(vector, (inside > 0.5).astype(float)))
add("MulticlassHingeLoss", 0.8, p=2, inputs=(vector, classes))
OURS |= {"DiceLoss", "FocalLoss", "HingeLoss", "MulticlassHingeLoss", "PerceptronLoss", "SquaredHingeLoss"}

samples2, samples3 = floats((2, 4, 2), 0.0, 0.99), floats((2, 4, 3), 0.0, 0.99)
add("FractionalMaxPool2d", 2, (4, 3), inputs=(image,), tensors={"_random_samples": samples2})
add("FractionalMaxPool2d", (3, 2), None, 0.6, True, inputs=(image,), tensors={"_random_samples": samples2})
add("FractionalMaxPool3d", 2, (2, 3, 1), inputs=(volume,), tensors={"_random_samples": samples3})

# -- attention --------------------------------------------------------------------------------------------------------
queries, keys, contents = floats((3, 2, 4)), floats((5, 2, 4), seed=1), floats((5, 2, 4), seed=2)
add("MultiheadAttention", 4, 2, inputs=(queries, keys, contents))
add("MultiheadAttention", 4, 2, bias=False, batch_first=True, inputs=(keys[:2], queries[:2], queries[1:]))
add("MultiheadAttention", 4, 1, 0.3, add_bias_kv=True, inputs=(queries, keys, contents), random=True)
add("MultiheadAttention", 4, 2, add_zero_attn=True, inputs=(queries[:, 0], keys[:, 0], contents[:, 0]))
add("MultiheadAttention", 4, 2, kdim=3, vdim=2, inputs=(queries, floats((5, 2, 3)), floats((5, 2, 2))))
add("TransformerEncoderLayer", 4, 2, 5, 0.0, inputs=(queries,))
add("TransformerEncoderLayer", 4, 2, 5, 0.0, "gelu", 1e-4, True, True, False, inputs=(queries,))
add("TransformerEncoderLayer", 4, 2, 5, inputs=(queries,), random=True)
add("TransformerDecoderLayer", 4, 2, 5, 0.0, inputs=(queries, keys))
add("TransformerDecoderLayer", 4, 2, 5, 0.0, "gelu", 1e-4, True, True, False, inputs=(queries, queries))
add("Transformer", 4, 2, 1, 1, 5, 0.0, inputs=(keys, queries))
add("Transformer", 4, 2, 2, 1, 3, 0.0, "gelu", batch_first=True, norm_first=True, inputs=(queries, queries))

# -- recurrent layers -------------------------------------------------------------------------------------------------
CONTAINERS |= {"RNNBase", "RNNCellBase"}  # bases, without a forward
steps, batch = floats((4, 2, 3)), floats((2, 3))
for name in ("RNN", "GRU", "LSTM"):
    add(name, 3, 2, inputs=(steps,))
    add(name, 3, 2, num_layers=2, bidirectional=True, batch_first=True, dropout=0.5, inputs=(steps,), random=True)
    add(name, 3, 2, 2, bias=False, inputs=(steps[:, 0],))
    add(f"{name}Cell", 3, 2, inputs=(batch,))
    add(f"{name}Cell", 3, 2, False, inputs=(batch[0],))
add("RNN", 3, 2, 1, "relu", inputs=(steps, floats((1, 2, 2), seed=1)))
add("GRU", 3, 2, bidirectional=True, inputs=(steps, floats((2, 2, 2), seed=1)))
add("LSTM", 3, 3, 2, proj_size=2, bidirectional=True, inputs=(steps,))
add("RNNCell", 3, 2, nonlinearity="relu", inputs=(batch, floats((2, 2), seed=1)))
add("GRUCell", 3, 2, inputs=(batch, floats((2, 2), seed=1)))

# -- bags, synchronised batch norm, and what PyTorch does not have ----------------------------------------------------
CONTAINERS |= {"Container"}
bags, offsets = np.array([1, 3, 0, 3, 2, 4]), np.array([0, 2, 2, 5])
add("EmbeddingBag", 5, 3, inputs=(bags, offsets))
for mode in ("sum", "mean", "max"):
    add("EmbeddingBag", 5, 3, mode=mode, inputs=(indices,))
    add("EmbeddingBag", 5, 3, mode=mode, include_last_offset=True, padding_idx=3, inputs=(bags, offsets))
add("EmbeddingBag", 5, 3, max_norm=0.8, norm_type=1.0, mode="sum", inputs=(bags, offsets))
add("EmbeddingBag", 5, 3, mode="sum", inputs=(bags, offsets, positive((6,))))
counts = "it divides other rows' gradients than those whose index occurs more than once"
add("EmbeddingBag", 5, 3, scale_grad_by_freq=True, mode="sum", inputs=(bags, offsets), differs=counts)
# random: PyTorch's trains on a GPU alone, so it is compared in evaluation
add("SyncBatchNorm", 4, inputs=(image,), random=True)
add("SyncBatchNorm", 4, 1e-3, None, False, bias=False, inputs=(vector,), random=True)

OURS |= {"DropConnect", "DropPath", "Maxout", "MixedPool2d", "RBF", "SpatialPyramidPool", "StochasticDepth"}
OURS |= {"StochasticPool2d"}
add("Maxout", 4, 3, inputs=(vector,))
add("Maxout", 4, 2, 3, bias=False, inputs=(floats((2, 3, 4)),))
add("RBF", 4, 3, inputs=(vector,))
add("DropConnect", 4, 3, 0.3, inputs=(vector,), random=True)
add("DropPath", 0.3, inputs=(image,), random=True)
add("DropPath", 0.3, False, inputs=(vector,), random=True)
for mode in ("row", "batch"):
    add("StochasticDepth", 0.3, mode, inputs=(vector,), random=True)
add("MixedPool2d", 2, start=0.3, inputs=(image,))
add("MixedPool2d", 3, 2, 1, inputs=(image,))
for mode in ("max", "avg"):
    add("SpatialPyramidPool", (1, 3), mode, inputs=(image,))
add("StochasticPool2d", 2, inputs=(positive((2, 2, 4, 5)),), random=True)
add("StochasticPool2d", (2, 3), 1, 1, inputs=(positive((1, 2, 3, 3)),), random=True)

TABLE: dict[str, list[ModuleRecord]] = {}
for record in RECORDS:
    TABLE.setdefault(record.name, []).append(record)

LAYERS = {
    name
    for name in nn.__all__
    if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module) and name not in CONTAINERS
}
