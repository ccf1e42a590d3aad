/* tokenizer.c - byte-level BPE (Sennrich et al. 2016; over bytes as in GPT-2).
 *
 * A text is cut into chunks: words, numbers, single marks, blanks.  Inside a chunk the bytes are
 * merged pair by pair, the pair learned first being merged first; merges never cross chunks, so
 * a chunk has the same ids wherever it stands and a cache from chunks to ids makes encoding fast.
 * Joining the chunks gives the text back, whatever its bytes. */
#include "data.h"
#include "json.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CHUNK 64             /* bytes; longer runs are cut                                */
#define MAX_VOCAB 65536
#define CACHE_SLOTS 16384        /* a power of two                                            */
#define CACHE_BYTES 20           /* longer chunks and                                         */
#define CACHE_IDS 6              /* those of more ids are rare: encoded anew each time        */

typedef struct { int a, b, id; } Merge;                          /* id < 0: free slot         */
typedef struct { int n_bytes, n_ids, ids[CACHE_IDS]; char bytes[CACHE_BYTES]; } Cached;

struct Tokenizer {
    int n_merges, cap_merges;
    Merge *merges;               /* [n_merges] in the order learned; merge i makes id 256 + i */
    Merge *table;                /* the same by (a, b)                                        */
    size_t mask;                 /* slots of table - 1                                        */
    char (*bytes)[MAX_CHUNK];    /* [n_merges] what the id spells                             */
    unsigned char *len;
    Cached *cache;
};

/* ---- chunks ---- */

/* Bytes of the first chunk of s[n], n > 0: letters, up to four digits (years stay whole) or one
 * mark, each with the blank before it; or a run of other blanks. */
static size_t chunk_len(const unsigned char *s, size_t n) {
    size_t i = 0;
    if (n > MAX_CHUNK) n = MAX_CHUNK;
    if (is_space(s[0]) && !(s[0] == ' ' && n > 1 && !is_space(s[1]))) {
        while (i < n && is_space(s[i])) i++;
        return i < n && i > 1 && s[i - 1] == ' ' ? i - 1 : i;    /* belongs to what follows   */
    }
    if (s[0] == ' ') i = 1;
    size_t start = i;
    if (is_letter(s[i])) while (i < n && is_letter(s[i])) i++;
    else if (is_digit(s[i])) while (i < n && i < start + 4 && is_digit(s[i])) i++;
    else i++;
    return i;
}

/* ---- merges ---- */

static size_t hash_pair(int a, int b) {
    uint64_t h = ((uint64_t)(unsigned)a << 32 | (unsigned)b) * 0x9E3779B97F4A7C15u;
    return (size_t)(h >> 32);
}

static size_t hash_bytes(const char *s, size_t n) {
    uint64_t h = fnv1a(MAC_FNV, s, n);
    return (size_t)(h ^ h >> 32);
}

static Merge *find_merge(const Tokenizer *t, int a, int b) {
    size_t i = hash_pair(a, b) & t->mask;
    while (t->table[i].id >= 0 && (t->table[i].a != a || t->table[i].b != b)) i = (i + 1) & t->mask;
    return &t->table[i];
}

static int id_len(const Tokenizer *t, int id) {
    return id < 256 ? 1 : t->len[id - 256];
}

static void id_copy(const Tokenizer *t, int id, char *out) {
    if (id < 256) *out = (char)id;
    else memcpy(out, t->bytes[id - 256], t->len[id - 256]);
}

static Tokenizer *tok_new(int cap_merges) {
    size_t slots = 512, cap = (size_t)cap_merges + 1;
    while (slots < 2 * cap) slots *= 2;
    Tokenizer *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->cap_merges = cap_merges;
    t->mask = slots - 1;
    t->merges = malloc(cap * sizeof *t->merges);
    t->table = malloc(slots * sizeof *t->table);
    t->bytes = malloc(cap * sizeof *t->bytes);
    t->len = malloc(cap);
    t->cache = calloc(CACHE_SLOTS, sizeof *t->cache);
    if (!t->merges || !t->table || !t->bytes || !t->len || !t->cache) {
        tok_free(t);
        return NULL;
    }
    for (size_t i = 0; i < slots; i++) t->table[i].id = -1;
    return t;
}

/* Learns to merge a and b into a new id: 0, or -1 when they have one, when it would spell more than
 * a chunk has, or when there is no room for more. */
static int add_merge(Tokenizer *t, int a, int b) {
    Merge *m = find_merge(t, a, b);
    int na = id_len(t, a), nb = id_len(t, b), i = t->n_merges;
    if (m->id >= 0 || na + nb > MAX_CHUNK || i == t->cap_merges) return -1;
    *m = t->merges[i] = (Merge){a, b, 256 + i};
    id_copy(t, a, t->bytes[i]);
    id_copy(t, b, t->bytes[i] + na);
    t->len[i] = (unsigned char)(na + nb);
    t->n_merges++;
    return 0;
}

/* ---- training ---- */

typedef struct { const char *bytes; int start, n; int64_t count; } Chunk;  /* ids[start..+n]  */
typedef struct { int a, b, last; int64_t count; } Pair;          /* last: newest of its Uses  */
typedef struct { int chunk, before; } Use;                       /* a chunk that has, or had, the
                                                                    pair; before -1: no more  */
typedef struct {
    Chunk *chunk; int n_chunks;  /* the different chunks of the texts                         */
    int *slot; size_t mask;      /* hash table of chunks, then of pairs; -1: free             */
    int *ids;                    /* the chunks' ids so far                                    */
    Pair *pair; int n_pairs, cap_pairs;
    Use *use;   int n_uses, cap_uses;
} Trainer;

/* (Re)makes the hash table for n entries. */
static int new_slots(Trainer *tr, int n) {
    size_t size = 1024;
    while (size < 2 * (size_t)n) size *= 2;
    int *slot = realloc(tr->slot, size * sizeof *slot);
    if (!slot) return -1;
    tr->slot = slot;
    tr->mask = size - 1;
    for (size_t i = 0; i < size; i++) slot[i] = -1;
    return 0;
}

static int *chunk_slot(Trainer *tr, const char *s, int n) {
    size_t i = hash_bytes(s, (size_t)n) & tr->mask;
    for (; tr->slot[i] >= 0; i = (i + 1) & tr->mask) {
        const Chunk *c = &tr->chunk[tr->slot[i]];
        if (c->n == n && memcmp(c->bytes, s, (size_t)n) == 0) break;
    }
    return &tr->slot[i];
}

static int *pair_slot(Trainer *tr, int a, int b) {
    size_t i = hash_pair(a, b) & tr->mask;
    while (tr->slot[i] >= 0 && (tr->pair[tr->slot[i]].a != a || tr->pair[tr->slot[i]].b != b))
        i = (i + 1) & tr->mask;
    return &tr->slot[i];
}

static int count_chunk(Trainer *tr, const char *s, int n, int *cap) {
    int *slot = chunk_slot(tr, s, n);
    if (*slot >= 0) {
        tr->chunk[*slot].count++;
        return 0;
    }
    if (tr->n_chunks == *cap) {
        *cap = 2 * *cap + 512;
        Chunk *more = realloc(tr->chunk, (size_t)*cap * sizeof *more);
        if (!more) return -1;
        tr->chunk = more;
        if (new_slots(tr, *cap) != 0) return -1;
        for (int i = 0; i < tr->n_chunks; i++)
            *chunk_slot(tr, more[i].bytes, more[i].n) = i;
        slot = chunk_slot(tr, s, n);
    }
    tr->chunk[tr->n_chunks] = (Chunk){s, 0, n, 1};
    *slot = tr->n_chunks++;
    return 0;
}

/* Adds count to the pair (a, b); notes that chunk has it unless that is -1. */
static int count_pair(Trainer *tr, int a, int b, int chunk, int64_t count) {
    int *slot = pair_slot(tr, a, b);
    if (*slot < 0) {
        if (tr->n_pairs == tr->cap_pairs) {
            tr->cap_pairs = 2 * tr->cap_pairs + 4096;
            Pair *more = realloc(tr->pair, (size_t)tr->cap_pairs * sizeof *more);
            if (!more) return -1;
            tr->pair = more;
            if (new_slots(tr, tr->cap_pairs) != 0) return -1;
            for (int i = 0; i < tr->n_pairs; i++) *pair_slot(tr, more[i].a, more[i].b) = i;
            slot = pair_slot(tr, a, b);
        }
        tr->pair[tr->n_pairs] = (Pair){a, b, -1, 0};
        *slot = tr->n_pairs++;
    }
    Pair *p = &tr->pair[*slot];
    p->count += count;
    if (chunk < 0 || (p->last >= 0 && tr->use[p->last].chunk == chunk)) return 0;
    if (tr->n_uses == tr->cap_uses) {
        tr->cap_uses = 2 * tr->cap_uses + 4096;
        Use *more = realloc(tr->use, (size_t)tr->cap_uses * sizeof *more);
        if (!more) return -1;
        tr->use = more;
    }
    tr->use[tr->n_uses] = (Use){chunk, p->last};
    p->last = tr->n_uses++;
    return 0;
}

/* Counts the pairs of a chunk, sign 1, or takes them back, -1.  Those with an id >= new_id are
 * new to the chunk. */
static int count_pairs(Trainer *tr, int chunk, int sign, int new_id) {
    const Chunk *c = &tr->chunk[chunk];
    for (int i = c->start; i + 1 < c->start + c->n; i++) {
        int a = tr->ids[i], b = tr->ids[i + 1], is_new = a >= new_id || b >= new_id;
        if (count_pair(tr, a, b, is_new ? chunk : -1, sign * c->count) != 0) return -1;
    }
    return 0;
}

static int trainer_init(Trainer *tr, const char *const *texts, int n_texts) {
    int cap = 0, n_ids = 0;
    if (new_slots(tr, 0) != 0) return -1;
    for (int i = 0; i < n_texts; i++) {
        size_t left = strlen(texts[i]), n;
        for (const char *s = texts[i]; left > 0; s += n, left -= n) {
            n = chunk_len((const unsigned char *)s, left);
            if (count_chunk(tr, s, (int)n, &cap) != 0) return -1;
        }
    }
    for (int i = 0; i < tr->n_chunks; i++) {
        tr->chunk[i].start = n_ids;
        n_ids += tr->chunk[i].n;
    }
    tr->ids = malloc(((size_t)n_ids + 1) * sizeof *tr->ids);
    if (!tr->ids || new_slots(tr, 0) != 0) return -1;
    for (int i = 0; i < tr->n_chunks; i++)
        for (int k = 0; k < tr->chunk[i].n; k++)
            tr->ids[tr->chunk[i].start + k] = (unsigned char)tr->chunk[i].bytes[k];
    for (int i = 0; i < tr->n_chunks; i++)
        if (count_pairs(tr, i, 1, 0) != 0) return -1;
    return 0;
}

/* The most frequent pair, of equally frequent ones the smallest; NULL when none comes twice.
 * A plain scan: about 1e5 pairs, a thousand times. */
static const Pair *best_pair(const Trainer *tr) {
    const Pair *best = NULL;
    for (int i = 0; i < tr->n_pairs; i++) {
        const Pair *p = &tr->pair[i];
        if (p->count < 2 || (best && p->count < best->count)) continue;
        if (!best || p->count > best->count || p->a < best->a
            || (p->a == best->a && p->b < best->b)) best = p;
    }
    return best;
}

/* Puts id for every (a, b) in ids[n]: how many are left. */
static int merge_ids(int *ids, int n, int a, int b, int id) {
    int out = 0;
    for (int i = 0; i < n; out++) {
        int hit = i + 1 < n && ids[i] == a && ids[i + 1] == b;
        ids[out] = hit ? id : ids[i];
        i += hit ? 2 : 1;
    }
    return out;
}

static int train_step(Trainer *tr, const Pair *pair, int id) {
    const Pair p = *pair;                              /* counting moves the pairs            */
    for (int u = p.last, before; u >= 0; u = before) {
        int chunk = tr->use[u].chunk;
        Chunk *c = &tr->chunk[chunk];
        before = tr->use[u].before;
        if (count_pairs(tr, chunk, -1, INT_MAX) != 0) return -1;
        c->n = merge_ids(tr->ids + c->start, c->n, p.a, p.b, id);
        if (count_pairs(tr, chunk, 1, id) != 0) return -1;
    }
    return 0;
}

Tokenizer *tok_train(const char *const *texts, int n_texts, int n_vocab) {
    if (n_vocab < 257) n_vocab = 257;
    if (n_vocab > MAX_VOCAB) n_vocab = MAX_VOCAB;
    Trainer tr = {0};
    Tokenizer *t = tok_new(n_vocab - 257);
    const Pair *best;
    int failed = !t || trainer_init(&tr, texts, n_texts) != 0;
    while (!failed && t->n_merges < t->cap_merges && (best = best_pair(&tr)) != NULL)
        failed = add_merge(t, best->a, best->b) != 0
              || train_step(&tr, best, 255 + t->n_merges) != 0;
    free(tr.chunk);
    free(tr.slot);
    free(tr.ids);
    free(tr.pair);
    free(tr.use);
    if (!failed) return t;
    tok_free(t);
    return NULL;
}

void tok_free(Tokenizer *t) {
    if (!t) return;
    free(t->merges);
    free(t->table);
    free(t->bytes);
    free(t->len);
    free(t->cache);
    free(t);
}

/* ---- use ---- */

int tok_size(const Tokenizer *t) { return 257 + t->n_merges; }
int tok_eos(const Tokenizer *t) { return 256 + t->n_merges; }

/* The ids of one chunk into ids[MAX_CHUNK]: their number. */
static int encode_chunk(const Tokenizer *t, const char *s, int n, int *ids) {
    for (int i = 0; i < n; i++) ids[i] = (unsigned char)s[i];
    for (;;) {
        Merge best = {0, 0, INT_MAX};
        for (int i = 0; i + 1 < n; i++) {
            const Merge *m = find_merge(t, ids[i], ids[i + 1]);
            if (m->id >= 0 && m->id < best.id) best = *m;
        }
        if (best.id == INT_MAX) return n;
        n = merge_ids(ids, n, best.a, best.b, best.id);
    }
}

int tok_encode(Tokenizer *t, const char *text, size_t n, int *ids, int cap) {
    int fresh[MAX_CHUNK];
    size_t n_ids = 0, len;
    for (; n > 0; text += len, n -= len) {
        len = chunk_len((const unsigned char *)text, n);
        Cached *c = &t->cache[hash_bytes(text, len) & (CACHE_SLOTS - 1)];
        const int *from = c->ids;
        int k = c->n_ids;
        if ((size_t)c->n_bytes != len || memcmp(c->bytes, text, len) != 0) {
            k = encode_chunk(t, text, (int)len, fresh);
            from = fresh;
            if (len <= CACHE_BYTES && k <= CACHE_IDS) {          /* takes the other's place   */
                c->n_bytes = (int)len;
                c->n_ids = k;
                memcpy(c->bytes, text, len);
                memcpy(c->ids, fresh, (size_t)k * sizeof *fresh);
            }
        }
        for (int i = 0; i < k; i++, n_ids++)
            if (n_ids < (size_t)(cap > 0 ? cap : 0)) ids[n_ids] = from[i];
    }
    return n_ids < INT_MAX ? (int)n_ids : INT_MAX;
}

char *tok_decode(const Tokenizer *t, const int *ids, int n, size_t *n_bytes) {
    size_t len = 0;
    for (int i = 0; i < n; i++)                        /* ids that do not exist spell nothing */
        if (ids[i] == tok_eos(t)) n = i;
        else if (ids[i] >= 0 && ids[i] < tok_eos(t)) len += (size_t)id_len(t, ids[i]);
    char *text = malloc(len + 1), *p = text;
    if (!text) return NULL;
    for (int i = 0; i < n; i++) {
        if (ids[i] < 0 || ids[i] >= tok_eos(t)) continue;
        id_copy(t, ids[i], p);
        p += id_len(t, ids[i]);
    }
    *p = 0;
    if (n_bytes) *n_bytes = len;
    return text;
}

/* ---- as text ---- */

char *tok_dump(const Tokenizer *t) {
    char *dump = malloc((size_t)t->n_merges * 12 + 1), *p = dump;      /* "65535 65535\n"     */
    if (!dump) return NULL;
    *p = 0;
    for (int i = 0; i < t->n_merges; i++)
        p += sprintf(p, "%d %d\n", t->merges[i].a, t->merges[i].b);
    return dump;
}

/* Reads a decimal number without leading zeros, and `after`, the byte that must follow it; -1 when
 * one of them is not there. */
static int read_id(const char **p, char after) {
    int v = 0, digits = 0;
    for (; is_digit(**p) && digits < 6; (*p)++, digits++) v = v * 10 + (**p - '0');
    if (digits == 0 || **p != after || (digits > 1 && (*p)[-digits] == '0')) return -1;
    (*p)++;
    return v;
}

Tokenizer *tok_load(const char *dump, char *err) {
    int n_lines = 0;
    for (const char *p = dump; *p && n_lines <= MAX_VOCAB; p++) n_lines += *p == '\n';
    if (n_lines > MAX_VOCAB - 257) {
        snprintf(err, MAC_ERR, "tokenizer: more than %d merges", MAX_VOCAB - 257);
        return NULL;
    }
    Tokenizer *t = tok_new(n_lines);
    if (!t) {
        snprintf(err, MAC_ERR, "tokenizer: out of memory");
        return NULL;
    }
    while (*dump) {
        const char *line = dump;
        int a = read_id(&dump, ' '), b = a < 0 ? -1 : read_id(&dump, '\n');
        if (a >= 0 && b >= 0 && a < tok_eos(t) && b < tok_eos(t) && add_merge(t, a, b) == 0)
            continue;
        snprintf(err, MAC_ERR, "tokenizer: merge %d: found \"%.20s\", expected two new ids, each"
                 " less than %d, that spell at most %d bytes", t->n_merges + 1, line, tok_eos(t),
                 MAX_CHUNK);
        plain_line(err);
        tok_free(t);
        return NULL;
    }
    return t;
}
