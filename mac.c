/* mac.c - the algorithm, in the order of the paper (arXiv 2403.04317).  Knows no text: token ids
 * come in, token ids go out.
 *
 *   [E1] phi_k = g_amort(d_k)             a document becomes T vectors        mac_encode
 *   [E2] M = {phi_1, .., phi_K}           the bank keeps them                 batch_banks, bank_add
 *   [E3] phi_star = h_psi(g_input(x), M)  a question draws T vectors from it  agg_forward
 *   [E4] prefix(phi_star)                 they become keys and values         prefix_expand
 *   [E5] LM_base(x ; phi_star)            the frozen LM reads after them      lm_hidden
 *
 * Then come training (mac_loss) and answers (mac_answer), and at the end what a model is made of:
 * its sizes, the names and first values of its weights, its files.  Letters: see mac.h. */
#include "mac.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ==== the weights; model_build, at the end of this file, names and fills them ================ */
typedef struct { Tensor *w, *b; } Affine; /* a linear layer or a layer norm; b NULL: it has none */
typedef struct { Affine norm, in, out, skip; } Mlp;

typedef struct { Tensor *norm; Affine q, k, v, o; } T5Attn;
typedef struct { T5Attn self, cross; Tensor *ff_norm; Affine wi, wo; } T5Layer;
typedef struct { T5Layer *layer; Tensor *bias, *norm; } T5Stack;         /* bias [32, enc_H] */
struct T5Weights { Tensor *embed, *prompts; T5Stack encoder, decoder; }; /* [V,e], [1,T,e] */

typedef struct { Affine norm, norm_c, q, k, v, out; Mlp ff; } AggBlock;
struct AggWeights { Mlp doc_mlp, q_mlp, expand; AggBlock *block; }; /* T, T and n networks in one */

typedef struct { Affine ln1, attn, attn_out, ln2, fc, fc_out; } LmLayer;
struct LmWeights { Tensor *wte, *wpe; LmLayer *layer; Affine ln_f; }; /* wte [V,d], wpe [S,d] */

/* ==== what all networks share ================================================================ */
/* y = x W^T + b: torch's layer, W [out,in].  With W [G,out,in] the first G-th of the rows of x goes
 * through the first matrix, the next through the second, and so on. */
static Tensor *linear(Tape *tp, Tensor *x, Affine a) { return op_linear(tp, x, a.w, a.b, 0); }

/* y = x W + b: GPT-2's layer, W [in,out]. */
static Tensor *conv1d(Tape *tp, Tensor *x, Affine a) { return op_linear(tp, x, a.w, a.b, 1); }

static Tensor *layer_norm(Tape *tp, Tensor *x, Affine a) { return op_layernorm(tp, x, a.w, a.b); }

/* W2 act(W1 LN(x)) */
static Tensor *mlp(Tape *tp, const Mlp *w, Tensor *x, Act act) {
    Tensor *hidden = linear(tp, layer_norm(tp, x, w->norm), w->in);
    return linear(tp, op_act(tp, hidden, act), w->out);
}

static int *int_array(Tape *tp, int n) { return tape_alloc(tp, (size_t)n * sizeof(int)); }

/* B sequences of unequal length as the rows of one tensor, one sequence after another: for each its
 * first row and its number of rows; the ids of all rows. */
typedef struct { int B, rows, *first, *n, *ids; } Ragged;

/* B sequences of n rows each, without ids. */
static int even(Tape *tp, Ragged *r, int B, int n) {
    *r = (Ragged){B, B * n, int_array(tp, B), int_array(tp, B), NULL};
    for (int b = 0; r->first && r->n && b < B; b++) r->first[b] = b * n, r->n[b] = n;
    return r->first && r->n ? 0 : -1;
}

/* The sequences x; id 0 fills those up that are shorter than `least`. */
static int ragged(Tape *tp, Ragged *r, const Ids *x, int B, int least) {
    if (even(tp, r, B, 0) != 0) return -1;
    for (int b = 0; b < B; b++) {
        r->first[b] = r->rows;
        r->n[b] = x[b].n > least ? x[b].n : least;
        r->rows += r->n[b];
    }
    r->ids = int_array(tp, r->rows);
    for (int b = 0; r->ids && b < B; b++)
        if (x[b].n) memcpy(r->ids + r->first[b], x[b].id, (size_t)x[b].n * sizeof(int));
    return r->ids ? 0 : -1;
}

/* Sequence b of q attends to sequence b of k, with H heads. */
static Attention attention(int H, real scale, const Ragged *q, const Ragged *k) {
    return (Attention){.B = q->B, .H = H, .scale = scale, .q0 = q->first, .qn = q->n,
                       .k0 = k->first, .kn = k->n};
}

/* x [I*J, .], whose row i*J + j becomes row j*I + i. */
static Tensor *transpose_rows(Tape *tp, Tensor *x, int I, int J) {
    int *idx = int_array(tp, I * J);
    for (int i = 0; idx && i < I; i++)
        for (int j = 0; j < J; j++) idx[j * I + i] = i * J + j;
    return op_rows(tp, x, NULL, idx, I * J);
}

/* ==== [E1] a document becomes T vectors ====================================================== */
/* Of every text, long or short, T rows come out: those of text b are b*T to b*T + T-1, and no other
 * text has a part in them, not in one bit.  So a document may be encoded in any company and at any
 * time, and it need not be read again when a question comes.
 *
 * A T5 encoder reads the tokens.  Its decoder starts from T learned vectors, the same for every
 * text, and turns them into T states by looking at what the encoder made of the text.  T small
 * networks, one for each state, bring these to the LM's width.  The price of a long text is paid
 * here and only once: all that comes later sees T vectors.  Questions go through a network of the
 * same kind with weights of its own (encode_question). */

/* x + O Attn(Q z, K from, V from), z = RMSNorm(x): T5 has no scale and no biases.  x [Nq,e];
 * from [Nk,e], or NULL: x attends to itself, to z. */
static Tensor *t5_attention(Tape *tp, const T5Attn *w, Tensor *x, Tensor *from, Attention *a) {
    Tensor *z = op_rmsnorm(tp, x, w->norm), *source = from ? from : z;
    Tensor *q = linear(tp, z, w->q); /* C may evaluate arguments in any order, and the order of */
    Tensor *k = linear(tp, source, w->k); /* ops decides bits: each has a statement of its own */
    Tensor *v = linear(tp, source, w->v);
    return op_add(tp, x, linear(tp, op_attention(tp, q, k, v, a), w->o), 1);
}

static Tensor *t5_feed_forward(Tape *tp, const T5Layer *w, Tensor *x) {
    Tensor *hidden = linear(tp, op_rmsnorm(tp, x, w->ff_norm), w->wi);
    return op_add(tp, x, linear(tp, op_act(tp, hidden, ACT_RELU), w->wo), 1);
}

/* Embedded tokens h [N,e] -> their states [N,e].  Each row of `all` attends to the rows of its text
 * that are in `seen`. */
static Tensor *t5_encoder(const Model *m, Tape *tp, const T5Stack *w, Tensor *h, const Ragged *all,
                          const Ragged *seen) {
    Attention self = attention(m->c.enc_H, 1, all, seen);
    self.bias = w->bias;
    for (int l = 0; l < m->c.enc_L; l++) {
        h = t5_attention(tp, &w->layer[l].self, h, NULL, &self);
        h = t5_feed_forward(tp, &w->layer[l], h);
    }
    return op_rmsnorm(tp, h, w->norm);
}

/* The encoder's states h [N,e] -> T states of each text, [B*T,e].  Of the T learned vectors each
 * attends to those before it, then to all states of the text.  Until then no text has had a part in
 * them: what the first layer's vectors make of each other is the same for all, and is made once. */
static Tensor *t5_decoder(const Model *m, Tape *tp, const T5Weights *w, Tensor *h,
                          const Ragged *all) {
    Ragged one, out;
    int T = m->c.T, n = all->B * T, *prompt = int_array(tp, n + T);
    if (!h || !prompt || even(tp, &one, 1, T) != 0 || even(tp, &out, all->B, T) != 0) return NULL;
    for (int i = 0; i < n + T; i++) prompt[i] = i % T;
    Attention once = attention(m->c.enc_H, 1, &one, &one);
    Attention self = attention(m->c.enc_H, 1, &out, &out);
    Attention cross = attention(m->c.enc_H, 1, &out, all);
    once.bias = self.bias = w->decoder.bias, once.causal = self.causal = 1;
    Tensor *y = op_rows(tp, w->prompts, NULL, prompt, T);
    for (int l = 0; l < m->c.enc_L; l++) {
        const T5Layer *layer = &w->decoder.layer[l];
        y = t5_attention(tp, &layer->self, y, NULL, l > 0 ? &self : &once);
        if (l == 0) y = op_rows(tp, y, NULL, prompt, n);
        y = t5_attention(tp, &layer->cross, y, h, &cross);
        y = t5_feed_forward(tp, layer, y);
    }
    return op_rmsnorm(tp, y, w->decoder.norm);
}

/* c.pad: the official code fills shorter texts up with PAD.  There the encoder is told which rows
 * are PAD and attends to `text` only; the decoder is not told and attends to `all`.  PAD is token
 * 0, as in T5; here that is the byte 0, which no text holds. */
static int padded(const Model *m, Tape *tp, const Ids *x, int B, Ragged *all, Ragged *text) {
    int bad = ragged(tp, all, x, B, m->c.pad);
    *text = *all, text->n = int_array(tp, B);
    for (int b = 0; text->n && b < B; b++) text->n[b] = x[b].n;
    return bad || !text->n ? -1 : 0;
}

/* c.enc_only: there is no decoder.  The T learned vectors follow the text, as ids V, V+1, ..., and
 * their states in the encoder are what comes out. */
static Tensor *encoder_only(const Model *m, Tape *tp, const T5Weights *w, const Ids *x, int B) {
    int T = m->c.T, at = 0, *last = int_array(tp, B * T);
    Ragged all;
    if (ragged(tp, &all, x, B, 0) != 0) return NULL;
    int *idx = int_array(tp, all.rows + B * T);
    if (!idx || !last) return NULL;
    for (int b = 0; b < B; b++) {
        all.first[b] = at, all.n[b] += T;
        for (int i = 0; i < x[b].n; i++) idx[at++] = x[b].id[i];
        for (int t = 0; t < T; t++) last[b * T + t] = at, idx[at++] = m->c.V + t;
    }
    Tensor *h = op_rows(tp, w->embed, w->prompts, idx, at);
    h = t5_encoder(m, tp, &w->encoder, h, &all, &all);
    return op_rows(tp, h, NULL, last, B * T);
}

Tensor *enc_forward(Model *m, Tape *tp, T5Weights *w, const Ids *x, int B) {
    Ragged all, text;
    if (m->c.enc_only) return encoder_only(m, tp, w, x, B);
    if (padded(m, tp, x, B, &all, &text) != 0) return NULL;
    Tensor *h = op_rows(tp, w->embed, NULL, all.ids, all.rows);
    h = t5_encoder(m, tp, &w->encoder, h, &all, &text);
    return t5_decoder(m, tp, w, h, &all);
}

/* T networks, state t of every text going through the t-th: skip(x) + W2 tanh(W1 LN(x)), where skip
 * is the identity if e = d.  x [B*T,e] -> [B*T,d]. */
static Tensor *token_mlps(const Model *m, Tape *tp, const Mlp *w, Tensor *x, int B) {
    x = transpose_rows(tp, x, B, m->c.T); /* the B rows of state 0, those of state 1, ... */
    Tensor *y = mlp(tp, w, x, ACT_TANH);
    if (w->skip.w) x = linear(tp, x, w->skip);
    return transpose_rows(tp, op_add(tp, x, y, 1), m->c.T, B);
}

/* phi_k = g_amort(d_k): B documents -> [B*T, d]. */
Tensor *mac_encode(Model *m, Tape *tp, const Ids *docs, int B) {
    return token_mlps(m, tp, &m->agg->doc_mlp, enc_forward(m, tp, m->enc, docs, B), B);
}

/* ==== [E2] the bank keeps them =============================================================== */
/* A bank is the vectors of its documents and nothing else that a network sees: phi [K*T, d], where
 * the k-th document has rows k*T to k*T + T-1.  No row knows of another document.  So remembering
 * is to append T rows, forgetting is to take T rows out, and neither is training.
 *
 * Outside training a bank is a `Bank` (data/bank.c), and bank_add gives it what mac_encode made.
 * In a training step the banks are made anew, on the tape, so that the gradient reaches the
 * encoder: all of them one after another in one phi.  A gradient needs everything that the encoder
 * did on the way, far more memory than T vectors.  With backpropagation dropout only the first
 * n_grad documents get one, and a step takes memory for these, however many others it remembers. */

/* n documents of which nothing is kept but their vectors, [n*T, d]. */
static Tensor *encode_dropped(Model *m, Tape *tp, const Ids *docs, int n) {
    Tensor *kept = tape_tensor(tp, n * m->c.T, m->c.d);
    TapeMark mark = tape_mark(tp);
    int was = tape_record(tp, 0);
    Tensor *phi = mac_encode(m, tp, docs, n);
    if (kept && phi) memcpy(kept->data, phi->data, tensor_size(phi) * sizeof(real));
    int ok = phi != NULL;
    tape_record(tp, was);
    tape_release(tp, mark);
    return ok ? kept : NULL;
}

/* All banks of a step.  Documents are dealt to them like cards, document i to bank i % banks, so
 * that each bank has its share of those with a gradient. */
static Tensor *batch_banks(Model *m, Tape *tp, const MacBatch *b) {
    int T = m->c.T, banks = b->n_docs / b->bank_size, at = 0, dropped = b->n_docs - b->n_grad;
    int *idx = int_array(tp, b->n_docs * T);
    Tensor *phi = mac_encode(m, tp, b->docs, b->n_grad), *constant = NULL;
    if (dropped > 0) constant = encode_dropped(m, tp, b->docs + b->n_grad, dropped);
    if (!idx || tape_error(tp)[0]) return NULL;
    for (int bank = 0; bank < banks; bank++)
        for (int i = bank; i < b->n_docs; i += banks)
            for (int t = 0; t < T; t++) idx[at++] = i * T + t;
    return op_rows(tp, phi, constant, idx, at);
}

/* ==== [E3] a question draws T vectors from the bank ========================================== */
/* A question sees a bank as a set.  Nothing tells one row of phi from another but what is in it:
 * there are no positions.  So the order of documents does not matter, banks of any size fit one
 * aggregator, and the sums over a bank may be taken part by part (bank_aggregate does).
 *
 * The question's T vectors q go through blocks of cross-attention, q the queries, phi the keys and
 * values.  What leaves the last block is phi_star, again T vectors: what the LM gets to know of all
 * documents.  A question costs K*T keys a block, however long the documents were.  Many questions
 * go through as one batch, and those that read the same documents read the same rows. */

/* What a block does before its attention, and after it: bank_attention can stand between them. */
static Tensor *agg_query(Tape *tp, const AggBlock *w, Tensor *q) {
    return linear(tp, layer_norm(tp, q, w->norm), w->q);
}

static Tensor *agg_rest(Tape *tp, const AggBlock *w, Tensor *q, Tensor *attended) {
    q = op_add(tp, q, linear(tp, attended, w->out), 1);
    return op_add(tp, q, mlp(tp, &w->ff, q, ACT_GELU_ERF), 1);
}

/* q <- q + Attn(LN(q), LN_c(phi)); q <- q + FFN(LN(q)). */
static Tensor *agg_block(Tape *tp, const AggBlock *w, Tensor *q, Tensor *phi, Attention *a) {
    Tensor *z = layer_norm(tp, phi, w->norm_c);
    Tensor *query = agg_query(tp, w, q), *key = linear(tp, z, w->k), *value = linear(tp, z, w->v);
    return agg_rest(tp, w, q, op_attention(tp, query, key, value, a));
}

static real agg_scale(const Model *m) { return 1 / (real)sqrt((double)m->c.agg_dh); }

/* q [B*T,d], phi [K*T,d] -> phi_star [B*T,d].  r says which documents each question attends to. */
static Tensor *agg_blocks(Model *m, Tape *tp, Tensor *q, int B, Tensor *phi, AggReads *r) {
    int T = m->c.T;
    Ragged query, docs, gold;
    if (even(tp, &query, B, T) != 0 || even(tp, &docs, B, 0) != 0 || even(tp, &gold, B, T) != 0)
        return NULL;
    for (int b = 0; b < B; b++) {
        docs.first[b] = r->doc0[b] * T, docs.n[b] = r->docs[b] * T;
        if (r->mass) gold.first[b] = r->gold[b] * T;
    }
    Attention a = attention(m->c.agg_H, agg_scale(m), &query, &docs);
    if (r->mass) a.t0 = gold.first, a.tn = gold.n; /* a.mass: the attention on the right document */
    for (int i = 0; i < m->c.agg_B; i++) {
        q = agg_block(tp, &m->agg->block[i], q, phi, &a);
        if (r->mass) r->mass[i] = a.mass;
    }
    return q;
}

/* g_input(x): B questions -> [B*T, d]. */
static Tensor *encode_question(Model *m, Tape *tp, const Ids *q, int B) {
    return token_mlps(m, tp, &m->agg->q_mlp, enc_forward(m, tp, m->qenc, q, B), B);
}

/* phi_star = h_psi(g_input(x), M).  mac_loss and mac_answer call its two halves: they need the
 * encoded questions twice, or stream the bank. */
Tensor *agg_forward(Model *m, Tape *tp, const Ids *q, int B, Tensor *phi, AggReads *r) {
    return agg_blocks(m, tp, encode_question(m, tp, q, B), B, phi, r);
}

/* ---- the finder: ours, not the paper's ---- */
/* To find the right one of many documents and to read an answer in it want different things of an
 * attention.  If all heads have to find, names crowd out of phi what would be read.  So few do: the
 * first half of the heads of the first block, for the first of a question's T vectors.  These are
 * the finder.  Training guides it, and it alone (guidance); an answer may ask it first and draw
 * from the N documents that it attends to most (select).  All other heads only ever learn to read
 * in a small bank.  The finder takes part in that as well, as an attention like any other. */
static int finder_heads(const Model *m) { return (m->c.agg_H + 1) / 2; }

/* q [B*T,d] -> the finder's queries [B, F*dh], F its heads. */
static Tensor *finder_query(Model *m, Tape *tp, Tensor *q, int B) {
    int *first = int_array(tp, B);
    for (int b = 0; first && b < B; b++) first[b] = b * m->c.T;
    Tensor *query = agg_query(tp, &m->agg->block[0], op_rows(tp, q, NULL, first, B));
    return op_cols(tp, query, 0, finder_heads(m) * m->c.agg_dh);
}

/* The attention of question b on document gold[b] among all K of phi [K*T,d]: [B, F]. */
static Tensor *finder_mass(Model *m, Tape *tp, Tensor *q, int B, Tensor *phi, int K,
                           const int *gold) {
    const AggBlock *w = &m->agg->block[0];
    Ragged query, docs, right;
    if (even(tp, &query, B, 1) != 0 || even(tp, &docs, B, 0) != 0
        || even(tp, &right, B, m->c.T) != 0) return NULL;
    for (int b = 0; b < B; b++) docs.n[b] = K * m->c.T, right.first[b] = gold[b] * m->c.T;
    Tensor *asks = finder_query(m, tp, q, B);
    Tensor *key = linear(tp, layer_norm(tp, phi, w->norm_c), w->k);
    key = op_cols(tp, key, 0, finder_heads(m) * m->c.agg_dh);
    Attention a = attention(finder_heads(m), agg_scale(m), &query, &docs);
    a.t0 = right.first, a.tn = right.n;
    return op_attention(tp, asks, key, key, &a) ? a.mass : NULL; /* what it draws is not read */
}

/* ==== [E4] they become keys and values of the LM ============================================= */
/* The LM has n = P*2L places for what was drawn: in each of its L layers P keys and P values.
 * Place p*2L + 2l + which is position p of layer l, its key where `which` is 0 and its value where
 * it is 1: the official layout.  The T vectors fill the places in order: each serves n/T of them in
 * a row, the first n % T vectors one more.  So every place always has one vector and one network of
 * its own, y = x + W2 gelu(W1 LN(x)).  This is done once a question.  After that the LM only has P
 * more keys to look at, whatever the bank holds. */

/* phi_star [B*T,d] -> [n*B,d]: row place*B + b is question b's. */
Tensor *prefix_expand(Model *m, Tape *tp, Tensor *phi_star, int B) {
    int T = m->c.T, n = m->c.P * 2 * m->c.L, at = 0;
    int *idx = int_array(tp, n * B);
    if (!idx) return NULL;
    for (int t = 0; t < T; t++)
        for (int use = 0; use < n / T + (t < n % T); use++)
            for (int b = 0; b < B; b++) idx[at++] = b * T + t;
    Tensor *x = op_rows(tp, phi_star, NULL, idx, n * B);
    return op_add(tp, x, mlp(tp, &m->agg->expand, x, ACT_GELU_ERF), 1);
}

/* ==== [E5] the LM reads after the prefix ===================================================== */
/* GPT-2, frozen once it has learned to write: all it knows of a document comes through the prefix.
 * In each layer the keys of a sequence are [prefix ; its tokens], P rows and then one a token, and
 * the mask is counted from the end: with qn new tokens and kn keys, the i-th new token attends to
 * keys j <= i + kn - qn.  That is the whole prefix and every token up to itself.
 *
 * A question stands at positions P, P+1, ... whatever it is read after: a prefix, a document or
 * nothing.  A document stands at the end of the window, its last token at S-1, where questions do
 * not come.  So the LM learns to answer at the very positions where it will have to answer from a
 * prefix, out of keys that are of other positions, whatever these are.  Without that a frozen LM
 * does not even copy a word out of a perfect prefix.
 *
 * With a cache the same holds from call to call: the keys and values of what was read are kept, and
 * only rows of new tokens are computed.  So an answer of n tokens costs n rows and not n^2 / 2. */
struct LmCache {
    int B, cap, *keys, *read; /* keys held and tokens read of each sequence */
    Tensor **k, **v, **spare; /* [L], [L], [2L], in one array, of [B*cap, d]; see cache_follow */
};

static LmCache *cache_new(const Model *m, Tape *tp, int B, int cap) {
    int L = m->c.L;
    LmCache *c = tape_alloc(tp, sizeof *c);
    if ((int64_t)B * cap > INT_MAX / 2)
        tape_fail(tp, "%d questions or beams at once are too many", B);
    if (!c || tape_error(tp)[0]) return NULL;
    *c = (LmCache){.B = B, .cap = cap, .keys = int_array(tp, 2 * B),
                   .k = tape_alloc(tp, 4 * (size_t)L * sizeof(Tensor *))};
    if (!c->keys || !c->k) return NULL;
    c->read = c->keys + B, c->v = c->k + L, c->spare = c->v + L;
    for (int l = 0; l < 2 * L; l++) /* keys, then values */
        if (!(c->k[l] = tape_tensor(tp, B * cap, m->c.d))) return NULL;
    return c;
}

/* Rows of one call: new tokens and their positions; keys made by the call, [prefix ;] new tokens;
 * all keys that are attended to. */
typedef struct { Ragged own, fresh, keys; int *pos; } LmRows;

static int lm_rows(const Model *m, Tape *tp, const Ids *x, int B, int prefix_n,
                   const LmCache *cache, LmRows *r) {
    int P = m->c.P, next = 0;
    if (ragged(tp, &r->own, x, B, 0) != 0 || even(tp, &r->fresh, B, 0) != 0
        || even(tp, &r->keys, B, 0) != 0 || !(r->pos = int_array(tp, r->own.rows)))
        return -1;
    for (int b = 0; b < B; b++) {
        int read = cache ? cache->read[b] : 0, held = cache ? cache->keys[b] : 0, n = x[b].n;
        int doc = x[b].doc, *pos = r->pos + r->own.first[b];
        for (int i = 0; i < n; i++) pos[i] = i < doc ? m->c.S - doc + i : P + read + i - doc;
        r->fresh.first[b] = next, r->fresh.n[b] = prefix_n + n;
        r->keys.first[b] = cache ? b * cache->cap : next, r->keys.n[b] = held + prefix_n + n;
        next += prefix_n + n;
        int all = read + (n > doc ? n : doc);
        if (P + all <= m->c.S && (!cache || r->keys.n[b] <= cache->cap)) continue;
        tape_fail(tp, "sequence %d has %d tokens, the LM's window S = %d leaves room for %d", b,
                  all, m->c.S, m->c.S - P);
        return -1;
    }
    return 0;
}

/* [prefix ; own] of layer l for every sequence; which: 0 for keys, 1 for values. */
static Tensor *with_prefix(const Model *m, Tape *tp, Tensor *prefix, Tensor *own, const Ragged *r,
                           int l, int which) {
    int P = m->c.P, n = P * 2 * m->c.L, B = r->B, at = 0,
        *idx = int_array(tp, r->rows + B * P);
    if (!idx || !own) return NULL;
    for (int b = 0; b < B; b++) {
        for (int p = 0; p < P; p++) idx[at++] = (p * 2 * m->c.L + 2 * l + which) * B + b;
        for (int i = 0; i < r->n[b]; i++) idx[at++] = n * B + r->first[b] + i;
    }
    return op_rows(tp, prefix, own, idx, at);
}

/* Appends the rows of x, [prefix ;] own, to a layer's keys or values; returns all of them. */
static Tensor *cache_append(const LmCache *c, Tensor *held, const Tensor *x, const Ragged *fresh) {
    if (!x) return NULL;
    size_t d = (size_t)x->shape[1];
    for (int b = 0; b < c->B; b++)
        memcpy(held->data + (size_t)(b * c->cap + c->keys[b]) * d,
               x->data + (size_t)fresh->first[b] * d, (size_t)fresh->n[b] * d * sizeof(real));
    return held;
}

static Tensor *lm_attention(const Model *m, Tape *tp, int l, Tensor *x, Tensor *prefix,
                            LmCache *cache, const LmRows *r) {
    const LmLayer *w = &m->lm->layer[l];
    int d = m->c.d;
    Tensor *qkv = conv1d(tp, layer_norm(tp, x, w->ln1), w->attn); /* [N, 3d] */
    Tensor *k = op_cols(tp, qkv, d, d), *v = op_cols(tp, qkv, 2 * d, d);
    if (prefix) {
        k = with_prefix(m, tp, prefix, k, &r->own, l, 0);
        v = with_prefix(m, tp, prefix, v, &r->own, l, 1);
    }
    if (cache) {
        k = cache_append(cache, cache->k[l], k, &r->fresh);
        v = cache_append(cache, cache->v[l], v, &r->fresh);
    }
    Attention a = attention(m->c.H, 1 / (real)sqrt((double)d / m->c.H), &r->own, &r->keys);
    a.causal = 1;
    Tensor *y = op_attention(tp, op_cols(tp, qkv, 0, d), k, v, &a);
    return op_add(tp, x, conv1d(tp, y, w->attn_out), 1);
}

static Tensor *lm_feed_forward(Tape *tp, const LmLayer *w, Tensor *x) {
    Tensor *hidden = conv1d(tp, layer_norm(tp, x, w->ln2), w->fc);
    return op_add(tp, x, conv1d(tp, op_act(tp, hidden, ACT_GELU_TANH), w->fc_out), 1);
}

/* Of n rows alone; row NULL: of all.  Of other rows the last layer's keys and values are needed,
 * and nothing that follows. */
static Tensor *lm_hidden_rows(Model *m, Tape *tp, const Ids *x, int B, Tensor *prefix,
                              LmCache *cache, const int *row, int n) {
    LmRows r;
    if (lm_rows(m, tp, x, B, prefix ? m->c.P : 0, cache, &r) != 0) return NULL;
    Tensor *h = op_rows(tp, m->lm->wte, NULL, r.own.ids, r.own.rows);
    h = op_add(tp, h, op_rows(tp, m->lm->wpe, NULL, r.pos, r.own.rows), 1);
    for (int l = 0; l < m->c.L; l++) {
        h = lm_attention(m, tp, l, h, prefix, cache, &r);
        if (row && l == m->c.L - 1) h = op_rows(tp, h, NULL, row, n);
        h = lm_feed_forward(tp, &m->lm->layer[l], h);
    }
    for (int b = 0; h && cache && b < B; b++)
        cache->keys[b] = r.keys.n[b], cache->read[b] += x[b].n > x[b].doc ? x[b].n - x[b].doc : 0;
    return layer_norm(tp, h, m->lm->ln_f);
}

Tensor *lm_hidden(Model *m, Tape *tp, const Ids *x, int B, Tensor *prefix, LmCache *cache) {
    return lm_hidden_rows(m, tp, x, B, prefix, cache, NULL, 0);
}

/* The embedding of tokens is also the output layer, as in GPT-2. */
Tensor *lm_logits(Model *m, Tape *tp, Tensor *h) {
    return linear(tp, h, (Affine){m->lm->wte, NULL});
}

Tensor *lm_loss(Model *m, Tape *tp, const Ids *x, const char *const *asked, int B, Tensor *prefix,
                int alike) {
    int rows = 0, n = 0;
    for (int b = 0; b < B; b++) rows += x[b].n > 0 ? x[b].n - 1 : 0;
    Ids *in = tape_alloc(tp, (size_t)B * sizeof *in);
    int *row = int_array(tp, 2 * rows);
    int *target = row ? row + rows : NULL;
    real *weight = alike ? tape_alloc(tp, (size_t)rows * sizeof *weight) : NULL;
    if (!in || !row || (alike && !weight)) return NULL;
    for (int b = 0, at = 0; b < B; b++) { /* the last token is predicted, never read */
        int first = n;
        in[b] = (Ids){x[b].id, x[b].n > 0 ? x[b].n - 1 : 0, x[b].doc};
        for (int i = 0; i < in[b].n; i++) {
            if (asked && asked[b] && !asked[b][i + 1]) continue;
            row[n] = at + i;
            target[n++] = x[b].id[i + 1];
        }
        for (int i = first; alike && i < n; i++) weight[i] = 1 / (real)(B * (n - first));
        at += in[b].n;
    }
    Tensor *h = lm_hidden_rows(m, tp, in, B, prefix, NULL, row, n);
    return op_cross_entropy(tp, lm_logits(m, tp, h), target, weight);
}

/* ==== training =============================================================================== */
/* What answers are read from: `docs` documents of phi from place doc0 on, the one that answers at
 * place `gold`.  An example: four documents in banks of two.  batch_banks puts documents 0 and 2
 * into the first bank, 1 and 3 into the second, so that phi holds them in the order 0 2 1 3.  A
 * question about document 1 then reads the second bank, doc0 = 2 and docs = 2, where gold = 2. */
static int batch_reads(Tape *tp, const MacBatch *b, AggReads *r) {
    int banks = b->n_docs / b->bank_size, n = b->n_q;
    int *doc0 = int_array(tp, n), *docs = int_array(tp, n), *gold = int_array(tp, n);
    *r = (AggReads){.doc0 = doc0, .docs = docs, .gold = gold};
    for (int i = 0; doc0 && docs && gold && i < n; i++) {
        doc0[i] = b->doc[i] % banks * b->bank_size, docs[i] = b->bank_size;
        gold[i] = doc0[i] + b->doc[i] / banks;
    }
    return doc0 && docs && gold ? 0 : -1;
}

/* Where the n tokens of an answer stand in a document, -1: nowhere. */
static int answer_in(const Ids *doc, const int *answer, int n) {
    for (int i = 0; n > 0 && i + n <= doc->n; i++)
        if (!memcmp(doc->id + i, answer, (size_t)n * sizeof *answer)) return i;
    return -1;
}

/* Question i's answer as its document has it: up to BEFORE tokens before it, how many in *before,
 * then the answer and the token after it, P tokens at most.  Empty if the document has no such
 * tokens.  The answer begins at the same position whatever its document is, A places before the
 * window's end. */
enum { BEFORE = 4 };
static Ids answer_passage(const Model *m, const MacBatch *b, int i, int *before) {
    const Ids *doc = &b->docs[b->doc[i]];
    int n = b->qa[i].n - b->q[i].n - 1; /* EOS left out */
    int at = answer_in(doc, b->qa[i].id + b->q[i].n, n);
    if (at < 0) return (Ids){NULL, 0};
    *before = at < BEFORE ? at : BEFORE;
    int last = at + (n + 1 < m->c.P ? n + 1 : m->c.P);
    if (last > doc->n) last = doc->n;
    return (Ids){doc->id + at - *before, last - at + *before, *before + m->c.A};
}

/* Distillation.  An LM with the document before it answers from the keys and values that it has
 * made of the answer's tokens and of the one after them.  These are what a good prefix holds, so
 * the prefix is also taught to be near them, |prefix - theirs|^2 / |theirs|^2: its position 0 to
 * the answer's first token, and so on, over the positions that have one.  The first of several
 * layers has no target: an LM copies behind it, where a key knows the token before, and what the
 * vectors need not hold leaves room for more.  The LM reads no more than the answer's passage for
 * this, and reads it at fixed positions: so what is to be learned depends on a few words and on
 * nothing else. */
static Tensor *distill(Model *m, Tape *tp, const MacBatch *b, Tensor *prefix) {
    int P = m->c.P, B = b->n_q, n = 2 * m->c.L, rows = 0, longest = 1;
    int first = m->c.L > 1 ? 2 : 0; /* of the n keys and values of a position */
    size_t d = (size_t)m->c.d;
    int *idx = int_array(tp, B * P * n), *before = int_array(tp, B);
    Tensor *theirs = tape_tensor(tp, B * P * n, m->c.d);
    Ids *x = tape_alloc(tp, (size_t)B * sizeof *x);
    for (int i = 0; x && before && i < B; i++) {
        x[i] = answer_passage(m, b, i, &before[i]);
        if (x[i].n > longest) longest = x[i].n;
    }
    TapeMark mark = tape_mark(tp);
    int was = tape_record(tp, 0);
    LmCache *c = x && before ? cache_new(m, tp, B, longest) : NULL;
    Tensor *read = c && idx ? lm_hidden_rows(m, tp, x, B, NULL, c, idx, 0) : NULL; /* into c */
    for (int i = 0; read && idx && theirs && i < B; i++)
        for (int p = 0; before[i] + p < x[i].n; p++)
            for (int k = first; k < n; k++) { /* key and value of a layer, of the next, ... */
                const Tensor *from = k % 2 ? c->v[k / 2] : c->k[k / 2];
                size_t row = (size_t)(i * longest + before[i] + p);
                memcpy(theirs->data + (size_t)rows * d, from->data + row * d, d * sizeof(real));
                idx[rows++] = (p * n + k) * B + i;
            }
    int ok = read && idx && theirs;
    tape_record(tp, was);
    tape_release(tp, mark);
    if (!ok) return NULL;
    theirs->shape[0] = rows;
    return rows ? op_square_error(tp, op_rows(tp, prefix, NULL, idx, rows), theirs)
                : tape_tensor(tp, 1, 1);
}

/* L = NLL of the answer's tokens under LM(x ; phi_star), and two terms of our own: the prefix'
 * distance from what the LM would have read (distill), and guidance * -log(the finder's attention
 * on the right one of all documents), a mean over questions and heads: a log for each head, for
 * with the log of their mean one head that finds the document would excuse the others. */
Tensor *mac_loss(Model *m, Tape *tp, const MacBatch *b, MacStats *stats) {
    int n = b->n_q;
    if (b->bank_size < 1 || b->n_docs % b->bank_size || b->n_grad < 1 || b->n_grad > b->n_docs)
        return tape_fail(tp, "batch: %d documents in banks of %d, %d with a gradient", b->n_docs,
                         b->bank_size, b->n_grad);
    for (int i = 0; i < n; i++)
        if (b->doc[i] < 0 || b->doc[i] >= b->n_docs)
            return tape_fail(tp, "batch: question %d is about document %d of %d", i, b->doc[i],
                             b->n_docs);
    char **asked = tape_alloc(tp, (size_t)n * sizeof *asked);
    AggReads answer;
    if (!asked || batch_reads(tp, b, &answer) != 0) return NULL;
    for (int i = 0; i < n; i++) {
        asked[i] = tape_alloc(tp, (size_t)b->qa[i].n + 1);
        if (!asked[i]) return NULL;
        memset(asked[i] + b->q[i].n, 1, (size_t)(b->qa[i].n - b->q[i].n));
    }
    Tensor *phi = batch_banks(m, tp, b), *q = encode_question(m, tp, b->q, n);
    Tensor *phi_star = agg_blocks(m, tp, q, n, phi, &answer);
    Tensor *prefix = prefix_expand(m, tp, phi_star, n), *term;
    Tensor *loss = lm_loss(m, tp, b->qa, (const char *const *)asked, n, prefix, b->alike);
    if (!loss) return NULL;
    *stats = (MacStats){.answer = loss->data[0]};
    if (b->distill > 0) {
        if (!(term = distill(m, tp, b, prefix))) return NULL;
        stats->distill = term->data[0];
        loss = op_add(tp, loss, term, b->distill);
    }
    if (b->guidance > 0) {
        if (!(term = finder_mass(m, tp, q, n, phi, b->n_docs, answer.gold))) return NULL;
        size_t size = tensor_size(term);
        for (size_t i = 0; i < size; i++) stats->mass += term->data[i] / (real)size;
        loss = op_add(tp, loss, op_neglog(tp, term), b->guidance);
    }
    if (loss) stats->loss = loss->data[0];
    return loss;
}

/* ---- what only training does to a model ---- */
/* Copies parameters of `from`, whose names begin with `old`, to those of m with `new` instead. */
static void copy_named(Model *m, const char *new, const Model *from, const char *old) {
    size_t n = strlen(old);
    for (int i = 0; i < from->ps.n; i++) {
        const Param *p = from->ps.p[i];
        char twin[2 * MAC_NAME];
        if (strncmp(p->name, old, n)) continue;
        snprintf(twin, sizeof twin, "%s%s", new, p->name + n);
        Tensor *t = param_find(&m->ps, twin);
        if (t) memcpy(t->data, p->t.data, tensor_size(t) * sizeof(real));
    }
}

/* A question stands at positions P, P+1, ...: where P is another, the embeddings of these move with
 * it.  A document stands at the end, with any P. */
void model_copy_lm(Model *m, const Model *from) {
    copy_named(m, "base_lm.", from, "base_lm.");
    for (int i = 0, S = m->c.S, d = m->c.d; i < m->c.P + m->c.Q + m->c.A && i < S; i++) {
        int was = i - m->c.P + from->c.P;
        if (was >= 0 && was < S)
            memcpy(m->lm->wpe->data + i * d, from->lm->wpe->data + was * d,
                   (size_t)d * sizeof(real));
    }
}

/* W [out,in] becomes the identity as far as it is square; the rest stays as drawn. */
static void make_identity(const Tensor *W) {
    size_t out = (size_t)W->shape[0], in = (size_t)W->shape[1];
    for (size_t i = 0; i < out && i < in; i++)
        for (size_t j = 0; j < out && j < in; j++) W->data[i * in + j] = i == j;
}

/* Each network of the expansion becomes what the LM makes of a token's state x at that place: the
 * key, or the value, W LN(x) + b of its layer.  For gelu(z) - gelu(-z) = z: a hidden layer of LN(x)
 * and -LN(x) hands LN(x) on, or its first pre_ff/2 numbers if it is too narrow.  From W the
 * identity is taken away, because the residual adds x, which is about LN(x). */
static void expand_as_lm(const Model *m) {
    const Mlp *w = &m->agg->expand;
    size_t d = (size_t)m->c.d, ff = (size_t)m->c.pre_ff, h = ff / 2 < d ? ff / 2 : d;
    for (size_t g = 0; g < (size_t)w->in.w->shape[0]; g++) { /* place p*2L + 2l + which */
        const LmLayer *lm = &m->lm->layer[g / 2 % (size_t)m->c.L];
        size_t first = (1 + g % 2) * d; /* columns of c_attn: queries, keys, values */
        real *in = w->in.w->data + g * ff * d, *out = w->out.w->data + g * d * ff;
        real *b = w->out.b->data + g * d;
        memset(in, 0, 2 * h * d * sizeof *in);
        memset(w->in.b->data + g * ff, 0, 2 * h * sizeof(real));
        memset(out, 0, d * ff * sizeof *out);
        for (size_t i = 0; i < h; i++) in[i * d + i] = 1, in[(h + i) * d + i] = -1;
        for (size_t i = 0; i < d; i++) {
            b[i] = lm->attn.b->data[first + i];
            for (size_t j = 0; j < d; j++) {
                real a = lm->attn.w->data[j * 3 * d + first + i];
                b[i] += a * lm->ln1.b->data[j];
                a = a * lm->ln1.w->data[j] - (i == j);
                if (j < h) out[i * ff + j] = a, out[i * ff + h + j] = -a;
            }
        }
    }
}

/* Does the LM begin with a head that looks back?  See lm_looks_back. */
static int looks_back(const MacConfig *c) { return c->H > 1 && c->L > 1; }

/* Where the LM looks back, the encoder hands on what the LM's second layer would see of a token: to
 * the token its first head adds what the LM's first head does.  scale: how much larger embeddings
 * are here than in the LM. */
static void encode_as_lm(const Model *m, real scale) {
    int d = m->c.d, dh = d / m->c.H, inner = m->c.enc_H * m->c.enc_dh;
    const LmLayer *lm = &m->lm->layer[0];
    const T5Attn *self = &m->enc->encoder.layer->self;
    if (!looks_back(&m->c) || m->c.e != d || m->c.enc_H == 1 || m->c.enc_only) return;
    for (int i = 0; i < dh && i < m->c.enc_dh; i++)
        for (int j = 0; j < d; j++) {
            real v = lm->attn.w->data[j * 3 * d + 2 * d + i] * lm->ln1.w->data[j];
            self->v.w->data[i * d + j] = v;
            self->o.w->data[j * inner + i] = lm->attn_out.w->data[i * d + j] * scale;
        }
}

/* The paper starts both encoders from one pretrained T5, which aligns a question with its document
 * and hands words on before any training.  From nothing, this stands in for it.
 *
 * A document is found because both encoders are equal, and know what the LM knows of each token
 * where e = d (scaled to variance 1, as T5's embeddings are), and the finder's keys start as its
 * queries.  So a question attends to what is like it, the more so the larger the queries are:
 * `sharp` times what was drawn.
 *
 * A token's place in a word or sentence is known by what stands before it.  So at first the heads
 * of the encoders look mostly at one place each: the token before, the one before that, and so on.
 * The last head, and those beyond seven, have no place.
 *
 * A word is read because nothing changes it on its way.  What the decoder draws from a text, and a
 * question from the bank, arrives as it was (heads beyond the width add what they were drawn to),
 * and the prefix begins as the LM's own keys and values of it.  Training has to learn where to
 * look, not what to make of it. */
void model_share_start(Model *m, real sharp) {
    const Tensor *wte = m->lm->wte;
    size_t n = tensor_size(wte);
    real square = 0;
    for (size_t i = 0; i < n; i++) square += wte->data[i] * wte->data[i];
    real scale = square > 0 ? 1 / (real)sqrt(square / (real)n) : 1;
    for (size_t i = 0; m->c.e == m->c.d && square > 0 && i < n; i++)
        m->enc->embed->data[i] = wte->data[i] * scale;
    for (int h = 0; h + 1 < m->c.enc_H && h < 7; h++) /* e^5: two thirds of a text's attention */
        m->enc->encoder.bias->data[(h + 1) * m->c.enc_H + h] += 5; /* h + 1 tokens before */
    encode_as_lm(m, scale);
    for (int l = 0; l < m->c.enc_L && !m->c.enc_only; l++) {
        const T5Attn *cross = &m->enc->decoder.layer[l].cross;
        make_identity(cross->v.w), make_identity(cross->o.w);
    }
    copy_named(m, "aggregator.question_encoder.", m, "enc_decoder.");
    copy_named(m, "aggregator.mlps.", m, "mlps.");
    for (int i = 0; i < m->c.agg_B; i++)
        make_identity(m->agg->block[i].v.w), make_identity(m->agg->block[i].out.w);
    expand_as_lm(m);
    const AggBlock *w = &m->agg->block[0];
    size_t finder = (size_t)(finder_heads(m) * m->c.agg_dh * m->c.d);
    for (size_t i = 0; i < finder; i++) w->k.w->data[i] = w->q.w->data[i] *= sharp;
}

/* ==== answers: the bank is streamed ========================================================== */
/* bank_aggregate draws what agg_blocks would draw, but for rounding, in memory that does not grow
 * with the bank: phi is read chunk by chunk and never held.  A softmax over keys is the quotient of
 * two sums over keys, and a sum can be continued.  Of all keys so far each query row keeps only its
 * largest score, the sum of its weights and the weighted sum of values; op_stream_attention says
 * how the next chunk is added.
 *
 * It is fast because most of the work on keys is moved to the other side.  LN_c's gain goes into
 * the weights, W diag(g), so that keys and values of all blocks are made of the same normalised
 * rows z.  LN_c's bias adds the same to all scores of a query, which a softmax does not see, and
 * Wv b to each value, which is added in the end.  And since q.(Wk z) = (Wk^T q).z, few questions
 * carry their queries through Wk to the documents, take the mean of the rows as they lie, and carry
 * that through Wv: nothing is computed for a row but its scores.  For many questions that is more
 * than to make keys and values of each chunk, once for all of them. */
static const real *bank_chunk(void *ctx, int first, int n, real *to) {
    const Bank *b = ctx;
    if (!b->half) return b->phi + (size_t)first * (size_t)b->d;
    bank_read(b, first / b->T, n / b->T, to);
    return to;
}

/* W diag(g): [inner, d]. */
static real *scaled_columns(Tape *tp, const Tensor *W, const Tensor *g) {
    size_t n = tensor_size(W), d = (size_t)W->shape[1];
    real *to = tape_alloc(tp, n * sizeof *to);
    for (size_t i = 0; to && i < n; i++) to[i] = W->data[i] * g->data[i % d];
    return to;
}

/* One block's attention to the whole bank: q [B*T, H*dh] -> [B*T, H*dh].  received: [B][K], or, of
 * each head and vector `apart`, [H*B*T][K]. */
static Tensor *bank_attention(Model *m, Tape *tp, const AggBlock *w, Tensor *q, int B,
                              const Bank *bank, real *received, size_t memory, int apart) {
    int H = m->c.agg_H, dh = m->c.agg_dh, d = m->c.d, R = B * m->c.T;
    real *Wk = scaled_columns(tp, w->k.w, w->norm_c.w);
    real *Wv = scaled_columns(tp, w->v.w, w->norm_c.w);
    Tensor *bv = linear(tp, w->norm_c.b, w->v);
    if (!q || !Wk || !Wv || !bv) return NULL;
    for (int i = 0; i < R * H * dh; i++) q->data[i] *= agg_scale(m); /* in place: not recorded */
    Tensor rows = {2, {R * H, dh, 1}, q->data, NULL};         /* q [R, H*dh] as [R*H, dh] */
    Tensor k = {3, {H, dh, d}, Wk, NULL};                     /* Wk [H*dh, d] as [H, dh, d] */
    Tensor v = {3, {H, dh, d}, Wv, NULL};                     /* Wv [H*dh, d] as [H, dh, d] */
    Tensor *x = transpose_rows(tp, &rows, R, H);              /* [H*R, dh], head by head */
    Stream s = {.N = bank->K * m->c.T, .D = d, .T = m->c.T, .read = bank_chunk,
                .ctx = (void *)(uintptr_t)bank, .B = B, .received = received,
                .memory = memory};
    if (apart) s.B = R * H;
    if (apart || (int64_t)R * H * d < (int64_t)H * dh * (d + R)) { /* few: products for each row */
        s.G = 1, s.R = R * H, s.by_head = apart ? 1 : H;
        x = conv1d(tp, x, (Affine){&k, NULL});                /* [H*R, d], queries for rows z */
        x = op_stream_attention(tp, x, &s);                   /* [H*R, d], weighted means of z */
        x = linear(tp, x, (Affine){&v, bv});                  /* [H*R, dh] */
    } else {
        s.G = H, s.R = R, s.by_head = 1, s.Wk = Wk, s.Wv = Wv, s.bv = bv->data;
        x = op_stream_attention(tp, x, &s);                   /* [H*R, dh] */
    }
    Tensor *y = transpose_rows(tp, x, H, R);                  /* [R*H, dh] */
    if (!y || bank->K == 0) return y ? tape_tensor(tp, R, H * dh) : NULL;
    y->shape[0] = R, y->shape[1] = H * dh;                    /* as [R, H*dh] */
    return y;
}

/* q [B*T,d] -> phi_star [B*T,d]; received [B][K]: the attention on each document, the mean over
 * vectors, heads and blocks, or NULL. */
static Tensor *bank_aggregate(Model *m, Tape *tp, Tensor *q, int B, const Bank *bank,
                              real *received, size_t memory) {
    size_t n = (size_t)B * (size_t)bank->K;
    if (received) memset(received, 0, n * sizeof *received);
    for (int i = 0; i < m->c.agg_B && q; i++) {
        const AggBlock *w = &m->agg->block[i];
        Tensor *query = agg_query(tp, w, q);
        q = agg_rest(tp, w, q, bank_attention(m, tp, w, query, B, bank, received, memory, 0));
    }
    for (size_t i = 0; q && received && i < n; i++)
        received[i] /= (real)(m->c.agg_B * m->c.agg_H * m->c.T);
    return q;
}

/* ==== answers: documents selected first, or aggregated M at a time =========================== */
static int by_number(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* Where the N largest of x[K] are, the largest first, the earlier of two alike; all, if K < N. */
static void largest(const real *x, int K, int N, int *at) {
    for (int k = 0, n = 0; k < K; k++) {
        if (n == N && !(x[k] > x[at[n - 1]])) continue;
        int i = n < N ? n++ : n - 1;
        for (; i > 0 && x[k] > x[at[i - 1]]; i--) at[i] = at[i - 1];
        at[i] = k;
    }
}

/* The N of K documents that received most, in the bank's order. */
static void select_documents(const real *received, int K, int N, int *doc) {
    largest(received, K, N, doc);
    qsort(doc, (size_t)N, sizeof *doc, by_number);
}

/* Each question begins anew, and reads only its own N documents. */
static Tensor *select_aggregate(Model *m, Tape *tp, Tensor *q, int B, const Bank *bank, int N,
                                const real *received) {
    Ragged docs;
    int *doc = int_array(tp, N);
    size_t size = (size_t)bank->T * (size_t)bank->d;
    if ((int64_t)B * N * bank->T > INT_MAX / 2)
        return tape_fail(tp, "%d questions that select %d documents are too many", B, N);
    Tensor *phi = tape_tensor(tp, B * N * bank->T, bank->d);
    if (!doc || !phi || even(tp, &docs, B, N) != 0) return NULL;
    for (int b = 0; b < B; b++) {
        select_documents(received + (size_t)b * (size_t)bank->K, bank->K, N, doc);
        for (int i = 0; i < N; i++)
            bank_read(bank, doc[i], 1, phi->data + (size_t)(b * N + i) * size);
    }
    AggReads r = {.doc0 = docs.first, .docs = docs.n};
    return agg_blocks(m, tp, q, B, phi, &r);
}

/* ---- the gate: is it in the memory? ---- */
/* A softmax gives away all of its weight: in a bank of one, that one receives 1 whatever is asked.
 * So where somebody wants to know how sure an answer is, the finder is given somewhere else to
 * look: documents of the training, the strangers, stand behind those of the bank.  They are never
 * read.  What a document of the bank receives beside them, of the head of the finder that gives it
 * least, is its share.  The largest share is near 1 where one document answers much better than any
 * stranger, whatever else the bank holds.
 *     sure = 1 / (1 + e^-(slope logit(share) + shift)),   logit(p) = log p - log(1 - p)
 * mac_gate chooses slope and shift such that sure is the probability that the bank holds the
 * document which was asked about (Platt's scaling).
 *
 * In a large bank the others take some of what is due to the right document.  So there it is enough
 * to be less sure: the threshold's logit falls with the logarithm of the bank's size. */
#define MOST_STRANGERS 4096
#define EASY_BANK 16
static real logit(real p) {
    const real edge = (real)1e-6;
    p = p > edge ? p < 1 - edge ? p : 1 - edge : edge;
    return exact_log(p) - exact_log(1 - p);
}

static real sigmoid(real x) { return 1 / (1 + exact_exp(-x)); } /* the other way */

static real gate_sure(const Gate *g, real share) {
    return sigmoid(g->fit[GATE_SLOPE] * logit(share) + g->fit[GATE_SHIFT]);
}

real mac_threshold(const Model *m, int K) {
    const real *fit = m->gate.fit;
    if (K <= EASY_BANK) return fit[GATE_THRESHOLD];
    real fallen = fit[GATE_FALL] * exact_log((real)K / EASY_BANK);
    return sigmoid(logit(fit[GATE_THRESHOLD]) - fallen);
}

typedef struct { const Bank *bank; const real *strangers; } Beside; /* a bank and those behind it */

static const real *beside_chunk(void *ctx, int first, int n, real *to) {
    const Beside *s = ctx;
    int T = s->bank->T, k = first / T, left = s->bank->K - k, docs = n / T;
    int own = left < 0 ? 0 : left < docs ? left : docs;
    size_t per = (size_t)T * (size_t)s->bank->d;
    if (own == docs) return bank_chunk((void *)(uintptr_t)s->bank, first, n, to);
    bank_read(s->bank, k, own, to);
    memcpy(to + (size_t)own * per, s->strangers + (size_t)(k + own - s->bank->K) * per,
           (size_t)(docs - own) * per * sizeof *to);
    return to;
}

/* The finder's attention on each document of the bank, received [B][K]: the mean over its heads.
 * Where sure [B] is asked, strangers stand behind them.  Its queries are carried to the documents,
 * as bank_attention does it for few. */
static int finder_stream(Model *m, Tape *tp, Tensor *q, int B, const Bank *bank, real *received,
                         real *sure, size_t memory) {
    const AggBlock *w = &m->agg->block[0];
    int F = finder_heads(m), dh = m->c.agg_dh, d = m->c.d, K = bank->K;
    int all = K + (sure ? m->gate.R : 0);
    Beside rows = {bank, m->gate.strangers};
    Tensor *query = finder_query(m, tp, q, B);
    real *Wk = scaled_columns(tp, w->k.w, w->norm_c.w);
    real *got = tape_alloc(tp, (size_t)(F * B) * (size_t)all * sizeof *got); /* [F*B][all] */
    if (!query || !Wk || !got) return -1;
    for (int i = 0; i < B * F * dh; i++) query->data[i] *= agg_scale(m);
    Tensor heads = {2, {B * F, dh, 1}, query->data, NULL};    /* query [B, F*dh] as [B*F, dh] */
    Tensor k = {3, {F, dh, d}, Wk, NULL};                     /* its heads' rows of Wk */
    Tensor *x = conv1d(tp, transpose_rows(tp, &heads, B, F), (Affine){&k, NULL}); /* [F*B, d] */
    Stream s = {.N = all * bank->T, .D = d, .T = bank->T, .read = beside_chunk, .ctx = &rows,
                .B = F * B, .received = got, .memory = memory, .G = 1, .R = F * B, .by_head = 1};
    if (!op_stream_attention(tp, x, &s)) return -1;
    for (int b = 0; b < B; b++, received += K) {
        real share = 0;
        for (int i = 0; i < K; i++) {
            real sum = 0, least = 1;
            for (int f = 0; f < F; f++) {
                real is = got[(size_t)(f * B + b) * (size_t)all + (size_t)i];
                sum += is, least = is < least ? is : least;
            }
            received[i] = sum / (real)F;
            share = least > share ? least : share;
        }
        if (sure) sure[b] = gate_sure(&m->gate, share);
    }
    return 0;
}

/* Selects, then reads.  Until a question has seen the whole bank, each row of its queries keeps a
 * number for every document: F rows for the finder, T*H to aggregate.  Where this would take more
 * than o->memory, some questions read the bank, then the next ones.  Nothing stays of them but
 * phi_star, what documents received, and how sure they are. */
static Tensor *bank_select(Model *m, Tape *tp, Tensor *q, int B, const Bank *bank,
                           const AnswerOptions *o) {
    int K = bank->K, T = m->c.T, N = o->select > 0 && o->select < K ? o->select : 0;
    int find = N || o->sure;
    for (int b = 0; o->sure && K == 0 && b < B; b++) o->sure[b] = gate_sure(&m->gate, 0);
    if (K == 0 || (!find && !o->received)) return bank_aggregate(m, tp, q, B, bank, NULL, 0);
    size_t memory = o->memory ? o->memory : (size_t)1 << 27, k = (size_t)K, d = (size_t)bank->d;
    uint64_t rows = find ? (uint64_t)finder_heads(m) : (uint64_t)T * (uint64_t)m->c.agg_H;
    uint64_t fit = memory / sizeof(real) / ((uint64_t)K * rows);
    int most = fit < 1 ? 1 : fit < (uint64_t)B ? (int)fit : B, bad = 0;
    Tensor *phi_star = q ? tape_tensor(tp, B * T, bank->d) : NULL;
    for (int b = 0, n; phi_star && b < B; b += n) {
        n = B - b < most ? B - b : most;
        TapeMark mark = tape_mark(tp);
        size_t begin = (size_t)(b * T) * d;
        Tensor some = {2, {n * T, bank->d, 1}, q->data + begin, NULL}, *drawn; /* of q [B*T,d] */
        real *received = o->received ? o->received + (size_t)b * k
                                     : tape_alloc(tp, (size_t)n * k * sizeof *received);
        real *sure = o->sure ? o->sure + b : NULL;
        if (!received) return NULL;
        if (find) bad = finder_stream(m, tp, &some, n, bank, received, sure, memory);
        drawn = bad ? NULL : N ? select_aggregate(m, tp, &some, n, bank, N, received)
                               : bank_aggregate(m, tp, &some, n, bank, find ? NULL : received,
                                                memory);
        if (!drawn) return NULL;
        memcpy(phi_star->data + begin, drawn->data, (size_t)(n * T) * d * sizeof(real));
        tape_release(tp, mark);
    }
    return phi_star;
}

/* Every M documents are aggregated by themselves.  What a question drew from them is one document
 * of the next round, until one is left.  The official code loops over the question's length here;
 * this loops over the bank. */
static Tensor *bank_hierarchy(Model *m, Tape *tp, Tensor *q, int B, const Bank *bank, int M) {
    int K = bank->K, T = m->c.T, own = 0;
    if (M == 1) return tape_fail(tp, "hierarchy: groups of one document never become fewer");
    Tensor *phi = tape_tensor(tp, K * T, bank->d);
    if (!phi) return NULL;
    bank_read(bank, 0, K, phi->data);
    for (;;) { /* own: each question has K documents of its own, from the round before */
        int parts = (K + M - 1) / M, n = B * parts;
        Ragged docs;
        int *rows = int_array(tp, n * T);
        if (!rows || even(tp, &docs, n, M) != 0) return NULL;
        for (int i = 0; i < n; i++) { /* part i % parts of question i / parts */
            int begin = i % parts * M, b = i / parts;
            docs.first[i] = (own ? b * K : 0) + begin;
            if (K - begin < M) docs.n[i] = K - begin;
            for (int t = 0; t < T; t++) rows[i * T + t] = b * T + t;
        }
        AggReads r = {.doc0 = docs.first, .docs = docs.n};
        phi = agg_blocks(m, tp, op_rows(tp, q, NULL, rows, n * T), n, phi, &r);
        if (parts == 1 || !phi) return phi;
        K = parts, own = 1;
    }
}

Tensor *mac_prefix(Model *m, Tape *tp, const Ids *q, int B, const Bank *bank,
                   const AnswerOptions *o) {
    if (bank->T != m->c.T || bank->d != m->c.d)
        return tape_fail(tp, "the bank holds %d vectors of %d a document, the model makes %d of %d",
                         bank->T, bank->d, m->c.T, m->c.d);
    if (o->sure && m->gate.R == 0) return tape_fail(tp, "the model has no gate: see mac_gate");
    int M = o->hierarchy, was = tape_record(tp, 0);
    Tensor *query = encode_question(m, tp, q, B);
    Tensor *phi_star = M > 0 && M < bank->K ? bank_hierarchy(m, tp, query, B, bank, M)
                                            : bank_select(m, tp, query, B, bank, o);
    Tensor *prefix = prefix_expand(m, tp, phi_star, B);
    tape_record(tp, was);
    return prefix;
}

/* ==== answers: token by token ================================================================ */
/* context[b], then question b, for each of B sequences. */
static Ids *answer_prompts(Tape *tp, const Ids *q, int B, const Ids *context) {
    Ids *x = tape_alloc(tp, (size_t)B * sizeof *x);
    for (int b = 0; x && b < B; b++) {
        int n = context ? context[b].n : 0,
            *id = int_array(tp, n + q[b].n);
        if (!id) return NULL;
        if (n) memcpy(id, context[b].id, (size_t)n * sizeof *id);
        memcpy(id + n, q[b].id, (size_t)q[b].n * sizeof *id);
        x[b] = (Ids){id, n + q[b].n, n};
    }
    return x;
}

/* Logits after the last token of each sequence that got new ones, in order; others are skipped. */
static Tensor *last_logits(Model *m, Tape *tp, const Ids *x, int B, Tensor *prefix,
                           LmCache *cache) {
    int *row = int_array(tp, B), n = 0;
    for (int b = 0, at = 0; row && b < B; b++) {
        at += x[b].n;
        if (x[b].n) row[n++] = at - 1;
    }
    Tensor *h = row ? lm_hidden_rows(m, tp, x, B, prefix, cache, row, n) : NULL;
    return h ? lm_logits(m, tp, h) : NULL;
}

static int answer_greedy(Model *m, Tape *tp, Ids *x, int B, Tensor *prefix, LmCache *cache,
                         const AnswerOptions *o, int cap, int *out, int *n) {
    int V = m->c.V, running = B;
    memset(n, 0, (size_t)B * sizeof *n);
    for (int step = 0; step < cap && running; step++) {
        Tensor *logits = last_logits(m, tp, x, B, step ? NULL : prefix, cache);
        if (!logits) return -1;
        for (int b = 0, row = 0; b < B; b++) {
            if (!x[b].n) continue; /* its answer has ended */
            const real *l = logits->data + (size_t)row++ * (size_t)V;
            int best = -1;
            for (int v = 0; v < V; v++)
                if (best < 0 || l[v] > l[best])
                    if (!o->allow || o->allow(o->ctx, b, out + b * cap, n[b], v)) best = v;
            x[b].n = x[b].doc = 0;
            if (best < 0 || best == V - 1) { running--; continue; }
            out[b * cap + n[b]] = best;
            x[b] = (Ids){&out[b * cap + n[b]++], 1};
        }
    }
    return 0;
}

/* ---- beam search, one question at a time ---------------------------------------------------- */
/* After `step` tokens beam b is the sequence live[b], score[b] is the sum of its log-probabilities,
 * and sequence b of the cache holds the prompt and all of its tokens but the last, which is read
 * next.  A beam whose next token is EOS leaves at once, and only the best of those that left is
 * kept, by the mean log-probability of its tokens.
 *
 * Diverse beam search, as HuggingFace has it, deals the beams into groups of `width`.  The groups
 * advance in turn, each a search of its own, except that a token scores `penalty` less for every
 * beam of the groups before that has chosen it at this step.  One group is plain beam search.
 *
 * All beams are one batch, so a step reads the LM's weights once.  A beam that grows from another
 * copies its rows of the cache and does not read its tokens again. */
typedef struct { real score; int parent, token; } Candidate;
typedef struct {
    int beams, width;          /* all of them; those of a group, which lie one after another */
    int cap, step;             /* longest answer; tokens so far */
    int *live, *next;          /* [beams][cap] tokens; where those of the next step are put */
    int *parent;               /* [beams] the beam that each has grown from */
    real *score;               /* [beams]; -INFINITY: not in use */
    real penalty;
    int *chosen;               /* [V] how often, by the groups before */
    int *ended;                /* [beams/width] how many answers of a group have ended */
    int *best, best_n;         /* the best ended answer of all groups; -1: none yet */
    real best_score;           /* mean log-probability of its tokens, EOS included */
} Beams;

/* Keeps the 2*width best continuations of a group, best first; of two equal ones the earlier. */
static int beam_candidates(const Beams *s, const Tensor *p, int group, Candidate *c) {
    int V = p->shape[1], n = 0, first = group * s->width, most = 2 * s->width;
    for (int b = first; b < first + s->width; b++)
        for (int v = 0; v < V; v++) {
            real x = s->score[b] + exact_log(p->data[(size_t)b * (size_t)V + (size_t)v]);
            x -= s->penalty * (real)s->chosen[v];
            if (n == most && !(x > c[n - 1].score)) continue;
            int i = n < most ? n++ : n - 1;
            for (; i > 0 && x > c[i - 1].score; i--) c[i] = c[i - 1];
            c[i] = (Candidate){x, b, v};
        }
    return n;
}

static void beam_end(Beams *s, const int *tokens, int n, real sum, int counted) {
    real score = sum / (real)counted;
    if (s->best_n >= 0 && !(score > s->best_score)) return;
    memcpy(s->best, tokens, (size_t)n * sizeof *tokens);
    s->best_n = n;
    s->best_score = score;
}

/* The cache's sequences become copies of their parents, in the other of two sets of buffers. */
static int cache_follow(const Model *m, Tape *tp, LmCache *c, const int *parent) {
    size_t row = (size_t)c->cap * (size_t)m->c.d;
    for (int l = 0; l < 2 * m->c.L; l++) {
        Tensor *old = c->k[l]; /* values follow keys in one array */
        Tensor *fresh = c->spare[l] ? c->spare[l] : tape_tensor(tp, c->B * c->cap, m->c.d);
        if (!fresh) return -1;
        for (int b = 0; b < c->B; b++)
            memcpy(fresh->data + (size_t)b * row, old->data + (size_t)parent[b] * row,
                   row * sizeof(real));
        c->k[l] = fresh;
        c->spare[l] = old;
    }
    return 0;
}

/* Ends what has ended, moves the best others of the group into place. */
static void beam_advance(Beams *s, const Candidate *c, int n, int group, int eos) {
    int to = group * s->width, end = to + s->width;
    for (int i = 0; i < n && to < end; i++) {
        const int *from = s->live + c[i].parent * s->cap;
        if (c[i].token == eos) { /* an end outside the `width` best does not count */
            if (i < s->width)
                s->ended[group]++, beam_end(s, from, s->step, c[i].score, s->step + 1);
            continue;
        }
        memcpy(s->next + to * s->cap, from, (size_t)s->step * sizeof *from);
        s->next[to * s->cap + s->step] = c[i].token;
        s->chosen[c[i].token]++;
        s->parent[to] = c[i].parent;
        s->score[to++] = c[i].score;
    }
    for (; to < end; to++) s->score[to] = -INFINITY, s->parent[to] = group * s->width;
}

/* One token more for all groups that run: how many of them still do. */
static int beam_step(Tape *tp, Beams *s, Tensor *logits, Candidate *c) {
    int V = logits->shape[1], running = 0;
    const Tensor *p = op_softmax(tp, logits);
    if (!p) return -1;
    memset(s->chosen, 0, (size_t)V * sizeof *s->chosen);
    for (int g = 0; g < s->beams / s->width; g++) {
        if (s->ended[g] >= s->width) continue;
        beam_advance(s, c, beam_candidates(s, p, g, c), g, V - 1);
        running += s->ended[g] < s->width;
    }
    int *swap = s->live;
    s->live = s->next, s->next = swap;
    s->step++;
    return running;
}

static int answer_beams(Model *m, Tape *tp, const Ids *prompt, Tensor *prefix, LmCache *cache,
                        const AnswerOptions *o, int cap, int *out, int *n) {
    int W = o->beams, width = o->beam_groups > 1 ? W / o->beam_groups : W, running = 1;
    int *tokens = int_array(tp, 2 * W * cap), *counts = int_array(tp, 2 * W + m->c.V);
    Candidate *c = tape_alloc(tp, 2 * (size_t)width * sizeof *c);
    Ids *x = tape_alloc(tp, (size_t)W * sizeof *x);
    real *score = tape_alloc(tp, (size_t)W * sizeof *score);
    if (!tokens || !counts || !c || !x || !score) return -1;
    *n = 0;
    if (prompt->n == 0) return 0; /* nothing was asked */
    Beams s = {.beams = W, .width = width, .cap = cap, .live = tokens, .next = tokens + W * cap,
               .parent = counts, .ended = counts + W, .chosen = counts + 2 * W, .score = score,
               .penalty = o->penalty, .best = out, .best_n = -1};
    for (int b = 0; b < W; b++) { /* all of a group start alike: let one speak */
        x[b] = *prompt;
        score[b] = b % width ? -INFINITY : 0;
    }
    while (s.step < cap && running) {
        Tensor *logits = last_logits(m, tp, x, W, s.step ? NULL : prefix, cache);
        running = logits ? beam_step(tp, &s, logits, c) : -1;
        if (running < 0 || cache_follow(m, tp, cache, s.parent) != 0) return -1;
        for (int b = 0; b < W; b++) x[b] = (Ids){s.live + b * cap + s.step - 1, 1};
    }
    for (int b = 0; b < W; b++)
        if (s.ended[b / width] < width && score[b] > -INFINITY)
            beam_end(&s, s.live + b * cap, s.step, score[b], s.step);
    *n = s.best_n > 0 ? s.best_n : 0;
    return 0;
}

/* W copies of question b's part of the prefix [n*B, d]. */
static Tensor *prefix_of(const Model *m, Tape *tp, Tensor *prefix, int B, int b, int W) {
    int n = m->c.P * 2 * m->c.L, *idx = int_array(tp, n * W);
    for (int i = 0; idx && i < n * W; i++) idx[i] = i / W * B + b;
    return op_rows(tp, prefix, NULL, idx, n * W);
}

int mac_answer(Model *m, Tape *tp, const Ids *q, int B, const Bank *bank, int cap, int *out, int *n,
               const AnswerOptions *options) {
    AnswerOptions o = options ? *options : (AnswerOptions){0};
    int was, bad = 0, W = o.beams > 1 ? o.beams : 1;
    if (o.beam_groups > 1 && W % o.beam_groups) {
        tape_fail(tp, "%d beams cannot be dealt into %d groups", W, o.beam_groups);
        return -1;
    }
    was = tape_record(tp, 0);
    Tensor *prefix = bank ? mac_prefix(m, tp, q, B, bank, &o) : NULL;
    Ids *x = answer_prompts(tp, q, B, o.context);
    int keys = 0; /* that a sequence can come to have */
    for (int b = 0; x && b < B; b++)
        if (x[b].n > keys) keys = x[b].n;
    keys = cap < m->c.S - m->c.P - keys ? m->c.P + keys + cap : m->c.S;
    LmCache *cache = cache_new(m, tp, W > 1 ? W : B, keys);
    bad = !x || !cache || (bank && !prefix);
    if (!bad && W == 1) bad = answer_greedy(m, tp, x, B, prefix, cache, &o, cap, out, n) != 0;
    for (int b = 0; !bad && W > 1 && b < B; b++) { /* the cache serves one question after another */
        Tensor *own = prefix ? prefix_of(m, tp, prefix, B, b, W) : NULL;
        memset(cache->keys, 0, 2 * (size_t)W * sizeof(int)); /* and cache->read */
        bad = (prefix && !own)
              || answer_beams(m, tp, &x[b], own, cache, &o, cap, out + b * cap, &n[b]);
    }
    tape_record(tp, was);
    return bad ? -1 : 0;
}

/* ==== one answer looked at ==================================================================== */
/* op_attention keeps its weights for the gradient.  So the document, and the question with its
 * answer, are read once more with a gradient, and the weights are taken from the tape.  What the
 * aggregator gives each document is summed where the bank is streamed. */

#define LOOK_FROZEN "what is frozen keeps no weights to look at: see param_freeze"

/* The question q [T,d] reads the whole bank. */
static int look_bank(Model *m, Tape *tp, Tensor *q, const Bank *bank, Look *look) {
    int K = bank->K, n = look->n_docs, rows = m->c.agg_H * m->c.T;
    size_t all = (size_t)rows * (size_t)K;
    real *received = tape_alloc(tp, all * sizeof *received);
    real *to = tape_alloc(tp, (size_t)m->c.agg_B * (size_t)(rows * n) * sizeof *to);
    look->read = to;
    if (!received || !to) return -1;
    for (int i = 0; i < m->c.agg_B && q; i++) {
        const AggBlock *w = &m->agg->block[i];
        memset(received, 0, all * sizeof *received);
        Tensor *query = agg_query(tp, w, q);
        q = agg_rest(tp, w, q, bank_attention(m, tp, w, query, 1, bank, received, 0, 1));
        for (int r = 0; r < rows; r++)
            for (int k = 0; k < n; k++) *to++ = received[(size_t)r * (size_t)K + look->doc[k]];
    }
    return q ? 0 : -1;
}

/* The likeliest tokens of each row of p [R,V]. */
static void look_likely(const Tensor *p, int *token, real *of) {
    int V = p->shape[1], n = V < LOOK_TOKENS ? V : LOOK_TOKENS;
    for (int r = 0; r < p->shape[0]; r++, token += LOOK_TOKENS, of += LOOK_TOKENS) {
        const real *row = p->data + (size_t)r * (size_t)V;
        largest(row, V, n, token);
        for (int i = 0; i < n; i++) of[i] = row[token[i]];
    }
}

/* What each layer attends to at the last tokens of a sequence of n, of those just recorded. */
static void look_keys(const Model *m, const Tape *tp, TapeMark mark, int n, const Look *look,
                      real *to) {
    for (int l = 0; l < m->c.L; l++)
        for (int s = 0; s < look->steps; s++, to += look->keys)
            for (int h = 0; h < m->c.H; h++) {
                const real *w = tape_attention(tp, mark, l, 0, h, n - look->steps + s);
                for (int k = 0; k < m->c.P + n; k++) to[k] += w[k] / (real)m->c.H;
            }
}

/* Question and answer are read again, without the prefix and with it. */
static int look_answer(Model *m, Tape *tp, const Ids *q, Tensor *prefix, Look *look) {
    int steps = look->steps, n = q->n + steps - 1, *id = int_array(tp, n + steps), *row = id + n;
    size_t likely = (size_t)(steps * LOOK_TOKENS);
    real *seen = tape_alloc(tp, (size_t)(m->c.L * steps * look->keys) * sizeof *seen);
    if (!id || !seen || !prefix) return -1;
    memcpy(id, q->id, (size_t)q->n * sizeof *id);
    memcpy(id + q->n, look->answer, (size_t)(steps - 1) * sizeof *id);
    for (int s = 0; s < steps; s++) row[s] = q->n - 1 + s;
    Ids x = {id, n, 0};
    for (int with = 0; with < 2; with++) {
        int *token = tape_alloc(tp, likely * sizeof *token);
        real *of = tape_alloc(tp, likely * sizeof *of);
        TapeMark mark = tape_mark(tp);
        Tensor *h = lm_hidden(m, tp, &x, 1, with ? prefix : NULL, NULL);
        Tensor *p = op_softmax(tp, lm_logits(m, tp, op_rows(tp, h, NULL, row, steps)));
        if (!p || !token || !of) return -1;
        if (with && !tape_attention(tp, mark, m->c.L - 1, 0, 0, 0)) {
            tape_fail(tp, LOOK_FROZEN);
            return -1;
        }
        look_likely(p, token, of);
        look->likely[with] = token, look->p[with] = of;
        if (with) look_keys(m, tp, mark, n, look, seen);
    }
    look->seen = seen;
    return 0;
}

int mac_look(Model *m, Tape *tp, const Ids *q, const Bank *bank, int cap, const AnswerOptions *o,
             Look *look) {
    AnswerOptions options = *o;
    real *received = tape_alloc(tp, (size_t)bank->K * sizeof *received);
    *look = (Look){.sure = -1, .answer = int_array(tp, cap)};
    options.received = received;
    if (m->gate.R) options.sure = &look->sure;
    if (o->hierarchy) tape_fail(tp, "a hierarchy cannot be looked at");
    if (q->n == 0) tape_fail(tp, "there is no question to look at");
    if (tape_error(tp)[0]
        || mac_answer(m, tp, q, 1, bank, cap, look->answer, &look->n, &options) != 0)
        return -1;
    look->n_docs = bank->K < LOOK_DOCS ? bank->K : LOOK_DOCS;
    largest(received, bank->K, LOOK_DOCS, look->doc);
    for (int i = 0; i < look->n_docs; i++) look->received[i] = received[look->doc[i]];
    look->steps = look->n < cap ? look->n + 1 : look->n;
    look->keys = m->c.P + q->n + look->n;
    int was = tape_record(tp, 0), bad = look_bank(m, tp, encode_question(m, tp, q, 1), bank, look);
    Tensor *prefix = bad ? NULL : mac_prefix(m, tp, q, 1, bank, &options);
    tape_record(tp, 1);
    bad = look_answer(m, tp, q, prefix, look);
    tape_record(tp, was);
    return bad;
}

int mac_look_document(Model *m, Tape *tp, const Ids *doc, real *made) {
    int T = m->c.T, L = m->c.enc_L, H = m->c.enc_H, n = doc->n, only = m->c.enc_only;
    TapeMark mark = tape_mark(tp);
    int was = tape_record(tp, 1), ok = mac_encode(m, tp, doc, 1) != NULL;
    tape_record(tp, was);
    if (ok && !tape_attention(tp, mark, only ? L - 1 : 3 * L - 1, 0, 0, 0))
        ok = tape_fail(tp, LOOK_FROZEN) != NULL;
    memset(made, 0, (size_t)(T * n) * sizeof *made);
    for (int l = 0; ok && l < L; l++) /* a decoder's layer attends to itself, then to the text */
        for (int h = 0; h < H; h++)
            for (int t = 0; t < T; t++) {
                const real *w = only ? tape_attention(tp, mark, l, 0, h, n + t)
                                     : tape_attention(tp, mark, L + 2 * l + 1, 0, h, t);
                for (int i = 0; i < n; i++) made[t * n + i] += w[i] / (real)(L * H);
            }
    return ok ? 0 : -1;
}

/* ==== the gate is fitted ===================================================================== */
/* What encode makes of n texts, few at a time: [n*T,d]. */
static Tensor *encode_all(Model *m, Tape *tp, const Ids *x, int n,
                          Tensor *(*encode)(Model *m, Tape *tp, const Ids *x, int B)) {
    size_t per = (size_t)(m->c.T * m->c.d);
    Tensor *all = tape_tensor(tp, n * m->c.T, m->c.d);
    for (int at = 0, some; all && at < n; at += some) {
        some = n - at < 64 ? n - at : 64;
        TapeMark mark = tape_mark(tp);
        Tensor *part = encode(m, tp, x + at, some);
        if (!part) return NULL;
        memcpy(all->data + (size_t)at * per, part->data, (size_t)some * per * sizeof(real));
        tape_release(tp, mark);
    }
    return all;
}

/* Questions of which we know whether the bank holds their document, and its best one's share. */
typedef struct { real *share[2]; int n[2]; } GateCases; /* 0: it does not, 1: it does */

/* Documents are dealt into G banks, document i into bank deal[i] % G.  Bank g is asked about its
 * own documents, and about those of the next bank, which it lacks, if there is one. */
static int gate_ask(Model *m, Tape *tp, const MacBatch *b, const Tensor *phi, const Tensor *query,
                    const int *deal, int G, int g, GateCases *cases) {
    int T = m->c.T, d = m->c.d;
    size_t per = (size_t)(T * d), bytes = per * sizeof(real);
    size_t most = (size_t)(b->n_docs / G + 1);
    Bank bank = {.T = T, .d = d, .phi = tape_alloc(tp, most * bytes)};
    Tensor *q = tape_tensor(tp, b->n_q * T, d);
    if (!bank.phi || !q) return -1;
    for (int i = 0; i < b->n_docs; i++)
        if (deal[i] % G == g)
            memcpy(bank.phi + (size_t)bank.K++ * per, phi->data + (size_t)i * per, bytes);
    for (int held = G == 1; held < 2; held++) {
        int n = 0, of = held ? g : (g + 1) % G;
        for (int i = 0; i < b->n_q; i++)
            if (deal[b->doc[i]] % G == of)
                memcpy(q->data + (size_t)n++ * per, query->data + (size_t)i * per, bytes);
        real *received = tape_alloc(tp, (size_t)n * (size_t)bank.K * sizeof *received);
        real *to = cases->share[held] + cases->n[held];
        q->shape[0] = n * T;
        if (!received || (n && finder_stream(m, tp, q, n, &bank, received, to, 0) != 0)) return -1;
        cases->n[held] += n;
    }
    return 0;
}

/* Slope and shift of logistic regression: the least  -sum log p(held or not) + slope^2/200.  Each
 * step goes to the minimum of a parabola that lies above this, since a logistic's second derivative
 * is at most 1/4, and so never too far. */
static void gate_fit(Gate *gate, const GateCases *c) {
    double xx = 0.01, x1 = 0, n = 0, slope = 1, shift = 0;
    for (int held = 0; held < 2; held++)
        for (int i = 0; i < c->n[held]; i++) {
            double x = logit(c->share[held][i]);
            xx += x * x / 4, x1 += x / 4, n += 0.25;
        }
    for (int step = 0; step < 300; step++) {
        double dx = 0.01 * slope, d1 = 0, det = xx * n - x1 * x1;
        for (int held = 0; held < 2; held++)
            for (int i = 0; i < c->n[held]; i++) {
                double x = logit(c->share[held][i]);
                double p = sigmoid((real)(slope * x + shift));
                dx += (p - held) * x, d1 += p - held;
            }
        slope -= (n * dx - x1 * d1) / det, shift -= (xx * d1 - x1 * dx) / det;
    }
    gate->fit[GATE_SLOPE] = (real)slope, gate->fit[GATE_SHIFT] = (real)shift;
}

static int by_size(const void *a, const void *b) {
    real x = *(const real *)a, y = *(const real *)b;
    return (x > y) - (x < y);
}

/* A finder's head attends to one vector, whatever the document: with all heads to F of the T, or
 * to fewer where two share one.  So of n strangers, phi [n*T,d], only those vectors are kept which
 * receive half of what a head gives, or more.  They stand behind a bank as R documents. */
static int gate_strangers(Model *m, Tape *tp, const Tensor *phi, int n, Tensor *query, int n_q) {
    int T = m->c.T, heads = finder_heads(m), F = 0, some = n_q < 64 ? n_q : 64;
    size_t d = (size_t)m->c.d;
    Gate *g = &m->gate;
    Bank each = {.K = n * T, .T = 1, .d = m->c.d, .phi = phi->data};
    Tensor few = {2, {some * T, m->c.d, 1}, query->data, NULL};
    real *received = tape_alloc(tp, (size_t)some * (size_t)each.K * sizeof *received);
    real *all = tape_alloc(tp, (size_t)T * sizeof *all);
    int *kept = int_array(tp, T);
    if (!received || !all || !kept
        || finder_stream(m, tp, &few, some, &each, received, NULL, 0) != 0) return -1;
    for (int i = 0; i < some * each.K; i++) all[i % T] += received[i];
    for (int t = 0; t < T; t++) F += all[t] * (real)(2 * heads) >= (real)some;
    if (F == 0) F = 1; /* heads that look at no one vector: the one that receives most */
    select_documents(all, T, F, kept);
    g->R = (n * F + T - 1) / T, g->F = F;
    g->strangers = malloc((size_t)g->R * (size_t)T * d * sizeof(real));
    g->t = malloc((size_t)F * sizeof *g->t);
    if (!g->strangers || !g->t) return -1;
    for (int f = 0; f < F; f++) g->t[f] = (real)kept[f];
    for (int i = 0; i < g->R * T; i++) { /* the last ones may be the first again */
        int doc = i / F % n, t = kept[i % F];
        memcpy(g->strangers + (size_t)i * d, phi->data + (size_t)(doc * T + t) * d,
               d * sizeof(real));
    }
    return 0;
}

/* Of n shares, what a twentieth of them is below. */
static real low_share(real *share, int n) {
    qsort(share, (size_t)n, sizeof(real), by_size);
    return share[n / 20];
}

/* Banks of one, of sixteen, and of half of the documents count alike.  The threshold is that of
 * banks of one, and falls so that it fits a bank of all. */
static int gate_measure(Model *m, Tape *tp, const MacBatch *b, const Tensor *strangers, int n) {
    size_t most = 4 * (size_t)b->n_q * sizeof(real);
    Tensor *phi = encode_all(m, tp, b->docs, b->n_docs, mac_encode);
    Tensor *query = encode_all(m, tp, b->q, b->n_q, encode_question);
    GateCases c = {{tape_alloc(tp, most), tape_alloc(tp, most)}, {0, 0}};
    const int banks[] = {b->n_docs, b->n_docs / 16, 2};
    int *deal = int_array(tp, b->n_docs);
    uint64_t rng = 1;
    if (!strangers || !phi || !query || !c.share[0] || !c.share[1] || !deal
        || gate_strangers(m, tp, strangers, n, query, b->n_q) != 0) return -1;
    for (int i = 0; i < b->n_docs; i++) { /* 0 to n_docs - 1, shuffled */
        int j = rng_below(&rng, i + 1);
        deal[i] = deal[j], deal[j] = i;
    }
    real *fit = m->gate.fit;
    fit[GATE_SLOPE] = 1; /* and the rest 0: sure is the share itself */
    for (int i = 0; i < 3; i++)
        for (int g = 0; banks[i] > 1 && g < banks[i]; g++) {
            TapeMark mark = tape_mark(tp);
            if (gate_ask(m, tp, b, phi, query, deal, banks[i], g, &c) != 0) return -1;
            tape_release(tp, mark);
        }
    GateCases fitted = c; /* a bank of all lacks nothing, and so is for the threshold alone */
    if (gate_ask(m, tp, b, phi, query, deal, 1, 0, &c) != 0) return -1;
    gate_fit(&m->gate, &fitted);
    real one = low_share(c.share[1], b->n_q), all = low_share(c.share[1] + c.n[1] - b->n_q, b->n_q);
    real fall = fit[GATE_SLOPE] * (logit(one) - logit(all));
    fit[GATE_THRESHOLD] = gate_sure(&m->gate, one);
    if (b->n_docs > EASY_BANK && fall > 0)
        fit[GATE_FALL] = fall / exact_log((real)b->n_docs / EASY_BANK);
    return 0;
}

int mac_gate(Model *m, Tape *tp, const Ids *strangers, int n, const MacBatch *b) {
    int was = tape_record(tp, 0), bad = 0;
    free(m->gate.strangers), free(m->gate.t);
    m->gate = (Gate){0};
    if (n < 1 || b->n_docs < 2 || b->n_q < 1)
        tape_fail(tp, "a gate needs a stranger, two documents and a question");
    else bad = gate_measure(m, tp, b, encode_all(m, tp, strangers, n, mac_encode), n);
    if (bad) m->gate.R = 0, tape_fail(tp, "out of memory"); /* if nothing was said before */
    tape_record(tp, was);
    return m->gate.R ? 0 : -1;
}

/* ---- two versions of a document ---- */
/* Most of phi says what a text says, and moves when a fact changes.  The finder's vectors say what
 * it is about.  So these are compared, normalised as its attention sees them. */
static void about(const Gate *g, const real *phi, int d, int in_place, real *to) {
    for (int f = 0; f < g->F; f++, to += d) {
        const real *row = phi + (in_place ? f : (int)g->t[f]) * d;
        real mu = 0, square = 0;
        for (int i = 0; i < d; i++) mu += row[i] / (real)d;
        for (int i = 0; i < d; i++) to[i] = row[i] - mu, square += to[i] * to[i] / (real)d;
        for (int i = 0; i < d; i++) to[i] /= (real)sqrt(square + (real)1e-5);
    }
}

static real apart(const real *a, const real *b, int n) {
    real sum = 0;
    for (int i = 0; i < n; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return (real)sqrt(sum);
}

int mac_versions(const Model *m, Tape *tp, const Bank *bank, int n, const real *phi, real *ratio) {
    const Gate *g = &m->gate;
    int d = m->c.d, size = g->F * d, strangers = g->R ? g->R * m->c.T / g->F : 0;
    TapeMark mark = tape_mark(tp);
    real *own = tape_alloc(tp, (size_t)size * sizeof *own), nearest = INFINITY;
    real *other = tape_alloc(tp, (size_t)size * sizeof *other);
    real *held = tape_alloc(tp, (size_t)(m->c.T * d) * sizeof *held);
    if (!strangers) tape_fail(tp, "the model has no gate: see mac_gate");
    if (!strangers || !own || !other || !held) return -1;
    about(g, phi, d, 0, own);
    for (int i = 0; i < strangers; i++) {
        about(g, g->strangers + (size_t)i * (size_t)size, d, 1, other);
        real is = apart(own, other, size);
        nearest = is < nearest ? is : nearest;
    }
    for (int k = 0; k < n; k++) {
        bank_read(bank, k, 1, held);
        about(g, held, d, 0, other);
        ratio[k] = apart(own, other, size) / nearest;
    }
    tape_release(tp, mark);
    return 0;
}

/* ==== the model: its sizes =================================================================== */
#define FIELD(name, help) {#name, help, offsetof(MacConfig, name), 1}
const MacField mac_fields[] = {
    FIELD(V, "vocabulary, set by the tokenizer"),
    FIELD(S, "LM window in tokens, set to P + D + Q + A"),
    FIELD(d, "LM width"),
    FIELD(L, "LM layers"),
    FIELD(H, "LM heads"),
    FIELD(e, "encoder width"),
    FIELD(enc_L, "layers of an encoder, and of its decoder"),
    FIELD(enc_H, "encoder heads"),
    FIELD(enc_dh, "width of an encoder head"),
    FIELD(enc_ff, "encoder feed-forward width"),
    FIELD(T, "vectors per document"),
    FIELD(P, "prefix positions per LM layer"),
    FIELD(agg_B, "aggregator blocks"),
    FIELD(agg_H, "aggregator heads"),
    FIELD(agg_dh, "width of an aggregator head"),
    FIELD(pre_ff, "hidden width of the prefix expansion"),
    FIELD(D, "longest document in tokens"),
    FIELD(Q, "longest question in tokens"),
    FIELD(A, "longest answer in tokens, EOS included"),
    {"pad", "official padding of what both encoders read, in tokens; 0: none",
     offsetof(MacConfig, pad), 0},
    {"enc_only", "1: encoders read T learned tokens behind the text, no decoder",
     offsetof(MacConfig, enc_only), 0},
    {NULL, NULL, 0, 0}};

MacConfig mac_config_default(void) {
    return (MacConfig){.V = 3072, .S = 0, .d = 96, .L = 3, .H = 6, .e = 96, .enc_L = 2, .enc_H = 8,
                       .enc_dh = 16, .enc_ff = 384, .T = 16, .P = 16, .agg_B = 2, .agg_H = 6,
                       .agg_dh = 16, .pre_ff = 192, .D = 192, .Q = 40, .A = 16};
}

static int *config_at(MacConfig *c, const MacField *f) {
    return (int *)(void *)((char *)c + f->offset);
}

int mac_config_check(const MacConfig *c, char *err) {
    MacConfig copy = *c;
    for (const MacField *f = mac_fields; f->name; f++) {
        int x = *config_at(&copy, f);
        if (x >= f->least && x <= 1 << 20) continue;
        snprintf(err, MAC_ERR, "size %s (%s) is %d: it must lie in %d to %d", f->name, f->help, x,
                 f->least, 1 << 20);
        return -1;
    }
    if (c->d % c->H)
        snprintf(err, MAC_ERR, "LM width d = %d is not a multiple of its heads H = %d", c->d, c->H);
    else if ((int64_t)c->enc_H * c->enc_dh > 1 << 20 || (int64_t)c->agg_H * c->agg_dh > 1 << 20
             || (int64_t)c->P * 2 * c->L > 1 << 20)
        snprintf(err, MAC_ERR, "enc_H * enc_dh, agg_H * agg_dh and P * 2 * L must not exceed %d",
                 1 << 20);
    else if (c->pad && c->enc_only)
        snprintf(err, MAC_ERR, "pad is what a decoder reads: with enc_only there is none");
    else if (c->S <= c->P)
        snprintf(err, MAC_ERR, "the LM window S = %d leaves no room behind P = %d", c->S, c->P);
    else return 0;
    return -1;
}

/* ==== the model: its weights under their official names ====================================== */
/* What building a model needs at hand.  `left`: how many numbers may still be allocated, so
 * that absurd sizes in a small file are refused at once; `blank`: a file will bring the values. */
typedef struct { Params *ps; uint64_t rng; int64_t left; int blank, failed; } Builder;
enum { NO_MEMORY = 1, TOO_MANY };                         /* failed */

/* A new weight, its sizes those of g, rows, cols that are not 0, drawn from N(0, std^2), or filled
 * with `fill` when std is 0. */
static Tensor *weight(Builder *b, const char *prefix, const char *name, real std, real fill, int g,
                      int rows, int cols) {
    char full[MAC_NAME];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    int dims[3] = {g, rows, cols}, n = 0, shape[3] = {0};
    for (int i = 0; i < 3; i++)
        if (dims[i] > 0) shape[n++] = dims[i];
    int64_t size = 1;
    for (int i = 0; i < n; i++) size *= shape[i];
    if (!b->failed && size > b->left) b->failed = TOO_MANY;
    if (b->failed) return NULL;
    b->left -= size;
    Tensor *t = n == 3 ? param_new(b->ps, full, 3, shape[0], shape[1], shape[2])
              : n == 2 ? param_new(b->ps, full, 2, shape[0], shape[1])
                       : param_new(b->ps, full, 1, shape[0]);
    if (!t) { b->failed = NO_MEMORY; return NULL; }
    for (int64_t i = 0; i < size && !b->blank; i++)
        t->data[i] = std > 0 ? std * rng_normal(&b->rng) : fill;
    return t;
}

static Affine affine(Builder *b, const char *prefix, const char *name, real std, int g, int rows,
                     int cols, int n_bias) {
    char matrix[MAC_NAME], bias[MAC_NAME];
    snprintf(matrix, sizeof matrix, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    Affine a = {weight(b, prefix, matrix, std, 1, g, rows, cols), NULL};
    a.b = weight(b, prefix, bias, 0, 0, g, 0, n_bias);
    return a;
}

static Affine norm_new(Builder *b, const char *prefix, const char *name, int g, int d) {
    return affine(b, prefix, name, 0, g, 0, d, d);
}

/* torch's Linear [out,in]; its uniform start has the variance 1/(3 in). */
static Affine linear_new(Builder *b, const char *prefix, const char *name, int g, int in, int out) {
    return affine(b, prefix, name, (real)sqrt(1.0 / (3.0 * in)), g, out, in, out);
}

/* An LM copies a word with two heads, one above the other (an induction head, arXiv 2209.11895).
 * The lower one hands each token what stood before it.  So the upper one can find where the token
 * at hand stood before, and say what followed it there.  Training finds the upper one soon if there
 * is a lower one, but the lower one late or never, as chance has it.  So the first of several heads
 * in the first of several layers begins by looking mostly at the token before.
 *
 * The first dh numbers of a position i are dh/2 points of a circle, (cos w_f i, sin w_f i).  The
 * head's keys are these points and nothing else; its queries are the points of i - 1:
 *     q_i . k_j ~ sum over f of cos(w_f (i - 1 - j)), which is largest at j = i - 1.
 * Each w_f is smaller than the one before, so that no other j comes near in a long text. */
static void lm_looks_back(const LmWeights *w, const MacConfig *c) {
    int d = c->d, dh = d / c->H;
    real *q = w->layer[0].attn.w->data, *k = q + d; /* [d,3d]: columns of queries, of keys, .. */
    real size = (real)(2.56 / sqrt(d)), gain = (real)sqrt(5.76 / sqrt(dh));
    real circle = (real)6.283185307179586, turn = (real)0.43; /* w_f, in circles */
    for (int j = 0; j < d; j++)
        for (int x = 0; x < dh; x++) q[j * 3 * d + x] = k[j * 3 * d + x] = 0;
    for (int f = 0; f + 1 < dh; f += 2, turn *= (real)dh / (real)(dh + 8)) {
        real *wpe = w->wpe->data + f;
        for (int i = 0; i < c->S; i++, wpe += d) {
            real turns = turn * (real)i, angle = circle * (turns - (real)(int)turns);
            wpe[0] = size * exact_cos(angle), wpe[1] = size * exact_sin(angle);
        }
        int even = f * 3 * d + f, odd = even + 3 * d; /* where number f becomes f, f + 1 does */
        q[even] = q[odd + 1] = gain * exact_cos(circle * turn);
        q[odd] = gain * exact_sin(circle * turn), q[even + 1] = -q[odd];
        k[even] = k[odd + 1] = gain;
    }
}

static LmWeights *lm_new(Builder *b, const MacConfig *c) {
    const char *pre = "base_lm.base_lm.transformer.";
    LmWeights *w = calloc(1, sizeof *w);
    if (w) w->layer = calloc((size_t)c->L, sizeof *w->layer);
    if (!w || !w->layer) { b->failed = NO_MEMORY; return w; }
    real std = (real)(0.64 / sqrt(c->d)), out_std = std / (real)sqrt(2.0 * c->L); /* see NOTES.md */
    int d = c->d;
    w->wte = weight(b, pre, "wte.weight", std, 0, 0, c->V, d);
    w->wpe = weight(b, pre, "wpe.weight", std, 0, 0, c->S, d);
    for (int l = 0; l < c->L && !b->failed; l++) { /* GPT-2 stores its matrices [in,out] */
        char layer[MAC_NAME];
        LmLayer *x = &w->layer[l];
        snprintf(layer, sizeof layer, "%sh.%d.", pre, l);
        x->ln1 = norm_new(b, layer, "ln_1", 0, d);
        x->attn = affine(b, layer, "attn.c_attn", std, 0, d, 3 * d, 3 * d);
        x->attn_out = affine(b, layer, "attn.c_proj", out_std, 0, d, d, d);
        x->ln2 = norm_new(b, layer, "ln_2", 0, d);
        x->fc = affine(b, layer, "mlp.c_fc", std, 0, d, 4 * d, 4 * d);
        x->fc_out = affine(b, layer, "mlp.c_proj", out_std, 0, 4 * d, d, d);
    }
    w->ln_f = norm_new(b, pre, "ln_f", 0, d);
    if (!b->failed && !b->blank && looks_back(c)) lm_looks_back(w, c);
    return w;
}

static T5Attn t5_attn_new(Builder *b, const MacConfig *c, const char *block, const char *kind,
                          int sub) {
    char pre[MAC_NAME], norm[MAC_NAME];
    snprintf(pre, sizeof pre, "%slayer.%d.%s.", block, sub, kind);
    snprintf(norm, sizeof norm, "layer.%d.layer_norm.weight", sub);
    int e = c->e, inner = c->enc_H * c->enc_dh;
    real std = (real)sqrt(1.0 / e);
    T5Attn a = {0};
    a.q.w = weight(b, pre, "q.weight", (real)sqrt(1.0 / ((double)e * c->enc_dh)), 0, 0, inner, e);
    a.k.w = weight(b, pre, "k.weight", std, 0, 0, inner, e);
    a.v.w = weight(b, pre, "v.weight", std, 0, 0, inner, e);
    a.o.w = weight(b, pre, "o.weight", (real)sqrt(1.0 / inner), 0, 0, e, inner);
    a.norm = weight(b, block, norm, 0, 1, 0, 0, e);
    return a;
}

static T5Stack t5_stack_new(Builder *b, const MacConfig *c, const char *pre, const char *stack) {
    int decoder = !strcmp(stack, "decoder");
    T5Stack s = {calloc((size_t)c->enc_L, sizeof *s.layer), NULL, NULL};
    char block[MAC_NAME], name[MAC_NAME];
    if (!s.layer) { b->failed = NO_MEMORY; return s; }
    for (int l = 0; l < c->enc_L && !b->failed; l++) {
        T5Layer *x = &s.layer[l];
        int sub = decoder ? 2 : 1;
        snprintf(block, sizeof block, "%s%s.block.%d.", pre, stack, l);
        x->self = t5_attn_new(b, c, block, "SelfAttention", 0);
        if (l == 0)
            s.bias = weight(b, block, "layer.0.SelfAttention.relative_attention_bias.weight",
                            (real)sqrt(1.0 / c->e), 0, 0, 32, c->enc_H);
        if (decoder) x->cross = t5_attn_new(b, c, block, "EncDecAttention", 1);
        snprintf(name, sizeof name, "layer.%d.DenseReluDense.wi.weight", sub);
        x->wi.w = weight(b, block, name, (real)sqrt(1.0 / c->e), 0, 0, c->enc_ff, c->e);
        snprintf(name, sizeof name, "layer.%d.DenseReluDense.wo.weight", sub);
        x->wo.w = weight(b, block, name, (real)sqrt(1.0 / c->enc_ff), 0, 0, c->e, c->enc_ff);
        snprintf(name, sizeof name, "layer.%d.layer_norm.weight", sub);
        x->ff_norm = weight(b, block, name, 0, 1, 0, 0, c->e);
    }
    snprintf(name, sizeof name, "%s.final_layer_norm.weight", stack);
    s.norm = weight(b, pre, name, 0, 1, 0, 0, c->e);
    return s;
}

static T5Weights *t5_new(Builder *b, const MacConfig *c, const char *pre) {
    T5Weights *w = calloc(1, sizeof *w);
    if (!w) { b->failed = NO_MEMORY; return NULL; }
    w->embed = weight(b, pre, "shared.weight", 1, 0, 0, c->V, c->e);
    w->prompts = weight(b, pre, "learnable_prompts", (real)0.02, 0, 1, c->T, c->e);
    w->encoder = t5_stack_new(b, c, pre, "encoder");
    if (!c->enc_only) w->decoder = t5_stack_new(b, c, pre, "decoder");
    return w;
}

/* T MLPs e -> d: skip(x) + W2 tanh(W1 LN(x)); skip is the identity where e = d. */
static Mlp mlp_new(Builder *b, const MacConfig *c, const char *pre) {
    Mlp x = {.norm = norm_new(b, pre, "mlps.%d.mlp.0", c->T, c->e)};
    x.in = linear_new(b, pre, "mlps.%d.mlp.1", c->T, c->e, c->d);
    x.out = linear_new(b, pre, "mlps.%d.mlp.3", c->T, c->d, c->d);
    if (c->e != c->d) x.skip = linear_new(b, pre, "mlps.%d.skip", c->T, c->e, c->d);
    return x;
}

static AggWeights *agg_new(Builder *b, const MacConfig *c) {
    AggWeights *w = calloc(1, sizeof *w);
    if (w) w->block = calloc((size_t)c->agg_B, sizeof *w->block);
    if (!w || !w->block) { b->failed = NO_MEMORY; return w; }
    int d = c->d, inner = c->agg_H * c->agg_dh, ff = inner < d ? inner : d, n = c->P * 2 * c->L;
    real std = (real)sqrt(1.0 / (3.0 * d));
    w->doc_mlp = mlp_new(b, c, "");
    w->q_mlp = mlp_new(b, c, "aggregator.");
    for (int i = 0; i < c->agg_B && !b->failed; i++) {
        char block[MAC_NAME];
        AggBlock *x = &w->block[i];
        snprintf(block, sizeof block, "aggregator.cross_attention_list.%d.", i);
        x->norm = norm_new(b, block, "norm1", 0, d);
        x->norm_c = norm_new(b, block, "norm_context", 0, d);
        x->q.w = weight(b, block, "attn.to_q.weight", std, 0, 0, inner, d);
        x->k.w = weight(b, block, "attn.to_k.weight", std, 0, 0, inner, d);
        x->v.w = weight(b, block, "attn.to_v.weight", std, 0, 0, inner, d);
        x->out = linear_new(b, block, "attn.to_out.0", 0, inner, d);
        x->ff.norm = norm_new(b, block, "norm2", 0, d);
        x->ff.in = linear_new(b, block, "mlp.net.0", 0, d, ff);
        x->ff.out = linear_new(b, block, "mlp.net.3", 0, ff, d);
    }
    w->expand.norm = norm_new(b, "token_SA.", "mlp_layers.%d.net.0", n, d);
    w->expand.in = linear_new(b, "token_SA.", "mlp_layers.%d.net.1", n, d, c->pre_ff);
    w->expand.out = linear_new(b, "token_SA.", "mlp_layers.%d.net.4", n, c->pre_ff, d);
    return w;
}

/* What maps vectors to vectors is a matrix to the optimizer; a table of rows, each looked up by
 * itself, is none.  Of the networks in groups those of the expansion are, those of the T vectors
 * are not: answers come later if they are. */
static void mark_matrices(Params *ps) {
    static const char *const tables[] = {"wte", "wpe", "shared", "relative_attention_bias",
                                         "prompts", "mlps."};
    for (int i = 0; i < ps->n; i++) {
        Param *p = ps->p[i];
        int grouped = strstr(p->name, "%d") != NULL; /* [G,R,C], and biases [G,n] */
        p->matrix = p->t.ndim == 2 + grouped;
        for (int k = 0; k < 6; k++) p->matrix &= !strstr(p->name, tables[k]);
    }
}

static Model *model_build(const MacConfig *config, Builder *b) {
    Model *m = calloc(1, sizeof *m);
    if (!m) { b->failed = NO_MEMORY; return NULL; }
    m->c = *config;
    if (m->c.S == 0) m->c.S = m->c.P + m->c.D + m->c.Q + m->c.A;
    b->ps = &m->ps;
    m->lm = lm_new(b, &m->c);
    m->enc = t5_new(b, &m->c, "enc_decoder.");
    m->qenc = t5_new(b, &m->c, "aggregator.question_encoder.");
    m->agg = agg_new(b, &m->c);
    mark_matrices(&m->ps);
    if (!b->failed) return m;
    model_free(m);
    return NULL;
}

Model *model_new(const MacConfig *config, uint64_t seed) {
    Builder b = {.rng = seed, .left = INT64_MAX};
    return model_build(config, &b);
}

static void t5_free(T5Weights *w) {
    if (w) free(w->encoder.layer), free(w->decoder.layer);
    free(w);
}

void model_free(Model *m) {
    if (!m) return;
    if (m->lm) free(m->lm->layer);
    if (m->agg) free(m->agg->block);
    t5_free(m->enc), t5_free(m->qenc);
    free(m->lm), free(m->agg);
    params_free(&m->ps);
    free(m->gate.strangers), free(m->gate.t);
    free(m);
}

int model_save(const Model *m, StWriter *file, int moments) {
    MacConfig c = m->c;
    char number[32];
    st_add_meta(file, "format", "mac-model-2");
    for (const MacField *f = mac_fields; f->name; f++) {
        if (*config_at(&c, f) == 0) continue; /* what is off is not written, and model_load knows */
        snprintf(number, sizeof number, "%d", *config_at(&c, f));
        st_add_meta(file, f->name, number);
    }
    const Gate *g = &m->gate;
    if (g->R) {
        st_add(file, "gate.strangers", g->strangers, 3, (int[]){g->R, c.T, c.d});
        st_add(file, "gate.vectors", g->t, 1, (int[]){g->F});
        st_add(file, "gate.fit", g->fit, 1, (int[]){GATE_FIT});
    }
    return params_save(&m->ps, file, moments);
}

/* The gate, where the file has one. */
static int gate_load(Gate *g, const MacConfig *c, StFile *f, char *err) {
    int64_t n = st_size(f, "gate.strangers"), per = (int64_t)c->T * c->d;
    if (n < 0 && st_find(f, "gate.fit") < 0) return 0;
    if (st_size(f, "gate.fit") == 3) return 0; /* of an older kind: train --resume adds a new one */
    if (n < per || n % per || n / per > MOST_STRANGERS)
        return st_fail(f, err, "its gate has %lld numbers: one to %d times %lld were expected",
                       (long long)n, MOST_STRANGERS, (long long)per);
    *g = (Gate){.R = (int)(n / per), .F = (int)st_size(f, "gate.vectors"),
                .strangers = malloc((size_t)n * sizeof(real)),
                .t = malloc((size_t)c->T * sizeof(real))};
    if (!g->strangers || !g->t) return st_fail(f, err, "out of memory");
    if (g->F < 1 || g->F > c->T)
        return st_fail(f, err, "its gate has %d of %d vectors of a document", g->F, c->T);
    if (st_read_shaped(f, "gate.strangers", g->strangers, 3, (int[]){g->R, c->T, c->d}, err) != 0
        || st_read_shaped(f, "gate.vectors", g->t, 1, (int[]){g->F}, err) != 0
        || st_read_shaped(f, "gate.fit", g->fit, 1, (int[]){GATE_FIT}, err) != 0)
        return -1;
    for (int i = 0; i < g->F; i++)
        if (!(g->t[i] >= 0 && g->t[i] < (real)c->T))
            return st_fail(f, err, "its gate.vectors has a number that is not below T = %d", c->T);
    return 0;
}

Model *model_load(StFile *f, char *err) {
    MacConfig c = {0};
    char why[MAC_ERR];
    const char *format = st_meta(f, "format");
    if (format && !strcmp(format, "mac-model")) {
        st_fail(f, err, "its LM learned documents at other positions than today's: train it anew");
        return NULL;
    }
    if (!format || strcmp(format, "mac-model-2")) {
        st_fail(f, err, "this is %s, not a model made by train",
                format && !strcmp(format, "mac-bank") ? "a memory bank"
                                                      : "a foreign safetensors file");
        return NULL;
    }
    for (const MacField *field = mac_fields; field->name; field++) {
        const char *text = st_meta(f, field->name);
        if (!text && field->least == 0) continue; /* it is off */
        size_t digits = text ? strspn(text, "0123456789") : 0;
        if (digits == 0 || digits > 7 || text[digits]) {
            st_fail(f, err, "its size %s (%s) is \"%.20s\": a number from 1 to %d was expected",
                    field->name, field->help, text ? text : "", 1 << 20);
            return NULL;
        }
        *config_at(&c, field) = atoi(text);
    }
    int64_t numbers = 0; /* in the file: no model that needs more of them is begun */
    for (int i = 0, ndim; i < st_count(f); i++) {
        const int64_t *shape;
        const char *dtype, *name = st_info(f, i, &dtype, &ndim, &shape);
        if (dtype[0] == 'F') numbers += st_size(f, name);
    }
    int layers = c.L > c.enc_L ? c.L : c.enc_L, bad = mac_config_check(&c, why);
    if (bad) st_fail(f, err, "%s", why);
    else if (layers > st_count(f) || c.agg_B > st_count(f))
        bad = st_fail(f, err, "L, enc_L or agg_B is larger than the number of its tensors");
    Builder b = {.left = numbers, .blank = 1};
    Model *m = bad ? NULL : model_build(&c, &b);
    if (!bad && !m)
        st_fail(f, err, b.failed == TOO_MANY
                            ? "the sizes in the file ask for more weights than it holds"
                            : "out of memory");
    if (m && params_load(&m->ps, f, 0, err) == 0 && gate_load(&m->gate, &c, f, err) == 0) return m;
    model_free(m);
    return NULL;
}

uint64_t model_fingerprint(const Model *m) {
    MacConfig c = m->c;
    uint64_t hash = MAC_FNV;
    for (const MacField *f = mac_fields; f->name; f++) {
        unsigned u = (unsigned)*config_at(&c, f);
        unsigned char le[4] = {(unsigned char)u, (unsigned char)(u >> 8), (unsigned char)(u >> 16),
                               (unsigned char)(u >> 24)};
        if (u) hash = fnv1a(hash, le, sizeof le);
    }
    for (int i = 0; i < m->ps.n; i++) {
        const Tensor *t = &m->ps.p[i]->t;
        for (size_t j = 0, n = tensor_size(t); j < n; j++) { /* as float bits, lowest byte first */
            float x = (float)t->data[j];
            uint32_t u;
            memcpy(&u, &x, sizeof u);
            unsigned char le[4] = {(unsigned char)u, (unsigned char)(u >> 8),
                                   (unsigned char)(u >> 16), (unsigned char)(u >> 24)};
            hash = fnv1a(hash, le, sizeof le);
        }
    }
    return hash;
}
