# Losses. n[0]: elements a row; the value is one number, added up over the blocks of a batch.
# c[0]: 1 / elements a row; f[PER_ROW]: divided by the rows of the batch as well.
# Where p[TO0] or p[TO1] is given, the forward kernel writes
# the gradients in the same sweep (training), as gradient p[GRAD] of the loss is known before.

cdef enum:
    SQUARED = 0
    ABSOLUTE = 1

cdef inline vreal slope(int which, vreal difference) noexcept nogil:
    if which == SQUARED: return difference + difference
    return v_sign(difference)

cdef inline void loss_sweep(int which, Step* s, Py_ssize_t rows, bint value, bint gradients) noexcept nogil:
    """The value, the gradients, or both, of y_true = a and y_pred = b."""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef const real* a = s.p[IN0]
    cdef const real* b = s.p[IN1]
    cdef real* to_a = s.p[TO0] if gradients else NULL
    cdef real* to_b = s.p[TO1] if gradients else NULL
    cdef vreal d, part, total = v_zero(), factor = v_zero()
    if gradients:
        factor = v_set(s.p[GRAD][0] * weight(s))
    while i < n:
        d = get(b, i, n) - get(a, i, n)
        if value:
            total = v_fma(d, d, total) if which == SQUARED else total + v_abs(d)
        if gradients:
            part = factor * slope(which, d)
            if to_a != NULL: give(to_a, i, n, -part, adds(s, 0))
            if to_b != NULL: give(to_b, i, n, part, adds(s, 1))
        i += VW
    if value:
        give_number(s.p[OUT], v_sum(total) * weight(s), adds(s, VALUE))

cdef inline void loss_forward(int which, Step* s, Py_ssize_t rows) noexcept nogil:
    if s.p[TO0] != NULL or s.p[TO1] != NULL:
        loss_sweep(which, s, rows, True, True)
    else:
        loss_sweep(which, s, rows, True, False)

cdef void mse_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = mean((a - b) ** 2)"""
    loss_forward(SQUARED, s, rows)

cdef void mse_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_b = 2 g (b - a) / count, to_a = -to_b"""
    loss_sweep(SQUARED, s, rows, False, True)

register("mse", mse_forward, mse_backward)


cdef void mae_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = mean(|a - b|)"""
    loss_forward(ABSOLUTE, s, rows)

cdef void mae_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_b = g sign(b - a) / count, to_a = -to_b"""
    loss_sweep(ABSOLUTE, s, rows, False, True)

register("mae", mae_forward, mae_backward)
