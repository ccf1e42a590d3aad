/* cases.h - the cases of levels 4 to 9 of tests/vectors/README.md, as vectors.c draws them, which
 * alone includes this.  There are no gradients. */
#ifndef CASES_H
#define CASES_H

/* `text` has n bytes, and others than the last may be 0. */
static void bytes(Case *c, const char *name, const char *text, size_t n) {
    int x[1024];
    for (size_t i = 0; i < n; i++) x[i] = (unsigned char)text[i];
    constants(c, name, (int)n, x);
}
#define TEXT(c, name, text) bytes(c, name, text, sizeof text) /* a 0 at its end, as C has it */

static void word_in(Case *c, const char *name, uint64_t x) {
    const int w[4] = {x & 0xffff, x >> 16 & 0xffff, x >> 32 & 0xffff, x >> 48};
    constants(c, name, 4, w);
}

static void fixed(Case *c, const char *name, int a, int b, int g, double scale) {
    Tensor *t = draw(c, name, a, b, g);
    for (size_t i = 0; i < numel(t); i++) t->data[i] = (real)(float)(scale * t->data[i]);
    param_freeze(&c->in, name, 1);
}

static void schedule(Case *c, double lr, int warmup, int total, int cosine) {
    constant(c, "lr", lr), constant(c, "warmup", warmup), constant(c, "total", total);
    constant(c, "cosine", cosine);
}

static void rates(const char *name, int warmup, int total, int cosine) {
    Case c = begin("rate", name, NULL);
    schedule(&c, 0.0625, warmup, total, cosine), constant(&c, "n", 14), end(&c);
}

static void steps(const char *name, int n, double momentum) { /* some of them are clipped */
    Case c = begin("steps", name, NULL);
    fixed(&c, "W", 4, 3, 0, 0.5), fixed(&c, "b", 5, 0, 0, 0.5);
    fixed(&c, "gW", n, 4, 3, 0.75), fixed(&c, "gb", n, 5, 0, 0.75);
    schedule(&c, 0.03125, 3, 10, 1), constant(&c, "momentum", momentum);
    constant(&c, "decay", 0.0625), constant(&c, "clip", 3), end(&c);
}

static void randoms(const char *name, uint64_t seed, int n, int below) {
    Case c = begin("random", name, NULL);
    word_in(&c, "seed", seed), constant(&c, "n", n), constant(&c, "below", below), end(&c);
}

static void sizes_in(Case *c, const MacConfig *s, uint64_t seed) {
    int x[19];
    for (int i = 0; i < 19; i++) memcpy(&x[i], (const char *)s + mac_fields[i].offset, sizeof x[i]);
    constants(c, "sizes", 19, x), word_in(c, "seed", seed);
}

static void start(const char *name, const MacConfig *s, double sharp) {
    Case c = begin("start", name, NULL);
    sizes_in(&c, s, 7);
    if (sharp > 0) constant(&c, "sharp", sharp);
    end(&c);
}

/* Two documents of one name, one without questions, answers of two questions that are the same.
 * Of the stage lm where batch_lm is not 0. */
static void batch(const char *name, uint64_t state, int docs, int group, double drop, int batch_lm,
                  int S) {
    static const int doc[] = {0, 0, 0, 1, 2, 2, 4};
    Case c = begin("batch", name, NULL);
    TEXT(&c, "titles", "Ada\0Bob\0Cem\0Ada\0Eve\0Fay");
    TEXT(&c, "texts", "Ada is 7.\0Bob: 2\0Cem, Rome\0Ada, no more.\0Eve sang.\0Fay");
    TEXT(&c, "q", "Age of Ada\0Who is 7\0Years of Ada\0Bob?\0Cem?\0City of Cem\0What did Eve do");
    TEXT(&c, "a", "7\0Ada\0007\0002\0Rome\0Cem\0sang"), constants(&c, "doc", 7, doc);
    word_in(&c, "state", state), constant(&c, "batch_lm", batch_lm);
    constant(&c, "S", S), constant(&c, "docs", docs), constant(&c, "questions", 2);
    constant(&c, "group", group), constant(&c, "drop", drop), end(&c);
}

static const int merges[] = {'a', 'n', ' ', 'i', 195, 188, 256, 'd', 'Z', 258, 260, 'r', '1', '9',
                             ' ', 261, 263, 'i', 264, 'c', ' ', ' ', '\n', '\n', 'n', 'a',
                             '\v', '\v'};
#define MERGES ((int)(sizeof merges / sizeof *merges))

static void tokens(const char *name, const char *text, size_t n) {
    Case c = begin("tokens", name, NULL);
    constants(&c, "merges", MERGES, merges), bytes(&c, "text", text, n), end(&c);
}

static void prompt(const char *name, int what, int most, const char *text) {
    Case c = begin("prompt", name, NULL);
    constants(&c, "merges", MERGES, merges), bytes(&c, "text", text, strlen(text) + 1);
    constant(&c, "what", what), constant(&c, "most", most), end(&c);
}

static void hash(const char *name, const char *text) {
    Case c = begin("hash", name, NULL);
    bytes(&c, "text", text, strlen(text) + 1), end(&c);
}

static void text_vectors(void) {
    static const char texts_in[] =
        "In Zürich leben 434335 Menschen, und 1984 waren es 356860.\n\0"
        "Zürich  liegt   am See; Zug\tund Zürich an zwei Seen.\r\n\0"
        " and in 1984 and 19 and  and\0and";
    Case c = begin("merges", "small", NULL);
    TEXT(&c, "texts", texts_in), constant(&c, "vocab", 275), end(&c);
    c = begin("merges", "until_none_comes_twice", NULL);
    TEXT(&c, "texts", "abab ab\0xyxyxyx"), constant(&c, "vocab", 300), end(&c);
    c = begin("merges", "marks", NULL); /* each is a chunk: the pair -- is in none */
    TEXT(&c, "texts", "na--na--na--"), constant(&c, "vocab", 300), end(&c);
#define TOKENS(name, text) tokens(name, text, sizeof text)
    TOKENS("words", "Zürich and in 1984, an inn");
    TOKENS("blanks", "  a  and\n\n in \t an ");
    TOKENS("digits", "19198419 1 22333"), TOKENS("digits_six", "919191");
    TOKENS("no_utf8", "\xff\xc3 \xbc\0\x80" "an");
    TOKENS("long_blanks", "                                                                   an");
    TOKENS("blanks_before", "an\n\nan  \n an\v\van  ");
    TOKENS("long_run", "nananananananananananananananananananananananananananananananananananana");
    prompt("document", 0, 12, "Zürich and"), prompt("document_cut", 0, 5, "Zürich 1984");
    prompt("question", 1, 12, "who and Ann"), prompt("question_cut", 1, 3, "where and in");
    prompt("question_blanks", 1, 12, " \v in Zürich? \f");
    prompt("question_digit", 1, 12, "in 19"), prompt("question_accent", 1, 12, "ça an\xc3\xa9");
    prompt("question_mark", 1, 12, "An inn!"), prompt("question_far", 1, 12, "in \xe6\x97\xa5");
    prompt("question_none", 1, 4, "  "), prompt("question_fits", 1, 4, "A b!");
    prompt("document_fits", 0, 5, "A b!");
    prompt("answer", 2, 8, "in 1984"), prompt("answer_cut", 2, 4, "in Zürich an");
    hash("none", ""), hash("a", "a"), hash("zurich", "Zürich"), hash("word", "Zürich!");
    hash("words", "Zürich liegt am See.");
}

static void halves(void) { /* ties both ways, the least, subnormals, overflow, signs, infinity */
    static const uint32_t bits[] = {
        0, 0x80000000, 0x3f800000, 0x3f801000, 0x3f801001, 0x3f803000, 0x3f802fff, 0xbf801000,
        0x477fe000, 0x477fefff, 0x477ff000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x38800000,
        0x387fffff, 0x387fe000, 0x387fd000, 0x33800000, 0x33000000, 0x33000001, 0x33c00000,
        0xb3400000, 0x00000001, 0x3eaaaaab, 0xc2280000};
    int n = sizeof bits / sizeof *bits, x[64];
    Case c = begin("half", "plain", NULL);
    for (int i = 0; i < n; i++) x[2 * i] = bits[i] & 0xffff, x[2 * i + 1] = (int)(bits[i] >> 16);
    constants(&c, "x", 2 * n, x), end(&c);
}

static void bank(const char *name, int half, uint64_t made_with, const char *forget, size_t n) {
    uint64_t r = 1; /* the same vectors in each case */
    Case c = begin("bank", name, NULL); /* the last text is there already */
    TEXT(&c, "ids", "1\0b-2\0003\0004"), TEXT(&c, "titles", "Zürich\0\0A \"title\"\0again");
    TEXT(&c, "texts", "Zürich.\0Zug\0Other\0Zug");
    fixed(&c, "phi", 8, 3, 0, 1), constant(&c, "T", 2), constant(&c, "half", half);
    for (int i = 0; i < 24; i++) in(&c, "phi")->data[i] = drawn(&r, 1);
    word_in(&c, "model", 0x0123456789abcdefu), word_in(&c, "tokens", made_with);
    if (forget) bytes(&c, "forget", forget, n);
    end(&c);
}

static void program_vectors(void) {
    static const MacConfig least = {.V = 271, .S = 5, .d = 2, .L = 1, .H = 1, .e = 1, .enc_L = 1,
                                    .enc_H = 1, .enc_dh = 1, .enc_ff = 1, .T = 1, .P = 1,
                                    .agg_B = 1, .agg_H = 1, .agg_dh = 1, .pre_ff = 1, .D = 2,
                                    .Q = 1, .A = 1};
    const uint64_t made_with = 0xfedcba9876543210u;
    file_begin("mac-vectors");
    rates("cosine", 4, 12, 1), rates("constant", 4, 12, 0), rates("no_warmup", 0, 9, 1);
    steps("one", 1, 0.9375), steps("ten", 10, 0.9375), steps("ten_adam", 10, 0);
    randoms("small_seed", 1, 24, 10), randoms("large_seed", 0xfedcba9876543210u, 24, 100000);
    start("plain", &tiny, 0), start("shared", &tiny, 8), start("odd", &odd, 0);
    start("odd_shared", &odd, 8);
    batch("lm", 8, 0, 0, 0.5, 10, 38), batch("mac", 2, 4, 1, 0.5, 0, 38);
    batch("mac_groups", 17, 8, 4, 0.5, 0, 38), batch("mac_share", 3, 4, 1, 0.375, 0, 38);
    batch("lm_short", 5, 0, 0, 0.5, 8, 26); /* a short question behind one that does not fit */
    text_vectors();
    halves();
    bank("floats", 0, made_with, NULL, 0), bank("halves", 1, made_with, NULL, 0);
    bank("one_forgotten", 1, made_with, "b-2", 4);
    bank("all_forgotten", 1, made_with, "3\0001\0b-2", 8);
    bank("room", 1, 0, NULL, 0); /* which is a multiple of 64 more than what it needs */
    Case c = begin("model_file", "least", NULL);
    sizes_in(&c, &least, 7), constants(&c, "merges", MERGES, merges), end(&c);
    file_end("program");
}

/* ---- answers: n = T, three heads in the aggregator, a gate, two tokens with one embedding ---- */
static const MacConfig asked = {.V = 23, .S = 27, .d = 8, .L = 2, .H = 2, .e = 6, .enc_L = 1,
                                .enc_H = 2, .enc_dh = 3, .enc_ff = 9, .T = 8, .P = 2, .agg_B = 2,
                                .agg_H = 3, .agg_dh = 4, .pre_ff = 7, .D = 13, .Q = 4, .A = 8};
enum { TWIN = 5 };

static Model *answering_model(uint64_t seed) {
    Model *m = random_model(&asked, seed, 4, 0.1);
    Gate *g = &m->gate;
    int n = 4 * m->c.T * m->c.d;
    *g = (Gate){.R = 4, .F = 2, .strangers = need(malloc((size_t)n * sizeof(real))),
                .t = need(malloc(2 * sizeof(real))), .fit = {1.25, 0.5, 0.375, 0.5}};
    for (int i = 0; i < n; i++) g->strangers[i] = drawn(&seed, 1);
    g->t[0] = 1, g->t[1] = 6;
    real *wte = param_find(&m->ps, "base_lm.base_lm.transformer.wte.weight")->data;
    real *last = param_find(&m->ps, "base_lm.base_lm.transformer.ln_f.weight")->data;
    for (int i = 0; i < m->c.V * m->c.d; i++) wte[i] *= 4;
    for (int i = 0; i < m->ps.n; i++) { /* and the memory says little */
        Tensor *w = &m->ps.p[i]->t;
        for (size_t j = 0; strstr(m->ps.p[i]->name, ".attn.c_") && j < numel(w); j++)
            w->data[j] *= 3;
    }
    for (int i = 0; i < m->c.d; i++) last[i] = drawn(&seed, 1); /* else a token follows itself */
    memcpy(wte + (TWIN + 1) * m->c.d, wte + TWIN * m->c.d, (size_t)m->c.d * sizeof(real));
    return m;
}

/* `docs` documents of random vectors, or -1: no bank; B questions. */
static Case answer(const char *name, Model *m, const Texts *t, int B, int docs) {
    Case c = begin("answer", name, m);
    sequence(&c, "q", B, t->q), constant(&c, "most", m->c.A);
    if (docs > 0) fixed(&c, "phi", docs * m->c.T, m->c.d, 0, 1);
    if (docs < 0) constant(&c, "alone", 1);
    return c;
}

static void answer_with(const char *name, Model *m, const Texts *t, int docs, const char *option,
                        int x) {
    Case c = answer(name, m, t, 3, docs);
    if (option) constant(&c, option, x);
    end(&c);
}

static void diverse(const char *name, Model *m, const Texts *t, int beams, int groups,
                    double penalty) {
    Case c = answer(name, m, t, DOCS, 3);
    constant(&c, "beams", beams), constant(&c, "groups", groups);
    constant(&c, "penalty", penalty), end(&c);
}

/* The first and the last document are the same, and receive the same. */
static void same_documents(const char *name, Model *m, const Texts *t, int select) {
    Case c = answer(name, m, t, 4, 5);
    real *phi = in(&c, "phi")->data;
    size_t n = (size_t)(m->c.T * m->c.d);
    memcpy(phi + 4 * n, phi, n * sizeof *phi);
    constant(&c, "select", select), end(&c);
}

/* Banks of one, of N / 16, and of half of the N documents: 32 at most, from 3 on. */
static void gate(const char *name, Model *m, int N, uint64_t r) {
    int tok[32 * 8], doc[32], n = N < 5 ? N : 5;
    Ids docs[32], q[32], strangers[5];
    for (int i = 0; i < N * 8; i++) tok[i] = 1 + rng_below(&r, m->c.V - 2);
    for (int i = 0; i < N; i++) {
        docs[i] = (Ids){tok + 8 * i, 3 + i % 5}, q[i] = (Ids){tok + 8 * i, 2 + i % 2};
        doc[i] = i;
        if (i < 5) strangers[i] = (Ids){tok + 8 * i + 3, 4};
    }
    Case c = begin("gate", name, m);
    sequence(&c, "strangers", n, strangers), sequence(&c, "docs", N, docs);
    sequence(&c, "q", N, q), constants(&c, "doc", N, doc), end(&c);
}

static void answer_vectors(uint64_t seed) {
    Model *m = answering_model(seed);
    Texts t;
    texts(&t, &asked, seed);
    model_file_begin("answers", m);
    Case c = begin("expand", "as_many_as_vectors", m);
    draw(&c, "phi", 2 * m->c.T, m->c.d, 0), end(&c);
    answer_with("alone", m, &t, -1, NULL, 0);
    c = answer("context", m, &t, 3, -1);
    sequence(&c, "context", 3, t.docs), end(&c);
    answer_with("greedy", m, &t, 4, NULL, 0), answer_with("empty_bank", m, &t, 0, NULL, 0);
    answer_with("half", m, &t, 4, "half", 1), diverse("beams", m, &t, 4, 1, 0);
    diverse("beams_of_two", m, &t, 2, 1, 0), diverse("diverse", m, &t, 6, 3, 0.5);
    diverse("diverse_little", m, &t, 6, 3, 0.125), diverse("diverse_four", m, &t, 8, 4, 0.25);
    diverse("diverse_alone", m, &t, 4, 4, 1), diverse("diverse_without_penalty", m, &t, 6, 3, 0);
    answer_with("hierarchy", m, &t, 7, "hierarchy", 2);
    answer_with("hierarchy_of_all", m, &t, 3, "hierarchy", 4);
    answer_with("select", m, &t, 6, "select", 2), answer_with("select_all", m, &t, 3, "select", 3);
    same_documents("select_ties", m, &t, 2), same_documents("select_first", m, &t, 1);
    answer_with("sure", m, &t, 4, "sure", 1), answer_with("sure_empty", m, &t, 0, "sure", 1);
    answer_with("sure_many", m, &t, 40, "sure", 1);
    answer_with("chunks", m, &t, 150, NULL, 0);
    answer_with("chunks_select", m, &t, 150, "select", 3);
    c = begin("versions", "plain", m);
    fixed(&c, "phi", m->c.T, m->c.d, 0, 1), fixed(&c, "bank", 4 * m->c.T, m->c.d, 0, 1);
    real *bank = in(&c, "bank")->data;
    for (int i = 0; i < m->c.T * m->c.d; i++) /* the second is near, the third differs elsewhere */
        bank[64 + i] = (real)(float)(in(&c, "phi")->data[i] + bank[64 + i] / 16),
        bank[128 + i] = i / 8 == 1 || i / 8 == 6 ? in(&c, "phi")->data[i] : bank[128 + i];
    end(&c);
    gate("fitted", m, 32, 11);
    gate("few", m, 4, 8);
    c = begin("fingerprint", "model", m), end(&c);
    file_end("answers");
    model_free(m);
}

/* A finder that looks at one or two vectors, whatever the text. */
static void sharp_vectors(uint64_t seed) {
    Model *m = answering_model(seed);
    Tensor *q = param_find(&m->ps, "aggregator.cross_attention_list.0.attn.to_q.weight");
    for (size_t i = 0; i < numel(q); i++) q->data[i] *= (real)1.5;
    model_file_begin("sharp", m);
    gate("two_vectors", m, 32, 265); /* the later receives more */
    file_end("sharp");
    model_free(m);
}

/* ---- a training: a batch of the LM, again and again; one of MAC ---- */
static void training_end(Case *c, double lr, int total) {
    constant(c, "alike", 1), schedule(c, lr, 5, total, 1), constant(c, "momentum", 0.9375);
    constant(c, "decay", 0.0625), constant(c, "clip", 1), end(c);
}

static void training_vectors(uint64_t seed) {
    static const int order[] = {1, 2, 3, 0, 4, 5}, doc[] = {0, 1, 2, 0};
    Model *m = random_model(&tiny, seed, 0, 0);
    Texts t;
    Ids docs[DOCS], x[5];
    int tok[5][32], n_doc[5], asked_of[160], at = 0;
    texts(&t, &tiny, seed);
    for (int i = 0; i < m->ps.n; i++) { /* as if trained: the shared start reads this norm */
        Tensor *w = &m->ps.p[i]->t;
        for (size_t j = 0; strstr(m->ps.p[i]->name, ".ln_1.") && j < numel(w); j++)
            w->data[j] = (real)(float)(w->data[j] + drawn(&seed, 0.25));
    }
    for (int i = 0; i < DOCS; i++) docs[i] = t.docs[order[i]];
    for (int b = 0; b < 5; b++) { /* document and question; the last two: a question alone */
        Ids d = b < 3 ? t.docs[doc_of[b]] : (Ids){NULL, 0}, qa = t.qa[b];
        if (d.n) memcpy(tok[b], d.id, (size_t)d.n * sizeof(int));
        memcpy(tok[b] + d.n, qa.id, (size_t)qa.n * sizeof(int));
        x[b] = (Ids){tok[b], d.n + qa.n}, n_doc[b] = d.n;
        for (int i = 0; i < x[b].n; i++) asked_of[at++] = b == 2 || b == 4 || i >= d.n + t.q[b].n;
    }
    model_file_begin("training", m);
    Case c = begin("training", "lm", m);
    sequence(&c, "ids", 5, x), constants(&c, "ids_doc", 5, n_doc);
    constants(&c, "asked", at, asked_of), training_end(&c, 0.0078125, 20);
    c = begin("training", "mac", m);
    sequence(&c, "docs", DOCS, docs), sequence(&c, "q", 4, t.q), sequence(&c, "qa", 4, t.qa);
    constants(&c, "doc", 4, doc), constant(&c, "group", 2), constant(&c, "n_grad", 4);
    constant(&c, "guidance", 0.25), constant(&c, "distill", 1), constant(&c, "sharp", 4);
    training_end(&c, 0.00390625, 30);
    file_end("training");
    model_free(m);
}
#endif
