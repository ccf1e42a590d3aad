/* test_data.c - the data/ room.  Runs from the top of the repository; its argument is a folder
 * for scratch files, "." when there is none. */
#include "data/data.h"
#include "data/json.h"
#include "data/people_words.h"
#include "check.h"
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *scratch = ".";
static char err[MAC_ERR];

static char *read_all(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    size_t cap = 1 << 22;
    char *buf = malloc(cap);
    CHECK(f && buf, "%s: not there", path);
    *n = f && buf ? fread(buf, 1, cap - 1, f) : 0;
    if (buf) buf[*n] = 0;
    if (f) fclose(f);
    return buf;
}

static void write_all(const char *path, const char *bytes, size_t n) {
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, n, f) == n, "%s: cannot write", path);
    if (f) fclose(f);
}

/* ---- corpus ---- */

typedef struct {
    const char *name;
    int n_docs, n_skipped;
    const char *why[2];          /* words of the reason when it must be refused               */
} Sample;

static const Sample samples[] = {
    {"squad_ok.json", 3, 0, {0}}, {"squad_bom_crlf.json", 3, 0, {0}},
    {"squad_nasty.json", 4, 5, {0}}, {"squad_utf8.json", 1, 0, {0}},
    {"squad_lone_surrogate.json", 1, 0, {0}}, {"squad_dup_keys.json", 1, 0, {0}},
    {"squad_hf.csv", 4, 0, {0}}, {"streamingqa_ok.csv", 2, 0, {0}},
    {"streamingqa_nasty.csv", 14, 7, {0}}, {"streamingqa_bom_crlf.csv", 2, 0, {0}},
    {"streamingqa_all_quoted.csv", 2, 0, {0}}, {"streamingqa_no_final_newline.csv", 2, 0, {0}},
    {"streamingqa_cr_only.csv", 1, 0, {0}}, {"streamingqa_long_field.csv", 1, 0, {0}},
    {"streamingqa_header_only.csv", 0, 0, {0}}, {"archivalqa_ok.csv", 3, 0, {0}},
    {"archivalqa_nasty.csv", 5, 2, {0}}, {"qa_ok.jsonl", 4, 2, {0}},
    {"qa_bom_crlf.jsonl", 4, 2, {0}},
    {"archivalqa_bad_missing_column.csv", 0, 0, {"\"ans_paragraph\"", "\"ans_text\""}},
    {"qa_bad_line.jsonl", 0, 0, {"line 2", "unexpected end of input inside a string"}},
    {"squad_bad_deep.json", 0, 0, {"byte 72:", "nested too deeply"}},
    {"squad_bad_empty.json", 0, 0, {"squad_bad_empty.json", "empty file"}},
    {"squad_bad_escape.json", 0, 0, {"byte 22:", "bad escape"}},
    {"squad_bad_garbage_after.json", 0, 0, {"byte 1476:", "extra data after the top-level"}},
    {"squad_bad_nan.json", 0, 0, {"byte 43:", "found NaN, expected a value"}},
    {"squad_bad_no_data.json", 0, 0, {"no member", "\"data\""}},
    {"squad_bad_raw_newline.json", 0, 0, {"byte 21:", "unescaped control character"}},
    {"squad_bad_trailing_comma.json", 0, 0, {"byte 39:", "trailing comma before '}'"}},
    {"squad_bad_truncated.json", 0, 0, {"byte 401:", "unexpected end of input"}},
    {"squad_bad_type.json", 0, 0, {"\"paragraphs\"", "not an array"}},
    {"squad_bad_utf8.json", 0, 0, {"byte 20:", "invalid UTF-8"}},
    {"streamingqa_bad_empty.csv", 0, 0, {"streamingqa_bad_empty.csv", "empty file"}},
    {"streamingqa_bad_missing_column.csv", 0, 0,
     {"no column \"answers\"", "(found: , qa_id, question, question_ts, evidence_ts, text)"}},
    {"streamingqa_bad_nul.csv", 0, 0, {"line 2, byte 4:", "NUL byte"}},
    {"streamingqa_bad_unterminated.csv", 0, 0, {"line 2", "end of file inside a quoted field"}},
    {"streamingqa_bad_utf8.csv", 0, 0, {"line 2, byte 9:", "invalid UTF-8"}},
    {"streamingqa_original.jsonl", 0, 0, {"line 1", "no text"}}};
enum { N_SAMPLES = sizeof samples / sizeof *samples };

static const char *member(const Json *o, const char *key) {
    const Json *v = json_get(o, key);
    return v && v->type == JSON_STRING ? v->str : "";
}

/* Rows of equal text are one document, which has the first of their titles. */
static const char *expected_title(Json *const *row, int n, const char *text) {
    for (int i = 0; i < n; i++)
        if (strcmp(member(row[i], "text"), text) == 0 && *member(row[i], "title"))
            return member(row[i], "title");
    return "";
}

static void check_row(const char *name, int i, const Corpus *c, const Json *want,
                      const char *title) {
    const Qa *qa = &c->qas[i];
    const Doc *d = &c->docs[qa->doc];
    const Json *list = json_get(want, "answers"), *a = list ? list->child : NULL;
    CHECK(strcmp(d->title, title) == 0, "%s %d: title %s, not %s", name, i, d->title, title);
    CHECK(strcmp(d->text, member(want, "text")) == 0, "%s %d: text %s", name, i, d->text);
    CHECK(strcmp(qa->q, member(want, "q")) == 0, "%s %d: q %s", name, i, qa->q);
    CHECK(strcmp(qa->target, member(want, "target")) == 0, "%s %d: %s", name, i, qa->target);
    for (int k = 0; k < qa->n_a; k++, a = a ? a->next : NULL)
        CHECK(a && strcmp(qa->a[k], a->str) == 0, "%s %d: answer %s", name, i, qa->a[k]);
    CHECK(!a, "%s %d: answer %s is missing", name, i, a ? a->str : "");
}

static void check_expected(const char *name, const Corpus *c) {
    char path[200];
    size_t n;
    Json *row[100];
    JsonPool pool = {0};
    int n_rows = 0;
    snprintf(path, sizeof path, "tests/unit/samples/expected/%s.jsonl", name);
    char *text = read_all(path, &n);
    for (char *p = text, *stop; p && *p && n_rows < 100; p = stop + 1) {
        stop = strchr(p, '\n');
        row[n_rows] = json_parse(&pool, p, (size_t)(stop - p), n_rows + 1, err);
        CHECK(row[n_rows], "%s: %s", path, err);
        if (!row[n_rows++]) return;
    }
    CHECK(c->n_qas == n_rows, "%s: %d questions, expected %d", name, c->n_qas, n_rows);
    for (int i = 0; i < n_rows && i < c->n_qas; i++)
        check_row(name, i, c, row[i], expected_title(row, n_rows, member(row[i], "text")));
    json_free(&pool);
    free(text);
}

/* Every question is in the list of its document, in order, and in no other. */
static void check_index(const char *name, const Corpus *c) {
    int listed = 0;
    for (int i = 0; i < c->n_docs; i++)
        for (int k = 0; k < c->docs[i].n_qas; k++, listed++) {
            int qa = c->docs[i].qas[k];
            CHECK(c->qas[qa].doc == i, "%s: question %d is not of document %d", name, qa, i);
            CHECK(k == 0 || qa > c->docs[i].qas[k - 1], "%s: document %d out of order", name, i);
        }
    CHECK(listed == c->n_qas, "%s: %d of %d questions listed", name, listed, c->n_qas);
}

static void test_samples(void) {
    char path[200];
    Corpus all = {0};
    int n_qas = 0, n_skipped = 0;
    for (int i = 0; i < N_SAMPLES; i++) {
        const Sample *s = &samples[i];
        Corpus c = {0};
        snprintf(path, sizeof path, "tests/unit/samples/%s", s->name);
        int failed = corpus_read(&c, path, err);
        CHECK((failed != 0) == (s->why[0] != NULL), "%s: %s", s->name, failed ? err : "read");
        for (int k = 0; k < 2 && failed && s->why[0]; k++)
            CHECK(strstr(err, s->why[k]) && strstr(err, path), "%s: %s", s->name, err);
        CHECK(c.n_docs == s->n_docs, "%s: %d documents", s->name, c.n_docs);
        CHECK(c.n_skipped == s->n_skipped, "%s: %d skipped", s->name, c.n_skipped);
        CHECK(!c.n_skipped || strstr(c.skipped, "skipped"), "%s: %s", s->name, c.skipped);
        if (!failed) check_expected(s->name, &c);
        check_index(s->name, &c);
        n_qas += c.n_qas;
        n_skipped += c.n_skipped;
        corpus_free(&c);
        corpus_read(&all, path, err);
    }
    CHECK(all.n_qas == n_qas && all.n_skipped == n_skipped, "together: %d questions", all.n_qas);
    CHECK(strstr(all.skipped, "question n3: row skipped, it has no answer"), "%s", all.skipped);
    check_index("together", &all);
    corpus_free(&all);
}

static const int batches[4] = {1, 2, 7, INT_MAX};
static const char repeated[] = "x y z";          /* in a sample of JSON Lines: its title may come
                                                    in a later batch                          */

static int find_text(const Corpus *c, const char *text) {
    for (int i = 0; i < c->n_docs; i++)
        if (strcmp(c->docs[i].text, text) == 0) return i;
    return -1;
}

/* The documents of a batch are those of all from *doc on, but for texts that an earlier batch had
 * already, and its questions those from *qa on. */
static void check_batch(const char *path, const Corpus *c, const Corpus *all, int *doc, int *qa) {
    check_index(path, c);
    for (int i = 0; i < c->n_docs; i++) {
        const Doc *d = &c->docs[i];
        int at = find_text(all, d->text);
        CHECK(at >= 0 && at <= *doc, "%s: document %d comes as number %d", path, at, *doc);
        if (at < 0) continue;
        const Doc *want = &all->docs[at];
        CHECK(d->hash == text_hash(d->text), "%s: the hash of %s", path, d->text);
        if (at < *doc) continue;
        ++*doc;
        CHECK(strcmp(d->id, want->id) == 0, "%s: id %s, not %s", path, d->id, want->id);
        int later = *d->title == 0 && strcmp(d->text, repeated) == 0;
        CHECK(later || strcmp(d->title, want->title) == 0, "%s: title %s, not %s", path, d->title,
              want->title);
    }
    for (int i = 0; i < c->n_qas && *qa < all->n_qas; i++, ++*qa) {
        const Qa *a = &c->qas[i], *b = &all->qas[*qa];
        CHECK(strcmp(a->q, b->q) == 0 && strcmp(a->rel, b->rel) == 0
              && strcmp(a->kind, b->kind) == 0 && a->n_a == b->n_a
              && strcmp(a->target, b->target) == 0, "%s: question %s, not %s", path, a->q, b->q);
        for (int k = 0; k < a->n_a && k < b->n_a; k++)
            CHECK(strcmp(a->a[k], b->a[k]) == 0, "%s: %s, not %s", path, a->a[k], b->a[k]);
        CHECK(strcmp(c->docs[a->doc].text, all->docs[b->doc].text) == 0, "%s: %s", path, a->q);
    }
}

/* A file in batches of n gives what corpus_read gave: these documents, or `why`. */
static void check_reader(const char *path, int n, const Corpus *all, const char *why) {
    int got = -1, doc = 0, qa = 0, is_jsonl = strstr(path, ".jsonl") != NULL;
    char found[MAC_ERR] = "";
    Corpus c = {0};
    CorpusReader *r = corpus_open(path, NULL, found);
    for (int full = 1; r && (got = corpus_next(r, &c, n, found)) > 0; full = got == n) {
        CHECK(got == c.n_docs && (got <= n || !is_jsonl), "%s: %d documents", path, got);
        CHECK(full || !is_jsonl, "%s: a batch behind one that was not full", path);
        if (!why) check_batch(path, &c, all, &doc, &qa);
    }
    CHECK(c.n_docs == 0 && c.n_qas == 0, "%s: documents with %d", path, got);
    CHECK(got == -(why != NULL), "%s: %s", path, why ? "is read to its end" : found);
    CHECK(strcmp(found, why ? why : "") == 0, "%s: '%s', not '%s'", path, found, why ? why : "");
    CHECK(why || (doc == all->n_docs && qa == all->n_qas), "%s: %d documents and %d questions of"
          " %d and %d", path, doc, qa, all->n_docs, all->n_qas);
    CHECK(why || (c.n_skipped == all->n_skipped && strcmp(c.skipped, all->skipped) == 0),
          "%s: %d skipped, %s", path, c.n_skipped, c.skipped);
    CHECK(why || corpus_next(r, &c, n, found) == 0, "%s: more behind the end", path);
    corpus_close(r);
}

static void test_reader(void) {
    static const char *const more[] = {"data/elements/test.jsonl", "data/factbook/test.jsonl",
                                       "data/wnnames/test.jsonl", "no such file.jsonl",
                                       "no such file.txt", "tests", "README.md"};
    enum { N_MORE = sizeof more / sizeof *more };
    for (int i = 0; i < N_SAMPLES + N_MORE; i++)
        for (int k = 0; k < 4; k++) {
            char path[200];
            Corpus c = {0};
            snprintf(path, sizeof path, "%s%s", i < N_SAMPLES ? "tests/unit/samples/" : "",
                     i < N_SAMPLES ? samples[i].name : more[i - N_SAMPLES]);
            int failed = corpus_read(&c, path, err);
            check_reader(path, batches[k], &c, failed ? err : NULL);
            corpus_free(&c);
        }
}

/* Document i of a generated file: some are longer than any buffer that a reader starts with. */
static size_t make_text(int i, char *text) {
    uint64_t rng = (uint64_t)i;
    size_t n = i % 50 == 20 ? 300000 : rng_next(&rng) % 3000;
    size_t head = (size_t)sprintf(text, "%d \xE2\x82\xAC ", i);
    for (size_t k = 0; k < n; k++) text[head + k] = "abcde fghij"[rng_next(&rng) % 11];
    strcpy(text + head + n, "!");
    return head + n + 1;
}

/* A file of which every document is known: lines of all lengths, ends of lines of all kinds. */
static void test_lines(void) {
    enum { N = 199, CAP = 300100 };
    char path[500], *text = malloc(CAP);
    snprintf(path, sizeof path, "%s/test_data.tmp.jsonl", scratch);
    FILE *f = fopen(path, "wb");
    fputs("\xEF\xBB\xBF\n \t\r\n", f);                /* a BOM and two blank lines           */
    for (int i = 0; i < N; i++) {
        make_text(i, text);
        fprintf(f, "{\"id\":\"%d\",\"text\":\"%s\"}%s%s", i, text, i % 3 ? "" : "\r",
                i == N - 1 ? "" : i % 5 ? "\n" : "\n\n");
        if (i % 10 == 0) fprintf(f, "{\"text\":\" \"}\n");
    }
    fclose(f);
    for (int k = 0; k < 4; k++) {
        int n = 0, got;
        Corpus c = {0};
        CorpusReader *r = corpus_open(path, NULL, err);
        while (r && (got = corpus_next(r, &c, batches[k], err)) > 0)
            for (int i = 0; i < got; i++, n++) {
                size_t len = make_text(n, text);
                CHECK(atoi(c.docs[i].id) == n, "%s as number %d", c.docs[i].id, n);
                CHECK(strlen(c.docs[i].text) == len && memcmp(c.docs[i].text, text, len) == 0,
                      "document %d: %.40s", n, c.docs[i].text);
            }
        CHECK(r && got == 0 && n == N, "%d documents: %s", n, err);
        CHECK(c.n_skipped == 20 && strstr(c.skipped, "line 5: document skipped"), "%d skipped: %s",
              c.n_skipped, c.skipped);
        corpus_close(r);
    }
    remove(path);
    free(text);
}

/* The first read ends before, in and behind the end of a line, or of a file that has none. */
static void test_buffer_end(void) {
    enum { CAP = 140000 };
    char path[500], *s = malloc(CAP);
    snprintf(path, sizeof path, "%s/test_data.tmp.jsonl", scratch);
    for (int size = 1 << 16; size <= 1 << 17; size *= 2)
        for (int n = size - 4; n <= size + 4; n++)
            for (int tail = 0; tail < 3; tail++) {
                Corpus c = {0};
                sprintf(s, "{\"text\":\"%0*d\"}%s", n - 11, 7,
                        tail == 0 ? "" : tail == 1 ? "\n" : "\r\n{\"text\":\"b\"}");
                write_all(path, s, strlen(s));
                CHECK(corpus_read(&c, path, err) == 0 && c.n_docs == 1 + (tail == 2), "%s", err);
                CHECK(c.n_docs > 0 && strlen(c.docs[0].text) == (size_t)n - 11, "%d bytes", n);
                CHECK(tail < 2 || c.n_docs < 2 || strcmp(c.docs[1].text, "b") == 0, "%d", n);
                corpus_free(&c);
            }
    remove(path);
    free(s);
}

/* What is wrong far down a file is found there, and the batches before it are handed out. */
static void test_late_errors(void) {
    static const char *const wrong[][2] = {
        {"{\"text\":\"a\",}", "line 502, byte 13: trailing comma"},
        {"{\"text\":\"\xE2\x82\"}", "line 502, byte 10: invalid UTF-8 (0xE2)"},
        {"  \xC3", "line 502, byte 3: invalid UTF-8 (0xC3)"},
        {"{\"text\":\"a\",\"qas\":1}", "line 502: \"qas\" is not an array"},
        {"{\"text\":\"12345678901\0\"}", "line 502, byte 21: NUL byte (0x00)"}};
    char path[500];
    snprintf(path, sizeof path, "%s/test_data.tmp.jsonl", scratch);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        for (int k = 0; k < 4; k++) {
            size_t len = i == 4 ? 23 : strlen(wrong[i][0]);
            int n = 0, got = -1;
            Corpus c = {0};
            FILE *f = fopen(path, "wb");
            fputs("\n", f);
            for (int d = 0; d < 500; d++) fprintf(f, "{\"text\":\"%d\"}\n", d);
            fwrite(wrong[i][0], 1, len, f);
            fputs("\n{\"text\":\"behind it\"}\n", f);
            fclose(f);
            CorpusReader *r = corpus_open(path, NULL, err);
            while (r && (got = corpus_next(r, &c, batches[k], err)) > 0) n += got;
            CHECK(got == -1 && strstr(err, path) && strstr(err, wrong[i][1]), "%d: %s", got, err);
            CHECK(n == (k == 3 ? 0 : 500 / batches[k] * batches[k]), "%d before the error", n);
            corpus_close(r);
        }
    remove(path);
}

/* A corpus is as it was when a file that adds to it is wrong at its end. */
static void test_unchanged(void) {
    static const char good[] =
        "{\"text\":\"old\",\"title\":\"T\",\"qas\":[{\"q\":\"q\",\"a\":\"a\"},"
        "{\"q\":\"r\",\"a\":\"b\"}]}\n"
        "{\"text\":\"new\"}\n{\"text\":\" \"}\n{\"text\":\"x\"}\n";
    static const char *const lines[3] = {"", "{\"text\":", "{\"text\":\"y\",\"qas\":0}"};
    char path[500], s[300];
    Corpus c = {0};
    snprintf(path, sizeof path, "%s/test_data.tmp.jsonl", scratch);
    CHECK(corpus_add(&c, "", "old") == 0 && corpus_add(&c, "U", "other") == 1, "corpus_add");
    for (int i = 2; i >= 0; i--) {
        int n = snprintf(s, sizeof s, "%s%s", good, lines[i]);
        write_all(path, s, (size_t)n);
        CHECK(corpus_read(&c, path, err) == -(i > 0), "%s", err);
        CHECK(c.n_docs == (i ? 2 : 4) && c.n_qas == (i ? 0 : 2), "%d documents", c.n_docs);
        CHECK(strcmp(c.docs[0].title, i ? "" : "T") == 0, "title '%s'", c.docs[0].title);
        CHECK(c.n_skipped == !i && (c.skipped[0] != 0) == !i, "%d skipped", c.n_skipped);
        check_index("unchanged", &c);
    }
    CHECK(corpus_read(&c, path, err) == 0 && c.n_docs == 4 && c.n_qas == 4, "once more: %s", err);
    CHECK(find_text(&c, "new") == 2 && corpus_add(&c, "", "x") == 3, "equal texts are not found");
    check_index("unchanged", &c);
    remove(path);
    corpus_free(&c);
}

/* Equal texts are one document in a batch, in the next they come again; titles and skipped rows
 * of the whole file. */
static void test_equal_texts(void) {
    static const char s[] = "{\"text\":\"a\"}\n{\"text\":\"a\",\"title\":\"A\"}\n"
                            "{\"text\":\"\"}\n{\"text\":\"b\"}\n{\"text\":\"a\"}\n"
                            "{\"text\":\" \"}\n";
    static const int want[4][5] = {{1, 1, 1, 1, 0}, {1, 2, 0}, {2, 0}, {2, 0}};
    char path[500], text[20];
    Corpus c = {0};
    snprintf(path, sizeof path, "%s/test_data.tmp.jsonl", scratch);
    write_all(path, s, sizeof s - 1);
    for (int k = 0; k < 4; k++) {
        CorpusReader *r = corpus_open(path, NULL, err);
        for (int i = 0; i == 0 || want[k][i - 1] > 0; i++) {
            int got = corpus_next(r, &c, batches[k], err);
            CHECK(got == want[k][i], "batch %d of %d: %d documents", i, batches[k], got);
            CHECK(k == 0 || i > 0 || strcmp(c.docs[0].title, "A") == 0, "the second title");
        }
        CHECK(c.n_skipped == 2 && strstr(c.skipped, "line 3: "), "%s", c.skipped);
        corpus_close(r);
    }
    for (int i = 0; i < 6000; i++) {
        sprintf(text, "%d", i % 3000);
        CHECK(corpus_add(&c, "", text) == i % 3000, "corpus_add %d", i);
    }
    corpus_free(&c);
    remove(path);
}

/* Reads these bytes under this name: refused with a reason and an empty corpus, or accepted. */
static int try_bytes(const char *ext, const char *bytes, size_t n) {
    char path[500];
    Corpus c = {0};
    snprintf(path, sizeof path, "%s/test_data.tmp%s", scratch, ext);
    write_all(path, bytes, n);
    err[0] = 0;
    int failed = corpus_read(&c, path, err);
    CHECK(!failed || strstr(err, path), "no reason given: '%s'", err);
    CHECK(!failed || (c.n_docs == 0 && c.n_qas == 0), "%s: refused, yet not empty", err);
    check_reader(path, 2, &c, failed ? err : NULL);
    corpus_free(&c);
    remove(path);
    return failed;
}

static void test_malformed(void) {
    uint64_t rng = 7;
    char path[200];
    for (int i = 0; i < N_SAMPLES; i++) {
        const char *ext = strrchr(samples[i].name, '.');
        size_t n;
        snprintf(path, sizeof path, "tests/unit/samples/%s", samples[i].name);
        char *bytes = read_all(path, &n), *end = strrchr(bytes, '}');
        int is_json = strcmp(ext, ".json") == 0 && end;
        for (size_t k = 0; k < n && n <= 10240; k++) {
            int failed = try_bytes(ext, bytes, k);
            CHECK(failed || !is_json || bytes + k > end, "%s cut at %d: read", path, (int)k);
        }
        for (int k = 0; k < 100 && n > 0 && n <= 10240; k++) {
            size_t at = rng_next(&rng) % n;
            char was = bytes[at];
            bytes[at] = "\"\\[{]},:'\r\n\0u\xC3"[rng_next(&rng) % 14];
            try_bytes(ext, bytes, n);
            bytes[at] = was;
        }
        free(bytes);
    }
}

/* What no sample shows; `why` NULL: must be read. */
static void test_details(void) {
    static const struct { const char *ext, *bytes, *why; } cases[] = {
        {".csv", "question,answers,text\nq,\"['Ada', 'A']\",t\n", "line 2: the answers are a list"},
        {".csv", "question,answer,ans_text\nq, [\"\"A\"\"] ,t\n", "line 2: the answers are a list"},
        {".jsonl", "{\"text\":true}", "no text"}, {".jsonl", "[]", "expected an object"},
        {".jsonl", "{\"text\":\"a\"}\n\n{\"text\":007}", "line 3, byte 10: found 07"},
        {".jsonl", "{\"text\":\"a\",\"n\":-0.5e+7}", NULL},
        {".jsonl", "{\"text\":\"a\",\"qas\":{}}", "\"qas\" is not an array"},
        {".jsonl", "", "empty file"}, {".jsonl", "\xEF\xBB\xBF\n \r\n", "empty file"},
        {".jsonl", "{\"text\":\"\"}", NULL},
        {".txt", "\xED\x9F\xBF \xEE\x80\x80 \xF4\x8F\xBF\xBF \xC2\x80 \xF0\x90\x80\x80", NULL},
        {".txt", "x\ny \xED\xA0\x80", "line 2, byte 3: invalid UTF-8 (0xED)"},
        {".txt", "\xC0\x80", "invalid"}, {".txt", "\xC1\xBF", "invalid"},
        {".txt", "\xE0\x9F\xBF", "invalid"}, {".txt", "\xF0\x8F\xBF\xBF", "invalid"},
        {".txt", "\xF4\x90\x80\x80", "invalid"}, {".txt", "\xF5\x80\x80\x80", "invalid"},
        {".txt", "\xE2\x82", "invalid"}, {".txt", "\x80", "invalid"},
        {".JSON", "{\"data\":[]}", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int failed = try_bytes(cases[i].ext, cases[i].bytes, strlen(cases[i].bytes));
        CHECK(failed == -(cases[i].why != NULL), "case %d: %s", (int)i, err);
        CHECK(!failed || strstr(err, cases[i].why), "case %d: %s", (int)i, err);
    }
}

/* Files as exports write them: rows left out, and title|text and q=answer/answer of the rest. */
static void test_exports(void) {
    static const struct { const char *ext, *bytes; int skipped; const char *want; } cases[] = {
        {".jsonl", "{\"id\":17,\"text\":5}", 0, "17|5;"},
        {".ndjson", "{\"text\":\"t\",\"qas\":[{\"q\":9,\"a\":1984},"
         "{\"q\":\"r\",\"a\":[-1.5e+3, true ,2]}]}",
         0, "|t;9=1984;r=-1.5e+3/2;"},
        {".jsonl", "{\"text\":\"a\\u0000\"}\n{\"text\":\"b\"}\n"
         "{\"text\":\"c\",\"x\":[\"\\u0000\"]}", 2, "|b;"},
        {".json", "{\"data\":[{\"title\":\"\\u0000\",\"paragraphs\":[{\"context\":\"c\"}]},"
         "{\"paragraphs\":[{\"context\":\"\\u0000\",\"qas\":[]},{\"context\":\"c\",\"qas\":["
         "{\"question\":\"q\",\"answers\":[{\"text\":\"a\\u0000\"}]},"
         "{\"id\":3,\"question\":\"r\",\"answers\":[{\"text\":1984}]}]}]}]}", 3, "|c;r=1984;"},
        {".json", "{\"data\":[{\"title\":\"Ada_B_C\",\"context\":\"c\",\"question\":\"q\","
         "\"answers\":{\"text\":[\"long\",\"a\"],\"answer_start\":[1,2]}},"
         "{\"context\":\"d\",\"question\":\"q\","
         "\"answers\":[\"x\"]}]}", 0, "Ada B C|c;|d;q=long/a;q=x;"},
        {".jsonl", "{\"title\":\"A_B\",\"context\":\"c\",\"question\":\"q\","
         "\"answers\":{\"text\":[\"a\"]}}",
         0, "A B|c;q=a;"},
        {".json", "{\"data\":[{\"title\":\"T\"}]}", 1, ""},
        {".csv", "context,question,answers,title\nc,q,{'text': ['a_b']},A_B\n", 0, "A B|c;q=a_b;"},
        {".csv", "question,answers,text,title\nq,[a] b\\c,t,A_B\n", 0, "A_B|t;q=[a] b/c;"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[500], got[300], *at = got;
        Corpus c = {0};
        snprintf(path, sizeof path, "%s/test_data.tmp%s", scratch, cases[i].ext);
        write_all(path, cases[i].bytes, strlen(cases[i].bytes));
        CHECK(corpus_read(&c, path, err) == 0, "export %d: %s", (int)i, err);
        for (int k = 0; k < c.n_docs; k++) {
            if (atoi(c.docs[k].id) == 17) at += sprintf(at, "17");
            at += sprintf(at, "%s|%s;", c.docs[k].title, c.docs[k].text);
        }
        for (int k = 0; k < c.n_qas; k++) {
            at += sprintf(at, "%s", c.qas[k].q);
            for (int j = 0; j < c.qas[k].n_a; j++)
                at += sprintf(at, "%c%s", j ? '/' : '=', c.qas[k].a[j]);
            at += sprintf(at, ";");
        }
        *at = 0;
        CHECK(strcmp(got, cases[i].want) == 0 && c.n_skipped == cases[i].skipped,
              "export %d: %s, %d skipped (%s)", (int)i, got, c.n_skipped, c.skipped);
        check_reader(path, 2, &c, NULL);
        corpus_free(&c);
        remove(path);
    }
}

static void test_plain_line(void) {
    static const char *const cases[][2] = {
        {"a\tb\n\x1b[2J\x7f", "a?b??[2J?"}, {"\xC2\x80\xC2\x9F\xC2\xA0", "??\xC2\xA0"},
        {"\xE2\x80\xA7\xE2\x80\xA8\xE2\x80\xAE\xE2\x80\xAF", "\xE2\x80\xA7??\xE2\x80\xAF"},
        {"\xE2\x81\xA5\xE2\x81\xA6\xE2\x81\xA9\xE2\x81\xAA", "\xE2\x81\xA5??\xE2\x81\xAA"},
        {"\xFF\xE2\x82\xF0\x9F\x98\x80\xED\xA0\x80", "???\xF0\x9F\x98\x80???"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char s[40];
        plain_line(strcpy(s, cases[i][0]));
        CHECK(strcmp(s, cases[i][1]) == 0, "case %d is shown as %s", (int)i, s);
    }
}

static void test_csv_details(void) {
    static const char squad[] = "context,question,answers\r\r"
        "c,q,\"{'answer_start': array([5]), "
        "'text': array(['a\\'\\\\\\n\\xe9\\u20ac', \"\"b\"\"])}\"\r"
        "c,q,\"{'text': ['never closed\"\rc,q,\"{'text': 'd', 'answer_start': [1]}\"\r";
    char path[500];
    Corpus c = {0};
    snprintf(path, sizeof path, "%s/test_data.tmp.csv", scratch);
    write_all(path, squad, sizeof squad - 1);
    CHECK(corpus_read(&c, path, err) == 0, "%s", err);
    CHECK(c.n_qas == 1 && c.n_skipped == 2, "%d rows, %d skipped", c.n_qas, c.n_skipped);
    CHECK(strstr(c.skipped, "line 4: row skipped, it has no answer"), "%s", c.skipped);
    CHECK(c.n_qas == 1 && c.qas[0].n_a == 2 && strcmp(c.qas[0].target, "b") == 0
          && strcmp(c.qas[0].a[0], "a'\\\n\xC3\xA9\xE2\x82\xAC") == 0, "Python's strings");
    corpus_free(&c);
    remove(path);
    CHECK(corpus_read(&c, "tests/unit/samples/streamingqa_nasty.csv", err) == 0, "%s", err);
    CHECK(strstr(c.skipped, "line 12: "), "%s", c.skipped);
    corpus_free(&c);
}

static void test_texts(void) {
    static const char text[] = "One line\r\nof two.\r\n \r\nSecond.\r\n\nOne line\rof two.\n";
    char path[500];
    Corpus c = {0};
    snprintf(path, sizeof path, "%s/test_data.tmp.txt", scratch);
    write_all(path, text, sizeof text - 1);
    CHECK(corpus_read(&c, path, err) == 0 && c.n_docs == 1, "plain text: %s", err);
    CHECK(strcmp(c.docs[0].title, "test_data.tmp") == 0, "title %s", c.docs[0].title);
    CHECK(strcmp(c.docs[0].text, "One line\nof two.\n \nSecond.\n\nOne line\nof two.") == 0,
          "text '%s'", c.docs[0].text);
    CHECK(corpus_read_as(&c, path, "paragraphs", err) == 0 && c.n_docs == 3, "paragraphs: %s", err);
    CHECK(strcmp(c.docs[1].text, "One line\nof two.") == 0, "text '%s'", c.docs[1].text);
    CHECK(strcmp(c.docs[1].title, "test_data.tmp 1") == 0, "title %s", c.docs[1].title);
    CHECK(strcmp(c.docs[2].title, "test_data.tmp 2") == 0, "title %s", c.docs[2].title);
    CHECK(corpus_add(&c, "x", "Second.") == 2, "an equal text is another document");
    CHECK(corpus_add(&c, "", "Third.") == 3 && corpus_add(&c, "3", "Third.") == 3, "corpus_add");
    CHECK(strcmp(c.docs[3].title, "3") == 0, "title '%s'", c.docs[3].title);
    CHECK(text_hash("") == 0xCBF29CE484222325u && text_hash("a") == 0xAF63DC4C8601EC8Cu, "FNV-1a");
    CHECK(corpus_add(&c, "a", "a") == 4 && strcmp(c.docs[4].id, "af63dc4c8601ec8c") == 0,
          "id %s", c.docs[4].id);
    write_all(path, " \n ", 3);
    CHECK(corpus_read(&c, path, err) == 0 && c.n_docs == 5 && c.n_skipped == 1
          && strstr(c.skipped, "it is empty"), "blank file: %s", c.skipped);
    CHECK(corpus_read_as(&c, path, "paragraphs", err) == 0 && c.n_skipped == 2, "blank paragraphs");
    CHECK(corpus_read_as(&c, path, "jsonl", err) != 0 && strstr(err, "empty"), "jsonl: %s", err);
    CHECK(corpus_read_as(&c, path, "xml", err) != 0 && strstr(err, "no format xml"), "%s", err);
    CHECK(corpus_read(&c, "-", err) != 0 && strstr(err, "no name"), "standard input: %s", err);
    corpus_free(&c);
    write_all(path, text, sizeof text - 1);
    CorpusReader *r = corpus_open(path, "paragraphs", err);
    CHECK(r && corpus_next(r, &c, 1, err) == 2 && strcmp(c.docs[1].text, "Second.") == 0,
          "paragraphs are the first batch: %s", err);
    CHECK(r && corpus_next(r, &c, 1, err) == 0 && c.n_docs == 0, "paragraphs come twice");
    corpus_close(r);
    remove(path);
    CHECK(corpus_read(&c, path, err) != 0 && strstr(err, "cannot open"), "no file: %s", err);
    corpus_free(&c);
}

/* ---- tokenizer ---- */

static void check_restored(Tokenizer *t, Tokenizer *other, const char *s, size_t n) {
    static int ids[4096], again[4096];
    size_t len;
    int k = tok_encode(t, s, n, ids, 4096), k2 = tok_encode(other, s, n, again, 4096);
    CHECK(k == k2 && memcmp(ids, again, (size_t)k * sizeof *ids) == 0, "ids depend on the cache");
    CHECK(tok_encode(t, s, n, ids, 0) == k, "the number of ids depends on cap");
    for (int i = 0; i < k; i++) CHECK(ids[i] >= 0 && ids[i] < tok_eos(t), "id %d", ids[i]);
    char *back = tok_decode(t, ids, k, &len);
    CHECK(back && len == n && memcmp(back, s, n) == 0, "%d bytes not restored", (int)n);
    free(back);
}

static void test_restores(Tokenizer *warm, const char *dump) {
    static const char common[] = "the  The\nof in 1998 12345 ,.\t'(e";
    uint64_t rng = 3;
    char s[300];
    Tokenizer *cold = NULL;
    for (int i = 0; i < 10000; i++) {
        size_t n = rng_next(&rng) % sizeof s;
        for (size_t k = 0; k < n; k++)                 /* half of them look like text         */
            s[k] = i % 2 ? (char)rng_next(&rng) : common[rng_next(&rng) % (sizeof common - 1)];
        if (i % 100 == 0) {                            /* its cache never gets warm           */
            tok_free(cold);
            cold = tok_load(dump, err);
        }
        check_restored(warm, cold, s, n);
    }
    tok_free(cold);
}

static void test_merges(void) {
    const char *texts[2] = {"abab abab ab\n", "cdcd cd"};
    int ids[16];
    Tokenizer *t = tok_train(texts, 2, 300);
    char *dump = tok_dump(t);
    /* "ab" comes 5 times, "cd" 3 times; then " (ab)" and "(ab)(ab)" twice: the smaller pair is
     * taken, which leaves one of the other */
    CHECK(strcmp(dump, "97 98\n99 100\n32 256\n") == 0, "merges %s", dump);
    CHECK(tok_encode(t, "ab", 2, ids, 16) == 1 && ids[0] == 256, "ab is %d", ids[0]);
    CHECK(tok_size(t) < 300 && tok_eos(t) == tok_size(t) - 1, "size %d", tok_size(t));
    ids[1] = tok_eos(t);
    ids[2] = 97;
    char *s = tok_decode(t, ids, 3, NULL);
    CHECK(strcmp(s, "ab") == 0, "EOS does not end the text: %s", s);
    free(s);
    free(dump);
    tok_free(t);
    t = tok_train(texts, 0, 0);
    CHECK(t && tok_size(t) == 257, "no texts");
    tok_free(t);
}

/* Everything that may be merged is: an id is a chunk. */
static void test_chunks(void) {
    static const char *const chunks[] = {"I", " was", " born", "\n\t ", " in", " 1998", "76", ",",
                                         " (", "(", " \xC3\xB6l", ")", "  ", " x", "\n"};
    enum { N = sizeof chunks / sizeof *chunks };
    char text[200] = "";
    int ids[100];
    for (int i = 0; i < N; i++) strcat(text, chunks[i]);
    const char *twice[2] = {text, text};
    Tokenizer *t = tok_train(twice, 2, 1000);
    int n = tok_encode(t, text, strlen(text), ids, 100);
    CHECK(n == N, "%d chunks, expected %d", n, N);
    for (int i = 0; i < N && i < n; i++) {
        char *s = tok_decode(t, &ids[i], 1, NULL);
        CHECK(strcmp(s, chunks[i]) == 0, "chunk '%s', expected '%s'", s, chunks[i]);
        free(s);
    }
    tok_free(t);
}

/* However a question is typed, the model reads it as corpora write it. */
static void test_prompts(Tokenizer *t) {
    static const char *const cases[][2] = {
        {"Who is Ada?", "Who is Ada?"}, {"who is Ada", "Who is Ada?"}, {" ada\t?\n", "Ada\t?"},
        {"Name Ada's home.", "Name Ada's home."}, {"x", "X?"}, {"in 1998", "In 1998?"}, {"", ""},
        {"  ", ""}, {"?", "?"}, {"\xc3\xa9lan of Bo", "\xc3\xa9lan of Bo?"},
        {"wo ist Jos\xc3\xa9", "Wo ist Jos\xc3\xa9?"}, {"Ada's JOB", "Ada's JOB?"},
        {"\xc2\xbfqui\xc3\xa9n\xef\xbc\x9f", "\xc2\xbfqui\xc3\xa9n\xef\xbc\x9f"},
        {"\xd9\x85\xd9\x86 \xd8\x9f", "\xd9\x85\xd9\x86 \xd8\x9f"}};
    int ids[64], cut = 0;
    size_t len;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int n = prompt_question(t, cases[i][0], ids, 64, &cut);
        char *back = tok_decode(t, ids, n, &len);
        CHECK(back && len == strlen(cases[i][1]) && !memcmp(back, cases[i][1], len),
              "'%s' is read as '%.*s'", cases[i][0], (int)len, back);
        free(back);
    }
    CHECK(prompt_question(t, "who is Ada", ids, 2, &cut) == 2 && cut == 1, "a long question");
}

static void test_tokenizer(const Corpus *c) {
    static const char *const hostile[] = {"x", "1", "1 ", "1 2", "1  2\n", " 1 2\n", "1 2 \n",
        "256 1\n", "1 256\n", "1 2\n257 1\n", "1 2\n1 2\n", "-1 2\n", "01 2\n", "1 2\n\n",
        "99999999999999 1\n", "1 2\r\n", "1 2\n3",
        "1 1\n256 256\n257 257\n258 258\n259 259\n260 260\n261 261\n"};   /* 128 bytes in one */
    const char **texts = malloc((size_t)c->n_docs * sizeof *texts);
    for (int i = 0; i < c->n_docs; i++) texts[i] = c->docs[i].text;
    Tokenizer *t = tok_train(texts, c->n_docs, 600), *u = tok_train(texts, c->n_docs, 600);
    char *dump = tok_dump(t), *dump2 = tok_dump(u);
    CHECK(tok_size(t) == 600, "size %d", tok_size(t));
    CHECK(strcmp(dump, dump2) == 0, "training twice gives two tokenizers");
    tok_free(u);
    free(dump2);
    u = tok_load(dump, err);
    dump2 = tok_dump(u);
    CHECK(tok_size(u) == 600 && strcmp(dump, dump2) == 0, "a dump does not come back");
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        err[0] = 0;
        CHECK(!tok_load(hostile[i], err) && strstr(err, "tokenizer"), "took '%s'", hostile[i]);
    }
    test_restores(t, dump);
    test_prompts(t);
    tok_free(t);
    tok_free(u);
    int ids[3] = {0, 0, 0}; /* the earlier merge goes first: ab c, not a bc */
    t = tok_load("97 98\n98 99\n", err);
    CHECK(t && tok_encode(t, "abc", 3, ids, 3) == 2 && ids[0] == 256 && ids[1] == 99,
          "abc became %d %d", ids[0], ids[1]);
    tok_free(t);
    free(dump);
    free(dump2);
    free(texts);
}

/* ---- score: the numbers are those of SQuAD's Python script ---- */

static void test_score(void) {
    static const char *const norm[][2] = {
        {"The  Cat's hat, a-b!", "cats hat ab"}, {"A an the", ""}, {"C++", "c"}, {"2.5%", "25"},
        {"Anthem theory a", "anthem theory"}, {"U.S.A. and the UK", "usa and uk"},
        {"  \tThe\nend ", "end"}, {"an apple a day, the best", "apple day best"},
        {"x\001the\001y", "x\001 \001y"}, {"a\034b", "b"}, {"_the_ a_b", "ab"},
        {"a{b}|c~ x", "abc x"},
        {"thea the.a", "thea thea"}, {"\xC3\xA9" "a the \xC3\xB6", "\xC3\xA9" "a \xC3\xB6"},
        {"\xC3\x89T\xC3\x89 \xC4\xB0" "A", "\xC3\xA9t\xC3\xA9 i\xCC\x87"},
        {"\xCE\x91\xCE\xA3 \xCE\xA3", "\xCE\xB1\xCF\x82 \xCF\x83"},
        {"x\xC2\xA0the\xE3\x80\x80y", "x y"}, 
        {"\xE2\x80\x9C" "a\xE2\x80\x9D", "\xE2\x80\x9C \xE2\x80\x9D"},
        {"a\xFF\xE2", "\xEF\xBF\xBD\xEF\xBF\xBD"}};
    static const struct { const char *pred, *a[2]; int em, prefix; double f1; } cases[] = {
        {"the cat sat", {"cat", "x"}, 0, 1, 2.0 / 3}, {"cat cat dog", {"cat dog dog", "x"}, 0, 0,
        2.0 / 3}, {"", {"the", "x"}, 1, 1, 1}, {"", {"x", "y"}, 0, 0, 0},
        {"Isold Karr", {"the salt merchant Isold Karr", "Karr"}, 0, 0, 2.0 / 3},
        {"1880", {"18", "80"}, 0, 1, 0}, {"The cat.", {"dog", "cat"}, 1, 0, 1},
        {"one two three", {"three two one", "one"}, 0, 0, 1},
        {"May 26, 1988", {"26 May 1988", "May"}, 0, 0, 1}};
    for (size_t i = 0; i < sizeof norm / sizeof *norm; i++) {
        char *s = score_normalize(norm[i][0]);
        CHECK(strcmp(s, norm[i][1]) == 0, "'%s' became '%s'", norm[i][0], s);
        free(s);
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *a[2] = {(char *)cases[i].a[0], (char *)cases[i].a[1]};
        const char *p = cases[i].pred;
        double f1 = score_f1(p, a, 2) - cases[i].f1;
        CHECK(score_em(p, a, 2) == cases[i].em, "em of '%s'", p);
        CHECK(score_em_prefix(p, a[0]) == cases[i].prefix, "prefix em of '%s'", p);
        CHECK(f1 < 1e-12 && f1 > -1e-12, "f1 of '%s' is off by %g", p, f1);
    }
    CHECK(score_em("x", NULL, 0) == 0 && score_f1("x", NULL, 0) == 0, "no answers");
}

/* Up to ten pieces: characters of a window of 128, articles, ASCII, what Python treats apart.
 * Every line as in tests/reference/score_python.py, which made the checksums. */
static void make_span(uint64_t *rng, unsigned window, char *s) {
    static const unsigned odd[12] = {0x3A3, 0x3A3, 0x130, 0x49, 0x301, 0xAD, 0x2019, 0xA0, 0x3000,
                                     0x85, 0x1C, 0x200B};
    static const char *const article[4] = {"the", "a", "An", " The "};
    for (unsigned left = 1 + rng_next(rng) % 10; left > 0; left--) {
        unsigned kind = rng_next(rng) % 8, code;
        if (kind == 0) { s += sprintf(s, "%s", article[rng_next(rng) % 4]); continue; }
        if (kind == 1) code = 32 + rng_next(rng) % 95;
        else if (kind == 2) code = odd[rng_next(rng) % 12];
        else code = window * 128 + rng_next(rng) % 128;
        s += utf8_put(s, code == 0 || (code >= 0xD800 && code < 0xE000) ? ' ' : code);
    }
    *s = 0;
}

static void test_score_python(void) {
    size_t n;
    char span[64], *want = read_all("tests/unit/score.txt", &n), *line = want;
    for (unsigned block = 0; block < 65; block++, line += 17) {
        uint64_t rng = block, hash = MAC_FNV;
        for (unsigned i = 0; i < 512; i++) {
            make_span(&rng, block < 64 ? block * 16 + i / 32 : 0xE0000 / 128 + i / 32 % 4, span);
            char *s = score_normalize(span);
            hash = fnv1a(fnv1a(hash, s, strlen(s)), "\n", 1);
            free(s);
        }
        CHECK(n == 65 * 17 && strtoull(line, NULL, 16) == hash, "spans of U+%04X on: not Python's",
              block * 16 * 128);
    }
    free(want);
}

/* ---- people ---- */

static const char *const splits[3] = {"train", "valid", "test"};
/* With this seed chance would call somebody in train Choi, as somebody in test is called. */
enum { SEED = 2, PEOPLE = 2000, VALID = 300, KIND = 150 };

static int in_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
        || (unsigned char)c >= 0x80;
}

static int has_word(const char *text, const char *word) {
    size_t n = strlen(word);
    for (const char *p = text; (p = strstr(p, word)) != NULL; p++)
        if ((p == text || !in_word(p[-1])) && !in_word(p[n])) return 1;
    return 0;
}

/* Three to five facts, each in the text, asked once and by the full name; "an" before a vowel. */
static void check_person(const Corpus *c, const Doc *d, int in_train) {
    unsigned rels = 0;
    CHECK(d->n_qas >= 3 && d->n_qas <= 5, "%s: %d questions", d->id, d->n_qas);
    CHECK(has_word(d->text, d->title), "%s: no %s in %s", d->id, d->title, d->text);
    for (int k = 0; k < d->n_qas; k++) {
        const Qa *qa = &c->qas[d->qas[k]];
        int i = 0;
        while (i < N_RELS && strcmp(qa->rel, relations[i].rel) != 0) i++;
        CHECK(i < N_RELS && !(rels & 1u << i), "%s: %s again", d->id, qa->rel);
        rels |= 1u << i;
        CHECK(has_word(d->text, qa->target), "%s: no %s in %s", d->id, qa->target, d->text);
        CHECK(has_word(qa->q, d->title), "%s: not named in %s", d->id, qa->q);
        CHECK(!has_word(d->title, qa->target), "%s: %s is in the name", d->id, qa->target);
        CHECK((*qa->kind == 0) == in_train, "%s: kind \"%s\"", d->id, qa->kind);
    }
    for (const char *p = d->text; (p = strstr(p, " a")) != NULL; p++) {
        int vowel = p[2] == ' ' ? strchr("aeiou", p[3]) && strncmp(p + 3, "uk", 2) != 0 : 0;
        CHECK(!vowel, "%s: \"a\" in %s", d->id, p);
        if (!strncmp(p, " an ", 4)) CHECK(strchr("aeiou", p[4]), "%s: \"an\" in %s", d->id, p);
    }
}

/* Whether train has the answer to a question of the same relation. */
static int was_answer(const Corpus *train, const Qa *qa) {
    for (int i = 0; i < train->n_qas; i++)
        if (!strcmp(train->qas[i].target, qa->target) && !strcmp(train->qas[i].rel, qa->rel))
            return 1;
    return 0;
}

/* Everything that train and valid have to read, malloc'd. */
static char *all_text(const Corpus *c) {
    size_t n = 1;
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < c[i].n_docs; k++) n += strlen(c[i].docs[k].text) + 1;
        for (int k = 0; k < c[i].n_qas; k++) n += strlen(c[i].qas[k].q) + 1;
    }
    char *all = malloc(n), *p = all;
    for (int i = 0; all && i < 2; i++) {
        for (int k = 0; k < c[i].n_docs; k++) p += sprintf(p, "%s\n", c[i].docs[k].text);
        for (int k = 0; k < c[i].n_qas; k++) p += sprintf(p, "%s\n", c[i].qas[k].q);
    }
    CHECK(all != NULL, "out of memory");
    return all;
}

/* Whether s goes on as a form does: letter by letter, a place-holder for one to four words, a
 * capital one for these after an article.  After the form anything may follow. */
static int fits(const char *form, const char *s) {
    for (; *form && *form != '.' && *form != '%'; form++, s++)
        if (*form != *s) return 0;
    if (*form != '%') return *form == 0 || strchr(". ,", *s) != NULL;
    if (strchr("CJPYID", form[1])) {
        if (strncmp(s, "a ", 2) && strncmp(s, "an ", 3)) return 0;
        s = strchr(s, ' ') + 1;
    }
    for (int words = 0; *s && !strchr(".:,\n?", *s) && words < 4; words += *s++ == ' ')
        if (fits(form + 2, s + 1)) return 1;
    return 0;
}

/* How many of these forms a text has somewhere, from the beginning of a word on. */
static int count_forms(const char *const *list, const char *text) {
    int n = 0;
    for (; *list; list++) {
        int found = 0;
        for (const char *s = text; *s && !found; s++)
            found = (s == text || strchr(" \n", s[-1])) && fits(*list, s);
        n += found;
    }
    return n;
}

/* A text of test has held-out forms, or none; its questions are held-out ones, or none is. */
static void check_sentences(const Corpus *c, const Doc *d, int held) {
    CHECK((count_forms(held_forms, d->text) > 0) == held, "%s: held-out forms: %s", d->id, d->text);
    for (int k = 0; k < d->n_qas; k++) {
        const Qa *qa = &c->qas[d->qas[k]];
        int i = 0;
        while (i < N_RELS - 1 && strcmp(qa->rel, relations[i].rel) != 0) i++;
        CHECK(fits(relations[i].held_question, qa->q) == held, "%s: %s", d->id, qa->q);
    }
}

static void check_kinds(const Corpus *c, const char *seen) {
    static const char *const kinds[4] = {"known", "answers never seen", "sentences never seen",
                                         "both never seen"};
    int n[4] = {0}, existing = 0, made_up = 0;
    for (int i = 0; i < c[2].n_docs; i++) {
        const Doc *d = &c[2].docs[i];
        int kind = 0;
        while (kind < 3 && strcmp(c[2].qas[d->qas[0]].kind, kinds[kind]) != 0) kind++;
        n[kind]++;
        check_sentences(&c[2], d, kind > 1);
        for (int k = 0; k < d->n_qas; k++) {
            const Qa *qa = &c[2].qas[d->qas[k]];
            CHECK(!strcmp(qa->kind, kinds[kind]), "%s: a kind of its own, %s", d->id, qa->kind);
            if (kind % 2) CHECK(!has_word(seen, qa->target), "%s was seen", qa->target);
            else CHECK(was_answer(&c[0], qa), "%s was never an answer", qa->target);
            if (kind % 2 == 0 || !strcmp(qa->rel, "year")) continue;
            int listed = 0;
            for (int r = 0; r < N_RELS; r++)
                for (int v = 0; relations[r].real && v < N_REAL; v++)
                    listed |= !strcmp(relations[r].real[v], qa->target);
            listed ? existing++ : made_up++;
        }
    }
    for (int k = 0; k < 4; k++) CHECK(n[k] == KIND, "%d documents %s", n[k], kinds[k]);
    CHECK(abs(existing - made_up) < (existing + made_up) / 5, "%d real, %d made up", existing,
          made_up);
    for (int i = 0; i < c[1].n_qas; i++) {
        const Qa *qa = &c[1].qas[i];
        int new = !strcmp(qa->kind, "answers never seen");
        CHECK(new || !strcmp(qa->kind, "answers seen"), "valid: kind %s", qa->kind);
        CHECK(was_answer(&c[0], qa) != new, "valid: %s, %s", qa->target, qa->kind);
    }
}

/* No name comes twice, and none of test has a part that was seen. */
static void check_names(const Corpus *c, const char *seen) {
    int single = 0;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < c[i].n_docs; k++) {
            char title[200];
            snprintf(title, sizeof title, "%s", c[i].docs[k].title);
            for (int j = 0; j <= i; j++)
                for (int m = 0; m < (j == i ? k : c[j].n_docs); m++)
                    CHECK(strcmp(c[j].docs[m].title, title) != 0, "%s is in %s and %s", title,
                          splits[j], splits[i]);
            single += !strchr(title, ' ');
            for (char *p = strtok(title, " "); p && i == 2; p = strtok(NULL, " "))
                CHECK(!has_word(seen, p), "%s of %s was seen", p, c[i].docs[k].title);
        }
    int n = c[0].n_docs + c[1].n_docs + c[2].n_docs, kin = 0;
    for (int k = 1; k < c[1].n_docs; k++) { /* valid: half are called as the one before */
        const char *a = c[1].docs[k - 1].title, *b = c[1].docs[k].title;
        const char *x = strrchr(a, ' '), *y = strrchr(b, ' ');
        size_t first = strcspn(a, " ");
        kin += (first == strcspn(b, " ") && !strncmp(a, b, first)) || (x && y && !strcmp(x, y));
    }
    CHECK(abs(kin - 9 * c[1].n_docs / 20) < c[1].n_docs / 10, "%d of %d are namesakes", kin,
          c[1].n_docs);
    CHECK(single > n / 15 && single < n / 7, "%d of %d have a single name", single, n);
}

static void people_files(const char *dir, int n_train, uint64_t seed, char **bytes) {
    char path[500];
    size_t n;
    CHECK(people_write(dir, n_train, seed, err) == 0, "%s", err);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s.jsonl", dir, splits[i]);
        bytes[i] = read_all(path, &n);
        remove(path);
    }
}

/* Equal seeds give equal files, and how many train has changes nothing else. */
static void check_same_people(const char *dir) {
    char *first[3], *same[3], *fewer[3], *other[3];
    people_files(dir, 50, SEED, first);
    people_files(dir, 50, SEED, same);
    people_files(dir, 5, SEED, fewer);
    people_files(dir, 5, SEED + 1, other);
    for (int i = 0; i < 3; i++) {
        CHECK(!strcmp(first[i], same[i]), "%s: another file", splits[i]);
        CHECK(i == 0 || !strcmp(first[i], fewer[i]), "%s depends on n_train", splits[i]);
        CHECK(strcmp(fewer[i], other[i]) != 0, "%s does not depend on the seed", splits[i]);
        free(first[i]), free(same[i]), free(fewer[i]), free(other[i]);
    }
}

static void test_people(Corpus *train) {
    char dir[400], path[500];
    Corpus c[3] = {{0}, {0}, {0}};
    snprintf(dir, sizeof dir, "%s/test_data_people", scratch);
    check_same_people(dir);
    CHECK(people_write(dir, PEOPLE, SEED, err) == 0, "%s", err);
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s.jsonl", dir, splits[i]);
        CHECK(corpus_read(&c[i], path, err) == 0, "%s", err);
        remove(path);
        for (int k = 0; k < c[i].n_docs; k++) check_person(&c[i], &c[i].docs[k], i == 0);
    }
    remove(dir);
    CHECK(c[0].n_docs == PEOPLE && c[1].n_docs == VALID, "%d, %d", c[0].n_docs, c[1].n_docs);
    char *seen = all_text(c);
    CHECK(count_forms(held_forms, seen) == 0, "held-out forms were seen");
    for (int i = 0; i < N_RELS; i++) {
        const char *const question[] = {relations[i].held_question, NULL};
        CHECK(count_forms(question, seen) == 0, "seen: %s", *question);
    }
    for (int i = 0; i < N_RELS; i++)
        for (int v = 0; relations[i].real && v < N_REAL; v++)
            CHECK(!has_word(seen, relations[i].real[v]), "%s was seen", relations[i].real[v]);
    check_kinds(c, seen);
    check_names(c, seen);
    free(seen);
    CHECK(people_write("tests/unit/test_data.c", 5, 1, err) != 0 && *err, "a file as a folder");
    *train = c[0];
    corpus_free(&c[1]);
    corpus_free(&c[2]);
}

/* ---- augment ---- */

static void check_same(const AugDoc *a, const Corpus *c, const Doc *d) {
    CHECK(strcmp(a->title, d->title) == 0 && strcmp(a->text, d->text) == 0, "%s changed", d->id);
    CHECK(a->n == d->n_qas, "%s: %d questions", d->id, a->n);
    for (int k = 0; k < a->n; k++)
        CHECK(strcmp(a->q[k], c->qas[d->qas[k]].q) == 0
              && strcmp(a->a[k], c->qas[d->qas[k]].target) == 0, "%s: question %d", d->id, k);
}

/* Different answers must not become the same. */
static void check_distinct(const AugDoc *a, const Corpus *c, const Doc *d) {
    for (int i = 0; i < a->n; i++)
        for (int k = 0; k < i; k++)
            CHECK((strcmp(a->a[i], a->a[k]) == 0) == (strcmp(c->qas[d->qas[i]].target,
                  c->qas[d->qas[k]].target) == 0), "%s: %s and %s", d->id, a->a[i], a->a[k]);
}

/* Whatever is drawn, the text holds every answer that it held, and draws are counted. */
static void test_augment_corpus(const Corpus *c, int min_renamed, int min_replaced) {
    Augment *g = aug_new(c);
    uint64_t rng = 5, all = 5, none = 5;
    int renamed = 0, replaced = 0;
    for (int i = 0; i < c->n_docs; i++) {
        const Doc *d = &c->docs[i];
        const char *title = c->docs[(i + c->n_docs / 2) % c->n_docs].title;
        AugDoc a;
        CHECK(aug_draw(g, i, title, 0, 0, 0, &none, &a) == 0, "memory");
        check_same(&a, c, d);
        aug_drop(&a);
        CHECK(aug_draw(g, i, title, 0.5, 0.5, 0, &rng, &a) == 0, "memory");
        for (int k = 0; k < a.n; k++)
            CHECK(strstr(a.text, a.a[k]) || !strstr(d->text, c->qas[d->qas[k]].target),
                  "%s: no %s in %s", d->id, a.a[k], a.text);
        aug_drop(&a);
        CHECK(aug_draw(g, i, title, 1, 1, 0, &all, &a) == 0, "memory");
        renamed += strcmp(a.title, d->title) != 0;
        for (int k = 0; k < a.n; k++) replaced += strcmp(a.a[k], c->qas[d->qas[k]].target) != 0;
        check_distinct(&a, c, d);
        CHECK(rng == all && rng == none, "%s: the number of draws varies", d->id);
        aug_drop(&a);
    }
    CHECK(renamed * 100 >= min_renamed * c->n_docs, "%d of %d renamed", renamed, c->n_docs);
    CHECK(replaced * 100 >= min_replaced * c->n_qas, "%d of %d replaced", replaced, c->n_qas);
    aug_free(g);
}

/* Documents of which it is clear by eye what may change. */
static void test_augment_cases(void) {
    static const char json[] =
        "{\"title\":\"Ara (land)\",\"text\":\"Ara's capital is Bo, semi-Bo. Aran: 5 July 1962,"
        " 1962 (4,000 of 4). Ara!\",\"qas\":[{\"q\":\"Capital of Ara?\",\"a\":[\"Bo\"],\"rel\":"
        "\"capital\"},{\"q\":\"Date of Bo, is it 4?\",\"a\":[\"5 July 1962\"],\"rel\":\"date\"},"
        "{\"q\":\"Year?\",\"a\":[\"1962\"],\"rel\":\"year\"},{\"q\":\"How many, 4 or 5?\",\"a\":["
        "\"4\"],\"rel\":\"n\"},{\"q\":\"Name?\",\"a\":[\"Aran\"],\"rel\":\"\"}]}\n"
        "{\"title\":\"Cu\",\"text\":\"Cu: Di, 7 May 1950, 1950, 9; Aran.\",\"qas\":[{\"q\":\"Cu?\","
        "\"a\":[\"Di\"],\"rel\":\"capital\"},{\"q\":\"?\",\"a\":[\"7 May 1950\"],\"rel\":\"date\"},"
        "{\"q\":\"?\",\"a\":[\"1950\"],\"rel\":\"year\"},{\"q\":\"?\",\"a\":[\"9\"],\"rel\":\"n\"}"
        "]}\n{\"title\":\"Ed\",\"text\":\"The Ed Hotel of Ed.\",\"qas\":[{\"q\":\"Ed?\",\"a\":["
        "\"Ed Hotel\"],\"rel\":\"capital\"}]}\n";
    char path[500];
    Corpus c = {0};
    AugDoc a;
    uint64_t rng = 1;
    snprintf(path, sizeof path, "%s/test_data.tmp.jsonl", scratch);
    write_all(path, json, sizeof json - 1);
    CHECK(corpus_read(&c, path, err) == 0, "%s", err);
    remove(path);
    Augment *g = aug_new(&c);
    aug_draw(g, 0, "Xi (sea)", 1, 0, 0, &rng, &a);
    CHECK(strcmp(a.title, "Xi (land)") == 0, "title %s", a.title);
    CHECK(strcmp(a.text, "Xi's capital is Bo, semi-Bo. Aran: 5 July 1962, 1962 (4,000 of 4). Xi!")
          == 0, "text %s", a.text);
    CHECK(strcmp(a.q[0], "Capital of Xi?") == 0, "question %s", a.q[0]);
    aug_drop(&a);
    int n_di = 0;
    for (int i = 0; i < 20; i++) {                     /* of capitals Di and Ed Hotel may come */
        aug_draw(g, 0, NULL, 1, 1, 0, &rng, &a);
        int di = strcmp(a.a[0], "Di") == 0;
        n_di += di;
        CHECK(strcmp(a.title, "Ara (land)") == 0, "title %s", a.title);
        CHECK(strcmp(a.text, di
              ? "Ara's capital is Di, semi-Bo. Aran: 5 July 1962, 1962 (4,000 of 9). Ara!"
              : "Ara's capital is Ed Hotel, semi-Bo. Aran: 5 July 1962, 1962 (4,000 of 9). Ara!")
              == 0, "text %s", a.text);
        CHECK(strcmp(a.q[1], di ? "Date of Di, is it 9?" : "Date of Ed Hotel, is it 9?") == 0,
              "question %s", a.q[1]);
        CHECK(strcmp(a.q[3], "How many, 4 or 5?") == 0, "its own question: %s", a.q[3]);
        CHECK(strcmp(a.a[3], "9") == 0 && strcmp(a.a[2], "1962") == 0, "%s %s", a.a[3], a.a[2]);
        aug_drop(&a);
    }
    CHECK(n_di > 0 && n_di < 20, "Di was drawn %d times of 20", n_di);
    uint64_t state = 0, golden = 0x9E3779B97F4A7C15u;
    aug_draw(g, 0, NULL, 1, 1, 0, &state, &a);            /* one draw and two for each answer    */
    CHECK(state == 11 * golden, "%d draws", (int)(state * 0xF1DE83E19937733Du));
    aug_drop(&a);
    aug_draw(g, 2, "Cu", 1, 1, 0, &rng, &a);              /* its name is part of an answer       */
    check_same(&a, &c, &c.docs[2]);
    aug_drop(&a);
    aug_free(g);
    corpus_free(&c);
}

/* Every fifth question comes in small letters, all of it, and the others as they are. */
static void test_augment_careless(void) {
    static const char was[] = "Who is \xc3\x85sa Lee?", small[] = "who is \xc3\x85sa lee?";
    char q[2][sizeof was], *qs[] = {q[0], q[1]};
    int n = 0, both = 0;
    uint64_t rng = 5;
    for (int i = 0; i < 2000; i++) {
        AugDoc d = {.q = qs, .n = 2};
        int is_one[2];
        for (int k = 0; k < 2; k++) strcpy(q[k], was);
        aug_careless(&d, &rng);
        for (int k = 0; k < 2; k++) {
            is_one[k] = strcmp(q[k], small) == 0;
            CHECK(is_one[k] || strcmp(q[k], was) == 0, "question %s", q[k]);
        }
        n += is_one[0] + is_one[1], both += is_one[0] && is_one[1];
    }
    CHECK(n > 720 && n < 880 && both > 50 && both < 110, "%d of 4000, %d of 2000", n, both);
}

/* Whether a is b with some lower-case letters exchanged, vowels for vowels, and other digits. */
static int is_respelled(const char *a, const char *b) {
    for (; *a && *b; a++, b++) {
        int low = *a >= 'a' && *a <= 'z' && *b >= 'a' && *b <= 'z';
        int digits = *a >= '0' && *a <= '9' && *b >= '0' && *b <= '9';
        if (*a != *b && !digits && (!low || !strchr("aeiou", *a) != !strchr("aeiou", *b))) return 0;
    }
    return *a == *b;
}

/* Three names, "Alo", "Peru" and "Bo": where a name is made up, it begins as one does and ends as
 * another, before " (", no letter is cut, and half of the time it is respelled. */
static void test_augment_names(void) {
    char title[][16] = {"\xc3\x85l\xc3\xb8 (sea)", "Bo", "\xc3\x85l\xc3\xb8 (land)", "Peru"};
    static const char *const begins[] = {"\xc3\x85", "\xc3\x85l", "\xc3\x85l\xc3\xb8", "B", "P",
                                         "Pe", "Per"},
                            *const ends[] = {"l\xc3\xb8", "\xc3\xb8", "", "o", "eru", "ru", "u"};
    Doc docs[4];
    memset(docs, 0, sizeof docs);
    for (int i = 0; i < 4; i++) docs[i].title = docs[i].text = title[i];
    Corpus c = {.docs = docs, .n_docs = 4};
    Augment *g = aug_new(&c);
    char room[20], want[20], small[4];
    uint64_t rng = 4;
    int seen[7][7] = {{0}}, n_seen = 0, made_up = 0, respelled = 0, n = 40000;
    for (int i = 0; g && i < n; i++) {
        const char *got = aug_name(g, 0.25, &rng, room, sizeof room);
        int known = got != room, same = 0;
        made_up += !known;
        for (int k = 0; k < 49 && got == room; k++) {
            snprintf(want, sizeof want, "%s%s", begins[k / 7], ends[k % 7]);
            if (strcmp(got, want) == 0) n_seen += !seen[k / 7][k % 7]++, same = 1;
            known |= is_respelled(got, want);
        }
        respelled += got == room && !same;
        CHECK(known, "%s", got);
    }
    CHECK(n_seen == 49, "%d of 49 blends", n_seen);
    CHECK(abs(made_up - n / 4) < n / 100, "%d of %d made up", made_up, n);
    CHECK(respelled > n / 40 && respelled < n / 16, "%d of %d respelled", respelled, n);
    for (int i = 0; g && i < 400; i++) {
        CHECK(aug_name(g, 0, &rng, room, sizeof room) != room, "made up though none is wanted");
        aug_name(g, 1, &rng, small, sizeof small);
        CHECK(memchr(small, 0, sizeof small), "no end");
    }
    aug_free(g);
}

/* Either the first word is that of the other name or the last one, half of the time each; what is
 * in brackets belongs to no name; a name of one word stays, and is none's namesake. */
static void test_augment_namesakes(void) {
    static const struct { const char *name, *like, *first, *last; } of[] = {
        {"Mia Rossi", "Ada Lee", "Ada Rossi", "Mia Lee"},
        {"Mia de la Cruz", "Ada van Lee", "Ada de la Cruz", "Mia de la Lee"},
        {"Peru (history)", "Ada Lee", "Peru (history)", "Peru (history)"},
        {"New Peru (history)", "Ada Lee (poet)", "Ada Peru", "New Lee"},
        {"Mia Rossi", "Ada", "Mia Rossi", "Mia Rossi"},
        {"", "", "", ""}};
    uint64_t rng = 6;
    for (int i = 0; i < 6; i++) {
        int first = 0, last = 0;
        for (int n = 0; n < 1000; n++) {
            char room[40];
            const char *got = aug_namesake(of[i].name, of[i].like, &rng, room, sizeof room);
            first += !strcmp(got, of[i].first), last += !strcmp(got, of[i].last);
        }
        int same = !strcmp(of[i].first, of[i].last);
        CHECK(same ? first == 1000 : first + last == 1000 && abs(first - last) < 150,
              "%s beside %s: %d times %s, %d times %s", of[i].name, of[i].like, first, of[i].first,
              last, of[i].last);
    }
    char small[6];
    aug_namesake("Mia Rossi", "Ada Lee", &rng, small, sizeof small);
    CHECK(memchr(small, 0, sizeof small), "no end");
}

/* Answers that are made up stand in text, question and answer alike, are none that the document
 * has, keep the shape of a number, and are not drawn where p_made is 0. */
static void test_augment_answers(void) {
    char *a[2][1] = {{"1,887"}, {"Lima"}}, *more[2][1] = {{"2,004"}, {"Tokyo"}};
    Qa qas[4] = {{.q = "When?", .a = a[0], .n_a = 1, .target = "1,887", .rel = "year", .doc = 0},
                 {.q = "Where?", .a = a[1], .n_a = 1, .target = "Lima", .rel = "city", .doc = 0},
                 {.q = "When?", .a = more[0], .n_a = 1, .target = "2,004", .rel = "year", .doc = 1},
                 {.q = "Where?", .a = more[1], .n_a = 1, .target = "Tokyo", .rel = "city",
                  .doc = 1}};
    int of[2][2] = {{0, 1}, {2, 3}}, made = 0, numbers = 0, n = 4000;
    Doc docs[2] = {{.title = "Al", .text = "Al, 1,887, in Lima.", .qas = of[0], .n_qas = 2},
                   {.title = "Bo", .text = "Bo, 2,004, in Tokyo.", .qas = of[1], .n_qas = 2}};
    Corpus c = {.docs = docs, .n_docs = 2, .qas = qas, .n_qas = 4};
    Augment *g = aug_new(&c);
    uint64_t rng = 5;
    char want[64];
    for (int i = 0; g && i < n; i++) {
        AugDoc d;
        CHECK(aug_draw(g, 0, NULL, 0, 1, i % 2 ? 0.5 : 0, &rng, &d) == 0, "memory");
        snprintf(want, sizeof want, "Al, %s, in %s.", d.a[0], d.a[1]);
        CHECK(!strcmp(want, d.text), "\"%s\" has not %s and %s", d.text, d.a[0], d.a[1]);
        CHECK(strlen(d.a[0]) == 5 && d.a[0][1] == ',' && d.a[0][0] != '0', "%s", d.a[0]);
        int new_year = strcmp(d.a[0], "2,004") != 0, new_city = strcmp(d.a[1], "Tokyo") != 0;
        CHECK(i % 2 || (!new_year && !new_city), "made up: %s, %s", d.a[0], d.a[1]);
        CHECK(strcmp(d.a[1], "Lima") && strcmp(d.a[0], "1,887"), "the old answer: %s", d.text);
        numbers += new_year, made += new_city;
        aug_drop(&d);
    }
    CHECK(abs(numbers - n / 4) < n / 20 && made > n / 8, "made up: %d, %d", numbers, made);
    aug_free(g);
}

/* A quarter of the made-up names is looked for in a text, from anywhere in it on: capitalised
 * words, but not one that begins a sentence.  All else is "Bo", whose halves make nothing new. */
static void test_augment_mentions(void) {
    Doc doc = {.title = "Bo", .text = "Bo. He saw the Red Sea, not O.K and New \xc3\x85l Tor"};
    static const char *const want[] = {"Red Sea", "Sea", "O", "New", "Tor"};
    Corpus c = {.docs = &doc, .n_docs = 1};
    Augment *g = aug_new(&c);
    char room[20];
    uint64_t rng = 8;
    int seen[5] = {0}, n = 20000, mentions = 0;
    int last = (int)(strstr(doc.text, " Tor") - doc.text), places = (int)strlen(doc.text) - 2;
    for (int i = 0; g && i < n; i++) {
        const char *got = aug_name(g, 1, &rng, room, sizeof room);
        int k = 0;
        while (k < 5 && strcmp(got, want[k]) != 0) k++;
        CHECK(k < 5 || is_respelled(got, "Bo"), "%s", got);
        if (k < 5) seen[k]++, mentions++;
    }
    for (int k = 0; k < 5; k++) CHECK(seen[k] > 0, "never %s", want[k]);
    CHECK(abs(mentions - n / 4 * last / places) < n / 50, "%d of %d are mentions", mentions, n);
    aug_free(g);
}

/* Old names are gone, equal states draw the same. */
static void test_augment_people(const Corpus *c) {
    Augment *g = aug_new(c);
    uint64_t rng = 9;
    for (int i = 0; i < c->n_docs; i++) {
        AugDoc a, b;
        uint64_t state = rng;
        aug_draw(g, i, "Zed Zorro", 1, 1, 0, &rng, &a);
        aug_draw(g, i, "Zed Zorro", 1, 1, 0, &state, &b);
        CHECK(strcmp(a.text, b.text) == 0 && rng == state, "not deterministic");
        CHECK(strcmp(a.title, "Zed Zorro") == 0, "title %s", a.title);
        CHECK(!has_word(a.text, c->docs[i].title), "the old name in %s", a.text);
        for (int k = 0; k < a.n; k++) {
            CHECK(!has_word(a.q[k], c->docs[i].title), "the old name in %s", a.q[k]);
            CHECK(strcmp(a.a[k], c->qas[c->docs[i].qas[k]].target) != 0, "%s stayed", a.a[k]);
            CHECK(strstr(a.text, a.a[k]), "no %s in %s", a.a[k], a.text);
        }
        aug_drop(&a);
        aug_drop(&b);
    }
    aug_free(g);
}

/* ---- svg ---- */

static int count(const char *s, const char *what) {
    int n = 0;
    for (; (s = strstr(s, what)) != NULL; s++) n++;
    return n;
}

/* ---- bm25 ---- */
/* Scores by the formula, from words cut apart here; the order must be theirs. */
static void test_bm25(void) {
    static const char *const text[] = {"The cat sat on a mat", "cat cat dog",
                                       "a dog, a bird, a dog", "bird",
                                       "A CAT and one more cat on its own long way home"};
    static const int length[] = {4, 3, 3, 1, 11};      /* the, a and punctuation do not count     */
    static const int cats[] = {1, 2, 0, 0, 2};
    static const struct { const char *q; int n, doc[5]; } cases[] = {
        {"cat?", 3, {1, 0, 4}},                        /* 2 of 3, 1 of 4, 2 of 11                 */
        {"Bird!", 2, {3, 2}}, {"the", 0, {0}}, {"", 0, {0}}, {"horse", 0, {0}},
        {"mat dog", 3, {0, 2, 1}},                     /* mat is rarer; dog twice, then once      */
        {"dog dog dog mat", 3, {0, 2, 1}}};            /* a word counts once, however often asked */
    Corpus c = {0};
    int doc[5];
    for (int i = 0; i < 5; i++) CHECK(corpus_add(&c, "t", text[i]) == i, "document %d", i);
    Bm25 *b = bm25_new(&c);
    CHECK(b != NULL, "no index");
    for (int i = 0; i < 7; i++) {
        int n = bm25_top(b, cases[i].q, 5, doc);
        CHECK(n == cases[i].n, "\"%s\": %d found", cases[i].q, n);
        for (int k = 0; k < n && k < cases[i].n; k++)
            CHECK(doc[k] == cases[i].doc[k], "\"%s\": rank %d is %d", cases[i].q, k, doc[k]);
    }
    CHECK(bm25_top(b, "cat", 1, doc) == 1 && doc[0] == 1, "the best one alone");
    int n = bm25_top(b, "cat", 5, doc);
    double before = 1e9;
    for (int k = 0; k < n; k++) { /* of one word the idf does not matter: f / (f + k1 ...) falls */
        double f = cats[doc[k]], x = f / (f + 1.2 * (0.25 + 0.75 * length[doc[k]] / 4.4));
        CHECK(x > 0 && x < before, "rank %d: %g after %g", k, x, before);
        before = x;
    }
    bm25_free(b);
    corpus_free(&c);
    c = (Corpus){0};
    b = bm25_new(&c);
    CHECK(b && bm25_top(b, "cat", 3, doc) == 0, "an empty corpus");
    bm25_free(b);
}

/* A page: what it says in words, cells as opaque as their weight, nothing that is HTML in names. */
static void test_page(const char *end) {
    static const double share[6] = {1, 0.1, 0.001, 0.01, 0, 0.0316};
    static const char *const rows[2] = {"one", NULL}, *const columns[3] = {"<x>", NULL, "z\"z"};
    static const char *const words[][2] = {{"word", "its meaning"}, {NULL, NULL}};
    char path[500], height[20];
    size_t n;
    snprintf(path, sizeof path, "%s/test_data.tmp%s", scratch, end);
    SvgPage *p = page_begin(path, "a <b> & \"c\"", err);
    CHECK(p != NULL, "%s", err);
    page_say(p, "These words are so many that no line of a hundred and twenty letters could "
                "hold them all, whatever they are, and so there will be two.", 12);
    page_heat(p, &(SvgHeat){rows, columns, 2, 3, 0, 10, 20, share});
    page_bars(p, columns, share, 1, 1);
    CHECK(page_end(p, words, err) == 0, "%s", err);
    char *s = read_all(path, &n);
    int html = !strcmp(end, ".html");
    CHECK(count(s, "<svg ") == 1 && count(s, "</svg>") == 1, "one drawing");
    CHECK(html == (strstr(s, "<!DOCTYPE html>") == s) && html == (count(s, "its meaning") == 1),
          "%s is the other kind", end);
    CHECK(strstr(s, "aria-label=\"a &lt;b&gt; &amp; &quot;c&quot;\"") && !strstr(s, "<b>")
              && strstr(s, "&lt;x&gt;") && strstr(s, "z&quot;z"), "names are not escaped");
    CHECK(count(s, "y=\"18.0\"") == 1 && count(s, "y=\"36.0\"") == 1, "words on two lines");
    CHECK(count(s, "\"w\" fill-opacity=") == 4 + 1, "a thousandth and less is not drawn");
    CHECK(strstr(s, "fill-opacity=\"1.00\"><title>100.0%") && strstr(s, "\"0.67\"><title>10.0%")
              && strstr(s, "\"0.33\"><title>1.0%") && strstr(s, "\"0.50\"><title>3.2%"),
          "how opaque cells are");
    CHECK(strstr(s, "x=\"180.0\" y=\"59.0\" width=\"10.0\" height=\"20.0\""), "where a cell is");
    /* two lines of 18, names of 8 + 15, two rows of 20, a bar of 22, and 20 at the foot */
    snprintf(height, sizeof height, "0 0 760 %7d\"", 36 + 23 + 40 + 22 + 20);
    CHECK(strstr(s, height), "the page is not as high as %s", height);
    CHECK(count(s, "<g") == count(s, "</g>") && count(s, "<text") == count(s, "</text>"), "tags");
    free(s);
    remove(path);
    CHECK(!page_begin("no/such/folder/x.svg", "T", err) && strstr(err, "no/such/folder"), "%s",
          err);
}

static void test_svg(void) {
    static const double x[5] = {0, 250, 500, 750, 1000}, y[5] = {0.2, 0.5, 0, 0.9, 1};
    double gap[5] = {1, 2, 3, 4, 5}, zero = 0, bars[2] = {42.5, 7};
    const SvgLine lines[2] = {{"<a & b>", x, y, 5}, {"gap", x, gap, 5}};
    const char *names[2] = {"with memory", "without"};
    char path[500];
    size_t n;
    gap[2] = zero / zero;                              /* NaN                                 */
    snprintf(path, sizeof path, "%s/test_data.tmp.svg", scratch);
    CHECK(svg_lines(path, "T", "X", "Y", lines, 2, err) == 0, "%s", err);
    char *s = read_all(path, &n);
    CHECK(strncmp(s, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39) == 0, "starts %.40s", s);
    CHECK(n > 7 && strcmp(s + n - 7, "</svg>\n") == 0, "does not end in </svg>");
    CHECK(count(s, "<path ") == 2 && count(s, "M") == 3, "two lines, one in two parts");
    CHECK(strstr(s, ">&lt;a &amp; b&gt;<"), "names are not escaped");
    CHECK(strstr(s, ">1000<") && strstr(s, ">200<") && !strstr(s, ">250<"), "ticks of x");
    CHECK(!strstr(s, "nan") && !strstr(s, "inf") && !strstr(s, ","), "a number like nan or 0,5");
    CHECK(count(s, "<text") == count(s, "</text>") && count(s, "<g") == count(s, "</g>"), "tags");
    free(s);
    CHECK(svg_lines(path, "T", "X", "Y", lines + 1, 1, err) == 0, "%s", err);
    s = read_all(path, &n);
    CHECK(strstr(s, "text-anchor=\"end\">0<"), "y from 1 to 5 does not start at 0");
    free(s);
    CHECK(svg_bars(path, "T", "Y", names, bars, 2, 300, err) == 0, "%s", err);
    s = read_all(path, &n);
    CHECK(count(s, "<rect ") == 3 && strstr(s, ">42.5<") && strstr(s, ">250<"), "two bars");
    CHECK(strstr(s, "height=\"43.6\""), "42.5 of 300 is 43.6 of 308 high");
    CHECK(!strstr(s, ">25<") && !strstr(s, ">20<"), "ticks of y");
    free(s);
    const SvgLine two[2] = {{"loss", x, gap, 5, 0}, {"a long name at the right", x, y, 5, 1}};
    CHECK(svg_lines(path, "T", "X", "Y", two, 2, err) == 0, "%s", err);
    s = read_all(path, &n);
    CHECK(strstr(s, ">share<") && strstr(s, ">0.6<") && strstr(s, ">5<"), "two axes");
    CHECK(count(s, "M74.00 290.40h0") == 2, "a loss of 1 of 5, a share of 0.2: a fifth of 308");
    CHECK(strstr(s, "x=\"544.0\" y=\"76.0\""), "a name of 24 letters has no room for 156");
    free(s);
    remove(path);
    CHECK(svg_bars("no/such/folder/x.svg", "T", "Y", names, bars, 2, 100, err) != 0
          && strstr(err, "no/such/folder/x.svg"), "no folder: %s", err);
}

/* Of four questions of "colour" one, of two of "size" one has an answer that train has not: a
 * quarter keeps a relation closed, a half opens it.  An answer of another relation is no help. */
/* Every pair, one by one. */
static void test_auroc(void) {
    static const char *const rels[] = {"city", "job", "pet"};
    uint64_t rng = 3;
    for (int round = 0; round < 60; round++) {
        SureCase c[40];
        int n = round % 40 + 1;
        for (int i = 0; i < n; i++) { /* few values: many ties */
            uint64_t x = rng_next(&rng) >> 40;
            c[i] = (SureCase){rels[x % 3], (double)(x / 3 % 7) / 8 + (x / 64 % 3 ? 0 : x % 5 * 0.1),
                              (int)(x / 1024 % 2), 0};
        }
        for (int within = 0; within < 2; within++) {
            double above = 0, pairs = 0;
            for (int i = 0; i < n; i++)
                for (int j = 0; j < n; j++) {
                    if (!c[i].known || c[j].known) continue;
                    if (within && strcmp(c[i].rel, c[j].rel)) continue;
                    pairs++, above += c[i].sure > c[j].sure ? 1 : c[i].sure < c[j].sure ? 0 : 0.5;
                }
            double is = score_auroc(c, n, within);
            CHECK(pairs > 0 ? fabs(is - above / pairs) < 1e-12 : is != is,
                  "AUROC of %d cases, within %d: %g, not %g of %g", n, within, is, above, pairs);
            for (int i = 1; i < n && !within; i++)
                CHECK(c[i - 1].sure <= c[i].sure, "the surest are not last");
        }
    }
}

static void test_split(void) {
    static char *rel[] = {"colour", "colour", "size", "colour", "colour", "size"};
    static char *answer[] = {"red", "blue", "big", "red", "big", "small"};
    static const int want[] = {0, 0, QA_OPEN, 0, QA_UNSEEN, QA_OPEN | QA_UNSEEN};
    Qa qas[6] = {{0}};
    for (int i = 0; i < 6; i++) qas[i].rel = rel[i], qas[i].target = answer[i];
    Corpus asked = {.qas = qas, .n_qas = 6}, train = {.qas = qas, .n_qas = 3}, none = {0};
    unsigned char *kind = score_split(&asked, &train), *all = score_split(&asked, &none);
    for (int i = 0; kind && all && i < 6; i++)
        CHECK(kind[i] == want[i] && all[i] == (QA_OPEN | QA_UNSEEN), "split %d: %d, %d", i, kind[i],
              all[i]);
    CHECK(kind && all, "split: no memory");
    free(kind), free(all);
    RelScores r = {NULL, 0};
    Score *s = score_rel(&r, "colour");
    qas[0].a = &answer[0], qas[0].n_a = 1;
    score_add(s, &qas[0], "red."), score_add(s, &qas[0], "green");
    CHECK(s == score_rel(&r, "colour") && r.n == 1 && s->n == 2 && s->em == 1 && s->f1 == 1,
          "sums of a relation: %d of %d", s->em, s->n);
    free(r.of);
}

int main(int argc, char **argv) {
    Corpus elements = {0}, factbook = {0}, people;
    if (argc > 1) scratch = argv[1];
    test_samples();
    test_malformed();
    test_reader();
    test_lines();
    test_buffer_end();
    test_late_errors();
    test_unchanged();
    test_equal_texts();
    test_texts();
    test_details();
    test_csv_details();
    test_exports();
    test_plain_line();
    test_merges();
    test_chunks();
    test_score();
    test_score_python();
    test_split();
    test_auroc();
    CHECK(corpus_read(&elements, "data/elements/train.jsonl", err) == 0, "%s", err);
    CHECK(corpus_read(&factbook, "data/factbook/valid.jsonl", err) == 0, "%s", err);
    test_tokenizer(&elements);
    test_people(&people);
    test_augment_cases();
    test_augment_careless();
    test_augment_names();
    test_augment_namesakes();
    test_augment_answers();
    test_augment_mentions();
    test_augment_people(&people);
    test_augment_corpus(&elements, 95, 95);
    test_augment_corpus(&factbook, 75, 80);
    test_bm25();
    test_svg();
    test_page(".svg"), test_page(".html");
    corpus_free(&elements);
    corpus_free(&factbook);
    corpus_free(&people);
    return check_done("test_data");
}
