# One call from an array to an array: a trained net on a few rows, where a microsecond counts.

@cython.final
cdef class Predictor:
    """Calls a plan on arrays that fit as they are, and ``slow`` on everything else.

    Parameters:
        plan: runs forward; its operands stay where they are while no parameter of its own moves.
        source: address of a block's value of the output.
        shapes: the shape of one row of each input.
        shape: of one row of the output.
        moves: a list whose first item counts how often any parameter moved in memory.
        places: pairs of a parameter and the array that this plan reads it from.
        slow: called with (arrays, out) where an array must be converted, refused, or is large.
    """

    cdef Plan plan
    cdef real* source
    cdef Py_ssize_t size, n_inputs
    cdef tuple shapes, shape
    cdef list moves, places
    cdef object moved
    cdef readonly object slow
    cdef int n_axes
    cdef cnp.npy_intp axes[32]

    def __cinit__(self, Plan plan, size_t source, tuple shapes, tuple shape, list moves, list places, object slow):
        if len(shape) > 30:
            raise ValueError("too many axes")
        self.plan = plan
        self.source = <real*>source
        self.shapes = shapes
        self.shape = shape
        self.n_inputs = len(shapes)
        self.moves = moves
        self.places = places
        self.moved = moves[0]
        self.slow = slow
        self.size = 1
        self.n_axes = 1 + <int>len(shape)
        for i, axis in enumerate(shape):
            self.axes[i + 1] = axis
            self.size *= axis

    def __call__(self, *arrays, out=None):
        """The output for these arrays, one for each input, rows first."""
        cdef Py_ssize_t i, rows = -1
        cdef cnp.ndarray array, result
        cdef Plan plan = self.plan
        if len(arrays) != self.n_inputs:
            return self.slow(arrays, out)
        if self.moves[0] is not self.moved:
            for parameter, array_read in self.places:
                if parameter.value is not array_read:
                    return self.slow(arrays, out)
            self.moved = self.moves[0]
        for i in range(self.n_inputs):
            if not self._fits(arrays[i], <tuple>self.shapes[i]):
                return self.slow(arrays, out)
            array = <cnp.ndarray>arrays[i]
            if (rows >= 0 and array.shape[0] != rows) or not all_finite(cnp.PyArray_SIZE(array), <const real*>cnp.PyArray_DATA(array)):
                return self.slow(arrays, out)
            rows = array.shape[0]
        if rows < 1 or rows > plan.capacity:
            return self.slow(arrays, out)
        if out is None:
            self.axes[0] = rows
            result = cnp.PyArray_EMPTY(self.n_axes, self.axes, cnp.NPY_FLOAT32 if FG_REAL_BITS == 32 else cnp.NPY_FLOAT64, False)
        else:
            if not self._fits(out, self.shape) or not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out) or (<cnp.ndarray>out).shape[0] != rows:
                return self.slow(arrays, out)
            result = <cnp.ndarray>out
        for i in range(self.n_inputs):
            plan.data[i] = <const real*>cnp.PyArray_DATA(<cnp.ndarray>arrays[i])
        # The GIL stays: a block takes microseconds, and nobody else can get at the plan.
        plan._set_batch(rows)
        plan._run(0, ONCE, 1)
        plan._place(0, 0, rows, NULL)
        plan._run(0, ROWS, rows)
        memcpy(cnp.PyArray_DATA(result), self.source, rows * self.size * sizeof(real))
        return result

    cdef bint _fits(self, object item, tuple shape) except -1:
        """Whether an array can be used as it is: dtype, layout, and shape but for the rows."""
        cdef int kind = cnp.NPY_FLOAT32 if FG_REAL_BITS == 32 else cnp.NPY_FLOAT64
        cdef cnp.ndarray array
        cdef Py_ssize_t i
        if not cnp.PyArray_Check(item):
            return False
        array = <cnp.ndarray>item
        if cnp.PyArray_TYPE(array) != kind or not cnp.PyArray_ISCARRAY_RO(array):
            return False
        if cnp.PyArray_NDIM(array) != len(shape) + 1:
            return False
        for i in range(len(shape)):
            if array.shape[i + 1] != <Py_ssize_t>shape[i]:
                return False
        return True
