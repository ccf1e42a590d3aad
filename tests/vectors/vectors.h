/* vectors.h - cases of tests/vectors: inputs under their names, what our code makes of them, and
 * all gradients.  vectors.c draws cases and writes them, test_vectors.c reads them back.  What each
 * kind computes, and what its tensors are, stands in tests/vectors/README.md. */
#ifndef VECTORS_H
#define VECTORS_H
#include "data/program.h"
#include "mac.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_OUT 8
#define CASE_NAME (3 * MAC_NAME)
typedef struct {
    char kind[MAC_NAME / 4], name[MAC_NAME / 4];
    Params in;                        /* inputs; constants have no gradient                    */
    Params weight;                    /* d(loss)/d(output), under the outputs' names           */
    Model *m;                         /* of the kinds that have one                            */
    int n_out;
    char out_name[MOST_OUT][16];
    Tensor *out[MOST_OUT];            /* those without a gradient are numbers to compare       */
    Params made;                      /* outputs of the kinds of levels.h                      */
} Case;
typedef struct {
    const char *kind, *inputs, *constants;   /* names; some of them may be absent in a case */
    void (*run)(Tape *tp, Case *c);
    int bits;                         /* bits.safetensors has what the float build makes       */
} Kind;

static size_t numel(const Tensor *t) {
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= (size_t)t->shape[i];
    return n;
}

/* ==== what a case reads and makes ============================================================ */
static Tensor *in(Case *c, const char *name) { return param_find(&c->in, name); }

static double number(Case *c, const char *name) { /* 0 when it is not there */
    const Tensor *t = in(c, name);
    return t ? (double)t->data[0] : 0;
}

static int *ints(Tape *tp, Case *c, const char *name) { /* NULL when it is not there */
    const Tensor *t = in(c, name);
    int *x = t ? tape_alloc(tp, numel(t) * sizeof *x) : NULL;
    for (size_t i = 0; x && i < numel(t); i++) x[i] = (int)t->data[i];
    return x;
}

static int count(Case *c, const char *name) { return in(c, name) ? (int)numel(in(c, name)) : 0; }

/* Ragged sequences: tokens behind one another under `name`, lengths under `name`_n, and where there
 * are some, under `name`_doc how many first tokens are a document's. */
static Ids *sequences(Tape *tp, Case *c, const char *name, int *B) {
    char lengths[MAC_NAME], docs[MAC_NAME];
    snprintf(lengths, sizeof lengths, "%s_n", name);
    snprintf(docs, sizeof docs, "%s_doc", name);
    int *id = ints(tp, c, name), *n = ints(tp, c, lengths), *doc = ints(tp, c, docs);
    *B = count(c, lengths);
    Ids *x = tape_alloc(tp, (size_t)*B * sizeof *x);
    for (int b = 0; x && id && n && b < *B; id += n[b++]) x[b] = (Ids){id, n[b], doc ? doc[b] : 0};
    return x;
}

static void out(Case *c, const char *name, Tensor *t) {
    snprintf(c->out_name[c->n_out], sizeof c->out_name[0], "%s", name);
    c->out[c->n_out++] = t;
}

static void out_number(Tape *tp, Case *c, const char *name, real x) {
    Tensor *t = tape_tensor(tp, 1, 1);
    if (t) t->data[0] = x;
    out(c, name, t);
}

/* ==== ops ==================================================================================== */
static void run_linear(Tape *tp, Case *c) {
    out(c, "y", op_linear(tp, in(c, "x"), in(c, "W"), in(c, "b"), (int)number(c, "in_out")));
}

static void run_add(Tape *tp, Case *c) {
    out(c, "y", op_add(tp, in(c, "a"), in(c, "b"), (real)number(c, "scale")));
}

static void run_rows(Tape *tp, Case *c) {
    int *idx = ints(tp, c, "idx");
    out(c, "y", op_rows(tp, in(c, "a"), in(c, "b"), idx, count(c, "idx")));
}

static void run_cols(Tape *tp, Case *c) {
    out(c, "y", op_cols(tp, in(c, "x"), (int)number(c, "first"), (int)number(c, "n")));
}

static void run_layernorm(Tape *tp, Case *c) {
    out(c, "y", op_layernorm(tp, in(c, "x"), in(c, "g"), in(c, "b")));
}

static void run_rmsnorm(Tape *tp, Case *c) {
    out(c, "y", op_rmsnorm(tp, in(c, "x"), in(c, "g")));
}

static void run_act(Tape *tp, Case *c) {
    static const char *const names[] = {"relu", "tanh", "gelu_tanh", "gelu_erf"}; /* as in Act */
    int act = 0;
    while (strcmp(names[act], c->kind)) act++;
    out(c, "y", op_act(tp, in(c, "x"), (Act)act));
}

static void run_softmax(Tape *tp, Case *c) { out(c, "y", op_softmax(tp, in(c, "x"))); }

static void run_cross_entropy(Tape *tp, Case *c) {
    const Tensor *w = in(c, "w");
    out(c, "loss", op_cross_entropy(tp, in(c, "x"), ints(tp, c, "target"), w ? w->data : NULL));
}

static void run_neglog(Tape *tp, Case *c) { out(c, "loss", op_neglog(tp, in(c, "x"))); }

static void run_square_error(Tape *tp, Case *c) {
    out(c, "loss", op_square_error(tp, in(c, "x"), in(c, "y")));
}

static void run_attention(Tape *tp, Case *c) {
    Attention a = {.B = count(c, "q0"), .H = (int)number(c, "H"), .q0 = ints(tp, c, "q0"),
                   .qn = ints(tp, c, "qn"), .k0 = ints(tp, c, "k0"), .kn = ints(tp, c, "kn"),
                   .scale = (real)number(c, "scale"), .causal = (int)number(c, "causal"),
                   .bias = in(c, "bias"), .t0 = ints(tp, c, "t0"), .tn = ints(tp, c, "tn")};
    out(c, "y", op_attention(tp, in(c, "q"), in(c, "k"), in(c, "v"), &a));
    if (a.t0) out(c, "mass", a.mass);
}

/* ==== parts of the model ===================================================================== */
static void run_lm(Tape *tp, Case *c) {
    int B;
    Ids *x = sequences(tp, c, "ids", &B);
    Tensor *h = lm_hidden(c->m, tp, x, B, in(c, "prefix"), NULL);
    out(c, "hidden", h);
    out(c, "logits", lm_logits(c->m, tp, h));
}

static void run_lm_loss(Tape *tp, Case *c) {
    int B, *mask = ints(tp, c, "asked");
    Ids *x = sequences(tp, c, "ids", &B);
    char **asked = tape_alloc(tp, (size_t)B * sizeof *asked);
    for (int b = 0, at = 0; mask && b < B; at += x[b++].n) {
        asked[b] = tape_alloc(tp, (size_t)x[b].n);
        for (int i = 0; i < x[b].n; i++) asked[b][i] = (char)mask[at + i];
    }
    out(c, "loss", lm_loss(c->m, tp, x, mask ? (const char *const *)asked : NULL, B,
                           in(c, "prefix"), (int)number(c, "alike")));
}

static void run_enc(Tape *tp, Case *c) {
    int B;
    Ids *x = sequences(tp, c, "ids", &B);
    out(c, "y", enc_forward(c->m, tp, number(c, "question") > 0 ? c->m->qenc : c->m->enc, x, B));
}

static void run_encode(Tape *tp, Case *c) {
    int B;
    Ids *x = sequences(tp, c, "docs", &B);
    out(c, "phi", mac_encode(c->m, tp, x, B));
}

static void run_aggregate(Tape *tp, Case *c) {
    static const char *const names[MOST_OUT] = {"mass.0", "mass.1", "mass.2", "mass.3"};
    int B;
    Ids *q = sequences(tp, c, "q", &B);
    Tensor *mass[MOST_OUT] = {NULL};
    AggReads r = {.doc0 = ints(tp, c, "doc0"), .docs = ints(tp, c, "n_docs"),
                  .gold = ints(tp, c, "gold"), .mass = mass};
    out(c, "y", agg_forward(c->m, tp, q, B, in(c, "phi"), &r));
    for (int i = 0; i < c->m->c.agg_B; i++) out(c, names[i], mass[i]);
}

static void run_expand(Tape *tp, Case *c) {
    Tensor *phi = in(c, "phi");
    out(c, "prefix", prefix_expand(c->m, tp, phi, phi->shape[0] / c->m->c.T));
}

static void run_loss(Tape *tp, Case *c) {
    MacBatch b = {.n_grad = (int)number(c, "n_grad"), .doc = ints(tp, c, "doc"),
                  .bank_size = (int)number(c, "group"), .guidance = (real)number(c, "guidance"),
                  .distill = (real)number(c, "distill"), .alike = (int)number(c, "alike")};
    MacStats s = {0};
    b.docs = sequences(tp, c, "docs", &b.n_docs);
    b.q = sequences(tp, c, "q", &b.n_q);
    b.qa = sequences(tp, c, "qa", &b.n_q);
    out(c, "loss", mac_loss(c->m, tp, &b, &s));
    out_number(tp, c, "answer", s.answer);
    out_number(tp, c, "distance", s.distill);
    out_number(tp, c, "mass", s.mass);
}

/* ==== a step of the optimizer: no gradients, what moves is compared =========================== */
static void out_copy(Tape *tp, Case *c, const char *name, const real *x, const Tensor *like) {
    Tensor *t = tape_tensor(tp, (int)numel(like), 1);
    if (t) {
        memcpy(t->data, x, numel(like) * sizeof *x);
        t->ndim = like->ndim, t->grad = NULL;
        memcpy(t->shape, like->shape, sizeof t->shape);
    }
    out(c, name, t);
}

static void run_step(Tape *tp, Case *c) {
    const Tensor *w = in(c, "w"), *m = in(c, "mean"), *v = in(c, "square"), *g = in(c, "g");
    Params ps = {NULL, 0};
    if (!w || w->ndim < 2 || !m || !g || (v && numel(v) != numel(w))) return;
    Tensor *t = param_new(&ps, "w", w->ndim, w->shape[0], w->shape[1], w->shape[2]);
    if (!t) return;
    Param *p = ps.p[0];
    Adam o = adam_default((real)number(c, "lr"));
    o.muon = (real)number(c, "momentum"), o.decay = (real)number(c, "decay");
    o.clip = (real)number(c, "clip"), o.step = (int)number(c, "steps_before");
    p->matrix = 1;
    memcpy(t->data, w->data, numel(w) * sizeof(real));
    memcpy(t->grad, g->data, numel(w) * sizeof(real));
    memcpy(p->m, m->data, numel(w) * sizeof(real));
    if (v) memcpy(p->v, v->data, numel(w) * sizeof(real));
    out_number(tp, c, "norm", adam_step(&ps, &o));
    c->out[0]->grad = NULL;
    out_copy(tp, c, "w_next", t->data, w), out_copy(tp, c, "mean_next", p->m, w);
    if (v) out_copy(tp, c, "square_next", p->v, w);
    params_free(&ps);
}

/* ==== names under which files have numbers =================================================== */
typedef void (*Visit)(void *ctx, const char *name, const real *x, int ndim, const int *shape);

static void visit_as(const Case *c, const char *before, const char *name, const real *x, int ndim,
                     const int *shape, Visit visit, void *ctx) {
    char full[CASE_NAME];
    snprintf(full, sizeof full, "%s/%s/%s%s", c->kind, c->name, before, name);
    visit(ctx, full, x, ndim, shape);
}

/* Parameters, or their gradients, under their official names: each of a group by itself. */
static void visit_params(const Params *ps, int grads, const char *before, Visit visit, void *ctx) {
    for (int i = 0; i < ps->n; i++) {
        const Param *p = ps->p[i];
        const char *mark = strstr(p->name, "%d");
        int grouped = mark != NULL, G = grouped ? p->t.shape[0] : 1;
        size_t part = numel(&p->t) / (size_t)G;
        for (int g = 0; g < G; g++) {
            char name[CASE_NAME + 2 * MAC_NAME];
            if (mark) snprintf(name, sizeof name, "%s%.*s%d%s", before, (int)(mark - p->name),
                               p->name, g, mark + 2);
            else snprintf(name, sizeof name, "%s%s", before, p->name);
            visit(ctx, name, (grads ? p->t.grad : p->t.data) + (size_t)g * part,
                  p->t.ndim - grouped, p->t.shape + grouped);
        }
    }
}

#include "levels.h"

static const Kind kinds[] = {
    {"linear", "x W b", "in_out", run_linear},
    {"add", "a b", "scale", run_add},
    {"rows", "a b", "idx", run_rows},
    {"cols", "x", "first n", run_cols},
    {"layernorm", "x g b", "", run_layernorm},
    {"rmsnorm", "x g", "", run_rmsnorm},
    {"relu", "x", "", run_act},
    {"tanh", "x", "", run_act},
    {"gelu_tanh", "x", "", run_act},
    {"gelu_erf", "x", "", run_act},
    {"softmax", "x", "", run_softmax},
    {"cross_entropy", "x", "target w", run_cross_entropy},
    {"neglog", "x", "", run_neglog},
    {"square_error", "x", "y", run_square_error},
    {"attention", "q k v bias", "H scale causal q0 qn k0 kn t0 tn", run_attention},
    {"lm", "prefix", "ids ids_n ids_doc", run_lm},
    {"lm_loss", "prefix", "ids ids_n ids_doc asked alike", run_lm_loss},
    {"enc", "", "ids ids_n question pad", run_enc},
    {"encode", "", "docs docs_n pad", run_encode},
    {"aggregate", "phi", "q q_n doc0 n_docs gold", run_aggregate},
    {"expand", "phi", "", run_expand},
    {"loss", "",
     "docs docs_n q q_n qa qa_n doc group n_grad guidance distill alike pad", run_loss},
    {"muon", "", "w mean g lr momentum decay clip", run_step},
    {"adam", "", "w mean square g lr decay clip steps_before", run_step},
    {"rate", "", "lr warmup total cosine n", run_rate, 1},
    {"steps", "", "W b gW gb lr warmup total cosine momentum decay clip", run_steps, 1},
    {"random", "", "seed n below", run_random, 1},
    {"start", "", "sizes seed sharp", run_start, 1},
    {"batch", "", "titles texts q a doc state S docs questions group drop batch_lm", run_batch, 0},
    {"merges", "", "texts vocab", run_merges, 0},
    {"tokens", "", "merges text", run_tokens, 0},
    {"prompt", "", "merges text what most", run_prompt, 0},
    {"answer", "", "q q_n context context_n phi half alone most beams groups penalty "
     "select hierarchy sure", run_answer, 0},
    {"versions", "", "phi bank", run_versions, 0},
    {"gate", "", "strangers strangers_n docs docs_n q q_n doc", run_gate, 0},
    {"half", "", "x", run_half, 0},
    {"hash", "", "text", run_hash, 0},
    {"fingerprint", "", "", run_fingerprint, 0},
    {"bank", "", "T ids titles texts phi half model tokens forget", run_bank, 1},
    {"model_file", "", "sizes seed merges", run_model_file, 1},
    {"training", "",
     "ids ids_n ids_doc asked docs docs_n q q_n qa qa_n doc group n_grad guidance distill alike "
     "lr warmup total cosine momentum decay clip sharp", run_training, 1},
    {NULL, NULL, NULL, NULL, 0}};

static const Kind *kind_find(const char *name) {
    const Kind *k = kinds;
    while (k->kind && strcmp(k->kind, name)) k++;
    return k->kind ? k : NULL;
}

/* ==== running a case ========================================================================= */
static void case_forward(Tape *tp, Case *c) {
    tape_reset(tp);
    c->n_out = 0;
    for (int i = 0; c->m && i < c->m->ps.n; i++) {
        Tensor *t = &c->m->ps.p[i]->t;
        memset(t->grad, 0, numel(t) * sizeof(real));
    }
    if (c->m) c->m->c.pad = (int)number(c, "pad");
    kind_find(c->kind)->run(tp, c);
}

/* loss = sum over the outputs of <weight, output>, so that d(loss)/d(output) is the weight. */
static int case_backward(Tape *tp, Case *c) {
    Tensor *loss = NULL;
    for (int i = 0; i < c->n_out; i++) {
        const Tensor *y = c->out[i], *w = param_find(&c->weight, c->out_name[i]);
        if (!y || !y->grad) continue;
        Tensor *flat = tape_alloc(tp, sizeof *flat), *row = tape_alloc(tp, sizeof *row);
        if (!w || !flat || !row || numel(w) != numel(y)) return -1;
        *flat = (Tensor){2, {1, (int)numel(y), 1}, y->data, y->grad};
        *row = (Tensor){2, {1, (int)numel(y), 1}, w->data, NULL};
        Tensor *part = op_linear(tp, flat, row, NULL, 0);
        loss = loss ? op_add(tp, loss, part, 1) : part;
    }
    return loss ? tape_backward(tp, loss) : 0;
}

/* What the code under test makes of it: outputs, gradients of inputs and of parameters. */
static void case_visit_made(const Case *c, Visit visit, void *ctx) {
    for (int i = 0; i < c->n_out; i++) {
        const Tensor *y = c->out[i];
        visit_as(c, "", c->out_name[i], y->data, y->ndim, y->shape, visit, ctx);
    }
    for (int i = 0; i < c->in.n; i++) {
        const Param *p = c->in.p[i];
        if (p->t.grad)
            visit_as(c, "d", p->name, p->t.grad, p->t.ndim, p->t.shape, visit, ctx);
    }
    char before[CASE_NAME];
    snprintf(before, sizeof before, "%s/%s/d.", c->kind, c->name);
    if (c->m && c->n_out) visit_params(&c->m->ps, 1, before, visit, ctx);
    for (int i = 0; i < c->made.n; i++) {
        const Param *p = c->made.p[i];
        visit_as(c, "", p->name, p->t.data, p->t.ndim, p->t.shape, visit, ctx);
    }
}

static void case_free(Case *c) {
    params_free(&c->in);
    params_free(&c->weight);
    params_free(&c->made);
}
#endif
