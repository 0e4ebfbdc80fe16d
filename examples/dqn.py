"""Deep Q-learning keeps a pole upright on a cart.

    python examples/dqn.py
    python examples/dqn.py --double --seed 3

The environment is chainrule's own CartPole: 1 for each step that the pole stands, at most 500. The agent plays 256
steps, then learns 128 times from its memory, and so on. From time to time the network plays 20 episodes greedily, and
the weights that did best are kept: Q-learning forgets as it learns. At the end the kept weights play 100 episodes that
nobody has seen.

What to expect: a mean of 435 to 500 steps, depending on the seed; about a minute on two free cores.

Writes to runs/dqn/: returns.png, figures.json, model.pth.
"""

import time

import numpy as np
from common import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    STYLE,
    command_line,
    plt,
    running_mean,
    save_figures,
    save_picture,
    start,
)

import chainrule as cr
from chainrule import optim
from chainrule.models import DQN, CartPole, QNetwork
from chainrule.utils.progress import Progress

PLAYED, LEARNED, EVERY, TRIALS, FINAL_TRIALS = 256, 128, 2048, 20, 100


@cr.no_grad()
def play(network, seeds, device):
    """Greedy episodes, one for each seed, side by side: their returns."""
    games = [CartPole() for _ in seeds]
    seen = [game.reset(seed=seed)[0] for game, seed in zip(games, seeds)]
    returns, running = np.zeros(len(games)), list(range(len(games)))
    while running:
        actions = network(cr.tensor([seen[i] for i in running], device=device)).argmax(1).tolist()
        still = []
        for i, action in zip(running, actions):
            seen[i], reward, fallen, over, _ = games[i].step(action)
            returns[i] += reward
            if not (fallen or over):
                still.append(i)
        running = still
    return returns


def draw(ends, returns, at, greedy, kept, final, path):
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", width_ratios=(2, 1))
    left.plot(ends, returns, ".", color=GREY, markersize=3, label="an episode, exploring")
    left.plot(ends, running_mean(returns, 20), color=BLUE, label="mean of the last 20")
    left.plot(at, greedy, color=ORANGE, marker="o", markersize=3, label=f"greedy, mean of {TRIALS}")
    left.axvline(kept, color=INK, linestyle=":", linewidth=0.8, zorder=0)
    left.set(ylim=(0, 515), xlabel="steps played", title="How long the pole stood; weights kept at the dotted line")
    left.legend(loc="upper left")
    right.hist(final, bins=np.arange(0, 526, 25), color=ORANGE)
    right.axvline(final.mean(), color=INK, linewidth=1)
    right.set(xlim=(0, 525), xlabel="steps", title=f"{len(final)} new greedy episodes, mean {final.mean():.0f}")
    save_picture(figure, path)


def main(argv=None):
    """Learn, evaluate, draw. Returns the figures of the run."""
    parser = command_line(__doc__, "dqn", steps=40_000)
    parser.add_argument("--double", action="store_true", help="double Q-learning: less optimistic values")
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    cr.manual_seed(args.seed)

    game = CartPole()
    seen, _ = game.reset(seed=args.seed)
    network = QNetwork(game.observation_size, game.actions, hidden=(128, 128)).to(args.device)
    agent = DQN(
        network,
        game.actions,
        capacity=40_000,
        target_every=100,
        epsilon=(1.0, 0.04, 6000),
        optimizer=optim.Adam(network.parameters(), lr=1e-3),
        double=args.double,
        seed=args.seed,
    )
    ends, returns, at, greedy, best, kept, total = [], [], [], [], {}, 0, 0.0
    with Progress(args.steps, "steps") as progress:
        for step in range(1, args.steps + 1):
            action = agent.act(seen)
            following, reward, fallen, over, _ = game.step(action)
            agent.remember(seen, action, reward, following, fallen)  # where time is over the pole still stands
            seen, total = following, total + reward
            if fallen or over:
                ends.append(step)
                returns.append(total)
                seen, total = game.reset()[0], 0.0
            if step % PLAYED == 0:
                for _ in range(LEARNED):
                    agent.learn()
            if step % EVERY == 0 or step == args.steps:
                at.append(step)
                greedy.append(play(network, range(1000, 1000 + TRIALS), args.device).mean())
                if greedy[-1] == max(greedy):
                    kept, best = step, {k: v.clone() for k, v in network.state_dict().items()}
            progress.update(
                mean_return=f"{np.mean(returns[-20:]):.0f}" if returns else "-",
                greedy=f"{greedy[-1]:.0f}" if greedy else "-",
            )

    network.load_state_dict(best)
    final = play(network, range(5000, 5000 + FINAL_TRIALS), args.device)
    cr.save(network.state_dict(), args.out / "model.pth")
    with plt.rc_context(STYLE):
        draw(ends, returns, at, greedy, kept, final, args.out / "returns.png")
    seconds = time.perf_counter() - started
    print(
        f"the pole stands for {final.mean():.0f} of 500 steps (mean of {FINAL_TRIALS} new episodes) with the ", end=""
    )
    print(f"weights of step {kept} of {args.steps}, {seconds:.1f} s; results in {args.out}/")
    return save_figures(
        args.out,
        {
            "mean_return": float(final.mean()),
            "first_returns": float(np.mean(returns[:20])),
            "last_returns": float(np.mean(returns[-20:])),
            "seconds": seconds,
        },
    )


if __name__ == "__main__":
    start(main)
