/* keys.c - the LM's own keys and values as a memory, for questions that read nothing else.
 *
 *   anllm     as in AnLLM (arXiv 2402.07616): of a document those at a few anchors behind it, as
 *             many as take no more bytes than MAC's vectors.  An anchor is id 0, the byte of no
 *             text.  Half of the lessons answer behind the anchors, half recite the document.
 *   camelot   as in CAMELoT (arXiv 2402.13449): each layer has slots, a key and a value each.  A
 *             token reads the TOP slots whose keys have the largest cosine with its own.  What the
 *             tokens of a window fetch stands before it.  Then each is written (open_write).
 *
 *   keys DIR CORPUS NAME SEED QUICK WHAT       one cell */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <time.h>

#define MOST_LAYERS 16
#define WINDOW 16 /* tokens, where documents are read as a stream */
#define TOP 16    /* of 1, 4, 16: answers most about 60 documents of people's valid */
#define ALIKE 0.9 /* of 0.9, 0.95, 0.98: the least loss of a token there */
#define NEVER 2   /* no cosine is above it */
#define BYTES (8.0 * lab.m->c.L * lab.m->c.d) /* of a slot in all layers */

static Lab lab;
static OpenSlots slots[MOST_LAYERS]; /* of each layer */

static void forget(int n) { /* all; from now on there are n slots */
    for (int l = 0; l < lab.m->c.L; l++) open_forget(&slots[l], n, lab.m->c.d);
}

/* ==== AnLLM ================================================================================== */
static int anchors, *first; /* document i's rows are first[i] to first[i + 1] - 1 */
static Bm25 *index;

static Ids anchored(const char *text) { /* with no anchors: as it is */
    const int *zeros = reader_room(&lab.reader, anchors, sizeof *zeros);
    Ids doc = reader_document(&lab.reader, text);
    Ids x = reader_joined(&lab.reader, doc, (Ids){zeros, anchors, 0});
    return (Ids){x.id, x.n, x.n};
}

static Ids lesson(const AugDoc *d, int doc, int recite, uint64_t *rng, int *from) {
    int k = rng_below(rng, d->n), asked;
    (void)doc;
    Ids x = anchored(d->text), after = lab_pair(&lab, d->q[k], d->a[k], &asked);
    if (recite) after = reader_document(&lab.reader, d->text), asked = 1;
    *from = x.n + asked;
    return reader_joined(&lab.reader, x, after);
}

static Tensor *apart(void *ctx, int layer, Tensor *q, Tensor *k, Tensor *v, Attention *a) {
    (void)layer;
    return open_apart(lab.tp, q, k, v, a, ctx, anchors);
}

static Tensor *keep(void *ctx, int layer, Tensor *q, Tensor *k, Tensor *v, Attention *a) {
    int d = lab.m->c.d, n = k->shape[0];
    for (int i = anchors ? n - anchors : 0; i < n; i++)
        open_write(&slots[layer], k->data + i * d, v->data + i * d, 0, 0, NEVER);
    first[*(int *)ctx + 1] = slots[layer].k.shape[0];
    return op_attention(lab.tp, q, k, v, a);
}

/* A question reads `bank` documents, its own among them; bank 0: the one that BM25 finds. */
typedef struct { int bank, *near, *n; } Reading;

static Tensor *read_kept(void *ctx, int layer, Tensor *q, Tensor *k, Tensor *v, Attention *a) {
    const Reading *r = ctx;
    return open_behind(lab.tp, q, k, v, a, &slots[layer].k, &slots[layer].v, r->near, r->n);
}

static Tensor *next(Lab *l, void *ctx, const Ids *x, const int *qa, int B) {
    Reading *r = ctx;
    int at = 0, room = (r->bank + 1) * (anchors ? anchors : lab.m->c.D);
    r->near = reader_room(&lab.reader, B * room, sizeof *r->near);
    r->n = reader_room(&lab.reader, B, sizeof *r->n);
    for (int b = 0; b < B; b++) {
        const Qa *asked = &lab.test.qas[qa[b]];
        int doc = r->bank ? asked->doc - asked->doc % r->bank : 0, end = doc + r->bank;
        if (!r->bank && bm25_top(index, asked->q, 1, &doc) > 0) end = doc + 1;
        end = first[end < lab.test.n_docs ? end : lab.test.n_docs];
        for (int row = first[doc]; row < end; row++, r->n[b]++) r->near[at++] = row;
    }
    return open_last(l, x, B, &(OpenLm){.attend = read_kept, .ctx = r});
}

static void ask_kept(Cell *c, const char *name, int n_anchors, int bank) {
    int n, *qa = lab_questions(&lab.test, 0, lab.test.n_docs, 0, &n);
    anchors = n_anchors;
    forget(lab.test.n_docs * (anchors ? anchors : lab.m->c.D));
    tape_record(lab.tp, 0);
    for (int i = 0; i < lab.test.n_docs; i++) {
        tape_reset(lab.tp);
        Ids x = anchored(lab.test.docs[i].text);
        need(open_hidden(lab.m, lab.tp, &x, 1, &(OpenLm){.attend = keep, .ctx = &i}));
    }
    clock_t began = clock();
    Reading r = {bank, NULL, NULL};
    cell_note(c, name, "em", open_greedy(&lab, &lab.test, qa, n, next, &r, NULL));
    cell_note(c, name, "ms", 1e3 * (double)(clock() - began) / CLOCKS_PER_SEC / n);
    cell_note(c, name, "bytes", (double)slots[0].k.shape[0] / lab.test.n_docs * BYTES);
    tape_record(lab.tp, 1);
    free(qa);
}

static void anllm(Cell *c, int n) {
    index = need(bm25_new(&lab.test));
    first = need(calloc((size_t)lab.test.n_docs + 1, sizeof *first));
    ask_kept(c, "all", 0, 1), ask_kept(c, "untaught", n, 1);
    clock_t began = clock();
    open_teach(&lab, lab.quick ? 20 : 3000, 91, 2, lesson, &(OpenLm){.attend = apart});
    cell_put(c, "seconds", (double)(clock() - began) / CLOCKS_PER_SEC);
    ask_kept(c, "one", n, 1), ask_kept(c, "four", n, 4), ask_kept(c, "sixteen", n, 16);
    ask_kept(c, "bm25", n, 0);
    free(first), bm25_free(index);
}

/* ==== CAMELoT ================================================================================ */
typedef struct { double limit; int top, writes; } Use;

static Tensor *fetch(void *ctx, int layer, Tensor *q, Tensor *k, Tensor *v, Attention *a) {
    const Use *use = ctx;
    OpenSlots *s = &slots[layer];
    int N = k->shape[0], d = lab.m->c.d, n = s->k.shape[0], top = n < use->top ? n : use->top;
    int *near = reader_room(&lab.reader, N * (top + 1), sizeof *near), *fetched = near + N * top;
    Tensor *own = need(tape_tensor(lab.tp, N, d)), *like = NULL;
    for (int i = 0; i < N; i++) open_unit(own->data + i * d, k->data + i * d, d);
    if (n) like = need(op_linear(lab.tp, own, &s->unit, NULL, 0)); /* [N,n] */
    for (int i = 0; i < N && n; i++) open_largest(like->data + i * n, n, top, near + i * top);
    for (int b = 0; b < a->B; b++) fetched[b] = a->qn[b] * top;
    Tensor *y = open_behind(lab.tp, q, k, v, a, &s->k, &s->v, near, fetched);
    for (int i = 0; use->writes && i < N; i++) {
        int best = top ? near[i * top] : 0;
        open_write(s, k->data + i * d, v->data + i * d, best,
                   top ? (double)like->data[i * n + best] : 0, use->limit);
    }
    return y;
}

/* Documents i to last-1, a window at a time; the mean loss of a token. */
static double read(int i, int last, int window, double limit, int top) {
    double sum = 0, all = 0;
    OpenLm how = {.attend = fetch, .ctx = &(Use){limit, top, 1}};
    for (; i < last; i++) {
        tape_reset(lab.tp);
        Ids x = reader_document(&lab.reader, lab.test.docs[i].text);
        for (int at = 0; at < x.n; at += window) { /* each token predicts the next */
            Ids part = {x.id + at, x.n - at < window ? x.n - at : window, x.n - at};
            Tensor *h = open_hidden(lab.m, lab.tp, &part, 1, &how);
            Tensor *logits = need(lm_logits(lab.m, lab.tp, h));
            int n = logits->shape[0] -= at + part.n == x.n;
            if (n == 0) continue;
            const Tensor *loss = need(op_cross_entropy(lab.tp, logits, x.id + at + 1, NULL));
            sum += n * (double)loss->data[0], all += n;
        }
    }
    return sum / all;
}

static void ask(int i, int last, Score *sum) { /* one question of each document */
    int n, *qa = lab_questions(&lab.test, i, last, 1, &n);
    OpenLm how = {.attend = fetch, .ctx = &(Use){0, TOP, 0}};
    open_greedy(&lab, &lab.test, qa, n, open_plain, &how, sum);
    free(qa);
}

static void camelot(Cell *c, int slots_a_doc) {
    int docs = lab.test.n_docs, D = lab.m->c.D, n = slots_a_doc * docs;
    Score s = {0, 0, 0, 0}, all = s, one = s;
    tape_record(lab.tp, 0);
    forget(n), read(0, docs, D, ALIKE, TOP), ask(0, docs, &s);
    cell_put(c, "bytes", BYTES * slots_a_doc);
    forget(D * docs), read(0, docs, D, NEVER, TOP), ask(0, docs, &all);
    cell_put(c, "all.bytes", BYTES * slots[0].k.shape[0] / docs);
    for (int i = 0; i < docs; i++)
        forget(D), read(i, i + 1, D, NEVER, TOP), ask(i, i + 1, &one);
    lab_put_score(c, "", &s), lab_put_score(c, "all.", &all), lab_put_score(c, "one.", &one);
    forget(n), cell_put(c, "loss.slots", read(0, docs, WINDOW, ALIKE, 1));
    forget(n), cell_put(c, "loss.oldest", read(0, docs, WINDOW, NEVER, 1));
    forget(1), cell_put(c, "loss.window", read(0, docs, WINDOW, NEVER, 0));
    forget(1), cell_put(c, "loss.whole", read(0, docs, D, NEVER, 0));
}

int main(int argc, char **argv) {
    Cell c;
    if (!lab_begin(&lab, &c, argc, argv)) return 0;
    int L = lab.m->c.L, n = lab.m->c.T / (2 * L); /* slots of a document: the bytes of MAC */
    if (L > MOST_LAYERS || n < 1) die("%s has too many layers", lab.name);
    cell_put(&c, "documents", lab.test.n_docs);
    if (!strcmp(argv[6], "anllm")) anllm(&c, n);
    else camelot(&c, n);
    lab_keep(&c);
    for (int l = 0; l < L; l++) open_forget(&slots[l], 0, 0);
    lab_close(&lab);
    return 0;
}
