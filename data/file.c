/* file.c - how files are opened, locked, written and put in place.
 *
 * What always holds: whoever opens PATH finds the old file or the new one, and finds it whole, at
 * every moment and after every ending of the writer, SIGKILL included.  And of two that would write
 * PATH at the same time, the second is refused.
 *
 * It holds because nobody writes to PATH.  A writer makes PATH.mac-part, which the system lets only
 * one program make, locks it, writes to it, waits until it is on disk and renames it to PATH, which
 * the system does in one step.  So the file to come is itself the lock.  A writer that was killed
 * leaves it there, but not locked: by that the next one knows that it may remove it.  All other
 * endings remove it, for every file that is being written is in the list `writing`.  Programs that
 * are not ours do not know the lock.  So PATH must be, right before the renaming, what it was when
 * the lock was taken; else nothing is written. */
#if defined(__unix__) || defined(__APPLE__)
#define _XOPEN_SOURCE 700
#endif
#include "file.h"
#include "base.h"
#include "json.h"
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct FileOut {
    FILE *f;                   /* NULL: closed                                                 */
    char *given, *path, *part; /* its name; its place, links followed; where it is written     */
    uint64_t was;              /* state of the file that it replaces, 0: there was none        */
    int locked;                /* by file_lock: file_begin will find it                        */
    volatile int made;         /* part is there, and ours: an ending removes it                */
    FileOut *next;
};
static const char *last_words; /* on SIGBUS                                                    */
static FileOut *volatile writing; /* all of them, for every ending                             */

static int fail(char *err, const char *path, const char *format, ...) {
    int n = snprintf(err, MAC_ERR, "%.250s: ", path);
    va_list args;
    va_start(args, format);
    vsnprintf(err + n, (size_t)(MAC_ERR - n), format, args);
    va_end(args);
    plain_line(err);
    return -1;
}

static char *joined(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b) + 1;
    char *s = malloc(n + m);
    if (s) memcpy(s, a, n), memcpy(s + n, b, m);
    return s;
}

#define UNWRITABLE "cannot be written (%s): is there such a folder, and may you write to it?"
#define STACK_NEEDED (256 << 10)
#define BUSY "another program is writing it at this moment; try again when it has ended"

/* ==== platform =============================================================================== */
#if defined(__unix__) || defined(__APPLE__)
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t state_of(const struct stat *s) {
#ifdef __APPLE__
    long part = s->st_mtimensec;
#else
    long part = s->st_mtim.tv_nsec;
#endif
    const uint64_t field[5] = {(uint64_t)s->st_dev, (uint64_t)s->st_ino, (uint64_t)s->st_size,
                               (uint64_t)s->st_mtime, (uint64_t)part};
    uint64_t hash = 1;
    for (int i = 0; i < 5; i++) hash = hash_word(hash, field[i]);
    return hash | 1;
}

uint64_t file_state(FILE *f) {
    struct stat s;
    return fstat(fileno(f), &s) == 0 ? state_of(&s) : 0;
}

int file_absent(const char *path) {
    struct stat s;
    return stat(path, &s) != 0 && errno == ENOENT;
}

FILE *file_open(const char *path, char *err) {
    struct stat s;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe must not wait */
    FILE *f = NULL;
    if (fd >= 0 && fstat(fd, &s) == 0 && !S_ISREG(s.st_mode))
        fail(err, path, "this is no regular file");
    else if (fd < 0 || !(f = fdopen(fd, "rb")))
        fail(err, path, "cannot be opened (%s): is the name right, and may you read it?",
             strerror(errno));
    if (fd >= 0 && !f) close(fd);
    return f;
}

/* Its place, and what stands there: nothing, or a regular file that may be written to. */
static int find_place(FileOut *o, const char *path, char *err) {
    struct stat s;
    o->path = realpath(path, NULL);
    if (!o->path && errno == ENOENT) { /* a link to nothing is no place */
        if (lstat(path, &s) != 0 && errno == ENOENT && !(o->path = joined(path, "")))
            errno = ENOMEM;
        return o->path ? 0 : fail(err, path, UNWRITABLE, strerror(errno));
    }
    if (!o->path || stat(o->path, &s) != 0) return fail(err, path, UNWRITABLE, strerror(errno));
    if (!S_ISREG(s.st_mode)) return fail(err, path, "cannot be written: this is no regular file");
    if (!(s.st_mode & 0222) || access(o->path, W_OK) != 0)
        return fail(err, path, "cannot be written: it is there for reading only");
    o->was = state_of(&s);
    return 0;
}

/* Makes the file beside the place and locks it.  Another may see it between the two, and take it
 * for what a killed program left: hence the look, under the lock, whether its name is still its. */
static FILE *open_part(FileOut *o, char *err) {
    for (int tries = 0; tries < 100; tries++) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        struct stat mine, named;
        int fd = open(o->part, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, o->was ? 0600 : 0666);
        int left = fd < 0 && errno == EEXIST;
        o->made = fd >= 0;
        if (left) fd = open(o->part, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && left && errno == ENOENT) continue;
        if (fd < 0) {
            fail(err, left ? o->part : o->path, UNWRITABLE, strerror(errno));
            return NULL;
        }
        if (fcntl(fd, F_SETLK, &whole) != 0) { /* no locks here: that it is there is one */
            int busy = errno == EAGAIN || errno == EACCES;
            FILE *f = left || busy ? NULL : fdopen(fd, "w+b");
            if (f) return f;
            if (busy) o->made = 0; /* who holds it removes it */
            close(fd);
            if (left && !busy) fail(err, o->part, "this is in the way, left by a killed program?");
            else fail(err, o->path, BUSY);
            return NULL;
        }
        int same = fstat(fd, &mine) == 0 && lstat(o->part, &named) == 0
                   && mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
        FILE *f = same && !left ? fdopen(fd, "w+b") : NULL;
        if (f) return f;
        if (same && S_ISREG(mine.st_mode)) unlink(o->part);
        close(fd);
    }
    fail(err, o->part, "this is in the way");
    return NULL;
}

/* 1: in its place is what was there when it was begun; its mode and owner become the new one's. */
static int as_before(FileOut *o) {
    struct stat s;
    if (stat(o->path, &s) != 0) return errno == ENOENT && !o->was;
    if (state_of(&s) != o->was) return 0;
    int fd = fileno(o->f);
    int kept = fchown(fd, s.st_uid, s.st_gid) == 0 || fchown(fd, (uid_t)-1, s.st_gid) == 0;
    fchmod(fd, s.st_mode & (kept ? 07777 : 0707)); /* another group may not read it instead */
    return 1;
}

static int on_disk(FILE *f) { return fsync(fileno(f)) == 0; }
static int put_in_place(FileOut *o) { return rename(o->part, o->path); } /* under its lock */

static void on_signal(int sig) {
    for (FileOut *o = writing; o; o = o->next)
        if (o->made) unlink(o->part);
    if (sig == SIGBUS) _exit(write(2, last_words, strlen(last_words)) > 0 ? 1 : 2);
    signal(sig, SIG_DFL);
    raise(sig);
}

static int guard_process(char *err) {
    static const int endings[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM, SIGXCPU, SIGBUS};
    struct rlimit stack;
    int fd;
    while ((fd = open("/", O_RDONLY)) >= 0 && fd < 3) {} /* what was closed cannot be written to */
    if (fd >= 0) close(fd);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (signal(endings[i], on_signal) == SIG_IGN) signal(endings[i], SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    if (getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur < STACK_NEEDED) {
        snprintf(err, MAC_ERR, "the stack may have %lu KB (ulimit -s), %d are needed",
                 (unsigned long)(stack.rlim_cur / 1024), STACK_NEEDED / 1024);
        return -1;
    }
    return 0;
}
#else
/* Standard C: the file beside is the lock, and one that is left has to be removed by hand; what was
 * changed meanwhile is not noticed.  Windows removes no file that is open: there it is swept. */
uint64_t file_state(FILE *f) { (void)f; return 0; }

int file_absent(const char *path) {
    FILE *f = fopen(path, "rb");
    int none = !f && errno == ENOENT;
    if (f) fclose(f);
    return none;
}

FILE *file_open(const char *path, char *err) {
    FILE *f = fopen(path, "rb");
    if (!f) fail(err, path, "cannot be opened (%s): is the name right, and may you read it?",
                 strerror(errno));
    return f;
}

static int find_place(FileOut *o, const char *path, char *err) {
    o->path = joined(path, "");
    return o->path ? 0 : fail(err, path, UNWRITABLE, "out of memory");
}

static int as_before(FileOut *o) { (void)o; return 1; }
static int on_disk(FILE *f) { (void)f; return 1; }
static int guard_process(char *err) { (void)err; return 0; }

#ifdef _WIN32
#include <fcntl.h>
#include <io.h>
#include <windows.h>
static FILE *open_part(FileOut *o, char *err) {
    remove(o->part);
    int fd = _open(o->part, _O_RDWR | _O_CREAT | _O_EXCL | _O_BINARY, 0600);
    FILE *f = fd < 0 ? NULL : _fdopen(fd, "w+b");
    o->made = f != NULL;
    if (!f && errno == EEXIST) fail(err, o->path, BUSY);
    else if (!f) fail(err, o->path, UNWRITABLE, strerror(errno));
    return f;
}
static int put_in_place(FileOut *o) {
    int bad = fclose(o->f);
    o->f = NULL;
    return !bad && MoveFileExA(o->part, o->path, MOVEFILE_REPLACE_EXISTING) ? 0 : -1;
}
#else
static FILE *open_part(FileOut *o, char *err) {
    FILE *f = fopen(o->part, "w+bx");
    o->made = f != NULL;
    if (!f && errno == EEXIST) fail(err, o->part, "is there: is another program writing, or was "
                                                  "one killed?  Then remove it");
    else if (!f) fail(err, o->path, UNWRITABLE, strerror(errno));
    return f;
}
static int put_in_place(FileOut *o) {
    int bad = fclose(o->f);
    o->f = NULL;
    return bad ? -1 : rename(o->part, o->path);
}
#endif
#endif

/* ==== writing ================================================================================ */
static void drop(FileOut *o) {
    FileOut *volatile *at = &writing;
    while (*at && *at != o) at = (FileOut *volatile *)&(*at)->next;
    if (*at) *at = o->next;
    if (o->f) fclose(o->f);
    free(o->given), free(o->path), free(o->part);
    free(o);
}

void file_abort(FileOut *o) {
    if (o->made) remove(o->part);
    drop(o);
}

static FileOut *begin(const char *path, int lock, char *err) {
    FileOut *o = calloc(1, sizeof *o);
    int bad = !o || !(o->given = joined(path, ""));
    if (bad) fail(err, path, "out of memory, nothing was written");
    if (bad || find_place(o, path, err) != 0) {
        if (o) drop(o);
        return NULL;
    }
    for (FileOut *ours = writing; ours; ours = ours->next)
        if (!strcmp(ours->given, path) || !strcmp(ours->path, o->path)) {
            drop(o);
            if (ours->locked && !lock) return ours->locked = 0, ours;
            fail(err, path, BUSY);
            return NULL;
        }
    o->locked = lock;
    o->part = joined(o->path, ".mac-part");
    if (!o->part) fail(err, path, "out of memory, nothing was written");
    o->next = writing;
    writing = o;
    if (o->part && (o->f = open_part(o, err))) return o;
    file_abort(o);
    return NULL;
}

FileOut *file_begin(const char *path, char *err) { return begin(path, 0, err); }
int file_lock(const char *path, char *err) { return begin(path, 1, err) ? 0 : -1; }
FILE *file_stream(FileOut *o) { return o->f; }

int file_end(FileOut *o, const char *failed, char *err) {
    errno = 0;
    if (failed || ferror(o->f) || fflush(o->f) != 0 || !on_disk(o->f))
        fail(err, o->path, "cannot be written (%s); what stood there is untouched",
             failed ? failed : errno ? strerror(errno) : "disk full?");
    else if (!as_before(o))
        fail(err, o->path, "was changed by another program meanwhile; nothing was written");
    else if (put_in_place(o) == 0) {
        drop(o);
        return 0;
    } else
        fail(err, o->path, "cannot be replaced (%s); what stood there is untouched",
             strerror(errno));
    file_abort(o);
    return -1;
}

static void end_all(void) {
    while (writing) file_abort(writing);
}

int file_guard(const char *words, char *err) {
    last_words = words;
    return atexit(end_all) == 0 ? guard_process(err) : fail(err, "", "out of memory");
}
