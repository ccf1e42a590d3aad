/* exchange.c - what a trained model says to a corpus, as numbers: make twin-exchange compares them
 * with PyTorch's.  All documents go into one bank, LIMIT questions are asked.
 *   exchange MODEL CORPUS LIMIT OUT */
#include "data/data.h"
#include "data/program.h"
#include "mac.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Tape *tp;
static StWriter *writer;

/* ==== numbers to the file ==================================================================== */
static void put(const char *name, const Tensor *t) {
    if (!t) die("%s", tape_error(tp));
    st_add(writer, name, t->data, t->ndim, t->shape);
}

static void put_ints(const char *name, const int *x, int rows, int cols) {
    Tensor *t = need(tape_tensor(tp, rows, cols));
    for (int i = 0; i < rows * cols; i++) t->data[i] = (real)x[i];
    put(name, t);
}

/* As in tests/vectors: all tokens behind one another, and the lengths. */
static void put_texts(const char *name, const Ids *x, int B) {
    int total = 0, at = 0, *n = need(tape_alloc(tp, (size_t)B * sizeof *n));
    char lengths[MAC_NAME];
    for (int b = 0; b < B; b++) total += n[b] = x[b].n;
    int *id = need(tape_alloc(tp, (size_t)total * sizeof *id));
    for (int b = 0; b < B; at += n[b++]) memcpy(id + at, x[b].id, (size_t)n[b] * sizeof *id);
    snprintf(lengths, sizeof lengths, "%s_n", name);
    put_ints(name, id, 1, total), put_ints(lengths, n, 1, B);
}

/* ==== texts to numbers ======================================================================= */
static Model *model;
static Reader reader;

static void open_model(const char *path) {
    char err[MAC_ERR];
    StFile *f = need_file(path);
    model = model_load(f, err);
    if (!model) die("%s", err);
    const MacConfig *c = &model->c;
    reader = (Reader){tokenizer_of(f, c->V, err), c->D, c->Q, c->A, tp, tape_alloc, 0};
    if (!reader.tok) die("%s", err);
    st_close(f);
}

typedef struct { Ids *docs, *q, *qa; int *doc, K, B; } Texts;

static Texts read_texts(const Corpus *c, int limit) {
    int B = limit < c->n_qas ? limit : c->n_qas;
    Texts t = {.K = c->n_docs, .B = B};
    t.docs = reader_room(&reader, t.K, sizeof *t.docs);
    t.q = reader_room(&reader, B, sizeof *t.q);
    t.qa = reader_room(&reader, B, sizeof *t.qa);
    t.doc = reader_room(&reader, B, sizeof *t.doc);
    for (int k = 0; k < t.K; k++) t.docs[k] = reader_document(&reader, c->docs[k].text);
    for (int b = 0; b < B; b++) {
        t.q[b] = reader_question(&reader, c->qas[b].q);
        t.qa[b] = reader_joined(&reader, t.q[b], reader_answer(&reader, c->qas[b].target));
        t.doc[b] = c->qas[b].doc;
    }
    return t;
}

/* Logits of question and answer behind the prefix that the question draws from all documents. */
static void put_logits(const Texts *t, Tensor *phi) {
    int *first = need(tape_alloc(tp, (size_t)t->B * sizeof *first)); /* zeros */
    int *all = need(tape_alloc(tp, (size_t)t->B * sizeof *all));
    for (int b = 0; b < t->B; b++) all[b] = t->K;
    AggReads r = {.doc0 = first, .docs = all};
    Tensor *prefix = prefix_expand(model, tp, agg_forward(model, tp, t->q, t->B, phi, &r), t->B);
    put("phi", phi);
    put("logits", lm_logits(model, tp, lm_hidden(model, tp, t->qa, t->B, prefix, NULL)));
}

static void put_answers(const Texts *t, const Tensor *phi) {
    int cap = model->c.A, *out = need(tape_alloc(tp, (size_t)(t->B * cap) * sizeof *out));
    int *n = need(tape_alloc(tp, (size_t)t->B * sizeof *n));
    Bank *bank = need(bank_new(model->c.T, model->c.d, model_fingerprint(model)));
    for (int k = 0; k < t->K; k++)
        if (bank_add(bank, "", "", (uint64_t)k + 1, phi->data + k * model->c.T * model->c.d) != 1)
            die("a document was not added");
    if (mac_answer(model, tp, t->q, t->B, bank, cap, out, n, NULL) != 0) die("%s", tape_error(tp));
    Ids *answers = need(tape_alloc(tp, (size_t)t->B * sizeof *answers));
    for (int b = 0; b < t->B; b++) answers[b] = (Ids){out + b * cap, n[b]};
    put_texts("answers", answers, t->B);
    bank_free(bank);
}

int main(int argc, char **argv) {
    Corpus c = {0};
    char err[MAC_ERR];
    program_begin("exchange");
    if (argc != 5) die("usage: exchange MODEL CORPUS LIMIT OUT");
    tp = need(tape_new(0));
    tape_record(tp, 0);
    open_model(argv[1]);
    need_corpus(&c, argv[2], NULL);
    writer = need(st_new());
    Texts t = read_texts(&c, atoi(argv[3]));
    put_texts("docs", t.docs, t.K), put_texts("q", t.q, t.B), put_texts("qa", t.qa, t.B);
    put_ints("doc", t.doc, 1, t.B);
    Tensor *phi = mac_encode(model, tp, t.docs, t.K);
    put_logits(&t, phi);
    put_answers(&t, phi);
    if (st_write(writer, argv[4], err) != 0) die("%s", err);
    corpus_free(&c), tok_free(reader.tok), model_free(model), tape_free(tp);
    return 0;
}
