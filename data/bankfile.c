/* bankfile.c - a memory bank in a file: safetensors with "phi" [K,T,d] and "entries", the text of
 * ids, titles and hashes.  Its header has room for any K, so that a bank can grow in its file. */
#include "../mac.h"
#include "data.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

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
