/* run.c - a program: what a user does with a trained model.
 *
 *   ./run learn --model M --bank B FILE...      forward passes only: the bank grows
 *   ./run ask   --model M --bank B "question"   an answer, and where it came from
 *   ./run look  --model M --bank B "question" --out FILE.html   the same as a picture
 *
 * Results go to stdout, all else to stderr; exit 1 with one sentence on failure, 2 on
 * wrong usage. */
#include "data/data.h"
#include "data/file.h"
#include "data/json.h"
#include "data/program.h"
#include "data/system.h"
#include "mac.h"
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What results show is one visible line, as messages are, whatever a file or a name had in it. */
static void show(const char *before, const char *text) {
    char *line = need_copy(text);
    plain_line(line);
    printf("%s%s", before, line);
    free(line);
}

static void flush(void) { /* a result must have reached somebody */
    if (fflush(stdout) != 0 || ferror(stdout)) die("the result cannot be written");
}

/* ==== options ================================================================================ */
static const char *model_path, *bank_path, *data_path, *train_path, *out_path, *memory = "mac",
                  *penalty = "0", *text_format, *sure_text, *else_path;
static int docs, seed = 1, threads = 2, beams = 1, groups, hierarchy, top = 3, limit, json,
                 paragraphs, relations, half, whole, selected = -1, /* -1: as the model file says */
                 supersede, at_most;
static const char **data_files; /* every --data; data_path is the last of them */
static int n_data;
static char **words; /* what is no option */
static int n_words, status; /* status: 1 when something was left out */

/* What is done: each has its bit, by which the options say who takes them. */
enum { LEARN = 1, ASK = 2, LIST = 4, FORGET = 8, CHAT = 16, EVAL = 32, TABLE = 64, INSPECT = 128,
       PEOPLE = 256, LOOK = 512, ANSWER = ASK | CHAT | EVAL | TABLE | LOOK };
typedef struct { const char *name; int takers; const char **text; int *number, *flag; } Option;
static const Option options[] = {
    {"model", LEARN | ANSWER, .text = &model_path},
    {"bank", LEARN | ASK | LIST | FORGET | CHAT | LOOK, .text = &bank_path},
    {"data", ASK | EVAL | TABLE | LOOK, .text = &data_path},
    {"sure", ANSWER, .text = &sure_text},
    {"supersede", LEARN | CHAT, .flag = &supersede},
    {"at-most", LEARN, .number = &at_most},
    {"else", ASK | CHAT, .text = &else_path},
    {"out", EVAL | TABLE | PEOPLE | LOOK, .text = &out_path},
    {"train", EVAL, .text = &train_path},
    {"format", LEARN | ASK | EVAL | TABLE | LOOK, .text = &text_format},
    {"memory", EVAL, .text = &memory},
    {"docs", EVAL | PEOPLE, .number = &docs},
    {"seed", ASK | EVAL | TABLE | PEOPLE, .number = &seed},
    {"threads", LEARN | ANSWER, .number = &threads},
    {"beams", ANSWER, .number = &beams},
    {"hierarchy", ANSWER & ~LOOK, .number = &hierarchy},
    {"groups", ANSWER, .number = &groups},
    {"penalty", ANSWER, .text = &penalty},
    {"top", ASK | CHAT, .number = &top},
    {"limit", ASK | EVAL | TABLE, .number = &limit},
    {"json", LEARN | (ANSWER & ~LOOK) | LIST | FORGET, .flag = &json},
    {"paragraphs", LEARN | ASK | EVAL | TABLE | LOOK, .flag = &paragraphs},
    {"relations", EVAL, .flag = &relations},
    {"half", LEARN | EVAL | TABLE, .flag = &half},
    {"select", ANSWER, .number = &selected},
    {"check", INSPECT, .flag = &whole},
    {NULL, 0, NULL, NULL, NULL}};

static void help(void) {
    puts("usage: run COMMAND [options]\n"
         "  learn   --model M --bank B FILE...      take documents in: .txt .jsonl .json .csv\n"
         "          [--format jsonl|json|csv|txt]   whatever its name; - is standard input\n"
         "          [--paragraphs]                  a document per paragraph of a text file\n"
         "          [--half]                        a new bank in half precision\n"
         "          [--supersede]                   the newer of two versions replaces the older\n"
         "          [--at-most N]                   of the nearest two documents the older goes,\n"
         "                                          until N are left\n"
         "  ask     --model M --bank B \"question\"   [--top N] documents attended to\n"
         "          [--beams N] [--hierarchy M]     beam search; aggregation in groups of M\n"
         "          [--groups G --penalty X]        N beams in G groups, which avoid each other's "
         "tokens\n"
         "          [--data FILE --limit N]         N questions of a corpus, with the right "
         "answers\n"
         "          [--else FILE]                   what is not in the memory is read in the\n"
         "                                          document of FILE that BM25 finds\n"
         "  look    --model M --bank B \"question\" --out FILE.html or .svg\n"
         "                                          one answer as a picture: what was attended to\n"
         "          [--data FILE]                   with the text of the document, if it is there\n"
         "  list    --bank B                        what the bank holds\n"
         "  forget  --bank B ID...                  as if it had never been learned\n"
         "  chat    --model M --bank B              paste documents, each ended by a blank line;\n"
         "                                          ask with a question mark; /help\n"
         "  eval    --model M --data FILE           exact match and F1 of a corpus' questions\n"
         "          [--memory mac|none|shuffled|gold|bm25] [--docs K] [--limit N]\n"
         "          [--relations]   a line for each relation\n"
         "          [--train FILE]  closed and open relations, unseen answers, each apart\n"
         "          [--half]        with a bank in half precision\n"
         "          [--out FILE.svg] how often the surest answers are wrong, by share answered\n"
         "  table   --model M --data FILE           the same for every memory and several banks,\n"
         "                                          and for each kind of questions\n"
         "          [--out FILE.svg]                and as a bar chart\n"
         "          eval and table take --data several times: all the files together\n"
         "  inspect FILE                            what a model or bank file holds\n"
         "          [--check]                       reads it all: is it damaged?\n"
         "  people  --out DIR [--docs N]            synthetic people, N for training\n"
         "also:     [--seed N] [--threads N]  where something is drawn or a model runs\n"
         "          [--select N]    answers from the N documents attended to most, 0: from all;\n"
         "                          without it as many as the model's training chose\n"
         "          [--sure X]      an answer less sure than X, 0 to 1, is not in the memory;\n"
         "                          without it X is what the model's training chose\n"
         "          [--json]        one object a line; not inspect and people\n"
         "          --name=value, and --: what follows is no option; a command refuses\n"
         "          options that it has no use for");
}

/* One option of the command `name`, whose bit is `taker`. */
static void take(const char *name, int taker, Args *a) {
    const Option *o = options;
    while (o->name && !args_is(a, o->name)) o++;
    if (!o->name) usage("there is no option %s", a->arg);
    if (!(o->takers & taker)) usage("%s has no use for --%s", name, o->name);
    if (o->flag && a->value) usage("--%s takes no value", o->name);
    if (o->flag) { *o->flag = 1; return; }
    char *value = args_value(a);
    double x;
    if (o->text == &data_path) {
        data_files = need(realloc(data_files, (size_t)(n_data + 1) * sizeof *data_files));
        data_files[n_data++] = value;
    }
    if (o->text) { *o->text = value; return; }
    if (!is_number(value, 0, 1000000000, &x) || x != (int)x)
        usage("--%s %s is not a whole number from 0 to 1000000000", o->name, value);
    *o->number = (int)x;
}

static void parse(char **argv, int taker) {
    Args a = {.next = argv + 1};
    words = argv + 2;
    while (args_next(&a)) {
        if (args_is_help(&a)) {
            help();
            flush();
            exit(0);
        }
        if (a.arg == argv[1]) continue; /* the command */
        if (args_is_word(&a)) words[n_words++] = a.arg;
        else take(argv[1], taker, &a);
    }
    if (paragraphs) text_format = "paragraphs";
    if (groups > 1 && beams % groups)
        usage("--beams %d cannot be dealt into --groups %d", beams, groups);
    double x;
    if (!is_number(penalty, -1e30, 1e30, &x)) usage("--penalty %s is not a number", penalty);
}

/* ==== model, bank, text ====================================================================== */
static Model *model;
static Tape *tape;
static Reader reader;
static uint64_t made_by, tokens; /* the model's fingerprint, the hash of its tokenizer */
static int gated;                /* does it tell how sure its answers are? */
static double threshold;         /* at least so sure is what it knows; see set_threshold */
static Corpus elsewhere;         /* --else: what is read where the memory does not know */
static Bm25 *elsewhere_index;

/* A hierarchy has no place for the gate. */
static void open_gate(void) {
    gated = model->gate.R > 0 && hierarchy == 0;
    if (sure_text && !is_number(sure_text, 0, 1, &threshold))
        usage("--sure %s is not a number from 0 to 1", sure_text);
    int asked = sure_text || else_path || supersede || at_most;
    if (asked && !model->gate.R)
        die("%s has no gate, which tells what is sure and what is alike: ./train --resume --out %s "
            "adds one", model_path, model_path);
    if (asked && !gated) die("with --hierarchy nothing tells how sure an answer is");
    if (!else_path) return;
    need_corpus(&elsewhere, else_path, text_format);
    elsewhere_index = need(bm25_new(&elsewhere));
}

static void set_threshold(int K) { /* of a bank; --sure is one for all */
    if (!sure_text) threshold = (double)mac_threshold(model, K);
}

static void open_model(void) {
    char err[MAC_ERR];
    if (!model_path) usage("--model is missing");
    StFile *f = need_file(model_path);
    model = model_load(f, err);
    if (!model) die("%s", err);
    tape = need(tape_new(0));
    const MacConfig *c = &model->c;
    reader = (Reader){tokenizer_of(f, c->V, err), c->D, c->Q, c->A, tape, tape_alloc, 0};
    if (!reader.tok) die("%s", err);
    const char *n = st_meta(f, "select");
    size_t digits = n ? strspn(n, "0123456789") : 1;
    if (digits == 0 || digits > 9 || (n && n[digits]))
        die("%s: its \"select\" is \"%.20s\", not a number of documents", model_path, n);
    if (selected < 0) selected = n ? atoi(n) : 0;
    made_by = model_fingerprint(model), tokens = text_hash(st_meta(f, "tokenizer"));
    st_close(f);
    open_gate();
    pool_start(threads);
}

/* The bank of --bank; a new one where there is none and `create` is set.  To be changed, it is
 * locked until it is saved, and read as a whole first.  Made by this model? */
static Bank *open_bank(int create, int change) {
    char err[MAC_ERR];
    if (!bank_path) usage("--bank is missing");
    if (change && file_lock(bank_path, err) != 0) die("%s", err);
    int new = create && file_absent(bank_path);
    Bank *b = new ? need(bank_new(model->c.T, model->c.d, made_by))
                  : (change ? bank_load_whole : bank_load)(bank_path, err);
    if (!b) die("%s", err);
    if (new) b->tokens = tokens;
    const char *misfit = model ? bank_misfit(b, model->c.T, model->c.d, made_by, tokens) : NULL;
    if (misfit) die("%s %s", bank_path, misfit);
    return b;
}

static void save_bank(Bank *b) {
    char err[MAC_ERR];
    if (bank_save(b, bank_path, err) != 0) die("%s", err);
}

static void warn_cut(void) {
    if (reader.cut)
        note("%d times a text was longer than the model's window (documents %d, questions %d "
             "tokens) and cut", reader.cut, model->c.D, model->c.Q);
    reader.cut = 0;
}

/* Answer as text without blanks at its ends, malloc'd. */
static char *answer_text(const int *ids, int n) {
    size_t len, from = 0;
    char *s = need(tok_decode(reader.tok, ids, n, &len));
    while (s[from] == ' ') from++;
    memmove(s, s + from, len - from + 1);
    for (len -= from; len > 0 && s[len - 1] == ' ';) s[--len] = 0;
    return s;
}

static void put_text(const char *before, const char *text) { /* as JSON */
    fputs(before, stdout);
    json_put(stdout, text);
}

/* ==== learn, list, forget ==================================================================== */
#define LEARN_BATCH 64
static int replaced;

/* One line from stdin without its end, malloc'd, and its length; NULL at the end of input. */
static char *read_line(size_t *length) {
    size_t n = 0, cap = 256;
    char *s = need(malloc(cap));
    int ch;
    while ((ch = getchar()) != EOF && ch != '\n') {
        if (n + 2 > cap) s = need(realloc(s, cap *= 2));
        s[n++] = (char)ch;
    }
    if (ch == EOF && n == 0) { free(s); return NULL; }
    s[*length = n] = 0;
    return s;
}

/* Asks the person at the terminal; where there is none, both documents stay. */
static int is_newer(const Doc *d, const BankEntry *e) {
    size_t n;
    if (!mac_terminal(0) || !mac_terminal(2)) return 0;
    note("is \"%s\" a newer version of %s, \"%s\"?  y: it replaces it", d->title, e->id, e->title);
    char *line = read_line(&n);
    int yes = line && (*line == 'y' || *line == 'Y');
    free(line);
    return yes;
}

/* d, the newest document of b, replaces what it is a newer version of: what has its id, and the one
 * document that is near, and at most a third as far as any other.  Two that are near are a doubt.
 * Only the first `older` documents count: what is learned from one file stays together, since texts
 * of a new kind are all alike. */
static void replace_older(Bank *b, int older, const Doc *d, const real *phi) {
    BankEntry e;
    int i = 0, near = 0, before = replaced;
    real *ratio = reader_room(&reader, older, sizeof *ratio), least = INFINITY;
    char *gone = reader_room(&reader, b->K, 1);
    if (mac_versions(model, tape, b, older, phi, ratio) != 0) die("%s", tape_error(tape));
    for (int k = 0; k < older; k++) least = ratio[k] < least ? ratio[k] : least;
    for (int k = 0; k < older; k++) near += ratio[k] < MAC_SAME || ratio[k] < 3 * least;
    for (const char *at = NULL; i < older && (at = bank_next(b, at, &e)); i++) {
        gone[i] = !strcmp(e.id, d->id) || (near == 1 && ratio[i] < MAC_SAME)
                  || (ratio[i] < MAC_ALIKE && is_newer(d, &e));
        if (!gone[i]) continue;
        note("\"%s\" replaces %s, \"%s\", which is forgotten for good", d->title, e.id, e.title);
        replaced++;
    }
    if (replaced > before) bank_cut(b, gone);
}

/* The older document that is nearest to document k, of those that are not gone, and how near. */
static int nearest_older(const Bank *b, const char *gone, int k, real *how) {
    TapeMark mark = tape_mark(tape);
    real *phi = reader_room(&reader, b->T * b->d, sizeof *phi);
    real *ratio = reader_room(&reader, k, sizeof *ratio);
    int best = -1;
    bank_read(b, k, 1, phi);
    if (mac_versions(model, tape, b, k, phi, ratio) != 0) die("%s", tape_error(tape));
    for (int i = 0; i < k; i++)
        if (!gone[i] && (best < 0 || ratio[i] < ratio[best])) best = i;
    *how = best < 0 ? 0 : ratio[best];
    tape_release(tape, mark);
    return best;
}

/* Of the nearest two documents the older is forgotten, until at_most are left. */
static void drop_doubles(Bank *b) {
    tape_reset(tape);
    int K = b->K, *older = reader_room(&reader, K, sizeof *older);
    real *how = reader_room(&reader, K, sizeof *how);
    char *gone = reader_room(&reader, K, 1);
    for (int k = 0; k < K && at_most < K; k++) older[k] = nearest_older(b, gone, k, &how[k]);
    for (int left = K; left > at_most; left--) {
        int best = -1;
        for (int k = 0; k < K; k++)
            if (!gone[k] && older[k] >= 0 && (best < 0 || how[k] < how[best])) best = k;
        int drop = best < 0 ? K - 1 : older[best]; /* the last one has none beside it */
        gone[drop] = 1;
        for (int k = drop + 1; k < K; k++)
            if (!gone[k] && older[k] == drop) older[k] = nearest_older(b, gone, k, &how[k]);
    }
    if (at_most < K) note("%d of %d documents are forgotten for good", K - at_most, K);
    if (at_most < K) bank_cut(b, gone);
}

static int held_before; /* documents that the bank held before this file, or this line of a chat */

/* Forward passes only: documents first..last-1 of c into the bank; how many were new. */
static int learn(Bank *b, const Corpus *c, int first, int last) {
    size_t per = (size_t)model->c.T * (size_t)model->c.d;
    int added = 0, n = last - first;
    tape_reset(tape);
    tape_record(tape, 0);
    Ids *x = reader_room(&reader, n, sizeof *x);
    for (int i = 0; i < n; i++) x[i] = reader_document(&reader, c->docs[first + i].text);
    Tensor *phi = mac_encode(model, tape, x, n);
    if (!phi) die("%s", tape_error(tape));
    for (int i = 0; i < n; i++) {
        const Doc *d = &c->docs[first + i];
        int got = bank_add(b, d->id, d->title, bank_key(b, d->text), phi->data + (size_t)i * per);
        if (got < 0) die("out of memory");
        int cut = replaced;
        if (got && supersede) replace_older(b, held_before, d, phi->data + (size_t)i * per);
        held_before -= replaced - cut;
        added += got;
    }
    tape_record(tape, 1);
    return added;
}

static void command_learn(void) {
    if (n_words == 0) usage("learn needs files");
    char err[MAC_ERR], why[MAC_ERR];
    open_model();
    Bank *b = open_bank(1, 1);
    if (half && b->K && !b->half) die("%s has full precision: --half is for a new bank", bank_path);
    b->half |= half;
    if (!supersede && !at_most && bank_grow(b, bank_path, err) != 0)
        die("%s", err); /* else its vectors are never in memory */
    int seen = 0, added = 0;
    double began = mac_seconds(), shown = began;
    for (int i = 0; i < n_words; i++) { /* a batch at a time */
        Corpus c = {0};
        int n = 0;
        CorpusReader *r = corpus_open(words[i], text_format, why);
        held_before = b->K;
        while (r && (n = corpus_next(r, &c, LEARN_BATCH, why)) > 0) {
            for (int at = 0; at < c.n_docs; at += LEARN_BATCH) { /* a whole file, if no .jsonl */
                int last = at + LEARN_BATCH < c.n_docs ? at + LEARN_BATCH : c.n_docs;
                added += learn(b, &c, at, last);
                seen += last - at;
                if (mac_seconds() - shown < 1) continue;
                shown = mac_seconds();
                note("%d documents, %.0f a second", seen, seen / (shown - began));
            }
        }
        if (!r || n < 0) die("%s", why); /* nothing is learned */
        note_skipped(&c, words[i]);
        corpus_free(&c);
        corpus_close(r);
    }
    if (seen == 0) die("there is no document in %s: nothing was learned", words[0]);
    if (at_most) drop_doubles(b);
    save_bank(b);
    double took = mac_seconds() - began;
    warn_cut();
    if (json)
        printf("{\"documents\": %d, \"new\": %d, \"replaced\": %d, \"held\": %d, \"seconds\": "
               "%.3f}\n", seen, added, replaced, b->K, took);
    else {
        printf("learned %d documents, %d of them new, in %.2f s (%.0f a second); ", seen, added,
               took, seen / (took + 1e-9));
        if (supersede) printf("they replace %d; ", replaced);
        printf("the bank holds %d\n", b->K);
    }
    bank_free(b);
}

static void show_list(const Bank *b) {
    BankEntry e;
    for (const char *at = NULL; (at = bank_next(b, at, &e));) {
        if (!json) {
            show("", e.id);
            show("\t", e.title);
            putchar('\n');
            continue;
        }
        put_text("{\"id\": ", e.id);
        put_text(", \"title\": ", e.title);
        printf(", \"hash\": \"%016llx\"}\n", (unsigned long long)e.hash);
    }
    if (!json) note("%d documents, %d vectors of %d numbers each", b->K, b->T, b->d);
}

static void command_list(void) {
    Bank *b = open_bank(0, 0);
    show_list(b);
    bank_free(b);
}

/* Forgets the documents of these ids and saves the bank; where one is not held, none: its id. */
static const char *forget(Bank *b, const char **ids, int n) {
    int held = b->K;
    const char *absent;
    if (bank_forget(b, ids, n, &absent) != 0) {
        if (!absent) die("out of memory");
        return absent;
    }
    save_bank(b);
    if (json) printf("{\"forgotten\": %d, \"held\": %d}\n", held - b->K, b->K);
    else printf("forgot %d; the bank holds %d\n", held - b->K, b->K);
    return NULL;
}

static void command_forget(void) {
    if (n_words == 0) usage("forget needs the ids of documents");
    Bank *b = open_bank(0, 1);
    const char *absent = forget(b, (const char **)words, n_words);
    if (absent) die("%s holds no document \"%s\"; nothing was forgotten", bank_path, absent);
    bank_free(b);
}

/* ==== ask, chat ============================================================================== */
static void show_sources(const Bank *b, real *received) { /* the `top` documents, heaviest first */
    for (int i = 0; i < top && i < b->K; i++) {
        int best = 0;
        for (int k = 1; k < b->K; k++)
            if (received[k] > received[best]) best = k;
        BankEntry e;
        const char *at = NULL;
        for (int k = 0; k <= best; k++) at = bank_next(b, at, &e);
        if (json) {
            printf("%s{\"weight\": %.4f", i ? ", " : "", (double)received[best]);
            put_text(", \"id\": ", e.id);
            put_text(", \"title\": ", e.title);
            putchar('}');
        } else {
            printf("  %5.1f%%  ", 100 * (double)received[best]);
            show("", e.id);
            show("  ", e.title);
            putchar('\n');
        }
        received[best] = -1;
    }
}

/* An answer counts if the bank held numbers only (NaN or infinity shows in the weights, which a
 * hierarchy does not tell), and if its file is still the one that was opened.
 * weights: how many of them there are. */
static void check_answer(const Bank *b, const real *received, int weights) {
    char err[MAC_ERR];
    int odd = !weights;
    for (int k = 0; k < weights; k++) odd |= !(received[k] - received[k] == 0);
    if (odd && bank_check(b, bank_path, err) != 0) die("%s", err);
    if (odd && weights) die("%s: its vectors are too large to be compared", bank_path);
    if (b->file && st_unchanged(b->file, err) != 0) die("%s", err);
}

static AnswerOptions answer_options(void) {
    return (AnswerOptions){.beams = beams, .beam_groups = groups,
                           .penalty = (real)strtod(penalty, NULL), .hierarchy = hierarchy,
                           .select = selected};
}

/* What the LM reads about the question in that document of --else which BM25 finds; NULL: none of
 * them shares a word with it. */
static char *read_elsewhere(const Ids *q, const char *question, const Doc **found) {
    int cap = model->c.A, n, doc = -1, *out = reader_room(&reader, cap, sizeof *out);
    if (bm25_top(elsewhere_index, question, 1, &doc) < 0) die("out of memory");
    if (doc < 0) return NULL;
    *found = &elsewhere.docs[doc];
    Ids context = reader_document(&reader, (*found)->text);
    AnswerOptions o = answer_options();
    o.context = &context;
    if (mac_answer(model, tape, q, 1, NULL, cap, out, &n, &o) != 0) die("%s", tape_error(tape));
    return answer_text(out, n);
}

static void show_elsewhere(const Ids *q, const char *question) {
    const Doc *d = NULL;
    char *text = read_elsewhere(q, question, &d);
    if (json) put_text(", \"else\": {\"answer\": ", text ? text : "");
    else show("  in ", else_path);
    if (json && text) put_text(", \"id\": ", d->id), put_text(", \"title\": ", d->title);
    if (json) putchar('}');
    else if (text) show(": ", text), show("  (", d->title), puts(")");
    else puts(": nothing");
    free(text);
}

/* The answer, or, where the memory does not know, that it is a guess. */
static void show_answer(const char *text, double sure, int known) {
    if (json) {
        put_text(", \"answer\": ", text);
        if (gated) printf(", \"sure\": %.4f, \"known\": %s", sure, known ? "true" : "false");
        return;
    }
    show(known ? "" : "not in the memory; a guess: ", text);
    if (gated) printf("\n  sure %.1f%%", 100 * sure);
    putchar('\n');
}

/* With the right answer, or NULL; a hierarchy does not tell its sources. */
static void ask(const Bank *b, const char *question, const char *right) {
    int cap = model->c.A, n, sources = !(hierarchy > 0 && hierarchy < b->K);
    real sure = 1;
    tape_reset(tape);
    int *out = reader_room(&reader, cap, sizeof *out);
    real *received = reader_room(&reader, b->K, sizeof *received);
    Ids q = reader_question(&reader, question);
    AnswerOptions o = answer_options();
    o.received = received;
    o.sure = gated ? &sure : NULL;
    if (mac_answer(model, tape, &q, 1, b, cap, out, &n, &o) != 0) die("%s", tape_error(tape));
    check_answer(b, received, sources ? b->K : 0);
    char *text = answer_text(out, n);
    set_threshold(b->K);
    int known = !gated || (double)sure >= threshold;
    if (json) put_text("{\"question\": ", question);
    show_answer(text, (double)sure, known);
    if (!known && else_path) show_elsewhere(&q, question);
    if (json && right) put_text(", \"right\": ", right);
    if (json) printf(", \"documents\": [");
    if (sources) show_sources(b, received);
    if (json) puts("]}");
    flush();
    free(text);
    warn_cut();
}

/* Some questions of a corpus, spread over it, each with the right answer in front. */
static void ask_corpus(const Bank *b) {
    Corpus c = {0};
    uint64_t rng = (uint64_t)seed;
    need_corpus(&c, data_path, text_format);
    int n = limit ? limit : 5, first = c.n_qas ? rng_below(&rng, c.n_qas) : 0;
    if (n > c.n_qas) n = c.n_qas;
    for (int i = 0; i < n; i++) {
        const Qa *qa = &c.qas[(first + (int)((int64_t)i * c.n_qas / n)) % c.n_qas];
        if (!json) {
            show("", qa->q);
            show("\n  right: ", qa->target);
            printf("\n  answer: ");
        }
        ask(b, qa->q, qa->target);
    }
    corpus_free(&c);
}

static void command_ask(void) {
    if (n_words == 0 && !data_path) usage("ask needs a question");
    open_model();
    Bank *b = open_bank(0, 0);
    if (b->K == 0)
        note("%s holds no document: this is what the model answers without", bank_path);
    for (int i = 0; i < n_words; i++) ask(b, words[i], NULL);
    if (data_path) ask_corpus(b);
    bank_free(b);
}

/* ---- chat: a question is asked, a command is done, other lines are a document ---- */
static char *document;          /* lines that are to be learned together; NULL: none */

/* The line without the blanks around it; NULL: it is no text. */
static char *chat_text(char *line, size_t n) {
    const unsigned char *p = (unsigned char *)line, *end = p + n;
    while (p < end && *p && utf8_len(p, end)) p += utf8_len(p, end);
    if (p < end) {
        note("this line is left out: it is no text in UTF-8, but %.40s", line);
        status = 1;
        return NULL;
    }
    while (n && strchr(" \t\r\v\f", line[n - 1])) line[--n] = 0;
    return line + strspn(line, " \t\r\v\f");
}

/* Does it end in a question mark, of any script?  "?" takes its place: that is what models know. */
static int is_question(char *s) {
    static const char *const mark[] = {
        "?", "\u037E", "\u055E", "\u061F", "\u1367", "\u1945", "\u2047", "\u2048", "\u2049",
        "\u2CFA", "\u2CFB", "\u2E2E", "\uA60F", "\uA6F7", "\uFE56", "\uFF1F", NULL};
    size_t n = strlen(s);
    for (int i = 0; mark[i]; i++) {
        size_t len = strlen(mark[i]);
        if (n < len || strcmp(s + n - len, mark[i])) continue;
        strcpy(s + n - len, "?");
        return 1;
    }
    return 0;
}

static void chat_add(const char *text) { /* one more line of the document */
    size_t held = document ? strlen(document) : 0, n = strlen(text);
    document = need(realloc(document, held + n + 2));
    if (held) document[held++] = '\n';
    memcpy(document + held, text, n + 1);
}

static void chat_learn(void) { /* the document, if there is one */
    if (!document) return;
    Bank *b = open_bank(1, 1); /* anew: other programs may have changed it */
    Corpus c = {0};
    char title[41];
    int cut = 40; /* not within a character */
    size_t n = strcspn(document, "\n");
    while (cut > 0 && (size_t)cut < n && (document[cut] & 0xC0) == 0x80) cut--;
    snprintf(title, sizeof title, "%.*s", n < (size_t)cut ? (int)n : cut, document);
    if (corpus_add(&c, title, document) < 0) die("out of memory");
    held_before = b->K;
    int new = learn(b, &c, 0, 1);
    save_bank(b);
    if (json) printf("{\"learned\": %d}\n", new);
    else puts(new ? "learned" : "known already");
    flush();
    warn_cut();
    corpus_free(&c);
    bank_free(b);
    free(document);
    document = NULL;
}

static void chat_help(void) {
    note("A line that ends in a question mark is asked.  Other lines are a document; a blank line "
         "ends it, or a question.");
    note("/list: what the memory holds.  /forget ID: as if it had never been learned.  /sources: "
         "shows the documents of an answer, or no longer.  /help: this.  Ctrl-D ends.");
}

static void chat_forget(const char *id) {
    Bank *b = open_bank(1, 0); /* not to be changed yet: whoever fails would keep others away */
    int held = id && bank_find(b, id) >= 0;
    bank_free(b);
    if (!id) note("/forget needs an id: /list shows them");
    else if (!held) note("there is no document \"%s\": /list shows those that are held", id);
    if (!held) return;
    b = open_bank(0, 1);
    if (forget(b, &id, 1)) die("%s: another program has forgotten \"%s\"", bank_path, id);
    bank_free(b);
}

static void chat_command(char *line) {
    const char *name = strtok(line, " \t");
    if (!strcmp(name, "/help")) chat_help();
    else if (!strcmp(name, "/forget")) chat_forget(strtok(NULL, " \t"));
    else if (!strcmp(name, "/sources")) {
        top = top ? 0 : 3;
        note("the documents of an answer are %s", top ? "shown" : "no longer shown");
    } else if (!strcmp(name, "/list")) {
        Bank *b = open_bank(1, 0);
        show_list(b);
        bank_free(b);
    } else note("there is no command %s: /help shows what there is", name);
    flush();
}

static void chat_prompt(void) {
    if (mac_terminal(0) && mac_terminal(2)) fputs(document ? "... " : "> ", stderr);
}

static void command_chat(void) {
    size_t n;
    open_model();
    bank_free(open_bank(1, 0)); /* whoever cannot use it should hear of it now */
    chat_help();
    chat_prompt();
    for (char *line; (line = read_line(&n)); free(line), chat_prompt()) {
        char *text = chat_text(line, n);
        int asked = text && is_question(text), command = text && *text == '/' && !asked;
        if (!text) continue;
        if (!asked && !command && *text) {
            chat_add(text);
            continue;
        }
        chat_learn();
        if (command) chat_command(text);
        if (!asked) continue;
        Bank *b = open_bank(1, 0);
        ask(b, text, NULL);
        bank_free(b);
    }
    chat_learn();
}

/* ==== look =================================================================================== */
/* The words of a picture, in the order in which they come. */
static const char *const look_words[][2] = {
    {"weight", "Attention: what share of its look something gives to something else, 0 to 100%. "
               "The stronger a cell's colour, the larger; a tenth of a percent and less is not "
               "drawn. Point at a cell to read it."},
    {"sure", "The probability that the memory holds the document that was asked about. Below a "
             "threshold that the model was given on questions of its validation, the answer is a "
             "guess."},
    {"token", "A piece of a word. \u2423 is a blank, (end) is the token that ends an answer."},
    {"received", "The percentage before a document: the weight that it received from the finder, a "
                 "few heads that were trained to attend to the right document. The answer is read "
                 "from those that received most."},
    {"block, head, vector", "The aggregator reads the memory in blocks, one after another, each "
                            "with several heads. A question is T vectors, and each of them looks "
                            "for itself: one column each. Shown is the weight that a document "
                            "would have if the whole memory were read."},
    {"vectors of a document", "All that the memory keeps of it: T vectors, one row each. Each was "
                              "made while the encoder looked at the tokens of the text."},
    {"prefix", "What the question drew from the memory: P keys with values in each layer of the "
               "language model, which looks at them as if they were tokens before the question."},
    {"layer", "The language model's. A row shows what it looked at when it chose that token, the "
              "mean over its heads."},
    {"with, without the memory", "The five likeliest tokens at each place of the answer, with "
                                 "their probabilities. Without the memory the same model reads "
                                 "the same question and the same tokens before, but has no "
                                 "prefix."},
    {NULL, NULL}};

/* A name in the arena: visible, of one line. */
static const char *named(const char *format, ...) {
    char text[MAC_ERR];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    plain_line(text);
    return strcpy(reader_room(&reader, (int)strlen(text) + 1, 1), text);
}

static const char *token_name(int id) {
    size_t n;
    if (id == tok_eos(reader.tok)) return "(end)";
    char *text = need(tok_decode(reader.tok, &id, 1, &n));
    const char *name = *text == ' ' ? named("\u2423%s", text + 1)
                     : *text == '\n' ? "(line)" : named("%s", text);
    free(text);
    return name;
}

/* The weights of each document for each block, head and vector of the question. */
static void draw_documents(SvgPage *page, const Look *look, const BankEntry *entry) {
    const MacConfig *c = &model->c;
    int T = c->T, heads = c->agg_B * c->agg_H, wide = heads * T, n = look->n_docs;
    const char **rows = reader_room(&reader, n + 1, sizeof *rows);
    const char **columns = reader_room(&reader, wide, sizeof *columns);
    double *share = reader_room(&reader, (n + 1) * wide, sizeof *share);
    for (int i = 0; i < heads; i++)
        columns[i * T] = named("block %d, head %d", i / c->agg_H + 1, i % c->agg_H + 1);
    for (int i = 0; i < wide; i++) {
        share[n * wide + i] = 1;
        for (int k = 0; k < n; k++) {
            share[k * wide + i] = (double)look->read[i * n + k];
            share[n * wide + i] -= share[k * wide + i];
        }
    }
    for (int k = 0; k < n; k++)
        rows[k] = named("%.1f%% %.200s", 100 * (double)look->received[k], entry[k].title);
    rows[n] = "all others";
    page_say(page, "Which documents does the question look at?", 15);
    page_say(page, "Rows: those that received most, with the percentage, and all others together. "
                   "Columns: the vectors of the question, in each block and head. A cell is the "
                   "weight of the document in the whole memory:", 12);
    page_scale(page);
    page_heat(page, &(SvgHeat){rows, columns, n + 1, wide, T, 580.0 / wide, 16, share});
}

/* Where the vectors of the document that received most were made, if its text is at hand. */
static void draw_text(SvgPage *page, const Bank *b, const BankEntry *e) {
    enum { LINE = 50 }; /* tokens of a heat map */
    Corpus c = {0};
    int T = model->c.T, found = -1;
    for (int i = 0; i < n_data; i++) need_corpus(&c, data_files[i], text_format);
    for (int i = 0; i < c.n_docs; i++)
        if (bank_key(b, c.docs[i].text) == e->hash) found = i;
    page_say(page, named("Where were the vectors of \"%.200s\" made?", e->title), 15);
    if (found < 0) {
        page_say(page, "A memory keeps no text. With --data FILE, a file that holds the "
                       "document, this is shown.", 12);
        corpus_free(&c);
        return;
    }
    Ids x = reader_document(&reader, c.docs[found].text);
    real *made = reader_room(&reader, T * x.n, sizeof *made);
    if (mac_look_document(model, tape, &x, made) != 0) die("%s", tape_error(tape));
    page_say(page, "Rows: the vectors that the memory keeps of it. Columns: the tokens of its "
                   "text. A cell is how much the encoder looked at the token to make the vector.",
             12);
    const char **rows = reader_room(&reader, T, sizeof *rows), *columns[LINE];
    double *share = reader_room(&reader, T * LINE, sizeof *share);
    for (int t = 0; t < T; t += 8) rows[t] = named("vector %d", t + 1);
    for (int at = 0, n; at < x.n; at += n) {
        n = x.n - at < LINE ? x.n - at : LINE;
        for (int i = 0; i < n; i++) columns[i] = token_name(x.id[at + i]);
        for (int i = 0; i < T * n; i++) share[i] = (double)made[i / n * x.n + at + i % n];
        page_heat(page, &(SvgHeat){rows, columns, T, n, 0, 11.5, 5, share});
    }
    corpus_free(&c);
}

/* What the LM looks at when it chooses each token of the answer. */
static void draw_prefix(SvgPage *page, const Look *look, const Ids *q) {
    int P = model->c.P, n = look->keys, steps = look->steps, rows_n = model->c.L * steps;
    const char **rows = reader_room(&reader, rows_n, sizeof *rows);
    const char **columns = reader_room(&reader, n, sizeof *columns);
    double *share = reader_room(&reader, rows_n * n, sizeof *share);
    for (int k = 0; k < n; k++)
        columns[k] = k < P ? named("prefix %d", k + 1)
                   : token_name(k < P + q->n ? q->id[k - P] : look->answer[k - P - q->n]);
    for (int r = 0; r < rows_n; r++) {
        int s = r % steps;
        rows[r] = named("layer %d: %s", r / steps + 1,
                        s < look->n ? token_name(look->answer[s]) : "(end)");
    }
    for (int i = 0; i < rows_n * n; i++) share[i] = (double)look->seen[i];
    page_say(page, "What does the language model look at when it chooses each token?", 15);
    page_say(page, "Rows: the tokens of the answer, in each layer. Columns: the keys of the "
                   "prefix, which is what the question drew from the memory, then question and "
                   "answer.", 12);
    double wide = 580.0 / n;
    page_heat(page, &(SvgHeat){rows, columns, rows_n, n, 0, wide < 16 ? wide : 16, 14, share});
}

/* The likeliest tokens at each place, with the memory beside without. */
static void draw_likely(SvgPage *page, const Look *look) {
    page_say(page, "What was likely at each place of the answer?", 15);
    page_say(page, "The five likeliest tokens with the memory, and right of them those that the "
                   "same model finds likeliest without it.", 12);
    for (int s = 0; s < look->steps; s++) {
        const char *names[2 * LOOK_TOKENS];
        double shares[2 * LOOK_TOKENS];
        for (int i = 0; i < 2 * LOOK_TOKENS; i++) {
            int with = i % 2 == 0, at = s * LOOK_TOKENS + i / 2;
            names[i] = token_name(look->likely[with][at]);
            shares[i] = (double)look->p[with][at];
        }
        page_say(page, named("%d. %s", s + 1,
                             s < look->n ? token_name(look->answer[s]) : "(end)"), 12);
        page_bars(page, names, shares, LOOK_TOKENS, 2);
    }
}

static void draw_head(SvgPage *page, const char *question, const Ids *q, const Look *look) {
    char tokens_of[MAC_ERR] = "its tokens: ";
    char *text = answer_text(look->answer, look->n);
    double sure = (double)look->sure;
    int known = !gated || sure >= threshold;
    for (int i = 0; i < q->n; i++) {
        size_t n = strlen(tokens_of);
        snprintf(tokens_of + n, sizeof tokens_of - n, "%s%s", i ? " | " : "", token_name(q->id[i]));
    }
    page_say(page, named("%s", question), 18);
    page_say(page, tokens_of, 12);
    page_say(page, named("%s%s", known ? "" : "not in the memory; a guess: ", text), 18);
    if (gated)
        page_say(page, named("sure %.1f%%; below %.1f%% it would be a guess", 100 * sure,
                             100 * threshold), 12);
    free(text);
}

static void command_look(void) {
    char err[MAC_ERR];
    if (n_words == 0) usage("look needs a question");
    if (!out_path) usage("--out is missing: the picture's file, .html or .svg");
    open_model();
    Bank *b = open_bank(0, 0);
    if (b->K == 0) die("%s holds no document: there is nothing to look at", bank_path);
    Look look;
    AnswerOptions o = answer_options();
    Ids q = reader_question(&reader, words[0]);
    if (mac_look(model, tape, &q, b, model->c.A, &o, &look) != 0) die("%s", tape_error(tape));
    BankEntry entry[LOOK_DOCS], e;
    const char *at = NULL;
    for (int k = 0; k < b->K && (at = bank_next(b, at, &e)); k++)
        for (int i = 0; i < look.n_docs; i++)
            if (look.doc[i] == k) entry[i] = e;
    check_answer(b, look.received, look.n_docs);
    set_threshold(b->K);
    SvgPage *page = page_begin(out_path, named("%s", words[0]), err);
    if (!page) die("%s", err);
    draw_head(page, words[0], &q, &look);
    draw_documents(page, &look, entry);
    draw_text(page, b, &entry[0]);
    draw_prefix(page, &look, &q);
    draw_likely(page, &look);
    if (page_end(page, look_words, err) != 0) die("%s", err);
    puts(out_path);
    warn_cut();
    bank_free(b);
}

/* ==== eval =================================================================================== */
static Corpus corpus;
static RelScores by_rel, by_kind;
static unsigned char *qa_kind; /* [n_qas] closed or open, seen or not; NULL: not asked for */
static Score closed_score, open_score, unseen_score;
static double adapt_seconds, answer_seconds;

static void split_questions(void) {
    Corpus train = {0};
    need_corpus(&train, train_path, text_format);
    qa_kind = need(score_split(&corpus, &train));
    corpus_free(&train);
}

static SureCase *cases;         /* of each question asked of a bank, how sure the answer is */
static int n_cases;

static void add_case(const Qa *x, real sure, int known, int right) {
    if ((n_cases & (n_cases - 1)) == 0)
        cases = need(realloc(cases, (size_t)(2 * n_cases + 1) * sizeof *cases));
    cases[n_cases++] = (SureCase){x->rel, (double)sure, known, right};
}

#define ANSWER_BATCH 64

static Bm25 *bm25;              /* of the whole corpus, where it is asked */

/* The document that stands before a question, -1: none.  gold: its own; bm25: the one of the whole
 * corpus that shares most with the question's words. */
static int context_of(int qa) {
    const Qa *x = &corpus.qas[qa];
    int doc = -1;
    if (!strcmp(memory, "gold")) return x->doc;
    if (strcmp(memory, "bm25")) return -1;
    if (bm25_top(bm25, x->q, 1, &doc) < 0) die("out of memory");
    return doc;
}

static int ask_others; /* is a bank's gate also asked what only the next bank knows? */

/* How sure the bank is of questions about documents that it does not hold. */
static void ask_in_vain(const int *qa, int n, const Bank *bank) {
    tape_reset(tape);
    Ids *q = reader_room(&reader, n, sizeof *q);
    int *len = reader_room(&reader, n, sizeof *len);
    AnswerOptions o = answer_options();
    o.sure = reader_room(&reader, n, sizeof *o.sure);
    for (int i = 0; i < n; i++) q[i] = reader_question(&reader, corpus.qas[qa[i]].q);
    if (mac_answer(model, tape, q, n, bank, 0, len, len, &o) != 0) die("%s", tape_error(tape));
    for (int i = 0; i < n; i++) add_case(&corpus.qas[qa[i]], o.sure[i], 0, 0);
}

/* Questions qa[0..n) against the bank (NULL: none), each after the document, if any, that
 * context_of gives it; `others`, if not NULL, is asked them too, in vain. */
static void answer_batch(const int *qa, int n, const Bank *bank, const Bank *others,
                         Score *total) {
    int cap = model->c.A;
    double began = mac_seconds();
    tape_reset(tape);
    Ids *q = reader_room(&reader, 2 * n, sizeof *q), *context = q + n;
    int *out = reader_room(&reader, n * cap, sizeof *out);
    int *len = reader_room(&reader, n, sizeof *len);
    for (int i = 0; i < n; i++) {
        q[i] = reader_question(&reader, corpus.qas[qa[i]].q);
        int doc = context_of(qa[i]);
        if (doc >= 0) context[i] = reader_document(&reader, corpus.docs[doc].text);
    }
    AnswerOptions o = answer_options();
    o.context = context;
    o.sure = bank && gated ? reader_room(&reader, n, sizeof *o.sure) : NULL;
    if (mac_answer(model, tape, q, n, bank, cap, out, len, &o) != 0) die("%s", tape_error(tape));
    for (int i = 0; i < n; i++) {
        const Qa *x = &corpus.qas[qa[i]];
        char *text = answer_text(out + i * cap, len[i]);
        if (o.sure)
            add_case(x, o.sure[i], !strcmp(memory, "mac"), score_em(text, x->a, x->n_a));
        score_add(total, x, text);
        score_add(need(score_rel(&by_rel, x->rel)), x, text);
        if (*x->kind) score_add(need(score_rel(&by_kind, x->kind)), x, text);
        if (qa_kind) score_add(qa_kind[qa[i]] & QA_OPEN ? &open_score : &closed_score, x, text);
        if (qa_kind && qa_kind[qa[i]] & QA_UNSEEN) score_add(&unseen_score, x, text);
        free(text);
    }
    answer_seconds += mac_seconds() - began;
    if (others) ask_in_vain(qa, n, others);
}

/* The documents `from` of all, as a bank of their own. */
static Bank bank_of(const Bank *all, const int *from, int K) {
    size_t per = (size_t)model->c.T * (size_t)model->c.d * (all->half ? 2 : sizeof(real));
    Bank bank = *all;
    bank.K = K;
    bank.phi = need(malloc((size_t)K * per));
    for (int k = 0; k < K; k++)
        memcpy((char *)bank.phi + (size_t)k * per,
               (const char *)all->phi + (size_t)from[k] * per, per);
    return bank;
}

/* The documents of one round: they are learned into a bank of their own, and their questions asked
 * of it; `shuffled` asks them of the documents `other` instead. */
static void eval_round(const Bank *all, const int *doc, const int *other, int K, Score *total) {
    int none = strcmp(memory, "mac") && strcmp(memory, "shuffled");
    int vain = ask_others && gated && !strcmp(memory, "mac") && 2 * K <= corpus.n_docs;
    Bank bank = bank_of(all, strcmp(memory, "shuffled") ? doc : other, K);
    Bank others = vain ? bank_of(all, other, K) : (Bank){0};
    int batch[ANSWER_BATCH], n = 0;
    for (int k = 0; k < K; k++) {
        const Doc *d = &corpus.docs[doc[k]];
        for (int i = 0; i < d->n_qas && (!limit || total->n + n < limit); i++) {
            batch[n++] = d->qas[i];
            if (n < ANSWER_BATCH) continue;
            answer_batch(batch, n, none ? NULL : &bank, vain ? &others : NULL, total);
            n = 0;
        }
    }
    if (n) answer_batch(batch, n, none ? NULL : &bank, vain ? &others : NULL, total);
    free(bank.phi), free(others.phi);
}

static void print_score(const char *what, const Score *s) {
    double n = s->n ? s->n : 1;
    if (json) {
        put_text("{\"what\": ", what);
        printf(", \"questions\": %d, \"em\": %.4f, \"em_prefix\": %.4f, \"f1\": %.4f", s->n,
               s->em / n, s->prefix / n, s->f1 / n);
    } else {
        show("", what);
        printf("%*s %6d questions  EM %.3f  prefix EM %.3f  F1 %.3f",
               strlen(what) < 38 ? 38 - (int)strlen(what) : 0, "", s->n, s->em / n, s->prefix / n,
               s->f1 / n);
    }
}

/* Of the cases that the bank holds, or does not, the share that is refused; -1: there is none. */
static double refused(int known) {
    int n = 0, below = 0;
    for (int i = 0; i < n_cases; i++)
        if (cases[i].known == known) n++, below += cases[i].sure < threshold;
    return n ? (double)below / n : -1;
}

static void print_refused(int known) {
    double share = refused(known);
    if (share >= 0) printf(json ? ", \"refused\": %.4f" : "  refused %.3f", share);
}

/* How well the gate tells what the bank holds from what it does not. */
static void print_gate(void) {
    double all = score_auroc(cases, n_cases, 0);
    if (!(all >= 0)) return; /* nothing was asked in vain */
    double within = score_auroc(cases, n_cases, 1);
    printf(json ? "{\"what\": \"gate\", \"questions\": %d, \"auroc\": %.4f, "
                  "\"auroc_within\": %.4f, \"threshold\": %.4f, \"refused\": %.4f, "
                  "\"refused_unknown\": %.4f}\n"
                : "gate, also asked of another bank       %6d questions  AUROC %.3f, within "
                  "relations %.3f; less than %.3f sure: %.3f of the known, %.3f of the unknown\n",
           n_cases, all, within, threshold, refused(1), refused(0));
}

/* --out: of the answers that are surest, how many are wrong; half are about what no bank holds. */
static void draw_gate(void) {
    double *x = need(malloc(2 * (size_t)(n_cases + 1) * sizeof *x)), *y = x + n_cases;
    char err[MAC_ERR];
    int wrong = 0;
    score_auroc(cases, n_cases, 0); /* sorts them, the surest last */
    for (int i = 0; i < n_cases; i++) {
        wrong += !cases[n_cases - 1 - i].right;
        x[i] = (i + 1) / (double)n_cases, y[i] = wrong / (i + 1.0);
    }
    SvgLine line = {"wrong answers", x, y, n_cases, 0};
    if (n_cases < 2) die("--out %s: there are no answers to draw", out_path);
    if (svg_lines(out_path, "Risk by coverage", "share answered, the surest first", "share wrong",
                  &line, 1, err) != 0)
        die("%s", err);
    free(x);
}

static void print_eval(int K, int rounds, const Score *total) {
    char what[64];
    snprintf(what, sizeof what, "%s, bank of %d", memory, K);
    print_score(what, total);
    print_refused(!strcmp(memory, "mac"));
    if (json)
        printf(", \"memory\": \"%s\", \"docs\": %d, \"banks\": %d, \"seed\": %d, "
               "\"adapt_seconds\": %.3f, "
               "\"answer_seconds\": %.3f, \"peak_mb\": %.0f}\n",
               memory, K, rounds, seed, adapt_seconds, answer_seconds,
               (double)mac_peak_memory() / 1e6);
    else
        printf("\n  %d banks; %.2f s to adapt to %d documents, %.2f s to answer, peak memory %.0f "
               "MB\n",
               rounds, adapt_seconds, corpus.n_docs, answer_seconds,
               (double)mac_peak_memory() / 1e6);
    static const char *const split[] = {"closed relations", "open relations", "answers never seen"};
    const Score *score[] = {&closed_score, &open_score, &unseen_score};
    for (int i = 0; qa_kind && i < 3; i++) {
        print_score(split[i], score[i]);
        puts(json ? "}" : "");
    }
    print_gate();
    for (int i = 0; relations && i < by_rel.n; i++) {
        const RelScore *x = &by_rel.of[i];
        print_score(x->rel[0] ? x->rel : "(no relation)", &x->s);
        puts(json ? "}" : "");
    }
}

static Bank *eval_bank;         /* all documents of the corpus, encoded once */
static int *eval_order;         /* a random order of them */

static void eval_open(void) {
    if (!data_path) usage("--data is missing");
    open_model();
    for (int i = 0; i < n_data; i++) need_corpus(&corpus, data_files[i], text_format);
    if (corpus.n_qas == 0) die("%s: there is no question in it", data_path);
    int n = corpus.n_docs;
    eval_bank = need(bank_new(model->c.T, model->c.d, 0));
    eval_bank->half = half;
    double began = mac_seconds();
    for (int at = 0; at < n; at += LEARN_BATCH)
        learn(eval_bank, &corpus, at, at + LEARN_BATCH < n ? at + LEARN_BATCH : n);
    adapt_seconds = mac_seconds() - began;
    if (eval_bank->K != n) die("%s: two documents have the same hash", data_path);
    eval_order = need(malloc((size_t)n * sizeof *eval_order));
    uint64_t rng = (uint64_t)seed;
    for (int i = 0; i < n; i++) {
        int j = rng_below(&rng, i + 1);
        eval_order[i] = eval_order[j];
        eval_order[j] = i;
    }
}

/* The documents are dealt into banks of K, each bank is asked its documents' questions; what is
 * left over and fills no bank is left out.  The number of banks. */
static int evaluate(int K, Score *total) {
    int n = corpus.n_docs, rounds = n / K;
    *total = (Score){0, 0, 0, 0};
    set_threshold(K);
    by_rel.n = by_kind.n = n_cases = 0;
    for (int i = 0; i < corpus.n_qas; i++) /* kinds in the corpus' order, whatever the banks are */
        if (*corpus.qas[i].kind) need(score_rel(&by_kind, corpus.qas[i].kind));
    if (!bm25 && !strcmp(memory, "bm25")) bm25 = need(bm25_new(&corpus));
    answer_seconds = 0;
    if (rounds == 1 && !strcmp(memory, "shuffled"))
        die("a shuffled bank of %d needs as many other documents: choose --docs %d or fewer", K,
            n / 2);
    int *other = need(malloc((size_t)n * sizeof *other));
    for (int i = 0; i < n; i++) other[i] = eval_order[(i + K) % n]; /* the next bank's documents */
    for (int r = 0; r < rounds; r++)
        eval_round(eval_bank, eval_order + r * K, other + r * K, K, total);
    free(other);
    return rounds;
}

static void eval_close(void) {
    warn_cut();
    free(data_files), free(eval_order), free(by_rel.of), free(by_kind.of);
    free(qa_kind), free(cases);
    bank_free(eval_bank);
    bm25_free(bm25);
    corpus_free(&corpus);
}

static void command_eval(void) {
    static const char *const known[] = {"mac", "none", "shuffled", "gold", "bm25"};
    int ok = 0;
    for (int i = 0; i < 5; i++) ok |= !strcmp(memory, known[i]);
    if (!ok) usage("--memory %s is not one of mac, none, shuffled, gold, bm25", memory);
    eval_open();
    if (train_path) split_questions();
    Score total;
    int K = docs > 0 && docs < corpus.n_docs ? docs : corpus.n_docs;
    ask_others = 1;
    int rounds = evaluate(K, &total);
    print_eval(K, rounds, &total);
    if (out_path) draw_gate();
    eval_close();
}

/* A row for each kind of questions in each of the three memories that `of` has scores of. */
static void print_kinds(const RelScores *of) {
    static const char *const memories[] = {"bank of 1", "all documents", "in context"};
    for (int k = 0; k < of[0].n; k++)
        for (int i = 0; i < 3; i++) {
            char what[100];
            snprintf(what, sizeof what, "%s%s, %s", json ? "" : "  ", of[i].of[k].rel, memories[i]);
            print_score(what, &of[i].of[k].s);
            puts(json ? "}" : "");
        }
}

/* What the memory brings, with its controls, in one table; --out FILE.svg draws it. */
static void command_table(void) {
    static const struct { const char *memory, *what; int K; } rows[] = {
        {"none", "question alone", INT_MAX}, {"shuffled", "other documents", 16},
        {"mac", "MAC, bank of 1", 1},        {"mac", "MAC, bank of 16", 16},
        {"mac", "MAC, bank of 64", 64},      {"mac", "MAC, bank of 256", 256},
        {"mac", "MAC, all documents", INT_MAX}, {"gold", "document in context", INT_MAX},
        {"bm25", "LM that reads BM25's best document", INT_MAX}};
    const char *name[9];
    double em[9];
    RelScores kinds[3] = {{NULL, 0}}; /* in a bank of 1, with all documents, in context */
    int n = 0;
    eval_open();
    for (int i = 0; i < 9; i++) {
        Score total;
        int K = rows[i].K < corpus.n_docs ? rows[i].K : corpus.n_docs;
        if (K != rows[i].K && rows[i].K != INT_MAX && i > 1) continue; /* no such bank here */
        if (i == 1 && 2 * K > corpus.n_docs) K = corpus.n_docs / 2;
        if (K == 0) continue; /* a single document: there are no others */
        memory = rows[i].memory;
        evaluate(K, &total);
        print_score(rows[i].what, &total);
        print_refused(!strcmp(memory, "mac"));
        puts(json ? "}" : "");
        flush();
        if (i == 2 || i == 6 || i == 7) {
            kinds[i == 2 ? 0 : i - 5] = by_kind;
            by_kind = (RelScores){NULL, 0};
        }
        name[n] = rows[i].what;
        em[n++] = (double)total.em / (total.n ? total.n : 1);
    }
    print_kinds(kinds);
    for (int i = 0; i < 3; i++) free(kinds[i].of);
    static const char title[] = "Exact match on documents never trained on";
    char err[MAC_ERR];
    if (out_path && svg_bars(out_path, title, "EM", name, em, n, 1, err) != 0)
        die("%s", err);
    eval_close();
}

/* ==== inspect, people ======================================================================== */
static void command_inspect(void) {
    char err[MAC_ERR];
    if (n_words != 1) usage("inspect needs one file");
    StFile *f = need_file(words[0]);
    const char *format = st_meta(f, "format");
    if (whole && format && !strcmp(format, "mac-bank")) {
        Bank *b = bank_load_whole(words[0], err);
        if (!b || bank_check(b, words[0], err) != 0) die("%s", err);
        bank_free(b);
    } else if (whole) {
        Model *m = model_load(f, err);
        if (!m) die("%s", err);
        model_free(m);
    }
    show("", words[0]);
    show(": ", format ? format : "a safetensors file of other origin");
    putchar('\n');
    for (const MacField *field = mac_fields; field->name; field++) {
        const char *value = st_meta(f, field->name);
        if (!value) continue;
        printf("  %-8s %*s", field->name, strlen(value) < 6 ? 6 - (int)strlen(value) : 0, "");
        show("", value);
        printf("  %s\n", field->help);
    }
    const char *n = st_meta(f, "select");
    if (n) printf("  select   %6s  documents that answers are read from\n", n);
    double total = 0;
    for (int i = 0; i < st_count(f); i++) {
        const char *dtype;
        const int64_t *shape;
        int ndim;
        const char *name = st_info(f, i, &dtype, &ndim, &shape);
        printf("  %-4s [", dtype);
        for (int k = 0; k < ndim; k++) printf("%s%lld", k ? "," : "", (long long)shape[k]);
        show("]  ", name);
        putchar('\n');
        total += (double)st_size(f, name);
    }
    printf("%d tensors, %.0f numbers\n", st_count(f), total);
    st_close(f);
}

static void command_people(void) {
    char err[MAC_ERR];
    if (!out_path) usage("--out is missing");
    if (people_write(out_path, docs > 0 ? docs : 12000, (uint64_t)seed, err) != 0) die("%s", err);
}

int main(int argc, char **argv) {
    static const struct { const char *name; int taker; void (*run)(void); int words; /* at most */
    } commands[] = {{"learn", LEARN, command_learn, INT_MAX}, {"ask", ASK, command_ask, INT_MAX},
                    {"look", LOOK, command_look, 1},
                    {"list", LIST, command_list, 0}, {"forget", FORGET, command_forget, INT_MAX},
                    {"chat", CHAT, command_chat, 0}, {"eval", EVAL, command_eval, 0},
                    {"table", TABLE, command_table, 0}, {"inspect", INSPECT, command_inspect, 1},
                    {"people", PEOPLE, command_people, 0}, {NULL, -1, NULL, 0}};
    program_begin("run");
    if (argc < 2) usage("a command is missing");
    int i = 0;
    while (commands[i].name && strcmp(commands[i].name, argv[1])) i++;
    parse(argv, commands[i].taker);
    if (!commands[i].name) usage("there is no command \"%s\"", argv[1]);
    if (n_words > commands[i].words)
        usage("%s has no use for \"%s\"", argv[1], words[commands[i].words]);
    commands[i].run();
    flush();
    return status;
}
