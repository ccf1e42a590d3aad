/* bank.c - the memory bank [E2]: T vectors, an id, a title and a hash for each of K documents, in
 * memory and in a file.  Knows no tensor and no model: what the vectors mean is mac.c's. */
#include "../mac.h"
#include "data.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

Bank *bank_new(const MacConfig *c, uint64_t model) {
    Bank *b = calloc(1, sizeof *b);
    if (b) b->T = c->T, b->d = c->d, b->model = model;
    return b;
}

void bank_free(Bank *b) {
    if (!b) return;
    if (b->out) st_abort(b->out);
    if (!b->phi_mapped) free(b->phi);
    if (!b->text_mapped) free(b->text);
    free(b->seen);
    st_close(b->file);
    free(b);
}

static size_t row_bytes(const Bank *b) {
    return (size_t)b->T * (size_t)b->d * (b->half ? 2 : sizeof(real));
}

void bank_read(const Bank *b, int first, int n, real *to) {
    size_t per = (size_t)b->T * (size_t)b->d, numbers = per * (size_t)n;
    if (n == 0) return; /* there may be nothing to point to */
    const char *from = (const char *)b->phi + (size_t)first * row_bytes(b);
    if (b->half) half_read(to, (const unsigned char *)from, numbers);
    else memcpy(to, from, numbers * sizeof *to);
}

/* Three strings an entry: id, title, hash.  The next entry's, behind `at` (NULL: the first). */
const char *bank_next(const Bank *b, const char *at, BankEntry *e) {
    if (!at) at = b->text;
    if (!at || at == b->text + b->text_n) return NULL;
    e->id = at;
    e->title = e->id + strlen(e->id) + 1;
    const char *hash = e->title + strlen(e->title) + 1;
    e->hash = strtoull(hash, NULL, 16);
    return hash + 17;
}

int bank_find(const Bank *b, const char *id) {
    BankEntry e;
    int i = 0;
    for (const char *at = NULL; (at = bank_next(b, at, &e)); i++)
        if (!strcmp(e.id, id)) return i;
    return -1;
}

/* ---- the hashes of all entries, in an open table of a power of two: 0 is an empty place ---- */
static int seen_add(Bank *b, uint64_t hash) { /* 1: new */
    size_t mask = b->cap_seen - 1, i = (size_t)(hash * 0x9e3779b97f4a7c15u >> 20) & mask;
    hash += hash == 0;
    for (; b->seen[i]; i = (i + 1) & mask)
        if (b->seen[i] == hash) return 0;
    b->seen[i] = hash;
    b->n_seen++;
    return 1;
}

static int seen_grow(Bank *b) { /* room for one more; made anew from the text where there is none */
    if (b->seen && 2 * b->n_seen < b->cap_seen) return 0;
    size_t cap = 64;
    while (cap < 4 * (size_t)(b->K + 1)) cap *= 2;
    free(b->seen);
    b->seen = calloc(cap, sizeof *b->seen);
    b->cap_seen = b->seen ? cap : 0, b->n_seen = 0;
    BankEntry e;
    for (const char *at = NULL; b->seen && (at = bank_next(b, at, &e));) seen_add(b, e.hash);
    return b->seen ? 0 : -1;
}

/* Room for n bytes more behind the first `used` of *p, which may lie in a mapped file: then they
 * move to memory of our own. */
static int own_room(char **p, int *mapped, size_t *cap, size_t used, size_t n) {
    if (!*mapped && used + n <= *cap) return 0;
    size_t want = used + n + (used + n) / 2;
    char *grown = *mapped ? malloc(want) : realloc(*p, want);
    if (!grown) return -1;
    if (*mapped) memcpy(grown, *p, used);
    *p = grown, *mapped = 0, *cap = want;
    return 0;
}

int bank_add(Bank *b, const char *id, const char *title, uint64_t hash, const real *phi) {
    size_t n = (size_t)b->T * (size_t)b->d, row = row_bytes(b);
    size_t more = strlen(id) + strlen(title) + 19;
    if (b->K == INT_MAX || b->text_n + more > INT_MAX || seen_grow(b) != 0
        || own_room(&b->text, &b->text_mapped, &b->cap_text, b->text_n, more) != 0)
        return -1;
    if (!b->out && own_room((char **)&b->phi, &b->phi_mapped, &b->cap_phi, (size_t)b->K * row, row))
        return -1;
    if (!seen_add(b, hash)) return 0;
    char *to = b->out ? NULL : (char *)b->phi + (size_t)b->K * row;
    unsigned char two[2];
    for (size_t i = 0; b->half && i < n; i++) {
        uint16_t h = half_of(phi[i]);
        two[0] = (unsigned char)h, two[1] = (unsigned char)(h >> 8);
        if (b->out) st_put(b->out, two, 2);
        else memcpy(to + 2 * i, two, 2);
    }
    if (!b->half && b->out) st_put_reals(b->out, phi, n);
    else if (!b->half) memcpy(to, phi, row);
    snprintf(b->text + b->text_n, more, "%s%c%s%c%016llx", id, 0, title, 0,
             (unsigned long long)hash);
    b->text_n += more;
    b->K++;
    return 1;
}

int bank_remove(Bank *b, const char *id) {
    BankEntry e;
    const char *from = NULL, *at = NULL;
    int i = 0, found = 0;
    size_t row = row_bytes(b);
    for (; (at = bank_next(b, from, &e)); from = at, i++)
        if ((found = !strcmp(e.id, id))) break;
    if (!found || b->out) return -1;
    if (!from) from = b->text;
    size_t gone = (size_t)(at - from), place = (size_t)(from - b->text);
    memmove(b->text + place, at, b->text_n - place - gone); /* a mapped file's pages become ours */
    b->text_n -= gone;
    b->K--;
    char *to = (char *)b->phi + (size_t)i * row;
    memmove(to, to + row, (size_t)(b->K - i) * row);
    free(b->seen);
    b->seen = NULL;
    return 0;
}

/* ---- the file: safetensors, "phi" [K,T,d] and "entries", the text; its header has room for any K,
 * so that a bank can grow in its file ---- */
int bank_grow(Bank *b, const char *path, char *err) {
    char model[20];
    int text = INT_MAX;
    StWriter *w = st_new();
    snprintf(model, sizeof model, "%016llx", (unsigned long long)b->model);
    st_add_meta(w, "format", "mac-bank");
    st_add_meta(w, "model", model);
    const int shape[3] = {INT_MAX, b->T, b->d};
    if (b->half) st_add_as(w, "phi", "F16", NULL, 3, shape);
    else st_add(w, "phi", NULL, 3, shape);
    st_add_as(w, "entries", "U8", NULL, 1, &text);
    if (st_begin(w, path, err) != 0) return -1;
    size_t n = (size_t)b->K * (size_t)b->T * (size_t)b->d;
    if (b->half) st_put(w, b->phi, 2 * n);
    else st_put_reals(w, b->phi, n);
    b->out = w;
    return 0;
}

int bank_save(Bank *b, const char *path, char *err) {
    if (!b->out && bank_grow(b, path, err) != 0) return -1;
    StWriter *w = b->out;
    b->out = NULL;
    st_rows(w, 0, b->K);
    st_rows(w, 1, (int)b->text_n);
    st_put(w, b->text, b->text_n);
    return st_end(w, err);
}

/* The number of entries that the text holds, or minus the number of the first damaged one. */
static long long count_entries(const char *p, const char *end) {
    long long n = 0;
    for (; p < end; n++)
        for (int k = 0; k < 3; k++) {
            const char *nul = memchr(p, 0, (size_t)(end - p));
            if (!nul || (k == 2 && (nul - p != 16 || strspn(p, "0123456789abcdef") != 16)))
                return -n - 1;
            p = nul + 1;
        }
    return n;
}

/* A tensor of the file in place, or read into memory where it cannot be mapped. */
static void *bank_part(Bank *b, const char *name, int64_t n, size_t size, int *mapped, char *err) {
    void *p = st_map(b->file, name);
    *mapped = p != NULL;
    if (!p && !(p = malloc((size_t)n * size + 1))) st_fail(b->file, err, "out of memory");
    if (!p || *mapped) return p;
    int bad = size == sizeof(real) ? st_read(b->file, name, p, n, err)
                                   : st_read_bytes(b->file, name, p, n, err);
    if (!bad) return p;
    free(p);
    return NULL;
}

static int bank_open(Bank *b, char *err) {
    const char *format = st_meta(b->file, "format"), *model = st_meta(b->file, "model");
    const char *dtype = "", *bytes = "";
    const int64_t *shape = NULL, *text_n = NULL;
    int phi = st_find(b->file, "phi"), entries = st_find(b->file, "entries"), ndim = 0, one = 0;
    if (!format || strcmp(format, "mac-bank"))
        return st_fail(b->file, err, "this is not a memory bank made by learn");
    if (!model || strspn(model, "0123456789abcdef") != 16 || model[16])
        return st_fail(b->file, err, "its model is no fingerprint of 16 hexadecimal digits");
    if (phi >= 0) st_info(b->file, phi, &dtype, &ndim, &shape);
    if (entries >= 0) st_info(b->file, entries, &bytes, &one, &text_n);
    if (ndim != 3 || (strcmp(dtype, "F16") && strcmp(dtype, "F32") && strcmp(dtype, "F64")))
        return st_fail(b->file, err, "\"phi\", the vectors of its documents, is no [K,T,d] of F16, "
                                     "F32 or F64");
    if (shape[0] > INT_MAX || shape[1] < 1 || shape[1] > 1 << 20 || shape[2] < 1
        || shape[2] > 1 << 20)
        return st_fail(b->file, err, "\"phi\" has the absurd sizes %lld, %lld, %lld",
                       (long long)shape[0], (long long)shape[1], (long long)shape[2]);
    if (one != 1 || strcmp(bytes, "U8") || text_n[0] > INT_MAX)
        return st_fail(b->file, err, "\"entries\" is not a text of up to %d bytes", INT_MAX);
    b->half = !strcmp(dtype, "F16");
    b->T = (int)shape[1], b->d = (int)shape[2], b->model = strtoull(model, NULL, 16);
    b->text = bank_part(b, "entries", text_n[0], 1, &b->text_mapped, err);
    if (!b->text) return -1;
    b->text_n = (size_t)text_n[0];
    long long found = count_entries(b->text, b->text + b->text_n);
    if (found != shape[0])
        return st_fail(b->file, err, "entry %lld of the bank is damaged",
                       found < 0 ? -found : (found < shape[0] ? found : shape[0]) + 1);
    b->phi = bank_part(b, "phi", st_size(b->file, "phi"), b->half ? 2 : sizeof(real),
                       &b->phi_mapped, err);
    b->K = (int)shape[0];
    return b->phi ? 0 : -1;
}

Bank *bank_load(const char *path, char *err) {
    Bank *b = calloc(1, sizeof *b);
    if (!b) { snprintf(err, MAC_ERR, "%s: out of memory for the bank", path); return NULL; }
    b->file = st_open(path, err);
    if (!b->file || bank_open(b, err) != 0) { bank_free(b); return NULL; }
    if (!b->phi_mapped && !b->text_mapped) { /* Windows replaces no file that is open */
        st_close(b->file);
        b->file = NULL;
    }
    return b;
}
