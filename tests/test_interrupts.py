"""Ctrl-C: a run ends after a step, with that step's parameters, and the prompt is back.

Each case runs in a process of its own, so that a signal can only meet the run it is meant for.
"""

import os
import subprocess
import sys
import textwrap

import pytest
from conftest import ENGINES

PRELUDE = """
import os, signal, threading, time
import numpy as np
import fastgraph as fg
signal.signal(signal.SIGINT, signal.default_int_handler)

def line(extra=lambda node: node):
    x, y = fg.Input("x"), fg.Input("y")
    W = fg.Parameter([1.0, -1.0, 0.5], "W")
    return fg.Graph(fg.MSE(y, fg.MatMul(extra(x), W))), W

draw = np.random.default_rng(0)
X = draw.normal(size=(64, 3)); Y = X @ [3.0, 2.0, 1.0] + 1.0
feeds = {"x": X, "y": Y}

armed = []
enter = fg.training._Interrupts.__enter__

def entering(self):
    entered = enter(self)
    if armed:
        timer = threading.Timer(armed.pop(), os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()
    return entered

fg.training._Interrupts.__enter__ = entering

def ctrl_c(after):
    # Counted from when the run is on, so that a slow machine cannot be interrupted before it.
    armed.append(after)

def state(optimizer):
    (state,) = [s for kept in optimizer._states.values() for s in kept.values()]
    return state

def expect_interrupt(run):
    started = time.monotonic()
    try:
        run()
    except KeyboardInterrupt:
        return time.monotonic() - started
    raise AssertionError("no KeyboardInterrupt")
"""


def run(code, engine):
    result = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
        env=os.environ | {"FASTGRAPH_ENGINE": engine},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


each_engine = pytest.mark.parametrize("engine", ENGINES)


@each_engine
@pytest.mark.parametrize("batch_size", [None, 5])
def test_an_interrupted_run_keeps_its_last_whole_step(engine, batch_size):
    """As many steps of another run give the same bits."""
    run(
        f"""
        graph, W = line()
        optimizer = fg.SGD(1e-9, momentum=0.9)
        ctrl_c(0.3)
        seconds = expect_interrupt(lambda: graph.fit(
            feeds, optimizer=optimizer, epochs=10**9, batch_size={batch_size}, seed=3))
        assert seconds < 30, seconds
        kept = state(optimizer)
        assert kept.steps > 0
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

        # The same steps again, one row of batches after another, stopped at the same step.
        class Stop(Exception): pass
        steps = 0
        class Count(fg.Node):
            def shape(self, x): return x
            def forward(self, x):
                global steps
                if steps == kept.steps: raise Stop
                steps += 1
                return x
            def backward(self, gradient, x): return (None,)
        again, V = line(Count)
        fg.set_engine("numpy")
        if kept.steps > 20000: raise SystemExit  # too many to repeat here: see the test below
        try:
            again.fit(feeds, optimizer=fg.SGD(1e-9, momentum=0.9), epochs=10**9,
                      batch_size={batch_size}, seed=3)
        except Stop:
            pass
        np.testing.assert_allclose(V.value, W.value, rtol=1e-12)
        assert not np.array_equal(W.value, [1.0, -1.0, 0.5])
        """,
        engine,
    )


@each_engine
def test_parameters_and_state_are_those_of_one_step(engine):
    """Every step adds exactly 1: the parameter counts the steps, so any mixture would show."""
    run(
        """
        p = fg.Parameter(np.zeros(1000))
        graph = fg.Graph(fg.Sum(p * -1.0))
        optimizer = fg.SGD(1.0)
        for pause in (0.05, 0.1, 0.2):
            ctrl_c(pause)
            expect_interrupt(lambda: graph.fit({}, optimizer=optimizer, epochs=10**9))
            assert len(set(p.value)) == 1
            assert p.value[0] == state(optimizer).steps, (p.value[0], state(optimizer).steps)
        """,
        engine,
    )


@each_engine
def test_a_run_goes_on_after_an_interrupt(engine):
    run(
        """
        graph, W = line()
        optimizer = fg.SGD(1e-9)
        ctrl_c(0.2)
        expect_interrupt(lambda: graph.fit(feeds, optimizer=optimizer, epochs=10**9))
        history = graph.fit(feeds, optimizer=fg.SGD(0.1), epochs=100)
        assert history.epochs == 100 and history.loss[-1] < history.loss[0]
        graph.forward(feeds)
        """,
        engine,
    )


@each_engine
def test_a_handler_of_the_users_own_is_left_alone(engine):
    """It runs while fit runs, and an exception of its own ends the run cleanly."""
    run(
        """
        class Mine(Exception): pass
        def handler(number, frame): raise Mine
        signal.signal(signal.SIGINT, handler)
        p = fg.Parameter(np.zeros(7))
        graph = fg.Graph(fg.Sum(p * -1.0))
        optimizer = fg.SGD(1.0)
        ctrl_c(0.2)
        try:
            graph.fit({}, optimizer=optimizer, epochs=10**9)
        except Mine:
            pass
        else:
            raise AssertionError
        assert signal.getsignal(signal.SIGINT) is handler
        assert len(set(p.value)) == 1
        assert p.value[0] == state(optimizer).steps > 0
        """,
        engine,
    )


@each_engine
def test_other_signals_are_served_while_it_runs(engine):
    run(
        """
        seen = []
        signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        graph, W = line()
        ctrl_c(0.6)
        expect_interrupt(lambda: graph.fit(feeds, optimizer=fg.SGD(1e-9), epochs=10**9))
        assert seen == [signal.SIGALRM]
        """,
        engine,
    )


@each_engine
def test_ctrl_c_inside_a_custom_node_waits_for_the_step(engine):
    run(
        """
        raised = []
        class Interrupting(fg.Node):
            def shape(self, x): return x
            def forward(self, x):
                if len(raised) < 3:
                    raised.append(1)
                    if len(raised) == 3: signal.raise_signal(signal.SIGINT)
                return x * 1.0
            def backward(self, gradient, x): return (gradient,)
        p = fg.Parameter(np.zeros(3))
        graph = fg.Graph(fg.Sum(Interrupting(p) * -1.0))
        optimizer = fg.SGD(1.0)
        expect_interrupt(lambda: graph.fit({}, optimizer=optimizer, epochs=10**9))
        assert p.value[0] == state(optimizer).steps >= 2
        """,
        engine,
    )


@each_engine
def test_training_in_another_thread_leaves_signals_alone(engine):
    run(
        """
        graph, W = line()
        work = threading.Thread(
            target=graph.fit, args=(feeds,), kwargs={"optimizer": fg.SGD(0.1), "epochs": 300})
        work.start(); work.join(60)
        assert not work.is_alive()
        assert np.abs(W.value - [3, 2, 1]).max() < 0.5
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        """,
        engine,
    )


@each_engine
def test_the_handler_is_back_after_every_end(engine):
    run(
        """
        graph, W = line()
        def same(): return signal.getsignal(signal.SIGINT) is signal.default_int_handler
        graph.fit(feeds, optimizer=fg.SGD(0.1), epochs=2)
        assert same()
        try: graph.fit(feeds, optimizer=fg.SGD(1e9), epochs=10**6)
        except fg.DivergenceError: pass
        else: raise AssertionError
        assert same()
        """,
        engine,
    )


@each_engine
def test_an_interrupted_run_goes_on_from_the_step_it_reached(engine, tmp_path):
    """With a checkpoint, Ctrl-C loses no step, also in the middle of an epoch."""
    run(
        f"""
        path = {str(tmp_path / "run.npz")!r}
        settings = dict(epochs={3000 if engine == "native" else 40}, batch_size=3, seed=3)
        make = lambda: fg.SGD(1e-4, momentum=0.9)

        class Interrupt(fg.Node):
            "Sends the signal while a certain batch runs."
            at, seen = 0, 0
            def shape(self, x): return x
            def forward(self, x):
                Interrupt.seen += 1
                if Interrupt.seen == Interrupt.at: os.kill(os.getpid(), signal.SIGINT)
                return x
            def backward(self, gradient, x): return (None,)

        whole, W = line(Interrupt)
        once = whole.fit(feeds, optimizer=make(), **settings)
        reached = []
        for steps in (31, 32, 33):
            Interrupt.at = Interrupt.seen + steps
            graph, V = line(Interrupt)
            expect_interrupt(lambda: graph.fit(feeds, optimizer=make(), checkpoint=path, every=1000,
                                               **settings))
            document = __import__("json").loads(np.load(path)["run.json"])
            reached.append((document["taken"], document["step"]))
        assert any(step for _, step in reached), reached  # within an epoch
        Interrupt.at = 0
        graph, V = line(Interrupt)
        history = graph.fit(feeds, optimizer=make(), checkpoint=path, every=1000, **settings)
        assert V.value.tobytes() == W.value.tobytes()
        assert history.loss.tobytes() == once.loss.tobytes()
        """,
        engine,
    )


@each_engine
@pytest.mark.parametrize(
    "make", ["fg.LevenbergMarquardt(tolerance=0)", "fg.LBFGS(tolerance=0, improvement=0)"]
)
def test_solvers_keep_their_last_iteration(engine, make):
    if "LBFGS" in make:
        pytest.importorskip("scipy")
    run(
        f"""
        class Slow(fg.Node):
            def shape(self, x): return x
            def forward(self, x):
                time.sleep(0.01)
                return x
            def backward(self, gradient, x): return (None,)

        graph, W = line(Slow)
        seen = []
        def look(progress):
            seen.append(W.value.copy())
            if len(seen) == 2: os.kill(os.getpid(), signal.SIGINT)
        expect_interrupt(lambda: graph.fit(feeds, optimizer={make}, epochs=10**6, callbacks=look))
        assert len(seen) == 2
        np.testing.assert_array_equal(W.value, seen[-1])
        """,
        engine,
    )
