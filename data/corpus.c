/* corpus.c - documents and their questions from files.
 *
 * A file of JSON Lines is read a line at a time, any other as a whole; either way its strings are
 * decoded inside the reader's buffer, and what is found is copied into the corpus at once.  Equal
 * texts are found by a hash table and become one document, so that a memory does not hold the
 * same text twice. */
#include "csv.h"
#include "data.h"
#include "json.h"
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static int fail(char *err, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err, MAC_ERR, fmt, ap);
    va_end(ap);
    plain_line(err);
    return -1;
}

/* Room for element n of an array whose capacity is always the power of two above its length:
 * p itself or moved; NULL when memory is out, p still valid then. */
static void *room(void *p, int n, size_t size) {
    if ((n & (n - 1)) != 0) return p;
    size_t cap = n ? 2 * (size_t)n : 1;
    return n <= INT_MAX / 2 && cap <= SIZE_MAX / size ? realloc(p, cap * size) : NULL;
}

/* ---- the corpus ---- */

static char *copy_str(const char *s) {
    size_t n = strlen(s) + 1;
    char *p = malloc(n);
    if (p) memcpy(p, s, n);
    return p;
}

static void drop_doc(Doc *d) {
    free(d->id);
    free(d->title);
    free(d->text);
    free(d->qas);
}

/* Keeps the hash table at most half full. */
static int table_reserve(Corpus *c) {
    size_t size = c->n_slots ? c->n_slots : 16;
    while (size / 2 <= (size_t)c->n_docs) size *= 2;
    if (size == c->n_slots) return 0;
    int *slot = malloc(size * sizeof *slot);
    if (!slot) return -1;
    for (size_t i = 0; i < size; i++) slot[i] = -1;
    for (int k = 0; k < c->n_docs; k++) {
        size_t i = (size_t)c->docs[k].hash & (size - 1);
        while (slot[i] >= 0) i = (i + 1) & (size - 1);
        slot[i] = k;
    }
    free(c->slot);
    c->slot = slot;
    c->n_slots = size;
    return 0;
}

/* The slot of the document with this text, or the free one (-1) where it belongs. */
static int *table_find(const Corpus *c, const char *text, uint64_t hash) {
    size_t i = (size_t)hash & (c->n_slots - 1);
    for (; c->slot[i] >= 0; i = (i + 1) & (c->n_slots - 1)) {
        const Doc *d = &c->docs[c->slot[i]];
        if (d->hash == hash && strcmp(d->text, text) == 0) break;
    }
    return &c->slot[i];
}

/* The index of the document with this text, appended if it is new; -1 when memory is out.  An old
 * one keeps its first title that is not empty; *titled says that it got this one just now. */
static int put_doc(Corpus *c, const char *id, const char *title, const char *text, int *titled) {
    char hex[17];
    *titled = 0;
    if (table_reserve(c) != 0) return -1;
    uint64_t hash = text_hash(text);
    int *slot = table_find(c, text, hash);
    Doc *old = *slot >= 0 ? &c->docs[*slot] : NULL;
    if (old && (*old->title || !*title)) return *slot;
    if (old) {
        char *copy = copy_str(title);
        if (!copy) return -1;
        free(old->title);
        old->title = copy;
        *titled = 1;
        return *slot;
    }
    Doc *docs = room(c->docs, c->n_docs, sizeof *docs);
    if (!docs) return -1;
    c->docs = docs;
    if (!id || !*id) {
        snprintf(hex, sizeof hex, "%08lx%08lx", (unsigned long)(hash >> 32),
                 (unsigned long)(hash & 0xFFFFFFFFu));
        id = hex;
    }
    Doc d = {copy_str(id), copy_str(title), copy_str(text), hash, NULL, 0};
    if (!d.id || !d.title || !d.text) {
        drop_doc(&d);
        return -1;
    }
    docs[c->n_docs] = d;
    return *slot = c->n_docs++;
}

int corpus_add(Corpus *c, const char *title, const char *text) {
    int titled;
    return put_doc(c, NULL, title, text, &titled);
}

/* Appends a copy of a question: one malloc, which starts with, and is freed as, its array a. */
static int put_question(Corpus *c, const Qa *from) {
    Doc *d = &c->docs[from->doc];
    Qa *qas = room(c->qas, c->n_qas, sizeof *qas);
    if (qas) c->qas = qas;
    int *list = qas ? room(d->qas, d->n_qas, sizeof *list) : NULL;
    if (!list) return -1;
    d->qas = list;
    size_t head = (size_t)from->n_a * sizeof *from->a, q = strlen(from->q) + 1;
    size_t rel = strlen(from->rel) + 1, kind = strlen(from->kind) + 1, n = head + q + rel + kind;
    for (int i = 0; i < from->n_a; i++) n += strlen(from->a[i]) + 1;
    char *p = malloc(n);
    if (!p) return -1;
    Qa *qa = &qas[c->n_qas];
    *qa = (Qa){.q = p + head, .a = (char **)(void *)p, .n_a = from->n_a, .doc = from->doc};
    memcpy(qa->q, from->q, q);
    qa->rel = memcpy(qa->q + q, from->rel, rel);
    qa->kind = memcpy(qa->rel + rel, from->kind, kind);
    p = qa->kind + kind;
    for (int i = 0; i < from->n_a; i++) {
        qa->a[i] = strcpy(p, from->a[i]);
        if (from->target == from->a[i]) qa->target = p;
        p += strlen(p) + 1;
    }
    list[d->n_qas++] = c->n_qas++;
    return 0;
}

/* Takes back what was added since there were n_docs documents and n_qas questions. */
static void corpus_cut(Corpus *c, int n_docs, int n_qas) {
    while (c->n_qas > n_qas) {
        const Qa *qa = &c->qas[--c->n_qas];
        c->docs[qa->doc].n_qas--;
        free(qa->a);
    }
    while (c->n_docs > n_docs) drop_doc(&c->docs[--c->n_docs]);
    free(c->slot);                               /* the next document makes it anew           */
    c->slot = NULL;
    c->n_slots = 0;
}

void corpus_free(Corpus *c) {
    corpus_cut(c, 0, 0);
    free(c->qas);
    free(c->docs);
    memset(c, 0, sizeof *c);
}

/* ---- the bytes of a file ---- */

struct CorpusReader {
    char *path;
    FILE *f;
    int (*whole)(CorpusReader *, char *, size_t);/* reads the text of a file; NULL: JSON Lines */
    char *buf;                                   /* [cap], cap > len: there is room for a NUL */
    size_t at, len, cap;                         /* what is not read yet is buf[at .. len-1]  */
    int line;                                    /* the number of the line read last          */
    int found;                                   /* something that is not blank               */
    int n_skipped;
    char skipped[MAC_ERR];
    char **a; int n_a;                           /* answers of the question being read        */
    Corpus *c; char *err;                        /* given to the call that is running         */
    int n_read;                                  /* documents it has read, equal ones counted */
    int *titled, n_titled;                       /* older documents that it gave a title      */
};

/* How many bytes of text are whole characters of UTF-8 other than NUL. */
static size_t valid_utf8(const char *text, size_t n) {
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    const uint64_t ones = UINT64_MAX / 255;
    while (p < end) {
        uint64_t w = 0;
        if (end - p >= 8) memcpy(&w, p, 8);
        if (w && !((w | (w - ones)) & ones << 7)) {    /* eight of ASCII, none of them 0      */
            p += 8;
            continue;
        }
        int len = *p ? utf8_len(p, end) : 0;
        if (len == 0) break;
        p += len;
    }
    return (size_t)(p - (const unsigned char *)text);
}

/* The text begins with this line. */
static int check_utf8(const CorpusReader *r, const char *text, size_t n, int line) {
    size_t bad = valid_utf8(text, n), start = 0;
    if (bad == n) return 0;
    for (size_t i = 0; i < bad; i++)
        if (text[i] == '\n') {
            line++;
            start = i + 1;
        }
    return fail(r->err, "%s: line %d, byte %ld: %s (0x%02X), expected a text file in UTF-8",
                r->path, line, (long)(bad - start) + 1, text[bad] ? "invalid UTF-8" : "NUL byte",
                (unsigned)(unsigned char)text[bad]);
}

static int is_blank(const char *s) {
    while (is_space(*s)) s++;
    return *s == 0;
}

/* Without the blanks around it; shortens s itself. */
static char *trim(char *s) {
    size_t n = strlen(s);
    while (n > 0 && is_space(s[n - 1])) n--;
    s[n] = 0;
    while (is_space(*s)) s++;
    return s;
}

/* Reads more of the file into the buffer, which grows when it is full: 1, or 0 at the end. */
static int fill(CorpusReader *r) {
    if (r->len + 1 >= r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 1 << 16;
        char *buf = r->cap <= INT_MAX ? realloc(r->buf, cap) : NULL;
        if (!buf)
            return fail(r->err, "%s: %stoo large for memory (2 GB at most)", r->path,
                        r->whole ? "" : "a line is ");
        r->buf = buf;
        r->cap = cap;
    }
    size_t got = fread(r->buf + r->len, 1, r->cap - r->len - 1, r->f);
    if (ferror(r->f)) return fail(r->err, "%s: cannot read: %s", r->path, strerror(errno));
    r->len += got;
    return got > 0;
}

/* The next line without its end, which becomes NUL: 1, or 0 at the end of the file. */
static int next_line(CorpusReader *r, char **line, size_t *n) {
    size_t seen = r->at;                         /* no end of a line between at and here      */
    char *stop;
    while ((stop = memchr(r->buf + seen, '\n', r->len - seen)) == NULL) {
        seen = r->len -= r->at;
        memmove(r->buf, r->buf + r->at, r->len);
        r->at = 0;
        int more = fill(r);
        if (more < 0 || (more == 0 && r->len == 0)) return more;
        if (more > 0) continue;
        stop = r->buf + r->len++;                /* the last line: as if it had an end        */
        break;
    }
    *line = r->buf + r->at;
    *n = (size_t)(stop - *line);
    *stop = 0;
    r->at += *n + 1;
    r->line += r->line < INT_MAX;
    return check_utf8(r, *line, *n, r->line) == 0 ? 1 : -1;
}

/* ---- documents and questions on their way into the corpus ---- */

typedef struct {
    const char *id, *title, *text;               /* id NULL: none                             */
    int doc;                                     /* its index, -1: not in the corpus so far   */
} Draft;

static int skip_row(CorpusReader *r, const char *where, const char *why) {
    if (r->n_skipped++ == 0) fail(r->skipped, "%s: %s: %s", r->path, where, why);
    return 0;
}

static int out_of_memory(const CorpusReader *r) {
    return fail(r->err, "%s: out of memory", r->path);
}

static int add_document(CorpusReader *r, Draft *d) {
    int titled = 0, *list = room(r->titled, r->n_titled, sizeof *list);
    if (list) r->titled = list;
    d->doc = list ? put_doc(r->c, d->id, d->title, d->text, &titled) : -1;
    if (d->doc < 0) return out_of_memory(r);
    if (titled) list[r->n_titled++] = d->doc;
    r->n_read++;
    return 0;
}

/* Answers gather until add_question takes them; blank ones are left out. */
static int add_answer(CorpusReader *r, char *s) {
    char **a = room(r->a, r->n_a, sizeof *a);
    if (!a) return out_of_memory(r);
    r->a = a;
    s = trim(s);
    if (*s) a[r->n_a++] = s;
    return 0;
}

static size_t n_chars(const char *s) {
    size_t n = 0;
    for (; *s; s++) n += (*s & 0xC0) != 0x80;
    return n;
}

/* Adds a question with the answers gathered, and its document if that is not there yet.  The
 * target is the shortest answer in characters, as MAC has it, or the first one. */
static int add_question(CorpusReader *r, Draft *d, char *q, char *rel, char *kind, int shortest,
                        const char *where) {
    char none[1] = "";
    Qa qa = {.q = q ? trim(q) : none, .a = r->a, .n_a = r->n_a, .rel = rel ? rel : none,
             .kind = kind ? kind : none};
    r->n_a = 0;
    if (is_blank(d->text)) return skip_row(r, where, "row skipped, it has no text");
    if (!*qa.q) return skip_row(r, where, "row skipped, it has no question");
    if (qa.n_a == 0) return skip_row(r, where, "row skipped, it has no answer");
    qa.target = qa.a[0];
    for (int i = 1; shortest && i < qa.n_a; i++)
        if (n_chars(qa.a[i]) < n_chars(qa.target)) qa.target = qa.a[i];
    if (d->doc < 0 && add_document(r, d) != 0) return -1;
    qa.doc = d->doc;
    return put_question(r->c, &qa) == 0 ? 0 : out_of_memory(r);
}

/* ---- JSON ---- */

/* The text of a string, or of a number, which many exports have for a year or an id.  What follows
 * a number has been parsed, so a NUL may end it.  NULL for anything else. */
static char *str_of(const Json *v) {
    if (v && v->type == JSON_NUMBER) v->str[strspn(v->str, "+-.0123456789eE")] = 0;
    return v && (v->type == JSON_STRING || v->type == JSON_NUMBER) ? v->str : NULL;
}

static char *get_str(const Json *object, const char *key) { return str_of(json_get(object, key)); }

static int has_nul(const Json *v) {
    int found = v && v->type == JSON_STRING && strchr(v->str, JSON_NUL);
    for (const Json *m = v ? v->child : NULL; m && !found; m = m->next) found = has_nul(m);
    return found;
}
static const char holds_nul[] = "row skipped, a string in it holds \\u0000";

/* The first element of a member array, NULL for none; a member of another type is an error. */
static int get_array(const CorpusReader *r, const Json *object, const char *key,
                     const char *where, const Json **first) {
    const Json *v = json_get(object, key);
    *first = NULL;
    if (!v || v->type == JSON_NULL) return 0;
    if (v->type != JSON_ARRAY)
        return fail(r->err, "%s: %s: \"%s\" is not an array", r->path, where, key);
    *first = v->child;
    return 0;
}

/* Answers as in SQuAD, [{"text":...}, ...], or as its columns, {"text":[...]}, or texts alone. */
static int read_squad_question(CorpusReader *r, Draft *d, const Json *q) {
    const char *id = get_str(q, "id");
    const Json *list = json_get(q, "answers"), *answer;
    int columns = list && list->type == JSON_OBJECT;
    char where[80];
    snprintf(where, sizeof where, "question %.64s", id ? id : "without id");
    if (has_nul(q)) return skip_row(r, where, holds_nul);
    if (get_array(r, columns ? list : q, columns ? "text" : "answers", where, &answer) != 0)
        return -1;
    for (; answer; answer = answer->next) {
        char *s = answer->type == JSON_OBJECT ? get_str(answer, "text") : str_of(answer);
        if (s && add_answer(r, s) != 0) return -1;
    }
    return add_question(r, d, get_str(q, "question"), NULL, NULL, 1, where);
}

static void unfold_title(char *title) {          /* as Wikipedia's addresses have it: Ada_Calder */
    for (char *s = title; s && (s = strchr(s, '_')) != NULL;) *s = ' ';
}

/* A context with its questions in "qas", or with one beside it, as datasets' libraries write it. */
static int read_paragraph(CorpusReader *r, const Json *p, char *title) {
    static const char where[] = "a paragraph";
    const char *text = get_str(p, "context");
    const Json *q;
    unfold_title(title);
    Draft d = {NULL, title ? title : "", text ? text : "", -1};
    if (get_array(r, p, "qas", where, &q) != 0) return -1;
    if (has_nul(json_get(p, "context"))) return skip_row(r, where, holds_nul);
    int flat = json_get(p, "question") != NULL;
    if (is_blank(d.text) && !q && !flat)
        return skip_row(r, where, "paragraph skipped, it has no context");
    if (!is_blank(d.text) && add_document(r, &d) != 0) return -1;
    if (flat) return read_squad_question(r, &d, p);
    for (; q; q = q->next)
        if (read_squad_question(r, &d, q) != 0) return -1;
    return 0;
}

static int read_jsonl_doc(CorpusReader *r, const Json *json, const char *where) {
    char *title = get_str(json, "title");
    const Json *qa, *list;
    Draft d = {get_str(json, "id"), title ? title : "", get_str(json, "text"), -1};
    if (json->type != JSON_OBJECT)
        return fail(r->err, "%s: %s: expected an object {\"text\":...}", r->path, where);
    if (!d.text && json_get(json, "context")) return read_paragraph(r, json, title);
    if (!d.text)
        return fail(r->err, "%s: %s: no text in it, expected {\"text\":\"...\",\"qas\":[...]}"
                    " (the original StreamingQA release has none: join it with the articles)",
                    r->path, where);
    if (is_blank(d.text)) return skip_row(r, where, "document skipped, its text is blank");
    if (add_document(r, &d) != 0 || get_array(r, json, "qas", where, &qa) != 0) return -1;
    for (; qa; qa = qa->next) {
        char *one = get_str(qa, "a");
        if (one && add_answer(r, one) != 0) return -1;
        if (!one && get_array(r, qa, "a", where, &list) != 0) return -1;
        for (const Json *a = one ? NULL : list; a; a = a->next)
            if (str_of(a) && add_answer(r, str_of(a)) != 0) return -1;
        char *rel = get_str(qa, "rel"), *kind = get_str(qa, "kind");
        if (add_question(r, &d, get_str(qa, "q"), rel, kind, 0, where) != 0) return -1;
    }
    return 0;
}

/* Lines until n documents are read, or to the end of the file. */
static int read_jsonl(CorpusReader *r, int n) {
    char why[MAC_ERR], where[32], *text;
    size_t len;
    int failed = 0;
    while (r->n_read < n && !failed) {
        int more = next_line(r, &text, &len);
        if (more == 0 && !r->found) return fail(r->err, "%s: empty file, expected text", r->path);
        if (more <= 0) return more;
        if (is_blank(text)) continue;
        r->found = 1;
        JsonPool pool = {0};
        Json *d = json_parse(&pool, text, len, r->line, why);
        snprintf(where, sizeof where, "line %d", r->line);
        failed = !d ? fail(r->err, "%s: %s", r->path, why)
               : pool.nuls ? skip_row(r, where, holds_nul) : read_jsonl_doc(r, d, where);
        json_free(&pool);
    }
    return failed;
}

static int read_squad(CorpusReader *r, char *text, size_t n) {
    JsonPool pool = {0};
    char why[MAC_ERR];
    const Json *article = NULL, *p = NULL, *top = json_parse(&pool, text, n, 1, why);
    int failed = top ? 0 : fail(r->err, "%s: %s", r->path, why);
    if (!failed && !json_get(top, "data"))
        failed = fail(r->err, "%s: no member \"data\", expected SQuAD's {\"data\":[...]}", r->path);
    if (!failed) failed = get_array(r, top, "data", "top level", &article);
    for (; article && !failed; article = article->next) {
        char *title = get_str(article, "title");
        failed = get_array(r, article, "paragraphs", "an article", &p);
        if (!failed && !json_get(article, "paragraphs")) p = article; /* flat */
        if (!failed && has_nul(json_get(article, "title")))
            p = NULL, skip_row(r, "an article", holds_nul);
        for (; p && !failed; p = p == article ? NULL : p->next)
            failed = read_paragraph(r, p, title);
    }
    json_free(&pool);
    return failed;
}

/* ---- csv ---- */

typedef enum { CSV_STREAMINGQA, CSV_ARCHIVALQA, CSV_SQUAD } CsvKind;
typedef struct { CsvKind kind; int q, a, text, title, n; } Columns;

static int find_column(const Csv *c, const char *name) {
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->cell[i], name) == 0) return i;
    return -1;
}

static int no_column(const CorpusReader *r, const Csv *c, const char *name) {
    char found[300] = "";
    for (int i = 0; i < c->n; i++) {
        size_t len = strlen(found);
        snprintf(found + len, sizeof found - len, "%s%s", i ? ", " : "", c->cell[i]);
    }
    return fail(r->err, "%s: line %d: no column %s (found: %s)", r->path, c->row_line, name, found);
}

static int find_columns(const CorpusReader *r, const Csv *c, Columns *col) {
    int answer = find_column(c, "answer"), paragraph = find_column(c, "ans_paragraph");
    int context = find_column(c, "context");
    col->q = find_column(c, "question");
    col->a = find_column(c, "answers");
    col->title = find_column(c, "title");
    col->n = c->n;
    if (col->q < 0) return no_column(r, c, "\"question\"");
    if (col->a < 0 && answer >= 0) {
        col->kind = CSV_ARCHIVALQA;
        col->a = answer;
        col->text = paragraph >= 0 ? paragraph : find_column(c, "ans_text");
        return col->text >= 0 ? 0 : no_column(r, c, "\"ans_paragraph\" (nor \"ans_text\")");
    }
    if (col->a < 0) return no_column(r, c, "\"answers\"");
    col->kind = context >= 0 ? CSV_SQUAD : CSV_STREAMINGQA;
    col->text = context >= 0 ? context : find_column(c, "text");
    return col->text >= 0 ? 0 : no_column(r, c, "\"text\"");
}

/* StreamingQA joins its answers by backslashes. */
static int split_answers(CorpusReader *r, char *s) {
    for (char *cut; (cut = strchr(s, '\\')) != NULL; s = cut + 1) {
        *cut = 0;
        if (add_answer(r, s) != 0) return -1;
    }
    return add_answer(r, s);
}

/* pandas writes a list of answers into one cell, as Python shows it: no answer would equal that. */
static int is_python_list(const char *s) {
    size_t n = strlen(s);
    return n > 1 && s[0] == '[' && strchr("'\"]", s[1]) && s[n - 1] == ']';
}

/* *p is at the opening quote of a Python string literal.  Decodes in place; NULL: malformed. */
static char *python_string(char **p) {
    char quote = *(*p)++, *str = *p, *in = str, *out = str;
    while (*in && *in != quote) {
        char c = *in++;
        if (c == '\\') {
            static const char from[] = "nrtxuU", to[] = "\n\r\t";
            const char *at = *in ? strchr(from, *in) : NULL;
            int n = !at ? 0 : *at == 'x' ? 2 : *at == 'u' ? 4 : *at == 'U' ? 8 : 0;
            int code = n ? hex_read(in + 1, in + strlen(in), n) : -1;
            if (!*in || (n && (code <= 0 || (code >= 0xD800 && code < 0xE000)))) return NULL;
            c = at && !n ? to[at - from] : *in;
            in += n + 1;
            if (n) {
                out += utf8_put(out, (unsigned)code);
                continue;
            }
        }
        *out++ = c;
    }
    if (!*in) return NULL;
    *p = in + 1;
    *out = 0;
    return str;
}

/* HuggingFace writes {'text': ['a', 'b'], 'answer_start': [1, 2]}: the strings of the list
 * that follows 'text'.  A cell of another form has no answers, and its row is skipped for that. */
static int python_answers(CorpusReader *r, char *s) {
    int in_text = 0;
    while (*s && !(in_text && *s == ']')) {
        if (*s != '\'' && *s != '"') {
            s++;
            continue;
        }
        char *str = python_string(&s);
        if (!str) return 0;
        if (in_text && add_answer(r, str) != 0) return -1;
        while (is_space(*s)) s++;
        if (in_text || *s != ':' || strcmp(str, "text") != 0) continue;
        in_text = 1;
        s += strcspn(s, "[");
    }
    return 0;
}

static int read_csv_row(CorpusReader *r, const Csv *c, const Columns *col) {
    char where[32];
    char empty[3][1] = {"", "", ""};             /* for the missing cells of a short row      */
    snprintf(where, sizeof where, "line %d", c->row_line);
    if (c->n > col->n) return skip_row(r, where, "row skipped, more cells than the header has");
    char *q = col->q < c->n ? c->cell[col->q] : empty[0];
    char *a = col->a < c->n ? c->cell[col->a] : empty[1];
    Draft d = {NULL, "", "", -1};
    if (col->text < c->n) d.text = c->cell[col->text];
    if (col->title >= 0 && col->title < c->n) d.title = c->cell[col->title];
    if (col->kind == CSV_SQUAD && *d.title) unfold_title(c->cell[col->title]);
    if (col->kind != CSV_SQUAD && is_python_list(a = trim(a)))
        return fail(r->err, "%s: %s: the answers are a list of Python's, %.40s: join them by "
                    "backslashes, or write JSON Lines", r->path, where, a);
    int failed = col->kind == CSV_STREAMINGQA ? split_answers(r, a)
               : col->kind == CSV_SQUAD ? python_answers(r, a) : add_answer(r, a);
    return failed ? -1 : add_question(r, &d, q, NULL, NULL, 1, where);
}

static int read_csv(CorpusReader *r, char *text, size_t n) {
    Csv c = {text, text + n, 1, 1, NULL, 0, 0};
    Columns col = {CSV_STREAMINGQA, 0, 0, 0, 0, 0};
    char why[MAC_ERR];
    int more = csv_next(&c, why);
    int failed = more > 0 ? find_columns(r, &c, &col) : 0;
    while (!failed && more > 0)
        if ((more = csv_next(&c, why)) > 0) failed = read_csv_row(r, &c, &col);
    if (more < 0) failed = fail(r->err, "%s: %s", r->path, why);
    csv_free(&c);
    return failed;
}

/* ---- plain text ---- */

/* Line ends become \n, so that the same text has the same hash wherever it was saved. */
static void unify_line_ends(char *s) {
    char *out = s;
    for (; *s; s++)
        if (*s != '\r') *out++ = *s;
        else if (s[1] != '\n') *out++ = '\n';
    *out = 0;
}

/* The file's name without folders and extension. */
static void base_name(const char *path, char *name, size_t cap) {
    const char *base = path;
    for (const char *p = path; *p; p++)
        if (*p == '/' || *p == '\\') base = p + 1;
    const char *dot = strrchr(base, '.');
    size_t n = dot && dot > base ? (size_t)(dot - base) : strlen(base);
    if (n >= cap) n = cap - 1;
    memcpy(name, base, n);
    name[n] = 0;
}

/* Cuts off the first paragraph of *s and returns it; *s moves to what follows.  NULL at the end. */
static char *next_paragraph(char **s) {
    char *p = *s;
    while (is_space(*p)) p++;
    if (!*p) return NULL;
    for (char *line = p; *line;) {
        char *stop = line + strcspn(line, "\n");
        *s = *stop ? stop + 1 : stop;
        if (line[strspn(line, " \t\v\f")] == '\n') {
            *line = 0;
            break;
        }
        line = *s;
    }
    return trim(p);
}

static int read_paragraphs(CorpusReader *r, char *text, size_t n) {
    char name[256], title[270];
    Draft d = {NULL, title, NULL, -1};
    (void)n;
    unify_line_ends(text);
    base_name(r->path, name, sizeof name);
    for (int i = 1; (d.text = next_paragraph(&text)) != NULL; i++) {
        snprintf(title, sizeof title, "%s %d", name, i);
        if (add_document(r, &d) != 0) return -1;
    }
    return 0;
}

static int read_text(CorpusReader *r, char *text, size_t n) {
    char name[256];
    (void)n;
    unify_line_ends(text);
    base_name(r->path, name, sizeof name);
    return add_document(r, &(Draft){NULL, name, trim(text), -1});
}

/* ---- files ---- */

typedef struct { const char *name; int (*whole)(CorpusReader *, char *, size_t); } Format;
static const Format formats[] = {
    {"jsonl", NULL}, {"ndjson", NULL}, {"json", read_squad}, {"csv", read_csv}, {"txt", read_text},
    {"paragraphs", read_paragraphs}};
enum { N_FORMATS = sizeof formats / sizeof *formats, FORMAT_TXT = 4 };

/* The path ends in a dot and these small letters, or their capitals. */
static int has_extension(const char *path, const char *ext) {
    size_t n = strlen(path), len = strlen(ext);
    if (n <= len || path[n - len - 1] != '.') return 0;
    for (size_t i = 0; i < len; i++)
        if (to_small(path[n - len + i]) != ext[i]) return 0;
    return 1;
}

/* The place in formats, of the name given or of what the path's end tells; -1: see err. */
static int find_format(const char *path, const char *format, char *err) {
    int i = 0;
    if (!format && strcmp(path, "-") == 0)
        return fail(err, "-: standard input has no name that tells its format");
    while (i < N_FORMATS && (format ? strcmp(format, formats[i].name) != 0
                                    : !has_extension(path, formats[i].name))) i++;
    if (i < N_FORMATS - !format) return i;
    return !format ? FORMAT_TXT : fail(err, "%s: there is no format %s: expected jsonl, json, csv, "
                                       "txt or paragraphs", path, format);
}

void corpus_close(CorpusReader *r) {
    if (!r) return;
    if (r->f && r->f != stdin) fclose(r->f);
    free(r->path);
    free(r->buf);
    free(r->a);
    free(r->titled);
    free(r);
}

CorpusReader *corpus_open(const char *path, const char *format, char *err) {
    int kind = find_format(path, format, err);
    CorpusReader *r = kind < 0 ? NULL : calloc(1, sizeof *r);
    if (kind < 0) return NULL;
    int failed = r && (r->path = copy_str(path)) ? 0 : fail(err, "%s: out of memory", path);
    if (!failed) {
        r->err = err;
        r->whole = formats[kind].whole;
        r->f = strcmp(path, "-") ? fopen(path, "rb") : stdin;
        failed = r->f ? fill(r) < 0 : fail(err, "%s: cannot open: %s", path, strerror(errno));
    }
    if (!failed) {
        if (r->len >= 3 && memcmp(r->buf, "\xEF\xBB\xBF", 3) == 0) r->at = 3;   /* BOM */
        return r;
    }
    corpus_close(r);
    return NULL;
}

static int read_whole(CorpusReader *r) {
    int more = 1;
    if (r->found) return 0;
    while (more > 0) more = fill(r);
    if (more < 0) return -1;
    char *text = r->buf + r->at;
    size_t n = r->len - r->at;
    text[n] = 0;
    if (check_utf8(r, text, n, 1) != 0) return -1;
    r->found = 1;
    if (is_blank(text) && (r->whole == read_text || r->whole == read_paragraphs))
        return skip_row(r, "line 1", "file skipped, it is empty");
    if (is_blank(text)) return fail(r->err, "%s: empty file, expected text", r->path);
    return r->whole(r, text, n);
}

/* Adds the next n documents to c. */
static int read_batch(CorpusReader *r, Corpus *c, int n, char *err) {
    r->c = c;
    r->err = err;
    r->n_read = r->n_titled = r->n_a = 0;
    return r->whole ? read_whole(r) : read_jsonl(r, n);
}

int corpus_next(CorpusReader *r, Corpus *c, int n, char *err) {
    corpus_free(c);
    int failed = read_batch(r, c, n, err);
    if (failed) corpus_free(c);
    c->n_skipped = r->n_skipped;
    memcpy(c->skipped, r->skipped, sizeof c->skipped);
    return failed ? -1 : c->n_docs;
}

int corpus_read_as(Corpus *c, const char *path, const char *format, char *err) {
    int n_docs = c->n_docs, n_qas = c->n_qas;
    CorpusReader *r = corpus_open(path, format, err);
    int failed = r ? read_batch(r, c, INT_MAX, err) : -1;
    if (!failed) {
        if (c->n_skipped == 0) memcpy(c->skipped, r->skipped, sizeof c->skipped);
        c->n_skipped += r->n_skipped;
    } else if (r) {
        for (int i = 0; i < r->n_titled; i++) *c->docs[r->titled[i]].title = 0;
        corpus_cut(c, n_docs, n_qas);
    }
    corpus_close(r);
    return failed;
}

int corpus_read(Corpus *c, const char *path, char *err) {
    return corpus_read_as(c, path, NULL, err);
}
