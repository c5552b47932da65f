# A plan: the steps of a program bound to memory, and the loops that run it.
#
# A step of training on a batch runs, in this order:
#   ONCE           what depends on parameters alone
#   SEED           gradients from the output down to the sums over rows, where they need no values
#   ROWS, BACK     forward and backward on the rows, block by block; each lane takes a fixed share
#                  of the blocks, adds up gradients of its own, and lanes are added in their order
#   TAIL           what depends on sums over rows, as the loss
#   ONCE_BACK      gradients through what depends on parameters alone
#   the optimizer
#   KEEP           what is remembered of a step that went well, as running statistics
# Before all of it the sums over the batch that rows need in advance are added up (``totals``).
# A program whose rows depend on all rows has everything in ROWS and BACK and runs in one block.

cdef enum:
    ONCE = 0
    SEED = 1
    ROWS = 2
    BACK = 3
    TAIL = 4
    ONCE_BACK = 5
    KEEP = 6
    STAGES = 7

cdef enum:
    FINISHED = 0
    NOT_FINITE = 1
    INTERRUPTED = 2
    RAISED = 3

cdef struct Patch:
    real** slot          # an operand that is data
    int data             # which

@cython.final
cdef class Plan:
    """Steps bound to memory. Addresses are those of arrays that ``keep`` holds alive.

    Parameters:
        stages: for each lane, for each stage, a list of steps; a step is a tuple (kernel name,
            batched, operands, sizes, flags, numbers, table, callback), an operand an address, 0,
            or the negative number -1 - i of data input i.
        staging: for each lane the addresses where rows of each data input are gathered.
        data_sizes: elements a row of each data input.
        capacity: rows of the largest block.
        gradients: for each lane (address, count) of the vector that lanes add up.
        totals: (data input, address of its sum over the batch) of what rows need in advance.
        keep: what must stay alive.
        errors: a list that callbacks put exceptions into.
    """

    cdef Step* steps
    cdef Lane* lane
    cdef Run run
    cdef Patch* patches
    cdef const real** data
    cdef real** staging
    cdef real** gradients
    cdef Py_ssize_t* sizes
    cdef Py_ssize_t* bounds
    cdef Py_ssize_t* patch_bounds
    cdef Py_ssize_t n_lanes, n_data, capacity, n_gradients
    cdef Py_ssize_t threads        # that share the lanes, this one included
    cdef Py_ssize_t job            # rises by one when a batch is ready for the lanes; -1: no more
    cdef Py_ssize_t at_work        # helpers that are not done with it
    cdef Py_ssize_t job_start, job_rows
    cdef const int64_t* job_order
    cdef double asked              # when signals were last asked for
    cdef object interrupted        # asks whether to stop
    cdef int stopped               # INTERRUPTED or RAISED, once it was said
    cdef list arrays
    cdef object order              # of the rows in an epoch, and of which one
    cdef bint ordered
    cdef uint64_t ordered_seed, ordered_epoch
    cdef Py_ssize_t n_totals
    cdef Py_ssize_t total_of[8]
    cdef real* total_at[8]
    cdef object keep
    cdef public list errors

    def __cinit__(self, list stages, list staging, list data_sizes, Py_ssize_t capacity,
                  list gradients, Py_ssize_t n_gradients, list totals, object keep, list errors):
        cdef Py_ssize_t count = 0, patches = 0, at = 0, patch = 0, lane, stage, i
        cdef Step* step
        self.keep = keep
        self.errors = errors
        self.n_lanes = len(stages)
        self.n_data = len(data_sizes)
        self.capacity = capacity
        self.n_gradients = n_gradients
        self.threads = 1
        self.arrays = [None] * self.n_data
        if len(totals) > 8:
            raise ValueError("more than 8 losses with sample weights")
        self.n_totals = len(totals)
        for i in range(self.n_totals):
            self.total_of[i] = totals[i][0]
            self.total_at[i] = <real*><size_t>totals[i][1]
        for lists in stages:
            for steps in lists:
                count += len(steps)
                for item in steps:
                    for address in item[2]:
                        patches += address < 0
        self.steps = <Step*>calloc(count + 1, sizeof(Step))
        self.lane = <Lane*>calloc(self.n_lanes, sizeof(Lane))
        self.patches = <Patch*>calloc(patches + 1, sizeof(Patch))
        self.data = <const real**>calloc(self.n_data + 1, sizeof(real*))
        self.sizes = <Py_ssize_t*>calloc(self.n_data + 1, sizeof(Py_ssize_t))
        self.staging = <real**>calloc(self.n_lanes * self.n_data + 1, sizeof(real*))
        self.gradients = <real**>calloc(self.n_lanes + 1, sizeof(real*))
        self.bounds = <Py_ssize_t*>calloc(self.n_lanes * STAGES + 1, sizeof(Py_ssize_t))
        self.patch_bounds = <Py_ssize_t*>calloc(self.n_lanes + 1, sizeof(Py_ssize_t))
        if not (self.steps and self.lane and self.patches and self.data and self.sizes
                and self.staging and self.gradients and self.bounds and self.patch_bounds):
            raise MemoryError
        for i in range(self.n_data):
            self.sizes[i] = data_sizes[i]
        for lane in range(self.n_lanes):
            self.lane[lane].run = &self.run
            self.gradients[lane] = <real*><size_t>gradients[lane]
            for i in range(self.n_data):
                self.staging[lane * self.n_data + i] = <real*><size_t>staging[lane][i]
            for stage in range(STAGES):
                for item in stages[lane][stage]:
                    step = self.steps + at
                    self._bind(step, &self.lane[lane], item)
                    for i, address in enumerate(item[2]):
                        if address < 0:
                            self.patches[patch].slot = &step.p[i]
                            self.patches[patch].data = -1 - address
                            patch += 1
                    at += 1
                self.bounds[lane * STAGES + stage + 1] = at
            self.patch_bounds[lane + 1] = patch

    cdef int _bind(self, Step* step, Lane* lane, tuple item) except -1:
        cdef Py_ssize_t i
        name, batched, operands, sizes, flags, numbers, table, call = item
        if name not in _KERNELS:
            raise KeyError(f"no kernel {name}")
        if len(operands) > 14 or len(sizes) > 6 or len(flags) > 10 or len(numbers) > 6:
            raise ValueError(f"too many operands or settings for {name}")
        step.run = <Kernel><size_t>_KERNELS[name]
        step.batched = batched
        step.lane = lane
        for i in range(len(operands)):
            step.p[i] = <real*><size_t>operands[i] if operands[i] > 0 else NULL
        for i in range(len(sizes)):
            step.n[i] = sizes[i]
        for i in range(len(flags)):
            step.f[i] = flags[i]
        for i in range(len(numbers)):
            step.c[i] = numbers[i]
        step.table = <int32_t*><size_t>table
        step.call = <PyObject*>call if call is not None else NULL
        return 0

    def __dealloc__(self):
        free(self.steps)
        free(self.lane)
        free(self.patches)
        free(<void*>self.data)
        free(self.sizes)
        free(self.staging)
        free(self.gradients)
        free(self.bounds)
        free(self.patch_bounds)

    def bind_data(self, list arrays):
        """Read these arrays from now on: contiguous, aligned, of this dtype, of one length."""
        cdef Py_ssize_t i, rows = -1
        cdef cnp.ndarray array
        if len(arrays) != self.n_data:
            raise ValueError(f"expected {self.n_data} arrays, got {len(arrays)}")
        for i in range(self.n_data):
            array = _checked(arrays[i])
            if array.ndim < 1 or array.shape[0] == 0 or array.size != array.shape[0] * self.sizes[i]:
                raise ValueError(f"data {i}: expected rows of {self.sizes[i]} elements")
            if rows >= 0 and array.shape[0] != rows:
                raise ValueError("the arrays have different numbers of rows")
            rows = array.shape[0]
        for i in range(self.n_data):
            array = arrays[i]
            self.arrays[i] = array
            self.data[i] = <const real*>cnp.PyArray_DATA(array)

    def release_data(self):
        """Let go of the arrays."""
        self.arrays = [None] * self.n_data

    # -------------------------------------------------------------------------- running steps ---

    cdef inline bint _run(self, Py_ssize_t lane, int stage, Py_ssize_t rows) noexcept nogil:
        """Run a stage; whether no callback failed."""
        cdef Step* step = self.steps + self.bounds[lane * STAGES + stage]
        cdef Step* end = self.steps + self.bounds[lane * STAGES + stage + 1]
        while step < end:
            step.run(step, rows if step.batched else 1)
            if step.call != NULL and step.lane.failed:
                return False
            step += 1
        return True

    cdef inline void _place(self, Py_ssize_t lane, Py_ssize_t start, Py_ssize_t rows, const int64_t* order) noexcept nogil:
        """Point the operands that are data at a block of rows; gathered where there is an order."""
        cdef Py_ssize_t i, j, k, size
        cdef real* to
        cdef const real* source
        cdef Patch* patch
        self.lane[lane].start = start
        self.lane[lane].order = order + start if order != NULL else NULL
        if order == NULL:
            for i in range(self.patch_bounds[lane], self.patch_bounds[lane + 1]):
                patch = self.patches + i
                patch.slot[0] = <real*>self.data[patch.data] + start * self.sizes[patch.data]
            return
        for i in range(self.n_data):
            size = self.sizes[i]
            to = self.staging[lane * self.n_data + i]
            if size == 1:
                for j in range(rows):
                    to[j] = self.data[i][order[start + j]]
            else:
                for j in range(rows):
                    source = self.data[i] + order[start + j] * size
                    k = 0
                    while k < size:
                        put(to, k, size, get(source, k, size))
                        k += VW
                    to += size
        for i in range(self.patch_bounds[lane], self.patch_bounds[lane + 1]):
            patch = self.patches + i
            patch.slot[0] = self.staging[lane * self.n_data + patch.data]

    def forward(self, Py_ssize_t rows, list outputs):
        """Run forward on all rows, in blocks.

        ``outputs``: (address of a block's value, elements a row, address of the result).
        Returns whether no callback failed.
        """
        cdef Py_ssize_t start = 0, count, i, n_outputs = len(outputs)
        cdef bint fine
        cdef size_t* copies = <size_t*>calloc(3 * n_outputs + 1, sizeof(size_t))
        if copies == NULL:
            raise MemoryError
        for i in range(n_outputs):
            copies[3 * i], copies[3 * i + 1], copies[3 * i + 2] = outputs[i]
        self._set_batch(rows)
        self._add_totals(0, rows, NULL)
        with nogil:
            fine = self._run(0, ONCE, 1)
            while fine and start < rows:
                count = min(self.capacity, rows - start)
                self._place(0, start, count, NULL)
                fine = self._run(0, ROWS, count)
                self.lane[0].first = 0
                for i in range(n_outputs):
                    memcpy(<real*>copies[3 * i + 2] + start * copies[3 * i + 1],
                           <real*>copies[3 * i], count * copies[3 * i + 1] * sizeof(real))
                start += count
            fine = fine and self._run(0, TAIL, 1)
        free(copies)
        return fine

    def backward(self, Py_ssize_t rows):
        """Run backward on the one block that ran forward; whether no callback failed."""
        cdef bint fine
        self._set_batch(rows)
        self._place(0, 0, rows, NULL)
        with nogil:
            fine = self._run(0, BACK, rows)
        return fine

    cdef void _add_totals(self, Py_ssize_t start, Py_ssize_t rows, const int64_t* order) noexcept nogil:
        """The sums of data over a batch: of sample weights, which each row is divided by."""
        cdef Py_ssize_t i, j, k, size
        cdef const real* row
        cdef double total
        for i in range(self.n_totals):
            size = self.sizes[self.total_of[i]]
            total = 0
            for j in range(start, start + rows):
                row = self.data[self.total_of[i]] + (order[j] if order != NULL else j) * size
                for k in range(size):
                    total += row[k]
            self.total_at[i][0] = <real>total

    cdef void _set_batch(self, Py_ssize_t rows) noexcept nogil:
        cdef Py_ssize_t lane
        for lane in range(self.n_lanes):
            self.lane[lane].first = lane == 0
            self.lane[lane].failed = 0
            if self.lane[lane].rows != rows:
                self.lane[lane].rows = rows
                self.lane[lane].per_row = <real>1 / <real>rows

    # ------------------------------------------------------------------------------- training ---

    cdef bint _asked_to_stop(self) noexcept nogil:
        """Ask for signals and for `interrupted`, every 20 ms; nothing is half-changed by stopping
        here, as a step changes the parameters at its end."""
        cdef double now = coarse_seconds()
        if now - self.asked < 0.02:
            return False
        self.asked = now
        with gil:
            try:
                PyErr_CheckSignals()
                if self.interrupted():
                    self.stopped = INTERRUPTED
            except BaseException as error:
                self.errors.append(error)
                self.stopped = RAISED
        return self.stopped != FINISHED

    cdef bint _run_lane(self, Py_ssize_t lane, Py_ssize_t start, Py_ssize_t rows, const int64_t* order, bint ask) noexcept nogil:
        """A lane's share of the blocks of a batch of `rows` from `start`; whether it was done."""
        cdef Py_ssize_t blocks = 1 if rows <= self.capacity else (rows + self.capacity - 1) // self.capacity
        # Rounded up, so that a batch of few blocks leaves the last lanes idle and never the first,
        # which is the one that overwrites what an earlier batch left.
        cdef Py_ssize_t block = 0, end = blocks, count
        if self.n_lanes > 1:
            block = (blocks * lane + self.n_lanes - 1) // self.n_lanes
            end = (blocks * (lane + 1) + self.n_lanes - 1) // self.n_lanes
        if lane > 0:
            memset(self.gradients[lane], 0, self.n_gradients * sizeof(real))
        while block < end:
            count = min(self.capacity, rows - block * self.capacity)
            self._place(lane, start + block * self.capacity, count, order)
            if not self._run(lane, ROWS, count) or not self._run(lane, BACK, count):
                return False
            self.lane[lane].first = 0
            block += 1
            if ask and block % 8 == 0 and self._asked_to_stop():
                return False
        return True

    cdef bint _gradients(self, Py_ssize_t start, Py_ssize_t rows, const int64_t* order) noexcept nogil:
        """The loss and all gradients of a batch; whether they are there."""
        cdef Py_ssize_t lane, i
        cdef bint done = True
        self._set_batch(rows)
        self._add_totals(start, rows, order)
        if not self._run(0, ONCE, 1) or not self._run(0, SEED, 1):
            return False
        if self.threads > 1:
            self.job_start, self.job_rows, self.job_order = start, rows, order
            atomic_add(&self.at_work, self.threads - 1)
            atomic_add(&self.job, 1)
        lane = 0
        while lane < self.n_lanes and done:
            done = self._run_lane(lane, start, rows, order, True)
            lane += self.threads
        while self.threads > 1 and atomic_read(&self.at_work) > 0:
            wait_while(&self.at_work, atomic_read(&self.at_work))
        if not done:
            return False
        for lane in range(1, self.n_lanes):
            i = 0
            while i < self.n_gradients:
                give(self.gradients[0], i, self.n_gradients, get(self.gradients[lane], i, self.n_gradients), True)
                i += VW
        return self._run(0, TAIL, 1) and self._run(0, ONCE_BACK, 1)

    def share(self, Py_ssize_t threads):
        """Share lanes among so many threads from now on: this one and those that call `help`."""
        self.threads = threads
        self.job = self.at_work = 0

    def dismiss(self):
        """Let the helpers go."""
        atomic_add(&self.job, -1 - atomic_read(&self.job))

    def help(self, Py_ssize_t helper):
        """Run the lanes of helper number ``helper`` (from 1), batch by batch, until dismissed.

        For a thread of its own; it holds no GIL. Lanes with callbacks are never shared.
        """
        cdef Py_ssize_t seen = 0, lane
        with nogil:
            while True:
                wait_while(&self.job, seen)
                seen = atomic_read(&self.job)
                if seen < 0:
                    break
                lane = helper
                while lane < self.n_lanes:
                    self._run_lane(lane, self.job_start, self.job_rows, self.job_order, False)
                    lane += self.threads
                atomic_add(&self.at_work, -1)

    cdef int _watched_update(self, Py_ssize_t n, real* p, real** slots, Py_ssize_t n_slots,
                             const double* settings, double* powers, Update update) noexcept nogil:
        """An update that is taken back where a new parameter is not finite."""
        cdef Py_ssize_t i
        cdef double power0 = powers[0], power1 = powers[1]
        cdef real* kept = <real*>malloc((n_slots + 1) * n * sizeof(real))
        cdef int status = FINISHED
        if kept == NULL:
            return NOT_FINITE
        memcpy(kept, p, n * sizeof(real))
        for i in range(n_slots):
            memcpy(kept + (i + 1) * n, slots[i], n * sizeof(real))
        update(n, p, self.gradients[0], slots, settings, powers)
        if condition_of(n, p) == BROKEN:
            status = NOT_FINITE
            memcpy(p, kept, n * sizeof(real))
            for i in range(n_slots):
                memcpy(slots[i], kept + (i + 1) * n, n * sizeof(real))
            powers[0], powers[1] = power0, power1
        free(kept)
        return status

    def gradients_of(self, Py_ssize_t rows, size_t loss_address, object interrupted):
        """The loss of all rows and, in the first lane, its gradients: (status, loss)."""
        cdef int status = FINISHED
        self._check_bound(rows)
        self.interrupted = interrupted
        self.stopped = FINISHED
        with nogil:
            self.asked = coarse_seconds()
            if not self._gradients(0, rows, NULL):
                status = self.stopped if self.stopped != FINISHED else RAISED
        return status, (<const real*>loss_address)[0]

    def jacobian(self, Py_ssize_t first, Py_ssize_t rows, Py_ssize_t outputs, size_t seed_address,
                 size_t value_address, cnp.ndarray vector, cnp.ndarray values, cnp.ndarray result):
        """The value of each of ``rows`` rows from ``first`` on, and its gradient with respect to
        all parameters: row by row, for one output after another.

        The plan's output is the value of one row, ``outputs`` elements; ``seed_address`` is where
        its gradient stands. ``values`` takes (rows, outputs), ``result`` (rows * outputs,
        parameters). Returns whether no callback failed.
        """
        cdef Py_ssize_t n = vector.size, row, j
        cdef real* seed = <real*>seed_address
        cdef const real* value = <const real*>value_address
        cdef real* out = <real*>cnp.PyArray_DATA(_checked_writable(values))
        cdef real* to = <real*>cnp.PyArray_DATA(_checked_writable(result))
        cdef bint fine = True
        if values.size != rows * outputs or result.size != rows * outputs * n:
            raise ValueError("the results do not fit")
        if first < 0 or rows < 1 or self.capacity < 1:
            raise ValueError("rows out of range")
        for j in range(self.n_data):
            if self.arrays[j] is None or self.arrays[j].shape[0] < first + rows:
                raise ValueError("the data is not bound")
        with nogil:
            for row in range(rows):
                for j in range(outputs):
                    # Kernels may have worked on the seed in place.
                    memset(seed, 0, outputs * sizeof(real))
                    seed[j] = <real>1
                    memset(self.gradients[0], 0, n * sizeof(real))
                    fine = self._gradients(first + row, 1, NULL)
                    if not fine:
                        break
                    memcpy(to, self.gradients[0], n * sizeof(real))
                    to += n
                if not fine:
                    break
                memcpy(out, value, outputs * sizeof(real))
                out += outputs
        return fine

    cdef int _check_bound(self, Py_ssize_t rows) except -1:
        cdef Py_ssize_t i
        if rows < 1 or rows >= 1 << 32:
            raise ValueError("rows out of range")
        for i in range(self.n_data):
            if self.arrays[i] is None or self.arrays[i].shape[0] != rows:
                raise ValueError("the data is not bound")
        return 0

    def train(self, Py_ssize_t epochs, Py_ssize_t most, Py_ssize_t rows, Py_ssize_t batch,
              bint shuffle, uint64_t seed, uint64_t epoch, uint64_t first_step, Py_ssize_t step, double total,
              cnp.ndarray vector, size_t loss_address, str optimizer, tuple settings, list slots,
              cnp.ndarray powers, object rates, object shaping, cnp.ndarray losses,
              object interrupted):
        """Run epochs from ``epoch`` on, ``most`` steps at most, of which ``first_step`` is the first.

        ``step`` and ``total`` tell how far that epoch is: finished steps, and their losses added
        up, each times its rows. ``vector``, ``slots`` and ``powers`` (two doubles) are changed in
        place, at the end of each step; ``losses`` takes the mean loss of each epoch. ``rates``
        holds the learning rate of each step (None: the optimizer's own), ``shaping`` is (clip_norm,
        clip_value, l1, l2), as `shape_gradient` takes it, or None.

        Returns (status, finished epochs, finished steps, step within the epoch, total, order of
        the rows in it or None).
        """
        cdef Py_ssize_t n = vector.size, done = 0, start = 0, count, steps = 0, i
        cdef real* parameters = <real*>cnp.PyArray_DATA(_checked_writable(vector))
        cdef const real* loss = <const real*>loss_address
        cdef double* power = <double*>cnp.PyArray_DATA(powers)
        cdef double* mean_losses = <double*>cnp.PyArray_DATA(losses)
        cdef const double* rate = NULL
        cdef real* slot[4]
        cdef double setting[8]
        cdef Update update = find_update(optimizer)
        cdef int64_t* order = NULL
        cdef int status = FINISHED
        cdef bint shaped = shaping is not None, watched, extreme = False
        cdef int condition
        cdef double clip_norm = 0, clip_value = 0, penalty = 0
        cdef const real* l1 = NULL
        cdef const real* l2 = NULL
        cdef double now, looked
        cdef Py_ssize_t until_look = 1, pace = 1, n_slots = len(slots)
        if len(settings) > 8 or n_slots > 4:
            raise ValueError("too many settings or slots")
        if losses.size < epochs or losses.dtype != np.float64 or powers.dtype != np.float64 or powers.size < 2:
            raise ValueError("losses or powers do not fit")
        self._check_bound(rows)
        if batch < 1 or step < 0 or most < 0 or step * batch >= rows:
            raise ValueError("batch or step out of range")
        for i in range(len(settings)):
            setting[i] = settings[i]
        for i in range(n_slots):
            if slots[i].size != n:
                raise ValueError("a slot has another size")
            slot[i] = <real*>cnp.PyArray_DATA(_checked_writable(slots[i]))
        if rates is not None:
            most = min(most, len(rates))
            if rates.dtype != np.float64 or not rates.flags.c_contiguous:
                raise ValueError("rates do not fit")
            rate = <const double*>cnp.PyArray_DATA(rates)
        if shaped:
            clip_norm, clip_value = shaping[0], shaping[1]
            for i in (2, 3):
                if shaping[i] is not None and shaping[i].size != n:
                    raise ValueError("a penalty has another size")
            if shaping[2] is not None:
                l1 = <const real*>cnp.PyArray_DATA(_checked(shaping[2]))
            if shaping[3] is not None:
                l2 = <const real*>cnp.PyArray_DATA(_checked(shaping[3]))
        # A learning rate or an epsilon so far out can overflow with any gradient.
        for i in range(len(settings)):
            extreme = extreme or setting[i] > 1e15 or 0 < setting[i] < 1e-15
        if rates is not None:
            extreme = extreme or bool((rates > 1e15).any())
        watched = extreme or condition_of(n, parameters) != ORDINARY
        if shuffle:
            if self.order is None or self.order.size != rows:
                self.order = np.empty(rows, np.int64)
                self.ordered = False
            order = <int64_t*>cnp.PyArray_DATA(<cnp.ndarray>self.order)
        self.interrupted = interrupted
        self.stopped = FINISHED
        self.run.seed = seed
        with nogil:
            looked = self.asked = coarse_seconds()
            while done < epochs and steps < most and status == FINISHED:
                if shuffle and not (self.ordered and self.ordered_seed == seed
                                    and self.ordered_epoch == epoch + <uint64_t>done):
                    self.ordered, self.ordered_seed = True, seed
                    self.ordered_epoch = epoch + <uint64_t>done
                    shuffle_rows(order, rows, seed, self.ordered_epoch)
                start = step * batch
                while start < rows and steps < most:
                    count = min(batch, rows - start)
                    self.run.step = first_step + <uint64_t>steps
                    if not self._gradients(start, count, order):
                        status = self.stopped if self.stopped != FINISHED else RAISED
                        break
                    condition = condition_of(n, self.gradients[0])
                    if not isfinite(loss[0]) or condition == BROKEN:
                        status = NOT_FINITE
                        break
                    if shaped:
                        penalty = shape_gradient(n, self.gradients[0], parameters, l1, l2, clip_value, clip_norm)
                        condition = condition_of(n, self.gradients[0])
                    if rate != NULL:
                        setting[0] = rate[steps]
                    if condition == ORDINARY and not watched:
                        watched = update(n, parameters, self.gradients[0], slot, setting, power)
                    else:
                        # The new parameters might not be finite: keep the old ones at hand.
                        status = self._watched_update(n, parameters, slot, n_slots, setting, power, update)
                        watched = extreme or condition_of(n, parameters) != ORDINARY
                        if status != FINISHED:
                            break
                    self._run(0, KEEP, count)
                    total += (<double>loss[0] + penalty) * count
                    start += count
                    step += 1
                    steps += 1
                    until_look -= 1
                    if until_look == 0:
                        # Look at the clock every few milliseconds.
                        now = coarse_seconds()
                        if now - looked < 0.002:
                            pace = min(2 * pace, 1 << 20)
                        elif pace > 1:
                            pace //= 2
                        looked = now
                        until_look = pace
                        if self._asked_to_stop():
                            status = self.stopped
                            break
                if start >= rows:
                    mean_losses[done] = total / rows
                    done += 1
                    step = 0
                    total = 0
        return status, done, steps, step, total, self.order if shuffle else None
