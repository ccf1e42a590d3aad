/* mac.h - Memory of Amortized Contexts (arXiv 2403.04317) in plain C: the contents page.
 *
 * What it is: tensors with gradients, a small GPT-2, T5 encoders, a memory bank and an aggregator,
 * trainable from nothing on a CPU.  What it is not: a tensor library for other models (contiguous
 * tensors, the ops that MAC needs, no more) or a runtime for large ones.
 *
 * The shortest program that remembers (tests/unit/test_example.c compiles it word for word):
 *
 *     MacConfig c = mac_config_default();
 *     c.V = 257;                                         // bytes, and the end of the answer
 *     Model *m = model_new(&c, 1);                       // 1: the seed
 *     Tape *tp = tape_new(0);                            // 0: no limit of memory
 *     Bank *bank = bank_new(m->c.T, m->c.d, model_fingerprint(m));
 *     int doc[] = {72, 105}, q[] = {87, 104, 111, 63}, answer[8], n;
 *     Ids d = {doc, 2}, x = {q, 4};
 *     Tensor *phi = mac_encode(m, tp, &d, 1);            // one forward pass: [T, d]
 *     if (!phi || bank_add(bank, "hi", "a greeting", 42, phi->data) < 0) return 1;
 *     mac_answer(m, tp, &x, 1, bank, 8, answer, &n, NULL);
 *
 * Letters, in code, comments, messages and NOTES.md alike:
 *   B sequences or questions   S LM window, P+D+Q+A    d LM width    H heads   dh = width of a head
 *   V vocabulary   e encoder width   L LM layers   K documents in the bank
 *   T vectors per document     P prefix positions per layer          n = P*2L keys and values
 *   D longest document in tokens; in attention over chunks the width of a row
 * All is row-major.  Sequences of unequal length lie one after another as rows of one [N, d]
 * tensor ("ragged": N is the sum of the lengths), so there is no padding and nothing to mask.
 *
 * Errors: functions that take a Tape return NULL or -1 and leave one sentence in tape_error();
 * ops that are given NULL return NULL, so that it is enough to look at the last result of a step.
 * What reads or writes files takes `err`, a buffer of MAC_ERR bytes.  Nothing prints or exits.   */
#ifndef MAC_H
#define MAC_H
#include "data/store.h"

#define MAC_MAX_DIMS 3
#define MAC_MAX_IN 4       /* inputs of an op                                                    */
#define MAC_NAME 128       /* bytes of a parameter's name                                        */

/* ==== tensor.c: exact math.  Exact: the same bits on every platform.  Off by at most 2 ulp (exp,
 * log), 4 ulp (tanh), 3 ulp of 1 (erf), 1 ulp of 1 (sin, cos) =============================== */
real exact_exp(real x);
real exact_log(real x);
real exact_tanh(real x);
real exact_erf(real x);
real exact_sin(real x);                          /* NaN beyond |x| = 1e4, as cos             */
real exact_cos(real x);

/* ==== tensor.c: random numbers from rng_next, which data/base.h has ========================== */
real     rng_uniform(uint64_t *state);           /* [0, 1)                                       */
real     rng_normal(uint64_t *state);            /* mean 0, variance 1                           */
int      rng_below(uint64_t *state, int n);      /* 0 .. n-1                                     */

/* ==== tensor.c: threads.  Bits do not depend on their number ================================ */
int  pool_start(int n_threads);                  /* how many run now: 1 without pthreads         */
void pool_stop(void);

/* ==== tensor.c: tensors, parameters, tape ==================================================== */
typedef struct {
    int ndim, shape[MAC_MAX_DIMS];
    real *data;                                  /* [shape[0] * ... * shape[ndim-1]]             */
    real *grad;                                  /* same shape; NULL when nobody needs it        */
} Tensor;

typedef struct {                                 /* outlives the steps: until params_free        */
    char name[MAC_NAME];                         /* with "%d": G tensors shape[1..] in one,      */
    Tensor t;                                    /* G = shape[0], saved under G names            */
    real *m, *v;                                 /* Adam's moments; NULL like grad when frozen;
                                                    Muon: momentum, and memory to work in        */
    real square;                                 /* sum of squares of the last gradient          */
    int matrix;                                  /* 1: [R,C] or [G,R,C], stepped by Muon where it
                                                    is asked                                     */
} Param;
typedef struct { Param **p; int n; } Params;

size_t  tensor_size(const Tensor *t);                            /* how many numbers             */
Tensor *param_new(Params *ps, const char *name, int ndim, ...);  /* zeros; shape: ints */
Tensor *param_find(Params *ps, const char *name);                /* NULL when there is none      */
int     param_freeze(Params *ps, const char *prefix, int freeze);/* by the start of their names;
                                                    -1: out of memory, they are of no use then   */
size_t  param_count(const Params *ps, const char *prefix);       /* numbers in them              */
void    params_free(Params *ps);

typedef struct Tape Tape;                        /* the ops of one step, and their memory        */
typedef struct Node {                            /* one recorded op; the tape is their array     */
    const char *op;
    Tensor *out, *in[MAC_MAX_IN];
    void *saved;                                 /* what backward needs besides in and out       */
    void (*backward)(struct Node *);             /* adds into in[i]->grad where that is non-NULL */
} Node;
Tape   *tape_new(size_t limit);                  /* bytes that a step may take; 0: all there is  */
void    tape_free(Tape *tp);
void    tape_reset(Tape *tp);                    /* forgets the step: its tensors are gone       */
typedef struct { void *block; size_t used, held; int n_nodes; } TapeMark;
TapeMark tape_mark(const Tape *tp);              /* where the step stands                        */
void    tape_release(Tape *tp, TapeMark mark);   /* forgets what it has made since the mark      */
int     tape_record(Tape *tp, int on);           /* 0: no gradient, forward only; returns what
                                                    was before                                   */
int     tape_backward(Tape *tp, Tensor *loss);   /* fills the gradients, once                    */
const char *tape_error(const Tape *tp);          /* "" or the first failure since tape_reset     */
size_t  tape_peak(const Tape *tp);               /* most bytes that a step has held so far       */
Tensor *tape_tensor(Tape *tp, int rows, int cols);               /* zeros                        */
void   *tape_alloc(Tape *tp, size_t bytes);                      /* zeros                        */
Tensor *tape_fail(Tape *tp, const char *format, ...);            /* keeps the first; NULL        */

/* ==== tensor.c: differentiable ops ============================================================ */
/* y[G*R,O] = x[G*R,I] W^T + b[G,O] with W [O,I] as in torch.nn.Linear, or x W + b with W [I,O] as
 * in GPT-2 when `in_out` is set; [G,.,.] for G groups of R rows with weights of their own.  b may
 * be NULL. */
Tensor *op_linear(Tape *tp, Tensor *x, Tensor *W, Tensor *b, int in_out);
Tensor *op_add(Tape *tp, Tensor *a, Tensor *b, real scale);      /* y = a + scale b              */
Tensor *op_rows(Tape *tp, Tensor *a, Tensor *b, const int *idx, int n); /* y[i] = [a;b][idx[i]]:
                                                    gather, embedding, repeat; b may be NULL     */
Tensor *op_cols(Tape *tp, Tensor *x, int first, int n);          /* y = x[:, first : first+n]    */
Tensor *op_layernorm(Tape *tp, Tensor *x, Tensor *g, Tensor *b); /* per row, eps 1e-5; g,b [G,d] */
Tensor *op_rmsnorm(Tape *tp, Tensor *x, Tensor *g);              /* per row, eps 1e-6            */
typedef enum { ACT_RELU, ACT_TANH, ACT_GELU_TANH, ACT_GELU_ERF } Act;
Tensor *op_act(Tape *tp, Tensor *x, Act kind);
Tensor *op_softmax(Tape *tp, Tensor *x);                         /* y = softmax over each row    */
/* loss[1] = sum_r w[r] (log sum_v exp x[r,v] - x[r,target[r]]); w NULL: 1/R each. */
Tensor *op_cross_entropy(Tape *tp, Tensor *x, const int *target, const real *w);
Tensor *op_neglog(Tape *tp, Tensor *x);                          /* loss[1] = mean of -log x     */
Tensor *op_square_error(Tape *tp, Tensor *x, const Tensor *y);   /* loss[1] = |x-y|^2 / |y|^2, y a
                                                    constant                                     */

typedef struct {                                 /* multi-head attention over ragged sequences   */
    int B, H;                                    /* sequences, heads                             */
    const int *q0, *qn;                          /* [B] rows of q that belong to sequence b      */
    const int *k0, *kn;                          /* [B] rows of k and v that it reads; they may
                                                    overlap: questions that share a bank         */
    real scale;                                  /* of q.k: 1/sqrt(dh), or 1 in T5               */
    int causal;                                  /* query i reads keys j <= i + kn - qn          */
    Tensor *bias;                                /* [32, H] of T5's relative positions, or NULL:
                                                    key j is at j, query i at i, or, if causal,
                                                    at i + kn - qn                               */
    const int *t0, *tn;                          /* [B] first key row, and how many, whose
                                                    weights are summed; NULL: none               */
    Tensor *mass;                                /* out [Nq,H] that sum for each row of q        */
} Attention;
Tensor *op_attention(Tape *tp, Tensor *q, Tensor *k, Tensor *v, Attention *a); /* like q         */
/* The weights of the n-th attention that was recorded after `since`, counted from 0: those that
 * query i of sequence b gives to its kn[b] keys in head h.  NULL: there is no such attention. */
const real *tape_attention(const Tape *tp, TapeMark since, int n, int b, int h, int i);

typedef struct {                                 /* attention over keys that are read in chunks  */
    int N, D, T;                                 /* rows of x, their width, rows of a document   */
    const real *(*read)(void *ctx, int first, int n, real *room);   /* rows first..first+n-1, in
                                                    place or put into room; by any thread        */
    void *ctx;
    int G, R;                                    /* groups of rows of q, and rows in each        */
    int B, by_head;                              /* questions; heads whose rows a group holds,
                                                    one head's after another's (1: each its own
                                                    group)                                       */
    const real *Wk, *Wv, *bv;                    /* [G*w, D], [G*w, D], [G*w]; NULL: k = v = the
                                                    normalised rows of x                         */
    real *received;                              /* adds up: [B][N/T] weights of each document,
                                                    summed over rows and groups; NULL: not asked */
    size_t memory;                               /* bytes for the N/T numbers a row that this takes:
                                                    rows take turns in it, each reads all of x; 0:
                                                    all at once.  Changes no bit                 */
} Stream;
/* q[G*R,w] -> like q; keys and values are made of the normalised rows of x.  Forward only, in the
 * memory of a chunk (where `received` is asked, and of N/T numbers a row or about `memory`), same
 * bits with any number of threads. */
Tensor *op_stream_attention(Tape *tp, Tensor *q, const Stream *a);

/* ==== tensor.c: Adam, Muon =================================================================== */
typedef struct {
    real lr, beta1, beta2, eps, decay, clip;     /* decay: AdamW's; clip: the gradient's norm    */
    int step;
    real muon;                                   /* momentum of the steps of matrices, which are
                                                    Muon's; 0: Adam's as all others              */
} Adam;
Adam adam_default(real lr);
real adam_step(Params *ps, Adam *o);             /* returns the gradient's norm before clipping,
                                                    NaN when it is not finite: nothing is changed;
                                                    gradients are zero afterwards                */
typedef enum { LR_CONSTANT, LR_COSINE } LrKind;
real lr_schedule(LrKind kind, real lr, int step, int warmup, int total);

/* ==== tensor.c: parameters in files =========================================================== */
int     params_save(const Params *ps, StWriter *w, int moments); /* moments: Adam's too          */
int     params_load(Params *ps, StFile *f, int moments, char *err);

/* ==== mac.c: the model.  Tags [E1] to [E5] are explained in NOTES.md ========================== */
typedef struct {
    int V, S, d, L, H;                           /* base LM; S counts the P prefix positions     */
    int e, enc_L, enc_H, enc_dh, enc_ff;         /* both T5 encoder-decoders                     */
    int T, P;
    int agg_B, agg_H, agg_dh;                    /* aggregator: blocks, heads, their width       */
    int pre_ff;                                  /* hidden width of the prefix expansion         */
    int D, Q, A;                                 /* longest document, question, answer in tokens */
    int pad;                                     /* 0; or tokens that shorter texts are filled up
                                                    to, as in the official code                  */
    int enc_only;                                /* 0; or 1: no decoder, T tokens are learned    */
} MacConfig;
typedef struct { const char *name, *help; size_t offset; int least; } MacField;
extern const MacField mac_fields[];              /* every field above, the end has name NULL     */
MacConfig mac_config_default(void);
int  mac_config_check(const MacConfig *c, char *err);            /* -1: sizes that do not fit    */

typedef struct LmWeights LmWeights;
typedef struct T5Weights T5Weights;
typedef struct AggWeights AggWeights;
typedef struct {                                 /* is it in the memory?  See AnswerOptions.sure  */
    int R;                                       /* 0: there is no gate                          */
    int F;                                       /* of each stranger F vectors are kept: those   */
    real *t;                                     /* [F] that the finder looks at, in order       */
    real *strangers;                             /* [R,T,d] one stranger's after another's       */
    real fit[4];
} Gate;
/* Of Gate.fit: slope and shift of sure; mac_threshold's in small banks, and how fast it falls. */
enum { GATE_SLOPE, GATE_SHIFT, GATE_THRESHOLD, GATE_FALL, GATE_FIT };
typedef struct {
    MacConfig c;
    Params ps;                                   /* all weights, under their official names      */
    LmWeights *lm;                               /* theta_base                                   */
    T5Weights *enc, *qenc;                       /* theta_amort, theta_input                     */
    AggWeights *agg;                             /* psi, the per-token MLPs and the expansion    */
    Gate gate;                                   /* no part of the fingerprint                   */
} Model;
Model   *model_new(const MacConfig *c, uint64_t seed);           /* NULL: out of memory; the LM's
                                                    first head looks at the token before         */
void     model_free(Model *m);
int      model_save(const Model *m, StWriter *file, int moments); /* moments: Adam's too      */
Model   *model_load(StFile *f, char *err);
uint64_t model_fingerprint(const Model *m);      /* of sizes and weights: see bank_misfit        */
void     model_copy_lm(Model *m, const Model *from);    /* of the same sizes d, L, H, S, V; its P
                                                    may be another                               */
void     model_share_start(Model *m, real sharp);/* question encoder = document encoder, with the
                                                    LM's embeddings where e = d; the finder's keys
                                                    = its queries, sharp times what was drawn;
                                                    what attention draws arrives unchanged; the
                                                    expansion = the LM's keys and values; heads of
                                                    the encoders look at one place each, the first
                                                    adds what the LM's first adds, others nothing */

/* ---- the base LM, frozen after pretraining [E5] ---- */
typedef struct LmCache LmCache;                  /* keys and values of what was read so far      */
/* Hidden states [N,d] of B sequences.  prefix [n*B,d] from prefix_expand, or NULL; real tokens
 * stand at positions P, P+1, ... either way, but those of a document, x[b].doc, at S - doc to S-1,
 * before any others.  With a cache, x continues what it holds. */
Tensor  *lm_hidden(Model *m, Tape *tp, const Ids *x, int B, Tensor *prefix, LmCache *cache);
Tensor  *lm_logits(Model *m, Tape *tp, Tensor *h);               /* [R,d] -> [R,V]               */
/* Loss of the tokens x[b][i], i > 0, where asked[b][i] is set (NULL: of all).  alike 0: their mean;
 * 1: the mean over sequences of the mean of each. */
Tensor  *lm_loss(Model *m, Tape *tp, const Ids *x, const char *const *asked, int B, Tensor *prefix,
                 int alike);

/* ---- document and question to vectors, bank to prefix.  phi: vectors of documents; phi_star: what
 * a question draws from them ---- */
Tensor  *enc_forward(Model *m, Tape *tp, T5Weights *w, const Ids *x, int B);     /* [B*T,e]      */
Tensor  *mac_encode(Model *m, Tape *tp, const Ids *docs, int B);                 /* [E1] [B*T,d] */
typedef struct {                                 /* which vectors of phi question b attends to   */
    const int *doc0, *docs;                      /* [B] first document and number of documents   */
    const int *gold;                             /* [B] the right one, counted from document 0
                                                    of phi; NULL where mass is                   */
    Tensor **mass;                               /* out [agg_B] of [B*T,agg_H]: attention on it
                                                    of each vector and head, NULL: not asked     */
} AggReads;
Tensor  *agg_forward(Model *m, Tape *tp, const Ids *q, int B, Tensor *phi, AggReads *r); /* [E3]
                                                    phi [K*T,d] -> phi_star [B*T,d]              */
Tensor  *prefix_expand(Model *m, Tape *tp, Tensor *phi_star, int B);             /* [E4] [n*B,d] */

/* ---- training ---- */
typedef struct {                                 /* one step: documents, and questions on them   */
    const Ids *docs; int n_docs;
    int n_grad;                                  /* backpropagation dropout: documents from this
                                                    one on get no gradient                       */
    const Ids *q, *qa; int n_q;                  /* questions; question, answer and EOS          */
    const int *doc;                              /* [n_q] the document that answers              */
    int bank_size;                               /* documents to a bank, divides n_docs; document
                                                    i is in bank i % (n_docs / bank_size), and so
                                                    are the questions about it                   */
    real guidance;                               /* weight of -log(the finder's attention on the
                                                    right one of all n_docs documents)           */
    real distill;                                /* weight of the prefix' distance from the LM's
                                                    own keys and values of the answer; the
                                                    paper's loss has neither: 0, 0               */
    int alike;                                   /* 1: each answer counts the same, 0: each token */
} MacBatch;
typedef struct {
    real loss, answer, distill;                  /* all of it; of answers alone; the distance    */
    real mass;                                   /* the finder's mean attention on the right one
                                                    of all documents; 0 without guidance         */
} MacStats;
Tensor  *mac_loss(Model *m, Tape *tp, const MacBatch *b, MacStats *stats);

/* ==== mac.c: answers ========================================================================= */
typedef struct {
    int beams;                                   /* 0 or 1: greedy; else the answer with the best
                                                    mean of log p over tokens, EOS included      */
    int beam_groups;                             /* the beams search in so many groups, each by
                                                    itself; 0 or 1: plain beam search            */
    real penalty;                                /* of a token for each beam of an earlier group
                                                    that has chosen it at the same step          */
    int hierarchy;                               /* documents are aggregated M at a time, then
                                                    their results; 0: all at once                */
    int select;                                  /* N: the prefix comes from the N documents
                                                    alone that the finder attends to most; 0:
                                                    from all, as in the paper, and so where N >=
                                                    K or a hierarchy is used                     */
    const Ids *context;                          /* [B] read by the LM before the question; NULL */
    /* Greedy answers are made of tokens that this allows behind the n that question b's has so far,
     * and end where none is; NULL: of any. */
    int (*allow)(void *ctx, int b, const int *ids, int n, int token);
    void *ctx;
    real *received;                              /* out [B,K] attention on each document: the
                                                    finder's where N are selected or sure is
                                                    asked, else the mean of all; not written
                                                    where a hierarchy is used; NULL: not asked   */
    real *sure;                                  /* out [B] the probability, 0 to 1, that the bank
                                                    holds the document asked about, if the model
                                                    has a gate; what documents receive is then
                                                    what its strangers leave them; not written
                                                    where a hierarchy is used; NULL: not asked   */
    size_t memory;                               /* bytes for what documents receive, about: as
                                                    many questions as fit, at least a row of one,
                                                    read the bank at a time; 0: 128 MB           */
} AnswerOptions;
/* The prefix made of what B questions draw from the bank, [n*B,d], without gradient. */
Tensor  *mac_prefix(Model *m, Tape *tp, const Ids *q, int B, const Bank *bank,
                    const AnswerOptions *o);
/* Answers to B questions into out[B][cap], lengths into n[B], EOS left out.  bank NULL: the LM
 * alone.  0, or -1: see tape_error. */
int      mac_answer(Model *m, Tape *tp, const Ids *q, int B, const Bank *bank, int cap,
                    int *out, int *n, const AnswerOptions *o);
/* How far n documents of the bank are from one with the vectors phi [T,d], as a part of how far the
 * nearest stranger is: ratio[n].  What differs in facts alone is near, what is about something else
 * is far.  0, or -1: see tape_error. */
#define MAC_SAME ((real)1 / 3)                   /* below it, two versions of one document       */
#define MAC_ALIKE ((real)0.5)                    /* below it, perhaps                            */
int      mac_versions(const Model *m, Tape *tp, const Bank *bank, int n, const real *phi,
                      real *ratio);
/* One answer looked at: the numbers of a picture.  Arrays are in the tape's arena. */
#define LOOK_DOCS 8
#define LOOK_TOKENS 5
typedef struct {
    int n_docs, doc[LOOK_DOCS];                  /* those that received most, the most first     */
    real received[LOOK_DOCS];                    /* as in AnswerOptions                          */
    real sure;                                   /* -1: the model has no gate                    */
    const real *read;                            /* [agg_B,agg_H,T,n_docs] the weight of each of
                                                    them in the whole bank, for each block, head
                                                    and vector of the question, if all are read  */
    int n, *answer;                              /* its tokens, EOS left out                     */
    int steps;                                   /* tokens chosen: n, and EOS if it was chosen   */
    const real *seen;                            /* [L,steps,keys] what the LM attends to when it
                                                    chooses each: P of the prefix, the question,
                                                    the answer so far; the mean over its heads   */
    int keys;                                    /* P + tokens of question and answer            */
    const int *likely[2];                        /* [steps,LOOK_TOKENS] tokens likeliest in its
                                                    place without, and with, the memory          */
    const real *p[2];                            /* their probabilities                          */
} Look;
/* 0, or -1: see tape_error.  A frozen model and a hierarchy cannot be looked at. */
int      mac_look(Model *m, Tape *tp, const Ids *q, const Bank *bank, int cap,
                  const AnswerOptions *o, Look *look);
/* Where the T vectors of a document were made: the encoder's attention to its tokens, the mean over
 * layers and heads, made[T,doc->n]. */
int      mac_look_document(Model *m, Tape *tp, const Ids *doc, real *made);
/* Gives the model a gate, of n documents of its training and of documents with questions that it
 * has not seen, of which docs, q and doc count.  0, or -1: see tape_error, no gate is left. */
int      mac_gate(Model *m, Tape *tp, const Ids *strangers, int n, const MacBatch *b);
/* So sure are 19 of 20 answers about documents that a bank of K holds.  Of a model with a gate. */
real     mac_threshold(const Model *m, int K);
#endif
