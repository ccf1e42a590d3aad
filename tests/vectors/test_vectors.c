/* test_vectors.c - the vector files of tests/vectors once more: reads each case's inputs, computes,
 * and compares every output and every gradient.  torch_ops and torch were drawn and computed by
 * tests/reference/check_torch.py, the others are our own, by `make vectors`.
 *   test_vectors [SCRATCH]      SCRATCH: a folder for files
 *   test_vectors --bits DIR     writes DIR/bits.safetensors: what the float build makes of those
 *                               cases in DIR that have bits (make vectors) */
#include "vectors.h"
#include "tests/unit/check.h"
#include <math.h>

/* Of a tensor's largest number.  The files are rounded to 32 bits: half of 2^-24 at most. */
#ifdef MAC_DOUBLE
#define TOL 6e-8
#else
#define TOL 2e-5
#endif
#define SMALL 1e-6          /* share of the case's largest gradient below which there is rounding */

/* Bits are promised in float, and without fused operations. */
#ifdef MAC_FAST
#define PROMISED 0
#else
#define PROMISED FLOATS
#endif

static const char *const files[] = {"ops",   "tiny",    "odd",     "deep",     "torch_ops",
                                    "torch", "program", "answers", "sharp", "training",
                                    NULL};
static const char *folder = "tests/vectors";
static Tape *tp;
static StFile *bits;        /* of the float build; NULL: not open, or written at present */
static StWriter *writer;    /* of bits; NULL: not written */
static int n_bits;          /* tensors of bits that were compared */

/* ==== reading a case ========================================================================= */
/* A tensor of the file as a parameter of ps, NULL when the file has none of this name. */
static Tensor *read_tensor(StFile *f, const char *file_name, Params *ps, const char *name) {
    char err[MAC_ERR];
    for (int i = 0, ndim; i < st_count(f); i++) {
        const char *dtype;
        const int64_t *s;
        if (strcmp(st_info(f, i, &dtype, &ndim, &s), file_name)) continue;
        int a = (int)s[0], b = ndim > 1 ? (int)s[1] : 1, c = ndim > 2 ? (int)s[2] : 1;
        Tensor *t = param_new(ps, name, ndim, a, b, c);
        int bad = !t || st_read(f, file_name, t->data, (int64_t)numel(t), err) != 0;
        CHECK(!bad, "%s: %s", file_name, err);
        return bad ? NULL : t;
    }
    return NULL;
}

/* Each word of `names` that the case has, as an input; as a constant where `constant` is set. */
static int read_inputs(StFile *f, Case *c, const char *names, int constant) {
    int found = 0;
    for (const char *p = names; *p; p += strspn(p, " ")) {
        char name[MAC_NAME / 4], full[CASE_NAME];
        int n = (int)strcspn(p, " ");
        snprintf(name, sizeof name, "%.*s", n, p);
        snprintf(full, sizeof full, "%s/%s/%s", c->kind, c->name, name);
        p += n;
        if (!read_tensor(f, full, &c->in, name)) continue;
        if (constant) param_freeze(&c->in, name, 1);
        found++;
    }
    return found;
}

static int read_weights(StFile *f, Case *c) {
    int found = 0;
    for (int i = 0; i < c->n_out; i++) {
        char full[CASE_NAME];
        snprintf(full, sizeof full, "%s/%s/d%s", c->kind, c->name, c->out_name[i]);
        if (!c->out[i] || !c->out[i]->grad) continue;
        found += read_tensor(f, full, &c->weight, c->out_name[i]) != NULL;
    }
    return found;
}

/* ==== comparing ============================================================================== */
typedef struct { StFile *f; int found, bits; double largest, worst; } Compare;

static double largest_of(const real *x, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++)
        if (fabs((double)x[i]) > most) most = fabs((double)x[i]);
    return most;
}

static int is_gradient(const char *name) { return strrchr(name, '/')[1] == 'd'; }

static void find_largest(void *ctx, const char *name, const real *x, int ndim, const int *shape) {
    Compare *c = ctx;
    size_t n = 1;
    for (int i = 0; i < ndim; i++) n *= (size_t)shape[i];
    double size = is_gradient(name) ? largest_of(x, n) : 0;
    if (size > c->largest) c->largest = size;
}

/* The float build's own numbers, which must be the same to the last bit. */
static void compare_bits(const char *name, const real *x, const Tensor *shape) {
    Params ps = {NULL, 0};
    const Tensor *want = bits ? read_tensor(bits, name, &ps, "want") : NULL;
    size_t n = numel(shape), same = 0;
    while (want && numel(want) == n && same < n && x[same] == want->data[same]) same++;
    CHECK(same == n, "%s[%d] is %.9g: not the bits of the file", name, (int)same,
          same < n ? (double)x[same] : 0);
    n_bits++;
    params_free(&ps);
}

/* A parameter whose gradient the file leaves out has the gradient 0. */
static void compare(void *ctx, const char *name, const real *x, int ndim, const int *shape) {
    Compare *c = ctx;
    Params ps = {NULL, 0};
    Tensor zero = {ndim, {1, 1, 1}, NULL, NULL}, *want = read_tensor(c->f, name, &ps, "want");
    for (int i = 0; i < ndim; i++) zero.shape[i] = shape[i];
    if (c->bits) compare_bits(name, x, &zero);
    int only_bits = !strncmp(strrchr(name, '/'), "/bits_", 6);
    size_t n = numel(&zero);
    if (only_bits) return;
    CHECK(want || strstr(name, "/d."), "%s is not in the file", name);
    CHECK(!want || numel(want) == n, "%s has another size", name);
    if (!want || numel(want) == n) {
        double size = want ? largest_of(want->data, n) : 0;
        if (is_gradient(name) && size < SMALL * c->largest) size = SMALL * c->largest;
        for (size_t i = 0; i < n; i++) {
            double w = want ? (double)want->data[i] : 0, off = fabs((double)x[i] - w);
            CHECK(off <= TOL * size, "%s[%d] is %.9g, the file has %.9g, largest %g", name, (int)i,
                  (double)x[i], w, size);
            if (!(off <= c->worst * size)) c->worst = off / size;
        }
    }
    c->found += want != NULL;
    params_free(&ps);
}

/* An output for bits.safetensors. */
static void add_bits(void *ctx, const char *name, const real *x, int ndim, const int *shape) {
    (void)ctx;
    st_add(writer, name, x, ndim, shape);
}

static double run_case(StFile *f, Case *c, int n_tensors) {
    const Kind *k = kind_find(c->kind);
    CHECK(k != NULL, "there is no kind of case \"%s\"", c->kind);
    if (!k) return 0;
    int given = read_inputs(f, c, k->inputs, 0) + read_inputs(f, c, k->constants, 1);
    case_forward(tp, c);
    given += read_weights(f, c);
    int ran = case_backward(tp, c);
    CHECK(ran == 0, "%s/%s: %s", c->kind, c->name, tape_error(tp));
    if (ran != 0) return 0;
    if (writer && k->bits) case_visit_made(c, add_bits, NULL);
    if (writer) return 0;
    Compare cmp = {f, 0, k->bits && bits, 0, 0};
    case_visit_made(c, find_largest, &cmp);
    case_visit_made(c, compare, &cmp);
    CHECK(given + cmp.found == n_tensors, "%s/%s has %d tensors, %d of them known", c->kind,
          c->name, n_tensors, given + cmp.found);
    return cmp.worst;
}

/* ==== a file ================================================================================= */
static StFile *open_vectors(const char *name) {
    char path[MAC_ERR], err[MAC_ERR];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    StFile *f = st_open(path, err);
    CHECK(f != NULL, "%s", err);
    return f;
}

static Model *load(const char *name) {
    char err[MAC_ERR] = "";
    StFile *f = open_vectors(name);
    Model *m = f ? model_load(f, err) : NULL;
    CHECK(m != NULL, "%s: %s", name, err);
    int n = m && m->gate.R ? 3 : 0;
    for (int i = 0; m && i < m->ps.n; i++)
        n += strstr(m->ps.p[i]->name, "%d") ? m->ps.p[i]->t.shape[0] : 1;
    CHECK(!m || n == st_count(f), "%s: %d tensors, the model has %d", name, st_count(f), n);
    st_close(f);
    return m;
}

/* The tensors of a case lie behind one another; their names begin alike. */
static void run_file(const char *file) {
    char name[MAC_NAME];
    snprintf(name, sizeof name, "%s.safetensors", file);
    StFile *f = open_vectors(name);
    if (!f) return;
    const char *model = st_meta(f, "model");
    Model *m = model ? load(model) : NULL;
    double worst = 0;
    int cases = 0;
    for (int i = 0, n; i < st_count(f); i += n) {
        const char *dtype, *first;
        int ndim;
        const int64_t *shape;
        Case c = {.m = m};
        first = st_info(f, i, &dtype, &ndim, &shape);
        int kind = (int)strcspn(first, "/"), len = (int)strcspn(first + kind + 1, "/");
        snprintf(c.kind, sizeof c.kind, "%.*s", kind, first);
        snprintf(c.name, sizeof c.name, "%.*s", len, first + kind + 1);
        for (n = 0; i + n < st_count(f); n++)
            if (strncmp(st_info(f, i + n, &dtype, &ndim, &shape), first,
                        (size_t)(kind + len + 2)))
                break;
        double off = run_case(f, &c, n);
        if (!(off <= worst)) worst = off;
        if (!writer) case_free(&c); /* else st_write, which ends this, needs it */
        cases++;
    }
    CHECK(cases > 0, "%s: no cases", file);
    if (!writer) printf("  %-12s %3d cases, worst error %.1e\n", file, cases, worst);
    st_close(f);
    model_free(m);
}

static int write_bits(void) {
    char path[MAC_ERR], err[MAC_ERR];
    writer = need(st_new());
    st_add_meta(writer, "format", "mac-vectors");
    for (int i = 0; files[i]; i++) run_file(files[i]);
    snprintf(path, sizeof path, "%s/bits.safetensors", folder);
    if (st_write(writer, path, err) != 0) die("%s", err);
    return n_failed != 0;
}

int main(int argc, char **argv) {
    tp = tape_new(0);
    if (argc > 1) scratch = argv[argc - 1];
    if (argc > 2 && !strcmp(argv[1], "--bits")) {
        folder = scratch;
        return write_bits();
    }
    if (PROMISED) bits = open_vectors("bits.safetensors");
    for (int i = 0; files[i]; i++) run_file(files[i]);
    CHECK(!bits || n_bits == st_count(bits), "bits.safetensors: %d tensors, %d of them made",
          bits ? st_count(bits) : 0, n_bits);
    st_close(bits);
    tape_free(tp);
    return check_done("test_vectors");
}
