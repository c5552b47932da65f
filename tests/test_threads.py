"""Several graphs in several threads at once: every one as if it were alone."""

import threading

import numpy as np

import fastgraph as fg

DRAW = np.random.default_rng(9)
X = DRAW.normal(size=(211, 5))
Y = np.tanh(X @ DRAW.normal(size=5))


def net(seed):
    x, y = fg.Input("x", shape=(5,)), fg.Input("y", shape=(1,))
    out = fg.Dense(fg.Dense(x, 7, "tanh", seed=seed), 1, seed=seed + 1)
    return fg.Graph(fg.MSE(y, out), dtype="float32" if seed % 2 else "float64")


def train(graph, epochs=60, seed=0):
    history = graph.fit(
        {"x": X, "y": Y[:, None]}, optimizer=fg.Adam(0.01), epochs=epochs, batch_size=16, seed=seed
    )
    return history.loss.tobytes(), *(p.value.tobytes() for p in graph.parameters.values())


def together(jobs):
    """Run the jobs in threads that start at once; their results, or the first exception."""
    results, errors = [None] * len(jobs), []
    start = threading.Barrier(len(jobs))

    def work(i):
        try:
            start.wait(60)
            results[i] = jobs[i]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    if errors:
        raise errors[0]
    return results


def test_graphs_trained_at_once_are_as_if_alone(engine):
    seeds = (0, 1, 2, 3)
    alone = [train(net(seed)) for seed in seeds]
    assert len(set(alone)) == len(seeds)
    assert together([lambda s=s: train(net(s)) for s in seeds]) == alone


def test_one_optimizer_may_serve_graphs_in_two_threads(engine):
    shared = fg.SGD(0.05, momentum=0.9)

    def job(seed):
        graph = net(seed)
        for _ in range(5):
            graph.fit({"x": X, "y": Y[:, None]}, optimizer=shared, epochs=3, batch_size=16)
        return [p.value.tobytes() for p in graph.parameters.values()]

    alone = [job(seed) for seed in (0, 2)]
    assert together([lambda s=s: job(s) for s in (0, 2)]) == alone


def test_custom_nodes_run_in_several_threads(engine):
    class Cube(fg.Node):
        def forward(self, x):
            return x**3

        def backward(self, gradient, x):
            return (3 * x**2 * gradient,)

    def job(start):
        x, p = fg.Input("x"), fg.Parameter(start)
        graph = fg.Graph(fg.Mean(Cube(x * p) ** 2))
        graph.fit({x: X[:, 0]}, optimizer=fg.SGD(1e-3), epochs=40, batch_size=32)
        return float(p.value)

    alone = [job(s) for s in (0.5, 1.0)]
    assert together([lambda s=s: job(s) for s in (0.5, 1.0)]) == alone


def test_many_threads_on_one_graph_get_their_result_or_a_clear_error(engine):
    """A crash or a wrong number would be a failure; so would be no success at all."""
    graph = net(0)
    feeds = {"x": X, "y": Y[:, None]}
    want = graph.evaluate(graph.outputs[0], feeds).tobytes()
    right, busy = [], []

    def job():
        for _ in range(50):
            try:
                right.append(graph.evaluate(graph.outputs[0], feeds).tobytes() == want)
                graph.forward(feeds)
                graph.backward()
            except fg.GraphError as error:
                assert "running already" in str(error) or "call graph.forward" in str(error)
                busy.append(error)

    together([job] * 4)
    assert right
    assert all(right)
