"""Networks that draw digits: a variational autoencoder or a DCGAN, on scikit-learn's 1,797 images of 8 x 8.

    python examples/generate_digits.py
    python examples/generate_digits.py --latent 8
    python examples/generate_digits.py --model dcgan

How good the samples are is told by two numbers. A nearest-neighbour classifier names each sample: all ten digits should
appear. And the distance to the nearest training image: about that of real images which were not in training; much
more is noise, much less is learned by heart.

What to expect: all ten digits; distances of 1.1 (autoencoder, blurred), 1.5 (DCGAN, sharper strokes on a ground that
is grey in places) and 1.04 (real images). The autoencoder takes about 10 s, the DCGAN about 30 s.

Writes to runs/generate_digits/: samples.png, curves.png, figures.json, model.pth, and with the autoencoder
reconstructions.png and latent.png (the grid of all that it can draw, and where each digit lies).
"""

import sys
import time
from statistics import NormalDist

import numpy as np
from common import (
    BLUE,
    INK,
    ORANGE,
    STYLE,
    command_line,
    plt,
    save_figures,
    save_picture,
    start,
    whole,
)

import chainrule as cr
from chainrule import optim
from chainrule.models import VAE, Discriminator, Generator, vae_loss
from chainrule.models.gan import weights_init
from chainrule.nn import functional as F
from chainrule.utils.progress import Progress

try:
    from sklearn.datasets import load_digits
    from sklearn.neighbors import NearestNeighbors
except ImportError as missing:
    sys.exit(f"This program needs {missing.name}: pip install 'chainrule[examples]'")

BATCH, HELD_OUT, SHOWN = 64, 297, 60


def load_data():
    """Training images (N, 64) in [0, 1] and their classes; the same of those that are held out."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images = (digits.data[order] / 16.0).astype(np.float32)
    classes = digits.target[order]
    return (images[HELD_OUT:], classes[HELD_OUT:]), (images[:HELD_OUT], classes[:HELD_OUT])


def judged(samples, training, held_out):
    """How many digits the samples show, each at least once in fifty, and how far they are from the training images."""
    nearest = NearestNeighbors(n_neighbors=1).fit(training[0])
    distance, which = nearest.kneighbors(samples)
    counts = np.bincount(training[1][which[:, 0]], minlength=10)
    return {
        "digits_shown": int((counts >= len(samples) / 50).sum()),
        "distance": float(np.median(distance)),
        "distance_of_real_images": float(np.median(nearest.kneighbors(held_out[0])[0])),
    }


def batches(images, random, device):
    order = random.permutation(len(images))
    for i in range(0, len(order) - BATCH + 1, BATCH):
        yield cr.tensor(images[order[i : i + BATCH]], device=device)


# -- the two models ---------------------------------------------------------------------------------------------------


def train_vae(args, training, held_out, random):
    """Model, curves (name → one value per epoch), and what draws n samples (n, 64) with values in [0, 1]."""
    model = VAE(64, 256, args.latent).to(args.device)
    epochs = args.epochs or 500
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=1e-4)
    unread = cr.tensor(held_out[0], device=args.device)
    curves = {"training images": [], "held-out images": []}
    with Progress(epochs, "epochs") as progress:
        for _ in range(epochs):
            losses = []
            for x in batches(training[0], random, args.device):
                loss = vae_loss(*fitting(model(x), x)) / len(x)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            scheduler.step()
            with cr.no_grad():
                held = vae_loss(*fitting(model(unread), unread)).item() / len(unread)
            curves["training images"].append(float(np.mean(losses)))
            curves["held-out images"].append(held)
            progress.update(loss=f"{curves['training images'][-1]:.2f}", held_out=f"{held:.2f}")
    return model, curves, model.sample


def fitting(out, x):
    """The arguments of `vae_loss` from what the model returns."""
    reconstruction, mu, logvar = out
    return reconstruction, x, mu, logvar


def train_dcgan(args, training, random):
    """As `train_vae`. The generator that draws is the running mean of the one that learns, which swings."""
    generator = Generator(z=args.latent, channels=1, width=64, size=8).to(args.device).apply(weights_init)
    discriminator = Discriminator(channels=1, width=64, size=8).to(args.device).apply(weights_init)
    averaged = optim.swa_utils.AveragedModel(
        generator, multi_avg_fn=optim.swa_utils.get_ema_multi_avg_fn(0.995), use_buffers=True
    )
    rates = {"lr": 5e-4, "betas": (0.5, 0.999)}
    learn_g, learn_d = (optim.Adam(m.parameters(), **rates) for m in (generator, discriminator))
    epochs = args.epochs or 120
    curves = {"discriminator": [], "generator": []}
    with Progress(epochs, "epochs") as progress:
        for _ in range(epochs):
            losses = []
            for x in batches(training[0], random, args.device):
                real = 2 * x.view(-1, 1, 8, 8) - 1
                false = generator(cr.randn(len(x), args.latent, device=args.device))
                answers = discriminator(cr.cat([real, false.detach()]))
                wanted = cr.cat([cr.full((len(x),), 0.9), cr.zeros(len(x))]).to(args.device)  # 0.9: never quite sure
                loss_d = F.binary_cross_entropy_with_logits(answers, wanted)
                learn_d.zero_grad()
                loss_d.backward()
                learn_d.step()

                loss_g = F.softplus(-discriminator(false)).mean()  # -ln D(G(z))
                learn_g.zero_grad()
                loss_g.backward()
                learn_g.step()
                averaged.update_parameters(generator)
                losses.append([loss_d.item(), loss_g.item()])
            for name, loss in zip(curves, np.mean(losses, 0)):
                curves[name].append(float(loss))
            progress.update(**{name: f"{values[-1]:.2f}" for name, values in curves.items()})
    model = averaged.module  # in training mode: each batch is normalised by its own statistics, as in the game
    return model, curves, lambda n: (model(cr.randn(n, args.latent, device=args.device)).flatten(1) + 1) / 2


# -- pictures ---------------------------------------------------------------------------------------------------------


def sheet(images, columns):
    """Images (N, 64) as one picture, a white line between them."""
    rows = len(images) // columns
    framed = np.pad(images[: rows * columns].reshape(rows, columns, 8, 8), [(0, 0), (0, 0), (0, 1), (0, 1)])
    return framed.transpose(0, 2, 1, 3).reshape(rows * 9, columns * 9)[:-1, :-1]


def show(axis, images, columns, title):
    axis.imshow(sheet(images, columns), cmap="gray_r", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[], title=title)
    axis.spines[:].set_visible(False)


def draw_samples(samples, real, path):
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.1), layout="constrained")
    show(left, real[:SHOWN], 10, "Written by people")
    show(right, samples[:SHOWN], 10, "Drawn by the network")
    save_picture(figure, path)


def draw_reconstructions(images, reconstructed, path):
    figure, axis = plt.subplots(figsize=(7, 2.1), layout="constrained")
    pairs = np.stack([images[:32].reshape(2, 16, 64), reconstructed[:32].reshape(2, 16, 64)], 1)
    show(axis, pairs.reshape(64, 64), 16, "Held-out images, each above what the network makes of it")
    save_picture(figure, path)


def draw_curves(curves, path):
    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    for colour, (name, values) in zip((ORANGE, BLUE), curves.items()):
        axis.plot(np.arange(1, len(values) + 1), values, color=colour, label=name)
    axis.set(xlabel="epoch", title="Loss: nats per image" if "generator" not in curves else "Losses of the two")
    axis.legend()
    save_picture(figure, path)


@cr.no_grad()
def draw_latent(model, images, classes, device, path, size=18):
    """The grid of the two latent numbers that tell most, at even steps of probability, and the means of real images."""
    mu, logvar = (t.cpu().numpy() for t in model.encode(cr.tensor(images, device=device)))
    kl = -0.5 * (1 + logvar - mu**2 - np.exp(logvar)).mean(0)
    first, second = np.sort(np.argsort(-kl)[:2])
    steps = [NormalDist().inv_cdf((i + 0.5) / size) for i in range(size)]
    z = np.zeros((size * size, mu.shape[1]), np.float32)
    z[:, first], z[:, second] = np.tile(steps, size), np.repeat(steps[::-1], size)
    drawn = model.decode(cr.tensor(z, device=device)).cpu().numpy()
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.5), layout="constrained")
    show(left, drawn, size, f"What the latent numbers {first + 1} and {second + 1} draw")
    for digit in range(10):
        chosen = classes == digit
        colour = plt.cm.tab10(digit)
        right.scatter(mu[chosen, first], mu[chosen, second], s=5, color=colour, linewidths=0)
        x, y = np.median(mu[chosen][:, [first, second]], 0)
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": colour}
        right.text(x, y, digit, color=INK, ha="center", va="center", bbox=box)
    edge = steps[-1]
    right.plot([-edge, edge, edge, -edge, -edge], [-edge, -edge, edge, edge, -edge], color=INK, lw=0.8, ls=":")
    right.set(title="Where the training images lie; dotted, the part on the left", aspect="equal")
    save_picture(figure, path)


def main(argv=None):
    """Train, sample, judge, draw. Returns the figures of the run."""
    parser = command_line(__doc__, "generate_digits")
    parser.add_argument("--model", choices=("vae", "dcgan"), default="vae")
    parser.add_argument("--epochs", type=whole, help="how many to train for (vae 500, dcgan 120)")
    parser.add_argument("--latent", type=whole, help="latent numbers of an image (vae 2, dcgan 16)")
    args = parser.parse_args(argv)
    args.latent = args.latent or {"vae": 2, "dcgan": 16}[args.model]
    if args.model == "vae" and args.latent < 2:
        parser.error("--latent: the autoencoder needs 2 or more, for the grid")
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    cr.manual_seed(args.seed)
    random = np.random.default_rng(args.seed)

    training, held_out = load_data()
    print(f"{args.model} on {len(training[0])} images, {len(held_out[0])} held out, on {args.device}")
    if args.model == "vae":
        model, curves, sample = train_vae(args, training, held_out, random)
    else:
        model, curves, sample = train_dcgan(args, training, random)
    with cr.no_grad():
        samples = sample(1000).cpu().numpy()
    figures = {name.replace(" ", "_"): values[-1] for name, values in curves.items()}
    figures |= {f"first_{name.replace(' ', '_')}": values[0] for name, values in curves.items()}
    figures |= judged(samples, training, held_out)

    cr.save(model.state_dict(), args.out / "model.pth")
    with plt.rc_context(STYLE):
        draw_samples(samples, training[0], args.out / "samples.png")
        draw_curves(curves, args.out / "curves.png")
        if args.model == "vae":
            with cr.no_grad():
                images = cr.tensor(held_out[0], device=args.device)
                reconstructed = model.decode(model.encode(images)[0]).cpu().numpy()
            figures["reconstruction_error"] = float(np.sqrt(np.mean((reconstructed - held_out[0]) ** 2)))
            draw_reconstructions(held_out[0], reconstructed, args.out / "reconstructions.png")
            draw_latent(model, *training, args.device, args.out / "latent.png")
    seconds = time.perf_counter() - started
    print(
        f"{figures['digits_shown']} of 10 digits among 1,000 samples; distance to the nearest training image ", end=""
    )
    print(f"{figures['distance']:.2f} (real images {figures['distance_of_real_images']:.2f}); ", end="")
    print(f"{seconds:.1f} s; results in {args.out}/")
    return save_figures(args.out, {**figures, "seconds": seconds})


if __name__ == "__main__":
    start(main)
