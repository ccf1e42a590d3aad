/* codes.c - a concept is deleted from a codebook, as in CodeUnlearn (arXiv 2410.10866).  Vectors x
 * of documents go through a bottleneck with nothing past it: of CODES codes those FIRED that fit,
 *     z = the FIRED largest of relu(We x + be), the others 0;      x' = Wd z + bd.
 * A concept is an answer, a city say.  Documents of training that name it, and the same ones with
 * another answer in its place, say which codes it lights up: those with the largest
 * log((f + 1) / (f' + 1)), f and f' counting how often a code fires in them.  These become 0 in all
 * documents of the bank, whose texts are not needed.
 *
 *   codes DIR CORPUS NAME SEED QUICK WHAT      one cell; codes-valid: where all was chosen */
#include "paper.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CODES 1024
#define FIRED 32
#define DELETED 128 /* of 4, 16, 64, 128: the best on people's valid */
#define CONCEPTS 10

static Lab lab;
static Params ps;
static Tensor *We, *be, *Wd, *bd;
static size_t per; /* numbers of a document, T*d */
static const char *concept[CONCEPTS];
static int order[CONCEPTS][CODES]; /* the codes that a concept lights up first */

static Tensor *fire(Tensor *x) { /* z [R,CODES] */
    int largest[FIRED];
    Tensor *a = need(op_linear(lab.tp, x, We, be, 0));
    Tensor *less = need(tape_tensor(lab.tp, x->shape[0], CODES));
    for (int r = 0; r < x->shape[0]; r++) {
        real *of = less->data + r * CODES;
        open_largest(a->data + r * CODES, CODES, FIRED, largest);
        for (int j = 0; j < CODES; j++) of[j] = (real)-1e9;
        for (int i = 0; i < FIRED; i++) of[largest[i]] = 0;
    }
    return op_act(lab.tp, op_add(lab.tp, a, less, 1), ACT_RELU);
}

static void learn_codes(const real *phi, int rows, int steps) {
    int d = lab.m->c.d, idx[512];
    uint64_t rng = (uint64_t)lab.seed + 17;
    Adam adam = adam_default(0);
    Tensor all = {2, {rows, d, 1}, (real *)(uintptr_t)phi, NULL};
    We = need(param_new(&ps, "e.w", 2, CODES, d)), be = need(param_new(&ps, "e.b", 1, CODES));
    Wd = need(param_new(&ps, "d.w", 2, CODES, d)), bd = need(param_new(&ps, "d.b", 1, d));
    for (int i = 0; i < CODES * d; i++)
        We->data[i] = Wd->data[i] = rng_normal(&rng) / (real)sqrt((double)d);
    param_freeze(&ps, "", 0);
    for (int step = 0; step < steps; step++) {
        tape_reset(lab.tp);
        for (int r = 0; r < 512; r++) idx[r] = rng_below(&rng, rows);
        Tensor *x = need(op_rows(lab.tp, &all, NULL, idx, 512));
        Tensor *loss = op_square_error(lab.tp, op_linear(lab.tp, fire(x), Wd, bd, 1), x);
        adam.lr = lr_schedule(LR_COSINE, (real)3e-3, step, 50, steps);
        open_step(&lab, loss, &ps, &adam);
    }
    param_freeze(&ps, "", 1);
}

/* A document's phi through the bottleneck, without codes that are gone; how often each fires. */
static void recode(const real *phi, const char *gone, real *to, double *fired) {
    tape_reset(lab.tp);
    Tensor x = {2, {lab.m->c.T, lab.m->c.d, 1}, (real *)(uintptr_t)phi, NULL}, *z = fire(&x);
    for (int i = 0; i < lab.m->c.T * CODES; i++) {
        if (fired) fired[i % CODES] += z->data[i] > 0;
        if (gone && gone[i % CODES]) z->data[i] = 0;
    }
    const Tensor *y = need(op_linear(lab.tp, z, Wd, bd, 1));
    memcpy(to, y->data, per * sizeof *to);
}

static void choose_concepts(const Corpus *c) { /* the answers that are asked for most often */
    for (int k = 0, most = 0; k < CONCEPTS; k++, most = 0)
        for (int i = 0; i < c->n_qas; i++) {
            int n = 0;
            for (int j = 0; j < c->n_qas; j++) n += !strcmp(c->qas[j].target, c->qas[i].target);
            for (int j = 0; j < k; j++) n *= strcmp(concept[j], c->qas[i].target) != 0;
            if (n > most) most = n, concept[k] = c->qas[i].target;
        }
}

/* phi of a text in which `new` stands for each `old`. */
static void encode_with(const char *text, const char *old, const char *new, real *phi) {
    size_t n = strlen(old);
    char *to = need(malloc(strlen(text) * (strlen(new) + 1) + 1)), *at = to;
    while (*text)
        if (strncmp(text, old, n)) *at++ = *text++;
        else at += sprintf(at, "%s", new), text += n;
    *at = 0;
    tape_reset(lab.tp);
    Ids x = reader_document(&lab.reader, to);
    const Tensor *made = need(mac_encode(lab.m, lab.tp, &x, 1));
    memcpy(phi, made->data, per * sizeof *phi);
    free(to);
}

static void find_codes(int k) {
    double f[2][CODES] = {{0}};
    real by[CODES], *phi = need(malloc(per * sizeof *phi));
    const Qa *qas = lab.train.qas;
    for (int i = 0, n = 0; i < lab.train.n_qas && n < 64; i++) {
        if (strcmp(qas[i].target, concept[k])) continue;
        int other = i; /* the next answer to the same kind of question */
        do other = (other + 1) % lab.train.n_qas;
        while (strcmp(qas[other].rel, qas[i].rel) || !strcmp(qas[other].target, concept[k]));
        for (int j = 0; j < 2; j++) {
            const char *text = lab.train.docs[qas[i].doc].text;
            encode_with(text, concept[k], j ? qas[other].target : concept[k], phi);
            recode(phi, NULL, phi, f[j]);
        }
        n++;
    }
    for (int j = 0; j < CODES; j++) by[j] = (real)log((f[0][j] + 1) / (f[1][j] + 1));
    open_largest(by, CODES, CODES, order[k]);
    free(phi);
}

/* The documents as they are; without the concept's word; through the bottleneck; and there without
 * the codes of the concept, or without as many others.  Asked are the concept's questions, others
 * about texts that name it, and every 16th about other texts. */
enum { WHOLE, REDACTED, CODED, WITHOUT, RANDOM };
static void measure(Cell *cell, const Corpus *c, int how) {
    static const char *const hows[] = {"whole", "redacted", "coded", "deleted", "random"};
    static const char *const kinds[] = {"concept", "same", "others"};
    Bank *own = lab_learn(&lab, c, 0, c->n_docs, 64), *bank = lab_learn(&lab, c, 0, c->n_docs, 64);
    uint64_t rng = (uint64_t)lab.seed + 19;
    Score sum[3] = {{0}};
    int n, *qa = lab_questions(c, 0, c->n_docs, 0, &n);
    tape_record(lab.tp, 0);
    for (int k = 0; k < CONCEPTS; k++) {
        char gone[CODES] = {0};
        for (int i = 0; i < DELETED && how > CODED; i++)
            gone[how == RANDOM ? rng_below(&rng, CODES) : order[k][i]] = 1;
        for (int i = 0; i < c->n_docs && how != WHOLE; i++) {
            real *to = bank->phi + (size_t)i * per;
            if (how == REDACTED) encode_with(c->docs[i].text, concept[k], "", to);
            else recode(own->phi + (size_t)i * per, gone, to, NULL);
        }
        for (int i = 0; i < n; i++) {
            const Qa *x = &c->qas[qa[i]];
            int kind = strstr(c->docs[x->doc].text, concept[k]) ? 1 : 2;
            if (!strcmp(x->target, concept[k])) kind = 0;
            if (kind < 2 || i % 16 == 0)
                lab_ask_these(&lab, c, qa + i, 1, &(Asking){.bank = bank}, &sum[kind]);
        }
    }
    for (int i = 0; i < 3; i++) cell_note(cell, hows[how], kinds[i], sum[i].em / (double)sum[i].n);
    if (how == WHOLE) cell_put(cell, "questions", sum[0].n);
    free(qa), bank_free(own), bank_free(bank);
}

int main(int argc, char **argv) {
    Cell c;
    if (!lab_begin(&lab, &c, argc, argv)) return 0;
    const Corpus *of = strcmp(argv[6], "codes-valid") ? &lab.test : &lab.valid;
    int docs = lab.train.n_docs < 4000 ? lab.train.n_docs : lab.quick ? 100 : 4000;
    per = (size_t)lab.m->c.T * (size_t)lab.m->c.d;
    Bank *train = lab_learn(&lab, &lab.train, 0, docs, 64);
    learn_codes(train->phi, docs * lab.m->c.T, lab.quick ? 20 : 3000);
    bank_free(train);
    tape_record(lab.tp, 0);
    choose_concepts(&lab.valid);
    for (int k = 0; k < CONCEPTS; k++) find_codes(k);
    for (int how = WHOLE; how <= RANDOM; how++) measure(&c, of, how);
    lab_keep(&c);
    params_free(&ps);
    lab_close(&lab);
    return 0;
}
