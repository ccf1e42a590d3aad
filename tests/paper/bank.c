/* bank.c - what can be done with a bank of memories: aggregate it in groups (the paper's
 * Figure 5) or exactly but in pieces, forget some documents.
 *
 *   bank DIR CORPUS NAME SEED QUICK WHAT       one cell, see main */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static Lab lab;

/* ==== experiment 4: aggregation in groups of M documents ===================================== */
/* Memory of one question's aggregation when groups are worked through one by one, as in the paper,
 * all scores of a group at once; M >= K: of the whole bank. */
static double apart(const Bank *b, const Qa *qa, int M) {
    int K = b->K, zero = 0, round = 0;
    size_t row = (size_t)b->T * (size_t)b->d;
    real *phi = need(malloc((size_t)K * row * sizeof *phi));
    Tape *tp = need(tape_new(0));
    tape_record(tp, 0);
    Ids q = reader_question(&lab.reader, qa->q);
    bank_read(b, 0, K, phi);
    double results = K > M ? (double)((K + M - 1) / M) * (double)(row * sizeof *phi) : 0;
    for (int G = K; G > 1 || round == 0; K = G, round++) {
        G = (K + M - 1) / M;
        for (int g = 0; g < G; g++) { /* results take the place of documents already read */
            int n = K - g * M < M ? K - g * M : M;
            tape_reset(tp);
            Tensor *x = need(tape_tensor(tp, n * b->T, b->d));
            memcpy(x->data, phi + (size_t)(g * M) * row, (size_t)n * row * sizeof *phi);
            AggReads r = {.doc0 = &zero, .docs = &n};
            const Tensor *z = agg_forward(lab.m, tp, &q, 1, x, &r);
            if (!z) die("%s", tape_error(tp));
            memcpy(phi + (size_t)g * row, z->data, row * sizeof *phi);
        }
    }
    double peak = (double)tape_peak(tp) + results;
    tape_free(tp), free(phi);
    return peak;
}

static void hierarchy(Cell *c, int M) { /* 0: the whole bank at once, read in pieces */
    Score s = {0, 0, 0, 0};
    Bank *b = lab_learn(&lab, &lab.test, 0, lab.test.n_docs, 64);
    /* a question at a time: with batches, all their groups would be held at once */
    int cap = lab.m->c.A, n, most = lab.quick ? 60 : 200;
    if (most > lab.test.n_docs) most = lab.test.n_docs;
    lab_fresh(&lab);
    double began = mac_seconds(), memory = 0;
    for (int i = 0; i < most; i++) { /* spread over the documents */
        int k = (int)((int64_t)i * lab.test.n_docs / most);
        if (lab.test.docs[k].n_qas == 0) continue;
        const Qa *qa = &lab.test.qas[lab_one(&lab.test, k)];
        size_t bytes;
        tape_reset(lab.tp);
        int *out = reader_room(&lab.reader, cap, sizeof *out);
        Ids q = reader_question(&lab.reader, qa->q);
        AnswerOptions o = {.hierarchy = M, .select = lab.select};
        if (mac_answer(lab.m, lab.tp, &q, 1, b, cap, out, &n, &o) != 0)
            die("%s", tape_error(lab.tp));
        char *text = need(tok_decode(lab.reader.tok, out, n, &bytes));
        score_add(&s, qa, text);
        free(text);
    }
    cell_put(c, "seconds", (mac_seconds() - began) / (s.n ? s.n : 1));
    cell_put(c, "peak", (double)tape_peak(lab.tp));
    for (int i = 0; i < lab.test.n_qas && i < 8; i++)
        memory = fmax(memory, apart(b, &lab.test.qas[i], M ? M : b->K));
    cell_put(c, "apart", memory);
    cell_put(c, "documents", b->K);
    lab_put_score(c, "", &s);
    bank_free(b);
}

/* One question, two rounds: of up to M*M documents, how much attention the right one gets in its
 * group of M, and how much its group then gets among the groups' results. */
static void two_rounds(const Bank *b, const Qa *qa, int M, double *first, double *second) {
    int T = b->T, G = (b->K + M - 1) / M, zero = 0, right = qa->doc / M;
    int *at = reader_room(&lab.reader, 3 * G, sizeof *at);
    Ids *q = reader_room(&lab.reader, G, sizeof *q);
    Tensor **mass = reader_room(&lab.reader, lab.m->c.agg_B, sizeof *mass);
    Tensor *phi = need(tape_tensor(lab.tp, b->K * T, b->d));
    bank_read(b, 0, b->K, phi->data);
    q[0] = reader_question(&lab.reader, qa->q);
    for (int g = 0; g < G; g++) {
        q[g] = q[0];
        at[g] = g * M, at[G + g] = b->K - g * M < M ? b->K - g * M : M;
        at[2 * G + g] = g == right ? qa->doc : g * M;
    }
    AggReads r = {.doc0 = at, .docs = at + G, .gold = at + 2 * G, .mass = mass};
    AggReads all = {.doc0 = &zero, .docs = &G, .gold = &right, .mass = mass};
    int blocks = lab.m->c.agg_B, n = T * lab.m->c.agg_H;
    Tensor *z = agg_forward(lab.m, lab.tp, q, G, phi, &r);
    for (int i = 0; z && i < blocks * n; i++)
        *first += (double)mass[i / n]->data[right * n + i % n] / (blocks * n);
    if (!z || !agg_forward(lab.m, lab.tp, q, 1, z, &all)) die("%s", tape_error(lab.tp));
    for (int i = 0; i < blocks * n; i++)
        *second += (double)mass[i / n]->data[i % n] / (blocks * n);
}

static void rounds(Cell *c, int M) {
    int K = lab.test.n_docs < M * M ? lab.test.n_docs : M * M, asked = 0;
    double first = 0, second = 0;
    Bank *b = lab_learn(&lab, &lab.test, 0, K, 64);
    tape_record(lab.tp, 0);
    for (int k = 0; k < K; k++) {
        if (lab.test.docs[k].n_qas == 0) continue;
        tape_reset(lab.tp);
        two_rounds(b, &lab.test.qas[lab.test.docs[k].qas[0]], M, &first, &second);
        asked++;
    }
    cell_put(c, "documents", K);
    cell_put(c, "first", first / (asked ? asked : 1));
    cell_put(c, "second", second / (asked ? asked : 1));
    cell_put(c, "groups", (K + M - 1) / M);
    bank_free(b);
}

typedef struct { const real *z; int d; } Rows;
static const real *rows_of(void *ctx, int first, int n, real *room) {
    const Rows *r = ctx;
    (void)n, (void)room;
    return r->z + (size_t)first * (size_t)r->d;
}

/* Layer norm without gain and bias, which is what op_stream_attention does to the rows it reads. */
static void normalise(real *z, size_t rows, int d) {
    for (size_t r = 0; r < rows; r++, z += d) {
        double mean = 0, square = 0;
        for (int i = 0; i < d; i++) mean += (double)z[i] / d;
        for (int i = 0; i < d; i++) square += ((double)z[i] - mean) * ((double)z[i] - mean) / d;
        for (int i = 0; i < d; i++) z[i] = (real)(((double)z[i] - mean) / sqrt(square + 1e-5));
    }
}

/* The same attention in double: what both should give. */
static void attention_in_double(const real *q, const real *z, int T, int N, int d, double *y) {
    double *score = need(malloc((size_t)N * sizeof *score));
    for (int t = 0; t < T; t++) {
        double most = -1e300, sum = 0;
        for (int i = 0; i < N; i++) {
            score[i] = 0;
            for (int k = 0; k < d; k++)
                score[i] += (double)q[t * d + k] * (double)z[(size_t)i * (size_t)d + (size_t)k];
            if (score[i] > most) most = score[i];
        }
        for (int i = 0; i < N; i++) sum += score[i] = exp(score[i] - most);
        for (int k = 0; k < d; k++) y[t * d + k] = 0;
        for (int i = 0; i < N; i++)
            for (int k = 0; k < d; k++)
                y[t * d + k] += score[i] / sum * (double)z[(size_t)i * (size_t)d + (size_t)k];
    }
    free(score);
}

/* The largest difference, against the largest number of `want`; NaN shows. */
static double off_by(const real *got, const double *want, int n) {
    double worst = 0, largest = 0;
    for (int i = 0; i < n; i++) {
        double off = fabs((double)got[i] - want[i]);
        if (!(off <= worst)) worst = off;
        if (fabs(want[i]) > largest) largest = fabs(want[i]);
    }
    return worst / largest;
}

static void compare(Cell *c, const Tensor *y, const Tensor *plain, const double *exact, int n) {
    double *as_double = need(malloc((size_t)n * sizeof *as_double));
    for (int i = 0; i < n; i++) as_double[i] = (double)plain->data[i];
    cell_put(c, "difference", off_by(y->data, as_double, n));
    cell_put(c, "error.streaming", off_by(y->data, exact, n));
    cell_put(c, "error.plain", off_by(plain->data, exact, n));
    free(as_double);
}

/* One head's attention of T queries to K documents, once with all scores in memory and once
 * streaming.  The queries are three times as sharp as random ones, so that a few documents matter:
 * a mean of thousands would be a small number, in which rounding is all that shows. */
static void streaming(Cell *c, int K) {
    int T = lab.m->c.T, d = lab.m->c.d, N = K * T, zero = 0;
    uint64_t rng = (uint64_t)lab.seed;
    size_t numbers = (size_t)N * (size_t)d;
    real *z = need(malloc(numbers * sizeof *z));
    double *exact = need(malloc((size_t)(T * d) * sizeof *exact));
    for (size_t i = 0; i < numbers; i++) z[i] = rng_normal(&rng);
    Rows rows = {z, d};
    Tape *tp = need(tape_new(0)), *plain = need(tape_new(0));
    Tensor *q = tape_tensor(tp, T, d), *x = tape_tensor(plain, N, d);
    if (!q || !x) die("out of memory");
    for (int i = 0; i < T * d; i++) q->data[i] = 3 * rng_normal(&rng) / (real)sqrt((double)d);
    Stream s = {.N = N, .D = d, .T = T, .read = rows_of, .ctx = &rows, .G = 1, .R = T, .B = 1,
                .by_head = 1};
    tape_record(tp, 0), tape_record(plain, 0);
    double began = mac_seconds();
    Tensor *y = op_stream_attention(tp, q, &s);
    cell_put(c, "seconds.streaming", mac_seconds() - began);
    memcpy(x->data, z, numbers * sizeof *z);
    normalise(x->data, (size_t)N, d);
    Attention a = {.B = 1, .H = 1, .q0 = &zero, .qn = &T, .k0 = &zero, .kn = &N, .scale = 1};
    began = mac_seconds();
    Tensor *want = op_attention(plain, q, x, x, &a);
    cell_put(c, "seconds.plain", mac_seconds() - began);
    if (!y || !want) die("%s%s", tape_error(tp), tape_error(plain));
    attention_in_double(q->data, x->data, T, N, d, exact);
    compare(c, y, want, exact, T * d);
    cell_put(c, "peak.streaming", (double)tape_peak(tp));
    cell_put(c, "peak.plain", (double)tape_peak(plain));
    tape_free(tp), tape_free(plain), free(z), free(exact);
}

/* ==== experiment 9: unlearning =============================================================== */
static int is_forgotten(int i) { return i % 10 == 4; } /* every tenth document */

static int same_files(const char *a, const char *b) {
    uint64_t x = file_print(MAC_FNV, a), y = file_print(MAC_FNV, b);
    return x != 0 && x == y;
}

/* Questions on the documents that are forgotten, or on the others. */
static void ask_some(const Bank *bank, int forgotten, Score *s) {
    for (int i = 0; i < lab.test.n_docs; i++)
        if (is_forgotten(i) == forgotten)
            lab_ask(&lab, &lab.test, i, i + 1, &(Asking){.bank = bank}, s);
}

static void put_some(Cell *c, const Bank *bank, const char *when) {
    for (int forgotten = 0; forgotten < 2; forgotten++) {
        char key[40];
        Score s = {0, 0, 0, 0};
        ask_some(bank, forgotten, &s);
        snprintf(key, sizeof key, "%s.%s.", when, forgotten ? "forgotten" : "others");
        lab_put_score(c, key, &s);
    }
}

static void unlearning(Cell *c) {
    char kept[512], never[512], err[MAC_ERR];
    lab_path(&lab, kept, sizeof kept, "cells", ".forgot.safetensors");
    lab_path(&lab, never, sizeof never, "cells", ".never.safetensors");
    Bank *all = lab_learn(&lab, &lab.test, 0, lab.test.n_docs, 64);
    Bank *without = need(bank_new(lab.m->c.T, lab.m->c.d, 0));
    Bank *nothing = need(bank_new(lab.m->c.T, lab.m->c.d, 0));
    for (int i = 0; i < lab.test.n_docs; i++) { /* it never meets the forgotten */
        if (is_forgotten(i)) continue;
        Bank *one = lab_learn(&lab, &lab.test, i, i + 1, 1);
        const Doc *d = &lab.test.docs[i];
        if (bank_add(without, d->id, d->title, d->hash, one->phi) != 1) die("out of memory");
        bank_free(one);
    }
    put_some(c, all, "before");
    put_some(c, nothing, "nothing");
    double began = mac_seconds();
    int n = 0;
    for (int i = 0; i < lab.test.n_docs; i++)
        if (is_forgotten(i)) n += bank_remove(all, lab.test.docs[i].id) == 0;
    if (bank_save(all, kept, err) != 0) die("%s", err);
    cell_put(c, "seconds", mac_seconds() - began);
    cell_put(c, "forgotten", n);
    if (bank_save(without, never, err) != 0) die("%s", err);
    cell_put(c, "equal", same_files(kept, never));
    put_some(c, all, "after");
    remove(kept), remove(never);
    bank_free(all), bank_free(without), bank_free(nothing);
}

int main(int argc, char **argv) {
    Cell c;
    program_begin("paper");
    if (argc != 7) die("usage: bank DIR CORPUS NAME SEED QUICK WHAT");
    const char *what = argv[6];
    int n = 0;
    lab_open(&lab, argv);
    if (lab_cell(&lab, &c, what)) { lab_close(&lab); return 0; }
    lab_say(&lab, "%s", what);
    if (sscanf(what, "hierarchy-%d", &n) == 1) hierarchy(&c, n);
    else if (sscanf(what, "rounds-%d", &n) == 1) rounds(&c, n);
    else if (sscanf(what, "streaming-%d", &n) == 1) streaming(&c, n);
    else if (sscanf(what, "double-%d", &n) == 1) streaming(&c, n); /* built with REAL=double */
    else if (!strcmp(what, "unlearning")) unlearning(&c);
    else die("there is no cell %s", what);
    lab_keep(&c);
    lab_close(&lab);
    return 0;
}
