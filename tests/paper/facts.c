/* facts.c - an explicit memory beside MAC's, as MemLLM (arXiv 2404.11672) and RET-LLM (arXiv
 * 2305.14322) have it: the LM itself writes facts that it reads in a text, and says which fact a
 * question asks for.  A fact is a row, subject, relation, object.  People can read, correct and
 * count rows.
 *
 *   facts DIR CORPUS NAME SEED QUICK WHAT      one cell, see main
 *
 * Two kinds of lessons are added to what the LM knows:
 *   a document, then      " Ada Lee\ncity: Rome\njob: baker\n" and the end
 *   a question, then      " Ada Lee\ncity" and the end
 * A toy spells no name that it never saw.  So what it says is restricted: subject and object are
 * spans of words of the text at hand, a relation is one of training's.  Titles, relations and
 * answers of test documents are used for scores alone. */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 32
#define STEPS 2000
#define MOST_RELATIONS 256

static Lab lab;
static const char *relation[MOST_RELATIONS];
static int n_relations;

/* ==== lessons ================================================================================ */
static void collect_relations(void) {
    for (int i = 0; i < lab.train.n_qas; i++) {
        int k = 0;
        while (k < n_relations && strcmp(relation[k], lab.train.qas[i].rel)) k++;
        if (k == n_relations && k < MOST_RELATIONS && *lab.train.qas[i].rel)
            relation[n_relations++] = lab.train.qas[i].rel;
    }
}

/* The name by which the text calls what it is about: its title, or that without its "(...)"; NULL:
 * neither stands in it. */
static const char *subject_of(const char *text, const char *title, char *room, size_t n) {
    snprintf(room, n, "%s", title);
    if (strstr(text, room)) return room;
    char *bracket = strstr(room, " (");
    if (bracket) *bracket = 0;
    return strstr(text, room) ? room : NULL;
}

static Ids ids_of(const char *text) { /* and the end */
    int most = (int)strlen(text) + 2, *id = reader_room(&lab.reader, most, sizeof *id), cut = 0;
    return (Ids){id, prompt_answer(lab.reader.tok, text, id, most, &cut), 0};
}

/* The facts that stand in d's text, in their order there: "relation: answer\n". */
static void put_record(const AugDoc *d, const char *const *rels, char *to, size_t room) {
    size_t n = strlen(to);
    const char *after = d->text - 1;
    for (;;) {
        int next = -1;
        const char *least = NULL;
        for (int i = 0; i < d->n; i++) {
            const char *at = *rels[i] ? strstr(d->text, d->a[i]) : NULL;
            if (at && at > after && (!least || at < least)) least = at, next = i;
        }
        if (next < 0 || n + 600 > room) return;
        n += (size_t)snprintf(to + n, room - n, "%s: %.200s\n", rels[next], d->a[next]);
        after = least;
    }
}

/* A lesson of d: a document and its facts (kind 0), a question and what it asks for (1), or a
 * document and a question with its answer (2), for what is not practised is forgotten. */
static Ids lesson(const AugDoc *d, int doc, int kind, uint64_t *rng, int *from) {
    char name[256], record[2000];
    const char *subject = subject_of(d->text, d->title, name, sizeof name), *rels[64];
    if (d->n > 64) return (Ids){NULL, 0};
    for (int i = 0; i < d->n; i++) rels[i] = lab.train.qas[lab.train.docs[doc].qas[i]].rel;
    int k = rng_below(rng, d->n), room = lab.m->c.S - lab.m->c.P;
    Reader *r = &lab.reader;
    Ids x = kind == 1 ? reader_question(r, d->q[k]) : reader_document(r, d->text);
    if (kind == 2) x = reader_joined(r, x, reader_question(r, d->q[k]));
    *from = x.n;
    if (kind == 2) x = reader_joined(r, x, reader_answer(r, d->a[k]));
    if (kind != 2 && !subject) return (Ids){NULL, 0};
    if (kind == 1 && !strstr(d->q[k], subject)) return (Ids){NULL, 0};
    if (kind == 1) snprintf(record, sizeof record, "%s\n%s", subject, rels[k]);
    if (kind == 0) snprintf(record, sizeof record, "%s\n", subject);
    if (kind == 0) put_record(d, rels, record, sizeof record);
    if (kind != 2) x = reader_joined(r, x, ids_of(record));
    return x.n > room || x.n == *from ? (Ids){NULL, 0} : x;
}

/* ==== what may be said ======================================================================= */
/* A record is " " subject "\n" (relation ": " object "\n")*, a call " " subject "\n" relation.  A
 * token may follow if the text with it can still become one. */
typedef struct { const char **source; int call; char **piece; } Grammar; /* piece: a token's text */

static int word_at(const char *s, const char *at) { /* does a word begin here? */
    return at == s || !(is_letter((unsigned char)at[-1]) || is_digit((unsigned char)at[-1])
                        || (unsigned char)at[-1] >= 0x80);
}

static int ends_word(const char *at) {
    return !(is_letter((unsigned char)*at) || is_digit((unsigned char)*at)
             || (unsigned char)*at >= 0x80);
}

/* Does a span of words of the source begin with the n bytes of s; `whole`: is s one? */
static int in_source(const char *source, const char *s, size_t n, int whole) {
    for (const char *at = source; *at; at++)
        if (word_at(source, at) && *at != ' ' && !strncmp(at, s, n)
            && (!whole || (n > 0 && ends_word(at + n)))) return 1;
    return 0;
}

static int is_relation(const char *s, int n, int whole) {
    for (int i = 0; i < n_relations; i++)
        if (!strncmp(relation[i], s, (size_t)n) && (!whole || relation[i][n] == 0)) return 1;
    return 0;
}

/* Is s the beginning of a record; with `whole`, one? */
static int is_record(const Grammar *g, const char *source, const char *s, int whole) {
    const char *line = strchr(s, '\n');
    if (*s != ' ') return *s == 0 && !whole;
    s++;
    if (!line) return !whole && in_source(source, s, strlen(s), 0);
    if (!in_source(source, s, (size_t)(line - s), 1)) return 0;
    for (const char *first = s = line + 1; *s; s = line + 1) {
        int n = (int)strcspn(s, ":"), colon = s[n] == ':'; /* bytes of the relation */
        if (!is_relation(s, n, colon || (g->call && whole))) return 0;
        if (g->call || !colon) return !colon && (g->call || !whole);
        for (const char *l = first; l < s; l = strchr(l, '\n') + 1)
            if (!strncmp(l, s, (size_t)n + 1)) return 0; /* each relation once */
        if (s[n + 1] && s[n + 1] != ' ') return 0;
        s += n + 1 + (s[n + 1] == ' ');
        line = strchr(s, '\n');
        if (!line) return !whole && in_source(source, s, strlen(s), 0);
        if (!in_source(source, s, (size_t)(line - s), 1)) return 0;
    }
    return !g->call || !whole;
}

static int allow(void *ctx, int b, const int *ids, int n, int token) {
    const Grammar *g = ctx;
    int end = token == lab.m->c.V - 1, at = 0;
    char text[2000] = "";
    if (!end && !*g->piece[token]) return 0; /* a byte of 0 */
    for (int i = 0; i < n + !end && at < 1800; i++)
        at += snprintf(text + at, 200, "%s", g->piece[i < n ? ids[i] : token]);
    return is_record(g, g->source[b], text, end);
}

static Grammar grammar_new(void) {
    Grammar g = {.piece = need(calloc((size_t)lab.m->c.V, sizeof *g.piece))};
    size_t n;
    for (int i = 0; i < lab.m->c.V - 1; i++)
        g.piece[i] = need(tok_decode(lab.reader.tok, &i, 1, &n));
    return g;
}

/* ==== writing, asking ======================================================================== */
typedef struct { char *s, *r, *o; int doc; } Fact;
static Fact *facts;
static int n_facts;

static void add_fact(const char *s, const char *r, const char *o, int doc) {
    if ((n_facts & (n_facts - 1)) == 0)
        facts = need(realloc(facts, (size_t)(2 * n_facts + 1) * sizeof *facts));
    facts[n_facts++] = (Fact){need_copy(s), need_copy(r), need_copy(o), doc};
}

/* Records of B texts, malloc'd: documents' facts, or, of questions, what they ask for. */
static void say(Grammar *g, const char **text, int B, int call, char **record) {
    int cap = lab.m->c.Q + lab.m->c.A, none = 0;
    tape_reset(lab.tp);
    Ids *q = reader_room(&lab.reader, 2 * B, sizeof *q), *context = q + B;
    int *out = reader_room(&lab.reader, B * cap, sizeof *out);
    int *n = reader_room(&lab.reader, B, sizeof *n);
    for (int b = 0; b < B; b++) {
        q[b] = call ? reader_question(&lab.reader, text[b]) : (Ids){&none, 0};
        if (!call) context[b] = reader_document(&lab.reader, text[b]);
    }
    g->source = text, g->call = call;
    AnswerOptions o = {.context = call ? NULL : context, .allow = allow, .ctx = g};
    if (mac_answer(lab.m, lab.tp, q, B, NULL, cap, out, n, &o) != 0) die("%s", tape_error(lab.tp));
    for (int b = 0; b < B; b++) {
        size_t bytes;
        record[b] = need(tok_decode(lab.reader.tok, out + b * cap, n[b], &bytes));
    }
}

static void write_facts(Grammar *g, const Corpus *c) {
    for (int at = 0; at < c->n_docs; at += BATCH) {
        const char *text[BATCH];
        char *record[BATCH];
        int B = c->n_docs - at < BATCH ? c->n_docs - at : BATCH;
        for (int b = 0; b < B; b++) text[b] = c->docs[at + b].text;
        say(g, text, B, 0, record);
        for (int b = 0; b < B; b++) {
            char *s = record[b] + (*record[b] == ' '), *line = strchr(s, '\n');
            char *r = line ? line + 1 : NULL;
            for (char *end; r && (end = strchr(r, '\n')); r = end + 1) {
                char *o = strstr(r, ": ");
                if (!o || o > end) break;
                *line = *o = *end = 0;
                add_fact(s, r, o + 2, at + b);
            }
            free(record[b]);
        }
    }
}

/* The part of the letters' pairs that two names share (Dice): 1 for equal ones. */
static double likeness(const char *a, const char *b) {
    int na = (int)strlen(a), nb = (int)strlen(b), both = 0;
    char used[256] = {0};
    if (!strcmp(a, b)) return 1;
    if (na < 2 || nb < 2 || nb > 256) return 0;
    for (int i = 0; i + 1 < na; i++)
        for (int j = 0; j + 1 < nb; j++)
            if (!used[j] && a[i] == b[j] && a[i + 1] == b[j + 1]) { used[j] = 1, both++; break; }
    return 2.0 * both / (na + nb - 2) * 0.999;
}

/* The newest fact of relation r about s, or about what is spelled most like s; NULL: none that is
 * as much alike as `least`. */
static const Fact *look_up(const char *s, const char *r, double least) {
    const Fact *best = NULL;
    for (int i = 0; i < n_facts; i++) {
        double is = strcmp(facts[i].r, r) ? -1 : likeness(s, facts[i].s);
        if (is >= least) least = is, best = &facts[i];
    }
    return best;
}

static const Fact *called(const char *record, double least) { /* what a call asks for */
    const char *s = record + (*record == ' '), *r = strchr(s, '\n');
    char subject[300];
    if (!r) return NULL;
    snprintf(subject, sizeof subject, "%.*s", (int)(r - s), s);
    return look_up(subject, r + 1, least);
}

typedef struct { Score exact, near; int told; } Asked;

static void ask_facts(Grammar *g, const Corpus *c, Asked *sum) {
    for (int at = 0; at < c->n_qas; at += BATCH) {
        const char *text[BATCH];
        char *record[BATCH];
        int B = c->n_qas - at < BATCH ? c->n_qas - at : BATCH;
        for (int b = 0; b < B; b++) text[b] = c->qas[at + b].q;
        say(g, text, B, 1, record);
        for (int b = 0; b < B; b++) {
            const Qa *x = &c->qas[at + b];
            const Fact *exact = called(record[b], 1), *near = called(record[b], 0);
            score_add(&sum->exact, x, exact ? exact->o : "");
            score_add(&sum->near, x, near ? near->o : "");
            sum->told += near && near->doc == x->doc;
            free(record[b]);
        }
    }
}

/* ==== what is measured ======================================================================= */
static int same(const char *a, const char *b) {
    char *one = need(score_normalize(a)), *two = need(score_normalize(b));
    int equal = !strcmp(one, two);
    free(one), free(two);
    return equal;
}

static int confirms(const Qa *x, const Fact *f) {
    return !strcmp(x->rel, f->r) && score_em(f->o, x->a, x->n_a);
}

/* Facts that a question of their document confirms, of all facts, and of all questions. */
static void put_triples(Cell *c, const Corpus *test) {
    int right = 0, found = 0;
    double bytes = 0, text = 0;
    for (int i = 0; i < test->n_docs; i++) text += (double)strlen(test->docs[i].text);
    for (int f = 0; f < n_facts; f++) { /* both ends, and the relation's number */
        const Doc *d = &test->docs[facts[f].doc];
        int ok = 0;
        for (int k = 0; k < d->n_qas; k++) ok |= confirms(&test->qas[d->qas[k]], &facts[f]);
        right += ok;
        bytes += (double)(strlen(facts[f].s) + strlen(facts[f].o) + 3);
    }
    for (int i = 0; i < test->n_qas; i++) {
        int ok = 0;
        for (int f = 0; f < n_facts; f++)
            ok |= facts[f].doc == test->qas[i].doc && confirms(&test->qas[i], &facts[f]);
        found += ok;
    }
    cell_put(c, "documents", test->n_docs);
    cell_put(c, "precision", right / (double)(n_facts ? n_facts : 1));
    cell_put(c, "recall", found / (double)test->n_qas);
    cell_put(c, "bytes", bytes / test->n_docs);
    cell_put(c, "bytes.mac", (double)lab.m->c.T * lab.m->c.d * (double)sizeof(float));
    cell_put(c, "bytes.text", text / test->n_docs);
}

/* "Who lives in Lisbon?": of every relation and answer, whose it is; F1 of the sets, their mean. */
static void put_reverse(Cell *c, const Corpus *test) {
    double sum = 0;
    int sets = 0;
    for (int i = 0; i < test->n_qas; i++) {
        const Qa *x = &test->qas[i];
        int first = 1, gold = 0, said = 0, both = 0;
        for (int j = 0; j < i && first; j++)
            first = strcmp(test->qas[j].rel, x->rel) || !same(test->qas[j].target, x->target);
        if (!first) continue;
        for (int j = i; j < test->n_qas; j++)
            gold += !strcmp(test->qas[j].rel, x->rel) && same(test->qas[j].target, x->target);
        for (int f = 0; f < n_facts; f++) {
            if (strcmp(facts[f].r, x->rel) || !same(facts[f].o, x->target)) continue;
            said++;
            const Doc *d = &test->docs[facts[f].doc];
            for (int k = 0; k < d->n_qas; k++)
                both += !strcmp(test->qas[d->qas[k]].rel, x->rel)
                        && same(test->qas[d->qas[k]].target, x->target)
                        && likeness(facts[f].s, d->title) >= 0.8;
        }
        sum += said + gold ? 2.0 * both / (said + gold) : 0, sets++;
    }
    cell_put(c, "reverse", sum / sets);
}

/* Newer documents, some facts of which are others: what counts is what was written last. */
static void put_edits(Cell *c, Grammar *g, const Corpus *test) {
    Augment *aug = need(aug_new(test));
    uint64_t rng = (uint64_t)lab.seed + 5;
    int changed = 0, new = 0, old = 0, others = 0, kept = 0;
    for (int i = 0; i < test->n_docs; i++) {
        AugDoc d;
        char *record;
        const Doc *doc = &test->docs[i];
        if (aug_draw(aug, i, NULL, 0, 0.4, 0, &rng, &d) != 0) die("out of memory");
        Corpus one = {.docs = &(Doc){.text = (char *)(uintptr_t)d.text}, .n_docs = 1};
        int before = n_facts;
        write_facts(g, &one);
        for (int f = before; f < n_facts; f++) facts[f].doc = i;
        for (int k = 0; k < d.n; k++) {
            const char *q = d.q[k], *was = test->qas[doc->qas[k]].target;
            say(g, &q, 1, 1, &record);
            const Fact *fact = called(record, 0);
            int is_new = fact && same(fact->o, d.a[k]), is_old = fact && same(fact->o, was);
            if (strcmp(d.a[k], was)) changed++, new += is_new, old += is_old;
            else others++, kept += is_new;
            free(record);
        }
        aug_drop(&d);
    }
    aug_free(aug);
    cell_put(c, "changed", changed);
    cell_put(c, "changed.new", new / (double)changed);
    cell_put(c, "changed.old", old / (double)changed);
    cell_put(c, "others", kept / (double)others);
}

int main(int argc, char **argv) {
    Cell c;
    if (!lab_begin(&lab, &c, argc, argv)) return 0;
    collect_relations();
    open_teach(&lab, lab.quick ? 100 : STEPS, 77, 3, lesson, &(OpenLm){NULL});
    Grammar g = grammar_new();
    Asked sum = {{0, 0, 0, 0}, {0, 0, 0, 0}, 0};
    Score gold = {0, 0, 0, 0};
    write_facts(&g, &lab.test);
    put_triples(&c, &lab.test);
    put_reverse(&c, &lab.test);
    ask_facts(&g, &lab.test, &sum);
    lab_put_score(&c, "exact.", &sum.exact);
    lab_put_score(&c, "near.", &sum.near);
    cell_put(&c, "told", sum.told / (double)lab.test.n_qas);
    lab_ask(&lab, &lab.test, 0, lab.test.n_docs, &(Asking){.gold = 1}, &gold);
    lab_put_score(&c, "gold.", &gold);
    put_edits(&c, &g, &lab.test);
    lab_keep(&c);
    for (int i = 0; i < lab.m->c.V; i++) free(g.piece[i]);
    for (int i = 0; i < n_facts; i++) free(facts[i].s), free(facts[i].r), free(facts[i].o);
    free(g.piece), free(facts);
    lab_close(&lab);
    return 0;
}
