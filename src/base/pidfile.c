/*
 * The pid file. Runs in the arbiter; workers close the descriptor, since a lock of flock(2) is
 * shared by fork.
 */
#include "base/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fds.h"
#include "base/lockfile.h"

enum { PIDFILE_GONE = 1, TRIES = 10, PID_TEXT_MAX = 32 };
enum { MODE = 0600 }; /* who may open a file can lock it: nobody else */

static int explain_call(char *why, size_t size, const char *path, const char *what, int error)
{
    snprintf(why, size, "pid file %s: %s: %s", path, what, strerror(error));
    return -error;
}

/* An instance of ours says in the file who it is. Whoever may open the file can lock it as well. */
static int explain_holder(int fd, const char *path, const struct stat *st, char *why, size_t size)
{
    char text[PID_TEXT_MAX] = "", holder[64];
    const ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
    const long pid = n > 0 ? strtol(text, NULL, 10) : 0;
    const pid_t locker = lockfile_name_holder(st, holder, sizeof(holder));

    if (locker > 0 && locker != pid)
        snprintf(why, size, "pid file %s: locked by %s: end that process, or remove the file", path,
                 holder);
    else if (pid > 0)
        snprintf(why, size, "pid file %s: held by another instance, process %ld", path, pid);
    else
        snprintf(why, size, "pid file %s: held by another process: is another instance running?",
                 path);
    return -EBUSY;
}

static bool is_there(int fd, const char *path)
{
    struct stat ours, there;

    return fstat(fd, &ours) == 0 && lstat(path, &there) == 0 && ours.st_dev == there.st_dev &&
           ours.st_ino == there.st_ino;
}

/* What an earlier start has left is empty, or one number and a newline. */
static bool is_pid_text(const char *text, size_t len)
{
    const size_t n = strspn(text, "0123456789");

    return len == 0 || (n > 0 && (n == len || (n + 1 == len && text[n] == '\n')));
}

/* The file is overwritten now and removed at the end: anything but a pid file of ours is refused,
 * also what has no size, such as a setting of the kernel. */
static int check_ours(int fd, const char *path, const struct stat *st, char *why, size_t size)
{
    char text[PID_TEXT_MAX + 1] = "";
    ssize_t n = pread(fd, text, PID_TEXT_MAX, 0);

    if (n < 0)
        return explain_call(why, size, path, "read", errno);
    if (st->st_uid != geteuid())
        snprintf(why, size, "pid file %s: belongs to user %u: remove it or choose another path",
                 path, st->st_uid);
    else if (n == PID_TEXT_MAX || n != st->st_size || !is_pid_text(text, (size_t)n))
        snprintf(why, size,
                 "pid file %s: holds something else than one process id: choose another path",
                 path);
    else
        return 0;
    return -EEXIST;
}

/* What is not written whole is removed: an empty pid file would tell nobody anything. */
static int write_pid(int fd, const char *path, char *why, size_t size)
{
    char text[PID_TEXT_MAX];
    int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    int rc = ftruncate(fd, 0) < 0 ? -errno : fds_write_all(fd, text, (size_t)n);

    if (rc == 0)
        return 0;
    unlink(path);
    return explain_call(why, size, path, "write", -rc);
}

/* Returns PIDFILE_GONE if its holder has removed it in the meantime. */
static int lock_and_write(int fd, const char *path, char *why, size_t size)
{
    struct stat st;
    int rc;

    if (fstat(fd, &st) < 0)
        return explain_call(why, size, path, "fstat", errno);
    if (!S_ISREG(st.st_mode)) {
        snprintf(why, size, "pid file %s: exists and is not a regular file: choose another path",
                 path);
        return -EEXIST;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? explain_holder(fd, path, &st, why, size)
                                    : explain_call(why, size, path, "flock", errno);
    if (!is_there(fd, path))
        return PIDFILE_GONE;
    rc = check_ours(fd, path, &st, why, size);
    if (rc < 0)
        return rc;
    if (fchmod(fd, MODE) < 0)
        return explain_call(why, size, path, "fchmod", errno);
    return write_pid(fd, path, why, size);
}

static int open_once(struct pidfile *p, const char *path, char *why, size_t why_size)
{
    int rc;

    /* O_NONBLOCK: a FIFO with no reader must give an error, not wait. */
    p->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, MODE);
    if (p->fd < 0) {
        rc = errno;
        if (rc != ELOOP && rc != EISDIR)
            return explain_call(why, why_size, path, "open", rc);
        snprintf(why, why_size, "pid file %s: is a %s: choose another path", path,
                 rc == ELOOP ? "symbolic link" : "directory");
        return -EEXIST;
    }
    rc = lock_and_write(p->fd, path, why, why_size);
    if (rc != 0)
        fds_close(&p->fd);
    return rc;
}

int pidfile_open(struct pidfile *p, const char *path, char *why, size_t why_size)
{
    int rc = 0;

    p->fd = -1;
    snprintf(p->path, sizeof(p->path), "%s", path);
    for (int i = 0; *path && i < TRIES; i++) {
        rc = open_once(p, path, why, why_size);
        if (rc != PIDFILE_GONE)
            return rc;
    }
    return rc == PIDFILE_GONE ? explain_call(why, why_size, path, "flock", EBUSY) : 0;
}

void pidfile_remove(struct pidfile *p)
{
    if (p->fd < 0)
        return;
    if (is_there(p->fd, p->path))
        unlink(p->path);
    fds_close(&p->fd);
}
