/* tune.c - the paper's baselines: the LM itself is finetuned on the stream, one step of Adam
 * a document.  They differ in what a token's loss weighs: 1 (Uniform), 1 or 0 (Salient Spans), or
 * what a model says that was trained for it (CaMeLS, arXiv 2305.15076).
 *
 * CaMeLS learns its weights w from how well questions are answered after a step
 *     theta' = theta - eta sum_t w_t grad l_t(theta),   so   dL(theta')/dw_t = -eta g . grad l_t
 * with g = grad L(theta').  The products for all tokens t at once are the derivative of the vector
 * of token losses along g, which two forward passes give as a central difference: no gradient of
 * a gradient is needed. */
#include "paper.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LM "base_lm."

/* ==== the LM's numbers as one vector ========================================================= */
static size_t count_of(const Tensor *t) {
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= (size_t)t->shape[i];
    return n;
}

size_t tune_size(const Model *m) { return param_count(&m->ps, LM); }

void tune_copy(Model *m, real *buffer, int what) {
    for (int i = 0; i < m->ps.n; i++) {
        Param *p = m->ps.p[i];
        size_t n = count_of(&p->t), bytes = n * sizeof(real);
        if (strncmp(p->name, LM, sizeof LM - 1)) continue;
        if (what == TUNE_SAVE) memcpy(buffer, p->t.data, bytes);
        if (what == TUNE_LOAD) memcpy(p->t.data, buffer, bytes);
        if (what == TUNE_TAKE_GRAD) memcpy(buffer, p->t.grad, bytes), memset(p->t.grad, 0, bytes);
        buffer += n;
    }
}

/* theta += scale * along */
static void tune_move(Model *m, const real *along, real scale) {
    for (int i = 0; i < m->ps.n; i++) {
        Tensor *t = &m->ps.p[i]->t;
        if (strncmp(m->ps.p[i]->name, LM, sizeof LM - 1)) continue;
        size_t n = count_of(t);
        for (size_t j = 0; j < n; j++) t->data[j] += scale * along[j];
        along += n;
    }
}

/* ==== losses of tokens ======================================================================= */
/* Logits of all tokens but the first of each sequence, and which tokens these are. */
static Tensor *predicted(Model *m, Tape *tp, const Ids *x, int B, int **target) {
    int n = 0, at = 0;
    Ids *in = tape_alloc(tp, (size_t)B * sizeof *in);
    for (int b = 0; in && b < B; b++) {
        in[b] = (Ids){x[b].id, x[b].n > 0 ? x[b].n - 1 : 0, x[b].doc};
        n += in[b].n;
    }
    *target = tape_alloc(tp, (size_t)n * sizeof **target);
    if (!in || !*target) return NULL;
    for (int b = 0; b < B; b++)
        for (int i = 0; i < in[b].n; i++) (*target)[at++] = x[b].id[i + 1];
    return lm_logits(m, tp, lm_hidden(m, tp, in, B, NULL, NULL));
}

Tensor *tune_loss(Model *m, Tape *tp, const Ids *x, int B, const real *w) {
    int *target;
    Tensor *logits = predicted(m, tp, x, B, &target);
    return logits ? op_cross_entropy(tp, logits, target, w) : NULL;
}

int tune_losses(Model *m, Tape *tp, const Ids *x, int B, real *out) {
    int *target, was = tape_record(tp, 0);
    Tensor *logits = predicted(m, tp, x, B, &target);
    tape_record(tp, was);
    for (int r = 0; logits && r < logits->shape[0]; r++) {
        int V = logits->shape[1];
        const real *l = logits->data + (size_t)r * (size_t)V;
        real most = l[0], sum = 0;
        for (int v = 1; v < V; v++)
            if (l[v] > most) most = l[v];
        for (int v = 0; v < V; v++) sum += exact_exp(l[v] - most);
        out[r] = most + exact_log(sum) - l[target[r]];
    }
    return logits ? 0 : -1;
}

/* The step is a hundredth of unit length: long enough for float's rounding (1e-7 of the loss), and
 * short beside the weights, so that the losses' curvature does not show. */
int tune_influence(Model *m, Tape *tp, const Ids *x, int B, const real *along, real *out) {
    size_t size = tune_size(m);
    real square = 0, *here = malloc(size * sizeof *here), *less;
    int n = 0, bad = !here;
    for (int b = 0; b < B; b++) n += x[b].n > 0 ? x[b].n - 1 : 0;
    less = tape_alloc(tp, (size_t)n * sizeof *less);
    for (size_t i = 0; i < size; i++) square += along[i] * along[i];
    real norm = (real)sqrt((double)square), step = (real)0.01 / norm;
    if (!bad && norm > 0) {
        tune_copy(m, here, TUNE_SAVE);
        tune_move(m, along, step);
        bad = !less || tune_losses(m, tp, x, B, out) != 0;
        tune_copy(m, here, TUNE_LOAD);
        tune_move(m, along, -step);
        bad = bad || tune_losses(m, tp, x, B, less) != 0;
        tune_copy(m, here, TUNE_LOAD);
    }
    for (int i = 0; i < n && !bad; i++) out[i] = norm > 0 ? (out[i] - less[i]) / (2 * step) : 0;
    free(here);
    return bad ? -1 : 0;
}

/* ==== Salient Spans ========================================================================== */
/* Instead of the paper's named entities, from a tagger that is a network of its own: words that
 * begin with a capital or hold a digit.  The first word of a sentence has its capital for another
 * reason and counts only where the next word has one too. */
static int is_word_byte(unsigned char c) { return isalnum(c) || c >= 0x80 || c == '-'; }

static void salient_bytes(const char *s, size_t n, char *mark) {
    int starts = 1; /* a sentence */
    for (size_t at = 0, end; at < n; at = end) {
        end = at + 1;
        if (!is_word_byte((unsigned char)s[at])) {
            if (strchr(".!?\n", s[at])) starts = 1;
            continue;
        }
        while (end < n && is_word_byte((unsigned char)s[end])) end++;
        int digit = 0, capital = isupper((unsigned char)s[at]) != 0;
        for (size_t i = at; i < end; i++) digit |= isdigit((unsigned char)s[i]);
        if (capital && starts)
            capital = end + 1 < n && s[end] == ' ' && isupper((unsigned char)s[end + 1]);
        if (capital || digit) memset(mark + at, 1, end - at);
        starts = 0;
    }
}

void tune_salient(Tokenizer *tok, const Ids *x, char *salient) {
    size_t total, at = 0, n;
    char *text = need(tok_decode(tok, x->id, x->n, &total));
    char *mark = need(calloc(total + 1, 1));
    salient_bytes(text, total, mark);
    for (int i = 0; i < x->n; i++) {
        free(need(tok_decode(tok, x->id + i, 1, &n)));
        salient[i] = memchr(mark + at, 1, at + n <= total ? n : 0) != NULL;
        at += n;
    }
    free(text), free(mark);
}

/* ==== CaMeLS ================================================================================= */
#define CAMELS_HIDDEN 128
#define CAMELS_DOCS 6      /* documents of a step, each with a question                           */
#define CAMELS_ETA 5e-4f   /* of the inner step: plain gradient descent                           */

/* Body: the LM of a file; then d -> 128, GELU, -> 1, softplus.  The last layer begins at zero, so
 * that all weights begin at log(2)/3. */
Camels *camels_new(const Lab *l, const char *ending, int trained) {
    char err[MAC_ERR], path[512];
    Camels *c = need(calloc(1, sizeof *c));
    uint64_t rng = (uint64_t)l->seed + 7;
    lab_path(l, path, sizeof path, "models", ending);
    StFile *f = st_open(path, err);
    c->body = f ? model_load(f, err) : NULL;
    if (!c->body) die("%s", err);
    int d = c->body->c.d;
    c->w1 = need(param_new(&c->head, "weigher.fc.weight", 2, CAMELS_HIDDEN, d));
    c->b1 = need(param_new(&c->head, "weigher.fc.bias", 1, CAMELS_HIDDEN));
    c->w2 = need(param_new(&c->head, "weigher.out.weight", 2, 1, CAMELS_HIDDEN));
    c->b2 = need(param_new(&c->head, "weigher.out.bias", 1, 1));
    for (int i = 0; i < CAMELS_HIDDEN * d; i++)
        c->w1->data[i] = rng_normal(&rng) / (real)sqrt(3.0 * d);
    if (trained && params_load(&c->head, f, 0, err) != 0) die("%s", err);
    st_close(f);
    param_freeze(&c->body->ps, "", 1);
    if (!trained) param_freeze(&c->body->ps, LM, 0);
    return c;
}

void camels_free(Camels *c) {
    if (!c) return;
    model_free(c->body);
    params_free(&c->head);
    free(c);
}

int camels_save(const Camels *c, const char *path, char *err) {
    StWriter *w = need(st_new());
    if (model_save(c->body, w, 0) != 0 || params_save(&c->head, w, 0) != 0)
        die("%s: out of memory", path);
    return st_write(w, path, err);
}

/* [N,2] whose rows are 0 and 3 z: log-sum-exp of a row, over 3, is the weight softplus_3(z). */
static Tensor *camels_scores(Camels *c, Tape *tp, const Ids *x, int B) {
    int N = 0, n = 0, *row;
    for (int b = 0; b < B; b++) N += x[b].n;
    row = tape_alloc(tp, (size_t)N * sizeof *row);
    Tensor *h = lm_hidden(c->body, tp, x, B, NULL, NULL), *fold = tape_tensor(tp, 2, 1);
    if (!h || !row || !fold) return NULL;
    for (int b = 0, at = 0; b < B; at += x[b++].n) /* the weight of a token comes from its state */
        for (int i = 1; i < x[b].n; i++) row[n++] = at + i;
    Tensor *z = op_linear(tp, op_rows(tp, h, NULL, row, n), c->w1, c->b1, 0);
    z = op_linear(tp, op_act(tp, z, ACT_GELU_ERF), c->w2, c->b2, 0);
    fold->data[1] = 3;
    return op_linear(tp, z, fold, NULL, 0);
}

int camels_weights(Camels *c, Tape *tp, const Ids *x, int B, real *w) {
    int was = tape_record(tp, 0);
    TapeMark mark = tape_mark(tp);
    Tensor *s = camels_scores(c, tp, x, B);
    tape_record(tp, was);
    for (int i = 0; s && i < s->shape[0]; i++) {
        real z = s->data[2 * i + 1], positive = z > 0 ? z : 0;
        w[i] = (positive + exact_log(1 + exact_exp(z > 0 ? -z : z))) / 3;
    }
    tape_release(tp, mark); /* the weigher is done when the LM's step begins */
    return s ? 0 : -1;
}

/* A token's weight is worth influence[i] each: the loss sum_i influence[i] * w[i] teaches the
 * weigher.  eta is left out of it: Adam would not notice. */
static void camels_learn(Camels *c, Tape *tp, const Ids *x, const real *influence, int n) {
    static const real lr = (real)3e-4;
    static Adam body, head; /* one weigher is trained in a process */
    if (head.step == 0) body = adam_default(lr), head = adam_default(lr);
    tape_reset(tp);
    Tensor *scores = camels_scores(c, tp, x, CAMELS_DOCS);
    int *none = tape_alloc(tp, (size_t)n * sizeof *none); /* target 0, whose score is 0 */
    real *weight = tape_alloc(tp, (size_t)n * sizeof *weight);
    for (int i = 0; weight && i < n; i++) weight[i] = influence[i] / 3;
    Tensor *loss = scores && none && weight ? op_cross_entropy(tp, scores, none, weight) : NULL;
    if (tape_backward(tp, loss) != 0) die("CaMeLS: %s", tape_error(tp));
    adam_step(&c->body->ps, &body);
    adam_step(&c->head, &head);
}

typedef struct {
    int *id[2 * CAMELS_DOCS], from[CAMELS_DOCS];
    Ids x[CAMELS_DOCS], qa[CAMELS_DOCS];
} CamelsBatch;

static Ids kept(int **at, Ids x) { /* a copy that outlives the step */
    *at = need(malloc((size_t)x.n * sizeof **at));
    memcpy(*at, x.id, (size_t)x.n * sizeof **at);
    return (Ids){*at, x.n, x.doc};
}

static void camels_draw(Lab *l, Augment *aug, double anew, uint64_t *rng, CamelsBatch *b) {
    tape_reset(l->tp);
    for (int i = 0; i < CAMELS_DOCS;) {
        AugDoc d;
        int doc = rng_below(rng, l->train.n_docs), other = rng_below(rng, l->train.n_docs);
        if (aug_draw(aug, doc, l->train.docs[other].title, anew, anew, 0, rng, &d) != 0)
            die("out of memory");
        int k = d.n ? rng_below(rng, d.n) : 0;
        Ids x = reader_document(&l->reader, d.text);
        if (d.n && x.n > 1) {
            b->x[i] = kept(&b->id[2 * i], x);
            b->qa[i] = kept(&b->id[2 * i + 1], lab_pair(l, d.q[k], d.a[k], &b->from[i]));
            i++;
        }
        aug_drop(&d);
    }
}

/* Mean loss of the answers; its gradient goes into g. */
static real answers_loss(Lab *l, const CamelsBatch *b, real *g) {
    tape_reset(l->tp);
    char *asked[CAMELS_DOCS];
    for (int i = 0; i < CAMELS_DOCS; i++) {
        asked[i] = reader_room(&l->reader, b->qa[i].n, 1);
        memset(asked[i] + b->from[i], 1, (size_t)(b->qa[i].n - b->from[i]));
    }
    Tensor *loss = lm_loss(l->m, l->tp, b->qa, (const char *const *)asked, CAMELS_DOCS, NULL, 0);
    if (tape_backward(l->tp, loss) != 0) die("CaMeLS: %s", tape_error(l->tp));
    real value = loss->data[0];
    tune_copy(l->m, g, TUNE_TAKE_GRAD);
    return value;
}

/* One outer step.  The official code takes the documents one after another, six inner steps; here
 * they are one step, to first order the same, for which the influence is exact. */
real camels_step(Camels *c, Lab *l, const real *theta0, int restart, double anew) {
    static Augment *aug;
    static uint64_t rng;
    if (!aug) aug = need(aug_new(&l->train)), rng = (uint64_t)l->seed + 11;
    size_t size = tune_size(l->m);
    real *g = need(malloc(3 * size * sizeof *g)), *after = g + size, *theta = after + size;
    CamelsBatch b;
    int n = 0;
    if (restart) tune_copy(l->m, (real *)(uintptr_t)theta0, TUNE_LOAD);
    camels_draw(l, aug, anew, &rng, &b);
    for (int i = 0; i < CAMELS_DOCS; i++) n += b.x[i].n - 1;
    real *w = need(malloc(2 * (size_t)n * sizeof *w)), *influence = w + n;
    tape_reset(l->tp);
    if (camels_weights(c, l->tp, b.x, CAMELS_DOCS, w) != 0) die("%s", tape_error(l->tp));
    for (int i = 0, at = 0; i < CAMELS_DOCS; i++) /* the mean over a document's tokens */
        for (int k = 1; k < b.x[i].n; k++) w[at++] /= (real)(b.x[i].n - 1);
    tape_reset(l->tp);
    if (tape_backward(l->tp, tune_loss(l->m, l->tp, b.x, CAMELS_DOCS, w)) != 0)
        die("CaMeLS: %s", tape_error(l->tp));
    tune_copy(l->m, g, TUNE_TAKE_GRAD);
    tune_copy(l->m, theta, TUNE_SAVE);
    tune_move(l->m, g, -CAMELS_ETA);
    tune_copy(l->m, after, TUNE_SAVE);
    real loss = answers_loss(l, &b, g);
    tune_copy(l->m, theta, TUNE_LOAD); /* the influence is that of theta's losses */
    if (tune_influence(l->m, l->tp, b.x, CAMELS_DOCS, g, influence) != 0)
        die("%s", tape_error(l->tp));
    for (int i = 0, at = 0; i < CAMELS_DOCS; i++)
        for (int k = 1; k < b.x[i].n; k++) influence[at++] /= -(real)(b.x[i].n - 1);
    camels_learn(c, l->tp, b.x, influence, n);
    tune_copy(l->m, after, TUNE_LOAD);
    for (int i = 0; i < 2 * CAMELS_DOCS; i++) free(b.id[i]);
    free(g), free(w);
    return loss;
}

/* ==== from questions, and along the stream =================================================== */
/* Mean loss of n answers to training questions drawn at random, documents' names and answers drawn
 * anew with probability `anew`; aug NULL: to valid's from `first` on. */
#define VALID 512          /* questions of valid, spread over it                                 */
static Tensor *questions_loss(Lab *l, Augment *aug, double anew, uint64_t *rng, int first, int n) {
    tape_reset(l->tp);
    Ids *x = reader_room(&l->reader, n, sizeof *x);
    char **asked = reader_room(&l->reader, n, sizeof *asked);
    for (int i = 0; i < n;) {
        int from;
        AugDoc d = {.n = 1};
        const Qa *qa = aug ? NULL : &l->valid.qas[(int64_t)(first + i) * l->valid.n_qas / VALID];
        int doc = aug ? rng_below(rng, l->train.n_docs) : 0;
        int other = aug ? rng_below(rng, l->train.n_docs) : 0;
        if (aug && aug_draw(aug, doc, l->train.docs[other].title, anew, anew, 0, rng, &d) != 0)
            die("out of memory");
        if (d.n == 0) { aug_drop(&d); continue; }
        int k = aug ? rng_below(rng, d.n) : 0;
        x[i] = lab_pair(l, aug ? d.q[k] : qa->q, aug ? d.a[k] : qa->target, &from);
        asked[i] = reader_room(&l->reader, x[i].n, 1);
        memset(asked[i] + from, 1, (size_t)(x[i].n - from));
        aug_drop(&d);
        i++;
    }
    return lm_loss(l->m, l->tp, x, (const char *const *)asked, n, NULL, 0);
}

static double valid_loss(Lab *l) {
    double sum = 0;
    if (!l->valid.n_qas) die("%s: there is no question in valid", l->corpus);
    tape_record(l->tp, 0);
    for (int at = 0; at < VALID; at += 32) {
        Tensor *loss = questions_loss(l, NULL, 0, NULL, at, 32);
        if (!loss) die("%s", tape_error(l->tp));
        sum += (double)loss->data[0] * 32 / VALID;
    }
    tape_record(l->tp, 1);
    return sum;
}

typedef struct { double anew, loss; int step; real *theta; } Tuned; /* the best so far */

/* Until valid's loss has not fallen for four looks. */
static void tune_with(Lab *l, Augment *aug, double anew, Tuned *best) {
    Adam adam = adam_default((real)5e-4);
    uint64_t rng = (uint64_t)l->seed + 3;
    double lowest = INFINITY;
    int waited = 0, most = l->quick ? 200 : 1000;
    for (int step = 1; step <= most && waited < 4; step++) {
        if (tape_backward(l->tp, questions_loss(l, aug, anew, &rng, 0, 32)) != 0)
            die("%s", tape_error(l->tp));
        adam_step(&l->m->ps, &adam);
        if (step % 50) continue;
        double loss = valid_loss(l);
        lab_say(l, "QA tuning, drawn anew %g, step %d: loss on valid %.4f", anew, step, loss);
        waited = loss < lowest ? 0 : waited + 1;
        lowest = fmin(loss, lowest);
        if (!(loss < best->loss)) continue;
        best->anew = anew, best->loss = loss, best->step = step;
        tune_copy(l->m, best->theta, TUNE_SAVE);
    }
}

/* Questions and answers alone: the paper's baselines all start from an LM that was tuned in this
 * way.  With the training's true names and answers, or mostly drawn anew as MAC's are: what is
 * better on valid, for CaMeLS' training too. */
void tune_on_questions(Lab *l, Cell *c) {
    char path[512], err[MAC_ERR];
    Augment *aug = need(aug_new(&l->train));
    real *start = need(malloc(2 * tune_size(l->m) * sizeof *start));
    Tuned best = {0, valid_loss(l), 0, start + tune_size(l->m)};
    cell_put(c, "loss.before", best.loss);
    tune_copy(l->m, start, TUNE_SAVE);
    tune_copy(l->m, best.theta, TUNE_SAVE);
    for (int i = 0; i < 2; i++) {
        tune_copy(l->m, start, TUNE_LOAD);
        param_freeze(&l->m->ps, LM, 1); /* and moments at zero */
        param_freeze(&l->m->ps, LM, 0);
        tune_with(l, aug, i ? 0.8 : 0, &best);
    }
    tune_copy(l->m, best.theta, TUNE_LOAD);
    cell_put(c, "loss", best.loss);
    cell_put(c, "steps", best.step);
    cell_put(c, "anew", best.anew);
    lab_path(l, path, sizeof path, "models", ".qa.safetensors");
    StWriter *w = need(st_new());
    if (model_save(l->m, w, 0) != 0 || st_write(w, path, err) != 0) die("%s", path);
    free(start);
    aug_free(aug);
}

/* Weights of a document's tokens but the first, of which all together would weigh 1 each. */
static int token_weights(Lab *l, const Ids *x, Weigh kind, Camels *camels, real *w) {
    int n = x->n - 1, some = 0;
    char *salient = reader_room(&l->reader, x->n, 1);
    if (kind == WEIGH_SALIENT) tune_salient(l->reader.tok, x, salient);
    if (kind == WEIGH_CAMELS && camels_weights(camels, l->tp, x, 1, w) != 0)
        die("%s", tape_error(l->tp));
    for (int i = 0; i < n; i++) {
        if (kind == WEIGH_UNIFORM) w[i] = 1;
        if (kind == WEIGH_SALIENT) w[i] = salient[i + 1];
        some |= w[i] > 0;
        w[i] /= (real)n;
    }
    return some;
}

void tune_stream(Lab *l, const Corpus *c, int first, int last, Weigh kind, Camels *camels,
                 Adam *adam) {
    for (int i = first; i < last; i++) {
        tape_reset(l->tp);
        Ids x = reader_document(&l->reader, c->docs[i].text);
        real *w = reader_room(&l->reader, x.n, sizeof *w);
        if (x.n < 2 || !token_weights(l, &x, kind, camels, w)) continue;
        if (tape_backward(l->tp, tune_loss(l->m, l->tp, &x, 1, w)) != 0)
            die("%s", tape_error(l->tp));
        adam_step(&l->m->ps, adam);
    }
}
