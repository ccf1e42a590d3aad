/* base.h - what every file may need and knows nothing of the others: the type of numbers, the room
 * for a message, ids of tokens, hashes, random bits, classes of characters. */
#ifndef BASE_H
#define BASE_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef MAC_DOUBLE
typedef double real;
#else
typedef float real;
#endif

#define MAC_ERR 512        /* bytes of an error message: what `err` points to, everywhere         */

typedef struct { const int *id; int n, doc; } Ids; /* n token ids, the first `doc` of them those of
                            a document: where they stand when the LM reads them, lm_hidden says  */

/* FNV-1a of 64 bits, of bytes and of a text.  Quick, but two texts of one hash are easily made. */
#define MAC_FNV 0xcbf29ce484222325u              /* the hash of no bytes: begin with it           */
static inline uint64_t fnv1a(uint64_t hash, const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    for (size_t i = 0; i < n; i++) hash = (hash ^ p[i]) * 0x100000001b3u;
    return hash;
}
static inline uint64_t text_hash(const char *text) { return fnv1a(MAC_FNV, text, strlen(text)); }

/* Takes a word of 64 bits into a hash: a checksum of larger things, made faster than by bytes. */
static inline uint64_t hash_word(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
}

/* splitmix64: a counter, scrambled.  The state is the caller's; one call, one draw. */
static inline uint64_t scrambled(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}
static inline uint64_t rng_next(uint64_t *state) {
    return scrambled(*state += 0x9e3779b97f4a7c15u);
}

/* Classes of bytes, the same in every locale: libc's follow the user's. */
static inline int is_digit(unsigned char c) { return c >= '0' && c <= '9'; }
static inline int is_small(unsigned char c) { return c >= 'a' && c <= 'z'; }
static inline int is_capital(unsigned char c) { return c >= 'A' && c <= 'Z'; }
static inline int is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
/* Every byte of a character beyond ASCII counts as a letter. */
static inline int is_letter(unsigned char c) { return is_small(c) || is_capital(c) || c >= 0x80; }
static inline unsigned char to_small(unsigned char c) { return is_capital(c) ? c + 32 : c; }
#endif
