# Linear layers and matrix products, on the tiles of simd.h.

# linear: n[0] in, n[1] out, n[2] rows of the product a row of the batch has.
# f[ACTIVATION]: fused activation; f[THROUGH]: mask the gradient of x by x > 0 (x is a ReLU's value
# and that ReLU is fused into the layer before). p[MORE]: W transposed, or NULL.

cdef enum:
    ACTIVATION = 3       # the activation applied to this layer's value
    THROUGH = 4          # the gradient of x passes through the ReLU that made x
    PASSED = 5           # the gradient given has passed this layer's own activation already
    LONE_BIAS = 6        # the bias is one number for all outputs

cdef inline void affine(Py_ssize_t n, const real* x, real w, real b, int which, real* out) noexcept nogil:
    """out = activation(w * x + b): a layer of width one on one feature, along the rows."""
    cdef Py_ssize_t i = 0
    cdef vreal ww = v_set(w), bb = v_set(b)
    while i + VW <= n:
        v_store(out + i, activated(which, v_fma(v_load(x + i), ww, bb)))
        i += VW
    if i < n:
        put(out, i, n, activated(which, v_fma(get(x, i, n), ww, bb)))

cdef inline void activate(Py_ssize_t n, real* y, int which) noexcept nogil:
    cdef Py_ssize_t i = 0
    while i + VW <= n:
        v_store(y + i, activated(which, v_load(y + i)))
        i += VW
    if i < n:
        put(y, i, n, activated(which, get(y, i, n)))

cdef void linear_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """y = activation(x @ W + b)"""
    cdef Py_ssize_t k = s.n[0], n = s.n[1], m = rows * s.n[2]
    cdef int which = s.f[ACTIVATION]
    cdef const real* x = s.p[IN0]
    cdef const real* w = s.p[IN1]
    cdef const real* b = s.p[IN2]
    cdef real* y = s.p[OUT]
    cdef real lone = 0
    if n == 1:
        if b != NULL:
            lone = b[0]
        if k == 1:
            # One loop per activation: the choice stays outside.
            if which == NO_ACTIVATION: affine(m, x, w[0], lone, NO_ACTIVATION, y)
            elif which == RELU: affine(m, x, w[0], lone, RELU, y)
            elif which == SIGMOID: affine(m, x, w[0], lone, SIGMOID, y)
            else: affine(m, x, w[0], lone, TANH, y)
            return
        gemv(m, k, x, w, lone, y)
        if which == RELU:
            activate(m, y, RELU)
    else:
        c_gemm(m, n, k, x, k, 1, w, n, y, n, b, False, which == RELU)
    if which == SIGMOID:
        activate(m * n, y, SIGMOID)
    elif which == TANH:
        activate(m * n, y, TANH)

cdef inline void column_sums(Py_ssize_t m, Py_ssize_t n, const real* g, real* to, bint add) noexcept nogil:
    """to[j] (+)= sum over i of g[i, j]"""
    cdef Py_ssize_t i, j = 0
    cdef vreal a, b, c, d
    if n == 1:
        give_number(to, sum_of(g, m), add)
        return
    while j < n:
        a = v_zero(); b = v_zero(); c = v_zero(); d = v_zero()
        i = 0
        while i + 4 <= m:
            a = a + get(g + i * n, j, n)
            b = b + get(g + (i + 1) * n, j, n)
            c = c + get(g + (i + 2) * n, j, n)
            d = d + get(g + (i + 3) * n, j, n)
            i += 4
        while i < m:
            a = a + get(g + i * n, j, n)
            i += 1
        give(to, j, n, (a + b) + (c + d), add)
        j += VW

cdef inline void through(Py_ssize_t n, real* g, const real* y, int which) noexcept nogil:
    """g = gradient of the activation's argument, in place."""
    cdef Py_ssize_t i = 0
    while i < n:
        put(g, i, n, through_activation(which, get(g, i, n), get(y, i, n)))
        i += VW

cdef inline void affine_back(Step* s, Py_ssize_t m, int which) noexcept nogil:
    """The gradients of a layer of width one on one feature, in one sweep along the rows."""
    cdef Py_ssize_t i = 0
    cdef const real* x = s.p[IN0]
    cdef const real* y = s.p[OUT]
    cdef const real* g = s.p[GRAD]
    cdef real* to_x = s.p[TO0]
    cdef vreal w = v_set(s.p[IN1][0]), dz
    cdef vreal sum_w = v_zero(), sum_b = v_zero(), sum_w2 = v_zero(), sum_b2 = v_zero()
    cdef bint add = adds(s, 0)
    if to_x == NULL:
        while i + 2 * VW <= m:
            dz = through_activation(which, v_load(g + i), v_load(y + i))
            sum_w = v_fma(dz, v_load(x + i), sum_w)
            sum_b = sum_b + dz
            dz = through_activation(which, v_load(g + i + VW), v_load(y + i + VW))
            sum_w2 = v_fma(dz, v_load(x + i + VW), sum_w2)
            sum_b2 = sum_b2 + dz
            i += 2 * VW
    while i < m:
        dz = through_activation(which, get(g, i, m), get(y, i, m))
        sum_w = v_fma(dz, get(x, i, m), sum_w)
        sum_b = sum_b + dz
        if to_x != NULL:
            dz = dz * w
            if s.f[THROUGH]:
                dz = v_positive(get(x, i, m), dz)
            give(to_x, i, m, dz, add)
        i += VW
    if s.p[TO1] != NULL:
        give_number(s.p[TO1], v_sum(sum_w + sum_w2), adds(s, 1))
    if s.p[TO2] != NULL:
        give_number(s.p[TO2], v_sum(sum_b + sum_b2), adds(s, 2))

cdef inline void outer(Py_ssize_t m, Py_ssize_t k, const real* g, const real* w, real* to, bint add, const real* mask) noexcept nogil:
    """to[i, j] (+)= g[i] * w[j], where mask > 0 if there is one."""
    cdef Py_ssize_t i, j
    cdef vreal gi, part
    for i in range(m):
        gi = v_set(g[i])
        j = 0
        while j < k:
            part = gi * get(w, j, k)
            if mask != NULL:
                part = v_positive(get(mask + i * k, j, k), part)
            give(to + i * k, j, k, part, add)
            j += VW

cdef void linear_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """dz = g through the activation; to_b = sum dz; to_W = xT dz; to_x = dz WT"""
    cdef Py_ssize_t k = s.n[0], n = s.n[1], m = rows * s.n[2], i
    cdef int which = NO_ACTIVATION if s.f[PASSED] else s.f[ACTIVATION]
    cdef const real* x = s.p[IN0]
    cdef const real* w = s.p[IN1]
    cdef real* g = s.p[GRAD]
    cdef real* to_x = s.p[TO0]
    cdef const real* mask = x if s.f[THROUGH] else NULL
    if k == 1 and n == 1:
        if which == NO_ACTIVATION: affine_back(s, m, NO_ACTIVATION)
        elif which == RELU: affine_back(s, m, RELU)
        elif which == SIGMOID: affine_back(s, m, SIGMOID)
        else: affine_back(s, m, TANH)
        return
    if which == RELU: through(m * n, g, s.p[OUT], RELU)
    elif which == SIGMOID: through(m * n, g, s.p[OUT], SIGMOID)
    elif which == TANH: through(m * n, g, s.p[OUT], TANH)
    if s.p[TO2] != NULL:
        if s.f[LONE_BIAS]:
            give_number(s.p[TO2], sum_of(g, m * n), adds(s, 2))
        else:
            column_sums(m, n, g, s.p[TO2], adds(s, 2))
    if s.p[TO1] != NULL:
        if n == 1:
            gemv_t(m, k, x, g, s.p[TO1], adds(s, 1))
        else:
            c_gemm(k, n, m, x, 1, k, g, n, s.p[TO1], n, NULL, adds(s, 1), False)
    if to_x != NULL:
        if n == 1:
            outer(m, k, g, w, to_x, adds(s, 0), mask)
        elif s.p[MORE] == NULL:
            # Few rows: each is W times the row of g, and W need not be transposed.
            for i in range(m):
                _row_back(k, n, w, g + i * n, to_x + i * k, adds(s, 0), mask + i * k if mask != NULL else NULL)
        elif mask != NULL and not adds(s, 0):
            gemm_positive(m, k, n, g, n, 1, s.p[MORE], k, to_x, k, mask, k)
        else:
            c_gemm(m, k, n, g, n, 1, s.p[MORE], k, to_x, k, NULL, adds(s, 0), False)

cdef inline void _row_back(Py_ssize_t k, Py_ssize_t n, const real* w, const real* g, real* to, bint add, const real* mask) noexcept nogil:
    """to (+)= W g for one row, where mask > 0 if there is one."""
    cdef Py_ssize_t i, j = 0, count
    cdef real part[64]
    while j < k:
        count = min(<Py_ssize_t>64, k - j)
        gemv(count, n, w + j * n, g, 0, part)
        i = 0
        while i < count:
            if mask != NULL:
                put(part, i, count, v_positive(get(mask + j, i, count), get(part, i, count)))
            give(to + j, i, count, get(part, i, count), add)
            i += VW
        j += count

register("linear", linear_forward, linear_backward)


cdef void transpose_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = xT, once a step: n[0] x n[1]"""
    transpose(s.n[0], s.n[1], s.p[IN0], s.p[OUT])

register("transpose", transpose_forward, transpose_forward)


# matmul: a product of (n[0] x n[1]) by (n[1] x n[2]) for each of n[5] * rows pairs; a moves on by
# n[3] and b by n[4] from one to the next (0: the same for all).

cdef void matmul_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = a @ b"""
    cdef Py_ssize_t i, m = s.n[0], k = s.n[1], n = s.n[2], count = rows * s.n[5]
    if s.n[4] == 0 and s.n[3] == m * k:
        m, count = m * count, 1  # one right side for all: one tall product
    for i in range(count):
        c_gemm(m, n, k, s.p[IN0] + i * s.n[3], k, 1, s.p[IN1] + i * s.n[4], n,
               s.p[OUT] + i * m * n, n, NULL, False, False)

cdef void matmul_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_a = g @ bT, to_b = aT @ g"""
    cdef Py_ssize_t i, r, j, m = s.n[0], k = s.n[1], n = s.n[2], count = rows * s.n[5]
    cdef Py_ssize_t a_step = s.n[3], b_step = s.n[4]
    cdef const real* a
    cdef const real* b
    cdef const real* g
    cdef real* to
    cdef bint add
    if b_step == 0 and a_step == m * k:
        m, count = m * count, 1
    for i in range(count):
        a = s.p[IN0] + i * a_step
        b = s.p[IN1] + i * b_step
        g = s.p[GRAD] + i * m * n
        if s.p[TO0] != NULL:
            to = s.p[TO0] + i * a_step
            add = adds(s, 0) or (i > 0 and a_step == 0)
            for r in range(m):
                _row_back(k, n, b, g + r * n, to + r * k, add, NULL)
        if s.p[TO1] != NULL:
            add = adds(s, 1) or (i > 0 and b_step == 0)
            c_gemm(k, n, m, a, 1, k, g, n, s.p[TO1] + i * b_step, n, NULL, add, False)

register("matmul", matmul_forward, matmul_backward)
