/* batches.c - see batches.h. */
#define main train_main
#define mac_loss recorded_mac
#define lm_loss recorded_lm
#include "batches.h"
#include "data/json.h"
#include "train.c"

static Drawn drawn;
static Training t;

Tensor *recorded_mac(Model *m, Tape *tp, const MacBatch *b, MacStats *stats) {
    (void)m, (void)tp;
    *stats = (MacStats){0};
    drawn.mac = *b;
    return NULL;
}

Tensor *recorded_lm(Model *m, Tape *tp, const Ids *x, const char *const *asked, int B,
                    Tensor *prefix, int alike) {
    (void)m, (void)tp, (void)prefix, (void)alike;
    drawn.x = x, drawn.asked = asked, drawn.B = B;
    return NULL;
}

static void put_member(FILE *f, const char *before, const char *value) {
    fputs(before, f);
    json_put(f, value);
}

static void write_corpus(const Draws *d, const char *path) {
    FILE *f = fopen(path, "wb");
    if (!f) die("%s: cannot be written", path);
    for (int k = 0; k < d->n_docs; k++) {
        put_member(f, "{\"title\":", d->title[k]);
        put_member(f, ",\"text\":", d->text[k]);
        fputs(",\"qas\":[", f);
        for (int i = 0, n = 0; i < d->n_qas; i++) {
            if (d->doc[i] != k) continue;
            put_member(f, n++ ? ",{\"q\":" : "{\"q\":", d->q[i]);
            put_member(f, ",\"a\":[", d->a[i]);
            fputs("]}", f);
        }
        fputs("]}\n", f);
    }
    fclose(f);
}

Drawn batch_draw(Draws *d, int lm, const char *scratch) {
    char path[MAC_ERR];
    MacStats stats;
    snprintf(path, sizeof path, "%s/vectors.jsonl", scratch);
    write_corpus(d, path);
    t = (Training){.rng = d->rng, .tape = need(tape_new(0))};
    need_corpus(&t.train, path, NULL);
    remove(path);
    opt = (Options){.batch_lm = d->batch_lm, .docs = d->docs, .questions = d->questions,
                    .group = d->group, .drop = d->drop, .guidance = 1};
    t.aug = need(aug_new(&t.train));
    t.model = need(calloc(1, sizeof *t.model));
    t.model->c.S = d->S;
    t.reader = (Reader){need(tok_train(NULL, 0, 257)), 1000, 1000, 1000, t.tape, tape_alloc, 0};
    if (lm) lm_batch_loss(&t);
    else mac_batch_loss(&t, &stats);
    d->rng = t.rng;
    return drawn;
}

void batch_free(void) {
    tok_free(t.reader.tok);
    free(t.model);
    aug_free(t.aug);
    corpus_free(&t.train);
    tape_free(t.tape);
}
