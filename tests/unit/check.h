/* check.h - what a test program needs: CHECK counts, check_done prints one line and gives the exit
 * status.  NaN fails: write comparisons so that they are true when all is well. */
#ifndef CHECK_H
#define CHECK_H
#include <stdio.h>

static int n_checks, n_failed;

#define CHECK(ok, ...) do { n_checks++; if (!(ok)) { n_failed++;                        \
    printf("%s:%d: ", __FILE__, __LINE__); printf(__VA_ARGS__); puts(""); } } while (0)

static int check_done(const char *name) {
    printf("%-14s %7d checks, %d failed\n", name, n_checks, n_failed);
    return n_failed != 0 || n_checks == 0;
}
#endif
