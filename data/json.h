/* json.h - the JSON that corpora and tensors need.  The tree's strings are decoded inside the
 * caller's buffer (a decoded string is never longer than its source), so they live as long. */
#ifndef JSON_H
#define JSON_H
#include <stddef.h>
#include <stdio.h>

typedef enum { JSON_NULL, JSON_BOOL, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } JsonType;

typedef struct Json {
    JsonType type;
    char *key;                   /* its name when it is a member of an object                 */
    char *str;                   /* JSON_STRING: the string, UTF-8 that ends in NUL.  JSON_NUMBER:
                                    its first digit or sign in the caller's buffer; it ends where
                                    the number ends, without a NUL.  All other types: NULL    */
    struct Json *child, *next;   /* first element or member; next sibling                     */
} Json;

#define JSON_NUL 0xFF

typedef struct {                 /* owns the nodes; zeroed before use                         */
    struct JsonBlock *blocks;
    size_t n, limit;             /* values it holds, and may hold at most; limit 0: any number */
    int strict;                  /* 1: half a surrogate pair is an error, else it is U+FFFD;
                                    so is NUL, else it is this byte, which no UTF-8 has       */
    int nuls;                    /* how many of those there are                               */
} JsonPool;

/* Parses n bytes of valid UTF-8 without NUL; `line` is the number of its first line.  NULL, with
 * "line L, byte B: what was found and expected" in err (MAC_ERR bytes), when it is not JSON. */
Json *json_parse(JsonPool *pool, char *text, size_t n, int line, char *err);
Json *json_get(const Json *object, const char *key);         /* last of that name, or NULL    */
void  json_free(JsonPool *pool);
void  json_put(FILE *f, const char *s);                      /* in quotes; U+FFFD for bytes that
                                                                are no UTF-8: a model spells  */
void  plain_line(char *s);       /* '?' for each character that is not to be seen, and bytes that
                                    are none: one line that moves no cursor, whatever a hostile
                                    file put into it; all that a person is shown              */
int   utf8_put(char *out, unsigned code);                    /* number of bytes written, <= 4 */
int   utf8_len(const unsigned char *p, const unsigned char *end);    /* bytes of the character at
                                                                p, 0: invalid (overlong forms,
                                                                surrogates, > U+10FFFF too)   */
int   hex_read(const char *p, const char *end, int n);       /* n <= 8 hex digits as a code
                                                                point, -1 for anything else   */
#endif
