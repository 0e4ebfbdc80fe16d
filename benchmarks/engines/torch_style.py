"""chainrule and PyTorch: one source, the library is passed in. That one source does for both is what is claimed."""

import importlib
import importlib.metadata
import importlib.util
import itertools
import os
import pathlib
import sys
from typing import ClassVar

from engines import Program


class TorchStyle:
    """Programs as PyTorch's users write them, for any library with its API."""

    adam_options: ClassVar = {}

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

    def place(self, thing):
        """Where a subclass can move a model or a batch of images."""
        return thing

    def _training(self, model, data):
        lib = self.lib
        model.load_state_dict({name: lib.tensor(weight) for name, weight in data.weights.items()})
        model = self.place(model)
        optimizer = self.optim.Adam(model.parameters(), lr=1e-3, **self.adam_options)
        criterion = self.nn.CrossEntropyLoss()
        batches = itertools.cycle([(self.place(lib.tensor(x)), lib.tensor(y)) for x, y in data.batches])

        def step():
            x, y = next(batches)
            optimizer.zero_grad()
            loss = criterion(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return Program(step, lambda loss: [loss.item()])


class Torch(TorchStyle):
    """PyTorch, eager, as installed."""

    def __init__(self, threads):
        super().__init__(importlib.import_module("torch"), threads)


class TunedTorch(Torch):
    """PyTorch with the two switches that its documentation recommends for speed: a fused optimizer, channels-last."""

    adam_options: ClassVar = {"fused": True}
    chain = None  # neither applies

    def place(self, thing):
        if isinstance(thing, self.nn.Module) or thing.ndim == 4:
            return thing.to(memory_format=self.lib.channels_last)
        return thing


class Chainrule(TorchStyle):
    """The checkout that this file belongs to, whatever else is installed; on NumPy alone."""

    fast = "0"

    def __init__(self, threads):
        os.environ["CHAINRULE_FAST"] = self.fast
        root = pathlib.Path(__file__).resolve().parents[2]
        if not (root / "__init__.py").exists():
            raise ModuleNotFoundError(f"no package in {root.name}/", name="chainrule")
        spec = importlib.util.spec_from_file_location(
            "chainrule", root / "__init__.py", submodule_search_locations=[str(root)]
        )
        lib = sys.modules["chainrule"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(lib)
        super().__init__(lib, threads)


class ChainruleFast(Chainrule):
    """The same with the extra `fast`: some kernels are numba's.

    They are loaded here, as PyTorch's are when it is imported: the memory of a step is not that of numba's code.
    """

    fast = "1"

    def __init__(self, threads):
        numba = importlib.import_module("numba")
        super().__init__(threads)
        self.versions["numba"] = numba.__version__
        weights = self.nn.Parameter(self.lib.ones(1 << 16))
        optimizer = self.optim.Adam([weights])
        for _ in range(2):
            weights.grad = self.lib.ones(1 << 16)
            optimizer.step()
