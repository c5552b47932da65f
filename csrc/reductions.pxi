# Sums and means, and the spreading of operands that broadcast.

# Over everything: the value is one number; rows come in blocks, so it is added up over them.
# n[0]: elements a row; c[0]: weight of an element; f[PER_ROW]: divided by the rows as well.

cdef enum:
    PER_ROW = 3          # the weight is also divided by the rows of the batch

cdef inline real weight(const Step* s) noexcept nogil:
    return <real>s.c[0] * s.lane.per_row if s.f[PER_ROW] else <real>s.c[0]

cdef inline real sum_of(const real* x, Py_ssize_t n) noexcept nogil:
    """The sum of n numbers, in four chains of vectors."""
    cdef Py_ssize_t i = 0
    cdef vreal a = v_zero(), b = v_zero(), c = v_zero(), d = v_zero()
    while i + 4 * VW <= n:
        a = a + v_load(x + i)
        b = b + v_load(x + i + VW)
        c = c + v_load(x + i + 2 * VW)
        d = d + v_load(x + i + 3 * VW)
        i += 4 * VW
    while i < n:
        a = a + get(x, i, n)
        i += VW
    return v_sum((a + b) + (c + d))

cdef inline real largest(const real* x, Py_ssize_t n) noexcept nogil:
    """The largest of n numbers; NaN where there is one."""
    cdef Py_ssize_t i, j
    cdef real part[64]
    cdef real high = x[0]
    cdef vreal top
    i = 0
    if n >= VW:
        top = v_load(x)
        while i + VW <= n:
            top = v_max(top, v_load(x + i))
            i += VW
        v_store(part, top)
        for j in range(VW):
            if not part[j] <= high: high = part[j]
    while i < n:
        if not x[i] <= high: high = x[i]
        if high != high: break
        i += 1
    return high

cdef inline real sum_of_powers(const real* x, Py_ssize_t n, real high) noexcept nogil:
    """The sum of e ** (x - high)."""
    cdef Py_ssize_t i = 0
    cdef vreal total = v_zero(), top = v_set(high)
    while i < n:
        total = total + masked(v_exp(get(x, i, n) - top), i, n)
        i += VW
    return v_sum(total)

cdef void total_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out (+)= weight * sum(x)"""
    give_number(s.p[OUT], sum_of(s.p[IN0], rows * s.n[0]) * weight(s), adds(s, VALUE))

cdef void total_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to = weight * g, everywhere"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    cdef vreal part = v_set(s.p[GRAD][0] * weight(s))
    while i < n:
        give(s.p[TO0], i, n, part, adds(s, 0))
        i += VW

register("total", total_forward, total_backward)

# Over axes of a row: table[j] is the element of the value that element j goes to.
# n[0]: elements of x in a row, n[1]: of the value.

cdef void along_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out[table[j]] = weight * sum of x[j]"""
    cdef Py_ssize_t i, j
    cdef const real* x = s.p[IN0]
    cdef real* out = s.p[OUT]
    cdef real factor = <real>s.c[0]
    for i in range(rows):
        for j in range(s.n[1]):
            out[j] = 0
        for j in range(s.n[0]):
            out[s.table[j]] += x[j]
        for j in range(s.n[1]):
            out[j] *= factor
        x += s.n[0]
        out += s.n[1]

cdef void along_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to[j] = weight * g[table[j]]"""
    cdef Py_ssize_t i, j
    cdef const real* g = s.p[GRAD]
    cdef real* to = s.p[TO0]
    cdef bint add = adds(s, 0)
    cdef real factor = <real>s.c[0]
    for i in range(rows):
        for j in range(s.n[0]):
            give_number(to + j, factor * g[s.table[j]], add)
        to += s.n[0]
        g += s.n[1]

register("along", along_forward, along_backward)

# Broadcasting: table[j] is the element of x that element j of the value repeats.
# n[0]: elements of the value in a row, n[1]: of x; n[2]: what x moves on per row (0: no rows).

cdef void spread_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out[j] = x[table[j]]"""
    cdef Py_ssize_t i, j
    cdef const real* x = s.p[IN0]
    cdef real* out = s.p[OUT]
    for i in range(rows):
        for j in range(s.n[0]):
            out[j] = x[s.table[j]]
        out += s.n[0]
        x += s.n[2]

cdef void spread_backward(Step* s, Py_ssize_t rows) noexcept nogil:
    """to[table[j]] = sum of g[j]"""
    cdef Py_ssize_t i, j
    cdef const real* g = s.p[GRAD]
    cdef real* to = s.p[TO0]
    cdef Py_ssize_t kept = s.n[1] if s.n[2] == 0 else rows * s.n[1]
    if not adds(s, 0):
        memset(to, 0, kept * sizeof(real))
    for i in range(rows):
        for j in range(s.n[0]):
            to[s.table[j]] += g[j]
        g += s.n[0]
        to += s.n[2]

register("spread", spread_forward, spread_backward)


cdef void accumulate_forward(Step* s, Py_ssize_t rows) noexcept nogil:
    """out (+)= x: contributions meet in a gradient"""
    cdef Py_ssize_t i = 0, n = rows * s.n[0]
    while i < n:
        give(s.p[OUT], i, n, get(s.p[IN0], i, n), adds(s, VALUE))
        i += VW

register("accumulate", accumulate_forward, accumulate_forward)
