/* file.h - files that are written whole or not at all, and by one program at a time.  What is
 * written stands beside its place, as PATH.mac-part, until it is whole; that file is the lock. */
#ifndef FILE_H
#define FILE_H
#include <stdint.h>
#include <stdio.h>

typedef struct FileOut FileOut;
FileOut *file_begin(const char *path, char *err);    /* NULL: see err, also when it is locked */
FILE *file_stream(FileOut *o);                       /* to be written to                      */
/* Puts the file in its place, if all went well and the file that was there when it was begun or
 * locked is still there, unchanged; `failed` says what else went wrong (NULL: nothing).  Mode and
 * owner stay where the system lets them.  Frees o. */
int  file_end(FileOut *o, const char *failed, char *err);
void file_abort(FileOut *o);                         /* the old file stays as it was; frees o */
/* From now on nobody else writes to path, until it is begun and ended here or this program ends. */
int  file_lock(const char *path, char *err);
int  file_absent(const char *path);                  /* 1: the system says that there is none */
FILE *file_open(const char *path, char *err);        /* to be read: a regular file            */
uint64_t file_state(FILE *f);                        /* another when it was changed; 0: not known */

/* A program begins with it.  What was begun or locked is gone after every ending but SIGKILL; a
 * limit of files is no ending (SIGXFSZ), nor do messages go into a file because stderr was closed.
 * Where a file that is read in place is cut short (SIGBUS), `words` go to stderr and the status is
 * 1.  -1: see err. */
int  file_guard(const char *words, char *err);
#endif
