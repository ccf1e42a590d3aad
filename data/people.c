/* people.c - synthetic people: 60 x 60 names, three facts each, a document of three sentences.
 * Whether a name is for training, validation or test is a fixed function of the name, so no name
 * of one crosses into another, while all first and last names occur in training.  In training
 * the same name comes back with other facts: answers can be had from the document only. */
#include "data.h"
#include <errno.h>
#include <string.h>
#ifdef _WIN32
#include <direct.h>
#else
#include <sys/stat.h>
#endif

#define N_NAMES 60
#define N_VALUES 30
#define N_FACTS 3

static const char *const first_names[N_NAMES] = {
    "Ada", "Belo", "Cira", "Dovan", "Elka", "Fenno", "Gesa", "Harl", "Imre", "Joska",
    "Kelda", "Lorin", "Mirea", "Nevio", "Orla", "Pavo", "Quira", "Runa", "Sorel", "Tavi",
    "Ulmo", "Vesna", "Wanda", "Xenia", "Yaro", "Zelda", "Anselm", "Brona", "Corin", "Delia",
    "Edvin", "Freya", "Gunnar", "Hedda", "Ilian", "Jorun", "Kasimir", "Lenka", "Matis", "Nadja",
    "Odran", "Petra", "Rasmus", "Sunniva", "Tycho", "Ursel", "Viggo", "Wenzel", "Ylva", "Zoran",
    "Alda", "Bertil", "Clio", "Doris", "Emeric", "Fabio", "Greta", "Hanno", "Iveta", "Jasper"};
static const char *const last_names[N_NAMES] = {
    "Abelin", "Bargo", "Calder", "Drosk", "Eklund", "Farrow", "Galant", "Hobrin", "Istram",
    "Jelinek", "Korda", "Lambrec", "Morvan", "Nystrom", "Orsini", "Pellow", "Quandt", "Rostova",
    "Sarkov", "Tolvan", "Umbrec", "Vantor", "Wexley", "Yarrow", "Zabel", "Arkwell", "Bosko",
    "Crane", "Delmar", "Endicot", "Fossey", "Grimaldi", "Hartwig", "Ibsen", "Jarvis", "Kessler",
    "Lindqvist", "Mandrel", "Norwood", "Ostrava", "Prandl", "Quillon", "Redfern", "Stavros",
    "Thorne", "Ulrich", "Valdez", "Wilmot", "Yoder", "Zimmer", "Ashdown", "Brandt", "Corwin",
    "Dunmore", "Everett", "Falk", "Gorski", "Holm", "Innis", "Jansen"};

typedef struct {
    const char *rel, *sentences[2], *questions[2], *values[N_VALUES];
} Fact;

static const Fact facts[N_FACTS] = {
    {"city", {"%s lives in the city of %s.", "The home of %s is in %s."},
     {"In which city does %s live?", "Where is the home of %s?"},
     {"Lisbon", "Oslo", "Cairo", "Lima", "Quito", "Hanoi", "Dakar", "Turin", "Porto", "Kyoto",
      "Delhi", "Sofia", "Riga", "Accra", "Perth", "Seoul", "Boston", "Vienna", "Prague", "Havana",
      "Nairobi", "Denver", "Toronto", "Madrid", "Athens", "Dublin", "Bergen", "Geneva", "Warsaw",
      "Tunis"}},
    {"job", {"%s works as a %s.", "The job of %s is that of a %s."},
     {"What is the job of %s?", "What does %s work as?"},
     {"baker", "miner", "pilot", "teacher", "doctor", "farmer", "singer", "painter", "lawyer",
      "tailor", "sailor", "nurse", "builder", "dentist", "plumber", "writer", "judge", "chemist",
      "barber", "cook", "dancer", "mechanic", "gardener", "banker", "waiter", "carpenter",
      "librarian", "surgeon", "potter", "weaver"}},
    {"pet", {"%s keeps a pet %s.", "The pet of %s is a %s."},
     {"What pet does %s keep?", "Which animal is the pet of %s?"},
     {"cat", "dog", "parrot", "rabbit", "hamster", "turtle", "lizard", "goldfish", "pony", "goat",
      "ferret", "snake", "canary", "duck", "goose", "mouse", "hedgehog", "pigeon", "frog",
      "llama", "donkey", "raven", "beetle", "gecko", "falcon", "spider", "sheep", "crab",
      "squirrel", "newt"}}};

static uint64_t mix(uint64_t z) {
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static uint64_t rng_next(uint64_t *state)              /* splitmix64                          */
{
    return mix(*state += 0x9E3779B97F4A7C15u);
}

static int rng_below(uint64_t *state, int n)           /* the bias of n / 2^64 does no harm   */
{
    return (int)(rng_next(state) % (uint64_t)n);
}

typedef enum { TRAIN, VALID, TEST } Split;
static const char *const split_names[3] = {"train", "valid", "test"};

static Split split_of(int name)                        /* 4 of 28 test, 1 valid               */
{
    uint64_t h = mix((uint64_t)name + 1) % 28;
    return h < 4 ? TEST : h == 4 ? VALID : TRAIN;
}

/* One document.  Draws: its facts, the order of its sentences, then for each fact in order the
 * form of its sentence and that of its question. */
static void write_doc(FILE *f, const char *id, int name, uint64_t *rng) {
    char full[40], sentence[N_FACTS][120];
    int value[N_FACTS], order[N_FACTS] = {0, 1, 2}, question[N_FACTS];
    snprintf(full, sizeof full, "%s %s", first_names[name / N_NAMES], last_names[name % N_NAMES]);
    for (int i = 0; i < N_FACTS; i++) value[i] = rng_below(rng, N_VALUES);
    for (int i = N_FACTS - 1; i > 0; i--) {            /* Fisher and Yates                    */
        int k = rng_below(rng, i + 1), swap = order[i];
        order[i] = order[k];
        order[k] = swap;
    }
    for (int i = 0; i < N_FACTS; i++) {
        snprintf(sentence[i], sizeof sentence[i], facts[i].sentences[rng_below(rng, 2)], full,
                 facts[i].values[value[i]]);
        question[i] = rng_below(rng, 2);
    }
    fprintf(f, "{\"id\": \"%s\", \"title\": \"%s\", \"text\": \"%s %s %s\", \"qas\": [", id, full,
            sentence[order[0]], sentence[order[1]], sentence[order[2]]);
    for (int i = 0; i < N_FACTS; i++) {
        fprintf(f, "%s{\"q\": \"", i ? ", " : "");
        fprintf(f, facts[i].questions[question[i]], full);
        fprintf(f, "\", \"a\": [\"%s\"], \"rel\": \"%s\"}", facts[i].values[value[i]],
                facts[i].rel);
    }
    fprintf(f, "]}\n");
}

/* Training draws n_train of its names with repeats; the others use each name once. */
static void write_docs(FILE *f, Split split, int n_train, uint64_t *rng) {
    int names[N_NAMES * N_NAMES], n = 0;
    char id[40];
    for (int i = 0; i < N_NAMES * N_NAMES; i++)
        if (split_of(i) == split) names[n++] = i;
    int n_docs = split == TRAIN ? n_train : n;
    for (int i = 0; i < n_docs; i++) {
        int name = split == TRAIN ? names[rng_below(rng, n)] : names[i];
        snprintf(id, sizeof id, "p-%s-%d", split_names[split], i + 1);
        write_doc(f, id, name, rng);
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
    char path[1024];
    if (make_dir(dir) != 0 && errno != EEXIST) {
        snprintf(err, DATA_ERR, "%.400s: cannot make this folder: %s", dir, strerror(errno));
        return -1;
    }
    for (int split = TRAIN; split <= TEST; split++) {
        uint64_t rng = rng_next(&seed);                /* so n_train does not change the test */
        int len = snprintf(path, sizeof path, "%s/%s.jsonl", dir, split_names[split]);
        errno = len < (int)sizeof path ? 0 : ENAMETOOLONG;
        FILE *f = errno ? NULL : fopen(path, "wb");
        if (f) write_docs(f, (Split)split, n_train, &rng);
        int failed = !f || ferror(f);
        if (f && fclose(f) != 0) failed = 1;
        if (failed) {
            snprintf(err, DATA_ERR, "%.400s: cannot write: %s", path, strerror(errno));
            return -1;
        }
    }
    return 0;
}
