/* answer.c - our own code as a program that `make conform` can ask (CONFORM.md): reads a case from
 * standard input, which must be a file, and writes what the code makes of it.
 *   answer SCRATCH < CASE > ANSWER      SCRATCH: a folder for files */
#include "vectors.h"

static Tape *tp;

static void read_tensor(StFile *f, Params *ps, const char *file_name, const char *name) {
    char err[MAC_ERR];
    const char *dtype;
    const int64_t *s;
    int ndim, i = st_find(f, file_name);
    if (i < 0) return;
    st_info(f, i, &dtype, &ndim, &s);
    int a = (int)s[0], b = ndim > 1 ? (int)s[1] : 1, c = ndim > 2 ? (int)s[2] : 1;
    Tensor *t = need(param_new(ps, name, ndim, a, b, c));
    if (st_read(f, file_name, t->data, (int64_t)numel(t), err) != 0) die("%s", err);
}

static void read_inputs(StFile *f, Case *c, const char *names, int constant) {
    char name[MAC_NAME];
    for (int n; sscanf(names, "%127s%n", name, &n) == 1; names += n) {
        read_tensor(f, &c->in, name, name);
        if (constant) param_freeze(&c->in, name, 1);
    }
}

static void add(void *w, const char *name, const real *x, int ndim, const int *shape) {
    st_add(w, strchr(strchr(name, '/') + 1, '/') + 1, x, ndim, shape); /* kind/case/name */
}

static void write_answer(StWriter *w) { /* st_write needs a place that it can go back in */
    char path[MAC_ERR], err[MAC_ERR], bytes[1 << 12];
    snprintf(path, sizeof path, "%s/own", scratch);
    if (st_write(w, path, err) != 0) die("%s", err);
    FILE *f = need(fopen(path, "rb"));
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, f)) > 0;) fwrite(bytes, 1, n, stdout);
    fclose(f);
}

int main(int argc, char **argv) {
    char err[MAC_ERR], name[MAC_NAME];
    program_begin("answer");
    if (argc != 2) die("usage: answer SCRATCH < CASE > ANSWER");
    scratch = argv[1], tp = need(tape_new(0));
    StFile *f = need_file("/dev/stdin");
    StWriter *w = need(st_new());
    Case c = {.m = NULL};
    snprintf(c.kind, sizeof c.kind, "%s", st_meta(f, "kind"));
    snprintf(c.name, sizeof c.name, "%s", st_meta(f, "case"));
    if (strcmp(st_meta(f, "format"), "mac-case") && !(c.m = model_load(f, err))) die("%s", err);
    const Kind *k = kind_find(c.kind);
    if (!k) die("there is no kind \"%s\"", c.kind);
    read_inputs(f, &c, k->inputs, 0), read_inputs(f, &c, k->constants, 1);
    case_forward(tp, &c);
    for (int i = 0; i < c.n_out; i++) {
        snprintf(name, sizeof name, "d%s", c.out_name[i]);
        read_tensor(f, &c.weight, name, name + 1);
    }
    if (case_backward(tp, &c) != 0) die("%s", tape_error(tp));
    case_visit_made(&c, add, w);
    write_answer(w);
    st_close(f);
    case_free(&c);
    model_free(c.m);
    tape_free(tp);
    return 0;
}
