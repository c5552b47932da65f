# A user's own node: the step calls back into Python, with the GIL, and the rest stays native.
# The callback reads and writes the operands through arrays of its own (engines/native.py), keeps
# any exception, and returns whether it went well.

cdef void custom_step(Step* s, Py_ssize_t rows) noexcept nogil:
    """whatever the user's forward or backward computes"""
    with gil:
        try:
            if not (<object>s.call)(rows):
                s.lane.failed = 1
        except BaseException:
            s.lane.failed = 1

register("custom", custom_step, custom_step)
