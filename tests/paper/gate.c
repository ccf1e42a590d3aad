/* gate.c - when to look elsewhere, as UniWeb (arXiv 2305.10998) asks: the memory holds half of the
 * test's documents, and the questions of which the model is least sure are given to BM25 over all
 * of them, and to the LM.  UniWeb judges by the probability of the answer; we have the gate.
 *
 *   gate DIR CORPUS NAME SEED QUICK WHAT       one cell */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64

static Lab lab;

/* A question: is its document held, is MAC's answer right, BM25's; how sure is the gate, and the
 * mean log-probability of MAC's answer. */
typedef struct { int held, mac, bm25; double sure, likely, by; } Case;

static int right(const Qa *x, const int *ids, int n) {
    size_t bytes;
    char *text = need(tok_decode(lab.reader.tok, ids, n, &bytes));
    int is = score_em(text, x->a, x->n_a);
    free(text);
    return is;
}

/* What the LM thinks of its own answer behind the prefix. */
static double likelihood(const Ids *q, const Bank *bank, const int *ids, int n) {
    AnswerOptions o = {.select = lab.select};
    int was = tape_record(lab.tp, 0), *end = reader_room(&lab.reader, n + 1, sizeof *end);
    memcpy(end, ids, (size_t)n * sizeof *end);
    end[n] = lab.m->c.V - 1;
    Ids x = reader_joined(&lab.reader, *q, (Ids){end, n + 1});
    char *asked = reader_room(&lab.reader, x.n, 1);
    const char *all = asked;
    memset(asked + q->n, 1, (size_t)n + 1);
    Tensor *prefix = mac_prefix(lab.m, lab.tp, q, 1, bank, &o);
    Tensor *loss = lm_loss(lab.m, lab.tp, &x, &all, 1, prefix, 1);
    if (!loss) die("%s", tape_error(lab.tp));
    tape_record(lab.tp, was);
    return -(double)loss->data[0];
}

static void ask(Case *c, const Bank *bank, const Bm25 *index, const int *qa, int n) {
    int cap = lab.m->c.A, doc;
    tape_reset(lab.tp);
    Ids *q = reader_room(&lab.reader, 2 * n, sizeof *q), *context = q + n;
    int *out = reader_room(&lab.reader, 2 * n * cap, sizeof *out), *read = out + n * cap;
    int *len = reader_room(&lab.reader, 2 * n, sizeof *len);
    real *sure = reader_room(&lab.reader, n, sizeof *sure);
    for (int i = 0; i < n; i++) {
        const Qa *x = &lab.test.qas[qa[i]];
        q[i] = reader_question(&lab.reader, x->q);
        if (bm25_top(index, x->q, 1, &doc) > 0)
            context[i] = reader_document(&lab.reader, lab.test.docs[doc].text);
    }
    AnswerOptions mac = {.select = lab.select, .sure = sure}, bm25 = {.context = context};
    if (mac_answer(lab.m, lab.tp, q, n, bank, cap, out, len, &mac) != 0
        || mac_answer(lab.m, lab.tp, q, n, NULL, cap, read, len + n, &bm25) != 0)
        die("%s", tape_error(lab.tp));
    for (int i = 0; i < n; i++) {
        const Qa *x = &lab.test.qas[qa[i]];
        c[i] = (Case){.held = x->doc < bank->K, .mac = right(x, out + i * cap, len[i]),
                      .bm25 = right(x, read + i * cap, len[n + i]), .sure = (double)sure[i],
                      .likely = likelihood(&q[i], bank, out + i * cap, len[i])};
    }
}

static int by_order(const void *a, const void *b) {
    double x = ((const Case *)a)->by, y = ((const Case *)b)->by;
    return (x > y) - (x < y);
}

/* EM when the share of the questions that comes first in the order `by` goes to BM25. */
static void put_curve(Cell *cell, const char *name, Case *c, int n) {
    char key[40];
    qsort(c, (size_t)n, sizeof *c, by_order);
    for (int percent = 0; percent <= 100; percent += 20) {
        int em = 0;
        for (int i = 0; i < n; i++) em += i < n * percent / 100 ? c[i].bm25 : c[i].mac;
        snprintf(key, sizeof key, "%s.%d", name, percent);
        cell_put(cell, key, em / (double)n);
    }
}

static void put_auroc(Cell *cell, const char *name, const Case *c, int n) { /* of the order `by` */
    SureCase *s = need(malloc((size_t)n * sizeof *s));
    for (int i = 0; i < n; i++) s[i] = (SureCase){"", c[i].by, c[i].held, 0};
    cell_put(cell, name, score_auroc(s, n, 0));
    free(s);
}

int main(int argc, char **argv) {
    Cell cell;
    if (!lab_begin(&lab, &cell, argc, argv)) return 0;
    if (!lab.m->gate.R) die("%s has no gate", lab.name);
    int n = 0, *qa = need(malloc((size_t)lab.test.n_qas * sizeof *qa));
    for (int i = 0; i < lab.test.n_docs; i++)
        for (int k = 0; k < lab.test.docs[i].n_qas; k++) qa[n++] = lab.test.docs[i].qas[k];
    Case *c = need(malloc((size_t)n * sizeof *c));
    Bank *bank = lab_learn(&lab, &lab.test, 0, lab.test.n_docs / 2, 64);
    Bm25 *index = need(bm25_new(&lab.test));
    for (int i = 0; i < n; i += BATCH)
        ask(c + i, bank, index, qa + i, n - i < BATCH ? n - i : BATCH);
    cell_put(&cell, "questions", n);
    for (int i = 0; i < n; i++) c[i].by = c[i].held + 1e-7 * i; /* it knows what is not held */
    put_curve(&cell, "oracle", c, n);
    for (int i = 0; i < n; i++) c[i].by = c[i].likely;
    put_auroc(&cell, "auroc.likely", c, n);
    put_curve(&cell, "likely", c, n);
    for (int i = 0; i < n; i++) c[i].by = c[i].sure;
    put_auroc(&cell, "auroc.sure", c, n);
    put_curve(&cell, "sure", c, n);
    lab_keep(&cell);
    free(c), free(qa);
    bank_free(bank), bm25_free(index);
    lab_close(&lab);
    return 0;
}
