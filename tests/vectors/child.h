/* child.h - runs somebody else's program: its standard input and output are files, so that nobody
 * waits for the other, whatever is read and written first; it has so many seconds, and may write
 * so many bytes.  Included before all else: it says which system calls are wanted. */
#ifndef CHILD_H
#define CHILD_H
#if defined(__unix__) || defined(__APPLE__)
#define _XOPEN_SOURCE 700
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t child_group; /* ^C does not reach it by itself */

static void child_stop(int signal_number) {
    if (child_group) kill(-(pid_t)child_group, SIGKILL);
    _exit(128 + signal_number);
}

static void child_become(const char *command, const char *const file[3], int most_bytes) {
    const struct rlimit most = {(rlim_t)most_bytes, (rlim_t)most_bytes};
    setpgid(0, 0);
    for (int i = 0; i < 3; i++) {
        int fd = open(file[i], i ? O_WRONLY | O_TRUNC | O_CREAT : O_RDONLY, 0666);
        if (fd < 0 || dup2(fd, i) < 0) _exit(126);
    }
    signal(SIGPIPE, SIG_DFL), signal(SIGXFSZ, SIG_DFL);
    setrlimit(RLIMIT_FSIZE, &most);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(126);
}

/* file: those that are its standard input, output and messages.  Whether it has ended is looked at
 * each millisecond; what it started and left behind ends with it.  -> "", or what went wrong */
static const char *child_run(const char *command, const char *const file[3], double seconds,
                             int most_bytes) {
    static char said[80];
    siginfo_t end = {0};
    int status;
    fflush(NULL);
    signal(SIGINT, child_stop), signal(SIGTERM, child_stop);
    pid_t pid = fork();
    if (pid == 0) child_become(command, file, most_bytes);
    if (pid < 0) return "it cannot be started";
    setpgid(pid, pid);
    child_group = pid;
    for (double ms = 0; ms < 1000 * seconds && !end.si_pid; ms++) {
        waitid(P_PID, (id_t)pid, &end, WEXITED | WNOWAIT | WNOHANG);
        if (!end.si_pid) poll(NULL, 0, 1);
    }
    kill(-pid, SIGKILL);
    if (waitpid(pid, &status, 0) != pid) return "its end cannot be waited for";
    child_group = 0;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0; /* a shell: 128 + the signal */
    int by = WIFSIGNALED(status) ? WTERMSIG(status) : code > 128 ? code - 128 : 0;
    if (!end.si_pid) snprintf(said, sizeof said, "it did not end within %g seconds", seconds);
    else if (by == SIGXFSZ) snprintf(said, sizeof said, "it wrote more than %d bytes", most_bytes);
    else if (by) snprintf(said, sizeof said, "it was ended by signal %d", by);
    else snprintf(said, sizeof said, "it ended with status %d", code);
    return end.si_pid && !by && !code ? "" : said;
}
#else
static const char *child_run(const char *command, const char *const file[3], double seconds,
                             int most_bytes) {
    (void)command, (void)file, (void)seconds, (void)most_bytes;
    return "programs are run on POSIX systems only: fork, waitid";
}
#endif
#endif
