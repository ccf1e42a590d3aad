/* batches.h - a batch as train.c draws it, in tokens.  batches.c has train.c in itself, but for its
 * losses: what would be learned from is handed out instead. */
#ifndef BATCHES_H
#define BATCHES_H
#include "mac.h"

typedef struct {
    const char **title, **text, **q, **a; /* documents; questions and their answers */
    const int *doc;                       /* [n_qas] the document that answers */
    int n_docs, n_qas;
    int S, docs, questions, group, batch_lm;
    double drop;
    uint64_t rng;                         /* the state before the batch, and then after it */
} Draws;
typedef struct {
    MacBatch mac;                         /* of the stage mac */
    const Ids *x;                         /* [B] of the stage lm */
    const char *const *asked;
    int B;
} Drawn;
/* Of the stage lm where `lm` is set.  Nothing is renamed or re-answered.  SCRATCH: a folder. */
Drawn batch_draw(Draws *d, int lm, const char *scratch);
void  batch_free(void);                   /* what the last batch_draw handed out */
#endif
