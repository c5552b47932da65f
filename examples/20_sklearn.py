"""20. One import changed: the multilayer perceptrons of scikit-learn, trained by fastgraph.

`fastgraph.sklearn` has an MLPClassifier and an MLPRegressor with the arguments, the attributes and
the stopping rules of scikit-learn's. Three uses, on data that comes with scikit-learn: the same
pipeline with either import on 569 tumours, a grid search over threads, and what the other cannot
do: a band that nine of ten patients lie in, from the loss of a quantile.

Look at: the same scores in a fraction of the time, and the share of the held-out patients inside
the band. Their disease runs further apart the higher the body mass index: the band opens.
Next: set `standardize="auto"`, a list of activations, `dropout`, or a loss of your own.
"""

import functools
import time
import warnings

import joblib
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastgraph as fg
from _lesson import start
from fastgraph import plot
from fastgraph.sklearn import MLPClassifier, MLPRegressor

show = start(__doc__)
warnings.simplefilter("ignore", ConvergenceWarning)  # 200 epochs are enough here

# %% The same pipeline, the same settings, either import.
X, y = load_breast_cancer(return_X_y=True)
train, test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
scores, seconds, epochs = {}, {}, {}
for name, kind in (("scikit-learn", TheirClassifier), ("fastgraph", MLPClassifier)):
    model = make_pipeline(StandardScaler(), kind((64, 64), random_state=0))
    started = time.perf_counter()
    model.fit(train, y_train)
    seconds[name] = time.perf_counter() - started
    scores[name], epochs[name] = model.score(test, y_test), model[-1].n_iter_
    print(f"{name:12}: {scores[name]:.3f} of the held-out tumours told apart, "
          f"{epochs[name]} epochs in {seconds[name]:.2f} s")  # fmt: skip

# %% A grid over threads: training holds no lock, so they run side by side.
grid = {"mlpclassifier__alpha": [1e-4, 1.0, 100.0], "mlpclassifier__activation": ["relu", "gelu"]}
search = GridSearchCV(make_pipeline(StandardScaler(), MLPClassifier((32,), random_state=0)), grid)
with joblib.parallel_backend("threading", n_jobs=2):
    search.fit(train, y_train)
print(f"grid        : {len(search.cv_results_['params'])} settings x 5 folds, best "
      f"{search.best_score_:.3f} with {search.best_params_}; "
      f"held out {search.score(test, y_test):.3f}")  # fmt: skip

# %% A band: the 5 % and the 95 % quantile, and the median, of the progression of diabetes.
X, progression = load_diabetes(return_X_y=True, scaled=False)
bmi = X[:, 2:3]
seen, held, y_seen, y_held = train_test_split(bmi, progression, random_state=1)
bands = {
    quantile: MLPRegressor(
        functools.partial(fg.QuantileLoss, quantile=quantile), (16,), "tanh", standardize=True,
        learning_rate_init=0.01, alpha=0.1, max_iter=300, tol=0, random_state=0,
    ).fit(seen, y_seen)
    for quantile in (0.05, 0.5, 0.95)
}  # fmt: skip
inside = np.mean((bands[0.05].predict(held) < y_held) & (y_held < bands[0.95].predict(held)))
print(f"band        : {inside:.0%} of {len(held)} held-out patients lie inside, 90 % are meant")

at = np.linspace(bmi.min(), bmi.max(), 200)[:, np.newaxis]
low, middle, high = (bands[quantile].predict(at) for quantile in bands)
ax = plot.fit(held.ravel(), y_held, {"median": lambda z: bands[0.5].predict(z[:, np.newaxis])})
ax.fill_between(at.ravel(), low, high, alpha=0.2, label="5 % to 95 %")
ax.set(xlabel="body mass index", ylabel="progression after a year", title="A band for nine of ten")
ax.legend()
show(ax, "20_band")
