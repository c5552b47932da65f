"""csrc/simd.h, through every build of the native engine that this processor runs.

The accuracy of the elementary functions over the whole range of floats, their limits, and the
matrix tile at every edge of its registers. Nothing here knows of graphs.
"""

import numpy as np
import pytest

from fastgraph.engines import extension

pytestmark = pytest.mark.skipif(not extension.NATIVE_AVAILABLE, reason=extension.UNAVAILABLE_REASON)
each_isa = pytest.mark.parametrize("isa", extension.available_isas())
each_dtype = pytest.mark.parametrize("dtype", (np.float32, np.float64))

# Measured at every float from 2^-12 to 2^7, at one in 257 of the others, and at 10^7 doubles:
# 1.06, 0.84, 1.22 and 1.75.
MAX_ULP = {"exp": 1.25, "log": 1.0, "tanh": 1.5, "sigmoid": 2.0}
FUNCTIONS = tuple(MAX_ULP)

# Widths and heights on both sides of each tile: of 4, 6 or 8 rows, of 2 to 32 columns.
ROWS = (*range(1, 10), 11, 12, 13, 16, 17, 25)
COLUMNS = (*range(1, 10), 11, 12, 13, 15, 16, 17, 23, 24, 25, 31, 32, 33, 40, 49, 67)


def reference(name, x, wide):
    with np.errstate(all="ignore"):
        x = x.astype(wide)
        if name == "sigmoid":
            return 1 / (1 + np.exp(-x))
        return getattr(np, name)(x)


def ulp_error(got, exact):
    """Distance from the exact value, in units of the last place of `got`'s dtype there."""
    info = np.finfo(got.dtype)
    wide = exact.dtype.type
    with np.errstate(all="ignore"):
        exponent = np.maximum(np.frexp(exact)[1], info.minexp + 1)
        error = np.abs(got.astype(wide) - exact) / np.ldexp(wide(1), exponent - 1 - info.nmant)
        rounded = exact.astype(got.dtype)
    same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
    return np.where(same & ~np.isfinite(rounded), 0, error)


def doubles(name, count=60_000):
    random = np.random.default_rng(0)
    low, high = {"exp": (-750, 715), "log": (-745, 709), "tanh": (-25, 25), "sigmoid": (-750, 45)}[
        name
    ]
    spread = random.uniform(low, high, count)
    near_zero = random.choice((-1.0, 1.0), count) * np.exp(random.uniform(-45, 3, count))
    if name == "log":
        near_one = random.uniform(0.5, 2, count)
        subnormal = random.integers(1, 2**52, count).view(np.float64)
        return np.concatenate((np.exp(spread), near_one, subnormal))
    # Where 1 + e^-x rounds worst: e^-x close to a power of two.
    powers = random.integers(-60, 60, count) * np.log(2) + random.normal(0, 0.02, count)
    return np.concatenate((spread, near_zero, powers))


@each_isa
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_within_two_ulp_over_all_floats(isa, name):
    x = np.arange(0, 2**32, 8191, dtype=np.uint32).view(np.float32)
    got = extension.load_extension(isa, np.float32).elementwise(name, x)
    error = ulp_error(got, reference(name, x, np.float64))
    worst = np.argmax(error)  # a NaN would be found too
    assert error[worst] <= MAX_ULP[name], f"{name}({x[worst]!r}) = {got[worst]!r}"


@each_isa
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 60, reason="needs a wider float to compare to")
def test_functions_are_within_two_ulp_for_doubles(isa, name):
    x = doubles(name)
    got = extension.load_extension(isa, np.float64).elementwise(name, x)
    error = ulp_error(got, reference(name, x, np.longdouble))
    worst = np.argmax(error)
    assert error[worst] <= MAX_ULP[name], f"{name}({x[worst]!r}) = {got[worst]!r}"


@each_isa
@each_dtype
def test_limits_of_the_functions(isa, dtype):
    info = np.finfo(dtype)
    inf, nan = np.inf, np.nan
    least, big = info.smallest_subnormal, info.max
    x = np.array([0.0, -0.0, inf, -inf, nan, big, -big, least, -least, 1], dtype)
    limits = {
        "exp": [1, 1, inf, 0, nan, inf, 0, 1, 1, None],
        "log": [-inf, -inf, inf, nan, nan, None, nan, None, nan, 0],
        "tanh": [0.0, -0.0, 1, -1, nan, 1, -1, least, -least, None],
        "sigmoid": [0.5, 0.5, 1, 0, nan, 1, 0, 0.5, 0.5, None],
    }
    for name, answers in limits.items():
        got = extension.load_extension(isa, dtype).elementwise(name, x)
        for argument, value, answer in zip(x, got, answers, strict=True):
            if answer is not None:
                message = f"{name}({argument!r}) = {value!r}"
                np.testing.assert_array_equal(value, dtype(answer), message)
                # The sign of a zero counts, that of a NaN means nothing.
                assert np.isnan(value) or np.signbit(value) == np.signbit(answer), message


@each_isa
@each_dtype
@pytest.mark.parametrize("name", FUNCTIONS)
def test_an_element_does_not_depend_on_its_place(isa, dtype, name):
    elementwise = extension.load_extension(isa, dtype).elementwise
    x = np.random.default_rng(1).uniform(0.1, 3, 41).astype(dtype)
    whole = elementwise(name, x)
    for size in range(len(x)):
        np.testing.assert_array_equal(elementwise(name, x[:size]), whole[:size])
        np.testing.assert_array_equal(elementwise(name, x[size:].copy()), whole[size:])


@each_isa
@each_dtype
@pytest.mark.parametrize("transpose_a", (False, True))
def test_products_of_integers_are_exact_at_every_edge_of_the_tile(isa, dtype, transpose_a):
    gemm = extension.load_extension(isa, dtype).gemm
    random = np.random.default_rng(2)
    for m in ROWS:
        for n in COLUMNS:
            for k in (1, 2, 7, 13):
                a = random.integers(-9, 10, (m, k)).astype(dtype)
                b = random.integers(-9, 10, (k, n)).astype(dtype)
                bias = random.integers(-9, 10, n).astype(dtype)
                left = a.T.copy() if transpose_a else a
                plain = gemm(left, b, transpose_a=transpose_a)
                np.testing.assert_array_equal(plain, a @ b, err_msg=f"{m}, {n}, {k}")
                fused = gemm(left, b, bias, transpose_a=transpose_a, relu=True)
                np.testing.assert_array_equal(fused, np.maximum(a @ b + bias, 0))


@each_isa
@each_dtype
@pytest.mark.parametrize("m, n, k", [(97, 131, 300), (8, 64, 777), (300, 10, 129), (1, 257, 513)])
def test_products_are_accurate(isa, dtype, m, n, k):
    random = np.random.default_rng(3)
    a, b = random.normal(size=(m, k)).astype(dtype), random.normal(size=(k, n)).astype(dtype)
    got = extension.load_extension(isa, dtype).gemm(a, b)
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    # Higham, Accuracy and Stability of Numerical Algorithms, section 3.5: |error| <= k u |A| |B|.
    bound = k * np.finfo(dtype).eps / 2 * (np.abs(a) @ np.abs(b))
    assert (np.abs(got - exact) <= bound).all()


@each_isa
@each_dtype
@pytest.mark.parametrize("k", (50, 1100))  # a long product goes through the cache in blocks
def test_a_row_has_the_same_bits_in_any_block(isa, dtype, k):
    gemm = extension.load_extension(isa, dtype).gemm
    random = np.random.default_rng(4)
    a, b = random.normal(size=(29, k)).astype(dtype), random.normal(size=(k, 37)).astype(dtype)
    whole = gemm(a, b)
    for rows in range(1, len(a)):
        np.testing.assert_array_equal(gemm(a[:rows], b), whole[:rows])
        np.testing.assert_array_equal(gemm(a[rows:].copy(), b), whole[rows:])
    np.testing.assert_array_equal(gemm(a.T.copy(), b, transpose_a=True), whole)


@each_isa
@each_dtype
def test_not_a_number_passes_through_the_product_and_its_relu(isa, dtype):
    a, b = np.ones((9, 3), dtype), np.ones((3, 21), dtype)
    a[4, 1], b[0, 20], b[1, 2] = np.nan, np.inf, -np.inf
    got = extension.load_extension(isa, dtype).gemm(a, b, relu=True)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got, np.maximum(a @ b, 0))


@each_isa
@each_dtype
def test_a_product_over_nothing_is_the_bias(isa, dtype):
    bias = np.arange(-3, 4, dtype=dtype)
    got = extension.load_extension(isa, dtype).gemm(
        np.empty((5, 0), dtype), np.empty((0, 7), dtype), bias
    )
    np.testing.assert_array_equal(got, np.tile(bias, (5, 1)))
