"""PyTorch's module paths and late names: one table says which module of ours serves each.

`import chainrule.jit`, `from chainrule.nn.modules.conv import Conv2d`, the attribute `chainrule.nn.modules.conv`:
each gives the very module that stands here (`runtime.jit`, `nn.conv`), which is imported when it is named.
Turned down: a file per path that only imports another, sixty of them; and entries in sys.modules, which would import
everything at once.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["NAMES", "PACKAGES", "PATHS", "attribute", "install", "top_names"]

#: packages above the engine and modules of their own name, imported when a program names one
PACKAGES = (
    *("distributed", "distributions", "explain", "models", "nn", "optim", "runtime", "testing", "utils"),
    *(f"backends.{name}" for name in ("cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp", "opt_einsum")),
    *("autograd.forward_ad", "autograd.func", "autograd.function", "autograd.functional"),
    *("torch_version", "utils._pytree", "utils.flop_counter"),
)

#: PyTorch's path -> ours. A tuple makes a package of its own with their names. What lies below an
#: alias follows it: nn.modules.linear is nn.linear without a line.
PATHS: dict[str, str | tuple[str, ...]] = {
    # the engine
    "autograd.grad_mode": "autograd.modes",
    "autograd.anomaly_mode": "autograd.modes",
    "autograd.variable": "autograd.function",
    "cuda": "runtime.cuda",
    "amp": "runtime.amp",
    "amp.autocast_mode": "runtime.amp",
    "amp.grad_scaler": "runtime.amp",
    "cpu": "runtime.cpu",
    "cpu.amp": "runtime.cpu_amp",
    "cuda.amp.autocast_mode": "runtime.cuda.amp",
    "cuda.amp.grad_scaler": "runtime.cuda.amp",
    "_C": "runtime._c",
    "_C._nn": "runtime._nn",
    "__config__": "runtime.config",
    "__future__": "runtime.future",
    "_dynamo": "runtime.dynamo",
    "_subclasses": "runtime.fake",
    "_subclasses.fake_tensor": "runtime.fake",
    "_tensor": "autograd.tensor",
    "_tensor_str": "runtime._tensor_str",
    "_logging": "runtime._logging",
    "_utils": "runtime._utils",
    "_vmap_internals": "runtime._vmap_internals",
    "_dynamo.eval_frame": "runtime.dynamo",
    "_dynamo.utils": "runtime.dynamo",
    "export": "runtime.export",
    "futures": "runtime.futures",
    "library": "runtime.library",
    "accelerator": "runtime.accelerator",
    "autograd.profiler": "runtime.profiler",
    "compiler": "runtime.compiler",
    "distributed._composable": ("distributed.fsdp",),
    "distributed._composable.fsdp": "distributed.fsdp",
    "distributed._tensor": "distributed.tensor",
    "distributed._tensor.experimental": "distributed.tensor",
    "distributed.algorithms": ("distributed.join", "distributed.hooks"),
    "distributed.algorithms.ddp_comm_hooks": ("distributed.hooks",),
    "distributed.algorithms.ddp_comm_hooks.default_hooks": "distributed.hooks",
    "distributed.algorithms.join": "distributed.join",
    "distributed.checkpoint": ("distributed.state_dict",),
    "distributed.checkpoint.state_dict": "distributed.state_dict",
    "distributed.constants": "distributed.groups",
    "distributed.distributed_c10d": "distributed",
    "distributed.elastic": ("distributed.errors",),
    "distributed.elastic.multiprocessing": ("distributed.errors",),
    "distributed.elastic.multiprocessing.errors": "distributed.errors",
    "distributed.fsdp.fully_sharded_data_parallel": "distributed.fsdp",
    "distributed.nn": "distributed.functional",
    "distributed.nn.functional": "distributed.functional",
    "distributed.tensor.experimental": "distributed.tensor",
    "functional": "runtime.functional",
    "fx": "runtime.fx",
    **dict.fromkeys(["fx._symbolic_trace", "fx.proxy"], "runtime.fx"),
    **dict.fromkeys(["fx.graph", "fx.node"], "runtime.fx_graph"),
    **dict.fromkeys(["fx.graph_module", "fx.interpreter"], "runtime.fx_module"),
    "fx.experimental": "runtime.fake",
    "fx.experimental.proxy_tensor": "runtime.fake",
    "hub": "runtime.hub",
    "jit": "runtime.jit",
    "jit.annotations": "runtime.annotations",
    "mps": "runtime.mps",
    "mtia": "runtime.mtia",
    "multiprocessing": "runtime.multiprocessing",
    "onnx": "runtime.onnx",
    "onnx.operators": "runtime.onnx",
    "overrides": "runtime.overrides",
    "profiler": "runtime.profiler",
    "profiler.profiler": "runtime.profiler",
    "types": "runtime.types",
    "utils._foreach_utils": "runtime.foreach",
    **dict.fromkeys(["utils.data.datapipes.datapipe", "utils.data.datapipes.iter"], "utils.data.datapipes"),
    **{
        f"utils.data.datapipes.iter.{name}": "utils.data.datapipes"
        for name in ("callable", "combinatorics", "combining", "grouping", "utils")
    },
    "utils.hooks": "autograd.hooks",
    "version": "runtime.version",
    "xpu": "runtime.xpu",
    "fft": "autograd.fft",
    "func": "autograd.func",
    "linalg": "autograd.linalg",
    "random": "autograd.random",
    "serialization": "autograd.serialization",
    "return_types": "autograd.return_types",
    "sparse": "autograd.sparse",
    "special": "autograd.special",
    "storage": "autograd.typed",
    "autograd.graph": "autograd.saved",
    # nn
    "nn.modules": ("nn",),
    "nn.modules.activation": ("nn.activation", "nn.multihead"),
    "nn.modules.batchnorm": ("nn.normalization", "nn.lazy"),
    "nn.modules.conv": ("nn.conv", "nn.lazy"),
    "nn.modules.distance": "nn.shape",
    "nn.modules.flatten": "nn.shape",
    "nn.modules.fold": "nn.shape",
    "nn.modules.instancenorm": ("nn.normalization", "nn.lazy"),
    "nn.modules.linear": ("nn.linear", "nn.lazy"),
    "nn.modules.module": ("nn.module", "nn.hooks", "nn.state"),
    "nn.modules.pooling": ("nn.pooling", "nn.fractional"),
    "nn.modules.pixelshuffle": "nn.shape",
    "nn.modules.channelshuffle": "nn.shape",
    "nn.modules.rnn": "nn.recurrent",
    "nn.modules.upsampling": "nn.shape",
    "nn.modules.utils": "nn.tuples",
    "nn.parallel": ("runtime.parallel", "distributed.data_parallel"),
    "nn.parallel.distributed": "distributed.data_parallel",
    "nn.parallel.scatter_gather": "runtime.parallel",
    "nn.attention.flex_attention": "nn.flex_attention",
    # optim
    "optim.swa_utils": "utils.swa_utils",
}

#: ops over lists of tensors, each also with `_` at its end
_EACH = """abs acos add addcdiv addcmul asin atan ceil clamp_max clamp_min cos cosh div erf erfc exp expm1 floor frac
    lerp lgamma log log10 log1p log2 maximum minimum mul neg pow reciprocal round rsqrt sigmoid sign sin sinh sqrt sub
    tan tanh trunc"""

#: module of ours -> names that PyTorch has in another, late ones: nobody who does not use them pays for them
NAMES: dict[str, str] = {
    name: module
    for module, names in {
        "testing": "autograd.gradcheck autograd.gradgradcheck",
        "runtime.parallel": "nn.DataParallel",
        "runtime.profiler": "autograd._disable_profiler autograd._profiler_enabled",
        "distributed.buckets": "distributed.GradBucket",
        "autograd.sparse": """_convert_indices_from_coo_to_csr _convert_indices_from_csr_to_coo dsmm hspmm smm
            sparse_coo sparse_coo_tensor sparse_csr sparse_csr_tensor spmm""",
        "autograd.autocast": """autocast clear_autocast_cache get_autocast_cpu_dtype get_autocast_dtype
            get_autocast_gpu_dtype is_autocast_available is_autocast_cache_enabled is_autocast_cpu_enabled
            is_autocast_enabled
            set_autocast_cache_enabled set_autocast_cpu_dtype set_autocast_cpu_enabled set_autocast_dtype
            set_autocast_enabled set_autocast_gpu_dtype""",
        "autograd.dtypes": "chalf complex32 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz float8_e8m0fnu",
        "autograd.errors": "OutOfMemoryError",
        "autograd.func": "vmap",
        "autograd.function": """autograd.Function autograd.FunctionCtx autograd.Variable
            autograd.once_differentiable""",
        "distributions._drawn": "_sample_dirichlet _standard_gamma",
        "optim.custom": """optim.optimizer._capturable_doc optim.optimizer._default_to_fused_or_foreach
            optim.optimizer._differentiable_doc optim.optimizer._disable_dynamo_if_unsupported
            optim.optimizer._dispatch_sqrt optim.optimizer._foreach_doc optim.optimizer._fused_doc
            optim.optimizer._get_capturable_supported_devices optim.optimizer._get_scalar_dtype
            optim.optimizer._get_value optim.optimizer._maximize_doc optim.optimizer._params_doc
            optim.optimizer._stack_if_compiling optim.optimizer._to_scalar
            optim.optimizer._use_grad_for_differentiable optim.optimizer._view_as_real""",
        "runtime.accelerator": "get_device_module",
        "runtime.archive": "PyTorchFileReader",
        "runtime.checks": """_assert _assert_async _check _check_index _check_is_size _check_not_implemented
            _check_tensor_all _check_tensor_all_with _check_type _check_value _check_with""",
        "runtime.compiler": "compile",
        "runtime.foreach": " ".join(
            [f"_foreach_{name}{end}" for name in _EACH.split() for end in ("", "_")]
            + [f"_foreach_{name}" for name in ("clone", "copy_", "max", "mm", "norm", "powsum", "zero_")]
        ),
        "runtime.futures": "Future",
        "autograd.swapping": "utils.swap_tensors",
        "torch_version": "__version__",
        "runtime.jit": "ScriptFunction ScriptModule",
        "runtime.library": "ops",
        "runtime.symbolic": """SymBool SymFloat SymInt _log_softmax_backward_data _shape_as_tensor
            _softmax_backward_data sym_float sym_int sym_ite sym_max sym_min sym_not sym_sum""",
        "runtime.cuda": "Event Stream",
        "runtime.settings": """are_deterministic_algorithms_enabled compiled_with_cxx11_abi
            get_deterministic_debug_mode get_float32_matmul_precision get_num_interop_threads
            is_deterministic_algorithms_warn_only_enabled is_warn_always_enabled set_deterministic_debug_mode
            set_float32_matmul_precision set_flush_denormal set_num_interop_threads set_warn_always
            use_deterministic_algorithms""",
        "autograd.windows": "bartlett_window blackman_window hamming_window hann_window kaiser_window",
        "autograd.special": "i0 igamma igammac",
        "autograd.typed": "TypedStorage UntypedStorage",
        "autograd.factors": "lu_unpack",
        "autograd.old_linalg": "eig lstsq lu lu_solve matrix_rank solve symeig",
        "autograd.spectra": "istft stft",
        "autograd.seldom": """angle as_strided_scatter complex conj conj_physical frexp gradient histogram imag
            index_reduce is_storage isreal narrow_copy nonzero_static pca_lowrank polar
            range real renorm resolve_conj resolve_neg split_with_sizes svd_lowrank
            unsafe_chunk unsafe_split unsafe_split_with_sizes view_as_complex
            view_as_real""",
        "autograd.layout": "legacy_contiguous_format",
        "autograd.second_forms": """affine_grid_generator alpha_dropout alpha_dropout_ batch_norm bilinear
            binary_cross_entropy_with_logits conv_tbc cosine_embedding_loss ctc_loss dropout dropout_ embedding
            embedding_bag feature_alpha_dropout feature_alpha_dropout_ feature_dropout feature_dropout_ frobenius_norm
            grid_sampler group_norm hinge_embedding_loss instance_norm kl_div layer_norm margin_ranking_loss
            max_pool1d_with_indices norm_except_dim nuclear_norm pdist poisson_nll_loss rms_norm
            rrelu_ threshold_ triplet_margin_loss""",
    }.items()
    for name in names.split()
}

_ROOT = __name__.rpartition(".")[0]
_Spec: Any = type(__spec__)
_ABOVE = {path.rpartition(".")[0] for path in (*PACKAGES, *PATHS, *NAMES)}


def _served(path: str) -> str | tuple[str, ...]:
    """What serves `path`: its alias, the module of that name below the alias of its package, or itself."""
    if path in PATHS:
        return PATHS[path]
    above, dot, name = path.rpartition(".")
    if not dot:
        return path
    base = _served(above)
    return f"{base if isinstance(base, str) else base[0]}.{name}"


def attribute(package: str, own: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """The `__getattr__` of a package: late names and aliases, by import, and what the package's own one knows."""

    def lookup(name: str) -> Any:
        path = f"{package}.{name}".removeprefix(".")
        if path in NAMES:
            return getattr(importlib.import_module(f"{_ROOT}.{NAMES[path]}"), name)
        if path in PATHS or path in PACKAGES:
            try:
                return importlib.import_module(f"{_ROOT}.{path}")
            except ModuleNotFoundError as error:
                if error.name != f"{_ROOT}.{path}":
                    raise
        if own is not None:
            return own(name)
        raise AttributeError(f"module {f'{_ROOT}.{package}'.removesuffix('.')!r} has no attribute {name!r}")

    return lookup


class _Collection(ModuleType):
    """A package of PyTorch's that is several modules of ours."""

    def __init__(self, path: str, sources: tuple[str, ...]) -> None:
        super().__init__(f"{_ROOT}.{path}", f"PyTorch's {path}: the names of {', '.join(sources)}.")
        self.__path__: list[str] = []
        self._path, self._sources = path, sources

    def __getattr__(self, name: str) -> Any:
        path = f"{self._path}.{name}"
        if path in PATHS:
            return importlib.import_module(f"{_ROOT}.{path}")
        sources = (importlib.import_module(f"{_ROOT}.{source}") for source in self._sources)
        if name == "__all__":
            return sorted({exported for module in sources for exported in module.__all__})
        for module in sources if not name.startswith("__") else ():
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """For `vars` and `dir`: all names, which nobody who does not ask for them waits for."""
        own: dict[str, Any] = _namespace_of(self)
        if "__all__" not in own:
            own |= {name: getattr(self, name) for name in self.__all__ if name not in own}
            own["__all__"] = self.__all__
        return own


_namespace_of = vars(ModuleType)["__dict__"].__get__


class _Alias:
    """The loader of an alias: hands over the module that it stands for, which stays as its own import made it."""

    def __init__(self, path: str, served: str | tuple[str, ...]) -> None:
        self._path, self._served = path, served

    def create_module(self, spec: Any) -> ModuleType:
        if not isinstance(self._served, str):
            return _Collection(self._path, self._served)
        module = importlib.import_module(f"{_ROOT}.{self._served}")
        self._spec = module.__spec__  # the import system is about to put the alias's there
        return module

    def exec_module(self, module: ModuleType) -> None:
        if isinstance(self._served, str):
            module.__spec__ = self._spec
            if self._path in _ABOVE and not hasattr(module, "__path__"):
                module.__path__ = []  # what PyTorch has below it, the table knows
                vars(module).setdefault("__getattr__", attribute(self._path))


class _Finder:
    """Finds aliases, and gives the packages that have some their `__getattr__`."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if not name.startswith(f"{_ROOT}."):
            return self._beside(name, path) if name.startswith("einops.") else None
        ours = name[len(_ROOT) + 1 :]
        served = _served(ours)
        if served != ours:
            return _Spec(name, _Alias(ours, served), is_package=not isinstance(served, str))
        return self._with_attributes(ours, path) if ours in _ABOVE else None

    def _with_attributes(self, ours: str, path: Any) -> Any:
        def change(module: ModuleType) -> None:
            vars(module).setdefault("__path__", [])  # of a plain module: what PyTorch has below it, the table knows
            vars(module)["__getattr__"] = attribute(ours, vars(module).get("__getattr__"))

        return self._followed(f"{_ROOT}.{ours}", path, change)

    def _beside(self, name: str, path: Any) -> Any:
        if name == f"einops.layers.{_ROOT}":
            return _Spec(name, _Alias("", "utils.einops_layers"))
        return self._followed(name, path, lambda _: _meet_einops()) if name == _EINOPS else None

    def _followed(self, name: str, path: Any, then: Callable[[ModuleType], Any]) -> Any:
        """How others find the module, with `then(module)` after it was executed."""
        specs = (finder.find_spec(name, path) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, specs), None)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def execute(module: ModuleType) -> None:
                run(module)
                then(module)

            vars(spec.loader)["exec_module"] = execute
        return spec


#: the module with the class that einops' backends derive from; who derives from it is asked
_EINOPS = "einops._backends"


def _meet_einops() -> None:
    importlib.import_module(f"{_ROOT}.utils.einops")


def install(*packages: ModuleType) -> None:
    """Serve the aliases from now on; `packages` have been imported already."""
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]  # a finder by what it does
    for package in packages:
        ours = package.__name__[len(_ROOT) + 1 :]
        vars(package).setdefault("__getattr__", attribute(ours))
    if _EINOPS in sys.modules:
        _meet_einops()


def top_names() -> list[str]:
    """The late names of the package itself."""
    return [path for path in NAMES if "." not in path and not path.startswith("_")]


def top_modules() -> list[str]:
    """The packages and aliases of the package itself, private ones aside."""
    return [path for path in (*PACKAGES, *PATHS) if "." not in path and path[0] != "_"]
