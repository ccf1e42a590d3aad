/* lib.c - cells, and the laboratory: what every experiment needs before it measures. */
#include "paper.h"
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ==== cells: "paper cell HASH", a line "key value" for each number, "end" ==================== */
uint64_t file_print(uint64_t hash, const char *path) {
    FILE *f = fopen(path, "rb");
    char bytes[1 << 14];
    if (!f) return 0;
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, f)) > 0;) hash = fnv1a(hash, bytes, n);
    fclose(f);
    return hash;
}

int cell_read(Cell *c, const char *path, uint64_t made_by) {
    char text[200], whole = 0;
    unsigned long long hash = 0;
    snprintf(c->path, sizeof c->path, "%s", path);
    c->made_by = made_by, c->n = 0;
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    int ok = fgets(text, sizeof text, f) && sscanf(text, "paper cell %16llx", &hash) == 1
             && (hash == made_by || made_by == 0);
    while (ok && !whole && fgets(text, sizeof text, f)) {
        whole = !strcmp(text, "end\n");
        if (whole) break;
        ok = c->n < CELL_LINES
             && sscanf(text, "%39s %lf", c->line[c->n].key, &c->line[c->n].value) == 2;
        c->n += ok;
    }
    fclose(f);
    if (ok && whole) return 0;
    c->n = 0;
    return -1;
}

double cell_get(const Cell *c, const char *key) {
    for (int i = 0; i < c->n; i++)
        if (!strcmp(c->line[i].key, key)) return c->line[i].value;
    return (double)NAN;
}

void cell_put(Cell *c, const char *key, double value) {
    if (c->n == CELL_LINES) die("%s: more than %d numbers", c->path, CELL_LINES);
    snprintf(c->line[c->n].key, sizeof c->line[c->n].key, "%s", key);
    c->line[c->n++].value = value;
}

void cell_note(Cell *c, const char *who, const char *what, double value) {
    char key[40];
    snprintf(key, sizeof key, "%.20s.%.18s", who, what);
    cell_put(c, key, value);
}

int cell_write(const Cell *c, char *err) {
    char beside[620];
    snprintf(beside, sizeof beside, "%s.new", c->path);
    FILE *f = fopen(beside, "w");
    if (f) fprintf(f, "paper cell %016llx\n", (unsigned long long)c->made_by);
    for (int i = 0; f && i < c->n; i++)
        fprintf(f, "%s %.17g\n", c->line[i].key, c->line[i].value);
    if (f) fputs("end\n", f);
    int failed = !f || ferror(f);
    if (f && fclose(f) != 0) failed = 1;
    if (!failed && rename(beside, c->path) == 0) return 0;
    snprintf(err, MAC_ERR, "%.400s: cannot be written", c->path);
    return -1;
}

/* ==== the laboratory ========================================================================= */
void lab_path(const Lab *l, char *to, size_t n, const char *folder, const char *what) {
    snprintf(to, n, "%s/%s/%s%s", l->dir, folder, l->name, what);
}

int lab_cell(const Lab *l, Cell *c, const char *what) {
    char path[512], ending[100];
    snprintf(ending, sizeof ending, ".%s.txt", what);
    lab_path(l, path, sizeof path, "cells", ending);
    return cell_read(c, path, l->made_by) == 0;
}

static double opened;
void lab_keep(Cell *c) {
    char err[MAC_ERR];
    cell_put(c, "took", mac_seconds() - opened); /* seconds: for whoever wants to make it shorter */
    if (cell_write(c, err) != 0) die("%s", err);
}

void lab_say(const Lab *l, const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", l->name);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

/* Corpora are sorted: wnnames has its places first, then its people.  A stream has no order, and
 * the first 200 documents stand for all.  The questions stay where they are. */
static void shuffle(Corpus *c, int seed) {
    uint64_t rng = (uint64_t)seed + 41;
    for (int i = c->n_docs - 1; i > 0; i--) {
        int j = rng_below(&rng, i + 1);
        Doc d = c->docs[i];
        c->docs[i] = c->docs[j], c->docs[j] = d;
    }
    for (int i = 0; i < c->n_docs; i++)
        for (int k = 0; k < c->docs[i].n_qas; k++) c->qas[c->docs[i].qas[k]].doc = i;
}

/* One split; quick: `most` of its documents, and of the questions those that belong to them. */
static void read_split(Lab *l, Corpus *c, const char *split, int most) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s.jsonl", l->corpus, split);
    l->made_by = file_print(l->made_by, path);
    need_corpus(c, path, NULL);
    shuffle(c, l->seed);
    for (int i = c->n_docs; l->quick && i > most; i--) {
        Doc *d = &c->docs[i - 1];
        free(d->id), free(d->title), free(d->text), free(d->qas);
        c->n_docs = i - 1;
    }
}

static void open_model(Lab *l) {
    char path[512], err[MAC_ERR];
    lab_path(l, path, sizeof path, "models", ".safetensors");
    l->made_by = file_print(l->made_by, path);
    StFile *f = need_file(path);
    l->m = model_load(f, err);
    if (!l->m) die("%s", err);
    const MacConfig *c = &l->m->c;
    l->tp = need(tape_new(0));
    l->reader = (Reader){tokenizer_of(f, c->V, err), c->D, c->Q, c->A, l->tp, tape_alloc, 0};
    if (!l->reader.tok) die("%s", err);
    const char *select = st_meta(f, "select");
    l->select = select ? atoi(select) : 0;
    st_close(f);
    param_freeze(&l->m->ps, "", 1);
}

void lab_open(Lab *l, char **argv) {
    opened = mac_seconds();
    *l = (Lab){.dir = argv[1], .corpus = argv[2], .name = argv[3], .seed = atoi(argv[4]),
               .quick = atoi(argv[5])};
    l->made_by = file_print(MAC_FNV, argv[0]);
    if (!l->made_by) die("%s cannot be read: cells must know what made them", argv[0]);
    for (int i = 2; i < 6; i++) l->made_by = fnv1a(l->made_by, argv[i], strlen(argv[i]) + 1);
    read_split(l, &l->train, "train", 1 << 30);
    read_split(l, &l->valid, "valid", 60);
    read_split(l, &l->test, "test", 120);
    open_model(l);
    const char *threads = getenv("PAPER_THREADS"); /* they change no bits */
    pool_start(threads ? atoi(threads) : 2);
}

int lab_begin(Lab *l, Cell *c, int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/');
    program_begin(slash ? slash + 1 : argv[0]);
    if (argc != 7) die("usage: DIR CORPUS NAME SEED QUICK WHAT");
    lab_open(l, argv);
    return !lab_cell(l, c, argv[6]);
}

void lab_fresh(Lab *l) {
    tape_free(l->tp);
    l->reader.arena = l->tp = need(tape_new(0));
}

void lab_close(Lab *l) {
    tape_free(l->tp);
    tok_free(l->reader.tok);
    model_free(l->m);
    corpus_free(&l->train), corpus_free(&l->valid), corpus_free(&l->test);
    pool_stop();
}

/* ==== ids, learning, asking ================================================================== */
/* Question and answer behind one another; the answer begins at *asked_from. */
Ids lab_pair(Lab *l, const char *question, const char *answer, int *asked_from) {
    Ids q = reader_question(&l->reader, question);
    Ids a = reader_answer(&l->reader, answer);
    *asked_from = q.n;
    return reader_joined(&l->reader, q, a);
}

Bank *lab_learn(Lab *l, const Corpus *c, int first, int last, int batch) {
    size_t per = (size_t)l->m->c.T * (size_t)l->m->c.d;
    Bank *b = need(bank_new(l->m->c.T, l->m->c.d, 0));
    for (int at = first; at < last; at += batch) {
        int n = at + batch < last ? batch : last - at;
        tape_reset(l->tp);
        tape_record(l->tp, 0);
        Ids *x = reader_room(&l->reader, n, sizeof *x);
        for (int i = 0; i < n; i++)
            x[i] = reader_document(&l->reader, c->docs[at + i].text);
        Tensor *phi = mac_encode(l->m, l->tp, x, n);
        if (!phi) die("%s", tape_error(l->tp));
        for (int i = 0; i < n; i++) {
            const Doc *d = &c->docs[at + i];
            if (bank_add(b, d->id, d->title, d->hash, phi->data + (size_t)i * per) != 1)
                die("%s: two documents have the same hash, or no memory", d->id);
        }
        tape_record(l->tp, 1);
    }
    return b;
}

#define ASK_BATCH 64
static void ask_batch(Lab *l, const Corpus *c, const int *qa, int n, const Asking *how,
                      Score *sum) {
    int cap = l->m->c.A;
    tape_reset(l->tp);
    Ids *q = reader_room(&l->reader, 2 * n, sizeof *q), *context = q + n;
    int *out = reader_room(&l->reader, n * cap, sizeof *out);
    int *len = reader_room(&l->reader, n, sizeof *len);
    for (int i = 0; i < n; i++) {
        const Qa *x = &c->qas[qa[i]];
        q[i] = reader_question(&l->reader, x->q);
        if (how->gold) context[i] = reader_document(&l->reader, c->docs[x->doc].text);
    }
    AnswerOptions o = {.beams = how->beams, .beam_groups = how->groups, .penalty = how->penalty,
                       .select = l->select, .context = how->gold ? context : NULL};
    if (mac_answer(l->m, l->tp, q, n, how->bank, cap, out, len, &o) != 0)
        die("%s", tape_error(l->tp));
    for (int i = 0; i < n; i++) {
        size_t bytes;
        char *text = need(tok_decode(l->reader.tok, out + i * cap, len[i], &bytes));
        score_add(sum, &c->qas[qa[i]], text); /* its normalisation drops blanks at both ends */
        free(text);
    }
}

int lab_one(const Corpus *c, int doc) {
    return c->docs[doc].qas[doc % c->docs[doc].n_qas];
}

int *lab_questions(const Corpus *c, int first, int last, int one, int *n) {
    int *qa = need(malloc(((size_t)c->n_qas + 1) * sizeof *qa));
    *n = 0;
    for (int i = first; i < last; i++)
        for (int k = 0; k < c->docs[i].n_qas; k++)
            if (!one || c->docs[i].qas[k] == lab_one(c, i)) qa[(*n)++] = c->docs[i].qas[k];
    return qa;
}

void lab_ask_these(Lab *l, const Corpus *c, const int *qa, int n, const Asking *how, Score *sum) {
    for (int at = 0; at < n; at += ASK_BATCH)
        ask_batch(l, c, qa + at, n - at < ASK_BATCH ? n - at : ASK_BATCH, how, sum);
}

void lab_ask(Lab *l, const Corpus *c, int first, int last, const Asking *how, Score *sum) {
    int n, *qa = lab_questions(c, first, last, how->one, &n);
    lab_ask_these(l, c, qa, n, how, sum);
    free(qa);
}

void lab_put_score(Cell *c, const char *before, const Score *s) {
    char key[40];
    double n = s->n ? s->n : 1;
    const double value[4] = {s->n, s->em / n, s->prefix / n, s->f1 / n};
    static const char *const name[4] = {"questions", "em", "prefix", "f1"};
    for (int i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%s%s", before, name[i]);
        cell_put(c, key, value[i]);
    }
}
