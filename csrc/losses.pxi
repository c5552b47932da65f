# Losses. n[0]: elements a row; the value is one number, added up over the blocks of a batch.
# c[0]: 1 / elements a row; f[PER_ROW]: divided by the rows of the batch as well; c[1]: the loss's
# setting. p[IN2]: sample weights or NULL, n[1] of them a row: one, or one an element; p[MORE]: their
# sum over the batch. Where p[TO0] or p[TO1] is given, the forward kernel writes
# the gradients in the same sweep (training), as gradient p[GRAD] of the loss is known before.

cdef enum:
    SQUARED = 0
    ABSOLUTE = 1
    HUBER = 2
    QUANTILE = 3
    POISSON = 4
    LOGISTIC = 5

cdef inline vreal loss_of(int which, vreal y, vreal p, vreal c) noexcept nogil:
    """The loss of each element: y the truth, p the prediction, c the setting."""
    cdef vreal d = p - y, small
    if which == SQUARED: return d * d
    if which == ABSOLUTE: return v_abs(d)
    if which == HUBER:
        small = v_min(v_abs(d), c)
        return small * (v_abs(d) - v_set(<real>0.5) * small)
    if which == QUANTILE: return v_max(-c * d, d - c * d)
    if which == POISSON: return v_exp(p) - y * p
    return v_softplus(p) - y * p

cdef inline vreal slope_of(int which, vreal y, vreal p, vreal c) noexcept nogil:
    """Its derivative with respect to the prediction."""
    cdef vreal d = p - y, sign
    if which == SQUARED: return d + d
    if which == ABSOLUTE: return v_sign(d)
    if which == HUBER: return v_min(v_max(d, -c), c)
    if which == QUANTILE:
        sign = v_sign(d)
        return v_fma(v_set(<real>0.5) - c, v_abs(sign), v_set(<real>0.5) * sign)
    if which == POISSON: return v_exp(p) - y
    return v_sigmoid(p) - y

cdef inline real loss_share(const Step* s) noexcept nogil:
    """What an element counts for in the mean, at weight 1."""
    if s.p[IN2] == NULL:
        return weight(s)
    return <real>s.c[0] * s.n[1] / s.p[MORE][0] if s.p[MORE][0] != 0 else 0

cdef inline real loss_stretch(int which, Step* s, Py_ssize_t i, Py_ssize_t n, const real* w, real factor, bint value, bint gradients) noexcept nogil:
    """The sum of the losses from element i to n, weighted where there are weights; slopes go out
    times factor, where gradients are wanted."""
    cdef const real* a = s.p[IN0]
    cdef const real* b = s.p[IN1]
    cdef real* to_a = s.p[TO0] if gradients else NULL
    cdef real* to_b = s.p[TO1] if gradients else NULL
    cdef vreal c = v_set(<real>s.c[1]), scale = v_set(factor), x, y, part, total = v_zero()
    while i < n:
        x = get(a, i, n)
        y = get(b, i, n)
        if value:
            if which == SQUARED and w == NULL:
                part = y - x
                total = v_fma(part, part, total)
            else:
                part = loss_of(which, x, y, c)
                if w != NULL: part = part * get(w, i, n)
                if which == POISSON or which == LOGISTIC: part = masked(part, i, n)
                total = total + part
        if gradients:
            part = scale * get(w, i, n) if w != NULL else scale
            if to_a != NULL:
                if which == POISSON or which == LOGISTIC:
                    give(to_a, i, n, -part * y, adds(s, 0))
                else:
                    give(to_a, i, n, -part * slope_of(which, x, y, c), adds(s, 0))
            if to_b != NULL:
                give(to_b, i, n, part * slope_of(which, x, y, c), adds(s, 1))
        i += VW
    return v_sum(total)

cdef inline void loss_sweep(int which, Step* s, Py_ssize_t rows, bint value, bint gradients) noexcept nogil:
    """The value, the gradients, or both, of y_true = a and y_pred = b."""
    cdef Py_ssize_t i, size = s.n[0]
    cdef const real* w = s.p[IN2]
    cdef real share = loss_share(s), total = 0, factor = s.p[GRAD][0] * share if gradients else 0
    if w == NULL or s.n[1] == size:
        total = loss_stretch(which, s, 0, rows * size, w, factor, value, gradients)
    else:
        for i in range(rows):
            total += w[i] * loss_stretch(which, s, i * size, (i + 1) * size, NULL, factor * w[i], value, gradients)
    if value:
        give_number(s.p[OUT], total * share, adds(s, VALUE))

cdef inline void give_weight(Step* s, Py_ssize_t i, real losses, real size) noexcept nogil:
    """The gradient of a weight from the sum of its losses: the mean moves towards them."""
    give_number(s.p[TO2] + i, s.p[GRAD][0] * loss_share(s) * (losses - size * s.p[OUT][0]), adds(s, 2))

cdef inline void loss_forward(int which, Step* s, Py_ssize_t rows) noexcept nogil:
    if s.p[TO0] != NULL or s.p[TO1] != NULL:
        loss_sweep(which, s, rows, True, True)
    else:
        loss_sweep(which, s, rows, True, False)

cdef inline void loss_backward(int which, Step* s, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t i, size = s.n[0] // s.n[1] if s.n[1] else 0
    if s.p[TO0] != NULL or s.p[TO1] != NULL:
        loss_sweep(which, s, rows, False, True)
    if s.p[TO2] != NULL:
        for i in range(rows * s.n[1]):
            give_weight(s, i, loss_stretch(which, s, i * size, (i + 1) * size, NULL, 0, True, False), <real>size)

cdef void mse_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = mean((a - b) ** 2)"""
    loss_forward(SQUARED, s, rows)

cdef void mse_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_b = 2 g (b - a) / count, to_a = -to_b"""
    loss_backward(SQUARED, s, rows)

register("mse", mse_forward, mse_backward)


cdef void mae_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = mean(|a - b|)"""
    loss_forward(ABSOLUTE, s, rows)

cdef void mae_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_b = g sign(b - a) / count, to_a = -to_b"""
    loss_backward(ABSOLUTE, s, rows)

register("mae", mae_forward, mae_backward)


cdef void huber_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = mean(d² / 2 where |d| <= c, else c (|d| - c / 2)), d = b - a"""
    loss_forward(HUBER, s, rows)

cdef void huber_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_b = g min(max(d, -c), c) / count, to_a = -to_b"""
    loss_backward(HUBER, s, rows)

register("huber", huber_forward, huber_backward)


cdef void quantile_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = mean(max(-c d, (1 - c) d)), d = b - a"""
    loss_forward(QUANTILE, s, rows)

cdef void quantile_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_b = g (sign(d) / 2 + (1/2 - c) |sign(d)|) / count, to_a = -to_b"""
    loss_backward(QUANTILE, s, rows)

register("quantile", quantile_forward, quantile_backward)


cdef void poisson_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = mean(e ** b - a b)"""
    loss_forward(POISSON, s, rows)

cdef void poisson_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_b = g (e ** b - a) / count, to_a = -g b / count"""
    loss_backward(POISSON, s, rows)

register("poisson", poisson_forward, poisson_backward)


cdef void binary_cross_entropy_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = mean(ln(1 + e ** b) - a b)"""
    loss_forward(LOGISTIC, s, rows)

cdef void binary_cross_entropy_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_b = g (sigmoid(b) - a) / count, to_a = -g b / count"""
    loss_backward(LOGISTIC, s, rows)

register("binary_cross_entropy", binary_cross_entropy_forward, binary_cross_entropy_backward)


# softmax_cross_entropy: n[0] labels a row, n[2] classes, n[3] numbers of y_true for each label: the
# class, or one for each class; n[1] weights a row. c[0]: 1 / labels a row.

cdef inline real class_loss(const Step* s, const real* y, const real* z, real* high, real* log_sum) noexcept nogil:
    """The loss of one label; exponentials are of z - max z, so that nothing overflows."""
    cdef Py_ssize_t k, classes = s.n[2]
    cdef real loss = 0
    high[0] = largest(z, classes)
    log_sum[0] = <real>c_log(sum_of_powers(z, classes, high[0]))
    if s.n[3] == 1:
        return log_sum[0] - (z[class_of(y[0], classes)] - high[0])
    for k in range(classes):
        loss += y[k] * (log_sum[0] - (z[k] - high[0]))
    return loss

cdef inline void class_slopes(Step* s, Py_ssize_t r, real high, real log_sum, real factor) noexcept nogil:
    """The gradients of label r: to_z = factor * (softmax(z) - y), to_y = -factor * log softmax(z)."""
    cdef Py_ssize_t k = 0, classes = s.n[2]
    cdef const real* y = s.p[IN0] + r * s.n[3]
    cdef const real* z = s.p[IN1] + r * classes
    cdef real* to_y = s.p[TO0] + r * classes if s.p[TO0] != NULL else NULL
    cdef real* to_z = s.p[TO1] + r * classes if s.p[TO1] != NULL else NULL
    cdef bint hot = s.n[3] > 1
    cdef vreal scale = v_set(factor), top = v_set(high), rest = v_set(log_sum), part
    cdef vreal mass = v_set(sum_of(y, classes) if hot else 1)
    while k < classes:
        part = (get(z, k, classes) - top) - rest
        if to_y != NULL: give(to_y, k, classes, -scale * part, adds(s, 0))
        if to_z != NULL:
            part = mass * v_exp(part)
            if hot: part = part - get(y, k, classes)
            give(to_z, k, classes, scale * part, adds(s, 1))
        k += VW
    if to_z != NULL and not hot:
        to_z[class_of(y[0], classes)] -= factor

cdef inline void class_sweep(Step* s, Py_ssize_t rows, bint value, bint gradients) noexcept nogil:
    cdef Py_ssize_t r
    cdef real share = loss_share(s), total = 0, factor, loss, high = 0, log_sum = 0
    for r in range(rows * s.n[0]):
        loss = class_loss(s, s.p[IN0] + r * s.n[3], s.p[IN1] + r * s.n[2], &high, &log_sum)
        factor = share
        if s.p[IN2] != NULL:
            factor = factor * s.p[IN2][r * s.n[1] // s.n[0]]
        total += factor * loss
        if gradients:
            class_slopes(s, r, high, log_sum, factor * s.p[GRAD][0])
    if value:
        give_number(s.p[OUT], total, adds(s, VALUE))

cdef void softmax_cross_entropy_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = mean(ln sum e ** z - z[y])"""
    class_sweep(s, rows, True, s.p[TO0] != NULL or s.p[TO1] != NULL)

cdef void softmax_cross_entropy_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_z = g (softmax(z) - onehot(y)) / count"""
    cdef Py_ssize_t i, j, r, size = s.n[0] // s.n[1] if s.n[1] else 0
    cdef real losses, high = 0, log_sum = 0
    if s.p[TO0] != NULL or s.p[TO1] != NULL:
        class_sweep(s, rows, False, True)
    if s.p[TO2] != NULL:
        for i in range(rows * s.n[1]):
            losses = 0
            for r in range(i * size, (i + 1) * size):
                losses += class_loss(s, s.p[IN0] + r * s.n[3], s.p[IN1] + r * s.n[2], &high, &log_sum)
            give_weight(s, i, losses, <real>size)

register("softmax_cross_entropy", softmax_cross_entropy_forward, softmax_cross_entropy_backward)


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
