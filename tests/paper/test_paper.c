/* test_paper.c - what `make paper` measures with, on models of a few weights: its cells, its rule
 * for salient tokens, CaMeLS' influence and weights, what a writer of facts may say.  Its argument
 * is a scratch folder. */
#define main facts_main
#include "facts.c"
#undef main
#include "tests/unit/check.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *scratch = ".";

static Cell read_text(const char *text, uint64_t made_by, int *got) {
    char path[300];
    Cell c;
    snprintf(path, sizeof path, "%s/cell.txt", scratch);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0, "%s: cannot write", path);
    if (f) fclose(f);
    *got = cell_read(&c, path, made_by);
    return c;
}

/* A cell that was cut off anywhere, or that other programs made, is no cell. */
static void test_cells(void) {
    char err[MAC_ERR], path[300], text[400];
    int got;
    Cell c = read_text("paper cell 00000000000000ff\nem 0.25\nend\n", 0xff, &got);
    CHECK(got == 0 && cell_get(&c, "em") == 0.25, "a whole cell: %d", got);
    CHECK(isnan(cell_get(&c, "f1")), "a line that is not there");
    c = read_text("paper cell 00000000000000ff\nem 0.25\nend\n", 0xfe, &got);
    CHECK(got == -1 && c.n == 0, "a stale cell was taken");
    cell_put(&c, "third", 1.0 / 3);
    cell_put(&c, "n", 7);
    CHECK(cell_write(&c, err) == 0, "%s", err);
    snprintf(path, sizeof path, "%s/cell.txt", scratch);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    Cell again;
    CHECK(cell_read(&again, path, 0xfe) == 0 && cell_get(&again, "third") == 1.0 / 3,
          "what was written is not what is read");
    for (size_t cut = 0; cut < n; cut++) {
        text[n] = 0;
        char part[400];
        memcpy(part, text, cut);
        part[cut] = 0;
        read_text(part, 0xfe, &got);
        CHECK(got == -1, "a cell cut after %d of %d bytes was taken", (int)cut, (int)n);
    }
}

/* [ ] stand around what must be salient. */
static void test_salient(void) {
    static const char *const cases[] = {
        "[Ada] [Calder] works as a baker.", "The home of [Ada] [Calder] is in [Kyoto].",
        "They left. [New] [York] grew, in [1901-1964], to [3] towns.", "Nothing here."};
    Tokenizer *tok = tok_train(NULL, 0, 257);
    for (int k = 0; k < 4; k++) {
        int id[100], n = 0, want[100], inside = 0;
        char mark[100];
        for (const char *s = cases[k]; *s; s++) {
            if (*s == '[' || *s == ']') { inside = *s == '['; continue; }
            want[n] = inside;
            id[n++] = (unsigned char)*s;
        }
        Ids x = {id, n};
        tune_salient(tok, &x, mark);
        for (int i = 0; i < n; i++)
            CHECK(mark[i] == want[i], "%s: byte %d is %d", cases[k], i, mark[i]);
    }
    tok_free(tok);
}

static Model *small_model(uint64_t seed) {
    MacConfig c = {.V = 23, .S = 24, .d = 8, .L = 2, .H = 2, .e = 8, .enc_L = 1, .enc_H = 2,
                   .enc_dh = 4, .enc_ff = 8, .T = 2, .P = 2, .agg_B = 1, .agg_H = 2, .agg_dh = 4,
                   .pre_ff = 8, .D = 10, .Q = 6, .A = 6};
    Model *m = model_new(&c, seed);
    param_freeze(&m->ps, "", 1);
    param_freeze(&m->ps, "base_lm.", 0);
    return m;
}

static void draw_ids(int *id, int n, uint64_t *rng) {
    for (int i = 0; i < n; i++) id[i] = rng_below(rng, 23);
}

/* The central difference is the dot product of `along` with each token's own gradient; and a sum of
 * losses with weights is that sum. */
static void test_influence(void) {
    Model *m = small_model(3);
    Tape *tp = tape_new(0);
    uint64_t rng = 5;
    int id[2][9];
    draw_ids(id[0], 9, &rng), draw_ids(id[1], 5, &rng);
    const Ids x[2] = {{id[0], 9}, {id[1], 5}};
    size_t size = tune_size(m);
    real *along = malloc(3 * size * sizeof *along), *g = along + size, *before = g + size;
    real influence[12], loss[12], w[12];
    for (size_t i = 0; i < size; i++) along[i] = rng_normal(&rng);
    tune_copy(m, before, TUNE_SAVE);
    tape_reset(tp);
    CHECK(tune_influence(m, tp, x, 2, along, influence) == 0, "%s", tape_error(tp));
    tune_copy(m, g, TUNE_SAVE);
    CHECK(!memcmp(before, g, size * sizeof *g), "the influence changed the weights");
    CHECK(tune_losses(m, tp, x, 2, loss) == 0, "%s", tape_error(tp));
    double largest = 0;
    for (int t = 0; t < 12; t++) {
        double want = 0;
        for (int i = 0; i < 12; i++) w[i] = i == t;
        tape_reset(tp);
        Tensor *own = tune_loss(m, tp, x, 2, w);
        CHECK(own && fabs((double)(own->data[0] - loss[t])) <= 1e-5, "loss of token %d", t);
        CHECK(tape_backward(tp, own) == 0, "%s", tape_error(tp));
        tune_copy(m, g, TUNE_TAKE_GRAD);
        for (size_t i = 0; i < size; i++) want += (double)g[i] * (double)along[i];
        if (fabs(want) > largest) largest = fabs(want);
        CHECK(fabs((double)influence[t] - want) <= 0.01 * (1 + fabs(want)),
              "token %d: difference %g, product %g", t, (double)influence[t], want);
    }
    CHECK(largest > 0.5, "all products are small: this proves nothing");
    free(along);
    tape_free(tp);
    model_free(m);
}

/* With its last layer at zero but for the bias z, the weigher gives each token softplus_3(z). */
static void test_weights(void) {
    Camels c = {.body = small_model(6)};
    Tape *tp = tape_new(0);
    uint64_t rng = 8;
    int id[7];
    draw_ids(id, 7, &rng);
    const Ids x[2] = {{id, 7}, {id, 3}};
    c.w1 = param_new(&c.head, "w1", 2, 4, 8), c.b1 = param_new(&c.head, "b1", 1, 4);
    c.w2 = param_new(&c.head, "w2", 2, 1, 4), c.b2 = param_new(&c.head, "b2", 1, 1);
    for (int z = -2; z <= 2; z += 2) {
        real w[9] = {0};
        c.b2->data[0] = (real)z;
        tape_reset(tp);
        CHECK(camels_weights(&c, tp, x, 2, w) == 0, "%s", tape_error(tp));
        for (int i = 0; i < 8; i++)
            CHECK(fabs((double)w[i] - log(1 + exp(3.0 * z)) / 3) <= 1e-6, "z %d: weight %g", z,
                  (double)w[i]);
        CHECK(w[8] == 0, "more weights than tokens that are predicted");
    }
    params_free(&c.head);
    tape_free(tp);
    model_free(c.body);
}

/* Where only the first token is salient, which is never predicted, the LM stays as it is. */
static void test_stream(void) {
    Lab l = {.tp = tape_new(0)};
    MacConfig c = {.V = 257, .S = 60, .d = 8, .L = 1, .H = 2, .e = 8, .enc_L = 1, .enc_H = 2,
                   .enc_dh = 4, .enc_ff = 8, .T = 2, .P = 2, .agg_B = 1, .agg_H = 2, .agg_dh = 4,
                   .pre_ff = 8, .D = 40, .Q = 6, .A = 6};
    l.m = model_new(&c, 4);
    l.reader = (Reader){tok_train(NULL, 0, 257), c.D, c.Q, c.A, l.tp, tape_alloc, 0};
    param_freeze(&l.m->ps, "", 1);
    param_freeze(&l.m->ps, "base_lm.", 0);
    Corpus docs = {0};
    CHECK(corpus_add(&docs, "a", "7 is here") == 0, "first");
    CHECK(corpus_add(&docs, "b", "it is in Rome") == 1, "second");
    size_t size = tune_size(l.m);
    real *before = malloc(2 * size * sizeof *before), *after = before + size;
    tune_copy(l.m, before, TUNE_SAVE);
    Adam adam = adam_default((real)1e-3);
    tune_stream(&l, &docs, 0, 1, WEIGH_SALIENT, NULL, &adam);
    tune_copy(l.m, after, TUNE_SAVE);
    CHECK(adam.step == 0 && !memcmp(before, after, size * sizeof *after),
          "a document without a salient token to predict changed the LM");
    tune_stream(&l, &docs, 0, 2, WEIGH_SALIENT, NULL, &adam);
    CHECK(adam.step == 1, "Salient Spans made %d steps of one", adam.step);
    tune_stream(&l, &docs, 0, 2, WEIGH_UNIFORM, NULL, &adam);
    tune_copy(l.m, after, TUNE_SAVE);
    CHECK(adam.step == 3 && memcmp(before, after, size * sizeof *after), "Uniform changed nothing");
    free(before);
    corpus_free(&docs);
    tok_free(l.reader.tok);
    tape_free(l.tp);
    model_free(l.m);
}

/* Beginnings of a record can still become one; a record may end; whatever else is said can not. */
static void test_records(void) {
    static const char doc[] = "Ada O'Lee, a baker (b. 1954), is in New Oslo.";
    static const struct { const char *text; int call, begins, ends; } says[] = {
        {"", 0, 1, 0}, {" ", 0, 1, 0}, {"A", 0, 0, 0}, {" Ad", 0, 1, 0}, {" da", 0, 0, 0},
        {" Ada O'Lee", 0, 1, 0}, {" Ada O'Lee\n", 0, 1, 1}, {" Ad\n", 0, 0, 0}, {" \n", 0, 0, 0},
        {" Ada\ncit", 0, 1, 0}, {" Ada\nage", 0, 0, 0}, {" Ada\ncity:", 0, 1, 0},
        {" Ada\ncity:O", 0, 0, 0}, {" Ada\ncity: New Os", 0, 1, 0}, {" Ada\ncity: Os", 0, 1, 0},
        {" Ada\ncity: New Oslo", 0, 1, 0}, {" Ada\ncity: New Oslo\n", 0, 1, 1},
        {" Ada\ncity: New Os\n", 0, 0, 0}, {" Ada\ncity: Rome", 0, 0, 0},
        {" Ada\nyear: 1954\ncity: Oslo\n", 0, 1, 1}, {" Ada\nyear: 1954\nyear", 0, 1, 0},
        {" Ada\nyear: 1954\nyear:", 0, 0, 0}, {" Ada\nyear: 1954\n\n", 0, 0, 0},
        {" Ada\ncit", 1, 1, 0}, {" Ada\ncity", 1, 1, 1}, {" Ada\ncity:", 1, 0, 0},
        {" Ada\n", 1, 1, 0}, {" Ada", 1, 1, 0}, {" Bob\ncity", 1, 0, 0}, {" Ada\ncity\n", 1, 0, 0}};
    relation[0] = "city", relation[1] = "year", n_relations = 2;
    for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
        Grammar g = {.call = says[i].call};
        CHECK(is_record(&g, doc, says[i].text, 0) == says[i].begins, "\"%s\" begins", says[i].text);
        CHECK(is_record(&g, doc, says[i].text, 1) == says[i].ends, "\"%s\" ends", says[i].text);
    }
    CHECK(likeness("Ada Lee", "Ada Lee") == 1 && likeness("Ada Lee", "Ada Lea") < 1
              && likeness("Ada Lee", "Ada Lea") > likeness("Ada Lee", "Bob Lee"), "likeness");
    add_fact("Ada", "city", "Rome", 0), add_fact("Ada Lee", "city", "Bonn", 1);
    add_fact("Ada", "city", "Oslo", 2);
    CHECK(!strcmp(look_up("Ada", "city", 1)->o, "Oslo"), "the fact that was written last");
    CHECK(!strcmp(look_up("Ada Lew", "city", 0)->o, "Bonn"), "the subject that is most alike");
    CHECK(!look_up("Ada Lew", "city", 1) && !look_up("Ada", "year", 0), "what was never written");
}

/* ---- the LM with its attention open ---- */
static int near_rows(const Tensor *a, int from, const Tensor *b, int n) { /* rows of a, all of b */
    for (int i = 0; a && b && i < n * 8; i++)
        if (!(fabs((double)(a->data[from * 8 + i] - b->data[i])) <= 1e-5)) return 0;
    return a && b;
}

static Tensor *kept_k[2], *kept_v[2];
static Tape *open_tape;
static Tensor *take_rows(void *ctx, int l, Tensor *q, Tensor *k, Tensor *v, Attention *a) {
    (void)ctx;
    kept_k[l] = k, kept_v[l] = v;
    return op_attention(open_tape, q, k, v, a);
}

static Tensor *read_rows(void *ctx, int l, Tensor *q, Tensor *k, Tensor *v, Attention *a) {
    static const int rows[] = {5, 6, 12, 13}, n[] = {2, 2}; /* the last two of each document */
    (void)ctx;
    return open_behind(open_tape, q, k, v, a, kept_k[l], kept_v[l], rows, n);
}

static Tensor *two_apart(void *ctx, int l, Tensor *q, Tensor *k, Tensor *v, Attention *a) {
    (void)l;
    return open_apart(open_tape, q, k, v, a, ctx, 2);
}

/* Left alone it is lm_hidden, bit by bit.  What follows a document in a lesson of AnLLM's, where it
 * may read the last two rows, is what a question makes of these two rows where nothing else of the
 * document is there. */
static void test_open(void) {
    Model *m = small_model(9);
    Tape *tp = open_tape = tape_new(0);
    uint64_t rng = 6;
    int id[2][11];
    draw_ids(id[0], 11, &rng), draw_ids(id[1], 11, &rng);
    const Ids x[2] = {{id[0], 11, 7}, {id[1], 10, 7}};
    const Ids docs[2] = {{id[0], 7, 7}, {id[1], 7, 7}}, after[2] = {{id[0] + 7, 4}, {id[1] + 7, 3}};
    const OpenLm plain = {NULL};
    Tensor *want = lm_hidden(m, tp, x, 2, NULL, NULL), *h = open_hidden(m, tp, x, 2, &plain);
    CHECK(want && h && !memcmp(want->data, h->data, 21 * 8 * sizeof(real)), "it is not lm_hidden");
    Tensor *lesson_h = open_hidden(m, tp, x, 2, &(OpenLm){.attend = two_apart});
    CHECK(open_hidden(m, tp, docs, 2, &(OpenLm){.attend = take_rows}), "%s", tape_error(tp));
    Tensor *read = open_hidden(m, tp, after, 2, &(OpenLm){.attend = read_rows});
    Tensor second = {2, {3, 8, 1}, read ? read->data + 4 * 8 : NULL, NULL};
    CHECK(near_rows(lesson_h, 7, read, 4) && near_rows(lesson_h, 18, &second, 3),
          "a lesson reads other rows than a question");
    CHECK(!near_rows(h, 7, read, 4), "the whole document says no more than two rows");
    const Ids part = {id[0] + 3, 4, 4}; /* what is left of a document stands where it stood */
    const Ids whole = {id[0], 7, 7};
    Tensor *wpe = param_find(&m->ps, "base_lm.base_lm.transformer.wpe.weight");
    for (int i = 0; i < 8; i++) wpe->data[(24 - 7) * 8 + i] = (real)1e3; /* of the first token */
    want = open_hidden(m, tp, &part, 1, &plain);
    for (int i = 0; i < 8; i++) wpe->data[(24 - 7) * 8 + i] = 0;
    h = open_hidden(m, tp, &part, 1, &plain);
    CHECK(near_rows(want, 0, h, 4), "a part of a document stands where the whole begins");
    CHECK(open_hidden(m, tp, &whole, 1, &plain), "%s", tape_error(tp));
    tape_free(tp);
    model_free(m);
}

/* Cross-entropy with shares, and its gradient, w (softmax - p). */
static void test_shares(void) {
    static const double p[2][3] = {{0.2, 0.5, 0.3}, {0, 0, 1}}, w[2] = {0.5, -2};
    Params ps = {0};
    Tensor *x = param_new(&ps, "x", 2, 2, 3);
    Tape *tp = tape_new(0);
    double want = 0, q[2][3];
    real weight[2] = {(real)w[0], (real)w[1]};
    Tensor *shares = tape_tensor(tp, 2, 3);
    param_freeze(&ps, "", 0);
    for (int r = 0; r < 2; r++) {
        double sum = 0;
        for (int v = 0; v < 3; v++) {
            x->data[r * 3 + v] = (real)(v - r * 0.5), shares->data[r * 3 + v] = (real)p[r][v];
            sum += q[r][v] = exp(v - r * 0.5);
        }
        for (int v = 0; v < 3; v++) q[r][v] /= sum, want -= w[r] * p[r][v] * log(q[r][v]);
    }
    Tensor *loss = open_shares(tp, x, shares, weight);
    CHECK(loss && fabs((double)loss->data[0] - want) <= 1e-5, "shares: not %g", want);
    CHECK(tape_backward(tp, loss) == 0, "%s", tape_error(tp));
    for (int i = 0; i < 6; i++)
        CHECK(fabs((double)x->grad[i] - w[i / 3] * (q[i / 3][i % 3] - p[i / 3][i % 3])) <= 1e-5,
              "gradient %d is %g", i, (double)x->grad[i]);
    tape_free(tp);
    params_free(&ps);
}

/* Slots average what is alike, fill up, and give up the one longest not written to. */
static void test_slots(void) {
    static const real k[5][2] = {{2, 0}, {4, 0}, {0, 1}, {1, 1}, {6, 0}};
    static const real v[5][2] = {{1, 2}, {3, 4}, {5, 6}, {0, 0}, {5, 6}};
    OpenSlots s = {.most = 0};
    int best[3];
    open_forget(&s, 2, 2);
    open_write(&s, k[0], v[0], 0, 0, 0.9), open_write(&s, k[2], v[2], 0, 0, 0.9);
    open_write(&s, k[1], v[1], 0, 1, 0.9), open_write(&s, k[4], v[4], 0, 1, 0.9);
    CHECK(s.k.shape[0] == 2 && s.k.data[0] == 4 && s.v.data[1] == 4 && s.c[0] == 3 && s.c[1] == 1
              && s.unit.data[0] == 1 && s.unit.data[3] == 1, "three tokens in one slot");
    open_write(&s, k[3], v[3], 0, 0.7, 0.9);
    CHECK(s.k.shape[0] == 2 && s.k.data[2] == 1 && s.c[1] == 1 && s.k.data[0] == 4,
          "the slot longest not written to was not given up");
    open_forget(&s, 0, 0);
    CHECK(open_largest((const real[]){1, 3, 2, 3, 0}, 5, 3, best) == 3 && best[0] == 1
              && best[1] == 3 && best[2] == 2, "the three largest");
    CHECK(open_largest((const real[]){2, 2, 2}, 3, 2, best) == 2 && best[0] == 0 && best[1] == 1,
          "the first of those alike");
    CHECK(open_largest((const real[]){1, 3}, 2, 3, best) == 2 && best[1] == 0, "all of two");
}

int main(int argc, char **argv) {
    if (argc > 1) scratch = argv[1];
    test_records();
    test_open();
    test_shares();
    test_slots();
    test_cells();
    test_salient();
    test_influence();
    test_weights();
    test_stream();
    return check_done("test_paper");
}
