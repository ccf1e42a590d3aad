/* bench.c - how fast the parts are, on this machine, now: best and median of several runs.  A
 * shared machine swings by a third: compare only what one run of this program prints. */
#include "mac.h"
#include <stdio.h>
#include <stdlib.h>

#define RUNS 9
typedef void (*Work)(void);

static Tape *tape;
static Model *model;
static MacBatch batch;
static Tensor x, w;
static uint64_t rng = 1;

static int smaller(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return p < q ? -1 : p > q;
}

/* Prints the rate of `amount` units a call. */
static void measure(const char *what, const char *unit, double amount, int threads, Work work) {
    double t[RUNS];
    pool_start(threads);
    work();
    for (int r = 0; r < RUNS; r++) {
        int calls = 0;
        double began = mac_seconds(), took;
        do work(), calls++;
        while ((took = mac_seconds() - began) < 0.03);
        t[r] = took / calls;
    }
    qsort(t, RUNS, sizeof *t, smaller);
    printf("%-34s %d threads  best %9.1f  median %9.1f %s\n", what, threads, amount / t[0],
           amount / t[RUNS / 2], unit);
}

static Tensor random_tensor(int rows, int cols) {
    size_t n = (size_t)rows * (size_t)cols;
    Tensor t = {2, {rows, cols, 1}, malloc(n * sizeof(real)), NULL};
    if (!t.data) exit(1);
    for (size_t i = 0; i < n; i++) t.data[i] = rng_normal(&rng);
    return t;
}

static void work_matmul(void) {
    tape_reset(tape);
    op_linear(tape, &x, &w, NULL, 1);
}

static void work_step(void) {
    MacStats s;
    tape_reset(tape);
    if (tape_backward(tape, mac_loss(model, tape, &batch, &s)) != 0) exit(1);
}

static void work_learn(void) {
    tape_reset(tape);
    tape_record(tape, 0);
    mac_encode(model, tape, batch.docs, batch.n_docs);
    tape_record(tape, 1);
}

/* 32 documents of 32 tokens and one question each, at the default sizes. */
static void make_batch(void) {
    static int ids[32 * 64], doc[32];
    static Ids docs[32], q[32], qa[32];
    for (int i = 0; i < 32 * 64; i++) ids[i] = rng_below(&rng, 1000);
    for (int i = 0; i < 32; i++) {
        docs[i] = (Ids){ids + 64 * i, 32}, q[i] = (Ids){ids + 64 * i + 32, 10};
        qa[i] = (Ids){ids + 64 * i + 32, 13}, doc[i] = i;
    }
    batch = (MacBatch){docs, 32, 32, q, qa, 32, doc, 8, (real)0.1};
}

int main(void) {
    static const int shape[][3] = {{64, 64, 64}, {256, 256, 256}, {512, 512, 512}, {1024, 64, 64},
                                   {1024, 256, 64}, {64, 64, 1024}, {32, 1536, 64}};
    MacConfig c = mac_config_default();
    tape = tape_new(0);
    model = model_new(&c, 1);
    if (!tape || !model) return 1;
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        for (int threads = 1; threads <= 2; threads++) {
            char name[64];
            int M = shape[i][0], N = shape[i][1], K = shape[i][2];
            x = random_tensor(M, K), w = random_tensor(K, N);
            snprintf(name, sizeof name, "matmul %dx%dx%d", M, N, K);
            measure(name, "GFLOP/s", 2e-9 * M * N * K, threads, work_matmul);
            free(x.data), free(w.data);
        }
    make_batch();
    param_freeze(&model->ps, "base_lm.", 1);
    for (int threads = 1; threads <= 2; threads++)
        measure("training step, default sizes", "steps/s", 1, threads, work_step);
    for (int threads = 1; threads <= 2; threads++)
        measure("learn, 32 tokens a document", "documents/s", 32, threads, work_learn);
    model_free(model);
    tape_free(tape);
    return 0;
}
