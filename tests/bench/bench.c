/* bench.c - how fast the parts are, on this machine, now.
 *
 *   bench [PREFIX]       the items that begin like this, or all, each in a process of its own; the
 *                        table, and bench.jsonl
 *   bench THREADS ITEM   one item, as a line of the table and a line of JSON
 *   bench --serve        "THREADS ITEM" a line on stdin, seconds a call a line on stdout: for
 *                        tests/bench/bench_peer.py, which lets PyTorch and OpenBLAS run the
 *                        same in turns
 *
 * A shared machine swings by a third.  So each figure stands beside the peak that the same process
 * has measured just before, best and median of several runs are shown, and only what one run of
 * this program prints may be compared. */
#include "tensor.c" /* the products and the vectors as they are inside */
#include "data/data.h"
#include "data/system.h"

#define RUNS 7
#define ENOUGH 2.0
typedef void (*Work)(void);

static Tape *tape;
static Model *model;
static Adam adam;
static uint64_t rng = 1;

static void stop(const char *why) {
    fprintf(stderr, "bench: %s\n", why);
    exit(1);
}

static int smaller(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return p < q ? -1 : p > q;
}

/* Seconds a call: of RUNS short runs, or as many as begin within ENOUGH seconds, the best and, into
 * *median, the middle one. */
static double seconds(Work work, double *median) {
    double t[RUNS], start;
    int runs = 0;
    work();
    start = mac_seconds();
    while (runs < RUNS && mac_seconds() - start < ENOUGH) {
        int calls = 0;
        double began = mac_seconds(), took;
        do work(), calls++;
        while ((took = mac_seconds() - began) < 0.02);
        t[runs++] = took / calls;
    }
    qsort(t, (size_t)runs, sizeof *t, smaller);
    if (median) *median = t[runs / 2];
    return t[0];
}

static real *numbers(size_t n) {
    real *x = malloc((n + 1) * sizeof *x);
    if (!x) stop("out of memory");
    for (size_t i = 0; i < n; i++) x[i] = rng_uniform(&rng) - (real)0.5;
    return x;
}

/* ==== what the machine can do ================================================================ */
#ifdef VBYTES
#if defined(__clang__)
#define CONTRACT(how)
#else
#define CONTRACT(how) __attribute__((optimize("fp-contract=" how)))
#endif
#define PEAK_LOOPS 20000
#define PEAK_CHAINS 14 /* enough chains of one product and one sum to hide their latency */
static real peak_out;

#define PEAK_BODY                                                                                  \
    vec acc[PEAK_CHAINS], a = {0}, b = {0}, sum = {0};                                             \
    for (int l = 0; l < VL; l++) a[l] = (real)0.999 + peak_out, b[l] = (real)1e-3;                 \
    for (int i = 0; i < PEAK_CHAINS; i++) acc[i] = a * (real)i;                                    \
    for (int n = 0; n < PEAK_LOOPS; n++)                                                           \
        _Pragma("GCC unroll 16") for (int i = 0; i < PEAK_CHAINS; i++) acc[i] = acc[i] * a + b;    \
    for (int i = 0; i < PEAK_CHAINS; i++) sum += acc[i];                                           \
    peak_out = sum[0] * 0;
CONTRACT("off") static void work_unfused(void) { PEAK_BODY }
CONTRACT("fast") static void work_fused(void) { PEAK_BODY }

static double peak_flops(int fused) { /* of one thread */
    return 2.0 * PEAK_LOOPS * PEAK_CHAINS * VL / seconds(fused ? work_fused : work_unfused, NULL);
}
#else
static double peak_flops(int fused) { return fused + NAN; }
#endif

#define STREAM ((size_t)32 << 20) /* numbers to read: more than any cache holds */
static real *stream;
static real stream_sum[MAX_THREADS];
static void read_job(void *ctx, int lo, int hi, int thread) {
    (void)ctx;
    stream_sum[thread] = row_sum(stream + (size_t)lo * CHUNK, (hi - lo) * CHUNK);
}
static void work_stream(void) { pool_run(chunks(STREAM), CHUNK, read_job, NULL); }

static double bandwidth(void) { /* bytes a second that all threads can read */
    stream = numbers(STREAM);
    double t = seconds(work_stream, NULL);
    free(stream);
    return (double)(STREAM * sizeof(real)) / t;
}

/* ==== items ================================================================================== */
/* An item's figure is amount / seconds in `unit`; its share is that of peak * threads. */
typedef struct {
    Work work;
    double amount, scale;   /* units a call; the figure is printed divided by this */
    const char *unit;
    enum { PEAK_NONE, PEAK_FLOPS, PEAK_BYTES } peak;
    double operations;      /* of a call, for the share, where the amount is not these */
} Item;
static Item item;

static Tensor param_of(int rows, int cols) {
    return (Tensor){2, {rows, cols, 1}, numbers((size_t)rows * (size_t)cols),
                    reals_new((size_t)rows * (size_t)cols)};
}

/* ---- matmul ---- */
static int mm_M, mm_N, mm_K;
static char mm_kind;
static real *mm_a, *mm_b, *mm_c;

static void work_matmul(void) {
    Mat A = mm_kind == 't' ? mat_t(mm_a, mm_M) : mat(mm_a, mm_K);
    Mat B = mm_kind == 'b' ? mat_t(mm_b, mm_K) : mat(mm_b, mm_N);
    product(1, mm_M, mm_N, mm_K, A, 0, B, 0, mm_c, ADD, NULL);
}

static int open_matmul(const char *what) {
    char kind[4] = "nn";
    if (sscanf(what, "matmul %d %d %d %3s", &mm_M, &mm_N, &mm_K, kind) < 3) return 0;
    mm_kind = kind[0] == 't' ? 't' : kind[1] == 't' ? 'b' : 'n';
    mm_a = numbers((size_t)mm_M * (size_t)mm_K), mm_b = numbers((size_t)mm_K * (size_t)mm_N);
    mm_c = numbers((size_t)mm_M * (size_t)mm_N);
    item = (Item){work_matmul, 2.0 * mm_M * mm_N * mm_K, 1e9, "GFLOP/s", PEAK_FLOPS};
    return 1;
}

/* ---- one op, forward and backward, over [rows, cols] ---- */
static Tensor op_x, op_g, op_b;
static int *op_target;
static char op_name[16];

static Tensor *run_op(void) {
    if (!strcmp(op_name, "layernorm")) return op_layernorm(tape, &op_x, &op_g, &op_b);
    if (!strcmp(op_name, "softmax")) return op_softmax(tape, &op_x);
    if (!strcmp(op_name, "gelu")) return op_act(tape, &op_x, ACT_GELU_TANH);
    if (!strcmp(op_name, "gelu_erf")) return op_act(tape, &op_x, ACT_GELU_ERF);
    return op_cross_entropy(tape, &op_x, op_target, NULL);
}

static void work_op(void) {
    tape_reset(tape);
    if (!run_op()) stop(tape_error(tape));
}

static void work_op_back(void) {
    work_op();
    Node *last = &tape->node[tape->n_nodes - 1];
    last->backward(last);
}

/* Bytes that have to move: x in, y out, or (cross-entropy) x in and p out; backward reads y and dy
 * and adds into dx as well. */
static int open_op(const char *what) {
    static const char *const known[] = {"layernorm", "softmax", "gelu", "gelu_erf",
                                        "cross_entropy"};
    char back[9] = "";
    int R, C, ok = 0;
    if (sscanf(what, "%15s %d %d %8s", op_name, &R, &C, back) < 3) return 0;
    for (int i = 0; i < 5; i++) ok |= !strcmp(known[i], op_name);
    if (!ok) return 0;
    op_x = param_of(R, C), op_g = param_of(1, C), op_b = param_of(1, C);
    op_target = malloc((size_t)R * sizeof *op_target);
    if (!op_target) stop("out of memory");
    for (int r = 0; r < R; r++) op_target[r] = rng_below(&rng, C);
    double bytes = (double)R * C * sizeof(real) * (*back ? 6 : 2);
    item = (Item){*back ? work_op_back : work_op, bytes, 1e9, "GB/s", PEAK_BYTES};
    return 1;
}

/* ---- attention: B sequences of n queries and n_keys keys, H heads of 16 ---- */
static Tensor at_q, at_k, at_v;
static Attention attention;
static int at_back;

static void work_attention(void) {
    tape_reset(tape);
    attention.mass = NULL;
    if (!op_attention(tape, &at_q, &at_k, &at_v, &attention)) stop(tape_error(tape));
    Node *last = &tape->node[tape->n_nodes - 1];
    if (at_back) last->backward(last);
}

static int open_attention(const char *what) {
    int B, n, n_keys, H;
    char back[9] = "";
    if (sscanf(what, "attention %d %d %d %d %8s", &B, &n, &n_keys, &H, back) < 4) return 0;
    int *at = malloc(4 * (size_t)B * sizeof *at);
    if (!at) stop("out of memory");
    for (int b = 0; b < B; b++)
        at[b] = b * n, at[B + b] = n, at[2 * B + b] = b * n_keys, at[3 * B + b] = n_keys;
    at_q = param_of(B * n, 16 * H), at_k = param_of(B * n_keys, 16 * H);
    at_v = param_of(B * n_keys, 16 * H), at_back = *back != 0;
    attention = (Attention){.B = B, .H = H, .q0 = at, .qn = at + B, .k0 = at + 2 * B,
                            .kn = at + 3 * B, .scale = (real)0.25};
    item = (Item){work_attention, 4.0 * B * n * n_keys * 16 * H * (at_back ? 3 : 1), 1e9,
                  "GFLOP/s", PEAK_FLOPS};
    return 1;
}

/* ---- Adam ---- */
static Params adam_ps;
static void work_adam(void) { adam_step(&adam_ps, &adam); }

static int open_adam(const char *what) {
    int n;
    if (sscanf(what, "adam %d", &n) != 1) return 0;
    Tensor *t = param_new(&adam_ps, "x", 1, n);
    for (int i = 0; t && i < n; i++) t->grad[i] = rng_uniform(&rng);
    if (!t) stop("out of memory");
    adam = adam_default((real)1e-3);
    item = (Item){work_adam, 9.0 * n * (double)sizeof(real), 1e9, "GB/s", PEAK_BYTES};
    return 1; /* reads g for the norm, then p g m v, and writes these four */
}

/* ---- models: toy (make demo's for people), small, and layers of GPT-2 124M's shape ---- */
typedef struct { const char *name; MacConfig c; int lm_B, lm_n, lm_more, docs, d_n, d_more, per,
                 q_n, q_more, a_n, group; } Size;
static const Size sizes[] = {
    {"toy", {.V = 400, .d = 64, .L = 2, .H = 4, .e = 64, .enc_L = 2, .enc_H = 4, .enc_dh = 16,
             .enc_ff = 256, .T = 8, .P = 2, .agg_B = 2, .agg_H = 4, .agg_dh = 16, .pre_ff = 128,
             .D = 64, .Q = 24, .A = 8}, 32, 40, 23, 32, 28, 13, 3, 9, 4, 3, 8},
    {"small", {.V = 4096, .d = 256, .L = 4, .H = 8, .e = 256, .enc_L = 4, .enc_H = 8, .enc_dh = 32,
               .enc_ff = 1024, .T = 16, .P = 4, .agg_B = 4, .agg_H = 8, .agg_dh = 32, .pre_ff = 256,
               .D = 128, .Q = 32, .A = 16}, 16, 64, 1, 16, 60, 9, 1, 16, 1, 4, 16},
    {"gpt2", {.V = 50257, .d = 768, .L = 2, .H = 12, .e = 768, .enc_L = 2, .enc_H = 12,
              .enc_dh = 64, .enc_ff = 3072, .T = 12, .P = 2, .agg_B = 2, .agg_H = 12, .agg_dh = 64,
              .pre_ff = 768, .D = 64, .Q = 32, .A = 16}, 4, 64, 1, 4, 64, 1, 1, 16, 1, 4, 4}};
static Ids *seq, *docs, *quest, *quest_answer;
static MacBatch batch;
static int n_seq;

static Ids ids_new(int n, int V) {
    static uint64_t i;
    int *id = malloc((size_t)n * sizeof *id);
    if (!id) stop("out of memory");
    for (int k = 0; k < n; k++) id[k] = (int)((7919 * i++ + 13) % (uint64_t)V);
    return (Ids){id, n};
}

/* Sequences of unequal length, as real ones are; bench_peer.py makes the same. */
static const Size *open_size(const char *name) {
    const Size *s = sizes;
    while (s < sizes + 3 && strcmp(s->name, name)) s++;
    if (s == sizes + 3) stop("sizes are toy, small and gpt2");
    int n_q = s->docs * s->per, *doc = malloc((size_t)n_q * sizeof *doc);
    seq = malloc((size_t)(s->lm_B + s->docs + 2 * n_q) * sizeof *seq);
    if (!doc || !seq) stop("out of memory");
    docs = seq + s->lm_B, quest = docs + s->docs, quest_answer = quest + n_q;
    for (int b = 0; b < s->lm_B; b++) seq[b] = ids_new(s->lm_n + 7 * b % s->lm_more, s->c.V);
    for (int i = 0; i < s->docs; i++) docs[i] = ids_new(s->d_n + (s->per > 1 ? 5 : 3) * i
                                                        % s->d_more, s->c.V);
    for (int i = 0; i < n_q; i++) {
        quest_answer[i] = ids_new(s->q_n + i % s->q_more + s->a_n, s->c.V);
        quest[i] = (Ids){quest_answer[i].id, quest_answer[i].n - s->a_n};
        doc[i] = i / s->per;
    }
    n_seq = s->lm_B;
    batch = (MacBatch){docs, s->docs, s->docs, quest, quest_answer, n_q, doc, s->group, (real)0.1,
                       0, 0};
    model = model_new(&s->c, 1);
    adam = adam_default((real)1e-4);
    adam.clip = 1;
    if (!model) stop("out of memory");
    return s;
}

static int step_is_mac;

static Tensor *step_loss(void) {
    MacStats stats;
    tape_reset(tape);
    return step_is_mac ? mac_loss(model, tape, &batch, &stats)
                       : lm_loss(model, tape, seq, NULL, n_seq, NULL, 0);
}

static void work_step(void) {
    if (tape_backward(tape, step_loss()) != 0) stop(tape_error(tape));
    adam_step(&model->ps, &adam);
}

/* Seconds since *from, which becomes now. */
static double lap(double *from) {
    double before = *from;
    *from = mac_seconds();
    return *from - before;
}

/* Where the time of a step goes: forward, the optimizer, and backward by op. */
static void print_parts(void) {
    enum { MOST = 32 };
    const char *op[MOST];
    double took[MOST] = {0}, all, from = mac_seconds();
    int n = 0;
    Tensor *loss = step_loss();
    if (!loss) stop(tape_error(tape));
    double forward = lap(&from), back = 0;
    loss->grad[0] = 1;
    for (int i = tape->n_nodes - 1; i >= 0; i--) {
        Node *node = &tape->node[i];
        int k = 0;
        while (k < n && strcmp(op[k], node->op)) k++;
        if (k == MOST) stop("a step has more kinds of ops than its table has rows");
        if (k == n) op[n++] = node->op;
        node->backward(node);
        double seconds_of_op = lap(&from);
        took[k] += seconds_of_op, back += seconds_of_op;
    }
    adam_step(&model->ps, &adam);
    double optimizer = lap(&from);
    all = forward + back + optimizer;
    printf("  forward %.2f, optimizer %.2f, backward:", forward / all, optimizer / all);
    for (int k = 0; k < n; k++)
        if (took[k] / all >= 0.005) printf(" %s %.2f", op[k], took[k] / all);
    puts("");
}

/* Additions and multiplications of an op's products, forward and backward; all else is not counted,
 * as it would be none if it took no time. */
static double node_operations(const Node *nd) {
    const Tensor *x = nd->in[0], *k = nd->in[1], *v = nd->in[2];
    if (!strcmp(nd->op, "linear")) {
        int products = 1 + (x->grad != NULL) + (k->grad != NULL);
        double matrix = (double)tensor_size(k) / (k->ndim > 2 ? k->shape[0] : 1);
        return 2 * matrix * rows_of(x) * products;
    }
    if (strcmp(nd->op, "attention")) return 0;
    const AttnSaved *s = nd->saved;
    int back = x->grad || k->grad || (nd->in[3] && nd->in[3]->grad); /* the weights' gradient */
    int products = 2 + back + (x->grad != NULL) + (k->grad != NULL) + (v->grad != NULL);
    double pairs = 0;
    for (int b = 0; b < s->a.B; b++) pairs += (double)s->a.qn[b] * s->a.kn[b];
    return 2 * pairs * s->width * products;
}

/* Those of Muon, for matrices that are stepped. */
static double muon_operations(void) {
    double sum = 0;
    for (int i = 0; i < model->ps.n; i++) {
        const Tensor *t = &model->ps.p[i]->t;
        double R = t->shape[t->ndim - 2], C = t->shape[t->ndim - 1], r = R < C ? R : C;
        if (!model->ps.p[i]->matrix || !t->grad || adam.muon <= 0) continue;
        double each = R * C, matrices = (double)tensor_size(t) / each; /* X X^T, A A, B X */
        sum += matrices * 5 * 2 * (r * each + r * r * r + r * each);
    }
    return sum;
}

static int open_step(const char *what) {
    char kind[8], size[8];
    if (sscanf(what, "step %7s %7s", kind, size) != 2) return 0;
    open_size(size);
    int mac = !strcmp(kind, "mac");
    param_freeze(&model->ps, mac ? "base_lm." : "", 1);
    param_freeze(&model->ps, "base_lm.", mac);
    step_is_mac = mac;
    item = (Item){work_step, 1, 1, "steps/s", PEAK_FLOPS};
    item.work();
    item.operations = muon_operations();
    for (int i = 0; i < tape->n_nodes; i++) item.operations += node_operations(&tape->node[i]);
    return 1;
}

/* ---- answers and documents a second ---- */
static Bank *bank;
static int answers[64 * 16], lengths[64];

static void work_answer(void) {
    tape_reset(tape);
    if (mac_answer(model, tape, quest, batch.n_q < 64 ? batch.n_q : 64, bank, 8, answers, lengths,
                   NULL) != 0)
        stop(tape_error(tape));
}

static void work_learn(void) {
    tape_reset(tape);
    tape_record(tape, 0);
    if (!mac_encode(model, tape, docs, batch.n_docs)) stop(tape_error(tape));
    tape_record(tape, 1);
}

static int open_serving(const char *what) {
    char kind[8], size[8];
    if (sscanf(what, "%7s %7s", kind, size) != 2) return 0;
    int learn = !strcmp(kind, "learn");
    if (!learn && strcmp(kind, "answer")) return 0;
    const Size *s = open_size(size);
    if (learn) {
        item = (Item){work_learn, s->docs, 1, "documents/s", PEAK_NONE};
        return 1;
    }
    bank = bank_new(s->c.T, s->c.d, 0);
    real *phi = numbers((size_t)s->c.T * (size_t)s->c.d);
    for (uint64_t i = 1; i <= 16; i++)
        if (!bank || bank_add(bank, "id", "title", i, phi) < 0) stop("out of memory");
    work_answer();
    double tokens = 0;
    for (int i = 0; i < batch.n_q && i < 64; i++) tokens += lengths[i];
    item = (Item){work_answer, tokens, 1, "tokens/s", PEAK_NONE};
    return 1;
}

/* ---- questions to a bank of K documents of the toy's size, in a file ---- */
static int ask_n;

static void work_ask(void) {
    static int out[100 * 8], n[100];
    static real *received;
    if (!received && ask_n == 1) received = numbers((size_t)bank->K);
    AnswerOptions o = {.received = ask_n == 1 ? received : NULL}; /* as run ask does */
    tape_reset(tape);
    if (mac_answer(model, tape, quest, ask_n, bank, 8, out, n, &o) != 0) stop(tape_error(tape));
}

static int open_ask(const char *what) {
    int K, half = 0;
    char path[64], err[MAC_ERR], kind[8] = "";
    if (sscanf(what, "ask%d %d %7s", &ask_n, &K, kind) < 2) return 0;
    half = !strcmp(kind, "half");
    const Size *s = open_size("toy");
    snprintf(path, sizeof path, "out/bench_%d%s.bank", K, kind);
    Bank *b = bank_load(path, err);
    if (!b) { /* numbers like those of phi: no model of the toy's size was asked to make them */
        size_t per = (size_t)s->c.T * (size_t)s->c.d;
        real *phi = numbers(1000 * per + per);
        b = bank_new(s->c.T, s->c.d, 0);
        if (b) b->half = half;
        if (!b || bank_grow(b, path, err) != 0) stop(err);
        for (int i = 0; i < K; i++) {
            char id[32];
            snprintf(id, sizeof id, "document %d", i);
            real *at = phi + (size_t)rng_below(&rng, (int)(1000 * per));
            if (bank_add(b, id, "title", rng_next(&rng), at) != 1) stop("the bank is full");
        }
        if (bank_save(b, path, err) != 0) stop(err);
        bank_free(b), free(phi);
        b = bank_load(path, err);
    }
    bank = b;
    if (ask_n > 100 || !bank) stop(err);
    for (int i = batch.n_q; i < ask_n; i++) quest[i] = quest[i % 7]; /* the answers behind go */
    item = (Item){work_ask, ask_n, 1, "questions/s", PEAK_NONE};
    return 1;
}

/* ---- the tokenizer, on text like the corpora's ---- */
static Tokenizer *tokenizer;
static char *text;
static size_t text_n;
static void work_encode(void) {
    static int ids[1 << 20];
    tok_encode(tokenizer, text, text_n, ids, 1 << 20);
}
static void work_train_tokenizer(void) {
    const char *texts[] = {text};
    tok_free(tokenizer);
    tokenizer = tok_train(texts, 1, 1536);
}

static int open_tokenizer(const char *what) {
    if (strncmp(what, "tokenizer", 9)) return 0;
    FILE *f = fopen("data/wnnames/train.jsonl", "rb");
    text = malloc(1 << 20);
    if (!f || !text) stop("run it where data/ is");
    text_n = fread(text, 1, (1 << 20) - 1, f);
    text[text_n] = 0;
    fclose(f);
    work_train_tokenizer();
    item = (Item){what[9] ? work_train_tokenizer : work_encode, (double)text_n, 1e6, "MB/s",
                  PEAK_NONE};
    return 1;
}

/* ==== the program ============================================================================ */
static int open_item(const char *what) {
    return open_matmul(what) || open_op(what) || open_attention(what) || open_adam(what)
           || open_step(what) || open_serving(what) || open_ask(what)
           || open_tokenizer(what);
}

static void run_item(int threads, const char *what) {
    char share[16] = "";
    pool_start(threads);
    if (!strcmp(what, "peak")) {
        printf("multiply and add in registers, %d threads: %.1f GFLOP/s apart, %.1f fused; reading "
               "memory: %.1f GB/s\n", threads, threads * peak_flops(0) / 1e9,
               threads * peak_flops(1) / 1e9, bandwidth() / 1e9);
        return;
    }
    if (!open_item(what)) stop("there is no such item");
    double median, best = seconds(item.work, &median), peak = NAN;
    if (item.peak == PEAK_FLOPS) {
#ifdef MAC_FAST
        peak = threads * peak_flops(1);
#else
        peak = threads * peak_flops(0);
#endif
    } else if (item.peak == PEAK_BYTES) peak = bandwidth();
    double figure = item.amount / best;
    double counted = item.operations > 0 ? item.operations / best : figure;
    if (item.peak != PEAK_NONE) snprintf(share, sizeof share, "%5.2f of peak", counted / peak);
    printf("%-32s %d  best %10.4g  median %10.4g %-11s %7.1f MB %s\n", what, threads,
           figure / item.scale, item.amount / median / item.scale, item.unit,
           (double)mac_peak_memory() / 1e6, share);
    if (item.work == work_step) print_parts();
    FILE *f = fopen("out/bench.jsonl", "a");
    if (!f) return;
    fprintf(f, "{\"item\": \"%s\", \"threads\": %d, \"unit\": \"%s\", \"best\": %.6g, \"median\": "
               "%.6g, \"peak\": %.6g, \"memory_mb\": %.1f}\n", what, threads, item.unit,
            figure / item.scale, item.amount / median / item.scale,
            peak == peak ? peak / item.scale : 0, (double)mac_peak_memory() / 1e6);
    fclose(f);
}

static void serve(void) {
    char line[128], last[128] = "";
    int threads, at;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%d %n", &threads, &at) != 1) stop("THREADS ITEM was expected");
        pool_start(threads);
        if (strcmp(last, line + at)) { /* the old item's memory is not worth code to free it */
            if (!open_item(line + at)) { puts("error: there is no such item"); continue; }
            strcpy(last, line + at);
        }
        printf("%.9g\n", seconds(item.work, NULL));
        fflush(stdout);
        pool_start(1); /* nobody spins while the other side measures */
    }
}

/* The first line of a file that has `format`, into to[200]. */
static void machine_says(const char *path, const char *format, char *to) {
    char line[256];
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, format, to) == 1) break;
    if (f) fclose(f);
}

/* Figures mean nothing without it.  Only Linux tells. */
static void print_machine(void) {
    char chip[200] = "a processor without a name", l2[200] = "unknown";
    machine_says("/proc/cpuinfo", "model name : %199[^\n]", chip);
    machine_says("/sys/devices/system/cpu/cpu0/cache/index2/size", "%199s", l2);
#ifndef __VERSION__
#define __VERSION__ "unknown"
#endif
    printf("%s, L2 cache %s, vectors of %d numbers, compiler %s\n", chip, l2, VL, __VERSION__);
}

/* Each item runs in a process of its own, so that its peak memory is its own too. */
static void run_all(const char *program, const char *prefix) {
    static const char *const items[] = {
        "1 peak", "2 peak",
        "1 matmul 64 64 64", "1 matmul 256 256 256", "1 matmul 512 512 512", "2 matmul 512 512 512",
        "1 matmul 1024 1024 1024", "2 matmul 1024 1024 1024",
        "1 matmul 1120 192 64", "1 matmul 1120 64 64", "1 matmul 1120 256 64",
        "1 matmul 1120 64 256", "1 matmul 1120 64 192 nt", "1 matmul 1120 256 64 nt",
        "1 matmul 64 192 1120 tn", "1 matmul 256 64 1120 tn", "1 matmul 96 384 64",
        "1 matmul 13 17 16 nt", "1 matmul 13 16 17", "1 matmul 35 35 16 nt", "1 matmul 35 16 35",
        "1 attention 32 35 35 4", "1 attention 32 35 35 4 back", "2 attention 32 35 35 4 back",
        "1 layernorm 1120 64", "1 layernorm 1120 64 back", "1 softmax 1120 256",
        "1 softmax 1120 256 back", "1 gelu 1120 256", "1 gelu 1120 256 back",
        "1 gelu_erf 1120 256", "1 cross_entropy 256 1536", "1 cross_entropy 256 1536 back",
        "1 adam 1100000", "2 adam 1100000",
        "1 step lm toy", "2 step lm toy", "1 step mac toy", "2 step mac toy", "1 step lm small",
        "2 step lm small", "1 step mac small", "2 step mac small", "1 step lm gpt2",
        "2 step lm gpt2", "1 step mac gpt2", "2 step mac gpt2",
        "2 answer toy", "2 answer small", "2 learn toy", "2 learn small", "2 tokenizer",
        "2 tokenizer train", "2 ask1 100", "2 ask1 1000", "2 ask1 10000", "2 ask1 100000",
        "2 ask1 1000000", "2 ask1 1000000 half", "2 ask100 10000", "2 ask100 100000", NULL};
    print_machine();
    for (int i = 0; items[i]; i++) {
        char command[600];
        if (strncmp(items[i] + 2, prefix, strlen(prefix))) continue;
        snprintf(command, sizeof command, "%.400s %c '%s'", program, items[i][0], items[i] + 2);
        fflush(stdout);
        if (system(command) != 0) stop("an item has failed");
    }
}

int main(int argc, char **argv) {
    tape = tape_new(0);
    if (!tape) return 1;
    if (argc > 1 && !strcmp(argv[1], "--serve")) serve();
    else if (argc == 3) run_item(atoi(argv[1]), argv[2]);
    else run_all(argv[0], argc > 1 ? argv[1] : "");
    return 0;
}
