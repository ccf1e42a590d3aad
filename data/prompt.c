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

/* A digit or a Latin letter; those beyond ASCII are two bytes, the first C3 to CA. */
static int ends_in_word(const char *s, size_t n) {
    const unsigned char *p = (const unsigned char *)s + n;
    if (n > 1 && p[-1] >= 0x80) return p[-2] >= 0xC3 && p[-2] <= 0xCA;
    return n > 0 && p[-1] < 0x80 && (is_letter(p[-1]) || is_digit(p[-1]));
}

/* A question as corpora write it, however it was typed: no blanks around it, a capital first, and
 * "?" after a last word.  For "where" is another token than "Where", and a finder that never saw it
 * in training takes the wrong document of many. */
int prompt_question(Tokenizer *t, const char *text, int *ids, int cap, int *cut) {
    while (is_space(*text)) text++;
    size_t n = strlen(text);
    while (n > 0 && is_space(text[n - 1])) n--;
    char *q = malloc(n + 2);
    if (!q) return -1;
    memcpy(q, text, n);
    if (n > 0 && is_small(*q)) *q = (char)(*q - 32);
    if (ends_in_word(q, n)) q[n++] = '?';
    q[n] = 0;
    int made = put(t, "", q, -1, ids, cap, cut);
    free(q);
    return made;
}

int prompt_answer(Tokenizer *t, const char *text, int *ids, int cap, int *cut) {
    return put(t, " ", text, tok_eos(t), ids, cap, cut);
}
