/* tensor.c - numbers: exact math, random numbers, threads, arena and tape, matmul, ops with their
 * gradients, Adam, parameters in files.  Knows no model.
 *
 * Every loop here is a promise about bits: the same seed gives the same bits with any number of
 * threads, any compiler and any optimisation level.  What keeps it:
 *   - only + - * / and sqrt on `real`, each rounded once (-ffp-contract=off, no -ffast-math);
 *     exp, log, tanh, erf, sin and cos are made of these, because libm's differ;
 *   - every sum has a stated order: a matmul adds its products in order of k to what stood there
 *     before, a row's sum uses LANES interleaved partial sums, a column's goes from top to bottom;
 *   - each output element has one owner thread, in backward passes too.                          */
#if defined(__unix__) || defined(__APPLE__)
#define _POSIX_C_SOURCE 200809L
#endif
#include "mac.h"
#include <float.h>
#include <limits.h>
#include <math.h> /* INFINITY, NAN and sqrt, which IEEE 754 makes the same everywhere */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef MAC_THREADS
#include <pthread.h>
#include <stdatomic.h>
#endif

/* ==== platform: the only section that looks at compiler and machine ========================== */
#if defined(__FAST_MATH__) || __FINITE_MATH_ONLY__ || defined(__RECIPROCAL_MATH__) \
    || defined(__ASSOCIATIVE_MATH__) || defined(__NO_SIGNED_ZEROS__)
#error "-ffast-math (-Ofast) and each of its parts let the compiler change results: build without"
#endif
#if defined(FLT_EVAL_METHOD) && FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16 /* 16: of halves */
#error "floats are kept in wider registers: gcc wants -msse2 -mfpmath=sse (x86), -std=gnu11 (s390x)"
#endif

#ifdef MAC_DOUBLE
typedef int64_t rbits; /* as wide as real, for its bits */
#define REAL_BYTES 8
#else
typedef int32_t rbits;
#define REAL_BYTES 4
#endif

/* A vector of VL reals.  The bits do not depend on VL: lanes are separate output elements. */
#if defined(__GNUC__) && !defined(MAC_NO_VECTOR)
#if defined(__AVX512F__)
#define VBYTES 64
#define TILE_ROWS 8
#elif defined(__AVX__)
#define VBYTES 32
#define TILE_ROWS 6
#else
#define VBYTES 16
#define TILE_ROWS 4
#endif
#define VL (VBYTES / REAL_BYTES)
typedef real vec __attribute__((vector_size(VBYTES), aligned(sizeof(real)), may_alias));
/* a0 b0 a1 b1 ... of the first halves of two vectors (LOW), and of the second halves (HIGH). */
#ifdef __clang__
#define WEAVE __builtin_shufflevector
#else
typedef rbits ivec __attribute__((vector_size(VBYTES)));
#define WEAVE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif
#if VL == 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif VL == 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#elif VL == 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#else
#define LOW 0, 2
#define HIGH 1, 3
#endif
#define INLINE static inline __attribute__((always_inline))
#else
#define VL 8
#define TILE_ROWS 4
#define INLINE static inline
#endif

/* ==== exact math ============================================================================= */
#ifdef MAC_DOUBLE
#define MANTISSA 52
#define BIAS 1023
#define SQRT_HALF 0x3fe6a09e667f3bcd
#define LN2_HI 0x1.62e42feep-1 /* few enough bits for k * LN2_HI to be exact */
#define LN2_LO 0x1.a39ef35793c76p-33
#define PIO2_A 0x1.921fb544p0
#define PIO2_B 0x1.0b4611a6p-34
#define PIO2_C 0x1.3198a2e037073p-69
#define EXP_MIN (-745.2)
#define WEIGHT_MIN (-400)
#define EXP_MAX 709.8
#define EXP_TERMS 13
#define LOG_TERMS 11
#define SIN_TERMS 9
#define ERF_TERMS 28
#else
#define MANTISSA 23
#define BIAS 127
#define SQRT_HALF 0x3f3504f3
#define LN2_HI 0x1.62e4p-1f
#define LN2_LO 0x1.7f7d1cp-20f
#define PIO2_A 0x1.92p0f
#define PIO2_B 0x1.fb4p-12f
#define PIO2_C 0x1.4442d18p-24f
#define EXP_MIN (-103.98f)
#define WEIGHT_MIN (-55)
#define EXP_MAX 88.73f
#define EXP_TERMS 7
#define LOG_TERMS 5
#define SIN_TERMS 5
#define ERF_TERMS 13
#endif
#define ROUND_MAGIC ((real)(3LL << (MANTISSA - 1))) /* x + it - it rounds x to an integer */
#define LANES 16                                    /* partial sums of a row */

INLINE real from_bits(rbits i) { real x; memcpy(&x, &i, sizeof x); return x; }
INLINE rbits to_bits(real x) { rbits i; memcpy(&i, &x, sizeof i); return i; }
INLINE real power_of_two(rbits k) { return from_bits((rbits)((uint64_t)(k + BIAS) << MANTISSA)); }

/* 1/n! for n = 0..19: the Taylor series of exp, sin and cos. */
static const real inv_fact[] = {
    1, 1, (real)(1.0 / 2), (real)(1.0 / 6), (real)(1.0 / 24), (real)(1.0 / 120),
    (real)(1.0 / 720), (real)(1.0 / 5040), (real)(1.0 / 40320), (real)(1.0 / 362880),
    (real)(1.0 / 3628800), (real)(1.0 / 39916800), (real)(1.0 / 479001600),
    (real)(1.0 / 6227020800.0), (real)(1.0 / 87178291200.0), (real)(1.0 / 1307674368000.0),
    (real)(1.0 / 20922789888000.0), (real)(1.0 / 355687428096000.0),
    (real)(1.0 / 6402373705728000.0), (real)(1.0 / 121645100408832000.0)};

/* x = k ln 2 + r with |r| <= ln 2 / 2; returns e^r - 1 = r + r^2/2! + ... */
INLINE real exp_reduced(real x, rbits *k) {
    real kf = x * (real)1.4426950408889634 + ROUND_MAGIC - ROUND_MAGIC;
    real r = x - kf * LN2_HI - kf * LN2_LO, p = inv_fact[EXP_TERMS];
    for (int i = EXP_TERMS - 1; i >= 1; i--) p = p * r + inv_fact[i];
    *k = (rbits)kf;
    return p * r;
}

/* e^x.  2^k goes in as two factors, because k may be one too large for a single one.  At the two
 * bounds the result is 0 and infinity already. */
INLINE real real_exp(real x) {
    real c = x > EXP_MIN ? x : EXP_MIN;
    c = c < EXP_MAX ? c : EXP_MAX;
    rbits k;
    real p = exp_reduced(c, &k), y = (1 + p) * power_of_two(k / 2) * power_of_two(k - k / 2);
    return x == x ? y : x;
}

/* tanh x = (e^2x - 1) / (e^2x + 1), with e^y - 1 = 2^k (e^r - 1) + (2^k - 1): no digits lost. */
INLINE real real_tanh(real x) {
    real y = x < 0 ? -2 * x : 2 * x;
    y = y < 40 ? y : 40;
    rbits k;
    real p = exp_reduced(y, &k), s = power_of_two(k), em1 = s * p + (s - 1);
    real t = em1 / (em1 + 2);
    return x < 0 ? -t : x == x ? t : x;
}

/* log x = e ln 2 + log m, m in [sqrt 1/2, sqrt 2); log m = 2 (s + s^3/3 + ...), s = (m-1)/(m+1). */
INLINE real real_log(real x) {
    real up = (real)((int64_t)1 << (MANTISSA + 2));
    int tiny = x < from_bits((rbits)1 << MANTISSA);
    rbits i = to_bits(!(x > 0) ? 1 : tiny ? x * up : x); /* of x <= 0 nothing is used */
    rbits e = (i - SQRT_HALF) >> MANTISSA;
    real m = from_bits((rbits)((uint64_t)i - ((uint64_t)e << MANTISSA)));
    real s = (m - 1) / (m + 1), z = s * s, p = 0, ef = (real)(e - (tiny ? MANTISSA + 2 : 0));
    for (int n = LOG_TERMS; n >= 1; n--) p = (p + 1 / (real)(2 * n + 1)) * z;
    real y = ef * LN2_HI + (2 * s + (2 * s * p + ef * LN2_LO));
    if (x > 0) return x < INFINITY ? y : x;
    return x == 0 ? -INFINITY : NAN;
}

/* erf |x| = 1 - t exp(-x^2 + g(t)), t = 2/(2+|x|); g in Chebyshev polynomials of 2t-1, the
 * coefficients computed for this file with 60 digits from g's definition. */
static const real erf_chebyshev[] = {
    (real)-1.3026537197817094342, (real)0.6419697923564902603, (real)0.019476473204185836312,
    (real)-0.0095615147868086316419, (real)-0.0009465953444820368663,
    (real)0.00036683949785276145187, (real)0.000042523324806907771645,
    (real)-0.000020278578112534243154, (real)-1.6242900046470255135e-6,
    (real)1.3036558355805232018e-6, (real)1.5626441722066143178e-8,
    (real)-8.5238095914926542525e-8, (real)6.5290544390988514964e-9,
    (real)5.0593434955514689418e-9, (real)-9.9136415649303308674e-10,
    (real)-2.2736512229318358557e-10, (real)9.646791102015526802e-11,
    (real)2.3940380830391147447e-12, (real)-6.8860275264975533984e-12,
    (real)8.9448792730907257167e-13, (real)3.1309213993429580783e-13,
    (real)-1.1270822361367252366e-13, (real)3.8109052551892320552e-16,
    (real)7.1060976136092369878e-15, (real)-1.5230282014571043043e-15,
    (real)-9.4574945712912340003e-17, (real)1.2102371892242789923e-16,
    (real)-2.8166630877471769715e-17};
INLINE real real_erf(real x) {
    real a = x < 0 ? -x : x, t = 2 / (2 + a), u = 4 * t - 2, d = 0, dd = 0;
    for (int j = ERF_TERMS - 1; j > 0; j--) { /* Clenshaw's recurrence */
        real s = d;
        d = u * d - dd + erf_chebyshev[j];
        dd = s;
    }
    real g = (u * d + erf_chebyshev[0]) * (real)0.5 - dd, y = 1 - t * real_exp(g - a * a);
    return x < 0 ? -y : y;
}

/* x = k pi/2 + r: sin x is sin r, cos r, -sin r, -cos r for k = 0, 1, 2, 3 modulo 4. */
static real sin_quadrant(real x, int quarter) {
    if (!(x >= -10000 && x <= 10000)) return NAN;
    real kf = x * (real)0.6366197723675814 + ROUND_MAGIC - ROUND_MAGIC;
    real r = x - kf * PIO2_A - kf * PIO2_B - kf * PIO2_C, z = r * r, s = 0, c = 0;
    for (int i = SIN_TERMS; i >= 0; i--) s = inv_fact[2 * i + 1] - s * z;
    for (int i = SIN_TERMS; i >= 0; i--) c = inv_fact[2 * i] - c * z;
    int q = (int)(((int64_t)kf + quarter) & 3);
    real y = q & 1 ? c : s * r;
    return q & 2 ? -y : y;
}

real exact_exp(real x) { return real_exp(x); }
real exact_log(real x) { return real_log(x); }
real exact_tanh(real x) { return real_tanh(x); }
real exact_erf(real x) { return real_erf(x); }
real exact_sin(real x) { return sin_quadrant(x, 0); }
real exact_cos(real x) { return sin_quadrant(x, 1); }

/* Square roots are correctly rounded everywhere, whatever else libm does. */
INLINE real real_sqrt(real x) {
    return sizeof x == sizeof(float) ? (real)sqrtf((float)x) : (real)sqrt(x);
}

/* x^n for n >= 0, by squaring: Adam's bias correction. */
static real real_power(real x, int n) {
    real y = 1;
    for (; n > 0; n >>= 1, x *= x)
        if (n & 1) y *= x;
    return y;
}

/* Sums of a row: lane l adds the terms i = l, l+LANES, ... in order, then the lanes in a tree. */
static real lanes_sum(real *s) {
    for (int w = LANES / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) s[l] += s[l + w];
    return s[0];
}

/* sum_i x[i] y[i] */
static real row_dot(const real *x, const real *y, int n) {
    real s[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) s[l] += x[i + l] * y[i + l];
    for (int l = 0; i + l < n; l++) s[l] += x[i + l] * y[i + l];
    return lanes_sum(s);
}

/* sum_i x[i] y[i] z[i], in the same order. */
static real row_dot3(const real *x, const real *y, const real *z, int n) {
    real s[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) s[l] += x[i + l] * y[i + l] * z[i + l];
    for (int l = 0; i + l < n; l++) s[l] += x[i + l] * y[i + l] * z[i + l];
    return lanes_sum(s);
}

static real row_sum(const real *x, int n) {
    real s[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) s[l] += x[i + l];
    for (int l = 0; i + l < n; l++) s[l] += x[i + l];
    return lanes_sum(s);
}

static real row_max(const real *x, int n) {
    real m[LANES];
    int i = 0;
    for (int l = 0; l < LANES; l++) m[l] = x[0];
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) m[l] = x[i + l] > m[l] ? x[i + l] : m[l];
    for (int l = 0; i + l < n; l++) m[l] = x[i + l] > m[l] ? x[i + l] : m[l];
    for (int w = LANES / 2; w > 0; w /= 2)
        for (int l = 0; l < w; l++) m[l] = m[l + w] > m[l] ? m[l + w] : m[l];
    return m[0];
}

/* e^x of a softmax, where the largest x is 0: what is too small for the sum to notice is exactly 0.
 * Products with it would be denormal numbers, which take a processor ten times as long.  Of
 * real_exp only what such an x needs. */
INLINE real weight_exp(real x) {
    rbits k;
    real p = exp_reduced(x > WEIGHT_MIN ? x : WEIGHT_MIN, &k), y = (1 + p) * power_of_two(k);
    return x >= WEIGHT_MIN ? y : x == x ? 0 : x;
}

/* y = softmax(x); y may be x. */
static void row_softmax(real *y, const real *x, int n) {
    real m = row_max(x, n);
    for (int i = 0; i < n; i++) y[i] = weight_exp(x[i] - m);
    real scale = 1 / row_sum(y, n);
    for (int i = 0; i < n; i++) y[i] *= scale;
}

/* ==== random numbers ========================================================================= */
real rng_uniform(uint64_t *state) { /* 24 bits: exact in float and double alike */
    return (real)(int32_t)(rng_next(state) >> 40) * (real)0x1p-24;
}

real rng_normal(uint64_t *state) { /* Box and Muller; 1 - u is never 0 */
    real radius = real_sqrt(-2 * real_log(1 - rng_uniform(state)));
    return radius * exact_cos((real)6.283185307179586 * rng_uniform(state));
}

int rng_below(uint64_t *state, int n) { return (int)((rng_next(state) >> 32) * (uint64_t)n >> 32); }

/* ==== threads ================================================================================ */
#define MAX_THREADS 64
#define ALIGN 64          /* bytes: a line of the cache */
#define INLINE_COST 20000 /* a job below so many operations is not worth waking anyone for */
#define PIECES 3          /* of a job for each thread: who is held up leaves some to the others */
#define CHUNK 1024        /* numbers per item of an element-wise job */
typedef void (*Job)(void *ctx, int lo, int hi, int thread);

#ifdef MAC_THREADS
/* Every item of a job is done exactly once, by one thread, and pool_split returns when all of them
 * are done and no thread is in the job any more.  Which thread does an item does not matter: no two
 * items write the same number, and no item reads what another writes.
 *
 * Threads take items by atomic_fetch_add on part[].next, so none is taken twice.  A thread begins
 * with a part of its own and takes `grain` items of it at a time.  When it has none left it helps
 * the others.  Parts go by position: two jobs of as many items give a thread the same ones, whose
 * numbers its cache still holds.  A job is announced by counting `round` up.  A thread that is late
 * must not touch a job that is over, so it first counts `active` up and then looks whether the job
 * is `open`, while the caller first closes the job and then waits until `active` is 0: one of the
 * two sees the other.  The caller does not wait for threads that are still asleep, as their parts
 * have been done by others.  In a training step jobs follow each other closely, so a thread that
 * waits spins for a while before it sleeps. */
#define SPINS 200000
static struct {
    pthread_t id[MAX_THREADS];
    int threads;
    Job job;
    void *ctx;
    int n, grain;
    struct { _Alignas(ALIGN) atomic_int next; } part[MAX_THREADS];
    atomic_int active, open, asleep, stop;
    atomic_uint round;
    pthread_mutex_t lock;
    pthread_cond_t wake;
} pool = {.threads = 1, .lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static int pool_part(int t) { return (int)((int64_t)pool.n * t / pool.threads); }

static void pool_share(int t) {
    for (int k = 0; k < pool.threads; k++) {
        int of = (t + k) % pool.threads, end = pool_part(of + 1), lo;
        while ((lo = atomic_fetch_add(&pool.part[of].next, pool.grain)) < end)
            pool.job(pool.ctx, lo, end - lo < pool.grain ? end : lo + pool.grain, t);
    }
}

static void *pool_worker(void *arg) {
    int t = (int)(intptr_t)arg;
    unsigned seen = 0;
    for (;;) {
        for (int spin = 0; atomic_load(&pool.round) == seen && spin < SPINS; spin++) {}
        if (atomic_load(&pool.round) == seen) {
            pthread_mutex_lock(&pool.lock);
            atomic_fetch_add(&pool.asleep, 1);
            while (atomic_load(&pool.round) == seen) pthread_cond_wait(&pool.wake, &pool.lock);
            atomic_fetch_sub(&pool.asleep, 1);
            pthread_mutex_unlock(&pool.lock);
        }
        seen = atomic_load(&pool.round);
        if (atomic_load(&pool.stop)) return NULL;
        atomic_fetch_add(&pool.active, 1);
        if (atomic_load(&pool.open)) pool_share(t);
        atomic_fetch_sub(&pool.active, 1);
    }
}

static void pool_announce(void) {
    atomic_fetch_add(&pool.round, 1);
    if (atomic_load(&pool.asleep) == 0) return;
    pthread_mutex_lock(&pool.lock);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
}

int pool_start(int n_threads) {
    pool_stop();
    int n = n_threads < MAX_THREADS ? n_threads : MAX_THREADS;
    atomic_store(&pool.round, 0);
    atomic_store(&pool.stop, 0);
    for (pool.threads = 1; pool.threads < n; pool.threads++) {
        void *arg = (void *)(intptr_t)pool.threads;
        if (pthread_create(&pool.id[pool.threads], NULL, pool_worker, arg) != 0) break;
    }
    return pool.threads;
}

void pool_stop(void) {
    atomic_store(&pool.stop, 1);
    pool_announce();
    for (int t = 1; t < pool.threads; t++) pthread_join(pool.id[t], NULL);
    pool.threads = 1;
}

static int pool_size(void) { return pool.threads; }

/* job(ctx, lo, hi, thread) over 0..n-1, in `pieces` contiguous pieces for each thread; `cost` is
 * the work of one item. */
static void pool_split(int n, int pieces, double cost, Job job, void *ctx) {
    if (pool.threads == 1 || n < 2 || n * cost < INLINE_COST) {
        if (n > 0) job(ctx, 0, n, 0);
        return;
    }
    pool.job = job, pool.ctx = ctx, pool.n = n;
    pool.grain = (n - 1) / (pieces * pool.threads) + 1;
    for (int t = 0; t < pool.threads; t++) atomic_store(&pool.part[t].next, pool_part(t));
    atomic_store(&pool.open, 1);
    pool_announce();
    pool_share(0);
    atomic_store(&pool.open, 0);
    while (atomic_load(&pool.active) > 0) {}
}
#else
int pool_start(int n_threads) { (void)n_threads; return 1; }
void pool_stop(void) {}
static int pool_size(void) { return 1; }
static void pool_split(int n, int pieces, double cost, Job job, void *ctx) {
    (void)pieces, (void)cost;
    if (n > 0) job(ctx, 0, n, 0);
}
#endif
static void pool_run(int n, double cost, Job job, void *ctx) {
    pool_split(n, PIECES, cost, job, ctx);
}

static int chunks(size_t n) { return (int)((n + CHUNK - 1) / CHUNK); }

typedef struct { real *x; size_t n; } Zeros;
static void zero_job(void *ctx, int lo, int hi, int thread) {
    const Zeros *s = ctx;
    size_t from = (size_t)lo * CHUNK, to = (size_t)hi * CHUNK < s->n ? (size_t)hi * CHUNK : s->n;
    (void)thread;
    memset(s->x + from, 0, (to - from) * sizeof(real));
}

/* ==== arena and tape ========================================================================= */
/* Whatever a step makes lives as long as the step and goes with it, in tape_reset or tape_release:
 * no op frees anything, and nothing moves.  The arena is a chain of blocks, the newest first, of
 * which only `current` is being filled; where its `used` stands, the next allocation begins.  So to
 * allocate is to add to a number, to forget a step is to set it back, and after a few steps one
 * block holds a whole step and the system is not asked any more.
 *
 * The tape is the list of ops in the order in which they ran.  An op runs after the ops that made
 * its inputs, so this is a topological order: going through it from the last op to the first, the
 * gradient of an op's output is complete when its turn comes.  Backward functions add to gradients
 * and never set them, because a tensor may be the input of several ops.  A tensor has a gradient
 * only if a parameter that is not frozen has a part in it, and an op without such an input is not
 * recorded: what is frozen costs nothing on the way back.
 *
 * With MAC_DEBUG_ARENA every allocation is a block of its own, freed at reset, so that a sanitizer
 * sees every overrun and every stale pointer. */
#ifdef MAC_DEBUG_ARENA
#define BLOCK_BYTES 0
#else
#define BLOCK_BYTES ((size_t)1 << 20)
#endif

typedef struct Block {
    struct Block *next;
    size_t size, used;      /* bytes from `start` on */
    char *start;            /* aligned to ALIGN */
} Block;

struct Tape {
    Block *blocks, *current; /* all of them; the one being filled */
    size_t limit, held, peak;
    void *spare;             /* tape_spare's, of spare_size bytes */
    size_t spare_size;
    Node *node;
    int n_nodes, cap_nodes;
    int record, done;        /* done: the backward pass has been run */
    char error[MAC_ERR];
};

Tensor *tape_fail(Tape *tp, const char *format, ...) {
    if (!tp->error[0]) { /* the first failure is the cause, the rest follow from it */
        va_list args;
        va_start(args, format);
        vsnprintf(tp->error, sizeof tp->error, format, args);
        va_end(args);
    }
    return NULL;
}

static Block *block_new(Tape *tp, size_t size) {
    if (size > SIZE_MAX - sizeof(Block) - ALIGN) return NULL;
    Block *b = malloc(sizeof *b + size + ALIGN);
    if (!b) return NULL;
    uintptr_t raw = (uintptr_t)(b + 1);
    b->start = (char *)(b + 1) + (ALIGN - raw % ALIGN) % ALIGN;
    b->size = size;
    b->used = 0;
    b->next = tp->blocks;
    return tp->blocks = b;
}

/* May the step hold so many bytes more?  The most that it ever held is kept for tape_peak. */
static int tape_room(Tape *tp, size_t bytes) {
    if (tp->limit && (bytes > tp->limit || tp->held > tp->limit - bytes)) {
        tape_fail(tp, "out of memory: this step needs more than its limit of %zu bytes", tp->limit);
        return 0;
    }
    if (tp->held + bytes > tp->peak) tp->peak = tp->held + bytes;
    return 1;
}

/* Memory that lives until tape_reset (or a tape_release); its contents are whatever stood there. */
static void *arena_raw(Tape *tp, size_t bytes) {
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (!tape_room(tp, bytes)) return NULL;
    if (!tp->current || tp->current->size - tp->current->used < bytes) {
        Block *b = tp->current ? NULL : tp->blocks;
        if (!b || b->size < bytes) b = block_new(tp, bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES);
        if (!b) return tape_fail(tp, "out of memory: no %zu bytes more", bytes);
        tp->current = b;
    }
    void *p = tp->current->start + tp->current->used;
    tp->current->used += bytes;
    tp->held += bytes;
    return p;
}

void *tape_alloc(Tape *tp, size_t bytes) {
    void *p = arena_raw(tp, bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

/* Large memory for one op at a time, kept from step to step.  The system hands new memory out when
 * it is first touched, one page after another; that took a third of the time of a question to a
 * million documents. */
static void *tape_spare(Tape *tp, size_t bytes) {
    if (!tape_room(tp, bytes)) return NULL;
    if (bytes > tp->spare_size) {
        free(tp->spare);
        tp->spare = malloc(bytes);
        tp->spare_size = tp->spare ? bytes : 0;
    }
    return tp->spare ? tp->spare : tape_fail(tp, "out of memory: no %zu bytes more", bytes);
}

Tape *tape_new(size_t limit) {
    Tape *tp = calloc(1, sizeof *tp);
    if (!tp) return NULL;
    tp->limit = limit;
    tp->record = 1;
    return tp;
}

static void blocks_free(Tape *tp) {
    for (Block *b = tp->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    tp->blocks = NULL;
}

void tape_free(Tape *tp) {
    if (!tp) return;
    blocks_free(tp);
    free(tp->spare);
    free(tp->node);
    free(tp);
}

/* A step that needed several blocks leaves one that holds them all, and some more, to the next:
 * soon no step asks the system for memory. */
void tape_reset(Tape *tp) {
    size_t size = 0;
    for (Block *b = tp->blocks; b; b = b->next) size += b->size;
    if (BLOCK_BYTES == 0 || (tp->blocks && tp->blocks->next)) blocks_free(tp);
    tp->current = NULL;
    tp->held = 0;
    tp->n_nodes = tp->done = 0;
    tp->error[0] = 0;
    if (tp->blocks) tp->blocks->used = 0;
    else if (BLOCK_BYTES > 0 && size > 0) block_new(tp, size + size / 4);
}

TapeMark tape_mark(const Tape *tp) {
    return (TapeMark){tp->current, tp->current ? tp->current->used : 0, tp->held, tp->n_nodes};
}

void tape_release(Tape *tp, TapeMark m) {
    while (tp->blocks != m.block) {
        Block *newest = tp->blocks;
        tp->blocks = newest->next;
        free(newest);
    }
    tp->current = m.block;
    if (tp->current) tp->current->used = m.used;
    tp->held = m.held;
    tp->n_nodes = m.n_nodes;
}

int tape_record(Tape *tp, int on) {
    int was = tp->record;
    tp->record = on;
    return was;
}

const char *tape_error(const Tape *tp) { return tp->error; }
size_t tape_peak(const Tape *tp) { return tp->peak; }

/* A [rows, cols] tensor without gradient, not zeroed. */
static Tensor *tensor_raw(Tape *tp, int rows, int cols) {
    if (rows < 0 || cols < 0) return tape_fail(tp, "a tensor of [%d,%d] was asked for", rows, cols);
    Tensor *t = arena_raw(tp, sizeof *t);
    real *data = t ? arena_raw(tp, (size_t)rows * (size_t)cols * sizeof(real)) : NULL;
    if (!data) return NULL;
    *t = (Tensor){2, {rows, cols, 1}, data, NULL};
    return t;
}

Tensor *tape_tensor(Tape *tp, int rows, int cols) {
    Tensor *t = tensor_raw(tp, rows, cols);
    if (t) memset(t->data, 0, (size_t)rows * (size_t)cols * sizeof(real));
    return t;
}

size_t tensor_size(const Tensor *t) {
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= (size_t)t->shape[i];
    return n;
}

/* The last dimension, and the product of the others: how ops see a tensor. */
static int cols_of(const Tensor *t) { return t->shape[t->ndim - 1]; }
static int rows_of(const Tensor *t) {
    return t->ndim == 1 ? 1 : (int)(tensor_size(t) / (size_t)(cols_of(t) ? cols_of(t) : 1));
}

/* Records the op that made `out`, unless none of its inputs has a gradient.  Inputs may be NULL.
 * Returns out. */
static Tensor *tape_node(Tape *tp, const char *op, Tensor *out, void (*backward)(Node *),
                         void *saved, Tensor *a, Tensor *b, Tensor *c, Tensor *d) {
    Tensor *in[MAC_MAX_IN] = {a, b, c, d};
    int needed = 0;
    for (int i = 0; i < MAC_MAX_IN; i++) needed |= in[i] && in[i]->grad;
    if (!out || !tp->record || !needed) return out;
    if (tp->n_nodes == tp->cap_nodes) {
        int cap = tp->cap_nodes ? 2 * tp->cap_nodes : 256;
        Node *grown = realloc(tp->node, (size_t)cap * sizeof *grown);
        if (!grown) return tape_fail(tp, "out of memory: no room for op %d", tp->n_nodes);
        tp->node = grown;
        tp->cap_nodes = cap;
    }
    size_t n = tensor_size(out);
    Zeros zeros = {out->grad = arena_raw(tp, n * sizeof(real)), n};
    if (!out->grad) return NULL;
    pool_run(chunks(n), CHUNK, zero_job, &zeros);
    Node *nd = &tp->node[tp->n_nodes++];
    *nd = (Node){op, out, {a, b, c, d}, saved, backward};
    return out;
}

/* No sort, no recursion: a loop from the last op to the first. */
int tape_backward(Tape *tp, Tensor *loss) {
    if (!loss) {
        tape_fail(tp, "backward: there is no loss, and no reason was given");
        return -1;
    }
    if (tp->error[0]) return -1;
    if (tensor_size(loss) != 1) tape_fail(tp, "backward: the loss is a [%d,%d] tensor, not one "
                                              "number", loss->shape[0], loss->shape[1]);
    else if (!loss->grad) tape_fail(tp, "backward: nothing in the loss has a gradient");
    else if (tp->done) tape_fail(tp, "backward: called twice; a step's gradients are made once");
    if (tp->error[0]) return -1;
    tp->done = 1;
    loss->grad[0] = 1;
    for (int i = tp->n_nodes - 1; i >= 0; i--) tp->node[i].backward(&tp->node[i]);
    return 0;
}

/* ==== parameters ============================================================================= */
static real *reals_new(size_t n) { return calloc(n ? n : 1, sizeof(real)); }

/* Numbers of p->v: Adam's second moments, and after those of matrices [R,C] two squares of their
 * shorter side, which Muon needs. */
static size_t second_size(const Tensor *t) {
    if (t->ndim < 2) return tensor_size(t);
    int R = t->shape[t->ndim - 2], C = t->shape[t->ndim - 1];
    size_t r = (size_t)(R < C ? R : C);
    return tensor_size(t) + 2 * r * r;
}

Tensor *param_new(Params *ps, const char *name, int ndim, ...) {
    Param *p = calloc(1, sizeof *p);
    Param **grown = realloc(ps->p, (size_t)(ps->n + 1) * sizeof *grown);
    if (grown) ps->p = grown;
    if (!p || !grown) { free(p); return NULL; }
    snprintf(p->name, sizeof p->name, "%s", name);
    p->t.ndim = ndim;
    va_list args;
    va_start(args, ndim);
    for (int i = 0; i < MAC_MAX_DIMS; i++) p->t.shape[i] = i < ndim ? va_arg(args, int) : 1;
    va_end(args);
    size_t n = tensor_size(&p->t);
    p->t.data = reals_new(n), p->t.grad = reals_new(n);
    p->m = reals_new(n), p->v = reals_new(second_size(&p->t));
    if (!p->t.data || !p->t.grad || !p->m || !p->v) {
        free(p->t.data), free(p->t.grad), free(p->m), free(p->v), free(p);
        return NULL;
    }
    ps->p[ps->n++] = p;
    return &p->t;
}

Tensor *param_find(Params *ps, const char *name) {
    for (int i = 0; i < ps->n; i++)
        if (!strcmp(ps->p[i]->name, name)) return &ps->p[i]->t;
    return NULL;
}

static int starts_with(const char *s, const char *prefix) {
    return !strncmp(s, prefix, strlen(prefix));
}

int param_freeze(Params *ps, const char *prefix, int freeze) {
    int bad = 0;
    for (int i = 0; i < ps->n; i++) {
        Param *p = ps->p[i];
        size_t n = tensor_size(&p->t);
        if (!starts_with(p->name, prefix) || (freeze != 0) == (p->t.grad == NULL)) continue;
        free(p->t.grad), free(p->m), free(p->v);
        p->t.grad = freeze ? NULL : reals_new(n);
        p->m = freeze ? NULL : reals_new(n);
        p->v = freeze ? NULL : reals_new(second_size(&p->t));
        if (!freeze && !(p->t.grad && p->m && p->v)) bad = -1;
    }
    return bad;
}

size_t param_count(const Params *ps, const char *prefix) {
    size_t n = 0;
    for (int i = 0; i < ps->n; i++)
        if (starts_with(ps->p[i]->name, prefix)) n += tensor_size(&ps->p[i]->t);
    return n;
}

void params_free(Params *ps) {
    for (int i = 0; i < ps->n; i++) {
        Param *p = ps->p[i];
        free(p->t.data), free(p->t.grad), free(p->m), free(p->v), free(p);
    }
    free(ps->p);
    *ps = (Params){NULL, 0};
}

/* ==== matmul ================================================================================= */
/* Each element of C = start + A B begins at its start and adds its K products one at a time, in
 * order of k, however the work is cut: into tiles, panels, blocks, threads.  Where K is cut, the
 * sum so far waits in C, which rounds nothing.  So bits depend on the numbers alone, and the lanes
 * of a vector are different elements of C, never parts of one sum.
 *
 * It is fast because numbers are loaded seldom.  A tile of C, TILE_ROWS x TILE_COLS sums, stays in
 * registers while k runs, so that each number of A serves TILE_COLS products and each number of B
 * TILE_ROWS.  The PANEL_K rows of TILE_COLS columns of B that a tile needs are packed, so that it
 * reads them in a line, and stay in the nearest cache while all rows of A pass.  A thread owns
 * whole rows of C, or whole columns where there are few rows. */
/* A matrix to be read: element (i, j) is p[i*rs + j*cs]; a transpose exchanges the strides. */
typedef struct { const real *p; size_t rs, cs; } Mat;
static Mat mat(const real *p, int cols) { return (Mat){p, (size_t)cols, 1}; }
static Mat mat_t(const real *p, int cols) { return (Mat){p, 1, (size_t)cols}; }
static Mat mat_row(Mat a, int i) { return (Mat){a.p + (size_t)i * a.rs, a.rs, a.cs}; }
static Mat mat_col(Mat a, int j) { return (Mat){a.p + (size_t)j * a.cs, a.rs, a.cs}; }

#define TILE_COLS (2 * VL)            /* a tile of C: TILE_ROWS x TILE_COLS sums in registers */
#define PANEL_K 384                   /* rows of B in a packed panel, about an L1 cache of them */
#define BLOCK_ROWS 256                /* rows of A to a panel: most L2 caches hold as many */
#define LARGE_B 100000                /* numbers of a B that does not stay in the L2 cache */

/* C[rows, vecs*VL] = F + A[rows, K] B[K, vecs*VL], with rows of F ldf apart and of B ldb; F may be
 * C.  `rows` and `vecs` are constants where this is inlined.  The loop over k must not be unrolled
 * into several sums. */
#ifdef VBYTES
INLINE void tile(int rows, int vecs, int K, Mat A, const real *b, size_t ldb, const real *f,
                 size_t ldf, real *c, size_t ldc) {
    vec acc[TILE_ROWS][2];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vecs; v++) acc[i][v] = *(const vec *)(f + (size_t)i * ldf + v * VL);
    for (int k = 0; k < K; k++, b += ldb) {
        vec b0 = *(const vec *)b, b1 = vecs > 1 ? *(const vec *)(b + VL) : b0;
        const real *a = A.p + (size_t)k * A.cs;
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            real x = a[(size_t)i * A.rs];
            acc[i][0] += x * b0;
            if (vecs > 1) acc[i][1] += x * b1;
        }
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < vecs; v++) *(vec *)(c + (size_t)i * ldc + v * VL) = acc[i][v];
}
#else
INLINE void tile(int rows, int vecs, int K, Mat A, const real *b, size_t ldb, const real *f,
                 size_t ldf, real *c, size_t ldc) {
    for (int i = 0; i < rows; i++, c += ldc) {
        memmove(c, f + (size_t)i * ldf, (size_t)(vecs * VL) * sizeof *c);
        for (int k = 0; k < K; k++) {
            real x = A.p[(size_t)i * A.rs + (size_t)k * A.cs];
            for (int j = 0; j < vecs * VL; j++) c[j] += x * b[(size_t)k * ldb + (size_t)j];
        }
    }
}
#endif

/* All rows of one column of tiles. */
INLINE void column(int vecs, int M, int K, Mat A, const real *b, size_t ldb, const real *f,
                   size_t ldf, real *c, size_t ldc) {
    int i = 0;
    for (; i + TILE_ROWS <= M; i += TILE_ROWS) {
        tile(TILE_ROWS, vecs, K, A, b, ldb, f, ldf, c, ldc);
        A.p += TILE_ROWS * A.rs, f += TILE_ROWS * ldf, c += TILE_ROWS * ldc;
    }
    for (; M - i >= 4; i += 4, A.p += 4 * A.rs, f += 4 * ldf, c += 4 * ldc)
        tile(4, vecs, K, A, b, ldb, f, ldf, c, ldc);
    if (M - i == 3) tile(3, vecs, K, A, b, ldb, f, ldf, c, ldc);
    if (M - i == 2) tile(2, vecs, K, A, b, ldb, f, ldf, c, ldc);
    if (M - i == 1) tile(1, vecs, K, A, b, ldb, f, ldf, c, ldc);
}

static void tile_column(int vecs, int M, int K, Mat A, const real *b, size_t ldb, const real *f,
                        size_t ldf, real *c, size_t ldc) {
    if (vecs == 1) column(1, M, K, A, b, ldb, f, ldf, c, ldc);
    else column(2, M, K, A, b, ldb, f, ldf, c, ldc);
}

/* The right edge of C, jn columns, goes through full vectors in a buffer. */
static void edge_column(int jn, int vecs, int M, int K, Mat A, const real *panel, const real *f,
                        size_t ldf, real *c, size_t ldc) {
    _Alignas(ALIGN) real edge[4 * TILE_ROWS * TILE_COLS];
    for (int i = 0; i < M; i += 4 * TILE_ROWS, A.p += 4 * TILE_ROWS * A.rs) {
        int in = M - i < 4 * TILE_ROWS ? M - i : 4 * TILE_ROWS;
        size_t w = (size_t)(vecs * VL), n = (size_t)jn;
        for (size_t r = 0; r < (size_t)in; r++, f += ldf)
            for (size_t l = 0; l < w; l++) edge[r * w + l] = l < n ? f[l] : 0;
        tile_column(vecs, in, K, A, panel, w, edge, w, edge, w);
        for (size_t r = 0; r < (size_t)in; r++, c += ldc)
            for (size_t l = 0; l < n; l++) c[l] = edge[r * w + l];
    }
}

/* Transposes VL vectors of VL numbers.  Write down where a number stands as the bits of its row and
 * then those of its column.  A round weaves the first half of the rows with the second half, number
 * by number, and that rotates these bits by one place to the left.  After log2 VL rounds row and
 * column have changed places. */
#ifdef VBYTES
INLINE void transpose(vec *x) {
    for (int round = 1; round < VL; round *= 2) {
        vec y[VL];
        for (int i = 0; i < VL / 2; i++) {
            y[2 * i] = WEAVE(x[i], x[i + VL / 2], LOW);
            y[2 * i + 1] = WEAVE(x[i], x[i + VL / 2], HIGH);
        }
        for (int i = 0; i < VL; i++) x[i] = y[i];
    }
}
#endif

/* Up to VL columns of B, each contiguous, as rows of `width` numbers; columns that B does not have
 * are 0. */
static void pack_turned(real *panel, int width, int jn, int K, Mat B) {
    int p = 0;
#ifdef VBYTES
    for (; p + VL <= K; p += VL) {
        vec x[VL];
        for (int l = 0; l < VL; l++) x[l] = l < jn ? *(const vec *)(mat_col(B, l).p + p) : (vec){0};
        transpose(x);
        for (int i = 0; i < VL; i++) *(vec *)(panel + (p + i) * width) = x[i];
    }
#endif
    for (; p < K; p++)
        for (int l = 0; l < VL; l++) panel[p * width + l] = l < jn ? mat_col(B, l).p[p] : 0;
}

/* jn columns of B as rows of `width` numbers, so that a tile reads them one after the other. */
static void pack_columns(real *panel, int width, int jn, int K, Mat B) {
    for (int l = 0; l < width && B.rs == 1; l += VL)
        pack_turned(panel + l, width, jn - l, K, mat_col(B, l));
    for (int p = 0; p < K && B.rs != 1; p++) {
        const real *b = mat_row(B, p).p;
        real *to = panel + p * width;
        if (jn == TILE_COLS) memcpy(to, b, TILE_COLS * sizeof *to);
        else for (int l = 0; l < width; l++) to[l] = l < jn ? b[l] : 0;
    }
}

/* C[M,N] = start + A[M,K] B[K,N] by one thread, rows of C ldc apart.  `room` says that rows of C
 * have room for whole vectors, so that numbers after the N columns may be overwritten.  B is packed
 * where it is used often enough to pay for it; A's rows, next to each other or not, are read as
 * fast where they lie. */
typedef enum { ADD, ZERO } From; /* it starts from C as it stands, or from 0 */
static const real no_numbers[TILE_COLS];

static void gemm_from(int M, int N, int K, Mat A, Mat B, const real *from, size_t ldf, real *C,
                      size_t ldc, int room) {
    _Alignas(ALIGN) real panel[PANEL_K * TILE_COLS];
    int k = 0;
    do { /* once where K is 0, too */
        int kn = K - k < PANEL_K ? K - k : PANEL_K;
        for (int i = 0; i < M; i += BLOCK_ROWS) {
            int in = M - i < BLOCK_ROWS ? M - i : BLOCK_ROWS;
            Mat a = mat_row(mat_col(A, k), i);
            for (int j = 0; j < N; j += TILE_COLS) {
                Mat b = mat_col(mat_row(B, k), j);
                real *c = C + (size_t)i * ldc + j;
                const real *f = !from ? no_numbers : from + (size_t)i * ldf + j;
                int jn = N - j < TILE_COLS ? N - j : TILE_COLS, vecs = jn > VL ? 2 : 1;
                int whole = jn % VL == 0, in_place = whole && B.cs == 1 && in <= 4 * TILE_ROWS;
                size_t ldb = in_place ? B.rs : (size_t)(vecs * VL);
                if (!in_place) pack_columns(panel, vecs * VL, jn, kn, b), b.p = panel;
                if (whole || room) tile_column(vecs, in, kn, a, b.p, ldb, f, ldf, c, ldc);
                else edge_column(jn, vecs, in, kn, a, b.p, f, ldf, c, ldc);
            }
        }
        from = C, ldf = ldc;
    } while ((k += PANEL_K) < K);
}

static void gemm(int M, int N, int K, Mat A, Mat B, real *C, size_t ldc, From start, int room) {
    gemm_from(M, N, K, A, B, start == ADD ? C : NULL, start == ADD ? ldc : 0, C, ldc, room);
}

/* G products C_g[M,N] += A_g[M,K] B_g[K,N] by all threads, each C_g contiguous and right after the
 * one before; sa, sb: from the start of A_g to that of A_g+1, from B_g to B_g+1.  With `bias` [G,N]
 * all rows of C_g start from row g of it instead. */
typedef struct {
    int G, M, N, K, by_cols;
    Mat A, B;
    size_t sa, sb;
    const real *bias;
    From start;
    real *C;
} Product;

static void product_part(const Product *p, int g, int i0, int i1, int j0, int j1) {
    Mat A = {p->A.p + (size_t)g * p->sa, p->A.rs, p->A.cs};
    Mat B = {p->B.p + (size_t)g * p->sb, p->B.rs, p->B.cs};
    size_t N = (size_t)p->N;
    real *C = p->C + ((size_t)g * (size_t)p->M + (size_t)i0) * N + j0;
    const real *from = p->bias ? p->bias + (size_t)g * N + j0 : p->start == ADD ? C : NULL;
    gemm_from(i1 - i0, j1 - j0, p->K, mat_row(A, i0), mat_col(B, j0), from,
              from == C ? N : 0, C, N, 0);
}

static void product_job(void *ctx, int lo, int hi, int thread) {
    const Product *p = ctx;
    (void)thread;
    for (int g = 0; g < p->G; g++) {
        int i0 = lo * TILE_ROWS - g * p->M, i1 = hi * TILE_ROWS - g * p->M;
        int j0 = lo * TILE_COLS, j1 = hi * TILE_COLS < p->N ? hi * TILE_COLS : p->N;
        if (i0 < 0) i0 = 0;
        if (i1 > p->M) i1 = p->M;
        if (p->by_cols) product_part(p, g, 0, p->M, j0, j1);
        else if (i0 < i1) product_part(p, g, i0, i1, 0, p->N);
    }
}

static void product(int G, int M, int N, int K, Mat A, size_t sa, Mat B, size_t sb, real *C,
                    From start, const real *bias) {
    int by_cols = G * M < 4 * TILE_ROWS * pool_size() && N > M;
    Product p = {G, M, N, K, by_cols, A, B, sa, sb, bias, start, C};
    int panels = (N + TILE_COLS - 1) / TILE_COLS;
    /* Each piece packs B anew, which is dear where B does not stay in the cache.  A product does 16
     * multiply-adds in the time of one number of an element-wise job, by which cost is counted. */
    int tiles = (G * M + TILE_ROWS - 1) / TILE_ROWS, pieces = N * (double)K > LARGE_B ? 1 : PIECES;
    if (p.by_cols) pool_run(panels, G * M / 16.0 * K * TILE_COLS, product_job, &p);
    else pool_split(tiles, pieces, N / 16.0 * K * TILE_ROWS, product_job, &p);
}

/* ==== ops: each its equation and shapes, backward, forward =================================== */
/* y[G*R,O] = x[G*R,I] W_g + b_g, W_g [I,O], or the transpose of [O,I].  Order: b, then the products
 * in order of i.  dx = dy W^T, dW = x^T dy, db = sum over rows of dy, from top to bottom. */
typedef struct { int G, R, I, O, in_out; const real *dy; real *db; } Linear;

/* Jobs over columns take LANES of them as one item. */
static int lanes_of(int n) { return (n + LANES - 1) / LANES; }
static int lanes_end(int hi, int n) { return hi * LANES < n ? hi * LANES : n; }

static void linear_bias_job(void *ctx, int lo, int hi, int thread) { /* items: columns of O */
    const Linear *s = ctx;
    int end = lanes_end(hi, s->O);
    (void)thread;
    for (int g = 0; g < s->G; g++)
        for (int r = 0; r < s->R; r++) {
            const real *dy = s->dy + ((size_t)g * (size_t)s->R + (size_t)r) * (size_t)s->O;
            real *db = s->db + (size_t)g * (size_t)s->O;
            for (int o = lo * LANES; o < end; o++) db[o] += dy[o];
        }
}

static void linear_backward(Node *nd) {
    Linear s = *(Linear *)nd->saved;
    Tensor *x = nd->in[0], *W = nd->in[1], *b = nd->in[2];
    size_t sx = (size_t)s.R * (size_t)s.I, sy = (size_t)s.R * (size_t)s.O;
    size_t sw = (size_t)s.I * (size_t)s.O;
    const real *dy = nd->out->grad;
    if (x->grad)
        product(s.G, s.R, s.I, s.O, mat(dy, s.O), sy,
                s.in_out ? mat_t(W->data, s.O) : mat(W->data, s.I), sw, x->grad,
                ADD, NULL);
    if (W->grad && s.in_out)
        product(s.G, s.I, s.O, s.R, mat_t(x->data, s.I), sx, mat(dy, s.O), sy, W->grad, ADD,
                NULL);
    else if (W->grad)
        product(s.G, s.O, s.I, s.R, mat_t(dy, s.O), sy, mat(x->data, s.I), sx, W->grad, ADD,
                NULL);
    if (b && b->grad) {
        s.dy = dy, s.db = b->grad;
        pool_run(lanes_of(s.O), (double)s.G * s.R * LANES, linear_bias_job, &s);
    }
}

Tensor *op_linear(Tape *tp, Tensor *x, Tensor *W, Tensor *b, int in_out) {
    if (!x || !W) return NULL;
    int G = W->ndim == 3 ? W->shape[0] : 1;
    int I = W->shape[W->ndim - (in_out ? 2 : 1)], O = W->shape[W->ndim - (in_out ? 1 : 2)];
    if (cols_of(x) != I || rows_of(x) % G != 0 || (b && tensor_size(b) != (size_t)G * (size_t)O))
        return tape_fail(tp, "linear: x is [%d,%d], but W takes %d to %d in %d groups",
                         rows_of(x), cols_of(x), I, O, G);
    Linear *s = tape_alloc(tp, sizeof *s);
    Tensor *y = tensor_raw(tp, rows_of(x), O);
    if (!s || !y) return NULL;
    *s = (Linear){G, rows_of(x) / G, I, O, in_out, NULL, NULL};
    product(G, s->R, O, I, mat(x->data, I), (size_t)s->R * (size_t)I,
            in_out ? mat(W->data, O) : mat_t(W->data, I), (size_t)I * (size_t)O, y->data, ZERO,
            b ? b->data : NULL);
    return tape_node(tp, "linear", y, linear_backward, s, x, W, b, NULL);
}

/* y = a + scale b, all of one shape. */
typedef struct { const real *a, *b; real *y; real scale; size_t n; } Add;
static void add_job(void *ctx, int lo, int hi, int thread) {
    const Add *s = ctx;
    size_t end = (size_t)hi * CHUNK < s->n ? (size_t)hi * CHUNK : s->n;
    (void)thread;
    for (size_t i = (size_t)lo * CHUNK; i < end; i++) s->y[i] = s->a[i] + s->scale * s->b[i];
}

static void add_scaled(real *y, const real *a, const real *b, real scale, size_t n) {
    Add s = {a, b, y, scale, n};
    pool_run(chunks(n), CHUNK, add_job, &s);
}

static void add_backward(Node *nd) {
    size_t n = tensor_size(nd->out);
    const real scale[2] = {1, *(real *)nd->saved};
    for (int i = 0; i < 2; i++) {
        real *dx = nd->in[i]->grad;
        if (dx) add_scaled(dx, dx, nd->out->grad, scale[i], n);
    }
}

Tensor *op_add(Tape *tp, Tensor *a, Tensor *b, real scale) {
    if (!a || !b) return NULL;
    if (rows_of(a) != rows_of(b) || cols_of(a) != cols_of(b))
        return tape_fail(tp, "add: a is [%d,%d] but b is [%d,%d]", rows_of(a), cols_of(a),
                         rows_of(b), cols_of(b));
    real *s = tape_alloc(tp, sizeof *s);
    Tensor *y = tensor_raw(tp, rows_of(a), cols_of(a));
    if (!s || !y) return NULL;
    *s = scale;
    add_scaled(y->data, a->data, b->data, scale, tensor_size(y));
    return tape_node(tp, "add", y, add_backward, s, a, b, NULL, NULL);
}

/* y[i] = [a;b][idx[i]].  y: [n,C], a: [Ra,C], b: [Rb,C].  d[a;b][idx[i]] += dy[i], in order of i;
 * a row may be asked for many times, so threads own columns. */
typedef struct { int n, Ra, C; const int *idx; Tensor *a, *b, *y; } Rows;

static void rows_job(void *ctx, int lo, int hi, int thread) { /* items: rows of y */
    const Rows *s = ctx;
    (void)thread;
    for (int i = lo; i < hi; i++) {
        int r = s->idx[i];
        const real *from = r < s->Ra ? s->a->data + (size_t)r * (size_t)s->C
                                     : s->b->data + (size_t)(r - s->Ra) * (size_t)s->C;
        memcpy(s->y->data + (size_t)i * (size_t)s->C, from, (size_t)s->C * sizeof(real));
    }
}

static void rows_backward_job(void *ctx, int lo, int hi, int thread) { /* items: columns */
    const Rows *s = ctx;
    int end = lanes_end(hi, s->C);
    (void)thread;
    for (int i = 0; i < s->n; i++) {
        int r = s->idx[i];
        real *to = r < s->Ra ? s->a->grad : s->b->grad;
        const real *dy = s->y->grad + (size_t)i * (size_t)s->C;
        if (!to) continue;
        to += (size_t)(r < s->Ra ? r : r - s->Ra) * (size_t)s->C;
        for (int c = lo * LANES; c < end; c++) to[c] += dy[c];
    }
}

static void rows_backward(Node *nd) {
    Rows *s = nd->saved;
    pool_run(lanes_of(s->C), (double)s->n * LANES, rows_backward_job, s);
}

Tensor *op_rows(Tape *tp, Tensor *a, Tensor *b, const int *idx, int n) {
    if (!a || !idx) return NULL;
    int C = cols_of(a), Ra = rows_of(a), Rb = b ? rows_of(b) : 0;
    if (b && cols_of(b) != C)
        return tape_fail(tp, "rows: a has %d columns but b has %d", C, cols_of(b));
    for (int i = 0; i < n; i++)
        if (idx[i] < 0 || idx[i] >= Ra + Rb)
            return tape_fail(tp, "rows: row %d was asked for, there are %d", idx[i], Ra + Rb);
    Rows *s = tape_alloc(tp, sizeof *s);
    int *kept = arena_raw(tp, (size_t)n * sizeof *kept);
    Tensor *y = tensor_raw(tp, n, C);
    if (!s || !kept || !y) return NULL;
    memcpy(kept, idx, (size_t)n * sizeof *kept);
    *s = (Rows){n, Ra, C, kept, a, b, y};
    pool_run(n, C, rows_job, s);
    return tape_node(tp, "rows", y, rows_backward, s, a, b, NULL, NULL);
}

/* y = x[:, first : first+n].  dx[:, first : first+n] += dy. */
static void cols_backward(Node *nd) {
    Tensor *x = nd->in[0], *y = nd->out;
    int first = *(int *)nd->saved, C = cols_of(x), n = cols_of(y);
    for (int r = 0; r < rows_of(y); r++)
        for (int c = 0; c < n; c++)
            x->grad[(size_t)r * (size_t)C + (size_t)(first + c)] +=
                y->grad[(size_t)r * (size_t)n + (size_t)c];
}

Tensor *op_cols(Tape *tp, Tensor *x, int first, int n) {
    if (!x) return NULL;
    int C = cols_of(x), R = rows_of(x);
    if (first < 0 || n < 0 || first + n > C)
        return tape_fail(tp, "cols: columns %d to %d of %d were asked for", first, first + n, C);
    int *s = tape_alloc(tp, sizeof *s);
    Tensor *y = tensor_raw(tp, R, n);
    if (!s || !y) return NULL;
    *s = first;
    for (int r = 0; r < R; r++)
        memcpy(y->data + (size_t)r * (size_t)n, x->data + (size_t)r * (size_t)C + first,
               (size_t)n * sizeof(real));
    return tape_node(tp, "cols", y, cols_backward, s, x, NULL, NULL, NULL);
}

/* Layer norm and RMS norm are one op: y = g z + b with z = (x - mu) / sigma per row and
 * sigma^2 = mean (x - mu)^2 + eps; RMS norm has mu = 0 and no b.  x,y,z: [R,N]; g,b: [G,N], row r
 * taking number r / (R/G).  With u = g dy:
 * dx = (u - [mean u] - z mean(u z)) / sigma, dg = sum dy z, db = sum dy, rows from the top. */
typedef struct { int R, N, G, center; real eps; Tensor *x, *g, *b, *y; real *z, *inv; } Norm;

static void norm_job(void *ctx, int lo, int hi, int thread) { /* items: rows */
    const Norm *s = ctx;
    (void)thread;
    for (int r = lo; r < hi; r++) {
        size_t at = (size_t)r * (size_t)s->N, group = (size_t)(r / (s->R / s->G)) * (size_t)s->N;
        const real *x = s->x->data + at, *g = s->g->data + group;
        real *y = s->y->data + at, *z = s->z + at;
        real mu = s->center ? row_sum(x, s->N) / (real)s->N : 0;
        for (int i = 0; i < s->N; i++) z[i] = x[i] - mu;
        s->inv[r] = 1 / real_sqrt(row_dot(z, z, s->N) / (real)s->N + s->eps);
        for (int i = 0; i < s->N; i++) z[i] *= s->inv[r];
        for (int i = 0; i < s->N; i++) y[i] = g[i] * z[i];
        for (int i = 0; s->b && i < s->N; i++) y[i] += s->b->data[group + (size_t)i];
    }
}

static void norm_dx_job(void *ctx, int lo, int hi, int thread) { /* items: rows */
    const Norm *s = ctx;
    (void)thread;
    for (int r = lo; r < hi; r++) {
        size_t at = (size_t)r * (size_t)s->N;
        const real *z = s->z + at, *dy = s->y->grad + at;
        const real *g = s->g->data + (size_t)(r / (s->R / s->G)) * (size_t)s->N;
        real *dx = s->x->grad + at, u_mean = 0, uz_mean = row_dot3(g, dy, z, s->N) / (real)s->N;
        if (s->center) u_mean = row_dot(g, dy, s->N) / (real)s->N;
        for (int i = 0; i < s->N; i++)
            dx[i] += s->inv[r] * (g[i] * dy[i] - u_mean - z[i] * uz_mean);
    }
}

static void norm_dg_job(void *ctx, int lo, int hi, int thread) { /* items: columns */
    const Norm *s = ctx;
    int end = lanes_end(hi, s->N);
    (void)thread;
    for (int r = 0; r < s->R; r++) {
        size_t at = (size_t)r * (size_t)s->N, group = (size_t)(r / (s->R / s->G)) * (size_t)s->N;
        const real *z = s->z + at, *dy = s->y->grad + at;
        real *dg = s->g->grad, *db = s->b ? s->b->grad : NULL;
        for (int i = lo * LANES; dg && i < end; i++) dg[group + (size_t)i] += dy[i] * z[i];
        for (int i = lo * LANES; db && i < end; i++) db[group + (size_t)i] += dy[i];
    }
}

static void norm_backward(Node *nd) {
    Norm *s = nd->saved;
    if (s->x->grad) pool_run(s->R, 10.0 * s->N, norm_dx_job, s);
    if (s->g->grad || (s->b && s->b->grad))
        pool_run(lanes_of(s->N), 6.0 * s->R * LANES, norm_dg_job, s);
}

static Tensor *norm(Tape *tp, const char *op, Tensor *x, Tensor *g, Tensor *b, int center,
                    real eps) {
    if (!x || !g) return NULL;
    int R = rows_of(x), N = cols_of(x), G = rows_of(g);
    if (cols_of(g) != N || R % G != 0 || (b && tensor_size(b) != tensor_size(g)))
        return tape_fail(tp, "%s: x is [%d,%d] but the gain is [%d,%d]", op, R, N, G, cols_of(g));
    Norm *s = tape_alloc(tp, sizeof *s);
    real *z = arena_raw(tp, (size_t)R * (size_t)(N + 1) * sizeof(real));
    Tensor *y = tensor_raw(tp, R, N);
    if (!s || !z || !y) return NULL;
    *s = (Norm){R, N, G, center, eps, x, g, b, y, z, z + (size_t)R * (size_t)N};
    pool_run(R, 8.0 * N, norm_job, s);
    return tape_node(tp, op, y, norm_backward, s, x, g, b, NULL);
}

Tensor *op_layernorm(Tape *tp, Tensor *x, Tensor *g, Tensor *b) {
    return b ? norm(tp, "layernorm", x, g, b, 1, (real)1e-5) : NULL;
}

Tensor *op_rmsnorm(Tape *tp, Tensor *x, Tensor *g) {
    return norm(tp, "rmsnorm", x, g, NULL, 0, (real)1e-6);
}

/* y = f(x), element by element:
 * relu max(x, 0);  tanh;  gelu (tanh form) x/2 (1 + tanh(a (x + c x^3))), a = sqrt(2/pi);
 * gelu (erf form) x/2 (1 + erf(x / sqrt 2)), whose density is exp(-x^2/2) / sqrt(2 pi). */
#define GELU_A ((real)0.7978845608028654)
#define GELU_C ((real)0.044715)
#define SQRT_HALF_R ((real)0.7071067811865476)
#define INV_SQRT_2PI ((real)0.3989422804014327)
typedef struct { Act kind; const real *x, *y, *dy; real *out; size_t n; } ActJob;

INLINE real act_value(Act kind, real x) {
    switch (kind) {
    case ACT_RELU: return x > 0 ? x : x < 0 ? 0 : x; /* the last keeps a NaN */
    case ACT_TANH: return real_tanh(x);
    case ACT_GELU_TANH: return (real)0.5 * x * (1 + real_tanh(GELU_A * (x + GELU_C * x * x * x)));
    default: return (real)0.5 * x * (1 + real_erf(x * SQRT_HALF_R));
    }
}

INLINE real act_slope(Act kind, real x, real y) {
    if (kind == ACT_RELU) return x > 0 ? 1 : 0;
    if (kind == ACT_TANH) return 1 - y * y;
    if (kind == ACT_GELU_ERF)
        return (real)0.5 * (1 + real_erf(x * SQRT_HALF_R))
               + x * INV_SQRT_2PI * real_exp((real)-0.5 * x * x);
    real t = real_tanh(GELU_A * (x + GELU_C * x * x * x));
    return (real)0.5 * (1 + t) + (real)0.5 * x * (1 - t * t) * GELU_A * (1 + 3 * GELU_C * x * x);
}

INLINE void act_loop(Act kind, const ActJob *s, size_t lo, size_t hi) {
    if (s->dy)
        for (size_t i = lo; i < hi; i++) s->out[i] += s->dy[i] * act_slope(kind, s->x[i], s->y[i]);
    else
        for (size_t i = lo; i < hi; i++) s->out[i] = act_value(kind, s->x[i]);
}

static void act_job(void *ctx, int lo, int hi, int thread) { /* a loop per kind, to vectorise */
    const ActJob *s = ctx;
    size_t from = (size_t)lo * CHUNK, to = (size_t)hi * CHUNK < s->n ? (size_t)hi * CHUNK : s->n;
    (void)thread;
    if (s->kind == ACT_RELU) act_loop(ACT_RELU, s, from, to);
    else if (s->kind == ACT_TANH) act_loop(ACT_TANH, s, from, to);
    else if (s->kind == ACT_GELU_TANH) act_loop(ACT_GELU_TANH, s, from, to);
    else act_loop(ACT_GELU_ERF, s, from, to);
}

static void act_backward(Node *nd) {
    Tensor *x = nd->in[0], *y = nd->out;
    ActJob s = {*(Act *)nd->saved, x->data, y->data, y->grad, x->grad, tensor_size(y)};
    pool_run(chunks(s.n), 20 * CHUNK, act_job, &s);
}

Tensor *op_act(Tape *tp, Tensor *x, Act kind) {
    if (!x) return NULL;
    Act *saved = tape_alloc(tp, sizeof *saved);
    Tensor *y = tensor_raw(tp, rows_of(x), cols_of(x));
    if (!saved || !y) return NULL;
    *saved = kind;
    ActJob s = {kind, x->data, NULL, NULL, y->data, tensor_size(y)};
    pool_run(chunks(s.n), 20 * CHUNK, act_job, &s);
    return tape_node(tp, "act", y, act_backward, saved, x, NULL, NULL, NULL);
}

/* y = softmax(x) per row.  x,y: [R,N].  dx_n = y_n (dy_n - sum_m y_m dy_m): needs y, not x. */
static void softmax_backward(Node *nd) {
    Tensor *x = nd->in[0], *out = nd->out;
    int N = cols_of(out);
    for (int r = 0; r < rows_of(out); r++) {
        size_t at = (size_t)r * (size_t)N;
        const real *y = out->data + at, *dy = out->grad + at;
        real *dx = x->grad + at, dot = row_dot(y, dy, N);
        for (int i = 0; i < N; i++) dx[i] += y[i] * (dy[i] - dot);
    }
}

Tensor *op_softmax(Tape *tp, Tensor *x) {
    if (!x) return NULL;
    int R = rows_of(x), N = cols_of(x);
    if (N == 0) return tape_fail(tp, "softmax: the rows of x are empty");
    Tensor *y = tensor_raw(tp, R, N);
    for (int r = 0; y && r < R; r++)
        row_softmax(y->data + (size_t)r * (size_t)N, x->data + (size_t)r * (size_t)N, N);
    return tape_node(tp, "softmax", y, softmax_backward, NULL, x, NULL, NULL, NULL);
}

/* loss = sum_r w_r (logsumexp(x_r) - x[r,target_r]).  x: [R,V].
 * dx[r,v] = w_r (softmax(x_r)_v - [v = target_r]) dloss. */
typedef struct { int R, V; const real *x, *w, *dloss; const int *target; real *dx, *loss; } Xent;

static void xent_job(void *ctx, int lo, int hi, int thread) { /* items: rows */
    const Xent *s = ctx;
    (void)thread;
    for (int r = lo; r < hi; r++) {
        const real *x = s->x + (size_t)r * (size_t)s->V;
        real m = row_max(x, s->V), *p = s->dx + (size_t)r * (size_t)s->V;
        for (int v = 0; v < s->V; v++) p[v] = weight_exp(x[v] - m);
        real sum = row_sum(p, s->V), scale = s->w[r] / sum;
        s->loss[r] = s->w[r] * (m + real_log(sum) - x[s->target[r]]);
        for (int v = 0; v < s->V; v++) p[v] *= scale;
        p[s->target[r]] -= s->w[r];
    }
}

static void xent_dx_job(void *ctx, int lo, int hi, int thread) { /* p holds d(loss)/dx already */
    const Xent *s = ctx;
    (void)thread;
    size_t to = (size_t)hi * (size_t)s->V;
    for (size_t i = (size_t)lo * (size_t)s->V; i < to; i++) s->dx[i] += s->x[i] * *s->dloss;
}

static void xent_backward(Node *nd) {
    Xent s = *(Xent *)nd->saved;
    s.x = s.dx, s.dx = nd->in[0]->grad, s.dloss = nd->out->grad;
    pool_run(s.R, 2.0 * s.V, xent_dx_job, &s);
}

Tensor *op_cross_entropy(Tape *tp, Tensor *x, const int *target, const real *w) {
    if (!x) return NULL;
    int R = rows_of(x), V = cols_of(x);
    if (R == 0) return tape_fail(tp, "cross-entropy: no row to predict");
    Xent *s = tape_alloc(tp, sizeof *s);
    int *kept = arena_raw(tp, (size_t)R * sizeof *kept);
    real *weight = arena_raw(tp, (size_t)R * sizeof *weight);
    real *row_loss = arena_raw(tp, (size_t)R * sizeof *row_loss);
    real *p = arena_raw(tp, (size_t)R * (size_t)V * sizeof *p);
    Tensor *loss = tape_tensor(tp, 1, 1);
    if (!s || !kept || !weight || !row_loss || !p || !loss) return NULL;
    for (int r = 0; r < R; r++) {
        if (target[r] < 0 || target[r] >= V)
            return tape_fail(tp, "cross-entropy: target %d, but V is %d", target[r], V);
        kept[r] = target[r];
        weight[r] = w ? w[r] : 1 / (real)R;
    }
    *s = (Xent){R, V, x->data, weight, NULL, kept, p, row_loss};
    pool_run(R, 12.0 * V, xent_job, s);
    loss->data[0] = row_sum(row_loss, R);
    return tape_node(tp, "cross_entropy", loss, xent_backward, s, x, NULL, NULL, NULL);
}

/* loss = -(1/n) sum_i log x_i.  dx_i = -dloss / (n x_i).  x is kept away from 0. */
#define NEGLOG_MIN ((real)1e-30)
static void neglog_backward(Node *nd) {
    Tensor *x = nd->in[0];
    size_t n = tensor_size(x);
    for (size_t i = 0; i < n; i++)
        if (x->data[i] > NEGLOG_MIN) x->grad[i] -= nd->out->grad[0] / ((real)n * x->data[i]);
}

Tensor *op_neglog(Tape *tp, Tensor *x) {
    if (!x) return NULL;
    size_t n = tensor_size(x);
    real sum = 0;
    Tensor *loss = tape_tensor(tp, 1, 1);
    for (size_t i = 0; i < n; i++) /* written so that a NaN stays one */
        sum -= real_log(x->data[i] < NEGLOG_MIN ? NEGLOG_MIN : x->data[i]);
    if (loss) loss->data[0] = sum / (real)n;
    return tape_node(tp, "neglog", loss, neglog_backward, NULL, x, NULL, NULL, NULL);
}

/* loss = |x - y|^2 / |y|^2.  x, y: [R,N]; y is a constant.  dx = 2 dloss (x - y) / |y|^2. */
typedef struct { const real *off; real size; } SquareError;     /* off: x - y */

static void square_error_backward(Node *nd) {
    const SquareError *s = nd->saved;
    Tensor *x = nd->in[0];
    size_t n = tensor_size(x);
    real scale = 2 * nd->out->grad[0] / s->size;
    for (size_t i = 0; i < n; i++) x->grad[i] += scale * s->off[i];
}

Tensor *op_square_error(Tape *tp, Tensor *x, const Tensor *y) {
    if (!x || !y) return NULL;
    int R = rows_of(x), N = cols_of(x);
    if (R != rows_of(y) || N != cols_of(y))
        return tape_fail(tp, "square_error: x is [%d,%d] but y is [%d,%d]", R, N, rows_of(y),
                         cols_of(y));
    size_t n = tensor_size(x);
    real *off = arena_raw(tp, n * sizeof *off);
    SquareError *s = tape_alloc(tp, sizeof *s);
    Tensor *loss = tape_tensor(tp, 1, 1);
    if (!off || !s || !loss) return NULL;
    for (size_t i = 0; i < n; i++) off[i] = x->data[i] - y->data[i];
    *s = (SquareError){off, 0};
    for (int r = 0; r < R; r++) { /* row after row */
        const real *d = off + (size_t)r * (size_t)N, *of = y->data + (size_t)r * (size_t)N;
        loss->data[0] += row_dot(d, d, N);
        s->size += row_dot(of, of, N);
    }
    if (!(s->size > 0 && s->size - s->size == 0))
        return tape_fail(tp, "square_error: y is 0, or no number");
    loss->data[0] /= s->size;
    return tape_node(tp, "square_error", loss, square_error_backward, s, x, NULL, NULL, NULL);
}

/* Attention: O_b = softmax(scale Q_b K_b^T + bias) V_b for every sequence b and head.
 * q,O: [Nq, H dh], k,v: [Nk, H dh]; b's rows are q0[b].. and k0[b]..  With W the weights (saved):
 * dV += W^T dO, dW = dO V^T + dmass, dZ = W (dW - rowsum(W dW)), dQ += scale dZ K,
 * dK += scale dZ^T Q, dbias += dZ.  A key range may belong to several sequences: then a thread owns
 * heads and takes the sequences in order; else it owns pairs of sequence and head. */
typedef struct {
    Attention a;
    Tensor *q, *k, *v, *out;
    int width, dh, shared;  /* width = H dh; shared: key ranges overlap, or a bias gets gradient */
    size_t *at, scratch;    /* weights of sequence b start at w[at[b]]; numbers per thread */
    int *bucket;            /* of every distance that occurs; [0] is that of distance 0 */
    real *w, *dw;           /* [b][H][qn][row_room(kn)]; dw: scratch, per thread */
} AttnSaved;

/* T5's buckets for j - i: exact for near keys, logarithmic up to 128, the rest in the last one.
 * The decoder (causal) spends all 32 on the past, the encoder half of them on each side. */
static int relative_bucket(int relative, int causal) {
    static const int far_enc[] = {8, 12, 16, 23, 32, 46, 64, 91};
    static const int far_dec[] = {16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113};
    const int *far = causal ? far_dec : far_enc;
    int exact = causal ? 16 : 8, side = !causal && relative > 0 ? 16 : 0, b = 0;
    int n = relative > 0 ? (causal ? 0 : relative) : -relative;
    if (n < exact) return side + n;
    while (b + 1 < exact && n >= far[b + 1]) b++;
    return side + exact + b;
}

/* Buckets of the distances -span to span; the pointer is to that of 0. */
static int *bucket_table(Tape *tp, int span, int causal) {
    int *table = tape_alloc(tp, (2 * (size_t)span + 1) * sizeof *table);
    for (int i = 0; table && i <= 2 * span; i++) table[i] = relative_bucket(i - span, causal);
    return table ? table + span : NULL;
}

/* Rows of weights have room for whole vectors.  After the n weights of a row the rest of its last
 * vector is made -infinity before the softmax, which makes it 0: sums over it keep their bits. */
static int row_room(int n) { return (n + VL - 1) / VL * VL; }

static size_t attn_at(const AttnSaved *s, int b, int h) {
    return s->at[b] + (size_t)h * (size_t)s->a.qn[b] * (size_t)row_room(s->a.kn[b]);
}

/* Where head h of the rows from `first` on begins, in q, k, v and out. */
static size_t attn_rows(const AttnSaved *s, int first, int h) {
    return (size_t)first * (size_t)s->width + (size_t)(h * s->dh);
}

static void attn_forward_head(const AttnSaved *s, int b, int h) {
    const Attention *a = &s->a;
    int qn = a->qn[b], kn = a->kn[b], ld = row_room(kn), ahead = a->causal ? kn - qn : 0;
    size_t q = attn_rows(s, a->q0[b], h), k = attn_rows(s, a->k0[b], h);
    real *w = s->w + attn_at(s, b, h);
    gemm(qn, kn, s->dh, mat(s->q->data + q, s->width), mat_t(s->k->data + k, s->width), w,
         (size_t)ld, ZERO, 1);
    for (int i = 0; i < qn; i++) {
        real *row = w + (size_t)i * (size_t)ld;
        int n = a->causal && kn - qn + i + 1 < kn ? kn - qn + i + 1 : kn, end = row_room(n);
        for (int j = 0; j < n; j++) row[j] *= a->scale;
        for (int j = 0; a->bias && j < n; j++)
            row[j] += a->bias->data[s->bucket[j - i - ahead] * a->H + h];
        for (int j = n; n > 0 && j < end; j++) row[j] = -INFINITY;
        if (n > 0) row_softmax(row, row, end);
        for (int j = n > 0 ? end : 0; j < ld; j++) row[j] = 0;
        if (!a->t0) continue;
        a->mass->data[(a->q0[b] + i) * a->H + h] = row_sum(row + (a->t0[b] - a->k0[b]), a->tn[b]);
    }
    gemm(qn, s->dh, kn, mat(w, ld), mat(s->v->data + k, s->width), s->out->data + q,
         (size_t)s->width, ZERO, 0);
}

static void attn_job(void *ctx, int lo, int hi, int thread) { /* items: b*H + h */
    const AttnSaved *s = ctx;
    (void)thread;
    for (int i = lo; i < hi; i++) attn_forward_head(s, i / s->a.H, i % s->a.H);
}

static void attn_backward_head(const AttnSaved *s, int b, int h, real *dw) {
    const Attention *a = &s->a;
    int qn = a->qn[b], kn = a->kn[b], ld = row_room(kn), ahead = a->causal ? kn - qn : 0;
    size_t q = attn_rows(s, a->q0[b], h), k = attn_rows(s, a->k0[b], h), width = (size_t)s->width;
    const real *w = s->w + attn_at(s, b, h), *dout = s->out->grad + q;
    const real *dmass = a->mass ? a->mass->grad : NULL;
    if (s->v->grad)
        gemm(kn, s->dh, qn, mat_t(w, ld), mat(dout, s->width), s->v->grad + k, width, ADD, 0);
    if (!s->q->grad && !s->k->grad && !(a->bias && a->bias->grad)) return;
    gemm(qn, kn, s->dh, mat(dout, s->width), mat_t(s->v->data + k, s->width), dw,
         (size_t)ld, ZERO, 1);
    for (int i = 0; i < qn; i++) {
        real *d = dw + (size_t)i * (size_t)ld;
        const real *row = w + (size_t)i * (size_t)ld;
        for (int t = 0; dmass && t < a->tn[b]; t++)
            d[a->t0[b] - a->k0[b] + t] += dmass[(a->q0[b] + i) * a->H + h];
        real dot = row_dot(row, d, ld);
        for (int j = 0; j < ld; j++) d[j] = row[j] * (d[j] - dot);
        for (int j = 0; a->bias && a->bias->grad && j < kn; j++)
            a->bias->grad[s->bucket[j - i - ahead] * a->H + h] += d[j];
        for (int j = 0; j < ld; j++) d[j] *= a->scale;
    }
    if (s->q->grad)
        gemm(qn, s->dh, kn, mat(dw, ld), mat(s->k->data + k, s->width), s->q->grad + q, width,
             ADD, 0);
    if (s->k->grad)
        gemm(kn, s->dh, qn, mat_t(dw, ld), mat(s->q->data + q, s->width), s->k->grad + k, width,
             ADD, 0);
}

static void attn_backward_job(void *ctx, int lo, int hi, int thread) { /* items: h, or b*H + h */
    const AttnSaved *s = ctx;
    real *dw = s->dw + (size_t)thread * s->scratch;
    for (int i = lo; i < hi; i++) {
        if (!s->shared) attn_backward_head(s, i / s->a.H, i % s->a.H, dw);
        for (int b = 0; s->shared && b < s->a.B; b++) attn_backward_head(s, b, i, dw);
    }
}

static double attn_cost(const AttnSaved *s) { /* of one head of one sequence, on average */
    return (double)s->at[s->a.B] / (s->a.B * s->a.H + 1) * (4 * s->dh + 20);
}

static void attn_backward(Node *nd) {
    AttnSaved *s = nd->saved;
    int per_item = s->shared ? s->a.B : 1;
    pool_run(s->a.B * s->a.H / per_item, 2 * attn_cost(s) * per_item, attn_backward_job, s);
}

/* Sizes that do not fit fail the step: op_attention looks at tp->error. */
static void attn_check(Tape *tp, const Tensor *q, const Tensor *k, const Tensor *v,
                       const Attention *a) {
    if (a->H < 1 || cols_of(q) % a->H || cols_of(k) != cols_of(q) || cols_of(v) != cols_of(q)
        || rows_of(k) != rows_of(v))
        tape_fail(tp, "attention: q is [%d,%d], k [%d,%d], v [%d,%d] for %d heads", rows_of(q),
                  cols_of(q), rows_of(k), cols_of(k), rows_of(v), cols_of(v), a->H);
    for (int b = 0; b < a->B; b++)
        if (a->q0[b] < 0 || a->qn[b] < 0 || a->q0[b] > rows_of(q) - a->qn[b] || a->k0[b] < 0
            || a->kn[b] < 0 || a->k0[b] > rows_of(k) - a->kn[b]
            || (a->t0 && (a->t0[b] < a->k0[b] || a->t0[b] + a->tn[b] > a->k0[b] + a->kn[b])))
            tape_fail(tp, "attention: sequence %d reads rows that q or k do not have", b);
}

static AttnSaved *attn_saved(Tape *tp, Tensor *q, Tensor *k, Tensor *v, const Attention *a) {
    AttnSaved *s = tape_alloc(tp, sizeof *s);
    size_t *at = tape_alloc(tp, (size_t)(a->B + 1) * sizeof *at);
    int *n = tape_alloc(tp, 6 * (size_t)a->B * sizeof *n);
    if (!s || !at || !n) return NULL;
    int shared = a->bias && a->bias->grad, span = 0;
    const int *from[6] = {a->q0, a->qn, a->k0, a->kn, a->t0, a->tn};
    for (int i = 0; i < 6; i++) /* the caller's arrays need not live until backward */
        if (from[i]) memcpy(n + i * a->B, from[i], (size_t)a->B * sizeof *n);
    *s = (AttnSaved){
        .a = *a, .q = q, .k = k, .v = v, .width = cols_of(q), .dh = cols_of(q) / a->H, .at = at};
    s->a.q0 = n, s->a.qn = n + a->B, s->a.k0 = n + 2 * a->B, s->a.kn = n + 3 * a->B;
    s->a.t0 = a->t0 ? n + 4 * a->B : NULL, s->a.tn = n + 5 * a->B;
    for (int b = 0; b < a->B; b++) {
        size_t cells = (size_t)a->qn[b] * (size_t)row_room(a->kn[b]);
        at[b + 1] = at[b] + cells * (size_t)a->H;
        if (cells > s->scratch) s->scratch = cells;
        if (a->qn[b] > span) span = a->qn[b];
        if (a->kn[b] > span) span = a->kn[b];
        if (b && a->k0[b] < a->k0[b - 1] + a->kn[b - 1]) shared = 1;
    }
    s->shared = shared;
    if (a->bias) s->bucket = bucket_table(tp, span, a->causal);
    s->a.mass = a->t0 ? tape_tensor(tp, rows_of(q), a->H) : NULL;
    s->out = tape_tensor(tp, rows_of(q), cols_of(q));
    s->w = arena_raw(tp, at[a->B] * sizeof(real));
    if (tp->record && (q->grad || k->grad || v->grad || (a->bias && a->bias->grad)))
        s->dw = arena_raw(tp, s->scratch * (size_t)pool_size() * sizeof(real));
    return tp->error[0] ? NULL : s;
}

Tensor *op_attention(Tape *tp, Tensor *q, Tensor *k, Tensor *v, Attention *a) {
    if (!q || !k || !v) return NULL;
    attn_check(tp, q, k, v, a);
    AttnSaved *s = tp->error[0] ? NULL : attn_saved(tp, q, k, v, a);
    if (!s) return NULL;
    a->mass = s->a.mass;
    pool_run(a->B * a->H, attn_cost(s), attn_job, s);
    Tensor *y = tape_node(tp, "attention", s->out, attn_backward, s, q, k, v, a->bias);
    if (y && y->grad && a->mass)
        a->mass->grad = tape_alloc(tp, tensor_size(a->mass) * sizeof(real));
    return y;
}

const real *tape_attention(const Tape *tp, TapeMark since, int n, int b, int h, int i) {
    for (int k = since.n_nodes; k < tp->n_nodes; k++) {
        const AttnSaved *s = tp->node[k].saved;
        if (tp->node[k].backward != attn_backward || n-- > 0) continue;
        return s->w + attn_at(s, b, h) + (size_t)i * (size_t)row_room(s->a.kn[b]);
    }
    return NULL;
}

/* Attention over more keys than memory holds, forward only:  out_r = sum_j w_rj v_j,
 * w_r = softmax over j of s_j = q_r.k_j.
 *
 * Of the keys that it has met, a row carries the largest score m, l = sum_j e^(s_j-m) and
 * o = sum_j e^(s_j-m) v_j, so that o / l is its attention to exactly these keys, as if there were
 * no others.  More keys lead to
 *   m' = max(m, max_j s_j),  l' = l e^(m-m') + sum_j e^(s_j-m'),
 *   o' = o e^(m-m') + sum_j e^(s_j-m') v_j,
 * which is the same again.  So each key is read once and none is held.  Keys are divided into slabs
 * of chunks, by N alone.  Threads own slabs, and at the end these are merged in order, by the same
 * rule: bits do not depend on threads.
 *
 * x is read chunk by chunk and normalised, z = (x - mu) / sigma; k = z Wk^T and v = z Wv^T + bv in
 * G groups, or k = v = z where Wk is NULL.  It is fast because z is never made: with the mean taken
 * out of q (or of the rows of Wk, Wv), q.z_j = q.x_j / sigma_j, and
 * sum_j w_j z_j = c(sum_j w_j / sigma_j x_j), where c takes the mean out.  Then all of a chunk is
 * matmul and loops along the rows of q.
 *
 * What a document receives of a row is known when the row's m and l are, at the end.  Until then a
 * number for each document and row is kept, and rows go through x in turns where memory does not
 * hold these for all.  A row's bits do not depend on the others, and sums over rows are in their
 * order, so turns change no bit either. */
#define STREAM_ROWS 96  /* rows of q that go through a chunk together */
#define STREAM_SLABS 64 /* at most */
typedef struct {
    Stream a;
    int GR, w, chunk, slab, slabs;
    const real *q, *Wk, *Wv;  /* without their means */
    real *part, *scratch;     /* part: of each slab o [GR][w], m [GR], l [GR] */
    int row0, rows;           /* rows of q that go through x at present */
    real *share, *top;        /* what each document receives of each of them, [N/T][rows], relative
                                 to the m of its chunk, [chunks][rows]; NULL: not asked */
    real *found;              /* m and 1/l of each row, all slabs together, [2][GR] */
    size_t scratch_n;
} StreamJob;

typedef struct { real *room, *inv, *p; Mat key, value; } StreamChunk;

/* Rows first..first+n-1 of x as keys and values of all groups, in this thread's scratch. */
static void stream_load(const StreamJob *s, int first, int n, StreamChunk *c) {
    int D = s->a.D, inner = s->a.G * s->w;
    const real *x = s->a.read(s->a.ctx, first, n, c->room);
    for (int j = 0; j < n; j++) {
        const real *row = x + (size_t)j * (size_t)D;
        real mu = row_sum(row, D) / (real)D, *z = c->p; /* p is not in use yet */
        for (int i = 0; i < D; i++) z[i] = row[i] - mu;
        c->inv[j] = 1 / real_sqrt(row_dot(z, z, D) / (real)D + (real)1e-5);
    }
    c->key = c->value = mat(x, D);
    if (!s->Wk) return;
    real *k = c->room + s->chunk * D, *v = k + s->chunk * inner;
    gemm(n, inner, D, mat(x, D), mat_t(s->Wk, D), k, (size_t)inner, ZERO, 0);
    gemm(n, inner, D, mat(x, D), mat_t(s->Wv, D), v, (size_t)inner, ZERO, 0);
    c->key = mat(k, inner), c->value = mat(v, inner);
}

/* One chunk's part in m, l and o of R rows from r0 on, all of group g.  Scores stand key by key,
 * p: [n, R], so that everything runs along the rows of q. */
static void stream_rows(const StreamJob *s, int g, int r0, int R, int first, int n,
                        const StreamChunk *c, real *part) {
    real *o = part + (size_t)r0 * (size_t)s->w, *m = part + (size_t)s->GR * (size_t)s->w + r0;
    real *l = m + s->GR, top[STREAM_ROWS], sum[STREAM_ROWS], dead[STREAM_ROWS];
    gemm(n, R, s->w, mat_col(c->key, g * s->w), mat_t(s->q + (size_t)r0 * (size_t)s->w, s->w),
         c->p, (size_t)R, ZERO, 0);
    memcpy(top, m, (size_t)R * sizeof *top);
    for (int j = 0; j < n; j++) {
        real *p = c->p + (size_t)j * (size_t)R, inv = c->inv[j];
        for (int r = 0; r < R; r++) p[r] *= inv;
        for (int r = 0; r < R; r++) top[r] = p[r] > top[r] ? p[r] : top[r];
    }
    for (int r = 0; r < R; r++) sum[r] = real_exp(m[r] - top[r]);
    for (int r = 0; r < R; r++) {
        m[r] = top[r], l[r] *= sum[r];
        for (int i = 0; sum[r] < 1 && i < s->w; i++) o[r * s->w + i] *= sum[r];
    }
    for (int j = 0; j < n; j += s->a.T) { /* a document */
        size_t doc = (size_t)((first + j) / s->a.T);
        real *share = s->share ? s->share + doc * (size_t)s->rows + (r0 - s->row0) : dead;
        for (int r = 0; r < R; r++) sum[r] = 0;
        for (int t = j; t < j + s->a.T; t++) {
            real *p = c->p + (size_t)t * (size_t)R, inv = c->inv[t];
            for (int r = 0; r < R; r++) p[r] = weight_exp(p[r] - top[r]);
            for (int r = 0; r < R; r++) sum[r] += p[r];
            for (int r = 0; r < R; r++) p[r] *= inv;
        }
        for (int r = 0; r < R; r++) share[r] = sum[r];
        for (int r = 0; r < R; r++) l[r] += sum[r];
    }
    if (s->share)
        memcpy(s->top + (size_t)(first / s->chunk) * (size_t)s->rows + (r0 - s->row0), top,
               (size_t)R * sizeof *top);
    gemm(R, s->w, n, mat_t(c->p, R), mat_col(c->value, g * s->w), o, (size_t)s->w, ADD, 0);
}

static void stream_job(void *ctx, int lo, int hi, int thread) { /* items: slabs */
    const StreamJob *s = ctx;
    real *scratch = s->scratch + (size_t)thread * s->scratch_n;
    int last = s->row0 + s->rows;
    StreamChunk c = {.p = scratch, .inv = scratch + s->scratch_n - s->chunk};
    c.room = c.p + (size_t)s->chunk * STREAM_ROWS + s->a.D;
    for (int i = lo; i < hi; i++) {
        real *part = s->part + (size_t)i * (size_t)s->GR * ((size_t)s->w + 2);
        real *m = part + (size_t)s->GR * (size_t)s->w;
        int end = s->a.N - i * s->slab < s->slab ? s->a.N : (i + 1) * s->slab;
        for (int r = s->row0; r < last; r++) m[r] = -INFINITY;
        for (int first = i * s->slab; first < end; first += s->chunk) {
            int n = end - first < s->chunk ? end - first : s->chunk;
            stream_load(s, first, n, &c);
            for (int r = s->row0, R; r < last; r += R) {
                int g = r / s->a.R, end_g = (g + 1) * s->a.R;
                R = (end_g < last ? end_g : last) - r;
                R = R < STREAM_ROWS ? R : STREAM_ROWS;
                stream_rows(s, g, r, R, first, n, &c, part);
            }
        }
    }
}

/* Takes the mean out of each row; to may be from. */
static void center_rows(real *to, const real *from, int rows, int n) {
    for (int r = 0; r < rows; r++, to += n, from += n) {
        real mu = row_sum(from, n) / (real)n;
        for (int i = 0; i < n; i++) to[i] = from[i] - mu;
    }
}

/* All slabs' m, l and o of row r into one. */
static void stream_merge(const StreamJob *s, int r, real *out) {
    size_t GR = (size_t)s->GR, step = GR * ((size_t)s->w + 2), at = GR * (size_t)s->w + (size_t)r;
    real m = -INFINITY, l = 0;
    for (int i = 0; i < s->slabs; i++) {
        real top = s->part[(size_t)i * step + at];
        m = top > m ? top : m;
    }
    for (int i = 0; i < s->slabs; i++) {
        const real *slab = s->part + (size_t)i * step, *o = slab + r * s->w;
        real scale = real_exp(slab[at] - m);
        l += slab[at + GR] * scale;
        for (int j = 0; j < s->w; j++) out[j] += o[j] * scale;
    }
    for (int j = 0; j < s->w; j++) out[j] /= l;
    if (!s->Wk) center_rows(out, out, 1, s->w);
    const real *bias = s->Wk ? s->a.bv + r / s->a.R * s->w : NULL;
    for (int j = 0; bias && j < s->w; j++) out[j] += bias[j];
    s->found[r] = m, s->found[s->GR + r] = 1 / l;
}

static void stream_share_job(void *ctx, int lo, int hi, int thread) { /* items: chunks */
    const StreamJob *s = ctx;
    int K = s->a.N / s->a.T, docs = s->chunk / s->a.T, head = s->a.R / s->a.by_head;
    (void)thread;
    for (int c = lo; c < hi; c++)
        for (int i = 0; i < s->rows; i++) { /* rows are (group, head, question, t) */
            int r = s->row0 + i;
            real scale = real_exp(s->top[(size_t)c * (size_t)s->rows + (size_t)i] - s->found[r])
                         * s->found[s->GR + r];
            real *to = s->a.received + (size_t)(r % head / (head / s->a.B)) * (size_t)K;
            for (int d = c * docs; d < (c + 1) * docs && d < K; d++)
                to[d] += s->share[(size_t)d * (size_t)s->rows + (size_t)i] * scale;
        }
}

Tensor *op_stream_attention(Tape *tp, Tensor *q, const Stream *a) {
    if (!q) return NULL;
    StreamJob s = {.a = *a, .GR = rows_of(q), .w = cols_of(q)};
    if (a->G < 1 || a->R * a->G != s.GR || (!a->Wk && s.w != a->D) || a->by_head < 1 || a->B < 1
        || a->R % (a->B * a->by_head) || a->N % a->T)
        return tape_fail(tp, "stream attention: q is [%d,%d] for %d groups and x has %d columns",
                         s.GR, s.w, a->G, a->D);
    int T = a->T, inner = a->G * s.w, slab = (a->N + STREAM_SLABS - 1) / STREAM_SLABS;
    s.chunk = 256 > T ? 256 / T * T : T;
    s.slab = slab > 4 * s.chunk ? (slab + s.chunk - 1) / s.chunk * s.chunk : 4 * s.chunk;
    s.slabs = (a->N + s.slab - 1) / s.slab;
    s.scratch_n = (size_t)(s.chunk + 1) * (size_t)(a->D + 2 * inner + STREAM_ROWS + 1);
    size_t w_n = (size_t)inner * (size_t)a->D;
    Tensor *y = tape_tensor(tp, s.GR, s.w);
    s.found = arena_raw(tp, 2 * (size_t)s.GR * sizeof(real));
    real *own = arena_raw(tp, ((size_t)s.GR * (size_t)s.w + 2 * w_n) * sizeof(real));
    s.part = tape_alloc(tp, (size_t)s.slabs * (size_t)s.GR * (size_t)(s.w + 2) * sizeof(real));
    s.scratch = arena_raw(tp, s.scratch_n * (size_t)pool_size() * sizeof(real));
    if (!y || !s.found || !own || !s.part || !s.scratch) return NULL;
    if (a->N == 0) return y;
    real *Wk = own + (size_t)s.GR * (size_t)s.w;
    if (a->Wk) {
        s.q = q->data, s.Wk = Wk, s.Wv = Wk + w_n;
        center_rows(Wk, a->Wk, inner, a->D), center_rows(Wk + w_n, a->Wv, inner, a->D);
    } else center_rows(own, q->data, s.GR, s.w), s.q = own;
    size_t K = (size_t)(a->N / T), n_chunks = (size_t)((a->N + s.chunk - 1) / s.chunk);
    size_t most = a->received && a->memory ? a->memory / (K * sizeof(real)) : (size_t)s.GR;
    int turn = most < 1 ? 1 : most < (size_t)s.GR ? (int)most : s.GR;
    if (a->received) {
        s.share = tape_spare(tp, (K + n_chunks) * (size_t)turn * sizeof(real));
        if (!s.share) return NULL;
        s.top = s.share + K * (size_t)turn;
    }
    for (; s.row0 < s.GR; s.row0 += turn) {
        s.rows = s.GR - s.row0 < turn ? s.GR - s.row0 : turn;
        pool_run(s.slabs, 4.0 * s.rows * s.w * s.slab, stream_job, &s);
        for (int r = s.row0; r < s.row0 + s.rows; r++)
            stream_merge(&s, r, y->data + (size_t)r * (size_t)s.w);
        if (a->received) pool_run((int)n_chunks, 2.0 * s.rows * s.chunk, stream_share_job, &s);
    }
    return y;
}

/* ==== Adam (AdamW when decay > 0) ============================================================ */
/* g is clipped to norm `clip` (0: not at all); m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
 * p -= lr decay p;  p -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps). */
Adam adam_default(real lr) { return (Adam){lr, (real)0.9, (real)0.999, (real)1e-8, 0, 1, 0, 0}; }

typedef struct { Param *p; const Adam *o; size_t n; real scale, rate, inv_sqrt_bc2; } AdamJob;

static int all_zero(const real *x, size_t n) {
    size_t i = 0;
    while (i < n && x[i] == 0) i++;
    return i == n;
}

static void adam_job(void *ctx, int lo, int hi, int thread) { /* items: chunks of one parameter */
    const AdamJob *s = ctx;
    const Adam o = *s->o; /* what the loop writes cannot be these, so that it becomes vectors */
    real keep = 1 - o.lr * o.decay, scale = s->scale, rate = s->rate, root = s->inv_sqrt_bc2;
    (void)thread;
    for (; lo < hi; lo++) {
        size_t from = (size_t)lo * CHUNK, n = s->n - from < CHUNK ? s->n - from : CHUNK;
        real *p = s->p->t.data + from, *g = s->p->t.grad + from;
        real *m = s->p->m + from, *v = s->p->v + from;
        if (keep == 1 && all_zero(g, n) && all_zero(m, n) && all_zero(v, n))
            continue; /* rows of an embedding that no token has asked for yet: p - 0 is p */
        for (size_t i = 0; i < n; i++) {
            real gi = g[i] * scale;
            m[i] = o.beta1 * m[i] + (1 - o.beta1) * gi;
            v[i] = o.beta2 * v[i] + (1 - o.beta2) * (gi * gi);
            p[i] = p[i] * keep - rate * m[i] / (real_sqrt(v[i]) * root + o.eps);
            g[i] = 0;
        }
    }
}

/* Muon, for a matrix W [R,C]: m = mu m + g (g clipped), U = g + mu m, and of U only the directions
 * are kept: W -= lr decay W;  W -= lr 0.2 sqrt(max(R,C)) O(U), where O(U) has U's singular vectors
 * and singular values near 1.  Five steps of Newton and Schulz come there from X = U / |U|:
 *
 *     A = X X^T,  B = b A + c A A,  X = a X + B X      (of a tall U: A = X^T X,  X = a X + X B)
 *
 * The factor makes a step as large as Adam's.  p->v holds X, A and B.  The gradient is no longer
 * needed, and a X + B X is put in its place.  Of a group [G,R,C] each matrix takes its own step.
 *
 * Where |U| is 1e-15 or less, W only decays.  Of a U still smaller the squares are no floats, |U|
 * comes out too small, and singular values above 1.26 grow to infinity. */
static void muon_matrix(const Param *p, const Adam *o, real scale, size_t first) {
    const int *shape = p->t.shape + p->t.ndim - 2;
    int R = shape[0], C = shape[1], r = R < C ? R : C, longer = R < C ? C : R;
    size_t n = (size_t)R * (size_t)C, square = (size_t)r * (size_t)r;
    real *w = p->t.data + first, *g = p->t.grad + first, *m = p->m + first;
    real *x = p->v + first, *A = p->v + tensor_size(&p->t), *B = A + square;
    for (size_t i = 0; i < n; i++) {
        m[i] = o->muon * m[i] + g[i] * scale;
        x[i] = g[i] * scale + o->muon * m[i];
    }
    real norm = real_sqrt(row_dot(x, x, (int)n)), keep = 1 - o->lr * o->decay;
    for (size_t i = 0; i < n; i++) x[i] = norm > (real)1e-15 ? x[i] / norm : 0;
    for (int step = 0; step < 5; step++) {
        if (R <= C) gemm(r, r, C, mat(x, C), mat_t(x, C), A, (size_t)r, ZERO, 0);
        else gemm(r, r, R, mat_t(x, C), mat(x, C), A, (size_t)r, ZERO, 0);
        gemm(r, r, r, mat(A, r), mat(A, r), B, (size_t)r, ZERO, 0);
        for (size_t i = 0; i < square; i++) B[i] = (real)-4.7750 * A[i] + (real)2.0315 * B[i];
        for (size_t i = 0; i < n; i++) g[i] = (real)3.4445 * x[i];
        if (R <= C) gemm(R, C, r, mat(B, r), mat(x, C), g, (size_t)C, ADD, 0);
        else gemm(R, C, r, mat(x, C), mat(B, r), g, (size_t)C, ADD, 0);
        memcpy(x, g, n * sizeof *x);
    }
    real rate = o->lr * (real)0.2 * real_sqrt((real)longer);
    for (size_t i = 0; i < n; i++) w[i] = w[i] * keep - rate * x[i], g[i] = 0;
}

typedef struct { const Params *ps; const Adam *o; real scale; } MuonJob;
static void muon_job(void *ctx, int lo, int hi, int thread) { /* items: parameters */
    const MuonJob *s = ctx;
    (void)thread;
    for (; lo < hi; lo++) {
        const Param *p = s->ps->p[lo];
        if (!p->matrix || !p->t.grad) continue;
        size_t each = (size_t)p->t.shape[p->t.ndim - 2] * (size_t)p->t.shape[p->t.ndim - 1];
        for (size_t at = 0; at < tensor_size(&p->t); at += each)
            muon_matrix(p, s->o, s->scale, at);
    }
}

static void adam_square_job(void *ctx, int lo, int hi, int thread) { /* items: parameters */
    const Params *ps = ctx;
    (void)thread;
    for (int i = lo; i < hi; i++) {
        Param *p = ps->p[i];
        p->square = p->t.grad ? row_dot(p->t.grad, p->t.grad, (int)tensor_size(&p->t)) : 0;
    }
}

real adam_step(Params *ps, Adam *o) {
    real square = 0;
    pool_run(ps->n, INLINE_COST, adam_square_job, ps);
    for (int i = 0; i < ps->n; i++) square += ps->p[i]->square;
    real norm = real_sqrt(square);
    int finite = norm < INFINITY; /* false for NaN too */
    real scale = o->clip > 0 && norm > o->clip ? o->clip / norm : 1;
    MuonJob matrices = {ps, o, scale};
    o->step += finite;
    if (finite && o->muon > 0) /* large ones are neighbours: one at a time */
        pool_split(ps->n, ps->n, INLINE_COST, muon_job, &matrices);
    for (int i = 0; i < ps->n; i++) {
        Param *p = ps->p[i];
        size_t n = tensor_size(&p->t);
        if (!p->t.grad || (p->matrix && o->muon > 0 && finite)) continue;
        if (!finite) {
            memset(p->t.grad, 0, n * sizeof(real));
            continue;
        }
        AdamJob s = {p, o, n, scale, o->lr / (1 - real_power(o->beta1, o->step)),
                     1 / real_sqrt(1 - real_power(o->beta2, o->step))};
        pool_run(chunks(n), 12 * CHUNK, adam_job, &s);
    }
    return finite ? norm : NAN;
}

/* Linear warm-up, then constant or half a cosine down to a hundredth. */
real lr_schedule(LrKind kind, real lr, int step, int warmup, int total) {
    if (step < warmup) return lr * (real)(step + 1) / (real)warmup;
    if (kind == LR_CONSTANT || total <= warmup) return lr;
    real done = (real)(step - warmup) / (real)(total - warmup);
    if (done > 1) done = 1;
    return lr * ((real)0.505 + (real)0.495 * exact_cos((real)3.141592653589793 * done));
}

/* ==== parameters in files: a group "...%d..." of G tensors has G names ======================= */
static void param_file_name(char *to, const char *before, const Param *p, int group) {
    const char *mark = strstr(p->name, "%d");
    if (!mark) snprintf(to, MAC_NAME + 16, "%s%s", before, p->name);
    else
        snprintf(to, MAC_NAME + 16, "%s%.*s%d%s", before, (int)(mark - p->name), p->name, group,
                 mark + 2);
}

/* Each tensor of the file, values, and moments under adam.m. and adam.v.: read from f, or, where f
 * is NULL, added to w. */
static int params_each(const Params *ps, int moments, StWriter *w, StFile *f, char *err) {
    for (int i = 0; i < ps->n; i++) {
        Param *p = ps->p[i];
        int grouped = strstr(p->name, "%d") != NULL, G = grouped ? p->t.shape[0] : 1;
        int ndim = p->t.ndim - grouped, *shape = p->t.shape + grouped;
        size_t part = tensor_size(&p->t) / (size_t)G;
        real *data[3] = {p->t.data, p->m, p->v};
        static const char *const before[3] = {"", "adam.m.", "adam.v."};
        for (int k = 0; k < (moments && p->m ? 3 : 1); k++)
            for (int g = 0; g < G; g++) {
                char name[MAC_NAME + 16];
                real *at = data[k] + (size_t)g * part;
                param_file_name(name, before[k], p, g);
                if (!f) st_add(w, name, at, ndim, shape);
                else if (st_read_shaped(f, name, at, ndim, shape, err) != 0) return -1;
            }
    }
    return 0;
}

int params_save(const Params *ps, StWriter *w, int moments) {
    return params_each(ps, moments, w, NULL, NULL);
}

int params_load(Params *ps, StFile *f, int moments, char *err) {
    return params_each(ps, moments, NULL, f, err);
}
