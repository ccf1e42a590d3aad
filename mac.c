/* mac.c - the algorithm, in the order of the paper (arXiv 2403.04317).  Knows no text: token ids
 * come in, token ids go out.
 *
 *   [E1] phi_k = g_amort(d_k)               a document becomes T vectors           mac_encode
 *   [E2] M = {phi_1, .., phi_K}             the bank keeps them                    batch_banks
 *   [E3] phi_star = h_psi(g_input(x), M)    a question draws T vectors from it     agg_forward
 *   [E4] prefix(phi_star)                   they become keys and values            prefix_expand
 *   [E5] LM_base(x ; phi_star)              the frozen LM reads behind them        lm_hidden
 *
 * Then come training (mac_loss) and answers (mac_answer), and at the end what a model is made of:
 * its sizes, the names and first values of its weights, its files.  Letters: see mac.h. */
#include "mac.h"
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ==== the weights ============================================================================ */
typedef struct { Tensor *w, *b; } Affine;                 /* a linear layer or a layer norm */
typedef struct { Affine ln1, attn, attn_out, ln2, fc, fc_out; } LmLayer;
struct LmWeights { Tensor *wte, *wpe; LmLayer *layer; Affine ln_f; };   /* wte [V,d], wpe [S,d] */

typedef struct { Tensor *norm, *q, *k, *v, *o; } T5Attn;
typedef struct { T5Attn self, cross; Tensor *ff_norm, *wi, *wo; } T5Layer;
typedef struct { T5Layer *layer; Tensor *bias, *norm; } T5Stack;        /* bias [32, enc_H] */
struct T5Weights { Tensor *embed, *prompts; T5Stack encoder, decoder; }; /* prompts [1,T,e] */

typedef struct { Affine norm, in, out, skip; } Mlp;       /* grouped: weights [T,...] or [n,...] */
typedef struct { Affine norm, norm_c, out, norm2, ff_in, ff_out; Tensor *q, *k, *v; } AggBlock;
struct AggWeights { Mlp doc_mlp, q_mlp, expand; AggBlock *block; };

/* ==== rows of sequences ====================================================================== */
static int *int_array(Tape *tp, int n) { return tape_alloc(tp, (size_t)n * sizeof(int)); }

/* Rows of B sequences that lie behind one another: first row, number of rows; all ids. */
typedef struct { int *first, *n, *ids, rows; } Ragged;

static int ragged(Tape *tp, Ragged *r, const Ids *x, int B) {
    *r = (Ragged){int_array(tp, B), int_array(tp, B), NULL, 0};
    if (!r->first || !r->n) return -1;
    for (int b = 0; b < B; b++) {
        r->first[b] = r->rows;
        r->n[b] = x[b].n;
        r->rows += x[b].n;
    }
    r->ids = int_array(tp, r->rows);
    for (int b = 0; r->ids && b < B; b++)
        if (x[b].n) memcpy(r->ids + r->first[b], x[b].id, (size_t)x[b].n * sizeof(int));
    return r->ids ? 0 : -1;
}

/* B sequences of n rows each. */
static int even(Tape *tp, Ragged *r, int B, int n) {
    *r = (Ragged){int_array(tp, B), int_array(tp, B), NULL, B * n};
    for (int b = 0; r->first && r->n && b < B; b++) r->first[b] = b * n, r->n[b] = n;
    return r->first && r->n ? 0 : -1;
}

/* rows (i, j) of an [I*J] matrix in the order (j, i): group-major from sequence-major and back. */
static Tensor *transpose_rows(Tape *tp, Tensor *x, int I, int J) {
    int *idx = int_array(tp, I * J);
    for (int i = 0; idx && i < I; i++)
        for (int j = 0; j < J; j++) idx[j * I + i] = i * J + j;
    return op_rows(tp, x, NULL, idx, I * J);
}

/* ==== [E1] a document becomes T vectors ====================================================== */
/* Attention of T5: no scale, no biases.  x: [Nq,e] reads from: [Nk,e]. */
static Tensor *t5_attention(Model *m, Tape *tp, const T5Attn *w, Tensor *x, Tensor *from,
                            const Ragged *q, const Ragged *k, int B, Tensor *bias, int causal) {
    Tensor *n = op_rmsnorm(tp, x, w->norm), *src = from ? from : n;
    Attention a = {.B = B, .H = m->c.enc_H, .q0 = q->first, .qn = q->n, .k0 = k->first, .kn = k->n,
                   .scale = 1, .causal = causal, .bias = bias};
    Tensor *wq = op_linear(tp, n, w->q, NULL, 0); /* not as arguments: see NOTES.md, Bits */
    Tensor *wk = op_linear(tp, src, w->k, NULL, 0), *wv = op_linear(tp, src, w->v, NULL, 0);
    Tensor *y = op_attention(tp, wq, wk, wv, &a);
    return op_add(tp, x, op_linear(tp, y, w->o, NULL, 0), 1);
}

static Tensor *t5_feed_forward(Tape *tp, const T5Layer *w, Tensor *x) {
    Tensor *f = op_act(tp, op_linear(tp, op_rmsnorm(tp, x, w->ff_norm), w->wi, NULL, 0), ACT_RELU);
    return op_add(tp, x, op_linear(tp, f, w->wo, NULL, 0), 1);
}

/* What the encoder reads: the text; behind it, with c.enc_only, the T learnable vectors, as ids V,
 * V+1, ...; or, with c.pad, PAD up to so many tokens, as in the official code.  Its encoder is told
 * which keys are PAD, its decoder is not and reads their states too.  PAD is token 0: T5's, and the
 * byte 0 here, which no text holds. */
static const Ids *encoder_input(const Model *m, Tape *tp, const Ids *x, int B) {
    int T = m->c.enc_only ? m->c.T : 0, pad = T ? 0 : m->c.pad;
    if (T == 0 && pad == 0) return x;
    Ids *full = tape_alloc(tp, (size_t)B * sizeof *full);
    for (int b = 0; full && b < B; b++) {
        int n = x[b].n + T > pad ? x[b].n + T : pad, *id = int_array(tp, n); /* zeros: PAD */
        if (!id) return NULL;
        if (x[b].n) memcpy(id, x[b].id, (size_t)x[b].n * sizeof *id);
        for (int t = 0; t < T; t++) id[x[b].n + t] = m->c.V + t;
        full[b] = (Ids){id, n};
    }
    return full;
}

/* The encoder reads the tokens; the decoder turns T learnable vectors into T states.  Without one,
 * the states of these vectors in the encoder are what comes out. */
Tensor *enc_forward(Model *m, Tape *tp, T5Weights *w, const Ids *x, int B) {
    Ragged in, keys, out; /* keys: the rows of `in` without PAD */
    int T = m->c.T, only = m->c.enc_only;
    int *prompt = int_array(tp, B * T);
    const Ids *full = encoder_input(m, tp, x, B);
    if (!prompt || !full || ragged(tp, &in, full, B) != 0 || even(tp, &keys, B, 0) != 0
        || even(tp, &out, B, T) != 0)
        return NULL;
    for (int b = 0; b < B; b++) keys.first[b] = in.first[b], keys.n[b] = only ? in.n[b] : x[b].n;
    Tensor *h = op_rows(tp, w->embed, only ? w->prompts : NULL, in.ids, in.rows);
    for (int l = 0; l < m->c.enc_L; l++) {
        const T5Layer *e = &w->encoder.layer[l];
        h = t5_attention(m, tp, &e->self, h, NULL, &in, &keys, B, w->encoder.bias, 0);
        h = t5_feed_forward(tp, e, h);
    }
    h = op_rmsnorm(tp, h, w->encoder.norm);
    for (int i = 0; i < B * T; i++) /* the last T of each, or the decoder's learnable vectors */
        prompt[i] = only ? in.first[i / T] + in.n[i / T] - T + i % T : i % T;
    Tensor *y = op_rows(tp, only ? h : w->prompts, NULL, prompt, B * T);
    if (only) return y;
    for (int l = 0; l < m->c.enc_L; l++) {
        const T5Layer *e = &w->decoder.layer[l];
        y = t5_attention(m, tp, &e->self, y, NULL, &out, &out, B, w->decoder.bias, 1);
        y = t5_attention(m, tp, &e->cross, y, h, &out, &in, B, NULL, 0);
        y = t5_feed_forward(tp, e, y);
    }
    return op_rmsnorm(tp, y, w->decoder.norm);
}

/* One MLP per token: x, y: [B*T, .].  skip(x) + W2 tanh(W1 LN(x)). */
static Tensor *token_mlps(const Model *m, Tape *tp, const Mlp *w, Tensor *x, int B) {
    int T = m->c.T;
    Tensor *g = transpose_rows(tp, x, B, T); /* group t: the B rows of token t */
    Tensor *f = op_linear(tp, op_layernorm(tp, g, w->norm.w, w->norm.b), w->in.w, w->in.b, 0);
    Tensor *y = op_linear(tp, op_act(tp, f, ACT_TANH), w->out.w, w->out.b, 0);
    if (w->skip.w) g = op_linear(tp, g, w->skip.w, w->skip.b, 0);
    return transpose_rows(tp, op_add(tp, g, y, 1), T, B);
}

/* [E1] phi_k = g_amort(d_k): B documents become T vectors each, [B*T, d]. */
Tensor *mac_encode(Model *m, Tape *tp, const Ids *docs, int B) {
    return token_mlps(m, tp, &m->agg->doc_mlp, enc_forward(m, tp, m->enc, docs, B), B);
}

/* ==== [E2] the bank, in training ============================================================= */
/* Backpropagation dropout: nothing is kept of these n documents but their vectors, [n*T, d]. */
static Tensor *encode_dropped(Model *m, Tape *tp, const Ids *docs, int n) {
    Tensor *kept = tape_tensor(tp, n * m->c.T, m->c.d);
    TapeMark mark = tape_mark(tp);
    int was = tape_record(tp, 0);
    Tensor *phi = mac_encode(m, tp, docs, n);
    if (kept && phi) memcpy(kept->data, phi->data, (size_t)(n * m->c.T * m->c.d) * sizeof(real));
    tape_record(tp, was);
    tape_release(tp, mark);
    return phi ? kept : NULL;
}

/* Document i belongs to bank i % banks, so that those with a gradient (the first n_grad) are spread
 * over all banks; the banks' vectors then lie behind one another. */
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

/* ==== [E3] a question draws from the bank ==================================================== */
static Tensor *agg_query(Tape *tp, const AggBlock *w, Tensor *q) {
    return op_linear(tp, op_layernorm(tp, q, w->norm.w, w->norm.b), w->q, NULL, 0);
}

static Tensor *agg_rest(Tape *tp, const AggBlock *w, Tensor *q, Tensor *attended) {
    q = op_add(tp, q, op_linear(tp, attended, w->out.w, w->out.b, 0), 1);
    Tensor *f =
        op_linear(tp, op_layernorm(tp, q, w->norm2.w, w->norm2.b), w->ff_in.w, w->ff_in.b, 0);
    return op_add(tp, q, op_linear(tp, op_act(tp, f, ACT_GELU_ERF), w->ff_out.w, w->ff_out.b, 0),
                  1);
}

/* q <- q + Attn(LN(q), LN_c(phi)); q <- q + FFN(LN(q)).  Nothing tells keys apart but what they
 * hold, so the order of documents does not matter. */
static Tensor *agg_block(Tape *tp, const AggBlock *w, Tensor *q, Tensor *phi, Attention *a) {
    Tensor *c = op_layernorm(tp, phi, w->norm_c.w, w->norm_c.b);
    Tensor *wq = agg_query(tp, w, q), *wk = op_linear(tp, c, w->k, NULL, 0);
    Tensor *wv = op_linear(tp, c, w->v, NULL, 0);
    return agg_rest(tp, w, q, op_attention(tp, wq, wk, wv, a));
}

/* q: [B*T, d] from the question encoder; phi: [K*T, d]. */
static Tensor *agg_blocks(Model *m, Tape *tp, Tensor *q, int B, Tensor *phi, AggReads *r) {
    int T = m->c.T;
    Ragged qs, keys, gold;
    if (even(tp, &qs, B, T) != 0 || even(tp, &keys, B, 0) != 0 || even(tp, &gold, B, T) != 0)
        return NULL;
    for (int b = 0; b < B; b++) {
        keys.first[b] = r->doc0[b] * T, keys.n[b] = r->docs[b] * T;
        if (r->gold) gold.first[b] = r->gold[b] * T;
    }
    Attention a = {.B = B,
                   .H = m->c.agg_H,
                   .q0 = qs.first,
                   .qn = qs.n,
                   .k0 = keys.first,
                   .kn = keys.n,
                   .scale = 1 / (real)sqrt((double)m->c.agg_dh),
                   .t0 = r->gold ? gold.first : NULL,
                   .tn = gold.n};
    for (int i = 0; i < m->c.agg_B; i++) {
        q = agg_block(tp, &m->agg->block[i], q, phi, &a);
        if (r->mass) r->mass[i] = a.mass;
    }
    return q;
}

static Tensor *encode_question(Model *m, Tape *tp, const Ids *q, int B) {
    return token_mlps(m, tp, &m->agg->q_mlp, enc_forward(m, tp, m->qenc, q, B), B);
}

/* [E3] phi* = h_psi(g_input(x), M) for B questions.  mac_loss and mac_answer call its two halves:
 * they use the encoded questions twice, or stream the bank. */
Tensor *agg_forward(Model *m, Tape *tp, const Ids *q, int B, Tensor *phi, AggReads *r) {
    return agg_blocks(m, tp, encode_question(m, tp, q, B), B, phi, r);
}

/* ==== [E4] what was drawn becomes a prefix =================================================== */
/* [E4] T vectors become n = P*2L keys and values: vector t is used n/T times in a row, the first
 * n % T vectors once more; each use has its own y = x + W2 gelu(W1 LN x).  [B*T,d] -> [n*B,d]. */
Tensor *prefix_expand(Model *m, Tape *tp, Tensor *phi, int B) {
    const Mlp *w = &m->agg->expand;
    int T = m->c.T, n = m->c.P * 2 * m->c.L, at = 0;
    int *idx = int_array(tp, n * B);
    if (!idx) return NULL;
    for (int t = 0; t < T; t++)
        for (int use = 0; use < n / T + (t < n % T); use++)
            for (int b = 0; b < B; b++) idx[at++] = b * T + t;
    Tensor *x = op_rows(tp, phi, NULL, idx, n * B);
    Tensor *f = op_linear(tp, op_layernorm(tp, x, w->norm.w, w->norm.b), w->in.w, w->in.b, 0);
    return op_add(tp, x, op_linear(tp, op_act(tp, f, ACT_GELU_ERF), w->out.w, w->out.b, 0), 1);
}

/* ==== [E5] the LM behind the prefix ========================================================== */
struct LmCache {
    int B, cap, *keys, *read; /* keys held and tokens read of each sequence */
    Tensor **k, **v, **spare; /* [L], [L], [2L] of [B*cap, d]; spare: see cache_follow */
};

/* [prefix ; own] for every sequence: key row p of layer l lies at (p*2L + 2l + which)*B + b of the
 * expansion's [n*B, d], `which` being 0 for keys and 1 for values: the official layout. */
static Tensor *behind_prefix(const Model *m, Tape *tp, Tensor *prefix, Tensor *own, const Ragged *r,
                             int B, int l, int which) {
    int P = m->c.P, n = P * 2 * m->c.L, *idx = int_array(tp, r->rows + B * P);
    if (!idx || !own) return NULL;
    for (int b = 0, at = 0; b < B; b++) {
        for (int p = 0; p < P; p++) idx[at++] = (p * 2 * m->c.L + 2 * l + which) * B + b;
        for (int i = 0; i < r->n[b]; i++) idx[at++] = n * B + r->first[b] + i;
    }
    return op_rows(tp, prefix, own, idx, r->rows + B * P);
}

/* Appends the rows of x, [prefix ;] own, to a layer's keys or values; returns all of them. */
static Tensor *cache_append(const LmCache *c, Tensor *held, const Tensor *x, const Ragged *r) {
    if (!x) return NULL;
    size_t d = (size_t)x->shape[1];
    for (int b = 0; b < c->B; b++)
        memcpy(held->data + (size_t)(b * c->cap + c->keys[b]) * d,
               x->data + (size_t)r->first[b] * d, (size_t)r->n[b] * d * sizeof(real));
    return held;
}

static Tensor *lm_attention(Model *m, Tape *tp, int l, Tensor *x, Tensor *prefix, LmCache *cache,
                            const Ragged *q, const Ragged *fresh, const Ragged *k, int B) {
    const LmLayer *w = &m->lm->layer[l];
    int d = m->c.d;
    Tensor *qkv = op_linear(tp, op_layernorm(tp, x, w->ln1.w, w->ln1.b), w->attn.w, w->attn.b, 1);
    Tensor *keys = op_cols(tp, qkv, d, d), *values = op_cols(tp, qkv, 2 * d, d);
    if (prefix) {
        keys = behind_prefix(m, tp, prefix, keys, q, B, l, 0);
        values = behind_prefix(m, tp, prefix, values, q, B, l, 1);
    }
    if (cache) {
        keys = cache_append(cache, cache->k[l], keys, fresh);
        values = cache_append(cache, cache->v[l], values, fresh);
    }
    Attention a = {.B = B, .H = m->c.H, .q0 = q->first, .qn = q->n, .k0 = k->first, .kn = k->n,
                   .scale = 1 / (real)sqrt((double)d / m->c.H), .causal = 1};
    Tensor *y = op_attention(tp, op_cols(tp, qkv, 0, d), keys, values, &a);
    return op_add(tp, x, op_linear(tp, y, w->attn_out.w, w->attn_out.b, 1), 1);
}

Tensor *lm_hidden(Model *m, Tape *tp, const Ids *x, int B, Tensor *prefix, LmCache *cache) {
    Ragged q, fresh, k; /* new tokens; keys made of them, [prefix ;] own; all keys that they read */
    int P = m->c.P, more = prefix ? P : 0;
    if (ragged(tp, &q, x, B) != 0 || even(tp, &fresh, B, 0) != 0 || even(tp, &k, B, 0) != 0)
        return NULL;
    int *pos = int_array(tp, q.rows);
    if (!pos) return NULL;
    for (int b = 0, at = 0; b < B; b++) {
        int read = cache ? cache->read[b] : 0, held = cache ? cache->keys[b] : 0;
        for (int i = 0; i < q.n[b]; i++) pos[q.first[b] + i] = P + read + i;
        fresh.first[b] = at, fresh.n[b] = q.n[b] + more;
        k.first[b] = cache ? b * cache->cap : at, k.n[b] = held + fresh.n[b];
        at += fresh.n[b];
        if (P + read + q.n[b] > m->c.S || (cache && k.n[b] > cache->cap))
            return tape_fail(tp,
                             "sequence %d has %d tokens, the LM's window S = %d leaves room for "
                             "%d",
                             b, read + q.n[b], m->c.S, m->c.S - P);
    }
    Tensor *h = op_rows(tp, m->lm->wte, NULL, q.ids, q.rows);
    h = op_add(tp, h, op_rows(tp, m->lm->wpe, NULL, pos, q.rows), 1);
    for (int l = 0; l < m->c.L; l++) {
        const LmLayer *w = &m->lm->layer[l];
        h = lm_attention(m, tp, l, h, prefix, cache, &q, &fresh, &k, B);
        Tensor *f = op_linear(tp, op_layernorm(tp, h, w->ln2.w, w->ln2.b), w->fc.w, w->fc.b, 1);
        h = op_add(tp, h, op_linear(tp, op_act(tp, f, ACT_GELU_TANH), w->fc_out.w, w->fc_out.b, 1),
                   1);
    }
    for (int b = 0; h && cache && b < B; b++) cache->keys[b] = k.n[b], cache->read[b] += q.n[b];
    return op_layernorm(tp, h, m->lm->ln_f.w, m->lm->ln_f.b);
}

Tensor *lm_logits(Model *m, Tape *tp, Tensor *h) { return op_linear(tp, h, m->lm->wte, NULL, 0); }

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
        in[b] = (Ids){x[b].id, x[b].n > 0 ? x[b].n - 1 : 0};
        for (int i = 0; i < in[b].n; i++) {
            if (asked && asked[b] && !asked[b][i + 1]) continue;
            row[n] = at + i;
            target[n++] = x[b].id[i + 1];
        }
        for (int i = first; alike && i < n; i++) weight[i] = 1 / (real)(B * (n - first));
        at += in[b].n;
    }
    Tensor *h = lm_hidden(m, tp, in, B, prefix, NULL);
    return op_cross_entropy(tp, lm_logits(m, tp, op_rows(tp, h, NULL, row, n)), target, weight);
}

/* ==== training =============================================================================== */
/* What the questions attend to: answers come from banks of `group` documents, a recital from its
 * own document, and with `all` set the first n_q - n_recite questions look for theirs among all. */
static AggReads batch_reads(const Model *m, Tape *tp, const MacBatch *b, int all) {
    int banks = b->n_docs / b->bank_size, n = b->n_q, *at = int_array(tp, 3 * n);
    Tensor **mass = tape_alloc(tp, (size_t)m->c.agg_B * sizeof *mass);
    for (int i = 0; at && i < n; i++) {
        int bank = b->doc[i] % banks, own = bank * b->bank_size + b->doc[i] / banks;
        int recital = i >= n - b->n_recite;
        at[i] = recital ? own : all ? 0 : bank * b->bank_size;
        at[n + i] = recital ? 1 : all ? b->n_docs : b->bank_size;
        at[2 * n + i] = own;
    }
    return (AggReads){.doc0 = at, .docs = at + n, .gold = at + 2 * n, .mass = mass};
}

/* guidance * -log(attention on the right document), the mean over questions, vectors and heads, is
 * added to the loss for each block of the aggregator: ours, not the paper's.  A log for each head:
 * with the log of their mean, one head that finds the document would excuse the others. */
static Tensor *add_guidance(Model *m, Tape *tp, const MacBatch *b, Tensor *loss,
                            Tensor *const *mass) {
    int rows = (b->n_q - b->n_recite) * m->c.T, *idx = int_array(tp, rows);
    for (int r = 0; idx && r < rows; r++) idx[r] = r;
    for (int i = 0; i < m->c.agg_B && b->guidance > 0; i++)
        loss = op_add(tp, loss, op_neglog(tp, op_rows(tp, mass[i], NULL, idx, rows)),
                      b->guidance);
    return loss;
}

static real mean_mass(const Model *m, const MacBatch *b, Tensor *const *mass) {
    int n = (b->n_q - b->n_recite) * m->c.T * m->c.agg_H;
    real sum = 0;
    for (int i = 0; i < m->c.agg_B; i++)
        for (int j = 0; j < n; j++) sum += mass[i]->data[j] / (real)(n * m->c.agg_B);
    return sum;
}

/* L = NLL of the answer's tokens under LM(x; phi*), and the guidance.  Questions attend to the bank
 * of their document (r), which gives the answer, and with guidance once more to all n_docs
 * documents (all), of which only the attention counts.  own_bank: the first serves for both. */
Tensor *mac_loss(Model *m, Tape *tp, const MacBatch *b, MacStats *stats) {
    int n = b->n_q, own_bank = b->bank_size == b->n_docs || !(b->guidance > 0);
    if (b->bank_size < 1 || b->n_docs % b->bank_size || b->n_grad < 1 || b->n_grad > b->n_docs
        || b->n_recite < 0 || b->n_recite >= n)
        return tape_fail(tp, "batch: %d documents in groups of %d, %d with a gradient; %d questions"
                             ", %d recite", b->n_docs, b->bank_size, b->n_grad, n, b->n_recite);
    char **asked = tape_alloc(tp, (size_t)n * sizeof *asked);
    AggReads r = batch_reads(m, tp, b, 0), all = batch_reads(m, tp, b, 1);
    if (!asked || tape_error(tp)[0]) return NULL;
    for (int i = 0; i < n; i++) {
        asked[i] = tape_alloc(tp, (size_t)b->qa[i].n + 1);
        if (!asked[i]) return NULL;
        memset(asked[i] + b->q[i].n, 1, (size_t)(b->qa[i].n - b->q[i].n));
    }
    Tensor *bank = batch_banks(m, tp, b), *q = encode_question(m, tp, b->q, n);
    Tensor *phi = agg_blocks(m, tp, q, n, bank, &r);
    Tensor *loss = lm_loss(m, tp, b->qa, (const char *const *)asked, n,
                           prefix_expand(m, tp, phi, n), b->alike);
    if (!loss) return NULL;
    if (!own_bank && !agg_blocks(m, tp, q, n, bank, &all)) return NULL; /* fills all.mass */
    Tensor **mass = own_bank ? r.mass : all.mass;
    *stats = (MacStats){0, loss->data[0], mean_mass(m, b, mass)};
    loss = add_guidance(m, tp, b, loss, mass);
    if (loss) stats->loss = loss->data[0];
    return loss;
}

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

/* Real tokens stand at positions P, P+1, ...: where P is another, their embeddings move with it. */
void model_copy_lm(Model *m, const Model *from) {
    copy_named(m, "base_lm.", from, "base_lm.");
    for (int i = 0, S = m->c.S, d = m->c.d; i < S; i++) {
        int was = i - m->c.P + from->c.P;
        if (was >= 0 && was < S)
            memcpy(m->lm->wpe->data + i * d, from->lm->wpe->data + was * d,
                   (size_t)d * sizeof(real));
    }
}

void model_share(Model *m) {
    copy_named(m, "aggregator.question_encoder.", m, "enc_decoder.");
    copy_named(m, "aggregator.mlps.", m, "mlps.");
    for (int i = 0; i < m->c.agg_B; i++) {
        AggBlock *b = &m->agg->block[i];
        memcpy(b->k->data, b->q->data, tensor_size(b->q) * sizeof(real));
    }
}

/* The paper starts both encoders from one pretrained T5, which aligns a question with its document
 * before any training.  From nothing, this stands in for it: equal encoders, keys that start as
 * queries, and, where e = d, embeddings that know what the LM knows (scaled to variance 1, as T5's
 * are). */
void model_share_start(Model *m, real sharp) {
    const Tensor *wte = m->lm->wte;
    size_t n = tensor_size(wte);
    real square = 0;
    for (size_t i = 0; i < n; i++) square += wte->data[i] * wte->data[i];
    real scale = 1 / (real)sqrt(square / (real)n);
    for (size_t i = 0; m->c.e == m->c.d && square > 0 && i < n; i++)
        m->enc->embed->data[i] = wte->data[i] * scale;
    for (int i = 0; i < m->c.agg_B; i++) {
        Tensor *q = m->agg->block[i].q;
        for (size_t j = 0; j < tensor_size(q); j++) q->data[j] *= sharp;
    }
    model_share(m);
}

/* ==== answers ================================================================================ */
static const real *bank_chunk(void *ctx, int first, int n, real *room) {
    const Bank *b = ctx;
    if (!b->half) return b->phi + (size_t)first * (size_t)b->d;
    bank_read(b, first / b->T, n / b->T, room);
    return room;
}

/* W diag(g): [inner, d].  LN_c's gain goes into the weights behind it, so that keys and values of
 * all blocks are made of the same normalised phi. */
static real *scaled_columns(Tape *tp, const Tensor *W, const Tensor *g) {
    int rows = W->shape[0], d = W->shape[1];
    real *to = tape_alloc(tp, (size_t)rows * (size_t)d * sizeof *to);
    for (int i = 0; to && i < rows * d; i++) to[i] = W->data[i] * g->data[i % d];
    return to;
}

/* One block's attention to the whole bank: q [B*T, inner] -> [B*T, inner].  Few questions carry
 * their queries to the documents, (scale q_h Wk_h) z, and the weighted mean of z through Wv_h;
 * for many it is cheaper to make keys and values of each chunk once.  LN_c's bias adds the same to
 * all scores of a query, which the softmax does not see, and Wv b to each value. */
static Tensor *bank_attention(Model *m, Tape *tp, const AggBlock *w, Tensor *q, int B,
                              const Bank *bank, real *received, size_t memory) {
    int H = m->c.agg_H, dh = m->c.agg_dh, d = m->c.d, R = B * m->c.T;
    real *Wk = scaled_columns(tp, w->k, w->norm_c.w), *Wv = scaled_columns(tp, w->v, w->norm_c.w);
    Tensor *bias = op_linear(tp, w->norm_c.b, w->v, NULL, 0);
    if (!q || !Wk || !Wv || !bias) return NULL;
    real scale = 1 / (real)sqrt((double)dh);
    for (int i = 0; i < R * H * dh; i++) q->data[i] *= scale; /* in place: nothing is recorded */
    Tensor heads = {2, {R * H, dh, 1}, q->data, NULL}; /* a row's heads follow each other */
    Tensor *x = transpose_rows(tp, &heads, R, H);
    Stream s = {.N = bank->K * m->c.T, .D = d, .T = m->c.T, .read = bank_chunk,
                .ctx = (void *)(uintptr_t)bank, .B = B, .received = received,
                .memory = memory};
    if ((int64_t)R * H * d < (int64_t)H * dh * (d + R)) { /* products for each row of the bank */
        Tensor k = {3, {H, dh, d}, Wk, NULL}, v = {3, {H, dh, d}, Wv, NULL};
        s.G = 1, s.R = R * H, s.by_head = H;
        x = op_stream_attention(tp, op_linear(tp, x, &k, NULL, 1), &s);
        x = op_linear(tp, x, &v, bias, 0);
    } else {
        s.G = H, s.R = R, s.by_head = 1, s.Wk = Wk, s.Wv = Wv, s.bv = bias->data;
        x = op_stream_attention(tp, x, &s);
    }
    Tensor *y = transpose_rows(tp, x, H, R);
    if (!y || bank->K == 0) return y ? tape_tensor(tp, R, H * dh) : NULL;
    y->shape[0] = R, y->shape[1] = H * dh;
    return y;
}

static Tensor *bank_aggregate(Model *m, Tape *tp, Tensor *q, int B, const Bank *bank,
                              real *received, size_t memory) {
    size_t n = (size_t)B * (size_t)bank->K;
    if (received) memset(received, 0, n * sizeof *received);
    for (int i = 0; i < m->c.agg_B && q; i++) {
        const AggBlock *w = &m->agg->block[i];
        Tensor *query = agg_query(tp, w, q);
        q = agg_rest(tp, w, q, bank_attention(m, tp, w, query, B, bank, received, memory));
    }
    for (size_t i = 0; q && received && i < n; i++)
        received[i] /= (real)(m->c.agg_B * m->c.agg_H * m->c.T);
    return q;
}

static int by_number(const void *a, const void *b) {
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* The N of K documents that received most, the earlier of two alike, in the bank's order. */
static void select_documents(const real *received, int K, int N, int *doc) {
    for (int k = 0, n = 0; k < K; k++) {
        if (n == N && !(received[k] > received[doc[n - 1]])) continue;
        int i = n < N ? n++ : n - 1;
        for (; i > 0 && received[k] > received[doc[i - 1]]; i--) doc[i] = doc[i - 1];
        doc[i] = k;
    }
    qsort(doc, (size_t)N, sizeof *doc, by_number);
}

/* Each question begins anew, and reads only its own N documents. */
static Tensor *select_aggregate(Model *m, Tape *tp, Tensor *first, int B, const Bank *bank, int N,
                                const real *received) {
    int *at = int_array(tp, 2 * B + N), *doc = at ? at + 2 * B : NULL;
    size_t own = (size_t)bank->T * (size_t)bank->d;
    Tensor *phi = tape_tensor(tp, B * N * bank->T, bank->d);
    if (!at || !phi) return NULL;
    for (int b = 0; b < B; b++) {
        select_documents(received + (size_t)b * (size_t)bank->K, bank->K, N, doc);
        for (int i = 0; i < N; i++)
            bank_read(bank, doc[i], 1, phi->data + (size_t)(b * N + i) * own);
        at[b] = b * N, at[B + b] = N;
    }
    AggReads r = {.doc0 = at, .docs = at + B};
    return agg_blocks(m, tp, first, B, phi, &r);
}

/* Select, then read.  Until a question has seen the whole bank, each of its T*H rows keeps a number
 * for every document: where questions would need more than o->memory, they read the bank in parts.
 * Nothing is kept of a part but its z and what its documents received. */
static Tensor *bank_select(Model *m, Tape *tp, Tensor *first, int B, const Bank *bank,
                           const AnswerOptions *o) {
    int K = bank->K, T = m->c.T, N = o->select > 0 && o->select < K ? o->select : 0;
    if (K == 0 || (!N && !o->received))
        return bank_aggregate(m, tp, first, B, bank, NULL, 0);
    size_t memory = o->memory ? o->memory : (size_t)1 << 27, k = (size_t)K, d = (size_t)bank->d;
    uint64_t fit = memory / sizeof(real) / ((uint64_t)K * (uint64_t)T * (uint64_t)m->c.agg_H);
    int part = fit < 1 ? 1 : fit < (uint64_t)B ? (int)fit : B;
    Tensor *z = first ? tape_tensor(tp, B * T, bank->d) : NULL;
    for (int b = 0, n; z && b < B; b += n) {
        n = B - b < part ? B - b : part;
        TapeMark mark = tape_mark(tp);
        size_t at = (size_t)(b * T) * d;
        Tensor q = {2, {n * T, bank->d, 1}, first->data + at, NULL}, *own;
        real *received = o->received ? o->received + (size_t)b * k
                                     : tape_alloc(tp, (size_t)n * k * sizeof *received);
        if (!received) return NULL;
        own = bank_aggregate(m, tp, &q, n, bank, received, memory);
        if (own && N) own = select_aggregate(m, tp, &q, n, bank, N, received);
        if (!own) return NULL;
        memcpy(z->data + at, own->data, (size_t)(n * T) * d * sizeof(real));
        tape_release(tp, mark);
    }
    return z;
}

/* Groups of M documents are aggregated apart and their results aggregated again, until one
 * modulation is left.  The official code loops over the question's length here; this loops over
 * the bank. */
static Tensor *bank_hierarchy(Model *m, Tape *tp, Tensor *first, int B, const Bank *bank, int M) {
    int K = bank->K, T = m->c.T, own = 0;
    if (M == 1) return tape_fail(tp, "hierarchy: groups of one document never become fewer");
    Tensor *phi = tape_tensor(tp, K * T, bank->d), *z;
    if (!phi) return NULL;
    bank_read(bank, 0, K, phi->data);
    for (;;) { /* `own`: each question has K modulations of its own, from the round before */
        int G = (K + M - 1) / M, n = B * G;
        int *at = int_array(tp, 2 * n + n * T);
        int *rows = at ? at + 2 * n : NULL;
        if (!at) return NULL;
        for (int i = 0; i < n; i++) {
            int g = i % G, b = i / G;
            at[i] = (own ? b * K : 0) + g * M;
            at[n + i] = K - g * M < M ? K - g * M : M;
            for (int t = 0; t < T; t++) rows[i * T + t] = b * T + t;
        }
        AggReads r = {.doc0 = at, .docs = at + n};
        z = agg_blocks(m, tp, op_rows(tp, first, NULL, rows, n * T), n, phi, &r);
        if (G == 1 || !z) return z;
        phi = z, K = G, own = 1;
    }
}

Tensor *mac_prefix(Model *m, Tape *tp, const Ids *q, int B, const Bank *bank,
                   const AnswerOptions *o) {
    if (bank->T != m->c.T || bank->d != m->c.d)
        return tape_fail(tp, "the bank holds %d vectors of %d a document, the model makes %d of %d",
                         bank->T, bank->d, m->c.T, m->c.d);
    int M = o->hierarchy, was = tape_record(tp, 0);
    Tensor *first = encode_question(m, tp, q, B);
    Tensor *z = M > 0 && M < bank->K ? bank_hierarchy(m, tp, first, B, bank, M)
                                     : bank_select(m, tp, first, B, bank, o);
    Tensor *prefix = prefix_expand(m, tp, z, B);
    tape_record(tp, was);
    return prefix;
}

/* Puts o->context and the question behind one another for each of B sequences. */
static Ids *answer_prompts(Tape *tp, const Ids *q, int B, const Ids *context) {
    Ids *x = tape_alloc(tp, (size_t)B * sizeof *x);
    for (int b = 0; x && b < B; b++) {
        int n = context ? context[b].n : 0,
            *id = int_array(tp, n + q[b].n);
        if (!id) return NULL;
        if (n) memcpy(id, context[b].id, (size_t)n * sizeof *id);
        memcpy(id + n, q[b].id, (size_t)q[b].n * sizeof *id);
        x[b] = (Ids){id, n + q[b].n};
    }
    return x;
}

/* Logits after the last token of each sequence that got new ones, in order; others are skipped. */
static Tensor *last_logits(Model *m, Tape *tp, const Ids *x, int B, Tensor *prefix,
                           LmCache *cache) {
    Tensor *h = lm_hidden(m, tp, x, B, prefix, cache);
    int *row = int_array(tp, B), n = 0;
    for (int b = 0, at = 0; row && b < B; b++) {
        at += x[b].n;
        if (x[b].n) row[n++] = at - 1;
    }
    return h && row ? lm_logits(m, tp, op_rows(tp, h, NULL, row, n)) : NULL;
}

static int answer_greedy(Model *m, Tape *tp, Ids *x, int B, Tensor *prefix, LmCache *cache, int cap,
                         int *out, int *n) {
    int V = m->c.V, running = B;
    memset(n, 0, (size_t)B * sizeof *n);
    for (int step = 0; step < cap && running; step++) {
        Tensor *logits = last_logits(m, tp, x, B, step ? NULL : prefix, cache);
        if (!logits) return -1;
        for (int b = 0, row = 0; b < B; b++) {
            if (!x[b].n) continue; /* its answer has ended */
            const real *l = logits->data + (size_t)row++ * (size_t)V;
            int best = 0;
            for (int v = 1; v < V; v++)
                if (l[v] > l[best]) best = v;
            x[b].n = 0;
            if (best == V - 1) { running--; continue; }
            out[b * cap + n[b]] = best;
            x[b] = (Ids){&out[b * cap + n[b]++], 1};
        }
    }
    return 0;
}

/* ---- beam search, one question at a time.  Diverse beam search, as HuggingFace has it: groups of
 * w beams advance in turn, each a search of its own, but that a token scores `penalty` less for
 * every beam of the groups before that has chosen it at this step.  One group: plain beams. ---- */
typedef struct { real score; int parent, token; } Candidate;
typedef struct {
    int W, w, cap, step;       /* beams, and of a group; longest answer; tokens so far */
    int *live, *next;          /* [W][cap] tokens of the running beams, room for the next ones */
    int *parent;               /* [W] the beam that each has grown from */
    real *score;               /* [W] sum of log-probabilities; -INFINITY: not in use */
    real penalty;
    int *chosen;               /* [V] how often, by the groups before */
    int *ended;                /* [W/w] how many answers of a group have ended */
    int *best, best_n;         /* the best ended answer of all groups; -1: none yet */
    real best_score;           /* mean log-probability of its tokens, EOS included */
} Beams;

/* Keeps the 2w best continuations of a group, best first; the earlier one where two are equal. */
static int beam_candidates(const Beams *s, const Tensor *p, int group, Candidate *c) {
    int V = p->shape[1], n = 0, first = group * s->w;
    for (int b = first; b < first + s->w; b++)
        for (int v = 0; v < V; v++) {
            real x = s->score[b] + exact_log(p->data[(size_t)b * (size_t)V + (size_t)v]);
            x -= s->penalty * (real)s->chosen[v];
            if (n == 2 * s->w && !(x > c[n - 1].score)) continue;
            int i = n < 2 * s->w ? n++ : n - 1;
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
        Tensor **held = l < m->c.L ? &c->k[l] : &c->v[l - m->c.L], *old = *held;
        Tensor *fresh = c->spare[l] ? c->spare[l] : tape_tensor(tp, c->B * c->cap, m->c.d);
        if (!fresh) return -1;
        for (int b = 0; b < c->B; b++)
            memcpy(fresh->data + (size_t)b * row, old->data + (size_t)parent[b] * row,
                   row * sizeof(real));
        *held = fresh;
        c->spare[l] = old;
    }
    return 0;
}

/* Ends what has ended, moves the w best others of the group into place. */
static void beam_advance(Beams *s, const Candidate *c, int n, int group, int eos) {
    int to = group * s->w, end = to + s->w;
    for (int i = 0; i < n && to < end; i++) {
        const int *from = s->live + c[i].parent * s->cap;
        if (c[i].token == eos) { /* an end outside the w best does not count */
            if (i < s->w) s->ended[group]++, beam_end(s, from, s->step, c[i].score, s->step + 1);
            continue;
        }
        memcpy(s->next + to * s->cap, from, (size_t)s->step * sizeof *from);
        s->next[to * s->cap + s->step] = c[i].token;
        s->chosen[c[i].token]++;
        s->parent[to] = c[i].parent;
        s->score[to++] = c[i].score;
    }
    for (; to < end; to++) s->score[to] = -INFINITY, s->parent[to] = group * s->w;
}

/* One token more for all groups that run: how many of them still do. */
static int beam_step(Tape *tp, Beams *s, Tensor *logits, Candidate *c) {
    int V = logits->shape[1], running = 0;
    const Tensor *p = op_softmax(tp, logits);
    if (!p) return -1;
    memset(s->chosen, 0, (size_t)V * sizeof *s->chosen);
    for (int g = 0; g < s->W / s->w; g++) {
        if (s->ended[g] >= s->w) continue;
        beam_advance(s, c, beam_candidates(s, p, g, c), g, V - 1);
        running += s->ended[g] < s->w;
    }
    int *swap = s->live;
    s->live = s->next, s->next = swap;
    s->step++;
    return running;
}

static int answer_beams(Model *m, Tape *tp, const Ids *prompt, Tensor *prefix, LmCache *cache,
                        const AnswerOptions *o, int cap, int *out, int *n) {
    int W = o->beams, w = o->beam_groups > 1 ? W / o->beam_groups : W, running = 1;
    int *tokens = int_array(tp, 2 * W * cap), *room = int_array(tp, 2 * W + m->c.V);
    Candidate *c = tape_alloc(tp, 2 * (size_t)w * sizeof *c);
    Ids *x = tape_alloc(tp, (size_t)W * sizeof *x);
    real *score = tape_alloc(tp, (size_t)W * sizeof *score);
    if (!tokens || !room || !c || !x || !score) return -1;
    *n = 0;
    if (prompt->n == 0) return 0; /* nothing was asked */
    Beams s = {.W = W, .w = w, .cap = cap, .live = tokens, .next = tokens + W * cap, .parent = room,
               .ended = room + W, .chosen = room + 2 * W, .score = score, .penalty = o->penalty,
               .best = out, .best_n = -1};
    for (int b = 0; b < W; b++) { /* all of a group start alike: let one speak */
        x[b] = *prompt;
        score[b] = b % w ? -INFINITY : 0;
    }
    while (s.step < cap && running) {
        Tensor *logits = last_logits(m, tp, x, W, s.step ? NULL : prefix, cache);
        running = logits ? beam_step(tp, &s, logits, c) : -1;
        if (running < 0 || cache_follow(m, tp, cache, s.parent) != 0) return -1;
        for (int b = 0; b < W; b++) x[b] = (Ids){s.live + b * cap + s.step - 1, 1};
    }
    for (int b = 0; b < W; b++)
        if (s.ended[b / w] < w && score[b] > -INFINITY)
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

static LmCache *cache_new(const Model *m, Tape *tp, int B, int cap) {
    LmCache *c = tape_alloc(tp, sizeof *c);
    if ((int64_t)B * cap > INT_MAX / 2)
        tape_fail(tp, "%d questions or beams at once are too many", B);
    if (!c || tape_error(tp)[0]) return NULL;
    c->B = B, c->cap = cap;
    c->keys = int_array(tp, B);
    c->read = int_array(tp, B);
    c->k = tape_alloc(tp, (size_t)m->c.L * sizeof(Tensor *));
    c->v = tape_alloc(tp, (size_t)m->c.L * sizeof(Tensor *));
    c->spare = tape_alloc(tp, 2 * (size_t)m->c.L * sizeof(Tensor *));
    if (!c->keys || !c->read || !c->k || !c->v || !c->spare) return NULL;
    for (int l = 0; l < m->c.L; l++) {
        c->k[l] = tape_tensor(tp, B * cap, m->c.d);
        c->v[l] = tape_tensor(tp, B * cap, m->c.d);
        if (!c->k[l] || !c->v[l]) return NULL;
    }
    return c;
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
    if (!bad && W == 1) bad = answer_greedy(m, tp, x, B, prefix, cache, cap, out, n) != 0;
    for (int b = 0; !bad && W > 1 && b < B; b++) { /* the cache serves one question after another */
        Tensor *own = prefix ? prefix_of(m, tp, prefix, B, b, W) : NULL;
        memset(cache->keys, 0, (size_t)W * sizeof(int));
        memset(cache->read, 0, (size_t)W * sizeof(int));
        bad = (prefix && !own)
              || answer_beams(m, tp, &x[b], own, cache, &o, cap, out + b * cap, &n[b]);
    }
    tape_record(tp, was);
    return bad ? -1 : 0;
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
    return (MacConfig){.V = 3072, .S = 0, .d = 96, .L = 3, .H = 6, .e = 96, .enc_L = 2, .enc_H = 6,
                       .enc_dh = 16, .enc_ff = 384, .T = 16, .P = 16, .agg_B = 2, .agg_H = 6,
                       .agg_dh = 16, .pre_ff = 128, .D = 192, .Q = 40, .A = 16};
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
/* What building a model needs at hand.  `room`: the numbers that may still be allocated, so that
 * absurd sizes in a small file are refused at once; `blank`: a file will bring the values. */
typedef struct { Params *ps; uint64_t rng; int64_t room; int blank, failed; } Builder;
enum { NO_MEMORY = 1, NO_ROOM };                          /* failed */

/* A new weight, its sizes those of g, rows, cols that are not 0, drawn from N(0, std^2), or filled
 * with `fill` when std is 0. */
static Tensor *weight(Builder *b, const char *prefix, const char *name, real std, real fill, int g,
                      int rows, int cols) {
    char full[MAC_NAME];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    int dims[3] = {g, rows, cols}, n = 0, at[3] = {0};
    for (int i = 0; i < 3; i++)
        if (dims[i] > 0) at[n++] = dims[i];
    int64_t size = 1;
    for (int i = 0; i < n; i++) size *= at[i];
    if (!b->failed && size > b->room) b->failed = NO_ROOM;
    if (b->failed) return NULL;
    b->room -= size;
    Tensor *t = n == 3 ? param_new(b->ps, full, 3, at[0], at[1], at[2])
              : n == 2 ? param_new(b->ps, full, 2, at[0], at[1]) : param_new(b->ps, full, 1, at[0]);
    if (!t) { b->failed = NO_MEMORY; return NULL; }
    for (int64_t i = 0; i < size && !b->blank; i++)
        t->data[i] = std > 0 ? std * rng_normal(&b->rng) : fill;
    return t;
}

static Affine affine(Builder *b, const char *prefix, const char *name, real std, int g, int rows,
                     int cols, int n_bias) {
    char w[MAC_NAME], bias[MAC_NAME];
    snprintf(w, sizeof w, "%s.weight", name);
    snprintf(bias, sizeof bias, "%s.bias", name);
    Affine a = {weight(b, prefix, w, std, 1, g, rows, cols), NULL};
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
        char at[MAC_NAME];
        LmLayer *x = &w->layer[l];
        snprintf(at, sizeof at, "%sh.%d.", pre, l);
        x->ln1 = norm_new(b, at, "ln_1", 0, d);
        x->attn = affine(b, at, "attn.c_attn", std, 0, d, 3 * d, 3 * d);
        x->attn_out = affine(b, at, "attn.c_proj", out_std, 0, d, d, d);
        x->ln2 = norm_new(b, at, "ln_2", 0, d);
        x->fc = affine(b, at, "mlp.c_fc", std, 0, d, 4 * d, 4 * d);
        x->fc_out = affine(b, at, "mlp.c_proj", out_std, 0, 4 * d, d, d);
    }
    w->ln_f = norm_new(b, pre, "ln_f", 0, d);
    return w;
}

static T5Attn t5_attn_new(Builder *b, const MacConfig *c, const char *at, const char *kind,
                          int sub) {
    char pre[MAC_NAME], norm[MAC_NAME];
    snprintf(pre, sizeof pre, "%slayer.%d.%s.", at, sub, kind);
    snprintf(norm, sizeof norm, "layer.%d.layer_norm.weight", sub);
    int e = c->e, inner = c->enc_H * c->enc_dh;
    real std = (real)sqrt(1.0 / e);
    T5Attn a;
    a.q = weight(b, pre, "q.weight", (real)sqrt(1.0 / ((double)e * c->enc_dh)), 0, 0, inner, e);
    a.k = weight(b, pre, "k.weight", std, 0, 0, inner, e);
    a.v = weight(b, pre, "v.weight", std, 0, 0, inner, e);
    a.o = weight(b, pre, "o.weight", (real)sqrt(1.0 / inner), 0, 0, e, inner);
    a.norm = weight(b, at, norm, 0, 1, 0, 0, e);
    return a;
}

static T5Stack t5_stack_new(Builder *b, const MacConfig *c, const char *pre, const char *stack) {
    int decoder = !strcmp(stack, "decoder");
    T5Stack s = {calloc((size_t)c->enc_L, sizeof *s.layer), NULL, NULL};
    char at[MAC_NAME], name[MAC_NAME];
    if (!s.layer) { b->failed = NO_MEMORY; return s; }
    for (int l = 0; l < c->enc_L && !b->failed; l++) {
        T5Layer *x = &s.layer[l];
        int sub = decoder ? 2 : 1;
        snprintf(at, sizeof at, "%s%s.block.%d.", pre, stack, l);
        x->self = t5_attn_new(b, c, at, "SelfAttention", 0);
        if (l == 0)
            s.bias = weight(b, at, "layer.0.SelfAttention.relative_attention_bias.weight",
                            (real)sqrt(1.0 / c->e), 0, 0, 32, c->enc_H);
        if (decoder) x->cross = t5_attn_new(b, c, at, "EncDecAttention", 1);
        snprintf(name, sizeof name, "layer.%d.DenseReluDense.wi.weight", sub);
        x->wi = weight(b, at, name, (real)sqrt(1.0 / c->e), 0, 0, c->enc_ff, c->e);
        snprintf(name, sizeof name, "layer.%d.DenseReluDense.wo.weight", sub);
        x->wo = weight(b, at, name, (real)sqrt(1.0 / c->enc_ff), 0, 0, c->e, c->enc_ff);
        snprintf(name, sizeof name, "layer.%d.layer_norm.weight", sub);
        x->ff_norm = weight(b, at, name, 0, 1, 0, 0, c->e);
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
    Mlp m = {.norm = norm_new(b, pre, "mlps.%d.mlp.0", c->T, c->e)};
    m.in = linear_new(b, pre, "mlps.%d.mlp.1", c->T, c->e, c->d);
    m.out = linear_new(b, pre, "mlps.%d.mlp.3", c->T, c->d, c->d);
    if (c->e != c->d) m.skip = linear_new(b, pre, "mlps.%d.skip", c->T, c->e, c->d);
    return m;
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
        char at[MAC_NAME];
        AggBlock *x = &w->block[i];
        snprintf(at, sizeof at, "aggregator.cross_attention_list.%d.", i);
        x->norm = norm_new(b, at, "norm1", 0, d);
        x->norm_c = norm_new(b, at, "norm_context", 0, d);
        x->q = weight(b, at, "attn.to_q.weight", std, 0, 0, inner, d);
        x->k = weight(b, at, "attn.to_k.weight", std, 0, 0, inner, d);
        x->v = weight(b, at, "attn.to_v.weight", std, 0, 0, inner, d);
        x->out = linear_new(b, at, "attn.to_out.0", 0, inner, d);
        x->norm2 = norm_new(b, at, "norm2", 0, d);
        x->ff_in = linear_new(b, at, "mlp.net.0", 0, d, ff);
        x->ff_out = linear_new(b, at, "mlp.net.3", 0, ff, d);
    }
    w->expand.norm = norm_new(b, "token_SA.", "mlp_layers.%d.net.0", n, d);
    w->expand.in = linear_new(b, "token_SA.", "mlp_layers.%d.net.1", n, d, c->pre_ff);
    w->expand.out = linear_new(b, "token_SA.", "mlp_layers.%d.net.4", n, c->pre_ff, d);
    return w;
}

/* What maps vectors to vectors is a matrix to the optimizer; a table of rows, each looked up by
 * itself, is none. */
static void mark_matrices(Params *ps) {
    static const char *const tables[] = {"wte", "wpe", "shared", "relative_attention_bias",
                                         "prompts"};
    for (int i = 0; i < ps->n; i++) {
        Param *p = ps->p[i];
        p->matrix = p->t.ndim == 2 && !strstr(p->name, "%d");
        for (int k = 0; k < 5; k++) p->matrix &= !strstr(p->name, tables[k]);
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
    Builder b = {.rng = seed, .room = INT64_MAX};
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
    free(m);
}

int model_save(const Model *m, StWriter *w, int moments) {
    MacConfig c = m->c;
    char number[32];
    st_add_meta(w, "format", "mac-model");
    for (const MacField *f = mac_fields; f->name; f++) {
        if (*config_at(&c, f) == 0) continue; /* what is off leaves no trace: nor below */
        snprintf(number, sizeof number, "%d", *config_at(&c, f));
        st_add_meta(w, f->name, number);
    }
    return params_save(&m->ps, w, moments);
}

Model *model_load(StFile *f, char *err) {
    MacConfig c = {0};
    char why[MAC_ERR];
    const char *format = st_meta(f, "format");
    if (!format || strcmp(format, "mac-model")) {
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
    int64_t room = 0; /* numbers in the file: no model that needs more of them is begun */
    for (int i = 0, ndim; i < st_count(f); i++) {
        const int64_t *shape;
        const char *dtype, *name = st_info(f, i, &dtype, &ndim, &shape);
        if (dtype[0] == 'F') room += st_size(f, name);
    }
    int layers = c.L > c.enc_L ? c.L : c.enc_L, bad = mac_config_check(&c, why);
    if (bad) st_fail(f, err, "%s", why);
    else if (layers > st_count(f) || c.agg_B > st_count(f))
        bad = st_fail(f, err, "L, enc_L or agg_B is larger than the number of its tensors");
    Builder b = {.room = room, .blank = 1};
    Model *m = bad ? NULL : model_build(&c, &b);
    if (!bad && !m)
        st_fail(f, err, b.failed == NO_ROOM
                            ? "the sizes in the file ask for more weights than it holds"
                            : "out of memory");
    if (m && params_load(&m->ps, f, 0, err) == 0) return m;
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
