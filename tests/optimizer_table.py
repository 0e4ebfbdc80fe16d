"""The optimizer table: for each optimizer the combinations of options with which it is tested."""

from itertools import product

from chainrule import optim


def combinations(**choices):
    """One dictionary of options for each choice of values."""
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


def allowed(options):
    return not options["nesterov"] or (options["momentum"] and not options["dampening"])


_ADAM = combinations(
    weight_decay=[0, 0.01], amsgrad=[False, True], maximize=[False, True], betas=[(0.9, 0.999), (0.5, 0.9)]
)

TABLE: dict[str, list[dict]] = {
    "SGD": [
        {"lr": 0.1, **options}
        for options in combinations(
            momentum=[0, 0.9],
            dampening=[0, 0.1],
            weight_decay=[0, 0.01],
            nesterov=[False, True],
            maximize=[False, True],
        )
        if allowed(options)
    ],
    "Adam": [{"lr": 0.05, **o} for o in _ADAM] + [{"decoupled_weight_decay": True, "weight_decay": 0.1, "eps": 1e-3}],
    "AdamW": [{"lr": 0.05, **o} for o in _ADAM] + [{}],
    "Adagrad": [
        {},
        *[
            {"lr": 0.5, "lr_decay": 0.05, "initial_accumulator_value": 0.3, "eps": 1e-3, **o}
            for o in combinations(weight_decay=[0, 0.01], maximize=[True, False])
        ],
    ],
    "Adadelta": [
        {},
        *[
            {"lr": 0.5, "rho": 0.8, "eps": 1e-2, **o}
            for o in combinations(weight_decay=[0, 0.01], maximize=[True, False])
        ],
    ],
    "RMSprop": [
        {"lr": 0.05, "alpha": 0.9, "eps": 1e-3, **o}
        for o in combinations(momentum=[0, 0.5], centered=[False, True], weight_decay=[0, 0.01], maximize=[True, False])
    ],
    "Adamax": [{}, *[{"lr": 0.1, **o} for o in combinations(weight_decay=[0, 0.01], maximize=[True, False])]],
    "NAdam": [
        {},
        *[
            {"lr": 0.1, "momentum_decay": 0.01, "betas": (0.8, 0.9), **o}
            for o in combinations(weight_decay=[0, 0.01], decoupled_weight_decay=[True, False], maximize=[True, False])
        ],
    ],
    "RAdam": [
        {},
        *[
            {"lr": 0.1, "betas": (0.8, 0.95), **o}
            for o in combinations(weight_decay=[0, 0.01], decoupled_weight_decay=[True, False], maximize=[True, False])
        ],
    ],
    "Rprop": [{"maximize": True}, {"etas": (0.3, 1.5), "step_sizes": (1e-2, 0.2)}, {}],
    "ASGD": [
        {},
        *[
            {"lr": 0.1, "lambd": 0.05, "alpha": 0.6, "t0": 5, **o}
            for o in combinations(weight_decay=[0, 0.01], maximize=[True, False])
        ],
    ],
    "Lion": [{}, *[{"lr": 0.05, **o} for o in combinations(weight_decay=[0, 0.1], maximize=[True, False])]],
    "Adafactor": [
        {},
        {"lr": 0.5, "beta2_decay": -0.5, "eps": (1e-4, 1e-1), "weight_decay": 0.1, "maximize": True},
        {"lr": 0.05, "d": 2.0},
    ],
    "SparseAdam": [{"lr": 0.05, "betas": (0.5, 0.9), "eps": 1e-3, "maximize": True}, {}],
    "Muon": [
        {"nesterov": False, "adjust_lr_fn": "original"},
        {"lr": 0.01, "momentum": 0.8, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3},
        {},
    ],
}

# Steps that need a closure: tests of its own in test_lbfgs.py.
WITH_CLOSURE = {"LBFGS"}
# PyTorch has none; tests of its own formula.
NOT_IN_TORCH = {"Lion"}
# PyTorch's takes sparse gradients alone: a test of its own.
SPARSE_IN_TORCH = {"SparseAdam"}
# PyTorch's Muon computes in bfloat16, so it is compared more loosely, in a test of its own.
ROUNDED_IN_TORCH = {"Muon"}
# PyTorch offers no recorded step for these.
NOT_DIFFERENTIABLE = {"Adafactor", "Muon", "SparseAdam"}
# The formula looks at whole parameters; Muon takes matrices only.
MATRICES_ONLY = {"Muon"}
# A learning rate, and how close to the minimum 200 steps must come, where they are not 0.1 and 1e-2.
MINIMISING = {"Adadelta": (2, 1e-2), "Adagrad": (1, 1e-2), "Lion": (0.05, 2e-2), "Adafactor": (0.5, 1e-1)}

OPTIMIZERS = {
    name
    for name in optim.__all__
    if isinstance(getattr(optim, name), type)
    and issubclass(getattr(optim, name), optim.Optimizer)
    and name != "Optimizer"
}
