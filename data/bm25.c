/* bm25.c - retrieval by words: Okapi's BM25 with k1 = 1.2 and b = 0.75.  Words are those of
 * score_normalize: lower case, without punctuation and articles.
 *
 *   score(question, doc) = sum over the question's different words w of
 *       log(1 + (N - n_w + 1/2) / (n_w + 1/2)) * f (k1 + 1) / (f + k1 (1 - b + b length / mean))
 *
 * N documents, n_w of them with w; f times w in doc; length and mean length in words.            */
#include "data.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct { uint64_t word; int doc, n; } Posting; /* n: place in the text, then how often   */
struct Bm25 {
    int n_docs, *length;
    double mean;
    Posting *p;                                        /* sorted by word, then by document        */
    size_t n;
};

static int posting_order(const void *a, const void *b) {
    const Posting *x = a, *y = b;
    if (x->word != y->word) return x->word < y->word ? -1 : 1;
    if (x->doc != y->doc) return x->doc < y->doc ? -1 : 1;
    return x->n < y->n ? -1 : x->n > y->n;
}

/* Appends the words of a text to (*p)[*n..]: how many, -1: out of memory. */
static int add_words(Posting **p, size_t *n, size_t *cap, const char *text, int doc) {
    char *words = score_normalize(text);
    int count = 0;
    if (!words) return -1;
    for (const char *w = words; *w; w += strspn(w, " ")) {
        size_t len = strcspn(w, " ");
        if (*n == *cap) {
            size_t more = *cap ? 2 * *cap : 64;
            Posting *grown = realloc(*p, more * sizeof *grown);
            if (!grown) { free(words); return -1; }
            *p = grown, *cap = more;
        }
        (*p)[(*n)++] = (Posting){fnv1a(MAC_FNV, w, len), doc, count++};
        w += len;
    }
    free(words);
    return count;
}

/* Sorted; equal words of a document become one, n says how many they were. */
static size_t count_words(Posting *p, size_t n) {
    size_t kept = 0;
    qsort(p, n, sizeof *p, posting_order);
    for (size_t i = 0; i < n; i++) {
        int again = kept && p[kept - 1].word == p[i].word && p[kept - 1].doc == p[i].doc;
        if (again) p[kept - 1].n++;
        else p[kept] = p[i], p[kept++].n = 1;
    }
    return kept;
}

Bm25 *bm25_new(const Corpus *c) {
    Bm25 *b = calloc(1, sizeof *b);
    size_t cap = 0;
    if (!b) return NULL;
    b->n_docs = c->n_docs;
    b->length = calloc((size_t)c->n_docs + 1, sizeof *b->length);
    int failed = !b->length;
    for (int i = 0; i < c->n_docs && !failed; i++) {
        b->length[i] = add_words(&b->p, &b->n, &cap, c->docs[i].text, i);
        failed = b->length[i] < 0;
        b->mean += (double)b->length[i] / c->n_docs;
    }
    if (failed) { bm25_free(b); return NULL; }
    if (b->n) b->n = count_words(b->p, b->n);
    return b;
}

void bm25_free(Bm25 *b) {
    if (b) free(b->length), free(b->p);
    free(b);
}

static size_t first_of(const Bm25 *b, uint64_t word) { /* where its documents begin */
    size_t lo = 0, hi = b->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (b->p[mid].word < word) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

int bm25_top(const Bm25 *b, const char *question, int k, int *doc) {
    double *score = calloc((size_t)b->n_docs + 1, sizeof *score);
    Posting *asked = NULL;
    size_t n = 0, cap = 0;
    int found = 0;
    if (!score || add_words(&asked, &n, &cap, question, 0) < 0) {
        free(score), free(asked);
        return -1;
    }
    if (n) n = count_words(asked, n);
    for (size_t w = 0; w < n; w++) {
        size_t at = first_of(b, asked[w].word), end = at;
        while (end < b->n && b->p[end].word == asked[w].word) end++;
        double with = (double)(end - at), idf = log(1 + (b->n_docs - with + 0.5) / (with + 0.5));
        for (; at < end; at++) {
            double f = b->p[at].n, share = b->length[b->p[at].doc] / b->mean;
            score[b->p[at].doc] += idf * f * 2.2 / (f + 1.2 * (0.25 + 0.75 * share));
        }
    }
    for (; found < k; found++) {
        int best = -1;
        for (int i = 0; i < b->n_docs; i++)
            if (score[i] > 0 && (best < 0 || score[i] > score[best])) best = i;
        if (best < 0) break;
        doc[found] = best;
        score[best] = 0;
    }
    free(score), free(asked);
    return found;
}
