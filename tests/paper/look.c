/* look.c - where the memory looks: attention on the right document and on all others, by how
 * much these are like it.  Likeness is BM25's, the right document's text being the question.
 *
 *   look DIR CORPUS NAME SEED QUICK look       one cell */
#include "paper.h"
#include <stdlib.h>
#include <string.h>

static Lab lab;

/* All documents: the right one, then the others, the most alike first; the last ones share no word
 * with it. */
static void by_likeness(const Bm25 *index, int right, int *order) {
    int K = lab.test.n_docs, n = 1;
    int *found = need(malloc((size_t)K * sizeof *found));
    char *seen = need(calloc((size_t)K, 1));
    int alike = bm25_top(index, lab.test.docs[right].text, K, found);
    if (alike < 0) die("out of memory");
    order[0] = right;
    seen[right] = 1;
    for (int i = 0; i < alike; i++)
        if (found[i] != right) order[n++] = found[i], seen[found[i]] = 1;
    for (int k = 0; k < K; k++)
        if (!seen[k]) order[n++] = k;
    free(found), free(seen);
}

/* Attention of a document's questions on each document of the bank, [n][K], in the tape's arena. */
static real *attention(const Bank *bank, const Doc *d) {
    int n = d->n_qas;
    tape_reset(lab.tp);
    Ids *q = reader_room(&lab.reader, n, sizeof *q);
    int *out = reader_room(&lab.reader, 2 * n, sizeof *out);
    AnswerOptions o = {
        .select = lab.select,
        .received = tape_alloc(lab.tp, (size_t)n * (size_t)bank->K * sizeof(real))};
    for (int i = 0; i < n; i++)
        q[i] = reader_question(&lab.reader, lab.test.qas[d->qas[i]].q);
    if (!o.received || mac_answer(lab.m, lab.tp, q, n, bank, 1, out, out + n, &o) != 0)
        die("%s", tape_error(lab.tp));
    return o.received;
}

/* One row of the heat map: the right document, the most alike, all others together; in percent. */
static void put_row(Cell *c, int row, const real *received, const int *order, int K, int qa) {
    char key[40];
    snprintf(key, sizeof key, "question.%d", row);
    cell_put(c, key, qa);
    for (int column = 0; column < LOOK_COLUMNS; column++) {
        int last = column == LOOK_COLUMNS - 1 ? K : column + 1;
        double sum = 0;
        for (int i = column; i < last && i < K; i++) sum += (double)received[order[i]];
        snprintf(key, sizeof key, "map.%d.%d", row, column);
        cell_put(c, key, 100 * sum);
    }
}

static void look(Cell *c) {
    int K = lab.test.n_docs, *order = need(malloc((size_t)K * sizeof *order)), rows = 0;
    double sum[LOOK_RANKS] = {0};
    int questions = 0;
    char key[40];
    Bm25 *index = need(bm25_new(&lab.test));
    Bank *bank = lab_learn(&lab, &lab.test, 0, K, 64);
    for (int k = 0; k < K; k++) {
        const Doc *d = &lab.test.docs[k];
        if (d->n_qas == 0) continue;
        const real *received = attention(bank, d);
        by_likeness(index, k, order);
        for (int i = 0; i < d->n_qas; i++, questions++)
            for (int r = 0; r < LOOK_RANKS; r++)
                for (int at = look_ranks[r].from; at <= look_ranks[r].to && at < K; at++)
                    sum[r] += (double)received[(size_t)i * (size_t)K + (size_t)order[at]];
        if (rows < LOOK_ROWS && k >= K * (2 * rows + 1) / (2 * LOOK_ROWS))
            put_row(c, rows++, received, order, K, d->qas[0]);
    }
    for (int r = 0; r < LOOK_RANKS; r++) {
        snprintf(key, sizeof key, "rank.%d", r);
        cell_put(c, key, sum[r] / (questions ? questions : 1));
    }
    cell_put(c, "documents", K);
    cell_put(c, "questions", questions);
    bank_free(bank), bm25_free(index), free(order);
}

int main(int argc, char **argv) {
    Cell c;
    program_begin("paper");
    if (argc != 7 || strcmp(argv[6], "look"))
        die("usage: look DIR CORPUS NAME SEED QUICK look");
    lab_open(&lab, argv);
    if (!lab_cell(&lab, &c, argv[6])) {
        lab_say(&lab, "%s", argv[6]);
        look(&c);
        lab_keep(&c);
    }
    lab_close(&lab);
    return 0;
}
