/* bank.c - the memory bank [E2]: for each of K documents T vectors, an id, a title and the hash of
 * its text, in memory and in a file.  What the vectors mean is mac.c's.
 *
 * What always holds: entry i of `text` and row i of phi belong to the same document, entries are in
 * the order in which they were added, and nothing else depends on a document, but for what is made
 * anew of these two (`seen`, the checksum).  Therefore a document is forgotten when its entry and
 * its row are cut out: what is saved then equals, byte for byte, a bank that was never given it.
 *
 * Vectors are large, entries are small.  So the rows of a loaded bank stay in its file, mapped, and
 * come into memory when they are read; the rows of a growing bank (`out`) go to its new file at
 * once and are not kept.  The text is always in our own memory.  A file never changes under those
 * who read it: saving puts a new one in its place. */
#include "json.h"
#include "store.h"
#include <limits.h>
#include <stdlib.h>

Bank *bank_new(int T, int d, uint64_t model) {
    Bank *b = calloc(1, sizeof *b);
    if (b) b->T = T, b->d = d, b->model = model;
    return b;
}

void bank_free(Bank *b) {
    if (!b) return;
    if (b->out) st_abort(b->out);
    if (!b->phi_mapped) free(b->phi);
    free(b->text);
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

/* An entry is three strings: id, title, hash.  Reads the one at `at` (NULL: the first) and returns
 * where the next one begins. */
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

/* SipHash-2-4 with a key of zeros. */
static uint64_t turned(uint64_t x, int by) { return x << by | x >> (64 - by); }

static void sip_rounds(uint64_t v[4], int n) {
    for (; n > 0; n--) {
        v[0] += v[1], v[1] = turned(v[1], 13) ^ v[0], v[0] = turned(v[0], 32);
        v[2] += v[3], v[3] = turned(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = turned(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = turned(v[1], 17) ^ v[2], v[2] = turned(v[2], 32);
    }
}

uint64_t bank_key(const Bank *b, const char *text) {
    uint64_t v[4] = {0x736f6d6570736575u, 0x646f72616e646f6du, 0x6c7967656e657261u,
                     0x7465646279746573u};
    if (b->weak) return text_hash(text);
    size_t n = strlen(text);
    for (size_t at = 0; at <= n; at += 8) { /* the last word ends in the length */
        uint64_t word = n - at < 8 ? (uint64_t)n << 56 : 0;
        for (size_t i = 0; i < 8 && at + i < n; i++)
            word |= (uint64_t)(unsigned char)text[at + i] << (8 * i);
        v[3] ^= word, sip_rounds(v, 2), v[0] ^= word;
    }
    v[2] ^= 0xff, sip_rounds(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
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

/* Makes room in *p for n bytes after the `used` ones.  Where *p lies in a mapped file, these move
 * to memory of our own. */
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
    int none = 0; /* the text is never mapped: writers of the file could move its strings' ends */
    if (b->K == INT_MAX || b->text_n + more > INT_MAX || seen_grow(b) != 0
        || own_room(&b->text, &none, &b->cap_text, b->text_n, more) != 0)
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

static int text_order(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char **find_text(const char *text, const char **in, int n) { /* sorted; NULL: not in */
    return bsearch(&text, in, (size_t)n, sizeof *in, text_order);
}

/* What stays moves up. */
void bank_cut(Bank *b, const char *gone) {
    BankEntry e;
    char *phi = (char *)b->phi, *text = b->text;
    size_t row = row_bytes(b), i = 0, stay = 0;
    const char *at = NULL;
    for (const char *from = b->text; (at = bank_next(b, at, &e)); from = at, i++) {
        size_t size = (size_t)(at - from);
        if (gone[i]) continue;
        if (stay < i) { /* a mapped file's pages become ours */
            memmove(text, from, size);
            memmove(phi + stay * row, phi + i * row, row);
        }
        text += size, stay++;
    }
    if (b->K) b->text_n = (size_t)(text - b->text);
    b->K = (int)stay;
    free(b->seen);
    b->seen = NULL;
}

int bank_forget(Bank *b, const char **ids, int n, const char **absent) {
    BankEntry e;
    int unique = 0, i = 0;
    char *held = calloc((size_t)n + (size_t)b->K + 1, 1), *gone = held + n;
    *absent = NULL;
    if (!held || b->out) return free(held), -1;
    qsort(ids, (size_t)n, sizeof *ids, text_order);
    for (int k = 0; k < n; k++)
        if (!k || strcmp(ids[unique - 1], ids[k])) ids[unique++] = ids[k];
    for (const char *at = NULL, **found; (at = bank_next(b, at, &e)); i++)
        if ((found = find_text(e.id, ids, unique))) held[found - ids] = gone[i] = 1;
    for (int k = 0; k < unique && !*absent; k++)
        if (!held[k]) *absent = ids[k];
    if (!*absent) bank_cut(b, gone);
    free(held);
    return *absent ? -1 : 0;
}

int bank_remove(Bank *b, const char *id) {
    const char *absent;
    return bank_forget(b, &id, 1, &absent);
}

/* ---- the file: safetensors, "phi" [K,T,d] and "entries", the text; its header has room for any K,
 * so that a bank can grow in its file ---- */
static void put_hex(StWriter *w, const char *key, uint64_t x) {
    char text[20];
    snprintf(text, sizeof text, "%016llx", (unsigned long long)x);
    st_add_meta(w, key, text);
}

static int is_hex(const char *s) {
    return s && strspn(s, "0123456789abcdef") == 16 && !s[16];
}

int bank_grow(Bank *b, const char *path, char *err) {
    int text = INT_MAX;
    StWriter *w = st_new();
    st_add_meta(w, "format", "mac-bank");
    put_hex(w, "model", b->model);
    if (b->tokens) put_hex(w, "tokens", b->tokens);
    if (!b->weak) st_add_meta(w, "hash", "siphash");
    put_hex(w, "sum", 0); /* what it comes to is known in the end */
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

/* The vectors in place, or read into memory where they cannot be mapped. */
static int open_phi(Bank *b, char *err) {
    int64_t n = st_size(b->file, "phi");
    b->phi = st_map(b->file, "phi");
    b->phi_mapped = b->phi != NULL;
    if (b->phi_mapped) return 0;
    if (!(b->phi = malloc((size_t)n * (b->half ? 2 : sizeof(real)) + 1)))
        return st_fail(b->file, err, "out of memory");
    return b->half ? st_read_bytes(b->file, "phi", b->phi, n, err)
                   : st_read(b->file, "phi", b->phi, n, err);
}

static int bank_open(Bank *b, char *err) {
    const char *format = st_meta(b->file, "format"), *model = st_meta(b->file, "model");
    const char *tokens = st_meta(b->file, "tokens"), *hash = st_meta(b->file, "hash");
    const char *sum = st_meta(b->file, "sum");
    const char *dtype = "", *bytes = "";
    const int64_t *shape = NULL, *text_n = NULL;
    int phi = st_find(b->file, "phi"), entries = st_find(b->file, "entries"), ndim = 0, one = 0;
    if (!format || strcmp(format, "mac-bank"))
        return st_fail(b->file, err, "this is not a memory bank made by learn");
    if (!is_hex(model) || (tokens && !is_hex(tokens)) || (sum && !is_hex(sum)))
        return st_fail(b->file, err, "its model, tokens or sum is no number of 16 hexadecimal "
                                     "digits");
    if (!hash != !sum || (hash && strcmp(hash, "siphash")))
        return st_fail(b->file, err, "its hash is not siphash, or it has no sum");
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
    b->tokens = tokens ? strtoull(tokens, NULL, 16) : 0, b->weak = !hash;
    b->text_n = (size_t)text_n[0], b->cap_text = b->text_n + 1;
    if (!(b->text = malloc(b->cap_text))) return st_fail(b->file, err, "out of memory");
    if (st_read_bytes(b->file, "entries", b->text, text_n[0], err) != 0) return -1;
    long long found = count_entries(b->text, b->text + b->text_n);
    if (found != shape[0])
        return st_fail(b->file, err, "entry %lld of the bank is damaged",
                       found < 0 ? -found : (found < shape[0] ? found : shape[0]) + 1);
    b->K = (int)shape[0];
    return open_phi(b, err);
}

int bank_check(const Bank *b, const char *path, char *err) {
    size_t per = (size_t)b->T * (size_t)b->d;
    real *phi = malloc(per * sizeof *phi);
    BankEntry e;
    int bad = 0, k = 0;
    if (!phi) return snprintf(err, MAC_ERR, "%.250s: out of memory", path), -1;
    for (const char *at = NULL; !bad && (at = bank_next(b, at, &e)); k++) {
        bank_read(b, k, 1, phi);
        for (size_t i = 0; i < per && !bad; i++) bad = phi[i] - phi[i] != 0;
    }
    free(phi);
    if (!bad) return 0;
    snprintf(err, MAC_ERR, "%.250s: is damaged: entry %d, \"%.80s\", holds what is no number (NaN "
                           "or infinity)", path, k, e.id);
    plain_line(err);
    return -1;
}

const char *bank_misfit(const Bank *b, int T, int d, uint64_t model, uint64_t tokens) {
    if (b->model != model)
        return "was made by another model: learn its documents again with this one";
    if (b->T != T || b->d != d) return "is damaged: its vectors have not this model's sizes";
    if (b->tokens && b->tokens != tokens)
        return "was made with another tokenizer: this model's was exchanged";
    return NULL;
}

static Bank *load(const char *path, int whole, char *err) {
    Bank *b = calloc(1, sizeof *b);
    if (!b) { snprintf(err, MAC_ERR, "%s: out of memory for the bank", path); return NULL; }
    b->file = st_open(path, err);
    int bad = !b->file || bank_open(b, err) != 0 || (whole && st_check(b->file, err) != 0)
              || st_unchanged(b->file, err) != 0;
    if (!bad && whole && b->weak && bank_check(b, path, err) != 0) bad = -1;
    if (bad) { bank_free(b); return NULL; }
    if (!b->phi_mapped) { /* Windows replaces no file that is open */
        st_close(b->file);
        b->file = NULL;
    }
    return b;
}

Bank *bank_load(const char *path, char *err) { return load(path, 0, err); }
Bank *bank_load_whole(const char *path, char *err) { return load(path, 1, err); }
