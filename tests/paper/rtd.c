/* rtd.c - nearest states vote for the next token, as in Reference Trustable Decoding (arXiv
 * 2409.20181): every token of every document leaves the LM's state before it and itself.  While an
 * answer is made, the states nearest to the present one vote, and the vote is mixed with what the
 * LM thinks.
 *     r(v) = sum over the K nearest i of [v_i = v] e^(-|h - h_i|^2 / t) / Z,   p' = l r + (1 - l) p
 * The authors store examples of a task.  Here the documents are stored, as a memory.
 *
 *   rtd DIR CORPUS NAME SEED QUICK WHAT        one cell */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NEAREST 32

static Lab lab;

typedef struct { int n, *token; real *state, *square; } Store;   /* state [n,d], |state|^2 [n] */

static Store store_of(const Corpus *c) {
    int d = lab.m->c.d, most = c->n_docs * lab.m->c.D;
    Store s = {0, need(malloc((size_t)most * sizeof *s.token)),
               need(malloc((size_t)most * (size_t)d * sizeof(real))),
               need(calloc((size_t)most, sizeof(real)))};
    for (int k = 0; k < c->n_docs; k++) {
        tape_reset(lab.tp);
        tape_record(lab.tp, 0);
        Ids x = reader_document(&lab.reader, c->docs[k].text);
        x.doc = x.n;
        const Tensor *h = lm_hidden(lab.m, lab.tp, &x, 1, NULL, NULL);
        if (!h) die("%s", tape_error(lab.tp));
        for (int i = 0; i + 1 < x.n; i++, s.n++) {
            const real *row = h->data + (size_t)i * (size_t)d;
            memcpy(s.state + (size_t)s.n * (size_t)d, row, (size_t)d * sizeof *row);
            for (int j = 0; j < d; j++) s.square[s.n] += row[j] * row[j];
            s.token[s.n] = x.id[i + 1];
        }
    }
    return s;
}

/* p becomes l r + (1 - l) p for a state of which dot[i] is its product with the i-th one. */
static void vote(const Store *s, const real *h, const real *dot, double l, double t, real *p) {
    int near[NEAREST], n = 0, d = lab.m->c.d;
    double far[NEAREST], own = 0, sum = 0;
    for (int j = 0; j < d; j++) own += (double)h[j] * (double)h[j];
    for (int i = 0; i < s->n; i++) {
        double is = own + (double)s->square[i] - 2 * (double)dot[i];
        if (n == NEAREST && is >= far[n - 1]) continue;
        int at = n < NEAREST ? n++ : n - 1;
        for (; at > 0 && is < far[at - 1]; at--) far[at] = far[at - 1], near[at] = near[at - 1];
        far[at] = is, near[at] = i;
    }
    for (int i = 0; i < n; i++) sum += exp((far[0] - far[i]) / t);
    for (int v = 0; v < lab.m->c.V; v++) p[v] *= (real)(1 - l);
    for (int i = 0; i < n; i++)
        p[s->token[near[i]]] += (real)(l * exp((far[0] - far[i]) / t) / sum);
}

typedef struct { const Store *s; double l, t; } Voting;

static Tensor *next(Lab *l, void *ctx, const Ids *x, const int *qa, int B) {
    const Voting *v = ctx;
    int V = lab.m->c.V, d = lab.m->c.d, *last = reader_room(&lab.reader, B, sizeof *last);
    (void)l, (void)qa;
    for (int b = 0, at = 0; b < B; b++) last[b] = (at += x[b].n) - 1;
    Tensor keys = {2, {v->s->n, d, 1}, v->s->state, NULL};
    Tensor *h = op_rows(lab.tp, lm_hidden(lab.m, lab.tp, x, B, NULL, NULL), NULL, last, B);
    Tensor *p = op_softmax(lab.tp, lm_logits(lab.m, lab.tp, h));
    Tensor *dot = op_linear(lab.tp, h, &keys, NULL, 0);
    for (int b = 0; p && dot && b < B; b++)
        vote(v->s, h->data + (size_t)b * (size_t)d, dot->data + (size_t)b * (size_t)v->s->n, v->l,
             v->t, p->data + (size_t)b * (size_t)V);
    return dot ? p : NULL;
}

static void ask(const Store *s, const Corpus *c, int most, double l, double t, Score *sum) {
    int n, *qa = lab_questions(c, 0, c->n_docs, 0, &n);
    open_greedy(&lab, c, qa, n < most ? n : most, next, &(Voting){s, l, t}, sum);
    free(qa);
}

int main(int argc, char **argv) {
    static const double shares[] = {0.25, 0.5, 0.75, 1}, heats[] = {0.25, 1, 4};
    Cell c;
    if (!lab_begin(&lab, &c, argc, argv)) return 0;
    double best = -1, l = 0, t = 1;
    Score alone = {0, 0, 0, 0}, sum = {0, 0, 0, 0};
    Store s = store_of(&lab.valid); /* l and t are chosen on valid */
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 3; j++) {
            Score tried = {0, 0, 0, 0};
            ask(&s, &lab.valid, 200, shares[i], heats[j] * lab.m->c.d, &tried);
            if (tried.em > best) best = tried.em, l = shares[i], t = heats[j] * lab.m->c.d;
        }
    free(s.token), free(s.state), free(s.square);
    s = store_of(&lab.test);
    ask(&s, &lab.test, lab.test.n_qas, l, t, &sum);
    ask(&s, &lab.test, lab.test.n_qas, 0, t, &alone);
    lab_put_score(&c, "", &sum);
    lab_put_score(&c, "alone.", &alone);
    cell_put(&c, "share", l), cell_put(&c, "heat", t);
    cell_put(&c, "bytes", (double)s.n / lab.test.n_docs * (lab.m->c.d * 4.0 + 4));
    lab_keep(&c);
    free(s.token), free(s.state), free(s.square);
    lab_close(&lab);
    return 0;
}
