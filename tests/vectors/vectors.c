/* vectors.c - writes tests/vectors: cases drawn from fixed seeds, what the code makes of them, all
 * gradients; those of levels 4 to 9 are in cases.h.  Built with numbers of 64 bits; all that goes
 * in is exact in 32 bits, and what comes out is rounded to 32 bits once, so that an implementation
 * in either width can be held against it.
 *   vectors DIR         F32, what the project keeps (make vectors)
 *   vectors DIR F64     unrounded (make vectors REAL=double) */
#include "vectors.h"

#ifndef MAC_DOUBLE
#error "vectors are made with numbers of 64 bits: make vectors"
#endif

static Tape *tp;
static const char *dir;
static int wide;                 /* F64 */
static StWriter *writer;
static void **kept;              /* what the writer borrows until it writes */
static int n_kept;

/* ==== files ================================================================================== */
static void *keep(size_t bytes) {
    kept = need(realloc(kept, (size_t)(n_kept + 1) * sizeof *kept));
    return kept[n_kept++] = need(malloc(bytes + 1));
}

static void add_tensor(void *ctx, const char *name, const real *x, int ndim, const int *shape) {
    size_t n = 1;
    (void)ctx;
    for (int i = 0; i < ndim; i++) n *= (size_t)shape[i];
    if (wide) {
        st_add(writer, name, memcpy(keep(n * sizeof *x), x, n * sizeof *x), ndim, shape);
        return;
    }
    unsigned char *bytes = keep(4 * n);
    for (size_t i = 0; i < n; i++) {
        float f = (float)x[i];
        uint32_t u;
        memcpy(&u, &f, sizeof u);
        for (int k = 0; k < 4; k++) bytes[4 * i + (size_t)k] = (unsigned char)(u >> (8 * k));
    }
    st_add_as(writer, name, "F32", bytes, ndim, shape);
}

static void file_begin(const char *format) {
    writer = need(st_new());
    st_add_meta(writer, "format", format);
}

static void file_end(const char *name) {
    char path[MAC_ERR], err[MAC_ERR];
    snprintf(path, sizeof path, "%s/%s.safetensors", dir, name);
    if (st_write(writer, path, err) != 0) die("%s", err);
    while (n_kept) free(kept[--n_kept]);
}

/* ==== cases ================================================================================== */
static real drawn(uint64_t *r, double scale) { return (real)(float)(scale * rng_normal(r)); }

static Case begin(const char *kind, const char *name, Model *m) {
    Case c = {.m = m};
    snprintf(c.kind, sizeof c.kind, "%s", kind);
    snprintf(c.name, sizeof c.name, "%s", name);
    return c;
}

/* An input of random numbers; sizes that are 0 end the shape. */
static Tensor *draw(Case *c, const char *name, int a, int b, int g) {
    Tensor *t = need(g ? param_new(&c->in, name, 3, a, b, g)
                       : b ? param_new(&c->in, name, 2, a, b) : param_new(&c->in, name, 1, a));
    uint64_t r = fnv1a(fnv1a(fnv1a(MAC_FNV, c->kind, strlen(c->kind)), c->name, strlen(c->name)),
                       name, strlen(name));
    for (size_t i = 0; i < numel(t); i++) t->data[i] = drawn(&r, 1);
    return t;
}

static Tensor *constants(Case *c, const char *name, int n, const int *x) {
    Tensor *t = need(param_new(&c->in, name, 1, n));
    for (int i = 0; i < n; i++) t->data[i] = x[i];
    param_freeze(&c->in, name, 1);
    return t;
}

static void constant(Case *c, const char *name, double x) {
    constants(c, name, 1, (int[]){0})->data[0] = (real)(float)x;
}

static void sequence(Case *c, const char *name, int B, const Ids *x) {
    int id[256], n[32], at = 0;
    char lengths[MAC_NAME];
    for (int b = 0; b < B; at += n[b++]) {
        n[b] = x[b].n;
        memcpy(id + at, x[b].id, (size_t)n[b] * sizeof *id);
    }
    snprintf(lengths, sizeof lengths, "%s_n", name);
    constants(c, name, at, id);
    constants(c, lengths, B, n);
}

/* Weights between 1/2 and 1 in size, of either sign: under a plain sum wrong gradients can hide. */
static void draw_weights(Case *c) {
    for (int i = 0; i < c->n_out; i++) {
        Tensor *y = c->out[i];
        if (!y) die("%s", tape_error(tp));
        if (!y->grad) continue;
        Tensor *w = need(y->ndim == 1 ? param_new(&c->weight, c->out_name[i], 1, y->shape[0])
                                      : param_new(&c->weight, c->out_name[i], 2, y->shape[0],
                                                  y->shape[1]));
        uint64_t r = 99 + (uint64_t)i;
        for (size_t j = 0; j < numel(w); j++) {
            real u = (real)(float)rng_uniform(&r);
            w->data[j] = u < (real)0.5 ? -1 + u : u;
        }
    }
}

/* What a case is made of: its inputs and weights. */
static void add_given(const Case *c) {
    for (int i = 0; i < c->in.n; i++) {
        const Param *p = c->in.p[i];
        visit_as(c, "", p->name, p->t.data, p->t.ndim, p->t.shape, add_tensor, NULL);
    }
    for (int i = 0; i < c->weight.n; i++) {
        const Param *p = c->weight.p[i];
        visit_as(c, "d", p->name, p->t.data, p->t.ndim, p->t.shape, add_tensor, NULL);
    }
}

/* Parameters that a case does not touch are left out: their gradient is 0. */
static void add_made(void *ctx, const char *name, const real *x, int ndim, const int *shape) {
    size_t n = 1, zero = 0;
    for (int i = 0; i < ndim; i++) n *= (size_t)shape[i];
    while (zero < n && x[zero] == 0) zero++;
    if (zero < n || !strstr(name, "/d.")) add_tensor(ctx, name, x, ndim, shape);
}

static void end(Case *c) {
    case_forward(tp, c);
    draw_weights(c);
    if (case_backward(tp, c) != 0) die("%s", tape_error(tp));
    add_given(c);
    case_visit_made(c, add_made, NULL);
    case_free(c);
}

/* ==== ops ==================================================================================== */
static void linear(const char *name, int G, int R, int I, int O, int in_out, int bias) {
    Case c = begin("linear", name, NULL);
    draw(&c, "x", (G ? G : 1) * R, I, 0);
    if (G) draw(&c, "W", G, in_out ? I : O, in_out ? O : I);
    else draw(&c, "W", in_out ? I : O, in_out ? O : I, 0);
    if (bias) draw(&c, "b", G ? G : O, G ? O : 0, 0);
    constant(&c, "in_out", in_out);
    end(&c);
}

static void add(const char *name, double scale) {
    Case c = begin("add", name, NULL);
    draw(&c, "a", 3, 5, 0), draw(&c, "b", 3, 5, 0);
    constant(&c, "scale", scale);
    end(&c);
}

static void rows(const char *name, int two) { /* row 2 comes twice, row 3 never */
    static const int idx[] = {2, 0, 1, 2, 4, 6, 5, 4};
    Case c = begin("rows", name, NULL);
    draw(&c, "a", 5, 3, 0);
    if (two) draw(&c, "b", 2, 3, 0);
    constants(&c, "idx", two ? 8 : 5, idx);
    end(&c);
}

static void norm(const char *kind, const char *name, int R, int d, int G) {
    Case c = begin(kind, name, NULL);
    draw(&c, "x", R, d, 0);
    draw(&c, "g", G ? G : d, G ? d : 0, 0);
    if (!strcmp(kind, "layernorm")) draw(&c, "b", G ? G : d, G ? d : 0, 0);
    end(&c);
}

static void norm_of_small(void) { /* whose mean square is near the epsilon */
    Case c = begin("rmsnorm", "small", NULL);
    Tensor *x = draw(&c, "x", 3, 5, 0);
    for (size_t i = 0; i < numel(x); i++) x->data[i] = (real)(float)(x->data[i] / 128);
    draw(&c, "g", 5, 0, 0), end(&c);
}

static void elementwise(const char *kind, const char *name, int R, int N, double scale,
                        double shift) {
    Case c = begin(kind, name, NULL);
    Tensor *x = draw(&c, "x", R, N, 0);
    for (size_t i = 0; i < numel(x); i++) {
        real at = (real)(float)(scale * x->data[i] + shift);
        x->data[i] = strcmp(kind, "neglog") ? at : (real)(float)exact_exp(at); /* needs x > 0 */
    }
    end(&c);
}

static void cross_entropy(const char *name, int weighted) {
    static const int target[] = {3, 0, 6, 3};
    static const double w[] = {0.5, 0.25, 0, 1.5};
    Case c = begin("cross_entropy", name, NULL);
    draw(&c, "x", 4, 7, 0);
    constants(&c, "target", 4, target);
    if (weighted) {
        Tensor *t = draw(&c, "w", 4, 0, 0);
        for (int i = 0; i < 4; i++) t->data[i] = w[i];
        param_freeze(&c.in, "w", 1);
    }
    end(&c);
}

typedef struct {
    const char *name;
    int B, H, dh, Nq, Nk, causal, bias, mass, q0[3], qn[3], k0[3], kn[3], t0[3], tn[3];
} Attend;
static const Attend attends[] = {
    {"plain", 1, 2, 3, 4, 4, 0, 0, 0, {0}, {4}, {0}, {4}, {0}, {0}},
    {"one_head_one_token", 1, 1, 2, 1, 1, 0, 0, 0, {0}, {1}, {0}, {1}, {0}, {0}},
    {"unequal", 3, 2, 3, 7, 12, 0, 0, 0, {0, 1, 5}, {1, 4, 2}, {0, 6, 7}, {6, 1, 5}, {0}, {0}},
    {"causal", 2, 2, 3, 6, 6, 1, 0, 0, {0, 1}, {1, 5}, {0, 1}, {1, 5}, {0}, {0}},
    {"causal_behind_keys", 2, 2, 3, 5, 11, 1, 0, 0, {0, 3}, {3, 2}, {0, 6}, {6, 5}, {0}, {0}},
    {"bias", 2, 2, 3, 7, 7, 0, 1, 0, {0, 3}, {3, 4}, {0, 3}, {3, 4}, {0}, {0}},
    {"bias_causal", 2, 2, 3, 7, 7, 1, 1, 0, {0, 3}, {3, 4}, {0, 3}, {3, 4}, {0}, {0}},
    {"bias_causal_behind_keys", 2, 2, 3, 5, 11, 1, 1, 0, {0, 3}, {3, 2}, {0, 6}, {6, 5}, {0}, {0}},
    {"bias_more_queries", 2, 2, 3, 7, 5, 0, 1, 0, {0, 4}, {4, 3}, {0, 2}, {2, 3}, {0}, {0}},
    {"bias_far", 1, 2, 1, 140, 140, 0, 1, 0, {0}, {140}, {0}, {140}, {0}, {0}},
    {"bias_causal_far", 1, 2, 1, 140, 140, 1, 1, 0, {0}, {140}, {0}, {140}, {0}, {0}},
    {"mass", 2, 2, 3, 5, 9, 0, 0, 1, {0, 2}, {2, 3}, {0, 4}, {4, 5}, {1, 6}, {2, 3}},
    {"overlapping_mass", 3, 2, 3, 6, 8, 0, 0, 1, {0, 2, 4}, {2, 2, 2}, {0, 2, 0}, {6, 6, 8},
     {2, 2, 5}, {2, 3, 3}}};

static void attention(const Attend *a) {
    Case c = begin("attention", a->name, NULL);
    draw(&c, "q", a->Nq, a->H * a->dh, 0);
    draw(&c, "k", a->Nk, a->H * a->dh, 0), draw(&c, "v", a->Nk, a->H * a->dh, 0);
    if (a->bias) draw(&c, "bias", 32, a->H, 0);
    constant(&c, "H", a->H), constant(&c, "causal", a->causal), constant(&c, "scale", 0.625);
    constants(&c, "q0", a->B, a->q0), constants(&c, "qn", a->B, a->qn);
    constants(&c, "k0", a->B, a->k0), constants(&c, "kn", a->B, a->kn);
    if (a->mass) constants(&c, "t0", a->B, a->t0), constants(&c, "tn", a->B, a->tn);
    end(&c);
}

/* One step: w, momentum and gradient of a matrix, or Adam's moments.  `size` is that of gradients
 * and means. */
static void step(const char *kind, const char *name, int R, int C, int more, double size,
                 double decay, double clip) {
    Case c = begin(kind, name, NULL);
    int adam = kind[0] == 'a';
    draw(&c, "w", R, C, more), draw(&c, "mean", R, C, more), draw(&c, "g", R, C, more);
    if (adam) draw(&c, "square", R, C, 0);
    for (int i = 1; i < c.in.n; i++) {
        Tensor *t = &c.in.p[i]->t;
        for (size_t k = 0; k < numel(t); k++) {
            double x = size * t->data[k];
            t->data[k] = (real)(float)(i < 3 ? x : x * x); /* the third: mean squares */
        }
    }
    param_freeze(&c.in, "", 1);
    constant(&c, "lr", 0.0625), constant(&c, "decay", decay), constant(&c, "clip", clip);
    constant(&c, adam ? "steps_before" : "momentum", adam ? 6 : 0.9375);
    end(&c);
}

static void ops(void) {
    file_begin("mac-vectors");
    linear("out_in", 0, 3, 5, 4, 0, 1), linear("in_out", 0, 3, 5, 4, 1, 1);
    linear("no_bias", 0, 3, 5, 4, 0, 0), linear("one", 0, 1, 1, 1, 0, 1);
    linear("grouped", 3, 2, 5, 4, 0, 1), linear("grouped_in_out", 3, 2, 5, 4, 1, 1);
    add("plain", 1), add("scaled", -0.375);
    rows("one_source", 0), rows("two_sources", 1);
    Case c = begin("cols", "middle", NULL);
    draw(&c, "x", 3, 7, 0), constant(&c, "first", 2), constant(&c, "n", 4);
    end(&c);
    norm("layernorm", "plain", 5, 7, 0), norm("layernorm", "grouped", 6, 5, 3);
    norm("rmsnorm", "plain", 5, 7, 0), norm("rmsnorm", "one_row", 1, 3, 0), norm_of_small();
    static const char *const acts[] = {"relu", "tanh", "gelu_tanh", "gelu_erf"};
    for (int i = 0; i < 4; i++)
        elementwise(acts[i], "plain", 3, 9, 1, 0), elementwise(acts[i], "wide", 3, 9, 4, 0);
    elementwise("softmax", "plain", 4, 5, 1, 0), elementwise("softmax", "large", 4, 5, 3, 500);
    elementwise("softmax", "one_column", 3, 1, 1, 0);
    cross_entropy("mean", 0), cross_entropy("weighted", 1);
    elementwise("neglog", "plain", 3, 4, 1, 0);
    c = begin("square_error", "plain", NULL);
    draw(&c, "x", 3, 5, 0), draw(&c, "y", 3, 5, 0), param_freeze(&c.in, "y", 1), end(&c);
    for (size_t i = 0; i < sizeof attends / sizeof *attends; i++) attention(&attends[i]);
    step("muon", "wide", 3, 7, 0, 1, 0, 0), step("muon", "tall", 6, 4, 0, 1, 0.125, 1);
    step("muon", "grouped", 2, 4, 3, 1, 0.125, 1); /* two of [4,3] */
    step("muon", "nothing", 2, 3, 0, 0, 0.125, 1); /* no mean, no gradient: it decays */
    step("muon", "small", 3, 4, 0, 0x1p-20, 0, 0);
    step("adam", "plain", 3, 5, 0, 1, 0, 0), step("adam", "decayed_clipped", 2, 4, 0, 1, 0.125, 1);
    step("adam", "small_clipped", 2, 4, 0, 0x1p-15, 0.125, 0x1p-17);
    file_end("ops");
}

/* ==== parts of the model ===================================================================== */
/* Documents, questions, and questions with answer and EOS. */
#define DOCS 6
typedef struct {
    int tok[3][DOCS][32];
    Ids docs[DOCS], q[DOCS], qa[DOCS];
} Texts;
static const int doc_n[] = {5, 1, 13, 2, 7, 4}, q_n[] = {3, 1, 4, 2, 1, 3},
                 a_n[] = {1, 2, 1, 3, 1, 2};

/* Of the loss: documents of the four questions, and where the answers of the first three stand in
 * them: the whole document, far inside and once more later, before its last token.  The fourth
 * stands nowhere. */
static const int doc_of[] = {1, 2, 3, 1}, answer_at[] = {0, 7, 0};

static void texts(Texts *t, const MacConfig *c, uint64_t r) {
    for (int i = 0; i < DOCS; i++)
        for (int k = 0; k < 3; k++)
            for (int j = 0; j < 32; j++) t->tok[k][i][j] = 1 + rng_below(&r, c->V - 2);
    memcpy(t->tok[0][2] + 10, t->tok[0][2] + answer_at[1], (size_t)a_n[1] * sizeof(int));
    for (int i = 0; i < DOCS; i++) {
        memcpy(t->tok[2][i], t->tok[1][i], (size_t)q_n[i] * sizeof(int));
        if (i < 3)
            memcpy(t->tok[2][i] + q_n[i], t->tok[0][doc_of[i]] + answer_at[i],
                   (size_t)a_n[i] * sizeof(int));
        t->tok[2][i][q_n[i] + a_n[i]] = c->V - 1;
        t->docs[i] = (Ids){t->tok[0][i], doc_n[i]};
        t->q[i] = (Ids){t->tok[1][i], q_n[i]};
        t->qa[i] = (Ids){t->tok[2][i], q_n[i] + a_n[i] + 1};
    }
}

static void lm(Model *m, const Texts *t) {
    const MacConfig *c = &m->c;
    static const int doc[] = {3, 0, 4}; /* documents instead of two questions */
    int asked[256], at = 0, rows = 3 * c->P * 2 * c->L;
    for (int b = 0; b < 3; b++)
        for (int i = 0; i < t->qa[b].n; i++) asked[at++] = i >= t->q[b].n;
    Case x = begin("lm", "alone", m);
    sequence(&x, "ids", 3, t->qa), end(&x);
    x = begin("lm", "behind_prefix", m);
    draw(&x, "prefix", rows, c->d, 0), sequence(&x, "ids", 3, t->qa), end(&x);
    x = begin("lm", "documents", m);
    sequence(&x, "ids", 3, t->qa), constants(&x, "ids_doc", 3, doc), end(&x);
    x = begin("lm_loss", "all_tokens", m);
    sequence(&x, "ids", 3, t->qa), end(&x);
    x = begin("lm_loss", "answers", m);
    draw(&x, "prefix", rows, c->d, 0), sequence(&x, "ids", 3, t->qa);
    constants(&x, "asked", at, asked), end(&x);
    x = begin("lm_loss", "first_asked", m); /* what stands first is never predicted */
    for (int b = 0, first = 0; b < 3; first += t->qa[b++].n) asked[first] = 1;
    sequence(&x, "ids", 3, t->qa), constants(&x, "asked", at, asked), end(&x);
    x = begin("lm_loss", "one_token_alike", m); /* the second has nothing to predict */
    sequence(&x, "ids", 2, t->docs), constant(&x, "alike", 1), end(&x);
    x = begin("lm_loss", "answers_alike", m);
    draw(&x, "prefix", rows, c->d, 0), sequence(&x, "ids", 3, t->qa);
    constants(&x, "asked", at, asked), constant(&x, "alike", 1);
    constants(&x, "ids_doc", 3, doc), end(&x);
}

static void encoders(Model *m, const Texts *t) {
    Case x = begin("enc", "documents", m);
    sequence(&x, "ids", 4, t->docs), end(&x);
    x = begin("enc", "questions", m);
    sequence(&x, "ids", 4, t->q), constant(&x, "question", 1), end(&x);
    x = begin("encode", "documents", m);
    sequence(&x, "docs", 4, t->docs), end(&x);
    x = begin("encode", "one_token", m);
    sequence(&x, "docs", 1, t->docs + 1), end(&x);
    x = begin("enc", "official_padding", m); /* one of the documents is longer */
    sequence(&x, "ids", 4, t->docs), constant(&x, "pad", 9), end(&x);
    x = begin("encode", "official_padding", m);
    sequence(&x, "docs", 4, t->docs), constant(&x, "pad", 16), end(&x);
}

static void aggregator(Model *m, const Texts *t) {
    static const int doc0[] = {0, 2, 0}, docs[] = {1, 2, 4}, gold[] = {0, 3, 2}, one[] = {0, 1};
    int T = m->c.T, d = m->c.d;
    Case x = begin("aggregate", "overlapping_banks", m);
    sequence(&x, "q", 3, t->q), draw(&x, "phi", 4 * T, d, 0);
    constants(&x, "doc0", 3, doc0), constants(&x, "n_docs", 3, docs);
    constants(&x, "gold", 3, gold), end(&x);
    x = begin("aggregate", "one_document", m);
    sequence(&x, "q", 1, t->q), draw(&x, "phi", T, d, 0);
    constants(&x, "doc0", 1, one), constants(&x, "n_docs", 1, one + 1);
    constants(&x, "gold", 1, one), end(&x);
    x = begin("expand", "two_questions", m);
    draw(&x, "phi", 2 * T, d, 0), end(&x);
}

static void loss(Model *m, const Texts *t, const char *name, int group, int n_grad,
                 double guidance, double distill, int pad) {
    Case x = begin("loss", name, m);
    sequence(&x, "docs", 4, t->docs), sequence(&x, "q", 4, t->q), sequence(&x, "qa", 4, t->qa);
    constants(&x, "doc", 4, doc_of), constant(&x, "group", group), constant(&x, "n_grad", n_grad);
    constant(&x, "guidance", guidance);
    if (distill > 0) constant(&x, "distill", distill);
    if (distill > 0 && guidance > 0) constant(&x, "alike", 1);
    if (pad) constant(&x, "pad", pad);
    end(&x);
}

/* tiny: the plain case.  odd: heads of one, T that does not divide n = P*2L, e != d, and an encoder
 * head width that does not divide anything. */
static const MacConfig tiny = {.V = 23, .S = 24, .d = 8, .L = 2, .H = 2, .e = 8, .enc_L = 1,
                               .enc_H = 2, .enc_dh = 4, .enc_ff = 10, .T = 4, .P = 2, .agg_B = 2,
                               .agg_H = 2, .agg_dh = 4, .pre_ff = 7, .D = 13, .Q = 4, .A = 4};
static const MacConfig odd = {.V = 19, .S = 25, .d = 9, .L = 2, .H = 1, .e = 11, .enc_L = 2,
                              .enc_H = 1, .enc_dh = 5, .enc_ff = 13, .T = 3, .P = 2, .agg_B = 3,
                              .agg_H = 1, .agg_dh = 7, .pre_ff = 4, .D = 13, .Q = 4, .A = 4};
/* deep: three LM layers, documents of so many vectors that the decoder's buckets are no longer one
 * for each distance, and most of these vectors without a place in the prefix. */
static const MacConfig deep = {.V = 13, .S = 22, .d = 4, .L = 3, .H = 1, .e = 3, .enc_L = 1,
                               .enc_H = 1, .enc_dh = 2, .enc_ff = 3, .T = 18, .P = 1, .agg_B = 1,
                               .agg_H = 1, .agg_dh = 3, .pre_ff = 2, .D = 13, .Q = 4, .A = 4};

/* Its weights are rounded to 32 bits; `noise` is added, so that gains and biases, too, tell
 * themselves apart. */
static Model *random_model(const MacConfig *config, uint64_t seed, double sharp, double noise) {
    Model *m = need(model_new(config, seed));
    if (sharp > 0) model_share_start(m, (real)sharp);
    for (int i = 0; i < m->ps.n; i++) {
        Tensor *t = &m->ps.p[i]->t;
        for (size_t j = 0; j < numel(t); j++)
            t->data[j] = (real)(float)(t->data[j] + (noise > 0 ? drawn(&seed, noise) : 0));
    }
    return m;
}

static void write_model(const char *name, Model *m) {
    char path[MAC_NAME], number_text[32];
    const Gate *g = &m->gate;
    file_begin("mac-model-2");
    for (const MacField *f = mac_fields; f->name; f++) {
        int x;
        memcpy(&x, (const char *)&m->c + f->offset, sizeof x);
        snprintf(number_text, sizeof number_text, "%d", x);
        if (x) st_add_meta(writer, f->name, number_text);
    }
    if (g->R) {
        add_tensor(NULL, "gate.strangers", g->strangers, 3, (int[]){g->R, m->c.T, m->c.d});
        add_tensor(NULL, "gate.vectors", g->t, 1, (int[]){g->F});
        add_tensor(NULL, "gate.fit", g->fit, 1, (int[]){GATE_FIT});
    }
    visit_params(&m->ps, 0, "", add_tensor, NULL);
    snprintf(path, sizeof path, "%s_model", name);
    file_end(path);
}

/* A file of cases for a model, which has a file of its own. */
static void model_file_begin(const char *name, Model *m) {
    char model[MAC_NAME];
    write_model(name, m);
    file_begin("mac-vectors");
    snprintf(model, sizeof model, "%s_model.safetensors", name);
    st_add_meta(writer, "model", model);
}

static void deep_vectors(uint64_t seed) {
    Model *m = random_model(&deep, seed, 0, 0.1);
    Texts t;
    texts(&t, &deep, seed);
    model_file_begin("deep", m);
    Case x = begin("enc", "many_vectors", m);
    sequence(&x, "ids", 1, t.docs + 1), end(&x);
    loss(m, &t, "distilled", 4, 2, 0, 0.5, 0);
    file_end("deep");
    model_free(m);
}

static void model_vectors(const char *name, const MacConfig *config, uint64_t seed) {
    Model *m = random_model(config, seed, 0, 0.1);
    Texts t;
    texts(&t, config, seed);
    model_file_begin(name, m);
    lm(m, &t), encoders(m, &t), aggregator(m, &t);
    loss(m, &t, "one_document", 1, 4, 0, 0, 0), loss(m, &t, "paper", 4, 4, 0, 0, 0);
    loss(m, &t, "guided", 2, 4, 0.125, 0, 0), loss(m, &t, "dropped", 2, 2, 0.125, 0, 0);
    loss(m, &t, "distilled", 4, 2, 0, 0.5, 0), loss(m, &t, "ours", 1, 4, 0.125, 1, 0);
    loss(m, &t, "official_padding", 4, 4, 0, 0, 8);
    file_end(name);
    model_free(m);
}

#include "cases.h"

int main(int argc, char **argv) {
    program_begin("vectors");
    if (argc < 2 || argc > 3) die("usage: vectors DIR [F64]");
    dir = scratch = argv[1], wide = argc == 3 && !strcmp(argv[2], "F64");
    tp = need(tape_new(0));
    ops();
    model_vectors("tiny", &tiny, 1), model_vectors("odd", &odd, 32);
    deep_vectors(3);
    program_vectors();
    answer_vectors(54), sharp_vectors(54);
    training_vectors(5);
    tape_free(tp);
    free(kept);
    return 0;
}
