/* program.c - messages, arguments, text to ids: see program.h. */
#include "program.h"
#include "file.h"
#include "json.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ==== messages =============================================================================== */
static const char *program = "mac";

static void tell(const char *before, const char *between, const char *format, va_list args,
                 const char *after) {
    char line[2048];
    vsnprintf(line, sizeof line, format, args);
    plain_line(line);
    fprintf(stderr, "%s%s%s%s\n", before, between, line, after);
}

void note(const char *format, ...) {
    va_list args;
    va_start(args, format);
    tell("", "", format, args, "");
    va_end(args);
}

void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    tell(program, ": ", format, args, "");
    va_end(args);
    exit(1);
}

void usage(const char *format, ...) {
    char after[64];
    va_list args;
    va_start(args, format);
    snprintf(after, sizeof after, "; see %s --help", program);
    tell(program, ": ", format, args, after);
    va_end(args);
    exit(2);
}

void *need(void *p) {
    if (!p) die("out of memory");
    return p;
}

char *need_copy(const char *text) {
    size_t n = strlen(text) + 1;
    return memcpy(need(malloc(n)), text, n);
}

StFile *need_file(const char *path) {
    char err[MAC_ERR];
    StFile *f = st_open(path, err);
    if (!f) die("%s", err);
    return f;
}

void note_skipped(const Corpus *c, const char *path) {
    if (c->n_skipped)
        note("%s: %d rows left out, the first: %s", path, c->n_skipped, c->skipped);
}

void need_corpus(Corpus *c, const char *path, const char *format) {
    char err[MAC_ERR];
    if (corpus_read_as(c, path, format, err) != 0) die("%s", err);
    note_skipped(c, path);
}

void program_begin(const char *name) {
    static char words[100]; /* for as long as the program runs: a signal says them */
    char err[MAC_ERR];
    program = name;
    snprintf(words, sizeof words,
             "%s: a file was cut short by another program while it was read\n", name);
    if (file_guard(words, err) != 0) die("%s", err);
}

/* ==== arguments ============================================================================== */
int args_next(Args *a) {
    if (*a->next && !a->only_words && !strcmp(*a->next, "--")) a->next++, a->only_words = 1;
    if (!*a->next) return 0;
    a->arg = *a->next++;
    a->value = strchr(a->arg, '=');
    a->n = a->value ? (size_t)(a->value++ - a->arg) : strlen(a->arg);
    return 1;
}

int args_is_word(const Args *a) { return a->only_words || *a->arg != '-' || !a->arg[1]; }

int args_is(const Args *a, const char *name) {
    return !strncmp(a->arg, "--", 2) && !strncmp(a->arg + 2, name, a->n - 2) && !name[a->n - 2];
}

int args_is_help(const Args *a) {
    return !a->only_words && (!strcmp(a->arg, "--help") || !strcmp(a->arg, "-h"));
}

char *args_value(Args *a) {
    if (a->value) return a->value;
    if (!*a->next) usage("%s needs a value", a->arg);
    return *a->next++;
}

int is_number(const char *text, double least, double most, double *x) {
    char *end;
    *x = strtod(text, &end);
    return !*end && end != text && *x >= least && *x <= most;
}

/* ==== text to ids ============================================================================ */
void *reader_room(Reader *r, int n, size_t size) {
    return need(r->alloc(r->arena, (size_t)n * size));
}

static Ids ids_of(Reader *r, Prompt prompt, const char *text, int most) {
    int *id = reader_room(r, most, sizeof *id), n = prompt(r->tok, text, id, most, &r->cut);
    if (n < 0) need(NULL);
    return (Ids){id, n};
}

Ids reader_document(Reader *r, const char *text) {
    Ids x = ids_of(r, prompt_document, text, r->D);
    x.doc = x.n;
    return x;
}
Ids reader_question(Reader *r, const char *text) { return ids_of(r, prompt_question, text, r->Q); }
Ids reader_answer(Reader *r, const char *text) { return ids_of(r, prompt_answer, text, r->A); }

Ids reader_joined(Reader *r, Ids a, Ids b) {
    int *id = reader_room(r, a.n + b.n, sizeof *id);
    if (a.n) memcpy(id, a.id, (size_t)a.n * sizeof *id);
    if (b.n) memcpy(id + a.n, b.id, (size_t)b.n * sizeof *id);
    return (Ids){id, a.n + b.n, a.doc};
}

Tokenizer *tokenizer_of(const StFile *f, int V, char *err) {
    char why[MAC_ERR];
    const char *dump = st_meta(f, "tokenizer");
    Tokenizer *t = dump ? tok_load(dump, why) : NULL;
    if (!dump) st_fail(f, err, "there is no tokenizer in it");
    else if (!t) st_fail(f, err, "%s", why);
    else if (tok_size(t) != V) st_fail(f, err, "the tokenizer does not fit the model");
    if (!t || tok_size(t) == V) return t;
    tok_free(t);
    return NULL;
}
