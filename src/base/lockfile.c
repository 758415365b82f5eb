/*
 * The file is empty, of mode 0600, and there only while somebody has the lock, or was killed then.
 */
#include "base/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/fds.h"

enum { GONE = 1, STEP_MS = 5 };

static bool is_ours(const struct stat *st)
{
    return S_ISREG(st->st_mode) && st->st_uid == geteuid() && st->st_size == 0 &&
           (st->st_mode & 077) == 0;
}

/* One that was made just now is ours, whatever owner and mode its file system says: some map them.
 */
static int open_lock(const char *path, bool *is_new)
{
    static const int flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
    int fd = open(path, flags | O_CREAT | O_EXCL, 0600);

    *is_new = fd >= 0;
    if (fd >= 0 || errno != EEXIST)
        return fd < 0 ? -errno : fd;
    fd = open(path, flags);
    if (fd >= 0)
        return fd;
    return errno == ENOENT ? -EAGAIN : errno == EMFILE || errno == ENFILE ? -errno : -EEXIST;
}

/* Returns GONE if who had it has removed it in the meantime. */
static int take_once(const char *path, int *ret_fd)
{
    struct stat ours, there;
    bool is_new;
    int fd = open_lock(path, &is_new);
    int rc = 0;

    if (fd < 0)
        return fd == -EAGAIN ? GONE : fd;
    if (fstat(fd, &ours) < 0)
        rc = -errno;
    else if (!is_new && !is_ours(&ours))
        rc = -EEXIST;
    else if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        rc = errno == EWOULDBLOCK || errno == EINTR ? -EBUSY : -errno;
    else if (lstat(path, &there) < 0 || there.st_dev != ours.st_dev || there.st_ino != ours.st_ino)
        rc = GONE;
    if (rc == 0) {
        *ret_fd = fd;
        return 0;
    }
    if (rc != -EBUSY && rc != -EEXIST && rc != GONE)
        unlink(path); /* there is no lock to be had: leave nothing */
    fds_close(&fd);
    return rc;
}

int lockfile_take(const char *path, unsigned patience_ms, int *ret_fd)
{
    int rc = take_once(path, ret_fd);

    for (unsigned ms = 0; ms < patience_ms && (rc == -EBUSY || rc == GONE); ms += STEP_MS) {
        if (rc == -EBUSY)
            nanosleep(&(struct timespec){.tv_nsec = STEP_MS * 1000000}, NULL);
        rc = take_once(path, ret_fd);
    }
    return rc == GONE ? -EBUSY : rc;
}

void lockfile_release(const char *path, int *fd)
{
    if (*fd < 0)
        return;
    unlink(path); /* first: whoever has opened this file finds that it is gone */
    fds_close(fd);
}

pid_t lockfile_name_holder(const struct stat *st, char *buf, size_t size)
{
    FILE *locks = fopen("/proc/locks", "re"), *f;
    char line[256], path[64], name[32] = "?";
    unsigned major, minor;
    unsigned long long inode;
    int pid = 0;

    while (locks && fgets(line, sizeof(line), locks)) {
        if (sscanf(line, "%*u: FLOCK %*s %*s %d %x:%x:%llu", &pid, &major, &minor, &inode) == 4 &&
            pid > 0 && inode == st->st_ino && makedev(major, minor) == st->st_dev)
            break;
        pid = 0;
    }
    if (locks)
        fclose(locks);
    if (pid == 0)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    f = fopen(path, "re");
    if (f) {
        if (fscanf(f, "%31[^\n]", name) != 1)
            name[0] = '\0';
        fclose(f);
    }
    snprintf(buf, size, "process %d (%s)", pid, name);
    return pid;
}
