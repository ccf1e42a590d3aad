/* conform.c - holds a program of another implementation against all cases of the vector files.  How
 * the program is asked and answers: CONFORM.md.
 *   conform SCRATCH PROGRAM SECONDS ONLY FILE...
 * SCRATCH is a folder for files, SECONDS the limit for a case; it runs those cases that have ONLY
 * in "level N kind/name of FILE". */
#include "child.h"
#pragma GCC diagnostic ignored "-Wunused-function" /* of vectors.h only the table is used */
#include "vectors.h"
#include "data/json.h"
#include <math.h>
#include <stdarg.h>

#define TOL (FLOATS ? 2e-5 : 6e-8) /* of a tensor's largest number, as README.md says */
#define SMALL 1e-6            /* of the case's largest gradient: below it there is rounding */
#define MOST_BYTES (16 << 20) /* of an answer */

typedef struct {
    const char *kinds;
    int exact, cases, right, same;
    double worst;
    char first[3 * MAC_ERR];          /* the first wrong case, and what is wrong with it */
} Level;
static Level levels[] = {
    {"linear add rows cols layernorm rmsnorm relu tanh gelu_tanh gelu_erf softmax cross_entropy "
     "neglog square_error attention"},
    {"lm enc encode aggregate expand"},
    {"lm_loss loss"},
    {"muon adam rate steps"},
    {"random start batch"},
    {"merges tokens prompt", 1},
    {"answer versions gate"},
    {"half hash fingerprint bank model_file", 1},
    {"training"},
    {NULL}};
static const char *program, *vectors; /* vectors: the file that is read */
static double limit;
static char said[MAC_ERR];            /* the first reason why a case is wrong; "": it is right */
static StFile *bits;                  /* what the float build makes */

static void wrong(const char *format, ...) {
    va_list args;
    if (*said) return;
    va_start(args, format);
    vsnprintf(said, sizeof said, format, args);
    va_end(args);
    plain_line(said);
}

static const char *in_scratch(const char *name) { /* lasts until the next but one */
    static char path[2][2 * MAC_ERR];
    static int at;
    snprintf(path[at ^= 1], sizeof path[0], "%s/%s", scratch, name);
    return path[at];
}

static int has_word(const char *words, const char *word) {
    size_t n = strlen(word), len;
    for (const char *p = words; *p; p += len + strspn(p + len, " ")) {
        len = strcspn(p, " ");
        if (len == n && !strncmp(p, word, n)) return 1;
    }
    return 0;
}

/* ==== a case of a vector file ================================================================ */
static int is_input(const Case *c, const char *name) {
    const Kind *k = kind_find(c->kind);
    return has_word(k->inputs, name) || has_word(k->constants, name);
}

static int is_gradient(const Case *c, const char *name) {
    return name[0] == 'd' && (name[1] == '.' || is_input(c, name + 1));
}

static double largest_of(const Tensor *t) {
    double most = 0;
    for (size_t i = 0; i < numel(t); i++) most = fmax(most, fabs((double)t->data[i]));
    return most;
}

static const char *name_of(const StFile *f, int i) {
    const char *dtype;
    const int64_t *shape;
    int ndim;
    return st_info(f, i, &dtype, &ndim, &shape);
}

/* Tensor i of f under another name; or zeros of its shape. */
static Tensor *read_tensor(StFile *f, int i, Params *ps, const char *name, int zeros) {
    const char *dtype, *full;
    const int64_t *s;
    int ndim;
    char err[MAC_ERR];
    full = st_info(f, i, &dtype, &ndim, &s);
    if (ndim > MAC_MAX_DIMS) die("%s has too many dimensions", full);
    int b = ndim > 1 ? (int)s[1] : 1, c = ndim > 2 ? (int)s[2] : 1;
    Tensor *t = need(param_new(ps, name, ndim, (int)s[0], b, c));
    if (!zeros && st_read(f, full, t->data, st_size(f, full), err) != 0) die("%s", err);
    return t;
}

/* The tensors of f from i to `end`: inputs and d of outputs are given, all else is wanted, and also
 * what only the file of bits has.  Where the gradient of one parameter is wanted, that of each is:
 * 0 where the file has none. */
static void read_case(Case *c, StFile *f, int i, int end, const Params *model) {
    char name[CASE_NAME];
    int parameters = 0, skip = snprintf(name, sizeof name, "%s/%s/", c->kind, c->name);
    for (; i < end; i++) {
        const char *of = name_of(f, i) + skip;
        int given = is_input(c, of), d = *of == 'd' && !given, gradient = is_gradient(c, of);
        snprintf(name + skip, sizeof name - (size_t)skip, "%s", of + 1);
        given |= d && !gradient && st_find(f, name) >= 0;
        read_tensor(f, i, given ? &c->in : &c->made, of, 0);
        parameters |= gradient && of[1] == '.';
    }
    for (int k = 0; parameters && k < model->n; k++) {
        const Tensor *t = &model->p[k]->t;
        snprintf(name, sizeof name, "d.%s", model->p[k]->name);
        if (!param_find(&c->made, name) && strncmp(name, "d.gate.", 7)) /* no parameter */
            need(param_new(&c->made, name, t->ndim, t->shape[0], t->shape[1], t->shape[2]));
    }
    snprintf(name, sizeof name, "%s/%s/bits_", c->kind, c->name);
    for (int k = 0; bits && k < st_count(bits); k++)
        if (!strncmp(name_of(bits, k), name, strlen(name)))
            read_tensor(bits, k, &c->made, name_of(bits, k) + skip, 0);
}

/* ==== the case as a file of its own ========================================================== */
static void add_tensor(void *w, const char *name, const real *x, int ndim, const int *shape) {
    st_add(w, name, x, ndim, shape);
}

static void add_wanted(StWriter *w, const Params *ps) { /* y:3,4 dx:3,5 */
    char *text = need(calloc((size_t)ps->n + 1, MAC_NAME + 12 * MAC_MAX_DIMS)), *at = text;
    for (int i = 0; i < ps->n; i++) {
        at += sprintf(at, "%s%s:", i ? " " : "", ps->p[i]->name);
        for (int k = 0; k < ps->p[i]->t.ndim; k++)
            at += sprintf(at, "%s%d", k ? "," : "", ps->p[i]->t.shape[k]);
    }
    st_add_meta(w, "wanted", text);
    free(text);
}

static void write_case(const Case *c, int level, const StFile *model, const Params *parameters) {
    char err[MAC_ERR], digit[2] = {(char)('0' + level), 0}; /* level: 1 to 9 */
    StWriter *w = need(st_new());
    st_add_meta(w, "format", model ? st_meta(model, "format") : "mac-case");
    for (const MacField *f = mac_fields; model && f->name; f++)
        if (st_meta(model, f->name)) st_add_meta(w, f->name, st_meta(model, f->name));
    st_add_meta(w, "kind", c->kind), st_add_meta(w, "case", c->name);
    st_add_meta(w, "level", digit), st_add_meta(w, "file", vectors);
    add_wanted(w, &c->made);
    visit_params(&c->in, 0, "", add_tensor, w), visit_params(parameters, 0, "", add_tensor, w);
    if (st_write(w, in_scratch("case"), err) != 0) die("%s", err);
}

/* ==== the answer ============================================================================= */
static void wrong_number(const Param *p, int i, double size) {
    wrong("%s[%d] is %.9g, %.9g was expected; the largest of %s is %.3g", p->name, i,
          (double)p->t.grad[i], (double)p->t.data[i], p->name, size);
}

static double worse(double a, double b) { return a != a || a >= b ? a : b; } /* NaN is worst */

/* Reads p of the answer into its grad.  -> error against the largest number, at least `least`. */
static double compare(const Param *p, StFile *f, double least, double tol) {
    const Tensor *t = &p->t;
    int ndim, at = st_find(f, p->name), n = (int)numel(t), fits;
    char err[MAC_ERR];
    const char *dtype;
    const int64_t *shape;
    double size = fmax(largest_of(t), least), worst = 0;
    if (at < 0) return strncmp(p->name, "bits_", 5) ? wrong("it has no %s", p->name), 0 : 0;
    st_info(f, at, &dtype, &ndim, &shape);
    fits = st_size(f, p->name) == n && (ndim == t->ndim || n == 1);
    for (int k = 0; k < t->ndim && fits && n != 1; k++) fits = shape[k] == t->shape[k];
    if (!fits) return wrong("its %s does not have the shape that is wanted", p->name), 0;
    if (st_read(f, p->name, t->grad, n, err) != 0)
        return wrong("its %s is %s, neither F32 nor F64", p->name, dtype), 0;
    for (int i = 0; i < n; i++) {
        double off = fabs((double)t->grad[i] - (double)t->data[i]);
        if (!(off <= tol * size)) wrong_number(p, i, size);
        if (!(off <= 0)) worst = worse(worst, off / size);
    }
    return worst;
}

/* Rounded to 32 bits the numbers are those of the float build; of the file where that has none. */
static int same_bits(const Case *c, const Param *p) {
    char name[CASE_NAME];
    Params ps = {NULL, 0};
    size_t n = numel(&p->t), same = 0;
    snprintf(name, sizeof name, "%s/%s/%s", c->kind, c->name, p->name);
    int at = bits ? st_find(bits, name) : -1;
    const Tensor *want = at < 0 ? &p->t : read_tensor(bits, at, &ps, p->name, 0);
    while (same < n && (float)p->t.grad[same] == (float)want->data[same]) same++;
    params_free(&ps);
    return same == n;
}

/* -> whether all bits are the same */
static int read_answer(Case *c, Level *l) {
    char err[MAC_ERR], begin[41] = "";
    const char *path = in_scratch("answer");
    double least = 0;
    int same = 1;
    StFile *f = st_open(path, err);
    FILE *text = f ? NULL : fopen(path, "rb");
    if (text) begin[fread(begin, 1, 40, text)] = 0, fclose(text);
    if (!f) return wrong("its answer begins \"%s\" and%s", begin, err + strlen(path) + 1), 0;
    for (int i = 0; i < c->made.n; i++)
        if (is_gradient(c, c->made.p[i]->name)) least = fmax(least, largest_of(&c->made.p[i]->t));
    for (int i = 0; i < c->made.n; i++) {
        const Param *p = c->made.p[i];
        double share = is_gradient(c, p->name) ? SMALL : 0;
        l->worst = worse(l->worst, compare(p, f, share * least, l->exact ? 0 : TOL));
        same &= same_bits(c, p);
    }
    for (int i = 0; i < st_count(f) && !*said; i++)
        if (!param_find(&c->made, name_of(f, i)))
            wrong("its answer has %s, which is not wanted", name_of(f, i));
    st_close(f);
    return same && !*said;
}

/* ==== all of them ============================================================================ */
static void run_case(Case *c, Level *l, const StFile *model, const Params *parameters) {
    static const char *const name[] = {"case", "answer", "errors"};
    char line[3 * MAC_ERR], path[3][2 * MAC_ERR], to[16];
    const char *const file[] = {path[0], path[1], path[2]};
    *said = 0;
    for (int i = 0; i < 3; i++) snprintf(path[i], sizeof path[i], "%s", in_scratch(name[i]));
    write_case(c, (int)(l - levels) + 1, model, parameters);
    wrong("%s", child_run(program, file, limit, MOST_BYTES));
    if (!*said && read_answer(c, l)) l->same++;
    l->cases++, l->right += !*said;
    if (!*said) return;
    snprintf(line, sizeof line, "%s/%s of %s: %s", c->kind, c->name, vectors, said);
    puts(line);
    for (int i = 0; i < 3 && !*l->first; i++) {
        snprintf(to, sizeof to, "%d.%s", (int)(l - levels) + 1, name[i]);
        if (rename(path[i], in_scratch(to)) != 0) die("%s: cannot be kept", path[i]);
    }
    if (!*l->first) strcpy(l->first, line);
}

static void run_file(const char *path, const char *only) {
    char full[MAC_ERR], name[2 * MAC_NAME];
    StFile *f = need_file(path), *model = NULL;
    Params parameters = {NULL, 0};
    const char *format = st_meta(f, "format"), *of = st_meta(f, "model");
    vectors = strrchr(path, '/') + 1;
    snprintf(full, sizeof full, "%.*s%s", (int)(vectors - path), path, of ? of : "");
    if (of) model = need_file(full);
    for (int i = 0; of && i < st_count(model); i++)
        read_tensor(model, i, &parameters, name_of(model, i), 0);
    for (int i = 0, n; !strcmp(format, "mac-vectors") && i < st_count(f); i += n) {
        Case c = {.n_out = 0};
        Level *l = levels;
        snprintf(name, sizeof name, "%s", name_of(f, i));
        if (sscanf(name, "%31[^/]/%31[^/]/", c.kind, c.name) != 2) die("%s: %s", path, name);
        while (l->kinds && !has_word(l->kinds, c.kind)) l++;
        if (!l->kinds) die("%s: conform.c knows no such kind", name);
        int len = snprintf(name, sizeof name, "%s/%s/", c.kind, c.name);
        for (n = 1; i + n < st_count(f); n++)
            if (strncmp(name_of(f, i + n), name, (size_t)len)) break;
        snprintf(full, sizeof full, "level %d %s of %s", (int)(l - levels) + 1, name, vectors);
        if (strstr(full, only)) {
            read_case(&c, f, i, i + n, &parameters);
            run_case(&c, l, model, &parameters);
        }
        case_free(&c);
    }
    params_free(&parameters);
    st_close(f), st_close(model);
}

static int report(void) { /* -> whether all is right */
    int cases = 0, right = 0;
    puts("\n| level | cases | right | same bits | worst error | look first at |\n"
         "|---|---|---|---|---|---|");
    for (const Level *l = levels; l->kinds; cases += l->cases, right += l->right, l++)
        if (l->cases)
            printf("| %d | %d | %d | %d | %.1e | %s |\n", (int)(l - levels) + 1, l->cases,
                   l->right, l->same, l->worst, l->first);
    printf("%d of %d cases are right\n", right, cases);
    return right == cases && cases > 0;
}

int main(int argc, char **argv) {
    program_begin("conform");
    if (argc < 6 || !is_number(argv[3], 0.001, 1e6, &limit) || !*argv[2])
        die("usage: conform SCRATCH PROGRAM SECONDS ONLY FILE...; see tests/vectors/CONFORM.md");
    scratch = argv[1], program = argv[2];
    if (FLOATS) bits = need_file("tests/vectors/bits.safetensors");
    for (int i = 5; i < argc; i++)
        if (!strstr(argv[i], "/bits.")) run_file(argv[i], argv[4]);
    st_close(bits);
    return !report();
}
