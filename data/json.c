/* json.c - strict JSON (RFC 8259) into a tree.  Strict because a trailing comma or a NaN in a
 * corpus file means that something else went wrong where it was written. */
#include "json.h"
#include "base.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64             /* bounds the recursion: hostile nesting must not eat the stack */
#define BLOCK_NODES 256

struct JsonBlock {
    struct JsonBlock *next;
    int n;
    Json node[BLOCK_NODES];
};

typedef struct {
    char *p, *end;               /* what is left to read                                      */
    const char *line_start;
    int line;
    JsonPool *pool;
    char *err;
} Parser;

static int fail(Parser *s, const char *fmt, ...) {
    int n = snprintf(s->err, MAC_ERR, "line %d, byte %ld: ", s->line,
                     (long)(s->p - s->line_start) + 1);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->err + n, (size_t)(MAC_ERR - n), fmt, ap);
    va_end(ap);
    return -1;
}

static int is_word(char c) { return is_digit(c) || is_small(c) || is_capital(c); }

static int fail_expected(Parser *s, const char *what) {
    if (s->p == s->end) return fail(s, "unexpected end of input, expected %s", what);
    int n = 0;
    while (n < 12 && n < s->end - s->p && is_word(s->p[n])) n++;
    if (n > 0) return fail(s, "found %.*s, expected %s", n, s->p, what);
    if (*s->p > ' ' && *s->p <= '~') return fail(s, "found '%c', expected %s", *s->p, what);
    return fail(s, "found byte 0x%02X, expected %s", (unsigned char)*s->p, what);
}

static Json *new_node(Parser *s, JsonType type) {
    struct JsonBlock *b = s->pool->blocks;
    if (s->pool->limit && s->pool->n == s->pool->limit) {
        fail(s, "more values than a text of this length should have");
        return NULL;
    }
    if (!b || b->n == BLOCK_NODES) {
        b = malloc(sizeof *b);
        if (!b) {
            fail(s, "out of memory");
            return NULL;
        }
        b->next = s->pool->blocks;
        b->n = 0;
        s->pool->blocks = b;
    }
    s->pool->n++;
    Json *v = &b->node[b->n++];
    memset(v, 0, sizeof *v);
    v->type = type;
    return v;
}

static void skip_space(Parser *s) {
    for (; s->p < s->end; s->p++) {
        if (*s->p == '\n') {
            s->line++;
            s->line_start = s->p + 1;
        } else if (*s->p != ' ' && *s->p != '\t' && *s->p != '\r') {
            return;
        }
    }
}

/* The byte to read next; 0 at the end, which the text itself cannot hold. */
static char peek(const Parser *s) {
    return s->p < s->end ? *s->p : 0;
}

int utf8_len(const unsigned char *p, const unsigned char *end) {
    int n = *p < 0x80 ? 1 : *p < 0xC2 ? 0 : *p < 0xE0 ? 2 : *p < 0xF0 ? 3 : *p < 0xF5 ? 4 : 0;
    if (end - p < n) return 0;
    for (int i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    if ((*p == 0xE0 && p[1] < 0xA0) || (*p == 0xED && p[1] > 0x9F)) return 0;
    if ((*p == 0xF0 && p[1] < 0x90) || (*p == 0xF4 && p[1] > 0x8F)) return 0;
    return n;
}

int utf8_put(char *out, unsigned code) {
    static const unsigned char lead[5] = {0, 0, 0xC0, 0xE0, 0xF0};
    int n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3F));
    out[0] = (char)(lead[n] | code);
    return n;
}

int hex_read(const char *p, const char *end, int n) {
    unsigned v = 0;
    if (end - p < n) return -1;
    for (int i = 0; i < n; i++) {
        char c = p[i];
        int d = is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
              : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return -1;
        v = v * 16 + (unsigned)d;
    }
    return v <= 0x10FFFF ? (int)v : -1;
}

/* s->p is just after the backslash.  Writes the character to out: its number of bytes, or -1. */
static int parse_escape(Parser *s, char *out) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = peek(s);
    const char *at = c ? strchr(from, c) : NULL;
    if (at) {
        s->p++;
        *out = to[at - from];
        return 1;
    }
    int code = c == 'u' ? hex_read(s->p + 1, s->end, 4) : -1;
    if (c == 0) return fail(s, "unexpected end of input inside a string");
    if (code < 0) return fail(s, "bad escape: expected one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t"
                                 " \\u and four hexadecimal digits");
    if (code == 0 && s->pool->strict)
        return fail(s, "\\u0000: a string with a NUL cannot be kept whole");
    s->p += 5;
    if (code == 0) {
        s->pool->nuls++;
        *out = (char)JSON_NUL;
        return 1;
    }
    if (code >= 0xD800 && code < 0xE000) {             /* a surrogate needs its other half    */
        int low = -1;
        if (code < 0xDC00 && s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u')
            low = hex_read(s->p + 2, s->end, 4);
        if (low >= 0xDC00 && low < 0xE000) {
            s->p += 6;
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        } else if (s->pool->strict) {
            return fail(s, "half a surrogate pair");
        } else {
            code = 0xFFFD;
        }
    }
    return utf8_put(out, (unsigned)code);
}

/* s->p is at the opening quote.  Decodes in place: the string, or NULL. */
static char *parse_string(Parser *s) {
    char *str = ++s->p, *out = str;
    for (;;) {
        char c = peek(s);
        if (c == 0) {
            fail(s, "unexpected end of input inside a string");
            return NULL;
        }
        if ((unsigned char)c < ' ') {
            fail(s, "unescaped control character 0x%02X in a string", (unsigned)c);
            return NULL;
        }
        s->p++;
        if (c == '"') break;
        if (c == '\\') {
            int n = parse_escape(s, out);
            if (n < 0) return NULL;
            out += n;
        } else {
            *out++ = c;
        }
    }
    *out = 0;
    return str;
}

static int skip_digits(Parser *s) {
    if (!is_digit(peek(s))) return fail_expected(s, "a digit");
    while (is_digit(peek(s))) s->p++;
    return 0;
}

static int skip_number(Parser *s) {
    if (peek(s) == '-') s->p++;
    if (peek(s) == '0') s->p++;                        /* JSON has no 007                     */
    else if (skip_digits(s) != 0) return -1;
    if (peek(s) == '.') {
        s->p++;
        if (skip_digits(s) != 0) return -1;
    }
    if (peek(s) == 'e' || peek(s) == 'E') {
        s->p++;
        if (peek(s) == '+' || peek(s) == '-') s->p++;
        if (skip_digits(s) != 0) return -1;
    }
    return 0;
}

static Json *parse_value(Parser *s, int depth);

static int parse_key(Parser *s, char **key) {
    if (peek(s) != '"') return fail_expected(s, "a member name in quotes");
    *key = parse_string(s);
    if (!*key) return -1;
    skip_space(s);
    if (peek(s) != ':') return fail_expected(s, "':'");
    s->p++;
    skip_space(s);
    return 0;
}

/* s->p is at the opening bracket; v is the array or object that it opens. */
static int parse_children(Parser *s, Json *v, int depth) {
    char close = v->type == JSON_ARRAY ? ']' : '}';
    Json **link = &v->child;
    if (depth == MAX_DEPTH) return fail(s, "nested too deeply (more than %d levels)", MAX_DEPTH);
    s->p++;
    skip_space(s);
    if (peek(s) == close) {
        s->p++;
        return 0;
    }
    for (;;) {
        char *key = NULL;
        if (v->type == JSON_OBJECT && parse_key(s, &key) != 0) return -1;
        Json *child = parse_value(s, depth + 1);
        if (!child) return -1;
        child->key = key;
        *link = child;
        link = &child->next;
        skip_space(s);
        if (peek(s) == close) {
            s->p++;
            return 0;
        }
        if (peek(s) != ',') return fail_expected(s, close == ']' ? "',' or ']'" : "',' or '}'");
        s->p++;
        skip_space(s);
        if (peek(s) == close) return fail(s, "trailing comma before '%c'", close);
    }
}

static Json *parse_value(Parser *s, int depth) {
    static const struct { const char *word; JsonType type; } words[3] =
        {{"null", JSON_NULL}, {"true", JSON_BOOL}, {"false", JSON_BOOL}};
    char c = peek(s);
    Json *v;
    if (c == '[' || c == '{') {
        v = new_node(s, c == '[' ? JSON_ARRAY : JSON_OBJECT);
        return v && parse_children(s, v, depth) == 0 ? v : NULL;
    }
    if (c == '"') {
        v = new_node(s, JSON_STRING);
        if (v) v->str = parse_string(s);
        return v && v->str ? v : NULL;
    }
    if (c == '-' || is_digit(c)) {
        v = new_node(s, JSON_NUMBER);
        if (v) v->str = s->p;
        return v && skip_number(s) == 0 ? v : NULL;
    }
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i].word);
        if ((size_t)(s->end - s->p) >= n && memcmp(s->p, words[i].word, n) == 0) {
            s->p += n;
            return new_node(s, words[i].type);
        }
    }
    fail_expected(s, "a value");
    return NULL;
}

Json *json_parse(JsonPool *pool, char *text, size_t n, int line, char *err) {
    Parser s = {text, text + n, text, line, pool, err};
    skip_space(&s);
    Json *v = parse_value(&s, 0);
    if (!v) return NULL;
    skip_space(&s);
    if (s.p == s.end) return v;
    fail(&s, "extra data after the top-level value");
    return NULL;
}

Json *json_get(const Json *object, const char *key) {
    Json *found = NULL;
    if (!object || object->type != JSON_OBJECT) return NULL;
    for (Json *m = object->child; m; m = m->next)
        if (strcmp(m->key, key) == 0) found = m;
    return found;
}

/* Control characters, those beyond ASCII too; characters that end a line or turn the direction of
 * the text after them; bytes that are no character (n is 0). */
static int is_hidden(const unsigned char *p, int n) {
    if (n < 2) return n == 0 || *p < ' ' || *p == 127;
    if (n == 2) return p[0] == 0xC2 && p[1] < 0xA0;
    return n == 3 && p[0] == 0xE2 && ((p[1] == 0x80 && p[2] >= 0xA8 && p[2] <= 0xAE)
                                      || (p[1] == 0x81 && p[2] >= 0xA6 && p[2] <= 0xA9));
}

void plain_line(char *s) {
    const unsigned char *p = (unsigned char *)s, *end = p + strlen(s);
    for (int n; p < end; p += n ? n : 1) {
        n = utf8_len(p, end);
        if (is_hidden(p, n)) *s++ = '?';
        else for (int i = 0; i < n; i++) *s++ = (char)p[i];
    }
    *s = 0;
}

void json_put(FILE *f, const char *s) {
    const unsigned char *p = (const unsigned char *)s, *end = p + strlen(s);
    putc('"', f);
    while (p < end) {
        int n = utf8_len(p, end);
        if (*p == '"' || *p == '\\') fprintf(f, "\\%c", *p);
        else if (*p < 32) fprintf(f, "\\u%04x", (unsigned)*p);
        else if (n == 0) fputs("\\ufffd", f);
        else fwrite(p, 1, (size_t)n, f);
        p += n ? n : 1;
    }
    putc('"', f);
}

void json_free(JsonPool *pool) {
    while (pool->blocks) {
        struct JsonBlock *next = pool->blocks->next;
        free(pool->blocks);
        pool->blocks = next;
    }
}
