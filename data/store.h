/* store.h - tensors in files, and the memory bank, which is kept in such a file: bytes and floats.
 * What they mean is the model's, and no model is known here.  What can fail returns -1 or NULL and
 * leaves one sentence in `err`, which has MAC_ERR bytes.  Nothing here prints or exits. */
#ifndef STORE_H
#define STORE_H
#include "base.h"

/* ---- safetensors.c: tensors in files ---- */
typedef struct StFile StFile;                    /* a safetensors file                           */
StFile *st_open(const char *path, char *err);    /* header read and checked, NULL: see err       */
void    st_close(StFile *f);
const char *st_meta(const StFile *f, const char *key);           /* NULL when absent             */
int     st_fail(const StFile *f, char *err, const char *format, ...);    /* -1, "path: ..."   */
int     st_count(const StFile *f);
const char *st_info(const StFile *f, int i, const char **dtype, int *ndim, const int64_t **shape);
int     st_find(const StFile *f, const char *name);              /* its index, -1: absent        */
int64_t st_size(const StFile *f, const char *name);              /* numbers in it, -1: absent    */
int     st_read(StFile *f, const char *name, real *to, int64_t n, char *err);    /* F32 and F64  */
int     st_read_bytes(StFile *f, const char *name, void *to, int64_t n, char *err); /* U8, F16  */
int     st_read_shaped(StFile *f, const char *name, real *to, int ndim, const int *shape,
                       char *err);               /* NaN and infinity are refused                 */
void   *st_map(StFile *f, const char *name);     /* its bytes in place, until st_close; what is
                                                    written there does not reach the file.  NULL:
                                                    they are not as this machine has them, or it
                                                    maps no files: read them                     */
int     st_check(StFile *f, char *err);          /* reads it all: its checksum, if it has one    */
int     st_unchanged(const StFile *f, char *err);        /* since it was opened                  */
uint16_t half_of(real x);                        /* IEEE half precision, nearest                 */
void    half_read(real *to, const unsigned char *from, size_t n);        /* n halves of a file   */

typedef struct StWriter StWriter;
StWriter *st_new(void);
void    st_add_meta(StWriter *w, const char *key, const char *value);    /* the last one counts  */
void    st_add(StWriter *w, const char *name, const real *data, int ndim, const int *shape);
void    st_add_bytes(StWriter *w, const char *name, const void *data, int n);
int     st_write(StWriter *w, const char *path, char *err);      /* whole or not at all; frees w */
/* The same in pieces, for tensors that memory does not hold: sizes added may be upper bounds, the
 * numbers follow in order, and st_rows says in the end how many rows there were. */
void    st_add_as(StWriter *w, const char *name, const char *dtype, const void *data, int ndim,
                  const int *shape);
int     st_begin(StWriter *w, const char *path, char *err);      /* -1: see err, w is freed      */
void    st_put(StWriter *w, const void *bytes, size_t n);
void    st_put_reals(StWriter *w, const real *x, size_t n);
void    st_rows(StWriter *w, int i, int rows);                   /* of the i-th tensor added     */
int     st_end(StWriter *w, char *err);                          /* frees w                      */
void    st_abort(StWriter *w);                                   /* nothing is written; frees w  */

/* ---- bank.c: the memory bank [E2] ---- */
typedef struct { const char *id, *title; uint64_t hash; } BankEntry;
typedef struct {
    int K, T, d;
    int half;                                    /* phi has half precision: read it by bank_read */
    int weak;                                    /* of an older version: see bank_key            */
    real *phi;                                   /* [K,T,d]; of a loaded bank it lies in the file*/
    char *text; size_t text_n;                   /* the entries: K times id, title, hash         */
    uint64_t model, tokens;                      /* fingerprint of the model that made phi, hash
                                                    of its tokenizer's merges (0: not recorded)  */
    StFile *file; StWriter *out;                 /* where it comes from, where it grows to; NULL */
    int phi_mapped;                              /* 0: memory of our own, with room for cap_     */
    size_t cap_phi, cap_text, cap_seen, n_seen;
    uint64_t *seen;                              /* table of the hashes                          */
} Bank;
Bank    *bank_new(int T, int d, uint64_t model);                 /* NULL: out of memory          */
void     bank_free(Bank *b);
uint64_t bank_key(const Bank *b, const char *text);      /* the hash that stands for a text:
                                                    SipHash; in a weak bank text_hash, of which
                                                    two texts with the same are easily made      */
int      bank_add(Bank *b, const char *id, const char *title, uint64_t hash, const real *phi);
                                                 /* 1 added, 0 held (same hash), -1 memory       */
int      bank_find(const Bank *b, const char *id);               /* index or -1                  */
const char *bank_next(const Bank *b, const char *at, BankEntry *e);      /* entries in order, from
                                                    at = NULL on; NULL at the end                */
int      bank_remove(Bank *b, const char *id);   /* all of that id: 0, or -1: no such document   */
int      bank_forget(Bank *b, const char **ids, int n, const char **absent); /* all of these ids,
                                                    which it sorts; -1: nothing is forgotten,
                                                    *absent is not held, or NULL: out of memory  */
void     bank_cut(Bank *b, const char *gone);    /* cuts document i out where gone[i]; not while
                                                    the bank grows                               */
void     bank_read(const Bank *b, int first, int n, real *to);   /* [n,T,d] as reals             */
int      bank_grow(Bank *b, const char *path, char *err);        /* from now on what is added goes
                                                    to the file, not to memory, until bank_save  */
int      bank_save(Bank *b, const char *path, char *err);
Bank    *bank_load(const char *path, char *err);
Bank    *bank_load_whole(const char *path, char *err);   /* reads it all and compares it with its
                                                    checksum; a weak one by bank_check           */
const char *bank_misfit(const Bank *b, int T, int d, uint64_t model, uint64_t tokens);
                                                 /* NULL, or why this model cannot use it        */
int      bank_check(const Bank *b, const char *path, char *err); /* -1: an entry's vectors are no
                                                    numbers                                      */
#endif
