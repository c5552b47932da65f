# Elementwise kernels. n[0]: elements a row. Operands are as large as the value, or single numbers
# (flags LONE0 and LONE1); lowering spreads every other broadcast before.

cdef enum:
    LONE0 = 3            # input 0 is a single number
    LONE1 = 4            # input 1 is a single number

# How the gradient of one operand of a binary operation goes out: element by element, or, where the
# operand is a single number, as one sum.
cdef inline void give_sum(Step* s, int which, vreal total) noexcept nogil:
    give_number(s.p[TO0 + which], v_sum(total), adds(s, which))


cdef void add_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = a + b"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef const real* a = s.p[IN0]
    cdef const real* b = s.p[IN1]
    cdef real* out = s.p[OUT]
    cdef vreal x = v_set(a[0]), y = v_set(b[0])
    while i < n:
        if not s.f[LONE0]: x = get(a, i, n)
        if not s.f[LONE1]: y = get(b, i, n)
        put(out, i, n, x + y)
        i += VW

cdef inline void _pass_gradient(Step* s, int which, bint lone, real sign, Py_ssize_t n) noexcept nogil:
    """to = sign * g, or its sum."""
    cdef Py_ssize_t i = 0
    cdef const real* g = s.p[GRAD]
    cdef real* to = s.p[TO0 + which]
    cdef bint add = adds(s, which)
    cdef vreal total = v_zero(), factor = v_set(sign)
    if to == NULL:
        return
    while i < n:
        if lone:
            total = total + factor * get(g, i, n)
        else:
            give(to, i, n, factor * get(g, i, n), add)
        i += VW
    if lone:
        give_sum(s, which, total)

cdef void add_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_a = g, to_b = g"""
    _pass_gradient(s, 0, s.f[LONE0], 1, rows * s.n[0])
    _pass_gradient(s, 1, s.f[LONE1], 1, rows * s.n[0])

register("add", add_forward, add_backward)


cdef void subtract_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = a - b"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef const real* a = s.p[IN0]
    cdef const real* b = s.p[IN1]
    cdef real* out = s.p[OUT]
    cdef vreal x = v_set(a[0]), y = v_set(b[0])
    while i < n:
        if not s.f[LONE0]: x = get(a, i, n)
        if not s.f[LONE1]: y = get(b, i, n)
        put(out, i, n, x - y)
        i += VW

cdef void subtract_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_a = g, to_b = -g"""
    _pass_gradient(s, 0, s.f[LONE0], 1, rows * s.n[0])
    _pass_gradient(s, 1, s.f[LONE1], -1, rows * s.n[0])

register("subtract", subtract_forward, subtract_backward)


cdef void multiply_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = a * b"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef const real* a = s.p[IN0]
    cdef const real* b = s.p[IN1]
    cdef real* out = s.p[OUT]
    cdef vreal x = v_set(a[0]), y = v_set(b[0])
    while i < n:
        if not s.f[LONE0]: x = get(a, i, n)
        if not s.f[LONE1]: y = get(b, i, n)
        put(out, i, n, x * y)
        i += VW

cdef inline void _times_other(Step* s, int which, bint lone, bint other_lone, Py_ssize_t n) noexcept nogil:
    """to = g * other, or its sum."""
    cdef Py_ssize_t i = 0
    cdef const real* g = s.p[GRAD]
    cdef const real* other = s.p[IN0 + 1 - which]
    cdef real* to = s.p[TO0 + which]
    cdef bint add = adds(s, which)
    cdef vreal total = v_zero(), y = v_set(other[0])
    if to == NULL:
        return
    while i < n:
        if not other_lone: y = get(other, i, n)
        if lone:
            total = v_fma(get(g, i, n), masked(y, i, n), total)
        else:
            give(to, i, n, get(g, i, n) * y, add)
        i += VW
    if lone:
        give_sum(s, which, total)

cdef void multiply_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_a = g * b, to_b = g * a"""
    _times_other(s, 0, s.f[LONE0], s.f[LONE1], rows * s.n[0])
    _times_other(s, 1, s.f[LONE1], s.f[LONE0], rows * s.n[0])

register("multiply", multiply_forward, multiply_backward)


cdef void divide_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = a / b"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef const real* a = s.p[IN0]
    cdef const real* b = s.p[IN1]
    cdef real* out = s.p[OUT]
    cdef vreal x = v_set(a[0]), y = v_set(b[0])
    while i < n:
        if not s.f[LONE0]: x = get(a, i, n)
        if not s.f[LONE1]: y = get(b, i, n)
        put(out, i, n, x / y)
        i += VW

cdef void divide_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_a = g / b, to_b = -g * out / b"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef const real* b = s.p[IN1]
    cdef const real* out = s.p[OUT]
    cdef const real* g = s.p[GRAD]
    cdef real* to_a = s.p[TO0]
    cdef real* to_b = s.p[TO1]
    cdef bint add_a = adds(s, 0), add_b = adds(s, 1)
    cdef vreal y = v_set(b[0]), part, total_a = v_zero(), total_b = v_zero()
    while i < n:
        if not s.f[LONE1]: y = get(b, i, n)
        part = get(g, i, n) / y
        if to_a != NULL:
            if s.f[LONE0]:
                total_a = total_a + masked(part, i, n)
            else:
                give(to_a, i, n, part, add_a)
        if to_b != NULL:
            part = -part * get(out, i, n)
            if s.f[LONE1]:
                total_b = total_b + masked(part, i, n)
            else:
                give(to_b, i, n, part, add_b)
        i += VW
    if to_a != NULL and s.f[LONE0]:
        give_sum(s, 0, total_a)
    if to_b != NULL and s.f[LONE1]:
        give_sum(s, 1, total_b)

register("divide", divide_forward, divide_backward)


cdef inline real _power(real a, real b) noexcept nogil:
    if b == 2: return a * a
    if b == 1: return a
    if b == 3: return a * a * a
    return <real>c_pow(a, b)

cdef void power_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = a ** b"""
    cdef Py_ssize_t i, n = rows * s.n[0]
    cdef const real* a = s.p[IN0]
    cdef const real* b = s.p[IN1]
    cdef real* out = s.p[OUT]
    cdef vreal x
    if s.f[LONE1] and not s.f[LONE0] and b[0] == 2:
        i = 0
        while i < n:
            x = get(a, i, n)
            put(out, i, n, x * x)
            i += VW
        return
    for i in range(n):
        out[i] = _power(a[0 if s.f[LONE0] else i], b[0 if s.f[LONE1] else i])

cdef void power_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_a = g * b * a ** (b - 1), 0 where b is 0; to_b = g * out * log(a), 0 where a is 0"""
    cdef Py_ssize_t i, n = rows * s.n[0]
    cdef const real* a = s.p[IN0]
    cdef const real* b = s.p[IN1]
    cdef const real* out = s.p[OUT]
    cdef const real* g = s.p[GRAD]
    cdef real* to_a = s.p[TO0]
    cdef real* to_b = s.p[TO1]
    cdef bint add_a = adds(s, 0), add_b = adds(s, 1)
    cdef real x, y, part, total_a = 0, total_b = 0
    cdef vreal two
    if to_b == NULL and s.f[LONE1] and not s.f[LONE0] and b[0] == 2:
        i = 0
        two = v_set(2)
        while i < n and to_a != NULL:
            give(to_a, i, n, two * get(g, i, n) * get(a, i, n), add_a)
            i += VW
        return
    for i in range(n):
        x = a[0 if s.f[LONE0] else i]
        y = b[0 if s.f[LONE1] else i]
        if to_a != NULL:
            part = 0 if y == 0 else g[i] * y * _power(x, y - 1)
            if s.f[LONE0]:
                total_a += part
            else:
                give_number(to_a + i, part, add_a)
        if to_b != NULL:
            part = 0 if x == 0 else <real>(g[i] * out[i] * c_log(x))
            if s.f[LONE1]:
                total_b += part
            else:
                give_number(to_b + i, part, add_b)
    if to_a != NULL and s.f[LONE0]:
        give_number(to_a, total_a, add_a)
    if to_b != NULL and s.f[LONE1]:
        give_number(to_b, total_b, add_b)

register("power", power_forward, power_backward)


cdef void negate_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = -x"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        put(s.p[OUT], i, n, -get(s.p[IN0], i, n))
        i += VW

cdef void negate_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = -g"""
    _pass_gradient(s, 0, False, -1, rows * s.n[0])

register("negate", negate_forward, negate_backward)


cdef void exp_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = e ** x"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        put(s.p[OUT], i, n, v_exp(get(s.p[IN0], i, n)))
        i += VW

cdef void exp_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g * out"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        give(s.p[TO0], i, n, get(s.p[GRAD], i, n) * get(s.p[OUT], i, n), adds(s, 0))
        i += VW

register("exp", exp_forward, exp_backward)


cdef void log_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = ln x"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        put(s.p[OUT], i, n, v_log(get(s.p[IN0], i, n)))
        i += VW

cdef void log_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g / x"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        give(s.p[TO0], i, n, get(s.p[GRAD], i, n) / get(s.p[IN0], i, n), adds(s, 0))
        i += VW

register("log", log_forward, log_backward)


cdef void sqrt_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = √x"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        put(s.p[OUT], i, n, v_sqrt(get(s.p[IN0], i, n)))
        i += VW

cdef void sqrt_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g / (2 out)"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal y
    while i < n:
        y = get(s.p[OUT], i, n)
        give(s.p[TO0], i, n, get(s.p[GRAD], i, n) / (y + y), adds(s, 0))
        i += VW

register("sqrt", sqrt_forward, sqrt_backward)


cdef void abs_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = |x|"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        put(s.p[OUT], i, n, v_abs(get(s.p[IN0], i, n)))
        i += VW

cdef void abs_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g * sign(x)"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        give(s.p[TO0], i, n, get(s.p[GRAD], i, n) * v_sign(get(s.p[IN0], i, n)), adds(s, 0))
        i += VW

register("abs", abs_forward, abs_backward)


cdef inline void _extreme_forward(bint larger, Step* s, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x = v_set(s.p[IN0][0]), y = v_set(s.p[IN1][0])
    while i < n:
        if not s.f[LONE0]: x = get(s.p[IN0], i, n)
        if not s.f[LONE1]: y = get(s.p[IN1], i, n)
        put(s.p[OUT], i, n, v_max(x, y) if larger else v_min(x, y))
        i += VW

cdef inline void _extreme_back(bint larger, Step* s, int which, bint lone, bint other_lone, Py_ssize_t n) noexcept nogil:
    """to = g where this operand is the extreme one, half of it where both are, or the sum."""
    cdef Py_ssize_t i = 0
    cdef const real* own = s.p[IN0 + which]
    cdef const real* other = s.p[IN0 + 1 - which]
    cdef real* to = s.p[TO0 + which]
    cdef vreal x = v_set(own[0]), y = v_set(other[0]), part, total = v_zero()
    cdef bint add = adds(s, which)
    if to == NULL:
        return
    while i < n:
        if not lone: x = get(own, i, n)
        if not other_lone: y = get(other, i, n)
        part = get(s.p[GRAD], i, n)
        part = v_larger(x, y, part) if larger else v_larger(y, x, part)
        if lone:
            total = total + part
        else:
            give(to, i, n, part, add)
        i += VW
    if lone:
        give_sum(s, which, total)

cdef void maximum_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = max(a, b)"""
    _extreme_forward(True, s, rows)

cdef void maximum_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_a = g where a > b, g / 2 where a = b, to_b likewise"""
    _extreme_back(True, s, 0, s.f[LONE0], s.f[LONE1], rows * s.n[0])
    _extreme_back(True, s, 1, s.f[LONE1], s.f[LONE0], rows * s.n[0])

register("maximum", maximum_forward, maximum_backward)


cdef void minimum_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = min(a, b)"""
    _extreme_forward(False, s, rows)

cdef void minimum_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to_a = g where a < b, g / 2 where a = b, to_b likewise"""
    _extreme_back(False, s, 0, s.f[LONE0], s.f[LONE1], rows * s.n[0])
    _extreme_back(False, s, 1, s.f[LONE1], s.f[LONE0], rows * s.n[0])

register("minimum", minimum_forward, minimum_backward)


# Activations. Their gradients are made from the value, so that the value may take the place of the
# argument where a linear layer is fused with its activation (linear.pxi).

cdef enum:
    NO_ACTIVATION = 0
    RELU = 1
    SIGMOID = 2
    TANH = 3

cdef inline vreal activated(int which, vreal x) noexcept nogil:
    if which == RELU: return v_relu(x)
    if which == SIGMOID: return v_sigmoid(x)
    if which == TANH: return v_tanh(x)
    return x

cdef inline vreal through_activation(int which, vreal g, vreal y) noexcept nogil:
    """The gradient of the argument from the gradient and the value of the activation."""
    if which == RELU: return v_positive(y, g)
    if which == SIGMOID: return g * y * (v_set(1) - y)
    if which == TANH: return g * (v_set(1) - y * y)
    return g

cdef inline void _activation_forward(int which, Step* s, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef const real* x = s.p[IN0]
    cdef real* out = s.p[OUT]
    while i + VW <= n:
        v_store(out + i, activated(which, v_load(x + i)))
        i += VW
    if i < n:
        put(out, i, n, activated(which, get(x, i, n)))

cdef inline void _activation_backward(int which, Step* s, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        give(s.p[TO0], i, n, through_activation(which, get(s.p[GRAD], i, n), get(s.p[OUT], i, n)), adds(s, 0))
        i += VW

cdef void relu_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = max(x, 0)"""
    _activation_forward(RELU, s, rows)

cdef void relu_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g where x > 0, else 0"""
    _activation_backward(RELU, s, rows)

register("relu", relu_forward, relu_backward)


cdef void sigmoid_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = 1 / (1 + e ** -x)"""
    _activation_forward(SIGMOID, s, rows)

cdef void sigmoid_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g * out * (1 - out)"""
    _activation_backward(SIGMOID, s, rows)

register("sigmoid", sigmoid_forward, sigmoid_backward)


cdef void tanh_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = tanh x"""
    _activation_forward(TANH, s, rows)

cdef void tanh_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g * (1 - out ** 2)"""
    _activation_backward(TANH, s, rows)

register("tanh", tanh_forward, tanh_backward)


# Activations and others whose gradients are made from the argument. c[…]: the operation's settings.

cdef void leaky_relu_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = x where x > 0, else c[0] x"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x, slope = v_set(<real>s.c[0])
    while i < n:
        x = get(s.p[IN0], i, n)
        put(s.p[OUT], i, n, v_by_sign(x, x, slope * x))
        i += VW

cdef void leaky_relu_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g where x > 0, else c[0] g"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x, g, slope = v_set(<real>s.c[0])
    while i < n:
        x = get(s.p[IN0], i, n)
        g = get(s.p[GRAD], i, n)
        give(s.p[TO0], i, n, v_by_sign(x, g, slope * g), adds(s, 0))
        i += VW

register("leaky_relu", leaky_relu_forward, leaky_relu_backward)


cdef void elu_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = x where x > 0, else c[0] (e ** x - 1)"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x, alpha = v_set(<real>s.c[0])
    while i < n:
        x = get(s.p[IN0], i, n)
        put(s.p[OUT], i, n, v_by_sign(x, x, alpha * v_expm1(v_min(x, v_zero()))))
        i += VW

cdef void elu_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g where x > 0, else g c[0] e ** x"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x, g, alpha = v_set(<real>s.c[0])
    while i < n:
        x = get(s.p[IN0], i, n)
        g = get(s.p[GRAD], i, n)
        give(s.p[TO0], i, n, v_by_sign(x, g, g * (alpha * v_exp(v_min(x, v_zero())))), adds(s, 0))
        i += VW

register("elu", elu_forward, elu_backward)


cdef void gelu_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = x Φ(x), Φ the normal distribution"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x, density
    while i < n:
        x = get(s.p[IN0], i, n)
        put(s.p[OUT], i, n, x * v_normal(x, &density))
        i += VW

cdef void gelu_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g (Φ(x) + x φ(x)), φ the normal density"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x, g, density, below
    while i < n:
        x = get(s.p[IN0], i, n)
        g = get(s.p[GRAD], i, n)
        below = v_normal(x, &density)
        give(s.p[TO0], i, n, g * v_fma(x, density, below), adds(s, 0))
        i += VW

register("gelu", gelu_forward, gelu_backward)


cdef void silu_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = x sigmoid(x)"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x
    while i < n:
        x = get(s.p[IN0], i, n)
        put(s.p[OUT], i, n, x * v_sigmoid(x))
        i += VW

cdef void silu_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g p (1 + x (1 - p)), p = sigmoid(x)"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x, g, p
    while i < n:
        x = get(s.p[IN0], i, n)
        g = get(s.p[GRAD], i, n)
        p = v_sigmoid(x)
        give(s.p[TO0], i, n, g * p * v_fma(x, v_set(1) - p, v_set(1)), adds(s, 0))
        i += VW

register("silu", silu_forward, silu_backward)


cdef void softplus_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = ln(1 + e ** x)"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x
    while i < n:
        x = get(s.p[IN0], i, n)
        put(s.p[OUT], i, n, v_softplus(x))
        i += VW

cdef void softplus_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g sigmoid(x)"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x, g
    while i < n:
        x = get(s.p[IN0], i, n)
        g = get(s.p[GRAD], i, n)
        give(s.p[TO0], i, n, g * v_sigmoid(x), adds(s, 0))
        i += VW

register("softplus", softplus_forward, softplus_backward)


cdef void clip_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = min(max(x, c[0]), c[1])"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x, low = v_set(<real>s.c[0]), high = v_set(<real>s.c[1])
    while i < n:
        x = get(s.p[IN0], i, n)
        put(s.p[OUT], i, n, v_min(v_max(x, low), high))
        i += VW

cdef void clip_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g where c[0] <= x <= c[1], else 0"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal x, g, low = v_set(<real>s.c[0]), high = v_set(<real>s.c[1])
    while i < n:
        x = get(s.p[IN0], i, n)
        g = get(s.p[GRAD], i, n)
        give(s.p[TO0], i, n, v_where_equal(x, v_min(v_max(x, low), high), g), adds(s, 0))
        i += VW

register("clip", clip_forward, clip_backward)


cdef void sin_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = sin x"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        put(s.p[OUT], i, n, v_sin(get(s.p[IN0], i, n)))
        i += VW

cdef void sin_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = g cos x"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        give(s.p[TO0], i, n, get(s.p[GRAD], i, n) * v_cos(get(s.p[IN0], i, n)), adds(s, 0))
        i += VW

register("sin", sin_forward, sin_backward)


cdef void cos_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out = cos x"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        put(s.p[OUT], i, n, v_cos(get(s.p[IN0], i, n)))
        i += VW

cdef void cos_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = -g sin x"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        give(s.p[TO0], i, n, -get(s.p[GRAD], i, n) * v_sin(get(s.p[IN0], i, n)), adds(s, 0))
        i += VW

register("cos", cos_forward, cos_backward)
