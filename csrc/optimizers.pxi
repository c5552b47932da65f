# Optimizers: one vector loop over all parameters. The rules are those of fastgraph/optimizers.py,
# where the papers are named; p: parameters, g: gradient, settings in the order settings() gives.
# Each tells whether a new parameter is LARGE: far beyond any use, and near enough to the largest
# finite number that the next step must be watched (plan.pxi).

cdef enum:
    HANDFUL = 4

cdef real LARGE = 1e15 if FG_REAL_BITS == 32 else 1e150

ctypedef bint (*Update)(Py_ssize_t n, real* p, const real* g, real** slots, const double* settings, double* powers) noexcept nogil

cdef inline bint is_large(vreal most) noexcept nogil:
    """Whether an element is beyond LARGE, or NaN."""
    return v_any(v_differ(most, most)) or v_any(v_less(v_set(LARGE), most))

cdef bint sgd(Py_ssize_t n, real* p, const real* g, real** slots, const double* settings, double* powers) noexcept nogil:
    """v = momentum v + g; p = p - rate v"""
    cdef Py_ssize_t i = 0
    cdef vreal rate = v_set(<real>settings[0]), momentum = v_set(<real>settings[1])
    cdef vreal decay = v_set(<real>settings[3]), part, x, v
    cdef vreal most = v_zero()
    cdef bint nesterov = settings[2] != 0, moving = settings[1] != 0, decaying = settings[3] != 0
    cdef bint large = False
    if not moving and not decaying:
        # A vector load waits for numbers that were just stored one by one: a handful goes singly.
        if n <= HANDFUL:
            for i in range(n):
                p[i] -= <real>settings[0] * g[i]
                large = large or p[i] > LARGE or p[i] < -LARGE
            return large
        while i < n:
            x = get(p, i, n) - rate * get(g, i, n)
            put(p, i, n, x)
            most = v_at_least(most, v_abs(x))
            i += VW
        return is_large(most)
    while i < n:
        x = get(p, i, n)
        part = get(g, i, n)
        if decaying:
            part = part + decay * x
        if moving:
            v = momentum * get(slots[0], i, n) + part
            put(slots[0], i, n, v)
            part = part + momentum * v if nesterov else v
        x = x - rate * part
        put(p, i, n, x)
        most = v_at_least(most, v_abs(x))
        i += VW
    return is_large(most)

cdef bint adagrad(Py_ssize_t n, real* p, const real* g, real** slots, const double* settings, double* powers) noexcept nogil:
    """s = s + g²; p = p - rate g / (√s + epsilon)"""
    cdef Py_ssize_t i = 0
    cdef vreal rate = v_set(<real>settings[0]), epsilon = v_set(<real>settings[1]), x, square
    cdef vreal most = v_zero()
    while i < n:
        x = get(g, i, n)
        square = get(slots[0], i, n) + x * x
        put(slots[0], i, n, square)
        x = get(p, i, n) - rate * x / (v_sqrt(square) + epsilon)
        put(p, i, n, x)
        most = v_at_least(most, v_abs(x))
        i += VW
    return is_large(most)

cdef bint rmsprop(Py_ssize_t n, real* p, const real* g, real** slots, const double* settings, double* powers) noexcept nogil:
    """s = rho s + (1 - rho) g²; p = p - rate g / (√s + epsilon)"""
    cdef Py_ssize_t i = 0
    cdef vreal rate = v_set(<real>settings[0]), rho = v_set(<real>settings[1])
    cdef vreal fresh = v_set(<real>(1 - settings[1])), epsilon = v_set(<real>settings[2]), x, square
    cdef vreal most = v_zero()
    while i < n:
        x = get(g, i, n)
        square = rho * get(slots[0], i, n) + fresh * (x * x)
        put(slots[0], i, n, square)
        x = get(p, i, n) - rate * x / (v_sqrt(square) + epsilon)
        put(p, i, n, x)
        most = v_at_least(most, v_abs(x))
        i += VW
    return is_large(most)

cdef bint adam(Py_ssize_t n, real* p, const real* g, real** slots, const double* settings, double* powers) noexcept nogil:
    """m, v: running means of g and g²; p = p - rate m' / (√v' + epsilon), m' and v' unbiased"""
    cdef Py_ssize_t i = 0
    powers[0] *= settings[1]
    powers[1] *= settings[2]
    cdef double mean_scale = 1 / (1 - powers[0]), root_scale = 1 / (1 - powers[1])
    cdef vreal keep1 = v_set(<real>settings[1]), fresh1 = v_set(<real>(1 - settings[1]))
    cdef vreal keep2 = v_set(<real>settings[2]), fresh2 = v_set(<real>(1 - settings[2]))
    cdef vreal rate = v_set(<real>(settings[0] * mean_scale)), unbias = v_set(<real>root_scale)
    cdef vreal epsilon = v_set(<real>settings[3]), decay = v_set(<real>(settings[0] * settings[4]))
    cdef bint decaying = settings[4] != 0
    cdef vreal x, part, mean, square, most = v_zero()
    while i < n:
        part = get(g, i, n)
        x = get(p, i, n)
        mean = keep1 * get(slots[0], i, n) + fresh1 * part
        square = keep2 * get(slots[1], i, n) + fresh2 * (part * part)
        put(slots[0], i, n, mean)
        put(slots[1], i, n, square)
        if decaying:
            x = x - decay * x
        x = x - rate * mean / (v_sqrt(square * unbias) + epsilon)
        put(p, i, n, x)
        most = v_at_least(most, v_abs(x))
        i += VW
    return is_large(most)

cdef Update find_update(str name) except NULL:
    if name == "sgd": return sgd
    if name == "adagrad": return adagrad
    if name == "rmsprop": return rmsprop
    if name == "adam": return adam
    raise KeyError(name)

cdef enum:
    ORDINARY = 0
    BEYOND = 1           # finite, and an element is beyond LARGE
    BROKEN = 2           # an element is NaN or infinite

cdef inline int condition_of(Py_ssize_t n, const real* x) noexcept nogil:
    """ORDINARY, BEYOND or BROKEN; x - x is 0 for finite numbers and NaN for the rest."""
    cdef Py_ssize_t i = 0
    cdef int found = ORDINARY
    cdef vreal a = v_zero(), most = v_zero(), u
    if n <= HANDFUL:
        for i in range(n):
            if not isfinite(x[i]):
                return BROKEN
            if x[i] > LARGE or x[i] < -LARGE:
                found = BEYOND
        return found
    while i < n:
        u = get(x, i, n)
        a = a + (u - u)
        most = v_at_least(most, v_abs(u))
        i += VW
    if v_any(v_differ(a, v_zero())):
        return BROKEN
    return BEYOND if is_large(most) else ORDINARY

cdef inline bint all_finite(Py_ssize_t n, const real* x) noexcept nogil:
    return condition_of(n, x) != BROKEN

cdef double squares(Py_ssize_t n, const real* x) noexcept nogil:
    """Σ x², in double: eight sums, added in their order, so that the compiler may use vectors."""
    cdef double part[8]
    cdef Py_ssize_t i = 0, j
    for j in range(8):
        part[j] = 0
    while i + 8 <= n:
        for j in range(8):
            part[j] += <double>x[i + j] * <double>x[i + j]
        i += 8
    while i < n:
        part[i % 8] += <double>x[i] * <double>x[i]
        i += 1
    return ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]))

cdef double shape_gradient(Py_ssize_t n, real* g, const real* p, const real* l1, const real* l2, double clip_value, double clip_norm) noexcept nogil:
    """g += l1 sign(p) + l2 p; then each element within ±clip_value, then all scaled to a norm of
    at most clip_norm (each left out where it is NULL or 0). Returns Σ l1 |p| + l2 p² / 2."""
    cdef Py_ssize_t i
    cdef double penalty = 0, norm
    cdef real x, bound = <real>clip_value, scale
    if l1 != NULL:
        for i in range(n):
            x = p[i]
            g[i] += l1[i] if x > 0 else (-l1[i] if x < 0 else <real>0)
            penalty += <double>l1[i] * <double>(x if x > 0 else -x)
    if l2 != NULL:
        for i in range(n):
            g[i] += l2[i] * p[i]
            penalty += 0.5 * <double>l2[i] * <double>p[i] * <double>p[i]
    if clip_value > 0:
        for i in range(n):
            x = g[i]
            x = bound if x > bound else x
            g[i] = -bound if x < -bound else x
    if clip_norm > 0:
        norm = c_sqrt(squares(n, g))
        if norm > clip_norm:
            scale = <real>(clip_norm / norm)
            for i in range(n):
                g[i] *= scale
    return penalty
