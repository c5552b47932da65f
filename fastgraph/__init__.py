"""fastgraph: a computing graph you can see through, at the speed of hand-written C.

Nodes (`Input`, `Parameter`, `Linear`, `Sigmoid`, `MSE`, …) make a `Graph`; it runs forward,
backward, and trains. This file holds the public names and nothing else.
"""

from . import datasets, engines, initializers, optimizers, plot, schedules
from .callbacks import EarlyStopping, Every, Progress
from .checks import GradientReport, check_gradients
from .doctor import Diagnosis, Finding
from .engines import engine, set_engine
from .ensemble import Ensemble
from .errors import (
    CycleError,
    DataError,
    DivergenceError,
    FastGraphError,
    GraphError,
    SettingError,
    ShapeError,
)
from .graph import Graph, load
from .layers import Dense, mlp
from .many import Trained, fit_many
from .node import Constant, Input, Node, Parameter, Shape
from .ops import *  # noqa: F403
from .ops import __all__ as _operations
from .optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
from .selection import CrossValidation, Range, Sweep, Trial, cross_validate, sweep
from .solvers import LBFGS, LevenbergMarquardt
from .sort import topological_sort
from .training import History

__version__ = "0.1.0"

engines.choose_at_import()

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Constant",
    "CrossValidation",
    "CycleError",
    "DataError",
    "Dense",
    "Diagnosis",
    "DivergenceError",
    "EarlyStopping",
    "Every",
    "Ensemble",
    "FastGraphError",
    "Finding",
    "GradientReport",
    "Graph",
    "GraphError",
    "History",
    "Input",
    "LBFGS",
    "LevenbergMarquardt",
    "Node",
    "Parameter",
    "Progress",
    "RMSprop",
    "Range",
    "SettingError",
    "Shape",
    "ShapeError",
    "Sweep",
    "Trained",
    "Trial",
    "check_gradients",
    "cross_validate",
    "datasets",
    "engine",
    "engines",
    "fit_many",
    "initializers",
    "load",
    "mlp",
    "optimizers",
    "plot",
    "schedules",
    "set_engine",
    "sweep",
    "topological_sort",
    *_operations,
]
