# Counter-based random numbers and the shuffle: the same as fastgraph/randomness.py, bit by bit.
# The mixing function itself is in simd.h.

cdef inline uint64_t random_key(uint64_t seed, uint64_t stream) noexcept nogil:
    return mix(seed + GOLDEN * (stream + 1))

cdef inline uint64_t random_bits(uint64_t key, uint64_t counter) noexcept nogil:
    return mix(key + GOLDEN * (counter + 1))

cdef void shuffle_rows(int64_t* order, Py_ssize_t rows, uint64_t seed, uint64_t epoch) noexcept nogil:
    """The order of the rows in an epoch (Fisher-Yates)."""
    cdef Py_ssize_t i, j
    cdef int64_t kept
    cdef uint64_t key = random_key(seed, epoch)
    for i in range(rows):
        order[i] = i
    i = rows - 1
    while i > 0:
        j = <Py_ssize_t>(((random_bits(key, <uint64_t>i) >> 32) * <uint64_t>(i + 1)) >> 32)
        kept = order[i]
        order[i] = order[j]
        order[j] = kept
        i -= 1
