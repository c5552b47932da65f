"""The project's own random numbers inside a run: counter-based, so nothing can change them.

Every number is a hash of (seed, stream, counter), never of what was drawn before; engine, block
size and threads cannot change it. The native engine computes the same in ``csrc/random.pxi``.
Initial values of parameters come from NumPy instead (see ``initializers.py``).

Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators" (2014), for
the mixing function (SplitMix64); R. Durstenfeld, "Algorithm 235" (1964), for the shuffle.
"""

from __future__ import annotations

import numpy as np

__all__ = ["chances", "permutation", "random_bits"]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _mix(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def random_bits(seed: int, stream: int, counters: np.ndarray) -> np.ndarray:
    """64 random bits for each of ``counters`` (uint64), of the given seed and stream."""
    key = _mix(np.array([(seed + _GOLDEN * (stream + 1)) & _MASK], dtype=np.uint64))
    return _mix(key + np.uint64(_GOLDEN) * (counters.astype(np.uint64) + np.uint64(1)))


def permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of the rows in an epoch: a Fisher-Yates shuffle of ``0 … rows - 1``."""
    high = random_bits(seed, epoch, np.arange(rows)) >> np.uint64(32)
    picks = ((high * np.arange(1, rows + 1, dtype=np.uint64)) >> np.uint64(32)).tolist()
    order = list(range(rows))
    for i in range(rows - 1, 0, -1):
        j = picks[i]
        order[i], order[j] = order[j], order[i]
    return np.array(order, dtype=np.int64)


def chances(seed: int, step: int, place: int, rows: np.ndarray, size: int) -> np.ndarray:
    """One of 2³² equally likely numbers for each of ``size`` elements of each of ``rows``.

    They differ from step to step and from place to place; two elements share 64 random bits.
    """
    (drawn,) = random_bits(seed, (1 << 63) + place, np.array([step], np.uint64))
    elements = rows.astype(np.uint64)[:, None] * np.uint64(size) + np.arange(size, dtype=np.uint64)
    bits = random_bits(int(drawn), 0, elements >> np.uint64(1))
    high = (elements & np.uint64(1)).astype(bool)
    return np.where(high, bits >> np.uint64(32), bits & np.uint64(0xFFFFFFFF))
