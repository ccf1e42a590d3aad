/* score.c - how an answer is judged: SQuAD's normalisation, exact match and F1 over words, as in
 * its evaluation script, and the prefix match that MAC's code counts as exact. */
#include "data.h"
#include "json.h"
#include "unicode.h"
#include <stdlib.h>
#include <string.h>

/* The script takes its letters from Python, so they are Python's here: unicode.h holds them. */
static int class_of(unsigned c) {
    const unsigned *run = unicode_run;
    for (; c >= *run >> 4; run++) c -= *run >> 4;
    return *run & 15;
}

static unsigned lower(unsigned c) {
    for (size_t i = 0; i < sizeof unicode_lower / sizeof *unicode_lower; i++) {
        int from = (int)c - unicode_lower[i].first;
        if (from < 0) break;
        if ((int)c <= unicode_lower[i].last && from % unicode_lower[i].step == 0)
            return c + (unsigned)unicode_lower[i].add;
    }
    return c;
}

/* A sigma is written otherwise at the end of a word: when a letter with a case stands before it
 * and none after it, whatever marks there are between. */
static int ends_word(const unsigned *c, size_t i, size_t n) {
    size_t before = i, behind = i + 1;
    while (before > 0 && class_of(c[before - 1]) & IGNORED) before--;
    while (behind < n && class_of(c[behind]) & IGNORED) behind++;
    return before > 0 && class_of(c[before - 1]) & CASED
        && !(behind < n && class_of(c[behind]) & CASED);
}

/* Code points of s in c, and how many: no more than bytes.  A byte that is no UTF-8, as a model may
 * spell it, is U+FFFD.  A capital I with a dot becomes two characters: its two bytes have room. */
static size_t decode(const char *s, unsigned *c) {
    const unsigned char *p = (const unsigned char *)s, *end = p + strlen(s);
    size_t n = 0;
    for (int len; p < end; p += len ? len : 1) {
        len = utf8_len(p, end);
        c[n] = len < 2 ? *p : *p & (0x7Fu >> len);
        for (int i = 1; i < len; i++) c[n] = c[n] << 6 | (p[i] & 0x3F);
        if (len == 0) c[n] = 0xFFFD;
        if (c[n] == 0x130) c[n++] = 'i', c[n] = 0x307;
        n++;
    }
    return n;
}

static int is_punctuation(unsigned c) {                /* of ASCII alone                      */
    return (c > ' ' && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a')
        || (c > 'z' && c <= '~');
}

static int is_article(const unsigned *c, size_t n) {
    return c[0] == 't' ? n == 3 && c[1] == 'h' && c[2] == 'e'
                       : c[0] == 'a' && (n == 1 || (n == 2 && c[1] == 'n'));
}

/* In this order: lower case, no punctuation, a blank for each article, single blanks. */
char *score_normalize(const char *s) {
    size_t most = strlen(s) + 1, n = 0;
    unsigned *c = malloc(most * sizeof *c);
    char *text = malloc(3 * most), *out = text;        /* U+FFFD has three bytes              */
    size_t all = c && text ? decode(s, c) : 0;
    for (size_t i = 0; i < all; i++)
        c[i] = c[i] == 0x3A3 && ends_word(c, i, all) ? 0x3C2 : lower(c[i]);
    for (size_t i = 0; i < all; i++)
        if (!is_punctuation(c[i])) c[n++] = c[i];
    int blank = 0;                                     /* one is due before the next letter   */
    for (size_t i = 0, len; i < n; i += len) {
        for (len = 0; i + len < n && class_of(c[i + len]) & WORD;) len++;
        if ((len && is_article(c + i, len)) || (len == 0 && class_of(c[i]) & BLANK)) {
            blank = 1;
            len += len == 0;
            continue;
        }
        if (blank && out > text) *out++ = ' ';
        blank = 0;
        len += len == 0;                               /* neither letter nor blank            */
        for (size_t k = i; k < i + len; k++) out += utf8_put(out, c[k]);
    }
    if (text) *out = 0;
    if (!c) free(text), text = NULL;
    free(c);
    return text;
}

int score_em(const char *pred, char *const *a, int n_a) {
    char *p = score_normalize(pred);
    int equal = 0;
    for (int i = 0; p && i < n_a && !equal; i++) {
        char *gold = score_normalize(a[i]);
        equal = gold && strcmp(p, gold) == 0;
        free(gold);
    }
    free(p);
    return equal;
}

/* MAC cuts the prediction to the length of the answer: "1880" counts for "18". */
int score_em_prefix(const char *pred, const char *target) {
    char *p = score_normalize(pred), *gold = score_normalize(target);
    int equal = p && gold && strncmp(p, gold, strlen(gold)) == 0;
    free(p);
    free(gold);
    return equal;
}

static int n_words(const char *s) {
    int n = *s != 0;
    for (; *s; s++) n += *s == ' ';
    return n;
}

/* How many words the two share, each counted as often as both have it.  A word of gold that has
 * been counted is overwritten by line feeds, which no normalised text has. */
static int n_shared(const char *pred, char *gold) {
    int shared = 0;
    while (*pred) {
        size_t n = strcspn(pred, " ");
        for (char *g = gold; *g;) {
            size_t len = strcspn(g, " ");
            if (len == n && memcmp(g, pred, n) == 0) {
                memset(g, '\n', len);
                shared++;
                break;
            }
            g += len + (g[len] == ' ');
        }
        pred += n + (pred[n] == ' ');
    }
    return shared;
}

/* 2 * shared / (words + words) is the harmonic mean of precision and recall.  Two empty ones are
 * equal, as in SQuAD 2.0. */
double score_f1(const char *pred, char *const *a, int n_a) {
    char *p = score_normalize(pred);
    double best = 0;
    for (int i = 0; p && i < n_a; i++) {
        char *gold = score_normalize(a[i]);
        if (!gold) break;
        int words = n_words(p) + n_words(gold);
        double f1 = words ? 2.0 * n_shared(p, gold) / words : 1;
        if (f1 > best) best = f1;
        free(gold);
    }
    free(p);
    return best;
}

/* ---- how well known cases are told from others ---- */
static int by_sure(const void *a, const void *b) {
    const SureCase *x = a, *y = b;
    return (x->sure > y->sure) - (x->sure < y->sure);
}

static int by_relation(const void *a, const void *b) {
    int order = strcmp(((const SureCase *)a)->rel, ((const SureCase *)b)->rel);
    return order ? order : by_sure(a, b);
}

double score_auroc(SureCase *c, int n, int within) {
    double above = 0, pairs = 0;
    if (n > 0) /* else c may be NULL, which qsort does not take */
        qsort(c, (size_t)n, sizeof *c, within ? by_relation : by_sure);
    for (int first = 0, end; first < n; first = end) { /* cases of one relation, or all */
        double known = 0, unknown = 0;
        for (end = first; end < n && (!within || !strcmp(c[end].rel, c[first].rel));) {
            int tie[2] = {0, 0}, at = end;
            for (; end < n && c[end].sure <= c[at].sure
                   && (!within || !strcmp(c[end].rel, c[first].rel)); end++)
                tie[c[end].known]++;
            above += tie[1] * (unknown + tie[0] / 2.0);
            known += tie[1], unknown += tie[0];
        }
        pairs += known * unknown;
    }
    return above / pairs;
}

/* ---- sums over questions ---- */
void score_add(Score *s, const Qa *qa, const char *pred) {
    s->n++;
    s->em += score_em(pred, qa->a, qa->n_a);
    s->prefix += score_em_prefix(pred, qa->target);
    s->f1 += score_f1(pred, qa->a, qa->n_a);
}

Score *score_rel(RelScores *r, const char *rel) {
    for (int i = 0; i < r->n; i++)
        if (!strcmp(r->of[i].rel, rel)) return &r->of[i].s;
    RelScore *grown = realloc(r->of, (size_t)(r->n + 1) * sizeof *grown);
    if (!grown) return NULL;
    r->of = grown;
    grown[r->n] = (RelScore){rel, {0, 0, 0, 0}};
    return &grown[r->n++].s;
}

static int answer_order(const void *a, const void *b) { /* by relation, then by answer */
    const Qa *x = *(const Qa *const *)a, *y = *(const Qa *const *)b;
    int order = strcmp(x->rel, y->rel);
    return order ? order : strcmp(x->target, y->target);
}

unsigned char *score_split(const Corpus *asked, const Corpus *train) {
    RelScores rels = {NULL, 0}; /* n: asked, em: unseen */
    unsigned char *kind = calloc((size_t)asked->n_qas + 1, 1);
    const Qa **known = malloc((size_t)(train->n_qas + 1) * sizeof *known);
    int failed = !kind || !known;
    for (int i = 0; i < train->n_qas && !failed; i++) known[i] = &train->qas[i];
    if (!failed) qsort(known, (size_t)train->n_qas, sizeof *known, answer_order);
    for (int i = 0; i < asked->n_qas && !failed; i++) {
        const Qa *x = &asked->qas[i];
        Score *rel = score_rel(&rels, x->rel);
        if (!rel) { failed = 1; break; }
        rel->n++;
        if (bsearch(&x, known, (size_t)train->n_qas, sizeof *known, answer_order)) continue;
        kind[i] = QA_UNSEEN;
        rel->em++;
    }
    for (int i = 0; i < asked->n_qas && !failed; i++) {
        const Score *rel = score_rel(&rels, asked->qas[i].rel);
        if (4 * rel->em > rel->n) kind[i] |= QA_OPEN;
    }
    free(known), free(rels.of);
    if (!failed) return kind;
    free(kind);
    return NULL;
}
