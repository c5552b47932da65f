"""The estimators: scikit-learn's own checks, its results, and what goes beyond it."""

import copy
import functools
import importlib
import io
import signal
import sys
import warnings

import numpy as np
import pytest

import fastgraph as fg

pytest.importorskip("sklearn", minversion="1.7")

import joblib
from scipy import sparse
from sklearn import datasets, neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastgraph.sklearn import MLPClassifier, MLPRegressor

# Few epochs: what is asked here is seldom how well they converge.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

PAIRS = [
    (MLPRegressor, neural_network.MLPRegressor),
    (MLPClassifier, neural_network.MLPClassifier),
]


@parametrize_with_checks([
    MLPRegressor(max_iter=100),
    MLPClassifier(max_iter=100),
    MLPRegressor(solver="lbfgs", max_iter=100),
    MLPClassifier(solver="lbfgs", max_iter=100),
    MLPRegressor(solver="sgd", max_iter=100),
])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


# The same as scikit-learn's ----------------------------------------------------------------------


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_arguments_and_defaults_are_theirs(ours, theirs):
    known = theirs().get_params()
    got = ours().get_params()
    assert {name: got[name] for name in known} == known


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_a_fitted_estimator_has_all_that_theirs_has(ours, theirs, solver):
    X, y = small(ours)
    settings = {"solver": solver, "max_iter": 5, "random_state": 0, "hidden_layer_sizes": (7, 5)}
    mine, known = ours(**settings).fit(X, y), theirs(**settings).fit(X, y)
    for name in [name for name in vars(known) if name.endswith("_") and name[0] != "_"]:
        value, expected = getattr(mine, name), getattr(known, name)
        if isinstance(expected, list) and expected and isinstance(expected[0], np.ndarray):
            assert [a.shape for a in value] == [a.shape for a in expected], name
        elif isinstance(expected, list):
            assert len(value) == len(expected), name
        elif isinstance(expected, (int, str, type(None))):
            assert value == expected, name
        else:
            assert np.shape(value) == np.shape(expected), name


def small(kind, rows=60):
    X = np.random.default_rng(3).normal(size=(rows, 4))
    y = X @ [1.0, -2.0, 0.5, 0.0] + np.sin(X[:, 0])
    return X, (y if issubclass(kind, MLPRegressor) else np.digitize(y, [-1, 1]))


#: An epsilon that counts for nothing: theirs is added before the bias is corrected, ours after.
FULL_BATCH = {"batch_size": 60, "shuffle": False, "max_iter": 30, "random_state": 5, "tol": 0,
              "epsilon": 1e-14}  # fmt: skip


@pytest.mark.parametrize("settings", [
    {"solver": "adam", "learning_rate_init": 0.01},
    {"solver": "sgd", "learning_rate_init": 0.01},
    {"solver": "sgd", "learning_rate_init": 0.01, "nesterovs_momentum": False},
    {"solver": "sgd", "learning_rate_init": 0.01, "momentum": 0},
    {"solver": "adam", "alpha": 3.0},
    {"solver": "adam", "batch_size": 20},
    {"solver": "adam", "activation": "logistic"},
    {"solver": "adam", "activation": "identity", "hidden_layer_sizes": (6, 5)},
    {"solver": "adam", "activation": "tanh", "hidden_layer_sizes": (6, 5)},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 1.0, "n_iter_no_change": 3,
     "learning_rate_init": 0.01},
    {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.1, "learning_rate_init": 0.01},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_in_one_order_of_the_rows_the_numbers_are_theirs(ours, theirs, weighted, settings):
    """The same initial values, batches, penalty, steps and rates: the same curve of losses."""
    X, y = small(ours)
    # With several batches the penalty is the mean over them, and theirs is each batch's own.
    weight = np.random.default_rng(1).uniform(0.5, 2, 60) if weighted else None
    rtol = 1e-4 if weighted and settings.get("batch_size") else 1e-6
    fits = [kind(**{**FULL_BATCH, **settings}).fit(X, y, weight) for kind in (ours, theirs)]
    mine, known = fits
    np.testing.assert_allclose(mine.loss_curve_, known.loss_curve_, rtol=rtol)
    assert mine.n_iter_ == known.n_iter_ and mine.t_ == known.t_
    for array, expected in zip(mine.coefs_ + mine.intercepts_, known.coefs_ + known.intercepts_,
                               strict=True):  # fmt: skip
        np.testing.assert_allclose(array, expected, rtol=100 * rtol, atol=100 * rtol)


@pytest.mark.parametrize("outputs", ["two targets", "two labels"])
def test_several_outputs_lose_what_theirs_lose(outputs):
    X, y = small(MLPRegressor)
    Y = np.column_stack([y, X[:, 1] - y])
    pair = PAIRS[0] if outputs == "two targets" else PAIRS[1]
    Y = Y if outputs == "two targets" else (Y > 0).astype(int)
    mine, known = (kind(**FULL_BATCH, alpha=0).fit(X, Y) for kind in pair)
    np.testing.assert_allclose(mine.loss_curve_, known.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(mine.predict(X), known.predict(X), rtol=1e-6)
    assert mine.predict(X).shape == (60, 2)
    if outputs == "two labels":
        np.testing.assert_allclose(mine.predict_proba(X), known.predict_proba(X), rtol=1e-6)


def test_poisson_is_theirs():
    X, y = small(MLPRegressor)
    counts = np.random.default_rng(0).poisson(np.exp(y / 4)).astype(float)
    mine, known = (kind("poisson", **FULL_BATCH).fit(X, counts) for kind in PAIRS[0])
    np.testing.assert_allclose(mine.loss_curve_, known.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(mine.predict(X), known.predict(X), rtol=1e-6)
    assert mine.out_activation_ == "exp"


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_lbfgs_finds_what_theirs_finds(ours, theirs, weighted):
    X, y = small(ours)
    weight = np.random.default_rng(1).uniform(0.5, 2, 60) if weighted else None
    settings = {"solver": "lbfgs", "max_iter": 15, "random_state": 0, "alpha": 0.1,
                "activation": "tanh"}  # fmt: skip
    mine, known = (kind(**settings).fit(X, y, weight) for kind in (ours, theirs))
    assert mine.loss_ == pytest.approx(known.loss_, rel=1e-4)
    assert mine.n_iter_ == known.n_iter_


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_early_stopping_is_theirs(ours, theirs):
    X, y = small(ours)
    settings = {**FULL_BATCH, "early_stopping": True, "validation_fraction": 0.25, "tol": 1e-3,
                "n_iter_no_change": 4, "learning_rate_init": 0.05, "max_iter": 200}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the batch is larger than what is left
        mine, known = (kind(**settings).fit(X, y) for kind in (ours, theirs))
    assert mine.n_iter_ == known.n_iter_ < 200
    np.testing.assert_allclose(mine.validation_scores_, known.validation_scores_, rtol=1e-6)
    assert mine.best_validation_score_ == max(mine.validation_scores_)
    assert mine.best_loss_ is None
    # The best parameters were put back, not left where training ended.
    np.testing.assert_allclose(mine.coefs_[0], known.coefs_[0], rtol=1e-4, atol=1e-6)


def bundled(name):
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    y = (y - y.mean()) / y.std() if name == "diabetes" else y
    parts = train_test_split(X, y, random_state=0)
    scaler = StandardScaler().fit(parts[0])
    return scaler.transform(parts[0]), scaler.transform(parts[1]), *parts[2:]


@pytest.mark.parametrize("name", ["diabetes", "iris", "wine", "breast_cancer", "digits"])
def test_held_out_scores_are_theirs_within_noise(name):
    """Another order of the rows in each run: the means of some runs are within their spread."""
    train, test, y, y_test = bundled(name)
    ours, theirs = PAIRS[0] if name == "diabetes" else PAIRS[1]
    settings = {"hidden_layer_sizes": (32,), "max_iter": 40, "batch_size": 32}
    settings["learning_rate_init"] = 5e-3
    scores = [
        [kind(**settings, random_state=s).fit(train, y).score(test, y_test) for s in range(3)]
        for kind in (ours, theirs)
    ]
    spread = max(np.ptp(scores), 1e-9)
    assert abs(np.mean(scores[0]) - np.mean(scores[1])) <= max(0.02, spread / 2)
    assert np.mean(scores[0]) > (0.15 if name == "diabetes" else 0.9)


# Stopping, going on ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MLPRegressor, MLPClassifier])
def test_stretches_of_epochs_end_where_single_ones_would(kind):
    """verbose looks after each epoch, and nothing else is different."""
    X, y = small(kind)
    settings = {"tol": 5e-3, "n_iter_no_change": 3, "learning_rate_init": 0.02, "random_state": 0}
    free = kind(**settings).fit(X, y)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("builtins.print", lambda *_: None)
        looked = kind(**settings, verbose=True).fit(X, y)
    assert free.n_iter_ == looked.n_iter_ < 200
    assert free.loss_curve_ == looked.loss_curve_
    assert (free.coefs_[0] == looked.coefs_[0]).all()


def test_it_warns_where_it_has_not_converged():
    X, y = small(MLPRegressor)
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(3\) reached"):
        MLPRegressor(max_iter=3).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MLPRegressor(max_iter=500, tol=0.5, n_iter_no_change=2).fit(X, y)


def test_verbose_prints_each_epoch(capsys):
    X, y = small(MLPRegressor)
    model = MLPRegressor(max_iter=3, verbose=True).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"Iteration {i}, loss = {v:.8f}" for i, v in enumerate(model.loss_curve_, 1)]


@pytest.mark.parametrize("kind", [MLPRegressor, MLPClassifier])
def test_a_warm_start_goes_on_and_a_cold_one_begins_anew(kind):
    X, y = small(kind)
    model = kind(max_iter=10, warm_start=True, random_state=0).fit(X, y)
    first = model.loss_curve_[0]
    model.fit(X, y)
    assert len(model.loss_curve_) == 20 and model.t_ == 20 * 60 and model.n_iter_ == 10
    assert model.loss_curve_[10] < model.loss_curve_[5]
    model.set_params(warm_start=False).fit(X, y)
    assert len(model.loss_curve_) == 10 and model.loss_curve_[0] == first


def test_a_warm_start_refuses_other_classes():
    X, y = small(MLPClassifier)
    model = MLPClassifier(max_iter=2, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="same classes"):
        model.fit(X, y % 2)


def test_passes_one_by_one_are_a_run():
    """The optimizer's state is kept: 12 calls are 12 epochs of one fit."""
    X, y = small(MLPRegressor)
    whole = MLPRegressor(max_iter=12, random_state=0).fit(X, y)
    parts = MLPRegressor(random_state=0)
    for _ in range(12):
        parts.partial_fit(X, y)
    assert parts.loss_curve_ == whole.loss_curve_
    assert (parts.coefs_[0] == whole.coefs_[0]).all()
    assert parts.n_iter_ == 1 and parts.t_ == 12 * 60


@pytest.mark.parametrize("names", [[0, 1], ["b", "a"], [-5, 7, 3], ["x", "yy", "z"], [4]], ids=str)
def test_classes_of_any_name_come_back(names):
    X, y = small(MLPClassifier)
    named = np.array(names)[y % len(names)]
    mine, known = (
        kind(solver="lbfgs", random_state=0, max_iter=60).fit(X, named) for kind in PAIRS[1]
    )
    assert mine.classes_.tolist() == known.classes_.tolist() == sorted(names)
    assert (mine.predict(X) == named).mean() > 0.95
    assert mine.predict(X).dtype == known.predict(X).dtype == named.dtype
    assert mine.predict_proba(X).shape == known.predict_proba(X).shape
    np.testing.assert_allclose(np.exp(mine.predict_log_proba(X)), mine.predict_proba(X), atol=1e-12)


def test_partial_fit_of_a_classifier_wants_all_classes():
    X, y = small(MLPClassifier)
    with pytest.raises(ValueError, match="classes"):
        MLPClassifier().partial_fit(X, y)
    model = MLPClassifier().partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    assert model.predict_proba(X).shape == (60, 3)
    model.partial_fit(X, y)
    with pytest.raises(ValueError, match="has classes not in"):
        model.partial_fit(X, y + 1)
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")


def test_ctrl_c_keeps_what_was_reached(monkeypatch):
    X, y = small(MLPRegressor)

    def press(*_):
        if model.n_iter_ == 5:
            signal.raise_signal(signal.SIGINT)

    model = MLPRegressor(max_iter=1000, verbose=True, random_state=0)
    monkeypatch.setattr("builtins.print", press)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert 5 <= model.n_iter_ <= 6
    assert np.isfinite(model.predict(X)).all()


def test_numbers_that_run_away_are_refused():
    X, y = small(MLPRegressor)
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        MLPRegressor(solver="sgd", learning_rate_init=1e3, random_state=0).fit(X * 1e3, y)


# Data --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MLPRegressor, MLPClassifier])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_a_weight_of_two_is_a_row_twice_and_of_none_no_row(kind, solver):
    X, y = small(kind)
    times = np.arange(60) % 3
    settings = {"solver": solver, "batch_size": 1000, "max_iter": 20, "random_state": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        weighted = kind(**settings).fit(X, y, times)
        repeated = kind(**settings).fit(X.repeat(times, axis=0), y.repeat(times))
        plain = kind(**settings).fit(X, y)
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], rtol=1e-5, atol=1e-7)
    assert not np.allclose(weighted.coefs_[0], plain.coefs_[0], rtol=1e-3)


def test_weights_of_classes_are_weights_of_their_rows():
    X, y = small(MLPClassifier)
    settings = {"max_iter": 20, "random_state": 0}
    by_class = MLPClassifier(**settings, class_weight={0: 3.0, 1: 1.0, 2: 0.5}).fit(X, y)
    by_row = MLPClassifier(**settings).fit(X, y, np.array([3.0, 1.0, 0.5])[y])
    assert (by_class.coefs_[0] == by_row.coefs_[0]).all()
    rare = (X[:, 0] > 1).astype(int)
    hits = [
        MLPClassifier(max_iter=15, random_state=0, class_weight=w).fit(X, rare).predict(X).sum()
        for w in (None, "balanced")
    ]
    assert hits[0] < hits[1]


@pytest.mark.parametrize("layout", [sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("kind", [MLPRegressor, MLPClassifier])
def test_sparse_data_is_as_dense(kind, layout):
    X, y = small(kind)
    X[np.abs(X) < 0.7] = 0
    dense = kind(max_iter=10, random_state=0).fit(X, y)
    thin = kind(max_iter=10, random_state=0).fit(layout(X), y)
    assert (thin.coefs_[0] == dense.coefs_[0]).all()
    assert (thin.predict(layout(X)) == dense.predict(X)).all()


@pytest.mark.parametrize("settings", [
    {}, {"shuffle": False}, {"solver": "sgd"}, {"solver": "lbfgs"}, {"early_stopping": True},
    {"standardize": True}, {"solver": "sgd", "learning_rate": "invscaling"},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("kind", [MLPRegressor, MLPClassifier])
def test_sparse_data_that_is_made_dense_in_pieces_gives_the_same(
    kind, weighted, settings, monkeypatch
):
    X, y = small(kind)
    X[np.abs(X) < 0.7] = 0
    weight = np.random.default_rng(1).uniform(0.5, 2, 60) if weighted else None
    settings = {"batch_size": 7, "max_iter": 6, "random_state": 0, "alpha": 0.1, **settings}
    whole = kind(**settings).fit(X, y, weight)
    monkeypatch.setattr("fastgraph.sklearn._DENSE_BYTES", 17 * 4 * 8)  # 17 rows, 14 in batches
    pieces = kind(**settings).fit(sparse.csr_matrix(X), y, weight)
    assert pieces.loss_ == pytest.approx(whole.loss_, rel=1e-9)
    np.testing.assert_allclose(pieces.coefs_[0], whole.coefs_[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(pieces.predict(sparse.csc_matrix(X)), whole.predict(X), rtol=1e-6)
    if settings.get("solver") != "lbfgs" and not settings.get("early_stopping"):
        pieces.partial_fit(sparse.csr_matrix(X), y), whole.partial_fit(X, y)
        np.testing.assert_allclose(pieces.coefs_[0], whole.coefs_[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_give_names(library):
    frames = pytest.importorskip(library)
    X, y = small(MLPClassifier)
    frame = frames.DataFrame(dict(zip("abcd", X.T, strict=True)))
    words = np.array(["low", "middle", "high"])[y]
    if not hasattr(StandardScaler().fit(frame), "feature_names_in_"):
        pytest.skip(f"this scikit-learn takes no names from this {library}")
    model = MLPClassifier(max_iter=10, random_state=0).fit(frame, frames.Series(words))
    assert list(model.feature_names_in_) == list("abcd")
    assert set(model.predict(frame)) <= {"low", "middle", "high"}
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["b", "a", "c", "d"]])


def test_float32_stays():
    X, y = small(MLPRegressor)
    model = MLPRegressor(max_iter=5).fit(X.astype("float32"), y.astype("float32"))
    assert model.coefs_[0].dtype == np.float32
    assert model.predict(X.astype("float32")).dtype == np.float32


def test_it_leaves_the_data_alone():
    X, y = small(MLPRegressor)
    before = X.copy(), y.copy()
    X.flags.writeable = y.flags.writeable = False
    MLPRegressor(max_iter=3, standardize=True).fit(X, y).predict(X)
    assert np.array_equal(X, before[0]) and np.array_equal(y, before[1])


# As a citizen ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [MLPRegressor, MLPClassifier])
def test_a_copy_through_joblib_predicts_and_goes_on(kind):
    X, y = small(kind)
    model = kind(max_iter=10, random_state=0, standardize=True).fit(X, y)
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    for other in (joblib.load(file), copy.deepcopy(model)):
        assert (other.predict(X) == model.predict(X)).all()
        kept = copy.deepcopy(model)
        kept.partial_fit(X, y), other.partial_fit(X, y)
        assert (kept.coefs_[0] == other.coefs_[0]).all()
        assert (kept.coefs_[0] != model.coefs_[0]).any()


def test_coefficients_that_a_user_changes_are_those_that_predict():
    X, y = small(MLPRegressor)
    model = MLPRegressor(max_iter=3, random_state=0).fit(X, y)
    before = model.predict(X)
    model.intercepts_[-1][:] += 1
    np.testing.assert_allclose(model.predict(X), before + 1)
    model.intercepts_[-1] = model.intercepts_[-1] + 1
    np.testing.assert_allclose(model.predict(X), before + 2)


def test_in_a_pipeline_and_a_grid_over_threads():
    X, y = small(MLPClassifier)
    pipeline = make_pipeline(StandardScaler(), MLPClassifier(max_iter=20, random_state=0))
    grid = {"mlpclassifier__hidden_layer_sizes": [(2,), (16,)], "mlpclassifier__alpha": [1e-4, 1e3]}
    with joblib.parallel_backend("threading", n_jobs=2):
        threads = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    alone = GridSearchCV(clone(pipeline), grid, cv=3).fit(X, y)
    assert (
        threads.cv_results_["mean_test_score"].tolist()
        == alone.cv_results_["mean_test_score"].tolist()
    )
    assert threads.best_params_["mlpclassifier__alpha"] == 1e-4


def test_several_threads_predict_with_one_estimator():
    X, y = small(MLPRegressor)
    model = MLPRegressor(max_iter=5, random_state=0).fit(X, y)
    expected = model.predict(X)
    found = joblib.Parallel(n_jobs=4, backend="threading")(
        joblib.delayed(model.predict)(X) for _ in range(40)
    )
    assert all((values == expected).all() for values in found)


@pytest.mark.parametrize("engine", ["native", "numpy"])
def test_either_engine(engine):
    X, y = small(MLPRegressor)
    previous = fg.engine()
    fg.set_engine(engine)
    try:
        model = MLPRegressor(max_iter=20, random_state=0, early_stopping=True).fit(X, y)
    finally:
        fg.set_engine(previous)
    other = MLPRegressor(max_iter=20, random_state=0, early_stopping=True).fit(X, y)
    np.testing.assert_allclose(model.coefs_[0], other.coefs_[0], rtol=1e-6, atol=1e-9)


# Beyond scikit-learn's ---------------------------------------------------------------------------


def test_standardized_data_trains_where_raw_data_does_not():
    X, y = small(MLPRegressor)
    X, y = X * [1e3, 1, 1e-3, 1] + 500, 1e4 * y + 1e6
    scores = [
        MLPRegressor(max_iter=300, learning_rate_init=0.01, random_state=0, standardize=s)
        .fit(X, y).score(X, y)
        for s in (False, True, "auto")
    ]  # fmt: skip
    assert scores[0] < 0 < 0.95 < scores[1] == scores[2]
    Z, z = small(MLPRegressor)
    Z, z = StandardScaler().fit_transform(Z), (z - z.mean()) / z.std()
    plain, auto = (
        MLPRegressor(max_iter=3, random_state=0, standardize=s).fit(Z, z) for s in (False, "auto")
    )
    assert (plain.coefs_[0] == auto.coefs_[0]).all()  # nothing that needs it


def test_a_quantile_is_below_its_share_of_the_targets():
    random = np.random.default_rng(0)
    X = random.normal(size=(500, 1))
    y = random.exponential(size=500)
    loss = functools.partial(fg.QuantileLoss, quantile=0.9)
    model = MLPRegressor(loss, (8,), max_iter=300, tol=0, learning_rate_init=0.01, random_state=0)
    assert np.mean(clone(model).fit(X, y).predict(X) > y) == pytest.approx(0.9, abs=0.03)


def test_robust_losses_shrug_off_what_lies_far_away():
    X, y = small(MLPRegressor)
    spoiled = y.copy()
    spoiled[::10] += 50
    left = {
        loss: np.median(np.abs(
            MLPRegressor(loss, (16,), solver="lbfgs" if loss != "absolute_error" else "adam",
                         max_iter=800, learning_rate_init=0.01, alpha=1.0, tol=1e-6,
                         random_state=0).fit(X, spoiled).predict(X) - y))
        for loss in ("squared_error", "absolute_error", "huber")
    }  # fmt: skip
    assert left["huber"] < left["squared_error"] and left["absolute_error"] < left["squared_error"]


def test_an_activation_and_a_dropout_for_each_layer():
    X, y = small(MLPRegressor)
    settings = {"hidden_layer_sizes": (16, 8), "max_iter": 400, "learning_rate_init": 0.01,
                "random_state": 0}  # fmt: skip
    mixed = MLPRegressor(activation=["gelu", fg.Sin], **settings).fit(X, y)
    hidden = fg.Graph(fg.Sin(fg.Input("z", shape=(8,))))
    z = gelu(X @ mixed.coefs_[0] + mixed.intercepts_[0]) @ mixed.coefs_[1] + mixed.intercepts_[1]
    expected = hidden.evaluate(hidden.outputs[0], {"z": z}) @ mixed.coefs_[2] + mixed.intercepts_[2]
    np.testing.assert_allclose(mixed.predict(X), expected.ravel(), rtol=1e-9)
    assert mixed.score(X, y) > 0.95
    dropped = MLPRegressor(dropout=[0.5, 0.0], **settings).fit(X, y)
    assert dropped.loss_ > 2 * MLPRegressor(**settings).fit(X, y).loss_
    assert (dropped.predict(X) == dropped.predict(X)).all()  # none in predictions


def gelu(z):
    node = fg.Input("z", shape=(z.shape[1],))
    graph = fg.Graph(fg.GELU(node))
    return graph.evaluate(graph.outputs[0], {node: z})


def test_a_loss_of_ones_own_for_classes():
    X, y = small(MLPClassifier)

    def brier(targets, logits):
        return fg.MSE(targets, fg.Softmax(logits))

    model = MLPClassifier(loss=brier, max_iter=300, learning_rate_init=0.02, random_state=0)
    model.fit(X, y)
    left = np.mean((np.eye(3)[y] - model.predict_proba(X)) ** 2)
    assert model.score(X, y) > 0.9 and left < 0.1
    assert model.loss_ == pytest.approx(left, rel=0.2)


def test_scores_while_training_are_those_of_the_library():
    from fastgraph.sklearn import _r2

    random = np.random.default_rng(0)
    y, output, weight = random.normal(size=(3, 31, 2))
    weight = np.abs(weight[:, 0])
    assert _r2(y, output, weight) == pytest.approx(r2_score(y, output, sample_weight=weight))
    assert _r2(y, output, None) == pytest.approx(r2_score(y, output))
    assert _r2(0 * y, output, None) == r2_score(0 * y, output) == 0
    labels = (y > 0).astype(float)
    model = MLPClassifier(max_iter=1).fit(y, labels)
    guess = model.predict_proba(y)
    assert model._score(labels, guess, weight) == pytest.approx(
        accuracy_score(labels, guess > 0.5, sample_weight=weight)
    )


@pytest.mark.parametrize(("settings", "words"), [
    ({"activation": "reul"}, "activation"),
    ({"activation": ["relu"], "hidden_layer_sizes": (3, 3)}, "1 values for 2 hidden layers"),
    ({"activation": ["reul", "relu"], "hidden_layer_sizes": (3, 3)}, "unknown name 'reul'"),
    ({"dropout": 1.0}, "dropout"),
    ({"dropout": [0.5, 2.0], "hidden_layer_sizes": (3, 3)}, "dropout"),
    ({"dropout": 0.5, "solver": "lbfgs"}, "lbfgs"),
    ({"standardize": "yes"}, "standardize"),
    ({"loss": "squared"}, "loss"),
    ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes"),
    ({"learning_rate_init": -1}, "learning_rate_init"),
], ids=str)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(settings, words):
    X, y = small(MLPRegressor)
    with pytest.raises(ValueError, match=words):
        MLPRegressor(**settings).fit(X, y)


def test_weights_that_cannot_be_are_refused():
    X, y = small(MLPRegressor)
    for weight, words in ((np.zeros(60), "zero"), (-np.ones(60), "egative"), (np.ones(7), "shape")):
        with pytest.raises(ValueError, match=words):
            MLPRegressor().fit(X, y, weight)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "fastgraph.sklearn")
    with pytest.raises(fg.SettingError, match=r"fastgraph-nn\[sklearn\]"):
        importlib.import_module("fastgraph.sklearn")


def test_a_warm_start_may_change_solver_and_what_it_watches():
    X, y = small(MLPRegressor)
    model = MLPRegressor(solver="lbfgs", max_iter=5, warm_start=True, random_state=0).fit(X, y)
    reached = model.loss_
    model.set_params(solver="adam", tol=0).fit(X, y)
    assert len(model.loss_curve_) == 5 and model.loss_curve_[0] == pytest.approx(reached)
    model.set_params(early_stopping=True).fit(X, y)
    assert len(model.validation_scores_) == 5 and model.loss_curve_[0] < 2 * reached
