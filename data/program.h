/* program.h - what programs share: how they end, their messages, their options, and how they turn
 * text into ids.  Programs alone may include it (train.c, run.c, those of tests/): it is the one
 * file of data/ that prints and exits. */
#ifndef PROGRAM_H
#define PROGRAM_H
#include "data.h"
#include "store.h"

/* ---- messages: each a visible line on stderr, whatever a file or a name had in it ---- */
void program_begin(const char *name);            /* first of all: what stands before the messages;
                                                    its files are guarded, see file_guard        */
void note(const char *format, ...);
_Noreturn void die(const char *format, ...);     /* status 1                                     */
_Noreturn void usage(const char *format, ...);   /* the command line is wrong: status 2          */

/* ---- what a program cannot go on without: these end it with a message ---- */
void *need(void *p);                             /* p; NULL: out of memory                       */
char *need_copy(const char *text);               /* malloc'd                                     */
StFile *need_file(const char *path);             /* st_open                                      */
void  need_corpus(Corpus *c, const char *path, const char *format);      /* corpus_read_as       */
void  note_skipped(const Corpus *c, const char *path);   /* a note, if rows of it were left out  */

/* ---- arguments: words, --name value, --name=value; after -- there are only words ---- */
typedef struct {
    char **next;                                 /* those to come, to begin with argv + 1        */
    char *arg, *value;                           /* this one; what stands after its '=', or NULL */
    size_t n;                                    /* bytes of this one before the '='             */
    int only_words;                              /* "--" was seen                                */
} Args;
int   args_next(Args *a);                        /* 0: there is none                             */
int   args_is_word(const Args *a);               /* "-" is one                                   */
int   args_is(const Args *a, const char *name);  /* the option --name                            */
int   args_is_help(const Args *a);               /* --help or -h                                 */
char *args_value(Args *a);                       /* its value, which may be the next argument    */
int   is_number(const char *text, double least, double most, double *x);  /* all of it, in these
                                                    bounds; NaN never is                         */

/* ---- text to ids, in an arena of which only the name is known here: a Tape and tape_alloc ---- */
typedef struct {
    Tokenizer *tok;
    int D, Q, A;                                 /* most ids of a document, question, answer     */
    struct Tape *arena;
    void *(*alloc)(struct Tape *arena, size_t bytes);
    int cut;                                     /* how often a text had more, and was cut       */
} Reader;
Ids   reader_document(Reader *r, const char *text);
Ids   reader_question(Reader *r, const char *text);
Ids   reader_answer(Reader *r, const char *text);
Ids   reader_joined(Reader *r, Ids a, Ids b);    /* those of a, then those of b                  */
void *reader_room(Reader *r, int n, size_t size);/* n things of that size, as the arena gives
                                                    them; NULL: the program ends                 */
Tokenizer *tokenizer_of(const StFile *f, int V, char *err);       /* of a model file, whose
                                                    model has V tokens; NULL: see err            */
#endif
