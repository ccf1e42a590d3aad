/* prompt.c - what the model reads: a document, a question, an answer as token ids.
 * A document ends in a line break and an answer begins with a blank, so that one may stand before
 * the other in the LM's context as the tokenizer would have cut them. */
#include "data.h"
#include <stdlib.h>
#include <string.h>

/* Ids of `before` + text, cut to cap, then `last` unless it is negative.  The number of ids. */
static int put(Tokenizer *t, const char *before, const char *text, int last, int *ids, int cap,
               int *cut) {
    size_t nb = strlen(before), nt = strlen(text);
    char *whole = malloc(nb + nt + 1);
    if (!whole) return -1;
    memcpy(whole, before, nb);
    memcpy(whole + nb, text, nt + 1);
    int room = cap - (last >= 0), n = tok_encode(t, whole, nb + nt, ids, room);
    free(whole);
    if (n > room) *cut += 1;
    if (n > room) n = room;
    if (last >= 0) ids[n++] = last;
    return n;
}

int prompt_document(Tokenizer *t, const char *text, int *ids, int cap, int *cut) {
    return put(t, "", text, '\n', ids, cap, cut);
}
int prompt_question(Tokenizer *t, const char *text, int *ids, int cap, int *cut) {
    return put(t, "", text, -1, ids, cap, cut);
}
int prompt_answer(Tokenizer *t, const char *text, int *ids, int cap, int *cut) {
    return put(t, " ", text, tok_eos(t), ids, cap, cut);
}
