/* test_worked.c - the worked example of NOTES.md: a tiny model is trained, takes in two documents
 * and answers one question; every number that the page shows comes from here, and the page must
 * show these.  With "print" as its argument it prints them instead.  Run it from the root.
 *
 * Ten words are ten tokens.  A document says who lives where, a question is a name, its answer the
 * place.  Who lives where is drawn anew in each step, so that only the memory can know it. */
#include "check.h"
#include "mac.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { PEOPLE = 4, END = 9, WORDS = 10, LM_STEPS = 500, MAC_STEPS = 600 };
static const char *const word[WORDS] = {"",     "Ada",  "Bob",  "Cy",   "Dee",
                                        "Rome", "Oslo", "Lima", "Bern", "(end)"};
static char lines[4096]; /* what the page must show */

static void line(const char *format, ...) {
    size_t n = strlen(lines);
    va_list args;
    va_start(args, format);
    vsnprintf(lines + n, sizeof lines - n, format, args);
    va_end(args);
}

static void rows(const Tensor *t, int first, int n, const char *const *name) {
    for (int r = first; r < first + n; r++) {
        line("    %-23s", name[r]);
        for (int i = 0; i < 4; i++) line(" %6.2f", (double)t->data[4 * r + i]);
        line("\n");
    }
}

static void step(Model *m, Tape *tp, Tensor *loss, Adam *o) {
    CHECK(tape_backward(tp, loss) == 0, "%s", tape_error(tp));
    adam_step(&m->ps, o);
    tape_reset(tp);
}

/* "Ada Rome Ada Rome (end)": the LM learns to answer from a document in its context. */
static void train_lm(Model *m, Tape *tp, uint64_t *rng) {
    static const char answer_only[5] = {0, 0, 0, 1, 1};
    const char *asked[8];
    Adam o = adam_default((real)0.01);
    for (int s = 0; s < LM_STEPS; s++) {
        int id[8][5];
        Ids x[8];
        for (int b = 0; b < 8; b++) {
            id[b][0] = id[b][2] = 1 + rng_below(rng, PEOPLE);
            id[b][1] = id[b][3] = 5 + rng_below(rng, PEOPLE);
            id[b][4] = END;
            x[b] = (Ids){id[b], 5, 2}, asked[b] = answer_only;
        }
        step(m, tp, lm_loss(m, tp, x, asked, 8, NULL, 1), &o);
    }
}

/* The frozen LM answers from the memory: each question from a bank of its own document.  The
 * guidance teaches the finder, here vector 0 of the only head, to find it among all four. */
static void train_mac(Model *m, Tape *tp, uint64_t *rng) {
    static const int doc[PEOPLE] = {0, 1, 2, 3};
    Adam o = adam_default((real)0.01);
    for (int s = 0; s < MAC_STEPS; s++) {
        int id[PEOPLE][3];
        Ids docs[PEOPLE], q[PEOPLE], qa[PEOPLE];
        MacStats stats;
        for (int i = 0; i < PEOPLE; i++) {
            id[i][0] = 1 + i, id[i][1] = 5 + rng_below(rng, PEOPLE), id[i][2] = END;
            docs[i] = (Ids){id[i], 2}, q[i] = (Ids){id[i], 1}, qa[i] = (Ids){id[i], 3};
        }
        MacBatch b = {.docs = docs, .n_docs = PEOPLE, .n_grad = PEOPLE, .q = q, .qa = qa,
                      .n_q = PEOPLE, .doc = doc, .bank_size = 1, .guidance = 1, .distill = 1,
                      .alike = 1};
        o.lr = lr_schedule(LR_COSINE, (real)0.01, s, 20, MAC_STEPS);
        step(m, tp, mac_loss(m, tp, &b, &stats), &o);
    }
}

/* What the LM expects after the question, of the four places. */
static void expected(Model *m, Tape *tp, const Ids *q, Tensor *prefix, const char *what) {
    Tensor *p = op_softmax(tp, lm_logits(m, tp, lm_hidden(m, tp, q, 1, prefix, NULL)));
    CHECK(p, "%s", tape_error(tp));
    line("    %-23s", what);
    for (int v = 5; p && v < 5 + PEOPLE; v++) line("  %s %.2f", word[v], (double)p->data[v]);
    line("\n");
}

static const char *answer(Model *m, Tape *tp, const Ids *q, const Bank *bank) {
    int out[2], n = 0;
    CHECK(mac_answer(m, tp, q, 1, bank, 2, out, &n, NULL) == 0, "%s", tape_error(tp));
    return n == 1 ? word[out[0]] : "(no answer)";
}

static void use(Model *m, Tape *tp) {
    static const char *const phi_name[] = {"phi of \"Ada Rome\"  t=0", "                    t=1",
                                           "phi of \"Bob Oslo\"  t=0", "                    t=1"};
    static const char *const star_name[] = {"phi_star            t=0", "                    t=1"};
    static const char *const prefix_name[] = {"prefix, key of layer 0", "      value of layer 0"};
    static const char *const attn_name[] = {"attention of        t=0", "                    t=1"};
    int ada[] = {1, 5}, bob[] = {2, 6}, who[] = {2}, first = 0, two = 2;
    Ids docs[] = {{ada, 2}, {bob, 2}}, q = {who, 1};
    Tensor *mass[2];
    tape_record(tp, 0);
    Tensor *phi = mac_encode(m, tp, docs, 2);
    rows(phi, 0, 4, phi_name);
    Tensor *star = NULL;
    for (int k = 0; k < 2; k++) { /* twice: for what goes to the one document, and to the other */
        AggReads r = {.doc0 = &first, .docs = &two, .gold = &k, .mass = &mass[k]};
        star = agg_forward(m, tp, &q, 1, phi, &r);
    }
    for (int t = 0; t < 2; t++)
        line("    %-23s  Ada Rome %.2f  Bob Oslo %.2f\n", attn_name[t], (double)mass[0]->data[t],
             (double)mass[1]->data[t]);
    rows(star, 0, 2, star_name);
    Tensor *prefix = prefix_expand(m, tp, star, 1);
    rows(prefix, 0, 2, prefix_name);
    expected(m, tp, &q, NULL, "LM alone, after Bob");
    expected(m, tp, &q, prefix, "with the prefix");
    Bank *bank = bank_new(m->c.T, m->c.d, model_fingerprint(m));
    bank_add(bank, "ada", "Ada", 1, phi->data);
    bank_add(bank, "bob", "Bob", 2, phi->data + 8);
    line("    %-23s  %s\n", "answer", answer(m, tp, &q, bank));
    CHECK(bank_remove(bank, "bob") == 0, "Bob is not in the bank");
    line("    %-23s  %s\n", "Bob Oslo forgotten", answer(m, tp, &q, bank));
    bank_free(bank);
}

#if !defined(MAC_DOUBLE) && !defined(MAC_FAST) /* whose bits are others */
static void same_page(void) {
    static char page[1 << 17];
    FILE *f = fopen("NOTES.md", "rb");
    size_t n = f ? fread(page, 1, sizeof page - 1, f) : 0;
    if (f) fclose(f);
    page[n] = 0;
    char *next = lines;
    for (char *p = lines; *p; p = next) {
        next = p + strcspn(p, "\n") + 1;
        char was = *next;
        *next = 0;
        CHECK(strstr(page, p), "NOTES.md does not show this line of the worked example: %s", p);
        *next = was;
    }
}
#endif

int main(int argc, char **argv) {
    MacConfig c = {.V = WORDS, .S = 9, .d = 4, .L = 1, .H = 1, .e = 4, .enc_L = 1, .enc_H = 1,
                   .enc_dh = 4, .enc_ff = 8, .T = 2, .P = 1, .agg_B = 1, .agg_H = 1, .agg_dh = 4,
                   .pre_ff = 8, .D = 3, .Q = 2, .A = 2};
    uint64_t rng = 23;
    Model *m = model_new(&c, 22);
    Tape *tp = tape_new(0);
    param_freeze(&m->ps, "", 1), param_freeze(&m->ps, "base_lm.", 0);
    train_lm(m, tp, &rng);
    param_freeze(&m->ps, "", 0), param_freeze(&m->ps, "base_lm.", 1);
    model_share_start(m, 4);
    train_mac(m, tp, &rng);
    use(m, tp);
    tape_free(tp);
    model_free(m);
    if (argc > 1 && !strcmp(argv[1], "print")) return fputs(lines, stdout) < 0;
#if !defined(MAC_DOUBLE) && !defined(MAC_FAST)
    same_page();
#endif
    CHECK(strlen(lines) > 500, "the example is empty");
    return check_done("test_worked");
}
