/* score.c - how an answer is judged: SQuAD's normalisation, exact match and F1 over words, as in
 * its evaluation script, and the prefix match that MAC's code counts as exact. */
#include "data.h"
#include <stdlib.h>
#include <string.h>

/* Bytes beyond ASCII are letters to us and stay as they are.  Python, which knows Unicode, also
 * lowers them and sees the curly quotes and odd blanks among them; corpora in English rarely
 * tell the difference. */
static int is_word(unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c >= 0x80;
}

static int is_space(unsigned char c)                   /* as Python's str.split sees ASCII    */
{
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F);
}

static int is_punctuation(unsigned char c) {
    return (c > ' ' && c < '0') || (c > '9' && c < 'A') || (c > 'Z' && c < 'a')
        || (c > 'z' && c <= '~');
}

static int is_article(const char *word, size_t n) {
    return (n == 1 && word[0] == 'a') || (n == 2 && memcmp(word, "an", 2) == 0)
        || (n == 3 && memcmp(word, "the", 3) == 0);
}

/* In this order: lower case, no punctuation, a blank for each article, single blanks. */
char *score_normalize(const char *s) {
    char *text = malloc(strlen(s) + 1), *p = text, *out = text;
    if (!text) return NULL;
    for (; *s; s++) {
        if (is_punctuation((unsigned char)*s)) continue;
        *p++ = *s >= 'A' && *s <= 'Z' ? (char)(*s + 32) : *s;
    }
    *p = 0;
    int blank = 0;                                     /* one is due before the next byte     */
    for (p = text; *p;) {
        size_t n = 0;
        while (is_word((unsigned char)p[n])) n++;
        if (is_article(p, n) || (n == 0 && is_space((unsigned char)*p))) {
            blank = 1;
            p += n ? n : 1;
            continue;
        }
        if (blank && out > text) *out++ = ' ';
        blank = 0;
        if (n == 0) n = 1;                             /* a control character                 */
        memmove(out, p, n);
        out += n;
        p += n;
    }
    *out = 0;
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
