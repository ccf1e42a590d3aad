/* paper.h - what the programs of `make paper` share.  paper.sh calls each of them once per
 * cell: a cell is one row of a table for one corpus and seed, measured by a process of its own and
 * kept in a small text file until program, model or corpus change. */
#ifndef PAPER_H
#define PAPER_H
#include "data/data.h"
#include "data/program.h"
#include "data/system.h"
#include "mac.h"
#include <stdio.h>

/* ---- lib.c: cells ---- */
#define CELL_LINES 256
typedef struct {
    char path[600];
    uint64_t made_by;            /* of program, model, corpus and settings; 0: any               */
    struct { char key[40]; double value; } line[CELL_LINES];
    int n;
} Cell;
int    cell_read(Cell *c, const char *path, uint64_t made_by);   /* 0; -1: absent, half-written,
                                                    or made by something else; then it is empty */
double cell_get(const Cell *c, const char *key); /* NAN where there is no such line              */
void   cell_put(Cell *c, const char *key, double value);
void   cell_note(Cell *c, const char *who, const char *what, double value);  /* key who.what     */
int    cell_write(const Cell *c, char *err);     /* beside, then renamed: whole or not at all    */
uint64_t file_print(uint64_t hash, const char *path);            /* of its bytes; 0: no file     */

/* ---- lib.c: a laboratory: one trained model and its corpus ---- */
typedef struct {
    const char *dir, *corpus;    /* of results; of the corpus' files                             */
    const char *name;            /* people-1: corpus and seed                                    */
    int seed, quick;
    uint64_t made_by;
    Model *m;
    int select;                  /* documents that answers are read from, as the file says       */
    Tape *tp;
    Reader reader;               /* its tokenizer, ids in its tape                               */
    Corpus train, valid, test;   /* documents in an order of the seed's; quick: the first ones   */
} Lab;
void  lab_open(Lab *l, char **argv);             /* argv: program DIR CORPUS NAME SEED QUICK     */
int   lab_begin(Lab *l, Cell *c, int argc, char **argv);         /* and WHAT; 0: it is finished  */
void  lab_fresh(Lab *l);                         /* a new tape: what was read so far, its peak too,
                                                    is forgotten                                 */
void  lab_close(Lab *l);
void  lab_path(const Lab *l, char *to, size_t n, const char *folder, const char *what);
int   lab_cell(const Lab *l, Cell *c, const char *what);         /* 1: it is finished already    */
void  lab_keep(Cell *c);                         /* writes it, and how long it took              */
void  lab_say(const Lab *l, const char *format, ...);            /* progress: a line on stderr   */

Ids   lab_pair(Lab *l, const char *question, const char *answer, int *asked_from);
Bank *lab_learn(Lab *l, const Corpus *c, int first, int last, int batch);    /* a new bank       */
/* Questions of documents first..last-1, all or one of each.  bank NULL: the LM alone; gold: their
 * document in its context. */
typedef struct { const Bank *bank; int one, gold, beams, groups; real penalty; } Asking;
int   lab_one(const Corpus *c, int doc);         /* of a document that has questions: that one   */
int  *lab_questions(const Corpus *c, int first, int last, int one, int *n);  /* malloc'd         */
void  lab_ask_these(Lab *l, const Corpus *c, const int *qa, int n, const Asking *how, Score *sum);
void  lab_ask(Lab *l, const Corpus *c, int first, int last, const Asking *how, Score *sum);
void  lab_put_score(Cell *c, const char *before, const Score *s);

/* ---- open.c: the LM with its attention open, for what reads other keys there or adds layers -- */
typedef struct {
    /* Stands in the place of op_attention(tp, q, k, v, a), where each sequence reads itself; NULL:
     * that. */
    Tensor *(*attend)(void *ctx, int layer, Tensor *q, Tensor *k, Tensor *v, Attention *a);
    void *ctx;                   /* NULL: attend is given the sequences, as Ids                  */
    Tensor **after;              /* [L] of [d,d]: at a layer's end h becomes h + h W; NULL       */
} OpenLm;
/* lm_hidden's states of B sequences; doc may be more than n: then they are the first n tokens of
 * what is left of a document. */
Tensor *open_hidden(Model *m, Tape *tp, const Ids *x, int B, const OpenLm *how);
/* Attention to other rows before its own: sequence b reads n[b] rows of K and W, near[..]. */
Tensor *open_behind(Tape *tp, Tensor *q, Tensor *k, Tensor *v, const Attention *a, Tensor *K,
                    Tensor *W, const int *near, const int *n);
/* Each of the sequences x in two: its document reads itself, what follows reads itself and the last
 * `ends` rows of the document. */
Tensor *open_apart(Tape *tp, Tensor *q, Tensor *k, Tensor *v, const Attention *a, const Ids *x,
                   int ends);
/* Slots of a layer [n,d], n <= most: keys, values, keys of length 1; how many tokens each is the
 * mean of, and when it was written last. */
typedef struct { Tensor k, v, unit; int *c, *time, most, now; } OpenSlots;
void  open_forget(OpenSlots *s, int n, int d);   /* all; from now on there are n, 0: no memory   */
void  open_unit(real *to, const real *k, int d); /* k / |k|                                      */
/* A token's k and v: if the cosine is above the limit into slot `best`, whose k += (token's - k) /
 * (c + 1), v in the same way; else into a free slot, or that longest not written to. */
void  open_write(OpenSlots *s, const real *k, const real *v, int best, double cosine,
                 double limit);
Tensor *open_last(Lab *l, const Ids *x, int B, const OpenLm *how);   /* [B,V] after the last ones*/
/* Logits [R,V] of the tokens of each x[b] from from[b] on, these tokens, and weights, 1/B in all
 * for each sequence. */
typedef struct { Tensor *logits; int *target; real *weight; } OpenGuess;
OpenGuess open_guess(Lab *l, const Ids *x, const int *from, int B, const OpenLm *how);
/* sum over rows of w (- sum_v p_v log softmax(x)_v): cross-entropy with targets that are shares. */
Tensor *open_shares(Tape *tp, Tensor *x, const Tensor *p, const real *w);
/* Teaches the LM, `steps` times a batch of lessons about documents of training, with names and
 * answers drawn anew.  A lesson is of a kind from 0 on; its tokens from *from on are learned; no
 * ids: another one is drawn. */
enum { OPEN_BATCH = 32 };
typedef Ids (*OpenLesson)(const AugDoc *d, int doc, int kind, uint64_t *rng, int *from);
void  open_teach(Lab *l, int steps, uint64_t seed, int kinds, OpenLesson lesson, const OpenLm *how);
void  open_step(Lab *l, Tensor *loss, Params *ps, Adam *adam);   /* backward, and a step         */
int   open_largest(const real *x, int n, int k, int *to); /* where the k largest of n numbers are,
                                                    the largest first: how many                  */
/* Greedy answers to n questions: the sum's EM, NULL: theirs.  next: how much speaks for each token
 * after each of B sequences, [B,V]; they begin with the questions qa.  open_plain: that of the
 * OpenLm ctx. */
typedef Tensor *(*OpenNext)(Lab *l, void *ctx, const Ids *x, const int *qa, int B);
Tensor *open_plain(Lab *l, void *ctx, const Ids *x, const int *qa, int B);
double open_greedy(Lab *l, const Corpus *c, const int *qa, int n, OpenNext next, void *ctx,
                   Score *sum);

/* ---- look.c to page.c: documents by rank, the right one having rank 0 ---- */
static const struct { int from, to; const char *name; } look_ranks[] = {
    {0, 0, "the right one"}, {1, 1, "nearest other"}, {2, 4, "2 to 4"}, {5, 16, "5 to 16"},
    {17, 64, "17 to 64"}, {65, 1 << 30, "further"}};
enum { LOOK_RANKS = 6, LOOK_ROWS = 5, LOOK_COLUMNS = 20 };       /* of the heat map              */

/* ---- adapt.c to page.c: costs are noted after so many documents, and all ---- */
enum { COST_MARKS = 4 };
static const int cost_marks[] = {100, 200, 400, 1 << 30};

/* ---- tune.c: finetuning the LM on a stream, the paper's baselines ---- */
typedef enum { WEIGH_UNIFORM, WEIGH_SALIENT, WEIGH_CAMELS } Weigh;
typedef struct {                                 /* CaMeLS: the model that weighs tokens         */
    Model *body;
    Params head;
    Tensor *w1, *b1, *w2, *b2;
} Camels;
/* Per-token losses of B sequences, the first token of each left out: [sum of n-1]. */
int   tune_losses(Model *m, Tape *tp, const Ids *x, int B, real *out);
/* sum over tokens of w[i] * loss[i], in the same order. */
Tensor *tune_loss(Model *m, Tape *tp, const Ids *x, int B, const real *w);
/* d loss[i] / d theta along `along`, for all tokens i: central difference, two forward passes. */
int   tune_influence(Model *m, Tape *tp, const Ids *x, int B, const real *along, real *out);
/* 1 for the tokens of x that are part of a capitalised word, a number or a date. */
void  tune_salient(Tokenizer *tok, const Ids *x, char *salient);
size_t tune_size(const Model *m);                /* numbers in the LM                            */
void  tune_copy(Model *m, real *buffer, int what);   /* TUNE_...: all the LM's numbers           */
enum { TUNE_SAVE, TUNE_LOAD, TUNE_TAKE_GRAD };   /* TAKE_GRAD: and zero them                     */
Camels *camels_new(const Lab *l, const char *ending, int trained);  /* of the lab's models       */
void  camels_free(Camels *c);
int   camels_save(const Camels *c, const char *path, char *err);
int   camels_weights(Camels *c, Tape *tp, const Ids *x, int B, real *w);     /* of [sum n-1]     */
/* The outer loss; names and answers are drawn anew with probability `anew`. */
real  camels_step(Camels *c, Lab *l, const real *theta0, int restart, double anew);
void  tune_on_questions(Lab *l, Cell *c);        /* the QA-tuned LM that all baselines start from*/
/* One pass over documents first..last-1, one step of Adam each. */
void  tune_stream(Lab *l, const Corpus *c, int first, int last, Weigh kind, Camels *camels,
                  Adam *adam);
#endif
