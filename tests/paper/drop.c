/* drop.c - backpropagation dropout (the paper's Figure 4 and Table 3): what a training step
 * takes when only a part of its documents gets a gradient.
 *
 *   drop DIR CORPUS NAME SEED QUICK drop-PERCENT   one cell */
#include "paper.h"
#include <stdlib.h>
#include <string.h>

#define DOCS 32            /* of a step, in one bank; three questions each                        */
#define QUESTIONS 3
#define STEPS 10

static Lab lab;

static Ids joined(Ids a, Ids b) {
    int *id = paper_need(tape_alloc(lab.tp, (size_t)(a.n + b.n) * sizeof *id));
    if (a.n) memcpy(id, a.id, (size_t)a.n * sizeof *id);
    memcpy(id + a.n, b.id, (size_t)b.n * sizeof *id);
    return (Ids){id, a.n + b.n};
}

/* One step of meta-training on documents first, first+1, ...; as in the official code only those
 * with a gradient are asked about. */
static void step(int first, int n_grad, Adam *adam) {
    Ids docs[DOCS], q[DOCS * QUESTIONS], qa[DOCS * QUESTIONS];
    int doc[DOCS * QUESTIONS], n = 0;
    MacStats stats;
    tape_reset(lab.tp);
    for (int i = 0; i < DOCS; i++) {
        const Doc *d = &lab.train.docs[(first + i) % lab.train.n_docs];
        docs[i] = lab_ids(&lab, prompt_document, d->text, lab.m->c.D);
        for (int k = 0; i < n_grad && k < d->n_qas && k < QUESTIONS; k++) {
            const Qa *x = &lab.train.qas[d->qas[k]];
            q[n] = lab_ids(&lab, prompt_question, x->q, lab.m->c.Q);
            qa[n] = joined(q[n], lab_ids(&lab, prompt_answer, x->target, lab.m->c.A));
            doc[n++] = i;
        }
    }
    MacBatch b = {.docs = docs, .n_docs = DOCS, .n_grad = n_grad, .q = q, .qa = qa, .n_q = n,
                  .doc = doc, .bank_size = DOCS};
    if (tape_backward(lab.tp, mac_loss(lab.m, lab.tp, &b, &stats)) != 0)
        paper_die("%s", tape_error(lab.tp));
    adam_step(&lab.m->ps, adam);
}

int main(int argc, char **argv) {
    Cell c;
    int percent;
    if (argc != 7 || sscanf(argv[6], "drop-%d", &percent) != 1 || percent < 0 || percent > 99)
        paper_die("usage: drop DIR CORPUS NAME SEED QUICK drop-PERCENT");
    lab_open(&lab, argv);
    if (lab_cell(&lab, &c, argv[6])) { lab_close(&lab); return 0; }
    lab_say(&lab, "%s", argv[6]);
    int n_grad = DOCS - DOCS * percent / 100;
    Adam adam = adam_default((real)5e-4);
    param_freeze(&lab.m->ps, "", 0);
    param_freeze(&lab.m->ps, "base_lm.", 1);
    step(0, n_grad, &adam); /* the first one finds its memory, and is not timed */
    double began = mac_seconds();
    for (int i = 1; i <= STEPS; i++) step(i * DOCS, n_grad, &adam);
    cell_put(&c, "documents", DOCS);
    cell_put(&c, "gradient", n_grad);
    cell_put(&c, "seconds", (mac_seconds() - began) / STEPS);
    cell_put(&c, "peak", (double)tape_peak(lab.tp));
    lab_keep(&c);
    lab_close(&lab);
    return 0;
}
