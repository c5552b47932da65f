"""What all tests share: the engines that can run here, and rules that keep the suite deterministic.

Nothing here is a test. The table of operations is in `cases.py`.
"""

from importlib.util import find_spec

import pytest
from hypothesis import HealthCheck, settings

import fastgraph as fg
from fastgraph.engines import extension

NATIVE = extension.NATIVE_AVAILABLE and find_spec("fastgraph.engines.native") is not None
ENGINES = ("numpy", "native") if NATIVE else ("numpy",)
#: Engine and instruction set, for the tests that must hold in every build of the native engine.
RUNNERS = ("numpy", *(f"native-{isa}" for isa in (extension.available_isas() if NATIVE else ())))

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("ci")


def pytest_configure(config):
    # NumPy's floating-point warnings are the engine's business; none may reach a user.
    config.addinivalue_line("filterwarnings", "error:.*encountered in.*:RuntimeWarning")


@pytest.fixture(autouse=True)
def _keep_engine():
    """No test leaves another engine behind than it found."""
    before = fg.engine()
    yield
    fg.set_engine(before)


@pytest.fixture(params=ENGINES)
def engine(request):
    """Each engine that can run here, in use during the test."""
    fg.set_engine(request.param)
    return request.param


@pytest.fixture(params=RUNNERS)
def runner(request, monkeypatch):
    """Each engine, and of the native one each instruction set, in use during the test."""
    name, _, isa = request.param.partition("-")
    if isa:
        monkeypatch.setenv("FASTGRAPH_ISA", isa)
    fg.set_engine(name)
    return request.param


@pytest.fixture(params=("float64", "float32"))
def dtype(request):
    return request.param
