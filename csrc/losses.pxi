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


# A loss at the end of a layer of width one on one feature, w * x + b: value and all gradients in
# one sweep along the rows, nothing stored between. Operands as of the layer, the value is the
# loss's, p[MORE]: y_true. n[0]: elements a row; weight as of the loss.

cdef inline void _head_one(int which, vreal x, vreal y, vreal w, vreal b, vreal* total, vreal* sum_x, vreal* sum_1, vreal* slopes) noexcept nogil:
    cdef vreal d = v_fma(x, w, b) - y
    total[0] = v_fma(d, d, total[0]) if which == SQUARED else total[0] + v_abs(d)
    if which == ABSOLUTE:
        d = v_sign(d)
    sum_x[0] = v_fma(d, x, sum_x[0])
    sum_1[0] = sum_1[0] + d
    slopes[0] = d

cdef inline void head_sweep(int which, Step* s, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef const real* x = s.p[IN0]
    cdef const real* y = s.p[MORE]
    cdef real* to_x = s.p[TO0]
    cdef real share = weight(s), factor = s.p[GRAD][0] * share * (2 if which == SQUARED else 1)
    cdef vreal w = v_set(s.p[IN1][0]), b = v_set(s.p[IN2][0]), back = v_set(factor) * w, d
    cdef vreal t0 = v_zero(), t1 = v_zero(), t2 = v_zero(), t3 = v_zero()
    cdef vreal x0 = v_zero(), x1 = v_zero(), x2 = v_zero(), x3 = v_zero()
    cdef vreal s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero()
    cdef bint add = adds(s, 0)
    if to_x == NULL:
        while i + 4 * VW <= n:
            _head_one(which, v_load(x + i), v_load(y + i), w, b, &t0, &x0, &s0, &d)
            _head_one(which, v_load(x + i + VW), v_load(y + i + VW), w, b, &t1, &x1, &s1, &d)
            _head_one(which, v_load(x + i + 2 * VW), v_load(y + i + 2 * VW), w, b, &t2, &x2, &s2, &d)
            _head_one(which, v_load(x + i + 3 * VW), v_load(y + i + 3 * VW), w, b, &t3, &x3, &s3, &d)
            i += 4 * VW
    else:
        while i + 2 * VW <= n:
            _head_one(which, v_load(x + i), v_load(y + i), w, b, &t0, &x0, &s0, &d)
            d = d * back
            if add: d = d + v_load(to_x + i)
            v_store(to_x + i, d)
            _head_one(which, v_load(x + i + VW), v_load(y + i + VW), w, b, &t1, &x1, &s1, &d)
            d = d * back
            if add: d = d + v_load(to_x + i + VW)
            v_store(to_x + i + VW, d)
            i += 2 * VW
    while i + VW <= n:
        _head_one(which, v_load(x + i), v_load(y + i), w, b, &t2, &x2, &s2, &d)
        if to_x != NULL: give(to_x, i, n, d * back, add)
        i += VW
    if i < n:
        # Beyond the end the bias would count as a difference.
        _head_one(which, get(x, i, n), get(y, i, n), w, masked(b, i, n), &t3, &x3, &s3, &d)
        if to_x != NULL: give(to_x, i, n, d * back, add)
    give_number(s.p[OUT], v_sum((t0 + t1) + (t2 + t3)) * share, adds(s, VALUE))
    if s.p[TO1] != NULL:
        give_number(s.p[TO1], v_sum((x0 + x1) + (x2 + x3)) * factor, adds(s, 1))
    if s.p[TO2] != NULL:
        give_number(s.p[TO2], v_sum((s0 + s1) + (s2 + s3)) * factor, adds(s, 2))

cdef void mse_head(Step* s, Py_ssize_t rows) noexcept nogil:
    """d = w x + b - y; out = mean(d²); to_x = 2 g d w / count, to_w = sum 2 g d x / count, ..."""
    head_sweep(SQUARED, s, rows)

cdef void mae_head(Step* s, Py_ssize_t rows) noexcept nogil:
    """d = w x + b - y; out = mean(|d|); to_x = g sign(d) w / count, ..."""
    head_sweep(ABSOLUTE, s, rows)

_KERNELS["mse_head"] = <size_t>mse_head
_KERNELS["mae_head"] = <size_t>mae_head
