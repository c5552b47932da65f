# Normalisations. n[0]: features C; n[1]: vectors of features a row. p: x, gamma, beta (IN0 IN1 IN2).

# layer_norm: c[0]: epsilon. p[MORE]: mean and 1 / deviation of each vector.

cdef void layer_norm_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = gamma * (x - mean) / sqrt(variance + epsilon) + beta, over each vector"""
    cdef Py_ssize_t r, k, n = s.n[0]
    cdef const real* x
    cdef real mean, scale
    cdef vreal part, middle, total
    for r in range(rows * s.n[1]):
        x = s.p[IN0] + r * n
        mean = sum_of(x, n) / n
        middle = v_set(mean)
        total = v_zero()
        k = 0
        while k < n:
            part = masked(get(x, k, n) - middle, k, n)
            total = v_fma(part, part, total)
            k += VW
        scale = <real>(1 / c_sqrt(v_sum(total) / n + s.c[0]))
        s.p[MORE][2 * r] = mean
        s.p[MORE][2 * r + 1] = scale
        k = 0
        while k < n:
            part = (get(x, k, n) - middle) * v_set(scale)
            put(s.p[OUT] + r * n, k, n, v_fma(part, get(s.p[IN1], k, n), get(s.p[IN2], k, n)))
            k += VW

cdef void layer_norm_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """h = g gamma; to_x = (h - mean h - x^ mean(h x^)) / deviation; to_gamma += g x^; to_beta += g"""
    cdef Py_ssize_t r, k, n = s.n[0]
    cdef const real* x
    cdef const real* g
    cdef vreal middle, scale, normal, h, sum_h, sum_along
    cdef bint add_gamma = adds(s, 1), add_beta = adds(s, 2)
    for r in range(rows * s.n[1]):
        x = s.p[IN0] + r * n
        g = s.p[GRAD] + r * n
        middle = v_set(s.p[MORE][2 * r])
        scale = v_set(s.p[MORE][2 * r + 1])
        sum_h = v_zero()
        sum_along = v_zero()
        k = 0
        while k < n:
            normal = (get(x, k, n) - middle) * scale
            h = get(g, k, n)
            if s.p[TO1] != NULL: give(s.p[TO1], k, n, h * normal, add_gamma or r > 0)
            if s.p[TO2] != NULL: give(s.p[TO2], k, n, h, add_beta or r > 0)
            h = h * get(s.p[IN1], k, n)
            sum_h = sum_h + h
            sum_along = v_fma(h, normal, sum_along)
            k += VW
        if s.p[TO0] == NULL:
            continue
        sum_h = v_set(v_sum(sum_h) / n)
        sum_along = v_set(v_sum(sum_along) / n)
        k = 0
        while k < n:
            normal = (get(x, k, n) - middle) * scale
            h = get(g, k, n) * get(s.p[IN1], k, n) - sum_h
            give(s.p[TO0] + r * n, k, n, scale * (h - normal * sum_along), adds(s, 0))
            k += VW

register("layer_norm", layer_norm_forward, layer_norm_backward)


# batch_norm: c[0]: epsilon, c[1]: momentum. p[IN3], p[IN4]: running mean and variance, which
# evaluation normalises by. Training normalises by those of the batch, which comes in one block;
# p[MORE] takes its mean and p[MORE2] its variance, and keep makes the running ones of them once
# the step went well.

cdef inline void batch_norm(Step* s, Py_ssize_t m, const real* mean, const real* variance) noexcept nogil:
    """out = gamma * (x - mean) / sqrt(variance + epsilon) + beta"""
    cdef Py_ssize_t i, k = 0, n = s.n[0]
    cdef vreal middle, scale, shift
    while k < n:
        middle = get(mean, k, n)
        scale = get(s.p[IN1], k, n) / v_sqrt(get(variance, k, n) + v_set(<real>s.c[0]))
        shift = get(s.p[IN2], k, n)
        for i in range(m):
            put(s.p[OUT] + i * n, k, n, v_fma(get(s.p[IN0] + i * n, k, n) - middle, scale, shift))
        k += VW

cdef inline void batch_norm_back(Step* s, Py_ssize_t m, const real* mean, const real* variance, bint training) noexcept nogil:
    cdef Py_ssize_t i, k = 0, n = s.n[0]
    cdef vreal middle, scale, normal, g, factor, sum_g, sum_along, mean_g, mean_along
    cdef real count = <real>m
    while k < n:
        middle = get(mean, k, n)
        scale = v_set(1) / v_sqrt(get(variance, k, n) + v_set(<real>s.c[0]))
        factor = get(s.p[IN1], k, n) * scale
        sum_g = v_zero()
        sum_along = v_zero()
        for i in range(m):
            g = get(s.p[GRAD] + i * n, k, n)
            sum_g = sum_g + g
            sum_along = v_fma(g, (get(s.p[IN0] + i * n, k, n) - middle) * scale, sum_along)
        if s.p[TO1] != NULL: give(s.p[TO1], k, n, sum_along, adds(s, 1))
        if s.p[TO2] != NULL: give(s.p[TO2], k, n, sum_g, adds(s, 2))
        if s.p[TO3] != NULL: give(s.p[TO3], k, n, -factor * sum_g, adds(s, 8))
        if s.p[TO4] != NULL: give(s.p[TO4], k, n, v_set(<real>-0.5) * factor * scale * sum_along, adds(s, 9))
        mean_g = sum_g / v_set(count)
        mean_along = sum_along / v_set(count)
        if s.p[TO0] != NULL:
            for i in range(m):
                g = get(s.p[GRAD] + i * n, k, n)
                if training:
                    normal = (get(s.p[IN0] + i * n, k, n) - middle) * scale
                    g = g - mean_g - normal * mean_along
                give(s.p[TO0] + i * n, k, n, factor * g, adds(s, 0))
        k += VW

cdef void batch_norm_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = gamma * (x - running mean) / sqrt(running variance + epsilon) + beta"""
    batch_norm(s, rows * s.n[1], s.p[IN3], s.p[IN4])

cdef void batch_norm_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_x = g gamma / deviation; to_gamma = sum g x^; to_beta = sum g; and of the statistics"""
    batch_norm_back(s, rows * s.n[1], s.p[IN3], s.p[IN4], False)

register("batch_norm", batch_norm_forward, batch_norm_backward)

cdef void batch_norm_train_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = gamma * (x - mean) / sqrt(variance + epsilon) + beta, of the batch"""
    cdef Py_ssize_t i, k = 0, n = s.n[0], m = rows * s.n[1]
    cdef vreal total, middle, part, count = v_set(<real>m)
    while k < n:
        total = v_zero()
        for i in range(m):
            total = total + get(s.p[IN0] + i * n, k, n)
        middle = total / count
        total = v_zero()
        for i in range(m):
            part = get(s.p[IN0] + i * n, k, n) - middle
            total = v_fma(part, part, total)
        put(s.p[MORE], k, n, middle)
        put(s.p[MORE2], k, n, total / count)
        k += VW
    batch_norm(s, m, s.p[MORE], s.p[MORE2])

cdef void batch_norm_train_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_x = gamma (g - mean g - x^ mean(g x^)) / deviation; to_gamma = sum g x^; to_beta = sum g"""
    batch_norm_back(s, rows * s.n[1], s.p[MORE], s.p[MORE2], True)

register("batch_norm_train", batch_norm_train_forward, batch_norm_train_backward)

cdef inline void _mix(real* running, const real* fresh, real momentum, real factor, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k = 0
    while k < n:
        put(running, k, n, v_fma(v_set(1 - momentum), get(running, k, n), v_set(momentum * factor) * get(fresh, k, n)))
        k += VW

cdef void batch_norm_keep(Step* s, Py_ssize_t rows) noexcept nogil:
    """running = (1 - momentum) running + momentum batch, the variance unbiased; where p is given"""
    cdef real count = <real>(s.lane.rows * s.n[1])
    if s.p[IN3] != NULL:
        _mix(s.p[IN3], s.p[MORE], <real>s.c[1], 1, s.n[0])
    if s.p[IN4] != NULL:
        _mix(s.p[IN4], s.p[MORE2], <real>s.c[1], count / max(count - 1, <real>1), s.n[0])

_KERNELS["batch_norm_keep"] = <size_t>batch_norm_keep
