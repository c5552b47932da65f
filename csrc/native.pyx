# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# cython: freethreading_compatible=False
"""The native engine: a flat program of steps, run for whole epochs without Python and the GIL.

This file is the boundary and the loops. `Plan` takes steps as data from ``engines/native.py``
(kernel names, addresses, sizes, flags), checks what can be checked, and binds each to its kernel
by name. The kernels stand by family in the included files, each a pair ``<op>_forward`` and
``<op>_backward``; the vectors and tiles they call are in ``simd.h``.

The module is compiled once per instruction set and dtype. `real` is float or double by the
compiler's command line, and `vreal` a vector of them: Cython believes both to be double, and the
C compiler knows better. Literals therefore stay out of expressions with vectors: use v_set.

Nothing here knows about nodes, graphs or optimizers' settings by name.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.ref cimport PyObject
from libc.math cimport isfinite, log as c_log, pow as c_pow, sqrt as c_sqrt
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

cimport numpy as cnp

import numpy as np

cnp.import_array()

cdef extern from "simd.h" nogil:
    ctypedef double real
    ctypedef double vreal
    const int VW
    const int FG_REAL_BITS
    vreal v_set(real)
    vreal v_zero()
    vreal v_load(const real*)
    void v_store(real*, vreal)
    vreal v_load_part(const real*, int)
    void v_store_part(real*, vreal, int)
    vreal v_fma(vreal, vreal, vreal)
    vreal v_abs(vreal)
    vreal v_sqrt(vreal)
    vreal v_relu(vreal)
    vreal v_positive(vreal, vreal)
    vreal v_sign(vreal)
    vreal v_exp(vreal)
    vreal v_log(vreal)
    vreal v_tanh(vreal)
    vreal v_sigmoid(vreal)
    vreal v_expm1(vreal)
    vreal v_log1p(vreal)
    vreal v_softplus(vreal)
    vreal v_sin(vreal)
    vreal v_cos(vreal)
    vreal v_normal(vreal, vreal*)
    vreal v_max(vreal, vreal)
    vreal v_min(vreal, vreal)
    vreal v_larger(vreal, vreal, vreal)
    vreal v_where_equal(vreal, vreal, vreal)
    vreal v_by_sign(vreal, vreal, vreal)
    real v_sum(vreal)
    ctypedef int vmask
    vmask v_differ(vreal, vreal)
    vmask v_less(vreal, vreal)
    bint v_any(vmask)
    vreal v_at_least(vreal, vreal)
    void c_gemm "gemm"(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const real* a, Py_ssize_t a_row,
                       Py_ssize_t a_col, const real* b, Py_ssize_t ldb, real* c, Py_ssize_t ldc,
                       const real* bias, int accumulate, int relu)
    void gemm_positive(Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const real* a, Py_ssize_t a_row,
                       Py_ssize_t a_col, const real* b, Py_ssize_t ldb, real* c, Py_ssize_t ldc,
                       const real* mask, Py_ssize_t ldmask)
    void gemv(Py_ssize_t m, Py_ssize_t k, const real* a, const real* w, real bias, real* y)
    void gemv_t(Py_ssize_t m, Py_ssize_t k, const real* a, const real* dy, real* dw, int accumulate)
    void transpose(Py_ssize_t rows, Py_ssize_t cols, const real* a, real* out)
    const uint64_t GOLDEN "FG_GOLDEN"
    uint64_t mix "fg_mix"(uint64_t)
    void drop(uint64_t key, uint64_t first, Py_ssize_t count, uint64_t dropped, real scale, real* mask)
    double c_fma_peak "fma_peak_gflops"(double seconds)

cdef extern from *:
    """
    #ifndef FG_DEBUG
    #define FG_DEBUG 0
    #endif
    """
    const int FG_DEBUG

cdef extern from "system.h" nogil:
    double coarse_seconds()
    Py_ssize_t atomic_read(Py_ssize_t* counter)
    void atomic_add(Py_ssize_t* counter, Py_ssize_t by)
    void wait_while(Py_ssize_t* counter, Py_ssize_t value)

# ------------------------------------------------------------------------------------ steps ---


cdef struct Run:
    # What steps must know about the run of training they are in.
    uint64_t seed
    uint64_t step        # finished steps, also of earlier runs

cdef struct Lane:
    # What steps that share it must know about the block they are on.
    Run* run
    Py_ssize_t start     # where the block begins, within the data
    const int64_t* order  # which row of the data each is, from there on; NULL: in order
    int first            # the first block of the lane in this step of training
    int failed           # a custom node raised
    real per_row         # 1 / rows of the batch: the weight of a row in a mean
    Py_ssize_t rows      # rows of the batch

ctypedef void (*Kernel)(Step* s, Py_ssize_t rows) noexcept nogil

cdef struct Step:
    Kernel run
    int batched          # runs on the rows of a block; else on one "row"
    real* p[14]          # operands, by the names below
    Py_ssize_t n[6]      # sizes
    int f[10]            # flags; 0 1 2 8 9: how gradients of inputs are written, see adds()
    double c[6]          # numbers
    int32_t* table       # a row's element -> an operand's element
    PyObject* call       # a custom node's callback
    Lane* lane

# Operands by name.
cdef enum:
    IN0 = 0
    IN1 = 1
    IN2 = 2
    OUT = 3
    GRAD = 4
    TO0 = 5
    TO1 = 6
    TO2 = 7
    MORE = 8
    MORE2 = 9
    IN3 = 10
    IN4 = 11
    TO3 = 12
    TO4 = 13

# f[VALUE]: how a value that is added up over blocks is written; as adds() tells.
cdef enum:
    VALUE = 7

# How a gradient is written: f[0..2], and of inputs 3 and 4 f[8] and f[9].
cdef enum:
    WRITE = 0            # overwrite
    ADD = 1              # add
    FIRST = 2            # overwrite on the first block of a step, add on the others

cdef inline bint adds(const Step* s, int which) noexcept nogil:
    return s.f[which] == ADD or (s.f[which] == FIRST and not s.lane.first)

# Vectors at the end of an array: only what is there is read or written.
cdef inline vreal get(const real* x, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    if i + VW <= n:
        return v_load(x + i)
    return v_load_part(x + i, <int>(n - i))

cdef inline void put(real* x, Py_ssize_t i, Py_ssize_t n, vreal v) noexcept nogil:
    if i + VW <= n:
        v_store(x + i, v)
    else:
        v_store_part(x + i, v, <int>(n - i))

cdef inline void give(real* x, Py_ssize_t i, Py_ssize_t n, vreal v, bint add) noexcept nogil:
    """Write or add a vector of gradients."""
    if add:
        v = get(x, i, n) + v
    put(x, i, n, v)

cdef inline vreal masked(vreal v, Py_ssize_t i, Py_ssize_t n) noexcept nogil:
    """v, with zeros beyond the end of the array."""
    cdef real part[64]
    if i + VW <= n:
        return v
    v_store(part, v)
    return v_load_part(part, <int>(n - i))

cdef inline void give_number(real* x, real v, bint add) noexcept nogil:
    x[0] = x[0] + v if add else v

_KERNELS = {}

cdef void register(str name, Kernel forward, Kernel backward):
    """Make a pair of kernels known by the name that the operation's class gives."""
    _KERNELS[name + "_forward"] = <size_t>forward
    _KERNELS[name + "_backward"] = <size_t>backward

include "elementwise.pxi"
include "reductions.pxi"
include "linear.pxi"
include "random.pxi"
include "rowwise.pxi"
include "losses.pxi"
include "normalization.pxi"
include "custom.pxi"
include "optimizers.pxi"
include "plan.pxi"
include "predictor.pxi"
include "solve.pxi"

# ------------------------------------------------------------- looking at parts from outside ---

def kernels():
    """The names of all kernels."""
    return frozenset(_KERNELS)

def debug():
    """Whether this is a debug build, whose buffers have guards behind them (native.py)."""
    return FG_DEBUG != 0

def peak_gflops():
    """The measured peak of this core in this dtype, multiply-adds in registers, in GFLOP/s."""
    cdef double peak, best = 0
    for _ in range(5):
        with nogil:
            peak = c_fma_peak(0.01)
        best = max(best, peak)
    return best

def vector_width():
    """Numbers in a vector."""
    return VW

cdef cnp.ndarray _checked(object array):
    """The array, contiguous, aligned, in native byte order and of this module's dtype."""
    cdef int kind = cnp.NPY_FLOAT32 if FG_REAL_BITS == 32 else cnp.NPY_FLOAT64
    if (not cnp.PyArray_Check(array) or cnp.PyArray_TYPE(<cnp.ndarray>array) != kind
            or not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>array)):
        raise TypeError(f"expected a contiguous, aligned array of float{FG_REAL_BITS}")
    return <cnp.ndarray>array

cdef cnp.ndarray _checked_writable(object array):
    """The same, and writable."""
    cdef cnp.ndarray found = _checked(array)
    if not cnp.PyArray_ISWRITEABLE(found):
        raise TypeError("expected a writable array")
    return found

def elementwise(str name, x):
    """exp, log, tanh, sigmoid, … of each element: for tests of accuracy."""
    cdef cnp.ndarray source = _checked(np.ascontiguousarray(x))
    cdef cnp.ndarray result = np.empty_like(source)
    cdef const real* a = <const real*>cnp.PyArray_DATA(source)
    cdef real* out = <real*>cnp.PyArray_DATA(result)
    cdef Py_ssize_t i = 0, n = source.size
    cdef vreal density
    cdef int which = ("exp", "log", "tanh", "sigmoid", "expm1", "log1p", "sin", "cos", "normal").index(name)
    with nogil:
        while i < n:
            if which == 0:
                put(out, i, n, v_exp(get(a, i, n)))
            elif which == 1:
                put(out, i, n, v_log(get(a, i, n)))
            elif which == 2:
                put(out, i, n, v_tanh(get(a, i, n)))
            elif which == 3:
                put(out, i, n, v_sigmoid(get(a, i, n)))
            elif which == 4:
                put(out, i, n, v_expm1(get(a, i, n)))
            elif which == 5:
                put(out, i, n, v_log1p(get(a, i, n)))
            elif which == 6:
                put(out, i, n, v_sin(get(a, i, n)))
            elif which == 7:
                put(out, i, n, v_cos(get(a, i, n)))
            else:
                put(out, i, n, v_normal(get(a, i, n), &density))
            i += VW
    return result

def gemm(a, b, bias=None, bint transpose_a=False, bint relu=False):
    """a @ b, or a.T @ b, with a bias and a ReLU: for tests of the tile."""
    cdef cnp.ndarray left = _checked(a), right = _checked(b), added
    if left.ndim != 2 or right.ndim != 2:
        raise ValueError("expected two matrices")
    cdef Py_ssize_t m, k, n = right.shape[1], row, col
    if transpose_a:
        m, k, row, col = left.shape[1], left.shape[0], 1, left.shape[1]
    else:
        m, k, row, col = left.shape[0], left.shape[1], left.shape[1], 1
    if right.shape[0] != k:
        raise ValueError("the inner sizes differ")
    cdef const real* bias_data = NULL
    if bias is not None:
        added = _checked(bias)
        if added.size != n:
            raise ValueError("the bias has another size")
        bias_data = <const real*>cnp.PyArray_DATA(added)
    cdef cnp.ndarray result = np.empty((m, n), left.dtype)
    c_gemm(m, n, k, <const real*>cnp.PyArray_DATA(left), row, col,
           <const real*>cnp.PyArray_DATA(right), n, <real*>cnp.PyArray_DATA(result), n,
           bias_data, False, relu)
    return result
