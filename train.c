/* train.c - a program: corpus -> tokenizer -> LM -> MAC -> model file.
 *
 *   ./train --data data/wnnames --out model.safetensors
 *
 * Stage "lm" pretrains the base LM to read: to answer from a document in its context.  Stage "mac"
 * freezes it and trains everything else to answer from the memory.  Beside the best model there is
 * always the last state, FILE.last, from which --resume goes on to the very same bits. */
#include "data/data.h"
#include "data/file.h"
#include "data/json.h"
#include "data/system.h"
#include "mac.h"
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One visible line, whatever a file or a name had in it. */
static void tell(const char *before, const char *format, va_list args, const char *after) {
    char line[2048];
    vsnprintf(line, sizeof line, format, args);
    plain_line(line);
    fprintf(stderr, "%s%s%s\n", before, line, after);
}

static void note(const char *format, ...) {
    va_list args;
    va_start(args, format);
    tell("", format, args, "");
    va_end(args);
}

static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    tell("train: ", format, args, "");
    va_end(args);
    exit(1);
}

static void *need(void *p) {
    if (!p) die("out of memory");
    return p;
}

/* ==== options ================================================================================ */
typedef struct { const char *name, *help; double value, least, most; } Option;
static Option options[] = {
    {"vocab", "tokens of the tokenizer at most", 3072, 257, 65536},
    {"steps-lm", "steps of LM pretraining at most", 5000, 0, 1e9},
    {"enough", "share of valid's answers that the LM reads when its pretraining ends early",
     0.99, 0, 2},
    {"batch-lm", "sequences per LM step", 32, 1, 4096},
    {"lr-lm", "learning rate of the LM", 4e-3, 0, 1},
    {"steps", "steps of meta-training", 8000, 0, 1e9},
    {"docs", "documents of a step: a power of two", 64, 1, 4096},
    {"questions", "questions per document at most", 8, 1, 64},
    {"lr", "learning rate of meta-training", 2e-3, 0, 1},
    {"warmup", "steps of linear warm-up, in both stages", 100, 0, 1e6},
    {"cosine", "1: the rates then fall to a hundredth along a cosine, 0: they stay", 1, 0, 1},
    {"clip", "largest norm of the gradient, 0: any", 1, 0, 1e9},
    {"muon", "momentum of Muon's steps of matrices; 0: Adam for them too, as in the paper", 0.95, 0,
     0.9999},
    {"decay", "weight decay (AdamW)", 0, 0, 1},
    {"guidance", "weight of -log(the finder's attention on the right one of the step's documents)",
     0.1, 0, 100},
    {"distill", "weight of the prefix' distance from what the LM itself makes of the document", 1, 0,
     100},
    {"alike", "1: each answer counts the same, 0: each of its tokens, as in the paper", 1, 0, 1},
    {"group", "documents to a bank that answers are read from: a power of two", 1, 1, 4096},
    {"drop", "share of docs without questions and gradient (backpropagation dropout)",
     0.5, 0, 0.99},
    {"accumulate", "batches per step", 1, 1, 1024},
    {"rename", "how often a training document gets another's name", 0.8, 0, 1},
    {"made-names", "share of these names that is made up", 0.5, 0, 1},
    {"reanswer", "how often an answer becomes another of its relation", 0.8, 0, 1},
    {"made-answers", "share of these answers that is made up", 0.3, 0, 1},
    {"share-start", "1: question encoder = document encoder, embeddings = the LM's, at first",
     1, 0, 1},
    {"sharp", "factor of the finder's first queries and keys with --share-start", 8, 0, 100},
    {"eval-every", "steps between validations", 500, 1, 1e9},
    {"eval-questions", "questions of a validation at most", 512, 1, 1e6},
    {"seed", "of everything random", 1, 0, 1e15},
    {"threads", "threads", 2, 1, 64},
    {NULL, NULL, 0, 0, 0}};

static MacConfig config;
static const char *data_dir, *out_path, *lm_path;
static char last_path[1100]; /* of the last state: out_path.last */
static int resume;

static Option *option_find(const char *name) {
    for (Option *o = options; o->name; o++)
        if (!strcmp(o->name, name)) return o;
    return NULL;
}

static double opt(const char *name) { return option_find(name)->value; }
static int opt_int(const char *name) { return (int)opt(name); }

static int *size_find(const char *name) { /* of the model: --d 64 */
    for (const MacField *f = mac_fields; f->name; f++)
        if (!strcmp(f->name, name) && strcmp(name, "V") && strcmp(name, "S"))
            return (int *)(void *)((char *)&config + f->offset);
    return NULL;
}

static void help(void) {
    puts("usage: train --data DIR --out FILE.safetensors [--name value ...]\n"
         "       train --resume --out FILE.safetensors\n\n"
         "DIR holds train.jsonl and valid.jsonl (or .json as SQuAD, or .csv); see README.md.\n"
         "FILE gets the best model, FILE.last the last state, FILE.svg the curves.\n"
         "--lm MODEL takes that model's LM and tokenizer instead of pretraining one.\n");
    for (const Option *o = options; o->name; o++)
        printf("  --%-15s %-6g  %s\n", o->name, o->value, o->help);
    puts("\nSizes of the model:");
    for (const MacField *f = mac_fields; f->name; f++)
        if (size_find(f->name))
            printf("  --%-15s %-6d  %s\n", f->name, *size_find(f->name), f->help);
}

static void usage(const char *format, ...) {
    va_list args;
    va_start(args, format);
    tell("train: ", format, args, "; see train --help");
    va_end(args);
    exit(2);
}

static void power_of_two(const char *name) {
    if (opt_int(name) & (opt_int(name) - 1)) usage("--%s must be a power of two", name);
}

static int is_number(const char *text, double least, double most, double *x) {
    char *end;
    *x = strtod(text, &end);
    return !*end && end != text && *x >= least && *x <= most; /* NaN is not */
}

static void parse(int argc, char **argv) {
    const char *sized = NULL;
    for (int i = 1; i < argc; i++) {
        char *name = argv[i], *value = strchr(name, '=');
        if (!strcmp(name, "--help") || !strcmp(name, "-h")) {
            help();
            if (fflush(stdout) != 0 || ferror(stdout)) die("the help cannot be written");
            exit(0);
        }
        if (!strcmp(name, "--resume")) { resume = 1; continue; }
        if (strncmp(name, "--", 2)) usage("\"%s\" is not an option", name);
        char key[32];
        snprintf(key, sizeof key, "%.*s", value ? (int)(value - name) : 31, name);
        if (value) value++;
        else if (!(value = argv[++i])) usage("%s needs a value", name);
        if (!strcmp(key, "--data")) { data_dir = value; continue; }
        if (!strcmp(key, "--out")) { out_path = value; continue; }
        if (!strcmp(key, "--lm")) { lm_path = value; continue; }
        Option *o = option_find(key + 2);
        int *size = size_find(key + 2);
        double x;
        if (!o && !size) usage("there is no option %s", name);
        if (!is_number(value, o ? o->least : 0, o ? o->most : 1 << 20, &x))
            usage("the value of %s is no number, or too small or too large", key);
        if (o) o->value = x;
        else *size = (int)x, sized = name;
    }
    if (!out_path) usage("%s is missing", "--out");
    if ((size_t)snprintf(last_path, sizeof last_path, "%s.last", out_path) >= sizeof last_path)
        usage("--out has %zu characters: too many", strlen(out_path));
    if (resume && sized) usage("%s cannot change: the sizes are the resumed model's", sized);
    if (!resume && !data_dir) usage("%s is missing", "--data");
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
    int stage, step;
    uint64_t rng;
    real loss, answer, mass; /* running means, as MacStats */
    real best;               /* best validation EM with all documents, -1: none yet */
    int select;              /* documents that answers are read from, as valid chose; 0: all */
    real *curve;             /* [n_curve][CURVE] */
    int n_curve;
} State;

static Corpus train_set, valid_set;
static Tokenizer *tok;
static Augment *aug;
static Model *model;
static Tape *tape;
static Adam adam;
static State state;
static int n_cut;            /* how often a document, question or answer was too long */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig) { (void)sig; interrupted = 1; }

/* The files of a corpus may have any of the kinds that data/ reads. */
static void read_split(Corpus *c, const char *split, int needed) {
    static const char *const kinds[] = {".jsonl", ".json", ".csv"};
    for (int i = 0; i < 3; i++) {
        char path[1024], err[MAC_ERR];
        int n = snprintf(path, sizeof path, "%s/%s%s", data_dir, split, kinds[i]);
        if ((size_t)n >= sizeof path)
            die("--data has %zu characters: too many", strlen(data_dir));
        FILE *f = fopen(path, "rb");
        if (!f && errno == ENOENT) continue;
        if (f) fclose(f); /* else the reader says why */
        if (corpus_read(c, path, err) != 0) die("%s", err);
        if (c->n_skipped)
            note("%s: %d rows left out, the first: %s", path, c->n_skipped, c->skipped);
        if (c->n_qas == 0) die("%s: there is no question in it to train on", path);
        return;
    }
    if (needed) die("%s: there is no %s.jsonl, .json or .csv in it", data_dir, split);
}

static void make_tokenizer(void) {
    int n = 0, cap = train_set.n_docs + 2 * train_set.n_qas;
    const char **texts = need(malloc((size_t)cap * sizeof *texts));
    char **answers = need(calloc((size_t)train_set.n_qas, sizeof *answers));
    for (int i = 0; i < train_set.n_docs; i++) texts[n++] = train_set.docs[i].text;
    for (int i = 0; i < train_set.n_qas; i++) {
        size_t len = strlen(train_set.qas[i].target);
        answers[i] = need(malloc(len + 2));
        sprintf(answers[i], " %s", train_set.qas[i].target);
        texts[n++] = train_set.qas[i].q;
        texts[n++] = answers[i];
    }
    tok = need(tok_train(texts, n, opt_int("vocab")));
    for (int i = 0; i < train_set.n_qas; i++) free(answers[i]);
    free(answers), free(texts);
}

/* ---- the last state: the model, Adam's moments, where we were, every option ---- */
static void put_number(StWriter *w, const char *before, const char *name, double x) {
    char key[64], value[64];
    snprintf(key, sizeof key, "%s%s", before, name);
    snprintf(value, sizeof value, "%.17g", x);
    st_add_meta(w, key, value);
}

static double get_number(StFile *f, const char *before, const char *name, double least,
                         double most) {
    char key[64];
    double x;
    snprintf(key, sizeof key, "%s%s", before, name);
    const char *value = st_meta(f, key);
    if (!value) die("%s: \"%s\" is missing: it was not written by train", last_path, key);
    if (!is_number(value, least, most, &x))
        die("%s: \"%s\" is %.40s, no number from %g to %g", last_path, key, value, least, most);
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
             data_dir, name);
}

static void save(const char *path, int with_state) {
    char err[MAC_ERR], rng[32], number[16], key[17], *dump = need(tok_dump(tok));
    StWriter *w = need(st_new());
    model_save(model, w, with_state);
    st_add_meta(w, "tokenizer", dump);
    if (state.select) {
        snprintf(number, sizeof number, "%d", state.select);
        st_add_meta(w, "select", number);
    }
    if (with_state) {
        snprintf(rng, sizeof rng, "%016llx", (unsigned long long)state.rng);
        st_add_meta(w, "data", data_dir);
        corpus_key(&train_set, key);
        st_add_meta(w, "data.train", key);
        corpus_key(&valid_set, key);
        st_add_meta(w, "data.valid", key);
        st_add_meta(w, "state.rng", rng);
        put_number(w, "state.", "stage", state.stage);
        put_number(w, "state.", "step", state.step);
        put_number(w, "state.", "loss", state.loss);
        put_number(w, "state.", "answer", state.answer);
        put_number(w, "state.", "mass", state.mass);
        put_number(w, "state.", "best", state.best);
        put_number(w, "state.", "adam", adam.step);
        for (const Option *o = options; o->name; o++) put_number(w, "opt.", o->name, o->value);
        st_add(w, "curve", state.curve, 2, (int[]){state.n_curve, CURVE});
    }
    if (st_write(w, path, err) != 0) die("%s", err);
    free(dump);
}

/* Sizes and options come from the file; main parses again, for options that are given anew. */
static StFile *resume_open(void) {
    char err[MAC_ERR];
    StFile *f = st_open(last_path, err);
    if (!f) die("nothing to resume: %s", err);
    const char *dir = st_meta(f, "data"), *dump = st_meta(f, "tokenizer");
    if (!dir || !dump) die("%s: was not written by train", last_path);
    if (!data_dir) data_dir = strcpy(need(malloc(strlen(dir) + 1)), dir);
    for (Option *o = options; o->name; o++) 
        o->value = get_number(f, "opt.", o->name, o->least, o->most);
    tok = tok_load(dump, err);
    if (!tok) die("%s: %s", last_path, err);
    return f;
}

/* What a stage does not train has no gradient: no weight decay either. */
static void freeze(void) {
    if (param_freeze(&model->ps, "", state.stage == STAGE_LM) != 0
        || param_freeze(&model->ps, "base_lm.", state.stage != STAGE_LM) != 0)
        die("out of memory");
}

static void resume_state(StFile *f) {
    char err[MAC_ERR];
    model = model_load(f, err);
    if (!model) die("%s", err);
    check_corpus(f, "data.train", &train_set);
    check_corpus(f, "data.valid", &valid_set);
    state.stage = (int)get_number(f, "state.", "stage", 0, 1);
    state.step = (int)get_number(f, "state.", "step", 0, 1e9);
    state.loss = (real)get_number(f, "state.", "loss", -1e38, 1e38);
    state.answer = (real)get_number(f, "state.", "answer", -1e38, 1e38);
    state.mass = (real)get_number(f, "state.", "mass", -1e38, 1e38);
    state.best = (real)get_number(f, "state.", "best", -1, 1);
    const char *rng = st_meta(f, "state.rng");
    int64_t n = st_size(f, "curve");
    if (!rng || n < 0 || n % CURVE)
        die("%s: was not written by train", last_path);
    state.rng = strtoull(rng, NULL, 16);
    state.n_curve = (int)(n / CURVE);
    state.curve = need(malloc((size_t)(n + 1) * sizeof(real)));
    freeze();
    if (st_read(f, "curve", state.curve, n, err) != 0 || params_load(&model->ps, f, 1, err) != 0)
        die("%s", err);
    for (int64_t i = 0; i < n; i++) {
        int is_stage = i % CURVE == 0;
        real x = state.curve[i];
        if (!(x >= (is_stage ? 0 : -1e38f) && x <= (is_stage ? STAGE_MAC : 1e38f)))
            die("%s: point %d of its curve is none", last_path, (int)(i / CURVE) + 1);
    }
    adam.step = (int)get_number(f, "state.", "adam", 0, INT_MAX);
    const char *n_selected = st_meta(f, "select");
    state.select = n_selected ? atoi(n_selected) : 0;
    st_close(f);
}

/* ==== progress =============================================================================== */
static double stage_began, last_shown;
static long stage_tokens;
static int stage_first; /* step at which this process took the stage up */

static void progress(const char *stage, int steps) {
    double now = mac_seconds(), took = now - stage_began;
    if (now - last_shown < (mac_terminal() ? 0.2 : 1.9)) return;
    last_shown = now;
    int done = state.step - stage_first;
    double left = done > 0 ? took / done * (steps - state.step) : 0;
    fprintf(stderr, "%s%s %d/%d  loss %.3f", mac_terminal() ? "\r\033[K" : "", stage, state.step,
            steps, (double)state.loss);
    if (state.stage == STAGE_MAC)
        fprintf(stderr, "  answer %.3f  attention %.2f", (double)state.answer,
                (double)state.mass);
    if (state.best >= 0) fprintf(stderr, "  best EM %.3f", (double)state.best);
    fprintf(stderr, "  %.0f tokens/s  %d:%02d left%s", (double)stage_tokens / (took + 1e-9),
            (int)left / 60, (int)left % 60, mac_terminal() ? "" : "\n");
    fflush(stderr);
}

static void curve_add(const real *em) {
    size_t point_n = CURVE * sizeof(real);
    state.curve = need(realloc(state.curve, (size_t)(state.n_curve + 1) * point_n));
    real point[CURVE] = {(real)state.stage, (real)state.step, state.loss, state.answer, state.mass};
    memcpy(point + CURVE - MEMORIES, em, MEMORIES * sizeof *em);
    memcpy(state.curve + CURVE * state.n_curve++, point, point_n);
}

static int drawn; /* the curve as it is now; what cannot be drawn is tried again in the end */

/* FILE.svg: of the last stage that has points, against the step. */
static void curve_draw(void) {
    static const char *const name[] = {"loss", "loss of answers", "attention, right one"};
    int stage = state.n_curve ? (int)state.curve[CURVE * (state.n_curve - 1)] : 0, n = 0;
    double *at = need(malloc((size_t)(state.n_curve + 1) * CURVE * sizeof *at));
    SvgLine line[2 + MEMORIES];
    char path[1100], err[MAC_ERR];
    for (int i = 0; i < state.n_curve; i++) {
        const real *p = state.curve + CURVE * i;
        if ((int)p[0] != stage) continue;
        for (int k = 1; k < CURVE; k++) at[k * state.n_curve + n] = (double)p[k];
        n++;
    }
    int first = stage == STAGE_MAC, lines = first ? 2 + MEMORIES : 1; /* without the guidance */
    for (int i = 0, k = first; i < lines; i++, k++)
        line[i] = (SvgLine){k < 3 ? name[k] : memories[k - 3].name, at + state.n_curve,
                            at + (k + 2) * state.n_curve, n};
    snprintf(path, sizeof path, "%s.svg", out_path);
    drawn = n < 2
            || svg_lines(path, stage == STAGE_LM ? "LM pretraining" : "meta-training", "step", "",
                         line, lines, err)
                   == 0;
    if (!drawn) fprintf(stderr, "train: %s\n", err);
    free(at);
}

/* ==== batches ================================================================================ */
/* Ids of at most cap tokens in the step's arena. */
static Ids ids_of(Prompt prompt, const char *text, int cap) {
    int *id = need(tape_alloc(tape, (size_t)cap * sizeof *id));
    int n = prompt(tok, text, id, cap, &n_cut);
    if (n < 0) die("out of memory");
    return (Ids){id, n};
}

static Ids joined(Ids a, Ids b) {
    int *id = need(tape_alloc(tape, (size_t)(a.n + b.n) * sizeof *id));
    if (a.n) memcpy(id, a.id, (size_t)a.n * sizeof *id);
    memcpy(id + a.n, b.id, (size_t)b.n * sizeof *id);
    return (Ids){id, a.n + b.n};
}

/* A training document, perhaps renamed and re-answered. */
static void draw(AugDoc *out) {
    char room[256];
    int doc = rng_below(&state.rng, train_set.n_docs);
    const char *name = aug_name(aug, opt("made-names"), &state.rng, room, sizeof room);
    if (aug_draw(aug, doc, name, opt("rename"), opt("reanswer"), opt("made-answers"), &state.rng,
                 out) != 0)
        die("out of memory");
}

/* One LM sequence.  kind 0: a question and its answer alone; kind 1: after their document, every
 * token counted; else the document and as many of its questions as the window holds, one after the
 * other, only their answers counted, for that is what reading means. */
static Ids lm_sequence(const AugDoc *d, int kind, char *asked) {
    int first = rng_below(&state.rng, d->n), most = kind > 1 ? d->n : 1;
    int room = model->c.S - model->c.P;
    Ids x = {NULL, 0};
    if (kind > 0) x = ids_of(prompt_document, d->text, model->c.D);
    for (int k = 0; k < d->n && k < most; k++) {
        int i = (first + k) % d->n;
        Ids q = ids_of(prompt_question, d->q[i], model->c.Q);
        Ids a = ids_of(prompt_answer, d->a[i], model->c.A);
        if (x.n + q.n + a.n > room) break;
        x = joined(x, q);
        memset(asked + x.n, 1, (size_t)a.n);
        x = joined(x, a);
    }
    if (kind < 2) memset(asked, 1, (size_t)x.n);
    return x;
}

static Tensor *lm_batch_loss(void) {
    int B = opt_int("batch-lm");
    Ids *x = need(tape_alloc(tape, (size_t)B * sizeof *x));
    char **asked = need(tape_alloc(tape, (size_t)B * sizeof *asked));
    for (int b = 0; b < B; b++) {
        AugDoc d;
        for (draw(&d); d.n == 0; draw(&d)) aug_drop(&d);
        asked[b] = need(tape_alloc(tape, (size_t)model->c.S));
        x[b] = lm_sequence(&d, rng_below(&state.rng, 8), asked[b]);
        stage_tokens += x[b].n;
        aug_drop(&d);
    }
    return lm_loss(model, tape, x, (const char *const *)asked, B, NULL, 1);
}

/* Documents whose names are not in the batch yet: in one bank a name must mean one document.  In a
 * corpus that has few names, one is taken again in the end. */
static void draw_batch(AugDoc *d, int n, int asked) {
    for (int i = 0; i < n; i++) {
        int again = 1;
        for (int tries = 0; again; tries++) {
            draw(&d[i]);
            again = i < asked && d[i].n == 0;
            for (int j = 0; j < i && !again && tries < 50; j++)
                again = !strcmp(d[j].title, d[i].title);
            if (again) aug_drop(&d[i]);
        }
    }
}

/* The size of this step's banks: half of the time --group, else any power of two up to it, so that
 * answering (small banks) and selecting (large ones) are learned together. */
static int draw_group(void) {
    int powers = 0, largest = opt_int("group"), pick = rng_below(&state.rng, 2);
    while (1 << (powers + 1) <= largest) powers++;
    int other = rng_below(&state.rng, powers + 1);
    return pick ? largest : 1 << other;
}

static Tensor *mac_batch_loss(MacStats *stats) {
    int all = opt_int("docs"), n_grad = all - (int)(all * opt("drop")), n = 1;
    int per = opt_int("questions"), room = n_grad * per, n_q = 0, guided = opt("guidance") > 0;
    while (n < (guided ? all : n_grad) || n < opt_int("group")) n *= 2;
    AugDoc *d = need(calloc((size_t)n, sizeof *d));
    Ids *docs = need(tape_alloc(tape, (size_t)n * sizeof *docs));
    Ids *q = need(tape_alloc(tape, 2 * (size_t)room * sizeof *q)), *qa = q + room;
    int *doc = need(tape_alloc(tape, (size_t)room * sizeof *doc));
    draw_batch(d, n, n_grad);
    for (int i = 0; i < n; i++) {
        docs[i] = ids_of(prompt_document, d[i].text, model->c.D);
        stage_tokens += docs[i].n;
        int first = d[i].n ? rng_below(&state.rng, d[i].n) : 0;
        for (int k = 0; k < per && k < d[i].n && i < n_grad; k++) {
            int pick = (first + k) % d[i].n; /* neighbours: none twice */
            q[n_q] = ids_of(prompt_question, d[i].q[pick], model->c.Q);
            qa[n_q] = joined(q[n_q], ids_of(prompt_answer, d[i].a[pick], model->c.A));
            stage_tokens += q[n_q].n + qa[n_q].n;
            doc[n_q++] = i;
        }
        aug_drop(&d[i]);
    }
    free(d);
    MacBatch b = {.docs = docs, .n_docs = n, .n_grad = n_grad, .q = q, .qa = qa, .n_q = n_q,
                  .doc = doc, .bank_size = draw_group(), .alike = opt_int("alike"),
                  .guidance = (real)opt("guidance"), .distill = (real)opt("distill")};
    return mac_loss(model, tape, &b, stats);
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
static int validate_bank(int first, int n_docs, int memory, int *asked, int most) {
    int hits = 0, cap = model->c.A, n_q = 0, with_bank = memory > 0;
    tape_reset(tape);
    tape_record(tape, 0);
    for (int i = first; i < first + n_docs; i++) n_q += valid_set.docs[i].n_qas;
    Ids *docs = need(tape_alloc(tape, (size_t)n_docs * sizeof *docs));
    Ids *q = need(tape_alloc(tape, 3 * (size_t)n_q * sizeof *q));
    Ids *want = q + n_q, *context = want + n_q;
    int *out = need(tape_alloc(tape, (size_t)(n_q * cap) * sizeof *out));
    int *n = need(tape_alloc(tape, (size_t)n_q * sizeof *n));
    int at = 0;
    for (int k = 0; k < n_docs; k++) {
        int i = (int)((int64_t)k * spread(n_docs) % n_docs);
        const Doc *d = &valid_set.docs[first + i];
        docs[i] = ids_of(prompt_document, d->text, model->c.D);
        for (int j = 0; j < d->n_qas && at < most; j++) {
            q[at] = ids_of(prompt_question, valid_set.qas[d->qas[j]].q, model->c.Q);
            want[at] = ids_of(prompt_answer, valid_set.qas[d->qas[j]].target, model->c.A);
            context[at++] = docs[i];
        }
    }
    Bank bank = {.K = n_docs, .T = model->c.T, .d = model->c.d};
    Tensor *phi = with_bank ? mac_encode(model, tape, docs, n_docs) : NULL;
    AnswerOptions o = {.context = memory == GOLD ? context : NULL, .select = state.select};
    if (phi) bank.phi = phi->data;
    if ((with_bank && !phi)
        || (at && mac_answer(model, tape, q, at, phi ? &bank : NULL, cap, out, n, &o) != 0))
        die("validation: %s", tape_error(tape));
    for (int i = 0; i < at; i++)
        hits +=
            n[i] == want[i].n - 1 && !memcmp(out + i * cap, want[i].id, (size_t)n[i] * sizeof *out);
    tape_record(tape, 1);
    *asked = at;
    return hits;
}

static real validate(int memory) {
    int want = memory < 1 ? 16 : memory, K = want < valid_set.n_docs ? want : valid_set.n_docs;
    int hits = 0, asked = 0, most = opt_int("eval-questions"), banks = K ? valid_set.n_docs / K : 0;
    for (int i = 0; i < banks && asked < most; i++) {
        int more;
        int bank = (int)((int64_t)i * spread(banks) % banks);
        hits += validate_bank(bank * K, K, memory, &more, most - asked);
        asked += more;
    }
    return asked ? (real)hits / (real)asked : 0;
}

/* How many documents answers are best read from, 0: all; the EM with all in the bank.  The smaller
 * number where two are as good. */
static int best_select(real *em) {
    static const int tries[] = {0, 1, 2, 4};
    int best = 0;
    *em = -1;
    for (int i = 0; i < 4; i++) {
        state.select = tries[i];
        real is = validate(ALL);
        if (is > *em) *em = is, best = tries[i];
    }
    return best;
}

/* ==== training =============================================================================== */
/* A running mean.  What is not finite is left out, as its step is. */
static void follow(real *mean, real x, real rate) {
    if (x - x == 0) *mean += (x - *mean) * rate;
}

static void step_lm(void) {
    tape_reset(tape);
    Tensor *loss = lm_batch_loss();
    if (tape_backward(tape, loss) != 0) die("step %d: %s", state.step, tape_error(tape));
    follow(&state.loss, loss->data[0], state.step == 0 ? 1 : (real)0.02);
}

static void step_mac(void) {
    int parts = opt_int("accumulate");
    for (int i = 0; i < parts; i++) {
        MacStats s;
        tape_reset(tape);
        Tensor *loss = mac_batch_loss(&s);
        if (parts > 1) loss = op_add(tape, tape_tensor(tape, 1, 1), loss, 1 / (real)parts);
        if (tape_backward(tape, loss) != 0) die("step %d: %s", state.step, tape_error(tape));
        follow(&state.loss, s.loss, state.step == 0 ? 1 : (real)0.02);
        follow(&state.answer, s.answer, state.step == 0 ? 1 : (real)0.02);
        follow(&state.mass, s.mass, state.step == 0 ? 1 : (real)0.02);
    }
}

static void checkpoint(const char *stage, int steps) {
    real em[MEMORIES] = {0};
    int asked = state.stage == STAGE_LM ? 1 : MEMORIES; /* an LM can only be asked for the gold */
    if (asked > 1) state.select = best_select(&em[MEMORIES - 1]);
    fprintf(stderr, "%s%s %d/%d  loss %.3f  EM on valid:", mac_terminal() ? "\r\033[K" : "", stage,
            state.step, steps, (double)state.loss);
    for (int i = 0; i < asked; i++) {
        if (memories[i].docs != ALL) em[i] = validate(memories[i].docs);
        fprintf(stderr, "  %s %.3f", memories[i].name, (double)em[i]);
    }
    if (state.select) fprintf(stderr, "  select %d", state.select);
    fputc('\n', stderr);
    curve_add(em);
    if (state.stage == STAGE_MAC && (em[MEMORIES - 1] >= state.best || valid_set.n_qas == 0)) {
        state.best = em[MEMORIES - 1];
        save(out_path, 0);
    }
    if (state.stage == STAGE_LM && em[0] >= (real)opt("enough")) state.step = steps; /* it reads */
    save(last_path, 1);
    curve_draw();
}

static void run_stage(const char *name, int steps, double lr, void (*one_step)(void)) {
    adam.clip = (real)opt("clip");
    adam.decay = (real)opt("decay");
    adam.muon = (real)opt("muon");
    stage_began = mac_seconds();
    last_shown = 0;
    stage_tokens = 0;
    stage_first = state.step;
    while (state.step < steps) {
        adam.lr = lr_schedule(opt("cosine") > 0 ? LR_COSINE : LR_CONSTANT, (real)lr, state.step,
                              opt_int("warmup"), steps);
        one_step();
        real norm = adam_step(&model->ps, &adam);
        if (!(norm == norm))
            fprintf(stderr, "%s %d: the gradient is not finite, step left out\n", name, state.step);
        state.step++;
        if (state.step % opt_int("eval-every") == 0 || state.step == steps) checkpoint(name, steps);
        else progress(name, steps);
        if (!interrupted) continue;
        save(last_path, 1);
        fputs("\n", stderr);
        note("stopped at step %d of stage %s; to go on: ./train --resume --out %s", state.step,
             name, out_path);
        exit(130);
    }
}

static void start_mac(void) {
    state.stage = STAGE_MAC;
    freeze();
    if (opt("share-start") > 0) model_share_start(model, (real)opt("sharp"));
    state.step = 0;
    state.loss = state.answer = state.mass = 0;
    state.best = -1;
    adam = adam_default(0);
}

/* The model of --lm, whose tokenizer and sizes of the LM become ours. */
static Model *open_lm(void) {
    char err[MAC_ERR];
    StFile *f = st_open(lm_path, err);
    Model *from = f ? model_load(f, err) : NULL;
    if (!from) die("%s", err);
    const char *dump = st_meta(f, "tokenizer");
    tok = dump ? tok_load(dump, err) : NULL;
    if (!tok || tok_size(tok) != from->c.V) die("%s: no fitting tokenizer", lm_path);
    st_close(f);
    config.d = from->c.d, config.L = from->c.L, config.H = from->c.H;
    return from;
}

static void start(void) {
    char err[MAC_ERR];
    Model *from = lm_path ? open_lm() : NULL;
    if (!from) make_tokenizer();
    config.V = tok_size(tok);
    config.S = config.P + config.D + config.Q + config.A;
    if (mac_config_check(&config, err) != 0) die("%s", err);
    if (from && config.S != from->c.S)
        die("%s: P + D + Q + A is %d in it, not %d", lm_path, from->c.S, config.S);
    model = need(model_new(&config, (uint64_t)opt("seed")));
    state = (State){.stage = STAGE_LM, .rng = (uint64_t)opt("seed") + 1, .best = -1};
    freeze();
    if (!from) return;
    model_copy_lm(model, from);
    model_free(from);
    state.step = opt_int("steps-lm"); /* it has been pretrained */
}

/* Whoever cannot write should hear of it now.  The state of an earlier training is only replaced
 * when this one has something to keep. */
static void save_first(void) {
    char err[MAC_ERR];
    FILE *f = fopen(last_path, "rb");
    if (resume || (!f && errno == ENOENT)) save(last_path, 1);
    else {
        StWriter *w = st_new();
        if (st_begin(w, last_path, err) != 0) die("%s", err);
        st_abort(w);
        note("%s holds an earlier training, and does until this one is first validated", last_path);
    }
    if (f) fclose(f);
}

static void report(void) {
    fprintf(stderr, "%d documents and %d questions to train on, %d and %d to validate\n",
            train_set.n_docs, train_set.n_qas, valid_set.n_docs, valid_set.n_qas);
    fprintf(stderr, "vocabulary %d, %zu weights, %zu of them the LM's; seed %.0f, %.0f threads\n",
            tok_size(tok), param_count(&model->ps, ""), param_count(&model->ps, "base_lm."),
            opt("seed"), opt("threads"));
    if (!valid_set.n_qas) note("%s has nothing to validate with: the last model is kept", data_dir);
}

int main(int argc, char **argv) {
    char err[MAC_ERR];
    if (file_guard("train: a file was cut short by another program while it was read\n", err) != 0)
        die("%s", err);
#ifdef SIGPIPE
    signal(SIGPIPE, SIG_IGN); /* who reads no progress still wants the model */
#endif
    config = mac_config_default();
    parse(argc, argv);
    adam = adam_default(0);
    char busy[1100]; /* never written: who has locked it trains to FILE, and nobody else */
    snprintf(busy, sizeof busy, "%s.train", out_path);
    if (file_lock(busy, err) != 0) die("%s", err);
    StFile *last = resume ? resume_open() : NULL;
    double muon = opt("muon");
    if (resume) parse(argc, argv);
    if (resume && opt("muon") != muon)
        usage("%s cannot change: the moments are the resumed optimizer's", "--muon");
    power_of_two("docs");
    power_of_two("group");
    read_split(&train_set, "train", 1);
    read_split(&valid_set, "valid", 0);
    aug = need(aug_new(&train_set));
    tape = need(tape_new(0));
    if (last) resume_state(last);
    else start();
    pool_start(opt_int("threads"));
    save_first();
    report();
    signal(SIGINT, on_interrupt);
    signal(SIGTERM, on_interrupt);
    if (state.stage == STAGE_LM) {
        run_stage("lm", opt_int("steps-lm"), opt("lr-lm"), step_lm);
        start_mac();
    }
    run_stage("mac", opt_int("steps"), opt("lr"), step_mac);
    if (state.best < 0) save(out_path, 0); /* no step of it was validated: an LM for --lm */
    if (n_cut)
        fprintf(stderr, "%d times a text was longer than D, Q or A tokens and cut\n", n_cut);
    note("best model: %s; peak memory %.0f MB", out_path, (double)mac_peak_memory() / 1e6);
    if (!drawn) curve_draw();
    return !drawn;
}
