/* safetensors.c - tensors in files.  8 bytes: length of the header, little-endian; the header,
 * JSON: name -> dtype, shape, offsets into the rest; "__metadata__" -> strings; then the numbers,
 * little-endian.
 *
 * What a file says is believed only after it was compared with the file's size: until st_open has
 * done so, nothing larger than some 12 times the header is allocated.  All else that reads here
 * asks for a tensor by name and number of elements, so that a wrong file is refused, not read. */
#if defined(__unix__) || defined(__APPLE__)
#define _POSIX_C_SOURCE 200809L
#endif
#include "file.h"
#include "json.h"
#include "store.h"
#include <stdarg.h>
#include <stdlib.h>

/* ==== platform =============================================================================== */
#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
/* A file's bytes in memory, read when they are touched; what is written there stays with us. */
static void *map_file(FILE *f, size_t n) {
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE, fileno(f), 0);
    return p == MAP_FAILED ? NULL : p;
}
static void unmap_file(void *p, size_t n) { munmap(p, n); }
#else
static void *map_file(FILE *f, size_t n) { (void)f, (void)n; return NULL; }
static void unmap_file(void *p, size_t n) { (void)p, (void)n; }
#endif

/* ==== what a file holds ====================================================================== */
#define MAX_HEADER ((uint64_t)100 << 20) /* the format's own limit */
#define MAX_DIMS 8 /* that are shown; a Tensor has fewer */
#define BUFFER 4096
#ifdef MAC_DOUBLE
typedef uint64_t rbits;
#define REAL_DTYPE "F64"
#define QUIET_NAN ((rbits)0x7ff8 << 48)
#else
typedef uint32_t rbits;
#define REAL_DTYPE "F32"
#define QUIET_NAN ((rbits)0x7fc0 << 16)
#endif

typedef struct {
    char *name, dtype[8];
    int ndim;
    int64_t shape[MAX_DIMS];
    uint64_t begin, end;          /* offsets into the data */
    const void *data;             /* writer: borrowed until st_write */
} StEntry;
typedef struct { char *key, *value; } StMeta;

struct StFile {
    char *path;
    FILE *file;
    char *text;                   /* the header, which holds all names and strings; writer: NULL,
                                     each has memory of its own */
    char *map;                    /* the whole file, NULL: not asked for, or not to be had */
    uint64_t data_at, data_len, state; /* state: of the file when it was opened */
    StEntry *entry, **by_name;    /* [n] as they lie in the file; sorted by name */
    StMeta *meta;                 /* [n_meta] sorted by key */
    int n, n_meta;
};
/* The checksum of a bank's vectors and entries: over words of 8 bytes, little-endian. */
typedef struct { uint64_t hash, word, n; } Sum;
struct StWriter {
    StFile f;
    FileOut *out;
    long data_at;                 /* where the header ends, room to grow included */
    Sum sum;
    int failed, summed;
};

int st_fail(const StFile *f, char *err, const char *format, ...) {
    int n = snprintf(err, MAC_ERR, "%.250s: ", f->path);
    va_list args;
    va_start(args, format);
    vsnprintf(err + n, (size_t)(MAC_ERR - n), format, args);
    va_end(args);
    plain_line(err);
    return -1;
}

static char *join_text(const char *a, const char *b) { /* malloc'd, NULL: out of memory */
    size_t n = strlen(a), m = strlen(b) + 1;
    char *c = malloc(n + m);
    if (c) memcpy(c, a, n), memcpy(c + n, b, m);
    return c;
}

static uint64_t dtype_size(const char *dtype) { /* 0: unknown */
    static const struct { const char *name; int size; } known[] = {
        {"F32", 4}, {"F64", 8}, {"U8", 1}, {"I8", 1}, {"BOOL", 1}, {"F16", 2}, {"BF16", 2},
        {"I16", 2}, {"U16", 2}, {"I32", 4}, {"U32", 4}, {"I64", 8}, {"U64", 8}, {"C64", 8},
        {"F8_E4M3", 1}, {"F8_E5M2", 1}, {"F8_E8M0", 1}}; /* to be shown, not read */
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, dtype)) return (uint64_t)known[i].size;
    return 0;
}

static int64_t entry_count(const StEntry *e) { /* numbers in it, -1: absurd */
    int64_t n = 1;
    for (int i = 0; i < e->ndim; i++) {
        if (e->shape[i] < 0 || (e->shape[i] > 0 && n > INT64_MAX / 16 / e->shape[i])) return -1;
        n *= e->shape[i];
    }
    return n;
}

/* ==== the header, read strictly: only what safetensors allows ================================ */
/* A JSON array of whole numbers, none negative, into to[cap]: how many; -1 for anything else. */
static int whole_numbers(const Json *array, int64_t *to, int cap) {
    int n = 0;
    if (array->type != JSON_ARRAY) return -1;
    for (const Json *x = array->child; x; x = x->next, n++) {
        if (n == cap || x->type != JSON_NUMBER) return -1;
        const char *p = x->str;
        for (to[n] = 0; is_digit(*p); p++) {
            if (to[n] > (INT64_MAX - 9) / 10) return -1;
            to[n] = 10 * to[n] + (*p - '0');
        }
        if (p == x->str || *p == '.' || *p == 'e' || *p == 'E') return -1;
    }
    return n;
}

/* One tensor: {"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}, each once, in any order. */
static int read_entry(const StFile *f, StEntry *e, const Json *tensor, char *err) {
    static const char *const field[3] = {"dtype", "shape", "data_offsets"};
    int seen[3] = {0};
    *e = (StEntry){.name = tensor->key};
    if (tensor->type != JSON_OBJECT)
        return st_fail(f, err, "tensor \"%.80s\" is no object", e->name);
    for (const Json *m = tensor->child; m; m = m->next) {
        int which = 0;
        int64_t offset[2];
        while (which < 3 && strcmp(m->key, field[which])) which++;
        if (which == 3 || seen[which]++)
            return st_fail(f, err, "tensor \"%.80s\" has the field \"%.20s\" %s", e->name, m->key,
                           which == 3 ? "that no tensor has" : "twice");
        if (which == 0 && (m->type != JSON_STRING || !dtype_size(m->str)))
            return st_fail(f, err, "tensor \"%.80s\" has the unknown dtype \"%.20s\"", e->name,
                           m->type == JSON_STRING ? m->str : "");
        if (which == 0) snprintf(e->dtype, sizeof e->dtype, "%s", m->str);
        if (which == 1 && (e->ndim = whole_numbers(m, e->shape, MAX_DIMS)) < 0)
            return st_fail(f, err, "tensor \"%.80s\": its shape is no list of up to %d sizes",
                           e->name, MAX_DIMS);
        if (which == 2 && whole_numbers(m, offset, 2) != 2)
            return st_fail(f, err, "tensor \"%.80s\": its data_offsets are not two places",
                           e->name);
        if (which == 2) e->begin = (uint64_t)offset[0], e->end = (uint64_t)offset[1];
    }
    for (int i = 0; i < 3; i++)
        if (!seen[i]) return st_fail(f, err, "tensor \"%.80s\" has no %s", e->name, field[i]);
    return 0;
}

static int meta_order(const void *a, const void *b) {
    return strcmp(((const StMeta *)a)->key, ((const StMeta *)b)->key);
}

static int read_meta(StFile *f, const Json *object, char *err) {
    size_t n = 0;
    if (object->type != JSON_OBJECT || f->meta)
        return st_fail(f, err, "its __metadata__ is %s", f->meta ? "there twice" : "no object");
    for (const Json *m = object->child; m; m = m->next, n++)
        if (m->type != JSON_STRING)
            return st_fail(f, err, "its __metadata__ \"%.80s\" is no string", m->key);
    f->meta = malloc((n + 1) * sizeof *f->meta);
    if (!f->meta) return st_fail(f, err, "out of memory");
    for (const Json *m = object->child; m; m = m->next)
        f->meta[f->n_meta++] = (StMeta){m->key, m->str};
    qsort(f->meta, n, sizeof *f->meta, meta_order);
    for (size_t i = 1; i < n; i++)
        if (!meta_order(&f->meta[i - 1], &f->meta[i]))
            return st_fail(f, err, "its __metadata__ has \"%.80s\" twice", f->meta[i].key);
    return 0;
}

/* f->text, n bytes, into entries and metadata; both point into the text. */
static int read_header(StFile *f, size_t n, char *err) {
    char why[MAC_ERR];
    size_t count = 0;
    for (size_t i = 0, len; i < n; i += len)
        if (!(len = (size_t)utf8_len((unsigned char *)f->text + i, (unsigned char *)f->text + n)))
            return st_fail(f, err, "is not a safetensors file: byte %zu of its header is no UTF-8",
                           i);
    /* The shortest tensor has 6 bytes of text for each of its values. */
    JsonPool pool = {.strict = 1, .limit = n / 5 + 2};
    const Json *top = json_parse(&pool, f->text, n, 1, why);
    int bad = !top || top->type != JSON_OBJECT;
    if (bad)
        st_fail(f, err, "is not a safetensors file: its header%s%s", top ? " is no object" : ", ",
                top ? "" : why);
    for (const Json *m = bad ? NULL : top->child; m; m = m->next) count++;
    if (!bad && !(f->entry = malloc((count + 1) * sizeof *f->entry)))
        bad = st_fail(f, err, "out of memory");
    for (const Json *m = bad ? NULL : top->child; m && !bad; m = m->next)
        bad = strcmp(m->key, "__metadata__") ? read_entry(f, &f->entry[f->n++], m, err)
                                             : read_meta(f, m, err);
    json_free(&pool);
    return bad ? -1 : 0;
}

static int place_order(const void *a, const void *b) { /* by offset; empty tensors by name */
    const StEntry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    if (x->end != y->end) return x->end < y->end ? -1 : 1;
    return strcmp(x->name, y->name);
}

static int name_order(const void *a, const void *b) {
    return strcmp((*(StEntry *const *)a)->name, (*(StEntry *const *)b)->name);
}

/* Sizes, offsets and names must agree, and the tensors must fill the file without a gap. */
static int check_entries(StFile *f, char *err) {
    uint64_t at = 0;
    qsort(f->entry, (size_t)f->n, sizeof *f->entry, place_order);
    for (int i = 0; i < f->n; i++) {
        const StEntry *e = &f->entry[i];
        int64_t n = entry_count(e);
        if (e->begin != at || e->end < e->begin || e->end > f->data_len)
            return st_fail(f, err, "tensor \"%.80s\": its data_offsets are not where the tensor "
                                   "before ends, or lie beyond the end of the file", e->name);
        if (n < 0 || (uint64_t)n * dtype_size(e->dtype) != e->end - e->begin)
            return st_fail(f, err, "tensor \"%.80s\": its shape does not fit its data_offsets",
                           e->name);
        at = e->end;
    }
    if (at != f->data_len)
        return st_fail(f, err, "the file has %llu bytes behind the last tensor",
                       (unsigned long long)(f->data_len - at));
    f->by_name = malloc((size_t)(f->n + 1) * sizeof *f->by_name);
    if (!f->by_name) return st_fail(f, err, "out of memory");
    for (int i = 0; i < f->n; i++) f->by_name[i] = &f->entry[i];
    qsort(f->by_name, (size_t)f->n, sizeof *f->by_name, name_order);
    for (int i = 1; i < f->n; i++)
        if (!name_order(&f->by_name[i - 1], &f->by_name[i]))
            return st_fail(f, err, "tensor \"%.80s\" stands there twice", f->by_name[i]->name);
    return 0;
}

static uint64_t from_le(const unsigned char *p, int n) {
    uint64_t x = 0;
    for (int i = n - 1; i >= 0; i--) x = x << 8 | p[i];
    return x;
}

static int read_file(StFile *f, char *err) {
    unsigned char len[8];
    long end = fseek(f->file, 0, SEEK_END) == 0 ? ftell(f->file) : -1;
    if (end < 0) return st_fail(f, err, "cannot be read to its end");
    rewind(f->file);
    if (end < 8 || fread(len, 1, 8, f->file) != 8)
        return st_fail(f, err, "is not a safetensors file: it has fewer than 8 bytes");
    uint64_t n = from_le(len, 8), size = (uint64_t)end - 8;
    if (n > size || n > MAX_HEADER)
        return st_fail(f, err, "is cut short, or not a safetensors file: its header should have "
                               "%llu bytes, the file has %llu", (unsigned long long)n,
                       (unsigned long long)size);
    f->data_at = 8 + n, f->data_len = size - n;
    f->text = malloc((size_t)n + 1);
    if (!f->text) return st_fail(f, err, "out of memory");
    if (fread(f->text, 1, (size_t)n, f->file) != n) return st_fail(f, err, "cannot be read");
    return read_header(f, (size_t)n, err) == 0 ? check_entries(f, err) : -1;
}

StFile *st_open(const char *path, char *err) {
    StFile *f = calloc(1, sizeof *f);
    if (f) f->path = join_text(path, "");
    if (!f || !f->path) snprintf(err, MAC_ERR, "%.250s: out of memory", path);
    else if ((f->file = file_open(path, err)) != NULL) {
        f->state = file_state(f->file);
        if (read_file(f, err) == 0) return f;
    }
    st_close(f);
    return NULL;
}

static void st_drop(StFile *f) {
    for (int i = 0; i < f->n && !f->text; i++) free(f->entry[i].name);
    for (int i = 0; i < f->n_meta && !f->text; i++) free(f->meta[i].key), free(f->meta[i].value);
    free(f->entry), free(f->by_name), free(f->meta);
    free(f->text), free(f->path);
    free(f);
}

void st_close(StFile *f) {
    if (!f) return;
    if (f->map) unmap_file(f->map, (size_t)(f->data_at + f->data_len));
    if (f->file) fclose(f->file);
    st_drop(f);
}

/* ==== half precision: the nearest one, ties to even; and back, which is exact =============== */
uint16_t half_of(real x) {
    float f = (float)x;
    uint32_t u, sign;
    memcpy(&u, &f, sizeof u);
    sign = u >> 16 & 0x8000, u &= 0x7fffffff;
    if (u >= 0x47800000) return (uint16_t)(sign | (u > 0x7f800000 ? 0x7e00 : 0x7c00));
    if (u < 0x38800000) { /* below 2^-14: adding 1/2 rounds to the steps of 2^-24 that it has */
        memcpy(&f, &u, sizeof f);
        f += 0.5f;
        memcpy(&u, &f, sizeof u);
        return (uint16_t)(sign | (u - 0x3f000000));
    }
    return (uint16_t)(sign | (u - 0x38000000 + 0xfff + (u >> 13 & 1)) >> 13);
}

static real half_value(unsigned h) {
    uint32_t u = (h & 0x7fff) << 13, sign = (h & 0x8000) << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    f *= 0x1p112f; /* the bias of the exponent: 127 - 15 */
    memcpy(&u, &f, sizeof u);
    u |= sign | ((h & 0x7c00) == 0x7c00 ? 0x7f800000 : 0);
    memcpy(&f, &u, sizeof f);
    return (real)f;
}

void half_read(real *to, const unsigned char *from, size_t n) { /* as they lie in files */
    for (size_t i = 0; i < n; i++) to[i] = half_value(from[2 * i] | (unsigned)from[2 * i + 1] << 8);
}

/* ==== a checksum ============================================================================= */
static void sum_add(Sum *s, const void *bytes, size_t n) {
    const unsigned char *p = bytes, *end = p + n;
    while (p < end && s->n % 8) {
        s->word |= (uint64_t)*p++ << (s->n++ % 8 * 8);
        if (s->n % 8 == 0) s->hash = hash_word(s->hash, s->word), s->word = 0;
    }
    for (; end - p >= 8; p += 8, s->n += 8) s->hash = hash_word(s->hash, from_le(p, 8));
    while (p < end) s->word |= (uint64_t)*p++ << (s->n++ % 8 * 8);
}

static void sum_text(Sum s, char *to) { /* 16 digits */
    uint64_t hash = hash_word(hash_word(s.hash, s.word), s.n);
    snprintf(to, 17, "%016llx", (unsigned long long)hash);
}

int st_check(StFile *f, char *err) {
    const char *said = st_meta(f, "sum");
    unsigned char buffer[BUFFER];
    char text[17];
    Sum sum = {0, 0, 0};
    if (!said) return 0;
    if (fseek(f->file, (long)f->data_at, SEEK_SET) != 0) return st_fail(f, err, "cannot be read");
    for (size_t got; (got = fread(buffer, 1, BUFFER, f->file)) > 0;) sum_add(&sum, buffer, got);
    if (ferror(f->file)) return st_fail(f, err, "cannot be read to its end");
    sum_text(sum, text);
    return strcmp(said, text) ? st_fail(f, err, "is damaged: its checksum is not that of its "
                                                "numbers and texts") : 0;
}

int st_unchanged(const StFile *f, char *err) {
    if (file_state(f->file) == f->state) return 0;
    return st_fail(f, err, "was changed by another program while it was read");
}

/* ==== reading ================================================================================ */
static char **meta_value(const StFile *f, const char *key) { /* NULL when absent */
    for (int i = 0; i < f->n_meta; i++)
        if (!strcmp(f->meta[i].key, key)) return &f->meta[i].value;
    return NULL;
}

const char *st_meta(const StFile *f, const char *key) {
    char **value = meta_value(f, key);
    return value ? *value : NULL;
}

int st_count(const StFile *f) { return f->n; }

const char *st_info(const StFile *f, int i, const char **dtype, int *ndim, const int64_t **shape) {
    *dtype = f->entry[i].dtype, *ndim = f->entry[i].ndim, *shape = f->entry[i].shape;
    return f->entry[i].name;
}

int st_find(const StFile *f, const char *name) {
    const StEntry wanted = {.name = (char *)name}, *key = &wanted;
    StEntry **at = bsearch(&key, f->by_name, (size_t)f->n, sizeof *f->by_name, name_order);
    return at ? (int)(*at - f->entry) : -1;
}

int64_t st_size(const StFile *f, const char *name) {
    int i = st_find(f, name);
    return i < 0 ? -1 : entry_count(&f->entry[i]);
}

/* Finds a tensor of n numbers and goes to its first byte. */
static const StEntry *st_seek(StFile *f, const char *name, int64_t n, char *err) {
    int i = st_find(f, name);
    int64_t has = st_size(f, name);
    if (i < 0) st_fail(f, err, "has no tensor \"%.100s\"", name);
    else if (has != n)
        st_fail(f, err, "tensor \"%.100s\" has %lld numbers, %lld were expected", name,
                (long long)has, (long long)n);
    else if (fseek(f->file, (long)(f->data_at + f->entry[i].begin), SEEK_SET) == 0)
        return &f->entry[i];
    else st_fail(f, err, "cannot be read at tensor \"%.100s\"", name);
    return NULL;
}

int st_read(StFile *f, const char *name, real *to, int64_t n, char *err) {
    const StEntry *e = st_seek(f, name, n, err);
    if (!e) return -1;
    int wide = !strcmp(e->dtype, "F64"), size = wide ? 8 : 4;
    if (!wide && strcmp(e->dtype, "F32"))
        return st_fail(f, err, "tensor \"%.100s\" is %s, F32 was expected", name, e->dtype);
    unsigned char buffer[BUFFER];
    for (int64_t i = 0; i < n;) {
        int64_t part = n - i < BUFFER / size ? n - i : BUFFER / size;
        if (fread(buffer, (size_t)size, (size_t)part, f->file) != (size_t)part)
            return st_fail(f, err, "ends within tensor \"%.100s\"", name);
        for (int64_t j = 0; j < part; j++) {
            uint64_t bits = from_le(buffer + j * size, size);
            uint32_t low = (uint32_t)bits;
            double d;
            float x;
            memcpy(&d, &bits, sizeof d);
            memcpy(&x, &low, sizeof x);
            to[i + j] = wide ? (real)d : (real)x;
        }
        i += part;
    }
    return 0;
}

int st_read_shaped(StFile *f, const char *name, real *to, int ndim, const int *shape, char *err) {
    int at = st_find(f, name), fits = at < 0 || f->entry[at].ndim == ndim;
    int64_t n = 1;
    for (int i = 0; i < ndim; i++) {
        n *= shape[i];
        fits = fits && (at < 0 || f->entry[at].shape[i] == shape[i]);
    }
    if (!fits)
        return st_fail(f, err, "tensor \"%.100s\" does not have the shape that the sizes in the "
                               "file ask for", name);
    if (st_read(f, name, to, n, err) != 0) return -1;
    for (int64_t i = 0; i < n; i++)
        if (to[i] - to[i] != 0)
            return st_fail(f, err, "is damaged: tensor \"%.100s\" holds what is no number (NaN or "
                                   "infinity)", name);
    return 0;
}

int st_read_bytes(StFile *f, const char *name, void *to, int64_t n, char *err) {
    const StEntry *e = st_seek(f, name, n, err);
    if (!e) return -1;
    if (strcmp(e->dtype, "U8") && strcmp(e->dtype, "F16"))
        return st_fail(f, err, "tensor \"%.100s\" is %s, U8 was expected", name, e->dtype);
    if (fread(to, (size_t)dtype_size(e->dtype), (size_t)n, f->file) != (size_t)n)
        return st_fail(f, err, "ends within tensor \"%.100s\"", name);
    return 0;
}

/* Only what needs no conversion: bytes, halves, and reals as this machine has them.  What does not
 * lie at a multiple of a real is read into memory instead. */
void *st_map(StFile *f, const char *name) {
    static const int one = 1;
    int i = st_find(f, name), little = *(const char *)&one == 1;
    uint64_t n = f->data_at + f->data_len;
    if (i < 0 || n > SIZE_MAX) return NULL;
    const StEntry *e = &f->entry[i];
    int as_is = !strcmp(e->dtype, "U8"), reals = !strcmp(e->dtype, REAL_DTYPE) && little;
    if (!as_is && !reals && strcmp(e->dtype, "F16")) return NULL;
    if (!as_is && (f->data_at + e->begin) % sizeof(real)) return NULL;
    if (!f->map) f->map = map_file(f->file, (size_t)n);
    return f->map ? f->map + f->data_at + e->begin : NULL;
}

/* ==== writing ================================================================================ */
StWriter *st_new(void) { return calloc(1, sizeof(StWriter)); }

/* The writer's arrays and strings; without memory it fails once, and says so in the end. */
static void *one_more(StWriter *w, void *array, int n, size_t size) {
    void *grown = realloc(array, (size_t)(n + 1) * size);
    w->failed |= !grown;
    return grown;
}

static char *keep(StWriter *w, const char *text) {
    char *copy = join_text(text, "");
    w->failed |= !copy;
    return copy;
}

void st_add_meta(StWriter *w, const char *key, const char *value) {
    if (!w || w->failed) return;
    char **old = meta_value(&w->f, key);
    if (old) {
        free(*old);
        *old = keep(w, value);
        return;
    }
    StMeta *grown = one_more(w, w->f.meta, w->f.n_meta, sizeof *grown);
    if (!grown) return;
    w->f.meta = grown;
    w->f.meta[w->f.n_meta++] = (StMeta){keep(w, key), keep(w, value)};
}

void st_add_as(StWriter *w, const char *name, const char *dtype, const void *data, int ndim,
               const int *shape) {
    if (!w || w->failed) return;
    StEntry *grown = one_more(w, w->f.entry, w->f.n, sizeof *grown);
    if (!grown) return;
    w->f.entry = grown;
    StEntry *e = &w->f.entry[w->f.n++];
    *e = (StEntry){.name = keep(w, name), .ndim = ndim, .data = data};
    snprintf(e->dtype, sizeof e->dtype, "%s", dtype);
    for (int i = 0; i < ndim; i++) e->shape[i] = shape[i];
}

void st_add(StWriter *w, const char *name, const real *data, int ndim, const int *shape) {
    st_add_as(w, name, REAL_DTYPE, data, ndim, shape);
}

void st_add_bytes(StWriter *w, const char *name, const void *data, int n) {
    st_add_as(w, name, "U8", data, 1, &n);
}

static void put_text(StWriter *w, const char *s) { /* as JSON; NULL: there was no memory for it */
    if (s) json_put(w->f.file, s);
}

/* The header in front of the file, with blanks up to the room that it has. */
static void put_header(StWriter *w) {
    FILE *f = w->f.file;
    uint64_t at = 0;
    w->failed |= fseek(f, 8, SEEK_SET) != 0;
    fputs("{\"__metadata__\":{", f);
    for (int i = 0; i < w->f.n_meta; i++) {
        if (i) putc(',', f);
        put_text(w, w->f.meta[i].key);
        putc(':', f);
        put_text(w, w->f.meta[i].value);
    }
    putc('}', f);
    for (int i = 0; i < w->f.n; i++) {
        StEntry *e = &w->f.entry[i];
        e->begin = at;
        e->end = at += (uint64_t)entry_count(e) * dtype_size(e->dtype);
        putc(',', f);
        put_text(w, e->name);
        fprintf(f, ":{\"dtype\":\"%s\",\"shape\":[", e->dtype);
        for (int j = 0; j < e->ndim; j++)
            fprintf(f, "%s%lld", j ? "," : "", (long long)e->shape[j]);
        fprintf(f, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)e->begin,
                (unsigned long long)e->end);
    }
    putc('}', f);
    long end = ftell(f);
    for (; end > 0 && (end < w->data_at || end % 64); end++) putc(' ', f);
    w->data_at = end;
    w->failed |= end < 0 || fseek(f, 0, SEEK_SET) != 0;
    for (int i = 0; i < 8; i++) putc((int)((uint64_t)(end - 8) >> (8 * i) & 0xff), f);
    w->failed |= fseek(f, end, SEEK_SET) != 0;
}

int st_begin(StWriter *w, const char *path, char *err) {
    if (w) w->f.path = join_text(path, "");
    if (!w || !w->f.path || w->failed)
        snprintf(err, MAC_ERR, "%.250s: out of memory, nothing was written", path);
    else if ((w->out = file_begin(path, err)) != NULL) {
        w->f.file = file_stream(w->out);
        w->summed = st_meta(&w->f, "sum") != NULL;
        put_header(w);
        return 0;
    }
    if (w) st_drop(&w->f); /* the first member: this frees w */
    return -1;
}

void st_put(StWriter *w, const void *data, size_t n) {
    if (w->summed) sum_add(&w->sum, data, n);
    if (n) w->failed |= fwrite(data, 1, n, w->f.file) != n;
}

/* Little-endian, and every NaN as the quiet one without sign: two machines write the same bytes. */
void st_put_reals(StWriter *w, const real *x, size_t n) {
    unsigned char buffer[BUFFER];
    size_t size = sizeof(real), per = BUFFER / sizeof(real);
    for (size_t i = 0; i < n; i += per) {
        size_t part = n - i < per ? n - i : per;
        for (size_t j = 0; j < part; j++) {
            rbits bits = QUIET_NAN;
            if (x[i + j] == x[i + j]) memcpy(&bits, &x[i + j], size);
            for (size_t k = 0; k < size; k++)
                buffer[j * size + k] = (unsigned char)(bits >> (8 * k));
        }
        st_put(w, buffer, part * size);
    }
}

void st_rows(StWriter *w, int i, int rows) { w->f.entry[i].shape[0] = rows; }

int st_end(StWriter *w, char *err) {
    char **sum = meta_value(&w->f, "sum");
    if (sum) sum_text(w->sum, *sum);
    put_header(w);
    const char *lost = w->failed && !ferror(w->f.file) ? "no way to its beginning" : NULL;
    int bad = file_end(w->out, lost, err);
    st_drop(&w->f);
    return bad;
}

void st_abort(StWriter *w) {
    file_abort(w->out);
    st_drop(&w->f);
}

int st_write(StWriter *w, const char *path, char *err) {
    if (st_begin(w, path, err) != 0) return -1;
    for (int i = 0; i < w->f.n; i++) {
        const StEntry *e = &w->f.entry[i];
        if (!strcmp(e->dtype, REAL_DTYPE)) st_put_reals(w, e->data, (size_t)entry_count(e));
        else st_put(w, e->data, (size_t)(e->end - e->begin));
    }
    return st_end(w, err);
}
