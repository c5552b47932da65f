"""How tests compare numbers: tolerances, and central differences written apart from fastgraph."""

import numpy as np

#: Relative tolerance between engines after one step.
STEP_TOLERANCE = {"float64": 1e-10, "float32": 1e-4}


def assert_close(got, want, tolerance, what="", floor=0.0):
    """Equal shapes, and every element within ``tolerance`` of the largest one (at least floor)."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    assert np.isfinite(want).all(), f"{what}: the expected values are not finite"
    scale = max(float(np.abs(want).max(initial=0)), floor)
    error = float(np.abs(got.astype(float) - want.astype(float)).max(initial=0))
    assert error <= tolerance * scale, f"{what}: off by {error:.3e}, scale {scale:.3e}"


def assert_gradient(got, want, tolerance, what="", floor=0.1):
    """As `assert_close`, where `central_differences` looked."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    looked = ~np.isnan(want)
    assert_close(got[looked], want[looked], tolerance, what, floor)


def central_differences(function, arrays, gradient=1.0, *, step=1e-6, most=60):
    """The gradient of ``(gradient * function(*arrays)).sum()`` with respect to each array.

    Of a large array ``most`` elements are looked at, drawn at random and always the first and the
    last; the others are NaN.
    """
    arrays = [np.array(a, dtype=float) for a in arrays]
    gradients = []
    for array in arrays:
        flat = array.reshape(-1)
        slopes = np.full(flat.shape, np.nan)
        drawn = np.random.default_rng(array.size).permutation(array.size)[: most - 2]
        for i in range(array.size) if array.size <= most else {0, *drawn, array.size - 1}:
            kept = flat[i]
            flat[i] = kept + step
            above = function(*arrays)
            flat[i] = kept - step
            below = function(*arrays)
            flat[i] = kept
            slopes[i] = np.sum(gradient * (above - below)) / (2 * step)
        gradients.append(slopes.reshape(array.shape))
    return gradients
