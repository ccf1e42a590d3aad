/* open.c - the LM with its attention open, for what reads other keys there or adds layers; how it
 * is taught, and how it answers. */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 64 /* questions at once */

/* ==== the LM ================================================================================= */
#define LM "base_lm.base_lm.transformer."
static Tensor *part_of(Model *m, const char *what, const char *kind) {
    char name[MAC_NAME];
    snprintf(name, sizeof name, LM "%s.%s", what, kind);
    return need(param_find(&m->ps, name));
}

static Tensor *through(Model *m, Tape *tp, Tensor *x, int layer, const char *what) {
    char name[60];
    snprintf(name, sizeof name, "h.%d.%s", layer, what);
    Tensor *w = part_of(m, name, "weight"), *b = part_of(m, name, "bias");
    return strncmp(what, "ln", 2) ? op_linear(tp, x, w, b, 1) : op_layernorm(tp, x, w, b);
}

Tensor *open_hidden(Model *m, Tape *tp, const Ids *x, int B, const OpenLm *how) {
    void *ctx = how->ctx ? how->ctx : (void *)(uintptr_t)x;
    int N = 0, d = m->c.d, S = m->c.S, *first = need(tape_alloc(tp, 2 * (size_t)B * sizeof(int)));
    for (int b = 0; b < B; b++) first[b] = N, first[B + b] = x[b].n, N += x[b].n;
    int *id = need(tape_alloc(tp, 2 * (size_t)N * sizeof *id)), *pos = id + N;
    for (int b = 0, at = 0; b < B; b++)
        for (int i = 0, doc = x[b].doc; i < x[b].n; i++, at++)
            id[at] = x[b].id[i], pos[at] = i < doc ? S - doc + i : m->c.P + i - doc;
    for (int i = 0; i < N; i++)
        if (pos[i] < 0 || pos[i] >= S) return tape_fail(tp, "there is no position %d", pos[i]);
    Tensor *h = op_rows(tp, part_of(m, "wte", "weight"), NULL, id, N);
    h = op_add(tp, h, op_rows(tp, part_of(m, "wpe", "weight"), NULL, pos, N), 1);
    for (int l = 0; l < m->c.L; l++) {
        Attention a = {.B = B, .H = m->c.H, .q0 = first, .qn = first + B, .k0 = first,
                       .kn = first + B, .scale = 1 / (real)sqrt((double)d / m->c.H), .causal = 1};
        Tensor *qkv = through(m, tp, through(m, tp, h, l, "ln_1"), l, "attn.c_attn"), *y;
        Tensor *k = op_cols(tp, qkv, d, d), *v = op_cols(tp, qkv, 2 * d, d);
        Tensor *q = op_cols(tp, qkv, 0, d);
        if (!q) return NULL;
        y = how->attend ? how->attend(ctx, l, q, k, v, &a) : op_attention(tp, q, k, v, &a);
        h = op_add(tp, h, through(m, tp, y, l, "attn.c_proj"), 1);
        y = through(m, tp, through(m, tp, h, l, "ln_2"), l, "mlp.c_fc");
        h = op_add(tp, h, through(m, tp, op_act(tp, y, ACT_GELU_TANH), l, "mlp.c_proj"), 1);
        if (how->after) h = op_add(tp, h, op_linear(tp, h, how->after[l], NULL, 1), 1);
    }
    return op_layernorm(tp, h, part_of(m, "ln_f", "weight"), part_of(m, "ln_f", "bias"));
}

Tensor *open_behind(Tape *tp, Tensor *q, Tensor *k, Tensor *v, const Attention *a, Tensor *K,
                    Tensor *W, const int *near, const int *n) {
    int all = 0, at = 0, *first = need(tape_alloc(tp, 2 * (size_t)a->B * sizeof *first));
    Attention b = *a;
    b.k0 = first, b.kn = first + a->B;
    for (int i = 0; i < a->B; i++) {
        first[i] = all, first[a->B + i] = n[i] + a->kn[i];
        all += n[i] + a->kn[i];
    }
    int *idx = need(tape_alloc(tp, (size_t)all * sizeof *idx));
    for (int i = 0; i < a->B; i++) {
        for (int j = 0; j < n[i]; j++) idx[at++] = *near++;
        for (int j = 0; j < a->kn[i]; j++) idx[at++] = K->shape[0] + a->k0[i] + j;
    }
    k = op_rows(tp, K, k, idx, all), v = op_rows(tp, W, v, idx, all);
    return op_attention(tp, q, k, v, &b);
}

Tensor *open_apart(Tape *tp, Tensor *q, Tensor *k, Tensor *v, const Attention *a, const Ids *x,
                   int ends) {
    int B = a->B, *part = need(tape_alloc(tp, 8 * (size_t)B * sizeof *part));
    Attention two = *a;
    two.B = 2 * B, two.q0 = part, two.qn = part + 2 * B;
    two.k0 = part + 4 * B, two.kn = part + 6 * B;
    for (int b = 0; b < B; b++) {
        int row = a->q0[b], doc = x[b].doc, after = x[b].n - doc;
        part[b] = part[4 * B + b] = row, part[2 * B + b] = part[6 * B + b] = doc;
        part[B + b] = row + doc, part[3 * B + b] = after;
        part[5 * B + b] = row + doc - ends, part[7 * B + b] = ends + after;
    }
    return op_attention(tp, q, k, v, &two);
}

Tensor *open_last(Lab *l, const Ids *x, int B, const OpenLm *how) {
    int *last = reader_room(&l->reader, B, sizeof *last);
    for (int b = 0, at = 0; b < B; b++) last[b] = (at += x[b].n) - 1;
    Tensor *h = open_hidden(l->m, l->tp, x, B, how);
    return lm_logits(l->m, l->tp, op_rows(l->tp, h, NULL, last, B));
}

Tensor *open_plain(Lab *l, void *ctx, const Ids *x, const int *qa, int B) {
    (void)qa;
    return open_last(l, x, B, ctx);
}

OpenGuess open_guess(Lab *l, const Ids *x, const int *from, int B, const OpenLm *how) {
    int N = 0, n = 0, *row;
    for (int b = 0; b < B; b++) N += x[b].n;
    OpenGuess g = {NULL, reader_room(&l->reader, N, sizeof(int)),
                   reader_room(&l->reader, N, sizeof(real))};
    row = reader_room(&l->reader, N, sizeof *row);
    for (int b = 0, at = 0; b < B; at += x[b++].n)
        for (int i = from[b]; i < x[b].n; i++, n++) {
            row[n] = at + i - 1, g.target[n] = x[b].id[i];
            g.weight[n] = 1 / (real)(B * (x[b].n - from[b]));
        }
    Tensor *h = open_hidden(l->m, l->tp, x, B, how);
    g.logits = lm_logits(l->m, l->tp, op_rows(l->tp, h, NULL, row, n));
    if (!g.logits) die("%s", tape_error(l->tp));
    return g;
}

/* log sum_v exp x_v - x_0 + sum_v ([v = 0] - p_v) x_v: the second part is a product with the row
 * of all logits. */
Tensor *open_shares(Tape *tp, Tensor *x, const Tensor *p, const real *w) {
    int R = x->shape[0], V = x->shape[1], *none = need(tape_alloc(tp, (size_t)R * sizeof *none));
    Tensor *flat = need(tape_alloc(tp, sizeof *flat)), *c = need(tape_tensor(tp, 1, R * V));
    *flat = (Tensor){2, {1, R * V, 1}, x->data, x->grad};
    for (int i = 0; i < R * V; i++) c->data[i] = w[i / V] * ((i % V == 0) - p->data[i]);
    return op_add(tp, op_cross_entropy(tp, x, none, w), op_linear(tp, flat, c, NULL, 0), 1);
}

/* ==== slots ================================================================================== */
void open_forget(OpenSlots *s, int n, int d) {
    Tensor *t[3] = {&s->k, &s->v, &s->unit};
    for (int i = 0; i < 3; i++) free(t[i]->data);
    free(s->c);
    *s = (OpenSlots){.most = n};
    for (int i = 0; i < 3 && n; i++)
        *t[i] = (Tensor){2, {0, d, 1}, need(malloc((size_t)n * (size_t)d * sizeof(real))), NULL};
    s->c = n ? need(malloc(2 * (size_t)n * sizeof *s->c)) : NULL;
    s->time = n ? s->c + n : NULL;
}

void open_unit(real *to, const real *k, int d) {
    double square = 1e-30;
    for (int i = 0; i < d; i++) square += (double)k[i] * (double)k[i];
    for (int i = 0; i < d; i++) to[i] = k[i] / (real)sqrt(square);
}

void open_write(OpenSlots *s, const real *k, const real *v, int best, double cosine,
                double limit) {
    int n = s->k.shape[0], d = s->k.shape[1], merge = cosine > limit;
    int to = merge ? best : n < s->most ? n : 0;
    for (int i = 1; i < n && !merge && n == s->most; i++)
        if (s->time[i] < s->time[to]) to = i;
    if (to == n) s->k.shape[0] = s->v.shape[0] = s->unit.shape[0] = n + 1;
    s->c[to] = merge ? s->c[to] + 1 : 1, s->time[to] = s->now++;
    for (int j = 0; j < 2; j++) {
        real *slot = (j ? s->v : s->k).data + to * d;
        const real *from = j ? v : k;
        for (int i = 0; i < d; i++)
            slot[i] = merge ? slot[i] + (from[i] - slot[i]) / (real)s->c[to] : from[i];
    }
    open_unit(s->unit.data + to * d, s->k.data + to * d, d);
}

/* ==== lessons ================================================================================ */
void open_step(Lab *l, Tensor *loss, Params *ps, Adam *adam) {
    if (tape_backward(l->tp, loss) != 0) die("%s", tape_error(l->tp));
    adam_step(ps, adam);
}

void open_teach(Lab *l, int steps, uint64_t seed, int kinds, OpenLesson lesson, const OpenLm *how) {
    Augment *aug = need(aug_new(&l->train));
    uint64_t rng = (uint64_t)l->seed + seed;
    Adam adam = adam_default(0);
    adam.muon = (real)0.95;
    param_freeze(&l->m->ps, "base_lm.", 0);
    for (int step = 0; step < steps; step++) {
        Ids x[OPEN_BATCH];
        int from[OPEN_BATCH];
        tape_reset(l->tp);
        for (int b = 0; b < OPEN_BATCH;) {
            AugDoc d;
            char made[256];
            int i = rng_below(&rng, l->train.n_docs), kind = rng_below(&rng, kinds);
            const char *name = aug_name(aug, 0.5, &rng, made, sizeof made);
            if (aug_draw(aug, i, name, 0.8, 0.8, 0.5, &rng, &d) != 0) die("out of memory");
            x[b] = d.n ? lesson(&d, i, kind, &rng, &from[b]) : (Ids){NULL, 0};
            b += x[b].n > 0;
            aug_drop(&d);
        }
        OpenGuess g = open_guess(l, x, from, OPEN_BATCH, how);
        Tensor *loss = op_cross_entropy(l->tp, g.logits, g.target, g.weight);
        adam.lr = lr_schedule(LR_COSINE, (real)2e-3, step, 50, steps);
        open_step(l, loss, &l->m->ps, &adam);
    }
    param_freeze(&l->m->ps, "base_lm.", 1);
    aug_free(aug);
}

/* ==== answers ================================================================================ */
int open_largest(const real *x, int n, int k, int *to) {
    int held = 0;
    for (int i = 0; i < n; i++) {
        if (held == k && (k == 0 || x[i] <= x[to[k - 1]])) continue;
        int at = held < k ? held++ : k - 1;
        for (; at > 0 && x[i] > x[to[at - 1]]; at--) to[at] = to[at - 1];
        to[at] = i;
    }
    return held;
}

static void greedy_batch(Lab *l, const Corpus *c, const int *qa, int B, OpenNext next, void *ctx,
                         Score *sum) {
    Ids x[BATCH];
    int from[BATCH], running = B, V = l->m->c.V, room = l->m->c.Q + l->m->c.A;
    int *id = need(malloc((size_t)(B * room) * sizeof *id)); /* the tape is reset for each token */
    char ended[BATCH] = {0};
    tape_reset(l->tp);
    for (int b = 0; b < B; b++) {
        x[b] = reader_question(&l->reader, c->qas[qa[b]].q);
        from[b] = x[b].n;
        x[b].id = memcpy(id + b * room, x[b].id, (size_t)x[b].n * sizeof *id);
    }
    for (int i = 0; i < l->m->c.A && running; i++) {
        tape_reset(l->tp);
        const Tensor *p = next(l, ctx, x, qa, B);
        if (!p) die("%s", tape_error(l->tp));
        for (int b = 0, best = 0; b < B; b++, best = 0) {
            const real *of = p->data + (size_t)b * (size_t)V;
            for (int v = 1; v < V; v++)
                if (of[v] > of[best]) best = v;
            if (best == V - 1 && !ended[b]) ended[b] = 1, running--;
            if (!ended[b]) id[b * room + x[b].n++] = best;
        }
    }
    for (int b = 0; b < B; b++) {
        size_t bytes;
        const int *answer = id + b * room + from[b];
        char *text = need(tok_decode(l->reader.tok, answer, x[b].n - from[b], &bytes));
        score_add(sum, &c->qas[qa[b]], text);
        free(text);
    }
    free(id);
}

double open_greedy(Lab *l, const Corpus *c, const int *qa, int n, OpenNext next, void *ctx,
                   Score *sum) {
    Score own = {0, 0, 0, 0}, *s = sum ? sum : &own;
    int was = tape_record(l->tp, 0);
    for (int at = 0; at < n; at += BATCH)
        greedy_batch(l, c, qa + at, n - at < BATCH ? n - at : BATCH, next, ctx, s);
    tape_record(l->tp, was);
    return s->n ? s->em / (double)s->n : 0;
}
