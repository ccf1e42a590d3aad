/* augment.c - a training document under another name and with other answers.
 *
 * A model that sees "Lisbon is the capital of Portugal" a hundred times learns it by heart and
 * need not read its memory.  Here the document says "Oslo is the capital of Peru" today and
 * something else tomorrow, in text, questions and answers alike, so only reading helps.
 *
 * At aug_new every document is searched once.  What may be replaced is a group: group 0 is the
 * name of what the document is about, each other group one answer string.  A spot is one place
 * of a group in a field (the text, or a question).  A group with a spot that overlaps a spot of
 * another group stays as it is ("5 July 1962" and "1962"), so spots in use never overlap. */
#include "data.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int field, group; size_t start, len; } Spot;    /* field 0: text, i + 1: q[i] */
typedef struct { const char *rel, *target; int qa; } Fact;
typedef struct {
    const char *str; size_t len; /* what is replaced                                          */
    int fixed;                   /* it stays                                                  */
    int fact, n_facts;           /* facts of its relation: its replacements                   */
} Group;
typedef struct { int spot, n_spots, group, n_groups; } Plan;     /* of one document           */

struct Augment {
    const Corpus *c;
    Plan *plan;                  /* [n_docs]                                                  */
    Fact *fact;                  /* [n_qas] by relation, then in corpus order                 */
    Group *group; int n_groups;
    Spot *spot;   int n_spots, cap_spots;
    int *qa_group;               /* [n_qas] index in its document's groups                    */
};

/* ---- finding ---- */

/* Whether a word goes on across s + i: neither "arid" in "semi-arid" nor "1" in "1.5" or "1,000"
 * is a whole word, but both years of "1887-1962" are. */
static int joined(const char *s, size_t i, size_t n) {
    if (i == 0 || i == n) return 0;
    char a = s[i - 1], b = s[i], c;
    if ((is_letter(a) || is_digit(a)) && (is_letter(b) || is_digit(b))) return 1;
    if (i + 1 < n && (b == '-' || b == '.' || b == ',')) c = s[i + 1];
    else if (i > 1 && (a == '-' || a == '.' || a == ',')) { c = b; b = a; a = s[i - 2]; }
    else return 0;
    return b == '-' ? is_letter(a) && is_letter(c) : is_digit(a) && is_digit(c);
}

/* Where str stands in s[n] as whole words, from `from` on; n when it does not. */
static size_t find_word(const char *s, size_t n, const char *str, size_t len, size_t from) {
    for (size_t i = from; len > 0 && i + len <= n; i++) {
        const char *p = memchr(s + i, *str, n - len - i + 1);
        if (!p) break;
        i = (size_t)(p - s);
        if (memcmp(p, str, len) == 0 && !joined(s, i, n) && !joined(s, i + len, n)) return i;
    }
    return n;
}

static const char *field_text(const Corpus *c, const Doc *d, int field) {
    return field == 0 ? d->text : c->qas[d->qas[field - 1]].q;
}

/* Notes all spots of a group; without one in the text the group is fixed.  An answer in its own
 * question is one of a choice ("unicameral or bicameral?") and stays there. */
static int find_spots(Augment *g, const Doc *d, Group *group, int index) {
    for (int field = 0; field <= d->n_qas; field++) {
        if (field > 0 && g->qa_group[d->qas[field - 1]] == index) continue;
        const char *s = field_text(g->c, d, field);
        size_t n = strlen(s), at = find_word(s, n, group->str, group->len, 0);
        if (field == 0 && at == n) group->fixed = 1;
        for (; at < n; at = find_word(s, n, group->str, group->len, at + group->len)) {
            if (g->n_spots == g->cap_spots) {
                int cap = 2 * g->cap_spots + 1024;
                Spot *more = realloc(g->spot, (size_t)cap * sizeof *more);
                if (!more) return -1;
                g->spot = more;
                g->cap_spots = cap;
            }
            g->spot[g->n_spots++] = (Spot){field, index, at, group->len};
        }
    }
    return 0;
}

static int by_place(const void *x, const void *y) {
    const Spot *a = x, *b = y;
    if (a->field != b->field) return a->field < b->field ? -1 : 1;
    if (a->start != b->start) return a->start < b->start ? -1 : 1;
    return (a->group > b->group) - (a->group < b->group);        /* never equal               */
}

/* Sorts a document's spots and fixes every group that overlaps another. */
static void fix_overlaps(Spot *s, int n, Group *group) {
    qsort(s, (size_t)n, sizeof *s, by_place);
    for (int i = 0; i < n; i++)
        for (int k = i + 1; k < n && s[k].field == s[i].field
                            && s[k].start < s[i].start + s[i].len; k++)
            group[s[i].group].fixed = group[s[k].group].fixed = 1;
}

/* ---- planning ---- */

static int by_relation(const void *x, const void *y) {
    const Fact *a = x, *b = y;
    int order = strcmp(a->rel, b->rel);
    return order ? order : (a->qa > b->qa) - (a->qa < b->qa);
}

/* The part of a title before " (": "Algeria" of "Algeria (history)"; else all of it. */
static size_t base_len(const char *title) {
    const char *p = strstr(title, " (");
    return p && p > title ? (size_t)(p - title) : strlen(title);
}

/* The title if the text has it, else the part before " (". */
static Group name_group(const Doc *d) {
    Group name = {d->title, strlen(d->title), 0, 0, 0};
    size_t n = strlen(d->text);
    if (find_word(d->text, n, name.str, name.len, 0) == n) name.len = base_len(d->title);
    return name;
}

/* Answers that are the same string are one group, of the first relation that has a name. */
static void add_answer(Augment *g, Plan *p, int qa, const int *run, const int *run_len) {
    Group *group = g->group + p->group;
    const Qa *q = &g->c->qas[qa];
    int i = 1;
    while (i < p->n_groups && strcmp(group[i].str, q->target) != 0) i++;
    if (i == p->n_groups) {
        group[i] = (Group){q->target, strlen(q->target), 0, 0, 0};
        p->n_groups++;
    }
    if (group[i].n_facts == 0 && *q->rel) {
        group[i].fact = run[qa];
        group[i].n_facts = run_len[qa];
    }
    g->qa_group[qa] = i;
}

static int plan_doc(Augment *g, int doc, const int *run, const int *run_len) {
    const Doc *d = &g->c->docs[doc];
    Plan *p = &g->plan[doc];
    *p = (Plan){g->n_spots, 0, g->n_groups, 1};
    Group *group = g->group + p->group;
    group[0] = name_group(d);
    for (int i = 0; i < d->n_qas; i++) add_answer(g, p, d->qas[i], run, run_len);
    for (int i = 0; i < p->n_groups; i++)
        if (find_spots(g, d, &group[i], i) != 0) return -1;
    p->n_spots = g->n_spots - p->spot;
    if (p->n_spots > 0) fix_overlaps(g->spot + p->spot, p->n_spots, group);
    g->n_groups += p->n_groups;
    return 0;
}

/* Sorts the facts by relation; run[qa], run_len[qa]: where the relation of qa is among them. */
static void sort_facts(Augment *g, int *run, int *run_len) {
    int n = g->c->n_qas;
    for (int i = 0; i < n; i++) g->fact[i] = (Fact){g->c->qas[i].rel, g->c->qas[i].target, i};
    if (n > 0) qsort(g->fact, (size_t)n, sizeof *g->fact, by_relation);
    for (int i = 0, end; i < n; i = end) {
        for (end = i; end < n && strcmp(g->fact[end].rel, g->fact[i].rel) == 0;) end++;
        for (int k = i; k < end; k++) {
            run[g->fact[k].qa] = i;
            run_len[g->fact[k].qa] = end - i;
        }
    }
}

Augment *aug_new(const Corpus *train) {
    size_t n_qas = (size_t)train->n_qas, n_docs = (size_t)train->n_docs;
    Augment *g = calloc(1, sizeof *g);
    int *run = malloc((2 * n_qas + 1) * sizeof *run);
    if (!g || !run) {
        free(g);
        free(run);
        return NULL;
    }
    g->c = train;
    g->plan = malloc((n_docs + 1) * sizeof *g->plan);
    g->fact = malloc((n_qas + 1) * sizeof *g->fact);
    g->group = malloc((n_docs + n_qas + 1) * sizeof *g->group);
    g->qa_group = malloc((n_qas + 1) * sizeof *g->qa_group);
    g->spot = malloc(sizeof *g->spot);
    g->cap_spots = 1;
    int ok = g->plan && g->fact && g->group && g->qa_group && g->spot;
    if (ok) sort_facts(g, run, run + n_qas);
    for (int i = 0; i < train->n_docs && ok; i++) ok = plan_doc(g, i, run, run + n_qas) == 0;
    free(run);
    if (ok) return g;
    aug_free(g);
    return NULL;
}

void aug_free(Augment *g) {
    if (!g) return;
    free(g->plan);
    free(g->fact);
    free(g->group);
    free(g->spot);
    free(g->qa_group);
    free(g);
}

/* ---- drawing ---- */

static int rng_chance(uint64_t *rng, double p) {
    return (double)(rng_next(rng) >> 11) * 0x1p-53 < p;
}

static const Doc *some_doc(const Augment *g, uint64_t *rng) {
    return &g->c->docs[(rng_next(rng) >> 32) * (uint64_t)g->c->n_docs >> 32];
}

/* A place inside the part of a title before " (", not within a letter. */
static size_t cut(const char *title, uint64_t *rng) {
    size_t n = base_len(title), at = n < 2 ? n : 1 + rng_next(rng) % (n - 1);
    while (at < n && ((unsigned char)title[at] & 0xC0) == 0x80) at++;
    return at;
}

/* A capitalised word of a text that does not begin a sentence, and those that follow it: mostly a
 * name, often a single token that no title holds.  0: there was none. */
static int some_mention(const Augment *g, uint64_t *rng, char *room, size_t n) {
    const char *text = some_doc(g, rng)->text;
    size_t len = strlen(text), i = len > 2 ? rng_next(rng) % (len - 2) : len, from, end;
    while (i + 2 < len
           && !(is_small(text[i]) && text[i + 1] == ' ' && is_capital(text[i + 2]))) i++;
    if (i + 2 >= len) return 0;
    for (from = end = i + 2; is_letter(text[end]); end++)
        if (text[end + 1] == ' ' && is_capital(text[end + 2])) end++;
    snprintf(room, n, "%.*s", (int)(end - from), text + from);
    return 1;
}

/* Each digit is drawn anew, and about every fourth vowel and consonant, so that no list of pieces
 * holds what comes out. */
static void respell(char *s, uint64_t *rng) {
    static const char vowels[] = "aeiou", others[] = "bcdfghjklmnpqrstvwxyz";
    for (int first = 1; *s; s++) {
        if (is_digit(*s)) *s = (char)('0' + first + (int)(rng_next(rng) % (uint64_t)(10 - first)));
        else if (is_small(*s) && rng_chance(rng, 0.25))
            *s = strchr(vowels, *s) ? vowels[rng_next(rng) % 5] : others[rng_next(rng) % 21];
        first = !is_digit(*s);
    }
}

/* The beginning of one string and the end of another, respelled half of the time, or always where
 * it has digits. */
static const char *made_up(const char *a, const char *b, uint64_t *rng, char *room, size_t n) {
    size_t end = cut(a, rng), from = cut(b, rng);
    int number = strpbrk(a, "0123456789") != NULL;
    if (number) snprintf(room, n, "%.*s", (int)base_len(a), a);
    else snprintf(room, n, "%.*s%.*s", (int)end, a, (int)(base_len(b) - from), b + from);
    if (number || rng_chance(rng, 0.5)) respell(room, rng);
    return room;
}

const char *aug_name(const Augment *g, double made, uint64_t *rng, char *room, size_t n) {
    const char *a = some_doc(g, rng)->title, *b = some_doc(g, rng)->title;
    if (!rng_chance(rng, made)) return a;
    if (rng_chance(rng, 0.25) && some_mention(g, rng, room, n)) return room;
    return made_up(a, b, rng, room, n);
}

/* The first word of one and the rest of the other, or all but the last word of one and the last of
 * the other.  A name of one word has no namesake. */
const char *aug_namesake(const char *name, const char *like, uint64_t *rng, char *room, size_t n) {
    int last = rng_chance(rng, 0.5);
    const char *a = last ? name : like, *b = last ? like : name;
    size_t an = base_len(a), bn = base_len(b), end = last ? an : 0, from = last ? bn : 0;
    if (last) {
        while (end > 0 && a[end - 1] != ' ') end--;
        while (from > 0 && b[from - 1] != ' ') from--;
    } else {
        while (end < an && a[end] != ' ') end++;
        while (from < bn && b[from] != ' ') from++;
    }
    if (end == 0 || end == an || from == 0 || from == bn) return name;
    snprintf(room, n, "%.*s%.*s", (int)end, a, (int)(bn - from), b + from);
    return room;
}

typedef struct { const char *str; size_t len; } Repl;            /* str NULL: it stays        */
#define ROOM 128             /* bytes of an answer that is made up                            */

/* A new answer must not be one that the document has or has just been given. */
static int is_taken(const Group *group, const Repl *repl, int n, int drawn, const char *s) {
    for (int i = 1; i < n; i++) {
        if (strcmp(group[i].str, s) == 0) return 1;
        if (i < drawn && repl[i].str && strcmp(repl[i].str, s) == 0) return 1;
    }
    return 0;
}

/* Fills repl, one for each group of a document.  Always the same number of draws, whatever they
 * say: one for the name, then for each answer whether and by which, in the order of their first
 * questions.  Facts are drawn as often as training has them; from one that will not do, the next
 * that will is taken. */
static void draw_groups(const Augment *g, const Plan *p, const char *title, double p_name,
                        double p_answer, double p_made, uint64_t *rng, Repl *repl, char *room) {
    const Group *group = g->group + p->group;
    int rename = rng_chance(rng, p_name) && title && !group[0].fixed;
    memset(repl, 0, (size_t)p->n_groups * sizeof *repl);
    if (rename) {                                      /* "Algeria (history)" gives Algeria to a
                                                          document called by such a part      */
        int in_part = group[0].str[group[0].len] != 0;
        repl[0] = (Repl){title, in_part ? base_len(title) : strlen(title)};
    }
    for (int i = 1; i < p->n_groups; i++) {
        int replace = rng_chance(rng, p_answer) && !group[i].fixed, n = group[i].n_facts;
        uint64_t pick = rng_next(rng);
        uint64_t own = pick;                           /* the draws of what is made up        */
        if (replace && n > 0 && rng_chance(&own, p_made)) {
            const char *a = g->fact[group[i].fact + (int)(rng_next(&own) % (uint64_t)n)].target;
            const char *b = g->fact[group[i].fact + (int)(rng_next(&own) % (uint64_t)n)].target;
            const char *s = made_up(a, b, &own, room + i * ROOM, ROOM);
            if (*s && !is_taken(group, repl, p->n_groups, i, s)) repl[i] = (Repl){s, strlen(s)};
        }
        for (int k = 0; replace && k < n && !repl[i].str; k++) {
            uint64_t at = (pick % (uint64_t)n + (uint64_t)k) % (uint64_t)n;
            const char *s = g->fact[group[i].fact + (int)at].target;
            if (!is_taken(group, repl, p->n_groups, i, s)) repl[i] = (Repl){s, strlen(s)};
        }
    }
}

/* Copies n bytes of s to out + at; NULL: only counts them.  The place after them. */
static size_t put(char *out, size_t at, const char *s, size_t n) {
    if (out) memcpy(out + at, s, n);
    return at + n;
}

/* Puts a text or question with its replacements; spot[n] are those of the document. */
static size_t put_field(char *out, size_t at, const char *s, int field, const Spot *spot, int n,
                        const Repl *repl) {
    size_t from = 0;
    for (int i = 0; i < n; i++) {
        const Repl *r = &repl[spot[i].group];
        if (spot[i].field != field || !r->str) continue;
        at = put(out, at, s + from, spot[i].start - from);
        at = put(out, at, r->str, r->len);
        from = spot[i].start + spot[i].len;
    }
    return put(out, at, s + from, strlen(s + from) + 1);
}

/* Puts a string of which r may replace the first len bytes. */
static size_t put_start(char *out, size_t at, const char *s, size_t len, const Repl *r) {
    at = r->str ? put(out, at, r->str, r->len) : put(out, at, s, len);
    return put(out, at, s + len, strlen(s + len) + 1);
}

/* Lays the document out in block, after the arrays q and a, and points d at its parts; with
 * block NULL only counts the bytes. */
static size_t put_doc(const Augment *g, int doc, const Repl *repl, char *block, AugDoc *d) {
    const Doc *from = &g->c->docs[doc];
    const Plan *p = &g->plan[doc];
    size_t at = 2 * (size_t)from->n_qas * sizeof(char *);
    if (block) {
        d->block = block;
        d->n = from->n_qas;
        d->q = (char **)(void *)block;
        d->a = d->q + d->n;
        d->title = block + at;
    }
    at = put_start(block, at, from->title, g->group[p->group].len, &repl[0]);
    for (int field = 0; field <= from->n_qas; field++) {
        if (block) *(field == 0 ? &d->text : &d->q[field - 1]) = block + at;
        at = put_field(block, at, field_text(g->c, from, field), field, g->spot + p->spot,
                       p->n_spots, repl);
    }
    for (int i = 0; i < from->n_qas; i++) {
        int qa = from->qas[i];
        const char *target = g->c->qas[qa].target;
        if (block) d->a[i] = block + at;
        at = put_start(block, at, target, strlen(target), &repl[g->qa_group[qa]]);
    }
    return at;
}

int aug_draw(const Augment *g, int doc, const char *title, double p_name, double p_answer,
             double p_made, uint64_t *rng, AugDoc *out) {
    const Plan *p = &g->plan[doc];
    Repl *repl = malloc((size_t)p->n_groups * (sizeof *repl + ROOM));
    char *block = NULL;
    memset(out, 0, sizeof *out);
    if (repl) {
        draw_groups(g, p, title, p_name, p_answer, p_made, rng, repl, (char *)(repl + p->n_groups));
        block = malloc(put_doc(g, doc, repl, NULL, NULL));
        if (block) put_doc(g, doc, repl, block, out);
    }
    free(repl);
    return block ? 0 : -1;
}

void aug_careless(AugDoc *d, uint64_t *rng) {
    for (int i = 0; i < d->n; i++)
        if (rng_chance(rng, 0.2))
            for (char *q = d->q[i]; *q; q++) *q = (char)to_small((unsigned char)*q);
}

void aug_drop(AugDoc *d) {
    free(d->block);
    memset(d, 0, sizeof *d);
}
