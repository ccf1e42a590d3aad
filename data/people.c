/* people.c - made-up people in an open world: a document states three to five facts of one.
 *
 * What a model may learn by heart is only how people are written about: names come from no list
 * but are made up, half of the answers too, sentences and questions have many forms.  What test
 * holds and training cannot, is kept apart by rules that do not look at what was drawn:
 *   names      test has names of the real world; no made-up word of training may equal a part of
 *              one, and no two documents, in whatever file, share a full name
 *   answers    a fixed function of a made-up word says which file may use it (home_of); real ones
 *              that only test uses are in a list
 *   sentences  the held-out forms of people_words.h
 * So test and valid are the same whatever n_train is. */
#include "people_words.h"
#include "data.h"
#include "file.h"
#include "json.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#ifdef _WIN32
#include <direct.h>
#else
#include <sys/stat.h>
#endif

#define N_VALID 300
#define N_TEST 600
#define LONGEST 16               /* bytes of a made-up word at most                           */
#define WORD 128                 /* room for a name or a value, or a word that is too long    */

/* ---- random numbers, words ---- */

static int rng_below(uint64_t *state, int n)           /* the bias of n / 2^64 does no harm   */
{
    return (int)(rng_next(state) % (uint64_t)n);
}

static int length(const char *const *list) {
    int n = 0;
    while (list[n]) n++;
    return n;
}

static const char *any(const char *const *list, uint64_t *rng) {
    return list[rng_below(rng, length(list))];
}

typedef enum { TRAIN, VALID, TEST } Split;
static const char *const split_names[3] = {"train", "valid", "test"};

/* Which of the three may use a made-up value: of ten test has two, valid one. */
static Split home_of(const char *word) {
    uint64_t h = scrambled(text_hash(word)) % 10;
    return h < 2 ? TEST : h == 2 ? VALID : TRAIN;
}

/* Whether the text has the word; capitals or not. */
static int holds_word(const char *text, const char *word) {
    size_t n = strlen(word), i;
    for (const char *p = text; *p; p++) {
        if (p > text && is_letter(p[-1])) continue;
        for (i = 0; i < n && to_small(p[i]) == to_small(word[i]);) i++;
        if (i == n && !is_letter(p[n])) return 1;
    }
    return 0;
}

static int list_holds(const char *const *list, int n, const char *word) {
    for (int i = 0; list && i < n; i++)
        if (holds_word(list[i], word)) return 1;
    return 0;
}

static const char *const pronouns[2][3] = {{"he", "his", "him"}, {"she", "her", "her"}};

/* A made-up word is none that has a meaning here: no answer, no part of a form or a test name. */
static int is_free(const char *word) {
    const char *const *const lists[] = {test_first, test_last, forms, held_forms, fillers,
                                        openings, leads, tails};
    for (int i = 0; i < 8; i++)
        if (list_holds(lists[i], length(lists[i]), word)) return 0;
    for (int she = 0; she < 2; she++)
        if (list_holds(pronouns[she], 3, word)) return 0;
    for (int i = 0; i < N_RELS; i++) {
        const Relation *r = &relations[i];
        if (list_holds(r->values, N_LISTED, word) || list_holds(r->real, N_REAL, word)
            || list_holds(r->questions, length(r->questions), word)
            || holds_word(r->held_question, word)) return 0;
    }
    return 1;
}

/* One letter but the first becomes one with an accent or the like. */
static void set_accent(char *word, uint64_t *rng) {
    size_t n = strlen(word), at = n < 2 ? 0 : 1 + (size_t)rng_below(rng, (int)n - 1);
    const char *accent = any(accents, rng);
    memmove(word + at + strlen(accent), word + at + 1, n - at);
    memcpy(word + at, accent, strlen(accent));
}

static void set_capital(char *word) {
    if (is_small(*word)) *word = (char)(*word - 32);
}

/* One to `most` syllables.  Half of the words are plain: of the first sounds of each list only. */
static void spell_syllables(char *word, int most, uint64_t *rng) {
    int plain = rng_below(rng, 2);
    for (int n = 1 + rng_below(rng, plain ? most + 2 : most); n > 0; n--) {
        strcat(word, onsets[rng_below(rng, plain ? PLAIN_ONSETS : length(onsets))]);
        strcat(word, vowels[rng_below(rng, plain ? PLAIN_VOWELS : length(vowels))]);
        strcat(word, codas[rng_below(rng, plain ? PLAIN_CODAS : length(codas))]);
    }
}

typedef enum { SYLLABLES, LETTERS_ONLY, GLUED } Spelling;

/* Makes up a word that this split may use.  A part of a name has no list; an answer has that of
 * its relation, and may be the start of one listed value and the end of another. */
static void make_word(char *word, Spelling how, const char *const *list, int accent, Split home,
                      uint64_t *rng) {
    int n, least = list ? 3 : 2;
    do {
        *word = 0;
        if (how == SYLLABLES) spell_syllables(word, 3, rng);
        if (how == LETTERS_ONLY) {
            n = least + rng_below(rng, (list ? 7 : 9) - least);
            for (int i = 0; i < n; i++) word[i] = (char)('a' + rng_below(rng, 26));
            word[n] = 0;
        }
        if (how == GLUED) {
            const char *a = list[rng_below(rng, N_LISTED)], *b = list[rng_below(rng, N_LISTED)];
            snprintf(word, WORD, "%.*s%s", (int)(strlen(a) + 1) / 2, a, b + strlen(b) / 2);
            *word = (char)to_small(*word);
        }
        if (accent) set_accent(word, rng);
        n = (int)strlen(word);
    } while (n < least || n > LONGEST || home_of(word) != home || !is_free(word));
}

/* ---- names ---- */

/* Of a hundred made-up parts four have an accent, three an apostrophe, three a hyphen. */
static void draw_part(char *part, const char *const *list, Split home, uint64_t *rng) {
    char word[WORD];
    int how = rng_below(rng, 100), more = rng_below(rng, 100);
    if (how < 15) {
        strcpy(part, any(list, rng));
        return;
    }
    make_word(word, how < 70 ? SYLLABLES : LETTERS_ONLY, NULL, more < 4, home, rng);
    set_capital(word);
    strcpy(part, more < 4 || more > 6 ? "" : more == 4 ? "D'" : "O'");
    strcat(part, word);
    if (more < 7 || more > 9) return;
    make_word(word, SYLLABLES, NULL, 0, home, rng);
    set_capital(word);
    strcat(strcat(part, "-"), word);
}

/* The full names in use, by their hashes; 0: free.  And the parts of the last one. */
typedef struct { uint64_t *slot; size_t n; char first[WORD], last[WORD]; } Names;

static int names_add(Names *names, const char *title) {/* 0: it is there already              */
    uint64_t h = text_hash(title);
    size_t i = (size_t)h & (names->n - 1);
    for (; names->slot[i]; i = (i + 1) & (names->n - 1))
        if (names->slot[i] == h) return 0;
    names->slot[i] = h;
    return 1;
}

/* ---- people ---- */

typedef struct {
    char first[WORD], title[2 * WORD];
    int she, n;                  /* n facts, of the relations rel[0..n), in that order        */
    int rel[N_RELS];
    char value[N_RELS][WORD];    /* by relation                                               */
    int listed[N_RELS];          /* the value is of the relation's list                       */
} Person;

/* What a document of test tries. */
enum { KNOWN, NEW_ANSWERS, NEW_SENTENCES, NEW_BOTH, N_KINDS };
static const char *const kinds[N_KINDS] = {"known", "answers never seen", "sentences never seen",
                                           "both never seen"};

/* Nearly half of the people of valid share their first or last name with the one before.  In test
 * nearly all share one with somebody, and who chooses a model by valid should see mistakes. */
static void draw_name(Person *p, Split split, Names *names, uint64_t *rng) {
    char last[WORD];
    do {
        int two = rng_below(rng, 10) > 0, kin = split == VALID ? rng_below(rng, 4) : 2;
        if (split == TEST) {
            strcpy(p->first, any(test_first, rng));
            strcpy(last, any(test_last, rng));
        } else {
            draw_part(p->first, train_first, split, rng);
            draw_part(last, train_last, split, rng);
        }
        if (kin == 0 && *names->first) strcpy(p->first, names->first);
        if (kin == 1 && *names->last) strcpy(last, names->last);
        snprintf(p->title, sizeof p->title, "%s%s%s", p->first, two ? " " : "", two ? last : "");
    } while (!names_add(names, p->title));
    strcpy(names->first, p->first);
    strcpy(names->last, last);
    p->she = rng_below(rng, 2);
}

static void invent_word(char *word, int rel, Split home, uint64_t *rng) {
    int how = rng_below(rng, 10), accent = rng_below(rng, 25) == 0;
    make_word(word, how < 5 ? SYLLABLES : how < 6 ? LETTERS_ONLY : GLUED, relations[rel].values,
              accent, home, rng);
}

static void invent_year(char *value, Split home, uint64_t *rng) {
    int year, listed;
    do {
        year = 1000 + rng_below(rng, 1100);
        listed = year >= 1930 && year <= 2008 && year % 2 == 0;
        snprintf(value, WORD, "%d", year);
    } while (listed || home_of(value) != home);
}

static void invent(char *value, int rel, Split home, uint64_t *rng) {
    char more[WORD];
    if (rel == YEAR) {
        invent_year(value, home, rng);
        return;
    }
    invent_word(value, rel, home, rng);
    if (rel == CITY) set_capital(value);
    if (rng_below(rng, 6) == 0) {
        invent_word(more, rel, home, rng);
        if (rel == CITY) set_capital(more);
        strcat(strcat(value, rng_below(rng, 4) ? " " : "-"), more);
    }
}

static void draw_value(Person *p, int rel, Split split, int kind, uint64_t *rng) {
    const Relation *r = &relations[rel];
    char *value = p->value[rel];
    int heads = rng_below(rng, 2);
    p->listed[rel] = split == TEST ? kind == KNOWN || kind == NEW_SENTENCES : heads;
    if (p->listed[rel] && rel == YEAR) snprintf(value, WORD, "%d", 1930 + 2 * rng_below(rng, 40));
    else if (p->listed[rel]) strcpy(value, r->values[rng_below(rng, N_LISTED)]);
    else if (split == TEST && heads && r->real) strcpy(value, r->real[rng_below(rng, N_REAL)]);
    else invent(value, rel, split, rng);
}

/* A value is no part of the name and none of the other values. */
static int is_clear(const Person *p, int i) {
    const char *value = p->value[p->rel[i]];
    if (holds_word(p->title, value)) return 0;
    for (int k = 0; k < i; k++)
        if (holds_word(p->value[p->rel[k]], value) || holds_word(value, p->value[p->rel[k]]))
            return 0;
    return 1;
}

static void draw_person(Person *p, Split split, int kind, Names *names, uint64_t *rng) {
    draw_name(p, split, names, rng);
    p->n = 3 + rng_below(rng, 3);
    for (int i = 0; i < N_RELS; i++) p->rel[i] = i;
    for (int i = N_RELS - 1; i > 0; i--) {             /* Fisher and Yates                    */
        int k = rng_below(rng, i + 1), swap = p->rel[i];
        p->rel[i] = p->rel[k];
        p->rel[k] = swap;
    }
    for (int i = 0; i < p->n; i++)
        do draw_value(p, p->rel[i], split, kind, rng);
        while (!is_clear(p, i));
}

/* ---- sentences ---- */

typedef struct { char s[4096]; size_t n; int named; } Text;

static void put(Text *t, const char *s) {
    t->n += (size_t)snprintf(t->s + t->n, sizeof t->s - t->n, "%s", s);
}

/* Puts the person for one of the letters n, s, o, N.  The full name comes first; after it, and not
 * in questions (rng NULL), also the first name or a pronoun. */
static void put_person(Text *t, const Person *p, char letter, uint64_t *rng) {
    int how = rng && t->named ? rng_below(rng, 10) : 0;
    t->named = 1;
    if (how > 5 && letter != 'N') {
        put(t, pronouns[p->she][letter == 's' ? 1 : letter == 'o' ? 2 : 0]);
        return;
    }
    put(t, how > 2 ? p->first : p->title);
    if (letter == 's') put(t, "'s");
}

/* A value, perhaps after a word that is no part of it: "an old cat". */
static void put_value(Text *t, const Person *p, int rel, int article, uint64_t *rng) {
    const char *word = "", *value = p->value[rel];
    int after_space = t->n > 0 && t->s[t->n - 1] == ' ';
    if (describing[rel] && after_space && rng && rng_below(rng, 6) == 0)
        word = any(describing[rel], rng);
    const char *first = *word ? word : value;
    int vowel = strchr("aeiou", *first) && strncmp(first, "uk", 2) != 0;    /* a ukulele       */
    if (article) put(t, vowel ? "an " : "a ");
    put(t, word);
    if (*word) put(t, " ");
    put(t, value);
}

/* Puts the first n bytes of a form, with what its letters stand for. */
static void put_letters(Text *t, const char *form, size_t n, const Person *p, uint64_t *rng) {
    static const char always[] = "hrx";
    for (const char *end = form + n; form < end; form++) {
        char c[2] = {*form, 0};
        if (*c != '%') {
            put(t, c);
            continue;
        }
        *c = *++form;
        const char *rel = strchr(LETTERS, to_small(*c)), *pronoun = strchr(always, *c);
        if (rel) put_value(t, p, (int)(rel - LETTERS), *c != to_small(*c), rng);
        else if (pronoun) put(t, pronouns[p->she][pronoun - always]);
        else put_person(t, p, *c, rng);
    }
}

/* A sentence that begins with the person may be led in by some words, and end in some others. */
static void put_form(Text *t, const char *form, const Person *p, uint64_t *rng) {
    if (t->n > 0) put(t, " ");
    size_t start = t->n, n = strlen(form);
    int may = rng && form[0] == '%' && strchr("nsN", form[1]) && !strchr(":,", form[2])
              && form[n - 1] == '.';
    if (may && rng_below(rng, 6) == 0) {
        put(t, any(leads, rng));
        put(t, " ");
    }
    if (may && rng_below(rng, 6) == 0) {
        const char *tail = any(tails, rng);
        put_letters(t, form, n - 1, p, rng);
        if (*tail != ',') put(t, " ");
        put_letters(t, tail, strlen(tail), p, rng);
        put(t, ".");
    } else put_letters(t, form, n, p, rng);
    set_capital(t->s + start);
}

/* What a form states, a bit for each relation, and whether it names the person. */
#define NAMES (1u << N_RELS)
static unsigned contents(const char *form) {
    unsigned bits = 0;
    while ((form = strchr(form, '%')) != NULL) {
        const char *rel = strchr(LETTERS, to_small(*++form));
        if (rel) bits |= 1u << (rel - LETTERS);
        else if (!strchr("hrx", *form)) bits |= NAMES;
    }
    return bits;
}

/* A form that states the relation `must`, and others too if `left` has others, but none that is
 * not in `left`.  NULL: there is none. */
static const char *pick_form(const char *const *list, unsigned must, unsigned left,
                             uint64_t *rng) {
    const char *fit[128];
    int n = 0;
    for (; *list && n < 128; list++) {
        unsigned bits = contents(*list) & ~NAMES;
        if ((bits & must) && !(bits & ~left) && (bits != must || left == must)) fit[n++] = *list;
    }
    return n ? fit[rng_below(rng, n)] : NULL;
}

/* The sentences.  One that does not name the person cannot be the first. */
static void state_facts(Text *t, const Person *p, int held, uint64_t *rng) {
    const char *const *list = held ? held_forms : forms;
    unsigned left = 0;
    for (int i = 0; i < p->n; i++) left |= 1u << p->rel[i];
    for (int i = 0; i < p->n; i++) {
        unsigned must = 1u << p->rel[i];
        if (!(left & must)) continue;
        int several = rng_below(rng, 5) < 2, open = !held && i == 0 && rng_below(rng, 20) == 0;
        const char *form = several ? pick_form(list, must, left, rng) : NULL;
        if (!form) form = pick_form(list, must, must, rng);
        if (open || (i == 0 && !(contents(form) & NAMES))) put_form(t, any(openings, rng), p, rng);
        put_form(t, form, p, rng);
        left &= ~contents(form);
        if (rng_below(rng, 10) == 0) put_form(t, any(fillers, rng), p, rng);
    }
}

/* ---- documents ---- */

static void write_doc(FILE *f, const char *id, const Person *p, Split split, int kind,
                      uint64_t *rng) {
    static const char *const seen[2] = {"answers never seen", "answers seen"};
    int held = kind == NEW_SENTENCES || kind == NEW_BOTH;
    Text text = {"", 0, 0};
    state_facts(&text, p, held, rng);
    fprintf(f, "{\"id\": \"%s\", \"title\": ", id);
    json_put(f, p->title);
    fputs(", \"text\": ", f);
    json_put(f, text.s);
    for (int i = 0; i < p->n; i++) {
        const Relation *r = &relations[p->rel[i]];
        Text q = {"", 0, 0};
        put_form(&q, held ? r->held_question : any(r->questions, rng), p, NULL);
        fputs(i ? ", {\"q\": " : ", \"qas\": [{\"q\": ", f);
        json_put(f, q.s);
        fputs(", \"a\": [", f);
        json_put(f, p->value[p->rel[i]]);
        fprintf(f, "], \"rel\": \"%s\"", r->rel);
        const char *what = split == TEST ? kinds[kind] : seen[p->listed[p->rel[i]]];
        if (split != TRAIN) fprintf(f, ", \"kind\": \"%s\"", what);
        fputs("}", f);
    }
    fputs("]}\n", f);
}

static void write_docs(FILE *f, Split split, int n, Names *names, uint64_t *rng) {
    int kind[N_TEST] = {0};
    char id[40];
    for (int i = 0; i < n && split == TEST; i++) {     /* as many of each, their order mixed  */
        int k = rng_below(rng, i + 1);
        kind[i] = kind[k];
        kind[k] = i % N_KINDS;
    }
    *names->first = *names->last = 0;                  /* no part goes from file to file      */
    for (int i = 0; i < n; i++) {
        Person p;
        int what = split == TEST ? kind[i] : KNOWN;
        draw_person(&p, split, what, names, rng);
        snprintf(id, sizeof id, "p-%s-%d", split_names[split], i + 1);
        write_doc(f, id, &p, split, what, rng);
    }
}

static int make_dir(const char *dir) {
#ifdef _WIN32
    return _mkdir(dir);
#else
    return mkdir(dir, 0777);
#endif
}

int people_write(const char *dir, int n_train, uint64_t seed, char *err) {
    int n[3] = {n_train, N_VALID, N_TEST};
    char path[1024];
    Names names = {NULL, 4096, "", ""};
    if (make_dir(dir) != 0 && errno != EEXIST) {
        snprintf(err, MAC_ERR, "%.400s: cannot make this folder: %s", dir, strerror(errno));
        return -1;
    }
    while (names.n / 2 < (size_t)n_train + N_VALID + N_TEST) names.n *= 2;
    if (!(names.slot = calloc(names.n, sizeof *names.slot))) {
        snprintf(err, MAC_ERR, "%.400s: out of memory", dir);
        return -1;
    }
    int failed = 0;
    for (int split = TEST; split >= TRAIN && !failed; split--) {   /* n_train changes train only */
        uint64_t rng = rng_next(&seed);
        int len = snprintf(path, sizeof path, "%s/%s.jsonl", dir, split_names[split]);
        if (len >= (int)sizeof path) snprintf(err, MAC_ERR, "%.400s: this name is too long", dir);
        FileOut *out = len < (int)sizeof path ? file_begin(path, err) : NULL;
        if (out) write_docs(file_stream(out), (Split)split, n[split], &names, &rng);
        failed = !out || file_end(out, NULL, err) != 0;
    }
    free(names.slot);
    return failed ? -1 : 0;
}
