"""chainrule and PyTorch on a GPU: one source, as in torch_style.py, with what makes each of them quick there.

PyTorch gets what its documentation recommends: channels-last, cudnn.benchmark, TF32 or autocast, fused optimizers, its
own attention kernels; and `torch.compile` of the model in three modes. chainrule runs eager and captured, the latter
with `chainrule.capture` around the whole step. With device "cpu" all of it can be rehearsed without a GPU.
"""

import contextlib
import importlib
import itertools

from engines import Program, gpu_kernels, networks
from engines.torch_style import Chainrule, TorchStyle

#: what each precision means: the dtype of autocast, and whether float32 products may take TF32
PRECISIONS = {
    "ieee": (None, False),
    "tf32": (None, True),
    "float16": ("float16", True),
    "bfloat16": ("bfloat16", True),
}


class OnDevice(TorchStyle):
    """Programs on a device; `setting` is the way that they are run in."""

    def __init__(self, lib, threads, device, setting):
        super().__init__(lib, threads)
        self.device, self.setting = lib.device(device), setting
        if self.device.type == "cuda":
            if not lib.cuda.is_available():
                raise ModuleNotFoundError(f"{lib.__name__} finds no GPU", name=f"a GPU for {lib.__name__}")
            self.versions["device"] = lib.cuda.get_device_name()
        lib.backends.cudnn.benchmark = True
        self.precise("tf32")

    # -- how --------------------------------------------------------------------------------------------------------

    def precise(self, precision):
        """Set the precision of what follows."""
        lib = self.lib
        kind, tf32 = PRECISIONS[precision]
        self.fast = None if kind is None else getattr(lib, kind)
        self.scaled = precision == "float16"
        lib.set_float32_matmul_precision("high" if tf32 else "highest")
        lib.backends.cudnn.allow_tf32 = tf32

    def casting(self):
        """The context of a forward."""
        if self.fast is None:
            return contextlib.nullcontext()
        return self.lib.autocast(self.device.type, self.fast)

    def scaler(self):
        """Scales losses under float16, and nothing else."""
        return self.lib.amp.GradScaler(self.device.type, enabled=self.scaled)

    def prepared(self, model):
        """A model as it is called in a step."""
        return model

    def captured(self, step):
        """A step as it is called in a loop."""
        return step

    def begin(self):
        """Called where a step begins."""

    # -- where --------------------------------------------------------------------------------------------------------

    def place(self, thing):
        if isinstance(thing, self.nn.Module):
            thing = thing.to(self.device)
            images = any(p.ndim == 4 for p in thing.parameters())
        else:
            thing, images = thing.to(self.device), thing.ndim == 4
        return thing.to(memory_format=self.lib.channels_last) if images else thing

    def wait(self, result=None):
        if self.device.type == "cuda":
            self.lib.cuda.synchronize()

    def event(self):
        """A mark that has been put into the queue; None on the CPU."""
        if self.device.type != "cuda":
            return None
        made = self.lib.cuda.Event(enable_timing=True)
        made.record()
        return made

    def memory(self):
        """(most bytes that tensors held since `forget_memory`, bytes of the whole device that are taken)."""
        if self.device.type != "cuda":
            return 0, 0
        free, total = self.lib.cuda.mem_get_info()
        return self.lib.cuda.max_memory_allocated(), total - free

    def forget_memory(self):
        """Count from now on."""
        if self.device.type == "cuda":
            self.lib.cuda.reset_peak_memory_stats()

    def settle(self):
        if self.device.type == "cuda":
            self.lib.cuda.empty_cache()

    # -- programs -----------------------------------------------------------------------------------------------------

    def gpt2(self, data):
        """Tied head, gradients clipped, as in GPT-2's training."""
        model = networks.gpt(self.lib, self.nn, self.F, dropout=data.probability(data.dropout), **data.params)
        model.head.weight = model.tokens.weight
        adam = lambda p: self.optim.AdamW(p, lr=3e-4, weight_decay=0.1, **self.optimizer_options)
        return self._training(model, data, adam, clip=1.0)

    def lstm(self, data):
        sizes = {name: data.params[name] for name in ("vocabulary", "hidden", "layers")}
        model = networks.language(self.nn, dropout=data.probability(data.dropout), **sizes)
        adam = lambda p: self.optim.Adam(p, lr=1e-3, **self.optimizer_options)
        return self._training(model, data, adam, clip=1.0)

    def dcgan(self, data):
        lib = self.lib
        width = data.params.get("width", 64)
        both = networks.dcgan(self.nn, data.params["size"], data.params["latent"], width)
        generator, discriminator = (self._initial(model, data) for model in both)
        optimizers = [
            self.optim.Adam(model.parameters(), lr=2e-4, betas=(0.5, 0.999), **self.optimizer_options)
            for model in (generator, discriminator)
        ]
        generate, discriminate = self.prepared(generator), self.prepared(discriminator)
        criterion = self.nn.BCEWithLogitsLoss()
        scaler = self.scaler()
        batches = self._batches(data)

        def both_steps(x, z):
            self.begin()
            ones = lib.ones(x.shape[0], dtype=x.dtype, device=x.device)
            optimizers[1].zero_grad()
            with self.casting():
                real = criterion(discriminate(x), ones)
            scaler.scale(real).backward()
            with self.casting():
                fake = generate(z)
                false = criterion(discriminate(fake.detach()), lib.zeros_like(ones))
            scaler.scale(false).backward()
            scaler.step(optimizers[1])
            optimizers[0].zero_grad()
            with self.casting():
                fooled = criterion(discriminate(fake), ones)
            scaler.scale(fooled).backward()
            scaler.step(optimizers[0])
            scaler.update()
            return real + false, fooled

        run = self.captured(both_steps)

        def step():
            x, noise = next(batches)
            return run(x, noise if data.check else lib.randn(noise.shape, device=self.device))

        return Program(step, lambda losses: [loss.item() for loss in losses])

    def _training(self, model, data, optimizer=None, clip=None):
        model = self._initial(model, data)
        optimizer = (optimizer or self._adam)(model.parameters())
        criterion = self.nn.CrossEntropyLoss()
        parameters = list(model.parameters())
        prepared, scaler, batches = self.prepared(model), self.scaler(), self._batches(data)

        def one_step(x, y):
            self.begin()
            optimizer.zero_grad()
            with self.casting():
                loss = criterion(prepared(x), y)
            scaler.scale(loss).backward()
            if clip is not None:
                scaler.unscale_(optimizer)
                self.nn.utils.clip_grad_norm_(parameters, clip)
            scaler.step(optimizer)
            scaler.update()
            return loss

        run = self.captured(one_step)
        return Program(lambda: run(*next(batches)), lambda loss: [loss.item()])

    def _batches(self, data):
        return itertools.cycle([tuple(self.place(self.lib.tensor(a)) for a in batch) for batch in data.batches])

    def kernel(self, kernel, which, tiny=False):
        """A pass of a single operation: what to call, operations, bytes; see gpu_kernels.py."""
        return gpu_kernels.program(self, kernel, which, tiny)


class TorchOnDevice(OnDevice):
    """PyTorch: eager, or its model compiled."""

    optimizer_options = {"fused": True}
    modes = {"torch-compile": "default", "torch-reduce": "reduce-overhead", "torch-max": "max-autotune"}

    def __init__(self, threads, device, setting):
        super().__init__(importlib.import_module("torch"), threads, device, setting)
        if self.device.type == "cuda":
            self.versions |= {"cuda": self.lib.version.cuda, "cudnn": str(self.lib.backends.cudnn.version())}

    def prepared(self, model):
        mode = self.modes.get(self.setting)
        return model if mode is None else self.lib.compile(model, mode=mode)

    def begin(self):
        if self.setting in ("torch-reduce", "torch-max"):  # whose graphs overwrite the results of the step before
            self.lib.compiler.cudagraph_mark_step_begin()


class ChainruleOnDevice(OnDevice):
    """This checkout: eager, or the whole step captured."""

    def __init__(self, threads, device, setting):
        lib = Chainrule.checkout("1")
        super().__init__(lib, threads, device, setting)
        if setting == "chainrule-captured" and not hasattr(lib, "capture"):
            raise ModuleNotFoundError("no chainrule.capture", name="chainrule.capture")
        if self.device.type == "cuda":
            cupy = importlib.import_module("cupy")
            self.versions |= {"cupy": cupy.__version__, "cuda": str(cupy.cuda.runtime.runtimeGetVersion())}

    def captured(self, step):
        return self.lib.capture(step, strict=True) if self.setting == "chainrule-captured" else step


#: by the name of a setting; the first of PyTorch's is what ratios refer to, the first of ours what bars are set for
ENGINES = {
    "chainrule-captured": ChainruleOnDevice,
    "chainrule": ChainruleOnDevice,
    "torch": TorchOnDevice,
    "torch-compile": TorchOnDevice,
    "torch-reduce": TorchOnDevice,
    "torch-max": TorchOnDevice,
}
