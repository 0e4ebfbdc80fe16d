"""chainrule and PyTorch: one source, the library is passed in. That one source does for both is what is claimed."""

import importlib
import importlib.metadata
import importlib.util
import itertools
import os
import pathlib
import sys
from typing import ClassVar

from engines import Engine, Program, kernels, networks


class TorchStyle(Engine):
    """Programs as PyTorch's users write them, for any library with its API."""

    optimizer_options: ClassVar = {}

    def __init__(self, lib, threads):
        self.lib = lib
        self.nn = importlib.import_module(f"{lib.__name__}.nn")
        self.F = importlib.import_module(f"{lib.__name__}.nn.functional")
        self.optim = importlib.import_module(f"{lib.__name__}.optim")
        self.versions = {lib.__name__: str(getattr(lib, "__version__", "unknown"))}
        if hasattr(lib, "set_num_threads"):
            lib.set_num_threads(threads)

    def chain(self, data):
        lib = self.lib
        x = lib.tensor(data.x, requires_grad=True)
        w = lib.tensor(data.w)

        @self.captured
        def step():
            x.grad = None
            h = x
            for _ in range(data.length):
                h = lib.tanh(h * w)
            loss = h.sum()
            loss.backward()
            return loss

        return Program(step, lambda loss: [loss.item(), x.grad.sum().item(), x.grad.amax().item()])

    def mlp(self, data):
        nn, F = self.nn, self.F
        hidden, inputs = data.weights["fc1.weight"].shape
        classes = len(data.weights["fc2.bias"])

        class MLP(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc1 = nn.Linear(inputs, hidden)
                self.fc2 = nn.Linear(hidden, classes)

            def forward(self, x):
                return self.fc2(F.relu(self.fc1(x)))

        return self._training(MLP(), data)

    def lenet(self, data):
        nn, F = self.nn, self.F

        class LeNet(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv1 = nn.Conv2d(1, 20, 5)
                self.conv2 = nn.Conv2d(20, 50, 5)
                self.fc1 = nn.Linear(800, 500)
                self.fc2 = nn.Linear(500, 10)

            def forward(self, x):
                x = F.max_pool2d(F.relu(self.conv1(x)), 2)
                x = F.max_pool2d(F.relu(self.conv2(x)), 2)
                x = x.flatten(1)
                return self.fc2(F.relu(self.fc1(x)))

        return self._training(LeNet(), data)

    def resnet18(self, data):
        return self._training(self._images(networks.resnet18, data), data, self._sgd)

    def resnet50(self, data):
        return self._training(self._images(networks.resnet50, data), data, self._sgd)

    def mobilenet(self, data):
        return self._training(self._images(networks.mobilenet, data, dropout=data.probability(0.2)), data, self._sgd)

    def unet(self, data):
        return self._training(networks.unet(self.lib, self.nn, self.F, **data.params), data)

    def char_lstm(self, data):
        return self._characters(data, self.nn.LSTM)

    def char_rnn(self, data):
        return self._characters(data, self.nn.RNN)

    def gpt(self, data):
        model = networks.gpt(self.lib, self.nn, self.F, dropout=data.probability(0.1), **data.params)
        return self._training(model, data, lambda p: self.optim.AdamW(p, lr=3e-4, **self.optimizer_options))

    def encoder(self, data):
        model = networks.encoder(self.lib, self.nn, dropout=data.probability(0.1), **data.params)
        return self._training(model, data)

    def vae(self, data):
        F = self.F
        model = self._initial(networks.vae(self.lib, self.nn, F, **data.params), data)
        optimizer = self._adam(model.parameters())
        batches = self._batches(data)

        @self.captured
        def step(x, noise):
            optimizer.zero_grad()
            out, mean, logvar = model(x, noise if data.check else None)
            divergence = -0.5 * (1 + logvar - mean * mean - logvar.exp()).sum()
            loss = F.binary_cross_entropy_with_logits(out, x, reduction="sum") + divergence
            loss.backward()
            optimizer.step()
            return loss

        return Program(lambda: step(*next(batches)), lambda loss: [loss.item()])

    def dcgan(self, data):
        lib = self.lib
        width = data.params.get("width", 64)
        both = networks.dcgan(self.nn, data.params["size"], data.params["latent"], width)
        generator, discriminator = (self._initial(model, data) for model in both)
        optimizers = [
            self.optim.Adam(model.parameters(), lr=2e-4, betas=(0.5, 0.999), **self.optimizer_options)
            for model in (generator, discriminator)
        ]
        criterion = self.nn.BCEWithLogitsLoss()
        batches = self._batches(data)

        @self.captured
        def step(x, noise):
            z = noise if data.check else lib.randn(noise.shape)
            ones = lib.ones(len(x), dtype=x.dtype)
            discriminator.zero_grad()
            real = criterion(discriminator(x), ones)
            real.backward()
            fake = generator(z)
            false = criterion(discriminator(fake.detach()), lib.zeros_like(ones))
            false.backward()
            optimizers[1].step()
            generator.zero_grad()
            fooled = criterion(discriminator(fake), ones)
            fooled.backward()
            optimizers[0].step()
            return real + false, fooled

        return Program(lambda: step(*next(batches)), lambda losses: [loss.item() for loss in losses])

    def kernel(self, *which):
        """One operation, or its derivative; see kernels.py."""
        return kernels.program(self, *which)

    def captured(self, step):
        """Where a subclass can compile a training step."""
        return step

    def place(self, thing):
        """Where a subclass can move a model or a batch of images."""
        return thing

    def native(self, thing):
        """A kernel's input in the memory layout in which this library's own layers hand it on."""
        return self.place(thing)

    def _images(self, network, data, **options):
        sizes = {name: value for name, value in data.params.items() if name != "size"}
        return network(self.nn, self.F, **sizes, **options)

    def _characters(self, data, cell):
        return self._training(
            networks.characters(self.nn, cell, data.params["vocabulary"], data.params["hidden"]), data
        )

    def _adam(self, parameters):
        return self.optim.Adam(parameters, lr=1e-3, **self.optimizer_options)

    def _sgd(self, parameters):
        return self.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=1e-4, **self.optimizer_options)

    def _initial(self, model, data):
        """The model with the initial weights, in the dtype of the data."""
        lib = self.lib
        model.to(getattr(lib, data.dtype))
        weights = data.weights or {name: data.initial(name, tuple(p.shape)) for name, p in model.named_parameters()}
        state = {name: lib.tensor(weight) for name, weight in weights.items()}
        model.load_state_dict(model.state_dict() | state)  # statistics keep their defaults
        return self.place(model)

    def _batches(self, data):
        return itertools.cycle([tuple(self.place(self.lib.tensor(a)) for a in batch) for batch in data.batches])

    def _training(self, model, data, optimizer=None):
        model = self._initial(model, data)
        optimizer = (optimizer or self._adam)(model.parameters())
        criterion = self.nn.CrossEntropyLoss()
        batches = self._batches(data)

        @self.captured
        def step(x, y):
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return Program(lambda: step(*next(batches)), lambda loss: [loss.item()])


class Torch(TorchStyle):
    """PyTorch, eager, as installed."""

    def __init__(self, threads):
        super().__init__(importlib.import_module("torch"), threads)


class TunedTorch(Torch):
    """PyTorch with the two switches that its documentation recommends for speed: fused optimizers, channels-last."""

    optimizer_options: ClassVar = {"fused": True}
    chain = None  # neither applies

    def place(self, thing):
        if isinstance(thing, self.nn.Module) or thing.ndim == 4:
            return thing.to(memory_format=self.lib.channels_last)
        return thing


class Chainrule(TorchStyle):
    """The checkout that this file belongs to, whatever else is installed; on NumPy alone."""

    fast = "0"

    def __init__(self, threads):
        super().__init__(self.checkout(self.fast), threads)

    @staticmethod
    def checkout(fast):
        """The package of this checkout; `fast`: CHAINRULE_FAST."""
        os.environ["CHAINRULE_FAST"] = fast
        root = pathlib.Path(__file__).resolve().parents[2]
        if not (root / "__init__.py").exists():
            raise ModuleNotFoundError(f"no package in {root.name}/", name="chainrule")
        spec = importlib.util.spec_from_file_location(
            "chainrule", root / "__init__.py", submodule_search_locations=[str(root)]
        )
        lib = sys.modules["chainrule"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(lib)
        return lib

    def native(self, thing):
        return thing.to(memory_format=self.lib.channels_last) if thing.ndim == 4 else thing

    def settle(self):
        self.lib.cpu.empty_cache()


class ChainruleFast(Chainrule):
    """The same with the extra `fast`: many kernels are compiled."""

    fast = "1"

    def __init__(self, threads):
        if importlib.util.find_spec("numba") is None:
            raise ModuleNotFoundError("No module named 'numba'", name="numba")
        super().__init__(threads)
        self.versions["numba"] = importlib.metadata.version("numba")


class ChainruleCapture(ChainruleFast):
    """The same with each step captured: recorded once, then replayed."""

    def captured(self, step):
        return self.lib.capture(step, strict=True)


class ChainrulePlainCapture(Chainrule):
    """Captured steps on NumPy alone."""

    def captured(self, step):
        return self.lib.capture(step, strict=True)
