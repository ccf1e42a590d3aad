/* test_model.c - mac.c: values by naive implementations in double, gradients of the whole losses,
 * frozen weights, dropped documents, the bank, answers against answers made without a cache,
 * threads, memory limits.  The argument is a folder for scratch files, "." when there is none. */
#include "mac.h"
#include "check.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef MAC_DOUBLE
#define VALUE_TOL 1e-11     /* of values about 1 */
#define LM_TOL 1e-7         /* of a tensor's largest gradient */
#define MAC_TOL 1e-7
static const double steps[] = {1e-4, 1e-5, 2e-6}; /* smaller ones for those near a corner of relu */
#else
#define VALUE_TOL 5e-5
#define LM_TOL 2e-4         /* differences are taken of a loss in double */
#define MAC_TOL 0.05        /* of one in float, divided by 0.01: a looser check */
static const double steps[] = {1e-2, 4e-2, 2e-3};
#endif

static const char *scratch = ".";
static Tape *tp;

static size_t numel(const Tensor *t) {
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= (size_t)t->shape[i];
    return n;
}

/* ==== small models, filled with noise so that nothing is near zero =========================== */
/* 0: e != d and T does not divide n = 8.  1: e = d, T divides n.  2: one of everything.  3: as 0,
 * without a decoder. */
static MacConfig config(int which) {
    static const MacConfig c[] = {
        {.V = 23, .S = 24, .d = 8, .L = 2, .H = 2, .e = 6, .enc_L = 2, .enc_H = 2, .enc_dh = 4,
         .enc_ff = 10, .T = 3, .P = 2, .agg_B = 2, .agg_H = 2, .agg_dh = 3, .pre_ff = 7,
         .D = 10, .Q = 6, .A = 6},
        {.V = 23, .S = 24, .d = 8, .L = 2, .H = 4, .e = 8, .enc_L = 1, .enc_H = 2, .enc_dh = 3,
         .enc_ff = 9, .T = 4, .P = 2, .agg_B = 3, .agg_H = 3, .agg_dh = 5, .pre_ff = 5,
         .D = 10, .Q = 6, .A = 6},
        {.V = 5, .S = 12, .d = 4, .L = 1, .H = 1, .e = 3, .enc_L = 1, .enc_H = 1, .enc_dh = 2,
         .enc_ff = 3, .T = 1, .P = 1, .agg_B = 1, .agg_H = 1, .agg_dh = 2, .pre_ff = 2,
         .D = 4, .Q = 4, .A = 3}};
    MacConfig only = c[0];
    only.enc_only = 1;
    return which < 3 ? c[which] : only;
}

static Model *noisy_model(const MacConfig *c, uint64_t seed) {
    Model *m = model_new(c, seed);
    uint64_t r = seed + 5;
    for (int i = 0; i < m->ps.n; i++)
        for (size_t j = 0; j < numel(&m->ps.p[i]->t); j++)
            m->ps.p[i]->t.data[j] += (real)0.3 * rng_normal(&r);
    return m;
}

/* Documents, questions, and questions with answers. */
#define MOST 6
typedef struct {
    int tok[3][MOST][16], doc_of[MOST];
    Ids docs[MOST], q[MOST], qa[MOST];
    MacBatch b;
} Fixture;

static void fixture(Fixture *f, const MacConfig *c, int n_docs, int n_q, uint64_t seed) {
    int single = c->T == 1;                          /* documents of one token */
    memset(f, 0, sizeof *f);
    for (int i = 0; i < MOST; i++) {
        int n = single ? 1 : 2 + rng_below(&seed, 7), nq = 1 + rng_below(&seed, 4),
            na = 1 + rng_below(&seed, 3);
        if (single) nq = 1 + i % 2, na = 1 + i % 2;
        for (int k = 0; k < 3; k++)
            for (int j = 0; j < 16; j++) f->tok[k][i][j] = rng_below(&seed, c->V - 1);
        memcpy(f->tok[2][i], f->tok[1][i], (size_t)nq * sizeof(int));
        f->tok[2][i][nq + na] = c->V - 1;            /* EOS */
        f->docs[i] = (Ids){f->tok[0][i], n};
        f->q[i] = (Ids){f->tok[1][i], nq};
        f->qa[i] = (Ids){f->tok[2][i], nq + na + 1};
        f->doc_of[i] = (3 * i + 1) % n_docs;
    }
    f->b = (MacBatch){.docs = f->docs, .n_docs = n_docs, .n_grad = n_docs, .q = f->q, .qa = f->qa,
                      .n_q = n_q, .doc = f->doc_of, .bank_size = 1};
}

/* Answers from their documents: at the start, nowhere (EOS is in no document), at the end, inside.
 * Where documents have one token, an answer is that token, or in none. */
static void place_answers(Fixture *f, const MacConfig *c) {
    for (int i = 0; i < f->b.n_q; i++) {
        Ids *doc = &f->docs[f->doc_of[i]];
        int *answer = f->tok[2][i] + f->q[i].n, n = f->qa[i].n - f->q[i].n - 1;
        if (c->T > 1) doc->n = 9 - i % 2;
        if (n > doc->n) n = doc->n, f->qa[i].n = f->q[i].n + n + 1;
        const int at[] = {0, 0, doc->n - n, c->T > 1 ? 4 : 0};
        memcpy(answer, doc->id + at[i % 4], (size_t)n * sizeof *answer);
        if (i % 4 == 1) answer[n - 1] = c->V - 1;
        answer[n] = c->V - 1;
    }
}

static uint64_t params_hash(const Params *ps, const char *prefix, int grads) {
    uint64_t hash = MAC_FNV;
    for (int i = 0; i < ps->n; i++) {
        const Tensor *t = &ps->p[i]->t;
        const real *x = grads ? t->grad : t->data;
        if (x && !strncmp(ps->p[i]->name, prefix, strlen(prefix)))
            hash = fnv1a(hash, x, numel(t) * sizeof *x);
    }
    return hash;
}

static void zero_grads(Params *ps) {
    for (int i = 0; i < ps->n; i++)
        if (ps->p[i]->t.grad) memset(ps->p[i]->t.grad, 0, numel(&ps->p[i]->t) * sizeof(real));
}

/* ==== the naive LM, in double ================================================================ */
static const real *named(Model *m, const char *before, int l, const char *name) {
    char full[2 * MAC_NAME];
    if (l < 0) snprintf(full, sizeof full, "%s%s", before, name);
    else snprintf(full, sizeof full, "%s%d.%s", before, l, name);
    const Tensor *t = param_find(&m->ps, full);
    if (!t) CHECK(0, "there is no parameter %s", full);
    return t ? t->data : NULL;
}

static void naive_norm(double *y, const double *x, const real *g, const real *b, int n) {
    double mu = 0, var = 0;
    for (int i = 0; i < n; i++) mu += x[i] / n;
    for (int i = 0; i < n; i++) var += (x[i] - mu) * (x[i] - mu) / n;
    for (int i = 0; i < n; i++) y[i] = (x[i] - mu) / sqrt(var + 1e-5) * (double)g[i] + (double)b[i];
}

/* y = x W + b, W being [in,out]; add: y += */
static void naive_linear(double *y, const double *x, const real *W, const real *b, int in, int out,
                         int add) {
    for (int o = 0; o < out; o++) {
        double s = (double)b[o];
        for (int i = 0; i < in; i++) s += x[i] * (double)W[i * out + o];
        y[o] = add ? y[o] + s : s;
    }
}

static double gelu_tanh(double x) {
    return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

typedef struct { double k[32][8], v[32][8]; int n; } NaiveKeys;

static void naive_attend(double *o, const double *q, const NaiveKeys *kv, int d, int H) {
    int dh = d / H;
    for (int h = 0; h < H; h++) {
        double w[32], sum = 0, *oh = o + h * dh;
        for (int x = 0; x < dh; x++) oh[x] = 0;
        for (int j = 0; j < kv->n; j++) {
            double z = 0;
            for (int x = h * dh; x < (h + 1) * dh; x++) z += q[x] * kv->k[j][x];
            sum += w[j] = exp(z / sqrt(dh));
        }
        for (int j = 0; j < kv->n; j++)
            for (int x = 0; x < dh; x++) oh[x] += w[j] / sum * kv->v[j][h * dh + x];
    }
}

/* Hidden states h[n][8] of the first n tokens of a sequence.  prefix: its own [P*2L, d], rows
 * p*2L + 2l + (key 0, value 1), `apart` rows between one and the next; NULL: none.  kept: keys and
 * values of each layer, or NULL. */
static void naive_hidden(Model *m, const Ids *ids, int n, const real *prefix, int apart,
                         double (*h)[8], NaiveKeys *kept) {
    const char *lm = "base_lm.base_lm.transformer.", *at = "base_lm.base_lm.transformer.h.";
    int d = m->c.d, P = m->c.P;
    const real *wte = named(m, lm, -1, "wte.weight"), *wpe = named(m, lm, -1, "wpe.weight");
    for (int i = 0; i < n; i++) {
        int place = i < ids->doc ? m->c.S - ids->doc + i : P - ids->doc + i;
        for (int x = 0; x < d; x++)
            h[i][x] = (double)wte[ids->id[i] * d + x] + (double)wpe[place * d + x];
    }
    for (int l = 0; l < m->c.L; l++) {
        const real *w[12], *const *p = w;
        static const char *const names[] = {
            "ln_1.weight",        "ln_1.bias",        "attn.c_attn.weight", "attn.c_attn.bias",
            "attn.c_proj.weight", "attn.c_proj.bias", "ln_2.weight",        "ln_2.bias",
            "mlp.c_fc.weight",    "mlp.c_fc.bias",    "mlp.c_proj.weight",  "mlp.c_proj.bias"};
        for (int i = 0; i < 12; i++) w[i] = named(m, at, l, names[i]);
        NaiveKeys kv = {.n = 0};
        for (; prefix && kv.n < P; kv.n++)
            for (int x = 0; x < d; x++) {
                int row = kv.n * 2 * m->c.L + 2 * l;
                kv.k[kv.n][x] = (double)prefix[row * apart * d + x];
                kv.v[kv.n][x] = (double)prefix[(row + 1) * apart * d + x];
            }
        for (int i = 0; i < n; i++) {
            double a[8], qkv[24], o[8], f[32];
            naive_norm(a, h[i], p[0], p[1], d);
            naive_linear(qkv, a, p[2], p[3], d, 3 * d, 0);
            memcpy(kv.k[kv.n], qkv + d, (size_t)d * sizeof *qkv);
            memcpy(kv.v[kv.n++], qkv + 2 * d, (size_t)d * sizeof *qkv);
            naive_attend(o, qkv, &kv, d, m->c.H);
            naive_linear(h[i], o, p[4], p[5], d, d, 1);
            naive_norm(a, h[i], p[6], p[7], d);
            naive_linear(f, a, p[8], p[9], d, 4 * d, 0);
            for (int x = 0; x < 4 * d; x++) f[x] = gelu_tanh(f[x]);
            naive_linear(h[i], f, p[10], p[11], 4 * d, d, 1);
        }
        if (kept) kept[l] = kv;
    }
    for (int i = 0; i < n; i++)
        naive_norm(h[i], h[i], named(m, lm, -1, "ln_f.weight"), named(m, lm, -1, "ln_f.bias"), d);
}

/* -log p of token `next` after hidden state h. */
static double naive_nll(Model *m, const double *h, int next) {
    const real *wte = named(m, "base_lm.base_lm.transformer.", -1, "wte.weight");
    double sum = 0, own = 0;
    for (int v = 0; v < m->c.V; v++) {
        double z = 0;
        for (int x = 0; x < m->c.d; x++) z += h[x] * (double)wte[v * m->c.d + x];
        sum += exp(z);
        if (v == next) own = z;
    }
    return log(sum) - own;
}

/* ==== gradients of a loss by central differences ============================================= */
typedef double (*Value)(Model *m, void *ctx);

static double difference(Model *m, Value value, void *ctx, real *x, double step) {
    static const double at[] = {2, 1, -1, -2}, w[] = {-1, 8, -8, 1};
    real keep = *x;
    double g = 0;
    for (int k = 0; k < 4; k++) {
        *x = keep + (real)(at[k] * step);
        g += w[k] * value(m, ctx) / (12 * step);
    }
    *x = keep;
    return g;
}

/* Of each tensor the element with the largest gradient and a drawn one.  `sparse`: some may have
 * no gradient at all, as when there is one key to attend to. */
static void check_gradients(Model *m, const char *what, Value value, void *ctx, double tol,
                            int sparse) {
    uint64_t r = 31;
    int was = tape_record(tp, 0);
    for (int i = 0; i < m->ps.n; i++) {
        Tensor *t = &m->ps.p[i]->t;
        double size = 0;
        size_t n = numel(t), most = 0;
        for (size_t j = 0; t->grad && j < n; j++)
            if (fabs((double)t->grad[j]) > size) size = fabs((double)t->grad[j]), most = j;
        if (!t->grad) continue;
        CHECK(sparse || size > 1e-5, "%s: gradient of %s is ~0, this check proves nothing", what,
              m->ps.p[i]->name);
        if (size < 1e-5) size = 1e-5;
        for (int k = 0; k < 2; k++) {
            size_t j = k ? (size_t)rng_below(&r, (int)n) : most;
            double off = INFINITY, num = 0, is = (double)t->grad[j];
            for (int s = 0; s < 3 && !(off <= tol * size); s++) {
                num = difference(m, value, ctx, t->data + j, steps[s]);
                off = fabs(num - is);
            }
            CHECK(off <= tol * size, "%s: d %s[%d] is %g, numeric %g, largest %g", what,
                  m->ps.p[i]->name, (int)j, is, num, size);
        }
    }
    tape_record(tp, was);
}

/* ==== the LM ================================================================================= */
typedef struct {
    const Ids *x;
    const char *const *asked;
    int B;
    const Tensor *prefix;
    int alike;
} LmCase;

static double naive_lm_loss(Model *m, void *ctx) {
    const LmCase *c = ctx;
    double sum = 0, means = 0, h[16][8];
    int n = 0;
    for (int b = 0; b < c->B; b++) {
        const Ids *x = &c->x[b];
        double before = sum;
        int first = n;
        naive_hidden(m, x, x->n - 1, c->prefix ? c->prefix->data + b * m->c.d : NULL, c->B, h,
                     NULL);
        for (int i = 1; i < x->n; i++) {
            if (c->asked && !c->asked[b][i]) continue;
            sum += naive_nll(m, h[i - 1], x->id[i]);
            n++;
        }
        means += (sum - before) / (n - first);
    }
    return c->alike ? means / c->B : sum / n;
}

static Tensor *random_prefix(Params *ps, const MacConfig *c, int B) {
    uint64_t r = 77;
    Tensor *t = param_new(ps, "prefix", 2, c->P * 2 * c->L * B, c->d);
    for (size_t i = 0; i < numel(t); i++) t->data[i] = rng_normal(&r);
    return t;
}

static void hidden_values(Model *m, const Ids *x, int B, Tensor *prefix, const char *what) {
    double h[16][8];
    tape_reset(tp);
    Tensor *y = lm_hidden(m, tp, x, B, prefix, NULL);
    CHECK(y != NULL, "%s: %s", what, tape_error(tp));
    for (int b = 0, at = 0; y && b < B; at += x[b].n, b++) {
        naive_hidden(m, &x[b], x[b].n, prefix ? prefix->data + b * m->c.d : NULL, B, h,
                     NULL);
        for (int i = 0; i < x[b].n * m->c.d; i++) {
            double is = (double)y->data[at * m->c.d + i], want = h[i / m->c.d][i % m->c.d];
            CHECK(fabs(is - want) <= VALUE_TOL, "%s: hidden state %d of %d is %g, not %g", what, i,
                  b, is, want);
        }
    }
}

static void test_lm(int which) {
    MacConfig c = config(which);
    Model *m = noisy_model(&c, 3);
    Fixture f;
    fixture(&f, &c, 3, 3, 1);
    Params own = {NULL, 0};
    Tensor *prefix = random_prefix(&own, &c, 3);
    char mask[3][64];
    const char *asked[3] = {mask[0], mask[1], mask[2]};
    f.qa[1].doc = 1, f.qa[2].doc = f.qa[2].n; /* a question alone, after a document, no question */
    for (int b = 0; b < 3; b++) /* the answer, and the first token: it is never predicted */
        for (int i = 0; i < 64; i++) mask[b][i] = i == 0 || i >= f.q[b].n;
    for (int way = 0; way < 4; way++) {
        int k = way & 1, alike = way >> 1;
        LmCase lc = {f.qa, k ? asked : NULL, 3, k ? prefix : NULL, alike};
        hidden_values(m, f.qa, 3, k ? prefix : NULL, k ? "lm behind a prefix" : "lm");
        tape_reset(tp);
        zero_grads(&m->ps), zero_grads(&own);
        Tensor *loss = lm_loss(m, tp, f.qa, lc.asked, 3, k ? prefix : NULL, alike);
        CHECK(tape_backward(tp, loss) == 0, "lm_loss: %s", tape_error(tp));
        double want = naive_lm_loss(m, &lc), is = loss ? (double)loss->data[0] : NAN;
        CHECK(fabs(is - want) <= VALUE_TOL * want, "lm_loss is %g, not %g", is, want);
        for (int i = 0; i < m->ps.n; i++)
            if (strncmp(m->ps.p[i]->name, "base_lm.", 8)) param_freeze(&m->ps, m->ps.p[i]->name, 1);
        check_gradients(m, "lm_loss", naive_lm_loss, &lc, LM_TOL, which == 2);
        for (size_t i = 0; k && i < numel(prefix); i += 3) {
            double num = difference(m, naive_lm_loss, &lc, prefix->data + i, 1e-3);
            CHECK(fabs(num - (double)prefix->grad[i]) <= 1e-3 * LM_TOL + LM_TOL * fabs(num),
                  "d prefix[%d] is %g, numeric %g", (int)i, (double)prefix->grad[i], num);
        }
        param_freeze(&m->ps, "", 0);
    }
    params_free(&own);
    model_free(m);
}

/* An LM that another model takes over reads the same, also where its prefix has another length. */
static void test_copied_lm(void) {
    MacConfig c = config(0);
    Model *m = noisy_model(&c, 4);
    Fixture f;
    fixture(&f, &c, 3, 3, 2);
    f.qa[1].doc = 2, f.qa[2].doc = f.qa[2].n; /* documents do not move */
    tape_reset(tp);
    Tensor *want = lm_hidden(m, tp, f.qa, 3, NULL, NULL);
    for (c.P = 1; c.P < 4; c.P++) {
        Model *other = noisy_model(&c, 5);
        model_copy_lm(other, m);
        Tensor *h = lm_hidden(other, tp, f.qa, 3, NULL, NULL);
        CHECK(want && h && !memcmp(h->data, want->data, numel(want) * sizeof(real)),
              "the LM taken over reads otherwise with P = %d", c.P);
        model_free(other);
    }
    model_free(m);
}

/* One row of the prefix that is not zero, each in turn: position p, layer l, key or value. */
static void test_prefix_layout(void) {
    MacConfig c = config(0);
    Model *m = noisy_model(&c, 4);
    Fixture f;
    fixture(&f, &c, 3, 3, 2);
    Params own = {NULL, 0};
    Tensor *prefix = random_prefix(&own, &c, 2);
    int rows = c.P * 2 * c.L * 2;
    tape_reset(tp);
    Tensor *plain = lm_hidden(m, tp, f.qa, 2, NULL, NULL);
    for (int row = 0; plain && row < rows; row++) {
        memset(prefix->data, 0, numel(prefix) * sizeof(real));
        for (int x = 0; x < c.d; x++) prefix->data[row * c.d + x] = (real)(x + 1) * (real)0.3;
        hidden_values(m, f.qa, 2, prefix, "one row of a prefix");
        Tensor *h = lm_hidden(m, tp, f.qa, 2, prefix, NULL);
        Tensor zero = *prefix;
        zero.data = calloc(numel(prefix), sizeof(real));
        Tensor *none = lm_hidden(m, tp, f.qa, 2, &zero, NULL); /* not no keys */
        free(zero.data);
        for (int b = 0; h && none && b < 2; b++) {
            size_t at = b ? (size_t)(f.qa[0].n * c.d) : 0,
                   n = (size_t)(f.qa[b].n * c.d) * sizeof(real);
            int same = !memcmp(h->data + at, none->data + at, n);
            CHECK(same == (row % 2 != b), "row %d, sequence %d: same %d", row, b, same);
        }
    }
    params_free(&own);
    model_free(m);
}

/* ==== per-token networks: one token's MLP, or one use of it in the expansion ================= */
/* y[out] = skip(x) + W2 act(W1 LN x), all of group g; names are "<before>0", "<before>1", .. */
static void naive_mlp(Model *m, const char *const *name, int g, int in, int hidden, int out,
                      const double *x, double *y) {
    double n[16], f[16];
    const real *w[8];
    for (int i = 0; i < 8; i++)
        w[i] = name[i / 2] ? named(m, name[i / 2], -1, i % 2 ? ".bias" : ".weight") : NULL;
    naive_norm(n, x, w[0] + g * in, w[1] + g * in, in);
    for (int i = 0; i < hidden; i++) {
        f[i] = (double)w[3][g * hidden + i];
        for (int j = 0; j < in; j++) f[i] += n[j] * (double)w[2][(g * hidden + i) * in + j];
        f[i] = name[4] ? 0.5 * f[i] * (1 + erf(f[i] / sqrt(2))) : tanh(f[i]);
    }
    for (int i = 0; i < out; i++) {
        y[i] = (double)w[5][g * out + i] + (w[6] ? (double)w[7][g * out + i] : x[i]);
        for (int j = 0; j < hidden; j++) y[i] += f[j] * (double)w[4][(g * out + i) * hidden + j];
        for (int j = 0; w[6] && j < in; j++) y[i] += x[j] * (double)w[6][(g * out + i) * in + j];
    }
}

static void mlp_value(Model *m, const char *what, const char *const *name, int g, int in,
                      int hidden, const Tensor *from, int x_row, const Tensor *to, int y_row) {
    double x[16], y[16];
    int out = m->c.d;
    for (int i = 0; i < in; i++) x[i] = (double)from->data[x_row * in + i];
    naive_mlp(m, name, g, in, hidden, out, x, y);
    for (int i = 0; i < out; i++) {
        double is = (double)to->data[y_row * out + i];
        CHECK(fabs(is - y[i]) <= VALUE_TOL * (1 + fabs(y[i])), "%s %d [%d]: %g, not %g", what, g, i,
              is, y[i]);
    }
}

static void test_token_networks(int which) {
    static const char *const doc[] = {"mlps.%d.mlp.0", "mlps.%d.mlp.1", "mlps.%d.mlp.3",
                                      "mlps.%d.skip", NULL};
    static const char *const same[] = {"mlps.%d.mlp.0", "mlps.%d.mlp.1", "mlps.%d.mlp.3", NULL,
                                       NULL};
    static const char *const expand[] = {"token_SA.mlp_layers.%d.net.0",
                                         "token_SA.mlp_layers.%d.net.1",
                                         "token_SA.mlp_layers.%d.net.4", NULL, "gelu"};
    MacConfig c = config(which);
    Model *m = noisy_model(&c, 5);
    Fixture f;
    fixture(&f, &c, 3, 3, 3);
    int B = 3, n = c.P * 2 * c.L, use = 0;
    tape_reset(tp);
    Tensor *states = enc_forward(m, tp, m->enc, f.docs, B), *phi = mac_encode(m, tp, f.docs, B);
    Tensor *prefix = prefix_expand(m, tp, phi, B);
    CHECK(prefix != NULL, "encode: %s", tape_error(tp));
    for (int i = 0; prefix && i < B * c.T; i++)
        mlp_value(m, "token network", c.e == c.d ? same : doc, i % c.T, c.e, c.d, states, i, phi,
                  i);
    for (int t = 0; prefix && t < c.T; t++) /* the first n % T vectors are used once more */
        for (int k = 0; k < n / c.T + (t < n % c.T); k++, use++)
            for (int b = 0; b < B; b++)
                mlp_value(m, "expansion", expand, use, c.d, c.pre_ff, phi, b * c.T + t, prefix,
                          use * B + b);
    CHECK(use == n, "the expansion has %d uses", use);
    model_free(m);
}

/* ==== T5 and the aggregator, naive and in double ============================================= */
enum { ROOM = 24 * 16 };                             /* rows times width */

/* y = x W^T + b, rows of torch's Linear; add: y += */
static void naive_rows(double *y, const double *x, const real *W, const real *b, int n, int in,
                       int out, int add) {
    for (int i = 0; i < n * out; i++) {
        double s = b ? (double)b[i % out] : 0;
        for (int j = 0; j < in; j++) s += x[i / out * in + j] * (double)W[i % out * in + j];
        y[i] = add ? y[i] + s : s;
    }
}

static void naive_rms(double *y, const double *x, const real *g, int n, int e) {
    for (int r = 0; r < n; r++) {
        double s = 0;
        for (int i = 0; i < e; i++) s += x[r * e + i] * x[r * e + i] / e;
        for (int i = 0; i < e; i++) y[r * e + i] = x[r * e + i] / sqrt(s + 1e-6) * (double)g[i];
    }
}

/* Heads lie beside one another.  Sequences are short: T5's buckets are the distances, those ahead
 * behind the first 16.  received[nk]: mean attention of each key, NULL: not asked. */
static void naive_heads(double *o, const double *q, const double *k, const double *v, int nq,
                        int nk, int H, int dh, double scale, const real *bias, int causal,
                        double *received) {
    for (int i = 0; i < nq; i++)
        for (int h = 0; h < H; h++) {
            double w[24], sum = 0;
            for (int j = 0; j < nk; j++) {
                double z = 0;
                for (int x = h * dh; x < (h + 1) * dh; x++)
                    z += q[i * H * dh + x] * k[j * H * dh + x];
                if (bias) z += (double)bias[(j > i ? 16 + j - i : i - j) * H + h];
                sum += w[j] = causal && j > i ? 0 : exp(z * (bias ? 1 : scale));
            }
            for (int x = h * dh; x < (h + 1) * dh; x++) {
                o[i * H * dh + x] = 0;
                for (int j = 0; j < nk; j++) o[i * H * dh + x] += w[j] / sum * v[j * H * dh + x];
            }
            for (int j = 0; received && j < nk; j++) received[j] += w[j] / sum / (nq * H);
        }
}

/* x += Wo Attn(Wq n, Wk src, Wv src), n = norm(x); src = n when `from` is NULL. */
static void naive_t5_attention(Model *m, const char *at, int l, const char *kind, int sub,
                               double *x, int nx, const double *from, int nf, const real *bias,
                               int causal) {
    static double n[ROOM], q[ROOM], k[ROOM], v[ROOM], o[ROOM];
    const char *const names[] = {"q", "k", "v", "o"};
    const real *w[4];
    char name[80];
    int e = m->c.e, inner = m->c.enc_H * m->c.enc_dh;
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "layer.%d.%s.%s.weight", sub, kind, names[i]);
        w[i] = named(m, at, l, name);
    }
    snprintf(name, sizeof name, "layer.%d.layer_norm.weight", sub);
    naive_rms(n, x, named(m, at, l, name), nx, e);
    if (!from) from = n, nf = nx;
    naive_rows(q, n, w[0], NULL, nx, e, inner, 0);
    naive_rows(k, from, w[1], NULL, nf, e, inner, 0);
    naive_rows(v, from, w[2], NULL, nf, e, inner, 0);
    naive_heads(o, q, k, v, nx, nf, m->c.enc_H, m->c.enc_dh, 1, bias, causal, NULL);
    naive_rows(x, o, w[3], NULL, nx, inner, e, 1);
}

static void naive_feed_forward(Model *m, const char *at, int l, int sub, double *x, int n) {
    static double a[ROOM], f[ROOM];
    char name[3][80];
    snprintf(name[0], sizeof name[0], "layer.%d.layer_norm.weight", sub);
    snprintf(name[1], sizeof name[1], "layer.%d.DenseReluDense.wi.weight", sub);
    snprintf(name[2], sizeof name[2], "layer.%d.DenseReluDense.wo.weight", sub);
    naive_rms(a, x, named(m, at, l, name[0]), n, m->c.e);
    naive_rows(f, a, named(m, at, l, name[1]), NULL, n, m->c.e, m->c.enc_ff, 0);
    for (int i = 0; i < n * m->c.enc_ff; i++) f[i] = fmax(f[i], 0);
    naive_rows(x, f, named(m, at, l, name[2]), NULL, n, m->c.enc_ff, m->c.e, 1);
}

/* y[T*e]: the decoder's states for one sequence; or, without one, the encoder's last T. */
static void naive_t5(Model *m, const char *t5, const Ids *ids, double *y) {
    static double x[ROOM];
    char enc[80], dec[80];
    const char *relative = "layer.0.SelfAttention.relative_attention_bias.weight";
    int e = m->c.e, n = ids->n, T = m->c.T;
    snprintf(enc, sizeof enc, "%sencoder.block.", t5);
    snprintf(dec, sizeof dec, "%sdecoder.block.", t5);
    const real *embed = named(m, t5, -1, "shared.weight"),
               *prompts = named(m, t5, -1, "learnable_prompts");
    for (int i = 0; i < n * e; i++) x[i] = (double)embed[ids->id[i / e] * e + i % e];
    for (int i = 0; i < T * e; i++) y[i] = (double)prompts[i];
    if (m->c.enc_only) memcpy(x + n * e, y, (size_t)(T * e) * sizeof *y), n += T;
    for (int l = 0; l < m->c.enc_L; l++) {
        naive_t5_attention(m, enc, l, "SelfAttention", 0, x, n, NULL, 0, named(m, enc, 0, relative),
                           0);
        naive_feed_forward(m, enc, l, 1, x, n);
    }
    naive_rms(x, x, named(m, t5, -1, "encoder.final_layer_norm.weight"), n, e);
    if (m->c.enc_only) { memcpy(y, x + (n - T) * e, (size_t)(T * e) * sizeof *y); return; }
    for (int l = 0; l < m->c.enc_L; l++) {
        naive_t5_attention(m, dec, l, "SelfAttention", 0, y, T, NULL, 0, named(m, dec, 0, relative),
                           1);
        naive_t5_attention(m, dec, l, "EncDecAttention", 1, y, T, x, n, NULL, 0);
        naive_feed_forward(m, dec, l, 2, y, T);
    }
    naive_rms(y, y, named(m, t5, -1, "decoder.final_layer_norm.weight"), T, e);
}

/* One block: z[T*d] reads keys[n*d]; received[n] gets its share of the attention. */
static void naive_block(Model *m, int l, double *z, const double *keys, int n, double *received) {
    static double c[ROOM], a[ROOM], q[ROOM], k[ROOM], v[ROOM], o[ROOM];
    static const char *const names[] = {
        "norm1.weight",       "norm1.bias",       "norm_context.weight", "norm_context.bias",
        "attn.to_q.weight",   "attn.to_k.weight", "attn.to_v.weight",    "attn.to_out.0.weight",
        "attn.to_out.0.bias", "norm2.weight",     "norm2.bias",          "mlp.net.0.weight",
        "mlp.net.0.bias",     "mlp.net.3.weight", "mlp.net.3.bias"};
    const real *w[15];
    int d = m->c.d, T = m->c.T, H = m->c.agg_H, dh = m->c.agg_dh, inner = H * dh,
        ff = inner < d ? inner : d;
    for (int i = 0; i < 15; i++) w[i] = named(m, "aggregator.cross_attention_list.", l, names[i]);
    for (int i = 0; i < n; i++) naive_norm(c + i * d, keys + i * d, w[2], w[3], d);
    for (int i = 0; i < T; i++) naive_norm(a + i * d, z + i * d, w[0], w[1], d);
    naive_rows(q, a, w[4], NULL, T, d, inner, 0);
    naive_rows(k, c, w[5], NULL, n, d, inner, 0);
    naive_rows(v, c, w[6], NULL, n, d, inner, 0);
    naive_heads(o, q, k, v, T, n, H, dh, 1 / sqrt(dh), NULL, 0, received);
    naive_rows(z, o, w[7], w[8], T, inner, d, 1);
    for (int i = 0; i < T; i++) naive_norm(a + i * d, z + i * d, w[9], w[10], d);
    naive_rows(q, a, w[11], w[12], T, d, ff, 0);
    for (int i = 0; i < T * ff; i++) q[i] = 0.5 * q[i] * (1 + erf(q[i] / sqrt(2)));
    naive_rows(z, q, w[13], w[14], T, ff, d, 1);
}

/* A question's vectors z[T*d]. */
static void naive_question(Model *m, const Ids *q, double *z) {
    static const char *const name[] = {"aggregator.mlps.%d.mlp.0", "aggregator.mlps.%d.mlp.1",
                                       "aggregator.mlps.%d.mlp.3", "aggregator.mlps.%d.skip", NULL};
    static const char *const same[] = {"aggregator.mlps.%d.mlp.0", "aggregator.mlps.%d.mlp.1",
                                       "aggregator.mlps.%d.mlp.3", NULL, NULL};
    double y[ROOM];
    int e = m->c.e, d = m->c.d;
    naive_t5(m, "aggregator.question_encoder.", q, y);
    for (int t = 0; t < m->c.T; t++)
        naive_mlp(m, e == d ? same : name, t, e, d, d, y + t * e, z + t * d);
}

/* The finder: half of the first block's heads, rounded up, ask with the first of the question's
 * vectors z, and no other.  received[f*K + k]: what head f gives to document k of phi [K*T,d].
 * Returns how many heads these are. */
static int naive_finder(Model *m, const double *z, const real *phi, int K, double *received) {
    static const char *const names[] = {"norm1.weight",        "norm1.bias",
                                        "norm_context.weight", "norm_context.bias",
                                        "attn.to_q.weight",    "attn.to_k.weight"};
    const real *w[6];
    int d = m->c.d, T = m->c.T, dh = m->c.agg_dh, heads = m->c.agg_H - m->c.agg_H / 2;
    double a[8], q[16], x[8], key[8];
    for (int i = 0; i < 6; i++) w[i] = named(m, "aggregator.cross_attention_list.", 0, names[i]);
    naive_norm(a, z, w[0], w[1], d);
    naive_rows(q, a, w[4], NULL, 1, d, heads * dh, 0);
    for (int f = 0; f < heads; f++) {
        double all = 0, *own = received + f * K;
        for (int i = 0; i < K * T; i++) {
            double score = 0;
            for (int j = 0; j < d; j++) x[j] = (double)phi[i * d + j];
            naive_norm(x, x, w[2], w[3], d);
            naive_rows(key, x, w[5] + f * dh * d, NULL, 1, d, dh, 0);
            for (int j = 0; j < dh; j++) score += q[f * dh + j] * key[j];
            if (i % T == 0) own[i / T] = 0;
            own[i / T] += exp(score / sqrt(dh));
            all += exp(score / sqrt(dh));
        }
        for (int k = 0; k < K; k++) own[k] /= all;
    }
    return heads;
}

static void near_all(const char *what, int b, const real *is, const double *want, int n) {
    for (int i = 0; i < n; i++)
        CHECK(fabs((double)is[i] - want[i]) <= VALUE_TOL * (1 + fabs(want[i])),
              "%s, %d: [%d] is %g, not %g", what, b, i, (double)is[i], want[i]);
}

static void test_encoders(int which) {
    static const int doc0[] = {0, 1, 1}, docs[] = {2, 1, 3}, gold[] = {1, 1, 3};
    MacConfig c = config(which);
    Model *m = noisy_model(&c, 10);
    Fixture f;
    fixture(&f, &c, 3, 3, 11);
    Tensor *mass[4];
    double y[ROOM], z[ROOM], keys[ROOM];
    AggReads r = {.doc0 = doc0, .docs = docs, .gold = gold, .mass = mass};
    tape_reset(tp);
    Tensor *states = enc_forward(m, tp, m->enc, f.docs, 3), *phi = tape_tensor(tp, 4 * c.T, c.d);
    for (uint64_t i = 0, s = 1; i < numel(phi); i++) phi->data[i] = rng_normal(&s);
    Tensor *picked = agg_forward(m, tp, f.q, 3, phi, &r);
    CHECK(states && picked, "encoders: %s", tape_error(tp));
    for (int b = 0; picked && b < 3; b++) {
        naive_t5(m, "enc_decoder.", &f.docs[b], y);
        near_all("T5", b, states->data + b * c.T * c.e, y, c.T * c.e);
        naive_question(m, &f.q[b], z);
        for (int i = 0; i < docs[b] * c.T * c.d; i++)
            keys[i] = (double)phi->data[doc0[b] * c.T * c.d + i];
        for (int l = 0; l < c.agg_B; l++) {
            double key[16] = {0}, own[4] = {0};
            naive_block(m, l, z, keys, docs[b] * c.T, key);
            for (int k = 0; k < docs[b] * c.T; k++)
                own[k / c.T] += key[k];
            int n = c.T * c.agg_H;
            real mean = 0;
            for (int i = 0; i < n; i++) mean += mass[l]->data[b * n + i] / (real)n;
            near_all("mass", b, &mean, own + gold[b] - doc0[b], 1);
        }
        near_all("aggregator", b, picked->data + b * c.T * c.d, z, c.T * c.d);
    }
    model_free(m);
}

/* ==== the whole loss ========================================================================= */
/* mac_loss again, question by question: each with a bank of its own, put together here, and the
 * loss in double by the naive LM.  What gets no gradient is taken as it was before anything moved:
 * vectors of documents from `held`, the LM's keys and values of each, [L], from `kept`. */
typedef struct {
    MacBatch b;
    real *held;
    NaiveKeys kept[MOST][2]; /* of each question's answer in its document, for distillation */
    int begins[MOST];
    double answer, distill, mass;
} Replica;

/* The documents first, first + step, ... of the batch. */
static Tensor *replica_bank(Model *m, const Replica *r, int first, int step) {
    int T = m->c.T, row = T * m->c.d, at = 0, n = (r->b.n_docs - first + step - 1) / step;
    Tensor *bank = tape_tensor(tp, n * T, m->c.d);
    for (int i = first; i < r->b.n_docs; i += step, at++) {
        Tensor *phi = i < r->b.n_grad ? mac_encode(m, tp, &r->b.docs[i], 1) : NULL;
        memcpy(bank->data + at * row, phi ? phi->data : r->held + i * row,
               (size_t)row * sizeof(real));
    }
    return bank;
}

/* The prefix of question i, which reads its own bank. */
static Tensor *replica_prefix(Model *m, const Replica *r, int i) {
    int zero = 0, banks = r->b.n_docs / r->b.bank_size;
    Tensor *bank = replica_bank(m, r, r->b.doc[i] % banks, banks);
    int n = bank->shape[0] / m->c.T;
    AggReads reads = {.doc0 = &zero, .docs = &n};
    return prefix_expand(m, tp, agg_forward(m, tp, &r->b.q[i], 1, bank, &reads), 1);
}

/* What the LM makes of the answer of question i in its document, of four tokens before it and of
 * one after it: keys and values; where the answer begins in them, -1: nowhere. */
static int replica_passage(Model *m, const MacBatch *b, int i, NaiveKeys *kept) {
    const Ids *doc = &b->docs[b->doc[i]];
    const int *answer = b->qa[i].id + b->q[i].n;
    int n = b->qa[i].n - b->q[i].n - 1, at = 0, same = 0;
    double h[16][8];
    for (; at + n <= doc->n && same < n; at++)
        for (same = 0; same < n && doc->id[at + same] == answer[same];) same++;
    if (same < n) return -1;
    at--;
    int first = at > 4 ? at - 4 : 0, end = at + n < doc->n ? at + n + 1 : doc->n;
    Ids x = {doc->id + first, end - first, at - first + m->c.A};
    naive_hidden(m, &x, x.n, NULL, 1, h, kept);
    return at - first;
}

/* Adds to off and size: question i's prefix against these, from the answer's first token on. */
static void replica_distill(Model *m, const Replica *r, int i, const Tensor *prefix, double *off,
                            double *size) {
    int d = m->c.d, at = r->begins[i];
    for (int p = 0; at >= 0 && p < m->c.P && at + p < r->kept[i][0].n; p++)
        for (int k = m->c.L > 1 ? 2 * d : 0; k < 2 * m->c.L * d; k++) { /* layer, which, column */
            const NaiveKeys *kv = &r->kept[i][k / d / 2];
            double want = k / d % 2 ? kv->v[at + p][k % d] : kv->k[at + p][k % d];
            double is = (double)prefix->data[p * 2 * m->c.L * d + k];
            *off += (is - want) * (is - want), *size += want * want;
        }
}

/* The mean of -log(what the finder gives to the right one of all documents). */
static double replica_guidance(Model *m, Replica *r) {
    double guide = 0, z[ROOM], given[2 * 4];
    Tensor *all = replica_bank(m, r, 0, 1);
    for (int i = 0; i < r->b.n_q; i++) {
        naive_question(m, &r->b.q[i], z);
        int heads = naive_finder(m, z, all->data, r->b.n_docs, given);
        for (int f = 0; f < heads; f++) {
            double one = given[f * r->b.n_docs + r->b.doc[i]];
            r->mass += one / (heads * r->b.n_q);
            guide -= log(one) / (heads * r->b.n_q);
        }
    }
    return guide;
}

static double replica_loss(Model *m, void *ctx) {
    Replica *r = ctx;
    double sum = 0, off = 0, size = 0, guide = 0, h[16][8];
    int tokens = 0, was = tape_record(tp, 0);
    tape_reset(tp);
    for (int i = 0; i < r->b.n_q; i++) {
        Tensor *prefix = replica_prefix(m, r, i);
        if (!prefix) return NAN;
        const Ids *x = &r->b.qa[i];
        naive_hidden(m, x, x->n - 1, prefix->data, 1, h, NULL);
        double nll = 0;
        for (int k = r->b.q[i].n; k < x->n; k++, tokens++) nll += naive_nll(m, h[k - 1], x->id[k]);
        sum += r->b.alike ? nll / (x->n - r->b.q[i].n) : nll;
        if (r->b.distill > 0) replica_distill(m, r, i, prefix, &off, &size);
    }
    r->mass = 0;
    if (r->b.guidance > 0) guide = replica_guidance(m, r);
    tape_record(tp, was);
    r->answer = sum / (r->b.alike ? r->b.n_q : tokens);
    r->distill = size > 0 ? off / size : 0;
    return r->answer + (double)r->b.distill * r->distill + (double)r->b.guidance * guide;
}

/* Config, P (0: the config's), and of the batch. */
typedef struct { int which, P, bank_size, n_grad; double guidance, distill; } GradCase;

static Replica *replica_new(Model *m, const Fixture *f) {
    size_t row = (size_t)(m->c.T * m->c.d);
    real *held = malloc(4 * row * sizeof *held);
    Replica *r = malloc(sizeof *r);
    *r = (Replica){.b = f->b, .held = held};
    for (int i = 0; i < 4; i++) {
        tape_reset(tp);
        memcpy(held + (size_t)i * row, mac_encode(m, tp, &f->docs[i], 1)->data, row * sizeof *held);
        r->begins[i] = replica_passage(m, &f->b, i, r->kept[i]);
    }
    return r;
}

static const GradCase grad_cases[8] = {
    {0, 0, 1, 4, 0, 0},     {0, 0, 2, 2, 0.1, 0},   {0, 0, 4, 4, 0, 0.3}, {1, 0, 4, 3, 0.1, 0.3},
    {0, 7, 2, 3, 0.1, 0.3}, {3, 0, 2, 3, 0.1, 0.3}, {2, 0, 1, 4, 0.1, 0}, {2, 0, 2, 4, 0.1, 0.3}};

static void test_mac_grad(GradCase g) {
    MacConfig c = config(g.which);
    if (g.P) c.P = g.P;
    Model *m = noisy_model(&c, 6);
    Fixture f;
    char what[120];
    fixture(&f, &c, 4, 4, 4);
    f.b.bank_size = g.bank_size, f.b.n_grad = g.n_grad, f.b.alike = g.which > 0;
    f.b.guidance = (real)g.guidance, f.b.distill = (real)g.distill;
    place_answers(&f, &c);
    snprintf(what, sizeof what, "mac_loss, config %d, P %d, banks of %d, n_grad %d, %g, %g",
             g.which, c.P, g.bank_size, g.n_grad, g.guidance, g.distill);
    Replica *r = replica_new(m, &f);
    double want = replica_loss(m, r);
    MacStats s = {0};
    tape_reset(tp);
    Tensor *loss = mac_loss(m, tp, &f.b, &s);
    CHECK(tape_backward(tp, loss) == 0, "%s: %s", what, tape_error(tp));
    double is = loss ? (double)loss->data[0] : NAN;
    CHECK(fabs(is - want) <= VALUE_TOL * want && (double)s.loss == is, "%s: %.15g, not %.15g", what,
          is, want);
    CHECK(fabs((double)s.answer - r->answer) <= VALUE_TOL * want, "%s: stats.answer %g", what,
          (double)s.answer);
    CHECK(fabs((double)s.distill - r->distill) <= VALUE_TOL * want, "%s: stats.distill %g, not %g",
          what, (double)s.distill, r->distill);
    CHECK(fabs((double)s.mass - r->mass) <= VALUE_TOL, "%s: stats.mass %g, not %g", what,
          (double)s.mass, r->mass);
    CHECK((g.guidance > 0) == (s.mass > 0) && (g.distill > 0) == (s.distill > 0),
          "%s: mass %g, distill %g: proves little", what, (double)s.mass, (double)s.distill);
    check_gradients(m, what, replica_loss, r, MAC_TOL, g.which == 2);
    free(r->held), free(r);
    model_free(m);
}

/* Where no document has its answer, distillation changes nothing; where one has, the LM that is
 * read from gets no other gradient, and all else does. */
static void test_distill(void) {
    MacConfig c = config(0);
    Model *m = noisy_model(&c, 7);
    Fixture f;
    MacStats s[4];
    uint64_t lm[4], rest[4];
    fixture(&f, &c, 4, 4, 5);
    f.b.bank_size = 2;
    for (int i = 0; i < 4; i++) f.tok[2][i][f.q[i].n] = c.V - 1; /* EOS is in no document */
    for (int k = 0; k < 4; k++) {
        if (k == 2) place_answers(&f, &c);
        f.b.distill = k % 2;
        tape_reset(tp), zero_grads(&m->ps);
        CHECK(tape_backward(tp, mac_loss(m, tp, &f.b, &s[k])) == 0, "distill: %s", tape_error(tp));
        lm[k] = params_hash(&m->ps, "base_lm.", 1), rest[k] = params_hash(&m->ps, "token_SA.", 1);
    }
    CHECK(s[1].distill == 0 && s[0].loss == s[1].loss && lm[0] == lm[1] && rest[0] == rest[1],
          "no answer in a document: a distance of %g", (double)s[1].distill);
    CHECK(s[2].distill == 0 && s[3].distill > 0 && s[3].loss == s[3].answer + s[3].distill
              && s[2].answer == s[3].answer, "a distance of %g", (double)s[3].distill);
    CHECK(lm[2] == lm[3] && rest[2] != rest[3], "distillation reaches the wrong weights");
    model_free(m);
}

/* The most bytes that a loss about document 0 takes, beside n - 1 documents without gradient. */
static size_t dropped_peak(Model *m, Fixture *f, int n) {
    MacStats s;
    Tape *own = tape_new(0);
    f->b.n_docs = n, f->b.n_grad = 1, f->b.bank_size = 1;
    CHECK(tape_backward(own, mac_loss(m, own, &f->b, &s)) == 0, "dropped: %s", tape_error(own));
    size_t peak = tape_peak(own);
    tape_free(own);
    return peak;
}

/* A document without gradient changes the loss, but its encoding gets none: same as frozen. */
static void test_dropped(void) {
    MacConfig c = config(0);
    Model *m = noisy_model(&c, 7);
    Fixture f;
    MacStats s;
    fixture(&f, &c, 4, 3, 5);
    f.b.bank_size = 4;
    uint64_t hash[2][3];
    for (int k = 0; k < 2; k++) {
        f.b.n_grad = k ? 1 : 4;
        tape_reset(tp), zero_grads(&m->ps);
        CHECK(tape_backward(tp, mac_loss(m, tp, &f.b, &s)) == 0, "dropped: %s", tape_error(tp));
        hash[k][0] = params_hash(&m->ps, "enc_decoder.", 1);
        hash[k][1] = params_hash(&m->ps, "base_lm.", 1);
        hash[k][2] = (uint64_t)(s.loss * 1e6);
    }
    CHECK(hash[0][0] != hash[1][0], "dropping documents does not change the encoder's gradient");
    CHECK(hash[0][1] == hash[1][1] && hash[0][2] == hash[1][2],
          "but it does change the LM's, or the loss");
    memset(f.doc_of, 0, sizeof f.doc_of);
    size_t one = dropped_peak(m, &f, 1), four = dropped_peak(m, &f, 4);
    CHECK(four - one < 12000, "3 dropped documents hold %d bytes", (int)(four - one));
    static const int bad[][3] = {
        {3, 4, 4}, {0, 4, 4}, {4, 0, 4}, {4, 5, 4}}; /* group, n_grad, n_docs */
    for (int k = 0; k < 4; k++) {
        tape_reset(tp);
        f.b.bank_size = bad[k][0], f.b.n_grad = bad[k][1], f.b.n_docs = bad[k][2];
        CHECK(!mac_loss(m, tp, &f.b, &s) && tape_error(tp)[0], "batch %d should be refused", k);
    }
    f.b.bank_size = f.b.n_grad = f.b.n_docs = f.doc_of[0] = 1;
    tape_reset(tp);
    CHECK(!mac_loss(m, tp, &f.b, &s) && strstr(tape_error(tp), "question 0 is about document"),
          "a question about no document: %s", tape_error(tp));
    model_free(m);
}

/* ==== frozen LM, training ==================================================================== */
static void test_frozen(void) {
    MacConfig c = config(0);
    Model *m = noisy_model(&c, 8);
    Fixture f;
    MacStats s;
    Adam o = adam_default((real)0.01);
    fixture(&f, &c, 4, 4, 6);
    f.b.bank_size = 2, f.b.guidance = (real)0.1, f.b.distill = (real)0.3;
    place_answers(&f, &c);
    tape_reset(tp);
    CHECK(tape_backward(tp, mac_loss(m, tp, &f.b, &s)) == 0, "frozen: %s", tape_error(tp));
    static const char *const parts[] = {"enc_decoder.", "aggregator.", "token_SA.", "mlps."};
    uint64_t lm = params_hash(&m->ps, "base_lm.", 0), grads[4], before[4];
    for (int i = 0; i < 4; i++)
        grads[i] = params_hash(&m->ps, parts[i], 1), before[i] = params_hash(&m->ps, parts[i], 0);
    zero_grads(&m->ps);
    param_freeze(&m->ps, "base_lm.", 1);
    for (int step = 0; step < 4; step++) {
        tape_reset(tp);
        CHECK(tape_backward(tp, mac_loss(m, tp, &f.b, &s)) == 0, "frozen: %s", tape_error(tp));
        for (int i = 0; step == 0 && i < 4; i++)
            CHECK(grads[i] == params_hash(&m->ps, parts[i], 1),
                  "a frozen LM changes gradients of %s", parts[i]);
        adam_step(&m->ps, &o);
    }
    CHECK(lm == params_hash(&m->ps, "base_lm.", 0), "the frozen LM has changed");
    for (int i = 0; i < 4; i++)
        CHECK(before[i] != params_hash(&m->ps, parts[i], 0), "%s has not changed", parts[i]);
    param_freeze(&m->ps, "", 1); /* any part alone can be trained: nothing else is in its way */
    for (int i = 0; i < m->ps.n; i += 3) {
        char *name = m->ps.p[i]->name;
        param_freeze(&m->ps, name, 0);
        tape_reset(tp);
        CHECK(tape_backward(tp, mac_loss(m, tp, &f.b, &s)) == 0, "only %s: %s", name,
              tape_error(tp));
        param_freeze(&m->ps, name, 1);
    }
    model_free(m);
}

static void test_overfit(int which) {
    MacConfig c = config(which);
    Model *m = model_new(&c, 9);
    Fixture f;
    MacStats s;
    Adam o = adam_default((real)0.01);
    double first = 0, last = 0;
    fixture(&f, &c, 4, 4, 7);
    f.b.bank_size = 2;
    for (int step = 0; step < 150; step++) {
        tape_reset(tp);
        if (tape_backward(tp, mac_loss(m, tp, &f.b, &s)) != 0) break;
        if (step == 0) first = (double)s.loss;
        last = (double)s.loss;
        adam_step(&m->ps, &o);
    }
    CHECK(first > 2 && last < 0.1 * first, "one batch: loss %g, then %g; %s", first, last,
          tape_error(tp));
    model_free(m);
}

/* ==== the bank =============================================================================== */
static void fill_phi(real *phi, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++) phi[i] = rng_normal(&seed);
}

static Bank *full_bank(const Model *m, int K) {
    Bank *b = bank_new(m->c.T, m->c.d, model_fingerprint(m));
    size_t n = (size_t)(m->c.T * m->c.d);
    real *phi = malloc(n * sizeof *phi);
    for (int i = 0; i < K; i++) {
        char id[20];
        snprintf(id, sizeof id, "doc%d", i);
        fill_phi(phi, n, (uint64_t)i + 50);
        CHECK(bank_add(b, id, "a \"title\"", (uint64_t)i + 1000, phi) == 1, "bank_add");
    }
    free(phi);
    return b;
}

static int same_bank(const Bank *a, const Bank *b) {
    int same = a->K == b->K && a->T == b->T && a->d == b->d && a->model == b->model;
    const char *p = NULL, *q = NULL;
    BankEntry e, f;
    for (int i = 0; same && i < a->K; i++)
        same = (p = bank_next(a, p, &e)) && (q = bank_next(b, q, &f)) && !strcmp(e.id, f.id)
               && !strcmp(e.title, f.title) && e.hash == f.hash;
    same = same && !bank_next(a, p, &e) && !bank_next(b, q, &f);
    return same && (!a->K || !memcmp(a->phi, b->phi, (size_t)(a->K * a->T * a->d) * sizeof(real)));
}

static long slurp(const char *path, char *to, size_t cap) {
    FILE *f = fopen(path, "rb");
    long n = f ? (long)fread(to, 1, cap, f) : -1;
    if (f) fclose(f);
    return n;
}

static void test_bank(Model *m) {
    char path[2][300], err[MAC_ERR] = "";
    static char bytes[2][20000];
    size_t n = (size_t)(m->c.T * m->c.d);
    real *phi = malloc(n * sizeof *phi);
    for (int i = 0; i < 2; i++)
        snprintf(path[i], sizeof path[i], "%s/test_model.%d.bank", scratch, i);
    for (int K = 0; K < 10; K++) {
        Bank *b = full_bank(m, K);
        CHECK(b->K == K && bank_save(b, path[0], err) == 0, "bank_save: %s", err);
        Bank *back = bank_load(path[0], err);
        CHECK(back && same_bank(b, back), "a bank of %d comes back changed: %s", K, err);
        fill_phi(phi, n, 999);
        CHECK(bank_add(b, "new", "title", 5, phi) == 1 && bank_find(b, "new") == K, "add to %d", K);
        CHECK(bank_add(b, "other", "title", 5, phi) == 0 && b->K == K + 1,
              "the same hash is stored once");
        CHECK(!memcmp(b->phi + (size_t)K * n, phi, n * sizeof *phi), "its vectors");
        CHECK(bank_remove(b, "nobody") == -1 && bank_find(b, "nobody") == -1, "an unknown id");
        CHECK(bank_remove(b, "new") == 0 && b->K == K && bank_find(b, "new") == -1, "forget it");
        CHECK(bank_save(b, path[1], err) == 0, "bank_save: %s", err);
        long size = slurp(path[0], bytes[0], sizeof bytes[0]),
             size1 = slurp(path[1], bytes[1], sizeof bytes[1]);
        CHECK(size > 0 && size == size1 && !memcmp(bytes[0], bytes[1], (size_t)size),
              "forgetting leaves traces");
        bank_free(b), bank_free(back);
    }
    Bank *b = full_bank(m, 7);
    CHECK(bank_remove(b, "doc0") == 0 && bank_remove(b, "doc3") == 0 && bank_remove(b, "doc6") == 0,
          "remove");
    static const int left[] = {1, 2, 4, 5};
    const char *at = NULL;
    for (int i = 0; i < 4; i++) {
        BankEntry e = {0};
        char id[20];
        snprintf(id, sizeof id, "doc%d", left[i]);
        fill_phi(phi, n, (uint64_t)left[i] + 50);
        at = bank_next(b, at, &e);
        CHECK(bank_find(b, id) == i && e.hash == (uint64_t)left[i] + 1000
                  && !memcmp(b->phi + (size_t)i * n, phi, n * sizeof *phi),
              "after removals, entry %d", i);
    }
    bank_free(b), bank_free(NULL);
    remove(path[0]), remove(path[1]);
    free(phi);
}

/* A bank that grows into its file has the bytes of one that was in memory; a mapped one may be
 * added to and forgotten from; half precision keeps eleven bits. */
static void test_bank_grow(Model *m) {
    char path[2][300], err[MAC_ERR] = "";
    static char bytes[2][20000];
    size_t n = (size_t)(m->c.T * m->c.d);
    real *phi = malloc(2 * n * sizeof *phi), *back = phi + n;
    for (int half = 0; half < 2; half++) {
        Bank *whole = full_bank(m, 0), *b = NULL;
        for (int i = 0; i < 2; i++)
            snprintf(path[i], sizeof path[i], "%s/test_model.%d.bank", scratch, i);
        whole->half = half;
        for (int part = 0; part < 4; part++) { /* three documents at a time, one of them held */
            b = part ? bank_load(path[1], err) : bank_new(m->c.T, m->c.d, whole->model);
            CHECK(b && b->half == (part && half), "load: %s", err);
            b->half = half;
            CHECK(part == 3 || bank_grow(b, path[1], err) == 0, "grow: %s", err);
            for (int i = part ? 3 * part - 1 : 0; i < 3 * part + 3; i++) {
                char id[20];
                snprintf(id, sizeof id, "doc%d", i);
                fill_phi(phi, n, (uint64_t)i + 50);
                int fresh = bank_add(b, id, "title", (uint64_t)i + 1000, phi);
                CHECK(fresh == (i >= 3 * part), "document %d is %d", i, fresh);
                if (fresh == 1) bank_add(whole, id, "title", (uint64_t)i + 1000, phi);
                if (part < 3 || !fresh) continue;
                bank_read(b, b->K - 1, 1, back);
                for (size_t k = 0; k < n; k++)
                    CHECK(fabs((double)(back[k] - phi[k]))
                              <= (half ? 5e-4 : 0) * fabs((double)phi[k]), "bank_read");
            }
            CHECK(bank_save(b, path[1], err) == 0 && bank_save(whole, path[0], err) == 0,
                  "save: %s", err);
            if (part < 3) bank_free(b);
            long size = slurp(path[0], bytes[0], sizeof bytes[0]),
                 size1 = slurp(path[1], bytes[1], sizeof bytes[1]);
            CHECK(size > 0 && size == size1 && !memcmp(bytes[0], bytes[1], (size_t)size),
                  "part %d: a grown bank is another", part);
        }
        CHECK(bank_remove(b, "doc4") == 0 && bank_find(b, "doc5") == 4, "remove");
        Bank *mapped = bank_load(path[1], err);
        CHECK(mapped && bank_remove(mapped, "doc4") == 0 && mapped->K == 11, "remove, mapped");
        CHECK(bank_save(b, path[0], err) == 0 && bank_save(mapped, path[1], err) == 0, "%s", err);
        long size = slurp(path[0], bytes[0], sizeof bytes[0]),
             size1 = slurp(path[1], bytes[1], sizeof bytes[1]);
        CHECK(size > 0 && size == size1 && !memcmp(bytes[0], bytes[1], (size_t)size), "traces");
        bank_free(b), bank_free(mapped), bank_free(whole);
        b = bank_load(path[1], err); /* given up: the file stays as it is */
        CHECK(b && bank_grow(b, path[1], err) == 0 && bank_add(b, "x", "y", 1, phi) == 1,
              "grow: %s", err);
        bank_free(b);
        CHECK(slurp(path[1], bytes[0], sizeof bytes[0]) == size
                  && !memcmp(bytes[0], bytes[1], (size_t)size), "a bank given up has changed");
        remove(path[0]), remove(path[1]);
    }
    free(phi);
}

/* ==== answers ================================================================================ */
enum { CAP = 5, N_Q = 20 };

/* The prefix of one question by the public functions, no batch. */
static Tensor *prefix_of_bank(Model *m, const Ids *q, const Bank *bank) {
    int zero = 0, K = bank->K;
    Tensor *phi = tape_tensor(tp, K * m->c.T, m->c.d);
    if (K) memcpy(phi->data, bank->phi, numel(phi) * sizeof(real));
    AggReads r = {.doc0 = &zero, .docs = &K};
    return prefix_expand(m, tp, agg_forward(m, tp, q, 1, phi, &r), 1);
}

/* Logits after a sequence, everything read anew. */
static const real *fresh_logits(Model *m, Ids x, Tensor *prefix) {
    int last = x.n - 1;
    Tensor *h = lm_hidden(m, tp, &x, 1, prefix, NULL);
    Tensor *l = lm_logits(m, tp, op_rows(tp, h, NULL, &last, 1));
    CHECK(l != NULL, "logits: %s", tape_error(tp));
    return l ? l->data : NULL;
}

static int greedy_anew(Model *m, const Ids *q, Tensor *prefix, int *out) {
    int id[32], n = q->n, V = m->c.V;
    memcpy(id, q->id, (size_t)n * sizeof *id);
    for (int k = 0; k < CAP; k++) {
        const real *l = fresh_logits(m, (Ids){id, n, q->doc}, prefix);
        int best = 0;
        for (int v = 0; l && v < V; v++)
            if (l[v] > l[best]) best = v;
        if (best == V - 1) return k;
        id[n++] = out[k] = best;
    }
    return CAP;
}

/* Mean log-probability of an answer, of its EOS too when it has one. */
static double mean_log_prob(Model *m, const Ids *q, Tensor *prefix, const int *answer, int n) {
    int id[32], V = m->c.V, counted = n < CAP ? n + 1 : n;
    double sum = 0;
    memcpy(id, q->id, (size_t)q->n * sizeof *id);
    for (int k = 0; k < counted; k++) {
        const real *l = fresh_logits(m, (Ids){id, q->n + k}, prefix);
        double all = 0;
        for (int v = 0; l && v < V; v++) all += exp((double)l[v]);
        id[q->n + k] = k < n ? answer[k] : V - 1;
        sum += l ? (double)l[id[q->n + k]] - log(all) : NAN;
    }
    return sum / counted;
}

static void questions(Ids *q, int (*tok)[8], const MacConfig *c, uint64_t seed) {
    for (int i = 0; i < N_Q; i++) {
        q[i] = (Ids){tok[i], 1 + rng_below(&seed, 5)};
        for (int j = 0; j < 8; j++) tok[i][j] = rng_below(&seed, c->V - 1);
    }
}

static Model *talking_model(uint64_t seed) { /* some answers end, others do not */
    MacConfig c = config(0);
    Model *m = noisy_model(&c, seed);
    Tensor *wte = param_find(&m->ps, "base_lm.base_lm.transformer.wte.weight");
    for (size_t i = 0; i < numel(wte); i++) wte->data[i] *= (real)3;
    return m;
}

static void test_greedy(Model *m, const Bank *bank, const Ids *q) {
    int out[N_Q * CAP], n[N_Q], want[CAP], ended = 0, words = 0;
    real received[N_Q * 8];
    AnswerOptions o = {.received = received};
    tape_reset(tp);
    CHECK(mac_answer(m, tp, q, N_Q, bank, CAP, out, n, &o) == 0, "answer: %s", tape_error(tp));
    for (int i = 0; i < N_Q; i++) {
        int own[CAP], own_n, len = greedy_anew(m, &q[i], prefix_of_bank(m, &q[i], bank), want);
        real alone[8];
        double sum = 0, off = 0;
        ended += n[i] < CAP, words += n[i];
        CHECK(n[i] == len && !memcmp(out + i * CAP, want, (size_t)len * sizeof *want),
              "answer %d is not the one without a cache", i);
        o.received = alone;
        CHECK(mac_answer(m, tp, &q[i], 1, bank, CAP, own, &own_n, &o) == 0, "answer: %s",
              tape_error(tp));
        CHECK(own_n == n[i] && !memcmp(own, want, (size_t)len * sizeof *want),
              "answer %d depends on others", i);
        for (int k = 0; k < bank->K; k++) {
            double is = (double)received[i * bank->K + k];
            sum += is, off = fmax(off, fabs(is - (double)alone[k]));
        }
        CHECK(fabs(sum - 1) < 1e-5 && off < 1e-5, "question %d: mass %g, alone %g off", i, sum,
              off);
    }
    CHECK(ended > 2 && ended < N_Q - 2 && words > N_Q, "%d of %d end, %d words: proves little",
          ended, N_Q, words);
}

/* Beam search by its definition, everything read anew: of the continuations of a group's running
 * answers the 2w best are looked at; those that end among the first w are answers, the first w
 * others run on, until w have ended.  The best mean log-probability wins.  Groups take their turns
 * within a step; what those before have appended is counted from their answers. */
enum { WIDE = 4 };
typedef struct { int id[32]; double sum; } Beam;
typedef struct { Beam live[WIDE]; int n, ended; } Beams;

static void beam_end(const Beam *b, int n, double mean, double *best, int *out, int *n_out) {
    if (!(mean > *best)) return;
    *best = mean, *n_out = n;
    memcpy(out, b->id, (size_t)n * sizeof *out);
}

static int appended(const Beams *s, int groups, int step, int token) {
    int count = 0;
    for (int g = 0; g < groups; g++)
        for (int b = 0; b < s[g].n; b++) count += s[g].live[b].id[step] == token;
    return count;
}

static void group_anew(Model *m, const Ids *q, Tensor *prefix, Beams *s, int g, int w, int step,
                       double penalty, double *best, int *out, int *n_out) {
    int V = m->c.V, kept = 0, id[32];
    double score[WIDE * 32];
    Beam next[WIDE];
    memcpy(id, q->id, (size_t)q->n * sizeof *id);
    for (int b = 0; b < s[g].n; b++) {
        double all = 0;
        memcpy(id + q->n, s[g].live[b].id, (size_t)step * sizeof *id);
        const real *l = fresh_logits(m, (Ids){id, q->n + step}, prefix);
        for (int v = 0; l && v < V; v++) all += exp((double)l[v]);
        for (int v = 0; l && v < V; v++)
            score[b * V + v] = s[g].live[b].sum + (double)l[v] - log(all)
                               - penalty * appended(s, g, step, v);
    }
    for (int rank = 0; rank < 2 * w && kept < w; rank++) {
        int top = 0;
        for (int i = 1; i < s[g].n * V; i++)
            if (score[i] > score[top]) top = i;
        Beam b = s[g].live[top / V];
        b.sum = score[top], b.id[step] = top % V;
        score[top] = -INFINITY;
        if (top % V < V - 1) next[kept++] = b;
        else if (rank < w) s[g].ended++, beam_end(&b, step, b.sum / (step + 1), best, out, n_out);
    }
    s[g].n = kept;
    memcpy(s[g].live, next, (size_t)kept * sizeof *next);
}

static int beams_anew(Model *m, const Ids *q, Tensor *prefix, int groups, double penalty,
                      int *out) {
    Beams s[WIDE] = {{.n = 0}};
    int n_out = 0, w = WIDE / groups, step = 0, running = groups;
    double best = -INFINITY;
    for (int g = 0; g < groups; g++) s[g].n = 1;
    for (; step < CAP && running; step++)
        for (int g = running = 0; g < groups; g++) {
            if (s[g].ended >= w) s[g].n = 0; /* it chooses nothing any more */
            else group_anew(m, q, prefix, s, g, w, step, penalty, &best, out, &n_out);
            running += s[g].ended < w;
        }
    for (int g = 0; g < groups; g++)
        for (int b = 0; s[g].ended < w && b < s[g].n; b++)
            beam_end(&s[g].live[b], step, s[g].live[b].sum / step, &best, out, &n_out);
    return n_out;
}

/* How many answers differ from those of plain beams. */
static int diverse(Model *m, const Bank *bank, const Ids *q, int groups, double penalty,
                   const int *plain, const int *plain_n) {
    int out[N_Q * CAP], n[N_Q], want[CAP], differ = 0;
    AnswerOptions o = {.beams = WIDE, .beam_groups = groups, .penalty = (real)penalty};
    tape_reset(tp);
    CHECK(mac_answer(m, tp, q, N_Q, bank, CAP, out, n, &o) == 0, "groups: %s", tape_error(tp));
    for (int i = 0; i < N_Q; i++) {
        int len = beams_anew(m, &q[i], prefix_of_bank(m, &q[i], bank), groups, penalty, want);
        CHECK(n[i] == len && !memcmp(out + i * CAP, want, (size_t)len * sizeof *want),
              "%d groups, penalty %g: answer %d is not the one of the definition", groups, penalty,
              i);
        differ += n[i] != plain_n[i]
                  || memcmp(out + i * CAP, plain + i * CAP, (size_t)n[i] * sizeof *n);
    }
    return differ;
}

static void test_diverse(Model *m, const Bank *bank, const Ids *q, const int *plain,
                         const int *plain_n) {
    static const struct { int groups; double penalty; } way[] = {
        {2, 0.3}, {2, 10}, {4, 0.3}, {4, -0.4}, {2, -0.4}}; /* below 0 the last groups win */
    int out[CAP], n;
    CHECK(diverse(m, bank, q, 1, 10, plain, plain_n) == 0, "one group pays no penalty");
    for (int i = 0; i < 5; i++)
        CHECK(diverse(m, bank, q, way[i].groups, way[i].penalty, plain, plain_n) > 0,
              "%d groups, penalty %g change nothing: proves little", way[i].groups,
              way[i].penalty);
    AnswerOptions o = {.beams = WIDE, .beam_groups = 3};
    tape_reset(tp);
    CHECK(mac_answer(m, tp, q, 1, bank, CAP, out, &n, &o) == -1 && tape_error(tp)[0],
          "four beams in three groups");
}

static void test_beams(Model *m, const Bank *bank, const Ids *q) {
    int out[N_Q * CAP], n[N_Q], one[N_Q * CAP], one_n[N_Q], wide[N_Q * CAP], wide_n[N_Q],
        better = 0, worse = 0;
    AnswerOptions o = {.beams = 1};
    tape_reset(tp);
    CHECK(mac_answer(m, tp, q, N_Q, bank, CAP, out, n, NULL) == 0, "greedy: %s", tape_error(tp));
    CHECK(mac_answer(m, tp, q, N_Q, bank, CAP, one, one_n, &o) == 0, "one beam: %s",
          tape_error(tp));
    o.beams = WIDE;
    CHECK(mac_answer(m, tp, q, N_Q, bank, CAP, wide, wide_n, &o) == 0, "four beams: %s",
          tape_error(tp));
    for (int i = 0; i < N_Q; i++) {
        CHECK(n[i] == one_n[i] && !memcmp(out + i * CAP, one + i * CAP, (size_t)n[i] * sizeof *n),
              "one beam is not greedy: answer %d", i);
        CHECK(wide_n[i] >= 0 && wide_n[i] <= CAP, "answer %d has %d tokens", i, wide_n[i]);
        for (int k = 0; k < wide_n[i]; k++)
            CHECK(wide[i * CAP + k] >= 0 && wide[i * CAP + k] < m->c.V - 1, "token %d",
                  wide[i * CAP + k]);
        Tensor *prefix = prefix_of_bank(m, &q[i], bank);
        double g = mean_log_prob(m, &q[i], prefix, out + i * CAP, n[i]);
        double w = mean_log_prob(m, &q[i], prefix, wide + i * CAP, wide_n[i]);
        better += w > g + 1e-6, worse += !(w >= g - 1e-6);
        int want[CAP], len = beams_anew(m, &q[i], prefix, 1, 0, want);
        CHECK(wide_n[i] == len && !memcmp(wide + i * CAP, want, (size_t)len * sizeof *want),
              "four beams: answer %d is not the one without a cache", i);
    }
    CHECK(worse <= 3 && better >= 3, "four beams: %d better, %d worse than greedy", better, worse);
    test_diverse(m, bank, q, wide, wide_n);
}

/* With context, the LM reads both; the memory is asked with the question alone. */
static void test_context(Model *m, const Bank *bank, const Ids *q) {
    int out[4 * CAP], n[4], want[CAP], id[20];
    static const int more[] = {3, 1, 4, 1, 5};
    Ids context[4] = {{more, 5}, {more, 0}, {more + 1, 2}, {more, 3}};
    AnswerOptions o = {.context = context};
    tape_reset(tp);
    CHECK(mac_answer(m, tp, q, 4, bank, CAP, out, n, &o) == 0, "context: %s", tape_error(tp));
    for (int i = 0; i < 4; i++) {
        memcpy(id, context[i].id, (size_t)context[i].n * sizeof *id);
        memcpy(id + context[i].n, q[i].id, (size_t)q[i].n * sizeof *id);
        Ids both = {id, context[i].n + q[i].n, context[i].n};
        int len = greedy_anew(m, &both, prefix_of_bank(m, &q[i], bank), want);
        CHECK(n[i] == len && !memcmp(out + i * CAP, want, (size_t)len * sizeof *want),
              "context, answer %d", i);
    }
    tape_reset(tp);
    CHECK(mac_answer(m, tp, q, 4, NULL, CAP, out, n, NULL) == 0, "LM alone: %s", tape_error(tp));
    for (int i = 0; i < 4; i++) {
        int len = greedy_anew(m, &q[i], NULL, want);
        CHECK(n[i] == len && !memcmp(out + i * CAP, want, (size_t)len * sizeof *want),
              "LM alone, answer %d", i);
    }
    int longest[40] = {0};
    Ids too_long = {longest, 40};
    CHECK(mac_answer(m, tp, &too_long, 1, bank, CAP, out, n, NULL) == -1
              && strstr(tape_error(tp), "24"),
          "a question beyond the window: \"%s\"", tape_error(tp));
    tape_reset(tp);
    CHECK(tape_record(tp, 1) == 1, "a failed answer leaves the tape off");
}

/* The order of documents changes rounding only, and the mass follows its document. */
static void test_order(Model *m, const Bank *bank, const Ids *q) {
    static const int order[] = {3, 0, 4, 1, 2};
    Bank *b = bank_new(m->c.T, m->c.d, bank->model);
    size_t n = (size_t)(m->c.T * m->c.d);
    for (int i = 0; i < 5; i++)
        bank_add(b, "x", "y", (uint64_t)i, bank->phi + (size_t)order[i] * n);
    tape_reset(tp);
    real got[2][5];
    int out[CAP], len;
    AnswerOptions o = {.received = got[0]};
    CHECK(mac_answer(m, tp, q, 1, bank, CAP, out, &len, &o) == 0, "order: %s", tape_error(tp));
    o.received = got[1];
    CHECK(mac_answer(m, tp, q, 1, b, CAP, out, &len, &o) == 0, "order: %s", tape_error(tp));
    for (int i = 0; i < 5; i++)
        CHECK(fabs((double)(got[1][i] - got[0][order[i]])) < 1e-5, "mass of document %d moves", i);
    CHECK(got[0][0] != got[0][1], "all documents are alike: this proves nothing");
    Tensor *x = prefix_of_bank(m, q, bank), *y = prefix_of_bank(m, q, b);
    for (size_t i = 0; x && y && i < numel(x); i++)
        CHECK(fabs((double)(x->data[i] - y->data[i])) < 1e-5, "the order changes prefix[%d]",
              (int)i);
    bank_free(b);
}

static void test_empty(Model *m, const Ids *q) {
    Bank *b = bank_new(m->c.T, m->c.d, 0);
    int out[3 * CAP], n[3], want[CAP];
    real received[1] = {7};
    AnswerOptions o = {.beams = 0, .hierarchy = 2, .received = received};
    for (int beams = 0; beams < 5; beams += 4) {
        o.beams = beams;
        tape_reset(tp);
        CHECK(mac_answer(m, tp, q, 3, b, CAP, out, n, &o) == 0, "empty bank: %s", tape_error(tp));
    }
    CHECK(received[0] == 7, "nothing is received in an empty bank");
    tape_reset(tp);
    Tensor *prefix = prefix_of_bank(m, q, b);
    for (size_t i = 0; prefix && i < numel(prefix); i++)
        CHECK(isfinite(prefix->data[i]), "empty bank: prefix[%d]", (int)i);
    CHECK(mac_answer(m, tp, q, 1, b, CAP, out, n, NULL) == 0, "empty bank: %s", tape_error(tp));
    CHECK(prefix && n[0] == greedy_anew(m, q, prefix, want), "empty bank: answers");
    b->T++;
    CHECK(mac_answer(m, tp, q, 1, b, CAP, out, n, NULL) == -1 && tape_error(tp)[0],
          "a bank of other sizes");
    bank_free(b);
}

/* Groups of M = 2 by hand: modulations of groups become the documents of the next round. */
static Tensor *prefix_by_groups(Model *m, const Ids *q, const Bank *bank, int M) {
    size_t row = (size_t)(m->c.T * m->c.d);
    int K = bank->K;
    const real *held = bank->phi;
    for (;;) {
        int G = (K + M - 1) / M;
        Tensor *next = tape_tensor(tp, G * m->c.T, m->c.d);
        for (int g = 0; g < G; g++) {
            int zero = 0, docs = K - g * M < M ? K - g * M : M;
            Tensor *phi = tape_tensor(tp, docs * m->c.T, m->c.d);
            memcpy(phi->data, held + (size_t)(g * M) * row, (size_t)docs * row * sizeof(real));
            AggReads r = {.doc0 = &zero, .docs = &docs};
            Tensor *z = agg_forward(m, tp, q, 1, phi, &r);
            memcpy(next->data + (size_t)g * row, z->data, row * sizeof(real));
        }
        if (G == 1) return prefix_expand(m, tp, next, 1);
        K = G, held = next->data;
    }
}

static void test_hierarchy(Model *m, const Bank *bank, const Ids *q) {
    int out[4][N_Q * CAP], n[4][N_Q], differ = 0, want[CAP];
    real received[4][N_Q * 5];
    static const int M[] = {0, 5, 9, 2};
    tape_reset(tp);
    for (int k = 0; k < 4; k++) {
        AnswerOptions o = {.hierarchy = M[k], .received = k < 3 ? received[k] : NULL};
        CHECK(mac_answer(m, tp, q, N_Q, bank, CAP, out[k], n[k], &o) == 0, "hierarchy: %s",
              tape_error(tp));
    }
    for (int i = 0; i < N_Q; i++) {
        for (int k = 1; k < 3; k++)
            CHECK(n[k][i] == n[0][i]
                      && !memcmp(out[k] + i * CAP, out[0] + i * CAP, (size_t)n[0][i] * sizeof(int))
                      && !memcmp(received[k] + i * 5, received[0] + i * 5, 5 * sizeof(real)),
                  "M = %d >= K", M[k]);
        differ += n[3][i] != n[0][i]
                  || memcmp(out[3] + i * CAP, out[0] + i * CAP, (size_t)n[0][i] * sizeof(int));
        int len = greedy_anew(m, &q[i], prefix_by_groups(m, &q[i], bank, 2), want);
        CHECK(n[3][i] == len && !memcmp(out[3] + i * CAP, want, (size_t)len * sizeof *want),
              "M = 2, answer %d", i);
    }
    CHECK(differ > 0, "groups of two change no answer: this proves nothing");
    AnswerOptions o = {.hierarchy = 1};
    CHECK(mac_answer(m, tp, q, 1, bank, CAP, out[0], n[0], &o) == -1 && tape_error(tp)[0],
          "groups of one");
}

/* ---- answers of which only some are allowed ---- */
typedef struct { int every, most; } Allowed; /* tokens divided by `every`; `most` of them */
static int is_allowed(void *ctx, int b, const int *ids, int n, int token) {
    const Allowed *a = ctx;
    int odd = b % 2; /* each question has its own rule */
    for (int i = 0; i < n; i++)
        if (ids[i] % a->every != odd % a->every) return 0;
    return n < a->most && token % a->every == odd % a->every;
}

/* All tokens allowed: the answer as it is.  Every second: only these, and the best of them first.
 * None: an end. */
static void test_allow(Model *m, const Bank *bank, const Ids *q) {
    static const Allowed rules[] = {{1, 99}, {2, 3}, {1, 0}};
    int out[4][N_Q * CAP], n[4][N_Q], differ = 0;
    tape_reset(tp);
    for (int i = 0; i < 4; i++) {
        AnswerOptions o = {.allow = i ? is_allowed : NULL,
                           .ctx = (void *)(uintptr_t)&rules[i ? i - 1 : 0]};
        CHECK(mac_answer(m, tp, q, N_Q, bank, CAP, out[i], n[i], &o) == 0, "allow: %s",
              tape_error(tp));
    }
    for (int b = 0; b < N_Q; b++) {
        CHECK(n[1][b] == n[0][b] && !memcmp(out[1] + b * CAP, out[0] + b * CAP,
                                            (size_t)n[0][b] * sizeof(int)),
              "all are allowed, %d", b);
        for (int i = 0; i < n[2][b]; i++)
            CHECK(out[2][b * CAP + i] % 2 == b % 2, "answer %d has what is not allowed", b);
        CHECK(n[2][b] <= 3 && n[3][b] == 0, "answers of %d and %d tokens", n[2][b], n[3][b]);
        Tensor *own = prefix_of_bank(m, &q[b], bank);
        Tensor *l = lm_logits(m, tp, op_rows(tp, lm_hidden(m, tp, &q[b], 1, own, NULL), NULL,
                                             (int[]){q[b].n - 1}, 1));
        int best = -1;
        for (int v = 0; v < m->c.V; v++)
            if (v % 2 == b % 2 && (best < 0 || l->data[v] > l->data[best])) best = v;
        CHECK(best == m->c.V - 1 ? n[2][b] == 0 : n[2][b] > 0 && out[2][b * CAP] == best,
              "answer %d does not begin with the best of what is allowed", b);
        differ += n[2][b] != n[0][b] || out[2][b * CAP] != out[0][b * CAP];
    }
    CHECK(differ > 0, "every second token changes nothing");
}

/* ---- select, then read ---- */
static int near_tensors(const Tensor *a, const real *b) {
    for (size_t i = 0; a && b && i < numel(a); i++)
        if (!(fabs((double)(a->data[i] - b[i])) < 1e-5)) return 0;
    return a && b;
}

static int same_bits(const Tensor *a, const Tensor *b) {
    return a && b && numel(a) == numel(b) && !memcmp(a->data, b->data, numel(a) * sizeof(real));
}

/* Question b's rows of a prefix of B questions, as of one alone. */
static const real *prefix_rows(const Model *m, const Tensor *prefix, int B, int b) {
    int n = m->c.P * 2 * m->c.L, d = m->c.d;
    Tensor *own = prefix ? tape_tensor(tp, n, d) : NULL;
    for (int i = 0; own && i < n; i++)
        memcpy(own->data + i * d, prefix->data + (i * B + b) * d, (size_t)d * sizeof(real));
    return own ? own->data : NULL;
}

/* A bank of those documents alone of which fewer than N others come first: received more, or as
 * much and stand before. */
static Bank most_received(const Bank *bank, const real *received, int N) {
    int own = bank->T * bank->d;
    Bank few = {.T = bank->T, .d = bank->d, .phi = tape_tensor(tp, N, own)->data};
    for (int k = 0; k < bank->K; k++) {
        int before = 0;
        for (int j = 0; j < bank->K; j++)
            before += received[j] > received[k] || (received[j] == received[k] && j < k);
        if (before < N) bank_read(bank, k, 1, few.phi + few.K++ * own);
    }
    CHECK(few.K == N, "%d documents of %d", few.K, N);
    return few;
}

/* What documents receive: the finder's attention where some are selected, the mean over its heads;
 * else that of all vectors, heads and blocks.  By many questions at once as by one. */
static void test_received(int which) {
    MacConfig c = config(which);
    Model *m = noisy_model(&c, 19);
    Bank *bank = full_bank(m, 5);
    Ids q[N_Q];
    int tok[N_Q][8], K = 5, n = K * c.T;
    real received[2][N_Q * 5], alone[5];
    double z[ROOM], keys[ROOM], given[2 * 5];
    questions(q, tok, &c, 3);
    tape_reset(tp);
    for (int k = 0; k < 2; k++)
        CHECK(mac_prefix(m, tp, q, N_Q, bank, &(AnswerOptions){.select = 2 * k,
                                                               .received = received[k]}),
              "received: %s", tape_error(tp));
    for (int i = 0; i < n * c.d; i++) keys[i] = (double)bank->phi[i];
    for (int b = 0; b < N_Q; b++) {
        double found[5] = {0}, all[5] = {0}, key[24] = {0};
        naive_question(m, &q[b], z);
        int heads = naive_finder(m, z, bank->phi, K, given);
        for (int i = 0; i < heads * K; i++) found[i % K] += given[i] / heads;
        for (int l = 0; l < c.agg_B; l++) naive_block(m, l, z, keys, n, key);
        for (int i = 0; i < n; i++) all[i / c.T] += key[i] / c.agg_B;
        near_all("the finder's attention", b, received[1] + b * K, found, K);
        near_all("everybody's attention", b, received[0] + b * K, all, K);
        mac_prefix(m, tp, &q[b], 1, bank, &(AnswerOptions){.select = 1, .received = alone});
        near_all("the finder's attention, alone", b, alone, found, K);
    }
    bank_free(bank);
    model_free(m);
}

/* Answers and prefixes are, to the bit, those of a bank of the selected documents alone, in their
 * order; those of many questions at once are near. */
static void test_select(Model *m, const Bank *bank, const Ids *q) {
    int out[2][N_Q * CAP], n[2][N_Q], want[CAP], K = bank->K, differ = 0;
    real received[5][N_Q * 5];
    for (int N = 1; N < K; N++) {
        tape_reset(tp);
        for (int k = 0; k < 2; k++) {
            AnswerOptions o = {.select = k ? N : 0, .received = received[k ? N : 0]};
            CHECK(mac_answer(m, tp, q, N_Q, bank, CAP, out[k], n[k], &o) == 0, "select: %s",
                  tape_error(tp));
        }
        CHECK(!memcmp(received[1], received[N], sizeof received[1]), "received where %d count", N);
        CHECK(memcmp(received[0], received[N], sizeof received[1]), "received by all heads");
        AnswerOptions o = {.select = N};
        Tensor *all = mac_prefix(m, tp, q, N_Q, bank, &o);
        for (int i = 0; i < N_Q; i++) {
            Bank few = most_received(bank, received[N] + i * K, N);
            Tensor *own = prefix_of_bank(m, &q[i], &few);
            Tensor *alone = mac_prefix(m, tp, &q[i], 1, bank, &o);
            Tensor *streamed = mac_prefix(m, tp, &q[i], 1, &few, &(AnswerOptions){0});
            CHECK(same_bits(alone, own), "%d of question %d", N, i);
            CHECK(near_tensors(own, prefix_rows(m, all, N_Q, i)), "%d of question %d of many", N,
                  i);
            CHECK(near_tensors(own, streamed->data), "%d of question %d, streamed", N, i);
            int len = greedy_anew(m, &q[i], own, want);
            CHECK(n[1][i] == len && !memcmp(out[1] + i * CAP, want, (size_t)len * sizeof *want),
                  "%d: answer %d is not that of the selected documents", N, i);
            differ += n[0][i] != len
                      || memcmp(out[0] + i * CAP, want, (size_t)len * sizeof *want);
        }
    }
    CHECK(differ > 10, "only %d answers differ: this proves little", differ);
}

/* All documents as without; banks of none and of one; what is on beside it. */
static void test_select_edges(Model *m, const Bank *bank, const Ids *q) {
    static const struct { int K; AnswerOptions with, without; } same[] = {
        {5, {.select = 5}, {0}}, {5, {.select = 9}, {0}}, {0, {.select = 1}, {0}},
        {1, {.select = 1}, {0}}, {1, {.select = 4}, {0}},
        {5, {.select = 1, .hierarchy = 2}, {.hierarchy = 2}}};
    tape_reset(tp);
    for (int i = 0; i < 6; i++) {
        real received[2][N_Q * 5] = {{0}};
        AnswerOptions with = same[i].with, without = same[i].without;
        Bank b = *bank;
        b.K = same[i].K, with.received = received[0], without.received = received[1];
        CHECK(same_bits(mac_prefix(m, tp, q, N_Q, &b, &with),
                        mac_prefix(m, tp, q, N_Q, &b, &without))
                  && !memcmp(received[0], received[1], sizeof received[0]), "select, case %d", i);
        CHECK(same_bits(mac_prefix(m, tp, q, N_Q, &b, &same[i].with),
                        mac_prefix(m, tp, q, N_Q, &b, &same[i].without)),
              "select, case %d, received not asked", i);
    }
    Bank *half = bank_new(m->c.T, m->c.d, 0), *whole = bank_new(m->c.T, m->c.d, 0);
    half->half = 1;
    real *phi = tape_tensor(tp, m->c.T, m->c.d)->data;
    for (int k = 0; k < bank->K; k++) {
        bank_add(half, "x", "y", (uint64_t)k, bank->phi + k * m->c.T * m->c.d);
        bank_read(half, k, 1, phi);
        bank_add(whole, "x", "y", (uint64_t)k, phi);
    }
    AnswerOptions o = {.select = 2};
    CHECK(same_bits(mac_prefix(m, tp, q, N_Q, half, &o), mac_prefix(m, tp, q, N_Q, whole, &o)),
          "select from a bank in half precision");
    bank_free(half), bank_free(whole);
    for (int i = 0; i < N_Q; i++) {
        real received[5];
        int out[2][CAP], n[2];
        o = (AnswerOptions){.beams = 3, .select = 2, .received = received};
        CHECK(mac_answer(m, tp, &q[i], 1, bank, CAP, out[0], &n[0], &o) == 0, "select, beams");
        Bank few = most_received(bank, received, 2);
        o = (AnswerOptions){.beams = 3};
        CHECK(mac_answer(m, tp, &q[i], 1, &few, CAP, out[1], &n[1], &o) == 0, "beams");
        CHECK(n[0] == n[1] && !memcmp(out[0], out[1], (size_t)n[0] * sizeof(int)),
              "select with beams, answer %d", i);
    }
}

/* Queries of zeros find nothing: all documents receive the same, and the first ones are taken. */
static void test_select_ties(const Bank *bank, const Ids *q) {
    Model *m = talking_model(13);
    for (int i = 0; i < m->ps.n; i++) {
        Param *p = m->ps.p[i];
        if (strstr(p->name, "to_q")) memset(p->t.data, 0, numel(&p->t) * sizeof(real));
    }
    for (int N = 1; N < bank->K; N++) {
        Bank few = *bank;
        few.K = N;
        tape_reset(tp);
        CHECK(same_bits(mac_prefix(m, tp, q, 1, bank, &(AnswerOptions){.select = N}),
                        prefix_of_bank(m, q, &few)), "the first %d of documents alike", N);
    }
    model_free(m);
}

/* Thousands of documents: the same bits with any number of threads; the same documents, in less
 * memory, when questions read the bank in parts: one number less for each document and question,
 * and most of another, what it received. */
static void test_select_parts(Model *m, const Ids *q) {
    static const int threads[] = {1, 2, 3, 5};
    int K = 1500, out[5][N_Q * CAP], n[5][N_Q];
    size_t one = (size_t)K * sizeof(real); /* the finder has one head: a number for each document */
    const size_t memory[] = {0, N_Q * one, 7 * one, one, 1};
    const size_t saved[] = {0, 0, (N_Q - 7) * one * 3 / 2, 6 * one * 3 / 2, 0};
    size_t peak[5];
    Bank *bank = full_bank(m, K);
    real *first = NULL;
    tape_reset(tp);
    for (int i = 0; i < 4; i++) {
        pool_start(threads[i]);
        const Tensor *p = mac_prefix(m, tp, q, N_Q, bank, &(AnswerOptions){.select = 2});
        if (i == 0 && p) first = p->data;
        CHECK(p && first && !memcmp(p->data, first, numel(p) * sizeof *first),
              "select: other bits with %d threads", threads[i]);
    }
    pool_start(1);
    for (int i = 0; i < 5; i++) {
        Tape *own = tape_new(0);
        AnswerOptions o = {.select = 2, .memory = memory[i]};
        CHECK(near_tensors(mac_prefix(m, own, q, N_Q, bank, &o), first), "in %d bytes",
              (int)memory[i]);
        peak[i] = tape_peak(own);
        CHECK(mac_answer(m, own, q, N_Q, bank, CAP, out[i], n[i], &o) == 0, "select in parts");
        for (int k = 0; k < N_Q; k++)
            CHECK(n[i][k] == n[0][k] && !memcmp(out[i] + k * CAP, out[0] + k * CAP,
                                                (size_t)n[0][k] * sizeof(int)),
                  "in %d bytes, answer %d", (int)memory[i], k);
        CHECK(i == 0 || peak[i] + saved[i] <= peak[i - 1], "%d bytes save too little: %d after %d",
              (int)memory[i], (int)peak[i], (int)peak[i - 1]);
        tape_free(own);
    }
    bank_free(bank);
}

/* Without a selection, what documents receive takes a number for each vector and head, and these
 * rows take turns where one question's are too many. */
static void test_received_parts(Model *m, const Ids *q) {
    int K = 1500;
    size_t numbers = (size_t)K * sizeof(real), one = numbers * (size_t)(m->c.T * m->c.agg_H);
    const size_t memory[] = {0, 7 * one, one, one / 3};
    const size_t saved[] = {0, (N_Q - 7) * one, 6 * one, one / 2};
    size_t peak[4];
    Bank *bank = full_bank(m, K);
    real *received[4];
    const Tensor *all[4];
    tape_reset(tp);
    for (int i = 0; i < 4; i++) {
        Tape *own = tape_new(0);
        received[i] = tape_tensor(tp, N_Q, K)->data;
        AnswerOptions o = {.received = received[i], .memory = memory[i]};
        CHECK(mac_prefix(m, own, q, N_Q, bank, &o), "received: %s", tape_error(own));
        peak[i] = tape_peak(own);
        CHECK(i == 0 || peak[i] + saved[i] <= peak[i - 1], "%d bytes save too little: %d after %d",
              (int)memory[i], (int)peak[i], (int)peak[i - 1]);
        all[i] = mac_prefix(m, tp, q, N_Q, bank, &o);
        CHECK(all[0] && near_tensors(all[i], all[0]->data), "prefixes in parts");
        for (int k = 0; k < N_Q * K; k++)
            CHECK(fabs((double)(received[0][k] - received[i][k])) < 1e-5, "received in parts, %d",
                  k);
        tape_free(own);
    }
    bank_free(bank);
}

/* ---- the gate ---- */
#define N_S 3 /* strangers */

/* A gate as a file might bring it. */
static void give_gate(Model *m, real slope, real shift) {
    size_t n = (size_t)(N_S * m->c.T * m->c.d);
    m->gate = (Gate){.R = N_S, .F = m->c.T > 2 ? 2 : 1, .t = calloc(2, sizeof(real)),
                     .strangers = malloc(n * sizeof(real)), .fit = {slope, shift}};
    m->gate.t[m->gate.F - 1] = (real)(m->c.T - 1);
    fill_phi(m->gate.strangers, n, 99);
}

static double squash(double share, double slope, double shift) {
    return 1 / (1 + exp(-(slope * log(share / (1 - share)) + shift)));
}

/* What documents receive is the finder's attention in a bank that ends in the strangers; how sure
 * an answer is comes from the document that the least of its heads gives most.  A chunk has 256
 * rows at most; strangers begin within one, and end in the next. */
static void test_sure(int which) {
    MacConfig c = config(which);
    Model *m = noisy_model(&c, 19);
    Bank *bank = full_bank(m, 256);
    Ids q[N_Q];
    int tok[N_Q][8];
    const int sizes[] = {1, 14, 256 / c.T - 1, 256 / c.T};
    size_t per = (size_t)(c.T * c.d);
    static real received[N_Q * 256];
    static double found[256], given[2 * 259];
    real sure[N_Q];
    double z[ROOM];
    questions(q, tok, &c, 3);
    give_gate(m, (real)0.7, (real)-0.3);
    for (int i = 0, K; i < 4; i++) {
        K = sizes[i];
        tape_reset(tp);
        real *phi = tape_tensor(tp, (K + N_S) * c.T, c.d)->data;
        memcpy(phi, bank->phi, (size_t)K * per * sizeof *phi);
        memcpy(phi + (size_t)K * per, m->gate.strangers, N_S * per * sizeof *phi);
        Bank few = *bank;
        few.K = K;
        AnswerOptions o = {.select = K % 2, .received = received, .sure = sure};
        CHECK(mac_prefix(m, tp, q, N_Q, &few, &o), "sure: %s", tape_error(tp));
        for (int b = 0; b < N_Q; b++) {
            double most = 0;
            naive_question(m, &q[b], z);
            int heads = naive_finder(m, z, phi, K + N_S, given);
            for (int k = 0; k < K; k++) {
                double least = 1;
                found[k] = 0;
                for (int f = 0; f < heads; f++) {
                    found[k] += given[f * (K + N_S) + k] / heads;
                    least = fmin(least, given[f * (K + N_S) + k]);
                }
                most = fmax(most, least);
            }
            near_all("received beside strangers", b, received + b * K, found, K);
            near_all("sure", b, sure + b, (double[]){squash(most, 0.7, -0.3)}, 1);
        }
    }
    bank_free(bank);
    model_free(m);
}

/* Who asks how sure an answer is gets the same answer, from a bank in half precision too; with many
 * threads, and in little memory, the same certainty.  An empty bank knows nothing. */
static void test_sure_edges(Model *m, const Bank *bank, const Ids *q) {
    real sure[4][N_Q], received[N_Q * 5];
    tape_reset(tp);
    CHECK(!mac_prefix(m, tp, q, N_Q, bank, &(AnswerOptions){.sure = sure[0]})
              && strstr(tape_error(tp), "no gate"), "sure without a gate: %s", tape_error(tp));
    give_gate(m, 1, 0);
    Bank *half = bank_new(m->c.T, m->c.d, 0);
    half->half = 1;
    for (int k = 0; k < bank->K; k++)
        bank_add(half, "x", "y", (uint64_t)k, bank->phi + k * m->c.T * m->c.d);
    for (int i = 0; i < 6; i++) {
        const Bank *of = i < 3 ? bank : half;
        AnswerOptions o = {.select = i % 3, .sure = sure[0]}, without = {.select = i % 3};
        tape_reset(tp);
        CHECK(same_bits(mac_prefix(m, tp, q, N_Q, of, &o), mac_prefix(m, tp, q, N_Q, of, &without)),
              "sure changes what is drawn, case %d", i);
        pool_start(3);
        o = (AnswerOptions){.select = i % 3, .sure = sure[1], .received = received, .memory = 1};
        CHECK(mac_prefix(m, tp, q, N_Q, of, &o), "sure: %s", tape_error(tp));
        pool_start(1);
        for (int b = 0; b < N_Q; b++)
            CHECK(fabs((double)(sure[0][b] - sure[1][b])) < 1e-5, "one as sure as many");
    }
    bank_free(half);
    half = bank_new(m->c.T, m->c.d, 0);
    CHECK(mac_prefix(m, tp, q, N_Q, half, &(AnswerOptions){.select = 1, .sure = sure[0]}),
          "an empty bank: %s", tape_error(tp));
    for (int b = 0; b < N_Q; b++)
        CHECK(sure[0][b] >= 0 && (double)sure[0][b] < 1e-5, "sure of nothing: %g",
              (double)sure[0][b]);
    bank_free(half);
    free(m->gate.strangers), free(m->gate.t);
    m->gate = (Gate){0};
}

/* How far documents are: of vectors 0 and T-1 alone, less their mean, by their deviation; as a part
 * of how far the nearest of the strangers is, whose vectors lie in pairs. */
static void test_versions(int which) {
    MacConfig c = config(which);
    Model *m = noisy_model(&c, 27);
    Bank *bank = full_bank(m, 6);
    int F = c.T > 2 ? 2 : 1, d = c.d, strangers = N_S * c.T / F;
    size_t per = (size_t)(c.T * d);
    real ratio[6];
    give_gate(m, 1, 0);
    tape_reset(tp);
    for (int k = 0; k < 6; k++) {
        const real *phi = bank->phi + (size_t)k * per;
        double far[6] = {0}, nearest = INFINITY;
        CHECK(mac_versions(m, tp, bank, 6, phi, ratio) == 0, "versions: %s", tape_error(tp));
        for (int i = 0; i < 6 + strangers; i++) {
            double sum = 0;
            for (int f = 0; f < F; f++) {
                const real *a = phi + f * (c.T - 1) * d;
                const real *b = i < 6 ? bank->phi + (size_t)i * per + f * (c.T - 1) * d
                                      : m->gate.strangers + ((i - 6) * F + f) * d;
                double mean[2] = {0}, square[2] = {0};
                for (int j = 0; j < d; j++)
                    mean[0] += (double)a[j] / d, mean[1] += (double)b[j] / d;
                for (int j = 0; j < d; j++)
                    square[0] += pow((double)a[j] - mean[0], 2) / d,
                        square[1] += pow((double)b[j] - mean[1], 2) / d;
                for (int j = 0; j < d; j++)
                    sum += pow(((double)a[j] - mean[0]) / sqrt(square[0] + 1e-5)
                                   - ((double)b[j] - mean[1]) / sqrt(square[1] + 1e-5), 2);
            }
            if (i < 6) far[i] = sqrt(sum);
            else if (sqrt(sum) < nearest) nearest = sqrt(sum);
        }
        for (int i = 0; i < 6; i++) far[i] /= nearest;
        near_all("versions", k, ratio, far, 6);
    }
    m->gate.R = 0;
    CHECK(mac_versions(m, tp, bank, 6, bank->phi, ratio) == -1 && strstr(tape_error(tp), "gate"),
          "versions without a gate");
    bank_free(bank);
    model_free(m);
}

/* Each question's document is the one that it finds, mostly: every 31st question has another. */
static void found_documents(Model *m, const Ids *q, int n, const Ids *docs, int K, int *of) {
    tape_reset(tp);
    Bank all = {.T = m->c.T, .d = m->c.d, .K = K, .phi = mac_encode(m, tp, docs, K)->data};
    real *received = tape_tensor(tp, n, K)->data;
    mac_prefix(m, tp, q, n, &all, &(AnswerOptions){.select = 1, .received = received});
    for (int i = 0; i < n; i++) {
        of[i] = i % 31 ? 0 : i % K;
        for (int k = 0; k < K && i % 31; k++)
            if (received[i * K + k] > received[i * K + of[i]]) of[i] = k;
    }
}

/* Of each stranger the vectors t are kept that receive half of what a head gives, in their order;
 * where none does, the one that receives most. */
static void check_strangers(Model *m, const Ids *strangers, const Ids *q, int n) {
    int T = m->c.T, d = m->c.d, K = N_S * T, heads = m->c.agg_H - m->c.agg_H / 2, F = 0, at = 0;
    double all[8] = {0}, given[64], z[ROOM];
    tape_reset(tp);
    const Tensor *phi = mac_encode(m, tp, strangers, N_S);
    for (int b = 0; b < n; b++) {
        naive_question(m, &q[b], z);
        m->c.T = 1; /* each vector a document */
        naive_finder(m, z, phi->data, K, given);
        m->c.T = T;
        for (int i = 0; i < heads * K; i++) all[i % T] += given[i] / heads;
    }
    for (int t = 0; t < T; t++) F += all[t] >= 0.5 * n / heads;
    if (!F) F = 1;
    CHECK(m->gate.R == (N_S * F + T - 1) / T && m->gate.F == F && F < T, "%d strangers, F %d",
          m->gate.R, F);
    for (int t = 0; t < T; t++) {
        int more = 0;
        for (int u = 0; u < T; u++) more += all[u] > all[t];
        if (more >= F) continue;
        CHECK(m->gate.t[at] == (real)t, "vector %d is said to be %g", t, (double)m->gate.t[at]);
        for (int i = at++; i < m->gate.R * T; i += F)
            CHECK(!memcmp(m->gate.strangers + i * d, phi->data + (i / F % N_S * T + t) * d,
                          (size_t)d * sizeof(real)), "stranger %d, vector %d", i, t);
    }
}

/* The finder's heads become almost equal, as those of a trained one agree about what they find. */
static void heads_alike(Model *m) {
    for (int which = 0; which < 2; which++) {
        char name[64];
        snprintf(name, sizeof name, "aggregator.cross_attention_list.0.attn.to_%c.weight",
                 which ? 'k' : 'q');
        Tensor *w = param_find(&m->ps, name);
        size_t head = (size_t)(m->c.agg_dh * m->c.d);
        for (size_t i = head; i < numel(w); i++) w->data[i] += w->data[i % head];
    }
}

/* The thresholds' logits in banks of 1 and of K: a twentieth of the shares of each is below. */
static void check_thresholds(Model *m, double *one, double *all, int n, int K) {
    double at[2];
    for (int big = 0; big < 2; big++) {
        double *x = big ? all : one;
        for (int i = 0; i < n; i++)
            for (int j = i; j > 0 && x[j - 1] > x[j]; j--) {
                double low = x[j];
                x[j] = x[j - 1], x[j - 1] = low;
            }
        at[big] = (double)m->gate.fit[GATE_SLOPE] * x[n / 20] + (double)m->gate.fit[GATE_SHIFT];
    }
    double fall = fmax(0, (at[0] - at[1]) / log(K / 16.0));
    for (int i = 0; i < 4; i++) {
        int of[] = {0, 16, 17, 4 * K};
        double w = 1 / (1 + exp(-(at[0] - (i < 2 ? 0 : fall * log(of[i] / 16.0)))));
        near_all("threshold", of[i], (real[]){mac_threshold(m, of[i])}, &w, 1);
    }
    CHECK(fall > 0.1, "a fall of %g proves little", fall);
}

/* The fit, against Newton's method on the shares of the same banks, which are dealt here as they
 * are there. */
static void test_gate_fit(void) {
    enum { K = 34, N = 60 };
    MacConfig c = config(1);
    Model *m = noisy_model(&c, 23);
    Ids doc[K], q[N], strangers[N_S];
    static int tok[K + N + N_S][8];
    int of[N], deal[K], n[2] = {0, 0};
    static double x[2][4 * N];
    uint64_t rng = 5, draw = 1;
    for (int i = 0; i < K + N + N_S; i++) {
        Ids *to = i < K ? &doc[i] : i < K + N ? &q[i - K] : &strangers[i - K - N];
        *to = (Ids){tok[i], 1 + rng_below(&rng, 5)};
        for (int j = 0; j < 8; j++) tok[i][j] = rng_below(&rng, c.V - 1);
    }
    Tensor *ask = param_find(&m->ps, "aggregator.cross_attention_list.0.attn.to_q.weight");
    for (size_t i = 0; i < numel(ask); i++) ask->data[i] *= 4;
    heads_alike(m);
    found_documents(m, q, N, doc, K, of);
    MacBatch b = {.docs = doc, .n_docs = K, .q = q, .n_q = N, .doc = of};
    tape_reset(tp);
    CHECK(mac_gate(m, tp, strangers, N_S, &b) == 0, "mac_gate: %s", tape_error(tp));
    check_strangers(m, strangers, q, N);
    Gate fitted = m->gate;
    m->gate.fit[GATE_SLOPE] = 1, m->gate.fit[GATE_SHIFT] = 0;
    for (int i = 0; i < K; i++) {
        int j = rng_below(&draw, i + 1);
        deal[i] = deal[j], deal[j] = i;
    }
    tape_reset(tp);
    const Tensor *phi = mac_encode(m, tp, doc, K);
    for (int size = 0; size < 4; size++) {
        int G = size == 0 ? K : size < 3 ? 2 : 1; /* banks of 16 are two here, too */
        for (int i = 0; i < N; i++)
            for (int held = size == 3; held < 2; held++) {
                real sure;
                Bank *own = bank_new(c.T, c.d, 0);
                for (int k = 0; k < K; k++)
                    if ((deal[k] % G + 1 - held) % G == deal[of[i]] % G)
                        bank_add(own, "x", "y", (uint64_t)k + 1, phi->data + k * c.T * c.d);
                CHECK(mac_prefix(m, tp, &q[i], 1, own, &(AnswerOptions){.sure = &sure}), "fit");
                x[held][n[held]++] = log((double)sure / (1 - (double)sure));
                bank_free(own);
            }
    }
    double w[2] = {0, 0};
    for (int step = 0; step < 30; step++) {
        double g[2] = {0.01 * w[0], 0}, h[3] = {0.01, 0, 0};
        for (int held = 0; held < 2; held++)
            for (int i = 0; i < 3 * N; i++) {
                double v = x[held][i], p = 1 / (1 + exp(-(w[0] * v + w[1])));
                g[0] += (p - held) * v, g[1] += p - held;
                h[0] += p * (1 - p) * v * v, h[1] += p * (1 - p) * v, h[2] += p * (1 - p);
            }
        double det = h[0] * h[2] - h[1] * h[1];
        w[0] -= (h[2] * g[0] - h[1] * g[1]) / det, w[1] -= (h[0] * g[1] - h[1] * g[0]) / det;
    }
    for (int i = 0; i < 2; i++)
        CHECK(fabs((double)fitted.fit[i] - w[i]) <= 2e-3 * (1 + fabs(w[i])),
              "gate: %d is %g, not %g", i, (double)fitted.fit[i], w[i]);
    CHECK(fabs(w[0]) > 0.15, "a slope of %g proves little", w[0]);
    m->gate = fitted;
    check_thresholds(m, x[1], x[1] + 3 * N, N, K);
    CHECK(mac_gate(m, tp, strangers, 0, &b) == -1 && m->gate.R == 0, "a gate without strangers");
    model_free(m);
}

/* ---- one answer looked at ---- */
/* Where a matrix of queries is 0, all keys are alike. */
static void silence(Model *m, const char *name, int first, int cols) {
    Tensor *w = param_find(&m->ps, name);
    CHECK(w, "%s is missing", name);
    for (size_t i = 0; w && i < numel(w); i++)
        if ((int)i % w->shape[1] >= first && (int)i % w->shape[1] < first + cols) w->data[i] = 0;
}

/* Weights of documents in the whole bank, by what agg_forward says of each. */
static void check_look_bank(Model *m, const Ids *q, const Bank *bank, const Look *look) {
    int K = bank->K, n = look->n_docs, T = m->c.T, H = m->c.agg_H, zero[8] = {0}, all[8];
    Ids same[8];
    Tensor *mass[3], *phi = tape_tensor(tp, K * T, m->c.d);
    memcpy(phi->data, bank->phi, numel(phi) * sizeof(real));
    for (int k = 0; k < n; k++) same[k] = *q, all[k] = K;
    AggReads r = {.doc0 = zero, .docs = all, .gold = look->doc, .mass = mass};
    CHECK(agg_forward(m, tp, same, n, phi, &r), "look: %s", tape_error(tp));
    for (int i = 0; i < m->c.agg_B; i++)
        for (int at = 0; at < H * T * n; at++) { /* at is (head, vector, document) */
            int k = at % n, t = at / n % T, h = at / n / T;
            double is = (double)look->read[i * H * T * n + at];
            double want = (double)mass[i]->data[(k * T + t) * H + h];
            CHECK(fabs(is - want) < VALUE_TOL, "look: block %d, head %d, vector %d give document "
                  "%d %g, not %g", i, h, t, look->doc[k], is, want);
        }
}

/* The tokens that were chosen are the likeliest with the memory, and probabilities are those of
 * sequences read anew. */
static void check_look_tokens(Model *m, const Ids *q, Tensor *prefix, const Look *look) {
    int id[32], V = m->c.V;
    memcpy(id, q->id, (size_t)q->n * sizeof *id);
    for (int s = 0; s < look->steps; s++) {
        int chosen = s < look->n ? look->answer[s] : V - 1;
        CHECK(look->likely[1][s * LOOK_TOKENS] == chosen, "look: token %d is not the likeliest", s);
        for (int with = 0; with < 2; with++) {
            const real *l = fresh_logits(m, (Ids){id, q->n + s, 0}, with ? prefix : NULL);
            double sum = 0;
            for (int v = 0; l && v < V; v++) sum += exp((double)l[v]);
            for (int i = 0; l && i < LOOK_TOKENS; i++) {
                int v = look->likely[with][s * LOOK_TOKENS + i], above = 0;
                double is = (double)look->p[with][s * LOOK_TOKENS + i];
                for (int u = 0; u < V; u++) above += l[u] > l[v];
                CHECK(above == i && fabs(is - exp((double)l[v]) / sum) < VALUE_TOL,
                      "look: the %d. token of %d, with %d: rank %d, %g", i, s, with, above, is);
            }
        }
        id[q->n + s] = chosen;
    }
}

/* The last layer sees all its keys alike; of the first one, how many weights say otherwise. */
static int check_look_keys(const Model *m, const Ids *q, const Look *look) {
    int differ = 0;
    for (int l = 0; l < m->c.L; l++)
        for (int s = 0; s < look->steps; s++) {
            const real *seen = look->seen + (l * look->steps + s) * look->keys;
            int n = m->c.P + q->n + s;
            double sum = 0;
            for (int k = 0; k < look->keys; k++) {
                double want = k < n ? 1.0 / n : 0, is = (double)seen[k];
                sum += is;
                if (l < m->c.L - 1 && k < n) differ += fabs(is - want) > 1e-3;
                else CHECK(fabs(is - want) < 1e-6, "look: layer %d, step %d, key %d: %g", l, s, k,
                           is);
            }
            CHECK(fabs(sum - 1) < 1e-5, "look: layer %d gives %g in all", l, sum);
        }
    return differ;
}

static void test_look(void) {
    int tok[N_Q][8], ended = 0, differ = 0, doc_tok[] = {3, 1, 4, 1, 5, 9, 2};
    Ids q[N_Q], doc = {doc_tok, 7, 0};
    Model *m = talking_model(3);
    int T = m->c.T, d = m->c.d;
    questions(q, tok, &m->c, 21);
    silence(m, "base_lm.base_lm.transformer.h.1.attn.c_attn.weight", 0, d);
    silence(m, "base_lm.base_lm.transformer.h.1.attn.c_attn.bias", 0, d);
    Bank *bank = full_bank(m, 11);
    for (int i = 0; i < N_Q; i++) {
        Look look;
        real received[11], made[3 * 7];
        int out[CAP], n;
        AnswerOptions o = {.select = i % 3}, same = {.select = i % 3, .received = received};
        tape_reset(tp);
        CHECK(mac_look(m, tp, &q[i], bank, CAP, &o, &look) == 0, "look: %s", tape_error(tp));
        CHECK(mac_answer(m, tp, &q[i], 1, bank, CAP, out, &n, &same) == 0, "%s", tape_error(tp));
        CHECK(n == look.n && !memcmp(out, look.answer, (size_t)n * sizeof *out), "another answer");
        CHECK(look.n_docs == 8 && !(look.sure >= 0), "%d documents", look.n_docs);
        for (int k = 0, above = 0; k < 8; k++, above = 0) {
            for (int j = 0; j < 11; j++) above += received[j] > look.received[k];
            CHECK(above == k && received[look.doc[k]] == look.received[k], "look: document %d", k);
        }
        ended += look.steps > look.n;
        check_look_bank(m, &q[i], bank, &look);
        check_look_tokens(m, &q[i], mac_prefix(m, tp, &q[i], 1, bank, &o), &look);
        differ += check_look_keys(m, &q[i], &look);
        CHECK(mac_look_document(m, tp, &doc, made) == 0, "look: %s", tape_error(tp));
        for (int t = 0; t < T; t++) {
            double sum = 0;
            for (int k = 0; k < doc.n; k++) sum += (double)made[t * doc.n + k];
            CHECK(fabs(sum - 1) < 1e-5, "vector %d looks at its text %g in all", t, sum);
        }
    }
    Look look;
    real made[3 * 7];
    param_freeze(&m->ps, "", 1);
    tape_reset(tp);
    CHECK(mac_look(m, tp, &q[0], bank, CAP, &(AnswerOptions){0}, &look) != 0
              && strstr(tape_error(tp), "frozen"), "a frozen model: %s", tape_error(tp));
    tape_reset(tp);
    CHECK(mac_look_document(m, tp, &doc, made) != 0 && strstr(tape_error(tp), "frozen"),
          "a frozen encoder: %s", tape_error(tp));
    CHECK(differ > 5 * N_Q && ended > 0 && ended < N_Q,
          "%d weights of the first layer differ, %d answers end: this proves little", differ,
          ended);
    bank_free(bank);
    model_free(m);
}

/* Layers whose queries are 0 look at all tokens alike; when all are 0, so does their mean. */
static void test_look_document(int which) {
    MacConfig c = config(which);
    Model *m = noisy_model(&c, 31);
    int tok[] = {3, 1, 4, 1}, off = 0;
    Ids doc = {tok, 4, 0};
    real made[4 * 4];
    static const char *const q[] = {"enc_decoder.decoder.block.0.layer.1.EncDecAttention.q.weight",
                                    "enc_decoder.decoder.block.1.layer.1.EncDecAttention.q.weight"};
    for (int round = 0; round <= c.enc_L; round++) {
        tape_reset(tp);
        CHECK(mac_look_document(m, tp, &doc, made) == 0, "look: %s", tape_error(tp));
        for (int i = 0; i < c.T * doc.n; i++) off += fabs((double)made[i] - 0.25) > 1e-5;
        CHECK(round < c.enc_L ? off > 3 : off == 0, "look: %d of %d weights differ, round %d", off,
              c.T * doc.n, round);
        off = 0;
        if (round < c.enc_L) silence(m, q[round], 0, c.e);
    }
    model_free(m);
}

static void test_answers(void) {
    Model *m = talking_model(18);
    Bank *bank = full_bank(m, 5);
    Ids q[N_Q];
    int tok[N_Q][8];
    questions(q, tok, &m->c, 3);
    test_bank(m);
    test_bank_grow(m);
    test_greedy(m, bank, q);
    test_beams(m, bank, q);
    test_context(m, bank, q);
    test_order(m, bank, q);
    test_empty(m, q);
    test_hierarchy(m, bank, q);
    test_allow(m, bank, q);
    for (int which = 0; which < 3; which++) test_received(which);
    test_select(m, bank, q);
    test_select_edges(m, bank, q);
    test_select_ties(bank, q);
    test_select_parts(m, q);
    test_received_parts(m, q);
    for (int which = 0; which < 3; which++) test_sure(which), test_versions(which);
    test_sure_edges(m, bank, q);
    test_gate_fit();
    bank_free(bank);
    model_free(m);
}

/* ==== sequences do not see their neighbours ================================================== */
static void test_batching(void) {
    MacConfig c = config(0);
    Model *m = noisy_model(&c, 14);
    Fixture f;
    fixture(&f, &c, 3, 3, 8);
    tape_reset(tp);
    Tensor *all = enc_forward(m, tp, m->enc, f.docs, 3),
           *lm = lm_hidden(m, tp, f.qa, 3, NULL, NULL);
    for (int b = 0, at = 0; all && lm && b < 3; at += f.qa[b].n, b++) {
        Tensor *one = enc_forward(m, tp, m->enc, &f.docs[b], 1),
               *h = lm_hidden(m, tp, &f.qa[b], 1, NULL, NULL);
        CHECK(one && h, "alone: %s", tape_error(tp));
        for (int i = 0; one && i < c.T * c.e; i++)
            CHECK(fabs((double)(one->data[i] - all->data[b * c.T * c.e + i])) <= VALUE_TOL,
                  "encoder, %d", i);
        for (int i = 0; h && i < f.qa[b].n * c.d; i++)
            CHECK(fabs((double)(h->data[i] - lm->data[at * c.d + i])) <= VALUE_TOL, "LM, %d", i);
    }
    model_free(m);
}

/* ==== same bits with any number of threads; fingerprint ====================================== */
static void test_threads(void) {
    static const int counts[] = {1, 2, 3, 5};
    MacConfig c = mac_config_default();
    uint64_t first = 0;
    c.V = 60, c.d = 32, c.H = 4, c.e = 32, c.enc_L = 1, c.enc_ff = 64, c.pre_ff = 40, c.agg_dh = 8;
    for (int k = 0; k < 4; k++) {
        Model *m = model_new(&c, 21);
        static int tok[8][40];
        Ids docs[4], q[4], qa[4];
        int doc[4] = {0, 1, 2, 3};
        uint64_t r = 5;
        for (int i = 0; i < 8 * 40; i++) tok[i / 40][i % 40] = rng_below(&r, 59);
        for (int i = 0; i < 4; i++)
            docs[i] = (Ids){tok[i], 40 - i}, q[i] = (Ids){tok[i + 4], 10},
            qa[i] = (Ids){tok[i + 4], 15 + i};
        MacBatch b = {docs, 4, 3, q, qa, 4, doc, 2, (real)0.1, 1, 0};
        MacStats s;
        Adam o = adam_default((real)0.001);
        pool_start(counts[k]);
        tape_reset(tp);
        CHECK(tape_backward(tp, mac_loss(m, tp, &b, &s)) == 0, "threads: %s", tape_error(tp));
        uint64_t hash = params_hash(&m->ps, "", 1);
        adam_step(&m->ps, &o);
        hash ^= params_hash(&m->ps, "", 0) * 3;
        pool_stop();
        if (k == 0) first = hash;
        CHECK(hash == first, "%d threads give other bits than one", counts[k]);
        model_free(m);
    }
}

static void test_fingerprint(int pad) {
    MacConfig c = config(0);
    c.pad = pad;
    Model *m = noisy_model(&c, 15);
    uint64_t own = model_fingerprint(m);
    char path[300], err[MAC_ERR] = "";
    give_gate(m, (real)0.5, (real)-1.5);
    snprintf(path, sizeof path, "%s/test_model.safetensors", scratch);
    StWriter *w = st_new();
    CHECK(model_save(m, w, 0) == 0 && st_write(w, path, err) == 0, "save: %s", err);
    StFile *f = st_open(path, err);
    Model *back = f ? model_load(f, err) : NULL;
    CHECK(back != NULL, "load: %s", err);
    if (back) {
        CHECK(own == model_fingerprint(m), "a gate is part of the fingerprint");
        CHECK(back->gate.R == N_S && !memcmp(back->gate.fit, m->gate.fit, sizeof m->gate.fit)
                  && !memcmp(back->gate.strangers, m->gate.strangers,
                             (size_t)(N_S * c.T * c.d) * sizeof(real)), "save and load the gate");
        CHECK(own == model_fingerprint(back), "save and load change the fingerprint");
        CHECK(params_hash(&m->ps, "", 0) == params_hash(&back->ps, "", 0), "or the weights");
        CHECK(!memcmp(&m->c, &back->c, sizeof m->c), "or the sizes");
    }
    for (int i = 0; back && i < m->ps.n; i += 5) {
        Tensor *t = &back->ps.p[i]->t;
        real *x = t->data + (size_t)i % numel(t), keep = *x;
        *x *= (real)1.5;
        CHECK(own != model_fingerprint(back), "a change of %s is not seen", m->ps.p[i]->name);
        *x = keep;
    }
    m->c.Q++;
    CHECK(own != model_fingerprint(m), "a change of the sizes is not seen");
    m->c.Q--, m->c.pad++;
    CHECK(own != model_fingerprint(m), "a change of the padding is not seen");
    model_free(m), model_free(back), st_close(f);
    remove(path);
}

/* Official padding: nothing where all is as long or longer, PAD is seen where it is not, and each
 * sequence gets its own.  The values are checked in test_vectors.c. */
static void test_padding(void) {
    MacConfig c = config(0);
    Model *m = noisy_model(&c, 15);
    static const int id[] = {3, 1, 4, 1, 5, 9, 2, 6};
    Ids x[2] = {{id, 8}, {id + 1, 5}};
    size_t row = (size_t)(c.T * c.d) * sizeof(real);
    tape_reset(tp);
    Tensor *phi[4];
    static const int pads[] = {0, 5, 6, 8};
    for (int i = 0; i < 4; i++) m->c.pad = pads[i], phi[i] = mac_encode(m, tp, x, 2);
    Tensor *alone = mac_encode(m, tp, x + 1, 1);
    CHECK(alone != NULL, "padding: %s", tape_error(tp));
    if (!alone) { model_free(m); return; }
    CHECK(!memcmp(phi[0]->data, phi[1]->data, 2 * row), "no PAD where nothing is shorter");
    CHECK(!memcmp(phi[0]->data, phi[3]->data, row), "the longer text got PAD");
    for (int i = 2; i < 4; i++)
        CHECK(memcmp(phi[i - 1]->data + c.T * c.d, phi[i]->data + c.T * c.d, row),
              "PAD makes no difference at %d", pads[i]);
    CHECK(!memcmp(alone->data, phi[3]->data + c.T * c.d, row), "PAD depends on the batch");
    model_free(m);
}

/* ==== sizes, memory, the start =============================================================== */
static void test_config(void) {
    char err[MAC_ERR] = "";
    for (const MacField *f = mac_fields; f->name; f++) {
        MacConfig c = config(0);
        CHECK(mac_config_check(&c, err) == 0, "config: %s", err);
        *(int *)(void *)((char *)&c + f->offset) = f->least - 1;
        CHECK(mac_config_check(&c, err) == -1 && strstr(err, f->name), "%s too small: \"%s\"",
              f->name, err);
    }
    MacConfig c = config(0);
    c.H = 3;
    CHECK(mac_config_check(&c, err) == -1 && strstr(err, "H = 3"), "heads: %s", err);
    c = config(0), c.pad = c.enc_only = 1;
    CHECK(mac_config_check(&c, err) == -1 && strstr(err, "enc_only"), "padding: %s", err);
    c = config(0), c.S = c.P;
    CHECK(mac_config_check(&c, err) == -1 && strstr(err, "S = 2"), "window: %s", err);
    c = mac_config_default();
    Model *m = model_new(&c, 1);
    CHECK(m && m->c.S == c.P + c.D + c.Q + c.A && mac_config_check(&m->c, err) == 0, "default: %s",
          err);
    model_share_start(m, 2);
    const real *a = named(m, "enc_decoder.", -1, "shared.weight");
    const real *b = named(m, "aggregator.question_encoder.", -1, "shared.weight");
    const real *wte = named(m, "base_lm.base_lm.transformer.", -1, "wte.weight");
    double square = 0;
    for (int i = 0; i < c.V * c.e; i++) square += (double)(a[i] * a[i]) / (c.V * c.e);
    CHECK(!memcmp(a, b, (size_t)(c.V * c.e) * sizeof *a), "the encoders do not start alike");
    a = named(m, "mlps.%d.mlp.1.weight", -1, "");
    b = named(m, "aggregator.mlps.%d.mlp.1.weight", -1, "");
    CHECK(!memcmp(a, b, (size_t)(c.T * c.e * c.d) * sizeof *a), "nor their MLPs");
    int heads = (c.agg_H + 1) / 2 * c.agg_dh * c.d; /* what the finder has of queries and keys */
    for (int i = 0; i < c.agg_B; i++) {
        static const char block[] = "aggregator.cross_attention_list.";
        a = named(m, block, i, "attn.to_q.weight"), b = named(m, block, i, "attn.to_k.weight");
        double most[2] = {0, 0};
        int same = 0;
        for (int j = 0; j < c.agg_H * c.agg_dh * c.d; j++) {
            most[j < heads] = fmax(most[j < heads], fabs((double)a[j]));
            if (i == 0 && j < heads) CHECK(a[j] == b[j], "nor the finder's queries as its keys");
            else same += a[j] == b[j];
        }
        CHECK(same == 0, "%d other queries start as keys", same);
        CHECK((most[1] > 6 * sqrt(1.0 / (3 * c.d))) == (i == 0), "a start %g sharp", most[1]);
        CHECK(most[0] < 6 * sqrt(1.0 / (3 * c.d)), "a start %g sharp where it reads", most[0]);
    }
    a = named(m, "enc_decoder.", -1, "shared.weight");
    CHECK(fabs(square - 1) < 1e-3 && fabs((double)(a[5] / a[9] - wte[5] / wte[9])) < 1e-3,
          "nor as the LM");
    model_free(m);
}

/* At the start the expansion makes of a state x, whose numbers have mean 0 and variance 1, the keys
 * and values W (g x + b) + c of an LM layer; where pre_ff is less than 2d, of the first pre_ff/2
 * numbers of x, and the others are added. */
static void test_start_reads(int pre_ff) {
    MacConfig c = mac_config_default();
    c.pre_ff = pre_ff;
    int d = c.d, n = c.P * 2 * c.L, passed = pre_ff / 2 < d ? pre_ff / 2 : d;
    Model *m = model_new(&c, 3);
    uint64_t r = 7;
    for (int i = 0; i < m->ps.n; i++)
        for (size_t j = 0; j < numel(&m->ps.p[i]->t) && !strncmp(m->ps.p[i]->name, "base", 4); j++)
            m->ps.p[i]->t.data[j] += (real)0.1 * rng_normal(&r);
    model_share_start(m, 2);
    tape_reset(tp);
    Tensor *x = tape_tensor(tp, c.T, d);
    for (int i = 0; i < c.T * d; i++) x->data[i] = i % 2 ? -x->data[i - 1] : rng_normal(&r);
    for (int t = 0; t < c.T; t++) {
        double square = 0;
        for (int i = 0; i < d; i++) square += (double)(x->data[t * d + i] * x->data[t * d + i]) / d;
        for (int i = 0; i < d; i++) x->data[t * d + i] /= (real)sqrt(square);
    }
    Tensor *y = prefix_expand(m, tp, x, 1);
    for (int g = 0; g < n; g++) {
        int l = g / 2 % c.L, first = (1 + g % 2) * d;
        const char *at = "base_lm.base_lm.transformer.h.";
        const real *W = named(m, at, l, "attn.c_attn.weight");
        const real *gain = named(m, at, l, "ln_1.weight"), *more = named(m, at, l, "ln_1.bias");
        const real *b = named(m, at, l, "attn.c_attn.bias");
        for (int i = 0; i < d; i++) {
            const real *state = x->data + g / (n / c.T) * d;
            double want = (double)b[first + i] + (i < passed ? 0 : (double)state[i]);
            for (int j = 0; j < d; j++)
                want += (double)((j < passed ? state[j] * gain[j] : 0) + more[j])
                        * (double)W[j * 3 * d + first + i];
            double is = (double)y->data[g * d + i];
            CHECK(fabs(is - want) < 1e-3, "place %d of the prefix starts at %g, not %g", g, is,
                  want);
        }
    }
    model_free(m);
}

/* The first head of the LM's first layer begins by looking at the token before, wherever a text
 * stands in the window: it gets `least` of the attention, at a mean over all places. */
static void test_looks_back(int d, int H, int S, double least) {
    MacConfig c = mac_config_default();
    c.d = d, c.H = H, c.S = S;
    Model *m = model_new(&c, 3);
    const char *lm = "base_lm.base_lm.transformer.";
    const real *wte = named(m, lm, -1, "wte.weight"), *wpe = named(m, lm, -1, "wpe.weight");
    const real *w = named(m, lm, -1, "h.0.attn.c_attn.weight");
    int dh = d / H;
    double *k = malloc((size_t)(S * dh) * sizeof *k), share = 0, x[768], q[768];
    uint64_t r = 4;
    for (int i = 0; i < S; i++) {
        double mean = 0, square = 0, sum = 0, before = 0;
        int id = rng_below(&r, c.V);
        for (int j = 0; j < d; j++) {
            x[j] = (double)wte[id * d + j] + (double)wpe[i * d + j];
            mean += x[j] / d, square += x[j] * x[j] / d;
        }
        double scale = 1 / sqrt(square - mean * mean + 1e-5);
        for (int y = 0; y < dh; y++) {
            q[y] = k[i * dh + y] = 0;
            for (int j = 0; j < d; j++) {
                q[y] += (x[j] - mean) * scale * (double)w[j * 3 * d + y];
                k[i * dh + y] += (x[j] - mean) * scale * (double)w[j * 3 * d + d + y];
            }
        }
        for (int j = 0; j <= i; j++) {
            double score = 0;
            for (int y = 0; y < dh; y++) score += q[y] * k[j * dh + y];
            sum += exp(score / sqrt(dh));
            if (j == i - 1) before = exp(score / sqrt(dh));
        }
        share += before / sum / (S - 1);
    }
    CHECK(share >= least, "d %d, %d heads: the token before gets %g", d, H, share);
    free(k);
    model_free(m);
}

/* The first seven heads of the encoders, but never the last, look at one place each. */
static void test_start_places(int heads) {
    MacConfig c = mac_config_default();
    c.enc_H = heads;
    Model *m = model_new(&c, 3), *drawn = model_new(&c, 3);
    model_share_start(m, 2);
    static const char *const encoders[] = {"enc_decoder.", "aggregator.question_encoder."};
    const char *bias = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight";
    const real *was = named(drawn, encoders[0], -1, bias);
    for (int e = 0; e < 2; e++) {
        const real *is = named(m, encoders[e], -1, bias);
        for (int i = 0; i < 32 * heads; i++) {
            int h = i % heads;
            real more = i / heads == h + 1 && h + 1 < heads && h < 7 ? 5 : 0;
            CHECK(is[i] == was[i] + more, "bias %d of head %d", i / heads, h);
        }
    }
    model_free(m), model_free(drawn);
}

/* The encoder's first head hands on what the LM's first head does; the others are as drawn.  Where
 * the LM has no head that looks back, or widths differ, that one is too. */
static void test_start_encodes(int L, int H, int e, int enc_H, int enc_dh) {
    MacConfig c = mac_config_default();
    c.L = L, c.H = H, c.e = e, c.enc_H = enc_H, c.enc_dh = enc_dh;
    Model *m = model_new(&c, 3), *drawn = model_new(&c, 3);
    const char *lm = "base_lm.base_lm.transformer.", *enc = "enc_decoder.encoder.block.";
    real *gain = param_find(&m->ps, "base_lm.base_lm.transformer.h.0.ln_1.weight")->data;
    for (int i = 0; i < c.d; i++) gain[i] = (real)(1 + 0.01 * i);
    model_share_start(m, 2);
    int same = L > 1 && H > 1 && e == c.d && enc_H > 1, inner = enc_H * enc_dh, dh = c.d / H;
    const real *w = named(m, lm, -1, "h.0.attn.c_attn.weight");
    const real *wte = named(m, lm, -1, "wte.weight");
    const real *out = named(m, lm, -1, "h.0.attn.c_proj.weight");
    double square = 0;
    for (int i = 0; i < c.V * c.d; i++) square += (double)wte[i] * (double)wte[i];
    double scale = sqrt(c.V * c.d / square);
    for (int l = 0; l < c.enc_L; l++) {
        const char *of = "layer.0.SelfAttention.o.weight", *vf = "layer.0.SelfAttention.v.weight";
        const real *o = named(m, enc, l, of), *o_was = named(drawn, enc, l, of);
        const real *v = named(m, enc, l, vf), *v_was = named(drawn, enc, l, vf);
        int from_lm = same && l == 0 ? dh < enc_dh ? dh : enc_dh : 0;
        for (int i = 0; i < inner; i++)
            for (int j = 0; j < e; j++) {
                double want_o = (double)o_was[j * inner + i];
                double want_v = (double)v_was[i * e + j];
                if (i < from_lm) {
                    want_o = (double)out[i * c.d + j] * scale;
                    want_v = (double)w[j * 3 * c.d + 2 * c.d + i] * (double)gain[j];
                }
                double off_o = fabs((double)o[j * inner + i] - want_o);
                double off_v = fabs((double)v[i * e + j] - want_v);
                CHECK(off_o <= 1e-4 * fabs(want_o), "output %d, layer %d: %g off", i, l, off_o);
                CHECK(off_v < 1e-6, "value %d, layer %d: %g off", i, l, off_v);
            }
    }
    model_free(m), model_free(drawn);
}

/* What an attention draws arrives as it was: values and outputs are the identity as far as they are
 * square, documents' and questions' decoders alike. */
static void test_start_arrives(void) {
    MacConfig c = mac_config_default();
    Model *m = model_new(&c, 3), *drawn = model_new(&c, 3);
    model_share_start(m, 2);
    static const char *const blocks[] = {
        "enc_decoder.decoder.block.%d.layer.1.EncDecAttention.v.weight",
        "enc_decoder.decoder.block.%d.layer.1.EncDecAttention.o.weight",
        "aggregator.cross_attention_list.%d.attn.to_v.weight",
        "aggregator.cross_attention_list.%d.attn.to_out.0.weight"};
    for (int i = 0; i < 4; i++)
        for (int l = 0; l < 2; l++) {
            char name[MAC_NAME];
            snprintf(name, sizeof name, blocks[i], l);
            const Tensor *w = param_find(&m->ps, name), *was = param_find(&drawn->ps, name);
            int out = w->shape[0], in = w->shape[1];
            for (int j = 0; j < out * in; j++) {
                int square = j / in < in && j % in < out;
                real want = square ? j / in == j % in : was->data[j];
                CHECK(w->data[j] == want, "%s [%d] starts at %g", name, j, (double)w->data[j]);
            }
            if (i > 1) continue;
            const real *copy = named(m, "aggregator.question_encoder.", -1, name + 12);
            for (int j = 0; j < out * in; j++) /* +12: without "enc_decoder." */
                CHECK(w->data[j] == copy[j], "%s of a question [%d]", name, j);
        }
    model_free(m), model_free(drawn);
}

/* Every limit of memory below what is needed ends in a message. */
static void sweep(Model *m, const Fixture *f, const Bank *bank, int beams) {
    int failed = 0, done = 0, out[3 * CAP], n[3];
    for (size_t limit = 256; !done && limit < 1 << 24; limit += limit / 16 / 64 * 64 + 64) {
        Tape *t = tape_new(limit);
        MacStats s;
        AnswerOptions o = {.beams = beams, .hierarchy = 2};
        done = beams < 0 ? tape_backward(t, mac_loss(m, t, &f->b, &s)) == 0
                         : mac_answer(m, t, f->q, 3, bank, CAP, out, n, &o) == 0;
        CHECK(done == !tape_error(t)[0], "limit %d: \"%s\"", (int)limit, tape_error(t));
        CHECK(tape_peak(t) <= limit, "limit %d: %d bytes held", (int)limit, (int)tape_peak(t));
        failed += !done;
        tape_free(t);
    }
    CHECK(done && failed > 50, "beams %d: done after %d failures", beams, failed);
}

static void test_limits(void) {
    MacConfig c = config(0);
    Model *m = noisy_model(&c, 16);
    Bank *bank = full_bank(m, 5);
    Fixture f;
    fixture(&f, &c, 4, 3, 9);
    f.b.bank_size = 2, f.b.n_grad = 2, f.b.guidance = (real)0.1, f.b.distill = (real)0.3;
    place_answers(&f, &c);
    for (int beams = -1; beams < 3; beams++) sweep(m, &f, bank, beams);
    bank_free(bank);
    model_free(m);
}

int main(int argc, char **argv) {
    if (argc > 1) scratch = argv[1];
    tp = tape_new(0);
    test_encoders(3);
    for (int which = 0; which < 3; which++)
        test_lm(which), test_token_networks(which), test_encoders(which);
    test_prefix_layout();
    test_copied_lm();
    for (int i = 0; i < 8; i++) test_mac_grad(grad_cases[i]);
    test_distill();
    test_dropped();
    test_frozen();
    test_overfit(0), test_overfit(1);
    test_answers();
    test_look();
    test_look_document(0), test_look_document(1);
    test_batching();
    test_threads();
    test_fingerprint(0), test_fingerprint(9);
    test_padding();
    test_config();
    test_start_reads(192), test_start_reads(200), test_start_reads(21), test_start_reads(1);
    test_looks_back(96, 6, 264, 0.9), test_looks_back(64, 4, 264, 0.9);
    test_looks_back(768, 12, 1024, 0.98), test_looks_back(24, 2, 64, 0.85);
    test_looks_back(9, 3, 9, 0); /* a head of three numbers: one point */
    test_start_encodes(3, 6, 96, 8, 16), test_start_encodes(2, 6, 96, 2, 10);
    test_start_encodes(2, 12, 96, 2, 16), test_start_encodes(1, 6, 96, 8, 16);
    test_start_encodes(2, 1, 96, 2, 16), test_start_encodes(2, 6, 48, 2, 16);
    test_start_encodes(2, 6, 96, 1, 16);
    test_start_places(1), test_start_places(8), test_start_places(40), test_start_arrives();
    test_limits();
    tape_free(tp);
    return check_done("test_model");
}
