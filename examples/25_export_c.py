"""25. A model leaves home: C source for a machine without Python.

A 13-10-1 net learns the Boston prices on standardized data. `export_c` writes it as one C file
and a header: raw features in, thousands of dollars out, the scaling inside. A second file can also
learn: one step of gradient descent for each house it is shown. Where there is a C compiler, both
are compiled here and compared with the graph, house by house.

Look at: the sizes (the net in float fits in a very small microcontroller), the largest difference
between C and the graph, and the error on the houses that the net goes on learning from in C.
Next: the C itself; it is made to be read.
"""

import argparse
import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

import fastgraph as fg

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
parser.add_argument("--out", type=Path, default=Path("lesson"), help="folder for the C files")
out = parser.parse_args().out
out.mkdir(parents=True, exist_ok=True)

# %%
boston = fg.datasets.load_boston()
order = np.random.default_rng(0).permutation(506)
held, kept = order[:101], order[101:]
features = boston.data[kept].mean(axis=0), boston.data[kept].std(axis=0)
prices = boston.target[kept].mean(), boston.target[kept].std()
X = (boston.data - features[0]) / features[1]
Y = ((boston.target - prices[0]) / prices[1])[:, np.newaxis]

x, y = fg.Input("x", shape=(13,)), fg.Input("y", shape=(1,))
price = fg.Dense(fg.Dense(x, 10, "tanh", name="hidden"), 1, seed=1, name="price")
graph = fg.Graph(fg.MSE(y, price))
graph.fit({x: X[kept], y: Y[kept]}, optimizer=fg.Adam(1e-2), epochs=20, batch_size=32)

# %%
scaling = {x: features, y: prices, price: prices}
small = graph.export_c(price, out / "boston.c", scaling=scaling, dtype="float32")
learner = graph.export_c(
    price, out / "boston_learner.c", scaling=scaling, training=True, optimizer=fg.SGD(1e-3)
)
print(small)
print(learner)

# %% [markdown]
# The test: the same 506 houses through the graph and through the compiled C.

# %%
compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
if compiler is None:
    raise SystemExit("no C compiler found, so the files are not compiled here")


def pointer(array):
    return array.ctypes.data_as(ctypes.c_void_p)


def predict(library, name, dtype):
    """Prices of all houses in thousands of dollars, (506,), by compiled C."""
    rows, result = boston.data.astype(dtype), np.empty(506, dtype)
    call = getattr(library, f"{name}_predict")
    for row in range(506):
        call(pointer(rows[row]), pointer(result[row : row + 1]))
    return result


library = out.resolve() / "boston.so"
sources = [os.path.abspath(file) for file in (small.source, learner.source)]
subprocess.run(
    [compiler, "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-fPIC", "-shared",
     "-o", str(library), *sources, "-lm"],
    check=True,
)  # fmt: skip
c = ctypes.CDLL(str(library))

by_graph = graph.evaluate(price, {x: X})[:, 0] * prices[1] + prices[0]
by_c = predict(c, "boston", "float32")
difference = np.abs(by_c - by_graph).max()
print(f"506 prices, C in float against the graph in double: {difference:.1e} apart at most")

# %%
def errors():
    """Mean squared error of the learner now: on the houses it learns from, and held out."""
    wrong = (predict(c, "boston_learner", "float64") - boston.target) ** 2
    return wrong[kept].mean(), wrong[held].mean()


step = c.boston_learner_train_step
step.restype = ctypes.c_double
arrives = errors()
for epoch in range(20):
    for row in np.random.default_rng(epoch).permutation(kept):
        step(pointer(boston.data[row]), pointer(boston.target[row : row + 1]))
leaves = errors()
for when, (seen, unseen) in (("as it arrives", arrives), ("after 20 passes in C", leaves)):
    print(f"squared error {when}: {seen:.2f} in training, {unseen:.2f} held out")
