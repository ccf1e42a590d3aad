/* corpus.c - documents and their questions from files.
 *
 * A file is read in two steps.  First it becomes rows, one for each question and one for each
 * document, whose strings point into the file's own buffer; everything that can be wrong with a
 * file shows here, with the corpus untouched.  Then the rows are added: equal texts are found by
 * a hash table and become one document, so that a memory does not hold the same text twice. */
#include "csv.h"
#include "data.h"
#include "json.h"
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *id, *title, *text, *q, *rel;     /* id NULL: none; q NULL: only a document    */
    int a, n_a, target;                          /* answers Rows.a[a .. a + n_a - 1]          */
} Row;

typedef struct {
    const char *path;
    char *err;
    Row *row; int n, cap;
    char **a; int n_a, cap_a;
    char *titles;                                /* those made up for paragraphs              */
    int n_skipped;
    char skipped[DATA_ERR];
} Rows;

static int fail(char *err, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err, DATA_ERR, fmt, ap);
    va_end(ap);
    return -1;
}

/* Room for one more element: p itself or moved; NULL when memory is out, p still valid then. */
static void *room(void *p, int n, int *cap, size_t size) {
    if (n < *cap) return p;
    int more = *cap < INT_MAX / 2 - 16 ? 2 * *cap + 16 : INT_MAX;
    void *q = (size_t)more <= SIZE_MAX / size ? realloc(p, (size_t)more * size) : NULL;
    if (q) *cap = more;
    return q;
}

/* ---- the bytes of a file ---- */

static int check_utf8(const char *path, const char *text, size_t n, char *err) {
    const unsigned char *p = (const unsigned char *)text, *end = p + n;
    long line = 1, start = 0;
    while (p < end) {
        int len = utf8_len(p, end);
        long at = (long)(p - (const unsigned char *)text);
        if (*p == 0 || len == 0)
            return fail(err, *p ? "%s: line %ld, byte %ld: invalid UTF-8 (0x%02X), expected a text"
                        " file in UTF-8" : "%s: line %ld, byte %ld: NUL byte (0x%02X), expected"
                        " a text file in UTF-8", path, line, at - start + 1, (unsigned)*p);
        if (*p == '\n') {
            line++;
            start = at + 1;
        }
        p += len;
    }
    return 0;
}

static int is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
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

/* The whole file in one malloc'd buffer with a NUL behind it.  *text and *n leave out a BOM. */
static char *read_file(const char *path, char **text, size_t *n, char *err) {
    FILE *f = fopen(path, "rb");
    size_t cap = 1 << 16, got = 0, len = 0;
    char *buf = malloc(cap);
    if (!f) fail(err, "%s: cannot open: %s", path, strerror(errno));
    else if (!buf) fail(err, "%s: out of memory", path);
    while (f && buf && (got = fread(buf + len, 1, cap - len - 1, f)) > 0) {
        len += got;
        if (len + 1 < cap) continue;
        char *more = cap <= INT_MAX / 2 ? realloc(buf, cap *= 2) : NULL;
        if (!more) {
            fail(err, "%s: too large for memory (2 GB at most)", path);
            free(buf);
        }
        buf = more;
    }
    int ok = f && buf && !ferror(f);
    if (f && buf && !ok) fail(err, "%s: cannot read: %s", path, strerror(errno));
    if (f) fclose(f);
    if (ok) {
        buf[len] = 0;
        size_t bom = len >= 3 && memcmp(buf, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
        *text = buf + bom;
        *n = len - bom;
        ok = check_utf8(path, *text, *n, err) == 0;
        if (ok && is_blank(*text)) ok = fail(err, "%s: empty file, expected text", path) == 0;
    }
    if (ok) return buf;
    free(buf);
    return NULL;
}

/* ---- rows ---- */

static int skip_row(Rows *r, const char *where, const char *why) {
    if (r->n_skipped++ == 0) fail(r->skipped, "%s: %s: %s", r->path, where, why);
    return 0;
}

static int add_row(Rows *r, Row row) {
    Row *p = room(r->row, r->n, &r->cap, sizeof *p);
    if (!p) return fail(r->err, "%s: out of memory", r->path);
    r->row = p;
    r->row[r->n++] = row;
    return 0;
}

/* Answers gather behind those of the last row; blank ones are left out. */
static int add_answer(Rows *r, char *s) {
    char **p = room(r->a, r->n_a, &r->cap_a, sizeof *p);
    if (!p) return fail(r->err, "%s: out of memory", r->path);
    r->a = p;
    s = trim(s);
    if (*s) r->a[r->n_a++] = s;
    return 0;
}

static size_t n_chars(const char *s) {
    size_t n = 0;
    for (; *s; s++) n += (*s & 0xC0) != 0x80;
    return n;
}

/* Adds the question row.q with the answers gathered since row.a.  Its target is the shortest one
 * in characters, as MAC has it, or the first one. */
static int add_question(Rows *r, Row row, char *q, int shortest, const char *where) {
    row.n_a = r->n_a - row.a;
    row.q = q ? trim(q) : "";
    if (is_blank(row.text)) return skip_row(r, where, "row skipped, it has no text");
    if (!*row.q) return skip_row(r, where, "row skipped, it has no question");
    if (row.n_a == 0) return skip_row(r, where, "row skipped, it has no answer");
    for (int i = 1; shortest && i < row.n_a; i++)
        if (n_chars(r->a[row.a + i]) < n_chars(r->a[row.a + row.target])) row.target = i;
    return add_row(r, row);
}

/* ---- JSON ---- */

static char *get_str(const Json *object, const char *key) {
    const Json *v = json_get(object, key);
    return v && v->type == JSON_STRING ? v->str : NULL;
}

/* The first element of a member array, NULL for none; a member of another type is an error. */
static int get_array(Rows *r, const Json *object, const char *key, const char *where,
                     const Json **first) {
    const Json *v = json_get(object, key);
    *first = NULL;
    if (!v || v->type == JSON_NULL) return 0;
    if (v->type != JSON_ARRAY)
        return fail(r->err, "%s: %s: \"%s\" is not an array", r->path, where, key);
    *first = v->child;
    return 0;
}

static int read_jsonl_doc(Rows *r, const Json *d, const char *where) {
    const char *title = get_str(d, "title");
    const Json *qa, *list;
    Row row = {get_str(d, "id"), title ? title : "", get_str(d, "text"), NULL, "", 0, 0, 0};
    if (d->type != JSON_OBJECT)
        return fail(r->err, "%s: %s: expected an object {\"text\":...}", r->path, where);
    if (!row.text)
        return fail(r->err, "%s: %s: no text in it, expected {\"text\":\"...\",\"qas\":[...]}"
                    " (the original StreamingQA release has none: join it with the articles)",
                    r->path, where);
    if (is_blank(row.text)) return skip_row(r, where, "document skipped, its text is blank");
    if (add_row(r, row) != 0 || get_array(r, d, "qas", where, &qa) != 0) return -1;
    for (; qa; qa = qa->next) {
        char *rel = get_str(qa, "rel"), *one = get_str(qa, "a");
        row.rel = rel ? rel : "";
        row.a = r->n_a;
        if (one && add_answer(r, one) != 0) return -1;
        if (!one && get_array(r, qa, "a", where, &list) != 0) return -1;
        for (const Json *a = one ? NULL : list; a; a = a->next)
            if (a->type == JSON_STRING && add_answer(r, a->str) != 0) return -1;
        if (add_question(r, row, get_str(qa, "q"), 0, where) != 0) return -1;
    }
    return 0;
}

static int read_jsonl(Rows *r, char *text, size_t n) {
    char why[DATA_ERR], where[32], *end = text + n;
    int line = 1, failed = 0;
    while (text < end && !failed) {
        char *stop = memchr(text, '\n', (size_t)(end - text));
        if (!stop) stop = end;
        *stop = 0;
        if (!is_blank(text)) {
            JsonPool pool = {0};
            Json *d = json_parse(&pool, text, (size_t)(stop - text), line, why);
            snprintf(where, sizeof where, "line %d", line);
            failed = d ? read_jsonl_doc(r, d, where) : fail(r->err, "%s: %s", r->path, why);
            json_free(&pool);
        }
        text = stop + 1;
        line++;
    }
    return failed;
}

static int read_paragraph(Rows *r, const Json *p, const char *title) {
    char *text = get_str(p, "context");
    const Json *q, *answer;
    char where[80] = "a paragraph";
    Row row = {NULL, title ? title : "", text ? text : "", NULL, "", 0, 0, 0};
    if (get_array(r, p, "qas", where, &q) != 0) return -1;
    if (is_blank(row.text) && !q)
        return skip_row(r, where, "paragraph skipped, it has no context");
    if (!is_blank(row.text) && add_row(r, row) != 0) return -1;
    for (; q; q = q->next) {
        const char *id = get_str(q, "id");
        snprintf(where, sizeof where, "question %.64s", id ? id : "without id");
        row.a = r->n_a;
        if (get_array(r, q, "answers", where, &answer) != 0) return -1;
        for (; answer; answer = answer->next) {
            char *s = get_str(answer, "text");
            if (s && add_answer(r, s) != 0) return -1;
        }
        if (add_question(r, row, get_str(q, "question"), 1, where) != 0) return -1;
    }
    return 0;
}

static int read_squad(Rows *r, char *text, size_t n) {
    JsonPool pool = {0};
    char why[DATA_ERR];
    const Json *article = NULL, *p = NULL, *top = json_parse(&pool, text, n, 1, why);
    int failed = top ? 0 : fail(r->err, "%s: %s", r->path, why);
    if (!failed && !json_get(top, "data"))
        failed = fail(r->err, "%s: no member \"data\", expected SQuAD's {\"data\":[...]}", r->path);
    if (!failed) failed = get_array(r, top, "data", "top level", &article);
    for (; article && !failed; article = article->next) {
        failed = get_array(r, article, "paragraphs", "an article", &p);
        for (; p && !failed; p = p->next) failed = read_paragraph(r, p, get_str(article, "title"));
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

static int no_column(const Rows *r, const Csv *c, const char *name) {
    char found[300] = "";
    for (int i = 0; i < c->n; i++) {
        size_t len = strlen(found);
        snprintf(found + len, sizeof found - len, "%s%s", i ? ", " : "", c->cell[i]);
    }
    return fail(r->err, "%s: line %d: no column %s (found: %s)", r->path, c->row_line, name, found);
}

static int find_columns(const Rows *r, const Csv *c, Columns *col) {
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
static int split_answers(Rows *r, char *s) {
    for (char *cut; (cut = strchr(s, '\\')) != NULL; s = cut + 1) {
        *cut = 0;
        if (add_answer(r, s) != 0) return -1;
    }
    return add_answer(r, s);
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
 * behind 'text'.  A cell of another form has no answers, and its row is skipped for that. */
static int python_answers(Rows *r, char *s) {
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

static int read_csv_row(Rows *r, const Csv *c, const Columns *col) {
    char where[32];
    char empty[3][1] = {"", "", ""};             /* for the missing cells of a short row      */
    snprintf(where, sizeof where, "line %d", c->row_line);
    if (c->n > col->n) return skip_row(r, where, "row skipped, more cells than the header has");
    char *q = col->q < c->n ? c->cell[col->q] : empty[0];
    char *a = col->a < c->n ? c->cell[col->a] : empty[1];
    Row row = {NULL, "", "", NULL, "", r->n_a, 0, 0};
    if (col->text < c->n) row.text = c->cell[col->text];
    if (col->title >= 0 && col->title < c->n) row.title = c->cell[col->title];
    int failed = col->kind == CSV_STREAMINGQA ? split_answers(r, a)
               : col->kind == CSV_SQUAD ? python_answers(r, a) : add_answer(r, a);
    return failed ? -1 : add_question(r, row, q, 1, where);
}

static int read_csv(Rows *r, char *text, size_t n) {
    Csv c = {text, text + n, 1, 1, NULL, 0, 0};
    Columns col = {CSV_STREAMINGQA, 0, 0, 0, 0, 0};
    char why[DATA_ERR];
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

/* Cuts off and returns the first paragraph of *s, moving *s behind it; NULL at the end. */
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

static int read_paragraphs(Rows *r, char *text, size_t n) {
    char name[256], *p;
    size_t lines = 1;
    unify_line_ends(text);
    for (size_t i = 0; i < n && text[i]; i++) lines += text[i] == '\n';
    base_name(r->path, name, sizeof name);
    size_t cap = strlen(name) + 12;              /* a blank, the number and NUL               */
    char *title = r->titles = malloc(lines * cap);
    if (!title) return fail(r->err, "%s: out of memory", r->path);
    for (int i = 1; (p = next_paragraph(&text)) != NULL; i++, title += cap) {
        snprintf(title, cap, "%s %d", name, i);
        if (add_row(r, (Row){NULL, title, p, NULL, "", 0, 0, 0}) != 0) return -1;
    }
    return 0;
}

/* ---- the corpus ---- */

uint64_t text_hash(const char *text) {
    uint64_t h = 0xCBF29CE484222325u;
    for (; *text; text++) h = (h ^ (unsigned char)*text) * 0x100000001B3u;
    return h;
}

typedef struct { uint64_t hash; int doc; } Slot;                 /* doc -1: free              */
typedef struct { Slot *slot; size_t mask; } Table;

static int table_init(Table *t, int n) {
    size_t size = 16;
    while (size / 2 < (size_t)n) size *= 2;
    t->mask = size - 1;
    t->slot = malloc(size * sizeof *t->slot);
    for (size_t i = 0; t->slot && i < size; i++) t->slot[i].doc = -1;
    return t->slot ? 0 : -1;
}

/* The slot of this text, or the free one where it belongs. */
static Slot *table_find(const Table *t, const Corpus *c, const char *text) {
    uint64_t hash = text_hash(text);
    size_t i = (size_t)hash & t->mask;
    while (t->slot[i].doc >= 0
           && (t->slot[i].hash != hash || strcmp(c->docs[t->slot[i].doc].text, text) != 0))
        i = (i + 1) & t->mask;
    t->slot[i].hash = hash;
    return &t->slot[i];
}

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
}

/* Appends a document: its index, or -1 when memory is out. */
static int push_doc(Corpus *c, const char *id, const char *title, const char *text) {
    char hex[17];
    if ((c->n_docs & (c->n_docs - 1)) == 0) {    /* the capacity is the next power of two     */
        size_t cap = c->n_docs ? 2 * (size_t)c->n_docs : 1;
        Doc *docs = realloc(c->docs, cap * sizeof *docs);
        if (!docs) return -1;
        c->docs = docs;
    }
    if (!id || !*id) {
        uint64_t h = text_hash(text);
        snprintf(hex, sizeof hex, "%08lx%08lx", (unsigned long)(h >> 32),
                 (unsigned long)(h & 0xFFFFFFFFu));
        id = hex;
    }
    Doc d = {copy_str(id), copy_str(title), copy_str(text), NULL, 0};
    if (!d.id || !d.title || !d.text) {
        drop_doc(&d);
        return -1;
    }
    c->docs[c->n_docs] = d;
    return c->n_docs++;
}

/* Equal texts are one document: it keeps the first title that is not empty. */
static int merge_title(Doc *d, const char *title) {
    if (*d->title || !*title) return 0;
    char *copy = copy_str(title);
    if (!copy) return -1;
    free(d->title);
    d->title = copy;
    return 0;
}

/* One malloc for all of a question, which starts with, and is freed as, its array a. */
static int make_qa(Qa *qa, const Row *row, char *const *a, int doc) {
    size_t head = (size_t)row->n_a * sizeof *qa->a;
    size_t n = head + strlen(row->q) + strlen(row->rel) + 2;
    for (int i = 0; i < row->n_a; i++) n += strlen(a[i]) + 1;
    char *p = malloc(n);
    if (!p) return -1;
    *qa = (Qa){p + head, (char **)(void *)p, row->n_a, NULL, NULL, doc};
    p = strcpy(qa->q, row->q) + strlen(row->q) + 1;
    qa->rel = strcpy(p, row->rel);
    p += strlen(row->rel) + 1;
    for (int i = 0; i < row->n_a; i++) {
        qa->a[i] = strcpy(p, a[i]);
        p += strlen(a[i]) + 1;
    }
    qa->target = qa->a[row->target];
    return 0;
}

/* Makes every Doc.qas anew, in all[n_qas].  So they are one malloc, which is docs[0].qas. */
static void index_questions(Corpus *c, int *all) {
    free(c->docs[0].qas);
    for (int i = 0; i < c->n_docs; i++) c->docs[i].n_qas = 0;
    for (int i = 0; i < c->n_qas; i++) c->docs[c->qas[i].doc].n_qas++;
    for (int i = 0; i < c->n_docs; i++) {
        c->docs[i].qas = all;
        all += c->docs[i].n_qas;
        c->docs[i].n_qas = 0;
    }
    for (int i = 0; i < c->n_qas; i++) {
        Doc *d = &c->docs[c->qas[i].doc];
        d->qas[d->n_qas++] = i;
    }
}

static int add_one(Corpus *c, const Rows *r, const Row *row, const Table *t) {
    Slot *slot = table_find(t, c, row->text);
    if (slot->doc < 0) slot->doc = push_doc(c, row->id, row->title, row->text);
    if (slot->doc < 0 || merge_title(&c->docs[slot->doc], row->title) != 0) return -1;
    if (!row->q) return 0;
    if (make_qa(&c->qas[c->n_qas], row, r->a + row->a, slot->doc) != 0) return -1;
    c->n_qas++;
    return 0;
}

static int add_rows(Corpus *c, const Rows *r) {
    int n_docs = c->n_docs, n_qas = c->n_qas, failed;
    Table t = {NULL, 0};
    size_t n = (size_t)n_qas + (size_t)r->n;
    int *all = malloc((n + 1) * sizeof *all);
    Qa *qas = realloc(c->qas, (n + 1) * sizeof *qas);
    if (qas) c->qas = qas;
    failed = !all || !qas || table_init(&t, n_docs + r->n) != 0;
    for (int i = 0; i < n_docs && !failed; i++) table_find(&t, c, c->docs[i].text)->doc = i;
    for (int i = 0; i < r->n && !failed; i++) failed = add_one(c, r, &r->row[i], &t) != 0;
    free(t.slot);
    if (!failed) {
        if (c->n_skipped == 0) memcpy(c->skipped, r->skipped, sizeof c->skipped);
        c->n_skipped += r->n_skipped;
        if (c->n_docs > 0) index_questions(c, all);
        else free(all);
        return 0;
    }
    free(all);
    while (c->n_qas > n_qas) free(c->qas[--c->n_qas].a);
    while (c->n_docs > n_docs) drop_doc(&c->docs[--c->n_docs]);
    return fail(r->err, "%s: out of memory", r->path);
}

static int read_rows(Corpus *c, const char *path, int (*reader)(Rows *, char *, size_t),
                     char *err) {
    Rows r = {path, err, NULL, 0, 0, NULL, 0, 0, NULL, 0, ""};
    char *text;
    size_t n;
    char *buf = read_file(path, &text, &n, err);
    int failed = !buf || reader(&r, text, n) != 0 || add_rows(c, &r) != 0;
    free(r.row);
    free(r.a);
    free(r.titles);
    free(buf);
    return failed ? -1 : 0;
}

int corpus_add(Corpus *c, const char *title, const char *text) {
    for (int i = 0; i < c->n_docs; i++)
        if (strcmp(c->docs[i].text, text) == 0)
            return merge_title(&c->docs[i], title) == 0 ? i : -1;
    return push_doc(c, NULL, title, text);
}

static int has_extension(const char *path, const char *ext) {
    size_t n = strlen(path), len = strlen(ext);
    if (n < len) return 0;
    for (size_t i = 0; i < len; i++) {
        char c = path[n - len + i];
        if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != ext[i]) return 0;
    }
    return 1;
}

int corpus_read(Corpus *c, const char *path, char *err) {
    char name[256], *text;
    size_t n;
    if (has_extension(path, ".jsonl")) return read_rows(c, path, read_jsonl, err);
    if (has_extension(path, ".json")) return read_rows(c, path, read_squad, err);
    if (has_extension(path, ".csv")) return read_rows(c, path, read_csv, err);
    char *buf = read_file(path, &text, &n, err);
    if (!buf) return -1;
    unify_line_ends(text);
    base_name(path, name, sizeof name);
    int doc = corpus_add(c, name, trim(text));
    free(buf);
    return doc < 0 ? fail(err, "%s: out of memory", path) : 0;
}

int corpus_read_paragraphs(Corpus *c, const char *path, char *err) {
    return read_rows(c, path, read_paragraphs, err);
}

void corpus_free(Corpus *c) {
    if (c->n_docs) free(c->docs[0].qas);
    for (int i = 0; i < c->n_qas; i++) free(c->qas[i].a);
    for (int i = 0; i < c->n_docs; i++) drop_doc(&c->docs[i]);
    free(c->qas);
    free(c->docs);
    memset(c, 0, sizeof *c);
}
