/* test_ops.c - tensor.c against what it promises: exact math, random numbers, matmul bit for bit,
 * every op's value by a direct formula in double and its gradient by central differences, the tape,
 * threads, Adam.  Files are in test_files.c. */
#include "mac.h"
#include "check.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef MAC_DOUBLE
#define DIGITS DBL_MANT_DIG
#define MIN_EXP DBL_MIN_EXP
#define MAX_EXP DBL_MAX_EXP
#define GRAD_TOL 1e-7       /* of the largest gradient: no room for a mistyped constant */
#define VALUE_TOL 1e-12
#define STEP 1e-3
#else
#define DIGITS FLT_MANT_DIG
#define MIN_EXP FLT_MIN_EXP
#define MAX_EXP FLT_MAX_EXP
#define GRAD_TOL 1e-3       /* outputs are rounded to 1e-7 and divided by a step of 0.03 */
#define VALUE_TOL 5e-6
#define STEP 0.03
#endif

static size_t numel(const Tensor *t) {
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= (size_t)t->shape[i];
    return n;
}

/* ==== exact math ============================================================================= */
/* Distance in units of the last place of `want`.  Where long double is no wider than real, the
 * reference itself may be off by one. */
static double ulps(real got, long double want) {
    int e = MIN_EXP;
    if (want != 0) frexpl(want, &e);
    if (e < MIN_EXP) e = MIN_EXP;
    double slack = LDBL_MANT_DIG > DIGITS ? 0 : 1;
    return (double)(fabsl((long double)got - want) / ldexpl(1, e - DIGITS)) - slack;
}

typedef real (*Exact)(real);
typedef long double (*Reference)(long double);

static void near_all(const char *name, Exact f, Reference ref, double lo, double hi, double limit) {
    uint64_t r = 7;
    for (int i = 0, before = n_failed; i < 40000 && n_failed == before; i++) {
        real x = (real)(lo + (hi - lo) * (double)rng_uniform(&r));
        if (i % 4 == 0) x = (real)ldexp((double)x / hi, -rng_below(&r, DIGITS)); /* near 0 too */
        double u = ulps(f(x), ref((long double)x));
        CHECK(u <= limit, "%s(%.9g) = %.17g is %.2f ulp off", name, (double)x, (double)f(x), u);
    }
}

static void test_exact_ranges(void) {
    double top = MAX_EXP * 0.693147, bottom = (MIN_EXP - DIGITS) * 0.693147;
    uint64_t r = 3;
    near_all("exp", exact_exp, expl, bottom, top - 0.001, 2);
    near_all("tanh", exact_tanh, tanhl, -22, 22, 4);
    for (int i = 0, before = n_failed; i < 40000 && n_failed == before; i++) {
        int k = MIN_EXP - DIGITS + rng_below(&r, MAX_EXP - MIN_EXP + DIGITS);
        real x = (real)ldexp(1 + (double)rng_uniform(&r), i % 4 ? k : -rng_below(&r, 2));
        double u = ulps(exact_log(x), logl((long double)x));
        CHECK(x == 0 || u <= 2, "log(%.9g) = %.9g is %.2f ulp off", (double)x, (double)exact_log(x),
              u);
        double z = 8 * (double)rng_uniform(&r) - 4, one = ldexp(1, 1 - DIGITS);
        z *= i % 4 ? 1 : 1e-3;
        long double want = erfl((long double)(real)z);
        CHECK(fabsl((long double)exact_erf((real)z) - want) <= 3 * one,
              "erf(%.9g) = %.17g, not %.17Lg", z, (double)exact_erf((real)z), want);
        double a = 2e4 * (double)rng_uniform(&r) - 1e4;
        a = i % 2 ? a : a * 1e-4;
        long double s = sinl((long double)(real)a), c = cosl((long double)(real)a);
        CHECK(fabsl((long double)exact_sin((real)a) - s) <= one, "sin(%.9g) = %.9g", a,
              (double)exact_sin((real)a));
        CHECK(fabsl((long double)exact_cos((real)a) - c) <= one, "cos(%.9g) = %.9g", a,
              (double)exact_cos((real)a));
    }
    near_all("sin", exact_sin, sinl, -3, 3, 2); /* relative, where no digits cancel */
    near_all("cos", exact_cos, cosl, -1.5, 1.5, 2);
}

static void test_exact_special(void) {
    real inf = (real)INFINITY, nan = (real)NAN, tiny = (real)ldexp(1, MIN_EXP - DIGITS);
    CHECK(isnan(exact_exp(nan)) && isnan(exact_log(nan)) && isnan(exact_tanh(nan))
          && isnan(exact_erf(nan)), "a NaN must stay one");
    CHECK(exact_exp(inf) == inf && exact_exp(-inf) == 0 && exact_exp(0) == 1, "exp at its ends");
    CHECK(exact_exp(sizeof(real) == 4 ? 88.8f : (real)709.9) == inf, "exp overflows to inf");
    CHECK(exact_exp(sizeof(real) == 4 ? -104.5f : (real)-746) == 0, "exp underflows to 0");
    CHECK(exact_exp((real)1e30) == inf && exact_exp((real)-1e30) == 0, "exp far out");
    CHECK(exact_exp(tiny) == 1 && exact_tanh(tiny) == tiny, "subnormals go through");
    CHECK(exact_log(0) == -inf && exact_log(inf) == inf && exact_log(1) == 0, "log at its ends");
    CHECK(exact_log((real)-0.0) == -inf, "log(-0) is %g", (double)exact_log((real)-0.0));
    CHECK(isnan(exact_log(-1)) && isnan(exact_log((real)-0.3)) && isnan(exact_log(-tiny))
          && isnan(exact_log(-inf)), "log of a negative number is NaN");
    CHECK(ulps(exact_log(tiny), logl((long double)tiny)) <= 2, "log of the least number");
    CHECK(exact_tanh(inf) == 1 && exact_tanh(-inf) == -1 && exact_tanh(0) == 0, "tanh at its ends");
    CHECK(exact_erf(inf) == 1 && exact_erf(-inf) == -1, "erf at its ends");
    CHECK(exact_sin(0) == 0 && exact_cos(0) == 1, "sin and cos of 0");
}

/* ==== random numbers ========================================================================= */
static void test_rng(void) {
    static const uint64_t known[] = {6457827717110365317u, 3203168211198807973u,
                                     9817491932198370423u, 4593380528125082431u,
                                     16408922859458223821u}; /* Vigna's splitmix64.c */
    uint64_t r = 1234567;
    for (int i = 0; i < 5; i++) CHECK(rng_next(&r) == known[i], "splitmix64, draw %d", i);
    enum { N = 200000 };
    double sum[5] = {0}, before = 0, uniform = 0;
    int count[7] = {0}, outside = 0;
    for (int i = 0; i < N; i++) {
        double x = (double)rng_normal(&r), u = (double)rng_uniform(&r), p = 1;
        int k = rng_below(&r, 7);
        for (int j = 1; j < 5; j++) sum[j] += (p *= x);
        sum[0] += x * before;
        before = x;
        uniform += u;
        outside += u < 0 || u >= 1 || k < 0 || k > 6;
        if (k >= 0 && k < 7) count[k]++;
    }
    CHECK(fabs(sum[1] / N) < 0.012 && fabs(sum[2] / N - 1) < 0.017, "normal: mean %g, variance %g",
          sum[1] / N, sum[2] / N);
    CHECK(fabs(sum[3] / N) < 0.05 && fabs(sum[4] / N - 3) < 0.12, "normal: moments %g, %g",
          sum[3] / N, sum[4] / N);
    CHECK(fabs(sum[0] / N) < 0.012, "normal: draws follow each other with %g", sum[0] / N);
    CHECK(outside == 0 && fabs(uniform / N - 0.5) < 0.004, "uniform: mean %g, %d outside",
          uniform / N, outside);
    for (int k = 0; k < 7; k++)
        CHECK(abs(count[k] - N / 7) < N / 70, "below: %d came %d times", k, count[k]);
    CHECK(rng_below(&r, 1) == 0, "below 1 there is only 0");
    CHECK(fnv1a(MAC_FNV, "", 0) == MAC_FNV && fnv1a(MAC_FNV, "a", 1) == 0xaf63dc4c8601ec8cu
          && fnv1a(MAC_FNV, "foobar", 6) == 0x85944171f73967e8u, "FNV-1a of its specification");
}

/* ==== helpers: a weighted sum as the loss ==================================================== */
static void fill(real *x, size_t n, uint64_t seed) {
    for (size_t i = 0; i < n; i++) x[i] = rng_normal(&seed);
}

/* The fixed random weights of the outputs: between 1/2 and 1 in size, of either sign. */
static real weight_at(uint64_t *r) {
    real u = rng_uniform(r);
    return u < (real)0.5 ? -1 + u : u;
}

/* loss = sum_i w_i y_i, so that dy = w exactly: y seen as one row, times w. */
static Tensor *weighted(Tape *tp, Tensor *y) {
    uint64_t r = 99;
    if (!y) return NULL;
    int n = (int)numel(y);
    Tensor *flat = tape_alloc(tp, sizeof *flat), *w = tape_tensor(tp, 1, n);
    if (!flat || !w) return NULL;
    *flat = (Tensor){2, {1, n, 1}, y->data, y->grad};
    for (int i = 0; i < n; i++) w->data[i] = weight_at(&r);
    return op_linear(tp, flat, w, NULL, 0);
}

static double weighted_sum(const Tensor *y) {
    uint64_t r = 99;
    double s = 0;
    for (size_t i = 0; i < numel(y); i++) s += (double)weight_at(&r) * (double)y->data[i];
    return s;
}

/* ==== matmul: the bits of three plain loops ================================================== */
/* C[M,N] += A[M,K] B[K,N], a product added after the other in order of k. */
static void plain(int M, int N, int K, const real *A, size_t ars, size_t acs, const real *B,
                  size_t brs, size_t bcs, real *C) {
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            real acc = C[i * N + j];
            for (int k = 0; k < K; k++) {
                real product = A[(size_t)i * ars + (size_t)k * acs]
                               * B[(size_t)k * brs + (size_t)j * bcs];
                acc = acc + product;
            }
            C[i * N + j] = acc;
        }
}

static real *copy(const real *x, size_t n) {
    real *c = malloc((n + 1) * sizeof *c);
    return memcpy(c, x, n * sizeof *c);
}

static void same_bits(const char *what, const real *got, real *want, size_t n, int G, int R, int I,
                      int O) {
    CHECK(!memcmp(got, want, n * sizeof *got), "%s is not that of plain loops: G %d R %d I %d O %d",
          what, G, R, I, O);
    free(want);
}

static void linear_bits(Tape *tp, int G, int R, int I, int O, int in_out, int bias) {
    Params ps = {NULL, 0};
    Tensor *x = param_new(&ps, "x", 2, G * R, I), *b = bias ? param_new(&ps, "b", 2, G, O) : NULL;
    Tensor *W = G > 1 ? param_new(&ps, "W", 3, G, in_out ? I : O, in_out ? O : I)
                      : param_new(&ps, "W", 2, in_out ? I : O, in_out ? O : I);
    size_t w = (size_t)(I * O), nx = numel(x), ny = (size_t)(G * R * O),
           rs = in_out ? (size_t)O : 1;
    size_t cs = in_out ? 1 : (size_t)I;                       /* W as an [I,O] matrix */
    for (int i = 0; i < ps.n; i++) {
        fill(ps.p[i]->t.data, numel(&ps.p[i]->t), (uint64_t)(i + R + I));
        fill(ps.p[i]->t.grad, numel(&ps.p[i]->t), (uint64_t)(i + O)); /* dx etc. are added to it */
    }
    real *y = calloc(ny + 1, sizeof *y), *dx = copy(x->grad, nx), *dW = copy(W->grad, numel(W));
    real *db = b ? copy(b->grad, numel(b)) : NULL;
    tape_reset(tp);
    Tensor *out = op_linear(tp, x, W, b, in_out);
    CHECK(tape_backward(tp, weighted(tp, out)) == 0, "linear: %s", tape_error(tp));
    for (int g = 0; g < G && out; g++) {
        const real *xg = x->data + g * R * I, *Wg = W->data + (size_t)g * w,
                   *dy = out->grad + g * R * O;
        for (int r = 0; b && r < R; r++)
            memcpy(y + (g * R + r) * O, b->data + g * O, (size_t)O * sizeof *y);
        plain(R, O, I, xg, (size_t)I, 1, Wg, rs, cs, y + g * R * O);
        plain(R, I, O, dy, (size_t)O, 1, Wg, cs, rs, dx + g * R * I);
        if (in_out) plain(I, O, R, xg, 1, (size_t)I, dy, (size_t)O, 1, dW + (size_t)g * w);
        else plain(O, I, R, dy, 1, (size_t)O, xg, (size_t)I, 1, dW + (size_t)g * w);
        for (int r = 0; b && r < R; r++)
            for (int o = 0; o < O; o++) db[g * O + o] += dy[r * O + o];
    }
    same_bits("y", out->data, y, ny, G, R, I, O);
    same_bits("dx", x->grad, dx, nx, G, R, I, O);
    same_bits("dW", W->grad, dW, numel(W), G, R, I, O);
    if (b) same_bits("db", b->grad, db, numel(b), G, R, I, O);
    params_free(&ps);
}

static void test_linear_bits(Tape *tp) {
    static const int sizes[] = {1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 64, 65};
    static const int large[][3] = {{1, 257, 1}, {13, 300, 33}, {70, 600, 17}, {300, 40, 70},
                                   {2, 31, 515}, {40, 256, 64}, {9, 512, 96}, {2500, 5, 33}};
    uint64_t r = 5;
    for (int i = 0; i < 160; i++) {
        int G = 1 + (i % 3 == 0) * rng_below(&r, 4);
        int R = sizes[rng_below(&r, 16)], I = sizes[rng_below(&r, 16)],
            O = sizes[rng_below(&r, 16)];
        linear_bits(tp, G, R, I, O, i % 2, i / 2 % 2);
    }
    for (int i = 0; i < 16; i++)
        linear_bits(tp, 1 + i % 2, large[i / 2][0], large[i / 2][1], large[i / 2][2], i % 2, 1);
}

/* ==== gradients: central differences under weights, every subset of inputs frozen ============ */
#define MAX_IN 4
typedef struct Case Case;
struct Case {
    const char *name;
    Tensor *(*build)(Tape *tp, Case *c);
    const void *how;
    Tensor *in[MAX_IN], *extra;      /* extra: a second output, one number; NULL */
    Params ps;
};

static Tensor *case_input(Case *c, int rows, int cols, int groups) {
    Tensor *t = groups ? param_new(&c->ps, "in", 3, groups, rows, cols)
                       : param_new(&c->ps, "in", 2, rows, cols);
    uint64_t r = (uint64_t)c->ps.n * 1000 + 17;
    for (size_t i = 0; i < numel(t); i++) {
        real x = rng_normal(&r) * (real)0.7;
        t->data[i] = x + (x < 0 ? (real)-0.15 : (real)0.15); /* clear of relu's corner */
    }
    return c->in[c->ps.n - 1] = t;
}

static double case_value(Tape *tp, Case *c) {
    tape_reset(tp);
    Tensor *y = c->build(tp, c);
    CHECK(y != NULL, "%s: %s", c->name, tape_error(tp));
    return y ? weighted_sum(y) + (c->extra ? 0.7 * (double)c->extra->data[0] : 0) : NAN;
}

static double *case_numeric(Tape *tp, Case *c, Tensor *x, double *size) {
    static const double at[] = {2, 1, -1, -2}, w[] = {-1, 8, -8, 1};
    double *g = calloc(numel(x) + 1, sizeof *g);
    *size = 0;
    int was = tape_record(tp, 0);
    for (size_t i = 0; i < numel(x); i++) {
        real keep = x->data[i];
        for (int k = 0; k < 4; k++) {
            x->data[i] = keep + (real)(at[k] * STEP);
            g[i] += w[k] * case_value(tp, c) / (12 * STEP);
        }
        x->data[i] = keep;
        if (fabs(g[i]) > *size) *size = fabs(g[i]);
    }
    tape_record(tp, was);
    return g;
}

/* One backward pass with the inputs in `frozen` frozen.  Gradients start at something. */
static void case_run(Tape *tp, Case *c, int frozen, double *const *num, const double *size) {
    real *grad[MAX_IN];
    for (int i = 0; i < c->ps.n; i++) {
        grad[i] = c->in[i]->grad;
        for (size_t j = 0; j < numel(c->in[i]); j++) grad[i][j] = (real)(j % 7) * (real)0.25 + i;
        if (frozen >> i & 1) c->in[i]->grad = NULL;
    }
    tape_reset(tp);
    Tensor *y = c->build(tp, c), *loss = weighted(tp, y);
    if (loss && c->extra) loss = op_add(tp, loss, c->extra, (real)0.7);
    int all = frozen == (1 << c->ps.n) - 1, got = tape_backward(tp, loss);
    CHECK(got == (all ? -1 : 0), "%s, frozen %d: %s", c->name, frozen, tape_error(tp));
    CHECK(!all || (y && !y->grad && tape_error(tp)[0]), "%s: a gradient of frozen inputs", c->name);
    for (int i = 0; i < c->ps.n; i++) {
        c->in[i]->grad = grad[i];
        for (size_t j = 0; j < numel(c->in[i]); j++) {
            double g = (double)grad[i][j] - (double)(j % 7) * 0.25 - i;
            double want = frozen >> i & 1 ? 0 : num[i][j];
            CHECK(fabs(g - want) <= GRAD_TOL * size[i],
                  "%s, frozen %d, d in[%d][%d]: numeric %g, tape %g", c->name, frozen, i, (int)j,
                  want, g);
        }
    }
}

static void case_check(Tape *tp, Case *c) {
    double *num[MAX_IN], size[MAX_IN];
    for (int i = 0; i < c->ps.n; i++) {
        num[i] = case_numeric(tp, c, c->in[i], &size[i]);
        CHECK(size[i] > 1e-3, "%s: gradient of in[%d] is ~0, this check proves nothing", c->name,
              i);
    }
    for (int frozen = 0; frozen < 1 << c->ps.n; frozen++) case_run(tp, c, frozen, num, size);
    tape_reset(tp);
    int was = tape_record(tp, 0);
    Tensor *y = c->build(tp, c);
    CHECK(y && !y->grad && tape_backward(tp, weighted(tp, y)) == -1, "%s: recorded nevertheless",
          c->name);
    tape_record(tp, was);
    for (int i = 0; i < c->ps.n; i++) free(num[i]);
    params_free(&c->ps);
}

static Tensor *build_linear(Tape *tp, Case *c) {
    return op_linear(tp, c->in[0], c->in[1], c->ps.n > 2 ? c->in[2] : NULL, *(const int *)c->how);
}

static void test_linear_grad(Tape *tp) {
    for (int i = 0; i < 8; i++) {
        int in_out = i & 1, G = i & 2 ? 3 : 0;
        Case c = {.name = "linear", .build = build_linear, .how = &in_out};
        case_input(&c, 6, 5, 0);
        if (in_out) case_input(&c, 5, 4, G);
        else case_input(&c, 4, 5, G);
        if (i & 4) case_input(&c, G ? G : 1, 4, 0);
        case_check(tp, &c);
    }
}

static Tensor *build_add(Tape *tp, Case *c) {
    return op_add(tp, c->in[0], c->in[c->ps.n - 1], (real)-0.7);
}

static const int rows_asked[] = {0, 3, 3, 5, 1, 0, 6, 3, 2, 4};
static Tensor *build_rows(Tape *tp, Case *c) {
    return op_rows(tp, c->in[0], c->ps.n > 1 ? c->in[1] : NULL, rows_asked, *(const int *)c->how);
}

static Tensor *build_cols(Tape *tp, Case *c) { return op_cols(tp, c->in[0], 2, 3); }

static Tensor *build_layernorm(Tape *tp, Case *c) {
    return op_layernorm(tp, c->in[0], c->in[1], c->in[2]);
}

static Tensor *build_rmsnorm(Tape *tp, Case *c) { return op_rmsnorm(tp, c->in[0], c->in[1]); }
static Tensor *build_act(Tape *tp, Case *c) { return op_act(tp, c->in[0], *(const Act *)c->how); }
static Tensor *build_softmax(Tape *tp, Case *c) { return op_softmax(tp, c->in[0]); }

static const int xent_target[] = {3, 0, 6, 3};
static Tensor *build_xent(Tape *tp, Case *c) {
    return op_cross_entropy(tp, c->in[0], xent_target, c->how);
}

/* Softmax in front makes the inputs of the logarithm positive. */
static Tensor *build_neglog(Tape *tp, Case *c) { return op_neglog(tp, op_softmax(tp, c->in[0])); }

/* What x is compared with has no gradient, though its memory may. */
static Tensor *build_square_error(Tape *tp, Case *c) {
    Tensor *y = tape_tensor(tp, c->in[0]->shape[0], c->in[0]->shape[1]);
    if (y) fill(y->data, numel(y), 17);
    return op_square_error(tp, c->in[0], y);
}

static void test_small_grads(Tape *tp) {
    static const real xent_w[] = {(real)0.5, 0, (real)1.5, (real)-0.3};
    static const char *const acts[] = {"relu", "tanh", "gelu tanh", "gelu erf"};
    static const int n_rows[] = {10, 3};
    Case c = {.name = "add", .build = build_add};
    case_input(&c, 3, 5, 0), case_input(&c, 3, 5, 0), case_check(tp, &c);
    c = (Case){.name = "add to itself", .build = build_add};
    case_input(&c, 3, 5, 0), case_check(tp, &c);
    c = (Case){.name = "rows", .build = build_rows, .how = n_rows};
    case_input(&c, 4, 3, 0), case_input(&c, 3, 3, 0), case_check(tp, &c);
    c = (Case){.name = "rows of one", .build = build_rows, .how = n_rows + 1};
    case_input(&c, 4, 3, 0), case_check(tp, &c);
    c = (Case){.name = "cols", .build = build_cols};
    case_input(&c, 3, 6, 0), case_check(tp, &c);
    for (int G = 1; G <= 2; G++) {
        c = (Case){.name = "layernorm", .build = build_layernorm};
        case_input(&c, 4, 19, 0), case_input(&c, G, 19, 0), case_input(&c, G, 19, 0);
        case_check(tp, &c);
        c = (Case){.name = "rmsnorm", .build = build_rmsnorm};
        case_input(&c, 4, 5, 0), case_input(&c, G, 5, 0), case_check(tp, &c);
    }
    for (Act a = ACT_RELU; a <= ACT_GELU_ERF; a++) {
        c = (Case){.name = acts[a], .build = build_act, .how = &a};
        case_input(&c, 3, 7, 0), case_check(tp, &c);
    }
    c = (Case){.name = "softmax", .build = build_softmax};
    case_input(&c, 3, 18, 0), case_check(tp, &c);
    c = (Case){.name = "cross-entropy", .build = build_xent};
    case_input(&c, 4, 7, 0), case_check(tp, &c);
    c = (Case){.name = "weighted cross-entropy", .build = build_xent, .how = xent_w};
    case_input(&c, 4, 7, 0), case_check(tp, &c);
    c = (Case){.name = "neglog", .build = build_neglog};
    case_input(&c, 2, 5, 0), case_check(tp, &c);
    for (int N = 1; N < 40; N += 18) {
        c = (Case){.name = "square error", .build = build_square_error};
        case_input(&c, 3, N, 0), case_check(tp, &c);
    }
}

/* ==== attention ============================================================================== */
typedef struct {
    const char *name;
    int B, H, Nq, Nk, causal, bias, mass, q0[3], qn[3], k0[3], kn[3], t0[3], tn[3];
} AttnCase;

static const AttnCase attn_cases[] = {
    {"n_q = n_k", 1, 1, 4, 4, 0, 0, 0, {0}, {4}, {0}, {4}, {0}, {0}},
    {"n_q < n_k, causal", 2, 2, 5, 11, 1, 0, 0, {0, 3}, {3, 2}, {0, 6}, {6, 5}, {0}, {0}},
    {"n_q > n_k, causal", 1, 2, 5, 3, 1, 0, 0, {0}, {5}, {0}, {3}, {0}, {0}},
    {"bias", 2, 2, 7, 7, 0, 1, 0, {0, 3}, {3, 4}, {0, 3}, {3, 4}, {0}, {0}},
    {"bias, causal", 2, 2, 7, 9, 1, 1, 0, {0, 3}, {3, 4}, {0, 5}, {5, 4}, {0}, {0}},
    {"bias, n_q > n_k", 2, 2, 7, 5, 0, 1, 0, {0, 4}, {4, 3}, {0, 2}, {2, 3}, {0}, {0}},
    {"mass", 2, 2, 5, 9, 0, 0, 1, {0, 2}, {2, 3}, {0, 4}, {4, 5}, {1, 6}, {2, 3}},
    {"mass, causal", 1, 2, 3, 5, 1, 0, 1, {0}, {3}, {0}, {5}, {1}, {2}},
    {"shared keys, mass", 3, 2, 6, 8, 0, 0, 1, {0, 2, 4}, {2, 2, 2}, {0, 2, 0}, {6, 6, 8},
     {2, 2, 5}, {2, 3, 3}},
    {"an empty sequence", 3, 2, 4, 6, 0, 0, 0, {0, 2, 2}, {2, 0, 2}, {0, 3, 3}, {3, 0, 3}, {0},
     {0}},
    {"no keys, no queries", 3, 1, 4, 6, 1, 1, 0, {0, 1, 4}, {1, 3, 0}, {0, 0, 2}, {0, 4, 4}, {0},
     {0}}};

static Attention attention_of(const AttnCase *a, Tensor *bias) {
    return (Attention){.B = a->B, .H = a->H, .q0 = a->q0, .qn = a->qn, .k0 = a->k0, .kn = a->kn,
                       .scale = (real)0.6, .causal = a->causal, .bias = bias,
                       .t0 = a->mass ? a->t0 : NULL, .tn = a->mass ? a->tn : NULL};
}

static Tensor *build_attention(Tape *tp, Case *c) {
    const AttnCase *a = c->how;
    Attention at = attention_of(a, a->bias ? c->in[3] : NULL);
    Tensor *y = op_attention(tp, c->in[0], c->in[1], c->in[2], &at);
    c->extra = a->mass ? op_neglog(tp, at.mass) : NULL;
    return y;
}

/* HuggingFace T5's _relative_position_bucket with 32 buckets and max_distance 128, in double.  The
 * small addition lets 16, 32 and 64, whose logarithms are whole, not fall below. */
static int t5_bucket(int relative, int bidirectional) {
    int n = -relative, buckets = 32, ret = 0;
    if (bidirectional) {
        buckets /= 2;
        if (relative > 0) ret += buckets;
        n = abs(relative);
    } else if (n < 0) n = 0;
    int exact = buckets / 2;
    if (n < exact) return ret + n;
    int far = exact + (int)(log((double)n / exact) / log(128.0 / exact) * (buckets - exact) + 1e-9);
    return ret + (far < buckets - 1 ? far : buckets - 1);
}

/* One row of weights by the definition: w[j], j = 0..kn-1, of query i of sequence b, head h. */
static void naive_weights(const AttnCase *a, Case *c, int b, int h, int i, double *w) {
    int dh = c->in[0]->shape[1] / a->H, width = dh * a->H, kn = a->kn[b];
    int ahead = a->causal ? kn - a->qn[b] : 0;
    double sum = 0, top = -INFINITY;
    for (int j = 0; j < kn; j++) {
        double z = 0;
        for (int x = 0; x < dh; x++)
            z += (double)c->in[0]->data[(a->q0[b] + i) * width + h * dh + x]
               * (double)c->in[1]->data[(a->k0[b] + j) * width + h * dh + x];
        z *= (double)(real)0.6;
        if (a->bias) z += (double)c->in[3]->data[t5_bucket(j - i - ahead, !a->causal) * a->H + h];
        w[j] = a->causal && j > i + ahead ? -INFINITY : z;
        if (w[j] > top) top = w[j];
    }
    for (int j = 0; j < kn; j++) w[j] = w[j] == -INFINITY ? 0 : exp(w[j] - top), sum += w[j];
    for (int j = 0; j < kn; j++) w[j] /= sum > 0 ? sum : 1;
}

static void attention_value(Tape *tp, const AttnCase *a, Case *c) {
    int dh = c->in[0]->shape[1] / a->H, width = dh * a->H;
    Attention at = attention_of(a, a->bias ? c->in[3] : NULL);
    Attention other = at;
    tape_reset(tp);
    TapeMark mark = tape_mark(tp);
    other.scale = 0; /* the second is looked at */
    op_attention(tp, c->in[0], c->in[1], c->in[2], &other);
    Tensor *y = op_attention(tp, c->in[0], c->in[1], c->in[2], &at);
    CHECK(!tape_attention(tp, mark, 2, 0, 0, 0) && !tape_attention(tp, tape_mark(tp), 0, 0, 0, 0),
          "%s: weights of an attention that there is not", a->name);
    for (int b = 0; y && b < a->B; b++) {
        double w[16];
        for (int h = 0; h < a->H; h++)
            for (int i = 0; i < a->qn[b]; i++) {
                naive_weights(a, c, b, h, i, w);
                double mass = 0, got = 0;
                const real *kept = tape_attention(tp, mark, 1, b, h, i);
                for (int j = 0; j < a->kn[b]; j++)
                    CHECK(kept && fabs((double)kept[j] - w[j]) <= VALUE_TOL,
                          "%s: query %d, head %d gives key %d %g, not %g", a->name, a->q0[b] + i,
                          h, j, kept ? (double)kept[j] : NAN, w[j]);
                for (int t = 0; a->mass && t < a->tn[b]; t++) mass += w[a->t0[b] - a->k0[b] + t];
                if (a->mass) got = (double)at.mass->data[(a->q0[b] + i) * a->H + h];
                CHECK(fabs(got - mass) <= VALUE_TOL, "%s: mass of query %d, head %d is %g, not %g",
                      a->name, a->q0[b] + i, h, got, mass);
                for (int x = h * dh; x < (h + 1) * dh; x++) {
                    double want = 0, is = (double)y->data[(a->q0[b] + i) * width + x];
                    for (int j = 0; j < a->kn[b]; j++)
                        want += w[j] * (double)c->in[2]->data[(a->k0[b] + j) * width + x];
                    CHECK(fabs(is - want) <= VALUE_TOL, "%s: y[%d,%d] is %g, not %g", a->name,
                          a->q0[b] + i, x, is, want);
                }
            }
    }
    CHECK(y != NULL, "%s: %s", a->name, tape_error(tp));
}

static void test_attention(Tape *tp) {
    for (size_t i = 0; i < sizeof attn_cases / sizeof *attn_cases; i++) {
        const AttnCase *a = &attn_cases[i];
        Case c = {.name = a->name, .build = build_attention, .how = a};
        case_input(&c, a->Nq, 3 * a->H, 0);
        case_input(&c, a->Nk, 3 * a->H, 0);
        case_input(&c, a->Nk, 3 * a->H, 0);
        if (a->bias) case_input(&c, 32, a->H, 0);
        attention_value(tp, a, &c);
        case_check(tp, &c);
    }
}

/* All distances to 300: queries of zeros see the bias alone, and values that are the unit matrix
 * show the weights themselves. */
static void test_buckets(Tape *tp) {
    enum { N = 301 };
    int zero = 0, n = N, wrong = 0;
    for (int causal = 0; causal < 2; causal++) {
        tape_reset(tp);
        Tensor *q = tape_tensor(tp, N, N), *v = tape_tensor(tp, N, N),
               *bias = tape_tensor(tp, 32, 1);
        for (int i = 0; i < N; i++) v->data[i * N + i] = 1;
        for (int i = 0; i < 32; i++) bias->data[i] = (real)(i * 7 % 32) * (real)0.05;
        Attention a = {.B = 1, .H = 1, .q0 = &zero, .qn = &n, .k0 = &zero, .kn = &n, .scale = 1,
                       .causal = causal, .bias = bias};
        Tensor *y = op_attention(tp, q, q, v, &a);
        for (int i = 0; y && i < N; i++)
            for (int j = 0; j < (causal ? i + 1 : N); j++) {
                double is = log((double)y->data[i * N + j] / (double)y->data[i * N + i]);
                double want = (double)(bias->data[t5_bucket(j - i, !causal)] - bias->data[0]);
                wrong += !(fabs(is - want) < 1e-4);
            }
        CHECK(y && wrong == 0, "T5 buckets, causal %d: %d pairs differ", causal, wrong);
    }
}

static void test_attention_refused(Tape *tp) {
    static const int at[] = {0, 2}, n[] = {2, 2}, far[] = {0, 3}, less[] = {-1, 0}, tn[] = {3, 1};
    tape_reset(tp);
    Tensor *x = tape_tensor(tp, 4, 6), *thin = tape_tensor(tp, 4, 3);
    Attention ok = {.B = 2, .H = 2, .q0 = at, .qn = n, .k0 = at, .kn = n, .scale = 1}, bad[5];
    for (int i = 0; i < 5; i++) bad[i] = ok;
    bad[0].H = 4, bad[1].q0 = far, bad[2].k0 = far, bad[3].kn = less;
    bad[4].t0 = at, bad[4].tn = tn;
    CHECK(op_attention(tp, x, x, x, &ok), "attention: %s", tape_error(tp));
    for (int i = 0; i < 6; i++) {
        tape_reset(tp);
        x = tape_tensor(tp, 4, 6), thin = tape_tensor(tp, 4, 3);
        CHECK(!op_attention(tp, x, i < 5 ? x : thin, x, i < 5 ? &bad[i] : &ok) && tape_error(tp)[0],
              "attention %d should be refused", i);
    }
}

/* ==== values of the other ops, each by its formula in double ================================= */
static void near(const char *name, const Tensor *y, int i, double want) {
    double is = (double)y->data[i];
    CHECK(fabs(is - want) <= VALUE_TOL * (1 + fabs(want)), "%s[%d] is %.17g, not %.17g", name, i,
          is, want);
}

static Tensor *random_tensor(Tape *tp, int rows, int cols, uint64_t seed, real scale) {
    Tensor *t = tape_tensor(tp, rows, cols);
    fill(t->data, numel(t), seed);
    for (size_t i = 0; i < numel(t); i++) t->data[i] *= scale;
    return t;
}

static void norm_values(Tape *tp, int R, int N, int G, real scale) {
    Tensor *x = random_tensor(tp, R, N, 1, scale), *g = random_tensor(tp, G, N, 2, 1);
    Tensor *b = random_tensor(tp, G, N, 3, 1);
    Tensor *ln = op_layernorm(tp, x, g, b), *rms = op_rmsnorm(tp, x, g);
    CHECK(ln && rms, "norm: %s", tape_error(tp));
    for (int r = 0; ln && rms && r < R; r++) {
        double mu = 0, var = 0, square = 0;
        for (int i = 0; i < N; i++) mu += (double)x->data[r * N + i] / N;
        for (int i = 0; i < N; i++) {
            double v = (double)x->data[r * N + i];
            var += (v - mu) * (v - mu) / N, square += v * v / N;
        }
        for (int i = 0; i < N; i++) {
            int at = r * N + i, own = r / (R / G) * N + i;
            double v = (double)x->data[at], gain = (double)g->data[own];
            near("layernorm", ln, at, (v - mu) / sqrt(var + 1e-5) * gain + (double)b->data[own]);
            near("rmsnorm", rms, at, v / sqrt(square + 1e-6) * gain);
        }
    }
}

static void act_values(Tape *tp) {
    Tensor *x = random_tensor(tp, 40, 60, 4, 3), *y[4];
    x->data[0] = 0, x->data[1] = -30, x->data[2] = 30;
    for (Act a = ACT_RELU; a <= ACT_GELU_ERF; a++) y[a] = op_act(tp, x, a);
    for (int i = 0; y[3] && i < 2400; i++) {
        double v = (double)x->data[i];
        near("relu", y[ACT_RELU], i, v > 0 ? v : 0);
        near("tanh", y[ACT_TANH], i, tanh(v));
        near("gelu tanh", y[ACT_GELU_TANH], i,
             0.5 * v * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (v + 0.044715 * v * v * v))));
        near("gelu erf", y[ACT_GELU_ERF], i, 0.5 * v * (1 + erf(v / sqrt(2))));
    }
    x->data[0] = (real)NAN;
    for (Act a = ACT_RELU; a <= ACT_GELU_ERF; a++) {
        Tensor *z = op_act(tp, x, a);
        CHECK(z && isnan(z->data[0]), "act %d hides a NaN", (int)a);
    }
}

static void softmax_values(Tape *tp) {
    enum { R = 5, V = 37 };
    static const int target[R] = {3, 36, 0, 5, 5};
    static const real w[R] = {(real)0.5, 0, 1, (real)-0.25, 2};
    Tensor *x = random_tensor(tp, R, V, 5, 4);
    for (int v = 0; v < V; v++) x->data[v] += 1000, x->data[V + v] -= 1000; /* must not overflow */
    x->data[2 * V + 7] = 800; /* nor may this, far above its row */
    Tensor *y = op_softmax(tp, x), *mean = op_cross_entropy(tp, x, target, NULL);
    Tensor *sum = op_cross_entropy(tp, x, target, w);
    double want_mean = 0, want_sum = 0;
    for (int r = 0; y && r < R; r++) {
        const real *row = x->data + r * V;
        double top = -INFINITY, total = 0;
        for (int v = 0; v < V; v++) top = fmax(top, (double)row[v]);
        for (int v = 0; v < V; v++) total += exp((double)row[v] - top);
        for (int v = 0; v < V; v++)
            near("softmax", y, r * V + v, exp((double)row[v] - top) / total);
        double loss = top + log(total) - (double)row[target[r]];
        want_mean += loss / R, want_sum += loss * (double)w[r];
    }
    CHECK(y && mean && sum, "softmax: %s", tape_error(tp));
    double tol = sizeof(real) == 8 ? 1e-11 : 5e-4; /* 1000 + log leaves few digits of the log */
    CHECK(fabs((double)mean->data[0] - want_mean) < tol, "cross-entropy is %g, not %g",
          (double)mean->data[0], want_mean);
    CHECK(fabs((double)sum->data[0] - want_sum) < 3 * tol, "weighted cross-entropy is %g, not %g",
          (double)sum->data[0], want_sum);
    Tensor *p = op_neglog(tp, y);
    double want = 0;
    for (int i = 0; i < R * V; i++) want -= log(fmax((double)y->data[i], 1e-30)) / (R * V);
    near("neglog", p, 0, want);
}

/* |x - y|^2 / |y|^2; a NaN on either side reaches the loss or is refused, and so are zeros. */
static void square_error_values(Tape *tp) {
    Tensor *x = random_tensor(tp, 5, 37, 9, 1), *y = random_tensor(tp, 5, 37, 10, 3);
    double off = 0, size = 0;
    for (int i = 0; i < 5 * 37; i++) {
        double own = (double)x->data[i], of = (double)y->data[i];
        off += (own - of) * (own - of), size += of * of;
    }
    Tensor *loss = op_square_error(tp, x, y);
    CHECK(loss != NULL, "square error: %s", tape_error(tp));
    if (loss) near("square error", loss, 0, off / size);
    loss = op_square_error(tp, y, y);
    CHECK(loss && loss->data[0] == 0, "square error of what is equal");
    real keep = x->data[40];
    x->data[40] = (real)NAN;
    loss = op_square_error(tp, x, y);
    CHECK(loss && isnan(loss->data[0]), "square error hides a NaN");
    x->data[40] = keep, y->data[40] = (real)NAN;
    CHECK(!op_square_error(tp, x, y) && strstr(tape_error(tp), "no number"), "a NaN in y: \"%s\"",
          tape_error(tp));
    tape_reset(tp);
    x = tape_tensor(tp, 2, 3), y = tape_tensor(tp, 2, 3);
    y->data[0] = (real)INFINITY;
    CHECK(!op_square_error(tp, x, y), "an infinity in y is taken");
    tape_reset(tp);
}

/* What is far below the largest is 0, not something whose products are denormal. */
static void softmax_small(Tape *tp) {
    double edge = sizeof(real) == 8 ? 400 : 55;
    Tensor *x = tape_tensor(tp, 1, 3);
    x->data[0] = 3, x->data[1] = (real)(4 - edge), x->data[2] = (real)(2 - edge);
    Tensor *y = op_softmax(tp, x);
    CHECK(y && fabs((double)y->data[1] / exp(1 - edge) - 1) < 1e-5, "softmax: a small weight");
    CHECK(y && y->data[2] == 0, "softmax: a weight of %g", y ? (double)y->data[2] : 0);
    x->data[1] = (real)NAN;
    y = op_softmax(tp, x);
    CHECK(y && isnan(y->data[1]), "softmax hides a NaN");
}

static void test_values(Tape *tp) {
    tape_reset(tp);
    norm_values(tp, 6, 5, 1, 1);
    norm_values(tp, 6, 35, 3, 1);
    norm_values(tp, 4, 16, 2, (real)0.003); /* so small that eps matters */
    square_error_values(tp);
    act_values(tp);
    softmax_values(tp);
    softmax_small(tp);
    Tensor *a = random_tensor(tp, 7, 3, 7, 1), *b = random_tensor(tp, 2, 3, 8, 1);
    Tensor *y = op_rows(tp, a, b, (int[]){8, 0, 6, 7, 0}, 5), *z = op_cols(tp, a, 1, 2);
    const real *want[] = {b->data + 3, a->data, a->data + 18, b->data, a->data};
    for (int i = 0; i < 5; i++)
        CHECK(y && !memcmp(y->data + 3 * i, want[i], 3 * sizeof(real)), "rows: row %d", i);
    for (int i = 0; i < 7; i++)
        CHECK(z && !memcmp(z->data + 2 * i, a->data + 3 * i + 1, 2 * sizeof(real)), "cols: row %d",
              i);
}

/* ==== tape =================================================================================== */
static void test_refused(Tape *tp) {
    static const int idx[] = {0, 9}, target[] = {0, 3};
    for (int i = 0; i < 15; i++) {
        tape_reset(tp);
        Tensor *x = tape_tensor(tp, 2, 3), *w = tape_tensor(tp, 4, 2), *y = x;
        CHECK(!tape_error(tp)[0], "reset keeps an error");
        switch (i) {
        case 0: y = op_linear(tp, x, w, NULL, 0); break;
        case 1: y = op_linear(tp, x, tape_tensor(tp, 4, 3), w, 0); break;
        case 2: y = op_add(tp, x, w, 1); break;
        case 3: y = op_rows(tp, x, NULL, idx, 2); break;
        case 4: y = op_rows(tp, x, w, target, 1); break;
        case 5: y = op_cols(tp, x, 2, 2); break;
        case 6: y = op_cols(tp, x, -1, 2); break;
        case 7: y = op_layernorm(tp, x, w, w); break;
        case 8: y = op_softmax(tp, tape_tensor(tp, 2, 0)); break;
        case 9: y = op_cross_entropy(tp, x, target, NULL); break;
        case 10: y = op_cross_entropy(tp, tape_tensor(tp, 0, 3), target, NULL); break;
        case 11: y = op_square_error(tp, x, w); break;
        case 12: y = op_square_error(tp, tape_tensor(tp, 3, 2), x); break; /* as many numbers */
        case 13: y = op_square_error(tp, x, x); break;                     /* of zeros */
        default: y = tape_tensor(tp, -1, 3);
        }
        CHECK(!y && strlen(tape_error(tp)) > 10, "misuse %d is not refused with a sentence", i);
    }
}

static void test_tape(Tape *tp) {
    Params ps = {NULL, 0};
    Tensor *p = param_new(&ps, "p", 2, 2, 3);
    fill(p->data, 6, 1);
    tape_reset(tp);
    Tensor *loss = weighted(tp, op_act(tp, p, ACT_TANH));
    CHECK(tape_backward(tp, loss) == 0, "backward: %s", tape_error(tp));
    real *first = copy(p->grad, 6);
    CHECK(tape_backward(tp, loss) == -1 && tape_error(tp)[0], "backward twice must be an error");
    CHECK(!memcmp(first, p->grad, 6 * sizeof *first), "the second backward changed gradients");
    free(first);
    tape_reset(tp);
    CHECK(!op_add(tp, NULL, p, 1) && !op_act(tp, NULL, ACT_RELU) && !op_softmax(tp, NULL)
          && !op_linear(tp, NULL, p, NULL, 0) && !op_rows(tp, NULL, p, (int[]){0}, 1)
          && !op_cols(tp, NULL, 0, 1) && !op_layernorm(tp, NULL, p, p) && !op_rmsnorm(tp, p, NULL)
          && !op_cross_entropy(tp, NULL, (int[]){0}, NULL) && !op_neglog(tp, NULL)
          && !op_square_error(tp, NULL, p) && !op_square_error(tp, p, NULL),
          "NULL in, NULL out");
    CHECK(tape_backward(tp, NULL) == -1 && tape_error(tp)[0], "backward of nothing is an error");
    tape_reset(tp);
    tape_fail(tp, "the %s failure", "first");
    tape_fail(tp, "the second one");
    CHECK(!strcmp(tape_error(tp), "the first failure"), "kept: %s", tape_error(tp));
    tape_reset(tp);
    CHECK(tape_backward(tp, op_act(tp, p, ACT_TANH)) == -1 && tape_error(tp)[0],
          "a loss is one number");
    tape_reset(tp);
    CHECK(tape_record(tp, 0) == 1 && tape_record(tp, 1) == 0, "record returns the old value");
    char *mem = tape_alloc(tp, 1000);
    int dirty = 0;
    for (int i = 0; i < 1000; i++) dirty += mem[i] != 0;
    CHECK(dirty == 0 && (uintptr_t)mem % 64 == 0 && tape_peak(tp) >= 1000, "arena: zeros, aligned");
    params_free(&ps);
}

/* What stood before the mark stays, what came since is off the tape, and its memory free again:
 * small things of it and large ones, of blocks of their own. */
static void test_release(void) {
    Params ps = {NULL, 0};
    Tensor *p = param_new(&ps, "p", 2, 2, 3);
    Tape *tp = tape_new(0);
    real grad[2][6];
    size_t peak = 0;
    const Tensor *place = NULL;
    fill(p->data, 6, 1);
    for (int k = 0; k < 2; k++) {
        tape_reset(tp), memset(p->grad, 0, sizeof grad[k]);
        Tensor *x = op_act(tp, p, ACT_TANH);
        for (int i = 0; k && i < 100; i++) {
            TapeMark mark = tape_mark(tp);
            Tensor *y = op_add(tp, x, x, 1), *large = tape_tensor(tp, 1000, 1000);
            for (int j = 0; j < 6; j++) y->grad[j] = 1;
            CHECK(large && large->data[999999] == 0, "zeros");
#ifdef MAC_DEBUG_ARENA
            place = y; /* there every allocation is a block of its own, freed at once */
#endif
            if (i == 0) place = y, peak = tape_peak(tp);
            CHECK(y == place, "round %d does not stand where the first one stood", i);
            tape_release(tp, mark);
        }
        CHECK(tape_backward(tp, weighted(tp, x)) == 0, "release: %s", tape_error(tp));
        memcpy(grad[k], p->grad, sizeof grad[k]);
    }
    CHECK(!memcmp(grad[0], grad[1], sizeof grad[0]), "released ops leave gradients");
    CHECK(tape_peak(tp) == peak, "peak %d, then %d", (int)peak, (int)tape_peak(tp));
    tape_free(tp);
    params_free(&ps);
}

static Tensor *small_step(Tape *tp, Tensor *x, Tensor *w) {
    static const int zero = 0, n = 6, target[] = {0, 1, 2, 3, 4, 5};
    Tensor *h = op_layernorm(tp, op_linear(tp, x, w, NULL, 0), op_rows(tp, x, NULL, &zero, 1),
                             op_rows(tp, x, NULL, &zero, 1));
    Attention a = {.B = 1, .H = 2, .q0 = &zero, .qn = &n, .k0 = &zero, .kn = &n, .scale = 1,
                   .t0 = &zero, .tn = &n};
    Tensor *y =
        op_attention(tp, h, op_act(tp, h, ACT_RELU), op_softmax(tp, op_cols(tp, h, 0, 6)), &a);
    Tensor *loss =
        op_cross_entropy(tp, op_rmsnorm(tp, y, op_rows(tp, x, NULL, &zero, 1)), target, NULL);
    loss = op_add(tp, loss, op_neglog(tp, a.mass), 1);
    return op_add(tp, loss, op_square_error(tp, y, x), 1);
}

/* Every limit below what the step needs ends in a message, never in a crash or a wrong success. */
static void test_limit(void) {
    Params ps = {NULL, 0};
    Tensor *x = param_new(&ps, "x", 2, 6, 6), *w = param_new(&ps, "w", 2, 6, 6);
    fill(x->data, 36, 1), fill(w->data, 36, 2);
    int failed = 0, done = 0;
    for (size_t limit = 64; !done && limit < 1 << 20; limit += 64) {
        Tape *tp = tape_new(limit);
        Tensor *loss = small_step(tp, x, w);
        done = tape_backward(tp, loss) == 0;
        failed += !done;
        CHECK(done ? !tape_error(tp)[0] : strstr(tape_error(tp), "memory") != NULL,
              "limit %d: \"%s\"", (int)limit, tape_error(tp));
        CHECK(tape_peak(tp) <= limit, "%d bytes were held under a limit of %d", (int)tape_peak(tp),
              (int)limit);
        if (done) { /* and once the step fits, it fits again after a reset */
            tape_reset(tp);
            CHECK(tape_backward(tp, small_step(tp, x, w)) == 0, "after reset: %s", tape_error(tp));
        }
        tape_free(tp);
    }
    CHECK(done && failed > 40, "the step succeeded after %d failures", failed);
    params_free(&ps);
}

static void test_params(void) {
    Params ps = {NULL, 0};
    Tensor *a = param_new(&ps, "one.a", 2, 3, 4), *b = param_new(&ps, "two.b", 1, 5);
    CHECK(a && b && a->ndim == 2 && a->shape[0] == 3 && a->shape[1] == 4 && b->ndim == 1, "shapes");
    CHECK(param_find(&ps, "two.b") == b && !param_find(&ps, "two") && a->data[11] == 0, "find");
    CHECK(param_count(&ps, "") == 17 && param_count(&ps, "one.") == 12, "count");
    param_freeze(&ps, "one", 1);
    CHECK(!a->grad && b->grad && !ps.p[0]->m && !ps.p[0]->v && ps.p[1]->m,
          "freeze takes the gradient");
    param_freeze(&ps, "", 0);
    CHECK(a->grad && ps.p[0]->m && ps.p[0]->v && b->grad, "and gives it back");
    params_free(&ps);
    CHECK(ps.n == 0, "freed");
}

/* ==== threads: the same bits ================================================================= */
static Tensor *big_step(Tape *tp, Params *ps, int shared) {
    static const int q0[] = {0, 30, 60, 90}, n[] = {30, 30, 30, 30}, apart[] = {0, 30, 60, 90},
                     over[] = {0, 10, 5, 90};
    static int idx[120], target[120];
    for (int i = 0; i < 120; i++) idx[i] = i * 7 % 50, target[i] = i % 64;
    Tensor *in[8];
    for (int i = 0; i < ps->n; i++) in[i] = &ps->p[i]->t;
    Tensor *x = op_rows(tp, in[0], NULL, idx, 120);
    Tensor *h = op_layernorm(tp, op_linear(tp, x, in[1], in[2], 1), in[3], in[2]);
    Attention a = {.B = 4, .H = 4, .q0 = q0, .qn = n, .k0 = shared ? over : apart, .kn = n,
                   .scale = (real)0.25, .bias = in[4], .t0 = shared ? over : apart, .tn = n};
    Tensor *y = op_attention(tp, h, op_act(tp, h, ACT_GELU_TANH), op_act(tp, h, ACT_GELU_ERF), &a);
    h = op_add(tp, op_rmsnorm(tp, y, in[3]), op_linear(tp, h, in[5], NULL, 0), (real)0.5);
    Tensor *loss = op_cross_entropy(tp, op_linear(tp, h, in[6], NULL, 0), target, NULL);
    Tensor *few = op_rows(tp, h, NULL, idx, 9); /* few rows: threads share columns */
    return op_add(tp, loss, op_cross_entropy(tp, op_linear(tp, few, in[7], NULL, 0), target, NULL),
                  1);
}

static void threads_params(Params *ps) {
    param_new(ps, "0", 2, 50, 128), param_new(ps, "1", 2, 128, 64), param_new(ps, "2", 2, 1, 64);
    param_new(ps, "3", 2, 1, 64), param_new(ps, "4", 2, 32, 4), param_new(ps, "5", 3, 2, 64, 64);
    param_new(ps, "6", 2, 64, 64), param_new(ps, "7", 2, 250, 64);
    for (int i = 0; i < ps->n; i++) {
        fill(ps->p[i]->t.data, numel(&ps->p[i]->t), (uint64_t)i);
        ps->p[i]->matrix = i == 1 || i == 5 || i == 6;
    }
}

static uint64_t step_hash(Tape *tp, Params *ps, int shared) {
    Adam o = adam_default((real)0.01);
    o.muon = (real)0.95;
    tape_reset(tp);
    Tensor *loss = big_step(tp, ps, shared);
    CHECK(tape_backward(tp, loss) == 0, "threads: %s", tape_error(tp));
    uint64_t hash = fnv1a(MAC_FNV, loss->data, sizeof(real));
    for (int i = 0; i < ps->n; i++)
        hash = fnv1a(hash, ps->p[i]->t.grad, numel(&ps->p[i]->t) * sizeof(real));
    adam_step(ps, &o);
    for (int i = 0; i < ps->n; i++)
        hash = fnv1a(hash, ps->p[i]->t.data, numel(&ps->p[i]->t) * sizeof(real));
    return hash;
}

static void test_threads(Tape *tp) {
    static const int counts[] = {1, 2, 3, 5};
    for (int shared = 0; shared < 2; shared++) {
        uint64_t first = 0;
        for (int i = 0; i < 4; i++) {
            Params ps = {NULL, 0};
            int running = pool_start(counts[i]);
            CHECK(running >= 1 && running <= counts[i], "pool: %d threads", running);
            threads_params(&ps);
            uint64_t hash = step_hash(tp, &ps, shared);
            if (i == 0) first = hash;
            CHECK(hash == first, "%d threads, shared %d: other bits than with one", running,
                  shared);
            params_free(&ps);
        }
        pool_stop();
        pool_stop(); /* twice does no harm */
    }
}

/* ==== Adam =================================================================================== */
/* AdamW as in its paper (Loshchilov and Hutter, algorithm 2), one number, in double. */
static void adam_number(double *p, double *m, double *v, double g, const Adam *o, int t) {
    double b1 = (double)o->beta1, b2 = (double)o->beta2, lr = (double)o->lr;
    *m = b1 * *m + (1 - b1) * g;
    *v = b2 * *v + (1 - b2) * g * g;
    double mhat = *m / (1 - pow(b1, t)), vhat = *v / (1 - pow(b2, t));
    *p -= lr * (mhat / (sqrt(vhat) + (double)o->eps) + (double)o->decay * *p);
}

static void adam_run(real decay, real clip, real eps) {
    enum { N = 1030, STEPS = 7 };
    Params ps = {NULL, 0};
    Tensor *a = param_new(&ps, "a", 1, 1000), *b = param_new(&ps, "b", 2, 3, 10);
    Tensor *frozen = param_new(&ps, "c", 1, 4);
    double p[N], m[N] = {0}, v[N] = {0};
    uint64_t r = 8;
    param_freeze(&ps, "c", 1);
    fill(a->data, 1000, 1), fill(b->data, 30, 2), fill(frozen->data, 4, 3);
    for (int i = 0; i < N; i++) p[i] = (double)(i < 1000 ? a->data[i] : b->data[i - 1000]);
    Adam o = {(real)0.05, (real)0.9, (real)0.999, eps, decay, clip, 0, 0};
    real *kept = copy(frozen->data, 4);
    for (int t = 1; t <= STEPS; t++) {
        double square = 0, g[N];
        for (int i = 0; i < N; i++) {
            real x = rng_normal(&r) * (real)(i % 5) * (real)0.01 * (real)t; /* some are always 0 */
            *(i < 1000 ? a->grad + i : b->grad + (i - 1000)) = x;
            g[i] = (double)x;
            square += g[i] * g[i];
        }
        double norm = sqrt(square),
               scale = clip > 0 && norm > (double)clip ? (double)clip / norm : 1;
        double got = (double)adam_step(&ps, &o);
        CHECK(fabs(got - norm) <= 1e-5 * norm && o.step == t, "adam: norm %g, not %g", got, norm);
        for (int i = 0; i < N; i++) adam_number(&p[i], &m[i], &v[i], g[i] * scale, &o, t);
    }
    double tol = sizeof(real) == 8 ? 1e-13 : 5e-6;
    for (int i = 0; i < N; i++) {
        double is = (double)(i < 1000 ? a->data[i] : b->data[i - 1000]);
        CHECK(fabs(is - p[i]) <= tol * (1 + fabs(p[i])), "adam: p[%d] is %.9g, not %.9g", i, is,
              p[i]);
    }
    CHECK(a->grad[0] == 0 && a->grad[999] == 0 && b->grad[29] == 0,
          "gradients are zero afterwards");
    CHECK(!memcmp(kept, frozen->data, 4 * sizeof *kept), "adam: a frozen parameter moved");
    free(kept);
    params_free(&ps);
}

/* ---- Muon, in double, by loops of three ---- */
enum { MUON_MOST = 40 };
typedef double Square[MUON_MOST][MUON_MOST];

static void times(int M, int N, int K, Square A, int turn_a, Square B, int turn_b, Square C) {
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            C[i][j] = 0;
            for (int k = 0; k < K; k++)
                C[i][j] += (turn_a ? A[k][i] : A[i][k]) * (turn_b ? B[j][k] : B[k][j]);
        }
}

/* X = (3.4445 - 4.7750 XX' + 2.0315 (XX')^2) X, five times from X / |X| on. */
static void orthogonal(int R, int C, Square X) {
    static Square A, AX, AAX;
    double square = 0;
    for (int i = 0; i < R * C; i++) square += X[i / C][i % C] * X[i / C][i % C];
    for (int i = 0; i < R * C; i++) X[i / C][i % C] /= sqrt(square);
    for (int step = 0; step < 5; step++) {
        times(R, R, C, X, 0, X, 1, A);
        times(R, C, R, A, 0, X, 0, AX);
        times(R, C, R, A, 0, AX, 0, AAX);
        for (int i = 0; i < R; i++)
            for (int j = 0; j < C; j++)
                X[i][j] = 3.4445 * X[i][j] - 4.7750 * AX[i][j] + 2.0315 * AAX[i][j];
    }
}

/* G matrices in one parameter, each with a step of its own; G = 1: a plain one. */
static void muon_run(int G, int R, int C, real decay, real clip) {
    static Square w[2], m[2], x;
    Params ps = {NULL, 0};
    int n = G * R * C;
    for (int i = 0; i < 3; i++) { /* a matrix, a table, a frozen matrix */
        static const char *const names[] = {"a", "b", "c"};
        if (G > 1) param_new(&ps, names[i], 3, G, R, C);
        else param_new(&ps, names[i], 2, R, C);
        fill(ps.p[i]->t.data, (size_t)n, (uint64_t)i);
        ps.p[i]->matrix = i != 1;
    }
    Tensor *a = &ps.p[0]->t, *b = &ps.p[1]->t, *frozen = &ps.p[2]->t;
    uint64_t r = 9;
    double tol = sizeof(real) == 8 ? 1e-11 : 2e-3, size = 0.2 * 0.05 * sqrt(R > C ? R : C);
    param_freeze(&ps, "c", 1);
    real *kept = copy(frozen->data, (size_t)n), *table = copy(b->data, (size_t)n);
    for (int i = 0; i < n; i++) {
        w[i / (R * C)][i / C % R][i % C] = (double)a->data[i];
        m[i / (R * C)][i / C % R][i % C] = 0;
    }
    Adam o = {(real)0.05, (real)0.9, (real)0.999, (real)1e-8, decay, clip, 0, (real)0.95};
    for (int t = 1; t <= 3; t++) {
        double square = 0;
        for (int i = 0; i < 2 * n; i++) {
            real g = rng_normal(&r) * (i < R * C ? 1 : 3); /* groups differ in size */
            *(i < n ? a->grad + i : b->grad + i - n) = g;
            square += (double)g * (double)g;
        }
        double scale = clip > 0 && sqrt(square) > (double)clip ? (double)clip / sqrt(square) : 1;
        real *g = copy(a->grad, (size_t)n);
        CHECK(adam_step(&ps, &o) > 0, "muon: a step");
        for (int k = 0; k < G; k++) {
            for (int i = 0; i < R * C; i++) {
                double gi = scale * (double)g[k * R * C + i], *mi = &m[k][i / C][i % C];
                *mi = (double)o.muon * *mi + gi;
                x[i / C][i % C] = gi + (double)o.muon * *mi;
            }
            orthogonal(R, C, x);
            for (int i = 0; i < R * C; i++) {
                double *wi = &w[k][i / C][i % C], is = (double)a->data[k * R * C + i];
                *wi -= (double)o.lr * (double)decay * *wi + size * x[i / C][i % C];
                CHECK(fabs(is - *wi) <= tol * size, "muon %d [%d,%d], step %d: %g, not %g", k, R, C,
                      t, is, *wi);
                CHECK(a->grad[k * R * C + i] == 0, "muon: the gradient is zero afterwards");
            }
        }
        free(g);
    }
    CHECK(!memcmp(kept, frozen->data, (size_t)n * sizeof *kept), "muon: frozen, and moved");
    CHECK(memcmp(table, b->data, (size_t)n * sizeof *kept), "muon: the table is Adam's");
    for (int i = 0; i < n; i++)
        CHECK(fabs((double)(b->data[i] - table[i])) <= 0.2, "muon: the table's step is Adam's");
    o.step = 0;
    CHECK(adam_step(&ps, &o) == 0 && a->data[0] - a->data[0] == 0,
          "muon: a gradient of zeros is no NaN");
    free(kept), free(table);
    params_free(&ps);
}

/* Gradients of every size, those among them whose squares are no floats: a step is as large as a
 * large gradient's, or none is taken.  A people training of 8 heads ended in NaN without this. */
static void muon_tiny(void) {
    Params ps = {NULL, 0};
    uint64_t r = 12;
    param_new(&ps, "w", 2, 33, 33);
    Tensor *w = &ps.p[0]->t;
    ps.p[0]->matrix = 1;
    double u[66]; /* the gradient is of rank one: its largest singular value is its norm */
    for (int i = 0; i < 66; i++) u[i] = (double)rng_normal(&r);
    int moved = 0;
    for (double size = 1; size > 1e-48; size /= 1.5) {
        Adam o = adam_default(1);
        o.muon = (real)0.95;
        for (int i = 0; i < 33 * 33; i++) {
            w->data[i] = ps.p[0]->m[i] = 0;
            w->grad[i] = (real)(size * u[i / 33] * u[33 + i % 33]);
        }
        adam_step(&ps, &o);
        double most = 0;
        for (int i = 0; i < 33 * 33; i++)
            if (most == most && !(fabs((double)w->data[i]) <= most))
                most = fabs((double)w->data[i]);
        CHECK(most < 1.2, "muon: a gradient of %g moves a weight by %g", size, most);
        moved += most > 0;
        CHECK(most > 0 || size < 1e-15, "muon: a gradient of %g moves nothing", size);
    }
    CHECK(moved > 80 && moved < 100, "muon: %d sizes of gradients moved something", moved);
    params_free(&ps);
}

static void test_muon(void) {
    muon_tiny();
    muon_run(1, 8, 20, 0, 0);
    muon_run(1, 20, 8, (real)0.1, (real)0.5);
    muon_run(1, 33, 33, 0, 1);
    muon_run(1, 1, 5, 0, 0);
    muon_run(2, 7, 10, (real)0.1, 1);
}

static void test_adam(void) {
    adam_run(0, 0, (real)1e-8);
    adam_run((real)0.1, (real)0.8, (real)1e-8);  /* clips from the third step on */
    adam_run((real)0.02, 1000, (real)0.01);      /* eps matters */
    Adam d = adam_default((real)0.3);
    CHECK(d.lr == (real)0.3 && d.beta1 == (real)0.9 && d.beta2 == (real)0.999 && d.eps == (real)1e-8
          && d.decay == 0 && d.clip == 1 && d.step == 0, "adam's defaults");
    Params ps = {NULL, 0};
    Tensor *a = param_new(&ps, "a", 1, 5);
    fill(a->data, 5, 1), fill(ps.p[0]->m, 5, 2), ps.p[0]->v[3] = 1;
    real *data = copy(a->data, 5), *m = copy(ps.p[0]->m, 5), *v = copy(ps.p[0]->v, 5);
    for (int i = 0; i < 2; i++) {
        a->grad[0] = 1, a->grad[4] = i ? (real)NAN : (real)INFINITY;
        CHECK(isnan(adam_step(&ps, &d)) && d.step == 0, "a gradient of NaN or inf gives NaN");
        CHECK(!memcmp(data, a->data, 5 * sizeof *m) && !memcmp(m, ps.p[0]->m, 5 * sizeof *m)
              && !memcmp(v, ps.p[0]->v, 5 * sizeof *m), "and changes nothing");
        CHECK(a->grad[0] == 0 && a->grad[4] == 0, "and is gone");
    }
    free(data), free(m), free(v);
    params_free(&ps);
}

static void test_schedule(void) {
    double pi = 3.14159265358979323846;
    for (int step = 0; step < 130; step++) {
        double done = step < 10 ? 0 : step > 100 ? 1 : (step - 10) / 90.0;
        double cosine = 2 * (0.01 + 0.99 * 0.5 * (1 + cos(pi * done))), constant = 2;
        if (step < 10) constant = cosine = 2 * (step + 1) / 10.0;
        double c = (double)lr_schedule(LR_COSINE, 2, step, 10, 100);
        double k = (double)lr_schedule(LR_CONSTANT, 2, step, 10, 100);
        CHECK(fabs(c - cosine) < 1e-6 && fabs(k - constant) < 1e-6, "step %d: %g, %g", step, c, k);
    }
    CHECK(lr_schedule(LR_COSINE, 2, 5, 0, 0) == 2, "no steps at all");
}

/* ==== attention over a stream of keys ======================================================== */
enum { ST_N = 4200, ST_D = 6, ST_T = 3, ST_ROWS = 8, ST_W = 6 };
static real stream_x[ST_N * ST_D], stream_w[3][ST_W * ST_D];

static const real *stream_read(void *ctx, int first, int n, real *room) {
    (void)ctx;
    if (first % 2) return stream_x + first * ST_D; /* either way will do */
    return memcpy(room, stream_x + first * ST_D, (size_t)(n * ST_D) * sizeof *room);
}

/* Row `row` of group g by definition, in double, over all n keys at once. */
static void stream_naive(const Stream *s, const real *q, int row, int g, double *out,
                         double *docs) {
    static double z[ST_N][ST_D], score[ST_N];
    int w = s->Wk ? ST_W / s->G : ST_D, made = s->Wk != NULL;
    double top = -INFINITY, sum = 0;
    for (int j = 0; j < s->N; j++) {
        const real *x = stream_x + j * ST_D;
        double mu = 0, var = 1e-5;
        for (int i = 0; i < ST_D; i++) mu += (double)x[i] / ST_D;
        for (int i = 0; i < ST_D; i++) var += ((double)x[i] - mu) * ((double)x[i] - mu) / ST_D;
        for (int i = 0; i < ST_D; i++) z[j][i] = ((double)x[i] - mu) / sqrt(var);
        score[j] = 0;
        for (int c = 0; c < w; c++) {
            double key = made ? 0 : z[j][c];
            for (int i = 0; made && i < ST_D; i++)
                key += (double)s->Wk[(g * w + c) * ST_D + i] * z[j][i];
            score[j] += key * (double)q[row * w + c];
        }
        top = fmax(top, score[j]);
    }
    for (int j = 0; j < s->N; j++) sum += exp(score[j] - top);
    memset(out, 0, (size_t)w * sizeof *out);
    for (int j = 0; j < s->N; j++) {
        double p = exp(score[j] - top) / sum;
        docs[j / ST_T] += p;
        for (int c = 0; c < w; c++) {
            double value = made ? (double)s->bv[g * w + c] : z[j][c];
            for (int i = 0; made && i < ST_D; i++)
                value += (double)s->Wv[(g * w + c) * ST_D + i] * z[j][i];
            out[c] += p * value;
        }
    }
}

static void stream_case(Tape *tp, int N, int G, int made, int B, int by_head) {
    static real first[ST_ROWS * ST_W], got[ST_N], again[ST_N];
    double docs[2][ST_N / ST_T] = {{0}};
    int w = made ? ST_W / G : ST_D, K = N / ST_T;
    Stream s = {.N = N, .D = ST_D, .T = ST_T, .read = stream_read, .G = G, .R = ST_ROWS / G, .B = B,
                .by_head = by_head, .Wk = made ? stream_w[0] : NULL, .Wv = stream_w[1],
                .bv = stream_w[2]};
    for (int threads = 1; threads <= 3; threads++) {
        pool_start(threads);
        tape_reset(tp);
        Tensor *q = tape_tensor(tp, ST_ROWS, w);
        uint64_t seed = 5;
        for (int i = 0; i < ST_ROWS * w; i++) q->data[i] = 2 * rng_normal(&seed);
        s.received = memset(threads == 1 ? got : again, 0, sizeof got);
        s.memory = (size_t)((threads - 1) * threads / 2 * K) * sizeof(real); /* all rows, 1, 3 */
        Tensor *y = op_stream_attention(tp, q, &s);
        CHECK(y != NULL, "stream: %s", tape_error(tp));
        if (!y) return;
        if (threads > 1) {
            CHECK(memcmp(first, y->data, (size_t)(ST_ROWS * w) * sizeof *first) == 0
                      && memcmp(got, again, (size_t)(B * K) * sizeof *got) == 0,
                  "stream of %d: other bits with %d threads, or rows in turns", N, threads);
            continue;
        }
        memcpy(first, y->data, (size_t)(ST_ROWS * w) * sizeof *first);
        for (int r = 0; r < ST_ROWS; r++) {
            double want[ST_W];
            int head = s.R / by_head, asks = r % head / (head / B);
            stream_naive(&s, q->data, r, r / s.R, want, docs[asks]);
            for (int c = 0; c < w; c++)
                CHECK(fabs((double)first[r * w + c] - want[c]) <= VALUE_TOL * 4,
                      "stream of %d, %d groups: [%d,%d] is %g, not %g", N, G, r, c,
                      (double)first[r * w + c], want[c]);
        }
    }
    pool_start(1);
    for (int i = 0; i < B * K; i++)
        CHECK(fabs((double)got[i] - docs[i / K][i % K]) <= VALUE_TOL * 4,
              "stream of %d: document %d receives %g, not %g", N, i, (double)got[i],
              docs[i / K][i % K]);
}

/* Two documents, opposite to each other: what a query along the first gives to the second. */
static real stream_second(Tape *tp, double apart) {
    real got[2] = {0};
    for (int i = 0; i < 2 * ST_D; i++) stream_x[i] = 0;
    stream_x[0] = stream_x[ST_D + 1] = 1, stream_x[1] = stream_x[ST_D] = -1;
    Stream s = {.N = 2, .D = ST_D, .T = 1, .read = stream_read, .G = 1, .R = 1, .B = 1,
                .by_head = 1, .received = got};
    tape_reset(tp);
    Tensor *q = tape_tensor(tp, 1, ST_D);
    q->data[0] = (real)(apart / (4 * sqrt(ST_D / 2.0))), q->data[1] = -q->data[0];
    return op_stream_attention(tp, q, &s) ? got[1] : (real)NAN;
}

static void test_stream_small(Tape *tp) {
    double edge = sizeof(real) == 8 ? 400 : 55;
    double near = (double)stream_second(tp, edge - 1), far = (double)stream_second(tp, edge + 1);
    CHECK(fabs(near / exp(1 - edge) - 1) < 0.02, "stream: a small weight is %g", near);
    CHECK(far == 0, "stream: a weight of %g", far);
}

static void test_stream(Tape *tp) {
    uint64_t seed = 17;
    for (int i = 0; i < ST_N * ST_D; i++) stream_x[i] = rng_normal(&seed) * (i % 7 ? 1 : 3) + 1;
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < ST_W * ST_D; i++) stream_w[k][i] = rng_normal(&seed);
    static const int n[] = {0, ST_T, 255, 256 / ST_T * ST_T * 4 + ST_T, ST_N};
    for (int i = 1; i < 5; i++) {
        stream_case(tp, n[i], 1, 0, 2, 2); /* two heads in one group, two questions */
        stream_case(tp, n[i], 1, 0, 1, 1);
        stream_case(tp, n[i], 2, 1, 2, 1);
        stream_case(tp, n[i], 1, 1, 1, 1);
    }
    tape_reset(tp);
    Stream empty = {.D = ST_D, .T = 1, .read = stream_read, .G = 1, .R = 2, .B = 1, .by_head = 1};
    Tensor *y = op_stream_attention(tp, tape_tensor(tp, 2, ST_D), &empty);
    for (int i = 0; y && i < 2 * ST_D; i++) CHECK(y->data[i] == 0, "nothing to attend to");
    empty.G = 2;
    CHECK(y && !op_stream_attention(tp, y, &empty) && tape_error(tp)[0], "rows that do not fit");
}

/* ==== half precision ========================================================================= */
static void test_half(void) {
    for (unsigned h = 0; h < 0x10000; h++) { /* all of them come back, and are what they mean */
        unsigned char le[2] = {(unsigned char)h, (unsigned char)(h >> 8)};
        int e = (int)(h >> 10 & 31), m = (int)(h & 1023);
        double want = (h & 0x8000 ? -1 : 1) * (e ? ldexp(1024 + m, e - 25) : ldexp(m, -24));
        real x;
        half_read(&x, le, 1);
        if (e == 31) {
            CHECK(m ? x != x : (double)x == (h & 0x8000 ? -INFINITY : INFINITY), "half %x", h);
            CHECK(m ? (half_of(x) & 0x7fff) > 0x7c00 : half_of(x) == h, "half %x returns", h);
        } else
            CHECK((double)x == want && half_of(x) == h, "half %x is %g, not %g", h, (double)x,
                  want);
        if (e == 31 || h & 0x8000) continue; /* between two neighbours: the even one */
        unsigned char up[2] = {(unsigned char)(h + 1), (unsigned char)((h + 1) >> 8)};
        real y;
        half_read(&y, up, 1);
        if (h == 0x7bff) y = 65536;
        CHECK(half_of((x + y) / 2) == h + (h & 1), "a tie above half %x", h);
        CHECK(half_of(x + (y - x) / 4) == h && half_of(y - (y - x) / 4) == h + 1, "near half %x",
              h);
    }
    CHECK(half_of((real)1e30) == 0x7c00 && half_of((real)-1e-30) == 0x8000, "beyond the range");
}

int main(void) {
    Tape *tp = tape_new(0);
    test_exact_ranges();
    test_exact_special();
    test_rng();
    test_linear_bits(tp);
    test_linear_grad(tp);
    test_small_grads(tp);
    test_attention(tp);
    test_buckets(tp);
    test_attention_refused(tp);
    test_values(tp);
    test_refused(tp);
    test_tape(tp);
    test_release();
    test_limit();
    test_params();
    test_threads(tp);
    test_adam();
    test_muon();
    test_schedule();
    test_stream(tp);
    test_stream_small(tp);
    test_half();
    tape_free(tp);
    return check_done("test_ops");
}
