/* fault_shim.c - loaded before libc (LD_PRELOAD) by faults.sh: the n-th call of some kinds fails.
 * Streams are made over these calls too, so that no read or write of stdio goes past them.
 *
 *   FAULT_KINDS=,open,read,...   the calls that count; commas around each (all of them: see KINDS)
 *   FAULT_AT=n                   the n-th of them; 0: none
 *   FAULT_DOES=EIO...          an errno's number; kill; term; run: the command FAULT_RUN, then on
 *   FAULT_SKIP=text              reads of a file whose name holds it do not count
 *   FAULT_DISK=bytes             so much can be written, then the disk is full
 *   FAULT_COUNT=file             gets the number of calls */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t one);
void *__libc_realloc(void *p, size_t n);

static const char *kinds, *does;
static long at, seen, disk = -1;
static int ready;
static char skipped[1024]; /* by descriptor */

__attribute__((constructor)) static void begin(void) {
    const char *n = getenv("FAULT_AT"), *bytes = getenv("FAULT_DISK");
    kinds = getenv("FAULT_KINDS"), does = getenv("FAULT_DOES");
    at = n ? atol(n) : 0;
    if (bytes) disk = atol(bytes);
    ready = kinds != NULL;
}

__attribute__((destructor)) static void end(void) {
    char text[32];
    const char *path = getenv("FAULT_COUNT");
    ready = 0;
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    if (fd < 0) return;
    (void)!write(fd, text, (size_t)snprintf(text, sizeof text, "%ld\n", seen));
    close(fd);
}

static int wrong(const char *kind) { /* 1: this call is to fail, errno says how */
    if (!ready || !strstr(kinds, kind) || ++seen != at || !does) return 0;
    if (!strcmp(does, "kill")) raise(SIGKILL);
    if (!strcmp(does, "term")) { raise(SIGTERM); return 0; }
    if (!strcmp(does, "run")) {
        ready = 0;
        unsetenv("LD_PRELOAD");
        if (system(getenv("FAULT_RUN")) == -1) abort();
        ready = 1;
        return 0;
    }
    errno = atoi(does);
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* ---- memory ---- */
void *malloc(size_t n) { return wrong(",malloc,") ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t one) { return wrong(",malloc,") ? NULL : __libc_calloc(n, one); }
void *realloc(void *p, size_t n) { return wrong(",malloc,") ? NULL : __libc_realloc(p, n); }

/* ---- calls ---- */
int open(const char *path, int flags, ...) {
    va_list args;
    va_start(args, flags);
    int mode = va_arg(args, int);
    va_end(args);
    const char *skip = getenv("FAULT_SKIP");
    int fd = wrong(",open,") ? -1 : REAL(open)(path, flags, mode);
    if (fd >= 0 && fd < 1024) skipped[fd] = skip && strstr(path, skip);
    return fd;
}
int close(int fd) { /* what cannot be closed is closed all the same */
    int bad = wrong(",close,"), why = errno;
    int got = REAL(close)(fd);
    if (bad) errno = why;
    return bad ? -1 : got;
}
ssize_t read(int fd, void *to, size_t n) {
    int counts = fd < 0 || fd >= 1024 || !skipped[fd];
    return counts && wrong(",read,") ? -1 : REAL(read)(fd, to, n);
}
ssize_t write(int fd, const void *from, size_t n) {
    if (wrong(",write,")) return -1;
    if (disk >= 0 && n > (size_t)disk) n = (size_t)disk;
    if (disk == 0 && ready) { errno = ENOSPC; return -1; }
    ssize_t got = REAL(write)(fd, from, n);
    if (disk > 0 && got > 0) disk -= got;
    return got;
}
int fsync(int fd) { return wrong(",fsync,") ? -1 : REAL(fsync)(fd); }
int rename(const char *from, const char *to) {
    return wrong(",rename,") ? -1 : REAL(rename)(from, to);
}
int unlink(const char *path) { return wrong(",unlink,") ? -1 : REAL(unlink)(path); }
int remove(const char *path) { return wrong(",unlink,") ? -1 : REAL(remove)(path); }
int stat(const char *path, struct stat *s) { return wrong(",stat,") ? -1 : REAL(stat)(path, s); }
int lstat(const char *path, struct stat *s) { return wrong(",stat,") ? -1 : REAL(lstat)(path, s); }
int fstat(int fd, struct stat *s) { return wrong(",stat,") ? -1 : REAL(fstat)(fd, s); }
char *realpath(const char *path, char *to) {
    return wrong(",stat,") ? NULL : REAL(realpath)(path, to);
}
int fcntl(int fd, int what, ...) {
    va_list args;
    va_start(args, what);
    void *more = va_arg(args, void *);
    va_end(args);
    return wrong(",lock,") ? -1 : REAL(fcntl)(fd, what, more);
}
void *mmap(void *to, size_t n, int prot, int flags, int fd, off_t from) {
    return wrong(",mmap,") ? MAP_FAILED : REAL(mmap)(to, n, prot, flags, fd, from);
}

/* ---- streams ---- */
static struct { FILE *f; int fd; } streams[64];

static ssize_t put(void *at_fd, const char *from, size_t n) {
    ssize_t got = write((int)(long)at_fd, from, n);
    return got < 0 ? 0 : got;
}
static ssize_t get(void *at_fd, char *to, size_t n) { return read((int)(long)at_fd, to, n); }
static int seek(void *at_fd, off64_t *to, int from) {
    if (wrong(",seek,")) return -1;
    *to = lseek((int)(long)at_fd, *to, from);
    return *to < 0 ? -1 : 0;
}
static int shut(void *at_fd) { return close((int)(long)at_fd); }

FILE *fdopen(int fd, const char *mode) {
    FILE *f = fopencookie((void *)(long)fd, mode, (cookie_io_functions_t){get, put, seek, shut});
    if (f) setvbuf(f, __libc_malloc(1 << 16), _IOFBF, 1 << 16); /* fewer points, all of a kind */
    for (int i = 0; f && i < 64; i++)
        if (!streams[i].f || streams[i].fd == fd) {
            streams[i].f = f, streams[i].fd = fd;
            break;
        }
    return f;
}
FILE *fopen(const char *path, const char *mode) {
    int fd = open(path, mode[0] == 'r' ? O_RDONLY : O_RDWR | O_CREAT | O_TRUNC, 0666);
    return fd < 0 ? NULL : fdopen(fd, mode);
}
int fileno(FILE *f) {
    for (int i = 0; i < 64; i++)
        if (f && streams[i].f == f) return streams[i].fd;
    return REAL(fileno)(f);
}
