/* train.c - a program: corpus -> tokenizer -> LM -> MAC -> model file.
 *
 *   ./train --data data/wnnames --out model.safetensors
 *
 * Stage "lm" pretrains the base LM to read: to answer from a document in its context.  Stage "mac"
 * freezes it and trains everything else to answer from the memory.  Beside the best model there is
 * always the last state, FILE.last, from which --resume goes on to the very same bits. */
#include "data/data.h"
#include "data/file.h"
#include "data/program.h"
#include "data/system.h"
#include "mac.h"
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ==== options ================================================================================ */
/* What the command line says, or the resumed state: read once, before anything is trained. */
typedef struct {
    const char *data, *out, *lm;
    char last[1100];             /* of the last state: out.last */
    int resume;
    MacConfig sizes;             /* of the model to be made */
    int vocab, steps_lm, batch_lm, steps, docs, questions, warmup, cosine, alike, group, accumulate;
    int share_start, eval_every, eval_questions, threads;
    double enough, lr_lm, lr, clip, muon, decay, guidance, distill, drop, rename, made_names;
    double reanswer, made_answers, sharp, seed;
} Options;
static Options opt;

/* A row for each of the numbers above, in the order of --help and of FILE.last.  FIELD says where
 * it is and whether it is whole, so that a name that is no field does not compile. */
typedef struct {
    const char *name, *help;
    double first, least, most;   /* first: what it is when nothing is said */
    size_t offset;
    int whole;
} Option;
#define FIELD(name) offsetof(Options, name), _Generic(opt.name, int: 1, double: 0)
static const Option options[] = {
    {"vocab", "tokens of the tokenizer at most", 3072, 257, 65536, FIELD(vocab)},
    {"steps-lm", "steps of LM pretraining at most", 5000, 0, 1e9, FIELD(steps_lm)},
    {"enough", "share of valid's answers that the LM reads when its pretraining ends early",
     0.99, 0, 2, FIELD(enough)},
    {"batch-lm", "sequences per LM step", 32, 1, 4096, FIELD(batch_lm)},
    {"lr-lm", "learning rate of the LM", 4e-3, 0, 1, FIELD(lr_lm)},
    {"steps", "steps of meta-training", 8000, 0, 1e9, FIELD(steps)},
    {"docs", "documents of a step: a power of two", 64, 1, 4096, FIELD(docs)},
    {"questions", "questions per document at most", 8, 1, 64, FIELD(questions)},
    {"lr", "learning rate of meta-training", 2e-3, 0, 1, FIELD(lr)},
    {"warmup", "steps of linear warm-up, in both stages", 100, 0, 1e6, FIELD(warmup)},
    {"cosine", "1: the rates then fall to a hundredth along a cosine, 0: they stay", 1, 0, 1,
     FIELD(cosine)},
    {"clip", "largest norm of the gradient, 0: any", 1, 0, 1e9, FIELD(clip)},
    {"muon", "momentum of Muon's steps of matrices; 0: Adam for them too, as in the paper", 0.95, 0,
     0.9999, FIELD(muon)},
    {"decay", "weight decay (AdamW)", 0, 0, 1, FIELD(decay)},
    {"guidance", "weight of -log(the finder's attention on the right one of the step's documents)",
     0.2, 0, 100, FIELD(guidance)},
    {"distill", "weight of the prefix' distance from what the LM itself makes of the answer",
     1, 0, 100, FIELD(distill)},
    {"alike", "1: each answer counts the same, 0: each of its tokens, as in the paper", 1, 0, 1,
     FIELD(alike)},
    {"group", "documents to a bank that answers are read from: a power of two", 1, 1, 4096,
     FIELD(group)},
    {"drop", "share of docs without questions and gradient (backpropagation dropout)",
     0.5, 0, 0.99, FIELD(drop)},
    {"accumulate", "batches per step", 1, 1, 1024, FIELD(accumulate)},
    {"rename", "how often a training document gets another's name", 0.8, 0, 1, FIELD(rename)},
    {"made-names", "share of these names that is made up", 0.5, 0, 1, FIELD(made_names)},
    {"reanswer", "how often an answer becomes another of its relation", 0.8, 0, 1,
     FIELD(reanswer)},
    {"made-answers", "share of these answers that is made up", 0.3, 0, 1, FIELD(made_answers)},
    {"share-start", "1: at first encoders are alike, words pass unchanged, the prefix is the LM's",
     1, 0, 1, FIELD(share_start)},
    {"sharp", "factor of the finder's first queries and keys with --share-start", 8, 0, 100,
     FIELD(sharp)},
    {"eval-every", "steps between validations", 500, 1, 1e9, FIELD(eval_every)},
    {"eval-questions", "questions of a validation at most", 512, 1, 1e6, FIELD(eval_questions)},
    {"seed", "of everything random", 1, 0, 1e15, FIELD(seed)},
    {"threads", "threads", 2, 1, 64, FIELD(threads)},
    {NULL, NULL, 0, 0, 0, 0, 0}};

static double option_get(const Option *o) {
    const void *at = (const char *)&opt + o->offset;
    return o->whole ? *(const int *)at : *(const double *)at;
}

static void option_set(const Option *o, double x) {
    void *at = (char *)&opt + o->offset;
    if (o->whole) *(int *)at = (int)x;
    else *(double *)at = x;
}

/* The size of the model that f stands for; NULL where another size makes it. */
static int *size_of(const MacField *f) {
    if (!strcmp(f->name, "V") || !strcmp(f->name, "S")) return NULL;
    return (int *)(void *)((char *)&opt.sizes + f->offset);
}

static void help(void) {
    puts("usage: train --data DIR --out FILE.safetensors [--name value ...]\n"
         "       train --resume --out FILE.safetensors\n\n"
         "DIR holds train.jsonl and valid.jsonl (or .json as SQuAD, or .csv); see README.md.\n"
         "FILE gets the best model, FILE.last the last state, FILE.svg the curves.\n"
         "--lm MODEL takes that model's LM and tokenizer instead of pretraining one.\n");
    for (const Option *o = options; o->name; o++)
        printf("  --%-15s %-6g  %s\n", o->name, option_get(o), o->help);
    puts("\nSizes of the model:");
    for (const MacField *f = mac_fields; f->name; f++)
        if (size_of(f)) printf("  --%-15s %-6d  %s\n", f->name, *size_of(f), f->help);
    if (fflush(stdout) != 0 || ferror(stdout)) die("the help cannot be written");
    exit(0);
}

/* An option with a value: a path, a number, or a size of the model; the name of the last size. */
static void take(Args *a, const char **sized) {
    const Option *o = options;
    const MacField *f = mac_fields;
    const char *value = args_value(a);
    int whole;
    double x;
    if (args_is(a, "data")) { opt.data = value; return; }
    if (args_is(a, "out")) { opt.out = value; return; }
    if (args_is(a, "lm")) { opt.lm = value; return; }
    while (o->name && !args_is(a, o->name)) o++;
    while (f->name && !(args_is(a, f->name) && size_of(f))) f++;
    if (!o->name && !f->name) usage("there is no option %s", a->arg);
    whole = !o->name || o->whole;
    if (!is_number(value, o->name ? o->least : 0, o->name ? o->most : 1 << 20, &x)
        || (whole && x != (int)x))
        usage("the value of %.*s is no %snumber, or too small or too large", (int)a->n, a->arg,
              whole ? "whole " : "");
    if (o->name) option_set(o, x);
    else *size_of(f) = (int)x, *sized = a->arg;
}

static void power_of_two(const char *name, int n) {
    if (n & (n - 1)) usage("--%s must be a power of two", name);
}

static void parse(char **argv) {
    const char *sized = NULL;
    for (Args a = {.next = argv + 1}; args_next(&a);) {
        if (args_is_help(&a)) help();
        if (args_is_word(&a) || strncmp(a.arg, "--", 2)) usage("\"%s\" is not an option", a.arg);
        if (!strcmp(a.arg, "--resume")) opt.resume = 1;
        else take(&a, &sized);
    }
    if (!opt.out) usage("%s is missing", "--out");
    if ((size_t)snprintf(opt.last, sizeof opt.last, "%s.last", opt.out) >= sizeof opt.last)
        usage("--out has %zu characters: too many", strlen(opt.out));
    if (opt.resume && sized) usage("%s cannot change: the sizes are the resumed model's", sized);
    if (opt.resume && opt.lm) usage("%s cannot change: the LM is the resumed model's", "--lm");
    if (!opt.resume && !opt.data) usage("%s is missing", "--data");
}

/* ==== state ================================================================================== */
enum { STAGE_LM, STAGE_MAC };
/* What valid is asked with, each a line of the curve: the document in the context (gold), nothing,
 * banks of that many documents, of all.  The last is what the best model is chosen by. */
enum { GOLD = -1, NOTHING = 0, ALL = 1 << 30 };
static const struct { int docs; const char *name; } memories[] = {
    {GOLD, "gold"}, {NOTHING, "none"}, {1, "bank of 1"}, {16, "bank of 16"}, {ALL, "all"}};
#define MEMORIES 5
#define CURVE (5 + MEMORIES) /* of a point: stage, step, loss, answer, attention, EM each */

typedef struct {
    /* What is trained, and on what. */
    Corpus train, valid;
    Augment *aug;
    Tape *tape;
    Reader reader;           /* the tokenizer; ids lie in the tape */
    Model *model;
    Adam adam;
    /* How far it is.  Together with the model, its moments and the options this is FILE.last. */
    int stage, step;
    uint64_t rng;
    real loss, answer, mass; /* running means, as MacStats */
    real best;               /* best validation EM with all documents, -1: none yet */
    int select;              /* documents that answers are read from, as valid chose; 0: all */
    real *curve;             /* [n_curve][CURVE] */
    int n_curve;
    int drawn;               /* the curve as it is now; if not, it is tried again in the end */
    /* This process's part of the stage, for whoever watches. */
    double began, shown;     /* when it began; when its progress was shown last */
    long tokens;             /* that were read */
    int first;               /* the step at which it took the stage up */
} Training;

static volatile sig_atomic_t interrupted;
static void on_interrupt(int sig) { (void)sig; interrupted = 1; }

/* The files of a corpus may have any of the kinds that data/ reads. */
static void read_split(Corpus *c, const char *split, int needed) {
    static const char *const kinds[] = {".jsonl", ".json", ".csv"};
    for (int i = 0; i < 3; i++) {
        char path[1024];
        int n = snprintf(path, sizeof path, "%s/%s%s", opt.data, split, kinds[i]);
        if ((size_t)n >= sizeof path)
            die("--data has %zu characters: too many", strlen(opt.data));
        FILE *f = fopen(path, "rb");
        if (!f && errno == ENOENT) continue;
        if (f) fclose(f); /* else the reader says why */
        need_corpus(c, path, NULL);
        if (c->n_qas == 0) die("%s: there is no question in it", path);
        return;
    }
    if (needed) die("%s: there is no %s.jsonl, .json or .csv in it", opt.data, split);
}

static Tokenizer *make_tokenizer(const Corpus *c) {
    int n = 0, cap = c->n_docs + 2 * c->n_qas;
    const char **texts = need(malloc((size_t)cap * sizeof *texts));
    char **answers = need(calloc((size_t)c->n_qas, sizeof *answers));
    for (int i = 0; i < c->n_docs; i++) texts[n++] = c->docs[i].text;
    for (int i = 0; i < c->n_qas; i++) {
        size_t len = strlen(c->qas[i].target);
        answers[i] = need(malloc(len + 2));
        sprintf(answers[i], " %s", c->qas[i].target);
        texts[n++] = c->qas[i].q;
        texts[n++] = answers[i];
    }
    Tokenizer *tok = need(tok_train(texts, n, opt.vocab));
    for (int i = 0; i < c->n_qas; i++) free(answers[i]);
    free(answers), free(texts);
    return tok;
}

static const char *option_key(const Option *o) { /* in FILE.last; until the next one is asked for */
    static char key[64];
    snprintf(key, sizeof key, "opt.%s", o->name);
    return key;
}

/* ---- the last state: the model, Adam's moments, where we were, every option ---- */
static void put_number(StWriter *w, const char *key, double x) {
    char value[64];
    snprintf(value, sizeof value, "%.17g", x);
    st_add_meta(w, key, value);
}

static double get_number(StFile *f, const char *key, double least, double most) {
    double x;
    const char *value = st_meta(f, key);
    if (!value) die("%s: \"%s\" is missing: it was not written by train", opt.last, key);
    if (!is_number(value, least, most, &x))
        die("%s: \"%s\" is %.40s, no number from %g to %g", opt.last, key, value, least, most);
    return x;
}

/* Of documents and questions in their order: a resumed training should go on with the same. */
static void corpus_key(const Corpus *c, char key[17]) {
    uint64_t h = MAC_FNV;
    for (int i = 0; i < c->n_docs; i++)
        h = fnv1a(h, c->docs[i].text, strlen(c->docs[i].text) + 1);
    for (int i = 0; i < c->n_qas; i++) {
        h = fnv1a(h, c->qas[i].q, strlen(c->qas[i].q) + 1);
        h = fnv1a(h, c->qas[i].target, strlen(c->qas[i].target) + 1);
    }
    snprintf(key, 17, "%016llx", (unsigned long long)h);
}

static void check_corpus(const StFile *f, const char *name, const Corpus *c) {
    char key[17];
    const char *was = st_meta(f, name);
    corpus_key(c, key);
    if (was && strcmp(was, key))
        note("%s has other documents or questions than those of %s: training goes on with them",
             opt.data, name);
}

static void put_state(const Training *t, StWriter *w) {
    char rng[32], key[17];
    snprintf(rng, sizeof rng, "%016llx", (unsigned long long)t->rng);
    st_add_meta(w, "data", opt.data);
    corpus_key(&t->train, key);
    st_add_meta(w, "data.train", key);
    corpus_key(&t->valid, key);
    st_add_meta(w, "data.valid", key);
    st_add_meta(w, "state.rng", rng);
    put_number(w, "state.stage", t->stage);
    put_number(w, "state.step", t->step);
    put_number(w, "state.loss", t->loss);
    put_number(w, "state.answer", t->answer);
    put_number(w, "state.mass", t->mass);
    put_number(w, "state.best", t->best);
    put_number(w, "state.adam", t->adam.step);
    for (const Option *o = options; o->name; o++) put_number(w, option_key(o), option_get(o));
    st_add(w, "curve", t->curve, 2, (int[]){t->n_curve, CURVE});
}

/* The model as it is now, with its tokenizer; into FILE.last with all that --resume needs. */
static void save(const Training *t, const char *path, int with_state) {
    char err[MAC_ERR], *dump = need(tok_dump(t->reader.tok));
    StWriter *w = need(st_new());
    model_save(t->model, w, with_state);
    st_add_meta(w, "tokenizer", dump);
    if (t->select) put_number(w, "select", t->select);
    if (with_state) put_state(t, w);
    if (st_write(w, path, err) != 0) die("%s", err);
    free(dump);
}

static void save_model(const Training *t) { save(t, opt.out, 0); }
static void save_last(const Training *t) { save(t, opt.last, 1); }

/* Options and tokenizer of the last state; main parses again, for options that are given anew. */
static StFile *resume_open(Training *t) {
    char err[MAC_ERR];
    StFile *f = st_open(opt.last, err);
    if (!f) die("nothing to resume: %s", err);
    const char *dir = st_meta(f, "data"), *dump = st_meta(f, "tokenizer");
    if (!dir || !dump) die("%s: was not written by train", opt.last);
    if (!opt.data) opt.data = need_copy(dir);
    for (const Option *o = options; o->name; o++)
        option_set(o, get_number(f, option_key(o), o->least, o->most));
    t->reader.tok = tok_load(dump, err);
    if (!t->reader.tok) die("%s: %s", opt.last, err);
    return f;
}

/* What a stage does not train has no gradient: no weight decay either. */
static void freeze(Training *t) {
    if (param_freeze(&t->model->ps, "", t->stage == STAGE_LM) != 0
        || param_freeze(&t->model->ps, "base_lm.", t->stage != STAGE_LM) != 0)
        die("out of memory");
}

static void resume_curve(Training *t, StFile *f) {
    char err[MAC_ERR];
    int64_t n = st_size(f, "curve");
    if (n < 0 || n % CURVE) die("%s: was not written by train", opt.last);
    t->n_curve = (int)(n / CURVE);
    t->curve = need(malloc((size_t)(n + 1) * sizeof(real)));
    if (st_read(f, "curve", t->curve, n, err) != 0) die("%s", err);
    for (int64_t i = 0; i < n; i++) {
        int is_stage = i % CURVE == 0;
        real x = t->curve[i];
        if (!(x >= (is_stage ? 0 : -1e38f) && x <= (is_stage ? STAGE_MAC : 1e38f)))
            die("%s: point %d of its curve is none", opt.last, (int)(i / CURVE) + 1);
    }
}

static void resume_state(Training *t, StFile *f) {
    char err[MAC_ERR];
    const char *rng = st_meta(f, "state.rng"), *select = st_meta(f, "select");
    t->model = model_load(f, err);
    if (!t->model) die("%s", err);
    check_corpus(f, "data.train", &t->train);
    check_corpus(f, "data.valid", &t->valid);
    t->stage = (int)get_number(f, "state.stage", 0, 1);
    t->step = (int)get_number(f, "state.step", 0, 1e9);
    t->loss = (real)get_number(f, "state.loss", -1e38, 1e38);
    t->answer = (real)get_number(f, "state.answer", -1e38, 1e38);
    t->mass = (real)get_number(f, "state.mass", -1e38, 1e38);
    t->best = (real)get_number(f, "state.best", -1, 1);
    const MacConfig *c = &t->model->c;
    if (!rng || c->P + c->D + c->Q + c->A > c->S) die("%s: was not written by train", opt.last);
    t->rng = strtoull(rng, NULL, 16);
    freeze(t);
    resume_curve(t, f);
    if (params_load(&t->model->ps, f, 1, err) != 0) die("%s", err);
    t->adam.step = (int)get_number(f, "state.adam", 0, INT_MAX);
    t->select = select ? (int)get_number(f, "select", 0, 1e9) : 0;
    st_close(f);
}

/* ==== progress =============================================================================== */
/* At the beginning of the terminal's line, which is empty then. */
static void put_bar(int step, int steps) {
    char bar[21] = "....................";
    memset(bar, '#', (size_t)(20 * (int64_t)step / (steps ? steps : 1)));
    fprintf(stderr, "\r\033[K[%s] ", bar);
}

static void progress(Training *t, const char *stage, int steps) {
    double now = mac_seconds(), took = now - t->began;
    if (now - t->shown < (mac_terminal(2) ? 0.2 : 1.9)) return;
    t->shown = now;
    int done = t->step - t->first;
    double left = done > 0 ? took / done * (steps - t->step) : 0;
    if (mac_terminal(2)) put_bar(t->step, steps);
    fprintf(stderr, "%s %d/%d  loss %.3f", stage, t->step, steps, (double)t->loss);
    if (t->stage == STAGE_MAC)
        fprintf(stderr, "  answer %.3f  attention %.2f", (double)t->answer, (double)t->mass);
    if (t->best >= 0) fprintf(stderr, "  best EM %.3f", (double)t->best);
    fprintf(stderr, "  %.0f tokens/s  %d:%02d left%s", (double)t->tokens / (took + 1e-9),
            (int)left / 60, (int)left % 60, mac_terminal(2) ? "" : "\n");
    fflush(stderr);
}

static void curve_add(Training *t, const real *em) {
    size_t point_n = CURVE * sizeof(real);
    t->curve = need(realloc(t->curve, (size_t)(t->n_curve + 1) * point_n));
    real point[CURVE] = {(real)t->stage, (real)t->step, t->loss, t->answer, t->mass};
    memcpy(point + CURVE - MEMORIES, em, MEMORIES * sizeof *em);
    memcpy(t->curve + CURVE * t->n_curve++, point, point_n);
}

/* FILE.svg: of the last stage that has points, against the step. */
static void curve_draw(Training *t) {
    static const char *const name[] = {"loss", "loss of answers", "attention, right one"};
    int all = t->n_curve, stage = all ? (int)t->curve[CURVE * (all - 1)] : 0, n = 0;
    double *at = need(malloc((size_t)(all + 1) * CURVE * sizeof *at));
    SvgLine line[2 + MEMORIES];
    char path[1100], err[MAC_ERR];
    for (int i = 0; i < all; i++) {
        const real *p = t->curve + CURVE * i;
        if ((int)p[0] != stage) continue;
        for (int k = 1; k < CURVE; k++) at[k * all + n] = (double)p[k];
        n++;
    }
    int first = stage == STAGE_MAC, lines = first ? 2 + MEMORIES : 1; /* without the guidance */
    for (int i = 0, k = first; i < lines; i++, k++)
        line[i] = (SvgLine){k < 3 ? name[k] : memories[k - 3].name, at + all, at + (k + 2) * all,
                            n, k >= 2};
    snprintf(path, sizeof path, "%s.svg", opt.out);
    const char *title = stage == STAGE_LM ? "LM pretraining" : "meta-training";
    t->drawn = n < 2 || svg_lines(path, title, "step", "loss", line, lines, err) == 0;
    if (!t->drawn) note("train: %s", err);
    free(at);
}

/* ==== batches ================================================================================ */
/* A training document, perhaps renamed and re-answered.  Half of the time the name that is drawn
 * becomes a namesake of `like`, the name of another document, if there is one: among names drawn
 * alone, a first name is enough to find a person. */
static void draw(Training *t, const char *like, AugDoc *out) {
    char room[256], shared[256];
    int doc = rng_below(&t->rng, t->train.n_docs);
    const char *name = aug_name(t->aug, opt.made_names, &t->rng, room, sizeof room);
    if (like && rng_below(&t->rng, 2))
        name = aug_namesake(name, like, &t->rng, shared, sizeof shared);
    if (aug_draw(t->aug, doc, name, opt.rename, opt.reanswer, opt.made_answers, &t->rng, out) != 0)
        die("out of memory");
    aug_careless(out, &t->rng);
}

/* One LM sequence.  kind 0: a question and its answer alone; kind 1: after their document, every
 * token counted; else the document and as many of its questions as the window holds, one after the
 * other, only their answers counted, for that is what reading means. */
static Ids lm_sequence(Training *t, const AugDoc *d, int kind, char *asked) {
    int first = rng_below(&t->rng, d->n), most = kind > 1 ? d->n : 1;
    int room = t->model->c.S - t->model->c.P;
    Ids x = {NULL, 0};
    if (kind > 0) x = reader_document(&t->reader, d->text);
    for (int k = 0; k < d->n && k < most; k++) {
        int i = (first + k) % d->n;
        Ids q = reader_question(&t->reader, d->q[i]);
        Ids a = reader_answer(&t->reader, d->a[i]);
        if (x.n + q.n + a.n > room) break;
        x = reader_joined(&t->reader, x, q);
        memset(asked + x.n, 1, (size_t)a.n);
        x = reader_joined(&t->reader, x, a);
    }
    if (kind < 2) memset(asked, 1, (size_t)x.n);
    return x;
}

static Tensor *lm_batch_loss(Training *t) {
    int B = opt.batch_lm;
    Ids *x = reader_room(&t->reader, B, sizeof *x);
    char **asked = reader_room(&t->reader, B, sizeof *asked);
    for (int b = 0; b < B; b++) {
        AugDoc d;
        for (draw(t, NULL, &d); d.n == 0; draw(t, NULL, &d)) aug_drop(&d);
        asked[b] = reader_room(&t->reader, t->model->c.S, 1);
        int kind = rng_below(&t->rng, 8);
        x[b] = lm_sequence(t, &d, kind, asked[b]);
        t->tokens += x[b].n;
        aug_drop(&d);
    }
    return lm_loss(t->model, t->tape, x, (const char *const *)asked, B, NULL, 1);
}

/* Documents whose names are not in the batch yet: in one bank a name must mean one document.  In a
 * corpus that has few names, one is taken again in the end. */
static void draw_batch(Training *t, AugDoc *d, int n, int asked) {
    for (int i = 0; i < n; i++) {
        int again = 1;
        for (int tries = 0; again; tries++) {
            draw(t, i ? d[rng_below(&t->rng, i)].title : NULL, &d[i]);
            again = i < asked && d[i].n == 0;
            for (int j = 0; j < i && !again && tries < 50; j++)
                again = !strcmp(d[j].title, d[i].title);
            if (again) aug_drop(&d[i]);
        }
    }
}

/* The size of this step's banks: half of the time --group, else any power of two up to it, so that
 * answers are learned from small banks first. */
static int draw_group(Training *t) {
    int powers = 0, pick = rng_below(&t->rng, 2);
    while (1 << (powers + 1) <= opt.group) powers++;
    int other = rng_below(&t->rng, powers + 1);
    return pick ? opt.group : 1 << other;
}

/* What a step of meta-training reads: documents, and questions, each with its answer after it. */
typedef struct { Ids *docs, *q, *qa; int *doc, n_q; } Texts;

/* Document i, and some of its questions: neighbours, none twice. */
static void read_document(Training *t, Texts *x, int i, const AugDoc *d, int most) {
    x->docs[i] = reader_document(&t->reader, d->text);
    t->tokens += x->docs[i].n;
    int first = d->n ? rng_below(&t->rng, d->n) : 0;
    for (int k = 0; k < most && k < d->n; k++) {
        int pick = (first + k) % d->n;
        Ids q = reader_question(&t->reader, d->q[pick]);
        Ids a = reader_answer(&t->reader, d->a[pick]);
        x->q[x->n_q] = q;
        x->qa[x->n_q] = reader_joined(&t->reader, q, a);
        t->tokens += q.n + x->qa[x->n_q].n;
        x->doc[x->n_q++] = i;
    }
}

static Tensor *mac_batch_loss(Training *t, MacStats *stats) {
    int n_grad = opt.docs - (int)(opt.docs * opt.drop), n = 1;
    int others = opt.guidance > 0 || opt.group > 1; /* does anybody see those without gradient? */
    while (n < (others ? opt.docs : n_grad) || n < opt.group) n *= 2;
    int most = n_grad * opt.questions;
    AugDoc *d = need(calloc((size_t)n, sizeof *d));
    Texts x = {.docs = reader_room(&t->reader, n, sizeof *x.docs),
               .q = reader_room(&t->reader, most, sizeof *x.q),
               .qa = reader_room(&t->reader, most, sizeof *x.qa),
               .doc = reader_room(&t->reader, most, sizeof *x.doc)};
    draw_batch(t, d, n, n_grad);
    for (int i = 0; i < n; i++) {
        read_document(t, &x, i, &d[i], i < n_grad ? opt.questions : 0);
        aug_drop(&d[i]);
    }
    free(d);
    MacBatch b = {.docs = x.docs, .n_docs = n, .n_grad = n_grad, .q = x.q, .qa = x.qa,
                  .n_q = x.n_q, .doc = x.doc, .bank_size = draw_group(t), .alike = opt.alike,
                  .guidance = (real)opt.guidance, .distill = (real)opt.distill};
    return mac_loss(t->model, t->tape, &b, stats);
}

/* ==== validation ============================================================================= */
static int common_divisor(int a, int b) { return b ? common_divisor(b, a % b) : a; }

/* i * spread(n) % n takes every value below n once, and neighbours, which are alike, far apart. */
static int spread(int n) {
    int step = n > 1 ? (n * 2 + 2) / 3 : 1;
    while (n > 1 && common_divisor(step, n) > 1) step++;
    return step;
}

/* Exact match, token by token, of greedy answers to valid's questions about n_docs documents: how
 * many hits, and of how many that were asked. */
static int validate_bank(Training *t, int first, int n_docs, int memory, int *asked, int most) {
    const MacConfig *c = &t->model->c;
    int hits = 0, cap = c->A, n_q = 0, at = 0;
    tape_reset(t->tape);
    tape_record(t->tape, 0);
    for (int i = first; i < first + n_docs; i++) n_q += t->valid.docs[i].n_qas;
    Ids *docs = reader_room(&t->reader, n_docs, sizeof *docs);
    Ids *q = reader_room(&t->reader, 3 * n_q, sizeof *q);
    Ids *want = q + n_q, *context = want + n_q;
    int *out = reader_room(&t->reader, n_q * cap, sizeof *out);
    int *n = reader_room(&t->reader, n_q, sizeof *n);
    for (int k = 0; k < n_docs; k++) {
        int i = (int)((int64_t)k * spread(n_docs) % n_docs);
        const Doc *d = &t->valid.docs[first + i];
        docs[i] = reader_document(&t->reader, d->text);
        for (int j = 0; j < d->n_qas && at < most; j++) {
            const Qa *qa = &t->valid.qas[d->qas[j]];
            q[at] = reader_question(&t->reader, qa->q);
            want[at] = reader_answer(&t->reader, qa->target);
            context[at++] = docs[i];
        }
    }
    Tensor *phi = memory > 0 ? mac_encode(t->model, t->tape, docs, n_docs) : NULL;
    Bank bank = {.K = n_docs, .T = c->T, .d = c->d, .phi = phi ? phi->data : NULL};
    AnswerOptions o = {.context = memory == GOLD ? context : NULL, .select = t->select};
    if ((memory > 0 && !phi)
        || (at && mac_answer(t->model, t->tape, q, at, phi ? &bank : NULL, cap, out, n, &o) != 0))
        die("validation: %s", tape_error(t->tape));
    for (int i = 0; i < at; i++)
        hits +=
            n[i] == want[i].n - 1 && !memcmp(out + i * cap, want[i].id, (size_t)n[i] * sizeof *out);
    tape_record(t->tape, 1);
    *asked = at;
    return hits;
}

static real validate(Training *t, int memory) {
    int all = t->valid.n_docs, want = memory < 1 ? 16 : memory, K = want < all ? want : all;
    int hits = 0, asked = 0, banks = K ? all / K : 0;
    for (int i = 0; i < banks && asked < opt.eval_questions; i++) {
        int more, bank = (int)((int64_t)i * spread(banks) % banks);
        hits += validate_bank(t, bank * K, K, memory, &more, opt.eval_questions - asked);
        asked += more;
    }
    return asked ? (real)hits / (real)asked : 0;
}

/* How many documents answers are best read from, 0: all; the EM with all in the bank.  The earlier
 * of the tries where two are as good. */
static int best_select(Training *t, real *em) {
    static const int tries[] = {0, 1, 2, 4};
    int best = 0;
    *em = -1;
    for (int i = 0; i < 4; i++) {
        t->select = tries[i];
        real is = validate(t, ALL);
        if (is > *em) *em = is, best = tries[i];
    }
    return best;
}

/* ==== training =============================================================================== */
/* A running mean.  What is not finite is left out, as its step is. */
static void follow(real *mean, real x, real rate) {
    if (x - x == 0) *mean += (x - *mean) * rate;
}

static void step_lm(Training *t) {
    tape_reset(t->tape);
    Tensor *loss = lm_batch_loss(t);
    if (tape_backward(t->tape, loss) != 0) die("step %d: %s", t->step, tape_error(t->tape));
    follow(&t->loss, loss->data[0], t->step == 0 ? 1 : (real)0.02);
}

static void step_mac(Training *t) {
    int parts = opt.accumulate;
    real rate = t->step == 0 ? 1 : (real)0.02;
    for (int i = 0; i < parts; i++) {
        MacStats s;
        tape_reset(t->tape);
        Tensor *loss = mac_batch_loss(t, &s);
        if (parts > 1) loss = op_add(t->tape, tape_tensor(t->tape, 1, 1), loss, 1 / (real)parts);
        if (tape_backward(t->tape, loss) != 0) die("step %d: %s", t->step, tape_error(t->tape));
        follow(&t->loss, s.loss, rate);
        follow(&t->answer, s.answer, rate);
        follow(&t->mass, s.mass, rate);
    }
}

/* Validates, and keeps the model where none before it was better.  1: the stage ends here, for the
 * LM reads well enough. */
static int checkpoint(Training *t, const char *stage, int steps) {
    real em[MEMORIES] = {0}, *all = &em[MEMORIES - 1];
    int asked = t->stage == STAGE_LM ? 1 : MEMORIES; /* an LM can only be asked for the gold */
    if (asked > 1) t->select = best_select(t, all);
    fprintf(stderr, "%s%s %d/%d  loss %.3f  EM on valid:", mac_terminal(2) ? "\r\033[K" : "", stage,
            t->step, steps, (double)t->loss);
    for (int i = 0; i < asked; i++) {
        if (memories[i].docs != ALL) em[i] = validate(t, memories[i].docs);
        fprintf(stderr, "  %s %.3f", memories[i].name, (double)em[i]);
    }
    if (t->select) fprintf(stderr, "  select %d", t->select);
    fputc('\n', stderr);
    curve_add(t, em);
    if (t->stage == STAGE_LM) return em[0] >= (real)opt.enough;
    if (*all >= t->best || t->valid.n_qas == 0) {
        t->best = *all;
        save_model(t);
    }
    return 0;
}

static void stop(const Training *t, const char *stage) {
    save_last(t);
    fputs("\n", stderr);
    note("stopped at step %d of stage %s; to go on: ./train --resume --out %s", t->step, stage,
         opt.out);
    exit(130);
}

static void run_stage(Training *t, const char *name, int steps, double lr,
                      void (*one_step)(Training *)) {
    t->adam.clip = (real)opt.clip;
    t->adam.decay = (real)opt.decay;
    t->adam.muon = (real)opt.muon;
    t->began = mac_seconds();
    t->shown = 0;
    t->tokens = 0;
    t->first = t->step;
    while (t->step < steps) {
        t->adam.lr = lr_schedule(opt.cosine ? LR_COSINE : LR_CONSTANT, (real)lr, t->step,
                                 opt.warmup, steps);
        one_step(t);
        real norm = adam_step(&t->model->ps, &t->adam);
        if (!(norm == norm))
            note("%s %d: the gradient is not finite, step left out", name, t->step);
        t->step++;
        if (t->step % opt.eval_every == 0 || t->step == steps) {
            if (checkpoint(t, name, steps)) t->step = steps; /* so it is saved: none are left */
            save_last(t);
            curve_draw(t);
        } else progress(t, name, steps);
        if (interrupted) stop(t, name);
    }
}

/* From here on the LM is frozen, and what surrounds it has its start. */
static void start_mac(Training *t) {
    t->stage = STAGE_MAC;
    freeze(t);
    if (opt.share_start) model_share_start(t->model, (real)opt.sharp);
    t->step = 0;
    t->loss = t->answer = t->mass = 0;
    t->best = -1;
    t->adam = adam_default(0);
}

/* The model of --lm, whose tokenizer becomes ours. */
static Model *open_lm(Tokenizer **tok) {
    char err[MAC_ERR];
    StFile *f = need_file(opt.lm);
    Model *from = model_load(f, err);
    if (!from) die("%s", err);
    *tok = tokenizer_of(f, from->c.V, err);
    if (!*tok) die("%s", err);
    st_close(f);
    return from;
}

static void start(Training *t) {
    char err[MAC_ERR];
    MacConfig c = opt.sizes;
    Model *from = opt.lm ? open_lm(&t->reader.tok) : NULL;
    if (from) c.d = from->c.d, c.L = from->c.L, c.H = from->c.H;
    else t->reader.tok = make_tokenizer(&t->train);
    c.V = tok_size(t->reader.tok);
    c.S = c.P + c.D + c.Q + c.A;
    if (mac_config_check(&c, err) != 0) die("%s", err);
    if (from && c.S != from->c.S)
        die("%s: P + D + Q + A is %d in it, not %d", opt.lm, from->c.S, c.S);
    t->model = need(model_new(&c, (uint64_t)opt.seed));
    t->rng = (uint64_t)opt.seed + 1;
    t->best = -1;
    freeze(t);
    if (!from) return;
    model_copy_lm(t->model, from);
    model_free(from);
    t->step = opt.steps_lm; /* it has been pretrained */
}

/* Whoever cannot write should hear of it now.  The state of an earlier training is only replaced
 * when this one has something to keep. */
static void save_first(const Training *t) {
    char err[MAC_ERR];
    FILE *f = fopen(opt.last, "rb");
    if (opt.resume || (!f && errno == ENOENT)) save_last(t);
    else {
        StWriter *w = st_new();
        if (st_begin(w, opt.last, err) != 0) die("%s", err);
        st_abort(w);
        note("%s holds an earlier training, and does until this one is first validated", opt.last);
    }
    if (f) fclose(f);
}

/* ==== the gate =============================================================================== */
#define STRANGERS 256
#define GATE_DOCS 512 /* of valid, at most */

/* Documents of c, n of them spread over it. */
static Ids *spread_documents(Training *t, const Corpus *c, int n) {
    Ids *x = reader_room(&t->reader, n, sizeof *x);
    for (int i = 0; i < n; i++)
        x[i] = reader_document(&t->reader, c->docs[(int64_t)i * c->n_docs / n].text);
    return x;
}

static void fit_gate(Training *t) {
    const Corpus *c = &t->valid;
    int n = c->n_docs < GATE_DOCS ? c->n_docs : GATE_DOCS;
    int R = t->train.n_docs < STRANGERS ? t->train.n_docs : STRANGERS;
    tape_reset(t->tape);
    Ids *q = reader_room(&t->reader, c->n_qas, sizeof *q);
    int *doc = reader_room(&t->reader, c->n_qas, sizeof *doc), n_q = 0;
    for (int i = 0; i < n; i++) {
        const Doc *d = &c->docs[(int64_t)i * c->n_docs / n];
        for (int k = 0; k < d->n_qas && k < opt.questions; k++, n_q++) {
            q[n_q] = reader_question(&t->reader, c->qas[d->qas[k]].q);
            doc[n_q] = i;
        }
    }
    MacBatch b = {.docs = spread_documents(t, c, n), .n_docs = n, .q = q, .n_q = n_q, .doc = doc};
    if (mac_gate(t->model, t->tape, spread_documents(t, &t->train, R), R, &b) != 0)
        die("the gate: %s", tape_error(t->tape));
}

/* The best model is read again and gets its gate.  So a finished training that is resumed gives one
 * to a model of an older version. */
static void add_gate(Training *t) {
    char err[MAC_ERR];
    if (t->valid.n_docs < 2 || t->valid.n_qas < 2) return;
    StFile *f = need_file(opt.out);
    model_free(t->model);
    t->model = model_load(f, err);
    if (!t->model) die("%s", err);
    t->select = st_meta(f, "select") ? (int)get_number(f, "select", 0, 1e9) : 0;
    st_close(f);
    fit_gate(t);
    save_model(t);
}

static void report(const Training *t) {
    const Params *ps = &t->model->ps;
    note("%d documents and %d questions to train on, %d and %d to validate", t->train.n_docs,
         t->train.n_qas, t->valid.n_docs, t->valid.n_qas);
    note("vocabulary %d, %zu weights, %zu of them the LM's; seed %.0f, %d threads", t->model->c.V,
         param_count(ps, ""), param_count(ps, "base_lm."), opt.seed, opt.threads);
    if (!t->valid.n_qas) note("%s has nothing to validate with: the last model is kept", opt.data);
}

/* Reads the command line and whatever it names, as far as to the first step. */
static void open_all(Training *t, char **argv) {
    char err[MAC_ERR];
    char busy[sizeof opt.last + 1]; /* never written: who has locked it alone trains to FILE */
    opt.sizes = mac_config_default();
    for (const Option *o = options; o->name; o++) option_set(o, o->first);
    parse(argv);
    t->adam = adam_default(0);
    snprintf(busy, sizeof busy, "%s.train", opt.out);
    if (file_lock(busy, err) != 0) die("%s", err);
    StFile *last = opt.resume ? resume_open(t) : NULL;
    double muon = opt.muon;
    if (opt.resume) parse(argv);
    if (opt.resume && opt.muon != muon)
        usage("%s cannot change: the moments are the resumed optimizer's", "--muon");
    power_of_two("docs", opt.docs);
    power_of_two("group", opt.group);
    read_split(&t->train, "train", 1);
    read_split(&t->valid, "valid", 0);
    t->aug = need(aug_new(&t->train));
    t->tape = need(tape_new(0));
    if (last) resume_state(t, last);
    else start(t);
    const MacConfig *c = &t->model->c;
    t->reader = (Reader){t->reader.tok, c->D, c->Q, c->A, t->tape, tape_alloc, 0};
    pool_start(opt.threads);
}

int main(int argc, char **argv) {
    static Training t;
    (void)argc;
    program_begin("train");
    open_all(&t, argv);
    save_first(&t);
    report(&t);
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    if (t.stage == STAGE_LM) {
        run_stage(&t, "lm", opt.steps_lm, opt.lr_lm, step_lm);
        start_mac(&t);
    }
    run_stage(&t, "mac", opt.steps, opt.lr, step_mac);
    if (t.best < 0) save_model(&t); /* untrained but for its LM: for --lm */
    else add_gate(&t);
    if (t.reader.cut)
        note("%d times a text was longer than D, Q or A tokens and cut", t.reader.cut);
    if (!t.drawn) curve_draw(&t);
    note("best model: %s; peak memory %.0f MB", opt.out, (double)mac_peak_memory() / 1e6);
    if (t.drawn) note("how losses and EM went: %s.svg", opt.out);
    return !t.drawn;
}
