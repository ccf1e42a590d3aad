/* golden.c - equal bits everywhere: one small run of the whole, from made-up people to answers, as
 * checksums that every compiler, processor, byte order and number of threads has to reach.
 *
 *     golden [--print] [SCRATCH [THREADS ...]]     SCRATCH: a folder for files, "."; THREADS: 1
 *     golden --machine                             byte order, bits of a pointer, vectors or plain
 *
 * The expected ones are in tests/golden/golden.txt, found from the top of the repository.  The
 * first stage that differs is named: those after it follow from it.  When a change of bits is
 * meant, renew the file with `make golden RENEW=1`.
 *
 * A checksum is FNV-1a over little-endian bytes, so it tells -0 from 0 and covers subnormals.  No
 * stage may make a NaN: IEEE 754 leaves a NaN's sign and payload open, and processors differ. */
#include "data/data.h"
#include "data/program.h"
#include "data/system.h"
#include "mac.h"
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__GNUC__) && !defined(MAC_NO_VECTOR) /* as in tensor.c */
#define CODE "vectors"
#else
#define CODE "plain"
#endif
#if defined(MAC_FAST) || defined(MAC_DOUBLE)
#define PROMISED 0
#else
#define PROMISED 1
#endif
#define EXPECTED "tests/golden/golden.txt"
#define MOST_STAGES 40

typedef struct { char name[48]; uint64_t sum; } Stage;
static Stage found[MOST_STAGES], want[MOST_STAGES];
static int n_found, n_want, n_bad, nan_seen, n_threads;
static const char *scratch = ".";
static char err[MAC_ERR];

static void fail(const char *what, const char *why) {
    printf("golden: %s: %s\n", what, why);
    exit(1);
}

/* ==== the machine ============================================================================ */
/* Whether compiler, flags and processor round as IEEE 754 says, number by number and in loops
 * that become vectors; the volatile numbers keep the compiler from doing it itself. */
static void check_machine(void) {
    volatile float a = 0x1.001p0f, b = -0x1.002p0f, least = FLT_MIN, half = 0.5f, two = 2;
    float x[64], y[64], z[64];
    if (a * a + b != 0)
        fail("machine", "a * a + b is not rounded twice: build with -ffp-contract=off; 32-bit x86: "
                        "-msse2 -mfpmath=sse");
    float tiny = least * half, back = tiny * two;
    if (tiny == 0 || back != least)
        fail("machine", "subnormal numbers are flushed to zero: no -ffast-math, no -funsafe-math");
    for (int i = 0; i < 64; i++) x[i] = a, y[i] = b, z[i] = least;
    for (int i = 0; i < 64; i++) y[i] = x[i] * x[i] + y[i];
    for (int i = 0; i < 64; i++) z[i] *= x[i] - x[i] + 0.5f;
    for (int i = 0; i < 64; i++) x[i] = z[i] * 2;
    for (int i = 0; i < 64; i++) {
        if (y[i] != 0)
            fail("machine", "loops fuse products and sums: build with -ffp-contract=off");
        if (z[i] == 0 || x[i] != least)
            fail("machine", "vectors flush subnormal numbers to zero: no NEON on 32-bit ARM, no "
                            "AltiVec without VSX, or -fno-tree-vectorize -DMAC_NO_VECTOR");
    }
}

/* What parts of -ffast-math do that no macro tells of, and exponents wider than a float's: the
 * numbers are volatile, what is done with them is not. */
static void check_rules(void) {
    volatile float vbig = 0x1p60f, vone = 1, vzero = 0, three = 3, above = 0x1.000002p-126f;
    volatile float half = 0.5f, two = 2, tenth = 0.1f;
    volatile double exact_tenth = 0.1;
    float big = vbig, one = vone, zero = vzero, low = above * half, up = low * two, x[64], sum = 0;
    float inf = big * big * big, nan = inf - inf, signs[2] = {0 - zero, -zero + 0};
    uint32_t bits[2];
    memcpy(bits, signs, sizeof bits);
    if (up != FLT_MIN)
        fail("machine", "products keep digits that subnormal numbers do not have: m68k wants "
                        "-msoft-float");
    if ((one + 0x1p60f) - 0x1p60f != 0)
        fail("machine", "sums are reordered: no -fassociative-math");
    if (bits[0] || bits[1]) fail("machine", "zeros lose their signs: no -fno-signed-zeros");
    if (!(nan != nan)) fail("machine", "NaN is taken for a number: no -ffinite-math-only");
    if (exact_tenth == tenth) fail("machine", "0.1 is a float: no -fsingle-precision-constant");
    for (int i = 0; i < 64; i++) x[i] = i ? one : 0x1p24f;
    for (int i = 0; i < 64; i++) sum += x[i];
    if (sum != 0x1p24f) fail("machine", "loops reorder sums: no -fassociative-math");
    for (int i = 0; i < 64; i++) {
        float y = one + (float)i * 0x1p-23f;
        if (y / 3 != y / three)
            fail("machine", "quotients become products: no -freciprocal-math");
    }
}

/* ==== checksums ============================================================================== */
static uint64_t sum_u32(uint64_t hash, uint32_t u) {
    const unsigned char le[4] = {(unsigned char)u, (unsigned char)(u >> 8),
                                 (unsigned char)(u >> 16), (unsigned char)(u >> 24)};
    return fnv1a(hash, le, 4);
}

static uint64_t sum_reals(uint64_t hash, const real *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float f = (float)x[i];
        uint32_t u;
        memcpy(&u, &f, sizeof u);
        nan_seen |= (u & 0x7fffffff) > 0x7f800000;
        hash = sum_u32(hash, u);
    }
    return hash;
}

static uint64_t sum_file(const char *path) {
    unsigned char bytes[4096];
    uint64_t hash = MAC_FNV;
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f) fail(path, "cannot be read");
    while ((n = fread(bytes, 1, sizeof bytes, f)) > 0) hash = fnv1a(hash, bytes, n);
    fclose(f);
    return hash;
}

/* Notes a stage; the first of a run that differs from what is expected is named at once. */
static void stage(const char *name, uint64_t sum) {
    Stage *s = &found[n_found], *w = &want[n_found];
    if (n_found == MOST_STAGES) fail(name, "is one stage more than there is room for");
    snprintf(s->name, sizeof s->name, "%s", name);
    s->sum = sum;
    n_found++;
    if (n_want && (n_found > n_want || s->sum != w->sum || strcmp(s->name, w->name)) && !n_bad++)
        printf("golden: stage \"%s\" is the first that differs, with %d threads: %016llx and "
               "not %016llx (%s)\n", name, n_threads, (unsigned long long)sum,
               (unsigned long long)w->sum, w->name);
    if (nan_seen) fail(name, "has a NaN in it, whose bits nobody promises");
}

/* ==== numbers ================================================================================ */
/* Any number whose biased exponent lies in lo..hi; 0: subnormals. */
static real any_real(uint64_t *rng, int lo, int hi) {
    uint64_t bits = rng_next(rng);
    uint32_t exponent = (uint32_t)(lo + rng_below(rng, hi - lo + 1)), u;
    float x;
    u = ((uint32_t)bits & 0x807fffff) | exponent << 23;
    memcpy(&x, &u, sizeof x);
    return (real)x;
}

static void stage_math(const char *name, real (*f)(real), int most, int positive) {
    uint64_t rng = 1, hash = MAC_FNV;
    for (int i = 0; i < 20000; i++) { /* half of them of every size, half near 1 */
        real x = any_real(&rng, i % 2 ? 0 : 110, i % 2 ? most : 132), y;
        y = f(positive && x < 0 ? -x : x);
        hash = sum_reals(hash, &y, 1);
    }
    const real edge[] = {0, INFINITY, (real)FLT_MIN, (real)FLT_MAX, 1};
    for (size_t i = 0; i < sizeof edge / sizeof *edge; i++) {
        if (most < 254 && edge[i] > 1e4) continue; /* sin and cos have no value there */
        real y = f(edge[i]);
        hash = sum_reals(hash, &y, 1);
    }
    stage(name, hash);
}

static void stage_scalar(void) {
    uint64_t rng = 2, subnormals = MAC_FNV, halves = MAC_FNV;
    for (int i = 0; i < 20000; i++) {
        real x = any_real(&rng, 0, 3), z = any_real(&rng, 0, 3), y = any_real(&rng, 110, 140);
        const real got[5] = {x + z, x - z, x * y, x / y, y * z - x};
        subnormals = sum_reals(subnormals, got, 5);
        real w = any_real(&rng, 90, 150), back;
        uint16_t h = half_of(w);
        const unsigned char le[2] = {(unsigned char)h, (unsigned char)(h >> 8)};
        half_read(&back, le, 1);
        halves = sum_reals(sum_u32(halves, h), &back, 1);
    }
    stage("subnormals", subnormals);
    stage("halves", halves);
}

/* y = b + x W^T in tiles, packed where that is worth it, must be the three-line loop, bit for bit;
 * `size` is that of the products' order: small ones make subnormal products. */
static void stage_matmul(Tape *tp, const char *name, int M, int K, int N, real size) {
    uint64_t rng = 3;
    tape_reset(tp);
    Tensor *x = tape_tensor(tp, M, K), *w = tape_tensor(tp, N, K), *b = tape_tensor(tp, 1, N);
    if (!x || !w || !b) fail(name, tape_error(tp));
    for (int i = 0; i < M * K; i++) x->data[i] = size * rng_normal(&rng);
    for (int i = 0; i < N * K; i++) w->data[i] = size * rng_normal(&rng);
    for (int i = 0; i < N; i++) b->data[i] = size * size * rng_normal(&rng);
    Tensor *y = op_linear(tp, x, w, b, 0);
    if (!y) fail(name, tape_error(tp));
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            volatile real sum = b->data[j]; /* volatile: no cleverness here */
            for (int k = 0; k < K; k++) sum = sum + x->data[i * K + k] * w->data[j * K + k];
            if (sum != y->data[i * N + j]) fail(name, "tiles differ from the three-line loop");
        }
    stage(name, sum_reals(MAC_FNV, y->data, (size_t)(M * N)));
}

static void run_numbers(Tape *tp) {
    stage_math("exp", exact_exp, 254, 0);
    stage_math("log", exact_log, 254, 1);
    stage_math("tanh", exact_tanh, 254, 0);
    stage_math("erf", exact_erf, 254, 0);
    stage_math("sin", exact_sin, 139, 0);
    stage_math("cos", exact_cos, 139, 0);
    stage_scalar();
    stage_matmul(tp, "matmul", 67, 301, 49, 1);
    stage_matmul(tp, "matmul, packed", 41, 70, 643, 1);
    stage_matmul(tp, "matmul, subnormal products", 19, 70, 45, (real)1e-20);
}

/* ==== text =================================================================================== */
/* Small, because an emulated processor is a hundred times slower; a wrong bit spreads in a step. */
#define LM_STEPS 4
#define MAC_STEPS 4
#define LM_BATCH 6
#define DOCS 12     /* of a step of meta-training; 9 of them get a gradient and two questions */
#define DOCS_GRAD 9
#define GROUP 4
#define LEARNED 208 /* documents in the bank: more than a slab of op_stream_attention */
#define ASKED 24

typedef struct {
    Corpus train, test;
    Augment *aug;
    Tape *tp;
    Reader reader;
    Model *m;
    Adam adam;
    uint64_t rng;
} Run;

static void read_people(Run *r) {
    static const char *const split[] = {"train", "valid", "test"};
    char dir[300], path[400];
    uint64_t hash = MAC_FNV;
    snprintf(dir, sizeof dir, "%s/golden.tmp", scratch);
    if (people_write(dir, 200, 1, err) != 0) fail("people", err);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s.jsonl", dir, split[i]);
        hash = hash * 31 + sum_file(path);
        if (i != 1 && corpus_read(i ? &r->test : &r->train, path, err) != 0) fail("people", err);
        remove(path);
    }
    remove(dir); /* where that removes a folder; elsewhere it stays, empty */
    stage("people", hash);
}

static void train_tokenizer(Run *r) {
    const char *text[1000];
    int n = 0;
    for (int i = 0; i < r->train.n_docs && n < 1000; i++) text[n++] = r->train.docs[i].text;
    for (int i = 0; i < r->train.n_qas && n < 1000; i++) text[n++] = r->train.qas[i].q;
    r->reader.tok = tok_train(text, n, 330);
    char *dump = r->reader.tok ? tok_dump(r->reader.tok) : NULL;
    if (!dump) fail("tokenizer", "out of memory");
    stage("tokenizer", fnv1a(MAC_FNV, dump, strlen(dump)));
    free(dump);
}

static void draw(Run *r, AugDoc *d) {
    int doc = rng_below(&r->rng, r->train.n_docs);
    int other = rng_below(&r->rng, r->train.n_docs);
    if (aug_draw(r->aug, doc, r->train.docs[other].title, 0.8, 0.8, 0.5, &r->rng, d) != 0)
        fail("batch", "out of memory");
}

/* ==== training, in the small ================================================================= */
static Tensor *lm_batch(Run *r) { /* a document, a question and its answer */
    Ids x[LM_BATCH];
    const char *asked[LM_BATCH];
    for (int b = 0; b < LM_BATCH; b++) {
        AugDoc d;
        draw(r, &d);
        int i = rng_below(&r->rng, d.n);
        Ids document = reader_document(&r->reader, d.text);
        Ids q = reader_joined(&r->reader, document, reader_question(&r->reader, d.q[i]));
        x[b] = reader_joined(&r->reader, q, reader_answer(&r->reader, d.a[i]));
        char *mark = tape_alloc(r->tp, (size_t)x[b].n);
        if (!mark) fail("batch", "out of memory");
        for (int t = b % 2 ? q.n : 0; t < x[b].n; t++) mark[t] = 1;
        asked[b] = mark;
        aug_drop(&d);
    }
    return lm_loss(r->m, r->tp, x, asked, LM_BATCH, NULL, 1);
}

static Tensor *mac_batch(Run *r) {
    Ids docs[DOCS], q[2 * DOCS_GRAD], qa[2 * DOCS_GRAD];
    int doc[2 * DOCS_GRAD], n = 0;
    MacStats stats;
    for (int i = 0; i < DOCS; i++) {
        AugDoc d;
        draw(r, &d);
        docs[i] = reader_document(&r->reader, d.text);
        for (int k = 0; k < 2 && i < DOCS_GRAD; k++) {
            q[n] = reader_question(&r->reader, d.q[k]);
            qa[n] = reader_joined(&r->reader, q[n], reader_answer(&r->reader, d.a[k]));
            doc[n++] = i;
        }
        aug_drop(&d);
    }
    MacBatch b = {docs, DOCS, DOCS_GRAD, q, qa, n, doc, GROUP, (real)0.1, (real)0.5, 1};
    return mac_loss(r->m, r->tp, &b, &stats);
}

/* Two stages: the parameters, and Adam's moments of those that are trained. */
static void stage_params(const Run *r, const char *name) {
    uint64_t values = MAC_FNV, moments = MAC_FNV;
    char moments_name[48];
    for (int i = 0; i < r->m->ps.n; i++) {
        const Param *p = r->m->ps.p[i];
        size_t n = 1;
        for (int k = 0; k < p->t.ndim; k++) n *= (size_t)p->t.shape[k];
        values = sum_reals(values, p->t.data, n);
        if (!p->m) continue;
        moments = sum_reals(sum_reals(moments, p->m, n), p->v, n);
    }
    stage(name, values);
    if (r->adam.step == 0) return;
    snprintf(moments_name, sizeof moments_name, "%.30s: moments", name);
    stage(moments_name, moments);
}

static void train(Run *r, const char *name, Tensor *(*batch)(Run *), int steps, real lr,
                  real muon) {
    r->adam = adam_default(0);
    r->adam.muon = muon;
    r->adam.clip = 1;
    r->adam.decay = (real)0.01;
    for (int i = 0; i < steps; i++) {
        tape_reset(r->tp);
        r->adam.lr = lr_schedule(LR_COSINE, lr, i, 1, steps);
        if (tape_backward(r->tp, batch(r)) != 0) fail(name, tape_error(r->tp));
        if (!(adam_step(&r->m->ps, &r->adam) > 0)) fail(name, "the gradient is not finite");
    }
    stage_params(r, name);
}

/* Sizes that fill no vector and no tile, as real ones would be too kind. */
static void train_model(Run *r) {
    MacConfig c = {.V = tok_size(r->reader.tok), .d = 36, .L = 2, .H = 3, .e = 40, .enc_L = 1,
                   .enc_H = 3, .enc_dh = 12, .enc_ff = 52, .T = 5, .P = 3, .agg_B = 2, .agg_H = 3,
                   .agg_dh = 12, .pre_ff = 28, .D = 64, .Q = 24, .A = 8};
    r->m = model_new(&c, 1);
    r->reader = (Reader){r->reader.tok, c.D, c.Q, c.A, r->tp, tape_alloc, 0};
    r->aug = aug_new(&r->train);
    if (!r->m || !r->aug) fail("init", "out of memory");
    stage_params(r, "init");
    train(r, "lm", lm_batch, LM_STEPS, (real)2e-3, 0);
    param_freeze(&r->m->ps, "base_lm.", 1);
    model_share_start(r->m, 3);
    train(r, "mac", mac_batch, MAC_STEPS, (real)1e-3, (real)0.95);
}

/* ==== the bank and the answers =============================================================== */
static Bank *saved_bank(Bank *b, const char *name) { /* and loaded again, which may map the file */
    char path[400];
    snprintf(path, sizeof path, "%s/golden.bank", scratch);
    if (bank_save(b, path, err) != 0) fail(name, err);
    bank_free(b);
    stage(name, sum_file(path));
    b = bank_load(path, err);
    if (!b) fail(name, err);
    return b;
}

static void learn(Run *r, Bank *bank[2]) { /* in full and in half precision */
    for (int half = 0; half < 2; half++) {
        bank[half] = bank_new(r->m->c.T, r->m->c.d, model_fingerprint(r->m));
        if (!bank[half]) fail("bank", "out of memory");
        bank[half]->half = half;
    }
    for (int i = 0; i < LEARNED; i += 16) {
        Ids x[16];
        tape_reset(r->tp);
        for (int k = 0; k < 16; k++)
            x[k] = reader_document(&r->reader, r->test.docs[i + k].text);
        Tensor *phi = mac_encode(r->m, r->tp, x, 16);
        if (!phi) fail("bank", tape_error(r->tp));
        for (int k = 0; k < 32; k++) {
            const Doc *d = &r->test.docs[i + k / 2];
            const real *own = phi->data + (size_t)(k / 2 * r->m->c.T) * (size_t)r->m->c.d;
            if (bank_add(bank[k % 2], d->id, d->title, d->hash, own) != 1)
                fail("bank", "not added");
        }
    }
}

static void ask(Run *r, const char *name, const Bank *bank, int B, AnswerOptions o) {
    Ids q[ASKED];
    int out[ASKED * 8], n[ASKED], cap = r->m->c.A;
    uint64_t hash = MAC_FNV;
    real *weight = calloc((size_t)B * (size_t)bank->K, sizeof *weight);
    if (!weight) fail(name, "out of memory");
    tape_reset(r->tp);
    for (int b = 0; b < B; b++)
        q[b] = reader_question(&r->reader, r->test.qas[7 * b].q);
    o.received = weight;
    if (mac_answer(r->m, r->tp, q, B, bank, cap, out, n, &o) != 0) fail(name, tape_error(r->tp));
    for (int b = 0; b < B; b++) {
        hash = sum_u32(hash, (uint32_t)n[b]);
        for (int i = 0; i < n[b]; i++) hash = sum_u32(hash, (uint32_t)out[b * cap + i]);
    }
    stage(name, sum_reals(hash, weight, (size_t)B * (size_t)bank->K));
    free(weight);
}

/* Strangers of the training, and a question about each of some documents. */
static void fit_gate(Run *r) {
    enum { STRANGERS = 20, GATED = 40 };
    Ids stranger[STRANGERS], docs[GATED], q[GATED];
    int doc[GATED];
    tape_reset(r->tp);
    for (int i = 0; i < STRANGERS; i++)
        stranger[i] = reader_document(&r->reader, r->train.docs[i].text);
    for (int i = 0; i < GATED; i++) {
        const Doc *d = &r->test.docs[i];
        docs[i] = reader_document(&r->reader, d->text);
        q[i] = reader_question(&r->reader, r->test.qas[d->qas[0]].q), doc[i] = i;
    }
    MacBatch b = {.docs = docs, .n_docs = GATED, .q = q, .n_q = GATED, .doc = doc};
    if (mac_gate(r->m, r->tp, stranger, STRANGERS, &b) != 0) fail("gate", tape_error(r->tp));
    const Gate *g = &r->m->gate;
    uint64_t hash = sum_reals(MAC_FNV, g->t, (size_t)g->F);
    hash = sum_reals(hash, g->strangers, (size_t)(g->R * r->m->c.T * r->m->c.d));
    stage("gate", sum_reals(hash, g->fit, GATE_FIT));
}

/* How sure answers are, and how far the first document is from all. */
static void ask_gate(Run *r, const Bank *bank) {
    real sure[ASKED], ratio[LEARNED], first[5 * 36];
    ask(r, "answers, sure", bank, 3, (AnswerOptions){.select = 1, .sure = sure});
    bank_read(bank, 0, 1, first);
    if (mac_versions(r->m, r->tp, bank, bank->K, first, ratio) != 0)
        fail("versions", tape_error(r->tp));
    stage("sure, versions", sum_reals(sum_reals(MAC_FNV, sure, 3), ratio, (size_t)bank->K));
}

static void ask_all(Run *r) {
    char path[400];
    Bank *both[2], *bank;
    learn(r, both);
    bank = saved_bank(both[0], "bank");
    ask(r, "answers", bank, ASKED, (AnswerOptions){0});
    ask(r, "answers, one question", bank, 1, (AnswerOptions){0});
    ask(r, "answers, beams", bank, 3, (AnswerOptions){.beams = 3});
    ask(r, "answers, hierarchy", bank, 3, (AnswerOptions){.hierarchy = 7});
    ask(r, "answers, select", bank, 3, (AnswerOptions){.select = 2});
    bank_free(bank);
    bank = saved_bank(both[1], "bank, half precision");
    ask(r, "answers, half precision", bank, 3, (AnswerOptions){0});
    fit_gate(r);
    ask_gate(r, bank);
    bank_free(bank);
    snprintf(path, sizeof path, "%s/golden.bank", scratch);
    remove(path);
}

static void run_all(void) {
    Run r = {.rng = 5, .tp = tape_new(0)};
    n_found = 0;
    if (!r.tp) fail("golden", "out of memory");
    run_numbers(r.tp);
    read_people(&r);
    train_tokenizer(&r);
    train_model(&r);
    ask_all(&r);
    model_free(r.m);
    aug_free(r.aug);
    tok_free(r.reader.tok);
    tape_free(r.tp);
    corpus_free(&r.train);
    corpus_free(&r.test);
}

/* ==== comparison ============================================================================= */
static void read_expected(void) { /* lines of sixteen digits, a blank and a name */
    char line[100];
    FILE *f = fopen(EXPECTED, "rb");
    if (!f) fail(EXPECTED, "cannot be read: run golden from the top of the repository");
    while (n_want < MOST_STAGES && fgets(line, sizeof line, f)) {
        Stage *s = &want[n_want++];
        line[strcspn(line, "\r\n")] = 0;
        s->sum = strtoull(line, NULL, 16);
        snprintf(s->name, sizeof s->name, "%.47s", strlen(line) > 17 ? line + 17 : "");
    }
    fclose(f);
}

static int machine(void) {
    const int one = 1;
    printf("%s %d %s\n", *(const char *)&one ? "little" : "big", (int)sizeof(void *) * 8, CODE);
    return 0;
}

int main(int argc, char **argv) {
    static char one[] = "1", *default_threads[] = {one};
    int print = argc > 1 && !strcmp(argv[1], "--print"), at = 1 + print, bad = 0;
    if (argc > 1 && !strcmp(argv[1], "--machine")) return machine();
    if (at < argc) scratch = argv[at++];
    char **threads = at < argc ? argv + at : default_threads;
    int n_runs = at < argc ? argc - at : 1, checked = 0;
    if (PROMISED) check_machine(), check_rules();
    else if (!print) {
        puts("golden          skipped: its checksums are those of float, without FAST=1");
        return 0;
    }
    double began = mac_seconds();
    if (!print) read_expected();
    for (int i = 0; i < n_runs; i++) {
        n_threads = (int)strtol(threads[i], NULL, 10);
        n_bad = 0;
        pool_start(n_threads);
        run_all();
        pool_stop();
        if (!print && n_found < n_want) fail(want[n_found].name, "this stage is missing");
        checked += n_found;
        bad += n_bad;
    }
    for (int i = 0; print && i < n_found; i++)
        printf("%016llx %s\n", (unsigned long long)found[i].sum, found[i].name);
    if (print) return 0;
    printf("golden         %7d checks, %d failed (%.1f s)\n", checked, bad, mac_seconds() - began);
    return bad != 0 || checked == 0;
}
