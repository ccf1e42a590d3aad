/* adapt.c - MAC beside finetuning on a stream of documents: what is answered afterwards (the
 * paper's Table 1), what adapting costs (Figure 2), what is kept of the first documents (Figure 3).
 *
 *   adapt DIR CORPUS NAME SEED QUICK WHAT      one cell, see main */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static Lab lab;
static Camels *camels;

typedef struct { const char *name; int tunes; Weigh weigh; } Method;
static const Method methods[] = {
    {"none", 0, 0}, {"question", 0, 0}, {"shuffled", 0, 0}, {"uniform", 1, WEIGH_UNIFORM},
    {"salient", 1, WEIGH_SALIENT}, {"camels", 1, WEIGH_CAMELS}, {"mac", 0, 0}, {"gold", 0, 0},
    {"mac4", 0, 0}, {"mac64", 0, 0}, {"mac16", 0, 0}, {"diverse", 0, 0}, {NULL, 0, 0}};

static const Method *method_find(const char *name) {
    for (const Method *m = methods; m->name; m++)
        if (!strcmp(m->name, name)) return m;
    die("there is no method %s", name);
    return NULL;
}

/* The official grid, and three larger ones, which a model as small as ours may want. */
static const double rates[] = {1.5625e-6, 6.25e-6, 2.5e-5, 1e-4, 4e-4, 1.6e-3, 6.4e-3};
#define RATES 7

/* What another cell of this model has measured; the shell script has made it before.  On another's
 * corpus it is of other files, and so by something else than this process. */
static int elsewhere;
static double other_cell(const char *what, const char *key) {
    char path[512], ending[100];
    Cell c;
    snprintf(ending, sizeof ending, ".%s.txt", what);
    lab_path(&lab, path, sizeof path, "cells", ending);
    if (cell_read(&c, path, elsewhere ? 0 : lab.made_by) != 0)
        die("the cell %s is needed first", what);
    return cell_get(&c, key);
}

/* The files that tuning leaves are a part of what makes the later cells: bytes are checked. */
static double file_number(const char *ending) {
    char path[512];
    lab_path(&lab, path, sizeof path, "models", ending);
    return (double)(file_print(MAC_FNV, path) >> 12); /* a double holds 52 bits */
}

static void tuned_lm(void) { /* the QA-tuned LM takes the place of the model's own */
    char path[512], err[MAC_ERR];
    if (other_cell("tune", "file") != file_number(".qa.safetensors"))
        die("%s: the QA-tuned LM is not the one that was measured", lab.name);
    lab_path(&lab, path, sizeof path, "models", ".qa.safetensors");
    StFile *f = st_open(path, err);
    if (!f || params_load(&lab.m->ps, f, 0, err) != 0) die("%s", err);
    st_close(f);
}

static void open_camels(void) {
    if (other_cell("camels", "file") != file_number(".camels.safetensors"))
        die("%s: CaMeLS' weights are not those that were measured", lab.name);
    camels = camels_new(&lab, ".camels.safetensors", 1);
}

static Adam fresh_adam(double rate) { /* moments at zero */
    param_freeze(&lab.m->ps, "base_lm.", 1);
    param_freeze(&lab.m->ps, "base_lm.", 0);
    Adam a = adam_default((real)rate);
    a.clip = 750;
    return a;
}

static void train_camels(Cell *c) {
    char path[512], err[MAC_ERR];
    tuned_lm();
    camels = camels_new(&lab, ".qa.safetensors", 0);
    double anew = other_cell("tune", "anew");
    real *theta0 = need(malloc(tune_size(lab.m) * sizeof *theta0));
    double sum = 0, began = mac_seconds();
    int steps = lab.quick ? 60 : 400;
    tune_copy(lab.m, theta0, TUNE_SAVE);
    param_freeze(&lab.m->ps, "base_lm.", 0);
    for (int step = 0; step < steps; step++) {
        int restart = step % 4 == 0; /* every 24 documents */
        sum += (double)camels_step(camels, &lab, theta0, restart, anew);
        if (step % 100 == 99)
            lab_say(&lab, "CaMeLS, step %d: loss %.4f", step + 1, sum / (step + 1));
    }
    lab_path(&lab, path, sizeof path, "models", ".camels.safetensors");
    if (camels_save(camels, path, err) != 0) die("%s", err);
    cell_put(c, "seconds", mac_seconds() - began);
    cell_put(c, "steps", steps);
    cell_put(c, "loss", sum / steps);
    cell_put(c, "file", file_number(".camels.safetensors"));
    free(theta0);
}

/* The learning rate that answers most of the questions about the first 200 documents of valid after
 * a pass over them. */
static void choose_rate(Cell *c, const Method *m) {
    double best = -1, rate = 0;
    int docs = lab.valid.n_docs < 200 ? lab.valid.n_docs : 200;
    real *start = need(malloc(tune_size(lab.m) * sizeof *start));
    tuned_lm();
    tune_copy(lab.m, start, TUNE_SAVE);
    if (m->weigh == WEIGH_CAMELS) open_camels();
    for (int i = 0; i < RATES; i++) {
        char key[40];
        Score s = {0, 0, 0, 0};
        tune_copy(lab.m, start, TUNE_LOAD);
        Adam adam = fresh_adam(rates[i]);
        tune_stream(&lab, &lab.valid, 0, docs, m->weigh, camels, &adam);
        lab_ask(&lab, &lab.valid, 0, docs, &(Asking){0}, &s);
        double f1 = s.f1 / (s.n ? s.n : 1);
        snprintf(key, sizeof key, "f1.at.%g", rates[i]);
        cell_put(c, key, f1);
        lab_say(&lab, "%s, learning rate %g: F1 on valid %.4f", m->name, rates[i], f1);
        if (f1 > best) best = f1, rate = rates[i];
    }
    cell_put(c, "rate", rate);
    free(start);
}

static Adam start_tuning(const Method *m) {
    char cell[60];
    snprintf(cell, sizeof cell, "rate-%s", m->name);
    double rate = other_cell(cell, "rate");
    tuned_lm();
    if (m->weigh == WEIGH_CAMELS) open_camels();
    return fresh_adam(rate);
}

/* ==== experiment 1: answers after the whole stream =========================================== */
static void adapt(Cell *c, const Method *m) {
    const Corpus *t = &lab.test;
    int n = t->n_docs, shuffled = !strcmp(m->name, "shuffled");
    Score s = {0, 0, 0, 0};
    Asking how = {.gold = !strcmp(m->name, "gold")};
    Bank *bank[2] = {NULL, NULL};
    if (!strcmp(m->name, "diverse")) /* as the official evaluation answers */
        how.beams = 12, how.groups = 4, how.penalty = 10;
    if (m->tunes) {
        Adam adam = start_tuning(m);
        tune_stream(&lab, t, 0, n, m->weigh, camels, &adam);
    } else if (!strcmp(m->name, "none")) tuned_lm();
    if (!strcmp(m->name, "mac") || how.beams) bank[0] = lab_learn(&lab, t, 0, n, 64);
    if (!strcmp(m->name, "question")) bank[0] = lab_learn(&lab, t, 0, 0, 64);
    for (int half = 0; shuffled && half < 2; half++) /* each half asks the other */
        bank[half] = lab_learn(&lab, t, half ? n / 2 : 0, half ? n : n / 2, 64);
    how.bank = shuffled ? bank[1] : bank[0];
    lab_ask(&lab, t, 0, shuffled ? n / 2 : n, &how, &s);
    how.bank = bank[0];
    if (shuffled) lab_ask(&lab, t, n / 2, n, &how, &s);
    lab_put_score(c, "", &s);
    cell_put(c, "documents", n);
    cell_put(c, "cut", lab.reader.cut);
    bank_free(bank[0]), bank_free(bank[1]);
}

/* Is finetuning broken, or does it not help?  Uniform goes over some documents again and again: the
 * loss of their text falls; and F1 of their questions? */
static void passes(Cell *c) {
    static const Method uniform = {"uniform", 1, WEIGH_UNIFORM};
    int n = lab.test.n_docs < 100 ? lab.test.n_docs : 100;
    real *loss = need(malloc((size_t)lab.m->c.D * sizeof *loss));
    Adam adam = start_tuning(&uniform);
    for (int pass = 0; pass <= 32; pass++) {
        if (pass) tune_stream(&lab, &lab.test, 0, n, WEIGH_UNIFORM, NULL, &adam);
        if (pass & (pass - 1)) continue;
        char key[40];
        Score s = {0, 0, 0, 0};
        double sum = 0;
        int tokens = 0;
        for (int i = 0; i < n; i++) {
            tape_reset(lab.tp);
            Ids x = reader_document(&lab.reader, lab.test.docs[i].text);
            if (tune_losses(lab.m, lab.tp, &x, 1, loss) != 0) die("%s", tape_error(lab.tp));
            for (int k = 0; k + 1 < x.n; k++) sum += (double)loss[k], tokens++;
        }
        lab_ask(&lab, &lab.test, 0, n, &(Asking){0}, &s);
        snprintf(key, sizeof key, "loss.%d", pass);
        cell_put(c, key, sum / (tokens ? tokens : 1));
        snprintf(key, sizeof key, "f1.%d", pass);
        cell_put(c, key, s.f1 / (s.n ? s.n : 1));
    }
    cell_put(c, "documents", n);
    free(loss);
}

/* Does finetuning work at all?  Each text becomes its document's questions with their answers, the
 * one of lab_one first: where a text is known by heart, the question that begins it is answered. */
static char *questions_as_text(const Corpus *t, int doc) {
    const Doc *d = &t->docs[doc];
    int one = 0;
    size_t n = 1;
    for (int i = 0; i < d->n_qas; i++) {
        n += strlen(t->qas[d->qas[i]].q) + strlen(t->qas[d->qas[i]].target) + 3;
        if (d->qas[i] == lab_one(t, doc)) one = i;
    }
    char *text = need(malloc(n)), *to = text;
    for (int i = 0; i < d->n_qas; i++) {
        const Qa *x = &t->qas[d->qas[(one + i) % d->n_qas]];
        to += sprintf(to, "%s%s %s.", i ? " " : "", x->q, x->target);
    }
    return text;
}

static void by_heart(Cell *c) {
    static const Method uniform = {"uniform", 1, WEIGH_UNIFORM};
    Corpus *t = &lab.test;
    int n = t->n_docs < 100 ? t->n_docs : 100;
    for (int i = 0; i < n; i++) {
        char *text = t->docs[i].n_qas ? questions_as_text(t, i) : NULL;
        if (!text) continue;
        free(t->docs[i].text);
        t->docs[i].text = text;
    }
    Adam adam = start_tuning(&uniform);
    for (int pass = 0; pass < 32; pass++) tune_stream(&lab, t, 0, n, WEIGH_UNIFORM, NULL, &adam);
    for (int one = 0; one < 2; one++) {
        Score s = {0, 0, 0, 0};
        lab_ask(&lab, t, 0, n, &(Asking){.one = one}, &s);
        lab_put_score(c, one ? "begins." : "all.", &s);
    }
}

static void adapt_small(Cell *c) { /* MAC with banks of 16 */
    Score s = {0, 0, 0, 0};
    for (int at = 0; at + 16 <= lab.test.n_docs; at += 16) {
        Bank *b = lab_learn(&lab, &lab.test, at, at + 16, 16);
        lab_ask(&lab, &lab.test, at, at + 16, &(Asking){.bank = b}, &s);
        bank_free(b);
    }
    lab_put_score(c, "", &s);
}

/* ==== experiment 2: seconds and memory of adapting, the seconds the least of three passes ===== */
static double bytes_of(const char *prefix) {
    return (double)param_count(&lab.m->ps, prefix) * (double)sizeof(real);
}

/* An LM of width d and four layers takes the model's place, its weights as drawn: what a step costs
 * does not depend on them.  The encoders stay as they are. */
static void widen(int d) {
    MacConfig c = lab.m->c;
    c.d = d, c.L = 4, c.H = d / 32;
    model_free(lab.m);
    lab.m = need(model_new(&c, (uint64_t)lab.seed));
    param_freeze(&lab.m->ps, "", 1);
}

typedef struct { double took, cpu, step, process; } Cost; /* from the first document on */

static void put_cost(Cell *c, int mark, int n, double state, const Cost *x) {
    const double value[] = {n, x->took, x->cpu, x->step, state, state + x->step, x->process};
    static const char *const name[] = {"documents", "seconds", "cpu", "step", "state", "bytes",
                                       "process"};
    for (int i = 0; i < 7; i++) {
        char key[40];
        snprintf(key, sizeof key, "%s.%d", name[i], mark);
        cell_put(c, key, value[i]);
    }
}

static void cost(Cell *c, const Method *m, int n, int wide) { /* wide 0: the model as it is */
    int mac = !strncmp(m->name, "mac", 3), batch = mac && m->name[3] ? atoi(m->name + 3) : 1;
    Cost at[COST_MARKS];
    if (n > lab.test.n_docs) n = lab.test.n_docs;
    if (wide) widen(wide);
    Adam adam = mac ? adam_default(0) : fresh_adam(1e-4); /* weights and rate change no cost */
    if (m->weigh == WEIGH_CAMELS) {
        camels = camels_new(&lab, ".safetensors", 0);
        param_freeze(&camels->body->ps, "", 1); /* as a trained one */
    }
    lab_fresh(&lab); /* what was read so far is no part of the cost */
    for (int pass = 0; pass < 3; pass++) {
        double began = mac_seconds(), cpu_began = (double)clock();
        for (int k = 0, done = 0, upto; k < COST_MARKS; k++, done = upto) {
            upto = cost_marks[k] < n ? cost_marks[k] : n;
            if (mac) bank_free(lab_learn(&lab, &lab.test, done, upto, batch));
            else tune_stream(&lab, &lab.test, done, upto, m->weigh, camels, &adam);
            Cost now = {mac_seconds() - began, ((double)clock() - cpu_began) / CLOCKS_PER_SEC,
                        (double)tape_peak(lab.tp), (double)mac_peak_memory()};
            if (pass == 0) at[k] = now; /* whose memory counts: what later ones take stays taken */
            at[k].took = fmin(at[k].took, now.took), at[k].cpu = fmin(at[k].cpu, now.cpu);
        }
    }
    /* the document encoder and its MLPs, and the bank; or values, gradients, two moments */
    double state = mac ? bytes_of("enc_decoder.") + bytes_of("mlps.") : 4 * bytes_of("base_lm.");
    double row = mac ? (double)(lab.m->c.T * lab.m->c.d) * (double)sizeof(real) : 0;
    if (m->weigh == WEIGH_CAMELS && camels) state += bytes_of("base_lm.");
    cell_put(c, "documents", n);
    cell_put(c, "lm", (double)param_count(&lab.m->ps, "base_lm."));
    cell_put(c, "encoder", (double)param_count(&lab.m->ps, "enc_decoder."));
    for (int k = 0; k < COST_MARKS; k++) {
        int upto = cost_marks[k] < n ? cost_marks[k] : n;
        if (upto < n || k == COST_MARKS - 1) put_cost(c, k, upto, state + upto * row, &at[k]);
    }
}

/* ==== experiment 3: what is kept of the first documents ====================================== */
#define LOOKS 6
static void keep(Cell *c, const Method *m) {
    int n = lab.test.n_docs, first = n >= 400 ? 200 : n / 3, done = 0;
    Adam adam = m->tunes ? start_tuning(m) : adam_default(0);
    cell_put(c, "first", first);
    for (int look = 0; look <= LOOKS; look++) {
        char key[40];
        Score s = {0, 0, 0, 0};
        int upto = first + (int)((int64_t)(n - first) * look / LOOKS);
        Bank *bank = m->tunes ? NULL : lab_learn(&lab, &lab.test, 0, upto, 64);
        if (m->tunes) tune_stream(&lab, &lab.test, done, upto, m->weigh, camels, &adam);
        done = upto;
        lab_ask(&lab, &lab.test, 0, first, &(Asking){.bank = bank}, &s);
        snprintf(key, sizeof key, "documents.%d", look);
        cell_put(c, key, upto);
        snprintf(key, sizeof key, "f1.%d", look);
        cell_put(c, key, s.f1 / (s.n ? s.n : 1));
        bank_free(bank);
    }
}

int main(int argc, char **argv) {
    Cell c;
    program_begin("paper");
    if (argc != 7) die("usage: adapt DIR CORPUS NAME SEED QUICK WHAT");
    const char *what = argv[6];
    char kind[20] = "", name[20] = "";
    int n = 0;
    lab_open(&lab, argv);
    int done = lab_cell(&lab, &c, what);
    if (done && !strcmp(what, "tune"))
        done = cell_get(&c, "file") == file_number(".qa.safetensors");
    if (done && !strcmp(what, "camels"))
        done = cell_get(&c, "file") == file_number(".camels.safetensors");
    if (done) { lab_close(&lab); return 0; }
    c.n = 0;
    lab_say(&lab, "%s", what);
    sscanf(what, "%19[^-]-%19[^-]-%d", kind, name, &n);
    elsewhere = !strcmp(kind, "ood");
    if (elsewhere && strcmp(strrchr(what, '-') + 1, strrchr(lab.corpus, '/') + 1))
        die("%s is asked of %s", what, lab.corpus);
    if (!strcmp(what, "tune")) {
        tune_on_questions(&lab, &c);
        cell_put(&c, "file", file_number(".qa.safetensors"));
    } else if (!strcmp(what, "camels")) train_camels(&c);
    else if (!strcmp(kind, "rate")) choose_rate(&c, method_find(name));
    else if (!strcmp(what, "passes")) passes(&c);
    else if (!strcmp(what, "heart")) by_heart(&c);
    else if (!strcmp(what, "adapt-mac16")) adapt_small(&c);
    else if (!strcmp(kind, "adapt") || !strcmp(kind, "ood")) adapt(&c, method_find(name));
    else if (!strcmp(kind, "cost")) cost(&c, method_find(name), 1 << 30, 0);
    else if (!strcmp(kind, "wide")) cost(&c, method_find(name), 100, n);
    else if (!strcmp(kind, "keep")) keep(&c, method_find(name));
    else die("there is no cell %s", what);
    lab_keep(&c);
    camels_free(camels);
    lab_close(&lab);
    return 0;
}
