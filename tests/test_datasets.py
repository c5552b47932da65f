"""The data in the package: what was published, reachable by name, and not changed by accident."""

import numpy as np
import pytest

import fastgraph as fg
from fastgraph import datasets, errors


@pytest.fixture(scope="module")
def boston():
    return fg.datasets.load_boston()


def test_sizes_types_and_names(boston):
    assert boston.data.shape == (506, 13) and boston.data.dtype == np.float64
    assert boston.target.shape == (506,) and boston.target.dtype == np.float64
    assert boston.feature_names == (
        "CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B",
        "LSTAT",
    )  # fmt: skip
    assert boston.target_name == "MEDV"


def test_first_and_last_row_are_the_published_ones(boston):
    first = [0.00632, 18, 2.31, 0, 0.538, 6.575, 65.2, 4.09, 1, 296, 15.3, 396.9, 4.98]
    last = [0.04741, 0, 11.93, 0, 0.573, 6.03, 80.8, 2.505, 1, 273, 21, 396.9, 7.88]
    np.testing.assert_array_equal(boston.data[[0, -1]], [first, last])
    assert boston.target[0] == 24.0 and boston.target[-1] == 11.9


def test_known_statistics(boston):
    # Harrison and Rubinfeld's table as everybody has it: mean price, the cap, tracts at the river.
    assert boston.target.mean() == pytest.approx(22.532806, abs=1e-6)
    assert (boston.target == 50).sum() == 16 and boston.target.max() == 50
    assert boston["CHAS"].sum() == 35
    slope, intercept = np.polyfit(boston["RM"], boston.target, 1)
    assert (round(slope, 4), round(intercept, 4)) == (9.1021, -34.6706)


def test_columns_by_name(boston):
    for i, name in enumerate(boston.feature_names):
        np.testing.assert_array_equal(boston[name], boston.data[:, i])
    np.testing.assert_array_equal(boston["MEDV"], boston.target)


def test_unknown_column_lists_the_known_ones(boston):
    with pytest.raises(errors.DataError, match=r"'ROOMS'.*CRIM.*RM.*MEDV"):
        boston["ROOMS"]


def test_a_dataset_is_no_sequence(boston):
    with pytest.raises(TypeError, match=r"\.data"):
        list(boston)


def test_data_cannot_be_changed_by_accident(boston):
    for array in (boston.data, boston.target, boston["RM"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    with pytest.raises(AttributeError):
        boston.data = None


def test_description_and_docstring_say_what_is_wrong_with_it(boston):
    assert "thousands of dollars" in boston.description
    assert "racist" in boston.description
    for words in ("scikit-learn removed", "ethical", "`RM`", "Black"):
        assert words in datasets.load_boston.__doc__
    assert repr(boston) == "<Dataset: 506 samples, 13 features, target MEDV>"


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        (["a", "c"], [["1", "2"]], "expected the columns a, b, got a, c"),
        (["a", "b"], [["1", "2"], ["3", "4"]], "expected 1 rows, got 2"),
        (["a", "b"], [["1", "two"]], "two"),
        (["a", "b"], [["1"]], "line 2 has 1"),
        (["a", "b"], [["1", "nan"]], "not finite"),
    ],
)
def test_a_damaged_file_is_refused(header, rows, words):
    with pytest.raises(errors.DataError, match=words):
        datasets._checked_table("x.csv", header, rows, ("a", "b"), 1)
