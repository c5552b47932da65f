# Operations on whole rows: softmax; and those that move numbers: reshape, join, cut, look up, drop.

# softmax, log_softmax: n[0] classes, n[1] distributions a row.

cdef void softmax_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = e ** x / sum e ** x"""
    cdef Py_ssize_t r, k, n = s.n[0]
    cdef const real* x
    cdef real* out
    cdef vreal top, scale
    for r in range(rows * s.n[1]):
        x = s.p[IN0] + r * n
        out = s.p[OUT] + r * n
        top = v_set(largest(x, n))
        k = 0
        while k < n:
            put(out, k, n, v_exp(get(x, k, n) - top))
            k += VW
        scale = v_set(1 / sum_of(out, n))
        k = 0
        while k < n:
            put(out, k, n, get(out, k, n) * scale)
            k += VW

cdef void softmax_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = out * (g - sum(g * out))"""
    cdef Py_ssize_t r, k, n = s.n[0]
    cdef const real* p
    cdef const real* g
    cdef vreal total
    for r in range(rows * s.n[1]):
        p = s.p[OUT] + r * n
        g = s.p[GRAD] + r * n
        total = v_zero()
        k = 0
        while k < n:
            total = v_fma(get(g, k, n), get(p, k, n), total)
            k += VW
        total = v_set(v_sum(total))
        k = 0
        while k < n:
            give(s.p[TO0] + r * n, k, n, get(p, k, n) * (get(g, k, n) - total), adds(s, 0))
            k += VW

register("softmax", softmax_forward, softmax_backward)


cdef void log_softmax_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = x - ln sum e ** x"""
    cdef Py_ssize_t r, k, n = s.n[0]
    cdef const real* x
    cdef real high
    cdef vreal top, rest
    for r in range(rows * s.n[1]):
        x = s.p[IN0] + r * n
        high = largest(x, n)
        top = v_set(high)
        rest = v_set(<real>c_log(sum_of_powers(x, n, high)))
        k = 0
        while k < n:
            put(s.p[OUT] + r * n, k, n, (get(x, k, n) - top) - rest)
            k += VW

cdef void log_softmax_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g - e ** out * sum(g)"""
    cdef Py_ssize_t r, k, n = s.n[0]
    cdef const real* g
    cdef vreal total
    for r in range(rows * s.n[1]):
        g = s.p[GRAD] + r * n
        total = v_set(sum_of(g, n))
        k = 0
        while k < n:
            give(s.p[TO0] + r * n, k, n, get(g, k, n) - v_exp(get(s.p[OUT] + r * n, k, n)) * total, adds(s, 0))
            k += VW

register("log_softmax", log_softmax_forward, log_softmax_backward)


# reshape: n[0] elements a row.

cdef void reshape_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = x"""
    memcpy(s.p[OUT], s.p[IN0], rows * s.n[0] * sizeof(real))

cdef void reshape_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g"""
    _pass_gradient(s, 0, False, 1, rows * s.n[0])

register("reshape", reshape_forward, reshape_backward)


# concatenate, one step for each input: n[0] runs a row, n[1] length of one in the input, n[2] in the
# value, where it begins at n[3].

cdef void concatenate_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out[i, n[3] + j] = x[i, j]"""
    cdef Py_ssize_t i
    for i in range(rows * s.n[0]):
        memcpy(s.p[OUT] + i * s.n[2] + s.n[3], s.p[IN0] + i * s.n[1], s.n[1] * sizeof(real))

cdef void concatenate_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to[i, j] = g[i, n[3] + j]"""
    cdef Py_ssize_t i, j, n = s.n[1]
    cdef const real* g
    for i in range(rows * s.n[0]):
        g = s.p[GRAD] + i * s.n[2] + s.n[3]
        j = 0
        while j < n:
            give(s.p[TO0] + i * n, j, n, get(g, j, n), adds(s, 0))
            j += VW

register("concatenate", concatenate_forward, concatenate_backward)

# A slice takes elements by a table, as broadcasting does.
register("slice", spread_forward, spread_backward)


# embedding: n[0] indices a row, n[1] categories, n[2] width. Indices are whole numbers.

cdef inline Py_ssize_t class_of(real label, Py_ssize_t count) noexcept nogil:
    """The label as an index; it was checked where it was fed, and never leads out of the array."""
    return min(max(<Py_ssize_t>label, 0), count - 1)

cdef void embedding_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out[i] = W[x[i]]"""
    cdef Py_ssize_t i, width = s.n[2]
    for i in range(rows * s.n[0]):
        memcpy(s.p[OUT] + i * width, s.p[IN1] + class_of(s.p[IN0][i], s.n[1]) * width, width * sizeof(real))

cdef void embedding_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_W[x[i]] += g[i]"""
    cdef Py_ssize_t i, j, width = s.n[2]
    cdef real* to
    if s.p[TO1] == NULL:
        return
    if not adds(s, 1):
        memset(s.p[TO1], 0, s.n[1] * width * sizeof(real))
    for i in range(rows * s.n[0]):
        to = s.p[TO1] + class_of(s.p[IN0][i], s.n[1]) * width
        j = 0
        while j < width:
            give(to, j, width, get(s.p[GRAD] + i * width, j, width), True)
            j += VW

register("embedding", embedding_forward, embedding_backward)


# dropout: n[0] elements a row, n[1] the node's place in the program; c[0] of 2 ** 32 chances drop,
# c[1] scales what stays. p[MORE]: 0 or that scale, for each element. It draws as
# fastgraph/randomness.py does.

register("dropout", reshape_forward, reshape_backward)

cdef inline Py_ssize_t row_of_data(const Step* s, Py_ssize_t row) noexcept nogil:
    """Which row of the data the row of the block is; 0 for what has no rows."""
    if not s.batched:
        return 0
    return s.lane.order[row] if s.lane.order != NULL else s.lane.start + row

cdef void dropout_train_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = x * kept, kept = 0 with probability c[0] / 2 ** 32, else c[1]"""
    cdef Py_ssize_t r, i = 0, size = s.n[0], n = rows * size
    cdef uint64_t stream = (<uint64_t>1 << 63) + <uint64_t>s.n[1]
    cdef uint64_t key = random_key(random_bits(random_key(s.lane.run.seed, stream), s.lane.run.step), 0)
    cdef real* kept = s.p[MORE]
    for r in range(rows):
        drop(key, <uint64_t>row_of_data(s, r) * <uint64_t>size, size, <uint64_t>s.c[0], <real>s.c[1], kept + r * size)
    while i < n:
        put(s.p[OUT], i, n, get(s.p[IN0], i, n) * get(kept, i, n))
        i += VW

cdef void dropout_train_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g * kept"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        give(s.p[TO0], i, n, get(s.p[GRAD], i, n) * get(s.p[MORE], i, n), adds(s, 0))
        i += VW

register("dropout_train", dropout_train_forward, dropout_train_backward)
