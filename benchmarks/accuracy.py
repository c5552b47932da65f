"""The error of the native exp, log, tanh and sigmoid in float32, over every float there is.

    python -m benchmarks.accuracy                # all 2**32 floats, minutes
    python -m benchmarks.accuracy --stride 257   # one in 257, seconds

The reference is NumPy in float64, whose own error is far below what is measured. An error is in
units in the last place of the right answer: 0.5 is perfect rounding.
"""

from __future__ import annotations

import argparse

import numpy as np

from fastgraph.engines.native import available_isas, load_extension

CHUNK = 1 << 22


def sigmoid(x):
    """1 / (1 + e^-x), right at both ends."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


FUNCTIONS = {"exp": np.exp, "log": np.log, "tanh": np.tanh, "sigmoid": sigmoid}


def worst(module, name: str, stride: int) -> tuple[float, float, int]:
    """The largest error in ulp, the x it belongs to, and how many x were looked at."""
    most, where, count = 0.0, float("nan"), 0
    for start in range(0, 1 << 32, CHUNK * stride):
        bits = np.arange(start, min(start + CHUNK * stride, 1 << 32), stride, dtype=np.uint64)
        x = bits.astype(np.uint32).view(np.float32)
        got = module.elementwise(name, x)
        with np.errstate(all="ignore"):
            exact = FUNCTIONS[name](x.astype(np.float64))
            rounded = exact.astype(np.float32)
            # The spacing at the right answer; below the normal numbers that of the subnormal ones.
            ulp = np.spacing(np.minimum(np.abs(rounded), np.float32(3.4e38))).astype(np.float64)
            error = np.abs(got.astype(np.float64) - exact) / ulp
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))  # infinities and NaN
        error[same & ~np.isfinite(rounded)] = 0
        error[np.isnan(error)] = np.inf
        at = int(np.argmax(error))
        if error[at] > most:
            most, where = float(error[at]), float(x[at])
        count += len(x)
    return most, where, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stride", type=int, default=1, help="look at one float in so many")
    parser.add_argument("--isa", nargs="+", default=list(available_isas()))
    settings = parser.parse_args()
    print(f"{'':10}{'function':10}{'largest error, ulp':>20}{'at x':>18}{'floats':>16}")
    for isa in settings.isa:
        module = load_extension(isa, "float32")
        for name in FUNCTIONS:
            most, where, count = worst(module, name, settings.stride)
            print(f"{isa:10}{name:10}{most:20.3f}{where:18.8g}{count:16,}", flush=True)


if __name__ == "__main__":
    main()
