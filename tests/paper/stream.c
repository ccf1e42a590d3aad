/* stream.c - what a bank of limited size keeps of a stream that repeats itself: each test document
 * comes one to eight times, every time with some other facts, and what was said last is asked.
 * Which entry goes when the bank is full, or takes the newcomer in?
 *
 *   fifo, reservoir   the oldest; one at random, such that each of the stream is kept alike
 *   ocm               what is most like all others on average (Online Cooperative Memorization,
 *                     arXiv 2207.10131): k(x,y) = e^(-|x-y| / (sqrt2 s)), s the mean distance
 *   slots             the newcomer is averaged into the slot with a cosine above ALIKE, or takes
 *                     the place of the one longest not touched (the policy of CAMELoT, arXiv
 *                     2402.13449)
 *   nearest           the older of the two nearest, by all vectors
 *   versions          the older of the two nearest, by what they are about (mac_versions)
 *   all, last         no limit; nothing but the last versions
 *
 *   stream DIR CORPUS NAME SEED QUICK POLICY   one cell */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ALIKE 0.97 /* the cosine of one slot, the best of 0.95 to 0.99 on people's valid */

static Lab lab;
static Bank bank;                 /* room for all; entry k is version `of[k]` of the stream */
static int *of, n_stream;
static AugDoc *stream;            /* in the order of time */
static int *doc_of, *is_last;     /* [n_stream] which test document; is it the last version? */
static real *phi;                 /* [n_stream] their vectors */
static size_t per;

/* ==== the stream ============================================================================= */
static void make_stream(uint64_t *rng) {
    Augment *aug = need(aug_new(&lab.test));
    int n = lab.test.n_docs, *left = need(malloc((size_t)n * sizeof *left)), all = 0;
    for (int i = 0; i < n; i++) all += left[i] = 1 + rng_below(rng, 8);
    stream = need(calloc((size_t)all, sizeof *stream));
    doc_of = need(malloc(2 * (size_t)all * sizeof *doc_of)), is_last = doc_of + all;
    for (n_stream = 0; n_stream < all; n_stream++) { /* one of the versions that are left */
        int i = 0;
        for (int pick = rng_below(rng, all - n_stream); pick >= left[i]; i++) pick -= left[i];
        doc_of[n_stream] = i, is_last[n_stream] = --left[i] == 0;
        if (aug_draw(aug, i, NULL, 0, 0.4, 0, rng, &stream[n_stream]) != 0) die("out of memory");
    }
    free(left);
    aug_free(aug);
}

static void encode_stream(void) {
    phi = need(malloc((size_t)n_stream * per * sizeof *phi));
    tape_record(lab.tp, 0);
    for (int at = 0, n; at < n_stream; at += n) {
        Ids x[64];
        n = n_stream - at < 64 ? n_stream - at : 64;
        tape_reset(lab.tp);
        for (int i = 0; i < n; i++) x[i] = reader_document(&lab.reader, stream[at + i].text);
        const Tensor *t = mac_encode(lab.m, lab.tp, x, n);
        if (!t) die("%s", tape_error(lab.tp));
        memcpy(phi + (size_t)at * per, t->data, (size_t)n * per * sizeof *phi);
    }
}

/* ==== policies =============================================================================== */
static const real *row(int k) { return bank.phi + (size_t)k * per; }

static double product(const real *x, const real *y) {
    double sum = 0;
    for (size_t i = 0; i < per; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

static double distance(const real *x, const real *y) {
    double sum = 0;
    for (size_t i = 0; i < per; i++) sum += pow((double)x[i] - (double)y[i], 2);
    return sqrt(sum);
}

static void keep(int i) { /* at the end */
    memcpy(bank.phi + (size_t)bank.K * per, phi + (size_t)i * per, per * sizeof *phi);
    of[bank.K++] = i;
}

static void drop(int k) {
    memmove(bank.phi + (size_t)k * per, row(k + 1), (size_t)(bank.K - k - 1) * per * sizeof *phi);
    memmove(of + k, of + k + 1, (size_t)(bank.K - k - 1) * sizeof *of);
    bank.K--;
}

/* like[k]: the kernels of entry k and all others, added up.  Entry k comes (1) or goes (-1). */
static void count_kernels(double *like, int k, double scale, int sign) {
    if (sign > 0) like[k] = 0;
    for (int i = 0; i < bank.K; i++) {
        if (i == k) continue;
        double is = sign * exp(-distance(row(i), row(k)) / (sqrt(2.0) * scale));
        like[i] += is, like[k] += is;
    }
}

/* The first full bank sets the scale.  Then what is most like the others goes. */
static void drop_alike(double *like, double *scale) {
    int best = 0;
    if (*scale == 0) {
        for (int k = 1; k < bank.K; k++) *scale += distance(row(k), row(0)) / (bank.K - 1);
        int all = bank.K;
        for (bank.K = 0; bank.K < all;) bank.K++, count_kernels(like, bank.K - 1, *scale, 1);
    } else count_kernels(like, bank.K - 1, *scale, 1);
    for (int k = 1; k < bank.K; k++)
        if (like[k] > like[best]) best = k;
    count_kernels(like, best, *scale, -1);
    memmove(like + best, like + best + 1, (size_t)(bank.K - best - 1) * sizeof *like);
    drop(best);
}

/* The older of the two nearest.  how[k]: how near the nearest older one of entry k is, kept from
 * one newcomer to the next; `about`: by what documents are about. */
typedef struct { int *older; real *how, *room; } Near;

static void find_older(Near *near, int k, int about) {
    near->older[k] = -1, near->how[k] = INFINITY;
    if (about && mac_versions(lab.m, lab.tp, &bank, k, row(k), near->room) != 0)
        die("%s", tape_error(lab.tp));
    for (int i = 0; i < k; i++) {
        real is = about ? near->room[i] : (real)distance(row(i), row(k));
        if (is < near->how[k]) near->how[k] = is, near->older[k] = i;
    }
}

static void drop_older(Near *near, int about) {
    int best = 0, gone;
    for (int k = 1; k < bank.K; k++)
        if (near->how[k] < near->how[best]) best = k;
    gone = near->older[best];
    drop(gone);
    memmove(near->older + gone, near->older + gone + 1, (size_t)(bank.K - gone) * sizeof(int));
    memmove(near->how + gone, near->how + gone + 1, (size_t)(bank.K - gone) * sizeof(real));
    for (int k = gone; k < bank.K; k++) {
        if (near->older[k] == gone) find_older(near, k, about);
        else if (near->older[k] > gone) near->older[k]--;
    }
}

static void consolidate(int i, int slots, int *weight, int *touched) {
    int best = -1, oldest = 0;
    double most = ALIKE;
    const real *x = phi + (size_t)i * per;
    for (int k = 0; k < bank.K; k++) {
        double is = product(row(k), x) / sqrt(product(x, x) * product(row(k), row(k)));
        if (is > most) most = is, best = k;
        if (touched[k] < touched[oldest]) oldest = k;
    }
    int to = best >= 0 ? best : bank.K < slots ? bank.K++ : oldest;
    real *slot = bank.phi + (size_t)to * per;
    weight[to] = best >= 0 ? weight[to] + 1 : 1, touched[to] = i + 1, of[to] = i;
    for (size_t j = 0; j < per; j++)
        slot[j] = best >= 0 ? slot[j] + (x[j] - slot[j]) / (real)weight[to] : x[j];
}

static void run(const char *policy, int N, uint64_t *rng) {
    int is_ocm = !strcmp(policy, "ocm"), about = !strcmp(policy, "versions");
    int nearest = about || !strcmp(policy, "nearest"), slots = !strcmp(policy, "slots");
    int *number = need(calloc(3 * (size_t)n_stream, sizeof *number));
    real *numbers = need(calloc(2 * (size_t)n_stream, sizeof *numbers));
    double *like = need(calloc((size_t)n_stream, sizeof *like)), scale = 0;
    Near near = {number, numbers, numbers + n_stream};
    for (int i = 0; i < n_stream; i++) {
        if (!strcmp(policy, "last") && !is_last[i]) continue;
        if (slots) { consolidate(i, N, number + n_stream, number + 2 * n_stream); continue; }
        if (!strcmp(policy, "reservoir") && i >= N) {
            int k = rng_below(rng, i + 1);
            if (k >= N) continue;
            drop(k);
        }
        keep(i);
        if (nearest) find_older(&near, bank.K - 1, about);
        if (bank.K <= N || !strcmp(policy, "all")) continue;
        if (nearest) drop_older(&near, about);
        else if (is_ocm) drop_alike(like, &scale);
        else drop(0);
    }
    free(number), free(numbers), free(like);
}

/* ==== asking about the last versions ========================================================= */
static void put_answers(Cell *c) {
    int cap = lab.m->c.A, hits = 0, n = 0, held = 0;
    for (int k = 0; k < bank.K; k++) held += is_last[of[k]];
    for (int i = 0; i < n_stream; i++) {
        const AugDoc *d = &stream[i];
        if (!is_last[i] || d->n == 0) continue;
        tape_reset(lab.tp);
        Ids *q = reader_room(&lab.reader, d->n, sizeof *q);
        int *out = reader_room(&lab.reader, d->n * cap, sizeof *out);
        int *len = reader_room(&lab.reader, d->n, sizeof *len);
        for (int k = 0; k < d->n; k++) q[k] = reader_question(&lab.reader, d->q[k]);
        AnswerOptions o = {.select = lab.select};
        if (mac_answer(lab.m, lab.tp, q, d->n, &bank, cap, out, len, &o) != 0)
            die("%s", tape_error(lab.tp));
        for (int k = 0; k < d->n; k++, n++) {
            size_t bytes;
            char *text = need(tok_decode(lab.reader.tok, out + k * cap, len[k], &bytes));
            hits += score_em(text, &d->a[k], 1);
            free(text);
        }
    }
    cell_put(c, "questions", n), cell_put(c, "em", hits / (double)n);
    cell_put(c, "entries", bank.K), cell_put(c, "stream", n_stream);
    cell_put(c, "held", held / (double)lab.test.n_docs);
}

int main(int argc, char **argv) {
    Cell c;
    program_begin("stream");
    if (argc != 7) die("usage: stream DIR CORPUS NAME SEED QUICK POLICY");
    lab_open(&lab, argv);
    char what[60];
    snprintf(what, sizeof what, "stream-%s", argv[6]);
    if (lab_cell(&lab, &c, what)) return 0;
    uint64_t rng = (uint64_t)lab.seed + 9;
    per = (size_t)lab.m->c.T * (size_t)lab.m->c.d;
    make_stream(&rng);
    encode_stream();
    bank = (Bank){.T = lab.m->c.T, .d = lab.m->c.d,
                  .phi = need(malloc((size_t)n_stream * per * sizeof(real)))};
    of = need(malloc((size_t)n_stream * sizeof *of));
    run(argv[6], lab.test.n_docs, &rng);
    put_answers(&c);
    lab_keep(&c);
    for (int i = 0; i < n_stream; i++) aug_drop(&stream[i]);
    free(stream), free(doc_of), free(phi), free(of), free(bank.phi);
    lab_close(&lab);
    return 0;
}
