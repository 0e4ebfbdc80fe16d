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
}

OPTIMIZERS = {
    name
    for name in optim.__all__
    if isinstance(getattr(optim, name), type)
    and issubclass(getattr(optim, name), optim.Optimizer)
    and name != "Optimizer"
}
