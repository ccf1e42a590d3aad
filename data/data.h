/* data.h - text into token ids and back, and what surrounds it.  Knows libc, no tensor, no model.
 * Nothing here prints or exits but program.c: a function that can fail returns -1 (or NULL) and
 * leaves a sentence in `err`, which the caller provides (MAC_ERR bytes).  All strings are UTF-8.
 *
 *   corpus.c     documents and questions from JSON Lines, SQuAD, csv and plain text files
 *   json.c       the JSON that those files need          csv.c    the csv that they need
 *   tokenizer.c  byte-level BPE
 *   prompt.c     document, question and answer as the model reads them
 *   score.c      strict EM, the paper's prefix EM, F1; sums of them by relation
 *   bm25.c       which documents share their words with a question
 *   people.c     a generator of synthetic people   people_words.h   its words and sentences
 *   augment.c    training documents renamed and re-answered, so that only memory can answer
 *   svg.c        line and bar charts, pages of heat maps
 *
 * The other headers of data/: base.h is what every file needs, store.h the tensors in files and the
 * memory bank, file.h how files are written, system.h the clock, program.h what programs share:
 * messages, options, ids of texts.                                                             */
#ifndef DATA_H
#define DATA_H
#include "base.h"

/* ---- corpus.c: documents and their questions ---- */
typedef struct {
    char *q;                 /* the question                                                  */
    char **a;                /* [n_a] accepted answers, trimmed, none empty                   */
    int n_a;
    const char *target;      /* one of a[]: what the model is trained to answer               */
    char *rel;               /* relation name, "" when the corpus has none                    */
    char *kind;              /* what it tries, as a score of its own; "" when not said.  Member
                                "kind" in .jsonl, beside q, a and rel                         */
    int doc;                 /* index of the document that answers it                         */
} Qa;

typedef struct {
    char *id, *title, *text; /* id is made from the text's hash when the file gives none      */
    uint64_t hash;           /* text_hash of the text                                         */
    int *qas, n_qas;         /* [n_qas] indices into Corpus.qas                               */
} Doc;

typedef struct {
    Doc *docs; int n_docs;   /* equal texts are one document                                  */
    Qa *qas;   int n_qas;    /* in file order                                                 */
    int n_skipped;           /* rows left out: no question, text or answer, too many cells, NUL */
    char skipped[MAC_ERR];  /* why the first of them was, with its line                      */
    int *slot; size_t n_slots; /* hash table of the texts: an index into docs, -1: free       */
} Corpus;

/* Appends the documents of one file to c (zeroed before first use).  The kind is told by the
 * name: .jsonl or .ndjson, .json (SQuAD), .csv (StreamingQA, ArchivalQA, SQuAD as HuggingFace
 * writes it, told apart by their columns), anything else is plain text, one document a file; or by
 * `format`: "jsonl", "json", "csv", "txt", or "paragraphs", plain text with a document per
 * paragraph (blank lines between them).  NULL: by the name.  Path "-" is standard input, and needs
 * a format.  0, or -1 with the reason in err and c unchanged. */
int  corpus_read(Corpus *c, const char *path, char *err);
int  corpus_read_as(Corpus *c, const char *path, const char *format, char *err);
int  corpus_add(Corpus *c, const char *title, const char *text);     /* one document: its index */
void corpus_free(Corpus *c);

/* A file a batch at a time, for files larger than memory.  Only .jsonl is read that way, a line
 * at a time; of any other kind the first batch is the whole file, whatever n is.  An error in
 * a file shows when its line is reached: the batches before it have been handed out by then. */
typedef struct CorpusReader CorpusReader;
CorpusReader *corpus_open(const char *path, const char *format, char *err); /* NULL: see err    */
/* Empties c and fills it with the next n >= 1 documents: how many, equal texts being one; 0 at
 * the end, -1: see err, then only corpus_close makes sense.  c->n_skipped and c->skipped count
 * from the start of the file, and hold when 0 or -1 is returned too. */
int  corpus_next(CorpusReader *r, Corpus *c, int n, char *err);
void corpus_close(CorpusReader *r);              /* NULL is fine                              */

/* ---- tokenizer.c: byte-level BPE; ids 0..255 are the bytes, then the merges, last the EOS ---- */
typedef struct Tokenizer Tokenizer;
Tokenizer *tok_train(const char *const *texts, int n_texts, int n_vocab);  /* never fails but by
                                                 memory (NULL); may end below n_vocab         */
int   tok_size(const Tokenizer *t);              /* V, the EOS included                       */
int   tok_eos(const Tokenizer *t);               /* V - 1                                     */
int   tok_encode(Tokenizer *t, const char *text, size_t n, int *ids, int cap); /* number of ids
                                                 that the text has; at most cap are written   */
char *tok_decode(const Tokenizer *t, const int *ids, int n, size_t *n_bytes); /* malloc'd, ends
                                                 in NUL; EOS ends the text                    */
char *tok_dump(const Tokenizer *t);              /* merges as text "a b\n...", malloc'd       */
Tokenizer *tok_load(const char *dump, char *err);/* NULL when dump is not what tok_dump makes */
void  tok_free(Tokenizer *t);

/* ---- prompt.c: what the model reads.  ids[cap]; the number of ids, -1: out of memory; what is
 * longer is cut at its end, and *cut counted up ---- */
int   prompt_document(Tokenizer *t, const char *text, int *ids, int cap, int *cut); /* ends in \n */
int   prompt_question(Tokenizer *t, const char *text, int *ids, int cap, int *cut); /* a capital
                                                 first, "?" after a last word, as corpora do    */
int   prompt_answer(Tokenizer *t, const char *text, int *ids, int cap, int *cut);   /* " ", EOS  */
typedef int (*Prompt)(Tokenizer *t, const char *text, int *ids, int cap, int *cut);

/* ---- score.c: SQuAD's normalisation (with Python's letters: unicode.h, generated) and three
 * scores, best over the accepted answers ---- */
char *score_normalize(const char *s);            /* malloc'd                                  */
int   score_em(const char *pred, char *const *a, int n_a);         /* 1: equal when normalised */
int   score_em_prefix(const char *pred, const char *target);       /* MAC's, see NOTES.md     */
double score_f1(const char *pred, char *const *a, int n_a);
typedef struct { int n, em, prefix; double f1; } Score;            /* sums over n questions   */
typedef struct { const char *rel; double sure; int known, right; } SureCase;
/* The share of pairs of a known and an unknown case (within: of one relation) whose known one is
 * surer, ties count half; NaN: there is no pair.  Sorts the cases, the surest last. */
double score_auroc(SureCase *c, int n, int within);
typedef struct { const char *rel; Score s; } RelScore;
typedef struct { RelScore *of; int n; } RelScores;                  /* of is malloc'd          */
void  score_add(Score *s, const Qa *qa, const char *pred);
Score *score_rel(RelScores *r, const char *rel); /* made where it is missing; NULL: no memory;
                                                 holds until the next one is made             */
/* Closed and open relations: one is open when more than a quarter of the answers that `asked` asks
 * for are new to it, that is, were no answer of the same relation in `train`. */
enum { QA_OPEN = 1, QA_UNSEEN = 2 };             /* its relation is open; its answer is new   */
unsigned char *score_split(const Corpus *asked, const Corpus *train);  /* [n_qas], malloc'd,
                                                 NULL: out of memory                          */

/* ---- bm25.c ---- */
typedef struct Bm25 Bm25;
Bm25 *bm25_new(const Corpus *c);                 /* NULL: out of memory; c is no longer needed */
int   bm25_top(const Bm25 *b, const char *question, int k, int *doc);  /* the k best, best first,
                                                 the earlier of two alike: how many share a word
                                                 with the question; -1: out of memory         */
void  bm25_free(Bm25 *b);

/* ---- people.c ---- */
/* Writes train.jsonl, valid.jsonl and test.jsonl into dir (made if absent).  No two documents are
 * of one name.  Names of valid are made up like those of training, but nearly half share a part
 * with the one before; names of test are real ones, and no part of one occurs in the others.  The
 * kinds of test's questions are in people.c. */
int  people_write(const char *dir, int n_train, uint64_t seed, char *err);

/* ---- augment.c: one training document, perhaps under another name and with other answers ---- */
typedef struct Augment Augment;
Augment *aug_new(const Corpus *train);           /* keeps a pointer to train                  */
typedef struct {
    char *title, *text, **q, **a;                /* q[n], a[n]: questions and their targets   */
    int n;
    void *block;                                 /* everything above in one malloc            */
} AugDoc;
/* Draws: with probability p_name the title is replaced by `title` (NULL: never), and with
 * probability p_answer, each answer by another of its relation, or, of p_made of them, by one that
 * is made up: of the halves of two, or a number with other digits.  In text, questions and answers
 * alike, whole words only, never where spans overlap.  rng is the state of
 * rng_next, the caller's.  p_name = p_answer = 0 returns the document as it is. */
int  aug_draw(const Augment *g, int doc, const char *title, double p_name, double p_answer,
              double p_made, uint64_t *rng, AugDoc *out);        /* 0, or -1 out of memory   */
/* Every fifth question in small letters, names too, as many people type. */
void aug_careless(AugDoc *d, uint64_t *rng);
void aug_drop(AugDoc *d);
/* A title to give to aug_draw: one of the corpus, or, of `made` of them, one that is made up in
 * room[n]: a quarter of these are a capitalised mention from a text, the others one title's
 * beginning and another's end, half of them with some letters exchanged.  A few names would be
 * learned by heart, and no others found. */
const char *aug_name(const Augment *g, double made, uint64_t *rng, char *room, size_t n);
/* A namesake of `like`, in room[n]: "Mia Rossi" becomes "Ada Rossi" or "Mia Lee" beside "Ada Lee".
 * Where either is a single word it is name itself; it may be `like` too. */
const char *aug_namesake(const char *name, const char *like, uint64_t *rng, char *room, size_t n);
void aug_free(Augment *g);

/* ---- svg.c ---- */
typedef struct {
    const char *name;
    const double *x, *y;
    int n, share;            /* share: drawn against the right axis, from 0 to 1               */
} SvgLine;
int  svg_lines(const char *path, const char *title, const char *xlabel, const char *ylabel,
               const SvgLine *lines, int n_lines, char *err);
int  svg_bars(const char *path, const char *title, const char *ylabel, const char *const *names,
              const double *values, int n, double ymax, char *err);
/* A page of panels one below another, as an .svg, or, if path ends so, as .html, where the meaning
 * of its words stands below it. */
typedef struct SvgPage SvgPage;
typedef struct {
    const char *const *rows, *const *columns;    /* names; NULL: none, all or some            */
    int n_rows, n_columns, group;                /* so many columns to a box, 0: all          */
    double wide, high;                           /* of a cell                                 */
    const double *share;                         /* [n_rows][n_columns] 0 to 1, logarithmic   */
} SvgHeat;
SvgPage *page_begin(const char *path, const char *title, char *err);      /* NULL: see err    */
void     page_say(SvgPage *p, const char *text, int size);       /* letters > 12: a heading    */
void     page_scale(SvgPage *p);                 /* what a cell's colour means                */
void     page_heat(SvgPage *p, const SvgHeat *h);
/* names[n][columns] with shares 0 to 1 */
void     page_bars(SvgPage *p, const char *const *names, const double *shares, int n, int columns);
int      page_end(SvgPage *p, const char *const (*words)[2], char *err);  /* words and meanings,
                                                 up to NULL.  Frees p                         */
#endif
