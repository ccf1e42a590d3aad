/* levels.h - the kinds of cases beyond ops, parts and loss: optimizer, random numbers, text, files,
 * answers, a training (levels 4 to 9 of tests/vectors/README.md).  Included by vectors.h alone.
 *
 * All of them read numbers and make numbers: there are no gradients to compare.  A text is a number
 * for each byte and a 0 at its end; 64 bits are four numbers of 16 bits, the lowest first. */
#ifndef LEVELS_H
#define LEVELS_H
#include "batches.h"

static const char *scratch = "."; /* a folder for files that are read again at once */

/* ==== what cases read and make =============================================================== */
/* A new output: [a], or [a,b] where b is not 0. */
static real *made(Case *c, const char *name, int a, int b) {
    Tensor *t = need(b ? param_new(&c->made, name, 2, a, b) : param_new(&c->made, name, 1, a));
    return t->data;
}

static void made_one(Case *c, const char *name, double x) { *made(c, name, 1, 0) = (real)x; }

static void made_copy(Case *c, const char *name, const real *x, int a, int b) {
    memcpy(made(c, name, a, b), x, (size_t)a * (size_t)(b ? b : 1) * sizeof *x);
}

static void put_word(real *to, uint64_t x) {
    for (int i = 0; i < 4; i++) to[i] = (real)(x >> (16 * i) & 0xffff);
}

static void made_word(Case *c, const char *name, uint64_t x) { put_word(made(c, name, 4, 0), x); }

static uint64_t word(Case *c, const char *name) {
    const Tensor *t = in(c, name);
    uint64_t x = 0;
    for (int i = 3; t && i >= 0; i--) x = x << 16 | (uint64_t)t->data[i];
    return x;
}

/* The ids, and -1 up to `room`. */
static void made_ids(Case *c, const char *name, const int *ids, int n, int room) {
    real *to = made(c, name, room, 0);
    for (int i = 0; i < room; i++) to[i] = i < n ? (real)ids[i] : -1;
}

static void made_bytes(Case *c, const char *name, const char *x, size_t n) {
    real *to = made(c, name, (int)n, 0);
    for (size_t i = 0; i < n; i++) to[i] = (real)(unsigned char)x[i];
}

static void made_file(Case *c, const char *name, const char *path) {
    FILE *f = fopen(path, "rb");
    static char bytes[1 << 16];
    size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (n == 0 || n == sizeof bytes) die("%s: cannot be read, or is too large", path);
    fclose(f);
    made_bytes(c, name, bytes, n);
}

/* Texts under `name`, each ended by a 0; with *n the length of the first. */
static char *bytes_of(Tape *tp, Case *c, const char *name, int *n) {
    char *s = need(tape_alloc(tp, (size_t)count(c, name) + 1));
    *n = count(c, name) - 1;
    for (int i = 0; i < *n; i++) s[i] = (char)(unsigned char)in(c, name)->data[i];
    return s;
}

static const char **texts_of(Tape *tp, Case *c, const char *name, int *n) {
    int bytes, at = 0;
    char *s = bytes_of(tp, c, name, &bytes);
    const char **x = need(tape_alloc(tp, ((size_t)bytes + 1) * sizeof *x));
    for (*n = 0; at <= bytes; at += (int)strlen(s + at) + 1) x[(*n)++] = s + at;
    return x;
}

static MacConfig sizes(Case *c) {
    MacConfig s = {0};
    const Tensor *t = in(c, "sizes");
    for (int i = 0; t && i < (int)numel(t); i++) {
        int x = (int)t->data[i];
        memcpy((char *)&s + mac_fields[i].offset, &x, sizeof x);
    }
    return s;
}

/* ==== level 4: the optimizer ================================================================= */
static real rate(Case *c, int step) {
    LrKind kind = number(c, "cosine") > 0 ? LR_COSINE : LR_CONSTANT;
    return lr_schedule(kind, (real)number(c, "lr"), step, (int)number(c, "warmup"),
                       (int)number(c, "total"));
}

static void run_rate(Tape *tp, Case *c) {
    int n = (int)number(c, "n");
    real *to = made(c, "rate", n, 0);
    (void)tp;
    for (int i = 0; i < n; i++) to[i] = rate(c, i);
}

static Adam optimizer(Case *c) {
    Adam o = adam_default(0);
    o.muon = (real)number(c, "momentum"), o.decay = (real)number(c, "decay");
    o.clip = (real)number(c, "clip");
    return o;
}

/* A matrix W and a vector b, from moments of 0. */
static void run_steps(Tape *tp, Case *c) {
    const Tensor *W = in(c, "W"), *b = in(c, "b"), *gW = in(c, "gW"), *gb = in(c, "gb");
    size_t nW = numel(W), nb = numel(b);
    int R = W->shape[0], C = W->shape[1], n = gW->shape[0];
    Params ps = {NULL, 0};
    Adam o = optimizer(c);
    real *rates = made(c, "rate", n, 0), *norm = made(c, "norm", n, 0);
    Tensor *w = need(param_new(&ps, "W", 2, R, C)), *v = need(param_new(&ps, "b", 1, (int)nb));
    (void)tp;
    ps.p[0]->matrix = 1;
    memcpy(w->data, W->data, nW * sizeof(real)), memcpy(v->data, b->data, nb * sizeof(real));
    for (int i = 0; i < n; i++) {
        memcpy(w->grad, gW->data + (size_t)i * nW, nW * sizeof(real));
        memcpy(v->grad, gb->data + (size_t)i * nb, nb * sizeof(real));
        rates[i] = o.lr = rate(c, i);
        norm[i] = adam_step(&ps, &o);
    }
    made_copy(c, "W_next", w->data, R, C), made_copy(c, "W_mean", ps.p[0]->m, R, C);
    if (!(o.muon > 0)) made_copy(c, "W_square", ps.p[0]->v, R, C);
    made_copy(c, "b_next", v->data, (int)nb, 0), made_copy(c, "b_mean", ps.p[1]->m, (int)nb, 0);
    made_copy(c, "b_square", ps.p[1]->v, (int)nb, 0);
    params_free(&ps);
}

/* ==== level 5: random numbers ================================================================ */
static void run_random(Tape *tp, Case *c) {
    int n = (int)number(c, "n"), below = (int)number(c, "below");
    uint64_t a = word(c, "seed"), b = a, e = a, f = a;
    real *next = made(c, "next", n, 4), *uniform = made(c, "uniform", n, 0);
    real *whole = made(c, "whole", n, 0), *normal = made(c, "normal", n, 0);
    (void)tp;
    for (int i = 0; i < n; i++) {
        put_word(next + 4 * i, rng_next(&a));
        uniform[i] = rng_uniform(&b);
        whole[i] = (real)rng_below(&e, below);
        normal[i] = rng_normal(&f);
    }
}

static void made_weight(void *ctx, const char *name, const real *x, int ndim, const int *shape) {
    int rows = 1;
    for (int i = 0; i + 1 < ndim; i++) rows *= shape[i];
    if (ndim > 1) made_copy(ctx, name, x, rows, shape[ndim - 1]);
    else made_copy(ctx, name, x, shape[0], 0);
}

static void run_start(Tape *tp, Case *c) {
    MacConfig s = sizes(c);
    Model *m = need(model_new(&s, word(c, "seed")));
    (void)tp;
    if (number(c, "sharp") > 0) model_share_start(m, (real)number(c, "sharp"));
    visit_params(&m->ps, 0, "", made_weight, c);
    model_free(m);
}

static void made_texts(Case *c, const char *name, const Ids *x, int n) {
    char lengths[MAC_NAME];
    int all = 0, at = 0;
    for (int i = 0; i < n; i++) all += x[i].n;
    real *to = made(c, name, all, 0);
    snprintf(lengths, sizeof lengths, "%s_n", name);
    real *length = made(c, lengths, n, 0);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < x[i].n; k++) to[at++] = (real)x[i].id[k];
        length[i] = (real)x[i].n;
    }
}

static void run_batch(Tape *tp, Case *c) {
    int lm = number(c, "batch_lm") > 0, at = 0;
    Draws d = {.doc = ints(tp, c, "doc"), .S = (int)number(c, "S"), .rng = word(c, "state"),
               .docs = (int)number(c, "docs"), .questions = (int)number(c, "questions"),
               .group = (int)number(c, "group"), .batch_lm = (int)number(c, "batch_lm"),
               .drop = number(c, "drop")};
    d.title = texts_of(tp, c, "titles", &d.n_docs), d.text = texts_of(tp, c, "texts", &d.n_docs);
    d.q = texts_of(tp, c, "q", &d.n_qas), d.a = texts_of(tp, c, "a", &d.n_qas);
    Drawn x = batch_draw(&d, lm, scratch);
    made_word(c, "state_next", d.rng);
    if (lm) {
        made_texts(c, "read", x.x, x.B);
        real *first = made(c, "read_doc", x.B, 0);
        real *mask = made(c, "asked", (int)numel(&c->made.p[1]->t), 0);
        for (int b = 0; b < x.B; b++) {
            first[b] = (real)x.x[b].doc;
            for (int i = 0; i < x.x[b].n; i++) mask[at++] = x.asked[b][i];
        }
    } else {
        made_texts(c, "read", x.mac.docs, x.mac.n_docs);
        made_texts(c, "read_q", x.mac.q, x.mac.n_q), made_texts(c, "read_qa", x.mac.qa, x.mac.n_q);
        real *of = made(c, "read_doc", x.mac.n_q, 0);
        for (int i = 0; i < x.mac.n_q; i++) of[i] = (real)x.mac.doc[i];
        made_one(c, "bank_size", x.mac.bank_size), made_one(c, "n_grad", x.mac.n_grad);
    }
    batch_free();
}

/* ==== level 6: text ========================================================================== */
static void run_merges(Tape *tp, Case *c) {
    int n, a, b, at = 0;
    const char **text = texts_of(tp, c, "texts", &n);
    Tokenizer *t = need(tok_train(text, n, (int)number(c, "vocab")));
    char *dump = need(tok_dump(t)), *p = dump;
    real *to = made(c, "merges", tok_size(t) - 257, 2);
    for (int used; sscanf(p, "%d %d\n%n", &a, &b, &used) == 2; p += used)
        to[at++] = (real)a, to[at++] = (real)b;
    free(dump);
    tok_free(t);
}

static char *merges_text(Tape *tp, Case *c) {
    int *x = ints(tp, c, "merges"), n = count(c, "merges"), at = 0;
    char *s = need(tape_alloc(tp, (size_t)n * 8 + 1));
    for (int i = 0; i < n; i += 2) at += sprintf(s + at, "%d %d\n", x[i], x[i + 1]);
    return s;
}

static Tokenizer *tokenizer(Tape *tp, Case *c) {
    char err[MAC_ERR];
    Tokenizer *t = tok_load(merges_text(tp, c), err);
    if (!t) die("%s", err);
    return t;
}

static void run_tokens(Tape *tp, Case *c) {
    int n, *ids = need(tape_alloc(tp, (size_t)count(c, "text") * sizeof *ids));
    size_t bytes;
    Tokenizer *t = tokenizer(tp, c);
    const char *text = bytes_of(tp, c, "text", &n);
    n = tok_encode(t, text, (size_t)n, ids, n);
    char *back = need(tok_decode(t, ids, n, &bytes));
    made_ids(c, "ids", ids, n, n), made_bytes(c, "back", back, bytes);
    free(back);
    tok_free(t);
}

static void run_prompt(Tape *tp, Case *c) {
    static const Prompt prompts[] = {prompt_document, prompt_question, prompt_answer};
    int cap = (int)number(c, "most"), cut = 0, ids[64], n;
    Tokenizer *t = tokenizer(tp, c);
    n = prompts[(int)number(c, "what")](t, bytes_of(tp, c, "text", &n), ids, cap, &cut);
    made_ids(c, "ids", ids, n, cap), made_one(c, "cut", cut);
    tok_free(t);
}

/* ==== level 7: answers ======================================================================= */
static Bank *bank_of(Case *c, const char *name, int half) {
    const Tensor *phi = in(c, name);
    char id[32];
    int T = c->m->c.T, d = c->m->c.d;
    Bank *b = need(bank_new(T, d, 0));
    b->half = half;
    for (int k = 0; phi && k * T < phi->shape[0]; k++) {
        snprintf(id, sizeof id, "%d", k);
        if (bank_add(b, id, id, (uint64_t)k + 1, phi->data + k * T * d) != 1) die("not added");
    }
    return b;
}

static void run_answer(Tape *tp, Case *c) {
    int B, docs, cap = (int)number(c, "most");
    int *ids = need(tape_alloc(tp, 1000 * sizeof *ids)), n[16];
    Ids *q = sequences(tp, c, "q", &B), *context = sequences(tp, c, "context", &docs);
    Bank *bank = number(c, "alone") > 0 ? NULL : bank_of(c, "phi", (int)number(c, "half"));
    AnswerOptions o = {.beams = (int)number(c, "beams"), .context = docs ? context : NULL,
                       .beam_groups = (int)number(c, "groups"),
                       .penalty = (real)number(c, "penalty"), .select = (int)number(c, "select"),
                       .hierarchy = (int)number(c, "hierarchy")};
    if (bank && bank->K && !o.hierarchy) o.received = made(c, "received", B, bank->K);
    if (number(c, "sure") > 0) {
        o.sure = made(c, "sure_of", B, 0);
        made(c, "threshold", 1, 0)[0] = mac_threshold(c->m, bank->K);
    }
    const Tensor *prefix = bank ? mac_prefix(c->m, tp, q, B, bank, &o) : NULL;
    if (prefix) made_copy(c, "prefix", prefix->data, prefix->shape[0], c->m->c.d);
    if (mac_answer(c->m, tp, q, B, bank, cap, ids, n, &o) != 0) die("%s", tape_error(tp));
    for (int b = 0; b < B; b++)
        for (int i = n[b]; i < cap; i++) ids[b * cap + i] = -1;
    made_ids(c, "answers", ids, B * cap, B * cap);
    bank_free(bank);
}

static void run_versions(Tape *tp, Case *c) {
    Bank *bank = bank_of(c, "bank", 0);
    if (mac_versions(c->m, tp, bank, bank->K, in(c, "phi")->data, made(c, "ratio", bank->K, 0)))
        die("%s", tape_error(tp));
    bank_free(bank);
}

static void run_gate(Tape *tp, Case *c) {
    MacBatch b = {.doc = ints(tp, c, "doc")};
    int R, d = c->m->c.d;
    Gate own = c->m->gate, *g = &c->m->gate;
    Ids *strangers = sequences(tp, c, "strangers", &R);
    b.docs = sequences(tp, c, "docs", &b.n_docs), b.q = sequences(tp, c, "q", &b.n_q);
    *g = (Gate){0};
    if (mac_gate(c->m, tp, strangers, R, &b) != 0) die("%s", tape_error(tp));
    made_copy(c, "gate.strangers", g->strangers, g->R * c->m->c.T, d);
    made_copy(c, "gate.vectors", g->t, g->F, 0), made_copy(c, "gate.fit", g->fit, GATE_FIT, 0);
    free(g->strangers), free(g->t);
    *g = own;
}

/* ==== level 8: files ========================================================================= */
static void run_half(Tape *tp, Case *c) {
    int n = count(c, "x") / 2, *x = ints(tp, c, "x");
    real *half = made(c, "half", n, 0), *back = made(c, "back", n, 2);
    for (int i = 0; i < n; i++) {
        uint32_t u = (uint32_t)x[2 * i] | (uint32_t)x[2 * i + 1] << 16;
        float f;
        real again;
        memcpy(&f, &u, sizeof f);
        uint16_t h = half_of((real)f);
        const unsigned char le[2] = {(unsigned char)h, (unsigned char)(h >> 8)};
        half_read(&again, le, 1);
        f = (float)again;
        memcpy(&u, &f, sizeof u);
        half[i] = h, back[2 * i] = (real)(u & 0xffff), back[2 * i + 1] = (real)(u >> 16);
    }
}

static void run_hash(Tape *tp, Case *c) {
    int n;
    const Bank b = {0};
    const char *text = bytes_of(tp, c, "text", &n);
    made_word(c, "fnv", text_hash(text)), made_word(c, "siphash", bank_key(&b, text));
}

static void run_fingerprint(Tape *tp, Case *c) {
    (void)tp;
    made_word(c, "fingerprint", model_fingerprint(c->m));
}

/* Only the float build writes numbers of 32 bits. */
#define FLOATS (sizeof(real) == 4)

static void run_bank(Tape *tp, Case *c) {
    char path[MAC_ERR], err[MAC_ERR];
    int n, gone = 0, T = (int)number(c, "T"), d = in(c, "phi")->shape[1];
    const char **id = texts_of(tp, c, "ids", &n), **title = texts_of(tp, c, "titles", &n);
    const char **text = texts_of(tp, c, "texts", &n);
    const char **forget = in(c, "forget") ? texts_of(tp, c, "forget", &gone) : NULL;
    real *added = made(c, "added", n, 0);
    Bank *b = need(bank_new(T, d, word(c, "model")));
    b->half = (int)number(c, "half"), b->tokens = word(c, "tokens");
    for (int k = 0; k < n; k++)
        added[k] = (real)bank_add(b, id[k], title[k], bank_key(b, text[k]),
                                  in(c, "phi")->data + k * T * d);
    for (int i = 0; i < gone; i++)
        if (bank_remove(b, forget[i]) != 0) die("%s is not in the bank", forget[i]);
    snprintf(path, sizeof path, "%s/vectors.bank", scratch);
    if (bank_save(b, path, err) != 0) die("%s", err);
    if (b->half || FLOATS) made_file(c, b->half ? "file" : "bits_file", path);
    remove(path);
    bank_free(b);
}

static void run_model_file(Tape *tp, Case *c) {
    char path[MAC_ERR], err[MAC_ERR];
    MacConfig s = sizes(c);
    Model *m = need(model_new(&s, word(c, "seed")));
    StWriter *w = need(st_new());
    model_save(m, w, 0);
    st_add_meta(w, "tokenizer", merges_text(tp, c));
    snprintf(path, sizeof path, "%s/vectors.model", scratch);
    if (st_write(w, path, err) != 0) die("%s", err);
    if (FLOATS) made_file(c, "bits_file", path);
    remove(path);
    model_free(m);
}

/* ==== level 9: a training ==================================================================== */
static void run_training(Tape *tp, Case *c) {
    int steps = (int)number(c, "total"), lm = in(c, "ids") != NULL; /* else the stage mac */
    Model *m = need(model_new(&c->m->c, 1));
    Tape *own = need(tape_new(0));
    Adam o = optimizer(c);
    real *losses = made(c, "losses", steps, 0), *norms = made(c, "norms", steps, 0);
    (void)tp;
    for (int i = 0; i < m->ps.n; i++)
        memcpy(m->ps.p[i]->t.data, c->m->ps.p[i]->t.data, numel(&m->ps.p[i]->t) * sizeof(real));
    param_freeze(&m->ps, "", lm), param_freeze(&m->ps, "base_lm.", !lm);
    if (number(c, "sharp") > 0) model_share_start(m, (real)number(c, "sharp"));
    if (FLOATS) made_word(c, "bits_start", model_fingerprint(m));
    for (int i = 0; i < steps; i++) {
        Case step = {.m = m, .in = c->in};
        tape_reset(own);
        if (lm) run_lm_loss(own, &step);
        else run_loss(own, &step);
        if (tape_backward(own, step.out[0]) != 0) die("%s", tape_error(own));
        o.lr = rate(c, i);
        losses[i] = step.out[0]->data[0];
        norms[i] = adam_step(&m->ps, &o);
    }
    if (FLOATS) made_word(c, "bits_end", model_fingerprint(m));
    tape_free(own);
    model_free(m);
}
#endif
