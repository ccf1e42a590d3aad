/* retrieve.c - retrieval beside memory (the paper's Table 2): BM25's best documents in the
 * LM's context, MAC's memory, and both at once.
 *
 *   retrieve DIR CORPUS NAME SEED QUICK WHAT   one cell, see main
 *
 * The LM of a model reads one document.  Here it is first taught to read several, of which one
 * matters, half of the time behind MAC's prefix: the same LM then serves all rows.  The prefix is
 * drawn from hundreds of documents then too: who has only met good ones would trust bad ones. */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST 5             /* documents in a context                                            */
#define BATCH 16
#define OTHERS 500         /* training documents that a lesson's bank holds beside its own       */

static Lab lab;

static double reader_file(void) {
    char path[512];
    lab_path(&lab, path, sizeof path, "models", ".reader.safetensors");
    return (double)(file_print(MAC_FNV, path) >> 12); /* a double holds 52 bits */
}

/* The documents behind one another, as many as the window has room for, whole ones only (but the
 * first): how many. */
static int join(const Ids *doc, int n, const int *order, Ids *out) {
    int fit = 0, total = 0, taken[MOST];
    for (int i = 0; i < n; i++) {
        if (fit && total + doc[i].n > lab.m->c.D) continue;
        taken[fit++] = i;
        total += doc[i].n;
    }
    int *id = reader_room(&lab.reader, total + 1, sizeof *id), at = 0;
    for (int k = 0; k < n; k++)
        for (int i = 0; i < fit; i++)
            if (taken[i] == order[k]) {
                memcpy(id + at, doc[order[k]].id, (size_t)doc[order[k]].n * sizeof *id);
                at += doc[order[k]].n;
            }
    *out = (Ids){id, at};
    return fit;
}

/* ==== teaching the LM to read several ======================================================== */
typedef struct { Ids doc, q, x; char *asked; } Example;

/* A training question, not one of the OTHERS', its document with other answers, and what BM25 finds
 * beside it, up to `most` documents, 0: the question alone.  What bears the same name may in
 * training say something else: it is neither in the context nor among the others. */
static int draw_example(const Bm25 *index, Augment *aug, uint64_t *rng, int others, int most,
                        Example *e) {
    int found[3 * MOST], n = 1, from, order[MOST];
    int i = others + rng_below(rng, lab.train.n_docs - others);
    Ids doc[MOST], context;
    AugDoc d;
    for (int j = 0; j < others; j++)
        if (!strcmp(lab.train.docs[j].title, lab.train.docs[i].title)) return 0;
    if (aug_draw(aug, i, NULL, 0, 0.8, 0, rng, &d) != 0) die("out of memory");
    if (d.n == 0) { aug_drop(&d); return 0; }
    int k = rng_below(rng, d.n), beside = bm25_top(index, d.q[k], 3 * MOST, found);
    e->doc = doc[0] = reader_document(&lab.reader, d.text);
    e->q = reader_question(&lab.reader, d.q[k]);
    for (int b = 0; b < beside && n < most; b++)
        if (strcmp(lab.train.docs[found[b]].title, lab.train.docs[i].title))
            doc[n++] = reader_document(&lab.reader, lab.train.docs[found[b]].text);
    if (most == 0) n = 0;
    for (int j = 0; j < n; j++) { /* a random order */
        int at = rng_below(rng, j + 1);
        order[j] = j;
        order[j] = order[at], order[at] = j;
    }
    join(doc, n, order, &context);
    Ids pair = lab_pair(&lab, d.q[k], d.a[k], &from);
    int *id = reader_room(&lab.reader, context.n + pair.n, sizeof *id);
    memcpy(id, context.id, (size_t)context.n * sizeof *id);
    memcpy(id + context.n, pair.id, (size_t)pair.n * sizeof *id);
    e->x = (Ids){id, context.n + pair.n, context.n};
    e->asked = reader_room(&lab.reader, e->x.n, 1);
    memset(e->asked + context.n + from, 1, (size_t)(pair.n - from));
    aug_drop(&d);
    return 1;
}

/* What the questions draw from a bank of the batch's documents and others; without a gradient. */
static Tensor *batch_prefix(const Example *e, const Bank *others) {
    Ids doc[BATCH], q[BATCH];
    int first[BATCH] = {0}, docs[BATCH];
    int K = BATCH + others->K, n = K * others->T;
    for (int i = 0; i < BATCH; i++) doc[i] = e[i].doc, q[i] = e[i].q, docs[i] = K;
    AggReads reads = {.doc0 = first, .docs = docs};
    int was = tape_record(lab.tp, 0);
    Tensor *phi = mac_encode(lab.m, lab.tp, doc, BATCH);
    Tensor old = {2, {others->K * others->T, others->d, 1}, others->phi, NULL};
    int *idx = tape_alloc(lab.tp, (size_t)n * sizeof *idx);
    for (int i = 0; idx && i < n; i++) idx[i] = i;
    if (idx) phi = op_rows(lab.tp, phi, &old, idx, n);
    phi = phi ? agg_forward(lab.m, lab.tp, q, BATCH, phi, &reads) : NULL;
    Tensor *prefix = phi ? prefix_expand(lab.m, lab.tp, phi, BATCH) : NULL;
    tape_record(lab.tp, was);
    return prefix;
}

static void teach_reader(Cell *c) {
    char path[512], err[MAC_ERR];
    int steps = lab.quick ? 400 : 1000;
    uint64_t rng = (uint64_t)lab.seed + 23;
    double sum = 0;
    Augment *aug = need(aug_new(&lab.train));
    Bm25 *index = need(bm25_new(&lab.train));
    int n_others = OTHERS < lab.train.n_docs / 2 ? OTHERS : lab.train.n_docs / 2;
    Bank *others = lab_learn(&lab, &lab.train, 0, n_others, 64);
    Adam adam = adam_default(0);
    adam.clip = 1;
    param_freeze(&lab.m->ps, "base_lm.", 0);
    for (int step = 0; step < steps; step++) {
        Example e[BATCH];
        Ids x[BATCH];
        const char *asked[BATCH];
        tape_reset(lab.tp);
        for (int i = 0; i < BATCH; i++) {
            int most = 1 + rng_below(&rng, MOST); /* or none, where there is a memory */
            if (step % 2 && rng_below(&rng, 4) == 0) most = 0;
            while (!draw_example(index, aug, &rng, n_others, most, &e[i])) {}
            x[i] = e[i].x, asked[i] = e[i].asked;
        }
        Tensor *prefix = step % 2 ? batch_prefix(e, others) : NULL;
        Tensor *loss = lm_loss(lab.m, lab.tp, x, asked, BATCH, prefix, 0);
        if (tape_backward(lab.tp, loss) != 0) die("%s", tape_error(lab.tp));
        sum += (double)loss->data[0];
        adam.lr = lr_schedule(LR_COSINE, (real)1.5e-3, step, 20, steps);
        adam_step(&lab.m->ps, &adam);
        if (step % 50 != 49) continue;
        lab_say(&lab, "reader, step %d of %d: loss %.4f", step + 1, steps, sum / 50);
        sum = 0;
    }
    lab_path(&lab, path, sizeof path, "models", ".reader.safetensors");
    StWriter *w = need(st_new());
    if (model_save(lab.m, w, 0) != 0 || st_write(w, path, err) != 0) die("%s", path);
    cell_put(c, "steps", steps);
    cell_put(c, "others", n_others);
    cell_put(c, "file", reader_file());
    bank_free(others), bm25_free(index), aug_free(aug);
}

static void open_reader(void) {
    char path[512], err[MAC_ERR];
    Cell c;
    if (!lab_cell(&lab, &c, "reader") || cell_get(&c, "file") != reader_file())
        die("%s: the cell reader is needed first", lab.name);
    lab_path(&lab, path, sizeof path, "models", ".reader.safetensors");
    StFile *f = st_open(path, err);
    if (!f || params_load(&lab.m->ps, f, 0, err) != 0) die("%s", err);
    st_close(f);
}

/* ==== asking ================================================================================= */
typedef struct { int hits; double fit; } Found;

/* The k best documents, the best one last, where the question follows. */
static Ids retrieved(const Bm25 *index, const Qa *qa, int k, Found *sum) {
    int found[MOST], order[MOST], n = bm25_top(index, qa->q, k, found);
    Ids doc[MOST], context = {NULL, 0};
    if (n < 0) die("out of memory");
    for (int i = 0; i < n; i++) {
        doc[i] = reader_document(&lab.reader, lab.test.docs[found[i]].text);
        order[i] = n - 1 - i;
        sum->hits += found[i] == qa->doc;
    }
    sum->fit += join(doc, n, order, &context);
    return context;
}

static void retrieve(Cell *c, int memory, int k) {
    Score s = {0, 0, 0, 0};
    Found found = {0, 0};
    Bm25 *index = need(bm25_new(&lab.test));
    Bank *bank = memory ? lab_learn(&lab, &lab.test, 0, lab.test.n_docs, 64) : NULL;
    int cap = lab.m->c.A, asked[BATCH], n_qas = lab.test.n_qas, next = 0;
    while (next < n_qas) {
        int n = 0, out[BATCH * 256], len[BATCH];
        Ids q[BATCH], context[BATCH];
        tape_reset(lab.tp);
        for (; n < BATCH && next < n_qas; next++) {
            const Qa *qa = &lab.test.qas[next];
            if (qa->doc >= lab.test.n_docs) continue; /* quick: its document was left out */
            if (next != lab_one(&lab.test, qa->doc)) continue;
            q[n] = reader_question(&lab.reader, qa->q);
            context[n] = retrieved(index, qa, k, &found);
            asked[n++] = next;
        }
        AnswerOptions o = {.context = context, .select = lab.select};
        if (cap > 256) die("answers of %d tokens", cap);
        if (n && mac_answer(lab.m, lab.tp, q, n, bank, cap, out, len, &o) != 0)
            die("%s", tape_error(lab.tp));
        for (int i = 0; i < n; i++) {
            size_t bytes;
            char *text = need(tok_decode(lab.reader.tok, out + i * cap, len[i], &bytes));
            score_add(&s, &lab.test.qas[asked[i]], text);
            free(text);
        }
    }
    lab_put_score(c, "", &s);
    cell_put(c, "hit", (double)found.hits / (s.n ? s.n : 1));
    cell_put(c, "fit", found.fit / (s.n ? s.n : 1));
    bank_free(bank), bm25_free(index);
}

int main(int argc, char **argv) {
    Cell c;
    program_begin("paper");
    if (argc != 7) die("usage: retrieve DIR CORPUS NAME SEED QUICK WHAT");
    const char *what = argv[6];
    char way[20] = "";
    int k = -1;
    lab_open(&lab, argv);
    int done = lab_cell(&lab, &c, what);
    if (done && !strcmp(what, "reader")) done = cell_get(&c, "file") == reader_file();
    if (done) { lab_close(&lab); return 0; }
    c.n = 0;
    lab_say(&lab, "%s", what);
    sscanf(what, "retrieve-%19[^-]-%d", way, &k);
    int memory = !strcmp(way, "mac") || !strcmp(way, "both");
    if (!strcmp(what, "reader")) teach_reader(&c);
    else if (k >= 0 && k <= MOST && (memory || !strcmp(way, "bm25"))) {
        open_reader();
        retrieve(&c, memory, k);
    } else die("there is no cell %s", what);
    lab_keep(&c);
    lab_close(&lab);
    return 0;
}
