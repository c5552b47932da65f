/* What the engine needs of the machine besides arithmetic: a cheap clock, and atomic counters to
 * wait on. Nothing here knows about steps. */
#ifndef FASTGRAPH_SYSTEM_H
#define FASTGRAPH_SYSTEM_H

#include <stddef.h>
#include <time.h>

#if defined(_WIN32)
#include <windows.h>
#else
#include <sched.h>
#endif

/* Seconds, from a clock that is cheap to read and good to a few milliseconds. */
static inline double coarse_seconds(void) {
#if defined(_WIN32)
    return (double)GetTickCount64() * 1e-3;
#else
    struct timespec now;
#if defined(CLOCK_MONOTONIC_COARSE)
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
#else
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
#endif
}

static inline ptrdiff_t atomic_read(ptrdiff_t *counter) {
#if defined(_MSC_VER)
    return (ptrdiff_t)InterlockedCompareExchange64((volatile LONG64 *)counter, 0, 0);
#else
    return __atomic_load_n(counter, __ATOMIC_ACQUIRE);
#endif
}

static inline void atomic_add(ptrdiff_t *counter, ptrdiff_t by) {
#if defined(_MSC_VER)
    InterlockedExchangeAdd64((volatile LONG64 *)counter, by);
#else
    __atomic_add_fetch(counter, by, __ATOMIC_ACQ_REL);
#endif
}

/* Wait until the counter is no longer `value`: spinning at first, as a step takes microseconds,
 * then leaving the core to others. */
static inline void wait_while(ptrdiff_t *counter, ptrdiff_t value) {
    for (long spins = 0; atomic_read(counter) == value; spins++) {
        if (spins < 4000) {
#if defined(__x86_64__) || defined(__i386__)
            __builtin_ia32_pause();
#endif
        } else if (spins < 8000) {
#if defined(_WIN32)
            SwitchToThread();
#else
            sched_yield();
#endif
        } else {
#if defined(_WIN32)
            Sleep(1);
#else
            struct timespec nap = {0, 100000};
            nanosleep(&nap, NULL);
#endif
        }
    }
}

#endif
