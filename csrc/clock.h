/* A clock that is cheap to read, in seconds: good to a few milliseconds. */
#ifndef FASTGRAPH_CLOCK_H
#define FASTGRAPH_CLOCK_H

#include <time.h>

static double coarse_seconds(void) {
    struct timespec now;
#if defined(CLOCK_MONOTONIC_COARSE)
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
#elif defined(CLOCK_MONOTONIC)
    clock_gettime(CLOCK_MONOTONIC, &now);
#else
    timespec_get(&now, TIME_UTC);
#endif
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
