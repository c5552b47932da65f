"""Data that comes with the package, read with the standard library and NumPy.

Nothing here downloads anything, and nothing here scales, splits or shuffles: a data set is
handed over as it was published, and what is done to it stands in the script that does it.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass

import numpy as np

from .errors import DataError

__all__ = ["Dataset", "load_boston"]

_BOSTON_ROWS = 506
_BOSTON_COLUMNS = (
    "CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT",
    "MEDV",
)  # fmt: skip

_BOSTON_DESCRIPTION = """\
Boston house prices: 506 census tracts of the Boston area, 1970.

CRIM     crime rate per capita, by town
ZN       share of residential land zoned for lots over 25,000 square feet, percent
INDUS    share of land in non-retail business, percent
CHAS     1 if the tract bounds the Charles River, else 0
NOX      nitric oxides, parts per 10 million
RM       average number of rooms per dwelling
AGE      share of owner-occupied homes built before 1940, percent
DIS      weighted distance to five employment centres
RAD      index of access to radial highways
TAX      property tax, dollars per 10,000 dollars of value
PTRATIO  pupils per teacher
B        1000 (share of Black residents - 0.63)^2: a racist assumption written as a feature
LSTAT    share of residents the authors called "lower status", percent
MEDV     the target: median value of owner-occupied homes, thousands of dollars, capped at 50

Source: D. Harrison and D. L. Rubinfeld, "Hedonic housing prices and the demand for clean air",
Journal of Environmental Economics and Management 5 (1978), 81-102.
"""


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A table of numbers with named columns: features `data`, one `target`.

    Attributes:
        data: (n_samples, n_features) float64, read-only.
        target: (n_samples,) float64, read-only.
        feature_names: the n_features names of the columns of `data`, in order.
        target_name: the name of the target.
        description: what the columns mean, their units and their source.

    A column is reached by its name, the target's included:

        >>> boston = load_boston()
        >>> boston["RM"].shape, float(boston["RM"][0]), float(boston["MEDV"][0])
        ((506,), 6.575, 24.0)
    """

    data: np.ndarray
    target: np.ndarray
    feature_names: tuple[str, ...]
    target_name: str
    description: str

    def __getitem__(self, name: str) -> np.ndarray:
        """The column called `name`, shape (n_samples,); DataError if there is none."""
        if name == self.target_name:
            return self.target
        if name not in self.feature_names:
            known = ", ".join((*self.feature_names, self.target_name))
            raise DataError(f"Dataset: no column is called {name!r}; choose one of {known}")
        return self.data[:, self.feature_names.index(name)]

    def __iter__(self):
        # Without this, Python would walk the columns by number through __getitem__.
        raise TypeError("a Dataset is no sequence: use .data, .target or a column's name")

    def __repr__(self) -> str:
        samples, features = self.data.shape
        return f"<Dataset: {samples} samples, {features} features, target {self.target_name}>"


def load_boston() -> Dataset:
    """The Boston house prices of 1978: 506 rows, 13 features, the median price MEDV as target.

    Read this before using it. scikit-learn removed this data set (version 1.2) for ethical
    reasons. Its column `B` is `1000 (Bk - 0.63)^2` with `Bk` the share of Black residents: the
    authors put into the data the racist assumption that segregation raises house prices. No
    conclusion about people should be drawn from it, and no model built on it should be used for
    anything. It is kept here as a historical object, whole and unaltered, because the lesson this
    package descends from uses one column of it: `RM`, the average number of rooms, against the
    price. For another task take another data set, such as scikit-learn's
    `fetch_california_housing`.

    Returns:
        A Dataset with `data` (506, 13) and `target` (506,), both float64. The target is in
        thousands of dollars, from 5 to 50, and the census capped it at 50.

    Raises:
        DataError: the file in the package is not the one that was published (sizes, names or
            values that are no finite numbers).

    Source:
        D. Harrison and D. L. Rubinfeld, Hedonic housing prices and the demand for clean air,
        Journal of Environmental Economics and Management 5 (1978), 81-102.

    Example:
        >>> boston = load_boston()
        >>> boston.data.shape, boston.target_name, round(float(boston["RM"].mean()), 4)
        ((506, 13), 'MEDV', 6.2846)
    """
    path = os.path.join(os.path.dirname(__file__), "data", "boston_housing.csv")
    with open(path, encoding="ascii", newline="") as file:
        header, *rows = csv.reader(file)
    table = _checked_table("boston_housing.csv", header, rows, _BOSTON_COLUMNS, _BOSTON_ROWS)
    return Dataset(
        data=table[:, :-1],
        target=table[:, -1],
        feature_names=_BOSTON_COLUMNS[:-1],
        target_name=_BOSTON_COLUMNS[-1],
        description=_BOSTON_DESCRIPTION,
    )


def _checked_table(where, header, rows, columns, n_rows) -> np.ndarray:
    """The rows as a read-only (n_rows, n_columns) float64 array, or an error that says why not."""
    if tuple(header) != columns:
        expected, got = ", ".join(columns), ", ".join(header)
        raise DataError(f"{where}: expected the columns {expected}, got {got}")
    for line, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise DataError(f"{where}: line {line} has {len(row)} values, expected {len(columns)}")
    if len(rows) != n_rows:
        raise DataError(f"{where}: expected {n_rows} rows, got {len(rows)}; reinstall the package")
    try:
        table = np.array(rows, dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: {error}; reinstall the package") from None
    if not np.isfinite(table).all():
        raise DataError(f"{where}: holds values that are not finite; reinstall the package")
    table.flags.writeable = False
    return table
