/* limit.c - a bank of limited size (the paper's Figure 7): entries dropped, averaged, or replaced
 * by codes of a codebook (MBC).
 *
 *   limit DIR CORPUS NAME SEED QUICK WHAT      one cell, see main */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static Lab lab;

static size_t row_of(const Bank *b) { return (size_t)b->T * (size_t)b->d; }

/* ==== pruning and averaging ================================================================== */
typedef enum { CUT_RANDOM, CUT_AVERAGE, CUT_NEAREST, CUT_CODES, CUTS } Cut;
static const char *const cuts[] = {"prune", "average", "nearest", "codes"};

static void drop_row(Bank *b, int i) { /* the last one takes its place; texts are not needed */
    size_t per = row_of(b);
    b->K--;
    if (i < b->K) memcpy(b->phi + (size_t)i * per, b->phi + (size_t)b->K * per, per * sizeof(real));
}

static void merge_rows(Bank *b, int i, int j) { /* phi_i = (phi_i + phi_j) / 2, as in the paper */
    size_t per = row_of(b);
    real *x = b->phi + (size_t)i * per, *y = b->phi + (size_t)j * per;
    for (size_t k = 0; k < per; k++) x[k] = (x[k] + y[k]) / 2;
    drop_row(b, j);
}

static double cosine(const real *x, const real *y, size_t n) {
    double xy = 0, xx = 0, yy = 0;
    for (size_t i = 0; i < n; i++)
        xy += (double)x[i] * (double)y[i], xx += (double)x[i] * (double)x[i],
            yy += (double)y[i] * (double)y[i];
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}

/* The two entries that are most alike; all pairs are compared once, then only what changed: like[i]
 * is entry i's largest cosine to one behind it, mate[i] that one. */
static void find_mate(const Bank *b, int i, double *like, int *mate) {
    size_t per = row_of(b);
    like[i] = -2, mate[i] = -1;
    for (int j = i + 1; j < b->K; j++) {
        double x = cosine(b->phi + (size_t)i * per, b->phi + (size_t)j * per, per);
        if (x > like[i]) like[i] = x, mate[i] = j;
    }
}

static void merge_nearest(Bank *b, int left) {
    double *like = need(malloc((size_t)b->K * sizeof *like));
    int *mate = need(malloc((size_t)b->K * sizeof *mate));
    size_t per = row_of(b);
    for (int i = 0; i < b->K; i++) find_mate(b, i, like, mate);
    while (b->K > left) {
        int best = 0, gone, moved = b->K - 1;
        for (int i = 1; i < b->K; i++)
            if (like[i] > like[best]) best = i;
        gone = mate[best];
        merge_rows(b, best, gone);
        for (int i = 0; i < b->K; i++) {
            int touched = i == best || i == gone || mate[i] == best || mate[i] == gone
                          || mate[i] == moved;
            if (touched) { find_mate(b, i, like, mate); continue; }
            for (int k = 0; k < 2; k++) { /* what changed may be nearer than the mate so far */
                int j = k ? gone : best;
                if (j <= i || j >= b->K) continue;
                double x = cosine(b->phi + (size_t)i * per, b->phi + (size_t)j * per, per);
                if (x > like[i]) like[i] = x, mate[i] = j;
            }
        }
    }
    free(like), free(mate);
}

/* ==== a codebook, as in MBC ================================================================== */
/* to[i] = the code nearest to x[i], where |c|^2 / 2 - x.c is least; x: [N,d], code: [n,d]. */
static void nearest_codes(real *x, int N, real *code, int n, int d, int *to) {
    real *half = need(calloc((size_t)n, sizeof *half));
    for (int j = 0; j < n * d; j++) half[j / d] += code[j] * code[j] / 2;
    Tensor c = {2, {n, d, 1}, code, NULL};
    for (int at = 0, rows = 256; at < N; at += rows) {
        if (rows > N - at) rows = N - at;
        Tensor some = {2, {rows, d, 1}, x + (size_t)at * (size_t)d, NULL};
        tape_reset(lab.tp);
        const Tensor *y = need(op_linear(lab.tp, &some, &c, NULL, 0));
        for (int i = 0; i < rows; i++) {
            const real *dot = y->data + (size_t)i * (size_t)n;
            int best = 0;
            for (int j = 1; j < n; j++)
                if (half[j] - dot[j] < half[best] - dot[best]) best = j;
            to[at + i] = best;
        }
    }
    free(half);
}

/* k-means over the vectors of training documents, a few rounds.  MBC learns its codebook along with
 * MAC; this one comes after MAC, and MAC does not learn to live with it. */
static void learn_codes(real *code, int n, int d, uint64_t *rng) {
    int docs = lab.train.n_docs < 1000 ? lab.train.n_docs : 1000;
    Bank *b = lab_learn(&lab, &lab.train, 0, docs, 64);
    int N = b->K * b->T;
    int *count = need(malloc((size_t)n * sizeof *count));
    int *nearest = need(malloc((size_t)N * sizeof *nearest));
    real *sum = need(malloc((size_t)n * (size_t)d * sizeof *sum));
    for (int c = 0; c < n; c++)
        memcpy(code + (size_t)c * (size_t)d, b->phi + (size_t)rng_below(rng, N) * (size_t)d,
               (size_t)d * sizeof *code);
    for (int round = 0; round < 5; round++) {
        memset(count, 0, (size_t)n * sizeof *count);
        memset(sum, 0, (size_t)n * (size_t)d * sizeof *sum);
        nearest_codes(b->phi, N, code, n, d, nearest);
        for (int i = 0; i < N; i++) {
            const real *x = b->phi + (size_t)i * (size_t)d;
            int c = nearest[i];
            count[c]++;
            for (int k = 0; k < d; k++) sum[(size_t)c * (size_t)d + (size_t)k] += x[k];
        }
        for (int j = 0; j < n * d; j++)
            if (count[j / d]) code[j] = sum[j] / (real)count[j / d];
    }
    free(count), free(sum), free(nearest);
    bank_free(b);
}

/* Every vector becomes its nearest code.  Codebook and indices (two bytes each) take as many bytes
 * as `left` whole entries would. */
static double encode(Bank *b, int left, uint64_t *rng) {
    int d = b->d, N = b->K * b->T;
    double room = (double)left * (double)row_of(b) * sizeof(real) - 2.0 * N;
    int n = (int)(room / (d * (double)sizeof(real)));
    if (n < 1) n = 1;
    if (n > 65536) n = 65536;
    real *code = need(malloc((size_t)n * (size_t)d * sizeof *code));
    int *nearest = need(malloc((size_t)N * sizeof *nearest));
    learn_codes(code, n, d, rng);
    nearest_codes(b->phi, N, code, n, d, nearest);
    for (int i = 0; i < N; i++)
        memcpy(b->phi + (size_t)i * (size_t)d, code + (size_t)nearest[i] * (size_t)d,
               (size_t)d * sizeof *code);
    free(code), free(nearest);
    return n * (double)d * sizeof(real) + 2.0 * N;
}

/* ==== one cell =============================================================================== */
/* The first `docs` documents of a split are learned, the bank is cut, each of them is asked for. */
static double limit_bank(const Corpus *c, int docs, Cut cut, int percent, Score *s, int *held) {
    Bank *b = lab_learn(&lab, c, 0, docs, 64);
    uint64_t rng = (uint64_t)lab.seed + 17;
    int left = (int)((int64_t)b->K * percent / 100);
    if (left < 1) left = 1;
    double bytes = cut == CUT_CODES ? encode(b, left, &rng) : 0;
    if (cut == CUT_NEAREST) merge_nearest(b, left);
    while (cut <= CUT_AVERAGE && b->K > left) {
        int i = rng_below(&rng, b->K), j = rng_below(&rng, b->K - 1);
        if (cut == CUT_RANDOM) drop_row(b, i);
        else if (i <= j) merge_rows(b, i, j + 1);
        else merge_rows(b, j, i);
    }
    *s = (Score){0, 0, 0, 0};
    lab_ask(&lab, c, 0, docs, &(Asking){.bank = b, .one = 1}, s);
    *held = b->K;
    if (cut != CUT_CODES) bytes = (double)b->K * (double)row_of(b) * (double)sizeof(real);
    bank_free(b);
    return bytes;
}

int main(int argc, char **argv) {
    Cell c;
    Score s;
    program_begin("paper");
    if (argc != 7) die("usage: limit DIR CORPUS NAME SEED QUICK WHAT");
    const char *what = argv[6];
    char way[20] = "";
    int percent = 0, cut = 0, held;
    lab_open(&lab, argv);
    if (lab_cell(&lab, &c, what)) { lab_close(&lab); return 0; }
    lab_say(&lab, "%s", what);
    sscanf(what, "limited-%19[^-]-%d", way, &percent);
    while (cut < CUTS && strcmp(cuts[cut], way)) cut++;
    if (cut == CUTS || percent < 1) die("there is no cell %s", what);
    double bytes = limit_bank(&lab.test, lab.test.n_docs, (Cut)cut, percent, &s, &held);
    lab_put_score(&c, "", &s);
    cell_put(&c, "kept", held);
    cell_put(&c, "bytes", bytes);
    lab_keep(&c);
    lab_close(&lab);
    return 0;
}
