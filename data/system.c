/* system.c - a clock, the memory taken so far, and whether a person is watching. */
#if defined(__unix__) || defined(__APPLE__)
#define _POSIX_C_SOURCE 200809L
#endif
#include "system.h"
#include <time.h>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/resource.h>
#include <unistd.h>
int mac_terminal(int fd) { return isatty(fd); }
size_t mac_peak_memory(void) {
    struct rusage use;
    if (getrusage(RUSAGE_SELF, &use) != 0) return 0;
#ifdef __APPLE__
    return (size_t)use.ru_maxrss;
#else
    return (size_t)use.ru_maxrss * 1024;
#endif
}
#else
int mac_terminal(int fd) { return (void)fd, 0; }
size_t mac_peak_memory(void) { return 0; }
#endif

double mac_seconds(void) {
#ifdef TIME_UTC
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
#else /* Windows' older libc, whose clock() goes on while the program waits */
    return (double)clock() / CLOCKS_PER_SEC;
#endif
}
