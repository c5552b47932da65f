"""`python -m benchmarks.many`: hundreds of small models, on one core, on all, and in PyTorch.

Every model is miniflow (13-10-1 sigmoid on Boston, batch 11, SGD, float64) with a seed and a
learning rate of its own. PyTorch trains some of them in a loop, from the same parameters, with the
batches in the same order; the losses must agree. `threads` of fastgraph is all that changes
between the two times of fastgraph, and what this machine gives two threads of plain C at the same
moment stands beside their ratio.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import threading
import time
from collections.abc import Callable
from importlib import util
from typing import Any

import numpy as np

import fastgraph as fg

BATCH = 11
BOSTON = fg.datasets.load_boston()
X = (BOSTON.data - BOSTON.data.mean(axis=0)) / BOSTON.data.std(axis=0)
Y = (BOSTON.target[:, None] - BOSTON.target.mean()) / BOSTON.target.std()
FEEDS = {"x": X, "y": Y}


def miniflow(seed: int) -> fg.Graph:
    """13-10-1 with sigmoids, mean squared error."""
    x, y = fg.Input("x", shape=(13,)), fg.Input("y", shape=(1,))
    return fg.Graph(fg.MSE(y, fg.mlp(x, [10, 1], "sigmoid", seed=seed), name="loss"))


def rate(number: int) -> float:
    """From 0.001 to 0.1, evenly in the logarithm, over and over."""
    return 10 ** (-3 + 2 * (number % 20) / 19)


def fit(models: int, epochs: int, threads: int) -> list[fg.Trained]:
    """The graphs, made and trained."""
    own = [{"learning_rate": rate(number)} for number in range(models)]
    return fg.fit_many(
        miniflow, FEEDS, own, threads=threads, optimizer=fg.SGD(1.0), epochs=epochs,
        batch_size=BATCH, shuffle=False,
    )  # fmt: skip


def fit_pytorch(models: int, epochs: int) -> list[float]:
    """The same in eager PyTorch, one model after another; the losses of all rows."""
    import torch

    torch.set_num_threads(1)
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    losses = []
    for number in range(models):
        W1, b1, W2, b2 = p = [
            torch.tensor(node.value, requires_grad=True)
            for node in miniflow(number).parameters.values()
        ]
        optimizer = torch.optim.SGD(p, rate(number))

        def loss(x: Any, y: Any, W1=W1, b1=b1, W2=W2, b2=b2) -> Any:
            hidden = torch.sigmoid(torch.addmm(b1, x, W1))
            return torch.nn.functional.mse_loss(torch.addmm(b2, hidden, W2), y)

        for _ in range(epochs):
            for start in range(0, len(X), BATCH):
                optimizer.zero_grad()
                loss(x[start : start + BATCH], y[start : start + BATCH]).backward()
                optimizer.step()
        losses.append(loss(x, y).item())
    return losses


def plain_c(threads: int, share: int = 24) -> None:
    """SHA-256 of 96 MB in so many threads, without the GIL: what the machine gives."""
    data = bytes(1 << 22)

    def work() -> None:
        for _ in range(share // threads):
            hashlib.sha256(data).digest()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def seconds(run: Callable[[], Any]) -> float:
    """Of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many", description=__doc__)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2, help="of fastgraph, against one")
    parser.add_argument("--pytorch-models", type=int, default=2, help="the loop is long")
    parser.add_argument("--rounds", type=int, default=7, help="taken in turns; the least counts")
    given = parser.parse_args(arguments)
    models, epochs, threads = given.models, given.epochs, given.threads
    steps = epochs * -(-len(X) // BATCH)
    print(f"{models} models of miniflow, {steps} steps each, fastgraph's {fg.engine()} engine")

    torch = util.find_spec("torch") is not None
    if torch:
        some = given.pytorch_models
        ours = [float(m.graph.evaluate("loss", FEEDS)) for m in fit(some, epochs, threads)]
        np.testing.assert_allclose(ours, fit_pytorch(some, epochs), rtol=1e-9, err_msg="losses")
    runs: dict[str, Callable[[], Any]] = {
        "one": lambda: fit(models, epochs, 1),
        "all": lambda: fit(models, epochs, threads),
        "plain one": lambda: plain_c(1),
        "plain all": lambda: plain_c(threads),
    }
    least = dict.fromkeys(runs, np.inf)
    for _ in range(given.rounds):
        for name, run in runs.items():
            least[name] = min(least[name], seconds(run))
    for name, count in (("one", 1), ("all", threads)):
        each = 1e3 * least[name] / models
        print(f"fastgraph, threads={count}: {least[name]:.3f} s, {each:.3f} ms a model")
    print(
        f"threads={threads} against 1: {least['one'] / least['all']:.2f}x "
        f"(plain C on this machine: {least['plain one'] / least['plain all']:.2f}x)"
    )
    if not torch:
        print("PyTorch is not installed: skipped")
        return
    loop = min(seconds(lambda: fit_pytorch(some, epochs)) for _ in range(2)) / some
    print(
        f"PyTorch in a loop: {1e3 * loop:.1f} ms a model, {loop / (least['all'] / models):.0f}x "
        f"fastgraph's time ({loop / (least['one'] / models):.0f}x with one thread)"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
