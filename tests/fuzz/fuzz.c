/* fuzz.c - any bytes at all into the readers: they refuse with one sentence, or what they give out
 * keeps its promises.  The first byte of an input chooses the reader:
 *
 *   s  a safetensors file as it is          j  a corpus in JSON Lines     q  one as SQuAD's JSON
 *   h  one of which the length is added     c  one in csv                 p  one in plain text
 *   m  a model   b  a bank, likewise        t  a tokenizer's merges, 0xFF, a text
 *
 * h, m and b are: header, 0xFF (no UTF-8 has it), data.  MAC_FUZZ=b chooses for all inputs.
 * `make fuzz` links libFuzzer; as a plain program it reads the files named on its command line,
 * or standard input (AFL).  tests/fuzz/seeds has the seeds and whatever was once found. */
#if defined(__unix__) || defined(__APPLE__)
#define _POSIX_C_SOURCE 200809L
#include <unistd.h>
#else
#define getpid() 0
#endif
#include "data/data.h"
#include "data/json.h"
#include "mac.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static char err[MAC_ERR];

#define MUST(ok, what) do { if (!(ok)) { fprintf(stderr, "%s:%d: %s: \"%s\"\n", __FILE__,    \
    __LINE__, what, err); abort(); } } while (0)

static void *need(void *p) {
    MUST(p, "out of memory");
    return p;
}

static void sentence(int refused) {
    size_t n = strlen(err);
    int plain = n > 10 && n < MAC_ERR;
    for (size_t i = 0; i < n; i++) plain = plain && (unsigned char)err[i] >= ' ' && err[i] != 127;
    MUST(!refused || plain, "refused without a sentence");
    MUST(n < 13 || strcmp(err + n - 13, "out of memory"), "a small input asks for much memory");
}

/* The input as a file; `composed`: see h above. */
static const char *file_of(const uint8_t *data, size_t n, const char *kind, int composed) {
    static char path[400];
    const char *dir = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.300s/mac_fuzz.%ld%s", dir ? dir : ".", (long)getpid(), kind);
    const uint8_t *end = composed && n ? memchr(data, 0xFF, n) : NULL;
    size_t header = end ? (size_t)(end - data) : n;
    remove(path); /* replacing a file in place makes some systems wait for the disk */
    FILE *f = need(fopen(path, "wb"));
    for (int i = 0; composed && i < 8; i++) putc((int)((uint64_t)header >> (8 * i) & 0xff), f);
    fwrite(data, 1, header, f);
    if (end) fwrite(end + 1, 1, n - header - 1, f);
    MUST(fclose(f) == 0, "the scratch file cannot be written");
    return path;
}

/* ---- tensors, models, banks ---- */
static void fuzz_tensors(const char *path) {
    StFile *f = st_open(path, err);
    sentence(!f);
    for (int i = 0; f && i < st_count(f); i++) {
        const char *dtype;
        const int64_t *shape;
        int ndim;
        const char *name = st_info(f, i, &dtype, &ndim, &shape);
        int64_t size = st_size(f, name);
        MUST(st_find(f, name) == i && size >= 0 && size <= 1 << 20, "a tensor is lost");
        real *x = need(malloc((size_t)size * sizeof *x + 1));
        unsigned char *bytes = need(malloc((size_t)size * 2 + 1)), sum = 0;
        int reals = st_read(f, name, x, size, err) == 0;
        int raw = st_read_bytes(f, name, bytes, size, err) == 0;
        const unsigned char *at = st_map(f, name);
        MUST(!reals || !raw, "a tensor is both numbers and bytes");
        size_t one = !strcmp(dtype, "U8") ? 1 : !strcmp(dtype, "F16") ? 2 : sizeof(real);
        for (size_t k = 0; at && k < (size_t)size * one; k++) sum = (unsigned char)(sum + at[k]);
        MUST(!at || !raw || !memcmp(at, bytes, (size_t)size * one), "mapped, it is another");
        free(x), free(bytes);
    }
    st_close(f);
}

static void fuzz_model(const char *path) {
    static const int ids[] = {0, 0, 0};
    StFile *f = st_open(path, err);
    Model *m = f ? model_load(f, err) : NULL;
    sentence(!m);
    if (m) { /* it can be asked, whatever its weights are */
        Tape *tp = need(tape_new((size_t)64 << 20));
        Bank *b = need(bank_new(m->c.T, m->c.d, model_fingerprint(m)));
        Ids x = {ids, 1};
        int answer[2], len;
        Tensor *phi = mac_encode(m, tp, &x, 1);
        if (phi) MUST(bank_add(b, "id", "title", 1, phi->data) == 1, "the bank");
        if (phi && mac_answer(m, tp, &x, 1, b, 2, answer, &len, NULL) == 0)
            for (int i = 0; i < len; i++) MUST(answer[i] >= 0 && answer[i] < m->c.V, "no token");
        bank_free(b), tape_free(tp);
    }
    model_free(m), st_close(f);
}

/* What opens is asked, checked, forgotten from, and learned into, if it fits a model's sizes. */
static void fuzz_bank(const char *path) {
    const MacConfig c = {.T = 2, .d = 2};
    Bank *b = bank_load_whole(path, err);
    sentence(!b);
    if (!b) b = bank_load(path, err);
    sentence(!b);
    if (!b) return;
    BankEntry e, first = {NULL, NULL, 0};
    int n = 0, same = 0;
    real *phi = need(calloc((size_t)b->T * (size_t)b->d, sizeof *phi));
    real *own = need(calloc(4, sizeof *own));
    for (const char *at = NULL; (at = bank_next(b, at, &e)); n++) {
        MUST(bank_find(b, e.id) >= 0, "an entry is not found");
        bank_read(b, n, 1, phi);
        if (n == 0) first = e;
        same += !strcmp(e.id, first.id);
    }
    MUST(n == b->K, "entries and vectors do not agree");
    sentence(bank_check(b, path, err));
    if (n) MUST(bank_remove(b, first.id) == 0 && b->K == n - same, "an entry stays");
    n = b->K;
    int fits = !bank_misfit(b, c.T, c.d, b->model, b->tokens);
    int added = fits ? bank_add(b, "new", "new", bank_key(b, "new"), own) : 0;
    MUST(added >= 0 && b->K == n + added, "an entry is not added");
    bank_free(b);
    free(phi), free(own);
}

/* ---- text ---- */
static void check_corpus(const Corpus *c) {
    for (int i = 0; i < c->n_docs; i++) {
        const Doc *d = &c->docs[i];
        MUST(d->hash == text_hash(d->text) && d->id[0], "a document without hash or id");
        for (int k = 0; k < d->n_qas; k++) MUST(c->qas[d->qas[k]].doc == i, "a question strays");
    }
    for (int i = 0; i < c->n_qas; i++) {
        const Qa *q = &c->qas[i];
        int found = 0;
        for (int k = 0; k < q->n_a; k++) found |= q->a[k] == q->target && q->a[k][0];
        MUST(found && q->doc >= 0 && q->doc < c->n_docs, "a question without answer or document");
        score_add(&(Score){0, 0, 0, 0}, q, q->q);
    }
}

/* The file whole and two documents at a time. */
static void fuzz_corpus(const char *path, const char *format) {
    Corpus c = {0}, part = {0};
    int bad = corpus_read_as(&c, path, format, err), got = -1;
    sentence(bad);
    MUST(!bad || c.n_docs == 0, "a refused corpus is not empty");
    check_corpus(&c);
    CorpusReader *r = corpus_open(path, format, err);
    while (r && (got = corpus_next(r, &part, 2, err)) > 0) check_corpus(&part);
    sentence(got < 0);
    MUST((got < 0) == (bad != 0), "whole it is good, in parts not, or the reverse");
    corpus_close(r);
    corpus_free(&part), corpus_free(&c);
}

/* JSON in a buffer that ends where the text does. */
static void fuzz_json(const uint8_t *data, size_t n) {
    for (int strict = 0; strict < 2; strict++) {
        char *text = need(malloc(n + 1));
        JsonPool pool = {.strict = strict, .limit = strict ? n : 0};
        memcpy(text + 1, data, n); /* a byte too many stands in front */
        Json *v = json_parse(&pool, text + 1, n, 1, err);
        sentence(!v);
        MUST(pool.n <= n, "more values than bytes");
        json_free(&pool);
        free(text);
    }
}

static void fuzz_tokenizer(const uint8_t *data, size_t n) {
    const uint8_t *end = n ? memchr(data, 0xFF, n) : NULL;
    size_t n_dump = end ? (size_t)(end - data) : n, rest = end ? n - n_dump - 1 : 0, back;
    char *dump = need(calloc(n_dump + 1, 1)), *again, *text;
    if (n_dump) memcpy(dump, data, n_dump);
    Tokenizer *t = tok_load(dump, err);
    sentence(!t);
    if (t) {
        MUST(!strcmp(again = need(tok_dump(t)), dump), "it is dumped as another");
        int *ids = need(malloc((rest + 1) * sizeof *ids));
        int k = tok_encode(t, end ? (const char *)end + 1 : "", rest, ids, (int)rest);
        MUST(k >= 0 && (size_t)k <= rest, "more ids than bytes");
        for (int i = 0; i < k; i++) MUST(ids[i] >= 0 && ids[i] < tok_eos(t), "no id of a text");
        text = need(tok_decode(t, ids, k, &back));
        MUST(back == rest && (!rest || !memcmp(text, end + 1, rest)), "a text comes back changed");
        for (int i = 0; i < (int)rest; i++) ids[i] = end[1 + i] * 7 - 300; /* ids that are none */
        free(text);
        free(need(tok_decode(t, ids, (int)rest, &back)));
        free(again), free(ids);
    }
    tok_free(t);
    free(dump);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const char *fixed = getenv("MAC_FUZZ");
    if (n == 0) return 0;
    char kind = fixed && fixed[0] ? fixed[0] : (char)data[0];
    data++, n--;
    err[0] = 0;
    switch (kind) {
    case 's': fuzz_tensors(file_of(data, n, "", 0)); break;
    case 'h': fuzz_tensors(file_of(data, n, "", 1)); break;
    case 'm': fuzz_model(file_of(data, n, "", 1)); break;
    case 'b': fuzz_bank(file_of(data, n, "", 1)); break;
    case 'j': fuzz_corpus(file_of(data, n, ".jsonl", 0), NULL); fuzz_json(data, n); break;
    case 'q': fuzz_corpus(file_of(data, n, ".json", 0), NULL); fuzz_json(data, n); break;
    case 'c': fuzz_corpus(file_of(data, n, ".csv", 0), NULL); break;
    case 'p':
        fuzz_corpus(file_of(data, n, ".txt", 0), n && data[0] == '\n' ? "paragraphs" : NULL);
        break;
    case 't': fuzz_tokenizer(data, n); break;
    default: break;
    }
    return 0;
}

#ifndef MAC_LIBFUZZER
static void one_file(FILE *f, const char *name) {
    static uint8_t bytes[1 << 20];
    if (!f) fprintf(stderr, "%s cannot be read\n", name), exit(1);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    uint8_t *exact = need(malloc(n ? n : 1)); /* a read behind it shows */
    memcpy(exact, bytes, n);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
    if (f != stdin) fclose(f);
}

int main(int argc, char **argv) {
    if (argc < 2) one_file(stdin, "standard input");
    for (int i = 1; i < argc; i++) one_file(fopen(argv[i], "rb"), argv[i]);
    static const char *const kinds[] = {"", ".jsonl", ".json", ".csv", ".txt"};
    for (int i = 0; i < 5; i++) remove(file_of((const uint8_t *)"", 0, kinds[i], 0));
    printf("%-14s %7d inputs, 0 failed\n", "fuzz", argc < 2 ? 1 : argc - 1);
    return 0;
}
#endif
