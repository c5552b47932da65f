# Small dense systems, for the solvers. No threads: a library's own would wait for one another
# longer than the work takes, where several runs share the cores.

cdef bint cholesky(Py_ssize_t n, real* a) noexcept nogil:
    """a = L Lᵀ: L in the lower triangle of a; whether a is positive definite.

    in, out: a (n, n), of which the lower triangle is read.
    """
    cdef Py_ssize_t i, j, k
    cdef vreal sum
    cdef real* row
    cdef real* other
    cdef real x
    for i in range(n):
        row = a + i * n
        for j in range(i + 1):
            other = a + j * n
            sum = v_zero()
            k = 0
            while k < j:
                sum = v_fma(get(row, k, j), get(other, k, j), sum)
                k += VW
            x = row[j] - v_sum(sum)
            if i != j:
                row[j] = x / other[j]
            elif x > 0 and isfinite(x):
                row[j] = <real>c_sqrt(x)
            else:
                return False
    return True

def solve_positive(matrix, right):
    """x with ``matrix @ x = right``, for a symmetric positive definite matrix; None for another."""
    cdef cnp.ndarray factor = _checked(matrix).copy(), x = _checked(right).copy()
    cdef Py_ssize_t n = x.size, i, j
    if factor.ndim != 2 or x.ndim != 1 or factor.shape[0] != n or factor.shape[1] != n:
        raise ValueError("expected a square matrix and a vector of its size")
    cdef real* a = <real*>cnp.PyArray_DATA(factor)
    cdef real* out = <real*>cnp.PyArray_DATA(x)
    cdef bint fine
    with nogil:
        fine = cholesky(n, a)
        if fine:
            for i in range(n):  # L y = right
                for j in range(i):
                    out[i] -= a[i * n + j] * out[j]
                out[i] /= a[i * n + i]
            for i in range(n - 1, -1, -1):  # Lᵀ x = y
                out[i] /= a[i * n + i]
                for j in range(i):
                    out[j] -= a[i * n + j] * out[i]
    return x if fine else None
