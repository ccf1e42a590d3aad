/* eul.c - unlearning in weights, as EUL has it (arXiv 2310.20150), beside retraining.  The LM has
 * learned answers about FACTS documents by heart and must forget a tenth.  At the end of each layer
 * h + h W is added, W = 0 at first, and trained while the LM is frozen: in turns on what is
 * forgotten, f, and TURNS times on what is retained, r,
 *     -KL(F(f) || F'(f)) - 0.2 NLL'(f),        0.8 KL(F(r) || F'(r)) + NLL'(r),
 * F being the LM as it was, F' with the layers.  Nothing bounds the first loss.  So it ends when no
 * more of f is answered than by the LM that had never learned it.
 *
 *   eul DIR CORPUS NAME SEED QUICK WHAT        one cell: eul, of valid's documents; or eul-train,
 *                                              where all was chosen */
#include "paper.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FACTS 200
#define TURNS 4

static Lab lab;
static const Corpus *corpus;
static uint64_t rng;
static OpenLm plain, layered;
typedef struct { int *qa, n; } Part; /* of the questions; half and other are those of forgotten */
static Part all, retained, forgotten, half, other;

static Part part(int first, int last) { /* in twentieths of FACTS documents, which have no order */
    int docs = corpus->n_docs < FACTS ? corpus->n_docs : FACTS;
    Part p;
    p.qa = lab_questions(corpus, first * docs / 20, last * docs / 20, 0, &p.n);
    return p;
}

static void draw(const Part *p, Ids *x, int *from) { /* questions with their answers */
    tape_reset(lab.tp);
    for (int b = 0; b < OPEN_BATCH; b++) {
        const Qa *qa = &corpus->qas[p->qa[rng_below(&rng, p->n)]];
        x[b] = lab_pair(&lab, qa->q, qa->target, &from[b]);
    }
}

static void learn(const Part *p, int steps, const OpenLm *how) {
    Adam adam = adam_default((real)2e-3);
    Ids x[OPEN_BATCH];
    int from[OPEN_BATCH];
    param_freeze(&lab.m->ps, "base_lm.", 0);
    for (int i = 0; i < steps; i++) {
        draw(p, x, from);
        OpenGuess g = open_guess(&lab, x, from, OPEN_BATCH, how);
        Tensor *loss = op_cross_entropy(lab.tp, g.logits, g.target, g.weight);
        open_step(&lab, loss, &lab.m->ps, &adam);
    }
    param_freeze(&lab.m->ps, "base_lm.", 1);
}

static Tensor *both_losses(const Part *p, double share, double task) {
    Ids x[OPEN_BATCH];
    int from[OPEN_BATCH], was = tape_record(lab.tp, 0);
    draw(p, x, from);
    OpenGuess own = open_guess(&lab, x, from, OPEN_BATCH, &plain);
    Tensor *shares = op_softmax(lab.tp, own.logits);
    tape_record(lab.tp, was);
    OpenGuess g = open_guess(&lab, x, from, OPEN_BATCH, &layered);
    for (int i = 0; i < g.logits->shape[0]; i++)
        own.weight[i] *= (real)share, g.weight[i] *= (real)task;
    return op_add(lab.tp, open_shares(lab.tp, g.logits, shares, own.weight),
                  op_cross_entropy(lab.tp, g.logits, g.target, g.weight), 1);
}

static double em(const Part *p, OpenLm *how) {
    return open_greedy(&lab, corpus, p->qa, p->n, open_plain, how, NULL);
}

static int unlearn(Params *layers, double level) { /* the steps that it took */
    Adam adam = adam_default((real)5e-3);
    int i = 0;
    param_freeze(layers, "", 0);
    for (; i < (lab.quick ? 10 : 400) && (i % 10 || em(&forgotten, &layered) > level); i++) {
        open_step(&lab, both_losses(&forgotten, -1, -0.2), layers, &adam);
        for (int k = 0; k < TURNS; k++)
            open_step(&lab, both_losses(&retained, 0.8, 1), layers, &adam);
    }
    param_freeze(layers, "", 1);
    return i;
}

/* Also: half of the forgotten is learned again, and the other half asked.  Does it come back? */
static void put(Cell *c, const char *who, OpenLm *how, clock_t began, int again) {
    cell_note(c, who, "seconds", (double)(clock() - began) / CLOCKS_PER_SEC);
    cell_note(c, who, "forgotten", em(&forgotten, how));
    cell_note(c, who, "retained", em(&retained, how));
    if (!again) return;
    learn(&half, 20, how);
    cell_note(c, who, "again", em(&other, how));
}

int main(int argc, char **argv) {
    Cell c;
    if (!lab_begin(&lab, &c, argc, argv)) return 0;
    int heart = lab.quick ? 50 : 1000, L = lab.m->c.L, d = lab.m->c.d;
    size_t size = tune_size(lab.m);
    real *start = need(malloc(2 * size * sizeof *start)), *known = start + size;
    corpus = !strcmp(argv[6], "eul-train") ? &lab.train : &lab.valid, rng = (uint64_t)lab.seed + 13;
    all = part(0, 20), forgotten = part(0, 2), half = part(0, 1), other = part(1, 2);
    retained = part(2, 20);
    tune_copy(lab.m, start, TUNE_SAVE);
    cell_put(&c, "questions", all.n);
    clock_t began = clock();
    put(&c, "before", &plain, began, 0);
    learn(&all, heart, &plain), put(&c, "known", &plain, began, 0);
    tune_copy(lab.m, known, TUNE_SAVE), tune_copy(lab.m, start, TUNE_LOAD), began = clock();
    learn(&retained, heart, &plain), put(&c, "retrained", &plain, began, 1);
    tune_copy(lab.m, known, TUNE_LOAD), began = clock();
    Params layers = {0};
    layered.after = need(malloc((size_t)L * sizeof *layered.after));
    for (int l = 0; l < L; l++) layered.after[l] = need(param_new(&layers, "after", 2, d, d));
    cell_put(&c, "steps", unlearn(&layers, cell_get(&c, "before.forgotten")));
    put(&c, "eul", &layered, began, 1);
    lab_keep(&c);
    free(all.qa), free(retained.qa), free(forgotten.qa), free(half.qa), free(other.qa);
    free(layered.after), free(start);
    params_free(&layers);
    lab_close(&lab);
    return 0;
}
